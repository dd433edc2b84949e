/* zk_dirty.c: see zk_dirty.h. */
#include "store/zookeeper/zk_dirty.h"

static uint32_t hash_of(struct slice s)
{
	uint32_t h = 2166136261u;
	size_t i;

	for (i = 0; i < s.n; i++) {
		h = (h ^ s.p[i]) * 16777619u;
	}
	return h ^ h >> 15;
}

static struct zk_dirty *dirty_of(const struct list *l)
{
	return kv_container_of(l, struct zk_dirty, link);
}

static size_t weight(const struct zk_dirty *one)
{
	return sizeof *one + one->fetch.path.n;
}

void zk_dirties_init(struct zk_dirties *d)
{
	memset(d, 0, sizeof *d);
	list_init(&d->queue);
	list_init(&d->sent);
}

static void free_list(struct list *head)
{
	struct list *l;

	while ((l = list_pop_front(head)) != NULL) {
		kv_free(dirty_of(l));
	}
}

void zk_dirties_free(struct zk_dirties *d)
{
	free_list(&d->queue);
	free_list(&d->sent);
	kv_free(d->buckets);
	zk_dirties_init(d);
}

static struct zk_dirty **bucket(const struct zk_dirties *d, uint32_t hash)
{
	return &d->buckets[hash & (d->n_buckets - 1)];
}

/* Twice the buckets; where memory is out, the chains are longer. */
static bool grow(struct zk_dirties *d)
{
	size_t n = d->n_buckets == 0 ? 64 : d->n_buckets * 2;
	struct zk_dirty **fresh = kv_calloc(n, sizeof(struct zk_dirty *));
	const struct list *l;

	if (fresh == NULL) {
		return d->n_buckets > 0;
	}
	kv_free(d->buckets);
	d->buckets = fresh;
	d->n_buckets = n;
	for (l = d->queue.next; l != &d->queue; l = l->next) {
		struct zk_dirty *one = dirty_of(l);

		one->chain = *bucket(d, one->hash);
		*bucket(d, one->hash) = one;
	}
	return true;
}

static struct zk_dirty *find(const struct zk_dirties *d, struct slice path,
			     uint32_t hash)
{
	struct zk_dirty *one = d->n_buckets == 0 ? NULL : *bucket(d, hash);

	while (one != NULL &&
	       (one->hash != hash || !slice_eq(one->fetch.path, path))) {
		one = one->chain;
	}
	return one;
}

struct zk_dirty *zk_dirties_find(const struct zk_dirties *d, struct slice path)
{
	return find(d, path, hash_of(path));
}

struct zk_dirty *zk_dirties_get(struct zk_dirties *d, struct slice path,
				uint64_t before)
{
	uint32_t hash = hash_of(path);
	struct zk_dirty *one = find(d, path, hash);

	if (one != NULL) {
		return one;
	}
	if (d->n >= d->n_buckets && !grow(d)) {
		return NULL;
	}
	one = kv_malloc(sizeof *one + path.n);
	if (one == NULL) {
		return NULL;
	}
	memset(one, 0, sizeof *one);
	memcpy(one->path, path.p, path.n);
	one->fetch.path = slice_of(one->path, path.n);
	one->list_fetch.path = one->fetch.path;
	list_init(&one->fetch.link);
	list_init(&one->list_fetch.link);
	list_init(&one->link);
	list_push_back(&d->queue, &one->link);
	one->hash = hash;
	one->before = before;
	one->chain = *bucket(d, hash);
	*bucket(d, hash) = one;
	d->n++;
	d->bytes += weight(one);
	return one;
}

struct zk_dirty *zk_dirties_send(struct zk_dirties *d)
{
	struct list *l = list_pop_front(&d->queue);
	struct zk_dirty *one, **p;

	if (l == NULL) {
		return NULL;
	}
	one = dirty_of(l);
	for (p = bucket(d, one->hash); *p != one; p = &(*p)->chain) {
	}
	*p = one->chain;
	d->n--;
	d->n_sent++;
	list_push_back(&d->sent, l);
	return one;
}

void zk_dirties_done(struct zk_dirties *d, struct zk_dirty *one)
{
	list_remove(&one->link);
	d->n_sent--;
	d->bytes -= weight(one);
	kv_free(one);
}

uint64_t zk_dirties_limit(const struct zk_dirties *d, uint64_t none)
{
	uint64_t limit = none;

	if (!list_empty(&d->sent)) {
		limit = KV_MIN(limit, dirty_of(d->sent.next)->before);
	}
	if (!list_empty(&d->queue)) {
		limit = KV_MIN(limit, dirty_of(d->queue.next)->before);
	}
	return limit;
}
