/* test_zk_conn_world.h: a connection and the server that it deserves.
 *
 *   zk_conn --> socket on 127.0.0.1 --> a scripted server, same loop
 *
 * The server follows `how` it greets and a script of acts, one for each
 * request. It takes no memory from kv_malloc, so that sweeps see the
 * connection's alone.
 */
#ifndef KV_TEST_ZK_CONN_WORLD_H
#define KV_TEST_ZK_CONN_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "store/zookeeper/zk_conn.h"
#include "store/zookeeper/zk_frame.h"
#include "tests/lib/loop.h"

enum greet {
	GREET_37,
	GREET_36,
	GREET_EXPIRED,
	GREET_READ_ONLY,
	GREET_GARBAGE,
	GREET_HTTP,
	GREET_CLOSE,
	GREET_SILENT
};

/* What the server does with one request. */
enum act {
	ACT_REPLY, /* its body, sent back */
	ACT_ERROR, /* an error without body */
	ACT_EVENT, /* an event, then the reply */
	ACT_SILENT,
	ACT_CLOSE,
	ACT_OTHER_XID,
	ACT_SHORT, /* a frame without a whole header */
	ACT_NEGATIVE,
	ACT_TOO_BIG,
	ACT_BIG,
	ACT_EVENT_CUT,
	ACT_EVENT_NOWHERE,
	ACT_EVENT_UNKNOWN,
	ACT_PONG /* to no ping */
};
#define BIG_BODY ((size_t)9 * 1000 * 1000)
#define MAX_REPLY ((size_t)10 * 1000 * 1000)

struct bytes {
	uint8_t *p;
	size_t n;
	size_t cap;
};

struct world {
	struct test_loop loop;
	/* the server */
	uv_tcp_t listener;
	uv_tcp_t peer;
	uv_idle_t pump; /* while something is to be written */
	uv_timer_t slow;
	unsigned slow_ms; /* before the server answers; 0: not at all slow */
	bool accepted, peer_open, dead;
	struct bytes in, out;
	size_t piece; /* bytes that are written a turn; 0: as many as go */
	enum greet greet;
	int granted_ms;
	int auth_error;
	bool auth_other; /* answers the credentials with something else */
	const enum act *script;
	size_t n_script;
	unsigned requests, pings, goodbyes;
	bool deaf; /* answers no ping */
	bool greeted;
	int64_t saw_zxid, saw_session;
	int saw_timeout, saw_protocol;
	char saw_auth[64];
	int32_t xids[64];
	int64_t zxid; /* of the next reply */
	/* the client */
	char port[8], name[32];
	struct zk_conn *conn;
	int64_t last_zxid;
	const char *scheme;
	uint64_t timeout_ms;
	bool up, down, closed, fired;
	unsigned ups, downs, events;
	struct kv_err err;
	char paths[256]; /* of events, and what calls add */
	void (*on_up)(struct world *w);
	void (*on_event)(struct world *w);
	void (*on_down)(struct world *w);
};

struct ask {
	struct zk_call call;
	struct world *w;
	const char *name; /* is added to w->paths */
	bool done;
	unsigned dones;
	char body[64];
	size_t body_n;
	void (*then)(struct ask *a);
};

/* ---- bytes --------------------------------------------------------------- */

static void add(struct bytes *b, const void *p, size_t n)
{
	if (b->n + n > b->cap) {
		b->cap = (b->n + n) * 2;
		b->p = realloc(b->p, b->cap);
		assert_non_null(b->p);
	}
	if (n > 0) {
		memcpy(b->p + b->n, p, n);
		b->n += n;
	}
}

static void add_int(struct bytes *b, int32_t v)
{
	uint32_t be = htonl((uint32_t)v);

	add(b, &be, 4);
}

static void add_long(struct bytes *b, int64_t v)
{
	add_int(b, (int32_t)(v >> 32));
	add_int(b, (int32_t)(v & 0xffffffff));
}

static void cut_front(struct bytes *b, size_t n)
{
	memmove(b->p, b->p + n, b->n - n);
	b->n -= n;
}

/* ---- the server ---------------------------------------------------------- */

static void peer_closed_cb(uv_handle_t *h)
{
	struct world *w = h->data;

	w->peer_open = false;
}

static void peer_close(struct world *w)
{
	if (w->peer_open && !uv_is_closing((uv_handle_t *)&w->peer)) {
		(void)uv_idle_stop(&w->pump);
		uv_close((uv_handle_t *)&w->peer, peer_closed_cb);
	}
}

static void pump_cb(uv_idle_t *idle)
{
	struct world *w = idle->data;
	size_t n = w->piece > 0 ? KV_MIN(w->piece, w->out.n) : w->out.n;
	uv_buf_t b = uv_buf_init((char *)w->out.p, (unsigned)n);
	int rv = uv_try_write((uv_stream_t *)&w->peer, &b, 1);

	if (rv > 0) {
		cut_front(&w->out, (size_t)rv);
	}
	if (w->out.n == 0 || (rv < 0 && rv != UV_EAGAIN)) {
		(void)uv_idle_stop(idle);
	}
}

static void slow_cb(uv_timer_t *t)
{
	struct world *w = t->data;

	if (w->peer_open && !uv_is_closing((uv_handle_t *)&w->peer)) {
		(void)uv_idle_start(&w->pump, pump_cb);
	}
}

static void reply(struct world *w, int32_t xid, int64_t zxid, int error,
		  const void *body, size_t n)
{
	add_int(&w->out, (int32_t)(16 + n));
	add_int(&w->out, xid);
	add_long(&w->out, zxid);
	add_int(&w->out, error);
	add(&w->out, body, n);
}

static void event(struct world *w, int type, const char *path)
{
	add_int(&w->out, (int32_t)(28 + strlen(path)));
	add_int(&w->out, ZK_XID_EVENT);
	add_long(&w->out, -1);
	add_int(&w->out, 0);
	add_int(&w->out, type);
	add_int(&w->out, 3);
	add_int(&w->out, (int32_t)strlen(path));
	add(&w->out, path, strlen(path));
}

static void greet(struct world *w, struct jute_in *in)
{
	static const uint8_t password[16];
	static const char http[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
	struct slice sent;
	bool has37 = w->greet != GREET_36;

	w->greeted = true;
	w->saw_protocol = jute_get_int(in);
	w->saw_zxid = jute_get_long(in);
	w->saw_timeout = jute_get_int(in);
	w->saw_session = jute_get_long(in);
	sent = jute_get_bytes(in, NULL);
	assert_int_equal(sent.n, 16);
	assert_false(jute_get_bool(in));
	assert_false(in->failed);
	assert_int_equal(in->n, 0);
	if (w->greet == GREET_CLOSE) {
		peer_close(w);
	} else if (w->greet == GREET_HTTP) {
		add(&w->out, http, sizeof http - 1);
	} else if (w->greet == GREET_GARBAGE) {
		reply(w, 1, 1, 0, NULL, 0);
	} else if (w->greet != GREET_SILENT) {
		add_int(&w->out, has37 ? 37 : 36);
		add_int(&w->out, 0);
		add_int(&w->out, w->greet == GREET_EXPIRED ? 0 : w->granted_ms);
		add_long(&w->out, 0x1234);
		add_int(&w->out, 16);
		add(&w->out, password, 16);
		if (has37) {
			add(&w->out, w->greet == GREET_READ_ONLY ? "\1" : "",
			    1);
		}
	}
}

static void take_auth(struct world *w, struct jute_in *in)
{
	struct slice scheme, auth;

	assert_int_equal(jute_get_int(in), 0);
	scheme = jute_get_bytes(in, NULL);
	auth = jute_get_bytes(in, NULL);
	assert_false(in->failed);
	(void)snprintf(w->saw_auth, sizeof w->saw_auth, "%.*s %.*s",
		       (int)scheme.n, (const char *)scheme.p, (int)auth.n,
		       (const char *)auth.p);
	reply(w, w->auth_other ? 1 : ZK_XID_AUTH, 0, w->auth_error, NULL, 0);
}

static void act(struct world *w, int32_t xid, struct jute_in *in)
{
	static uint8_t big[BIG_BODY];
	unsigned n = w->requests++;

	w->xids[n % KV_COUNT(w->xids)] = xid;
	switch (n < w->n_script ? w->script[n] : ACT_REPLY) {
	case ACT_EVENT:
		event(w, ZK_EVENT_CHANGED, "/event");
		reply(w, xid, w->zxid++, 0, in->p, in->n);
		break;
	case ACT_REPLY:
		reply(w, xid, w->zxid++, 0, in->p, in->n);
		break;
	case ACT_ERROR:
		reply(w, xid, -1, ZK_NO_NODE, NULL, 0);
		break;
	case ACT_SILENT:
		break;
	case ACT_CLOSE:
		pump_cb(&w->pump); /* what was said before arrives */
		peer_close(w);
		break;
	case ACT_OTHER_XID:
		reply(w, xid + 1, 1, 0, NULL, 0);
		break;
	case ACT_SHORT:
		add_int(&w->out, 15);
		add(&w->out, big, 15);
		break;
	case ACT_NEGATIVE:
		add_int(&w->out, -5);
		break;
	case ACT_TOO_BIG:
		add_int(&w->out, (int32_t)MAX_REPLY + 1);
		break;
	case ACT_BIG:
		memset(big, 'b', sizeof big);
		reply(w, xid, w->zxid++, 0, big, sizeof big);
		break;
	case ACT_EVENT_CUT:
		reply(w, ZK_XID_EVENT, -1, 0, "\0\0\0\1", 4);
		break;
	case ACT_EVENT_NOWHERE:
		event(w, ZK_EVENT_CREATED, "");
		break;
	case ACT_EVENT_UNKNOWN:
		event(w, 7, "/event");
		break;
	case ACT_PONG:
		reply(w, ZK_XID_PING, 1, 0, NULL, 0);
		break;
	}
}

static void take_request(struct world *w, const uint8_t *p, size_t n)
{
	struct jute_in in = {.p = p, .n = n};
	int32_t xid, op;

	if (!w->greeted) {
		greet(w, &in);
		return;
	}
	xid = jute_get_int(&in);
	op = jute_get_int(&in);
	assert_false(in.failed);
	if (op == ZK_OP_PING) {
		assert_int_equal(xid, ZK_XID_PING);
		w->pings++;
		if (!w->deaf) {
			reply(w, xid, w->zxid, 0, NULL, 0);
		}
	} else if (op == ZK_OP_CLOSE_SESSION) {
		w->goodbyes++;
	} else if (op == ZK_OP_AUTH) {
		assert_int_equal(xid, ZK_XID_AUTH);
		take_auth(w, &in);
	} else {
		assert_int_equal(xid == ZK_XID_WATCHES,
				 op == ZK_OP_SET_WATCHES);
		act(w, xid, &in);
	}
}

static void server_alloc_cb(uv_handle_t *h KV_UNUSED, size_t hint KV_UNUSED,
			    uv_buf_t *buf)
{
	static char bytes[65536];

	*buf = uv_buf_init(bytes, sizeof bytes);
}

static void server_read_cb(uv_stream_t *s, ssize_t got, const uv_buf_t *buf)
{
	struct world *w = s->data;
	size_t at = 0, n;

	if (got < 0) {
		w->dead = true;
		peer_close(w);
		return;
	}
	add(&w->in, buf->base, (size_t)got);
	while (w->in.n - at >= 4) {
		struct jute_in head = {.p = w->in.p + at, .n = 4};

		n = (size_t)jute_get_int(&head);
		if (w->in.n - at - 4 < n) {
			break;
		}
		take_request(w, w->in.p + at + 4, n);
		at += 4 + n;
	}
	cut_front(&w->in, at);
	if (w->out.n > 0 && w->slow_ms > 0) {
		(void)uv_timer_start(&w->slow, slow_cb, w->slow_ms, 0);
	} else if (w->out.n > 0) {
		slow_cb(&w->slow);
	}
}

static void server_accept_cb(uv_stream_t *listener, int status)
{
	struct world *w = listener->data;

	assert_int_equal(status, 0);
	assert_false(w->accepted);
	assert_int_equal(uv_tcp_init(&w->loop.uv, &w->peer), 0);
	w->peer.data = w;
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&w->peer), 0);
	(void)uv_tcp_nodelay(&w->peer, 1);
	w->accepted = w->peer_open = true;
	assert_int_equal(uv_read_start((uv_stream_t *)&w->peer, server_alloc_cb,
				       server_read_cb),
			 0);
}

/* ---- the client ---------------------------------------------------------- */

static void note(struct world *w, struct slice s)
{
	size_t n = strlen(w->paths);

	(void)snprintf(w->paths + n, sizeof w->paths - n, "%.*s ", (int)s.n,
		       (const char *)s.p);
}

static void up_cb(void *ctx)
{
	struct world *w = ctx;

	w->ups++;
	w->up = true;
	assert_true(zk_conn_is_up(w->conn));
	if (w->on_up != NULL) {
		w->on_up(w);
	}
}

static void event_cb(void *ctx, enum zk_event_type type, struct slice path)
{
	struct world *w = ctx;

	assert_int_equal(type, ZK_EVENT_CHANGED);
	w->events++;
	w->fired = true;
	note(w, path);
	if (w->on_event != NULL) {
		w->on_event(w);
	}
}

static void down_cb(void *ctx, const struct kv_err *err)
{
	struct world *w = ctx;

	w->downs++;
	w->down = true;
	w->err = *err;
	note(w, slice_str("down"));
	assert_false(zk_conn_is_up(w->conn));
	if (w->on_down != NULL) {
		w->on_down(w);
	}
}

static void closed_cb(void *ctx)
{
	struct world *w = ctx;

	assert_false(w->closed);
	w->closed = true;
	w->conn = NULL;
}

static const struct zk_conn_events conn_events = {
    .up = up_cb,
    .event = event_cb,
    .down = down_cb,
    .closed = closed_cb,
};

/* KV_NO_MEMORY only in sweeps. */
static int world_connect(struct world *w)
{
	struct zk_conn_params p = {
	    .sched = w->loop.sched,
	    .host = "127.0.0.1",
	    .port = w->port,
	    .timeout_ms = w->timeout_ms,
	    .session_ms = 7000,
	    .last_zxid = w->last_zxid,
	    .auth_scheme = w->scheme,
	    .auth = slice_str("user:password"),
	    .max_reply = MAX_REPLY,
	    .events = &conn_events,
	    .ctx = w,
	};

	return zk_conn_open(&p, &w->conn, &w->err);
}

static void world_open(struct world *w, const enum act *script, size_t n)
{
	struct sockaddr_in a;
	int len = sizeof a;

	memset(w, 0, sizeof *w);
	w->script = script;
	w->n_script = n;
	w->granted_ms = 60000;
	w->timeout_ms = 20000;
	w->zxid = 100;
	test_loop_open(&w->loop);
	assert_int_equal(uv_tcp_init(&w->loop.uv, &w->listener), 0);
	w->listener.data = w;
	assert_int_equal(uv_idle_init(&w->loop.uv, &w->pump), 0);
	w->pump.data = w;
	assert_int_equal(uv_timer_init(&w->loop.uv, &w->slow), 0);
	w->slow.data = w;
	assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &a), 0);
	assert_int_equal(uv_tcp_bind(&w->listener, (struct sockaddr *)&a, 0),
			 0);
	assert_int_equal(
	    uv_listen((uv_stream_t *)&w->listener, 8, server_accept_cb), 0);
	assert_int_equal(
	    uv_tcp_getsockname(&w->listener, (struct sockaddr *)&a, &len), 0);
	(void)snprintf(w->port, sizeof w->port, "%u", ntohs(a.sin_port));
	(void)snprintf(w->name, sizeof w->name, "127.0.0.1:%s", w->port);
}

static void world_up(struct world *w, const enum act *script, size_t n)
{
	world_open(w, script, n);
	assert_int_equal(world_connect(w), KV_OK);
	test_loop_until(&w->loop, &w->up);
}

/* Closes what is still open, both sides. */
static void world_close(struct world *w)
{
	if (w->conn != NULL) {
		if (!w->closed) {
			zk_conn_close(w->conn);
		}
		test_loop_until(&w->loop, &w->closed);
	}
	peer_close(w);
	uv_close((uv_handle_t *)&w->listener, NULL);
	uv_close((uv_handle_t *)&w->pump, NULL);
	uv_close((uv_handle_t *)&w->slow, NULL);
	test_loop_close(&w->loop);
	free(w->in.p);
	free(w->out.p);
}

static void done_cb(struct zk_call *call)
{
	struct ask *a = call->data;

	a->done = true;
	a->dones++;
	a->body_n = call->body.n;
	memcpy(a->body, call->body.n > 0 ? call->body.p : (const uint8_t *)"",
	       KV_MIN(call->body.n, sizeof a->body - 1));
	if (a->name != NULL) {
		note(a->w, slice_str(a->name));
	}
	if (a->then != NULL) {
		a->then(a);
	}
}

/* Asks; the body is `name`. */
static void ask(struct world *w, struct ask *a, const char *name)
{
	a->w = w;
	a->name = name;
	a->done = false;
	a->call.done = done_cb;
	a->call.data = a;
	zk_call_begin(&a->call, ZK_OP_EXISTS);
	jute_put_raw(&a->call.frame, slice_str(name));
	zk_call_start(w->conn, &a->call);
	assert_false(a->done);
}

static void ask_watches(struct world *w, struct ask *a, const char *name)
{
	a->w = w;
	a->name = name;
	a->call.done = done_cb;
	a->call.data = a;
	zk_call_begin(&a->call, ZK_OP_SET_WATCHES);
	jute_put_long(&a->call.frame, 5);
	jute_put_int(&a->call.frame, 0);
	jute_put_int(&a->call.frame, 0);
	jute_put_int(&a->call.frame, 0);
	zk_call_start(w->conn, &a->call);
	assert_false(a->done);
}

#endif /* KV_TEST_ZK_CONN_WORLD_H */
