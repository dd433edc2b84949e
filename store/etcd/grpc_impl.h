/* grpc_impl.h: one connection, as its two files see it.
 *
 *   grpc.c          calls, sending, silence, ends
 *   grpc_receive.c  what nghttp2 tells: answers, trailers, goodbyes
 */
#ifndef KV_GRPC_IMPL_H
#define KV_GRPC_IMPL_H

#include <nghttp2/nghttp2.h>

#include "store/etcd/grpc.h"

#define SEND_BUFFER ((size_t)256 * 1024)
/* nghttp2 gives one frame at a time: 16 KiB, or a header block. */
#define SEND_SLACK ((size_t)128 * 1024)

struct grpc {
	struct sched *sched;
	const struct grpc_events *events;
	void *ctx;
	struct wire *wire;
	nghttp2_session *session;
	char *authority;
	const char *scheme;
	bool has_client_cert;
	bool wire_up;
	bool up;      /* SETTINGS of the server are here */
	bool down;    /* told, or about to be */
	bool goaway;  /* no new calls */
	bool inside;  /* nghttp2 is on the stack */
	bool sending; /* ... in mem_send */
	bool closing;
	bool heard_any;
	bool no_memory; /* nghttp2 was refused some */
	uint64_t heard;
	uint64_t ping_sent; /* 0: none is out */
	struct list calls;
	struct list ended;	  /* done is due on a later turn */
	struct sched_timer alive; /* waits for SETTINGS, then watches silence */
	uint64_t connect_ms;
	struct sched_task later; /* reports `trouble` */
	struct kv_err trouble;	 /* status OK: none */
	uint8_t out[SEND_BUFFER + SEND_SLACK];
};

/* A new session whose callbacks are those of grpc_receive.c. */
int grpc_session_new(struct grpc *g) KV_MUSTCHECK;

/* A call ends, now; or, when an owner may be on the stack (nghttp2 sends), on a
 * later turn. */
void grpc_end_call(struct grpc_call *call, enum grpc_end end);
void grpc_finish_call(struct grpc_call *call, enum grpc_end end);

/* Notes why the connection is lost; the first reason stays. */
void grpc_note_trouble(struct grpc *g, const struct kv_err *err);

#endif /* KV_GRPC_IMPL_H */
