/* page.c: the results that a backend builds and a caller frees: pages of
 * pairs, batches of changes. Pairs, changes and all their bytes live in the
 * arena of their page or batch. */
#include "store/store_ops.h"

const char *store_action_name(enum store_action action)
{
	switch (action) {
	case STORE_ERROR:
		return "error";
	case STORE_GET:
		return "get";
	case STORE_SET:
		return "set";
	case STORE_UPDATE:
		return "update";
	case STORE_DELETE:
		return "delete";
	case STORE_INIT:
		return "init";
	}
	return "unknown action";
}

/* Room for one more element of an array that lives in an arena: a larger one
 * takes over, the old one stays unused until the arena goes. */
static bool grow_in(struct arena *a, void **items, size_t *cap, size_t n,
		    size_t size)
{
	size_t next = *cap == 0 ? 16 : *cap * 2;
	void *p;

	if (n < *cap) {
		return true;
	}
	p = arena_alloc(a, next * size);
	if (p == NULL) {
		return false;
	}
	if (n > 0) {
		memcpy(p, *items, n * size);
	}
	*items = p;
	*cap = next;
	return true;
}

struct store_page *store_page_new(void)
{
	return kv_calloc(1, sizeof(struct store_page));
}

void store_page_free(struct store_page *page)
{
	if (page == NULL) {
		return;
	}
	arena_free(&page->arena);
	kv_free(page);
}

struct store_pair *store_page_add(struct store_page *p, size_t *cap,
				  struct slice key, struct slice value)
{
	void *items = p->pairs;
	struct store_pair *pair;

	PRE(p->n <= *cap);
	if (!grow_in(&p->arena, &items, cap, p->n, sizeof *pair)) {
		return NULL;
	}
	p->pairs = items;
	pair = &p->pairs[p->n];
	memset(pair, 0, sizeof *pair);
	pair->key = slice_dup(&p->arena, key);
	pair->value = slice_dup(&p->arena, value);
	if (pair->key.p == NULL || pair->value.p == NULL) {
		return NULL;
	}
	p->n++;
	return pair;
}

bool store_attrs_set(struct arena *a, struct slice *to, struct slice attrs)
{
	*to = slice_of(NULL, 0);
	if (attrs.n > 0) {
		*to = slice_dup(a, attrs);
		return to->p != NULL;
	}
	return true;
}

struct store_batch *store_batch_new(void)
{
	return kv_calloc(1, sizeof(struct store_batch));
}

void store_batch_free(struct store_batch *batch)
{
	if (batch == NULL) {
		return;
	}
	arena_free(&batch->arena);
	kv_free(batch);
}

struct store_change *store_batch_add(struct store_batch *b, size_t *cap,
				     struct slice key, struct slice value)
{
	void *items = b->changes;
	struct store_change *change;

	PRE(b->n <= *cap);
	if (!grow_in(&b->arena, &items, cap, b->n, sizeof *change)) {
		return NULL;
	}
	b->changes = items;
	change = &b->changes[b->n];
	memset(change, 0, sizeof *change);
	change->key = slice_dup(&b->arena, key);
	change->value = slice_dup(&b->arena, value);
	if (change->key.p == NULL || change->value.p == NULL) {
		return NULL;
	}
	b->n++;
	return change;
}
