/* test_crash_consul.c: kill -9 of the agent, and of the server, from and to a
 * Consul server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/integration/crash.h"

static void survives_kills_as_a_source(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_CONSUL,
	    .target = PLACE_SQLITE,
	    .keys = 3000,
	    .rounds = 4,
	    .kills = 5,
	};

	(void)state;
	crash_run(&params);
}

static void survives_kills_as_a_target(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_SQLITE,
	    .target = PLACE_CONSUL,
	    .keys = 3000,
	    .rounds = 4,
	    .kills = 5,
	};

	(void)state;
	crash_run(&params);
}

static void survives_kills_of_the_source(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_CONSUL,
	    .target = PLACE_SQLITE,
	    .keys = 3000,
	    .rounds = 2,
	    .source_kills = 2,
	};

	(void)state;
	crash_run(&params);
}

static void survives_kills_of_the_target(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_SQLITE,
	    .target = PLACE_CONSUL,
	    .keys = 3000,
	    .rounds = 2,
	    .target_kills = 2,
	};

	(void)state;
	crash_run(&params);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(survives_kills_as_a_source),
	    cmocka_unit_test(survives_kills_as_a_target),
	    cmocka_unit_test(survives_kills_of_the_source),
	    cmocka_unit_test(survives_kills_of_the_target),
	};

	if (place_missing(PLACE_CONSUL) != NULL) {
		print_message("SKIP: %s\n", place_missing(PLACE_CONSUL));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
