/* zk_handle.h: libzookeeper_mt, its threads behind a mailbox.
 *
 *   zk_lib_start --> zoo_a* --> the library's threads --> server
 *   done, changed <-- loop <-- mailbox <-- completions, session events
 *   open, close: on a worker, as they resolve names and wait
 *
 * A session that expired (or was refused) is closed and another one made, by
 * itself. Until then, and while the connection is lost, the handle is not `up`.
 *
 * The library never calls the completions of some requests that are in flight
 * when it is closed. So the handle keeps its own list of calls: those that are
 * left over when the library has let go are answered with ZCLOSING. Closing
 * waits a moment for what is in flight, so that the library does not lose (and
 * leak) its own part of it.
 */
#ifndef KV_ZK_HANDLE_H
#define KV_ZK_HANDLE_H

#include "store/base/sched.h"
#include "store/base/status.h"
#include "store/zookeeper/zk_plan.h"

struct zk_handle;

struct zk_handle_params {
	struct sched *sched;
	const char *hosts;  /* "h:p,h:p"; copied */
	const char *digest; /* "user:password", copied; NULL: none */
	uint32_t session_ms;
	void (*changed)(void *ctx); /* up, down, another session */
	void *ctx;
};

/* KV_NO_MEMORY. */
int zk_handle_open(const struct zk_handle_params *p, struct zk_handle **out,
		   struct kv_err *err) KV_MUSTCHECK;
/* Forgets all calls, waits for what is in flight (a few seconds at most), then
 * `closed`, later. No `changed` comes any more. */
void zk_handle_close(struct zk_handle *h, void (*closed)(void *ctx), void *ctx);

bool zk_handle_is_up(const struct zk_handle *h);
/* Counts sessions; 0: there was none yet. */
uint64_t zk_handle_session(const struct zk_handle *h);
/* Why it is not up, as far as known; status KV_OK: nothing is known. */
const struct kv_err *zk_handle_error(const struct zk_handle *h);

enum zk_lib_kind {
	ZK_LIB_EXISTS,	  /* path -> stat */
	ZK_LIB_GET,	  /* path -> stat, data, null */
	ZK_LIB_SYNC,	  /* path */
	ZK_LIB_GET_ACL,	  /* path -> attrs */
	ZK_LIB_SET_ACL,	  /* path, attrs */
	ZK_LIB_MULTI,	  /* steps -> stats, failed */
	ZK_LIB_EPHEMERAL, /* path, data -> made: an ephemeral sequential znode
			   */
	ZK_LIB_CHILDREN,  /* path -> names */
	ZK_LIB_DELETE	  /* path, version */
};

/* An item of the handle's mailbox. */
struct zk_post {
	struct list link;
	enum { ZK_POST_DONE, ZK_POST_STATE, ZK_POST_GONE } kind;
};

/* One request to the library. Made by zk_lib_new, filled in, started; freed by
 * the handle when done() returns. What it points to that is not in its arena
 * may go as soon as zk_lib_start returns. */
struct zk_lib {
	enum zk_lib_kind kind;
	void (*done)(struct zk_lib *c); /* on the loop, later */
	void *data;			/* the caller's, both */
	void *arg;
	struct list mine; /* for the caller: a list of what it has in flight;
			     removed before done() */
	struct arena arena;
	const char *path; /* NUL-terminated */
	struct slice value;
	struct zk_attrs attrs;
	int32_t version;
	const struct zk_step *steps; /* MULTI */
	size_t n_steps;
	/* out */
	int rc;	     /* the library's */
	bool sent;   /* false: surely not sent (and rc says why) */
	bool memory; /* the answer was lost for want of memory */
	struct zk_stat stat;
	bool null;
	struct slice out;    /* data; the path made */
	struct slice *names; /* CHILDREN */
	size_t n_names;
	struct zk_stat *stats; /* MULTI, rc ZOK: of the sets */
	size_t failed;	       /* MULTI, rc not ZOK: the step at fault;
				  ZK_NO_NODE: not told */
	int failed_rc;
	/* private */
	struct list link; /* in the session */
	struct zk_post post;
	struct zk_lib_session *session;
	void *results;
	void *lib_stats;
};

/* NULL: no memory. */
struct zk_lib *zk_lib_new(enum zk_lib_kind kind, void (*done)(struct zk_lib *c),
			  void *data) KV_MUSTCHECK;
/* PRE: up. */
void zk_lib_start(struct zk_handle *h, struct zk_lib *c);
/* No done() will come. */
void zk_lib_forget(struct zk_lib *c);
/* A call that was made and not started. */
void zk_lib_drop(struct zk_lib *c);

#endif /* KV_ZK_HANDLE_H */
