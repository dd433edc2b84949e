/* zk_attrs.c: see zk_attrs.h. */
#include "store/zookeeper/zk_attrs.h"

#include <stdlib.h>

enum { HAS_NULL = 1, HAS_ACL = 2 };

/* perms, two lengths */
#define ACL_LEAST 12

static int compare(const void *a, const void *b)
{
	const struct zk_acl *x = a, *y = b;
	int c = slice_cmp(x->scheme, y->scheme);

	if (c == 0) {
		c = slice_cmp(x->id, y->id);
	}
	return c != 0 ? c : (x->perms > y->perms) - (x->perms < y->perms);
}

static bool is_open(const struct zk_acl *acl)
{
	return acl->perms == ZK_PERM_ALL &&
	       slice_eq(acl->scheme, slice_str("world")) &&
	       slice_eq(acl->id, slice_str("anyone"));
}

/* Sorts, drops what stands twice; nothing is left of the open one. */
static void make_canonical(struct zk_attrs *attrs)
{
	size_t i, n = 0;

	if (attrs->n > 1) {
		qsort(attrs->acls, attrs->n, sizeof *attrs->acls, compare);
	}
	for (i = 0; i < attrs->n; i++) {
		if (n == 0 || compare(&attrs->acls[n - 1], &attrs->acls[i])) {
			attrs->acls[n++] = attrs->acls[i];
		}
	}
	attrs->n = n == 1 && is_open(&attrs->acls[0]) ? 0 : n;
}

int zk_attrs_encode(struct arena *a, struct zk_attrs *attrs, struct slice *out)
{
	struct jute_out o = {0};
	size_t i;

	make_canonical(attrs);
	*out = slice_of(NULL, 0);
	if (!attrs->null && attrs->n == 0) {
		return KV_OK;
	}
	/* An integer, as what follows then lies as jute would have it. */
	jute_put_int(&o, (attrs->null ? HAS_NULL : 0) |
			     (attrs->n > 0 ? HAS_ACL : 0));
	if (attrs->n > 0) {
		jute_put_int(&o, (int32_t)attrs->n);
	}
	for (i = 0; i < attrs->n; i++) {
		jute_put_int(&o, attrs->acls[i].perms);
		jute_put_bytes(&o, attrs->acls[i].scheme);
		jute_put_bytes(&o, attrs->acls[i].id);
	}
	if (!o.failed) {
		*out = slice_dup(a, slice_of(o.p, o.n));
	}
	jute_out_free(&o);
	return out->p != NULL ? KV_OK : KV_NO_MEMORY;
}

static int decode_acls(struct arena *a, struct jute_in *in,
		       struct zk_attrs *out)
{
	size_t i, n = jute_get_count(in, ACL_LEAST);

	if (in->failed || n == 0) {
		return KV_BAD_ARGUMENT;
	}
	out->acls = arena_alloc(a, n * sizeof *out->acls);
	if (out->acls == NULL) {
		return KV_NO_MEMORY;
	}
	for (i = 0; i < n; i++) {
		out->acls[i].perms = jute_get_int(in);
		out->acls[i].scheme = jute_get_bytes(in, NULL);
		out->acls[i].id = jute_get_bytes(in, NULL);
	}
	out->n = n;
	return KV_OK;
}

int zk_attrs_decode(struct arena *a, struct slice bytes, struct zk_attrs *out,
		    struct kv_err *err)
{
	struct jute_in in = {.p = bytes.p, .n = bytes.n};
	int rv = KV_OK;
	int32_t flags;

	*out = (struct zk_attrs){0};
	if (bytes.n == 0) {
		return KV_OK;
	}
	flags = jute_get_int(&in);
	if (flags <= 0 || flags > (HAS_NULL | HAS_ACL)) {
		rv = KV_BAD_ARGUMENT;
	} else if ((flags & HAS_ACL) != 0) {
		rv = decode_acls(a, &in, out);
	}
	out->null = (flags & HAS_NULL) != 0;
	if (rv == KV_OK && (in.failed || in.n > 0)) {
		rv = KV_BAD_ARGUMENT;
	}
	if (rv != KV_OK) {
		return kv_fail(err, rv,
			       rv == KV_NO_MEMORY
				   ? "zookeeper: no memory for attrs"
				   : "zookeeper: attrs are not understood");
	}
	return KV_OK;
}
