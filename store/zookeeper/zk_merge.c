/* zk_merge.c: known keys against the tree, both in ascending order.
 *
 *   walk: /a /b    /d          /a, /d: changed since, or not
 *   known: /a   /c /d      --> /c: missing, looked for
 *                              /b: new, if later than what was told
 *
 * A key that is not known and not later was left out by whoever knows.
 */
#include "store/zookeeper/zk_resume.h"

static void reader_start(struct zk_reader *reader, struct zk_read *read)
{
	struct zk_resume *r = kv_container_of(reader, struct zk_resume, reader);

	read->need_epoch = r->zw->epoch;
	zk_read_start(&r->zw->zk->session, read);
}

static void reader_cancel(struct zk_reader *reader KV_UNUSED,
			  struct zk_read *read)
{
	zk_read_cancel(read);
}

static void moved_cb(struct zk_walk *w)
{
	struct zk_resume *r = zk_walk_data(w);

	zk_watch_later(r->zw);
}

static bool begin(struct zk_resume *r)
{
	struct zk_walk_params p = {
	    .sched = r->zw->zk->st->sched,
	    .reader = &r->reader,
	    .dir = r->zw->root,
	    .moved = moved_cb,
	    .data = r,
	};

	r->reader.start = reader_start;
	r->reader.cancel = reader_cancel;
	r->reader.fast = r->zw->zk->session.fast;
	r->reader.node_size = r->zw->zk->node_size;
	r->walk = zk_walk_open(&p);
	if (r->walk == NULL) {
		zk_watch_no_memory(r->zw);
		return false;
	}
	return true;
}

/* A znode that is known, or new. False: the watch has ended. */
static bool see_node(struct zk_resume *r, const struct zk_walk_node *n,
		     struct slice key)
{
	bool hidden = n->error == ZK_NO_AUTH;
	uint64_t index = hidden ? zk_hidden_index(&n->data.stat)
				: zk_index(r->zw->zk, &n->data);

	if (index <= r->zw->w->after || index > r->zw->base) {
		return true;
	}
	return hidden ? zk_watch_hidden(r->zw, key, index)
		      : zk_watch_put(r->zw, key, &n->data, index);
}

static bool see_missing(struct zk_resume *r, const struct store_pair *known)
{
	struct slice path;

	if (known->index > r->zw->base) {
		zk_watch_fail_text(r->zw, KV_HISTORY_LOST,
				   "a known key is later than the ensemble: "
				   "it is another one, or was restored");
		return false;
	}
	arena_reset(&r->zw->scratch);
	path = zk_path(r->zw->zk->st, &r->zw->scratch, known->key);
	if (path.p == NULL) {
		zk_watch_no_memory(r->zw);
		return false;
	}
	return zk_look(r, ZK_LOOK_KNOWN, path);
}

/* The key of the front; n == 0: it is none. */
static struct slice front_key(const struct zk_resume *r,
			      const struct zk_walk_node *n)
{
	bool left_out =
	    r->zw->zk->skip_ephemerals && n->data.stat.ephemeral_owner != 0;

	if (n->error == ZK_NO_NODE || left_out ||
	    (n->error == ZK_OK && !zk_is_key(r->zw->zk, &n->data))) {
		return slice_of(NULL, 0);
	}
	return zk_watch_key(r->zw, n->path);
}

/* The next of both. False: the watch has ended. */
static bool merge_one(struct zk_resume *r, const struct zk_walk_node *n,
		      struct slice key, const struct store_pair *known)
{
	int cmp = n == NULL	  ? 1
		  : known == NULL ? -1
				  : slice_cmp(key, known->key);

	if (cmp <= 0 && !see_node(r, n, key)) {
		return false;
	}
	if (cmp > 0 && !see_missing(r, known)) {
		return false;
	}
	if (cmp <= 0) {
		zk_walk_pop(r->walk);
	}
	if (cmp >= 0) {
		zk_known_pop(r);
	}
	return true;
}

/* The walk has no front: false: it goes on later, or the watch has ended. */
static bool walk_ended(struct zk_resume *r)
{
	if (zk_walk_err(r->walk)->status != KV_OK) {
		zk_watch_fail(r->zw, zk_walk_err(r->walk));
		return false;
	}
	if (!zk_walk_is_done(r->walk)) {
		zk_walk_go(r->walk);
		return false;
	}
	return true;
}

bool zk_merge_step(struct zk_resume *r)
{
	const struct store_pair *known;
	const struct zk_walk_node *n;
	struct slice key = {0};
	bool end;

	if (r->walk == NULL && !begin(r)) {
		return false;
	}
	while (!zk_looks_full(r)) {
		n = zk_walk_front(r->walk);
		if (n == NULL && !walk_ended(r)) {
			return false;
		}
		if (n != NULL) {
			key = front_key(r, n);
			if (key.n == 0) {
				zk_walk_pop(r->walk);
				continue;
			}
		}
		known = zk_known_peek(r, &end);
		if (known == NULL && !end) {
			return false;
		}
		if (known == NULL && n == NULL) {
			return true;
		}
		if (!merge_one(r, n, key, known)) {
			return false;
		}
	}
	return false;
}

void zk_merge_free(struct zk_resume *r)
{
	if (r->walk != NULL) {
		r->zw->zk->node_size = r->reader.node_size;
		zk_walk_free(r->walk);
		r->walk = NULL;
	}
}
