/* test_sqlite_sweep.c: any one allocation of ours may fail at any place: no
 * leak, no crash, KV_NO_MEMORY or a way around; and a write whose answer was
 * "no memory" was not done. (SQLite's own memory is not ours to fail.) */
#include "tests/lib/sweep.h"
#include "tests/unit/test_sqlite_world.h"

struct outcome {
	bool done;
	int status;
};

static void note(struct outcome *o, int status)
{
	o->done = true;
	o->status = status;
}

static void scan_cb(struct store_scan *req)
{
	note(req->data, req->err.status);
	store_page_free(req->page);
}

static void write_cb(struct store_write *req)
{
	note(req->data, req->err.status);
}

static void next_cb(struct store_next *req)
{
	note(req->data, req->err.status);
	store_batch_free(req->batch);
}

/* The first failure is the result. */
static void keep_first(int *rv, int status)
{
	if (*rv == KV_OK) {
		*rv = status;
	}
}

static int wait_for(struct test_loop *l, struct outcome *o, int submitted)
{
	if (submitted != KV_OK) {
		return submitted;
	}
	test_loop_until(l, &o->done);
	return o->status;
}

static int do_write(struct test_loop *l, struct store *st)
{
	struct store_op ops[2] = {op_put("/a", "1"), op_put("/b", "2")};
	struct outcome o = {false, KV_OK};
	struct store_write req = {
	    .ops = ops, .n_ops = 2, .cb = write_cb, .data = &o};

	return wait_for(l, &o, store_write(st, &req));
}

static int do_scan(struct test_loop *l, struct store *st, bool keys)
{
	struct slice names[1] = {slice_str("/a")};
	struct outcome o = {false, KV_OK};
	struct store_scan req = {.cb = scan_cb, .data = &o};

	if (keys) {
		req.keys = names;
		req.n_keys = 1;
	}
	return wait_for(l, &o, store_scan(st, &req));
}

static int do_watch(struct test_loop *l, struct store *st)
{
	struct store_watch_params params = {.after = 1};
	struct store_watch *w = store_watch_open(st, &params);
	int rv = w == NULL ? KV_NO_MEMORY : KV_OK;

	for (int i = 0; i < 2 && rv == KV_OK; i++) {
		struct outcome o = {false, KV_OK};
		struct store_next req = {.cb = next_cb, .data = &o};

		rv = wait_for(l, &o, store_watch_next(w, &req));
		if (i == 0 && rv == KV_OK) {
			rv = do_write(l, st);
		}
	}
	if (w != NULL) {
		store_watch_close(w);
	}
	return rv;
}

static int do_all(struct test_loop *l, const char *path)
{
	struct store_registry registry = {0};
	struct kv_err err = {0};
	struct store *st = NULL;
	bool closed = false;
	char uri[128];
	int rv;

	(void)snprintf(uri, sizeof uri, "sqlite:%s?prefix=/p", path);
	rv = store_register(&registry, &store_sqlite_ops, &err);
	if (rv == KV_OK) {
		rv = store_open(&registry, l->sched, uri, STORE_CREATE, &st,
				&err);
	}
	if (rv == KV_OK) {
		keep_first(&rv, do_write(l, st));
		keep_first(&rv, do_scan(l, st, false));
		keep_first(&rv, do_scan(l, st, true));
		keep_first(&rv, do_watch(l, st));
		store_close(st, set_flag, &closed);
		test_loop_until(l, &closed);
	}
	store_registry_free(&registry);
	return rv;
}

static int one_run(void *ctx)
{
	struct test_loop l;
	int rv = KV_NO_MEMORY;

	test_loop_open(&l);
	if (l.sched != NULL) {
		rv = do_all(&l, ctx);
	}
	test_loop_close(&l);
	return rv;
}

static void sweep(void **state)
{
	struct world w;

	(void)state;
	world_set_up(&w);
	assert_true(sweep_run(one_run, w.path) > 20);
	world_tear_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(sweep)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
