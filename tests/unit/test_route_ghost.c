/* test_route_ghost.c: writes that may land after the agent that sent them was
 * killed: who waits for them, and who does not.
 *
 *   put under way --> kill --> its fate: never, done, later
 *                          --> delete at the source --> start --> how long?
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "store/base/log.h"
#include "tests/simulation/lab.h"

#define TIMEOUT_MS 10000
/* Whoever waits for no write of unknown outcome needs less. */
#define SOON_MS 1000

static void set_up(struct lab *l)
{
	const struct lab_kind kind = {.told = true, .atomic = true, .at = true};

	log_set_level(LOG_LEVEL_ERROR);
	lab_init(l, &kind);
	l->target.kind.caps.write_timeout_ms = TIMEOUT_MS;
	lab_put(&l->source, "/k", "one", FAKE_OWNER);
	lab_put(&l->source, "/other", "one", FAKE_OWNER);
	lab_start(l);
	assert_true(lab_rest(l));
}

static void tear_down(struct lab *l)
{
	lab_finish(l);
	region_free(&l->region);
}

static uint64_t open_intents(struct lab *l)
{
	struct state_summary *all;
	struct kv_err err = {0};
	struct arena arena;
	uint64_t found;
	size_t n;

	arena_init(&arena);
	assert_int_equal(state_summaries(l->state, &arena, &all, &n, &err),
			 KV_OK);
	assert_int_equal(n, 1);
	found = all[0].intents;
	arena_free(&arena);
	return found;
}

/* Killed when the put's intent is saved and its write has left. */
static void kill_in_write(struct lab *l, enum fake_fate fate)
{
	l->target.fate = fate;
	l->target.kind.latency = 0;
	for (unsigned i = 0; open_intents(l) == 0; i++) {
		assert_true(i < LAB_STEPS_MAX);
		lab_step(l);
	}
	l->target.kind.latency = 100;
	lab_steps(l, 2);
	assert_true(open_intents(l) > 0);
	lab_crash(l);
	l->target.kind.latency = 2;
}

/* Steps until the target has the key no more; how long that took. */
static uint64_t until_gone(struct lab *l, const char *key)
{
	uint64_t start = l->sched.now_ms;

	for (unsigned i = 0; lab_now(&l->target, slice_str(key)) != NULL; i++) {
		assert_true(i < LAB_STEPS_MAX);
		lab_step(l);
	}
	return l->sched.now_ms - start;
}

static uint64_t until_has(struct lab *l, const char *key, const char *value)
{
	uint64_t start = l->sched.now_ms;

	for (unsigned i = 0; !lab_has(&l->target, key, value); i++) {
		assert_true(i < LAB_STEPS_MAX);
		lab_step(l);
	}
	return l->sched.now_ms - start;
}

static uint64_t saved(const struct lab *l)
{
	struct route_status st;

	route_status(l->route, &st);
	return st.saved;
}

/* How often the key has come into being at the target. */
static unsigned births(const struct lab *l, const char *key)
{
	const struct fake_key *k = fake_find(&l->target, slice_str(key));
	unsigned n = 0;

	for (size_t i = 0; k != NULL && i < k->n; i++) {
		n += k->revs[i].present && (i == 0 || !k->revs[i - 1].present);
	}
	return n;
}

/* A put that is guarded by the version of what it replaces cannot bring a
 * deleted key back: nobody waits for it. */
static void a_version_makes_no_ghost(void **state)
{
	struct lab *l = test_calloc(1, sizeof *l);

	(void)state;
	set_up(l);
	lab_put(&l->source, "/k", "two", FAKE_OWNER);
	kill_in_write(l, FATE_LATER);
	lab_delete(&l->source, "/k", FAKE_OWNER);
	lab_start(l);
	assert_true(until_gone(l, "/k") < SOON_MS);
	lab_steps(l, 2000);
	assert_true(lab_rest(l));
	assert_int_equal(births(l, "/k"), 1);
	tear_down(l);
	test_free(l);
}

/* The only put that was guarded by absence was done: it cannot be done again.
 */
static void what_landed_makes_no_ghost(void **state)
{
	struct lab *l = test_calloc(1, sizeof *l);

	(void)state;
	set_up(l);
	lab_put(&l->source, "/new", "one", FAKE_OWNER);
	kill_in_write(l, FATE_DONE);
	assert_true(lab_has(&l->target, "/new", "one"));
	lab_delete(&l->source, "/new", FAKE_OWNER);
	lab_start(l);
	assert_true(until_gone(l, "/new") < SOON_MS);
	assert_true(lab_rest(l));
	assert_int_equal(births(l, "/new"), 1);
	tear_down(l);
	test_free(l);
}

/* One that may land is waited for: the key does not come back; other keys do
 * not wait. */
static void a_ghost_is_waited_for(void **state)
{
	struct lab *l = test_calloc(1, sizeof *l);

	(void)state;
	set_up(l);
	lab_put(&l->source, "/new", "one", FAKE_OWNER);
	kill_in_write(l, FATE_LATER);
	assert_null(lab_now(&l->target, slice_str("/new")));
	lab_delete(&l->source, "/new", FAKE_OWNER);
	lab_put(&l->source, "/other", "two", FAKE_OWNER);
	lab_start(l);
	assert_true(until_has(l, "/other", "two") < SOON_MS);
	lab_put(&l->source, "/k", "two", FAKE_OWNER);
	assert_true(until_has(l, "/k", "two") < SOON_MS);
	assert_true(saved(l) < l->source.index); /* not all is settled */
	assert_true(lab_rest(l));
	while (!list_empty(&l->target.late_writes)) {
		lab_step(l);
	}
	assert_true(until_gone(l, "/new") <= 2 * TIMEOUT_MS);
	assert_true(lab_rest(l));
	assert_true(births(l, "/new") <= 1);
	tear_down(l);
	test_free(l);
}

/* Whoever ends the agent does not wait for such a write: its intent is saved.
 */
static void the_end_does_not_wait_for_a_ghost(void **state)
{
	struct lab *l = test_calloc(1, sizeof *l);
	uint64_t start;

	(void)state;
	set_up(l);
	lab_put(&l->source, "/new", "one", FAKE_OWNER);
	kill_in_write(l, FATE_LATER);
	lab_delete(&l->source, "/new", FAKE_OWNER);
	lab_put(&l->source, "/other", "two", FAKE_OWNER);
	lab_start(l);
	assert_true(until_has(l, "/other", "two") < SOON_MS);
	start = l->sched.now_ms;
	lab_finish(l);
	assert_true(l->sched.now_ms - start < SOON_MS);
	region_free(&l->region);
	test_free(l);
}

/* Killed twice: the second put of the key landed, the first one may. */
static void a_second_put_is_not_the_first(void **state)
{
	struct lab *l = test_calloc(1, sizeof *l);

	(void)state;
	set_up(l);
	lab_put(&l->source, "/new", "one", FAKE_OWNER);
	kill_in_write(l, FATE_LATER);
	lab_start(l);
	kill_in_write(l, FATE_DONE);
	lab_start(l);
	for (unsigned i = 0; !lab_rests(l); i++) {
		assert_true(i < LAB_STEPS_MAX);
		lab_step(l);
	}
	lab_delete(&l->source, "/new", FAKE_OWNER);
	assert_true(lab_rest(l));
	while (!list_empty(&l->target.late_writes)) {
		lab_step(l);
	}
	(void)until_gone(l, "/new");
	assert_true(lab_rest(l));
	assert_int_equal(births(l, "/new"), 1);
	tear_down(l);
	test_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_version_makes_no_ghost),
	    cmocka_unit_test(what_landed_makes_no_ghost),
	    cmocka_unit_test(a_ghost_is_waited_for),
	    cmocka_unit_test(the_end_does_not_wait_for_a_ghost),
	    cmocka_unit_test(a_second_put_is_not_the_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
