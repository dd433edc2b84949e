/* ledger.c: the rows of the ledger. Each carries a sum over its route, its key
 * and all it says, which is checked whenever it is read. */
#include "state/state_int.h"

/* Indexes are stored as SQLite's signed numbers; where they are compared a
 * larger one would count as negative. No backend has such. */
#define INDEX_MAX ((uint64_t)INT64_MAX)

static int64_t row_sum(int64_t route, const struct state_row *r)
{
	uint8_t bytes[64];
	struct pack b = {.p = bytes};

	pack_u64(&b, (uint64_t)route);
	pack_u64(&b, sum_part(r->key));
	pack_u64(&b, (uint64_t)r->kind);
	pack_u64(&b, r->source_index);
	pack_u64(&b, r->version_a);
	pack_u64(&b, r->version_b);
	pack_bytes(&b, r->hash.b, sizeof r->hash.b);
	return sum_of(slice_of(b.p, b.n));
}

/* ---- reading */

/* Reads the columns into a row whose key is known. */
static void row_read(struct sql *q, int64_t route, struct state_row *r)
{
	int64_t kind = sql_get_int(q);
	struct slice hash;

	r->source_index = sql_get_u64(q);
	r->version_a = sql_get_u64(q);
	r->version_b = sql_get_u64(q);
	hash = sql_get_blob(q);
	if (!IN(STATE_ROW_OWNED, kind, STATE_ROW_STALE) ||
	    hash.n != sizeof r->hash.b) {
		sql_stop(q, KV_BROKEN, "a ledger row");
		return;
	}
	r->kind = (enum state_row_kind)kind;
	memcpy(r->hash.b, hash.p, sizeof r->hash.b);
	if (sql_get_int(q) != row_sum(route, r)) {
		sql_stop(q, KV_BROKEN, "a ledger row's sum");
	}
}

int ledger_read(struct state *st, int64_t route, const struct slice *keys,
		size_t n, struct state_row *rows, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_LEDGER_GET);

	for (size_t i = 0; i < n; i++) {
		memset(&rows[i], 0, sizeof rows[i]);
		rows[i].key = keys[i];
		sql_int(&q, route);
		sql_blob(&q, keys[i]);
		if (sql_next(&q)) {
			row_read(&q, route, &rows[i]);
		}
		sql_again(&q);
	}
	return sql_close(&q, err);
}

int state_ledger_get(struct state *st, int64_t route, const struct slice *keys,
		     size_t n, struct state_row *rows, struct kv_err *err)
{
	int status = tx_begin(st, SQL_BEGIN_READ, err);

	if (status != KV_OK) {
		return status;
	}
	return tx_end(st, ledger_read(st, route, keys, n, rows, err), err);
}

void ledger_rows(struct sql *q, int64_t route, struct arena *arena,
		 struct state_row **rows, size_t *n)
{
	void *items = NULL;
	size_t cap = 0;

	while (sql_next(q)) {
		struct state_row *r;

		if (!arena_room(arena, &items, &cap, *n, sizeof *r)) {
			sql_stop(q, KV_NO_MEMORY, "no memory for ledger rows");
			break;
		}
		*rows = items;
		r = &(*rows)[*n];
		memset(r, 0, sizeof *r);
		q->column = LEDGER_KEY_COLUMN;
		r->key = slice_dup(arena, sql_get_blob(q));
		if (r->key.p == NULL) {
			sql_stop(q, KV_NO_MEMORY, "no memory for ledger rows");
			break;
		}
		q->column = 0;
		row_read(q, route, r);
		*n += q->status == KV_OK ? 1 : 0;
	}
}

static int ledger_page(struct state *st, int64_t route, struct slice after,
		       size_t limit, struct arena *arena,
		       struct state_row **rows, size_t *n, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_LEDGER_PAGE);
	int status;

	sql_int(&q, route);
	sql_blob(&q, after);
	sql_int(&q, (int64_t)KV_MIN(limit, (size_t)INT64_MAX));
	ledger_rows(&q, route, arena, rows, n);
	status = sql_close(&q, err);
	if (status != KV_OK) {
		return status;
	}
	return walk_page(st, route, after, *rows, *n, *n < limit, err);
}

int state_ledger_page(struct state *st, int64_t route, struct slice after,
		      size_t limit, struct arena *arena,
		      struct state_row **rows, size_t *n, struct kv_err *err)
{
	int status = tx_begin(st, SQL_BEGIN_READ, err);

	*rows = NULL;
	*n = 0;
	if (status != KV_OK) {
		return status;
	}
	return tx_end(
	    st, ledger_page(st, route, after, limit, arena, rows, n, err), err);
}

/* ---- writing */

static void bind_row(struct sql *q, int64_t route, const struct state_row *r)
{
	sql_u64(q, r->source_index);
	sql_u64(q, r->version_a);
	sql_u64(q, r->version_b);
	sql_blob(q, slice_of(r->hash.b, sizeof r->hash.b));
	sql_int(q, row_sum(route, r));
	sql_int(q, route);
	sql_blob(q, r->key);
	sql_int(q, r->kind);
}

/* The statements that putting rows takes, open side by side, and what counts
 * them. */
struct putter {
	struct sql update, kind, put, drop, add;
	bool add_first; /* the last row was new: the next may well be, too */
	int64_t route;
	struct tally *tally;
	struct walk *walk;
};

/* A row of kind `old` is one of kind `now`; NONE is no row. */
static void count_row(struct putter *p, struct slice key,
		      enum state_row_kind old, enum state_row_kind now)
{
	if (old != STATE_ROW_NONE) {
		p->tally->rows[old]--;
	}
	if (now != STATE_ROW_NONE) {
		p->tally->rows[now]++;
	}
	if ((old == STATE_ROW_NONE) != (now == STATE_ROW_NONE)) {
		walk_change(p->walk, key, now == STATE_ROW_NONE ? -1 : 1);
	}
}

/* Runs a statement that takes a row; how many rows it changed. */
static int64_t run_row(struct putter *p, struct sql *q,
		       const struct state_row *r)
{
	int64_t changed;

	bind_row(q, p->route, r);
	changed = sql_run(q);
	sql_again(q);
	return changed;
}

/* The kind of the row that is there; NONE for none, and on an error. */
static enum state_row_kind old_kind(struct putter *p, struct slice key)
{
	int64_t kind = STATE_ROW_NONE;

	sql_int(&p->kind, p->route);
	sql_blob(&p->kind, key);
	if (sql_next(&p->kind)) {
		kind = sql_get_int(&p->kind);
		if (!IN(STATE_ROW_OWNED, kind, STATE_ROW_STALE)) {
			sql_stop(&p->kind, KV_BROKEN, "a ledger row");
			kind = STATE_ROW_NONE;
		}
	}
	sql_again(&p->kind);
	return (enum state_row_kind)kind;
}

/* Mostly a row of the same kind is there, or all rows of a batch are new: one
 * statement then. */
static void put_row(struct putter *p, const struct state_row *r)
{
	enum state_row_kind old;

	if (p->add_first) {
		if (run_row(p, &p->add, r) > 0) {
			count_row(p, r->key, STATE_ROW_NONE, r->kind);
			return;
		}
		p->add_first = false;
	}
	if (!sql_is_ok(&p->add) || run_row(p, &p->update, r) > 0 ||
	    !sql_is_ok(&p->update)) {
		return;
	}
	old = old_kind(p, r->key);
	if (!sql_is_ok(&p->kind)) {
		return;
	}
	p->add_first = old == STATE_ROW_NONE;
	(void)run_row(p, &p->put, r);
	count_row(p, r->key, old, r->kind);
}

static void drop_row(struct putter *p, struct slice key)
{
	enum state_row_kind old = old_kind(p, key);

	if (old == STATE_ROW_NONE) {
		return; /* there is none, or it could not be read */
	}
	sql_int(&p->drop, p->route);
	sql_blob(&p->drop, key);
	(void)sql_run(&p->drop);
	sql_again(&p->drop);
	count_row(p, key, old, STATE_ROW_NONE);
}

static bool putter_ok(const struct putter *p)
{
	return sql_is_ok(&p->update) && sql_is_ok(&p->kind) &&
	       sql_is_ok(&p->put) && sql_is_ok(&p->drop) && sql_is_ok(&p->add);
}

static int close_both(struct sql *q, int status, struct kv_err *err)
{
	int other = sql_close(q, status == KV_OK ? err : NULL);

	return status != KV_OK ? status : other;
}

static int check_rows(const struct state_row *rows, size_t n,
		      struct kv_err *err)
{
	for (size_t i = 0; i < n; i++) {
		PRE(IN(STATE_ROW_NONE, (int)rows[i].kind, STATE_ROW_STALE));
		if (rows[i].source_index > INDEX_MAX) {
			return kv_fail(err, KV_BAD_ARGUMENT,
				       "an index beyond 63 bits cannot be "
				       "saved");
		}
	}
	return KV_OK;
}

static void putter_open(struct putter *p, struct state *st)
{
	p->update = sql_open(st, SQL_LEDGER_UPDATE);
	p->kind = sql_open(st, SQL_LEDGER_KIND);
	p->put = sql_open(st, SQL_LEDGER_PUT);
	p->drop = sql_open(st, SQL_LEDGER_DROP);
	p->add = sql_open(st, SQL_LEDGER_NEW);
}

static int putter_close(struct putter *p, struct kv_err *err)
{
	int status = sql_close(&p->update, err);

	status = close_both(&p->kind, status, err);
	status = close_both(&p->put, status, err);
	status = close_both(&p->add, status, err);
	return close_both(&p->drop, status, err);
}

int ledger_put(struct state *st, int64_t route, const struct state_row *rows,
	       size_t n, struct tally *t, struct kv_err *err)
{
	struct putter p = {.route = route, .tally = t};
	struct memory *m;
	int status = check_rows(rows, n, err);

	if (status != KV_OK || n == 0) {
		return status;
	}
	m = memory_of(st, route, err);
	if (m == NULL) {
		return KV_NO_MEMORY;
	}
	p.walk = &m->walk;
	putter_open(&p, st);
	for (size_t i = 0; i < n && putter_ok(&p); i++) {
		if (rows[i].kind == STATE_ROW_NONE) {
			drop_row(&p, rows[i].key);
		} else {
			put_row(&p, &rows[i]);
		}
	}
	return putter_close(&p, err);
}

int ledger_purge(struct state *st, int64_t route, uint64_t upto,
		 struct tally *t, struct kv_err *err)
{
	struct memory *m = memory_of(st, route, err);
	struct sql q;
	int64_t gone;

	if (m == NULL) {
		return KV_NO_MEMORY;
	}
	if (upto == 0) {
		return KV_OK;
	}
	q = sql_open(st, SQL_LEDGER_PURGE);
	sql_int(&q, route);
	sql_u64(&q, KV_MIN(upto, INDEX_MAX));
	gone = sql_run(&q);
	if (gone > 0) {
		t->rows[STATE_ROW_GONE] -= gone;
		walk_clear(&m->walk); /* which keys it were, nobody knows */
	}
	return sql_close(&q, err);
}
