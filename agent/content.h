/* content.h: what a key holds: its value, and what the backend keeps beside it
 * (attrs, see store.h; empty unless both stores of a route understand them).
 * Whatever is compared, hashed, counted or copied of a key is so here, so that
 * the two parts never go separate ways.
 */
#ifndef KV_CONTENT_H
#define KV_CONTENT_H

#include "store/base/hash.h"
#include "store/store.h"

struct content {
	struct slice value;
	struct slice attrs;
	bool unreadable; /* what it holds is not known: it cannot be carried */
};

static inline struct content content_of(struct slice value, struct slice attrs)
{
	struct content c = {.value = value, .attrs = attrs};

	return c;
}

static inline struct content content_of_pair(const struct store_pair *p)
{
	struct content c = content_of(p->value, p->attrs);

	c.unreadable = p->unreadable;
	return c;
}

/* Of a key that is not there. */
static inline struct content content_none(void)
{
	return content_of(slice_of(NULL, 0), slice_of(NULL, 0));
}

static inline size_t content_size(struct content c)
{
	return c.value.n + c.attrs.n;
}

bool content_eq(struct content a, struct content b);

/* What ledger, intents and journal keep. Without attrs: the value's hash. */
struct kv_hash content_hash(struct content c);

/* A copy in the arena; false: no memory. */
bool content_dup(struct arena *a, struct content c,
		 struct content *out) KV_MUSTCHECK;

#endif /* KV_CONTENT_H */
