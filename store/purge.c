/* purge.c: the recursive delete.
 *
 *   scan a page of names --> write deletes, in batches, from the page's end
 *        ^                          |
 *        `-- more? after the last --'--> the key itself --> callback
 *
 * Deletes have no guard: a key that vanished meanwhile is no error, one that
 * was written meanwhile goes all the same. From the end, so that where names
 * are paths a child goes before its parent.
 */
#include "store/store_impl.h"

struct purge {
	struct store_page *page;
	size_t left; /* the page's keys [0, left) still have to go */
	struct store_op *ops;
	size_t cap;
	bool self; /* the key itself still has to go */
};

static void finish(struct store_single *req)
{
	struct purge *p = req->req.impl;
	char text[SLICE_PRINT_MAX];

	if (req->err.status == KV_OK && req->deleted == 0) {
		(void)kv_fail(&req->err, KV_KEY_NOT_FOUND,
			      "delete: there is nothing at %s or below",
			      slice_print(req->key, text, sizeof text));
	}
	store_page_free(p->page);
	kv_free(p->ops);
	kv_free(p);
	single_finish(req);
}

static int step(struct store_single *req);

/* Goes on, or ends with what stopped it. */
static void advance(struct store_single *req)
{
	if (req->err.status == KV_OK && req->req.canceled) {
		(void)kv_fail(&req->err, KV_CANCELED,
			      "delete: canceled after %llu keys",
			      (unsigned long long)req->deleted);
	}
	if (req->err.status != KV_OK || step(req) != KV_OK) {
		finish(req);
	}
}

static void scan_done(struct store_scan *scan)
{
	struct store_single *req = scan->data;
	struct purge *p = req->req.impl;

	req->err = scan->err;
	if (scan->page != NULL) {
		/* scan->after pointed into the old page until now. */
		store_page_free(p->page);
		p->page = scan->page;
		p->left = p->page->n;
		req->origin = p->page->origin;
		scan->page = NULL;
	}
	advance(req);
}

static void write_done(struct store_write *write)
{
	struct store_single *req = write->data;
	size_t i;

	for (i = 0; i < write->n_ops; i++) {
		req->deleted += write->ops[i].status == KV_OK;
	}
	req->err = write->err;
	if (write->err.status == KV_OK) {
		req->origin = write->origin;
	}
	advance(req);
}

static int scan_page(struct store_single *req)
{
	struct purge *p = req->req.impl;
	struct store_scan *scan = &req->scan;
	int rv;

	memset(scan, 0, sizeof *scan);
	scan->dir = req->key;
	if (p->page != NULL) {
		scan->after = p->page->pairs[p->page->n - 1].key;
	}
	scan->names_only = true;
	scan->cb = scan_done;
	scan->data = req;
	rv = store_scan(req->req.store, scan);
	req->err = scan->err;
	return rv;
}

static int write_ops(struct store_single *req, size_t n)
{
	struct purge *p = req->req.impl;
	struct store_write *write = &req->write;
	int rv;

	memset(write, 0, sizeof *write);
	write->ops = p->ops;
	write->n_ops = n;
	write->cb = write_done;
	write->data = req;
	rv = store_write(req->req.store, write);
	req->err = write->err;
	return rv;
}

static int add_op(struct store_single *req, size_t n, struct slice key)
{
	struct purge *p = req->req.impl;
	void *items = p->ops;

	if (!kv_grow(&items, &p->cap, n + 1, sizeof *p->ops)) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "delete: out of memory");
	}
	p->ops = items;
	memset(&p->ops[n], 0, sizeof p->ops[n]);
	p->ops[n].kind = STORE_OP_DELETE;
	p->ops[n].guard = STORE_GUARD_NONE;
	p->ops[n].key = key;
	return KV_OK;
}

/* As many keys as one write may hold (one at least: a write of one that is
 * too large says so itself). */
static int delete_some(struct store_single *req)
{
	const struct store_caps *caps = &req->req.store->caps;
	struct purge *p = req->req.impl;
	size_t n = 0, bytes = 0;
	struct slice key;
	int rv;

	while (p->left > 0) {
		key = p->page->pairs[p->left - 1].key;
		bytes += key.n;
		if (n > 0 &&
		    ((caps->max_ops > 0 && n == caps->max_ops) ||
		     (caps->max_bytes > 0 && bytes > caps->max_bytes))) {
			break;
		}
		rv = add_op(req, n, key);
		if (rv != KV_OK) {
			return rv;
		}
		n++;
		p->left--;
	}
	return write_ops(req, n);
}

static int delete_self(struct store_single *req)
{
	struct purge *p = req->req.impl;
	int rv = add_op(req, 0, req->key);

	p->self = false;
	return rv == KV_OK ? write_ops(req, 1) : rv;
}

/* One inner request, or non-zero: at the end, or failed (see req->err). */
static int step(struct store_single *req)
{
	struct purge *p = req->req.impl;

	if (p->page == NULL) {
		return scan_page(req);
	}
	if (p->left > 0) {
		return delete_some(req);
	}
	if (p->page->more) {
		return scan_page(req);
	}
	if (p->self) {
		return delete_self(req);
	}
	return KV_KEY_NOT_FOUND; /* the end: nothing is left */
}

/* PRE: the request was prepared (see store_single.c). */
int purge_start(struct store *st, struct store_single *req)
{
	int rv = check_key(st, req->key, &req->err);
	struct purge *p;

	if (rv != KV_OK) {
		return rv;
	}
	p = kv_calloc(1, sizeof *p);
	if (p == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "delete: out of memory");
	}
	/* A key that ends with '/' is below its own directory. */
	p->self = req->key.p[req->key.n - 1] != '/';
	req_begin(st, &req->req, STORE_REQ_SINGLE, NULL);
	req->req.impl = p;
	rv = step(req);
	if (rv != KV_OK) {
		kv_free(p);
	}
	return req_settle(&req->req, rv, &req->err);
}
