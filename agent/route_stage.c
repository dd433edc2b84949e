/* route_stage.c: what follows what in a route.
 *
 *   LOAD -> PROBE -+-> RECOVER -> FOLLOW                    (history goes on)
 *                  `-> PREPARE -> RECOVER -> WATCH -> SEED -> (fuse) -> QUIET
 *                        -> DIRTY -> FINISH -> FOLLOW, or DONE
 *
 * Each callback notes what came and says which stage begins. Here stand FOLLOW,
 * and how a route goes on after trouble or gives up; what is before it is in
 * route_probe.c, route_recover.c and route_scan.c.
 */
#include "agent/identity.h"
#include "agent/route_int.h"
#include "store/base/log.h"

#define AGAIN_MS (3600U * 1000U)
#define AGAIN_MAX_MS (24U * AGAIN_MS)

/* ---- FOLLOW
 * --------------------------------------------------------------------------------------------*/

/* What could not be carried, or was yielded, is tried again now and then: the
 * target may take it by now, or both sides may be equal. */
static void again_fire(struct sched_timer *t)
{
	struct route *r = kv_container_of(t, struct route, again_timer);

	if (r->stage == STAGE_FOLLOW && !r->trouble && !r->closing &&
	    (r->env.quarantine > 0 || r->env.yielded > 0)) {
		r->again_ms = KV_MIN(r->again_ms * 2, AGAIN_MAX_MS);
		route_restart(r, "keys that were left out are tried again");
		return;
	}
	if (!r->closing) {
		r->again_ms = AGAIN_MS;
		sched_timer_start(r->env.sched, t, r->again_ms);
	}
}

void route_stage_try_again(struct route *r)
{
	r->again_ms = KV_MAX(r->again_ms, AGAIN_MS);
	r->again_timer.fire = again_fire;
	sched_timer_start(r->env.sched, &r->again_timer, r->again_ms);
}

static bool same_source(struct route *r, const struct store_origin *origin)
{
	return identity_judge(r->env.source_identity, origin->identity) ==
	       IDENTITY_SAME;
}

static void on_ready(struct follow *f, const struct store_origin *origin)
{
	struct route *r = f->ctx;

	if (!same_source(r, origin)) {
		route_restart(r, "the source is another one");
	} else if (origin->epoch != r->env.source_epoch) {
		/* Connected anew since the probe: ask again who it is. */
		struct kv_err err = {0};

		(void)kv_fail(&err, KV_NOT_REACHABLE,
			      "the source was connected anew");
		follow_lose(f);
		r->watch_lost = true;
		route_trouble(r, &err);
	} else if (r->stage == STAGE_WATCH) {
		route_stage_seed(r);
	} else if (r->stage == STAGE_FOLLOW && !r->trouble) {
		route_set_phase(r, ROUTE_FOLLOWING);
	} else if (r->stage == STAGE_CATCHUP && f->position >= r->end_index) {
		/* The scan stood for all of it: no more will come, perhaps. */
		route_stage_quiet(r);
	}
}

void route_stage_follow(struct route *r)
{
	r->stage = STAGE_FOLLOW;
	route_stage_open_watch(r, FOLLOW_LIVE, r->env.cp.index);
	route_stage_try_again(r);
}

static void open_again(struct route *r)
{
	bool live = r->stage == STAGE_FOLLOW;
	uint64_t after = r->stage == STAGE_WATCH ? 0 : r->follow.position;
	/* From QUIET on nothing more is pulled into the dirty table. */
	bool paused = r->stage == STAGE_QUIET || r->stage == STAGE_DIRTY ||
		      r->stage == STAGE_FINISH;

	route_stage_open_watch(r, live ? FOLLOW_LIVE : FOLLOW_DRAIN, after);
	if (paused && !live) {
		follow_pause(&r->follow);
	}
}

void route_stage_reopen(struct route *r)
{
	if (!route_tells_deletes(r) && r->stage == STAGE_FOLLOW &&
	    !follow_is_idle(&r->follow)) {
		/* Once the ledger has what is on its way. */
		follow_flush(&r->follow);
		return;
	}
	open_again(r);
}

static void on_moved(struct follow *f)
{
	struct route *r = f->ctx;

	route_touch_live(r);
	if (r->stage == STAGE_CATCHUP && f->position >= r->end_index) {
		route_stage_quiet(r);
	} else if (r->stage == STAGE_QUIET) {
		route_stage_maybe_drain(r);
	} else if (r->stage == STAGE_FOLLOW) {
		if (follow_is_idle(f)) {
			r->env.inferred_pending = 0;
		}
		route_progress(r);
		if (r->watch_lost && !r->trouble && !r->closing) {
			route_stage_reopen(r);
		}
	}
}

static void on_lost(struct follow *f, const struct kv_err *err)
{
	struct route *r = f->ctx;

	if (err->status == KV_HISTORY_LOST) {
		LOG_WARN("history lost", LOG_S("route", r->p.conf->name),
			 LOG_S("reason", err->text));
		route_restart(r, "the source's history since then is gone");
		return;
	}
	if (!route_tells_deletes(r) && r->stage != STAGE_FOLLOW) {
		/* The next re-list compares with the ledger: it would tell
		 * once more what is still in the dirty table, and the fuse
		 * would count those deletes twice. */
		r->watch_lost = false;
		route_restart_later(r, err,
				    "the watch was lost within a reconcile");
		return;
	}
	r->watch_lost = true;
	route_trouble(r, err);
}

static void on_follow_trouble(struct follow *f, const struct kv_err *err)
{
	route_trouble(f->ctx, err);
}

static void on_follow_held(struct follow *f, const char *reason)
{
	route_hold(f->ctx, reason);
}

static void on_follow_aborted(struct follow *f)
{
	route_stage_maybe_restart(f->ctx);
}

/* ---- going on after trouble
 * -------------------------------------------------------------------------------*/

static enum route_phase main_phase(const struct route *r)
{
	switch (r->stage) {
	case STAGE_FOLLOW:
		return ROUTE_FOLLOWING;
	case STAGE_IDLE:
	case STAGE_LOAD:
		return ROUTE_LOADING;
	case STAGE_PROBE:
	case STAGE_GATE:
		return ROUTE_PROBING;
	case STAGE_RECOVER:
		return r->must_reconcile ? ROUTE_RECONCILING : ROUTE_PROBING;
	case STAGE_HELD:
		return ROUTE_HELD;
	case STAGE_DONE:
		return ROUTE_DONE;
	case STAGE_PREPARE:
	case STAGE_WATCH:
	case STAGE_SEED:
	case STAGE_CATCHUP:
	case STAGE_QUIET:
	case STAGE_DIRTY:
	case STAGE_FINISH:
	default:
		return ROUTE_RECONCILING;
	}
}

/* Both stores answer and are the same: every part goes on where it stopped. */
void route_stage_retry(struct route *r)
{
	route_set_phase(r, main_phase(r));
	if (seed_is_broken(&r->seed) && r->stage == STAGE_SEED) {
		route_restart(r, "memory ran out");
		return;
	}
	switch (r->stage) {
	case STAGE_LOAD:
		route_stage_load(r);
		return;
	case STAGE_RECOVER:
		if (apply_is_idle(&r->recover)) {
			route_stage_recover(r);
		} else {
			apply_retry(&r->follow.park);
			apply_retry(&r->recover);
		}
		return;
	case STAGE_PREPARE:
		if (!r->job_busy) {
			route_stage_prepare(r);
		}
		return;
	case STAGE_FINISH:
		if (!r->job_busy) {
			route_stage_finish(r);
		}
		return;
	case STAGE_WATCH:
	case STAGE_SEED:
	case STAGE_CATCHUP:
	case STAGE_QUIET:
	case STAGE_DIRTY:
	case STAGE_FOLLOW:
		break;
	case STAGE_IDLE:
	case STAGE_PROBE:
	case STAGE_GATE:
	case STAGE_HELD:
	case STAGE_DONE:
	default:
		return;
	}
	if (r->watch_lost && !r->p.dry_run) {
		route_stage_reopen(r);
	}
	follow_retry(&r->follow);
	seed_retry(&r->seed);
	dirty_retry(&r->dirty);
	route_stage_maybe_drain(r);
}

/* ---- giving up, starting over
 * -----------------------------------------------------------------------------------*/

bool route_stage_is_quiet(const struct route *r)
{
	return !r->job_busy && !r->load.busy && !r->probe.running &&
	       !r->seed.running && !r->dirty.running &&
	       r->follow.mode == FOLLOW_OFF && apply_is_idle(&r->follow.park) &&
	       apply_is_idle(&r->recover) && !r->known_busy;
}

/* Everything under way is told to end; route_stage_maybe_restart is called as
 * each part does. */
void route_stage_abort(struct route *r)
{
	probe_cancel(&r->probe);
	if (r->seed.running) {
		seed_abort(&r->seed);
	}
	if (r->dirty.running && !r->dirty.aborting) {
		dirty_abort(&r->dirty);
	}
	if ((r->follow.mode != FOLLOW_OFF || !apply_is_idle(&r->follow.park)) &&
	    !r->follow.aborting) {
		follow_abort(&r->follow);
	}
	if (!apply_is_idle(&r->recover)) {
		apply_abort(&r->recover);
	}
}

void route_stage_init(struct route *r)
{
	route_scan_init(r);
	follow_init(&r->follow, &r->env, r);
	r->follow.ready = on_ready;
	r->follow.moved = on_moved;
	r->follow.lost = on_lost;
	r->follow.trouble = on_follow_trouble;
	r->follow.held = on_follow_held;
	r->follow.aborted = on_follow_aborted;
	route_recover_init(r);
}
