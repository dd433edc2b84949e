/* zk_proto.h: ZooKeeper's requests and replies that we speak, in jute.
 *
 * Requests: zk_put_* appends the body of one request to a jute_out that
 * zk_call_frame began. Replies: zk_get_* over the body of one reply; look at
 * in->failed at the end.
 * Frames as measured against 3.8.0 (and the jute files of ZooKeeper).
 */
#ifndef KV_ZK_PROTO_H
#define KV_ZK_PROTO_H

#include "store/base/status.h"
#include "store/zookeeper/jute.h"

enum zk_op {
	ZK_OP_CREATE = 1,
	ZK_OP_DELETE = 2,
	ZK_OP_EXISTS = 3,
	ZK_OP_GET_DATA = 4,
	ZK_OP_SET_DATA = 5,
	ZK_OP_GET_ACL = 6,
	ZK_OP_SET_ACL = 7,
	ZK_OP_GET_CHILDREN = 8,
	ZK_OP_SYNC = 9,
	ZK_OP_PING = 11,
	ZK_OP_GET_CHILDREN2 = 12,
	ZK_OP_CHECK = 13,
	ZK_OP_MULTI = 14,
	ZK_OP_CREATE2 = 15,
	ZK_OP_REMOVE_WATCHES = 18,
	ZK_OP_CREATE_CONTAINER = 19,
	ZK_OP_CREATE_TTL = 21,
	ZK_OP_MULTI_READ = 22,
	ZK_OP_AUTH = 100,
	ZK_OP_SET_WATCHES = 101,
	ZK_OP_ADD_WATCH = 106,
	ZK_OP_CLOSE_SESSION = -11
};

/* The server's error codes that we tell apart. */
enum zk_error {
	ZK_OK = 0,
	ZK_ROLLED_BACK = -2, /* a part of a multi behind one that failed */
	ZK_MARSHALLING = -5,
	ZK_UNIMPLEMENTED = -6,
	ZK_OPERATION_TIMEOUT = -7,
	ZK_BAD_ARGUMENTS = -8,
	ZK_NO_NODE = -101,
	ZK_NO_AUTH = -102,
	ZK_BAD_VERSION = -103,
	ZK_NO_CHILDREN_FOR_EPHEMERALS = -108,
	ZK_NODE_EXISTS = -110,
	ZK_NOT_EMPTY = -111,
	ZK_SESSION_EXPIRED = -112,
	ZK_INVALID_ACL = -114,
	ZK_AUTH_FAILED = -115,
	ZK_SESSION_MOVED = -118,
	ZK_NOT_READONLY = -119,
	ZK_SASL_REQUIRED = -124,
	ZK_QUOTA_EXCEEDED = -125,
	ZK_THROTTLED = -127
};

enum zk_event_type {
	ZK_EVENT_CREATED = 1,
	ZK_EVENT_DELETED = 2,
	ZK_EVENT_CHANGED = 3,
	ZK_EVENT_CHILD = 4
};

struct zk_stat {
	int64_t czxid;
	int64_t mzxid;
	int64_t ctime; /* ms since 1970 */
	int64_t mtime;
	int32_t version;
	int32_t cversion;
	int32_t aversion;
	int64_t ephemeral_owner; /* 0: not ephemeral (or a container, or TTL) */
	int32_t data_length;
	int32_t num_children;
	int64_t pzxid;
};

struct zk_data {
	struct slice data; /* borrowed */
	bool null;
	struct zk_stat stat;
};

void zk_put_path_watch(struct jute_out *o, struct slice path, bool watch);
void zk_put_path(struct jute_out *o, struct slice path);
void zk_put_add_watch(struct jute_out *o, struct slice path, bool recursive);

/* One read of a multiRead: GET_DATA or GET_CHILDREN; then the end. */
void zk_put_multi_read(struct jute_out *o, enum zk_op op, struct slice path);
void zk_put_multi_end(struct jute_out *o);

void zk_get_stat(struct jute_in *in, struct zk_stat *out);
void zk_get_data(struct jute_in *in, struct zk_data *out); /* data, Stat */

/* One result of a multiRead or a multi: *op as asked and *error 0, or its error
 * and *op -1. (CREATE2 comes back as CREATE, without a Stat; CREATE_CONTAINER
 * as CREATE2.) In a multi that failed every *op is -1: error 0 before the part
 * that failed, ZK_ROLLED_BACK behind it.
 * After *op GET_DATA: zk_get_data; GET_CHILDREN: a vector of names
 * (jute_get_count, then jute_get_bytes each); CREATE, CREATE2: zk_get_created;
 * SET_DATA: zk_get_stat; DELETE, CHECK: nothing. False: the end, or in->failed.
 */
bool zk_get_multi_result(struct jute_in *in, int *op, int *error);

/* An entry of an ACL. The reply of GET_ACL: a vector (jute_get_count with
 * ZK_ACL_LEAST, then zk_get_acl each), then the Stat. */
struct zk_acl {
	int32_t perms;	     /* enum zk_perm */
	struct slice scheme; /* borrowed */
	struct slice id;     /* borrowed */
};
enum zk_perm {
	ZK_PERM_READ = 1,
	ZK_PERM_WRITE = 2,
	ZK_PERM_CREATE = 4,
	ZK_PERM_DELETE = 8,
	ZK_PERM_ADMIN = 16,
	ZK_PERM_ALL = 31
};
#define ZK_ACL_LEAST 12

void zk_get_acl(struct jute_in *in, struct zk_acl *out);

/* ---- writes ---- */

enum zk_create_mode {
	ZK_PERSISTENT = 0,
	ZK_EPHEMERAL = 1,
	ZK_CONTAINER = 4,     /* op CREATE_CONTAINER */
	ZK_PERSISTENT_TTL = 5 /* op CREATE_TTL */
};

struct zk_create {
	struct slice path;
	struct slice data;
	bool null; /* in place of data */
	const struct zk_acl *acls;
	size_t n_acls; /* 0: anybody may do anything */
	enum zk_create_mode mode;
	int64_t ttl_ms; /* of mode PERSISTENT_TTL */
};

#define ZK_ANY_VERSION (-1)

/* Bodies: alone behind zk_call_begin, or, each behind zk_put_multi_op, in a
 * multi, which zk_put_multi_end ends. */
void zk_put_multi_op(struct jute_out *o, enum zk_op op);
void zk_put_create(struct jute_out *o, const struct zk_create *c);
void zk_put_delete(struct jute_out *o, struct slice path, int32_t version);
void zk_put_check(struct jute_out *o, struct slice path, int32_t version);
void zk_put_set_data(struct jute_out *o, struct slice path, struct slice data,
		     bool null, int32_t version);
/* version: the ACL's (aversion). n == 0: anybody may do anything. */
void zk_put_set_acl(struct jute_out *o, struct slice path,
		    const struct zk_acl *acls, size_t n, int32_t version);

struct zk_created {
	struct slice path; /* borrowed */
	bool has_stat;
	struct zk_stat stat;
};

/* The reply of a create, `op` as asked (in a multi: as answered). */
void zk_get_created(struct jute_in *in, int op, struct zk_created *out);

/* ---- errors ---- */

/* For people: "no node", "no auth"...; "error -9" for others. */
const char *zk_error_text(int error, char *buf, size_t cap);

/* A server's error of a read, as ours; says what and where. Not for ZK_OK. */
int zk_fail(struct kv_err *err, int error, struct slice path);

#endif /* KV_ZK_PROTO_H */
