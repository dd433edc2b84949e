/* content.c: see content.h. */
#include "agent/content.h"

bool content_eq(struct content a, struct content b)
{
	return !a.unreadable && !b.unreadable && slice_eq(a.value, b.value) &&
	       slice_eq(a.attrs, b.attrs);
}

struct kv_hash content_hash(struct content c)
{
	struct kv_hash parts[2] = {kv_hash(c.value)};

	if (c.attrs.n == 0) {
		return parts[0];
	}
	parts[1] = kv_hash(c.attrs);
	return kv_hash(slice_of(parts, sizeof parts));
}

bool content_dup(struct arena *a, struct content c, struct content *out)
{
	out->value = slice_dup(a, c.value);
	out->attrs = slice_of(NULL, 0);
	out->unreadable = c.unreadable;
	if (c.attrs.n > 0) {
		out->attrs = slice_dup(a, c.attrs);
	}
	return out->value.p != NULL && (c.attrs.n == 0 || out->attrs.p != NULL);
}
