/* test_crash_mixed.c: kill -9 of the agent from a file to an etcd server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/integration/crash.h"

static void survives_kills(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_SQLITE,
	    .target = PLACE_ETCD,
	    .keys = 6000,
	    .rounds = 6,
	    .kills = 10,
	};

	(void)state;
	crash_run(&params);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(survives_kills),
	};

	if (place_missing(PLACE_ETCD) != NULL) {
		print_message("SKIP: %s\n", place_missing(PLACE_ETCD));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
