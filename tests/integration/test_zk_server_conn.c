/* test_zk_server_conn.c: our connection against real servers, in clear and over
 * TLS: every request that we speak is understood, and answered as we read it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/zookeeper/zk_conn.h"
#include "tests/fixtures/zk_hand.h"
#include "tests/fixtures/zk_server.h"
#include "tests/lib/loop.h"

struct world {
	struct test_loop loop;
	struct zk_server *server;
	zhandle_t *zh;
	struct zk_conn *conn;
	bool up, down, closed;
	unsigned events;
	char told[512];
	struct kv_err err;
};

struct ask {
	struct zk_call call;
	bool done;
	void (*read)(struct ask *a, struct jute_in *in);
	void *data;
};

static void up_cb(void *ctx)
{
	((struct world *)ctx)->up = true;
}

static void event_cb(void *ctx, enum zk_event_type type, struct slice path)
{
	struct world *w = ctx;
	size_t n = strlen(w->told);

	w->events++;
	(void)snprintf(w->told + n, sizeof w->told - n, "%d%.*s ", (int)type,
		       (int)path.n, (const char *)path.p);
}

static void down_cb(void *ctx, const struct kv_err *err)
{
	struct world *w = ctx;

	w->down = true;
	w->err = *err;
}

static void closed_cb(void *ctx)
{
	((struct world *)ctx)->closed = true;
}

static const struct zk_conn_events events = {
    .up = up_cb, .event = event_cb, .down = down_cb, .closed = closed_cb};

static struct zk_conn_params params(struct world *w, char *port, size_t cap)
{
	struct zk_conn_params p = {
	    .sched = w->loop.sched,
	    .host = "127.0.0.1",
	    .port = port,
	    .timeout_ms = 20000,
	    .session_ms = 10000,
	    .max_reply = 64 * 1024 * 1024,
	    .events = &events,
	    .ctx = w,
	};

	(void)snprintf(port, cap, "%d", zk_server_port(w->server, 0));
	return p;
}

static void connect_with(struct world *w, const struct zk_conn_params *p)
{
	w->up = w->down = w->closed = false;
	assert_int_equal(zk_conn_open(p, &w->conn, &w->err), KV_OK);
	while (!w->up && !w->down) {
		(void)uv_run(&w->loop.uv, UV_RUN_ONCE);
	}
}

static void connect_plain(struct world *w)
{
	char port[8];
	struct zk_conn_params p = params(w, port, sizeof port);

	connect_with(w, &p);
	if (!w->up) {
		fail_msg("%s", w->err.text);
	}
}

static void disconnect(struct world *w)
{
	zk_conn_close(w->conn);
	test_loop_until(&w->loop, &w->closed);
}

static void world_open(struct world *w, const struct zk_options *o)
{
	memset(w, 0, sizeof *w);
	test_loop_open(&w->loop);
	w->server = zk_server_start(o);
	w->zh = zk_hand_open(zk_server_endpoints(w->server), 10000);
}

static void world_close(struct world *w)
{
	zk_hand_close(w->zh);
	zk_server_free(w->server);
	test_loop_close(&w->loop);
}

static void done_cb(struct zk_call *call)
{
	struct ask *a = call->data;

	a->done = true;
	if (a->read != NULL && call->err.status == KV_OK &&
	    call->error == ZK_OK) {
		a->read(a, &call->body);
		assert_false(call->body.failed);
		assert_int_equal(call->body.n, 0);
	}
}

static void ask_begin(struct ask *a, enum zk_op op,
		      void (*read)(struct ask *a, struct jute_in *in),
		      void *data)
{
	memset(a, 0, sizeof *a);
	a->read = read;
	a->data = data;
	a->call.data = a;
	a->call.done = done_cb;
	zk_call_begin(&a->call, op);
}

/* The server's error. */
static int ask_end(struct world *w, struct ask *a)
{
	zk_call_start(w->conn, &a->call);
	test_loop_until(&w->loop, &a->done);
	if (a->call.err.status != KV_OK) {
		fail_msg("%s", a->call.err.text);
	}
	return a->call.error;
}

static void read_data(struct ask *a, struct jute_in *in)
{
	struct zk_data *d = a->data;

	zk_get_data(in, d);
	assert_true(d->data.n < 64);
}

static void read_path(struct ask *a, struct jute_in *in)
{
	assert_true(slice_eq(jute_get_bytes(in, NULL), slice_str(a->data)));
}

static int get(struct world *w, const char *path, struct zk_data *d)
{
	struct ask a;

	ask_begin(&a, ZK_OP_GET_DATA, read_data, d);
	zk_put_path_watch(&a.call.frame, slice_str(path), false);
	return ask_end(w, &a);
}

/* ---- what is asked ------------------------------------------------------- */

static void reads(struct world *w)
{
	struct zk_data d;
	struct Stat st;
	struct ask a;

	zk_hand_put_text(w->zh, "/r/a", "value");
	zk_hand_put_text(w->zh, "/r/b", "");
	assert_int_equal(get(w, "/r/a", &d), ZK_OK);
	assert_int_equal(d.data.n, 5);
	assert_true(zk_hand_stat(w->zh, "/r/a", &st));
	assert_int_equal(d.stat.czxid, st.czxid);
	assert_int_equal(d.stat.mzxid, st.mzxid);
	assert_int_equal(d.stat.pzxid, st.pzxid);
	assert_int_equal(d.stat.ctime, st.ctime);
	assert_int_equal(d.stat.data_length, 5);
	assert_true(zk_conn_zxid(w->conn) >= st.mzxid);
	assert_int_equal(get(w, "/r", &d), ZK_OK);
	assert_true(d.null);
	assert_int_equal(d.stat.num_children, 2);
	assert_int_equal(get(w, "/r/b", &d), ZK_OK);
	assert_false(d.null);
	assert_int_equal(get(w, "/none", &d), ZK_NO_NODE);
	ask_begin(&a, ZK_OP_SYNC, read_path, (void *)(uintptr_t) "/r");
	zk_put_path(&a.call.frame, slice_str("/r"));
	assert_int_equal(ask_end(w, &a), ZK_OK);
}

static void read_acl(struct ask *a, struct jute_in *in)
{
	size_t n = jute_get_count(in, ZK_ACL_LEAST);
	struct zk_stat s;
	struct zk_acl acl;

	(void)a;
	assert_int_equal(n, 1);
	zk_get_acl(in, &acl);
	assert_int_equal(acl.perms, ZK_PERM_ALL);
	assert_true(slice_eq(acl.scheme, slice_str("world")));
	assert_true(slice_eq(acl.id, slice_str("anyone")));
	zk_get_stat(in, &s);
	assert_int_equal(s.data_length, 5);
}

static void reads_an_acl(struct world *w)
{
	struct ask a;

	ask_begin(&a, ZK_OP_GET_ACL, read_acl, NULL);
	zk_put_path(&a.call.frame, slice_str("/r/a"));
	assert_int_equal(ask_end(w, &a), ZK_OK);
}

enum { MANY = 256 };

static void read_many(struct ask *a, struct jute_in *in)
{
	struct zk_data d;
	int op, error;
	size_t n = 0, names;

	(void)a;
	while (zk_get_multi_result(in, &op, &error)) {
		if (n == MANY) {
			assert_int_equal(op, -1);
			assert_int_equal(error, ZK_NO_NODE);
		} else if (n > MANY) {
			assert_int_equal(op, ZK_OP_GET_CHILDREN);
			for (names = jute_get_count(in, 4); names > 0;
			     names--) {
				assert_int_equal(jute_get_bytes(in, NULL).n, 5);
			}
		} else {
			assert_int_equal(op, ZK_OP_GET_DATA);
			zk_get_data(in, &d);
			assert_int_equal(d.data.n, 16);
		}
		n++;
	}
	assert_int_equal(n, MANY + 2);
}

static void reads_many(struct world *w)
{
	struct ask a;
	char path[32];
	unsigned i;

	zk_hand_fill(w->zh, "/many", "n%04u", MANY, 16);
	ask_begin(&a, ZK_OP_MULTI_READ, read_many, NULL);
	for (i = 0; i < MANY; i++) {
		(void)snprintf(path, sizeof path, "/many/n%04u", i);
		zk_put_multi_read(&a.call.frame, ZK_OP_GET_DATA,
				  slice_str(path));
	}
	zk_put_multi_read(&a.call.frame, ZK_OP_GET_DATA, slice_str("/none"));
	zk_put_multi_read(&a.call.frame, ZK_OP_GET_CHILDREN,
			  slice_str("/many"));
	zk_put_multi_end(&a.call.frame);
	assert_int_equal(ask_end(w, &a), ZK_OK);
}

static void is_told(struct world *w)
{
	struct ask a;

	w->told[0] = '\0';
	ask_begin(&a, ZK_OP_ADD_WATCH, NULL, NULL);
	zk_put_add_watch(&a.call.frame, slice_str("/t"), true);
	assert_int_equal(ask_end(w, &a), ZK_OK);
	zk_hand_put_text(w->zh, "/t", "one");
	zk_hand_put_text(w->zh, "/t/a", "two");
	zk_hand_put_text(w->zh, "/t/a", "three");
	zk_hand_put_text(w->zh, "/tx", "not below");
	assert_true(zk_hand_delete(w->zh, "/t/a"));
	while (w->events < 4) {
		(void)uv_run(&w->loop.uv, UV_RUN_ONCE);
	}
	assert_string_equal(w->told, "1/t 1/t/a 3/t/a 2/t/a ");
}

static void put_paths(struct jute_out *o, const char *one)
{
	jute_put_int(o, 1);
	jute_put_bytes(o, slice_str(one));
}

static void compares_with_the_past(struct world *w)
{
	struct Stat st;
	struct ask a;

	zk_hand_put_text(w->zh, "/p/set", "one");
	zk_hand_put_text(w->zh, "/p/gone", "one");
	assert_true(zk_hand_stat(w->zh, "/p/gone", &st));
	zk_hand_put_text(w->zh, "/p/set", "two");
	assert_true(zk_hand_delete(w->zh, "/p/gone"));
	w->told[0] = '\0';
	ask_begin(&a, ZK_OP_SET_WATCHES, NULL, NULL);
	jute_put_long(&a.call.frame, st.czxid);
	jute_put_int(&a.call.frame, 2);
	jute_put_bytes(&a.call.frame, slice_str("/p/set"));
	jute_put_bytes(&a.call.frame, slice_str("/p/gone"));
	jute_put_int(&a.call.frame, 0);
	put_paths(&a.call.frame, "/p");
	assert_int_equal(ask_end(w, &a), ZK_OK);
	assert_string_equal(w->told, "3/p/set 2/p/gone 4/p ");
}

static void read_written(struct ask *a, struct jute_in *in)
{
	/* In a transaction, the create that gives a Stat gives none; that of
	 * a container does. */
	static const int ops[] = {ZK_OP_CREATE,	  ZK_OP_CREATE, ZK_OP_CREATE2,
				  ZK_OP_SET_DATA, ZK_OP_CHECK,	ZK_OP_DELETE};
	struct zk_created c;
	int op, error;
	size_t n = 0;

	(void)a;
	while (zk_get_multi_result(in, &op, &error)) {
		assert_true(n < KV_COUNT(ops));
		assert_int_equal(error, ZK_OK);
		assert_int_equal(op, ops[n]);
		if (n < 3) {
			zk_get_created(in, op, &c);
			assert_int_equal(c.path.n, 4);
			assert_int_equal(c.has_stat, n == 2);
		} else if (op == ZK_OP_SET_DATA) {
			zk_get_stat(in, &c.stat);
			assert_int_equal(c.stat.version, 1);
		}
		n++;
	}
	assert_int_equal(n, KV_COUNT(ops));
}

static void writes_a_transaction(struct world *w)
{
	const struct zk_create first = {.path = slice_str("/w/1"),
					.data = slice_str("one")};
	const struct zk_create second = {.path = slice_str("/w/2"),
					 .null = true};
	const struct zk_create third = {.path = slice_str("/w/3"),
					.mode = ZK_CONTAINER};
	struct ask a;

	zk_hand_put_text(w->zh, "/w", "");
	ask_begin(&a, ZK_OP_MULTI, read_written, NULL);
	zk_put_multi_op(&a.call.frame, ZK_OP_CREATE);
	zk_put_create(&a.call.frame, &first);
	zk_put_multi_op(&a.call.frame, ZK_OP_CREATE2);
	zk_put_create(&a.call.frame, &second);
	zk_put_multi_op(&a.call.frame, ZK_OP_CREATE_CONTAINER);
	zk_put_create(&a.call.frame, &third);
	zk_put_multi_op(&a.call.frame, ZK_OP_SET_DATA);
	zk_put_set_data(&a.call.frame, slice_str("/w/2"), slice_str("two"),
			false, 0);
	zk_put_multi_op(&a.call.frame, ZK_OP_CHECK);
	zk_put_check(&a.call.frame, slice_str("/w/2"), 1);
	zk_put_multi_op(&a.call.frame, ZK_OP_DELETE);
	zk_put_delete(&a.call.frame, slice_str("/w/3"), ZK_ANY_VERSION);
	zk_put_multi_end(&a.call.frame);
	assert_int_equal(ask_end(w, &a), ZK_OK);
	assert_true(zk_hand_holds(w->zh, "/w/1", "one"));
	assert_true(zk_hand_holds(w->zh, "/w/2", "two"));
}

static void read_failed(struct ask *a, struct jute_in *in)
{
	static const int errors[] = {ZK_OK, ZK_NODE_EXISTS, ZK_ROLLED_BACK};
	int op, error;
	size_t n = 0;

	(void)a;
	while (zk_get_multi_result(in, &op, &error)) {
		assert_true(n < KV_COUNT(errors));
		assert_int_equal(op, -1);
		assert_int_equal(error, errors[n]);
		n++;
	}
	assert_int_equal(n, KV_COUNT(errors));
}

static void writes_all_or_nothing(struct world *w)
{
	const struct zk_create there = {.path = slice_str("/w/1")};
	struct ask a;

	ask_begin(&a, ZK_OP_MULTI, read_failed, NULL);
	zk_put_multi_op(&a.call.frame, ZK_OP_DELETE);
	zk_put_delete(&a.call.frame, slice_str("/w/2"), ZK_ANY_VERSION);
	zk_put_multi_op(&a.call.frame, ZK_OP_CREATE);
	zk_put_create(&a.call.frame, &there);
	zk_put_multi_op(&a.call.frame, ZK_OP_DELETE);
	zk_put_delete(&a.call.frame, slice_str("/w/1"), ZK_ANY_VERSION);
	zk_put_multi_end(&a.call.frame);
	assert_int_equal(ask_end(w, &a), ZK_OK);
	assert_true(zk_hand_holds(w->zh, "/w/2", "two"));
}

static void read_created(struct ask *a, struct jute_in *in)
{
	struct zk_created c;

	zk_get_created(in, a->call.op, &c);
	assert_true(slice_eq(c.path, slice_str("/w/4")));
	assert_true(c.has_stat);
	assert_int_equal(c.stat.mzxid, a->call.zxid);
}

static void read_stat(struct ask *a, struct jute_in *in)
{
	zk_get_stat(in, a->data);
}

static void read_two_acls(struct ask *a, struct jute_in *in)
{
	struct zk_stat s;
	struct zk_acl acl;

	(void)a;
	assert_int_equal(jute_get_count(in, ZK_ACL_LEAST), 2);
	zk_get_acl(in, &acl);
	assert_int_equal(acl.perms, ZK_PERM_READ | ZK_PERM_ADMIN);
	assert_true(slice_eq(acl.scheme, slice_str("world")));
	zk_get_acl(in, &acl);
	assert_int_equal(acl.perms, ZK_PERM_ALL);
	assert_true(slice_eq(acl.id, slice_str("u:h=")));
	zk_get_stat(in, &s);
	assert_int_equal(s.aversion, 1);
}

static void writes_an_acl(struct world *w)
{
	const struct zk_acl acls[] = {
	    {ZK_PERM_READ | ZK_PERM_ADMIN, slice_str("world"),
	     slice_str("anyone")},
	    {ZK_PERM_ALL, slice_str("digest"), slice_str("u:h=")}};
	const struct zk_create c = {.path = slice_str("/w/4"),
				    .data = slice_str("four")};
	struct zk_stat s;
	struct ask a;

	ask_begin(&a, ZK_OP_CREATE2, read_created, NULL);
	zk_put_create(&a.call.frame, &c);
	assert_int_equal(ask_end(w, &a), ZK_OK);
	ask_begin(&a, ZK_OP_SET_ACL, read_stat, &s);
	zk_put_set_acl(&a.call.frame, c.path, acls, 2, 0);
	assert_int_equal(ask_end(w, &a), ZK_OK);
	assert_int_equal(s.aversion, 1);
	ask_begin(&a, ZK_OP_SET_ACL, read_stat, &s);
	zk_put_set_acl(&a.call.frame, c.path, NULL, 0, 0);
	assert_int_equal(ask_end(w, &a), ZK_BAD_VERSION);
	ask_begin(&a, ZK_OP_GET_ACL, read_two_acls, NULL);
	zk_put_path(&a.call.frame, c.path);
	assert_int_equal(ask_end(w, &a), ZK_OK);
}

static void all_of_it(struct world *w)
{
	reads(w);
	reads_an_acl(w);
	reads_many(w);
	is_told(w);
	compares_with_the_past(w);
	writes_a_transaction(w);
	writes_all_or_nothing(w);
	writes_an_acl(w);
	assert_false(w->down);
}

static void speaks_with_a_server(void **state)
{
	struct zk_options o = {0};
	struct world w;

	(void)state;
	world_open(&w, &o);
	connect_plain(&w);
	all_of_it(&w);
	disconnect(&w);
	world_close(&w);
}

/* ---- TLS ----------------------------------------------------------------- */

static char *join(const char *dir, const char *file)
{
	char *s = malloc(strlen(dir) + strlen(file) + 1);

	assert_non_null(s);
	(void)sprintf(s, "%s%s", dir, file);
	return s;
}

static void speaks_over_tls(void **state)
{
	struct zk_options o = {.tls = true, .client_cert = true};
	struct tls_config tls = {0};
	struct zk_conn_params p;
	struct world w;
	char port[8];

	(void)state;
	world_open(&w, &o);
	tls.ca = join(zk_server_dir(w.server), "/certs/ca.pem");
	p = params(&w, port, sizeof port);
	p.port = strchr(zk_server_tls_endpoints(w.server), ':') + 1;
	p.tls = &tls;
	/* Without a certificate of our own: refused, and not taken for a
	 * server that is behind. */
	p.last_zxid = 1;
	connect_with(&w, &p);
	assert_true(w.down);
	print_message("no certificate: %s\n", w.err.text);
	assert_int_equal(w.err.status, KV_NOT_REACHABLE);
	disconnect(&w);
	p.last_zxid = 0;
	tls.cert = join(zk_server_dir(w.server), "/certs/client.pem");
	tls.key = join(zk_server_dir(w.server), "/certs/client.key");
	connect_with(&w, &p);
	if (!w.up) {
		fail_msg("%s", w.err.text);
	}
	all_of_it(&w);
	disconnect(&w);
	/* TLS to a clear port, and the other way round. */
	p.port = port;
	connect_with(&w, &p);
	assert_true(w.down);
	print_message("TLS to a clear port: %s\n", w.err.text);
	disconnect(&w);
	p.port = strchr(zk_server_tls_endpoints(w.server), ':') + 1;
	p.tls = NULL;
	connect_with(&w, &p);
	assert_true(w.down);
	print_message("clear to a TLS port: %s\n", w.err.text);
	assert_int_equal(w.err.status, KV_NOT_REACHABLE);
	disconnect(&w);
	free(tls.ca);
	free(tls.cert);
	free(tls.key);
	world_close(&w);
}

/* ---- who we are, and when ------------------------------------------------ */

static void credentials_open_what_is_closed(void **state)
{
	struct zk_options o = {0};
	struct zk_conn_params p;
	struct zk_data d;
	struct world w;
	char port[8];

	(void)state;
	world_open(&w, &o);
	zk_hand_auth(w.zh, "user:password");
	zk_hand_put_text(w.zh, "/closed", "secret");
	zk_hand_close_off(w.zh, "/closed");
	connect_plain(&w);
	assert_int_equal(get(&w, "/closed", &d), ZK_NO_AUTH);
	disconnect(&w);
	p = params(&w, port, sizeof port);
	p.auth_scheme = "digest";
	p.auth = slice_str("user:password");
	connect_with(&w, &p);
	assert_true(w.up);
	assert_int_equal(get(&w, "/closed", &d), ZK_OK);
	disconnect(&w);
	p.auth_scheme = "nosuch";
	connect_with(&w, &p);
	assert_true(w.down);
	assert_int_equal(w.err.status, KV_DENIED);
	disconnect(&w);
	world_close(&w);
}

static void a_server_that_is_behind_refuses(void **state)
{
	struct zk_options o = {0};
	struct zk_conn_params p;
	struct zk_data d;
	struct world w;
	char port[8];
	int64_t now;

	(void)state;
	world_open(&w, &o);
	connect_plain(&w);
	assert_int_equal(get(&w, "/", &d), ZK_OK);
	now = zk_conn_zxid(w.conn);
	disconnect(&w);
	p = params(&w, port, sizeof port);
	p.last_zxid = now;
	connect_with(&w, &p);
	assert_true(w.up);
	disconnect(&w);
	p.last_zxid = now + 1000;
	connect_with(&w, &p);
	assert_true(w.down);
	assert_int_equal(w.err.status, KV_HISTORY_LOST);
	disconnect(&w);
	world_close(&w);
}

/* How many sessions a server's dump lists. */
static unsigned sessions(const char *dump)
{
	const char *end = strstr(dump, "ephemeral nodes"), *p = dump;
	unsigned n = 0;

	assert_non_null(end);
	while ((p = strstr(p, "\t0x")) != NULL && p < end) {
		p++;
		n++;
	}
	return n;
}

/* The one session that is left is that of the hand: ours would live for
 * forty seconds more. */
static void goodbye_ends_the_session(void **state)
{
	struct zk_options o = {0};
	struct zk_conn_params p;
	struct zk_data d;
	struct world w;
	unsigned left, tries = 500;
	char *answer, port[8];

	(void)state;
	world_open(&w, &o);
	p = params(&w, port, sizeof port);
	p.session_ms = 40000;
	connect_with(&w, &p);
	assert_int_equal(get(&w, "/", &d), ZK_OK);
	disconnect(&w);
	do {
		answer = zk_server_ask(w.server, 0, "dump");
		assert_non_null(answer);
		left = sessions(answer);
		free(answer);
		assert_true(left == 1 || left == 2);
		process_nap();
	} while (left != 1 && --tries > 0);
	assert_int_equal(left, 1);
	world_close(&w);
}

static void a_frozen_server_is_left(void **state)
{
	struct zk_options o = {.tick_ms = 200};
	struct zk_conn_params p;
	struct zk_data d;
	struct world w;
	char port[8];

	(void)state;
	world_open(&w, &o);
	p = params(&w, port, sizeof port);
	p.session_ms = 1000;
	connect_with(&w, &p);
	assert_true(w.up);
	assert_int_equal(get(&w, "/", &d), ZK_OK);
	zk_server_freeze(w.server, 0);
	test_loop_until(&w.loop, &w.down);
	assert_int_equal(w.err.status, KV_NOT_REACHABLE);
	assert_non_null(strstr(w.err.text, "no sign of life"));
	zk_server_thaw(w.server, 0);
	disconnect(&w);
	world_close(&w);
}

static void an_old_server_does_not_know(void **state)
{
	struct zk_options o = {.old = true};
	const char *why = zk_server_missing(true);
	struct zk_data d;
	struct world w;
	struct ask a;

	(void)state;
	if (why != NULL) {
		print_message("SKIP: ZooKeeper 3.4: %s\n", why);
		skip();
	}
	world_open(&w, &o);
	connect_plain(&w);
	assert_int_equal(get(&w, "/", &d), ZK_OK);
	reads(&w);
	compares_with_the_past(&w);
	ask_begin(&a, ZK_OP_MULTI_READ, NULL, NULL);
	zk_put_multi_end(&a.call.frame);
	zk_call_start(w.conn, &a.call);
	test_loop_until(&w.loop, &a.done);
	print_message("3.4, multiRead: %s, error %d\n", a.call.err.text,
		      a.call.error);
	assert_true(a.call.err.status != KV_OK || a.call.error != ZK_OK);
	disconnect(&w);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(speaks_with_a_server),
	    cmocka_unit_test(speaks_over_tls),
	    cmocka_unit_test(credentials_open_what_is_closed),
	    cmocka_unit_test(a_server_that_is_behind_refuses),
	    cmocka_unit_test(goodbye_ends_the_session),
	    cmocka_unit_test(a_frozen_server_is_left),
	    cmocka_unit_test(an_old_server_does_not_know),
	};
	const char *why = zk_server_missing(false);

	if (why != NULL) {
		print_message("SKIP: %s\n", why);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
