/* test_sqlite_watch.c: what a watch tells, when it wakes, what it says when
 * history or the file itself is lost. No test here relies on the slow poll,
 * which is set to an hour. */
#include "tests/unit/test_sqlite_world.h"

#include <sys/stat.h>

#define NO_POLL "?poll=3600000"

/* Asks, and turns the loop until the request surely waits: jobs are in order,
 * so a scan that was submitted later ends later. */
static void ask_and_wait(struct world *w, struct puller *p)
{
	struct store_scan req = {.limit = 1};
	struct store_page *page;

	puller_ask(p, 0);
	page = world_scan(w, &req);
	assert_non_null(page);
	store_page_free(page);
	assert_false(p->done);
}

static void expect_told(struct world *w, struct puller *p, const char *text)
{
	char buf[512];

	if (puller_wait(w, p) != KV_OK) {
		fail_msg("%s", w->err.text);
	}
	assert_string_equal(batch_text(p->batch, buf, sizeof buf), text);
}

/* ---- noticing ------------------------------------------------------------*/

static void noticed_in_mode(const char *mode)
{
	struct world w;
	struct puller p;
	sqlite3 *h;
	char sql[128];

	world_set_up(&w);
	world_open(&w, NO_POLL);
	assert_tree(&w, "");
	world_close(&w);
	h = plain_open(w.path);
	(void)snprintf(sql, sizeof sql, "PRAGMA journal_mode=%s", mode);
	plain_exec(h, sql);
	world_open(&w, NO_POLL);
	puller_start(&w, &p, "", 0);
	for (int i = 0; i < 20; i++) {
		char told[32];

		ask_and_wait(&w, &p);
		(void)snprintf(sql, sizeof sql,
			       "REPLACE INTO kv VALUES('/a', '%d')", i);
		(void)snprintf(told, sizeof told, "/a=%d", i);
		plain_exec(h, sql);
		expect_told(&w, &p, told);
		if (i % 5 == 4) {
			/* The next write begins the -wal anew. */
			(void)plain_try(h, "PRAGMA wal_checkpoint(TRUNCATE)");
		}
	}
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void noticed(void **state)
{
	(void)state;
	noticed_in_mode("WAL");
	noticed_in_mode("DELETE");
	noticed_in_mode("TRUNCATE");
	noticed_in_mode("PERSIST");
}

/* Sessions of the program, each of which opens and closes the file. */
static void noticed_from_shell(void **state)
{
	struct world w;
	struct puller p;

	(void)state;
	world_set_up(&w);
	world_open(&w, NO_POLL);
	puller_start(&w, &p, "", 0);
	ask_and_wait(&w, &p);
	shell(&w, "INSERT INTO kv VALUES('/a', '1');\n");
	expect_told(&w, &p, "/a=1");
	ask_and_wait(&w, &p);
	shell(&w, "PRAGMA recursive_triggers=1;\n"
		  "BEGIN;\nREPLACE INTO kv VALUES(x'2f61', '2');\n"
		  "INSERT INTO kv VALUES('/b', '3');\nCOMMIT;\n");
	expect_told(&w, &p, "/a=2 /b=3");
	ask_and_wait(&w, &p);
	shell(&w, "DELETE FROM kv;\n");
	expect_told(&w, &p, "-/b -/a"); /* TEXT, then the BLOB */
	puller_close(&w, &p);
	world_tear_down(&w);
}

/* Through a symbolic link the -wal is elsewhere. */
static void noticed_behind_link(void **state)
{
	struct world w;
	struct puller p;
	sqlite3 *h;
	char real[160], dir[128];

	(void)state;
	world_set_up(&w);
	(void)snprintf(dir, sizeof dir, "%s/real", w.dir);
	(void)snprintf(real, sizeof real, "%s/r.db", dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	h = plain_open(real);
	plain_exec(h, "VACUUM");
	assert_int_equal(symlink(real, w.path), 0);
	assert_int_equal(world_try_open(&w, NO_POLL, 0), KV_OK);
	puller_start(&w, &p, "", 0);
	ask_and_wait(&w, &p);
	plain_exec(h, "INSERT INTO kv VALUES('/a', '1')");
	expect_told(&w, &p, "/a=1");
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void own_writes_wake(void **state)
{
	struct world w;
	struct puller a, b;

	(void)state;
	world_set_up(&w);
	world_open(&w, NO_POLL);
	puller_start(&w, &a, "", 0);
	puller_start(&w, &b, "/b", 0);
	ask_and_wait(&w, &a);
	ask_and_wait(&w, &b);
	(void)world_put(&w, "/b/x", "1");
	expect_told(&w, &a, "/b/x=1");
	expect_told(&w, &b, "/b/x=1");
	/* Elsewhere: a progress mark. */
	ask_and_wait(&w, &b);
	(void)world_put(&w, "/c", "1");
	expect_told(&w, &b, "");
	assert_int_equal(b.batch->index, b.batch->origin.index);
	puller_close(&w, &a);
	puller_close(&w, &b);
	world_tear_down(&w);
}

/* ---- what is told
 * ----------------------------------------------------------*/

static void from_now_and_resumed(void **state)
{
	struct world w;
	struct puller p;
	uint64_t first, last;

	(void)state;
	world_set_up(&w);
	world_open(&w, NO_POLL);
	puller_open(&w, &p, "", "", 0);
	first = puller_next(&w, &p)->index;
	assert_true(first > 0); /* 0 would mean "from now" */
	assert_int_equal(p.batch->n, 0);
	(void)world_put(&w, "/a", "1");
	(void)world_put(&w, "/b", "1");
	(void)world_put(&w, "/a", "2");
	last = world_delete(&w, "/b");
	/* per key the newest */
	assert_next(&w, &p, "/a=2 -/b");
	assert_int_equal(p.batch->index, last);
	assert_false(p.batch->changes[0].tx_end);
	assert_true(p.batch->changes[1].tx_end);
	assert_int_equal(p.batch->changes[1].index, last);
	assert_int_equal(p.batch->changes[1].version.a, 0);
	assert_false(p.batch->changes[1].inferred);
	puller_close(&w, &p);
	world_close(&w);
	world_open(&w, NO_POLL);
	puller_open(&w, &p, "", "", first);
	assert_int_equal(puller_next(&w, &p)->index, first);
	assert_next(&w, &p, "/a=2 -/b");
	puller_close(&w, &p);
	world_tear_down(&w);
}

static void one_key(void **state)
{
	struct world w;
	struct puller p;

	(void)state;
	world_set_up(&w);
	world_open(&w, "?poll=3600000&prefix=/app");
	(void)world_put(&w, "/a", "1");
	puller_open(&w, &p, "", "/a", 0);
	assert_next(&w, &p, "/a=1");
	assert_true(p.batch->init);
	assert_int_equal(p.batch->changes[0].action, STORE_GET);
	(void)world_put(&w, "/a/b", "2");
	(void)world_put(&w, "/a", "3");
	assert_next(&w, &p, "/a=3");
	(void)world_delete(&w, "/a");
	assert_next(&w, &p, "-/a");
	puller_close(&w, &p);
	world_tear_down(&w);
}

static void below_a_directory(void **state)
{
	struct world w;
	struct puller p;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "?poll=3600000&prefix=/app");
	puller_start(&w, &p, "/d", 0);
	h = plain_open(w.path);
	plain_exec(h, "INSERT INTO kv VALUES('/d/x', '1'), ('/app/d', '1'), "
		      "('/app/dd', '1'), ('/app/d/x', '1'), ('/app/d0', '1'), "
		      "('/app/d/y', '1')");
	assert_next(&w, &p, "/d/x=1 /d/y=1");
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void wanted_mark(void **state)
{
	struct world w;
	struct puller p;
	uint64_t index;

	(void)state;
	world_set_up(&w);
	world_open(&w, NO_POLL);
	index = world_put(&w, "/a", "1");
	puller_start(&w, &p, "", 0);
	puller_ask(&p, index);
	assert_int_equal(puller_wait(&w, &p), KV_OK);
	assert_int_equal(p.batch->n, 0);
	assert_int_equal(p.batch->index, index);
	puller_ask(&p, index + 1);
	index = world_put(&w, "/a", "2");
	expect_told(&w, &p, "/a=2");
	puller_close(&w, &p);
	world_tear_down(&w);
}

#define MANY 2500

/* A transaction of more than a page comes in parts, whole at its end. */
static void partial_pages(void **state)
{
	struct world w;
	struct puller p;
	sqlite3 *h;
	uint64_t before;
	size_t n = 0;

	(void)state;
	world_set_up(&w);
	world_open(&w, NO_POLL);
	puller_start(&w, &p, "", 0);
	before = p.batch->index;
	h = plain_open(w.path);
	plain_exec(h, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
		      "FROM n WHERE i < 2500) INSERT INTO kv SELECT "
		      "printf('/%05d', i), 'v' FROM n");
	do {
		(void)puller_next(&w, &p);
		if (p.batch->partial) {
			assert_int_equal(p.batch->index, before);
			assert_false(p.batch->changes[p.batch->n - 1].tx_end);
			/* Others write meanwhile: their change joins. */
			plain_exec(h, "UPDATE kv SET value = 'w' WHERE key = "
				      "'/00001'");
		}
		n += p.batch->n;
	} while (p.batch->partial);
	assert_true(p.batch->changes[p.batch->n - 1].tx_end);
	assert_memory_equal(p.batch->changes[p.batch->n - 1].key.p, "/00001",
			    6);
	assert_int_equal(p.batch->index, p.batch->origin.index);
	assert_int_equal(n, MANY + 1);
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void pages_by_bytes(void **state)
{
	struct world w;
	struct puller p;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, NO_POLL);
	puller_start(&w, &p, "", 0);
	h = plain_open(w.path);
	plain_exec(h, "INSERT INTO kv VALUES('/a', zeroblob(3000000)), "
		      "('/b', zeroblob(700000)), ('/c', zeroblob(700000))");
	assert_int_equal(puller_next(&w, &p)->n, 1);
	assert_int_equal(p.batch->changes[0].value.n, 3000000);
	assert_int_equal(puller_next(&w, &p)->n, 1);
	assert_true(p.batch->partial);
	assert_int_equal(puller_next(&w, &p)->n, 1);
	assert_false(p.batch->partial);
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* ---- lost history
 * ----------------------------------------------------------*/

static void expect_start_fails(struct world *w, uint64_t after, int status)
{
	struct puller p;

	puller_open(w, &p, "", "", after);
	puller_ask(&p, 0);
	assert_int_equal(puller_wait(w, &p), status);
	puller_close(w, &p);
}

static void trimmed_log(void **state)
{
	struct world w;
	struct puller p;
	sqlite3 *h;
	uint64_t before;

	(void)state;
	world_set_up(&w);
	world_open(&w, "?poll=3600000&log=5");
	before = world_put(&w, "/a", "0");
	/* Changes of keys that are there lose no history. */
	for (int i = 0; i < 20; i++) {
		(void)world_put(&w, "/a", "1");
	}
	puller_start(&w, &p, "", before);
	assert_next(&w, &p, "/a=1");
	h = plain_open(w.path);
	/* Nor does a key that comes and goes: its last delete is in the log. */
	for (int i = 0; i < 20; i++) {
		plain_exec(h, "INSERT INTO kv VALUES('/b', ''); "
			      "UPDATE kv SET key = '/c' WHERE key = '/b'; "
			      "DELETE FROM kv WHERE key = '/c'");
	}
	assert_next(&w, &p, "-/b -/c");
	/* Whoever deletes: the file trims the log by itself. */
	for (int i = 0; i < 20; i++) {
		char sql[128];

		(void)snprintf(sql, sizeof sql,
			       "INSERT INTO kv VALUES('/d%d', ''); "
			       "UPDATE kv SET key = '/e%d' WHERE key = '/d%d'; "
			       "DELETE FROM kv WHERE key = '/e%d'",
			       i, i, i, i);
		plain_exec(h, sql);
	}
	assert_true(plain_int(h, "SELECT count(*) FROM kv_log") <= 6);
	assert_true(plain_int(h, "SELECT max(revision) FROM kv_log") > 100);
	expect_start_fails(&w, before, KV_HISTORY_LOST);
	assert_non_null(strstr(w.err.text, "trimmed"));
	/* A watch that fell behind hears of it as well. */
	puller_ask(&p, 0);
	assert_int_equal(puller_wait(&w, &p), KV_HISTORY_LOST);
	puller_close(&w, &p);
	/* From now it goes on. */
	puller_start(&w, &p, "", 0);
	(void)world_put(&w, "/d", "1");
	assert_next(&w, &p, "/d=1");
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* Emptying the log by hand does not bring old revisions back, and hides no
 * key. */
static void log_lost_by_hand(void **state)
{
	struct world w;
	uint64_t last;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	(void)world_put(&w, "/a", "1");
	(void)world_put(&w, "/b", "1");
	last = world_put(&w, "/a", "2");
	h = plain_open(w.path);
	plain_exec(h, "DELETE FROM kv_log");
	assert_tree(&w, "/a=2 /b=1");
	assert_true(world_put(&w, "/b", "2") > last);
	plain_exec(h, "DELETE FROM sqlite_sequence");
	assert_true(world_put(&w, "/c", "2") > last);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void copy_file(const char *from, const char *to)
{
	sqlite3 *src = plain_open(from), *dst = plain_open(to);
	sqlite3_backup *b = sqlite3_backup_init(dst, "main", src, "main");

	assert_non_null(b);
	assert_int_equal(sqlite3_backup_step(b, -1), SQLITE_DONE);
	assert_int_equal(sqlite3_backup_finish(b), SQLITE_OK);
	assert_int_equal(sqlite3_close(src), SQLITE_OK);
	assert_int_equal(sqlite3_close(dst), SQLITE_OK);
}

/* The same file, restored from an older copy of itself. */
static void older_copy_restored(void **state)
{
	struct world w;
	struct puller p;
	char backup[128];

	(void)state;
	world_set_up(&w);
	(void)snprintf(backup, sizeof backup, "%s/backup", w.dir);
	world_open(&w, NO_POLL);
	(void)world_put(&w, "/a", "1");
	copy_file(w.path, backup);
	(void)world_put(&w, "/a", "2");
	puller_start(&w, &p, "", 0);
	ask_and_wait(&w, &p);
	copy_file(backup, w.path);
	assert_int_equal(puller_wait(&w, &p), KV_HISTORY_LOST);
	puller_close(&w, &p);
	assert_tree(&w, "/a=1");
	world_tear_down(&w);
}

/* ... and from a file that never was this one. */
static void other_file_restored(void **state)
{
	struct world w;
	struct puller p;
	char path[sizeof w.path], other[sizeof w.path];
	struct store_origin before;

	(void)state;
	world_set_up(&w);
	memcpy(path, w.path, sizeof path);
	(void)snprintf(other, sizeof other, "%s/other.db", w.dir);
	memcpy(w.path, other, sizeof other);
	world_open(&w, "");
	for (int i = 0; i < 10; i++) {
		(void)world_put(&w, "/b", "1");
	}
	world_close(&w);
	memcpy(w.path, path, sizeof path);
	world_open(&w, NO_POLL);
	(void)world_put(&w, "/a", "1");
	puller_start(&w, &p, "", 0);
	before = p.batch->origin;
	ask_and_wait(&w, &p);
	copy_file(other, w.path);
	assert_int_equal(puller_wait(&w, &p), KV_NOT_REACHABLE);
	puller_close(&w, &p);
	puller_start(&w, &p, "", 0);
	assert_true(p.batch->origin.epoch > before.epoch);
	assert_string_not_equal(p.batch->origin.identity, before.identity);
	puller_close(&w, &p);
	world_tear_down(&w);
}

/* ---- the file goes
 * -----------------------------------------------------------*/

static void remove_file(const struct world *w)
{
	char command[256];

	(void)snprintf(command, sizeof command, "rm -f '%s' '%s'-*", w->path,
		       w->path);
	assert_int_equal(system(command), 0);
}

/* A source that is gone is no empty tree. */
static void source_removed(void **state)
{
	struct world w;
	struct puller p;
	struct store_scan scan = {0};
	struct store_op op = op_put("/b", "1");
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	(void)world_put(&w, "/a", "1");
	world_close(&w);
	assert_int_equal(world_try_open(&w, NO_POLL, 0), KV_OK);
	puller_start(&w, &p, "", 0);
	ask_and_wait(&w, &p);
	remove_file(&w);
	assert_int_equal(puller_wait(&w, &p), KV_NOT_REACHABLE);
	puller_close(&w, &p);
	assert_null(world_scan(&w, &scan));
	assert_int_equal(w.err.status, KV_NOT_REACHABLE);
	assert_int_equal(world_op(&w, &op), KV_NOT_REACHABLE);
	assert_int_equal(access(w.path, F_OK), -1);
	expect_start_fails(&w, 0, KV_NOT_REACHABLE);
	/* It comes back. */
	h = plain_open(w.path);
	plain_exec(h, "VACUUM");
	puller_start(&w, &p, "", 0);
	assert_int_equal(p.batch->origin.epoch, 2);
	ask_and_wait(&w, &p);
	plain_exec(h, "INSERT INTO kv VALUES('/c', '1')");
	expect_told(&w, &p, "/c=1");
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* A target that is gone is made anew, and shows that it is another one. */
static void target_removed(void **state)
{
	struct world w;
	struct puller p;
	struct store_op op = op_put("/b", "1");
	struct store_write req = {.ops = &op, .n_ops = 1, .epoch = 1};
	struct store_origin first;

	(void)state;
	world_set_up(&w);
	world_open(&w, NO_POLL);
	(void)world_put(&w, "/a", "1");
	puller_start(&w, &p, "", 0);
	first = p.batch->origin;
	assert_int_equal(first.epoch, 1);
	ask_and_wait(&w, &p);
	remove_file(&w);
	assert_int_equal(puller_wait(&w, &p), KV_NOT_REACHABLE);
	assert_int_equal(access(w.path, F_OK), -1); /* not by a watch */
	puller_close(&w, &p);
	/* guards that were made for the old one */
	assert_int_equal(world_write(&w, &req), KV_NOT_REACHABLE);
	assert_tree(&w, "");
	memset(&req, 0, sizeof req);
	req.ops = &op;
	req.n_ops = 1;
	assert_int_equal(world_write(&w, &req), KV_OK);
	assert_int_equal(req.origin.epoch, 2);
	assert_string_not_equal(req.origin.identity, first.identity);
	world_tear_down(&w);
}

/* Another file is moved to the path. */
static void file_replaced(void **state)
{
	struct world w;
	struct puller p;
	char other[128];

	(void)state;
	world_set_up(&w);
	(void)snprintf(other, sizeof other, "%s/other", w.dir);
	world_open(&w, NO_POLL);
	(void)world_put(&w, "/a", "1");
	copy_file(w.path, other);
	(void)world_put(&w, "/a", "2");
	puller_start(&w, &p, "", 0);
	ask_and_wait(&w, &p);
	remove_file(&w);
	assert_int_equal(rename(other, w.path), 0);
	assert_int_equal(puller_wait(&w, &p), KV_NOT_REACHABLE);
	puller_close(&w, &p);
	assert_tree(&w, "/a=1");
	world_tear_down(&w);
}

/* ---- ending
 * ------------------------------------------------------------------*/

static void canceled(void **state)
{
	struct world w;
	struct puller p, q;

	(void)state;
	world_set_up(&w);
	world_open(&w, NO_POLL);
	puller_start(&w, &p, "", 0);
	ask_and_wait(&w, &p);
	store_cancel(&p.next.req);
	assert_int_equal(puller_wait(&w, &p), KV_CANCELED);
	puller_close(&w, &p);
	/* before it waits: a real answer may be faster */
	puller_open(&w, &q, "", "", 0);
	puller_ask(&q, 0);
	store_cancel(&q.next.req);
	if (puller_wait(&w, &q) != KV_OK) {
		assert_int_equal(w.err.status, KV_CANCELED);
	}
	puller_close(&w, &q);
	/* by closing the watch */
	puller_start(&w, &p, "", 0);
	ask_and_wait(&w, &p);
	puller_close(&w, &p);
	assert_int_equal(p.next.err.status, KV_CANCELED);
	/* by closing the store, with one that waits and one that does not */
	puller_start(&w, &p, "", 0);
	puller_start(&w, &q, "", 0);
	ask_and_wait(&w, &p);
	puller_ask(&q, 0);
	world_close(&w);
	assert_true(p.done && q.done);
	assert_int_equal(p.next.err.status, KV_CANCELED);
	assert_int_equal(q.next.err.status, KV_CANCELED);
	world_tear_down(&w);
}

/* What a person does to a file, and that changes no key. */
static void vacuumed(void **state)
{
	struct world w;
	struct puller p;
	uint64_t last;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, NO_POLL);
	(void)world_put(&w, "/a", "1");
	last = world_delete(&w, "/a");
	puller_start(&w, &p, "", 0);
	h = plain_open(w.path);
	plain_exec(h, "VACUUM; REINDEX; ANALYZE; CREATE TABLE mine(x)");
	assert_true(world_put(&w, "/b", "1") > last);
	assert_next(&w, &p, "/b=1");
	assert_int_equal(p.batch->origin.epoch, 1);
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* Watches come and go while looks are under way. */
static void come_and_go(void **state)
{
	struct world w;
	struct puller p;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, NO_POLL);
	assert_tree(&w, "");
	h = plain_open(w.path);
	for (int i = 0; i < 50; i++) {
		puller_start(&w, &p, "", 0);
		puller_ask(&p, 0);
		plain_exec(h, "REPLACE INTO kv VALUES('/a', '1')");
		if (i % 2 == 0) {
			expect_told(&w, &p, "/a=1");
		} else {
			test_loop_turns(&w.loop, (unsigned)i % 7);
		}
		puller_close(&w, &p);
	}
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(noticed),
	    cmocka_unit_test(noticed_from_shell),
	    cmocka_unit_test(noticed_behind_link),
	    cmocka_unit_test(own_writes_wake),
	    cmocka_unit_test(from_now_and_resumed),
	    cmocka_unit_test(one_key),
	    cmocka_unit_test(below_a_directory),
	    cmocka_unit_test(wanted_mark),
	    cmocka_unit_test(partial_pages),
	    cmocka_unit_test(pages_by_bytes),
	    cmocka_unit_test(trimmed_log),
	    cmocka_unit_test(log_lost_by_hand),
	    cmocka_unit_test(older_copy_restored),
	    cmocka_unit_test(other_file_restored),
	    cmocka_unit_test(source_removed),
	    cmocka_unit_test(target_removed),
	    cmocka_unit_test(file_replaced),
	    cmocka_unit_test(canceled),
	    cmocka_unit_test(vacuumed),
	    cmocka_unit_test(come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
