/* test_etcd_frame.c: gRPC framing, cut anywhere; texts of trailers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/etcd/etcd_pb.h"
#include "store/etcd/grpc_frame.h"

/* Two messages ("abc" and an empty one) and the start of a third. */
static const uint8_t stream[] = {0, 0, 0, 0, 3, 'a', 'b', 'c', 0,
				 0, 0, 0, 0, 0, 0,   0,	  0,   9};

/* Feeds `stream` in pieces of `piece` bytes; counts and checks what comes. */
static void feed_in_pieces(size_t piece)
{
	struct grpc_inbox b = {0};
	size_t at, n, messages = 0;

	for (at = 0; at < sizeof stream; at += piece) {
		struct slice in =
		    slice_of(stream + at, KV_MIN(piece, sizeof stream - at));

		while (in.n > 0 && grpc_feed(&b, &in) == GRPC_FEED_MESSAGE) {
			uint8_t *p = grpc_inbox_take(&b, &n);

			assert_true(messages < 2);
			assert_int_equal(n, messages == 0 ? 3 : 0);
			assert_memory_equal(p, "abc", n);
			kv_free(p);
			messages++;
		}
		assert_int_equal(in.n, 0);
	}
	assert_int_equal(messages, 2);
	grpc_inbox_free(&b);
}

static void messages_may_be_cut_anywhere(void **state)
{
	size_t piece;

	(void)state;
	for (piece = 1; piece <= sizeof stream; piece++) {
		feed_in_pieces(piece);
	}
}

static void a_body_in_parts_is_put_together(void **state)
{
	static const uint8_t head[] = {0, 0, 0, 1, 0};
	uint8_t part[128];
	struct grpc_inbox b = {0};
	struct slice in = slice_of(head, sizeof head);
	uint8_t *p;
	size_t n;

	(void)state;
	assert_int_equal(grpc_feed(&b, &in), GRPC_FEED_MORE);
	memset(part, 'x', sizeof part);
	in = slice_of(part, sizeof part);
	assert_int_equal(grpc_feed(&b, &in), GRPC_FEED_MORE);
	memset(part, 'y', sizeof part);
	in = slice_of(part, sizeof part);
	assert_int_equal(grpc_feed(&b, &in), GRPC_FEED_MESSAGE);
	p = grpc_inbox_take(&b, &n);
	assert_int_equal(n, 256);
	assert_int_equal(p[127], 'x');
	assert_int_equal(p[128], 'y');
	kv_free(p);
}

static void too_long_a_message_is_refused_at_its_prefix(void **state)
{
	static const uint8_t head[] = {0, 0, 1, 0, 1};
	struct grpc_inbox b = {.max = 65536};
	struct slice in = slice_of(head, sizeof head);

	(void)state;
	assert_int_equal(grpc_feed(&b, &in), GRPC_FEED_TOO_BIG);
	assert_int_equal(b.body_n, 65537);
	assert_null(b.body);
	grpc_inbox_free(&b);
}

static void a_compressed_message_is_refused(void **state)
{
	static const uint8_t head[] = {1, 0, 0, 0, 1, 'x'};
	struct grpc_inbox b = {0};
	struct slice in = slice_of(head, sizeof head);

	(void)state;
	assert_int_equal(grpc_feed(&b, &in), GRPC_FEED_BROKEN);
	grpc_inbox_free(&b);
}

static void a_prefix_says_what_it_was_given(void **state)
{
	static const size_t sizes[] = {0, 1, 255, 256, 65536, 0xfffffffe};
	uint8_t prefix[GRPC_PREFIX];
	size_t i;

	(void)state;
	for (i = 0; i < KV_COUNT(sizes); i++) {
		struct grpc_inbox b = {.max = 1};
		struct slice in;

		grpc_put_prefix(prefix, sizes[i]);
		in = slice_of(prefix, sizeof prefix);
		if (sizes[i] > 1) {
			assert_int_equal(grpc_feed(&b, &in), GRPC_FEED_TOO_BIG);
			assert_int_equal(b.body_n, sizes[i]);
		} else {
			assert_int_equal(grpc_feed(&b, &in),
					 sizes[i] == 0 ? GRPC_FEED_MESSAGE
						       : GRPC_FEED_MORE);
		}
		grpc_inbox_free(&b);
	}
}

static void expect_text(const char *in, const char *want)
{
	char buf[64];

	grpc_decode_text(slice_str(in), buf, sizeof buf);
	assert_string_equal(buf, want);
}

static void texts_are_decoded(void **state)
{
	char small[4];

	(void)state;
	expect_text("", "");
	expect_text("plain", "plain");
	expect_text("a%20b%3A", "a b:");
	expect_text("100%", "100%");
	expect_text("%4", "%4");
	expect_text("%zz%41", "%zzA");
	expect_text("%0a%1B!", "  !");
	grpc_decode_text(slice_str("%41%42%43%44%45"), small, sizeof small);
	assert_string_equal(small, "ABC");
}

/* etcd_pack and etcd_unpack: there and back through a frame. */
static void a_message_survives_the_way(void **state)
{
	Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
	Etcdserverpb__PutRequest *back;
	struct grpc_inbox b = {0};
	struct arena a = {0};
	struct kv_err err = {0};
	struct slice in;
	uint8_t *frame, *body;
	size_t n;

	(void)state;
	m.key = etcd_bytes(slice_of("k\0y", 3));
	m.value = etcd_bytes(slice_str("value"));
	frame = etcd_pack(&m.base, &n);
	assert_non_null(frame);
	in = slice_of(frame, n);
	assert_int_equal(grpc_feed(&b, &in), GRPC_FEED_MESSAGE);
	body = grpc_inbox_take(&b, &n);
	assert_int_equal(etcd_unpack(&etcdserverpb__put_request__descriptor, &a,
				     body, n, &back, &err),
			 KV_OK);
	kv_free(body);
	kv_free(frame);
	assert_int_equal(back->key.len, 3);
	assert_memory_equal(back->key.data, "k\0y", 3);
	assert_memory_equal(back->value.data, "value", 5);
	arena_free(&a);
}

static void garbage_is_no_message(void **state)
{
	static const uint8_t junk[] = {0x0a, 0x7f, 'x'};
	Etcdserverpb__PutRequest *m;
	struct arena a = {0};
	struct kv_err err = {0};

	(void)state;
	assert_int_equal(etcd_unpack(&etcdserverpb__put_request__descriptor, &a,
				     junk, sizeof junk, &m, &err),
			 KV_BROKEN);
	assert_int_equal(err.status, KV_BROKEN);
	arena_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(messages_may_be_cut_anywhere),
	    cmocka_unit_test(a_body_in_parts_is_put_together),
	    cmocka_unit_test(too_long_a_message_is_refused_at_its_prefix),
	    cmocka_unit_test(a_compressed_message_is_refused),
	    cmocka_unit_test(a_prefix_says_what_it_was_given),
	    cmocka_unit_test(texts_are_decoded),
	    cmocka_unit_test(a_message_survives_the_way),
	    cmocka_unit_test(garbage_is_no_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
