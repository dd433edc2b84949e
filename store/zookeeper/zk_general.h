/* zk_general.h: the general way of watching, as its files see it: zk_general.c
 * and, until it is live, zk_general_open.c. */
#ifndef KV_ZK_GENERAL_H
#define KV_ZK_GENERAL_H

#include "store/zookeeper/zk_resume.h"
#include "store/zookeeper/zk_table.h"

struct zk_general {
	struct zk_table table;
	size_t reads;		/* under way */
	struct zk_resume *diff; /* while the known keys are armed */
	struct zk_dirty *first; /* the root, while the tree is armed */
	struct list large;	/* dirty directories, by list_fetch.link */
	struct sched_timer timer;
	struct zk_watch *zw;
};

/* zk_general.c */

/* The dirty one of a path. NULL: no memory, the watch has ended. */
struct zk_dirty *zk_general_touch(struct zk_watch *zw, struct slice path);
/* Looks at what is dirty. */
void zk_general_pump(struct zk_watch *zw);
/* Everything is armed (one key is so by its first read). */
void zk_general_armed(struct zk_watch *zw);
/* Large directories that were put off are due. */
void zk_general_large_cb(struct sched_timer *t);

/* zk_general_open.c */

void zk_general_arm(struct zk_watch *zw);
void zk_general_arming(struct zk_watch *zw);
void zk_general_resume(struct zk_watch *zw);

#endif /* KV_ZK_GENERAL_H */
