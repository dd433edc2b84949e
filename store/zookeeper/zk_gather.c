/* zk_gather.c: see zk_gather.h. */
#include "store/zookeeper/zk_gather.h"

/* A batch ends at the first end of an index behind these. */
#define STAGE_CHANGES ((size_t)2048)
#define STAGE_BYTES ((size_t)1024 * 1024)
/* ... and inside an index where it would grow beyond this. */
#define BATCH_BYTES ((size_t)4 * 1024 * 1024)

/* ---- the heap ------------------------------------------------------------ */

static bool is_before(const struct zk_told *a, const struct zk_told *b)
{
	return a->index != b->index ? a->index < b->index : a->order < b->order;
}

static void sift_up(struct zk_gather *g, size_t i)
{
	struct zk_told *t = g->heap[i];

	while (i > 0 && is_before(t, g->heap[(i - 1) / 2])) {
		g->heap[i] = g->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	g->heap[i] = t;
}

static struct zk_told *pop(struct zk_gather *g)
{
	struct zk_told *first = g->heap[0], *t = g->heap[--g->n];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < g->n) {
		if (child + 1 < g->n &&
		    is_before(g->heap[child + 1], g->heap[child])) {
			child++;
		}
		if (!is_before(g->heap[child], t)) {
			break;
		}
		g->heap[i] = g->heap[child];
		i = child;
	}
	if (g->n > 0) {
		g->heap[i] = t;
	}
	return first;
}

static size_t weight(const struct zk_told *t)
{
	return sizeof *t + t->key.n + sizeof t;
}

static void drop_value(struct zk_gather *g, struct zk_told *t)
{
	if (t->value != NULL) {
		g->held -= t->value_n + t->attrs_n;
	}
	kv_free(t->value);
	t->value = NULL;
}

static void told_free(struct zk_gather *g, struct zk_told *t)
{
	drop_value(g, t);
	g->bytes -= weight(t);
	kv_free(t);
}

void zk_gather_free(struct zk_gather *g)
{
	size_t i;

	for (i = 0; i < g->n; i++) {
		told_free(g, g->heap[i]);
	}
	for (i = g->staged_pos; i < g->n_staged; i++) {
		told_free(g, g->staged[i]);
	}
	kv_free(g->heap);
	kv_free(g->staged);
	g->heap = g->staged = NULL;
	g->n = g->cap = g->n_staged = g->staged_pos = g->staged_cap = 0;
}

/* ---- finding ------------------------------------------------------------- */

static struct zk_told *add(struct zk_gather *g, struct slice key,
			   uint64_t index)
{
	void *items = g->heap;
	struct zk_told *t;

	if (!kv_grow(&items, &g->cap, g->n + 1, sizeof *g->heap)) {
		return NULL;
	}
	g->heap = items;
	t = kv_malloc(sizeof *t + key.n);
	if (t == NULL) {
		return NULL;
	}
	memset(t, 0, sizeof *t);
	memcpy(t->bytes, key.p, key.n);
	t->key = slice_of(t->bytes, key.n);
	t->index = index;
	t->order = g->order++;
	g->bytes += weight(t);
	g->heap[g->n++] = t;
	sift_up(g, g->n - 1);
	return t;
}

static bool keep(struct zk_gather *g, struct zk_told *t, struct slice value,
		 struct slice attrs)
{
	t->value = kv_malloc(value.n + attrs.n + 1);
	if (t->value == NULL) {
		return false;
	}
	if (value.n > 0) {
		memcpy(t->value, value.p, value.n);
	}
	if (attrs.n > 0) {
		memcpy(t->value + value.n, attrs.p, attrs.n);
	}
	t->value_n = value.n;
	t->attrs_n = attrs.n;
	g->held += value.n + attrs.n;
	return true;
}

struct zk_told *zk_gather_put(struct zk_gather *g, struct slice key,
			      struct slice value, struct slice attrs,
			      uint64_t index, struct store_version version)
{
	struct zk_told *t = add(g, key, index);

	if (t == NULL) {
		return NULL;
	}
	t->kind = ZK_TOLD_PUT;
	t->version = version;
	t->dropped = g->held + value.n + attrs.n > ZK_GATHER_HELD;
	t->value_n = value.n;
	return t->dropped || keep(g, t, value, attrs) ? t : NULL;
}

bool zk_gather_hidden(struct zk_gather *g, struct slice key, uint64_t index)
{
	struct zk_told *t = add(g, key, index);

	if (t == NULL) {
		return false;
	}
	t->kind = ZK_TOLD_HIDDEN;
	return true;
}

bool zk_gather_delete(struct zk_gather *g, struct slice key, uint64_t index,
		      bool inferred)
{
	struct zk_told *t = add(g, key, index);

	if (t == NULL) {
		return false;
	}
	t->kind = inferred ? ZK_TOLD_INFERRED : ZK_TOLD_DELETE;
	g->inferred += inferred;
	return true;
}

bool zk_gather_is_full(const struct zk_gather *g)
{
	return g->bytes > ZK_GATHER_BYTES;
}

/* ---- handing out --------------------------------------------------------- */

void zk_gather_unit(struct zk_gather *g, uint64_t end, uint64_t known)
{
	PRE(g->unit == 0 && end >= g->position);
	g->unit = end;
	g->known = KV_MAX(known, g->inferred);
	g->announced = g->inferred == 0;
}

bool zk_gather_stage(struct zk_gather *g, uint64_t limit)
{
	void *items = g->staged;
	size_t bytes = 0;

	if (g->staged_pos < g->n_staged) {
		return true;
	}
	g->n_staged = g->staged_pos = 0;
	while (g->n > 0 && g->heap[0]->index <= limit) {
		const struct zk_told *next = g->heap[0];

		if ((g->n_staged >= STAGE_CHANGES || bytes >= STAGE_BYTES) &&
		    next->index != g->staged[g->n_staged - 1]->index) {
			break;
		}
		if (bytes >= BATCH_BYTES) {
			break;
		}
		if (!kv_grow(&items, &g->staged_cap, g->n_staged + 1,
			     sizeof *g->staged)) {
			/* What is staged already is as good. */
			return g->n_staged > 0;
		}
		g->staged = items;
		bytes += next->key.n + next->value_n + next->attrs_n;
		g->staged[g->n_staged++] = pop(g);
	}
	return true;
}

bool zk_gather_fill(struct zk_gather *g, struct zk_told *t, struct slice value,
		    struct slice attrs)
{
	PRE(t->dropped && t->value == NULL);
	t->dropped = false;
	return keep(g, t, value, attrs);
}

bool zk_gather_set_attrs(struct zk_gather *g, struct zk_told *t,
			 struct slice attrs)
{
	uint8_t *old = t->value;
	size_t had = t->value_n + t->attrs_n;

	PRE(old != NULL);
	if (!keep(g, t, slice_of(old, t->value_n), attrs)) {
		t->value = old;
		return false;
	}
	g->held -= had;
	kv_free(old);
	return true;
}

static int add_change(struct store_batch *b, size_t *cap,
		      const struct zk_told *t)
{
	struct store_change *c =
	    store_batch_add(b, cap, t->key, slice_of(t->value, t->value_n));

	if (c == NULL ||
	    !store_attrs_set(
		&b->arena, &c->attrs,
		slice_of(t->value == NULL ? NULL : t->value + t->value_n,
			 t->attrs_n))) {
		return KV_NO_MEMORY;
	}
	c->action = t->kind == ZK_TOLD_PUT || t->kind == ZK_TOLD_HIDDEN
			? STORE_SET
			: STORE_DELETE;
	c->unreadable = t->kind == ZK_TOLD_HIDDEN;
	c->inferred = t->kind == ZK_TOLD_INFERRED;
	c->index = t->index;
	c->version = t->version;
	return KV_OK;
}

static bool must_announce(const struct zk_gather *g, const struct zk_told *t)
{
	return t->kind == ZK_TOLD_INFERRED && !g->announced && !t->skip;
}

/* The changes of the staged; *n: how many of them were looked at. */
static int fill_batch(const struct zk_gather *g, struct store_batch *b,
		      size_t *n)
{
	size_t i, cap = 0;

	for (i = g->staged_pos; i < g->n_staged; i++) {
		const struct zk_told *t = g->staged[i];

		PRE(t->skip || (!t->dropped && !t->lacks_acl));
		if (must_announce(g, t)) {
			b->relisted = true;
			b->inferred_deletes = g->inferred;
			b->known_keys = g->known;
			break;
		}
		if (!t->skip && add_change(b, &cap, t) != KV_OK) {
			return KV_NO_MEMORY;
		}
	}
	*n = i - g->staged_pos;
	return KV_OK;
}

/* The first one that was not handed out; NULL: none at or below limit. */
static const struct zk_told *rest(const struct zk_gather *g, size_t taken,
				  uint64_t limit)
{
	if (g->staged_pos + taken < g->n_staged) {
		return g->staged[g->staged_pos + taken];
	}
	return g->n > 0 && g->heap[0]->index <= limit ? g->heap[0] : NULL;
}

/* Where the batch's transactions end, and how far everything was told. */
static void set_ends(const struct zk_gather *g, struct store_batch *b,
		     const struct zk_told *next, uint64_t limit)
{
	uint64_t last = b->n > 0 ? b->changes[b->n - 1].index : 0;
	bool in_unit = g->unit != 0 && next != NULL && next->index <= g->unit;
	size_t i;

	b->index = g->position;
	b->partial = in_unit || (next != NULL && next->index == last);
	for (i = 0; i < b->n; i++) {
		const struct store_change *c = &b->changes[i];
		bool end = i + 1 < b->n ? c[1].index != c->index : !b->partial;
		bool unit = g->unit != 0 && c->index <= g->unit;

		/* A unit ends with its last change. */
		b->changes[i].tx_end =
		    unit ? !in_unit && (i + 1 == b->n || c[1].index > g->unit)
			 : end;
	}
	if (in_unit) {
		return;
	}
	if (next == NULL) {
		b->index = KV_MAX(b->index, limit);
	} else if (next->index > 0) {
		b->index = KV_MAX(b->index, next->index - 1);
		b->index = KV_MIN(b->index, limit);
	}
}

static void take(struct zk_gather *g, size_t n)
{
	while (n-- > 0) {
		told_free(g, g->staged[g->staged_pos++]);
	}
	if (g->staged_pos == g->n_staged) {
		g->staged_pos = g->n_staged = 0;
	}
}

int zk_gather_take(struct zk_gather *g, uint64_t limit,
		   struct store_batch **out)
{
	const struct zk_told *next;
	struct store_batch *b;
	size_t n;

	*out = NULL;
	if (g->staged_pos == g->n_staged) {
		g->position = KV_MAX(g->position, limit);
		if (g->unit != 0 && limit >= g->unit) {
			g->unit = 0;
		}
		return KV_OK;
	}
	b = store_batch_new();
	if (b == NULL || fill_batch(g, b, &n) != KV_OK) {
		store_batch_free(b);
		return KV_NO_MEMORY;
	}
	next = rest(g, n, limit);
	set_ends(g, b, next, limit);
	g->announced = g->announced || b->relisted;
	take(g, n);
	g->position = b->index;
	if (g->unit != 0 && (next == NULL || next->index > g->unit)) {
		g->unit = 0;
		g->inferred = 0;
	}
	*out = b;
	return KV_OK;
}
