/* raw.c: the schema of a configuration file, and its strict load by libcyaml.
 *
 *   cyaml_load_data --log lines--> the first complaint, its field and line
 *                                  --> one line for a person
 */
#include "conf/conf_raw.h"

#include <cyaml/cyaml.h>
#include <stdio.h>

#define TEXT_MAX 65536
#define LIST_MAX 10000

#define MUST CYAML_FLAG_POINTER
#define MAY (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)

static const cyaml_schema_value_t glob_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, TEXT_MAX)};

/* clang-format off */
static const cyaml_schema_field_t route_fields[] = {
	CYAML_FIELD_STRING_PTR("name", MUST, struct raw_route, name, 0, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("source", MUST, struct raw_route, source, 0, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("target", MUST, struct raw_route, target, 0, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("conflict", MAY, struct raw_route, conflict, 0, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("delete", MAY, struct raw_route, delete_policy, 0, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("max_delete", MAY, struct raw_route, max_delete, 0, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("escape", MAY, struct raw_route, escape, 0, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("drift", MAY, struct raw_route, drift, 0, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("prefer", MAY, struct raw_route, prefer, 0, TEXT_MAX),
	CYAML_FIELD_SEQUENCE("include", MAY, struct raw_route, include, &glob_schema, 0, LIST_MAX),
	CYAML_FIELD_SEQUENCE("exclude", MAY, struct raw_route, exclude, &glob_schema, 0, LIST_MAX),
	CYAML_FIELD_END
};

static const cyaml_schema_value_t route_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_route, route_fields)
};

static const cyaml_schema_field_t log_fields[] = {
	CYAML_FIELD_STRING_PTR("level", MAY, struct raw_log, level, 0, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("format", MAY, struct raw_log, format, 0, TEXT_MAX),
	CYAML_FIELD_END
};

static const cyaml_schema_field_t top_fields[] = {
	CYAML_FIELD_STRING_PTR("state", MAY, struct raw_conf, state, 0, TEXT_MAX),
	CYAML_FIELD_MAPPING_PTR("log", MAY, struct raw_conf, log, log_fields),
	CYAML_FIELD_SEQUENCE("routes", CYAML_FLAG_POINTER, struct raw_conf, routes, &route_schema, 0, LIST_MAX),
	CYAML_FIELD_END
};

static const cyaml_schema_value_t top_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_conf, top_fields)
};
/* clang-format on */

/* What libcyaml said while it failed. */
struct complaint {
	char text[256]; /* the first line, without its prefix */
	char field[64]; /* the innermost field of the backtrace */
	unsigned line;	/* the innermost line of the backtrace */
	unsigned entry; /* line of the list entry around it; 0: none */
};

static unsigned line_of(const char *text)
{
	const char *at = strstr(text, "(line: ");
	unsigned line = 0;

	if (at == NULL || sscanf(at, "(line: %u", &line) != 1) {
		return 0;
	}
	return line;
}

static void note_trace(struct complaint *c, const char *text)
{
	static const char field[] = "  in mapping field '";
	static const char entry[] = "  in sequence entry '";

	if (c->line == 0) {
		c->line = line_of(text);
	}
	if (strncmp(text, field, sizeof(field) - 1) == 0 &&
	    c->field[0] == '\0') {
		(void)sscanf(text + sizeof(field) - 1, "%63[^']", c->field);
	}
	if (strncmp(text, entry, sizeof(entry) - 1) == 0 && c->entry == 0) {
		c->entry = line_of(text);
	}
}

static void KV_PRINTF(3, 0)
    log_cb(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	static const char prefix[] = "Load: ";
	struct complaint *c = ctx;
	char line[sizeof(c->text)];
	const char *text = line;

	(void)vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	if (level < CYAML_LOG_ERROR) {
		return;
	}
	if (strncmp(line, prefix, sizeof(prefix) - 1) == 0) {
		text += sizeof(prefix) - 1;
	} else if (strncmp(line, "  in ", 5) == 0) {
		note_trace(c, line);
		return;
	}
	if (strcmp(text, "Backtrace:") != 0 && c->text[0] == '\0') {
		(void)snprintf(c->text, sizeof(c->text), "%s", text);
	}
}

static void *mem_cb(void *ctx, void *ptr, size_t size)
{
	(void)ctx;
	if (size == 0) {
		kv_free(ptr);
		return NULL;
	}
	return kv_realloc(ptr, size);
}

static cyaml_config_t config(struct complaint *c)
{
	return (cyaml_config_t){
	    .log_fn = c == NULL ? NULL : log_cb,
	    .log_ctx = c,
	    .mem_fn = mem_cb,
	    .log_level = CYAML_LOG_ERROR,
	    .flags = CYAML_CFG_DEFAULT,
	};
}

/* libcyaml's names of types and events, for people. */
static const char *plain_word(const char *word)
{
	static const struct {
		const char *word, *plain;
	} words[] = {
	    {"SEQUENCE", "a list"},	     {"STRING", "a single value"},
	    {"MAPPING", "settings"},	     {"SCALAR", "a single value"},
	    {"SEQUENCE_START", "a list"},    {"MAPPING_START", "settings"},
	    {"SEQUENCE_END", "end of list"}, {"MAPPING_END", "no value"},
	};
	size_t i;

	for (i = 0; i < KV_COUNT(words); i++) {
		if (strcmp(words[i].word, word) == 0) {
			return words[i].plain;
		}
	}
	return word;
}

/* Which names may stand where `inside` says: "name, source, ...". */
static void list_fields(const cyaml_schema_field_t *f, char *buf, size_t cap)
{
	size_t n = 0;

	buf[0] = '\0';
	for (; f->key != NULL; f++) {
		int more = snprintf(buf + n, cap - n, "%s%s",
				    n == 0 ? "" : ", ", f->key);

		if (more < 0 || (size_t)more >= cap - n) {
			return;
		}
		n += (size_t)more;
	}
}

/* An unknown name: its line, and which names there are. */
static int unknown_key(const char *path, const struct complaint *c,
		       const char *key, const struct marks *marks,
		       struct kv_err *err)
{
	const cyaml_schema_field_t *fields = top_fields;
	unsigned line = marks_find(marks, key, c->line);
	const char *where = "the top";
	char names[256];

	if (c->entry != 0) {
		fields = route_fields;
		where = "a route";
	} else if (strcmp(c->field, "log") == 0) {
		fields = log_fields;
		where = "log";
	}
	list_fields(fields, names, sizeof(names));
	return kv_fail(err, KV_BAD_ARGUMENT,
		       "%s:%u: unknown setting '%s', %s takes: %s", path,
		       line == 0 ? c->line : line, key, where, names);
}

/* The complaint as one line that names file, line and what was expected. */
static int explain(const char *path, const struct complaint *c,
		   const struct marks *marks, struct kv_err *err)
{
	unsigned line = c->line == 0 ? 1 : c->line;
	char a[64], b[64];

	if (sscanf(c->text, "Unexpected key: %63s", a) == 1) {
		return unknown_key(path, c, a, marks, err);
	}
	if (sscanf(c->text, "Missing required mapping field: %63s", a) == 1) {
		return kv_fail(err, KV_BAD_ARGUMENT, "%s:%u: '%s' is missing%s",
			       path, c->entry == 0 ? 1 : c->entry, a,
			       c->entry == 0 ? "" : " in this route");
	}
	if (sscanf(c->text, "Mapping field already seen: %63s", a) == 1) {
		unsigned again = marks_find(marks, a, line + 1);

		return kv_fail(err, KV_BAD_ARGUMENT,
			       "%s:%u: '%s' is given twice", path,
			       again == 0 ? line : again, a);
	}
	if (sscanf(c->text, "Expecting %63[^,], got event: %63s", a, b) == 2) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "%s:%u: '%s' must be %s, found %s", path, line,
			       c->field, plain_word(a), plain_word(b));
	}
	return kv_fail(err, KV_BAD_ARGUMENT, "%s:%u: '%s': %s", path, line,
		       c->field, c->text[0] == '\0' ? "not usable" : c->text);
}

int raw_load(const char *path, struct slice text, const struct marks *marks,
	     struct raw_conf **out, struct kv_err *err)
{
	struct complaint c = {0};
	cyaml_config_t cfg = config(&c);
	cyaml_data_t *data = NULL;
	cyaml_err_t failed;

	*out = NULL;
	failed =
	    cyaml_load_data(text.p, text.n, &cfg, &top_schema, &data, NULL);
	if (failed == CYAML_ERR_OOM) {
		return kv_fail(err, KV_NO_MEMORY, "%s: no memory", path);
	}
	if (failed != CYAML_OK) {
		if (c.text[0] == '\0') {
			(void)snprintf(c.text, sizeof(c.text), "%s",
				       cyaml_strerror(failed));
		}
		return explain(path, &c, marks, err);
	}
	*out = data;
	if (data == NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "%s:1: the file is empty, expected 'routes:'",
			       path);
	}
	return KV_OK;
}

void raw_free(struct raw_conf *raw)
{
	cyaml_config_t cfg = config(NULL);

	(void)cyaml_free(&cfg, &top_schema, raw, 0);
}
