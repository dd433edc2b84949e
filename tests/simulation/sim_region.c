/* sim_region.c: see sim_region.h. */
#include "sim_region.h"

#include <stdlib.h>

#define CHUNK ((size_t)128 * 1024)

struct region_chunk {
	struct region_chunk *next;
	size_t cap;
	uint64_t data[];
};

static struct region_chunk *chunk_new(struct region *r, size_t cap)
{
	struct region_chunk *c = r->spare;

	if (c != NULL && c->cap >= cap) {
		r->spare = c->next;
		return c;
	}
	c = malloc(sizeof *c + cap);
	if (c == NULL) {
		abort();
	}
	c->cap = cap;
	return c;
}

void *region_alloc(struct region *r, size_t size)
{
	uint8_t *p;

	size = (size + 7) & ~(size_t)7;
	if (r->chunks == NULL || r->chunks->cap - r->used < size) {
		struct region_chunk *c = chunk_new(r, KV_MAX(CHUNK, size));

		c->next = r->chunks;
		r->chunks = c;
		r->used = 0;
	}
	p = (uint8_t *)r->chunks->data + r->used;
	r->used += size;
	return memset(p, 0, size);
}

struct slice region_dup(struct region *r, struct slice s)
{
	uint8_t *p = region_alloc(r, s.n + 1);

	if (s.n > 0) {
		memcpy(p, s.p, s.n);
	}
	return slice_of(p, s.n);
}

void region_grow(struct region *r, void **items, size_t *cap, size_t want,
		 size_t size)
{
	size_t new_cap = KV_MAX(want, *cap * 2);
	void *p;

	if (want <= *cap) {
		return;
	}
	new_cap = KV_MAX(new_cap, (size_t)4);
	p = region_alloc(r, new_cap * size);
	if (*cap > 0) {
		memcpy(p, *items, *cap * size);
	}
	*items = p;
	*cap = new_cap;
}

void region_reset(struct region *r)
{
	while (r->chunks != NULL) {
		struct region_chunk *c = r->chunks;

		r->chunks = c->next;
		c->next = r->spare;
		r->spare = c;
	}
	r->used = 0;
}

void region_free(struct region *r)
{
	region_reset(r);
	while (r->spare != NULL) {
		struct region_chunk *c = r->spare;

		r->spare = c->next;
		free(c);
	}
}
