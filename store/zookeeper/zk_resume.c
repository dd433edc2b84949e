/* zk_resume.c: see zk_resume.h: the known keys, the looks, the end.
 *
 * A key that is gone is told of as an inferred delete, and not before it was
 * looked for on the watch's connection, which was synced: no server that lags
 * makes one. A znode that must not be read is there.
 */
#include "store/zookeeper/zk_resume.h"

#define LOOKS_MOST ((size_t)1024)

struct look {
	struct zk_fetch fetch;
	struct list link;
	struct zk_resume *r;
	enum zk_look_role role;
	uint8_t path[];
};

/* ---- known keys ---------------------------------------------------------- */

static void page_cb(void *ctx, int status, struct store_page *page)
{
	struct zk_watch *zw = ctx;
	struct zk_resume *r = zw->resume;

	PRE(zw->held);
	zw->held = false;
	if (zw->phase == ZK_WATCH_ENDED) {
		store_page_free(page);
	} else if (status != KV_OK || page == NULL) {
		store_page_free(page);
		zk_watch_fail_text(zw, status == KV_OK ? KV_BROKEN : status,
				   "the known keys cannot be read");
	} else {
		r->page = page;
		r->pos = 0;
		r->known += page->n;
	}
	zk_watch_later(zw);
}

static void next_page(struct zk_resume *r)
{
	struct zk_watch *zw = r->zw;

	zw->held = true;
	zw->w->known->next(zw->w->known, r->last, page_cb, zw);
}

/* The page is used up. */
static bool turn_page(struct zk_resume *r)
{
	struct store_page *page = r->page;

	r->known_end = !page->more || page->n == 0;
	arena_reset(&r->after);
	if (!r->known_end) {
		r->last = slice_dup(&r->after, page->pairs[page->n - 1].key);
	}
	store_page_free(page);
	r->page = NULL;
	return r->known_end || r->last.p != NULL;
}

const struct store_pair *zk_known_peek(struct zk_resume *r, bool *end)
{
	*end = false;
	if (r->page != NULL && r->pos == r->page->n && !turn_page(r)) {
		zk_watch_no_memory(r->zw);
		return NULL;
	}
	if (r->page != NULL) {
		return &r->page->pairs[r->pos];
	}
	*end = r->known_end;
	if (!r->known_end) {
		next_page(r);
	}
	return NULL;
}

void zk_known_pop(struct zk_resume *r)
{
	PRE(r->page != NULL && r->pos < r->page->n);
	r->pos++;
}

/* ---- looks --------------------------------------------------------------- */

static void tell_missing(struct zk_resume *r, struct slice key)
{
	(void)zk_watch_delete(r->zw, key, r->zw->base, true);
}

/* Changes after base come as events. */
static void tell_changed(struct zk_resume *r, struct slice key,
			 const struct zk_data *d)
{
	uint64_t index = zk_index(r->zw->zk, d);

	if (index > r->zw->w->after && index <= r->zw->base) {
		(void)zk_watch_put(r->zw, key, d, index);
	}
}

static void see_child(struct zk_resume *r, struct slice path, struct slice key,
		      const struct zk_data *d)
{
	struct zk_watch *zw = r->zw;

	if ((uint64_t)d->stat.czxid <= zw->w->after) {
		return; /* it was there: known, or of no key */
	}
	if (zk_is_key(zw->zk, d)) {
		tell_changed(r, key, d);
	}
	if (zw->phase == ZK_WATCH_RESUMING && d->stat.num_children > 0) {
		(void)zk_look(r, ZK_LOOK_LIST, path);
	}
}

static void see_known(struct zk_resume *r, struct slice key,
		      const struct zk_fetched *f)
{
	bool there = f->error == ZK_OK;

	if (there && zk_is_key(r->zw->zk, &f->data)) {
		/* In the general way it is armed and told as a new one. */
		if (!r->general) {
			tell_changed(r, key, &f->data);
		}
	} else if (there || f->error == ZK_NO_NODE) {
		tell_missing(r, key);
	}
}

/* It is there; that is all that can be told. */
static void see_hidden(struct zk_resume *r, struct slice key,
		       const struct zk_stat *s)
{
	const struct zk_watch *zw = r->zw;
	uint64_t index = zk_hidden_index(s);

	if (index > zw->w->after && index <= zw->base &&
	    !(zw->zk->skip_ephemerals && s->ephemeral_owner != 0)) {
		(void)zk_watch_hidden(r->zw, key, index);
	}
}

static void see_names(struct zk_resume *r, struct slice dir,
		      const struct zk_fetched *f)
{
	struct jute_in in = f->names;
	struct zk_listing *l;
	size_t n;

	if (f->error != ZK_OK) {
		return;
	}
	n = jute_get_count(&in, 4);
	if (n == 0) {
		return;
	}
	l = kv_calloc(1, sizeof *l + dir.n);
	if (l != NULL) {
		l->names = kv_memdup(in.p, in.n);
	}
	if (l == NULL || l->names == NULL) {
		kv_free(l);
		zk_watch_no_memory(r->zw);
		return;
	}
	l->in = (struct jute_in){.p = l->names, .n = in.n};
	l->left = n;
	l->dir_n = dir.n;
	memcpy(l->dir, dir.p, dir.n);
	list_init(&l->link);
	list_push_back(&r->listings, &l->link);
}

static void see(struct zk_resume *r, const struct look *look,
		const struct zk_fetched *f)
{
	struct slice path = look->fetch.path;
	struct slice key = zk_watch_key(r->zw, path);
	bool there = f->error == ZK_OK;
	struct kv_err err;

	if (!there && f->error != ZK_NO_NODE && f->error != ZK_NO_AUTH) {
		(void)zk_fail(&err, f->error, path);
		zk_watch_fail(r->zw, &err);
		return;
	}
	if (look->role == ZK_LOOK_LIST) {
		see_names(r, path, f);
		return;
	}
	if (key.n == 0) {
		return;
	}
	if (look->role == ZK_LOOK_HIDDEN) {
		if (there) {
			see_hidden(r, key, &f->data.stat);
		}
	} else if (f->error == ZK_NO_AUTH) {
		if (!r->general) {
			(void)zk_look(r, ZK_LOOK_HIDDEN, path);
		}
	} else if (look->role == ZK_LOOK_KNOWN) {
		see_known(r, key, f);
	} else if (look->role == ZK_LOOK_CHILD && there) {
		see_child(r, path, key, &f->data);
	} else if (there && zk_is_key(r->zw->zk, &f->data)) {
		tell_changed(r, key, &f->data);
	}
}

static void look_cb(struct zk_fetch *f, const struct zk_fetched *fetched)
{
	struct look *look = kv_container_of(f, struct look, fetch);
	struct zk_resume *r = look->r;
	struct zk_watch *zw = r->zw;

	list_remove(&look->link);
	r->n_looks--;
	see(r, look, fetched);
	kv_free(look);
	if (zw->phase != ZK_WATCH_ENDED) {
		zk_watch_later(zw);
	}
}

bool zk_look(struct zk_resume *r, enum zk_look_role role, struct slice path)
{
	struct look *look = kv_calloc(1, sizeof *look + path.n);

	if (look == NULL) {
		zk_watch_no_memory(r->zw);
		return false;
	}
	look->r = r;
	look->role = role;
	memcpy(look->path, path.p, path.n);
	look->fetch.path = slice_of(look->path, path.n);
	look->fetch.op = role == ZK_LOOK_LIST	  ? ZK_OP_GET_CHILDREN
			 : role == ZK_LOOK_HIDDEN ? ZK_OP_EXISTS
						  : ZK_OP_GET_DATA;
	look->fetch.done = look_cb;
	list_init(&look->link);
	list_push_back(&r->looks, &look->link);
	r->n_looks++;
	zk_fetch_add(&r->zw->fetcher, &look->fetch);
	return true;
}

bool zk_looks_full(const struct zk_resume *r)
{
	return r->n_looks >= LOOKS_MOST;
}

/* ---- listings ------------------------------------------------------------ */

static void listing_free(struct zk_listing *l)
{
	list_remove(&l->link);
	kv_free(l->names);
	kv_free(l);
}

/* False: the watch has ended. */
static bool look_at_child(struct zk_resume *r, struct zk_listing *l)
{
	struct slice name = jute_get_bytes(&l->in, NULL);
	struct arena *a = &r->zw->scratch;
	size_t base = l->dir_n == 1 ? 0 : l->dir_n;
	struct slice path;
	uint8_t *p;

	l->left--;
	arena_reset(a);
	p = arena_alloc(a, base + 1 + name.n);
	if (p == NULL) {
		zk_watch_no_memory(r->zw);
		return false;
	}
	memcpy(p, l->dir, base);
	p[base] = '/';
	memcpy(p + base + 1, name.p, name.n);
	path = slice_of(p, base + 1 + name.n);
	/* What SetWatches told of is looked at for itself. */
	if (zk_watch_key(r->zw, path).n == 0 || zk_diff_find(r, path) != NULL) {
		return true;
	}
	return zk_look(r, ZK_LOOK_CHILD, path);
}

static bool go_listings(struct zk_resume *r)
{
	struct list *next;

	while (!zk_looks_full(r) && (next = list_first(&r->listings)) != NULL) {
		struct zk_listing *l =
		    kv_container_of(next, struct zk_listing, link);

		if (l->left == 0 || l->in.failed) {
			listing_free(l);
		} else if (!look_at_child(r, l)) {
			return false;
		}
	}
	return true;
}

/* ---- what SetWatches told of --------------------------------------------- */

static bool go_found(struct zk_resume *r)
{
	while (!zk_looks_full(r) && r->found_pos < r->n_found) {
		const struct zk_found *f = &r->found[r->found_pos++];
		bool known = (f->kinds & ZK_FOUND_KNOWN) != 0;

		if (!zk_look(r, known ? ZK_LOOK_KNOWN : ZK_LOOK_DIR, f->path) ||
		    ((f->kinds & ZK_FOUND_LIST) != 0 &&
		     !zk_look(r, ZK_LOOK_LIST, f->path))) {
			return false;
		}
	}
	return true;
}

/* ---- steps --------------------------------------------------------------- */

struct zk_resume *zk_resume_new(struct zk_watch *zw)
{
	struct zk_resume *r = kv_calloc(1, sizeof *r);

	if (r == NULL) {
		return NULL;
	}
	r->zw = zw;
	r->general = zw->way == &zk_general_ops;
	r->diff = zk_watch_can_diff(zw);
	r->here = r->diff && r->general;
	list_init(&r->looks);
	list_init(&r->listings);
	return r;
}

/* Found may be looked at only when it is complete. */
static bool compare(struct zk_resume *r)
{
	if (r->general) {
		return zk_general_compare(r);
	}
	return r->diff ? zk_diff_step(r) : zk_merge_step(r);
}

void zk_resume_step(struct zk_watch *zw)
{
	struct zk_resume *r = zw->resume;

	if (r == NULL) {
		r = zw->resume = zk_resume_new(zw);
		if (r == NULL) {
			zk_watch_no_memory(zw);
			return;
		}
	}
	if (r->phase != ZK_RESUME_LOOK) {
		bool end = compare(r);

		if (zw->phase == ZK_WATCH_ENDED) {
			return; /* r is freed */
		}
		r->phase = end ? ZK_RESUME_LOOK : r->phase;
	}
	if (r->phase == ZK_RESUME_LOOK && (!go_listings(r) || !go_found(r))) {
		return;
	}
	zk_fetcher_pump(&zw->fetcher);
	if (zw->phase == ZK_WATCH_RESUMING && r->phase == ZK_RESUME_LOOK &&
	    r->n_looks == 0 && list_empty(&r->listings) &&
	    r->found_pos == r->n_found &&
	    zw->way->limit(zw, UINT64_MAX) >= zw->base) {
		uint64_t known = r->known;

		zk_resume_free(zw);
		zk_watch_resumed(zw, known);
	}
}

void zk_resume_free(struct zk_watch *zw)
{
	struct zk_resume *r = zw->resume;
	struct list *l;

	if (r == NULL) {
		return;
	}
	zw->resume = NULL;
	zk_diff_free(r);
	zk_merge_free(r);
	while ((l = list_pop_front(&r->looks)) != NULL) {
		kv_free(kv_container_of(l, struct look, link));
	}
	while ((l = list_first(&r->listings)) != NULL) {
		listing_free(kv_container_of(l, struct zk_listing, link));
	}
	store_page_free(r->page);
	arena_free(&r->after);
	kv_free(r);
}
