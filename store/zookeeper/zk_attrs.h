/* zk_attrs.h: what a znode has beside its data (store.h on attrs): null in
 * place of data, an ACL.
 *
 *   znode: null, ACL --zk_attrs_encode--> bytes --zk_attrs_decode--> znode
 *
 * Canonical: no bytes for what is neither null nor has an ACL of its own, where
 * world:anyone with all rights counts as none; the entries of an ACL sorted,
 * each once. Bytes: flags; with an ACL a jute vector of {perms, scheme, id}.
 */
#ifndef KV_ZK_ATTRS_H
#define KV_ZK_ATTRS_H

#include "store/zookeeper/zk_proto.h"

struct zk_attrs {
	bool null;
	struct zk_acl *acls; /* n == 0: the open one */
	size_t n;
};

/* The bytes of attrs; n == 0 for the defaults. The entries are sorted in place.
 * KV_NO_MEMORY. */
int zk_attrs_encode(struct arena *a, struct zk_attrs *attrs,
		    struct slice *out) KV_MUSTCHECK;
/* Borrows the bytes; the entries are in the arena. KV_BAD_ARGUMENT: no attrs of
 * a znode. KV_NO_MEMORY. */
int zk_attrs_decode(struct arena *a, struct slice bytes, struct zk_attrs *out,
		    struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_ZK_ATTRS_H */
