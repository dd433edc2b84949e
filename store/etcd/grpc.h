/* grpc.h: one HTTP/2 connection that carries gRPC calls.
 *
 *   grpc_start --> nghttp2 --> up to 256 KiB --> wire
 *   wire --> nghttp2 --> framing --> message, done
 *
 * A connection is `up` when the server's SETTINGS are here: a frozen server,
 * or one that wants a client certificate, shows before anything was asked of
 * it. While a call is open and nothing comes, the peer is asked by PING; one
 * that does not answer is dead.
 *
 * `message` and `done` of a call come from the loop, never from inside
 * grpc_start or grpc_cancel; from inside them every call of this header is
 * allowed. A call ends by one `done`, or by grpc_cancel.
 */
#ifndef KV_GRPC_H
#define KV_GRPC_H

#include "store/etcd/grpc_frame.h"
#include "store/net/wire.h"

struct grpc;

struct grpc_events {
	void (*up)(void *ctx);
	/* Once; the calls were told before. Close it then. */
	void (*down)(void *ctx, const struct kv_err *err);
	void (*closed)(void *ctx); /* after grpc_close: it is gone */
};

struct grpc_params {
	struct sched *sched;
	const char *host;
	const char *port;
	const struct tls_config *tls; /* borrowed; NULL: clear text */
	uint64_t connect_ms;	      /* until up */
	uint32_t stream_window;	      /* bytes a call may have under way */
	const struct grpc_events *events;
	void *ctx;
};

#define GRPC_TEXT_MAX 256

/* How a call ended. */
enum grpc_end {
	GRPC_END_STATUS,  /* the server answered: code, text */
	GRPC_END_REFUSED, /* surely not looked at by the server */
	GRPC_END_LOST,	  /* connection or stream broke: text */
	GRPC_END_TOO_BIG, /* the answer is longer than max_message */
	GRPC_END_NO_MEMORY
};

/* Caller-owned. Zero-fill, fill in, start; then hands off till its end. */
struct grpc_call {
	const char *path;  /* "/etcdserverpb.KV/Range" */
	const char *token; /* metadata `token`, or NULL; needed by start only */
	bool needs_leader; /* metadata hasleader */
	bool stream;	   /* stays open for grpc_send */
	size_t max_message; /* bytes of an answer; 0: any */
	const uint8_t *out; /* framed request */
	size_t out_n;
	/* A whole message; it is the callee's, to kv_free. */
	void (*message)(struct grpc_call *call, uint8_t *p, size_t n);
	void (*done)(struct grpc_call *call);

	/* out */
	bool sent; /* the last byte of the request went to the socket */
	enum grpc_end end;
	int code;		  /* END_STATUS: 0 is success */
	char text[GRPC_TEXT_MAX]; /* the server's, or why it broke */
	size_t announced;	  /* END_TOO_BIG: how long */

	/* private */
	struct list link;
	struct grpc *g;
	int32_t id;
	size_t out_pos;
	struct grpc_inbox in;
	size_t held; /* bytes not given back to flow control */
	bool paused;
	bool ended;
	int http_status;
	bool has_status;
};

int grpc_open(const struct grpc_params *p, struct grpc **out,
	      struct kv_err *err) KV_MUSTCHECK;

/* Can calls be started: up, and the server did not say goodbye. */
bool grpc_is_usable(const struct grpc *g);

/* The server said goodbye, and only answers what was asked before. */
bool grpc_is_leaving(const struct grpc *g);

/* When the server was last heard of (sched_now). */
uint64_t grpc_last_heard(const struct grpc *g);

/* PRE: usable. KV_NO_MEMORY: not started, no `done` will come. */
int grpc_start(struct grpc *g, struct grpc_call *call) KV_MUSTCHECK;

/* The call ends here and now; no callback comes. The server is told. Nothing
 * when it has ended. */
void grpc_cancel(struct grpc_call *call);

/* Has it been started and not ended? */
bool grpc_call_is_open(const struct grpc_call *call);

/* A further message on a stream; the framed bytes must stay until sent. False:
 * the one before is still on its way. */
bool grpc_send(struct grpc_call *call, const uint8_t *p, size_t n) KV_MUSTCHECK;

/* A paused call takes no more than its window from the server. */
void grpc_pause(struct grpc_call *call, bool paused);

/* Takes the connection down, soon, with that reason. */
void grpc_abort(struct grpc *g, const struct kv_err *err);

/* Lets go of the connection; calls are to be ended before. Only `closed` comes
 * after it. */
void grpc_close(struct grpc *g);

#endif /* KV_GRPC_H */
