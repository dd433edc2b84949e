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

#endif /* KV_FUSE_H */
