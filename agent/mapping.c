/* mapping.c: keys of one backend as names of another.
 *
 *   any bytes --encode--> znode path   (%XX for what a name cannot hold)
 *   znode path --decode--> any bytes   (canonical form only: what encode gives)
 */
#include "agent/mapping.h"

static const char hex[] = "0123456789ABCDEF";

/* The code point of a well-formed UTF-8 sequence of n bytes. */
static uint32_t code_point(const uint8_t *p, size_t n)
{
	static const uint8_t lead[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t c = p[0] & lead[n];
	size_t i;

	for (i = 1; i < n; i++) {
		c = c << 6 | (p[i] & 0x3f);
	}
	return c;
}

/* Can a ZooKeeper name hold this character? The server looks at UTF-16 units:
 * what needs two of them is refused with the surrogates. */
static bool name_holds(uint32_t c)
{
	return c > 0x1f && c != '%' && !IN(0x7f, c, 0x9f) &&
	       !IN(0xd800, c, 0xf8ff) && c < 0xfff0;
}

/* The output while it is built: counted first, then written. */
struct sink {
	uint8_t *p; /* NULL: only counts */
	size_t n;
};

static void put(struct sink *s, uint8_t byte)
{
	if (s->p != NULL) {
		s->p[s->n] = byte;
	}
	s->n++;
}

static void put_escaped(struct sink *s, struct slice bytes)
{
	size_t i;

	for (i = 0; i < bytes.n; i++) {
		put(s, '%');
		put(s, (uint8_t)hex[bytes.p[i] >> 4]);
		put(s, (uint8_t)hex[bytes.p[i] & 15]);
	}
}

/* One segment, without its slash. */
static void encode_segment(struct sink *s, struct slice seg, bool first)
{
	size_t i = 0, k;

	if (seg.n == 0) {
		put(s, '%');
		return;
	}
	if (slice_eq(seg, slice_str(".")) || slice_eq(seg, slice_str(".."))) {
		put_escaped(s, seg);
		return;
	}
	if (first && slice_eq(seg, slice_str("zookeeper"))) {
		put_escaped(s, slice_of(seg.p, 1));
		i = 1;
	}
	while (i < seg.n) {
		size_t n = slice_utf8_char(slice_of(seg.p + i, seg.n - i));

		if (n == 0 || !name_holds(code_point(seg.p + i, n))) {
			n = KV_MAX(n, 1);
			put_escaped(s, slice_of(seg.p + i, n));
		} else {
			for (k = 0; k < n; k++) {
				put(s, seg.p[i + k]);
			}
		}
		i += n;
	}
}

static void encode_into(struct sink *s, struct slice key)
{
	size_t from = 1, i;

	for (i = 1; i <= key.n; i++) {
		if (i < key.n && key.p[i] != '/') {
			continue;
		}
		put(s, '/');
		encode_segment(s, slice_of(key.p + from, i - from), from == 1);
		from = i + 1;
	}
}

static int encode(struct slice key, struct arena *arena, struct slice *out,
		  struct kv_err *err)
{
	struct sink s = {0};

	if (key.n == 0 || key.p[0] != '/') {
		return kv_fail(err, KV_INVALID_KEY,
			       "the key does not begin with '/'");
	}
	encode_into(&s, key);
	s.p = arena_alloc(arena, s.n);
	if (s.p == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for a key");
	}
	*out = slice_of(s.p, s.n);
	s.n = 0;
	encode_into(&s, key);
	POST(s.n == out->n);
	return KV_OK;
}

/* The value of an upper-case hex digit, or -1. */
static int hex_value(uint8_t c)
{
	if (IN('0', c, '9')) {
		return c - '0';
	}
	return IN('A', c, 'F') ? c - 'A' + 10 : -1;
}

/* Undoes the escapes as far as they are well formed; what was not canonical
 * shows when the result is encoded again. */
static void decode_into(struct sink *s, struct slice key)
{
	size_t i = 0;

	while (i < key.n) {
		int high = i + 2 < key.n ? hex_value(key.p[i + 1]) : -1;
		int low = i + 2 < key.n ? hex_value(key.p[i + 2]) : -1;

		if (key.p[i] != '%') {
			put(s, key.p[i]);
			i++;
		} else if (high >= 0 && low >= 0) {
			put(s, (uint8_t)(high * 16 + low));
			i += 3;
		} else {
			i++; /* an empty segment, or not canonical */
		}
	}
}

static int decode(struct slice key, struct arena *arena, struct slice *out,
		  struct kv_err *err)
{
	struct slice again = {0};
	struct sink s = {0};
	int status;

	if (key.n == 0 || key.p[0] != '/') {
		return kv_fail(err, KV_INVALID_KEY,
			       "the key does not begin with '/'");
	}
	s.p = arena_alloc(arena, key.n);
	if (s.p == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for a key");
	}
	decode_into(&s, key);
	*out = slice_of(s.p, s.n);
	status = encode(*out, arena, &again, err);
	if (status != KV_OK) {
		return status;
	}
	if (!slice_eq(again, key)) {
		return kv_fail(err, KV_INVALID_KEY,
			       "the name is not in canonical percent form");
	}
	return KV_OK;
}

enum mapping_mode mapping_choose(bool percent, bool source_is_path,
				 bool target_is_path)
{
	if (!percent || source_is_path == target_is_path) {
		return MAPPING_NONE;
	}
	return target_is_path ? MAPPING_ENCODE : MAPPING_DECODE;
}

int mapping_to_target(enum mapping_mode mode, struct slice key,
		      struct arena *arena, struct slice *out,
		      struct kv_err *err)
{
	switch (mode) {
	case MAPPING_ENCODE:
		return encode(key, arena, out, err);
	case MAPPING_DECODE:
		return decode(key, arena, out, err);
	default:
		*out = key;
		return KV_OK;
	}
}

struct slice mapping_nameless(struct arena *arena, struct slice key)
{
	uint8_t *p = arena_alloc(arena, key.n + 1);

	if (p == NULL) {
		return slice_of(NULL, 0);
	}
	p[0] = 0;
	if (key.n > 0) {
		memcpy(p + 1, key.p, key.n);
	}
	return slice_of(p, key.n + 1);
}

int mapping_to_source(enum mapping_mode mode, struct slice key,
		      struct arena *arena, struct slice *out,
		      struct kv_err *err)
{
	switch (mode) {
	case MAPPING_ENCODE:
		return decode(key, arena, out, err);
	case MAPPING_DECODE:
		return encode(key, arena, out, err);
	default:
		*out = key;
		return KV_OK;
	}
}
