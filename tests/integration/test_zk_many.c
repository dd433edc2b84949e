/* test_zk_many.c: 75,000 znodes under watch: their watches do not fit into one
 * request (1 MB), and a client that sends them in one is refused for ever. Both
 * ways resume all the same, over a connection that is cut, and what they keep
 * in memory is bounded; a directory of thousands is listed and followed.
 */
#include "store/base/mem.h"
#include "tests/integration/test_zk_calls.h"

enum { DIRS = 75, EACH = 1000, PAGE = 1000 };

static struct zk_server *server;

/* ---- memory -------------------------------------------------------------- */

struct meter {
	size_t now, most;
};

static void *meter_realloc(void *ctx, void *ptr, size_t size)
{
	struct meter *m = ctx;
	size_t *old = ptr == NULL ? NULL : (size_t *)ptr - 2;
	size_t had = old == NULL ? 0 : *old;
	size_t *p = realloc(old, size + 16);

	if (p == NULL) {
		return NULL;
	}
	*p = size;
	m->now += size - had;
	m->most = KV_MAX(m->most, m->now);
	return p + 2;
}

static void meter_free(void *ctx, void *ptr)
{
	struct meter *m = ctx;
	size_t *old = ptr == NULL ? NULL : (size_t *)ptr - 2;

	if (old != NULL) {
		m->now -= *old;
		free(old);
	}
}

/* ---- who knows all the keys ---------------------------------------------- */

struct knower {
	struct store_known known;
	struct sched *sched;
	struct sched_task task;
	unsigned from; /* number of the first key of the page */
	void (*page)(void *ctx, int status, struct store_page *page);
	void *ctx;
};

static void key_of(unsigned i, char *buf, size_t cap)
{
	(void)snprintf(buf, cap, "/d%02u/k%06u", i / EACH, i % EACH);
}

static void page_task(struct sched_task *task)
{
	struct knower *k = kv_container_of(task, struct knower, task);
	struct store_page *page = store_page_new();
	unsigned end = KV_MIN(k->from + PAGE, (unsigned)(DIRS * EACH));
	size_t cap = 0;
	char key[32];

	CHECK(page != NULL);
	for (unsigned i = k->from; i < end; i++) {
		struct store_pair *p;

		key_of(i, key, sizeof key);
		p = store_page_add(page, &cap, slice_str(key), slice_str(""));
		CHECK(p != NULL);
		p->index = 1;
	}
	page->more = end < DIRS * EACH;
	k->page(k->ctx, KV_OK, page);
}

static void known_next(struct store_known *known, struct slice after,
		       void (*page)(void *ctx, int status,
				    struct store_page *page),
		       void *ctx)
{
	struct knower *k = kv_container_of(known, struct knower, known);
	char key[32] = "";
	unsigned dir = 0, i = 0;

	k->from = 0;
	if (after.n > 0) {
		CHECK(after.n < sizeof key);
		memcpy(key, after.p, after.n);
		CHECK(sscanf(key, "/d%u/k%u", &dir, &i) == 2);
		k->from = dir * EACH + i + 1;
	}
	k->page = page;
	k->ctx = ctx;
	sched_post(k->sched, &k->task);
}

/* ---- tests --------------------------------------------------------------- */

struct seen {
	size_t puts, deletes, inferred;
	uint64_t index;
};

static bool pull(struct ew *e, struct store_watch *wa, uint64_t want,
		 struct seen *seen)
{
	struct kv_err err;
	struct store_batch *b = ew_next(e, wa, want, &err);

	if (b == NULL) {
		CHECK_STATUS(err, KV_NOT_REACHABLE);
		return false;
	}
	for (size_t i = 0; i < b->n; i++) {
		bool gone = b->changes[i].action == STORE_DELETE;

		seen->puts += gone ? 0 : 1;
		seen->deletes += gone ? 1 : 0;
		seen->inferred += b->changes[i].inferred ? 1 : 0;
	}
	if (!b->partial) {
		seen->index = b->index;
	}
	store_batch_free(b);
	return true;
}

static uint64_t index_now(struct zw *w, struct store *st)
{
	struct store_single req =
	    ew_single(&w->e, st, store_exists, "/none", slice_str(""));
	uint64_t index = req.origin.index;

	CHECK_STATUS(req.err, KV_OK);
	store_single_free(&req);
	return index;
}

/* `n` keys set, two made and two gone, and one more gone for each `round`. */
static void change(struct zw *w, unsigned n, unsigned round)
{
	char path[64] = "/t";

	for (unsigned i = 0; i < n; i++) {
		key_of(i * 751, path + 2, sizeof path - 2);
		zk_hand_put_text(w->hand, path, "changed");
	}
	for (unsigned i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof path, "/t/d%02u/new%u", i, round);
		zk_hand_put_text(w->hand, path, "new");
		key_of(700 + round * 10 + i * EACH, path + 2, sizeof path - 2);
		CHECK(zk_hand_delete(w->hand, path));
		path[2] = '\0';
	}
}

static void resumed(struct zw *w, const char *reader, bool complete,
		    unsigned round)
{
	struct knower k = {.known = {.complete = complete, .next = known_next}};
	struct store_watch_params p = {.known = &k.known};
	struct meter m = {0, 0};
	struct kv_mem_hooks hooks = {
	    .realloc = meter_realloc, .free = meter_free, .ctx = &m};
	struct seen seen = {0};
	struct tcp_proxy proxy;
	struct store_watch *wa;
	struct store *st;
	char host[64];
	uint64_t now;

	kv_mem_set_hooks(&hooks);
	test_loop_open(&w->e.loop);
	CHECK(store_register(&w->e.registry, &store_zookeeper_ops, NULL) ==
	      KV_OK);
	tcp_proxy_start(&proxy, zk_server_port(server, 0));
	(void)snprintf(host, sizeof host, "127.0.0.1:%d", proxy.port);
	w->reader = reader;
	k.sched = w->e.loop.sched;
	k.task.run = page_task;
	st = zw_store_at(w, host, "", 0);
	p.after = seen.index = index_now(w, st);
	change(w, 100, round);
	now = index_now(w, st);
	wa = store_watch_open(st, &p);
	CHECK(wa != NULL);
	while (seen.index < now) {
		CHECK(pull(&w->e, wa, now, &seen));
	}
	CHECK(seen.puts == 102);
	CHECK(seen.deletes >= 2 && seen.inferred >= 2);
	/* Live, all watches armed; lost, and found again. */
	zk_hand_put_text(w->hand, "/t/d07/k000007", "live");
	now = index_now(w, st);
	while (seen.index < now) {
		CHECK(pull(&w->e, wa, now, &seen));
	}
	CHECK(seen.puts == 103);
	(void)snprintf(host, sizeof host, "/t/d05/live%u", round);
	zk_hand_put_text(w->hand, host, "live"); /* in a large directory */
	now = index_now(w, st);
	while (seen.index < now) {
		CHECK(pull(&w->e, wa, now, &seen));
	}
	CHECK(seen.puts == 104);
	tcp_proxy_cut(&proxy);
	while (pull(&w->e, wa, 0, &seen)) {
	}
	store_watch_close(wa);
	zk_hand_put_text(w->hand, "/t/d08/k000008", "cut");
	p.after = seen.index;
	now = index_now(w, st);
	wa = store_watch_open(st, &p);
	CHECK(wa != NULL);
	while (seen.index < now) {
		CHECK(pull(&w->e, wa, now, &seen));
	}
	CHECK(seen.puts == 105);
	print_message("%s%s: %zu KB at most\n", reader,
		      complete ? ", all known" : "", m.most / 1024);
	/* General: 15 MB for 100,000 keys; fast: pages, chunks, answers. */
	CHECK(m.most <
	      (strcmp(reader, "fast") == 0
		   ? (size_t)12 * 1024 * 1024
		   : (size_t)DIRS * EACH * 150 + (size_t)8 * 1024 * 1024));
	store_watch_close(wa);
	ew_shut(&w->e, st);
	test_loop_close(&w->e.loop);
	store_registry_free(&w->e.registry);
	kv_mem_set_hooks(NULL);
	tcp_proxy_end(&proxy);
}

static void more_watches_than_a_request_holds(void **state)
{
	struct zw w = {.server = server};
	char dir[16];

	(void)state;
	w.hand = zk_hand_open(zk_server_endpoints(server), 10000);
	for (unsigned d = 0; d < DIRS; d++) {
		(void)snprintf(dir, sizeof dir, "/t/d%02u", d);
		zk_hand_fill(w.hand, dir, "k%06u", EACH, 16);
	}
	resumed(&w, "fast", true, 0);
	resumed(&w, "general", true, 1);
	resumed(&w, "fast", false, 2);
	resumed(&w, "general", false, 3);
	zk_hand_close(w.hand);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(more_watches_than_a_request_holds),
	};
	const char *missing = zk_server_missing(false);
	int rv;

	if (missing != NULL) {
		(void)fprintf(stderr, "skipped: %s\n", missing);
		return 77;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	server = zk_server_start(&(struct zk_options){0});
	rv = cmocka_run_group_tests(tests, NULL, NULL);
	zk_server_free(server);
	return rv;
}
