/* test_zk_reading.c: pages of a real server's tree, by both ways of reading:
 * however they are cut, whatever the network does between them, wherever they
 * are given up, and with memory that ends anywhere. */
#include "tests/integration/test_zk_calls.h"

#include "tests/lib/sweep.h"

static struct zk_server *server;

#define EACH_READER(w)                                                     \
	for (size_t r_ = 0; r_ < KV_COUNT(zw_readers) &&                   \
			    (zw_open(&(w), server, zw_readers[r_]), true); \
	     zw_close(&(w)), r_++)

/* The keys of the tree, sorted: what pages must add up to. */
struct keys {
	char *names[3000];
	size_t n;
};

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void keys_free(struct keys *k)
{
	while (k->n > 0) {
		free(k->names[--k->n]);
	}
}

/* 40 directories of 25 and one of 800, with names around '/'. */
static void plant(struct zw *w, struct keys *k)
{
	static const char *const tails[] = {"", "-", "-x", "0", ".a"};
	char dir[64], name[96];
	unsigned i, j;

	memset(k, 0, sizeof *k);
	zk_hand_fill(w->hand, "/t/flat", "k%u", 800, 30);
	for (i = 0; i < 800; i++) {
		(void)snprintf(name, sizeof name, "/flat/k%u", i);
		k->names[k->n++] = strdup(name);
	}
	for (i = 0; i < 40; i++) {
		(void)snprintf(dir, sizeof dir, "/t/d%u%s", i / 5,
			       tails[i % 5]);
		zk_hand_fill(w->hand, dir, "x%u", 25, 10);
		zk_hand_put_text(w->hand, dir, "dir");
		k->names[k->n++] = strdup(dir + 2);
		for (j = 0; j < 25; j++) {
			(void)snprintf(name, sizeof name, "%s/x%u", dir + 2, j);
			k->names[k->n++] = strdup(name);
		}
	}
	qsort(k->names, k->n, sizeof *k->names, compare);
}

/* Reads on from `after` and compares; `between` each two pages. */
static void expect_pages(struct zw *w, struct store *st, const struct keys *k,
			 uint32_t limit, void (*between)(void *ctx), void *ctx)
{
	struct arena a = {0};
	struct slice after = {0};
	size_t at = 0;
	bool more = true;

	while (more) {
		struct store_scan req = {.after = after, .limit = limit};

		ew_scan(&w->e, st, &req);
		CHECK_STATUS(req.err, KV_OK);
		CHECK(limit == 0 || req.page->n <= limit);
		CHECK(req.page->at > 0);
		CHECK(req.page->at <= req.page->origin.index);
		for (size_t i = 0; i < req.page->n; i++) {
			struct slice key = req.page->pairs[i].key;

			CHECK(at < k->n);
			if (!slice_eq(key, slice_str(k->names[at]))) {
				fprintf(stderr, "%.*s found, %s expected\n",
					(int)key.n, (const char *)key.p,
					k->names[at]);
				abort();
			}
			at++;
			CHECK(req.page->pairs[i].value.n > 0);
		}
		more = req.page->more;
		if (req.page->n > 0) {
			after =
			    slice_dup(&a, req.page->pairs[req.page->n - 1].key);
		}
		store_page_free(req.page);
		if (more && between != NULL) {
			between(ctx);
		}
	}
	CHECK(at == k->n);
	arena_free(&a);
}

static void pages_of_any_size_add_up(void **state)
{
	static const uint32_t limits[] = {0, 1, 7, 100, 799};
	struct keys k;
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		plant(&w, &k);
		for (size_t i = 0; i < KV_COUNT(limits); i++) {
			struct store *st = zw_store(&w, "");

			expect_pages(&w, st, &k, limits[i], NULL, NULL);
			ew_shut(&w.e, st);
		}
		keys_free(&k);
	}
}

static long packets(void)
{
	char *text = zk_server_ask(server, 0, "mntr");
	const char *at =
	    text == NULL ? NULL : strstr(text, "zk_packets_received");
	long n = at == NULL ? -1 : strtol(at + 19, NULL, 10);

	free(text);
	return n;
}

/* A page in the middle does not list what was listed for the page before. */
static void pages_cost_what_they_read(void **state)
{
	struct keys k;
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct store *st;
		long before;

		plant(&w, &k);
		st = zw_store(&w, "");
		expect_pages(&w, st, &k, 0, NULL, NULL);
		before = packets();
		expect_pages(&w, st, &k, 50, NULL, NULL);
		/* 1,840 znodes, 41 lists, and a sync. */
		CHECK(packets() - before < 2100);
		ew_shut(&w.e, st);
		keys_free(&k);
	}
}

struct breaking {
	struct tcp_proxy *proxy;
	unsigned n;
};

static void cut(void *ctx)
{
	struct breaking *b = ctx;

	if (b->n++ % 3 == 0) {
		tcp_proxy_cut(b->proxy);
	}
}

static void pages_go_on_over_connections(void **state)
{
	struct keys k;
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct tcp_proxy proxy;
		struct breaking b = {.proxy = &proxy};
		struct store *st;
		char hosts[64];

		plant(&w, &k);
		tcp_proxy_start(&proxy, zk_server_port(server, 0));
		(void)snprintf(hosts, sizeof hosts, "127.0.0.1:%d", proxy.port);
		st = zw_store_at(&w, hosts, "", 0);
		expect_pages(&w, st, &k, 150, cut, &b);
		ew_shut(&w.e, st);
		tcp_proxy_end(&proxy);
		keys_free(&k);
	}
}

/* Two readers of one store at the same place of the same directory, and one
 * that writes: none takes the other's walk for its own. */
static void two_go_the_same_way(void **state)
{
	struct keys k;
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct store_scan a = {.limit = 100}, b = {.limit = 100};
		struct store_scan c, d;
		struct store *st;

		plant(&w, &k);
		st = zw_store(&w, "");
		ew_scan(&w.e, st, &a);
		CHECK_STATUS(a.err, KV_OK);
		ew_scan(&w.e, st, &b);
		CHECK_STATUS(b.err, KV_OK);
		c = (struct store_scan){.limit = 100,
					.after = a.page->pairs[99].key};
		d = c;
		ew_scan(&w.e, st, &c);
		ew_scan(&w.e, st, &d);
		CHECK(c.page->n == 100 && d.page->n == 100);
		for (size_t i = 0; i < 100; i++) {
			CHECK(slice_eq(c.page->pairs[i].key,
				       slice_str(k.names[100 + i])));
			CHECK(slice_eq(c.page->pairs[i].key,
				       d.page->pairs[i].key));
		}
		store_page_free(a.page);
		store_page_free(b.page);
		store_page_free(c.page);
		store_page_free(d.page);
		ew_shut(&w.e, st);
		keys_free(&k);
	}
}

static void given_up_cb(struct store_scan *req)
{
	CHECK(req->err.status == KV_OK || req->err.status == KV_CANCELED);
	store_page_free(req->page);
	*(bool *)req->data = true;
}

static void a_scan_may_be_given_up_anywhere(void **state)
{
	struct keys k;
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		plant(&w, &k);
		for (unsigned turns = 0; turns < 60; turns++) {
			struct store *st = zw_store(&w, "");
			bool done = false;
			struct store_scan req = {.cb = given_up_cb,
						 .data = &done};

			CHECK(store_scan(st, &req) == KV_OK);
			for (unsigned i = 0; i < turns && !done; i++) {
				(void)uv_run(&w.e.loop.uv, UV_RUN_ONCE);
			}
			if (!done && turns % 2 == 0) {
				store_cancel(&req.req);
			}
			ew_shut(&w.e, st);
			CHECK(done);
		}
		keys_free(&k);
	}
}

struct swept {
	struct zw *w;
	struct store *st;
	bool done;
	int status;
};

static void swept_cb(struct store_scan *req)
{
	struct swept *s = req->data;

	s->status = req->err.status;
	store_page_free(req->page);
	req->page = NULL;
	s->done = true;
}

static void swept_closed_cb(void *ctx)
{
	((struct swept *)ctx)->done = true;
}

/* A connection that could not be made for want of memory is one that could not
 * be made. */
static int scan_once(void *ctx)
{
	struct swept *s = ctx;
	struct store_scan req = {.limit = 20, .cb = swept_cb, .data = s};
	char uri[256];
	int rv;

	(void)snprintf(uri, sizeof uri,
		       "zk://%s/t?reader=%s&acls=copy&timeout_ms=5000",
		       zk_server_endpoints(server), s->w->reader);
	rv = store_open(&s->w->e.registry, s->w->e.loop.sched, uri, STORE_ATTRS,
			&s->st, NULL);
	if (rv != KV_OK) {
		return rv;
	}
	s->done = false;
	rv = store_scan(s->st, &req);
	if (rv == KV_OK) {
		test_loop_until(&s->w->e.loop, &s->done);
		rv = s->status == KV_NOT_REACHABLE ? KV_NO_MEMORY : s->status;
	}
	s->done = false;
	store_close(s->st, swept_closed_cb, s);
	test_loop_until(&s->w->e.loop, &s->done);
	return rv;
}

static void memory_may_end_anywhere(void **state)
{
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct swept s = {.w = &w};

		zk_hand_fill(w.hand, "/t/d", "x%u", 25, 10);
		zk_hand_put_text(w.hand, "/t/d", "dir");
		CHECK(sweep_run(scan_once, &s) > 50);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pages_of_any_size_add_up),
	    cmocka_unit_test(pages_cost_what_they_read),
	    cmocka_unit_test(pages_go_on_over_connections),
	    cmocka_unit_test(two_go_the_same_way),
	    cmocka_unit_test(a_scan_may_be_given_up_anywhere),
	    cmocka_unit_test(memory_may_end_anywhere),
	};
	const char *why = zk_server_missing(false);
	const char *filter = getenv("KVTEST_FILTER");
	int failed;

	if (why != NULL) {
		print_message("SKIP: %s\n", why);
		return 77;
	}
	if (filter != NULL) {
		cmocka_set_test_filter(filter);
	}
	server = zk_server_start(&(struct zk_options){.tick_ms = 500});
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	zk_server_free(server);
	return failed;
}
