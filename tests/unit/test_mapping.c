/* test_mapping.c: encode and decode are each the other's inverse over any
 * bytes, encode gives names that ZooKeeper takes, and decode takes nothing
 * but what encode gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/backoff.h"
#include "agent/mapping.h"

struct row {
	const char *plain;
	size_t n;
	const char *name;
};

#define ROW(plain, name)                           \
	{                                          \
		(plain), sizeof(plain) - 1, (name) \
	}

static const struct row rows[] = {
    ROW("/a/b", "/a/b"),
    ROW("/", "/%"),
    ROW("//", "/%/%"),
    ROW("/a/", "/a/%"),
    ROW("//a", "/%/a"),
    ROW("/a//b", "/a/%/b"),
    ROW("/.", "/%2E"),
    ROW("/..", "/%2E%2E"),
    ROW("/...", "/..."),
    ROW("/.a/b.", "/.a/b."),
    ROW("/a/./..", "/a/%2E/%2E%2E"),
    ROW("/%", "/%25"),
    ROW("/%41", "/%2541"),
    ROW("/100%/x", "/100%25/x"),
    ROW("/zookeeper", "/%7Aookeeper"),
    ROW("/zookeeper/a", "/%7Aookeeper/a"),
    ROW("/zookeepers", "/zookeepers"),
    ROW("/a/zookeeper", "/a/zookeeper"),
    ROW("/\0", "/%00"),
    ROW("/a\x01\x1f\x7f", "/a%01%1F%7F"),
    ROW("/a b", "/a b"),
    ROW("/\xc3\xa9", "/\xc3\xa9"),
    ROW("/\xc2\x80", "/%C2%80"),
    ROW("/\xc2\x9f", "/%C2%9F"),
    ROW("/\xc2\xa0", "/\xc2\xa0"),
    ROW("/\xff\xc3", "/%FF%C3"),
    ROW("/\xc0\xaf", "/%C0%AF"),
    ROW("/\xed\xa0\x80", "/%ED%A0%80"),
    ROW("/\xed\x9f\xbf", "/\xed\x9f\xbf"),
    ROW("/\xee\x80\x80", "/%EE%80%80"),
    ROW("/\xef\xa3\xbf", "/%EF%A3%BF"),
    ROW("/\xef\xa4\x80", "/\xef\xa4\x80"),
    ROW("/\xef\xbf\xb0", "/%EF%BF%B0"),
    ROW("/\xf0\x9f\x98\x80", "/%F0%9F%98%80"),
};

static void test_rows(void **state)
{
	struct arena arena;
	size_t i;

	(void)state;
	arena_init(&arena);
	for (i = 0; i < KV_COUNT(rows); i++) {
		struct slice plain = slice_of(rows[i].plain, rows[i].n);
		struct slice name = slice_str(rows[i].name);
		struct slice got;

		assert_int_equal(mapping_to_target(MAPPING_ENCODE, plain,
						   &arena, &got, NULL),
				 KV_OK);
		if (!slice_eq(got, name)) {
			fail_msg("row %zu: %.*s", i, (int)got.n, got.p);
		}
		assert_int_equal(
		    mapping_to_source(MAPPING_ENCODE, name, &arena, &got, NULL),
		    KV_OK);
		assert_true(slice_eq(got, plain));
		assert_int_equal(
		    mapping_to_target(MAPPING_DECODE, name, &arena, &got, NULL),
		    KV_OK);
		assert_true(slice_eq(got, plain));
		assert_int_equal(mapping_to_source(MAPPING_DECODE, plain,
						   &arena, &got, NULL),
				 KV_OK);
		assert_true(slice_eq(got, name));
	}
	arena_free(&arena);
}

static void test_not_canonical(void **state)
{
	static const char *const names[] = {
	    "/%41",	      /* no need to escape */
	    "/%2e",	      /* lower case */
	    "/%2",	      /* cut */
	    "/a%",	      /* "%" is a whole segment only */
	    "/%a",	      /* likewise */
	    "/%%",	      /* likewise */
	    "/a//b",	      /* an empty segment is "%" */
	    "/a/",	      /* likewise */
	    "/.",	      /* must be escaped */
	    "/zookeeper",     /* likewise */
	    "/a\x01",	      /* likewise */
	    "/%C3%A9",	      /* need no escape */
	    "/%2E%2E%2E",     /* likewise */
	    "/a/%7Aookeeper", /* the first segment only */
	    "/%2Fa",	      /* a slash is never escaped */
	    "a",
	    "",
	};
	struct arena arena;
	size_t i;

	(void)state;
	arena_init(&arena);
	for (i = 0; i < KV_COUNT(names); i++) {
		struct slice got;
		struct kv_err err;
		int status = mapping_to_target(
		    MAPPING_DECODE, slice_str(names[i]), &arena, &got, &err);

		if (status != KV_INVALID_KEY) {
			fail_msg("'%s': %d", names[i], status);
		}
		assert_true(err.text[0] != '\0');
	}
	arena_free(&arena);
}

/* Would ZooKeeper's server take the path? */
static bool zookeeper_takes(struct slice path)
{
	size_t i, from = 1;

	if (!slice_is_utf8(path) || path.n < 2 || path.p[0] != '/') {
		return false;
	}
	for (i = 0; i < path.n; i++) {
		size_t n = slice_utf8_char(slice_of(path.p + i, path.n - i));

		/* control, C1 control, and four-byte characters */
		if (path.p[i] < 0x20 || path.p[i] == 0x7f || n == 4 ||
		    (path.p[i] == 0xc2 && path.p[i + 1] < 0xa0)) {
			return false;
		}
		i += n - 1;
	}
	for (i = 1; i <= path.n; i++) {
		struct slice seg = slice_of(path.p + from, i - from);

		if (i < path.n && path.p[i] != '/') {
			continue;
		}
		if (seg.n == 0 || slice_eq(seg, slice_str(".")) ||
		    slice_eq(seg, slice_str("..")) ||
		    (from == 1 && slice_eq(seg, slice_str("zookeeper")))) {
			return false;
		}
		from = i + 1;
	}
	return true;
}

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 33;
}

/* Random keys, of bytes that make trouble more often than others. */
static size_t random_key(uint64_t *seed, uint8_t key[32])
{
	static const uint8_t often[] = {'/', '/',  '%',	 '.',  '2',  'E',  'A',
					0,   0xc3, 0xa9, 0xed, 0xf0, 0x9f, 'z'};
	size_t n = 1 + (size_t)(next_random(seed) % 20), i;

	key[0] = '/';
	for (i = 1; i < n; i++) {
		uint64_t r = next_random(seed);

		key[i] = r % 3 == 0 ? (uint8_t)(r >> 8)
				    : often[(r >> 8) % sizeof(often)];
	}
	return n;
}

static void test_round_trip(void **state)
{
	struct arena arena;
	uint64_t seed = 7;
	unsigned round;

	(void)state;
	arena_init(&arena);
	for (round = 0; round < 100000; round++) {
		uint8_t bytes[32];
		size_t n = random_key(&seed, bytes);
		struct slice key = slice_of(bytes, n), name, back;

		arena_reset(&arena);
		assert_int_equal(
		    mapping_to_target(MAPPING_ENCODE, key, &arena, &name, NULL),
		    KV_OK);
		assert_true(zookeeper_takes(name));
		assert_int_equal(mapping_to_source(MAPPING_ENCODE, name, &arena,
						   &back, NULL),
				 KV_OK);
		assert_true(slice_eq(back, key));
		/* Read as a name, it is refused, or canonical. */
		if (mapping_to_target(MAPPING_DECODE, key, &arena, &back,
				      NULL) == KV_OK) {
			assert_int_equal(mapping_to_target(MAPPING_ENCODE, back,
							   &arena, &name, NULL),
					 KV_OK);
			assert_true(slice_eq(name, key));
		}
	}
	arena_free(&arena);
}

static void test_none(void **state)
{
	struct slice key = slice_of("/\0%\xff", 4), got;

	(void)state;
	assert_int_equal(mapping_to_target(MAPPING_NONE, key, NULL, &got, NULL),
			 KV_OK);
	assert_ptr_equal(got.p, key.p);
	assert_int_equal(mapping_to_source(MAPPING_NONE, key, NULL, &got, NULL),
			 KV_OK);
	assert_ptr_equal(got.p, key.p);
}

static void test_choose(void **state)
{
	(void)state;
	assert_int_equal(mapping_choose(true, false, true), MAPPING_ENCODE);
	assert_int_equal(mapping_choose(true, true, false), MAPPING_DECODE);
	assert_int_equal(mapping_choose(true, true, true), MAPPING_NONE);
	assert_int_equal(mapping_choose(true, false, false), MAPPING_NONE);
	assert_int_equal(mapping_choose(false, false, true), MAPPING_NONE);
	assert_int_equal(mapping_choose(false, true, false), MAPPING_NONE);
}

static void test_backoff(void **state)
{
	struct backoff b = {0};
	uint64_t whole = 50;
	unsigned i;

	(void)state;
	for (i = 0; i < 100; i++) {
		struct backoff same = b;
		uint64_t low = backoff_next(&same, 0);
		uint64_t high;

		same = b;
		high = backoff_next(&same, whole / 2);
		assert_int_equal(low, whole - whole / 2);
		assert_int_equal(high, whole);
		b = same;
		whole = KV_MIN(whole * 2, 10000);
	}
	backoff_reset(&b);
	assert_in_range(backoff_next(&b, UINT64_MAX), 25, 50);
	b = (struct backoff){.tries = UINT32_MAX, .max_ms = 300};
	assert_in_range(backoff_next(&b, 12345), 150, 300);
	assert_int_equal(b.tries, UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_not_canonical),
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_none),
	    cmocka_unit_test(test_choose),
	    cmocka_unit_test(test_backoff),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
