/* zk_scan.c: pages.
 *
 *   sync, so that no server that lags is read
 *   a directory: walk --> znodes that are keys --> page; the walk waits for the
 *                next page, listings and what was read ahead included
 *   named keys:  a walk over these alone --> page
 *
 * A walk stands on one connection. When that is lost the page is begun anew,
 * once.
 */
#include "store/zookeeper/zk_impl.h"

#define DEFAULT_BYTES ((size_t)4 * 1024 * 1024)
/* Walks that wait, how long, and how much memory they may take. */
#define MAX_IDLE ((size_t)4)
#define IDLE_MS ((uint64_t)5000)
#define IDLE_BYTES ((size_t)64 * 1024 * 1024)

/* A walk and what it stands on. */
struct cursor {
	struct zk_reader reader;
	struct list link; /* in zk->walks.idle */
	struct zk *zk;
	struct zk_walk *walk;
	uint64_t epoch;
	struct slice dir;   /* as in the request; in names */
	struct slice after; /* where the next page begins; in names */
	struct arena names;
	uint64_t idle_ms; /* since when */
};

struct scan {
	struct zk *zk;
	struct store_scan *req;
	struct store_page *page;
	size_t cap;
	size_t bytes;
	struct cursor *cursor;
	struct zk_ask sync;
	bool syncing;
	bool waiting; /* for the sync, to begin */
	bool again;   /* the page was begun anew */
	bool nowhere; /* no znode can be there: the page is empty */
};

static void begin(struct scan *s);

/* ---- cursors ------------------------------------------------------------- */

static void reader_start(struct zk_reader *r, struct zk_read *read)
{
	struct cursor *c = kv_container_of(r, struct cursor, reader);

	read->need_epoch = c->epoch;
	zk_read_start(&c->zk->session, read);
}

static void reader_cancel(struct zk_reader *r KV_UNUSED, struct zk_read *read)
{
	zk_read_cancel(read);
}

static void cursor_free(struct cursor *c)
{
	if (c == NULL) {
		return;
	}
	c->zk->node_size = c->reader.node_size;
	zk_walk_free(c->walk);
	arena_free(&c->names);
	kv_free(c);
}

static struct cursor *cursor_new(struct zk *zk, struct slice dir)
{
	struct cursor *c = kv_calloc(1, sizeof *c);

	if (c == NULL) {
		return NULL;
	}
	list_init(&c->link);
	c->zk = zk;
	c->epoch = zk->session.epoch;
	c->reader.start = reader_start;
	c->reader.cancel = reader_cancel;
	c->reader.fast = zk->session.fast;
	c->reader.node_size = zk->node_size;
	c->dir = slice_dup(&c->names, dir);
	if (c->dir.p == NULL) {
		cursor_free(c);
		return NULL;
	}
	return c;
}

static void drop(struct zk *zk, struct cursor *c)
{
	list_remove(&c->link);
	zk->walks.n--;
	cursor_free(c);
}

static struct cursor *oldest(struct zk *zk)
{
	struct list *l = list_first(&zk->walks.idle);

	return l == NULL ? NULL : kv_container_of(l, struct cursor, link);
}

static void idle_cb(struct sched_timer *t)
{
	struct zk *zk = kv_container_of(t, struct zk, walks.timer);
	uint64_t now = sched_now(zk->st->sched);
	struct cursor *c;

	while ((c = oldest(zk)) != NULL) {
		if (c->idle_ms + IDLE_MS > now) {
			sched_timer_start(zk->st->sched, t,
					  c->idle_ms + IDLE_MS - now);
			return;
		}
		drop(zk, c);
	}
}

/* Keeps the walk for the page after `last`; where that cannot be, a next page
 * walks anew. */
static void park(struct zk *zk, struct cursor *c, struct slice last)
{
	c->after = slice_dup(&c->names, last);
	zk_walk_give(c->walk, NULL, NULL);
	if (c->after.p == NULL || c->names.total > IDLE_BYTES ||
	    zk_walk_bytes(c->walk) > IDLE_BYTES) {
		cursor_free(c);
		return;
	}
	c->idle_ms = sched_now(zk->st->sched);
	list_push_back(&zk->walks.idle, &c->link);
	if (++zk->walks.n > MAX_IDLE) {
		drop(zk, oldest(zk));
	}
	if (!sched_timer_running(&zk->walks.timer)) {
		sched_timer_start(zk->st->sched, &zk->walks.timer, IDLE_MS);
	}
}

/* The walk that waits for this page, or NULL. */
static struct cursor *unpark(struct zk *zk, const struct store_scan *req)
{
	struct list *l;

	for (l = zk->walks.idle.next; l != &zk->walks.idle; l = l->next) {
		struct cursor *c = kv_container_of(l, struct cursor, link);

		if (slice_eq(c->dir, req->dir) &&
		    slice_eq(c->after, req->after)) {
			if (!zk->session.up || zk->session.epoch != c->epoch ||
			    zk_walk_err(c->walk)->status != KV_OK) {
				drop(zk, c);
				return NULL;
			}
			list_remove(l);
			zk->walks.n--;
			return c;
		}
	}
	return NULL;
}

void zk_walks_init(struct zk *zk)
{
	list_init(&zk->walks.idle);
	zk->walks.timer.fire = idle_cb;
}

void zk_walks_clear(struct zk *zk)
{
	struct cursor *c;

	sched_timer_stop(&zk->walks.timer);
	while ((c = oldest(zk)) != NULL) {
		drop(zk, c);
	}
}

/* ---- the end ------------------------------------------------------------- */

static void let_go(struct scan *s)
{
	if (s->syncing) {
		zk_ask_cancel(&s->sync);
		s->syncing = false;
	}
	cursor_free(s->cursor);
	s->cursor = NULL;
}

static void end(struct scan *s, const struct kv_err *err)
{
	struct store_scan *req = s->req;

	if (err == NULL) {
		req->page = s->page;
	} else {
		req->err = *err;
		store_page_free(s->page);
	}
	let_go(s);
	kv_free(s);
	store_done(&req->req);
}

static void end_no_memory(struct scan *s)
{
	struct kv_err err;

	(void)kv_fail(&err, KV_NO_MEMORY, "zookeeper: no memory for a page");
	end(s, &err);
}

/* The walk ended with an error: another one, where that can help. */
static void failed(struct scan *s, const struct kv_err *why)
{
	struct kv_err err = *why;

	if (s->again || err.status != KV_NOT_REACHABLE) {
		end(s, &err);
		return;
	}
	s->again = true;
	let_go(s);
	store_page_free(s->page);
	s->cap = s->bytes = 0;
	s->page = store_page_new();
	if (s->page == NULL) {
		end_no_memory(s);
		return;
	}
	begin(s);
}

/* ---- the page ------------------------------------------------------------ */

static bool is_full(const struct scan *s)
{
	const struct store_scan *req = s->req;
	uint32_t limit =
	    req->limit == 0 ? s->zk->st->caps.scan_page : req->limit;
	size_t max = req->max_bytes == 0 ? DEFAULT_BYTES : req->max_bytes;

	return req->keys == NULL && s->page->n > 0 &&
	       (s->page->n >= limit || s->bytes >= max);
}

static int add_pair(struct scan *s, const struct zk_walk_node *n,
		    struct kv_err *err)
{
	struct zk *zk = s->zk;
	bool names = s->req->names_only;
	struct store_pair *pair =
	    store_page_add(s->page, &s->cap, zk_key(zk->st, n->path),
			   names ? slice_of(NULL, 0) : n->data.data);

	if (pair == NULL) {
		return kv_fail(err, KV_NO_MEMORY,
			       "zookeeper: no memory for a page");
	}
	pair->index = zk_index(zk, &n->data);
	pair->version = zk_version(&n->data.stat);
	s->bytes += pair->key.n + pair->value.n;
	return names || !zk->attrs ? KV_OK
				   : zk_attrs_of(&s->page->arena, n->data.null,
						 n->acl, &pair->attrs, err);
}

static int add_unreadable(struct scan *s, const struct zk_walk_node *n,
			  struct kv_err *err)
{
	struct store_pair *pair = store_page_add(
	    s->page, &s->cap, zk_key(s->zk->st, n->path), slice_of(NULL, 0));

	if (pair == NULL) {
		return kv_fail(err, KV_NO_MEMORY,
			       "zookeeper: no memory for a page");
	}
	pair->index = zk_hidden_index(&n->data.stat);
	pair->unreadable = true;
	s->bytes += pair->key.n;
	return KV_OK;
}

/* One znode into the page, if it is a key. */
static int take(struct scan *s, const struct zk_walk_node *n,
		struct kv_err *err)
{
	if (n->error == ZK_NO_NODE) {
		return KV_OK;
	}
	if (n->error == ZK_NO_AUTH && s->zk->skip_ephemerals &&
	    n->data.stat.ephemeral_owner != 0) {
		return KV_OK;
	}
	if (n->error == ZK_NO_AUTH) {
		return add_unreadable(s, n, err);
	}
	return zk_is_key(s->zk, &n->data) ? add_pair(s, n, err) : KV_OK;
}

/* The page is as it is to be. */
static void complete(struct scan *s)
{
	struct zk *zk = s->zk;
	struct store_page *page = s->page;
	struct cursor *c = s->cursor;
	int64_t low = zk_walk_low(c->walk);
	struct kv_err err;

	if (zk->session.epoch != c->epoch) {
		(void)kv_fail(&err, KV_NOT_REACHABLE,
			      "zookeeper: the connection was lost");
		failed(s, &err);
		return;
	}
	page->at = (uint64_t)(low > 0 ? low : zk->session.zxid);
	zk_origin(zk, &page->origin);
	page->more = !zk_walk_is_done(c->walk);
	if (page->more) {
		zk_walk_go(c->walk);
		s->cursor = NULL;
		park(zk, c, page->pairs[page->n - 1].key);
	}
	end(s, NULL);
}

static void fill(struct scan *s)
{
	struct zk_walk *w = s->cursor->walk;
	const struct zk_walk_node *n;
	struct kv_err err = {0};

	while (!is_full(s) && (n = zk_walk_front(w)) != NULL) {
		if (take(s, n, &err) != KV_OK) {
			failed(s, &err);
			return;
		}
		zk_walk_pop(w);
	}
	if (zk_walk_err(w)->status != KV_OK && !is_full(s)) {
		err = *zk_walk_err(w);
		failed(s, &err);
	} else if (is_full(s) || zk_walk_is_done(w)) {
		complete(s);
	} else {
		zk_walk_go(w);
	}
}

static void moved_cb(struct zk_walk *w)
{
	fill(zk_walk_data(w));
}

/* ---- the beginning ------------------------------------------------------- */

static bool name_paths(struct scan *s, struct zk_walk_params *p)
{
	const struct store *st = s->zk->st;
	struct arena *a = &s->cursor->names;
	struct slice *paths;
	size_t i;

	if (s->req->keys == NULL) {
		p->dir = zk_path(st, a, s->req->dir);
		p->after = s->req->after.n == 0 ? slice_of(NULL, 0)
						: zk_path(st, a, s->req->after);
		return p->dir.p != NULL &&
		       (s->req->after.n == 0 || p->after.p != NULL);
	}
	paths = arena_alloc(a, s->req->n_keys * sizeof *paths);
	for (i = 0; paths != NULL && i < s->req->n_keys; i++) {
		paths[i] = zk_path(st, a, s->req->keys[i]);
		if (paths[i].p == NULL) {
			return false;
		}
	}
	p->paths = paths;
	p->n_paths = s->req->n_keys;
	return paths != NULL;
}

/* PRE: connected. */
static bool open_walk(struct scan *s)
{
	struct zk_walk_params p = {.sched = s->zk->st->sched,
				   .acls =
				       s->zk->copy_acls && !s->req->names_only,
				   .moved = moved_cb,
				   .data = s};

	s->cursor = cursor_new(s->zk, s->req->dir);
	if (s->cursor == NULL || !name_paths(s, &p)) {
		return false;
	}
	p.reader = &s->cursor->reader;
	s->cursor->walk = zk_walk_open(&p);
	return s->cursor->walk != NULL;
}

static void walk(struct scan *s)
{
	if (open_walk(s)) {
		zk_walk_go(s->cursor->walk);
	} else {
		end_no_memory(s);
	}
}

static void synced_cb(struct zk_ask *a)
{
	struct scan *s = kv_container_of(a, struct scan, sync);
	struct kv_err err = a->call.err;

	s->syncing = false;
	if (!s->waiting) {
		return; /* the reads behind it fare no better */
	}
	s->waiting = false;
	if (err.status != KV_OK) {
		end(s, &err);
	} else if (s->nowhere) {
		s->page->at = (uint64_t)a->call.zxid;
		zk_origin(s->zk, &s->page->origin);
		end(s, NULL);
	} else {
		walk(s);
	}
}

/* A sync on its way to the leader is answered in order: what is asked behind it
 * shows at least what was there as it was sent. */
static void begin(struct scan *s)
{
	struct zk_session *session = &s->zk->session;

	s->waiting = !session->up || s->nowhere;
	if (s->waiting || !s->req->local) {
		memset(&s->sync, 0, sizeof s->sync);
		zk_call_begin(&s->sync.call, ZK_OP_SYNC);
		zk_put_path(&s->sync.call.frame, slice_str(s->zk->root));
		s->sync.done = synced_cb;
		s->sync.need_epoch = s->waiting ? 0 : session->epoch;
		s->syncing = true;
		zk_ask_start(session, &s->sync);
	}
	if (!s->waiting) {
		walk(s);
	}
}

/* Below a directory that no znode can be, there is nothing. */
static bool is_nowhere(const struct store *st, const struct store_scan *req)
{
	struct kv_err err;

	return req->keys == NULL && req->dir.n > 0 &&
	       zk_check_key(st, req->dir, &err) != KV_OK;
}

int zk_scan(struct store *st, struct store_scan *req)
{
	struct zk *zk = st->impl;
	struct scan *s = kv_calloc(1, sizeof *s);

	if (s != NULL) {
		s->page = store_page_new();
	}
	if (s == NULL || s->page == NULL) {
		kv_free(s);
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "zookeeper: no memory for a scan");
	}
	s->zk = zk;
	s->req = req;
	req->req.impl = s;
	s->nowhere = is_nowhere(st, req);
	s->cursor =
	    req->keys == NULL && req->after.n > 0 ? unpark(zk, req) : NULL;
	if (s->cursor != NULL) {
		zk_walk_give(s->cursor->walk, moved_cb, s);
		fill(s);
	} else {
		begin(s);
	}
	return KV_OK;
}

void zk_scan_cancel(struct store_scan *req)
{
	struct kv_err err;

	(void)kv_fail(&err, KV_CANCELED, "zookeeper: scan canceled");
	end(req->req.impl, &err);
}
