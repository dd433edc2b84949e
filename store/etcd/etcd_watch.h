/* etcd_watch.h: a watch, as its files see it.
 *
 *   etcd_watch.c:      the stream, handing out, ends
 *   etcd_watch_open.c: the way to the first batch
 *   etcd_want.c:       on a silent stream, proving that nothing is on its way
 */
#ifndef KV_ETCD_WATCH_H
#define KV_ETCD_WATCH_H

#include "store/etcd/etcd_events.h"
#include "store/etcd/etcd_impl.h"

/*
 * IDLE -> HEAD -> DIALING -> CREATING -> CHECKING -> LIVE
 *   HEAD      Range of one key on the calls' connection: who is there, at
 *             which revision; `after` is in its history; a token is at hand
 *   DIALING   the watch's own connection
 *   CREATING  WatchCreateRequest was sent
 *   CHECKING  created; a Range at the position: not compacted away meanwhile
 * any -> ENDED (err says why; what is whole in the queue is handed out first)
 */
enum watch_phase {
	WATCH_IDLE,
	WATCH_HEAD,
	WATCH_DIALING,
	WATCH_CREATING,
	WATCH_CHECKING,
	WATCH_LIVE,
	WATCH_ENDED
};

/* How a server of that version answers a manual progress request. */
enum watch_progress { PROGRESS_UNKNOWN, PROGRESS_ORDERED, PROGRESS_UNSURE };

struct etcd_watch {
	struct etcd *e;
	struct store_watch *w;	 /* NULL: let go of */
	struct store_next *next; /* the pull that waits */
	enum watch_phase phase;
	struct kv_err err;
	struct arena names; /* bounds of the range */
	struct etcd_range range;
	bool single; /* one key */
	struct etcd_events events;
	bool lived;		  /* was LIVE once */
	struct store_batch *init; /* first batch, until handed out */
	struct store_origin origin;
	struct sched_timer opening; /* deadline of DIALING to CREATING */
	bool reauthenticated;
	uint64_t token_gen;

	struct etcd_call call; /* HEAD, CHECKING, or a proof's read */
	bool calling;

	struct grpc *g;
	unsigned connections; /* not yet closed */
	size_t endpoint;
	size_t attempts; /* connections that may still fail */
	struct grpc_call stream;
	uint8_t *create;
	size_t create_n;

	/* etcd_want.c */
	struct sched_timer quiet;
	uint64_t quiet_ms;
	struct grpc_call status; /* the member's version */
	enum watch_progress progress;
	uint64_t proof_revision; /* of the read under way */
	uint64_t proof_base;	 /* the position it starts from */
	struct slice proof_last; /* last key seen, in proof_names */
	struct arena proof_names;
};

/* The watch ends with that error (mapped to those that watches have). */
void etcd_watch_fail(struct etcd_watch *ew, const struct kv_err *err);

void etcd_watch_no_memory(struct etcd_watch *ew);

/* Lets go of the connection, if there is one. */
void etcd_watch_hang_up(struct etcd_watch *ew);

/* Frees a watch that was let go of, once its connections are closed. */
void etcd_watch_maybe_free(struct etcd_watch *ew);

/* etcd_watch_open.c: begins (HEAD); goes on after "created" (CHECKING); leaves
 * an endpoint for the next one, or ends the watch. */
void etcd_watch_look(struct etcd_watch *ew);
void etcd_watch_check(struct etcd_watch *ew);
void etcd_watch_try_elsewhere(struct etcd_watch *ew, const struct kv_err *why);
void etcd_watch_open_init(struct etcd_watch *ew);

/* The stream's callbacks. */
void etcd_watch_message_cb(struct grpc_call *call, uint8_t *p, size_t n);
void etcd_watch_done_cb(struct grpc_call *call);

/* Answers the pull that waits, if there is something to say. */
void etcd_watch_step(struct etcd_watch *ew);

/* Call it when a pull waits and nothing can be handed out. */
void etcd_want_maybe_start(struct etcd_watch *ew);

/* Something came, or nobody asks any more: no proof is under way then. */
void etcd_want_stop(struct etcd_watch *ew);

void etcd_want_init(struct etcd_watch *ew);

#endif /* KV_ETCD_WATCH_H */
