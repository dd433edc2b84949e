/* merge.h: source, target and ledger as three ascending streams, joined by the
 * target's key; flat memory.
 *
 *   scan(source) -> filter -> map --\
 *   scan(target) -------------------> merge --> one call a key, ascending
 *   ledger pages (worker) ----------/
 *
 * Serves the reconcile, the dry run and `diff` (which has no ledger).
 */
#ifndef KV_MERGE_H
#define KV_MERGE_H

#include "agent/mapping.h"
#include "conf/conf.h"
#include "state/state.h"
#include "store/base/worker.h"
#include "store/store.h"

struct merge;

/* What the three streams say of one key. Valid during the call. */
struct merge_item {
	struct slice key;		 /* the target's */
	struct slice item_key;		 /* see env_key.item */
	struct slice source_key;	 /* the source's */
	const struct store_pair *source; /* NULL: the source lacks it */
	const struct store_pair *target; /* NULL: the target lacks it */
	const struct state_row *row;	 /* NULL: no row */
	/* The source index as of which `source` is said (also its absence). */
	uint64_t source_at;
	bool outside;	     /* the filter does not carry this key */
	const char *refused; /* the source's key cannot be carried: why; `key`
				is then the source's own key */
	bool unknown; /* the source did not tell it, and may have it: it is
			 below what the source does not let be read */
};

struct merge_params {
	struct sched *sched;
	struct store *source;
	struct store *target;
	const struct conf_route *conf;
	enum mapping_mode mapping;
	/* For the ledger's stream, and for sorting where the mapping does not
	 * keep the order. NULL: neither. */
	struct worker *worker;
	struct state *state;
	bool sort_only; /* no ledger */
	int64_t route;
	/* Connections for which identity was checked: a page of another one is
	 * not taken, the merge ends with KV_NOT_REACHABLE and may be resumed.
	 * NULL: any will do. */
	const uint64_t *source_epoch;
	const uint64_t *target_epoch;
	/* Read the source as of this index where possible. */
	uint64_t source_at;
	/* One key. Return false to pause: merge_resume goes on after it. */
	bool (*item)(void *ctx, const struct merge_item *item);
	/* The end, or an error: exactly once. The streams may be continued
	 * after an error with merge_resume: nothing is lost, nothing said
	 * twice. */
	void (*end)(void *ctx, const struct kv_err *err);
	void *ctx;
};

struct merge *merge_open(const struct merge_params *p) KV_MUSTCHECK;
void merge_start(struct merge *m);
/* After item() returned false, or after end() said a RETRY error. */
void merge_resume(struct merge *m);
/* Cancels what is outstanding; then `closed`, later; then it is freed. */
void merge_close(struct merge *m, void (*closed)(void *ctx), void *ctx);

/* What the scans said of the two stores (valid after the first pages). */
const struct store_origin *merge_source_origin(const struct merge *m);
const struct store_origin *merge_target_origin(const struct merge *m);
/* The lowest index a page of the source stood for; the origin's at the end. */
uint64_t merge_source_low(const struct merge *m);
uint64_t merge_source_end(const struct merge *m);
/* Did all pages of the source stand for one index? */
bool merge_source_is_one(const struct merge *m);
/* Pairs the source had in scope. */
uint64_t merge_source_count(const struct merge *m);

#endif /* KV_MERGE_H */
