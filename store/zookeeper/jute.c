/* jute.c: see jute.h. */
#include "store/zookeeper/jute.h"

/* ---- writing ------------------------------------------------------------- */

void jute_out_free(struct jute_out *o)
{
	kv_free(o->p);
	*o = (struct jute_out){0};
}

/* Room for n more bytes, which count as put; NULL: none. */
static uint8_t *extend(struct jute_out *o, size_t n)
{
	uint8_t *at;

	if (o->failed || n > SIZE_MAX - o->n ||
	    !kv_grow((void **)&o->p, &o->cap, o->n + n, 1)) {
		o->failed = true;
		return NULL;
	}
	at = o->p + o->n;
	o->n += n;
	return at;
}

static void store_int(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 24);
	at[1] = (uint8_t)(v >> 16);
	at[2] = (uint8_t)(v >> 8);
	at[3] = (uint8_t)v;
}

void jute_put_bool(struct jute_out *o, bool v)
{
	uint8_t *at = extend(o, 1);

	if (at != NULL) {
		*at = v ? 1 : 0;
	}
}

void jute_put_int(struct jute_out *o, int32_t v)
{
	uint8_t *at = extend(o, 4);

	if (at != NULL) {
		store_int(at, (uint32_t)v);
	}
}

void jute_put_long(struct jute_out *o, int64_t v)
{
	uint8_t *at = extend(o, 8);

	if (at != NULL) {
		store_int(at, (uint32_t)((uint64_t)v >> 32));
		store_int(at + 4, (uint32_t)(uint64_t)v);
	}
}

void jute_put_raw(struct jute_out *o, struct slice s)
{
	uint8_t *at = s.n > 0 ? extend(o, s.n) : NULL;

	if (at != NULL) {
		memcpy(at, s.p, s.n);
	}
}

void jute_put_bytes(struct jute_out *o, struct slice s)
{
	if (s.n > INT32_MAX) {
		o->failed = true;
		return;
	}
	jute_put_int(o, (int32_t)s.n);
	jute_put_raw(o, s);
}

void jute_put_null(struct jute_out *o)
{
	jute_put_int(o, -1);
}

void jute_patch_int(struct jute_out *o, size_t at, int32_t v)
{
	if (o->failed) {
		return;
	}
	PRE(o->n >= 4 && at <= o->n - 4);
	store_int(o->p + at, (uint32_t)v);
}

/* ---- reading ------------------------------------------------------------- */

/* The next n bytes; NULL, and nothing is left, when there are fewer. */
static const uint8_t *take(struct jute_in *in, size_t n)
{
	const uint8_t *at = in->p;

	if (in->failed || n > in->n) {
		in->failed = true;
		in->n = 0;
		return NULL;
	}
	if (n > 0) {
		in->p += n;
		in->n -= n;
	}
	return at;
}

static uint32_t load_int(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
	       (uint32_t)at[2] << 8 | at[3];
}

bool jute_get_bool(struct jute_in *in)
{
	const uint8_t *at = take(in, 1);

	return at != NULL && *at != 0;
}

int32_t jute_get_int(struct jute_in *in)
{
	const uint8_t *at = take(in, 4);

	return at == NULL ? 0 : (int32_t)load_int(at);
}

int64_t jute_get_long(struct jute_in *in)
{
	const uint8_t *at = take(in, 8);

	if (at == NULL) {
		return 0;
	}
	return (int64_t)((uint64_t)load_int(at) << 32 | load_int(at + 4));
}

struct slice jute_get_bytes(struct jute_in *in, bool *null)
{
	int32_t n = jute_get_int(in);
	const uint8_t *at;

	if (null != NULL) {
		*null = !in->failed && n == -1;
	}
	if (in->failed || n == -1) {
		return slice_of(NULL, 0);
	}
	at = take(in, n < 0 ? SIZE_MAX : (size_t)n);
	return slice_of(at, at == NULL ? 0 : (size_t)n);
}

size_t jute_get_count(struct jute_in *in, size_t least)
{
	int32_t n = jute_get_int(in);

	PRE(least > 0);
	if (in->failed || n == -1) {
		return 0;
	}
	if (n < 0 || (size_t)n > in->n / least) {
		in->failed = true;
		in->n = 0;
		return 0;
	}
	return (size_t)n;
}
