/* known.c: what a caller knows of a tree as of an index, for backends that
 * re-list and compare (store_known): told from the test's own writes.
 *
 *   answered writes --known_note--> events (stored key, index, gone)
 *   tail at `after` --known_new--> the keys that existed then --> pages
 */
#include <stdlib.h>

#include "tests/conformance/suite.h"

enum { PAGE = 100 };

struct known_event {
	struct slice stored;
	uint64_t index;
	size_t number; /* of two at one index the later one counts */
	bool gone;
};

struct known {
	struct store_known base;
	struct sched_task task;
	struct world *w;
	struct store_pair *pairs; /* ascending keys */
	size_t n;
	struct slice after;
	void (*page)(void *ctx, int status, struct store_page *page);
	void *ctx;
};

/* By libc: a test may have made kvmirror's own memory scarce. */
static struct slice stored_key(const struct store *st, struct slice key)
{
	const struct uri *u = store_uri(st);
	uint8_t *p = malloc(u->prefix_n + key.n + 1);

	assert_non_null(p);
	memcpy(p, u->prefix, u->prefix_n);
	memcpy(p + u->prefix_n, key.p, key.n);
	return slice_of(p, u->prefix_n + key.n);
}

void known_free(struct world *w)
{
	for (size_t i = 0; i < w->n_known; i++) {
		free((void *)(uintptr_t)w->known[i].stored.p);
	}
	free(w->known);
}

static void note(struct call *c, struct slice key, uint64_t index, bool gone)
{
	struct world *w = c->w;
	struct known_event *e;

	if (w->n_known == w->known_cap) {
		w->known_cap = w->known_cap == 0 ? 64 : w->known_cap * 2;
		w->known = realloc(w->known, w->known_cap * sizeof *w->known);
		assert_non_null(w->known);
	}
	e = &w->known[w->n_known];
	e->stored = stored_key(c->st, key);
	e->index = index;
	e->number = w->n_known++;
	e->gone = gone;
}

/* All keys below one went with it. */
static void note_below(struct call *c, uint64_t index)
{
	struct world *w = c->w;
	struct slice top = stored_key(c->st, c->u.single.key);
	size_t n = w->n_known;

	for (size_t i = 0; i < n; i++) {
		struct slice key =
		    store_relative_key(c->st, w->known[i].stored);

		if (!w->known[i].gone &&
		    slice_starts(w->known[i].stored, top) && key.n > 0) {
			note(c, key, index, true);
		}
	}
	free((void *)(uintptr_t)top.p);
}

void known_note(struct call *c)
{
	if (c->kind == CALL_WRITE) {
		for (size_t i = 0; i < c->u.write.n_ops; i++) {
			struct store_op *op = &c->u.write.ops[i];

			if (op->status == KV_OK && op->index != 0) {
				note(c, op->key, op->index,
				     op->kind == STORE_OP_DELETE);
			}
		}
	} else if (c->status == KV_OK && c->verb == VERB_PUT) {
		note(c, c->u.single.key, c->u.single.pair.index, false);
	} else if (c->status == KV_OK && c->verb == VERB_DELETE) {
		note_below(c, c->u.single.origin.index);
	}
}

bool known_ever(const struct world *w, const struct store *st, struct slice key)
{
	for (size_t i = 0; i < w->n_known; i++) {
		if (slice_eq(store_relative_key(st, w->known[i].stored), key)) {
			return true;
		}
	}
	return false;
}

/* By key, of one key the last event first. */
static int by_key(const void *a, const void *b)
{
	const struct known_event *x = a;
	const struct known_event *y = b;
	int cmp = slice_cmp(x->stored, y->stored);

	if (cmp != 0) {
		return cmp;
	}
	if (x->index != y->index) {
		return x->index > y->index ? -1 : 1;
	}
	return x->number > y->number ? -1 : 1;
}

static void fill(struct known *k, struct store *st, uint64_t after)
{
	struct world *w = k->w;
	struct known_event *e = calloc(w->n_known + 1, sizeof *e);
	size_t n = 0;

	k->pairs = arena_alloc(&w->arena, (w->n_known + 1) * sizeof *k->pairs);
	assert_non_null(k->pairs);
	assert_non_null(e);
	for (size_t i = 0; i < w->n_known; i++) {
		if (w->known[i].index <= after) {
			e[n++] = w->known[i];
		}
	}
	qsort(e, n, sizeof *e, by_key);
	for (size_t i = 0; i < n; i++) {
		struct slice key = store_relative_key(st, e[i].stored);

		if ((i == 0 || !slice_eq(e[i].stored, e[i - 1].stored)) &&
		    !e[i].gone && key.n > 0) {
			k->pairs[k->n++] = (struct store_pair){
			    .key = key, .index = e[i].index};
		}
	}
	free(e);
}

static void deliver(struct sched_task *task)
{
	struct known *k = kv_container_of(task, struct known, task);
	struct store_page *page = store_page_new();
	size_t cap = 0;
	size_t i = 0;

	assert_non_null(page);
	while (i < k->n && k->after.n > 0 &&
	       slice_cmp(k->pairs[i].key, k->after) <= 0) {
		i++;
	}
	for (; i < k->n && page->n < PAGE; i++) {
		struct store_pair *p =
		    store_page_add(page, &cap, k->pairs[i].key, NOTHING);

		assert_non_null(p);
		p->index = k->pairs[i].index;
	}
	page->more = i < k->n;
	k->page(k->ctx, KV_OK, page);
}

static void next(struct store_known *base, struct slice after,
		 void (*page)(void *ctx, int status, struct store_page *page),
		 void *ctx)
{
	struct known *k = kv_container_of(base, struct known, base);

	assert_false(sched_posted(&k->task));
	k->after = after.n == 0 ? NOTHING : world_copy(k->w, after);
	k->page = page;
	k->ctx = ctx;
	sched_post(k->w->sched, &k->task);
}

struct store_known *known_new(struct world *w, struct store *st, uint64_t after)
{
	struct known *k;

	if (after == 0 || store_capabilities(st)->told_deletes) {
		return NULL;
	}
	k = arena_alloc(&w->arena, sizeof *k);
	assert_non_null(k);
	*k = (struct known){.base = {.next = next, .complete = true},
			    .task = {.run = deliver},
			    .w = w};
	fill(k, st, after);
	return &k->base;
}
