/* test_single.c: get, put, delete, exists, atomic_put, atomic_delete: what each
 * call and each of its errors means. */
#include "tests/conformance/suite.h"

static void a_missing_key_is_not_found(void **state)
{
	struct world *w = *state;
	struct call *c = do_get(w, w->st, S("/none"));

	expect_status(c, KV_KEY_NOT_FOUND);
	assert_int_equal(c->u.single.pair.value.n, 0);
}

static void get_gives_what_put_stored(void **state)
{
	struct world *w = *state;
	struct call *put = do_put(w, w->st, S("/a/b"), S("value"));
	struct call *get;
	const struct store_version none = {0, 0};

	expect_status(put, KV_OK);
	get = do_get(w, w->st, S("/a/b"));
	expect_status(get, KV_OK);
	expect_bytes(get->u.single.pair.key, S("/a/b"));
	expect_bytes(get->u.single.pair.value, S("value"));
	expect_bytes(put->u.single.pair.key, S("/a/b"));
	assert_true(get->u.single.pair.index >= 1);
	assert_int_equal(get->u.single.pair.index, put->u.single.pair.index);
	assert_false(store_version_eq(get->u.single.pair.version, none));
	assert_true(store_version_eq(get->u.single.pair.version,
				     put->u.single.pair.version));
}

static void an_answer_says_where_it_came_from(void **state)
{
	struct world *w = *state;
	uint64_t index = put_ok(w, "/a", "1");
	struct call *one = do_get(w, w->st, S("/a"));
	struct call *two = do_get(w, w->st, S("/none"));
	const struct store_origin *o = &one->u.single.origin;

	assert_true(o->identity[0] != '\0');
	assert_true(memchr(o->identity, '\0', sizeof o->identity) != NULL);
	assert_true(o->epoch >= 1);
	assert_true(o->index >= index);
	expect_status(two, KV_KEY_NOT_FOUND);
	assert_string_equal(two->u.single.origin.identity, o->identity);
	assert_int_equal(two->u.single.origin.epoch, o->epoch);
}

static void put_overwrites_and_moves_on(void **state)
{
	struct world *w = *state;
	struct store_pair one;
	struct store_pair two;

	(void)put_ok(w, "/a", "1");
	one = pair_of(w, S("/a"));
	(void)put_ok(w, "/a", "2");
	two = pair_of(w, S("/a"));
	expect_bytes(two.value, S("2"));
	assert_true(two.index > one.index);
	assert_false(store_version_eq(one.version, two.version));
}

static void an_equal_value_is_a_write_too(void **state)
{
	struct world *w = *state;
	struct store_pair one;
	bool same;

	(void)put_ok(w, "/a", "1");
	one = pair_of(w, S("/a"));
	(void)put_ok(w, "/a", "1");
	same = store_version_eq(one.version, pair_of(w, S("/a")).version);
	assert_int_equal(same, w->be->equal_is_none);
}

static void an_empty_value_is_a_value(void **state)
{
	struct world *w = *state;
	struct call *c;

	expect_status(do_put(w, w->st, S("/e"), NOTHING), KV_OK);
	c = do_get(w, w->st, S("/e"));
	expect_status(c, KV_OK);
	assert_int_equal(c->u.single.pair.value.n, 0);
	c = do_exists(w, w->st, S("/e"));
	expect_status(c, KV_OK);
	assert_true(c->u.single.found);
	(void)put_ok(w, "/e", "full");
	expect_status(do_put(w, w->st, S("/e"), NOTHING), KV_OK);
	expect_stored(w, S("/e"), NOTHING);
	expect_status(do_atomic_put(w, w->st, S("/f"), NOTHING, NULL), KV_OK);
	expect_stored(w, S("/f"), NOTHING);
}

static void a_binary_value_comes_back_as_it_was(void **state)
{
	struct world *w = *state;
	uint8_t all[512];

	for (size_t i = 0; i < sizeof all; i++) {
		all[i] = (uint8_t)i;
	}
	expect_status(do_put(w, w->st, S("/bin"), slice_of(all, sizeof all)),
		      KV_OK);
	expect_stored(w, S("/bin"), slice_of(all, sizeof all));
	expect_status(do_put(w, w->st, S("/nul"), B("\0")), KV_OK);
	expect_stored(w, S("/nul"), B("\0"));
	expect_status(do_put(w, w->st, S("/one"), B("\1")), KV_OK);
	expect_stored(w, S("/one"), B("\1"));
}

static void exists_tells_without_error(void **state)
{
	struct world *w = *state;
	struct call *c = do_exists(w, w->st, S("/a"));

	expect_status(c, KV_OK);
	assert_false(c->u.single.found);
	(void)put_ok(w, "/a", "1");
	c = do_exists(w, w->st, S("/a"));
	expect_status(c, KV_OK);
	assert_true(c->u.single.found);
	(void)delete_ok(w, "/a");
	c = do_exists(w, w->st, S("/a"));
	expect_status(c, KV_OK);
	assert_false(c->u.single.found);
}

static void parents_and_children_are_not_keys(void **state)
{
	struct world *w = *state;

	(void)put_ok(w, "/p/q/r", "deep");
	expect_missing(w, S("/p/q"));
	expect_missing(w, S("/p"));
	expect_missing(w, S("/p/q/r/s"));
	expect_missing(w, S("/p/q/rr"));
	(void)put_ok(w, "/p/q", "parent");
	expect_stored(w, S("/p/q"), S("parent"));
	expect_stored(w, S("/p/q/r"), S("deep"));
}

static void delete_takes_one_key(void **state)
{
	struct world *w = *state;
	struct call *c;

	(void)put_ok(w, "/a", "1");
	(void)put_ok(w, "/a/b", "2");
	(void)put_ok(w, "/ab", "3");
	c = do_delete(w, w->st, S("/a"), false);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.single.deleted, 1);
	expect_missing(w, S("/a"));
	expect_stored(w, S("/a/b"), S("2"));
	expect_stored(w, S("/ab"), S("3"));
}

static void delete_of_nothing_is_not_found(void **state)
{
	struct world *w = *state;

	expect_status(do_delete(w, w->st, S("/a"), false), KV_KEY_NOT_FOUND);
	expect_status(do_delete(w, w->st, S("/a"), true), KV_KEY_NOT_FOUND);
	/* A directory that is no key itself is nothing to a plain delete. */
	(void)put_ok(w, "/a/b", "2");
	expect_status(do_delete(w, w->st, S("/a"), false), KV_KEY_NOT_FOUND);
	expect_stored(w, S("/a/b"), S("2"));
}

static void recursive_delete_takes_the_subtree(void **state)
{
	struct world *w = *state;
	static const char *const keys[] = {"/d",   "/d/1", "/d/2/x", "/d/2/y/z",
					   "/d-e", "/d0",  "/dd/1",  "/c"};
	struct call *c;

	for (size_t i = 0; i < KV_COUNT(keys); i++) {
		(void)put_ok(w, keys[i], "v");
	}
	c = do_delete(w, w->st, S("/d"), true);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.single.deleted, 4);
	c = do_scan(w, w->st, store_scan, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/c"), S("/d-e"), S("/d0"), S("/dd/1"));
}

static void recursive_delete_needs_no_key_at_the_top(void **state)
{
	struct world *w = *state;
	struct call *c;

	(void)put_ok(w, "/d/1", "v");
	(void)put_ok(w, "/d/2", "v");
	c = do_delete(w, w->st, S("/d"), true);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.single.deleted, 2);
	expect_missing(w, S("/d/1"));
	(void)put_ok(w, "/leaf", "v");
	c = do_delete(w, w->st, S("/leaf"), true);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.single.deleted, 1);
}

/* More keys than a write or a page holds. */
static void recursive_delete_of_many_keys(void **state)
{
	struct world *w = *state;
	size_t batch =
	    KV_MIN(limit_of(store_capabilities(w->st)->max_ops), 100);
	struct call *c;

	for (unsigned i = 0; i < 13; i++) {
		struct store_op *ops = world_ops(w, batch);

		for (size_t k = 0; k < batch; k++) {
			ops[k] = op_put(world_key(w, "/m/%u/%zu", i, k), S(""));
		}
		expect_status(do_write(w, w->st, ops, batch), KV_OK);
	}
	(void)put_ok(w, "/mm", "stays");
	c = do_delete(w, w->st, S("/m"), true);
	expect_status(c, KV_OK);
	assert_int_equal(c->u.single.deleted, 13 * batch);
	c = do_scan(w, w->st, store_scan, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/mm"));
}

static void atomic_put_creates_only_once(void **state)
{
	struct world *w = *state;
	struct call *c = do_atomic_put(w, w->st, S("/x/y/z"), S("1"), NULL);

	expect_status(c, KV_OK);
	expect_bytes(c->u.single.pair.key, S("/x/y/z"));
	assert_true(store_version_eq(c->u.single.pair.version,
				     pair_of(w, S("/x/y/z")).version));
	expect_status(do_atomic_put(w, w->st, S("/x/y/z"), S("2"), NULL),
		      KV_KEY_EXISTS);
	expect_stored(w, S("/x/y/z"), S("1"));
}

static void atomic_put_replaces_what_was_read(void **state)
{
	struct world *w = *state;
	struct store_pair one;
	struct store_pair two;
	struct call *c;

	(void)put_ok(w, "/a", "1");
	one = pair_of(w, S("/a"));
	c = do_atomic_put(w, w->st, S("/a"), S("2"), &one);
	expect_status(c, KV_OK);
	two = c->u.single.pair;
	expect_status(do_atomic_put(w, w->st, S("/a"), S("3"), &one),
		      KV_KEY_MODIFIED);
	expect_stored(w, S("/a"), S("2"));
	expect_status(do_atomic_put(w, w->st, S("/a"), S("3"), &two), KV_OK);
	expect_stored(w, S("/a"), S("3"));
}

/* Gone is modified; and a key made anew is another one than the one read, even
 * with the same value. */
static void atomic_put_sees_that_a_key_went(void **state)
{
	struct world *w = *state;
	struct store_pair one;

	(void)put_ok(w, "/a", "1");
	one = pair_of(w, S("/a"));
	(void)delete_ok(w, "/a");
	expect_status(do_atomic_put(w, w->st, S("/a"), S("2"), &one),
		      KV_KEY_MODIFIED);
	expect_missing(w, S("/a"));
	(void)put_ok(w, "/a", "1");
	expect_status(do_atomic_put(w, w->st, S("/a"), S("2"), &one),
		      KV_KEY_MODIFIED);
	expect_stored(w, S("/a"), S("1"));
}

static void atomic_delete_wants_a_previous(void **state)
{
	struct world *w = *state;

	(void)put_ok(w, "/a", "1");
	expect_status(do_atomic_delete(w, w->st, S("/a"), NULL),
		      KV_PREVIOUS_NOT_SPECIFIED);
	expect_stored(w, S("/a"), S("1"));
}

static void atomic_delete_takes_what_was_read(void **state)
{
	struct world *w = *state;
	struct store_pair one;
	struct store_pair two;

	(void)put_ok(w, "/a", "1");
	one = pair_of(w, S("/a"));
	(void)put_ok(w, "/a", "2");
	two = pair_of(w, S("/a"));
	expect_status(do_atomic_delete(w, w->st, S("/a"), &one),
		      KV_KEY_MODIFIED);
	expect_stored(w, S("/a"), S("2"));
	expect_status(do_atomic_delete(w, w->st, S("/a"), &two), KV_OK);
	expect_missing(w, S("/a"));
	expect_status(do_atomic_delete(w, w->st, S("/a"), &two),
		      KV_KEY_NOT_FOUND);
}

static void atomic_delete_of_a_key_made_anew_is_refused(void **state)
{
	struct world *w = *state;
	struct store_pair one;

	(void)put_ok(w, "/a", "1");
	one = pair_of(w, S("/a"));
	(void)delete_ok(w, "/a");
	(void)put_ok(w, "/a", "1");
	expect_status(do_atomic_delete(w, w->st, S("/a"), &one),
		      KV_KEY_MODIFIED);
	expect_stored(w, S("/a"), S("1"));
}

/* The pair of an answer stays until the request is used again. */
static void a_request_can_be_used_again(void **state)
{
	struct world *w = *state;
	struct call *c;

	(void)put_ok(w, "/a", "1");
	(void)put_ok(w, "/b", "2");
	c = do_get(w, w->st, S("/a"));
	expect_bytes(c->u.single.pair.value, S("1"));
	c->u.single.key = S("/b");
	c->called = 0;
	c->expects = 0;
	call_begin(c);
	call_submitted(c, store_get(w->st, &c->u.single));
	call_wait(c);
	expect_status(c, KV_OK);
	expect_bytes(c->u.single.pair.value, S("2"));
}

static void two_stores_see_one_tree(void **state)
{
	struct world *w = *state;
	struct store *other = world_open(w, w->prefix);
	struct store_pair one;
	struct call *c;

	(void)put_ok(w, "/a", "1");
	one = pair_of(w, S("/a"));
	c = do_get(w, other, S("/a"));
	expect_status(c, KV_OK);
	expect_bytes(c->u.single.pair.value, S("1"));
	assert_string_equal(
	    c->u.single.origin.identity,
	    do_get(w, w->st, S("/a"))->u.single.origin.identity);
	expect_status(do_put(w, other, S("/a"), S("2")), KV_OK);
	expect_status(do_atomic_put(w, w->st, S("/a"), S("3"), &one),
		      KV_KEY_MODIFIED);
	expect_stored(w, S("/a"), S("2"));
}

int group_single(void)
{
	const struct CMUnitTest tests[] = {
	    suite_test(a_missing_key_is_not_found),
	    suite_test(get_gives_what_put_stored),
	    suite_test(an_answer_says_where_it_came_from),
	    suite_test(put_overwrites_and_moves_on),
	    suite_test(an_equal_value_is_a_write_too),
	    suite_test(an_empty_value_is_a_value),
	    suite_test(a_binary_value_comes_back_as_it_was),
	    suite_test(exists_tells_without_error),
	    suite_test(parents_and_children_are_not_keys),
	    suite_test(delete_takes_one_key),
	    suite_test(delete_of_nothing_is_not_found),
	    suite_test(recursive_delete_takes_the_subtree),
	    suite_test(recursive_delete_needs_no_key_at_the_top),
	    suite_test(recursive_delete_of_many_keys),
	    suite_test(atomic_put_creates_only_once),
	    suite_test(atomic_put_replaces_what_was_read),
	    suite_test(atomic_put_sees_that_a_key_went),
	    suite_test(atomic_delete_wants_a_previous),
	    suite_test(atomic_delete_takes_what_was_read),
	    suite_test(atomic_delete_of_a_key_made_anew_is_refused),
	    suite_test(a_request_can_be_used_again),
	    suite_test(two_stores_see_one_tree),
	};

	return cmocka_run_group_tests_name("single", tests, world_group_set_up,
					   world_group_tear_down);
}
