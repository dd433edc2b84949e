/* zk_fast.c: changes by one persistent recursive watch (servers >= 3.6).
 *
 *   addWatch --> event (path) --> dirty --(a pull)--> multiRead --> told
 *
 * An event says that a znode was created, changed or deleted, and nothing of
 * its value, of its index, or of its children. So each znode that something
 * happened to is read, however often that was; and where children make or
 * unmake a key, its parent as well.
 *
 * Why nothing is missed: events and replies of one connection come in the order
 * of what they show. A reply with zxid R comes behind the events of all changes
 * up to R. So when nothing is dirty, everything up to the last reply's zxid was
 * told; and while something is, everything up to what was the last reply's when
 * the first event of the oldest dirty one came.
 *
 * Znodes that the session may not read are silent.
 */
#include "store/zookeeper/zk_table.h"
#include "store/zookeeper/zk_watch.h"

/* So many znodes are looked at, at a time. */
#define SENT_MOST ((size_t)1024)
/* Nobody has asked for so long that the names of what is dirty are too many: it
 * is cheaper to find out by a resume. */
#define DIRTY_MOST ((size_t)512 * 1024)
#define DIRTY_BYTES ((size_t)64 * 1024 * 1024)

/* ---- arming -------------------------------------------------------------- */

static void first_cb(struct zk_fetch *f, const struct zk_fetched *r)
{
	struct zk_dirty *one = kv_container_of(f, struct zk_dirty, fetch);
	struct zk_watch *zw = one->owner;
	bool is_key = r->error == ZK_OK && zk_is_key(zw->zk, &r->data);
	struct kv_err err;

	zk_dirties_done(&zw->dirties, one);
	if (r->error == ZK_NO_AUTH) {
		(void)zk_fail(&err, r->error, zw->root);
		zk_watch_fail(zw, &err);
		return;
	}
	zk_watch_armed(zw, r->zxid, is_key ? &r->data : NULL);
}

static struct zk_dirty *send_next(struct zk_watch *zw,
				  void (*done)(struct zk_fetch *f,
					       const struct zk_fetched *r))
{
	struct zk_dirty *one = zk_dirties_send(&zw->dirties);

	if (one != NULL) {
		one->owner = zw;
		one->fetch.op = ZK_OP_GET_DATA;
		one->fetch.done = done;
		zk_fetch_add(&zw->fetcher, &one->fetch);
	}
	return one;
}

static void watching_cb(struct zk_call *c)
{
	struct zk_watch *zw = kv_container_of(c, struct zk_watch, call);
	struct kv_err err;

	zw->calling = false;
	if (c->err.status != KV_OK) {
		zk_watch_fail(zw, &c->err);
		return;
	}
	if (c->error != ZK_OK) {
		(void)zk_fail(&err, c->error, zw->root);
		zk_watch_fail(zw, &err);
		return;
	}
	if (!zw->single) {
		zk_watch_armed(zw, (uint64_t)c->zxid, NULL);
		return;
	}
	if (zk_dirties_get(&zw->dirties, zw->root, 0) == NULL) {
		zk_watch_no_memory(zw);
		return;
	}
	(void)send_next(zw, first_cb);
	zk_fetcher_pump(&zw->fetcher);
}

/* Also of one key the watch is a recursive one: a session has one kind of watch
 * a znode, and the last one asked for would replace that of another watch. */
static void arm(struct zk_watch *zw)
{
	memset(&zw->call, 0, sizeof zw->call);
	zk_call_begin(&zw->call, ZK_OP_ADD_WATCH);
	zk_put_add_watch(&zw->call.frame, zw->root, true);
	zw->call.done = watching_cb;
	zw->calling = true;
	zk_call_start(zw->zk->session.conn, &zw->call);
}

/* ---- events -------------------------------------------------------------- */

static struct zk_dirty *touch(struct zk_watch *zw, struct slice path)
{
	uint64_t now = (uint64_t)zk_conn_zxid(zw->zk->session.conn);

	return zk_dirties_get(&zw->dirties, path, now);
}

/* A child came or went. Children that came and went since the last look leave
 * the least number there was: had it none then, it was a leaf. */
static bool touch_parent(struct zk_watch *zw, struct slice path, bool came)
{
	struct zk_dirty *one;

	path = zk_table_above(path);
	if (zw->zk->data == ZK_DATA_NONEMPTY || zk_watch_key(zw, path).n == 0) {
		return true;
	}
	one = touch(zw, path);
	if (one == NULL) {
		return false;
	}
	one->kids = true;
	one->kids_sum += came ? 1 : -1;
	one->kids_low = KV_MIN(one->kids_low, one->kids_sum);
	return true;
}

static bool touch_self(struct zk_watch *zw, enum zk_event_type type,
		       struct slice path)
{
	struct zk_dirty *one;

	if (zk_watch_key(zw, path).n == 0) {
		return true;
	}
	one = touch(zw, path);
	if (one == NULL) {
		return false;
	}
	switch (type) {
	case ZK_EVENT_CREATED:
		one->created = true;
		break;
	case ZK_EVENT_DELETED:
		one->deleted = true;
		/* What comes there anew has none. */
		one->kids_sum = one->kids_low = 0;
		break;
	case ZK_EVENT_CHANGED:
	case ZK_EVENT_CHILD:
		one->changed = true;
		break;
	}
	return true;
}

static void event(struct zk_watch *zw, enum zk_event_type type,
		  struct slice path)
{
	bool kids = type == ZK_EVENT_CREATED || type == ZK_EVENT_DELETED;

	if (zw->phase < ZK_WATCH_RESUMING || type == ZK_EVENT_CHILD) {
		return; /* before base; not of this watch */
	}
	if (!touch_self(zw, type, path) ||
	    (kids && !touch_parent(zw, path, type == ZK_EVENT_CREATED))) {
		zk_watch_no_memory(zw);
		return;
	}
	if (zw->dirties.n > DIRTY_MOST || zw->dirties.bytes > DIRTY_BYTES) {
		zk_watch_fail_text(zw, KV_NOT_REACHABLE,
				   "more changed than a watch remembers while "
				   "nobody asked for it: go on from the last "
				   "index");
		return;
	}
	if (zw->next != NULL) {
		zk_watch_later(zw);
	}
}

/* ---- looking ------------------------------------------------------------- */

/* Has it been a key without children, for somebody who looked since? */
static bool was_leaf(const struct zk_dirty *one, const struct zk_dirty *later,
		     const struct zk_data *d)
{
	int32_t before = d->stat.num_children - one->kids_sum;

	if (later != NULL) {
		before -= later->kids_sum;
	}
	return before + one->kids_low <= 0 && !zk_watch_born_dir(&d->stat);
}

static void tell_gone(struct zk_watch *zw, struct zk_dirty *one,
		      struct slice key, uint64_t index)
{
	if (index > zw->base && !one->told_gone) {
		one->told_gone = zk_watch_delete(zw, key, index, false);
	}
}

static void tell_there(struct zk_watch *zw, struct zk_dirty *one,
		       struct slice key, const struct zk_data *d)
{
	uint64_t index = zk_index(zw->zk, d);

	one->told_gone = false;
	if (index > zw->base && index != one->told &&
	    zk_watch_put(zw, key, d, index)) {
		one->told = index;
	}
}

static void tell_znode(struct zk_watch *zw, struct zk_dirty *one,
		       const struct zk_dirty *later, struct slice key,
		       const struct zk_data *d)
{
	bool self = one->created || one->changed || one->deleted;
	bool by_kids = one->kids && (d->null || zw->zk->data == ZK_DATA_LEAVES);

	if (zk_is_key(zw->zk, d)) {
		if (self || by_kids) {
			tell_there(zw, one, key, d);
		}
	} else if (one->changed || one->deleted ||
		   (by_kids && was_leaf(one, later, d))) {
		tell_gone(zw, one, key,
			  (uint64_t)KV_MAX(d->stat.mzxid, d->stat.pzxid));
	}
}

/* Was looked at: what is told of it next is told once. */
static void finish(struct zk_watch *zw, struct zk_dirty *one)
{
	struct zk_dirty *later;

	if (zw->phase == ZK_WATCH_ENDED) {
		return; /* all of them are freed */
	}
	later = zk_dirties_find(&zw->dirties, one->fetch.path);
	if (later != NULL) {
		later->told = one->told;
		/* What came since and went again may have been seen. */
		later->told_gone = one->told_gone && !later->created;
	}
	zk_dirties_done(&zw->dirties, one);
	zk_watch_later(zw);
}

static void tell_hidden(struct zk_watch *zw, struct zk_dirty *one,
			struct slice key, const struct zk_stat *s)
{
	uint64_t index = zk_hidden_index(s);

	one->told_gone = false;
	if (index > zw->base && index != one->told &&
	    !(zw->zk->skip_ephemerals && s->ephemeral_owner != 0) &&
	    zk_watch_hidden(zw, key, index)) {
		one->told = index;
	}
}

/* It must not be read; its Stat may be. */
static void hidden_cb(struct zk_fetch *f, const struct zk_fetched *r)
{
	struct zk_dirty *one = kv_container_of(f, struct zk_dirty, fetch);
	struct zk_watch *zw = one->owner;
	struct slice key = zk_watch_key(zw, f->path);
	struct kv_err err;

	if (r->error == ZK_OK) {
		tell_hidden(zw, one, key, &r->data.stat);
	} else if (r->error == ZK_NO_NODE) {
		tell_gone(zw, one, key, r->zxid);
	} else {
		(void)zk_fail(&err, r->error, f->path);
		zk_watch_fail(zw, &err);
		return;
	}
	finish(zw, one);
}

static void looked_cb(struct zk_fetch *f, const struct zk_fetched *r)
{
	struct zk_dirty *one = kv_container_of(f, struct zk_dirty, fetch);
	struct zk_watch *zw = one->owner;
	struct zk_dirty *later = zk_dirties_find(&zw->dirties, f->path);
	struct slice key = zk_watch_key(zw, f->path);
	struct kv_err err;

	PRE(key.n > 0);
	if (r->error == ZK_OK) {
		tell_znode(zw, one, later, key, &r->data);
	} else if (r->error == ZK_NO_NODE) {
		tell_gone(zw, one, key, r->zxid);
	} else if (r->error == ZK_NO_AUTH) {
		f->op = ZK_OP_EXISTS;
		f->done = hidden_cb;
		zk_fetch_add(&zw->fetcher, f);
		zk_watch_later(zw);
		return;
	} else {
		(void)zk_fail(&err, r->error, f->path);
		zk_watch_fail(zw, &err);
		return;
	}
	finish(zw, one);
}

static void pump(struct zk_watch *zw)
{
	while (zw->dirties.n_sent < SENT_MOST &&
	       send_next(zw, looked_cb) != NULL) {
	}
	zk_fetcher_pump(&zw->fetcher);
}

static uint64_t limit(const struct zk_watch *zw, uint64_t none)
{
	return zk_dirties_limit(&zw->dirties, none);
}

const struct zk_way_ops zk_fast_ops = {
    .arm = arm,
    .event = event,
    .pump = pump,
    .limit = limit,
    .resume = zk_resume_step,
    .free = zk_resume_free,
};
