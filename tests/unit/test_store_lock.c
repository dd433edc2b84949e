/* test_store_lock.c: taking, keeping, losing and giving back locks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/store.h"
#include "tests/lib/loop.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sweep.h"

struct world {
	struct test_loop loop;
	struct store_registry registry;
	struct store *st;
	bool closed;
};

static void note_closed(void *ctx)
{
	((struct world *)ctx)->closed = true;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct kv_err err = {0};

	sweep_begin();
	test_loop_open(&w->loop);
	assert_int_equal(store_register(&w->registry, &mem_ops, &err), KV_OK);
	assert_int_equal(
	    store_open(&w->registry, w->loop.sched, "mem:a", 0, &w->st, &err),
	    KV_OK);
	*state = w;
	return 0;
}

static void close_store(struct world *w)
{
	if (w->st != NULL) {
		store_close(w->st, note_closed, w);
		test_loop_until(&w->loop, &w->closed);
		w->st = NULL;
	}
}

static int teardown(void **state)
{
	struct world *w = *state;

	close_store(w);
	test_loop_close(&w->loop);
	store_registry_free(&w->registry);
	sweep_end();
	free(w);
	return 0;
}

struct lock {
	struct store_lock_req req;
	bool done;
	bool lost;
	unsigned losses;
	int why;
};

static void lock_cb(struct store_lock_req *req)
{
	((struct lock *)req->data)->done = true;
}

static void lock_lost(void *ctx, const struct kv_err *why)
{
	struct lock *l = ctx;

	l->lost = true;
	l->losses++;
	l->why = why->status;
}

static int lock_start(struct world *w, struct lock *l, const char *key,
		      bool try_only)
{
	memset(l, 0, sizeof *l);
	l->req.key = slice_str(key);
	l->req.try_only = try_only;
	l->req.ttl_ms = 1000;
	l->req.lost = lock_lost;
	l->req.lost_ctx = l;
	l->req.cb = lock_cb;
	l->req.data = l;
	return store_lock(w->st, &l->req);
}

static int lock_now(struct world *w, struct lock *l, const char *key,
		    bool try_only)
{
	assert_int_equal(lock_start(w, l, key, try_only), KV_OK);
	assert_false(l->done);
	test_loop_until(&w->loop, &l->done);
	return l->req.err.status;
}

static int unlock_now(struct world *w, struct lock *l)
{
	int rv;

	l->done = false;
	rv = store_unlock(w->st, &l->req);
	if (rv != KV_OK) {
		return rv;
	}
	test_loop_until(&w->loop, &l->done);
	return l->req.err.status;
}

static void a_lock_is_one_holders(void **state)
{
	struct world *w = *state;
	struct lock a, b;

	assert_int_equal(lock_now(w, &a, "/l", true), KV_OK);
	assert_int_not_equal(a.req.token, 0);
	assert_int_equal(lock_start(w, &b, "/l", true), KV_CANNOT_LOCK);
	mem_put(w->st, "/other", "theirs");
	assert_int_equal(lock_now(w, &b, "/other", true), KV_CANNOT_LOCK);
	assert_int_equal(lock_now(w, &b, "/free", true), KV_OK);
	assert_int_equal(unlock_now(w, &a), KV_OK);
	assert_false(mem_has(w->st, "/l"));
	assert_int_equal(unlock_now(w, &a), KV_KEY_NOT_FOUND);
	b.req.token++;
	assert_int_equal(unlock_now(w, &b), KV_KEY_NOT_FOUND);
	assert_true(mem_has(w->st, "/free"));
}

static void tokens_grow(void **state)
{
	struct world *w = *state;
	struct lock l;
	uint64_t token = 0;

	for (int i = 0; i < 3; i++) {
		assert_int_equal(lock_now(w, &l, "/l", true), KV_OK);
		assert_true(l.req.token > token);
		token = l.req.token;
		assert_int_equal(unlock_now(w, &l), KV_OK);
	}
}

static void a_waiter_gets_it_when_it_is_free(void **state)
{
	struct world *w = *state;
	struct lock l;

	mem_put(w->st, "/l", "theirs");
	assert_int_equal(lock_start(w, &l, "/l", false), KV_OK);
	test_loop_turns(&w->loop, 20);
	assert_false(l.done);
	mem_delete(w->st, "/l");
	test_loop_until(&w->loop, &l.done);
	assert_int_equal(l.req.err.status, KV_OK);
	assert_int_equal(unlock_now(w, &l), KV_OK);
}

static void a_wait_can_be_canceled(void **state)
{
	struct world *w = *state;
	struct lock l;

	/* At once, and while it waits for its turn. */
	for (unsigned turns = 0; turns < 30; turns++) {
		mem_put(w->st, "/l", "theirs");
		assert_int_equal(lock_start(w, &l, "/l", false), KV_OK);
		test_loop_turns(&w->loop, turns);
		assert_false(l.done);
		store_cancel(&l.req.req);
		assert_false(l.done);
		test_loop_until(&w->loop, &l.done);
		assert_int_equal(l.req.err.status, KV_CANCELED);
	}
}

static void closing_ends_a_wait(void **state)
{
	struct world *w = *state;
	struct lock l, held;

	assert_int_equal(lock_now(w, &held, "/held", false), KV_OK);
	mem_put(w->st, "/l", "theirs");
	assert_int_equal(lock_start(w, &l, "/l", false), KV_OK);
	test_loop_turns(&w->loop, 20);
	close_store(w);
	assert_true(l.done);
	assert_int_equal(l.req.err.status, KV_CANCELED);
	assert_int_equal(held.losses, 0);
}

static void a_hold_is_renewed(void **state)
{
	struct world *w = *state;
	struct mem_impl *m = mem_of(w->st);
	struct lock l;

	assert_int_equal(lock_now(w, &l, "/l", true), KV_OK);
	while (m->renews < 4) { /* more than its time */
		test_loop_turns(&w->loop, 1);
	}
	assert_false(l.lost);
	assert_int_equal(unlock_now(w, &l), KV_OK);
}

static void silence_loses_it(void **state)
{
	struct world *w = *state;
	struct lock l;

	assert_int_equal(lock_now(w, &l, "/l", true), KV_OK);
	mem_of(w->st)->deaf = true;
	test_loop_until(&w->loop, &l.lost);
	assert_int_equal(l.why, KV_CANNOT_LOCK);
	assert_int_equal(unlock_now(w, &l), KV_KEY_NOT_FOUND);
	assert_int_equal(l.losses, 1);
}

static void the_server_says_that_it_is_lost(void **state)
{
	struct world *w = *state;
	struct lock l;

	assert_int_equal(lock_now(w, &l, "/l", true), KV_OK);
	mem_of(w->st)->lose_locks = true;
	test_loop_until(&w->loop, &l.lost);
	assert_int_equal(l.losses, 1);
}

static void a_write_may_not_rely_on_nothing(void **state)
{
	struct world *w = *state;
	struct store_op op = {.key = slice_str("/a")};
	struct store_write req = {.ops = &op,
				  .n_ops = 1,
				  .lock_key = slice_str("no-slash"),
				  .cb = (store_write_cb)abort};

	assert_int_equal(store_write(w->st, &req), KV_INVALID_KEY);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(a_lock_is_one_holders),
	    T(tokens_grow),
	    T(a_waiter_gets_it_when_it_is_free),
	    T(a_wait_can_be_canceled),
	    T(closing_ends_a_wait),
	    T(a_hold_is_renewed),
	    T(silence_loses_it),
	    T(the_server_says_that_it_is_lost),
	    T(a_write_may_not_rely_on_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
