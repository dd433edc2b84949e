/* test_content.c: a value and what stands beside it are compared, hashed and
 * copied as one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/batch.h"
#include "agent/content.h"
#include "tests/lib/sweep.h"

static struct content of(const char *value, const char *attrs)
{
	return content_of(slice_str(value), slice_str(attrs));
}

static bool same_hash(struct content a, struct content b)
{
	struct kv_hash x = content_hash(a);
	struct kv_hash y = content_hash(b);

	assert_int_equal(kv_hash_eq(&x, &y), content_eq(a, b));
	return kv_hash_eq(&x, &y);
}

static void both_parts_count(void **state KV_UNUSED)
{
	assert_true(same_hash(of("v", "a"), of("v", "a")));
	assert_false(same_hash(of("v", "a"), of("v", "b")));
	assert_false(same_hash(of("v", "a"), of("w", "a")));
	assert_false(same_hash(of("v", "a"), of("v", "")));
	assert_false(same_hash(of("va", ""), of("v", "a")));
	assert_false(same_hash(of("", "v"), of("v", "")));
}

/* What ledgers hold of routes without attrs goes on to be true. */
static void without_attrs_the_values_hash(void **state KV_UNUSED)
{
	struct kv_hash plain = kv_hash(slice_str("v"));
	struct kv_hash hash = content_hash(of("v", ""));

	assert_true(kv_hash_eq(&plain, &hash));
}

static void an_item_has_both(void **state KV_UNUSED)
{
	struct batch *b = batch_new(0);
	struct kv_hash want = content_hash(of("value", "beside"));
	struct batch_item *it;
	size_t empty;
	bool found;

	assert_non_null(b);
	it = batch_change(b, slice_str("/k"), slice_str("/k"),
			  of("value", "beside"), false, 7, &found);
	assert_non_null(it);
	assert_true(content_eq(it->content, of("value", "beside")));
	assert_true(kv_hash_eq(&it->hash, &want));
	assert_int_equal(b->bytes, 2 + 5 + 6);
	/* A delete has neither, and counts for neither. */
	it = batch_change(b, slice_str("/k"), slice_str("/k"), of("x", "y"),
			  true, 8, &found);
	assert_true(found);
	empty = content_size(it->content);
	assert_int_equal(empty, 0);
	assert_int_equal(b->bytes, 2);
	batch_free(b);
}

static int copy(void *ctx KV_UNUSED)
{
	struct arena a;
	struct content out;
	int rv = KV_NO_MEMORY;

	arena_init(&a);
	if (content_dup(&a, of("v", "a"), &out)) {
		assert_true(content_eq(out, of("v", "a")));
		rv = KV_OK;
	}
	arena_free(&a);
	return rv;
}

static void copies_fail_whole(void **state KV_UNUSED)
{
	sweep_begin();
	assert_true(sweep_run(copy, NULL) > 0);
	sweep_end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_parts_count),
	    cmocka_unit_test(without_attrs_the_values_hash),
	    cmocka_unit_test(an_item_has_both),
	    cmocka_unit_test(copies_fail_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
