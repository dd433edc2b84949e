/* uri.c: from text to struct uri, in one pass over the text.
 *
 *   scheme : //authority /path ? name=value & name=value
 *   scheme : path              ? ...
 */
#include "store/uri.h"

#include <ctype.h>

static int fail_memory(struct kv_err *err)
{
	return kv_fail(err, KV_NO_MEMORY, "URI: out of memory");
}

/* Text that is safe to repeat: what stands before a possible password. */
static const char *shown(const struct uri *u)
{
	return u->scheme == NULL ? "?" : u->scheme;
}

static int hex_digit(char c)
{
	if (IN('0', c, '9')) {
		return c - '0';
	}
	c = (char)(c | 0x20);
	return IN('a', c, 'f') ? c - 'a' + 10 : -1;
}

/* Decodes %XX of text[0..n) into a new string; its length in *out_n (which
 * may be NULL: then no %00 is allowed). */
static int decode(const struct uri *u, const char *text, size_t n, char **out,
		  size_t *out_n, struct kv_err *err)
{
	char *p = kv_malloc(n + 1);
	size_t i, len = 0;
	int high, low;

	if (p == NULL) {
		return fail_memory(err);
	}
	for (i = 0; i < n; i++) {
		if (text[i] != '%') {
			p[len++] = text[i];
			continue;
		}
		high = i + 1 < n ? hex_digit(text[i + 1]) : -1;
		low = i + 2 < n ? hex_digit(text[i + 2]) : -1;
		if (high < 0 || low < 0 || (high + low == 0 && out_n == NULL)) {
			kv_free(p);
			return kv_fail(err, KV_BAD_ARGUMENT,
				       "URI (%s): '%.*s' is no escape that can "
				       "stand here; write a percent sign as "
				       "%%25",
				       shown(u), (int)KV_MIN(n - i, (size_t)3),
				       text + i);
		}
		p[len++] = (char)(high * 16 + low);
		i += 2;
	}
	p[len] = '\0';
	*out = p;
	if (out_n != NULL) {
		*out_n = len;
	}
	return KV_OK;
}

static int parse_scheme(struct uri *u, const char *text, const char **rest,
			struct kv_err *err)
{
	size_t i, n = strspn(text, "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

	if (n == 0 || text[n] != ':') {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "URI: it does not begin with a scheme; expected "
			       "something like etcd://host:2379/prefix or "
			       "sqlite:FILE");
	}
	u->scheme = kv_memdup(text, n);
	if (u->scheme == NULL) {
		return fail_memory(err);
	}
	for (i = 0; i < n; i++) {
		u->scheme[i] = (char)tolower((unsigned char)u->scheme[i]);
	}
	*rest = text + n + 1;
	return KV_OK;
}

/* ---- endpoints ----------------------------------------------------------- */

static bool is_port(const char *p, size_t n)
{
	unsigned port = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		if (!IN('0', p[i], '9') || n > 5) {
			return false;
		}
		port = port * 10 + (unsigned)(p[i] - '0');
	}
	return n > 0 && IN(1, port, 65535);
}

static bool is_host(const char *p, size_t n, bool v6)
{
	size_t i;

	for (i = 0; i < n; i++) {
		bool good = isalnum((unsigned char)p[i]) || p[i] == '.' ||
			    p[i] == '-' || p[i] == '_' ||
			    (v6 && (p[i] == ':' || p[i] == '%'));

		if (!good) {
			return false;
		}
	}
	return n > 0;
}

/* host, host:port, [v6], [v6]:port */
static bool is_endpoint(const char *p, size_t n)
{
	bool v6 = n > 0 && p[0] == '[';
	const char *host_end;
	size_t host;

	if (v6) {
		host_end = memchr(p, ']', n);
		if (host_end == NULL) {
			return false;
		}
		p++;
		host = (size_t)(host_end - p);
		n -= host + 2;
		if (!is_host(p, host, true)) {
			return false;
		}
		p = host_end + 1;
	} else {
		host_end = memchr(p, ':', n);
		host = host_end == NULL ? n : (size_t)(host_end - p);
		if (!is_host(p, host, false)) {
			return false;
		}
		p += host;
		n -= host;
	}
	return n == 0 || (p[0] == ':' && is_port(p + 1, n - 1));
}

static int add_endpoint(struct uri *u, const char *p, size_t n, size_t *cap,
			struct kv_err *err)
{
	void *items = u->endpoints;

	if (!is_endpoint(p, n)) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "URI (%s): '%.*s' is no host:port", u->scheme,
			       (int)KV_MIN(n, (size_t)80), p);
	}
	if (!kv_grow(&items, cap, u->n_endpoints + 1, sizeof(char *))) {
		return fail_memory(err);
	}
	u->endpoints = items;
	u->endpoints[u->n_endpoints] = kv_memdup(p, n);
	if (u->endpoints[u->n_endpoints] == NULL) {
		return fail_memory(err);
	}
	u->n_endpoints++;
	return KV_OK;
}

static int parse_authority(struct uri *u, const char *p, size_t n,
			   struct kv_err *err)
{
	const char *end = p + n;
	const char *comma;
	size_t cap = 0;
	int rv;

	if (memchr(p, '@', n) != NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "URI (%s): user and password must not stand "
			       "before the host; use the backend's options "
			       "with env:NAME or file:PATH",
			       u->scheme);
	}
	for (;;) {
		comma = memchr(p, ',', (size_t)(end - p));
		n = (size_t)((comma == NULL ? end : comma) - p);
		rv = add_endpoint(u, p, n, &cap, err);
		if (rv != KV_OK || comma == NULL) {
			return rv;
		}
		p = comma + 1;
	}
}

/* ---- prefix and options -------------------------------------------------- */

static int set_prefix(struct uri *u, const char *text, size_t n,
		      struct kv_err *err)
{
	int rv;

	if (u->prefix != NULL && u->prefix_n > 0) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "URI (%s): the prefix is given twice (as path "
			       "and as ?prefix=, or two times)",
			       u->scheme);
	}
	kv_free(u->prefix);
	u->prefix = NULL;
	rv = decode(u, text, n, &u->prefix, &u->prefix_n, err);
	if (rv != KV_OK) {
		return rv;
	}
	PRE(u->prefix != NULL);
	if (u->prefix_n > 0 && u->prefix[0] != '/') {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "URI (%s): the prefix must begin with '/'",
			       u->scheme);
	}
	while (u->prefix_n > 0 && u->prefix[u->prefix_n - 1] == '/') {
		u->prefix[--u->prefix_n] = '\0';
	}
	return KV_OK;
}

static int add_option(struct uri *u, const char *p, size_t n, size_t *cap,
		      struct kv_err *err)
{
	const char *eq = memchr(p, '=', n);
	size_t name_n = eq == NULL ? n : (size_t)(eq - p);
	struct option_value *o;
	void *items = u->options;
	int rv;

	if (eq == NULL || name_n == 0) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "URI (%s): option '%.*s' is no name=value",
			       u->scheme, (int)KV_MIN(name_n, (size_t)60), p);
	}
	if (name_n == 6 && memcmp(p, "prefix", 6) == 0) {
		return set_prefix(u, eq + 1, n - 7, err);
	}
	if (!kv_grow(&items, cap, u->n_options + 1, sizeof *o)) {
		return fail_memory(err);
	}
	u->options = items;
	o = &u->options[u->n_options];
	o->value = NULL;
	o->name = kv_memdup(p, name_n);
	if (o->name == NULL) {
		return fail_memory(err);
	}
	u->n_options++;
	rv = decode(u, eq + 1, n - name_n - 1, &o->value, NULL, err);
	return rv;
}

static int parse_options(struct uri *u, const char *p, struct kv_err *err)
{
	size_t cap = 0, n;
	int rv;

	while (*p != '\0') {
		n = strcspn(p, "&");
		if (n > 0) {
			rv = add_option(u, p, n, &cap, err);
			if (rv != KV_OK) {
				return rv;
			}
		}
		p += n + (p[n] == '&');
	}
	return KV_OK;
}

/* ---- the whole ----------------------------------------------------------- */

/* The file: `scheme:path` and `scheme:///path`. */
static int set_path(struct uri *u, const char *p, size_t n, struct kv_err *err)
{
	if (n == 0) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "URI (%s): nothing stands behind the scheme; "
			       "expected %s:FILE or %s://host:port/prefix",
			       u->scheme, u->scheme, u->scheme);
	}
	return decode(u, p, n, &u->path, NULL, err);
}

static int parse_place(struct uri *u, const char *p, size_t n,
		       struct kv_err *err)
{
	const char *slash;
	size_t authority;
	int rv;

	if (n < 2 || memcmp(p, "//", 2) != 0) {
		return set_path(u, p, n, err);
	}
	p += 2;
	n -= 2;
	slash = memchr(p, '/', n);
	authority = slash == NULL ? n : (size_t)(slash - p);
	if (authority == 0) {
		return set_path(u, p, n, err);
	}
	rv = parse_authority(u, p, authority, err);
	if (rv != KV_OK || slash == NULL) {
		return rv;
	}
	return set_prefix(u, slash, n - authority, err);
}

static int parse(struct uri *u, const char *text, struct kv_err *err)
{
	const char *rest = text;
	size_t n;
	int rv;

	u->text = kv_strdup(text);
	if (u->text == NULL) {
		return fail_memory(err);
	}
	rv = parse_scheme(u, text, &rest, err);
	if (rv != KV_OK) {
		return rv;
	}
	n = strcspn(rest, "?");
	rv = parse_place(u, rest, n, err);
	if (rv != KV_OK) {
		return rv;
	}
	if (rest[n] == '?') {
		rv = parse_options(u, rest + n + 1, err);
		if (rv != KV_OK) {
			return rv;
		}
	}
	if (u->prefix == NULL) {
		u->prefix = kv_strdup("");
		return u->prefix == NULL ? fail_memory(err) : KV_OK;
	}
	return KV_OK;
}

int uri_parse(const char *text, struct uri **out, struct kv_err *err)
{
	struct uri *u = kv_calloc(1, sizeof *u);
	int rv;

	*out = NULL;
	if (u == NULL) {
		return fail_memory(err);
	}
	rv = parse(u, text, err);
	if (rv != KV_OK) {
		uri_free(u);
		return rv;
	}
	*out = u;
	return KV_OK;
}

void uri_free(struct uri *u)
{
	size_t i;

	if (u == NULL) {
		return;
	}
	for (i = 0; i < u->n_endpoints; i++) {
		kv_free(u->endpoints[i]);
	}
	for (i = 0; i < u->n_options; i++) {
		kv_free(u->options[i].name);
		kv_free(u->options[i].value);
	}
	kv_free(u->endpoints);
	kv_free(u->options);
	kv_free(u->text);
	kv_free(u->scheme);
	kv_free(u->path);
	kv_free(u->prefix);
	kv_free(u);
}

/* ---- libkv's helpers ----------------------------------------------------- */

char **store_create_endpoints(const char *const *hosts, size_t n,
			      const char *scheme)
{
	char **list = kv_calloc(n, sizeof *list);
	size_t i;

	if (list == NULL) {
		return NULL;
	}
	for (i = 0; i < n; i++) {
		list[i] = kv_asprintf("%s://%s", scheme, hosts[i]);
		if (list[i] == NULL) {
			goto err;
		}
	}
	return list;
err:
	while (i > 0) {
		kv_free(list[--i]);
	}
	kv_free(list);
	return NULL;
}

char *store_normalize(const char *key)
{
	char *out = kv_malloc(strlen(key) + 2);
	size_t n = 0, segment;

	if (out == NULL) {
		return NULL;
	}
	while (*key != '\0') {
		segment = strcspn(key, "/");
		if (segment > 0) {
			out[n++] = '/';
			memcpy(out + n, key, segment);
			n += segment;
		}
		key += segment + (key[segment] == '/');
	}
	if (n == 0) {
		out[n++] = '/';
	}
	out[n] = '\0';
	return out;
}
