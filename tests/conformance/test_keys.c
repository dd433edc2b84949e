/* test_keys.c: keys are bytes: which names there are, how long they may be, and
 * that a prefix is cut at segments. */
#include "tests/conformance/suite.h"

/* One name through every call: it comes back as it went in, or it is refused
 * everywhere alike, with the reason. Which names a backend may refuse is its
 * own matter only where names are paths to it; where they are text, it refuses
 * what is none. */
static void check_name(struct world *w, struct slice key)
{
	struct kv_err err = {0};
	int may = store_check(w->st, key, 1, &err);
	struct call *put = do_put(w, w->st, key, S("v"));
	struct call *c;
	struct tail *t;

	if (may != KV_OK) {
		assert_true(store_capabilities(w->st)->hierarchical ||
			    (store_capabilities(w->st)->utf8_keys &&
			     !slice_is_utf8(key)));
		assert_true(err.text[0] != '\0');
		expect_code(may, KV_INVALID_KEY);
		expect_status(put, KV_INVALID_KEY);
		return;
	}
	expect_status(put, KV_OK);
	expect_stored(w, key, S("v"));
	c = do_scan(w, w->st, store_scan, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, key);
	t = tail_open(w, w->st, S(""), 0);
	tail_init(t);
	expect_status(do_delete(w, w->st, key, false), KV_OK);
	tail_count(t, 1);
	expect_bytes(t->changes[0].key, key);
	assert_int_equal(t->changes[0].action, STORE_DELETE);
	tail_close(t);
	expect_missing(w, key);
}

static void names_with_odd_bytes(void **state)
{
	struct world *w = *state;
	const struct slice names[] = {
	    B("/with space"),
	    B("/ "),
	    B("/tab\tnewline\n"),
	    B("/percent%"),
	    B("/percent%41"),
	    B("/percent%2Fslash"),
	    B("/\xc3\xa9\xe6\x97\xa5\xe6\x9c\xac\xf0\x9f\x94\x91"),
	    B("/\xff\xfe\x80"),
	    B("/\x01\x02\x7f"),
	    B("/nul\0inside"),
	    B("/quote'\"`\\"),
	    B("/a?b=c&d#e"),
	    B("/glob*[x]?"),
	    B("/{json}"),
	    B("/-"),
	    B("/~tilde"),
	    B("/UPPER"),
	};

	for (size_t i = 0; i < KV_COUNT(names); i++) {
		check_name(w, names[i]);
	}
}

static void names_with_odd_slashes(void **state)
{
	struct world *w = *state;
	const struct slice names[] = {
	    B("/x"),	 B("/x/"),     B("/x/y/"), B("/x/y/z"),	  B("//"),
	    B("//x"),	 B("/x//y"),   B("/x///"), B("/."),	  B("/.."),
	    B("/x/./y"), B("/x/../y"), B("/..."),  B("/.hidden"),
	};

	for (size_t i = 0; i < KV_COUNT(names); i++) {
		check_name(w, names[i]);
	}
}

/* Names that a careless backend takes for one another. */
static void near_names_are_different_keys(void **state)
{
	struct world *w = *state;
	const struct slice names[] = {
	    B("/a"),  B("/a/"), B("/A"),	B("/a "),	 B("/a\0"),
	    B("//a"), B("/a%"), B("/\xc3\xa9"), B("/e\xcc\x81"), B("/a//"),
	};
	size_t n = 0;

	for (size_t i = 0; i < KV_COUNT(names); i++) {
		if (store_check(w->st, names[i], 1, NULL) == KV_OK) {
			expect_status(
			    do_put(w, w->st, names[i], world_key(w, "%zu", i)),
			    KV_OK);
			n++;
		}
	}
	assert_true(n >= 4);
	for (size_t i = 0; i < KV_COUNT(names); i++) {
		if (store_check(w->st, names[i], 1, NULL) == KV_OK) {
			expect_stored(w, names[i], world_key(w, "%zu", i));
		}
	}
}

static void a_key_begins_with_a_slash(void **state)
{
	struct world *w = *state;
	const struct slice bad[] = {B(""), B("a"), B("a/b"), B("\0/a")};

	for (size_t i = 0; i < KV_COUNT(bad); i++) {
		struct kv_err err = {0};
		struct store_op *op = world_ops(w, 1);

		expect_code(store_check(w->st, bad[i], 1, &err),
			    KV_INVALID_KEY);
		assert_true(err.text[0] != '\0');
		expect_status(do_get(w, w->st, bad[i]), KV_INVALID_KEY);
		expect_status(do_exists(w, w->st, bad[i]), KV_INVALID_KEY);
		expect_status(do_put(w, w->st, bad[i], S("v")), KV_INVALID_KEY);
		expect_status(do_delete(w, w->st, bad[i], false),
			      KV_INVALID_KEY);
		expect_status(do_atomic_put(w, w->st, bad[i], S("v"), NULL),
			      KV_INVALID_KEY);
		op[0] = op_put(bad[i], S("v"));
		expect_status(do_write(w, w->st, op, 1), KV_INVALID_KEY);
	}
}

static void long_keys(void **state)
{
	struct world *w = *state;
	size_t max = limit_of(store_capabilities(w->st)->max_key);
	size_t sizes[] = {200, 1000, 4000, 30000};

	for (size_t i = 0; i < KV_COUNT(sizes); i++) {
		struct slice key = world_fill(w, sizes[i], 'k');

		((uint8_t *)(uintptr_t)key.p)[0] = '/';
		if (sizes[i] + 200 <= max) {
			check_name(w, key);
		}
	}
	for (size_t depth = 10; depth <= 100; depth *= 10) {
		uint8_t *p = arena_alloc(&w->arena, depth * 2);

		assert_non_null(p);
		for (size_t i = 0; i < depth; i++) {
			p[i * 2] = '/';
			p[i * 2 + 1] = 'd';
		}
		check_name(w, slice_of(p, depth * 2));
	}
}

/* What store_check says is what the calls do. */
static void a_key_over_the_limit_is_refused(void **state)
{
	struct world *w = *state;
	size_t max = limit_of(store_capabilities(w->st)->max_key);
	struct kv_err err = {0};
	struct slice key;
	struct call *c;
	int may;

	need(max < (size_t)16 << 20, "limit of keys below 16 MiB");
	key = world_fill(w, max + 1, 'k');
	((uint8_t *)(uintptr_t)key.p)[0] = '/';
	may = store_check(w->st, key, 1, &err);
	assert_true(may == KV_TOO_LARGE || may == KV_INVALID_KEY);
	assert_true(err.text[0] != '\0');
	c = do_put(w, w->st, key, S("v"));
	expect_status(c, may);
	/* The store is as good as before. */
	(void)put_ok(w, "/after", "1");
}

static void a_value_at_the_limit_fits(void **state)
{
	struct world *w = *state;
	size_t max = limit_of(store_capabilities(w->st)->max_value);
	struct slice value;

	need(max <= (size_t)64 << 20, "limit of values up to 64 MiB");
	value = world_fill(w, max, 'v');
	expect_code(store_check(w->st, S("/big"), max, NULL), KV_OK);
	expect_status(do_put(w, w->st, S("/big"), value), KV_OK);
	expect_stored(w, S("/big"), value);
}

static void a_value_over_the_limit_is_refused(void **state)
{
	struct world *w = *state;
	size_t max = limit_of(store_capabilities(w->st)->max_value);
	struct kv_err err = {0};
	struct store_op *op = world_ops(w, 1);
	struct slice value;

	need(max <= (size_t)64 << 20, "limit of values up to 64 MiB");
	value = world_fill(w, max + 1, 'v');
	(void)put_ok(w, "/big", "small");
	expect_code(store_check(w->st, S("/big"), max + 1, &err), KV_TOO_LARGE);
	assert_true(err.text[0] != '\0');
	expect_status(do_put(w, w->st, S("/big"), value), KV_TOO_LARGE);
	expect_status(do_atomic_put(w, w->st, S("/new"), value, NULL),
		      KV_TOO_LARGE);
	op[0] = op_put(S("/new"), value);
	expect_status(do_write(w, w->st, op, 1), KV_TOO_LARGE);
	expect_stored(w, S("/big"), S("small"));
	expect_missing(w, S("/new"));
}

static void large_values_in_one_page(void **state)
{
	struct world *w = *state;
	size_t max = limit_of(store_capabilities(w->st)->max_value);
	size_t size = KV_MIN(max, (size_t)400000);
	struct slice value = world_fill(w, size, 'v');
	struct slice after = NOTHING;
	size_t seen = 0;
	bool more = true;

	for (unsigned i = 0; i < 20; i++) {
		expect_status(
		    do_put(w, w->st, world_key(w, "/v/%02u", i), value), KV_OK);
	}
	while (more) {
		struct call *c =
		    do_scan(w, w->st, store_scan, S("/v"), after, 0);
		struct store_page *p;

		expect_status(c, KV_OK);
		p = c->u.scan.page;
		more = p->more;
		assert_true(p->n > 0 || !more);
		for (size_t i = 0; i < p->n; i++) {
			assert_int_equal(p->pairs[i].value.n, size);
			seen++;
		}
		if (p->n > 0) {
			after = p->pairs[p->n - 1].key;
		}
	}
	assert_int_equal(seen, 20);
}

/* Stores of several prefixes at one place. */
static void a_prefix_is_cut_at_segments(void **state)
{
	struct world *w = *state;
	struct store *above = world_open(w, "");
	struct store *near = world_open(w, "/pp");
	struct store *deep = world_open(w, "/p/q");
	struct call *c;

	(void)put_ok(w, "/q/1", "deep");
	(void)put_ok(w, "/r", "here");
	expect_status(do_put(w, near, S("/n"), S("near")), KV_OK);
	/* The key exactly at the prefix is not in the tree. */
	expect_status(do_put(w, above, S("/p"), S("at the prefix")), KV_OK);

	c = do_scan(w, above, store_scan, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/p"), S("/p/q/1"), S("/p/r"),
		    S("/pp/n"));
	c = do_scan(w, w->st, store_scan, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/q/1"), S("/r"));
	c = do_scan(w, near, store_scan, S("/"), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/n"));
	c = do_scan(w, deep, store_scan, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	expect_keys(c->u.scan.page, S("/1"));

	c = do_get(w, above, S("/p/q/1"));
	expect_status(c, KV_OK);
	expect_bytes(c->u.single.pair.value, S("deep"));
	expect_status(do_get(w, w->st, S("p/q/1")), KV_INVALID_KEY);
}

static void a_watch_keeps_to_its_prefix(void **state)
{
	struct world *w = *state;
	struct store *above = world_open(w, "");
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct tail *all = tail_open(w, above, S(""), 0);

	tail_init(t);
	tail_init(all);
	expect_status(do_put(w, above, S("/p"), S("at")), KV_OK);
	expect_status(do_put(w, above, S("/pp/x"), S("beside")), KV_OK);
	expect_status(do_put(w, above, S("/p/x"), S("below")), KV_OK);
	tail_count(t, 1);
	tail_count(all, 3);
	expect_bytes(t->changes[0].key, S("/x"));
	expect_bytes(all->changes[0].key, S("/p"));
	expect_bytes(all->changes[1].key, S("/pp/x"));
	expect_bytes(all->changes[2].key, S("/p/x"));
}

int group_keys(void)
{
	const struct CMUnitTest tests[] = {
	    suite_test(names_with_odd_bytes),
	    suite_test(names_with_odd_slashes),
	    suite_test(near_names_are_different_keys),
	    suite_test(a_key_begins_with_a_slash),
	    suite_test(long_keys),
	    suite_test(a_key_over_the_limit_is_refused),
	    suite_test(a_value_at_the_limit_fits),
	    suite_test(a_value_over_the_limit_is_refused),
	    suite_test(large_values_in_one_page),
	    suite_test(a_prefix_is_cut_at_segments),
	    suite_test(a_watch_keeps_to_its_prefix),
	};

	return cmocka_run_group_tests_name("keys", tests, world_group_set_up,
					   world_group_tear_down);
}
