/* route_scan.c: a reconcile, from the empty lists to the saved end.
 *
 *   PREPARE -> (RECOVER) -> WATCH -> SEED -> (fuse) -> CATCHUP, one-shots
 *     -> QUIET -> DIRTY -> FINISH -> FOLLOW, or DONE
 */
#include <inttypes.h>
#include <stdio.h>

#include "agent/route_int.h"
#include "store/base/log.h"

/* ---- PREPARE, WATCH
 * ---------------------------------------------------------------------------*/

static void prepare_work(struct worker_job *job)
{
	struct route *r = kv_container_of(job, struct route, job);
	struct state_commit c = {.route = r->env.route,
				 .clear_foreign = true,
				 .clear_quarantine = true,
				 .checkpoint = &r->job_cp};

	/* Tombstones speak of the old history's indexes. */
	c.purge_tombstones = r->env.new_source ? INT64_MAX : 0;
	kv_err_clear(&r->job_err);
	if (state_commit(r->env.state, &c, &r->job_err) == KV_OK) {
		r->job_err.status =
		    state_dirty_clear(r->env.state, r->env.route, &r->job_err);
	}
}

void route_stage_seed(struct route *r)
{
	struct kv_err err = {0};

	r->stage = STAGE_SEED;
	route_set_phase(r, ROUTE_RECONCILING);
	if (seed_start(&r->seed, r->p.dry_run) != KV_OK) {
		r->stage = STAGE_WATCH; /* a retry opens the watch again */
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory for a scan");
		route_restart(r, "memory ran out");
	}
}

static void prepare_done(struct worker_job *job)
{
	struct route *r = kv_container_of(job, struct route, job);

	r->job_busy = false;
	if (r->restarting) {
		route_stage_maybe_restart(r);
	} else if (r->job_err.status != KV_OK) {
		route_trouble(r, &r->job_err);
	} else {
		r->env.quarantine = 0;
		r->env.foreign = 0;
		route_stage_recover(r);
	}
}

void route_stage_prepare(struct route *r)
{
	r->stage = STAGE_PREPARE;
	route_set_phase(r, ROUTE_RECONCILING);
	if (r->p.dry_run) {
		route_stage_seed(r);
		return;
	}
	r->env.cp.complete = false;
	r->job_cp = r->env.cp;
	r->job_busy = true;
	r->job.work = prepare_work;
	r->job.done = prepare_done;
	worker_submit(r->env.worker, &r->job);
}

void route_stage_open_watch(struct route *r, enum follow_mode mode,
			    uint64_t after)
{
	struct kv_err err = {0};

	r->watch_lost = false;
	r->known.complete = route_known_all(r, after);
	if (follow_open(&r->follow, mode, after, &r->known) != KV_OK) {
		r->watch_lost = true;
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory for a watch");
		route_trouble(r, &err);
	}
}

/* The watch stands before the first page is read: no gap. One that re-lists
 * needs the ledger instead, with all that the scan has seen: a key that the
 * scan saw and that was gone by the next look would never be told. */
void route_stage_watch(struct route *r)
{
	if (!route_tells_deletes(r)) {
		route_stage_seed(r);
		return;
	}
	r->stage = STAGE_WATCH;
	route_stage_open_watch(r, FOLLOW_DRAIN, 0);
}

/* ---- SEED
 * ----------------------------------------------------------------------------------------*/

/* May the inferred deletes be carried out? */
static bool fuse_holds(struct route *r, char *reason, size_t cap)
{
	bool empty = seed_source_count(&r->seed) == 0;

	if (empty && r->seed.foreign_deletes > 0 &&
	    r->p.conf->max_delete.kind == CONF_FUSE_DEFAULT) {
		(void)snprintf(reason, cap,
			       "the source is empty, and --delete all would "
			       "remove %" PRIu64 " foreign keys of the target; "
			       "nothing was deleted: check the source's "
			       "prefix, or allow it with --max-delete 100%%",
			       r->seed.foreign_deletes);
		return true;
	}
	return !env_fuse_allows(&r->env, r->seed.deletes, r->env.keys, empty,
				reason, cap);
}

static void on_seed_end(struct seed *s)
{
	struct route *r = s->ctx;
	char reason[KV_ERR_TEXT_MAX];

	r->end_index = seed_source_end(s);
	if (s->held) {
		route_hold(r, s->held_reason);
	} else if (fuse_holds(r, reason, sizeof reason)) {
		route_hold(r, reason);
	} else if (r->p.dry_run) {
		route_done(r, KV_OK);
	} else if (!r->p.follow && route_tells_deletes(r) &&
		   r->follow.position < r->end_index) {
		r->stage = STAGE_CATCHUP;
		follow_want(&r->follow, r->end_index);
	} else {
		route_stage_quiet(r);
	}
}

static void on_seed_moved(struct seed *s)
{
	route_progress(s->ctx);
}

static void on_seed_trouble(struct seed *s, const struct kv_err *err)
{
	struct route *r = s->ctx;

	if (err->status == KV_BROKEN && r->p.follow) {
		/* The same page would be judged the same way again. */
		route_restart_later(r, err,
				    "a store's answer was not "
				    "understood within a reconcile");
		return;
	}
	route_trouble(r, err);
}

static void on_seed_aborted(struct seed *s)
{
	route_stage_maybe_restart(s->ctx);
}

static void on_decision(struct seed *s, const struct seed_decision *d)
{
	struct route *r = s->ctx;
	struct route_plan plan = {.verdict = d->out->verdict,
				  .conflict = d->out->conflict,
				  .key = d->item->key,
				  .source_key = d->item->source_key,
				  .reason = d->item->refused};

	if (plan.reason == NULL && plan.conflict) {
		plan.reason = d->out->decision;
	}
	if (r->p.plan != NULL) {
		r->p.plan(r, &plan, r->p.ctx);
	}
}

/* ---- QUIET, DIRTY, FINISH
 * -----------------------------------------------------------------------------*/

void route_stage_maybe_drain(struct route *r)
{
	if (r->stage == STAGE_QUIET && follow_is_idle(&r->follow) &&
	    !r->trouble) {
		r->stage = STAGE_DIRTY;
		r->env.stamped = true;
		dirty_drain(&r->dirty);
	}
}

/* No new pulls: what is in the dirty table, and deletes, are next. */
void route_stage_quiet(struct route *r)
{
	r->stage = STAGE_QUIET;
	follow_pause(&r->follow);
	route_stage_maybe_drain(r);
}

static void finish_work(struct worker_job *job)
{
	struct route *r = kv_container_of(job, struct route, job);
	struct state_commit c = {.route = r->env.route,
				 .checkpoint = &r->job_cp,
				 .purge_tombstones = r->job_cp.index};

	kv_err_clear(&r->job_err);
	if (state_commit(r->env.state, &c, &r->job_err) == KV_OK) {
		r->job_err.status = state_count_lists(
		    r->env.state, r->env.route, &r->load.counts, &r->job_err);
	}
}

static void finish_done(struct worker_job *job)
{
	struct route *r = kv_container_of(job, struct route, job);

	r->job_busy = false;
	if (r->restarting) {
		route_stage_maybe_restart(r);
		return;
	}
	if (r->job_err.status != KV_OK) {
		route_trouble(r, &r->job_err);
		return;
	}
	r->env.saved = r->job_cp.index;
	r->env.quarantine = r->load.counts.quarantine;
	r->env.foreign = r->load.counts.foreign;
	r->env.yielded = r->load.counts.yielded;
	if (!r->p.follow) {
		route_done(r, KV_OK);
		return;
	}
	route_leave_gate(r);
	route_progress(r);
	if (r->follow.mode == FOLLOW_OFF) {
		route_stage_follow(r);
		return;
	}
	r->stage = STAGE_FOLLOW;
	route_set_phase(r, ROUTE_FOLLOWING);
	follow_live(&r->follow);
	route_stage_try_again(r);
	if (r->watch_lost && !r->trouble) {
		route_stage_reopen(r);
	}
}

void route_stage_finish(struct route *r)
{
	r->stage = STAGE_FINISH;
	r->job_cp = r->env.cp;
	r->job_busy = true;
	r->job.work = finish_work;
	r->job.done = finish_done;
	worker_submit(r->env.worker, &r->job);
}

/* The reconcile is over: everything up to the stream's position, or what the
 * scan stood for, is in the target. */
static void reconciled(struct route *r)
{
	struct state_checkpoint *cp = &r->env.cp;

	r->env.new_source = false;
	r->env.new_target = false;
	r->env.replaced = false;
	r->env.inferred_pending = 0;
	r->must_reconcile = false;
	r->is_held = false;
	r->env.held_on.n = 0;
	backoff_reset(&r->held_backoff);
	route_set_identity(cp->source_identity, r->env.source_identity);
	route_set_identity(cp->target_identity, r->env.target_identity);
	cp->complete = true;
	cp->exact =
	    r->follow.mode != FOLLOW_OFF || seed_source_is_one(&r->seed);
	cp->index = KV_MAX(cp->index, r->follow.mode == FOLLOW_OFF
					  ? seed_source_low(&r->seed)
					  : r->follow.position);
	cp->exact = cp->exact && r->env.dropped_to <= cp->index;
	cp->counters.reconciles++;
	LOG_INFO("reconciled", LOG_S("route", r->p.conf->name),
		 LOG_U("index", cp->index), LOG_U("scanned", r->seed.scanned),
		 LOG_U("written", r->env.written),
		 LOG_U("quarantine", r->env.quarantine),
		 LOG_U("foreign", r->env.foreign));
	route_stage_finish(r);
}

/* A one-shot of a source that re-lists: what changed while it was scanned, by
 * the ledger. */
static void relist_once(struct route *r)
{
	r->stage = STAGE_CATCHUP;
	route_stage_open_watch(r, FOLLOW_DRAIN,
			       KV_MAX(seed_source_low(&r->seed), 1));
	follow_want(&r->follow, r->end_index);
}

static void on_dirty_end(struct dirty *d)
{
	struct route *r = d->ctx;

	if (!follow_is_idle(&r->follow)) {
		r->stage = STAGE_QUIET; /* a late pull came in */
		return;
	}
	if (!r->p.follow && r->follow.mode == FOLLOW_OFF) {
		relist_once(r);
		return;
	}
	reconciled(r);
}

static void on_dirty_moved(struct dirty *d)
{
	route_progress(d->ctx);
}

static void on_dirty_trouble(struct dirty *d, const struct kv_err *err)
{
	route_trouble(d->ctx, err);
}

static void on_dirty_held(struct dirty *d, const char *reason)
{
	route_hold(d->ctx, reason);
}

static void on_dirty_aborted(struct dirty *d)
{
	route_stage_maybe_restart(d->ctx);
}

void route_scan_init(struct route *r)
{
	uint32_t window = r->p.window == 0 ? 16 : r->p.window;

	seed_init(&r->seed, &r->env, window, r);
	r->seed.end = on_seed_end;
	r->seed.moved = on_seed_moved;
	r->seed.trouble = on_seed_trouble;
	r->seed.aborted = on_seed_aborted;
	r->seed.decision = on_decision;
	dirty_init(&r->dirty, &r->env, r);
	r->dirty.end = on_dirty_end;
	r->dirty.moved = on_dirty_moved;
	r->dirty.trouble = on_dirty_trouble;
	r->dirty.held = on_dirty_held;
	r->dirty.aborted = on_dirty_aborted;
}
