/* etcd_events.c: see etcd_events.h. */
#include "store/etcd/etcd_events.h"

/* A batch ends at the first end of a revision behind these... */
#define SOFT_CHANGES ((size_t)5000)
#define SOFT_BYTES ((size_t)1024 * 1024)
/* ... and inside a revision where it would grow beyond this. */
#define HARD_BYTES ((size_t)8 * 1024 * 1024)

struct message {
	struct list link;
	struct arena arena;
	Etcdserverpb__Event **events;
	size_t n;
	size_t next; /* the first one not handed out */
	size_t size;
	uint64_t mark; /* no events: everything up to it has come */
	bool lent;     /* its arena is the batch's */
};

static struct message *message_of(struct list *l)
{
	return kv_container_of(l, struct message, link);
}

static uint64_t revision_of(const Etcdserverpb__Event *ev)
{
	return (uint64_t)ev->kv->mod_revision;
}

void etcd_events_init(struct etcd_events *e, const struct etcd_keys *keys,
		      uint64_t position)
{
	memset(e, 0, sizeof *e);
	e->keys = keys;
	e->position = e->told = position;
	list_init(&e->messages);
}

static void drop(struct etcd_events *e, struct message *m)
{
	e->bytes -= m->size;
	list_remove(&m->link);
	arena_free(&m->arena);
	kv_free(m);
}

void etcd_events_free(struct etcd_events *e)
{
	struct list *l;

	while ((l = list_first(&e->messages)) != NULL) {
		drop(e, message_of(l));
	}
}

static struct message *append(struct etcd_events *e)
{
	struct message *m = kv_calloc(1, sizeof *m);

	if (m != NULL) {
		list_init(&m->link);
		list_push_back(&e->messages, &m->link);
	}
	return m;
}

static bool is_sound(const Etcdserverpb__WatchResponse *m)
{
	uint64_t last = 0;
	size_t i;

	for (i = 0; i < m->n_events; i++) {
		const Etcdserverpb__Event *ev = m->events[i];

		if (ev->kv == NULL || ev->kv->key.len == 0 ||
		    ev->kv->mod_revision <= 0 || revision_of(ev) < last) {
			return false;
		}
		last = revision_of(ev);
	}
	return true;
}

int etcd_events_add(struct etcd_events *e, Etcdserverpb__WatchResponse *r,
		    struct arena *arena, struct kv_err *err)
{
	struct message *m;

	PRE(r->n_events > 0);
	if (!is_sound(r)) {
		arena_free(arena);
		return kv_fail(err, KV_BROKEN,
			       "etcd: a watch's events are out of order");
	}
	m = append(e);
	if (m == NULL) {
		arena_free(arena);
		return kv_fail(err, KV_NO_MEMORY, "etcd: no memory for events");
	}
	m->arena = *arena;
	memset(arena, 0, sizeof *arena);
	m->events = r->events;
	m->n = r->n_events;
	m->size = m->arena.total;
	e->bytes += m->size;
	e->open = r->fragment ? revision_of(r->events[r->n_events - 1]) : 0;
	return KV_OK;
}

int etcd_events_mark(struct etcd_events *e, uint64_t revision)
{
	struct message *m =
	    list_empty(&e->messages) ? NULL : message_of(e->messages.prev);

	if (m == NULL || m->n > 0) {
		m = append(e);
	}
	if (m == NULL) {
		return KV_NO_MEMORY;
	}
	m->mark = KV_MAX(m->mark, revision);
	return KV_OK;
}

/* ---- handing out --------------------------------------------------------- */

struct taker {
	struct etcd_events *e;
	struct store_batch *b;
	size_t cap;
	size_t bytes;
	uint64_t revision; /* of the last change taken */
	bool force;
};

/* The event behind the first one of message m, if it is here. */
static const Etcdserverpb__Event *second(const struct etcd_events *e,
					 const struct message *m)
{
	const struct list *l;

	if (m->next + 1 < m->n) {
		return m->events[m->next + 1];
	}
	for (l = m->link.next; l != &e->messages; l = l->next) {
		m = kv_container_of(l, const struct message, link);
		if (m->n > 0) {
			return m->events[0];
		}
	}
	return NULL;
}

static struct store_change *push(struct taker *t)
{
	struct store_batch *b = t->b;
	size_t cap = t->cap == 0 ? 16 : t->cap * 2;
	struct store_change *more;

	if (b->n == t->cap) {
		more = arena_alloc(&b->arena, cap * sizeof *more);
		if (more == NULL) {
			return NULL;
		}
		if (b->n > 0) {
			memcpy(more, b->changes, b->n * sizeof *more);
		}
		b->changes = more;
		t->cap = cap;
	}
	memset(&b->changes[b->n], 0, sizeof *b->changes);
	return &b->changes[b->n++];
}

/* The message's memory becomes the batch's, so that its bytes need no copy:
 * where the batch is empty and will surely take the whole message. */
static void maybe_borrow(struct taker *t, struct message *m)
{
	if (t->b->n == 0 && t->cap == 0 && m->next == 0 && t->e->open == 0 &&
	    m->n <= SOFT_CHANGES && m->size <= SOFT_BYTES &&
	    t->b->arena.blocks == NULL) {
		t->b->arena = m->arena;
		memset(&m->arena, 0, sizeof m->arena);
		m->lent = true;
	}
}

static bool keep(struct taker *t, const struct message *m, struct slice *s)
{
	if (m->lent) {
		return true;
	}
	*s = slice_dup(&t->b->arena, *s);
	return s->p != NULL;
}

/* Keeps count of the keys that there are. */
static void count(struct etcd_events *e, const Etcdserverpb__Event *ev)
{
	if (ev->type == ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE) {
		e->count--;
	} else if (ev->kv->create_revision == ev->kv->mod_revision) {
		e->count++;
	}
}

static int take_event(struct taker *t, const struct message *m,
		      const Etcdserverpb__Event *ev, bool last)
{
	const Etcdserverpb__KeyValue *kv = ev->kv;
	struct store_change *c;
	struct slice key = etcd_keys_relative(t->e->keys, &t->b->arena,
					      kv->key.data, kv->key.len);
	struct slice value = slice_of(kv->value.data, kv->value.len);

	count(t->e, ev);
	if (key.n == 0) {
		return KV_OK; /* not in the tree */
	}
	if (key.p == NULL || !keep(t, m, &key) || !keep(t, m, &value)) {
		return KV_NO_MEMORY;
	}
	c = push(t);
	if (c == NULL) {
		return KV_NO_MEMORY;
	}
	c->key = key;
	c->index = revision_of(ev);
	c->tx_end = last;
	if (ev->type == ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE) {
		c->action = STORE_DELETE;
	} else {
		c->action = kv->create_revision == kv->mod_revision
				? STORE_SET
				: STORE_UPDATE;
		c->value = value;
		c->version.a = c->index;
	}
	t->bytes += sizeof *c + kv->key.len + kv->value.len;
	return KV_OK;
}

/* Is the batch full, before an event of that revision? */
static bool is_full(const struct taker *t, uint64_t revision)
{
	if (t->b->n == 0) {
		return false;
	}
	if (t->bytes >= HARD_BYTES) {
		return true;
	}
	return revision != t->revision &&
	       (t->b->n >= SOFT_CHANGES || t->bytes >= SOFT_BYTES);
}

/* One step: KV_OK with *stop unset when something was taken or dropped. */
static int step(struct taker *t, struct message *m, bool *stop)
{
	struct etcd_events *e = t->e;
	const Etcdserverpb__Event *ev, *after;
	uint64_t revision;
	bool last;
	int rv;

	if (m->next == m->n) {
		e->position = KV_MAX(e->position, m->mark);
		drop(e, m);
		return KV_OK;
	}
	ev = m->events[m->next];
	revision = revision_of(ev);
	if (revision <= e->position) {
		m->next++; /* told before */
		return KV_OK;
	}
	after = second(e, m);
	last = after != NULL ? revision_of(after) != revision
			     : revision != e->open;
	/* Of a revision that goes on, its last event here stays, so that the
	 * one that ends the transaction can always be told. */
	*stop =
	    is_full(t, revision) ||
	    (revision == e->open && (!t->force || (after == NULL && !last)));
	if (*stop) {
		return KV_OK;
	}
	maybe_borrow(t, m);
	rv = take_event(t, m, ev, last);
	m->next++;
	t->revision = revision;
	t->b->partial = !last;
	if (last) {
		e->position = revision;
	}
	return rv;
}

int etcd_events_take(struct etcd_events *e, bool force,
		     struct store_batch **out)
{
	struct taker t = {.e = e, .force = force};
	struct list *l;
	bool stop = false;
	int rv = KV_OK;

	*out = NULL;
	if (list_empty(&e->messages)) {
		return KV_OK;
	}
	t.b = store_batch_new();
	if (t.b == NULL) {
		return KV_NO_MEMORY;
	}
	while (rv == KV_OK && !stop && (l = list_first(&e->messages)) != NULL) {
		rv = step(&t, message_of(l), &stop);
	}
	if (rv != KV_OK || (t.b->n == 0 && e->position == e->told)) {
		store_batch_free(t.b);
		return rv;
	}
	t.b->index = e->told = e->position;
	*out = t.b;
	return KV_OK;
}
