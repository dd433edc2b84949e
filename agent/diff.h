/* diff.h: what differs between a source and a target, key by key, in flat
 * memory.
 *
 *   merge --> differs? --> pending --(full, or the end)--> read both sides of
 *     ^                                                    these keys anew
 *     `------------------ resume <-- still differ: found <------'
 *
 * The two stores move while they are read, and not together: what differs is
 * read a second time before it is told.
 */
#ifndef KV_DIFF_H
#define KV_DIFF_H

#include "agent/merge.h"

enum diff_kind {
	DIFF_MISSING, /* the target lacks it */
	DIFF_EXTRA,   /* the source lacks it */
	DIFF_CHANGED
};

struct diff_side {
	bool present;
	uint64_t index;
	struct kv_hash hash;
};

struct diff_entry {
	enum diff_kind kind;
	struct slice key;	 /* the target's */
	struct slice source_key; /* n == 0: none maps there */
	bool refused;		 /* the target cannot carry it */
	struct diff_side source;
	struct diff_side target;
};

/* "missing", "extra", "changed". */
const char *diff_kind_name(enum diff_kind kind);

struct diff;

struct diff_params {
	struct sched *sched;
	struct store *source;
	struct store *target;
	const struct conf_route *conf;
	/* Leave out foreign, yielded and quarantined keys. This needs the three
	 * below; and `escape: percent` needs the first two, any state will
	 * do. */
	bool owned;
	struct worker *worker;
	struct state *state;
	int64_t route;
	/* Give up when nothing was read for so long. */
	uint64_t timeout_ms;
	/* Return false to stop. Valid during the call. */
	bool (*found)(void *ctx, const struct diff_entry *entry);
	/* Once: the end, or what kept it from that. diff_close is for later. */
	void (*end)(void *ctx, const struct kv_err *err);
	void *ctx;
};

/* KV_NO_MEMORY. */
int diff_open(const struct diff_params *p, struct diff **out,
	      struct kv_err *err) KV_MUSTCHECK;
void diff_start(struct diff *d);
/* How many keys were looked at so far. */
uint64_t diff_count(const struct diff *d);
/* Cancels what is outstanding; then `closed`, later; then it is freed. */
void diff_close(struct diff *d, void (*closed)(void *ctx), void *ctx);

#endif /* KV_DIFF_H */
