/* kvfile_write.c: a batch of guarded operations in one transaction.
 *
 *   BEGIN IMMEDIATE -> for each op: guard, then the change -> COMMIT
 *                        any guard failed: only look at the rest, ROLLBACK
 */
#include "store/sqlite/kvfile.h"

static int no_memory(struct kv_err *err)
{
	return kv_fail(err, KV_NO_MEMORY, "no memory for a write");
}

static void set_all(struct store_write *req, int status)
{
	for (size_t i = 0; i < req->n_ops; i++) {
		req->ops[i].status = status;
	}
}

/* What the guard says: KV_OK, or why the op may not be done. */
static int judge(const struct store_op *op, bool there, uint64_t version)
{
	if (op->kind == STORE_OP_DELETE && !there) {
		return KV_KEY_NOT_FOUND;
	}
	if (op->guard == STORE_GUARD_ABSENT && there) {
		return KV_KEY_EXISTS;
	}
	if (op->guard == STORE_GUARD_VERSION &&
	    (!there || op->expect.a != version || op->expect.b != 0)) {
		return KV_KEY_MODIFIED;
	}
	return KV_OK;
}

/* Runs a prepared statement of key and value; SQLITE_OK when done. */
static int change(struct kvfile *f, enum kvfile_stmt which, struct slice key,
		  const struct slice *value)
{
	sqlite3_stmt *s = f->stmts[which];
	int rc = which == KVFILE_INSERT ? kvfile_bind_text(s, 1, key)
					: kvfile_bind_bytes(s, 1, key);

	if (rc == SQLITE_OK && value != NULL) {
		rc = kvfile_bind_text(s, 2, *value);
	}
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(s);
	}
	(void)sqlite3_reset(s);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int newest(struct kvfile *f, uint64_t *out)
{
	sqlite3_stmt *s = f->stmts[KVFILE_NEWEST];
	int rc = sqlite3_step(s);

	if (rc == SQLITE_ROW) {
		*out = (uint64_t)sqlite3_column_int64(s, 0);
		rc = SQLITE_OK;
	}
	(void)sqlite3_reset(s);
	return rc;
}

static int apply(struct kvfile *f, struct store_op *op, struct slice key,
		 bool there)
{
	int rc;

	if (op->kind == STORE_OP_DELETE) {
		rc = change(f, KVFILE_DELETE, key, NULL);
	} else {
		rc = change(f, there ? KVFILE_UPDATE : KVFILE_INSERT, key,
			    &op->value);
	}
	if (rc == SQLITE_OK) {
		/* The log's last row is this change's. */
		rc = newest(f, &op->index);
	}
	if (rc == SQLITE_OK && op->kind == STORE_OP_PUT) {
		op->version.a = op->index;
	}
	return rc;
}

/* Is the key there, and with which version? */
static int look_up(struct kvfile *f, struct slice key, bool *there,
		   uint64_t *version)
{
	sqlite3_stmt *s = f->stmts[KVFILE_VERSION];
	int rc = kvfile_bind_bytes(s, 1, key);

	if (rc == SQLITE_OK) {
		rc = sqlite3_step(s);
	}
	*there = rc == SQLITE_ROW;
	*version = *there ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
	(void)sqlite3_reset(s);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int kvfile_do(struct kvfile *f, struct store_op *op, struct slice key)
{
	uint64_t version;
	bool there;
	int rc = look_up(f, key, &there, &version);

	if (rc != SQLITE_OK || (op->kind == STORE_OP_DELETE && !there)) {
		return rc;
	}
	return apply(f, op, key, there);
}

/* The first failed guard becomes the request's error. */
static void note_failure(struct store_write *req, const struct store_op *op)
{
	char name[SLICE_PRINT_MAX];

	if (req->err.status != KV_OK) {
		return;
	}
	(void)kv_fail(&req->err, op->status, "%s: %s",
		      slice_print(op->key, name, sizeof name),
		      kv_status_text(op->status));
}

/* One op: judged always, done while no guard failed. */
static int do_op(struct kvfile *f, struct store_write *req, struct store_op *op,
		 struct slice key)
{
	uint64_t version;
	bool there;
	int rc = look_up(f, key, &there, &version);

	if (rc != SQLITE_OK) {
		return rc;
	}
	op->status = judge(op, there, version);
	if (op->status == KV_KEY_NOT_FOUND && op->guard == STORE_GUARD_NONE) {
		return SQLITE_OK;
	}
	if (op->status != KV_OK) {
		note_failure(req, op);
		return SQLITE_OK;
	}
	return req->err.status == KV_OK ? apply(f, op, key, there) : SQLITE_OK;
}

/* KV_OK: all judged (req->err: a guard failed); else the statement's error is
 * in req->err. */
static int do_ops(struct kvfile *f, const struct store *st,
		  struct store_write *req)
{
	struct arena arena = {0};
	int rv = KV_OK;

	for (size_t i = 0; i < req->n_ops && rv == KV_OK; i++) {
		struct slice key =
		    store_stored_key(st, &arena, req->ops[i].key);
		int rc;

		if (key.p == NULL) {
			rv = no_memory(&req->err);
			break;
		}
		rc = do_op(f, req, &req->ops[i], key);
		if (rc != SQLITE_OK) {
			rv = kvfile_fail(f, rc, "writing", &req->err);
		}
		arena_reset(&arena);
	}
	arena_free(&arena);
	return rv;
}

/* A guard failed: what could have been done was not. */
static void undo_results(struct store_write *req)
{
	for (size_t i = 0; i < req->n_ops; i++) {
		struct store_op *op = &req->ops[i];

		op->version = (struct store_version){0, 0};
		op->index = 0;
		if (op->status == KV_OK) {
			op->status = KV_CANCELED;
		}
	}
}

/* Does the hold stand that the write relies on? */
static int check_hold(struct kvfile *f, const struct store *st,
		      struct store_write *req)
{
	struct kvfile_hold hold = {.token = req->lock_token,
				   .now_ms = f->now_ms};
	struct arena arena = {0};
	int rv;

	if (req->lock_key.n == 0) {
		return KV_OK;
	}
	hold.key = store_stored_key(st, &arena, req->lock_key);
	rv = hold.key.p == NULL ? no_memory(&req->err)
				: kvfile_holds(f, &hold, &req->err);
	arena_free(&arena);
	return rv;
}

int kvfile_write(struct kvfile *f, const struct store *st,
		 struct store_write *req)
{
	struct kvfile_head head;
	uint64_t index;
	int rv = kvfile_begin(f, KVFILE_WRITE, &head, &req->err);

	if (rv != KV_OK) {
		goto err_all;
	}
	if (req->epoch != 0 && req->epoch != f->epoch) {
		kvfile_end(f);
		rv = kv_fail(&req->err, KV_NOT_REACHABLE,
			     "%s: another file stands there now", f->path);
		goto err_all;
	}
	rv = check_hold(f, st, req);
	if (rv == KV_CANNOT_LOCK) {
		kvfile_end(f);
		return rv; /* the ops are as they came: canceled */
	}
	if (rv == KV_OK) {
		rv = do_ops(f, st, req);
	}
	if (rv != KV_OK) {
		kvfile_end(f);
		goto err_all;
	}
	kvfile_origin(f, &head, &req->origin);
	if (req->err.status != KV_OK) {
		kvfile_end(f);
		undo_results(req);
		return req->err.status;
	}
	index = head.index;
	for (size_t i = 0; i < req->n_ops; i++) {
		index = KV_MAX(index, req->ops[i].index);
	}
	rv = kvfile_commit(f, &req->err);
	if (rv != KV_OK) {
		goto err_all;
	}
	req->origin.index = index;
	return KV_OK;

err_all:
	assert(rv != KV_OK);
	undo_results(req);
	set_all(req, rv);
	return rv;
}
