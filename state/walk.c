/* walk.c: was a ledger that is read page by page all there?
 *
 *   page 1 .. page n: rows counted;  commits between them: + new and - dropped
 *   rows behind the walk;  after the last page: as many as the counts say?
 *
 * A damaged page can make rows vanish without any row being wrong; keys of
 * ours would then pass for foreign ones. A walk that was left, or started
 * twice, is not judged. Neither is a reader's, as the agent goes on beside
 * it.
 */
#include "state/state_int.h"

void walk_clear(struct walk *w)
{
	kv_free(w->last);
	memset(w, 0, sizeof *w);
}

static struct slice walk_last(const struct walk *w)
{
	return slice_of(w->last, w->last_n);
}

static bool remember(struct walk *w, struct slice key)
{
	uint8_t *p = kv_realloc(w->last, key.n);

	if (p == NULL) {
		return false;
	}
	memcpy(p, key.p, key.n);
	w->last = p;
	w->last_n = key.n;
	return true;
}

void walk_change(struct walk *w, struct slice key, int rows)
{
	if (w->going && slice_cmp(key, walk_last(w)) <= 0) {
		w->rows += rows;
	}
}

static int64_t all_rows(const struct tally *t)
{
	int64_t n = 0;

	for (int k = STATE_ROW_OWNED; k <= STATE_ROW_STALE; k++) {
		n += t->rows[k];
	}
	return n;
}

static int judge(struct state *st, int64_t route, int64_t rows,
		 struct kv_err *err)
{
	struct tally t;
	int status = tally_get(st, route, &t, err);

	if (status == KV_OK && all_rows(&t) != rows) {
		status = sql_broken(st, "ledger rows are missing", err);
	}
	return status;
}

int walk_page(struct state *st, int64_t route, struct slice after,
	      const struct state_row *rows, size_t n, bool end,
	      struct kv_err *err)
{
	struct memory *m;
	struct walk *w;

	if ((st->flags & STATE_READ) != 0) {
		return KV_OK;
	}
	m = memory_of(st, route, err);
	if (m == NULL) {
		return KV_NO_MEMORY;
	}
	w = &m->walk;
	if (after.n == 0) {
		walk_clear(w);
		w->going = true;
	}
	if (!w->going || !slice_eq(after, walk_last(w))) {
		walk_clear(w); /* another one, or none */
		return KV_OK;
	}
	w->rows += (int64_t)n;
	if (end) {
		int64_t seen = w->rows;

		walk_clear(w);
		return judge(st, route, seen, err);
	}
	if (n > 0 && !remember(w, rows[n - 1].key)) {
		walk_clear(w); /* not judged, as the rows themselves are good */
	}
	return KV_OK;
}
