/* sim_run.c: one seed, from its plan to its verdict.
 *
 *   fill --> storm: steps of the agent, actions of the world, crashes
 *        --> rest: faults end, the source rests, the agent gets time
 *        --> equal (G1) --> late writes are dead --> still equal
 *        --> a reconcile --> equal, foreign keys and drift as the policies say
 *        --> close: nothing leaks --> the state's lists are right (G6)
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define REST_STEPS 40000
#define REST_MS (UINT64_C(2) * 3600 * 1000)
#define HELD_MS 90000

void sim_trace(struct sim *sim, const char *fmt, ...)
{
	va_list ap;

	if (!sim->verbose) {
		return;
	}
	printf("%6llu %7llu ms  ", (unsigned long long)sim->sched.steps,
	       (unsigned long long)sim->sched.now_ms);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)putchar('\n');
}

void sim_fail(struct sim *sim, const char *fmt, ...)
{
	va_list ap;

	if (sim_failed(sim)) {
		return;
	}
	va_start(ap, fmt);
	(void)vsnprintf(sim->failure, sizeof sim->failure, fmt, ap);
	va_end(ap);
	sim_trace(sim, "FAILED: %s", sim->failure);
}

bool sim_failed(const struct sim *sim)
{
	return sim->failure[0] != '\0';
}

static void world_trace(void *ctx, const char *fmt, ...) KV_PRINTF(2, 3);
static void world_trace(void *ctx, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	sim_trace(ctx, "%s", line);
}

/* ---- steps
 * -----------------------------------------------------------------*/

static void step(struct sim *sim)
{
	struct sim_mem *m = sim->mem;

	sim->counts->steps++;
	if (sim->sched.now_ms >= sim->memory_until_ms) {
		m->every = 0;
	}
	(void)sim_mem_arm(m, true);
	if (!sim_sched_step(&sim->sched)) {
		sim->sched.now_ms += 1000; /* nobody waits for anything */
	}
	(void)sim_mem_arm(m, false);
	sim->counts->no_memory += m->failed;
	m->failed = 0;
	agent_reap(sim);
	actors_keep_evidence(sim);
	check_step(sim);
}

static bool is_done(const struct sim *sim)
{
	return sim->agent.life == AGENT_UP &&
	       sim->agent.status.phase == ROUTE_DONE;
}

/* What a one-shot that ended well claims. */
static void check_done(struct sim *sim)
{
	const struct route_status *st = &sim->agent.status;

	sim_trace(sim, "agent: done, %s, index %llu",
		  kv_status_name(st->exit_status),
		  (unsigned long long)st->end_index);
	if (st->exit_status == KV_OK && st->held == NULL &&
	    !sim->agent.dry_run && !sim->state_lost) {
		check_end_index(sim, st->end_index);
	}
}

static void storm_life(struct sim *sim)
{
	const struct sim_plan *p = &sim->plan;
	struct sim_rand *r = &sim->rand;

	if (sim->agent.life == AGENT_DOWN) {
		if (sim_chance(r, 1, 6)) {
			agent_start(sim);
		}
	} else if (p->crash_one_in > 0 && sim_chance(r, 1, p->crash_one_in)) {
		agent_crash(sim, p->older_state && sim_chance(r, 1, 3));
	} else if (is_done(sim)) {
		check_done(sim);
		agent_close(sim);
	} else if (sim->agent.life == AGENT_UP && p->stop_one_in > 0 &&
		   sim_chance(r, 1, p->stop_one_in)) {
		agent_close(sim);
	} else if (p->older_state && sim_chance(r, 1, 60)) {
		agent_remember_state(sim);
	}
}

static void storm(struct sim *sim)
{
	for (unsigned i = 0; i < sim->plan.storm_steps && !sim_failed(sim);
	     i++) {
		if (sim_chance(&sim->rand, 1, sim->plan.act_one_in)) {
			actors_act(sim);
		}
		step(sim);
		storm_life(sim);
	}
}

/* ---- rest
 * ------------------------------------------------------------------*/

typedef bool (*until_fn)(struct sim *sim);

static bool run_until(struct sim *sim, until_fn until, uint64_t ms)
{
	uint64_t end = sim->sched.now_ms + ms;

	for (unsigned i = 0; i < REST_STEPS && sim->sched.now_ms <= end; i++) {
		if (sim_failed(sim) || until(sim)) {
			return !sim_failed(sim);
		}
		step(sim);
	}
	return false;
}

static bool never(struct sim *sim)
{
	(void)sim;
	return false;
}

static bool is_down(struct sim *sim)
{
	return sim->agent.life == AGENT_DOWN;
}

static bool mirrors(struct sim *sim, bool strict)
{
	char why[256];

	return sim->sched.steps % 16 == 0 &&
	       check_mirror(sim, strict, why, sizeof why);
}

static bool is_held(const struct sim *sim)
{
	return sim->agent.life == AGENT_UP &&
	       sim->agent.status.phase == ROUTE_HELD;
}

static bool is_equal(struct sim *sim)
{
	return is_held(sim) || (sim->agent.status.phase == ROUTE_FOLLOWING &&
				mirrors(sim, false));
}

/* The route asked for a reconcile, and it is over. */
static bool is_reconciled(struct sim *sim)
{
	return sim->agent.status.phase == ROUTE_FOLLOWING &&
	       sim->agent.status.counters.reconciles > sim->reconciles_before;
}

static bool is_strict(struct sim *sim)
{
	return is_reconciled(sim) && mirrors(sim, true);
}

static void fail_converge(struct sim *sim, bool strict, const char *when)
{
	char why[256] = "equal, but the route does not follow";
	const struct route_status *st = &sim->agent.status;

	(void)check_mirror(sim, strict, why, sizeof why);
	sim_fail(sim,
		 "G1: no convergence %s: %s; phase %s, seen %llu, applied "
		 "%llu, saved %llu, source %llu%s%s",
		 when, why, route_phase_name(st->phase),
		 (unsigned long long)st->seen, (unsigned long long)st->applied,
		 (unsigned long long)st->saved,
		 (unsigned long long)sim->source.index,
		 st->error.status == KV_OK ? "" : ", error: ", st->error.text);
}

static void expect_equal(struct sim *sim, bool strict, const char *when)
{
	char why[256];

	if (!sim_failed(sim) && !check_mirror(sim, strict, why, sizeof why)) {
		sim_fail(sim, "G1: not equal %s: %s", when, why);
	}
}

/* Held: judged anew by a reconcile; then there must be a reason. */
static bool held_to_the_end(struct sim *sim)
{
	if (!is_held(sim)) {
		return false;
	}
	route_reconcile(sim->agent.route);
	(void)run_until(sim, never, HELD_MS);
	if (!is_held(sim)) {
		return false;
	}
	if (!check_held_ok(sim)) {
		sim_fail(sim, "held without a reason: %s",
			 sim->agent.status.held == NULL
			     ? "?"
			     : sim->agent.status.held);
	}
	return true;
}

static void rest_following(struct sim *sim)
{
	uint64_t grace =
	    sim->target.kind.caps.write_timeout_ms + UINT64_C(1000);

	if (sim->agent.life == AGENT_DOWN) {
		agent_start(sim);
	}
	actors_touch(sim);
	if (!run_until(sim, is_equal, REST_MS)) {
		fail_converge(sim, false, "after the faults");
		return;
	}
	if (held_to_the_end(sim)) {
		return;
	}
	if (!run_until(sim, is_equal, REST_MS)) {
		fail_converge(sim, false, "after it was held");
		return;
	}
	if (is_held(sim)) {
		return;
	}
	(void)run_until(sim, never, grace);
	expect_equal(sim, false, "when late writes are dead");
	sim->reconciles_before = sim->agent.status.counters.reconciles;
	route_reconcile(sim->agent.route);
	if (!run_until(sim, is_reconciled, HELD_MS)) {
		if (!is_held(sim) || !check_held_ok(sim)) {
			fail_converge(sim, true, "by a reconcile");
		}
		return;
	}
	if (!run_until(sim, is_strict, HELD_MS)) {
		fail_converge(sim, true, "after a reconcile");
		return;
	}
	(void)run_until(sim, never, 5000);
	expect_equal(sim, true, "after the last reconcile");
	sim->converged = !sim_failed(sim);
}

static bool is_over(struct sim *sim)
{
	return is_done(sim);
}

static bool nothing_late(struct sim *sim)
{
	return list_empty(&sim->target.late_writes);
}

static void rest_one_shot(struct sim *sim)
{
	if (sim->agent.life == AGENT_UP) {
		agent_close(sim);
		(void)run_until(sim, is_down, REST_MS);
	}
	(void)run_until(sim, nothing_late, REST_MS);
	if (sim_failed(sim)) {
		return;
	}
	agent_start(sim);
	if (!run_until(sim, is_over, REST_MS)) {
		fail_converge(sim, true, "of a one-shot");
		return;
	}
	check_done(sim);
	if (sim->agent.status.exit_status == KV_OK &&
	    sim->agent.status.held == NULL) {
		expect_equal(sim, true, "after a one-shot");
		sim->converged = !sim_failed(sim);
	} else if (!check_held_ok(sim)) {
		sim_fail(sim, "the last one-shot ended with %s: %s%s",
			 kv_status_name(sim->agent.status.exit_status),
			 sim->agent.status.error.text,
			 sim->agent.status.held == NULL
			     ? ""
			     : sim->agent.status.held);
	}
}

static void add_counters(struct sim *sim)
{
	const struct state_counters *c = &sim->agent.status.counters;

	sim->counts->reconciles += c->reconciles;
	sim->counts->conflicts += c->conflicts;
	sim->counts->repaired += c->repaired;
	sim->counts->adopted += c->adopted;
	sim->counts->splits += c->splits;
	sim->counts->torn += c->torn;
	sim->counts->unknown += c->unknown;
	sim->counts->released += c->released;
}

static void rest(struct sim *sim)
{
	actors_rest(sim);
	sim_trace(sim, "---- the source rests");
	if (sim->agent.life == AGENT_CLOSING &&
	    !run_until(sim, is_down, REST_MS)) {
		sim_fail(sim, "the agent does not close");
	}
	if (sim->agent.life == AGENT_UP && sim->agent.one_shot &&
	    !sim->plan.one_shot) {
		agent_close(sim);
		(void)run_until(sim, is_down, REST_MS);
	}
	if (sim_failed(sim)) {
		return;
	}
	if (sim->plan.one_shot) {
		rest_one_shot(sim);
	} else {
		rest_following(sim);
	}
	add_counters(sim);
	if (sim_failed(sim)) {
		return;
	}
	agent_close(sim);
	if (!run_until(sim, is_down, REST_MS)) {
		sim_fail(sim, "the agent does not close");
	}
	if (sim->converged && !sim_failed(sim)) {
		check_lists(sim);
		sim->counts->converged++;
	}
}

/* ---- a run
 * -----------------------------------------------------------------*/

static void set_up(struct sim *sim)
{
	sim_sched_init(&sim->sched, sim->seed);
	fake_world_init(&sim->source, "source", &sim->sched, sim->region);
	fake_world_init(&sim->target, "target", &sim->sched, sim->region);
	sim->mem->every = 0;
	sim->mem->turn = 0;
	sim->source.mem = sim->mem;
	sim->target.mem = sim->mem;
	sim->sched.worlds[0] = &sim->source;
	sim->sched.worlds[1] = &sim->target;
	plan_draw(sim);
	sim_mem_apart(sim->mem, sim->plan.memory);
	for (size_t i = 0; i < 2; i++) {
		sim->sched.worlds[i]->applied = check_applied;
		sim->sched.worlds[i]->ctx = sim;
		sim->sched.worlds[i]->trace = sim->verbose ? world_trace : NULL;
	}
	plan_fill(sim);
}

/* Nothing of a failed run may reach into the next one. */
static void tear_down(struct sim *sim)
{
	if (sim->state != NULL) {
		state_close(sim->state);
		sim->state = NULL;
	}
	sim_mem_drop(sim->mem);
	free(sim->old_state);
	sim->old_state = NULL;
	region_reset(sim->region);
}

bool sim_run(struct sim *sim)
{
	set_up(sim);
	storm(sim);
	if (!sim_failed(sim)) {
		rest(sim);
	}
	tear_down(sim);
	return !sim_failed(sim);
}
