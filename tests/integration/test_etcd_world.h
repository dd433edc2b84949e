/* test_etcd_world.h: what the tests of the etcd backend against real servers
 * share: one loop, calls that wait for their callback.
 *
 * A call's request lives on the stack of the one who waits for it; a failed
 * assertion therefore ends the process (abort), never the test alone.
 */
#ifndef KV_TEST_ETCD_WORLD_H
#define KV_TEST_ETCD_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "store/etcd/etcd.h"
#include "tests/fixtures/etcd_server.h"
#include "tests/lib/loop.h"

struct ew {
	struct test_loop loop;
	struct store_registry registry;
	struct etcd_server *server;
};

#define CHECK(cond)                                                      \
	do {                                                             \
		if (!(cond)) {                                           \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, \
				__LINE__, #cond);                        \
			abort();                                         \
		}                                                        \
	} while (0)

/* A status, with the error's text when it is another one. */
#define CHECK_STATUS(err, want)                                           \
	do {                                                              \
		if ((err).status != (want)) {                             \
			fprintf(stderr, "%s:%d: %s (%s), expected %s\n",  \
				__FILE__, __LINE__,                       \
				kv_status_name((err).status), (err).text, \
				#want);                                   \
			abort();                                          \
		}                                                         \
	} while (0)

#define CHECK_TEXT(err, part)                                            \
	do {                                                             \
		if (strstr((err).text, (part)) == NULL) {                \
			fprintf(stderr, "%s:%d: \"%s\" lacks \"%s\"\n",  \
				__FILE__, __LINE__, (err).text, (part)); \
			abort();                                         \
		}                                                        \
	} while (0)

static inline void ew_open(struct ew *w, const struct etcd_options *o)
{
	memset(w, 0, sizeof *w);
	(void)signal(SIGPIPE, SIG_IGN);
	test_loop_open(&w->loop);
	CHECK(store_register(&w->registry, &store_etcd_ops, NULL) == KV_OK);
	w->server = o == NULL ? NULL : etcd_server_start(o);
}

static inline void ew_close(struct ew *w)
{
	test_loop_close(&w->loop);
	store_registry_free(&w->registry);
	etcd_server_free(w->server);
}

static inline int ew_try_store(struct ew *w, struct store **out,
			       struct kv_err *err, const char *uri)
{
	memset(err, 0, sizeof *err);
	return store_open(&w->registry, w->loop.sched, uri, 0, out, err);
}

/* A store at `scheme://all nodes` followed by `tail`. */
static inline struct store *ew_store(struct ew *w, const char *scheme,
				     const char *tail)
{
	char uri[2048];
	struct kv_err err;
	struct store *st;

	(void)snprintf(uri, sizeof uri, "%s://%s%s", scheme,
		       etcd_server_endpoints(w->server), tail);
	if (ew_try_store(w, &st, &err, uri) != KV_OK) {
		fprintf(stderr, "%s: %s\n", uri, err.text);
		abort();
	}
	return st;
}

static inline void ew_closed_cb(void *ctx)
{
	*(bool *)ctx = true;
}

static inline void ew_shut(struct ew *w, struct store *st)
{
	bool closed = false;

	store_close(st, ew_closed_cb, &closed);
	test_loop_until(&w->loop, &closed);
}

/* ---- calls that wait ----------------------------------------------------- */

static inline void ew_single_cb(struct store_single *req)
{
	*(bool *)req->data = true;
}

typedef int (*ew_single_fn)(struct store *st, struct store_single *req);

/* The request as it came back; free it with store_single_free. */
static inline struct store_single ew_single(struct ew *w, struct store *st,
					    ew_single_fn fn, const char *key,
					    struct slice value)
{
	bool done = false;
	struct store_single req = {.key = slice_str(key),
				   .value = value,
				   .cb = ew_single_cb,
				   .data = &done};

	if (fn(st, &req) == KV_OK) {
		test_loop_until(&w->loop, &done);
	}
	return req;
}

static inline struct kv_err ew_put(struct ew *w, struct store *st,
				   const char *key, struct slice value)
{
	struct store_single req = ew_single(w, st, store_put, key, value);

	store_single_free(&req);
	return req.err;
}

static inline struct kv_err ew_get(struct ew *w, struct store *st,
				   const char *key)
{
	struct store_single req =
	    ew_single(w, st, store_get, key, slice_str(""));

	store_single_free(&req);
	return req.err;
}

static inline struct kv_err ew_delete(struct ew *w, struct store *st,
				      const char *key)
{
	struct store_single req =
	    ew_single(w, st, store_delete, key, slice_str(""));

	store_single_free(&req);
	return req.err;
}

static inline void ew_scan_cb(struct store_scan *req)
{
	*(bool *)req->data = true;
}

/* Fill the [in] fields of req; afterwards err and page are set. */
static inline void ew_scan(struct ew *w, struct store *st,
			   struct store_scan *req)
{
	bool done = false;

	req->cb = ew_scan_cb;
	req->data = &done;
	if (store_scan(st, req) == KV_OK) {
		test_loop_until(&w->loop, &done);
	}
}

static inline void ew_write_cb(struct store_write *req)
{
	*(bool *)req->data = true;
}

static inline void ew_write(struct ew *w, struct store *st,
			    struct store_write *req, struct store_op *ops,
			    size_t n)
{
	bool done = false;

	req->ops = ops;
	req->n_ops = n;
	req->cb = ew_write_cb;
	req->data = &done;
	if (store_write(st, req) == KV_OK) {
		test_loop_until(&w->loop, &done);
	}
}

/* n puts under dir; keys and values live in the arena. */
static inline struct store_op *ew_ops(struct arena *a, const char *dir,
				      size_t from, size_t n, size_t value_n)
{
	struct store_op *ops = arena_alloc(a, n * sizeof *ops);
	uint8_t *value = arena_alloc(a, value_n + 1);
	char key[128];
	size_t i;

	CHECK(ops != NULL && value != NULL);
	memset(value, 'v', value_n + 1);
	memset(ops, 0, n * sizeof *ops);
	for (i = 0; i < n; i++) {
		(void)snprintf(key, sizeof key, "%s/k%06zu", dir, from + i);
		ops[i].kind = STORE_OP_PUT;
		ops[i].key = slice_dup(a, slice_str(key));
		ops[i].value = slice_of(value, value_n);
	}
	return ops;
}

/* total keys, in writes of as many as one takes. */
static inline void ew_fill(struct ew *w, struct store *st, const char *dir,
			   size_t total, size_t value_n)
{
	struct arena a = {0};
	size_t at = 0, n;

	while (at < total) {
		struct store_write req = {.epoch = 0};

		n = KV_MIN(total - at, store_capabilities(st)->max_ops);
		n = KV_MIN(n, KV_MAX(store_capabilities(st)->max_bytes /
					 (value_n + 100),
				     (size_t)1));
		ew_write(w, st, &req, ew_ops(&a, dir, at, n, value_n), n);
		CHECK_STATUS(req.err, KV_OK);
		arena_reset(&a);
		at += n;
	}
	arena_free(&a);
}

static inline void ew_next_cb(struct store_next *req)
{
	*(bool *)req->data = true;
}

/* One pull; the batch is the caller's. */
static inline struct store_batch *ew_next(struct ew *w, struct store_watch *wa,
					  uint64_t want, struct kv_err *err)
{
	bool done = false;
	struct store_next req = {.want = want, .cb = ew_next_cb, .data = &done};

	if (store_watch_next(wa, &req) == KV_OK) {
		test_loop_until(&w->loop, &done);
	}
	*err = req.err;
	return req.batch;
}

static inline struct store_watch *ew_watch(struct store *st, const char *dir,
					   uint64_t after)
{
	struct store_watch_params p = {.dir = slice_str(dir), .after = after};
	struct store_watch *wa = store_watch_open(st, &p);

	CHECK(wa != NULL);
	return wa;
}

/* Opens a watch and pulls its first batch; the index it goes on from. */
static inline struct store_watch *ew_watch_now(struct ew *w, struct store *st,
					       const char *dir, uint64_t after,
					       uint64_t *index)
{
	struct store_watch *wa = ew_watch(st, dir, after);
	struct kv_err err;
	struct store_batch *b = ew_next(w, wa, 0, &err);

	CHECK_STATUS(err, KV_OK);
	CHECK(b->init);
	*index = b->index;
	store_batch_free(b);
	return wa;
}

/* A watch that ends at its first pull: with which error. */
static inline struct kv_err ew_watch_err(struct ew *w, struct store *st,
					 const char *dir, uint64_t after)
{
	struct store_watch *wa = ew_watch(st, dir, after);
	struct kv_err err;
	struct store_batch *b = ew_next(w, wa, 0, &err);

	store_batch_free(b);
	store_watch_close(wa);
	return err;
}

/* Runs the loop that many milliseconds: for what takes time at the server. */
static inline void ew_timer_cb(uv_timer_t *t)
{
	*(bool *)t->data = true;
}

static inline void ew_run_ms(struct ew *w, unsigned ms)
{
	bool done = false;
	uv_timer_t t;

	CHECK(uv_timer_init(&w->loop.uv, &t) == 0);
	t.data = &done;
	CHECK(uv_timer_start(&t, ew_timer_cb, ms, 0) == 0);
	test_loop_until(&w->loop, &done);
	uv_close((uv_handle_t *)&t, NULL);
	test_loop_turns(&w->loop, 2);
}

#endif /* KV_TEST_ETCD_WORLD_H */
