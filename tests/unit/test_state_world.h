/* test_state_world.h: what the tests of the state file share: a directory of
 * its own, calls that must succeed, rows made short, and a picture: all that a
 * state says, as one text that can be compared. */
#ifndef KV_TEST_STATE_WORLD_H
#define KV_TEST_STATE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "state/state.h"

/* Nobody pulls the real plug: real syncs would only take time. What is synced
 * and what is not, the disk of the tests knows (test_state_disk.h). */
int fsync(int fd)
{
	return fcntl(fd, F_GETFD) < 0 ? -1 : 0;
}

int fdatasync(int fd)
{
	return fsync(fd);
}

struct world {
	char dir[128];
	char path[160];
	struct state *st;
	int64_t route;
	struct arena arena;
	struct kv_err err; /* of the last call */
};

/* The call must succeed; else the test says what the error says. */
#define OK(w, call)                                                         \
	do {                                                                \
		kv_err_clear(&(w)->err);                                    \
		if ((call) != KV_OK) {                                      \
			fail_msg("%s: %s", kv_status_name((w)->err.status), \
				 (w)->err.text);                            \
		}                                                           \
	} while (0)

/* The call must fail with this code, and say so. */
#define FAILS(w, code, call)                             \
	do {                                             \
		kv_err_clear(&(w)->err);                 \
		assert_int_equal((call), code);          \
		assert_int_equal((w)->err.status, code); \
		assert_true((w)->err.text[0] != '\0');   \
	} while (0)

KV_UNUSED static int world_remove(const char *path, const struct stat *sb,
				  int type, struct FTW *ftw)
{
	(void)sb;
	(void)type;
	(void)ftw;
	return remove(path);
}

KV_UNUSED static void world_set_up(struct world *w)
{
	const char *tmp = getenv("TMPDIR");

	memset(w, 0, sizeof *w);
	(void)snprintf(w->dir, sizeof w->dir, "%s/kvmirror-state-XXXXXX",
		       tmp == NULL ? "/tmp" : tmp);
	assert_non_null(mkdtemp(w->dir));
	(void)snprintf(w->path, sizeof w->path, "%s/s.db", w->dir);
}

KV_UNUSED static void world_close(struct world *w)
{
	state_close(w->st);
	w->st = NULL;
}

KV_UNUSED static void world_tear_down(struct world *w)
{
	world_close(w);
	arena_free(&w->arena);
	(void)nftw(w->dir, world_remove, 8, FTW_DEPTH | FTW_PHYS);
}

KV_UNUSED static void world_open(struct world *w)
{
	OK(w, state_open(w->path, 0, &w->st, &w->err));
}

/* The one route most tests need. */
KV_UNUSED static enum state_match
world_route(struct world *w, const char *stores, const char *filters)
{
	struct state_fingerprint fp = {
	    .name = "main", .stores = stores, .filters = filters};
	enum state_match match;

	OK(w, state_route_open(w->st, &fp, &w->route, &match, &w->err));
	return match;
}

/* Opened, with a route. */
KV_UNUSED static void world_begin(struct world *w)
{
	world_set_up(w);
	world_open(w);
	assert_int_equal(world_route(w, "a>b", ""), STATE_ROUTE_NEW);
}

KV_UNUSED static void world_reopen(struct world *w)
{
	world_close(w);
	world_open(w);
}

KV_UNUSED static struct state_row
world_row(const char *key, enum state_row_kind kind, uint64_t index)
{
	struct state_row r = {
	    .key = slice_str(key),
	    .kind = kind,
	    .source_index = index,
	    .version_a = index * 10,
	    .version_b = index / 3,
	    .hash = kv_hash(slice_str(key)),
	};

	return r;
}

KV_UNUSED static bool world_row_eq(const struct state_row *a,
				   const struct state_row *b)
{
	return slice_eq(a->key, b->key) && a->kind == b->kind &&
	       a->source_index == b->source_index &&
	       a->version_a == b->version_a && a->version_b == b->version_b &&
	       kv_hash_eq(&a->hash, &b->hash);
}

KV_UNUSED static void world_put(struct world *w, const struct state_row *rows,
				size_t n)
{
	struct state_commit c = {.route = w->route, .rows = rows, .n_rows = n};

	OK(w, state_commit(w->st, &c, &w->err));
}

/* A plain connection to the file, as a person would use. */
KV_UNUSED static void world_sql(const char *path, const char *sql)
{
	sqlite3 *db;
	char *message = NULL;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK) {
		fail_msg("%s: %s", sql, message);
	}
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* ---- a picture */

struct picture {
	char *text;
	size_t n, cap;
};

KV_UNUSED KV_PRINTF(2, 3) static void say(struct picture *p, const char *fmt,
					  ...)
{
	va_list args;
	int n;

	if (p->cap - p->n < 2048) {
		p->cap = p->cap * 2 + 4096;
		p->text = realloc(p->text, p->cap);
		assert_non_null(p->text);
	}
	va_start(args, fmt);
	n = vsnprintf(p->text + p->n, p->cap - p->n, fmt, args);
	va_end(args);
	assert_in_range(n, 0, p->cap - p->n - 1);
	p->n += (size_t)n;
}

KV_UNUSED static void say_bytes(struct picture *p, const char *what,
				struct slice s)
{
	char text[SLICE_PRINT_MAX];

	say(p, " %s=%s", what, slice_print(s, text, sizeof text));
}

KV_UNUSED static void say_hash(struct picture *p, const struct kv_hash *h)
{
	char hex[KV_HASH_HEX_MAX];

	say(p, " %s", kv_hash_hex(h, hex));
}

KV_UNUSED static void say_checkpoint(struct picture *p,
				     const struct state_checkpoint *cp)
{
	say(p, " checkpoint %" PRIu64 " %d '%s' '%s' %" PRIu64 " %" PRIu64,
	    cp->index, cp->complete, cp->source_identity, cp->target_identity,
	    cp->source_index, cp->target_index);
	say(p, " fuse %" PRIu64 " %" PRIu64, cp->fuse_since_ms,
	    cp->fuse_deletes);
#define X(name, help) say(p, " " #name "=%" PRIu64, cp->counters.name);
	STATE_COUNTER_MAP(X)
#undef X
	say(p, "\n");
}

KV_UNUSED static int say_ledger(struct picture *p, struct state *st,
				int64_t route, struct arena *a,
				struct kv_err *err)
{
	struct slice after = {NULL, 0};
	struct state_row *rows;
	size_t n = 3;
	int status;

	while (n == 3) {
		status =
		    state_ledger_page(st, route, after, 3, a, &rows, &n, err);
		if (status != KV_OK) {
			return status;
		}
		for (size_t i = 0; i < n; i++) {
			say_bytes(p, "row", rows[i].key);
			say(p, " %d %" PRIu64 " %" PRIu64 " %" PRIu64,
			    (int)rows[i].kind, rows[i].source_index,
			    rows[i].version_a, rows[i].version_b);
			say_hash(p, &rows[i].hash);
			say(p, "\n");
			after = rows[i].key;
		}
	}
	return KV_OK;
}

KV_UNUSED static int say_intents(struct picture *p, struct state *st,
				 int64_t route, struct arena *a,
				 struct kv_err *err)
{
	struct state_intent *intents;
	int64_t *ids;
	size_t n;
	int status = state_intents_load(st, route, a, &intents, &ids, &n, err);

	for (size_t i = 0; status == KV_OK && i < n; i++) {
		say_bytes(p, "intent", intents[i].key);
		say(p, " %" PRId64 " %d %" PRIu64, ids[i], intents[i].is_delete,
		    intents[i].source_index);
		say_hash(p, &intents[i].hash);
		say(p, "\n");
	}
	return status;
}

KV_UNUSED static int say_conflicts(struct picture *p, struct state *st,
				   int64_t route, struct arena *a,
				   struct kv_err *err)
{
	struct state_conflict *rows;
	int64_t *seqs;
	size_t n;
	int status =
	    state_conflict_page(st, route, 0, 1000, a, &rows, &seqs, &n, err);

	for (size_t i = 0; status == KV_OK && i < n; i++) {
		say_bytes(p, "conflict", rows[i].key);
		say(p, " %" PRId64 " %" PRIu64 " %d %d %" PRIu64 " %s", seqs[i],
		    rows[i].wall_ms, rows[i].has_source, rows[i].has_target,
		    rows[i].source_index, rows[i].decision);
		say_hash(p, &rows[i].source_hash);
		say_hash(p, &rows[i].target_hash);
		say(p, "\n");
	}
	return status;
}

KV_UNUSED static int say_lists(struct picture *p, struct state *st,
			       int64_t route, struct arena *a,
			       struct kv_err *err)
{
	struct slice none = {NULL, 0};
	struct state_quarantined *rows;
	struct slice *keys;
	size_t n;
	int status =
	    state_quarantine_page(st, route, none, 1000, a, &rows, &n, err);

	for (size_t i = 0; status == KV_OK && i < n; i++) {
		say_bytes(p, "quarantined", rows[i].key);
		say(p, " %s %" PRIu64 " %" PRIu64 " %d\n", rows[i].reason,
		    rows[i].source_index, rows[i].wall_ms, rows[i].stale);
	}
	if (status == KV_OK) {
		status = state_foreign_page(st, route, none, 1000, a, &keys, &n,
					    err);
	}
	for (size_t i = 0; status == KV_OK && i < n; i++) {
		say_bytes(p, "foreign", keys[i]);
		say(p, "\n");
	}
	return status;
}

KV_UNUSED static int say_newest(struct picture *p, struct state *st,
				int64_t route, struct arena *a,
				struct kv_err *err)
{
	struct state_row *rows;
	size_t n;
	int status = state_ledger_newest(st, route, 5, a, &rows, &n, err);

	for (size_t i = 0; status == KV_OK && i < n; i++) {
		say(p, " newest=%" PRIu64, rows[i].source_index);
	}
	say(p, "\n");
	return status;
}

KV_UNUSED static int say_route(struct picture *p, struct state *st,
			       const struct state_summary *s, struct arena *a,
			       struct kv_err *err)
{
	struct state_list_counts counts;
	int status = state_count_lists(st, s->route, &counts, err);

	say(p,
	    "route %s keys=%" PRIu64 " quarantine=%" PRIu64 " foreign=%" PRIu64
	    " intents=%" PRIu64 " yielded=%" PRIu64 " phase=%s held=%s"
	    " error=%s seen=%" PRIu64 " applied=%" PRIu64 "\n",
	    s->name, s->keys, s->quarantine, s->foreign, s->intents,
	    counts.yielded, s->live.phase, s->live.held, s->live.error,
	    s->live.seen, s->live.applied);
	say_checkpoint(p, &s->checkpoint);
	status = status != KV_OK ? status : say_ledger(p, st, s->route, a, err);
	status =
	    status != KV_OK ? status : say_intents(p, st, s->route, a, err);
	status =
	    status != KV_OK ? status : say_conflicts(p, st, s->route, a, err);
	status = status != KV_OK ? status : say_lists(p, st, s->route, a, err);
	return status != KV_OK ? status : say_newest(p, st, s->route, a, err);
}

/* All that the state says; an error in place of it. free() the text. */
KV_UNUSED static int picture_try(struct state *st, char **text,
				 struct kv_err *err)
{
	struct picture p = {0};
	struct state_summary *routes;
	struct arena a;
	size_t n = 0;
	int status;

	arena_init(&a);
	say(&p, "%s", "");
	status = state_summaries(st, &a, &routes, &n, err);
	for (size_t i = 0; status == KV_OK && i < n; i++) {
		status = say_route(&p, st, &routes[i], &a, err);
	}
	arena_free(&a);
	*text = p.text;
	return status;
}

KV_UNUSED static char *world_picture(struct world *w)
{
	char *text;

	OK(w, picture_try(w->st, &text, &w->err));
	return text;
}

#endif /* KV_TEST_STATE_WORLD_H */
