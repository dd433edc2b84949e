/* test_etcd_keys.c: keys, stored bytes and ranges, with prefix, without, raw.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/etcd/etcd_keys.h"

static const struct etcd_keys whole = {{NULL, 0}, false};
static const struct etcd_keys app = {{(const uint8_t *)"/app", 4}, false};
static const struct etcd_keys raw = {{(const uint8_t *)"app/", 4}, true};
static const struct etcd_keys raw_odd = {{(const uint8_t *)"app_", 4}, true};
static const struct etcd_keys raw_ff = {{(const uint8_t *)"a\xff\xff", 3},
					true};
static const struct etcd_keys raw_all = {{NULL, 0}, true};

#define EXPECT(s, lit)                                            \
	do {                                                      \
		struct slice got = (s);                           \
		assert_int_equal(got.n, sizeof(lit) - 1);         \
		assert_memory_equal(got.p, lit, sizeof(lit) - 1); \
	} while (0)

/* There and back. */
static void trip(const struct etcd_keys *k, const char *key, const char *stored)
{
	struct arena a = {0};
	struct slice s = etcd_keys_store(k, &a, slice_str(key));
	struct slice back;
	uint8_t copy[64];

	assert_non_null(s.p);
	assert_true(slice_eq(s, slice_str(stored)));
	memcpy(copy, s.p, s.n);
	back = etcd_keys_relative(k, &a, copy, s.n);
	assert_true(slice_eq(back, slice_str(key)));
	arena_free(&a);
}

static void keys_go_there_and_back(void **state)
{
	(void)state;
	trip(&whole, "/x/y", "/x/y");
	trip(&app, "/x/y", "/app/x/y");
	trip(&app, "/", "/app/");
	trip(&raw, "/x/y", "app/x/y");
	trip(&raw_odd, "/x", "app_x");
	trip(&raw_all, "/x", "x");
	trip(&raw_all, "//x", "/x");
}

static void what_is_outside_is_no_key(void **state)
{
	static const struct {
		const struct etcd_keys *k;
		const char *stored;
	} rows[] = {
	    {&whole, "x"}, {&app, "/app"},   {&app, "/apple"},
	    {&app, "/ap"}, {&app, "/other"}, {&raw, "app/"},
	    {&raw, "ap"},  {&raw, "bpp/x"},  {&raw_odd, "app_"},
	};
	struct arena a = {0};
	uint8_t copy[16];
	size_t i, n;

	(void)state;
	for (i = 0; i < KV_COUNT(rows); i++) {
		n = strlen(rows[i].stored);
		memcpy(copy, rows[i].stored, n);
		assert_int_equal(etcd_keys_relative(rows[i].k, &a, copy, n).n,
				 0);
	}
	arena_free(&a);
}

static struct etcd_range range_of(const struct etcd_keys *k, struct arena *a,
				  const char *dir, const char *after)
{
	struct etcd_range r;

	assert_true(
	    etcd_keys_range(k, a, slice_str(dir), slice_str(after), &r));
	return r;
}

static void ranges_of_directories(void **state)
{
	struct arena a = {0};
	struct etcd_range r;

	(void)state;
	r = range_of(&whole, &a, "", "");
	EXPECT(r.start, "/");
	EXPECT(r.end, "0");
	r = range_of(&app, &a, "", "");
	EXPECT(r.start, "/app/");
	EXPECT(r.end, "/app0");
	r = range_of(&app, &a, "/d", "");
	EXPECT(r.start, "/app/d/");
	EXPECT(r.end, "/app/d0");
	r = range_of(&raw, &a, "", "");
	EXPECT(r.start, "app/\0");
	EXPECT(r.end, "app0");
	r = range_of(&raw, &a, "/d", "");
	EXPECT(r.start, "app/d/");
	EXPECT(r.end, "app/d0");
	r = range_of(&raw_ff, &a, "", "");
	EXPECT(r.start, "a\xff\xff\0");
	EXPECT(r.end, "b");
	r = range_of(&raw_all, &a, "", "");
	EXPECT(r.start, "\0");
	EXPECT(r.end, "\0");
	arena_free(&a);
}

static void ranges_go_on_after_a_key(void **state)
{
	struct arena a = {0};

	(void)state;
	EXPECT(range_of(&app, &a, "", "/k").start, "/app/k\0");
	EXPECT(range_of(&app, &a, "/d", "/d/k").start, "/app/d/k\0");
	/* before the directory: from its start */
	EXPECT(range_of(&app, &a, "/d", "/c").start, "/app/d/");
	EXPECT(range_of(&app, &a, "/d", "/d").start, "/app/d/");
	EXPECT(range_of(&raw, &a, "", "/k").start, "app/k\0");
	EXPECT(range_of(&raw_all, &a, "", "/k").start, "k\0");
	arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(keys_go_there_and_back),
	    cmocka_unit_test(what_is_outside_is_no_key),
	    cmocka_unit_test(ranges_of_directories),
	    cmocka_unit_test(ranges_go_on_after_a_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
