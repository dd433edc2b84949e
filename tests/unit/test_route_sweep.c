/* test_route_sweep.c: any one allocation of the agent may fail at any place: a
 * route goes on, ends up with what the source has, and leaks nothing.
 *
 *   run n: allocation n fails, once --> seed, follow, conflict, lost
 *   connection, crash, recovery, reconcile, close --> equal? all freed?
 *   ... until a run sees no failure
 *
 * SWEEP_ONE=n runs number n alone, with its log.
 *
 * Stores, clock and order are those of the simulation: each run is the same up
 * to the failure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/base/log.h"
#include "tests/simulation/lab.h"

#define RUNS_MAX 100000

static const char *const keys[] = {"/a",  "/a-b", "/a/b", "/b",
				   "/c%", "/d/x", "/e",	  "/k"};

static void put_one(struct fake_world *w, const char *key, const char *value,
		    enum fake_writer writer)
{
	lab_put(w, key, value, writer);
}

static void put(struct fake_world *w, const char *key, const char *value,
		enum fake_writer writer)
{
	fake_put(w, slice_str(key), slice_str(value), writer);
}

static void init(struct lab *l, const struct lab_kind *kind)
{
	lab_init(l, kind);
	for (size_t i = 0; i < KV_COUNT(keys); i++) {
		put_one(&l->source, keys[i], "first", FAKE_OWNER);
	}
	put_one(&l->target, "/b", "first", FAKE_FOREIGN);
	put_one(&l->target, "/foreign", "theirs", FAKE_FOREIGN);
	put_one(&l->target, "/k", "theirs", FAKE_FOREIGN);
}

/* ---- what happens
 * ----------------------------------------------------------*/

static void unit(struct lab *l)
{
	fake_begin(&l->source);
	put(&l->source, "/a", "second", FAKE_OWNER);
	put(&l->source, "/n/1", "new", FAKE_OWNER);
	fake_delete(&l->source, slice_str("/e"), FAKE_OWNER);
	fake_end(&l->source);
}

static void act(struct lab *l, unsigned i)
{
	switch (i) {
	case 0: /* while the seed goes on */
		unit(l);
		break;
	case 1:
		put_one(&l->source, "/b", "much more than the target can take",
			FAKE_OWNER);
		break;
	case 2:
		put_one(&l->target, "/a/b", "drift", FAKE_FOREIGN);
		put_one(&l->source, "/a/b", "third", FAKE_OWNER);
		break;
	case 3:
		fake_cut(&l->target);
		put_one(&l->source, "/c%", "fourth", FAKE_OWNER);
		break;
	case 4:
		fake_cut(&l->source);
		fake_begin(&l->source);
		fake_delete(&l->source, slice_str("/d/x"), FAKE_OWNER);
		fake_end(&l->source);
		break;
	case 5:
		put_one(&l->source, "/a-b", "fifth", FAKE_OWNER);
		put_one(&l->source, "/e", "again", FAKE_OWNER);
		lab_steps(l, 9); /* a write is under way */
		lab_crash(l);
		lab_start(l);
		break;
	case 6:
		put_one(&l->source, "/b", "small", FAKE_OWNER);
		break;
	case 7:
		fake_cut(&l->source);
		put_one(&l->source, "/a", "sixth", FAKE_OWNER);
		fake_compact(&l->source, l->source.index);
		break;
	default:
		route_reconcile(l->route);
		break;
	}
}

/* ---- is it as it should be?
 * ------------------------------------------------*/

/* The target's name of a source key. */
static struct slice mapped(const struct lab *l, struct slice key)
{
	if (l->kind.percent && slice_eq(key, slice_str("/c%"))) {
		return slice_str("/c%25");
	}
	return key;
}

/* Keys that the target won; "/b" when it was not adopted in time. */
static bool is_theirs(const struct lab *l, struct slice key)
{
	return l->kind.conflict == CONF_TARGET_WINS &&
	       (slice_eq(key, slice_str("/k")) ||
		slice_eq(key, slice_str("/b")) ||
		slice_eq(key, slice_str("/a/b")));
}

static bool is_equal(const struct lab *l, const char **why)
{
	for (size_t i = 0; i < l->source.n_keys; i++) {
		struct slice key = l->source.keys[i]->key;
		const struct fake_rev *s = lab_now(&l->source, key);
		const struct fake_rev *t = lab_now(&l->target, mapped(l, key));

		*why = (const char *)key.p;
		if (is_theirs(l, key)) {
			continue;
		}
		if ((s == NULL) != (t == NULL) ||
		    (s != NULL && !slice_eq(s->value, t->value))) {
			return false;
		}
	}
	return true;
}

static void wait_equal(struct lab *l, unsigned n)
{
	struct route_status st;
	const char *why = "";

	for (unsigned i = 0; i < LAB_STEPS_MAX; i++) {
		if (lab_rests(l) && is_equal(l, &why)) {
			return;
		}
		lab_step(l);
	}
	route_status(l->route, &st);
	fail_msg("allocation %u failed, no convergence: key %s, phase %s, "
		 "saved %llu of %llu: %s",
		 n, why, route_phase_name(st.phase),
		 (unsigned long long)st.saved,
		 (unsigned long long)l->source.index, st.error.text);
}

static void check_foreign(const struct lab *l)
{
	const struct fake_rev *t = lab_now(&l->target, slice_str("/foreign"));

	assert_non_null(t);
	assert_true(slice_eq(t->value, slice_str("theirs")));
}

/* ---- the sweep
 * -------------------------------------------------------------*/

/* Was there an allocation number n? */
static bool run(const struct lab_kind *kind, unsigned n)
{
	struct lab *l = test_calloc(1, sizeof *l);
	bool failed;

	init(l, kind);
	l->mem.every = n + 1;
	lab_start(l);
	for (unsigned i = 0; i < 9; i++) {
		lab_steps(l, 40);
		act(l, i);
	}
	wait_equal(l, n);
	lab_steps(l, 200);
	wait_equal(l, n);
	check_foreign(l);
	failed = l->mem.failed > 0;
	lab_finish(l);
	failed = failed || l->mem.failed > 0;
	region_free(&l->region);
	test_free(l);
	return failed;
}

static void sweep(const struct lab_kind *kind)
{
	unsigned n = 0;

	if (getenv("SWEEP_ONE") != NULL) {
		(void)run(kind, (unsigned)atoi(getenv("SWEEP_ONE")));
		return;
	}
	log_set_level(LOG_LEVEL_ERROR);
	while (run(kind, n)) {
		n++;
		assert_true(n < RUNS_MAX);
	}
	print_message("%u allocations failed, one a run\n", n);
	assert_true(n > 100);
}

static void told_atomic(void **state)
{
	(void)state;
	sweep(&(struct lab_kind){.told = true, .atomic = true, .at = true});
}

static void told_in_order(void **state)
{
	(void)state;
	sweep(&(struct lab_kind){.told = true, .conflict = CONF_TARGET_WINS});
}

static void relisted(void **state)
{
	(void)state;
	sweep(&(struct lab_kind){.atomic = true});
}

static void told_escaped(void **state)
{
	(void)state;
	sweep(
	    &(struct lab_kind){.told = true, .atomic = true, .percent = true});
}

static void relisted_escaped(void **state)
{
	(void)state;
	sweep(&(struct lab_kind){.percent = true});
}

/* More yielded keys than a page of known ones has: whoever asks for the known
 * keys gets to the end of them. */
static void many_yielded(void **state)
{
	const struct lab_kind kind = {.atomic = true,
				      .conflict = CONF_TARGET_WINS};
	struct lab *l = test_calloc(1, sizeof *l);
	char key[16];

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	init(l, &kind);
	l->source.kind.caps.scan_page = 500;
	l->target.kind.caps.scan_page = 500;
	for (unsigned i = 0; i < 2500; i++) {
		(void)snprintf(key, sizeof key, "/d/%04u", i);
		put_one(&l->source, key, "ours", FAKE_OWNER);
		put_one(&l->target, key, "theirs", FAKE_FOREIGN);
	}
	lab_start(l);
	for (unsigned i = 0; i < LAB_STEPS_MAX && !lab_rests(l); i++) {
		lab_step(l);
	}
	assert_true(lab_rests(l));
	fake_cut(&l->source);
	put_one(&l->source, "/z", "last", FAKE_OWNER);
	for (unsigned i = 0; i < LAB_STEPS_MAX && !lab_rests(l); i++) {
		lab_step(l);
	}
	assert_true(lab_rests(l));
	assert_non_null(lab_now(&l->target, slice_str("/z")));
	check_foreign(l);
	lab_finish(l);
	region_free(&l->region);
	test_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(told_atomic),	cmocka_unit_test(told_in_order),
	    cmocka_unit_test(relisted),		cmocka_unit_test(told_escaped),
	    cmocka_unit_test(relisted_escaped), cmocka_unit_test(many_yielded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
