/* test_store_attrs.c: what a backend keeps beside a value: told and written
 * with STORE_ATTRS, and only then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "store/store.h"
#include "tests/lib/loop.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sweep.h"

struct world {
	struct test_loop loop;
	struct store_registry registry;
	struct store *st;
	bool closed;
};

static void note_closed(void *ctx)
{
	((struct world *)ctx)->closed = true;
}

static struct world *open_world(unsigned flags)
{
	struct world *w = calloc(1, sizeof *w);
	struct kv_err err = {0};

	sweep_begin();
	test_loop_open(&w->loop);
	assert_int_equal(store_register(&w->registry, &mem_ops, &err), KV_OK);
	assert_int_equal(store_register(&w->registry, &mem_plain_ops, &err),
			 KV_OK);
	assert_int_equal(store_open(&w->registry, w->loop.sched, "mem:a", flags,
				    &w->st, &err),
			 KV_OK);
	return w;
}

static int setup(void **state)
{
	*state = open_world(STORE_ATTRS);
	return 0;
}

static int setup_without(void **state)
{
	*state = open_world(0);
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	store_close(w->st, note_closed, w);
	test_loop_until(&w->loop, &w->closed);
	test_loop_close(&w->loop);
	store_registry_free(&w->registry);
	sweep_end();
	free(w);
	return 0;
}

static void single_cb(struct store_single *req)
{
	*(bool *)req->data = true;
}

static int run(struct world *w, struct store_single *req,
	       int (*call)(struct store *st, struct store_single *req))
{
	bool done = false;
	int rv;

	req->cb = single_cb;
	req->data = &done;
	rv = call(w->st, req);
	if (rv != KV_OK) {
		return rv;
	}
	test_loop_until(&w->loop, &done);
	return req->err.status;
}

static void scan_cb(struct store_scan *req)
{
	*(bool *)req->data = true;
}

static void read_page(struct world *w, struct store_scan *req,
		      int (*call)(struct store *st, struct store_scan *req))
{
	bool done = false;

	req->cb = scan_cb;
	req->data = &done;
	assert_int_equal(call(w->st, req), KV_OK);
	test_loop_until(&w->loop, &done);
	assert_int_equal(req->err.status, KV_OK);
}

static bool is(struct slice s, const char *text)
{
	return slice_eq(s, slice_str(text));
}

static void a_put_sets_both(void **state)
{
	struct world *w = *state;
	struct store_single req = {.key = slice_str("/a"),
				   .value = slice_str("1"),
				   .attrs = slice_str("red")};

	assert_int_equal(run(w, &req, store_put), KV_OK);
	assert_int_equal(run(w, &req, store_get), KV_OK);
	assert_true(is(req.pair.value, "1"));
	assert_true(is(req.pair.attrs, "red"));
	/* Names alone have none. */
	assert_int_equal(run(w, &req, store_exists), KV_OK);
	assert_int_equal(req.pair.attrs.n, 0);
	/* None given: the defaults, whatever there was. */
	req.attrs = slice_of(NULL, 0);
	assert_int_equal(run(w, &req, store_put), KV_OK);
	assert_int_equal(run(w, &req, store_get), KV_OK);
	assert_int_equal(req.pair.attrs.n, 0);
	store_single_free(&req);
}

static void trees_tell_them(void **state)
{
	struct world *w = *state;
	struct store_scan req = {.dir = slice_str("/d"), .limit = 10};

	mem_put_attrs(w->st, "/d", "1", "red");
	mem_put_attrs(w->st, "/d/x", "2", "");
	mem_put_attrs(w->st, "/d/y", "3", "blue");
	read_page(w, &req, store_get_tree);
	assert_int_equal(req.page->n, 3);
	assert_true(is(req.page->pairs[0].attrs, "red"));
	assert_int_equal(req.page->pairs[1].attrs.n, 0);
	assert_true(is(req.page->pairs[2].attrs, "blue"));
	store_page_free(req.page);
	read_page(w, &req, store_list);
	assert_int_equal(req.page->n, 2);
	assert_int_equal(req.page->pairs[1].attrs.n, 0);
	store_page_free(req.page);
}

static void next_cb(struct store_next *req)
{
	*(bool *)req->data = true;
}

static struct store_batch *pull(struct world *w, struct store_watch *watch)
{
	bool done = false;
	struct store_next req = {.cb = next_cb, .data = &done};

	assert_int_equal(store_watch_next(watch, &req), KV_OK);
	test_loop_until(&w->loop, &done);
	assert_int_equal(req.err.status, KV_OK);
	return req.batch;
}

static void changes_tell_them(void **state)
{
	struct world *w = *state;
	struct store_watch_params p = {.after = 0};
	struct store_watch *watch = store_watch_open(w->st, &p);
	struct store_batch *b;

	assert_non_null(watch);
	store_batch_free(pull(w, watch));
	mem_put_attrs(w->st, "/a", "1", "red");
	b = pull(w, watch);
	assert_int_equal(b->n, 1);
	assert_true(is(b->changes[0].attrs, "red"));
	store_batch_free(b);
	store_watch_close(watch);
}

static void write_cb(struct store_write *req KV_UNUSED)
{
	fail_msg("a write that was refused was called back");
}

static void limits_count_them(void **state)
{
	struct world *w = *state;
	char many[40] = {0};
	struct kv_err err = {0};
	struct store_op ops[2] = {
	    {.key = slice_str("/a"), .attrs = slice_of(many, sizeof many)},
	    {.key = slice_str("/b"), .attrs = slice_of(many, sizeof many)}};
	struct store_write req = {.ops = ops, .n_ops = 2, .cb = write_cb};

	/* 64 bytes a write, 32 of a value. */
	assert_int_equal(
	    store_check_attrs(w->st, slice_str("/a"), 32, 30, &err), KV_OK);
	assert_int_equal(
	    store_check_attrs(w->st, slice_str("/a"), 32, 31, &err),
	    KV_TOO_LARGE);
	assert_int_equal(store_check_attrs(w->st, slice_str("/a"), 0, 33, &err),
			 KV_OK);
	assert_int_equal(store_write(w->st, &req), KV_TOO_LARGE);
}

static void none_without_the_flag(void **state)
{
	struct world *w = *state;
	struct store_single req = {.key = slice_str("/a"),
				   .value = slice_str("1"),
				   .attrs = slice_str("red")};

	assert_int_equal(run(w, &req, store_put), KV_BAD_ARGUMENT);
	assert_non_null(strstr(req.err.text, "/a has attrs"));
	assert_false(mem_has(w->st, "/a"));
	mem_put_attrs(w->st, "/a", "1", "red");
	assert_int_equal(run(w, &req, store_get), KV_OK);
	assert_int_equal(req.pair.attrs.n, 0);
	store_single_free(&req);
}

static void backends_without_attrs_clear_the_flag(void **state)
{
	struct world *w = *state;
	struct kv_err err = {0};
	struct store *plain;

	assert_int_equal(store_open(&w->registry, w->loop.sched, "plain:x",
				    STORE_ATTRS | STORE_CREATE, &plain, &err),
			 KV_OK);
	assert_int_equal(plain->flags, STORE_CREATE);
	store_close(plain, NULL, NULL);
}

static unsigned flag_of(struct world *w, const char *a, const char *b)
{
	unsigned flag = 77;

	assert_int_equal(store_attrs_flag(&w->registry, a, b, &flag, NULL),
			 KV_OK);
	return flag;
}

static void both_ends_of_one_backend(void **state)
{
	struct world *w = *state;
	unsigned flag;

	assert_int_equal(flag_of(w, "mem:a", "mems:b?prefix=/p"), STORE_ATTRS);
	assert_int_equal(flag_of(w, "mem:a?speed=1", "mem:b"), STORE_ATTRS);
	assert_int_equal(flag_of(w, "mem:a", "plain:b"), 0);
	assert_int_equal(flag_of(w, "mem:a", "plain:b?speed=2"), 0);
	assert_int_equal(flag_of(w, "plain:a", "plain:b"), 0);
	assert_int_equal(flag_of(w, "other:a", "other:b"), 0);
	assert_int_equal(
	    store_attrs_flag(&w->registry, "mem:a", "", &flag, NULL),
	    KV_BAD_ARGUMENT);
}

/* One end would keep what the other does not. */
static void ends_that_disagree(void **state)
{
	struct world *w = *state;
	struct kv_err err = {0};
	unsigned flag = 77;

	assert_int_equal(store_attrs_flag(&w->registry, "mem:a?speed=2",
					  "mem:b", &flag, &err),
			 KV_BAD_ARGUMENT);
	assert_int_equal(flag, 0);
	assert_non_null(strstr(err.text, "speed is 2 at one end and 1"));
	assert_int_equal(store_attrs_flag(&w->registry, "mem:a",
					  "mem:b?raw_prefix=x", &flag, &err),
			 KV_BAD_ARGUMENT);
	assert_non_null(strstr(err.text, "not set at one end"));
}

/* ---- memory ------------------------------------------------------------- */

static int ask_flag(void *ctx)
{
	struct world *w = ctx;
	unsigned flag;

	return store_attrs_flag(&w->registry, "mem:a", "mem:b", &flag, NULL);
}

static int copy_attrs(void *ctx KV_UNUSED)
{
	struct store_page *page = store_page_new();
	struct store_pair *pair;
	size_t cap = 0;
	int rv = KV_NO_MEMORY;

	if (page == NULL) {
		return rv;
	}
	pair = store_page_add(page, &cap, slice_str("/a"), slice_str("1"));
	if (pair != NULL &&
	    store_attrs_set(&page->arena, &pair->attrs, slice_str("red"))) {
		rv = KV_OK;
	}
	store_page_free(page);
	return rv;
}

static void out_of_memory_anywhere(void **state)
{
	assert_true(sweep_run(ask_flag, *state) > 1);
	assert_true(sweep_run(copy_attrs, NULL) > 1);
}

int main(void)
{
#define T(f, s) cmocka_unit_test_setup_teardown(f, s, teardown)
	const struct CMUnitTest tests[] = {
	    T(a_put_sets_both, setup),
	    T(trees_tell_them, setup),
	    T(changes_tell_them, setup),
	    T(limits_count_them, setup),
	    T(none_without_the_flag, setup_without),
	    T(backends_without_attrs_clear_the_flag, setup),
	    T(both_ends_of_one_backend, setup),
	    T(ends_that_disagree, setup),
	    T(out_of_memory_anywhere, setup),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
