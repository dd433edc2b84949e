/* store_watch.c: the cursor of watch and watch_tree.
 *
 *   store_watch_open --> store_watch_next --> ops->changes ... callback
 *                              ^                                  |
 *                              `---------- when there is room <---'
 *   store_watch_close: no next outstanding: gone at once;
 *                      else cancel it, call back, gone then
 */
#include "store/store_impl.h"

struct store_watch *store_watch_open(struct store *st,
				     const struct store_watch_params *p)
{
	struct slice dir = check_strip_dir(p->dir);
	struct store_watch *w;
	uint8_t *bytes;

	PRE(st->closing == STORE_OPEN);
	/* The bytes of both names stand behind the struct. */
	w = kv_calloc(1, sizeof *w + dir.n + p->key.n);
	if (w == NULL) {
		return NULL;
	}
	w->impl = kv_calloc(1, st->ops->watch_size);
	if (w->impl == NULL) {
		kv_free(w);
		return NULL;
	}
	bytes = (uint8_t *)(w + 1);
	if (dir.n > 0) {
		memcpy(bytes, dir.p, dir.n);
	}
	if (p->key.n > 0) {
		memcpy(bytes + dir.n, p->key.p, p->key.n);
	}
	w->store = st;
	w->dir = slice_of(bytes, dir.n);
	w->key = slice_of(bytes + dir.n, p->key.n);
	w->after = p->after;
	w->known = p->known;
	list_init(&w->link);
	list_push_back(&st->watches, &w->link);
	return w;
}

void watch_free(struct store_watch *w)
{
	PRE(w->next == NULL);
	list_remove(&w->link);
	w->store->ops->unwatch(w);
	kv_free(w->impl);
	kv_free(w);
}

/* A result that nobody wants any more: the next watch delivers it again. */
static void drop_result(struct store_next *req)
{
	if (req->err.status == KV_OK) {
		store_batch_free(req->batch);
		req->batch = NULL;
		(void)kv_fail(&req->err, KV_CANCELED,
			      "watch: closed while it waited");
	}
}

/* Attrs come to those who asked for them, with a value. */
static void assert_batch(const struct store *st, const struct store_batch *b)
{
	for (size_t i = 0; b != NULL && i < b->n; i++) {
		ERGO(b->changes[i].attrs.n > 0,
		     (st->flags & STORE_ATTRS) != 0 &&
			 b->changes[i].action != STORE_DELETE);
	}
	(void)st;
}

static void deliver_next(struct store_req *r)
{
	struct store_next *req = kv_container_of(r, struct store_next, req);
	struct store_watch *w = r->watch;
	bool closing = w->closing; /* the callback may free w if it is not */

	PRE((req->err.status == KV_OK) == (req->batch != NULL));
	PRE(w->next == req);
	assert_batch(w->store, req->batch);
	w->next = NULL;
	if (closing) {
		drop_result(req);
	}
	w->ended = req->err.status != KV_OK;
	req->cb(req);
	if (closing) {
		watch_free(w);
	}
}

static int check_next(const struct store_watch *w, struct kv_err *err)
{
	int rv = store_accepts(w->store, err);

	if (rv != KV_OK) {
		return rv;
	}
	if (w->ended) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "watch: it ended with an error; open another");
	}
	return w->key.n > 0 ? check_key(w->store, w->key, err)
			    : check_dir(w->dir, err);
}

int store_watch_next(struct store_watch *w, struct store_next *req)
{
	struct store *st = w->store;
	int rv;

	PRE(req->cb != NULL);
	PRE(!w->closing && w->next == NULL);
	kv_err_clear(&req->err);
	req->batch = NULL;
	rv = check_next(w, &req->err);
	if (rv != KV_OK) {
		return rv;
	}
	req_begin(st, &req->req, STORE_REQ_NEXT, deliver_next);
	req->req.watch = w;
	w->next = req;
	rv = st->ops->changes(w, req);
	if (rv != KV_OK) {
		w->next = NULL;
	}
	return req_settle(&req->req, rv, &req->err);
}

void store_watch_close(struct store_watch *w)
{
	PRE(!w->closing);
	if (w->next == NULL) {
		watch_free(w);
		return;
	}
	w->closing = true;
	store_cancel(&w->next->req);
}
