/* test_state_disk.h: a disk under SQLite that dies, is full or loses what was
 * not synced, at the n-th write, truncation, sync or deletion.
 *
 *   SQLite --> "disk" (counts, then acts) --> the system's own vfs
 *
 * Header only, as each test is one file; used by one of them.
 */
#ifndef KV_TEST_STATE_DISK_H
#define KV_TEST_STATE_DISK_H

#include <fcntl.h>

#include "tests/unit/test_state_world.h"

enum disk_fault {
	DISK_FINE,
	DISK_KILL,	/* the process ends before it */
	DISK_KILL_HALF, /* ... in the midst of it */
	DISK_FULL,	/* it fails once: no space */
	DISK_FULL_ON,	/* it and all that follow fail */
	DISK_ERROR,	/* it fails once: an error of the device */
};

#define DISK_EXIT 42

struct disk {
	sqlite3_vfs vfs;
	sqlite3_vfs *real;
	enum disk_fault fault;
	long at; /* of the countdown; < 0: not armed */
	long n;	 /* operations since it was armed */
	bool hit;
	bool keep_synced; /* copies a file to FILE.synced at each sync */
};

struct disk_file {
	sqlite3_file base;
	struct disk *disk;
	char *path; /* NULL: temporary */
	sqlite3_file *real;
};

KV_UNUSED static void disk_copy(const char *from, const char *to)
{
	char bytes[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;

	if (in < 0 || out < 0) {
		abort();
	}
	while ((n = read(in, bytes, sizeof bytes)) > 0) {
		if (write(out, bytes, (size_t)n) != n) {
			abort();
		}
	}
	(void)close(in);
	(void)close(out);
}

/* The code an operation has to fail with, or SQLITE_OK. */
static int disk_step(struct disk *d, int error)
{
	if (d->at < 0 ||
	    (d->n++ != d->at && !(d->fault == DISK_FULL_ON && d->n > d->at))) {
		return SQLITE_OK;
	}
	d->hit = true;
	switch (d->fault) {
	case DISK_KILL:
	case DISK_KILL_HALF:
		_exit(DISK_EXIT);
	case DISK_FULL:
	case DISK_FULL_ON:
		return SQLITE_FULL;
	case DISK_ERROR:
		errno = EIO;
		return error;
	default:
		return SQLITE_OK;
	}
}

static struct disk_file *disk_of(sqlite3_file *f)
{
	return (struct disk_file *)f;
}

static int disk_close(sqlite3_file *f)
{
	struct disk_file *x = disk_of(f);
	int rc = SQLITE_OK;

	if (x->real->pMethods != NULL) {
		rc = x->real->pMethods->xClose(x->real);
	}
	sqlite3_free(x->real);
	free(x->path);
	return rc;
}

static int disk_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xRead(r, p, n, at);
}

static int disk_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	struct disk_file *x = disk_of(f);
	int rc;

	if (x->disk->fault == DISK_KILL_HALF && x->disk->at == x->disk->n) {
		(void)x->real->pMethods->xWrite(x->real, p, n / 2, at);
	}
	rc = disk_step(x->disk, SQLITE_IOERR_WRITE);
	return rc != SQLITE_OK ? rc
			       : x->real->pMethods->xWrite(x->real, p, n, at);
}

static int disk_truncate(sqlite3_file *f, sqlite3_int64 n)
{
	struct disk_file *x = disk_of(f);
	int rc = disk_step(x->disk, SQLITE_IOERR_TRUNCATE);

	return rc != SQLITE_OK ? rc : x->real->pMethods->xTruncate(x->real, n);
}

static int disk_sync(sqlite3_file *f, int flags)
{
	struct disk_file *x = disk_of(f);
	int rc = disk_step(x->disk, SQLITE_IOERR_FSYNC);

	if (rc == SQLITE_OK && x->disk->keep_synced && x->path != NULL) {
		char to[300];

		(void)snprintf(to, sizeof to, "%s.synced", x->path);
		disk_copy(x->path, to);
	}
	return rc != SQLITE_OK ? rc : x->real->pMethods->xSync(x->real, flags);
}

static int disk_size(sqlite3_file *f, sqlite3_int64 *n)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xFileSize(r, n);
}

static int disk_lock(sqlite3_file *f, int how)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xLock(r, how);
}

static int disk_unlock(sqlite3_file *f, int how)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xUnlock(r, how);
}

static int disk_reserved(sqlite3_file *f, int *is)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xCheckReservedLock(r, is);
}

static int disk_control(sqlite3_file *f, int op, void *arg)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xFileControl(r, op, arg);
}

static int disk_sector(sqlite3_file *f)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xSectorSize(r);
}

static int disk_traits(sqlite3_file *f)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xDeviceCharacteristics(r);
}

static int disk_shm_map(sqlite3_file *f, int region, int size, int extend,
			void volatile **p)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xShmMap(r, region, size, extend, p);
}

static int disk_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xShmLock(r, offset, n, flags);
}

static void disk_shm_barrier(sqlite3_file *f)
{
	sqlite3_file *r = disk_of(f)->real;

	r->pMethods->xShmBarrier(r);
}

static int disk_shm_unmap(sqlite3_file *f, int drop)
{
	sqlite3_file *r = disk_of(f)->real;

	return r->pMethods->xShmUnmap(r, drop);
}

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f,
		     int flags, int *out_flags)
{
	static const sqlite3_io_methods methods = {
	    .iVersion = 2,
	    .xClose = disk_close,
	    .xRead = disk_read,
	    .xWrite = disk_write,
	    .xTruncate = disk_truncate,
	    .xSync = disk_sync,
	    .xFileSize = disk_size,
	    .xLock = disk_lock,
	    .xUnlock = disk_unlock,
	    .xCheckReservedLock = disk_reserved,
	    .xFileControl = disk_control,
	    .xSectorSize = disk_sector,
	    .xDeviceCharacteristics = disk_traits,
	    .xShmMap = disk_shm_map,
	    .xShmLock = disk_shm_lock,
	    .xShmBarrier = disk_shm_barrier,
	    .xShmUnmap = disk_shm_unmap,
	};
	struct disk *d = vfs->pAppData;
	struct disk_file *x = disk_of(f);
	int rc;

	memset(x, 0, sizeof *x);
	x->disk = d;
	x->real = sqlite3_malloc(d->real->szOsFile);
	if (x->real == NULL) {
		return SQLITE_NOMEM;
	}
	memset(x->real, 0, (size_t)d->real->szOsFile);
	rc = d->real->xOpen(d->real, name, x->real, flags, out_flags);
	if (rc != SQLITE_OK) {
		sqlite3_free(x->real);
		return rc;
	}
	x->path = name == NULL ? NULL : strdup(name);
	x->base.pMethods = &methods;
	return SQLITE_OK;
}

static int disk_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
	struct disk *d = vfs->pAppData;
	int rc = disk_step(d, SQLITE_IOERR_DELETE);

	return rc != SQLITE_OK ? rc : d->real->xDelete(d->real, name, sync);
}

/* From here on every file of SQLite's is on this disk. */
KV_UNUSED static void disk_insert(struct disk *d)
{
	memset(d, 0, sizeof *d);
	d->real = sqlite3_vfs_find(NULL);
	d->vfs = *d->real;
	d->vfs.zName = "disk";
	d->vfs.szOsFile = sizeof(struct disk_file);
	d->vfs.pAppData = d;
	d->vfs.xOpen = disk_open;
	d->vfs.xDelete = disk_delete;
	d->vfs.pNext = NULL;
	d->at = -1;
	assert_int_equal(sqlite3_vfs_register(&d->vfs, 1), SQLITE_OK);
}

KV_UNUSED static void disk_remove(struct disk *d)
{
	assert_int_equal(sqlite3_vfs_unregister(&d->vfs), SQLITE_OK);
}

KV_UNUSED static void disk_arm(struct disk *d, enum disk_fault fault, long at)
{
	d->fault = fault;
	d->at = at;
	d->n = 0;
	d->hit = false;
}

KV_UNUSED static void disk_disarm(struct disk *d)
{
	d->at = -1;
}

#endif /* KV_TEST_STATE_DISK_H */
