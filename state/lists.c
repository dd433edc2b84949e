/* lists.c: conflicts (a journal), quarantine and foreign keys (what is so
 * now): how a commit changes them, and their pages. */
#include "state/state_int.h"

/* ---- changes */

static void bind_hash(struct sql *q, bool has, const struct kv_hash *hash)
{
	if (has) {
		sql_blob(q, slice_of(hash->b, sizeof hash->b));
	} else {
		sql_null(q);
	}
}

static int append(struct state *st, const struct state_commit *c, int64_t last,
		  struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_CONFLICT_ADD);

	for (size_t i = 0; i < c->n_conflicts; i++) {
		const struct state_conflict *x = &c->conflicts[i];

		sql_int(&q, c->route);
		sql_int(&q, ++last);
		sql_blob(&q, x->key);
		sql_u64(&q, x->wall_ms);
		bind_hash(&q, x->has_source, &x->source_hash);
		bind_hash(&q, x->has_target, &x->target_hash);
		sql_u64(&q, x->source_index);
		sql_text(&q, x->decision == NULL ? "" : x->decision);
		(void)sql_run(&q);
		sql_again(&q);
	}
	return sql_close(&q, err);
}

/* Sequence numbers have no gaps, so that the oldest to keep is known without
 * counting. */
int conflicts_add(struct state *st, const struct state_commit *c,
		  struct tally *t, struct kv_err *err)
{
	struct tally now;
	struct sql q;
	int status;

	if (c->n_conflicts == 0) {
		return KV_OK;
	}
	status = tally_get(st, c->route, &now, err);
	if (status == KV_OK) {
		status = append(st, c, now.journal, err);
	}
	if (status != KV_OK) {
		return status;
	}
	t->journal += (int64_t)c->n_conflicts;
	q = sql_open(st, SQL_CONFLICT_TRIM);
	sql_int(&q, c->route);
	sql_int(&q, now.journal + (int64_t)c->n_conflicts - STATE_JOURNAL_MAX);
	(void)sql_run(&q);
	return sql_close(&q, err);
}

static void bind_quarantined(struct sql *q, int64_t route,
			     const struct state_quarantined *x)
{
	sql_text(q, x->reason == NULL ? "" : x->reason);
	sql_u64(q, x->source_index);
	sql_u64(q, x->wall_ms);
	sql_int(q, x->stale ? 1 : 0);
	sql_int(q, route);
	sql_blob(q, x->key);
}

static int quarantine_put(struct state *st, const struct state_commit *c,
			  struct tally *t, struct kv_err *err)
{
	struct sql update;
	struct sql insert;
	int status;
	int other;

	if (c->n_quarantine == 0) {
		return KV_OK;
	}
	update = sql_open(st, SQL_QUARANTINE_UPDATE);
	insert = sql_open(st, SQL_QUARANTINE_ADD);
	for (size_t i = 0; i < c->n_quarantine && sql_is_ok(&insert); i++) {
		bind_quarantined(&update, c->route, &c->quarantine[i]);
		if (sql_run(&update) == 0 && update.rc == SQLITE_DONE) {
			bind_quarantined(&insert, c->route, &c->quarantine[i]);
			t->quarantine += sql_run(&insert);
			sql_again(&insert);
		}
		sql_again(&update);
	}
	status = sql_close(&update, err);
	other = sql_close(&insert, status == KV_OK ? err : NULL);
	return status != KV_OK ? status : other;
}

/* Runs a (route, key) statement for each key; how many rows that changed. */
static int each_key(struct state *st, enum sql_id id, int64_t route,
		    const struct slice *keys, size_t n, int64_t *changed,
		    struct kv_err *err)
{
	struct sql q;

	*changed = 0;
	if (n == 0) {
		return KV_OK;
	}
	q = sql_open(st, id);
	for (size_t i = 0; i < n; i++) {
		sql_int(&q, route);
		sql_blob(&q, keys[i]);
		*changed += sql_run(&q);
		sql_again(&q);
	}
	return sql_close(&q, err);
}

/* Empties a list; how many rows that were. */
static int list_clear(struct state *st, enum sql_id id, int64_t route,
		      int64_t *gone, struct kv_err *err)
{
	struct sql q = sql_open(st, id);

	sql_int(&q, route);
	*gone = sql_run(&q);
	return sql_close(&q, err);
}

int quarantine_change(struct state *st, const struct state_commit *c,
		      struct tally *t, struct kv_err *err)
{
	int64_t cleared = 0;
	int64_t gone = 0;
	int status = KV_OK;

	if (c->clear_quarantine) {
		status = list_clear(st, SQL_QUARANTINE_CLEAR, c->route,
				    &cleared, err);
	}
	if (status == KV_OK) {
		status = quarantine_put(st, c, t, err);
	}
	if (status == KV_OK) {
		status =
		    each_key(st, SQL_QUARANTINE_REMOVE, c->route,
			     c->unquarantine, c->n_unquarantine, &gone, err);
	}
	t->quarantine -= gone + cleared;
	return status;
}

int foreign_change(struct state *st, const struct state_commit *c,
		   struct tally *t, struct kv_err *err)
{
	int64_t cleared = 0;
	int64_t come = 0;
	int64_t gone = 0;
	int status = KV_OK;

	if (c->clear_foreign) {
		status =
		    list_clear(st, SQL_FOREIGN_CLEAR, c->route, &cleared, err);
	}
	if (status == KV_OK) {
		status = each_key(st, SQL_FOREIGN_ADD, c->route, c->foreign,
				  c->n_foreign, &come, err);
	}
	if (status == KV_OK) {
		status = each_key(st, SQL_FOREIGN_REMOVE, c->route,
				  c->unforeign, c->n_unforeign, &gone, err);
	}
	t->foreign += come - gone - cleared;
	return status;
}

/* ---- pages */

static bool get_key(struct sql *q, struct arena *arena, struct slice *key)
{
	*key = slice_dup(arena, sql_get_blob(q));
	return key->p != NULL;
}

static const char *get_string(struct sql *q, struct arena *arena)
{
	struct slice s = sql_get_blob(q);
	char *p = arena_alloc(arena, s.n + 1);

	if (p != NULL) {
		memcpy(p, s.n == 0 ? (const void *)"" : s.p, s.n);
		p[s.n] = '\0';
	}
	return p;
}

static void get_hash(struct sql *q, bool *has, struct kv_hash *hash)
{
	struct slice s = sql_get_blob(q);

	*has = s.n > 0;
	if (*has && s.n != sizeof hash->b) {
		sql_stop(q, KV_BROKEN, "a hash of the journal");
	} else if (*has) {
		memcpy(hash->b, s.p, sizeof hash->b);
	}
}

static bool read_quarantined(struct sql *q, struct arena *arena, void *row)
{
	struct state_quarantined *x = row;
	bool ok = get_key(q, arena, &x->key);

	x->reason = get_string(q, arena);
	x->source_index = sql_get_u64(q);
	x->wall_ms = sql_get_u64(q);
	x->stale = sql_get_int(q) != 0;
	return ok && x->reason != NULL;
}

static bool read_foreign(struct sql *q, struct arena *arena, void *row)
{
	return get_key(q, arena, row);
}

/* A conflict with its number before it. */
struct numbered {
	int64_t seq;
	struct state_conflict conflict;
};

static bool read_conflict(struct sql *q, struct arena *arena, void *row)
{
	struct numbered *x = row;
	bool ok;

	x->seq = sql_get_int(q);
	ok = get_key(q, arena, &x->conflict.key);
	x->conflict.wall_ms = sql_get_u64(q);
	get_hash(q, &x->conflict.has_source, &x->conflict.source_hash);
	get_hash(q, &x->conflict.has_target, &x->conflict.target_hash);
	x->conflict.source_index = sql_get_u64(q);
	x->conflict.decision = get_string(q, arena);
	return ok && x->conflict.decision != NULL;
}

/* Reads all rows of a statement whose parameters are bound, each of `size`
 * bytes, with `read`; closes it. */
static int read_rows(struct sql *q, struct arena *arena, size_t size,
		     bool (*read)(struct sql *q, struct arena *arena,
				  void *row),
		     void **rows, size_t *n, struct kv_err *err)
{
	size_t cap = 0;
	int status;

	*rows = NULL;
	*n = 0;
	while (sql_next(q)) {
		uint8_t *row;

		if (!arena_room(arena, rows, &cap, *n, size)) {
			sql_stop(q, KV_NO_MEMORY, "no memory for a list");
			break;
		}
		row = (uint8_t *)*rows + *n * size;
		memset(row, 0, size);
		if (!read(q, arena, row)) {
			sql_stop(q, KV_NO_MEMORY, "no memory for a list");
		}
		(*n)++;
	}
	status = sql_close(q, err);
	*n = status == KV_OK ? *n : 0;
	return status;
}

static void bind_page(struct sql *q, int64_t route, struct slice after,
		      size_t limit)
{
	sql_int(q, route);
	sql_blob(q, after);
	sql_int(q, (int64_t)KV_MIN(limit, (size_t)INT64_MAX));
}

int state_quarantine_page(struct state *st, int64_t route, struct slice after,
			  size_t limit, struct arena *arena,
			  struct state_quarantined **rows, size_t *n,
			  struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_QUARANTINE_PAGE);
	void *items;
	int status;

	bind_page(&q, route, after, limit);
	status = read_rows(&q, arena, sizeof **rows, read_quarantined, &items,
			   n, err);
	*rows = items;
	return status;
}

int state_foreign_page(struct state *st, int64_t route, struct slice after,
		       size_t limit, struct arena *arena, struct slice **keys,
		       size_t *n, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_FOREIGN_PAGE);
	void *items;
	int status;

	bind_page(&q, route, after, limit);
	status =
	    read_rows(&q, arena, sizeof **keys, read_foreign, &items, n, err);
	*keys = items;
	return status;
}

int state_conflict_page(struct state *st, int64_t route, int64_t after_seq,
			size_t limit, struct arena *arena,
			struct state_conflict **rows, int64_t **seqs, size_t *n,
			struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_CONFLICT_PAGE);
	struct numbered *x;
	void *items;
	int status;

	*rows = NULL;
	*seqs = NULL;
	sql_int(&q, route);
	sql_int(&q, after_seq);
	sql_int(&q, (int64_t)KV_MIN(limit, (size_t)INT64_MAX));
	status = read_rows(&q, arena, sizeof *x, read_conflict, &items, n, err);
	if (status != KV_OK || *n == 0) {
		return status;
	}
	x = items;
	*rows = arena_alloc(arena, *n * sizeof **rows);
	*seqs = arena_alloc(arena, *n * sizeof **seqs);
	if (*rows == NULL || *seqs == NULL) {
		*n = 0;
		return kv_fail(err, KV_NO_MEMORY,
			       "no memory for a list of state file %s",
			       st->path);
	}
	for (size_t i = 0; i < *n; i++) {
		(*rows)[i] = x[i].conflict;
		(*seqs)[i] = x[i].seq;
	}
	return KV_OK;
}
