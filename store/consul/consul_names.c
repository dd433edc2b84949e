/* consul_names.c: see consul_names.h. Pure, no I/O. */
#include "store/consul/consul_names.h"

#include <stdlib.h>

/* ---- the list ------------------------------------------------------------ */

static bool add_bytes(struct consul_names *x, const uint8_t *p, size_t n)
{
	if (n > x->bytes_cap - x->n_bytes &&
	    !kv_grow((void **)&x->bytes, &x->bytes_cap, x->n_bytes + n, 1)) {
		return false;
	}
	memcpy(x->bytes + x->n_bytes, p, n);
	x->n_bytes += n;
	return true;
}

/* The bytes from `start` on are a name. */
static bool add_name(struct consul_names *x, size_t start, uint64_t index)
{
	if (x->n == x->names_cap && !kv_grow((void **)&x->names, &x->names_cap,
					     x->n + 1, sizeof *x->names)) {
		return false;
	}
	x->names[x->n++] = (struct consul_name){
	    .index = index, .start = start, .len = x->n_bytes - start};
	return true;
}

bool names_add(struct consul_names *x, struct slice name, uint64_t index)
{
	size_t start = x->n_bytes;

	return (name.n == 0 || add_bytes(x, name.p, name.n)) &&
	       add_name(x, start, index);
}

size_t names_find(const struct consul_names *x, struct slice key)
{
	size_t from = 0, to = x->n;

	while (from < to) {
		size_t mid = from + (to - from) / 2;

		if (slice_cmp(names_at(x, mid), key) < 0) {
			from = mid + 1;
		} else {
			to = mid;
		}
	}
	return from;
}

static bool is_sorted(const struct consul_names *x)
{
	for (size_t i = 1; i < x->n; i++) {
		if (slice_cmp(names_at(x, i - 1), names_at(x, i)) >= 0) {
			return false;
		}
	}
	return true;
}

static int compare(const void *a, const void *b, void *ctx)
{
	const struct consul_names *x = ctx;
	const struct consul_name *na = a, *nb = b;

	return slice_cmp(slice_of(x->bytes + na->start, na->len),
			 slice_of(x->bytes + nb->start, nb->len));
}

void names_sort(struct consul_names *x)
{
	size_t n = 0;

	if (is_sorted(x)) {
		return;
	}
	qsort_r(x->names, x->n, sizeof *x->names, compare, x);
	for (size_t i = 0; i < x->n; i++) {
		if (n > 0 && slice_eq(names_at(x, n - 1), names_at(x, i))) {
			continue;
		}
		x->names[n++] = x->names[i];
	}
	x->n = n;
}

void names_free(struct consul_names *x)
{
	kv_free(x->bytes);
	kv_free(x->names);
	*x = (struct consul_names){0};
}

/* ---- the reader ---------------------------------------------------------- */

enum {
	R_START, /* '[' is due */
	R_FIRST, /* a string or ']' */
	R_ITEM,	 /* a string */
	R_NAME,	 /* inside one */
	R_ESCAPE,
	R_HEX,
	R_NEXT, /* ',' or ']' */
	R_END,
};

static int broken(struct names_reader *r)
{
	r->status = KV_BROKEN;
	return r->status;
}

static void put(struct names_reader *r, const uint8_t *p, size_t n)
{
	if (r->status == KV_OK && !add_bytes(r->out, p, n)) {
		r->status = KV_NO_MEMORY;
	}
}

static void put_utf8(struct names_reader *r, uint32_t c)
{
	uint8_t b[4];
	size_t n;

	if (c < 0x80) {
		b[0] = (uint8_t)c;
		n = 1;
	} else if (c < 0x800) {
		b[0] = (uint8_t)(0xc0 | c >> 6);
		b[1] = (uint8_t)(0x80 | (c & 0x3f));
		n = 2;
	} else if (c < 0x10000) {
		b[0] = (uint8_t)(0xe0 | c >> 12);
		b[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		b[2] = (uint8_t)(0x80 | (c & 0x3f));
		n = 3;
	} else {
		b[0] = (uint8_t)(0xf0 | c >> 18);
		b[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
		b[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		b[3] = (uint8_t)(0x80 | (c & 0x3f));
		n = 4;
	}
	put(r, b, n);
}

/* \uXXXX is read: a character, or half of one. */
static void take_code(struct names_reader *r)
{
	uint32_t c = r->code;

	r->state = R_NAME;
	if (r->high != 0) {
		if (!IN(0xdc00, c, 0xdfff)) {
			(void)broken(r);
			return;
		}
		c = 0x10000 + ((r->high - 0xd800) << 10) + (c - 0xdc00);
		r->high = 0;
		put_utf8(r, c);
	} else if (IN(0xd800, c, 0xdbff)) {
		r->high = c;
	} else if (IN(0xdc00, c, 0xdfff)) {
		(void)broken(r);
	} else {
		put_utf8(r, c);
	}
}

static void take_hex(struct names_reader *r, uint8_t c)
{
	uint32_t d;

	if (IN('0', c, '9')) {
		d = (uint32_t)c - '0';
	} else if (IN('a', c, 'f')) {
		d = (uint32_t)c - 'a' + 10;
	} else if (IN('A', c, 'F')) {
		d = (uint32_t)c - 'A' + 10;
	} else {
		(void)broken(r);
		return;
	}
	r->code = r->code << 4 | d;
	if (--r->digits == 0) {
		take_code(r);
	}
}

static void take_escape(struct names_reader *r, uint8_t c)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	const char *at = c == '\0' ? NULL : strchr(from, c);

	if (c == 'u') {
		r->state = R_HEX;
		r->digits = 4;
		r->code = 0;
	} else if (at == NULL || r->high != 0) {
		(void)broken(r);
	} else {
		put(r, (const uint8_t *)to + (at - from), 1);
		r->state = R_NAME;
	}
}

static void take_name(struct names_reader *r)
{
	struct consul_names *x = r->out;
	struct slice name =
	    slice_of(x->bytes + r->start, x->n_bytes - r->start);

	r->state = R_NEXT;
	if (r->high != 0 || !slice_is_utf8(name)) {
		(void)broken(r);
	} else if (!r->keep(r->ctx, name)) {
		x->n_bytes = r->start;
	} else if (!add_name(x, r->start, 0)) {
		r->status = KV_NO_MEMORY;
	}
}

/* Bytes of a name up to whatever ends them; how many were taken. */
static size_t take_plain(struct names_reader *r, const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && p[i] != '"' && p[i] != '\\' && p[i] >= 0x20) {
		i++;
	}
	if (i > 0) {
		if (r->high != 0) {
			(void)broken(r);
			return n;
		}
		put(r, p, i);
		return i;
	}
	if (p[0] == '"') {
		take_name(r);
	} else if (p[0] == '\\') {
		r->state = R_ESCAPE;
	} else {
		(void)broken(r);
	}
	return 1;
}

static void take_outside(struct names_reader *r, uint8_t c)
{
	if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
		return;
	}
	if (r->state == R_START && c == '[') {
		r->state = R_FIRST;
	} else if ((r->state == R_FIRST || r->state == R_ITEM) && c == '"') {
		r->state = R_NAME;
		r->start = r->out->n_bytes;
	} else if (r->state == R_NEXT && c == ',') {
		r->state = R_ITEM;
	} else if ((r->state == R_FIRST || r->state == R_NEXT) && c == ']') {
		r->state = R_END;
	} else {
		(void)broken(r);
	}
}

int names_feed(struct names_reader *r, const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && r->status == KV_OK) {
		switch (r->state) {
		case R_NAME:
			i += take_plain(r, p + i, n - i);
			break;
		case R_ESCAPE:
			take_escape(r, p[i++]);
			break;
		case R_HEX:
			take_hex(r, p[i++]);
			break;
		default:
			take_outside(r, p[i++]);
		}
	}
	return r->status;
}

int names_end(struct names_reader *r)
{
	if (r->status == KV_OK && r->state != R_END) {
		return broken(r);
	}
	return r->status;
}
