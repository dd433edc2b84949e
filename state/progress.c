/* progress.c: a route's checkpoint, the counts of its rows, and what `status`
 * shows of them.
 *
 * The counters are one text, "puts=1 deletes=2 ...", read back by name: a
 * counter may come or go without another schema. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "state/state_int.h"

/* ---- the counters as text */

#define X(name, help) +sizeof(#name) + 22
enum { COUNTERS_MAX = 1 STATE_COUNTER_MAP(X) };
#undef X

static void counters_print(const struct state_counters *c,
			   char text[COUNTERS_MAX])
{
	char *p = text;

#define X(name, help) p += sprintf(p, #name "=%" PRIu64 " ", c->name);
	STATE_COUNTER_MAP(X)
#undef X
	p[p > text ? -1 : 0] = '\0';
}

static void counter_set(struct state_counters *c, const char *name, size_t n,
			uint64_t value)
{
	struct slice given = slice_of(name, n);

#define X(member, help)                            \
	if (slice_eq(given, slice_str(#member))) { \
		c->member = value;                 \
		return;                            \
	}
	STATE_COUNTER_MAP(X)
#undef X
}

static void counters_parse(const char *text, struct state_counters *c)
{
	while (*text != '\0') {
		size_t n = strcspn(text, "= ");
		char *end;

		if (text[n] != '=') {
			return;
		}
		counter_set(c, text, n, strtoull(text + n + 1, &end, 10));
		text = end + (*end == ' ' ? 1 : 0);
	}
}

/* ---- the checkpoint */

static uint64_t sum_text(const char *text)
{
	return sum_part(slice_str(text));
}

/* 0, 1, or 2 for one that is exact. */
static uint8_t complete_pack(const struct state_checkpoint *cp)
{
	return cp->complete && cp->exact ? 2 : cp->complete;
}

static void complete_unpack(int64_t number, struct state_checkpoint *cp)
{
	cp->complete = number != 0;
	cp->exact = number == 2;
}

#define FUSE_BYTES (8 * STATE_FUSE_OLDER)

/* No bytes when there is nothing in it. */
static struct slice fuse_pack(const struct state_checkpoint *cp,
			      uint8_t bytes[FUSE_BYTES])
{
	struct pack b = {.p = bytes};
	uint64_t all = 0;

	for (size_t i = 0; i < STATE_FUSE_OLDER; i++) {
		pack_u64(&b, cp->fuse_older[i]);
		all |= cp->fuse_older[i];
	}
	return slice_of(bytes, all == 0 ? 0 : b.n);
}

static void fuse_unpack(struct slice bytes, struct state_checkpoint *cp)
{
	struct unpack b = {.p = bytes.p, .n = bytes.n};

	for (size_t i = 0; i < STATE_FUSE_OLDER && b.n > 0; i++) {
		cp->fuse_older[i] = unpack_u64(&b);
	}
}

/* What a later schema added joins the sum only when it is not zero: rows of an
 * older one stay good. */
static int64_t checkpoint_sum(int64_t route, const struct state_checkpoint *cp,
			      const char *counters)
{
	uint8_t older[FUSE_BYTES];
	uint8_t bytes[88];
	struct pack b = {.p = bytes};
	struct slice fuse = fuse_pack(cp, older);

	pack_u64(&b, (uint64_t)route);
	pack_u64(&b, cp->index);
	pack_u64(&b, complete_pack(cp));
	pack_u64(&b, sum_text(cp->source_identity));
	pack_u64(&b, sum_text(cp->target_identity));
	pack_u64(&b, cp->source_index);
	pack_u64(&b, cp->target_index);
	pack_u64(&b, sum_text(counters));
	if (cp->fuse_since_ms != 0 || cp->fuse_deletes != 0) {
		pack_u64(&b, cp->fuse_since_ms);
		pack_u64(&b, cp->fuse_deletes);
	}
	if (fuse.n > 0) {
		pack_u64(&b, sum_part(fuse));
	}
	return sum_of(slice_of(b.p, b.n));
}

static void checkpoint_read(struct sql *q, int64_t route,
			    struct state_checkpoint *cp)
{
	char counters[4 * COUNTERS_MAX];
	bool saved = sql_get_int(q) != 0;
	int64_t sum;

	cp->index = sql_get_u64(q);
	complete_unpack(sql_get_int(q), cp);
	sql_get_text(q, cp->source_identity, sizeof cp->source_identity);
	sql_get_text(q, cp->target_identity, sizeof cp->target_identity);
	cp->source_index = sql_get_u64(q);
	cp->target_index = sql_get_u64(q);
	sql_get_text(q, counters, sizeof counters);
	sum = sql_get_int(q);
	cp->fuse_since_ms = sql_get_u64(q);
	cp->fuse_deletes = sql_get_u64(q);
	fuse_unpack(sql_get_blob(q), cp);
	if (!saved && sum == 0) {
		memset(cp, 0, sizeof *cp);
	} else if (!saved || sum != checkpoint_sum(route, cp, counters)) {
		sql_stop(q, KV_BROKEN, "a route's checkpoint");
	}
	counters_parse(counters, &cp->counters);
}

static void no_route(struct sql *q)
{
	sql_stop(q, KV_BROKEN, "a route without progress");
}

int state_checkpoint_load(struct state *st, int64_t route,
			  struct state_checkpoint *cp, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_CHECKPOINT_LOAD);

	memset(cp, 0, sizeof *cp);
	sql_int(&q, route);
	if (sql_next(&q)) {
		checkpoint_read(&q, route, cp);
	} else if (q.rc == SQLITE_DONE) {
		no_route(&q);
	}
	return sql_close(&q, err);
}

int checkpoint_save(struct state *st, int64_t route,
		    const struct state_checkpoint *cp, struct kv_err *err)
{
	char counters[COUNTERS_MAX];
	uint8_t older[FUSE_BYTES];
	struct sql q = sql_open(st, SQL_CHECKPOINT_SAVE);

	PRE(memchr(cp->source_identity, 0, sizeof cp->source_identity));
	PRE(memchr(cp->target_identity, 0, sizeof cp->target_identity));
	counters_print(&cp->counters, counters);
	sql_u64(&q, cp->index);
	sql_int(&q, complete_pack(cp));
	sql_text(&q, cp->source_identity);
	sql_text(&q, cp->target_identity);
	sql_u64(&q, cp->source_index);
	sql_u64(&q, cp->target_index);
	sql_text(&q, counters);
	sql_int(&q, checkpoint_sum(route, cp, counters));
	sql_u64(&q, cp->fuse_since_ms);
	sql_u64(&q, cp->fuse_deletes);
	sql_blob(&q, fuse_pack(cp, older));
	sql_int(&q, route);
	if (sql_run(&q) == 0) {
		no_route(&q);
	}
	return sql_close(&q, err);
}

/* ---- counts */

/* The counts as one row of numbers, in the order of the columns. */
enum { TALLY_COLUMNS = STATE_ROW_STALE + 3 };

static void tally_numbers(struct tally *t, int64_t *numbers[TALLY_COLUMNS])
{
	size_t n = 0;

	for (int k = STATE_ROW_OWNED; k <= STATE_ROW_STALE; k++) {
		numbers[n++] = &t->rows[k];
	}
	numbers[n++] = &t->quarantine;
	numbers[n++] = &t->foreign;
	numbers[n++] = &t->journal;
	POST(n == TALLY_COLUMNS);
}

/* The delete fuse rests on a count: it has a sum, too. */
static int64_t tally_sum(int64_t route, int64_t *const numbers[TALLY_COLUMNS])
{
	uint8_t bytes[8 + 8 * TALLY_COLUMNS];
	struct pack b = {.p = bytes};

	pack_u64(&b, (uint64_t)route);
	for (size_t i = 0; i < TALLY_COLUMNS; i++) {
		pack_u64(&b, (uint64_t)*numbers[i]);
	}
	return sum_of(slice_of(b.p, b.n));
}

int progress_add(struct state *st, int64_t route, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_PROGRESS_ADD);
	struct tally zero = {{0}, 0, 0, 0};
	int64_t *numbers[TALLY_COLUMNS];

	tally_numbers(&zero, numbers);
	sql_int(&q, route);
	sql_int(&q, tally_sum(route, numbers));
	(void)sql_run(&q);
	return sql_close(&q, err);
}

int tally_get(struct state *st, int64_t route, struct tally *t,
	      struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_TALLY_GET);
	int64_t *numbers[TALLY_COLUMNS];

	memset(t, 0, sizeof *t);
	tally_numbers(t, numbers);
	sql_int(&q, route);
	if (sql_next(&q)) {
		for (size_t i = 0; i < TALLY_COLUMNS; i++) {
			*numbers[i] = sql_get_int(&q);
		}
		if (sql_get_int(&q) != tally_sum(route, numbers)) {
			sql_stop(&q, KV_BROKEN, "a route's counts");
		}
	} else if (q.rc == SQLITE_DONE) {
		no_route(&q);
	}
	return sql_close(&q, err);
}

static int tally_set(struct state *st, int64_t route,
		     int64_t *const numbers[TALLY_COLUMNS], struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_TALLY_SET);

	for (size_t i = 0; i < TALLY_COLUMNS; i++) {
		sql_int(&q, *numbers[i]);
	}
	sql_int(&q, tally_sum(route, numbers));
	sql_int(&q, route);
	(void)sql_run(&q);
	return sql_close(&q, err);
}

int tally_add(struct state *st, int64_t route, struct tally *t,
	      struct kv_err *err)
{
	struct tally now;
	int64_t *more[TALLY_COLUMNS];
	int64_t *sums[TALLY_COLUMNS];
	int64_t any = 0;
	int status;

	tally_numbers(t, more);
	tally_numbers(&now, sums);
	for (size_t i = 0; i < TALLY_COLUMNS; i++) {
		any |= *more[i];
	}
	if (any == 0) {
		return KV_OK;
	}
	status = tally_get(st, route, &now, err);
	for (size_t i = 0; i < TALLY_COLUMNS; i++) {
		*sums[i] += *more[i];
	}
	return status == KV_OK ? tally_set(st, route, sums, err) : status;
}

static uint64_t count_of(int64_t n)
{
	return n < 0 ? 0 : (uint64_t)n;
}

int state_ledger_count(struct state *st, int64_t route, uint64_t *n,
		       struct kv_err *err)
{
	struct tally t;
	int status = tally_get(st, route, &t, err);

	*n = count_of(t.rows[STATE_ROW_OWNED] + t.rows[STATE_ROW_YIELDED] +
		      t.rows[STATE_ROW_STALE]);
	return status;
}

int state_count_lists(struct state *st, int64_t route,
		      struct state_list_counts *counts, struct kv_err *err)
{
	struct tally t;
	int status = tally_get(st, route, &t, err);

	counts->quarantine = count_of(t.quarantine);
	counts->foreign = count_of(t.foreign);
	counts->yielded = count_of(t.rows[STATE_ROW_YIELDED]);
	return status;
}

/* ---- what `status` shows */

int state_live_save(struct state *st, int64_t route,
		    const struct state_live *live, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_LIVE_SAVE);

	sql_int(&q, route);
	sql_text(&q, live->phase);
	sql_u64(&q, live->seen);
	sql_u64(&q, live->applied);
	sql_text(&q, live->held);
	sql_text(&q, live->error);
	sql_u64(&q, live->wall_ms);
	sql_u64(&q, live->lag_ms);
	(void)sql_run(&q);
	return sql_close(&q, err);
}

static void live_read(struct sql *q, struct state_live *live)
{
	sql_get_text(q, live->phase, sizeof live->phase);
	live->seen = sql_get_u64(q);
	live->applied = sql_get_u64(q);
	sql_get_text(q, live->held, sizeof live->held);
	sql_get_text(q, live->error, sizeof live->error);
	live->wall_ms = sql_get_u64(q);
	live->lag_ms = sql_get_u64(q);
}

static char *summary_text(struct sql *q, struct arena *arena)
{
	struct slice text = sql_get_blob(q);
	char *copy = arena_alloc(arena, text.n + 1);

	if (copy != NULL) {
		memcpy(copy, text.n == 0 ? (const void *)"" : text.p, text.n);
		copy[text.n] = '\0';
	}
	return copy;
}

static void summary_read(struct sql *q, struct arena *arena,
			 struct state_summary *s)
{
	memset(s, 0, sizeof *s);
	s->route = sql_get_int(q);
	s->name = summary_text(q, arena);
	s->stores = summary_text(q, arena);
	if (s->name == NULL || s->stores == NULL) {
		sql_stop(q, KV_NO_MEMORY, "no memory for its routes");
		return;
	}
	s->keys = count_of(sql_get_int(q));
	s->quarantine = count_of(sql_get_int(q));
	s->foreign = count_of(sql_get_int(q));
	s->intents = count_of(sql_get_int(q));
	live_read(q, &s->live);
}

static int summaries(struct state *st, struct arena *arena,
		     struct state_summary **routes, size_t *n,
		     struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_SUMMARIES);
	void *rows = NULL;
	size_t cap = 0;
	int status;

	while (sql_next(&q)) {
		if (!arena_room(arena, &rows, &cap, *n, sizeof **routes)) {
			sql_stop(&q, KV_NO_MEMORY, "no memory for its routes");
			break;
		}
		*routes = rows;
		summary_read(&q, arena, &(*routes)[(*n)++]);
	}
	status = sql_close(&q, err);
	for (size_t i = 0; status == KV_OK && i < *n; i++) {
		status = state_checkpoint_load(st, (*routes)[i].route,
					       &(*routes)[i].checkpoint, err);
	}
	return status;
}

int state_summaries(struct state *st, struct arena *arena,
		    struct state_summary **routes, size_t *n,
		    struct kv_err *err)
{
	int status = tx_begin(st, SQL_BEGIN_READ, err);

	*routes = NULL;
	*n = 0;
	if (status != KV_OK) {
		return status;
	}
	return tx_end(st, summaries(st, arena, routes, n, err), err);
}
