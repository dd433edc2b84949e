/* zk_second.h: another connection to the server that a session reads from, for
 * one-shot watches that are to die with it. */
#ifndef KV_ZK_SECOND_H
#define KV_ZK_SECOND_H

#include "store/zookeeper/zk_session.h"

struct zk_second_events {
	void (*up)(void *ctx);
	void (*event)(void *ctx, enum zk_event_type type, struct slice path);
	/* Once; also when it cannot be made. */
	void (*down)(void *ctx, const struct kv_err *err);
};

struct zk_second;

/* PRE: the session is up. The session does not end before it. */
int zk_second_open(struct zk_session *s, const struct zk_second_events *events,
		   void *ctx, struct zk_second **out,
		   struct kv_err *err) KV_MUSTCHECK;
struct zk_conn *zk_second_conn(const struct zk_second *c);
/* No event comes after it. */
void zk_second_close(struct zk_second *c);

#endif /* KV_ZK_SECOND_H */
