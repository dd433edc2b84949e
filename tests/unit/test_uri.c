/* test_uri.c: URIs taken apart, and refused; create_endpoints, normalize. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/uri.h"
#include "tests/lib/sweep.h"

static struct uri *parse(const char *text)
{
	struct kv_err err = {0};
	struct uri *u = NULL;

	if (uri_parse(text, &u, &err) != KV_OK) {
		fail_msg("%s: %s", text, err.text);
	}
	assert_string_equal(u->text, text);
	return u;
}

static void servers(void **state KV_UNUSED)
{
	struct uri *u =
	    parse("ETCD://a:1,b.example,[::1]:2379/x/y?q=1&r=a%20b");

	assert_string_equal(u->scheme, "etcd");
	assert_int_equal(u->n_endpoints, 3);
	assert_string_equal(u->endpoints[0], "a:1");
	assert_string_equal(u->endpoints[1], "b.example");
	assert_string_equal(u->endpoints[2], "[::1]:2379");
	assert_null(u->path);
	assert_string_equal(u->prefix, "/x/y");
	assert_int_equal(u->prefix_n, 4);
	assert_int_equal(u->n_options, 2);
	assert_string_equal(u->options[1].name, "r");
	assert_string_equal(u->options[1].value, "a b");
	uri_free(u);
}

static void files(void **state KV_UNUSED)
{
	struct uri *u = parse("sqlite:dir/a%3Fb.db?prefix=/x/");

	assert_string_equal(u->path, "dir/a?b.db");
	assert_string_equal(u->prefix, "/x");
	assert_int_equal(u->n_endpoints, 0);
	assert_int_equal(u->n_options, 0);
	uri_free(u);
	u = parse("sqlite:///abs/b.db");
	assert_string_equal(u->path, "/abs/b.db");
	assert_string_equal(u->prefix, "");
	uri_free(u);
	u = parse("sqlite:/abs/b.db");
	assert_string_equal(u->path, "/abs/b.db");
	uri_free(u);
}

static void prefix_is(const char *text, const char *prefix, size_t n)
{
	struct uri *u = parse(text);

	assert_int_equal(u->prefix_n, n);
	assert_memory_equal(u->prefix, prefix, n + 1);
	uri_free(u);
}

static void prefixes(void **state KV_UNUSED)
{
	prefix_is("etcd://a", "", 0);
	prefix_is("etcd://a/", "", 0);
	prefix_is("etcd://a//", "", 0);
	prefix_is("etcd://a/x//", "/x", 2);
	prefix_is("etcd://a/x//y", "/x//y", 5);
	prefix_is("etcd://a?prefix=/x", "/x", 2);
	prefix_is("etcd://a/?prefix=/x", "/x", 2);
	prefix_is("etcd://a?prefix=", "", 0);
	prefix_is("etcd://a/%2Fx%00%ff", "//x\0\xff", 5);
	prefix_is("etcd://a?", "", 0);
	prefix_is("etcd://a?&&", "", 0);
}

static void refusals(void **state KV_UNUSED)
{
	static const char *const bad[] = {
	    "",
	    "etcd",
	    "://a",
	    "/path",
	    "etcd:",
	    "etcd://",
	    "etcd://a,",
	    "etcd://,a",
	    "etcd://a:0",
	    "etcd://a:65536",
	    "etcd://a:",
	    "etcd://a:b",
	    "etcd://a:1:2",
	    "etcd://[::1",
	    "etcd://[::1]2379",
	    "etcd://[]:1",
	    "etcd://a b",
	    "etcd://u:secret@a",
	    "etcd://a?x",
	    "etcd://a?=1",
	    "etcd://a?x=%",
	    "etcd://a?x=%4",
	    "etcd://a?x=%zz",
	    "etcd://a?x=%00",
	    "sqlite:a%00b",
	    "sqlite:?prefix=/a",
	    "etcd://a/x?prefix=/y",
	    "etcd://a?prefix=/x&prefix=/y",
	    "etcd://a?prefix=x",
	};
	struct kv_err err;
	struct uri *u;
	size_t i;

	for (i = 0; i < KV_COUNT(bad); i++) {
		memset(&err, 0, sizeof err);
		if (uri_parse(bad[i], &u, &err) != KV_BAD_ARGUMENT) {
			fail_msg("%s was taken", bad[i]);
		}
		assert_null(u);
		assert_int_equal(err.status, KV_BAD_ARGUMENT);
		assert_null(strstr(err.text, "secret"));
	}
}

/* Bytes of all kinds: no crash, and what is taken has its promised form. */
static void any_text(void **state KV_UNUSED)
{
	static const char alphabet[] = "a:/?=&%@,[]1.-x2F\x01\xff";
	uint64_t x = 1234567;
	struct kv_err err;
	struct uri *u;
	char text[40];
	size_t i, n;
	int round;

	for (round = 0; round < 50000; round++) {
		n = (size_t)round % (sizeof text - 8);
		memcpy(text, "s://a", 5);
		for (i = round % 3 == 0 ? 5 : 0; i < n; i++) {
			x = x * UINT64_C(6364136223846793005) + 1;
			text[i] = alphabet[(x >> 33) % (sizeof alphabet - 1)];
		}
		text[i] = '\0';
		if (uri_parse(text, &u, &err) != KV_OK) {
			continue;
		}
		assert_true((u->path != NULL) == (u->n_endpoints == 0));
		assert_true(u->prefix_n == 0 || u->prefix[0] == '/');
		assert_true(u->prefix_n == 0 ||
			    u->prefix[u->prefix_n - 1] != '/');
		uri_free(u);
	}
}

static void endpoints(void **state KV_UNUSED)
{
	static const char *const hosts[] = {"a:1", "b:2"};
	char **list = store_create_endpoints(hosts, 2, "https");

	assert_string_equal(list[0], "https://a:1");
	assert_string_equal(list[1], "https://b:2");
	kv_free(list[0]);
	kv_free(list[1]);
	kv_free(list);
}

static void normalized(const char *key, const char *expected)
{
	char *text = store_normalize(key);

	assert_string_equal(text, expected);
	kv_free(text);
}

static void normalize(void **state KV_UNUSED)
{
	normalized("path/to/key", "/path/to/key");
	normalized("//path//to/key//", "/path/to/key");
	normalized("", "/");
	normalized("///", "/");
	normalized("a", "/a");
}

static int use_all(void *ctx KV_UNUSED)
{
	static const char *const hosts[] = {"a:1", "b:2"};
	struct kv_err err = {0};
	struct uri *u;
	char **list;
	char *text;
	int rv;

	rv = uri_parse("etcd://a:1,b:2,c:3/x?q=1&r=2&s=3", &u, &err);
	if (rv != KV_OK) {
		assert_int_equal(err.status, rv);
		return rv;
	}
	uri_free(u);
	text = store_normalize("/a");
	if (text == NULL) {
		return KV_NO_MEMORY;
	}
	kv_free(text);
	list = store_create_endpoints(hosts, 2, "http");
	if (list == NULL) {
		return KV_NO_MEMORY;
	}
	kv_free(list[0]);
	kv_free(list[1]);
	kv_free(list);
	return KV_OK;
}

static void out_of_memory(void **state KV_UNUSED)
{
	assert_true(sweep_run(use_all, NULL) > 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(servers),	 cmocka_unit_test(files),
	    cmocka_unit_test(prefixes),	 cmocka_unit_test(refusals),
	    cmocka_unit_test(any_text),	 cmocka_unit_test(endpoints),
	    cmocka_unit_test(normalize), cmocka_unit_test(out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
