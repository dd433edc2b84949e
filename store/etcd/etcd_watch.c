/* etcd_watch.c: see etcd_watch.h for the phases.
 *
 *   stream --> message --> decode --> events --> step --> store_done
 *                 `--> held back when 4 MiB wait: the server is not given
 *                      more than a window of 4 MiB until somebody pulls
 *
 * The watch has a connection of its own, so that its events do not wait behind
 * pages. It does not repair itself: whoever pulls is told that it ended, looks
 * who is there now, and opens another one.
 */
#include "store/etcd/etcd_watch.h"

#define QUEUE_BYTES ((size_t)4 * 1024 * 1024)

/* ---- ends ---------------------------------------------------------------- */

void etcd_watch_hang_up(struct etcd_watch *ew)
{
	grpc_cancel(&ew->stream);
	grpc_cancel(&ew->status);
	if (ew->g != NULL) {
		grpc_close(ew->g);
		ew->g = NULL;
	}
}

static void stop_call(struct etcd_watch *ew)
{
	if (ew->calling) {
		ew->calling = false;
		etcd_call_cancel(&ew->call);
	}
}

/* What a watch may end with; see store_watch_next. */
static int watch_status(int status)
{
	switch (status) {
	case KV_HISTORY_LOST:
	case KV_DENIED:
	case KV_NO_MEMORY:
	case KV_BROKEN:
	case KV_BAD_ARGUMENT:
	case KV_CALL_NOT_SUPPORTED:
		return status;
	default:
		return KV_NOT_REACHABLE;
	}
}

void etcd_watch_fail(struct etcd_watch *ew, const struct kv_err *err)
{
	PRE(err->status != KV_OK);
	if (ew->phase == WATCH_ENDED) {
		return;
	}
	ew->phase = WATCH_ENDED;
	ew->err = *err;
	ew->err.status = watch_status(err->status);
	sched_timer_stop(&ew->opening);
	etcd_want_stop(ew);
	stop_call(ew);
	etcd_watch_hang_up(ew);
	etcd_watch_step(ew);
}

static void fail(struct etcd_watch *ew, int status, const char *text)
{
	struct kv_err err;

	(void)kv_fail(&err, status, "etcd: %s", text);
	etcd_watch_fail(ew, &err);
}

void etcd_watch_maybe_free(struct etcd_watch *ew)
{
	if (ew->w != NULL || ew->connections > 0) {
		return;
	}
	etcd_events_free(&ew->events);
	store_batch_free(ew->init);
	arena_free(&ew->names);
	arena_free(&ew->proof_names);
	kv_free(ew->create);
	kv_free(ew);
}

/* ---- handing out --------------------------------------------------------- */

static void answer(struct etcd_watch *ew, struct store_batch *b)
{
	struct store_next *next = ew->next;

	ew->next = NULL;
	b->origin = ew->origin;
	b->origin.index = KV_MAX(b->origin.index, b->index);
	next->batch = b;
	store_done(&next->req);
}

static void answer_err(struct etcd_watch *ew, const struct kv_err *err)
{
	struct store_next *next = ew->next;

	ew->next = NULL;
	next->err = *err;
	store_done(&next->req);
}

void etcd_watch_no_memory(struct etcd_watch *ew)
{
	fail(ew, KV_NO_MEMORY, "no memory for a watch");
}

/* A mark without changes: the caller wants one for a position it passed. */
static void maybe_mark(struct etcd_watch *ew)
{
	struct store_batch *b;

	if (ew->next->want == 0 || ew->phase != WATCH_LIVE ||
	    ew->events.position < ew->next->want) {
		return;
	}
	b = store_batch_new();
	if (b == NULL) {
		etcd_watch_no_memory(ew);
		return;
	}
	b->index = ew->events.position;
	answer(ew, b);
}

void etcd_watch_step(struct etcd_watch *ew)
{
	struct store_batch *b = NULL;
	bool full = ew->events.bytes >= QUEUE_BYTES;

	if (ew->next == NULL ||
	    (ew->phase != WATCH_LIVE && ew->phase != WATCH_ENDED)) {
		return;
	}
	if (ew->init != NULL) {
		b = ew->init;
		ew->init = NULL;
		answer(ew, b);
		return;
	}
	if (ew->lived && etcd_events_take(&ew->events, full, &b) != KV_OK) {
		etcd_watch_no_memory(ew);
		return;
	}
	if (ew->events.bytes < QUEUE_BYTES) {
		grpc_pause(&ew->stream, false);
	}
	if (b != NULL) {
		answer(ew, b);
		return;
	}
	if (ew->phase == WATCH_ENDED) {
		answer_err(ew, &ew->err);
		return;
	}
	maybe_mark(ew);
	if (ew->next != NULL) {
		etcd_want_maybe_start(ew);
	}
}

/* ---- the stream ---------------------------------------------------------- */

static bool has(const char *text, const char *part)
{
	return text != NULL && strstr(text, part) != NULL;
}

/* The token may have been forgotten by the server: once, with a new one. */
static bool maybe_reauthenticate(struct etcd_watch *ew)
{
	if (ew->e->client.user == NULL || ew->reauthenticated ||
	    ew->phase == WATCH_LIVE) {
		return false;
	}
	ew->reauthenticated = true;
	etcd_client_drop_token(&ew->e->client, ew->token_gen);
	sched_timer_stop(&ew->opening);
	stop_call(ew);
	etcd_watch_hang_up(ew);
	ew->phase = WATCH_IDLE;
	if (ew->next != NULL) {
		struct store_next *next = ew->next;

		ew->next = NULL;
		(void)etcd_changes(ew->w, next);
	}
	return true;
}

static void on_canceled(struct etcd_watch *ew,
			const Etcdserverpb__WatchResponse *m)
{
	const char *why = m->cancel_reason;
	struct kv_err err;

	if (m->compact_revision != 0 || has(why, "compacted")) {
		(void)kv_fail(&err, KV_HISTORY_LOST,
			      "etcd: revisions before %lld were compacted away",
			      (long long)m->compact_revision);
	} else if (has(why, "permission denied") || has(why, "auth") ||
		   has(why, "user name is empty")) {
		if (maybe_reauthenticate(ew)) {
			return;
		}
		(void)kv_fail(&err, KV_DENIED, "etcd: watch refused: %s", why);
	} else {
		(void)kv_fail(&err, KV_BROKEN, "etcd: watch canceled: %s",
			      why == NULL || why[0] == '\0' ? "no reason given"
							    : why);
	}
	etcd_watch_fail(ew, &err);
}

static void on_created(struct etcd_watch *ew,
		       const Etcdserverpb__WatchResponse *m)
{
	struct store_origin there = {0};

	if (ew->phase != WATCH_CREATING) {
		fail(ew, KV_BROKEN, "a watch was created twice");
		return;
	}
	if (m->header != NULL) {
		etcd_origin(ew->e, m->header, 0, &there);
		if (strcmp(there.identity, ew->origin.identity) != 0) {
			fail(ew, KV_NOT_REACHABLE,
			     "the endpoints belong to different clusters");
			return;
		}
	}
	sched_timer_stop(&ew->opening);
	ew->phase = WATCH_CHECKING;
	etcd_watch_check(ew);
}

static void on_response(struct etcd_watch *ew, Etcdserverpb__WatchResponse *m,
			struct arena *arena)
{
	struct kv_err err;
	int rv = KV_OK;

	if (m->header != NULL && m->header->revision > 0) {
		ew->origin.index =
		    KV_MAX(ew->origin.index, (uint64_t)m->header->revision);
	}
	if (m->canceled) {
		on_canceled(ew, m);
		return;
	}
	if (m->created) {
		on_created(ew, m);
		return;
	}
	if (m->n_events > 0) {
		rv = etcd_events_add(&ew->events, m, arena, &err);
	} else if (m->header != NULL && m->header->revision > 0 &&
		   etcd_events_mark(&ew->events,
				    (uint64_t)m->header->revision) != KV_OK) {
		rv = kv_fail(&err, KV_NO_MEMORY, "etcd: no memory for events");
	}
	if (rv != KV_OK) {
		etcd_watch_fail(ew, &err);
		return;
	}
	if (ew->events.bytes >= QUEUE_BYTES) {
		grpc_pause(&ew->stream, true);
	}
	if (ew->phase == WATCH_LIVE) {
		etcd_watch_step(ew);
	}
}

void etcd_watch_message_cb(struct grpc_call *call, uint8_t *p, size_t n)
{
	struct etcd_watch *ew =
	    kv_container_of(call, struct etcd_watch, stream);
	Etcdserverpb__WatchResponse *m;
	struct arena arena = {0};
	struct kv_err err;

	etcd_want_stop(ew);
	if (etcd_unpack(&etcdserverpb__watch_response__descriptor, &arena, p, n,
			&m, &err) != KV_OK) {
		etcd_watch_fail(ew, &err);
	} else {
		on_response(ew, m, &arena);
	}
	arena_free(&arena);
	kv_free(p);
}

void etcd_watch_done_cb(struct grpc_call *call)
{
	struct etcd_watch *ew =
	    kv_container_of(call, struct etcd_watch, stream);
	struct etcd_fault f;
	struct kv_err err;

	if (call->end != GRPC_END_STATUS || call->code == 0) {
		(void)kv_fail(
		    &err,
		    call->end == GRPC_END_NO_MEMORY ? KV_NO_MEMORY
						    : KV_NOT_REACHABLE,
		    "etcd: the watch was lost: %s",
		    call->end == GRPC_END_STATUS ? "the server ended it"
						 : call->text);
	} else {
		f = etcd_fault_find(call->code, call->text, false);
		if (f.remedy == ETCD_REMEDY_TOKEN && maybe_reauthenticate(ew)) {
			return;
		}
		(void)etcd_fault_err(f, call->code, call->text, &err);
	}
	if (ew->phase == WATCH_CREATING &&
	    watch_status(err.status) == KV_NOT_REACHABLE) {
		etcd_watch_try_elsewhere(ew, &err);
		return;
	}
	etcd_watch_fail(ew, &err);
}

/* ---- what store.c calls -------------------------------------------------- */

static struct etcd_watch **slot(struct store_watch *w)
{
	return w->impl;
}

static bool set_range(struct etcd_watch *ew)
{
	const struct etcd_keys *k = &ew->e->keys;

	if (!ew->single) {
		return etcd_keys_range(k, &ew->names, ew->w->dir,
				       slice_of(NULL, 0), &ew->range);
	}
	ew->range.start = etcd_keys_store(k, &ew->names, ew->w->key);
	ew->range.end = slice_of(NULL, 0);
	return ew->range.start.p != NULL;
}

static int watch_new(struct store_watch *w, struct kv_err *err)
{
	struct etcd_watch *ew = kv_calloc(1, sizeof *ew);

	if (ew == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "etcd: no memory to watch");
	}
	ew->e = etcd_of(w->store);
	ew->w = w;
	ew->single = w->key.n > 0;
	if (!set_range(ew)) {
		arena_free(&ew->names);
		kv_free(ew);
		return kv_fail(err, KV_NO_MEMORY, "etcd: no memory to watch");
	}
	etcd_watch_open_init(ew);
	etcd_events_init(&ew->events, &ew->e->keys, w->after);
	etcd_want_init(ew);
	*slot(w) = ew;
	return KV_OK;
}

int etcd_changes(struct store_watch *w, struct store_next *req)
{
	struct etcd_watch *ew;
	int rv;

	if (*slot(w) == NULL) {
		rv = watch_new(w, &req->err);
		if (rv != KV_OK) {
			return rv;
		}
	}
	ew = *slot(w);
	PRE(ew != NULL && ew->next == NULL);
	ew->next = req;
	if (ew->phase == WATCH_IDLE) {
		etcd_watch_look(ew);
	} else {
		etcd_watch_step(ew);
	}
	return KV_OK;
}

void etcd_changes_cancel(struct store_next *req)
{
	struct etcd_watch *ew = *slot(req->req.watch);
	struct kv_err err;

	PRE(ew->next == req);
	etcd_want_stop(ew);
	(void)kv_fail(&err, KV_CANCELED, "etcd: watch canceled");
	answer_err(ew, &err);
}

void etcd_unwatch(struct store_watch *w)
{
	struct etcd_watch *ew = *slot(w);

	if (ew == NULL) {
		return;
	}
	PRE(ew->next == NULL);
	*slot(w) = NULL;
	ew->phase = WATCH_ENDED;
	sched_timer_stop(&ew->opening);
	etcd_want_stop(ew);
	stop_call(ew);
	etcd_watch_hang_up(ew);
	ew->w = NULL;
	etcd_watch_maybe_free(ew);
}
