/* mem.c: allocation through hooks, and the arena.
 *
 *   arena: blocks --> newest (small pieces go here) --> older --> ...
 *   A piece that is large against a block gets a block of its own behind the
 *   newest, so that the room left in the newest is not lost.
 */
#include "store/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MIN ((size_t)2048)
#define BLOCK_MAX ((size_t)256 * 1024)

struct arena_block {
	struct arena_block *next;
	size_t cap;
	uint64_t data[]; /* 8-byte alignment */
};

/* The hooks are the one mutable object here: set before threads start. */
static struct kv_mem_hooks mem_hooks;

void kv_mem_set_hooks(const struct kv_mem_hooks *hooks)
{
	if (hooks == NULL) {
		memset(&mem_hooks, 0, sizeof mem_hooks);
		return;
	}
	PRE(hooks->realloc != NULL && hooks->free != NULL);
	mem_hooks = *hooks;
}

void *kv_realloc(void *ptr, size_t size)
{
	if (size == 0) {
		size = 1; /* a block of its own, never "free" */
	}
	if (mem_hooks.realloc != NULL) {
		return mem_hooks.realloc(mem_hooks.ctx, ptr, size);
	}
	return realloc(ptr, size);
}

void *kv_malloc(size_t size)
{
	return kv_realloc(NULL, size);
}

void *kv_calloc(size_t count, size_t size)
{
	size_t total;
	void *p;

	if (__builtin_mul_overflow(count, size, &total)) {
		return NULL;
	}
	p = kv_malloc(total);
	if (p != NULL) {
		memset(p, 0, total);
	}
	return p;
}

void kv_free(void *ptr)
{
	if (ptr == NULL) {
		return;
	}
	if (mem_hooks.free != NULL) {
		mem_hooks.free(mem_hooks.ctx, ptr);
	} else {
		free(ptr);
	}
}

void *kv_memdup(const void *p, size_t n)
{
	char *copy;

	if (n == SIZE_MAX) {
		return NULL;
	}
	copy = kv_malloc(n + 1);
	if (copy == NULL) {
		return NULL;
	}
	if (n > 0) {
		memcpy(copy, p, n);
	}
	copy[n] = '\0';
	return copy;
}

char *kv_strdup(const char *s)
{
	return kv_memdup(s, strlen(s));
}

char *kv_asprintf(const char *fmt, ...)
{
	va_list args;
	char *s;
	int n;

	va_start(args, fmt);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0) {
		return NULL;
	}
	s = kv_malloc((size_t)n + 1);
	if (s == NULL) {
		return NULL;
	}
	va_start(args, fmt);
	(void)vsnprintf(s, (size_t)n + 1, fmt, args);
	va_end(args);
	return s;
}

bool kv_grow(void **items, size_t *cap, size_t want, size_t size)
{
	size_t next, bytes;
	void *p;

	PRE(size > 0);
	if (want <= *cap) {
		return true;
	}
	if (__builtin_mul_overflow(*cap, (size_t)2, &next)) {
		return false;
	}
	next = KV_MAX(KV_MAX(next, want), (size_t)8);
	if (__builtin_mul_overflow(next, size, &bytes)) {
		return false;
	}
	p = kv_realloc(*items, bytes);
	if (p == NULL) {
		return false;
	}
	*items = p;
	*cap = next;
	POST(want <= *cap);
	return true;
}

void arena_init(struct arena *a)
{
	memset(a, 0, sizeof *a);
}

static struct arena_block *new_block(size_t cap)
{
	struct arena_block *b;

	b = kv_malloc(sizeof *b + cap);
	if (b != NULL) {
		b->next = NULL;
		b->cap = cap;
	}
	return b;
}

/* A block for one large piece, behind the newest. */
static void *alloc_apart(struct arena *a, size_t size)
{
	struct arena_block *b = new_block(size);

	if (b == NULL) {
		return NULL;
	}
	if (a->blocks == NULL) {
		a->blocks = b;
		a->used = size;
	} else {
		b->next = a->blocks->next;
		a->blocks->next = b;
	}
	return b->data;
}

static size_t next_block_size(const struct arena *a)
{
	size_t cap = a->blocks == NULL ? 0 : a->blocks->cap;
	size_t most =
	    mem_hooks.arena_block == 0 ? BLOCK_MAX : mem_hooks.arena_block;

	return KV_MIN(KV_MAX(cap * 2, BLOCK_MIN), most);
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct arena_block *b = a->blocks;
	size_t cap;
	void *p;

	if (size > SIZE_MAX / 2) {
		return NULL;
	}
	size = (size + 7) & ~(size_t)7;
	if (b == NULL || b->cap - a->used < size) {
		cap = next_block_size(a);
		if (size > cap / 4) {
			p = alloc_apart(a, size);
			a->total += p == NULL ? 0 : size;
			return p;
		}
		b = new_block(cap);
		if (b == NULL) {
			return NULL;
		}
		b->next = a->blocks;
		a->blocks = b;
		a->used = 0;
	}
	p = (char *)b->data + a->used;
	a->used += size;
	a->total += size;
	POST(((uintptr_t)p & 7) == 0);
	return p;
}

void *arena_memdup(struct arena *a, const void *p, size_t n)
{
	void *copy = arena_alloc(a, n);

	if (copy != NULL && n > 0) {
		memcpy(copy, p, n);
	}
	return copy;
}

static void free_blocks(struct arena_block *b)
{
	struct arena_block *next;

	for (; b != NULL; b = next) {
		next = b->next;
		kv_free(b);
	}
}

/* One huge value must not be kept for ever: a block above the usual size
 * goes as well. */
void arena_reset(struct arena *a)
{
	struct arena_block *keep = a->blocks;

	if (keep != NULL && keep->cap > BLOCK_MAX) {
		arena_free(a);
		return;
	}
	if (keep != NULL) {
		free_blocks(keep->next);
		keep->next = NULL;
	}
	a->used = 0;
	a->total = 0;
}

void arena_free(struct arena *a)
{
	free_blocks(a->blocks);
	arena_init(a);
}
