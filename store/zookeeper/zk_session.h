/* zk_session.h: the connection that reads and watches: to whichever server
 * answers, made anew when it is lost.
 *
 *   zk_ask_start --> waiting --(up)--> zk_conn --> reply --> done
 *        deadline, all servers refused --^            ^-- lost: once more
 *   events --> listeners (watches), in the order of the connection
 *
 * Made when there is something to ask or somebody listens; closed when idle is
 * not needed: a session costs a ping each third of its time. `epoch` counts the
 * connections.
 *
 * At each connect, before it is up: a sync, so that no server that lags is
 * read; the Stat of the root (who is there: identity); then an empty multiRead,
 * to see what the server can (`fast`). A server that does not
 * know it answers, and closes: it is connected to anew, the general way.
 *
 * A server behind `zxid` refuses the handshake. When all do so for a while, one
 * is taken without that condition, and what the sync shows is believed: the
 * ensemble went back, which callers see by the index.
 */
#ifndef KV_ZK_SESSION_H
#define KV_ZK_SESSION_H

#include "store/zookeeper/zk_conn.h"

struct zk_endpoint {
	char *host;
	char *port;
	struct kv_err last; /* why it failed last */
	bool general;	    /* knows no multiRead */
	unsigned mute;	    /* closed while it was asked whether it does */
	unsigned behind;    /* refused so often since the last success */
};

/* Who hears of events. Zero-fill, set the functions, add. */
struct zk_listener {
	struct list link;
	/* Connected (again): a new session without any watch. Called at once,
	 * on a later turn, when it is up as the listener is added. */
	void (*up)(struct zk_listener *l);
	/* The session is gone, and all its watches. */
	void (*down)(struct zk_listener *l, const struct kv_err *err);
	void (*event)(struct zk_listener *l, enum zk_event_type type,
		      struct slice path); /* absolute path */
	bool told_up;			  /* private */
};

enum zk_phase { ZK_DOWN, ZK_DIALING, ZK_PROBING, ZK_UP };

enum zk_way { ZK_WAY_AUTO, ZK_WAY_GENERAL, ZK_WAY_FAST };

struct zk_session {
	/* set before zk_session_init, owned by the session from then on */
	struct sched *sched;
	struct zk_endpoint *endpoints;
	size_t n_endpoints;
	struct tls_config tls;
	bool use_tls;
	char *digest; /* "user:password"; NULL: none */
	uint64_t timeout_ms;
	uint32_t session_ms;
	enum zk_way way;
	struct slice root; /* the znode whose Stat is asked for; "/a" or "/" */

	/* for all to read */
	bool up;
	bool fast; /* this connection's server takes multiRead, addWatch */
	uint64_t epoch;
	int64_t zxid;	      /* greatest ever seen in a reply */
	struct zk_conn *conn; /* valid while up; listeners may use it for calls
				 that only make sense on this connection */
	struct zk_stat root_stat; /* of the root, as of this connection; */
	bool has_root;		  /* ... if there is one */
	/* private: see zk_session.c */
	size_t cur; /* the endpoint in use, or to be tried next */
	enum zk_phase phase;
	struct zk_call probes[3];
	unsigned probing; /* probes not yet answered */
	struct zk_stat probed_stat;
	bool probed_root;
	bool unbound;	     /* connected without the condition on zxid */
	struct list waiting; /* asks: for a connection */
	struct list active;  /* sent */
	struct list failed;  /* done() is due on a later turn */
	struct list by_due;  /* all asks, by deadline */
	struct list listeners;
	struct sched_task task;
	struct sched_timer deadline; /* of the oldest ask */
	struct sched_timer retry;    /* the next dial; the probes' deadline */
	uint64_t dials;
	unsigned rounds;      /* of failed dials since the last success */
	uint64_t behind_ms;   /* when a server first was behind; 0 */
	unsigned connections; /* not yet closed */
	bool closing;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* One question (a read) to whichever server answers: waits for a connection,
 * is asked once more when the connection is lost, ends at the deadline. */
struct zk_ask {
	struct zk_call call; /* begin and put its body, set call.data */
	uint64_t need_epoch; /* 0, or: only on that connection */
	/* call.err, .error, .zxid, .body as in zk_conn.h */
	void (*done)(struct zk_ask *a);
	uint64_t epoch; /* out: of the connection that answered */
	/* private */
	struct list link;
	struct list by_due;
	struct zk_session *session;
	struct jute_out kept; /* the frame, for the second time */
	uint64_t due_ms;
	uint64_t born;	 /* the session's dials at its start */
	size_t attempts; /* dials that may still fail */
	bool sent;
	bool repeated;
};

void zk_session_init(struct zk_session *s);
/* Frees what was set before zk_session_init, which was not called. */
void zk_session_free(struct zk_session *s);
/* PRE: no asks, no listeners. */
void zk_session_close(struct zk_session *s, void (*closed)(void *ctx),
		      void *ctx);

/* Makes a connection, if there is none. */
void zk_session_wake(struct zk_session *s);
void zk_ask_start(struct zk_session *s, struct zk_ask *a);
void zk_ask_cancel(struct zk_ask *a); /* no done() will come */

void zk_session_listen(struct zk_session *s, struct zk_listener *l);
void zk_session_unlisten(struct zk_listener *l);

/* KV_NOT_REACHABLE (KV_DENIED where every server said so) with all reasons. */
int zk_session_unreachable(const struct zk_session *s, struct kv_err *err);

#endif /* KV_ZK_SESSION_H */
