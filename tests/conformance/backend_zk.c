/* backend_zk.c: see backend_zk.h. One server a group, one subtree a test. */
#include "tests/conformance/backend_zk.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/zookeeper/zookeeper.h"
#include "tests/fixtures/zk_hand.h"
#include "tests/fixtures/zk_server.h"

#define CREDENTIALS "m:mpw"

struct zk_env {
	struct zk_server *server;
	const char *under;   /* the subtree of all tests */
	const char *options; /* of the URI, with '?' */
};

static const char *zk_missing(void)
{
	return zk_server_missing(false);
}

static const char *zk34_missing(void)
{
	return zk_server_missing(true);
}

static void *start(const struct zk_options *o, const char *options)
{
	struct zk_env *e = calloc(1, sizeof *e);

	if (e != NULL) {
		e->server = zk_server_start(o);
		e->under = "";
		e->options = options;
	}
	return e;
}

static void *zk_set_up(void)
{
	return start(&(struct zk_options){.nodes = 1}, "");
}

static void *zk_general_set_up(void)
{
	return start(&(struct zk_options){.nodes = 1}, "?reader=general");
}

static void *zk3_set_up(void)
{
	return start(&(struct zk_options){.nodes = 3}, "");
}

static void *zk34_set_up(void)
{
	return start(&(struct zk_options){.old = true}, "");
}

/* Below a znode that nobody else may touch. */
static void *zk_digest_set_up(void)
{
	struct zk_env *e = start(&(struct zk_options){.nodes = 1},
				 "?digest=env:KVTEST_ZK_DIGEST");
	zhandle_t *zh;

	if (e == NULL) {
		return NULL;
	}
	(void)setenv("KVTEST_ZK_DIGEST", CREDENTIALS, 1);
	zh = zk_hand_open(zk_server_endpoints(e->server), 10000);
	zk_hand_auth(zh, CREDENTIALS);
	zk_hand_put(zh, "/m/closed", NULL, 0);
	zk_hand_close_off(zh, "/m/closed");
	zk_hand_close(zh);
	e->under = "/m/closed";
	return e;
}

static void zk_tear_down(void *env)
{
	struct zk_env *e = env;

	zk_server_free(e->server);
	free(e);
}

static void zk_uri(void *env, unsigned fresh, const char *prefix, char *buf,
		   size_t cap)
{
	struct zk_env *e = env;

	(void)snprintf(buf, cap, "zk://%s%s/t%u%s%s",
		       zk_server_endpoints(e->server), e->under, fresh, prefix,
		       e->options);
}

static void zk_nobody(void *env, char *buf, size_t cap)
{
	int port;

	(void)env;
	temp_ports(&port, 1);
	(void)snprintf(buf, cap, "zk://127.0.0.1:%d/p", port);
}

static void zk_wipe(void *env, unsigned fresh)
{
	struct zk_env *e = env;

	(void)fresh;
	zk_server_wipe(e->server);
}

static void zk_kill(void *env)
{
	struct zk_env *e = env;

	for (unsigned i = 0; i < zk_server_count(e->server); i++) {
		zk_server_kill(e->server, i);
	}
}

static void zk_again(void *env)
{
	struct zk_env *e = env;

	for (unsigned i = 0; i < zk_server_count(e->server); i++) {
		if (!zk_server_running(e->server, i)) {
			zk_server_restart(e->server, i);
		}
	}
	zk_server_ready(e->server);
}

static void zk_freeze(void *env)
{
	struct zk_env *e = env;

	for (unsigned i = 0; i < zk_server_count(e->server); i++) {
		zk_server_freeze(e->server, i);
	}
}

static void zk_thaw(void *env)
{
	struct zk_env *e = env;

	for (unsigned i = 0; i < zk_server_count(e->server); i++) {
		zk_server_thaw(e->server, i);
	}
}

/* No scan of an old state, and of several changes of a key the last one: that
 * is all a ZooKeeper server tells. Its history is nothing that it could
 * forget. */
#define ZK_ROW(row_name, how, why)                                            \
	{                                                                     \
		.name = (row_name), .ops = &store_zookeeper_ops,              \
		.missing = (why), .set_up = (how), .tear_down = zk_tear_down, \
		.uri = zk_uri, .uri_nobody = zk_nobody, .wipe = zk_wipe,      \
		.kill = zk_kill, .start = zk_again, .freeze = zk_freeze,      \
		.thaw = zk_thaw, .network = true,                             \
	}

const struct backend zk_backend = ZK_ROW("zk", zk_set_up, zk_missing);
const struct backend zk_general_backend =
    ZK_ROW("zk_general", zk_general_set_up, zk_missing);
const struct backend zk3_backend = ZK_ROW("zk3", zk3_set_up, zk_missing);
const struct backend zk34_backend = ZK_ROW("zk34", zk34_set_up, zk34_missing);
const struct backend zk_digest_backend =
    ZK_ROW("zk_digest", zk_digest_set_up, zk_missing);
