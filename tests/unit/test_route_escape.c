/* test_route_escape.c: routes and diffs between names that are paths and flat
 * ones, with `escape: percent`: what has no name on the other side, what no key
 * maps to, what does not keep its order. */
#include "agent/diff.h"
#include "tests/unit/test_route_world.h"

/* Into names that are paths, or out of them. */
static struct world *escape_world(bool encode)
{
	struct world *w = world_init();

	w->conf.escape = CONF_ESCAPE_PERCENT;
	w->source.kind.caps.hierarchical = !encode;
	w->target.kind.caps.hierarchical = encode;
	return w;
}

/* ---- keys without a name ------------------------------------------------- */

/* "/a%zz" is not canonical: no target's name. "/a%25zz" is the target's
 * "/a%zz". Neither stands for the other, in one transaction or two. */
static void put_both(struct world *w, const char *value)
{
	fake_begin(&w->source);
	fake_put(&w->source, slice_str("/a%zz"), slice_str("nameless"),
		 FAKE_OWNER);
	fake_put(&w->source, slice_str("/a%25zz"), slice_str(value),
		 FAKE_OWNER);
	fake_end(&w->source);
}

static void check_both(struct world *w, const char *value)
{
	assert_true(has(&w->target, "/a%zz", value));
	assert_int_equal(status_of(w).quarantine, 1);
}

static void nameless_in_the_seed(void **state)
{
	struct world *w = escape_world(false);

	(void)state;
	put_both(w, "1");
	start(w);
	settle(w);
	check_both(w, "1");
	reconcile_now(w);
	check_both(w, "1");
	world_finish(w);
}

static void nameless_in_the_stream(void **state)
{
	struct world *w = escape_world(false);

	(void)state;
	start(w);
	settle(w);
	put_both(w, "1");
	settle(w);
	check_both(w, "1");
	/* Alone: the other one's row is not its own. */
	put(&w->source, "/a%zz", "again", FAKE_OWNER);
	settle(w);
	check_both(w, "1");
	del(&w->source, "/a%zz", FAKE_OWNER);
	settle(w);
	assert_true(has(&w->target, "/a%zz", "1"));
	assert_int_equal(status_of(w).quarantine, 0);
	world_finish(w);
}

static void nameless_in_the_dirty_table(void **state)
{
	struct world *w = escape_world(false);

	(void)state;
	put(&w->source, "/x", "1", FAKE_OWNER);
	start(w);
	while (w->route->stage != STAGE_SEED) {
		step(w);
	}
	put_both(w, "2");
	settle(w);
	check_both(w, "2");
	world_finish(w);
}

/* ---- target keys that no key maps to ------------------------------------- */

static void foreign_without_a_source_key(void **state)
{
	struct world *w = escape_world(true);
	bool moved = false;

	(void)state;
	w->conf.delete_policy = CONF_DELETE_ALL;
	w->target.kind.latency = 5;
	put(&w->source, "/a", "1", FAKE_OWNER);
	put(&w->target, "/%zz", "theirs", FAKE_FOREIGN);
	start(w);
	while (!moved) {
		step(w);
		for (size_t i = 0; i < w->route->seed.n_window && !moved; i++) {
			moved = w->route->seed.window[i].writing;
		}
	}
	/* The guard of the delete fails: it is read, and judged again. */
	put(&w->target, "/%zz", "theirs, too", FAKE_FOREIGN);
	settle(w);
	assert_true(w->counts.guards_failed > 0);
	assert_true(has(&w->target, "/%zz", NULL));
	assert_true(has(&w->target, "/a", "1"));
	world_finish(w);
}

static void foreign_without_a_source_key_stays(void **state)
{
	struct world *w = escape_world(true);

	(void)state;
	put(&w->source, "/a", "1", FAKE_OWNER);
	put(&w->target, "/%zz", "theirs", FAKE_FOREIGN);
	start(w);
	settle(w);
	assert_true(has(&w->target, "/%zz", "theirs"));
	assert_int_equal(status_of(w).foreign, 1);
	world_finish(w);
}

/* ---- there and back ------------------------------------------------------ */

static const char *const pieces[] = {"/",
				     "/",
				     "/",
				     "a",
				     "B",
				     "%",
				     ".",
				     "..",
				     "%2E",
				     "%",
				     "zookeeper",
				     "\x01",
				     "\x1f",
				     "\x7f",
				     "\xc2\x80",
				     "\xc2\x9f",
				     "\xc3\xa9",
				     "\xed\xa0\x80",
				     "\xed\x9f\xbf",
				     "\xee\x80\x80",
				     "\xef\xa3\xbf",
				     "\xef\xa4\x80",
				     "\xef\xbf\xaf",
				     "\xef\xbf\xb0",
				     "\xf0\x9f\x98\x80",
				     "\xff",
				     "\xc0\x80",
				     "\xe2\x82"};

/* Any bytes but '!', which the played target refuses. */
static size_t any_key(struct sim_rand *r, uint8_t key[64])
{
	size_t n = 1;

	key[0] = '/';
	for (uint64_t i = sim_below(r, 8); i > 0; i--) {
		const char *piece = pieces[sim_below(r, KV_COUNT(pieces))];
		size_t m = strlen(piece);

		memcpy(key + n, piece, m);
		n += m;
		if (sim_chance(r, 1, 8)) {
			key[n++] = 0;
		}
	}
	return n;
}

static void fill_any(struct world *w, uint64_t seed)
{
	struct sim_rand r;
	uint8_t key[64];

	sim_rand_init(&r, seed, 1);
	for (size_t i = 0; i < 400; i++) {
		size_t n = any_key(&r, key);

		fake_begin(&w->source);
		fake_put(&w->source, slice_of(key, n), slice_of(key, n),
			 FAKE_OWNER);
		fake_end(&w->source);
	}
}

/* The source's keys in the target, and no other. */
static void check_count(struct world *w)
{
	assert_int_equal(status_of(w).quarantine, 0);
	assert_int_equal(status_of(w).foreign, 0);
	assert_int_equal(w->source.n_keys, w->target.n_keys);
}

static void every_byte_comes_back(void **state)
{
	struct world *there = escape_world(true);
	struct world *back = escape_world(false);

	(void)state;
	there->source.kind.caps.max_value = 100;
	there->target.kind.caps.max_value = 100;
	back->target.kind.caps.max_value = 100;
	fill_any(there, 3);
	start(there);
	settle(there);
	fill_any(there, 4); /* by the stream */
	settle(there);
	check_count(there);
	for (size_t i = 0; i < there->target.n_keys; i++) {
		const struct fake_key *k = there->target.keys[i];

		fake_begin(&back->source);
		fake_put(&back->source, k->key, fake_now(k)->value, FAKE_OWNER);
		fake_end(&back->source);
	}
	start(back);
	settle(back);
	check_count(back);
	for (size_t i = 0; i < there->source.n_keys; i++) {
		struct slice key = there->source.keys[i]->key;
		const struct fake_rev *r = at(&back->target, key);

		assert_non_null(r);
		assert_true(slice_eq(r->value, key));
	}
	world_finish(back);
	world_finish(there);
}

/* ---- diff --------------------------------------------------------------- */

struct found {
	struct world *w;
	unsigned n, missing, changed, extra;
	bool ended, closed;
	struct kv_err err;
};

static bool found_cb(void *ctx, const struct diff_entry *e)
{
	struct found *f = ctx;

	f->n++;
	f->missing += e->kind == DIFF_MISSING;
	f->changed += e->kind == DIFF_CHANGED;
	f->extra += e->kind == DIFF_EXTRA;
	return true;
}

static void end_cb(void *ctx, const struct kv_err *err)
{
	struct found *f = ctx;

	f->ended = true;
	f->err = *err;
}

static void closed_cb(void *ctx)
{
	((struct found *)ctx)->closed = true;
}

static void compare(struct world *w, struct state *st, bool owned,
		    struct found *f)
{
	struct diff_params p = {.sched = &w->sched.base,
				.source = w->from,
				.target = w->to,
				.conf = &w->conf,
				.owned = owned,
				.worker = w->worker,
				.state = st,
				.route = 1,
				.timeout_ms = 10000,
				.found = found_cb,
				.end = end_cb,
				.ctx = f};
	struct diff *d;

	*f = (struct found){.w = w};
	assert_int_equal(diff_open(&p, &d, &f->err), KV_OK);
	diff_start(d);
	while (!f->ended) {
		step(w);
	}
	diff_close(d, closed_cb, f);
	while (!f->closed) {
		step(w);
	}
	assert_int_equal(f->err.status, KV_OK);
}

static void diff_sorts(void **state)
{
	struct world *w = escape_world(true);
	struct kv_err err = {0};
	struct state *scratch;
	struct found f;

	(void)state;
	/* In the order of the names "/!..." comes before "/%", not after. */
	put(&w->source, "/\x01", "1", FAKE_OWNER);
	put(&w->source, "/#", "1", FAKE_OWNER);
	put(&w->source, "/a//b", "1", FAKE_OWNER);
	put(&w->source, "/a/b", "1", FAKE_OWNER);
	start(w);
	settle(w);
	put(&w->target, "/%zz", "theirs", FAKE_FOREIGN);
	put(&w->target, "/a/%/b", "drift", FAKE_FOREIGN);
	assert_int_equal(state_open("", STATE_MEMORY, &scratch, &err), KV_OK);
	compare(w, scratch, false, &f);
	state_close(scratch);
	assert_int_equal(f.n, 2);
	assert_int_equal(f.extra, 1);
	assert_int_equal(f.changed, 1);
	compare(w, w->state, true, &f);
	assert_int_equal(f.n, 1);
	assert_int_equal(f.changed, 1);
	world_finish(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nameless_in_the_seed),
	    cmocka_unit_test(nameless_in_the_stream),
	    cmocka_unit_test(nameless_in_the_dirty_table),
	    cmocka_unit_test(foreign_without_a_source_key),
	    cmocka_unit_test(foreign_without_a_source_key_stays),
	    cmocka_unit_test(every_byte_comes_back),
	    cmocka_unit_test(diff_sorts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
