/* test_sqlite_world.h: what the tests of the embedded store share: a file in a
 * directory of its own, a person's plain connection to it, and every store
 * call as one that waits for its callback. */
#ifndef KV_TEST_SQLITE_WORLD_H
#define KV_TEST_SQLITE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/sqlite/sqlite.h"
#include "tests/lib/loop.h"

struct world {
	struct test_loop loop;
	struct store_registry registry;
	char dir[64];
	char path[96];
	struct store *st;
	struct kv_err err; /* of the last call */
};

KV_UNUSED static void world_set_up(struct world *w)
{
	memset(w, 0, sizeof *w);
	test_loop_open(&w->loop);
	assert_int_equal(
	    store_register(&w->registry, &store_sqlite_ops, &w->err), KV_OK);
	(void)snprintf(w->dir, sizeof w->dir, "/tmp/kvmirror-sqlite-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	(void)snprintf(w->path, sizeof w->path, "%s/a.db", w->dir);
}

/* Options begin with '?' or are "". */
KV_UNUSED static int world_try_open(struct world *w, const char *options,
				    unsigned flags)
{
	char uri[256];

	(void)snprintf(uri, sizeof uri, "sqlite:%s%s", w->path, options);
	return store_open(&w->registry, w->loop.sched, uri, flags, &w->st,
			  &w->err);
}

KV_UNUSED static void world_open(struct world *w, const char *options)
{
	if (world_try_open(w, options, STORE_CREATE) != KV_OK) {
		fail_msg("%s", w->err.text);
	}
}

KV_UNUSED static void set_flag(void *ctx)
{
	*(bool *)ctx = true;
}

KV_UNUSED static void world_close(struct world *w)
{
	bool closed = false;

	if (w->st == NULL) {
		return;
	}
	store_close(w->st, set_flag, &closed);
	test_loop_until(&w->loop, &closed);
	w->st = NULL;
}

KV_UNUSED static void world_tear_down(struct world *w)
{
	char command[128];

	world_close(w);
	store_registry_free(&w->registry);
	test_loop_close(&w->loop);
	(void)snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
	assert_int_equal(system(command), 0);
}

/* ---- store calls ---------------------------------------------------------*/

KV_UNUSED static void scan_done(struct store_scan *req)
{
	*(bool *)req->data = true;
}

/* The page is the caller's; NULL: w->err says why. */
KV_UNUSED static struct store_page *world_scan(struct world *w,
					       struct store_scan *req)
{
	bool done = false;

	req->cb = scan_done;
	req->data = &done;
	if (store_scan(w->st, req) == KV_OK) {
		test_loop_until(&w->loop, &done);
	}
	w->err = req->err;
	return req->page;
}

KV_UNUSED static void write_done(struct store_write *req)
{
	*(bool *)req->data = true;
}

KV_UNUSED static int world_write(struct world *w, struct store_write *req)
{
	bool done = false;

	req->cb = write_done;
	req->data = &done;
	if (store_write(w->st, req) == KV_OK) {
		test_loop_until(&w->loop, &done);
	}
	w->err = req->err;
	return req->err.status;
}

KV_UNUSED static int world_op(struct world *w, struct store_op *op)
{
	struct store_write req = {.ops = op, .n_ops = 1};

	return world_write(w, &req);
}

KV_UNUSED static struct store_op op_put(const char *key, const char *value)
{
	return (struct store_op){.kind = STORE_OP_PUT,
				 .key = slice_str(key),
				 .value = slice_str(value)};
}

KV_UNUSED static struct store_op op_delete(const char *key)
{
	return (struct store_op){.kind = STORE_OP_DELETE,
				 .key = slice_str(key)};
}

/* Returns the key's new version. */
KV_UNUSED static uint64_t world_put(struct world *w, const char *key,
				    const char *value)
{
	struct store_op op = op_put(key, value);

	if (world_op(w, &op) != KV_OK) {
		fail_msg("put: %s", w->err.text);
	}
	return op.version.a;
}

KV_UNUSED static uint64_t world_delete(struct world *w, const char *key)
{
	struct store_op op = op_delete(key);

	if (world_op(w, &op) != KV_OK || op.status != KV_OK) {
		fail_msg("delete: %s", w->err.text);
	}
	return op.index;
}

/* "/a=1 /b=2": the whole tree, or what is below dir, as text. */
KV_UNUSED static const char *world_tree(struct world *w, const char *dir,
					char *buf, size_t cap)
{
	struct store_scan req = {.dir = slice_str(dir)};
	struct store_page *page = world_scan(w, &req);
	size_t n = 0;

	buf[0] = '\0';
	if (page == NULL) {
		fail_msg("scan: %s", w->err.text);
		return buf;
	}
	assert_false(page->more);
	for (size_t i = 0; i < page->n; i++) {
		char k[128], v[128];

		n += (size_t)snprintf(
		    buf + n, cap - n, "%s%s=%s", i == 0 ? "" : " ",
		    slice_print(page->pairs[i].key, k, sizeof k),
		    slice_print(page->pairs[i].value, v, sizeof v));
		assert_true(n < cap);
	}
	store_page_free(page);
	return buf;
}

#define assert_tree(w, expected)                                             \
	do {                                                                 \
		char tree_buf[4096];                                         \
		assert_string_equal(                                         \
		    world_tree(w, "", tree_buf, sizeof tree_buf), expected); \
	} while (0)

/* ---- watches -------------------------------------------------------------*/

struct puller {
	struct store_watch *watch;
	struct store_next next;
	bool done;
	struct store_batch *batch; /* of the last answer */
};

KV_UNUSED static void next_done(struct store_next *req)
{
	struct puller *p = req->data;

	p->batch = req->batch;
	p->done = true;
}

KV_UNUSED static void puller_open(struct world *w, struct puller *p,
				  const char *dir, const char *key,
				  uint64_t after)
{
	struct store_watch_params params = {
	    .dir = slice_str(dir), .key = slice_str(key), .after = after};

	memset(p, 0, sizeof *p);
	p->watch = store_watch_open(w->st, &params);
	assert_non_null(p->watch);
}

/* Asks, and does not wait. */
KV_UNUSED static void puller_ask(struct puller *p, uint64_t want)
{
	store_batch_free(p->batch);
	p->batch = NULL;
	memset(&p->next, 0, sizeof p->next);
	p->next.cb = next_done;
	p->next.data = p;
	p->next.want = want;
	p->done = false;
	if (store_watch_next(p->watch, &p->next) != KV_OK) {
		fail_msg("next: %s", p->next.err.text);
	}
}

/* Waits for the answer; returns its status. */
KV_UNUSED static int puller_wait(struct world *w, struct puller *p)
{
	test_loop_until(&w->loop, &p->done);
	w->err = p->next.err;
	return p->next.err.status;
}

KV_UNUSED static struct store_batch *puller_next(struct world *w,
						 struct puller *p)
{
	puller_ask(p, 0);
	if (puller_wait(w, p) != KV_OK) {
		fail_msg("next: %s", w->err.text);
	}
	return p->batch;
}

/* Opens a watch and takes its first answer. */
KV_UNUSED static void puller_start(struct world *w, struct puller *p,
				   const char *dir, uint64_t after)
{
	puller_open(w, p, dir, "", after);
	assert_true(puller_next(w, p)->init);
}

KV_UNUSED static void puller_close(struct world *w, struct puller *p)
{
	if (p->watch != NULL) {
		store_watch_close(p->watch);
		p->watch = NULL;
	}
	if (p->next.cb != NULL && !p->done) {
		test_loop_until(&w->loop, &p->done);
	}
	store_batch_free(p->batch);
	p->batch = NULL;
}

/* "/a=1 -/b": a batch's changes as text. */
KV_UNUSED static const char *batch_text(const struct store_batch *b, char *buf,
					size_t cap)
{
	size_t n = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < b->n; i++) {
		const struct store_change *c = &b->changes[i];
		char k[128], v[128];

		(void)slice_print(c->key, k, sizeof k);
		(void)slice_print(c->value, v, sizeof v);
		n += (size_t)(c->action == STORE_DELETE
				  ? snprintf(buf + n, cap - n, "%s-%s",
					     i == 0 ? "" : " ", k)
				  : snprintf(buf + n, cap - n, "%s%s=%s",
					     i == 0 ? "" : " ", k, v));
		assert_true(n < cap);
	}
	return buf;
}

/* The next batch, which must be told without `partial`. */
#define assert_next(w, p, expected)                                          \
	do {                                                                 \
		char batch_buf[4096];                                        \
		assert_string_equal(batch_text(puller_next(w, p), batch_buf, \
					       sizeof batch_buf),            \
				    expected);                               \
		assert_false((p)->batch->partial);                           \
	} while (0)

/* ---- a person ------------------------------------------------------------*/

KV_UNUSED static sqlite3 *plain_open(const char *path)
{
	sqlite3 *h;

	assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
	(void)sqlite3_busy_timeout(h, 10000);
	return h;
}

KV_UNUSED static int plain_try(sqlite3 *h, const char *sql)
{
	return sqlite3_exec(h, sql, NULL, NULL, NULL);
}

KV_UNUSED static void plain_exec(sqlite3 *h, const char *sql)
{
	if (plain_try(h, sql) != SQLITE_OK) {
		fail_msg("%s: %s", sql, sqlite3_errmsg(h));
	}
}

KV_UNUSED static int64_t plain_int(sqlite3 *h, const char *sql)
{
	sqlite3_stmt *s;
	int64_t x;

	if (sqlite3_prepare_v2(h, sql, -1, &s, NULL) != SQLITE_OK ||
	    sqlite3_step(s) != SQLITE_ROW) {
		fail_msg("%s: %s", sql, sqlite3_errmsg(h));
		return 0;
	}
	x = sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s);
	return x;
}

/* A session of the sqlite3 program. */
KV_UNUSED static void shell(const struct world *w, const char *sql)
{
	char command[128];
	FILE *f;

	(void)snprintf(command, sizeof command, "sqlite3 -bail '%s'", w->path);
	f = popen(command, "w");
	assert_non_null(f);
	assert_true(fputs(sql, f) >= 0);
	assert_int_equal(pclose(f), 0);
}

#endif /* KV_TEST_SQLITE_WORLD_H */
