/* test_filter.c: what globs match, which are refused, and that no glob makes
 * the matcher run away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/filter.h"

struct row {
	const char *glob, *key;
	bool match;
};

static const struct row rows[] = {
    {"/a", "/a", true},
    {"/a", "/ab", false},
    {"/a", "/", false},
    {"/a/", "/a/", true},
    {"/a/", "/a", false},
    {"/?", "/a", true},
    {"/?", "/ab", false},
    {"/?", "/", false},
    {"/a?b", "/a/b", false},
    {"/*", "/abc", true},
    {"/*", "/", true},
    {"/*", "/a/b", false},
    {"/*/b", "/a/b", true},
    {"/*/b", "/a/c/b", false},
    {"/a*c", "/abbbc", true},
    {"/a*c", "/ac", true},
    {"/a*c", "/ab/c", false},
    {"/a*b*c", "/axbxbc", true},
    {"/a*b*c", "/axbxb", false},
    {"**", "/", true},
    {"**", "/a/b/c", true},
    {"/**", "/a/b/c", true},
    {"/a/**", "/a/b/c", true},
    {"/a/**", "/a/", true},
    {"/a/**", "/a", false},
    {"/a/**", "/ab/c", false},
    {"/**/z", "/a/b/z", true},
    {"/**/z", "/z", false},
    {"**/z", "/z", true},
    {"**/z", "/a/zz", false},
    {"/a**z", "/a/b/c/z", true},
    {"/a**z", "/az", true},
    {"/a***z", "/a/q/z", true},
    {"**/*.tmp", "/a/b/c.tmp", true},
    {"**/*.tmp", "/a/b.tmp/c", false},
    {"**/b/*", "/a/b/c/b/d", true},
    {"**/b/*/e", "/a/b/c/b/d/e", true},
    {"*/a", "/a", true},
    {"*/a", "x/a", true},
    {"/[abc]", "/b", true},
    {"/[abc]", "/d", false},
    {"/[a-c]x", "/cx", true},
    {"/[a-c]x", "/-x", false},
    {"/[!a-c]", "/d", true},
    {"/[!a-c]", "/b", false},
    {"/[]]", "/]", true},
    {"/[!]]", "/]", false},
    {"/[!]]", "/a", true},
    {"/[a-]", "/-", true},
    {"/[-a]", "/-", true},
    {"/[a\\]]", "/]", true},
    {"/[\\!a]", "/!", true},
    {"/[a!]", "/!", true},
    {"/a[!x]b", "/a/b", false},
    {"/a[/]b", "/a/b", false},
    {"/a[+-9]b", "/a/b", false},
    {"/\\*", "/*", true},
    {"/\\*", "/a", false},
    {"/\\a", "/a", true},
    {"/\\\\", "/\\", true},
    {"/\\[", "/[", true},
    {"/\xc3\xa9?", "/\xc3\xa9x", true},
    {"/[\x80-\xff]", "/\xc3", true},
    {"/?", "/\xff", true},
    {"/*", "/\xff\xfe", true},
};

static void test_rows(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < KV_COUNT(rows); i++) {
		bool got = glob_match(rows[i].glob, slice_str(rows[i].key));

		if (got != rows[i].match) {
			fail_msg("'%s' on '%s': %d", rows[i].glob, rows[i].key,
				 got);
		}
		assert_int_equal(glob_check(rows[i].glob, NULL), KV_OK);
	}
}

static void test_bytes(void **state)
{
	(void)state;
	assert_true(glob_match("/a?b", slice_of("/a\0b", 4)));
	assert_true(glob_match("/*b", slice_of("/a\0b", 4)));
	assert_false(glob_match("/a", slice_of("/a\0", 3)));
	assert_true(glob_match("**", slice_of(NULL, 0)));
	assert_false(glob_match("/", slice_of(NULL, 0)));
}

static void test_bad(void **state)
{
	static const struct {
		const char *glob, *says;
	} bad[] = {
	    {"", "begin with"},	    {"a", "begin with"},
	    {"?a", "begin with"},   {"[/]a", "begin with"},
	    {"/[", "not closed"},   {"/[a", "not closed"},
	    {"/[]", "not closed"},  {"/[!]", "not closed"},
	    {"/[a-", "not closed"}, {"/[\\", "not closed"},
	    {"/a\\", "backslash"},  {"/[z-a]", "backwards"},
	};
	struct kv_err err;
	size_t i;

	(void)state;
	for (i = 0; i < KV_COUNT(bad); i++) {
		assert_int_equal(glob_check(bad[i].glob, &err),
				 KV_BAD_ARGUMENT);
		if (strstr(err.text, bad[i].says) == NULL) {
			fail_msg("'%s': %s", bad[i].glob, err.text);
		}
		/* A bad glob matches nothing, and ends. */
		assert_false(glob_match(bad[i].glob, slice_str("/[")));
	}
}

/* A plain recursive matcher, to compare with. */
static bool slow_match(const char *glob, struct slice key)
{
	struct glob_token t;
	const char *next = glob_token(glob, &t);
	struct slice rest = key.n == 0 ? key : slice_of(key.p + 1, key.n - 1);
	bool slash = key.n > 0 && key.p[0] == '/';

	switch (t.kind) {
	case GLOB_END:
		return key.n == 0;
	case GLOB_STAR:
	case GLOB_STARS:
		return slow_match(next, key) ||
		       (key.n > 0 && (t.kind == GLOB_STARS || !slash) &&
			slow_match(glob, rest));
	case GLOB_BYTE:
		return key.n > 0 && key.p[0] == t.byte &&
		       slow_match(next, rest);
	case GLOB_ANY:
		return key.n > 0 && !slash && slow_match(next, rest);
	case GLOB_SET:
		return key.n > 0 && !slash && glob_set_has(t.set, key.p[0]) &&
		       slow_match(next, rest);
	default:
		return false;
	}
}

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 33;
}

static void test_against_slow(void **state)
{
	static const char *const parts[] = {"a", "b",	 "/",	 "*",
					    "?", "[ab]", "[!a]", "**"};
	uint64_t seed = 42;
	unsigned round;

	(void)state;
	for (round = 0; round < 40000; round++) {
		char glob[64] = "", key[16];
		size_t n = (size_t)(next_random(&seed) % 8), i;

		for (i = 0; i < n; i++) {
			(void)strcat(glob, parts[next_random(&seed) % 8]);
		}
		n = (size_t)(next_random(&seed) % 10);
		for (i = 0; i < n; i++) {
			key[i] = "ab/"[next_random(&seed) % 3];
		}
		key[n] = '\0';
		if (glob_match(glob, slice_str(key)) !=
		    slow_match(glob, slice_str(key))) {
			fail_msg("'%s' on '%s'", glob, key);
		}
	}
}

/* These take an exponential matcher longer than anybody would wait. */
static void test_no_blow_up(void **state)
{
	char key[4001];

	(void)state;
	memset(key, 'a', sizeof(key));
	key[0] = '/';
	assert_false(glob_match("/*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b",
				slice_of(key, sizeof(key))));
	assert_false(glob_match("**a**a**a**a**a**a**a**a**a**a**a**b",
				slice_of(key, sizeof(key))));
	memset(key, '/', sizeof(key));
	assert_false(glob_match("**/*/**/*/**/*/**/*/**/*/**/*/**/b",
				slice_of(key, sizeof(key))));
}

static void test_pass(void **state)
{
	struct conf_route r;

	(void)state;
	conf_route_init(&r);
	assert_true(filter_pass(&r, slice_str("/x")));
	assert_int_equal(conf_route_set(&r, "exclude", "/tmp/**", NULL), KV_OK);
	assert_true(filter_pass(&r, slice_str("/x")));
	assert_false(filter_pass(&r, slice_str("/tmp/x")));
	assert_int_equal(conf_route_set(&r, "include", "/a/*", NULL), KV_OK);
	assert_int_equal(conf_route_set(&r, "include", "/tmp/*", NULL), KV_OK);
	assert_true(filter_pass(&r, slice_str("/a/x")));
	assert_false(filter_pass(&r, slice_str("/x")));
	/* exclude beats include */
	assert_false(filter_pass(&r, slice_str("/tmp/x")));
	conf_route_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_bytes),
	    cmocka_unit_test(test_bad),
	    cmocka_unit_test(test_against_slow),
	    cmocka_unit_test(test_no_blow_up),
	    cmocka_unit_test(test_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
