/* test_scan.c: reading many keys: scan, get_tree, list: order, pages, old
 * states, named keys. */
#include <stdlib.h>

#include "tests/conformance/suite.h"

/* Names whose bytewise order differs from the order of their segments, or of
 * signed bytes. Sorted. `hard` ones are left out where names are paths. */
static const struct {
	const char *key;
	bool hard;
} ordered[] = {
    {"/A", false},     {"/a", false},	 {"/a!", false},  {"/a-b", false},
    {"/a.b", false},   {"/a/", true},	 {"/a/b", false}, {"/a/b-c", false},
    {"/a/b/c", false}, {"/a/b0", false}, {"/a/c", false}, {"/a0", false},
    {"/aa", false},    {"/b", false},	 {"/z", false},	  {"/\xc3\xa9", false},
    {"/\xff", true},
};

static bool can_name(const struct world *w, size_t i)
{
	const struct store_caps *caps = store_capabilities(w->st);

	return (!ordered[i].hard || !caps->hierarchical) &&
	       (!caps->utf8_keys || slice_is_utf8(S(ordered[i].key)));
}

/* Puts them in an order of no meaning; the sorted names that were put. */
static size_t put_ordered(struct world *w, struct slice *keys)
{
	size_t n = 0;

	for (size_t i = 0; i < KV_COUNT(ordered); i++) {
		size_t k = i * 7 % KV_COUNT(ordered);

		if (can_name(w, k)) {
			(void)put_ok(w, ordered[k].key, ordered[k].key);
		}
	}
	for (size_t i = 0; i < KV_COUNT(ordered); i++) {
		if (can_name(w, i)) {
			keys[n++] = S(ordered[i].key);
		}
	}
	return n;
}

/* Reads it all by pages of `limit`: the pairs, in an array that lives as long
 * as the world. Checks what holds for any page. */
static struct store_pair *read_all(struct world *w, struct store *st,
				   scan_fn fn, struct slice dir, uint32_t limit,
				   size_t *n)
{
	struct store_pair *all = NULL;
	size_t cap = 0;
	struct slice after = NOTHING;
	bool more = true;

	*n = 0;
	while (more) {
		struct call *c = do_scan(w, st, fn, dir, after, limit);
		struct store_page *p;

		expect_status(c, KV_OK);
		p = c->u.scan.page;
		assert_true(limit == 0 || p->n <= limit);
		assert_true(p->n > 0 || !p->more);
		assert_true(p->at <= p->origin.index);
		for (size_t i = 0; i < p->n; i++) {
			struct slice key = p->pairs[i].key;

			assert_true(after.n == 0 || slice_cmp(after, key) < 0);
			assert_true(p->pairs[i].index <= p->at);
			if (*n == cap) {
				struct store_pair *old = all;

				cap = cap == 0 ? 64 : cap * 2;
				all = arena_alloc(&w->arena, cap * sizeof *all);
				assert_non_null(all);
				if (old != NULL) {
					memcpy(all, old, *n * sizeof *all);
				}
			}
			all[(*n)++] = p->pairs[i];
			after = key;
		}
		more = p->more;
	}
	return all;
}

static void keys_ascend_bytewise(void **state)
{
	struct world *w = *state;
	struct slice keys[KV_COUNT(ordered)];
	size_t n = put_ordered(w, keys);
	struct call *c = do_scan(w, w->st, store_scan, S(""), NOTHING, 0);

	expect_status(c, KV_OK);
	expect_keys_at(c->u.scan.page, keys, n, __FILE__, __LINE__);
	assert_false(c->u.scan.page->more);
	for (size_t i = 0; i < n; i++) {
		expect_bytes(c->u.scan.page->pairs[i].value, keys[i]);
	}
	/* The whole tree has two names. */
	c = do_scan(w, w->st, store_scan, S("/"), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys_at(c->u.scan.page, keys, n, __FILE__, __LINE__);
}

static void pages_join_without_seam(void **state)
{
	struct world *w = *state;
	struct slice keys[KV_COUNT(ordered)];
	size_t n = put_ordered(w, keys);

	for (uint32_t limit = 1; limit <= n + 1; limit++) {
		size_t got;
		struct store_pair *all =
		    read_all(w, w->st, store_scan, S(""), limit, &got);

		assert_int_equal(got, n);
		for (size_t i = 0; i < n; i++) {
			expect_bytes(all[i].key, keys[i]);
			expect_bytes(all[i].value, keys[i]);
		}
	}
}

static void pages_go_on_after_any_name(void **state)
{
	struct world *w = *state;
	struct call *c;

	(void)put_ok(w, "/b", "1");
	(void)put_ok(w, "/d", "1");
	(void)put_ok(w, "/d/e", "1");
	c = do_scan(w, w->st, store_scan, S(""), S("/a"), 0);
	expect_keys(c->u.scan.page, S("/b"), S("/d"), S("/d/e"));
	c = do_scan(w, w->st, store_scan, S(""), S("/b"), 0);
	expect_keys(c->u.scan.page, S("/d"), S("/d/e"));
	c = do_scan(w, w->st, store_scan, S(""), S("/c"), 0);
	expect_keys(c->u.scan.page, S("/d"), S("/d/e"));
	c = do_scan(w, w->st, store_scan, S(""), S("/d"), 0);
	expect_keys(c->u.scan.page, S("/d/e"));
	c = do_scan(w, w->st, store_scan, S("/d"), S("/a"), 0);
	expect_keys(c->u.scan.page, S("/d/e"));
	c = do_scan(w, w->st, store_scan, S(""), S("/d/e"), 0);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.scan.page->n, 0);
	assert_false(c->u.scan.page->more);
	c = do_scan(w, w->st, store_scan, S("/b"), S("/z"), 0);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.scan.page->n, 0);
	assert_false(c->u.scan.page->more);
}

static void a_directory_is_cut_at_segments(void **state)
{
	struct world *w = *state;
	struct slice keys[KV_COUNT(ordered)];
	struct slice below[KV_COUNT(ordered)];
	size_t n = put_ordered(w, keys);
	size_t k = 0;
	struct call *c;

	for (size_t i = 0; i < n; i++) {
		if (slice_below(keys[i], S("/a"))) {
			below[k++] = keys[i];
		}
	}
	c = do_scan(w, w->st, store_scan, S("/a"), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys_at(c->u.scan.page, below, k, __FILE__, __LINE__);
	c = do_scan(w, w->st, store_scan, S("/a/"), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys_at(c->u.scan.page, below, k, __FILE__, __LINE__);
	c = do_scan(w, w->st, store_scan, S("/a/b"), NOTHING, 0);
	expect_keys(c->u.scan.page, S("/a/b/c"));
}

static void an_empty_place_is_an_empty_page(void **state)
{
	struct world *w = *state;
	struct call *c = do_scan(w, w->st, store_scan, S(""), NOTHING, 0);

	expect_status(c, KV_OK);
	assert_int_equal(c->u.scan.page->n, 0);
	assert_false(c->u.scan.page->more);
	c = do_scan(w, w->st, store_scan, S("/none"), NOTHING, 0);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.scan.page->n, 0);
}

static void a_page_says_what_a_get_says(void **state)
{
	struct world *w = *state;
	struct store_page *p;
	struct store_pair one;
	struct call *c;

	(void)put_ok(w, "/a", "1");
	(void)put_ok(w, "/b", "2");
	(void)put_ok(w, "/a", "3");
	one = pair_of(w, S("/a"));
	c = do_scan(w, w->st, store_scan, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	p = c->u.scan.page;
	assert_int_equal(p->n, 2);
	expect_bytes(p->pairs[0].value, S("3"));
	assert_int_equal(p->pairs[0].index, one.index);
	assert_true(store_version_eq(p->pairs[0].version, one.version));
	assert_true(p->at >= one.index);
	assert_true(p->origin.index >= p->at);
	assert_true(p->origin.epoch >= 1);
	assert_true(p->origin.identity[0] != '\0');
}

static struct call *scan_with(struct world *w, struct store_scan in)
{
	struct call *c = call_new(w, w->st, CALL_SCAN);

	in.cb = c->u.scan.cb;
	in.data = c;
	c->u.scan = in;
	call_begin(c);
	call_submitted(c, store_scan(w->st, &c->u.scan));
	call_wait(c);
	return c;
}

static void names_only_leaves_values_out(void **state)
{
	struct world *w = *state;
	struct store_pair one;
	struct call *c;

	(void)put_ok(w, "/a", "1");
	(void)put_ok(w, "/b", "2");
	one = pair_of(w, S("/a"));
	c = scan_with(w, (struct store_scan){.names_only = true});
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/a"), S("/b"));
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(c->u.scan.page->pairs[i].value.n, 0);
	}
	assert_int_equal(c->u.scan.page->pairs[0].index, one.index);
	assert_true(
	    store_version_eq(c->u.scan.page->pairs[0].version, one.version));
}

static void a_stale_answer_will_do(void **state)
{
	struct world *w = *state;
	struct call *c;

	(void)put_ok(w, "/a", "1");
	c = scan_with(w, (struct store_scan){.local = true});
	expect_status(c, KV_OK);
	assert_true(c->u.scan.page->n <= 1);
}

static void named_keys_in_one_page(void **state)
{
	struct world *w = *state;
	const struct slice ask[] = {B("/a"), B("/a/b"), B("/no"), B("/x"),
				    B("/y")};
	const struct slice none[] = {B("/n1"), B("/n2")};
	struct call *c;

	(void)put_ok(w, "/a", "1");
	(void)put_ok(w, "/a/b", "2");
	(void)put_ok(w, "/a/c", "3");
	(void)put_ok(w, "/x", "4");
	c = scan_with(w, (struct store_scan){.keys = ask,
					     .n_keys = KV_COUNT(ask),
					     .limit = 1,
					     .max_bytes = 1});
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/a"), S("/a/b"), S("/x"));
	expect_bytes(c->u.scan.page->pairs[1].value, S("2"));
	assert_false(c->u.scan.page->more);
	assert_true(c->u.scan.page->origin.epoch >= 1);
	c = scan_with(w, (struct store_scan){.keys = none, .n_keys = 2});
	expect_status(c, KV_OK);
	assert_int_equal(c->u.scan.page->n, 0);
	assert_false(c->u.scan.page->more);
	c = scan_with(w, (struct store_scan){
			     .keys = ask, .n_keys = 4, .names_only = true});
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/a"), S("/a/b"), S("/x"));
	assert_int_equal(c->u.scan.page->pairs[1].value.n, 0);
	assert_true(store_version_eq(c->u.scan.page->pairs[1].version,
				     pair_of(w, S("/a/b")).version));
}

static void as_many_named_keys_as_a_write(void **state)
{
	struct world *w = *state;
	size_t n = KV_MIN(limit_of(store_capabilities(w->st)->max_ops), 1000);
	struct slice *ask = arena_alloc(&w->arena, n * sizeof *ask);
	struct store_op *ops = world_ops(w, n);
	struct call *c;

	assert_non_null(ask);
	for (size_t i = 0; i < n; i++) {
		ask[i] = world_key(w, "/k%04zu", i);
		ops[i] = op_put(ask[i], S("v"));
	}
	expect_status(do_write(w, w->st, ops, n), KV_OK);
	c = scan_with(w, (struct store_scan){.keys = ask, .n_keys = n});
	expect_status(c, KV_OK);
	expect_keys_at(c->u.scan.page, ask, n, __FILE__, __LINE__);
	/* All of them are of the one write: the versions say so, too. */
	for (size_t i = 0; i < n; i++) {
		assert_true(store_version_eq(c->u.scan.page->pairs[i].version,
					     ops[i].version));
	}
}

/* As many as caps allow, 8 KiB each: what the agent reads back after a lost
 * answer; one page, whatever max_bytes says. */
static void named_keys_with_large_values(void **state)
{
	struct world *w = *state;
	const struct store_caps *caps = store_capabilities(w->st);
	size_t n = KV_MIN(limit_of(caps->max_ops), 100);
	struct slice *ask = arena_alloc(&w->arena, n * sizeof *ask);
	struct slice value = world_fill(w, 64 << 10, 'v');
	struct call *c;

	assert_non_null(ask);
	for (size_t i = 0; i < n; i++) {
		ask[i] = world_key(w, "/k%04zu", i);
		expect_status(do_put(w, w->st, ask[i], value), KV_OK);
	}
	c = scan_with(w, (struct store_scan){.keys = ask, .n_keys = n});
	expect_status(c, KV_OK);
	assert_int_equal(c->u.scan.page->n, n);
}

/* "Aim for": a backend whose server counts keys may learn their size first. */
static void a_page_bounded_by_bytes_holds_one(void **state)
{
	struct world *w = *state;
	struct slice value = world_fill(w, 5000, 'v');
	size_t pages = 0;

	for (unsigned i = 0; i < 40; i++) {
		expect_status(
		    do_put(w, w->st, world_key(w, "/k%02u", i), value), KV_OK);
	}
	for (unsigned round = 0; round < 2; round++) {
		struct slice after = NOTHING;
		size_t seen = 0;
		bool more = true;

		for (pages = 0; more; pages++) {
			struct call *c =
			    scan_with(w, (struct store_scan){.after = after,
							     .max_bytes = 1});
			struct store_page *p;

			expect_status(c, KV_OK);
			p = c->u.scan.page;
			more = p->more;
			assert_true(p->n >= 1 || !more);
			for (size_t i = 0; i < p->n; i++) {
				assert_true(after.n == 0 ||
					    slice_cmp(after, p->pairs[i].key) <
						0);
				after = p->pairs[i].key;
				seen++;
			}
		}
		assert_int_equal(seen, 40);
	}
	assert_true(pages >= 10);
}

static void many_keys(void **state)
{
	struct world *w = *state;
	size_t batch =
	    KV_MIN(limit_of(store_capabilities(w->st)->max_ops), 100);
	size_t total = 0;
	struct store_pair *all;
	size_t n;

	while (total < 6000) {
		struct store_op *ops = world_ops(w, batch);

		for (size_t k = 0; k < batch; k++, total++) {
			/* Scattered: 4001 and 6000 have no common factor. */
			ops[k] = op_put(
			    world_key(w, "/m/%05zu", total * 4001 % 100000),
			    world_key(w, "%zu", total));
		}
		expect_status(do_write(w, w->st, ops, batch), KV_OK);
	}
	all = read_all(w, w->st, store_scan, S(""), 0, &n);
	assert_int_equal(n, total);
	assert_non_null(all);
	(void)read_all(w, w->st, store_scan, S(""), 77, &n);
	assert_int_equal(n, total);
}

/* A scan of an old state shows it, or says that it does not. */
static void the_state_at_an_index(void **state)
{
	struct world *w = *state;
	uint64_t old;
	uint64_t now;
	struct call *c;
	struct store_page *p;

	(void)put_ok(w, "/gone", "was here");
	old = put_ok(w, "/k", "old");
	(void)put_ok(w, "/k", "new");
	(void)put_ok(w, "/later", "1");
	now = delete_ok(w, "/gone");
	c = scan_with(w, (struct store_scan){.at = old});
	if (!w->be->scan_at && c->status == KV_HISTORY_LOST) {
		return;
	}
	expect_status(c, KV_OK);
	p = c->u.scan.page;
	if (p->at != old) {
		assert_false(w->be->scan_at);
		assert_true(p->at >= now);
		expect_keys(p, S("/k"), S("/later"));
		return;
	}
	expect_keys(p, S("/gone"), S("/k"));
	expect_bytes(p->pairs[1].value, S("old"));
	assert_true(p->origin.index >= now);
	c = scan_with(w, (struct store_scan){.at = now});
	expect_status(c, KV_OK);
	assert_int_equal(c->u.scan.page->at, now);
	expect_keys(c->u.scan.page, S("/k"), S("/later"));
}

/* Pages of one old state, while others write. */
static void pages_at_an_index_are_one_state(void **state)
{
	struct world *w = *state;
	uint64_t at;
	struct slice after = NOTHING;
	size_t seen = 0;
	bool more = true;

	need(w->be->scan_at, "scan of an old state");
	for (unsigned i = 0; i < 20; i++) {
		expect_status(
		    do_put(w, w->st, world_key(w, "/k%02u", i), S("old")),
		    KV_OK);
	}
	at = index_now(w);
	for (unsigned i = 0; more; i++) {
		struct call *c;

		expect_status(do_put(w, w->st,
				     world_key(w, "/k%02u", (i * 3 + 5) % 20),
				     S("new")),
			      KV_OK);
		expect_status(
		    do_put(w, w->st, world_key(w, "/k%02u-b", i), S("new")),
		    KV_OK);
		c = scan_with(w, (struct store_scan){
				     .at = at, .after = after, .limit = 3});
		expect_status(c, KV_OK);
		more = c->u.scan.page->more;
		for (size_t k = 0; k < c->u.scan.page->n; k++) {
			expect_bytes(c->u.scan.page->pairs[k].value, S("old"));
			after = c->u.scan.page->pairs[k].key;
			seen++;
		}
	}
	assert_int_equal(seen, 20);
}

static void an_index_of_the_future_is_no_state(void **state)
{
	struct world *w = *state;
	uint64_t future = put_ok(w, "/a", "1") + 1000000;
	struct call *c = scan_with(w, (struct store_scan){.at = future});

	if (c->status == KV_OK) {
		/* A backend that shows the present state says so. */
		assert_false(w->be->scan_at);
		assert_true(c->u.scan.page->at < future);
		return;
	}
	expect_status(c, KV_HISTORY_LOST);
}

static void a_forgotten_state_is_history_lost(void **state)
{
	struct world *w = *state;
	uint64_t old;
	struct call *c;

	need(w->be->forget != NULL, "way to forget its history");
	need(w->be->scan_at, "scan of an old state");
	old = put_ok(w, "/a", "1");
	(void)put_ok(w, "/a", "2");
	(void)put_ok(w, "/a", "3");
	w->be->forget(w->env, w->serial);
	c = scan_with(w, (struct store_scan){.at = old});
	expect_status(c, KV_HISTORY_LOST);
	/* The present state is there. */
	c = do_scan(w, w->st, store_scan, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/a"));
}

/* ---- get_tree ------------------------------------------------------------*/

static void get_tree_gives_the_key_and_all_below(void **state)
{
	struct world *w = *state;
	struct call *c;

	(void)put_ok(w, "/d", "own");
	(void)put_ok(w, "/d-", "no");
	(void)put_ok(w, "/d/a", "1");
	(void)put_ok(w, "/d/b/c", "2");
	(void)put_ok(w, "/dd", "no");
	c = do_scan(w, w->st, store_get_tree, S("/d"), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/d"), S("/d/a"), S("/d/b/c"));
	expect_bytes(c->u.scan.page->pairs[0].value, S("own"));
	expect_bytes(c->u.scan.page->pairs[2].value, S("2"));
	assert_false(c->u.scan.page->more);
	c = do_scan(w, w->st, store_get_tree, S("/d/"), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/d"), S("/d/a"), S("/d/b/c"));
	c = do_scan(w, w->st, store_get_tree, S("/d/b"), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/d/b/c"));
}

static void get_tree_in_pages(void **state)
{
	struct world *w = *state;

	(void)put_ok(w, "/d", "own");
	(void)put_ok(w, "/d-", "no");
	(void)put_ok(w, "/d/a", "1");
	(void)put_ok(w, "/d/b", "2");
	(void)put_ok(w, "/d/c", "3");
	for (uint32_t limit = 1; limit <= 5; limit++) {
		size_t n;
		struct store_pair *all =
		    read_all(w, w->st, store_get_tree, S("/d"), limit, &n);

		assert_int_equal(n, 4);
		expect_bytes(all[0].key, S("/d"));
		expect_bytes(all[1].key, S("/d/a"));
		expect_bytes(all[3].key, S("/d/c"));
	}
}

static void get_tree_of_a_plain_key_is_the_key(void **state)
{
	struct world *w = *state;
	struct call *c;

	(void)put_ok(w, "/leaf", "1");
	(void)put_ok(w, "/leaf2", "1");
	c = do_scan(w, w->st, store_get_tree, S("/leaf"), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/leaf"));
}

static void get_tree_of_nothing(void **state)
{
	struct world *w = *state;
	struct call *c;

	c = do_scan(w, w->st, store_get_tree, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.scan.page->n, 0);
	c = do_scan(w, w->st, store_get_tree, S("/none"), NOTHING, 0);
	expect_status(c, KV_KEY_NOT_FOUND);
	assert_null(c->u.scan.page);
	(void)put_ok(w, "/nones", "1");
	c = do_scan(w, w->st, store_get_tree, S("/none"), NOTHING, 0);
	expect_status(c, KV_KEY_NOT_FOUND);
	/* The end of a tree that is there is no error. */
	c = do_scan(w, w->st, store_get_tree, S("/nones"), S("/nones"), 0);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.scan.page->n, 0);
}

/* ---- list ----------------------------------------------------------------*/

static void list_gives_names_below(void **state)
{
	struct world *w = *state;
	struct call *c;

	(void)put_ok(w, "/d", "own");
	(void)put_ok(w, "/d/a", "1");
	(void)put_ok(w, "/d/b/c", "2");
	(void)put_ok(w, "/dd", "no");
	c = do_scan(w, w->st, store_list, S("/d"), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/d/a"), S("/d/b/c"));
	assert_int_equal(c->u.scan.page->pairs[0].value.n, 0);
	assert_int_equal(c->u.scan.page->pairs[1].value.n, 0);
	c = do_scan(w, w->st, store_list, S("/d/"), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/d/a"), S("/d/b/c"));
	c = do_scan(w, w->st, store_list, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/d"), S("/d/a"), S("/d/b/c"), S("/dd"));
	c = do_scan(w, w->st, store_list, S("/"), NOTHING, 2);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/d"), S("/d/a"));
	assert_true(c->u.scan.page->more);
}

static void list_of_a_leaf_is_empty(void **state)
{
	struct world *w = *state;
	struct call *c;

	(void)put_ok(w, "/leaf", "1");
	(void)put_ok(w, "/leaf2", "1");
	c = do_scan(w, w->st, store_list, S("/leaf"), NOTHING, 0);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.scan.page->n, 0);
	c = do_scan(w, w->st, store_list, S("/lea"), NOTHING, 0);
	expect_status(c, KV_KEY_NOT_FOUND);
	assert_null(c->u.scan.page);
}

int group_scan(void)
{
	const struct CMUnitTest tests[] = {
	    suite_test(keys_ascend_bytewise),
	    suite_test(pages_join_without_seam),
	    suite_test(pages_go_on_after_any_name),
	    suite_test(a_directory_is_cut_at_segments),
	    suite_test(an_empty_place_is_an_empty_page),
	    suite_test(a_page_says_what_a_get_says),
	    suite_test(names_only_leaves_values_out),
	    suite_test(a_stale_answer_will_do),
	    suite_test(named_keys_in_one_page),
	    suite_test(as_many_named_keys_as_a_write),
	    suite_test(named_keys_with_large_values),
	    suite_test(a_page_bounded_by_bytes_holds_one),
	    suite_test(many_keys),
	    suite_test(the_state_at_an_index),
	    suite_test(pages_at_an_index_are_one_state),
	    suite_test(an_index_of_the_future_is_no_state),
	    suite_test(a_forgotten_state_is_history_lost),
	    suite_test(get_tree_gives_the_key_and_all_below),
	    suite_test(get_tree_in_pages),
	    suite_test(get_tree_of_a_plain_key_is_the_key),
	    suite_test(get_tree_of_nothing),
	    suite_test(list_gives_names_below),
	    suite_test(list_of_a_leaf_is_empty),
	};

	return cmocka_run_group_tests_name("scan", tests, world_group_set_up,
					   world_group_tear_down);
}
