/* zk_stage.c: makes the changes that are to be handed out next whole.
 *
 *   staged --value let go of--> getData --same index--> value
 *     |                            `-- other, gone: skipped, as of what is
 *     |                                other now an event has come
 *     `----ACL wanted---------> getACL ----------------> attrs
 */
#include "store/zookeeper/zk_watch.h"

struct staging {
	struct zk_fetch fetch;
	struct list link;
	struct zk_watch *zw;
	struct zk_told *told;
	uint8_t path[];
};

/* One more of what was missing is here. */
static void finish(struct staging *s)
{
	struct zk_watch *zw = s->zw;

	list_remove(&s->link);
	kv_free(s);
	if (list_empty(&zw->staging)) {
		zk_watch_later(zw);
	}
}

static void value_cb(struct zk_fetch *f, const struct zk_fetched *r)
{
	struct staging *s = kv_container_of(f, struct staging, fetch);
	struct zk_watch *zw = s->zw;
	struct zk_told *t = s->told;
	struct slice attrs;

	arena_reset(&zw->scratch);
	if (r->error != ZK_OK || !zk_is_key(zw->zk, &r->data) ||
	    zk_index(zw->zk, &r->data) != t->index) {
		t->skip = true;
	} else if (!zk_watch_attrs(zw, &r->data, slice_of(NULL, 0), &attrs) ||
		   !zk_gather_fill(&zw->gather, t, r->data.data, attrs)) {
		zk_watch_no_memory(zw);
		return;
	}
	finish(s);
}

static void acl_cb(struct zk_fetch *f, const struct zk_fetched *r)
{
	struct staging *s = kv_container_of(f, struct staging, fetch);
	struct zk_watch *zw = s->zw;
	struct zk_told *t = s->told;
	struct zk_data d = {.null = t->is_null};
	struct slice attrs;

	arena_reset(&zw->scratch);
	t->lacks_acl = false;
	if (r->error == ZK_NO_NODE) {
		t->skip = true;
	} else if (!zk_watch_attrs(zw, &d, r->acl, &attrs) ||
		   !zk_gather_set_attrs(&zw->gather, t, attrs)) {
		zk_watch_no_memory(zw);
		return;
	}
	finish(s);
}

/* False: no memory. */
static bool read_for(struct zk_watch *zw, struct zk_told *t, enum zk_op op,
		     void (*done)(struct zk_fetch *f,
				  const struct zk_fetched *r))
{
	struct staging *s;
	struct slice path;

	arena_reset(&zw->scratch);
	path = zk_path(zw->zk->st, &zw->scratch, t->key);
	if (path.p == NULL) {
		return false;
	}
	s = kv_calloc(1, sizeof *s + path.n);
	if (s == NULL) {
		return false;
	}
	s->zw = zw;
	s->told = t;
	memcpy(s->path, path.p, path.n);
	s->fetch.op = op;
	s->fetch.path = slice_of(s->path, path.n);
	s->fetch.done = done;
	list_init(&s->link);
	list_push_back(&zw->staging, &s->link);
	zk_fetch_add(&zw->fetcher, &s->fetch);
	return true;
}

bool zk_stage_is_whole(struct zk_watch *zw)
{
	struct zk_gather *g = &zw->gather;
	bool ok = true;
	size_t i;

	if (!list_empty(&zw->staging)) {
		return false;
	}
	for (i = g->staged_pos; i < g->n_staged && ok; i++) {
		struct zk_told *t = g->staged[i];

		/* The value first: it says whether the change still holds. */
		if (t->skip) {
			continue;
		}
		if (t->dropped) {
			ok = read_for(zw, t, ZK_OP_GET_DATA, value_cb);
		} else if (t->lacks_acl) {
			ok = read_for(zw, t, ZK_OP_GET_ACL, acl_cb);
		}
	}
	if (!ok) {
		zk_watch_no_memory(zw);
		return false;
	}
	zk_fetcher_pump(&zw->fetcher);
	return zw->phase != ZK_WATCH_ENDED && list_empty(&zw->staging);
}

void zk_stage_free(struct zk_watch *zw)
{
	struct list *l;

	while ((l = list_pop_front(&zw->staging)) != NULL) {
		kv_free(kv_container_of(l, struct staging, link));
	}
}
