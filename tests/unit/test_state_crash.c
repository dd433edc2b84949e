/* test_state_crash.c: kill, a full disk and a power cut at every step: what is
 * read afterwards is the state before that step or after it, whole. */
#include "tests/unit/test_state_disk.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- a life of a state file, in steps */

/* Each is one call that changes the file. */
struct life {
	struct world w;
	int64_t intents[2];
};

static int step_open(struct life *l, struct kv_err *err)
{
	return state_open(l->w.path, 0, &l->w.st, err);
}

static int route_as(struct life *l, const char *stores, const char *filters,
		    struct kv_err *err)
{
	struct state_fingerprint fp = {
	    .name = "main", .stores = stores, .filters = filters};
	enum state_match match;

	return state_route_open(l->w.st, &fp, &l->w.route, &match, err);
}

static int step_route(struct life *l, struct kv_err *err)
{
	return route_as(l, "a>b", "", err);
}

static int step_begin(struct life *l, struct kv_err *err)
{
	struct slice keys[] = {slice_str("/a"), slice_str("/b")};
	struct state_intent its[] = {
	    {.key = keys[0], .source_index = 4, .hash = kv_hash(keys[0])},
	    {.key = keys[1], .is_delete = true, .source_index = 5}};
	struct state_row rows[2];

	return state_begin(l->w.st, l->w.route, keys, 2, rows, its, 2, 77,
			   &l->intents[0], err);
}

static int step_commit(struct life *l, struct kv_err *err)
{
	struct state_row rows[] = {world_row("/a", STATE_ROW_OWNED, 4),
				   world_row("/b", STATE_ROW_GONE, 5),
				   world_row("/c", STATE_ROW_YIELDED, 6)};
	struct state_conflict x = {.key = slice_str("/c"),
				   .decision = "target wins"};
	struct state_quarantined q = {.key = slice_str("/q"), .reason = "big"};
	struct slice foreign[] = {slice_str("/f"), slice_str("/g")};
	struct state_checkpoint cp = {.index = 6, .complete = true};
	struct state_commit c = {
	    .route = l->w.route,
	    .rows = rows,
	    .n_rows = 3,
	    .close_intents = l->intents,
	    .n_close_intents = 1,
	    .conflicts = &x,
	    .n_conflicts = 1,
	    .quarantine = &q,
	    .n_quarantine = 1,
	    .foreign = foreign,
	    .n_foreign = 2,
	    .checkpoint = &cp,
	};

	cp.counters.puts = 1;
	return state_commit(l->w.st, &c, err);
}

static int step_begin_again(struct life *l, struct kv_err *err)
{
	struct state_intent it = {.key = slice_str("/a"), .source_index = 8};

	return state_begin(l->w.st, l->w.route, NULL, 0, NULL, &it, 1, 78,
			   &l->intents[1], err);
}

static int step_commit_again(struct life *l, struct kv_err *err)
{
	struct state_row rows[] = {world_row("/a", STATE_ROW_OWNED, 8),
				   world_row("/c", STATE_ROW_NONE, 0),
				   world_row("/d", STATE_ROW_OWNED, 9)};
	struct slice q = slice_str("/q");
	struct state_checkpoint cp = {.index = 9, .complete = true};
	struct state_commit c = {
	    .route = l->w.route,
	    .rows = rows,
	    .n_rows = 3,
	    .close_intents = &l->intents[1],
	    .n_close_intents = 1,
	    .unquarantine = &q,
	    .n_unquarantine = 1,
	    .clear_foreign = true,
	    .purge_tombstones = 5,
	    .checkpoint = &cp,
	};

	return state_commit(l->w.st, &c, err);
}

static int step_filters(struct life *l, struct kv_err *err)
{
	return route_as(l, "a>b", "f", err);
}

static int step_live(struct life *l, struct kv_err *err)
{
	struct state_live live = {.phase = "FOLLOWING", .seen = 9};

	return state_live_save(l->w.st, l->w.route, &live, err);
}

static int step_stores(struct life *l, struct kv_err *err)
{
	return route_as(l, "a>c", "f", err);
}

static int step_close(struct life *l, struct kv_err *err)
{
	(void)err;
	world_close(&l->w);
	return KV_OK;
}

typedef int step_fn(struct life *l, struct kv_err *err);

/* At its end it is not empty: what is lost then would not be missed. */
static step_fn *const steps[] = {
    step_open,	      step_route,	 step_begin,   step_commit,
    step_begin_again, step_commit_again, step_filters, step_live,
    step_stores,      step_begin,	 step_commit,  step_close,
};
enum { STEPS = KV_COUNT(steps) };

/* What a state says after `n` steps; "" where there is none yet. */
struct album {
	char *pictures[STEPS + 1];
};

static char *picture_of(struct life *l, size_t n)
{
	char *text;

	if (n == 0) {
		return strdup("");
	}
	if (l->w.st == NULL) {
		world_open(&l->w);
	}
	text = world_picture(&l->w);
	return text;
}

static void album_fill(struct album *a)
{
	struct life l;

	memset(&l, 0, sizeof l);
	world_set_up(&l.w);
	a->pictures[0] = picture_of(&l, 0);
	for (size_t i = 0; i < STEPS; i++) {
		OK(&l.w, steps[i](&l, &l.w.err));
		a->pictures[i + 1] = picture_of(&l, i + 1);
	}
	world_tear_down(&l.w);
}

static void album_free(struct album *a)
{
	for (size_t i = 0; i <= STEPS; i++) {
		free(a->pictures[i]);
	}
}

/* ---- killed */

struct shared {
	size_t done; /* steps that returned */
};

static struct shared *share(void)
{
	struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(s != MAP_FAILED);
	return s;
}

/* Lives in a child on a disk with a fault; true: the fault was met. */
static bool live_in_child(struct life *l, struct shared *s,
			  enum disk_fault fault, long at, size_t first,
			  bool keep_synced)
{
	struct disk disk;
	pid_t pid = fork();
	int ws;

	if (pid == 0) {
		disk_insert(&disk);
		disk.keep_synced = keep_synced;
		for (s->done = 0; s->done < STEPS; s->done++) {
			if (s->done == first) {
				disk_arm(&disk, fault, at);
			}
			if (steps[s->done](l, NULL) != KV_OK) {
				_exit(1);
			}
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &ws, 0), pid);
	assert_true(WIFEXITED(ws));
	assert_true(WEXITSTATUS(ws) == 0 || WEXITSTATUS(ws) == DISK_EXIT);
	return WEXITSTATUS(ws) == DISK_EXIT;
}

/* What a start left of dropped routes, the next start has dropped. */
static void check_no_leftovers(struct life *l)
{
	world_close(&l->w);
	world_sql(l->w.path,
		  "CREATE TEMP TABLE t(n CHECK(n = 0));"
		  "INSERT INTO t SELECT count(*) FROM route WHERE name IS NULL;"
		  "INSERT INTO t SELECT count(*) FROM ledger"
		  " WHERE route NOT IN (SELECT id FROM route)");
}

static void check_after_kill(struct life *l, const struct album *a, size_t done)
{
	char *text = picture_of(l, done == 0 ? 1 : done);
	size_t next = KV_MIN(done + 1, (size_t)STEPS);

	if (strcmp(text, a->pictures[done]) != 0 &&
	    strcmp(text, a->pictures[next]) != 0) {
		fail_msg("killed in step %zu, read:\n%s\nbefore:\n%s\n"
			 "after:\n%s",
			 done, text, a->pictures[done], a->pictures[next]);
	}
	free(text);
	check_no_leftovers(l);
}

static void kill_everywhere(enum disk_fault fault)
{
	struct shared *s = share();
	struct album a;
	bool met = true;
	long at;

	album_fill(&a);
	for (at = 0; met; at++) {
		struct life l;

		memset(&l, 0, sizeof l);
		world_set_up(&l.w);
		met = live_in_child(&l, s, fault, at, 0, false);
		check_after_kill(&l, &a, s->done);
		world_tear_down(&l.w);
	}
	/* The sweep went through every step of a life. */
	assert_int_equal(s->done, STEPS);
	assert_true(at > 50);
	album_free(&a);
	(void)munmap(s, sizeof *s);
}

static void test_killed_before_each_write(void **state)
{
	(void)state;
	kill_everywhere(DISK_KILL);
}

static void test_killed_within_each_write(void **state)
{
	(void)state;
	kill_everywhere(DISK_KILL_HALF);
}

/* ---- a power cut */

/* What the plug takes with it; what was synced stays. */
enum { LOSE_FILE = 1, LOSE_WAL = 2 };

/* Brings `name` back as `copy` has it; without one it is not there. */
static void bring_back(const char *name, const char *copy)
{
	if (access(copy, F_OK) == 0) {
		disk_copy(copy, name);
	} else {
		(void)unlink(name);
	}
}

/* The files as the killed process left them, or as they were synced. */
static void pull_the_plug(struct life *l, const char *suffix, bool lost)
{
	char name[300];
	char copy[320];

	(void)snprintf(name, sizeof name, "%s%s", l->w.path, suffix);
	(void)snprintf(copy, sizeof copy, "%s.%s", name,
		       lost ? "synced" : "left");
	bring_back(name, copy);
}

static void keep(struct life *l, const char *suffix)
{
	char name[300];
	char copy[320];

	(void)snprintf(name, sizeof name, "%s%s", l->w.path, suffix);
	(void)snprintf(copy, sizeof copy, "%s.left", name);
	bring_back(copy, name);
}

/* The state is one of those there have been: an older one is a normal start. */
static void check_after_cut(struct life *l, const struct album *a, size_t done)
{
	char *text = picture_of(l, 1);
	bool known = false;

	for (size_t i = 0; i <= done + 1 && i <= STEPS; i++) {
		known = known || strcmp(text, a->pictures[i]) == 0;
	}
	if (!known) {
		fail_msg("power cut in step %zu, read:\n%s", done, text);
	}
	free(text);
}

/* A file that was made and closed; what it was then is synced. */
static void make_synced(struct life *l)
{
	char synced[320];

	world_open(&l->w);
	world_close(&l->w);
	(void)snprintf(synced, sizeof synced, "%s.synced", l->w.path);
	disk_copy(l->w.path, synced);
}

static void cut(struct life *l, const struct album *a, size_t done,
		unsigned what)
{
	char shm[300];

	(void)snprintf(shm, sizeof shm, "%s-shm", l->w.path);
	(void)unlink(shm);
	pull_the_plug(l, "", (what & LOSE_FILE) != 0);
	pull_the_plug(l, "-wal", (what & LOSE_WAL) != 0);
	check_after_cut(l, a, done);
	world_close(&l->w);
}

static void test_power_cut(void **state)
{
	struct shared *s = share();
	struct album a;
	bool met = true;

	(void)state;
	album_fill(&a);
	for (long at = 0; met; at++) {
		struct life l;

		memset(&l, 0, sizeof l);
		world_set_up(&l.w);
		make_synced(&l);
		met = live_in_child(&l, s, DISK_KILL, at, 0, true);
		keep(&l, "");
		keep(&l, "-wal");
		cut(&l, &a, s->done, LOSE_FILE | LOSE_WAL);
		cut(&l, &a, s->done, LOSE_WAL);
		cut(&l, &a, s->done, LOSE_FILE);
		world_tear_down(&l.w);
	}
	assert_int_equal(s->done, STEPS);
	album_free(&a);
	(void)munmap(s, sizeof *s);
}

/* ---- a write that fails */

/* What could not be made complete is not left on a full disk. */
static void check_nothing_new(struct life *l)
{
	char fresh[300];

	(void)snprintf(fresh, sizeof fresh, "%s-new", l->w.path);
	assert_int_equal(access(fresh, F_OK), -1);
}

/* A step that failed changed nothing, and works when it is done again. */
static void live_with_fault(struct life *l, struct disk *d,
			    const struct album *a, int want)
{
	for (size_t i = 0; i < STEPS; i++) {
		struct kv_err err = {0};
		char *text;
		int status = steps[i](l, &err);

		if (status == KV_OK) {
			continue;
		}
		assert_true(d->hit);
		if (status != want) {
			fail_msg("step %zu: %s: %s", i, kv_status_name(status),
				 err.text);
		}
		assert_int_equal(err.status, status);
		disk_disarm(d);
		if (l->w.st != NULL) {
			OK(&l->w, picture_try(l->w.st, &text, &l->w.err));
			/* Other stores: the switch is done, only the dropping
			 * of the old rows was cut short. */
			if (steps[i] != step_stores) {
				assert_string_equal(text, a->pictures[i]);
			}
			free(text);
		}
		check_nothing_new(l);
		OK(&l->w, steps[i](l, &l->w.err));
	}
}

static void fail_everywhere(enum disk_fault fault, int want)
{
	struct disk disk;
	struct album a;
	long at = 0;

	album_fill(&a);
	disk_insert(&disk);
	disk.hit = true;
	for (at = 0; disk.hit; at++) {
		struct life l;
		char *text;

		memset(&l, 0, sizeof l);
		world_set_up(&l.w);
		disk_arm(&disk, fault, at);
		live_with_fault(&l, &disk, &a, want);
		disk_disarm(&disk);
		text = picture_of(&l, STEPS);
		assert_string_equal(text, a.pictures[STEPS]);
		free(text);
		world_tear_down(&l.w);
	}
	assert_true(at > 50);
	disk_remove(&disk);
	album_free(&a);
}

static void test_no_space_at_each_write(void **state)
{
	(void)state;
	fail_everywhere(DISK_FULL, KV_NO_SPACE);
}

static void test_no_space_from_each_write_on(void **state)
{
	(void)state;
	fail_everywhere(DISK_FULL_ON, KV_NO_SPACE);
}

static void test_device_error_at_each_write(void **state)
{
	(void)state;
	fail_everywhere(DISK_ERROR, KV_BROKEN);
}

/* ---- full disks, really */

/* Puts keys until there is no room; how many commits were done. */
static uint64_t fill(struct world *w, uint64_t from)
{
	for (uint64_t i = from;; i++) {
		struct state_checkpoint cp = {.index = i};
		char reason[4000];
		char key[32];
		struct state_quarantined q = {.reason = reason};
		struct state_commit c = {.route = w->route,
					 .quarantine = &q,
					 .n_quarantine = 1,
					 .checkpoint = &cp};

		memset(reason, 'r', sizeof reason - 1);
		reason[sizeof reason - 1] = '\0';
		(void)snprintf(key, sizeof key, "/%llu", (unsigned long long)i);
		q.key = slice_str(key);
		kv_err_clear(&w->err);
		if (state_commit(w->st, &c, &w->err) != KV_OK) {
			return i;
		}
		if (i == from + 4000) {
			fail_msg("the disk does not get full");
		}
	}
}

static void check_filled(struct world *w, uint64_t last)
{
	struct state_checkpoint cp;
	struct state_list_counts counts;

	OK(w, state_checkpoint_load(w->st, w->route, &cp, &w->err));
	assert_int_equal(cp.index, last);
	OK(w, state_count_lists(w->st, w->route, &counts, &w->err));
	assert_int_equal(counts.quarantine, last);
}

static void test_file_size_limit(void **state)
{
	struct rlimit before;
	struct rlimit small;
	struct world w;
	uint64_t first;
	uint64_t more;

	(void)state;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 300 * 1024;
	world_begin(&w);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	first = fill(&w, 1);
	assert_int_equal(w.err.status, KV_NO_SPACE);
	assert_non_null(strstr(w.err.text, w.path));
	assert_true(first > 10);
	check_filled(&w, first - 1);
	/* Room again: the same handle goes on. */
	small.rlim_cur = 900 * 1024;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	more = fill(&w, first);
	assert_int_equal(w.err.status, KV_NO_SPACE);
	assert_true(more > first);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	check_filled(&w, more - 1);
	world_reopen(&w);
	check_filled(&w, more - 1);
	world_tear_down(&w);
}

static void fill_tmpfs(struct world *w)
{
	char stuffing[200];
	uint64_t first;
	int fd;

	world_open(w);
	(void)world_route(w, "a>b", "");
	first = fill(w, 1);
	assert_int_equal(w->err.status, KV_NO_SPACE);
	check_filled(w, first - 1);
	world_close(w);
	/* Not even a start fits: nothing is lost by trying. */
	(void)snprintf(stuffing, sizeof stuffing, "%s/stuffing", w->dir);
	fd = open(stuffing, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	while (write(fd, w, 1) == 1) {
	}
	(void)close(fd);
	if (state_open(w->path, 0, &w->st, &w->err) == KV_OK) {
		world_close(w); /* the log was already there */
	} else {
		assert_int_equal(w->err.status, KV_NO_SPACE);
	}
	assert_int_equal(unlink(stuffing), 0);
	world_open(w);
	check_filled(w, first - 1);
	world_close(w);
}

/* In a child with a mount table of its own, so that no mount can be left. */
static void test_full_tmpfs(void **state)
{
	struct world w;
	pid_t pid;
	int ws;

	(void)state;
	world_set_up(&w);
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) != 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		    mount("none", w.dir, "tmpfs", 0, "size=600k") != 0) {
			_exit(77);
		}
		fill_tmpfs(&w);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &ws, 0), pid);
	world_tear_down(&w);
	assert_true(WIFEXITED(ws));
	if (WEXITSTATUS(ws) == 77) {
		skip(); /* not root, or no mounts here */
	}
	assert_int_equal(WEXITSTATUS(ws), 0);
}

/* ---- killed at any instant, also within SQLite's shared memory */

enum { BATCH = 12 };

static void batch_rows(uint64_t i, char keys[BATCH][16],
		       struct state_row rows[BATCH],
		       struct state_intent its[BATCH])
{
	for (size_t k = 0; k < BATCH; k++) {
		(void)snprintf(keys[k], 16, "/%zu", k);
		rows[k] = world_row(keys[k], STATE_ROW_OWNED, i);
		its[k] = (struct state_intent){.key = rows[k].key,
					       .source_index = i};
	}
}

/* Batch after batch, each of the same keys: never returns. */
static void work(struct world *w, uint64_t i)
{
	for (;; i++) {
		char keys[BATCH][16];
		struct state_row rows[BATCH];
		struct state_row old[BATCH];
		struct state_intent its[BATCH];
		struct slice names[BATCH];
		struct state_checkpoint cp = {.index = i};
		struct state_commit c = {.route = w->route,
					 .rows = rows,
					 .n_rows = BATCH,
					 .n_close_intents = 1,
					 .checkpoint = &cp};
		int64_t id;

		batch_rows(i, keys, rows, its);
		for (size_t k = 0; k < BATCH; k++) {
			names[k] = rows[k].key;
		}
		c.close_intents = &id;
		if (state_begin(w->st, w->route, names, BATCH, old, its, BATCH,
				1, &id, NULL) != KV_OK ||
		    state_commit(w->st, &c, NULL) != KV_OK) {
			_exit(1);
		}
	}
}

/* Rows and checkpoint are of one batch; intents only of the one after it.
 * Closes what the killed one left open. */
static uint64_t check_work(struct world *w)
{
	struct state_checkpoint cp;
	struct state_commit c = {.route = w->route};
	struct state_intent *its;
	struct state_row *rows;
	int64_t *ids;
	size_t n;

	OK(w, state_checkpoint_load(w->st, w->route, &cp, &w->err));
	OK(w, state_ledger_page(w->st, w->route, slice_of(NULL, 0), 100,
				&w->arena, &rows, &n, &w->err));
	assert_int_equal(n, cp.index == 0 ? 0 : BATCH);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(rows[i].source_index, cp.index);
	}
	OK(w, state_intents_load(w->st, w->route, &w->arena, &its, &ids, &n,
				 &w->err));
	assert_true(n == 0 || n == BATCH);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(its[i].source_index, cp.index + 1);
	}
	c.close_intents = ids;
	c.n_close_intents = n == 0 ? 0 : 1;
	OK(w, state_commit(w->st, &c, &w->err));
	return cp.index;
}

static void test_killed_at_random(void **state)
{
	struct world w;
	uint64_t last = 0;
	unsigned seed = 1;

	(void)state;
	world_begin(&w);
	for (int round = 0; round < 40; round++) {
		pid_t pid;
		int ws;

		world_close(&w);
		pid = fork();
		if (pid == 0) {
			if (state_open(w.path, 0, &w.st, NULL) != KV_OK) {
				_exit(1);
			}
			work(&w, last + 1);
		}
		(void)usleep((unsigned)rand_r(&seed) % 40000);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &ws, 0), pid);
		assert_true(WIFSIGNALED(ws));
		world_open(&w);
		last = check_work(&w);
	}
	assert_true(last > 0);
	world_tear_down(&w);
}

/* ---- the size of the log */

static off_t wal_size(const struct world *w)
{
	char name[200];
	struct stat sb;

	(void)snprintf(name, sizeof name, "%s-wal", w->path);
	return stat(name, &sb) == 0 ? sb.st_size : 0;
}

/* Writes `n` MiB, over and over the same. */
static void write_mib(struct world *w, int n)
{
	enum { SIZE = 1 << 20 };
	char *reason = malloc(SIZE);
	struct state_quarantined q = {.key = slice_str("/q")};
	struct state_commit c = {
	    .route = w->route, .quarantine = &q, .n_quarantine = 1};

	assert_non_null(reason);
	reason[SIZE - 1] = '\0';
	q.reason = reason;
	for (int i = 0; i < n; i++) {
		/* SQLite does not write a page that stays as it is. */
		memset(reason, 'a' + i % 2, SIZE - 1);
		OK(w, state_commit(w->st, &c, &w->err));
	}
	free(reason);
}

static void test_wal_is_bounded(void **state)
{
	struct world w;
	sqlite3 *reader;

	(void)state;
	world_begin(&w);
	write_mib(&w, 60);
	assert_in_range(wal_size(&w), 1, 24 << 20);
	/* A reader that stays: the log must grow ... */
	assert_int_equal(sqlite3_open(w.path, &reader), SQLITE_OK);
	assert_int_equal(sqlite3_exec(reader,
				      "BEGIN; SELECT count(*) FROM route", NULL,
				      NULL, NULL),
			 SQLITE_OK);
	write_mib(&w, 80);
	assert_true(wal_size(&w) > 64 << 20);
	/* ... and shrinks when it has gone. */
	assert_int_equal(sqlite3_close(reader), SQLITE_OK);
	write_mib(&w, 20);
	assert_in_range(wal_size(&w), 1, 65 << 20);
	world_tear_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_killed_before_each_write),
	    cmocka_unit_test(test_killed_within_each_write),
	    cmocka_unit_test(test_power_cut),
	    cmocka_unit_test(test_no_space_at_each_write),
	    cmocka_unit_test(test_no_space_from_each_write_on),
	    cmocka_unit_test(test_device_error_at_each_write),
	    cmocka_unit_test(test_file_size_limit),
	    cmocka_unit_test(test_full_tmpfs),
	    cmocka_unit_test(test_killed_at_random),
	    cmocka_unit_test(test_wal_is_bounded),
	};

	return cmocka_run_group_tests_name("state_crash", tests, NULL, NULL);
}
