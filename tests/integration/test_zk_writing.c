/* test_zk_writing.c: what writing does to a tree of znodes, on a real server:
 * parents, null data, znodes made anew, ACLs, answers that get lost, sessions
 * that end, closing in the middle. What all backends promise is asked by the
 * conformance suite.
 */
#include "tests/integration/test_etcd_world.h"

#include "store/zookeeper/zk_attrs.h"
#include "store/zookeeper/zookeeper.h"
#include "tests/fixtures/tcp_proxy.h"
#include "tests/fixtures/zk_hand.h"
#include "tests/fixtures/zk_server.h"

#define V slice_str("v")

struct world {
	struct ew e;
	struct zk_server *server;
	zhandle_t *hand;
	struct arena arena;
};

static struct zk_server *shared;

static void world_open(struct world *w)
{
	memset(w, 0, sizeof *w);
	(void)signal(SIGPIPE, SIG_IGN);
	test_loop_open(&w->e.loop);
	CHECK(store_register(&w->e.registry, &store_zookeeper_ops, NULL) ==
	      KV_OK);
	w->server = shared;
	w->hand = zk_hand_open(zk_server_endpoints(shared), 4000);
	zk_hand_delete_all(w->hand, "/t");
}

static void world_close(struct world *w)
{
	zk_hand_close(w->hand);
	arena_free(&w->arena);
	ew_close(&w->e);
}

static struct store *open_at(struct world *w, const char *hosts,
			     const char *more, unsigned flags)
{
	char uri[2048];
	struct kv_err err = {0};
	struct store *st;

	(void)snprintf(uri, sizeof uri, "zk://%s/t?timeout_ms=20000%s",
		       hosts == NULL ? zk_server_endpoints(w->server) : hosts,
		       more);
	if (store_open(&w->e.registry, w->e.loop.sched, uri, flags, &st,
		       &err) != KV_OK) {
		fprintf(stderr, "%s: %s\n", uri, err.text);
		abort();
	}
	return st;
}

static bool there(struct world *w, const char *path)
{
	struct Stat st;

	return zk_hand_stat(w->hand, path, &st);
}

static struct store_version version_of(struct world *w, struct store *st,
				       const char *key)
{
	struct store_single req =
	    ew_single(&w->e, st, store_get, key, slice_str(""));
	struct store_version v = req.pair.version;

	CHECK_STATUS(req.err, KV_OK);
	store_single_free(&req);
	return v;
}

static struct store_op op_put(const char *key, struct slice value)
{
	return (struct store_op){
	    .kind = STORE_OP_PUT, .key = slice_str(key), .value = value};
}

static struct store_op op_delete(const char *key)
{
	return (struct store_op){.kind = STORE_OP_DELETE,
				 .key = slice_str(key)};
}

/* A write that is waited for. */
static struct kv_err write_ops(struct world *w, struct store *st,
			       struct store_op *ops, size_t n)
{
	struct store_write req = {.epoch = 0};

	ew_write(&w->e, st, &req, ops, n);
	return req.err;
}

/* A write under way. */
struct flight {
	struct store_write req;
	struct store_op ops[4];
	bool done;
};

static void flight_cb(struct store_write *req)
{
	*(bool *)req->data = true;
}

static void take_off(struct store *st, struct flight *f, size_t n)
{
	f->req.ops = f->ops;
	f->req.n_ops = n;
	f->req.cb = flight_cb;
	f->req.data = &f->done;
	CHECK(store_write(st, &f->req) == KV_OK);
}

/* ---- parents ------------------------------------------------------------- */

static void null_parents_come_and_go(void **state)
{
	struct world w;
	struct store *st;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	CHECK_STATUS(ew_put(&w.e, st, "/a/b/c", V), KV_OK);
	CHECK(zk_hand_holds(w.hand, "/t", NULL));
	CHECK(zk_hand_holds(w.hand, "/t/a", NULL));
	CHECK(zk_hand_holds(w.hand, "/t/a/b/c", "v"));
	CHECK_STATUS(ew_get(&w.e, st, "/a/b"), KV_KEY_NOT_FOUND);
	CHECK_STATUS(ew_put(&w.e, st, "/a/b/d", V), KV_OK);
	CHECK_STATUS(ew_delete(&w.e, st, "/a/b/c"), KV_OK);
	CHECK(zk_hand_holds(w.hand, "/t/a/b", NULL));
	CHECK_STATUS(ew_delete(&w.e, st, "/a/b/d"), KV_OK);
	CHECK(!there(&w, "/t/a"));
	CHECK(there(&w, "/t")); /* the prefix itself stays */
	ew_shut(&w.e, st);
	world_close(&w);
}

static void parents_that_hold_something_stay(void **state)
{
	struct world w;
	struct store *st;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	zk_hand_put_text(w.hand, "/t/data", "d");
	zk_hand_put(w.hand, "/t/empty", "", 0);
	CHECK_STATUS(ew_put(&w.e, st, "/data/k", V), KV_OK);
	CHECK_STATUS(ew_put(&w.e, st, "/empty/k", V), KV_OK);
	CHECK_STATUS(ew_delete(&w.e, st, "/data/k"), KV_OK);
	CHECK_STATUS(ew_delete(&w.e, st, "/empty/k"), KV_OK);
	CHECK(zk_hand_holds(w.hand, "/t/data", "d"));
	CHECK(zk_hand_holds(w.hand, "/t/empty", ""));
	ew_shut(&w.e, st);
	world_close(&w);
}

static void a_key_with_children_is_emptied_and_goes_with_them(void **state)
{
	struct world w;
	struct store *st;
	struct store_op op;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	CHECK_STATUS(ew_put(&w.e, st, "/a", V), KV_OK);
	CHECK_STATUS(ew_put(&w.e, st, "/a/b", V), KV_OK);
	CHECK_STATUS(ew_delete(&w.e, st, "/a"), KV_OK);
	CHECK(zk_hand_holds(w.hand, "/t/a", NULL));
	CHECK_STATUS(ew_get(&w.e, st, "/a"), KV_KEY_NOT_FOUND);
	CHECK_STATUS(ew_delete(&w.e, st, "/a"), KV_KEY_NOT_FOUND);
	/* An absent key there can be put. */
	op = op_put("/a", slice_str("again"));
	op.guard = STORE_GUARD_ABSENT;
	CHECK_STATUS(write_ops(&w, st, &op, 1), KV_OK);
	CHECK(store_version_eq(op.version, version_of(&w, st, "/a")));
	CHECK_STATUS(ew_delete(&w.e, st, "/a"), KV_OK);
	CHECK_STATUS(ew_delete(&w.e, st, "/a/b"), KV_OK);
	CHECK(!there(&w, "/t/a"));
	ew_shut(&w.e, st);
	world_close(&w);
}

/* Two deletes at a time, of the last two children: the parent goes. */
static void deletes_at_a_time_leave_no_parent(void **state)
{
	struct world w;
	struct store *st;
	char key[4][32];
	unsigned i, k;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	for (i = 0; i < 50; i++) {
		struct flight f[4] = {{.done = false}};

		for (k = 0; k < 4; k++) {
			(void)snprintf(key[k], sizeof key[k], "/d/%u", k);
			CHECK_STATUS(ew_put(&w.e, st, key[k], V), KV_OK);
		}
		for (k = 0; k < 4; k++) {
			f[k].ops[0] = op_delete(key[k]);
			take_off(st, &f[k], 1);
		}
		for (k = 0; k < 4; k++) {
			test_loop_until(&w.e.loop, &f[k].done);
			CHECK_STATUS(f[k].req.err, KV_OK);
		}
		CHECK(!there(&w, "/t/d"));
	}
	ew_shut(&w.e, st);
	world_close(&w);
}

/* A child of a parent that may vanish under it. */
static void make_child(struct world *w, const char *parent, const char *child)
{
	int rc;

	do {
		rc = zoo_create(w->hand, parent, NULL, -1, &ZOO_OPEN_ACL_UNSAFE,
				0, NULL, 0);
		CHECK(rc == ZOK || rc == ZNODEEXISTS);
		rc = zoo_create(w->hand, child, "v", 1, &ZOO_OPEN_ACL_UNSAFE, 0,
				NULL, 0);
	} while (rc == ZNONODE);
	CHECK(rc == ZOK);
}

/* Somebody else makes a child as the last one goes. */
static void a_parent_with_a_new_child_stays(void **state)
{
	struct world w;
	struct store *st;
	unsigned i, turns;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	for (i = 0; i < 200; i++) {
		struct flight f = {.done = false};

		zk_hand_put(w.hand, "/t/p/old", "v", 1);
		f.ops[0] = op_delete("/p/old");
		take_off(st, &f, 1);
		for (turns = 0; turns < i % 10 && !f.done; turns++) {
			(void)uv_run(&w.e.loop.uv, UV_RUN_ONCE);
		}
		make_child(&w, "/t/p", "/t/p/new");
		test_loop_until(&w.e.loop, &f.done);
		CHECK_STATUS(f.req.err, KV_OK);
		CHECK(!there(&w, "/t/p/old"));
		CHECK(there(&w, "/t/p/new"));
		CHECK(zk_hand_delete(w.hand, "/t/p/new"));
	}
	ew_shut(&w.e, st);
	world_close(&w);
}

/* What there is of /t/q/r/k, from below; a part may stay. */
static void delete_chain(struct world *w)
{
	static const char *const chain[] = {"/t/q/r/k", "/t/q/r", "/t/q"};
	unsigned i;
	int rc;

	for (i = 0; i < KV_COUNT(chain); i++) {
		rc = zoo_delete(w->hand, chain[i], -1);
		CHECK(rc == ZOK || rc == ZNONODE || rc == ZNOTEMPTY);
	}
}

/* Puts below a parent that comes and goes. */
static void a_put_makes_its_parent_again(void **state)
{
	struct world w;
	struct store *st;
	unsigned i, turns;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	for (i = 0; i < 200; i++) {
		struct flight f = {.done = false};

		f.ops[0] = op_put("/q/r/k", V);
		f.ops[0].guard = STORE_GUARD_ABSENT;
		take_off(st, &f, 1);
		for (turns = 0; turns < i % 10 && !f.done; turns++) {
			(void)uv_run(&w.e.loop.uv, UV_RUN_ONCE);
		}
		delete_chain(&w);
		test_loop_until(&w.e.loop, &f.done);
		CHECK_STATUS(f.req.err, KV_OK);
		zk_hand_delete_all(w.hand, "/t/q");
	}
	ew_shut(&w.e, st);
	world_close(&w);
}

/* ---- versions ------------------------------------------------------------ */

static void a_znode_made_anew_is_told_apart(void **state)
{
	struct world w;
	struct store *st;
	struct store_version v;
	struct store_op op;
	struct Stat s;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	zk_hand_put_text(w.hand, "/t/k", "old");
	v = version_of(&w, st, "/k");
	CHECK(zk_hand_delete(w.hand, "/t/k"));
	zk_hand_put_text(w.hand, "/t/k", "new");
	CHECK(zk_hand_stat(w.hand, "/t/k", &s));
	CHECK((uint64_t)s.version + 1 == v.a); /* the same data version */
	op = op_put("/k", V);
	op.guard = STORE_GUARD_VERSION;
	op.expect = v;
	CHECK_STATUS(write_ops(&w, st, &op, 1), KV_KEY_MODIFIED);
	op = op_delete("/k");
	op.guard = STORE_GUARD_VERSION;
	op.expect = v;
	CHECK_STATUS(write_ops(&w, st, &op, 1), KV_KEY_MODIFIED);
	CHECK(zk_hand_holds(w.hand, "/t/k", "new"));
	ew_shut(&w.e, st);
	world_close(&w);
}

/* Creates, sets and both in one: the versions told are those read later. */
static void versions_told_are_versions_read(void **state)
{
	static const char *const keys[] = {"/a", "/b/c", "/b/d/e", "/f"};
	struct world w;
	struct store *st;
	unsigned from, i;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	for (from = KV_COUNT(keys); from-- > 0;) {
		struct store_op ops[KV_COUNT(keys)];
		size_t n = 0;

		for (i = from; i < KV_COUNT(keys); i++) {
			ops[n++] = op_put(keys[i], V);
		}
		CHECK_STATUS(write_ops(&w, st, ops, n), KV_OK);
		for (i = 0; i < n; i++) {
			struct store_version v =
			    version_of(&w, st, keys[from + i]);

			CHECK(store_version_eq(v, ops[i].version));
		}
	}
	ew_shut(&w.e, st);
	world_close(&w);
}

/* ---- what stands beside data --------------------------------------------- */

static bool acl_is(struct world *w, const char *path, const char *id)
{
	struct ACL_vector acl = {0};
	struct Stat s;
	bool is;

	CHECK(zoo_get_acl(w->hand, path, &acl, &s) == ZOK);
	is = acl.count == 1 && strcmp(acl.data[0].id.id, id) == 0;
	deallocate_ACL_vector(&acl);
	return is;
}

static void null_and_acls_are_carried(void **state)
{
	struct zk_acl acl = {31, slice_str("ip"), slice_str("127.0.0.1")};
	struct zk_attrs own = {.acls = &acl, .n = 1};
	struct zk_attrs null = {.null = true};
	struct world w;
	struct store *st;
	struct store_op ops[2];

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "&acls=copy", STORE_ATTRS);
	ops[0] = op_put("/own", V);
	ops[1] = op_put("/null", slice_str(""));
	CHECK(zk_attrs_encode(&w.arena, &own, &ops[0].attrs) == KV_OK);
	CHECK(zk_attrs_encode(&w.arena, &null, &ops[1].attrs) == KV_OK);
	CHECK_STATUS(write_ops(&w, st, ops, 2), KV_OK);
	CHECK(zk_hand_holds(w.hand, "/t/null", NULL));
	CHECK(acl_is(&w, "/t/own", "127.0.0.1"));
	CHECK(acl_is(&w, "/t/null", "anyone"));
	/* Of a znode that is there the ACL is set as well. */
	ops[0].attrs = slice_of(NULL, 0);
	CHECK_STATUS(write_ops(&w, st, ops, 1), KV_OK);
	CHECK(acl_is(&w, "/t/own", "anyone"));
	CHECK(zk_attrs_encode(&w.arena, &own, &ops[1].attrs) == KV_OK);
	CHECK_STATUS(write_ops(&w, st, ops + 1, 1), KV_OK);
	CHECK(acl_is(&w, "/t/null", "127.0.0.1"));
	CHECK(zk_hand_holds(w.hand, "/t/null", ""));
	ew_shut(&w.e, st);
	world_close(&w);
}

static void what_may_not_be_written_is_denied(void **state)
{
	struct world w;
	struct store *st;
	struct store_op ops[3];

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	zk_hand_put_text(w.hand, "/t/shut", "s");
	zk_hand_auth(w.hand, "u:secret");
	zk_hand_close_off(w.hand, "/t/shut");
	ops[0] = op_put("/free", V);
	ops[1] = op_put("/shut", V);
	ops[2] = op_put("/shut/below", V);
	CHECK_STATUS(write_ops(&w, st, ops, 2), KV_DENIED);
	CHECK(ops[0].status == KV_CANCELED && ops[1].status == KV_DENIED);
	CHECK_STATUS(write_ops(&w, st, ops + 2, 1), KV_DENIED);
	CHECK(!there(&w, "/t/free"));
	CHECK(zk_hand_holds(w.hand, "/t/shut", "s"));
	/* With the credentials it is. */
	ew_shut(&w.e, st);
	CHECK(setenv("KVTEST_DIGEST", "u:secret", 1) == 0);
	st = open_at(&w, NULL, "&digest=env:KVTEST_DIGEST", 0);
	CHECK_STATUS(write_ops(&w, st, ops, 2), KV_OK);
	CHECK(zk_hand_holds(w.hand, "/t/shut", "v"));
	zk_hand_open_up(w.hand, "/t/shut");
	ew_shut(&w.e, st);
	world_close(&w);
}

static void below_an_ephemeral_nothing_can_be(void **state)
{
	struct world w;
	struct store *st;
	struct store_op op = op_put("/e/k", V);

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	zk_hand_put_text(w.hand, "/t/x", "");
	CHECK(zk_hand_make(w.hand, "/t/e", "", 0, ZOO_EPHEMERAL));
	CHECK_STATUS(write_ops(&w, st, &op, 1), KV_INVALID_KEY);
	CHECK(op.status == KV_INVALID_KEY);
	ew_shut(&w.e, st);
	world_close(&w);
}

/* ---- sizes --------------------------------------------------------------- */

static void the_largest_value_and_its_parents(void **state)
{
	struct world w;
	struct store *st;
	struct store_op op;
	size_t n;
	uint8_t *value;
	struct Stat s;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	n = store_capabilities(st)->max_value;
	value = arena_alloc(&w.arena, n);
	CHECK(value != NULL);
	memset(value, 'v', n);
	op = op_put("/a/b/c/d/e/f/g/h/i/j/k/l/m/n", slice_of(value, n));
	CHECK_STATUS(write_ops(&w, st, &op, 1), KV_OK);
	CHECK(zk_hand_stat(w.hand, "/t/a/b/c/d/e/f/g/h/i/j/k/l/m/n", &s));
	CHECK((size_t)s.dataLength == n);
	CHECK_STATUS(write_ops(&w, st, &op, 1), KV_OK);
	ew_shut(&w.e, st);
	world_close(&w);
}

static void what_no_packet_holds_is_refused(void **state)
{
	struct world w;
	struct store *st;
	struct store_op ops[128];
	uint8_t value[8190] = {0};
	char keys[128][16];
	unsigned i;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	for (i = 0; i < 128; i++) {
		(void)snprintf(keys[i], sizeof keys[i], "/%u", i);
		ops[i] = op_put(keys[i], slice_of(value, 8160));
	}
	CHECK_STATUS(write_ops(&w, st, ops, 128), KV_TOO_LARGE);
	CHECK(!there(&w, "/t/0"));
	CHECK_STATUS(write_ops(&w, st, ops, 64), KV_OK);
	ew_shut(&w.e, st);
	world_close(&w);
}

/* ---- answers that get lost ----------------------------------------------- */

static const char *proxied(const struct tcp_proxy *p)
{
	static char hosts[64];

	(void)snprintf(hosts, sizeof hosts, "127.0.0.1:%d", p->port);
	return hosts;
}

static void turn_until_there(struct world *w, const char *path)
{
	while (!there(w, path)) {
		(void)uv_run(&w->e.loop.uv, UV_RUN_NOWAIT);
		process_nap();
	}
}

/* The server did it, and its answer got lost: reading tells. */
static void a_lost_answer_is_found_by_reading(void **state)
{
	struct flight f = {.done = false};
	struct tcp_proxy p;
	struct world w;
	struct store *st;

	(void)state;
	world_open(&w);
	tcp_proxy_start(&p, zk_server_port(w.server, 0));
	st = open_at(&w, proxied(&p), "", 0);
	CHECK_STATUS(ew_put(&w.e, st, "/d/first", V), KV_OK);
	tcp_proxy_mute(&p);
	f.ops[0] = op_put("/d/a", slice_str("mine"));
	f.ops[0].guard = STORE_GUARD_ABSENT;
	f.ops[1] = op_put("/d/b", slice_str("mine"));
	f.ops[1].guard = STORE_GUARD_ABSENT;
	take_off(st, &f, 2);
	turn_until_there(&w, "/t/d/a");
	tcp_proxy_cut(&p);
	test_loop_until(&w.e.loop, &f.done);
	CHECK_STATUS(f.req.err, KV_OK);
	CHECK(store_version_eq(f.ops[0].version, version_of(&w, st, "/d/a")));
	CHECK(store_version_eq(f.ops[1].version, version_of(&w, st, "/d/b")));
	ew_shut(&w.e, st);
	tcp_proxy_end(&p);
	world_close(&w);
}

/* The same, but then somebody else changed it: nobody can tell. */
static void what_was_changed_since_stays_unknown(void **state)
{
	struct flight f = {.done = false};
	struct tcp_proxy p;
	struct world w;
	struct store *st;

	(void)state;
	world_open(&w);
	tcp_proxy_start(&p, zk_server_port(w.server, 0));
	st = open_at(&w, proxied(&p), "", 0);
	CHECK_STATUS(ew_put(&w.e, st, "/d/first", V), KV_OK);
	tcp_proxy_mute(&p);
	f.ops[0] = op_put("/d/a", slice_str("mine"));
	f.ops[0].guard = STORE_GUARD_ABSENT;
	take_off(st, &f, 1);
	turn_until_there(&w, "/t/d/a");
	zk_hand_put_text(w.hand, "/t/d/a", "theirs");
	tcp_proxy_cut(&p);
	test_loop_until(&w.e.loop, &f.done);
	CHECK_STATUS(f.req.err, KV_UNKNOWN_OUTCOME);
	CHECK(f.ops[0].status == KV_UNKNOWN_OUTCOME);
	ew_shut(&w.e, st);
	tcp_proxy_end(&p);
	world_close(&w);
}

/* The request got lost: never "done". */
static void a_lost_request_is_never_done(void **state)
{
	struct flight f = {.done = false};
	struct tcp_proxy p;
	struct world w;
	struct store *st;
	unsigned long long until;

	(void)state;
	world_open(&w);
	tcp_proxy_start(&p, zk_server_port(w.server, 0));
	st = open_at(&w, proxied(&p), "", 0);
	CHECK_STATUS(ew_put(&w.e, st, "/d/first", V), KV_OK);
	tcp_proxy_deafen(&p);
	f.ops[0] = op_put("/d/a", slice_str("mine"));
	f.ops[0].guard = STORE_GUARD_ABSENT;
	take_off(st, &f, 1);
	for (until = process_clock() + 300; process_clock() < until;) {
		(void)uv_run(&w.e.loop.uv, UV_RUN_NOWAIT);
		process_nap();
	}
	tcp_proxy_cut(&p);
	test_loop_until(&w.e.loop, &f.done);
	CHECK_STATUS(f.req.err, KV_UNKNOWN_OUTCOME);
	CHECK(!there(&w, "/t/d/a"));
	/* And on it goes. */
	CHECK_STATUS(ew_put(&w.e, st, "/d/a", V), KV_OK);
	ew_shut(&w.e, st);
	tcp_proxy_end(&p);
	world_close(&w);
}

/* Cut again and again under many writes: what is said to be done is, what is
 * said not to be is not. */
static void cuts_under_writes_tell_the_truth(void **state)
{
	enum { N = 24, ROUNDS = 12 };
	struct tcp_proxy p;
	struct world w;
	struct store *st;
	char keys[N][2][32];
	char path[64];
	unsigned i, k, r, told[3] = {0};

	(void)state;
	world_open(&w);
	tcp_proxy_start(&p, zk_server_port(w.server, 0));
	st = open_at(&w, proxied(&p), "", 0);
	for (r = 0; r < ROUNDS; r++) {
		struct flight f[N] = {{.done = false}};

		CHECK_STATUS(ew_put(&w.e, st, "/d/first", V), KV_OK);
		for (i = 0; i < N; i++) {
			for (k = 0; k < 2; k++) {
				(void)snprintf(keys[i][k], sizeof keys[i][k],
					       "/d/%u/%u-%u", k, r, i);
				f[i].ops[k] = op_put(keys[i][k], V);
				f[i].ops[k].guard = STORE_GUARD_ABSENT;
			}
			take_off(st, &f[i], 2);
		}
		for (i = 0; i < r; i++) {
			(void)uv_run(&w.e.loop.uv, UV_RUN_ONCE);
		}
		tcp_proxy_cut(&p);
		for (i = 0; i < N; i++) {
			test_loop_until(&w.e.loop, &f[i].done);
			for (k = 0; k < 2; k++) {
				(void)snprintf(path, sizeof path, "/t%s",
					       keys[i][k]);
				if (f[i].ops[k].status == KV_OK) {
					CHECK(there(&w, path));
				} else if (f[i].ops[k].status !=
					   KV_UNKNOWN_OUTCOME) {
					CHECK(!there(&w, path));
				}
			}
			CHECK(f[i].ops[0].status == f[i].ops[1].status);
			told[f[i].req.err.status == KV_OK		 ? 0
			     : f[i].req.err.status == KV_UNKNOWN_OUTCOME ? 1
									 : 2]++;
		}
	}
	fprintf(stderr, "done %u, unknown %u, not done %u\n", told[0], told[1],
		told[2]);
	CHECK(told[0] > 0);
	ew_shut(&w.e, st);
	tcp_proxy_end(&p);
	world_close(&w);
}

/* Writes that wait as the connection is lost that their guards were made for
 * are refused, and give their places back. */
static void writes_for_an_old_connection_make_room(void **state)
{
	enum { N = 20 };
	struct flight f[N] = {{.done = false}};
	struct tcp_proxy p;
	struct world w;
	struct store *st;
	struct store_single get;
	unsigned i;

	(void)state;
	world_open(&w);
	tcp_proxy_start(&p, zk_server_port(w.server, 0));
	st = open_at(&w, proxied(&p), "", 0);
	get = ew_single(&w.e, st, store_exists, "/k", slice_str(""));
	CHECK_STATUS(get.err, KV_OK);
	for (i = 0; i < N; i++) {
		f[i].ops[0] = i % 2 == 0 ? op_delete("/k") : op_put("/k", V);
		f[i].req.epoch = get.origin.epoch;
		take_off(st, &f[i], 1);
	}
	store_single_free(&get);
	tcp_proxy_cut(&p);
	for (i = 0; i < N; i++) {
		test_loop_until(&w.e.loop, &f[i].done);
		CHECK_STATUS(f[i].req.err, KV_NOT_REACHABLE);
	}
	CHECK_STATUS(ew_put(&w.e, st, "/k", V), KV_OK);
	ew_shut(&w.e, st);
	tcp_proxy_end(&p);
	world_close(&w);
}

/* ---- sessions ------------------------------------------------------------ */

static void an_expired_session_is_followed_by_another(void **state)
{
	static const struct zk_options quick = {.tick_ms = 200};
	struct zk_server *server = zk_server_start(&quick);
	struct zk_server *before = shared;
	struct tcp_proxy p;
	struct world w;
	struct store *st;
	unsigned i;

	(void)state;
	shared = server;
	world_open(&w);
	tcp_proxy_start(&p, zk_server_port(server, 0));
	st = open_at(&w, proxied(&p), "&session_timeout_ms=800", 0);
	for (i = 0; i < 2; i++) {
		struct flight f = {.done = false};
		unsigned long long until = process_clock() + 2500;

		CHECK_STATUS(ew_put(&w.e, st, "/k", V), KV_OK);
		process_freeze(p.pid); /* longer than the session lasts */
		while (process_clock() < until) {
			(void)uv_run(&w.e.loop.uv, UV_RUN_NOWAIT);
			process_nap();
		}
		process_thaw(p.pid);
		f.ops[0] = op_put("/k", slice_str("again"));
		take_off(st, &f, 1);
		test_loop_until(&w.e.loop, &f.done);
		CHECK_STATUS(f.req.err, KV_OK);
		CHECK(zk_hand_holds(w.hand, "/t/k", "again"));
	}
	ew_shut(&w.e, st);
	tcp_proxy_end(&p);
	world_close(&w);
	zk_server_free(server);
	shared = before;
}

/* ---- closing ------------------------------------------------------------- */

static void close_under_many(struct world *w, struct store *st, unsigned turns)
{
	enum { N = 2000 };
	struct flight *f = calloc(N, sizeof *f);
	char(*keys)[24] = calloc(N, sizeof *keys);
	unsigned i, done = 0, answered = 0;

	CHECK(f != NULL && keys != NULL);
	for (i = 0; i < N; i++) {
		(void)snprintf(keys[i], sizeof keys[i], "/m/%u", i);
		f[i].ops[0] = op_put(keys[i], V);
		take_off(st, &f[i], 1);
	}
	for (i = 0; i < turns; i++) {
		(void)uv_run(&w->e.loop.uv, UV_RUN_ONCE);
	}
	ew_shut(&w->e, st);
	for (i = 0; i < N; i++) {
		int status = f[i].ops[0].status;

		answered += f[i].done;
		done += status == KV_OK;
		CHECK(status == KV_OK || status == KV_CANCELED ||
		      status == KV_UNKNOWN_OUTCOME);
	}
	CHECK(answered == N);
	CHECK(done < N);
	free(f);
	free(keys);
}

static void closing_with_thousands_outstanding(void **state)
{
	struct world w;
	unsigned turns;

	(void)state;
	world_open(&w);
	for (turns = 0; turns < 60; turns += 7) {
		struct store *st = open_at(&w, NULL, "", 0);

		if (turns % 2 == 0) {
			CHECK_STATUS(ew_put(&w.e, st, "/m/first", V), KV_OK);
		}
		close_under_many(&w, st, turns);
	}
	world_close(&w);
}

static void closing_while_the_server_hangs(void **state)
{
	struct world w;
	struct store *st;

	(void)state;
	world_open(&w);
	st = open_at(&w, NULL, "", 0);
	CHECK_STATUS(ew_put(&w.e, st, "/m/first", V), KV_OK);
	zk_server_freeze(w.server, 0);
	close_under_many(&w, st, 5);
	zk_server_thaw(w.server, 0);
	world_close(&w);
}

/* Every member hangs; stores are closed as their sessions go from looking fine
 * to being looked for in vain. */
static void closing_while_an_ensemble_hangs(void **state)
{
	static const struct zk_options three = {.nodes = 3};
	struct zk_server *before = shared;
	struct world w;
	struct store *st[4];
	unsigned i, n;

	(void)state;
	shared = zk_server_start(&three);
	world_open(&w);
	for (i = 0; i < KV_COUNT(st); i++) {
		st[i] = open_at(&w, NULL, "&session_timeout_ms=4000", 0);
		CHECK_STATUS(ew_put(&w.e, st[i], "/m/first", V), KV_OK);
	}
	for (i = 0; i < 3; i++) {
		zk_server_freeze(w.server, i);
	}
	for (i = 0; i < KV_COUNT(st); i++) {
		for (n = 0; n < i * 100; n++) {
			(void)uv_run(&w.e.loop.uv, UV_RUN_NOWAIT);
			process_nap();
		}
		close_under_many(&w, st[i], 3);
	}
	for (i = 0; i < 3; i++) {
		zk_server_thaw(w.server, i);
	}
	world_close(&w);
	zk_server_free(shared);
	shared = before;
}

static void closing_before_it_is_open(void **state)
{
	struct flight f = {.done = false};
	struct world w;
	struct store *st;

	(void)state;
	world_open(&w);
	st = open_at(&w, "127.0.0.1:1,localhost:1", "", 0);
	f.ops[0] = op_put("/k", V);
	take_off(st, &f, 1);
	ew_shut(&w.e, st);
	CHECK(f.done);
	CHECK_STATUS(f.req.err, KV_CANCELED);
	/* Names that do not resolve. */
	st = open_at(&w, "no-such-host.invalid:1", "", 0);
	memset(&f, 0, sizeof f);
	f.ops[0] = op_put("/k", V);
	take_off(st, &f, 1);
	(void)uv_run(&w.e.loop.uv, UV_RUN_ONCE);
	ew_shut(&w.e, st);
	CHECK_STATUS(f.req.err, KV_CANCELED);
	world_close(&w);
}

static void tls_cannot_be_written(void **state)
{
	struct flight f = {.done = false};
	struct world w;
	struct kv_err err = {0};
	struct store *st;

	(void)state;
	world_open(&w);
	CHECK(store_open(&w.e.registry, w.e.loop.sched, "zks://127.0.0.1:1/t",
			 0, &st, &err) == KV_OK);
	f.ops[0] = op_put("/k", V);
	f.req.ops = f.ops;
	f.req.n_ops = 1;
	f.req.cb = flight_cb;
	CHECK(store_write(st, &f.req) == KV_CALL_NOT_SUPPORTED);
	CHECK_TEXT(f.req.err, "TLS");
	ew_shut(&w.e, st);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(null_parents_come_and_go),
	    cmocka_unit_test(parents_that_hold_something_stay),
	    cmocka_unit_test(a_key_with_children_is_emptied_and_goes_with_them),
	    cmocka_unit_test(deletes_at_a_time_leave_no_parent),
	    cmocka_unit_test(a_parent_with_a_new_child_stays),
	    cmocka_unit_test(a_put_makes_its_parent_again),
	    cmocka_unit_test(a_znode_made_anew_is_told_apart),
	    cmocka_unit_test(versions_told_are_versions_read),
	    cmocka_unit_test(null_and_acls_are_carried),
	    cmocka_unit_test(what_may_not_be_written_is_denied),
	    cmocka_unit_test(below_an_ephemeral_nothing_can_be),
	    cmocka_unit_test(the_largest_value_and_its_parents),
	    cmocka_unit_test(what_no_packet_holds_is_refused),
	    cmocka_unit_test(a_lost_answer_is_found_by_reading),
	    cmocka_unit_test(what_was_changed_since_stays_unknown),
	    cmocka_unit_test(a_lost_request_is_never_done),
	    cmocka_unit_test(cuts_under_writes_tell_the_truth),
	    cmocka_unit_test(writes_for_an_old_connection_make_room),
	    cmocka_unit_test(an_expired_session_is_followed_by_another),
	    cmocka_unit_test(closing_with_thousands_outstanding),
	    cmocka_unit_test(closing_while_the_server_hangs),
	    cmocka_unit_test(closing_while_an_ensemble_hangs),
	    cmocka_unit_test(closing_before_it_is_open),
	    cmocka_unit_test(tls_cannot_be_written),
	};
	static const struct zk_options plain = {.nodes = 1};
	const char *missing = zk_server_missing(false);
	int failed;

	if (missing != NULL) {
		fprintf(stderr, "skipped: %s\n", missing);
		return 77;
	}
	shared = zk_server_start(&plain);
	cmocka_set_test_filter(getenv("KVTEST_ONLY"));
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	zk_server_free(shared);
	return failed;
}
