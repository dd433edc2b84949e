/* test_state_memory.c: each allocation fails once, ours and SQLite's: the
 * answer is KV_NO_MEMORY, nothing leaks, nothing is half done, and the handle
 * works when there is memory again. */
#include "tests/lib/sweep.h"
#include "tests/unit/test_state_world.h"

/* ---- a life that goes through every call */

struct life {
	struct world w;
	unsigned flags;
	bool retry; /* a call that failed is done once more */
	int status; /* of the first call that failed */
};

/* The result of a call, again after one that found no memory. */
#define TRY(l, call)                                      \
	do {                                              \
		int once = (call);                        \
		if (once == KV_NO_MEMORY && (l)->retry) { \
			(l)->status = once;               \
			once = (call);                    \
		}                                         \
		if (once != KV_OK) {                      \
			(l)->status = once;               \
			return;                           \
		}                                         \
	} while (0)

static void live_route(struct life *l)
{
	struct state_fingerprint fp = {
	    .name = "main", .stores = "a>b", .filters = "f"};
	enum state_match match;
	struct world *w = &l->w;

	TRY(l, state_route_open(w->st, &fp, &w->route, &match, &w->err));
	fp.filters = "g";
	TRY(l, state_route_open(w->st, &fp, &w->route, &match, &w->err));
	fp.stores = "a>c";
	TRY(l, state_route_open(w->st, &fp, &w->route, &match, &w->err));
}

static void live_write(struct life *l)
{
	struct world *w = &l->w;
	struct state_row rows[] = {world_row("/a", STATE_ROW_OWNED, 4),
				   world_row("/b", STATE_ROW_GONE, 5),
				   world_row("/c", STATE_ROW_YIELDED, 6)};
	struct state_row got[3];
	struct slice keys[] = {rows[0].key, rows[1].key, rows[2].key};
	struct state_intent its[] = {{.key = keys[0]}, {.key = keys[1]}};
	struct state_conflict x = {.key = keys[2], .decision = "stopped"};
	struct state_quarantined q = {.key = keys[0], .reason = "r"};
	struct state_checkpoint cp = {.index = 6};
	struct state_live live = {.phase = "FOLLOWING"};
	struct state_commit c = {.route = w->route,
				 .rows = rows,
				 .n_rows = 3,
				 .conflicts = &x,
				 .n_conflicts = 1,
				 .quarantine = &q,
				 .n_quarantine = 1,
				 .unquarantine = &keys[1],
				 .n_unquarantine = 1,
				 .foreign = keys,
				 .n_foreign = 3,
				 .unforeign = &keys[1],
				 .n_unforeign = 1,
				 .clear_foreign = true,
				 .purge_tombstones = 5,
				 .checkpoint = &cp};
	int64_t id;

	TRY(l, state_begin(w->st, w->route, keys, 3, got, its, 2, 1, &id,
			   &w->err));
	c.close_intents = &id;
	c.n_close_intents = 1;
	TRY(l, state_commit(w->st, &c, &w->err));
	TRY(l, state_begin(w->st, w->route, keys, 3, got, its, 2, 1, &id,
			   &w->err));
	TRY(l, state_live_save(w->st, w->route, &live, &w->err));
}

static void live_dirty(struct life *l)
{
	struct world *w = &l->w;
	struct state_dirty d[] = {
	    {.key = slice_str("/a"), .value = slice_str("v"), .index = 1},
	    {.key = slice_str("/b"), .index = 2, .is_delete = true}};
	struct state_sorted s = {.key = slice_str("/a")};
	struct state_sorted *sorted;
	struct state_dirty *rows;
	size_t n;

	TRY(l, state_sort_put(w->st, w->route, &s, 1, &w->err));
	TRY(l, state_sort_page(w->st, w->route, s.key, 9, SIZE_MAX, &w->arena,
			       &sorted, &n, &w->err));
	assert_int_equal(n, 0);
	TRY(l, state_sort_clear(w->st, w->route, &w->err));
	TRY(l, state_dirty_put(w->st, w->route, d, 2, &w->err));
	TRY(l, state_dirty_page(w->st, w->route, 9, SIZE_MAX, &w->arena, &rows,
				&n, &w->err));
	assert_int_equal(n, 2);
	TRY(l, state_dirty_drop(w->st, w->route, d, 1, &w->err));
	TRY(l, state_dirty_clear(w->st, w->route, &w->err));
}

static void live_read(struct life *l)
{
	struct world *w = &l->w;
	struct slice none = {NULL, 0};
	struct state_row *rows;
	struct state_intent *its;
	struct state_conflict *conflicts;
	struct state_quarantined *q;
	struct state_summary *s;
	struct slice *keys;
	int64_t *ids;
	size_t n;

	TRY(l, state_ledger_page(w->st, w->route, none, 9, &w->arena, &rows, &n,
				 &w->err));
	assert_int_equal(n, 2);
	TRY(l, state_ledger_newest(w->st, w->route, 9, &w->arena, &rows, &n,
				   &w->err));
	assert_int_equal(n, 1);
	TRY(l, state_intents_load(w->st, w->route, &w->arena, &its, &ids, &n,
				  &w->err));
	assert_int_equal(n, 2);
	TRY(l, state_conflict_page(w->st, w->route, 0, 9, &w->arena, &conflicts,
				   &ids, &n, &w->err));
	assert_int_equal(n, 1);
	TRY(l, state_quarantine_page(w->st, w->route, none, 9, &w->arena, &q,
				     &n, &w->err));
	assert_int_equal(n, 1);
	TRY(l, state_foreign_page(w->st, w->route, none, 9, &w->arena, &keys,
				  &n, &w->err));
	assert_int_equal(n, 2);
	TRY(l, state_summaries(w->st, &w->arena, &s, &n, &w->err));
	assert_int_equal(n, 1);
	assert_int_equal(s[0].keys, 2);
}

static void live_dump(struct life *l)
{
	struct world *w = &l->w;
	struct state *copy;
	uint8_t *bytes;
	size_t n;
	int status;

	TRY(l, state_dump(w->st, &bytes, &n, &w->err));
	status = state_from_dump(bytes, n, &copy, &w->err);
	if (status == KV_NO_MEMORY && l->retry) {
		l->status = status;
		status = state_from_dump(bytes, n, &copy, &w->err);
	}
	kv_free(bytes);
	TRY(l, status);
	state_close(copy);
}

static void live_all(struct life *l)
{
	void (*const parts[])(struct life *) = {
	    live_route, live_write, live_dirty, live_read, live_dump};
	struct world *w = &l->w;

	TRY(l, state_open(w->path, l->flags, &w->st, &w->err));
	for (size_t i = 0; i < KV_COUNT(parts); i++) {
		parts[i](l);
		if (l->status != KV_OK && !l->retry) {
			return;
		}
	}
}

static int live(unsigned flags, bool retry)
{
	struct life l = {.flags = flags, .retry = retry};
	bool held;

	world_set_up(&l.w);
	live_all(&l);
	if (l.status == KV_OK && (flags & STATE_MEMORY) == 0) {
		struct state *reader;

		l.status = state_open(l.w.path, STATE_READ, &reader, &l.w.err);
		if (l.status == KV_OK) {
			state_close(reader);
			l.status = state_is_held(l.w.path, &held, &l.w.err);
		}
	}
	if (l.status != KV_OK && l.status != KV_NO_MEMORY) {
		fail_msg("%s: %s", kv_status_name(l.status), l.w.err.text);
	}
	world_tear_down(&l.w);
	return l.status;
}

/* ---- ours */

static int live_in_memory(void *ctx)
{
	(void)ctx;
	return live(STATE_MEMORY, false);
}

static int live_in_a_file(void *ctx)
{
	(void)ctx;
	return live(0, false);
}

/* After a failure the same call works: nothing was left half done. */
static int live_again(void *ctx)
{
	(void)ctx;
	return live(0, true);
}

static void test_our_allocations(void **state)
{
	(void)state;
	assert_true(sweep_run(live_in_memory, NULL) > 5);
	assert_true(sweep_run(live_in_a_file, NULL) > 20);
	assert_true(sweep_run(live_again, NULL) > 20);
}

/* ---- SQLite's */

struct sqlite_sweep {
	sqlite3_mem_methods real;
	long calls;
	long fail_at; /* < 0: none */
	long fail_n;  /* how many in a row */
	bool failed;
};

/* SQLite's hooks have no context. */
static struct sqlite_sweep sweep;

static bool fails_now(void)
{
	long n = sweep.calls++;

	if (sweep.fail_at < 0 || n < sweep.fail_at ||
	    n >= sweep.fail_at + sweep.fail_n) {
		return false;
	}
	sweep.failed = true;
	return true;
}

static void *fail_malloc(int n)
{
	return fails_now() ? NULL : sweep.real.xMalloc(n);
}

static void *fail_realloc(void *p, int n)
{
	return fails_now() ? NULL : sweep.real.xRealloc(p, n);
}

static void install(void)
{
	sqlite3_mem_methods hooks;

	assert_int_equal(sqlite3_shutdown(), SQLITE_OK);
	memset(&sweep, 0, sizeof sweep);
	sweep.fail_at = -1;
	assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sweep.real),
			 SQLITE_OK);
	hooks = sweep.real;
	hooks.xMalloc = fail_malloc;
	hooks.xRealloc = fail_realloc;
	assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &hooks),
			 SQLITE_OK);
	/* The little pools would hide most of the failures. */
	assert_int_equal(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0),
			 SQLITE_OK);
	assert_int_equal(sqlite3_initialize(), SQLITE_OK);
}

static void uninstall(void)
{
	assert_int_equal(sqlite3_shutdown(), SQLITE_OK);
	assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &sweep.real),
			 SQLITE_OK);
	assert_int_equal(sqlite3_initialize(), SQLITE_OK);
}

/* Every `step`-th allocation, in its turn. `n` in a row fail. */
static void sweep_sqlite(unsigned flags, bool retry, long step, long n)
{
	long at;
	bool failed = true;

	install();
	for (at = 0; failed; at += step) {
		sqlite3_int64 before = sqlite3_memory_used();
		int status;

		sweep.calls = 0;
		sweep.failed = false;
		sweep.fail_n = n;
		sweep.fail_at = at;
		status = live(flags, retry);
		failed = sweep.failed;
		sweep.fail_at = -1;
		/* SQLite can do without some; without a failure all is well. */
		assert_true(status == KV_OK || failed);
		assert_int_equal(sqlite3_memory_used(), before);
	}
	assert_true(at > 500);
	uninstall();
}

static void test_sqlites_allocations(void **state)
{
	(void)state;
	sweep_sqlite(STATE_MEMORY, false, 7, 1);
	sweep_sqlite(STATE_MEMORY, false, 31, 100000);
	sweep_sqlite(0, false, 61, 1);
}

static void test_again_after_sqlites(void **state)
{
	(void)state;
	sweep_sqlite(STATE_MEMORY, true, 19, 1);
	sweep_sqlite(0, true, 47, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_our_allocations),
	    cmocka_unit_test(test_sqlites_allocations),
	    cmocka_unit_test(test_again_after_sqlites),
	};

	return cmocka_run_group_tests_name("state_memory", tests, NULL, NULL);
}
