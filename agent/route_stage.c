/* route_stage.c: what follows what in a route.
 *
 *   LOAD -> PROBE -+-> RECOVER -> FOLLOW                    (history goes on)
 *                  `-> PREPARE -> RECOVER -> WATCH -> SEED -> (fuse) -> QUIET
 *                        -> DIRTY -> FINISH -> FOLLOW, or DONE
 *
 * Each callback notes what came and says which stage begins.
 */
#include <inttypes.h>
#include <stdio.h>

#include "agent/filter.h"
#include "agent/fuse.h"
#include "agent/identity.h"
#include "agent/route_int.h"
#include "agent/twin.h"
#include "store/base/log.h"

#define AGAIN_MS (3600U * 1000U)
#define AGAIN_MAX_MS (24U * AGAIN_MS)

static void stage_prepare(struct route *r);
static void reopen_watch(struct route *r);
static void stage_quiet(struct route *r);
static void stage_follow(struct route *r);

static bool tells_deletes(const struct route *r)
{
	return store_capabilities(r->env.source)->told_deletes;
}

/* ---- LOAD, PROBE
 * ----------------------------------------------------------------------*/

void route_stage_load(struct route *r)
{
	r->stage = STAGE_LOAD;
	twin_loads(&r->env);
	r->env.inferred_pending = 0;
	r->env.stamped = false;
	route_set_phase(r, ROUTE_LOADING);
	if (r->env.state == NULL) {
		route_stage_loaded(r);
		return;
	}
	route_load_start(r);
}

void route_stage_loaded(struct route *r)
{
	r->load.busy = false;
	if (r->restarting) {
		route_stage_maybe_restart(r);
		return;
	}
	if (r->load.err.status != KV_OK) {
		route_trouble(r, &r->load.err);
		return;
	}
	if (r->load.match == STATE_ROUTE_STORES) {
		LOG_WARN("the stores are other ones than before: the ledger "
			 "starts anew",
			 LOG_S("route", r->p.conf->name));
		r->load.match = STATE_ROUTE_NEW;
	}
	twin_is_loaded(&r->env);
	r->stage = STAGE_PROBE;
	route_set_phase(r, ROUTE_PROBING);
	probe_start(&r->probe);
}

/* Why the source's indexes are not believed; NULL: they are. */
static const char *source_reason(const struct route *r)
{
	if (r->probe.new_source) {
		return "the source is another one, or went back";
	}
	if (r->probe.doubt_source) {
		return "nothing at the source proves that its history is the "
		       "known one";
	}
	return r->env.new_source ? "the source was another one, or went back"
				 : NULL;
}

/* Why a reconcile is needed; NULL: the history goes on. */
static const char *reconcile_reason(const struct route *r)
{
	const struct state_checkpoint *cp = &r->env.cp;
	uint64_t most = store_capabilities(r->env.source)->resume_max;

	if (r->must_reconcile) {
		return r->why == NULL ? "asked for" : r->why;
	}
	if (!cp->complete) {
		return "first copy";
	}
	if (!r->p.follow) {
		return "a single pass was asked for";
	}
	if (r->load.match == STATE_ROUTE_FILTERS) {
		return "the filters or the policies changed";
	}
	if (source_reason(r) != NULL) {
		return source_reason(r);
	}
	if (r->env.new_target) {
		return "the target is another one, or went back";
	}
	if (r->probe.doubt_target) {
		return "no known key proves that the stores are the same";
	}
	if (most > 0 && r->probe.source.index > cp->index + most) {
		return "the backlog is longer than a scan";
	}
	return NULL;
}

static void set_identity(char *to, const char *identity)
{
	(void)snprintf(to, STATE_IDENTITY_MAX, "%s", identity);
}

static void note_origins(struct route *r)
{
	struct state_checkpoint *cp = &r->env.cp;

	/* Until the ledger is stamped anew, the checkpoint must not claim the
	 * new history: a crash in between would trust the old indexes. */
	set_identity(cp->source_identity, r->env.new_source
					      ? IDENTITY_UNSURE
					      : r->probe.source.identity);
	set_identity(cp->target_identity, r->env.new_target
					      ? IDENTITY_UNSURE
					      : r->probe.target.identity);
	set_identity(r->env.source_identity, r->probe.source.identity);
	set_identity(r->env.target_identity, r->probe.target.identity);
	if (r->env.new_source) {
		cp->index = 0;
		cp->source_index = 0;
		r->env.dropped_to = 0;
		cp->complete = false;
		r->env.saved = 0;
		r->env.reached = 0;
		r->follow.position = 0;
	}
	if (r->env.new_target) {
		cp->target_index = 0;
		cp->complete = false;
	}
	env_saw_source(&r->env, &r->probe.source);
	env_saw_target(&r->env, &r->probe.target);
}

static void stage_recover(struct route *r);

/* In doubt about the source its indexes are not compared with the ledger's:
 * hashes say the same, at the price of a scan. */
static void note_histories(struct route *r)
{
	r->env.new_source =
	    r->env.new_source || r->probe.new_source || r->probe.doubt_source;
	r->env.new_target = r->env.new_target || r->probe.new_target;
}

/* What the probe found is old by then: asked again. */
static void gate_open(struct gate_pass *pass)
{
	struct route *r = kv_container_of(pass, struct route, pass);

	PRE(r->stage == STAGE_GATE || r->restarting);
	if (!r->restarting) {
		r->stage = STAGE_PROBE;
		probe_start(&r->probe);
	}
}

static bool enter_gate(struct route *r)
{
	r->pass.open = gate_open;
	if (r->p.gate == NULL || gate_enter(r->p.gate, &r->pass)) {
		return true;
	}
	LOG_INFO("waits until other routes are reconciled",
		 LOG_S("route", r->p.conf->name),
		 LOG_U("at_once", r->p.gate->most));
	r->stage = STAGE_GATE;
	route_set_phase(r, ROUTE_PROBING);
	route_touch_live(r);
	return false;
}

/* The first probe after LOAD. */
static void probed_first(struct route *r)
{
	const char *why;

	note_histories(r);
	why = reconcile_reason(r);
	if (why != NULL && !enter_gate(r)) {
		return;
	}
	r->must_reconcile = why != NULL;
	r->why = why;
	note_origins(r);
	if (why != NULL) {
		LOG_INFO("reconcile", LOG_S("route", r->p.conf->name),
			 LOG_S("why", why));
		/* Saved before anything is written: what told a replaced store
		 * from the known one may be gone by the next start. */
		stage_prepare(r);
	} else {
		LOG_INFO(
		    "resume", LOG_S("route", r->p.conf->name),
		    LOG_U("index", r->env.cp.index),
		    LOG_U("behind", r->probe.source.index - r->env.cp.index));
		stage_recover(r);
	}
}

void route_stage_probed(struct route *r)
{
	const char *why;

	if (r->stage == STAGE_PROBE) {
		probed_first(r);
	} else if (r->probe.new_source || r->probe.new_target ||
		   r->probe.doubt_source || r->probe.doubt_target) {
		why = source_reason(r);
		note_histories(r);
		route_restart(r, why != NULL ? why
					     : "the target was replaced or "
					       "went back, or may have been");
	} else {
		env_saw_source(&r->env, &r->probe.source);
		env_saw_target(&r->env, &r->probe.target);
		route_stage_retry(r);
	}
}

/* ---- RECOVER
 * ------------------------------------------------------------------------------*/

/* One open intent becomes an item that is read at both sides. */
static bool recover_item(struct route *r, struct batch *b, size_t i)
{
	struct state_intent *in = &r->load.intents[i];
	struct slice source_key;
	struct batch_item *it;
	bool found;
	int rv = mapping_to_source(r->env.mapping, in->key, &b->arena,
				   &source_key, NULL);

	if (rv == KV_NO_MEMORY) {
		return false;
	}
	if (rv != KV_OK || !filter_pass(r->p.conf, source_key) ||
	    store_check(r->env.target, in->key, 0, NULL) != KV_OK) {
		return true; /* not of this route any more */
	}
	it = batch_item(b, in->key, source_key, &found);
	if (r->env.new_source) {
		/* Of another history: it says nothing, and must not be
		 * saved. */
		in->source_index = 0;
	}
	if (it == NULL || !batch_add_intent(b, it, in)) {
		return false;
	}
	it->step = ITEM_READ;
	it->unsettled = true;
	it->recovered = true;
	it->doubts += !in->is_delete && !in->versioned ? 1 : 0;
	it->is_delete = in->is_delete;
	/* A put that came later than a delete takes the leave back. */
	it->may_delete = in->is_delete;
	/* Whether it was told is not saved; where nothing is told, it was
	 * not. */
	it->inferred = it->inferred || (in->is_delete && !tells_deletes(r));
	it->source_index = in->source_index;
	it->hash = in->hash;
	it->row = r->load.rows[i];
	it->row.key = it->key;
	return true;
}

/* One batch with all open intents: it closes them all at its end. The keys are
 * read and written in portions anyway. */
static struct batch *recover_batch(struct route *r)
{
	struct batch *b = batch_new(sched_now(r->env.sched));

	for (size_t i = 0; b != NULL && i < r->load.n; i++) {
		if (!recover_item(r, b, i) ||
		    !batch_add_intent_id(b, r->load.ids[i])) {
			batch_free(b);
			return NULL;
		}
	}
	return b;
}

static void stage_watch(struct route *r);

static void recovered(struct route *r)
{
	twin_is_recovered(&r->env);
	if (r->must_reconcile) {
		stage_watch(r);
	} else {
		stage_follow(r);
	}
}

static void stage_recover(struct route *r)
{
	struct kv_err err = {0};
	struct batch *b;

	r->stage = STAGE_RECOVER;
	if (r->load.n == 0) {
		recovered(r);
		return;
	}
	LOG_INFO("settling writes of the last run",
		 LOG_S("route", r->p.conf->name), LOG_U("keys", r->load.n));
	apply_set_dead_at(
	    &r->recover,
	    sched_now(r->env.sched) +
		store_capabilities(r->env.target)->write_timeout_ms);
	b = recover_batch(r);
	if (b == NULL) {
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory for intents");
		route_trouble(r, &err);
		return;
	}
	/* Before a scan every key has to be settled: it knows no intents. */
	r->recover.park =
	    r->p.follow && !r->must_reconcile ? &r->follow.park : NULL;
	apply_start(&r->recover, b);
}

static void recover_written(struct apply *a)
{
	(void)a;
}

static void recover_saved(struct apply *a)
{
	struct route *r = a->ctx;

	if (r->restarting) {
		route_stage_maybe_restart(r);
	} else if (a->held) {
		route_hold(r, a->held_reason);
	} else {
		route_progress(r);
		recovered(r);
	}
}

static void apply_trouble_cb(struct apply *a, const struct kv_err *err)
{
	route_trouble(a->ctx, err);
}

static void recover_aborted(struct apply *a)
{
	route_stage_maybe_restart(a->ctx);
}

static const struct apply_events recover_events = {.written = recover_written,
						   .saved = recover_saved,
						   .trouble = apply_trouble_cb,
						   .aborted = recover_aborted};

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

static void start_seed(struct route *r)
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
		stage_recover(r);
	}
}

static void stage_prepare(struct route *r)
{
	r->stage = STAGE_PREPARE;
	route_set_phase(r, ROUTE_RECONCILING);
	if (r->p.dry_run) {
		start_seed(r);
		return;
	}
	r->env.cp.complete = false;
	r->job_cp = r->env.cp;
	r->job_busy = true;
	r->job.work = prepare_work;
	r->job.done = prepare_done;
	worker_submit(r->env.worker, &r->job);
}

static void open_watch(struct route *r, enum follow_mode mode, uint64_t after)
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
static void stage_watch(struct route *r)
{
	if (!tells_deletes(r)) {
		start_seed(r);
		return;
	}
	r->stage = STAGE_WATCH;
	open_watch(r, FOLLOW_DRAIN, 0);
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
		start_seed(r);
	} else if (r->stage == STAGE_FOLLOW && !r->trouble) {
		route_set_phase(r, ROUTE_FOLLOWING);
	} else if (r->stage == STAGE_CATCHUP && f->position >= r->end_index) {
		/* The scan stood for all of it: no more will come, perhaps. */
		stage_quiet(r);
	}
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
	} else if (!r->p.follow && tells_deletes(r) &&
		   r->follow.position < r->end_index) {
		r->stage = STAGE_CATCHUP;
		follow_want(&r->follow, r->end_index);
	} else {
		stage_quiet(r);
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

static void maybe_drain(struct route *r)
{
	if (r->stage == STAGE_QUIET && follow_is_idle(&r->follow) &&
	    !r->trouble) {
		r->stage = STAGE_DIRTY;
		r->env.stamped = true;
		dirty_drain(&r->dirty);
	}
}

/* No new pulls: what is in the dirty table, and deletes, are next. */
static void stage_quiet(struct route *r)
{
	r->stage = STAGE_QUIET;
	follow_pause(&r->follow);
	maybe_drain(r);
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

static void start_again_timer(struct route *r)
{
	r->again_ms = KV_MAX(r->again_ms, AGAIN_MS);
	r->again_timer.fire = again_fire;
	sched_timer_start(r->env.sched, &r->again_timer, r->again_ms);
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
		stage_follow(r);
		return;
	}
	r->stage = STAGE_FOLLOW;
	route_set_phase(r, ROUTE_FOLLOWING);
	follow_live(&r->follow);
	start_again_timer(r);
	if (r->watch_lost && !r->trouble) {
		reopen_watch(r);
	}
}

static void stage_finish(struct route *r)
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
	r->env.inferred_pending = 0;
	r->must_reconcile = false;
	r->is_held = false;
	r->env.held_on.n = 0;
	backoff_reset(&r->held_backoff);
	set_identity(cp->source_identity, r->env.source_identity);
	set_identity(cp->target_identity, r->env.target_identity);
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
	stage_finish(r);
}

/* A one-shot of a source that re-lists: what changed while it was scanned, by
 * the ledger. */
static void relist_once(struct route *r)
{
	r->stage = STAGE_CATCHUP;
	open_watch(r, FOLLOW_DRAIN, KV_MAX(seed_source_low(&r->seed), 1));
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

/* ---- FOLLOW
 * --------------------------------------------------------------------------------------------*/

static void stage_follow(struct route *r)
{
	r->stage = STAGE_FOLLOW;
	open_watch(r, FOLLOW_LIVE, r->env.cp.index);
	start_again_timer(r);
}

static void open_again(struct route *r)
{
	bool live = r->stage == STAGE_FOLLOW;
	uint64_t after = r->stage == STAGE_WATCH ? 0 : r->follow.position;
	/* From QUIET on nothing more is pulled into the dirty table. */
	bool paused = r->stage == STAGE_QUIET || r->stage == STAGE_DIRTY ||
		      r->stage == STAGE_FINISH;

	open_watch(r, live ? FOLLOW_LIVE : FOLLOW_DRAIN, after);
	if (paused && !live) {
		follow_pause(&r->follow);
	}
}

static void reopen_watch(struct route *r)
{
	if (!tells_deletes(r) && r->stage == STAGE_FOLLOW &&
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
		stage_quiet(r);
	} else if (r->stage == STAGE_QUIET) {
		maybe_drain(r);
	} else if (r->stage == STAGE_FOLLOW) {
		if (follow_is_idle(f)) {
			r->env.inferred_pending = 0;
		}
		route_progress(r);
		if (r->watch_lost && !r->trouble && !r->closing) {
			reopen_watch(r);
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
	if (!tells_deletes(r) && r->stage != STAGE_FOLLOW) {
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
			stage_recover(r);
		} else {
			apply_retry(&r->follow.park);
			apply_retry(&r->recover);
		}
		return;
	case STAGE_PREPARE:
		if (!r->job_busy) {
			stage_prepare(r);
		}
		return;
	case STAGE_FINISH:
		if (!r->job_busy) {
			stage_finish(r);
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
		reopen_watch(r);
	}
	follow_retry(&r->follow);
	seed_retry(&r->seed);
	dirty_retry(&r->dirty);
	maybe_drain(r);
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
	follow_init(&r->follow, &r->env, r);
	r->follow.ready = on_ready;
	r->follow.moved = on_moved;
	r->follow.lost = on_lost;
	r->follow.trouble = on_follow_trouble;
	r->follow.held = on_follow_held;
	r->follow.aborted = on_follow_aborted;
	apply_init(&r->recover, &r->env, &recover_events, r);
	r->recover.exempt = true;
}
