/* apply_look.c: the step LOOK of a batch: the ledger's rows and the intents, in
 * one transaction; and what a row alone decides.
 *
 *   items --> rows read, intents saved --> row says: WRITE, READ, DONE
 */
#include "agent/apply_int.h"
#include "agent/twin.h"

/* So few keys are looked up without a hand-off to the worker. */
#define LOOK_FEW 16

bool apply_is_held_row(const struct state_row *row)
{
	return row->kind == STATE_ROW_OWNED || row->kind == STATE_ROW_STALE;
}

static void set_write(struct batch_item *it)
{
	it->step = ITEM_WRITE;
	if (apply_is_held_row(&it->row)) {
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
	if (apply_is_held_row(&it->row)) {
		it->row.kind = STATE_ROW_STALE;
		it->row.source_index = it->source_index;
		it->has_row = true;
	}
	apply_item_done(it);
}

static void delete_by_row(struct apply *a, struct batch_item *it)
{
	if (!apply_is_held_row(&it->row) &&
	    a->env->conf->delete_policy == CONF_DELETE_ALL) {
		it->step = ITEM_READ; /* whatever stands there may go */
	} else if (!apply_is_held_row(&it->row)) {
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

bool apply_is_absent_put(const struct batch_item *it)
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
	       (apply_is_absent_put(it) && absent_intents(it) <= it->doubts);
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

bool apply_look_needed(const struct apply *a)
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
			apply_trouble_memory(a);
		}
	} else if (!look_take(a)) {
		apply_trouble_memory(a);
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

void apply_look_start(struct apply *a)
{
	if (!look_prepare(a)) {
		apply_trouble_memory(a);
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
