/* zk_conn.h: one connection to one ZooKeeper server, with a session of its own
 * that ends with it.
 *
 *   zk_conn_open --> wire --> handshake --> auth --> up
 *   zk_call_start --> frame --> wire            wire --> reply --> call->done
 *                                               event --> events->event
 *   pings while idle; silence for 2/3 of the session's time, an expired
 *   session, a frame that is no reply: down
 *
 * Replies come in the order of the requests. No call and no event comes from
 * inside a function of this header.
 */
#ifndef KV_ZK_CONN_H
#define KV_ZK_CONN_H

#include "store/net/tls.h"
#include "store/zookeeper/zk_proto.h"

#include "store/base/sched.h"

struct zk_conn;

struct zk_conn_events {
	/* Handshake and auth are done: calls may be started. */
	void (*up)(void *ctx);
	/* A watch fired; path is valid during the call. Between the replies,
	 * where the server put it. */
	void (*event)(void *ctx, enum zk_event_type type, struct slice path);
	/* Once; before it every active call has got its done(). KV_DENIED: the
	 * server refused the credentials. KV_HISTORY_LOST: the server closed
	 * during the handshake, as one does that is behind `last_zxid`, but
	 * also one without a quorum, or without room for connections: only
	 * its answer to a connection with last_zxid 0 tells. */
	void (*down)(void *ctx, const struct kv_err *err);
	void (*closed)(void *ctx); /* after zk_conn_close; it is gone */
};

struct zk_conn_params {
	struct sched *sched;
	const char *host;
	const char *port;
	const struct tls_config *tls; /* borrowed until closed; NULL: clear */
	uint64_t timeout_ms;	      /* until up */
	uint32_t session_ms;	      /* asked for; the server clamps it */
	int64_t last_zxid; /* servers that have not seen it refuse us; 0 */
	const char *auth_scheme; /* "digest"; NULL: none */
	struct slice auth;	 /* "user:password"; borrowed until closed */
	size_t max_reply; /* bytes, > 0. A larger one ends the connection; its
			     call's error is KV_TOO_LARGE. */
	const struct zk_conn_events *events;
	void *ctx;
};

int zk_conn_open(const struct zk_conn_params *p, struct zk_conn **out,
		 struct kv_err *err) KV_MUSTCHECK;

/* No event but `closed` comes after it; active calls are forgotten without a
 * done(). Says closeSession first when it is up. */
void zk_conn_close(struct zk_conn *c);

bool zk_conn_is_up(const struct zk_conn *c);

/* The greatest zxid that a reply of this connection carried. */
int64_t zk_conn_zxid(const struct zk_conn *c);

/* Caller-owned. Zero-fill, zk_call_begin, zk_put_*, start; hands off until
 * `done`. */
struct zk_call {
	struct jute_out frame; /* freed by the call's end */
	int op;
	void (*done)(struct zk_call *c);
	void *data; /* the caller's */
	/* out */
	struct kv_err err;   /* no reply: why (no memory, connection lost) */
	int error;	     /* the server's, 0: fine; only when err is OK */
	int64_t zxid;	     /* of the reply's header */
	struct jute_in body; /* valid in done() */
	/* private */
	struct list link;
	struct zk_conn *conn;
	int32_t xid;
};

/* Begins the frame of a request (length and header are filled in by start). */
void zk_call_begin(struct zk_call *call, enum zk_op op);
/* PRE: up. A frame that failed for want of memory is answered through done().
 */
void zk_call_start(struct zk_conn *c, struct zk_call *call);
/* No done() will come; the reply is swallowed. Nothing for a call that is not
 * active. */
void zk_call_forget(struct zk_call *call);

/* SetWatches: as zk_call, op ZK_OP_SET_WATCHES: begin, put_long(zxid), three
 * vectors (data, exist, child), start. The events come before its done(). One
 * is out at a time, a second one waits: what is started after it may pass it.
 */

#endif /* KV_ZK_CONN_H */
