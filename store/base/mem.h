/* mem.h: memory through hooks, and an arena.
 *
 * Every allocation of kvmirror goes through these calls, so that a test can
 * make the n-th one fail and the simulation can throw away an agent that
 * "crashed". A NULL from any of them is answered with KV_NO_MEMORY.
 */
#ifndef KV_MEM_H
#define KV_MEM_H

#include "store/base/base.h"

/* Replacement allocator. `realloc` gets NULL for a new block. */
struct kv_mem_hooks {
	void *(*realloc)(void *ctx, void *ptr, size_t size);
	void (*free)(void *ctx, void *ptr);
	void *ctx;
	/* The largest block that arenas share among pieces; 0: as usual. With
	 * 1 each piece is an allocation of its own, and may fail. */
	size_t arena_block;
};

/* Installs hooks; NULL restores malloc and free. Not thread-safe: call it
 * before threads start. */
void kv_mem_set_hooks(const struct kv_mem_hooks *hooks);

void *kv_malloc(size_t size) KV_MUSTCHECK;
/* Zeroed; NULL as well when count * size overflows. */
void *kv_calloc(size_t count, size_t size) KV_MUSTCHECK;
void *kv_realloc(void *ptr, size_t size) KV_MUSTCHECK;
void kv_free(void *ptr);
/* Copies of a NUL-terminated string, of `n` bytes (plus a NUL behind). */
char *kv_strdup(const char *s) KV_MUSTCHECK;
void *kv_memdup(const void *p, size_t n) KV_MUSTCHECK;
/* printf into a new string. */
char *kv_asprintf(const char *fmt, ...) KV_PRINTF(1, 2) KV_MUSTCHECK;

/* Grows the array *items (elements of `size` bytes, *cap of them allocated)
 * so that `want` fit; at least doubles. Returns false, with nothing changed,
 * when memory is out. */
bool kv_grow(void **items, size_t *cap, size_t want, size_t size) KV_MUSTCHECK;

/* An arena: many small pieces, freed at once. Zero-initialise it. Pieces are
 * aligned to 8 bytes. */
struct arena_block;
struct arena {
	struct arena_block *blocks; /* newest first */
	size_t used;		    /* in the newest block */
	size_t total;		    /* bytes handed out since the last reset */
};

void arena_init(struct arena *a);
void *arena_alloc(struct arena *a, size_t size) KV_MUSTCHECK;
void *arena_memdup(struct arena *a, const void *p, size_t n) KV_MUSTCHECK;
/* Everything handed out becomes invalid; one block is kept for reuse. */
void arena_reset(struct arena *a);
/* Frees all; the arena may be used again. */
void arena_free(struct arena *a);

#endif /* KV_MEM_H */
