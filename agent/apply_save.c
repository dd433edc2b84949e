/* apply_save.c: the step SAVE of a batch: ledger rows, intents closed,
 * conflicts, quarantine, foreign keys, the checkpoint: one transaction. */
#include "agent/apply_int.h"
#include "agent/twin.h"
#include "store/base/log.h"

/* Late intents that one save closes at most. */
#define GATHER_LATE 64
/* Intents that are lent to another batch stay open until that is over, too. */
#define LENT_MS (60U * 1000)

/* What the worker gets, and what it found. In its own arena, as the batch's
 * memory is read at the same time by nobody else. */
struct apply_save {
	struct arena arena;
	struct state_commit commit;
	struct state_checkpoint cp;
	struct state_list_counts counts;
	bool count;
	size_t n_late; /* of the closed intents, the first so many are late */
};

static void save_work(struct worker_job *job)
{
	struct apply *a = kv_container_of(job, struct apply, save_job);
	struct apply_save *s = a->save;

	kv_err_clear(&a->job_err);
	if (state_commit(a->env->state, &s->commit, &a->job_err) == KV_OK &&
	    s->count) {
		a->job_err.status = state_count_lists(
		    a->env->state, a->env->route, &s->counts, &a->job_err);
	}
}

/* A conflict that is decided by a write, not yet in the journal. */
static bool is_unjournaled(const struct batch_item *it)
{
	return it->step == ITEM_WRITE && it->conflict && !it->counted;
}

static void save_free(struct apply *a)
{
	if (a->save != NULL) {
		arena_free(&a->save->arena);
		kv_free(a->save);
		a->save = NULL;
	}
}

static void journal_done(struct apply *a)
{
	a->journaling = false;
	save_free(a);
	if (a->job_err.status != KV_OK && !a->aborting) {
		apply_trouble(a, &a->job_err);
		return;
	}
	for (size_t i = 0; i < a->batch->n; i++) {
		struct batch_item *it = &a->batch->items[i];

		it->counted = it->counted || is_unjournaled(it);
	}
	apply_step(a);
}

static void save_done(struct worker_job *job)
{
	struct apply *a = kv_container_of(job, struct apply, save_job);
	struct route_env *env = a->env;

	a->busy = false;
	if (a->journaling) {
		journal_done(a);
		return;
	}
	if (a->job_err.status != KV_OK) {
		save_free(a);
		if (a->aborting) {
			apply_step(a);
		} else {
			apply_trouble(a, &a->job_err);
		}
		return;
	}
	env->saved = KV_MAX(env->saved, a->save->cp.index);
	env_late_drop(env, a->save->commit.close_intents, a->save->n_late);
	if (a->save->count) {
		env->quarantine = a->save->counts.quarantine;
		env->foreign = a->save->counts.foreign;
		env->yielded = a->save->counts.yielded;
	}
	save_free(a);
	if (a->aborting) {
		apply_step(a);
		return;
	}
	batch_free(a->batch);
	a->batch = NULL;
	a->saving = false;
	twin_landed(a);
	a->events->saved(a);
}

/* ---- gathering
 * --------------------------------------------------------------------*/

static void journal(const struct route_env *env, const struct batch_item *it,
		    struct state_conflict *c)
{
	char source[KV_HASH_HEX_MAX] = "absent";
	char target[KV_HASH_HEX_MAX] = "absent";

	c->key = it->key;
	c->wall_ms = sched_wall(env->sched);
	c->has_source = it->conflict_source.present;
	c->has_target = it->conflict_target.present;
	c->source_hash = it->conflict_source.hash;
	c->target_hash = it->conflict_target.hash;
	c->source_index = it->conflict_source.index;
	c->decision = it->decision;
	if (c->has_source) {
		(void)kv_hash_hex(&c->source_hash, source);
	}
	if (c->has_target) {
		(void)kv_hash_hex(&c->target_hash, target);
	}
	LOG_WARN("conflict", LOG_S("route", env->conf->name),
		 LOG_B("key", it->key), LOG_S("decision", it->decision),
		 LOG_S("source", source), LOG_S("target", target));
}

static void quarantine(struct route_env *env, const struct batch_item *it,
		       struct state_quarantined *q)
{
	q->key = it->source_key.n > 0 ? it->source_key : it->key;
	q->reason = it->refused;
	q->source_index = it->source_index;
	q->wall_ms = sched_wall(env->sched);
	q->stale = it->has_row && it->row.kind == STATE_ROW_STALE;
	if (env_refused_anew(env, q->key, q->reason)) {
		LOG_WARN("quarantined", LOG_S("route", env->conf->name),
			 LOG_B("key", q->key), LOG_S("reason", q->reason));
	}
}

/* A tombstone guards against older changes that may be told again: behind the
 * checkpoint there are none. */
static struct state_row saved_row(const struct apply *a,
				  const struct batch_item *it)
{
	struct state_row row = it->row;

	if (row.kind == STATE_ROW_GONE &&
	    row.source_index <= a->env->cp.index) {
		row.kind = STATE_ROW_NONE;
	}
	return row;
}

struct gather {
	struct state_row *rows;
	struct state_row *twin_rows;
	struct state_conflict *conflicts;
	struct state_quarantined *quarantine;
	struct slice *unquarantine;
	struct slice *foreign;
	struct slice *unforeign;
	int64_t *intents;
};

static bool gather_alloc(struct gather *g, struct arena *arena, size_t n,
			 size_t n_ids)
{
	g->rows = arena_alloc(arena, n * sizeof *g->rows);
	g->twin_rows = arena_alloc(arena, n * sizeof *g->twin_rows);
	g->conflicts = arena_alloc(arena, n * sizeof *g->conflicts);
	g->quarantine = arena_alloc(arena, n * sizeof *g->quarantine);
	g->unquarantine = arena_alloc(arena, n * sizeof *g->unquarantine);
	g->foreign = arena_alloc(arena, n * sizeof *g->foreign);
	g->unforeign = arena_alloc(arena, n * sizeof *g->unforeign);
	g->intents =
	    arena_alloc(arena, (n_ids + GATHER_LATE) * sizeof *g->intents);
	return g->rows != NULL && g->twin_rows != NULL &&
	       g->conflicts != NULL && g->quarantine != NULL &&
	       g->unquarantine != NULL && g->foreign != NULL &&
	       g->unforeign != NULL && g->intents != NULL;
}

static void gather_conflict(struct apply *a, const struct batch_item *it,
			    struct gather *g, struct state_commit *c)
{
	a->env->cp.counters.conflicts++;
	a->env->cp.counters.repaired += it->repair ? 1 : 0;
	journal(a->env, it, &g->conflicts[c->n_conflicts++]);
}

/* A key that the source had as of the checkpoint, and that the ledger names no
 * more, as it was read at a later state. */
static void note_row(struct route_env *env, const struct state_row *row)
{
	if ((row->kind == STATE_ROW_NONE || row->kind == STATE_ROW_GONE) &&
	    row->source_index > env->cp.index) {
		env->dropped_to = KV_MAX(env->dropped_to, row->source_index);
		env->cp.exact = false;
	}
}

static void gather_item(struct apply *a, struct batch_item *it,
			struct gather *g, struct state_commit *c)
{
	struct route_env *env = a->env;

	if (it->has_row) {
		note_row(env, &it->row);
		g->rows[c->n_rows++] = saved_row(a, it);
	}
	if (it->has_row && c->twin != 0 &&
	    twin_row(env, it, &g->twin_rows[c->n_twin_rows])) {
		c->n_twin_rows++;
	}
	if (it->conflict && !it->counted) {
		gather_conflict(a, it, g, c);
		it->counted = true;
	}
	if (it->quarantine) {
		quarantine(env, it, &g->quarantine[c->n_quarantine++]);
	} else if (env->quarantine > 0 && it->source_key.n > 0 && !it->old) {
		g->unquarantine[c->n_unquarantine++] = it->source_key;
	}
	if (it->foreign) {
		g->foreign[c->n_foreign++] = it->key;
	} else if (env->foreign > 0 &&
		   (it->wrote ||
		    (it->has_row && it->row.kind != STATE_ROW_NONE))) {
		g->unforeign[c->n_unforeign++] = it->key;
	}
}

static bool still_unsettled(const struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->items[i].unsettled) {
			return true;
		}
	}
	return false;
}

/* A save with an arena of its own and room for the batch's items; false: no
 * memory. */
static bool save_open(struct apply *a, struct gather *g)
{
	struct apply_save *s = kv_calloc(1, sizeof *s);

	if (s == NULL) {
		return false;
	}
	arena_init(&s->arena);
	a->save = s;
	if (!gather_alloc(g, &s->arena, a->batch->n + 1,
			  a->batch->n_intent_ids)) {
		save_free(a);
		return false;
	}
	s->commit.route = a->env->route;
	s->commit.rows = g->rows;
	s->commit.twin_rows = g->twin_rows;
	s->commit.twin = twin_route(a->env);
	s->commit.conflicts = g->conflicts;
	s->commit.quarantine = g->quarantine;
	s->commit.unquarantine = g->unquarantine;
	s->commit.foreign = g->foreign;
	s->commit.unforeign = g->unforeign;
	s->commit.close_intents = g->intents;
	s->cp = a->env->cp;
	s->commit.checkpoint = &s->cp;
	return true;
}

/* Which intents end with this batch: its own, unless a write of theirs may
 * still land; and older ones whose time has come. */
static void gather_intents(struct apply *a, struct state_commit *c,
			   int64_t *ids)
{
	struct route_env *env = a->env;
	struct batch *b = a->batch;
	uint64_t now = sched_now(env->sched);
	uint64_t until = KV_MAX(a->dead_at_ms, b->lent ? now + LENT_MS : 0);

	c->n_close_intents = env_late_due(env, ids, GATHER_LATE);
	a->save->n_late = c->n_close_intents;
	if (a->held && still_unsettled(b)) {
		return;
	}
	for (size_t i = 0; i < b->n_intent_ids; i++) {
		if (until <= now) {
			ids[c->n_close_intents++] = b->intent_ids[i];
		} else {
			(void)env_late_add(env, b->intent_ids[i], until);
		}
	}
}

static bool any_yielded(const struct state_commit *c)
{
	for (size_t i = 0; i < c->n_rows; i++) {
		if (c->rows[i].kind == STATE_ROW_YIELDED) {
			return true;
		}
	}
	return false;
}

/* Builds what is saved; false: no memory. */
static bool save_prepare(struct apply *a)
{
	struct batch *b = a->batch;
	struct gather g;
	struct state_commit *c;

	if (!save_open(a, &g)) {
		return false;
	}
	c = &a->save->commit;
	for (size_t i = 0; i < b->n; i++) {
		if (b->items[i].step == ITEM_DONE) {
			gather_item(a, &b->items[i], &g, c);
		}
	}
	gather_intents(a, c, g.intents);
	a->save->cp = a->env->cp; /* the counters have moved */
	c->purge_tombstones = b->move && !a->held ? a->env->cp.index : 0;
	a->save->count = c->n_quarantine + c->n_unquarantine + c->n_foreign +
				 c->n_unforeign + c->n_conflicts >
			     0 ||
			 a->env->yielded > 0 || any_yielded(c);
	return true;
}

static bool journal_prepare(struct apply *a)
{
	struct gather g;

	if (!save_open(a, &g)) {
		return false;
	}
	for (size_t i = 0; i < a->batch->n; i++) {
		if (is_unjournaled(&a->batch->items[i])) {
			gather_conflict(a, &a->batch->items[i], &g,
					&a->save->commit);
		}
	}
	a->save->cp = a->env->cp;
	a->save->cp.index = a->env->saved;
	return true;
}

void apply_journal_start(struct apply *a)
{
	struct kv_err err = {0};

	if (!journal_prepare(a)) {
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory for the journal");
		apply_trouble(a, &err);
		return;
	}
	a->busy = true;
	a->journaling = true;
	a->save_job.work = save_work;
	a->save_job.done = save_done;
	worker_submit(a->env->worker, &a->save_job);
}

bool apply_journal_needed(const struct apply *a)
{
	for (size_t i = 0; i < a->batch->n; i++) {
		if (is_unjournaled(&a->batch->items[i])) {
			return true;
		}
	}
	return false;
}

void apply_save_start(struct apply *a)
{
	struct kv_err err = {0};

	if (!save_prepare(a)) {
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory to save a batch");
		apply_trouble(a, &err);
		return;
	}
	a->busy = true;
	a->save_job.work = save_work;
	a->save_job.done = save_done;
	worker_submit(a->env->worker, &a->save_job);
}
