/* consul_txn.c: see consul_txn.h.
 *
 *   txn_begin, txn_add ..., txn_end --> PUT /v1/txn --> txn_parse
 */
#include "store/consul/consul_txn.h"

#include <jansson.h>
#include <stdlib.h>

/* ---- requests ------------------------------------------------------------ */

void txn_begin(struct consul_buf *b)
{
	b->n = 0;
	buf_str(b, "[");
}

void txn_add(struct consul_buf *b, const struct txn_op *op)
{
	buf_str(b, b->n > 1 ? ",{\"KV\":{\"Verb\":\"" : "{\"KV\":{\"Verb\":\"");
	buf_str(b, op->verb);
	buf_str(b, "\",\"Key\":\"");
	buf_json(b, op->key);
	buf_str(b, "\"");
	if (op->has_value) {
		buf_str(b, ",\"Value\":\"");
		buf_base64(b, op->value);
		buf_str(b, "\"");
	}
	if (op->flags != 0) {
		buf_str(b, ",\"Flags\":");
		buf_num(b, op->flags);
	}
	if (op->has_index) {
		buf_str(b, ",\"Index\":");
		buf_num(b, op->index);
	}
	if (op->session != NULL) {
		buf_str(b, ",\"Session\":\"");
		buf_json(b, slice_str(op->session));
		buf_str(b, "\"");
	}
	buf_str(b, "}}");
}

void txn_end(struct consul_buf *b)
{
	buf_str(b, "]");
}

/* ---- errors -------------------------------------------------------------- */

static bool ends_with(struct slice s, const char *tail)
{
	size_t n = strlen(tail);

	return s.n >= n && memcmp(s.p + s.n - n, tail, n) == 0;
}

/* The last place of `what` in s, or s.n: names in the text may hold anything,
 * and stand before it. */
static size_t last_of(struct slice s, const char *what)
{
	size_t n = strlen(what);

	for (size_t i = s.n; i >= n; i--) {
		if (memcmp(s.p + i - n, what, n) == 0) {
			return i - n;
		}
	}
	return s.n;
}

/* "..., current modify index 10 != 12" */
static uint64_t current_index(struct slice s)
{
	static const char mark[] = "current modify index ";
	size_t at = last_of(s, mark);
	uint64_t x = 0;

	if (at == s.n) {
		return 0;
	}
	for (at += sizeof mark - 1; at < s.n && IN('0', s.p[at], '9'); at++) {
		if (x > (UINT64_MAX - 9) / 10) {
			return 0;
		}
		x = x * 10 + (uint64_t)(s.p[at] - '0');
	}
	return at < s.n && s.p[at] == ' ' ? x : 0;
}

enum txn_trouble txn_trouble(struct slice s, uint64_t *index)
{
	*index = current_index(s);
	if (ends_with(s, " doesn't exist")) {
		return TXN_MISSING;
	}
	if (slice_starts(s, slice_str("Permission denied")) ||
	    ends_with(s, "Permission denied") ||
	    slice_starts(s, slice_str("ACL not found"))) {
		return TXN_DENIED;
	}
	if (slice_starts(s, slice_str("failed index check")) ||
	    ends_with(s, "index is stale")) {
		return TXN_OTHER;
	}
	return TXN_STRANGE;
}

/* ---- answers ------------------------------------------------------------- */

/* Flags go up to 2^64 - 1, past what jansson reads as an integer: they are made
 * strings. No other place of an answer has these bytes: inside a string the
 * quotes would be escaped. */
static void quote_flags(struct consul_buf *out, struct slice body)
{
	static const char mark[] = "\"Flags\":";
	size_t from = 0;

	while (from < body.n) {
		const uint8_t *at =
		    memmem(body.p + from, body.n - from, mark, sizeof mark - 1);
		size_t i;

		if (at == NULL) {
			break;
		}
		i = (size_t)(at - body.p) + sizeof mark - 1;
		buf_add(out, body.p + from, i - from);
		buf_str(out, "\"");
		for (from = i; i < body.n && IN('0', body.p[i], '9'); i++) {
		}
		buf_add(out, body.p + from, i - from);
		buf_str(out, "\"");
		from = i;
	}
	buf_add(out, body.p + from, body.n - from);
}

struct parse {
	struct arena *a;
	struct kv_err *err;
	int status;
};

static void broken(struct parse *p, const char *what)
{
	if (p->status == KV_OK) {
		p->status = kv_fail(p->err, KV_BROKEN,
				    "consul: a transaction's answer %s", what);
	}
}

static void no_memory(struct parse *p)
{
	if (p->status == KV_OK) {
		p->status = kv_fail(p->err, KV_NO_MEMORY,
				    "consul: no memory for an answer");
	}
}

/* A copy of a JSON string; empty and broken when it is none. */
static struct slice text_of(struct parse *p, const json_t *j, const char *what)
{
	struct slice s = {0};

	if (!json_is_string(j)) {
		broken(p, what);
		return s;
	}
	s = slice_dup(p->a,
		      slice_of(json_string_value(j), json_string_length(j)));
	if (s.p == NULL) {
		no_memory(p);
	}
	return s;
}

static uint64_t index_of(struct parse *p, const json_t *j)
{
	if (!json_is_integer(j) || json_integer_value(j) <= 0) {
		broken(p, "has an entry without its index");
		return 0;
	}
	return (uint64_t)json_integer_value(j);
}

static uint64_t flags_of(struct parse *p, const json_t *j)
{
	const char *text = json_string_value(j);
	char *end;
	uint64_t x;

	if (text == NULL) {
		return 0;
	}
	x = strtoull(text, &end, 10);
	if (text[0] == '\0' || *end != '\0') {
		broken(p, "has Flags that are no number");
	}
	return x;
}

static struct slice value_of(struct parse *p, const json_t *j)
{
	struct slice s = {0};
	bool bad;

	if (j == NULL || json_is_null(j)) {
		return s;
	}
	if (!json_is_string(j)) {
		broken(p, "has a value that is no text");
	} else if (!base64_decode(p->a, json_string_value(j),
				  json_string_length(j), &s, &bad)) {
		if (bad) {
			broken(p, "has a value that is no base64");
		} else {
			no_memory(p);
		}
	}
	return s;
}

static void read_entries(struct parse *p, const json_t *list,
			 struct txn_answer *out)
{
	size_t n = json_array_size(list);

	if (n == 0) {
		return;
	}
	out->entries = arena_alloc(p->a, n * sizeof *out->entries);
	if (out->entries == NULL) {
		no_memory(p);
		return;
	}
	for (size_t i = 0; i < n && p->status == KV_OK; i++) {
		json_t *kv = json_object_get(json_array_get(list, i), "KV");
		struct txn_entry *e = &out->entries[i];

		e->key = text_of(p, json_object_get(kv, "Key"),
				 "has an entry without a key");
		e->value = value_of(p, json_object_get(kv, "Value"));
		e->flags = flags_of(p, json_object_get(kv, "Flags"));
		e->index = index_of(p, json_object_get(kv, "ModifyIndex"));
		out->n_entries = i + 1;
	}
}

static void read_errors(struct parse *p, const json_t *list,
			struct txn_answer *out)
{
	size_t n = json_array_size(list);

	if (n == 0) {
		return;
	}
	out->errors = arena_alloc(p->a, n * sizeof *out->errors);
	if (out->errors == NULL) {
		no_memory(p);
		return;
	}
	for (size_t i = 0; i < n && p->status == KV_OK; i++) {
		json_t *j = json_array_get(list, i);
		json_t *op = json_object_get(j, "OpIndex");
		struct txn_error *e = &out->errors[i];

		if (!json_is_integer(op) || json_integer_value(op) < 0) {
			broken(p, "has an error of no operation");
			return;
		}
		e->op = (size_t)json_integer_value(op);
		e->text = text_of(p, json_object_get(j, "What"),
				  "has an error that says nothing");
		e->trouble = txn_trouble(e->text, &e->index);
		out->n_errors = i + 1;
	}
}

int txn_parse(struct arena *a, struct slice body, struct txn_answer *out,
	      struct kv_err *err)
{
	struct parse p = {a, err, KV_OK};
	struct consul_buf quoted = {0};
	json_error_t why;
	json_t *root;

	*out = (struct txn_answer){0};
	quote_flags(&quoted, body);
	if (quoted.failed) {
		no_memory(&p);
		goto out_buf;
	}
	root =
	    json_loadb((const char *)quoted.p, quoted.n, JSON_ALLOW_NUL, &why);
	if (root == NULL) {
		if (json_error_code(&why) == json_error_out_of_memory) {
			no_memory(&p);
		} else {
			broken(&p, "is no JSON");
		}
		goto out_buf;
	}
	if (!json_is_object(root)) {
		broken(&p, "is no object");
	}
	read_entries(&p, json_object_get(root, "Results"), out);
	read_errors(&p, json_object_get(root, "Errors"), out);
	json_decref(root);
out_buf:
	buf_free(&quoted);
	return p.status;
}
