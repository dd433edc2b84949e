/* test_cli.c: what the command line takes, what it refuses with exit code 2,
 * how results are printed, and where state files go by default. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/cli.h"
#include "agent/out.h"
#include "agent/progress.h"
#include "agent/state_path.h"

#define WORDS_MAX 40

/* Parses a line of words, cut at blanks. */
static int parse(const char *line, struct cli_args *out, struct kv_err *err,
		 char *copy)
{
	char *words[WORDS_MAX + 1] = {"kvmirror"};
	int n = 1;
	char *word, *rest;

	*err = (struct kv_err){0};
	(void)strcpy(copy, line);
	for (word = strtok_r(copy, " ", &rest); word != NULL;
	     word = strtok_r(NULL, " ", &rest)) {
		assert_true(n < WORDS_MAX);
		words[n++] = word;
	}
	return cli_parse(n, words, out, err);
}

static void test_sync(void **state)
{
	struct cli_args a;
	struct kv_err err;
	char copy[512];

	(void)state;
	assert_int_equal(parse("sync sqlite:a --conflict stop sqlite:b "
			       "--max-delete=5% --include /a/** --include /b "
			       "--exclude=**/x --delete never --escape percent "
			       "--drift keep --state s.db -f --json -q "
			       "--timeout 2.5",
			       &a, &err, copy),
			 KV_OK);
	assert_string_equal(a.command->name, "sync");
	assert_int_equal(a.n_args, 2);
	assert_string_equal(a.args[0], "sqlite:a");
	assert_string_equal(a.args[1], "sqlite:b");
	assert_int_equal(a.route.conflict, CONF_STOP);
	assert_int_equal(a.route.max_delete.kind, CONF_FUSE_PERCENT);
	assert_int_equal(a.route.n_include, 2);
	assert_int_equal(a.route.n_exclude, 1);
	assert_int_equal(a.route.delete_policy, CONF_DELETE_NEVER);
	assert_int_equal(a.route.escape, CONF_ESCAPE_PERCENT);
	assert_int_equal(a.route.drift, CONF_DRIFT_KEEP);
	assert_string_equal(a.state, "s.db");
	assert_true(a.follow && a.json && a.quiet && a.route_given);
	assert_false(a.dry_run);
	assert_int_equal(a.timeout_ms, 2500);
	cli_args_clear(&a);
}

static void test_others(void **state)
{
	struct cli_args a;
	struct kv_err err;
	char copy[512];

	(void)state;
	assert_int_equal(parse("run -c f.yaml --state x", &a, &err, copy),
			 KV_OK);
	assert_string_equal(a.conf, "f.yaml");
	cli_args_clear(&a);
	assert_int_equal(
	    parse("diff -cf.yaml app --owned --repair", &a, &err, copy), KV_OK);
	assert_string_equal(a.conf, "f.yaml");
	assert_string_equal(a.args[0], "app");
	assert_true(a.owned && a.repair);
	assert_int_equal(a.timeout_ms, 30000);
	cli_args_clear(&a);
	assert_int_equal(parse("store put sqlite:a /k -- -v", &a, &err, copy),
			 KV_OK);
	assert_int_equal(a.n_args, 4);
	assert_string_equal(a.args[3], "-v");
	cli_args_clear(&a);
	assert_int_equal(parse("store put sqlite:a /k -", &a, &err, copy),
			 KV_OK);
	assert_string_equal(a.args[3], "-");
	cli_args_clear(&a);
	assert_int_equal(
	    parse("store watch sqlite:a --index 7 --count 3", &a, &err, copy),
	    KV_OK);
	assert_int_equal(a.index, 7);
	assert_int_equal(a.count, 3);
	cli_args_clear(&a);
	assert_int_equal(parse("status --list foreign", &a, &err, copy), KV_OK);
	assert_int_equal(a.n_args, 0);
	assert_string_equal(a.list, "foreign");
	cli_args_clear(&a);
	/* help needs no arguments */
	assert_int_equal(parse("sync --help", &a, &err, copy), KV_OK);
	assert_true(a.help);
	cli_args_clear(&a);
}

static const struct {
	const char *line, *says;
} bad[] = {
    {"frobnicate", "unknown command 'frobnicate'"},
    {"sync", "arguments are missing"},
    {"sync sqlite:a", "arguments are missing"},
    {"sync a b c", "too many arguments"},
    {"sync a b --frob", "unknown option --frob"},
    {"sync a b --frob=3", "unknown option --frob=3"},
    {"sync a b -z", "unknown option -z"},
    {"sync a b --state", "--state needs a value"},
    {"sync a b --follow=yes", "takes no value"},
    {"sync a b --conflict maybe", "--conflict: 'maybe', expected one of"},
    {"sync a b --max-delete x", "--max-delete: 'x', expected a number"},
    {"sync a b --include x", "glob 'x'"},
    {"sync a b --exclude /[", "not closed"},
    {"sync a b --timeout soon", "--timeout: 'soon', expected seconds"},
    {"sync a b --timeout 0", "expected seconds"},
    {"sync a b --timeout -1", "expected seconds"},
    {"sync a b --timeout 1e9", "expected seconds"},
    {"sync a b --timeout 99999999999", "expected seconds"},
    {"sync a b -c f", "unknown option -c"},
    {"sync a b --owned", "unknown option --owned"},
    {"run -c", "-c needs a value"},
    {"run -c f extra", "too many arguments"},
    {"run -c f --conflict stop", "unknown option"},
    {"check -c f x", "too many arguments"},
    {"store get", "arguments are missing"},
    {"store a b c d e", "too many arguments"},
    {"store watch u --index many", "--index: 'many', expected a number"},
    {"store watch u --index -1", "expected a number"},
    {"store watch u --index 99999999999999999999", "expected a number"},
    {"backends x", "too many arguments"},
    {"version x", "too many arguments"},
    {"status a b c", "too many arguments"},
    {"status --list", "--list needs a value"},
};

static void test_bad(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < KV_COUNT(bad); i++) {
		struct cli_args a;
		struct kv_err err;
		char copy[512];
		int status = parse(bad[i].line, &a, &err, copy);

		cli_args_clear(&a);
		if (status != KV_BAD_ARGUMENT ||
		    strstr(err.text, bad[i].says) == NULL) {
			fail_msg("'%s': %d %s", bad[i].line, status, err.text);
		}
		assert_non_null(strstr(err.text, "--help"));
		assert_int_equal(cli_exit_code(status), CLI_USAGE);
	}
}

static void test_exit_codes(void **state)
{
	(void)state;
	assert_int_equal(cli_exit_code(KV_OK), 0);
	assert_int_equal(cli_exit_code(KV_BAD_ARGUMENT), 2);
	assert_int_equal(cli_exit_code(KV_BACKEND_NOT_SUPPORTED), 2);
	assert_int_equal(cli_exit_code(KV_DENIED), 3);
	assert_int_equal(cli_exit_code(KV_CANNOT_LOCK), 3);
	assert_int_equal(cli_exit_code(KV_NO_SPACE), 3);
	assert_int_equal(cli_exit_code(KV_BROKEN), 3);
}

/* ---- results
 * ----------------------------------------------------------------*/

/* What was written to the out, as text; frees it. */
static void check_text(struct out *o, char **buf, const char *want)
{
	out_flush(o);
	assert_true(out_ok(o));
	assert_string_equal(*buf, want);
	rewind(o->f);
}

static void test_out(void **state)
{
	struct out o = {0};
	char *buf = NULL, many[3 * 700 + 1];
	uint8_t bytes[700];
	size_t size = 0, i;
	json_t *object;

	(void)state;
	o.f = open_memstream(&buf, &size);
	assert_non_null(o.f);
	out_key(&o, slice_of("/a b\n%\xff", 7));
	out_text(&o, "|");
	check_text(&o, &buf, "/a b%0A%25%FF|");
	fclose(o.f);
	free(buf);

	/* long keys are not cut */
	o.f = open_memstream(&buf, &size);
	memset(bytes, 0xff, sizeof(bytes));
	for (i = 0; i < sizeof(bytes); i++) {
		memcpy(many + 3 * i, "%FF", 4);
	}
	out_key(&o, slice_of(bytes, sizeof(bytes)));
	check_text(&o, &buf, many);
	fclose(o.f);
	free(buf);

	o.f = open_memstream(&buf, &size);
	object = out_json_object(&o);
	out_json_key(&o, object, "key", slice_of("/\0\xc3\xa9", 4));
	out_json_key(&o, object, "other", slice_of("/\xff", 2));
	out_json_uint(&o, object, "n", 9007199254740993u);
	out_json_text(&o, object, "none", NULL);
	out_json_text(&o, object, "odd", "x\xff");
	out_json_base64(&o, object, "e", slice_of(NULL, 0));
	out_json_base64(&o, object, "f", slice_str("f"));
	out_json_base64(&o, object, "fo", slice_str("fo"));
	out_json_base64(&o, object, "foo", slice_str("foo"));
	out_json_base64(&o, object, "b", slice_of("\xff\xfe\xfd\xfc", 4));
	out_json(&o, object);
	check_text(&o, &buf,
		   "{\"key\":\"/\\u0000\xc3\xa9\",\"other_b64\":\"L/8=\","
		   "\"n\":9007199254740993,\"none\":null,\"odd\":\"x%FF\","
		   "\"e\":\"\",\"f\":\"Zg==\",\"fo\":\"Zm8=\","
		   "\"foo\":\"Zm9v\",\"b\":\"//79/A==\"}\n");
	fclose(o.f);
	free(buf);
}

static void test_out_full(void **state)
{
	struct out o = {0};

	(void)state;
	o.f = fopen("/dev/full", "w");
	assert_non_null(o.f);
	out_text(&o, "x");
	assert_int_equal(out_finish(&o, CLI_OK), CLI_FAILED);
	assert_false(out_ok(&o));
	fclose(o.f);
}

/* ---- progress
 * ---------------------------------------------------------------*/

static void test_progress(void **state)
{
	char buf[128];
	struct progress_sample s = {
	    .what = "seeding", .keys = 1500, .bytes = 3 * 1024 * 1024 / 2};

	(void)state;
	progress_format(&s, 250.4, buf, sizeof(buf));
	assert_string_equal(buf, "seeding: 1500 keys, 250 keys/s, 1.5 MiB");
	s.total = 10000;
	progress_format(&s, 100, buf, sizeof(buf));
	assert_string_equal(buf, "seeding: 1500 of about 10000 keys, 100 "
				 "keys/s, 1.5 MiB, 1m25s left");
	progress_format(&s, 1, buf, sizeof(buf));
	assert_non_null(strstr(buf, ", 2h21m left"));
	/* no rate: no time left */
	progress_format(&s, 0, buf, sizeof(buf));
	assert_null(strstr(buf, "left"));
	/* more than were known: nothing is promised */
	s.keys = 20000;
	progress_format(&s, 100, buf, sizeof(buf));
	assert_null(strstr(buf, "left"));
	assert_null(strstr(buf, "about"));
}

/* ---- where state files go
 * ------------------------------------------------------*/

static char *path_of(const char *source, const char *target)
{
	char *path = NULL;

	assert_int_equal(state_path_of_pair(source, target, &path, NULL),
			 KV_OK);
	return path;
}

static void assert_same_path(const char *s1, const char *t1, const char *s2,
			     const char *t2, bool same)
{
	char *a = path_of(s1, t1), *b = path_of(s2, t2);

	assert_int_equal(strcmp(a, b) == 0, same);
	kv_free(a);
	kv_free(b);
}

static void test_state_path(void **state)
{
	char cwd[4000], uri[4100];
	struct kv_err err;
	char *path;

	(void)state;
	assert_int_equal(setenv("XDG_STATE_HOME", "/x/y", 1), 0);
	path = path_of("etcd://a:1/p", "sqlite:/tmp/b.db");
	assert_int_equal(strncmp(path, "/x/y/kvmirror/", 14), 0);
	kv_free(path);
	assert_same_path("etcd://a:1/p", "sqlite:/tmp/b.db", "etcd://a:1/p",
			 "sqlite:/tmp/b.db", true);
	assert_same_path("etcd://a:1/p", "sqlite:/tmp/b.db", "etcd://a:1/q",
			 "sqlite:/tmp/b.db", false);
	assert_same_path("etcd://a:1/p", "etcd://b:1", "etcd://b:1",
			 "etcd://a:1/p", false);
	assert_same_path("sqlite:/tmp/a", "sqlite:/tmp/b?prefix=/x",
			 "sqlite:/tmp/a", "sqlite:/tmp/b", false);
	/* one file, named in different ways */
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	(void)snprintf(uri, sizeof(uri), "sqlite:%s/a.db", cwd);
	assert_same_path("sqlite:a.db", "etcd://b:1", uri, "etcd://b:1", true);
	assert_same_path("sqlite:./a.db", "etcd://b:1", uri, "etcd://b:1",
			 true);
	/* a relative one does not count */
	assert_int_equal(setenv("XDG_STATE_HOME", "x", 1), 0);
	assert_int_equal(setenv("HOME", "/home/me", 1), 0);
	path = path_of("etcd://a:1/p", "sqlite:/tmp/b.db");
	assert_int_equal(strncmp(path, "/home/me/.local/state/kvmirror/", 31),
			 0);
	kv_free(path);
	assert_int_equal(unsetenv("HOME"), 0);
	assert_int_equal(
	    state_path_of_pair("etcd://a", "etcd://b", &path, &err),
	    KV_BAD_ARGUMENT);
	assert_non_null(strstr(err.text, "--state"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sync),     cmocka_unit_test(test_others),
	    cmocka_unit_test(test_bad),	     cmocka_unit_test(test_exit_codes),
	    cmocka_unit_test(test_out),	     cmocka_unit_test(test_out_full),
	    cmocka_unit_test(test_progress), cmocka_unit_test(test_state_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
