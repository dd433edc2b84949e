/* test_crash_etcd_zk.c: kill -9 of the agent from an etcd server to
 * a ZooKeeper server, and of the servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/integration/crash.h"

static void survives_kills(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_ETCD,
	    .target = PLACE_ZK,
	    .keys = 3000,
	    .rounds = 2,
	    .kills = 6,
	};

	(void)state;
	crash_run(&params);
}

static void survives_kills_of_servers(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_ETCD,
	    .target = PLACE_ZK,
	    .keys = 3000,
	    .rounds = 2,
	    .kills = 1,
	    .source_kills = 2,
	    .target_kills = 2,
	};

	(void)state;
	crash_run(&params);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(survives_kills),
	    cmocka_unit_test(survives_kills_of_servers),
	};
	const char *why = place_missing(PLACE_ETCD);

	if (why == NULL) {
		why = place_missing(PLACE_ZK);
	}
	if (why != NULL) {
		print_message("SKIP: %s\n", why);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
