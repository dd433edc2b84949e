/* test_etcd_backend.c: what is particular to etcd, against real servers: users,
 * certificates, several members, limits, compaction, frozen and full servers.
 * What all backends promise is asked by the conformance suite. */
#include "tests/integration/test_etcd_world.h"

#define V slice_str("v")

/* ---- users --------------------------------------------------------------- */

static void refused_credentials_are_denied(void **state)
{
	static const char *const wrong[] = {
	    "/m/t",				       /* no user */
	    "/m/t?user=m&password=env:KVTEST_WRONG",   /* bad password */
	    "/m/t?user=who&password=env:KVTEST_WRONG", /* unknown user */
	    "/other?user=m&password=env:KVTEST_RIGHT", /* outside the role */
	};
	struct ew w;
	size_t i;

	(void)state;
	ew_open(&w, &(struct etcd_options){.auth = true});
	CHECK(setenv("KVTEST_RIGHT", "mpw", 1) == 0);
	CHECK(setenv("KVTEST_WRONG", "wrong", 1) == 0);
	for (i = 0; i < KV_COUNT(wrong); i++) {
		struct store *st = ew_store(&w, "etcd", wrong[i]);
		struct store_scan scan = {.limit = 1};

		CHECK_STATUS(ew_get(&w, st, "/a"), KV_DENIED);
		CHECK_STATUS(ew_put(&w, st, "/a", V), KV_DENIED);
		ew_scan(&w, st, &scan);
		CHECK_STATUS(scan.err, KV_DENIED);
		CHECK_STATUS(ew_watch_err(&w, st, "", 0), KV_DENIED);
		ew_shut(&w, st);
	}
	ew_close(&w);
}

/* Simple tokens die with their server. */
static void a_lost_token_is_replaced(void **state)
{
	struct ew w;
	struct store *st;
	uint64_t index;
	struct store_watch *wa;
	unsigned i;

	(void)state;
	ew_open(&w, &(struct etcd_options){.auth = true});
	CHECK(setenv("KVTEST_RIGHT", "mpw", 1) == 0);
	st = ew_store(&w, "etcd", "/m/t?user=m&password=env:KVTEST_RIGHT");
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
	for (i = 0; i < 2; i++) {
		etcd_server_restart(w.server, 0);
		/* Wait until the end of the connection was seen. */
		ew_run_ms(&w, 200);
		if (i == 0) {
			CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
		} else {
			wa = ew_watch_now(&w, st, "", 0, &index);
			store_watch_close(wa);
		}
	}
	ew_shut(&w, st);
	ew_close(&w);
}

static void a_user_on_a_server_without_users_is_let_in(void **state)
{
	struct ew w;
	struct store *st;

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 1});
	CHECK(setenv("KVTEST_RIGHT", "mpw", 1) == 0);
	st = ew_store(&w, "etcd", "/m?user=m&password=env:KVTEST_RIGHT");
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
	ew_shut(&w, st);
	ew_close(&w);
}

/* ---- certificates -------------------------------------------------------- */

static struct store *tls_store(struct ew *w, const char *scheme,
			       const char *fmt)
{
	char tail[2048];
	const char *d = etcd_server_dir(w->server);
	size_t n = 0;

	/* Every $ is the directory of certificates. */
	for (; *fmt != '\0' && n + 1 < sizeof tail; fmt++) {
		if (*fmt == '$') {
			n += (size_t)snprintf(tail + n, sizeof tail - n,
					      "%s/certs", d);
		} else {
			tail[n++] = *fmt;
		}
	}
	tail[n] = '\0';
	return ew_store(w, scheme, tail);
}

static void tls_with_a_client_certificate(void **state)
{
	struct ew w;
	struct store *st;
	uint64_t index;
	struct store_watch *wa;

	(void)state;
	ew_open(&w, &(struct etcd_options){.tls = true, .client_cert = true});
	st = tls_store(&w, "etcds",
		       "/t?ca=$/ca.pem&cert=$/client.pem&key=$/client.key");
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
	ew_fill(&w, st, "/bulk", 2000, 1000);
	wa = ew_watch_now(&w, st, "", 0, &index);
	store_watch_close(wa);
	ew_shut(&w, st);
	ew_close(&w);
}

static void tls_that_cannot_be_says_why(void **state)
{
	static const struct {
		const char *scheme, *tail;
		int status;
		const char *text;
	} rows[] = {
	    {"etcds", "/t?ca=$/ca.pem", KV_NOT_REACHABLE, "client certificate"},
	    {"etcds", "/t?ca=$/other-ca.pem", KV_DENIED, "not accepted"},
	    {"etcds", "/t", KV_DENIED, "not accepted"},
	    {"etcds",
	     "/t?ca=$/ca.pem&cert=$/client.pem&key=$/client.key"
	     "&server_name=other.example",
	     KV_DENIED, "not accepted"},
	    {"etcd", "/t", KV_NOT_REACHABLE, "TLS"},
	};
	struct ew w;
	struct store *st;
	struct kv_err err;
	size_t i;

	(void)state;
	ew_open(&w, &(struct etcd_options){.tls = true, .client_cert = true});
	for (i = 0; i < KV_COUNT(rows); i++) {
		st = tls_store(&w, rows[i].scheme, rows[i].tail);
		err = ew_put(&w, st, "/a", V);
		CHECK_STATUS(err, rows[i].status);
		CHECK_TEXT(err, rows[i].text);
		CHECK_STATUS(ew_watch_err(&w, st, "", 0), rows[i].status);
		ew_shut(&w, st);
	}
	/* Names that are good, and no look at the name at all. */
	st = tls_store(&w, "etcds",
		       "/t?ca=$/ca.pem&cert=$/client.pem&key=$/client.key"
		       "&server_name=localhost");
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
	ew_shut(&w, st);
	st = tls_store(&w, "etcds",
		       "/t?insecure_skip_verify=yes&cert=$/client.pem"
		       "&key=$/client.key");
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
	ew_shut(&w, st);
	ew_close(&w);
}

static void tls_to_a_clear_text_port_says_so(void **state)
{
	struct ew w;
	struct store *st;
	struct kv_err err;

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 1});
	st = ew_store(&w, "etcds", "/t?insecure_skip_verify=yes");
	err = ew_put(&w, st, "/a", V);
	CHECK_STATUS(err, KV_NOT_REACHABLE);
	CHECK_TEXT(err, "clear text");
	ew_shut(&w, st);
	ew_close(&w);
}

/* ---- opening ------------------------------------------------------------- */

static void options_that_cannot_be_are_refused(void **state)
{
	static const char *const bad[] = {
	    "etcd://127.0.0.1:1/a?raw_prefix=b",
	    "etcd://127.0.0.1:1/a?ca=/none",
	    "etcds://127.0.0.1:1/a?ca=/none",
	    "etcds://127.0.0.1:1/a?key=/none",
	    "etcd://127.0.0.1:1/a?password=env:HOME",
	    "etcd://127.0.0.1:1/a?user=x&password=plain",
	    "etcd://127.0.0.1:1/a?timeout_ms=0",
	    "etcd://127.0.0.1:1/a?timeout_ms=soon",
	    "etcd://127.0.0.1:1/a?nonsense=1",
	    "etcd://[::1/a",
	};
	struct ew w;
	struct store *st;
	struct kv_err err;
	size_t i;

	(void)state;
	ew_open(&w, NULL);
	for (i = 0; i < KV_COUNT(bad); i++) {
		if (ew_try_store(&w, &st, &err, bad[i]) != KV_BAD_ARGUMENT) {
			fail_msg("%s: %s", bad[i], kv_status_name(err.status));
		}
		CHECK(err.text[0] != '\0');
	}
	ew_close(&w);
}

static void nobody_there_names_all_endpoints(void **state)
{
	struct ew w;
	struct store *st;
	struct kv_err err;

	(void)state;
	ew_open(&w, NULL);
	CHECK(ew_try_store(&w, &st, &err, "etcd://127.0.0.1:1,127.0.0.1:2/a") ==
	      KV_OK);
	err = ew_get(&w, st, "/a");
	CHECK_STATUS(err, KV_NOT_REACHABLE);
	CHECK_TEXT(err, "connect 127.0.0.1:1: connection refused");
	CHECK_TEXT(err, "connect 127.0.0.1:2: connection refused");
	err = ew_put(&w, st, "/a", V);
	CHECK_STATUS(err, KV_NOT_REACHABLE);
	CHECK_STATUS(ew_watch_err(&w, st, "", 0), KV_NOT_REACHABLE);
	ew_shut(&w, st);
	ew_close(&w);
}

/* ---- members ------------------------------------------------------------- */

/* The member that answers is killed, thrice: nothing is lost or said wrongly.
 */
static void another_member_takes_over(void **state)
{
	struct ew w;
	struct store *st;
	struct store_single got;
	unsigned node, acked = 0, i;
	char key[32];

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 3});
	st = ew_store(&w, "etcd", "/t?timeout_ms=5000");
	for (node = 0; node < 3; node++) {
		etcd_server_kill(w.server, node);
		for (i = 0; i < 20; i++) {
			struct kv_err err;

			(void)snprintf(key, sizeof key, "/n%u-%u", node, i);
			err = ew_put(&w, st, key, V);
			CHECK(err.status == KV_OK ||
			      err.status == KV_UNKNOWN_OUTCOME ||
			      err.status == KV_NOT_REACHABLE ||
			      err.status == KV_TIMED_OUT);
			if (err.status != KV_OK) {
				continue;
			}
			acked++;
			got = ew_single(&w, st, store_get, key, slice_str(""));
			CHECK_STATUS(got.err, KV_OK);
			CHECK(slice_eq(got.pair.value, V));
			store_single_free(&got);
		}
		etcd_server_restart(w.server, node);
	}
	CHECK(acked >= 50);
	ew_shut(&w, st);
	ew_close(&w);
}

static void without_a_quorum_nothing_is_promised(void **state)
{
	struct ew w;
	struct store *st;
	struct kv_err err;
	uint64_t index;
	struct store_watch *wa;
	struct store_batch *b;

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 3});
	st = ew_store(&w, "etcd", "/t?timeout_ms=15000");
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
	wa = ew_watch_now(&w, st, "", 0, &index);
	etcd_server_kill(w.server, 1);
	etcd_server_kill(w.server, 2);
	/* The first endpoint is the one that still runs. */
	err = ew_put(&w, st, "/b", V);
	CHECK(err.status == KV_UNKNOWN_OUTCOME ||
	      err.status == KV_NOT_REACHABLE);
	err = ew_get(&w, st, "/a");
	CHECK(err.status == KV_NOT_REACHABLE || err.status == KV_TIMED_OUT);
	b = ew_next(&w, wa, 0, &err);
	CHECK(b == NULL);
	CHECK_STATUS(err, KV_NOT_REACHABLE);
	store_watch_close(wa);
	etcd_server_restart(w.server, 1);
	etcd_server_restart(w.server, 2);
	CHECK_STATUS(ew_put(&w, st, "/b", V), KV_OK);
	ew_shut(&w, st);
	ew_close(&w);
}

static void a_frozen_member_is_left(void **state)
{
	struct ew w;
	struct store *st;
	struct kv_err err;

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 3});
	st = ew_store(&w, "etcd", "/t?timeout_ms=1500");
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
	/* The one we talk to; a majority goes on without it. */
	etcd_server_freeze(w.server, 0);
	err = ew_put(&w, st, "/a", slice_str("w"));
	CHECK_STATUS(err, KV_UNKNOWN_OUTCOME);
	do {
		err = ew_get(&w, st, "/a");
		CHECK(err.status == KV_OK || err.status == KV_NOT_REACHABLE ||
		      err.status == KV_TIMED_OUT);
	} while (err.status != KV_OK);
	etcd_server_thaw(w.server, 0);
	ew_shut(&w, st);
	ew_close(&w);
}

static void a_frozen_server_is_noticed(void **state)
{
	struct ew w;
	struct store *st;

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 1});
	st = ew_store(&w, "etcd", "/t?timeout_ms=700");
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
	etcd_server_freeze(w.server, 0);
	CHECK_STATUS(ew_get(&w, st, "/a"), KV_TIMED_OUT);
	/* connects, but does not speak */
	CHECK_STATUS(ew_get(&w, st, "/a"), KV_NOT_REACHABLE);
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_NOT_REACHABLE);
	etcd_server_thaw(w.server, 0);
	etcd_server_healthy(w.server);
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
	ew_shut(&w, st);
	ew_close(&w);
}

/* ---- limits -------------------------------------------------------------- */

static void a_server_may_take_fewer_operations(void **state)
{
	static const char *const more[] = {"--max-txn-ops=10", NULL};
	struct ew w;
	struct store *st;
	struct arena a = {0};
	struct store_op *ops;
	struct store_write req = {.epoch = 0};
	struct slice names[128];
	struct store_scan scan = {.keys = names, .n_keys = 128};
	size_t i;

	(void)state;
	ew_open(&w, &(struct etcd_options){.more = more});
	st = ew_store(&w, "etcd", "/t");
	ops = ew_ops(&a, "", 0, 128, 10);
	CHECK(store_capabilities(st)->max_ops == 128);
	ew_write(&w, st, &req, ops, 128);
	CHECK_STATUS(req.err, KV_TOO_LARGE);
	for (i = 0; i < 128; i++) {
		CHECK(ops[i].status == KV_CANCELED);
		names[i] = ops[i].key;
	}
	CHECK(store_capabilities(st)->max_ops <= 64);
	ew_shut(&w, st);
	/* A read of names splits itself. */
	st = ew_store(&w, "etcd", "/t");
	ew_scan(&w, st, &scan);
	CHECK_STATUS(scan.err, KV_OK);
	CHECK(scan.page->n == 0);
	store_page_free(scan.page);
	CHECK(store_capabilities(st)->max_ops <= 10);
	ew_fill(&w, st, "", 128, 10);
	memset(&scan, 0, sizeof scan);
	scan.keys = names;
	scan.n_keys = store_capabilities(st)->max_ops;
	ew_scan(&w, st, &scan);
	CHECK_STATUS(scan.err, KV_OK);
	CHECK(scan.page->n == scan.n_keys);
	store_page_free(scan.page);
	ew_shut(&w, st);
	arena_free(&a);
	ew_close(&w);
}

/* Values as large as the capabilities say pass; pages of them stay small. */
static void large_values_come_in_small_pages(void **state)
{
	struct ew w;
	struct store *st;
	struct store_scan scan = {.max_bytes = 4 * 1024 * 1024};
	size_t i, n = 0, bytes, largest;
	uint8_t *value;
	char after[64], key[64], names[40][16];
	struct slice keys[40];

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 1});
	st = ew_store(&w, "etcd", "/t");
	largest = store_capabilities(st)->max_value;
	value = malloc(largest);
	CHECK(value != NULL && largest > 1400 * 1000);
	memset(value, 'x', largest);
	/* Small ones first: what a page learns from them is wrong later. */
	ew_fill(&w, st, "/a", 1000, 10);
	for (i = 0; i < 40; i++) {
		(void)snprintf(key, sizeof key, "/b/%02zu", i);
		CHECK_STATUS(ew_put(&w, st, key, slice_of(value, largest)),
			     KV_OK);
	}
	for (;;) {
		struct store_page *p;

		ew_scan(&w, st, &scan);
		CHECK_STATUS(scan.err, KV_OK);
		p = scan.page;
		bytes = 0;
		for (i = 0; i < p->n; i++) {
			bytes += p->pairs[i].value.n;
		}
		n += p->n;
		CHECK(bytes <= (size_t)16 * 1024 * 1024);
		CHECK(p->n > 0);
		bytes = p->pairs[p->n - 1].key.n;
		memcpy(after, p->pairs[p->n - 1].key.p, bytes);
		if (!p->more) {
			store_page_free(p);
			break;
		}
		store_page_free(p);
		memset(&scan, 0, sizeof scan);
		scan.max_bytes = (size_t)4 * 1024 * 1024;
		scan.after = slice_of(after, bytes);
	}
	CHECK(n == 1040);
	/* Named keys: more than one answer may hold, in one page. */
	memset(&scan, 0, sizeof scan);
	for (i = 0; i < 40; i++) {
		(void)snprintf(names[i], sizeof names[i], "/b/%02zu", i);
		keys[i] = slice_str(names[i]);
	}
	scan.keys = keys;
	scan.n_keys = 40;
	ew_scan(&w, st, &scan);
	CHECK_STATUS(scan.err, KV_OK);
	CHECK(scan.page->n == 40 && !scan.page->more);
	for (i = 0; i < 40; i++) {
		CHECK(slice_eq(scan.page->pairs[i].key, keys[i]));
		CHECK(scan.page->pairs[i].value.n == largest);
	}
	store_page_free(scan.page);
	free(value);
	ew_shut(&w, st);
	ew_close(&w);
}

static void a_server_may_take_fewer_bytes(void **state)
{
	static const char *const more[] = {"--max-request-bytes=65536", NULL};
	struct ew w;
	struct store *st;
	struct arena a = {0};
	struct store_op *ops;
	struct store_write req = {.epoch = 0};

	(void)state;
	ew_open(&w, &(struct etcd_options){.more = more});
	st = ew_store(&w, "etcd", "/t");
	ops = ew_ops(&a, "", 0, 2, 50000);
	ew_write(&w, st, &req, ops, 2);
	CHECK_STATUS(req.err, KV_TOO_LARGE);
	CHECK(ops[0].status == KV_CANCELED && ops[1].status == KV_CANCELED);
	memset(&req, 0, sizeof req);
	ew_write(&w, st, &req, ops, 1);
	CHECK_STATUS(req.err, KV_OK);
	/* A value by itself; far beyond, where gRPC itself refuses. */
	ops = ew_ops(&a, "", 0, 1, 100000);
	memset(&req, 0, sizeof req);
	ew_write(&w, st, &req, ops, 1);
	CHECK_STATUS(req.err, KV_TOO_LARGE);
	CHECK(ops[0].status == KV_TOO_LARGE);
	ops = ew_ops(&a, "", 0, 1, 1000000);
	memset(&req, 0, sizeof req);
	ew_write(&w, st, &req, ops, 1);
	CHECK_STATUS(req.err, KV_TOO_LARGE);
	CHECK(ops[0].status == KV_TOO_LARGE);
	ew_shut(&w, st);
	arena_free(&a);
	ew_close(&w);
}

static void a_full_server_says_so(void **state)
{
	static const char *const more[] = {"--quota-backend-bytes=2097152",
					   NULL};
	struct ew w;
	struct store *st;
	struct kv_err err;
	uint8_t *value = calloc(1, 400000);
	unsigned i;

	(void)state;
	CHECK(value != NULL);
	ew_open(&w, &(struct etcd_options){.more = more});
	st = ew_store(&w, "etcd", "/t");
	/* The quota is looked at when a batch is committed, now and then. */
	for (i = 0; i < 500; i++) {
		err = ew_put(&w, st, "/a", slice_of(value, 400000));
		if (err.status != KV_OK) {
			break;
		}
	}
	CHECK_STATUS(err, KV_NO_SPACE);
	CHECK_STATUS(ew_delete(&w, st, "/a"), KV_OK);
	free(value);
	ew_shut(&w, st);
	ew_close(&w);
}

/* ---- history ------------------------------------------------------------- */

static void what_was_compacted_is_lost(void **state)
{
	struct ew w;
	struct store *st;
	struct store_single put;
	struct store_scan scan = {0};
	struct kv_err err;
	uint64_t old, now;

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 1});
	st = ew_store(&w, "etcd", "/t");
	put = ew_single(&w, st, store_put, "/a", V);
	old = put.pair.index;
	CHECK_STATUS(ew_put(&w, st, "/a", V), KV_OK);
	put = ew_single(&w, st, store_put, "/a", V);
	now = put.pair.index;
	etcd_server_compact(w.server);
	scan.at = old;
	ew_scan(&w, st, &scan);
	CHECK_STATUS(scan.err, KV_HISTORY_LOST);
	CHECK_TEXT(scan.err, "compacted");
	CHECK_STATUS(ew_watch_err(&w, st, "", old), KV_HISTORY_LOST);
	/* And what has not come to be yet. */
	memset(&scan, 0, sizeof scan);
	scan.at = now + 1000;
	ew_scan(&w, st, &scan);
	CHECK_STATUS(scan.err, KV_HISTORY_LOST);
	CHECK_TEXT(scan.err, "future");
	memset(&scan, 0, sizeof scan);
	scan.at = now + 1000;
	scan.local = true;
	ew_scan(&w, st, &scan);
	CHECK_STATUS(scan.err, KV_HISTORY_LOST);
	err = ew_watch_err(&w, st, "", now + 1000);
	CHECK_STATUS(err, KV_HISTORY_LOST);
	ew_shut(&w, st);
	ew_close(&w);
}

/* raw_prefix and the prefix see each other's keys as the table says. */
static void raw_prefixes_name_the_same_bytes(void **state)
{
	struct ew w;
	struct store *raw, *plain, *all;
	struct store_single got;
	struct store_scan scan = {0};

	(void)state;
	ew_open(&w, &(struct etcd_options){.nodes = 1});
	raw = ew_store(&w, "etcd", "?raw_prefix=/app/");
	plain = ew_store(&w, "etcd", "/app");
	all = ew_store(&w, "etcd", "?raw_prefix=");
	CHECK_STATUS(ew_put(&w, raw, "/x/y", V), KV_OK);
	got = ew_single(&w, plain, store_get, "/x/y", slice_str(""));
	CHECK_STATUS(got.err, KV_OK);
	store_single_free(&got);
	got = ew_single(&w, all, store_get, "//app/x/y", slice_str(""));
	CHECK_STATUS(got.err, KV_OK);
	store_single_free(&got);
	CHECK_STATUS(ew_put(&w, all, "/app", V), KV_OK);
	ew_scan(&w, all, &scan);
	CHECK_STATUS(scan.err, KV_OK);
	CHECK(scan.page->n == 2);
	CHECK(slice_eq(scan.page->pairs[0].key, slice_str("//app/x/y")));
	CHECK(slice_eq(scan.page->pairs[1].key, slice_str("/app")));
	store_page_free(scan.page);
	CHECK_STATUS(ew_put(&w, raw, "/", V), KV_INVALID_KEY);
	ew_shut(&w, raw);
	ew_shut(&w, plain);
	ew_shut(&w, all);
	ew_close(&w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(refused_credentials_are_denied),
	    cmocka_unit_test(a_lost_token_is_replaced),
	    cmocka_unit_test(a_user_on_a_server_without_users_is_let_in),
	    cmocka_unit_test(tls_with_a_client_certificate),
	    cmocka_unit_test(tls_that_cannot_be_says_why),
	    cmocka_unit_test(tls_to_a_clear_text_port_says_so),
	    cmocka_unit_test(options_that_cannot_be_are_refused),
	    cmocka_unit_test(nobody_there_names_all_endpoints),
	    cmocka_unit_test(another_member_takes_over),
	    cmocka_unit_test(without_a_quorum_nothing_is_promised),
	    cmocka_unit_test(a_frozen_member_is_left),
	    cmocka_unit_test(a_frozen_server_is_noticed),
	    cmocka_unit_test(a_server_may_take_fewer_operations),
	    cmocka_unit_test(large_values_come_in_small_pages),
	    cmocka_unit_test(a_server_may_take_fewer_bytes),
	    cmocka_unit_test(a_full_server_says_so),
	    cmocka_unit_test(what_was_compacted_is_lost),
	    cmocka_unit_test(raw_prefixes_name_the_same_bytes),
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
