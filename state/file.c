/* file.c: the state file as a file: its folder, its lock, whether it is ours,
 * and how a new one comes to be.
 *
 *   FILE        the database          FILE-wal, FILE-shm  SQLite's
 *   FILE-lock   flock, holder's pid   FILE-new            while being made
 *
 * A new database is made complete as FILE-new and renamed, so that a file
 * under the name FILE always says in its first bytes whose it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "state/state_int.h"

int file_status(int errnum)
{
	switch (errnum) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return KV_NO_SPACE;
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return KV_NO_MEMORY;
	case EACCES:
	case EPERM:
	case EROFS:
		return KV_DENIED;
	default:
		return KV_BROKEN;
	}
}

int file_fail(const char *path, const char *what, int errnum,
	      struct kv_err *err)
{
	char text[128];
	int status = file_status(errnum);
	const char *todo = "see to the disk and start again";

	if (status == KV_NO_SPACE) {
		todo = "make room";
	} else if (status == KV_DENIED) {
		todo = "it and its folder must be writable for this user";
	} else if (status == KV_NO_MEMORY) {
		todo = "free memory or raise the limits";
	}
	return kv_fail(err, status, "state file %s: %s: %s%s; %s", path, what,
		       strerror_r(errnum, text, sizeof text),
		       kv_files_advice(errnum), todo);
}

char *file_beside(const char *path, const char *suffix)
{
	return kv_asprintf("%s%s", path, suffix);
}

static int no_memory(const char *path, struct kv_err *err)
{
	return kv_fail(err, KV_NO_MEMORY, "no memory for state file %s", path);
}

/* ---- folder */

/* A folder that may not be made may be there all the same: whether it serves
 * shows when the lock is taken. */
static int make_folder(const char *name)
{
	int errnum;

	if (mkdir(name, 0700) == 0) {
		return 0;
	}
	errnum = errno;
	return errnum == EEXIST || access(name, F_OK) == 0 ? 0 : errnum;
}

int file_folder(const char *path, struct kv_err *err)
{
	char *copy = kv_strdup(path);
	int errnum = 0;

	if (copy == NULL) {
		return no_memory(path, err);
	}
	for (char *p = strchr(copy, '/'); p != NULL && errnum == 0;
	     p = strchr(p + 1, '/')) {
		if (p != copy) {
			*p = '\0';
			errnum = make_folder(copy);
			*p = '/';
		}
	}
	kv_free(copy);
	return errnum == 0
		   ? KV_OK
		   : file_fail(path, "cannot make its folder", errnum, err);
}

/* ---- lock */

#define LOCK_TRIES 10
#define LOCK_PAUSE_NS 10000000L

static long lock_pid(int fd)
{
	char text[32] = "";
	ssize_t n = pread(fd, text, sizeof text - 1, 0);

	return n > 0 ? strtol(text, NULL, 10) : 0;
}

static int lock_held(const char *path, int fd, struct kv_err *err)
{
	long pid = lock_pid(fd);

	if (pid > 0) {
		return kv_fail(err, KV_CANNOT_LOCK,
			       "state file %s is in use by process %ld; stop "
			       "it or use another file",
			       path, pid);
	}
	return kv_fail(err, KV_CANNOT_LOCK,
		       "state file %s is in use by another process; stop it or "
		       "use another file",
		       path);
}

/* state_is_held looks by locking for an instant: it must not turn an agent
 * away, so a lock that is taken is tried again for a moment. */
static int lock_try(int fd)
{
	struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};

	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
		if ((errno != EWOULDBLOCK && errno != EINTR) ||
		    i == LOCK_TRIES) {
			return errno;
		}
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

/* For people and for lock_held; without it the lock serves as well. */
static void lock_sign(int fd)
{
	char text[32];
	int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());

	if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) != n) {
		(void)!ftruncate(fd, 0);
	}
}

int file_lock(const char *path, int *fd, struct kv_err *err)
{
	char *name = file_beside(path, "-lock");
	int status = KV_OK;
	int errnum;

	*fd = -1;
	if (name == NULL) {
		return no_memory(path, err);
	}
	*fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*fd < 0) {
		status =
		    file_fail(path, "cannot make its lock file", errno, err);
		goto out;
	}
	errnum = lock_try(*fd);
	if (errnum == 0) {
		lock_sign(*fd);
		goto out;
	}
	status = errnum == EWOULDBLOCK
		     ? lock_held(path, *fd, err)
		     : file_fail(path, "cannot lock it", errnum, err);
	(void)close(*fd);
	*fd = -1;
out:
	kv_free(name);
	return status;
}

int state_is_held(const char *path, bool *held, struct kv_err *err)
{
	char *name = file_beside(path, "-lock");
	int status = KV_OK;
	int fd;

	*held = false;
	if (name == NULL) {
		return no_memory(path, err);
	}
	fd = open(name, O_RDONLY | O_CLOEXEC);
	kv_free(name);
	if (fd < 0) {
		return errno == ENOENT || errno == ENOTDIR
			   ? KV_OK
			   : file_fail(path, "cannot open its lock file", errno,
				       err);
	}
	if (flock(fd, LOCK_SH | LOCK_NB) != 0) {
		*held = errno == EWOULDBLOCK;
		if (!*held) {
			status = file_fail(path, "cannot look at its lock",
					   errno, err);
		}
	}
	(void)close(fd);
	return status;
}

/* ---- whose file it is */

#define HEADER_SIZE 100
#define HEADER_MODES 18 /* how it may be written, and read: 1 or 2 (WAL) */
#define HEADER_APPLICATION 68

static bool is_mode(uint8_t byte)
{
	return byte == 1 || byte == 2;
}

static int look_header(const char *path, const uint8_t *h, size_t n,
		       struct kv_err *err)
{
	const uint8_t *a = h + HEADER_APPLICATION;
	uint32_t id = (uint32_t)a[0] << 24 | (uint32_t)a[1] << 16 |
		      (uint32_t)a[2] << 8 | a[3];

	if (n < HEADER_SIZE || memcmp(h, "SQLite format 3", 16) != 0) {
		return kv_fail(err, KV_BROKEN,
			       "state file %s is damaged or no state file of "
			       "kvmirror; move it away (the next start "
			       "reconciles) or name another",
			       path);
	}
	if (id != SCHEMA_APPLICATION_ID) {
		return kv_fail(err, KV_BROKEN,
			       "state file %s is a database of another "
			       "program, or damaged; name another, or move it "
			       "away (the next start reconciles)",
			       path);
	}
	/* SQLite would only say that it may not be written. */
	if (!is_mode(h[HEADER_MODES]) || !is_mode(h[HEADER_MODES + 1])) {
		return kv_fail(err, KV_BROKEN,
			       "state file %s is damaged: its header; move it, "
			       "%s-wal and %s-shm away: the next start "
			       "reconciles",
			       path, path, path);
	}
	return KV_OK;
}

int file_look(const char *path, enum file_kind *kind, struct kv_err *err)
{
	uint8_t header[HEADER_SIZE] = {0};
	struct stat sb;
	ssize_t n;
	int fd;

	*kind = FILE_MISSING;
	if (stat(path, &sb) != 0) {
		return errno == ENOENT || errno == ENOTDIR
			   ? KV_OK
			   : file_fail(path, "cannot look at it", errno, err);
	}
	if (!S_ISREG(sb.st_mode)) {
		return kv_fail(err, KV_BROKEN,
			       "state file %s is no regular file; name another",
			       path);
	}
	if (sb.st_size == 0) {
		return KV_OK;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return file_fail(path, "cannot open it", errno, err);
	}
	n = pread(fd, header, sizeof header, 0);
	*kind = FILE_OURS;
	if (n < 0) {
		int errnum = errno;

		(void)close(fd);
		return file_fail(path, "cannot read it", errnum, err);
	}
	(void)close(fd);
	return look_header(path, header, (size_t)n, err);
}

static bool is_beside(const char *path, const char *suffix)
{
	char *name = file_beside(path, suffix);
	struct stat sb;
	bool is = name == NULL || stat(name, &sb) == 0;

	kv_free(name);
	return is;
}

bool file_is_alone(const char *path)
{
	return !is_beside(path, "-wal") && !is_beside(path, "-shm");
}

/* ---- a new file */

static int move_aside(const char *path, const char *suffix, struct kv_err *err)
{
	char *from = file_beside(path, suffix);
	char *aside = from == NULL ? NULL : file_beside(from, "-old");
	int status = KV_OK;

	if (aside == NULL) {
		status = no_memory(path, err);
	} else if (rename(from, aside) != 0 && errno != ENOENT) {
		status = file_fail(path, "cannot move its old log aside", errno,
				   err);
	}
	kv_free(from);
	kv_free(aside);
	return status;
}

static int drop(const char *path, const char *suffix, struct kv_err *err)
{
	char *name = file_beside(path, suffix);
	int status = KV_OK;

	if (name == NULL) {
		status = no_memory(path, err);
	} else if (unlink(name) != 0 && errno != ENOENT) {
		status = file_fail(path, "cannot remove what is beside it",
				   errno, err);
	}
	kv_free(name);
	return status;
}

int file_sweep(const char *path, struct kv_err *err)
{
	int status = move_aside(path, "-wal", err);

	if (status == KV_OK) {
		status = move_aside(path, "-journal", err);
	}
	if (status == KV_OK) {
		status = drop(path, "-shm", err);
	}
	return status;
}

int file_new(const char *fresh, struct kv_err *err)
{
	static const char *const left[] = {"", "-wal", "-shm", "-journal"};
	int fd;

	for (size_t i = 0; i < KV_COUNT(left); i++) {
		int status = drop(fresh, left[i], err);

		if (status != KV_OK) {
			return status;
		}
	}
	/* Whatever the umask says: keys of the stores stand in it. */
	fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0) {
		return file_fail(fresh, "cannot make it", errno, err);
	}
	(void)close(fd);
	return KV_OK;
}

/* The rename must not overtake the bytes, nor the first commit the rename. */
static int sync_name(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC);
	int errnum = 0;

	if (fd < 0) {
		return errno;
	}
	if (fsync(fd) != 0) {
		errnum = errno;
	}
	(void)close(fd);
	/* Some file systems cannot sync a folder. */
	return errnum == EINVAL ? 0 : errnum;
}

static int sync_folder(const char *path)
{
	char *copy = kv_strdup(path);
	char *slash = copy == NULL ? NULL : strrchr(copy, '/');
	int errnum;

	if (copy == NULL) {
		return ENOMEM;
	}
	if (slash != NULL) {
		slash[slash == copy ? 1 : 0] = '\0';
	}
	errnum = sync_name(slash == NULL ? "." : copy, O_RDONLY | O_DIRECTORY);
	kv_free(copy);
	return errnum;
}

int file_publish(const char *fresh, const char *path, struct kv_err *err)
{
	int errnum = sync_name(fresh, O_RDWR);

	if (errnum == 0 && rename(fresh, path) != 0) {
		errnum = errno;
	}
	if (errnum == 0) {
		errnum = sync_folder(path);
	}
	return errnum == 0
		   ? KV_OK
		   : file_fail(path, "cannot put it into place", errnum, err);
}
