/* sim_region.h: the memory of the worlds: handed out piece by piece, taken back
 * at once when the next seed begins. Never of the agent's hooks, so that it
 * outlives a crash. */
#ifndef SIM_REGION_H
#define SIM_REGION_H

#include "store/base/slice.h"

struct region_chunk;

struct region {
	struct region_chunk *chunks; /* all; the first is the one in use */
	struct region_chunk *spare;
	size_t used;
};

/* Zeroed; ends the process when the machine has no memory left. */
void *region_alloc(struct region *r, size_t size);
struct slice region_dup(struct region *r, struct slice s);
/* Grows an array as kv_grow does; the old one is left to the region. */
void region_grow(struct region *r, void **items, size_t *cap, size_t want,
		 size_t size);
/* All pieces become invalid; the chunks are kept. */
void region_reset(struct region *r);
void region_free(struct region *r);

#endif /* SIM_REGION_H */
