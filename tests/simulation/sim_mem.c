/* sim_mem.c: see sim_mem.h. */
#include "sim_mem.h"

#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAMES 10

/* Before each block. Keeps the block aligned as malloc's are. */
struct head {
	struct list link;
	size_t size;
	void **frames; /* NULL: not traced */
};
_Static_assert(sizeof(struct head) % 16 == 0, "alignment of the block");

static struct head *head_of(void *ptr)
{
	return (struct head *)ptr - 1;
}

static void note(struct sim_mem *m, struct head *h, size_t size)
{
	h->size = size;
	h->frames = NULL;
	if (m->traced) {
		h->frames = calloc(FRAMES, sizeof *h->frames);
		if (h->frames != NULL) {
			(void)backtrace(h->frames, FRAMES);
		}
	}
	list_init(&h->link);
	list_push_back(&m->blocks, &h->link);
	m->n++;
	m->bytes += size;
}

static void forget(struct sim_mem *m, struct head *h)
{
	list_remove(&h->link);
	m->n--;
	m->bytes -= h->size;
	free(h->frames);
}

static void hook_free(void *ctx, void *ptr)
{
	if (ptr != NULL) {
		forget(ctx, head_of(ptr));
		free(head_of(ptr));
	}
}

static void *hook_realloc(void *ctx, void *ptr, size_t size)
{
	struct sim_mem *m = ctx;
	struct head *h;

	if (m->armed && m->every > 0 && ++m->turn >= m->every) {
		m->turn = 0;
		m->every = m->once ? 0 : m->every;
		m->failed++;
		return NULL;
	}
	h = malloc(sizeof *h + size);
	if (h == NULL) {
		return NULL;
	}
	/* Always moved: a pointer kept to the old place shows. */
	note(ctx, h, size);
	if (ptr != NULL) {
		memcpy(h + 1, ptr, KV_MIN(size, head_of(ptr)->size));
		hook_free(ctx, ptr);
	}
	return h + 1;
}

void sim_mem_init(struct sim_mem *m, bool traced)
{
	*m = (struct sim_mem){.traced = traced};
	list_init(&m->blocks);
	sim_mem_apart(m, false);
}

void sim_mem_apart(struct sim_mem *m, bool apart)
{
	struct kv_mem_hooks hooks = {.realloc = hook_realloc,
				     .free = hook_free,
				     .ctx = m,
				     .arena_block = apart ? 1 : 0};

	kv_mem_set_hooks(&hooks);
}

bool sim_mem_arm(struct sim_mem *m, bool armed)
{
	bool was = m->armed;

	m->armed = armed;
	return was;
}

void sim_mem_drop(struct sim_mem *m)
{
	struct list *l;

	while ((l = list_first(&m->blocks)) != NULL) {
		hook_free(m, kv_container_of(l, struct head, link) + 1);
	}
	POST(m->n == 0 && m->bytes == 0);
}

void sim_mem_print(const struct sim_mem *m, unsigned max)
{
	const struct list *l;

	for (l = m->blocks.next; l != &m->blocks && max-- > 0; l = l->next) {
		struct head *h = kv_container_of(l, struct head, link);

		printf("  %zu bytes left\n", h->size);
		if (h->frames != NULL) {
			fflush(stdout);
			backtrace_symbols_fd(h->frames + 2, FRAMES - 2, 1);
		}
	}
}
