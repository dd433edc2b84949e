/* test_zk_proto.c: requests as a server wants them, replies as it sends them,
 * frames cut anywhere, and what is no ZooKeeper at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "store/zookeeper/zk_frame.h"
#include "tests/lib/sweep.h"

static struct jute_in in_of(const void *p, size_t n)
{
	struct jute_in in = {.p = p, .n = n};

	return in;
}

/* `read` fails cleanly on every truncation of the message, which ends where its
 * memory ends. */
static void expect_cuts_fail(const struct jute_out *o,
			     void (*read)(struct jute_in *in))
{
	struct jute_in in;
	uint8_t *copy;
	size_t n;

	for (n = 0; n <= o->n; n++) {
		copy = malloc(n == 0 ? 1 : n);
		assert_non_null(copy);
		memcpy(copy, o->p, n);
		in = in_of(copy, n);
		read(&in);
		assert_int_equal(in.failed, n < o->n);
		free(copy);
	}
}

/* ---- requests ------------------------------------------------------------ */

static void a_path_and_its_watch(void **state)
{
	static const uint8_t want[] = {0, 0, 0,	  2, '/', 'a', 1, 0, 0,
				       0, 1, '/', 0, 0,	  0,   0, 1, '/',
				       0, 0, 0,	  1, '/', 0,   0, 0, 1};
	struct jute_out o = {0};

	(void)state;
	zk_put_path_watch(&o, slice_str("/a"), true);
	zk_put_path_watch(&o, slice_str("/"), false);
	zk_put_path(&o, slice_str("/"));
	zk_put_add_watch(&o, slice_str("/"), true);
	assert_int_equal(o.n, sizeof want);
	assert_memory_equal(o.p, want, sizeof want);
	jute_out_free(&o);
}

static void a_multi_read_and_its_end(void **state)
{
	static const uint8_t want[] = {
	    0, 0,    0,	   4,	 0,    0xff, 0xff, 0xff, 0xff, 0,
	    0, 0,    2,	   '/',	 'a',  0,    0,	   0,	 0,    8,
	    0, 0xff, 0xff, 0xff, 0xff, 0,    0,	   0,	 1,    '/',
	    0, 0xff, 0xff, 0xff, 0xff, 1,    0xff, 0xff, 0xff, 0xff};
	struct jute_out o = {0};

	(void)state;
	zk_put_multi_read(&o, ZK_OP_GET_DATA, slice_str("/a"));
	zk_put_multi_read(&o, ZK_OP_GET_CHILDREN, slice_str("/"));
	zk_put_multi_end(&o);
	assert_int_equal(o.n, sizeof want);
	assert_memory_equal(o.p, want, sizeof want);
	jute_out_free(&o);
}

/* ---- replies ------------------------------------------------------------- */

static const struct zk_stat stat = {
    .czxid = 0x100000001,
    .mzxid = 0x200000002,
    .ctime = 3,
    .mtime = 4,
    .version = 5,
    .cversion = 6,
    .aversion = 7,
    .ephemeral_owner = 8,
    .data_length = 9,
    .num_children = 10,
    .pzxid = 11,
};

static void put_stat(struct jute_out *o)
{
	jute_put_long(o, stat.czxid);
	jute_put_long(o, stat.mzxid);
	jute_put_long(o, stat.ctime);
	jute_put_long(o, stat.mtime);
	jute_put_int(o, stat.version);
	jute_put_int(o, stat.cversion);
	jute_put_int(o, stat.aversion);
	jute_put_long(o, stat.ephemeral_owner);
	jute_put_int(o, stat.data_length);
	jute_put_int(o, stat.num_children);
	jute_put_long(o, stat.pzxid);
}

static void expect_stat(const struct zk_stat *s)
{
	assert_int_equal(s->czxid, stat.czxid);
	assert_int_equal(s->mzxid, stat.mzxid);
	assert_int_equal(s->ctime, stat.ctime);
	assert_int_equal(s->mtime, stat.mtime);
	assert_int_equal(s->version, stat.version);
	assert_int_equal(s->cversion, stat.cversion);
	assert_int_equal(s->aversion, stat.aversion);
	assert_int_equal(s->ephemeral_owner, stat.ephemeral_owner);
	assert_int_equal(s->data_length, stat.data_length);
	assert_int_equal(s->num_children, stat.num_children);
	assert_int_equal(s->pzxid, stat.pzxid);
}

static void read_data(struct jute_in *in)
{
	struct zk_data d;

	zk_get_data(in, &d);
}

static void data_and_stat(void **state)
{
	struct jute_out o = {0};
	struct jute_in in;
	struct zk_data d;

	(void)state;
	jute_put_bytes(&o, slice_str("value"));
	put_stat(&o);
	assert_int_equal(o.n, 9 + 68);
	in = in_of(o.p, o.n);
	zk_get_data(&in, &d);
	assert_false(in.failed);
	assert_int_equal(in.n, 0);
	assert_true(slice_eq(d.data, slice_str("value")));
	assert_false(d.null);
	expect_stat(&d.stat);
	expect_cuts_fail(&o, read_data);
	jute_out_free(&o);
}

static void null_data_is_not_empty_data(void **state)
{
	struct jute_out o = {0};
	struct jute_in in;
	struct zk_data d;

	(void)state;
	jute_put_null(&o);
	put_stat(&o);
	jute_put_bytes(&o, slice_str(""));
	put_stat(&o);
	in = in_of(o.p, o.n);
	zk_get_data(&in, &d);
	assert_true(d.null);
	assert_int_equal(d.data.n, 0);
	zk_get_data(&in, &d);
	assert_false(d.null);
	assert_int_equal(d.data.n, 0);
	assert_false(in.failed);
	jute_out_free(&o);
}

static void put_result(struct jute_out *o, int op, bool end, int error)
{
	jute_put_int(o, op);
	jute_put_bool(o, end);
	jute_put_int(o, error);
}

/* Data, an error, names, and the end. */
static void put_results(struct jute_out *o)
{
	put_result(o, ZK_OP_GET_DATA, false, 0);
	jute_put_bytes(o, slice_str("value"));
	put_stat(o);
	put_result(o, -1, false, ZK_NO_NODE);
	jute_put_int(o, ZK_NO_NODE);
	put_result(o, ZK_OP_GET_CHILDREN, false, 0);
	jute_put_int(o, 2);
	jute_put_bytes(o, slice_str("b"));
	jute_put_bytes(o, slice_str("a"));
	put_result(o, -1, true, -1);
}

static void read_results(struct jute_in *in)
{
	struct zk_data d;
	int op, error;
	size_t n;

	while (zk_get_multi_result(in, &op, &error)) {
		if (op == ZK_OP_GET_DATA) {
			zk_get_data(in, &d);
		} else if (op == ZK_OP_GET_CHILDREN) {
			for (n = jute_get_count(in, 4); n > 0; n--) {
				(void)jute_get_bytes(in, NULL);
			}
		}
	}
}

static void results_of_a_multi_read(void **state)
{
	struct jute_out o = {0};
	struct jute_in in;
	struct zk_data d;
	int op, error;

	(void)state;
	put_results(&o);
	in = in_of(o.p, o.n);
	assert_true(zk_get_multi_result(&in, &op, &error));
	assert_int_equal(op, ZK_OP_GET_DATA);
	assert_int_equal(error, ZK_OK);
	zk_get_data(&in, &d);
	assert_true(slice_eq(d.data, slice_str("value")));
	assert_true(zk_get_multi_result(&in, &op, &error));
	assert_int_equal(op, -1);
	assert_int_equal(error, ZK_NO_NODE);
	assert_true(zk_get_multi_result(&in, &op, &error));
	assert_int_equal(op, ZK_OP_GET_CHILDREN);
	assert_int_equal(jute_get_count(&in, 4), 2);
	assert_true(slice_eq(jute_get_bytes(&in, NULL), slice_str("b")));
	assert_true(slice_eq(jute_get_bytes(&in, NULL), slice_str("a")));
	assert_false(zk_get_multi_result(&in, &op, &error));
	assert_false(in.failed);
	assert_int_equal(in.n, 0);
	expect_cuts_fail(&o, read_results);
	jute_out_free(&o);
}

static void read_acl(struct jute_in *in)
{
	struct zk_acl acl;
	struct zk_stat s;
	size_t n;

	for (n = jute_get_count(in, ZK_ACL_LEAST); n > 0; n--) {
		zk_get_acl(in, &acl);
	}
	zk_get_stat(in, &s);
}

static void an_acl_and_its_stat(void **state)
{
	struct jute_out o = {0};
	struct jute_in in;
	struct zk_acl acl;
	struct zk_stat s;

	(void)state;
	jute_put_int(&o, 2);
	jute_put_int(&o, ZK_PERM_ALL);
	jute_put_bytes(&o, slice_str("world"));
	jute_put_bytes(&o, slice_str("anyone"));
	jute_put_int(&o, ZK_PERM_READ);
	jute_put_bytes(&o, slice_str("digest"));
	jute_put_bytes(&o, slice_str("u:hash="));
	put_stat(&o);
	in = in_of(o.p, o.n);
	assert_int_equal(jute_get_count(&in, ZK_ACL_LEAST), 2);
	zk_get_acl(&in, &acl);
	assert_int_equal(acl.perms, ZK_PERM_ALL);
	assert_true(slice_eq(acl.scheme, slice_str("world")));
	assert_true(slice_eq(acl.id, slice_str("anyone")));
	zk_get_acl(&in, &acl);
	assert_int_equal(acl.perms, ZK_PERM_READ);
	assert_true(slice_eq(acl.scheme, slice_str("digest")));
	assert_true(slice_eq(acl.id, slice_str("u:hash=")));
	zk_get_stat(&in, &s);
	expect_stat(&s);
	assert_int_equal(in.n, 0);
	expect_cuts_fail(&o, read_acl);
	jute_out_free(&o);
}

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

/* ---- errors -------------------------------------------------------------- */

static void errors_have_words_and_a_place(void **state)
{
	struct kv_err err;
	char buf[32];

	(void)state;
	assert_string_equal(zk_error_text(ZK_NO_NODE, buf, sizeof buf),
			    "no node");
	assert_string_equal(zk_error_text(-9999, buf, sizeof buf),
			    "error -9999");
	assert_int_equal(zk_fail(&err, ZK_NO_AUTH, slice_str("/a b")),
			 KV_DENIED);
	assert_non_null(strstr(err.text, "/a b"));
	assert_non_null(strstr(err.text, "permission"));
	assert_int_equal(zk_fail(&err, ZK_NO_NODE, slice_str("/a")),
			 KV_KEY_NOT_FOUND);
	assert_int_equal(zk_fail(&err, ZK_SESSION_EXPIRED, slice_str("/a")),
			 KV_NOT_REACHABLE);
	assert_int_equal(zk_fail(&err, -9999, slice_str("/a")), KV_BROKEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_path_and_its_watch),
	    cmocka_unit_test(a_multi_read_and_its_end),
	    cmocka_unit_test(data_and_stat),
	    cmocka_unit_test(null_data_is_not_empty_data),
	    cmocka_unit_test(results_of_a_multi_read),
	    cmocka_unit_test(an_acl_and_its_stat),
	    cmocka_unit_test(frames_may_be_cut_anywhere),
	    cmocka_unit_test(a_whole_frame_is_not_copied),
	    cmocka_unit_test(a_length_that_cannot_be_ends_the_stream),
	    cmocka_unit_test(memory_grows_with_what_came),
	    cmocka_unit_test(a_large_frame_in_small_parts),
	    cmocka_unit_test(a_frame_without_memory),
	    cmocka_unit_test(both_kinds_of_handshake),
	    cmocka_unit_test(other_handshakes_are_none),
	    cmocka_unit_test(a_header_and_an_event),
	    cmocka_unit_test(errors_have_words_and_a_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
