/* test_pair.c: which routes are a pair, and which go round in a ring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/pair.h"
#include "tests/lib/loop.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sweep.h"

#define MOST 8

struct world {
	struct test_loop loop;
	struct store_registry registry;
	struct store *stores[2 * MOST];
	struct pair_end ends[MOST];
	size_t n;
};

static void route(struct world *w, const char *name, const char *source,
		  const char *target)
{
	struct store **s = &w->stores[2 * w->n];
	struct kv_err err = {0};

	assert_int_equal(
	    store_open(&w->registry, w->loop.sched, source, 0, &s[0], &err),
	    KV_OK);
	assert_int_equal(
	    store_open(&w->registry, w->loop.sched, target, 0, &s[1], &err),
	    KV_OK);
	w->ends[w->n++] = (struct pair_end){s[0], s[1], name};
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct kv_err err = {0};

	sweep_begin();
	test_loop_open(&w->loop);
	assert_int_equal(store_register(&w->registry, &mem_plain_ops, &err),
			 KV_OK);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < 2 * w->n; i++) {
		store_close(w->stores[i], NULL, NULL);
	}
	test_loop_turns(&w->loop, 20);
	test_loop_close(&w->loop);
	store_registry_free(&w->registry);
	sweep_end();
	free(w);
	return 0;
}

#define A "plain://a:1/x"
#define B "plain://b:1/y"
#define C "plain://c:1/z"

/* The partner's name, "" for none, NULL for a ring. */
static const char *partner(struct world *w, size_t at)
{
	struct kv_err err = {0};
	size_t p = 99;
	int rv = pair_find(w->ends, w->n, at, &p, &err);

	if (rv == KV_BAD_ARGUMENT) {
		assert_non_null(strstr(err.text, "ring"));
		assert_non_null(strstr(err.text, w->ends[at].name));
		return NULL;
	}
	assert_int_equal(rv, KV_OK);
	return p == w->n ? "" : w->ends[p].name;
}

static void opposite_directions_are_a_pair(void **state)
{
	struct world *w = *state;

	route(w, "ab", A, B);
	assert_string_equal(partner(w, 0), "");
	route(w, "ac", A, C);
	route(w, "ba", B, A);
	assert_string_equal(partner(w, 0), "ba");
	assert_string_equal(partner(w, 1), "");
	assert_string_equal(partner(w, 2), "ab");
}

static void other_prefixes_are_none(void **state)
{
	struct world *w = *state;

	route(w, "there", A, B);
	route(w, "elsewhere", "plain://b:1/other", "plain://a:1/too");
	assert_string_equal(partner(w, 0), "");
	assert_string_equal(partner(w, 1), "");
}

static void a_way_back_to_more_is_a_ring(void **state)
{
	struct world *w = *state;

	route(w, "ab", A, B);
	route(w, "ba", "plain://b:1", "plain://a:1");
	assert_null(partner(w, 0));
	assert_null(partner(w, 1));
}

static void a_longer_way_round_is_a_ring(void **state)
{
	struct world *w = *state;

	route(w, "ab", A, B);
	route(w, "bc", B, C);
	assert_string_equal(partner(w, 1), "");
	route(w, "ca", C, A);
	assert_null(partner(w, 0));
	assert_null(partner(w, 1));
	assert_null(partner(w, 2));
}

static void two_partners_are_too_many(void **state)
{
	struct world *w = *state;

	route(w, "ab", A, B);
	route(w, "ba", B, A);
	route(w, "ba2", B, A);
	assert_null(partner(w, 0));
	assert_string_equal(partner(w, 1), "ab");
}

/* A pair's ends may feed others. */
static void a_chain_behind_a_pair_is_fine(void **state)
{
	struct world *w = *state;

	route(w, "ab", A, B);
	route(w, "ba", B, A);
	route(w, "bc", B, C);
	assert_string_equal(partner(w, 0), "ba");
	assert_string_equal(partner(w, 1), "ab");
	assert_string_equal(partner(w, 2), "");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(opposite_directions_are_a_pair), T(other_prefixes_are_none),
	    T(a_way_back_to_more_is_a_ring),   T(a_longer_way_round_is_a_ring),
	    T(two_partners_are_too_many),      T(a_chain_behind_a_pair_is_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
