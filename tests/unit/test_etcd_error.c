/* test_etcd_error.c: what each refusal of etcd means, as a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "store/etcd/etcd_error.h"

static const struct {
	int code;
	const char *text;
	int read, write;
	enum etcd_remedy remedy;
} rows[] = {
    {2, "context deadline exceeded", KV_TIMED_OUT, KV_UNKNOWN_OUTCOME,
     ETCD_REMEDY_ROTATE},
    {3, "etcdserver: too many operations in txn request", KV_TOO_LARGE,
     KV_TOO_LARGE, ETCD_REMEDY_FEWER},
    {3, "etcdserver: duplicate key given in txn request", KV_BAD_ARGUMENT,
     KV_BAD_ARGUMENT, ETCD_REMEDY_NONE},
    {3, "etcdserver: request is too large", KV_TOO_LARGE, KV_TOO_LARGE,
     ETCD_REMEDY_SMALLER},
    {3, "etcdserver: user name is empty", KV_DENIED, KV_DENIED,
     ETCD_REMEDY_TOKEN},
    {3, "etcdserver: authentication failed, invalid user ID or password",
     KV_DENIED, KV_DENIED, ETCD_REMEDY_NONE},
    {3, "etcdserver: revision of auth store is old", KV_DENIED, KV_DENIED,
     ETCD_REMEDY_TOKEN},
    {7, "etcdserver: permission denied", KV_DENIED, KV_DENIED,
     ETCD_REMEDY_NONE},
    {8, "etcdserver: mvcc: database space exceeded", KV_NO_SPACE, KV_NO_SPACE,
     ETCD_REMEDY_NONE},
    {8, "etcdserver: too many requests", KV_NOT_REACHABLE, KV_NOT_REACHABLE,
     ETCD_REMEDY_NONE},
    {8, "grpc: received message larger than max (2097157 vs. 2097152)",
     KV_TOO_LARGE, KV_TOO_LARGE, ETCD_REMEDY_SMALLER},
    {11, "etcdserver: mvcc: required revision has been compacted",
     KV_HISTORY_LOST, KV_HISTORY_LOST, ETCD_REMEDY_NONE},
    {11, "etcdserver: mvcc: required revision is a future revision",
     KV_HISTORY_LOST, KV_HISTORY_LOST, ETCD_REMEDY_NONE},
    {14, "etcdserver: no leader", KV_NOT_REACHABLE, KV_NOT_REACHABLE,
     ETCD_REMEDY_ROTATE},
    {14, "etcdserver: leader changed", KV_NOT_REACHABLE, KV_UNKNOWN_OUTCOME,
     ETCD_REMEDY_ROTATE},
    {14, "etcdserver: request timed out", KV_NOT_REACHABLE, KV_UNKNOWN_OUTCOME,
     ETCD_REMEDY_ROTATE},
    {16, "etcdserver: invalid auth token", KV_DENIED, KV_DENIED,
     ETCD_REMEDY_TOKEN},
    /* not foreseen: a write may have been done */
    {4, "", KV_TIMED_OUT, KV_UNKNOWN_OUTCOME, ETCD_REMEDY_ROTATE},
    {13, "boom", KV_BROKEN, KV_UNKNOWN_OUTCOME, ETCD_REMEDY_NONE},
    {99, "news", KV_BROKEN, KV_UNKNOWN_OUTCOME, ETCD_REMEDY_NONE},
};

static void each_refusal_has_its_meaning(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < KV_COUNT(rows); i++) {
		struct etcd_fault r =
		    etcd_fault_find(rows[i].code, rows[i].text, false);
		struct etcd_fault w =
		    etcd_fault_find(rows[i].code, rows[i].text, true);

		if (r.status != rows[i].read || w.status != rows[i].write ||
		    r.remedy != rows[i].remedy) {
			fail_msg("code %d \"%s\": %s, %s", rows[i].code,
				 rows[i].text, kv_status_name(r.status),
				 kv_status_name(w.status));
		}
	}
}

/* Whatever the text: success is never made of a refusal, and a write is never
 * said to be undone by a code that leaves it open. */
static void no_code_is_a_success(void **state)
{
	static const int open[] = {1, 2, 4, 10, 13, 99};
	int code;
	size_t i;

	(void)state;
	for (code = 1; code < 100; code++) {
		assert_int_not_equal(etcd_fault_find(code, "?", false).status,
				     KV_OK);
		assert_int_not_equal(etcd_fault_find(code, "?", true).status,
				     KV_OK);
	}
	for (i = 0; i < KV_COUNT(open); i++) {
		assert_int_equal(etcd_fault_find(open[i], "?", true).status,
				 KV_UNKNOWN_OUTCOME);
	}
}

static void the_text_says_what_and_what_to_do(void **state)
{
	const char *text = "etcdserver: mvcc: database space exceeded";
	struct kv_err err = {0};
	struct etcd_fault f = etcd_fault_find(8, text, true);

	(void)state;
	assert_int_equal(etcd_fault_err(f, 8, text, &err), KV_NO_SPACE);
	assert_non_null(strstr(err.text, "mvcc: database space exceeded"));
	assert_non_null(strstr(err.text, "compact"));
	assert_null(strstr(err.text, "etcdserver"));
}

static void servers_without_authentication_are_known(void **state)
{
	const char *text = "etcdserver: authentication is not enabled";

	(void)state;
	assert_true(etcd_fault_auth_off(9, text));
	assert_true(etcd_fault_auth_off(3, text));
	assert_false(etcd_fault_auth_off(3, "authentication failed"));
}

static void versions_with_ordered_progress(void **state)
{
	(void)state;
	assert_false(etcd_version_orders_progress("3.4.23"));
	assert_true(etcd_version_orders_progress("3.4.25"));
	assert_false(etcd_version_orders_progress("3.5.0"));
	assert_false(etcd_version_orders_progress("3.5.7"));
	assert_true(etcd_version_orders_progress("3.5.8"));
	assert_true(etcd_version_orders_progress("3.5.16"));
	assert_true(etcd_version_orders_progress("3.6.0-rc.1"));
	assert_true(etcd_version_orders_progress("4.0.0"));
	assert_false(etcd_version_orders_progress("3.3.27"));
	assert_false(etcd_version_orders_progress("2.3.8"));
	assert_false(etcd_version_orders_progress(""));
	assert_false(etcd_version_orders_progress("unknown"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_refusal_has_its_meaning),
	    cmocka_unit_test(no_code_is_a_success),
	    cmocka_unit_test(the_text_says_what_and_what_to_do),
	    cmocka_unit_test(servers_without_authentication_are_known),
	    cmocka_unit_test(versions_with_ordered_progress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
