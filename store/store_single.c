/* store_single.c: libkv's calls on one key, made of a scan or a write of one.
 *
 *   get, exists            -> scan of one named key
 *   put, delete, atomic_*  -> write of one op
 *   delete, recursive      -> purge.c
 */
#include "store/store_impl.h"

void store_single_free(struct store_single *req)
{
	PRE(req->req.state == REQ_IDLE);
	store_page_free(req->page);
	req->page = NULL;
	memset(&req->pair, 0, sizeof req->pair);
}

void single_cancel(struct store_req *r)
{
	struct store_single *req = kv_container_of(r, struct store_single, req);

	store_cancel(&req->scan.req);
	store_cancel(&req->write.req);
}

void single_finish(struct store_single *req)
{
	req_finish(&req->req);
	req->cb(req);
}

/* Forgets the last use of the request. */
static int prepare(struct store *st, struct store_single *req)
{
	PRE(req->cb != NULL);
	store_single_free(req);
	kv_err_clear(&req->err);
	req->found = false;
	req->deleted = 0;
	memset(&req->origin, 0, sizeof req->origin);
	memset(&req->scan, 0, sizeof req->scan);
	memset(&req->write, 0, sizeof req->write);
	memset(&req->op, 0, sizeof req->op);
	return store_accepts(st, &req->err);
}

static int fail_missing(struct store_single *req)
{
	char text[SLICE_PRINT_MAX];

	return kv_fail(&req->err, KV_KEY_NOT_FOUND, "key %s not found",
		       slice_print(req->key, text, sizeof text));
}

static int fail_unreadable(struct store_single *req)
{
	char text[SLICE_PRINT_MAX];

	return kv_fail(&req->err, KV_DENIED,
		       "key %s may not be read: give credentials that may",
		       slice_print(req->key, text, sizeof text));
}

/* ---- reading ------------------------------------------------------------- */

static void take_page(struct store_single *req)
{
	req->err = req->scan.err;
	req->page = req->scan.page;
	req->scan.page = NULL;
	if (req->page == NULL) {
		return;
	}
	req->origin = req->page->origin;
	req->found = req->page->n == 1;
	if (req->found) {
		req->pair = req->page->pairs[0];
	}
}

static void get_done(struct store_scan *scan)
{
	struct store_single *req = scan->data;

	take_page(req);
	if (req->err.status == KV_OK && !req->found) {
		(void)fail_missing(req);
	} else if (req->err.status == KV_OK && req->pair.unreadable) {
		(void)fail_unreadable(req);
	}
	single_finish(req);
}

static void exists_done(struct store_scan *scan)
{
	struct store_single *req = scan->data;

	take_page(req);
	single_finish(req);
}

static int start_read(struct store *st, struct store_single *req,
		      bool names_only, store_scan_cb cb)
{
	int rv = prepare(st, req);

	if (rv != KV_OK) {
		return rv;
	}
	req->scan.keys = &req->key;
	req->scan.n_keys = 1;
	req->scan.names_only = names_only;
	req->scan.cb = cb;
	req->scan.data = req;
	req_begin(st, &req->req, STORE_REQ_SINGLE, NULL);
	rv = store_scan(st, &req->scan);
	req->err = req->scan.err;
	return req_settle(&req->req, rv, &req->err);
}

int store_get(struct store *st, struct store_single *req)
{
	return start_read(st, req, false, get_done);
}

int store_exists(struct store *st, struct store_single *req)
{
	return start_read(st, req, true, exists_done);
}

/* ---- writing ------------------------------------------------------------- */

/* A guard by version on a key that is gone is told apart by delete only. */
static int outcome_of(const struct store_single *req)
{
	int status =
	    req->err.status == KV_OK ? req->op.status : req->err.status;

	if (status == KV_KEY_NOT_FOUND && req->op.kind == STORE_OP_PUT) {
		return KV_KEY_MODIFIED;
	}
	return status;
}

static void write_done(struct store_write *write)
{
	struct store_single *req = write->data;
	char text[SLICE_PRINT_MAX];
	int status;

	req->err = write->err;
	req->origin = write->origin;
	status = outcome_of(req);
	if (status == KV_KEY_NOT_FOUND) {
		(void)fail_missing(req);
	} else if (status != req->err.status) {
		(void)kv_fail(&req->err, status, "key %s: %s",
			      slice_print(req->key, text, sizeof text),
			      kv_status_text(status));
	} else if (status == KV_OK && req->op.kind == STORE_OP_PUT) {
		req->pair.key = req->key;
		req->pair.index = req->op.index;
		req->pair.version = req->op.version;
	} else if (status == KV_OK) {
		req->deleted = 1;
	}
	single_finish(req);
}

static int start_write(struct store *st, struct store_single *req,
		       enum store_op_kind kind, enum store_guard guard)
{
	struct store_version expect = {0};
	int rv;

	/* `previous` may be req->pair itself, which prepare forgets. */
	if (guard == STORE_GUARD_VERSION) {
		expect = req->previous->version;
	}
	rv = prepare(st, req);
	if (rv != KV_OK) {
		return rv;
	}
	req->op.kind = kind;
	req->op.guard = guard;
	req->op.key = req->key;
	if (kind == STORE_OP_PUT) {
		req->op.value = req->value;
		req->op.attrs = req->attrs;
	}
	req->op.expect = expect;
	req->write.ops = &req->op;
	req->write.n_ops = 1;
	req->write.cb = write_done;
	req->write.data = req;
	req_begin(st, &req->req, STORE_REQ_SINGLE, NULL);
	rv = store_write(st, &req->write);
	req->err = req->write.err;
	return req_settle(&req->req, rv, &req->err);
}

int store_put(struct store *st, struct store_single *req)
{
	return start_write(st, req, STORE_OP_PUT, STORE_GUARD_NONE);
}

int store_delete(struct store *st, struct store_single *req)
{
	int rv;

	if (!req->recursive) {
		return start_write(st, req, STORE_OP_DELETE, STORE_GUARD_NONE);
	}
	rv = prepare(st, req);
	return rv == KV_OK ? purge_start(st, req) : rv;
}

int store_atomic_put(struct store *st, struct store_single *req)
{
	return start_write(st, req, STORE_OP_PUT,
			   req->previous == NULL ? STORE_GUARD_ABSENT
						 : STORE_GUARD_VERSION);
}

int store_atomic_delete(struct store *st, struct store_single *req)
{
	if (req->previous == NULL) {
		return kv_fail(&req->err, KV_PREVIOUS_NOT_SPECIFIED,
			       "atomic_delete: give the pair as last read");
	}
	return start_write(st, req, STORE_OP_DELETE, STORE_GUARD_VERSION);
}
