/* zk_general.c: changes by one-shot watches on every znode, for any server.
 *
 *   arm: getChildren2 and getData, both leaving a watch --> table
 *   event --> dirty --(a pull)--> the same reads, which arm again --> told
 *
 *   CHANGED  the data                 DELETED  both watches are gone: out of
 *   CHILD    children came or went             the table at once, so that a
 *   CREATED  the root came                     listing shows it as a new one
 *
 * Why nothing is missed: a read and the watch it leaves are one step at the
 * server, so what happens after the read fires. A watch that has fired is
 * silent, and its znode dirty, until it is read again. The children are read
 * before the data: what makes a key of a leaf after the data was read fires the
 * watch on the children. A dirty directory waits for all the new znodes that
 * its listing told of, as these may be as old as its first event. (What no
 * listing has seen, as it came and went between two, is not told.)
 *
 * All this stands on one connection of our own, and is lost with it: the next
 * watch begins anew. To resume, the known keys are asked for by SetWatches in
 * chunks of at most 128 KB (zk_diff.c): however many watches there are, no
 * request is ever larger than a server takes. (A client that sends the watches
 * of a handle in one SetWatches, as the C library does on each reconnect, is
 * thrown out by the server once they are more than 1 MB, again and again: such
 * a handle never recovers.)
 *
 * Memory: see zk_table.h.
 */
#include "store/zookeeper/zk_general.h"

#define READS_MOST ((size_t)512)
/* A directory that changes all the time is not listed all the time: its watch
 * is silent meanwhile, and one listing shows all of it. */
#define LARGE_DIR 1000
#define LARGE_MS ((uint64_t)20)

static bool look(struct zk_watch *zw, struct zk_dirty *one);

/* ---- dirty ones ---------------------------------------------------------- */

/* While watches are set, nothing is sure but what was told before. */
static uint64_t before_now(const struct zk_watch *zw)
{
	return zw->phase == ZK_WATCH_ARMING
		   ? zw->w->after
		   : (uint64_t)zk_conn_zxid(zw->zk->session.conn);
}

struct zk_dirty *zk_general_touch(struct zk_watch *zw, struct slice path)
{
	struct zk_dirty *one =
	    zk_dirties_get(&zw->dirties, path, before_now(zw));

	if (one == NULL) {
		zk_watch_no_memory(zw);
	}
	return one;
}

/* One key is armed by its first read. */
void zk_general_armed(struct zk_watch *zw)
{
	uint64_t zxid = (uint64_t)zk_conn_zxid(zw->zk->session.conn);

	zk_watch_armed(zw, zxid, NULL);
}

/* One thing less that it waits for; those that waited for it go on. */
static void part_done(struct zk_watch *zw, struct zk_dirty *one)
{
	while (one != NULL && --one->parts == 0) {
		struct zk_dirty *holder = one->holder;
		bool all = one == zw->general->first;

		zk_dirties_done(&zw->dirties, one);
		if (all) {
			zw->general->first = NULL;
			zk_general_armed(zw);
			if (zw->phase == ZK_WATCH_ENDED) {
				return;
			}
		}
		one = holder;
	}
	if (zw->phase == ZK_WATCH_ARMING) {
		zk_general_pump(zw);
	}
	if (zw->phase != ZK_WATCH_ENDED) {
		zk_watch_later(zw);
	}
}

/* ---- what was seen ------------------------------------------------------- */

/* Changes at or below it are not told. */
static uint64_t told_before(const struct zk_watch *zw)
{
	if (zw->w->after != 0) {
		return zw->w->after;
	}
	return zw->phase == ZK_WATCH_ARMING ? UINT64_MAX : zw->base;
}

/* Found while the past is looked at: concluded from absence. */
static bool is_past(const struct zk_watch *zw, const struct zk_dirty *one)
{
	return zw->w->after != 0 && one->before < zw->base &&
	       zw->phase != ZK_WATCH_LIVE;
}

static void tell_gone(struct zk_watch *zw, const struct zk_dirty *one,
		      struct slice key, uint64_t index, bool was_key)
{
	if (is_past(zw, one)) {
		if (zw->phase == ZK_WATCH_RESUMING) {
			index = zw->base;
		}
		if (was_key && index > zw->w->after) {
			(void)zk_watch_delete(zw, key, index, true);
		}
	} else if (index > told_before(zw)) {
		(void)zk_watch_delete(zw, key, index, false);
	}
}

/* Has it been without children since it was seen last? */
static bool was_leaf(const struct zk_node *n, const struct zk_stat *s)
{
	int32_t both = s->cversion - n->cversion;
	int32_t more = s->num_children - n->children;

	return !zk_watch_born_dir(s) &&
	       (n->unseen || (both - more) / 2 >= n->children);
}

static void note(struct zk_node *n, const struct zk *zk,
		 const struct zk_data *d)
{
	n->is_key = zk_is_key(zk, d);
	n->is_null = d->null;
	n->index = n->is_key ? zk_index(zk, d) : 0;
	n->cversion = d->stat.cversion;
	n->children = d->stat.num_children;
	n->unseen = false;
}

static void settle(struct zk_watch *zw, const struct zk_dirty *one,
		   struct zk_node *n, const struct zk_data *d)
{
	struct slice key = zk_watch_key(zw, one->fetch.path);
	bool by_kids = d->null || zw->zk->data == ZK_DATA_LEAVES;
	bool was_key = n->is_key || one->was_key;
	bool may_be = was_key || one->changed || one->deleted ||
		      (by_kids && was_leaf(n, &d->stat));
	uint64_t had = n->index;

	note(n, zw->zk, d);
	if (key.n == 0) {
		return;
	}
	if (n->is_key) {
		if (n->index != had && n->index > told_before(zw)) {
			(void)zk_watch_put(zw, key, d, n->index);
		}
	} else if (may_be) {
		tell_gone(zw, one, key,
			  (uint64_t)KV_MAX(d->stat.mzxid, d->stat.pzxid),
			  was_key);
	}
}

/* The node of a path, made when the one above it is there. *ok: false: no
 * memory. */
static struct zk_node *node_at(struct zk_watch *zw, struct slice path, bool *ok)
{
	struct zk_table *t = &zw->general->table;
	struct zk_node *n = zk_table_find(t, path);
	struct zk_node *parent = NULL;

	*ok = true;
	if (n != NULL) {
		return n;
	}
	if (!slice_eq(path, zw->root)) {
		parent = zk_table_find(t, zk_table_above(path));
		if (parent == NULL) {
			return NULL; /* it is listed anew when that is */
		}
	}
	n = zk_table_add(t, parent, path);
	*ok = n != NULL;
	return n;
}

static void drop_node(struct zk_watch *zw, struct zk_dirty *one)
{
	struct zk_node *n = zk_table_find(&zw->general->table, one->fetch.path);

	if (n != NULL) {
		one->was_key = one->was_key || n->is_key;
		zk_table_remove(&zw->general->table, n);
	}
}

/* ---- answers ------------------------------------------------------------- */

static void failed(struct zk_watch *zw, int error, struct slice path)
{
	struct kv_err err;

	(void)zk_fail(&err, error, path);
	zk_watch_fail(zw, &err);
}

static void waiting_cb(struct zk_fetch *f, const struct zk_fetched *r)
{
	struct zk_dirty *one = kv_container_of(f, struct zk_dirty, fetch);
	struct zk_watch *zw = one->owner;

	zw->general->reads--;
	if (r->error == ZK_OK) {
		/* It came meanwhile. */
		(void)look(zw, one);
		part_done(zw, one);
	} else if (r->error == ZK_NO_NODE) {
		if (zw->phase == ZK_WATCH_ARMING && zw->single) {
			zk_general_armed(zw);
		}
		if (zw->phase != ZK_WATCH_ENDED) {
			part_done(zw, one);
		}
	} else {
		failed(zw, r->error, f->path);
	}
}

/* The root is waited for: nobody lists it. */
static void wait_for_root(struct zk_watch *zw, struct zk_dirty *one)
{
	one->fetch.op = ZK_OP_EXISTS;
	one->fetch.watch = true;
	one->fetch.done = waiting_cb;
	zw->general->reads++;
	zk_fetch_add(&zw->fetcher, &one->fetch);
	zk_fetcher_pump(&zw->fetcher);
}

static void see_gone(struct zk_watch *zw, struct zk_dirty *one, uint64_t zxid)
{
	struct slice key = zk_watch_key(zw, one->fetch.path);

	drop_node(zw, one);
	if (key.n > 0) {
		tell_gone(zw, one, key, zxid, one->was_key);
	}
	if (zw->phase == ZK_WATCH_ENDED) {
		return;
	}
	if (slice_eq(one->fetch.path, zw->root)) {
		wait_for_root(zw, one);
	} else {
		part_done(zw, one);
	}
}

static void see_data(struct zk_watch *zw, struct zk_dirty *one,
		     const struct zk_fetched *r)
{
	bool ok;
	struct zk_node *n = node_at(zw, one->fetch.path, &ok);

	if (!ok) {
		zk_watch_no_memory(zw);
		return;
	}
	if (zw->phase == ZK_WATCH_ARMING && zw->single) {
		note(n, zw->zk, &r->data);
		zk_watch_armed(zw, r->zxid, n->is_key ? &r->data : NULL);
	} else if (n != NULL) {
		settle(zw, one, n, &r->data);
	}
	if (zw->phase != ZK_WATCH_ENDED) {
		part_done(zw, one);
	}
}

/* It must not be read, and is silent; its Stat can be had. */
static void hidden_cb(struct zk_fetch *f, const struct zk_fetched *r)
{
	struct zk_dirty *one = kv_container_of(f, struct zk_dirty, fetch);
	struct zk_watch *zw = one->owner;
	struct slice key = zk_watch_key(zw, f->path);
	const struct zk_stat *s = &r->data.stat;
	struct zk_node *n;
	bool ok;

	zw->general->reads--;
	if (r->error == ZK_NO_NODE) {
		see_gone(zw, one, r->zxid);
		return;
	}
	if (r->error != ZK_OK) {
		failed(zw, r->error, f->path);
		return;
	}
	n = node_at(zw, f->path, &ok);
	if (!ok) {
		zk_watch_no_memory(zw);
		return;
	}
	if (n != NULL && key.n > 0 &&
	    !(zw->zk->skip_ephemerals && s->ephemeral_owner != 0)) {
		uint64_t had = n->index;

		n->is_key = true;
		n->index = zk_hidden_index(s);
		if (n->index != had && n->index > told_before(zw)) {
			(void)zk_watch_hidden(zw, key, n->index);
		}
	}
	if (zw->phase != ZK_WATCH_ENDED) {
		part_done(zw, one);
	}
}

static void look_at_hidden(struct zk_watch *zw, struct zk_dirty *one)
{
	one->fetch.op = ZK_OP_EXISTS;
	one->fetch.watch = false;
	one->fetch.done = hidden_cb;
	zw->general->reads++;
	zk_fetch_add(&zw->fetcher, &one->fetch);
	zk_fetcher_pump(&zw->fetcher);
}

static void data_cb(struct zk_fetch *f, const struct zk_fetched *r)
{
	struct zk_dirty *one = kv_container_of(f, struct zk_dirty, fetch);
	struct zk_watch *zw = one->owner;

	zw->general->reads--;
	switch (r->error) {
	case ZK_OK:
		see_data(zw, one, r);
		break;
	case ZK_NO_NODE:
		see_gone(zw, one, r->zxid);
		break;
	case ZK_NO_AUTH:
		if (zw->single) {
			failed(zw, r->error, f->path);
			break;
		}
		look_at_hidden(zw, one);
		break;
	default:
		failed(zw, r->error, f->path);
	}
}

/* ---- listings ------------------------------------------------------------ */

/* A child that has no watch is armed; its directory waits for it. */
static bool see_name(struct zk_watch *zw, struct zk_dirty *dir,
		     struct slice name)
{
	struct slice at = dir->fetch.path;
	size_t base = at.n == 1 ? 0 : at.n;
	struct zk_dirty *one;
	struct slice path;
	uint8_t *p;

	arena_reset(&zw->scratch);
	p = arena_alloc(&zw->scratch, base + 1 + name.n);
	if (p == NULL) {
		zk_watch_no_memory(zw);
		return false;
	}
	memcpy(p, at.p, base);
	p[base] = '/';
	memcpy(p + base + 1, name.p, name.n);
	path = slice_of(p, base + 1 + name.n);
	if (zk_watch_key(zw, path).n == 0 ||
	    zk_table_find(&zw->general->table, path) != NULL) {
		return true;
	}
	one = zk_dirties_find(&zw->dirties, path);
	if (one == NULL) {
		one = zk_general_touch(zw, path);
		if (one == NULL) {
			return false;
		}
		one->holder = dir;
		dir->parts++;
		if (zw->phase == ZK_WATCH_ARMING) {
			/* Down first: less waits. All are as old then. */
			list_remove(&one->link);
			list_push_front(&zw->dirties.queue, &one->link);
		}
	}
	one->fresh = true;
	return true;
}

static void list_cb(struct zk_fetch *f, const struct zk_fetched *r)
{
	struct zk_dirty *one = kv_container_of(f, struct zk_dirty, list_fetch);
	struct zk_watch *zw = one->owner;
	struct jute_in in = r->names;
	size_t n;

	zw->general->reads--;
	if (r->error == ZK_OK && !zw->single) {
		n = jute_get_count(&in, 4);
		while (n-- > 0) {
			if (!see_name(zw, one, jute_get_bytes(&in, NULL))) {
				return;
			}
		}
	} else if (r->error != ZK_OK && r->error != ZK_NO_NODE &&
		   r->error != ZK_NO_AUTH) {
		failed(zw, r->error, f->path);
		return;
	}
	part_done(zw, one);
}

/* ---- looking ------------------------------------------------------------- */

static void read_with_watch(struct zk_watch *zw, struct zk_dirty *one,
			    struct zk_fetch *f, enum zk_op op,
			    void (*done)(struct zk_fetch *f,
					 const struct zk_fetched *r))
{
	f->op = op;
	f->watch = true;
	f->done = done;
	one->parts++;
	zw->general->reads++;
	zk_fetch_add(&zw->fetcher, f);
}

/* Reads what is due of it. False: nothing was. */
static bool look(struct zk_watch *zw, struct zk_dirty *one)
{
	const struct zk_node *n =
	    zk_table_find(&zw->general->table, one->fetch.path);
	bool fresh = one->fresh || one->deleted || one->created || n == NULL;
	bool kids = fresh || one->kids;
	bool data = fresh || one->changed || n->unseen || n->is_null ||
		    zw->zk->data == ZK_DATA_LEAVES;

	one->owner = zw;
	if (kids) {
		read_with_watch(zw, one, &one->list_fetch, ZK_OP_GET_CHILDREN,
				list_cb);
	}
	if (data) {
		read_with_watch(zw, one, &one->fetch, ZK_OP_GET_DATA, data_cb);
	}
	return kids || data;
}

void zk_general_large_cb(struct sched_timer *t)
{
	struct zk_general *g = kv_container_of(t, struct zk_general, timer);
	struct list *l;

	while ((l = list_pop_front(&g->large)) != NULL) {
		struct zk_dirty *one =
		    kv_container_of(l, struct zk_dirty, list_fetch.link);

		(void)look(g->zw, one);
		one->parts--; /* the wait; there are reads now */
	}
	zk_fetcher_pump(&g->zw->fetcher);
}

/* True: it is looked at later. */
static bool put_off(struct zk_watch *zw, struct zk_dirty *one)
{
	struct zk_general *g = zw->general;
	const struct zk_node *n = zk_table_find(&g->table, one->fetch.path);

	if (n == NULL || n->children < LARGE_DIR || !one->kids ||
	    one->created || one->deleted) {
		return false;
	}
	one->parts = 1;
	list_push_back(&g->large, &one->list_fetch.link);
	if (!sched_timer_running(&g->timer)) {
		sched_timer_start(zw->zk->st->sched, &g->timer,
				  LARGE_MS + (uint64_t)n->children / LARGE_DIR);
	}
	return true;
}

void zk_general_pump(struct zk_watch *zw)
{
	struct zk_dirty *one;

	while (zw->general->reads < READS_MOST &&
	       (one = zk_dirties_send(&zw->dirties)) != NULL) {
		if (!put_off(zw, one) && !look(zw, one)) {
			one->parts = 1;
			part_done(zw, one);
		}
	}
	zk_fetcher_pump(&zw->fetcher);
}

/* ---- events -------------------------------------------------------------- */

static void event(struct zk_watch *zw, enum zk_event_type type,
		  struct slice path)
{
	bool root = slice_eq(path, zw->root);
	struct zk_dirty *one;

	/* Watches of one key leave others in peace. */
	if (!root && zk_table_find(&zw->general->table, path) == NULL &&
	    zk_watch_key(zw, path).n == 0) {
		return;
	}
	one = zk_general_touch(zw, path);
	if (one == NULL) {
		return;
	}
	switch (type) {
	case ZK_EVENT_CREATED:
		one->created = true;
		break;
	case ZK_EVENT_DELETED:
		one->deleted = true;
		drop_node(zw, one);
		break;
	case ZK_EVENT_CHANGED:
		one->changed = true;
		break;
	case ZK_EVENT_CHILD:
		one->kids = true;
		break;
	}
	if (zw->next != NULL) {
		zk_watch_later(zw);
	}
}

static uint64_t limit(const struct zk_watch *zw, uint64_t none)
{
	return zk_dirties_limit(&zw->dirties, none);
}

static void free_general(struct zk_watch *zw)
{
	zk_resume_free(zw);
	if (zw->general != NULL) {
		sched_timer_stop(&zw->general->timer);
		zk_table_free(&zw->general->table);
		kv_free(zw->general);
		zw->general = NULL;
	}
}

const struct zk_way_ops zk_general_ops = {
    .arm = zk_general_arm,
    .arming = zk_general_arming,
    .event = event,
    .pump = zk_general_pump,
    .limit = limit,
    .resume = zk_general_resume,
    .free = free_general,
};
