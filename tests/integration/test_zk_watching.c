/* test_zk_watching.c: watches of ZooKeeper against a real server, both ways of
 * reading: what is told, resumes along known keys, cut connections, nobody who
 * pulls. A mirror in memory follows; at the end it has what the tree has.
 */
#include "tests/integration/test_zk_mirror.h"
#include "tests/lib/sweep.h"

static struct zk_server *server;

/* ---- what is told -------------------------------------------------------- */

static void first_steps(const char *reader)
{
	struct zw w;
	struct store *st;
	struct store_watch *wa;
	struct mirror m;
	struct kv_err err;

	zw_open(&w, server, reader);
	st = zw_store(&w, "");
	mirror_open(&m, &w, true);
	wa = watch_open(&m, st);
	CHECK(pull(&m, &w, wa, 0, &err));
	zk_hand_put_text(w.hand, "/t/a", "1");
	catch_up(&m, &w, st, wa);
	CHECK_ALL(&w, st, "/a=1 ");
	check_same(&m, &w, st);
	zk_hand_put_text(w.hand, "/t/b/c", "2");
	catch_up(&m, &w, st, wa);
	check_same(&m, &w, st);
	zk_hand_delete_all(w.hand, "/t/b");
	catch_up(&m, &w, st, wa);
	check_same(&m, &w, st);
	CHECK(m.inferred == 0);
	store_watch_close(wa);
	zk_hand_put_text(w.hand, "/t/d/e/f", "3");
	zk_hand_delete_all(w.hand, "/t/a");
	wa = watch_open(&m, st);
	catch_up(&m, &w, st, wa);
	check_same(&m, &w, st);
	CHECK(m.inferred == 1 && m.relists == 1);
	store_watch_close(wa);
	mirror_close(&m);
	ew_shut(&w.e, st);
	zw_close(&w);
}

/* The root of what is watched: not there yet, made, gone, made anew; followed,
 * and in gaps. */
static void the_root_comes_and_goes(void **state)
{
	struct zw w;
	struct store *st;
	struct store_watch *wa;
	struct mirror m;
	struct kv_err err;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		zw_open(&w, server, zw_readers[i / 2]);
		st = zw_store(&w, "");
		mirror_open(&m, &w, i % 2 == 0);
		wa = watch_open(&m, st);
		CHECK(pull(&m, &w, wa, 0, &err));
		for (unsigned round = 0; round < 6; round++) {
			zk_hand_put_text(w.hand, "/t/a", "1");
			zk_hand_put_text(w.hand, "/t/b/c", "2");
			if (round % 2 == 0) {
				catch_up(&m, &w, st, wa);
				check_same(&m, &w, st);
			}
			if (round > 2) {
				store_watch_close(wa);
			}
			zk_hand_delete_all(w.hand, "/t");
			if (round > 3) {
				zk_hand_put_text(w.hand, "/t/b", "3");
			}
			if (round > 2) {
				wa = watch_open(&m, st);
			}
			catch_up(&m, &w, st, wa);
			check_same(&m, &w, st);
		}
		store_watch_close(wa);
		mirror_close(&m);
		ew_shut(&w.e, st);
		zw_close(&w);
	}
}

/* ---- at random ----------------------------------------------------------- */

static unsigned pick(uint64_t *seed, unsigned n)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(*seed >> 33) % n;
}

/* A path of one to three segments, some of which sort around '/'. */
static void random_path(uint64_t *seed, char *buf, size_t cap)
{
	static const char *const names[] = {"a", "a-", "a0", "b"};
	unsigned depth = 1 + pick(seed, 3);
	size_t n = (size_t)snprintf(buf, cap, "/t");

	for (unsigned i = 0; i < depth; i++) {
		n += (size_t)snprintf(buf + n, cap - n, "/%s",
				      names[pick(seed, KV_COUNT(names))]);
	}
}

static void random_step(struct zw *w, uint64_t *seed)
{
	char path[64], value[32];
	unsigned what = pick(seed, 10);

	random_path(seed, path, sizeof path);
	(void)snprintf(value, sizeof value, "%u", pick(seed, 100000));
	if (what < 5) {
		zk_hand_put_text(w->hand, path, value);
	} else if (what < 7) {
		zk_hand_put(w->hand, path, NULL, 0);
	} else if (what == 7) {
		zk_hand_delete_all(w->hand, path);
		zk_hand_put_text(w->hand, path, value);
	} else {
		zk_hand_delete_all(w->hand, path);
	}
}

static void make_steps(struct zw *w, uint64_t *seed, unsigned n)
{
	while (n-- > 0) {
		random_step(w, seed);
	}
}

struct style {
	const char *reader;
	bool complete;
	const char *more; /* of the URI */
};

/* Watched while it is written to, left, resumed. */
static void at_random(const struct style *style, uint64_t seed)
{
	struct zw w;
	struct store *st;
	struct store_watch *wa;
	struct mirror m;
	struct kv_err err;

	zw_open(&w, server, style->reader);
	st = zw_store(&w, style->more);
	mirror_open(&m, &w, style->complete);
	wa = watch_open(&m, st);
	CHECK(pull(&m, &w, wa, 0, &err));
	for (unsigned round = 0; round < 12; round++) {
		make_steps(&w, &seed, 1 + pick(&seed, 30));
		if (pick(&seed, 3) == 0) {
			store_watch_close(wa);
			make_steps(&w, &seed, pick(&seed, 20));
			wa = watch_open(&m, st);
		}
		catch_up(&m, &w, st, wa);
		check_same(&m, &w, st);
	}
	store_watch_close(wa);
	mirror_close(&m);
	ew_shut(&w.e, st);
	zw_close(&w);
}

static void random_styles(const struct style *styles, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (uint64_t seed = 1; seed <= 4; seed++) {
			print_message("%s%s, seed %u\n", styles[i].reader,
				      styles[i].more, (unsigned)seed);
			at_random(&styles[i], seed);
		}
	}
}

static void fast_at_random(void **state)
{
	static const struct style styles[] = {
	    {"fast", true, ""},
	    {"fast", false, ""},
	    {"fast", false, "&data=leaves"},
	    {"fast", false, "&data=nonempty"},
	};

	(void)state;
	random_styles(styles, KV_COUNT(styles));
}

/* ---- what must not be read, and what stands beside values --------------- */

static bool is_hidden(struct mirror *m, const char *key)
{
	const struct row *r = row_of(m, slice_str(key));

	return r->there && r->hidden;
}

/* Told while it is followed (where anything is), and by a resume: as there, and
 * never as gone. */
static void hidden_keys(const char *reader, bool complete)
{
	struct zw w;
	struct store *st;
	struct store_watch *wa;
	struct mirror m;
	struct kv_err err;

	zw_open(&w, server, reader);
	zk_hand_auth(w.hand, "me:secret");
	zk_hand_put_text(w.hand, "/t/a", "1");
	st = zw_store(&w, "");
	mirror_open(&m, &w, complete);
	wa = watch_open(&m, st);
	CHECK(pull(&m, &w, wa, 0, &err));
	zk_hand_put_text(w.hand, "/t/b", "1");
	catch_up(&m, &w, st, wa);
	zk_hand_put_text(w.hand, "/t/a", "2");
	zk_hand_put_text(w.hand, "/t/c/d", "3");
	catch_up(&m, &w, st, wa);
	store_watch_close(wa);
	/* In a gap: one that was known, a new one, one below a closed one. */
	zk_hand_put_text(w.hand, "/t/a", "3");
	zk_hand_close_off(w.hand, "/t/a");
	zk_hand_put_text(w.hand, "/t/n", "1");
	zk_hand_close_off(w.hand, "/t/n");
	zk_hand_close_off(w.hand, "/t/c");
	wa = watch_open(&m, st);
	catch_up(&m, &w, st, wa);
	CHECK(is_hidden(&m, "/a"));
	CHECK(is_hidden(&m, "/n"));
	CHECK(row_of(&m, slice_str("/b"))->there);
	CHECK(row_of(&m, slice_str("/c/d"))->there);
	CHECK(m.inferred == 0);
	store_watch_close(wa);
	/* And what is gone, is gone. */
	zk_hand_delete_all(w.hand, "/t/a");
	zk_hand_delete_all(w.hand, "/t/c");
	wa = watch_open(&m, st);
	catch_up(&m, &w, st, wa);
	CHECK(!row_of(&m, slice_str("/a"))->there);
	CHECK(!row_of(&m, slice_str("/c/d"))->there);
	CHECK(m.inferred == 2);
	store_watch_close(wa);
	zk_hand_delete_all(w.hand, "/t");
	mirror_close(&m);
	ew_shut(&w.e, st);
	zw_close(&w);
}

static void what_must_not_be_read_is_there(void **state)
{
	(void)state;
	for (size_t i = 0; i < KV_COUNT(zw_readers); i++) {
		hidden_keys(zw_readers[i], false);
		hidden_keys(zw_readers[i], true);
	}
}

/* What a scan says of a key beside its value. */
static void check_attrs(struct zw *w, struct store *st, struct mirror *m,
			const char *key, bool some)
{
	struct store_single req =
	    ew_single(&w->e, st, store_get, key, slice_str(""));
	const struct row *r = row_of(m, slice_str(key));

	CHECK_STATUS(req.err, KV_OK);
	CHECK((r->attrs_n > 0) == some);
	CHECK(slice_eq(req.pair.attrs, slice_of(r->attrs, r->attrs_n)));
	store_single_free(&req);
}

static void attrs_come_with_the_values(void **state)
{
	struct zw w;
	struct store *st;
	struct store_watch *wa;
	struct mirror m;
	struct kv_err err;

	(void)state;
	for (size_t i = 0; i < KV_COUNT(zw_readers); i++) {
		zw_open(&w, server, zw_readers[i]);
		zk_hand_auth(w.hand, "me:secret");
		CHECK(setenv("ZK_DIGEST", "me:secret", 1) == 0);
		st = zw_store_at(&w, NULL, "&acls=copy&digest=env:ZK_DIGEST",
				 STORE_ATTRS);
		mirror_open(&m, &w, false);
		wa = watch_open(&m, st);
		CHECK(pull(&m, &w, wa, 0, &err));
		zk_hand_put_text(w.hand, "/t/a", "1");
		zk_hand_put(w.hand, "/t/b", NULL, 0);
		zk_hand_put_text(w.hand, "/t/c", "1");
		zk_hand_close_off(w.hand, "/t/c");
		zk_hand_put_text(w.hand, "/t/c", "2");
		catch_up(&m, &w, st, wa);
		check_attrs(&w, st, &m, "/a", false);
		check_attrs(&w, st, &m, "/b", true);
		check_attrs(&w, st, &m, "/c", true);
		store_watch_close(wa);
		zk_hand_delete_all(w.hand, "/t");
		mirror_close(&m);
		ew_shut(&w.e, st);
		zw_close(&w);
	}
}

/* ---- one key ------------------------------------------------------------- */

static void expect_one(struct zw *w, struct store_watch *wa, uint64_t want,
		       enum store_action action, const char *value)
{
	struct kv_err err;
	size_t n = 0;

	while (n == 0) {
		struct store_batch *b = ew_next(&w->e, wa, want, &err);

		CHECK_STATUS(err, KV_OK);
		n = b->n;
		CHECK(n <= 1);
		if (n == 1) {
			CHECK(b->changes[0].action == action);
			CHECK(slice_eq(b->changes[0].value, slice_str(value)));
		}
		store_batch_free(b);
	}
}

static void one_key_is_watched(void **state)
{
	struct store_watch_params p = {.key = slice_str("/k")};
	struct zw w;
	struct store *st;
	struct store_watch *wa, *all;

	(void)state;
	for (size_t i = 0; i < KV_COUNT(zw_readers); i++) {
		zw_open(&w, server, zw_readers[i]);
		zk_hand_put_text(w.hand, "/t/k", "1");
		st = zw_store(&w, "");
		p.after = 0;
		/* One of the tree, on the same connection, above it. */
		all = ew_watch(st, "", 0);
		store_batch_free(ew_next(&w.e, all, 0, &(struct kv_err){0}));
		wa = store_watch_open(st, &p);
		expect_one(&w, wa, 0, STORE_GET, "1");
		zk_hand_put_text(w.hand, "/t/k", "2");
		expect_one(&w, wa, 0, STORE_SET, "2");
		zk_hand_put(w.hand, "/t/k", NULL, 0);
		expect_one(&w, wa, 0, STORE_SET, "");
		zk_hand_put_text(w.hand, "/t/k/child", "3");
		expect_one(&w, wa, 0, STORE_DELETE, "");
		zk_hand_delete_all(w.hand, "/t/k/child");
		expect_one(&w, wa, 0, STORE_SET, "");
		p.after = index_now(&w, st);
		zk_hand_delete_all(w.hand, "/t/k");
		expect_one(&w, wa, 0, STORE_DELETE, "");
		store_watch_close(wa);
		wa = store_watch_open(st, &p);
		expect_one(&w, wa, 0, STORE_DELETE, "");
		zk_hand_put_text(w.hand, "/t/k", "4");
		expect_one(&w, wa, 0, STORE_SET, "4");
		store_watch_close(wa);
		store_watch_close(all);
		ew_shut(&w.e, st);
		zw_close(&w);
	}
}

/* ---- while others write, over a network that breaks ---------------------- */

struct writer {
	struct zw *w;
	uint64_t seed;
	unsigned steps;
	uv_thread_t thread;
	bool done; /* set by the loop */
	uv_async_t told;
};

static void writer_main(void *arg)
{
	struct writer *wr = arg;

	make_steps(wr->w, &wr->seed, wr->steps);
	(void)uv_async_send(&wr->told);
}

static void writer_told(uv_async_t *a)
{
	struct writer *wr = kv_container_of(a, struct writer, told);

	wr->done = true;
	uv_close((uv_handle_t *)a, NULL);
}

static void writer_start(struct writer *wr, struct zw *w, uint64_t seed,
			 unsigned steps)
{
	*wr = (struct writer){.w = w, .seed = seed, .steps = steps};
	CHECK(uv_async_init(&w->e.loop.uv, &wr->told, writer_told) == 0);
	CHECK(uv_thread_create(&wr->thread, writer_main, wr) == 0);
}

/* 0: nobody answered. */
static uint64_t try_index(struct zw *w, struct store *st)
{
	struct store_single req =
	    ew_single(&w->e, st, store_exists, "/none", slice_str(""));
	uint64_t index = req.err.status == KV_OK ? req.origin.index : 0;

	store_single_free(&req);
	return index;
}

/* A pull; where the watch has ended, the next one goes on from there. */
static void follow(struct mirror *m, struct zw *w, struct store *st,
		   struct store_watch **wa, unsigned *lost)
{
	uint64_t now = try_index(w, st);
	struct kv_err err = {0};

	if (!pull(m, w, *wa, now, &err)) {
		CHECK(kv_status_class(err.status) == KV_CLASS_RETRY);
		(*lost)++;
		m->announced = 0;
		store_watch_close(*wa);
		*wa = watch_open(m, st);
	}
}

static void while_written(const struct style *style, uint64_t seed, bool cuts)
{
	struct zw w;
	struct store *st, *direct;
	struct store_watch *wa;
	struct mirror m;
	struct writer wr;
	struct tcp_proxy proxy;
	char host[64];
	unsigned lost = 0, pulls = 0;
	uint64_t now;

	tcp_proxy_start(&proxy, zk_server_port(server, 0));
	(void)snprintf(host, sizeof host, "127.0.0.1:%d", proxy.port);
	zw_open(&w, server, style->reader);
	zk_hand_put_text(w.hand, "/t/a", "1");
	st = zw_store_at(&w, host, style->more, 0);
	direct = zw_store(&w, style->more);
	mirror_open(&m, &w, style->complete);
	/* From the beginning, as after a seed of nothing. */
	wa = watch_open(&m, st);
	follow(&m, &w, st, &wa, &lost);
	zk_hand_delete_all(w.hand, "/t/a");
	writer_start(&wr, &w, seed, 1500);
	while (!wr.done) {
		follow(&m, &w, st, &wa, &lost);
		pulls++;
		if (cuts && pulls % 10 == 9) {
			tcp_proxy_cut(&proxy);
		}
	}
	CHECK(uv_thread_join(&wr.thread) == 0);
	now = index_now(&w, direct);
	while (m.index < now) {
		follow(&m, &w, st, &wa, &lost);
	}
	CHECK(!cuts || lost > 0);
	check_same(&m, &w, direct);
	print_message("%s%s: %u pulls, %u puts, %u deletes, %u of them "
		      "inferred, lost %u times\n",
		      style->reader, style->more, pulls, (unsigned)m.puts,
		      (unsigned)m.deletes, (unsigned)m.inferred, lost);
	store_watch_close(wa);
	mirror_close(&m);
	ew_shut(&w.e, st);
	ew_shut(&w.e, direct);
	zw_close(&w);
	tcp_proxy_end(&proxy);
}

static void both_while_written(bool cuts)
{
	static const struct style styles[] = {
	    {"fast", true, ""},
	    {"fast", false, ""},
	    {"fast", false, "&data=leaves"},
	    {"general", true, ""},
	    {"general", false, ""},
	    {"general", false, "&data=leaves"},
	};

	for (size_t i = 0; i < KV_COUNT(styles); i++) {
		while_written(&styles[i], 7 + i, cuts);
	}
}

static void nothing_is_missed_while_others_write(void **state)
{
	(void)state;
	both_while_written(false);
}

static void nothing_is_missed_when_the_network_breaks(void **state)
{
	(void)state;
	both_while_written(true);
}

/* ---- memory that runs out ------------------------------------------------ */

struct life {
	const char *uri;
	uint64_t after;
	uint64_t now;
	bool complete;
};

/* A store is opened and followed from `after` to `now`. */
static int live(struct ew *e, const struct life *life)
{
	static const char *const known[] = {"/a", "/b", "/c/d", "/e"};
	struct zw w = {.e = *e};
	struct mirror m;
	struct kv_err err = {0};
	struct store_watch *wa;
	struct store *st;

	if (store_open(&e->registry, e->loop.sched, life->uri, STORE_ATTRS, &st,
		       &err) != KV_OK) {
		return err.status;
	}
	mirror_open(&m, &w, life->complete);
	m.loop = &e->loop;
	m.index = life->after;
	for (size_t i = 0; i < KV_COUNT(known); i++) {
		row_of(&m, slice_str(known[i]))->there = true;
	}
	wa = store_watch_open(st, &(struct store_watch_params){
				      .after = life->after, .known = &m.known});
	while (wa != NULL && m.index < life->now) {
		struct store_batch *b = ew_next(e, wa, life->now, &err);

		if (b == NULL) {
			break;
		}
		if (!b->init) {
			take(&m, b);
		}
		store_batch_free(b);
	}
	if (wa != NULL) {
		store_watch_close(wa);
	}
	ew_shut(e, st);
	mirror_close(&m);
	return wa == NULL ? KV_NO_MEMORY : err.status;
}

static int live_with_failures(void *ctx)
{
	struct ew e = {.server = NULL};
	int rv = KV_NO_MEMORY;

	test_loop_open(&e.loop);
	if (e.loop.sched != NULL &&
	    store_register(&e.registry, &store_zookeeper_ops, NULL) == KV_OK) {
		rv = live(&e, ctx);
	}
	test_loop_close(&e.loop);
	store_registry_free(&e.registry);
	/* A connection that it costs is one that was lost. */
	return rv == KV_NOT_REACHABLE ? KV_NO_MEMORY : rv;
}

static void memory_may_be_out_anywhere(void **state)
{
	struct zw w;
	struct store *st;
	struct life life;
	char uri[256];

	(void)state;
	zw_open(&w, server, "fast");
	st = zw_store(&w, "");
	zk_hand_put_text(w.hand, "/t/a", "1");
	zk_hand_put_text(w.hand, "/t/b", "1");
	zk_hand_put_text(w.hand, "/t/c/d", "1");
	zk_hand_put_text(w.hand, "/t/e", "1");
	life.after = index_now(&w, st);
	zk_hand_put_text(w.hand, "/t/a", "2");
	zk_hand_delete_all(w.hand, "/t/b");
	zk_hand_put_text(w.hand, "/t/c/x/y", "2");
	zk_hand_put_text(w.hand, "/t/f", "2");
	zk_hand_close_off(w.hand, "/t/f");
	life.now = index_now(&w, st);
	ew_shut(&w.e, st);
	for (unsigned i = 0; i < 4; i++) {
		life.complete = i % 2 == 1;
		life.uri = uri;
		(void)snprintf(uri, sizeof uri, "zk://%s/t?reader=%s&acls=copy",
			       zk_server_endpoints(server), zw_readers[i / 2]);
		print_message("%u failures\n",
			      sweep_run(live_with_failures, &life));
	}
	zw_close(&w);
}

static void general_at_random(void **state)
{
	static const struct style styles[] = {
	    {"general", true, ""},
	    {"general", false, ""},
	    {"general", false, "&data=leaves"},
	    {"general", false, "&data=nonempty"},
	};

	(void)state;
	random_styles(styles, KV_COUNT(styles));
}

static void fast_first_steps(void **state)
{
	(void)state;
	first_steps("fast");
}

static void general_first_steps(void **state)
{
	(void)state;
	first_steps("general");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fast_first_steps),
	    cmocka_unit_test(general_first_steps),
	    cmocka_unit_test(the_root_comes_and_goes),
	    cmocka_unit_test(fast_at_random),
	    cmocka_unit_test(general_at_random),
	    cmocka_unit_test(what_must_not_be_read_is_there),
	    cmocka_unit_test(attrs_come_with_the_values),
	    cmocka_unit_test(one_key_is_watched),
	    cmocka_unit_test(memory_may_be_out_anywhere),
	    cmocka_unit_test(nothing_is_missed_while_others_write),
	    cmocka_unit_test(nothing_is_missed_when_the_network_breaks),
	};
	const char *missing = zk_server_missing(false);
	int rv;

	if (missing != NULL) {
		(void)fprintf(stderr, "skipped: %s\n", missing);
		return 77;
	}
	if (argc > 1) {
		cmocka_set_test_filter(argv[1]);
	}
	server = zk_server_start(&(struct zk_options){0});
	rv = cmocka_run_group_tests(tests, NULL, NULL);
	zk_server_free(server);
	return rv;
}
