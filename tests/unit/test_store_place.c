/* test_store_place.c: registry and open, names and limits without I/O, stored
 * keys, and when two stores are one place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/store_ops.h"
#include "tests/lib/loop.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sweep.h"

struct world {
	struct test_loop loop;
	struct store_registry registry;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct kv_err err = {0};

	sweep_begin();
	test_loop_open(&w->loop);
	assert_int_equal(store_register(&w->registry, &mem_ops, &err), KV_OK);
	assert_int_equal(store_register(&w->registry, &mem_plain_ops, &err),
			 KV_OK);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	test_loop_close(&w->loop);
	store_registry_free(&w->registry);
	sweep_end();
	free(w);
	return 0;
}

static struct store *must_open(struct world *w, const char *uri)
{
	struct kv_err err = {0};
	struct store *st;

	if (store_open(&w->registry, w->loop.sched, uri, 0, &st, &err) !=
	    KV_OK) {
		fail_msg("%s: %s", uri, err.text);
	}
	return st;
}

static void refuses(struct world *w, const char *uri, int status,
		    const char *text)
{
	struct kv_err err = {0};
	struct store *st;

	assert_int_equal(
	    store_open(&w->registry, w->loop.sched, uri, 0, &st, &err), status);
	assert_null(st);
	assert_int_equal(err.status, status);
	if (strstr(err.text, text) == NULL) {
		fail_msg("'%s' lacks '%s'", err.text, text);
	}
}

static void opening(void **state)
{
	struct world *w = *state;
	struct store *st = must_open(w, "mems:x?speed=2&prefix=/p");

	assert_string_equal(store_uri(st)->path, "x");
	assert_int_equal(store_capabilities(st)->max_ops, 4);
	assert_ptr_equal(store_sched(st), w->loop.sched);
	store_close(st, NULL, NULL);
	refuses(w, "etcd://a", KV_BACKEND_NOT_SUPPORTED, "mem, mems, plain");
	refuses(w, "mem", KV_BAD_ARGUMENT, "scheme");
	refuses(w, "mem:x?speed=fast", KV_BAD_ARGUMENT, "whole number");
	refuses(w, "mem:x?other=1", KV_BAD_ARGUMENT, "speed");
	refuses(w, "mem:x?token=abc", KV_BAD_ARGUMENT, "env:NAME");
	refuses(w, "mem://host", KV_BAD_ARGUMENT, "no name");
	refuses(w, "mem:denied", KV_DENIED, "denied"); /* no text of its own */
}

static void registering(void **state)
{
	struct world *w = *state;
	struct kv_err err = {0};

	assert_int_equal(store_register(&w->registry, &mem_ops, &err),
			 KV_BAD_ARGUMENT);
	assert_non_null(strstr(err.text, "scheme mem is taken"));
	assert_int_equal(w->registry.n, 2);
}

static int register_one(void *ctx KV_UNUSED)
{
	struct store_registry r = {0};
	int rv = store_register(&r, &mem_ops, NULL);

	store_registry_free(&r);
	return rv;
}

static void registering_without_memory(void **state KV_UNUSED)
{
	assert_int_equal(sweep_run(register_one, NULL), 1);
}

static void names_and_limits(void **state)
{
	struct world *w = *state;
	struct store *st = must_open(w, "mem:x?prefix=/1234");
	struct kv_err err = {0};

	assert_int_equal(store_check(st, slice_str("/a"), 32, &err), KV_OK);
	assert_int_equal(store_check(st, slice_str("/"), 0, &err), KV_OK);
	assert_int_equal(store_check(st, slice_str("/a"), 33, &err),
			 KV_TOO_LARGE);
	assert_int_equal(store_check(st, slice_str("a"), 0, &err),
			 KV_INVALID_KEY);
	assert_int_equal(store_check(st, slice_str(""), 0, &err),
			 KV_INVALID_KEY);
	assert_int_equal(store_check(st, slice_str("/!"), 0, &err),
			 KV_INVALID_KEY);
	/* The prefix counts: 24 bytes in all. */
	assert_int_equal(
	    store_check(st, slice_str("/234567890123456789"), 0, &err), KV_OK);
	assert_int_equal(
	    store_check(st, slice_str("/2345678901234567890"), 0, &err),
	    KV_TOO_LARGE);
	store_close(st, NULL, NULL);
	st = must_open(w, "plain:x"); /* no limits */
	assert_int_equal(store_check(st, slice_str("/!"), SIZE_MAX / 2, &err),
			 KV_OK);
	store_close(st, NULL, NULL);
}

static void stored_keys(void **state)
{
	struct world *w = *state;
	struct store *app = must_open(w, "mem:x?prefix=/app");
	struct store *all = must_open(w, "mem:x");
	struct arena a = {0};

	assert_true(slice_eq(store_stored_key(app, &a, slice_str("/x/y")),
			     slice_str("/app/x/y")));
	assert_true(slice_eq(store_stored_key(all, &a, slice_str("/x")),
			     slice_str("/x")));
	assert_true(slice_eq(store_relative_key(app, slice_str("/app/x")),
			     slice_str("/x")));
	assert_true(slice_eq(store_relative_key(app, slice_str("/app/")),
			     slice_str("/")));
	assert_int_equal(store_relative_key(app, slice_str("/app")).n, 0);
	assert_int_equal(store_relative_key(app, slice_str("/apple")).n, 0);
	assert_int_equal(store_relative_key(app, slice_str("/ap")).n, 0);
	assert_true(slice_eq(store_relative_key(all, slice_str("/x")),
			     slice_str("/x")));
	assert_int_equal(store_relative_key(all, slice_str("x")).n, 0);
	arena_free(&a);
	store_close(app, NULL, NULL);
	store_close(all, NULL, NULL);
}

static void overlap_is(struct world *w, const char *x, const char *y,
		       bool expected)
{
	struct store *a = must_open(w, x);
	struct store *b = must_open(w, y);

	if (store_overlap(a, b) != expected ||
	    store_overlap(b, a) != expected) {
		fail_msg("%s and %s: expected %d", x, y, expected);
	}
	store_close(a, NULL, NULL);
	store_close(b, NULL, NULL);
}

static void overlap_of_places(void **state)
{
	struct world *w = *state;

	overlap_is(w, "plain://a:1,b:2", "plain://c:3,b:2", true);
	overlap_is(w, "plain://a:1", "plain://b:1", false);
	overlap_is(w, "plain://a:1", "plain://a:2", false);
	overlap_is(w, "plain://a", "plain://a:2", true); /* the default? */
	overlap_is(w, "plain://A:1", "plain://a:1", true);
	overlap_is(w, "plain://localhost:1", "plain://127.0.0.1:1", true);
	overlap_is(w, "plain://localhost:1", "plain://[::1]:1", true);
	overlap_is(w, "plain://localhost:1", "plain://127.0.0.1:2", false);
	overlap_is(w, "plain://[::2]:1", "plain://[::1]:1", false);
	overlap_is(w, "plain:x", "plain:x", true);
	overlap_is(w, "plain:x", "plain:y", false);
	overlap_is(w, "plain:x", "plain://x", false);
	overlap_is(w, "plain:x", "mem:x", false);
	overlap_is(w, "mem:x", "mem:y", true); /* the backend says so */
}

static void overlap_of_prefixes(void **state)
{
	struct world *w = *state;

	overlap_is(w, "plain:x", "plain:x?prefix=/a", true);
	overlap_is(w, "plain:x?prefix=/a", "plain:x?prefix=/a", true);
	overlap_is(w, "plain:x?prefix=/a/b", "plain:x?prefix=/a", true);
	overlap_is(w, "plain:x?prefix=/a", "plain:x?prefix=/ab", false);
	overlap_is(w, "plain:x?prefix=/a", "plain:x?prefix=/b", false);
	overlap_is(w, "plain:x?raw_prefix=app", "plain:x?raw_prefix=apple",
		   true);
	overlap_is(w, "plain:x?raw_prefix=a/", "plain:x?raw_prefix=b/", false);
	overlap_is(w, "plain:x?raw_prefix=a/", "plain:x?prefix=/a", false);
	overlap_is(w, "plain:x?raw_prefix=/a", "plain:x?prefix=/ab", true);
	overlap_is(w, "plain:x?raw_prefix=", "plain:x?prefix=/ab", true);
	overlap_is(w, "plain:x?raw_prefix=a/", "plain:x", false);
}

static void pages_and_batches(void **state KV_UNUSED)
{
	struct store_page *page = store_page_new();
	struct store_batch *batch = store_batch_new();
	size_t cap = 0, cap2 = 0, i;
	char key[16];

	for (i = 0; i < 100; i++) {
		(void)snprintf(key, sizeof key, "/%03zu", i);
		assert_non_null(store_page_add(page, &cap, slice_str(key),
					       slice_of(NULL, 0)));
		assert_non_null(store_batch_add(batch, &cap2, slice_str(key),
						slice_str("v")));
	}
	assert_int_equal(page->n, 100);
	assert_int_equal(batch->n, 100);
	assert_true(slice_eq(page->pairs[57].key, slice_str("/057")));
	assert_true(slice_eq(batch->changes[99].key, slice_str("/099")));
	assert_true(slice_eq(batch->changes[99].value, slice_str("v")));
	store_page_free(page);
	store_batch_free(batch);
	store_page_free(NULL);
	store_batch_free(NULL);
	assert_string_equal(store_action_name(STORE_ERROR), "error");
	assert_string_equal(store_action_name(STORE_INIT), "init");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(opening),
	    T(registering),
	    cmocka_unit_test(registering_without_memory),
	    T(names_and_limits),
	    T(stored_keys),
	    T(overlap_of_places),
	    T(overlap_of_prefixes),
	    T(pages_and_batches),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
