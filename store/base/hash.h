/* hash.h: the 128-bit hash of a value that ledger, journal and diff keep
 * (XXH3-128 of the bytes, canonical big-endian form). Not a cryptographic
 * one: it tells accidents apart, not adversaries. */
#ifndef KV_HASH_H
#define KV_HASH_H

#include "store/base/slice.h"

struct kv_hash {
	uint8_t b[16];
};

struct kv_hash kv_hash(struct slice value);
bool kv_hash_eq(const struct kv_hash *a, const struct kv_hash *b);

#define KV_HASH_HEX_MAX 33
/* 32 hex digits and a NUL; returns buf. */
char *kv_hash_hex(const struct kv_hash *h, char buf[KV_HASH_HEX_MAX]);

#endif /* KV_HASH_H */
