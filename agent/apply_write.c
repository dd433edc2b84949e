/* apply_write.c: the step WRITE of a batch: guarded operations, as many as the
 * target takes at once, and what each answer means.
 *
 *   ready items --> store_write --> done: row
 *                              `--> guard failed, outcome unknown: READ
 */
#include "agent/apply_int.h"

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
	if (apply_is_held_row(&it->row)) {
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
		if (a->env->pair && !it->unsettled) {
			/* Not done: what is there now is somebody else's. */
			it->n_intents = 0;
		}
		return true;
	case KV_TOO_LARGE:
	case KV_INVALID_KEY:
		op_refused(a, it, op->status);
		return false;
	case KV_UNKNOWN_OUTCOME:
		it->doubts += apply_is_absent_put(it) ? 1 : 0;
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

bool apply_is_ready(const struct apply *a, const struct batch_item *it)
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

		if (!apply_is_ready(a, it) ||
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

void apply_write_start(struct apply *a)
{
	int rv;

	if (!write_prepare(a)) {
		apply_trouble_memory(a);
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
