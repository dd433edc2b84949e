/* newest.c: the OWNED rows with the greatest source indexes, without an index
 * over the ledger (which would cost a second random write a row).
 *
 *   commit --rows--> the list (at most NEWEST_MAX keys) --same transaction-->
 *   table newest;  state_ledger_newest: list -> rows of the ledger, as they are
 *
 * What holds: every OWNED row with an index above `low` is in the list. What
 * falls out of it lifts `low`. An entry counts only if the ledger's row says
 * the same, so that a stale or damaged list costs time, never truth: when too
 * few are left, the ledger is read once and the list made anew.
 */
#include <stdlib.h>

#include "state/state_int.h"

/* ---- the list in memory */

static void entry_drop(struct newest *l, size_t i)
{
	kv_free((void *)(uintptr_t)l->entries[i].key.p);
	l->entries[i] = l->entries[--l->n];
	l->changed = true;
}

void newest_clear(struct newest *l)
{
	while (l->n > 0) {
		entry_drop(l, l->n - 1);
	}
	l->low = 0;
	l->loaded = false;
	l->changed = false;
}

/* A row that is not in the list: no row above `low` may be missing. */
static void leave_out(struct newest *l, uint64_t index)
{
	l->changed = l->changed || index > l->low;
	l->low = KV_MAX(l->low, index);
}

static size_t lowest(const struct newest *l)
{
	size_t at = 0;

	for (size_t i = 1; i < l->n; i++) {
		if (l->entries[i].index < l->entries[at].index) {
			at = i;
		}
	}
	return at;
}

static void insert(struct newest *l, uint64_t index, uint64_t key_sum,
		   struct slice key)
{
	struct newest_entry *e;
	void *copy;

	if (l->n == NEWEST_MAX) {
		size_t at = lowest(l);

		if (index <= l->entries[at].index) {
			leave_out(l, index);
			return;
		}
		leave_out(l, l->entries[at].index);
		entry_drop(l, at);
	}
	copy = key.n > NEWEST_KEY_MAX ? NULL : kv_memdup(key.p, key.n);
	if (copy == NULL) {
		leave_out(l, index);
		return;
	}
	e = &l->entries[l->n++];
	e->index = index;
	e->key_sum = key_sum;
	e->key = slice_of(copy, key.n);
	l->changed = true;
}

static void note(struct newest *l, const struct state_row *r)
{
	uint64_t key_sum = sum_part(r->key);

	for (size_t i = 0; i < l->n; i++) {
		if (l->entries[i].key_sum == key_sum &&
		    slice_eq(l->entries[i].key, r->key)) {
			entry_drop(l, i);
			break;
		}
	}
	if (r->kind == STATE_ROW_OWNED && r->source_index > l->low) {
		insert(l, r->source_index, key_sum, r->key);
	}
}

/* ---- the list in the file */

/* What cannot be understood is left out, and lifts `low` out of reach: then
 * the ledger is read. */
static void unpack_list(struct newest *l, struct slice rows)
{
	struct unpack b = {.p = rows.p, .n = rows.n};
	uint64_t low = l->low;

	l->low = 0;
	while (b.n > 0 && !b.bad) {
		uint64_t index = unpack_u64(&b);
		struct slice key = unpack_bytes(&b, unpack_u32(&b));

		if (!b.bad && l->n < NEWEST_MAX) {
			insert(l, index, sum_part(key), key);
		}
	}
	l->low = b.bad ? UINT64_MAX : KV_MAX(low, l->low);
	l->changed = false;
}

static int load(struct state *st, int64_t route, struct newest *l,
		struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_NEWEST_LOAD);
	int status;

	newest_clear(l);
	sql_int(&q, route);
	if (sql_next(&q)) {
		l->low = sql_get_u64(&q);
		unpack_list(l, sql_get_blob(&q));
	}
	status = sql_close(&q, err);
	l->loaded = status == KV_OK;
	return status;
}

static int save(struct state *st, int64_t route, struct newest *l,
		struct kv_err *err)
{
	uint8_t bytes[NEWEST_MAX * (NEWEST_KEY_MAX + 12)];
	struct pack b = {.p = bytes};
	struct sql q = sql_open(st, SQL_NEWEST_SAVE);

	for (size_t i = 0; i < l->n; i++) {
		const struct newest_entry *e = &l->entries[i];

		pack_u64(&b, e->index);
		pack_u32(&b, (uint32_t)e->key.n);
		pack_bytes(&b, e->key.p, e->key.n);
	}
	sql_int(&q, route);
	sql_u64(&q, l->low);
	sql_blob(&q, slice_of(b.p, b.n));
	(void)sql_run(&q);
	l->changed = false;
	return sql_close(&q, err);
}

/* ---- a list a route */

static int get(struct state *st, int64_t route, struct newest **l,
	       struct kv_err *err)
{
	struct memory *m = memory_of(st, route, err);

	if (m == NULL) {
		return KV_NO_MEMORY;
	}
	*l = &m->newest;
	return (*l)->loaded ? KV_OK : load(st, route, *l, err);
}

/* The highest first: most of a batch then lies below `low` at once. */
int newest_note(struct state *st, int64_t route, const struct state_row *rows,
		size_t n, struct kv_err *err)
{
	struct newest *l;
	int status;

	if (n == 0) {
		return KV_OK;
	}
	status = get(st, route, &l, err);
	if (status != KV_OK) {
		return status;
	}
	for (size_t i = n; i > 0; i--) {
		note(l, &rows[i - 1]);
	}
	return l->changed ? save(st, route, l, err) : KV_OK;
}

/* ---- asking */

static int cmp_index(const void *a, const void *b)
{
	const struct state_row *x = a;
	const struct state_row *y = b;

	return x->source_index < y->source_index   ? 1
	       : x->source_index > y->source_index ? -1
						   : 0;
}

/* The rows of the list's keys, those that still stand, the newest first. */
static int from_list(struct state *st, int64_t route, struct newest *l,
		     struct arena *arena, struct state_row **rows, size_t *n,
		     struct kv_err *err)
{
	struct slice *keys = arena_alloc(arena, (l->n + 1) * sizeof *keys);
	struct state_row *r = arena_alloc(arena, (l->n + 1) * sizeof *r);
	int status;

	for (size_t i = 0; keys != NULL && i < l->n; i++) {
		keys[i] = slice_dup(arena, l->entries[i].key);
		keys = keys[i].p == NULL ? NULL : keys;
	}
	if (keys == NULL || r == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for state file %s",
			       st->path);
	}
	status = ledger_read(st, route, keys, l->n, r, err);
	*rows = r;
	*n = 0;
	for (size_t i = 0; status == KV_OK && i < l->n; i++) {
		if (r[i].kind == STATE_ROW_OWNED &&
		    r[i].source_index == l->entries[i].index &&
		    r[i].source_index >= l->low) {
			r[(*n)++] = r[i];
		}
	}
	qsort(r, *n, sizeof *r, cmp_index);
	return status;
}

static int from_ledger(struct state *st, int64_t route, size_t limit,
		       struct arena *arena, struct state_row **rows, size_t *n,
		       struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_LEDGER_NEWEST);

	*rows = NULL;
	*n = 0;
	sql_int(&q, route);
	sql_int(&q, (int64_t)KV_MIN(limit, (size_t)INT64_MAX));
	ledger_rows(&q, route, arena, rows, n);
	return sql_close(&q, err);
}

/* The list anew from the newest rows of the ledger; saved with the next
 * commit. */
static void refill(struct newest *l, const struct state_row *rows, size_t n,
		   size_t asked)
{
	newest_clear(l);
	l->loaded = true;
	for (size_t i = 0; i < KV_MIN(n, (size_t)NEWEST_MAX); i++) {
		insert(l, rows[i].source_index, sum_part(rows[i].key),
		       rows[i].key);
	}
	if (n > NEWEST_MAX) {
		leave_out(l, rows[NEWEST_MAX].source_index);
	} else if (n == asked) {
		leave_out(l, rows[n - 1].source_index);
	}
	l->changed = true;
}

static int newest(struct state *st, int64_t route, size_t n,
		  struct arena *arena, struct state_row **rows, size_t *found,
		  struct kv_err *err)
{
	size_t asked = KV_MAX(n, (size_t)NEWEST_MAX);
	struct newest *l;
	int status = get(st, route, &l, err);

	if (status == KV_OK) {
		status = from_list(st, route, l, arena, rows, found, err);
	}
	/* With nothing left out, the list is all there is. */
	if (status == KV_OK && *found < n && l->low > 0) {
		status = from_ledger(st, route, asked, arena, rows, found, err);
		if (status == KV_OK && *found > 0) {
			refill(l, *rows, *found, asked);
		}
	}
	*found = KV_MIN(*found, n);
	return status;
}

int state_ledger_newest(struct state *st, int64_t route, size_t n,
			struct arena *arena, struct state_row **rows,
			size_t *found, struct kv_err *err)
{
	int status = tx_begin(st, SQL_BEGIN_READ, err);

	*rows = NULL;
	*found = 0;
	if (status != KV_OK) {
		return status;
	}
	if ((st->flags & STATE_READ) != 0) {
		memory_forget(st); /* the agent beside us goes on */
	}
	return tx_end(st, newest(st, route, n, arena, rows, found, err), err);
}
