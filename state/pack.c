/* pack.c: numbers and bytes in one blob, and the sums over rows.
 *
 * SQLite's pages carry no checksum. A flipped bit in a checkpoint could skip
 * changes, one in a ledger row could make a foreign key look like ours; so
 * whatever a decision rests on carries a sum of its own. */
#include <xxhash.h>

#include "state/state_int.h"

void pack_u32(struct pack *b, uint32_t v)
{
	for (int i = 0; i < 4; i++) {
		b->p[b->n++] = (uint8_t)(v >> (8 * i));
	}
}

void pack_u64(struct pack *b, uint64_t v)
{
	for (int i = 0; i < 8; i++) {
		b->p[b->n++] = (uint8_t)(v >> (8 * i));
	}
}

void pack_bytes(struct pack *b, const void *p, size_t n)
{
	if (n > 0) {
		memcpy(b->p + b->n, p, n);
		b->n += n;
	}
}

struct slice unpack_bytes(struct unpack *b, size_t n)
{
	struct slice s = slice_of(b->p, n);

	if (b->bad || n > b->n) {
		b->bad = true;
		return slice_of(NULL, 0);
	}
	b->p += n;
	b->n -= n;
	return s;
}

static uint64_t unpack_number(struct unpack *b, size_t width)
{
	struct slice s = unpack_bytes(b, width);
	uint64_t v = 0;

	for (size_t i = s.n; i > 0; i--) {
		v = v << 8 | s.p[i - 1];
	}
	return v;
}

uint32_t unpack_u32(struct unpack *b)
{
	return (uint32_t)unpack_number(b, 4);
}

uint64_t unpack_u64(struct unpack *b)
{
	return unpack_number(b, 8);
}

uint64_t sum_part(struct slice bytes)
{
	return XXH3_64bits(bytes.n == 0 ? (const void *)"" : bytes.p, bytes.n);
}

int64_t sum_of(struct slice bytes)
{
	return (int64_t)(sum_part(bytes) >> 32);
}

bool arena_room(struct arena *a, void **items, size_t *cap, size_t n,
		size_t size)
{
	size_t more = *cap == 0 ? 64 : *cap * 2;
	void *p;

	if (n < *cap) {
		return true;
	}
	p = arena_alloc(a, more * size);
	if (p == NULL) {
		return false;
	}
	if (n > 0) {
		memcpy(p, *items, n * size);
	}
	*items = p;
	*cap = more;
	return true;
}
