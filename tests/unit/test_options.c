/* test_options.c: rows, values, env: and file:, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/base/options.h"
#include "tests/lib/sweep.h"

static const struct option_row rows[] = {
    {.name = "name", .type = OPTION_STR, .initial = "anna"},
    {.name = "none", .type = OPTION_STR},
    {.name = "size", .type = OPTION_UINT, .initial = "7"},
    {.name = "on", .type = OPTION_BOOL, .initial = "yes"},
    {.name = "way", .type = OPTION_ENUM, .choices = "auto|general|fast"},
    {.name = "password", .type = OPTION_STR, .secret = true},
    {.name = NULL},
};

static struct option_value value(const char *name, const char *text)
{
	struct option_value v = {(char *)(uintptr_t)name,
				 (char *)(uintptr_t)text};

	return v;
}

/* The status of checking name=text alone. */
static int check(const char *name, const char *text, struct kv_err *err)
{
	struct option_value v = value(name, text);

	return options_check(rows, &v, 1, err);
}

static void defaults(void **state KV_UNUSED)
{
	struct kv_err err = {0};
	uint64_t u;
	char *text;
	bool on;

	assert_int_equal(option_text(rows, NULL, 0, "name", &text, &err), 0);
	assert_string_equal(text, "anna");
	kv_free(text);
	assert_int_equal(option_text(rows, NULL, 0, "none", &text, &err), 0);
	assert_null(text);
	assert_int_equal(option_uint(rows, NULL, 0, "size", &u, &err), 0);
	assert_int_equal(u, 7);
	assert_int_equal(option_bool(rows, NULL, 0, "on", &on, &err), 0);
	assert_true(on);
}

static void given_values(void **state KV_UNUSED)
{
	struct option_value given[] = {value("name", "otto"),
				       value("size", "18446744073709551615"),
				       value("on", "0"), value("way", "fast")};
	struct kv_err err = {0};
	uint64_t u;
	char *text;
	bool on;

	assert_int_equal(options_check(rows, given, 4, &err), KV_OK);
	assert_int_equal(option_text(rows, given, 4, "name", &text, &err), 0);
	assert_string_equal(text, "otto");
	kv_free(text);
	assert_int_equal(option_uint(rows, given, 4, "size", &u, &err), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(option_bool(rows, given, 4, "on", &on, &err), 0);
	assert_false(on);
}

static void wrong_values(void **state KV_UNUSED)
{
	struct option_value twice[] = {value("name", "a"), value("name", "b")};
	struct option_value v = value("size", "x");
	struct kv_err err = {0};
	uint64_t u = 1;
	bool on = true;

	assert_int_equal(check("size", "18446744073709551616", &err),
			 KV_BAD_ARGUMENT);
	assert_int_equal(check("size", "-1", &err), KV_BAD_ARGUMENT);
	assert_int_equal(check("size", "", &err), KV_BAD_ARGUMENT);
	assert_int_equal(check("on", "maybe", &err), KV_BAD_ARGUMENT);
	assert_int_equal(check("way", "gen", &err), KV_BAD_ARGUMENT);
	assert_int_equal(check("way", "auto|general", &err), KV_BAD_ARGUMENT);
	assert_int_equal(check("way", "", &err), KV_BAD_ARGUMENT);
	assert_int_equal(check("way", "slow", &err), KV_BAD_ARGUMENT);
	assert_string_equal(err.text, "option way: 'slow' is not valid, "
				      "expected auto|general|fast");
	assert_int_equal(check("other", "1", &err), KV_BAD_ARGUMENT);
	assert_non_null(strstr(err.text, "name, none, size"));
	assert_int_equal(options_check(rows, twice, 2, &err), KV_BAD_ARGUMENT);
	assert_string_equal(err.text, "option name is given twice");
	assert_int_equal(option_uint(rows, &v, 1, "size", &u, &err),
			 KV_BAD_ARGUMENT);
	v = value("on", "x");
	assert_int_equal(option_bool(rows, &v, 1, "on", &on, &err),
			 KV_BAD_ARGUMENT);
}

static void secrets_stand_elsewhere(void **state KV_UNUSED)
{
	struct kv_err err = {0};

	assert_int_equal(check("password", "hunter2", &err), KV_BAD_ARGUMENT);
	assert_null(strstr(err.text, "hunter2"));
	assert_int_equal(setenv("KV_TEST_SECRET", "hunter2", 1), 0);
	assert_int_equal(check("password", "env:KV_TEST_SECRET", &err), KV_OK);
	assert_int_equal(unsetenv("KV_TEST_SECRET"), 0);
	assert_int_equal(check("password", "env:KV_TEST_SECRET", &err),
			 KV_BAD_ARGUMENT);
	assert_non_null(strstr(err.text, "KV_TEST_SECRET"));
}

/* A file with these bytes; its name in path. */
static void write_file(char *path, const char *bytes, size_t n)
{
	int fd;

	strcpy(path, "/tmp/kv-options-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	assert_int_equal(close(fd), 0);
}

static int text_of_file(const char *bytes, size_t n, char **text)
{
	char path[64], ref[80] = "";
	struct option_value v = value("password", ref);
	struct kv_err err = {0};
	int rv;

	write_file(path, bytes, n);
	(void)snprintf(ref, sizeof ref, "file:%s", path);
	rv = option_text(rows, &v, 1, "password", text, &err);
	assert_int_equal(unlink(path), 0);
	return rv;
}

static void files(void **state KV_UNUSED)
{
	static const char big[70000];
	struct kv_err err = {0};
	char *text;

	assert_int_equal(text_of_file("abc\n", 4, &text), KV_OK);
	assert_string_equal(text, "abc");
	kv_free(text);
	assert_int_equal(text_of_file("a\n\n", 3, &text), KV_OK);
	assert_string_equal(text, "a\n"); /* one newline only */
	kv_free(text);
	assert_int_equal(text_of_file("", 0, &text), KV_OK);
	assert_string_equal(text, "");
	kv_free(text);
	assert_int_equal(text_of_file("a\0b", 3, &text), KV_BAD_ARGUMENT);
	assert_int_equal(text_of_file(big, sizeof big, &text), KV_BAD_ARGUMENT);
	assert_int_equal(check("password", "file:/none/such", &err),
			 KV_BAD_ARGUMENT);
	assert_non_null(strstr(err.text, "/none/such"));
	assert_int_equal(check("password", "file:/tmp", &err), KV_BAD_ARGUMENT);
}

static int use_all(void *ctx)
{
	char *ref = ctx;
	struct option_value given[] = {value("password", ref),
				       value("size", "5")};
	struct kv_err err = {0};
	uint64_t u;
	char *text;
	int rv;

	rv = options_check(rows, given, 2, &err);
	if (rv == KV_OK) {
		rv = option_uint(rows, given, 2, "size", &u, &err);
	}
	if (rv == KV_OK) {
		rv = option_text(rows, given, 2, "password", &text, &err);
	}
	if (rv == KV_OK) {
		kv_free(text);
	}
	return rv;
}

static void out_of_memory(void **state KV_UNUSED)
{
	char path[64], ref[80] = "";

	write_file(path, "secret\n", 7);
	(void)snprintf(ref, sizeof ref, "file:%s", path);
	assert_int_equal(sweep_run(use_all, ref), 4);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults),
	    cmocka_unit_test(given_values),
	    cmocka_unit_test(wrong_values),
	    cmocka_unit_test(secrets_stand_elsewhere),
	    cmocka_unit_test(files),
	    cmocka_unit_test(out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
