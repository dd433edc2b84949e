/* test_log.c: one line an event, logfmt or JSON, whatever the bytes are. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/base/log.h"

struct sink {
	char text[16384];
	size_t n;
	unsigned lines;
};

static void catch_line(void *ctx, const char *line, size_t n)
{
	struct sink *k = ctx;

	assert_true(n < sizeof k->text);
	memcpy(k->text, line, n);
	k->text[n] = '\0';
	k->n = n;
	k->lines++;
}

static int setup(void **state)
{
	static struct sink sink;

	memset(&sink, 0, sizeof sink);
	log_set_sink(catch_line, &sink);
	log_set_level(LOG_LEVEL_INFO);
	*state = &sink;
	return 0;
}

static int teardown(void **state KV_UNUSED)
{
	log_set_sink(NULL, NULL);
	return 0;
}

/* Behind the time, which differs. */
static const char *tail(const struct sink *k)
{
	return strstr(k->text, "level");
}

static void text_lines(void **state)
{
	struct sink *k = *state;

	log_set_format(LOG_FORMAT_TEXT);
	LOG_INFO("seed finished", LOG_S("route", "a"), LOG_U("keys", 3),
		 LOG_I("delta", -4), LOG_S("why", "two words"),
		 LOG_S("none", NULL), LOG_S("empty", ""));
	assert_string_equal(tail(k),
			    "level=info msg=\"seed finished\" route=a keys=3 "
			    "delta=-4 why=\"two words\" none=- empty=\"\"\n");
	assert_int_equal(strncmp(k->text, "time=2", 6), 0);
	assert_int_equal(k->text[5 + 23], 'Z');
	LOG_WARN("plain");
	assert_string_equal(tail(k), "level=warn msg=\"plain\"\n");
	LOG_ERROR("a\"b\\c\n\x1b\xc2\x9b\xff",
		  LOG_S("k", "a=b\xc3\xa9\xe2\x82\xac"));
	assert_string_equal(tail(k),
			    "level=error msg=\"a\\\"b\\\\c\\n\\x1b\\xc2\\x9b"
			    "\\xff\" k=\"a=b\xc3\xa9\xe2\x82\xac\"\n");
	LOG_INFO("key", LOG_B("key", slice_of("/a\0%\xff", 5)));
	assert_string_equal(tail(k),
			    "level=info msg=\"key\" key=/a%00%25%FF\n");
}

static void levels(void **state)
{
	struct sink *k = *state;

	log_set_format(LOG_FORMAT_TEXT);
	LOG_DEBUG("no");
	assert_int_equal(k->lines, 0);
	log_set_level(LOG_LEVEL_DEBUG);
	LOG_DEBUG("yes");
	assert_int_equal(k->lines, 1);
	log_set_level(LOG_LEVEL_ERROR);
	LOG_WARN("no");
	assert_int_equal(k->lines, 1);
}

/* The line as JSON; fails when it is none. */
static json_t *parse(const struct sink *k)
{
	json_error_t error;
	json_t *json =
	    json_loadb(k->text, k->n, JSON_REJECT_DUPLICATES, &error);

	if (json == NULL) {
		fail_msg("%s: %s", error.text, k->text);
	}
	assert_int_equal(k->text[k->n - 1], '\n');
	assert_ptr_equal(memchr(k->text, '\n', k->n), k->text + k->n - 1);
	return json;
}

static void json_lines(void **state)
{
	struct sink *k = *state;
	json_t *json;

	log_set_format(LOG_FORMAT_JSON);
	LOG_INFO("a \"b\"\n\x01", LOG_S("route", "r\xc3\xa9\xff"),
		 LOG_U("keys", UINT64_MAX / 2), LOG_I("delta", INT64_MIN),
		 LOG_S("none", NULL), LOG_B("key", slice_of("/\0\x80", 3)));
	json = parse(k);
	assert_string_equal(json_string_value(json_object_get(json, "level")),
			    "info");
	assert_string_equal(json_string_value(json_object_get(json, "msg")),
			    "a \"b\"\n\x01");
	assert_string_equal(json_string_value(json_object_get(json, "route")),
			    "r\xc3\xa9%FF");
	assert_string_equal(json_string_value(json_object_get(json, "key")),
			    "/%00%80");
	assert_int_equal(json_integer_value(json_object_get(json, "delta")),
			 INT64_MIN);
	assert_true(json_is_null(json_object_get(json, "none")));
	json_decref(json);
}

static void json_for_any_bytes(void **state)
{
	struct sink *k = *state;
	uint64_t x = 88172645463325252u; /* xorshift: the same every time */
	char text[600];
	size_t i, n;
	int round;

	log_set_format(LOG_FORMAT_JSON);
	for (round = 0; round < 2000; round++) {
		n = (size_t)round % (sizeof text - 1);
		for (i = 0; i < n; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			text[i] = (char)(x & 1 ? x >> 8 : (x >> 8 & 31) | 192);
			text[i] = (char)(text[i] == 0 ? 1 : text[i]);
		}
		text[n] = '\0';
		LOG_INFO(text, LOG_S("s", text), LOG_B("b", slice_str(text)));
		json_decref(parse(k));
	}
}

static void long_lines_are_cut(void **state)
{
	struct sink *k = *state;
	struct log_field fields[60];
	char names[60][8];
	char text[3000];
	json_t *json;
	size_t i;

	memset(text, '\x01', sizeof text);
	text[sizeof text - 1] = '\0';
	for (i = 0; i < 60; i++) {
		(void)snprintf(names[i], sizeof names[i], "f%zu", i);
		fields[i] = LOG_S(names[i], i % 2 == 0 ? text : "short");
	}
	log_set_format(LOG_FORMAT_JSON);
	log_line(LOG_LEVEL_INFO, text, fields, 60);
	json = parse(k);
	assert_true(json_is_true(json_object_get(json, "truncated")));
	assert_string_equal(json_string_value(json_object_get(json, "f1")),
			    "short");
	json_decref(json);
	assert_true(k->n <= 8192);
	log_set_format(LOG_FORMAT_TEXT);
	log_line(LOG_LEVEL_INFO, text, fields, 60);
	assert_non_null(strstr(k->text, " truncated=true\n"));
	assert_true(k->n <= 8192);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(text_lines),	   T(levels),
	    T(json_lines),	   T(json_for_any_bytes),
	    T(long_lines_are_cut),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
