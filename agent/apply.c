/* apply.c: what becomes of a batch: the step WAIT, and the one function that
 * says which step comes next. LOOK is in apply_look.c, WRITE in apply_write.c,
 * READ in apply_read.c, SAVE in apply_save.c.
 *
 * Callbacks note what came and call apply_step(); apply_step() starts whatever
 * the items ask for. At most one job or write, or a pair of reads, is under
 * way.
 */
#include "agent/apply.h"

#include "agent/apply_int.h"
#include "agent/twin.h"

void apply_init(struct apply *a, struct route_env *env,
		const struct apply_events *events, void *ctx)
{
	memset(a, 0, sizeof *a);
	a->env = env;
	a->events = events;
	a->ctx = ctx;
	a->limit = UINT32_MAX;
	list_init(&a->flight);
	arena_init(&a->scratch);
}

void apply_clear(struct apply *a)
{
	PRE(apply_is_idle(a));
	sched_timer_stop(&a->timer);
	sched_unpost(&a->task);
	arena_free(&a->scratch);
}

bool apply_is_idle(const struct apply *a)
{
	return a->batch == NULL;
}

void apply_set_dead_at(struct apply *a, uint64_t ms)
{
	a->dead_at_ms = KV_MAX(a->dead_at_ms, ms);
}

void apply_trouble(struct apply *a, const struct kv_err *err)
{
	struct kv_err copy = *err;

	PRE(copy.status != KV_OK);
	a->troubled = true;
	if (!a->aborting) {
		a->events->trouble(a, &copy);
	}
}

void apply_trouble_memory(struct apply *a)
{
	struct kv_err err = {0};

	(void)kv_fail(&err, KV_NO_MEMORY, "no memory to apply a batch");
	apply_trouble(a, &err);
}

void apply_item_done(struct batch_item *it)
{
	it->step = ITEM_DONE;
	it->unsettled = false;
}

void apply_item_row(struct batch_item *it, enum state_row_kind kind,
		    uint64_t source_index, struct store_version version,
		    const struct kv_hash *hash)
{
	static const struct kv_hash none;

	it->has_row = true;
	it->row.key = it->key;
	it->row.kind = kind;
	it->row.source_index = source_index;
	it->row.version_a = version.a;
	it->row.version_b = version.b;
	it->row.hash = hash == NULL ? none : *hash;
}

/* ---- WAIT
 * --------------------------------------------------------------------*/

/* So often an apply looks whether its park has room. */
#define PARK_LOOK_MS 50

/* A put of ours whose outcome was unknown, and that was guarded by the key's
 * absence, could land in the place that a delete has emptied: such a delete
 * waits until that put is dead. */
uint64_t apply_held_until(const struct apply *a, const struct batch_item *it)
{
	uint64_t until = 0;

	if (it->step == ITEM_WAIT) {
		until = it->dead_at_ms + 1;
	} else if (it->step == ITEM_WRITE && it->is_delete) {
		until = env_ghost_until(a->env, it->key);
	}
	return until <= sched_now(a->env->sched) ? 0 : until;
}

static void wait_fire(struct sched_timer *t)
{
	struct apply *a = kv_container_of(t, struct apply, timer);

	for (size_t i = 0; i < a->batch->n; i++) {
		struct batch_item *it = &a->batch->items[i];

		if (it->step == ITEM_WAIT && apply_held_until(a, it) == 0) {
			it->step = ITEM_READ;
			it->unsettled = false;
			/* The twin does not wait for what is recovered. */
			it->verify = a->exempt && a->env->twin != NULL;
			it->basis = it->row;
		}
	}
	apply_step(a);
}

/* Until the first of the items may go on. */
static void wait_start(struct apply *a, uint64_t most_ms)
{
	uint64_t now = sched_now(a->env->sched);
	uint64_t delay = most_ms;

	for (size_t i = 0; i < a->batch->n; i++) {
		const struct batch_item *it = &a->batch->items[i];
		uint64_t until = apply_held_until(a, it);

		if (until > 0) {
			delay = KV_MIN(delay, until - now);
		} else if (it->step != ITEM_DONE) {
			delay = 0;
		}
	}
	a->timer.fire = wait_fire;
	sched_timer_start(a->env->sched, &a->timer, delay);
	if (a->events->rested != NULL) {
		a->events->rested(a);
	}
}

static void park_or_wait(struct apply *a)
{
	struct kv_err err = {0};

	if (a->park == NULL || a->park == a) {
		wait_start(a, UINT64_MAX);
	} else if (apply_park(a, &err)) {
		apply_step(a);
	} else if (err.status != KV_OK) {
		apply_trouble(a, &err);
	} else {
		wait_start(a, PARK_LOOK_MS);
	}
}

/* ---- what comes next
 * -----------------------------------------------------------*/

static bool any_ready(const struct apply *a)
{
	for (size_t i = 0; i < a->batch->n; i++) {
		if (apply_is_ready(a, &a->batch->items[i])) {
			return true;
		}
	}
	return false;
}

static bool any_in(const struct apply *a, enum item_step step)
{
	for (size_t i = 0; i < a->batch->n; i++) {
		if (a->batch->items[i].step == step) {
			return true;
		}
	}
	return false;
}

static void end_abort(struct apply *a)
{
	sched_timer_stop(&a->timer);
	batch_free(a->batch);
	a->batch = NULL;
	a->aborting = false;
	a->troubled = false;
	a->saving = false;
	a->waiting = false;
	a->held = false;
	a->dead_at_ms = 0;
	twin_landed(a);
	a->events->aborted(a);
}

/* The checkpoint must not go over rows that are not saved. */
static bool save_must_wait(const struct apply *a)
{
	if (a->before != NULL && !apply_is_idle(a->before)) {
		return true;
	}
	if (a->park == a) {
		return a->beside[0]->saving || a->beside[1]->saving;
	}
	return a->park != NULL && a->batch->move && a->park->saving;
}

/* All up to the batch's index is at the target, but for what is parked. */
static void move_on(struct apply *a)
{
	struct route_env *env = a->env;

	env->reached = KV_MAX(env->reached, a->batch->index);
	if (a->park == NULL || a->park == a || apply_is_idle(a->park)) {
		/* What a watch has told is what there is. */
		env->cp.exact = env->reached >= env->dropped_to &&
				(env->cp.exact || env->reached > env->cp.index);
		env->cp.index = KV_MAX(env->cp.index, env->reached);
	}
}

static void begin_save(struct apply *a)
{
	a->waiting = save_must_wait(a);
	if (a->waiting) {
		return;
	}
	a->saving = true;
	if (a->batch->move && !a->held) {
		move_on(a);
	}
	a->events->written(a);
	apply_save_start(a);
}

void apply_step(struct apply *a)
{
	if (a->busy || a->batch == NULL) {
		return;
	}
	sched_timer_stop(&a->timer);
	if (a->aborting) {
		end_abort(a);
	} else if (a->troubled || !twin_clears(a)) {
		return;
	} else if (a->saving) {
		apply_save_start(a);
	} else if (a->waiting && a->before != NULL &&
		   !apply_is_idle(a->before)) {
		return;
	} else if (a->held) {
		begin_save(a);
	} else if (apply_look_needed(a)) {
		apply_look_start(a);
	} else if (any_in(a, ITEM_WRITE) && apply_journal_needed(a)) {
		apply_journal_start(a);
	} else if (any_ready(a)) {
		apply_write_start(a);
	} else if (any_in(a, ITEM_READ)) {
		apply_read_start(a);
	} else if (any_in(a, ITEM_WRITE) || any_in(a, ITEM_WAIT)) {
		park_or_wait(a);
	} else {
		begin_save(a);
	}
}

static void task_run(struct sched_task *task)
{
	apply_step(kv_container_of(task, struct apply, task));
}

/* Steps are taken from the loop, never from inside the caller. */
void apply_step_later(struct apply *a)
{
	a->task.run = task_run;
	sched_post(a->env->sched, &a->task);
}

void apply_start(struct apply *a, struct batch *b)
{
	PRE(apply_is_idle(a) && !a->busy);
	a->batch = b;
	a->troubled = false;
	a->saving = false;
	a->waiting = false;
	a->held = false;
	a->cleared = false;
	a->limit = UINT32_MAX;
	apply_step(a);
}

void apply_retry(struct apply *a)
{
	if (a->batch == NULL || !a->troubled) {
		return;
	}
	a->troubled = false;
	apply_step_later(a);
}

void apply_wake(struct apply *a)
{
	if (a->batch != NULL && a->waiting) {
		apply_step_later(a);
	}
}

void apply_abort(struct apply *a)
{
	PRE(a->batch != NULL);
	if (a->aborting) {
		return;
	}
	a->aborting = true;
	sched_timer_stop(&a->timer);
	if (!a->busy) {
		apply_step_later(a);
		return;
	}
	apply_cancel_reads(a);
	if (a->writing) {
		store_cancel(&a->write.req);
	}
}
