/* test_conf.c: what a configuration file may say, and that each mistake is
 * told with file, line and what was expected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/conf.h"

static char path[64];

static int setup(void **state)
{
	int fd;

	(void)state;
	(void)snprintf(path, sizeof(path), "/tmp/kvmirror-conf-XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

static void write_text(const void *text, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static int load(const char *text, struct conf **out, struct kv_err *err)
{
	write_text(text, strlen(text));
	return conf_load(path, out, err);
}

static void test_all(void **state)
{
	struct conf *c;
	struct kv_err err;

	(void)state;
	assert_int_equal(
	    load("# all there is\n"
		 "state: /var/lib/x/state.db\n"
		 "log: {level: debug, format: json}\n"
		 "routes:\n"
		 "  - name: app\n"
		 "    source: etcd://a1:2379,a2:2379/app\n"
		 "    target: sqlite:/tmp/x.db?prefix=/app\n"
		 "    conflict: stop\n"
		 "    delete: never\n"
		 "    max_delete: 20%\n"
		 "    include: [\"/a/**\", '/b']\n"
		 "    exclude:\n"
		 "      - \"**/*.tmp\"\n"
		 "    escape: percent\n"
		 "    drift: keep\n"
		 "  - {name: two, source: 'sqlite:a', target: 'sqlite:b', "
		 "max_delete: 7}\n",
		 &c, &err),
	    KV_OK);
	assert_string_equal(c->state, "/var/lib/x/state.db");
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
	assert_true(c->log_format_given);
	assert_int_equal(c->log_format, LOG_FORMAT_JSON);
	assert_int_equal(c->n_routes, 2);
	assert_string_equal(c->routes[0].name, "app");
	assert_string_equal(c->routes[0].source, "etcd://a1:2379,a2:2379/app");
	assert_string_equal(c->routes[0].target,
			    "sqlite:/tmp/x.db?prefix=/app");
	assert_int_equal(c->routes[0].conflict, CONF_STOP);
	assert_int_equal(c->routes[0].delete_policy, CONF_DELETE_NEVER);
	assert_int_equal(c->routes[0].max_delete.kind, CONF_FUSE_PERCENT);
	assert_int_equal(c->routes[0].max_delete.n, 20);
	assert_int_equal(c->routes[0].n_include, 2);
	assert_string_equal(c->routes[0].include[1], "/b");
	assert_int_equal(c->routes[0].n_exclude, 1);
	assert_string_equal(c->routes[0].exclude[0], "**/*.tmp");
	assert_int_equal(c->routes[0].escape, CONF_ESCAPE_PERCENT);
	assert_int_equal(c->routes[0].drift, CONF_DRIFT_KEEP);
	assert_int_equal(c->routes[0].line, 5);
	assert_int_equal(c->routes[1].line, 16);
	assert_int_equal(c->routes[1].max_delete.kind, CONF_FUSE_COUNT);
	assert_int_equal(c->routes[1].max_delete.n, 7);
	conf_free(c);
}

static void test_defaults(void **state)
{
	struct conf *c;

	(void)state;
	assert_int_equal(load("routes:\n- name: a\n  source: sqlite:a\n"
			      "  target: sqlite:b\n",
			      &c, NULL),
			 KV_OK);
	assert_null(c->state);
	assert_int_equal(c->log_level, LOG_LEVEL_INFO);
	assert_false(c->log_format_given);
	assert_int_equal(c->routes[0].conflict, CONF_SOURCE_WINS);
	assert_int_equal(c->routes[0].delete_policy, CONF_DELETE_OWNED);
	assert_int_equal(c->routes[0].max_delete.kind, CONF_FUSE_DEFAULT);
	assert_int_equal(c->routes[0].n_include, 0);
	assert_int_equal(c->routes[0].escape, CONF_ESCAPE_NONE);
	assert_int_equal(c->routes[0].drift, CONF_DRIFT_REPAIR);
	conf_free(c);
}

#define HEAD "routes:\n- name: a\n  source: sqlite:a\n  target: sqlite:b\n"

/* A text, the line that the message must name, and what it must say. */
static const struct {
	const char *text;
	unsigned line;
	const char *says;
} bad[] = {
    {"", 1, "empty"},
    {"# nothing\n", 1, "empty"},
    {"- a\n", 1, "at the top"},
    {"routes\n", 1, "at the top"},
    {"state: x\n", 1, "'routes' is missing"},
    {"routes: []\n", 1, "at least one"},
    {"\nroutes: 3\n", 2, "must be a list"},
    {"routes:\n- a\n", 2, "must be settings"},
    {HEAD "  conflit: stop\n", 5, "unknown setting 'conflit', a route takes"},
    {HEAD "  conflit: stop\n", 5, "max_delete"},
    {HEAD "  state: x\n", 5, "unknown setting 'state', a route takes"},
    {HEAD "statte: x\n", 5, "unknown setting 'statte', the top takes: state"},
    {HEAD "log:\n  colour: x\n", 6, "log takes: level, format"},
    {HEAD "log: info\n", 5, "'log' must be settings"},
    {HEAD "log:\n  level: loud\n", 6, "debug, info, warn, error"},
    {HEAD "log:\n  format: xml\n", 6, "text, json"},
    {HEAD "state: [a]\n", 5, "'state' must be a single value"},
    {HEAD "state: ''\n", 5, "'state' is empty"},
    {"routes:\n- name: a\n  source: sqlite:a\n", 2, "'target' is missing"},
    {"routes:\n- source: sqlite:a\n  target: sqlite:b\n", 2,
     "'name' is missing"},
    {HEAD "  source: sqlite:c\n", 5, "'source' is given twice"},
    {HEAD "  conflict: whatever\n", 5,
     "conflict: 'whatever', expected one of source-wins, target-wins, stop"},
    {HEAD "\n\n  delete: no\n", 7, "owned, never, all"},
    {HEAD "  escape: yes\n", 5, "none, percent"},
    {HEAD "  drift: fix\n", 5, "repair, keep"},
    {HEAD "  max_delete: many\n", 5, "number of keys"},
    {HEAD "  max_delete: -1\n", 5, "number of keys"},
    {HEAD "  max_delete: 101%\n", 5, "number of keys"},
    {HEAD "  max_delete: '%'\n", 5, "number of keys"},
    {HEAD "  max_delete: 99999999999999999999\n", 5, "number of keys"},
    {HEAD "  include: /a\n", 5, "'include' must be a list"},
    {HEAD "  include: [[/a]]\n", 5, "must be a single value"},
    {HEAD "  include:\n  - /a\n  - b\n", 7, "glob 'b'"},
    {HEAD "  exclude:\n  - /[a\n", 6, "not closed"},
    {HEAD "  conflict:\n", 5, "conflict: ''"},
    {"routes:\n- name: a\n  source: here\n  target: sqlite:b\n", 3,
     "expected a URI"},
    {"routes:\n- name: a\n  source: sqlite:a\n  target: ''\n", 4,
     "expected a URI"},
    {"routes:\n- name: ''\n  source: sqlite:a\n  target: sqlite:b\n", 2,
     "must not be empty"},
    {"routes:\n- name: \"a\\tb\"\n  source: sqlite:a\n  target: sqlite:b\n", 2,
     "control"},
    {HEAD "- name: a\n  source: sqlite:c\n  target: sqlite:d\n", 5,
     "second route named 'a'"},
    {HEAD "---\nroutes: []\n", 6, "second document"},
    {HEAD "\tx: 3\n", 5, "tab"},
    {HEAD "state: \"a\n", 6, "quoted"},
    {HEAD "state: \"a\\0b\"\n", 5, "NUL"},
    {HEAD "? [a]\n: b\n", 5, "name of a setting"},
    {HEAD "state: *nowhere\n", 5, "alias"},
    {HEAD "state: \xff\xfe\n", 5, "not YAML"},
};

static void test_bad(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < KV_COUNT(bad); i++) {
		struct conf *c = NULL;
		struct kv_err err = {0};
		char want[96];
		int status = load(bad[i].text, &c, &err);

		if (status != KV_BAD_ARGUMENT) {
			fail_msg("row %zu: status %d %s", i, status, err.text);
		}
		assert_null(c);
		(void)snprintf(want, sizeof(want), "%s:%u: ", path,
			       bad[i].line);
		if (strncmp(err.text, want, strlen(want)) != 0 ||
		    strstr(err.text, bad[i].says) == NULL) {
			fail_msg("row %zu: %s (line %u, %s)", i, err.text,
				 bad[i].line, bad[i].says);
		}
		assert_null(strchr(err.text, '\n'));
	}
}

static void test_alias(void **state)
{
	struct conf *c;

	(void)state;
	assert_int_equal(
	    load("routes:\n"
		 "- {name: a, source: &s 'sqlite:s', target: 'sqlite:a',\n"
		 "   exclude: &e [/tmp]}\n"
		 "- {name: b, source: *s, target: 'sqlite:b', exclude: *e}\n",
		 &c, NULL),
	    KV_OK);
	assert_string_equal(c->routes[1].source, "sqlite:s");
	assert_string_equal(c->routes[1].exclude[0], "/tmp");
	conf_free(c);
}

static void test_nul_byte(void **state)
{
	static const char text[] = HEAD "state: a\0b\n";
	struct conf *c;

	(void)state;
	write_text(text, sizeof(text) - 1);
	assert_int_equal(conf_load(path, &c, NULL), KV_BAD_ARGUMENT);
}

static void test_file(void **state)
{
	struct conf *c;
	struct kv_err err;

	(void)state;
	assert_int_equal(conf_load("/nonexistent/x.yaml", &c, &err),
			 KV_KEY_NOT_FOUND);
	assert_non_null(strstr(err.text, "/nonexistent/x.yaml"));
	assert_int_equal(conf_load("/tmp", &c, &err), KV_BROKEN);
	if (geteuid() != 0) {
		assert_int_equal(chmod(path, 0), 0);
		assert_int_equal(conf_load(path, &c, &err), KV_DENIED);
		assert_int_equal(chmod(path, 0600), 0);
	}
}

static void test_set(void **state)
{
	struct conf_route r;
	struct kv_err err;

	(void)state;
	conf_route_init(&r);
	assert_int_equal(conf_route_set(&r, "max-delete", "100%", NULL), KV_OK);
	assert_int_equal(r.max_delete.n, 100);
	assert_int_equal(conf_route_set(&r, "max_delete", "0", NULL), KV_OK);
	assert_int_equal(r.max_delete.kind, CONF_FUSE_COUNT);
	assert_int_equal(conf_route_set(&r, "max", "0", &err), KV_BAD_ARGUMENT);
	assert_int_equal(conf_route_set(&r, "max-deletes", "0", &err),
			 KV_BAD_ARGUMENT);
	assert_int_equal(conf_route_set(&r, "include", "/a", NULL), KV_OK);
	assert_int_equal(conf_route_set(&r, "include", "/b", NULL), KV_OK);
	assert_int_equal(r.n_include, 2);
	assert_int_equal(conf_route_set(&r, "conflict", "newest", NULL), KV_OK);
	assert_string_equal(conf_conflict_name(r.conflict), "newest");
	assert_int_equal(conf_route_set(&r, "conflict", "x", &err),
			 KV_BAD_ARGUMENT);
	/* what was refused changes nothing */
	assert_int_equal(r.conflict, CONF_NEWEST);
	assert_string_equal(conf_delete_name(CONF_DELETE_ALL), "all");
	assert_string_equal(conf_escape_name(CONF_ESCAPE_PERCENT), "percent");
	assert_string_equal(conf_drift_name(CONF_DRIFT_KEEP), "keep");
	conf_route_clear(&r);
	conf_route_clear(&r);
}

static void test_eq(void **state)
{
	static const struct {
		const char *name, *text;
	} one[] = {
	    {"name", "b"},	    {"source", "sqlite:x"},
	    {"target", "sqlite:y"}, {"conflict", "stop"},
	    {"delete", "all"},	    {"max-delete", "7"},
	    {"escape", "percent"},  {"drift", "keep"},
	    {"include", "/a"},	    {"exclude", "/a"},
	};
	struct conf_route a, b;
	size_t i;

	(void)state;
	for (i = 0; i < KV_COUNT(one); i++) {
		conf_route_init(&a);
		conf_route_init(&b);
		assert_int_equal(conf_route_set(&a, "name", "a", NULL), KV_OK);
		assert_int_equal(conf_route_set(&b, "name", "a", NULL), KV_OK);
		b.line = 7; /* where it stands means nothing */
		assert_true(conf_route_eq(&a, &b));
		assert_int_equal(
		    conf_route_set(&b, one[i].name, one[i].text, NULL), KV_OK);
		assert_false(conf_route_eq(&a, &b));
		assert_false(conf_route_eq(&b, &a));
		conf_route_clear(&a);
		conf_route_clear(&b);
	}
}

/* ---- allocation sweep --------------------------------------------------- */

struct failing {
	size_t left; /* allocations until one fails */
	bool failed;
	size_t live;
};

static void *failing_realloc(void *ctx, void *ptr, size_t size)
{
	struct failing *f = ctx;

	if (f->left == 0) {
		f->failed = true;
		return NULL;
	}
	f->left--;
	f->live += ptr == NULL ? 1 : 0;
	return realloc(ptr, size);
}

static void failing_free(void *ctx, void *ptr)
{
	struct failing *f = ctx;

	f->live -= ptr == NULL ? 0 : 1;
	free(ptr);
}

static void sweep(const char *text, int want)
{
	size_t n;

	write_text(text, strlen(text));
	for (n = 0;; n++) {
		struct failing f = {.left = n};
		struct kv_mem_hooks hooks = {.realloc = failing_realloc,
					     .free = failing_free,
					     .ctx = &f};
		struct conf *c = NULL;
		struct kv_err err = {0};
		int status;

		kv_mem_set_hooks(&hooks);
		status = conf_load(path, &c, &err);
		conf_free(c);
		kv_mem_set_hooks(NULL);
		assert_int_equal(f.live, 0);
		if (!f.failed) {
			assert_int_equal(status, want);
			break;
		}
		if (status != KV_NO_MEMORY) {
			fail_msg("allocation %zu: %s", n, err.text);
		}
		assert_true(n < 10000);
	}
	assert_true(n > 5);
}

static void test_memory(void **state)
{
	(void)state;
	sweep(HEAD "  include: [/a, /b]\n  max_delete: 5\n"
		   "state: x\nlog: {level: info}\n",
	      KV_OK);
	sweep(HEAD "  include: [/a, b]\n", KV_BAD_ARGUMENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_all, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_alias, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nul_byte, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_file, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
	    cmocka_unit_test(test_set),
	    cmocka_unit_test(test_eq),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
