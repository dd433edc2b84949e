/* consul_place.c: where things are: stored keys, and the paths of requests.
 * Pure, no I/O.
 *
 *   key "/x/y", prefix "/app" --> stored "app/x/y"
 *   a "directory" key that the web page made, "app/x/" --> key "/x/"
 */
#include <stdio.h>

#include "store/consul/consul_impl.h"

static const char no_such_key[] = "kvmirror-no-such-key";

/* ---- keys ---------------------------------------------------------------- */

struct slice consul_stored(const struct consul *c, struct arena *a,
			   struct slice key)
{
	struct slice s = store_stored_key(c->st, a, key);

	return s.p == NULL ? s : slice_of(s.p + 1, s.n - 1);
}

struct slice consul_stored_dir(const struct consul *c, struct arena *a,
			       struct slice dir)
{
	const struct uri *u = c->st->uri;
	size_t n = u->prefix_n + dir.n;
	uint8_t *p = arena_alloc(a, n + 1);

	if (p == NULL) {
		return (struct slice){0};
	}
	memcpy(p, u->prefix, u->prefix_n);
	if (dir.n > 0) {
		memcpy(p + u->prefix_n, dir.p, dir.n);
	}
	p[n] = '/';
	return slice_of(p + 1, n);
}

struct slice consul_relative(const struct consul *c, struct arena *a,
			     struct slice stored)
{
	uint8_t *p = arena_alloc(a, stored.n + 1);
	struct slice key;

	if (p == NULL) {
		return (struct slice){0};
	}
	p[0] = '/';
	if (stored.n > 0) {
		memcpy(p + 1, stored.p, stored.n);
	}
	key = store_relative_key(c->st, slice_of(p, stored.n + 1));
	return key.n == 0 ? slice_of(p, 0) : key;
}

/* ---- paths --------------------------------------------------------------- */

size_t consul_url_part(struct slice prefix)
{
	size_t i;

	for (i = 0; i < prefix.n; i++) {
		uint8_t c = prefix.p[i];
		uint8_t next = i + 1 < prefix.n ? prefix.p[i + 1] : 0;

		if (c < 0x20 || c >= 0x7f ||
		    (c == '/' && (next == '/' || next == '.')) ||
		    (i == 0 && (c == '/' || c == '.'))) {
			break;
		}
	}
	return i;
}

static void add_param(struct consul_buf *b, const char *name, const char *value)
{
	if (value != NULL) {
		buf_str(b, "&");
		buf_str(b, name);
		buf_str(b, "=");
		buf_url(b, slice_str(value));
	}
}

static void add_params(const struct consul *c, struct consul_buf *b,
		       enum consul_read how)
{
	if (how != CONSUL_WRITE) {
		buf_str(b, how == CONSUL_STALE ? "&stale" : "&consistent");
	}
	add_param(b, "dc", c->dc);
	add_param(b, "ns", c->ns);
	add_param(b, "partition", c->partition);
}

void consul_txn_path(const struct consul *c, struct consul_buf *b,
		     enum consul_read how)
{
	buf_str(b, "/v1/txn?kvmirror");
	add_params(c, b, how);
}

void consul_session_path(const struct consul *c, struct consul_buf *b,
			 const char *what, const char *session)
{
	buf_str(b, "/v1/session/");
	buf_str(b, what);
	buf_url(b, slice_str(session));
	buf_str(b, "?kvmirror");
	add_params(c, b, CONSUL_WRITE);
}

static void add_prefix(struct consul_buf *b, struct slice prefix)
{
	buf_str(b, "/v1/kv/");
	buf_url(b, slice_of(prefix.p, consul_url_part(prefix)));
}

void consul_keys_path(const struct consul *c, struct consul_buf *b,
		      struct slice prefix, enum consul_read how,
		      uint64_t wait_index, uint64_t wait_ms)
{
	add_prefix(b, prefix);
	buf_str(b, "?keys");
	add_params(c, b, how);
	if (wait_index > 0) {
		buf_str(b, "&index=");
		buf_num(b, wait_index);
		buf_str(b, "&wait=");
		buf_num(b, wait_ms);
		buf_str(b, "ms");
	}
}

void consul_index_path(const struct consul *c, struct consul_buf *b,
		       enum consul_read how)
{
	const struct uri *u = c->st->uri;

	if (u->prefix_n > 1) {
		add_prefix(b, slice_of(u->prefix + 1, u->prefix_n - 1));
		buf_str(b, "/");
	} else {
		buf_str(b, "/v1/kv/");
	}
	buf_str(b, no_such_key);
	buf_str(b, "?raw");
	add_params(c, b, how);
}

/* ---- answers ------------------------------------------------------------- */

void consul_origin(struct consul *c, uint64_t index, uint64_t epoch,
		   struct store_origin *out)
{
	(void)snprintf(out->identity, sizeof out->identity, "consul%s%.50s",
		       c->dc == NULL ? "" : " ", c->dc == NULL ? "" : c->dc);
	out->index = KV_MAX(index, 1);
	out->epoch = epoch;
}

bool consul_attrs(const struct consul *c, struct arena *a, struct slice *to,
		  uint64_t flags)
{
	uint8_t b[8];

	if (flags == 0 || (c->st->flags & STORE_ATTRS) == 0) {
		return true;
	}
	for (size_t i = 0; i < sizeof b; i++) {
		b[i] = (uint8_t)(flags >> (56 - 8 * i));
	}
	return store_attrs_set(a, to, slice_of(b, sizeof b));
}
