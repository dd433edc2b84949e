/* zk_dirty.h: znodes of which events came and that are to be looked at, each
 * once, in the order of their first event.
 *
 *   event --> queue (found by path) --zk_dirty_send--> sent, in order --> done
 *
 * Each remembers an index before its change: everything up to the first one's
 * has been looked at.
 */
#ifndef KV_ZK_DIRTY_H
#define KV_ZK_DIRTY_H

#include "store/zookeeper/zk_fetch.h"

struct zk_dirty {
	struct zk_fetch fetch; /* its path is ours, behind the struct */
	struct list link;
	struct zk_dirty *chain;
	uint32_t hash;
	uint64_t before; /* its first event is later than this */
	void *owner;
	/* zk_general.c */
	struct zk_fetch list_fetch;
	struct zk_dirty *holder; /* its listing told of this one */
	size_t parts;		 /* answers and others that it waits for */
	bool fresh;		 /* no watch is on it yet */
	bool was_key;
	/* What happened to the znode itself, and to children of it. */
	bool created;
	bool changed;
	bool deleted;
	bool kids;
	int32_t kids_sum; /* created less deleted */
	int32_t kids_low; /* the least that sum was, <= 0 */
	/* Told by the look before this one: the events since may be of what
	 * that saw. */
	uint64_t told;
	bool told_gone;
	uint8_t path[];
};

struct zk_dirties {
	struct zk_dirty **buckets;
	size_t n_buckets; /* a power of two; 0: none yet */
	struct list queue;
	struct list sent;
	size_t n; /* in the queue */
	size_t n_sent;
	size_t bytes;
};

void zk_dirties_init(struct zk_dirties *d);
void zk_dirties_free(struct zk_dirties *d);
/* The one of that path in the queue, a new one if need be. NULL: no memory. */
struct zk_dirty *zk_dirties_get(struct zk_dirties *d, struct slice path,
				uint64_t before) KV_MUSTCHECK;
/* The one of that path in the queue, or NULL. */
struct zk_dirty *zk_dirties_find(const struct zk_dirties *d, struct slice path);
/* The first of the queue, now in `sent`; NULL: none. */
struct zk_dirty *zk_dirties_send(struct zk_dirties *d);
/* A sent one was looked at: it goes. */
void zk_dirties_done(struct zk_dirties *d, struct zk_dirty *one);
/* Nothing at or below this index waits; `none` when nothing waits at all. */
uint64_t zk_dirties_limit(const struct zk_dirties *d, uint64_t none);

#endif /* KV_ZK_DIRTY_H */
