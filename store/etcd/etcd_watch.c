/* etcd_watch.c: see etcd_watch.h for the phases.
 *
 *   stream --> message_cb --> decode --> events --> step --> store_done
 *                 `--> held back when 4 MiB wait: the server is not given
 *                      more than a window of 4 MiB until somebody pulls
 *
 * The watch has a connection of its own, so that its events do not wait behind
 * pages. It does not repair itself: whoever pulls is told that it ended, looks
 * who is there now, and opens another one.
 */
#include "store/etcd/etcd_watch.h"

#define QUEUE_BYTES ((size_t)4 * 1024 * 1024)
#define WATCH_WINDOW (4u * 1024 * 1024)
/* No server sends as much in one message. */
#define MESSAGE_MAX ((size_t)1024 * 1024 * 1024)

static void dial(struct etcd_watch *ew);

/* ---- ends ---------------------------------------------------------------- */

static void hang_up(struct etcd_watch *ew)
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
	hang_up(ew);
	etcd_watch_step(ew);
}

static void fail(struct etcd_watch *ew, int status, const char *text)
{
	struct kv_err err;

	(void)kv_fail(&err, status, "etcd: %s", text);
	etcd_watch_fail(ew, &err);
}

static void maybe_free(struct etcd_watch *ew)
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

static void no_memory(struct etcd_watch *ew)
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
		no_memory(ew);
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
		no_memory(ew);
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
	hang_up(ew);
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

static void check_history(struct etcd_watch *ew);

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
	check_history(ew);
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

static void message_cb(struct grpc_call *call, uint8_t *p, size_t n)
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

/* Another endpoint may do better, while the watch is not open yet. */
static void try_elsewhere(struct etcd_watch *ew, const struct kv_err *why)
{
	struct kv_err err;

	etcd_client_note(&ew->e->client, ew->endpoint, why);
	hang_up(ew);
	ew->endpoint++;
	if (ew->attempts > 0) {
		ew->attempts--;
	}
	if (ew->attempts > 0) {
		ew->phase = WATCH_DIALING;
		dial(ew);
		return;
	}
	(void)etcd_client_unreachable(&ew->e->client, &err);
	etcd_watch_fail(ew, &err);
}

static void stream_done_cb(struct grpc_call *call)
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
		try_elsewhere(ew, &err);
		return;
	}
	etcd_watch_fail(ew, &err);
}

/* ---- opening ------------------------------------------------------------- */

static uint8_t *pack_create(const struct etcd_watch *ew, size_t *n)
{
	Etcdserverpb__WatchRequest m = ETCDSERVERPB__WATCH_REQUEST__INIT;
	Etcdserverpb__WatchCreateRequest c =
	    ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;

	c.key = etcd_bytes(ew->range.start);
	c.range_end = etcd_bytes(ew->range.end);
	c.start_revision = (int64_t)ew->events.position + 1;
	c.progress_notify = 1;
	c.fragment = 1;
	m.request_union_case =
	    ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
	m.create_request = &c;
	return etcd_pack(&m.base, n);
}

static void create(struct etcd_watch *ew)
{
	struct grpc_call *s = &ew->stream;

	kv_free(ew->create);
	ew->create = pack_create(ew, &ew->create_n);
	memset(s, 0, sizeof *s);
	s->path = "/etcdserverpb.Watch/Watch";
	s->token = ew->e->client.token;
	s->needs_leader = true;
	s->stream = true;
	s->max_message = MESSAGE_MAX;
	s->out = ew->create;
	s->out_n = ew->create_n;
	s->message = message_cb;
	s->done = stream_done_cb;
	ew->token_gen = ew->e->client.token_gen;
	ew->phase = WATCH_CREATING;
	if (ew->create == NULL || grpc_start(ew->g, s) != KV_OK) {
		no_memory(ew);
	}
}

static void conn_up_cb(void *ctx)
{
	struct etcd_watch *ew = ctx;

	if (ew->phase == WATCH_DIALING) {
		create(ew);
	}
}

static void conn_down_cb(void *ctx, const struct kv_err *why)
{
	struct etcd_watch *ew = ctx;
	struct kv_err err;

	/* The stream was told before; what is left is a connection that was
	 * not made. */
	if (ew->phase == WATCH_DIALING) {
		try_elsewhere(ew, why);
		return;
	}
	(void)kv_fail(&err, KV_NOT_REACHABLE, "etcd: the watch was lost: %s",
		      why->text);
	etcd_watch_fail(ew, &err);
}

static void conn_closed_cb(void *ctx)
{
	struct etcd_watch *ew = ctx;

	ew->connections--;
	etcd_client_hung_up(&ew->e->client);
	maybe_free(ew);
}

static const struct grpc_events conn_events = {
    .up = conn_up_cb, .down = conn_down_cb, .closed = conn_closed_cb};

static void opening_cb(struct sched_timer *t)
{
	struct etcd_watch *ew = kv_container_of(t, struct etcd_watch, opening);
	struct kv_err err;

	(void)kv_fail(
	    &err, KV_NOT_REACHABLE, "%s:%s: the watch was not created in time",
	    ew->e->client.endpoints[ew->endpoint % ew->e->client.n_endpoints]
		.host,
	    ew->e->client.endpoints[ew->endpoint % ew->e->client.n_endpoints]
		.port);
	etcd_client_drop_token(&ew->e->client, ew->token_gen);
	try_elsewhere(ew, &err);
}

static void dial(struct etcd_watch *ew)
{
	struct etcd_client *c = &ew->e->client;
	struct kv_err err;

	PRE(ew->g == NULL && ew->phase == WATCH_DIALING);
	if (etcd_client_dial(c, ew->endpoint, WATCH_WINDOW, &conn_events, ew,
			     &ew->g, &err) != KV_OK) {
		try_elsewhere(ew, &err);
		return;
	}
	ew->connections++;
	sched_timer_start(c->sched, &ew->opening, c->timeout_ms);
}

/* Sends a read on the connection of calls. */
static void call_range(struct etcd_watch *ew, Etcdserverpb__RangeRequest *m,
		       void (*done)(struct etcd_call *))
{
	memset(&ew->call, 0, sizeof ew->call);
	ew->call.path = "/etcdserverpb.KV/Range";
	ew->call.frame = etcd_pack(&m->base, &ew->call.frame_n);
	ew->call.done = done;
	if (ew->call.frame == NULL) {
		no_memory(ew);
		return;
	}
	ew->calling = true;
	etcd_call_start(&ew->e->client, &ew->call);
}

/* The answer to call_range, or NULL when the watch has ended over it. */
static Etcdserverpb__RangeResponse *take_range(struct etcd_watch *ew,
					       struct arena *arena)
{
	struct etcd_call *c = &ew->call;
	Etcdserverpb__RangeResponse *m = NULL;
	struct kv_err err = c->err;

	ew->calling = false;
	if (err.status == KV_OK &&
	    etcd_unpack(&etcdserverpb__range_response__descriptor, arena,
			c->reply, c->reply_n, &m, &err) == KV_OK &&
	    etcd_check_header(m->header, &err) != KV_OK) {
		m = NULL;
	}
	if (c->err.status == KV_OK) {
		kv_free(c->reply);
	}
	if (err.status != KV_OK) {
		etcd_watch_fail(ew, &err);
		return NULL;
	}
	return m;
}

/* The first batch: from where the watch goes on; of a single key also what it
 * has. */
static int make_init(struct etcd_watch *ew,
		     const Etcdserverpb__RangeResponse *m)
{
	struct store_batch *b = store_batch_new();
	struct store_change *c;
	size_t cap = 0;

	if (b == NULL) {
		return KV_NO_MEMORY;
	}
	ew->init = b;
	b->init = true;
	b->index = ew->events.position;
	if (!ew->single || m->n_kvs == 0) {
		return KV_OK;
	}
	c = store_batch_add(
	    b, &cap, ew->w->key,
	    slice_of(m->kvs[0]->value.data, m->kvs[0]->value.len));
	if (c == NULL) {
		return KV_NO_MEMORY;
	}
	c->action = STORE_GET;
	c->tx_end = true;
	c->index = c->version.a = (uint64_t)m->kvs[0]->mod_revision;
	return KV_OK;
}

static void checked_cb(struct etcd_call *c)
{
	struct etcd_watch *ew = kv_container_of(c, struct etcd_watch, call);
	Etcdserverpb__RangeResponse *m;
	struct arena arena = {0};

	m = take_range(ew, &arena);
	if (m != NULL) {
		etcd_origin(ew->e, m->header, c->epoch, &ew->origin);
		ew->events.count = m->count;
		if (make_init(ew, m) != KV_OK) {
			store_batch_free(ew->init);
			ew->init = NULL;
			no_memory(ew);
		} else {
			ew->phase = WATCH_LIVE;
			ew->lived = true;
			etcd_watch_step(ew);
		}
	}
	arena_free(&arena);
}

/* A compaction between HEAD and the creation must not go unnoticed: old
 * servers then leave out events. What can be read at the position was not
 * compacted when the watch stood. It also counts the keys, see etcd_want.c. */
static void check_history(struct etcd_watch *ew)
{
	Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;

	m.key = etcd_bytes(ew->range.start);
	m.range_end = etcd_bytes(ew->range.end);
	m.revision = (int64_t)ew->events.position;
	m.count_only = !ew->single;
	call_range(ew, &m, checked_cb);
}

static void head_cb(struct etcd_call *c)
{
	struct etcd_watch *ew = kv_container_of(c, struct etcd_watch, call);
	Etcdserverpb__RangeResponse *m;
	struct arena arena = {0};

	m = take_range(ew, &arena);
	if (m != NULL) {
		etcd_origin(ew->e, m->header, c->epoch, &ew->origin);
		if (ew->events.position == 0) {
			ew->events.position = ew->events.told =
			    ew->origin.index;
		}
		ew->phase = WATCH_DIALING;
		ew->endpoint = ew->e->client.cur;
		ew->attempts = ew->e->client.n_endpoints;
		dial(ew);
	}
	arena_free(&arena);
}

static void look_at_head(struct etcd_watch *ew)
{
	Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;

	m.key = etcd_bytes(ew->range.start);
	m.revision = (int64_t)ew->events.position;
	m.keys_only = 1;
	ew->phase = WATCH_HEAD;
	call_range(ew, &m, head_cb);
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
	ew->opening.fire = opening_cb;
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
	PRE(ew->next == NULL);
	ew->next = req;
	if (ew->phase == WATCH_IDLE) {
		look_at_head(ew);
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
	hang_up(ew);
	ew->w = NULL;
	maybe_free(ew);
}
