/* etcd_watch_open.c: the way of a watch from HEAD to LIVE, see etcd_watch.h.
 *
 *   HEAD: Range --> DIALING --> CREATING: stream --> (created)
 *     --> CHECKING: Range at the position --> the first batch, LIVE
 *   an endpoint that fails on the way: the next one, until all were tried
 */
#include "store/etcd/etcd_watch.h"

#define WATCH_WINDOW (4u * 1024 * 1024)
/* No server sends as much in one message. */
#define MESSAGE_MAX ((size_t)1024 * 1024 * 1024)

static void dial(struct etcd_watch *ew);

/* Another endpoint may do better, while the watch is not open yet. */
void etcd_watch_try_elsewhere(struct etcd_watch *ew, const struct kv_err *why)
{
	struct kv_err err;

	etcd_client_note(&ew->e->client, ew->endpoint, why);
	etcd_watch_hang_up(ew);
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
	s->message = etcd_watch_message_cb;
	s->done = etcd_watch_done_cb;
	ew->token_gen = ew->e->client.token_gen;
	ew->phase = WATCH_CREATING;
	if (ew->create == NULL || grpc_start(ew->g, s) != KV_OK) {
		etcd_watch_no_memory(ew);
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
		etcd_watch_try_elsewhere(ew, why);
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
	etcd_watch_maybe_free(ew);
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
	etcd_watch_try_elsewhere(ew, &err);
}

static void dial(struct etcd_watch *ew)
{
	struct etcd_client *c = &ew->e->client;
	struct kv_err err;

	PRE(ew->g == NULL && ew->phase == WATCH_DIALING);
	if (etcd_client_dial(c, ew->endpoint, WATCH_WINDOW, &conn_events, ew,
			     &ew->g, &err) != KV_OK) {
		etcd_watch_try_elsewhere(ew, &err);
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
		etcd_watch_no_memory(ew);
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
			etcd_watch_no_memory(ew);
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
void etcd_watch_check(struct etcd_watch *ew)
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

void etcd_watch_look(struct etcd_watch *ew)
{
	Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;

	m.key = etcd_bytes(ew->range.start);
	m.revision = (int64_t)ew->events.position;
	m.keys_only = 1;
	ew->phase = WATCH_HEAD;
	call_range(ew, &m, head_cb);
}

void etcd_watch_open_init(struct etcd_watch *ew)
{
	ew->opening.fire = opening_cb;
}
