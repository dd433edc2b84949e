/* conf_route.c: the values of one route, each set from its text, for the file
 * and for the command line alike. */
#include "conf/conf.h"

#include <errno.h>
#include <stdlib.h>

#include "conf/glob.h"

/* The texts of the enums, in their order. */
static const char *const conflicts[] = {"source-wins", "target-wins", "stop",
					"newest", NULL};
static const char *const deletes[] = {"owned", "never", "all", NULL};
static const char *const escapes[] = {"none", "percent", NULL};
static const char *const drifts[] = {"repair", "keep", NULL};
static const char *const prefers[] = {"first", "source", "target", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const formats[] = {"text", "json", NULL};

void conf_route_init(struct conf_route *r)
{
	*r = (struct conf_route){0};
}

static void list_clear(char **list, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		kv_free(list[i]);
	}
	kv_free(list);
}

void conf_route_clear(struct conf_route *r)
{
	kv_free(r->name);
	kv_free(r->source);
	kv_free(r->target);
	list_clear(r->include, r->n_include);
	list_clear(r->exclude, r->n_exclude);
	conf_route_init(r);
}

static bool text_eq(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool list_eq(char *const *a, size_t n, char *const *b, size_t n_b)
{
	size_t i;

	for (i = 0; n == n_b && i < n; i++) {
		if (strcmp(a[i], b[i]) != 0) {
			return false;
		}
	}
	return n == n_b;
}

bool conf_route_eq(const struct conf_route *a, const struct conf_route *b)
{
	return text_eq(a->name, b->name) && text_eq(a->source, b->source) &&
	       text_eq(a->target, b->target) && a->conflict == b->conflict &&
	       a->delete_policy == b->delete_policy &&
	       a->max_delete.kind == b->max_delete.kind &&
	       a->max_delete.n == b->max_delete.n && a->escape == b->escape &&
	       a->drift == b->drift && a->prefer == b->prefer &&
	       list_eq(a->include, a->n_include, b->include, b->n_include) &&
	       list_eq(a->exclude, a->n_exclude, b->exclude, b->n_exclude);
}

/* The place of `text` among `choices`; the error lists them. */
static int choose(const char *name, const char *text,
		  const char *const *choices, unsigned *out, struct kv_err *err)
{
	char names[128] = "";
	unsigned i;

	for (i = 0; choices[i] != NULL; i++) {
		if (strcmp(choices[i], text) == 0) {
			*out = i;
			return KV_OK;
		}
		(void)strncat(names, i == 0 ? "" : ", ",
			      sizeof(names) - strlen(names) - 1);
		(void)strncat(names, choices[i],
			      sizeof(names) - strlen(names) - 1);
	}
	return kv_fail(err, KV_BAD_ARGUMENT, "%s: '%s', expected one of %s",
		       name, text, names);
}

/* Digits only: strtoull would take signs and blanks. */
static bool parse_count(const char *text, size_t n, uint64_t *out)
{
	char *end;

	if (n == 0 || strspn(text, "0123456789") < n) {
		return false;
	}
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno == 0;
}

static int set_max_delete(struct conf_max_delete *out, const char *name,
			  const char *text, struct kv_err *err)
{
	size_t n = strlen(text);
	bool percent = n > 0 && text[n - 1] == '%';
	uint64_t count;

	if (!parse_count(text, percent ? n - 1 : n, &count) ||
	    (percent && count > 100)) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "%s: '%s', expected a number of keys, or 0%% to "
			       "100%% (100%% turns the fuse off)",
			       name, text);
	}
	out->kind = percent ? CONF_FUSE_PERCENT : CONF_FUSE_COUNT;
	out->n = count;
	return KV_OK;
}

static int set_string(char **out, const char *name, const char *text,
		      struct kv_err *err)
{
	char *copy;

	if (text[0] == '\0') {
		return kv_fail(err, KV_BAD_ARGUMENT, "%s: must not be empty",
			       name);
	}
	copy = kv_strdup(text);
	if (copy == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "%s: no memory", name);
	}
	kv_free(*out);
	*out = copy;
	return KV_OK;
}

/* A name goes into log lines and labels: no control characters. */
static int set_name(struct conf_route *r, const char *name, const char *text,
		    struct kv_err *err)
{
	const char *p;

	for (p = text; *p != '\0'; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f) {
			return kv_fail(err, KV_BAD_ARGUMENT,
				       "%s: a name holds no control "
				       "characters",
				       name);
		}
	}
	return set_string(&r->name, name, text, err);
}

/* The scheme is all that is known of a URI here. */
static int set_uri(char **out, const char *name, const char *text,
		   struct kv_err *err)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz"
				"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");

	if (n == 0 || text[n] != ':') {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "%s: '%.*s', expected a URI such as "
			       "etcd://host:2379/prefix or sqlite:FILE",
			       name, (int)strcspn(text, "?"), text);
	}
	return set_string(out, name, text, err);
}

static int add_glob(char ***list, size_t *n, const char *name, const char *text,
		    struct kv_err *err)
{
	char **grown;
	int status = glob_check(text, err);

	if (status != KV_OK) {
		(void)kv_wrap(err, "%s", name);
		return status;
	}
	grown = kv_realloc(*list, (*n + 1) * sizeof(char *));
	if (grown == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "%s: no memory", name);
	}
	*list = grown;
	grown[*n] = kv_strdup(text);
	if (grown[*n] == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "%s: no memory", name);
	}
	*n += 1;
	return KV_OK;
}

/* The same name in both spellings. */
static bool is_name(const char *name, const char *want)
{
	for (; *name != '\0' && *want != '\0'; name++, want++) {
		if (*name != *want && !(*name == '_' && *want == '-')) {
			return false;
		}
	}
	return *name == *want;
}

static int set_choice(struct conf_route *r, const char *name, const char *text,
		      struct kv_err *err)
{
	unsigned i = 0;
	int status;

	if (is_name(name, "conflict")) {
		status = choose(name, text, conflicts, &i, err);
		r->conflict = status == KV_OK ? i : r->conflict;
	} else if (is_name(name, "delete")) {
		status = choose(name, text, deletes, &i, err);
		r->delete_policy = status == KV_OK ? i : r->delete_policy;
	} else if (is_name(name, "escape")) {
		status = choose(name, text, escapes, &i, err);
		r->escape = status == KV_OK ? i : r->escape;
	} else if (is_name(name, "drift")) {
		status = choose(name, text, drifts, &i, err);
		r->drift = status == KV_OK ? i : r->drift;
	} else if (is_name(name, "prefer")) {
		status = choose(name, text, prefers, &i, err);
		r->prefer = status == KV_OK ? i : r->prefer;
	} else {
		status = kv_fail(err, KV_BAD_ARGUMENT,
				 "%s: no such setting of a route", name);
	}
	return status;
}

int conf_route_set(struct conf_route *r, const char *name, const char *text,
		   struct kv_err *err)
{
	PRE(r != NULL && name != NULL && text != NULL);
	if (is_name(name, "name")) {
		return set_name(r, name, text, err);
	}
	if (is_name(name, "source")) {
		return set_uri(&r->source, name, text, err);
	}
	if (is_name(name, "target")) {
		return set_uri(&r->target, name, text, err);
	}
	if (is_name(name, "max-delete")) {
		return set_max_delete(&r->max_delete, name, text, err);
	}
	if (is_name(name, "include")) {
		return add_glob(&r->include, &r->n_include, name, text, err);
	}
	if (is_name(name, "exclude")) {
		return add_glob(&r->exclude, &r->n_exclude, name, text, err);
	}
	return set_choice(r, name, text, err);
}

const char *conf_conflict_name(enum conf_conflict c)
{
	return conflicts[c];
}

const char *conf_delete_name(enum conf_delete d)
{
	return deletes[d];
}

const char *conf_escape_name(enum conf_escape e)
{
	return escapes[e];
}

const char *conf_drift_name(enum conf_drift d)
{
	return drifts[d];
}

const char *conf_prefer_name(enum conf_prefer p)
{
	return prefers[p];
}

int conf_log_level(const char *text, enum log_level *out, struct kv_err *err)
{
	unsigned i = 0;
	int status = choose("log level", text, levels, &i, err);

	*out = status == KV_OK ? i : *out;
	return status;
}

int conf_log_format(const char *text, enum log_format *out, struct kv_err *err)
{
	unsigned i = 0;
	int status = choose("log format", text, formats, &i, err);

	*out = status == KV_OK ? i : *out;
	return status;
}
