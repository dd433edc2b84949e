/* registry.c: which schemes there are, and whose they are. */
#include <stdio.h>

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

int store_attrs_flag(const struct store_registry *r, const char *uri_a,
		     const char *uri_b, unsigned *flag, struct kv_err *err)
{
	const char *texts[2] = {uri_a, uri_b};
	const struct store_ops *ops[2];
	struct uri *u;
	int rv;

	*flag = 0;
	for (size_t i = 0; i < KV_COUNT(texts); i++) {
		rv = uri_parse(texts[i], &u, err);
		if (rv != KV_OK) {
			return rv;
		}
		ops[i] = registry_find(r, u->scheme);
		uri_free(u);
	}
	if (ops[0] != NULL && ops[0] == ops[1] && ops[0]->has_attrs) {
		*flag = STORE_ATTRS;
	}
	return KV_OK;
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
