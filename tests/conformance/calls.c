/* calls.c: every store call as one that is counted and can be waited for, and
 * the assertions that tests make of the answers; see suite.h. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/conformance/suite.h"

enum { WAIT_MS = 30000 };

/* ---- submitting ----------------------------------------------------------*/

static void note_callback(struct call *c, const struct kv_err *err)
{
	c->early |= c->inside;
	c->called++;
	c->status = err->status;
	c->err = err;
	if (c->kind == CALL_WRITE || c->kind == CALL_SINGLE) {
		known_note(c);
	}
	if (c->hook != NULL) {
		c->hook(c);
	}
}

static void on_scan(struct store_scan *req)
{
	note_callback(req->data, &req->err);
}

static void on_write(struct store_write *req)
{
	note_callback(req->data, &req->err);
}

static void on_single(struct store_single *req)
{
	note_callback(req->data, &req->err);
}

static void on_next(struct store_next *req)
{
	note_callback(req->data, &req->err);
}

static void on_lock(struct store_lock_req *req)
{
	note_callback(req->data, &req->err);
}

struct call *call_new(struct world *w, struct store *st, int kind)
{
	struct call *c = calloc(1, sizeof *c);

	assert_non_null(c);
	list_init(&c->link);
	c->w = w;
	c->st = st;
	switch (kind) {
	case CALL_SCAN:
		c->kind = CALL_SCAN;
		c->u.scan.cb = on_scan;
		c->u.scan.data = c;
		c->err = &c->u.scan.err;
		break;
	case CALL_WRITE:
		c->kind = CALL_WRITE;
		c->u.write.cb = on_write;
		c->u.write.data = c;
		c->err = &c->u.write.err;
		break;
	case CALL_SINGLE:
		c->kind = CALL_SINGLE;
		c->u.single.cb = on_single;
		c->u.single.data = c;
		c->err = &c->u.single.err;
		break;
	case CALL_LOCK:
		c->kind = CALL_LOCK;
		c->u.lock.cb = on_lock;
		c->u.lock.data = c;
		c->err = &c->u.lock.err;
		break;
	default:
		c->kind = CALL_NEXT;
		c->u.next.cb = on_next;
		c->u.next.data = c;
		c->err = &c->u.next.err;
		break;
	}
	list_push_back(&w->calls, &c->link);
	return c;
}

void call_begin(struct call *c)
{
	c->inside = true;
}

void call_submitted(struct call *c, int rv)
{
	c->inside = false;
	c->rv = rv;
	if (rv == KV_OK) {
		c->expects++;
		return;
	}
	/* A refusal says why in the request, and no callback follows. */
	c->status = rv;
	if (c->err->status != rv || c->err->text[0] == '\0') {
		fail_msg("refused with %s, but the request says %s \"%s\"",
			 kv_status_name(rv), kv_status_name(c->err->status),
			 c->err->text);
	}
}

bool call_wait_ms(struct call *c, unsigned ms)
{
	if (c->rv != KV_OK) {
		return true;
	}
	if (!world_run_until(c->w, &c->called, ms)) {
		return false;
	}
	if (c->early) {
		fail_msg("called back from inside the call");
	}
	if (c->status != KV_OK && c->err->text[0] == '\0') {
		fail_msg("%s without a word of why", kv_status_name(c->status));
	}
	return true;
}

void call_wait(struct call *c)
{
	if (!call_wait_ms(c, WAIT_MS)) {
		fail_msg("no callback within %d s", WAIT_MS / 1000);
	}
}

typedef int (*single_fn)(struct store *st, struct store_single *req);

static struct call *single(struct world *w, struct store *st, single_fn fn,
			   struct slice key, struct slice value,
			   const struct store_pair *previous, bool recursive)
{
	struct call *c = call_new(w, st, CALL_SINGLE);

	c->u.single.key = key;
	c->u.single.value = value;
	c->u.single.previous = previous;
	c->u.single.recursive = recursive;
	c->verb = fn == store_put || fn == store_atomic_put ? VERB_PUT
		  : fn == store_delete || fn == store_atomic_delete
		      ? VERB_DELETE
		      : VERB_OTHER;
	call_begin(c);
	call_submitted(c, fn(st, &c->u.single));
	return c;
}

struct call *start_get(struct world *w, struct store *st, struct slice key)
{
	return single(w, st, store_get, key, NOTHING, NULL, false);
}

struct call *start_exists(struct world *w, struct store *st, struct slice key)
{
	return single(w, st, store_exists, key, NOTHING, NULL, false);
}

struct call *start_put(struct world *w, struct store *st, struct slice key,
		       struct slice value)
{
	return single(w, st, store_put, key, value, NULL, false);
}

struct call *start_delete(struct world *w, struct store *st, struct slice key,
			  bool recursive)
{
	return single(w, st, store_delete, key, NOTHING, NULL, recursive);
}

struct call *start_atomic_put(struct world *w, struct store *st,
			      struct slice key, struct slice value,
			      const struct store_pair *previous)
{
	return single(w, st, store_atomic_put, key, value, previous, false);
}

struct call *start_atomic_delete(struct world *w, struct store *st,
				 struct slice key,
				 const struct store_pair *previous)
{
	return single(w, st, store_atomic_delete, key, NOTHING, previous,
		      false);
}

struct call *start_scan(struct world *w, struct store *st, scan_fn fn,
			struct slice dir, struct slice after, uint32_t limit)
{
	struct call *c = call_new(w, st, CALL_SCAN);

	c->u.scan.dir = dir;
	c->u.scan.after = after;
	c->u.scan.limit = limit;
	call_begin(c);
	call_submitted(c, fn(st, &c->u.scan));
	return c;
}

static void on_lost(void *ctx, const struct kv_err *why)
{
	struct call *c = ctx;

	assert_int_not_equal(why->status, KV_OK);
	assert_true(why->text[0] != '\0');
	c->lost++;
}

struct call *start_lock(struct world *w, struct store *st, struct slice key,
			bool try_only)
{
	struct call *c = call_new(w, st, CALL_LOCK);

	c->u.lock.key = key;
	c->u.lock.value = S("holder");
	c->u.lock.ttl_ms = 1000;
	c->u.lock.try_only = try_only;
	c->u.lock.lost = on_lost;
	c->u.lock.lost_ctx = c;
	call_begin(c);
	call_submitted(c, store_lock(st, &c->u.lock));
	return c;
}

struct call *start_unlock(struct world *w, struct store *st,
			  const struct call *held)
{
	struct call *c = call_new(w, st, CALL_LOCK);

	c->u.lock.key = held->u.lock.key;
	c->u.lock.token = held->u.lock.token;
	call_begin(c);
	call_submitted(c, store_unlock(st, &c->u.lock));
	return c;
}

struct call *start_write(struct world *w, struct store *st,
			 struct store_op *ops, size_t n)
{
	struct call *c = call_new(w, st, CALL_WRITE);

	c->u.write.ops = ops;
	c->u.write.n_ops = n;
	call_begin(c);
	call_submitted(c, store_write(st, &c->u.write));
	return c;
}

struct call *start_next(struct world *w, struct store_watch *watch,
			uint64_t want)
{
	struct call *c = call_new(w, NULL, CALL_NEXT);

	c->u.next.want = want;
	call_begin(c);
	call_submitted(c, store_watch_next(watch, &c->u.next));
	return c;
}

static struct call *waited(struct call *c)
{
	call_wait(c);
	return c;
}

struct call *do_get(struct world *w, struct store *st, struct slice key)
{
	return waited(start_get(w, st, key));
}

struct call *do_put(struct world *w, struct store *st, struct slice key,
		    struct slice value)
{
	return waited(start_put(w, st, key, value));
}

struct call *do_delete(struct world *w, struct store *st, struct slice key,
		       bool recursive)
{
	return waited(start_delete(w, st, key, recursive));
}

struct call *do_exists(struct world *w, struct store *st, struct slice key)
{
	return waited(start_exists(w, st, key));
}

struct call *do_atomic_put(struct world *w, struct store *st, struct slice key,
			   struct slice value,
			   const struct store_pair *previous)
{
	return waited(start_atomic_put(w, st, key, value, previous));
}

struct call *do_atomic_delete(struct world *w, struct store *st,
			      struct slice key,
			      const struct store_pair *previous)
{
	return waited(start_atomic_delete(w, st, key, previous));
}

struct call *do_scan(struct world *w, struct store *st, scan_fn fn,
		     struct slice dir, struct slice after, uint32_t limit)
{
	return waited(start_scan(w, st, fn, dir, after, limit));
}

struct call *do_write(struct world *w, struct store *st, struct store_op *ops,
		      size_t n)
{
	return waited(start_write(w, st, ops, n));
}

/* ---- operations ----------------------------------------------------------*/

struct store_op op_put(struct slice key, struct slice value)
{
	struct store_op op = {.kind = STORE_OP_PUT, .key = key, .value = value};

	return op;
}

struct store_op op_delete(struct slice key)
{
	struct store_op op = {.kind = STORE_OP_DELETE, .key = key};

	return op;
}

struct store_op op_absent(struct store_op op)
{
	op.guard = STORE_GUARD_ABSENT;
	return op;
}

struct store_op op_version(struct store_op op, struct store_version v)
{
	op.guard = STORE_GUARD_VERSION;
	op.expect = v;
	return op;
}

/* ---- short forms ---------------------------------------------------------*/

uint64_t put_ok(struct world *w, const char *key, const char *value)
{
	struct call *c = do_put(w, w->st, S(key), S(value));

	expect_status(c, KV_OK);
	return c->u.single.pair.index;
}

uint64_t delete_ok(struct world *w, const char *key)
{
	struct store_op *op = world_ops(w, 1);
	struct call *c;

	op[0] = op_delete(S(key));
	c = do_write(w, w->st, op, 1);
	expect_status(c, KV_OK);
	expect_code(op[0].status, KV_OK);
	return op[0].index;
}

struct store_pair pair_of(struct world *w, struct slice key)
{
	struct call *c = do_get(w, w->st, key);

	expect_status(c, KV_OK);
	return c->u.single.pair;
}

uint64_t index_now(struct world *w)
{
	struct call *c = do_exists(w, w->st, S("/whatever"));

	expect_status(c, KV_OK);
	return c->u.single.origin.index;
}

/* ---- looking -------------------------------------------------------------*/

void expect_status_at(const struct call *c, int want, const char *file,
		      int line)
{
	expect_one_of_at(c, &want, 1, file, line);
}

void expect_one_of_at(const struct call *c, const int *want, size_t n,
		      const char *file, int line)
{
	for (size_t i = 0; i < n; i++) {
		if (c->status == want[i]) {
			return;
		}
	}
	print_error("%s \"%s\", expected", kv_status_name(c->status),
		    c->status == KV_OK ? "" : c->err->text);
	for (size_t i = 0; i < n; i++) {
		print_error(" %s", kv_status_name(want[i]));
	}
	print_error("\n");
	_fail(file, line);
}

void expect_code_at(int got, int want, const char *file, int line)
{
	if (got != want) {
		print_error("%s, expected %s\n", kv_status_name(got),
			    kv_status_name(want));
		_fail(file, line);
	}
}

void expect_bytes_at(struct slice got, struct slice want, const char *file,
		     int line)
{
	char a[SLICE_PRINT_MAX];
	char b[SLICE_PRINT_MAX];

	if (!slice_eq(got, want)) {
		print_error("\"%s\" (%zu bytes), expected \"%s\" (%zu)\n",
			    slice_print(got, a, sizeof a), got.n,
			    slice_print(want, b, sizeof b), want.n);
		_fail(file, line);
	}
}

void expect_stored_at(struct world *w, struct slice key, struct slice value,
		      const char *file, int line)
{
	struct call *c = do_get(w, w->st, key);

	expect_status_at(c, KV_OK, file, line);
	expect_bytes_at(c->u.single.pair.value, value, file, line);
}

void expect_missing_at(struct world *w, struct slice key, const char *file,
		       int line)
{
	expect_status_at(do_get(w, w->st, key), KV_KEY_NOT_FOUND, file, line);
}

void expect_keys_at(const struct store_page *page, const struct slice *keys,
		    size_t n, const char *file, int line)
{
	if (page == NULL) {
		print_error("no page\n");
		_fail(file, line);
		return;
	}
	for (size_t i = 0; i < KV_MAX(n, page->n); i++) {
		char got[SLICE_PRINT_MAX] = "(none)";
		char want[SLICE_PRINT_MAX] = "(none)";

		if (i < n && i < page->n &&
		    slice_eq(page->pairs[i].key, keys[i])) {
			continue;
		}
		if (i < page->n) {
			(void)slice_print(page->pairs[i].key, got, sizeof got);
		}
		if (i < n) {
			(void)slice_print(keys[i], want, sizeof want);
		}
		print_error("key %zu is %s, expected %s\n", i, got, want);
		_fail(file, line);
	}
}

size_t limit_of(size_t cap)
{
	return cap == 0 ? SIZE_MAX : cap;
}

void need(bool have, const char *what)
{
	if (!have) {
		print_message("SKIP: this backend has no %s\n", what);
		skip();
	}
}
