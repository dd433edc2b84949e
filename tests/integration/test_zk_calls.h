/* test_zk_calls.h: what the tests of the ZooKeeper backend against real servers
 * share: the calls that wait of test_etcd_world.h, a server and a hand.
 */
#ifndef KV_TEST_ZK_CALLS_H
#define KV_TEST_ZK_CALLS_H

#include "tests/integration/test_etcd_world.h"

#include "store/zookeeper/zookeeper.h"
#include "tests/fixtures/tcp_proxy.h"
#include "tests/fixtures/zk_hand.h"
#include "tests/fixtures/zk_server.h"

/* Both ways of reading are asked the same. */
static const char *const zw_readers[] = {"fast", "general"};

struct zw {
	struct ew e;
	struct zk_server *server; /* borrowed */
	zhandle_t *hand;
	const char *reader;
};

static inline void zw_open(struct zw *w, struct zk_server *s,
			   const char *reader)
{
	memset(w, 0, sizeof *w);
	(void)signal(SIGPIPE, SIG_IGN);
	test_loop_open(&w->e.loop);
	CHECK(store_register(&w->e.registry, &store_zookeeper_ops, NULL) ==
	      KV_OK);
	w->server = s;
	w->reader = reader;
	w->hand = zk_hand_open(zk_server_endpoints(s), 4000);
	zk_hand_auth(w->hand, "m:mpw"); /* to clean up after the one before */
	zk_hand_delete_all(w->hand, "/t");
}

static inline void zw_close(struct zw *w)
{
	zk_hand_close(w->hand);
	ew_close(&w->e);
}

/* A store at HOSTS (NULL: the server's) below /t; `more`: "&data=leaves" or
 * "". */
static inline struct store *zw_store_at(struct zw *w, const char *hosts,
					const char *more, unsigned flags)
{
	char uri[2048];
	struct kv_err err = {0};
	struct store *st;

	(void)snprintf(uri, sizeof uri, "zk://%s/t?reader=%s%s",
		       hosts == NULL ? zk_server_endpoints(w->server) : hosts,
		       w->reader, more);
	if (store_open(&w->e.registry, w->e.loop.sched, uri, flags, &st,
		       &err) != KV_OK) {
		fprintf(stderr, "%s: %s\n", uri, err.text);
		abort();
	}
	return st;
}

static inline struct store *zw_store(struct zw *w, const char *more)
{
	return zw_store_at(w, NULL, more, 0);
}

/* "/a=x /b/c= ": all pairs of the store, as text (free it). */
static inline char *zw_all(struct zw *w, struct store *st)
{
	struct arena a = {0};
	struct slice after = {0};
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);
	bool more = true;

	CHECK(f != NULL);
	while (more) {
		struct store_scan req = {.after = after};

		ew_scan(&w->e, st, &req);
		CHECK_STATUS(req.err, KV_OK);
		for (size_t i = 0; i < req.page->n; i++) {
			struct store_pair *p = &req.page->pairs[i];

			(void)fprintf(f, "%.*s=%.*s ", (int)p->key.n,
				      (const char *)p->key.p, (int)p->value.n,
				      (const char *)p->value.p);
		}
		more = req.page->more;
		if (req.page->n > 0) {
			after =
			    slice_dup(&a, req.page->pairs[req.page->n - 1].key);
		}
		store_page_free(req.page);
	}
	(void)fclose(f);
	arena_free(&a);
	return text;
}

#define CHECK_ALL(w, st, want)                                              \
	do {                                                                \
		char *all = zw_all((w), (st));                              \
		if (strcmp(all, (want)) != 0) {                             \
			fprintf(stderr, "%s:%d: \"%s\", expected \"%s\"\n", \
				__FILE__, __LINE__, all, (want));           \
			abort();                                            \
		}                                                           \
		free(all);                                                  \
	} while (0)

#endif /* KV_TEST_ZK_CALLS_H */
