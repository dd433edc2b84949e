/* When two texts of a route's stores mean the same route. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "agent/fingerprint.h"
#include "store/etcd/etcd.h"
#include "store/sqlite/sqlite.h"
#include "tests/lib/loop.h"

struct world {
	struct test_loop loop;
	struct store_registry registry;
};

static int set_up(void **state)
{
	struct world *w = kv_calloc(1, sizeof *w);
	struct kv_err err;

	test_loop_open(&w->loop);
	assert_int_equal(store_register(&w->registry, &store_sqlite_ops, &err),
			 KV_OK);
	assert_int_equal(store_register(&w->registry, &store_etcd_ops, &err),
			 KV_OK);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	test_loop_close(&w->loop);
	store_registry_free(&w->registry);
	kv_free(w);
	return 0;
}

/* The text of a route between two URIs. */
static char *stores_text(struct world *w, const char *source,
			 const char *target)
{
	struct conf_route conf;
	struct store *stores[2];
	struct kv_err err;
	char *text, *filters;

	conf_route_init(&conf);
	assert_int_equal(store_open(&w->registry, w->loop.sched, source,
				    STORE_CREATE, &stores[0], &err),
			 KV_OK);
	assert_int_equal(store_open(&w->registry, w->loop.sched, target,
				    STORE_CREATE, &stores[1], &err),
			 KV_OK);
	assert_int_equal(route_fingerprint(&conf, stores[0], stores[1], &text,
					   &filters, &err),
			 KV_OK);
	store_close(stores[0], NULL, NULL);
	store_close(stores[1], NULL, NULL);
	kv_free(filters);
	conf_route_clear(&conf);
	return text;
}

struct pair_case {
	const char *source, *target;	 /* as saved */
	const char *source_b, *target_b; /* now */
	bool same;
};

static const struct pair_case table[] = {
    {"etcd://a:1/x", "etcd://b:1/y", "etcd://a:1/x", "etcd://b:1/y", true},
    {"etcd://a:1,c:1/x", "etcd://b:1", "etcd://c:1,a:1/x", "etcd://b:1", true},
    {"etcd://a:1,c:1/x", "etcd://b:1", "etcd://c:1,d:1/x", "etcd://b:1", true},
    {"etcd://localhost:1", "etcd://b:1", "etcd://127.0.0.1:1", "etcd://b:1",
     true},
    {"etcd://a:1/x", "etcd://b:1", "etcd://d:1/x", "etcd://b:1", false},
    {"etcd://a:1/x", "etcd://b:1", "etcd://a:1/z", "etcd://b:1", false},
    {"etcd://a:1/x", "etcd://b:1", "etcd://a:1/x", "etcd://c:1", false},
    {"etcd://a:1", "etcd://b:1", "etcd://b:1", "etcd://a:1", false},
    {"etcd://a:1", "etcd://b:1?raw_prefix=q", "etcd://a:1", "etcd://b:1",
     false},
    {"sqlite:/tmp/a.db", "etcd://b:1", "sqlite:/tmp/a.db", "etcd://b:1", true},
    {"sqlite:/tmp/a.db", "etcd://b:1", "sqlite:/tmp/c.db", "etcd://b:1", false},
    {"sqlite:/tmp/a.db", "etcd://b:1", "etcd://b:1", "etcd://b:1", false},
};

static void test_table(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < KV_COUNT(table); i++) {
		const struct pair_case *c = &table[i];
		char *saved = stores_text(w, c->source, c->target);
		char *now = stores_text(w, c->source_b, c->target_b);

		if (fingerprint_same(slice_str(saved), slice_str(now)) !=
		    c->same) {
			fail_msg("%s, %s and %s, %s", c->source, c->target,
				 c->source_b, c->target_b);
		}
		kv_free(saved);
		kv_free(now);
	}
}

/* Text that is cut or damaged is another route's, whatever stands there. */
static void test_damaged(void **state)
{
	char *text = stores_text(*state, "etcd://a:1,b:1/x", "etcd://c:1");
	struct slice whole = slice_str(text);

	for (size_t n = 0; n < whole.n; n++) {
		assert_false(fingerprint_same(slice_of(text, n), whole));
	}
	assert_false(
	    fingerprint_same(slice_str("99999999999999999999:x"), whole));
	assert_true(fingerprint_same(whole, whole));
	kv_free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_table, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_damaged, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
