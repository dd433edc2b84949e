/* zk_table.h: the znodes that a watch has watches on, found by path.
 *
 *   node: its last segment, and the node above it --> the path
 *
 * Memory: sizeof(struct zk_node) (48 bytes) + the last segment + malloc's share
 * + 8 to 16 bytes of buckets: some 80 bytes a znode, 8 MB per 100,000.
 * (While the tree is armed each znode that is listed and not yet read takes
 * some 250 bytes more.)
 */
#ifndef KV_ZK_TABLE_H
#define KV_ZK_TABLE_H

#include "store/base/slice.h"

struct zk_node {
	struct zk_node *chain;
	struct zk_node *parent;
	uint64_t index; /* of the key, as last seen; 0: none was */
	uint32_t hash;	/* of the whole path */
	uint32_t below; /* nodes whose parent it is */
	int32_t cversion;
	int32_t children;
	uint32_t name_n;
	bool is_key;  /* as last seen */
	bool is_null; /* its data */
	bool unseen;  /* known of, but not looked at yet */
	bool removed; /* not in the table; kept for those below it */
	uint8_t name[];
};

struct zk_table {
	struct zk_node **buckets;
	size_t n_buckets;
	size_t n;
};

void zk_table_free(struct zk_table *t);
struct zk_node *zk_table_find(const struct zk_table *t, struct slice path);
/* A new node, unseen; the one above it must be there, unless it is the first.
 * NULL: no memory. */
struct zk_node *zk_table_add(struct zk_table *t, struct zk_node *parent,
			     struct slice path) KV_MUSTCHECK;
/* The node of a path, made with all above it up to the root when missing. */
struct zk_node *zk_table_reach(struct zk_table *t, struct slice root,
			       struct slice path) KV_MUSTCHECK;
/* The path of the directory that it is in. */
struct slice zk_table_above(struct slice path);
void zk_table_remove(struct zk_table *t, struct zk_node *n);

#endif /* KV_ZK_TABLE_H */
