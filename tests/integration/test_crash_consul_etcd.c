/* test_crash_consul_etcd.c: kill -9 of the agent and of the servers between
 * Consul and etcd, both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/integration/crash.h"

static void survives_kills_to_etcd(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_CONSUL,
	    .target = PLACE_ETCD,
	    .keys = 3000,
	    .rounds = 2,
	    .kills = 2,
	    .source_kills = 1,
	    .target_kills = 1,
	};

	(void)state;
	crash_run(&params);
}

static void survives_kills_from_etcd(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_ETCD,
	    .target = PLACE_CONSUL,
	    .keys = 3000,
	    .rounds = 2,
	    .kills = 2,
	    .source_kills = 1,
	    .target_kills = 1,
	    .compact = true,
	};

	(void)state;
	crash_run(&params);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(survives_kills_to_etcd),
	    cmocka_unit_test(survives_kills_from_etcd),
	};
	const char *missing = place_missing(PLACE_CONSUL);

	missing = missing == NULL ? place_missing(PLACE_ETCD) : missing;
	if (missing != NULL) {
		print_message("SKIP: %s\n", missing);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
