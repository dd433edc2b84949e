/* zk_plan.h: what a batch of guarded operations means for a tree of znodes.
 * Pure: no I/O.
 *
 *   ops --zk_plan_build--> nodes (each op's znode and all above it)
 *          +---------------------------------------------------+
 *          v                                                   |
 *   zk_plan_make --> ASK: read nodes with ask_* --(answers)----+
 *                --> REFUSE: a guard does not hold, see the ops
 *                --> NOTHING: no znode has to change
 *                --> SEND: steps of one multi --> zk_plan_done
 *                    failed: zk_plan_forget ---> make, from the start
 *
 * Rules:
 *   - A put creates its znode or sets its data; znodes above that are missing
 *     are created with null data, in the same multi.
 *   - Where a znode stands that is no key (null data), a put that wants the key
 *     absent sets it, by the version that was read.
 *   - A delete of a znode that has children (those the batch makes included)
 *     sets its data to null; else the znode goes.
 *   - With the last child goes a parent whose data is null, that is not
 *     ephemeral, stands below the prefix and is not put by the same batch. Who
 *     made it cannot be told in ZooKeeper; but a znode that holds nothing was
 *     no key while it had children, and would become one without them.
 *   - In a multi: creates from the top down, sets, deletes from the bottom up.
 *
 * What a create made is not told (a multi has no Stat for it): all of one multi
 * share a zxid, which the Stat of any set in it tells. A multi that only
 * creates gets one: its first znode is created with null data and then set.
 *
 * A ZooKeeper version is {data version + 1, czxid}, and a multi can check the
 * data version only. The czxid is compared as read on the connection that
 * writes; a znode that somebody deletes and creates anew between that read and
 * the multi (one round trip), and brings to the same data version, is taken for
 * the old one. After a set its Stat tells: zk_plan_done counts them.
 */
#ifndef KV_ZK_PLAN_H
#define KV_ZK_PLAN_H

#include "store/store.h"
#include "store/zookeeper/zk_attrs.h"
#include "store/zookeeper/zk_proto.h"

#define ZK_NO_NODE SIZE_MAX

enum zk_known { ZK_UNREAD, ZK_ABSENT, ZK_THERE };

enum zk_fate { ZK_KEEP, ZK_CREATED, ZK_CHANGED, ZK_EMPTIED, ZK_DELETED };

struct zk_node {
	struct slice path;     /* absolute; a NUL stands behind it */
	size_t parent;	       /* ZK_NO_NODE: "/" */
	struct store_op *op;   /* NULL: only above one */
	struct zk_attrs attrs; /* of the op */
	bool below;	       /* strictly below the prefix */

	/* What is known; answers go here. */
	enum zk_known known;
	bool data_known; /* null says; else the Stat alone is known */
	bool null;
	bool key; /* THERE: it is a key (where null is not known: as if the
		     data were empty) */
	struct zk_stat stat;

	/* What zk_plan_make asks for. */
	bool ask_stat;
	bool ask_data; /* is it null? */

	/* After an unknown outcome: how it stands now. */
	bool now_there;
	bool now_same; /* the data that we sent */
	struct zk_stat now;

	/* private */
	bool assumed;	  /* known is not read but likely */
	bool over_delete; /* some op below deletes */
	bool lost_child;
	int64_t children;
	enum zk_fate fate;
};

enum zk_step_kind { ZK_STEP_CREATE, ZK_STEP_SET, ZK_STEP_DELETE };

struct zk_step {
	enum zk_step_kind kind;
	struct zk_node *node;
	int32_t version; /* -1: any */
	struct slice data;
	bool null;
};

/* Paths that were seen to exist, by hash. It may err either way: a multi that
 * relied on it fails and is planned anew from what is read. */
#define ZK_SEEN_SLOTS 4096
struct zk_seen {
	uint64_t slots[ZK_SEEN_SLOTS];
};
void zk_seen_add(struct zk_seen *s, struct slice path);
bool zk_seen_has(const struct zk_seen *s, struct slice path);
void zk_seen_drop(struct zk_seen *s, struct slice path);
void zk_seen_clear(struct zk_seen *s);

enum zk_plan_next {
	ZK_PLAN_NO_MEMORY,
	ZK_PLAN_ASK,
	ZK_PLAN_REFUSE,
	ZK_PLAN_NOTHING,
	ZK_PLAN_SEND
};

/* Zero-fill, set the first part, build. */
struct zk_plan {
	struct arena *arena;
	struct slice root; /* the prefix as a path; "/": none */
	struct zk_seen *seen;

	struct zk_node *nodes; /* parents before children */
	size_t n_nodes;
	/* PLAN_REFUSE: the first op that cannot be done. */
	const struct zk_node *refused;
	/* PLAN_SEND */
	struct zk_step *steps;
	size_t n_steps;
	size_t bytes;	    /* of the request */
	size_t learn;	    /* the step (a set) whose Stat has the multi's zxid;
			       ZK_NO_NODE: only deletes, see probe */
	struct slice probe; /* a znode whose pzxid is at least that zxid */
	/* The parents do not fit beside the rest: the steps are some of them
	 * alone, and the plan is to be made again after they are done. */
	bool parents_only;
	bool careful; /* nothing is assumed */

	/* private */
	size_t *slots; /* path -> node */
	size_t n_slots;
};

/* paths[i] is where ops[i] stands. KV_NO_MEMORY, KV_BAD_ARGUMENT (attrs). */
int zk_plan_build(struct zk_plan *p, struct store_op *ops,
		  const struct slice *paths, size_t n,
		  struct kv_err *err) KV_MUSTCHECK;

enum zk_plan_next zk_plan_make(struct zk_plan *p) KV_MUSTCHECK;

/* PRE: fates are decided (by zk_plan_make, which calls it). */
void zk_plan_steps(struct zk_plan *p);

/* Nothing is known any more, and nothing will be assumed. */
void zk_plan_forget(struct zk_plan *p);

/* The multi was done; stats[i] is that of step i, for sets. Fills in what the
 * ops have to say, and p->seen. Returns how many keys were guarded by a version
 * and turned out to be another znode. */
unsigned zk_plan_done(struct zk_plan *p, const struct zk_stat *stats,
		      uint64_t zxid);

/* No answer came: do the nodes' now_* show that all steps were done? Then
 * *zxid is the multi's (0: only deletes), and the ops are filled in as by
 * zk_plan_done. False: they do not show it. */
bool zk_plan_was_done(struct zk_plan *p, uint64_t *zxid);

/* Bytes of a multi that creates or sets all of these, parents aside: the most
 * it can take. */
size_t zk_plan_bound(const struct store_op *ops, const struct slice *paths,
		     size_t n);

#endif /* KV_ZK_PLAN_H */
