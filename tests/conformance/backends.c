/* backends.c: the table of backends under test. A new backend is a new row; the
 * assertions stay the same. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/consul/consul.h"
#include "store/etcd/etcd.h"
#include "store/sqlite/sqlite.h"
#include "tests/conformance/backend_zk.h"
#include "tests/conformance/suite.h"
#include "tests/fixtures/consul_server.h"
#include "tests/fixtures/etcd_server.h"

/* ---- sqlite: one file a test ---------------------------------------------*/

struct sqlite_env {
	char dir[TEMP_PATH_MAX];
};

static void *sqlite_set_up(void)
{
	struct sqlite_env *e = calloc(1, sizeof *e);

	if (e != NULL) {
		temp_dir(e->dir, "sqlite");
	}
	return e;
}

static void sqlite_tear_down(void *env)
{
	struct sqlite_env *e = env;

	temp_remove(e->dir);
	free(e);
}

static void sqlite_file(const struct sqlite_env *e, unsigned fresh,
			const char *tail, char *buf, size_t cap)
{
	(void)snprintf(buf, cap, "%s/t%u.db%s", e->dir, fresh, tail);
}

static void sqlite_uri(void *env, unsigned fresh, const char *prefix, char *buf,
		       size_t cap)
{
	char file[TEMP_PATH_MAX + 32];

	sqlite_file(env, fresh, "", file, sizeof file);
	(void)snprintf(buf, cap, "sqlite:%s%s%s", file,
		       *prefix == '\0' ? "" : "?prefix=", prefix);
}

static void sqlite_nobody(void *env, char *buf, size_t cap)
{
	sqlite_uri(env, 999999, "/p", buf, cap);
}

/* As a person would: keeps next to nothing of the log while a key comes and
 * goes elsewhere, which trims it. */
static void sqlite_forget(void *env, unsigned fresh)
{
	static const char sql[] =
	    "BEGIN IMMEDIATE;"
	    "UPDATE kv_meta SET keep = 1;"
	    "INSERT INTO kv(key, value) VALUES('/elsewhere', '');"
	    "DELETE FROM kv WHERE key = '/elsewhere';"
	    "UPDATE kv_meta SET keep = 1000000;"
	    "COMMIT";
	char file[TEMP_PATH_MAX + 32];
	char *why = NULL;
	sqlite3 *h = NULL;

	sqlite_file(env, fresh, "", file, sizeof file);
	if (sqlite3_open(file, &h) != SQLITE_OK ||
	    sqlite3_busy_timeout(h, 10000) != SQLITE_OK ||
	    sqlite3_exec(h, sql, NULL, NULL, &why) != SQLITE_OK) {
		print_error("%s: %s\n", file, why == NULL ? "?" : why);
		abort();
	}
	(void)sqlite3_close(h);
}

static void sqlite_wipe(void *env, unsigned fresh)
{
	static const char *const tails[] = {"", "-wal", "-shm", "-journal"};
	char file[TEMP_PATH_MAX + 32];

	for (size_t i = 0; i < KV_COUNT(tails); i++) {
		sqlite_file(env, fresh, tails[i], file, sizeof file);
		(void)unlink(file);
	}
}

static const struct backend sqlite_backend = {
    .name = "sqlite",
    .ops = &store_sqlite_ops,
    .set_up = sqlite_set_up,
    .tear_down = sqlite_tear_down,
    .uri = sqlite_uri,
    .uri_nobody = sqlite_nobody,
    .forget = sqlite_forget,
    .wipe = sqlite_wipe,
};

/* ---- etcd: one server a group, one prefix a test -------------------------*/

struct etcd_env {
	struct etcd_server *server;
	bool tls;
	bool auth;
	unsigned nodes;
};

static const char *etcd_missing(void)
{
	return etcd_server_available() ? NULL : "no etcd and etcdctl to start";
}

static void *etcd_start(const struct etcd_options *o)
{
	struct etcd_env *e = calloc(1, sizeof *e);

	if (e != NULL) {
		e->server = etcd_server_start(o);
		e->tls = o->tls;
		e->auth = o->auth;
		e->nodes = KV_MAX(o->nodes, 1);
	}
	if (o->auth) {
		(void)setenv("KVTEST_ETCD_PASSWORD", "mpw", 1);
	}
	return e;
}

static void *etcd_set_up(void)
{
	return etcd_start(&(struct etcd_options){.nodes = 1});
}

static void *etcds_set_up(void)
{
	return etcd_start(
	    &(struct etcd_options){.tls = true, .client_cert = true});
}

static void *etcd_auth_set_up(void)
{
	return etcd_start(&(struct etcd_options){.auth = true});
}

static void *etcd3_set_up(void)
{
	return etcd_start(&(struct etcd_options){.nodes = 3});
}

static void etcd_tear_down(void *env)
{
	struct etcd_env *e = env;

	etcd_server_free(e->server);
	free(e);
}

static void etcd_uri(void *env, unsigned fresh, const char *prefix, char *buf,
		     size_t cap)
{
	struct etcd_env *e = env;
	const char *dir = etcd_server_dir(e->server);
	int n = snprintf(buf, cap, "%s://%s%s/t%u%s", e->tls ? "etcds" : "etcd",
			 etcd_server_endpoints(e->server), e->auth ? "/m" : "",
			 fresh, prefix);

	if (e->tls) {
		(void)snprintf(buf + n, cap - (size_t)n,
			       "?ca=%s/certs/ca.pem&cert=%s/certs/client.pem"
			       "&key=%s/certs/client.key",
			       dir, dir, dir);
	} else if (e->auth) {
		(void)snprintf(buf + n, cap - (size_t)n,
			       "?user=m&password=env:KVTEST_ETCD_PASSWORD");
	}
}

static void etcd_nobody(void *env, char *buf, size_t cap)
{
	int port;

	(void)env;
	temp_ports(&port, 1);
	(void)snprintf(buf, cap, "etcd://127.0.0.1:%d/p", port);
}

static void etcd_forget(void *env, unsigned fresh)
{
	struct etcd_env *e = env;

	(void)fresh;
	etcd_server_compact(e->server);
}

static void etcd_wipe(void *env, unsigned fresh)
{
	struct etcd_env *e = env;

	(void)fresh;
	etcd_server_wipe(e->server, NULL);
}

static void etcd_kill(void *env)
{
	struct etcd_env *e = env;

	for (unsigned i = 0; i < e->nodes; i++) {
		etcd_server_kill(e->server, i);
	}
}

static void etcd_again(void *env)
{
	struct etcd_env *e = env;

	for (unsigned i = 0; i < e->nodes; i++) {
		if (!etcd_server_running(e->server, i)) {
			etcd_server_restart(e->server, i);
		}
	}
	etcd_server_healthy(e->server);
}

static void etcd_freeze(void *env)
{
	struct etcd_env *e = env;

	for (unsigned i = 0; i < e->nodes; i++) {
		etcd_server_freeze(e->server, i);
	}
}

static void etcd_thaw(void *env)
{
	struct etcd_env *e = env;

	for (unsigned i = 0; i < e->nodes; i++) {
		etcd_server_thaw(e->server, i);
	}
}

#define ETCD_ROW(row_name, how)                                            \
	{                                                                  \
		.name = (row_name), .ops = &store_etcd_ops,                \
		.missing = etcd_missing, .set_up = (how),                  \
		.tear_down = etcd_tear_down, .uri = etcd_uri,              \
		.uri_nobody = etcd_nobody, .forget = etcd_forget,          \
		.wipe = etcd_wipe, .kill = etcd_kill, .start = etcd_again, \
		.freeze = etcd_freeze, .thaw = etcd_thaw, .scan_at = true, \
		.every_change = true, .network = true,                     \
	}

static const struct backend etcd_backend = ETCD_ROW("etcd", etcd_set_up);
/* The plain and the TLS port are different HTTP/2 servers inside etcd. */
static const struct backend etcds_backend = ETCD_ROW("etcds", etcds_set_up);
static const struct backend etcd_auth_backend =
    ETCD_ROW("etcd_auth", etcd_auth_set_up);
static const struct backend etcd3_backend = ETCD_ROW("etcd3", etcd3_set_up);

/* ---- consul: one server a group, one prefix a test -----------------------*/

struct consul_env {
	struct consul_server *server;
	bool tls;
	bool acl;
};

static const char *consul_missing(void)
{
	return consul_server_program() != NULL
		   ? NULL
		   : "no consul to start (tests/fixtures/get-consul.sh)";
}

static void *consul_start(const struct consul_options *o)
{
	struct consul_env *e = calloc(1, sizeof *e);

	if (e != NULL) {
		e->server = consul_server_start(o);
		e->tls = o->tls;
		e->acl = o->acl;
	}
	if (o->acl) {
		(void)setenv("KVTEST_CONSUL_TOKEN",
			     consul_server_token(e->server,
						 "key_prefix \"m/\" { "
						 "policy = \"write\" } "
						 "session_prefix \"\" { "
						 "policy = \"write\" }"),
			     1);
	}
	return e;
}

static void *consul_set_up(void)
{
	return consul_start(&(struct consul_options){0});
}

static void *consuls_set_up(void)
{
	return consul_start(&(struct consul_options){.tls = true});
}

static void *consul_acl_set_up(void)
{
	return consul_start(&(struct consul_options){.acl = true});
}

static void consul_tear_down(void *env)
{
	struct consul_env *e = env;

	consul_server_free(e->server);
	free(e);
}

static void consul_uri(void *env, unsigned fresh, const char *prefix, char *buf,
		       size_t cap)
{
	struct consul_env *e = env;
	const char *dir = consul_server_dir(e->server);
	int n = snprintf(buf, cap, "%s://127.0.0.1:%d%s/t%u%s",
			 e->tls ? "consuls" : "consul",
			 e->tls ? consul_server_tls_port(e->server)
				: consul_server_port(e->server),
			 e->acl ? "/m" : "", fresh, prefix);

	if (e->tls) {
		(void)snprintf(buf + n, cap - (size_t)n,
			       "?ca=%s/certs/ca.pem&cert=%s/certs/client.pem"
			       "&key=%s/certs/client.key",
			       dir, dir, dir);
	} else if (e->acl) {
		(void)snprintf(buf + n, cap - (size_t)n,
			       "?token=env:KVTEST_CONSUL_TOKEN");
	}
}

static void consul_nobody(void *env, char *buf, size_t cap)
{
	int port;

	(void)env;
	temp_ports(&port, 1);
	(void)snprintf(buf, cap, "consul://127.0.0.1:%d/p", port);
}

static void consul_wipe(void *env, unsigned fresh)
{
	struct consul_env *e = env;

	(void)fresh;
	consul_server_wipe(e->server);
}

static void consul_kill(void *env)
{
	struct consul_env *e = env;

	consul_server_kill(e->server);
}

static void consul_again(void *env)
{
	struct consul_env *e = env;

	if (!consul_server_running(e->server)) {
		consul_server_restart(e->server);
	}
}

static void consul_freeze(void *env)
{
	struct consul_env *e = env;

	consul_server_freeze(e->server);
}

static void consul_thaw(void *env)
{
	struct consul_env *e = env;

	consul_server_thaw(e->server);
}

#define CONSUL_ROW(row_name, how)                                              \
	{                                                                      \
		.name = (row_name), .ops = &store_consul_ops,                  \
		.missing = consul_missing, .set_up = (how),                    \
		.tear_down = consul_tear_down, .uri = consul_uri,              \
		.uri_nobody = consul_nobody, .wipe = consul_wipe,              \
		.kill = consul_kill, .start = consul_again,                    \
		.freeze = consul_freeze, .thaw = consul_thaw, .network = true, \
		.equal_is_none = true,                                         \
	}

static const struct backend consul_backend =
    CONSUL_ROW("consul", consul_set_up);
static const struct backend consuls_backend =
    CONSUL_ROW("consuls", consuls_set_up);
static const struct backend consul_acl_backend =
    CONSUL_ROW("consul_acl", consul_acl_set_up);

const struct backend *const suite_backends[] = {
    &sqlite_backend,	 &etcd_backend, &etcds_backend,	     &etcd_auth_backend,
    &etcd3_backend,	 &zk_backend,	&zk_general_backend, &zk34_backend,
    &zk_digest_backend,	 &zk3_backend,	&consul_backend,     &consuls_backend,
    &consul_acl_backend,
};
const size_t suite_n_backends = KV_COUNT(suite_backends);
