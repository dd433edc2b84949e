/* sim_agent.c: the agent under test: started, crashed, closed; and its state
 * file, which alone outlives it. */
#include <stdlib.h>
#include <string.h>

#include "agent/route_int.h"
#include "fake_store.h"
#include "sim.h"

/* ---- the state file
 * --------------------------------------------------------*/

/* What stands in the file, as the next process will find it. */
static uint8_t *copy_state(struct sim *sim, size_t *n)
{
	uint8_t *bytes, *copy;
	struct kv_err err = {0};

	if (state_dump(sim->state, &bytes, n, &err) != KV_OK) {
		sim_fail(sim, "state_dump: %s", err.text);
		return NULL;
	}
	copy = malloc(*n);
	if (copy == NULL) {
		abort();
	}
	memcpy(copy, bytes, *n);
	kv_free(bytes);
	return copy;
}

static void open_state(struct sim *sim, const uint8_t *bytes, size_t n)
{
	struct kv_err err = {0};

	PRE(sim->state == NULL);
	if (state_from_dump(bytes, n, &sim->state, &err) != KV_OK) {
		sim_fail(sim, "state_from_dump: %s", err.text);
	}
}

/* Kept for a power cut later on. */
void agent_remember_state(struct sim *sim)
{
	if (sim->state == NULL) {
		return;
	}
	free(sim->old_state);
	sim->old_state = copy_state(sim, &sim->old_state_n);
	sim->old_state_stamp = sim->target.n_txs;
	sim_trace(sim, "agent: an older copy of the state is kept");
}

/* ---- start
 * -----------------------------------------------------------------*/

static void changed(struct route *r, void *ctx)
{
	struct sim *sim = ctx;
	struct route_status st;

	route_status(r, &st);
	sim_trace(
	    sim, "agent: phase %s%s%s%s%s", route_phase_name(st.phase),
	    st.held == NULL ? "" : ", held: ", st.held == NULL ? "" : st.held,
	    st.error.status == KV_OK ? "" : ", error: ",
	    st.error.status == KV_OK ? "" : st.error.text);
}

static void plan_item(struct route *r, const struct route_plan *p, void *ctx)
{
	(void)r;
	(void)p;
	(void)ctx;
}

static bool open_stores(struct sim *sim, struct kv_err *err)
{
	struct sim_agent *a = &sim->agent;
	unsigned attrs = sim->plan.attrs ? STORE_ATTRS : 0;

	a->registry = (struct store_registry){0};
	return store_register(&a->registry, &fake_store_ops, err) == KV_OK &&
	       store_open(&a->registry, &sim->sched.base, sim->source_uri,
			  attrs, &a->source, err) == KV_OK &&
	       store_open(&a->registry, &sim->sched.base, sim->target_uri,
			  STORE_CREATE | attrs, &a->target, err) == KV_OK;
}

static void draw_params(struct sim *sim, struct route_params *p)
{
	struct sim_agent *a = &sim->agent;

	a->dry_run = !sim->quiet && sim_chance(&sim->rand, 1, 25);
	a->one_shot = sim->plan.one_shot || a->dry_run;
	*p = (struct route_params){.sched = &sim->sched.base,
				   .worker = a->worker,
				   .state = sim->state,
				   .conf = &sim->conf,
				   .source = a->source,
				   .target = a->target,
				   .follow = !a->one_shot,
				   .dry_run = a->dry_run,
				   .timeout_ms = a->one_shot ? 30000 : 0,
				   .batch_ops = sim->batch_ops,
				   .window = sim->window,
				   .changed = changed,
				   .plan = plan_item,
				   .ctx = sim};
	/* The last one-shot repairs what the stream cannot see. */
	p->repair = a->one_shot && !a->dry_run &&
		    (sim->quiet || sim_chance(&sim->rand, 1, 10));
}

void agent_start(struct sim *sim)
{
	struct sim_agent *a = &sim->agent;
	struct route_params params;
	struct kv_err err = {0};

	PRE(a->life == AGENT_DOWN);
	if (sim->plan.new_filter && !sim->quiet &&
	    sim_chance(&sim->rand, 1, 4)) {
		plan_new_filter(sim);
	}
	if (sim->state == NULL) {
		open_state(sim, sim->template_bytes, sim->template_n);
	}
	a->worker = worker_open(&sim->sched.base, "state");
	if (a->worker == NULL || !open_stores(sim, &err)) {
		sim_fail(sim, "start: %s", err.text);
		return;
	}
	draw_params(sim, &params);
	if (route_open(&params, &a->route, &err) != KV_OK) {
		sim_fail(sim, "route_open: %s", err.text);
		return;
	}
	sim_trace(sim, "agent: start%s%s%s", a->one_shot ? ", one-shot" : "",
		  a->dry_run ? ", dry run" : "",
		  params.repair ? ", repair" : "");
	sim->counts->starts++;
	sim->counts->one_shots += a->one_shot;
	sim->counts->dry_runs += a->dry_run;
	sim->writes_forbidden = a->dry_run;
	sim->last_saved = 0;
	a->life = AGENT_UP;
	route_start(a->route);
	agent_look(sim);
}

void agent_look(struct sim *sim)
{
	struct sim_agent *a = &sim->agent;

	if (a->life != AGENT_DOWN && a->route != NULL) {
		route_status(a->route, &a->status);
	}
}

/* Counters of a life that ends. */
static void count_life(struct sim *sim)
{
	sim->counts->followed +=
	    sim->agent.status.phase == ROUTE_FOLLOWING ? 1 : 0;
}

/* ---- crash
 * -----------------------------------------------------------------*/

/* Keys that it wrote since the older state: it will not know them. */
static void mark_orphans(struct sim *sim)
{
	for (size_t i = (size_t)sim->old_state_stamp; i < sim->target.n_txs;
	     i++) {
		const struct fake_tx *tx = &sim->target.txs[i];

		for (size_t k = 0; k < tx->n; k++) {
			const struct fake_event *e = &tx->events[k];
			struct sim_key *key =
			    sim_key_of_target(sim, e->key->key);

			if (key != NULL &&
			    e->key->revs[e->rev].writer == FAKE_AGENT) {
				/* Told again from the older position, it may
				 * go the same way once more. */
				key->orphan = true;
				key->pos = 0;
			}
		}
	}
}

void agent_crash(struct sim *sim, bool older)
{
	struct sim_agent *a = &sim->agent;
	uint8_t *bytes;
	size_t n;

	PRE(a->life != AGENT_DOWN);
	count_life(sim);
	sim->counts->crashes++;
	older = older && sim->old_state != NULL;
	sim_trace(sim, "agent: crash%s", older ? ", an older state" : "");
	check_checkpoint(sim);
	bytes = copy_state(sim, &n);
	fake_forget_agent(&sim->source);
	fake_forget_agent(&sim->target);
	sim_sched_forget_agent(&sim->sched);
	if (!list_empty(&sim->target.late_writes)) {
		sim->counts->crashes_late_writes++;
	}
	state_close(sim->state);
	sim->state = NULL;
	sim_mem_drop(sim->mem);
	*a = (struct sim_agent){.life = AGENT_DOWN};
	check_disturb(sim);
	if (older) {
		/* The machine was away for longer than a write may take. */
		fake_settle(&sim->target);
		mark_orphans(sim);
		sim->state_lost = true;
		for (size_t i = 0; i < sim->n_keys; i++) {
			sim->keys[i].owe_journal = false; /* lost with it */
		}
		sim->counts->older_states++;
		open_state(sim, sim->old_state, sim->old_state_n);
	} else if (bytes != NULL) {
		open_state(sim, bytes, n);
	}
	sim->writes_forbidden = false;
	free(bytes);
}

/* ---- close
 * -----------------------------------------------------------------*/

/* All is closed: nothing of the agent's may be left. */
static void all_closed(struct sim *sim)
{
	struct sim_agent *a = &sim->agent;
	uint8_t *bytes;
	size_t n;

	check_checkpoint(sim);
	check_drained(sim);
	bytes = copy_state(sim, &n);
	state_close(sim->state);
	sim->state = NULL;
	store_registry_free(&a->registry);
	*a = (struct sim_agent){.life = AGENT_DOWN};
	sim->writes_forbidden = false;
	if (sim->mem->n > 0) {
		sim_fail(sim, "leak: %zu blocks, %zu bytes after a close",
			 sim->mem->n, sim->mem->bytes);
		if (sim->verbose) {
			sim_mem_print(sim->mem, 10);
		}
	}
	if (!sim_sched_agent_gone(&sim->sched)) {
		sim_fail(sim, "tasks, timers or events are left after a close");
	}
	if (bytes != NULL) {
		open_state(sim, bytes, n);
	}
	free(bytes);
	sim_trace(sim, "agent: closed");
}

static void part_closed(void *ctx)
{
	struct sim *sim = ctx;

	PRE(sim->agent.closing > 0);
	sim->agent.closing--;
}

static void route_closed(void *ctx)
{
	struct sim *sim = ctx;
	struct sim_agent *a = &sim->agent;

	a->route = NULL;
	a->closing = 3;
	store_close(a->source, part_closed, sim);
	store_close(a->target, part_closed, sim);
	worker_close(a->worker, part_closed, sim);
}

void agent_close(struct sim *sim)
{
	struct sim_agent *a = &sim->agent;
	uint64_t drain =
	    sim_chance(&sim->rand, 1, 3) ? 0 : sim_range(&sim->rand, 1, 10000);

	PRE(a->life == AGENT_UP);
	count_life(sim);
	sim_trace(sim, "agent: close, drain %llu ms",
		  (unsigned long long)drain);
	sim->counts->closes++;
	a->life = AGENT_CLOSING;
	a->closing = 1000; /* until route_closed says what is left */
	a->drain_until_ms = 0;
	/* The news of a failure may be on its way for a while; what would hold
	 * the route ends the drain. */
	if (drain > 0 && a->status.phase == ROUTE_FOLLOWING &&
	    sim->conf.conflict != CONF_STOP &&
	    sim->conf.max_delete.kind == CONF_FUSE_PERCENT &&
	    sim->conf.max_delete.n >= 100 && !a->route->restarting &&
	    sim->sched.now_ms > sim->fault_ms + 1000 &&
	    sim->sched.steps > sim->fault_step + 100) {
		a->drain_until_ms = sim->sched.now_ms + drain;
		a->drain_seen = a->status.seen;
		a->drain_saved = a->status.saved;
		a->drain_faults = check_faults(sim);
	}
	route_close(a->route, drain, route_closed, sim);
}

void agent_reap(struct sim *sim)
{
	if (sim->agent.life == AGENT_CLOSING && sim->agent.closing == 0) {
		all_closed(sim);
	}
}
