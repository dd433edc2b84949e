/* test_sqlite_store.c: opening, pages, guarded batches; and what goes wrong
 * with a file. */
#include "tests/unit/test_sqlite_world.h"

#include <sys/stat.h>
#include <sys/wait.h>

/* ---- opening -------------------------------------------------------------*/

static void open_errors(void **state)
{
	struct world w;
	char path[sizeof w.path];

	(void)state;
	world_set_up(&w);
	assert_int_equal(world_try_open(&w, "", 0), KV_KEY_NOT_FOUND);
	assert_non_null(strstr(w.err.text, "no such file"));
	assert_int_equal(world_try_open(&w, "?poll=10", STORE_CREATE),
			 KV_BAD_ARGUMENT);
	assert_int_equal(world_try_open(&w, "?log=0", STORE_CREATE),
			 KV_BAD_ARGUMENT);
	assert_int_equal(world_try_open(&w, "?busy_timeout=x", STORE_CREATE),
			 KV_BAD_ARGUMENT);
	assert_int_equal(world_try_open(&w, "?colour=red", STORE_CREATE),
			 KV_BAD_ARGUMENT);
	memcpy(path, w.path, sizeof path);
	(void)snprintf(w.path, sizeof w.path, "%s/no/a.db", w.dir);
	assert_int_equal(world_try_open(&w, "", STORE_CREATE), KV_BAD_ARGUMENT);
	assert_non_null(strstr(w.err.text, "folder"));
	memcpy(w.path, w.dir, sizeof w.dir);
	assert_int_equal(world_try_open(&w, "", STORE_CREATE), KV_BAD_ARGUMENT);
	memcpy(w.path, path, sizeof path);
	assert_int_not_equal(access(path, F_OK), 0);
	world_tear_down(&w);
}

/* The first call on the file says what is wrong with it; nothing is changed. */
static void expect_refused(struct world *w, int status, const char *text)
{
	struct store_scan req = {0};
	struct store_op op = op_put("/a", "1");

	world_open(w, "");
	assert_null(world_scan(w, &req));
	assert_int_equal(w->err.status, status);
	assert_non_null(strstr(w->err.text, text));
	assert_non_null(strstr(w->err.text, w->path));
	assert_int_equal(world_op(w, &op), status);
	assert_int_equal(op.status, status);
	world_close(w);
}

static void foreign_files(void **state)
{
	static const struct {
		const char *sql;
		int status;
		const char *text;
	} files[] = {
	    {"CREATE TABLE other(x)", KV_BAD_ARGUMENT, "another program's"},
	    {"CREATE TABLE kv(key, value)", KV_BAD_ARGUMENT, "not made by"},
	    {"CREATE VIEW kv AS SELECT 1 AS key, 2 AS value", KV_BAD_ARGUMENT,
	     "not made by"},
	    {"PRAGMA encoding='UTF-16'; CREATE TABLE kv(key, value)",
	     KV_BAD_ARGUMENT, "UTF-16le"},
	};
	struct world w;

	(void)state;
	world_set_up(&w);
	for (size_t i = 0; i < KV_COUNT(files); i++) {
		sqlite3 *h = plain_open(w.path);

		plain_exec(h, files[i].sql);
		assert_int_equal(sqlite3_close(h), SQLITE_OK);
		expect_refused(&w, files[i].status, files[i].text);
		assert_int_equal(unlink(w.path), 0);
	}
	world_tear_down(&w);
}

static void not_a_database(void **state)
{
	struct world w;
	FILE *f;

	(void)state;
	world_set_up(&w);
	f = fopen(w.path, "w");
	assert_non_null(f);
	for (int i = 0; i < 2000; i++) {
		(void)fputs("this is a letter\n", f);
	}
	assert_int_equal(fclose(f), 0);
	expect_refused(&w, KV_BROKEN, "not a database");
	world_tear_down(&w);
}

static void lost_parts(void **state)
{
	static const struct {
		const char *sql;
		const char *text;
	} parts[] = {
	    {"DROP TRIGGER kv_deleted", "kv_deleted is missing"},
	    {"DROP TRIGGER kv_updated; CREATE TRIGGER kv_updated AFTER UPDATE "
	     "ON kv BEGIN SELECT 1; END",
	     "kv_updated was not made by"},
	    {"DROP INDEX kv_bytes", "kv_bytes is missing"},
	    {"DROP TABLE kv_meta", "kv_meta"},
	    {"UPDATE kv_meta SET version = 99", "version 99"},
	};
	struct world w;

	(void)state;
	for (size_t i = 0; i < KV_COUNT(parts); i++) {
		struct store_scan req = {0};
		sqlite3 *h;

		world_set_up(&w);
		world_open(&w, "");
		(void)world_put(&w, "/a", "1");
		h = plain_open(w.path);
		plain_exec(h, parts[i].sql);
		/* seen by a connection that was open before (a version is
		 * looked at when it is opened) ... */
		if (strstr(parts[i].text, "version") == NULL) {
			assert_null(world_scan(&w, &req));
			assert_int_equal(w.err.status, KV_BROKEN);
		}
		world_close(&w);
		assert_int_equal(sqlite3_close(h), SQLITE_OK);
		/* ... and by a new one */
		expect_refused(&w, KV_BROKEN, parts[i].text);
		world_tear_down(&w);
	}
}

/* An empty file, and an empty database, get the key table. */
static void empty_files(void **state)
{
	struct world w;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	assert_int_equal(fclose(fopen(w.path, "w")), 0);
	assert_int_equal(world_try_open(&w, "", 0), KV_OK);
	assert_tree(&w, "");
	world_close(&w);
	h = plain_open(w.path);
	plain_exec(h, "INSERT INTO kv VALUES('/a', '1')");
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	assert_int_equal(world_try_open(&w, "", 0), KV_OK);
	assert_tree(&w, "/a=1");
	world_tear_down(&w);
}

/* Names that mean something to SQLite are plain file names here. */
static void odd_names(void **state)
{
	static const char *const names[] = {"file:a.db", ":memory:", "a b;c",
					    "a%3Fb"};
	struct world w;
	char before[256], uri[64];

	(void)state;
	world_set_up(&w);
	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir(w.dir), 0);
	for (size_t i = 0; i < KV_COUNT(names); i++) {
		(void)snprintf(uri, sizeof uri, "sqlite:%s", names[i]);
		assert_int_equal(store_open(&w.registry, w.loop.sched, uri,
					    STORE_CREATE, &w.st, &w.err),
				 KV_OK);
		(void)world_put(&w, "/a", "1");
		assert_int_equal(access(store_uri(w.st)->path, F_OK), 0);
		world_close(&w);
	}
	assert_int_equal(chdir(before), 0);
	world_tear_down(&w);
}

/* Root may write anything: so as nobody. */
static void no_permission(void **state)
{
	bool root = geteuid() == 0;
	struct world w;
	struct store_op op = op_put("/b", "2");

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	(void)world_put(&w, "/a", "1");
	world_close(&w);
	assert_int_equal(chmod(w.path, 0444), 0);
	assert_int_equal(chmod(w.dir, 0755), 0);
	if (root) {
		assert_int_equal(seteuid(65534), 0);
	}
	assert_int_equal(world_try_open(&w, "", 0), KV_OK);
	assert_int_equal(world_op(&w, &op), KV_DENIED);
	assert_int_equal(op.status, KV_DENIED);
	world_close(&w);
	if (root) {
		assert_int_equal(seteuid(0), 0);
	}
	assert_int_equal(chmod(w.path, 0), 0);
	if (root) {
		assert_int_equal(seteuid(65534), 0);
		/* access(2) asks for the real user: only the call tells */
		assert_int_equal(world_try_open(&w, "", 0), KV_OK);
		assert_int_equal(world_op(&w, &op), KV_DENIED);
		assert_int_equal(seteuid(0), 0);
	} else {
		assert_int_equal(world_try_open(&w, "", 0), KV_DENIED);
	}
	world_tear_down(&w);
}

/* A file that may only be read is a good source. */
static void read_only_source(void **state)
{
	bool root = geteuid() == 0;
	struct world w;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	(void)world_put(&w, "/a", "1");
	world_close(&w);
	h = plain_open(w.path);
	plain_exec(h, "PRAGMA journal_mode=DELETE");
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	assert_int_equal(chmod(w.path, 0444), 0);
	assert_int_equal(chmod(w.dir, 0555), 0);
	if (root) {
		assert_int_equal(seteuid(65534), 0);
	}
	assert_int_equal(world_try_open(&w, "?log=7", 0), KV_OK);
	assert_tree(&w, "/a=1");
	world_close(&w);
	if (root) {
		assert_int_equal(seteuid(0), 0);
	}
	assert_int_equal(chmod(w.dir, 0755), 0);
	world_tear_down(&w);
}

static void overlap(void **state)
{
	struct world w;
	struct store *same, *other, *inside;
	char uri[256], link_path[128];

	(void)state;
	world_set_up(&w);
	world_open(&w, "?prefix=/a");
	/* before the file is there */
	(void)snprintf(uri, sizeof uri, "sqlite:%s/./a.db?prefix=/a/b", w.dir);
	assert_int_equal(store_open(&w.registry, w.loop.sched, uri,
				    STORE_CREATE, &inside, &w.err),
			 KV_OK);
	assert_true(store_overlap(w.st, inside));
	(void)world_put(&w, "/x", "1");
	assert_true(store_overlap(w.st, inside));
	/* by another name */
	(void)snprintf(link_path, sizeof link_path, "%s/link.db", w.dir);
	assert_int_equal(symlink(w.path, link_path), 0);
	(void)snprintf(uri, sizeof uri, "sqlite:%s", link_path);
	assert_int_equal(
	    store_open(&w.registry, w.loop.sched, uri, 0, &same, &w.err),
	    KV_OK);
	assert_true(store_overlap(w.st, same));
	(void)snprintf(uri, sizeof uri, "sqlite:%s/b.db", w.dir);
	assert_int_equal(store_open(&w.registry, w.loop.sched, uri,
				    STORE_CREATE, &other, &w.err),
			 KV_OK);
	assert_false(store_overlap(w.st, other));
	store_close(same, NULL, NULL);
	store_close(other, NULL, NULL);
	store_close(inside, NULL, NULL);
	world_tear_down(&w);
}

/* ---- pages
 * -----------------------------------------------------------------*/

static void scan_order(void **state)
{
	struct world w;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	assert_tree(&w, "");
	h = plain_open(w.path);
	/* TEXT, BLOB and numbers, below '/', above it, and not in the tree */
	plain_exec(h, "INSERT INTO kv(key) VALUES('/b'), (x'2f61'), ('/a/b'), "
		      "(x'2f61ff'), ('/a-b'), ('/a0'), (x'2f'), ('a'), (5), "
		      "('0'), ('/\xc3\xa4'), ('/a/')");
	assert_tree(&w, "/= /a= /a-b= /a/= /a/b= /a0= /a%FF= /b= /%C3%A4=");
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void scan_prefix(void **state)
{
	struct world w;
	sqlite3 *h;
	char buf[512];

	(void)state;
	world_set_up(&w);
	world_open(&w, "?prefix=/app");
	(void)world_put(&w, "/x/y", "1");
	h = plain_open(w.path);
	assert_int_equal(
	    plain_int(h, "SELECT count(*) FROM kv WHERE key = '/app/x/y'"), 1);
	plain_exec(
	    h, "INSERT INTO kv(key) VALUES('/app'), ('/apple'), "
	       "('/app0'), ('/app/z'), ('/app/x-y'), ('/app/x'), ('/app/x0')");
	assert_string_equal(world_tree(&w, "", buf, sizeof buf),
			    "/x= /x-y= /x/y=1 /x0= /z=");
	assert_string_equal(world_tree(&w, "/x", buf, sizeof buf), "/x/y=1");
	assert_string_equal(world_tree(&w, "/x/", buf, sizeof buf), "/x/y=1");
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void scan_pages(void **state)
{
	struct world w;
	uint8_t last[16];
	struct store_scan req = {.limit = 3};
	size_t seen = 0;
	bool more = true;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	for (int i = 0; i < 10; i++) {
		char key[16];

		(void)snprintf(key, sizeof key, "/%02d", i);
		(void)world_put(&w, key, "0123456789");
	}
	while (more) {
		struct store_page *page = world_scan(&w, &req);

		assert_non_null(page);
		assert_int_equal(page->n, seen == 9 ? 1 : 3);
		assert_int_equal(page->at, page->origin.index);
		seen += page->n;
		more = page->more;
		assert_true(page->pairs[0].index > 0);
		assert_int_equal(page->pairs[0].index,
				 page->pairs[0].version.a);
		memcpy(last, page->pairs[page->n - 1].key.p, 3);
		store_page_free(page);
		memset(&req, 0, sizeof req);
		req.limit = 3;
		req.after = slice_of(last, 3);
	}
	assert_int_equal(seen, 10);
	world_tear_down(&w);
}

/* At least one pair, however large; else below the bound. */
static void scan_bytes(void **state)
{
	struct world w;
	struct store_scan req = {.max_bytes = 250};
	struct store_page *page;
	char value[101];

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	memset(value, 'v', 100);
	value[100] = '\0';
	(void)world_put(&w, "/a", value);
	(void)world_put(&w, "/b", value);
	(void)world_put(&w, "/c", value);
	page = world_scan(&w, &req);
	assert_true(page->more);
	assert_true(page->n >= 1 && page->n < 3);
	store_page_free(page);
	memset(&req, 0, sizeof req);
	req.max_bytes = 1;
	page = world_scan(&w, &req);
	assert_int_equal(page->n, 1);
	assert_true(page->more);
	store_page_free(page);
	memset(&req, 0, sizeof req);
	req.names_only = true;
	page = world_scan(&w, &req);
	assert_int_equal(page->n, 3);
	assert_int_equal(page->pairs[0].value.n, 0);
	assert_false(page->more);
	store_page_free(page);
	world_tear_down(&w);
}

static void scan_keys(void **state)
{
	struct slice keys[] = {slice_str("/a"), slice_str("/b"),
			       slice_str("/c")};
	struct store_scan req = {.keys = keys, .n_keys = 3};
	struct store_page *page;
	struct world w;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	(void)world_put(&w, "/a", "1");
	h = plain_open(w.path);
	plain_exec(h, "INSERT INTO kv VALUES(x'2f63', '3'), ('/d', '4')");
	page = world_scan(&w, &req);
	assert_non_null(page);
	assert_int_equal(page->n, 2);
	assert_false(page->more);
	assert_memory_equal(page->pairs[1].key.p, "/c", 2);
	assert_memory_equal(page->pairs[1].value.p, "3", 1);
	assert_true(page->pairs[1].index > page->pairs[0].index);
	store_page_free(page);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* ---- writes
 * ----------------------------------------------------------------*/

static void guards(void **state)
{
	struct world w;
	struct store_op op;
	uint64_t v;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	op = op_put("/a", "1");
	op.guard = STORE_GUARD_ABSENT;
	assert_int_equal(world_op(&w, &op), KV_OK);
	assert_int_equal(op.status, KV_OK);
	v = op.version.a;
	assert_int_equal(op.index, v);
	assert_int_equal(world_op(&w, &op), KV_KEY_EXISTS);

	op = op_put("/a", "2");
	op.guard = STORE_GUARD_VERSION;
	op.expect.a = v;
	assert_int_equal(world_op(&w, &op), KV_OK);
	assert_true(op.version.a > v);
	assert_int_equal(world_op(&w, &op), KV_KEY_MODIFIED);
	assert_int_equal(op.status, KV_KEY_MODIFIED);
	op.key = slice_str("/b");
	assert_int_equal(world_op(&w, &op), KV_KEY_MODIFIED);

	op = op_delete("/a");
	op.guard = STORE_GUARD_VERSION;
	op.expect.a = v;
	assert_int_equal(world_op(&w, &op), KV_KEY_MODIFIED);
	op.key = slice_str("/b");
	assert_int_equal(world_op(&w, &op), KV_KEY_NOT_FOUND);
	op.guard = STORE_GUARD_NONE;
	assert_int_equal(world_op(&w, &op), KV_OK);
	assert_int_equal(op.status, KV_KEY_NOT_FOUND);
	assert_tree(&w, "/a=2");
	world_tear_down(&w);
}

/* A person's write in between changes the version. */
static void guard_against_person(void **state)
{
	struct world w;
	struct store_op op;
	uint64_t v;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	v = world_put(&w, "/a", "1");
	h = plain_open(w.path);
	plain_exec(h, "REPLACE INTO kv VALUES(x'2f61', '1')");
	op = op_put("/a", "2");
	op.guard = STORE_GUARD_VERSION;
	op.expect.a = v;
	assert_int_equal(world_op(&w, &op), KV_KEY_MODIFIED);
	/* deleted and made anew: never an old version again */
	plain_exec(h, "DELETE FROM kv; INSERT INTO kv VALUES('/a', '1')");
	assert_int_equal(world_op(&w, &op), KV_KEY_MODIFIED);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void batch_is_atomic(void **state)
{
	struct store_op ops[4];
	struct store_write req = {.ops = ops, .n_ops = 4};
	struct world w;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	(void)world_put(&w, "/b", "1");
	(void)world_put(&w, "/c", "1");
	ops[0] = op_put("/a", "2");
	ops[1] = op_put("/b", "2");
	ops[1].guard = STORE_GUARD_ABSENT;
	ops[2] = op_delete("/c");
	ops[3] = op_put("/d", "2");
	ops[3].guard = STORE_GUARD_VERSION;
	ops[3].expect.a = 1;
	assert_int_equal(world_write(&w, &req), KV_KEY_EXISTS);
	assert_non_null(strstr(w.err.text, "/b"));
	assert_int_equal(ops[0].status, KV_CANCELED);
	assert_int_equal(ops[0].version.a, 0);
	assert_int_equal(ops[1].status, KV_KEY_EXISTS);
	assert_int_equal(ops[2].status, KV_CANCELED);
	assert_int_equal(ops[3].status, KV_KEY_MODIFIED);
	assert_tree(&w, "/b=1 /c=1");
	assert_int_equal(req.origin.epoch, 1);

	memset(&req, 0, sizeof req);
	req.ops = ops;
	req.n_ops = 3;
	ops[1].guard = STORE_GUARD_NONE;
	assert_int_equal(world_write(&w, &req), KV_OK);
	assert_tree(&w, "/a=2 /b=2");
	assert_true(ops[0].index < ops[1].index && ops[1].index < ops[2].index);
	assert_int_equal(req.origin.index, ops[2].index);
	world_tear_down(&w);
}

static void busy(void **state)
{
	struct world w;
	struct store_op op = op_put("/b", "2");
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "?busy_timeout=30");
	(void)world_put(&w, "/a", "1");
	h = plain_open(w.path);
	plain_exec(h, "BEGIN IMMEDIATE; INSERT INTO kv VALUES('/x', '1')");
	assert_int_equal(world_op(&w, &op), KV_TIMED_OUT);
	assert_int_equal(op.status, KV_TIMED_OUT);
	assert_non_null(strstr(w.err.text, "busy_timeout"));
	assert_tree(&w, "/a=1"); /* a reader does not wait */
	plain_exec(h, "COMMIT");
	assert_int_equal(world_op(&w, &op), KV_OK);
	assert_tree(&w, "/a=1 /b=2 /x=1");
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* A wish to stop ends the wait for a lock; and so does closing. */
static void cancel_busy(void **state)
{
	struct store_op ops[2] = {op_put("/b", "2"), op_put("/c", "2")};
	struct store_write req[2] = {{.ops = ops, .n_ops = 1},
				     {.ops = ops + 1, .n_ops = 1}};
	bool done[2] = {false, false};
	struct world w;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "?busy_timeout=86400000");
	(void)world_put(&w, "/a", "1");
	h = plain_open(w.path);
	plain_exec(h, "BEGIN IMMEDIATE");
	for (size_t i = 0; i < 2; i++) {
		req[i].cb = write_done;
		req[i].data = &done[i];
		assert_int_equal(store_write(w.st, &req[i]), KV_OK);
	}
	test_loop_turns(&w.loop, 3);
	store_cancel(&req[0].req);
	test_loop_until(&w.loop, &done[0]);
	assert_int_equal(req[0].err.status, KV_CANCELED);
	assert_int_equal(ops[0].status, KV_CANCELED);
	assert_false(done[1]);
	world_close(&w);
	assert_true(done[1]);
	assert_int_equal(req[1].err.status, KV_CANCELED);
	plain_exec(h, "COMMIT");
	assert_int_equal(plain_int(h, "SELECT count(*) FROM kv"), 1);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* A table may refuse: the batch is not done, and says so. */
static void refused_by_table(void **state)
{
	struct store_op ops[2] = {op_put("/a", "1"), op_put("/b", "2")};
	struct store_write req = {.ops = ops, .n_ops = 2};
	struct world w;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	assert_tree(&w, "");
	h = plain_open(w.path);
	plain_exec(h, "CREATE TRIGGER mine BEFORE INSERT ON kv WHEN NEW.key = "
		      "'/b' BEGIN SELECT RAISE(ABORT, 'not b'); END");
	assert_int_equal(world_write(&w, &req), KV_DENIED);
	assert_non_null(strstr(w.err.text, "not b"));
	assert_int_equal(ops[0].status, KV_DENIED);
	assert_tree(&w, "");
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void large_value(void **state)
{
	struct store_op op = op_put("/a", "");
	struct store_scan req = {0};
	struct store_page *page;
	struct world w;
	size_t n = (size_t)5 << 20;
	uint8_t *value = malloc(n);

	(void)state;
	assert_non_null(value);
	for (size_t i = 0; i < n; i++) {
		value[i] = (uint8_t)(i * 31 >> 3);
	}
	world_set_up(&w);
	world_open(&w, "");
	op.value = slice_of(value, n);
	assert_int_equal(world_op(&w, &op), KV_OK);
	page = world_scan(&w, &req);
	assert_non_null(page);
	assert_int_equal(page->n, 1);
	assert_int_equal(page->pairs[0].value.n, n);
	assert_memory_equal(page->pairs[0].value.p, value, n);
	store_page_free(page);
	free(value);
	world_tear_down(&w);
}

#define MAKERS 6

/* Several programs make the same file at once: one key table, no key lost. */
static void made_by_many(void **state)
{
	struct world w;
	pid_t makers[MAKERS];
	char key[8];

	(void)state;
	world_set_up(&w);
	for (int i = 0; i < MAKERS; i++) {
		makers[i] = fork();
		assert_true(makers[i] >= 0);
		if (makers[i] == 0) {
			struct world mine;

			world_set_up(&mine);
			(void)rmdir(mine.dir);
			memcpy(mine.path, w.path, sizeof mine.path);
			world_open(&mine, "?log=7");
			(void)snprintf(key, sizeof key, "/%d", i);
			(void)world_put(&mine, key, "v");
			world_close(&mine);
			_exit(0);
		}
	}
	for (int i = 0; i < MAKERS; i++) {
		int status;

		assert_int_equal(waitpid(makers[i], &status, 0), makers[i]);
		assert_int_equal(status, 0);
	}
	world_open(&w, "");
	assert_tree(&w, "/0=v /1=v /2=v /3=v /4=v /5=v");
	world_tear_down(&w);
}

/* The file is what it was after closing: no -wal is left, and another program
 * reads it. */
static void closes_clean(void **state)
{
	struct world w;
	char wal[128];

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	(void)world_put(&w, "/a", "1");
	world_close(&w);
	(void)snprintf(wal, sizeof wal, "%s-wal", w.path);
	assert_int_not_equal(access(wal, F_OK), 0);
	shell(&w, "CREATE TEMP TABLE t(x CHECK(x = '1'));"
		  "INSERT INTO t SELECT value FROM kv WHERE key = '/a';\n");
	world_tear_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(open_errors),
	    cmocka_unit_test(foreign_files),
	    cmocka_unit_test(not_a_database),
	    cmocka_unit_test(lost_parts),
	    cmocka_unit_test(empty_files),
	    cmocka_unit_test(odd_names),
	    cmocka_unit_test(no_permission),
	    cmocka_unit_test(read_only_source),
	    cmocka_unit_test(overlap),
	    cmocka_unit_test(scan_order),
	    cmocka_unit_test(scan_prefix),
	    cmocka_unit_test(scan_pages),
	    cmocka_unit_test(scan_bytes),
	    cmocka_unit_test(scan_keys),
	    cmocka_unit_test(guards),
	    cmocka_unit_test(guard_against_person),
	    cmocka_unit_test(batch_is_atomic),
	    cmocka_unit_test(busy),
	    cmocka_unit_test(cancel_busy),
	    cmocka_unit_test(refused_by_table),
	    cmocka_unit_test(large_value),
	    cmocka_unit_test(made_by_many),
	    cmocka_unit_test(closes_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
