/* store_check.c: what requests may be, what answers may be. Pure, no I/O.
 *
 *   request --> check_scan, check_write --> backend --> check_page --> caller
 */
#include <stdlib.h>

#include "store/store_impl.h"

struct slice check_strip_dir(struct slice dir)
{
	if (dir.n > 0 && dir.p[dir.n - 1] == '/') {
		dir.n--;
	}
	return dir;
}

int check_dir(struct slice dir, struct kv_err *err)
{
	char text[SLICE_PRINT_MAX];

	if (dir.n > 0 && dir.p[0] != '/') {
		return kv_fail(err, KV_INVALID_KEY,
			       "directory %s does not begin with '/'",
			       slice_print(dir, text, sizeof text));
	}
	return KV_OK;
}

int check_key(const struct store *st, struct slice key, struct kv_err *err)
{
	char text[SLICE_PRINT_MAX];

	if (key.n == 0 || key.p[0] != '/') {
		return kv_fail(err, KV_INVALID_KEY,
			       "key '%s' does not begin with '/'",
			       slice_print(key, text, sizeof text));
	}
	return st->ops->check_key == NULL ? KV_OK
					  : st->ops->check_key(st, key, err);
}

/* 0 means no limit. */
static bool is_over(size_t size, size_t limit)
{
	return limit > 0 && size > limit;
}

static int fail_size(struct slice key, const char *what, size_t size,
		     size_t limit, struct kv_err *err)
{
	char text[SLICE_PRINT_MAX];

	return kv_fail(err, KV_TOO_LARGE,
		       "key %s: its %s of %zu bytes is over the limit of %zu",
		       slice_print(key, text, sizeof text), what, size, limit);
}

int store_check(const struct store *st, struct slice key, size_t value_size,
		struct kv_err *err)
{
	return store_check_attrs(st, key, value_size, 0, err);
}

int store_check_attrs(const struct store *st, struct slice key,
		      size_t value_size, size_t attrs_size, struct kv_err *err)
{
	size_t whole = key.n + value_size + attrs_size;
	const struct store_caps *caps = &st->caps;
	size_t stored = st->uri->prefix_n + key.n;
	int rv = check_key(st, key, err);

	if (rv != KV_OK) {
		return rv;
	}
	if (is_over(stored, caps->max_key)) {
		return fail_size(key, "name", stored, caps->max_key, err);
	}
	if (is_over(value_size, caps->max_value)) {
		return fail_size(key, "value", value_size, caps->max_value,
				 err);
	}
	if (is_over(whole, caps->max_bytes)) {
		return fail_size(key, "write", whole, caps->max_bytes, err);
	}
	return KV_OK;
}

/* ---- requests ------------------------------------------------------------ */

static int check_named(const struct store *st, const struct store_scan *req,
		       struct kv_err *err)
{
	size_t i;
	int rv;

	if (req->n_keys == 0) {
		return kv_fail(err, KV_BAD_ARGUMENT, "scan: no keys are named");
	}
	if (is_over(req->n_keys, st->caps.max_ops)) {
		return kv_fail(err, KV_TOO_LARGE,
			       "scan: %zu named keys are over the limit of %u",
			       req->n_keys, st->caps.max_ops);
	}
	for (i = 0; i < req->n_keys; i++) {
		rv = check_key(st, req->keys[i], err);
		if (rv != KV_OK) {
			return rv;
		}
		if (i > 0 && slice_cmp(req->keys[i - 1], req->keys[i]) >= 0) {
			return kv_fail(
			    err, KV_BAD_ARGUMENT,
			    "scan: the named keys are not sorted and "
			    "distinct");
		}
	}
	return KV_OK;
}

int check_scan(const struct store *st, const struct store_scan *req,
	       struct kv_err *err)
{
	return req->keys != NULL ? check_named(st, req, err)
				 : check_dir(req->dir, err);
}

static int compare_keys(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static bool is_ascending(const struct store_write *req)
{
	size_t i;

	for (i = 1; i < req->n_ops; i++) {
		if (slice_cmp(req->ops[i - 1].key, req->ops[i].key) >= 0) {
			return false;
		}
	}
	return true;
}

static int fail_twice(struct slice key, struct kv_err *err)
{
	char text[SLICE_PRINT_MAX];

	return kv_fail(err, KV_BAD_ARGUMENT,
		       "write: key %s stands in it more than once",
		       slice_print(key, text, sizeof text));
}

static int check_distinct(const struct store_write *req, struct kv_err *err)
{
	struct slice *keys;
	size_t i;
	int rv = KV_OK;

	if (is_ascending(req)) {
		return KV_OK;
	}
	keys = kv_calloc(req->n_ops, sizeof *keys);
	if (keys == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "write: out of memory");
	}
	for (i = 0; i < req->n_ops; i++) {
		keys[i] = req->ops[i].key;
	}
	qsort(keys, req->n_ops, sizeof *keys, compare_keys);
	for (i = 1; i < req->n_ops && rv == KV_OK; i++) {
		if (slice_eq(keys[i - 1], keys[i])) {
			rv = fail_twice(keys[i], err);
		}
	}
	kv_free(keys);
	return rv;
}

static int check_op(const struct store *st, const struct store_op *op,
		    size_t *bytes, struct kv_err *err)
{
	char text[SLICE_PRINT_MAX];
	bool put = op->kind == STORE_OP_PUT;
	size_t value = put ? op->value.n : 0;
	size_t attrs = put ? op->attrs.n : 0;

	if (attrs > 0 && (st->flags & STORE_ATTRS) == 0) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "write: key %s has attrs, and this %s store was "
			       "not opened for them",
			       slice_print(op->key, text, sizeof text),
			       st->ops->name);
	}
	*bytes += op->key.n + value + attrs;
	return store_check_attrs(st, op->key, value, attrs, err);
}

static int check_ops(const struct store *st, struct store_write *req,
		     struct kv_err *err)
{
	size_t i, bytes = 0;
	int rv;

	for (i = 0; i < req->n_ops; i++) {
		struct store_op *op = &req->ops[i];

		rv = check_op(st, op, &bytes, err);
		if (rv != KV_OK) {
			op->status = rv;
			return rv;
		}
	}
	if (is_over(bytes, st->caps.max_bytes)) {
		return kv_fail(err, KV_TOO_LARGE,
			       "write: %zu bytes are over the limit of %zu",
			       bytes, st->caps.max_bytes);
	}
	return KV_OK;
}

int check_write(const struct store *st, struct store_write *req,
		struct kv_err *err)
{
	size_t i;
	int rv;

	for (i = 0; i < req->n_ops; i++) {
		req->ops[i].status = KV_CANCELED;
		req->ops[i].version = (struct store_version){0};
		req->ops[i].index = 0;
	}
	if (req->n_ops == 0) {
		return kv_fail(err, KV_BAD_ARGUMENT, "write: it has no ops");
	}
	if (is_over(req->n_ops, st->caps.max_ops)) {
		return kv_fail(err, KV_TOO_LARGE,
			       "write: %zu operations are over the limit of %u",
			       req->n_ops, st->caps.max_ops);
	}
	rv = check_ops(st, req, err);
	return rv == KV_OK ? check_distinct(req, err) : rv;
}

/* ---- answers ------------------------------------------------------------- */

static bool is_asked_for(const struct store_scan *req, struct slice key)
{
	if (req->keys == NULL) {
		return key.n > 0 && key.p[0] == '/' &&
		       slice_below(key, req->dir) &&
		       slice_cmp(key, req->after) > 0;
	}
	return bsearch(&key, req->keys, req->n_keys, sizeof key,
		       compare_keys) != NULL;
}

static int fail_page(const char *what, struct slice key, struct kv_err *err)
{
	char text[SLICE_PRINT_MAX];

	return kv_fail(err, KV_BROKEN, "scan: the answer %s (at key %s)", what,
		       slice_print(key, text, sizeof text));
}

int check_page(const struct store_scan *req, struct kv_err *err)
{
	const struct store *st = req->req.store;
	const struct store_page *page = req->page;
	const struct store_pair *pairs = page->pairs;
	size_t i;

	for (i = 0; i < page->n; i++) {
		if (pairs[i].attrs.n > 0 &&
		    (req->names_only || (st->flags & STORE_ATTRS) == 0)) {
			return fail_page("has attrs that nobody asked for",
					 pairs[i].key, err);
		}
		if (!is_asked_for(req, pairs[i].key)) {
			return fail_page("holds what was not asked for",
					 pairs[i].key, err);
		}
		if (i > 0 && slice_cmp(pairs[i - 1].key, pairs[i].key) >= 0) {
			return fail_page("is not in ascending order",
					 pairs[i].key, err);
		}
	}
	if (page->more && (page->n == 0 || req->keys != NULL)) {
		return fail_page("promises more, and nothing to go on from",
				 req->after, err);
	}
	return KV_OK;
}
