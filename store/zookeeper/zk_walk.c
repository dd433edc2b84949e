/* zk_walk.c: see zk_walk.h.
 *
 *   NODE idle --asked--> known --> handed out
 *   LIST waits for its NODE --has children--> ready --asked--> RUN
 *                          `--none, gone----> freed
 *   RUN  the rest of a listing: NODE and LIST places are made from it, in
 *        front of it, as far as the window goes
 *
 * A LIST stands behind all names that begin with its own and go on with a byte
 * before '/'; until those are made it waits in the RUN.
 */
#include "store/zookeeper/zk_walk.h"

#include <stdlib.h>

/* Nodes from the front on that are made and asked for. */
#define WINDOW ((size_t)4096)
/* Data read ahead; more is asked for only at the front. */
#define AHEAD_BYTES ((size_t)12 * 1024 * 1024)
#define BATCH_BYTES ((size_t)256 * 1024)
#define BATCH_ITEMS ((size_t)256)
#define FIRST_ITEMS ((size_t)16)
#define FAST_FLYING ((size_t)2048)
#define FAST_BATCHES 8
#define GENERAL_ITEMS ((size_t)64)
#define GENERAL_FLYING ((size_t)256)
/* Of a reply, besides data and name. */
#define NODE_OVERHEAD ((size_t)96)
#define NAME_BYTES ((size_t)24)

enum kind { NODE, LIST, RUN };

struct place {
	struct list link;    /* in the walk, or waiting in a RUN */
	struct place *other; /* NODE: its LIST; LIST: its NODE, until known */
	enum kind kind;
	bool asked;
	bool known;
	bool hidden; /* NODE: must not be read; its Stat alone is asked for */
	uint32_t parts; /* answers to come */
	int64_t at;	/* what it stands for */
	size_t bytes;
	/* NODE */
	int error;
	struct zk_data data; /* owned */
	struct slice acl;    /* owned */
	size_t children;     /* LIST: how many there may be */
	/* RUN */
	struct list waiting; /* LISTs, the innermost first */
	uint8_t *blob;
	struct slice *names; /* in blob, sorted */
	size_t n_names;
	size_t pos;

	size_t path_n;
	uint8_t path[];
};

struct batch {
	struct zk_read read;
	struct list link;
	struct zk_walk *w;
	struct place **places; /* behind it */
};

struct zk_walk {
	struct zk_walk_params p;
	struct list places;
	struct list batches;
	size_t n_batches;
	size_t flying;	/* items */
	size_t nodes;	/* NODEs there are */
	size_t bytes;	/* data that waits */
	size_t listing; /* bytes of RUNs */
	int64_t low;
	struct sched_task task;
	bool told; /* moved() is due */
	struct kv_err err;
	struct zk_walk_node front;
	uint8_t *after;
	size_t after_n;
};

static int no_memory(struct zk_walk *w)
{
	return kv_fail(&w->err, KV_NO_MEMORY,
		       "zookeeper: no memory to walk the tree");
}

/* ---- places -------------------------------------------------------------- */

static struct slice path_of(const struct place *e)
{
	return slice_of(e->path, e->path_n);
}

/* dir + "/" + name; name n == 0: dir itself. */
static struct place *place_new(enum kind kind, struct slice dir,
			       struct slice name)
{
	size_t base = dir.n == 1 && name.n > 0 ? 0 : dir.n;
	size_t n = base + (name.n > 0 ? 1 + name.n : 0);
	struct place *e = kv_calloc(1, sizeof *e + n);

	if (e == NULL) {
		return NULL;
	}
	list_init(&e->link);
	list_init(&e->waiting);
	e->kind = kind;
	e->path_n = n;
	memcpy(e->path, dir.p, base);
	if (name.n > 0) {
		e->path[base] = '/';
		memcpy(e->path + base + 1, name.p, name.n);
	}
	return e;
}

static void place_free(struct zk_walk *w, struct place *e)
{
	struct list *l;

	while ((l = list_first(&e->waiting)) != NULL) {
		place_free(w, kv_container_of(l, struct place, link));
	}
	if (e->other != NULL) {
		e->other->other = NULL;
	}
	list_remove(&e->link);
	w->nodes -= e->kind == NODE;
	w->bytes -= e->kind == NODE ? e->bytes : 0;
	w->listing -= e->kind == RUN ? e->bytes : 0;
	kv_free((void *)(uintptr_t)e->data.data.p);
	kv_free((void *)(uintptr_t)e->acl.p);
	kv_free(e->names);
	kv_free(e->blob);
	kv_free(e);
}

static void put_before(struct place *at, struct place *e)
{
	list_remove(&e->link);
	list_push_back(&at->link, &e->link);
}

/* ---- from a listing to places -------------------------------------------- */

/* Does `name` stand between node `dir` and its subtree? */
static bool is_between(struct slice dir, struct slice name)
{
	return name.n > dir.n && slice_starts(name, dir) && name.p[dir.n] < '/';
}

/* LISTs whose place is before that path go there. */
static void release(struct place *run, const struct slice *path)
{
	struct list *l;
	struct place *e;

	while ((l = list_first(&run->waiting)) != NULL) {
		e = kv_container_of(l, struct place, link);
		if (path != NULL && is_between(path_of(e), *path)) {
			return;
		}
		put_before(run, e);
	}
}

static struct slice after_of(const struct zk_walk *w)
{
	return slice_of(w->after, w->after_n);
}

/* May there be something after `after` below that directory? */
static bool wants_below(const struct zk_walk *w, struct slice path)
{
	struct slice after = after_of(w);
	size_t n = KV_MIN(path.n, after.n);
	int cmp = n == 0 ? 0 : memcmp(path.p, after.p, n);

	if (cmp != 0 || after.n <= path.n) {
		return cmp >= 0;
	}
	return after.p[path.n] <= '/'; /* within it, or before it */
}

static bool wants_node(const struct zk_walk *w, struct slice path)
{
	return slice_cmp(path, after_of(w)) > 0;
}

/* The places of the next name of a RUN. False: no memory. */
static bool make_places(struct zk_walk *w, struct place *run)
{
	struct slice dir = path_of(run), path;
	struct place *list = place_new(LIST, dir, run->names[run->pos]);
	struct place *node;

	if (list == NULL) {
		return false;
	}
	path = path_of(list);
	if (dir.n == 1 && slice_eq(path, slice_str("/zookeeper"))) {
		place_free(w, list); /* the server's own */
		return true;
	}
	release(run, &path);
	if (wants_node(w, path)) {
		node = place_new(NODE, path, slice_of(NULL, 0));
		if (node == NULL) {
			place_free(w, list);
			return false;
		}
		node->at = run->at;
		node->other = list;
		list->other = node;
		w->nodes++;
		put_before(run, node);
	} else if (!wants_below(w, path)) {
		place_free(w, list);
		return true;
	}
	list_push_front(&run->waiting, &list->link);
	return true;
}

/* Makes up to n nodes. */
static bool unroll(struct zk_walk *w, struct place *run, size_t n)
{
	size_t from = w->nodes;

	while (run->pos < run->n_names && w->nodes - from < n) {
		if (!make_places(w, run)) {
			(void)no_memory(w);
			return false;
		}
		run->pos++;
	}
	if (run->pos == run->n_names) {
		release(run, NULL);
	}
	return true;
}

/* ---- what comes back ----------------------------------------------------- */

static bool own(struct slice *to, struct slice from)
{
	to->p = kv_memdup(from.p, from.n);
	to->n = from.n;
	return to->p != NULL;
}

static void drop_list(struct zk_walk *w, struct place *node)
{
	struct place *list = node->other;

	if (list != NULL) {
		place_free(w, list);
	}
}

/* Its LIST may be asked for, or is not needed. */
static void settle_list(struct zk_walk *w, struct place *node)
{
	if (node->other == NULL) {
		return;
	}
	if (node->error != ZK_OK || node->data.stat.num_children <= 0) {
		drop_list(w, node);
		return;
	}
	node->other->children = (size_t)node->data.stat.num_children;
	node->other->other = NULL;
	node->other = NULL;
}

static int take_data(struct zk_walk *w, struct place *e,
		     const struct zk_read_result *res)
{
	e->data = res->data;
	e->data.data = slice_of(NULL, 0);
	if (!own(&e->data.data, res->data.data)) {
		return no_memory(w);
	}
	e->bytes = res->data.data.n;
	w->bytes += e->bytes;
	return KV_OK;
}

static int take_node(struct zk_walk *w, struct place *e,
		     const struct zk_read_result *res, bool acl)
{
	int rv = KV_OK;

	e->at = e->at == 0 ? res->zxid : KV_MIN(e->at, res->zxid);
	if (res->error == ZK_NO_NODE || res->error == ZK_NO_AUTH) {
		e->error = res->error;
	} else if (e->hidden) {
		e->data.stat = res->data.stat;
	} else if (res->error != ZK_OK) {
		return zk_fail(&w->err, res->error, path_of(e));
	} else if (!acl) {
		rv = take_data(w, e, res);
	} else if (!own(&e->acl, res->raw)) {
		rv = no_memory(w);
	}
	if (rv != KV_OK || --e->parts > 0) {
		return rv;
	}
	if (e->error == ZK_NO_AUTH && !e->hidden) {
		e->hidden = true;
		e->asked = false;
	} else {
		e->known = true;
	}
	settle_list(w, e);
	return KV_OK;
}

static int compare_names(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static bool is_name(struct slice s)
{
	return s.n > 0 && memchr(s.p, '/', s.n) == NULL;
}

/* A LIST becomes a RUN. */
static int take_names(struct zk_walk *w, struct place *e,
		      const struct zk_read_result *res)
{
	struct jute_in in;
	size_t i;

	e->kind = RUN;
	e->at = res->zxid;
	e->asked = false;
	if (res->error == ZK_NO_NODE || res->n_names == 0) {
		return KV_OK;
	}
	e->blob = kv_memdup(res->raw.p, res->raw.n);
	e->names = kv_calloc(res->n_names, sizeof *e->names);
	if (e->blob == NULL || e->names == NULL) {
		return no_memory(w);
	}
	in = (struct jute_in){.p = e->blob, .n = res->raw.n};
	for (i = 0; i < res->n_names; i++) {
		e->names[i] = jute_get_bytes(&in, NULL);
		if (!is_name(e->names[i])) {
			return kv_fail(&w->err, KV_BROKEN,
				       "zookeeper: a list of children names "
				       "what cannot be one");
		}
	}
	e->n_names = res->n_names;
	e->bytes = res->raw.n + res->n_names * sizeof *e->names;
	w->listing += e->bytes;
	qsort(e->names, e->n_names, sizeof *e->names, compare_names);
	return KV_OK;
}

static int take_list(struct zk_walk *w, struct place *e,
		     const struct zk_read_result *res)
{
	if (res->error == ZK_NO_AUTH && w->places.next != &e->link) {
		/* Closed since its node was read: another walk sees it so. */
		return kv_fail(&w->err, KV_NOT_REACHABLE,
			       "zookeeper: the tree changed under the walk");
	}
	if (res->error != ZK_OK && res->error != ZK_NO_NODE) {
		return zk_fail(&w->err, res->error, path_of(e));
	}
	return take_names(w, e, res);
}

static void learn_size(struct zk_reader *r, size_t bytes, size_t n)
{
	size_t now = bytes / n;

	r->node_size = KV_MAX(now, r->node_size - r->node_size / 4);
}

static void item_cb(struct zk_read *read, size_t i,
		    const struct zk_read_result *res)
{
	struct batch *b = kv_container_of(read, struct batch, read);
	struct zk_walk *w = b->w;
	struct place *e = b->places[i];
	bool acl = i > 0 && b->places[i] == b->places[i - 1];

	w->flying--;
	if (w->err.status != KV_OK) {
		return;
	}
	if (e->kind == LIST) {
		(void)take_list(w, e, res);
	} else {
		(void)take_node(w, e, res, acl);
	}
}

static void tell_later(struct zk_walk *w)
{
	w->told = true;
	sched_post(w->p.sched, &w->task);
}

static void done_cb(struct zk_read *read)
{
	struct batch *b = kv_container_of(read, struct batch, read);
	struct zk_walk *w = b->w;

	if (read->err.status != KV_OK) {
		if (w->err.status == KV_OK) {
			w->err = read->err;
		}
	} else if (read->bytes > 0) {
		learn_size(w->p.reader, read->bytes, read->n);
	}
	list_remove(&b->link);
	w->n_batches--;
	kv_free(b);
	tell_later(w);
}

/* ---- what is asked ------------------------------------------------------- */

/* A batch being put together. */
struct filling {
	struct place **places;
	size_t n;
	size_t cap;   /* at most */
	size_t bytes; /* expected */
};

static size_t most_flying(const struct zk_walk *w)
{
	return w->p.reader->fast ? FAST_FLYING : GENERAL_FLYING;
}

static size_t batch_cap(const struct zk_walk *w)
{
	const struct zk_reader *r = w->p.reader;

	if (r->node_size == 0) {
		return FIRST_ITEMS;
	}
	return r->fast ? BATCH_ITEMS : GENERAL_ITEMS;
}

/* Of request and answer: a request has its limit, too. */
static size_t expected_bytes(const struct zk_walk *w, const struct place *e)
{
	size_t own =
	    e->kind == LIST ? e->children * NAME_BYTES : w->p.reader->node_size;

	return NODE_OVERHEAD + e->path_n + own;
}

static void fill_items(const struct zk_walk *w, struct batch *b,
		       struct zk_read_item *items, const struct filling *f)
{
	size_t i, n = 0;

	for (i = 0; i < f->n; i++) {
		struct place *e = f->places[i];
		bool node = e->kind == NODE;

		b->places[n] = e;
		items[n].op = !node	  ? ZK_OP_GET_CHILDREN
			      : e->hidden ? ZK_OP_EXISTS
					  : ZK_OP_GET_DATA;
		items[n++].path = path_of(e);
		e->asked = true;
		e->parts = 1;
		if (node && w->p.acls && !e->hidden) {
			b->places[n] = e;
			items[n].op = ZK_OP_GET_ACL;
			items[n++].path = path_of(e);
			e->parts = 2;
		}
	}
	b->read.n = n;
}

/* Sends what was put together. False: no memory. */
static bool send_batch(struct zk_walk *w, struct filling *f)
{
	size_t most = f->n * (w->p.acls ? 2 : 1);
	struct zk_read_item *items;
	struct batch *b;

	if (f->n == 0) {
		return true;
	}
	b = kv_calloc(1, sizeof *b + most * sizeof(struct place *));
	items = kv_calloc(most, sizeof *items);
	if (b == NULL || items == NULL) {
		kv_free(b);
		kv_free(items);
		(void)no_memory(w);
		return false;
	}
	b->w = w;
	b->places = (struct place **)(void *)(b + 1);
	fill_items(w, b, items, f);
	b->read.items = items;
	b->read.item = item_cb;
	b->read.done = done_cb;
	list_init(&b->link);
	list_push_back(&w->batches, &b->link);
	w->n_batches++;
	w->flying += b->read.n;
	w->p.reader->start(w->p.reader, &b->read);
	kv_free(items);
	f->n = f->bytes = 0;
	return true;
}

/* To be asked for? A LIST only when its node has children. */
static bool is_due(const struct place *e)
{
	return !e->asked && !e->known &&
	       (e->kind == NODE || (e->kind == LIST && e->other == NULL));
}

static bool may_ask(const struct zk_walk *w, const struct filling *f)
{
	if (w->flying + f->n >= most_flying(w) ||
	    (w->p.reader->fast && w->n_batches >= FAST_BATCHES)) {
		return false;
	}
	return w->bytes + w->flying * w->p.reader->node_size + f->bytes <
		   AHEAD_BYTES ||
	       (w->flying == 0 && f->bytes < BATCH_BYTES);
}

/* Adds a place; sends when it is full. */
static bool add_place(struct zk_walk *w, struct filling *f, struct place *e)
{
	size_t bytes = expected_bytes(w, e);

	if (f->n == f->cap || (f->n > 0 && f->bytes + bytes > BATCH_BYTES)) {
		if (!send_batch(w, f)) {
			return false;
		}
	}
	f->places[f->n++] = e;
	f->bytes += bytes;
	return true;
}

/* From the front on: asks for what is due, makes places. */
static bool scan_places(struct zk_walk *w, struct filling *f)
{
	struct list *l = w->places.next, *before;
	size_t nodes = 0;

	while (l != &w->places && nodes < WINDOW) {
		struct place *e = kv_container_of(l, struct place, link);

		if (e->kind == RUN && e->pos < e->n_names) {
			before = l->prev;
			if (!unroll(w, e, WINDOW - nodes)) {
				return false;
			}
			l = before->next; /* what was made */
			continue;
		}
		if (is_due(e)) {
			if (!may_ask(w, f)) {
				return true;
			}
			if (!add_place(w, f, e)) {
				return false;
			}
		}
		nodes += e->kind == NODE;
		l = l->next;
	}
	return true;
}

void zk_walk_go(struct zk_walk *w)
{
	struct place *places[BATCH_ITEMS];
	struct filling f = {.places = places, .cap = batch_cap(w)};

	/* Not for a few places. */
	if (w->err.status != KV_OK || w->flying > most_flying(w) * 3 / 4) {
		return;
	}
	if (!scan_places(w, &f) || !send_batch(w, &f)) {
		tell_later(w);
	}
}

static void task_cb(struct sched_task *task)
{
	struct zk_walk *w = kv_container_of(task, struct zk_walk, task);
	bool told = w->told;

	w->told = false;
	zk_walk_go(w);
	if (told && w->p.moved != NULL) {
		w->p.moved(w);
	}
}

/* ---- the front ----------------------------------------------------------- */

static void note_low(struct zk_walk *w, int64_t at)
{
	w->low = w->low == 0 ? at : KV_MIN(w->low, at);
}

/* Lets go of listings that are used up. */
static struct place *front(struct zk_walk *w)
{
	struct list *l;
	struct place *e;

	while ((l = list_first(&w->places)) != NULL) {
		e = kv_container_of(l, struct place, link);
		if (e->kind != RUN || e->pos < e->n_names) {
			return e;
		}
		note_low(w, e->at);
		place_free(w, e);
	}
	return NULL;
}

const struct zk_walk_node *zk_walk_front(struct zk_walk *w)
{
	struct place *e = front(w);

	if (e == NULL || e->kind != NODE || !e->known ||
	    w->err.status != KV_OK) {
		return NULL;
	}
	w->front.path = path_of(e);
	w->front.error = e->error;
	w->front.data = e->data;
	w->front.acl = e->acl;
	return &w->front;
}

void zk_walk_pop(struct zk_walk *w)
{
	struct place *e = front(w);

	PRE(e != NULL && e->kind == NODE && e->known);
	note_low(w, e->at);
	place_free(w, e);
}

bool zk_walk_is_done(struct zk_walk *w)
{
	return front(w) == NULL;
}

const struct kv_err *zk_walk_err(const struct zk_walk *w)
{
	return &w->err;
}

int64_t zk_walk_low(struct zk_walk *w)
{
	int64_t low = w->low;

	w->low = 0;
	return low;
}

void zk_walk_give(struct zk_walk *w, void (*moved)(struct zk_walk *w),
		  void *data)
{
	w->p.moved = moved;
	w->p.data = data;
}

void *zk_walk_data(const struct zk_walk *w)
{
	return w->p.data;
}

size_t zk_walk_bytes(const struct zk_walk *w)
{
	return w->listing + w->bytes + w->nodes * 2 * sizeof(struct place);
}

/* ---- beginning and end --------------------------------------------------- */

static bool add_first(struct zk_walk *w, enum kind kind, struct slice path)
{
	struct place *e = place_new(kind, path, slice_of(NULL, 0));

	if (e == NULL) {
		return false;
	}
	w->nodes += kind == NODE;
	list_push_back(&w->places, &e->link);
	return true;
}

static bool fill_first(struct zk_walk *w, const struct zk_walk_params *p)
{
	bool ok = true;
	size_t i;

	w->after = kv_memdup(p->after.p, p->after.n);
	w->after_n = p->after.n;
	if (w->after == NULL) {
		return false;
	}
	if (p->n_paths == 0) {
		return add_first(w, LIST, p->dir);
	}
	for (i = 0; i < p->n_paths && ok; i++) {
		ok = add_first(w, NODE, p->paths[i]);
	}
	return ok;
}

struct zk_walk *zk_walk_open(const struct zk_walk_params *p)
{
	struct zk_walk *w = kv_calloc(1, sizeof *w);

	if (w == NULL) {
		return NULL;
	}
	w->p = *p;
	list_init(&w->places);
	list_init(&w->batches);
	w->task.run = task_cb;
	if (!fill_first(w, p)) {
		zk_walk_free(w);
		return NULL;
	}
	return w;
}

void zk_walk_free(struct zk_walk *w)
{
	struct list *l;

	if (w == NULL) {
		return;
	}
	sched_unpost(&w->task);
	while ((l = list_pop_front(&w->batches)) != NULL) {
		struct batch *b = kv_container_of(l, struct batch, link);

		w->p.reader->cancel(w->p.reader, &b->read);
		kv_free(b);
	}
	while ((l = list_first(&w->places)) != NULL) {
		place_free(w, kv_container_of(l, struct place, link));
	}
	kv_free(w->after);
	kv_free(w);
}
