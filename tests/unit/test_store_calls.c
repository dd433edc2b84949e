/* test_store_calls.c: libkv's calls, derived from scan and write: get, exists,
 * put, delete, the atomic ones, get_tree, list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
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

static void single_cb(struct store_single *req)
{
	*(bool *)req->data = true;
}

/* Submits and waits; the status. */
static int run(struct world *w, struct store_single *req,
	       int (*call)(struct store *st, struct store_single *req))
{
	bool done = false;
	int rv;

	req->cb = single_cb;
	req->data = &done;
	rv = call(w->st, req);
	if (rv != KV_OK) {
		return rv;
	}
	assert_false(done);
	test_loop_until(&w->loop, &done);
	return req->err.status;
}

static void get_and_exists(void **state)
{
	struct world *w = *state;
	struct store_single req = {.key = slice_str("/a")};

	mem_put(w->st, "/a", "1");
	assert_int_equal(run(w, &req, store_get), KV_OK);
	assert_true(slice_eq(req.pair.value, slice_str("1")));
	assert_int_equal(req.pair.version.a, 1);
	assert_int_equal(req.origin.index, 1);
	assert_int_equal(run(w, &req, store_exists), KV_OK);
	assert_true(req.found);
	assert_int_equal(req.pair.value.n, 0);

	req.key = slice_str("/b");
	assert_int_equal(run(w, &req, store_exists), KV_OK);
	assert_false(req.found);
	assert_int_equal(run(w, &req, store_get), KV_KEY_NOT_FOUND);
	assert_string_equal(req.err.text, "key /b not found");
	req.key = slice_str("b");
	assert_int_equal(run(w, &req, store_get), KV_INVALID_KEY);
	store_single_free(&req);
}

static void put_and_delete(void **state)
{
	struct world *w = *state;
	struct store_single req = {.key = slice_str("/a"),
				   .value = slice_str("1")};

	assert_int_equal(run(w, &req, store_put), KV_OK);
	assert_int_equal(req.pair.version.a, 1);
	assert_int_equal(run(w, &req, store_put), KV_OK);
	assert_int_equal(req.pair.version.a, 2);
	assert_int_equal(run(w, &req, store_delete), KV_OK);
	assert_int_equal(req.deleted, 1);
	assert_false(mem_has(w->st, "/a"));
	assert_int_equal(run(w, &req, store_delete), KV_KEY_NOT_FOUND);
	assert_int_equal(req.deleted, 0);
	store_single_free(&req);
}

static void atomic_calls(void **state)
{
	struct world *w = *state;
	struct store_single req = {.key = slice_str("/a"),
				   .value = slice_str("1")};
	struct store_pair old;

	assert_int_equal(run(w, &req, store_atomic_delete),
			 KV_PREVIOUS_NOT_SPECIFIED);
	assert_int_equal(run(w, &req, store_atomic_put), KV_OK);
	old = req.pair;
	assert_int_equal(run(w, &req, store_atomic_put), KV_KEY_EXISTS);
	req.previous = &old;
	assert_int_equal(run(w, &req, store_atomic_put), KV_OK);
	assert_int_equal(run(w, &req, store_atomic_put), KV_KEY_MODIFIED);
	assert_int_equal(run(w, &req, store_atomic_delete), KV_KEY_MODIFIED);
	/* What was read may be handed back as it stands. */
	assert_int_equal(run(w, &req, store_get), KV_OK);
	req.previous = &req.pair;
	assert_int_equal(run(w, &req, store_atomic_delete), KV_OK);
	req.previous = &old;
	assert_int_equal(run(w, &req, store_atomic_delete), KV_KEY_NOT_FOUND);
	assert_int_equal(run(w, &req, store_atomic_put), KV_KEY_MODIFIED);
	store_single_free(&req);
}

static void singles_fail_and_are_refused(void **state)
{
	struct world *w = *state;
	struct store_single req = {.key = slice_str("/a"),
				   .value = slice_str("1")};

	mem_of(w->st)->fail = KV_NO_SPACE;
	assert_int_equal(run(w, &req, store_put), KV_NO_SPACE);
	assert_string_equal(req.err.text, "failed by the test");
	mem_of(w->st)->refuse = KV_NOT_REACHABLE;
	assert_int_equal(run(w, &req, store_put), KV_NOT_REACHABLE);
	mem_of(w->st)->fail = KV_TIMED_OUT;
	assert_int_equal(run(w, &req, store_get), KV_TIMED_OUT);
	mem_of(w->st)->refuse = KV_DENIED;
	assert_int_equal(run(w, &req, store_get), KV_DENIED);
	assert_int_equal(run(w, &req, store_put), KV_OK);
	store_single_free(&req);
}

static void cancel_reaches_the_inner_request(void **state)
{
	struct world *w = *state;
	bool done = false;
	struct store_single req = {
	    .key = slice_str("/a"), .cb = single_cb, .data = &done};

	mem_of(w->st)->mode = MEM_HOLD;
	assert_int_equal(store_get(w->st, &req), KV_OK);
	store_cancel(&req.req);
	test_loop_until(&w->loop, &done);
	assert_int_equal(req.err.status, KV_CANCELED);
	done = false;
	assert_int_equal(store_put(w->st, &req), KV_OK);
	store_close(w->st, note_closed, w);
	w->st = NULL;
	test_loop_until(&w->loop, &w->closed);
	assert_true(done);
	assert_int_equal(req.err.status, KV_UNKNOWN_OUTCOME);
	store_single_free(&req);
}

struct chain {
	struct store_single req;
	struct store *st;
	int left;
	bool done;
};

static void chain_cb(struct store_single *req)
{
	struct chain *c = req->data;

	assert_int_equal(req->err.status, KV_OK);
	if (--c->left == 0) {
		c->done = true;
	} else {
		assert_int_equal(store_put(c->st, req), KV_OK);
	}
}

static void singles_are_submitted_in_their_callback(void **state)
{
	struct world *w = *state;
	struct chain c = {.st = w->st, .left = 5};

	c.req.key = slice_str("/a");
	c.req.cb = chain_cb;
	c.req.data = &c;
	assert_int_equal(store_put(w->st, &c.req), KV_OK);
	test_loop_until(&w->loop, &c.done);
	assert_int_equal(mem_of(w->st)->rev, 5);
}

static void free_cb(struct store_single *req)
{
	bool *done = req->data;

	store_single_free(req);
	free(req);
	*done = true;
}

static void singles_are_freed_in_their_callback(void **state)
{
	struct world *w = *state;
	struct store_single *req = calloc(1, sizeof *req);
	bool done = false;

	mem_put(w->st, "/a", "1");
	req->key = slice_str("/a");
	req->cb = free_cb;
	req->data = &done;
	assert_int_equal(store_get(w->st, req), KV_OK);
	test_loop_until(&w->loop, &done);
}

/* ---- recursive delete ---------------------------------------------------- */

static void fill_tree(struct world *w)
{
	char key[16];
	int i;

	for (i = 0; i < 20; i++) {
		(void)snprintf(key, sizeof key, "/t/%02d", i);
		mem_put(w->st, key, "v");
	}
	mem_put(w->st, "/t", "v");
	mem_put(w->st, "/t-", "v");
	mem_put(w->st, "/tt", "v");
	mem_put(w->st, "/tt/a", "v");
}

static void recursive_delete(void **state)
{
	struct world *w = *state;
	struct store_single req = {.key = slice_str("/t"), .recursive = true};

	fill_tree(w);
	assert_int_equal(run(w, &req, store_delete), KV_OK);
	assert_int_equal(req.deleted, 21);
	assert_int_equal(mem_of(w->st)->n, 3);
	assert_true(mem_has(w->st, "/t-"));
	assert_true(mem_has(w->st, "/tt/a"));
	assert_true(mem_of(w->st)->most_ops <= 4);
	assert_int_equal(run(w, &req, store_delete), KV_KEY_NOT_FOUND);
	req.key = slice_str("/");
	assert_int_equal(run(w, &req, store_delete), KV_OK);
	assert_int_equal(req.deleted, 3);
	assert_int_equal(mem_of(w->st)->n, 0);
	store_single_free(&req);
}

static void recursive_delete_with_a_slash(void **state)
{
	struct world *w = *state;
	struct store_single req = {.key = slice_str("/t/"), .recursive = true};

	fill_tree(w);
	mem_put(w->st, "/t/", "v");
	assert_int_equal(run(w, &req, store_delete), KV_OK);
	assert_int_equal(req.deleted, 21);
	assert_true(mem_has(w->st, "/t"));
	assert_false(mem_has(w->st, "/t/"));
}

static void recursive_delete_stops_at_a_failure(void **state)
{
	struct world *w = *state;
	bool done = false;
	struct store_single req = {.key = slice_str("/t"),
				   .recursive = true,
				   .cb = single_cb,
				   .data = &done};

	fill_tree(w);
	mem_of(w->st)->mode = MEM_HOLD;
	assert_int_equal(store_delete(w->st, &req), KV_OK);
	mem_release(w->st);
	mem_of(w->st)->fail = KV_NO_SPACE; /* the first write */
	test_loop_turns(&w->loop, 3);
	mem_release(w->st);
	test_loop_until(&w->loop, &done);
	assert_int_equal(req.err.status, KV_NO_SPACE);
	assert_int_equal(req.deleted, 0);

	mem_of(w->st)->mode = MEM_INLINE;
	mem_of(w->st)->refuse = KV_NOT_REACHABLE;
	done = false;
	assert_int_equal(store_delete(w->st, &req), KV_NOT_REACHABLE);
	assert_false(done);
}

static void recursive_delete_is_canceled_between_steps(void **state)
{
	struct world *w = *state;
	bool done = false;
	struct store_single req = {.key = slice_str("/t"),
				   .recursive = true,
				   .cb = single_cb,
				   .data = &done};

	fill_tree(w);
	mem_of(w->st)->mode = MEM_HOLD;
	assert_int_equal(store_delete(w->st, &req), KV_OK);
	mem_release(w->st); /* the page is there, parked */
	store_cancel(&req.req);
	test_loop_until(&w->loop, &done);
	assert_int_equal(req.err.status, KV_CANCELED);
	assert_int_equal(mem_of(w->st)->writes, 0);
}

/* ---- get_tree, list ------------------------------------------------------ */

struct tree_probe {
	struct store_scan scan;
	bool done;
	char keys[256]; /* what came, in order */
	uint32_t pages;
	size_t n;
	bool more;
	bool with_values;
	uint64_t at;
	uint8_t last[MEM_BYTES];
};

static void tree_cb(struct store_scan *req)
{
	struct tree_probe *p = req->data;
	size_t i, n = 0;

	p->done = true;
	p->more = false;
	if (req->page == NULL) {
		return;
	}
	p->pages++;
	p->more = req->page->more;
	p->at = req->page->at;
	for (i = 0; i < req->page->n; i++) {
		const struct store_pair *pair = &req->page->pairs[i];

		n = strlen(p->keys);
		(void)snprintf(p->keys + n, sizeof p->keys - n, "%.*s ",
			       (int)pair->key.n, (const char *)pair->key.p);
		p->with_values = p->with_values || pair->value.n > 0;
		memcpy(p->last, pair->key.p, pair->key.n);
		req->after = slice_of(p->last, pair->key.n);
		p->n++;
	}
	store_page_free(req->page);
	req->page = NULL;
}

/* All pages; the last status. */
static int run_tree(struct world *w, struct tree_probe *p, const char *dir,
		    uint32_t limit,
		    int (*call)(struct store *st, struct store_scan *req))
{
	int rv;

	memset(p, 0, sizeof *p);
	p->scan.dir = slice_str(dir);
	p->scan.limit = limit;
	p->scan.cb = tree_cb;
	p->scan.data = p;
	do {
		p->done = false;
		rv = call(w->st, &p->scan);
		if (rv != KV_OK) {
			return rv;
		}
		assert_false(p->done);
		test_loop_until(&w->loop, &p->done);
	} while (p->more);
	return p->scan.err.status;
}

static void plant(struct world *w)
{
	static const char *const keys[] = {"/a",   "/a!",    "/a-b", "/a/x",
					   "/a/y", "/a/y/z", "/ab",  "/leaf"};
	size_t i;

	for (i = 0; i < KV_COUNT(keys); i++) {
		mem_put(w->st, keys[i], "v");
	}
}

static void get_tree(void **state)
{
	static const char *const dirs[] = {"/a", "/a/"};
	struct world *w = *state;
	struct tree_probe p;
	uint32_t limit;
	size_t i;

	plant(w);
	for (i = 0; i < 2; i++) {
		for (limit = 0; limit < 6; limit++) {
			assert_int_equal(
			    run_tree(w, &p, dirs[i], limit, store_get_tree),
			    KV_OK);
			assert_string_equal(p.keys, "/a /a/x /a/y /a/y/z ");
			assert_true(p.with_values);
		}
	}
	assert_int_equal(run_tree(w, &p, "/leaf", 0, store_get_tree), KV_OK);
	assert_string_equal(p.keys, "/leaf ");
	assert_int_equal(run_tree(w, &p, "/a/y", 0, store_get_tree), KV_OK);
	assert_string_equal(p.keys, "/a/y /a/y/z ");
	assert_int_equal(run_tree(w, &p, "/none", 0, store_get_tree),
			 KV_KEY_NOT_FOUND);
	assert_string_equal(p.scan.err.text, "there is nothing at /none");
	assert_int_equal(run_tree(w, &p, "none", 0, store_get_tree),
			 KV_INVALID_KEY);
}

static void the_whole_tree(void **state)
{
	struct world *w = *state;
	struct tree_probe p;

	assert_int_equal(run_tree(w, &p, "", 0, store_get_tree), KV_OK);
	assert_int_equal(p.n, 0);
	assert_int_equal(run_tree(w, &p, "/", 0, store_list), KV_OK);
	assert_int_equal(p.n, 0);
	plant(w);
	assert_int_equal(run_tree(w, &p, "/", 2, store_get_tree), KV_OK);
	assert_int_equal(p.n, 8);
	assert_int_equal(p.pages, 4);
	assert_int_equal(run_tree(w, &p, "", 0, store_list), KV_OK);
	assert_int_equal(p.n, 8);
	assert_false(p.with_values);
}

static void list(void **state)
{
	struct world *w = *state;
	struct tree_probe p;

	plant(w);
	assert_int_equal(run_tree(w, &p, "/a/", 2, store_list), KV_OK);
	assert_string_equal(p.keys, "/a/x /a/y /a/y/z ");
	assert_false(p.with_values);
	assert_int_equal(run_tree(w, &p, "/leaf", 0, store_list), KV_OK);
	assert_int_equal(p.n, 0);
	assert_int_equal(run_tree(w, &p, "/none", 0, store_list),
			 KV_KEY_NOT_FOUND);
}

static void trees_take_no_named_keys(void **state)
{
	struct world *w = *state;
	struct slice key = slice_str("/a");
	struct store_scan req = {.keys = &key, .n_keys = 1, .cb = tree_cb};

	assert_int_equal(store_get_tree(w->st, &req), KV_BAD_ARGUMENT);
	assert_int_equal(store_list(w->st, &req), KV_BAD_ARGUMENT);
}

static void trees_fail_at_each_step(void **state)
{
	struct world *w = *state;
	struct tree_probe p = {0};

	plant(w);
	mem_of(w->st)->refuse = KV_NOT_REACHABLE;
	assert_int_equal(run_tree(w, &p, "/a", 0, store_get_tree),
			 KV_NOT_REACHABLE);
	mem_of(w->st)->fail = KV_DENIED;
	assert_int_equal(run_tree(w, &p, "/a", 0, store_get_tree), KV_DENIED);

	/* The second step: refused, failed, canceled. */
	memset(&p, 0, sizeof p);
	p.scan.dir = slice_str("/a");
	p.scan.cb = tree_cb;
	p.scan.data = &p;
	assert_int_equal(store_get_tree(w->st, &p.scan), KV_OK);
	mem_of(w->st)->refuse = KV_TIMED_OUT;
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.scan.err.status, KV_TIMED_OUT);
	p.done = false;
	assert_int_equal(store_get_tree(w->st, &p.scan), KV_OK);
	mem_of(w->st)->fail = KV_BROKEN;
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.scan.err.status, KV_BROKEN);
	p.done = false;
	assert_int_equal(store_get_tree(w->st, &p.scan), KV_OK);
	store_cancel(&p.scan.req); /* the first step's result is parked */
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.scan.err.status, KV_CANCELED);
	assert_int_equal(p.n, 0);
}

static void trees_end_with_the_store(void **state)
{
	struct world *w = *state;
	struct tree_probe p = {0}, q = {0};

	plant(w);
	mem_of(w->st)->mode = MEM_HOLD;
	p.scan.dir = q.scan.dir = slice_str("/a");
	p.scan.cb = q.scan.cb = tree_cb;
	p.scan.data = &p;
	q.scan.data = &q;
	assert_int_equal(store_get_tree(w->st, &p.scan), KV_OK);
	assert_int_equal(store_list(w->st, &q.scan), KV_OK);
	store_close(w->st, note_closed, w);
	w->st = NULL;
	test_loop_until(&w->loop, &w->closed);
	assert_true(p.done && q.done);
	assert_int_equal(p.scan.err.status, KV_CANCELED);
	assert_int_equal(q.scan.err.status, KV_CANCELED);
}

/* ---- memory -------------------------------------------------------------- */

static int sweep_calls(struct world *w)
{
	struct store_single req = {.key = slice_str("/t"), .recursive = true};
	struct tree_probe p;
	int rv;

	fill_tree(w);
	rv = run_tree(w, &p, "/t", 0, store_get_tree);
	if (rv != KV_OK) {
		return rv;
	}
	rv = run_tree(w, &p, "/t", 0, store_list);
	if (rv != KV_OK) {
		return rv;
	}
	rv = run(w, &req, store_get);
	if (rv == KV_OK) {
		rv = run(w, &req, store_put);
	}
	if (rv == KV_OK) {
		rv = run(w, &req, store_delete);
	}
	store_single_free(&req);
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
	rv = store_open(&w.registry, w.loop.sched,
			"mem:a?prefix=/p&speed=3&token=env:PATH", 0, &w.st,
			&err);
	if (rv == KV_OK) {
		rv = sweep_calls(&w);
		store_close(w.st, note_closed, &w);
		test_loop_until(&w.loop, &w.closed);
	} else {
		assert_int_equal(err.status, rv);
	}
	store_registry_free(&w.registry);
out_loop:
	test_loop_close(&w.loop);
	return rv;
}

static void out_of_memory_anywhere(void **state KV_UNUSED)
{
	assert_true(sweep_run(sweep_all, NULL) > 50);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(get_and_exists),
	    T(put_and_delete),
	    T(atomic_calls),
	    T(singles_fail_and_are_refused),
	    T(cancel_reaches_the_inner_request),
	    T(singles_are_submitted_in_their_callback),
	    T(singles_are_freed_in_their_callback),
	    T(recursive_delete),
	    T(recursive_delete_with_a_slash),
	    T(recursive_delete_stops_at_a_failure),
	    T(recursive_delete_is_canceled_between_steps),
	    T(get_tree),
	    T(the_whole_tree),
	    T(list),
	    T(trees_take_no_named_keys),
	    T(trees_fail_at_each_step),
	    T(trees_end_with_the_store),
	    cmocka_unit_test(out_of_memory_anywhere),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
