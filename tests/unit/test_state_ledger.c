/* test_state_ledger.c: rows, the newest of them, intents; and a random run
 * beside a model. */
#include "tests/unit/test_state_world.h"

static const struct slice none = {NULL, 0};

/* ---- rows */

static void test_put_get_drop(void **state)
{
	struct state_row rows[] = {world_row("/a", STATE_ROW_OWNED, 1),
				   world_row("/b", STATE_ROW_GONE, 2),
				   world_row("/c", STATE_ROW_YIELDED, 3),
				   world_row("/d", STATE_ROW_STALE, 4)};
	struct slice keys[] = {slice_str("/d"), slice_str("/x"),
			       slice_str("/a"), slice_str("/b"),
			       slice_str("/c")};
	struct state_row got[5];
	struct world w;
	uint64_t n;

	(void)state;
	world_begin(&w);
	world_put(&w, rows, 4);
	OK(&w, state_ledger_get(w.st, w.route, keys, 5, got, &w.err));
	assert_true(world_row_eq(&got[0], &rows[3]));
	assert_int_equal(got[1].kind, STATE_ROW_NONE);
	assert_true(slice_eq(got[1].key, keys[1]));
	assert_true(world_row_eq(&got[2], &rows[0]));
	assert_true(world_row_eq(&got[3], &rows[1]));
	assert_true(world_row_eq(&got[4], &rows[2]));
	OK(&w, state_ledger_count(w.st, w.route, &n, &w.err));
	assert_int_equal(n, 3);

	rows[0] = world_row("/a", STATE_ROW_GONE, 9); /* another kind */
	rows[1].kind = STATE_ROW_NONE;		      /* dropped */
	rows[2].source_index = 33;		      /* the same kind */
	rows[3] = world_row("/none", STATE_ROW_NONE, 0);
	world_put(&w, rows, 4);
	OK(&w, state_ledger_get(w.st, w.route, keys, 5, got, &w.err));
	assert_int_equal(got[0].kind, STATE_ROW_STALE);
	assert_true(world_row_eq(&got[2], &rows[0]));
	assert_int_equal(got[3].kind, STATE_ROW_NONE);
	assert_true(world_row_eq(&got[4], &rows[2]));
	OK(&w, state_ledger_count(w.st, w.route, &n, &w.err));
	assert_int_equal(n, 2);
	world_tear_down(&w);
}

static void test_numbers_of_any_size(void **state)
{
	struct state_row r = world_row("/a", STATE_ROW_OWNED, INT64_MAX);
	struct state_commit c = {.rows = &r, .n_rows = 1};
	struct state_row got;
	struct world w;

	(void)state;
	world_begin(&w);
	c.route = w.route;
	r.version_a = UINT64_MAX;
	r.version_b = (uint64_t)INT64_MAX + 1;
	OK(&w, state_commit(w.st, &c, &w.err));
	OK(&w, state_ledger_get(w.st, w.route, &r.key, 1, &got, &w.err));
	assert_true(world_row_eq(&got, &r));
	/* An index is compared, too: one that cannot be is refused. */
	r.source_index = (uint64_t)INT64_MAX + 1;
	FAILS(&w, KV_BAD_ARGUMENT, state_commit(w.st, &c, &w.err));
	world_tear_down(&w);
}

/* Keys are bytes; a NUL, a quote, no UTF-8, and unsigned order. */
static void test_pages_ascend_bytewise(void **state)
{
	struct slice keys[] = {
	    slice_of("/", 1),	     slice_of("/\0", 2),   slice_of("/\0a", 3),
	    slice_of("/'", 2),	     slice_of("/-a", 3),   slice_of("//", 2),
	    slice_of("/a", 2),	     slice_of("/a/b", 4),  slice_of("/aa", 3),
	    slice_of("/\x7f", 2),    slice_of("/\x80", 2), slice_of("/\xff", 2),
	    slice_of("/\xff\xff", 3)};
	enum { N = KV_COUNT(keys) };
	struct state_row rows[N];
	struct state_row *page;
	struct slice after = none;
	struct world w;
	size_t n;

	(void)state;
	world_begin(&w);
	for (size_t i = 0; i < N; i++) {
		rows[N - 1 - i] = world_row("", STATE_ROW_OWNED, i);
		rows[N - 1 - i].key = keys[i];
	}
	world_put(&w, rows, N);
	for (size_t limit = 1; limit <= N + 1; limit++) {
		size_t at = 0;

		after = none;
		do {
			OK(&w, state_ledger_page(w.st, w.route, after, limit,
						 &w.arena, &page, &n, &w.err));
			for (size_t i = 0; i < n; i++) {
				assert_true(slice_eq(page[i].key, keys[at++]));
				after = page[i].key;
			}
		} while (n == limit);
		assert_int_equal(at, N);
	}
	/* After a key that is not there. */
	OK(&w, state_ledger_page(w.st, w.route, slice_of("/a/", 3), 1, &w.arena,
				 &page, &n, &w.err));
	assert_true(slice_eq(page[0].key, slice_of("/a/b", 4)));
	OK(&w, state_ledger_page(w.st, w.route, none, 0, &w.arena, &page, &n,
				 &w.err));
	assert_int_equal(n, 0);
	world_tear_down(&w);
}

static void test_long_keys(void **state)
{
	enum { LENGTH = 100000 };
	char *key = malloc(LENGTH);
	struct state_row r = world_row("", STATE_ROW_OWNED, 3);
	struct state_row *page;
	struct state_intent it = {.source_index = 3};
	struct state_intent *its;
	struct world w;
	int64_t id;
	int64_t *ids;
	size_t n;

	(void)state;
	assert_non_null(key);
	memset(key, 'k', LENGTH);
	key[0] = '/';
	r.key = it.key = slice_of(key, LENGTH);
	world_begin(&w);
	OK(&w,
	   state_begin(w.st, w.route, &r.key, 1, &r, &it, 1, 1, &id, &w.err));
	r = world_row("", STATE_ROW_OWNED, 3);
	r.key = it.key;
	world_put(&w, &r, 1);
	OK(&w, state_ledger_page(w.st, w.route, none, 9, &w.arena, &page, &n,
				 &w.err));
	assert_int_equal(n, 1);
	assert_true(world_row_eq(&page[0], &r));
	OK(&w,
	   state_intents_load(w.st, w.route, &w.arena, &its, &ids, &n, &w.err));
	assert_int_equal(n, 1);
	assert_true(slice_eq(its[0].key, it.key));
	/* Too long for the list of the newest, but found all the same. */
	OK(&w,
	   state_ledger_newest(w.st, w.route, 2, &w.arena, &page, &n, &w.err));
	assert_int_equal(n, 1);
	world_tear_down(&w);
	free(key);
}

static void test_purge(void **state)
{
	struct state_row rows[] = {world_row("/a", STATE_ROW_OWNED, 1),
				   world_row("/b", STATE_ROW_GONE, 2),
				   world_row("/c", STATE_ROW_GONE, 5),
				   world_row("/d", STATE_ROW_GONE, 6)};
	struct state_commit c = {.purge_tombstones = 5};
	struct state_row *page;
	struct world w;
	size_t n;

	(void)state;
	world_begin(&w);
	world_put(&w, rows, 4);
	c.route = w.route;
	OK(&w, state_commit(w.st, &c, &w.err));
	OK(&w, state_ledger_page(w.st, w.route, none, 9, &w.arena, &page, &n,
				 &w.err));
	assert_int_equal(n, 2);
	assert_true(world_row_eq(&page[0], &rows[0]));
	assert_true(world_row_eq(&page[1], &rows[3]));
	c.purge_tombstones = UINT64_MAX;
	OK(&w, state_commit(w.st, &c, &w.err));
	OK(&w, state_ledger_page(w.st, w.route, none, 9, &w.arena, &page, &n,
				 &w.err));
	assert_int_equal(n, 1);
	world_tear_down(&w);
}

/* ---- the newest */

static void check_newest(struct world *w, size_t ask, const uint64_t *want,
			 size_t n_want)
{
	struct state_row *rows;
	size_t n;

	OK(w, state_ledger_newest(w->st, w->route, ask, &w->arena, &rows, &n,
				  &w->err));
	assert_int_equal(n, n_want);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(rows[i].source_index, want[i]);
		assert_int_equal(rows[i].kind, STATE_ROW_OWNED);
	}
}

/* Puts OWNED rows /from.. with indexes base + number. */
static void put_many(struct world *w, size_t from, size_t n, uint64_t base)
{
	for (size_t i = from; i < from + n; i++) {
		char key[32];
		struct state_row r;

		(void)snprintf(key, sizeof key, "/%zu", i);
		r = world_row(key, STATE_ROW_OWNED, base + i);
		world_put(w, &r, 1);
	}
}

static void drop_many(struct world *w, size_t from, size_t n,
		      enum state_row_kind kind)
{
	for (size_t i = from; i < from + n; i++) {
		char key[32];
		struct state_row r;

		(void)snprintf(key, sizeof key, "/%zu", i);
		r = world_row(key, kind, 100000);
		world_put(w, &r, 1);
	}
}

static void test_newest(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	check_newest(&w, 4, NULL, 0);
	check_newest(&w, 0, NULL, 0);
	put_many(&w, 1, 3, 10);
	check_newest(&w, 2, (uint64_t[]){13, 12}, 2);
	check_newest(&w, 9, (uint64_t[]){13, 12, 11}, 3);
	put_many(&w, 1, 200, 10);
	check_newest(&w, 2, (uint64_t[]){210, 209}, 2);
	world_reopen(&w);
	check_newest(&w, 2, (uint64_t[]){210, 209}, 2);
	world_tear_down(&w);
}

/* All that the list knew is gone: the ledger is asked. */
static void test_newest_after_many_deletes(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	put_many(&w, 1, 200, 0);
	drop_many(&w, 150, 51, STATE_ROW_GONE);
	check_newest(&w, 3, (uint64_t[]){149, 148, 147}, 3);
	drop_many(&w, 140, 10, STATE_ROW_NONE);
	check_newest(&w, 3, (uint64_t[]){139, 138, 137}, 3);
	world_reopen(&w);
	check_newest(&w, 1, (uint64_t[]){139}, 1);
	world_tear_down(&w);
}

/* Another incarnation: the same keys, stamped anew with small indexes. */
static void test_newest_after_going_back(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	put_many(&w, 1, 100, 1000000);
	put_many(&w, 1, 100, 5);
	check_newest(&w, 3, (uint64_t[]){105, 104, 103}, 3);
	put_many(&w, 1, 1, 500);
	check_newest(&w, 2, (uint64_t[]){501, 105}, 2);
	world_reopen(&w);
	check_newest(&w, 2, (uint64_t[]){501, 105}, 2);
	world_tear_down(&w);
}

/* More than the list holds. */
static void test_newest_many(void **state)
{
	uint64_t want[90];
	struct world w;

	(void)state;
	world_begin(&w);
	put_many(&w, 1, 90, 0);
	for (size_t i = 0; i < 90; i++) {
		want[i] = 90 - i;
	}
	check_newest(&w, 90, want, 90);
	check_newest(&w, 1000, want, 90);
	check_newest(&w, 40, want, 40);
	check_newest(&w, 5, want, 5);
	world_tear_down(&w);
}

/* A hot key does not push the others out. */
static void test_newest_with_a_hot_key(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	put_many(&w, 1, 5, 0);
	for (uint64_t i = 0; i < 100; i++) {
		put_many(&w, 1, 1, 10 + i);
	}
	check_newest(&w, 9, (uint64_t[]){110, 5, 4, 3, 2}, 5);
	world_tear_down(&w);
}

/* The saved list is damaged: it costs time, never truth. */
static void test_newest_list_is_only_a_hint(void **state)
{
	static const char *const damage[] = {
	    "UPDATE newest SET rows = x'0102'",
	    "UPDATE newest SET rows = x'ffffffffffffffffffffffffffffffff'",
	    "UPDATE newest SET rows = zeroblob(3000)",
	    "UPDATE newest SET rows = 'text', low = 'text'",
	    "DELETE FROM newest WHERE route = 99",
	};
	struct world w;

	(void)state;
	world_begin(&w);
	put_many(&w, 1, 50, 0);
	for (size_t i = 0; i < KV_COUNT(damage); i++) {
		world_close(&w);
		world_sql(w.path, damage[i]);
		world_open(&w);
		check_newest(&w, 2, (uint64_t[]){50, 49}, 2);
	}
	world_tear_down(&w);
}

/* ---- intents */

static void test_begin_reads_and_saves(void **state)
{
	struct state_row rows[] = {world_row("/a", STATE_ROW_OWNED, 1)};
	struct slice keys[] = {slice_str("/a"), slice_str("/b")};
	struct state_intent its[] = {
	    {.key = keys[0], .source_index = 7, .hash = kv_hash(keys[0])},
	    {.key = keys[1], .is_delete = true, .source_index = INT64_MAX},
	    {.key = slice_of(NULL, 0)}};
	struct state_commit c = {.n_close_intents = 1};
	struct state_row got[2];
	struct state_intent *back;
	struct world w;
	int64_t first;
	int64_t second;
	int64_t *ids;
	size_t n;

	(void)state;
	world_begin(&w);
	world_put(&w, rows, 1);
	OK(&w, state_begin(w.st, w.route, keys, 2, got, its, 3, 123, &first,
			   &w.err));
	assert_true(first > 0);
	assert_true(world_row_eq(&got[0], &rows[0]));
	assert_int_equal(got[1].kind, STATE_ROW_NONE);
	OK(&w, state_begin(w.st, w.route, keys, 1, got, its, 1, 124, &second,
			   &w.err));
	assert_true(second > first);
	world_reopen(&w);
	OK(&w, state_intents_load(w.st, w.route, &w.arena, &back, &ids, &n,
				  &w.err));
	assert_int_equal(n, 4);
	for (size_t i = 0; i < n; i++) {
		const struct state_intent *want = &its[i == 3 ? 0 : i];

		assert_int_equal(ids[i], i == 3 ? second : first);
		assert_true(slice_eq(back[i].key, want->key));
		assert_int_equal(back[i].is_delete, want->is_delete);
		assert_int_equal(back[i].source_index, want->source_index);
		assert_true(kv_hash_eq(&back[i].hash, &want->hash));
	}
	c.route = w.route;
	c.close_intents = &first;
	OK(&w, state_commit(w.st, &c, &w.err));
	OK(&w, state_commit(w.st, &c, &w.err)); /* closed twice: no harm */
	OK(&w, state_intents_load(w.st, w.route, &w.arena, &back, &ids, &n,
				  &w.err));
	assert_int_equal(n, 1);
	assert_int_equal(ids[0], second);
	world_tear_down(&w);
}

/* An intent says whether its put can land where the key has gone: as its row
 * does, or as it was told. */
static void test_intent_guards(void **state)
{
	struct state_row rows[] = {world_row("/a", STATE_ROW_OWNED, 1),
				   world_row("/b", STATE_ROW_STALE, 2),
				   world_row("/c", STATE_ROW_GONE, 3),
				   world_row("/d", STATE_ROW_YIELDED, 4)};
	static const bool versioned[] = {true, true, false, false, false, true};
	struct slice keys[] = {slice_str("/a"), slice_str("/b"),
			       slice_str("/c"), slice_str("/d"),
			       slice_str("/e"), slice_str("/f")};
	struct state_intent its[KV_COUNT(keys)];
	struct state_row got[KV_COUNT(keys)];
	struct state_intent *back;
	struct world w;
	int64_t id;
	int64_t *ids;
	size_t n;

	(void)state;
	world_begin(&w);
	world_put(&w, rows, KV_COUNT(rows));
	memset(its, 0, sizeof its);
	for (size_t i = 0; i < KV_COUNT(keys); i++) {
		its[i].key = keys[i];
		its[i].by_row = i < 5 ? &got[i] : NULL;
	}
	its[5].versioned = true;
	OK(&w,
	   state_begin(w.st, w.route, keys, 5, got, its, 6, 1, &id, &w.err));
	world_reopen(&w);
	OK(&w, state_intents_load(w.st, w.route, &w.arena, &back, &ids, &n,
				  &w.err));
	assert_int_equal(n, 6);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(back[i].versioned, versioned[i]);
		assert_false(back[i].is_delete);
		assert_null(back[i].by_row);
	}
	world_tear_down(&w);
}

static void test_begin_without_intents(void **state)
{
	struct slice key = slice_str("/a");
	struct state_row got;
	struct state_intent *its;
	struct world w;
	int64_t id = 5;
	int64_t *ids;
	size_t n;

	(void)state;
	world_begin(&w);
	OK(&w,
	   state_begin(w.st, w.route, &key, 1, &got, NULL, 0, 1, &id, &w.err));
	assert_int_equal(id, 0);
	OK(&w,
	   state_intents_load(w.st, w.route, &w.arena, &its, &ids, &n, &w.err));
	assert_int_equal(n, 0);
	world_tear_down(&w);
}

/* An id that a caller may still hold is not given again. */
static void test_intent_ids_are_not_reused(void **state)
{
	struct state_intent it = {.key = slice_str("/a")};
	struct state_commit c = {.n_close_intents = 1};
	struct world w;
	int64_t last = 0;

	(void)state;
	world_begin(&w);
	c.route = w.route;
	for (int i = 0; i < 5; i++) {
		int64_t id;

		OK(&w, state_begin(w.st, w.route, NULL, 0, NULL, &it, 1, 1, &id,
				   &w.err));
		assert_true(id > last);
		last = id;
		c.close_intents = &id;
		OK(&w, state_commit(w.st, &c, &w.err));
	}
	world_tear_down(&w);
}

static void test_intents_of_a_route(void **state)
{
	struct state_fingerprint other = {
	    .name = "other", .stores = "s", .filters = "f"};
	struct state_intent it = {.key = slice_str("/a")};
	struct state_commit c = {.n_close_intents = 1};
	struct state_intent *its;
	enum state_match match;
	struct world w;
	int64_t route;
	int64_t id;
	int64_t *ids;
	size_t n;

	(void)state;
	world_begin(&w);
	OK(&w, state_route_open(w.st, &other, &route, &match, &w.err));
	OK(&w,
	   state_begin(w.st, w.route, NULL, 0, NULL, &it, 1, 1, &id, &w.err));
	/* Another route neither sees nor closes it. */
	c.route = route;
	c.close_intents = &id;
	OK(&w, state_commit(w.st, &c, &w.err));
	OK(&w,
	   state_intents_load(w.st, route, &w.arena, &its, &ids, &n, &w.err));
	assert_int_equal(n, 0);
	OK(&w,
	   state_intents_load(w.st, w.route, &w.arena, &its, &ids, &n, &w.err));
	assert_int_equal(n, 1);
	world_tear_down(&w);
}

/* ---- a model */

enum { KEYS = 120, MODEL_STEPS = 600 };

struct model {
	struct state_row rows[KEYS];
	char keys[KEYS][16];
	uint32_t seed;
	uint64_t index;
	struct slice after; /* of a walk that goes on between the steps */
	char after_key[16];
};

static uint32_t roll(struct model *m, uint32_t below)
{
	m->seed = m->seed * 1664525 + 1013904223;
	return (m->seed >> 8) % below;
}

static void model_step(struct model *m, struct world *w)
{
	struct state_row rows[20];
	struct state_commit c = {.route = w->route, .rows = rows};
	size_t n = 1 + roll(m, 20);
	size_t first = roll(m, KEYS);

	for (size_t i = 0; i < n; i++) {
		size_t k = (first + i * 7) % KEYS;
		enum state_row_kind kind = (enum state_row_kind)roll(m, 5);

		m->index = roll(m, 40) == 0 ? 1 : m->index + roll(m, 3);
		rows[i] = world_row(m->keys[k], kind, m->index);
		m->rows[k] = rows[i];
	}
	c.n_rows = n;
	if (roll(m, 8) == 0) {
		c.purge_tombstones = m->index - roll(m, 5);
		for (size_t k = 0; k < KEYS; k++) {
			if (m->rows[k].kind == STATE_ROW_GONE &&
			    m->rows[k].source_index <= c.purge_tombstones) {
				m->rows[k].kind = STATE_ROW_NONE;
			}
		}
	}
	OK(w, state_commit(w->st, &c, &w->err));
}

/* One page of a walk while the ledger changes: its rows are right, and no row
 * is thought to be missing. */
static void model_walk(struct model *m, struct world *w)
{
	struct state_row *page;
	size_t limit = 1 + roll(m, 30);
	size_t n;

	OK(w, state_ledger_page(w->st, w->route, m->after, limit, &w->arena,
				&page, &n, &w->err));
	m->after = none;
	for (size_t i = 0; i < n; i++) {
		memcpy(m->after_key, page[i].key.p, page[i].key.n);
		assert_true(
		    world_row_eq(&page[i], &m->rows[atoi(m->after_key + 1)]));
	}
	if (n == limit) {
		m->after = slice_of(m->after_key, page[n - 1].key.n);
	}
}

static int cmp_down(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? 1 : x > y ? -1 : 0;
}

static void model_check(struct model *m, struct world *w)
{
	struct state_list_counts counts;
	struct state_row *page;
	uint64_t newest[KEYS];
	size_t owned = 0;
	size_t yielded = 0;
	size_t live = 0;
	size_t at = 0;
	uint64_t count;
	size_t n;

	OK(w, state_ledger_page(w->st, w->route, none, KEYS + 1, &w->arena,
				&page, &n, &w->err));
	for (size_t k = 0; k < KEYS; k++) {
		const struct state_row *r = &m->rows[k];

		if (r->kind == STATE_ROW_NONE) {
			continue;
		}
		assert_true(at < n && world_row_eq(&page[at], r));
		at++;
		live += r->kind != STATE_ROW_GONE;
		yielded += r->kind == STATE_ROW_YIELDED;
		if (r->kind == STATE_ROW_OWNED) {
			newest[owned++] = r->source_index;
		}
	}
	assert_int_equal(at, n);
	OK(w, state_ledger_count(w->st, w->route, &count, &w->err));
	assert_int_equal(count, live);
	OK(w, state_count_lists(w->st, w->route, &counts, &w->err));
	assert_int_equal(counts.yielded, yielded);
	qsort(newest, owned, sizeof *newest, cmp_down);
	n = 1 + roll(m, 40);
	check_newest(w, n, newest, KV_MIN(n, owned));
	arena_reset(&w->arena);
}

static void test_against_a_model(void **state)
{
	struct model *m = calloc(1, sizeof *m);

	(void)state;
	assert_non_null(m);
	for (uint32_t seed = 1; seed <= 4; seed++) {
		struct world w;

		world_begin(&w);
		memset(m, 0, sizeof *m);
		m->seed = seed;
		m->index = 10;
		for (size_t k = 0; k < KEYS; k++) {
			(void)snprintf(m->keys[k], sizeof m->keys[k], "/%05zu",
				       k);
		}
		for (int i = 0; i < MODEL_STEPS; i++) {
			model_step(m, &w);
			model_walk(m, &w);
			if (roll(m, 3) == 0) {
				model_check(m, &w);
			}
			if (roll(m, 50) == 0) {
				world_reopen(&w);
			}
		}
		world_tear_down(&w);
	}
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_put_get_drop),
	    cmocka_unit_test(test_numbers_of_any_size),
	    cmocka_unit_test(test_pages_ascend_bytewise),
	    cmocka_unit_test(test_long_keys),
	    cmocka_unit_test(test_purge),
	    cmocka_unit_test(test_newest),
	    cmocka_unit_test(test_newest_after_many_deletes),
	    cmocka_unit_test(test_newest_after_going_back),
	    cmocka_unit_test(test_newest_many),
	    cmocka_unit_test(test_newest_with_a_hot_key),
	    cmocka_unit_test(test_newest_list_is_only_a_hint),
	    cmocka_unit_test(test_begin_reads_and_saves),
	    cmocka_unit_test(test_intent_guards),
	    cmocka_unit_test(test_begin_without_intents),
	    cmocka_unit_test(test_intent_ids_are_not_reused),
	    cmocka_unit_test(test_intents_of_a_route),
	    cmocka_unit_test(test_against_a_model),
	};

	return cmocka_run_group_tests_name("state_ledger", tests, NULL, NULL);
}
