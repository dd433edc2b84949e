/* batch.h: the keys that go to the target together, each once: the newest of
 * the changes that were put in.
 *
 * A batch owns its bytes (one arena). Who fills it (follow, seed) hands it to
 * an apply, which frees it when everything in it is saved.
 */
#ifndef KV_BATCH_H
#define KV_BATCH_H

#include "agent/content.h"
#include "agent/env.h"
#include "agent/reconcile.h"

/* What is still to be done for an item. */
enum item_step {
	ITEM_LOOK,  /* the ledger's row decides */
	ITEM_WRITE, /* guard and expect are set */
	ITEM_READ,  /* read both stores, then decide */
	ITEM_WAIT,  /* like READ, but not before the unsettled write is dead */
	ITEM_DONE   /* row (when has_row) is to be saved */
};

struct batch_item {
	struct slice key;	 /* the target's, or nobody's: env_key.item */
	struct slice source_key; /* n == 0: unknown, from the inverse mapping */
	struct content content;
	bool is_delete;
	/* The delete was told by an event or passed the fuse: it may be
	 * carried out. */
	bool may_delete;
	bool inferred;	     /* the delete: it counts for the fuse's hour */
	const char *refused; /* cannot be carried: why */
	uint64_t source_index;
	struct kv_hash hash; /* of content */
	/* Of a pair, for the twin's row: the source's version of the content,
	 * and the index of what the target has now; 0: not known. */
	struct store_version source_version;
	uint64_t target_index;
	/* Decided by a row that the twin may have changed since: looked up
	 * again; another one: READ. */
	bool verify;
	struct state_row basis;

	enum item_step step;
	enum store_guard guard;
	struct store_version expect;
	struct state_row row; /* the ledger's; then the one to be saved */
	bool has_row;	      /* row is to be saved (kind NONE: dropped) */
	bool unsettled;	      /* a write of ours may still land at the target */
	bool conflict;	      /* journaled when the item is done */
	bool repair;
	bool foreign;	     /* to be listed as foreign */
	bool quarantine;     /* to be listed with `refused` */
	bool blank;	     /* see batch_item_blank */
	bool old;	     /* told again: says nothing about the lists */
	bool idle;	     /* needs no operation at the target */
	bool counted;	     /* the conflict is in the counters */
	bool wrote;	     /* put or deleted at the target */
	uint64_t dead_at_ms; /* WAIT: until then */
	uint64_t read_index; /* what READ last saw of the source; 0: never */
	bool read_absent;
	const char *decision;
	struct reconcile_side conflict_source;
	struct reconcile_side conflict_target;
	/* Puts of this key that are guarded by its absence and of which it is
	 * not known whether they were done: see env_ghost_add. */
	uint32_t doubts;
	bool recovered; /* so are those of an agent that ended; not judged yet
			 */
	/* Intents of this key that are open: what earlier tries were about to
	 * do. In the arena. */
	struct state_intent *intents;
	size_t n_intents;
};

struct batch {
	struct list link;
	struct arena arena;
	struct batch_item *items;
	size_t n;
	size_t cap;
	size_t idle;	 /* items that need no operation at the target */
	size_t bytes;	 /* keys and contents to be written */
	uint32_t *slots; /* hash table of item numbers + 1, by key */
	size_t n_slots;
	/* With move: when the batch is done, everything up to index is in the
	 * target. */
	bool move;
	uint64_t index;
	uint64_t born_ms;    /* when its first change came in */
	bool lent;	     /* keys were taken out of it, with their intents */
	int64_t *intent_ids; /* open batches of intents in the state */
	size_t n_intent_ids;
	size_t cap_intent_ids;
};

/* NULL: out of memory. */
struct batch *batch_new(uint64_t now_ms) KV_MUSTCHECK;
void batch_free(struct batch *b);

/* The item of that key, new (zeroed, in step LOOK, from that source key) or as
 * it is (*found). Keys' bytes are copied. NULL: out of memory, nothing changed.
 */
struct batch_item *batch_item(struct batch *b, struct slice key,
			      struct slice source_key,
			      bool *found) KV_MUSTCHECK;

/* The item of that key with what a change says: batch_item and batch_set. NULL:
 * out of memory, nothing changed: no item without its change is left. */
struct batch_item *batch_change(struct batch *b, struct slice key,
				struct slice source_key, struct content content,
				bool is_delete, uint64_t source_index,
				bool *found) KV_MUSTCHECK;

/* Sets what the newest change says (bytes are copied). False: no memory. */
bool batch_set(struct batch *b, struct batch_item *it, struct content content,
	       bool is_delete, uint64_t source_index) KV_MUSTCHECK;

/* The item of that key, or NULL. */
struct batch_item *batch_find(const struct batch *b, struct slice key);

/* A copy of another batch's item, as it stands. False: no memory. */
bool batch_copy_item(struct batch *b, const struct batch_item *it) KV_MUSTCHECK;

/* Nothing of the item is to be done or saved any more. */
void batch_item_blank(struct batch_item *it);

/* Notes what is about to be done to the item, for later decisions. */
bool batch_add_intent(struct batch *b, struct batch_item *it,
		      const struct state_intent *intent) KV_MUSTCHECK;

/* Notes an intent batch of the state that is open for this batch. */
bool batch_add_intent_id(struct batch *b, int64_t id) KV_MUSTCHECK;

/* Would `n` more keys of `bytes` bytes still fit? Counts overwritten values,
 * too, so that a key that changes without end cannot fill the memory. */
bool batch_fits(const struct batch *b, const struct route_env *env, size_t n,
		size_t bytes);

#endif /* KV_BATCH_H */
