/* zk_general_open.c: the general way, until it is live; see zk_general.c.
 *
 *   nothing to resume, or nothing sure is known: the tree is armed from its
 *     root down --> armed; then known keys that are not in the table are
 *     looked for
 *   the known keys are all: they are put into the table, and armed by
 *     SetWatches --> armed; what that tells of is dirty, and from the past
 */
#include "store/zookeeper/zk_general.h"

/* ---- arming -------------------------------------------------------------- */

void zk_general_arm(struct zk_watch *zw)
{
	struct zk_dirty *root;

	zw->general = kv_calloc(1, sizeof *zw->general);
	if (zw->general == NULL) {
		zk_watch_no_memory(zw);
		return;
	}
	zw->general->zw = zw;
	zw->general->timer.fire = zk_general_large_cb;
	list_init(&zw->general->large);
	if (zk_watch_can_diff(zw)) {
		zw->resume = zw->general->diff = zk_resume_new(zw);
		if (zw->resume == NULL) {
			zk_watch_no_memory(zw);
		} else {
			zk_watch_later(zw);
		}
		return;
	}
	root = zk_general_touch(zw, zw->root);
	if (root != NULL) {
		root->fresh = true;
		zw->general->first = zw->single ? NULL : root;
		zk_general_pump(zw);
	}
}

void zk_general_arming(struct zk_watch *zw)
{
	if (zw->general->diff == NULL) {
		zk_general_pump(zw);
	} else if (zk_diff_step(zw->general->diff)) {
		zk_general_armed(zw);
	}
}

bool zk_general_expect(struct zk_watch *zw, struct slice path, uint64_t index)
{
	struct zk_node *n = zk_table_reach(&zw->general->table, zw->root, path);

	if (n == NULL) {
		return false;
	}
	if (index > 0) {
		n->is_key = true;
		n->index = index;
	}
	return true;
}

/* ---- resuming ------------------------------------------------------------ */

/* Known keys of which there is no key in the table are looked for. True: all
 * were compared. */
bool zk_general_compare(struct zk_resume *r)
{
	struct zk_watch *zw = r->zw;
	const struct store_pair *known;
	const struct zk_node *n;
	struct slice path;
	bool end = false;

	if (r->diff) {
		return true; /* they were, by the server */
	}
	while (!zk_looks_full(r)) {
		known = zk_known_peek(r, &end);
		if (known == NULL) {
			return end && zw->phase != ZK_WATCH_ENDED;
		}
		arena_reset(&zw->scratch);
		path = zk_path(zw->zk->st, &zw->scratch, known->key);
		if (path.p == NULL) {
			zk_watch_no_memory(zw);
			return false;
		}
		n = zk_table_find(&zw->general->table, path);
		if ((n == NULL || !n->is_key) &&
		    !zk_look(r, ZK_LOOK_KNOWN, path)) {
			return false;
		}
		zk_known_pop(r);
	}
	return false;
}

void zk_general_resume(struct zk_watch *zw)
{
	zk_general_pump(zw);
	if (zw->phase == ZK_WATCH_RESUMING) {
		zk_resume_step(zw);
	}
}
