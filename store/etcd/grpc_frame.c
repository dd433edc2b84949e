/* grpc_frame.c: see grpc_frame.h. No I/O. */
#include "store/etcd/grpc_frame.h"

/* Moves up to `want` bytes from *in to `to`; returns how many. */
static size_t move(struct slice *in, uint8_t *to, size_t want)
{
	size_t n = KV_MIN(want, in->n);

	if (n > 0) {
		memcpy(to, in->p, n);
		in->p += n;
		in->n -= n;
	}
	return n;
}

static size_t announced(const uint8_t prefix[GRPC_PREFIX])
{
	return (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 |
	       (size_t)prefix[3] << 8 | (size_t)prefix[4];
}

/* The prefix is whole: checks it and makes room for the body. */
static enum grpc_feed begin_body(struct grpc_inbox *b)
{
	PRE(b->prefix_n == GRPC_PREFIX && b->body == NULL);
	if (b->prefix[0] != 0) {
		return GRPC_FEED_BROKEN;
	}
	b->body_n = announced(b->prefix);
	b->have = 0;
	if (b->max != 0 && b->body_n > b->max) {
		return GRPC_FEED_TOO_BIG;
	}
	b->body = kv_malloc(KV_MAX(b->body_n, (size_t)1));
	return b->body == NULL ? GRPC_FEED_NO_MEMORY : GRPC_FEED_MORE;
}

enum grpc_feed grpc_feed(struct grpc_inbox *b, struct slice *in)
{
	enum grpc_feed rv;

	if (b->body == NULL) {
		b->prefix_n =
		    (uint8_t)(b->prefix_n + move(in, b->prefix + b->prefix_n,
						 GRPC_PREFIX - b->prefix_n));
		if (b->prefix_n < GRPC_PREFIX) {
			return GRPC_FEED_MORE;
		}
		rv = begin_body(b);
		if (rv != GRPC_FEED_MORE) {
			return rv;
		}
	}
	b->have += move(in, b->body + b->have, b->body_n - b->have);
	return b->have == b->body_n ? GRPC_FEED_MESSAGE : GRPC_FEED_MORE;
}

uint8_t *grpc_inbox_take(struct grpc_inbox *b, size_t *n)
{
	uint8_t *body = b->body;

	PRE(body != NULL && b->have == b->body_n);
	*n = b->body_n;
	b->body = NULL;
	b->prefix_n = 0;
	b->body_n = b->have = 0;
	return body;
}

void grpc_inbox_free(struct grpc_inbox *b)
{
	kv_free(b->body);
	b->body = NULL;
	b->prefix_n = 0;
	b->body_n = b->have = 0;
}

void grpc_put_prefix(uint8_t prefix[GRPC_PREFIX], size_t n)
{
	PRE(n <= UINT32_MAX);
	prefix[0] = 0;
	prefix[1] = (uint8_t)(n >> 24);
	prefix[2] = (uint8_t)(n >> 16);
	prefix[3] = (uint8_t)(n >> 8);
	prefix[4] = (uint8_t)n;
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	c = (uint8_t)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void grpc_decode_text(struct slice in, char *buf, size_t cap)
{
	size_t i, n = 0;
	uint8_t c;

	PRE(cap > 0);
	for (i = 0; i < in.n && n + 1 < cap; i++) {
		c = in.p[i];
		if (c == '%' && in.n - i > 2 && hex_digit(in.p[i + 1]) >= 0 &&
		    hex_digit(in.p[i + 2]) >= 0) {
			c = (uint8_t)(hex_digit(in.p[i + 1]) * 16 +
				      hex_digit(in.p[i + 2]));
			i += 2;
		}
		buf[n++] = (char)(c < ' ' || c == 0x7f ? ' ' : c);
	}
	buf[n] = '\0';
}
