/* apply_read.c: the step READ of a batch: what both stores have now of the keys
 * in doubt, and what reconcile() makes of it.
 *
 *   keys in doubt --> scan(source, keys) --\
 *                 --> scan(target, keys) ---> reconcile() --> WRITE, WAIT, DONE
 */
#include <stdio.h>

#include "agent/apply_int.h"

/* Values of so many keys are held at once. */
#define READ_KEYS 32

enum { SOURCE, TARGET };

/* ---- deciding
 * -----------------------------------------------------------------*/

/* What one page says of a key; pages and keys ascend alike. */
static const struct store_pair *find_pair(const struct store_page *page,
					  size_t *pos, struct slice key)
{
	while (*pos < page->n && slice_cmp(page->pairs[*pos].key, key) < 0) {
		(*pos)++;
	}
	if (*pos < page->n && slice_eq(page->pairs[*pos].key, key)) {
		return &page->pairs[*pos];
	}
	return NULL;
}

static struct reconcile_side side_of(const struct store_pair *pair,
				     const struct store_page *page)
{
	struct reconcile_side side = {.present = pair != NULL};

	if (pair == NULL) {
		side.index = page == NULL ? 0 : page->at;
		return side;
	}
	side.index = pair->index;
	side.version = pair->version;
	side.hash = content_hash(content_of_pair(pair));
	return side;
}

/* Has the write that we do not know of surely been done? Then nothing of ours
 * can land later. */
static bool has_landed(const struct batch_item *it,
		       const struct reconcile_side *target)
{
	const struct state_intent *last;

	if (it->n_intents == 0) {
		return true;
	}
	if (!target->present) {
		return it->doubts == 0; /* versions match nothing */
	}
	last = &it->intents[it->n_intents - 1];
	return !last->is_delete && kv_hash_eq(&last->hash, &target->hash);
}

/* A put of an agent that ended may still land in a place that was empty, unless
 * there is one such put only and the target shows what it put. */
static bool may_appear(const struct batch_item *it,
		       const struct reconcile_side *target)
{
	for (size_t i = 0; it->doubts == 1 && i < it->n_intents; i++) {
		const struct state_intent *in = &it->intents[i];

		if (!in->is_delete && !in->versioned && target->present &&
		    kv_hash_eq(&in->hash, &target->hash)) {
			return false;
		}
	}
	return it->doubts > 0;
}

static void judge_recovered(struct apply *a, struct batch_item *it,
			    const struct reconcile_side *target)
{
	if (it->recovered && may_appear(it, target) &&
	    !env_ghost_add(a->env, it->key, a->dead_at_ms)) {
		a->env->no_delete_until = a->dead_at_ms;
	}
	it->recovered = false;
}

/* No write is needed; but one of ours may still be on its way. */
static void done_or_wait(const struct apply *a, struct batch_item *it,
			 const struct reconcile_side *target)
{
	if (it->unsettled && !has_landed(it, target)) {
		it->step = ITEM_WAIT;
		it->dead_at_ms = a->dead_at_ms;
		return;
	}
	apply_item_done(it);
}

/* Did we write what the target has? *index: of the source's change that it came
 * from; 0 where that was of another history. */
static bool is_ours(const struct route_env *env, const struct batch_item *it,
		    const struct reconcile_side *target, uint64_t *index)
{
	bool ours =
	    it->row.kind == STATE_ROW_OWNED || it->row.kind == STATE_ROW_STALE;

	*index = ours && (!env->new_source || env->stamped)
		     ? it->row.source_index
		     : 0;
	for (size_t i = 0; i < it->n_intents; i++) {
		if (!it->intents[i].is_delete &&
		    kv_hash_eq(&it->intents[i].hash, &target->hash)) {
			*index = KV_MAX(*index, it->intents[i].source_index);
			ours = true;
		}
	}
	return ours;
}

/* The source lacks the key, but no event has told so yet: the event will. The
 * ledger learns what the target has of ours. */
static void keep_until_told(const struct apply *a, struct batch_item *it,
			    const struct reconcile_out *out,
			    const struct reconcile_side *target)
{
	uint64_t index;

	if (!out->conflict && is_ours(a->env, it, target, &index)) {
		/* The twin must not take it for somebody's. */
		it->source_version = (struct store_version){0, 0};
		it->target_index = target->index;
		apply_item_row(it, STATE_ROW_OWNED, index, target->version,
			       &target->hash);
	}
	it->conflict = false;
	done_or_wait(a, it, target);
}

/* A delete of ours may have shown that state already, of which no event has
 * told: older changes that are still to be told must not bring the key back. */
static void note_absence(struct batch_item *it, const struct reconcile_in *in)
{
	static const struct store_version none;

	if (it->n_intents > 0 && !in->source.present && !in->target.present &&
	    in->source.index > it->row.source_index) {
		apply_item_row(it, STATE_ROW_GONE, in->source.index, none,
			       NULL);
	}
}

static void set_write(struct batch_item *it, const struct reconcile_out *out)
{
	it->guard = out->guard;
	it->expect = out->expect;
	it->step = ITEM_WRITE;
}

static bool set_put(struct apply *a, struct batch_item *it,
		    const struct reconcile_out *out,
		    const struct store_pair *pair)
{
	if (!batch_set(a->batch, it, content_of_pair(pair), false,
		       pair->index)) {
		return false;
	}
	it->source_version = pair->version;
	set_write(it, out);
	return true;
}

static void hold(struct apply *a, struct batch_item *it)
{
	char key[SLICE_PRINT_MAX];

	a->held = true;
	it->conflict = env_held_anew(a->env, it->key, &it->conflict_source.hash,
				     &it->conflict_target.hash);
	(void)snprintf(a->held_reason, sizeof a->held_reason,
		       "conflict at key %s: source and target differ and the "
		       "target's value is not ours (conflict: stop); make both "
		       "sides equal, or choose another policy",
		       slice_print(it->key, key, sizeof key));
	apply_item_done(it);
}

/* Puts a verdict into effect; false: no memory. */
static bool effect(struct apply *a, struct batch_item *it,
		   const struct reconcile_in *in, const struct store_pair *pair)
{
	struct reconcile_out out = reconcile(in);

	it->conflict = out.conflict;
	it->repair = out.repair;
	it->decision = out.decision;
	it->conflict_source = in->source;
	it->conflict_target = in->target;
	it->has_row = false;
	it->target_index = 0;
	switch (out.verdict) {
	case RECONCILE_PUT:
		return set_put(a, it, &out, pair);
	case RECONCILE_DELETE:
		if (!it->may_delete) {
			keep_until_told(a, it, &out, &in->target);
			return true;
		}
		it->source_index = KV_MAX(it->source_index, in->source.index);
		if (!it->is_delete && !batch_set(a->batch, it, content_none(),
						 true, it->source_index)) {
			return false;
		}
		set_write(it, &out);
		return true;
	case RECONCILE_HOLD:
		hold(a, it);
		return true;
	case RECONCILE_QUARANTINE:
		it->quarantine = true;
		apply_item_row(it, out.row_kind, in->source.index,
			       in->target.version, &in->target.hash);
		done_or_wait(a, it, &in->target);
		return true;
	case RECONCILE_NOTHING:
		note_absence(it, in);
		done_or_wait(a, it, &in->target);
		return true;
	case RECONCILE_FOREIGN:
		it->foreign = true;
		break;
	case RECONCILE_ADOPT:
		it->source_version = in->source.version;
		it->target_index = in->target.index;
		if (it->row.kind != STATE_ROW_OWNED &&
		    it->row.kind != STATE_ROW_STALE && it->n_intents == 0) {
			a->env->cp.counters.adopted++;
		}
		break;
	case RECONCILE_FORGET:
		it->target_index = in->target.index;
		break;
	case RECONCILE_YIELD:
	case RECONCILE_KEEP:
	default:
		break;
	}
	apply_item_row(it, out.row_kind, in->source.index, in->target.version,
		       in->target.present ? &in->target.hash : NULL);
	done_or_wait(a, it, &in->target);
	return true;
}

/* Was an inferred delete of ours carried out, and its answer lost? */
static bool is_unheard_delete(const struct batch_item *it,
			      const struct state_row *row,
			      const struct reconcile_side *target)
{
	if (!it->inferred || it->wrote || target->present ||
	    (row->kind != STATE_ROW_OWNED && row->kind != STATE_ROW_STALE)) {
		return false;
	}
	for (size_t i = 0; i < it->n_intents; i++) {
		if (it->intents[i].is_delete) {
			return true;
		}
	}
	return false;
}

static bool decide(struct apply *a, struct batch_item *it,
		   const struct store_pair *source,
		   const struct store_pair *target)
{
	struct route_env *env = a->env;
	struct reconcile_in in = {.row = &it->row,
				  .intents = it->intents,
				  .n_intents = it->n_intents,
				  .new_source = env->new_source,
				  .new_target = env->new_target,
				  .attrs = store_carries_attrs(env->target),
				  .pair = env->pair,
				  .prefer_source = env->prefer_source,
				  .replaced = env->replaced,
				  .conflict = env->conf->conflict,
				  .delete_policy = env->conf->delete_policy,
				  .drift = env->conf->drift};
	struct state_row row = it->row;
	struct env_key mapped;

	in.source = side_of(source, a->read[SOURCE].page);
	if (it->source_key.n == 0) {
		/* No source key maps there: it lacks it, whenever. */
		in.source.index =
		    KV_MAX(it->source_index, it->row.source_index);
	}
	in.target = side_of(target, a->read[TARGET].page);
	it->refused = NULL;
	if (source != NULL) {
		if (env_map(env->mapping, env->target, source->key,
			    content_of_pair(source), &a->batch->arena,
			    &mapped) != KV_OK) {
			return false;
		}
		it->refused = mapped.refused;
		if (it->refused == NULL && target != NULL &&
		    target->unreadable) {
			it->refused = "the target does not let it be read";
		}
		in.uncarried = it->refused != NULL;
	}
	in.row = &row;
	judge_recovered(a, it, &in.target);
	if (!effect(a, it, &in, source)) {
		return false;
	}
	if (is_unheard_delete(it, &row, &in.target)) {
		env_count_inferred(env);
		it->inferred = false; /* counted, whatever follows */
	}
	it->read_index = in.source.index;
	it->read_absent = !in.source.present;
	if (it->step != ITEM_DONE) {
		it->row = row; /* what the next decision goes by */
		it->has_row = false;
	}
	return true;
}

/* Decides every key that was read; false: no memory. */
static bool decide_all(struct apply *a)
{
	const struct store_pair **source;
	size_t size = a->batch->n * sizeof(struct store_pair *);
	size_t pos = 0;

	source = arena_alloc(&a->scratch, size);
	if (source == NULL) {
		return false;
	}
	memset(source, 0, size);
	for (size_t i = 0; i < a->read[SOURCE].n_keys; i++) {
		source[a->read_items[SOURCE][i]] = find_pair(
		    a->read[SOURCE].page, &pos, a->read_keys[SOURCE][i]);
	}
	pos = 0;
	for (size_t i = 0; i < a->read[TARGET].n_keys; i++) {
		size_t item = a->read_items[TARGET][i];
		const struct store_pair *target = find_pair(
		    a->read[TARGET].page, &pos, a->read_keys[TARGET][i]);

		if (!decide(a, &a->batch->items[item], source[item], target)) {
			return false;
		}
	}
	return true;
}

/* ---- reading
 * --------------------------------------------------------------------*/

static void free_pages(struct apply *a)
{
	for (int side = SOURCE; side <= TARGET; side++) {
		store_page_free(a->read[side].page);
		a->read[side].page = NULL;
	}
}

/* The answers are from the histories that were checked, or an error. */
static int check_reads(struct apply *a, struct kv_err *err)
{
	const struct route_env *env = a->env;

	for (int side = SOURCE; side <= TARGET; side++) {
		if (a->read[side].err.status != KV_OK) {
			*err = a->read[side].err;
			return err->status;
		}
	}
	if (a->read[SOURCE].page != NULL &&
	    a->read[SOURCE].page->origin.epoch != env->source_epoch) {
		return kv_fail(err, KV_NOT_REACHABLE,
			       "the source was connected anew");
	}
	if (a->read[TARGET].page->origin.epoch != env->target_epoch) {
		return kv_fail(err, KV_NOT_REACHABLE,
			       "the target was connected anew");
	}
	return KV_OK;
}

static void reads_done(struct apply *a)
{
	struct kv_err err = {0};

	a->busy = false;
	if (a->aborting) {
		free_pages(a);
		apply_step(a);
		return;
	}
	if (check_reads(a, &err) == KV_OK && !decide_all(a)) {
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory to decide keys");
	}
	free_pages(a);
	if (err.status != KV_OK) {
		apply_trouble(a, &err);
	} else {
		apply_step(a);
	}
}

static void read_cb(struct store_scan *req)
{
	struct apply *a = req->data;

	PRE(a->reads_pending > 0);
	a->reads_pending--;
	if (a->reads_pending == 0) {
		reads_done(a);
	}
}

/* Insertion sort: there are few. */
static void sort_keys(struct slice *keys, size_t *items, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct slice key = keys[i];
		size_t item = items[i];
		size_t j = i;

		for (; j > 0 && slice_cmp(keys[j - 1], key) > 0; j--) {
			keys[j] = keys[j - 1];
			items[j] = items[j - 1];
		}
		keys[j] = key;
		items[j] = item;
	}
}

static void read_add(struct apply *a, int side, size_t *n, size_t item,
		     struct slice key)
{
	a->read_keys[side][*n] = key;
	a->read_items[side][(*n)++] = item;
}

/* A target key that no source key maps to is read at the target alone. */
static bool read_prepare(struct apply *a)
{
	size_t most = READ_KEYS;
	size_t n[2] = {0, 0};

	most = KV_MIN(most, store_capabilities(a->env->source)->max_ops);
	most = KV_MIN(most, store_capabilities(a->env->target)->max_ops);
	most = KV_MAX(most, 1);
	arena_reset(&a->scratch);
	for (int side = SOURCE; side <= TARGET; side++) {
		a->read_keys[side] =
		    arena_alloc(&a->scratch, most * sizeof(struct slice));
		a->read_items[side] =
		    arena_alloc(&a->scratch, most * sizeof(size_t));
		if (a->read_keys[side] == NULL || a->read_items[side] == NULL) {
			return false;
		}
	}
	for (size_t i = 0; i < a->batch->n && n[TARGET] < most; i++) {
		struct batch_item *it = &a->batch->items[i];

		if (it->step == ITEM_READ) {
			read_add(a, TARGET, &n[TARGET], i, it->key);
		}
		if (it->step == ITEM_READ && it->source_key.n > 0) {
			read_add(a, SOURCE, &n[SOURCE], i, it->source_key);
		}
	}
	for (int side = SOURCE; side <= TARGET; side++) {
		sort_keys(a->read_keys[side], a->read_items[side], n[side]);
		memset(&a->read[side], 0, sizeof a->read[side]);
		a->read[side].keys = a->read_keys[side];
		a->read[side].n_keys = n[side];
		a->read[side].cb = read_cb;
		a->read[side].data = a;
	}
	return n[TARGET] > 0;
}

void apply_read_start(struct apply *a)
{
	struct store *stores[2] = {a->env->source, a->env->target};
	struct kv_err err = {0};

	if (!read_prepare(a)) {
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory to read keys");
		apply_trouble(a, &err);
		return;
	}
	a->busy = true;
	a->reads_pending = 0;
	for (int side = SOURCE; side <= TARGET; side++) {
		if (a->read[side].n_keys > 0 &&
		    store_scan(stores[side], &a->read[side]) == KV_OK) {
			a->reads_pending++;
		}
	}
	if (a->reads_pending == 0) {
		reads_done(a);
	}
}

void apply_cancel_reads(struct apply *a)
{
	struct store_req *reqs[2] = {&a->read[SOURCE].req,
				     &a->read[TARGET].req};

	for (int side = SOURCE; side <= TARGET && a->reads_pending > 0;
	     side++) {
		if (a->read[side].err.status == KV_OK &&
		    a->read[side].page == NULL) {
			store_cancel(reqs[side]);
		}
	}
}
