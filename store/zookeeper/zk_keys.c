/* zk_keys.c: what of a tree of znodes is a key, and under which name.
 *
 *   key /x/y, prefix /app <--> znode /app/x/y
 *   znode with data, or a leaf --> key      null data and children --> none
 */
#include "store/zookeeper/zk_impl.h"

struct slice zk_path(const struct store *st, struct arena *a, struct slice key)
{
	if (st->uri->prefix_n + key.n == 0) {
		return slice_dup(a, slice_str("/"));
	}
	return store_stored_key(st, a, key);
}

struct slice zk_key(const struct store *st, struct slice path)
{
	struct slice key = store_relative_key(st, path);

	/* The root of all is no key. */
	return key.n == 1 && st->uri->prefix_n == 0 ? slice_of(NULL, 0) : key;
}

bool zk_is_key(const struct zk *zk, const struct zk_data *d)
{
	if (zk->skip_ephemerals && d->stat.ephemeral_owner != 0) {
		return false;
	}
	switch (zk->data) {
	case ZK_DATA_LEAVES:
		return d->stat.num_children == 0;
	case ZK_DATA_NONEMPTY:
		return d->data.n > 0;
	case ZK_DATA_ALL:
		break;
	}
	return !d->null || d->stat.num_children == 0;
}

uint64_t zk_index(const struct zk *zk, const struct zk_data *d)
{
	if (d->null || zk->data == ZK_DATA_LEAVES) {
		return (uint64_t)KV_MAX(d->stat.mzxid, d->stat.pzxid);
	}
	return (uint64_t)d->stat.mzxid;
}

/* Whether its data is null is not told. With children it is no key if so. */
uint64_t zk_hidden_index(const struct zk_stat *s)
{
	if (s->data_length == 0 && s->num_children == 0) {
		return (uint64_t)KV_MAX(s->mzxid, s->pzxid);
	}
	return (uint64_t)s->mzxid;
}

struct store_version zk_version(const struct zk_stat *s)
{
	struct store_version v = {.a = (uint64_t)(uint32_t)s->version + 1,
				  .b = (uint64_t)s->czxid};

	return v;
}

/* ---- names --------------------------------------------------------------- */

/* The code point of the UTF-8 character of n bytes. */
static uint32_t code_point(const uint8_t *p, size_t n)
{
	static const uint8_t first[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t c = p[0] & first[n];
	size_t i;

	for (i = 1; i < n; i++) {
		c = c << 6 | (p[i] & 0x3fu);
	}
	return c;
}

/* The server holds names as UTF-16 and refuses these units; among them are
 * those that stand for what is beyond U+FFFF. */
static const char *char_fault(uint32_t c)
{
	if (c == 0) {
		return "a NUL";
	}
	if (c <= 0x1f || IN(0x7f, c, 0x9f)) {
		return "a control character";
	}
	if (IN(0xd800, c, 0xf8ff) || c >= 0xfff0) {
		return "a character that ZooKeeper refuses (private use, "
		       "special, or beyond U+FFFF)";
	}
	return NULL;
}

static const char *segment_fault(struct slice s)
{
	const char *fault = NULL;
	size_t i, n;

	if (s.n == 0) {
		return "an empty segment";
	}
	if (slice_eq(s, slice_str(".")) || slice_eq(s, slice_str(".."))) {
		return "a segment . or ..";
	}
	for (i = 0; i < s.n && fault == NULL; i += n) {
		n = slice_utf8_char(slice_of(s.p + i, s.n - i));
		if (n == 0) {
			return "bytes that are not UTF-8";
		}
		fault = char_fault(code_point(s.p + i, n));
	}
	return fault;
}

const char *zk_path_fault(struct slice path)
{
	const char *fault = NULL;
	size_t from = 1, to;

	if (path.n == 0 || path.p[0] != '/') {
		return "no leading slash";
	}
	if (path.n == 1) {
		return NULL;
	}
	while (from <= path.n && fault == NULL) {
		for (to = from; to < path.n && path.p[to] != '/'; to++) {
		}
		fault = segment_fault(slice_of(path.p + from, to - from));
		from = to + 1;
	}
	return fault;
}

bool zk_is_system(struct slice path)
{
	struct slice own = slice_str("/zookeeper");

	return slice_eq(path, own) || slice_below(path, own);
}

int zk_check_key(const struct store *st, struct slice key, struct kv_err *err)
{
	const char *fault =
	    key.n == 1 ? "an empty segment" : zk_path_fault(key);
	char text[SLICE_PRINT_MAX];

	if (fault == NULL && st->uri->prefix_n == 0 && zk_is_system(key)) {
		fault = "what ZooKeeper keeps for itself";
	}
	if (fault == NULL) {
		return KV_OK;
	}
	return kv_fail(err, KV_INVALID_KEY,
		       "zookeeper: key %s cannot be a znode: it has %s",
		       slice_print(key, text, sizeof text), fault);
}

/* ---- attrs --------------------------------------------------------------- */

int zk_attrs_of(struct arena *a, bool null, struct slice acl, struct slice *out,
		struct kv_err *err)
{
	struct zk_attrs attrs = {.null = null};
	struct jute_in in = {.p = acl.p, .n = acl.n};
	size_t i, n = acl.n == 0 ? 0 : jute_get_count(&in, ZK_ACL_LEAST);
	int rv = KV_OK;

	if (n > 0) {
		attrs.acls = arena_alloc(a, n * sizeof *attrs.acls);
		rv = attrs.acls == NULL ? KV_NO_MEMORY : KV_OK;
	}
	for (i = 0; i < n && rv == KV_OK; i++) {
		zk_get_acl(&in, &attrs.acls[attrs.n++]);
	}
	if (in.failed) {
		return kv_fail(err, KV_BROKEN,
			       "zookeeper: an ACL was not understood");
	}
	if (rv == KV_OK) {
		rv = zk_attrs_encode(a, &attrs, out);
	}
	return rv == KV_OK ? KV_OK
			   : kv_fail(err, rv, "zookeeper: no memory for attrs");
}
