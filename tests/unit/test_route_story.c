/* test_route_story.c: what a route says and does when something odd happens:
 * reasons in the log, answers that cannot be, a refused request.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "store/base/log.h"
#include "tests/simulation/lab.h"

struct story {
	struct lab lab;
	char log[65536];
	size_t n;
};

static void log_cb(void *ctx, const char *line, size_t n)
{
	struct story *s = ctx;

	if (s->n + n < sizeof s->log) {
		memcpy(s->log + s->n, line, n);
		s->n += n;
		s->log[s->n] = '\0';
	}
}

static unsigned told(const struct story *s, const char *what)
{
	unsigned n = 0;

	for (const char *p = s->log; (p = strstr(p, what)) != NULL; p++) {
		n++;
	}
	return n;
}

static void forget_log(struct story *s)
{
	s->n = 0;
	s->log[0] = '\0';
}

static struct story *begin(const struct lab_kind *kind)
{
	struct story *s = test_calloc(1, sizeof *s);

	log_set_level(LOG_LEVEL_INFO);
	log_set_format(LOG_FORMAT_TEXT);
	log_set_sink(log_cb, s);
	lab_init(&s->lab, kind);
	return s;
}

static void end(struct story *s)
{
	lab_finish(&s->lab);
	region_free(&s->lab.region);
	log_set_sink(NULL, NULL);
	test_free(s);
}

static struct route_status status_of(const struct lab *l)
{
	struct route_status st;

	route_status(l->route, &st);
	return st;
}

static void step_until(struct lab *l, bool (*done)(struct lab *l))
{
	for (unsigned i = 0; !done(l); i++) {
		assert_true(i < LAB_STEPS_MAX);
		lab_step(l);
	}
}

/* No known key is as it was, and what was is compacted away: that is doubt, not
 * another source. */
static void doubt_is_called_doubt(void **state)
{
	struct story *s =
	    begin(&(struct lab_kind){.told = true, .atomic = true, .at = true});
	struct lab *l = &s->lab;

	(void)state;
	lab_put(&l->source, "/k", "one", FAKE_OWNER);
	lab_start(l);
	assert_true(lab_rest(l));
	lab_crash(l);
	lab_put(&l->source, "/k", "two", FAKE_OWNER);
	lab_put(&l->source, "/k", "three", FAKE_OWNER);
	fake_compact(&l->source, l->source.index);
	forget_log(s);
	lab_start(l);
	assert_true(lab_rest(l));
	assert_int_equal(told(s, "nothing at the source proves"), 1);
	assert_int_equal(told(s, "another one"), 0);
	end(s);
}

static bool is_failed(struct lab *l)
{
	return status_of(l).phase == ROUTE_FAILED;
}

/* An answer that cannot be ends the pass; another one is made later. */
static void broken_answers_start_over(void **state)
{
	struct story *s =
	    begin(&(struct lab_kind){.told = true, .atomic = true, .at = true});
	struct lab *l = &s->lab;

	(void)state;
	lab_put(&l->source, "/a", "one", FAKE_OWNER);
	lab_put(&l->source, "/b", "one", FAKE_OWNER);
	lab_put(&l->source, "/c", "one", FAKE_OWNER);
	l->source.shuffle = true;
	lab_start(l);
	step_until(l, is_failed);
	assert_int_equal(status_of(l).error.status, KV_BROKEN);
	lab_steps(l, 300);
	assert_null(lab_now(&l->target, slice_str("/a")));
	assert_true(told(s, "was not understood") > 0);
	l->source.shuffle = false;
	assert_true(lab_rest(l));
	assert_true(lab_has(&l->target, "/c", "one"));
	end(s);
}

static bool lost_a_page(struct lab *l)
{
	return l->counts.pages_lost > 0;
}

static bool was_refused(struct lab *l)
{
	return l->counts.refused > 0;
}

/* The page that is asked for in the place of one that was compacted away is
 * refused at once: the scan ends with that, and goes on later. */
static void refused_after_compaction(void **state)
{
	struct story *s =
	    begin(&(struct lab_kind){.told = true, .atomic = true, .at = true});
	struct lab *l = &s->lab;
	char key[16];

	(void)state;
	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(key, sizeof key, "/k%02u", i);
		lab_put(&l->source, key, "one", FAKE_OWNER);
	}
	l->source.kind.latency = 20;
	lab_start(l);
	while (l->counts.scans < 6) {
		lab_step(l);
	}
	for (unsigned i = 0; i < 20; i++) {
		lab_put(&l->source, "/k39", "two", FAKE_OWNER);
		lab_put(&l->source, "/k39", "one", FAKE_OWNER);
	}
	fake_compact(&l->source, l->source.index);
	step_until(l, lost_a_page);
	l->source.faults.refused = 1000;
	step_until(l, was_refused);
	l->source.faults.refused = 0; /* the scan alone met it */
	assert_true(lab_rest(l));
	fprintf(stderr, "%s lost %d refused %d\n", s->log,
		(int)l->counts.pages_lost, (int)l->counts.refused);
	assert_true(lab_has(&l->target, "/k39", "one"));
	end(s);
}

static bool is_held(struct lab *l)
{
	return status_of(l).held != NULL;
}

/* Conflicts under `stop` that are judged again and again are journaled once,
 * however many there are. */
static void held_conflicts_are_told_once(void **state)
{
	struct story *s = begin(&(struct lab_kind){
	    .told = true, .atomic = true, .at = true, .conflict = CONF_STOP});
	struct lab *l = &s->lab;

	(void)state;
	lab_put(&l->source, "/a", "one", FAKE_OWNER);
	lab_put(&l->source, "/b", "one", FAKE_OWNER);
	lab_start(l);
	assert_true(lab_rest(l));
	lab_put(&l->target, "/a", "theirs", FAKE_FOREIGN);
	lab_put(&l->target, "/b", "theirs", FAKE_FOREIGN);
	fake_begin(&l->source);
	fake_put(&l->source, slice_str("/a"), slice_str("two"), FAKE_OWNER);
	fake_put(&l->source, slice_str("/b"), slice_str("two"), FAKE_OWNER);
	fake_end(&l->source);
	step_until(l, is_held);
	lab_steps(l, 3000);
	assert_true(told(s, "starting over") > 2);
	assert_true(status_of(l).counters.conflicts <= 2);
	lab_put(&l->target, "/a", "two", FAKE_FOREIGN);
	lab_put(&l->target, "/b", "two", FAKE_FOREIGN);
	assert_true(lab_rest(l));
	end(s);
}

/* A key that cannot be carried is tried again, and told once. */
static void quarantine_is_told_once(void **state)
{
	struct story *s =
	    begin(&(struct lab_kind){.told = true, .atomic = true, .at = true});
	struct lab *l = &s->lab;

	(void)state;
	lab_put(&l->source, "/a", "much more than the target can ever take",
		FAKE_OWNER);
	lab_put(&l->source, "/b", "one", FAKE_OWNER);
	lab_start(l);
	assert_true(lab_rest(l));
	for (unsigned i = 0; i < 3; i++) {
		route_reconcile(l->route);
		lab_steps(l, 10);
		assert_true(lab_rest(l));
	}
	assert_int_equal(status_of(l).quarantine, 1);
	assert_int_equal(told(s, "msg=\"quarantined\""), 1);
	end(s);
}

static bool waits_its_turn(struct lab *l)
{
	struct route_status st = status_of(l);

	return st.phase == ROUTE_PROBING && st.error.status == KV_OK &&
	       strstr(st.error.text, "1 routes at once") != NULL;
}

static void opened_cb(struct gate_pass *pass)
{
	(void)pass;
}

/* A reconcile waits while as many as are allowed go on, and says so; one that
 * cannot go on lets others in. */
static void one_at_a_time(void **state)
{
	struct story *s =
	    begin(&(struct lab_kind){.told = true, .atomic = true, .at = true});
	struct lab *l = &s->lab;
	struct gate_pass other = {.open = opened_cb};
	struct gate gate;

	(void)state;
	gate_init(&gate, &l->sched.base, 1);
	l->gate = &gate;
	assert_true(gate_enter(&gate, &other));
	lab_put(&l->source, "/a", "one", FAKE_OWNER);
	lab_start(l);
	step_until(l, waits_its_turn);
	lab_steps(l, 200);
	assert_true(waits_its_turn(l));
	assert_null(lab_now(&l->target, slice_str("/a")));
	gate_leave(&gate, &other);
	assert_true(lab_rest(l));
	assert_true(gate_enter(&gate, &other)); /* it has left */
	gate_leave(&gate, &other);

	/* Its target goes away in the middle of a reconcile. */
	route_reconcile(l->route);
	while (status_of(l).phase != ROUTE_RECONCILING) {
		lab_step(l);
	}
	l->target.outage_until_ms = UINT64_MAX;
	fake_cut(&l->target);
	assert_false(gate_enter(&gate, &other));
	while (other.at != GATE_INSIDE) {
		lab_step(l);
	}
	l->target.outage_until_ms = 0;
	step_until(l, waits_its_turn);
	gate_leave(&gate, &other);
	assert_true(lab_rest(l));

	/* One that is closed while it waits leaves no trace. */
	assert_true(gate_enter(&gate, &other));
	route_reconcile(l->route);
	step_until(l, waits_its_turn);
	lab_finish(l);
	gate_leave(&gate, &other);
	gate_clear(&gate);
	region_free(&l->region);
	log_set_sink(NULL, NULL);
	test_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(doubt_is_called_doubt),
	    cmocka_unit_test(broken_answers_start_over),
	    cmocka_unit_test(refused_after_compaction),
	    cmocka_unit_test(held_conflicts_are_told_once),
	    cmocka_unit_test(quarantine_is_told_once),
	    cmocka_unit_test(one_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
