/* registry.c: which schemes there are, and whose they are. */
#include <stdio.h>

#include "store/base/options.h"
#include "store/store_impl.h"

static bool has_scheme(const struct store_ops *ops, const char *scheme)
{
	const char *const *s;

	for (s = ops->schemes; *s != NULL; s++) {
		if (strcmp(*s, scheme) == 0) {
			return true;
		}
	}
	return false;
}

const struct store_ops *registry_find(const struct store_registry *r,
				      const char *scheme)
{
	size_t i;

	for (i = 0; i < r->n; i++) {
		if (has_scheme(r->ops[i], scheme)) {
			return r->ops[i];
		}
	}
	return NULL;
}

/* Do the two URIs say the same of an option? */
static int same_option(const struct store_ops *ops, const struct uri *a,
		       const struct uri *b, const char *name,
		       struct kv_err *err)
{
	char *x = NULL, *y = NULL;
	int rv =
	    option_text(ops->options, a->options, a->n_options, name, &x, err);

	if (rv == KV_OK) {
		rv = option_text(ops->options, b->options, b->n_options, name,
				 &y, err);
	}
	if (rv == KV_OK &&
	    (x == NULL || y == NULL ? x != y : strcmp(x, y) != 0)) {
		rv = kv_fail(err, KV_BAD_ARGUMENT,
			     "%s: option %s is %s at one end and %s at the "
			     "other; give it in both URIs",
			     ops->name, name, x == NULL ? "not set" : x,
			     y == NULL ? "not set" : y);
	}
	kv_free(x);
	kv_free(y);
	return rv;
}

static int pair_flag(const struct store_registry *r, const struct uri *a,
		     const struct uri *b, unsigned *flag, struct kv_err *err)
{
	const struct store_ops *ops = registry_find(r, a->scheme);
	const char *const *name;
	int rv = KV_OK;

	if (ops == NULL || ops != registry_find(r, b->scheme) ||
	    !ops->has_attrs) {
		return KV_OK;
	}
	for (name = ops->attrs_options;
	     name != NULL && *name != NULL && rv == KV_OK; name++) {
		rv = same_option(ops, a, b, *name, err);
	}
	*flag = rv == KV_OK ? STORE_ATTRS : 0;
	return rv;
}

int store_attrs_flag(const struct store_registry *r, const char *uri_a,
		     const char *uri_b, unsigned *flag, struct kv_err *err)
{
	struct uri *a, *b;
	int rv = uri_parse(uri_a, &a, err);

	*flag = 0;
	if (rv != KV_OK) {
		return rv;
	}
	rv = uri_parse(uri_b, &b, err);
	if (rv == KV_OK) {
		rv = pair_flag(r, a, b, flag, err);
		uri_free(b);
	}
	uri_free(a);
	return rv;
}

char *registry_schemes(const struct store_registry *r, char *buf, size_t cap)
{
	const char *const *s;
	size_t i, n = 0;
	int got;

	PRE(cap > 0);
	buf[0] = '\0';
	for (i = 0; i < r->n; i++) {
		for (s = r->ops[i]->schemes; *s != NULL; s++) {
			got = snprintf(buf + n, cap - n, "%s%s",
				       n == 0 ? "" : ", ", *s);
			if (got < 0 || (size_t)got >= cap - n) {
				return buf; /* cut */
			}
			n += (size_t)got;
		}
	}
	return buf;
}

int store_register(struct store_registry *r, const struct store_ops *ops,
		   struct kv_err *err)
{
	const char *const *s;
	void *items = r->ops;

	PRE(ops->open != NULL && ops->scan != NULL && ops->changes != NULL);
	PRE(ops->unwatch != NULL && ops->write != NULL);
	PRE(ops->cancel != NULL && ops->close != NULL);
	PRE((ops->lock == NULL) == (ops->unlock == NULL));
	PRE((ops->lock == NULL) == (ops->renew == NULL));
	for (s = ops->schemes; *s != NULL; s++) {
		const struct store_ops *other = registry_find(r, *s);

		if (other != NULL) {
			return kv_fail(err, KV_BAD_ARGUMENT,
				       "backend %s: scheme %s is taken by "
				       "backend %s",
				       ops->name, *s, other->name);
		}
	}
	if (!kv_grow(&items, &r->cap, r->n + 1, sizeof(struct store_ops *))) {
		return kv_fail(err, KV_NO_MEMORY, "backend %s: out of memory",
			       ops->name);
	}
	r->ops = items;
	r->ops[r->n++] = ops;
	return KV_OK;
}

void store_registry_free(struct store_registry *r)
{
	kv_free(r->ops);
	memset(r, 0, sizeof *r);
}
