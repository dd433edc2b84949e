/* marks.c: where each value of a configuration file stands, so that a message
 * about it can name the line.
 *
 *   text --yaml_parser_load--> nodes --walk--> (route, name, entry) -> line
 */
#include "conf/conf_raw.h"

#include <stdio.h>
#include <yaml.h>

struct walk {
	const char *path;
	struct slice text;
	yaml_document_t doc;
	struct marks *out;
	struct kv_err *err;
};

static unsigned node_line(const yaml_node_t *node)
{
	return (unsigned)node->start_mark.line + 1;
}

static int add(struct walk *w, int route, const char *name, unsigned entry,
	       const yaml_node_t *node)
{
	struct marks *m = w->out;
	struct mark *mark;

	if (!kv_grow((void **)&m->marks, &m->cap, m->n + 1,
		     sizeof(m->marks[0]))) {
		return kv_fail(w->err, KV_NO_MEMORY, "%s: no memory", w->path);
	}
	mark = &m->marks[m->n++];
	*mark = (struct mark){
	    .route = route, .entry = entry, .line = node_line(node)};
	(void)snprintf(mark->name, sizeof(mark->name), "%s", name);
	return KV_OK;
}

/* A NUL would cut the value short without a word. */
static int check_scalar(struct walk *w, const yaml_node_t *node)
{
	const char *text = (const char *)node->data.scalar.value;

	if (strlen(text) == node->data.scalar.length) {
		return KV_OK;
	}
	return kv_fail(w->err, KV_BAD_ARGUMENT,
		       "%s:%u: a NUL byte in a value, which no setting takes",
		       w->path, node_line(node));
}

/* The entries of a list, after the list itself. */
static int walk_entries(struct walk *w, int route, const char *name,
			const yaml_node_t *list)
{
	const yaml_node_item_t *item = list->data.sequence.items.start;
	unsigned entry = 0;
	int status = KV_OK;

	for (; status == KV_OK && item < list->data.sequence.items.top;
	     item++) {
		yaml_node_t *node = yaml_document_get_node(&w->doc, *item);

		status = add(w, route, name, entry++, node);
		if (status == KV_OK && node->type == YAML_SCALAR_NODE) {
			status = check_scalar(w, node);
		}
	}
	return status;
}

static int walk_mapping(struct walk *w, int route, const yaml_node_t *map,
			unsigned depth);

/* The routes: each one's own line is noted under the empty name. */
static int walk_routes(struct walk *w, const yaml_node_t *list)
{
	const yaml_node_item_t *item = list->data.sequence.items.start;
	int route = 0;
	int status = KV_OK;

	for (; status == KV_OK && item < list->data.sequence.items.top;
	     item++, route++) {
		yaml_node_t *node = yaml_document_get_node(&w->doc, *item);

		status = add(w, route, "", 0, node);
		if (status == KV_OK && node->type == YAML_MAPPING_NODE) {
			status = walk_mapping(w, route, node, 1);
		}
	}
	return status;
}

static int walk_value(struct walk *w, int route, const char *name,
		      const yaml_node_t *value, unsigned depth)
{
	int status = add(w, route, name, 0, value);

	if (status != KV_OK) {
		return status;
	}
	if (value->type == YAML_SCALAR_NODE) {
		return check_scalar(w, value);
	}
	if (depth == 0 && value->type == YAML_MAPPING_NODE) {
		return walk_mapping(w, route, value, depth + 1);
	}
	if (depth == 0 && strcmp(name, "routes") == 0 &&
	    value->type == YAML_SEQUENCE_NODE) {
		return walk_routes(w, value);
	}
	if (value->type == YAML_SEQUENCE_NODE) {
		return walk_entries(w, route, name, value);
	}
	return KV_OK;
}

static int walk_mapping(struct walk *w, int route, const yaml_node_t *map,
			unsigned depth)
{
	const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
	int status = KV_OK;

	for (; status == KV_OK && pair < map->data.mapping.pairs.top; pair++) {
		yaml_node_t *key = yaml_document_get_node(&w->doc, pair->key);
		yaml_node_t *value =
		    yaml_document_get_node(&w->doc, pair->value);

		if (key->type != YAML_SCALAR_NODE) {
			return kv_fail(w->err, KV_BAD_ARGUMENT,
				       "%s:%u: found a list or mapping where "
				       "the name of a setting was expected",
				       w->path, node_line(key));
		}
		status =
		    walk_value(w, route, (const char *)key->data.scalar.value,
			       value, depth);
	}
	return status;
}

static unsigned line_at(struct slice text, size_t offset)
{
	unsigned line = 1;
	size_t i;

	for (i = 0; i < text.n && i < offset; i++) {
		line += text.p[i] == '\n' ? 1 : 0;
	}
	return line;
}

static int parser_failed(struct walk *w, const yaml_parser_t *parser)
{
	size_t line = parser->problem_mark.line;

	if (parser->error == YAML_MEMORY_ERROR) {
		return kv_fail(w->err, KV_NO_MEMORY, "%s: no memory", w->path);
	}
	if (parser->error == YAML_READER_ERROR) {
		/* The reader knows only how many bytes it had read. */
		return kv_fail(
		    w->err, KV_BAD_ARGUMENT, "%s:%u: not YAML: %s", w->path,
		    line_at(w->text, parser->problem_offset), parser->problem);
	}
	return kv_fail(w->err, KV_BAD_ARGUMENT, "%s:%zu: not YAML: %s%s%s",
		       w->path, line + 1,
		       parser->context == NULL ? "" : parser->context,
		       parser->context == NULL ? "" : ", ",
		       parser->problem == NULL ? "?" : parser->problem);
}

static int walk_document(struct walk *w)
{
	const yaml_node_t *root = yaml_document_get_root_node(&w->doc);

	if (root == NULL) {
		return kv_fail(w->err, KV_BAD_ARGUMENT,
			       "%s:1: the file is empty, expected 'routes:'",
			       w->path);
	}
	if (root->type != YAML_MAPPING_NODE) {
		return kv_fail(w->err, KV_BAD_ARGUMENT,
			       "%s:%u: expected settings ('routes:' ...) at "
			       "the top",
			       w->path, node_line(root));
	}
	return walk_mapping(w, -1, root, 0);
}

/* What stands behind the first document: nothing may. */
static int check_end(struct walk *w, yaml_parser_t *parser)
{
	const yaml_node_t *root;
	int status = KV_OK;

	if (!yaml_parser_load(parser, &w->doc)) {
		return parser_failed(w, parser);
	}
	root = yaml_document_get_root_node(&w->doc);
	if (root != NULL) {
		status = kv_fail(w->err, KV_BAD_ARGUMENT,
				 "%s:%u: a second document, expected one file "
				 "with one",
				 w->path, node_line(root));
	}
	yaml_document_delete(&w->doc);
	return status;
}

int marks_scan(const char *path, struct slice text, struct marks *out,
	       struct kv_err *err)
{
	struct walk w = {.path = path, .text = text, .out = out, .err = err};
	yaml_parser_t parser;
	int status;

	if (!yaml_parser_initialize(&parser)) {
		return kv_fail(err, KV_NO_MEMORY, "%s: no memory", path);
	}
	yaml_parser_set_input_string(&parser, text.p, text.n);
	if (!yaml_parser_load(&parser, &w.doc)) {
		status = parser_failed(&w, &parser);
	} else {
		bool empty = yaml_document_get_root_node(&w.doc) == NULL;

		status = walk_document(&w);
		yaml_document_delete(&w.doc);
		if (status == KV_OK && !empty) {
			status = check_end(&w, &parser);
		}
	}
	yaml_parser_delete(&parser);
	return status;
}

void marks_clear(struct marks *m)
{
	kv_free(m->marks);
	*m = (struct marks){0};
}

unsigned marks_line(const struct marks *m, int route, const char *name,
		    unsigned entry)
{
	unsigned line = 0;
	size_t i;

	for (i = 0; i < m->n; i++) {
		const struct mark *mark = &m->marks[i];

		if (mark->route == route && mark->entry == entry &&
		    strncmp(mark->name, name, sizeof(mark->name) - 1) == 0) {
			/* The last one: of a list, its first entry. */
			line = mark->line;
		}
	}
	return line;
}

unsigned marks_find(const struct marks *m, const char *name, unsigned from)
{
	size_t i;

	for (i = 0; i < m->n; i++) {
		const struct mark *mark = &m->marks[i];

		if (mark->line >= from &&
		    strncmp(mark->name, name, sizeof(mark->name) - 1) == 0) {
			return mark->line;
		}
	}
	return 0;
}
