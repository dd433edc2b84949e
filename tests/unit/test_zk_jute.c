/* test_zk_jute.c: the encoding there and back; input that lies about itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "store/base/status.h"
#include "store/zookeeper/jute.h"
#include "tests/lib/sweep.h"

/* A copy that ends where its memory ends, so that a sanitizer sees each read
 * past it. */
static uint8_t *exactly(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n == 0 ? 1 : n);

	assert_non_null(copy);
	memcpy(copy, p, n);
	return copy;
}

static struct jute_in in_of(const void *p, size_t n)
{
	struct jute_in in = {.p = p, .n = n};

	return in;
}

static void put_all(struct jute_out *o)
{
	jute_put_bool(o, true);
	jute_put_bool(o, false);
	jute_put_int(o, 0x01020304);
	jute_put_int(o, INT32_MIN);
	jute_put_long(o, 0x0102030405060708);
	jute_put_long(o, INT64_MIN);
	jute_put_bytes(o, slice_str("path"));
	jute_put_bytes(o, slice_of(NULL, 0));
	jute_put_null(o);
	jute_put_int(o, 2);
	jute_put_bytes(o, slice_str("a"));
	jute_put_bytes(o, slice_str(""));
}

static bool get_all(struct jute_in *in)
{
	bool null, fine;
	struct slice s;

	fine = jute_get_bool(in) && !jute_get_bool(in);
	fine = jute_get_int(in) == 0x01020304 && fine;
	fine = jute_get_int(in) == INT32_MIN && fine;
	fine = jute_get_long(in) == 0x0102030405060708 && fine;
	fine = jute_get_long(in) == INT64_MIN && fine;
	s = jute_get_bytes(in, &null);
	fine = slice_eq(s, slice_str("path")) && !null && fine;
	s = jute_get_bytes(in, &null);
	fine = s.n == 0 && !null && fine;
	s = jute_get_bytes(in, &null);
	fine = s.n == 0 && null && fine;
	fine = jute_get_count(in, 4) == 2 && fine;
	fine = slice_eq(jute_get_bytes(in, NULL), slice_str("a")) && fine;
	fine = jute_get_bytes(in, NULL).n == 0 && fine;
	return fine && !in->failed;
}

static void what_was_put_is_got(void **state)
{
	struct jute_out o = {0};
	struct jute_in in;

	(void)state;
	put_all(&o);
	assert_false(o.failed);
	in = in_of(o.p, o.n);
	assert_true(get_all(&in));
	assert_int_equal(in.n, 0);
	jute_out_free(&o);
	assert_null(o.p);
}

static void the_bytes_are_as_measured(void **state)
{
	static const uint8_t want[] = {1,    0,	   0,	 0,    2, '/', 'a',
				       0xff, 0xff, 0xff, 0xff, 0, 0,   0,
				       0,    0,	   0,	 1,    2};
	struct jute_out o = {0};

	(void)state;
	jute_put_bool(&o, true);
	jute_put_bytes(&o, slice_str("/a"));
	jute_put_null(&o);
	jute_put_long(&o, 0x102);
	assert_int_equal(o.n, sizeof want);
	assert_memory_equal(o.p, want, sizeof want);
	jute_out_free(&o);
}

static void every_cut_fails(void **state)
{
	struct jute_out o = {0};
	struct jute_in in;
	uint8_t *copy;
	size_t n;

	(void)state;
	put_all(&o);
	for (n = 0; n < o.n; n++) {
		copy = exactly(o.p, n);
		in = in_of(copy, n);
		assert_false(get_all(&in));
		assert_true(in.failed);
		assert_int_equal(in.n, 0);
		free(copy);
	}
	jute_out_free(&o);
}

static void a_failed_input_gives_nothing_more(void **state)
{
	static const uint8_t bytes[] = {0, 0, 0, 9, 0, 0, 0, 1, 'x'};
	struct jute_in in = in_of(bytes, sizeof bytes);
	bool null = true;

	(void)state;
	assert_int_equal(jute_get_bytes(&in, NULL).n, 0);
	assert_true(in.failed);
	assert_int_equal(jute_get_int(&in), 0);
	assert_int_equal(jute_get_long(&in), 0);
	assert_false(jute_get_bool(&in));
	assert_int_equal(jute_get_count(&in, 1), 0);
	assert_null(jute_get_bytes(&in, &null).p);
	assert_false(null);
}

static void lengths_that_cannot_be_are_refused(void **state)
{
	static const uint8_t lengths[][4] = {{0xff, 0xff, 0xff, 0xfe},
					     {0x80, 0, 0, 0},
					     {0x7f, 0xff, 0xff, 0xff},
					     {0, 0, 0, 3}};
	uint8_t bytes[6] = {0, 0, 0, 0, 'x', 'y'};
	struct jute_in in;
	size_t i;

	(void)state;
	for (i = 0; i < KV_COUNT(lengths); i++) {
		memcpy(bytes, lengths[i], 4);
		in = in_of(bytes, sizeof bytes);
		assert_null(jute_get_bytes(&in, NULL).p);
		assert_true(in.failed);
		in = in_of(bytes, sizeof bytes);
		assert_int_equal(jute_get_count(&in, 1), 0);
		assert_true(in.failed);
	}
}

static void a_count_fits_what_is_left(void **state)
{
	static const uint8_t two[] = {0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8};
	static const uint8_t none[] = {0xff, 0xff, 0xff, 0xff};
	struct jute_in in = in_of(two, sizeof two);

	(void)state;
	assert_int_equal(jute_get_count(&in, 4), 2);
	in = in_of(two, sizeof two - 1);
	assert_int_equal(jute_get_count(&in, 4), 0);
	assert_true(in.failed);
	in = in_of(none, sizeof none);
	assert_int_equal(jute_get_count(&in, 4), 0);
	assert_false(in.failed);
}

static void a_patch_overwrites(void **state)
{
	struct jute_out o = {0};
	struct jute_in in;

	(void)state;
	jute_put_int(&o, 0);
	jute_put_int(&o, 7);
	jute_patch_int(&o, 0, -5);
	in = in_of(o.p, o.n);
	assert_int_equal(jute_get_int(&in), -5);
	assert_int_equal(jute_get_int(&in), 7);
	jute_out_free(&o);
}

static int put_and_free(void *ctx)
{
	struct jute_out o = {0};
	uint8_t big[300] = {0};
	bool failed;

	(void)ctx;
	put_all(&o);
	jute_put_bytes(&o, slice_of(big, sizeof big));
	jute_patch_int(&o, 0, 1);
	failed = o.failed;
	jute_out_free(&o);
	return failed ? KV_NO_MEMORY : KV_OK;
}

static void memory_may_end_anywhere(void **state)
{
	(void)state;
	assert_true(sweep_run(put_and_free, NULL) >= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_put_is_got),
	    cmocka_unit_test(the_bytes_are_as_measured),
	    cmocka_unit_test(every_cut_fails),
	    cmocka_unit_test(a_failed_input_gives_nothing_more),
	    cmocka_unit_test(lengths_that_cannot_be_are_refused),
	    cmocka_unit_test(a_count_fits_what_is_left),
	    cmocka_unit_test(a_patch_overwrites),
	    cmocka_unit_test(memory_may_end_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
