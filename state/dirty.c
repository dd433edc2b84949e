/* dirty.c: changes that came while a scan runs, the newest of each key.
 *
 * A temporary table: SQLite keeps a MiB of it in memory and puts the rest into
 * a file that has no name (SQLITE_TMPDIR, TMPDIR, /var/tmp, /tmp). It is no
 * part of the state file, and its transactions do not wait for that one. */
#include "state/state_int.h"

enum { DIRTY_DELETE = 1, DIRTY_INFERRED = 2, DIRTY_UNREADABLE = 4 };

static int ready(struct state *st, struct kv_err *err)
{
	int status;

	if (st->dirty_ready) {
		return KV_OK;
	}
	PRE((st->flags & STATE_READ) == 0);
	status = sql_exec(
	    st,
	    "CREATE TEMP TABLE IF NOT EXISTS dirty(id INTEGER PRIMARY KEY,"
	    " route INTEGER NOT NULL, key BLOB NOT NULL,"
	    " position INTEGER NOT NULL, flags INTEGER NOT NULL,"
	    " source_key BLOB NOT NULL, value BLOB NOT NULL,"
	    " attrs BLOB NOT NULL,"
	    " UNIQUE(route, key));"
	    "CREATE INDEX IF NOT EXISTS temp.dirty_order"
	    " ON dirty(route, position, key);"
	    "PRAGMA temp.journal_mode = MEMORY;"
	    "PRAGMA temp.cache_size = -1024",
	    err);
	st->dirty_ready = status == KV_OK;
	return status;
}

static int put(struct state *st, int64_t route, const struct state_dirty *d,
	       size_t n, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_DIRTY_PUT);

	for (size_t i = 0; i < n; i++) {
		sql_int(&q, route);
		sql_blob(&q, d[i].key);
		sql_u64(&q, d[i].index);
		sql_int(&q, (d[i].is_delete ? DIRTY_DELETE : 0) |
				(d[i].inferred ? DIRTY_INFERRED : 0) |
				(d[i].unreadable ? DIRTY_UNREADABLE : 0));
		sql_blob(&q, d[i].source_key);
		sql_blob(&q, d[i].value);
		sql_blob(&q, d[i].attrs);
		(void)sql_run(&q);
		sql_again(&q);
	}
	return sql_close(&q, err);
}

int state_dirty_put(struct state *st, int64_t route,
		    const struct state_dirty *d, size_t n, struct kv_err *err)
{
	int status = ready(st, err);

	if (status == KV_OK) {
		status = tx_begin(st, SQL_BEGIN_READ, err);
	}
	if (status != KV_OK) {
		return status;
	}
	return tx_end(st, put(st, route, d, n, err), err);
}

/* Copies the row; false: no memory. */
static bool row_copy(struct sql *q, struct arena *arena, struct state_dirty *d)
{
	int64_t flags;

	memset(d, 0, sizeof *d);
	d->key = slice_dup(arena, sql_get_blob(q));
	d->index = sql_get_u64(q);
	flags = sql_get_int(q);
	d->is_delete = (flags & DIRTY_DELETE) != 0;
	d->inferred = (flags & DIRTY_INFERRED) != 0;
	d->unreadable = (flags & DIRTY_UNREADABLE) != 0;
	d->source_key = slice_dup(arena, sql_get_blob(q));
	d->value = slice_dup(arena, sql_get_blob(q));
	d->attrs = slice_dup(arena, sql_get_blob(q));
	return d->key.p != NULL && d->source_key.p != NULL &&
	       d->value.p != NULL && d->attrs.p != NULL;
}

int state_dirty_page(struct state *st, int64_t route, size_t limit,
		     size_t max_bytes, struct arena *arena,
		     struct state_dirty **rows, size_t *n, struct kv_err *err)
{
	struct sql q;
	void *items = NULL;
	size_t cap = 0;
	size_t bytes = 0;
	int status;

	*rows = NULL;
	*n = 0;
	if (!st->dirty_ready) {
		return KV_OK;
	}
	q = sql_open(st, SQL_DIRTY_PAGE);
	sql_int(&q, route);
	sql_int(&q, (int64_t)KV_MIN(limit, (size_t)INT64_MAX));
	while ((*n == 0 || bytes < max_bytes) && sql_next(&q)) {
		struct state_dirty *d;

		if (!arena_room(arena, &items, &cap, *n, sizeof *d)) {
			sql_stop(&q, KV_NO_MEMORY, "no memory for changes");
			break;
		}
		*rows = items;
		d = &(*rows)[*n];
		if (!row_copy(&q, arena, d)) {
			sql_stop(&q, KV_NO_MEMORY, "no memory for changes");
			break;
		}
		bytes += d->key.n + d->source_key.n + d->value.n + d->attrs.n;
		(*n)++;
	}
	status = sql_close(&q, err);
	*n = status == KV_OK ? *n : 0;
	return status;
}

static int drop(struct state *st, int64_t route, const struct state_dirty *d,
		size_t n, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_DIRTY_DROP);

	for (size_t i = 0; i < n; i++) {
		sql_int(&q, route);
		sql_blob(&q, d[i].key);
		sql_u64(&q, d[i].index);
		(void)sql_run(&q);
		sql_again(&q);
	}
	return sql_close(&q, err);
}

int state_dirty_drop(struct state *st, int64_t route,
		     const struct state_dirty *d, size_t n, struct kv_err *err)
{
	int status;

	if (!st->dirty_ready) {
		return KV_OK;
	}
	status = tx_begin(st, SQL_BEGIN_READ, err);
	if (status != KV_OK) {
		return status;
	}
	return tx_end(st, drop(st, route, d, n, err), err);
}

int state_dirty_clear(struct state *st, int64_t route, struct kv_err *err)
{
	struct sql q;

	if (!st->dirty_ready) {
		return KV_OK;
	}
	q = sql_open(st, SQL_DIRTY_CLEAR);
	sql_int(&q, route);
	(void)sql_run(&q);
	return sql_close(&q, err);
}
