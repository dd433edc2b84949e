/* test_state.c: opening, locking, routes, checkpoints, what status shows. */
#include "tests/unit/test_state_world.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- open */

static mode_t mode_of(const char *path)
{
	struct stat sb;

	assert_int_equal(stat(path, &sb), 0);
	return sb.st_mode & 0777;
}

static void test_open_makes_folder_and_file(void **state)
{
	struct world w;
	char deep[200];

	(void)state;
	world_set_up(&w);
	(void)snprintf(w.path, sizeof w.path, "%s/x/y/s.db", w.dir);
	world_open(&w);
	assert_int_equal(mode_of(w.path), 0600);
	(void)snprintf(deep, sizeof deep, "%s/x/y", w.dir);
	assert_int_equal(mode_of(deep), 0700);
	world_reopen(&w);
	/* Nothing is left of how it was made. */
	(void)snprintf(deep, sizeof deep, "%s-new", w.path);
	assert_int_equal(access(deep, F_OK), -1);
	world_tear_down(&w);
}

static void test_open_without_a_slash(void **state)
{
	struct world w;
	char back[256];

	(void)state;
	world_set_up(&w);
	assert_non_null(getcwd(back, sizeof back));
	assert_int_equal(chdir(w.dir), 0);
	OK(&w, state_open("plain.db", 0, &w.st, &w.err));
	world_close(&w);
	assert_int_equal(access("plain.db", F_OK), 0);
	assert_int_equal(chdir(back), 0);
	world_tear_down(&w);
}

static void test_open_an_empty_file(void **state)
{
	struct world w;
	FILE *f;

	(void)state;
	world_set_up(&w);
	f = fopen(w.path, "w");
	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
	world_open(&w);
	assert_int_equal(world_route(&w, "a", ""), STATE_ROUTE_NEW);
	world_tear_down(&w);
}

static void test_open_a_folder(void **state)
{
	struct world w;

	(void)state;
	world_set_up(&w);
	FAILS(&w, KV_BROKEN, state_open(w.dir, 0, &w.st, &w.err));
	assert_null(w.st);
	world_tear_down(&w);
}

static void test_pragmas(void **state)
{
	struct world w;
	sqlite3 *db;
	sqlite3_stmt *s;

	(void)state;
	world_begin(&w);
	assert_int_equal(sqlite3_open(w.path, &db), SQLITE_OK);
	assert_int_equal(
	    sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &s, NULL),
	    SQLITE_OK);
	assert_int_equal(sqlite3_step(s), SQLITE_ROW);
	assert_string_equal(sqlite3_column_text(s, 0), "wal");
	(void)sqlite3_finalize(s);
	(void)sqlite3_close(db);
	world_tear_down(&w);
}

/* Somebody turned the file into one without a WAL. */
static void test_journal_mode_is_put_back(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	world_close(&w);
	world_sql(w.path, "PRAGMA journal_mode = DELETE");
	world_open(&w);
	assert_int_equal(world_route(&w, "a>b", ""), STATE_ROUTE_SAME);
	world_tear_down(&w);
}

/* ---- lock */

static void test_one_at_a_time(void **state)
{
	struct world w;
	struct state *other;
	char pid[32];
	bool held;

	(void)state;
	world_begin(&w);
	FAILS(&w, KV_CANNOT_LOCK, state_open(w.path, 0, &other, &w.err));
	assert_null(other);
	(void)snprintf(pid, sizeof pid, "process %ld", (long)getpid());
	assert_non_null(strstr(w.err.text, pid));
	assert_non_null(strstr(w.err.text, w.path));
	OK(&w, state_is_held(w.path, &held, &w.err));
	assert_true(held);
	world_close(&w);
	OK(&w, state_is_held(w.path, &held, &w.err));
	assert_false(held);
	world_open(&w);
	world_tear_down(&w);
}

static void test_in_use_by_another_process(void **state)
{
	struct world w;
	char byte;
	int ready[2];
	int done[2];
	pid_t pid;
	int ws;

	(void)state;
	world_set_up(&w);
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(done), 0);
	pid = fork();
	if (pid == 0) {
		struct state *st;
		int status = state_open(w.path, 0, &st, NULL);

		(void)!write(ready[1], "x", 1);
		(void)!read(done[0], &byte, 1);
		_exit(status == KV_OK ? 0 : 1); /* as kill -9 would */
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	FAILS(&w, KV_CANNOT_LOCK, state_open(w.path, 0, &w.st, &w.err));
	assert_int_equal(write(done[1], "x", 1), 1);
	assert_int_equal(waitpid(pid, &ws, 0), pid);
	assert_true(WIFEXITED(ws) && WEXITSTATUS(ws) == 0);
	/* The lock went with its process. */
	world_open(&w);
	for (int i = 0; i < 2; i++) {
		(void)close(ready[i]);
		(void)close(done[i]);
	}
	world_tear_down(&w);
}

static void test_lock_without_a_pid(void **state)
{
	struct world w;
	char name[200];
	int fd;

	(void)state;
	world_set_up(&w);
	(void)snprintf(name, sizeof name, "%s-lock", w.path);
	fd = open(name, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	FAILS(&w, KV_CANNOT_LOCK, state_open(w.path, 0, &w.st, &w.err));
	assert_non_null(strstr(w.err.text, "another process"));
	(void)close(fd);
	world_tear_down(&w);
}

static void test_lock_is_not_inherited(void **state)
{
	struct world w;
	char command[256];

	(void)state;
	world_begin(&w);
	/* A child that a program starts must not hold the lock on. */
	(void)snprintf(command, sizeof command,
		       "ls -l /proc/self/fd | grep -q s.db-lock");
	assert_int_not_equal(system(command), 0);
	world_tear_down(&w);
}

static void test_held_of_nothing(void **state)
{
	struct world w;
	bool held = true;

	(void)state;
	world_set_up(&w);
	OK(&w, state_is_held(w.path, &held, &w.err));
	assert_false(held);
	OK(&w, state_is_held("/nowhere/at/all", &held, &w.err));
	assert_false(held);
	world_tear_down(&w);
}

/* ---- read */

static void test_read_a_missing_file(void **state)
{
	struct world w;

	(void)state;
	world_set_up(&w);
	FAILS(&w, KV_KEY_NOT_FOUND,
	      state_open(w.path, STATE_READ, &w.st, &w.err));
	assert_int_equal(access(w.path, F_OK), -1);
	world_tear_down(&w);
}

static void test_read_beside_a_writer(void **state)
{
	struct state_row a = world_row("/a", STATE_ROW_OWNED, 5);
	struct state_row b = world_row("/b", STATE_ROW_OWNED, 6);
	struct slice none = {NULL, 0};
	struct world w;
	struct state *reader;
	struct state_row *rows;
	uint64_t n;
	size_t found;

	(void)state;
	world_begin(&w);
	world_put(&w, &a, 1);
	OK(&w, state_open(w.path, STATE_READ, &reader, &w.err));
	OK(&w, state_ledger_count(reader, w.route, &n, &w.err));
	assert_int_equal(n, 1);
	world_put(&w, &b, 1);
	OK(&w, state_ledger_count(reader, w.route, &n, &w.err));
	assert_int_equal(n, 2);
	OK(&w, state_ledger_page(reader, w.route, none, 10, &w.arena, &rows,
				 &found, &w.err));
	assert_int_equal(found, 2);
	OK(&w, state_ledger_newest(reader, w.route, 1, &w.arena, &rows, &found,
				   &w.err));
	assert_int_equal(found, 1);
	assert_true(world_row_eq(&rows[0], &b));
	state_close(reader);
	world_tear_down(&w);
}

static void test_read_cannot_write(void **state)
{
	struct state_row a = world_row("/a", STATE_ROW_OWNED, 5);
	struct state_commit c = {.rows = &a, .n_rows = 1};
	struct world w;
	struct state *reader;

	(void)state;
	world_begin(&w);
	c.route = w.route;
	OK(&w, state_open(w.path, STATE_READ, &reader, &w.err));
	FAILS(&w, KV_DENIED, state_commit(reader, &c, &w.err));
	state_close(reader);
	world_tear_down(&w);
}

/* What an agent that was killed leaves: the file, and a WAL with rows in it. */
static void test_read_after_a_kill(void **state)
{
	struct world w;
	struct state *reader;
	uint64_t n;
	pid_t pid;
	int ws;

	(void)state;
	world_begin(&w);
	world_close(&w);
	pid = fork();
	if (pid == 0) {
		struct state_row a = world_row("/a", STATE_ROW_OWNED, 5);
		struct state_commit c = {
		    .route = w.route, .rows = &a, .n_rows = 1};

		if (state_open(w.path, 0, &w.st, NULL) != KV_OK ||
		    state_commit(w.st, &c, NULL) != KV_OK) {
			_exit(1);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &ws, 0), pid);
	assert_true(WIFEXITED(ws) && WEXITSTATUS(ws) == 0);
	OK(&w, state_open(w.path, STATE_READ, &reader, &w.err));
	OK(&w, state_ledger_count(reader, w.route, &n, &w.err));
	assert_int_equal(n, 1);
	state_close(reader);
	world_tear_down(&w);
}

/* ---- permissions: as a user who is not root */

/* Runs `fn` in a child as nobody; its result. */
static int as_nobody(struct world *w, int (*fn)(struct world *w))
{
	pid_t pid = fork();
	int ws;

	if (pid == 0) {
		if (geteuid() == 0 &&
		    (setgid(65534) != 0 || setuid(65534) != 0)) {
			_exit(100);
		}
		_exit(fn(w));
	}
	assert_int_equal(waitpid(pid, &ws, 0), pid);
	assert_true(WIFEXITED(ws));
	return WEXITSTATUS(ws);
}

static int open_for_write(struct world *w)
{
	struct state *st;
	int status = state_open(w->path, 0, &st, &w->err);

	state_close(st);
	return status;
}

static int open_for_read(struct world *w)
{
	struct state *st;
	uint64_t n = 0;
	int status = state_open(w->path, STATE_READ, &st, &w->err);

	if (status == KV_OK) {
		status = state_ledger_count(st, w->route, &n, &w->err);
		state_close(st);
	}
	return status == KV_OK && n != 1 ? 101 : status;
}

/* A file with one row, closed; readable for all, writable for its owner. */
static void make_readable(struct world *w)
{
	struct state_row a = world_row("/a", STATE_ROW_OWNED, 5);

	world_begin(w);
	world_put(w, &a, 1);
	world_close(w);
	assert_int_equal(chmod(w->dir, 0755), 0);
	assert_int_equal(chmod(w->path, 0644), 0);
}

static void test_no_permission(void **state)
{
	struct world w;
	char lock[200];

	(void)state;
	make_readable(&w);
	if (geteuid() == 0) {
		/* The folder: no lock file can be made. */
		assert_int_equal(as_nobody(&w, open_for_write), KV_DENIED);
		/* The lock file can be opened, the rest not. */
		(void)snprintf(lock, sizeof lock, "%s-lock", w.path);
		assert_int_equal(chmod(lock, 0666), 0);
		assert_int_equal(as_nobody(&w, open_for_write), KV_DENIED);
		/* The folder too, but not the file. */
		assert_int_equal(chmod(w.dir, 0777), 0);
		assert_int_equal(as_nobody(&w, open_for_write), KV_DENIED);
		/* Not even to be read. */
		assert_int_equal(chmod(w.path, 0600), 0);
		assert_int_equal(as_nobody(&w, open_for_write), KV_DENIED);
		assert_int_equal(as_nobody(&w, open_for_read), KV_DENIED);
	}
	world_tear_down(&w);
}

static void test_no_permission_for_the_folder(void **state)
{
	struct world w;

	(void)state;
	world_set_up(&w);
	if (geteuid() == 0) {
		(void)snprintf(w.path, sizeof w.path, "%s/new/s.db", w.dir);
		assert_int_equal(chmod(w.dir, 0755), 0);
		assert_int_equal(as_nobody(&w, open_for_write), KV_DENIED);
	}
	world_tear_down(&w);
}

/* Another user looks at the file: its folder is not his to write. */
static void test_read_in_a_read_only_folder(void **state)
{
	struct world w;

	(void)state;
	make_readable(&w);
	assert_int_equal(as_nobody(&w, open_for_read), KV_OK);
	/* An agent is there: its shared memory can be read. */
	world_open(&w);
	assert_int_equal(as_nobody(&w, open_for_read), KV_OK);
	world_tear_down(&w);
}

/* A WAL without its index, and no way to make one: said, not guessed. */
static void test_read_only_folder_with_a_wal(void **state)
{
	struct world w;
	char wal[200];
	FILE *f;

	(void)state;
	make_readable(&w);
	(void)snprintf(wal, sizeof wal, "%s-wal", w.path);
	f = fopen(wal, "w");
	assert_non_null(f);
	(void)fputs("something", f);
	assert_int_equal(fclose(f), 0);
	if (geteuid() == 0) {
		assert_int_equal(as_nobody(&w, open_for_read), KV_DENIED);
	}
	world_tear_down(&w);
}

/* ---- routes */

static void test_route_matches(void **state)
{
	struct world w;
	int64_t first;

	(void)state;
	world_begin(&w);
	first = w.route;
	assert_int_equal(world_route(&w, "a>b", ""), STATE_ROUTE_SAME);
	assert_int_equal(w.route, first);
	assert_int_equal(world_route(&w, "a>b", "x"), STATE_ROUTE_FILTERS);
	assert_int_equal(w.route, first);
	assert_int_equal(world_route(&w, "a>b", "x"), STATE_ROUTE_SAME);
	assert_int_equal(world_route(&w, "a>c", "x"), STATE_ROUTE_STORES);
	world_reopen(&w);
	assert_int_equal(world_route(&w, "a>c", "x"), STATE_ROUTE_SAME);
	world_tear_down(&w);
}

static bool same_first_letter(struct slice saved, struct slice now)
{
	return saved.n > 0 && now.n > 0 && saved.p[0] == now.p[0];
}

/* The caller says which stores are the same ones under another name; the new
 * name is the one to compare with next time. */
static void test_renamed_stores(void **state)
{
	struct state_fingerprint fp = {.name = "main",
				       .stores = "abc",
				       .filters = "",
				       .same_stores = same_first_letter};
	enum state_match match;
	struct world w;
	int64_t first;

	(void)state;
	world_begin(&w);
	first = w.route;
	OK(&w, state_route_open(w.st, &fp, &w.route, &match, &w.err));
	assert_int_equal(match, STATE_ROUTE_SAME);
	assert_int_equal(w.route, first);
	assert_int_equal(world_route(&w, "abc", ""), STATE_ROUTE_SAME);
	fp.stores = "axx";
	fp.filters = "f";
	OK(&w, state_route_open(w.st, &fp, &w.route, &match, &w.err));
	assert_int_equal(match, STATE_ROUTE_FILTERS);
	world_reopen(&w);
	assert_int_equal(world_route(&w, "axx", "f"), STATE_ROUTE_SAME);
	fp.stores = "b";
	OK(&w, state_route_open(w.st, &fp, &w.route, &match, &w.err));
	assert_int_equal(match, STATE_ROUTE_STORES);
	world_tear_down(&w);
}

static void test_other_filters_want_a_reconcile(void **state)
{
	struct state_checkpoint cp = {.index = 7, .complete = true};
	struct state_row a = world_row("/a", STATE_ROW_OWNED, 5);
	struct state_commit c = {.rows = &a, .n_rows = 1, .checkpoint = &cp};
	struct world w;
	uint64_t n;

	(void)state;
	world_begin(&w);
	c.route = w.route;
	cp.counters.puts = 3;
	OK(&w, state_commit(w.st, &c, &w.err));
	assert_int_equal(world_route(&w, "a>b", "f"), STATE_ROUTE_FILTERS);
	/* Whoever is killed now still knows it at the next start. */
	world_reopen(&w);
	assert_int_equal(world_route(&w, "a>b", "f"), STATE_ROUTE_SAME);
	OK(&w, state_checkpoint_load(w.st, w.route, &cp, &w.err));
	assert_false(cp.complete);
	assert_int_equal(cp.index, 7);
	assert_int_equal(cp.counters.puts, 3);
	OK(&w, state_ledger_count(w.st, w.route, &n, &w.err));
	assert_int_equal(n, 1);
	world_tear_down(&w);
}

static void test_other_stores_drop_everything(void **state)
{
	struct state_checkpoint cp = {.index = 7, .complete = true};
	struct state_row a = world_row("/a", STATE_ROW_OWNED, 5);
	struct slice key = slice_str("/f");
	struct state_quarantined q = {.key = key, .reason = "r"};
	struct state_conflict x = {.key = key, .decision = "source wins"};
	struct state_intent it = {.key = key};
	struct state_commit c = {.rows = &a,
				 .n_rows = 1,
				 .checkpoint = &cp,
				 .foreign = &key,
				 .n_foreign = 1,
				 .quarantine = &q,
				 .n_quarantine = 1,
				 .conflicts = &x,
				 .n_conflicts = 1};
	struct state_live live = {.phase = "FOLLOWING"};
	struct world w;
	int64_t id;
	char *text;

	(void)state;
	world_begin(&w);
	c.route = w.route;
	OK(&w, state_commit(w.st, &c, &w.err));
	OK(&w,
	   state_begin(w.st, w.route, NULL, 0, NULL, &it, 1, 1, &id, &w.err));
	OK(&w, state_live_save(w.st, w.route, &live, &w.err));
	assert_int_equal(world_route(&w, "a>c", ""), STATE_ROUTE_STORES);
	text = world_picture(&w);
	assert_null(strstr(text, "row="));
	assert_null(strstr(text, "foreign=/"));
	assert_null(strstr(text, "quarantined"));
	assert_null(strstr(text, "conflict="));
	assert_null(strstr(text, "intent="));
	assert_null(strstr(text, "FOLLOWING"));
	assert_non_null(strstr(text, "checkpoint 0 0"));
	free(text);
	world_tear_down(&w);
}

static void test_routes_stand_side_by_side(void **state)
{
	struct state_fingerprint one = {
	    .name = "one", .stores = "s", .filters = "f"};
	struct state_fingerprint two = {
	    .name = "two", .stores = "s", .filters = "f"};
	struct state_row a = world_row("/a", STATE_ROW_OWNED, 5);
	enum state_match match;
	struct world w;
	int64_t r1;
	int64_t r2;
	uint64_t n;

	(void)state;
	world_set_up(&w);
	world_open(&w);
	OK(&w, state_route_open(w.st, &one, &r1, &match, &w.err));
	OK(&w, state_route_open(w.st, &two, &r2, &match, &w.err));
	assert_int_equal(match, STATE_ROUTE_NEW);
	assert_int_not_equal(r1, r2);
	w.route = r1;
	world_put(&w, &a, 1);
	OK(&w, state_ledger_count(w.st, r2, &n, &w.err));
	assert_int_equal(n, 0);
	/* Dropping the one leaves the other. */
	two.stores = "t";
	OK(&w, state_route_open(w.st, &two, &r2, &match, &w.err));
	assert_int_equal(match, STATE_ROUTE_STORES);
	OK(&w, state_ledger_count(w.st, r1, &n, &w.err));
	assert_int_equal(n, 1);
	world_tear_down(&w);
}

/* More rows than one step drops. */
static void test_a_large_ledger_is_dropped(void **state)
{
	enum { ROWS = 25000, AT_ONCE = 1000 };
	struct state_row rows[AT_ONCE];
	char keys[AT_ONCE][16];
	struct world w;
	uint64_t n;

	(void)state;
	world_begin(&w);
	for (size_t at = 0; at < ROWS; at += AT_ONCE) {
		for (size_t i = 0; i < AT_ONCE; i++) {
			(void)snprintf(keys[i], sizeof keys[i], "/%zu", at + i);
			rows[i] = world_row(keys[i], STATE_ROW_OWNED, at + i);
		}
		world_put(&w, rows, AT_ONCE);
	}
	OK(&w, state_ledger_count(w.st, w.route, &n, &w.err));
	assert_int_equal(n, ROWS);
	assert_int_equal(world_route(&w, "other", ""), STATE_ROUTE_STORES);
	OK(&w, state_ledger_count(w.st, w.route, &n, &w.err));
	assert_int_equal(n, 0);
	world_close(&w);
	world_sql(w.path, "CREATE TEMP TABLE t(n CHECK(n = 0));"
			  "INSERT INTO t SELECT count(*) FROM ledger;"
			  "INSERT INTO t SELECT count(*) - 1 FROM route;"
			  "INSERT INTO t SELECT count(*) - 1 FROM progress");
	world_tear_down(&w);
}

/* Damage does not look like a route that may be dropped. */
static void test_a_lost_name_is_no_leave_to_drop(void **state)
{
	struct state_row a = world_row("/a", STATE_ROW_OWNED, 5);
	struct world w;

	(void)state;
	world_begin(&w);
	world_put(&w, &a, 1);
	world_close(&w);
	world_sql(w.path, "UPDATE route SET name = NULL");
	FAILS(&w, KV_BROKEN, state_open(w.path, 0, &w.st, &w.err));
	world_sql(w.path, "UPDATE route SET name = 'main'");
	world_open(&w);
	assert_int_equal(world_route(&w, "a>b", ""), STATE_ROUTE_SAME);
	world_tear_down(&w);
}

/* ---- checkpoints */

static void test_checkpoint(void **state)
{
	struct state_checkpoint cp;
	struct state_checkpoint got;
	struct state_commit c = {.checkpoint = &cp};
	uint64_t n = 100;
	struct world w;

	(void)state;
	world_begin(&w);
	OK(&w, state_checkpoint_load(w.st, w.route, &got, &w.err));
	memset(&cp, 0, sizeof cp);
	assert_memory_equal(&got, &cp, sizeof cp);

	cp.index = 1234567890123;
	cp.complete = true;
	cp.exact = true;
	(void)snprintf(cp.source_identity, sizeof cp.source_identity, "etcd:1");
	memset(cp.target_identity, 'x', sizeof cp.target_identity - 1);
	cp.source_index = 17;
	cp.target_index = UINT64_MAX; /* only kept, never compared */
	cp.fuse_since_ms = 1700000000000;
	cp.fuse_deletes = 49;
	cp.fuse_older[0] = 3;
	cp.fuse_older[STATE_FUSE_OLDER - 1] = UINT64_MAX;
#define X(name, help) cp.counters.name = n++;
	STATE_COUNTER_MAP(X)
#undef X
	cp.counters.puts = UINT64_MAX;
	c.route = w.route;
	OK(&w, state_commit(w.st, &c, &w.err));
	OK(&w, state_checkpoint_load(w.st, w.route, &got, &w.err));
	assert_memory_equal(&got, &cp, sizeof cp);
	world_reopen(&w);
	OK(&w, state_checkpoint_load(w.st, w.route, &got, &w.err));
	assert_memory_equal(&got, &cp, sizeof cp);

	/* A commit without one leaves it. */
	c.checkpoint = NULL;
	OK(&w, state_commit(w.st, &c, &w.err));
	OK(&w, state_checkpoint_load(w.st, w.route, &got, &w.err));
	assert_memory_equal(&got, &cp, sizeof cp);
	world_tear_down(&w);
}

static void test_checkpoint_of_no_route(void **state)
{
	struct state_checkpoint cp = {.index = 1};
	struct state_commit c = {.route = 77, .checkpoint = &cp};
	struct world w;

	(void)state;
	world_begin(&w);
	FAILS(&w, KV_BROKEN, state_checkpoint_load(w.st, 77, &cp, &w.err));
	FAILS(&w, KV_BROKEN, state_commit(w.st, &c, &w.err));
	world_tear_down(&w);
}

/* ---- live and summaries */

static void test_summaries(void **state)
{
	struct state_fingerprint zebra = {
	    .name = "zebra", .stores = "s", .filters = "f"};
	struct state_row rows[] = {world_row("/a", STATE_ROW_OWNED, 1),
				   world_row("/b", STATE_ROW_GONE, 2),
				   world_row("/c", STATE_ROW_YIELDED, 3),
				   world_row("/d", STATE_ROW_STALE, 4)};
	struct state_checkpoint cp = {.index = 9};
	struct slice foreign[] = {slice_str("/f"), slice_str("/g")};
	struct state_quarantined q = {.key = slice_str("/q"), .reason = "big"};
	struct state_intent its[] = {{.key = slice_str("/i")},
				     {.key = slice_str("/j")}};
	struct state_live live = {.phase = "HELD",
				  .seen = 12,
				  .applied = 11,
				  .held = "too many deletes",
				  .error = "not reachable",
				  .wall_ms = 5};
	struct state_commit c = {.rows = rows,
				 .n_rows = 4,
				 .foreign = foreign,
				 .n_foreign = 2,
				 .quarantine = &q,
				 .n_quarantine = 1,
				 .checkpoint = &cp};
	struct state_summary *s;
	enum state_match match;
	struct world w;
	int64_t id;
	size_t n;

	(void)state;
	world_set_up(&w);
	world_open(&w);
	OK(&w, state_summaries(w.st, &w.arena, &s, &n, &w.err));
	assert_int_equal(n, 0);
	OK(&w, state_route_open(w.st, &zebra, &id, &match, &w.err));
	(void)world_route(&w, "a>b", "");
	c.route = w.route;
	OK(&w, state_commit(w.st, &c, &w.err));
	OK(&w,
	   state_begin(w.st, w.route, NULL, 0, NULL, its, 2, 1, &id, &w.err));
	OK(&w, state_live_save(w.st, w.route, &live, &w.err));
	live.seen = 13;
	OK(&w, state_live_save(w.st, w.route, &live, &w.err));
	OK(&w, state_summaries(w.st, &w.arena, &s, &n, &w.err));
	assert_int_equal(n, 2);
	assert_string_equal(s[0].name, "main");
	assert_string_equal(s[1].name, "zebra");
	assert_int_equal(s[0].route, w.route);
	assert_int_equal(s[0].keys, 3);
	assert_int_equal(s[0].foreign, 2);
	assert_int_equal(s[0].quarantine, 1);
	assert_int_equal(s[0].intents, 2);
	assert_int_equal(s[0].checkpoint.index, 9);
	assert_memory_equal(&s[0].live, &live, sizeof live);
	assert_string_equal(s[1].live.phase, "");
	assert_int_equal(s[1].keys, 0);
	world_tear_down(&w);
}

/* ---- dumps */

static void test_dump(void **state)
{
	struct state_row a = world_row("/a", STATE_ROW_OWNED, 5);
	struct world w;
	struct world copy = {0};
	uint8_t *bytes;
	size_t n;
	char *before;
	char *after;

	(void)state;
	world_set_up(&w);
	OK(&w, state_open(NULL, STATE_MEMORY, &w.st, &w.err));
	(void)world_route(&w, "a>b", "");
	world_put(&w, &a, 1);
	before = world_picture(&w);
	OK(&w, state_dump(w.st, &bytes, &n, &w.err));
	world_close(&w);
	OK(&copy, state_from_dump(bytes, n, &copy.st, &copy.err));
	after = world_picture(&copy);
	assert_string_equal(before, after);
	/* It can be written, and dumped again; the bytes are independent. */
	copy.route = w.route;
	a.source_index = 6;
	world_put(&copy, &a, 1);
	kv_free(bytes);
	OK(&copy, state_dump(copy.st, &bytes, &n, &copy.err));
	world_close(&copy);
	OK(&copy, state_from_dump(bytes, n, &copy.st, &copy.err));
	assert_int_equal(world_route(&copy, "a>b", ""), STATE_ROUTE_SAME);
	world_close(&copy);
	kv_free(bytes);
	free(before);
	free(after);
	world_tear_down(&w);
}

static void test_dump_of_a_file(void **state)
{
	struct state_row a = world_row("/a", STATE_ROW_OWNED, 5);
	struct world w;
	uint8_t *bytes;
	size_t n;
	char *before;
	char *after;

	(void)state;
	world_begin(&w);
	world_put(&w, &a, 1);
	before = world_picture(&w);
	OK(&w, state_dump(w.st, &bytes, &n, &w.err));
	world_close(&w);
	OK(&w, state_from_dump(bytes, n, &w.st, &w.err));
	after = world_picture(&w);
	assert_string_equal(before, after);
	kv_free(bytes);
	free(before);
	free(after);
	world_tear_down(&w);
}

static void test_dump_that_is_none(void **state)
{
	uint8_t junk[4096] = {0};
	struct world w = {0};

	(void)state;
	FAILS(&w, KV_BROKEN, state_from_dump(junk, 10, &w.st, &w.err));
	FAILS(&w, KV_BROKEN, state_from_dump(junk, sizeof junk, &w.st, &w.err));
	assert_null(w.st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_open_makes_folder_and_file),
	    cmocka_unit_test(test_open_without_a_slash),
	    cmocka_unit_test(test_open_an_empty_file),
	    cmocka_unit_test(test_open_a_folder),
	    cmocka_unit_test(test_pragmas),
	    cmocka_unit_test(test_journal_mode_is_put_back),
	    cmocka_unit_test(test_one_at_a_time),
	    cmocka_unit_test(test_in_use_by_another_process),
	    cmocka_unit_test(test_lock_without_a_pid),
	    cmocka_unit_test(test_lock_is_not_inherited),
	    cmocka_unit_test(test_held_of_nothing),
	    cmocka_unit_test(test_read_a_missing_file),
	    cmocka_unit_test(test_read_beside_a_writer),
	    cmocka_unit_test(test_read_cannot_write),
	    cmocka_unit_test(test_read_after_a_kill),
	    cmocka_unit_test(test_no_permission),
	    cmocka_unit_test(test_no_permission_for_the_folder),
	    cmocka_unit_test(test_read_in_a_read_only_folder),
	    cmocka_unit_test(test_read_only_folder_with_a_wal),
	    cmocka_unit_test(test_route_matches),
	    cmocka_unit_test(test_renamed_stores),
	    cmocka_unit_test(test_other_filters_want_a_reconcile),
	    cmocka_unit_test(test_other_stores_drop_everything),
	    cmocka_unit_test(test_routes_stand_side_by_side),
	    cmocka_unit_test(test_a_large_ledger_is_dropped),
	    cmocka_unit_test(test_a_lost_name_is_no_leave_to_drop),
	    cmocka_unit_test(test_checkpoint),
	    cmocka_unit_test(test_checkpoint_of_no_route),
	    cmocka_unit_test(test_summaries),
	    cmocka_unit_test(test_dump),
	    cmocka_unit_test(test_dump_of_a_file),
	    cmocka_unit_test(test_dump_that_is_none),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
