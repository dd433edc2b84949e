/* fuse.h: how many keys may go because they were merely absent. Pure.
 *
 * A delete that an event told needs no fuse. Those inferred from absence hold
 * the route when, of one re-list or within the last hour, they would take more
 * than 20 % of the ledger and more than 50 keys (or what --max-delete says
 * instead), or when the source is empty and the ledger is not.
 */
#ifndef KV_FUSE_H
#define KV_FUSE_H

#include "conf/conf.h"
#include "state/state.h"

struct fuse_in {
	struct conf_max_delete rule;
	uint64_t deletes; /* inferred now */
	uint64_t recent;  /* inferred and applied in the last hour */
	uint64_t ledger;  /* keys in the ledger before */
	bool source_empty;
};

/* May the deletes be applied? When not, `reason` (of `cap` bytes) says why and
 * what to do. */
bool fuse_allows(const struct fuse_in *in, char *reason, size_t cap);

/* The hour is kept in slots, so that it slides: what was deleted within the
 * last 60 minutes counts, and at most what was within FUSE_SLOT_MS more. */
#define FUSE_SLOT_MS (10U * 60U * 1000U)

/* How many inferred deletes count as those of the last hour, at wall clock
 * `now`. A clock that goes back forgets none. */
uint64_t fuse_recent(struct state_checkpoint *cp, uint64_t now);
/* One more was carried out. */
void fuse_count(struct state_checkpoint *cp, uint64_t now);

#endif /* KV_FUSE_H */
