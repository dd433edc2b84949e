/* etcd_client.h: unary calls to whichever endpoint answers.
 *
 *   etcd_call_start --> waiting --(connection, token)--> grpc --> done
 *        deadline, all endpoints refused --^                 ^-- deadline, loss
 *
 * One connection carries all unary calls; it is made when there is something
 * to send, and made anew, at the next endpoint, when it is lost. `epoch` counts
 * the connections. A call that was surely not sent goes out again by itself;
 * one that only reads does so once even when it was sent.
 *
 * What a failed call means for its caller is in err: KV_NOT_REACHABLE and
 * KV_TIMED_OUT promise that a write was surely not done; where that cannot be
 * promised it is KV_UNKNOWN_OUTCOME.
 */
#ifndef KV_ETCD_CLIENT_H
#define KV_ETCD_CLIENT_H

#include "store/base/sched.h"
#include "store/etcd/etcd_error.h"
#include "store/etcd/etcd_pb.h"
#include "store/etcd/grpc.h"

struct etcd_endpoint {
	char *host;
	char *port;
	struct kv_err last; /* why it failed last; status OK: it did not */
};

struct etcd_client {
	/* set before etcd_client_init, owned by the client from then on */
	struct sched *sched;
	struct etcd_endpoint *endpoints;
	size_t n_endpoints;
	struct tls_config tls;
	bool use_tls;
	char *user; /* NULL: no authentication */
	char *password;
	uint64_t timeout_ms;

	/* private */
	size_t cur; /* endpoint in use, or to be tried next */
	struct grpc *kv;
	bool kv_up;
	bool kv_retiring; /* no new calls on it */
	uint64_t dials;	  /* connections begun */
	uint64_t epoch;
	char *token;
	uint64_t token_gen;
	bool auth_off; /* the server has no authentication */
	struct grpc_call auth;
	uint8_t *auth_frame;
	size_t auth_frame_n;
	uint8_t *auth_reply;
	size_t auth_reply_n;
	struct sched_timer auth_deadline;
	struct list waiting;
	struct list active;
	struct list failed;	/* done is due on a later turn */
	struct sched_task task; /* runs the step function */
	unsigned connections;	/* not yet closed, watches' included */
	bool closing;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* Caller-owned. Zero-fill, fill in, start; hands off until `done`, which comes
 * once, from the loop, never from inside etcd_call_start. */
struct etcd_call {
	const char *path;
	uint8_t *frame; /* etcd_pack's; freed by the call at its end */
	size_t frame_n;
	bool mutates;
	bool stale_ok;	     /* a member without a leader may answer */
	size_t max_reply;    /* 0: any */
	uint64_t need_epoch; /* 0, or: only on that connection */
	void (*done)(struct etcd_call *c);
	/* out */
	struct kv_err err;
	enum etcd_remedy remedy;
	uint8_t *reply; /* err OK: a message, done's to kv_free */
	size_t reply_n;
	uint64_t epoch;	  /* of the connection that answered */
	size_t announced; /* err KV_TOO_LARGE by max_reply: how long it is */
	bool sent;	  /* the request may be with the server */
	/* private */
	struct list link;
	struct etcd_client *client;
	struct grpc_call grpc;
	struct sched_timer deadline;
	uint64_t started;
	size_t attempts; /* connections that may still fail */
	uint64_t born;	 /* c->dials at the start */
	uint64_t token_gen;
	bool reauthenticated;
	bool repeated;
};

void etcd_client_init(struct etcd_client *c);

/* Frees what was set before etcd_client_init, which was not called. */
void etcd_client_free(struct etcd_client *c);

/* Frees all once every connection is closed, then calls back. PRE: no calls. */
void etcd_client_close(struct etcd_client *c, void (*closed)(void *ctx),
		       void *ctx);

void etcd_call_start(struct etcd_client *c, struct etcd_call *call);

/* Ends a call: no `done` will come. call->sent says whether the request may
 * be with the server. */
void etcd_call_cancel(struct etcd_call *call);

/* A connection of the caller's own to endpoint number `at` (modulo), for a
 * watch. When its `closed` event has come, etcd_client_hung_up must be called.
 */
int etcd_client_dial(struct etcd_client *c, size_t at, uint32_t window,
		     const struct grpc_events *events, void *ctx,
		     struct grpc **out, struct kv_err *err) KV_MUSTCHECK;
void etcd_client_hung_up(struct etcd_client *c);

/* Why endpoint `at` failed, for the text of errors; and forgets the token that
 * was refused, if it is still the one in use. */
void etcd_client_note(struct etcd_client *c, size_t at,
		      const struct kv_err *why);
void etcd_client_drop_token(struct etcd_client *c, uint64_t gen);

/* KV_NOT_REACHABLE (or KV_DENIED where every endpoint said so) with all
 * endpoints' reasons. */
int etcd_client_unreachable(const struct etcd_client *c, struct kv_err *err);

/* ---- between etcd_client.c and etcd_auth.c ------------------------------- */

void etcd_auth_init(struct etcd_client *c);
/* Asks for a token, unless that is under way. PRE: the connection is usable. */
void etcd_auth_maybe_start(struct etcd_client *c);
void etcd_auth_stop(struct etcd_client *c);

/* Every call that waits ends with that error, on a later turn. */
void etcd_client_fail_waiting(struct etcd_client *c, const struct kv_err *err);

#endif /* KV_ETCD_CLIENT_H */
