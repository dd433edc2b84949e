/* store.c: the handle of a store, and the contract of its requests.
 *
 *   caller --submit--> check --> ops->scan, write, changes, lock
 *                                         |
 *   callback <-- later turn (posted) <-- store_done, from anywhere
 *
 * Every completion is posted, also those that come from inside an op or from
 * a socket's callback: a callback may then submit, cancel and close whatever
 * it likes, as no frame of a backend is below it.
 *
 * Close:
 *   STORE_WAITING  everything outstanding was canceled and is waited for
 *   STORE_BACKEND  watches are gone, ops->close was called
 *   STORE_GONE     store_closed came; freed on the next turn
 */
#include "store/store_impl.h"

/* ---- the life of a request ----------------------------------------------- */

static void run_delivery(struct sched_task *task)
{
	struct store_req *req = kv_container_of(task, struct store_req, task);
	struct store *st = req->store;

	PRE(req->state == REQ_DONE);
	list_remove(&req->link);
	req->state = REQ_IDLE;
	req->impl = NULL;
	req->deliver(req); /* may free the request */
	store_maybe_close(st);
}

void req_begin(struct store *st, struct store_req *req, uint8_t kind,
	       void (*deliver)(struct store_req *req))
{
	PRE(req->state == REQ_IDLE);
	PRE(st->closing == STORE_OPEN);
	req->store = st;
	req->watch = NULL;
	req->deliver = deliver;
	req->impl = NULL;
	req->kind = kind;
	req->canceled = false;
	req->task.run = run_delivery;
	req->state = REQ_SUBMITTING;
	list_init(&req->link);
	list_push_back(&st->outstanding, &req->link);
}

int req_settle(struct store_req *req, int rv, struct kv_err *err)
{
	if (rv == KV_OK) {
		PRE(req->state == REQ_SUBMITTING || req->state == REQ_DONE);
		if (req->state == REQ_SUBMITTING) {
			req->state = REQ_OUTSTANDING;
		}
		return KV_OK;
	}
	PRE(req->state == REQ_SUBMITTING); /* refused and done is a fault */
	list_remove(&req->link);
	req->state = REQ_IDLE;
	req->impl = NULL;
	if (err->status != rv) {
		(void)kv_fail(err, rv, "%s: %s", req->store->ops->name,
			      kv_status_text(rv));
	}
	return rv;
}

void store_done(struct store_req *req)
{
	PRE(req->state == REQ_SUBMITTING || req->state == REQ_OUTSTANDING);
	req->state = REQ_DONE;
	sched_post(req->store->sched, &req->task);
}

void req_finish(struct store_req *req)
{
	PRE(req->state == REQ_OUTSTANDING);
	list_remove(&req->link);
	req->state = REQ_IDLE;
	req->impl = NULL;
}

/* A result that has come already beats the wish. */
void store_cancel(struct store_req *req)
{
	if (req->state != REQ_OUTSTANDING || req->canceled) {
		return;
	}
	req->canceled = true;
	switch (req->kind) {
	case STORE_REQ_SINGLE:
		single_cancel(req);
		break;
	case STORE_REQ_TREE:
		tree_cancel(req);
		break;
	case STORE_REQ_LOCK_WAIT:
		lock_wait_cancel(req);
		break;
	default:
		req->store->ops->cancel(req->store, req);
	}
}

int store_accepts(const struct store *st, struct kv_err *err)
{
	if (st->closing != STORE_OPEN) {
		return kv_fail(err, KV_CANCELED, "%s: the store is closing",
			       st->ops->name);
	}
	return KV_OK;
}

/* ---- open ---------------------------------------------------------------- */

static void free_store(struct store *st)
{
	uri_free(st->uri);
	kv_free(st->impl);
	kv_free(st);
}

static int find_backend(const struct store_registry *r, const char *scheme,
			const struct store_ops **ops, struct kv_err *err)
{
	char schemes[256];

	*ops = registry_find(r, scheme);
	if (*ops != NULL) {
		return KV_OK;
	}
	return kv_fail(err, KV_BACKEND_NOT_SUPPORTED,
		       "no backend for the scheme '%.40s'; there are: %s",
		       scheme, registry_schemes(r, schemes, sizeof schemes));
}

/* Everything but the backend's own part. Takes over the URI on success. */
static struct store *new_store(const struct store_ops *ops, struct sched *s,
			       struct uri *u, unsigned flags)
{
	struct store *st = kv_calloc(1, sizeof *st);

	if (st == NULL) {
		return NULL;
	}
	st->impl = kv_calloc(1, ops->store_size);
	if (st->impl == NULL) {
		kv_free(st);
		return NULL;
	}
	st->ops = ops;
	st->sched = s;
	st->uri = u;
	st->flags = ops->has_attrs ? flags : flags & ~(unsigned)STORE_ATTRS;
	list_init(&st->outstanding);
	list_init(&st->watches);
	list_init(&st->held);
	return st;
}

int store_open(const struct store_registry *r, struct sched *s,
	       const char *uri_text, unsigned flags, struct store **out,
	       struct kv_err *err)
{
	struct kv_err ignored = {0};
	const struct store_ops *ops;
	struct store *st;
	struct uri *u;
	int rv;

	*out = NULL;
	err = err == NULL ? &ignored : err;
	rv = uri_parse(uri_text, &u, err);
	if (rv != KV_OK) {
		return rv;
	}
	rv = find_backend(r, u->scheme, &ops, err);
	if (rv != KV_OK) {
		goto err_uri;
	}
	rv = options_check(ops->options, u->options, u->n_options, err);
	if (rv != KV_OK) {
		goto err_uri;
	}
	st = new_store(ops, s, u, flags);
	if (st == NULL) {
		rv = kv_fail(err, KV_NO_MEMORY, "%s: out of memory", ops->name);
		goto err_uri;
	}
	rv = ops->open(st, err);
	if (rv != KV_OK) {
		if (err->status != rv) {
			(void)kv_fail(err, rv, "%s: %s", ops->name,
				      kv_status_text(rv));
		}
		goto err_store;
	}
	*out = st;
	return KV_OK;

err_store:
	assert(rv != KV_OK);
	free_store(st); /* with the URI */
	return rv;
err_uri:
	assert(rv != KV_OK);
	uri_free(u);
	return rv;
}

/* ---- close --------------------------------------------------------------- */

static void finish_close(struct sched_task *task)
{
	struct store *st = kv_container_of(task, struct store, close_task);
	void (*closed)(void *ctx) = st->closed;
	void *ctx = st->closed_ctx;

	PRE(st->closing == STORE_GONE);
	free_store(st);
	if (closed != NULL) {
		closed(ctx);
	}
}

void store_closed(struct store *st)
{
	struct list *l;

	PRE(st->closing == STORE_BACKEND);
	while ((l = list_first(&st->held)) != NULL) {
		held_free(kv_container_of(l, struct store_held, link));
	}
	st->closing = STORE_GONE;
	st->close_task.run = finish_close;
	sched_post(st->sched, &st->close_task);
}

static void close_backend(struct sched_task *task)
{
	struct store *st = kv_container_of(task, struct store, close_task);
	struct list *l;

	PRE(st->closing == STORE_WAITING);
	PRE(list_empty(&st->outstanding));
	while ((l = list_first(&st->watches)) != NULL) {
		watch_free(kv_container_of(l, struct store_watch, link));
	}
	st->closing = STORE_BACKEND;
	st->ops->close(st);
}

void store_maybe_close(struct store *st)
{
	if (st->closing == STORE_WAITING && list_empty(&st->outstanding)) {
		st->close_task.run = close_backend;
		sched_post(st->sched, &st->close_task);
	}
}

/* Requests leave the list only when they are delivered, on a later turn: the
 * walk is safe whatever the backend does inside cancel. */
void store_close(struct store *st, void (*closed)(void *ctx), void *ctx)
{
	struct list *l;

	PRE(st->closing == STORE_OPEN);
	st->closing = STORE_WAITING;
	st->closed = closed;
	st->closed_ctx = ctx;
	for (l = st->held.next; l != &st->held; l = l->next) {
		held_mute(kv_container_of(l, struct store_held, link));
	}
	for (l = st->outstanding.next; l != &st->outstanding; l = l->next) {
		store_cancel(kv_container_of(l, struct store_req, link));
	}
	store_maybe_close(st);
}

/* ---- what one may ask of a handle ---------------------------------------- */

const struct store_caps *store_capabilities(const struct store *st)
{
	return &st->caps;
}

const struct uri *store_uri(const struct store *st)
{
	return st->uri;
}

bool store_carries_attrs(const struct store *st)
{
	return (st->flags & STORE_ATTRS) != 0;
}

struct sched *store_sched(const struct store *st)
{
	return st->sched;
}
