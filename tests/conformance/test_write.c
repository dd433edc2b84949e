/* test_write.c: batches of guarded operations: which op did what, all or
 * nothing, limits, the connection they were meant for. */
#include "tests/conformance/suite.h"

static void a_batch_does_all_of_it(void **state)
{
	struct world *w = *state;
	struct store_op *ops = world_ops(w, 4);
	struct call *c;

	(void)put_ok(w, "/old", "1");
	(void)put_ok(w, "/gone", "1");
	ops[0] = op_put(S("/new"), S("2"));
	ops[1] = op_delete(S("/gone"));
	ops[2] = op_put(S("/old"), S("3"));
	ops[3] = op_put(S("/empty"), NOTHING);
	c = do_write(w, w->st, ops, 4);
	expect_status(c, KV_OK);
	for (size_t i = 0; i < 4; i++) {
		expect_code(ops[i].status, KV_OK);
		assert_true(ops[i].index >= 1);
	}
	assert_true(c->u.write.origin.epoch >= 1);
	assert_true(c->u.write.origin.identity[0] != '\0');
	assert_true(c->u.write.origin.index >= ops[3].index);
	expect_stored(w, S("/new"), S("2"));
	expect_stored(w, S("/old"), S("3"));
	expect_stored(w, S("/empty"), NOTHING);
	expect_missing(w, S("/gone"));
}

static void a_put_tells_the_version_it_made(void **state)
{
	struct world *w = *state;
	struct store_op *ops = world_ops(w, 2);
	struct store_pair p;

	ops[0] = op_put(S("/a"), S("1"));
	ops[1] = op_put(S("/b"), S("1"));
	expect_status(do_write(w, w->st, ops, 2), KV_OK);
	for (size_t i = 0; i < 2; i++) {
		p = pair_of(w, ops[i].key);
		assert_true(store_version_eq(p.version, ops[i].version));
		assert_int_equal(p.index, ops[i].index);
	}
}

/* Versions of any source serve as guards. */
static void versions_are_good_guards(void **state)
{
	struct world *w = *state;
	struct store_op *op = world_ops(w, 1);
	struct tail *t = tail_open(w, w->st, S(""), 0);
	struct store_version v;
	struct call *c;

	tail_init(t);
	op[0] = op_put(S("/a"), S("1"));
	expect_status(do_write(w, w->st, op, 1), KV_OK);
	v = op[0].version; /* of a write */
	op[0] = op_version(op_put(S("/a"), S("2")), v);
	expect_status(do_write(w, w->st, op, 1), KV_OK);
	v = pair_of(w, S("/a")).version; /* of a get */
	op[0] = op_version(op_put(S("/a"), S("3")), v);
	expect_status(do_write(w, w->st, op, 1), KV_OK);
	c = do_scan(w, w->st, store_scan, S(""), NOTHING, 0);
	expect_status(c, KV_OK);
	v = c->u.scan.page->pairs[0].version; /* of a scan */
	op[0] = op_version(op_put(S("/a"), S("4")), v);
	expect_status(do_write(w, w->st, op, 1), KV_OK);
	tail_until(t, op[0].index);
	v = tail_last(t, S("/a"))->version; /* of a change */
	op[0] = op_version(op_delete(S("/a")), v);
	expect_status(do_write(w, w->st, op, 1), KV_OK);
	expect_missing(w, S("/a"));
}

/* One op, alone, with a guard that does not hold: its code is the write's, and
 * nothing was done. */
static void refused(struct world *w, struct store_op in, int want)
{
	struct store_op *op = world_ops(w, 1);
	struct call *before = do_get(w, w->st, in.key);
	struct call *after;

	op[0] = in;
	expect_status(do_write(w, w->st, op, 1), want);
	expect_code(op[0].status, want);
	after = do_get(w, w->st, in.key);
	expect_code(after->status, before->status);
	if (before->status == KV_OK) {
		assert_true(store_version_eq(after->u.single.pair.version,
					     before->u.single.pair.version));
		expect_bytes(after->u.single.pair.value,
			     before->u.single.pair.value);
	}
}

static void done(struct world *w, struct store_op in)
{
	struct store_op *op = world_ops(w, 1);

	op[0] = in;
	expect_status(do_write(w, w->st, op, 1), KV_OK);
	expect_code(op[0].status, KV_OK);
}

static void guard_absent(void **state)
{
	struct world *w = *state;

	done(w, op_absent(op_put(S("/a"), S("1"))));
	expect_stored(w, S("/a"), S("1"));
	refused(w, op_absent(op_put(S("/a"), S("2"))), KV_KEY_EXISTS);
	(void)delete_ok(w, "/a");
	done(w, op_absent(op_put(S("/a"), S("3"))));
	expect_status(do_put(w, w->st, S("/e"), NOTHING), KV_OK);
	refused(w, op_absent(op_put(S("/e"), S("2"))), KV_KEY_EXISTS);
}

static void guard_version_on_put(void **state)
{
	struct world *w = *state;
	struct store_version v1;
	struct store_version v2;

	(void)put_ok(w, "/a", "1");
	v1 = pair_of(w, S("/a")).version;
	done(w, op_version(op_put(S("/a"), S("2")), v1));
	v2 = pair_of(w, S("/a")).version;
	refused(w, op_version(op_put(S("/a"), S("3")), v1), KV_KEY_MODIFIED);
	(void)delete_ok(w, "/a");
	refused(w, op_version(op_put(S("/a"), S("3")), v2), KV_KEY_MODIFIED);
	refused(w, op_version(op_put(S("/never"), S("3")), v2),
		KV_KEY_MODIFIED);
	(void)put_ok(w, "/a", "2");
	refused(w, op_version(op_put(S("/a"), S("3")), v2), KV_KEY_MODIFIED);
}

static void guard_version_on_delete(void **state)
{
	struct world *w = *state;
	struct store_version v1;
	struct store_version v2;

	(void)put_ok(w, "/a", "1");
	v1 = pair_of(w, S("/a")).version;
	(void)put_ok(w, "/a", "2");
	v2 = pair_of(w, S("/a")).version;
	refused(w, op_version(op_delete(S("/a")), v1), KV_KEY_MODIFIED);
	done(w, op_version(op_delete(S("/a")), v2));
	expect_missing(w, S("/a"));
	refused(w, op_version(op_delete(S("/a")), v2), KV_KEY_NOT_FOUND);
	(void)put_ok(w, "/a", "2");
	refused(w, op_version(op_delete(S("/a")), v2), KV_KEY_MODIFIED);
}

/* No guard, no key: the write is fine, the op says what it found. */
static void deleting_nothing_is_no_failure(void **state)
{
	struct world *w = *state;
	struct store_op *ops = world_ops(w, 3);

	ops[0] = op_delete(S("/none"));
	expect_status(do_write(w, w->st, ops, 1), KV_OK);
	expect_code(ops[0].status, KV_KEY_NOT_FOUND);
	ops[0] = op_put(S("/a"), S("1"));
	ops[1] = op_delete(S("/none"));
	ops[2] = op_put(S("/b"), S("1"));
	expect_status(do_write(w, w->st, ops, 3), KV_OK);
	expect_code(ops[0].status, KV_OK);
	expect_code(ops[1].status, KV_KEY_NOT_FOUND);
	expect_code(ops[2].status, KV_OK);
	expect_stored(w, S("/a"), S("1"));
	expect_stored(w, S("/b"), S("1"));
}

/* One guard of seven does not hold; each position in turn. */
static void one_failed_guard_undoes_all(void **state)
{
	struct world *w = *state;
	bool atomic = store_capabilities(w->st)->atomic;
	const size_t n = 7;

	for (size_t bad = 0; bad < n; bad++) {
		struct store_op *ops = world_ops(w, n);
		struct call *c;

		for (size_t i = 0; i < n; i++) {
			ops[i] = op_absent(op_put(
			    world_key(w, "/r%zu/k%zu", bad, i), S("new")));
		}
		expect_status(do_put(w, w->st, ops[bad].key, S("old")), KV_OK);
		c = do_write(w, w->st, ops, n);
		expect_status(c, KV_KEY_EXISTS);
		expect_code(ops[bad].status, KV_KEY_EXISTS);
		for (size_t i = 0; i < n; i++) {
			if (i == bad) {
				expect_stored(w, ops[i].key, S("old"));
			} else if (atomic) {
				expect_code(ops[i].status, KV_CANCELED);
				expect_missing(w, ops[i].key);
			} else if (ops[i].status == KV_OK) {
				expect_stored(w, ops[i].key, S("new"));
			} else {
				expect_missing(w, ops[i].key);
			}
		}
	}
}

/* Every op whose own guard failed says so, with its own code: a caller goes on
 * with the rest at once. */
static void each_failed_guard_is_named(void **state)
{
	struct world *w = *state;
	struct store_op *ops = world_ops(w, 6);
	struct store_version stale;
	struct call *c;

	need(store_capabilities(w->st)->atomic, "atomic write");
	(void)put_ok(w, "/modified", "1");
	stale = pair_of(w, S("/modified")).version;
	(void)put_ok(w, "/modified", "2");
	(void)put_ok(w, "/exists", "1");
	(void)put_ok(w, "/fine", "1");
	ops[0] = op_version(op_put(S("/modified"), S("x")), stale);
	ops[1] = op_absent(op_put(S("/exists"), S("x")));
	ops[2] = op_version(op_delete(S("/missing")), stale);
	ops[3] = op_version(op_put(S("/fine"), S("x")),
			    pair_of(w, S("/fine")).version);
	ops[4] = op_absent(op_put(S("/free"), S("x")));
	ops[5] = op_put(S("/any"), S("x"));
	c = do_write(w, w->st, ops, 6);
	expect_one_of(c, KV_KEY_MODIFIED, KV_KEY_EXISTS, KV_KEY_NOT_FOUND);
	expect_code(ops[0].status, KV_KEY_MODIFIED);
	expect_code(ops[1].status, KV_KEY_EXISTS);
	expect_code(ops[2].status, KV_KEY_NOT_FOUND);
	expect_code(ops[3].status, KV_CANCELED);
	expect_code(ops[4].status, KV_CANCELED);
	expect_code(ops[5].status, KV_CANCELED);
	expect_stored(w, S("/modified"), S("2"));
	expect_stored(w, S("/fine"), S("1"));
	expect_missing(w, S("/free"));
	expect_missing(w, S("/any"));
	/* Without those three the rest goes through. */
	expect_status(do_write(w, w->st, ops + 3, 3), KV_OK);
	expect_stored(w, S("/fine"), S("x"));
}

static void a_failed_delete_undoes_the_puts(void **state)
{
	struct world *w = *state;
	struct store_op *ops = world_ops(w, 3);
	struct store_version stale;

	need(store_capabilities(w->st)->atomic, "atomic write");
	(void)put_ok(w, "/d", "1");
	stale = pair_of(w, S("/d")).version;
	(void)put_ok(w, "/d", "2");
	ops[0] = op_put(S("/a"), S("x"));
	ops[1] = op_version(op_delete(S("/d")), stale);
	ops[2] = op_delete(S("/none"));
	expect_status(do_write(w, w->st, ops, 3), KV_KEY_MODIFIED);
	expect_code(ops[0].status, KV_CANCELED);
	expect_code(ops[1].status, KV_KEY_MODIFIED);
	expect_missing(w, S("/a"));
	expect_stored(w, S("/d"), S("2"));
}

static void a_key_stands_once_in_a_batch(void **state)
{
	struct world *w = *state;
	struct store_op *ops = world_ops(w, 3);
	struct call *c;

	ops[0] = op_put(S("/a"), S("1"));
	ops[1] = op_put(S("/b"), S("1"));
	ops[2] = op_delete(S("/a"));
	c = start_write(w, w->st, ops, 3);
	expect_code(c->rv, KV_BAD_ARGUMENT);
	ops[2] = op_put(S("/b"), S("2"));
	c = start_write(w, w->st, ops, 3);
	expect_code(c->rv, KV_BAD_ARGUMENT);
	expect_missing(w, S("/a"));
	expect_missing(w, S("/b"));
}

static struct store_op *many_puts(struct world *w, size_t n, const char *value)
{
	struct store_op *ops = world_ops(w, n);

	for (size_t i = 0; i < n; i++) {
		ops[i] = op_put(world_key(w, "/k/%zu", i), S(value));
	}
	return ops;
}

static void a_batch_at_the_limit_is_done(void **state)
{
	struct world *w = *state;
	size_t max = limit_of(store_capabilities(w->st)->max_ops);
	struct store_op *ops;
	size_t seen = 0;
	struct call *c;

	need(max <= 100000, "limit of operations");
	ops = many_puts(w, max, "1");
	expect_status(do_write(w, w->st, ops, max), KV_OK);
	for (size_t i = 0; i < max; i++) {
		expect_code(ops[i].status, KV_OK);
	}
	c = do_scan(w, w->st, store_list, S("/k"), NOTHING, 1000);
	expect_status(c, KV_OK);
	for (seen = c->u.scan.page->n; c->u.scan.page->more;
	     seen += c->u.scan.page->n) {
		struct store_page *p = c->u.scan.page;

		c = do_scan(w, w->st, store_list, S("/k"),
			    p->pairs[p->n - 1].key, 1000);
		expect_status(c, KV_OK);
	}
	assert_int_equal(seen, max);
}

static void a_batch_over_the_limit_is_refused(void **state)
{
	struct world *w = *state;
	size_t max = limit_of(store_capabilities(w->st)->max_ops);
	struct call *c;

	need(max <= 100000, "limit of operations");
	c = start_write(w, w->st, many_puts(w, max + 1, "1"), max + 1);
	expect_code(c->rv, KV_TOO_LARGE);
	expect_missing(w, S("/k/0"));
}

/* Guarded ones up to the limit: done, or refused at once when guards count. */
static void a_guarded_batch_at_the_limit(void **state)
{
	struct world *w = *state;
	size_t max = limit_of(store_capabilities(w->st)->max_ops);
	size_t n = max;
	struct store_op *ops;
	struct call *c;

	need(max <= 100000, "limit of operations");
	ops = many_puts(w, n, "1");
	for (size_t i = 0; i < n; i++) {
		ops[i] = op_absent(ops[i]);
	}
	c = start_write(w, w->st, ops, n);
	if (c->rv == KV_TOO_LARGE) {
		n = max / 2;
		c = start_write(w, w->st, ops, n);
	}
	call_wait(c);
	expect_status(c, KV_OK);
	expect_stored(w, ops[n - 1].key, S("1"));
	/* And all of them at once by version, then gone. */
	for (size_t i = 0; i < n; i++) {
		ops[i] = op_version(op_delete(ops[i].key), ops[i].version);
	}
	expect_status(do_write(w, w->st, ops, n), KV_OK);
	expect_missing(w, ops[0].key);
}

static void bytes_over_the_limit_are_refused(void **state)
{
	struct world *w = *state;
	const struct store_caps *caps = store_capabilities(w->st);
	size_t n = 8;
	struct store_op *ops = world_ops(w, n);
	struct slice value;
	struct call *c;

	need(limit_of(caps->max_bytes) <= (size_t)80 << 20 &&
		 limit_of(caps->max_value) >
		     limit_of(caps->max_bytes) / n + 64 &&
		 limit_of(caps->max_ops) >= n,
	     "limit of bytes a write that several values can pass");
	value = world_fill(w, limit_of(caps->max_bytes) / n + 64, 'v');
	for (size_t i = 0; i < n; i++) {
		ops[i] = op_put(world_key(w, "/b%zu", i), value);
	}
	c = start_write(w, w->st, ops, n);
	expect_code(c->rv, KV_TOO_LARGE);
	expect_missing(w, S("/b0"));
	/* A little less goes through. */
	value.n = limit_of(caps->max_bytes) / n - 64;
	for (size_t i = 0; i < n; i++) {
		ops[i].value = value;
	}
	expect_status(do_write(w, w->st, ops, n), KV_OK);
	expect_stored(w, S("/b7"), value);
}

static struct call *write_at_epoch(struct world *w, struct slice key,
				   uint64_t epoch)
{
	struct call *c = call_new(w, w->st, CALL_WRITE);
	struct store_op *op = world_ops(w, 1);

	op[0] = op_put(key, S("v"));
	c->u.write.ops = op;
	c->u.write.n_ops = 1;
	c->u.write.epoch = epoch;
	call_begin(c);
	call_submitted(c, store_write(w->st, &c->u.write));
	call_wait(c);
	return c;
}

static void a_write_is_meant_for_one_connection(void **state)
{
	struct world *w = *state;
	uint64_t epoch = do_exists(w, w->st, S("/x"))->u.single.origin.epoch;

	expect_status(write_at_epoch(w, S("/a"), epoch), KV_OK);
	expect_stored(w, S("/a"), S("v"));
	expect_status(write_at_epoch(w, S("/b"), epoch + 1000),
		      KV_NOT_REACHABLE);
	expect_missing(w, S("/b"));
}

static void indexes_of_writes_ascend(void **state)
{
	struct world *w = *state;
	uint64_t last = 0;

	for (unsigned i = 0; i < 10; i++) {
		struct store_op *ops = many_puts(w, 5, i % 2 == 0 ? "v" : "w");

		expect_status(do_write(w, w->st, ops, 5), KV_OK);
		for (size_t k = 0; k < 5; k++) {
			assert_true(ops[k].index > last);
		}
		last = ops[4].index;
	}
}

/* Several writes in flight; where the backend says that it keeps their order,
 * it does. */
static void writes_in_flight(void **state)
{
	struct world *w = *state;
	struct call *calls[20];
	struct store_op *ops[20];

	for (size_t i = 0; i < KV_COUNT(calls); i++) {
		ops[i] = world_ops(w, 2);
		ops[i][0] = op_put(S("/same"), world_key(w, "%zu", i));
		ops[i][1] = op_put(world_key(w, "/own/%zu", i), S("v"));
		calls[i] = start_write(w, w->st, ops[i], 2);
		expect_code(calls[i]->rv, KV_OK);
	}
	for (size_t i = 0; i < KV_COUNT(calls); i++) {
		call_wait(calls[i]);
		expect_status(calls[i], KV_OK);
		expect_stored(w, world_key(w, "/own/%zu", i), S("v"));
	}
	if (store_capabilities(w->st)->ordered) {
		expect_stored(w, S("/same"), S("19"));
		for (size_t i = 1; i < KV_COUNT(calls); i++) {
			assert_true(ops[i][0].index > ops[i - 1][0].index);
		}
	}
}

int group_write(void)
{
	const struct CMUnitTest tests[] = {
	    suite_test(a_batch_does_all_of_it),
	    suite_test(a_put_tells_the_version_it_made),
	    suite_test(versions_are_good_guards),
	    suite_test(guard_absent),
	    suite_test(guard_version_on_put),
	    suite_test(guard_version_on_delete),
	    suite_test(deleting_nothing_is_no_failure),
	    suite_test(one_failed_guard_undoes_all),
	    suite_test(each_failed_guard_is_named),
	    suite_test(a_failed_delete_undoes_the_puts),
	    suite_test(a_key_stands_once_in_a_batch),
	    suite_test(a_batch_at_the_limit_is_done),
	    suite_test(a_batch_over_the_limit_is_refused),
	    suite_test(a_guarded_batch_at_the_limit),
	    suite_test(bytes_over_the_limit_are_refused),
	    suite_test(a_write_is_meant_for_one_connection),
	    suite_test(indexes_of_writes_ascend),
	    suite_test(writes_in_flight),
	};

	return cmocka_run_group_tests_name("write", tests, world_group_set_up,
					   world_group_tear_down);
}
