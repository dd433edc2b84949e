/* etcd_keys.c: see etcd_keys.h. */
#include "store/etcd/etcd_keys.h"

/* a + b + one byte, in the arena. */
static struct slice join(struct arena *arena, struct slice a, struct slice b,
			 uint8_t last)
{
	struct slice out = {NULL, a.n + b.n + 1};
	uint8_t *p = arena_alloc(arena, out.n);

	if (p == NULL) {
		return out;
	}
	if (a.n > 0) {
		memcpy(p, a.p, a.n);
	}
	if (b.n > 0) {
		memcpy(p + a.n, b.p, b.n);
	}
	p[out.n - 1] = last;
	out.p = p;
	return out;
}

/* What of a key (or dir) stands behind the prefix. */
static struct slice tail(const struct etcd_keys *k, struct slice key)
{
	if (k->raw && key.n > 0) {
		return slice_of(key.p + 1, key.n - 1);
	}
	return key;
}

struct slice etcd_keys_store(const struct etcd_keys *k, struct arena *a,
			     struct slice key)
{
	struct slice out;

	PRE(key.n > 0 && key.p[0] == '/');
	out = join(a, k->prefix, tail(k, key), 0);
	out.n--; /* room for the NUL behind it serves etcd_keys_range */
	return out;
}

struct slice etcd_keys_relative(const struct etcd_keys *k, struct arena *a,
				uint8_t *p, size_t n)
{
	size_t cut = k->prefix.n;

	if (n <= cut || (cut > 0 && memcmp(p, k->prefix.p, cut) != 0)) {
		return slice_of(NULL, 0);
	}
	if (!k->raw) {
		return p[cut] == '/' ? slice_of(p + cut, n - cut)
				     : slice_of(NULL, 0);
	}
	if (cut > 0) {
		p[cut - 1] = '/';
		return slice_of(p + cut - 1, n - cut + 1);
	}
	uint8_t *copy = arena_alloc(a, n + 1);

	if (copy != NULL) {
		copy[0] = '/';
		memcpy(copy + 1, p, n);
	}
	return slice_of(copy, n + 1);
}

/* The first stored key behind all that begin with `prefix`; "\0" (no end)
 * where there is none. */
static struct slice behind_all(struct arena *a, struct slice prefix)
{
	size_t n = prefix.n;
	uint8_t *p;

	while (n > 0 && prefix.p[n - 1] == 0xff) {
		n--;
	}
	p = arena_alloc(a, KV_MAX(n, (size_t)1));
	if (p == NULL) {
		return slice_of(NULL, 1);
	}
	if (n == 0) {
		p[0] = 0;
		return slice_of(p, 1);
	}
	memcpy(p, prefix.p, n);
	p[n - 1]++;
	return slice_of(p, n);
}

bool etcd_keys_range(const struct etcd_keys *k, struct arena *a,
		     struct slice dir, struct slice after,
		     struct etcd_range *out)
{
	struct slice from;

	if (k->raw && dir.n == 0) {
		/* The key equal to the raw prefix is not in the tree. */
		out->start = join(a, k->prefix, slice_of(NULL, 0), 0);
		out->end = behind_all(a, k->prefix);
	} else {
		out->start = join(a, k->prefix, tail(k, dir), '/');
		out->end = join(a, k->prefix, tail(k, dir), '/' + 1);
	}
	if (out->start.p == NULL || out->end.p == NULL) {
		return false;
	}
	if (after.n == 0) {
		return true;
	}
	from = join(a, k->prefix, tail(k, after), 0);
	if (from.p == NULL) {
		return false;
	}
	if (slice_cmp(from, out->start) > 0) {
		out->start = from;
	}
	return true;
}
