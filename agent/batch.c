/* batch.c: see batch.h. Keys are found by an open-addressing table of item
 * numbers, so that a thousand changes of one key cost one slot. */
#include "agent/batch.h"

#include <xxhash.h>

struct batch *batch_new(uint64_t now_ms)
{
	struct batch *b = kv_calloc(1, sizeof *b);

	if (b == NULL) {
		return NULL;
	}
	list_init(&b->link);
	arena_init(&b->arena);
	b->born_ms = now_ms;
	return b;
}

void batch_free(struct batch *b)
{
	if (b == NULL) {
		return;
	}
	PRE(list_empty(&b->link));
	arena_free(&b->arena);
	kv_free(b->items);
	kv_free(b->slots);
	kv_free(b->intent_ids);
	kv_free(b);
}

static size_t slot_of(const struct batch *b, struct slice key)
{
	size_t i = (size_t)XXH3_64bits(key.p, key.n) & (b->n_slots - 1);

	while (b->slots[i] != 0 &&
	       !slice_eq(b->items[b->slots[i] - 1].key, key)) {
		i = (i + 1) & (b->n_slots - 1);
	}
	return i;
}

/* Keeps the table at most half full. */
static bool grow_slots(struct batch *b)
{
	size_t want = b->n_slots == 0 ? 64 : b->n_slots * 2;
	uint32_t *old = b->slots;

	if ((b->n + 1) * 2 <= b->n_slots) {
		return true;
	}
	b->slots = kv_calloc(want, sizeof *b->slots);
	if (b->slots == NULL) {
		b->slots = old;
		return false;
	}
	b->n_slots = want;
	for (size_t i = 0; i < b->n; i++) {
		b->slots[slot_of(b, b->items[i].key)] = (uint32_t)(i + 1);
	}
	kv_free(old);
	return true;
}

/* A copy of the source's key, which most often is the target's, too. */
static bool copy_source(struct batch *b, struct slice key,
			struct slice source_key, struct slice *copy)
{
	*copy =
	    slice_eq(key, source_key) ? key : slice_dup(&b->arena, source_key);
	return copy->p != NULL;
}

struct batch_item *batch_item(struct batch *b, struct slice key,
			      struct slice source_key, bool *found)
{
	void *items = b->items;
	struct batch_item *it;
	struct slice copy, source;
	size_t slot;

	if (!grow_slots(b)) {
		return NULL;
	}
	slot = slot_of(b, key);
	*found = b->slots[slot] != 0;
	if (*found) {
		return &b->items[b->slots[slot] - 1];
	}
	if (!kv_grow(&items, &b->cap, b->n + 1, sizeof *b->items)) {
		return NULL;
	}
	b->items = items;
	copy = slice_dup(&b->arena, key);
	if (copy.p == NULL || !copy_source(b, copy, source_key, &source)) {
		return NULL;
	}
	it = &b->items[b->n];
	memset(it, 0, sizeof *it);
	it->key = copy;
	it->source_key = source;
	b->bytes += key.n;
	b->n++;
	b->slots[slot] = (uint32_t)b->n;
	return it;
}

static bool copy_content(struct batch *b, struct content content,
			 bool is_delete, struct content *copy)
{
	*copy = content_none();
	return is_delete || content_dup(&b->arena, content, copy);
}

/* The bytes of `content` are the batch's. */
static void set(struct batch *b, struct batch_item *it, struct content content,
		bool is_delete, uint64_t source_index)
{
	if (!is_delete) {
		it->hash = content_hash(content);
	}
	b->bytes += content_size(content);
	b->bytes -= content_size(it->content);
	it->content = content;
	it->is_delete = is_delete;
	it->source_index = source_index;
	it->source_version = (struct store_version){0};
	it->target_index = 0;
}

bool batch_set(struct batch *b, struct batch_item *it, struct content content,
	       bool is_delete, uint64_t source_index)
{
	struct content copy;

	if (!copy_content(b, content, is_delete, &copy)) {
		return false;
	}
	set(b, it, copy, is_delete, source_index);
	return true;
}

struct batch_item *batch_change(struct batch *b, struct slice key,
				struct slice source_key, struct content content,
				bool is_delete, uint64_t source_index,
				bool *found)
{
	struct batch_item *it;
	struct content copy;

	if (!copy_content(b, content, is_delete, &copy)) {
		return NULL;
	}
	it = batch_item(b, key, source_key, found);
	if (it != NULL) {
		set(b, it, copy, is_delete, source_index);
	}
	return it;
}

struct batch_item *batch_find(const struct batch *b, struct slice key)
{
	uint32_t number = b->n_slots == 0 ? 0 : b->slots[slot_of(b, key)];

	return number == 0 ? NULL : &b->items[number - 1];
}

bool batch_copy_item(struct batch *b, const struct batch_item *it)
{
	struct batch_item copy = *it;
	struct batch_item *to;
	bool found;

	copy.n_intents = 0;
	copy.intents = NULL;
	for (size_t i = 0; i < it->n_intents; i++) {
		if (!batch_add_intent(b, &copy, &it->intents[i])) {
			return false;
		}
	}
	if (it->refused != NULL) {
		copy.refused = arena_memdup(&b->arena, it->refused,
					    strlen(it->refused) + 1);
		if (copy.refused == NULL) {
			return false;
		}
	}
	to = batch_change(b, it->key, it->source_key, it->content,
			  it->is_delete, it->source_index, &found);
	if (to == NULL) {
		return false;
	}
	PRE(!found || to->blank);
	copy.key = to->key;
	copy.source_key = to->source_key;
	copy.content = to->content;
	copy.row.key = to->key;
	for (size_t i = 0; i < copy.n_intents; i++) {
		copy.intents[i].key = to->key;
	}
	*to = copy;
	return true;
}

void batch_item_blank(struct batch_item *it)
{
	it->step = ITEM_DONE;
	it->has_row = false;
	it->unsettled = false;
	it->conflict = false;
	it->foreign = false;
	it->quarantine = false;
	it->wrote = false;
	it->old = true;
	it->blank = true;
}

bool batch_add_intent(struct batch *b, struct batch_item *it,
		      const struct state_intent *intent)
{
	size_t size = sizeof *it->intents;
	struct state_intent *all;

	all = arena_alloc(&b->arena, (it->n_intents + 1) * size);
	if (all == NULL) {
		return false;
	}
	if (it->n_intents > 0) {
		memcpy(all, it->intents, it->n_intents * size);
	}
	all[it->n_intents] = *intent;
	all[it->n_intents].key = it->key;
	it->intents = all;
	it->n_intents++;
	return true;
}

bool batch_add_intent_id(struct batch *b, int64_t id)
{
	void *ids = b->intent_ids;

	for (size_t i = 0; i < b->n_intent_ids; i++) {
		if (b->intent_ids[i] == id) {
			return true;
		}
	}
	if (!kv_grow(&ids, &b->cap_intent_ids, b->n_intent_ids + 1,
		     sizeof *b->intent_ids)) {
		return false;
	}
	b->intent_ids = ids;
	b->intent_ids[b->n_intent_ids++] = id;
	return true;
}

bool batch_fits(const struct batch *b, const struct route_env *env, size_t n,
		size_t bytes)
{
	return b->n - b->idle + n <= env->batch_ops &&
	       b->n + n <= 2 * (size_t)env->batch_ops + 64 &&
	       b->bytes + bytes <= env->batch_bytes &&
	       b->arena.total + bytes <= 4 * env->batch_bytes;
}
