/* zk_fetch.h: many reads over one connection, answered in the order in which
 * they were asked.
 *
 *   zk_fetch_add --> queue --> multiRead of some, several in flight --> done
 *                          `-> or single requests (watches, older servers)
 *
 * Nothing is repeated: with the connection all reads that wait are lost, which
 * its owner learns from the connection.
 */
#ifndef KV_ZK_FETCH_H
#define KV_ZK_FETCH_H

#include "store/zookeeper/zk_conn.h"

/* The answer to one read; valid during done(). */
struct zk_fetched {
	int error;     /* the server's, enum zk_error */
	uint64_t zxid; /* the state that it shows is at least this one's... and
			  of this header */
	struct zk_data data;  /* GET_DATA, EXISTS (data.stat alone) */
	struct jute_in names; /* GET_CHILDREN: the vector of names */
	struct slice acl;     /* GET_ACL: the vector, its count included */
};

/* Caller-owned; path stays until done. */
struct zk_fetch {
	struct list link;
	enum zk_op op; /* GET_DATA, GET_CHILDREN, EXISTS, GET_ACL */
	bool watch;    /* leaves a watch (then it is a single request) */
	struct slice path;
	void (*done)(struct zk_fetch *f, const struct zk_fetched *r);
};

struct zk_fetcher {
	/* set before zk_fetcher_open */
	struct zk_conn *conn;
	bool multi; /* the server takes multiRead */
	/* The connection is lost, memory is out, or an answer was not
	 * understood. Nothing comes any more; called once. */
	void (*failed)(void *ctx, const struct kv_err *err);
	void *ctx;
	/* private */
	struct list queue;
	struct list calls; /* struct fetch_call */
	size_t in_flight;  /* requests */
	size_t bytes_each; /* of the answers, lately */
	bool open;
	bool pumping;
};

void zk_fetcher_open(struct zk_fetcher *f);
/* Forgets all reads. */
void zk_fetcher_close(struct zk_fetcher *f);
/* done() comes later, unless the fetcher fails. Sent by zk_fetcher_pump. */
void zk_fetch_add(struct zk_fetcher *f, struct zk_fetch *one);
void zk_fetcher_pump(struct zk_fetcher *f);
/* Neither waiting nor in flight. */
bool zk_fetcher_is_idle(const struct zk_fetcher *f);

#endif /* KV_ZK_FETCH_H */
