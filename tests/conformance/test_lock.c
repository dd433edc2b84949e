/* test_lock.c: locks: one holder, who is told when it is one no more, and whose
 * writes are refused from then on. */
#include "tests/conformance/suite.h"

static void need_locks(struct world *w)
{
	need(w->be->ops->lock != NULL, "lock");
}

static struct call *do_lock(struct world *w, struct store *st, const char *key,
			    bool try_only)
{
	struct call *c = start_lock(w, st, S(key), try_only);

	call_wait(c);
	return c;
}

static struct call *do_unlock(struct world *w, struct store *st,
			      const struct call *held)
{
	struct call *c = start_unlock(w, st, held);

	call_wait(c);
	return c;
}

/* A put that relies on a hold. */
static struct call *start_fenced(struct world *w, struct store *st,
				 const struct call *held, const char *value)
{
	struct call *c = call_new(w, st, CALL_WRITE);

	c->ops[0] = op_put(S("/data"), S(value));
	c->u.write.ops = c->ops;
	c->u.write.n_ops = 1;
	c->u.write.lock_key = held->u.lock.key;
	c->u.write.lock_token = held->u.lock.token;
	call_begin(c);
	call_submitted(c, store_write(st, &c->u.write));
	return c;
}

static int fenced(struct world *w, struct store *st, const struct call *held,
		  const char *value)
{
	struct call *c = start_fenced(w, st, held, value);

	call_wait(c);
	return c->status;
}

static void a_lock_has_one_holder(void **state)
{
	struct world *w = *state;
	struct store *other;
	struct call *a, *b;

	need_locks(w);
	other = world_open(w, w->prefix);
	a = do_lock(w, w->st, "/l", true);
	expect_status(a, KV_OK);
	assert_int_not_equal(a->u.lock.token, 0);
	expect_status(do_lock(w, other, "/l", true), KV_CANNOT_LOCK);
	expect_status(do_lock(w, w->st, "/l", true), KV_CANNOT_LOCK);
	b = do_lock(w, other, "/m", true);
	expect_status(b, KV_OK);
	expect_status(do_unlock(w, other, a), KV_KEY_NOT_FOUND);
	expect_status(do_unlock(w, w->st, a), KV_OK);
	expect_status(do_unlock(w, w->st, a), KV_KEY_NOT_FOUND);
	a = do_lock(w, other, "/l", true);
	expect_status(a, KV_OK);
	assert_int_equal(a->lost + b->lost, 0);
}

static void a_token_is_greater_than_those_before(void **state)
{
	struct world *w = *state;
	struct store *other;
	uint64_t token = 0;

	need_locks(w);
	other = world_open(w, w->prefix);
	for (int i = 0; i < 4; i++) {
		struct store *st = i % 2 == 0 ? w->st : other;
		struct call *c = do_lock(w, st, "/l", true);

		expect_status(c, KV_OK);
		assert_true(c->u.lock.token > token);
		token = c->u.lock.token;
		expect_status(do_unlock(w, st, c), KV_OK);
	}
}

static void a_waiter_gets_it_next(void **state)
{
	struct world *w = *state;
	struct store *other;
	struct call *a, *b;

	need_locks(w);
	other = world_open(w, w->prefix);
	a = do_lock(w, w->st, "/l", false);
	expect_status(a, KV_OK);
	b = start_lock(w, other, S("/l"), false);
	assert_false(call_wait_ms(b, 300));
	expect_status(do_unlock(w, w->st, a), KV_OK);
	call_wait(b);
	expect_status(b, KV_OK);
	assert_true(b->u.lock.token > a->u.lock.token);
	expect_status(do_unlock(w, other, b), KV_OK);
}

static void a_wait_can_be_canceled(void **state)
{
	struct world *w = *state;
	struct store *other;
	struct call *a, *b;

	need_locks(w);
	other = world_open(w, w->prefix);
	a = do_lock(w, w->st, "/l", false);
	b = start_lock(w, other, S("/l"), false);
	assert_false(call_wait_ms(b, 300));
	store_cancel(&b->u.lock.req);
	call_wait(b);
	expect_status(b, KV_CANCELED);
	expect_status(do_unlock(w, w->st, a), KV_OK);
	expect_status(do_lock(w, other, "/l", true), KV_OK);
}

static void closing_gives_it_back(void **state)
{
	struct world *w = *state;
	struct store *other;
	struct call *a, *b;

	need_locks(w);
	other = world_open(w, w->prefix);
	a = do_lock(w, other, "/l", true);
	expect_status(a, KV_OK);
	world_close(w, other);
	b = do_lock(w, w->st, "/l", false);
	expect_status(b, KV_OK);
	assert_int_equal(a->lost, 0);
}

/* Longer than its time, which is so short that it must have been renewed. */
static void a_hold_is_renewed(void **state)
{
	struct world *w = *state;
	struct store *other;
	struct call *a, *b;

	need_locks(w);
	other = world_open(w, w->prefix);
	a = do_lock(w, w->st, "/l", true);
	expect_status(a, KV_OK);
	b = start_lock(w, other, S("/l"), false);
	assert_false(call_wait_ms(b, 6000));
	assert_int_equal(a->lost, 0);
	assert_int_equal(fenced(w, w->st, a, "1"), KV_OK);
	expect_status(do_unlock(w, w->st, a), KV_OK);
	call_wait(b);
	expect_status(b, KV_OK);
}

static void a_write_relies_on_the_hold(void **state)
{
	struct world *w = *state;
	struct store *other;
	struct call *a, *b;

	need_locks(w);
	other = world_open(w, w->prefix);
	a = do_lock(w, w->st, "/l", true);
	expect_status(a, KV_OK);
	assert_int_equal(fenced(w, w->st, a, "1"), KV_OK);
	/* Whoever knows the token may write. */
	assert_int_equal(fenced(w, other, a, "2"), KV_OK);
	expect_status(do_unlock(w, w->st, a), KV_OK);
	assert_int_equal(fenced(w, w->st, a, "3"), KV_CANNOT_LOCK);
	b = do_lock(w, other, "/l", true);
	expect_status(b, KV_OK);
	assert_int_equal(fenced(w, w->st, a, "4"), KV_CANNOT_LOCK);
	expect_stored(w, S("/data"), S("2"));
	assert_int_equal(fenced(w, other, b, "5"), KV_OK);
	expect_stored(w, S("/data"), S("5"));
}

/* ---- a holder that was paused -------------------------------------------- */

static void turn_until(uv_loop_t *loop, const bool *flag)
{
	while (!*flag) {
		int more = uv_run(loop, UV_RUN_ONCE);

		assert_true(more != 0 || *flag);
	}
}

/* A second process, as it were: a loop that turns while the world's does not.
 */
struct neighbour {
	uv_loop_t loop;
	struct sched *sched;
	struct store *st;
	struct store_lock_req req;
	bool done;
	bool closed;
};

static void neighbour_locked(struct store_lock_req *req)
{
	((struct neighbour *)req->data)->done = true;
}

static void neighbour_closed(void *ctx)
{
	((struct neighbour *)ctx)->closed = true;
}

static void neighbour_lock(struct neighbour *n, struct world *w,
			   struct slice key)
{
	char uri[SUITE_URI_MAX];
	struct kv_err err = {0};

	assert_int_equal(uv_loop_init(&n->loop), 0);
	n->sched = sched_uv_open(&n->loop);
	assert_non_null(n->sched);
	w->be->uri(w->env, w->serial, w->prefix, uri, sizeof uri);
	assert_int_equal(
	    store_open(&w->registry, n->sched, uri, STORE_CREATE, &n->st, &err),
	    KV_OK);
	n->req.key = key;
	n->req.ttl_ms = 60000;
	n->req.cb = neighbour_locked;
	n->req.data = n;
	assert_int_equal(store_lock(n->st, &n->req), KV_OK);
	turn_until(&n->loop, &n->done);
}

static void neighbour_end(struct neighbour *n)
{
	store_close(n->st, neighbour_closed, n);
	turn_until(&n->loop, &n->closed);
	sched_uv_close(n->sched);
	assert_int_equal(uv_run(&n->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&n->loop), 0);
}

static void who_was_paused_cannot_write(void **state)
{
	struct world *w = *state;
	struct neighbour n = {0};
	struct call *a, *put;

	need_locks(w);
	a = do_lock(w, w->st, "/l", true);
	expect_status(a, KV_OK);
	assert_int_equal(fenced(w, w->st, a, "before"), KV_OK);
	/* The world stands still until the server gives the lock away. */
	neighbour_lock(&n, w, S("/l"));
	assert_int_equal(n.req.err.status, KV_OK);
	assert_true(n.req.token > a->u.lock.token);
	/* It does not know yet, and writes. */
	assert_int_equal(a->lost, 0);
	put = start_fenced(w, w->st, a, "late");
	call_wait(put);
	assert_int_not_equal(put->status, KV_OK);
	expect_stored(w, S("/data"), S("before"));
	assert_true(world_run_until(w, &a->lost, 20000));
	assert_int_equal(a->lost, 1);
	expect_status(do_unlock(w, w->st, a), KV_KEY_NOT_FOUND);
	neighbour_end(&n);
}

int group_lock(void)
{
	const struct CMUnitTest tests[] = {
	    suite_test(a_lock_has_one_holder),
	    suite_test(a_token_is_greater_than_those_before),
	    suite_test(a_waiter_gets_it_next),
	    suite_test(a_wait_can_be_canceled),
	    suite_test(closing_gives_it_back),
	    suite_test(a_hold_is_renewed),
	    suite_test(a_write_relies_on_the_hold),
	    suite_test(who_was_paused_cannot_write),
	};

	return cmocka_run_group_tests_name("lock", tests, world_group_set_up,
					   world_group_tear_down);
}
