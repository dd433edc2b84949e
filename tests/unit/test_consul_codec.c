/* test_consul_codec.c: what Consul's requests and answers are made of: base64,
 * JSON, transactions, lists of names; with answers that no server should give.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "store/consul/consul_names.h"
#include "store/consul/consul_txn.h"

static struct slice s(const char *text)
{
	return slice_str(text);
}

static void expect_text(const struct consul_buf *b, const char *want)
{
	assert_false(b->failed);
	assert_int_equal(b->n, strlen(want));
	assert_memory_equal(b->p, want, b->n);
}

/* ---- base64 --------------------------------------------------------------*/

static void base64_goes_there_and_back(void **state)
{
	struct arena a = {0};
	uint8_t bytes[300];

	(void)state;
	for (size_t i = 0; i < sizeof bytes; i++) {
		bytes[i] = (uint8_t)(i * 37);
	}
	for (size_t n = 0; n <= sizeof bytes; n++) {
		struct consul_buf b = {0};
		struct slice out;
		bool broken;

		buf_base64(&b, slice_of(bytes, n));
		assert_int_equal(b.n, (n + 2) / 3 * 4);
		assert_true(
		    base64_decode(&a, (const char *)b.p, b.n, &out, &broken));
		assert_true(slice_eq(out, slice_of(bytes, n)));
		buf_free(&b);
	}
	arena_free(&a);
}

static void no_base64_is_told(void **state)
{
	static const char *const bad[] = {
	    "A",
	    "AA",
	    "AAA",
	    "A===",
	    "====",
	    "=AAA",
	    "AA=A",
	    "AA A",
	    "AA-_",
	    "AAAA=",
	    "AA==AAAA",
	    "AA\nA",
	    "\xff\xff\xff\xff",
	};
	struct arena a = {0};

	(void)state;
	for (size_t i = 0; i < KV_COUNT(bad); i++) {
		struct slice out;
		bool broken = false;

		if (base64_decode(&a, bad[i], strlen(bad[i]), &out, &broken)) {
			fail_msg("%s is taken", bad[i]);
		}
		assert_true(broken);
	}
	arena_free(&a);
}

/* ---- requests ------------------------------------------------------------*/

static void names_are_escaped(void **state)
{
	struct consul_buf b = {0};

	(void)state;
	buf_json(&b, slice_of("a\"b\\c\0d\n/\xc3\xa9", 11));
	expect_text(&b, "a\\u0022b\\u005cc\\u0000d\\u000a/\xc3\xa9");
	b.n = 0;
	buf_url(&b, s("a/b c?d&e#f%g\xc3\xa9+"));
	expect_text(&b, "a/b%20c%3Fd%26e%23f%25g%C3%A9%2B");
	buf_free(&b);
}

static void a_transaction_is_written(void **state)
{
	struct consul_buf b = {0};

	(void)state;
	txn_begin(&b);
	txn_add(&b, &(struct txn_op){.verb = "cas",
				     .key = s("a/b"),
				     .has_value = true,
				     .value = s("x"),
				     .flags = UINT64_MAX,
				     .has_index = true});
	txn_add(&b, &(struct txn_op){.verb = "delete", .key = s("c")});
	txn_end(&b);
	expect_text(&b, "[{\"KV\":{\"Verb\":\"cas\",\"Key\":\"a/b\","
			"\"Value\":\"eA==\",\"Flags\":18446744073709551615,"
			"\"Index\":0}},"
			"{\"KV\":{\"Verb\":\"delete\",\"Key\":\"c\"}}]");
	buf_free(&b);
}

/* ---- answers -------------------------------------------------------------*/

static void an_answer_is_read(void **state)
{
	static const char body[] =
	    "{\"Results\":[{\"KV\":{\"LockIndex\":0,\"Key\":\"a\\u0000b\","
	    "\"Flags\":18446744073709551615,\"Value\":\"AAE=\","
	    "\"CreateIndex\":1,\"ModifyIndex\":12}},"
	    "{\"KV\":{\"Key\":\"\\\"Flags\\\":7\",\"Flags\":0,\"Value\":null,"
	    "\"ModifyIndex\":13}}],\"Errors\":null,\"Index\":0}";
	struct arena a = {0};
	struct txn_answer in;
	struct kv_err err = {0};

	(void)state;
	assert_int_equal(txn_parse(&a, s(body), &in, &err), KV_OK);
	assert_int_equal(in.n_entries, 2);
	assert_int_equal(in.n_errors, 0);
	assert_true(slice_eq(in.entries[0].key, slice_of("a\0b", 3)));
	assert_true(slice_eq(in.entries[0].value, slice_of("\0\1", 2)));
	assert_true(in.entries[0].flags == UINT64_MAX);
	assert_int_equal(in.entries[0].index, 12);
	assert_true(slice_eq(in.entries[1].key, s("\"Flags\":7")));
	assert_int_equal(in.entries[1].value.n, 0);
	assert_int_equal(in.entries[1].flags, 0);
	arena_free(&a);
}

static void errors_are_understood(void **state)
{
	static const struct {
		const char *text;
		enum txn_trouble trouble;
		uint64_t index;
	} cases[] = {
	    {"key \"a\" doesn't exist", TXN_MISSING, 0},
	    {"failed to check index, key \"a\" doesn't exist", TXN_MISSING, 0},
	    {"failed index check for key \"a\", current modify index 10 != 5",
	     TXN_OTHER, 10},
	    /* What stands in a name does not count. */
	    {"failed index check for key \", current modify index 9 != 1\", "
	     "current modify index 77 != 5",
	     TXN_OTHER, 77},
	    {"failed to set key \"a doesn't exist\", index is stale", TXN_OTHER,
	     0},
	    {"failed to delete key \"a\", index is stale", TXN_OTHER, 0},
	    {"Permission denied", TXN_DENIED, 0},
	    {"rpc error: Permission denied", TXN_DENIED, 0},
	    {"ACL not found", TXN_DENIED, 0},
	    {"failed index check for key \"a\", current modify index "
	     "99999999999999999999999 != 5",
	     TXN_OTHER, 0},
	    {"", TXN_STRANGE, 0},
	    {"unknown KV verb \"x\"", TXN_STRANGE, 0},
	};

	(void)state;
	for (size_t i = 0; i < KV_COUNT(cases); i++) {
		uint64_t index = 1;

		assert_int_equal(txn_trouble(s(cases[i].text), &index),
				 cases[i].trouble);
		if (cases[i].trouble == TXN_OTHER) {
			assert_int_equal(index, cases[i].index);
		}
	}
}

static void broken_answers_are_refused(void **state)
{
	static const char *const bad[] = {
	    "",
	    "[]",
	    "nonsense",
	    "{\"Results\":[{}]}",
	    "{\"Results\":[null]}",
	    "{\"Results\":[{\"KV\":{\"Key\":1,\"ModifyIndex\":1}}]}",
	    "{\"Results\":[{\"KV\":{\"Key\":\"a\"}}]}",
	    "{\"Results\":[{\"KV\":{\"Key\":\"a\",\"ModifyIndex\":0}}]}",
	    "{\"Results\":[{\"KV\":{\"Key\":\"a\",\"ModifyIndex\":-4}}]}",
	    "{\"Results\":[{\"KV\":{\"Key\":\"a\",\"ModifyIndex\":\"1\"}}]}",
	    "{\"Results\":[{\"KV\":{\"Key\":\"a\",\"Value\":\"%%\","
	    "\"ModifyIndex\":1}}]}",
	    "{\"Results\":[{\"KV\":{\"Key\":\"a\",\"Value\":7,"
	    "\"ModifyIndex\":1}}]}",
	    "{\"Results\":[{\"KV\":{\"Key\":\"a\",\"Flags\":,"
	    "\"ModifyIndex\":1}}]}",
	    "{\"Errors\":[{}]}",
	    "{\"Errors\":[{\"OpIndex\":-1,\"What\":\"x\"}]}",
	    "{\"Errors\":[{\"OpIndex\":0}]}",
	    "{\"Results\":[{\"KV\":{\"Key\":\"a\"",
	};
	struct arena a = {0};

	(void)state;
	for (size_t i = 0; i < KV_COUNT(bad); i++) {
		struct txn_answer in;
		struct kv_err err = {0};

		if (txn_parse(&a, s(bad[i]), &in, &err) != KV_BROKEN) {
			fail_msg("%s is taken", bad[i]);
		}
		assert_true(err.text[0] != '\0');
	}
	arena_free(&a);
}

/* ---- names ---------------------------------------------------------------*/

static bool keep_all(const void *ctx, struct slice name)
{
	const char *but = ctx;

	return but == NULL || !slice_eq(name, s(but));
}

/* Read in pieces of `step` bytes. */
static int read_names(const char *text, size_t n, size_t step,
		      struct consul_names *out, const char *but)
{
	struct names_reader r = {.out = out, .keep = keep_all, .ctx = but};

	for (size_t i = 0; i < n; i += step) {
		(void)names_feed(&r, (const uint8_t *)text + i,
				 KV_MIN(step, n - i));
	}
	return names_end(&r);
}

static void names_come_in_any_pieces(void **state)
{
	static const char text[] =
	    " [\"a\", \"b\\\"\\\\\\/\\n\" ,\"dropped\",\n"
	    "\"\\u00e9\\ud83d\\udd11\\u0000x\",\"\"]\n";

	(void)state;
	for (size_t step = 1; step <= sizeof text; step++) {
		struct consul_names x = {0};

		assert_int_equal(
		    read_names(text, sizeof text - 1, step, &x, "dropped"),
		    KV_OK);
		assert_int_equal(x.n, 4);
		assert_true(slice_eq(names_at(&x, 0), s("a")));
		assert_true(slice_eq(names_at(&x, 1), s("b\"\\/\n")));
		assert_true(
		    slice_eq(names_at(&x, 2),
			     slice_of("\xc3\xa9\xf0\x9f\x94\x91\0x", 8)));
		assert_int_equal(names_at(&x, 3).n, 0);
		names_free(&x);
	}
}

static void broken_lists_are_refused(void **state)
{
	static const char *const bad[] = {
	    "",
	    "null",
	    "{}",
	    "[",
	    "[\"a\"",
	    "[\"a",
	    "[\"a\",]",
	    "[,]",
	    "[\"a\"\"b\"]",
	    "[1]",
	    "[\"\\x\"]",
	    "[\"\\u12g4\"]",
	    "[\"\\ud83d\"]",
	    "[\"\\udd11\"]",
	    "[\"\\ud83dx\"]",
	    "[\"\\ud83d\\n\"]",
	    "[\"\\ud83d\\u0041\"]",
	    "[\"\xff\"]",
	    "[\"a\nb\"]",
	    "[\"a\"] x",
	    "[\"a\"]]",
	};

	(void)state;
	for (size_t i = 0; i < KV_COUNT(bad); i++) {
		struct consul_names x = {0};

		if (read_names(bad[i], strlen(bad[i]), 1, &x, NULL) !=
		    KV_BROKEN) {
			fail_msg("%s is taken", bad[i]);
		}
		names_free(&x);
	}
}

static void names_are_sorted_and_found(void **state)
{
	static const char text[] =
	    "[\"b\",\"a/x\",\"a\",\"b\",\"a-\",\"\xc3\xa9\"]";
	static const char *const want[] = {"a", "a-", "a/x", "b", "\xc3\xa9"};
	struct consul_names x = {0};

	(void)state;
	assert_int_equal(read_names(text, sizeof text - 1, 3, &x, NULL), KV_OK);
	names_sort(&x);
	assert_int_equal(x.n, KV_COUNT(want));
	for (size_t i = 0; i < x.n; i++) {
		assert_true(slice_eq(names_at(&x, i), s(want[i])));
		assert_int_equal(names_find(&x, s(want[i])), i);
	}
	assert_int_equal(names_find(&x, s("")), 0);
	assert_int_equal(names_find(&x, s("a.")), 2);
	assert_int_equal(names_find(&x, s("\xff")), 5);
	names_free(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(base64_goes_there_and_back),
	    cmocka_unit_test(no_base64_is_told),
	    cmocka_unit_test(names_are_escaped),
	    cmocka_unit_test(a_transaction_is_written),
	    cmocka_unit_test(an_answer_is_read),
	    cmocka_unit_test(errors_are_understood),
	    cmocka_unit_test(broken_answers_are_refused),
	    cmocka_unit_test(names_come_in_any_pieces),
	    cmocka_unit_test(broken_lists_are_refused),
	    cmocka_unit_test(names_are_sorted_and_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
