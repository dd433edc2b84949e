/* test_consul_backend.c: what is Consul's own: a token that is lost, deletes
 * that nobody told, indexes of another history, Flags, what a change costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <uv.h>

#include "store/consul/consul.h"
#include "store/consul/consul_impl.h"
#include "tests/fixtures/consul_server.h"

enum { WAIT_MS = 30000 };

struct world {
	struct consul_server *server;
	uv_loop_t loop;
	uv_timer_t timer;
	struct sched *sched;
	struct store_registry registry;
	struct store *st;
	bool done;
	bool late;
};

/* ---- surroundings --------------------------------------------------------*/

static void on_timer(uv_timer_t *t)
{
	struct world *w = t->data;

	w->late = true;
}

static void await(struct world *w)
{
	w->late = false;
	uv_update_time(&w->loop);
	(void)uv_timer_start(&w->timer, on_timer, WAIT_MS, 0);
	while (!w->done && !w->late) {
		(void)uv_run(&w->loop, UV_RUN_ONCE);
	}
	(void)uv_timer_stop(&w->timer);
	assert_true(w->done);
	w->done = false;
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static void close_store(struct world *w)
{
	if (w->st != NULL) {
		store_close(w->st, on_closed, &w->done);
		await(w);
		w->st = NULL;
	}
}

static void open_store(struct world *w, const char *tail, unsigned flags)
{
	struct kv_err err = {0};
	char uri[256];

	close_store(w);
	(void)snprintf(uri, sizeof uri, "consul://127.0.0.1:%d/%s",
		       consul_server_port(w->server), tail);
	if (store_open(&w->registry, w->sched, uri, flags, &w->st, &err) !=
	    KV_OK) {
		fail_msg("%s: %s", uri, err.text);
	}
}

static struct world *new_world(const struct consul_options *o)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	w->server = consul_server_start(o);
	assert_int_equal(uv_loop_init(&w->loop), 0);
	assert_int_equal(uv_timer_init(&w->loop, &w->timer), 0);
	w->timer.data = w;
	w->sched = sched_uv_open(&w->loop);
	assert_non_null(w->sched);
	assert_int_equal(store_register(&w->registry, &store_consul_ops, NULL),
			 KV_OK);
	return w;
}

static int set_up(void **state)
{
	*state = new_world(&(struct consul_options){0});
	return 0;
}

static int set_up_acl(void **state)
{
	*state = new_world(&(struct consul_options){.acl = true});
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	close_store(w);
	uv_close((uv_handle_t *)&w->timer, NULL);
	sched_uv_close(w->sched);
	(void)uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	store_registry_free(&w->registry);
	consul_server_free(w->server);
	free(w);
	return 0;
}

/* ---- calls ---------------------------------------------------------------*/

static void on_single(struct store_single *req)
{
	*(bool *)req->data = true;
}

static void on_scan(struct store_scan *req)
{
	*(bool *)req->data = true;
}

static void on_next(struct store_next *req)
{
	*(bool *)req->data = true;
}

/* As a person would, from outside. */
static void put(struct world *w, const char *key, const char *value)
{
	char path[256];

	(void)snprintf(path, sizeof path, "/v1/kv/%s", key);
	assert_int_equal(
	    consul_server_call(w->server, "PUT", path, value, NULL), 200);
}

static void del(struct world *w, const char *key)
{
	char path[256];

	(void)snprintf(path, sizeof path, "/v1/kv/%s", key);
	assert_int_equal(
	    consul_server_call(w->server, "DELETE", path, NULL, NULL), 200);
}

/* KEYS puts, 60 a transaction. */
static void fill(struct world *w, const char *prefix, unsigned keys)
{
	char body[16384];

	for (unsigned i = 0; i < keys; i += 60) {
		int n = snprintf(body, sizeof body, "[");

		for (unsigned k = i; k < i + 60 && k < keys; k++) {
			n +=
			    snprintf(body + n, sizeof body - (size_t)n,
				     "%s{\"KV\":{\"Verb\":\"set\",\"Key\":"
				     "\"%s/k%05u\",\"Value\":\"dmFsdWV2YWx1ZX"
				     "ZhbHVldmFsdWV2YWx1ZXZhbHVldmFsdWV2YWx1"
				     "ZXZhbHVldmFsdWV2YWx1ZXZhbHVldmFsdWV2\"}}",
				     k == i ? "" : ",", prefix, k);
		}
		(void)snprintf(body + n, sizeof body - (size_t)n, "]");
		assert_int_equal(
		    consul_server_call(w->server, "PUT", "/v1/txn", body, NULL),
		    200);
	}
}

static int get(struct world *w, struct store_single *req, const char *key)
{
	memset(req, 0, sizeof *req);
	req->key = slice_str(key);
	req->cb = on_single;
	req->data = &w->done;
	assert_int_equal(store_get(w->st, req), KV_OK);
	await(w);
	return req->err.status;
}

static int scan(struct world *w)
{
	struct store_scan req = {.cb = on_scan, .data = &w->done};

	assert_int_equal(store_scan(w->st, &req), KV_OK);
	await(w);
	store_page_free(req.page);
	return req.err.status;
}

/* One pull; the batch, or NULL and the status. */
static struct store_batch *pull(struct world *w, struct store_watch *watch,
				uint64_t want, int *status)
{
	struct store_next req = {.want = want, .cb = on_next, .data = &w->done};

	assert_int_equal(store_watch_next(watch, &req), KV_OK);
	await(w);
	*status = req.err.status;
	return req.batch;
}

static uint64_t pull_init(struct world *w, struct store_watch *watch)
{
	int status;
	struct store_batch *b = pull(w, watch, 0, &status);
	uint64_t index;

	assert_int_equal(status, KV_OK);
	assert_true(b->init);
	index = b->index;
	store_batch_free(b);
	return index;
}

/* ---- what a caller knows -------------------------------------------------*/

struct knower {
	struct store_known known;
	struct world *w;
	struct sched_task task;
	const char *const *keys; /* sorted; NULL ends them */
	const uint64_t *indexes;
	void (*page)(void *ctx, int status, struct store_page *page);
	void *ctx;
	size_t from;
};

/* Two keys a page. */
static void give_page(struct sched_task *task)
{
	struct knower *k = kv_container_of(task, struct knower, task);
	struct store_page *page = store_page_new();
	size_t cap = 0;

	assert_non_null(page);
	for (; k->keys[k->from] != NULL && page->n < 2; k->from++) {
		struct store_pair *p = store_page_add(
		    page, &cap, slice_str(k->keys[k->from]), (struct slice){0});

		assert_non_null(p);
		p->index = k->indexes[k->from];
	}
	page->more = k->keys[k->from] != NULL;
	k->page(k->ctx, KV_OK, page);
}

static void next_known(struct store_known *known, struct slice after,
		       void (*page)(void *ctx, int status,
				    struct store_page *page),
		       void *ctx)
{
	struct knower *k = kv_container_of(known, struct knower, known);

	k->from = 0;
	while (after.n > 0 && k->keys[k->from] != NULL &&
	       slice_cmp(slice_str(k->keys[k->from]), after) <= 0) {
		k->from++;
	}
	k->page = page;
	k->ctx = ctx;
	k->task.run = give_page;
	sched_post(k->w->sched, &k->task);
}

static struct store_watch *watch_from(struct world *w, uint64_t after,
				      struct knower *k)
{
	struct store_watch_params p = {.after = after};
	struct store_watch *watch;

	if (k != NULL) {
		k->w = w;
		k->known.next = next_known;
		p.known = &k->known;
	}
	watch = store_watch_open(w->st, &p);
	assert_non_null(watch);
	return watch;
}

static uint64_t index_of(struct world *w, const char *key)
{
	struct store_single req;
	uint64_t index;

	assert_int_equal(get(w, &req, key), KV_OK);
	index = req.pair.index;
	store_single_free(&req);
	return index;
}

/* ---- tests ---------------------------------------------------------------*/

#define RULES "key_prefix \"t/\" { policy = \"read\" }"

/* With default-deny a lost token's list is a 404: an empty source. */
static void a_lost_token_deletes_nothing(void **state)
{
	struct world *w = *state;
	struct store_watch *watch;
	struct store_single req;
	struct store_batch *b;
	int status = KV_OK;

	fill(w, "t", 10);
	(void)setenv("KVTEST_TOKEN", consul_server_token(w->server, RULES), 1);
	open_store(w, "t?token=env:KVTEST_TOKEN", 0);
	assert_int_equal(scan(w), KV_OK);
	watch = watch_from(w, 0, NULL);
	(void)pull_init(w, watch);
	consul_server_revoke(w->server);
	put(w, "t/k00001", "new");
	/* What comes before the server forgets the token is no delete. */
	while ((b = pull(w, watch, 0, &status)) != NULL) {
		assert_int_equal(b->inferred_deletes, 0);
		for (size_t i = 0; i < b->n; i++) {
			assert_int_not_equal(b->changes[i].action,
					     STORE_DELETE);
		}
		store_batch_free(b);
		put(w, "t/k00001", "newer");
		del(w, "t/elsewhere");
	}
	assert_int_equal(status, KV_DENIED);
	store_watch_close(watch);
	assert_int_equal(scan(w), KV_DENIED);
	assert_int_equal(get(w, &req, "/k00001"), KV_DENIED);
	store_single_free(&req);
}

/* No token at all, where an anonymous one sees nothing. */
static void without_a_token_nothing_is_empty(void **state)
{
	struct world *w = *state;
	struct store_watch *watch;
	struct store_single req;
	int status;

	fill(w, "t", 3);
	open_store(w, "t", 0);
	assert_int_equal(scan(w), KV_DENIED);
	assert_int_equal(get(w, &req, "/k00001"), KV_DENIED);
	store_single_free(&req);
	watch = watch_from(w, 0, NULL);
	assert_null(pull(w, watch, 0, &status));
	assert_int_equal(status, KV_DENIED);
	store_watch_close(watch);
}

/* Rights that shrink to a part of the tree: what is out of sight is not gone.
 */
static void what_is_out_of_sight_is_not_gone(void **state)
{
	struct world *w = *state;
	static const char *const keys[] = {"/a/1", "/b/1", NULL};
	uint64_t indexes[2];
	struct knower k = {.keys = keys, .indexes = indexes};
	struct store_watch *watch;
	int status;

	put(w, "t/a/1", "x");
	put(w, "t/b/1", "x");
	(void)setenv("KVTEST_TOKEN", consul_server_root(), 1);
	open_store(w, "t?token=env:KVTEST_TOKEN", 0);
	indexes[0] = index_of(w, "/a/1");
	indexes[1] = index_of(w, "/b/1");
	(void)setenv(
	    "KVTEST_TOKEN",
	    consul_server_token(w->server,
				"key_prefix \"t/a\" { policy = \"read\" } "
				"key_prefix \"t/kv\" { policy = \"read\" }"),
	    1);
	open_store(w, "t?token=env:KVTEST_TOKEN", 0);
	watch = watch_from(w, indexes[1], &k);
	(void)pull_init(w, watch);
	assert_null(pull(w, watch, 0, &status));
	assert_int_equal(status, KV_DENIED);
	store_watch_close(watch);
}

/* What went while nobody looked is found by what the caller knows. */
static void deletes_of_the_past_are_told(void **state)
{
	struct world *w = *state;
	static const char *const keys[] = {"/a", "/b", "/c", "/d", "/e", NULL};
	uint64_t indexes[5];
	struct knower k = {.keys = keys, .indexes = indexes};
	struct store_watch *watch;
	struct store_batch *b;
	uint64_t at;
	int status;

	open_store(w, "t", 0);
	for (size_t i = 0; i < KV_COUNT(indexes); i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "t%s", keys[i]);
		put(w, key, "1");
		indexes[i] = index_of(w, keys[i]);
	}
	at = indexes[4];
	del(w, "t/b");
	put(w, "t/c", "2");
	put(w, "t/new", "1");
	del(w, "t/d");
	watch = watch_from(w, at, &k);
	assert_int_equal(pull_init(w, watch), at);
	b = pull(w, watch, 0, &status);
	assert_int_equal(status, KV_OK);
	assert_int_equal(b->n, 0);
	assert_true(b->relisted);
	assert_int_equal(b->inferred_deletes, 2);
	assert_int_equal(b->known_keys, 5);
	assert_int_equal(b->index, at);
	store_batch_free(b);
	b = pull(w, watch, 0, &status);
	assert_int_equal(status, KV_OK);
	assert_int_equal(b->n, 4);
	assert_true(slice_eq(b->changes[0].key, slice_str("/b")));
	assert_true(b->changes[0].inferred);
	assert_true(slice_eq(b->changes[1].key, slice_str("/c")));
	assert_true(slice_eq(b->changes[1].value, slice_str("2")));
	assert_true(slice_eq(b->changes[2].key, slice_str("/new")));
	assert_true(slice_eq(b->changes[3].key, slice_str("/d")));
	assert_int_equal(b->changes[3].action, STORE_DELETE);
	for (size_t i = 1; i < b->n; i++) {
		assert_true(b->changes[i - 1].index < b->changes[i].index);
	}
	store_batch_free(b);
	store_watch_close(watch);
}

/* Another history, whose index has long passed ours: the keys tell. */
static void a_rebuilt_server_is_another_history(void **state)
{
	struct world *w = *state;
	static const char *const keys[] = {"/a", "/b", NULL};
	uint64_t indexes[2];
	struct knower k = {.keys = keys, .indexes = indexes};
	struct store_watch *watch;
	uint64_t at;
	int status;

	open_store(w, "t", 0);
	fill(w, "other", 300);
	put(w, "t/a", "1");
	put(w, "t/b", "1");
	indexes[0] = index_of(w, "/a");
	at = indexes[1] = index_of(w, "/b");
	close_store(w);
	consul_server_wipe(w->server);
	put(w, "t/a", "1");
	put(w, "t/b", "another");
	for (unsigned i = 0; i < 10; i++) {
		fill(w, "other", 300);
		put(w, "other/x", i % 2 == 0 ? "1" : "2");
	}
	open_store(w, "t", 0);
	while (index_of(w, "/b") < at) {
		char text[32];

		(void)snprintf(text, sizeof text, "%llu",
			       (unsigned long long)index_of(w, "/b"));
		put(w, "t/b", text);
	}
	watch = watch_from(w, at, &k);
	(void)pull_init(w, watch);
	assert_null(pull(w, watch, 0, &status));
	assert_int_equal(status, KV_HISTORY_LOST);
	store_watch_close(watch);
}

/* Flags are attrs, all 64 bits of them; 0 is none. */
static void flags_are_attrs(void **state)
{
	struct world *w = *state;
	static const uint8_t all[8] = {255, 255, 255, 255, 255, 255, 255, 255};
	struct store_single req;

	put(w, "t/x?flags=18446744073709551615", "v");
	put(w, "t/y", "v");
	open_store(w, "t", STORE_ATTRS);
	assert_int_equal(get(w, &req, "/y"), KV_OK);
	assert_int_equal(req.pair.attrs.n, 0);
	store_single_free(&req);
	assert_int_equal(get(w, &req, "/x"), KV_OK);
	assert_true(slice_eq(req.pair.attrs, slice_of(all, 8)));
	store_single_free(&req);
	memset(&req, 0, sizeof req);
	req.key = slice_str("/copy");
	req.value = slice_str("v");
	req.attrs = slice_of(all, 8);
	req.cb = on_single;
	req.data = &w->done;
	assert_int_equal(store_put(w->st, &req), KV_OK);
	await(w);
	assert_int_equal(req.err.status, KV_OK);
	store_single_free(&req);
	assert_int_equal(get(w, &req, "/copy"), KV_OK);
	assert_true(slice_eq(req.pair.attrs, slice_of(all, 8)));
	store_single_free(&req);
	open_store(w, "t", 0);
	assert_int_equal(get(w, &req, "/x"), KV_OK);
	assert_int_equal(req.pair.attrs.n, 0);
	store_single_free(&req);
}

/* One changed key of many does not fetch them all. */
static void a_change_costs_a_part(void **state)
{
	struct world *w = *state;
	const unsigned keys = 6000;
	struct store_watch *watch;
	struct store_batch *b;
	uint64_t before;
	uint64_t cost;
	char *whole;
	size_t naive;
	int status;

	fill(w, "t", keys);
	assert_int_equal(consul_server_call(w->server, "GET",
					    "/v1/kv/t/?recurse", NULL, &whole),
			 200);
	naive = strlen(whole);
	free(whole);
	open_store(w, "t", 0);
	watch = watch_from(w, 0, NULL);
	(void)pull_init(w, watch);
	for (unsigned i = 0; i < 5; i++) {
		char key[32];

		(void)snprintf(key, sizeof key, "t/k%05u", i * 1000 + 77);
		before = consul_of(w->st)->http.bytes;
		put(w, key, i % 2 == 0 ? "new" : "newer");
		b = pull(w, watch, 0, &status);
		assert_int_equal(status, KV_OK);
		assert_int_equal(b->n, 1);
		store_batch_free(b);
		cost = consul_of(w->st)->http.bytes - before;
		print_message("  a change: %llu bytes (the tree: %zu)\n",
			      (unsigned long long)cost, naive);
		assert_true(cost * 10 < naive);
	}
	store_watch_close(watch);
}

/* A server that takes less than we think: nothing is done, and less is tried.
 */
static void a_request_over_the_servers_limit_is_too_large(void **state)
{
	struct world *w = *state;
	struct store_single req = {.cb = on_single, .data = &w->done};
	uint8_t *big = calloc(1, 450000);

	assert_non_null(big);
	open_store(w, "t?txn_max_bytes=4194304", 0);
	req.key = slice_str("/big");
	req.value = slice_of(big, 450000);
	assert_int_equal(store_put(w->st, &req), KV_OK);
	await(w);
	assert_int_equal(req.err.status, KV_TOO_LARGE);
	store_single_free(&req);
	assert_int_equal(get(w, &req, "/big"), KV_KEY_NOT_FOUND);
	store_single_free(&req);
	free(big);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define TEST_ACL(f) cmocka_unit_test_setup_teardown(f, set_up_acl, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST_ACL(a_lost_token_deletes_nothing),
	    TEST_ACL(without_a_token_nothing_is_empty),
	    TEST_ACL(what_is_out_of_sight_is_not_gone),
	    TEST(deletes_of_the_past_are_told),
	    TEST(a_rebuilt_server_is_another_history),
	    TEST(flags_are_attrs),
	    TEST(a_change_costs_a_part),
	    TEST(a_request_over_the_servers_limit_is_too_large),
	};

	if (consul_server_program() == NULL) {
		print_message("SKIP: no consul here\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
