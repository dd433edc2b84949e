/* zk_table.c: see zk_table.h. */
#include "store/zookeeper/zk_table.h"

static uint32_t hash_of(struct slice s)
{
	uint32_t h = 2166136261u;
	size_t i;

	for (i = 0; i < s.n; i++) {
		h = (h ^ s.p[i]) * 16777619u;
	}
	return h ^ h >> 15;
}

/* Is that its path? Compared from the end. */
static bool is_at(const struct zk_node *n, struct slice path)
{
	while (n != NULL && path.n >= n->name_n &&
	       memcmp(path.p + path.n - n->name_n, n->name, n->name_n) == 0) {
		path.n -= n->name_n;
		n = n->parent;
		if (n == NULL) {
			return path.n == 0;
		}
		if (n->parent == NULL && n->name_n == 1) {
			return path.n == 0; /* below "/" */
		}
	}
	return false;
}

void zk_table_free(struct zk_table *t)
{
	size_t i;

	for (i = 0; i < t->n_buckets; i++) {
		while (t->buckets[i] != NULL) {
			zk_table_remove(t, t->buckets[i]);
		}
	}
	kv_free(t->buckets);
	*t = (struct zk_table){0};
}

struct zk_node *zk_table_find(const struct zk_table *t, struct slice path)
{
	uint32_t hash = hash_of(path);
	struct zk_node *n;

	if (t->n_buckets == 0) {
		return NULL;
	}
	n = t->buckets[hash & (t->n_buckets - 1)];
	while (n != NULL && (n->hash != hash || !is_at(n, path))) {
		n = n->chain;
	}
	return n;
}

/* Twice the buckets; where memory is out, the chains are longer. */
static bool grow(struct zk_table *t)
{
	size_t n = t->n_buckets == 0 ? 64 : t->n_buckets * 2;
	struct zk_node **fresh = kv_calloc(n, sizeof(struct zk_node *));
	size_t i;

	if (fresh == NULL) {
		return t->n_buckets > 0;
	}
	for (i = 0; i < t->n_buckets; i++) {
		struct zk_node *node;

		while ((node = t->buckets[i]) != NULL) {
			t->buckets[i] = node->chain;
			node->chain = fresh[node->hash & (n - 1)];
			fresh[node->hash & (n - 1)] = node;
		}
	}
	kv_free(t->buckets);
	t->buckets = fresh;
	t->n_buckets = n;
	return true;
}

/* The bytes of the path that its parent's has not: "/name". */
static struct slice own_part(const struct zk_node *parent, struct slice path)
{
	size_t n = path.n;

	if (parent == NULL) {
		return path;
	}
	do {
		n--;
	} while (n > 0 && path.p[n] != '/');
	return slice_of(path.p + n, path.n - n);
}

struct zk_node *zk_table_add(struct zk_table *t, struct zk_node *parent,
			     struct slice path)
{
	struct slice name = own_part(parent, path);
	struct zk_node **bucket;
	struct zk_node *n;

	PRE(parent == NULL || !parent->removed);
	if (t->n >= t->n_buckets && !grow(t)) {
		return NULL;
	}
	n = kv_malloc(sizeof *n + name.n);
	if (n == NULL) {
		return NULL;
	}
	memset(n, 0, sizeof *n);
	memcpy(n->name, name.p, name.n);
	n->name_n = (uint32_t)name.n;
	n->hash = hash_of(path);
	n->unseen = true;
	n->parent = parent;
	if (parent != NULL) {
		parent->below++;
	}
	bucket = &t->buckets[n->hash & (t->n_buckets - 1)];
	n->chain = *bucket;
	*bucket = n;
	t->n++;
	return n;
}

struct slice zk_table_above(struct slice path)
{
	size_t n = path.n;

	while (n > 1 && path.p[n - 1] != '/') {
		n--;
	}
	return slice_of(path.p, n > 1 ? n - 1 : 1);
}

struct zk_node *zk_table_reach(struct zk_table *t, struct slice root,
			       struct slice path)
{
	struct zk_node *n = zk_table_find(t, path);
	struct zk_node *parent = NULL;

	if (n != NULL) {
		return n;
	}
	if (!slice_eq(path, root)) {
		parent = zk_table_reach(t, root, zk_table_above(path));
		if (parent == NULL) {
			return NULL;
		}
	}
	return zk_table_add(t, parent, path);
}

/* Frees a removed node, and those above it that were kept for it alone. */
static void maybe_free(struct zk_node *n)
{
	while (n != NULL && n->removed && n->below == 0) {
		struct zk_node *parent = n->parent;

		kv_free(n);
		if (parent != NULL) {
			parent->below--;
		}
		n = parent;
	}
}

void zk_table_remove(struct zk_table *t, struct zk_node *n)
{
	struct zk_node **p = &t->buckets[n->hash & (t->n_buckets - 1)];

	while (*p != n) {
		p = &(*p)->chain;
	}
	*p = n->chain;
	t->n--;
	n->removed = true;
	maybe_free(n);
}
