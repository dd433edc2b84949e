/* fuse.c: see fuse.h. */
#include "agent/fuse.h"

#include <inttypes.h>
#include <stdio.h>

#define FUSE_PERCENT 20
#define FUSE_COUNT 50

/* Is part more than `percent` of whole? Without overflow for any counts that
 * fit into memory. */
static bool exceeds(uint64_t part, uint64_t percent, uint64_t whole)
{
	return part * 100 > percent * whole;
}

static bool trips(const struct fuse_in *in, uint64_t total)
{
	switch (in->rule.kind) {
	case CONF_FUSE_COUNT:
		return total > in->rule.n;
	case CONF_FUSE_PERCENT:
		return exceeds(total, in->rule.n, in->ledger + in->recent);
	case CONF_FUSE_DEFAULT:
	default:
		return total > FUSE_COUNT &&
		       exceeds(total, FUSE_PERCENT, in->ledger + in->recent);
	}
}

bool fuse_allows(const struct fuse_in *in, char *reason, size_t cap)
{
	uint64_t total = in->deletes + in->recent;

	if (in->deletes == 0 ||
	    (in->rule.kind == CONF_FUSE_PERCENT && in->rule.n >= 100)) {
		return true;
	}
	if (in->source_empty && in->ledger > 0 &&
	    in->rule.kind == CONF_FUSE_DEFAULT) {
		(void)snprintf(reason, cap,
			       "the source is empty, and %" PRIu64
			       " keys were mirrored from it; nothing was "
			       "deleted: check the source, or allow it with "
			       "--max-delete 100%%",
			       in->ledger);
		return false;
	}
	if (trips(in, total)) {
		(void)snprintf(reason, cap,
			       "%" PRIu64 " of %" PRIu64
			       " mirrored keys are absent at the source "
			       "(%" PRIu64 " more went within the hour); "
			       "nothing was deleted: check the source, or "
			       "allow it with --max-delete",
			       in->deletes, in->ledger, in->recent);
		return false;
	}
	return true;
}

/* Brings the slots up to date. */
static void slide(struct state_checkpoint *cp, uint64_t now)
{
	uint64_t slots;

	if (cp->fuse_since_ms == 0) {
		cp->fuse_since_ms = now;
	}
	if (now < cp->fuse_since_ms) {
		return;
	}
	slots = (now - cp->fuse_since_ms) / FUSE_SLOT_MS;
	cp->fuse_since_ms += slots * FUSE_SLOT_MS;
	for (slots = KV_MIN(slots, STATE_FUSE_OLDER + 1); slots > 0; slots--) {
		for (size_t i = STATE_FUSE_OLDER - 1; i > 0; i--) {
			cp->fuse_older[i] = cp->fuse_older[i - 1];
		}
		cp->fuse_older[0] = cp->fuse_deletes;
		cp->fuse_deletes = 0;
	}
}

uint64_t fuse_recent(struct state_checkpoint *cp, uint64_t now)
{
	uint64_t sum;

	slide(cp, now);
	sum = cp->fuse_deletes;
	for (size_t i = 0; i < STATE_FUSE_OLDER; i++) {
		sum += cp->fuse_older[i];
	}
	return sum;
}

void fuse_count(struct state_checkpoint *cp, uint64_t now)
{
	slide(cp, now);
	cp->fuse_deletes++;
}
