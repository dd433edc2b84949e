/* fake_world.h: a server's whole history, which outlives whoever talks to it.
 *
 *   source's writer, foreign writer --> transactions --> keys' revisions
 *   compaction, wipe, restore ------------------------------^
 *   fake_store (scan, changes, write) reads and writes it
 *
 * Every key keeps all its revisions for ever (the checks need them); what a
 * client may still read is bounded by `compacted` and by the era: a wipe or a
 * restore begins a new one, in which each key has one revision that stands for
 * where it starts from.
 */
#ifndef FAKE_WORLD_H
#define FAKE_WORLD_H

#include "sim_mem.h"
#include "sim_rand.h"
#include "sim_region.h"
#include "sim_sched.h"
#include "store/store.h"

enum fake_writer {
	FAKE_NOBODY,  /* the start of an era */
	FAKE_OWNER,   /* the source's own writer */
	FAKE_FOREIGN, /* somebody else at the target */
	FAKE_AGENT
};

struct fake_rev {
	uint64_t index;
	struct store_version version;
	uint64_t created; /* index of the put that made the key */
	uint32_t era;
	bool present;
	bool start;	    /* stands for the state at the start of its era */
	uint8_t writer;	    /* of the value */
	struct slice value; /* whole: see fake_split */
};

struct fake_key {
	struct slice key;
	struct fake_rev *revs; /* oldest first, never empty */
	size_t n, cap;
};

/* A change of a transaction: the key's revision number `rev`. */
struct fake_event {
	struct fake_key *key;
	size_t rev;
};

struct fake_tx {
	uint64_t index;
	uint32_t era;
	struct fake_event *events; /* n == 0: outside the tree */
	size_t n, cap;
};

/* What kind of server it is. */
struct fake_kind {
	struct store_caps caps;
	bool at;	    /* serves scans at an old index */
	bool czxid;	    /* versions as ZooKeeper's, else as etcd's */
	bool watch_buffers; /* compaction does not touch an open watch */
	bool silent;	    /* no progress is told that nobody wants */
	unsigned latency;   /* up to so many ms a way */
};

/* Chances in 1000 of what goes wrong with a request. */
struct fake_faults {
	unsigned cut;	      /* the connection breaks */
	unsigned unreachable; /* the request never leaves */
	unsigned lost_write;  /* no answer; see fake_fate */
	unsigned timed_out;   /* not done, and known not to be */
	unsigned refused;     /* at submission */
};

/* Counted over all seeds, so that a run shows what it exercised. X(name). */
#define FAKE_COUNT_MAP(X)    \
	X(scans)             \
	X(scans_at)          \
	X(scans_of_keys)     \
	X(pages_lost)        \
	X(pages_mixed)       \
	X(writes)            \
	X(ops_put)           \
	X(attrs_put)         \
	X(ops_deleted)       \
	X(guards_failed)     \
	X(batches)           \
	X(progress_marks)    \
	X(partial_batches)   \
	X(relists)           \
	X(known_complete)    \
	X(inferred_deletes)  \
	X(history_lost)      \
	X(cuts)              \
	X(unreachable)       \
	X(refused)           \
	X(timed_out)         \
	X(denied)            \
	X(no_space)          \
	X(stale_epoch)       \
	X(canceled)          \
	X(unknown_done)      \
	X(unknown_never)     \
	X(unknown_later)     \
	X(landed_late)       \
	X(late_guard_failed) \
	X(compactions)       \
	X(wipes)             \
	X(restores)          \
	X(overtaken)         \
	X(same_identity)     \
	X(early_answers)     \
	X(planted)

struct fake_counts {
#define X(name) uint64_t name;
	FAKE_COUNT_MAP(X)
#undef X
};

/* Bugs that are planted on purpose, to see that they are found. */
enum fake_plant {
	PLANT_NONE,
	PLANT_LOST_EVENT,      /* the watch drops a change */
	PLANT_NO_GUARD,	       /* writes leave without their guards */
	PLANT_LOST_ATTRS,      /* writes leave without attrs */
	PLANT_EARLY_CHECKPOINT /* saved before the write (see sim_wrap.c) */
};

/* What becomes of a write whose client hears nothing. */
enum fake_fate { FATE_DRAWN, FATE_NEVER, FATE_DONE, FATE_LATER };

struct fake_world {
	const char *name; /* "source", "target" */
	struct sim_sched *sched;
	struct sim_rand rand; /* what happens to requests */
	struct region *region;
	struct sim_mem *mem; /* NULL: it never fails anyway */
	struct fake_kind kind;
	struct fake_faults faults;
	struct fake_counts *counts;
	enum fake_plant plant;
	enum fake_fate fate;
	bool shuffle; /* pages come out of order */

	char identity[STORE_IDENTITY_MAX];
	uint32_t era;
	bool era_unseen; /* the agent has not asked since the era began */
	uint64_t index;
	uint64_t born;		/* index at which the era began */
	uint64_t compacted;	/* states before this index are gone */
	struct fake_key **keys; /* ascending */
	size_t n_keys, cap_keys;
	struct fake_tx *txs; /* oldest first, all eras */
	size_t n_txs, cap_txs;
	bool in_tx;
	bool late; /* what lands now has no client any more */

	uint64_t outage_until_ms;
	uint64_t no_space_until_ms;
	uint64_t denied_until_ms;
	struct list stores;	 /* open fake stores */
	struct list late_writes; /* that may still land */

	/* Told of each operation of the agent that took effect. */
	void (*applied)(struct fake_world *w, struct fake_key *key,
			const struct store_op *op, void *ctx);
	void *ctx;
	void (*trace)(void *ctx, const char *fmt, ...) KV_PRINTF(2, 3);
};

void fake_world_init(struct fake_world *w, const char *name,
		     struct sim_sched *s, struct region *region);

/* ---- reading what is true
 * --------------------------------------------------*/

struct fake_key *fake_find(const struct fake_world *w, struct slice key);
/* The revision that is true now; never NULL. */
const struct fake_rev *fake_now(const struct fake_key *key);
/* The one that was true at that index of the present era; NULL: absent. */
const struct fake_rev *fake_at(const struct fake_world *w,
			       const struct fake_key *key, uint64_t index);

/* A value with attrs is kept as one: the value, FAKE_ATTRS, the attrs. Where
 * there is no FAKE_ATTRS in it, it has none. */
#define FAKE_ATTRS '~'
void fake_split(struct slice whole, struct slice *value, struct slice *attrs);

/* ---- changing it ------------------------------------------------------------
 * Changes stand between begin and end: they are one transaction with one new
 * index. */

void fake_begin(struct fake_world *w);
void fake_put(struct fake_world *w, struct slice key, struct slice value,
	      enum fake_writer writer);
/* Nothing when the key is not there. */
void fake_delete(struct fake_world *w, struct slice key,
		 enum fake_writer writer);
/* Tells the watches. */
void fake_end(struct fake_world *w);

/* States before `index` can no longer be read. */
void fake_compact(struct fake_world *w, uint64_t index);

/* Begins a new era from the state at `index` (0: empty); the present index goes
 * back to it. Connections break, late writes are dead. */
void fake_restore(struct fake_world *w, uint64_t index, bool new_identity);

/* Breaks all connections. */
void fake_cut(struct fake_world *w);

/* The agent crashed: its connections are gone, what it had sent may still be
 * done, and nothing of its memory is touched any more. */
void fake_forget_agent(struct fake_world *w);

/* Lets every write that is under way at the server land or die now. */
void fake_settle(struct fake_world *w);

#define FAKE_TRACE(w, ...)                                 \
	do {                                               \
		if ((w)->trace != NULL) {                  \
			(w)->trace((w)->ctx, __VA_ARGS__); \
		}                                          \
	} while (0)

#endif /* FAKE_WORLD_H */
