/* test_zk_conn.c: a connection against a server that misbehaves on purpose.
 *
 * What matters: replies find their calls, every call ends once and before
 * `down`, nothing is called from inside a call of ours, and each failure names
 * the server.
 */
#include "tests/unit/test_zk_conn_world.h"

#include "tests/lib/sweep.h"

static void expect_down(struct world *w, int status, const char *text)
{
	test_loop_until(&w->loop, &w->down);
	assert_int_equal(w->err.status, status);
	if (strstr(w->err.text, w->name) == NULL ||
	    strstr(w->err.text, text) == NULL) {
		fail_msg("neither %s nor \"%s\" in: %s", w->name, text,
			 w->err.text);
	}
	test_loop_turns(&w->loop, 5);
	assert_int_equal(w->downs, 1);
}

/* ---- the handshake ------------------------------------------------------- */

static void both_kinds_of_servers_are_greeted(void **state)
{
	static const enum greet greets[] = {GREET_37, GREET_36};
	struct world w;
	size_t i;

	(void)state;
	for (i = 0; i < KV_COUNT(greets); i++) {
		world_open(&w, NULL, 0);
		w.greet = greets[i];
		w.last_zxid = 0x500000003;
		assert_int_equal(world_connect(&w), KV_OK);
		assert_false(zk_conn_is_up(w.conn));
		test_loop_until(&w.loop, &w.up);
		assert_int_equal(w.saw_protocol, 0);
		assert_int_equal(w.saw_zxid, 0x500000003);
		assert_int_equal(w.saw_timeout, 7000);
		assert_int_equal(w.saw_session, 0);
		assert_string_equal(w.saw_auth, "");
		world_close(&w);
		assert_int_equal(w.ups, 1);
		assert_int_equal(w.downs, 0);
	}
}

static void expect_greeting_fails(enum greet how, int64_t last_zxid, int status,
				  const char *text)
{
	struct world w;

	world_open(&w, NULL, 0);
	w.greet = how;
	w.last_zxid = last_zxid;
	if (how == GREET_SILENT) {
		w.timeout_ms = 50;
	}
	assert_int_equal(world_connect(&w), KV_OK);
	expect_down(&w, status, text);
	assert_int_equal(w.ups, 0);
	world_close(&w);
	assert_int_equal(w.goodbyes, 0);
}

static void a_handshake_that_fails_says_why(void **state)
{
	(void)state;
	expect_greeting_fails(GREET_EXPIRED, 0, KV_NOT_REACHABLE, "expired");
	expect_greeting_fails(GREET_READ_ONLY, 0, KV_NOT_REACHABLE,
			      "read-only");
	expect_greeting_fails(GREET_GARBAGE, 0, KV_NOT_REACHABLE,
			      "is it a ZooKeeper client port");
	expect_greeting_fails(GREET_HTTP, 0, KV_NOT_REACHABLE,
			      "is it a client port");
	expect_greeting_fails(GREET_SILENT, 0, KV_NOT_REACHABLE,
			      "no answer within 50 ms");
}

static void a_server_that_is_behind_hangs_up(void **state)
{
	(void)state;
	expect_greeting_fails(GREET_CLOSE, 0, KV_NOT_REACHABLE, "handshake");
	expect_greeting_fails(GREET_CLOSE, 0xabc, KV_HISTORY_LOST, "0xabc");
}

static void nobody_listens(void **state)
{
	struct world w, other;

	(void)state;
	world_open(&other, NULL, 0);
	world_open(&w, NULL, 0);
	memcpy(w.port, other.port, sizeof w.port);
	memcpy(w.name, other.name, sizeof w.name);
	world_close(&other);
	w.last_zxid = 1;
	assert_int_equal(world_connect(&w), KV_OK);
	expect_down(&w, KV_NOT_REACHABLE, "refused");
	world_close(&w);
}

static void a_name_that_cannot_be_found(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, NULL, 0);
	(void)snprintf(w.port, sizeof w.port, "none");
	(void)snprintf(w.name, sizeof w.name, "127.0.0.1:none");
	assert_int_equal(world_connect(&w), KV_OK);
	expect_down(&w, KV_NOT_REACHABLE, "");
	world_close(&w);
}

static void credentials_come_before_up(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, NULL, 0);
	w.scheme = "digest";
	assert_int_equal(world_connect(&w), KV_OK);
	test_loop_until(&w.loop, &w.up);
	assert_string_equal(w.saw_auth, "digest user:password");
	assert_int_equal(zk_conn_zxid(w.conn), 0);
	world_close(&w);
}

static void credentials_may_be_refused(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, NULL, 0);
	w.scheme = "digest";
	w.auth_error = ZK_AUTH_FAILED;
	assert_int_equal(world_connect(&w), KV_OK);
	expect_down(&w, KV_DENIED, "digest");
	assert_null(strstr(w.err.text, "user:"));
	assert_int_equal(w.ups, 0);
	world_close(&w);
}

static void credentials_are_answered_by_nonsense(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, NULL, 0);
	w.scheme = "digest";
	w.auth_other = true;
	assert_int_equal(world_connect(&w), KV_OK);
	expect_down(&w, KV_NOT_REACHABLE, "credentials");
	assert_int_equal(w.ups, 0);
	world_close(&w);
}

/* ---- calls --------------------------------------------------------------- */

static void replies_find_their_calls(void **state)
{
	static const enum act script[] = {ACT_REPLY, ACT_ERROR, ACT_EVENT,
					  ACT_REPLY, ACT_ERROR};
	struct ask a[3] = {0};
	struct world w;

	(void)state;
	world_up(&w, script, KV_COUNT(script));
	ask(&w, &a[0], "one");
	ask(&w, &a[1], "two");
	ask(&w, &a[2], "three");
	test_loop_until(&w.loop, &a[2].done);
	assert_string_equal(w.paths, "one two /event three ");
	assert_string_equal(a[0].body, "one");
	assert_int_equal(a[0].call.error, ZK_OK);
	assert_int_equal(a[0].call.zxid, 100);
	assert_int_equal(a[1].call.err.status, KV_OK);
	assert_int_equal(a[1].call.error, ZK_NO_NODE);
	assert_int_equal(a[1].body_n, 0);
	assert_int_equal(a[1].call.zxid, -1);
	assert_string_equal(a[2].body, "three");
	assert_int_equal(a[2].call.zxid, 101);
	assert_int_equal(zk_conn_zxid(w.conn), 101);
	assert_int_equal(w.xids[0], 1);
	assert_int_equal(w.xids[2], 3);
	assert_null(a[0].call.frame.p);
	/* A call may be used again. */
	ask(&w, &a[0], "four");
	test_loop_until(&w.loop, &a[0].done);
	assert_string_equal(a[0].body, "four");
	/* An error's zxid may be none. */
	ask(&w, &a[0], "five");
	test_loop_until(&w.loop, &a[0].done);
	assert_int_equal(a[0].call.zxid, -1);
	assert_int_equal(zk_conn_zxid(w.conn), 102);
	world_close(&w);
	assert_int_equal(w.goodbyes, 1);
}

static void bytes_may_come_one_by_one(void **state)
{
	static const enum act script[] = {ACT_REPLY, ACT_EVENT, ACT_EVENT};
	struct ask a[3];
	struct world w;
	size_t piece;

	(void)state;
	for (piece = 1; piece < 60; piece++) {
		memset(a, 0, sizeof a);
		world_open(&w, script, KV_COUNT(script));
		w.piece = piece;
		w.scheme = "digest";
		assert_int_equal(world_connect(&w), KV_OK);
		test_loop_until(&w.loop, &w.up);
		ask(&w, &a[0], "one");
		ask(&w, &a[1], "two");
		ask(&w, &a[2], "three");
		test_loop_until(&w.loop, &a[2].done);
		assert_string_equal(w.paths, "one /event two /event three ");
		assert_string_equal(a[2].body, "three");
		world_close(&w);
	}
}

static void a_large_reply_comes_whole(void **state)
{
	static const enum act script[] = {ACT_BIG, ACT_REPLY};
	struct ask a[2] = {0};
	struct world w;

	(void)state;
	world_up(&w, script, KV_COUNT(script));
	ask(&w, &a[0], "big");
	ask(&w, &a[1], "small");
	test_loop_until(&w.loop, &a[1].done);
	assert_int_equal(a[0].body_n, BIG_BODY);
	assert_memory_equal(a[0].body, "bbbb", 4);
	assert_string_equal(a[1].body, "small");
	world_close(&w);
}

/* More than a socket takes at once. */
static void many_large_requests(void **state)
{
	enum { CALLS = 64, SIZE = 200 * 1000 };
	static struct ask a[CALLS];
	static uint8_t body[SIZE];
	struct world w;
	size_t i;

	(void)state;
	memset(a, 0, sizeof a);
	world_up(&w, NULL, 0);
	for (i = 0; i < CALLS; i++) {
		memset(body, (int)i, sizeof body);
		a[i].w = &w;
		a[i].call.done = done_cb;
		a[i].call.data = &a[i];
		zk_call_begin(&a[i].call, ZK_OP_EXISTS);
		jute_put_raw(&a[i].call.frame, slice_of(body, sizeof body));
		zk_call_start(w.conn, &a[i].call);
		if (i % 8 == 0) {
			test_loop_turns(&w.loop, 1);
		}
	}
	test_loop_until(&w.loop, &a[CALLS - 1].done);
	for (i = 0; i < CALLS; i++) {
		assert_int_equal(a[i].dones, 1);
		assert_int_equal(a[i].body_n, SIZE);
		assert_int_equal(a[i].body[9], (int)i);
	}
	world_close(&w);
}

static void a_request_without_memory_is_answered(void **state)
{
	struct ask a[2] = {0};
	struct world w;

	(void)state;
	world_up(&w, NULL, 0);
	a[0].w = &w;
	a[0].call.done = done_cb;
	a[0].call.data = &a[0];
	zk_call_begin(&a[0].call, ZK_OP_EXISTS);
	a[0].call.frame.failed = true;
	zk_call_start(w.conn, &a[0].call);
	assert_false(a[0].done);
	ask(&w, &a[1], "one");
	test_loop_until(&w.loop, &a[1].done);
	assert_true(a[0].done);
	assert_int_equal(a[0].call.err.status, KV_NO_MEMORY);
	assert_non_null(strstr(a[0].call.err.text, w.name));
	assert_int_equal(a[1].call.err.status, KV_OK);
	assert_int_equal(w.xids[0], 1);
	world_close(&w);
}

static void a_forgotten_call_is_silent(void **state)
{
	struct ask a[4] = {0};
	struct world w;

	(void)state;
	world_up(&w, NULL, 0);
	ask(&w, &a[0], "one");
	ask(&w, &a[1], "two");
	ask(&w, &a[2], "three");
	zk_call_forget(&a[0].call);
	zk_call_forget(&a[1].call);
	zk_call_forget(&a[1].call);
	zk_call_forget(&a[3].call);
	memset(&a[0], 0xee, sizeof a[0]);
	test_loop_until(&w.loop, &a[2].done);
	assert_int_equal(a[1].dones, 0);
	assert_string_equal(w.paths, "three ");
	assert_string_equal(a[2].body, "three");
	assert_int_equal(w.requests, 3);
	/* Its place may be taken anew at once. */
	ask(&w, &a[1], "four");
	zk_call_forget(&a[1].call);
	ask(&w, &a[1], "five");
	test_loop_until(&w.loop, &a[1].done);
	assert_string_equal(a[1].body, "five");
	assert_int_equal(a[1].dones, 1);
	/* One that failed before it left. */
	a[3].call.done = done_cb;
	a[3].call.data = &a[3];
	zk_call_begin(&a[3].call, ZK_OP_EXISTS);
	a[3].call.frame.failed = true;
	zk_call_start(w.conn, &a[3].call);
	zk_call_forget(&a[3].call);
	test_loop_turns(&w.loop, 5);
	assert_int_equal(a[3].dones, 0);
	world_close(&w);
}

/* ---- SetWatches ---------------------------------------------------------- */

static void watches_are_set_one_after_the_other(void **state)
{
	static const enum act script[] = {ACT_EVENT, ACT_REPLY, ACT_EVENT};
	struct ask a[3] = {0};
	struct world w;

	(void)state;
	world_up(&w, script, KV_COUNT(script));
	ask_watches(&w, &a[0], "first");
	ask_watches(&w, &a[1], "second");
	ask(&w, &a[2], "read");
	test_loop_until(&w.loop, &a[1].done);
	assert_string_equal(w.paths, "/event first read /event second ");
	assert_int_equal(w.xids[0], ZK_XID_WATCHES);
	assert_int_equal(w.xids[1], 1);
	assert_int_equal(w.xids[2], ZK_XID_WATCHES);
	world_close(&w);
}

static void forgotten_watches_let_the_next_pass(void **state)
{
	struct ask a[4] = {0};
	struct world w;

	(void)state;
	world_up(&w, NULL, 0);
	ask_watches(&w, &a[0], "out");
	ask_watches(&w, &a[1], "waits");
	ask_watches(&w, &a[2], "goes");
	zk_call_forget(&a[0].call);
	zk_call_forget(&a[1].call);
	test_loop_until(&w.loop, &a[2].done);
	assert_string_equal(w.paths, "goes ");
	assert_int_equal(w.requests, 2);
	a[3].w = &w;
	a[3].call.done = done_cb;
	a[3].call.data = &a[3];
	zk_call_begin(&a[3].call, ZK_OP_SET_WATCHES);
	a[3].call.frame.failed = true;
	zk_call_start(w.conn, &a[3].call);
	test_loop_until(&w.loop, &a[3].done);
	assert_int_equal(a[3].call.err.status, KV_NO_MEMORY);
	world_close(&w);
}

/* ---- down ---------------------------------------------------------------- */

/* The second of four requests gets `last`; watches wait, too. */
static void expect_end(enum act last, int status, const char *text)
{
	const enum act script[] = {ACT_REPLY, last, ACT_SILENT, ACT_SILENT,
				   ACT_SILENT};
	struct ask a[6] = {0};
	struct world w;
	size_t i;

	world_up(&w, script, KV_COUNT(script));
	ask(&w, &a[0], "one");
	ask(&w, &a[1], "two");
	ask(&w, &a[2], "three");
	ask(&w, &a[3], "four");
	ask_watches(&w, &a[4], "five");
	ask_watches(&w, &a[5], "six");
	expect_down(&w, KV_NOT_REACHABLE, text);
	assert_string_equal(w.paths, "one two three four five six down ");
	assert_int_equal(a[0].call.err.status, KV_OK);
	assert_int_equal(a[1].call.err.status, status);
	for (i = 1; i < KV_COUNT(a); i++) {
		assert_int_equal(a[i].dones, 1);
		assert_non_null(strstr(a[i].call.err.text, w.name));
		assert_null(a[i].call.frame.p);
		if (i > 1) {
			assert_int_equal(a[i].call.err.status,
					 KV_NOT_REACHABLE);
		}
	}
	world_close(&w);
	assert_int_equal(w.goodbyes, 0);
}

static void calls_end_before_down(void **state)
{
	(void)state;
	expect_end(ACT_CLOSE, KV_NOT_REACHABLE, "closed the connection");
	expect_end(ACT_OTHER_XID, KV_NOT_REACHABLE, "nothing was asked");
	expect_end(ACT_SHORT, KV_NOT_REACHABLE, "too short");
	expect_end(ACT_NEGATIVE, KV_NOT_REACHABLE, "negative");
	expect_end(ACT_TOO_BIG, KV_TOO_LARGE, "10000001 bytes");
	expect_end(ACT_EVENT_CUT, KV_NOT_REACHABLE, "event");
	expect_end(ACT_EVENT_NOWHERE, KV_NOT_REACHABLE, "event");
	expect_end(ACT_EVENT_UNKNOWN, KV_NOT_REACHABLE, "unknown type");
	expect_end(ACT_PONG, KV_NOT_REACHABLE, "nothing was asked");
}

static void a_silent_server_is_left(void **state)
{
	static const enum act script[] = {ACT_SILENT};
	struct ask a = {0};
	struct world w;

	(void)state;
	world_open(&w, script, 1);
	w.granted_ms = 90;
	w.deaf = true;
	assert_int_equal(world_connect(&w), KV_OK);
	test_loop_until(&w.loop, &w.up);
	ask(&w, &a, "one");
	expect_down(&w, KV_NOT_REACHABLE, "no sign of life");
	assert_true(a.done);
	assert_true(w.pings >= 1);
	world_close(&w);
}

static void pings_keep_an_idle_connection(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, NULL, 0);
	/* Long enough for a slow machine, which would be silent, too. */
	w.granted_ms = 1500;
	assert_int_equal(world_connect(&w), KV_OK);
	while (w.pings < 4) {
		(void)uv_run(&w.loop.uv, UV_RUN_ONCE);
		assert_int_equal(w.downs, 0);
	}
	world_close(&w);
}

/* We were stopped for longer than a server may be silent, which it was, as
 * nobody asked it: it is asked, not left. */
static void a_rest_of_our_own_is_no_silence(void **state)
{
	struct world w;
	unsigned pings;

	(void)state;
	world_open(&w, NULL, 0);
	w.granted_ms = 1500;
	assert_int_equal(world_connect(&w), KV_OK);
	test_loop_until(&w.loop, &w.up);
	test_loop_turns(&w.loop, 5);
	pings = w.pings;
	w.slow_ms = 20;
	uv_sleep(1600);
	while (w.pings < pings + 2) {
		(void)uv_run(&w.loop.uv, UV_RUN_ONCE);
		assert_int_equal(w.downs, 0);
	}
	world_close(&w);
}

/* ---- closing ------------------------------------------------------------- */

static void close_forgets_calls(void **state)
{
	static const enum act script[] = {ACT_SILENT, ACT_SILENT, ACT_SILENT};
	struct ask a[5] = {0};
	struct world w;
	size_t i;

	(void)state;
	world_up(&w, script, KV_COUNT(script));
	ask(&w, &a[0], "one");
	ask_watches(&w, &a[1], "two");
	ask_watches(&w, &a[2], "three");
	test_loop_turns(&w.loop, 3);
	ask(&w, &a[3], "four");
	a[4].call.done = done_cb;
	a[4].call.data = &a[4];
	zk_call_begin(&a[4].call, ZK_OP_EXISTS);
	a[4].call.frame.failed = true;
	zk_call_start(w.conn, &a[4].call);
	zk_conn_close(w.conn);
	assert_false(zk_conn_is_up(w.conn));
	assert_false(w.closed);
	test_loop_until(&w.loop, &w.closed);
	test_loop_until(&w.loop, &w.dead);
	for (i = 0; i < KV_COUNT(a); i++) {
		assert_int_equal(a[i].dones, 0);
		zk_call_forget(&a[i].call);
	}
	assert_int_equal(w.goodbyes, 1);
	world_close(&w);
	assert_int_equal(w.downs, 0);
}

/* The goodbye stands behind what the socket did not take yet. */
static void close_while_the_socket_is_full(void **state)
{
	static uint8_t body[16 * 1000 * 1000];
	static const enum act script[] = {ACT_SILENT};
	struct ask a = {0};
	struct world w;

	(void)state;
	world_up(&w, script, 1);
	a.call.done = done_cb;
	a.call.data = &a;
	zk_call_begin(&a.call, ZK_OP_EXISTS);
	jute_put_raw(&a.call.frame, slice_of(body, sizeof body));
	zk_call_start(w.conn, &a.call);
	test_loop_turns(&w.loop, 1);
	zk_conn_close(w.conn);
	test_loop_until(&w.loop, &w.closed);
	test_loop_until(&w.loop, &w.dead);
	assert_int_equal(a.dones, 0);
	assert_int_equal(w.goodbyes, 1);
	world_close(&w);
}

static void close_at_any_time(void **state)
{
	struct world w;
	unsigned turns;

	(void)state;
	for (turns = 0; turns < 12; turns++) {
		world_open(&w, NULL, 0);
		w.scheme = "digest";
		assert_int_equal(world_connect(&w), KV_OK);
		test_loop_turns(&w.loop, turns);
		world_close(&w);
		assert_int_equal(w.downs, 0);
	}
}

static void close_conn(struct world *w)
{
	zk_conn_close(w->conn);
}

static void close_in_done(struct ask *a)
{
	zk_conn_close(a->w->conn);
}

static void close_from_inside_an_event(void **state)
{
	static const enum act script[] = {ACT_EVENT, ACT_EVENT, ACT_CLOSE};
	unsigned where;

	(void)state;
	for (where = 0; where < 5; where++) {
		struct ask a[4] = {0};
		struct world w;

		world_open(&w, script, KV_COUNT(script));
		w.on_up = where == 0 ? close_conn : NULL;
		w.on_event = where == 1 ? close_conn : NULL;
		a[0].then = where == 2 ? close_in_done : NULL;
		a[2].then = where == 3 ? close_in_done : NULL;
		w.on_down = where == 4 ? close_conn : NULL;
		assert_int_equal(world_connect(&w), KV_OK);
		test_loop_until(&w.loop, &w.up);
		if (where > 0) {
			ask(&w, &a[0], "one");
			ask(&w, &a[1], "two");
			ask(&w, &a[2], "three");
			ask(&w, &a[3], "four");
		}
		test_loop_until(&w.loop, &w.closed);
		assert_int_equal(a[0].dones, where > 1);
		assert_int_equal(a[1].dones, where > 2);
		assert_int_equal(a[2].dones, where > 2);
		assert_int_equal(a[3].dones, where > 3);
		assert_int_equal(w.downs, where > 3);
		assert_int_equal(w.events, where < 3 ? where > 0 : 2);
		world_close(&w);
	}
}

static void ask_again(struct ask *a)
{
	if (a->dones < 100) {
		ask(a->w, a, a->name);
	}
}

static void a_call_from_inside_done(void **state)
{
	struct ask a = {0};
	struct world w;

	(void)state;
	world_up(&w, NULL, 0);
	a.then = ask_again;
	ask(&w, &a, "x");
	while (a.dones < 100) {
		(void)uv_run(&w.loop.uv, UV_RUN_ONCE);
	}
	assert_int_equal(w.requests, 100);
	world_close(&w);
}

/* ---- memory -------------------------------------------------------------- */

static bool ended(const struct world *w, const struct ask *a, size_t n)
{
	while (n > 0 && a[n - 1].done) {
		n--;
	}
	return n == 0 || w->down;
}

/* Connects, asks, is told, closes. */
static int whole_life(void *ctx)
{
	static const enum act script[] = {ACT_EVENT, ACT_REPLY, ACT_EVENT};
	struct ask a[4] = {0};
	struct world w;
	int rv = KV_NO_MEMORY;
	size_t i;

	(void)ctx;
	world_open(&w, script, KV_COUNT(script));
	w.piece = 11;
	w.scheme = "digest";
	if (w.loop.sched == NULL) {
		goto out;
	}
	rv = world_connect(&w);
	if (rv != KV_OK) {
		goto out;
	}
	while (!w.up && !w.down) {
		(void)uv_run(&w.loop.uv, UV_RUN_ONCE);
	}
	if (w.up) {
		ask(&w, &a[0], "one");
		ask_watches(&w, &a[1], "two");
		ask_watches(&w, &a[2], "three");
		ask(&w, &a[3], "four");
		while (!ended(&w, a, KV_COUNT(a))) {
			(void)uv_run(&w.loop.uv, UV_RUN_ONCE);
		}
	}
	rv = w.down ? w.err.status : KV_OK;
	for (i = 0; i < KV_COUNT(a) && rv == KV_OK; i++) {
		rv = a[i].call.err.status;
	}
out:
	world_close(&w);
	return rv;
}

static void memory_may_end_anywhere(void **state)
{
	(void)state;
	assert_true(sweep_run(whole_life, NULL) > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_kinds_of_servers_are_greeted),
	    cmocka_unit_test(a_handshake_that_fails_says_why),
	    cmocka_unit_test(a_server_that_is_behind_hangs_up),
	    cmocka_unit_test(nobody_listens),
	    cmocka_unit_test(a_name_that_cannot_be_found),
	    cmocka_unit_test(credentials_come_before_up),
	    cmocka_unit_test(credentials_may_be_refused),
	    cmocka_unit_test(credentials_are_answered_by_nonsense),
	    cmocka_unit_test(replies_find_their_calls),
	    cmocka_unit_test(bytes_may_come_one_by_one),
	    cmocka_unit_test(a_large_reply_comes_whole),
	    cmocka_unit_test(many_large_requests),
	    cmocka_unit_test(a_request_without_memory_is_answered),
	    cmocka_unit_test(a_forgotten_call_is_silent),
	    cmocka_unit_test(watches_are_set_one_after_the_other),
	    cmocka_unit_test(forgotten_watches_let_the_next_pass),
	    cmocka_unit_test(calls_end_before_down),
	    cmocka_unit_test(a_silent_server_is_left),
	    cmocka_unit_test(pings_keep_an_idle_connection),
	    cmocka_unit_test(a_rest_of_our_own_is_no_silence),
	    cmocka_unit_test(close_forgets_calls),
	    cmocka_unit_test(close_while_the_socket_is_full),
	    cmocka_unit_test(close_at_any_time),
	    cmocka_unit_test(close_from_inside_an_event),
	    cmocka_unit_test(a_call_from_inside_done),
	    cmocka_unit_test(memory_may_end_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
