/* fingerprint.c: see fingerprint.h. A text is a run of fields, each
 * "LENGTH:NAME=LENGTH:VALUE" and a newline, so that no value can look like
 * another field. */
#include "agent/fingerprint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Appends printf output to a growing string; false: no memory. */
static bool append(char **text, const char *name, const char *value)
{
	char *longer =
	    kv_asprintf("%s%zu:%s=%zu:%s\n", *text == NULL ? "" : *text,
			strlen(name), name, strlen(value), value);

	if (longer == NULL) {
		return false;
	}
	kv_free(*text);
	*text = longer;
	return true;
}

/* "localhost" is the same place as 127.0.0.1. */
static bool append_endpoint(char **text, const char *endpoint)
{
	static const char name[] = "localhost:";
	char *numeric;
	bool ok;

	if (strncmp(endpoint, name, sizeof name - 1) != 0) {
		return append(text, "endpoint", endpoint);
	}
	numeric = kv_asprintf("127.0.0.1:%s", endpoint + sizeof name - 1);
	ok = numeric != NULL && append(text, "endpoint", numeric);
	kv_free(numeric);
	return ok;
}

static bool append_store(char **text, const char *name, const struct uri *u)
{
	bool ok = append(text, name, u->scheme);

	for (size_t i = 0; ok && u->path == NULL && i < u->n_endpoints; i++) {
		ok = append_endpoint(text, u->endpoints[i]);
	}
	if (ok && u->path != NULL) {
		ok = append(text, "path", u->path);
	}
	ok = ok && append(text, "prefix", u->prefix);
	for (size_t i = 0; ok && i < u->n_options; i++) {
		if (strcmp(u->options[i].name, "raw_prefix") == 0) {
			ok = append(text, "raw_prefix", u->options[i].value);
		}
	}
	return ok;
}

static bool append_filters(char **text, const struct conf_route *conf)
{
	bool ok =
	    append(text, "conflict", conf_conflict_name(conf->conflict)) &&
	    append(text, "delete", conf_delete_name(conf->delete_policy)) &&
	    append(text, "drift", conf_drift_name(conf->drift));

	for (size_t i = 0; ok && i < conf->n_include; i++) {
		ok = append(text, "include", conf->include[i]);
	}
	for (size_t i = 0; ok && i < conf->n_exclude; i++) {
		ok = append(text, "exclude", conf->exclude[i]);
	}
	return ok;
}

int route_fingerprint(const struct conf_route *conf, const struct store *source,
		      const struct store *target, char **stores, char **filters,
		      struct kv_err *err)
{
	*stores = NULL;
	*filters = NULL;
	if (append_store(stores, "source", store_uri(source)) &&
	    append_store(stores, "target", store_uri(target)) &&
	    append(stores, "escape", conf_escape_name(conf->escape)) &&
	    append_filters(filters, conf)) {
		return KV_OK;
	}
	kv_free(*stores);
	kv_free(*filters);
	*stores = NULL;
	*filters = NULL;
	return kv_fail(err, KV_NO_MEMORY, "no memory for a fingerprint");
}

/* ---- comparing ------------------------------------------------------------*/

struct field {
	struct slice name;
	struct slice value;
};

/* Reads "LENGTH:" and so many bytes; false: the text is not of this form. */
static bool take_counted(struct slice *text, struct slice *out)
{
	size_t n = 0;
	size_t i = 0;

	while (i < text->n && text->p[i] >= '0' && text->p[i] <= '9' &&
	       n <= text->n) {
		n = n * 10 + (size_t)(text->p[i++] - '0');
	}
	if (i == 0 || i >= text->n || text->p[i] != ':' ||
	    n > text->n - i - 1) {
		return false;
	}
	*out = slice_of(text->p + i + 1, n);
	*text = slice_of(text->p + i + 1 + n, text->n - i - 1 - n);
	return true;
}

static bool take_byte(struct slice *text, char c)
{
	if (text->n == 0 || text->p[0] != (uint8_t)c) {
		return false;
	}
	*text = slice_of(text->p + 1, text->n - 1);
	return true;
}

static bool take_field(struct slice *text, struct field *f)
{
	return take_counted(text, &f->name) && take_byte(text, '=') &&
	       take_counted(text, &f->value) && take_byte(text, '\n');
}

static bool is_endpoint(const struct field *f)
{
	return slice_eq(f->name, slice_str("endpoint"));
}

/* Steps over the endpoints that stand next. */
static struct slice skip_endpoints(struct slice text)
{
	struct slice rest = text;
	struct field f;

	while (take_field(&rest, &f) && is_endpoint(&f)) {
		text = rest;
	}
	return text;
}

static bool names_endpoint(struct slice text, struct slice endpoint)
{
	struct field f;

	while (take_field(&text, &f) && is_endpoint(&f)) {
		if (slice_eq(f.value, endpoint)) {
			return true;
		}
	}
	return false;
}

/* Have the two runs of endpoints one in common (or both none at all)? */
static bool share_endpoint(struct slice saved, struct slice now)
{
	struct slice rest = now;
	struct field f;
	bool any = skip_endpoints(saved).n != saved.n;

	while (take_field(&rest, &f) && is_endpoint(&f)) {
		any = true;
		if (names_endpoint(saved, f.value)) {
			return true;
		}
	}
	return !any;
}

bool fingerprint_same(struct slice saved, struct slice now)
{
	struct field a;
	struct field b;

	while (saved.n > 0 && now.n > 0) {
		if (!share_endpoint(saved, now)) {
			return false;
		}
		saved = skip_endpoints(saved);
		now = skip_endpoints(now);
		if (!take_field(&saved, &a) || !take_field(&now, &b) ||
		    !slice_eq(a.name, b.name) || !slice_eq(a.value, b.value)) {
			return false;
		}
	}
	return saved.n == 0 && now.n == 0;
}
