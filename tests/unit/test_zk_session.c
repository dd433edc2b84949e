/* test_zk_session.c: a session over servers that come, go, lag and are old.
 *
 *   zk_ask --> zk_session --> sockets on 127.0.0.1 --> played servers, same
 * loop
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "store/zookeeper/zk_session.h"
#include "tests/lib/loop.h"
#include "tests/lib/sweep.h"

#define SERVERS 2

/* What a server does with a getData. */
enum act { ACT_REPLY, ACT_EVENT, ACT_SILENT, ACT_CLOSE };

struct server {
	struct world *w;
	uv_tcp_t tcp;
	bool listening;
	char port[8];
	int64_t zxid;
	bool old;	/* knows no multiRead */
	bool mute;	/* closes when asked for it, without an answer */
	bool no_probes; /* answers nothing */
	bool no_root;
	enum act acts[8]; /* for the first reads; then ACT_REPLY */
	unsigned reads, greeted, probes, refused;
};

struct peer {
	struct list link;
	struct server *s;
	uv_tcp_t tcp;
	uint8_t in[4096];
	size_t n;
	bool greeted, closing;
};

struct world {
	struct test_loop loop;
	struct server servers[SERVERS];
	struct list peers;
	struct zk_session session;
	bool closed;
};

/* ---- the servers --------------------------------------------------------- */

static void peer_closed_cb(uv_handle_t *h)
{
	struct peer *p = h->data;

	list_remove(&p->link);
	free(p);
}

static void peer_close(struct peer *p)
{
	if (!p->closing) {
		p->closing = true;
		uv_close((uv_handle_t *)&p->tcp, peer_closed_cb);
	}
}

static uint8_t *put(uint8_t *p, uint64_t v, int n)
{
	while (n-- > 0) {
		*p++ = (uint8_t)(v >> (8 * n));
	}
	return p;
}

static uint64_t get(const uint8_t *p, int n)
{
	uint64_t v = 0;

	while (n-- > 0) {
		v = v << 8 | *p++;
	}
	return v;
}

/* The other side may be gone by now. */
static void send_bytes(struct peer *p, const uint8_t *bytes, size_t n)
{
	uv_buf_t b = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)n);
	int rv = uv_try_write((uv_stream_t *)&p->tcp, &b, 1);

	assert_true(rv == (int)n || rv == UV_EPIPE || rv == UV_ECONNRESET);
}

static void reply(struct peer *p, uint64_t xid, int err, const uint8_t *body,
		  size_t n)
{
	uint8_t frame[256], *at = put(frame, 16 + n, 4);

	at = put(at, xid, 4);
	at = put(at, (uint64_t)p->s->zxid, 8);
	at = put(at, (uint64_t)(int64_t)err, 4);
	if (n > 0) {
		memcpy(at, body, n);
	}
	send_bytes(p, frame, 20 + n);
}

static void greet(struct peer *p, const uint8_t *f)
{
	struct server *s = p->s;
	uint8_t frame[64] = {0}, *at;

	if ((int64_t)get(f + 4, 8) > s->zxid) {
		s->refused++;
		peer_close(p);
		return;
	}
	p->greeted = true;
	s->greeted++;
	at = put(frame, 37, 4);
	at = put(at, 0, 4);
	at = put(at, 10000, 4);
	at = put(at, 77, 8);
	(void)put(at, 16, 4);
	send_bytes(p, frame, 41);
}

static void reply_stat(struct peer *p, uint64_t xid)
{
	uint8_t stat[68] = {0};

	(void)put(put(stat, 21, 8), 22, 8); /* czxid, mzxid */
	(void)put(stat + 16, 23, 8);	    /* ctime */
	reply(p, xid, p->s->no_root ? ZK_NO_NODE : 0, stat,
	      p->s->no_root ? 0 : sizeof stat);
}

static void answer_multi(struct peer *p, uint64_t xid)
{
	static const uint8_t end[] = {0xff, 0xff, 0xff, 0xff, 1,
				      0xff, 0xff, 0xff, 0xff};

	p->s->probes++;
	if (p->s->mute) {
		peer_close(p);
	} else if (p->s->old) {
		reply(p, xid, ZK_UNIMPLEMENTED, NULL, 0);
		peer_close(p);
	} else {
		reply(p, xid, 0, end, sizeof end);
	}
}

static void send_event(struct peer *p)
{
	uint8_t body[] = {0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0, 2, '/', 'e'};

	reply(p, UINT64_MAX, 0, body, sizeof body);
}

static void answer_read(struct peer *p, uint64_t xid)
{
	struct server *s = p->s;
	enum act act =
	    s->reads < KV_COUNT(s->acts) ? s->acts[s->reads] : ACT_REPLY;

	s->reads++;
	if (act == ACT_CLOSE) {
		peer_close(p);
	} else if (act != ACT_SILENT) {
		if (act == ACT_EVENT) {
			send_event(p);
		}
		reply(p, xid, 0, (const uint8_t *)s->port, strlen(s->port));
	}
}

static void request(struct peer *p, const uint8_t *f, size_t n)
{
	uint64_t xid = get(f, 4);

	switch ((int)(int32_t)get(f + 4, 4)) {
	case ZK_OP_PING:
		reply(p, xid, 0, NULL, 0);
		break;
	case ZK_OP_SYNC:
		if (!p->s->no_probes) {
			reply(p, xid, 0, f + 8, n - 8);
		}
		break;
	case ZK_OP_EXISTS:
		if (!p->s->no_probes) {
			reply_stat(p, xid);
		}
		break;
	case ZK_OP_MULTI_READ:
		answer_multi(p, xid);
		break;
	case ZK_OP_GET_DATA:
		answer_read(p, xid);
		break;
	default:
		break; /* closeSession */
	}
}

static void alloc_cb(uv_handle_t *h, size_t want KV_UNUSED, uv_buf_t *b)
{
	struct peer *p = h->data;

	*b = uv_buf_init((char *)p->in + p->n, (unsigned)(sizeof p->in - p->n));
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *b KV_UNUSED)
{
	struct peer *p = stream->data;
	size_t len;

	if (n < 0) {
		peer_close(p);
		return;
	}
	p->n += (size_t)n;
	while (!p->closing && p->n >= 4 &&
	       p->n >= (len = (size_t)get(p->in, 4)) + 4) {
		if (p->greeted) {
			request(p, p->in + 4, len);
		} else {
			greet(p, p->in + 4);
		}
		memmove(p->in, p->in + 4 + len, p->n - 4 - len);
		p->n -= 4 + len;
	}
}

static void accept_cb(uv_stream_t *listener, int status)
{
	struct server *s = listener->data;
	struct peer *p = calloc(1, sizeof *p);

	assert_int_equal(status, 0);
	assert_non_null(p);
	p->s = s;
	p->tcp.data = p;
	list_init(&p->link);
	list_push_back(&s->w->peers, &p->link);
	(void)uv_tcp_init(&s->w->loop.uv, &p->tcp);
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&p->tcp), 0);
	assert_int_equal(uv_tcp_nodelay(&p->tcp, 1), 0);
	assert_int_equal(
	    uv_read_start((uv_stream_t *)&p->tcp, alloc_cb, read_cb), 0);
}

static void server_open(struct world *w, struct server *s)
{
	struct sockaddr_in a;
	int n = sizeof a;

	s->w = w;
	s->tcp.data = s;
	s->zxid = 100;
	(void)uv_tcp_init(&w->loop.uv, &s->tcp);
	(void)uv_ip4_addr("127.0.0.1", 0, &a);
	assert_int_equal(uv_tcp_bind(&s->tcp, (const struct sockaddr *)&a, 0),
			 0);
	assert_int_equal(uv_listen((uv_stream_t *)&s->tcp, 16, accept_cb), 0);
	(void)uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&a, &n);
	(void)snprintf(s->port, sizeof s->port, "%d", ntohs(a.sin_port));
	s->listening = true;
}

/* Nobody listens there any more, and all that were there go. */
static void server_close(struct server *s)
{
	struct list *l;

	if (s->listening) {
		uv_close((uv_handle_t *)&s->tcp, NULL);
		s->listening = false;
	}
	for (l = s->w->peers.next; l != &s->w->peers; l = l->next) {
		struct peer *p = kv_container_of(l, struct peer, link);

		if (p->s == s) {
			peer_close(p);
		}
	}
}

/* ---- the session --------------------------------------------------------- */

static int set_up_session(struct world *w, size_t n)
{
	struct zk_session *s = &w->session;
	size_t i;

	s->sched = w->loop.sched;
	s->timeout_ms = 5000;
	s->session_ms = 10000;
	s->root = slice_str("/r");
	s->endpoints = kv_calloc(n, sizeof *s->endpoints);
	if (s->endpoints == NULL) {
		return KV_NO_MEMORY;
	}
	for (i = 0; i < n; i++) {
		s->n_endpoints = i + 1;
		s->endpoints[i].host = kv_strdup("127.0.0.1");
		s->endpoints[i].port = kv_strdup(w->servers[i].port);
		if (s->endpoints[i].host == NULL ||
		    s->endpoints[i].port == NULL) {
			return KV_NO_MEMORY;
		}
	}
	zk_session_init(s);
	return KV_OK;
}

static void world_open(struct world *w, size_t n)
{
	size_t i;

	memset(w, 0, sizeof *w);
	list_init(&w->peers);
	test_loop_open(&w->loop);
	for (i = 0; i < n; i++) {
		server_open(w, &w->servers[i]);
	}
	assert_int_equal(set_up_session(w, n), KV_OK);
}

static void closed_cb(void *ctx)
{
	((struct world *)ctx)->closed = true;
}

static void world_close(struct world *w)
{
	size_t i;

	zk_session_close(&w->session, closed_cb, w);
	test_loop_until(&w->loop, &w->closed);
	for (i = 0; i < SERVERS; i++) {
		if (w->servers[i].w != NULL) {
			server_close(&w->servers[i]);
		}
	}
	test_loop_close(&w->loop);
}

struct ask {
	struct zk_ask ask;
	bool done;
	unsigned dones;
	char who[8]; /* the server that answered */
};

static void done_cb(struct zk_ask *a)
{
	struct ask *x = kv_container_of(a, struct ask, ask);

	x->done = true;
	x->dones++;
	if (a->call.err.status == KV_OK) {
		assert_true(a->call.body.n < sizeof x->who);
		memcpy(x->who, a->call.body.p, a->call.body.n);
	}
}

static void start(struct world *w, struct ask *x, uint64_t need_epoch)
{
	memset(x, 0, sizeof *x);
	zk_call_begin(&x->ask.call, ZK_OP_GET_DATA);
	zk_put_path_watch(&x->ask.call.frame, slice_str("/r"), false);
	x->ask.done = done_cb;
	x->ask.need_epoch = need_epoch;
	zk_ask_start(&w->session, &x->ask);
	assert_false(x->done);
}

/* Asks, and returns the status. */
static int ask(struct world *w, struct ask *x, uint64_t need_epoch)
{
	start(w, x, need_epoch);
	test_loop_until(&w->loop, &x->done);
	assert_int_equal(x->dones, 1);
	return x->ask.call.err.status;
}

static void expect_text(const struct ask *x, const char *text)
{
	if (strstr(x->ask.call.err.text, text) == NULL) {
		fail_msg("no \"%s\" in: %s", text, x->ask.call.err.text);
	}
}

/* ---- tests --------------------------------------------------------------- */

static void a_question_makes_the_connection(void **state)
{
	struct world w;
	struct ask x;

	(void)state;
	world_open(&w, 1);
	test_loop_turns(&w.loop, 5);
	assert_int_equal(w.servers[0].greeted, 0);
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_int_equal(x.ask.epoch, 1);
	assert_int_equal(x.ask.call.zxid, 100);
	assert_true(w.session.up && w.session.fast);
	assert_true(w.session.has_root);
	assert_int_equal(w.session.root_stat.czxid, 21);
	assert_int_equal(w.session.root_stat.ctime, 23);
	assert_int_equal(w.session.zxid, 100);
	assert_int_equal(ask(&w, &x, 1), KV_OK);
	assert_int_equal(w.servers[0].greeted, 1);
	world_close(&w);
}

static void an_old_server_is_read_the_general_way(void **state)
{
	struct world w;
	struct ask x;

	(void)state;
	world_open(&w, 1);
	w.servers[0].old = true;
	w.servers[0].no_root = true;
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_false(w.session.fast);
	assert_false(w.session.has_root);
	assert_int_equal(w.session.epoch, 1);
	assert_int_equal(w.servers[0].greeted, 2);
	/* It is remembered. */
	w.servers[0].acts[1] = ACT_CLOSE;
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_int_equal(w.session.epoch, 2);
	assert_int_equal(w.servers[0].probes, 1);
	world_close(&w);
}

static void one_that_only_closes_is_old_too(void **state)
{
	struct world w;
	struct ask x;

	(void)state;
	world_open(&w, 1);
	w.servers[0].mute = true;
	if (ask(&w, &x, 0) != KV_OK) { /* the first time it may be chance */
		assert_int_equal(ask(&w, &x, 0), KV_OK);
	}
	assert_false(w.session.fast);
	assert_int_equal(w.servers[0].probes, 2);
	world_close(&w);
}

static void the_ways_can_be_chosen(void **state)
{
	struct world w;
	struct ask x;

	(void)state;
	world_open(&w, 1);
	w.session.way = ZK_WAY_GENERAL;
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_false(w.session.fast);
	assert_int_equal(w.servers[0].probes, 0);
	world_close(&w);
	world_open(&w, 1);
	w.session.way = ZK_WAY_FAST;
	w.servers[0].old = true;
	assert_int_equal(ask(&w, &x, 0), KV_CALL_NOT_SUPPORTED);
	expect_text(&x, "reader=fast");
	world_close(&w);
}

static void a_lost_question_is_asked_once_more(void **state)
{
	struct world w;
	struct ask x;

	(void)state;
	world_open(&w, 2);
	w.servers[0].acts[0] = w.servers[1].acts[0] = ACT_CLOSE;
	w.servers[0].acts[1] = w.servers[1].acts[1] = ACT_REPLY;
	assert_int_equal(ask(&w, &x, 0), KV_NOT_REACHABLE);
	assert_int_equal(w.servers[0].reads, 1);
	assert_int_equal(w.servers[1].reads, 1);
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	w.servers[0].acts[2] = w.servers[1].acts[2] = ACT_REPLY;
	world_close(&w);

	world_open(&w, 2);
	w.servers[0].acts[0] = ACT_CLOSE;
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_string_equal(x.who, w.servers[1].port);
	world_close(&w);
}

static void one_for_this_connection_is_not(void **state)
{
	struct world w;
	struct ask x;

	(void)state;
	world_open(&w, 1);
	w.servers[0].acts[1] = ACT_CLOSE;
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_int_equal(ask(&w, &x, 1), KV_NOT_REACHABLE);
	assert_int_equal(ask(&w, &x, 1), KV_NOT_REACHABLE);
	assert_int_equal(w.servers[0].reads, 2);
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_int_equal(x.ask.epoch, 2);
	world_close(&w);
}

static void the_next_server_is_tried(void **state)
{
	struct world w;
	struct ask x;

	(void)state;
	world_open(&w, 2);
	server_close(&w.servers[0]);
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_string_equal(x.who, w.servers[1].port);
	server_close(&w.servers[1]);
	assert_int_equal(ask(&w, &x, 0), KV_NOT_REACHABLE);
	expect_text(&x, w.servers[0].port);
	expect_text(&x, w.servers[1].port);
	world_close(&w);
}

static void one_that_says_nothing_is_left(void **state)
{
	struct world w;
	struct ask x;

	(void)state;
	world_open(&w, 2);
	w.session.timeout_ms = 3000;
	w.servers[0].no_probes = true;
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_string_equal(x.who, w.servers[1].port);
	world_close(&w);
}

static void one_that_lags_is_left(void **state)
{
	struct world w;
	struct ask x;

	(void)state;
	world_open(&w, 2);
	w.servers[1].zxid = 200;
	w.session.zxid = 150;
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_string_equal(x.who, w.servers[1].port);
	assert_int_equal(w.servers[0].greeted, 0);
	world_close(&w);
}

/* All of them lag, for a while: there is nobody else, and the index shows it.
 */
static void an_ensemble_that_went_back_is_taken(void **state)
{
	struct world w;
	struct ask x;

	(void)state;
	world_open(&w, 2);
	w.session.zxid = 1000;
	w.session.timeout_ms = 20000;
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_int_equal(w.session.zxid, 100);
	assert_true(w.servers[0].refused >= 2);
	assert_true(w.servers[1].refused >= 2);
	world_close(&w);
}

static void a_question_has_a_deadline(void **state)
{
	struct world w;
	struct ask x, y;

	(void)state;
	world_open(&w, 1);
	w.servers[0].acts[1] = ACT_SILENT;
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	w.session.timeout_ms = 50;
	assert_int_equal(ask(&w, &x, 0), KV_TIMED_OUT);
	expect_text(&x, w.servers[0].port);
	w.servers[0].no_probes = true;
	start(&w, &y, 0);
	zk_ask_cancel(&y.ask);
	assert_int_equal(y.dones, 0);
	world_close(&w);
}

static void what_waits_can_be_canceled(void **state)
{
	struct world w;
	struct ask x, y;

	(void)state;
	world_open(&w, 1);
	start(&w, &x, 0);
	start(&w, &y, 0);
	zk_ask_cancel(&x.ask);
	test_loop_until(&w.loop, &y.done);
	assert_int_equal(x.dones, 0);
	assert_int_equal(y.ask.call.err.status, KV_OK);
	start(&w, &x, 99); /* no such connection: fails later */
	zk_ask_cancel(&x.ask);
	test_loop_turns(&w.loop, 3);
	assert_int_equal(x.dones, 0);
	world_close(&w);
}

struct ear {
	struct zk_listener l;
	bool up, down, heard;
	unsigned ups, downs;
	char path[8];
};

static void ear_up(struct zk_listener *l)
{
	struct ear *e = kv_container_of(l, struct ear, l);

	e->up = true;
	e->ups++;
}

static void ear_down(struct zk_listener *l, const struct kv_err *err)
{
	struct ear *e = kv_container_of(l, struct ear, l);

	assert_int_not_equal(err->status, KV_OK);
	e->down = true;
	e->downs++;
}

static void ear_event(struct zk_listener *l, enum zk_event_type type,
		      struct slice path)
{
	struct ear *e = kv_container_of(l, struct ear, l);

	assert_int_equal(type, ZK_EVENT_CHANGED);
	memcpy(e->path, path.p, path.n);
	e->heard = true;
}

static void hear(struct world *w, struct ear *e)
{
	memset(e, 0, sizeof *e);
	e->l.up = ear_up;
	e->l.down = ear_down;
	e->l.event = ear_event;
	zk_session_listen(&w->session, &e->l);
	assert_false(e->up);
}

static void listeners_hear_of_it(void **state)
{
	struct world w;
	struct ear a, b;
	struct ask x;

	(void)state;
	world_open(&w, 1);
	w.servers[0].acts[0] = ACT_EVENT;
	w.servers[0].acts[1] = ACT_CLOSE;
	hear(&w, &a); /* makes the connection, too */
	test_loop_until(&w.loop, &a.up);
	hear(&w, &b); /* it is there already */
	test_loop_until(&w.loop, &b.up);
	assert_int_equal(ask(&w, &x, 0), KV_OK);
	assert_string_equal(a.path, "/e");
	assert_string_equal(b.path, "/e");
	zk_session_unlisten(&b.l);
	a.up = false;
	assert_int_equal(ask(&w, &x, 0), KV_OK); /* lost, and asked again */
	assert_int_equal(a.downs, 1);
	assert_int_equal(a.ups, 2);
	assert_int_equal(b.downs, 0);
	assert_int_equal(w.servers[0].greeted, 2);
	zk_session_unlisten(&a.l);
	world_close(&w);
}

/* With nobody asking: for the listener alone, and not without pause. */
static void a_listener_is_enough_to_connect_again(void **state)
{
	struct world w;
	struct ear a;
	struct list *l;

	(void)state;
	world_open(&w, 1);
	hear(&w, &a);
	test_loop_until(&w.loop, &a.up);
	a.up = false;
	for (l = w.peers.next; l != &w.peers; l = l->next) {
		peer_close(kv_container_of(l, struct peer, link));
	}
	test_loop_until(&w.loop, &a.up);
	assert_int_equal(a.ups, 2);
	assert_int_equal(a.downs, 1);
	zk_session_unlisten(&a.l);
	world_close(&w);
}

static void close_with_everything_under_way(void **state)
{
	struct world w;
	unsigned turns;
	struct ask x;

	(void)state;
	for (turns = 0; turns < 12; turns++) {
		world_open(&w, 1);
		w.servers[0].acts[0] = ACT_SILENT;
		start(&w, &x, 0);
		test_loop_turns(&w.loop, turns);
		zk_ask_cancel(&x.ask);
		world_close(&w);
	}
}

static int ask_once(void *ctx)
{
	struct world *w = ctx;
	struct ask x;
	int rv;

	memset(&w->session, 0, sizeof w->session);
	w->closed = false;
	rv = set_up_session(w, 1);
	if (rv != KV_OK) {
		zk_session_free(&w->session);
		return rv;
	}
	w->session.way = ZK_WAY_GENERAL;
	rv = ask(w, &x, 0);
	if (rv == KV_NOT_REACHABLE &&
	    strstr(x.ask.call.err.text, "memory") != NULL) {
		rv = KV_NO_MEMORY;
	}
	zk_session_close(&w->session, closed_cb, w);
	test_loop_until(&w->loop, &w->closed);
	return rv;
}

static void memory_may_end_anywhere(void **state)
{
	struct world w;

	(void)state;
	memset(&w, 0, sizeof w);
	list_init(&w.peers);
	test_loop_open(&w.loop);
	server_open(&w, &w.servers[0]);
	assert_true(sweep_run(ask_once, &w) > 5);
	server_close(&w.servers[0]);
	test_loop_close(&w.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_question_makes_the_connection),
	    cmocka_unit_test(an_old_server_is_read_the_general_way),
	    cmocka_unit_test(one_that_only_closes_is_old_too),
	    cmocka_unit_test(the_ways_can_be_chosen),
	    cmocka_unit_test(a_lost_question_is_asked_once_more),
	    cmocka_unit_test(one_for_this_connection_is_not),
	    cmocka_unit_test(the_next_server_is_tried),
	    cmocka_unit_test(one_that_says_nothing_is_left),
	    cmocka_unit_test(one_that_lags_is_left),
	    cmocka_unit_test(an_ensemble_that_went_back_is_taken),
	    cmocka_unit_test(a_question_has_a_deadline),
	    cmocka_unit_test(what_waits_can_be_canceled),
	    cmocka_unit_test(listeners_hear_of_it),
	    cmocka_unit_test(a_listener_is_enough_to_connect_again),
	    cmocka_unit_test(close_with_everything_under_way),
	    cmocka_unit_test(memory_may_end_anywhere),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
