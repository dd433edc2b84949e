/* grpc_frame.h: gRPC's framing, as pure code.
 *
 *   bytes of DATA frames, cut anywhere --> grpc_feed --> whole messages
 *
 * A message on the wire: one byte 0 (1: compressed, never asked for), four
 * bytes length, big-endian, then the message.
 */
#ifndef KV_GRPC_FRAME_H
#define KV_GRPC_FRAME_H

#include "store/base/slice.h"

#define GRPC_PREFIX 5

/* Puts messages together. Zero-fill it and set `max`. */
struct grpc_inbox {
	size_t max;    /* a longer message is refused; 0: none is */
	uint8_t *body; /* of the message under way */
	size_t body_n; /* its announced length */
	size_t have;   /* bytes of it that are here */
	uint8_t prefix[GRPC_PREFIX];
	uint8_t prefix_n;
};

enum grpc_feed {
	GRPC_FEED_MORE,	   /* all input is taken; no whole message yet */
	GRPC_FEED_MESSAGE, /* a whole message: grpc_inbox_take */
	GRPC_FEED_TOO_BIG, /* longer than max: body_n says how long */
	GRPC_FEED_BROKEN,  /* not gRPC framing, or compressed */
	GRPC_FEED_NO_MEMORY,
};

/* Takes bytes from *in (which is moved on) until a message is whole or the
 * input is used up. After TOO_BIG, BROKEN or NO_MEMORY only
 * grpc_inbox_free is allowed. */
enum grpc_feed grpc_feed(struct grpc_inbox *b, struct slice *in) KV_MUSTCHECK;

/* The message that is whole, *n bytes; the caller's to kv_free. Never NULL. */
uint8_t *grpc_inbox_take(struct grpc_inbox *b, size_t *n) KV_MUSTCHECK;

void grpc_inbox_free(struct grpc_inbox *b);

/* Writes the prefix of a message of n bytes. PRE: n fits 32 bits. */
void grpc_put_prefix(uint8_t prefix[GRPC_PREFIX], size_t n);

/* Decodes a grpc-message trailer (percent-escapes; a stray % stands for
 * itself; control characters become spaces) into buf, NUL-terminated, cut at
 * cap. */
void grpc_decode_text(struct slice in, char *buf, size_t cap);

#endif /* KV_GRPC_FRAME_H */
