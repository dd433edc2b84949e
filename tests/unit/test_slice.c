/* test_slice.c: order, segments, printing, UTF-8; hashes and statuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/base/hash.h"
#include "store/base/status.h"

static struct slice s(const char *text)
{
	return slice_str(text);
}

static void order_is_bytewise(void **state KV_UNUSED)
{
	assert_true(slice_cmp(s("a"), s("b")) < 0);
	assert_true(slice_cmp(s("a"), s("aa")) < 0);
	assert_true(slice_cmp(s("\xff"), s("a")) > 0); /* unsigned */
	assert_true(slice_cmp(slice_of("a\0b", 3), slice_of("a\0c", 3)) < 0);
	assert_int_equal(slice_cmp(s(""), slice_of(NULL, 0)), 0);
	assert_true(slice_cmp(slice_of(NULL, 0), s("a")) < 0);
	assert_true(slice_eq(s(""), slice_of(NULL, 0)));
	assert_false(slice_eq(s("a"), s("b")));
	assert_false(slice_eq(s("a"), s("ab")));
	assert_true(slice_starts(s("ab"), s("")));
	assert_true(slice_starts(s("ab"), s("ab")));
	assert_false(slice_starts(s("ab"), s("abc")));
}

static void directories_are_cut_at_segments(void **state KV_UNUSED)
{
	assert_true(slice_below(s("/a/b"), s("/a")));
	assert_true(slice_below(s("/a/"), s("/a")));
	assert_true(slice_below(s("/a"), s("")));
	assert_false(slice_below(s("/a"), s("/a")));
	assert_false(slice_below(s("/ab"), s("/a")));
	assert_false(slice_below(s("/b/a"), s("/a")));
}

static void printing(void **state KV_UNUSED)
{
	char buf[16];

	assert_string_equal(slice_print(s("/a b"), buf, sizeof buf), "/a b");
	assert_string_equal(slice_print(s("%\n\xff"), buf, sizeof buf),
			    "%25%0A%FF");
	assert_string_equal(slice_print(s("123456789012345"), buf, 16),
			    "123456789012345");
	assert_string_equal(slice_print(s("1234567890123456"), buf, 16),
			    "123456789012...");
	/* An escape is not cut in two. */
	assert_string_equal(slice_print(s("12345678901\n23456"), buf, 16),
			    "12345678901...");
	assert_string_equal(slice_print(s("\n\n\n\n\n"), buf, 16),
			    "%0A%0A%0A%0A%0A");
	assert_string_equal(slice_print(slice_of(NULL, 0), buf, 4), "");
}

static void copies(void **state KV_UNUSED)
{
	struct arena a = {0};
	struct slice copy = slice_dup(&a, s("abc"));

	assert_true(slice_eq(copy, s("abc")));
	copy = slice_dup(&a, slice_of(NULL, 0));
	assert_non_null(copy.p);
	assert_int_equal(copy.n, 0);
	arena_free(&a);
}

static void utf8(void **state KV_UNUSED)
{
	static const char *const good[] = {"",
					   "abc",
					   "\xc3\xa9",
					   "\xe2\x82\xac",
					   "\xed\x9f\xbf",
					   "\xf0\x9f\x98\x80",
					   "\xee\x80\x80",
					   "\xc2\x80",
					   "\xf4\x8f\xbf\xbf"};
	static const char *const bad[] = {
	    "\x80",	    "\xc0\x80",		"\xc1\xbf",
	    "\xe0\x9f\xbf", "\xed\xa0\x80",	"\xf0\x8f\xbf\xbf",
	    "\xc3",	    "a\xe2\x82",	"\xf4\x90\x80\x80",
	    "\xff",	    "\xf5\x80\x80\x80", "\xe2\x28\xa1"};
	size_t i;

	for (i = 0; i < KV_COUNT(good); i++) {
		assert_true(slice_is_utf8(s(good[i])));
	}
	for (i = 0; i < KV_COUNT(bad); i++) {
		assert_false(slice_is_utf8(s(bad[i])));
	}
	assert_true(slice_is_utf8(slice_of("a\0b", 3)));
}

/* The known answers of XXH3-128 with seed 0, in canonical form. */
static void hashes(void **state KV_UNUSED)
{
	char hex[KV_HASH_HEX_MAX];
	struct kv_hash empty = kv_hash(slice_of(NULL, 0));
	struct kv_hash a = kv_hash(s("a"));

	assert_string_equal(kv_hash_hex(&empty, hex),
			    "99aa06d3014798d86001c324468d497f");
	assert_string_equal(kv_hash_hex(&a, hex),
			    "a96faf705af16834e6c632b61e964e1f");
	assert_false(kv_hash_eq(&empty, &a));
	assert_true(kv_hash_eq(&a, &a));
}

static void statuses(void **state KV_UNUSED)
{
	assert_int_equal(KV_KEY_EXISTS, 8); /* libkv's eight keep their place */
	assert_string_equal(kv_status_text(KV_KEY_MODIFIED), "key modified");
	assert_string_equal(kv_status_name(KV_OK), "KV_OK");
	assert_string_equal(kv_status_text(99), "unknown status");
	assert_int_equal(kv_status_class(KV_HISTORY_LOST), KV_CLASS_RESYNC);
	assert_int_equal(kv_status_class(KV_OK), KV_CLASS_OK);
	assert_int_equal(kv_status_class(-5), KV_CLASS_FATAL);
}

static void errors(void **state KV_UNUSED)
{
	struct kv_err err = {0};
	char longer[2 * KV_ERR_TEXT_MAX];

	assert_int_equal(kv_fail(NULL, KV_DENIED, "x"), KV_DENIED);
	assert_int_equal(kv_fail(&err, KV_DENIED, "no %s", "way"), KV_DENIED);
	assert_string_equal(err.text, "no way");
	assert_int_equal(kv_wrap(&err, "key %d", 1), KV_DENIED);
	assert_string_equal(err.text, "key 1: no way");
	/* Its own text may be an argument. */
	assert_int_equal(kv_fail(&err, KV_BROKEN, "<%s>", err.text), KV_BROKEN);
	assert_string_equal(err.text, "<key 1: no way>");
	memset(longer, 'x', sizeof longer);
	longer[sizeof longer - 1] = '\0';
	(void)kv_wrap(&err, "%s", longer);
	assert_int_equal(strlen(err.text), KV_ERR_TEXT_MAX - 1);
	(void)kv_fail(&err, KV_BROKEN, "%s", longer);
	assert_int_equal(strlen(err.text), KV_ERR_TEXT_MAX - 1);
	(void)kv_wrap(&err, "y");
	assert_int_equal(strncmp(err.text, "y: xxx", 6), 0);
	kv_err_clear(&err);
	assert_int_equal(err.status, KV_OK);
	assert_string_equal(err.text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(order_is_bytewise),
	    cmocka_unit_test(directories_are_cut_at_segments),
	    cmocka_unit_test(printing),
	    cmocka_unit_test(copies),
	    cmocka_unit_test(utf8),
	    cmocka_unit_test(hashes),
	    cmocka_unit_test(statuses),
	    cmocka_unit_test(errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
