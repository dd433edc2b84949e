/* zk_impl.h: what the files of the backend share.
 *
 *   zookeeper.c   table, options, open and close, origin
 *   zk_keys.c     key <-> znode path; which znodes are keys; attrs
 *   zk_read.c     many reads as one: multiRead, or single ones, pipelined
 *   zk_scan.c     pages; zk_walk.c the walk over the tree in key order
 *   zk_watch.c    the pull side of a watch (zk_watch_open.c: its beginning)
 *   zk_gather.c   changes that were found, in order; zk_dirty.c, zk_fetch.c:
 *                 what is to be looked at, and how
 *   zk_fast.c     a recursive watch; zk_general.c one-shot watches, a table
 *   zk_resume.c   what changed since a zxid: zk_diff.c (SetWatches over known
 *                 paths), zk_merge.c (a walk along the known keys)
 *   zk_writer.c   batches of guarded operations, over zk_handle: zk_plan.c
 *                 zk_steps.c what they mean, zk_write.c one, zk_settle.c its
 * end zk_handle.c   libzookeeper_mt: its threads, behind a mailbox
 */
#ifndef KV_ZK_IMPL_H
#define KV_ZK_IMPL_H

#include "store/zookeeper/zk_attrs.h"
#include "store/zookeeper/zk_session.h"
#include "store/zookeeper/zk_walk.h"
#include "store/zookeeper/zookeeper.h"

/* jute.maxbuffer's default less what a request needs beside path and data. */
#define ZK_MAX_PACKET 1048575
#define ZK_MAX_OPS 128
#define ZK_MAX_BYTES (512 * 1024)

enum zk_data_mode { ZK_DATA_ALL, ZK_DATA_LEAVES, ZK_DATA_NONEMPTY };

struct zk_writer;

/* One open store. */
struct zk {
	struct store *st;
	struct zk_session session;
	struct zk_writer *writer; /* NULL until something is written */
	enum zk_data_mode data;
	bool skip_ephemerals;
	bool attrs;	       /* opened with STORE_ATTRS */
	bool copy_acls;	       /* ... and attrs hold ACLs (acls=copy) */
	char *root;	       /* the mirrored znode: the prefix, or "/" */
	struct zk_walks walks; /* walks that pages may go on with */
	size_t node_size; /* bytes a znode read, as seen lately; 0: none was */
};

static inline struct zk *zk_of(const struct store *st)
{
	return st->impl;
}

/* ---- zk_keys.c ---- */

/* The znode's absolute path for a key: prefix + key, "/" for none. p NULL: no
 * memory. */
struct slice zk_path(const struct store *st, struct arena *a,
		     struct slice key) KV_MUSTCHECK;
/* The key of an absolute path; n == 0: not below the prefix. Borrowed. */
struct slice zk_key(const struct store *st, struct slice path);
/* Is the znode a key (data=, ephemerals=)? */
bool zk_is_key(const struct zk *zk, const struct zk_data *d);
/* The znode as a key's index: its mzxid; also its pzxid where children make
 * and unmake the key (null data, data=leaves). */
uint64_t zk_index(const struct zk *zk, const struct zk_data *d);
/* ... of a key that must not be read: the one it would have. */
uint64_t zk_hidden_index(const struct zk_stat *s);
struct store_version zk_version(const struct zk_stat *s);
int zk_check_key(const struct store *st, struct slice key, struct kv_err *err);
/* Can a znode have this path? NULL: yes; else why not. */
const char *zk_path_fault(struct slice path);
/* Is it the server's own (/zookeeper and below)? */
bool zk_is_system(struct slice path);

/* A znode's attrs; acl: a vector as GET_ACL gives it, its count included, or
 * n == 0: not read. KV_NO_MEMORY; KV_BROKEN. */
int zk_attrs_of(struct arena *a, bool null, struct slice acl, struct slice *out,
		struct kv_err *err) KV_MUSTCHECK;

/* ---- zookeeper.c ---- */

/* Where the answers of the present connection come from. */
void zk_origin(const struct zk *zk, struct store_origin *out);

/* ---- ops ---- */

int zk_scan(struct store *st, struct store_scan *req);
void zk_scan_cancel(struct store_scan *req);
int zk_changes(struct store_watch *w, struct store_next *req);
void zk_changes_cancel(struct store_next *req);
void zk_unwatch(struct store_watch *w);
int zk_write(struct store *st, struct store_write *req);
void zk_write_cancel(struct store_write *req);
#define ZK_WATCH_SIZE sizeof(void *)

/* Frees the walks that wait for a next page. */
void zk_walks_init(struct zk *zk);
void zk_walks_clear(struct zk *zk);

/* Closes the handle if there is one, then calls back, later. */
void zk_write_close(struct zk *zk, void (*closed)(void *ctx), void *ctx);

#endif /* KV_ZK_IMPL_H */
