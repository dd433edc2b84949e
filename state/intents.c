/* intents.c: what a batch is about to do, saved before it leaves.
 *
 * One row a batch: n times (index, flags, hash, key's length, key), little
 * endian, under one sum. */
#include "state/state_int.h"

#define INTENT_FIXED (8 + 4 + 16 + 4)
#define INTENT_DELETE 1U
/* Not set by those that schema 2 wrote: they may be guarded by absence. */
#define INTENT_VERSIONED 2U

bool state_intent_is_versioned(const struct state_intent *in)
{
	if (in->by_row == NULL) {
		return in->versioned;
	}
	return in->by_row->kind == STATE_ROW_OWNED ||
	       in->by_row->kind == STATE_ROW_STALE;
}

static uint32_t flags_of(const struct state_intent *in)
{
	return (in->is_delete ? INTENT_DELETE : 0) |
	       (state_intent_is_versioned(in) ? INTENT_VERSIONED : 0);
}

static size_t packed_size(const struct state_intent *intents, size_t n)
{
	size_t size = 0;

	for (size_t i = 0; i < n; i++) {
		size += INTENT_FIXED + intents[i].key.n;
	}
	return size;
}

static void pack_intents(struct pack *b, const struct state_intent *intents,
			 size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct state_intent *it = &intents[i];

		pack_u64(b, it->source_index);
		pack_u32(b, flags_of(it));
		pack_bytes(b, it->hash.b, sizeof it->hash.b);
		pack_u32(b, (uint32_t)it->key.n);
		pack_bytes(b, it->key.p, it->key.n);
	}
}

static int64_t intents_sum(int64_t id, int64_t route, struct slice rows)
{
	uint8_t bytes[24];
	struct pack b = {.p = bytes};

	pack_u64(&b, (uint64_t)id);
	pack_u64(&b, (uint64_t)route);
	pack_u64(&b, sum_part(rows));
	return sum_of(slice_of(b.p, b.n));
}

static int add(struct state *st, int64_t route, struct slice rows, size_t n,
	       uint64_t wall_ms, struct kv_err *err)
{
	/* Never one that was used since this start: a caller may still hold
	 * it. SQLite's own numbers begin again when the table is empty. */
	int64_t id = st->intent_id + 1;
	struct sql q = sql_open(st, SQL_INTENT_ADD);

	sql_int(&q, id);
	sql_int(&q, route);
	sql_u64(&q, wall_ms);
	sql_int(&q, (int64_t)n);
	sql_int(&q, intents_sum(id, route, rows));
	sql_blob(&q, rows);
	(void)sql_run(&q);
	st->intent_id = id;
	return sql_close(&q, err);
}

static int begin(struct state *st, int64_t route,
		 const struct state_intent *intents, size_t n, uint64_t wall_ms,
		 int64_t *intent_id, struct kv_err *err)
{
	struct pack b = {.p = kv_malloc(packed_size(intents, n))};
	int status;

	if (b.p == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for state file %s",
			       st->path);
	}
	pack_intents(&b, intents, n);
	status = add(st, route, slice_of(b.p, b.n), n, wall_ms, err);
	*intent_id = st->intent_id;
	kv_free(b.p);
	return status;
}

int state_begin(struct state *st, int64_t route, const struct slice *keys,
		size_t n, struct state_row *rows,
		const struct state_intent *intents, size_t n_intents,
		uint64_t wall_ms, int64_t *intent_id, struct kv_err *err)
{
	int status =
	    tx_begin(st, n_intents > 0 ? SQL_BEGIN_WRITE : SQL_BEGIN_READ, err);

	*intent_id = 0;
	if (status != KV_OK) {
		return status;
	}
	status = ledger_read(st, route, keys, n, rows, err);
	if (status == KV_OK && n_intents > 0) {
		status = begin(st, route, intents, n_intents, wall_ms,
			       intent_id, err);
	}
	st->in_begin = true;
	status = tx_end(st, status, err);
	st->in_begin = false;
	if (status != KV_OK) {
		*intent_id = 0;
	}
	return status;
}

/* ---- loading */

struct loading {
	struct arena *arena;
	void *intents;
	void *ids;
	size_t cap_intents, cap_ids;
	size_t n;
};

static bool load_one(struct loading *l, int64_t id, struct unpack *b)
{
	struct state_intent it = {0};
	struct slice hash;
	uint32_t flags;

	it.source_index = unpack_u64(b);
	flags = unpack_u32(b);
	it.is_delete = (flags & INTENT_DELETE) != 0;
	it.versioned = (flags & INTENT_VERSIONED) != 0;
	hash = unpack_bytes(b, sizeof it.hash.b);
	it.key = unpack_bytes(b, unpack_u32(b));
	if (b->bad) {
		return true; /* the caller sees it */
	}
	memcpy(it.hash.b, hash.p, sizeof it.hash.b);
	it.key = slice_dup(l->arena, it.key);
	if (it.key.p == NULL ||
	    !arena_room(l->arena, &l->intents, &l->cap_intents, l->n,
			sizeof it) ||
	    !arena_room(l->arena, &l->ids, &l->cap_ids, l->n, sizeof id)) {
		return false;
	}
	((struct state_intent *)l->intents)[l->n] = it;
	((int64_t *)l->ids)[l->n] = id;
	l->n++;
	return true;
}

static void load_batch(struct sql *q, int64_t route, struct loading *l)
{
	int64_t id = sql_get_int(q);
	int64_t n = sql_get_int(q);
	int64_t sum = sql_get_int(q);
	struct slice rows = sql_get_blob(q);
	struct unpack b = {.p = rows.p, .n = rows.n};

	if (sum != intents_sum(id, route, rows)) {
		sql_stop(q, KV_BROKEN, "an intent's sum");
		return;
	}
	for (int64_t i = 0; i < n && !b.bad; i++) {
		if (!load_one(l, id, &b)) {
			sql_stop(q, KV_NO_MEMORY, "no memory for its intents");
			return;
		}
	}
	if (b.bad || b.n > 0) {
		sql_stop(q, KV_BROKEN, "an intent");
	}
}

int state_intents_load(struct state *st, int64_t route, struct arena *arena,
		       struct state_intent **intents, int64_t **ids, size_t *n,
		       struct kv_err *err)
{
	struct loading l = {.arena = arena};
	struct sql q = sql_open(st, SQL_INTENT_LOAD);
	int status;

	sql_int(&q, route);
	while (sql_next(&q)) {
		load_batch(&q, route, &l);
	}
	status = sql_close(&q, err);
	*intents = status == KV_OK ? l.intents : NULL;
	*ids = status == KV_OK ? l.ids : NULL;
	*n = status == KV_OK ? l.n : 0;
	return status;
}
