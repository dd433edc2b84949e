/* conf.c: a configuration file, checked, as plain structs.
 *
 *   file --read--> bytes --marks_scan--> lines of the values
 *                    \-----raw_load----> strings --conf_route_set--> routes
 */
#include "conf/conf.h"

#include <errno.h>
#include <stdio.h>

#include "conf/conf_raw.h"

#define FILE_MAX ((size_t)16 * 1024 * 1024)

/* What a load carries along. */
struct load {
	const char *path;
	struct marks marks;
	struct raw_conf *raw;
	struct conf *conf;
	struct kv_err *err;
};

static int no_memory(const struct load *l)
{
	return kv_fail(l->err, KV_NO_MEMORY, "%s: no memory", l->path);
}

static int file_failed(const char *path, int error, struct kv_err *err)
{
	int status = KV_BROKEN;

	if (error == ENOENT || error == ENOTDIR) {
		status = KV_KEY_NOT_FOUND;
	} else if (error == EACCES || error == EPERM) {
		status = KV_DENIED;
	}
	return kv_fail(err, status, "%s: cannot read the configuration: %s",
		       path, strerror(error));
}

/* The whole file, in a new block. */
static int read_file(const char *path, uint8_t **out, size_t *n,
		     struct kv_err *err)
{
	FILE *f = fopen(path, "rbe");
	uint8_t *buf = NULL;
	size_t cap = 0, got = 1;
	int status = KV_OK;

	*n = 0;
	if (f == NULL) {
		return file_failed(path, errno, err);
	}
	while (status == KV_OK && got > 0) {
		if (*n > FILE_MAX) {
			status = kv_fail(err, KV_BAD_ARGUMENT,
					 "%s:1: the file is larger than any "
					 "configuration (%zu bytes)",
					 path, FILE_MAX);
		} else if (!kv_grow((void **)&buf, &cap, *n + 4096, 1)) {
			status =
			    kv_fail(err, KV_NO_MEMORY, "%s: no memory", path);
		} else {
			errno = 0;
			got = fread(buf + *n, 1, cap - *n, f);
			*n += got;
		}
	}
	if (status == KV_OK && ferror(f)) {
		status = file_failed(path, errno == 0 ? EIO : errno, err);
	}
	(void)fclose(f);
	if (status != KV_OK) {
		kv_free(buf);
		buf = NULL;
	}
	*out = buf;
	return status;
}

/* Sets one value of a route from the file; its line goes before the error. */
static int take(struct load *l, struct conf_route *r, int route,
		const char *name, unsigned entry, const char *text)
{
	int status;

	if (text == NULL) {
		return KV_OK;
	}
	status = conf_route_set(r, name, text, l->err);
	if (status != KV_OK) {
		(void)kv_wrap(l->err, "%s:%u", l->path,
			      marks_line(&l->marks, route, name, entry));
	}
	return status;
}

static int take_list(struct load *l, struct conf_route *r, int route,
		     const char *name, char **list, unsigned n)
{
	int status = KV_OK;
	unsigned i;

	for (i = 0; i < n && status == KV_OK; i++) {
		status = take(l, r, route, name, i, list[i]);
	}
	return status;
}

static int take_route(struct load *l, const struct raw_route *raw, int route)
{
	struct conf_route *r = &l->conf->routes[route];
	const struct {
		const char *name, *text;
	} values[] = {
	    {"name", raw->name},
	    {"source", raw->source},
	    {"target", raw->target},
	    {"conflict", raw->conflict},
	    {"delete", raw->delete_policy},
	    {"max_delete", raw->max_delete},
	    {"escape", raw->escape},
	    {"drift", raw->drift},
	    {"prefer", raw->prefer},
	};
	int status = KV_OK;
	size_t i;

	r->line = marks_line(&l->marks, route, "", 0);
	for (i = 0; i < KV_COUNT(values) && status == KV_OK; i++) {
		status = take(l, r, route, values[i].name, 0, values[i].text);
	}
	if (status == KV_OK) {
		status = take_list(l, r, route, "include", raw->include,
				   raw->include_count);
	}
	if (status == KV_OK) {
		status = take_list(l, r, route, "exclude", raw->exclude,
				   raw->exclude_count);
	}
	return status;
}

/* A name stands for its route in the state file: there can be one of each. */
static int check_names(struct load *l)
{
	size_t i, k;

	for (i = 1; i < l->conf->n_routes; i++) {
		for (k = 0; k < i; k++) {
			if (strcmp(l->conf->routes[i].name,
				   l->conf->routes[k].name) != 0) {
				continue;
			}
			return kv_fail(
			    l->err, KV_BAD_ARGUMENT,
			    "%s:%u: a second route named '%s' (the first is "
			    "in line %u); names must differ",
			    l->path, marks_line(&l->marks, (int)i, "name", 0),
			    l->conf->routes[i].name, l->conf->routes[k].line);
		}
	}
	return KV_OK;
}

static int take_routes(struct load *l)
{
	struct conf *c = l->conf;
	unsigned i;
	int status = KV_OK;

	if (l->raw->routes_count == 0) {
		return kv_fail(l->err, KV_BAD_ARGUMENT,
			       "%s:%u: 'routes' is empty, expected at least "
			       "one",
			       l->path, marks_line(&l->marks, -1, "routes", 0));
	}
	c->routes = kv_calloc(l->raw->routes_count, sizeof(c->routes[0]));
	if (c->routes == NULL) {
		return no_memory(l);
	}
	for (i = 0; i < l->raw->routes_count && status == KV_OK; i++) {
		conf_route_init(&c->routes[i]);
		c->n_routes++;
		status = take_route(l, &l->raw->routes[i], (int)i);
	}
	return status == KV_OK ? check_names(l) : status;
}

static int take_log(struct load *l)
{
	const struct raw_log *log = l->raw->log;
	struct kv_err *err = l->err;
	int status = KV_OK;

	if (log == NULL) {
		return KV_OK;
	}
	if (log->level != NULL) {
		status = conf_log_level(log->level, &l->conf->log_level, err);
		if (status != KV_OK) {
			return kv_wrap(err, "%s:%u", l->path,
				       marks_line(&l->marks, -1, "level", 0));
		}
	}
	if (log->format != NULL) {
		l->conf->log_format_given = true;
		status =
		    conf_log_format(log->format, &l->conf->log_format, err);
		if (status != KV_OK) {
			return kv_wrap(err, "%s:%u", l->path,
				       marks_line(&l->marks, -1, "format", 0));
		}
	}
	return KV_OK;
}

static int take_state(struct load *l)
{
	const char *state = l->raw->state;

	if (state == NULL) {
		return KV_OK;
	}
	if (state[0] == '\0') {
		return kv_fail(l->err, KV_BAD_ARGUMENT,
			       "%s:%u: 'state' is empty, expected the path of "
			       "a file",
			       l->path, marks_line(&l->marks, -1, "state", 0));
	}
	l->conf->state = kv_strdup(state);
	return l->conf->state == NULL ? no_memory(l) : KV_OK;
}

static int take_all(struct load *l)
{
	int status;

	l->conf = kv_calloc(1, sizeof(*l->conf));
	if (l->conf == NULL) {
		return no_memory(l);
	}
	l->conf->log_level = LOG_LEVEL_INFO;
	status = take_state(l);
	if (status == KV_OK) {
		status = take_log(l);
	}
	if (status == KV_OK) {
		status = take_routes(l);
	}
	return status;
}

int conf_load(const char *path, struct conf **out, struct kv_err *err)
{
	struct load l = {.path = path, .err = err};
	uint8_t *bytes = NULL;
	size_t n = 0;
	int status;

	*out = NULL;
	status = read_file(path, &bytes, &n, err);
	if (status != KV_OK) {
		return status;
	}
	status = marks_scan(path, slice_of(bytes, n), &l.marks, err);
	if (status == KV_OK) {
		status =
		    raw_load(path, slice_of(bytes, n), &l.marks, &l.raw, err);
	}
	if (status == KV_OK) {
		status = take_all(&l);
	}
	if (status == KV_OK) {
		*out = l.conf;
	} else {
		conf_free(l.conf);
	}
	raw_free(l.raw);
	marks_clear(&l.marks);
	kv_free(bytes);
	return status;
}

void conf_free(struct conf *c)
{
	size_t i;

	if (c == NULL) {
		return;
	}
	for (i = 0; i < c->n_routes; i++) {
		conf_route_clear(&c->routes[i]);
	}
	kv_free(c->routes);
	kv_free(c->state);
	kv_free(c);
}
