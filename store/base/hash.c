/* hash.c: XXH3-128 of values. */
#include "store/base/hash.h"

#include <xxhash.h>

struct kv_hash kv_hash(struct slice value)
{
	XXH128_canonical_t canonical;
	struct kv_hash h;

	XXH128_canonicalFromHash(
	    &canonical,
	    XXH3_128bits(value.n == 0 ? "" : (const void *)value.p, value.n));
	_Static_assert(sizeof h.b == sizeof canonical.digest, "128 bits");
	memcpy(h.b, canonical.digest, sizeof h.b);
	return h;
}

bool kv_hash_eq(const struct kv_hash *a, const struct kv_hash *b)
{
	return memcmp(a->b, b->b, sizeof a->b) == 0;
}

char *kv_hash_hex(const struct kv_hash *h, char buf[KV_HASH_HEX_MAX])
{
	static const char hex[] = "0123456789abcdef";
	size_t i;

	for (i = 0; i < sizeof h->b; i++) {
		buf[2 * i] = hex[h->b[i] >> 4];
		buf[2 * i + 1] = hex[h->b[i] & 15];
	}
	buf[2 * i] = '\0';
	return buf;
}
