/* state.h: the SQLite file that survives a restart: per route the checkpoint,
 * the ledger, open intents, conflicts, quarantine, foreign keys.
 *
 * All functions block and belong to one thread at a time (the agent calls them
 * from its state worker only). Every function that changes something is one
 * SQLite transaction: a kill leaves all of it or nothing. WAL, synchronous
 * NORMAL: a power cut leaves an older state, which is a normal start.
 *
 * Return values are KV_ codes: KV_NO_SPACE (disk full), KV_DENIED (no
 * permission, read-only), KV_BROKEN (damaged, or written by a newer kvmirror),
 * KV_CANNOT_LOCK (another agent has it open), KV_NO_MEMORY; err says which
 * file and what to do.
 */
#ifndef KV_STATE_H
#define KV_STATE_H

#include "store/base/hash.h"
#include "store/base/slice.h"
#include "store/base/status.h"

struct state;

enum {
	STATE_READ = 1,	  /* read only, beside a running agent; takes no lock */
	STATE_MEMORY = 2, /* in memory, for tests; path is ignored */
};

/* Opens or creates the file (and its folder, mode 0700) and brings an older
 * schema up to date. Without STATE_READ one process at a time may hold it
 * (flock on FILE-lock; KV_CANNOT_LOCK names the other's pid).
 * STATE_READ on a missing file: KV_KEY_NOT_FOUND; on one with an older schema:
 * KV_BROKEN, as only a writer may bring it up to date. A reader whose folder
 * cannot be written reads on where SQLite can: beside an agent, or a file
 * without a WAL.
 * A file of up to 8 MiB is checked as a whole when it is opened to be written;
 * in a larger one damage is met when it is read. */
int state_open(const char *path, unsigned flags, struct state **out,
	       struct kv_err *err) KV_MUSTCHECK;
void state_close(struct state *st);

/* The whole database as bytes (also of a file), and one in memory from bytes
 * (an older schema is brought up to date): the simulation's crash, and its
 * older copy. New block, kv_free. */
int state_dump(struct state *st, uint8_t **bytes, size_t *n,
	       struct kv_err *err) KV_MUSTCHECK;
int state_from_dump(const uint8_t *bytes, size_t n, struct state **out,
		    struct kv_err *err) KV_MUSTCHECK;

/* ---- routes and checkpoints
 * --------------------------------------------------*/

/* What a route is, as text; compared byte by byte with what was saved. */
struct state_fingerprint {
	const char *name;
	const char *stores;  /* source, target, prefixes, escape */
	const char *filters; /* include and exclude */
	/* Do two texts of stores mean the same? NULL: when they are equal. */
	bool (*same_stores)(struct slice saved, struct slice now);
};

enum state_match {
	STATE_ROUTE_NEW,
	STATE_ROUTE_SAME,
	STATE_ROUTE_FILTERS, /* other filters: ledger kept; the checkpoint is
				no longer `complete` from here on */
	STATE_ROUTE_STORES   /* other stores: all that was saved is dropped */
};

/* Finds or makes the route's row and saves the fingerprint. */
int state_route_open(struct state *st, const struct state_fingerprint *fp,
		     int64_t *route, enum state_match *match,
		     struct kv_err *err) KV_MUSTCHECK;

#define STATE_IDENTITY_MAX 64
#define STATE_FUSE_OLDER 6

/* Counters that are kept for ever; X(name, help). */
#define STATE_COUNTER_MAP(X)                                                 \
	X(puts, "keys put at the target")                                    \
	X(deletes, "keys deleted at the target")                             \
	X(adopted, "equal keys taken into the ledger without a write")       \
	X(conflicts, "conflicts met")                                        \
	X(splits, "batches split because a guard failed or a limit was met") \
	X(torn, "source transactions that did not fit into one write")       \
	X(unknown, "writes whose outcome had to be read")                    \
	X(reconciles, "seeds and reconciles finished")                       \
	X(released, "ledger keys let go because a filter changed")           \
	X(repaired, "keys of ours changed at the target and put back")

struct state_counters {
#define X(name, help) uint64_t name;
	STATE_COUNTER_MAP(X)
#undef X
};

struct state_checkpoint {
	/* Everything up to here is in the target; 0: no seed finished yet. */
	uint64_t index;
	/* The last reconcile finished; false makes the next start one. */
	bool complete;
	/* With `complete`: ledger and lists have every key that the source had
	 * as of `index`. Not so after a scan whose pages stood for several
	 * indexes, nor while rows are gone that spoke of a later one. */
	bool exact;
	char source_identity[STATE_IDENTITY_MAX];
	char target_identity[STATE_IDENTITY_MAX];
	uint64_t source_index; /* greatest index seen of each side */
	uint64_t target_index;
	/* The delete fuse's hour: inferred deletes that were applied since
	 * then, and in the slots of time before, the youngest first. */
	uint64_t fuse_since_ms;
	uint64_t fuse_deletes;
	uint64_t fuse_older[STATE_FUSE_OLDER];
	struct state_counters counters;
};

/* A zeroed checkpoint when none was saved. */
int state_checkpoint_load(struct state *st, int64_t route,
			  struct state_checkpoint *cp,
			  struct kv_err *err) KV_MUSTCHECK;

/* ---- the ledger -----------------------------------------------------------*/

enum state_row_kind {
	STATE_ROW_NONE = 0,    /* (results only) no such row */
	STATE_ROW_OWNED = 1,   /* we wrote or adopted it */
	STATE_ROW_GONE = 2,    /* tombstone: seen deleted at source_index */
	STATE_ROW_YIELDED = 3, /* the target won; left alone until equal */
	STATE_ROW_STALE = 4    /* owned, but what the source did since is not
				  carried (too large, or a delete under --delete
				  never): the target holds an older value */
};

struct state_row {
	struct slice key; /* the target's key, relative */
	enum state_row_kind kind;
	uint64_t source_index; /* of the change the target shows; beyond 63
				  bits it is refused (KV_BAD_ARGUMENT) */
	uint64_t version_a;    /* the target's version */
	uint64_t version_b;
	struct kv_hash hash; /* of the value at the target */
};

/* A page of rows in ascending bytewise key order after `after` (empty: from the
 * start), all kinds. Rows and keys are in the arena. *n < limit: the end.
 * KV_BROKEN at the end of a walk from the start (commits between its pages are
 * allowed for) that did not see as many rows as there must be. */
int state_ledger_page(struct state *st, int64_t route, struct slice after,
		      size_t limit, struct arena *arena,
		      struct state_row **rows, size_t *n,
		      struct kv_err *err) KV_MUSTCHECK;

/* rows[i] for keys[i] (any order); kind NONE where there is no row. rows[i].key
 * is keys[i]. */
int state_ledger_get(struct state *st, int64_t route, const struct slice *keys,
		     size_t n, struct state_row *rows,
		     struct kv_err *err) KV_MUSTCHECK;

/* Up to n OWNED rows with the greatest source_index, the greatest first: the
 * keys whose versions tell whether a history is still the same. Fast for n up
 * to some 30 (a list that commits keep); else, and when deletes used that list
 * up, the ledger is read once. */
int state_ledger_newest(struct state *st, int64_t route, size_t n,
			struct arena *arena, struct state_row **rows,
			size_t *found, struct kv_err *err) KV_MUSTCHECK;

/* Number of OWNED, YIELDED and STALE rows. */
int state_ledger_count(struct state *st, int64_t route, uint64_t *n,
		       struct kv_err *err) KV_MUSTCHECK;

/* How many entries the lists of a route have now. */
struct state_list_counts {
	uint64_t quarantine;
	uint64_t foreign;
	uint64_t yielded; /* ledger rows of kind YIELDED */
};
int state_count_lists(struct state *st, int64_t route,
		      struct state_list_counts *counts,
		      struct kv_err *err) KV_MUSTCHECK;

/* ---- intents
 * ---------------------------------------------------------------*/

/* What a batch is about to do to one key. */
struct state_intent {
	struct slice key;
	bool is_delete;
	uint64_t source_index;
	struct kv_hash hash; /* of the new value; zero for a delete */
	/* The put is guarded by the version of a key that is there: it cannot
	 * land where the key has gone. Else it may be guarded by absence. */
	bool versioned;
	/* state_begin: not NULL, one of its rows: `versioned` is what that row
	 * makes of it, as soon as it was read. */
	const struct state_row *by_row;
};

bool state_intent_is_versioned(const struct state_intent *intent);

/* In one transaction: reads the rows of `keys` (as state_ledger_get) and saves
 * an intent for the batch (all of them in one packed row). n_intents may be 0:
 * then *intent_id is 0. */
int state_begin(struct state *st, int64_t route, const struct slice *keys,
		size_t n, struct state_row *rows,
		const struct state_intent *intents, size_t n_intents,
		uint64_t wall_ms, int64_t *intent_id,
		struct kv_err *err) KV_MUSTCHECK;

/* All open intents of a route, oldest batch first; ids[i] is the batch of
 * intents[i]. In the arena. */
int state_intents_load(struct state *st, int64_t route, struct arena *arena,
		       struct state_intent **intents, int64_t **ids, size_t *n,
		       struct kv_err *err) KV_MUSTCHECK;

/* ---- results
 * -----------------------------------------------------------------*/

struct state_conflict {
	struct slice key;
	uint64_t wall_ms;
	bool has_source, has_target;
	struct kv_hash source_hash, target_hash;
	uint64_t source_index;
	const char *decision; /* "source wins", "target wins", "stopped" */
};

struct state_quarantined {
	struct slice key; /* the source's key, relative */
	const char *reason;
	uint64_t source_index;
	uint64_t wall_ms;
	bool stale; /* the target still holds an older value of it */
};

/* Everything that one finished batch (or one step of a reconcile) changes, in
 * one transaction. Zero-fill it; what stays NULL/0 is left alone. */
struct state_commit {
	int64_t route;
	const struct state_row *rows; /* put; rows of kind NONE are dropped */
	size_t n_rows;
	/* Rows of another route, likewise: what the same writes mean for the
	 * route of the other direction. */
	int64_t twin;
	const struct state_row *twin_rows;
	size_t n_twin_rows;
	const int64_t *close_intents;
	size_t n_close_intents;
	const struct state_conflict *conflicts; /* appended to the journal,
						   which keeps the newest
						   STATE_JOURNAL_MAX a route */
	size_t n_conflicts;
	const struct state_quarantined *quarantine; /* put */
	size_t n_quarantine;
	const struct slice *unquarantine; /* dropped when there */
	size_t n_unquarantine;
	const struct slice *foreign; /* added to the list of foreign keys */
	size_t n_foreign;
	const struct slice *unforeign; /* dropped when there */
	size_t n_unforeign;
	bool clear_foreign;    /* empties the list first (a reconcile starts) */
	bool clear_quarantine; /* likewise */
	uint64_t
	    purge_tombstones; /* drop GONE rows with source_index <= this */
	const struct state_checkpoint *checkpoint; /* saved */
};
#define STATE_JOURNAL_MAX 100000

int state_commit(struct state *st, const struct state_commit *c,
		 struct kv_err *err) KV_MUSTCHECK;

/* ---- dirty keys: changes drained while a scan runs
 * ------------------------------ A temporary table (file-backed by SQLite when
 * large), gone at close: the newest change of each key. */

struct state_dirty {
	struct slice key; /* the target's key */
	struct slice source_key;
	struct slice value;
	struct slice attrs; /* what the backend keeps beside the value */
	uint64_t index;
	bool is_delete;
	bool inferred;
	bool unreadable; /* the source does not say what it holds */
};

int state_dirty_put(struct state *st, int64_t route,
		    const struct state_dirty *d, size_t n,
		    struct kv_err *err) KV_MUSTCHECK;
/* The first rows by (index, key), at most `limit` and about `max_bytes`
 * (at least one). */
int state_dirty_page(struct state *st, int64_t route, size_t limit,
		     size_t max_bytes, struct arena *arena,
		     struct state_dirty **rows, size_t *n,
		     struct kv_err *err) KV_MUSTCHECK;
/* Drops a key's row if its index is still <= the given one. */
int state_dirty_drop(struct state *st, int64_t route,
		     const struct state_dirty *d, size_t n,
		     struct kv_err *err) KV_MUSTCHECK;
int state_dirty_clear(struct state *st, int64_t route,
		      struct kv_err *err) KV_MUSTCHECK;

/* ---- pairs in another order: a source whose mapped keys do not ascend
 * --------- A temporary table, like that of the dirty keys. */

struct state_sorted {
	struct slice key; /* the order: ascending bytewise */
	struct slice source_key;
	struct slice value;
	struct slice attrs;
	uint64_t index;
	bool unreadable; /* the source does not say what it holds */
};

int state_sort_put(struct state *st, int64_t route,
		   const struct state_sorted *rows, size_t n,
		   struct kv_err *err) KV_MUSTCHECK;
/* Rows after the key `after` (empty: from the start), at most `limit` and about
 * `max_bytes` (at least one); in the arena. *n == 0: the end. */
int state_sort_page(struct state *st, int64_t route, struct slice after,
		    size_t limit, size_t max_bytes, struct arena *arena,
		    struct state_sorted **rows, size_t *n,
		    struct kv_err *err) KV_MUSTCHECK;
int state_sort_clear(struct state *st, int64_t route,
		     struct kv_err *err) KV_MUSTCHECK;

/* ---- what `status` shows
 * ----------------------------------------------------*/

/* What a running agent last said of a route. */
struct state_live {
	char phase[24]; /* "" : never ran */
	uint64_t seen;
	uint64_t applied;
	char held[KV_ERR_TEXT_MAX];  /* reason, or "" */
	char error[KV_ERR_TEXT_MAX]; /* the last trouble, or "" */
	uint64_t wall_ms;
	uint64_t lag_ms; /* age of the oldest change not yet applied */
};

int state_live_save(struct state *st, int64_t route,
		    const struct state_live *live,
		    struct kv_err *err) KV_MUSTCHECK;

struct state_summary {
	int64_t route;
	char *name;   /* in the arena */
	char *stores; /* of its fingerprint; in the arena */
	struct state_live live;
	struct state_checkpoint checkpoint; /* .index is "saved" */
	uint64_t keys, quarantine, foreign, intents;
};

/* All routes of the file, by name. */
int state_summaries(struct state *st, struct arena *arena,
		    struct state_summary **routes, size_t *n,
		    struct kv_err *err) KV_MUSTCHECK;
/* Is an agent holding the file now? (by its lock) */
int state_is_held(const char *path, bool *held,
		  struct kv_err *err) KV_MUSTCHECK;

/* Pages of the lists. `after` is the last key (journal: last seq) of the page
 * before; *n < limit: the end. */
int state_quarantine_page(struct state *st, int64_t route, struct slice after,
			  size_t limit, struct arena *arena,
			  struct state_quarantined **rows, size_t *n,
			  struct kv_err *err) KV_MUSTCHECK;
int state_foreign_page(struct state *st, int64_t route, struct slice after,
		       size_t limit, struct arena *arena, struct slice **keys,
		       size_t *n, struct kv_err *err) KV_MUSTCHECK;
int state_conflict_page(struct state *st, int64_t route, int64_t after_seq,
			size_t limit, struct arena *arena,
			struct state_conflict **rows, int64_t **seqs, size_t *n,
			struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_STATE_H */
