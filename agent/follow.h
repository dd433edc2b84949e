/* follow.h: the source's changes, in order: pulled from the watch, filtered,
 * mapped, gathered into batches, applied one after the other.
 *
 *   watch --> DRAIN: dirty table (while a reconcile scans)
 *         `-> LIVE:  filter, map --> open batch --> sealed batches --> lane
 *
 * The lane has two applies, so that the next batch is looked up while the last
 * one is being saved; at the target one batch is under way at a time. A
 * source's transaction stays in one batch where it fits.
 */
#ifndef KV_FOLLOW_H
#define KV_FOLLOW_H

#include "agent/apply.h"
#include "agent/dirty.h"

enum follow_mode { FOLLOW_OFF, FOLLOW_DRAIN, FOLLOW_LIVE };

struct follow {
	struct route_env *env;
	enum follow_mode mode;
	struct store_watch *watch;
	struct store_next next;
	bool pulling;
	bool paused; /* do not pull */
	uint64_t want;
	uint64_t position; /* all up to here was pulled */
	uint64_t moved_to; /* all up to here is in batches or behind */
	struct batch *open;
	bool in_unit; /* the open batch ends within a transaction */
	bool unit_torn;
	struct list sealed;
	size_t n_sealed;
	struct apply lane[2];
	struct apply *writing; /* at the target now; NULL: none */
	struct apply park;     /* keys that wait, so that the others go on */
	struct dirty_put put;
	struct store_batch *pulled; /* on its way into the dirty table, or not
				       yet taken for want of memory */
	size_t pulled_pos;
	bool put_down;
	bool take_down;
	bool aborting;
	struct sched_task task;
	/* The watch stands: nothing after `position` will be missed. */
	void (*ready)(struct follow *f, const struct store_origin *origin);
	/* Positions moved: pulled, applied or saved something. */
	void (*moved)(struct follow *f);
	/* The watch ended (it is closed then). */
	void (*lost)(struct follow *f, const struct kv_err *err);
	/* The target, or the state: follow_retry goes on. */
	void (*trouble)(struct follow *f, const struct kv_err *err);
	void (*held)(struct follow *f, const char *reason);
	void (*aborted)(struct follow *f);
	void *ctx;
};

void follow_init(struct follow *f, struct route_env *env, void *ctx);
void follow_clear(struct follow *f);

/* Opens the watch behind `after` (0: from now). Batches on their way stay.
 * KV_NO_MEMORY. */
int follow_open(struct follow *f, enum follow_mode mode, uint64_t after,
		struct store_known *known) KV_MUSTCHECK;
bool follow_is_open(const struct follow *f);
/* Closes the watch only; `lost` is not called. */
void follow_lose(struct follow *f);

/* Answer soon when everything up to `index` was pulled. */
void follow_want(struct follow *f, uint64_t index);
/* Stops pulling; what is pulled goes on. */
void follow_pause(struct follow *f);
/* The part of a transaction that is here goes out without the rest. */
void follow_flush(struct follow *f);
/* From DRAIN to LIVE, when the dirty table is empty; pulls again. */
void follow_live(struct follow *f);
/* Nothing is on its way between the pull and the state. */
bool follow_is_idle(const struct follow *f);
/* Likewise, but for keys that wait for a write which may still land. */
bool follow_rests(const struct follow *f);
void follow_retry(struct follow *f);
/* Closes the watch, gives up what is on its way; `aborted` comes, later. */
void follow_abort(struct follow *f);
/* Milliseconds since 0 of the oldest change not applied; 0: none. */
uint64_t follow_oldest_ms(const struct follow *f);

#endif /* KV_FOLLOW_H */
