/* test_etcd_client.c: calls against a server that misbehaves on purpose.
 *
 *   etcd_call --> socket on 127.0.0.1 --> a scripted HTTP/2 server, same loop
 *
 * What matters: a write that may have been done is never said to be undone, one
 * that surely was not is sent again or said so, and every call ends once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "store/etcd/etcd_client.h"
#include "tests/lib/loop.h"

/* What the server does with one request; one step for each that it gets. */
enum act {
	ACT_OK,		 /* an answer */
	ACT_TWO,	 /* two messages: the last one counts */
	ACT_EMPTY,	 /* success without a message */
	ACT_STATUS,	 /* trailers only: grpc-status of the script */
	ACT_NO_STATUS,	 /* ends without grpc-status */
	ACT_HTTP,	 /* HTTP 404 */
	ACT_COMPRESSED,	 /* a message that is flagged as compressed */
	ACT_REFUSE,	 /* RST_STREAM REFUSED_STREAM */
	ACT_RESET,	 /* RST_STREAM INTERNAL_ERROR */
	ACT_GOAWAY,	 /* GOAWAY, this request not looked at */
	ACT_GOAWAY_LATE, /* GOAWAY, this request is still answered */
	ACT_CLOSE,	 /* end of file */
	ACT_SILENT	 /* nothing */
};

struct conn {
	struct server *s;
	uv_tcp_t tcp;
	nghttp2_session *session;
	bool closing;
	struct list link;
};

struct server {
	struct test_loop loop;
	uv_tcp_t tcp;
	char port[8];
	struct list conns;
	const enum act *script;
	size_t n_script;
	unsigned requests;
	unsigned accepted;
	unsigned canceled; /* RST_STREAM CANCEL that came */
	bool at_headers;   /* acts before the body is there */
	uint32_t window;   /* for request bodies */
	const char *code, *message;
	struct etcd_client client;
	bool closed;
};

/* ---- the server ---------------------------------------------------------- */

static void conn_closed_cb(uv_handle_t *h)
{
	struct conn *c = h->data;

	nghttp2_session_del(c->session);
	list_remove(&c->link);
	free(c);
}

static void conn_close(struct conn *c)
{
	if (!c->closing) {
		c->closing = true;
		uv_close((uv_handle_t *)&c->tcp, conn_closed_cb);
	}
}

static void conn_flush(struct conn *c)
{
	const uint8_t *p;
	ssize_t n;

	while (!c->closing &&
	       (n = nghttp2_session_mem_send(c->session, &p)) > 0) {
		uv_buf_t b = uv_buf_init((char *)(uintptr_t)p, (unsigned)n);

		/* Small enough for any socket's buffer. */
		(void)uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
	}
}

static nghttp2_nv nv(const char *name, const char *value)
{
	nghttp2_nv x = {(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value,
			strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};

	return x;
}

/* Bodies of answers; `ptr` says which. */
static const uint8_t body_ok[] = {0, 0, 0, 0, 2, 'o', 'k'};
static const uint8_t body_two[] = {0, 0, 0, 0, 2, 'n', 'o',
				   0, 0, 0, 0, 2, 'o', 'k'};
static const uint8_t body_compressed[] = {1, 0, 0, 0, 2, 'o', 'k'};

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf,
			 size_t cap, uint32_t *flags,
			 nghttp2_data_source *source, void *user KV_UNUSED)
{
	const uint8_t *p = source->ptr;
	size_t n = p == body_two ? sizeof body_two : sizeof body_ok;
	nghttp2_nv trailer = nv("grpc-status", "0");

	assert_true(n <= cap);
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (p == NULL) {
		return 0; /* an end without trailers */
	}
	memcpy(buf, p, n);
	*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	(void)nghttp2_submit_trailer(session, id, &trailer, 1);
	return (ssize_t)n;
}

static void respond(struct conn *c, int32_t id, const char *http,
		    const uint8_t *body)
{
	nghttp2_nv h[2] = {nv(":status", http),
			   nv("content-type", "application/grpc")};
	nghttp2_data_provider d = {{.ptr = (void *)(uintptr_t)body}, read_body};

	assert_int_equal(nghttp2_submit_response(c->session, id, h, 2, &d), 0);
}

static void respond_status(struct conn *c, int32_t id, const char *code,
			   const char *message)
{
	nghttp2_nv h[4] = {
	    nv(":status", "200"), nv("content-type", "application/grpc"),
	    nv("grpc-status", code), nv("grpc-message", message)};

	assert_int_equal(nghttp2_submit_response(c->session, id, h, 4, NULL),
			 0);
}

static void goaway(struct conn *c, int32_t last)
{
	(void)nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, last,
				    NGHTTP2_NO_ERROR, NULL, 0);
}

static void act(struct conn *c, int32_t id)
{
	struct server *s = c->s;
	unsigned n = s->requests++;

	switch (n < s->n_script ? s->script[n] : ACT_OK) {
	case ACT_OK:
		respond(c, id, "200", body_ok);
		break;
	case ACT_TWO:
		respond(c, id, "200", body_two);
		break;
	case ACT_EMPTY:
		respond_status(c, id, "0", "");
		break;
	case ACT_STATUS:
		respond_status(c, id, s->code, s->message);
		break;
	case ACT_NO_STATUS:
		respond(c, id, "200", NULL);
		break;
	case ACT_HTTP:
		respond(c, id, "404", NULL);
		break;
	case ACT_COMPRESSED:
		respond(c, id, "200", body_compressed);
		break;
	case ACT_REFUSE:
		(void)nghttp2_submit_rst_stream(c->session, 0, id,
						NGHTTP2_REFUSED_STREAM);
		break;
	case ACT_RESET:
		(void)nghttp2_submit_rst_stream(c->session, 0, id,
						NGHTTP2_INTERNAL_ERROR);
		break;
	case ACT_GOAWAY:
		goaway(c, id - 2 > 0 ? id - 2 : 0);
		break;
	case ACT_GOAWAY_LATE:
		goaway(c, id);
		respond(c, id, "200", body_ok);
		break;
	case ACT_CLOSE:
		conn_close(c);
		break;
	case ACT_SILENT:
		break;
	}
}

static int on_frame(nghttp2_session *session KV_UNUSED, const nghttp2_frame *f,
		    void *user)
{
	struct conn *c = user;
	bool ends = (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

	if (f->hd.type == NGHTTP2_RST_STREAM &&
	    f->rst_stream.error_code == NGHTTP2_CANCEL) {
		c->s->canceled++;
	}
	if (c->s->at_headers ? f->hd.type == NGHTTP2_HEADERS
			     : f->hd.type == NGHTTP2_DATA && ends) {
		act(c, f->hd.stream_id);
	}
	return 0;
}

static void alloc_cb(uv_handle_t *h KV_UNUSED, size_t hint KV_UNUSED,
		     uv_buf_t *buf)
{
	static char bytes[65536];

	*buf = uv_buf_init(bytes, sizeof bytes);
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = stream->data;

	if (n < 0) {
		conn_close(c);
		return;
	}
	assert_true(nghttp2_session_mem_recv(c->session, (uint8_t *)buf->base,
					     (size_t)n) >= 0);
	conn_flush(c);
}

static void accept_cb(uv_stream_t *listener, int status)
{
	struct server *s = listener->data;
	struct conn *c = calloc(1, sizeof *c);
	nghttp2_session_callbacks *cb;
	nghttp2_settings_entry iv = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
				     s->window};

	assert_int_equal(status, 0);
	assert_non_null(c);
	s->accepted++;
	c->s = s;
	c->tcp.data = c;
	list_init(&c->link);
	list_push_back(&s->conns, &c->link);
	assert_int_equal(uv_tcp_init(&s->loop.uv, &c->tcp), 0);
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&c->tcp), 0);
	assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
	assert_int_equal(nghttp2_session_server_new(&c->session, cb, c), 0);
	nghttp2_session_callbacks_del(cb);
	assert_int_equal(nghttp2_submit_settings(c->session, 0, &iv, 1), 0);
	assert_int_equal(
	    uv_read_start((uv_stream_t *)&c->tcp, alloc_cb, read_cb), 0);
	conn_flush(c);
}

/* ---- the client ---------------------------------------------------------- */

static void server_open(struct server *s, const enum act *script, size_t n)
{
	struct sockaddr_in a;
	int len = sizeof a;

	memset(s, 0, sizeof *s);
	s->script = script;
	s->n_script = n;
	s->window = 65535;
	s->code = "14";
	s->message = "etcdserver: request timed out";
	list_init(&s->conns);
	test_loop_open(&s->loop);
	assert_int_equal(uv_tcp_init(&s->loop.uv, &s->tcp), 0);
	s->tcp.data = s;
	assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &a), 0);
	assert_int_equal(uv_tcp_bind(&s->tcp, (struct sockaddr *)&a, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&s->tcp, 8, accept_cb), 0);
	assert_int_equal(
	    uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&a, &len), 0);
	(void)snprintf(s->port, sizeof s->port, "%u", ntohs(a.sin_port));
	s->client.sched = s->loop.sched;
	s->client.endpoints = kv_calloc(1, sizeof *s->client.endpoints);
	s->client.n_endpoints = 1;
	s->client.endpoints[0].host = kv_strdup("127.0.0.1");
	s->client.endpoints[0].port = kv_strdup(s->port);
	s->client.timeout_ms = 5000;
	etcd_client_init(&s->client);
}

static void closed_cb(void *ctx)
{
	struct server *s = ctx;

	s->closed = true;
}

static void server_close(struct server *s)
{
	struct list *l;

	etcd_client_close(&s->client, closed_cb, s);
	test_loop_until(&s->loop, &s->closed);
	uv_close((uv_handle_t *)&s->tcp, NULL);
	for (l = s->conns.next; l != &s->conns; l = l->next) {
		conn_close(kv_container_of(l, struct conn, link));
	}
	test_loop_close(&s->loop);
}

struct one {
	struct etcd_call call;
	unsigned done;
	bool ended;
};

static void done_cb(struct etcd_call *call)
{
	struct one *o = kv_container_of(call, struct one, call);

	o->done++;
	o->ended = true;
	if (call->err.status == KV_OK) {
		assert_int_equal(call->reply_n, 2);
		assert_memory_equal(call->reply, "ok", 2);
		kv_free(call->reply);
	}
}

static void start(struct server *s, struct one *o, bool mutates, size_t size)
{
	memset(o, 0, sizeof *o);
	o->call.path = "/etcdserverpb.KV/Test";
	o->call.frame = kv_calloc(1, GRPC_PREFIX + size);
	assert_non_null(o->call.frame);
	grpc_put_prefix(o->call.frame, size);
	o->call.frame_n = GRPC_PREFIX + size;
	o->call.mutates = mutates;
	o->call.done = done_cb;
	etcd_call_start(&s->client, &o->call);
	assert_int_equal(o->done, 0);
}

static int call(struct server *s, bool mutates)
{
	struct one o;

	start(s, &o, mutates, 10);
	test_loop_until(&s->loop, &o.ended);
	assert_int_equal(o.done, 1);
	return o.call.err.status;
}

/* ---- the tests ----------------------------------------------------------- */

static const struct {
	enum act act[2];
	int read, write; /* of a call that meets it */
	unsigned read_requests, write_requests;
} rows[] = {
    {{ACT_OK, ACT_OK}, KV_OK, KV_OK, 1, 1},
    {{ACT_TWO, ACT_OK}, KV_OK, KV_OK, 1, 1},
    {{ACT_EMPTY, ACT_OK}, KV_BROKEN, KV_UNKNOWN_OUTCOME, 1, 1},
    {{ACT_STATUS, ACT_OK}, KV_NOT_REACHABLE, KV_UNKNOWN_OUTCOME, 1, 1},
    /* A read is sent again once, a write that may have been done never. */
    {{ACT_NO_STATUS, ACT_OK}, KV_OK, KV_UNKNOWN_OUTCOME, 2, 1},
    {{ACT_NO_STATUS, ACT_HTTP}, KV_NOT_REACHABLE, KV_UNKNOWN_OUTCOME, 2, 1},
    {{ACT_COMPRESSED, ACT_OK}, KV_OK, KV_UNKNOWN_OUTCOME, 2, 1},
    {{ACT_RESET, ACT_OK}, KV_OK, KV_UNKNOWN_OUTCOME, 2, 1},
    {{ACT_RESET, ACT_RESET}, KV_NOT_REACHABLE, KV_UNKNOWN_OUTCOME, 2, 1},
    {{ACT_CLOSE, ACT_OK}, KV_OK, KV_UNKNOWN_OUTCOME, 2, 1},
    {{ACT_CLOSE, ACT_CLOSE}, KV_NOT_REACHABLE, KV_UNKNOWN_OUTCOME, 2, 1},
    /* What was surely not looked at is sent again, writes too. */
    {{ACT_REFUSE, ACT_OK}, KV_OK, KV_OK, 2, 2},
    {{ACT_REFUSE, ACT_REFUSE}, KV_NOT_REACHABLE, KV_NOT_REACHABLE, 2, 2},
    {{ACT_REFUSE, ACT_RESET}, KV_NOT_REACHABLE, KV_UNKNOWN_OUTCOME, 2, 2},
    {{ACT_GOAWAY_LATE, ACT_OK}, KV_OK, KV_OK, 1, 1},
};

static void ends_are_told_apart(void **state)
{
	size_t i;
	int mutates;

	(void)state;
	for (i = 0; i < KV_COUNT(rows); i++) {
		for (mutates = 0; mutates < 2; mutates++) {
			struct server s;
			int status, want;

			server_open(&s, rows[i].act, 2);
			status = call(&s, mutates == 1);
			want = mutates ? rows[i].write : rows[i].read;
			if (status != want ||
			    s.requests != (mutates ? rows[i].write_requests
						   : rows[i].read_requests)) {
				fail_msg("row %zu, %s: %s after %u requests", i,
					 mutates ? "write" : "read",
					 kv_status_name(status), s.requests);
			}
			/* And then all is well again. */
			s.n_script = 0;
			assert_int_equal(call(&s, true), KV_OK);
			server_close(&s);
		}
	}
}

/* GOAWAY under a request that it was not looked at. */
static void a_goodbye_moves_calls_to_a_new_connection(void **state)
{
	static const enum act script[] = {ACT_OK, ACT_GOAWAY, ACT_OK};
	struct server s;
	uint64_t epoch;

	(void)state;
	server_open(&s, script, KV_COUNT(script));
	assert_int_equal(call(&s, true), KV_OK);
	epoch = s.client.epoch;
	assert_int_equal(call(&s, true), KV_OK);
	assert_int_equal(s.client.epoch, epoch + 1);
	assert_int_equal(s.requests, 3);
	assert_int_equal(s.accepted, 2);
	server_close(&s);
}

/* The end of the connection catches a request half sent: it was surely not
 * done, and goes out again as a whole. */
static void half_a_request_is_no_request(void **state)
{
	static const enum act script[] = {ACT_OK, ACT_CLOSE};
	struct server s;
	struct one o;

	(void)state;
	server_open(&s, script, 2);
	s.window = 1000;
	assert_int_equal(call(&s, true), KV_OK);
	s.at_headers = true;
	start(&s, &o, true, 100000);
	test_loop_until(&s.loop, &o.ended);
	/* The second connection's headers were answered with success. */
	assert_int_equal(o.call.err.status, KV_OK);
	assert_int_equal(o.done, 1);
	assert_int_equal(s.requests, 3);
	server_close(&s);
}

static void a_call_may_be_bound_to_its_connection(void **state)
{
	static const enum act script[] = {ACT_OK, ACT_CLOSE};
	struct server s;
	struct one o;
	uint64_t epoch;

	(void)state;
	server_open(&s, script, 2);
	assert_int_equal(call(&s, true), KV_OK);
	epoch = s.client.epoch;
	assert_int_equal(call(&s, true), KV_UNKNOWN_OUTCOME);
	memset(&o, 0, sizeof o);
	o.call.path = "/etcdserverpb.KV/Test";
	o.call.frame = kv_calloc(1, GRPC_PREFIX);
	o.call.frame_n = GRPC_PREFIX;
	o.call.need_epoch = epoch;
	o.call.mutates = true;
	o.call.done = done_cb;
	etcd_call_start(&s.client, &o.call);
	test_loop_until(&s.loop, &o.ended);
	assert_int_equal(o.call.err.status, KV_NOT_REACHABLE);
	assert_int_equal(s.requests, 2); /* it was not sent */
	server_close(&s);
}

static void silence_ends_at_the_deadline(void **state)
{
	static const enum act script[] = {ACT_OK, ACT_SILENT, ACT_SILENT};
	struct server s;

	(void)state;
	server_open(&s, script, 3);
	s.client.timeout_ms = 100;
	assert_int_equal(call(&s, true), KV_OK);
	assert_int_equal(call(&s, true), KV_UNKNOWN_OUTCOME);
	/* Not a byte came meanwhile: another connection is made. */
	assert_int_equal(call(&s, false), KV_TIMED_OUT);
	assert_int_equal(s.accepted, 2);
	assert_int_equal(call(&s, true), KV_OK);
	server_close(&s);
}

static void a_canceled_call_says_nothing_more(void **state)
{
	static const enum act script[] = {ACT_OK, ACT_SILENT};
	struct server s;
	struct one o;

	(void)state;
	server_open(&s, script, 2);
	assert_int_equal(call(&s, true), KV_OK);
	start(&s, &o, true, 10);
	while (s.requests < 2) {
		test_loop_turns(&s.loop, 1);
	}
	etcd_call_cancel(&o.call);
	assert_true(o.call.sent);
	assert_int_equal(call(&s, false), KV_OK);
	assert_int_equal(s.canceled, 1);
	assert_int_equal(o.done, 0);
	/* One that waits for a connection was not sent. */
	server_close(&s);
	server_open(&s, NULL, 0);
	start(&s, &o, true, 10);
	etcd_call_cancel(&o.call);
	assert_false(o.call.sent);
	test_loop_turns(&s.loop, 20);
	assert_int_equal(o.done, 0);
	server_close(&s);
}

static void many_calls_share_a_connection(void **state)
{
	static struct one o[300];
	struct server s;
	size_t i;

	(void)state;
	server_open(&s, NULL, 0);
	for (i = 0; i < KV_COUNT(o); i++) {
		start(&s, &o[i], i % 2 == 0, i * 10);
	}
	for (i = 0; i < KV_COUNT(o); i++) {
		test_loop_until(&s.loop, &o[i].ended);
		assert_int_equal(o[i].call.err.status, KV_OK);
		assert_int_equal(o[i].done, 1);
	}
	assert_int_equal(s.accepted, 1);
	server_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ends_are_told_apart),
	    cmocka_unit_test(a_goodbye_moves_calls_to_a_new_connection),
	    cmocka_unit_test(half_a_request_is_no_request),
	    cmocka_unit_test(a_call_may_be_bound_to_its_connection),
	    cmocka_unit_test(silence_ends_at_the_deadline),
	    cmocka_unit_test(a_canceled_call_says_nothing_more),
	    cmocka_unit_test(many_calls_share_a_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
