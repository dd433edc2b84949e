/* state_int.h: what the files of state/ share.
 *
 *   state.c    open, close          file.c     folder, lock, header, new file
 *   schema.c   tables, migration    sql.c      statements, errors
 *   routes.c   fingerprints         progress.c checkpoints, counts, status
 *   ledger.c   rows                 newest.c   the newest rows, without index
 *   intents.c  begin                commit.c   results, in one transaction
 *   walk.c     are all rows there?  memory.c   what is kept between calls
 *   lists.c    pages of the lists   dirty.c    changes during a scan
 *   dump.c     the file as bytes    pack.c     numbers in a blob, sums
 */
#ifndef KV_STATE_INT_H
#define KV_STATE_INT_H

#include "state/sql.h"

struct memory;

struct state {
	sqlite3 *db;
	char *path; /* for messages too; "(memory)" */
	unsigned flags;
	int lock_fd; /* -1: none */
	int errnum;  /* the system's, of the last call of SQLite */
	bool in_tx;
	bool dirty_ready;  /* the temporary table is there */
	bool sort_ready;   /* likewise */
	bool in_begin;	   /* a change waits for this commit */
	int64_t intent_id; /* the last one given */
	int checkpoint_at; /* frames in the WAL that start a checkpoint */
	struct memory **memories; /* one a route that was used */
	size_t n_memories;
	size_t cap_memories;
	sqlite3_stmt *stmts[SQL_COUNT]; /* prepared when first used */
};

/* ---- file.c */

enum file_kind {
	FILE_MISSING, /* or empty */
	FILE_OURS,
};

/* Creates the missing folders above `path`. */
int file_folder(const char *path, struct kv_err *err) KV_MUSTCHECK;
/* Takes PATH-lock; *fd is held until it is closed. */
int file_lock(const char *path, int *fd, struct kv_err *err) KV_MUSTCHECK;
/* Looks at the first bytes, so that a foreign file is not even opened by
 * SQLite (which might alter it). */
int file_look(const char *path, enum file_kind *kind,
	      struct kv_err *err) KV_MUSTCHECK;
/* What a moved-away file left behind must not be played into a new one. */
int file_sweep(const char *path, struct kv_err *err) KV_MUSTCHECK;
/* Neither a WAL nor its index: nobody has it open, and it says everything. */
bool file_is_alone(const char *path);
/* path + suffix; NULL: no memory. */
char *file_beside(const char *path, const char *suffix) KV_MUSTCHECK;
/* Makes the empty file PATH-new, mode 0600; then moves it into place. */
int file_new(const char *fresh, struct kv_err *err) KV_MUSTCHECK;
int file_publish(const char *fresh, const char *path,
		 struct kv_err *err) KV_MUSTCHECK;
/* The KV_ code for an errno of the file system, with a text. */
int file_fail(const char *path, const char *what, int errnum,
	      struct kv_err *err);
int file_status(int errnum);

/* ---- schema.c */

#define SCHEMA_APPLICATION_ID 0x6b766d73 /* "kvms" */
#define SCHEMA_VERSION 3

/* Creates the tables, or brings older ones up to date: one transaction. */
int schema_migrate(struct state *st, struct kv_err *err) KV_MUSTCHECK;
/* Is it ours and of this version? For handles that may not change it. */
int state_schema_check(struct state *st, struct kv_err *err) KV_MUSTCHECK;

/* ---- dump.c */

int dump_load(struct state *st, const uint8_t *bytes, size_t n,
	      struct kv_err *err) KV_MUSTCHECK;

/* ---- routes.c */

/* Drops what is left of routes that got other stores, in small
 * transactions. */
int routes_sweep(struct state *st, struct kv_err *err) KV_MUSTCHECK;

/* ---- progress.c */

/* Counts per route, kept up to date by each commit; as differences too. */
struct tally {
	int64_t rows[STATE_ROW_STALE + 1]; /* by kind */
	int64_t quarantine;
	int64_t foreign;
	int64_t journal; /* the last sequence number given */
};

int tally_get(struct state *st, int64_t route, struct tally *t,
	      struct kv_err *err) KV_MUSTCHECK;
/* Adds differences; nothing is written when all are zero. */
int tally_add(struct state *st, int64_t route, struct tally *t,
	      struct kv_err *err) KV_MUSTCHECK;
int progress_add(struct state *st, int64_t route,
		 struct kv_err *err) KV_MUSTCHECK;
int checkpoint_save(struct state *st, int64_t route,
		    const struct state_checkpoint *cp,
		    struct kv_err *err) KV_MUSTCHECK;

/* ---- ledger.c */

/* Puts or drops rows and counts what that changed. */
int ledger_put(struct state *st, int64_t route, const struct state_row *rows,
	       size_t n, struct tally *t, struct kv_err *err) KV_MUSTCHECK;
int ledger_purge(struct state *st, int64_t route, uint64_t upto,
		 struct tally *t, struct kv_err *err) KV_MUSTCHECK;
/* Rows without a transaction of its own. */
int ledger_read(struct state *st, int64_t route, const struct slice *keys,
		size_t n, struct state_row *rows,
		struct kv_err *err) KV_MUSTCHECK;

/* All rows of a statement whose parameters are bound, into the arena; the key
 * is the column after those of the row. */
#define LEDGER_KEY_COLUMN 6
void ledger_rows(struct sql *q, int64_t route, struct arena *arena,
		 struct state_row **rows, size_t *n);

/* ---- newest.c */

#define NEWEST_MAX 32
/* Keys that are longer are not worth their bytes in each commit. */
#define NEWEST_KEY_MAX 512

struct newest_entry {
	uint64_t index;
	uint64_t key_sum;
	struct slice key; /* kv_free */
};

struct newest {
	bool loaded;
	bool changed;
	uint64_t low;
	size_t n;
	struct newest_entry entries[NEWEST_MAX];
};

/* Notes rows that are being put; the caller's transaction saves it. */
int newest_note(struct state *st, int64_t route, const struct state_row *rows,
		size_t n, struct kv_err *err) KV_MUSTCHECK;
void newest_clear(struct newest *l);

/* ---- walk.c */

struct walk {
	bool going;
	int64_t rows;  /* up to `last` */
	uint8_t *last; /* the last page's last key */
	size_t last_n;
};

/* A page after `after` was read; `end`: the last one. KV_BROKEN when rows are
 * missing. */
int walk_page(struct state *st, int64_t route, struct slice after,
	      const struct state_row *rows, size_t n, bool end,
	      struct kv_err *err) KV_MUSTCHECK;
/* A row came (1) or went (-1). */
void walk_change(struct walk *w, struct slice key, int rows);
void walk_clear(struct walk *w);

/* ---- memory.c */

struct memory {
	int64_t route;
	struct newest newest;
	struct walk walk;
};

/* NULL: no memory, and err says so. */
struct memory *memory_of(struct state *st, int64_t route,
			 struct kv_err *err) KV_MUSTCHECK;
/* After a rollback: it says more than the file. */
void memory_forget(struct state *st);
void memory_free(struct state *st);

/* ---- lists.c */

int conflicts_add(struct state *st, const struct state_commit *c,
		  struct tally *t, struct kv_err *err) KV_MUSTCHECK;
int quarantine_change(struct state *st, const struct state_commit *c,
		      struct tally *t, struct kv_err *err) KV_MUSTCHECK;
int foreign_change(struct state *st, const struct state_commit *c,
		   struct tally *t, struct kv_err *err) KV_MUSTCHECK;

/* ---- bytes and sums: pack.c */

/* Appends fixed-width little-endian numbers and bytes to a buffer that is
 * large enough; the checks of what is read back lie with unpack. */
struct pack {
	uint8_t *p;
	size_t n;
};
void pack_u32(struct pack *b, uint32_t v);
void pack_u64(struct pack *b, uint64_t v);
void pack_bytes(struct pack *b, const void *p, size_t n);

struct unpack {
	const uint8_t *p;
	size_t n;
	bool bad; /* asked for more than there was */
};
uint32_t unpack_u32(struct unpack *b);
uint64_t unpack_u64(struct unpack *b);
struct slice unpack_bytes(struct unpack *b, size_t n);

/* A sum that tells damage, as SQLite keeps none over its pages: 32 bits, as
 * it is stored. */
int64_t sum_of(struct slice bytes);
/* The same of a text or a key, to be packed into another sum. */
uint64_t sum_part(struct slice bytes);

/* Room for one more element in an array that grows in the arena, `limit` at
 * most; false: no memory. */
bool arena_room(struct arena *a, void **items, size_t *cap, size_t n,
		size_t size);

#endif /* KV_STATE_INT_H */
