/* store_tree.c: get_tree and list: a scan that also looks at `dir` itself.
 *
 *   get_tree, first page: read dir --> scan below dir --> both in one page
 *   list, first page:     scan below dir --> empty? is dir itself a key?
 *   further pages, and the whole tree: a plain scan
 */
#include "store/store_impl.h"

#define PAGE_BYTES ((size_t)4 * 1024 * 1024)

/* The inner requests of one call; freed at its end. */
struct tree {
	struct store_scan *req; /* the caller's */
	struct store_scan scan;
	struct slice dir;
	struct store_page *self; /* dir itself: one pair or none */
};

static int fail_missing(const struct tree *t, struct kv_err *err)
{
	char text[SLICE_PRINT_MAX];

	return kv_fail(err, KV_KEY_NOT_FOUND, "there is nothing at %s",
		       slice_print(t->dir, text, sizeof text));
}

/* Ends the call: req->err is set, and req->page when that is KV_OK. */
static void finish(struct tree *t)
{
	struct store_scan *req = t->req;

	PRE((req->err.status == KV_OK) == (req->page != NULL));
	store_page_free(t->self);
	kv_free(t);
	req_finish(&req->req);
	req->cb(req);
}

void tree_cancel(struct store_req *r)
{
	struct tree *t = r->impl;

	store_cancel(&t->scan.req);
}

/* An inner scan: of dir itself, or of what is below it. */
static int start_scan(struct tree *t, bool self, store_scan_cb cb)
{
	struct store_scan *req = t->req;
	size_t taken = t->self == NULL ? 0 : t->self->n;
	int rv;

	memset(&t->scan, 0, sizeof t->scan);
	if (self) {
		t->scan.keys = &t->dir;
		t->scan.n_keys = 1;
	} else {
		t->scan.dir = t->dir;
		t->scan.limit =
		    req->limit == 0 ? 0 : req->limit - (uint32_t)taken;
		t->scan.max_bytes = req->max_bytes;
	}
	t->scan.at = req->at;
	t->scan.names_only = req->names_only;
	t->scan.local = req->local;
	t->scan.cb = cb;
	t->scan.data = t;
	rv = store_scan(req->req.store, &t->scan);
	req->err = t->scan.err;
	return rv;
}

/* The next inner scan, if the caller still wants it. */
static void next_scan(struct tree *t, bool self, store_scan_cb cb)
{
	if (t->req->req.canceled) {
		(void)kv_fail(&t->req->err, KV_CANCELED, "scan: canceled");
		finish(t);
	} else if (start_scan(t, self, cb) != KV_OK) {
		finish(t);
	}
}

/* The common part of both calls' first step. */
static int start(struct store *st, struct store_scan *req, bool self,
		 store_scan_cb cb)
{
	struct tree *t;
	int rv;

	t = kv_calloc(1, sizeof *t);
	if (t == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY, "scan: out of memory");
	}
	t->req = req;
	t->dir = check_strip_dir(req->dir);
	req_begin(st, &req->req, STORE_REQ_TREE, NULL);
	req->req.impl = t;
	rv = start_scan(t, self, cb);
	if (rv != KV_OK) {
		kv_free(t);
	}
	return req_settle(&req->req, rv, &req->err);
}

static int prepare(struct store *st, struct store_scan *req)
{
	PRE(req->cb != NULL);
	kv_err_clear(&req->err);
	req->page = NULL;
	if (req->keys != NULL) {
		return kv_fail(&req->err, KV_BAD_ARGUMENT,
			       "get_tree and list take a directory, no keys");
	}
	return store_accepts(st, &req->err);
}

static bool is_plain(const struct store_scan *req)
{
	return check_strip_dir(req->dir).n == 0 || req->after.n > 0;
}

/* ---- get_tree ------------------------------------------------------------ */

/* Puts dir's own pair before those below it. */
static int put_first(struct store_page *page, const struct store_page *self)
{
	struct store_pair *pairs =
	    arena_alloc(&page->arena, (page->n + 1) * sizeof *pairs);

	if (pairs == NULL) {
		return KV_NO_MEMORY;
	}
	pairs[0] = self->pairs[0];
	pairs[0].key = slice_dup(&page->arena, self->pairs[0].key);
	pairs[0].value = slice_dup(&page->arena, self->pairs[0].value);
	if (pairs[0].key.p == NULL || pairs[0].value.p == NULL ||
	    !store_attrs_set(&page->arena, &pairs[0].attrs,
			     self->pairs[0].attrs)) {
		return KV_NO_MEMORY;
	}
	if (page->n > 0) {
		memcpy(pairs + 1, page->pairs, page->n * sizeof *pairs);
	}
	page->pairs = pairs;
	page->n++;
	return KV_OK;
}

/* Two reads make this page: it stands for the older of them. */
static int join(struct tree *t, struct store_page *page, struct kv_err *err)
{
	page->at = KV_MIN(page->at, t->self->at);
	if (t->self->n > 0) {
		return put_first(page, t->self) == KV_OK
			   ? KV_OK
			   : kv_fail(err, KV_NO_MEMORY,
				     "get_tree: out of memory");
	}
	return page->n > 0 ? KV_OK : fail_missing(t, err);
}

static void below_done(struct store_scan *scan)
{
	struct tree *t = scan->data;
	struct store_page *page = scan->page;

	t->req->err = scan->err;
	if (page != NULL && join(t, page, &t->req->err) != KV_OK) {
		store_page_free(page);
		page = NULL;
	}
	t->req->page = page;
	finish(t);
}

/* Is the page full with dir's own pair? */
static bool is_full(const struct tree *t)
{
	size_t max = t->req->max_bytes == 0 ? PAGE_BYTES : t->req->max_bytes;

	return t->self->n > 0 &&
	       (t->req->limit == 1 || t->self->pairs[0].value.n >= max);
}

static void self_done(struct store_scan *scan)
{
	struct tree *t = scan->data;

	t->req->err = scan->err;
	t->self = scan->page;
	if (scan->page == NULL) {
		finish(t);
	} else if (is_full(t)) {
		t->self->more = true;
		t->req->page = t->self;
		t->self = NULL;
		finish(t);
	} else {
		next_scan(t, false, below_done);
	}
}

int store_get_tree(struct store *st, struct store_scan *req)
{
	int rv = prepare(st, req);

	if (rv != KV_OK) {
		return rv;
	}
	return is_plain(req) ? store_scan(st, req)
			     : start(st, req, true, self_done);
}

/* ---- list ---------------------------------------------------------------- */

static void is_key_done(struct store_scan *scan)
{
	struct tree *t = scan->data;

	t->req->err = scan->err;
	if (scan->page != NULL && scan->page->n == 0) {
		(void)fail_missing(t, &t->req->err);
		store_page_free(scan->page);
	} else if (scan->page != NULL) {
		scan->page->n = 0; /* a key without children: an empty list */
		t->req->page = scan->page;
	}
	finish(t);
}

static void names_done(struct store_scan *scan)
{
	struct tree *t = scan->data;

	t->req->err = scan->err;
	if (scan->page != NULL && scan->page->n == 0) {
		store_page_free(scan->page);
		scan->page = NULL;
		next_scan(t, true, is_key_done);
		return;
	}
	t->req->page = scan->page;
	finish(t);
}

int store_list(struct store *st, struct store_scan *req)
{
	int rv = prepare(st, req);

	if (rv != KV_OK) {
		return rv;
	}
	req->names_only = true;
	return is_plain(req) ? store_scan(st, req)
			     : start(st, req, false, names_done);
}
