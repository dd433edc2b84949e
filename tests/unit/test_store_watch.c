/* test_store_watch.c: the cursor of watch and watch_tree: pull, close with a
 * next outstanding, close inside its callback, the end after an error. */
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

static int teardown(void **state)
{
	struct world *w = *state;

	if (w->st != NULL) {
		store_close(w->st, note_closed, w);
		test_loop_until(&w->loop, &w->closed);
	}
	test_loop_close(&w->loop);
	store_registry_free(&w->registry);
	sweep_end();
	free(w);
	return 0;
}

struct probe {
	struct store_next next;
	unsigned calls;
	bool done;
	int status;
	bool init;
	size_t n;
	enum store_action action;
	uint64_t index;
	/* what the callback does */
	struct store_watch *close;
	struct store_watch *again;
	struct store *close_store;
	struct world *w;
};

static void next_cb(struct store_next *req)
{
	struct probe *p = req->data;

	p->calls++;
	p->done = true;
	p->status = req->err.status;
	p->n = 0;
	if (req->batch != NULL) {
		p->init = req->batch->init;
		p->n = req->batch->n;
		p->index = req->batch->index;
		p->action =
		    p->n == 0 ? STORE_ERROR : req->batch->changes[0].action;
	}
	store_batch_free(req->batch);
	req->batch = NULL;
	if (p->close_store != NULL) {
		store_close(p->close_store, note_closed, p->w);
	}
	if (p->close != NULL) {
		store_watch_close(p->close);
	}
	if (p->again != NULL) {
		struct store_watch *again = p->again;

		p->again = NULL;
		assert_int_equal(store_watch_next(again, req), KV_OK);
	}
}

static int pull(struct store_watch *watch, struct probe *p)
{
	p->done = false;
	p->next.cb = next_cb;
	p->next.data = p;
	return store_watch_next(watch, &p->next);
}

/* A watch of dir that has had its first, empty batch. */
static struct store_watch *open_watch(struct world *w, const char *dir)
{
	struct store_watch_params params = {.dir = slice_str(dir)};
	struct store_watch *watch;
	struct probe p = {0};

	params.after = mem_of(w->st)->rev;
	watch = store_watch_open(w->st, &params);
	assert_non_null(watch);
	assert_int_equal(pull(watch, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	assert_true(p.init);
	return watch;
}

static void changes_are_pulled(void **state)
{
	struct world *w = *state;
	struct store_watch *watch;
	struct probe p = {0};

	mem_put(w->st, "/a/old", "1");
	watch = open_watch(w, "/a/");
	mem_put(w->st, "/a/x", "1");
	mem_put(w->st, "/ab", "1");
	mem_put(w->st, "/a/x", "2");
	assert_int_equal(pull(watch, &p), KV_OK);
	assert_int_equal(p.calls, 0);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.n, 2);
	assert_int_equal(p.action, STORE_SET);
	assert_int_equal(p.index, 4);

	/* Nothing new: it waits, and comes when there is something. */
	assert_int_equal(pull(watch, &p), KV_OK);
	test_loop_turns(&w->loop, 5);
	assert_int_equal(p.calls, 1);
	mem_put(w->st, "/a/y", "1");
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.n, 1);

	/* A mark, when one is wanted. */
	p.next.want = 5;
	assert_int_equal(pull(watch, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.n, 0);
	assert_int_equal(p.index, 5);
	store_watch_close(watch);
}

static void the_names_are_copied(void **state)
{
	struct world *w = *state;
	char dir[] = "/a";
	char key[] = "/b";
	struct store_watch_params params = {.dir = slice_str(dir)};
	struct store_watch *tree = store_watch_open(w->st, &params);
	struct store_watch *one;

	params.key = slice_str(key);
	one = store_watch_open(w->st, &params);
	memset(dir, '#', 2);
	memset(key, '#', 2);
	assert_true(slice_eq(tree->dir, slice_str("/a")));
	assert_true(slice_eq(one->key, slice_str("/b")));
	store_watch_close(tree);
	store_watch_close(one);
	assert_int_equal(mem_of(w->st)->unwatches, 2);
}

static void bad_names_are_refused(void **state)
{
	struct world *w = *state;
	struct store_watch_params params = {.dir = slice_str("a")};
	struct store_watch *watch = store_watch_open(w->st, &params);
	struct probe p = {0};

	assert_int_equal(pull(watch, &p), KV_INVALID_KEY);
	store_watch_close(watch);
	params.key = slice_str("/x!");
	watch = store_watch_open(w->st, &params);
	assert_int_equal(pull(watch, &p), KV_INVALID_KEY);
	store_watch_close(watch);
	assert_int_equal(p.calls, 0);
	assert_int_equal(mem_of(w->st)->nexts, 0);
}

static void close_with_a_next_outstanding(void **state)
{
	struct world *w = *state;
	struct store_watch *watch = open_watch(w, "/a");
	struct probe p = {0};

	assert_int_equal(pull(watch, &p), KV_OK);
	store_watch_close(watch);
	assert_int_equal(p.calls, 0);
	assert_int_equal(mem_of(w->st)->unwatches, 0);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.status, KV_CANCELED);
	assert_int_equal(p.calls, 1);
	assert_int_equal(mem_of(w->st)->unwatches, 1);
}

static void close_with_a_result_parked(void **state)
{
	struct world *w = *state;
	struct store_watch *watch = open_watch(w, "/a");
	struct probe p = {0};

	mem_put(w->st, "/a/x", "1");
	assert_int_equal(pull(watch, &p), KV_OK); /* done, parked */
	store_watch_close(watch);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.status, KV_CANCELED);
	assert_int_equal(p.n, 0);
	assert_int_equal(mem_of(w->st)->unwatches, 1);
}

static void close_inside_its_callback(void **state)
{
	struct world *w = *state;
	struct store_watch *watch = open_watch(w, "/a");
	struct probe p = {.close = watch};

	mem_put(w->st, "/a/x", "1");
	assert_int_equal(pull(watch, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.status, KV_OK);
	assert_int_equal(mem_of(w->st)->unwatches, 1);
}

static void next_inside_its_callback(void **state)
{
	struct world *w = *state;
	struct store_watch *watch = open_watch(w, "/a");
	struct probe p = {.again = watch};

	mem_put(w->st, "/a/x", "1");
	assert_int_equal(pull(watch, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	p.done = false;
	mem_put(w->st, "/a/y", "1");
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.calls, 2);
	store_watch_close(watch);
}

static void another_watch_is_closed_in_a_callback(void **state)
{
	struct world *w = *state;
	struct store_watch *waits = open_watch(w, "/b");
	struct store_watch *watch = open_watch(w, "/a");
	struct probe q = {0};
	struct probe p = {.close = waits};

	assert_int_equal(pull(waits, &q), KV_OK);
	mem_put(w->st, "/a/x", "1");
	assert_int_equal(pull(watch, &p), KV_OK);
	test_loop_until(&w->loop, &q.done);
	assert_int_equal(q.status, KV_CANCELED);
	assert_int_equal(p.status, KV_OK);
	store_watch_close(watch);
}

static void an_error_ends_the_watch(void **state)
{
	struct world *w = *state;
	struct store_watch *watch = open_watch(w, "/a");
	struct probe p = {0};

	/* A refusal is no end. */
	mem_of(w->st)->refuse = KV_NO_MEMORY;
	assert_int_equal(pull(watch, &p), KV_NO_MEMORY);
	mem_of(w->st)->fail = KV_HISTORY_LOST;
	assert_int_equal(pull(watch, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.status, KV_HISTORY_LOST);
	assert_int_equal(pull(watch, &p), KV_BAD_ARGUMENT);
	store_watch_close(watch);
}

static void a_next_is_canceled(void **state)
{
	struct world *w = *state;
	struct store_watch *watch = open_watch(w, "/a");
	struct probe p = {0};

	assert_int_equal(pull(watch, &p), KV_OK);
	store_cancel(&p.next.req);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.status, KV_CANCELED);
	store_watch_close(watch);
}

static void the_store_closes_first(void **state)
{
	struct world *w = *state;
	struct store_watch *idle = open_watch(w, "/a");
	struct store_watch *watch = open_watch(w, "/a");
	struct store_watch *ending = open_watch(w, "/a");
	struct probe p = {0}, q = {0};

	(void)idle; /* closed by the store */
	assert_int_equal(pull(watch, &p), KV_OK);
	p.close = watch; /* in the callback that comes of closing */
	assert_int_equal(pull(ending, &q), KV_OK);
	store_watch_close(ending);
	store_close(w->st, note_closed, w);
	w->st = NULL;
	test_loop_until(&w->loop, &w->closed);
	assert_int_equal(p.status, KV_CANCELED);
	assert_int_equal(q.status, KV_CANCELED);
	assert_int_equal(p.calls, 1);
	assert_int_equal(q.calls, 1);
}

static void the_store_closes_in_a_callback_of_a_watch(void **state)
{
	struct world *w = *state;
	struct store_watch *watch = open_watch(w, "/a");
	struct probe p = {.close_store = w->st, .w = w};

	mem_put(w->st, "/a/x", "1");
	assert_int_equal(pull(watch, &p), KV_OK);
	w->st = NULL;
	test_loop_until(&w->loop, &w->closed);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.status, KV_OK);
}

static int sweep_watch(void *ctx)
{
	struct world *w = ctx;
	struct store_watch_params params = {.dir = slice_str("/a")};
	struct store_watch *watch = store_watch_open(w->st, &params);
	struct probe p = {0};
	int i, rv = KV_OK;

	if (watch == NULL) {
		return KV_NO_MEMORY;
	}
	for (i = 0; i < 2 && rv == KV_OK; i++) {
		mem_put(w->st, "/a/x", "1");
		rv = pull(watch, &p);
		if (rv == KV_OK) {
			test_loop_until(&w->loop, &p.done);
			rv = p.status;
		}
	}
	store_watch_close(watch);
	return rv;
}

static int sweep_all(void *ctx KV_UNUSED)
{
	struct world w = {0};
	struct kv_err err = {0};
	int rv = KV_NO_MEMORY;

	test_loop_open(&w.loop);
	if (w.loop.sched == NULL) {
		goto out_loop;
	}
	rv = store_register(&w.registry, &mem_ops, &err);
	if (rv != KV_OK) {
		goto out_loop;
	}
	rv = store_open(&w.registry, w.loop.sched, "mem:a", 0, &w.st, &err);
	if (rv == KV_OK) {
		rv = sweep_watch(&w);
		store_close(w.st, note_closed, &w);
		test_loop_until(&w.loop, &w.closed);
	}
	store_registry_free(&w.registry);
out_loop:
	test_loop_close(&w.loop);
	return rv;
}

static void out_of_memory_anywhere(void **state KV_UNUSED)
{
	assert_true(sweep_run(sweep_all, NULL) > 10);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(changes_are_pulled),
	    T(the_names_are_copied),
	    T(bad_names_are_refused),
	    T(close_with_a_next_outstanding),
	    T(close_with_a_result_parked),
	    T(close_inside_its_callback),
	    T(next_inside_its_callback),
	    T(another_watch_is_closed_in_a_callback),
	    T(an_error_ends_the_watch),
	    T(a_next_is_canceled),
	    T(the_store_closes_first),
	    T(the_store_closes_in_a_callback_of_a_watch),
	    cmocka_unit_test(out_of_memory_anywhere),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
