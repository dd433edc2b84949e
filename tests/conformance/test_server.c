/* test_server.c: a server that is not there, goes away, freezes, comes back as
 * itself or as another one. Backends without a server skip most of it. */
#include "tests/conformance/suite.h"

/* Tries until the store answers again; bounded. */
static void await_answer(struct world *w, struct store *st)
{
	uint64_t end = sched_now(w->sched) + 40000;
	unsigned never = 0;
	struct call *c = do_exists(w, st, S("/a"));

	while (c->status != KV_OK && sched_now(w->sched) < end) {
		expect_one_of(c, KV_NOT_REACHABLE, KV_TIMED_OUT);
		(void)world_run_until(w, &never, 100);
		c = do_exists(w, st, S("/a"));
	}
	expect_status(c, KV_OK);
}

static void expect_not_there(struct world *w, struct store *st)
{
	struct store_op *op = world_ops(w, 1);
	struct tail *t = tail_open(w, st, S(""), 0);
	struct call *c;

	op[0] = op_put(S("/never"), S("1"));
	expect_one_of(do_get(w, st, S("/a")), KV_NOT_REACHABLE, KV_TIMED_OUT);
	expect_one_of(do_scan(w, st, store_scan, S(""), NOTHING, 0),
		      KV_NOT_REACHABLE, KV_TIMED_OUT);
	expect_one_of(do_write(w, st, op, 1), KV_NOT_REACHABLE, KV_TIMED_OUT);
	c = start_next(w, t->watch, 0);
	call_wait(c);
	expect_one_of(c, KV_NOT_REACHABLE, KV_TIMED_OUT);
	tail_close(t);
}

static void nobody_is_there(void **state)
{
	struct world *w = *state;
	char uri[SUITE_URI_MAX];
	struct kv_err err = {0};
	struct store *st;

	need(w->be->network, "server");
	w->be->uri_nobody(w->env, uri, sizeof uri);
	st = world_open_uri(w, uri, 0, &err);
	assert_non_null(st);
	expect_not_there(w, st);
	/* The reason names the place. */
	assert_non_null(strstr(do_get(w, st, S("/a"))->err->text, "127.0.0.1"));
	world_close(w, st);
}

static void a_store_outlives_its_server(void **state)
{
	struct world *w = *state;
	struct call *c;
	uint64_t epoch;
	char identity[STORE_IDENTITY_MAX];

	need(w->be->kill != NULL, "server to kill");
	(void)put_ok(w, "/a", "1");
	c = do_get(w, w->st, S("/a"));
	epoch = c->u.single.origin.epoch;
	memcpy(identity, c->u.single.origin.identity, sizeof identity);
	w->be->kill(w->env);
	expect_not_there(w, w->st);
	w->be->start(w->env);
	await_answer(w, w->st);
	c = do_get(w, w->st, S("/a"));
	expect_status(c, KV_OK);
	expect_bytes(c->u.single.pair.value, S("1"));
	/* The break is visible; the history is the same. */
	assert_true(c->u.single.origin.epoch > epoch);
	assert_string_equal(c->u.single.origin.identity, identity);
	expect_missing(w, S("/never"));
}

/* Guards made before a break are not sent after it. */
static void a_write_for_the_old_connection_is_not_sent(void **state)
{
	struct world *w = *state;
	struct store_op *op = world_ops(w, 1);
	struct call *c;
	uint64_t epoch;

	need(w->be->kill != NULL, "server to kill");
	(void)put_ok(w, "/a", "1");
	epoch = do_get(w, w->st, S("/a"))->u.single.origin.epoch;
	w->be->kill(w->env);
	w->be->start(w->env);
	await_answer(w, w->st);
	op[0] = op_put(S("/old"), S("1"));
	c = call_new(w, w->st, CALL_WRITE);
	c->u.write.ops = op;
	c->u.write.n_ops = 1;
	c->u.write.epoch = epoch;
	call_begin(c);
	call_submitted(c, store_write(w->st, &c->u.write));
	call_wait(c);
	expect_status(c, KV_NOT_REACHABLE);
	expect_missing(w, S("/old"));
}

static void a_watch_ends_when_its_server_goes(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct tail *u;
	struct call *c;
	uint64_t index;

	need(w->be->kill != NULL, "server to kill");
	tail_init(t);
	index = put_ok(w, "/a", "1");
	tail_until(t, index);
	c = start_next(w, t->watch, 0);
	world_turns(w, 3);
	w->be->kill(w->env);
	call_wait(c);
	expect_status(c, KV_NOT_REACHABLE);
	tail_close(t);
	w->be->start(w->env);
	await_answer(w, w->st);
	(void)put_ok(w, "/b", "2");
	index = put_ok(w, "/c", "3");
	/* No gap and nothing twice. */
	u = tail_open(w, w->st, S(""), t->index);
	tail_until(u, index);
	assert_int_equal(u->n, 2);
	expect_bytes(u->changes[0].key, S("/b"));
	expect_bytes(u->changes[1].key, S("/c"));
	assert_true(u->epoch > t->epoch);
}

/* kill -9 under a stream of writes: what was said of each one is true. */
static void writes_under_a_kill_tell_the_truth(void **state)
{
	struct world *w = *state;
	enum { N = 60 };
	struct store_op *ops[N];
	struct call *calls[N];

	need(w->be->kill != NULL, "server to kill");
	(void)put_ok(w, "/a", "1");
	for (size_t i = 0; i < N; i++) {
		ops[i] = world_ops(w, 2);
		ops[i][0] =
		    op_absent(op_put(world_key(w, "/w/%zu/x", i), S("v")));
		ops[i][1] =
		    op_absent(op_put(world_key(w, "/w/%zu/y", i), S("v")));
		calls[i] = start_write(w, w->st, ops[i], 2);
		expect_code(calls[i]->rv, KV_OK);
		if (i == N / 2) {
			call_wait(calls[i / 2]);
			w->be->kill(w->env);
		}
	}
	for (size_t i = 0; i < N; i++) {
		call_wait(calls[i]);
		expect_one_of(calls[i], KV_OK, KV_NOT_REACHABLE, KV_TIMED_OUT,
			      KV_UNKNOWN_OUTCOME);
	}
	w->be->start(w->env);
	await_answer(w, w->st);
	for (size_t i = 0; i < N; i++) {
		bool x = do_exists(w, w->st, ops[i][0].key)->u.single.found;
		bool y = do_exists(w, w->st, ops[i][1].key)->u.single.found;

		if (store_capabilities(w->st)->atomic) {
			assert_int_equal(x, y);
		}
		switch (calls[i]->status) {
		case KV_OK:
			assert_true(x && y);
			break;
		case KV_UNKNOWN_OUTCOME:
			expect_code(ops[i][0].status, KV_UNKNOWN_OUTCOME);
			break;
		default:
			/* Surely nothing was done. */
			assert_false(x || y);
			break;
		}
	}
}

/* A server that neither answers nor goes: each call ends in bounded time, a
 * write that was sent is in doubt; thawed, everything goes on. */
static void a_frozen_server_holds_nobody(void **state)
{
	struct world *w = *state;
	struct store_op *op = world_ops(w, 1);
	struct call *get;
	struct call *write;

	need(w->be->freeze != NULL, "server to freeze");
	(void)put_ok(w, "/a", "1");
	op[0] = op_put(S("/frozen"), S("1"));
	w->be->freeze(w->env);
	get = start_get(w, w->st, S("/a"));
	write = start_write(w, w->st, op, 1);
	assert_true(call_wait_ms(get, 60000));
	expect_one_of(get, KV_TIMED_OUT, KV_NOT_REACHABLE);
	assert_true(call_wait_ms(write, 60000));
	expect_one_of(write, KV_UNKNOWN_OUTCOME, KV_TIMED_OUT,
		      KV_NOT_REACHABLE);
	w->be->thaw(w->env);
	await_answer(w, w->st);
	if (write->status != KV_UNKNOWN_OUTCOME) {
		expect_missing(w, S("/frozen"));
	}
	expect_stored(w, S("/a"), S("1"));
}

static void a_short_freeze_is_only_slow(void **state)
{
	struct world *w = *state;
	unsigned never = 0;
	struct call *c;

	need(w->be->freeze != NULL, "server to freeze");
	(void)put_ok(w, "/a", "1");
	w->be->freeze(w->env);
	c = start_get(w, w->st, S("/a"));
	(void)world_run_until(w, &never, 500);
	w->be->thaw(w->env);
	call_wait(c);
	expect_status(c, KV_OK);
}

static void closing_does_not_wait_for_a_server(void **state)
{
	struct world *w = *state;
	struct store *st;
	struct tail *t;
	unsigned closed = 0;

	need(w->be->freeze != NULL, "server to freeze");
	st = world_open(w, w->prefix);
	expect_status(do_put(w, st, S("/a"), S("1")), KV_OK);
	t = tail_open(w, st, S(""), 0);
	tail_init(t);
	w->be->freeze(w->env);
	(void)start_get(w, st, S("/a"));
	(void)start_put(w, st, S("/b"), S("1"));
	(void)start_next(w, t->watch, 0);
	world_turns(w, 5);
	world_close_begin(w, st, &closed);
	t->watch = NULL;
	assert_true(world_run_until(w, &closed, 5000));
	w->be->thaw(w->env);

	w->be->kill(w->env);
	st = world_open(w, w->prefix);
	(void)start_get(w, st, S("/a"));
	world_turns(w, 5);
	closed = 0;
	world_close_begin(w, st, &closed);
	assert_true(world_run_until(w, &closed, 5000));
}

/* The server comes back empty while the store stays open: its index went back,
 * and nobody can take it for the old history. */
static void another_server_at_the_same_place(void **state)
{
	struct world *w = *state;
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct store_origin old;
	struct store_origin now;
	struct call *c;
	uint64_t index = 0;

	need(w->be->wipe != NULL && w->be->network, "server to wipe");
	tail_init(t);
	for (unsigned i = 0; i < 30; i++) {
		index = put_ok(w, "/a", "1");
	}
	tail_until(t, index);
	old = do_get(w, w->st, S("/a"))->u.single.origin;
	w->be->wipe(w->env, w->serial);
	c = start_next(w, t->watch, 0);
	call_wait(c);
	expect_status(c, KV_NOT_REACHABLE);
	tail_close(t);
	await_answer(w, w->st);
	expect_missing(w, S("/a"));
	now = do_exists(w, w->st, S("/a"))->u.single.origin;
	assert_true(now.epoch > old.epoch);
	assert_true(now.index < old.index ||
		    strcmp(now.identity, old.identity) != 0);
	t = tail_open(w, w->st, S(""), index);
	expect_code(tail_pull(t, 0), KV_HISTORY_LOST);
}

/* Many breaks in a row: nothing leaks, nothing hangs. */
static void again_and_again(void **state)
{
	struct world *w = *state;
	uint64_t epoch = 0;

	need(w->be->kill != NULL, "server to kill");
	for (unsigned i = 0; i < 3; i++) {
		struct tail *t = tail_open(w, w->st, S(""), 0);
		struct call *get;
		struct call *c;

		tail_init(t);
		assert_true(t->epoch > epoch);
		epoch = t->epoch;
		(void)put_ok(w, "/a", "1");
		get = start_get(w, w->st, S("/a"));
		c = start_next(w, t->watch, 0);
		w->be->kill(w->env);
		call_wait(get);
		expect_one_of(get, KV_OK, KV_NOT_REACHABLE, KV_TIMED_OUT);
		call_wait(c);
		if (c->status == KV_OK) {
			expect_code(tail_take(t, c), KV_OK);
			while (tail_pull(t, 0) == KV_OK) {
			}
		}
		tail_close(t);
		w->be->start(w->env);
		await_answer(w, w->st);
	}
}

int group_server(void)
{
	const struct CMUnitTest tests[] = {
	    suite_test(nobody_is_there),
	    suite_test(a_store_outlives_its_server),
	    suite_test(a_write_for_the_old_connection_is_not_sent),
	    suite_test(a_watch_ends_when_its_server_goes),
	    suite_test(writes_under_a_kill_tell_the_truth),
	    suite_test(a_frozen_server_holds_nobody),
	    suite_test(a_short_freeze_is_only_slow),
	    suite_test(closing_does_not_wait_for_a_server),
	    suite_test(another_server_at_the_same_place),
	    suite_test(again_and_again),
	};

	return cmocka_run_group_tests_name("server", tests, world_group_set_up,
					   world_group_tear_down);
}
