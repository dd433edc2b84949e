/* zk_proto.c: see zk_proto.h. */
#include "store/zookeeper/zk_proto.h"

#include <stdio.h>

/* ---- requests ------------------------------------------------------------ */

void zk_put_path_watch(struct jute_out *o, struct slice path, bool watch)
{
	jute_put_bytes(o, path);
	jute_put_bool(o, watch);
}

void zk_put_path(struct jute_out *o, struct slice path)
{
	jute_put_bytes(o, path);
}

void zk_put_add_watch(struct jute_out *o, struct slice path, bool recursive)
{
	jute_put_bytes(o, path);
	jute_put_int(o, recursive ? 1 : 0);
}

/* What stands before each part of a multi, and closes it. */
static void put_multi_header(struct jute_out *o, int op, bool end, int error)
{
	jute_put_int(o, op);
	jute_put_bool(o, end);
	jute_put_int(o, error);
}

void zk_put_multi_read(struct jute_out *o, enum zk_op op, struct slice path)
{
	PRE(op == ZK_OP_GET_DATA || op == ZK_OP_GET_CHILDREN);
	put_multi_header(o, op, false, -1);
	zk_put_path_watch(o, path, false);
}

void zk_put_multi_end(struct jute_out *o)
{
	put_multi_header(o, -1, true, -1);
}

/* ---- writes -------------------------------------------------------------- */

void zk_put_multi_op(struct jute_out *o, enum zk_op op)
{
	put_multi_header(o, op, false, -1);
}

static void put_data(struct jute_out *o, struct slice data, bool null)
{
	if (null) {
		jute_put_null(o);
	} else {
		jute_put_bytes(o, data);
	}
}

/* A server takes no empty list. */
static void put_acls(struct jute_out *o, const struct zk_acl *acls, size_t n)
{
	const struct zk_acl open = {
	    .perms = ZK_PERM_ALL,
	    .scheme = slice_str("world"),
	    .id = slice_str("anyone"),
	};
	size_t i;

	if (n == 0) {
		acls = &open;
		n = 1;
	}
	if (n > INT32_MAX) {
		o->failed = true;
		return;
	}
	jute_put_int(o, (int32_t)n);
	for (i = 0; i < n; i++) {
		jute_put_int(o, acls[i].perms);
		jute_put_bytes(o, acls[i].scheme);
		jute_put_bytes(o, acls[i].id);
	}
}

void zk_put_create(struct jute_out *o, const struct zk_create *c)
{
	jute_put_bytes(o, c->path);
	put_data(o, c->data, c->null);
	put_acls(o, c->acls, c->n_acls);
	jute_put_int(o, (int32_t)c->mode);
	if (c->mode == ZK_PERSISTENT_TTL) {
		jute_put_long(o, c->ttl_ms);
	}
}

void zk_put_delete(struct jute_out *o, struct slice path, int32_t version)
{
	jute_put_bytes(o, path);
	jute_put_int(o, version);
}

void zk_put_check(struct jute_out *o, struct slice path, int32_t version)
{
	jute_put_bytes(o, path);
	jute_put_int(o, version);
}

void zk_put_set_data(struct jute_out *o, struct slice path, struct slice data,
		     bool null, int32_t version)
{
	jute_put_bytes(o, path);
	put_data(o, data, null);
	jute_put_int(o, version);
}

void zk_put_set_acl(struct jute_out *o, struct slice path,
		    const struct zk_acl *acls, size_t n, int32_t version)
{
	jute_put_bytes(o, path);
	put_acls(o, acls, n);
	jute_put_int(o, version);
}

/* ---- replies ------------------------------------------------------------- */

void zk_get_stat(struct jute_in *in, struct zk_stat *out)
{
	out->czxid = jute_get_long(in);
	out->mzxid = jute_get_long(in);
	out->ctime = jute_get_long(in);
	out->mtime = jute_get_long(in);
	out->version = jute_get_int(in);
	out->cversion = jute_get_int(in);
	out->aversion = jute_get_int(in);
	out->ephemeral_owner = jute_get_long(in);
	out->data_length = jute_get_int(in);
	out->num_children = jute_get_int(in);
	out->pzxid = jute_get_long(in);
}

void zk_get_data(struct jute_in *in, struct zk_data *out)
{
	out->data = jute_get_bytes(in, &out->null);
	zk_get_stat(in, &out->stat);
}

bool zk_get_multi_result(struct jute_in *in, int *op, int *error)
{
	bool end;

	*op = jute_get_int(in);
	end = jute_get_bool(in);
	*error = jute_get_int(in);
	if (*op == -1 && !end) {
		*error = jute_get_int(in);
	}
	return !end && !in->failed;
}

void zk_get_acl(struct jute_in *in, struct zk_acl *out)
{
	out->perms = jute_get_int(in);
	out->scheme = jute_get_bytes(in, NULL);
	out->id = jute_get_bytes(in, NULL);
}

void zk_get_created(struct jute_in *in, int op, struct zk_created *out)
{
	*out = (struct zk_created){.path = jute_get_bytes(in, NULL)};
	if (op != ZK_OP_CREATE) {
		zk_get_stat(in, &out->stat);
		out->has_stat = !in->failed;
	}
}

/* ---- errors -------------------------------------------------------------- */

/* X(the server's error, ours, for people) */
#define ERROR_MAP(X)                                                         \
	X(ZK_ROLLED_BACK, KV_CANCELED,                                       \
	  "another part of the transaction failed")                          \
	X(ZK_MARSHALLING, KV_BROKEN, "the server did not understand")        \
	X(ZK_UNIMPLEMENTED, KV_CALL_NOT_SUPPORTED,                           \
	  "the server does not know the request")                            \
	X(ZK_OPERATION_TIMEOUT, KV_TIMED_OUT, "timed out at the server")     \
	X(ZK_BAD_ARGUMENTS, KV_INVALID_KEY, "the server takes no such path") \
	X(ZK_NO_NODE, KV_KEY_NOT_FOUND, "no node")                           \
	X(ZK_NO_AUTH, KV_DENIED, "no permission")                            \
	X(ZK_BAD_VERSION, KV_KEY_MODIFIED, "another version")                \
	X(ZK_NO_CHILDREN_FOR_EPHEMERALS, KV_INVALID_KEY,                     \
	  "an ephemeral node has no children")                               \
	X(ZK_NODE_EXISTS, KV_KEY_EXISTS, "node exists")                      \
	X(ZK_NOT_EMPTY, KV_KEY_MODIFIED, "not empty")                        \
	X(ZK_SESSION_EXPIRED, KV_NOT_REACHABLE, "session expired")           \
	X(ZK_INVALID_ACL, KV_DENIED, "invalid ACL")                          \
	X(ZK_AUTH_FAILED, KV_DENIED, "the server refused the credentials")   \
	X(ZK_SESSION_MOVED, KV_NOT_REACHABLE, "session moved")               \
	X(ZK_NOT_READONLY, KV_NOT_REACHABLE,                                 \
	  "the server is in read-only mode: it has no quorum")               \
	X(ZK_SASL_REQUIRED, KV_DENIED,                                       \
	  "the server asks for an other kind of "                            \
	  "authentication")                                                  \
	X(ZK_QUOTA_EXCEEDED, KV_NO_SPACE, "quota exceeded")                  \
	X(ZK_THROTTLED, KV_NOT_REACHABLE, "the server is overloaded")

const char *zk_error_text(int error, char *buf, size_t cap)
{
	switch (error) {
#define X(name, status, text) \
	case name:            \
		return text;
		ERROR_MAP(X)
#undef X
	default:
		(void)snprintf(buf, cap, "error %d", error);
		return buf;
	}
}

static int status_of(int error)
{
	switch (error) {
#define X(name, status, text) \
	case name:            \
		return status;
		ERROR_MAP(X)
#undef X
	default:
		return KV_BROKEN;
	}
}

int zk_fail(struct kv_err *err, int error, struct slice path)
{
	char text[32], shown[SLICE_PRINT_MAX];

	PRE(error != ZK_OK);
	return kv_fail(err, status_of(error), "znode %s: %s",
		       slice_print(path, shown, sizeof shown),
		       zk_error_text(error, text, sizeof text));
}
