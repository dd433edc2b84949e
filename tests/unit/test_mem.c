/* test_mem.c: hooks, overflow, growth, the arena. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/base/mem.h"
#include "store/base/status.h"
#include "tests/lib/sweep.h"

static void strings(void **state KV_UNUSED)
{
	char *s;

	sweep_begin();
	s = kv_strdup("abc");
	assert_string_equal(s, "abc");
	kv_free(s);
	s = kv_memdup("a\0c", 3);
	assert_memory_equal(s, "a\0c", 4); /* a NUL behind */
	kv_free(s);
	s = kv_memdup(NULL, 0);
	assert_string_equal(s, "");
	kv_free(s);
	s = kv_asprintf("%s-%d", "x", 42);
	assert_string_equal(s, "x-42");
	kv_free(s);
	kv_free(NULL);
	sweep_end();
}

static void sizes_that_overflow(void **state KV_UNUSED)
{
	struct arena a = {0};
	void *items = NULL;
	size_t cap = 0;

	assert_null(kv_calloc(SIZE_MAX / 2, 3));
	assert_null(kv_memdup("", SIZE_MAX));
	assert_false(kv_grow(&items, &cap, SIZE_MAX / 2, 8));
	assert_null(items);
	assert_int_equal(cap, 0);
	assert_null(arena_alloc(&a, SIZE_MAX - 3));
}

static void calloc_zeroes(void **state KV_UNUSED)
{
	static const char zero[100];
	char *p = kv_calloc(10, 10);

	assert_memory_equal(p, zero, 100);
	kv_free(p);
	p = kv_calloc(0, 8); /* a block, not "failed" */
	assert_non_null(p);
	kv_free(p);
}

static void grow(void **state KV_UNUSED)
{
	void *items = NULL;
	size_t cap = 0, before;
	int *a;
	int i;

	for (i = 0; i < 1000; i++) {
		before = cap;
		assert_true(kv_grow(&items, &cap, (size_t)i + 1, sizeof *a));
		assert_true(cap == before || cap >= 2 * before);
		a = items;
		a[i] = i;
	}
	a = items;
	for (i = 0; i < 1000; i++) {
		assert_int_equal(a[i], i);
	}
	kv_free(items);
}

static void arena_keeps_pieces_apart(void **state KV_UNUSED)
{
	struct arena a;
	uint8_t *pieces[2000];
	size_t sizes[2000];
	size_t i, k;

	sweep_begin();
	arena_init(&a);
	for (i = 0; i < KV_COUNT(pieces); i++) {
		/* Mostly small, now and then larger than a block. */
		sizes[i] = i % 97 == 0 ? 5000 * (i % 7) : i % 40;
		pieces[i] = arena_alloc(&a, sizes[i]);
		assert_non_null(pieces[i]);
		assert_int_equal((uintptr_t)pieces[i] % 8, 0);
		memset(pieces[i], (int)(i & 255), sizes[i]);
	}
	for (i = 0; i < KV_COUNT(pieces); i++) {
		for (k = 0; k < sizes[i]; k++) {
			assert_int_equal(pieces[i][k], i & 255);
		}
	}
	assert_true(a.total > 0);
	arena_reset(&a);
	assert_int_equal(a.total, 0);
	assert_memory_equal(arena_memdup(&a, "xyz", 3), "xyz", 3);
	arena_free(&a);
	assert_non_null(arena_alloc(&a, 0));
	arena_free(&a);
	sweep_end();
}

/* A piece of some size must not cost many times that. */
static void arena_wastes_little(void **state KV_UNUSED)
{
	struct arena a = {0};
	size_t i;

	for (i = 0; i < 100; i++) {
		assert_non_null(arena_alloc(&a, 1024 * 1024));
		assert_non_null(arena_alloc(&a, 16));
	}
	assert_int_equal(a.total, 100 * (1024 * 1024 + 16));
	arena_free(&a);
}

static int use_arena(void *ctx KV_UNUSED)
{
	struct arena a = {0};
	int i, rv = KV_OK;

	for (i = 0; i < 50 && rv == KV_OK; i++) {
		if (arena_alloc(&a, (size_t)i * 50) == NULL) {
			rv = KV_NO_MEMORY;
		}
	}
	arena_free(&a);
	return rv;
}

static int use_strings(void *ctx KV_UNUSED)
{
	char *a = kv_strdup("a");
	char *b = kv_asprintf("%d", 1);
	char *c = kv_calloc(2, 2);
	int rv = a == NULL || b == NULL || c == NULL ? KV_NO_MEMORY : KV_OK;

	kv_free(a);
	kv_free(b);
	kv_free(c);
	return rv;
}

static int use_grow(void *ctx KV_UNUSED)
{
	void *items = NULL;
	size_t cap = 0, i;
	int rv = KV_OK;

	for (i = 0; i < 100 && rv == KV_OK; i++) {
		if (!kv_grow(&items, &cap, i + 1, 8)) {
			assert_int_equal(cap >= i, true);
			rv = KV_NO_MEMORY;
		}
	}
	kv_free(items);
	return rv;
}

static void out_of_memory(void **state KV_UNUSED)
{
	assert_true(sweep_run(use_arena, NULL) > 3);
	assert_int_equal(sweep_run(use_strings, NULL), 3);
	assert_true(sweep_run(use_grow, NULL) > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(strings),
	    cmocka_unit_test(sizes_that_overflow),
	    cmocka_unit_test(calloc_zeroes),
	    cmocka_unit_test(grow),
	    cmocka_unit_test(arena_keeps_pieces_apart),
	    cmocka_unit_test(arena_wastes_little),
	    cmocka_unit_test(out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
