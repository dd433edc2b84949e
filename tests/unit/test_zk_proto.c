/* test_zk_proto.c: requests as a server wants them, replies as it sends them.
 */
#include "tests/unit/test_zk_bytes.h"

#include "store/zookeeper/zk_proto.h"

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

/* ---- writes -------------------------------------------------------------- */

/* "/a", data, one ACL entry, flags: as a server's jute files have it. */
static void bodies_of_writes(void **state)
{
	static const uint8_t want[] = {
	    /* create */
	    0, 0, 0, 2, '/', 'a', 0, 0, 0, 1, 'x', 0, 0, 0, 1, 0, 0, 0, 31, 0,
	    0, 0, 5, 'w', 'o', 'r', 'l', 'd', 0, 0, 0, 6, 'a', 'n', 'y', 'o',
	    'n', 'e', 0, 0, 0, 0,
	    /* create with a lifetime, null */
	    0, 0, 0, 2, '/', 'b', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0,
	    1, 0, 0, 0, 1, 's', 0, 0, 0, 1, 'i', 0, 0, 0, 5, 0, 0, 0, 0, 0, 0,
	    0, 9,
	    /* delete, check, set, set to null, set ACL */
	    0, 0, 0, 2, '/', 'a', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, '/', 'a',
	    0, 0, 0, 7, 0, 0, 0, 2, '/', 'a', 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0,
	    2, '/', 'a', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 8, 0, 0, 0, 2, '/',
	    'a', 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 's', 0, 0, 0, 1, 'i', 0, 0,
	    0, 3};
	const struct zk_acl acl = {.perms = ZK_PERM_READ,
				   .scheme = slice_str("s"),
				   .id = slice_str("i")};
	const struct zk_create plain = {.path = slice_str("/a"),
					.data = slice_str("x")};
	const struct zk_create ttl = {.path = slice_str("/b"),
				      .null = true,
				      .acls = &acl,
				      .n_acls = 1,
				      .mode = ZK_PERSISTENT_TTL,
				      .ttl_ms = 9};
	struct slice a = slice_str("/a");
	struct jute_out o = {0};

	(void)state;
	zk_put_create(&o, &plain);
	zk_put_create(&o, &ttl);
	zk_put_delete(&o, a, ZK_ANY_VERSION);
	zk_put_check(&o, a, 7);
	zk_put_set_data(&o, a, slice_str(""), false, 8);
	zk_put_set_data(&o, a, slice_str(""), true, 8);
	zk_put_set_acl(&o, a, &acl, 1, 3);
	assert_int_equal(o.n, sizeof want);
	assert_memory_equal(o.p, want, sizeof want);
	jute_out_free(&o);
}

static void parts_of_a_transaction(void **state)
{
	static const uint8_t want[] = {
	    0,	  0,	0,    2,    0,	  0xff, 0xff, 0xff, 0xff, 0,	0,   0,
	    2,	  '/',	'a',  0,    0,	  0,	1,    0,    0,	  0,	13,  0,
	    0xff, 0xff, 0xff, 0xff, 0,	  0,	0,    2,    '/',  'a',	0,   0,
	    0,	  2,	0xff, 0xff, 0xff, 0xff, 1,    0xff, 0xff, 0xff, 0xff};
	struct jute_out o = {0};

	(void)state;
	zk_put_multi_op(&o, ZK_OP_DELETE);
	zk_put_delete(&o, slice_str("/a"), 1);
	zk_put_multi_op(&o, ZK_OP_CHECK);
	zk_put_check(&o, slice_str("/a"), 2);
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

static void put_written(struct jute_out *o)
{
	put_result(o, ZK_OP_CREATE, false, 0);
	jute_put_bytes(o, slice_str("/a"));
	put_result(o, ZK_OP_CREATE2, false, 0);
	jute_put_bytes(o, slice_str("/b"));
	put_stat(o);
	put_result(o, ZK_OP_DELETE, false, 0);
	put_result(o, ZK_OP_SET_DATA, false, 0);
	put_stat(o);
	put_result(o, ZK_OP_CHECK, false, 0);
	put_result(o, -1, true, -1);
}

static void read_written(struct jute_in *in)
{
	struct zk_created c;
	int op, error;

	while (zk_get_multi_result(in, &op, &error)) {
		if (op == ZK_OP_CREATE || op == ZK_OP_CREATE2) {
			zk_get_created(in, op, &c);
		} else if (op == ZK_OP_SET_DATA) {
			zk_get_stat(in, &c.stat);
		}
	}
}

static void results_of_a_transaction(void **state)
{
	struct jute_out o = {0};
	struct jute_in in;
	struct zk_created c;
	int op, error;

	(void)state;
	put_written(&o);
	in = in_of(o.p, o.n);
	assert_true(zk_get_multi_result(&in, &op, &error));
	zk_get_created(&in, op, &c);
	assert_true(slice_eq(c.path, slice_str("/a")));
	assert_false(c.has_stat);
	assert_true(zk_get_multi_result(&in, &op, &error));
	zk_get_created(&in, op, &c);
	assert_true(slice_eq(c.path, slice_str("/b")));
	assert_true(c.has_stat);
	expect_stat(&c.stat);
	assert_true(zk_get_multi_result(&in, &op, &error));
	assert_int_equal(op, ZK_OP_DELETE);
	assert_true(zk_get_multi_result(&in, &op, &error));
	assert_int_equal(op, ZK_OP_SET_DATA);
	zk_get_stat(&in, &c.stat);
	expect_stat(&c.stat);
	assert_true(zk_get_multi_result(&in, &op, &error));
	assert_int_equal(op, ZK_OP_CHECK);
	assert_false(zk_get_multi_result(&in, &op, &error));
	assert_int_equal(in.n, 0);
	expect_cuts_fail(&o, read_written);
	jute_out_free(&o);
}

static void a_transaction_that_failed(void **state)
{
	static const int errors[] = {0, ZK_NODE_EXISTS, ZK_ROLLED_BACK};
	struct jute_out o = {0};
	struct jute_in in;
	int op, error;
	size_t i;

	(void)state;
	for (i = 0; i < KV_COUNT(errors); i++) {
		put_result(&o, -1, false, errors[i]);
		jute_put_int(&o, errors[i]);
	}
	put_result(&o, -1, true, -1);
	in = in_of(o.p, o.n);
	for (i = 0; i < KV_COUNT(errors); i++) {
		assert_true(zk_get_multi_result(&in, &op, &error));
		assert_int_equal(op, -1);
		assert_int_equal(error, errors[i]);
	}
	assert_false(zk_get_multi_result(&in, &op, &error));
	assert_false(in.failed);
	expect_cuts_fail(&o, read_written);
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
	    cmocka_unit_test(bodies_of_writes),
	    cmocka_unit_test(parts_of_a_transaction),
	    cmocka_unit_test(results_of_a_transaction),
	    cmocka_unit_test(a_transaction_that_failed),
	    cmocka_unit_test(an_acl_and_its_stat),
	    cmocka_unit_test(errors_have_words_and_a_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
