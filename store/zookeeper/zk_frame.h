/* zk_frame.h: ZooKeeper's frames out of a byte stream, and what stands at their
 * start. Pure: no I/O, no clock.
 *
 *   bytes --zk_feed--> frame --> handshake (the first one)
 *                            --> header --> event, or the body of a reply
 */
#ifndef KV_ZK_FRAME_H
#define KV_ZK_FRAME_H

#include "store/zookeeper/zk_proto.h"

/* Puts frames together. Zero-fill, set max. */
struct zk_inbox {
	size_t max;   /* bytes of a frame that are accepted */
	size_t frame; /* bytes of the frame under way; TOO_BIG: how many */
	/* private */
	uint8_t head[4];
	size_t head_n;
	uint8_t *body;
	size_t body_n;
	size_t body_cap;
};

enum zk_feed {
	ZK_FEED_MORE,	 /* all of `in` is taken */
	ZK_FEED_FRAME,	 /* *frame is one; `in` may hold more */
	ZK_FEED_TOO_BIG, /* the stream cannot be read on */
	ZK_FEED_BROKEN,	 /* a negative length; as above */
	ZK_FEED_NO_MEMORY
};

/* Takes bytes from the front of `in`. *frame is borrowed, from `in` or from the
 * inbox, until the next call. Memory grows with what came, not with what a
 * length promises. */
enum zk_feed zk_feed(struct zk_inbox *b, struct slice *in,
		     struct slice *frame) KV_MUSTCHECK;
void zk_inbox_free(struct zk_inbox *b);

struct zk_handshake {
	int32_t timeout_ms; /* granted; 0: no session (any more) */
	int64_t session;
	bool read_only;
};

/* The answer to a connect request. False: that is none. */
bool zk_get_handshake(struct slice frame,
		      struct zk_handshake *out) KV_MUSTCHECK;

/* Xids that are no request's number. */
enum zk_xid {
	ZK_XID_EVENT = -1,
	ZK_XID_PING = -2,
	ZK_XID_AUTH = -4,
	ZK_XID_WATCHES = -8
};

struct zk_header {
	int32_t xid;
	int64_t zxid;
	int32_t error;
};

/* Failed: too short. What is left of `in` is the body. */
void zk_get_header(struct jute_in *in, struct zk_header *out);

struct zk_event {
	int32_t type;  /* enum zk_event_type, or another number */
	int32_t state; /* 3: connected */
	struct slice path;
};

void zk_get_event(struct jute_in *in, struct zk_event *out);

#endif /* KV_ZK_FRAME_H */
