/* consul_names.h: a sorted list of key names, kept small, and read from the
 * JSON of a `?keys` answer while it comes in.
 *
 *   answer, piece by piece --> names_feed --> [keep?] --> names
 *
 * A name costs its bytes and 24 more.
 */
#ifndef KV_CONSUL_NAMES_H
#define KV_CONSUL_NAMES_H

#include "store/base/slice.h"
#include "store/base/status.h"

/* Zero-filled: empty. */
struct consul_names {
	uint8_t *bytes;
	size_t n_bytes;
	size_t bytes_cap;
	struct consul_name {
		uint64_t index; /* of its last change; 0: not known */
		size_t start;	/* in bytes */
		size_t len;
	} * names;
	size_t n;
	size_t names_cap;
};

static inline struct slice names_at(const struct consul_names *x, size_t i)
{
	return slice_of(x->bytes + x->names[i].start, x->names[i].len);
}

bool names_add(struct consul_names *x, struct slice name,
	       uint64_t index) KV_MUSTCHECK;
/* Sorts, and drops what stands twice, unless it is so already. */
void names_sort(struct consul_names *x);
/* The first name >= key. */
size_t names_find(const struct consul_names *x, struct slice key);
void names_free(struct consul_names *x);

/* Which names are kept. */
typedef bool (*names_keep)(const void *ctx, struct slice name);

struct names_reader {
	struct consul_names *out;
	names_keep keep;
	const void *ctx;
	/* private */
	int state;
	int digits;    /* of \uXXXX still to come */
	uint32_t code; /* the \u being read */
	uint32_t high; /* a high surrogate that waits for its other half */
	size_t start;  /* of the name being read, in out->bytes */
	int status;
};

/* Takes the next piece. Anything but KV_OK ends it: KV_BROKEN (no JSON array of
 * strings) or KV_NO_MEMORY. */
int names_feed(struct names_reader *r, const uint8_t *p, size_t n);
/* Nothing more comes: was it whole? */
int names_end(struct names_reader *r);

#endif /* KV_CONSUL_NAMES_H */
