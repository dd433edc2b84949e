/* place.c: see place.h.
 *
 *   place --> etcd: etcd_server, a store of its own on a loop, etcdctl watch
 *         |-> Consul: consul_server, a store of its own likewise
 *         |-> ZooKeeper: zk_server, zk_hand, zk_log
 *         \-> sqlite: a file, a connection of its own, a table with triggers
 */
#include "tests/integration/place.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "store/consul/consul.h"
#include "store/etcd/etcd.h"
#include "store/store.h"
#include "tests/fixtures/zk_hand.h"
#include "tests/fixtures/zk_log.h"
#include "tests/fixtures/zk_server.h"
#include "tests/integration/program.h"

enum { WRITE_MS = 30000, RECORD_MS = 30000, OPS_MAX = 128, NULLS_MAX = 1024 };

struct place {
	enum place_kind kind;
	char dir[TEMP_PATH_MAX];
	char prefix[64]; /* what is recorded; "": nothing */

	char file[TEMP_PATH_MAX + 32];
	sqlite3 *h;
	sqlite3_stmt *put, *del;

	struct etcd_server *server;
	struct consul_server *consul;
	uv_loop_t loop;
	struct sched *sched;
	struct store_registry registry;
	struct store *store;
	uv_timer_t timer;
	pid_t watch;
	char record[TEMP_PATH_MAX + 32];
	unsigned records;

	struct zk_server *zk;
	zhandle_t *hand;
};

static void give_up(const char *fmt, ...) KV_PRINTF(1, 2)
    __attribute__((noreturn));
static void give_up(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	abort();
}

const char *place_missing(enum place_kind kind)
{
	switch (kind) {
	case PLACE_ETCD:
		return etcd_server_available() ? NULL
					       : "no etcd and etcdctl here";
	case PLACE_CONSUL:
		return consul_server_program() != NULL ? NULL
						       : "no consul here";
	case PLACE_ZK:
		return zk_server_missing(false);
	case PLACE_SQLITE:
		break;
	}
	return NULL;
}

/* ---- sqlite ---------------------------------------------------------------*/

static void sql(struct place *p, const char *text)
{
	char *why = NULL;

	if (sqlite3_exec(p->h, text, NULL, NULL, &why) != SQLITE_OK) {
		give_up("%s: %s: %s", p->file, text, why == NULL ? "?" : why);
	}
}

static sqlite3_stmt *statement(struct place *p, const char *text)
{
	sqlite3_stmt *s = NULL;

	if (sqlite3_prepare_v2(p->h, text, -1, &s, NULL) != SQLITE_OK) {
		give_up("%s: %s: %s", p->file, text, sqlite3_errmsg(p->h));
	}
	return s;
}

/* The program makes the file; from there on it is anybody's. */
static void sqlite_start(struct place *p, const char *tag)
{
	char uri[PLACE_URI_MAX];
	const char *argv[] = {program_path(), "store", "put", uri,
			      "/outside",     "x",     NULL};

	(void)snprintf(p->file, sizeof p->file, "%s/%s.db", p->dir, tag);
	(void)snprintf(uri, sizeof uri, "sqlite:%s", p->file);
	if (process_run(argv, NULL, WRITE_MS) != 0) {
		give_up("%s store put %s fails", argv[0], uri);
	}
	if (sqlite3_open(p->file, &p->h) != SQLITE_OK ||
	    sqlite3_busy_timeout(p->h, WRITE_MS) != SQLITE_OK) {
		give_up("%s cannot be opened", p->file);
	}
	sql(p, "PRAGMA synchronous=OFF");
	p->put = statement(p, "INSERT INTO kv(key, value) VALUES(?1, ?2) "
			      "ON CONFLICT DO UPDATE SET value = ?2");
	p->del = statement(p, "DELETE FROM kv WHERE key = ?1");
}

static void sqlite_op(struct place *p, const struct place_op *op)
{
	sqlite3_stmt *s = op->value == NULL ? p->del : p->put;

	(void)sqlite3_bind_text(s, 1, op->key, -1, SQLITE_STATIC);
	if (op->value != NULL) {
		(void)sqlite3_bind_text(s, 2, op->value, (int)op->n,
					SQLITE_STATIC);
	}
	if (sqlite3_step(s) != SQLITE_DONE) {
		give_up("%s: %s: %s", p->file, op->key, sqlite3_errmsg(p->h));
	}
	(void)sqlite3_reset(s);
}

static void sqlite_record(struct place *p)
{
	sql(p, "BEGIN IMMEDIATE;"
	       "CREATE TABLE IF NOT EXISTS record(id INTEGER PRIMARY KEY, "
	       "key, value);"
	       "DELETE FROM record;"
	       "CREATE TRIGGER IF NOT EXISTS record_put AFTER INSERT ON kv "
	       "BEGIN INSERT INTO record(key, value) "
	       "VALUES(NEW.key, NEW.value); END;"
	       "CREATE TRIGGER IF NOT EXISTS record_set AFTER UPDATE ON kv "
	       "BEGIN INSERT INTO record(key, value) "
	       "VALUES(NEW.key, NEW.value); END;"
	       "CREATE TRIGGER IF NOT EXISTS record_gone AFTER DELETE ON kv "
	       "BEGIN INSERT INTO record(key) VALUES(OLD.key); END;"
	       "COMMIT");
}

static void sqlite_replay(struct place *p,
			  void (*each)(void *ctx, const char *name,
				       const char *value, size_t n),
			  void *ctx)
{
	sqlite3_stmt *s = statement(
	    p, "SELECT CAST(key AS TEXT), CAST(value AS TEXT) FROM record "
	       "WHERE substr(CAST(key AS TEXT), 1, ?2) = ?1 ORDER BY id");
	size_t cut = strlen(p->prefix);
	int rc;

	(void)sqlite3_bind_text(s, 1, p->prefix, -1, SQLITE_STATIC);
	(void)sqlite3_bind_int(s, 2, (int)cut);
	while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
		const char *key = (const char *)sqlite3_column_text(s, 0);
		const char *value = (const char *)sqlite3_column_text(s, 1);

		if (key[cut] == '/') {
			each(ctx, key + cut, value,
			     (size_t)sqlite3_column_bytes(s, 1));
		}
	}
	if (rc != SQLITE_DONE) {
		give_up("%s: %s", p->file, sqlite3_errmsg(p->h));
	}
	(void)sqlite3_finalize(s);
}

/* ---- etcd -----------------------------------------------------------------*/

static void open_store(struct place *p)
{
	char uri[PLACE_URI_MAX];
	struct kv_err err = {0};

	place_uri(p, "", uri);
	if (store_open(&p->registry, p->sched, uri, 0, &p->store, &err) !=
	    KV_OK) {
		give_up("%s: %s", uri, err.text);
	}
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

static void close_store(struct place *p)
{
	bool closed = false;

	store_close(p->store, on_closed, &closed);
	while (!closed) {
		(void)uv_run(&p->loop, UV_RUN_ONCE);
	}
	p->store = NULL;
}

static void start_store(struct place *p, const struct store_ops *ops)
{
	struct kv_err err = {0};

	if (uv_loop_init(&p->loop) != 0 ||
	    uv_timer_init(&p->loop, &p->timer) != 0 ||
	    (p->sched = sched_uv_open(&p->loop)) == NULL ||
	    store_register(&p->registry, ops, &err) != KV_OK) {
		give_up("no loop: %s", err.text);
	}
	open_store(p);
}

static void etcd_start(struct place *p, bool killed)
{
	struct etcd_options o = {.fsync = killed};

	p->server = etcd_server_start(&o);
	start_store(p, &store_etcd_ops);
}

static void consul_start(struct place *p)
{
	p->consul = consul_server_start(&(struct consul_options){0});
	start_store(p, &store_consul_ops);
}

static void end_store(struct place *p)
{
	if (p->store != NULL) {
		close_store(p);
	}
	uv_close((uv_handle_t *)&p->timer, NULL);
	sched_uv_close(p->sched);
	(void)uv_run(&p->loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&p->loop);
	store_registry_free(&p->registry);
}

static void etcd_end(struct place *p)
{
	if (p->watch > 0) {
		process_kill(p->watch);
	}
	end_store(p);
	etcd_server_free(p->server);
}

static void consul_end(struct place *p)
{
	end_store(p);
	consul_server_free(p->consul);
}

static void on_written(struct store_write *req)
{
	*(bool *)req->data = true;
}

static void on_late(uv_timer_t *t)
{
	give_up("no answer to a write in %d ms", WRITE_MS);
	(void)t;
}

static void write_store(struct place *p, const struct place_op *ops, size_t n)
{
	struct store_op so[OPS_MAX];
	struct store_write w;
	bool done = false;

	PRE(n <= OPS_MAX);
	memset(so, 0, sizeof so);
	memset(&w, 0, sizeof w);
	for (size_t i = 0; i < n; i++) {
		so[i].kind =
		    ops[i].value == NULL ? STORE_OP_DELETE : STORE_OP_PUT;
		so[i].key = slice_of(ops[i].key, strlen(ops[i].key));
		so[i].value = slice_of(ops[i].value, ops[i].n);
	}
	w.ops = so;
	w.n_ops = n;
	w.cb = on_written;
	w.data = &done;
	if (store_write(p->store, &w) != KV_OK) {
		give_up("a write is refused: %s", w.err.text);
	}
	uv_update_time(&p->loop); /* it stood still since the last write */
	(void)uv_timer_start(&p->timer, on_late, WRITE_MS, 0);
	while (!done) {
		(void)uv_run(&p->loop, UV_RUN_ONCE);
	}
	(void)uv_timer_stop(&p->timer);
	if (w.err.status != KV_OK) {
		give_up("a write fails: %s", w.err.text);
	}
}

/* As many at a time as any server takes. */
static void consul_write(struct place *p, const struct place_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i += 64) {
		write_store(p, ops + i, KV_MIN(n - i, (size_t)64));
	}
}

static void on_scanned(struct store_scan *req)
{
	*(bool *)req->data = true;
}

/* What there is now. */
static void consul_replay(struct place *p,
			  void (*each)(void *ctx, const char *name,
				       const char *value, size_t n),
			  void *ctx)
{
	struct store_scan scan;
	struct arena after = {0};
	bool more = true;
	bool done;

	memset(&scan, 0, sizeof scan);
	while (more) {
		done = false;
		scan.dir = slice_str(p->prefix);
		scan.cb = on_scanned;
		scan.data = &done;
		if (store_scan(p->store, &scan) != KV_OK) {
			give_up("a scan is refused: %s", scan.err.text);
		}
		while (!done) {
			(void)uv_run(&p->loop, UV_RUN_ONCE);
		}
		if (scan.err.status != KV_OK) {
			give_up("a scan fails: %s", scan.err.text);
		}
		for (size_t i = 0; i < scan.page->n; i++) {
			const struct store_pair *pair = &scan.page->pairs[i];
			char *name = kv_memdup(pair->key.p, pair->key.n);
			char *value = kv_memdup(pair->value.p, pair->value.n);

			each(ctx, name + strlen(p->prefix), value,
			     pair->value.n);
			scan.after = slice_dup(&after, pair->key);
			kv_free(name);
			kv_free(value);
		}
		more = scan.page->more;
		store_page_free(scan.page);
	}
	arena_free(&after);
}

/* etcdctl resumes its watch by itself when the server was away. */
static void etcd_record(struct place *p)
{
	char endpoints[300];
	const char *argv[] = {"etcdctl", endpoints, "watch", "--prefix",
			      "--rev=1", p->prefix, NULL};

	PRE(p->watch == 0);
	(void)snprintf(endpoints, sizeof endpoints, "--endpoints=%s",
		       etcd_server_endpoints(p->server));
	(void)snprintf(p->record, sizeof p->record, "%s/record-%u", p->dir,
		       p->records++);
	p->watch = process_start(argv, p->record);
	if (p->watch <= 0) {
		give_up("etcdctl watch cannot be started");
	}
}

/* A key whose name begins with the prefix and that is not below it, written
 * last, ends the record. */
static char *etcd_whole_record(struct place *p, const char *end)
{
	unsigned long long limit = process_clock() + RECORD_MS;
	char mark[96];
	int n = snprintf(mark, sizeof mark, "PUT\n%s\nend\n", end);
	struct place_op op = {end, "end", 3};

	place_write(p, &op, 1);
	for (;;) {
		char *text = temp_read(p->record);
		size_t have = text == NULL ? 0 : strlen(text);

		if (have >= (size_t)n &&
		    strcmp(text + have - (size_t)n, mark) == 0) {
			return text;
		}
		free(text);
		if (process_clock() > limit ||
		    process_wait(p->watch, 0, NULL)) {
			give_up("etcdctl watch does not come to the end");
		}
		process_nap();
	}
}

static char *line(char **at)
{
	char *start = *at;
	char *end = start + strcspn(start, "\n");

	*at = *end == '\0' ? end : end + 1;
	*end = '\0';
	return start;
}

static void etcd_replay(struct place *p,
			void (*each)(void *ctx, const char *name,
				     const char *value, size_t n),
			void *ctx)
{
	size_t cut = strlen(p->prefix);
	char end[80];
	char *text, *at;

	(void)snprintf(end, sizeof end, "%s-end", p->prefix);
	text = etcd_whole_record(p, end);
	process_kill(p->watch);
	p->watch = 0;
	for (at = text; *at != '\0';) {
		bool put = strcmp(line(&at), "PUT") == 0;
		const char *key = line(&at);
		const char *value = line(&at);

		if (key[cut] == '/') {
			each(ctx, key + cut, put ? value : NULL, strlen(value));
		}
	}
	free(text);
}

/* ---- ZooKeeper ------------------------------------------------------------*/

static void zk_open_hand(struct place *p)
{
	p->hand = zk_hand_open(zk_server_endpoints(p->zk), WRITE_MS);
}

static void zk_start(struct place *p)
{
	struct zk_options o = {.nodes = 1};

	p->zk = zk_server_start(&o);
	zk_open_hand(p);
}

static void zk_end(struct place *p)
{
	if (p->hand != NULL) {
		zk_hand_close(p->hand);
	}
	zk_server_free(p->zk);
}

static void zk_write_ops(struct place *p, const struct place_op *ops, size_t n)
{
	struct zk_hand_op z[OPS_MAX];

	PRE(n <= OPS_MAX);
	for (size_t i = 0; i < n; i++) {
		z[i] = (struct zk_hand_op){ops[i].key, ops[i].value, ops[i].n};
	}
	zk_hand_write(p->hand, z, n);
}

/* Reads the log for one prefix. Znodes that hold null are only parents: what
 * they are is kept, so that their deletes are told from those of keys. */
struct zk_reading {
	const char *prefix;
	size_t cut;
	void (*each)(void *ctx, const char *name, const char *value, size_t n);
	void *ctx;
	char *nulls[NULLS_MAX];
	size_t n_nulls;
};

static char **find_null(struct zk_reading *r, const char *path)
{
	for (size_t i = 0; i < r->n_nulls; i++) {
		if (strcmp(r->nulls[i], path) == 0) {
			return &r->nulls[i];
		}
	}
	return NULL;
}

static void drop_null(struct zk_reading *r, char **null)
{
	free(*null);
	*null = r->nulls[--r->n_nulls];
}

static void zk_see(void *ctx, const struct zk_log_entry *e)
{
	struct zk_reading *r = ctx;
	char **null;

	if (strncmp(e->path, r->prefix, r->cut) != 0 ||
	    e->path[r->cut] != '/') {
		return;
	}
	null = find_null(r, e->path);
	if (e->kind == ZK_LOG_CREATE && e->data == NULL) {
		PRE(r->n_nulls < NULLS_MAX);
		r->nulls[r->n_nulls++] = strdup(e->path);
	} else if (e->kind == ZK_LOG_DELETE && null != NULL) {
		drop_null(r, null);
	} else if (e->kind == ZK_LOG_SET && e->data == NULL && null != NULL) {
		return; /* null as before */
	} else if (e->kind == ZK_LOG_SET && e->data == NULL) {
		PRE(r->n_nulls < NULLS_MAX);
		r->nulls[r->n_nulls++] = strdup(e->path);
		r->each(r->ctx, e->path + r->cut, NULL, 0);
	} else {
		if (null != NULL) {
			drop_null(r, null);
		}
		r->each(r->ctx, e->path + r->cut, e->data, e->n);
	}
}

static void zk_replay(struct place *p,
		      void (*each)(void *ctx, const char *name,
				   const char *value, size_t n),
		      void *ctx)
{
	struct zk_reading r = {.prefix = p->prefix,
			       .cut = strlen(p->prefix),
			       .each = each,
			       .ctx = ctx};

	(void)zk_log_read(zk_server_dir(p->zk), 0, 0, zk_see, &r);
	while (r.n_nulls > 0) {
		free(r.nulls[--r.n_nulls]);
	}
}

/* ---- all ------------------------------------------------------------------*/

struct place *place_open(enum place_kind kind, const char *tag, bool killed)
{
	struct place *p = calloc(1, sizeof *p);

	if (p == NULL) {
		abort();
	}
	p->kind = kind;
	temp_dir(p->dir, tag);
	switch (kind) {
	case PLACE_ETCD:
		etcd_start(p, killed);
		break;
	case PLACE_CONSUL:
		consul_start(p);
		break;
	case PLACE_ZK:
		zk_start(p);
		break;
	case PLACE_SQLITE:
		sqlite_start(p, tag);
		break;
	}
	return p;
}

void place_free(struct place *p)
{
	if (p == NULL) {
		return;
	}
	switch (p->kind) {
	case PLACE_ETCD:
		etcd_end(p);
		break;
	case PLACE_CONSUL:
		consul_end(p);
		break;
	case PLACE_ZK:
		zk_end(p);
		break;
	case PLACE_SQLITE:
		(void)sqlite3_finalize(p->put);
		(void)sqlite3_finalize(p->del);
		(void)sqlite3_close(p->h);
		break;
	}
	temp_remove(p->dir);
	free(p);
}

void place_uri(const struct place *p, const char *prefix,
	       char buf[PLACE_URI_MAX])
{
	switch (p->kind) {
	case PLACE_ETCD:
		(void)snprintf(buf, PLACE_URI_MAX, "etcd://%s%s",
			       etcd_server_endpoints(p->server), prefix);
		break;
	case PLACE_CONSUL:
		(void)snprintf(buf, PLACE_URI_MAX, "consul://127.0.0.1:%d%s",
			       consul_server_port(p->consul), prefix);
		break;
	case PLACE_ZK:
		(void)snprintf(buf, PLACE_URI_MAX, "zk://%s%s",
			       zk_server_endpoints(p->zk), prefix);
		break;
	case PLACE_SQLITE:
		(void)snprintf(buf, PLACE_URI_MAX, "sqlite:%s%s%s", p->file,
			       *prefix == '\0' ? "" : "?prefix=", prefix);
		break;
	}
}

static void sqlite_write(struct place *p, const struct place_op *ops, size_t n)
{
	sql(p, "BEGIN IMMEDIATE");
	for (size_t i = 0; i < n; i++) {
		sqlite_op(p, &ops[i]);
	}
	sql(p, "COMMIT");
}

void place_write(struct place *p, const struct place_op *ops, size_t n)
{
	switch (p->kind) {
	case PLACE_ETCD:
		write_store(p, ops, n);
		break;
	case PLACE_CONSUL:
		consul_write(p, ops, n);
		break;
	case PLACE_ZK:
		zk_write_ops(p, ops, n);
		break;
	case PLACE_SQLITE:
		sqlite_write(p, ops, n);
		break;
	}
}

void place_record(struct place *p, const char *prefix)
{
	(void)snprintf(p->prefix, sizeof p->prefix, "%s", prefix);
	if (p->kind == PLACE_ETCD) {
		etcd_record(p);
	} else if (p->kind == PLACE_SQLITE) {
		sqlite_record(p);
	} /* ZooKeeper's servers record by themselves */
}

void place_replay(struct place *p,
		  void (*each)(void *ctx, const char *name, const char *value,
			       size_t n),
		  void *ctx)
{
	switch (p->kind) {
	case PLACE_ETCD:
		etcd_replay(p, each, ctx);
		break;
	case PLACE_CONSUL:
		consul_replay(p, each, ctx);
		break;
	case PLACE_ZK:
		zk_replay(p, each, ctx);
		break;
	case PLACE_SQLITE:
		sqlite_replay(p, each, ctx);
		break;
	}
}

void place_kill(struct place *p)
{
	PRE(p->kind != PLACE_SQLITE);
	if (p->kind == PLACE_ZK) {
		zk_hand_close(p->hand);
		p->hand = NULL;
		zk_server_kill(p->zk, 0);
		return;
	}
	close_store(p);
	if (p->kind == PLACE_CONSUL) {
		consul_server_kill(p->consul);
		return;
	}
	etcd_server_kill(p->server, 0);
}

void place_restart(struct place *p)
{
	PRE(p->kind != PLACE_SQLITE);
	if (p->kind == PLACE_ZK) {
		zk_server_restart(p->zk, 0);
		zk_open_hand(p);
		return;
	}
	if (p->kind == PLACE_CONSUL) {
		consul_server_restart(p->consul);
	} else {
		etcd_server_restart(p->server, 0);
	}
	open_store(p);
}

void place_compact(struct place *p)
{
	PRE(p->kind == PLACE_ETCD);
	etcd_server_compact(p->server);
}
