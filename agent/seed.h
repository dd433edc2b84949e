/* seed.h: one pass over both stores: the first copy, and every reconcile.
 *
 *   merge --> reconcile() --> put, adopt ...  --> batches --> window of applies
 *                         `-> inferred delete --> dirty table (after the fuse)
 *
 * It writes differences only. Deletes that are inferred from absence are only
 * gathered here; whoever runs the seed judges their number and then drains the
 * dirty table.
 */
#ifndef KV_SEED_H
#define KV_SEED_H

#include "agent/apply.h"
#include "agent/dirty.h"
#include "agent/merge.h"

#define SEED_WINDOW_MAX 64

/* Told once a key in a dry run; see route.h. */
struct seed_decision {
	const struct merge_item *item;
	const struct reconcile_out *out;
};

struct seed {
	struct route_env *env;
	struct merge *merge;
	struct apply window[SEED_WINDOW_MAX];
	uint32_t n_window;
	struct batch *writes; /* being filled: keys to be written */
	struct batch *rows;   /* being filled: rows only */
	struct list sealed;
	struct dirty_put put; /* inferred deletes */
	bool dry;
	bool running;
	bool paused;	 /* the merge waits for room */
	bool merged;	 /* the merge has ended */
	bool merge_down; /* the merge stopped with an error: seed_retry */
	bool merge_closing;
	bool broken; /* memory ran out in the middle of a key: start anew */
	bool put_down;
	bool aborting;
	bool held;
	char held_reason[KV_ERR_TEXT_MAX];
	struct sched_task task;
	uint64_t source_low;
	bool source_is_one;
	uint64_t source_end;
	uint64_t source_count;
	uint64_t scanned;
	uint64_t deletes;	  /* inferred ones found */
	uint64_t foreign_deletes; /* those that --delete all asks for */
	uint64_t differences;
	/* Everything but the inferred deletes is done and saved. held: a
	 * conflict under `stop` ended it early (held_reason). */
	void (*end)(struct seed *s);
	/* A batch was saved. */
	void (*moved)(struct seed *s);
	void (*trouble)(struct seed *s, const struct kv_err *err);
	void (*aborted)(struct seed *s);
	void (*decision)(struct seed *s, const struct seed_decision *d);
	void *ctx;
};

void seed_init(struct seed *s, struct route_env *env, uint32_t window,
	       void *ctx);
/* Frees what an idle seed holds. */
void seed_clear(struct seed *s);
/* Starts a pass; dry: decisions are told, nothing is written. KV_NO_MEMORY. */
int seed_start(struct seed *s, bool dry) KV_MUSTCHECK;
/* After trouble: goes on with everything that stopped. */
void seed_retry(struct seed *s);
/* The pass cannot be continued: abort it and start another one. */
bool seed_is_broken(const struct seed *s);
/* Gives up the pass; `aborted` comes, later. */
void seed_abort(struct seed *s);

/* Valid after the end of a pass: what the source's scan stood for. All of it
 * has been seen up to `low`; `end` is the source's index when it was over. */
uint64_t seed_source_low(const struct seed *s);
uint64_t seed_source_end(const struct seed *s);
/* ... and all its pages stood for one index. */
bool seed_source_is_one(const struct seed *s);
uint64_t seed_source_count(const struct seed *s);

#endif /* KV_SEED_H */
