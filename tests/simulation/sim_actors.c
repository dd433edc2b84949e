/* sim_actors.c: what others do while the agent works: the source's writer, a
 * second writer at the target, and what befalls servers and network. */
#include <stdio.h>
#include <stdlib.h>

#include "agent/route_int.h"
#include "fake_impl.h"
#include "sim.h"

static bool one_in(struct sim *sim, uint64_t n)
{
	return sim_chance(&sim->rand, 1, n);
}

/* ---- values
 * ----------------------------------------------------------------*/

struct value {
	char text[96];
	struct slice slice;
};

/* Nearly every value is new, so that the checks can tell where one came from;
 * a few are alike or empty on purpose. */
static struct slice draw_value(struct sim *sim, struct value *v, char who)
{
	int pad = 0;
	int n;

	if (one_in(sim, 25)) {
		v->slice = slice_str(one_in(sim, 2) ? "" : "same");
		return v->slice;
	}
	if (sim->plan.oversized && who == 's' && one_in(sim, 12)) {
		pad = 70; /* more than the target takes */
	} else if (one_in(sim, 4)) {
		pad = (int)sim_range(&sim->rand, 1, 40);
	}
	n = snprintf(v->text, sizeof v->text, "%c%llu%.*s", who,
		     (unsigned long long)++sim->next_value, pad,
		     "........................................"
		     "........................................");
	if (sim->plan.attrs && !one_in(sim, 3)) {
		n += snprintf(v->text + n, sizeof v->text - (size_t)n, "%ca%u",
			      FAKE_ATTRS, (unsigned)sim_below(&sim->rand, 9));
	}
	v->slice = slice_of(v->text, (size_t)n);
	return v->slice;
}

static struct sim_key *any_key(struct sim *sim)
{
	return &sim->keys[sim_below(&sim->rand, sim->n_keys)];
}

/* A key that the source's writer uses. */
static struct sim_key *source_key(struct sim *sim)
{
	struct sim_key *k;

	do {
		k = any_key(sim);
	} while (k->is_foreign && !(sim->plan.second_writer && one_in(sim, 8)));
	return k;
}

/* ---- the source's writer
 * ---------------------------------------------------*/

/* The same value, and something else beside it. */
static void other_attrs(struct sim *sim, struct value *v, struct slice whole)
{
	struct slice value, attrs;
	int n;

	fake_split(whole, &value, &attrs);
	n = snprintf(v->text, sizeof v->text, "%.*s%cb%llu", (int)value.n,
		     (const char *)value.p, FAKE_ATTRS,
		     (unsigned long long)++sim->next_value);
	v->slice = slice_of(v->text, (size_t)n);
}

static void put_source(struct sim *sim, struct sim_key *k)
{
	const struct fake_key *fk = fake_find(&sim->source, k->source);
	struct value v;

	if (sim->plan.attrs && fk != NULL && fake_now(fk)->present &&
	    one_in(sim, 4)) {
		other_attrs(sim, &v, fake_now(fk)->value);
	} else {
		(void)draw_value(sim, &v, 's');
	}
	fake_put(&sim->source, k->source, v.slice, FAKE_OWNER);
	sim->source_gone = false;
	sim_trace(sim, "source %llu: put %.*s = %.*s",
		  (unsigned long long)sim->source.index, (int)k->source.n,
		  (const char *)k->source.p, (int)v.slice.n,
		  (const char *)v.slice.p);
}

static void delete_source(struct sim *sim, struct sim_key *k)
{
	const struct fake_key *fk = fake_find(&sim->source, k->source);

	if (fk != NULL && fake_now(fk)->present) {
		fake_delete(&sim->source, k->source, FAKE_OWNER);
		sim->counts->source_deletes++;
		sim_trace(sim, "source %llu: delete %.*s",
			  (unsigned long long)sim->source.index,
			  (int)k->source.n, (const char *)k->source.p);
	}
}

static void change_source(struct sim *sim, struct sim_key *k)
{
	if (one_in(sim, 4)) {
		delete_source(sim, k);
	} else {
		put_source(sim, k);
	}
}

static bool is_among(struct sim_key *const *keys, size_t n,
		     const struct sim_key *k)
{
	for (size_t i = 0; i < n; i++) {
		if (keys[i] == k) {
			return true;
		}
	}
	return false;
}

static void source_tx(struct sim *sim, size_t n)
{
	struct sim_key *keys[8];
	size_t m = 0;

	fake_begin(&sim->source);
	for (size_t i = 0; i < n; i++) {
		struct sim_key *k = source_key(sim);

		if (!is_among(keys, m, k)) {
			keys[m++] = k;
			change_source(sim, k);
		}
	}
	fake_end(&sim->source);
	sim->counts->source_txs++;
}

static void source_delete_many(struct sim *sim)
{
	uint64_t odds = sim_range(&sim->rand, 1, 4);

	fake_begin(&sim->source);
	for (size_t i = 0; i < sim->n_keys; i++) {
		if (one_in(sim, odds)) {
			delete_source(sim, &sim->keys[i]);
		}
	}
	fake_end(&sim->source);
}

/* Somebody writes outside of the tree: the index alone moves. */
static void outside(struct sim *sim)
{
	struct fake_world *w = one_in(sim, 2) ? &sim->source : &sim->target;

	for (uint64_t n = sim_range(&sim->rand, 1, 3); n > 0; n--) {
		fake_begin(w);
		fake_end(w);
	}
}

/* ---- a second writer at the target
 * -----------------------------------------*/

static void put_target(struct sim *sim, struct sim_key *k, struct slice value)
{
	if (k->target.n == 0 || k->refused) {
		return;
	}
	fake_put(&sim->target, k->target, value, FAKE_FOREIGN);
	k->touched = true;
	sim_trace(sim, "target %llu: somebody puts %.*s = %.*s",
		  (unsigned long long)sim->target.index, (int)k->target.n,
		  (const char *)k->target.p, (int)value.n,
		  (const char *)value.p);
}

static void foreign_put(struct sim *sim)
{
	struct sim_key *k;
	struct value v;

	do {
		k = any_key(sim);
	} while (!k->is_foreign);
	fake_begin(&sim->target);
	put_target(sim, k, draw_value(sim, &v, 'f'));
	fake_end(&sim->target);
	sim->counts->foreign_writes++;
}

static void foreign_overwrite(struct sim *sim)
{
	struct sim_key *k = any_key(sim);
	struct value v;

	fake_begin(&sim->target);
	put_target(sim, k, draw_value(sim, &v, 'f'));
	fake_end(&sim->target);
	sim->counts->foreign_overwrites++;
	check_disturb(sim);
}

static void foreign_delete(struct sim *sim)
{
	struct sim_key *k = any_key(sim);
	const struct fake_key *fk = fake_find(&sim->target, k->target);

	if (fk == NULL || !fake_now(fk)->present) {
		return;
	}
	fake_begin(&sim->target);
	fake_delete(&sim->target, k->target, FAKE_FOREIGN);
	fake_end(&sim->target);
	k->touched = true;
	sim->others_deletes++;
	sim->counts->foreign_deletes++;
	sim_trace(sim, "target %llu: somebody deletes %.*s",
		  (unsigned long long)sim->target.index, (int)k->target.n,
		  (const char *)k->target.p);
	check_disturb(sim);
}

/* ---- servers and network
 * ---------------------------------------------------*/

static struct fake_world *either(struct sim *sim)
{
	return one_in(sim, 2) ? &sim->source : &sim->target;
}

static void compact(struct sim *sim)
{
	struct fake_world *w = either(sim);
	uint64_t to = w->index;

	if (!one_in(sim, 3)) {
		to = sim_range(&sim->rand, w->compacted, w->index);
	}
	fake_compact(w, to);
	if (w == &sim->source && sim->agent.life == AGENT_UP &&
	    sim->agent.status.phase == ROUTE_RECONCILING) {
		sim->counts->compactions_in_seed++;
	}
	sim_trace(sim, "%s: compacted to %llu", w->name,
		  (unsigned long long)w->compacted);
}

static void outage(struct sim *sim)
{
	struct fake_world *w = either(sim);

	if (one_in(sim, 2)) {
		w->outage_until_ms =
		    w->sched->now_ms + sim_range(&sim->rand, 10, 15000);
	}
	sim_trace(sim, "%s: connections break, down until %llu", w->name,
		  (unsigned long long)w->outage_until_ms);
	fake_cut(w);
}

/* The agent's own machine is short of something. */
static void scarcity(struct sim *sim)
{
	uint64_t until = sim->sched.now_ms + sim_range(&sim->rand, 10, 5000);

	if (sim->plan.memory && one_in(sim, 2)) {
		sim->memory_until_ms = until;
		sim->mem->every = (unsigned)sim_range(&sim->rand, 1, 60);
		sim->mem->turn = 0;
		sim_trace(sim, "memory: each allocation number %u fails",
			  sim->mem->every);
	}
	if (sim->plan.full_disk && one_in(sim, 2)) {
		sim->full_disk_until_ms = until;
		sim_trace(sim, "disk: full until %llu",
			  (unsigned long long)until);
	}
}

static void trouble(struct sim *sim)
{
	struct fake_world *w = either(sim);
	uint64_t until = w->sched->now_ms + sim_range(&sim->rand, 50, 20000);

	if (sim->plan.no_space) {
		sim->target.no_space_until_ms = until;
	}
	if (sim->plan.denied && one_in(sim, 2)) {
		w->denied_until_ms = until;
	}
}

/* Does what the world has of that row show that it went back? */
static bool went_back(const struct sim *sim, const struct fake_world *w,
		      const struct state_row *row, const struct fake_rev *r)
{
	if (r == NULL || !r->present) {
		return false; /* somebody may have deleted it */
	}
	if (w == &sim->source) {
		return r->index < row->source_index;
	}
	return r->version.b == row->version_b && r->version.a < row->version_a;
}

/* The rows that a probe goes by: those it has read already, when one is under
 * way, else what it would read. */
static size_t probe_rows(struct sim *sim, struct arena *a,
			 struct state_row **rows)
{
	const struct route *r = sim->agent.route;
	struct state_summary *routes;
	struct kv_err err = {0};
	size_t n = 0, found = 0;

	if (sim->agent.life == AGENT_UP && r != NULL && r->probe.running &&
	    r->probe.n > 0) {
		*rows = r->probe.rows;
		return r->probe.n;
	}
	if (sim->state == NULL ||
	    state_summaries(sim->state, a, &routes, &n, &err) != KV_OK ||
	    n == 0 ||
	    state_ledger_newest(sim->state, routes[0].route, PROBE_KEYS, a,
				rows, &found, &err) != KV_OK) {
		return 0;
	}
	return found;
}

/* Is a reconcile with a replaced store under way? Its ledger is of two
 * histories, and says nothing until all of it is stamped anew. */
static bool is_stamping(const struct sim *sim, const struct fake_world *w)
{
	const struct route *r = sim->agent.route;

	return sim->agent.life == AGENT_UP && r != NULL &&
	       r->stage > STAGE_PROBE &&
	       (w == &sim->source ? r->env.new_source : r->env.new_target);
}

/* Is the index less than what the agent has seen of it? */
static bool went_below(const struct sim *sim, const struct fake_world *w)
{
	const struct route *r = sim->agent.route;
	const struct state_checkpoint *cp = &r->env.cp;

	if (w == &sim->source) {
		return w->index < (r->probe.running ? r->probe.source_index
						    : cp->source_index);
	}
	return w->index <
	       (r->probe.running ? r->probe.target_index : cp->target_index);
}

/* Would somebody who reads its newest keys see that history is another one: a
 * key that went back, or several of which none is there? */
static bool leaves_evidence(struct sim *sim, const struct fake_world *w)
{
	struct state_row *rows;
	struct arena a;
	size_t found, absent = 0;
	bool back = false;

	if (is_stamping(sim, w)) {
		return went_below(sim, w);
	}
	arena_init(&a);
	found = probe_rows(sim, &a, &rows);
	for (size_t i = 0; i < found; i++) {
		const struct sim_key *k = sim_key_of_target(sim, rows[i].key);
		const struct fake_key *fk =
		    k == NULL ? NULL
			      : fake_find(w, w == &sim->source ? k->source
							       : k->target);
		const struct fake_rev *r = fk == NULL ? NULL : fake_now(fk);

		absent += r == NULL || !r->present;
		back = back || went_back(sim, w, &rows[i], r);
	}
	arena_free(&a);
	return back || (w == &sim->target && absent == found &&
			found >= PROBE_KEYS / 2);
}

static void new_identity(struct fake_world *w)
{
	w->era_unseen = false;
	(void)snprintf(w->identity, sizeof w->identity, "%s-%u", w->name,
		       w->era + 1);
}

/* Has the agent asked the world since its era began? */
static bool was_probed(const struct sim *sim, const struct fake_world *w)
{
	const struct sim_agent *a = &sim->agent;
	const struct fake_store *fs;

	if (a->life != AGENT_UP || a->route == NULL) {
		return false;
	}
	fs = w == &sim->source ? a->source->impl : a->target->impl;
	return fs->epoch == (w == &sim->source ? a->route->env.source_epoch
					       : a->route->env.target_epoch);
}

/* Where a store went back, its identity stays the same, and what goes on
 * meanwhile covers its tracks, nobody could tell: it gets a new identity. */
void actors_keep_evidence(struct sim *sim)
{
	struct fake_world *worlds[2] = {&sim->source, &sim->target};

	for (size_t i = 0; i < 2; i++) {
		struct fake_world *w = worlds[i];

		if (!w->era_unseen) {
			continue;
		}
		if (was_probed(sim, w)) {
			w->era_unseen = false;
		} else if (!leaves_evidence(sim, w)) {
			new_identity(w);
			fake_cut(w);
		}
	}
}

/* Was the key absent at some time after the restored revision, in the era that
 * has ended? Then the ledger forgot it. */
static bool was_absent_since(const struct fake_key *fk,
			     const struct fake_rev *restored)
{
	for (size_t i = fk->n - 1; i > 0; i--) {
		const struct fake_rev *r = &fk->revs[i - 1];

		if (r->era + 1 != restored->era ||
		    r->index <= restored->index) {
			return false;
		}
		if (!r->present) {
			return true;
		}
	}
	return false;
}

/* What a restore of the target brings back is nobody's: neither the value that
 * the ledger knows nor surely an older one of ours. */
static void mark_resurrected(struct sim *sim)
{
	for (size_t i = 0; i < sim->n_keys; i++) {
		struct sim_key *k = &sim->keys[i];
		const struct fake_key *fk = fake_find(&sim->target, k->target);
		const struct fake_rev *was, *now;

		if (fk == NULL || fk->n < 2 || !fake_now(fk)->present) {
			continue;
		}
		now = fake_now(fk);
		was = &fk->revs[fk->n - 2];
		if (was_absent_since(fk, now)) {
			k->resurrected = true;
		}
		if (!was->present || !slice_eq(was->value, now->value)) {
			k->touched = true;
		}
	}
}

/* Writes go on until the index is past what it was. */
static void overtake(struct sim *sim, struct fake_world *w, uint64_t was)
{
	w->counts->overtaken++;
	while (w->index <= was) {
		if (w == &sim->source && one_in(sim, 2)) {
			source_tx(sim, 1);
		} else {
			fake_begin(w);
			fake_end(w);
		}
	}
}

static void new_era(struct sim *sim)
{
	struct fake_world *w =
	    sim->plan.source_eras ? &sim->source : &sim->target;
	uint64_t was = w->index;
	uint64_t to;

	if (sim->plan.source_eras && sim->plan.target_eras && one_in(sim, 2)) {
		w = &sim->target;
		was = w->index;
	}
	to = one_in(sim, 3) ? 0 : sim_range(&sim->rand, w->born, w->index);
	fake_restore(w, to, false);
	if (w == &sim->target) {
		mark_resurrected(sim);
	} else {
		sim->source_gone = true;
	}
	/* An older state could not tell the two histories apart. */
	free(sim->old_state);
	sim->old_state = NULL;
	sim->era_dirty = true;
	check_disturb(sim);
	if (one_in(sim, 2)) {
		overtake(sim, w, was);
	}
	w->era_unseen = true;
	if (one_in(sim, 3)) {
		new_identity(w);
	}
	actors_keep_evidence(sim);
}

/* ---- what is done next
 * -----------------------------------------------------*/

static void second_writer(struct sim *sim)
{
	if (!sim->plan.second_writer) {
		source_tx(sim, 1);
	} else if (one_in(sim, 3)) {
		foreign_delete(sim);
	} else {
		foreign_overwrite(sim);
	}
}

static void misfortune(struct sim *sim)
{
	const struct sim_plan *p = &sim->plan;

	switch (sim_below(&sim->rand, 6)) {
	case 0:
	case 1:
		if (p->compaction) {
			compact(sim);
		}
		break;
	case 2:
		if (p->outages) {
			outage(sim);
		}
		break;
	case 3:
		if (p->no_space || p->denied) {
			trouble(sim);
		}
		break;
	case 4:
		if ((p->source_eras || p->target_eras) && one_in(sim, 2)) {
			new_era(sim);
		}
		break;
	default:
		if (sim->agent.life == AGENT_UP && !sim->agent.one_shot) {
			route_reconcile(sim->agent.route);
		}
		break;
	}
}

void actors_act(struct sim *sim)
{
	uint64_t roll = sim_below(&sim->rand, 100);

	sim->counts->actions++;
	if ((sim->plan.memory || sim->plan.full_disk) && one_in(sim, 8)) {
		scarcity(sim);
	}
	if (roll < 50) {
		source_tx(sim, 1);
	} else if (roll < 66) {
		source_tx(sim, (size_t)sim_range(&sim->rand, 2, 7));
	} else if (roll < 67) {
		source_delete_many(sim);
	} else if (roll < 73) {
		outside(sim);
	} else if (roll < 78) {
		foreign_put(sim);
	} else if (roll < 88) {
		second_writer(sim);
	} else {
		misfortune(sim);
	}
}

void actors_rest(struct sim *sim)
{
	struct fake_world *worlds[2] = {&sim->source, &sim->target};

	for (size_t i = 0; i < 2; i++) {
		worlds[i]->faults = (struct fake_faults){0};
		worlds[i]->outage_until_ms = 0;
		worlds[i]->no_space_until_ms = 0;
		worlds[i]->denied_until_ms = 0;
	}
	sim->memory_until_ms = 0;
	sim->full_disk_until_ms = 0;
	sim->quiet = true;
}

void actors_touch(struct sim *sim)
{
	for (size_t i = 0; i < sim->n_keys; i++) {
		struct sim_key *k = &sim->keys[i];

		if (!k->is_foreign && !k->refused && sim_in_scope(sim, k)) {
			fake_begin(&sim->source);
			fake_put(&sim->source, k->source, slice_str("last"),
				 FAKE_OWNER);
			fake_end(&sim->source);
			sim->source_gone = false;
			return;
		}
	}
}

/* What both sides have before the agent is started for the first time. */
void plan_fill(struct sim *sim)
{
	struct value v;

	for (unsigned i = 0; i < sim->plan.fill; i++) {
		source_tx(sim, 1);
	}
	for (size_t i = 0; i < 3; i++) {
		foreign_put(sim);
	}
	if (!sim->plan.prefilled_target) {
		return;
	}
	for (size_t i = 0; i < sim->n_keys; i++) {
		struct sim_key *k = &sim->keys[i];
		const struct fake_key *fk = fake_find(&sim->source, k->source);

		if (!one_in(sim, 3)) {
			continue;
		}
		fake_begin(&sim->target);
		if (fk != NULL && fake_now(fk)->present && !one_in(sim, 4)) {
			put_target(sim, k, fake_now(fk)->value);
		} else if (sim->plan.second_writer) {
			put_target(sim, k, draw_value(sim, &v, 'f'));
		}
		fake_end(&sim->target);
	}
}
