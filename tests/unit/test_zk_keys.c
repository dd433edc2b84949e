/* test_zk_keys.c: which keys can be znodes, which znodes are keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "store/zookeeper/zk_impl.h"

#define B(text) slice_of("" text "", sizeof(text) - 1)

struct world {
	struct uri uri;
	struct zk zk;
	struct store st;
	struct arena arena;
};

static void world_open(struct world *w, const char *prefix)
{
	memset(w, 0, sizeof *w);
	w->uri.prefix = (char *)(uintptr_t)prefix;
	w->uri.prefix_n = strlen(prefix);
	w->st.uri = &w->uri;
	w->st.impl = &w->zk;
}

static void names_that_the_server_refuses(void **state)
{
	const struct slice bad[] = {B("/"),
				    B("//"),
				    B("/a//b"),
				    B("/a/"),
				    B("/."),
				    B("/a/../b"),
				    B("/a/./b"),
				    B("/a\0b"),
				    B("/\x01"),
				    B("/a\x1f"),
				    B("/\x7f"),
				    B("/\xc2\x80"),
				    B("/\xc2\x9f"),
				    B("/\xff"),
				    B("/\xee\x80\x80"),
				    B("/\xef\xa3\xbf"),
				    B("/\xef\xbf\xb0"),
				    B("/\xf0\x9f\x94\x91"),
				    B("/\xed\xa0\x80"),
				    B("/\xef\xbf\xbd")};
	const struct slice good[] = {B("/a"),
				     B("/a b"),
				     B("/..."),
				     B("/.a"),
				     B("/a/b.c/-"),
				     B("/%2F"),
				     B("/~"),
				     B("/\xc2\xa0"),
				     B("/\xe6\x97\xa5"),
				     B("/\xef\xa4\x80"),
				     B("/\xef\xbf\xaf")};
	struct world w;
	struct kv_err err;
	size_t i;

	(void)state;
	world_open(&w, "/p");
	for (i = 0; i < KV_COUNT(bad); i++) {
		if (zk_check_key(&w.st, bad[i], &err) != KV_INVALID_KEY) {
			fail_msg("bad name %zu is let through", i);
		}
		assert_non_null(strstr(err.text, "it has"));
	}
	for (i = 0; i < KV_COUNT(good); i++) {
		if (zk_check_key(&w.st, good[i], &err) != KV_OK) {
			fail_msg("good name %zu: %s", i, err.text);
		}
	}
}

static void the_servers_own_are_no_keys(void **state)
{
	struct world w;
	struct kv_err err;

	(void)state;
	world_open(&w, "");
	assert_int_equal(zk_check_key(&w.st, B("/zookeeper"), &err),
			 KV_INVALID_KEY);
	assert_int_equal(zk_check_key(&w.st, B("/zookeeper/quota"), &err),
			 KV_INVALID_KEY);
	assert_int_equal(zk_check_key(&w.st, B("/zookeepers"), &err), KV_OK);
	world_open(&w, "/p");
	assert_int_equal(zk_check_key(&w.st, B("/zookeeper"), &err), KV_OK);
}

static void expect_path(struct world *w, const char *key, const char *path)
{
	struct slice p = zk_path(&w->st, &w->arena, slice_str(key));

	assert_true(slice_eq(p, slice_str(path)));
	assert_true(slice_eq(zk_key(&w->st, p), slice_str(key)));
}

static void a_key_and_its_path(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, "/p/q");
	expect_path(&w, "/a/b", "/p/q/a/b");
	expect_path(&w, "", "/p/q");
	assert_int_equal(zk_key(&w.st, B("/p/qq/a")).n, 0);
	assert_int_equal(zk_key(&w.st, B("/p")).n, 0);
	arena_free(&w.arena);
	world_open(&w, "");
	expect_path(&w, "/a", "/a");
	assert_true(slice_eq(zk_path(&w.st, &w.arena, slice_str("")), B("/")));
	assert_int_equal(zk_key(&w.st, B("/")).n, 0);
	arena_free(&w.arena);
}

static void what_data_makes_a_key(void **state)
{
	/* null, bytes, children: all, leaves, nonempty */
	static const struct {
		bool null;
		size_t n;
		int32_t children;
		bool is[3];
	} rows[] = {
	    {true, 0, 0, {true, true, false}},
	    {true, 0, 1, {false, false, false}},
	    {false, 0, 0, {true, true, false}},
	    {false, 0, 1, {true, false, false}},
	    {false, 1, 0, {true, true, true}},
	    {false, 1, 1, {true, false, true}},
	};
	struct world w;
	size_t i;
	int mode;

	(void)state;
	world_open(&w, "");
	for (i = 0; i < KV_COUNT(rows); i++) {
		struct zk_data d = {.null = rows[i].null,
				    .data = {(const uint8_t *)"x", rows[i].n},
				    .stat.num_children = rows[i].children};

		for (mode = 0; mode < 3; mode++) {
			w.zk.data = (enum zk_data_mode)mode;
			assert_int_equal(zk_is_key(&w.zk, &d),
					 rows[i].is[mode]);
		}
		w.zk.skip_ephemerals = true;
		w.zk.data = ZK_DATA_ALL;
		d.stat.ephemeral_owner = 5;
		assert_false(zk_is_key(&w.zk, &d));
		w.zk.skip_ephemerals = false;
		assert_int_equal(zk_is_key(&w.zk, &d), rows[i].is[0]);
	}
}

static void children_make_and_unmake_keys(void **state)
{
	struct zk_data d = {.stat = {.mzxid = 5, .pzxid = 9, .czxid = 3}};
	struct world w;

	(void)state;
	world_open(&w, "");
	assert_int_equal(zk_index(&w.zk, &d), 5);
	d.null = true;
	assert_int_equal(zk_index(&w.zk, &d), 9);
	d.null = false;
	w.zk.data = ZK_DATA_LEAVES;
	assert_int_equal(zk_index(&w.zk, &d), 9);
	d.stat.mzxid = 11;
	assert_int_equal(zk_index(&w.zk, &d), 11);
}

/* What cannot be read has the index that it will have when it can. */
static void a_hidden_key_has_its_index(void **state)
{
	struct zk_stat leaf = {.mzxid = 5, .pzxid = 9};
	struct zk_stat inner = {.mzxid = 5, .pzxid = 9, .num_children = 1};
	struct zk_stat full = {.mzxid = 5, .pzxid = 9, .data_length = 2};

	(void)state;
	assert_int_equal(zk_hidden_index(&leaf), 9);
	assert_int_equal(zk_hidden_index(&inner), 5);
	assert_int_equal(zk_hidden_index(&full), 5);
}

static void a_version_tells_znodes_apart(void **state)
{
	struct zk_stat a = {.version = 0, .czxid = 7};
	struct zk_stat b = {.version = 0, .czxid = 8};

	(void)state;
	assert_int_equal(zk_version(&a).a, 1);
	assert_false(store_version_eq(zk_version(&a), zk_version(&b)));
}

static void put_acl(struct jute_out *o, const char *scheme, const char *id,
		    int perms)
{
	jute_put_int(o, perms);
	jute_put_bytes(o, slice_str(scheme));
	jute_put_bytes(o, slice_str(id));
}

static void attrs_of_what_was_read(void **state)
{
	struct arena a = {0};
	struct jute_out open = {0}, own = {0};
	struct slice none = slice_of(NULL, 0), attrs, again;
	struct zk_attrs back;
	struct kv_err err;

	(void)state;
	jute_put_int(&open, 1);
	put_acl(&open, "world", "anyone", ZK_PERM_ALL);
	jute_put_int(&own, 1);
	put_acl(&own, "digest", "joe:x", ZK_PERM_READ);
	assert_int_equal(zk_attrs_of(&a, false, none, &attrs, &err), KV_OK);
	assert_int_equal(attrs.n, 0);
	assert_int_equal(
	    zk_attrs_of(&a, false, slice_of(open.p, open.n), &attrs, &err),
	    KV_OK);
	assert_int_equal(attrs.n, 0);
	assert_int_equal(
	    zk_attrs_of(&a, true, slice_of(own.p, own.n), &attrs, &err), KV_OK);
	assert_int_equal(zk_attrs_decode(&a, attrs, &back, &err), KV_OK);
	assert_true(back.null);
	assert_int_equal(back.n, 1);
	assert_true(slice_eq(back.acls[0].id, slice_str("joe:x")));
	assert_int_equal(
	    zk_attrs_of(&a, true, slice_of(own.p, own.n - 1), &again, &err),
	    KV_BROKEN);
	jute_out_free(&open);
	jute_out_free(&own);
	arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_that_the_server_refuses),
	    cmocka_unit_test(the_servers_own_are_no_keys),
	    cmocka_unit_test(a_key_and_its_path),
	    cmocka_unit_test(what_data_makes_a_key),
	    cmocka_unit_test(children_make_and_unmake_keys),
	    cmocka_unit_test(a_hidden_key_has_its_index),
	    cmocka_unit_test(a_version_tells_znodes_apart),
	    cmocka_unit_test(attrs_of_what_was_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
