/* The delete fuse: at, below and above its rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "agent/fuse.h"

struct fuse_case {
	const char *what;
	struct fuse_in in;
	bool allowed;
};

static const struct fuse_case table[] = {
    {"nothing to delete", {.ledger = 10, .source_empty = true}, true},
    {"fifty of many", {.deletes = 50, .ledger = 60}, true},
    {"fifty-one are more than fifty and 20 %",
     {.deletes = 51, .ledger = 60},
     false},
    {"more than fifty, exactly 20 %", {.deletes = 200, .ledger = 1000}, true},
    {"more than 20 %", {.deletes = 201, .ledger = 1000}, false},
    {"the last hour counts",
     {.deletes = 60, .recent = 180, .ledger = 1000},
     false},
    {"the last hour was quiet",
     {.deletes = 60, .recent = 20, .ledger = 1000},
     true},
    {"an empty source",
     {.deletes = 3, .ledger = 3, .source_empty = true},
     false},
    {"a count instead",
     {.rule = {CONF_FUSE_COUNT, 5}, .deletes = 5, .ledger = 5},
     true},
    {"above the count",
     {.rule = {CONF_FUSE_COUNT, 5}, .deletes = 6, .ledger = 1000},
     false},
    {"a share instead",
     {.rule = {CONF_FUSE_PERCENT, 50}, .deletes = 5, .ledger = 10},
     true},
    {"above the share",
     {.rule = {CONF_FUSE_PERCENT, 50}, .deletes = 6, .ledger = 10},
     false},
    {"no share at all",
     {.rule = {CONF_FUSE_PERCENT, 0}, .deletes = 1, .ledger = 1000},
     false},
    {"an empty source, 50 %",
     {.rule = {CONF_FUSE_PERCENT, 50},
      .deletes = 10,
      .ledger = 10,
      .source_empty = true},
     false},
    {"off",
     {.rule = {CONF_FUSE_PERCENT, 100},
      .deletes = 1000,
      .ledger = 1000,
      .source_empty = true},
     true},
};

static void test_table(void **state)
{
	char reason[KV_ERR_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < KV_COUNT(table); i++) {
		reason[0] = '\0';
		if (fuse_allows(&table[i].in, reason, sizeof reason) !=
		    table[i].allowed) {
			fail_msg("%s", table[i].what);
		}
		/* Whoever is held is told why and what to do. */
		assert_true(table[i].allowed ==
			    (strstr(reason, "--max-delete") == NULL));
	}
}

#define MINUTE_MS (60ULL * 1000)

/* Whatever the minute that a delete falls into: it counts for the next hour,
 * and not for much longer. */
static void test_hour_slides(void **state)
{
	(void)state;
	for (uint64_t at = 0; at < 120; at++) {
		struct state_checkpoint cp = {0};
		uint64_t start = 1700000000000 + at * MINUTE_MS;

		assert_int_equal(fuse_recent(&cp, 1700000000000), 0);
		fuse_count(&cp, start);
		fuse_count(&cp, start + MINUTE_MS);
		assert_int_equal(fuse_recent(&cp, start + 59 * MINUTE_MS), 2);
		assert_int_equal(fuse_recent(&cp, start + 72 * MINUTE_MS), 0);
	}
}

/* Steady deletes never add up to more than those of 70 minutes, nor to less
 * than those of 60. */
static void test_hour_is_bounded(void **state)
{
	struct state_checkpoint cp = {0};
	uint64_t now = 1700000000000;

	(void)state;
	for (unsigned i = 1; i < 500; i++) {
		uint64_t recent;

		now += MINUTE_MS;
		fuse_count(&cp, now);
		recent = fuse_recent(&cp, now);
		assert_true(recent <= 71);
		assert_true(recent >= KV_MIN(i, 60));
	}
	/* A clock that goes back forgets none; one that leaps, all. */
	assert_true(fuse_recent(&cp, now - 5 * 60 * MINUTE_MS) >= 60);
	assert_int_equal(fuse_recent(&cp, now + 1000 * 60 * MINUTE_MS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_hour_slides),
	    cmocka_unit_test(test_hour_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
