/* consul_fetch.h: reads of many named keys, in transactions that run side by
 * side: their values (FETCH_GET), or only whether they moved (FETCH_CHECK).
 *
 *   items --> lanes, each a /v1/txn of as many as fit --> items filled in
 *
 * A check tells a key that does not exist from one that the token may not read
 * (which ends it with KV_DENIED): before a delete is concluded from absence, a
 * consistent check of that very key has said so.
 */
#ifndef KV_CONSUL_FETCH_H
#define KV_CONSUL_FETCH_H

#include "store/consul/consul_impl.h"

#define FETCH_LANES 6

enum fetch_kind { FETCH_CHECK, FETCH_GET };

enum item_state {
	ITEM_UNKNOWN,
	ITEM_SAME, /* check: it has the index that was expected */
	ITEM_HERE, /* get: read; check: another index, told in `index` */
	ITEM_MISSING
};

struct consul_item {
	struct slice key; /* [in] as stored */
	uint64_t expect;  /* [in] check: the index believed; 0: none */
	uint32_t state;	  /* enum item_state */
	uint32_t pos;	  /* the caller's */
	uint64_t index;
	uint64_t flags;
	struct slice value; /* in the arena */
};

struct fetch;
struct fetch_lane {
	struct fetch *fetch;
	struct http_call call;
	size_t from, to; /* items */
};

/* Caller-owned. Zero-fill, fill in, start; hands off until `done`, which never
 * comes from inside fetch_start. */
struct fetch {
	struct consul *consul;
	struct consul_item *items;
	size_t n;
	enum fetch_kind kind;
	enum consul_read how;
	struct arena *arena; /* get: takes the values */
	void (*done)(struct fetch *f);
	/* out */
	struct kv_err err;
	uint64_t epoch; /* the lowest of its answers */
	/* private */
	size_t next;
	unsigned busy;
	struct sched_task task;
	struct fetch_lane lanes[FETCH_LANES];
};

/* n may be 0. */
void fetch_start(struct fetch *f);
/* No `done` will come. Does nothing when it is over. */
void fetch_cancel(struct fetch *f);

#endif /* KV_CONSUL_FETCH_H */
