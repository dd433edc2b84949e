/* test_consul_open.c: URIs and options of the Consul backend, the names it
 * takes, the paths it asks for. No server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <uv.h>

#include "store/consul/consul.h"
#include "store/consul/consul_impl.h"

struct fixture {
	uv_loop_t loop;
	struct sched *sched;
	struct store_registry registry;
	struct store *st;
	bool closed;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	*state = f;
	(void)setenv("KVTEST_TOKEN", "secret", 1);
	(void)setenv("KVTEST_BAD_TOKEN", "two\nlines", 1);
	return f == NULL || uv_loop_init(&f->loop) != 0 ||
		       (f->sched = sched_uv_open(&f->loop)) == NULL ||
		       store_register(&f->registry, &store_consul_ops, NULL) !=
			   KV_OK
		   ? -1
		   : 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	int rv;

	sched_uv_close(f->sched);
	(void)uv_run(&f->loop, UV_RUN_DEFAULT);
	rv = uv_loop_close(&f->loop);
	store_registry_free(&f->registry);
	free(f);
	return rv;
}

static int try_open(struct fixture *f, const char *uri, struct kv_err *err)
{
	return store_open(&f->registry, f->sched, uri, 0, &f->st, err);
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static void close_it(struct fixture *f)
{
	f->closed = false;
	store_close(f->st, on_closed, &f->closed);
	while (!f->closed) {
		(void)uv_run(&f->loop, UV_RUN_ONCE);
	}
}

static struct consul *open_it(struct fixture *f, const char *uri)
{
	struct kv_err err = {0};

	if (try_open(f, uri, &err) != KV_OK) {
		fail_msg("%s: %s", uri, err.text);
	}
	return consul_of(f->st);
}

static void endpoints_get_their_scheme_and_port(void **state)
{
	struct fixture *f = *state;
	struct consul *c =
	    open_it(f, "consul://a,b:1,[::1]:2,[::2]/x?token=env:KVTEST_TOKEN");

	assert_int_equal(c->http.n_bases, 4);
	assert_string_equal(c->http.bases[0], "http://a:8500");
	assert_string_equal(c->http.bases[1], "http://b:1");
	assert_string_equal(c->http.bases[2], "http://[::1]:2");
	assert_string_equal(c->http.bases[3], "http://[::2]:8500");
	assert_string_equal(c->http.token, "secret");
	close_it(f);
	c = open_it(f, "consuls://a/x?server_name=n&dc=dc2");
	assert_string_equal(c->http.bases[0], "https://a:8501");
	assert_string_equal(c->http.server_name, "n");
	assert_string_equal(c->dc, "dc2");
	close_it(f);
}

static void bad_options_are_refused(void **state)
{
	static const struct {
		const char *uri;
		const char *says;
	} bad[] = {
	    {"consul:///x", "endpoint"},
	    {"consul://a:/x", "a:"},
	    {"consul://a/x?token=plain", "token"},
	    {"consul://a/x?token=env:KVTEST_BAD_TOKEN", "token"},
	    {"consul://a/x?token=env:KVTEST_NOT_SET", "KVTEST_NOT_SET"},
	    {"consul://a/x?ca=/tmp/ca.pem", "consuls"},
	    {"consul://a/x?insecure_skip_verify=yes", "consuls"},
	    {"consuls://a/x?key=/tmp/k.pem", "cert"},
	    {"consul://a/x?timeout_ms=0", "timeout_ms"},
	    {"consul://a/x?txn_max_bytes=10", "txn_max_bytes"},
	    {"consul://a/%ff", "UTF-8"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < KV_COUNT(bad); i++) {
		struct kv_err err = {0};
		int rv = try_open(f, bad[i].uri, &err);

		if (rv == KV_OK || strstr(err.text, bad[i].says) == NULL) {
			fail_msg("%s: %d, %s", bad[i].uri, rv, err.text);
		}
		assert_null(strstr(err.text, "plain"));
	}
}

static void names_must_be_text(void **state)
{
	struct fixture *f = *state;

	(void)open_it(f, "consul://a/x");
	assert_int_equal(store_check(f->st, slice_str("/"), 0, NULL), KV_OK);
	assert_int_equal(store_check(f->st, slice_str("/a\xc3\xa9"), 0, NULL),
			 KV_OK);
	assert_int_equal(store_check(f->st, slice_str("/a\xff"), 0, NULL),
			 KV_INVALID_KEY);
	close_it(f);
	(void)open_it(f, "consul://a");
	assert_int_equal(store_check(f->st, slice_str("/"), 0, NULL),
			 KV_INVALID_KEY);
	assert_int_equal(store_check(f->st, slice_str("//"), 0, NULL), KV_OK);
	close_it(f);
}

/* A larger limit of the server makes room for larger values, up to Consul's
 * own. */
static void limits_follow_the_request(void **state)
{
	struct fixture *f = *state;
	const struct store_caps *caps;

	(void)open_it(f, "consul://a/x");
	caps = store_capabilities(f->st);
	assert_in_range(caps->max_value, 200000, 390000);
	assert_int_equal(caps->max_ops, 64);
	close_it(f);
	(void)open_it(f, "consul://a/x?txn_max_bytes=4194304");
	caps = store_capabilities(f->st);
	assert_int_equal(caps->max_value, 524288);
	assert_true(caps->max_bytes > 3000000);
	close_it(f);
}

static void expect_part(const char *prefix, const char *want)
{
	struct slice p = slice_str(prefix);
	size_t n = consul_url_part(p);

	if (n != strlen(want) || memcmp(p.p, want, n) != 0) {
		fail_msg("%s: %.*s, not %s", prefix, (int)n, prefix, want);
	}
}

/* What a server would clean, redirect or refuse is left out of the path: then
 * more is listed, and cut down here. */
static void only_clean_paths_are_asked_for(void **state)
{
	(void)state;
	expect_part("", "");
	expect_part("app/", "app/");
	expect_part("app/a b?c%", "app/a b?c%");
	expect_part("app//x", "app");
	expect_part("app/./x", "app");
	expect_part("app/../x", "app");
	expect_part("app/.hidden", "app");
	expect_part("/x", "");
	expect_part("..", "");
	expect_part("a\tb", "a");
	expect_part("a\xc3\xa9", "a");
}

static void stored_keys_have_no_leading_slash(void **state)
{
	struct fixture *f = *state;
	struct arena a = {0};
	struct consul *c = open_it(f, "consul://h/app");

	assert_true(slice_eq(consul_stored(c, &a, slice_str("/x/")),
			     slice_str("app/x/")));
	assert_true(slice_eq(consul_stored_dir(c, &a, slice_str("")),
			     slice_str("app/")));
	assert_true(slice_eq(consul_relative(c, &a, slice_str("app/x/")),
			     slice_str("/x/")));
	assert_int_equal(consul_relative(c, &a, slice_str("apple/x")).n, 0);
	assert_int_equal(consul_relative(c, &a, slice_str("app")).n, 0);
	close_it(f);
	c = open_it(f, "consul://h");
	assert_true(
	    slice_eq(consul_stored(c, &a, slice_str("/x")), slice_str("x")));
	assert_int_equal(consul_stored_dir(c, &a, slice_str("")).n, 0);
	assert_true(slice_eq(consul_stored_dir(c, &a, slice_str("/x")),
			     slice_str("x/")));
	assert_true(slice_eq(consul_relative(c, &a, slice_str("x/y")),
			     slice_str("/x/y")));
	close_it(f);
	arena_free(&a);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(endpoints_get_their_scheme_and_port),
	    TEST(bad_options_are_refused),
	    TEST(names_must_be_text),
	    TEST(limits_follow_the_request),
	    TEST(only_clean_paths_are_asked_for),
	    TEST(stored_keys_have_no_leading_slash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
