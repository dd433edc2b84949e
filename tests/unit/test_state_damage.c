/* test_state_damage.c: files that are damaged, foreign, older or newer: an
 * error that says what to do, or what was saved; never an empty ledger in
 * silence, never a changed foreign file. */
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/test_state_disk.h"

#include <sys/wait.h>

/* ---- whole files as bytes */

struct bytes {
	uint8_t *p;
	size_t n;
};

static struct bytes slurp(const char *path)
{
	struct bytes b = {NULL, 0};
	struct stat sb;
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &sb), 0);
	b.n = (size_t)sb.st_size;
	b.p = malloc(b.n + 1);
	assert_non_null(b.p);
	assert_int_equal(fread(b.p, 1, b.n, f), b.n);
	assert_int_equal(fclose(f), 0);
	return b;
}

static void spill(const char *path, const uint8_t *p, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void beside(const struct world *w, const char *suffix, char name[300])
{
	(void)snprintf(name, 300, "%s%s", w->path, suffix);
}

/* Leaves nothing but the file. */
static void alone(const struct world *w)
{
	static const char *const more[] = {"-wal", "-shm", "-lock", "-journal"};
	char name[300];

	for (size_t i = 0; i < KV_COUNT(more); i++) {
		beside(w, more[i], name);
		(void)unlink(name);
	}
}

static int files_in(const char *dir)
{
	char command[300];
	char line[32] = "";
	FILE *f;

	(void)snprintf(command, sizeof command, "ls -A '%s' | wc -l", dir);
	f = popen(command, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof line, f));
	(void)pclose(f);
	return atoi(line);
}

/* ---- a file with something of everything */

enum { ROWS = 150 };

static void fill(struct world *w)
{
	struct state_row rows[ROWS];
	char keys[ROWS][24];
	struct state_intent it = {.key = slice_str("/k/1"), .source_index = 7};
	struct slice foreign = slice_str("/foreign");
	struct state_quarantined q = {.key = slice_str("/q"), .reason = "big"};
	struct state_conflict x = {.key = slice_str("/k/2"),
				   .has_target = true,
				   .decision = "target wins"};
	struct state_checkpoint cp = {.index = 6,
				      .complete = true,
				      .source_identity = "etcd:1",
				      .target_identity = "etcd:2",
				      .fuse_deletes = 3};
	struct state_commit c = {.rows = rows,
				 .n_rows = ROWS,
				 .foreign = &foreign,
				 .n_foreign = 1,
				 .quarantine = &q,
				 .n_quarantine = 1,
				 .conflicts = &x,
				 .n_conflicts = 1,
				 .checkpoint = &cp};
	struct state_live live = {.phase = "FOLLOWING", .held = "why"};
	int64_t id;

	for (size_t i = 0; i < ROWS; i++) {
		(void)snprintf(keys[i], sizeof keys[i], "/k/%zu", i);
		rows[i] =
		    world_row(keys[i], (enum state_row_kind)(1 + i % 4), i + 1);
	}
	c.route = w->route;
	OK(w, state_commit(w->st, &c, &w->err));
	OK(w, state_begin(w->st, w->route, NULL, 0, NULL, &it, 1, 1, &id,
			  &w->err));
	OK(w, state_live_save(w->st, w->route, &live, &w->err));
}

/* What decisions rest on; lists and `live` are for people's eyes only. */
static int core_try(struct state *st, int64_t route, char **text,
		    struct kv_err *err)
{
	struct picture p = {0};
	struct state_checkpoint cp;
	struct arena a;
	uint64_t keys = 0;
	int status;

	arena_init(&a);
	say(&p, "%s", "");
	status = state_checkpoint_load(st, route, &cp, err);
	if (status == KV_OK) {
		say_checkpoint(&p, &cp);
		status = state_ledger_count(st, route, &keys, err);
	}
	if (status == KV_OK) {
		say(&p, "%llu keys\n", (unsigned long long)keys);
		status = say_ledger(&p, st, route, &a, err);
	}
	if (status == KV_OK) {
		status = say_intents(&p, st, route, &a, err);
	}
	arena_free(&a);
	*text = p.text;
	return status;
}

/* Only the line that differs is of interest. */
static void check_same(const char *text, const char *want)
{
	while (*text == *want && *text != '\0') {
		text++;
		want++;
	}
	if (*text != *want) {
		fail_msg("read %.60s\nwant %.60s", text, want);
	}
}

/* Opens and uses what may be damaged. true: it said so. */
static bool use(struct world *w, const char *want)
{
	struct state_fingerprint fp = {
	    .name = "main", .stores = "a>b", .filters = ""};
	struct state_row row = world_row("/new", STATE_ROW_OWNED, 500);
	struct state_commit c = {.rows = &row, .n_rows = 1};
	enum state_match match;
	char *text = NULL;
	char *all = NULL;
	int status;

	kv_err_clear(&w->err);
	status = state_open(w->path, 0, &w->st, &w->err);
	if (status == KV_OK) {
		status =
		    state_route_open(w->st, &fp, &w->route, &match, &w->err);
	}
	if (status == KV_OK) {
		assert_int_equal(match, STATE_ROUTE_SAME);
		status = core_try(w->st, w->route, &text, &w->err);
	}
	if (status == KV_OK) {
		check_same(text, want);
		/* Only that these do not fall over. */
		(void)picture_try(w->st, &all, NULL);
		c.route = w->route;
		status = state_commit(w->st, &c, &w->err);
	}
	if (status != KV_OK && w->err.status != KV_BROKEN) {
		fail_msg("%s: %s", kv_status_name(status), w->err.text);
	}
	free(text);
	free(all);
	world_close(w);
	return status != KV_OK;
}

/* Every byte of the headers of file and pages, and many of the rest. */
static bool is_tried(size_t at)
{
	return at < 100 || at % 4096 < 12 || at % 37 == 0;
}

static void test_flipped_bytes(void **state)
{
	struct bytes good;
	struct world w;
	char *want;
	size_t tried = 0;
	size_t found = 0;

	(void)state;
	world_begin(&w);
	fill(&w);
	OK(&w, core_try(w.st, w.route, &want, &w.err));
	world_close(&w);
	good = slurp(w.path);
	for (size_t at = 0; at < good.n; at++) {
		uint8_t was = good.p[at];

		if (!is_tried(at)) {
			continue;
		}
		alone(&w);
		good.p[at] = (uint8_t)(was ^ (1U << (at % 8)));
		spill(w.path, good.p, good.n);
		good.p[at] = was;
		tried++;
		found += use(&w, want) ? 1 : 0;
	}
	assert_true(tried > 1000);
	assert_true(found > tried / 8); /* the rest is free room, or lists */
	free(good.p);
	free(want);
	world_tear_down(&w);
}

static void test_cut_files(void **state)
{
	struct bytes good;
	struct world w;
	char *want;

	(void)state;
	world_begin(&w);
	fill(&w);
	OK(&w, core_try(w.st, w.route, &want, &w.err));
	world_close(&w);
	good = slurp(w.path);
	for (size_t n = 1; n < good.n; n += n < 200 ? 33 : 1500) {
		alone(&w);
		spill(w.path, good.p, n);
		assert_true(use(&w, want));
	}
	free(good.p);
	free(want);
	world_tear_down(&w);
}

static void test_zeroed_pages(void **state)
{
	struct bytes good;
	struct world w;
	char *want;

	(void)state;
	world_begin(&w);
	fill(&w);
	OK(&w, core_try(w.st, w.route, &want, &w.err));
	world_close(&w);
	good = slurp(w.path);
	for (size_t page = 0; page < good.n / 4096; page++) {
		uint8_t old[4096];

		alone(&w);
		memcpy(old, good.p + page * 4096, 4096);
		memset(good.p + page * 4096, 0, 4096);
		spill(w.path, good.p, good.n);
		memcpy(good.p + page * 4096, old, 4096);
		(void)use(&w, want);
	}
	free(good.p);
	free(want);
	world_tear_down(&w);
}

/* The text names the file and what to do; nothing is left open. */
static void test_what_damage_says(void **state)
{
	uint8_t junk[8192];
	struct world w;
	bool held;

	(void)state;
	world_set_up(&w);
	memset(junk, 'j', sizeof junk);
	spill(w.path, junk, sizeof junk);
	FAILS(&w, KV_BROKEN, state_open(w.path, 0, &w.st, &w.err));
	assert_null(w.st);
	assert_non_null(strstr(w.err.text, w.path));
	assert_non_null(strstr(w.err.text, "move it away"));
	FAILS(&w, KV_BROKEN, state_open(w.path, STATE_READ, &w.st, &w.err));
	OK(&w, state_is_held(w.path, &held, &w.err));
	assert_false(held);
	/* It is as it was, and alone. */
	assert_int_equal(files_in(w.dir), 1);
	world_tear_down(&w);
}

/* ---- rows and tables that are gone */

static void expect_broken(const char *sql)
{
	struct state_row *rows;
	struct world w;
	int status;
	size_t n;

	world_begin(&w);
	fill(&w);
	world_close(&w);
	world_sql(w.path, sql);
	kv_err_clear(&w.err);
	status = state_open(w.path, 0, &w.st, &w.err);
	if (status == KV_OK) {
		status = state_ledger_page(w.st, w.route, slice_of(NULL, 0),
					   1000, &w.arena, &rows, &n, &w.err);
	}
	if (status != KV_BROKEN) {
		fail_msg("%s: %s", sql, kv_status_name(status));
	}
	assert_non_null(strstr(w.err.text, w.path));
	world_tear_down(&w);
}

/* Rows are missing, and the ledger is read page by page while it changes. */
static void test_missing_rows_behind_a_walk(void **state)
{
	struct slice after = {NULL, 0};
	struct state_row changes[3];
	struct state_row *rows;
	struct world w;
	int status = KV_OK;
	size_t n = 10;

	(void)state;
	world_begin(&w);
	fill(&w);
	world_close(&w);
	world_sql(w.path, "DELETE FROM ledger WHERE key > CAST('/k/5' AS BLOB)"
			  " AND key < CAST('/k/6' AS BLOB)");
	world_open(&w);
	for (int page = 0; status == KV_OK && n == 10; page++) {
		status = state_ledger_page(w.st, w.route, after, 10, &w.arena,
					   &rows, &n, &w.err);
		after = n > 0 ? rows[n - 1].key : after;
		if (page == 3) {
			changes[0] = world_row("/a", STATE_ROW_OWNED, 900);
			changes[1] = world_row("/k/0", STATE_ROW_NONE, 0);
			changes[2] = world_row("/z", STATE_ROW_STALE, 901);
			world_put(&w, changes, 3);
		}
	}
	assert_int_equal(status, KV_BROKEN);
	assert_non_null(strstr(w.err.text, "missing"));
	world_tear_down(&w);
}

static void test_missing_rows(void **state)
{
	(void)state;
	expect_broken("DROP TABLE ledger");
	expect_broken("DELETE FROM ledger");
	expect_broken("DELETE FROM ledger WHERE key = CAST('/k/7' AS BLOB)");
	expect_broken("DELETE FROM progress");
	expect_broken("DROP TABLE intent");
	expect_broken("UPDATE progress SET owned = owned + 1");
	expect_broken("UPDATE ledger SET kind = 9");
	expect_broken("UPDATE ledger SET kind = 1");
	expect_broken("UPDATE ledger SET hash = 'short'");
	expect_broken("UPDATE ledger SET source_index = 'text'");
	expect_broken("PRAGMA user_version = 0");
	expect_broken("PRAGMA user_version = -1");
	expect_broken("PRAGMA user_version = 2"); /* has what 3 adds */
}

/* ---- the log and its index */

static void one_row(struct world *w, uint64_t index)
{
	struct state_row r = world_row("/a", STATE_ROW_OWNED, index);
	struct state_checkpoint cp = {.index = index};
	struct state_commit c = {
	    .route = w->route, .rows = &r, .n_rows = 1, .checkpoint = &cp};

	OK(w, state_commit(w->st, &c, &w->err));
}

/* A file and its log as a killed process leaves them: `n` commits in it. */
static void leave_a_log(struct world *w, uint64_t n)
{
	pid_t pid;
	int ws;

	world_begin(w);
	world_close(w);
	pid = fork();
	if (pid == 0) {
		world_open(w);
		for (uint64_t i = 1; i <= n; i++) {
			one_row(w, i);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &ws, 0), pid);
	assert_true(WIFEXITED(ws) && WEXITSTATUS(ws) == 0);
}

/* Row and checkpoint are of one commit. */
static uint64_t check_one_row(struct world *w)
{
	struct slice key = slice_str("/a");
	struct state_checkpoint cp;
	struct state_row r;

	world_open(w);
	OK(w, state_checkpoint_load(w->st, w->route, &cp, &w->err));
	OK(w, state_ledger_get(w->st, w->route, &key, 1, &r, &w->err));
	assert_int_equal(r.source_index, cp.index);
	world_close(w);
	return cp.index;
}

/* From the damage on, the log counts as not written: an older state. */
static void test_damaged_log(void **state)
{
	char name[300];
	char shm[300];
	struct bytes wal;
	struct bytes file;
	struct world w;
	uint64_t last = 0;

	(void)state;
	leave_a_log(&w, 5);
	beside(&w, "-wal", name);
	beside(&w, "-shm", shm);
	wal = slurp(name);
	file = slurp(w.path);
	assert_true(wal.n > 5 * 4096);
	for (size_t at = 0; at < wal.n; at += at < 32 ? 1 : 97) {
		uint64_t index;

		(void)unlink(shm);
		spill(w.path, file.p, file.n);
		wal.p[at] ^= 0x10;
		spill(name, wal.p, wal.n);
		wal.p[at] ^= 0x10;
		index = check_one_row(&w);
		assert_true(index <= 5);
		if (at >= 32) {
			assert_true(index >= last); /* later damage, more */
			last = index;
		}
	}
	assert_int_equal(last, 4);
	(void)unlink(shm);
	spill(w.path, file.p, file.n);
	spill(name, wal.p, wal.n);
	assert_int_equal(check_one_row(&w), 5);
	free(wal.p);
	free(file.p);
	world_tear_down(&w);
}

static void test_damaged_index_of_the_log(void **state)
{
	uint8_t junk[32768];
	char shm[300];
	struct world w;

	(void)state;
	leave_a_log(&w, 5);
	beside(&w, "-shm", shm);
	memset(junk, 0x5a, sizeof junk);
	spill(shm, junk, sizeof junk);
	assert_int_equal(check_one_row(&w), 5);
	world_tear_down(&w);
}

/* Only the file was moved away. Its log must not be played into a new one. */
static void test_log_of_another_file(void **state)
{
	char name[300];
	struct world w;

	(void)state;
	leave_a_log(&w, 5);
	assert_int_equal(unlink(w.path), 0);
	world_open(&w);
	assert_int_equal(world_route(&w, "a>b", ""), STATE_ROUTE_NEW);
	beside(&w, "-wal-old", name);
	assert_int_equal(access(name, F_OK), 0); /* kept for its owner */
	world_tear_down(&w);
}

/* ---- foreign files */

static void check_untouched(struct world *w, const struct bytes *before)
{
	struct bytes after = slurp(w->path);

	assert_int_equal(after.n, before->n);
	assert_memory_equal(after.p, before->p, after.n);
	free(after.p);
	assert_int_equal(files_in(w->dir), 1);
}

static void test_foreign_database(void **state)
{
	static const char *const theirs[] = {
	    "CREATE TABLE t(a); INSERT INTO t VALUES(1)",
	    "PRAGMA journal_mode = WAL; CREATE TABLE t(a)",
	    ("PRAGMA application_id = 77; PRAGMA user_version = 1;"
	     "CREATE TABLE ledger(a)"),
	};

	(void)state;
	for (size_t i = 0; i < KV_COUNT(theirs); i++) {
		struct bytes before;
		struct world w;

		world_set_up(&w);
		world_sql(w.path, theirs[i]);
		before = slurp(w.path);
		FAILS(&w, KV_BROKEN, state_open(w.path, 0, &w.st, &w.err));
		assert_non_null(strstr(w.err.text, "another program"));
		check_untouched(&w, &before);
		FAILS(&w, KV_BROKEN,
		      state_open(w.path, STATE_READ, &w.st, &w.err));
		check_untouched(&w, &before);
		free(before.p);
		world_tear_down(&w);
	}
}

/* ---- other versions */

static void test_newer_schema(void **state)
{
	struct bytes before;
	struct bytes after;
	struct world w;

	(void)state;
	world_begin(&w);
	world_close(&w);
	world_sql(w.path, "PRAGMA user_version = 99");
	before = slurp(w.path);
	FAILS(&w, KV_BROKEN, state_open(w.path, 0, &w.st, &w.err));
	assert_non_null(strstr(w.err.text, "newer"));
	FAILS(&w, KV_BROKEN, state_open(w.path, STATE_READ, &w.st, &w.err));
	assert_non_null(strstr(w.err.text, "newer"));
	after = slurp(w.path);
	assert_int_equal(before.n, after.n);
	assert_memory_equal(before.p, after.p, after.n);
	free(before.p);
	free(after.p);
	world_tear_down(&w);
}

/* A file as schema 1 had it: before the fuse's hour was kept. */
static const char schema_1[] =
    "PRAGMA journal_mode = WAL;"
    "CREATE TABLE route(id INTEGER PRIMARY KEY, name TEXT UNIQUE,"
    " stores TEXT NOT NULL, filters TEXT NOT NULL, sum INTEGER NOT NULL);"
    "INSERT INTO route VALUES(1, 'main', 'etcd:a>etcd:b', '-/tmp/**',"
    " 1101558236);"
    "CREATE TABLE progress(route INTEGER PRIMARY KEY,"
    " saved INTEGER NOT NULL DEFAULT 0,"
    " position INTEGER NOT NULL DEFAULT 0,"
    " complete INTEGER NOT NULL DEFAULT 0,"
    " source_identity TEXT NOT NULL DEFAULT '',"
    " target_identity TEXT NOT NULL DEFAULT '',"
    " source_index INTEGER NOT NULL DEFAULT 0,"
    " target_index INTEGER NOT NULL DEFAULT 0,"
    " counters TEXT NOT NULL DEFAULT '',"
    " sum INTEGER NOT NULL DEFAULT 0,"
    " owned INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT 0,"
    " yielded INTEGER NOT NULL DEFAULT 0,"
    " stale INTEGER NOT NULL DEFAULT 0,"
    " quarantine INTEGER NOT NULL DEFAULT 0,"
    " foreign_keys INTEGER NOT NULL DEFAULT 0,"
    " journal INTEGER NOT NULL DEFAULT 0, tally_sum INTEGER NOT NULL);"
    "INSERT INTO progress VALUES(1, 1, 42, 1, 'etcd:5', 'etcd:6', 45, 99,"
    " 'puts=7 deletes=0 adopted=0 conflicts=1 splits=0 torn=0 unknown=0"
    " reconciles=0 released=0 repaired=0', 3464284603, 1, 1, 1, 0, 1, 1, 1,"
    " 781804037);"
    "CREATE TABLE ledger(route INTEGER NOT NULL, key BLOB NOT NULL,"
    " kind INTEGER NOT NULL, source_index INTEGER NOT NULL,"
    " version_a INTEGER NOT NULL, version_b INTEGER NOT NULL,"
    " hash BLOB NOT NULL, sum INTEGER NOT NULL,"
    " PRIMARY KEY(route, key)) WITHOUT ROWID;"
    "INSERT INTO ledger VALUES"
    " (1, X'2f61', 1, 41, 410, 13, X'1bca2a8cd650a9f0e292ab48a6b06805',"
    "  3016654312),"
    " (1, X'2f62', 2, 42, 420, 14, X'c77fc72cc13681e66ec97c4aa03d16d2',"
    "  733937687),"
    " (1, X'2f63', 3, 40, 400, 13, X'eb5b307dc99c6122b8c931e414c0e44f',"
    "  1169212524);"
    "CREATE INDEX ledger_gone ON ledger(route, source_index)"
    " WHERE kind = 2;"
    "CREATE TABLE newest(route INTEGER PRIMARY KEY, low INTEGER NOT NULL,"
    " rows BLOB NOT NULL);"
    "INSERT INTO newest VALUES(1, 0, X'2900000000000000020000002f61');"
    "CREATE TABLE intent(id INTEGER PRIMARY KEY, route INTEGER NOT NULL,"
    " wall_ms INTEGER NOT NULL, n INTEGER NOT NULL, sum INTEGER NOT NULL,"
    " rows BLOB NOT NULL);"
    "INSERT INTO intent VALUES(1, 1, 1700000000003, 2, 3119127291,"
    " X'2b0000000000000000000000beae59b601a6a437f7042be43fb807140200"
    "00002f612c0000000000000001000000000000000000000000000000000000"
    "00020000002f64');"
    "CREATE TABLE conflict(route INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " key BLOB NOT NULL, wall_ms INTEGER NOT NULL, source_hash BLOB,"
    " target_hash BLOB, source_index INTEGER NOT NULL,"
    " decision TEXT NOT NULL, PRIMARY KEY(route, seq)) WITHOUT ROWID;"
    "INSERT INTO conflict VALUES(1, 1, X'2f63', 1700000000002,"
    " X'ddcb22b511c75a0ad6b9d4d14ff6be13', NULL, 40, 'target wins');"
    "CREATE TABLE quarantine(route INTEGER NOT NULL, key BLOB NOT NULL,"
    " reason TEXT NOT NULL, source_index INTEGER NOT NULL,"
    " wall_ms INTEGER NOT NULL, stale INTEGER NOT NULL,"
    " PRIMARY KEY(route, key)) WITHOUT ROWID;"
    "INSERT INTO quarantine VALUES(1, X'2f71', 'too large', 39,"
    " 1700000000001, 1);"
    "CREATE TABLE foreign_key(route INTEGER NOT NULL, key BLOB NOT NULL,"
    " PRIMARY KEY(route, key)) WITHOUT ROWID;"
    "INSERT INTO foreign_key VALUES(1, X'2f66');"
    "CREATE TABLE live(route INTEGER PRIMARY KEY, phase TEXT NOT NULL,"
    " seen INTEGER NOT NULL, applied INTEGER NOT NULL,"
    " held TEXT NOT NULL, error TEXT NOT NULL,"
    " wall_ms INTEGER NOT NULL);"
    "INSERT INTO live VALUES(1, 'FOLLOWING', 45, 42, '', '',"
    " 1700000000004);"
    "PRAGMA application_id = 1802923379;"
    "PRAGMA user_version = 1";

/* What schema_1 says, whatever schema it is read through. */
static const char schema_1_picture[] =
    "route main keys=2 quarantine=1 foreign=1 intents=2 yielded=1"
    " phase=FOLLOWING held= error= seen=45 applied=42\n"
    " checkpoint 42 1 'etcd:5' 'etcd:6' 45 99 fuse 0 0 puts=7 deletes=0"
    " adopted=0 conflicts=1 splits=0 torn=0 unknown=0 reconciles=0"
    " released=0 repaired=0\n"
    " row=/a 1 41 410 13 1bca2a8cd650a9f0e292ab48a6b06805\n"
    " row=/b 2 42 420 14 c77fc72cc13681e66ec97c4aa03d16d2\n"
    " row=/c 3 40 400 13 eb5b307dc99c6122b8c931e414c0e44f\n"
    " intent=/a 1 0 43 beae59b601a6a437f7042be43fb80714\n"
    " intent=/d 1 1 44 00000000000000000000000000000000\n"
    " conflict=/c 1 1700000000002 1 0 40 target wins"
    " ddcb22b511c75a0ad6b9d4d14ff6be13"
    " 00000000000000000000000000000000\n"
    " quarantined=/q too large 39 1700000000001 1\n"
    " foreign=/f\n"
    " newest=41\n";

static void check_schema_1(struct world *w)
{
	char *text = world_picture(w);

	assert_string_equal(text, schema_1_picture);
	free(text);
}

static void test_older_schema(void **state)
{
	struct state_fingerprint fp = {
	    .name = "main", .stores = "etcd:a>etcd:b", .filters = "-/tmp/**"};
	struct state_checkpoint cp;
	struct state_commit c = {.checkpoint = &cp};
	enum state_match match;
	struct world w;

	(void)state;
	world_set_up(&w);
	world_sql(w.path, schema_1);
	/* A reader may not bring it up to date: it says who can. */
	FAILS(&w, KV_BROKEN, state_open(w.path, STATE_READ, &w.st, &w.err));
	assert_non_null(strstr(w.err.text, "older"));
	world_open(&w);
	check_schema_1(&w);
	OK(&w, state_route_open(w.st, &fp, &c.route, &match, &w.err));
	assert_int_equal(match, STATE_ROUTE_SAME);
	/* What is new works. */
	OK(&w, state_checkpoint_load(w.st, c.route, &cp, &w.err));
	cp.fuse_since_ms = 5;
	cp.fuse_deletes = 6;
	cp.fuse_older[5] = 7;
	OK(&w, state_commit(w.st, &c, &w.err));
	world_reopen(&w);
	OK(&w, state_checkpoint_load(w.st, c.route, &cp, &w.err));
	assert_int_equal(cp.fuse_deletes, 6);
	assert_int_equal(cp.fuse_older[5], 7);
	world_close(&w);
	OK(&w, state_open(w.path, STATE_READ, &w.st, &w.err));
	world_tear_down(&w);
}

/* A dump that an older agent left is brought up to date as well. */
static void test_older_dump(void **state)
{
	struct world w;
	struct bytes b;

	(void)state;
	world_set_up(&w);
	world_sql(w.path, schema_1);
	world_sql(w.path, "PRAGMA journal_mode = DELETE");
	b = slurp(w.path);
	OK(&w, state_from_dump(b.p, b.n, &w.st, &w.err));
	check_schema_1(&w);
	free(b.p);
	world_tear_down(&w);
}

static int64_t version_of(const struct world *w)
{
	sqlite3 *db;
	sqlite3_stmt *s;
	int64_t version;

	assert_int_equal(sqlite3_open(w->path, &db), SQLITE_OK);
	assert_int_equal(
	    sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &s, NULL),
	    SQLITE_OK);
	assert_int_equal(sqlite3_step(s), SQLITE_ROW);
	version = sqlite3_column_int64(s, 0);
	(void)sqlite3_finalize(s);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	return version;
}

/* Killed at each write of the migration: the old file or the new one. */
static void test_migration_is_killed(void **state)
{
	bool met = true;
	bool old = false;
	long at;

	(void)state;
	for (at = 0; met; at++) {
		struct disk disk;
		struct world w;
		pid_t pid;
		int ws;

		world_set_up(&w);
		world_sql(w.path, schema_1);
		pid = fork();
		if (pid == 0) {
			disk_insert(&disk);
			disk_arm(&disk, DISK_KILL, at);
			_exit(state_open(w.path, 0, &w.st, NULL));
		}
		assert_int_equal(waitpid(pid, &ws, 0), pid);
		assert_true(WIFEXITED(ws));
		met = WEXITSTATUS(ws) == DISK_EXIT;
		assert_true(met || WEXITSTATUS(ws) == 0);
		old = old || version_of(&w) == 1;
		world_open(&w);
		check_schema_1(&w);
		world_tear_down(&w);
	}
	assert_true(old);
	assert_true(at > 3);
}

/* A migration that finds no room leaves the old file, and works later. */
static void test_migration_without_space(void **state)
{
	struct disk disk;

	(void)state;
	disk_insert(&disk);
	disk.hit = true;
	for (long at = 0; disk.hit; at++) {
		struct world w;

		world_set_up(&w);
		world_sql(w.path, schema_1);
		disk_arm(&disk, DISK_FULL, at);
		if (state_open(w.path, 0, &w.st, &w.err) != KV_OK) {
			assert_int_equal(w.err.status, KV_NO_SPACE);
			disk_disarm(&disk);
			assert_int_equal(version_of(&w), 1);
			world_open(&w);
		}
		disk_disarm(&disk);
		check_schema_1(&w);
		world_tear_down(&w);
	}
	disk_remove(&disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_flipped_bytes),
	    cmocka_unit_test(test_cut_files),
	    cmocka_unit_test(test_zeroed_pages),
	    cmocka_unit_test(test_what_damage_says),
	    cmocka_unit_test(test_missing_rows),
	    cmocka_unit_test(test_missing_rows_behind_a_walk),
	    cmocka_unit_test(test_damaged_log),
	    cmocka_unit_test(test_damaged_index_of_the_log),
	    cmocka_unit_test(test_log_of_another_file),
	    cmocka_unit_test(test_foreign_database),
	    cmocka_unit_test(test_newer_schema),
	    cmocka_unit_test(test_older_schema),
	    cmocka_unit_test(test_older_dump),
	    cmocka_unit_test(test_migration_is_killed),
	    cmocka_unit_test(test_migration_without_space),
	};

	return cmocka_run_group_tests_name("state_damage", tests, NULL, NULL);
}
