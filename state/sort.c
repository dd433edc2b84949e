/* sort.c: pairs that come in one order and are wanted in another. A temporary
 * table, as in dirty.c: memory stays flat, and nothing of it outlives the
 * handle. One that may not write the file has it, too. */
#include "state/state_int.h"

static int ready(struct state *st, struct kv_err *err)
{
	int status;

	if (st->sort_ready) {
		return KV_OK;
	}
	status = sql_exec(st,
			  "CREATE TEMP TABLE IF NOT EXISTS sorted("
			  " route INTEGER NOT NULL, key BLOB NOT NULL,"
			  " source_key BLOB NOT NULL, value BLOB NOT NULL,"
			  " attrs BLOB NOT NULL, unreadable INTEGER NOT NULL,"
			  " position INTEGER NOT NULL, PRIMARY KEY(route, key))"
			  " WITHOUT ROWID;"
			  "PRAGMA temp.journal_mode = MEMORY;"
			  "PRAGMA temp.cache_size = -1024",
			  err);
	st->sort_ready = status == KV_OK;
	return status;
}

static int put(struct state *st, int64_t route, const struct state_sorted *rows,
	       size_t n, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_SORT_PUT);

	for (size_t i = 0; i < n; i++) {
		sql_int(&q, route);
		sql_blob(&q, rows[i].key);
		sql_blob(&q, rows[i].source_key);
		sql_blob(&q, rows[i].value);
		sql_blob(&q, rows[i].attrs);
		sql_int(&q, rows[i].unreadable ? 1 : 0);
		sql_u64(&q, rows[i].index);
		(void)sql_run(&q);
		sql_again(&q);
	}
	return sql_close(&q, err);
}

int state_sort_put(struct state *st, int64_t route,
		   const struct state_sorted *rows, size_t n,
		   struct kv_err *err)
{
	int status = ready(st, err);

	if (status == KV_OK) {
		status = tx_begin(st, SQL_BEGIN_READ, err);
	}
	if (status != KV_OK) {
		return status;
	}
	return tx_end(st, put(st, route, rows, n, err), err);
}

/* Copies the row; false: no memory. */
static bool row_copy(struct sql *q, struct arena *arena, struct state_sorted *r)
{
	memset(r, 0, sizeof *r);
	r->key = slice_dup(arena, sql_get_blob(q));
	r->source_key = slice_dup(arena, sql_get_blob(q));
	r->value = slice_dup(arena, sql_get_blob(q));
	r->attrs = slice_dup(arena, sql_get_blob(q));
	r->unreadable = sql_get_int(q) != 0;
	r->index = sql_get_u64(q);
	return r->key.p != NULL && r->source_key.p != NULL &&
	       r->value.p != NULL && r->attrs.p != NULL;
}

int state_sort_page(struct state *st, int64_t route, struct slice after,
		    size_t limit, size_t max_bytes, struct arena *arena,
		    struct state_sorted **rows, size_t *n, struct kv_err *err)
{
	struct sql q;
	void *items = NULL;
	size_t cap = 0;
	size_t bytes = 0;
	int status = ready(st, err);

	*rows = NULL;
	*n = 0;
	if (status != KV_OK) {
		return status;
	}
	q = sql_open(st, SQL_SORT_PAGE);
	sql_int(&q, route);
	sql_blob(&q, after);
	sql_int(&q, (int64_t)KV_MIN(limit, (size_t)INT64_MAX));
	while ((*n == 0 || bytes < max_bytes) && sql_next(&q)) {
		struct state_sorted *r;

		if (!arena_room(arena, &items, &cap, *n, sizeof *r)) {
			sql_stop(&q, KV_NO_MEMORY, "no memory for pairs");
			break;
		}
		*rows = items;
		r = &(*rows)[*n];
		if (!row_copy(&q, arena, r)) {
			sql_stop(&q, KV_NO_MEMORY, "no memory for pairs");
			break;
		}
		bytes += r->key.n + r->source_key.n + r->value.n + r->attrs.n;
		(*n)++;
	}
	status = sql_close(&q, err);
	*n = status == KV_OK ? *n : 0;
	return status;
}

int state_sort_clear(struct state *st, int64_t route, struct kv_err *err)
{
	struct sql q;
	int status = ready(st, err);

	if (status != KV_OK) {
		return status;
	}
	q = sql_open(st, SQL_SORT_CLEAR);
	sql_int(&q, route);
	(void)sql_run(&q);
	return sql_close(&q, err);
}
