/* store_place.c: where a key stands in a store, and whether two stores are one
 * place.
 *
 *   key /x/y, prefix /app <--> stored /app/x/y
 */
#include <strings.h>

#include "store/store_impl.h"

struct slice store_stored_key(const struct store *st, struct arena *a,
			      struct slice key)
{
	size_t n = st->uri->prefix_n + key.n;
	uint8_t *p = arena_alloc(a, n);

	if (p == NULL) {
		return slice_of(NULL, 0);
	}
	if (st->uri->prefix_n > 0) {
		memcpy(p, st->uri->prefix, st->uri->prefix_n);
	}
	if (key.n > 0) {
		memcpy(p + st->uri->prefix_n, key.p, key.n);
	}
	return slice_of(p, n);
}

struct slice store_relative_key(const struct store *st, struct slice stored)
{
	size_t n = st->uri->prefix_n;

	if (stored.n <= n ||
	    !slice_starts(stored, slice_of(st->uri->prefix, n)) ||
	    stored.p[n] != '/') {
		return slice_of(NULL, 0);
	}
	return slice_of(stored.p + n, stored.n - n);
}

/* ---- overlap ------------------------------------------------------------- */

struct endpoint {
	struct slice host; /* without brackets */
	struct slice port; /* may be empty */
};

static struct endpoint split_endpoint(const char *text)
{
	struct endpoint e = {0};
	const char *end, *colon;

	if (text[0] == '[' && (end = strchr(text, ']')) != NULL) {
		e.host = slice_of(text + 1, (size_t)(end - text - 1));
		e.port = slice_str(end[1] == ':' ? end + 2 : "");
		return e;
	}
	colon = strrchr(text, ':');
	if (colon == NULL) {
		e.host = slice_str(text);
	} else {
		e.host = slice_of(text, (size_t)(colon - text));
		e.port = slice_str(colon + 1);
	}
	return e;
}

static bool is_name(struct slice s, const char *name)
{
	return s.n == strlen(name) &&
	       strncasecmp((const char *)s.p, name, s.n) == 0;
}

static bool is_local(struct slice host)
{
	return is_name(host, "localhost") || is_name(host, "::1") ||
	       slice_starts(host, slice_str("127."));
}

/* A port that is not written is the backend's default: in doubt the same. */
static bool same_endpoint(const char *a, const char *b)
{
	struct endpoint x = split_endpoint(a), y = split_endpoint(b);

	if (x.port.n > 0 && y.port.n > 0 && !slice_eq(x.port, y.port)) {
		return false;
	}
	return (is_local(x.host) && is_local(y.host)) ||
	       (x.host.n == y.host.n &&
		strncasecmp((const char *)x.host.p, (const char *)y.host.p,
			    x.host.n) == 0);
}

static bool common_endpoint(const struct uri *a, const struct uri *b)
{
	size_t i, k;

	if (a->path != NULL && b->path != NULL) {
		return strcmp(a->path, b->path) == 0;
	}
	for (i = 0; i < a->n_endpoints; i++) {
		for (k = 0; k < b->n_endpoints; k++) {
			if (same_endpoint(a->endpoints[i], b->endpoints[k])) {
				return true;
			}
		}
	}
	return false;
}

/* The bytes that all stored keys begin with: a prefix cut at a segment goes on
 * with '/'; the option `raw_prefix` of a backend is taken as it is. */
static char *stored_prefix(const struct store *st, size_t *n)
{
	const struct uri *u = st->uri;
	const struct option_row *row = st->ops->options;
	char *raw = NULL;
	char *p;

	while (row != NULL && row->name != NULL &&
	       strcmp(row->name, "raw_prefix") != 0) {
		row++;
	}
	if (row != NULL && row->name != NULL &&
	    option_text(st->ops->options, u->options, u->n_options,
			"raw_prefix", &raw, NULL) != KV_OK) {
		return NULL;
	}
	if (raw != NULL) {
		*n = strlen(raw);
		return raw;
	}
	p = kv_malloc(u->prefix_n + 1);
	if (p != NULL) {
		memcpy(p, u->prefix, u->prefix_n);
		p[u->prefix_n] = '/';
		*n = u->prefix_n + 1;
	}
	return p;
}

static bool same_place(const struct store *a, const struct store *b)
{
	if (a->ops != b->ops) {
		return false;
	}
	return a->ops->same_place != NULL ? a->ops->same_place(a, b)
					  : common_endpoint(a->uri, b->uri);
}

/* In doubt (no memory to look) they overlap: the caller is then careful. */
bool store_overlap(const struct store *a, const struct store *b)
{
	size_t an = 0, bn = 0;
	char *ap, *bp;
	bool overlap;

	if (!same_place(a, b)) {
		return false;
	}
	ap = stored_prefix(a, &an);
	bp = stored_prefix(b, &bn);
	overlap =
	    ap == NULL || bp == NULL || memcmp(ap, bp, KV_MIN(an, bn)) == 0;
	kv_free(ap);
	kv_free(bp);
	return overlap;
}

bool store_same_tree(const struct store *a, const struct store *b)
{
	size_t an = 0, bn = 0;
	char *ap, *bp;
	bool same;

	if (!same_place(a, b)) {
		return false;
	}
	ap = stored_prefix(a, &an);
	bp = stored_prefix(b, &bn);
	same = ap != NULL && bp != NULL && an == bn && memcmp(ap, bp, an) == 0;
	kv_free(ap);
	kv_free(bp);
	return same;
}
