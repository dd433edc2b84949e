/* fuzz.h: what the fuzz targets share: an input that is eaten from the front,
 * memory that notices greed.
 */
#ifndef KV_FUZZ_H
#define KV_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "store/base/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define FUZZ_CHECK(cond)                                                 \
	do {                                                             \
		if (!(cond)) {                                           \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, \
				__LINE__, #cond);                        \
			abort();                                         \
		}                                                        \
	} while (0)

/* The next byte; 0 at the end. */
static inline unsigned fuzz_byte(struct slice *in)
{
	unsigned v = 0;

	if (in->n > 0) {
		v = in->p[0];
		in->p++;
		in->n--;
	}
	return v;
}

/* Up to n bytes. */
static inline struct slice fuzz_bytes(struct slice *in, size_t n)
{
	struct slice s = slice_of(in->p, KV_MIN(n, in->n));

	in->p += s.n;
	in->n -= s.n;
	return s;
}

static inline void *fuzz_realloc(void *ctx, void *p, size_t size)
{
	const size_t *most = ctx;

	FUZZ_CHECK(size <= *most);
	return realloc(p, size);
}

static inline void fuzz_free(void *ctx, void *p)
{
	(void)ctx;
	free(p);
}

/* From here on nobody asks for more than *most bytes at once. */
static inline void fuzz_guard_memory(size_t *most)
{
	struct kv_mem_hooks hooks = {
	    .realloc = fuzz_realloc, .free = fuzz_free, .ctx = most};

	kv_mem_set_hooks(&hooks);
}

#endif /* KV_FUZZ_H */
