/* apply.c: the steps LOOK, WRITE and WAIT of a batch, and the one function
 * that says which comes next; READ is in apply_read.c, SAVE in apply_save.c.
 *
 * Callbacks note what came and call apply_step(); apply_step() starts whatever
 * the items ask for. At most one job or write, or a pair of reads, is under
 * way.
 */
#include "agent/apply.h"

#include "agent/apply_int.h"
#include "agent/twin.h"

/* So few keys are looked up without a hand-off to the worker. */
#define LOOK_FEW 16

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

static void trouble_memory(struct apply *a)
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

/* ---- LOOK
 * ------------------------------------------------------------------*/

static bool is_held_row(const struct state_row *row)
{
	return row->kind == STATE_ROW_OWNED || row->kind == STATE_ROW_STALE;
}

static void set_write(struct batch_item *it)
{
	it->step = ITEM_WRITE;
	if (is_held_row(&it->row)) {
		it->guard = STORE_GUARD_VERSION;
		it->expect.a = it->row.version_a;
		it->expect.b = it->row.version_b;
	} else {
		it->guard = STORE_GUARD_ABSENT;
	}
}

/* The source's newer value cannot be carried: what the target has of ours
 * stays, marked. */
static void quarantine_by_row(struct batch_item *it)
{
	it->quarantine = true;
	if (is_held_row(&it->row)) {
		it->row.kind = STATE_ROW_STALE;
		it->row.source_index = it->source_index;
		it->has_row = true;
	}
	apply_item_done(it);
}

static void delete_by_row(struct apply *a, struct batch_item *it)
{
	if (!is_held_row(&it->row) &&
	    a->env->conf->delete_policy == CONF_DELETE_ALL) {
		it->step = ITEM_READ; /* whatever stands there may go */
	} else if (!is_held_row(&it->row)) {
		/* Nothing of ours. Remember that it is gone, so that an older
		 * change of it, told again, does not bring it back. */
		if (it->row.kind == STATE_ROW_GONE) {
			it->row.source_index = it->source_index;
			it->has_row = true;
		}
		apply_item_done(it);
	} else if (a->env->conf->delete_policy == CONF_DELETE_NEVER) {
		it->row.kind = STATE_ROW_STALE;
		it->row.source_index = it->source_index;
		it->has_row = true;
		apply_item_done(it);
	} else {
		set_write(it);
	}
}

/* Of a pair: the change brought back what both sides had last. */
static bool is_as_it_was(const struct apply *a, const struct batch_item *it)
{
	return a->env->twin != NULL && !it->is_delete &&
	       it->row.kind == STATE_ROW_OWNED &&
	       kv_hash_eq(&it->row.hash, &it->hash);
}

/* What the ledger alone decides for a change that the stream brought. */
static void decide_by_row(struct apply *a, struct batch_item *it)
{
	bool known = it->row.kind != STATE_ROW_NONE;

	if (known && !a->env->new_source &&
	    it->source_index <= it->row.source_index) {
		it->old = true; /* the target is that far already */
		apply_item_done(it);
	} else if (it->refused != NULL) {
		quarantine_by_row(it);
	} else if (it->row.kind == STATE_ROW_YIELDED || a->env->new_source ||
		   a->env->new_target || is_as_it_was(a, it)) {
		it->step = ITEM_READ;
	} else if (it->is_delete) {
		delete_by_row(a, it);
	} else {
		set_write(it);
	}
}

static bool is_absent_put(const struct batch_item *it)
{
	return it->step == ITEM_WRITE && !it->is_delete &&
	       it->guard == STORE_GUARD_ABSENT;
}

static size_t absent_intents(const struct batch_item *it)
{
	size_t n = 0;

	for (size_t i = 0; i < it->n_intents; i++) {
		const struct state_intent *in = &it->intents[i];

		n += !in->is_delete && !in->versioned ? 1 : 0;
	}
	return n;
}

/* Each put that is guarded by absence has an intent of its own, so that whoever
 * finds them open knows how many may still land. */
static bool wants_intent(const struct batch_item *it)
{
	const struct state_intent *last;

	if (it->refused != NULL ||
	    (it->step != ITEM_LOOK && it->step != ITEM_WRITE)) {
		return false;
	}
	if (it->n_intents == 0) {
		return true;
	}
	last = &it->intents[it->n_intents - 1];
	return last->is_delete != it->is_delete ||
	       last->source_index != it->source_index ||
	       (!it->is_delete && !kv_hash_eq(&last->hash, &it->hash)) ||
	       (is_absent_put(it) && absent_intents(it) <= it->doubts);
}

static bool wants_row(const struct batch_item *it)
{
	return it->step == ITEM_LOOK || it->verify;
}

/* The seed decided by another row than the one that stands there now. */
static void verify(struct batch_item *it, const struct state_row *row)
{
	const struct state_row *was = &it->basis;

	it->verify = false;
	if (row->kind == was->kind &&
	    (row->kind == STATE_ROW_NONE ||
	     (row->source_index == was->source_index &&
	      row->version_a == was->version_a &&
	      row->version_b == was->version_b &&
	      kv_hash_eq(&row->hash, &was->hash)))) {
		return;
	}
	it->row = *row;
	it->row.key = it->key;
	it->has_row = false;
	it->conflict = false;
	it->foreign = false;
	it->quarantine = false;
	it->step = ITEM_READ;
}

static bool look_needed(const struct apply *a)
{
	for (size_t i = 0; i < a->batch->n; i++) {
		const struct batch_item *it = &a->batch->items[i];

		if (wants_row(it) || wants_intent(it)) {
			return true;
		}
	}
	return false;
}

static void look_work(struct worker_job *job)
{
	struct apply *a = kv_container_of(job, struct apply, look_job);

	kv_err_clear(&a->job_err);
	a->job_err.status =
	    state_begin(a->env->state, a->env->route, a->look_keys, a->n_look,
			a->look_rows, a->intents, a->n_intents,
			sched_wall(a->env->sched), &a->intent_id, &a->job_err);
}

static bool take_intent(struct batch *b, struct batch_item *it,
			struct state_intent *in)
{
	in->versioned = state_intent_is_versioned(in);
	in->by_row = NULL;
	return batch_add_intent(b, it, in);
}

/* Takes over the rows and the intents that the transaction read and saved;
 * false: no memory (they stay open in the state, which is safe). */
static bool look_take(struct apply *a)
{
	struct batch *b = a->batch;
	size_t row = 0;
	size_t intent = 0;

	if (a->n_intents > 0 && !batch_add_intent_id(b, a->intent_id)) {
		return false;
	}
	for (size_t i = 0; i < b->n; i++) {
		struct batch_item *it = &b->items[i];

		if (wants_intent(it) &&
		    !take_intent(b, it, &a->intents[intent++])) {
			return false;
		}
	}
	for (size_t i = 0; i < b->n; i++) {
		struct batch_item *it = &b->items[i];

		if (it->step == ITEM_LOOK) {
			it->row = a->look_rows[row++];
			it->row.key = it->key;
			decide_by_row(a, it);
		} else if (it->verify) {
			verify(it, &a->look_rows[row++]);
		}
	}
	POST(row == a->n_look);
	return true;
}

static void look_done(struct worker_job *job)
{
	struct apply *a = kv_container_of(job, struct apply, look_job);

	a->busy = false;
	if (a->aborting) {
		apply_step(a);
	} else if (a->job_err.status != KV_OK) {
		apply_trouble(a, &a->job_err);
	} else if (a->before != NULL && !apply_is_idle(a->before)) {
		/* Its save failed just now: what we read is too old. */
		a->waiting = true;
		if (a->n_intents > 0 &&
		    !batch_add_intent_id(a->batch, a->intent_id)) {
			trouble_memory(a);
		}
	} else if (!look_take(a)) {
		trouble_memory(a);
	} else {
		apply_step(a);
	}
}

/* What stands in the ledger guards a key that is looked up: its row is the last
 * one of look_rows. */
static void look_intent(struct apply *a, const struct batch_item *it)
{
	struct state_intent *in = &a->intents[a->n_intents++];

	memset(in, 0, sizeof *in);
	in->key = it->key;
	in->is_delete = it->is_delete;
	in->source_index = it->source_index;
	in->hash = it->hash;
	in->versioned = it->guard == STORE_GUARD_VERSION;
	if (it->step == ITEM_LOOK) {
		in->by_row = &a->look_rows[a->n_look - 1];
	}
}

static bool look_prepare(struct apply *a)
{
	struct batch *b = a->batch;

	arena_reset(&a->scratch);
	a->look_keys = arena_alloc(&a->scratch, b->n * sizeof *a->look_keys);
	a->look_rows = arena_alloc(&a->scratch, b->n * sizeof *a->look_rows);
	a->intents = arena_alloc(&a->scratch, b->n * sizeof *a->intents);
	if (a->look_keys == NULL || a->look_rows == NULL ||
	    a->intents == NULL) {
		return false;
	}
	memset(a->look_rows, 0, b->n * sizeof *a->look_rows);
	a->n_look = 0;
	a->n_intents = 0;
	for (size_t i = 0; i < b->n; i++) {
		struct batch_item *it = &b->items[i];

		if (wants_row(it)) {
			a->look_keys[a->n_look++] = it->key;
		}
		if (wants_intent(it)) {
			look_intent(a, it);
		}
	}
	return true;
}

static void look_start(struct apply *a)
{
	if (!look_prepare(a)) {
		trouble_memory(a);
		return;
	}
	a->busy = true;
	a->waiting = false;
	a->look_job.work = look_work;
	a->look_job.done = look_done;
	/* Few keys: a lone change should not wait for a thread to wake. */
	if (a->n_intents <= LOOK_FEW && a->n_look <= LOOK_FEW) {
		worker_submit_quick(a->env->worker, &a->look_job);
	} else {
		worker_submit(a->env->worker, &a->look_job);
	}
}

/* ---- WRITE
 * -----------------------------------------------------------------*/

static void count_written(struct apply *a, struct batch_item *it)
{
	struct route_env *env = a->env;

	it->wrote = true;
	if (it->is_delete) {
		env->cp.counters.deletes++;
		if (it->inferred) {
			env_count_inferred(env);
		}
	} else {
		env->cp.counters.puts++;
	}
	env->written++;
	env->written_bytes += it->key.n + content_size(it->content);
}

static void op_done(struct apply *a, struct batch_item *it,
		    const struct store_op *op)
{
	static const struct store_version none;

	count_written(a, it);
	it->target_index = op->index;
	if (!it->is_delete) {
		apply_item_row(it, STATE_ROW_OWNED, it->source_index,
			       op->version, &it->hash);
		apply_item_done(it);
		return;
	}
	apply_item_row(it, STATE_ROW_GONE, it->source_index, none, NULL);
	apply_item_done(it);
}

static void op_refused(struct apply *a, struct batch_item *it, int status)
{
	const char *text = kv_status_text(status);
	const char *copy;

	copy = arena_memdup(&a->batch->arena, text, strlen(text) + 1);
	it->refused = copy == NULL ? kv_status_text(status) : copy;
	it->quarantine = true;
	if (is_held_row(&it->row)) {
		it->row.kind = STATE_ROW_STALE;
		it->row.source_index = it->source_index;
		it->has_row = true;
	}
	apply_item_done(it);
}

/* The result of one operation. Returns whether it was a failed guard. */
static bool op_result(struct apply *a, struct batch_item *it,
		      const struct store_op *op)
{
	switch (op->status) {
	case KV_OK:
		op_done(a, it, op);
		return false;
	case KV_KEY_MODIFIED:
	case KV_KEY_EXISTS:
	case KV_KEY_NOT_FOUND:
		it->step = ITEM_READ;
		return true;
	case KV_TOO_LARGE:
	case KV_INVALID_KEY:
		op_refused(a, it, op->status);
		return false;
	case KV_UNKNOWN_OUTCOME:
		it->doubts += is_absent_put(it) ? 1 : 0;
		it->step = ITEM_READ;
		it->unsettled = true;
		return false;
	default:
		return false; /* still to be written */
	}
}

/* Writes of unknown outcome may land until the server has given them up. */
static void note_unknown(struct apply *a)
{
	uint64_t dead_at = sched_now(a->env->sched) +
			   store_capabilities(a->env->target)->write_timeout_ms;

	apply_set_dead_at(a, dead_at);
	for (size_t i = 0; i < a->write.n_ops; i++) {
		const struct store_op *op = &a->ops[i];

		if (op->status == KV_UNKNOWN_OUTCOME &&
		    op->kind == STORE_OP_PUT &&
		    op->guard == STORE_GUARD_ABSENT &&
		    !env_ghost_add(a->env, op->key, dead_at)) {
			a->env->no_delete_until = dead_at;
		}
	}
}

/* Operation by operation; counts what happened. */
static void ops_results(struct apply *a, bool all_unknown)
{
	size_t guards = 0;
	size_t unknown = 0;

	for (size_t i = 0; i < a->write.n_ops; i++) {
		struct batch_item *it = &a->batch->items[a->op_items[i]];

		if (all_unknown) {
			a->ops[i].status = KV_UNKNOWN_OUTCOME;
		}
		guards += op_result(a, it, &a->ops[i]) ? 1 : 0;
		unknown += it->unsettled ? 1 : 0;
	}
	if (guards > 0 && a->write.n_ops > 1) {
		env_count_split(a->env, "a guard failed");
	}
	if (unknown > 0) {
		a->env->cp.counters.unknown++;
		note_unknown(a);
	}
}

/* The target takes less at once than it said. */
static void write_too_large(struct apply *a)
{
	size_t n = a->write.n_ops;

	if (n == 1) {
		op_refused(a, &a->batch->items[a->op_items[0]], KV_TOO_LARGE);
		return;
	}
	a->limit = (uint32_t)((n + 1) / 2);
	env_count_split(a->env, "the target takes less at once");
}

static bool some_op_failed(const struct apply *a)
{
	for (size_t i = 0; i < a->write.n_ops; i++) {
		if (a->ops[i].status != KV_OK &&
		    a->ops[i].status != KV_CANCELED) {
			return true;
		}
	}
	return false;
}

static void write_result(struct apply *a)
{
	const struct kv_err *err = &a->write.err;

	switch (kv_status_class(err->status)) {
	case KV_CLASS_OK:
		env_saw_target(a->env, &a->write.origin);
		ops_results(a, false);
		apply_step(a);
		return;
	case KV_CLASS_KEY:
		if (!some_op_failed(a)) {
			write_too_large(a);
		} else {
			ops_results(a, false);
		}
		apply_step(a);
		return;
	case KV_CLASS_RESYNC:
		ops_results(a, true);
		apply_trouble(a, err);
		return;
	case KV_CLASS_RETRY:
	case KV_CLASS_FATAL:
	default:
		ops_results(a, false);
		apply_trouble(a, err);
		return;
	}
}

static void write_cb(struct store_write *req)
{
	struct apply *a = req->data;

	a->busy = false;
	a->writing = false;
	if (a->aborting) {
		apply_step(a);
		return;
	}
	write_result(a);
}

static void op_fill(struct store_op *op, const struct batch_item *it)
{
	memset(op, 0, sizeof *op);
	op->kind = it->is_delete ? STORE_OP_DELETE : STORE_OP_PUT;
	op->guard = it->guard;
	op->expect = it->expect;
	op->key = it->key;
	op->value = it->content.value;
	op->attrs = it->content.attrs;
	/* What a backend leaves untouched was not done. */
	op->status = KV_CANCELED;
}

static bool is_ready(const struct apply *a, const struct batch_item *it)
{
	return it->step == ITEM_WRITE && apply_held_until(a, it) == 0;
}

/* Gathers what one write can take. */
static bool write_prepare(struct apply *a)
{
	const struct store_caps *caps = store_capabilities(a->env->target);
	size_t most = KV_MIN(caps->max_ops, a->limit);
	struct batch *b = a->batch;
	size_t bytes = 0;
	size_t n = 0;

	most = KV_MAX(KV_MIN(most, b->n), 1);
	arena_reset(&a->scratch);
	a->ops = arena_alloc(&a->scratch, most * sizeof *a->ops);
	a->op_items = arena_alloc(&a->scratch, most * sizeof *a->op_items);
	if (a->ops == NULL || a->op_items == NULL) {
		return false;
	}
	for (size_t i = 0; i < b->n && n < most; i++) {
		const struct batch_item *it = &b->items[i];
		size_t size = it->key.n + content_size(it->content);

		if (!is_ready(a, it) ||
		    (n > 0 && bytes + size > caps->max_bytes)) {
			continue;
		}
		bytes += size;
		a->op_items[n] = i;
		op_fill(&a->ops[n++], it);
	}
	memset(&a->write, 0, sizeof a->write);
	a->write.ops = a->ops;
	a->write.n_ops = n;
	POST(n > 0);
	return true;
}

static void write_start(struct apply *a)
{
	int rv;

	if (!write_prepare(a)) {
		trouble_memory(a);
		return;
	}
	a->write.epoch = a->env->target_epoch;
	a->write.cb = write_cb;
	a->write.data = a;
	a->busy = true;
	a->writing = true;
	rv = store_write(a->env->target, &a->write);
	if (rv != KV_OK) {
		a->busy = false;
		a->writing = false;
		write_result(a);
	}
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
		if (is_ready(a, &a->batch->items[i])) {
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
	} else if (look_needed(a)) {
		look_start(a);
	} else if (any_in(a, ITEM_WRITE) && apply_journal_needed(a)) {
		apply_journal_start(a);
	} else if (any_ready(a)) {
		write_start(a);
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
