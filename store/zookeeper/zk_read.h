/* zk_read.h: many reads as one request of ours.
 *
 *   zk_read_start --> fast:    one multiRead (what that takes), else
 *                     general: single requests, pipelined --> item, ..., done
 *
 * Answers come in the order of the items; each shows the state at its zxid.
 */
#ifndef KV_ZK_READ_H
#define KV_ZK_READ_H

#include "store/zookeeper/zk_session.h"

/* GET_DATA, GET_CHILDREN, GET_ACL, EXISTS, SYNC. */
struct zk_read_item {
	enum zk_op op;
	struct slice path; /* absolute; only until zk_read_start returns */
};

struct zk_read_result {
	int error; /* the server's; ZK_OK: what was read is below */
	int64_t zxid;
	struct zk_data data; /* GET_DATA; EXISTS: the Stat alone */
	/* GET_CHILDREN: the names, each by jute_get_bytes; GET_ACL: the vector,
	 * its count included. */
	size_t n_names;
	struct slice raw;
};

/* Zero-fill, set, start; hands off until done. */
struct zk_read {
	const struct zk_read_item *items; /* until zk_read_start returns */
	size_t n;
	uint64_t need_epoch; /* 0, or: only on that connection */
	/* Of items[i]; what res points to is valid during the call. */
	void (*item)(struct zk_read *r, size_t i,
		     const struct zk_read_result *res);
	void (*done)(struct zk_read *r); /* once, in the end */
	void *data;			 /* the caller's */
	/* out */
	struct kv_err err; /* why not all items were told */
	uint64_t epoch;
	size_t bytes; /* of the replies */
	/* private */
	struct zk_read_ask *asks;
	size_t n_asks;
	size_t left;
	struct sched_task failed; /* there was no memory to ask */
};

/* Always ends with done(), on a later turn. */
void zk_read_start(struct zk_session *s, struct zk_read *r);
/* No item() and no done() will come. */
void zk_read_cancel(struct zk_read *r);

#endif /* KV_ZK_READ_H */
