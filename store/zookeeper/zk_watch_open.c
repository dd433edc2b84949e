/* zk_watch_open.c: the way of a watch from OPENING to LIVE, see zk_watch.h; and
 * what of a znode is told.
 *
 *   listen, sync --> ARMING: way->arm --> zk_watch_armed: the first batch
 *     --> RESUMING: way->resume --> zk_watch_resumed --> LIVE
 */
#include <inttypes.h>

#include "store/zookeeper/zk_watch.h"

/* ---- what is told -------------------------------------------------------- */

struct slice zk_watch_key(const struct zk_watch *zw, struct slice path)
{
	struct slice none = {0};
	struct slice key = zk_key(zw->zk->st, path);

	if (key.n == 0) {
		return none;
	}
	if (zw->single) {
		return slice_eq(key, zw->w->key) ? key : none;
	}
	if (zw->zk->st->uri->prefix_n == 0 && zk_is_system(path)) {
		return none;
	}
	return slice_below(key, zw->w->dir) ? key : none;
}

bool zk_watch_attrs(struct zk_watch *zw, const struct zk_data *d,
		    struct slice acl, struct slice *out)
{
	*out = slice_of(NULL, 0);
	return !zw->zk->attrs ||
	       zk_attrs_of(&zw->scratch, d->null, acl, out, NULL) == KV_OK;
}

/* A change was put into gather, or there was no memory. A resume that finds
 * more than may be kept is worth less than a reconcile, which streams. */
static bool has_put(struct zk_watch *zw, bool ok)
{
	if (!ok) {
		zk_watch_no_memory(zw);
		return false;
	}
	if (zw->phase != ZK_WATCH_LIVE && zk_gather_is_full(&zw->gather)) {
		zk_watch_fail_text(zw, KV_HISTORY_LOST,
				   "more changed than a resume can hold: "
				   "compare anew");
		return false;
	}
	return true;
}

static struct zk_last_told *last_told(struct zk_watch *zw,
				      const struct kv_hash *key)
{
	return &zw->last[key->b[0] % ZK_LAST_TOLD];
}

/* Notes what is told of a key; false: that was told already. */
static bool is_news(struct zk_watch *zw, struct slice key, uint64_t index)
{
	struct kv_hash hash = kv_hash(key);
	struct zk_last_told *last = last_told(zw, &hash);

	if (index != 0 && last->index == index &&
	    kv_hash_eq(&last->key, &hash)) {
		return false;
	}
	last->key = hash;
	last->index = index;
	return true;
}

bool zk_watch_put(struct zk_watch *zw, struct slice key,
		  const struct zk_data *d, uint64_t index)
{
	struct zk_told *t = NULL;
	struct slice attrs;

	if (!is_news(zw, key, index)) {
		return true;
	}
	arena_reset(&zw->scratch);
	if (zk_watch_attrs(zw, d, slice_of(NULL, 0), &attrs)) {
		t = zk_gather_put(&zw->gather, key, d->data, attrs, index,
				  zk_version(&d->stat));
	}
	if (t != NULL) {
		t->is_null = d->null;
		t->lacks_acl = zw->zk->copy_acls;
	}
	return has_put(zw, t != NULL);
}

bool zk_watch_hidden(struct zk_watch *zw, struct slice key, uint64_t index)
{
	(void)is_news(zw, key, 0);
	return has_put(zw, zk_gather_hidden(&zw->gather, key, index));
}

bool zk_watch_delete(struct zk_watch *zw, struct slice key, uint64_t index,
		     bool inferred)
{
	(void)is_news(zw, key, 0);
	return has_put(zw, zk_gather_delete(&zw->gather, key, index, inferred));
}

bool zk_watch_can_diff(const struct zk_watch *zw)
{
	const struct store_watch *w = zw->w;

	/* Each znode that is no directory of another one is a key then. */
	return !zw->single && w->after != 0 && w->known != NULL &&
	       w->known->complete && zw->zk->data == ZK_DATA_ALL &&
	       !zw->zk->skip_ephemerals;
}

/* ---- opening ------------------------------------------------------------- */

static bool add_present(struct zk_watch *zw, struct store_batch *b,
			const struct zk_data *d)
{
	struct store_change *c;
	struct slice attrs;
	size_t cap = 0;

	arena_reset(&zw->scratch);
	c = store_batch_add(b, &cap, zw->w->key, d->data);
	if (c == NULL || !zk_watch_attrs(zw, d, slice_of(NULL, 0), &attrs) ||
	    !store_attrs_set(&b->arena, &c->attrs, attrs)) {
		return false;
	}
	c->action = STORE_GET;
	c->tx_end = true;
	c->index = zk_index(zw->zk, d);
	c->version = zk_version(&d->stat);
	return true;
}

/* What became of one key since the index to resume after. */
static bool resume_single(struct zk_watch *zw, const struct zk_data *d)
{
	uint64_t index = d == NULL ? zw->base : zk_index(zw->zk, d);

	if (d == NULL) {
		if (!zk_watch_delete(zw, zw->w->key, index, true)) {
			return false;
		}
	} else if (index > zw->w->after &&
		   !zk_watch_put(zw, zw->w->key, d, index)) {
		return false;
	}
	zk_gather_unit(&zw->gather, zw->base, 1);
	return true;
}

static bool make_init(struct zk_watch *zw, const struct zk_data *d)
{
	struct store_batch *b = store_batch_new();

	if (b == NULL) {
		return false;
	}
	b->init = true;
	b->index = zw->gather.position;
	zw->init = b;
	return d == NULL || zk_index(zw->zk, d) > b->index ||
	       add_present(zw, b, d);
}

static int check_after(const struct zk_watch *zw, struct kv_err *err)
{
	uint64_t after = zw->w->after;

	if (after > zw->base) {
		return kv_fail(
		    err, KV_HISTORY_LOST,
		    "zookeeper: zxid 0x%" PRIx64
		    " is not reached yet, the ensemble is at 0x%" PRIx64
		    ": it is another one, or was restored",
		    after, zw->base);
	}
	if (after != 0 && after < zw->base && zw->w->known == NULL &&
	    !zw->single) {
		return kv_fail(
		    err, KV_HISTORY_LOST,
		    "zookeeper: what was deleted since zxid 0x%" PRIx64
		    " is not known to the ensemble",
		    after);
	}
	return KV_OK;
}

void zk_watch_armed(struct zk_watch *zw, uint64_t zxid, const struct zk_data *d)
{
	uint64_t after = zw->w->after;
	bool ok;
	struct kv_err err;

	PRE(zw->phase == ZK_WATCH_ARMING && zxid >= zw->base);
	zw->base = zxid;
	if (check_after(zw, &err) != KV_OK) {
		zk_watch_fail(zw, &err);
		return;
	}
	zw->gather.position = after == 0 ? zxid : after;
	ok = make_init(zw, d);
	if (ok && zw->single && after != 0) {
		ok = resume_single(zw, d);
	}
	if (!ok) {
		zk_watch_no_memory(zw);
		return;
	}
	zw->phase = zw->single || after == 0 || after == zxid
			? ZK_WATCH_LIVE
			: ZK_WATCH_RESUMING;
	zk_watch_later(zw);
}

void zk_watch_resumed(struct zk_watch *zw, uint64_t known)
{
	PRE(zw->phase == ZK_WATCH_RESUMING);
	zk_gather_unit(&zw->gather, zw->base, known);
	zw->phase = ZK_WATCH_LIVE;
	zk_watch_later(zw);
}

static void maybe_arm(struct zk_watch *zw)
{
	const struct zk_session *s = &zw->zk->session;
	struct kv_err err;

	if (zw->phase != ZK_WATCH_OPENING || zw->asking || !zw->up) {
		return;
	}
	PRE(s->up);
	zw->phase = ZK_WATCH_ARMING;
	zw->epoch = s->epoch;
	zw->fetcher.conn = s->conn;
	zw->fetcher.multi = s->fast;
	zk_fetcher_open(&zw->fetcher);
	zw->way = s->fast ? &zk_fast_ops : &zk_general_ops;
	zw->base = (uint64_t)zk_conn_zxid(s->conn);
	if (check_after(zw, &err) != KV_OK) {
		zk_watch_fail(zw, &err);
		return;
	}
	zw->way->arm(zw);
}

static void asked_cb(struct zk_ask *a)
{
	struct zk_watch *zw = kv_container_of(a, struct zk_watch, ask);

	zw->asking = false;
	if (a->call.err.status != KV_OK) {
		zk_watch_fail(zw, &a->call.err);
	} else {
		maybe_arm(zw);
	}
}

static void up_cb(struct zk_listener *l)
{
	struct zk_watch *zw = kv_container_of(l, struct zk_watch, listener);

	zw->up = true;
	maybe_arm(zw);
}

/* The question is asked again where another server is found; a watch is not
 * set again. */
static void down_cb(struct zk_listener *l, const struct kv_err *why)
{
	struct zk_watch *zw = kv_container_of(l, struct zk_watch, listener);
	struct kv_err err = *why;

	zw->up = false;
	if (zw->phase != ZK_WATCH_OPENING || !zw->asking) {
		(void)kv_wrap(&err, "zookeeper: the watch was lost");
		err.status = KV_NOT_REACHABLE;
		zk_watch_fail(zw, &err);
	}
}

static void event_cb(struct zk_listener *l, enum zk_event_type type,
		     struct slice path)
{
	struct zk_watch *zw = kv_container_of(l, struct zk_watch, listener);

	if (zw->way != NULL && (slice_eq(path, zw->root) || zw->root.n == 1 ||
				slice_below(path, zw->root))) {
		zw->way->event(zw, type, path);
	}
}

void zk_watch_open(struct zk_watch *zw)
{
	zw->phase = ZK_WATCH_OPENING;
	zk_session_listen(&zw->zk->session, &zw->listener);
	zk_call_begin(&zw->ask.call, ZK_OP_SYNC);
	zk_put_path(&zw->ask.call.frame, zw->root);
	zw->ask.done = asked_cb;
	zw->asking = true;
	zk_ask_start(&zw->zk->session, &zw->ask);
}

void zk_watch_open_init(struct zk_watch *zw)
{
	zw->listener.up = up_cb;
	zw->listener.down = down_cb;
	zw->listener.event = event_cb;
	list_init(&zw->listener.link);
}
