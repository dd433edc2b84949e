/* consul_buf.c: growing bytes, and the three encodings that Consul's requests
 * and answers need. Pure, no I/O. */
#include "store/consul/consul_buf.h"

#include <inttypes.h>
#include <stdio.h>

static const char digits64[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Room for n more; NULL when there is none to be had. */
static uint8_t *room(struct consul_buf *b, size_t n)
{
	if (!b->failed && n > b->cap - b->n &&
	    !kv_grow((void **)&b->p, &b->cap, b->n + n, 1)) {
		b->failed = true;
	}
	return b->failed ? NULL : b->p + b->n;
}

void buf_add(struct consul_buf *b, const void *p, size_t n)
{
	uint8_t *to = n == 0 ? NULL : room(b, n);

	if (to != NULL) {
		memcpy(to, p, n);
		b->n += n;
	}
}

void buf_str(struct consul_buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

void buf_num(struct consul_buf *b, uint64_t x)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%" PRIu64, x);
	buf_str(b, text);
}

void buf_json(struct consul_buf *b, struct slice s)
{
	char code[8];
	size_t from = 0;

	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c >= 0x20 && c != '"' && c != '\\') {
			continue;
		}
		buf_add(b, s.p + from, i - from);
		(void)snprintf(code, sizeof code, "\\u%04x", c);
		buf_str(b, code);
		from = i + 1;
	}
	if (s.n > from) {
		buf_add(b, s.p + from, s.n - from);
	}
}

static bool is_plain(uint8_t c)
{
	return IN('a', c, 'z') || IN('A', c, 'Z') || IN('0', c, '9') ||
	       c == '-' || c == '_' || c == '.' || c == '~' || c == '/';
}

void buf_url(struct consul_buf *b, struct slice s)
{
	char code[4];

	for (size_t i = 0; i < s.n; i++) {
		if (is_plain(s.p[i])) {
			buf_add(b, s.p + i, 1);
		} else {
			(void)snprintf(code, sizeof code, "%%%02X", s.p[i]);
			buf_str(b, code);
		}
	}
}

void buf_base64(struct consul_buf *b, struct slice s)
{
	uint8_t *to = s.n == 0 ? NULL : room(b, (s.n + 2) / 3 * 4);
	size_t i;

	if (to == NULL) {
		return;
	}
	for (i = 0; i < s.n; i += 3) {
		size_t left = s.n - i;
		uint32_t x = (uint32_t)s.p[i] << 16;

		x |= left > 1 ? (uint32_t)s.p[i + 1] << 8 : 0;
		x |= left > 2 ? (uint32_t)s.p[i + 2] : 0;
		*to++ = (uint8_t)digits64[x >> 18];
		*to++ = (uint8_t)digits64[(x >> 12) & 63];
		*to++ = left > 1 ? (uint8_t)digits64[(x >> 6) & 63] : '=';
		*to++ = left > 2 ? (uint8_t)digits64[x & 63] : '=';
	}
	b->n = (size_t)(to - b->p);
}

void buf_end(struct consul_buf *b)
{
	uint8_t *to = room(b, 1);

	if (to != NULL) {
		*to = '\0';
	}
}

void buf_free(struct consul_buf *b)
{
	kv_free(b->p);
	*b = (struct consul_buf){0};
}

/* The value of a base64 digit; 64: it is none. */
static uint32_t digit64(char c)
{
	if (IN('A', c, 'Z')) {
		return (uint32_t)(c - 'A');
	}
	if (IN('a', c, 'z')) {
		return (uint32_t)(c - 'a') + 26;
	}
	if (IN('0', c, '9')) {
		return (uint32_t)(c - '0') + 52;
	}
	return c == '+' ? 62 : c == '/' ? 63 : 64;
}

bool base64_decode(struct arena *a, const char *text, size_t n,
		   struct slice *out, bool *broken)
{
	size_t pad = 0;
	uint8_t *to;
	uint8_t *p;

	*broken = true;
	while (pad < 2 && pad < n && text[n - 1 - pad] == '=') {
		pad++;
	}
	if (n % 4 != 0) {
		return false;
	}
	p = to = arena_alloc(a, n / 4 * 3 + 1);
	if (to == NULL) {
		*broken = false;
		return false;
	}
	for (size_t i = 0; i < n; i += 4) {
		size_t have = i + 4 == n ? 4 - pad : 4;
		uint32_t x = 0;

		for (size_t k = 0; k < 4; k++) {
			uint32_t d = k < have ? digit64(text[i + k]) : 0;

			if (d > 63) {
				return false;
			}
			x = x << 6 | d;
		}
		*to++ = (uint8_t)(x >> 16);
		*to++ = (uint8_t)(x >> 8);
		*to++ = (uint8_t)x;
	}
	*out = slice_of(p, n / 4 * 3 - pad);
	*broken = false;
	return true;
}
