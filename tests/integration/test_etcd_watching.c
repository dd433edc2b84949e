/* test_etcd_watching.c: watches against real servers: huge transactions, nobody
 * who pulls, positions that are asked for; and memory that runs out anywhere.
 */
#include "store/base/mem.h"
#include "tests/integration/test_etcd_world.h"
#include "tests/lib/sweep.h"

#define V slice_str("v")

/* Progress marks of the server must not answer in place of what is tested. */
static const char *const no_progress[] = {
    "--experimental-watch-progress-notify-interval=10m", NULL};

/* ---- huge transactions --------------------------------------------------- */

/* 2000 keys with names of 4 KB, deleted in one revision: more than 8 MB of
 * events, which the server sends in fragments. */
static void a_huge_delete_comes_in_parts(void **state)
{
	struct ew w;
	struct store *st;
	struct arena a = {0};
	struct store_watch *wa;
	struct store_batch *b;
	struct kv_err err;
	uint64_t index;
	size_t i, j, n = 0, parts = 0, ends = 0;
	char *name = malloc(4096);

	(void)state;
	CHECK(name != NULL);
	ew_open(&w, &(struct etcd_options){.more = no_progress});
	st = ew_store(&w, "etcd", "/t");
	memset(name, 'n', 4096);
	for (i = 0; i < 2000; i += 80) {
		struct store_write req = {.epoch = 0};
		struct store_op *ops = ew_ops(&a, "", i, 80, 1);

		for (j = 0; j < 80; j++) {
			(void)snprintf(name, 4096, "/d/%06zu", i + j);
			name[9] = 'n';
			ops[j].key = slice_dup(&a, slice_of(name, 4000));
		}
		ew_write(&w, st, &req, ops, 80);
		CHECK_STATUS(req.err, KV_OK);
		arena_reset(&a);
	}
	wa = ew_watch_now(&w, st, "", 0, &index);
	CHECK(etcd_server_ctl(w.server, NULL, "del", "--prefix", "/t/d/",
			      NULL) == 0);
	while (ends == 0) {
		b = ew_next(&w, wa, 0, &err);
		CHECK_STATUS(err, KV_OK);
		for (i = 0; i < b->n; i++) {
			CHECK(b->changes[i].action == STORE_DELETE);
			CHECK(b->changes[i].index == index + 1);
			ends += b->changes[i].tx_end ? 1 : 0;
		}
		n += b->n;
		parts++;
		CHECK(b->partial == (ends == 0));
		CHECK(b->index == (ends == 0 ? index : index + 1));
		store_batch_free(b);
	}
	CHECK(n == 2000);
	CHECK(ends == 1);
	CHECK(parts > 1);
	store_watch_close(wa);
	arena_free(&a);
	free(name);
	ew_shut(&w, st);
	ew_close(&w);
}

/* ---- nobody pulls -------------------------------------------------------- */

/* What is allocated, and how much it was at most. */
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

static void who_does_not_pull_costs_little(void **state)
{
	enum { MB = 1024 * 1024, WRITES = 60 };
	struct meter m = {0, 0};
	struct kv_mem_hooks hooks = {
	    .realloc = meter_realloc, .free = meter_free, .ctx = &m};
	struct ew w;
	struct store *st, *writer;
	struct store_watch *wa;
	struct store_batch *b;
	struct kv_err err;
	uint64_t index, last = 0;
	uint8_t *value = malloc(MB);
	size_t n = 0, i;

	(void)state;
	CHECK(value != NULL);
	memset(value, 'x', MB);
	kv_mem_set_hooks(&hooks);
	ew_open(&w, &(struct etcd_options){.nodes = 1});
	st = ew_store(&w, "etcd", "/t");
	writer = ew_store(&w, "etcd", "/t");
	wa = ew_watch_now(&w, st, "", 0, &index);
	for (i = 0; i < WRITES; i++) {
		CHECK_STATUS(ew_put(&w, writer, "/a", slice_of(value, MB)),
			     KV_OK);
	}
	ew_run_ms(&w, 500);
	if (m.most >= (size_t)24 * MB) {
		fail_msg("%zu bytes are held", m.most);
	}
	while (n < WRITES) {
		b = ew_next(&w, wa, 0, &err);
		CHECK_STATUS(err, KV_OK);
		for (i = 0; i < b->n; i++) {
			CHECK(b->changes[i].index > last);
			CHECK(b->changes[i].value.n == MB);
			last = b->changes[i].index;
		}
		n += b->n;
		store_batch_free(b);
	}
	CHECK(n == WRITES);
	store_watch_close(wa);
	ew_shut(&w, writer);
	ew_shut(&w, st);
	ew_close(&w);
	kv_mem_set_hooks(NULL);
	CHECK(m.now == 0);
	free(value);
}

/* ---- positions that are asked for ---------------------------------------- */

static uint64_t index_of(struct ew *w, struct store *st)
{
	struct store_single got =
	    ew_single(w, st, store_exists, "/none", slice_str(""));

	CHECK_STATUS(got.err, KV_OK);
	store_single_free(&got);
	return got.origin.index;
}

/* A mirror of up to 64 keys "/k00" ... in memory. */
struct mirror {
	char value[64][32];
};

static unsigned slot_of(struct slice key)
{
	CHECK(key.n == 4 && key.p[1] == 'k');
	return (unsigned)(key.p[2] - '0') * 10 + (unsigned)(key.p[3] - '0');
}

static void apply(struct mirror *m, const struct store_batch *b)
{
	size_t i;

	for (i = 0; i < b->n; i++) {
		const struct store_change *c = &b->changes[i];
		char *v = m->value[slot_of(c->key)];

		memset(v, 0, sizeof m->value[0]);
		if (c->action != STORE_DELETE) {
			CHECK(c->value.n < sizeof m->value[0]);
			memcpy(v, c->value.p, c->value.n);
		}
	}
}

/* Is the mirror the tree as of that index? */
static void compare(struct ew *w, struct store *st, const struct mirror *m,
		    uint64_t index)
{
	struct store_scan scan = {.at = index};
	struct mirror now = {0};
	size_t i;

	ew_scan(w, st, &scan);
	CHECK_STATUS(scan.err, KV_OK);
	CHECK(!scan.page->more);
	for (i = 0; i < scan.page->n; i++) {
		const struct store_pair *p = &scan.page->pairs[i];

		memcpy(now.value[slot_of(p->key)], p->value.p, p->value.n);
	}
	store_page_free(scan.page);
	CHECK(memcmp(&now, m, sizeof now) == 0);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Some random writes below and beside the prefix. */
static void scribble(struct ew *w, struct store *st, struct store *beside,
		     uint32_t *seed)
{
	unsigned i, n = next_random(seed) % 6;
	char key[8], value[32];

	for (i = 0; i < n; i++) {
		struct store *at = next_random(seed) % 2 == 0 ? st : beside;
		struct kv_err err;

		(void)snprintf(key, sizeof key, "/k%02u",
			       next_random(seed) % 64);
		(void)snprintf(value, sizeof value, "%u", next_random(seed));
		err = next_random(seed) % 3 == 0
			  ? ew_delete(w, at, key)
			  : ew_put(w, at, key, slice_str(value));
		CHECK(err.status == KV_OK || err.status == KV_KEY_NOT_FOUND);
	}
}

/* Whenever a position is answered, the changes told so far make up the tree of
 * that position, whatever was written elsewhere. */
static void positions_are_exact(void **state)
{
	struct ew w;
	struct store *st, *beside;
	struct store_watch *wa;
	struct store_batch *b;
	struct kv_err err;
	struct mirror m = {0};
	uint64_t position, want;
	uint32_t seed = 42;
	unsigned round;

	(void)state;
	ew_open(&w, &(struct etcd_options){.more = no_progress});
	st = ew_store(&w, "etcd", "/t");
	beside = ew_store(&w, "etcd", "/u");
	wa = ew_watch_now(&w, st, "", 0, &position);
	for (round = 0; round < 150; round++) {
		scribble(&w, st, beside, &seed);
		want = index_of(&w, st);
		while (position < want) {
			b = ew_next(&w, wa, want, &err);
			CHECK_STATUS(err, KV_OK);
			CHECK(b->index >= position);
			apply(&m, b);
			position = b->index;
			CHECK(!b->partial);
			store_batch_free(b);
			compare(&w, st, &m, position);
		}
	}
	store_watch_close(wa);
	ew_shut(&w, beside);
	ew_shut(&w, st);
	ew_close(&w);
}

/* The same question of a watch that resumes far behind, with a prefix of many
 * keys: the proof takes several pages. */
static void a_quiet_large_tree_is_proven(void **state)
{
	struct ew w;
	struct store *st, *beside;
	struct store_watch *wa;
	struct store_batch *b;
	struct kv_err err;
	uint64_t position, want;

	(void)state;
	ew_open(&w, &(struct etcd_options){.more = no_progress});
	st = ew_store(&w, "etcd", "/t");
	beside = ew_store(&w, "etcd", "/u");
	ew_fill(&w, st, "", 12000, 10);
	position = index_of(&w, st);
	ew_fill(&w, beside, "", 1000, 10);
	want = index_of(&w, st);
	CHECK(want > position);
	wa = ew_watch_now(&w, st, "", position, &position);
	b = ew_next(&w, wa, want, &err);
	CHECK_STATUS(err, KV_OK);
	CHECK(b->n == 0);
	CHECK(b->index >= want);
	store_batch_free(b);
	/* Compaction beyond the position does not hinder. */
	ew_fill(&w, beside, "", 1000, 10);
	etcd_server_compact(w.server);
	want = index_of(&w, st);
	b = ew_next(&w, wa, want, &err);
	CHECK_STATUS(err, KV_OK);
	CHECK(b->index >= want);
	store_batch_free(b);
	store_watch_close(wa);
	ew_shut(&w, beside);
	ew_shut(&w, st);
	ew_close(&w);
}

/* ---- cancels, closes ----------------------------------------------------- */

struct storm {
	unsigned ended, unknown;
	struct store_write writes[64];
	struct store_op ops[64];
	struct store_scan scans[64];
};

static void storm_write_cb(struct store_write *req)
{
	struct storm *s = req->data;

	s->ended++;
	CHECK(req->err.status == KV_OK || req->err.status == KV_CANCELED ||
	      req->err.status == KV_UNKNOWN_OUTCOME);
	CHECK(req->ops[0].status == req->err.status);
}

static void storm_scan_cb(struct store_scan *req)
{
	struct storm *s = req->data;

	s->ended++;
	CHECK(req->err.status == KV_OK || req->err.status == KV_CANCELED);
	store_page_free(req->page);
}

/* Writes and scans in flight, some canceled after some turns of the loop, then
 * the store closed: each ends once. */
static void a_storm_of_cancels(void **state)
{
	struct ew w;
	struct store *st;
	uint32_t seed = 7;
	unsigned round, i, n;

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 1});
	for (round = 0; round < 25; round++) {
		static struct storm s;
		bool closed = false;

		memset(&s, 0, sizeof s);
		st = ew_store(&w, "etcd", "/t");
		if (round % 2 == 1) {
			CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
		}
		n = 1 + next_random(&seed) % 64;
		for (i = 0; i < n; i++) {
			s.ops[i].key = slice_str("/a");
			s.ops[i].value = V;
			s.writes[i].ops = &s.ops[i];
			s.writes[i].n_ops = 1;
			s.writes[i].cb = storm_write_cb;
			s.scans[i].cb = storm_scan_cb;
			s.writes[i].data = s.scans[i].data = &s;
			CHECK(store_write(st, &s.writes[i]) == KV_OK);
			CHECK(store_scan(st, &s.scans[i]) == KV_OK);
		}
		test_loop_turns(&w.loop, next_random(&seed) % 20);
		for (i = 0; i < n; i += 1 + next_random(&seed) % 3) {
			store_cancel(&s.writes[i].req);
			store_cancel(&s.scans[i].req);
		}
		test_loop_turns(&w.loop, next_random(&seed) % 3);
		store_close(st, ew_closed_cb, &closed);
		test_loop_until(&w.loop, &closed);
		CHECK(s.ended == 2 * n);
	}
	ew_close(&w);
}

/* ---- memory that runs out ------------------------------------------------ */

/* One life of a store: open, put, read, scan, write, watch, close. Ends at the
 * first call that fails. */
static int live(struct ew *w, const char *uri)
{
	struct kv_err err = {0};
	struct store *st;
	struct store_watch *wa = NULL;
	struct store_batch *b;
	struct store_scan scan = {0};
	struct store_write req = {.epoch = 0};
	struct store_op ops[2] = {{.key = slice_str("/a"), .value = V},
				  {.key = slice_str("/b"), .value = V}};
	struct store_watch_params p = {.after = 0};
	int i;

	if (store_open(&w->registry, w->loop.sched, uri, 0, &st, &err) !=
	    KV_OK) {
		return err.status;
	}
	err = ew_put(w, st, "/a", V);
	if (err.status == KV_OK) {
		ew_write(w, st, &req, ops, 2);
		err = req.err;
	}
	if (err.status == KV_OK) {
		ew_scan(w, st, &scan);
		store_page_free(scan.page);
		err = scan.err;
	}
	if (err.status == KV_OK && (wa = store_watch_open(st, &p)) == NULL) {
		err.status = KV_NO_MEMORY;
	}
	for (i = 0; i < 2 && err.status == KV_OK; i++) {
		b = ew_next(w, wa, 0, &err);
		store_batch_free(b);
		if (i == 0 && err.status == KV_OK) {
			err = ew_put(w, st, "/a", V);
		}
	}
	if (wa != NULL) {
		store_watch_close(wa);
	}
	ew_shut(w, st);
	return err.status;
}

static int live_with_failures(void *ctx)
{
	const char *uri = ctx;
	struct ew w = {.server = NULL};
	int rv = KV_NO_MEMORY;

	test_loop_open(&w.loop);
	if (w.loop.sched != NULL &&
	    store_register(&w.registry, &store_etcd_ops, NULL) == KV_OK) {
		rv = live(&w, uri);
	}
	test_loop_close(&w.loop);
	store_registry_free(&w.registry);
	/* Memory that is out after a write went off leaves it open; a
	 * connection that it costs is one that was lost. */
	return rv == KV_UNKNOWN_OUTCOME || rv == KV_NOT_REACHABLE ? KV_NO_MEMORY
								  : rv;
}

static void memory_may_be_out_anywhere(void **state)
{
	struct ew w;
	char uri[2048];

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 1});
	(void)snprintf(uri, sizeof uri, "etcd://%s/t",
		       etcd_server_endpoints(w.server));
	CHECK(sweep_run(live_with_failures, uri) > 100);
	ew_close(&w);
}

static void memory_may_be_out_under_tls(void **state)
{
	struct ew w;
	char uri[2048];
	const char *d;

	(void)state;
	ew_open(&w, &(struct etcd_options){.tls = true, .client_cert = true});
	d = etcd_server_dir(w.server);
	(void)snprintf(uri, sizeof uri,
		       "etcds://%s/t?ca=%s/certs/ca.pem"
		       "&cert=%s/certs/client.pem&key=%s/certs/client.key",
		       etcd_server_endpoints(w.server), d, d, d);
	CHECK(sweep_run(live_with_failures, uri) > 100);
	ew_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_huge_delete_comes_in_parts),
	    cmocka_unit_test(who_does_not_pull_costs_little),
	    cmocka_unit_test(positions_are_exact),
	    cmocka_unit_test(a_quiet_large_tree_is_proven),
	    cmocka_unit_test(a_storm_of_cancels),
	    cmocka_unit_test(memory_may_be_out_anywhere),
	    cmocka_unit_test(memory_may_be_out_under_tls),
	};

	if (!etcd_server_available()) {
		fprintf(stderr, "skipped: no etcd and etcdctl to start\n");
		return 77;
	}
	if (argc > 1) {
		cmocka_set_test_filter(argv[1]);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
