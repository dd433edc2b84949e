/* apply_park.c: keys that wait for a write which may still land, put aside.
 *
 *   batch --waiting keys--> park's batch --dead--> READ, WRITE, SAVE
 *     |                        |
 *     `-- the others: SAVE     `-- a newer change of a key takes it back
 *
 * The park is an apply of its own whose batch takes in more keys as long as it
 * only waits. Until it has saved, the checkpoint stays before what it holds:
 * after a crash the stream tells it again.
 */
#include "agent/apply_int.h"
#include "store/base/log.h"

bool apply_rests(const struct apply *a)
{
	return a->batch != NULL && !a->busy && !a->troubled && !a->aborting &&
	       !a->saving && !a->waiting && !a->held &&
	       sched_timer_running(&a->timer);
}

static bool is_waiting(const struct apply *a, const struct batch_item *it)
{
	return it->step == ITEM_WAIT ||
	       (it->step == ITEM_WRITE && apply_held_until(a, it) > 0);
}

/* Copies all that waits; when memory runs out, what was copied is blank. */
static bool copy_waiting(const struct apply *a, struct batch *to)
{
	const struct batch *b = a->batch;
	size_t i;

	for (i = 0; i < b->n_intent_ids; i++) {
		if (!batch_add_intent_id(to, b->intent_ids[i])) {
			return false;
		}
	}
	for (i = 0; i < b->n; i++) {
		if (is_waiting(a, &b->items[i]) &&
		    !batch_copy_item(to, &b->items[i])) {
			break;
		}
	}
	if (i == b->n) {
		return true;
	}
	while (i-- > 0) {
		if (is_waiting(a, &b->items[i])) {
			batch_item_blank(batch_find(to, b->items[i].key));
		}
	}
	return false;
}

static void blank_waiting(struct apply *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->batch->n; i++) {
		struct batch_item *it = &a->batch->items[i];

		if (is_waiting(a, it)) {
			batch_item_blank(it);
			n++;
		}
	}
	a->batch->n_intent_ids = 0; /* the park closes them */
	if (n < a->batch->n) {
		env_count_split(a->env, "a key waits");
	}
	LOG_INFO("keys wait for writes that may still land",
		 LOG_S("route", a->env->conf->name), LOG_U("keys", n));
}

bool apply_park(struct apply *a, struct kv_err *err)
{
	struct apply *park = a->park;
	struct batch *to = park->batch;

	if (to != NULL && !apply_rests(park)) {
		return false;
	}
	if (to == NULL) {
		to = batch_new(a->batch->born_ms);
	}
	if (to == NULL || !copy_waiting(a, to)) {
		if (to != park->batch) {
			batch_free(to);
		}
		(void)kv_fail(err, KV_NO_MEMORY, "no memory to park keys");
		return false;
	}
	to->move = !to->lent;
	blank_waiting(a);
	apply_set_dead_at(park, a->dead_at_ms);
	if (park->batch == NULL) {
		park->exempt = true;
		apply_start(park, to);
	} else {
		apply_step(park);
	}
	return true;
}

/* The source's index up to which the parked item knows the key. */
static uint64_t known_to(const struct batch_item *parked)
{
	uint64_t known = parked->read_index;

	if (parked->row.kind != STATE_ROW_NONE) {
		known = KV_MAX(known, parked->row.source_index);
	}
	if (parked->step == ITEM_WRITE) {
		known = KV_MAX(known, parked->source_index);
	}
	return known;
}

/* May the change be applied now? Not one that the parked item knows, as it may
 * have shown what came later; but a delete where nothing came later. */
static bool may_take(const struct batch_item *it,
		     const struct batch_item *parked)
{
	if (it->refused != NULL) {
		return false;
	}
	return it->source_index > known_to(parked) ||
	       (it->is_delete && parked->doubts == 0 &&
		parked->step == ITEM_WAIT && parked->read_absent);
}

static bool take_back(struct batch *b, struct batch_item *it,
		      struct batch_item *parked)
{
	for (size_t i = 0; i < parked->n_intents; i++) {
		if (!batch_add_intent(b, it, &parked->intents[i])) {
			return false;
		}
	}
	it->source_index = KV_MAX(it->source_index, known_to(parked));
	it->doubts = parked->doubts;
	it->unsettled = parked->unsettled;
	batch_item_blank(parked);
	return true;
}

/* The parked item is read when its time has come, and does what the change
 * would. */
static void leave_to(const struct apply *park, struct batch_item *parked,
		     struct batch_item *it)
{
	parked->may_delete = parked->may_delete || it->is_delete;
	if (parked->step == ITEM_WRITE) {
		parked->step = ITEM_WAIT;
		parked->dead_at_ms = apply_held_until(park, parked);
	}
	batch_item_blank(it);
}

/* The item of the park that has that key, or NULL. */
static struct batch_item *find_parked(const struct apply *park,
				      const struct batch_item *it)
{
	struct batch_item *parked = batch_find(park->batch, it->key);

	return parked == NULL || parked->blank ? NULL : parked;
}

bool apply_unpark(struct apply *park, struct batch *b, struct kv_err *err)
{
	bool taken = false;

	for (size_t i = 0; park->batch != NULL && i < b->n; i++) {
		struct batch_item *it = &b->items[i];
		struct batch_item *parked = find_parked(park, it);

		if (parked == NULL || it->step != ITEM_LOOK) {
			continue;
		}
		if (!apply_rests(park) || parked->step == ITEM_DONE) {
			return false; /* until its row is saved */
		}
		if (!may_take(it, parked)) {
			leave_to(park, parked, it);
			continue;
		}
		if (!take_back(b, it, parked)) {
			(void)kv_fail(err, KV_NO_MEMORY,
				      "no memory to take keys back");
			return false;
		}
		/* Only when that change is at the target, too, is all up to
		 * what the park stands for. */
		park->batch->lent = true;
		park->batch->move = false;
		taken = true;
	}
	if (taken) {
		apply_step(park);
	}
	return true;
}
