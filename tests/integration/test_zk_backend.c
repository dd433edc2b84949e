/* test_zk_backend.c: what is particular to ZooKeeper, against a real server:
 * null and empty data, znodes with data and children, what is a key, parents,
 * recreated znodes, sizes, long lists of children, ACLs, credentials, TLS. Each
 * by both ways of reading. What all backends promise is asked by the
 * conformance suite. */
#include "tests/integration/test_zk_calls.h"

static struct zk_server *server;

#define EACH_READER(w)                                                     \
	for (size_t r_ = 0; r_ < KV_COUNT(zw_readers) &&                   \
			    (zw_open(&(w), server, zw_readers[r_]), true); \
	     zw_close(&(w)), r_++)

/* /a empty, /b a null leaf, /c null with a child, /e data and a child. */
static void plant(struct zw *w)
{
	zk_hand_put_text(w->hand, "/t/a", "");
	zk_hand_put_text(w->hand, "/t/b", NULL);
	zk_hand_put_text(w->hand, "/t/c/d", "x");
	zk_hand_put_text(w->hand, "/t/e", "v");
	zk_hand_put_text(w->hand, "/t/e/f", "w");
	zk_hand_put_text(w->hand, "/t/g/h/i", NULL);
}

/* ---- what is a key --------------------------------------------------------
 */

static void which_znodes_are_keys(void **state)
{
	static const struct {
		const char *more, *want;
	} rows[] = {
	    {"", "/a= /b= /c/d=x /e=v /e/f=w /g/h/i= "},
	    {"&data=all", "/a= /b= /c/d=x /e=v /e/f=w /g/h/i= "},
	    {"&data=leaves", "/a= /b= /c/d=x /e/f=w /g/h/i= "},
	    {"&data=nonempty", "/c/d=x /e=v /e/f=w "},
	};
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		plant(&w);
		for (size_t i = 0; i < KV_COUNT(rows); i++) {
			struct store *st = zw_store(&w, rows[i].more);

			CHECK_ALL(&w, st, rows[i].want);
			CHECK_STATUS(ew_get(&w.e, st, "/c"), KV_KEY_NOT_FOUND);
			CHECK_STATUS(ew_get(&w.e, st, "/c/d"), KV_OK);
			ew_shut(&w.e, st);
		}
	}
}

/* Null is told from empty where the caller carries attrs. */
static void null_is_not_empty(void **state)
{
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct store *st = zw_store_at(&w, NULL, "", STORE_ATTRS);
		struct store_single a, b;

		plant(&w);
		a = ew_single(&w.e, st, store_get, "/a", slice_str(""));
		b = ew_single(&w.e, st, store_get, "/b", slice_str(""));
		CHECK_STATUS(a.err, KV_OK);
		CHECK_STATUS(b.err, KV_OK);
		CHECK(a.pair.value.n == 0 && b.pair.value.n == 0);
		CHECK(a.pair.attrs.n == 0 && b.pair.attrs.n > 0);
		store_single_free(&a);
		store_single_free(&b);
		ew_shut(&w.e, st);
	}
}

static void ephemerals_are_keys_or_left_out(void **state)
{
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct store *with = zw_store(&w, "");
		struct store *without = zw_store(&w, "&ephemerals=skip");

		zk_hand_put_text(w.hand, "/t/p", "stays");
		CHECK(zk_hand_make(w.hand, "/t/e", "goes", 4, ZOO_EPHEMERAL));
		CHECK_ALL(&w, with, "/e=goes /p=stays ");
		CHECK_ALL(&w, without, "/p=stays ");
		ew_shut(&w.e, with);
		ew_shut(&w.e, without);
	}
}

/* ---- reading --------------------------------------------------------------
 */

/* 30,000 names of 100 bytes: a reply of 3.1 MB, three times what a server takes
 * as a request. */
static void a_long_list_of_children(void **state)
{
	enum { N = 30000 };
	struct zw w;
	struct zk_server *s = server;

	(void)state;
	zw_open(&w, s, zw_readers[0]);
	zk_hand_fill(w.hand, "/t/long", "%0100u", N, 1);
	for (size_t r = 0; r < KV_COUNT(zw_readers); r++) {
		struct store *st;
		struct slice after = {0};
		struct arena a = {0};
		size_t n = 0;
		bool more = true;

		w.reader = zw_readers[r];
		st = zw_store(&w, "");
		while (more) {
			struct store_scan req = {.after = after,
						 .names_only = true};

			ew_scan(&w.e, st, &req);
			CHECK_STATUS(req.err, KV_OK);
			n += req.page->n;
			more = req.page->more;
			if (req.page->n > 0) {
				after = slice_dup(
				    &a, req.page->pairs[req.page->n - 1].key);
			}
			store_page_free(req.page);
		}
		CHECK(n == N);
		arena_free(&a);
		ew_shut(&w.e, st);
	}
	zk_hand_delete_all(w.hand, "/t");
	zw_close(&w);
}

static void sizes_up_to_the_servers_limit(void **state)
{
	static char value[1048576];
	struct zw w;

	(void)state;
	memset(value, 'v', sizeof value);
	EACH_READER(w)
	{
		struct store *st = zw_store(&w, "");
		struct store_single got;

		/* As much as a server takes of anybody is read. */
		zk_hand_put(w.hand, "/t/big", value, 1048515);
		got = ew_single(&w.e, st, store_get, "/big", slice_str(""));
		CHECK_STATUS(got.err, KV_OK);
		CHECK(got.pair.value.n == 1048515);
		store_single_free(&got);
		/* More is refused before it breaks the connection. */
		CHECK_STATUS(
		    ew_put(&w.e, st, "/big", slice_of(value, sizeof value)),
		    KV_TOO_LARGE);
		CHECK_STATUS(
		    ew_put(&w.e, st, "/big",
			   slice_of(value, store_capabilities(st)->max_value)),
		    KV_OK);
		ew_shut(&w.e, st);
	}
}

/* ---- writing --------------------------------------------------------------
 */

static void parents_come_and_go(void **state)
{
	struct zw w;
	struct Stat s;

	(void)state;
	EACH_READER(w)
	{
		struct store *st = zw_store(&w, "");

		CHECK_STATUS(ew_put(&w.e, st, "/x/y/z", slice_str("v")), KV_OK);
		CHECK(zk_hand_holds(w.hand, "/t/x/y", NULL));
		CHECK(zk_hand_holds(w.hand, "/t/x/y/z", "v"));
		CHECK_ALL(&w, st, "/x/y/z=v ");
		/* A parent that becomes a key, and is one no more. */
		CHECK_STATUS(ew_put(&w.e, st, "/x/y", slice_str("p")), KV_OK);
		CHECK_ALL(&w, st, "/x/y=p /x/y/z=v ");
		CHECK_STATUS(ew_delete(&w.e, st, "/x/y"), KV_OK);
		CHECK(zk_hand_holds(w.hand, "/t/x/y", NULL));
		CHECK_ALL(&w, st, "/x/y/z=v ");
		CHECK_STATUS(ew_delete(&w.e, st, "/x/y/z"), KV_OK);
		CHECK_ALL(&w, st, "");
		CHECK(!zk_hand_stat(w.hand, "/t/x", &s));
		ew_shut(&w.e, st);
	}
}

/* What somebody else made as a parent, and what holds data, stays. */
static void foreign_parents_stay(void **state)
{
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct store *st = zw_store(&w, "");

		zk_hand_put_text(w.hand, "/t/d", "data");
		CHECK_STATUS(ew_put(&w.e, st, "/d/k", slice_str("v")), KV_OK);
		CHECK_STATUS(ew_delete(&w.e, st, "/d/k"), KV_OK);
		CHECK(zk_hand_holds(w.hand, "/t/d", "data"));
		CHECK_ALL(&w, st, "/d=data ");
		ew_shut(&w.e, st);
	}
}

/* Deleted and made anew, a znode has its old version number again. */
static void a_recreated_znode_is_another_one(void **state)
{
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct store *st = zw_store(&w, "");
		struct store_single old, put;
		bool done = false;

		CHECK_STATUS(ew_put(&w.e, st, "/k", slice_str("one")), KV_OK);
		old = ew_single(&w.e, st, store_get, "/k", slice_str(""));
		CHECK(zk_hand_delete(w.hand, "/t/k"));
		zk_hand_put_text(w.hand, "/t/k", "other");
		put = (struct store_single){.key = slice_str("/k"),
					    .value = slice_str("two"),
					    .previous = &old.pair,
					    .cb = ew_single_cb,
					    .data = &done};
		CHECK(store_atomic_put(st, &put) == KV_OK);
		test_loop_until(&w.e.loop, &done);
		CHECK_STATUS(put.err, KV_KEY_MODIFIED);
		store_single_free(&put);
		done = false;
		put = (struct store_single){.key = slice_str("/k"),
					    .previous = &old.pair,
					    .cb = ew_single_cb,
					    .data = &done};
		CHECK(store_atomic_delete(st, &put) == KV_OK);
		test_loop_until(&w.e.loop, &done);
		CHECK_STATUS(put.err, KV_KEY_MODIFIED);
		store_single_free(&put);
		store_single_free(&old);
		CHECK(zk_hand_holds(w.hand, "/t/k", "other"));
		ew_shut(&w.e, st);
	}
}

/* ---- watching -------------------------------------------------------------
 */

/* Pulls until the key's change of that kind was told; *value its bytes. */
static struct store_version await_change(struct zw *w, struct store_watch *wa,
					 const char *key,
					 enum store_action action,
					 const char *value)
{
	for (;;) {
		struct kv_err err;
		struct store_batch *b = ew_next(&w->e, wa, 0, &err);
		struct store_version v = {0};
		bool found = false;

		CHECK_STATUS(err, KV_OK);
		for (size_t i = 0; i < b->n; i++) {
			struct store_change *c = &b->changes[i];
			bool put =
			    c->action == STORE_SET || c->action == STORE_UPDATE;

			if (slice_eq(c->key, slice_str(key)) &&
			    put == (action != STORE_DELETE) &&
			    slice_eq(c->value, slice_str(value))) {
				found = true;
				v = c->version;
			}
		}
		store_batch_free(b);
		if (found) {
			return v;
		}
	}
}

static void keys_that_children_make_and_unmake(void **state)
{
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct store *st = zw_store(&w, "");
		struct store_watch *wa;
		uint64_t index;

		plant(&w);
		wa = ew_watch_now(&w.e, st, "", 0, &index);
		/* /b, a null leaf, gets a child: a parent only. */
		zk_hand_put_text(w.hand, "/t/b/x", "1");
		(void)await_change(&w, wa, "/b", STORE_DELETE, "");
		/* /c, a parent, loses its last child: a null leaf. */
		CHECK(zk_hand_delete(w.hand, "/t/c/d"));
		(void)await_change(&w, wa, "/c", STORE_SET, "");
		CHECK_ALL(&w, st, "/a= /b/x=1 /c= /e=v /e/f=w /g/h/i= ");
		store_watch_close(wa);
		ew_shut(&w.e, st);
	}
}

static void a_recreated_znode_is_told(void **state)
{
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct store *st = zw_store(&w, "");
		struct store_watch *wa;
		struct store_version a, b;
		uint64_t index;

		zk_hand_put_text(w.hand, "/t/k", "one");
		wa = ew_watch_now(&w.e, st, "", 0, &index);
		zk_hand_put_text(w.hand, "/t/k", "two");
		a = await_change(&w, wa, "/k", STORE_SET, "two");
		CHECK(zk_hand_delete(w.hand, "/t/k"));
		zk_hand_put_text(w.hand, "/t/k", "two");
		zk_hand_put_text(w.hand, "/t/k", "two");
		for (;;) {
			b = await_change(&w, wa, "/k", STORE_SET, "two");
			if (a.b != b.b) {
				break;
			}
		}
		store_watch_close(wa);
		ew_shut(&w.e, st);
	}
}

static void the_root_comes_and_goes(void **state)
{
	struct zw w;

	(void)state;
	EACH_READER(w)
	{
		struct store *st = zw_store(&w, "");
		struct store_watch *wa;
		uint64_t index;

		CHECK_ALL(&w, st, "");
		wa = ew_watch_now(&w.e, st, "", 0, &index);
		for (int i = 0; i < 3; i++) {
			zk_hand_put_text(w.hand, "/t/a/b", "here");
			(void)await_change(&w, wa, "/a/b", STORE_SET, "here");
			zk_hand_delete_all(w.hand, "/t");
			(void)await_change(&w, wa, "/a/b", STORE_DELETE, "");
		}
		store_watch_close(wa);
		ew_shut(&w.e, st);
	}
}

/* ---- who may
 * ---------------------------------------------------------------*/

static void credentials_open_what_is_closed(void **state)
{
	struct zw w;

	(void)state;
	CHECK(setenv("KVTEST_ZK_DIGEST", "m:mpw", 1) == 0);
	EACH_READER(w)
	{
		struct store *in = zw_store(&w, "&digest=env:KVTEST_ZK_DIGEST");
		struct store *out = zw_store(&w, "");

		zk_hand_put_text(w.hand, "/t/k", "secret");
		zk_hand_close_off(w.hand, "/t/k");
		CHECK_STATUS(ew_get(&w.e, in, "/k"), KV_OK);
		CHECK_STATUS(ew_put(&w.e, in, "/k", slice_str("new")), KV_OK);
		CHECK_STATUS(ew_get(&w.e, out, "/k"), KV_DENIED);
		CHECK_STATUS(ew_put(&w.e, out, "/k", slice_str("bad")),
			     KV_DENIED);
		CHECK(zk_hand_holds(w.hand, "/t/k", "new"));
		ew_shut(&w.e, in);
		ew_shut(&w.e, out);
	}
}

/* ---- TLS ------------------------------------------------------------------
 */

static void tls_reads_and_refuses_to_write(void **state)
{
	struct zk_server *s = zk_server_start(
	    &(struct zk_options){.tls = true, .client_cert = true});
	struct zw w;
	char uri[2048];

	(void)state;
	for (size_t r = 0; r < KV_COUNT(zw_readers); r++) {
		const char *dir = zk_server_dir(s);
		struct kv_err err;
		struct store *st;
		struct store_watch *wa;
		uint64_t index;

		zw_open(&w, s, zw_readers[r]);
		plant(&w);
		(void)snprintf(uri, sizeof uri,
			       "zks://%s/t?reader=%s&ca=%s/certs/ca.pem"
			       "&cert=%s/certs/client.pem"
			       "&key=%s/certs/client.key",
			       zk_server_tls_endpoints(s), w.reader, dir, dir,
			       dir);
		if (ew_try_store(&w.e, &st, &err, uri) != KV_OK) {
			fprintf(stderr, "%s: %s\n", uri, err.text);
			abort();
		}
		CHECK_ALL(&w, st, "/a= /b= /c/d=x /e=v /e/f=w /g/h/i= ");
		wa = ew_watch_now(&w.e, st, "", 0, &index);
		zk_hand_put_text(w.hand, "/t/a", "told");
		(void)await_change(&w, wa, "/a", STORE_SET, "told");
		store_watch_close(wa);
		err = ew_put(&w.e, st, "/a", slice_str("x"));
		CHECK_STATUS(err, KV_CALL_NOT_SUPPORTED);
		CHECK_TEXT(err, "zks");
		ew_shut(&w.e, st);
		/* An authority that signed nothing. */
		(void)snprintf(uri, sizeof uri,
			       "zks://%s/t?reader=%s"
			       "&ca=%s/certs/other-ca.pem&timeout_ms=2000",
			       zk_server_tls_endpoints(s), w.reader, dir);
		CHECK(ew_try_store(&w.e, &st, &err, uri) == KV_OK);
		err = ew_get(&w.e, st, "/a");
		CHECK(err.status == KV_NOT_REACHABLE ||
		      err.status == KV_DENIED);
		CHECK_TEXT(err, "certificate");
		ew_shut(&w.e, st);
		zw_close(&w);
	}
	zk_server_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(which_znodes_are_keys),
	    cmocka_unit_test(null_is_not_empty),
	    cmocka_unit_test(ephemerals_are_keys_or_left_out),
	    cmocka_unit_test(a_long_list_of_children),
	    cmocka_unit_test(sizes_up_to_the_servers_limit),
	    cmocka_unit_test(parents_come_and_go),
	    cmocka_unit_test(foreign_parents_stay),
	    cmocka_unit_test(a_recreated_znode_is_another_one),
	    cmocka_unit_test(keys_that_children_make_and_unmake),
	    cmocka_unit_test(a_recreated_znode_is_told),
	    cmocka_unit_test(the_root_comes_and_goes),
	    cmocka_unit_test(credentials_open_what_is_closed),
	    cmocka_unit_test(tls_reads_and_refuses_to_write),
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
