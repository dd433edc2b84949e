/* route.c: a route from the outside: opening, phases, what happens when
 * something fails, ending, status. What follows what is in route_stage.c.
 *
 *   any part --trouble--> BACKOFF --timer--> probe --same--> every part goes on
 *                            ^                 |  `-other--> restart at LOAD
 *                            `----- fails -----'
 */
#include "agent/route.h"

#include <stdio.h>

#include "agent/filter.h"
#include "agent/fingerprint.h"
#include "agent/route_int.h"
#include "agent/twin.h"
#include "store/base/log.h"

/* How long a batch of the target may get, whatever it could take. */
#define ROUTE_OPS_MAX 1024
#define ROUTE_BYTES_MAX (4U * 1024 * 1024)
/* Refused credentials and the like: try again slowly. */
#define ROUTE_FAILED_MS 30000
#define ROUTE_HELD_MAX_MS (5U * 60 * 1000)
#define ROUTE_HELD_MIN_MS 5000
#define ROUTE_LIVE_MS 500
#define ROUTE_PATIENCE_MS 10000

static void maybe_closed(struct route *r);
static void drain_check(struct route *r);
static void end_drain(struct route *r);

const char *route_phase_name(enum route_phase phase)
{
	static const char *const names[] = {
#define X(name) #name,
	    ROUTE_PHASE_MAP(X)
#undef X
	};

	PRE((size_t)phase < KV_COUNT(names));
	return names[phase];
}

/* ---- phases
 * -------------------------------------------------------------------------------*/

/* Which phases may follow a phase, as bits. */
static bool move_allowed(enum route_phase from, enum route_phase to)
{
#define BIT(p) (1U << ROUTE_##p)
	static const unsigned ends = BIT(BACKOFF) | BIT(FAILED) | BIT(HELD) |
				     BIT(DRAINING) | BIT(CLOSED) | BIT(DONE) |
				     BIT(LOADING);
	static const unsigned next[] = {
	    [ROUTE_INIT] = BIT(LOADING) | BIT(DRAINING) | BIT(CLOSED),
	    [ROUTE_LOADING] = BIT(PROBING) | ends,
	    [ROUTE_PROBING] = BIT(RECONCILING) | BIT(FOLLOWING) | ends,
	    [ROUTE_RECONCILING] = BIT(FOLLOWING) | BIT(PROBING) | ends,
	    [ROUTE_FOLLOWING] = BIT(RECONCILING) | BIT(PROBING) | ends,
	    [ROUTE_BACKOFF] =
		BIT(PROBING) | BIT(RECONCILING) | BIT(FOLLOWING) | ends,
	    [ROUTE_HELD] = BIT(LOADING) | BIT(BACKOFF) | BIT(DRAINING) |
			   BIT(CLOSED) | BIT(DONE),
	    [ROUTE_FAILED] =
		BIT(PROBING) | BIT(RECONCILING) | BIT(FOLLOWING) | ends,
	    [ROUTE_DRAINING] = BIT(CLOSED),
	    [ROUTE_CLOSED] = 0,
	    [ROUTE_DONE] = BIT(DRAINING) | BIT(CLOSED)};
#undef BIT

	return (next[from] & (1U << to)) != 0;
}

void route_set_phase(struct route *r, enum route_phase phase)
{
	if (r->phase == phase || r->closing) {
		return;
	}
	PRE(move_allowed(r->phase, phase));
	LOG_DEBUG("phase", LOG_S("route", r->p.conf->name),
		  LOG_S("from", route_phase_name(r->phase)),
		  LOG_S("to", route_phase_name(phase)));
	r->phase = phase;
	route_touch_live(r);
	if (r->p.changed != NULL) {
		r->p.changed(r, r->p.ctx);
	}
}

/* ---- what others may read of it in the state
 * ---------------------------------------------------*/

static void live_work(struct worker_job *job)
{
	struct route *r = kv_container_of(job, struct route, live_job);
	struct kv_err err = {0};

	if (r->env.route != 0 && state_live_save(r->env.state, r->env.route,
						 &r->live, &err) != KV_OK) {
		/* Only what `status` shows is older then; the batches' own
		 * saves tell of a state that cannot be written. */
		LOG_DEBUG("status not saved", LOG_S("reason", err.text));
	}
}

static void live_done(struct worker_job *job)
{
	struct route *r = kv_container_of(job, struct route, live_job);

	r->live_busy = false;
	maybe_closed(r);
}

/* The age of the oldest change that is not in the target. */
static uint64_t lag_ms(const struct route *r)
{
	uint64_t oldest = follow_oldest_ms(&r->follow);

	return oldest == 0 ? 0 : sched_now(r->env.sched) - oldest;
}

static void live_fill(struct route *r)
{
	struct state_live *l = &r->live;

	memset(l, 0, sizeof *l);
	(void)snprintf(l->phase, sizeof l->phase, "%s",
		       route_phase_name(r->phase));
	l->applied = r->env.cp.index;
	l->seen = KV_MAX(r->follow.position, l->applied);
	if (r->is_held) {
		memcpy(l->held, r->held, sizeof l->held);
	}
	if (!route_waits(r, l->error, sizeof l->error) &&
	    r->error.status != KV_OK) {
		memcpy(l->error, r->error.text, sizeof l->error);
	}
	l->wall_ms = sched_wall(r->env.sched);
	l->lag_ms = lag_ms(r);
}

static void live_save(struct route *r)
{
	if (r->env.state == NULL || r->p.dry_run || r->live_busy) {
		return;
	}
	live_fill(r);
	r->live_busy = true;
	r->live_job.work = live_work;
	r->live_job.done = live_done;
	worker_submit(r->env.worker, &r->live_job);
}

static void live_fire(struct sched_timer *t)
{
	struct route *r = kv_container_of(t, struct route, live_timer);

	if (r->live_busy) {
		sched_timer_start(r->env.sched, t, ROUTE_LIVE_MS);
		return;
	}
	live_save(r);
}

void route_touch_live(struct route *r)
{
	if (r->closing || sched_timer_running(&r->live_timer)) {
		return;
	}
	r->live_timer.fire = live_fire;
	sched_timer_start(r->env.sched, &r->live_timer, ROUTE_LIVE_MS);
}

/* ---- trouble
 * -------------------------------------------------------------------------------------*/

static void retry_fire(struct sched_timer *t)
{
	struct route *r = kv_container_of(t, struct route, timer);

	if (r->stage == STAGE_HELD) {
		r->stage = STAGE_IDLE;
		route_restart(r, r->why);
		return;
	}
	if (r->stage == STAGE_LOAD) {
		r->trouble = false;
		route_stage_load(r);
		return;
	}
	if (!r->probe.running) {
		probe_start(&r->probe);
	}
}

static void log_trouble(struct route *r, const struct kv_err *err)
{
	bool known = r->logged.status == err->status &&
		     strcmp(r->logged.text, err->text) == 0;

	log_line(
	    known ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, "trouble",
	    (struct log_field[]){LOG_S("route", r->p.conf->name),
				 LOG_S("error", kv_status_text(err->status)),
				 LOG_S("reason", err->text)},
	    3);
	r->logged = *err;
}

/* Is it time for a one-shot to give up? */
static bool gives_up(struct route *r, const struct kv_err *err)
{
	uint64_t waited = sched_now(r->env.sched) - r->trouble_since_ms;
	bool once = !r->p.follow;
	bool fatal = kv_status_class(err->status) == KV_CLASS_FATAL;

	if (fatal && (once || (r->p.timeout_ms > 0 && !r->met))) {
		return true;
	}
	return r->p.timeout_ms > 0 && waited >= r->p.timeout_ms &&
	       (once || !r->met);
}

void route_leave_gate(struct route *r)
{
	if (r->p.gate != NULL) {
		gate_leave(r->p.gate, &r->pass);
	}
}

bool route_waits(const struct route *r, char *text, size_t cap)
{
	if (r->stage != STAGE_GATE) {
		return false;
	}
	(void)snprintf(text, cap,
		       "waits until others are reconciled: %u routes at once",
		       r->p.gate->most);
	return true;
}

/* Does it stand in the gate with a store that has not answered for long? */
static bool blocks_others(const struct route *r)
{
	return r->p.gate != NULL && r->pass.at == GATE_INSIDE &&
	       gate_is_wanted(r->p.gate) &&
	       sched_now(r->env.sched) - r->trouble_since_ms >
		   ROUTE_PATIENCE_MS;
}

void route_trouble(struct route *r, const struct kv_err *err)
{
	bool fatal = kv_status_class(err->status) == KV_CLASS_FATAL;
	uint64_t delay;

	PRE(err->status != KV_OK);
	if (r->restarting || r->stage == STAGE_HELD || r->stage == STAGE_DONE) {
		return;
	}
	r->error = *err;
	if (r->closing) {
		drain_check(r);
		return;
	}
	log_trouble(r, err);
	if (!r->trouble) {
		r->trouble = true;
		r->trouble_since_ms = sched_now(r->env.sched);
	} else if (sched_timer_running(&r->timer) || r->probe.running) {
		return; /* the next try is on its way */
	}
	if (gives_up(r, err)) {
		route_done(r, err->status);
		return;
	}
	if (blocks_others(r)) {
		route_restart_later(r, err, "other routes wait for their turn");
		return;
	}
	delay = backoff_next(&r->backoff, sched_random(r->env.sched));
	route_set_phase(r, fatal ? ROUTE_FAILED : ROUTE_BACKOFF);
	r->timer.fire = retry_fire;
	sched_timer_start(r->env.sched, &r->timer,
			  fatal ? KV_MAX(delay, ROUTE_FAILED_MS) : delay);
}

void route_restart_later(struct route *r, const struct kv_err *err,
			 const char *why)
{
	uint64_t delay = backoff_next(&r->backoff, sched_random(r->env.sched));
	bool fatal = kv_status_class(err->status) == KV_CLASS_FATAL;

	if (r->closing || r->restarting) {
		return;
	}
	log_trouble(r, err);
	r->error = *err;
	route_set_phase(r, fatal ? ROUTE_FAILED : ROUTE_BACKOFF);
	route_restart(r, why);
	r->restart_delay_ms = fatal ? KV_MAX(delay, ROUTE_FAILED_MS) : delay;
}

void route_progress(struct route *r)
{
	if (!r->trouble) {
		backoff_reset(&r->backoff);
		kv_err_clear(&r->logged);
	}
	route_touch_live(r);
	if (r->closing) {
		drain_check(r);
	}
}

static void on_probed(struct probe *p)
{
	struct route *r = p->ctx;

	if (r->restarting) {
		route_stage_maybe_restart(r);
		return;
	}
	if (p->err.status != KV_OK) {
		struct kv_err err = p->err;

		route_trouble(r, &err);
		return;
	}
	r->trouble = false;
	r->met = true;
	kv_err_clear(&r->error);
	route_stage_probed(r);
}

/* ---- starting over
 * -----------------------------------------------------------------------------------*/

static void finish_restart(struct route *r)
{
	r->restarting = false;
	r->trouble = false;
	r->watch_lost = false;
	sched_timer_stop(&r->timer);
	r->stage = STAGE_LOAD;
	if (r->restart_delay_ms > 0) {
		r->timer.fire = retry_fire;
		sched_timer_start(r->env.sched, &r->timer, r->restart_delay_ms);
		r->restart_delay_ms = 0;
		return;
	}
	route_stage_load(r);
}

void route_stage_maybe_restart(struct route *r)
{
	if (!r->restarting || !route_stage_is_quiet(r)) {
		return;
	}
	route_leave_gate(r);
	if (r->closing) {
		maybe_closed(r);
	} else if (r->stage == STAGE_HELD || r->stage == STAGE_DONE) {
		r->restarting = false;
		if (r->p.changed != NULL) {
			r->p.changed(r, r->p.ctx);
		}
	} else {
		finish_restart(r);
	}
}

static void give_up_all(struct route *r)
{
	r->restarting = true;
	sched_timer_stop(&r->timer);
	route_stage_abort(r);
	if (route_stage_is_quiet(r)) {
		sched_post(r->env.sched, &r->close_task);
	}
}

void route_restart(struct route *r, const char *why)
{
	if (r->restarting || r->closing || r->stage == STAGE_DONE) {
		return;
	}
	LOG_INFO("starting over", LOG_S("route", r->p.conf->name),
		 LOG_S("why", why == NULL ? "asked for" : why));
	r->must_reconcile = true;
	r->why = why;
	give_up_all(r);
}

void route_hold(struct route *r, const char *reason)
{
	uint64_t delay;

	if (r->closing) {
		/* What comes behind must not be drained past it. */
		end_drain(r);
		return;
	}
	if (r->stage == STAGE_DONE) {
		return;
	}
	if (!r->is_held || strcmp(r->held, reason) != 0) {
		LOG_ERROR("held", LOG_S("route", r->p.conf->name),
			  LOG_S("reason", reason));
	}
	r->is_held = true;
	(void)snprintf(r->held, sizeof r->held, "%s", reason);
	r->trouble = false;
	if (!r->p.follow) {
		route_done(r, KV_OK);
		return;
	}
	r->stage = STAGE_HELD;
	r->must_reconcile = true;
	r->why = "held before, judged anew";
	route_set_phase(r, ROUTE_HELD);
	give_up_all(r);
	r->held_backoff.max_ms = ROUTE_HELD_MAX_MS;
	delay = backoff_next(&r->held_backoff, sched_random(r->env.sched));
	r->timer.fire = retry_fire;
	sched_timer_start(r->env.sched, &r->timer,
			  KV_MAX(delay, ROUTE_HELD_MIN_MS));
}

void route_done(struct route *r, int status)
{
	if (r->stage == STAGE_DONE) {
		return;
	}
	r->exit_status = status;
	r->trouble = false;
	r->stage = STAGE_DONE;
	give_up_all(r);
	route_set_phase(r, ROUTE_DONE);
}

/* ---- the end
 * --------------------------------------------------------------------------------------------*/

static void free_route(struct route *r)
{
	void (*closed)(void *ctx) = r->closed;
	void *ctx = r->closed_ctx;

	sched_timer_stop(&r->timer);
	sched_timer_stop(&r->live_timer);
	sched_timer_stop(&r->drain_timer);
	sched_timer_stop(&r->again_timer);
	sched_unpost(&r->close_task);
	twin_unlink(&r->env);
	probe_clear(&r->probe);
	seed_clear(&r->seed);
	dirty_clear(&r->dirty);
	follow_clear(&r->follow);
	apply_clear(&r->recover);
	route_leave_gate(r);
	env_clear(&r->env);
	arena_free(&r->load.arena);
	arena_free(&r->known_after);
	arena_free(&r->known_arena);
	kv_free(r->load.stores);
	kv_free(r->load.filters);
	kv_free(r);
	if (closed != NULL) {
		closed(ctx);
	}
}

/* Lists all that must have ended before a route may go. */
static void maybe_closed(struct route *r)
{
	if (!r->closing || !r->restarting) {
		return;
	}
	if (!route_stage_is_quiet(r) || r->live_busy ||
	    sched_posted(&r->close_task)) {
		return;
	}
	if (!r->drained) {
		/* The last word for `status`. */
		r->drained = true;
		r->phase = ROUTE_CLOSED;
		live_save(r);
		if (r->live_busy) {
			return;
		}
	}
	free_route(r);
}

static void close_run(struct sched_task *task)
{
	struct route *r = kv_container_of(task, struct route, close_task);

	route_stage_maybe_restart(r);
}

static void end_drain(struct route *r)
{
	if (r->restarting) {
		maybe_closed(r);
		return;
	}
	sched_timer_stop(&r->drain_timer);
	give_up_all(r);
}

static void drain_fire(struct sched_timer *t)
{
	end_drain(kv_container_of(t, struct route, drain_timer));
}

/* While draining: is everything that was pulled in the target and saved? What
 * only waits for a write that may still land is not waited for: its intent is
 * saved, and the next start settles it. */
static void drain_check(struct route *r)
{
	if (r->stage != STAGE_FOLLOW || r->error.status != KV_OK ||
	    follow_rests(&r->follow) ||
	    (follow_is_idle(&r->follow) &&
	     r->follow.moved_to <= r->env.saved)) {
		end_drain(r);
	}
}

void route_close(struct route *r, uint64_t drain_ms, void (*closed)(void *ctx),
		 void *ctx)
{
	PRE(!r->closing);
	route_set_phase(r, ROUTE_DRAINING);
	r->closing = true;
	r->closed = closed;
	r->closed_ctx = ctx;
	sched_timer_stop(&r->live_timer);
	sched_timer_stop(&r->timer);
	sched_timer_stop(&r->again_timer);
	if (r->restarting) {
		/* Given up already: wait for the last of it. */
		if (route_stage_is_quiet(r)) {
			sched_post(r->env.sched, &r->close_task);
		}
		return;
	}
	if (r->stage == STAGE_IDLE || r->stage == STAGE_HELD ||
	    r->stage == STAGE_DONE) {
		give_up_all(r);
		return;
	}
	if (drain_ms > 0 && r->stage == STAGE_FOLLOW && !r->trouble) {
		follow_pause(&r->follow);
		kv_err_clear(&r->error);
		r->drain_timer.fire = drain_fire;
		sched_timer_start(r->env.sched, &r->drain_timer, drain_ms);
		drain_check(r);
		return;
	}
	end_drain(r);
}

/* ---- opening
 * -----------------------------------------------------------------------------------------------*/

static enum mapping_mode mapping_of(const struct conf_route *conf,
				    const struct store *source,
				    const struct store *target)
{
	bool from = store_capabilities(source)->hierarchical;
	bool to = store_capabilities(target)->hierarchical;

	if (conf->escape == CONF_ESCAPE_NONE || from == to) {
		return MAPPING_NONE;
	}
	return to ? MAPPING_ENCODE : MAPPING_DECODE;
}

static int check_globs(const struct conf_route *conf, struct kv_err *err)
{
	for (size_t i = 0; i < conf->n_include; i++) {
		if (glob_check(conf->include[i], err) != KV_OK) {
			return kv_wrap(err, "route %s: include", conf->name);
		}
	}
	for (size_t i = 0; i < conf->n_exclude; i++) {
		if (glob_check(conf->exclude[i], err) != KV_OK) {
			return kv_wrap(err, "route %s: exclude", conf->name);
		}
	}
	return KV_OK;
}

static int check_params(const struct route_params *p, struct kv_err *err)
{
	const struct conf_route *conf = p->conf;

	if (conf->conflict == CONF_NEWEST &&
	    (!store_capabilities(p->source)->has_times ||
	     !store_capabilities(p->target)->has_times)) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "route %s: conflict newest needs two stores "
			       "that know when a key was changed; use "
			       "source-wins, target-wins or stop",
			       conf->name);
	}
	if (store_overlap(p->source, p->target)) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "route %s: source %s and target %s overlap: "
			       "they may be the same keys; choose prefixes of "
			       "which none contains the other",
			       conf->name, store_uri(p->source)->text,
			       store_uri(p->target)->text);
	}
	return check_globs(conf, err);
}

static void init_env(struct route *r)
{
	const struct store_caps *caps = store_capabilities(r->p.target);
	struct route_env *env = &r->env;

	env->sched = r->p.sched;
	env->worker = r->p.worker;
	env->state = r->p.state;
	env->conf = r->p.conf;
	env->source = r->p.source;
	env->target = r->p.target;
	env->mapping = mapping_of(r->p.conf, r->p.source, r->p.target);
	env->batch_ops = KV_MIN(caps->max_ops, ROUTE_OPS_MAX);
	if (r->p.batch_ops > 0) {
		env->batch_ops = KV_MIN(env->batch_ops, r->p.batch_ops);
	}
	env->batch_bytes = KV_MIN(caps->max_bytes, ROUTE_BYTES_MAX);
	list_init(&env->in_flight);
	list_init(&env->held_back);
}

int route_open(const struct route_params *p, struct route **out,
	       struct kv_err *err)
{
	struct route *r;
	int rv = check_params(p, err);

	if (rv != KV_OK) {
		return rv;
	}
	r = kv_calloc(1, sizeof *r);
	if (r == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for a route");
	}
	r->p = *p;
	init_env(r);
	arena_init(&r->load.arena);
	route_known_init(r);
	rv = route_fingerprint(p->conf, p->source, p->target, &r->load.stores,
			       &r->load.filters, err);
	if (rv != KV_OK) {
		kv_free(r);
		return rv;
	}
	r->close_task.run = close_run;
	probe_init(&r->probe, &r->env, on_probed, r);
	route_stage_init(r);
	*out = r;
	return KV_OK;
}

static int note_pair(struct route *r, struct kv_err *err)
{
	char *longer = kv_asprintf("%s4:pair=6:%s\n", r->load.filters,
				   r->env.prefer_source ? "source" : "target");

	if (longer == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for a pair");
	}
	kv_free(r->load.filters);
	r->load.filters = longer;
	return KV_OK;
}

int route_pair(struct route *a, struct route *b, bool prefer_a,
	       struct kv_err *err)
{
	struct route *both[2] = {a, b};
	int rv = KV_OK;

	twin_link(&a->env, &b->env, prefer_a);
	for (size_t i = 0; i < KV_COUNT(both) && rv == KV_OK; i++) {
		rv = note_pair(both[i], err);
		if (rv == KV_OK && both[i]->stage != STAGE_IDLE) {
			route_restart(both[i], "the other direction was added");
		}
	}
	return rv;
}

bool route_is_paired(const struct route *r)
{
	return r->env.twin != NULL;
}

void route_start(struct route *r)
{
	PRE(r->stage == STAGE_IDLE);
	r->must_reconcile = r->p.repair;
	r->why = r->p.repair ? "a repair was asked for" : NULL;
	route_stage_load(r);
}

void route_reconcile(struct route *r)
{
	if (r->stage == STAGE_HELD) {
		r->stage = STAGE_IDLE;
	}
	route_restart(r, "asked for");
}

void route_status(const struct route *r, struct route_status *out)
{
	memset(out, 0, sizeof *out);
	out->name = r->p.conf->name;
	out->phase = r->phase;
	out->saved = r->env.saved;
	out->applied = KV_MAX(r->env.cp.index, out->saved);
	out->seen = KV_MAX(r->follow.position, out->applied);
	out->counters = r->env.cp.counters;
	out->quarantine = r->env.quarantine;
	out->foreign = r->env.foreign;
	out->conflicts_open = r->env.yielded;
	out->scanned = r->seed.scanned;
	out->written = r->env.written;
	out->written_bytes = r->env.written_bytes;
	out->lag_ms = lag_ms(r);
	out->held = r->is_held ? r->held : NULL;
	out->error = r->error;
	(void)route_waits(r, out->error.text, sizeof out->error.text);
	out->exit_status = r->exit_status;
	out->end_index = r->end_index;
}
