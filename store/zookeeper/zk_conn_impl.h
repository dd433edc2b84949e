/* zk_conn_impl.h: one connection, as its files see it.
 *
 *   zk_conn.c          making and ending, silence, the wire's events
 *   zk_conn_call.c     requests: numbers, frames, leaving together
 *   zk_conn_receive.c  what the server says: handshake, events, replies
 */
#ifndef KV_ZK_CONN_IMPL_H
#define KV_ZK_CONN_IMPL_H

#include "store/net/wire.h"
#include "store/zookeeper/zk_conn.h"
#include "store/zookeeper/zk_frame.h"

enum zk_phase { ZK_CONNECTING, ZK_HANDSHAKE, ZK_AUTH, ZK_UP, ZK_DOWN };

struct zk_conn {
	struct sched *sched;
	const struct zk_conn_events *events;
	void *ctx;
	struct wire *wire;
	char *server; /* host:port */
	bool over_tls;
	const char *auth_scheme;
	struct slice auth;
	int64_t last_zxid;
	uint64_t timeout_ms;
	uint64_t deadline; /* until up */
	uint32_t session_ms;
	size_t max_reply;
	enum zk_phase phase;
	bool closing;
	bool wire_closing;
	uint64_t granted_ms;
	uint64_t heard; /* last byte of the server */
	uint64_t said;	/* last request of ours */
	uint64_t asked; /* first request since `heard`, when `owed` */
	bool owed;
	bool second_look; /* silence was found, the socket not yet asked */
	uint64_t pings;	  /* unanswered */
	struct sched_timer alive;
	struct sched_task later; /* sends `out`, ends calls */
	struct zk_inbox in;
	struct jute_out out;	 /* gathers */
	struct jute_out sending; /* is the wire's */
	int64_t zxid;
	int32_t next_xid;     /* to give */
	int32_t next_reply;   /* awaited; next_xid: none */
	struct list sent;     /* calls, in order */
	struct list waiting;  /* SetWatches behind another one */
	struct list ended;    /* err is set, done is due */
	struct list ending;   /* of these, those being told */
	struct list watching; /* the SetWatches that is out, unless it
				 was forgotten */
	bool watches_out;
};

static inline struct zk_call *zk_call_of(struct list *l)
{
	return kv_container_of(l, struct zk_call, link);
}

/* ---- zk_conn.c ---- */

/* Tells all calls, then the owner. Only from the loop. */
void zk_conn_down(struct zk_conn *c, const struct kv_err *err);
void zk_conn_no_memory(struct zk_conn *c);
/* What came is not what a server says. */
void zk_conn_garbage(struct zk_conn *c, const char *what);
/* The two have nothing to do with each other any more. */
void zk_conn_detach(struct zk_call *call);
void zk_conn_end_call(struct zk_call *call);
/* PRE: the call's err is set. */
void zk_conn_end_later(struct zk_conn *c, struct zk_call *call);

/* ---- zk_conn_call.c ---- */

/* Hands over what has gathered, when the wire takes it. */
void zk_conn_flush(struct zk_conn *c);
/* Put into `out`. False: no memory, nothing was put. */
bool zk_conn_put_header(struct zk_conn *c, int32_t xid,
			int32_t op) KV_MUSTCHECK;
bool zk_conn_put_connect(struct zk_conn *c) KV_MUSTCHECK;
bool zk_conn_put_auth(struct zk_conn *c) KV_MUSTCHECK;
/* The next SetWatches that waits, when none is out. */
void zk_conn_send_watches(struct zk_conn *c);
static inline int32_t zk_xid_after(int32_t xid)
{
	return xid == INT32_MAX ? 1 : xid + 1;
}

/* ---- zk_conn_receive.c ---- */

/* The wire's data event. */
void zk_conn_receive(void *ctx, const uint8_t *p, size_t n);

#endif /* KV_ZK_CONN_IMPL_H */
