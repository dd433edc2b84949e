/* etcd_keys.h: from keys to stored bytes, ranges, and back. Pure.
 *
 *   prefix /app     key /x/y --> /app/x/y    dir /x --> [/app/x/ , /app/x0)
 *   raw_prefix app/ key /x/y --> app/x/y     dir /x --> [app/x/  , app/x0)
 */
#ifndef KV_ETCD_KEYS_H
#define KV_ETCD_KEYS_H

#include "store/base/slice.h"

struct etcd_keys {
	struct slice prefix; /* "" or "/app"; or the raw prefix */
	bool raw;
};

/* A range of stored keys: from `start` on, below `end`. end.n == 0: the one
 * key; end == "\0": all from start on. */
struct etcd_range {
	struct slice start;
	struct slice end;
};

/* In the arena; p NULL: no memory. PRE: key begins with '/'. */
struct slice etcd_keys_store(const struct etcd_keys *k, struct arena *a,
			     struct slice key) KV_MUSTCHECK;

/* The key of stored bytes p, n, as a part of them (the last byte of a raw
 * prefix may be overwritten with '/') or copied into the arena. n == 0: not in
 * the tree; p NULL with n > 0: no memory. */
struct slice etcd_keys_relative(const struct etcd_keys *k, struct arena *a,
				uint8_t *p, size_t n) KV_MUSTCHECK;

/* All keys below dir ("" or "/a") that come after the key `after` (n == 0:
 * from the first). False: no memory. */
bool etcd_keys_range(const struct etcd_keys *k, struct arena *a,
		     struct slice dir, struct slice after,
		     struct etcd_range *out) KV_MUSTCHECK;

#endif /* KV_ETCD_KEYS_H */
