/* test_crash_sqlite.c: kill -9 of the agent between two files; and the check
 * of histories itself, with histories that it must refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/integration/crash.h"
#include "tests/integration/history.h"

/* ---- what the check refuses ----------------------------------------------*/

/* Key 0: put 0, put 1, delete 2, put 3. Key 1: put 0. */
struct played {
	struct history h;
	struct history_view v;
	char values[4][HISTORY_VALUE_MAX];
	size_t n[4];
};

static void play(struct played *p)
{
	history_init(&p->h, 2);
	for (unsigned i = 0; i < 4; i++) {
		p->n[i] = history_next(&p->h, 0, p->values[i]);
		if (i == 2) {
			history_gone(&p->h, 0);
		} else {
			history_put(&p->h, 0);
		}
	}
	history_put(&p->h, 1);
	view_init(&p->v, &p->h);
}

static void played_free(struct played *p)
{
	view_free(&p->v);
	history_free(&p->h);
}

static bool see(struct played *p, unsigned event)
{
	return view_put(&p->v, "/d0/k00000", p->values[event], p->n[event]);
}

static void takes_a_subsequence(void **state)
{
	struct played p;

	(void)state;
	play(&p);
	assert_true(see(&p, 0));
	assert_true(see(&p, 0)); /* the same again is no change */
	assert_true(view_gone(&p.v, "/d0/k00000"));
	assert_true(see(&p, 3));
	assert_int_equal(p.v.repeats, 1);
	assert_false(view_final(&p.v)); /* key 1 is missing */
	played_free(&p);
}

static void refuses_a_way_back(void **state)
{
	struct played p;

	(void)state;
	play(&p);
	assert_true(see(&p, 1));
	assert_false(see(&p, 0));
	played_free(&p);
}

static void refuses_a_ghost(void **state)
{
	struct played p;

	(void)state;
	play(&p);
	assert_true(see(&p, 0));
	assert_true(view_gone(&p.v, "/d0/k00000"));
	assert_false(see(&p, 1)); /* older than the delete */
	played_free(&p);
}

static void refuses_a_delete_that_nobody_told(void **state)
{
	struct played p;

	(void)state;
	play(&p);
	assert_true(see(&p, 3));
	assert_false(view_gone(&p.v, "/d0/k00000"));
	played_free(&p);
}

static void refuses_strange_values(void **state)
{
	struct played p;

	(void)state;
	play(&p);
	assert_false(view_put(&p.v, "/d1/k00001", p.values[0], p.n[0]));
	assert_false(view_put(&p.v, "/d0/k00000", p.values[0], p.n[0] - 1));
	assert_false(view_put(&p.v, "/d0/k00000", "", 0));
	assert_false(view_put(&p.v, "/d9/k00009", p.values[0], p.n[0]));
	assert_false(view_put(&p.v, "/else", p.values[0], p.n[0]));
	played_free(&p);
}

static void refuses_an_old_end(void **state)
{
	struct played p;
	char value[HISTORY_VALUE_MAX] = "1:0:";
	struct history h;
	size_t n;

	(void)state;
	play(&p);
	history_init(&h, 2);
	n = history_next(&h, 1, value);
	assert_true(view_put(&p.v, "/d1/k00001", value, n));
	assert_true(see(&p, 1));
	assert_false(view_final(&p.v));
	history_free(&h);
	played_free(&p);
}

/* ---- the crash ------------------------------------------------------------*/

static void survives_kills(void **state)
{
	static const struct crash_params params = {
	    .source = PLACE_SQLITE,
	    .target = PLACE_SQLITE,
	    .keys = 12000,
	    .rounds = 8,
	    .kills = 8,
	};

	(void)state;
	crash_run(&params);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(takes_a_subsequence),
	    cmocka_unit_test(refuses_a_way_back),
	    cmocka_unit_test(refuses_a_ghost),
	    cmocka_unit_test(refuses_a_delete_that_nobody_told),
	    cmocka_unit_test(refuses_strange_values),
	    cmocka_unit_test(refuses_an_old_end),
	    cmocka_unit_test(survives_kills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
