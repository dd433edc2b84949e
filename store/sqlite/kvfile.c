/* kvfile.c: opening a kv file, transactions, and the translation of SQLite's
 * codes.
 *
 *   begin --> is the file at the path still ours? --no--> close
 *               |                                           |
 *               v                                           v
 *             BEGIN <-- open, schema made or checked, epoch + 1
 *               |
 *               v
 *             head (index, floor, identity; schema changed? look at it anew)
 *
 * The path is never opened by hand: closing any descriptor of the file would
 * drop the locks that SQLite holds in this process.
 */
#include "store/sqlite/kvfile.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "store/sqlite/schema.h"

#define CACHE_KIB 8192

/* ---- codes ---------------------------------------------------------------*/

static bool is_canceled(const struct kvfile *f)
{
	return f->canceled != NULL && atomic_load(f->canceled);
}

static int code_of(const struct kvfile *f, int rc)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return is_canceled(f) ? KV_CANCELED : KV_TIMED_OUT;
	case SQLITE_INTERRUPT:
		return KV_CANCELED;
	case SQLITE_NOMEM:
		return KV_NO_MEMORY;
	case SQLITE_FULL:
		return KV_NO_SPACE;
	case SQLITE_READONLY:
		return rc == SQLITE_READONLY_DBMOVED ? KV_NOT_REACHABLE
						     : KV_DENIED;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return KV_DENIED;
	case SQLITE_CONSTRAINT:
		/* Ours cannot clash: a person's own trigger said no. */
		return KV_DENIED;
	case SQLITE_TOOBIG:
		return KV_TOO_LARGE;
	case SQLITE_IOERR:
		return rc == SQLITE_IOERR_NOMEM ? KV_NO_MEMORY
						: KV_NOT_REACHABLE;
	case SQLITE_CANTOPEN:
		return f->h != NULL && sqlite3_system_errno(f->h) == EACCES
			   ? KV_DENIED
			   : KV_NOT_REACHABLE;
	case SQLITE_PROTOCOL:
	case SQLITE_SCHEMA:
		return KV_NOT_REACHABLE;
	default:
		return KV_BROKEN;
	}
}

int kvfile_fail(struct kvfile *f, int rc, const char *what, struct kv_err *err)
{
	int status = code_of(f, rc);

	PRE(rc != SQLITE_OK);
	if ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CORRUPT ||
	    (rc & 0xff) == SQLITE_NOTADB || (rc & 0xff) == SQLITE_CANTOPEN) {
		f->doubt = true;
	}
	if (status == KV_TIMED_OUT) {
		return kv_fail(err, status,
			       "%s: %s: another program holds the lock, "
			       "waited %u ms (option busy_timeout)",
			       f->path, what, f->waited_ms);
	}
	return kv_fail(
	    err, status, "%s: %s: %s%s", f->path, what,
	    f->h == NULL ? sqlite3_errstr(rc) : sqlite3_errmsg(f->h),
	    f->h == NULL ? "" : kv_files_advice(sqlite3_system_errno(f->h)));
}

/* SQLite calls it with n = 0, 1, ... while a lock is held by another. Sleeps
 * on the worker's thread; a canceled request waits no longer. */
static int on_busy(void *ctx, int n)
{
	struct kvfile *f = ctx;
	int pause = n < 5 ? 1 << n : 25;

	if (n == 0) {
		f->waited_ms = 0;
	}
	if (is_canceled(f) || f->waited_ms >= f->busy_ms) {
		return 0;
	}
	(void)sqlite3_sleep(pause);
	f->waited_ms += (uint32_t)pause;
	return 1;
}

/* ---- opening
 * ---------------------------------------------------------------*/

/* When another file stands at the path, its -wal is not ours to take away. */
static void shut(struct kvfile *f, bool moved)
{
	if (moved && f->h != NULL) {
		(void)sqlite3_db_config(f->h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
					1, NULL);
	}
	for (size_t i = 0; i < KVFILE_STMTS; i++) {
		(void)sqlite3_finalize(f->stmts[i]);
		f->stmts[i] = NULL;
	}
	(void)sqlite3_close(f->h);
	f->h = NULL;
	f->doubt = false;
	f->schema_version = -1;
	f->identity[0] = '\0';
}

static int exec(struct kvfile *f, const char *sql)
{
	return sqlite3_exec(f->h, sql, NULL, NULL, NULL);
}

static int set_up(struct kvfile *f, struct kv_err *err)
{
	char sql[128];
	int rc;

	(void)sqlite3_extended_result_codes(f->h, 1);
	(void)sqlite3_busy_handler(f->h, on_busy, f);
	/* An acknowledged write survives a power cut: FULL. */
	(void)snprintf(sql, sizeof sql,
		       "PRAGMA cache_size=-%d; PRAGMA mmap_size=0;"
		       "PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF",
		       CACHE_KIB);
	rc = exec(f, sql);
	return rc == SQLITE_OK ? KV_OK : kvfile_fail(f, rc, "opening", err);
}

/* TEXT of another encoding has other bytes than what was written. */
static int check_encoding(struct kvfile *f, struct kv_err *err)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(f->h, "PRAGMA encoding", -1, &s, NULL);
	const char *name = NULL;
	int status = KV_OK;

	if (rc == SQLITE_OK) {
		rc = sqlite3_step(s);
	}
	if (rc == SQLITE_ROW) {
		name = (const char *)sqlite3_column_text(s, 0);
	}
	if (rc != SQLITE_ROW || name == NULL) {
		status = kvfile_fail(f, rc == SQLITE_ROW ? SQLITE_NOMEM : rc,
				     "reading its encoding", err);
	} else if (strcmp(name, "UTF-8") != 0) {
		status = kv_fail(err, KV_BAD_ARGUMENT,
				 "%s: its encoding is %s, kvmirror needs "
				 "UTF-8: copy the keys into a new file",
				 f->path, name);
	}
	(void)sqlite3_finalize(s);
	return status;
}

/* SQLite does not wait by itself where two that read both want to write. */
static int exec_patiently(struct kvfile *f, const char *sql)
{
	int rc, n = 0;

	do {
		rc = exec(f, sql);
	} while ((rc & 0xff) == SQLITE_BUSY && on_busy(f, n++) != 0);
	return rc;
}

/* In WAL mode readers and the writer do not wait for each other. A file that
 * is there already keeps the mode that it has. */
static int make_schema(struct kvfile *f, struct kv_err *err)
{
	int empty;
	int rc = exec_patiently(
	    f, "PRAGMA encoding='UTF-8'; PRAGMA journal_mode=WAL");

	if (rc == SQLITE_OK) {
		rc = exec_patiently(f, "BEGIN IMMEDIATE");
	}
	if (rc != SQLITE_OK) {
		return kvfile_fail(f, rc, "making the key table", err);
	}
	/* Somebody else may have been faster. */
	empty = schema_is_empty(f->h);
	if (empty == 1) {
		rc = schema_make(f->h, f->keep);
	} else if (empty < 0) {
		rc = sqlite3_extended_errcode(f->h);
	}
	if (rc == SQLITE_OK) {
		rc = exec(f, "COMMIT");
	}
	if (rc != SQLITE_OK) {
		rc = kvfile_fail(f, rc, "making the key table", err);
		(void)exec(f, "ROLLBACK");
		return rc;
	}
	return KV_OK;
}

static int check_schema(struct kvfile *f, struct kv_err *err)
{
	int rc;
	int status = schema_check(f->h, &rc, err);

	if (status == KV_NOT_REACHABLE) {
		return kvfile_fail(f, rc, "reading its schema", err);
	}
	return status == KV_OK ? KV_OK : kv_wrap(err, "%s", f->path);
}

static int prepare_all(struct kvfile *f, struct kv_err *err)
{
	static const char *const text[] = {
#define X(name, sql) sql,
	    KVFILE_STMT_MAP(X)
#undef X
	};

	for (size_t i = 0; i < KVFILE_STMTS; i++) {
		int rc = sqlite3_prepare_v3(f->h, text[i], -1,
					    SQLITE_PREPARE_PERSISTENT,
					    &f->stmts[i], NULL);

		if (rc != SQLITE_OK) {
			return kvfile_fail(f, rc, "reading its schema", err);
		}
	}
	return KV_OK;
}

/* Runs a statement that gives nothing, or one number. */
static int run(struct kvfile *f, enum kvfile_stmt which, int64_t *out)
{
	sqlite3_stmt *s = f->stmts[which];
	int rc = sqlite3_step(s);

	if (rc == SQLITE_ROW && out != NULL) {
		*out = sqlite3_column_int64(s, 0);
	}
	(void)sqlite3_reset(s);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The option `log` is written into the file, as triggers of other programs'
 * statements go by it as well. */
static int set_keep(struct kvfile *f, struct kv_err *err)
{
	sqlite3_stmt *s = f->stmts[KVFILE_SET_KEEP];
	int64_t keep = 0;
	int rc = SQLITE_OK;

	if (!f->keep_given || sqlite3_db_readonly(f->h, "main") == 1) {
		return KV_OK;
	}
	/* Looked at first, as writing would wait for a lock. */
	rc = run(f, KVFILE_KEEP, &keep);
	if (rc == SQLITE_OK && keep != (int64_t)f->keep) {
		rc = sqlite3_bind_int64(s, 1, (sqlite3_int64)f->keep);
		if (rc == SQLITE_OK) {
			rc = run(f, KVFILE_SET_KEEP, NULL);
		}
	}
	return rc == SQLITE_OK
		   ? KV_OK
		   : kvfile_fail(f, rc, "setting the log's length", err);
}

static int prepare_file(struct kvfile *f, struct kv_err *err)
{
	int rv = set_up(f, err);
	int empty;

	if (rv != KV_OK) {
		return rv;
	}
	empty = schema_is_empty(f->h);
	if (empty < 0) {
		return kvfile_fail(f, sqlite3_extended_errcode(f->h), "opening",
				   err);
	}
	if (empty == 1) {
		rv = make_schema(f, err);
	} else {
		rv = check_encoding(f, err);
	}
	if (rv == KV_OK) {
		rv = check_schema(f, err);
	}
	if (rv == KV_OK) {
		rv = prepare_all(f, err);
	}
	return rv == KV_OK ? set_keep(f, err) : rv;
}

static int gone(const struct kvfile *f, int error, struct kv_err *err)
{
	if (error == EACCES) {
		return kv_fail(err, KV_DENIED,
			       "%s: permission denied on the way to it",
			       f->path);
	}
	return kv_fail(err, KV_NOT_REACHABLE, "%s: the file is gone (%s)",
		       f->path, strerror(error));
}

static int open_file(struct kvfile *f, bool create, struct kv_err *err)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
	struct stat before, after;
	bool there = stat(f->path, &before) == 0;
	int rv;

	if (!there && !(create && errno == ENOENT)) {
		return gone(f, errno, err);
	}
	if (!there) {
		flags |= SQLITE_OPEN_CREATE;
	}
	errno = 0;
	rv = sqlite3_open_v2(f->path, &f->h, flags, NULL);
	if (rv != SQLITE_OK) {
		rv = kvfile_fail(f, rv, "opening", err);
		goto err_open;
	}
	rv = prepare_file(f, err);
	if (rv != KV_OK) {
		goto err_open;
	}
	if (stat(f->path, &after) != 0 ||
	    (there && (before.st_dev != after.st_dev ||
		       before.st_ino != after.st_ino))) {
		rv = kv_fail(err, KV_NOT_REACHABLE,
			     "%s: the file was replaced while it was opened",
			     f->path);
		goto err_open;
	}
	f->dev = after.st_dev;
	f->ino = after.st_ino;
	f->epoch++;
	return KV_OK;

err_open:
	assert(rv != KV_OK);
	shut(f, false);
	return rv;
}

/* The connection stands on the file that is at the path now. */
static int be_open(struct kvfile *f, bool create, struct kv_err *err)
{
	struct stat now;
	bool same;

	if (f->h != NULL) {
		same = stat(f->path, &now) == 0 && now.st_dev == f->dev &&
		       now.st_ino == f->ino;
		if (same && !f->doubt) {
			return KV_OK;
		}
		shut(f, !same);
	}
	return open_file(f, create, err);
}

void kvfile_close(struct kvfile *f)
{
	struct stat now;

	shut(f, stat(f->path, &now) != 0 || now.st_dev != f->dev ||
		    now.st_ino != f->ino);
}

/* ---- transactions
 * ------------------------------------------------------------*/

/* Another identity at the same inode: a backup was restored into it. */
static void take_identity(struct kvfile *f, const char *identity)
{
	if (strcmp(f->identity, identity) == 0) {
		return;
	}
	if (f->identity[0] != '\0') {
		f->epoch++;
	}
	(void)snprintf(f->identity, sizeof f->identity, "%s", identity);
}

static int read_head(struct kvfile *f, struct kvfile_head *head,
		     struct kv_err *err)
{
	sqlite3_stmt *s = f->stmts[KVFILE_HEAD];
	int rc = sqlite3_step(s);
	const char *identity;

	if (rc == SQLITE_ROW) {
		identity = (const char *)sqlite3_column_text(s, 0);
		head->floor = (uint64_t)sqlite3_column_int64(s, 1);
		head->index = (uint64_t)sqlite3_column_int64(s, 2);
		if (identity != NULL) {
			take_identity(f, identity);
		}
		rc = identity == NULL ? SQLITE_NOMEM : SQLITE_OK;
	} else if (rc == SQLITE_DONE) {
		rc = SQLITE_CORRUPT; /* kv_meta lost its row */
	}
	(void)sqlite3_reset(s);
	return rc == SQLITE_OK ? KV_OK
			       : kvfile_fail(f, rc, "reading its state", err);
}

/* A person may have changed the schema in the meantime. */
static int recheck_schema(struct kvfile *f, struct kv_err *err)
{
	int64_t version = 0;
	int rc = run(f, KVFILE_SCHEMA, &version);

	if (rc != SQLITE_OK) {
		return kvfile_fail(f, rc, "reading its schema", err);
	}
	if (version != f->schema_version) {
		int rv = check_schema(f, err);

		if (rv != KV_OK) {
			return rv;
		}
		f->schema_version = version;
	}
	return KV_OK;
}

int kvfile_begin(struct kvfile *f, enum kvfile_mode mode,
		 struct kvfile_head *head, struct kv_err *err)
{
	bool create = f->create && (mode != KVFILE_READ_ONLY || f->epoch == 0);
	int rv, rc;

	if (is_canceled(f)) {
		return kv_fail(err, KV_CANCELED, "%s: canceled", f->path);
	}
	rv = be_open(f, create, err);
	if (rv != KV_OK) {
		return rv;
	}
	rc = run(f, mode == KVFILE_WRITE ? KVFILE_BEGIN_WRITE : KVFILE_BEGIN,
		 NULL);
	if (rc != SQLITE_OK) {
		return kvfile_fail(f, rc, "starting", err);
	}
	rv = recheck_schema(f, err);
	if (rv == KV_OK) {
		rv = read_head(f, head, err);
	}
	if (rv != KV_OK) {
		kvfile_end(f);
	}
	return rv;
}

void kvfile_end(struct kvfile *f)
{
	for (size_t i = 0; i < KVFILE_STMTS; i++) {
		(void)sqlite3_reset(f->stmts[i]);
		(void)sqlite3_clear_bindings(f->stmts[i]);
	}
	if (!sqlite3_get_autocommit(f->h)) {
		(void)run(f, KVFILE_ROLLBACK, NULL);
	}
}

int kvfile_commit(struct kvfile *f, struct kv_err *err)
{
	int rc = run(f, KVFILE_COMMIT, NULL);
	int rv = KV_OK;

	if (rc != SQLITE_OK) {
		rv = kvfile_fail(f, rc, "committing", err);
	}
	/* The commit record may have reached the disk before it failed. */
	if ((rc & 0xff) == SQLITE_IOERR) {
		err->status = rv = KV_UNKNOWN_OUTCOME;
	}
	kvfile_end(f);
	return rv;
}

int kvfile_look(struct kvfile *f, bool *changed, struct kv_err *err)
{
	uint64_t epoch = f->epoch;
	int64_t version = 0;
	int rv = be_open(f, false, err);
	int rc;

	if (rv != KV_OK) {
		return rv;
	}
	rc = run(f, KVFILE_DATA, &version);
	if (rc != SQLITE_OK) {
		return kvfile_fail(f, rc, "looking for changes", err);
	}
	*changed = version != f->data_version || f->epoch != epoch;
	f->data_version = version;
	return KV_OK;
}

void kvfile_origin(const struct kvfile *f, const struct kvfile_head *head,
		   struct store_origin *origin)
{
	memcpy(origin->identity, f->identity, sizeof origin->identity);
	origin->index = head->index;
	origin->epoch = f->epoch;
}

/* ---- bytes ---------------------------------------------------------------*/

struct slice kvfile_column(sqlite3_stmt *s, int col)
{
	const void *p = sqlite3_column_blob(s, col);
	int n = sqlite3_column_bytes(s, col);

	return slice_of(p, p == NULL ? 0 : (size_t)n);
}

int kvfile_bind_bytes(sqlite3_stmt *s, int at, struct slice bytes)
{
	/* A NULL pointer would bind NULL. */
	return sqlite3_bind_blob64(s, at,
				   bytes.n == 0 ? "" : (const void *)bytes.p,
				   bytes.n, SQLITE_STATIC);
}

int kvfile_bind_text(sqlite3_stmt *s, int at, struct slice bytes)
{
	if (bytes.n == 0) {
		return sqlite3_bind_text(s, at, "", 0, SQLITE_STATIC);
	}
	if (memchr(bytes.p, 0, bytes.n) != NULL || !slice_is_utf8(bytes)) {
		return kvfile_bind_bytes(s, at, bytes);
	}
	return sqlite3_bind_text64(s, at, (const char *)bytes.p, bytes.n,
				   SQLITE_STATIC, SQLITE_UTF8);
}
