/* store_calls.c: the calls that go to a backend as they are: scan, write.
 *
 *   check (store_check.c) --> req_begin --> op --> req_settle
 *   deliver: check what came back --> callback
 */
#include "store/store_impl.h"

static void deliver_scan(struct store_req *r)
{
	struct store_scan *req = kv_container_of(r, struct store_scan, req);

	PRE((req->err.status == KV_OK) == (req->page != NULL));
	if (req->page != NULL && check_page(req, &req->err) != KV_OK) {
		store_page_free(req->page);
		req->page = NULL;
	}
	req->cb(req);
}

/* A position before all that is below the directory is its start: backends are
 * spared the keys that sort in between (`/a` < `/a!` < `/a/`). */
static bool is_before(struct slice after, struct slice dir)
{
	return slice_cmp(after, dir) <= 0 ||
	       (slice_starts(after, dir) && after.p[dir.n] < '/');
}

int store_scan(struct store *st, struct store_scan *req)
{
	int rv;

	PRE(req->cb != NULL);
	kv_err_clear(&req->err);
	req->page = NULL;
	rv = store_accepts(st, &req->err);
	if (rv != KV_OK) {
		return rv;
	}
	rv = check_scan(st, req, &req->err);
	if (rv != KV_OK) {
		return rv;
	}
	req->dir = check_strip_dir(req->dir);
	if (is_before(req->after, req->dir)) {
		req->after = slice_of(NULL, 0);
	}
	req_begin(st, &req->req, STORE_REQ_SCAN, deliver_scan);
	rv = st->ops->scan(st, req);
	return req_settle(&req->req, rv, &req->err);
}

/* Facts that every backend promises about its results. */
static void assert_write(const struct store_write *req)
{
	size_t i;

	for (i = 0; i < req->n_ops; i++) {
		const struct store_op *op = &req->ops[i];

		ERGO(req->err.status == KV_OK,
		     op->status == KV_OK || (op->status == KV_KEY_NOT_FOUND &&
					     op->kind == STORE_OP_DELETE &&
					     op->guard == STORE_GUARD_NONE));
		(void)op;
	}
}

static void deliver_write(struct store_req *r)
{
	struct store_write *req = kv_container_of(r, struct store_write, req);

	assert_write(req);
	req->cb(req);
}

static int check_fence(const struct store *st, const struct store_write *req,
		       struct kv_err *err)
{
	if (req->lock_key.n == 0) {
		return KV_OK;
	}
	if (st->ops->lock == NULL) {
		return kv_fail(err, KV_CALL_NOT_SUPPORTED,
			       "write: backend %s has no locks to rely on",
			       st->ops->name);
	}
	if (st->caps.max_ops > 0 && req->n_ops >= st->caps.max_ops) {
		return kv_fail(
		    err, KV_TOO_LARGE,
		    "write: %zu operations and the lock are over the "
		    "limit of %u",
		    req->n_ops, st->caps.max_ops);
	}
	return check_key(st, req->lock_key, err);
}

int store_write(struct store *st, struct store_write *req)
{
	int rv;

	PRE(req->cb != NULL);
	kv_err_clear(&req->err);
	memset(&req->origin, 0, sizeof req->origin);
	rv = store_accepts(st, &req->err);
	if (rv != KV_OK) {
		return rv;
	}
	rv = check_write(st, req, &req->err);
	if (rv != KV_OK) {
		return rv;
	}
	rv = check_fence(st, req, &req->err);
	if (rv != KV_OK) {
		return rv;
	}
	req_begin(st, &req->req, STORE_REQ_WRITE, deliver_write);
	rv = st->ops->write(st, req);
	return req_settle(&req->req, rv, &req->err);
}
