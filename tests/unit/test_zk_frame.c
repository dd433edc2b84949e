/* test_zk_frame.c: frames cut anywhere, what stands at their start, and what is
 * no ZooKeeper at all. */
#include "tests/unit/test_zk_bytes.h"

#include "store/zookeeper/zk_frame.h"
#include "tests/lib/sweep.h"

/* ---- frames -------------------------------------------------------------- */

/* Two frames ("abc" and an empty one) and the start of a third. */
static const uint8_t stream[] = {0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0, 0};

static void feed_in_pieces(size_t piece)
{
	struct zk_inbox b = {.max = 3};
	struct slice frame = {0};
	size_t at, frames = 0;
	enum zk_feed now;

	for (at = 0; at < sizeof stream; at += piece) {
		struct slice in =
		    slice_of(stream + at, KV_MIN(piece, sizeof stream - at));

		while ((now = zk_feed(&b, &in, &frame)) == ZK_FEED_FRAME) {
			assert_true(frames < 2);
			assert_true(slice_eq(
			    frame, slice_str(frames == 0 ? "abc" : "")));
			frames++;
		}
		assert_int_equal(now, ZK_FEED_MORE);
		assert_int_equal(in.n, 0);
	}
	assert_int_equal(frames, 2);
	zk_inbox_free(&b);
}

static void frames_may_be_cut_anywhere(void **state)
{
	size_t piece;

	(void)state;
	for (piece = 1; piece <= sizeof stream; piece++) {
		feed_in_pieces(piece);
	}
}

static void a_whole_frame_is_not_copied(void **state)
{
	struct zk_inbox b = {.max = 3};
	struct slice in = slice_of(stream, sizeof stream), frame;

	(void)state;
	assert_int_equal(zk_feed(&b, &in, &frame), ZK_FEED_FRAME);
	assert_ptr_equal(frame.p, stream + 4);
	assert_null(b.body);
	zk_inbox_free(&b);
}

static void a_length_that_cannot_be_ends_the_stream(void **state)
{
	static const uint8_t too_big[] = {0, 0, 4, 1},
			     negative[] = {0xff, 0, 0, 0};
	struct zk_inbox b = {.max = 1024};
	struct slice in = slice_of(too_big, 4), frame;

	(void)state;
	assert_int_equal(zk_feed(&b, &in, &frame), ZK_FEED_TOO_BIG);
	assert_int_equal(b.frame, 1025);
	assert_null(b.body);
	b = (struct zk_inbox){.max = SIZE_MAX};
	in = slice_of(negative, 4);
	assert_int_equal(zk_feed(&b, &in, &frame), ZK_FEED_BROKEN);
	assert_null(b.body);
}

/* 2 GB are promised, ten bytes come. */
static void memory_grows_with_what_came(void **state)
{
	static const uint8_t bytes[14] = {0x7f, 0xff, 0xff, 0xff};
	struct zk_inbox b = {.max = SIZE_MAX};
	struct slice in = slice_of(bytes, sizeof bytes), frame;

	(void)state;
	assert_int_equal(zk_feed(&b, &in, &frame), ZK_FEED_MORE);
	assert_true(b.body_cap < 1024);
	zk_inbox_free(&b);
}

/* Every byte is touched some constant number of times. */
static void a_large_frame_in_small_parts(void **state)
{
	enum { SIZE = 3 * 1024 * 1024, PART = 1000 };
	static uint8_t part[PART];
	const uint8_t head[4] = {0, SIZE >> 16, 0, 0};
	struct zk_inbox b = {.max = SIZE};
	struct slice in = slice_of(head, 4), frame = {0};
	size_t sent, grown = 0, cap = 0;
	enum zk_feed now = zk_feed(&b, &in, &frame);

	(void)state;
	for (sent = 0; sent < SIZE; sent += in.n) {
		assert_int_equal(now, ZK_FEED_MORE);
		memset(part, (int)(sent / PART & 0xff), sizeof part);
		in = slice_of(part, KV_MIN((size_t)PART, SIZE - sent));
		sent += in.n;
		now = zk_feed(&b, &in, &frame);
		grown += b.body_cap != cap;
		cap = b.body_cap;
	}
	assert_int_equal(now, ZK_FEED_FRAME);
	assert_int_equal(frame.n, SIZE);
	assert_int_equal(frame.p[5 * PART], 5);
	assert_true(grown < 32);
	/* It is let go of with the next frame. */
	in = slice_of(stream, 7);
	assert_int_equal(zk_feed(&b, &in, &frame), ZK_FEED_FRAME);
	assert_int_equal(b.body_cap, 0);
	zk_inbox_free(&b);
}

static int feed_two_parts(void *ctx)
{
	struct zk_inbox b = {.max = 1024};
	struct slice in = slice_of(stream, 5), frame;
	enum zk_feed now = zk_feed(&b, &in, &frame);

	(void)ctx;
	if (now == ZK_FEED_MORE) {
		in = slice_of(stream + 5, 2);
		now = zk_feed(&b, &in, &frame);
	}
	zk_inbox_free(&b);
	return now == ZK_FEED_NO_MEMORY ? KV_NO_MEMORY
	       : now == ZK_FEED_FRAME	? KV_OK
					: KV_BROKEN;
}

static void a_frame_without_memory(void **state)
{
	(void)state;
	assert_true(sweep_run(feed_two_parts, NULL) >= 1);
}

/* ---- what stands at a frame's start -------------------------------------- */

static void put_handshake(struct jute_out *o, int protocol, int timeout)
{
	static const uint8_t password[16];

	jute_put_int(o, protocol);
	jute_put_int(o, timeout);
	jute_put_long(o, 0x77);
	jute_put_bytes(o, slice_of(password, sizeof password));
}

static void both_kinds_of_handshake(void **state)
{
	struct jute_out o = {0};
	struct zk_handshake h;
	size_t n;

	(void)state;
	put_handshake(&o, 0, 4000);
	assert_int_equal(o.n, 36);
	assert_true(zk_get_handshake(slice_of(o.p, o.n), &h));
	assert_int_equal(h.timeout_ms, 4000);
	assert_int_equal(h.session, 0x77);
	assert_false(h.read_only);
	for (n = 0; n < o.n; n++) {
		assert_false(zk_get_handshake(slice_of(o.p, n), &h));
	}
	jute_put_bool(&o, true);
	assert_true(zk_get_handshake(slice_of(o.p, o.n), &h));
	assert_true(h.read_only);
	jute_put_bool(&o, true);
	assert_false(zk_get_handshake(slice_of(o.p, o.n), &h));
	jute_out_free(&o);
}

static void other_handshakes_are_none(void **state)
{
	struct jute_out o = {0};
	struct zk_handshake h;

	(void)state;
	put_handshake(&o, 1, 4000);
	assert_false(zk_get_handshake(slice_of(o.p, o.n), &h));
	o.n = 0;
	put_handshake(&o, 0, -1);
	assert_false(zk_get_handshake(slice_of(o.p, o.n), &h));
	jute_out_free(&o);
}

static void read_event(struct jute_in *in)
{
	struct zk_header h;
	struct zk_event e;

	zk_get_header(in, &h);
	zk_get_event(in, &e);
}

static void a_header_and_an_event(void **state)
{
	struct jute_out o = {0};
	struct zk_header h;
	struct zk_event e;
	struct jute_in in;

	(void)state;
	jute_put_int(&o, ZK_XID_EVENT);
	jute_put_long(&o, -1);
	jute_put_int(&o, 0);
	jute_put_int(&o, ZK_EVENT_CHANGED);
	jute_put_int(&o, 3);
	jute_put_bytes(&o, slice_str("/a"));
	in = in_of(o.p, o.n);
	zk_get_header(&in, &h);
	assert_int_equal(h.xid, ZK_XID_EVENT);
	assert_int_equal(h.zxid, -1);
	assert_int_equal(h.error, 0);
	zk_get_event(&in, &e);
	assert_int_equal(e.type, ZK_EVENT_CHANGED);
	assert_int_equal(e.state, 3);
	assert_true(slice_eq(e.path, slice_str("/a")));
	expect_cuts_fail(&o, read_event);
	jute_out_free(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(frames_may_be_cut_anywhere),
	    cmocka_unit_test(a_whole_frame_is_not_copied),
	    cmocka_unit_test(a_length_that_cannot_be_ends_the_stream),
	    cmocka_unit_test(memory_grows_with_what_came),
	    cmocka_unit_test(a_large_frame_in_small_parts),
	    cmocka_unit_test(a_frame_without_memory),
	    cmocka_unit_test(both_kinds_of_handshake),
	    cmocka_unit_test(other_handshakes_are_none),
	    cmocka_unit_test(a_header_and_an_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
