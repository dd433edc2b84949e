/* fuzz_zk_frame.c: frames and replies of a ZooKeeper server out of any bytes.
 *
 *   input: {how the stream is cut, which frame limit}, stream
 *   stream --zk_feed, whole--> frames --> every decoder
 *          --zk_feed, in pieces--> the same frames
 *
 * Nothing is read outside of a frame, nothing is allocated that did not come,
 * a decoder that does not fail took no more than there was, and decoded values
 * put again are the bytes that they came from.
 */
#include "store/zookeeper/zk_frame.h"
#include "tests/fuzz/fuzz.h"

static size_t most;

static void check_inside(struct slice s, struct slice frame)
{
	FUZZ_CHECK(s.n == 0 ||
		   (s.p >= frame.p && s.p + s.n <= frame.p + frame.n));
}

static void read_names(struct jute_in *in, struct slice frame)
{
	size_t n = jute_get_count(in, 4), i;

	FUZZ_CHECK(n * 4 <= frame.n);
	for (i = 0; i < n; i++) {
		check_inside(jute_get_bytes(in, NULL), frame);
	}
}

static void read_acls(struct jute_in *in, struct slice frame)
{
	size_t n = jute_get_count(in, ZK_ACL_LEAST), i;
	struct zk_acl acl;
	struct zk_stat s;

	FUZZ_CHECK(n * ZK_ACL_LEAST <= frame.n);
	for (i = 0; i < n; i++) {
		zk_get_acl(in, &acl);
		check_inside(acl.scheme, frame);
		check_inside(acl.id, frame);
	}
	zk_get_stat(in, &s);
}

static void put_stat(struct jute_out *o, const struct zk_stat *s)
{
	jute_put_long(o, s->czxid);
	jute_put_long(o, s->mzxid);
	jute_put_long(o, s->ctime);
	jute_put_long(o, s->mtime);
	jute_put_int(o, s->version);
	jute_put_int(o, s->cversion);
	jute_put_int(o, s->aversion);
	jute_put_long(o, s->ephemeral_owner);
	jute_put_int(o, s->data_length);
	jute_put_int(o, s->num_children);
	jute_put_long(o, s->pzxid);
}

static void read_data(struct jute_in *in, struct slice frame)
{
	const uint8_t *from = in->p;
	struct jute_out o = {0};
	struct zk_data d;

	zk_get_data(in, &d);
	check_inside(d.data, frame);
	if (in->failed) {
		return;
	}
	if (d.null) {
		jute_put_null(&o);
	} else {
		jute_put_bytes(&o, d.data);
	}
	put_stat(&o, &d.stat);
	FUZZ_CHECK(from + o.n == in->p && memcmp(from, o.p, o.n) == 0);
	jute_out_free(&o);
}

static void read_multi(struct jute_in *in, struct slice frame)
{
	struct zk_created c;
	size_t results = 0;
	int op, error;

	while (zk_get_multi_result(in, &op, &error)) {
		results++;
		if (op == ZK_OP_GET_DATA) {
			read_data(in, frame);
		} else if (op == ZK_OP_GET_CHILDREN) {
			read_names(in, frame);
		} else if (op == ZK_OP_SET_DATA) {
			zk_get_stat(in, &c.stat);
		} else if (op == ZK_OP_CREATE || op == ZK_OP_CREATE2) {
			zk_get_created(in, op, &c);
			check_inside(c.path, frame);
		}
	}
	FUZZ_CHECK(results * 9 <= frame.n);
}

static void read_event(struct jute_in *in, struct slice frame)
{
	struct zk_event e;

	zk_get_event(in, &e);
	check_inside(e.path, frame);
}

static void read_any(struct slice frame)
{
	static void (*const readers[])(struct jute_in *, struct slice) = {
	    read_data, read_names, read_multi, read_acls, read_event,
	};
	struct jute_in in = {.p = frame.p, .n = frame.n}, body;
	struct zk_handshake shake;
	struct zk_header h;
	size_t i;

	if (zk_get_handshake(frame, &shake)) {
		FUZZ_CHECK(shake.timeout_ms >= 0);
	}
	zk_get_header(&in, &h);
	FUZZ_CHECK(in.failed == (frame.n < 16));
	for (i = 0; i < KV_COUNT(readers); i++) {
		body = in;
		readers[i](&body, frame);
		FUZZ_CHECK(body.n <= in.n);
		FUZZ_CHECK(!body.failed || body.n == 0);
	}
}

/* A copy that ends where its memory does, so that each read past it shows. */
static void read_copy(struct slice frame)
{
	uint8_t *copy = malloc(frame.n == 0 ? 1 : frame.n);

	FUZZ_CHECK(copy != NULL);
	if (frame.n > 0) {
		memcpy(copy, frame.p, frame.n);
	}
	read_any(slice_of(copy, frame.n));
	free(copy);
}

struct sum {
	uint64_t hash;
	size_t frames;
	enum zk_feed end;
	size_t last; /* bytes of the frame under way */
};

static void add_frame(struct sum *s, struct slice frame)
{
	size_t i;

	s->frames++;
	s->hash = s->hash * 31 + frame.n;
	for (i = 0; i < frame.n; i++) {
		s->hash = s->hash * 31 + frame.p[i];
	}
}

static struct sum feed(struct slice stream, size_t piece, size_t max, bool read)
{
	struct zk_inbox b = {.max = max};
	struct sum s = {.end = ZK_FEED_MORE};
	struct slice frame = {0}, in;

	while (stream.n > 0 && s.end == ZK_FEED_MORE) {
		in = fuzz_bytes(&stream, piece);
		while ((s.end = zk_feed(&b, &in, &frame)) == ZK_FEED_FRAME) {
			add_frame(&s, frame);
			FUZZ_CHECK(frame.n <= max);
			if (read) {
				read_copy(frame);
			}
		}
		FUZZ_CHECK(s.end != ZK_FEED_MORE || in.n == 0);
		FUZZ_CHECK(s.end != ZK_FEED_NO_MEMORY);
	}
	s.last = b.frame;
	zk_inbox_free(&b);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const size_t limits[] = {64, 1024, SIZE_MAX, 1};
	struct slice in = slice_of(p, n);
	size_t piece = 1 + fuzz_byte(&in);
	size_t max = limits[fuzz_byte(&in) % KV_COUNT(limits)];
	struct sum whole, parts;

	most = 2 * n + 64;
	fuzz_guard_memory(&most);
	whole = feed(in, SIZE_MAX, max, true);
	parts = feed(in, piece, max, false);
	FUZZ_CHECK(whole.hash == parts.hash && whole.frames == parts.frames);
	FUZZ_CHECK(whole.end == parts.end);
	kv_mem_set_hooks(NULL);
	return 0;
}
