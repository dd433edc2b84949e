/* zk_frame.c: see zk_frame.h. */
#include "store/zookeeper/zk_frame.h"

#include <string.h>

/* What an inbox keeps for the next frame that comes in parts. */
#define KEEP_MAX ((size_t)1024 * 1024)

void zk_inbox_free(struct zk_inbox *b)
{
	kv_free(b->body);
	b->body = NULL;
	b->body_n = b->body_cap = b->head_n = b->frame = 0;
}

static struct slice cut(struct slice *in, size_t n)
{
	struct slice s = slice_of(in->p, KV_MIN(n, in->n));

	if (s.n > 0) {
		in->p += s.n;
		in->n -= s.n;
	}
	return s;
}

/* A new frame begins: the last one, if it stood here, is not needed any more.
 */
static void forget_frame(struct zk_inbox *b)
{
	b->body_n = 0;
	if (b->body_cap > KEEP_MAX) {
		kv_free(b->body);
		b->body = NULL;
		b->body_cap = 0;
	}
}

/* The length, which may come in parts, too. */
static enum zk_feed feed_head(struct zk_inbox *b, struct slice *in)
{
	struct slice part = cut(in, sizeof b->head - b->head_n);
	struct jute_in head = {.p = b->head, .n = sizeof b->head};
	int32_t n;

	if (part.n > 0) {
		memcpy(b->head + b->head_n, part.p, part.n);
		b->head_n += part.n;
	}
	if (b->head_n < sizeof b->head) {
		return ZK_FEED_MORE;
	}
	n = jute_get_int(&head);
	if (n < 0) {
		return ZK_FEED_BROKEN;
	}
	b->frame = (size_t)n;
	return b->frame > b->max ? ZK_FEED_TOO_BIG : ZK_FEED_FRAME;
}

static enum zk_feed feed_body(struct zk_inbox *b, struct slice *in,
			      struct slice *frame)
{
	struct slice part;

	if (b->body_n == 0 && in->n >= b->frame) {
		*frame = cut(in, b->frame); /* whole: no copy */
		return ZK_FEED_FRAME;
	}
	part = cut(in, b->frame - b->body_n);
	if (!kv_grow((void **)&b->body, &b->body_cap, b->body_n + part.n, 1)) {
		return ZK_FEED_NO_MEMORY;
	}
	if (part.n > 0) {
		memcpy(b->body + b->body_n, part.p, part.n);
	}
	b->body_n += part.n;
	*frame = slice_of(b->body, b->body_n);
	return b->body_n < b->frame ? ZK_FEED_MORE : ZK_FEED_FRAME;
}

enum zk_feed zk_feed(struct zk_inbox *b, struct slice *in, struct slice *frame)
{
	enum zk_feed now = ZK_FEED_FRAME;

	PRE(b->max > 0);
	if (b->head_n < sizeof b->head) {
		forget_frame(b);
		now = feed_head(b, in);
	}
	if (now == ZK_FEED_FRAME) {
		now = feed_body(b, in, frame);
	}
	if (now == ZK_FEED_FRAME) {
		b->head_n = 0;
	}
	return now;
}

bool zk_get_handshake(struct slice frame, struct zk_handshake *out)
{
	struct jute_in in = {.p = frame.p, .n = frame.n};
	int32_t protocol = jute_get_int(&in);

	out->timeout_ms = jute_get_int(&in);
	out->session = jute_get_long(&in);
	(void)jute_get_bytes(&in, NULL); /* the session's password */
	/* Servers before 3.4 do not send the last byte. */
	out->read_only = in.n > 0 && jute_get_bool(&in);
	return !in.failed && in.n == 0 && protocol == 0 && out->timeout_ms >= 0;
}

void zk_get_header(struct jute_in *in, struct zk_header *out)
{
	out->xid = jute_get_int(in);
	out->zxid = jute_get_long(in);
	out->error = jute_get_int(in);
}

void zk_get_event(struct jute_in *in, struct zk_event *out)
{
	out->type = jute_get_int(in);
	out->state = jute_get_int(in);
	out->path = jute_get_bytes(in, NULL);
}
