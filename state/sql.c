/* sql.c: kept statements, cursors, transactions, and what SQLite's codes mean
 * to a caller. */
#include "state/sql.h"

#include <errno.h>

#include "state/state_int.h"

static const char *const sql_texts[SQL_COUNT] = {
#define X(name, text) text,
    SQL_MAP(X)
#undef X
};

/* ---- errors */

int sql_broken(const struct state *st, const char *what, struct kv_err *err)
{
	return kv_fail(err, KV_BROKEN,
		       "state file %s is damaged: %s; move it, %s-wal and "
		       "%s-shm away: the next start reconciles",
		       st->path, what, st->path, st->path);
}

static const char *message(struct state *st, int rc)
{
	if (sqlite3_extended_errcode(st->db) == rc) {
		return sqlite3_errmsg(st->db);
	}
	return sqlite3_errstr(rc);
}

static int fail_denied(struct state *st, int rc, struct kv_err *err)
{
	return kv_fail(err, KV_DENIED,
		       "state file %s: %s; it and its folder must be writable "
		       "for this user",
		       st->path, message(st, rc));
}

static int fail_io(struct state *st, int rc, struct kv_err *err)
{
	/* SQLite forgets the one of a write that fails in a COMMIT. */
	int errnum =
	    st->errnum != 0 ? st->errnum : sqlite3_system_errno(st->db);

	if (rc == SQLITE_IOERR_NOMEM || rc == SQLITE_IOERR_SHMMAP) {
		errnum = errnum == 0 ? ENOMEM : errnum;
	}
	/* Some of SQLite's own refusals leave an old errno behind. */
	if ((rc & 0xff) == SQLITE_CANTOPEN &&
	    file_status(errnum) == KV_BROKEN) {
		return fail_denied(st, rc, err);
	}
	if (errnum == 0) {
		return sql_broken(st, sqlite3_errstr(rc), err);
	}
	return file_fail(st->path, sqlite3_errstr(rc), errnum, err);
}

int sql_fail(struct state *st, int rc, struct kv_err *err)
{
	PRE(rc != SQLITE_OK && rc != SQLITE_ROW && rc != SQLITE_DONE);
	if (rc == SQLITE_READONLY_DBMOVED) {
		return kv_fail(err, KV_BROKEN,
			       "state file %s was moved or deleted while open; "
			       "put it back or start again",
			       st->path);
	}
	if (rc == SQLITE_ERROR && sqlite3_errcode(st->db) == SQLITE_NOMEM) {
		rc = SQLITE_NOMEM; /* sqlite3_deserialize says so */
	}
	switch (rc & 0xff) {
	case SQLITE_NOMEM:
		return kv_fail(err, KV_NO_MEMORY, "no memory for state file %s",
			       st->path);
	case SQLITE_FULL:
		return kv_fail(err, KV_NO_SPACE,
			       "no space for state file %s or for SQLite's "
			       "temporary files (SQLITE_TMPDIR); make room",
			       st->path);
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		return fail_io(st, rc, err);
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return fail_denied(st, rc, err);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
		return kv_fail(err, KV_CANNOT_LOCK,
			       "state file %s is locked by another program",
			       st->path);
	case SQLITE_TOOBIG:
		return kv_fail(err, KV_TOO_LARGE,
			       "state file %s: a row would be too large",
			       st->path);
	default:
		return sql_broken(st, message(st, rc), err);
	}
}

/* ---- cursors */

struct sql sql_open(struct state *st, enum sql_id id)
{
	struct sql q = {.st = st, .stmt = st->stmts[id]};

	PRE(IN(0, (int)id, SQL_COUNT - 1));
	if (q.stmt != NULL) {
		PRE(!sqlite3_stmt_busy(q.stmt));
		return q;
	}
	errno = 0;
	q.rc = sqlite3_prepare_v3(st->db, sql_texts[id], -1,
				  SQLITE_PREPARE_PERSISTENT, &q.stmt, NULL);
	st->errnum = errno;
	st->stmts[id] = q.stmt;
	return q;
}

static bool has_failed(const struct sql *q)
{
	return q->status != KV_OK ||
	       (q->rc != SQLITE_OK && q->rc != SQLITE_ROW &&
		q->rc != SQLITE_DONE);
}

bool sql_is_ok(const struct sql *q)
{
	return !has_failed(q);
}

static bool can_go(const struct sql *q)
{
	return q->rc == SQLITE_OK && q->status == KV_OK;
}

void sql_int(struct sql *q, int64_t value)
{
	if (can_go(q)) {
		q->rc = sqlite3_bind_int64(q->stmt, ++q->param, value);
	}
}

void sql_u64(struct sql *q, uint64_t value)
{
	sql_int(q, (int64_t)value);
}

void sql_blob(struct sql *q, struct slice bytes)
{
	if (can_go(q)) {
		/* A NULL pointer would bind NULL, not an empty blob. */
		q->rc = sqlite3_bind_blob64(q->stmt, ++q->param,
					    bytes.n == 0 ? (const void *)""
							 : bytes.p,
					    bytes.n, SQLITE_STATIC);
	}
}

void sql_text(struct sql *q, const char *text)
{
	PRE(text != NULL);
	if (can_go(q)) {
		q->rc = sqlite3_bind_text(q->stmt, ++q->param, text, -1,
					  SQLITE_STATIC);
	}
}

void sql_null(struct sql *q)
{
	if (can_go(q)) {
		q->rc = sqlite3_bind_null(q->stmt, ++q->param);
	}
}

bool sql_next(struct sql *q)
{
	if (q->status != KV_OK || (q->rc != SQLITE_OK && q->rc != SQLITE_ROW)) {
		return false;
	}
	if (q->st->in_tx && sqlite3_get_autocommit(q->st->db) != 0) {
		/* SQLite has rolled back by itself: what comes now would be
		 * saved alone. */
		q->rc = SQLITE_ABORT_ROLLBACK;
		return false;
	}
	errno = 0;
	q->rc = sqlite3_step(q->stmt);
	q->st->errnum = errno;
	q->column = 0;
	return q->rc == SQLITE_ROW;
}

int64_t sql_run(struct sql *q)
{
	while (sql_next(q)) {
	}
	return q->rc == SQLITE_DONE ? sqlite3_changes64(q->st->db) : 0;
}

void sql_again(struct sql *q)
{
	if (q->status == KV_OK &&
	    (q->rc == SQLITE_DONE || q->rc == SQLITE_ROW)) {
		q->rc = sqlite3_reset(q->stmt);
		q->param = 0;
	}
}

int64_t sql_get_int(struct sql *q)
{
	return sqlite3_column_int64(q->stmt, q->column++);
}

uint64_t sql_get_u64(struct sql *q)
{
	return (uint64_t)sql_get_int(q);
}

struct slice sql_get_blob(struct sql *q)
{
	int i = q->column++;
	const void *p = sqlite3_column_blob(q->stmt, i);
	int n = sqlite3_column_bytes(q->stmt, i);

	if (p == NULL && sqlite3_errcode(q->st->db) == SQLITE_NOMEM) {
		sql_stop(q, KV_NO_MEMORY, "no memory to read a row");
	}
	return slice_of(p, p == NULL || n < 0 ? 0 : (size_t)n);
}

void sql_get_text(struct sql *q, char *buf, size_t cap)
{
	struct slice s = sql_get_blob(q);
	size_t n = KV_MIN(s.n, cap - 1);

	PRE(cap > 0);
	if (n > 0) {
		memcpy(buf, s.p, n);
	}
	buf[n] = '\0';
}

bool sql_is_null(struct sql *q)
{
	return sqlite3_column_type(q->stmt, q->column) == SQLITE_NULL;
}

void sql_stop(struct sql *q, int status, const char *what)
{
	PRE(status != KV_OK);
	if (q->status == KV_OK && !has_failed(q)) {
		q->status = status;
		q->what = what;
	}
}

int sql_close(struct sql *q, struct kv_err *err)
{
	int status = KV_OK;

	if (q->status == KV_BROKEN) {
		status = sql_broken(q->st, q->what, err);
	} else if (q->status != KV_OK) {
		status = kv_fail(err, q->status, "state file %s: %s",
				 q->st->path, q->what);
	} else if (has_failed(q)) {
		status = sql_fail(q->st, q->rc, err);
	}
	if (q->stmt != NULL) {
		(void)sqlite3_reset(q->stmt); /* repeats the step's error */
		(void)sqlite3_clear_bindings(q->stmt);
	}
	return status;
}

/* ---- transactions */

static int run_one(struct state *st, enum sql_id id, struct kv_err *err)
{
	struct sql q = sql_open(st, id);

	(void)sql_run(&q);
	return sql_close(&q, err);
}

/* Without a transaction, or out of it. SQLite rolls back by itself after some
 * errors (full, memory), not after others. */
static int tx_leave(struct state *st, struct kv_err *err)
{
	if (sqlite3_get_autocommit(st->db) != 0) {
		return KV_OK;
	}
	return run_one(st, SQL_ROLLBACK, err);
}

int tx_begin(struct state *st, enum sql_id how, struct kv_err *err)
{
	int status = tx_leave(st, err); /* a rollback that failed before */

	PRE(how == SQL_BEGIN_READ || how == SQL_BEGIN_WRITE);
	if (status == KV_OK) {
		status = run_one(st, how, err);
	}
	st->in_tx = status == KV_OK;
	return status;
}

int tx_end(struct state *st, int status, struct kv_err *err)
{
	st->in_tx = false;
	if (status == KV_OK) {
		status = run_one(st, SQL_COMMIT, err);
	}
	if (status != KV_OK) {
		(void)tx_leave(st, NULL); /* else the next tx_begin does */
		memory_forget(st);
	}
	return status;
}

/* ---- without kept statements */

int sql_exec(struct state *st, const char *text, struct kv_err *err)
{
	int rc;

	errno = 0;
	rc = sqlite3_exec(st->db, text, NULL, NULL, NULL);
	st->errnum = errno;
	return rc == SQLITE_OK ? KV_OK : sql_fail(st, rc, err);
}

int sql_number(struct state *st, const char *text, int64_t *value,
	       struct kv_err *err)
{
	struct sql q = {.st = st};
	int status;

	*value = 0;
	q.rc = sqlite3_prepare_v2(st->db, text, -1, &q.stmt, NULL);
	if (sql_next(&q)) {
		*value = sql_get_int(&q);
	}
	status = sql_close(&q, err);
	(void)sqlite3_finalize(q.stmt);
	return status;
}
