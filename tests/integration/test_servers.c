/* test_servers.c: kill -9 of the source's and the target's server, in the seed
 * and later, under an agent that must live through it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/integration/crash.h"

static void survives_kills_of_the_source(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_ETCD,
	    .target = PLACE_SQLITE,
	    .keys = 6000,
	    .rounds = 2,
	    .source_kills = 3,
	};

	(void)state;
	crash_run(&params);
}

static void survives_kills_of_the_target(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_SQLITE,
	    .target = PLACE_ETCD,
	    .keys = 6000,
	    .rounds = 2,
	    .target_kills = 3,
	};

	(void)state;
	crash_run(&params);
}

static void survives_kills_of_all(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_ETCD,
	    .target = PLACE_ETCD,
	    .keys = 6000,
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
	    cmocka_unit_test(survives_kills_of_the_source),
	    cmocka_unit_test(survives_kills_of_the_target),
	    cmocka_unit_test(survives_kills_of_all),
	};

	if (place_missing(PLACE_ETCD) != NULL) {
		print_message("SKIP: %s\n", place_missing(PLACE_ETCD));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
