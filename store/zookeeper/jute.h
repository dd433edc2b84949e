/* jute.h: ZooKeeper's encoding: big-endian integers, length-prefixed bytes,
 * counted vectors.
 *
 * Writing goes into a growing buffer, reading over borrowed bytes. Both
 * remember their first failure, so that a caller may put or get a whole message
 * and look once: a failed `jute_in` gives zeros and empty slices.
 */
#ifndef KV_JUTE_H
#define KV_JUTE_H

#include "store/base/slice.h"

/* ---- writing ---- */

struct jute_out {
	uint8_t *p;
	size_t n;
	size_t cap;
	bool failed; /* no memory, or more bytes than a length can say */
};

/* Zero-filled is empty. */
void jute_out_free(struct jute_out *o);
void jute_put_bool(struct jute_out *o, bool v);
void jute_put_int(struct jute_out *o, int32_t v);
void jute_put_long(struct jute_out *o, int64_t v);
void jute_put_bytes(struct jute_out *o, struct slice s); /* string, buffer */
void jute_put_null(struct jute_out *o); /* a buffer of length -1 */
/* Bytes as they are, without a length. */
void jute_put_raw(struct jute_out *o, struct slice s);
/* Overwrites four bytes that were put before, at offset `at`. */
void jute_patch_int(struct jute_out *o, size_t at, int32_t v);

/* ---- reading ---- */

struct jute_in {
	const uint8_t *p;
	size_t n;    /* bytes left */
	bool failed; /* ran out, or a length that cannot be */
};

bool jute_get_bool(struct jute_in *in);
int32_t jute_get_int(struct jute_in *in);
int64_t jute_get_long(struct jute_in *in);
/* Borrowed from the input. *null (may be NULL): length -1. */
struct slice jute_get_bytes(struct jute_in *in, bool *null);
/* How many items follow (-1 counts as 0); fails when so many items of at least
 * `least` bytes each cannot be in what is left. */
size_t jute_get_count(struct jute_in *in, size_t least);

#endif /* KV_JUTE_H */
