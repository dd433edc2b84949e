/* zk_walk.h: the znodes below a directory in ascending bytewise order of their
 * paths, read ahead.
 *
 *   directory --children--> names, sorted --> node, subtree, node, subtree ...
 *   "a", "a-x", "a/b": a node stands before its subtree, and what is between
 *   them ('-' < '/') between them
 *
 * The walk is a list in that order. What is not known yet stands in it as a
 * place: a directory to be listed, the rest of a listing, a node to be read.
 * Places near the front are asked for, in batches; the front is handed out when
 * it is known. Memory: the listings on the way, WINDOW nodes, a few megabytes
 * of data.
 */
#ifndef KV_ZK_WALK_H
#define KV_ZK_WALK_H

#include "store/zookeeper/zk_read.h"

struct zk_walk;

/* Who reads: a session, or a test. */
struct zk_reader {
	void (*start)(struct zk_reader *r, struct zk_read *read);
	void (*cancel)(struct zk_reader *r, struct zk_read *read);
	bool fast;	  /* a batch is one request */
	size_t node_size; /* bytes a znode read, as seen lately; 0: none was */
};

struct zk_walk_params {
	struct sched *sched;
	struct zk_reader *reader; /* outlives the walk */
	struct slice dir;	  /* absolute path: "/", "/a"; not handed out */
	struct slice after;	  /* absolute path, or n == 0: what comes after
				     it only */
	/* In place of a directory: these, sorted and distinct; n == 0: no. */
	const struct slice *paths;
	size_t n_paths;
	bool acls; /* ACLs, too */
	/* The front is known now, or the walk has failed. On a later turn. */
	void (*moved)(struct zk_walk *w);
	void *data;
};

struct zk_walk_node {
	struct slice path;
	/* ZK_OK; ZK_NO_NODE: it is gone (a named one: not there); ZK_NO_AUTH:
	 * it is there and must not be read, nor what may be below it; data has
	 * its Stat alone. */
	int error;
	struct zk_data data;
	struct slice acl; /* a vector; params.acls */
};

/* NULL: no memory. */
struct zk_walk *zk_walk_open(const struct zk_walk_params *p) KV_MUSTCHECK;
void zk_walk_free(struct zk_walk *w);

/* Asks for what is due. Where an error ended the walk: nothing. */
void zk_walk_go(struct zk_walk *w);

/* The front, or NULL: it is not known yet (go on when moved), the walk is at
 * its end, or has failed. Valid until the next call. */
const struct zk_walk_node *zk_walk_front(struct zk_walk *w);
void zk_walk_pop(struct zk_walk *w);
bool zk_walk_is_done(struct zk_walk *w); /* nothing is left */
const struct kv_err *zk_walk_err(const struct zk_walk *w);

/* The lowest zxid that anything stands for which was handed out, or found
 * absent, since the last call; 0: nothing was. */
int64_t zk_walk_low(struct zk_walk *w);

/* For the next one to ask for it: who is called, with what. */
void zk_walk_give(struct zk_walk *w, void (*moved)(struct zk_walk *w),
		  void *data);
void *zk_walk_data(const struct zk_walk *w);
size_t zk_walk_bytes(const struct zk_walk *w); /* of memory, about */

/* ---- walks that wait for the next page (zk_scan.c) ----------------------- */

struct zk_walks {
	struct list idle;
	size_t n;
	struct sched_timer timer;
};

#endif /* KV_ZK_WALK_H */
