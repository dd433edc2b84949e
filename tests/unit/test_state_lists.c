/* test_state_lists.c: conflicts, quarantine, foreign keys, and the changes
 * that wait for a scan. */
#include "tests/unit/test_state_world.h"

static const struct slice none = {NULL, 0};

static struct state_list_counts counts_of(struct world *w)
{
	struct state_list_counts c;

	OK(w, state_count_lists(w->st, w->route, &c, &w->err));
	return c;
}

/* ---- conflicts */

static void test_conflicts(void **state)
{
	struct state_conflict x[] = {
	    {.key = slice_str("/b"),
	     .wall_ms = 5,
	     .has_source = true,
	     .has_target = true,
	     .source_hash = kv_hash(slice_str("s")),
	     .target_hash = kv_hash(slice_str("t")),
	     .source_index = 9,
	     .decision = "source wins"},
	    {.key = slice_str("/a"), .decision = "target wins"},
	    {.key = slice_str("/b"), .has_target = true, .decision = "stopped"},
	};
	struct state_commit c = {.conflicts = x, .n_conflicts = 2};
	struct state_conflict *rows;
	struct world w;
	int64_t *seqs;
	size_t n;

	(void)state;
	world_begin(&w);
	c.route = w.route;
	OK(&w, state_commit(w.st, &c, &w.err));
	c.conflicts = &x[2];
	c.n_conflicts = 1;
	OK(&w, state_commit(w.st, &c, &w.err));
	world_reopen(&w);
	OK(&w, state_conflict_page(w.st, w.route, 0, 2, &w.arena, &rows, &seqs,
				   &n, &w.err));
	assert_int_equal(n, 2);
	assert_true(slice_eq(rows[0].key, x[0].key));
	assert_int_equal(rows[0].wall_ms, 5);
	assert_true(rows[0].has_source && rows[0].has_target);
	assert_true(kv_hash_eq(&rows[0].source_hash, &x[0].source_hash));
	assert_true(kv_hash_eq(&rows[0].target_hash, &x[0].target_hash));
	assert_int_equal(rows[0].source_index, 9);
	assert_string_equal(rows[0].decision, "source wins");
	assert_false(rows[1].has_source || rows[1].has_target);
	OK(&w, state_conflict_page(w.st, w.route, seqs[1], 2, &w.arena, &rows,
				   &seqs, &n, &w.err));
	assert_int_equal(n, 1);
	assert_false(rows[0].has_source);
	assert_true(rows[0].has_target);
	assert_string_equal(rows[0].decision, "stopped");
	OK(&w, state_conflict_page(w.st, w.route, seqs[0], 2, &w.arena, &rows,
				   &seqs, &n, &w.err));
	assert_int_equal(n, 0);
	world_tear_down(&w);
}

/* The journal keeps its newest, and only so many. */
static void test_journal_is_bounded(void **state)
{
	enum { AT_ONCE = 5000, ROUNDS = STATE_JOURNAL_MAX / AT_ONCE + 1 };
	struct state_conflict *x = calloc(AT_ONCE, sizeof *x);
	struct state_commit c = {.conflicts = x, .n_conflicts = AT_ONCE};
	struct state_conflict *rows;
	struct world w;
	int64_t *seqs;
	size_t n;

	(void)state;
	assert_non_null(x);
	for (size_t i = 0; i < AT_ONCE; i++) {
		x[i].key = slice_str("/k");
		x[i].decision = "source wins";
	}
	world_begin(&w);
	c.route = w.route;
	for (int i = 0; i < ROUNDS; i++) {
		OK(&w, state_commit(w.st, &c, &w.err));
	}
	OK(&w, state_conflict_page(w.st, w.route, 0, STATE_JOURNAL_MAX + 9,
				   &w.arena, &rows, &seqs, &n, &w.err));
	assert_int_equal(n, STATE_JOURNAL_MAX);
	assert_int_equal(seqs[n - 1], AT_ONCE * ROUNDS);
	assert_int_equal(seqs[n - 1] - seqs[0], STATE_JOURNAL_MAX - 1);
	world_tear_down(&w);
	free(x);
}

/* ---- quarantine */

static void test_quarantine(void **state)
{
	struct state_quarantined q[] = {
	    {.key = slice_str("/b"), .reason = "too large", .stale = true},
	    {.key = slice_str("/a"), .reason = "name", .source_index = 4},
	    {.key = slice_of("/\xff\0", 3), .reason = "bytes", .wall_ms = 8},
	};
	struct slice out[] = {slice_str("/a"), slice_str("/none")};
	struct state_commit c = {.quarantine = q, .n_quarantine = 3};
	struct state_quarantined *rows;
	struct world w;
	size_t n;

	(void)state;
	world_begin(&w);
	c.route = w.route;
	OK(&w, state_commit(w.st, &c, &w.err));
	assert_int_equal(counts_of(&w).quarantine, 3);
	OK(&w, state_quarantine_page(w.st, w.route, none, 2, &w.arena, &rows,
				     &n, &w.err));
	assert_int_equal(n, 2);
	assert_string_equal(rows[0].reason, "name");
	assert_int_equal(rows[0].source_index, 4);
	assert_false(rows[0].stale);
	assert_true(rows[1].stale);
	OK(&w, state_quarantine_page(w.st, w.route, rows[1].key, 2, &w.arena,
				     &rows, &n, &w.err));
	assert_int_equal(n, 1);
	assert_true(slice_eq(rows[0].key, q[2].key));
	assert_int_equal(rows[0].wall_ms, 8);

	/* Put again: a new reason, no second entry. One out, one unknown. */
	q[0].reason = "unreadable";
	c.n_quarantine = 1;
	c.unquarantine = out;
	c.n_unquarantine = 2;
	OK(&w, state_commit(w.st, &c, &w.err));
	assert_int_equal(counts_of(&w).quarantine, 2);
	world_reopen(&w);
	OK(&w, state_quarantine_page(w.st, w.route, none, 9, &w.arena, &rows,
				     &n, &w.err));
	assert_int_equal(n, 2);
	assert_string_equal(rows[0].reason, "unreadable");

	/* Begun anew, with one that is put in the same commit. */
	memset(&c, 0, sizeof c);
	c.route = w.route;
	c.clear_quarantine = true;
	c.quarantine = q;
	c.n_quarantine = 1;
	OK(&w, state_commit(w.st, &c, &w.err));
	assert_int_equal(counts_of(&w).quarantine, 1);
	world_tear_down(&w);
}

/* ---- foreign keys */

static void test_foreign(void **state)
{
	struct slice keys[] = {slice_str("/c"), slice_str("/a"),
			       slice_str("/b"), slice_str("/a")};
	struct slice out[] = {slice_str("/b"), slice_str("/none")};
	struct state_commit c = {.foreign = keys, .n_foreign = 4};
	struct slice *rows;
	struct world w;
	size_t n;

	(void)state;
	world_begin(&w);
	c.route = w.route;
	OK(&w, state_commit(w.st, &c, &w.err));
	OK(&w, state_commit(w.st, &c, &w.err));
	assert_int_equal(counts_of(&w).foreign, 3);
	OK(&w, state_foreign_page(w.st, w.route, none, 2, &w.arena, &rows, &n,
				  &w.err));
	assert_int_equal(n, 2);
	assert_true(slice_eq(rows[0], slice_str("/a")));
	OK(&w, state_foreign_page(w.st, w.route, rows[1], 2, &w.arena, &rows,
				  &n, &w.err));
	assert_int_equal(n, 1);
	assert_true(slice_eq(rows[0], slice_str("/c")));

	memset(&c, 0, sizeof c);
	c.route = w.route;
	c.unforeign = out;
	c.n_unforeign = 2;
	OK(&w, state_commit(w.st, &c, &w.err));
	assert_int_equal(counts_of(&w).foreign, 2);

	c.n_unforeign = 0;
	c.clear_foreign = true;
	c.foreign = keys;
	c.n_foreign = 1;
	OK(&w, state_commit(w.st, &c, &w.err));
	assert_int_equal(counts_of(&w).foreign, 1);
	OK(&w, state_foreign_page(w.st, w.route, none, 9, &w.arena, &rows, &n,
				  &w.err));
	assert_int_equal(n, 1);
	assert_true(slice_eq(rows[0], slice_str("/c")));
	world_tear_down(&w);
}

/* ---- dirty keys */

static struct state_dirty dirty(const char *key, uint64_t index,
				const char *value)
{
	struct state_dirty d = {
	    .key = slice_str(key),
	    .source_key = slice_str(key),
	    .value = slice_str(value),
	    .index = index,
	};

	return d;
}

static void check_dirty(struct world *w, const char *const *want, size_t n_want)
{
	struct state_dirty *rows;
	size_t n;

	OK(w, state_dirty_page(w->st, w->route, 100, SIZE_MAX, &w->arena, &rows,
			       &n, &w->err));
	assert_int_equal(n, n_want);
	for (size_t i = 0; i < n; i++) {
		assert_true(slice_eq(rows[i].value, slice_str(want[i])));
	}
}

static void test_dirty_keeps_the_newest(void **state)
{
	struct state_dirty d[] = {dirty("/b", 5, "b5"), dirty("/a", 7, "a7"),
				  dirty("/a", 6, "a6"), dirty("/b", 5, "b5+"),
				  dirty("/c", 5, "c5")};
	struct state_dirty *rows;
	struct world w;
	size_t n;

	(void)state;
	world_begin(&w);
	check_dirty(&w, NULL, 0);
	OK(&w, state_dirty_drop(w.st, w.route, d, 1, &w.err));
	OK(&w, state_dirty_clear(w.st, w.route, &w.err));
	d[4].is_delete = true;
	d[4].inferred = true;
	d[4].source_key = slice_of("/\0", 2);
	d[1].attrs = slice_str("of a7");
	d[2].attrs = slice_str("of a6");
	OK(&w, state_dirty_put(w.st, w.route, d, 5, &w.err));
	/* By index, then key; the older change of /a did not win. */
	check_dirty(&w, (const char *[]){"b5+", "c5", "a7"}, 3);
	OK(&w, state_dirty_page(w.st, w.route, 9, SIZE_MAX, &w.arena, &rows, &n,
				&w.err));
	assert_true(rows[1].is_delete && rows[1].inferred);
	assert_false(rows[0].is_delete || rows[0].inferred);
	assert_true(slice_eq(rows[1].source_key, d[4].source_key));
	assert_int_equal(rows[2].index, 7);
	assert_true(slice_eq(rows[2].attrs, slice_str("of a7")));
	assert_int_equal(rows[0].attrs.n, 0);
	/* A newer change came meanwhile: dropping the older leaves it. */
	OK(&w, state_dirty_drop(w.st, w.route, &d[2], 1, &w.err));
	check_dirty(&w, (const char *[]){"b5+", "c5", "a7"}, 3);
	OK(&w, state_dirty_drop(w.st, w.route, rows, 2, &w.err));
	check_dirty(&w, (const char *[]){"a7"}, 1);
	OK(&w, state_dirty_clear(w.st, w.route, &w.err));
	check_dirty(&w, NULL, 0);
	world_tear_down(&w);
}

static void test_dirty_pages(void **state)
{
	struct state_dirty d[10];
	char keys[10][8];
	struct state_dirty *rows;
	struct world w;
	size_t n;

	(void)state;
	world_begin(&w);
	for (size_t i = 0; i < 10; i++) {
		(void)snprintf(keys[i], sizeof keys[i], "/%zu", i);
		d[i] = dirty(keys[i], i + 1, "0123456789");
	}
	OK(&w, state_dirty_put(w.st, w.route, d, 10, &w.err));
	OK(&w, state_dirty_page(w.st, w.route, 4, SIZE_MAX, &w.arena, &rows, &n,
				&w.err));
	assert_int_equal(n, 4);
	OK(&w,
	   state_dirty_page(w.st, w.route, 9, 1, &w.arena, &rows, &n, &w.err));
	assert_int_equal(n, 1); /* at least one */
	OK(&w,
	   state_dirty_page(w.st, w.route, 9, 30, &w.arena, &rows, &n, &w.err));
	assert_in_range(n, 2, 3);
	world_tear_down(&w);
}

static void test_dirty_of_a_route_and_a_handle(void **state)
{
	struct state_fingerprint other = {
	    .name = "other", .stores = "s", .filters = "f"};
	struct state_dirty d = dirty("/a", 1, "v");
	enum state_match match;
	struct world w;
	int64_t route;

	(void)state;
	world_begin(&w);
	OK(&w, state_route_open(w.st, &other, &route, &match, &w.err));
	OK(&w, state_dirty_put(w.st, route, &d, 1, &w.err));
	check_dirty(&w, NULL, 0);
	OK(&w, state_dirty_clear(w.st, w.route, &w.err));
	w.route = route;
	check_dirty(&w, (const char *[]){"v"}, 1);
	/* Gone with the handle: the next start reads the source again. */
	world_reopen(&w);
	check_dirty(&w, NULL, 0);
	world_tear_down(&w);
}

/* Many MiB of changes wait in a file, not in memory. */
static void test_dirty_spills(void **state)
{
	enum { N = 1000, SIZE = 64 * 1024 };
	char *value = malloc(SIZE);
	struct world w;
	sqlite3_int64 before;

	(void)state;
	assert_non_null(value);
	memset(value, 'v', SIZE);
	world_begin(&w);
	before = sqlite3_memory_used();
	(void)sqlite3_memory_highwater(1);
	for (uint64_t i = 0; i < N; i++) {
		struct state_dirty d;
		char key[16];

		(void)snprintf(key, sizeof key, "/%d", (int)i);
		d = dirty(key, i + 1, "");
		d.value = slice_of(value, SIZE);
		OK(&w, state_dirty_put(w.st, w.route, &d, 1, &w.err));
	}
	/* 62 MiB were put. */
	assert_in_range(sqlite3_memory_highwater(0) - before, 0, 4 << 20);
	world_tear_down(&w);
	free(value);
}

/* ---- pairs in another order */

static void test_sort(void **state)
{
	struct state_sorted in[] = {
	    {.key = slice_str("/b"),
	     .value = slice_str("2"),
	     .attrs = slice_str("beside"),
	     .index = 7},
	    {.key = slice_of("/\xff", 2), .source_key = slice_str("/s")},
	    {.key = slice_str("/a"), .value = slice_str("1")}};
	const size_t want[] = {2, 0, 1};
	struct slice after = none;
	struct state_sorted *rows;
	struct world w;
	size_t n;

	(void)state;
	world_begin(&w);
	OK(&w, state_sort_page(w.st, w.route, none, 9, SIZE_MAX, &w.arena,
			       &rows, &n, &w.err));
	assert_int_equal(n, 0);
	OK(&w, state_sort_put(w.st, w.route, in, 3, &w.err));
	for (size_t i = 0; i < 3; i++) {
		/* One at a time, by either bound. */
		OK(&w, state_sort_page(w.st, w.route, after, i == 0 ? 1 : 9,
				       i == 0 ? SIZE_MAX : 1, &w.arena, &rows,
				       &n, &w.err));
		assert_int_equal(n, 1);
		assert_true(slice_eq(rows[0].key, in[want[i]].key));
		after = rows[0].key;
	}
	assert_true(slice_eq(after, in[1].key));
	assert_true(slice_eq(rows[0].source_key, in[1].source_key));
	OK(&w, state_sort_page(w.st, w.route, after, 9, SIZE_MAX, &w.arena,
			       &rows, &n, &w.err));
	assert_int_equal(n, 0);
	OK(&w, state_sort_page(w.st, w.route, none, 9, SIZE_MAX, &w.arena,
			       &rows, &n, &w.err));
	assert_int_equal(n, 3);
	assert_true(slice_eq(rows[1].value, slice_str("2")));
	assert_true(slice_eq(rows[1].attrs, slice_str("beside")));
	assert_int_equal(rows[0].attrs.n, 0);
	assert_int_equal(rows[1].index, 7);
	OK(&w, state_sort_clear(w.st, w.route + 1, &w.err));
	OK(&w, state_sort_page(w.st, w.route, none, 9, SIZE_MAX, &w.arena,
			       &rows, &n, &w.err));
	assert_int_equal(n, 3);
	OK(&w, state_sort_clear(w.st, w.route, &w.err));
	OK(&w, state_sort_page(w.st, w.route, none, 9, SIZE_MAX, &w.arena,
			       &rows, &n, &w.err));
	assert_int_equal(n, 0);
	world_tear_down(&w);
}

/* What only reads the file can sort, beside the one that writes it. */
static void test_sort_of_a_reader(void **state)
{
	struct state_sorted in = {.key = slice_str("/a"),
				  .value = slice_str("1")};
	struct state_sorted *rows;
	struct state *reader;
	struct world w;
	size_t n;

	(void)state;
	world_begin(&w);
	OK(&w, state_open(w.path, STATE_READ, &reader, &w.err));
	OK(&w, state_sort_clear(reader, w.route, &w.err));
	OK(&w, state_sort_put(reader, w.route, &in, 1, &w.err));
	OK(&w, state_sort_page(reader, w.route, none, 9, SIZE_MAX, &w.arena,
			       &rows, &n, &w.err));
	assert_int_equal(n, 1);
	assert_true(slice_eq(rows[0].value, in.value));
	OK(&w, state_sort_page(w.st, w.route, none, 9, SIZE_MAX, &w.arena,
			       &rows, &n, &w.err));
	assert_int_equal(n, 0);
	state_close(reader);
	world_tear_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_conflicts),
	    cmocka_unit_test(test_journal_is_bounded),
	    cmocka_unit_test(test_quarantine),
	    cmocka_unit_test(test_foreign),
	    cmocka_unit_test(test_dirty_keeps_the_newest),
	    cmocka_unit_test(test_dirty_pages),
	    cmocka_unit_test(test_dirty_of_a_route_and_a_handle),
	    cmocka_unit_test(test_dirty_spills),
	    cmocka_unit_test(test_sort),
	    cmocka_unit_test(test_sort_of_a_reader),
	};

	return cmocka_run_group_tests_name("state_lists", tests, NULL, NULL);
}
