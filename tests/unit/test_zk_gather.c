/* test_zk_gather.c: changes found in any order, handed out in the order of
 * their indexes; units, values that were let go of; the sets beside it (dirty
 * znodes, the table of znodes). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/zookeeper/zk_dirty.h"
#include "store/zookeeper/zk_gather.h"
#include "store/zookeeper/zk_table.h"

#define S(text) slice_str(text)
#define NONE slice_of(NULL, 0)

static void put(struct zk_gather *g, const char *key, uint64_t index)
{
	struct store_version v = {1, index};

	assert_non_null(zk_gather_put(g, S(key), S("value"), NONE, index, v));
}

static struct store_batch *take(struct zk_gather *g, uint64_t limit)
{
	struct store_batch *b;

	assert_true(zk_gather_stage(g, limit));
	assert_int_equal(zk_gather_take(g, limit, &b), KV_OK);
	return b;
}

/* "a1 b2. c2." : keys with indexes, a dot where a transaction ends. */
static void expect(const struct store_batch *b, const char *want)
{
	char text[256] = "";
	size_t n = 0;

	assert_non_null(b);
	for (size_t i = 0; i < b->n; i++) {
		const struct store_change *c = &b->changes[i];

		n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s%u%s",
				      i == 0 ? "" : " ", (int)c->key.n,
				      (const char *)c->key.p,
				      (unsigned)c->index, c->tx_end ? "." : "");
	}
	assert_string_equal(text, want);
}

static void changes_come_by_index(void **state)
{
	struct zk_gather g = {0};
	struct store_batch *b;

	(void)state;
	put(&g, "d", 40);
	put(&g, "a", 10);
	put(&g, "c", 20);
	put(&g, "b", 20);
	assert_true(zk_gather_delete(&g, S("e"), 15, false));
	b = take(&g, 30);
	expect(b, "a10. e15. c20 b20.");
	assert_false(b->partial);
	assert_int_equal(b->index, 30);
	assert_int_equal(b->changes[1].action, STORE_DELETE);
	assert_false(b->changes[1].inferred);
	store_batch_free(b);
	assert_null(take(&g, 39));
	assert_int_equal(g.position, 39);
	b = take(&g, 50);
	expect(b, "d40.");
	assert_int_equal(b->index, 50);
	store_batch_free(b);
	zk_gather_free(&g);
}

/* Its deletes are announced first, its end is the only one. */
static void a_unit_is_told_as_one(void **state)
{
	struct zk_gather g = {.position = 5};
	struct store_batch *b;

	(void)state;
	put(&g, "a", 10);
	put(&g, "b", 20);
	put(&g, "later", 60);
	assert_true(zk_gather_delete(&g, S("x"), 50, true));
	assert_true(zk_gather_delete(&g, S("y"), 50, true));
	zk_gather_unit(&g, 50, 9);
	b = take(&g, 60);
	expect(b, "a10 b20");
	assert_true(b->partial && b->relisted);
	assert_int_equal(b->inferred_deletes, 2);
	assert_int_equal(b->known_keys, 9);
	assert_int_equal(b->index, 5);
	store_batch_free(b);
	b = take(&g, 60);
	expect(b, "x50 y50. later60.");
	assert_false(b->partial || b->relisted);
	assert_true(b->changes[0].inferred);
	assert_int_equal(b->index, 60);
	store_batch_free(b);
	zk_gather_free(&g);
}

static void a_unit_of_nothing_moves_on(void **state)
{
	struct zk_gather g = {.position = 5};

	(void)state;
	zk_gather_unit(&g, 50, 3);
	assert_null(take(&g, 50));
	assert_int_equal(g.position, 50);
	assert_int_equal(g.unit, 0);
	zk_gather_free(&g);
}

/* One transaction in several batches: the position stays before it. */
static void a_huge_transaction_is_partial(void **state)
{
	enum { N = 6 };
	struct zk_gather g = {0};
	struct store_batch *b;
	size_t size = (size_t)1024 * 1024, n = 0;
	char *value = calloc(1, size);
	char key[2] = "a";

	(void)state;
	assert_non_null(value);
	put(&g, "first", 10);
	for (unsigned i = 0; i < N; i++, key[0]++) {
		assert_non_null(zk_gather_put(&g, S(key), slice_of(value, size),
					      NONE, 20,
					      (struct store_version){1, 1}));
	}
	b = take(&g, 30);
	expect(b, "first10. a20 b20 c20 d20");
	assert_true(b->partial);
	assert_int_equal(b->index, 19);
	n += b->n;
	store_batch_free(b);
	b = take(&g, 30);
	expect(b, "e20 f20.");
	assert_false(b->partial);
	assert_int_equal(b->index, 30);
	n += b->n;
	store_batch_free(b);
	assert_int_equal(n, N + 1);
	free(value);
	zk_gather_free(&g);
}

/* Beyond the bound values are let go of; what is found other is skipped. */
static void values_are_let_go_of(void **state)
{
	enum { N = 12 };
	struct zk_gather g = {0};
	struct store_batch *b;
	size_t size = (size_t)1024 * 1024, told = 0, dropped = 0;
	char *value = calloc(1, size);
	char key[2] = "a";

	(void)state;
	assert_non_null(value);
	for (unsigned i = 0; i < N; i++, key[0]++) {
		assert_non_null(zk_gather_put(&g, S(key), slice_of(value, size),
					      NONE, 20 + i,
					      (struct store_version){1, 1}));
		assert_true(g.held <= ZK_GATHER_HELD);
	}
	while (g.n > 0 || g.n_staged > 0) {
		assert_true(zk_gather_stage(&g, 100));
		for (size_t i = g.staged_pos; i < g.n_staged; i++) {
			struct zk_told *t = g.staged[i];

			if (!t->dropped) {
				continue;
			}
			if (++dropped == 1) {
				t->skip = true;
			} else {
				assert_true(zk_gather_fill(
				    &g, t, slice_of(value, size), NONE));
			}
		}
		assert_int_equal(zk_gather_take(&g, 100, &b), KV_OK);
		assert_non_null(b);
		for (size_t i = 0; i < b->n; i++) {
			assert_int_equal(b->changes[i].value.n, size);
		}
		told += b->n;
		store_batch_free(b);
	}
	assert_true(dropped > 1);
	assert_int_equal(told, N - 1);
	assert_int_equal(g.held, 0);
	assert_int_equal(g.bytes, 0);
	free(value);
	zk_gather_free(&g);
}

static void hidden_keys_and_attrs(void **state)
{
	struct store_version v = {1, 1};
	struct zk_gather g = {0};
	struct zk_told *t;
	struct store_batch *b;

	(void)state;
	assert_true(zk_gather_hidden(&g, S("h"), 10));
	t = zk_gather_put(&g, S("k"), S("value"), NONE, 20, v);
	assert_non_null(t);
	t->lacks_acl = true;
	assert_true(zk_gather_stage(&g, 30));
	assert_true(zk_gather_set_attrs(&g, t, S("attrs")));
	t->lacks_acl = false;
	assert_int_equal(zk_gather_take(&g, 30, &b), KV_OK);
	expect(b, "h10. k20.");
	assert_true(b->changes[0].unreadable);
	assert_int_equal(b->changes[0].action, STORE_SET);
	assert_true(slice_eq(b->changes[1].value, S("value")));
	assert_true(slice_eq(b->changes[1].attrs, S("attrs")));
	store_batch_free(b);
	assert_int_equal(g.held, 0);
	zk_gather_free(&g);
}

/* ---- dirty znodes -------------------------------------------------------- */

static void dirty_ones_are_looked_at_once(void **state)
{
	struct zk_dirties d;
	struct zk_dirty *a, *b, *again;

	(void)state;
	zk_dirties_init(&d);
	assert_int_equal(zk_dirties_limit(&d, 77), 77);
	a = zk_dirties_get(&d, S("/a"), 10);
	b = zk_dirties_get(&d, S("/b"), 20);
	assert_ptr_equal(zk_dirties_get(&d, S("/a"), 30), a);
	assert_int_equal(zk_dirties_limit(&d, 77), 10);
	assert_ptr_equal(zk_dirties_send(&d), a);
	/* What comes while it is looked at is looked at again. */
	again = zk_dirties_get(&d, S("/a"), 40);
	assert_ptr_not_equal(again, a);
	assert_int_equal(zk_dirties_limit(&d, 77), 10);
	zk_dirties_done(&d, a);
	assert_int_equal(zk_dirties_limit(&d, 77), 20);
	assert_ptr_equal(zk_dirties_send(&d), b);
	zk_dirties_done(&d, b);
	assert_int_equal(zk_dirties_limit(&d, 77), 40);
	assert_ptr_equal(zk_dirties_find(&d, S("/a")), again);
	zk_dirties_free(&d);
}

static void many_dirty_ones_are_found(void **state)
{
	enum { N = 5000 };
	struct zk_dirties d;
	struct zk_dirty *one;
	char path[32];
	size_t n = 0;

	(void)state;
	zk_dirties_init(&d);
	for (unsigned i = 0; i < N; i++) {
		(void)snprintf(path, sizeof path, "/d/%u", i * 7 % N);
		assert_non_null(zk_dirties_get(&d, S(path), i));
	}
	assert_int_equal(d.n, N);
	for (unsigned i = 0; i < N; i++) {
		(void)snprintf(path, sizeof path, "/d/%u", i);
		assert_non_null(zk_dirties_find(&d, S(path)));
	}
	while ((one = zk_dirties_send(&d)) != NULL) {
		assert_int_equal(one->before, n);
		n++;
		zk_dirties_done(&d, one);
	}
	assert_int_equal(n, N);
	assert_int_equal(d.bytes, 0);
	zk_dirties_free(&d);
}

/* ---- the table ----------------------------------------------------------- */

static void nodes_are_found_by_path(void **state)
{
	static const char *const roots[] = {"/", "/app"};
	struct zk_table t = {0};
	struct zk_node *n;
	char path[64];

	(void)state;
	for (size_t r = 0; r < KV_COUNT(roots); r++) {
		const char *base = r == 0 ? "" : roots[r];

		for (unsigned i = 0; i < 1000; i++) {
			(void)snprintf(path, sizeof path, "%s/d%u/k%u", base,
				       i % 10, i);
			n = zk_table_reach(&t, S(roots[r]), S(path));
			assert_non_null(n);
			assert_ptr_equal(zk_table_find(&t, S(path)), n);
		}
		assert_int_equal(t.n, 1000 + 10 + 1);
		assert_non_null(zk_table_find(&t, S(roots[r])));
		(void)snprintf(path, sizeof path, "%s/d3", base);
		assert_non_null(zk_table_find(&t, S(path)));
		(void)snprintf(path, sizeof path, "%s/d3/k4", base);
		assert_null(zk_table_find(&t, S(path)));
		assert_null(zk_table_find(&t, S("/k3")));
		assert_null(zk_table_find(&t, S("k3")));
		assert_null(zk_table_find(&t, S("/x/app/d3/k3")));
		zk_table_free(&t);
	}
}

/* A directory may be removed before what is below it. */
static void a_node_outlives_its_directory(void **state)
{
	struct zk_table t = {0};
	struct zk_node *child, *dir;

	(void)state;
	child = zk_table_reach(&t, S("/r"), S("/r/d/c"));
	dir = zk_table_find(&t, S("/r/d"));
	zk_table_remove(&t, dir);
	assert_null(zk_table_find(&t, S("/r/d")));
	assert_ptr_equal(zk_table_find(&t, S("/r/d/c")), child);
	assert_non_null(zk_table_reach(&t, S("/r"), S("/r/d")));
	zk_table_remove(&t, child);
	assert_null(zk_table_find(&t, S("/r/d/c")));
	assert_int_equal(t.n, 2);
	zk_table_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(changes_come_by_index),
	    cmocka_unit_test(a_unit_is_told_as_one),
	    cmocka_unit_test(a_unit_of_nothing_moves_on),
	    cmocka_unit_test(a_huge_transaction_is_partial),
	    cmocka_unit_test(values_are_let_go_of),
	    cmocka_unit_test(hidden_keys_and_attrs),
	    cmocka_unit_test(dirty_ones_are_looked_at_once),
	    cmocka_unit_test(many_dirty_ones_are_found),
	    cmocka_unit_test(nodes_are_found_by_path),
	    cmocka_unit_test(a_node_outlives_its_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
