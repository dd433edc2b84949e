/* zk_gather.h: changes that were found, until they are handed out in the order
 * of their indexes.
 *
 *   found, in any order --> heap --(index <= limit)--> staged --> batch
 *                             `-- values beyond a bound are let go of and
 *                                 read again when they are staged
 *
 * Whoever finds changes says up to which index nothing can be missing: the
 * limit. A unit (a re-list) is told as one: its pieces are partial, and the
 * position stays before it until its end.
 */
#ifndef KV_ZK_GATHER_H
#define KV_ZK_GATHER_H

#include "store/store_ops.h"

enum zk_told_kind {
	ZK_TOLD_PUT,
	ZK_TOLD_HIDDEN, /* a put of what must not be read */
	ZK_TOLD_DELETE,
	ZK_TOLD_INFERRED, /* a delete concluded from absence */
};

/* A change; its bytes stand behind it. */
struct zk_told {
	uint64_t index;
	uint64_t order; /* of finding, among equal indexes */
	struct store_version version;
	enum zk_told_kind kind;
	bool dropped; /* its value has to be read again */
	bool lacks_acl;
	bool is_null; /* its data */
	bool skip;    /* what was read again is newer: told by another one */
	struct slice key;
	uint8_t *value; /* value, then attrs; NULL: none */
	size_t value_n; /* also of a value that was let go of */
	size_t attrs_n;
	uint8_t bytes[];
};

struct zk_gather {
	struct zk_told **heap;
	size_t n;
	size_t cap;
	struct zk_told **staged; /* in order, to be handed out next */
	size_t n_staged;
	size_t staged_cap;
	size_t staged_pos;
	uint64_t order;
	size_t held;  /* bytes of values in memory */
	size_t bytes; /* of everything else */
	uint64_t position;
	uint64_t unit; /* end of the unit that is told; 0: none */
	uint64_t inferred;
	uint64_t known;
	bool announced;
};

/* Values in memory; entries and their names. */
#define ZK_GATHER_HELD ((size_t)8 * 1024 * 1024)
#define ZK_GATHER_BYTES ((size_t)64 * 1024 * 1024)

void zk_gather_free(struct zk_gather *g);

/* A change that was found. NULL, false: no memory. */
struct zk_told *zk_gather_put(struct zk_gather *g, struct slice key,
			      struct slice value, struct slice attrs,
			      uint64_t index,
			      struct store_version version) KV_MUSTCHECK;
bool zk_gather_hidden(struct zk_gather *g, struct slice key,
		      uint64_t index) KV_MUSTCHECK;
bool zk_gather_delete(struct zk_gather *g, struct slice key, uint64_t index,
		      bool inferred) KV_MUSTCHECK;

/* More than may be kept was found. */
bool zk_gather_is_full(const struct zk_gather *g);

/* Moves the next changes at or below `limit` to `staged`, when it is empty;
 * false: no memory. Those with `dropped` or `lacks_acl` must be made whole
 * (or `skip`) before the batch is made. */
bool zk_gather_stage(struct zk_gather *g, uint64_t limit) KV_MUSTCHECK;
bool zk_gather_fill(struct zk_gather *g, struct zk_told *t, struct slice value,
		    struct slice attrs) KV_MUSTCHECK;
bool zk_gather_set_attrs(struct zk_gather *g, struct zk_told *t,
			 struct slice attrs) KV_MUSTCHECK;

/* Everything at or below an index was found and is in here: the last thing said
 * before a unit is told. `known`: of how many keys the inferred deletes are. */
void zk_gather_unit(struct zk_gather *g, uint64_t end, uint64_t known);

/* The next batch of what is staged, in *out; NULL when there is none. `limit`
 * as given to zk_gather_stage; the position goes there when nothing is left at
 * or below it. KV_NO_MEMORY. */
int zk_gather_take(struct zk_gather *g, uint64_t limit,
		   struct store_batch **out) KV_MUSTCHECK;

#endif /* KV_ZK_GATHER_H */
