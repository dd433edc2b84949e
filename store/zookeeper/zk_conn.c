/* zk_conn.c: see zk_conn.h.
 *
 *   CONNECTING --wire up--> HANDSHAKE --> AUTH (with credentials) --> UP
 *        any of them --(wire down, garbage, silence)--> DOWN
 *
 * Requests gather in `out`; on the next turn, or when the wire has room again,
 * `out` and `sending` change places, so that many small frames leave in one
 * write. A server answers in order, and our numbers (xids) follow each other:
 * the number awaited next is all that is kept of a forgotten call. SetWatches
 * has one number for all, so a second one waits for the first one's answer.
 */
#include "store/zookeeper/zk_conn_impl.h"

#include <inttypes.h>

/* An answer to a connect request has 37 bytes. */
#define HANDSHAKE_MAX 256
/* How long a goodbye may take to reach the socket. */
#define GOODBYE_MS 1000

/* ---- ends ---------------------------------------------------------------- */

void zk_conn_detach(struct zk_call *call)
{
	list_remove(&call->link);
	call->conn = NULL;
	jute_out_free(&call->frame);
}

void zk_conn_end_call(struct zk_call *call)
{
	zk_conn_detach(call);
	call->done(call);
}

/* Those that end meanwhile are for the next time, and a close during a done()
 * empties both lists. */
static void deliver_ended(struct zk_conn *c)
{
	struct list *l;

	list_splice_back(&c->ending, &c->ended);
	while ((l = list_first(&c->ending)) != NULL) {
		zk_conn_end_call(zk_call_of(l));
	}
}

void zk_conn_end_later(struct zk_conn *c, struct zk_call *call)
{
	PRE(call->err.status != KV_OK);
	list_remove(&call->link);
	list_push_back(&c->ended, &call->link);
	sched_post(c->sched, &c->later);
}

static void fail_all(struct zk_conn *c, struct list *calls,
		     const struct kv_err *err)
{
	struct list *l;

	while ((l = list_pop_front(calls)) != NULL) {
		if (zk_call_of(l)->err.status == KV_OK) {
			zk_call_of(l)->err = *err;
		}
		list_push_back(&c->ended, l);
	}
}

void zk_conn_down(struct zk_conn *c, const struct kv_err *err)
{
	PRE(err->status != KV_OK);
	if (c->phase == ZK_DOWN || c->closing) {
		return;
	}
	c->phase = ZK_DOWN;
	sched_timer_stop(&c->alive);
	fail_all(c, &c->sent, err);
	fail_all(c, &c->watching, err);
	fail_all(c, &c->waiting, err);
	sched_unpost(&c->later);
	deliver_ended(c);
	if (!c->closing) {
		c->events->down(c->ctx, err);
	}
}

void zk_conn_no_memory(struct zk_conn *c)
{
	struct kv_err err;

	(void)kv_fail(&err, KV_NO_MEMORY, "%s: no memory for requests",
		      c->server);
	zk_conn_down(c, &err);
}

void zk_conn_garbage(struct zk_conn *c, const char *what)
{
	struct kv_err err;

	(void)kv_fail(&err, KV_NOT_REACHABLE, "%s: %s", c->server, what);
	zk_conn_down(c, &err);
}

static void finish_close(struct zk_conn *c)
{
	if (!c->wire_closing) {
		c->wire_closing = true;
		sched_timer_stop(&c->alive);
		wire_close(c->wire);
	}
}

static void later_cb(struct sched_task *task)
{
	struct zk_conn *c = kv_container_of(task, struct zk_conn, later);

	zk_conn_flush(c);
	deliver_ended(c);
}

/* ---- silence ------------------------------------------------------------- */

static void down_silent(struct zk_conn *c)
{
	struct kv_err err;

	if (c->phase == ZK_UP) {
		(void)kv_fail(&err, KV_NOT_REACHABLE,
			      "%s: no sign of life for %" PRIu64 " ms",
			      c->server, sched_now(c->sched) - c->heard);
	} else {
		(void)kv_fail(&err, KV_NOT_REACHABLE,
			      "%s: connected, but no answer within %" PRIu64
			      " ms: is it a ZooKeeper client port?",
			      c->server, c->timeout_ms);
	}
	zk_conn_down(c, &err);
}

/* When the server's silence is one: it owes an answer for a third of the
 * session's time, and nothing came for two. (After a rest of our own it owes
 * nothing yet.) */
static uint64_t silent_at(const struct zk_conn *c)
{
	uint64_t third = c->granted_ms / 3;

	if (!c->owed) {
		return UINT64_MAX;
	}
	return KV_MAX(c->heard + 2 * third, c->asked + third);
}

/* Before up: the time is over. Then: is a ping due, is the server silent? Its
 * bytes may stand in the socket: they are read before it is left. */
static void alive_cb(struct sched_timer *t)
{
	struct zk_conn *c = kv_container_of(t, struct zk_conn, alive);
	uint64_t now = sched_now(c->sched), end;
	uint64_t third = KV_MAX(c->granted_ms / 3, (uint64_t)1);

	if (c->closing) {
		finish_close(c);
		return;
	}
	if (c->phase != ZK_UP || (now >= silent_at(c) && c->second_look)) {
		down_silent(c);
		return;
	}
	if (now - c->said >= third) {
		if (!zk_conn_put_header(c, ZK_XID_PING, ZK_OP_PING)) {
			zk_conn_no_memory(c);
			return;
		}
		c->pings++;
		zk_conn_flush(c);
	}
	end = silent_at(c);
	if (now >= end) {
		c->second_look = true;
		end = now + 1;
	}
	sched_timer_start(c->sched, &c->alive,
			  KV_MIN(c->said + third, end) - now);
}

/* ---- the wire's events --------------------------------------------------- */

static void wire_up_cb(void *ctx)
{
	struct zk_conn *c = ctx;
	uint64_t now = sched_now(c->sched);

	PRE(!c->closing); /* a goodbye is said by one that was up */
	c->phase = ZK_HANDSHAKE;
	c->heard = now;
	sched_timer_start(c->sched, &c->alive,
			  c->deadline > now ? c->deadline - now : 1);
	if (!zk_conn_put_connect(c)) {
		zk_conn_no_memory(c);
		return;
	}
	zk_conn_flush(c);
}

static void wire_drained_cb(void *ctx)
{
	struct zk_conn *c = ctx;

	zk_conn_flush(c);
	if (c->closing && !wire_is_busy(c->wire)) {
		finish_close(c);
	}
}

/* The wire's texts mostly name it. */
static void name_server(const struct zk_conn *c, struct kv_err *err)
{
	if (strstr(err->text, c->server) == NULL) {
		(void)kv_wrap(err, "%s", c->server);
	}
}

/* The connection was lost before the server answered. Over TLS 1.3 the server
 * looks at our certificate only now, and says so. */
static void explain_handshake(struct zk_conn *c, struct kv_err *err)
{
	if (c->over_tls && strstr(err->text, "TLS:") != NULL) {
		return;
	}
	if (c->last_zxid > 0) {
		(void)kv_fail(err, KV_HISTORY_LOST,
			      "%s, in the handshake: the server has not seen "
			      "zxid 0x%" PRIx64 ", or takes no sessions now",
			      err->text, (uint64_t)c->last_zxid);
		return;
	}
	(void)kv_fail(err, KV_NOT_REACHABLE,
		      "%s, in the handshake: has the server a quorum and room "
		      "for connections, is it a ZooKeeper client port, is TLS "
		      "on (zks://) where it should be?",
		      err->text);
}

static void wire_down_cb(void *ctx, const struct kv_err *why)
{
	struct zk_conn *c = ctx;
	struct kv_err err = *why;

	if (c->closing) {
		finish_close(c);
		return;
	}
	if (c->phase == ZK_HANDSHAKE && err.status == KV_NOT_REACHABLE) {
		explain_handshake(c, &err);
	}
	name_server(c, &err);
	zk_conn_down(c, &err);
}

static void destroy(struct zk_conn *c)
{
	zk_inbox_free(&c->in);
	jute_out_free(&c->out);
	jute_out_free(&c->sending);
	kv_free(c->server);
	kv_free(c);
}

static void wire_closed_cb(void *ctx)
{
	struct zk_conn *c = ctx;
	const struct zk_conn_events *events = c->events;
	void *owner = c->ctx;

	destroy(c);
	events->closed(owner);
}

static const struct wire_events wire_events = {
    .up = wire_up_cb,
    .data = zk_conn_receive,
    .drained = wire_drained_cb,
    .down = wire_down_cb,
    .closed = wire_closed_cb,
};

/* ---- making and ending --------------------------------------------------- */

static void init(struct zk_conn *c, const struct zk_conn_params *p)
{
	c->sched = p->sched;
	c->events = p->events;
	c->ctx = p->ctx;
	c->over_tls = p->tls != NULL;
	c->auth_scheme = p->auth_scheme;
	c->auth = p->auth;
	c->last_zxid = p->last_zxid;
	c->timeout_ms = p->timeout_ms;
	c->deadline = sched_now(p->sched) + p->timeout_ms;
	c->session_ms = p->session_ms;
	c->max_reply = p->max_reply;
	c->in.max = HANDSHAKE_MAX;
	c->next_xid = c->next_reply = 1;
	c->alive.fire = alive_cb;
	c->later.run = later_cb;
	list_init(&c->sent);
	list_init(&c->watching);
	list_init(&c->waiting);
	list_init(&c->ended);
	list_init(&c->ending);
}

int zk_conn_open(const struct zk_conn_params *p, struct zk_conn **out,
		 struct kv_err *err)
{
	struct wire_params wp = {
	    .sched = p->sched,
	    .host = p->host,
	    .port = p->port,
	    .tls = p->tls,
	    .timeout_ms = p->timeout_ms,
	    .events = &wire_events,
	};
	struct zk_conn *c = kv_calloc(1, sizeof *c);
	int rv = KV_NO_MEMORY;

	PRE(p->max_reply > 0);
	if (c == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "%s:%s: no memory to connect",
			       p->host, p->port);
	}
	init(c, p);
	c->server = kv_asprintf("%s:%s", p->host, p->port);
	if (c->server == NULL) {
		(void)kv_fail(err, KV_NO_MEMORY, "%s:%s: no memory to connect",
			      p->host, p->port);
		goto err_free;
	}
	wp.ctx = c;
	rv = wire_open(&wp, &c->wire, err);
	if (rv != KV_OK) {
		name_server(c, err);
		goto err_free;
	}
	*out = c;
	return KV_OK;

err_free:
	assert(rv != KV_OK);
	destroy(c);
	return rv;
}

bool zk_conn_is_up(const struct zk_conn *c)
{
	return c->phase == ZK_UP && !c->closing;
}

int64_t zk_conn_zxid(const struct zk_conn *c)
{
	return c->zxid;
}

static void forget_all(struct list *calls)
{
	struct list *l;

	while ((l = list_first(calls)) != NULL) {
		zk_conn_detach(zk_call_of(l));
	}
}

void zk_conn_close(struct zk_conn *c)
{
	bool was_up = c->phase == ZK_UP;

	PRE(!c->closing);
	c->closing = true;
	sched_timer_stop(&c->alive);
	sched_unpost(&c->later);
	forget_all(&c->sent);
	forget_all(&c->watching);
	forget_all(&c->waiting);
	forget_all(&c->ended);
	forget_all(&c->ending);
	c->out.n = 0; /* whom would an answer reach? */
	if (was_up && zk_conn_put_header(c, c->next_xid, ZK_OP_CLOSE_SESSION)) {
		zk_conn_flush(c);
		if (wire_is_busy(c->wire)) {
			sched_timer_start(c->sched, &c->alive, GOODBYE_MS);
			return;
		}
	}
	finish_close(c);
}
