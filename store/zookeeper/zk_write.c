/* zk_write.c: one write: reads what it must know, plans, sends one multi.
 *
 *   WAITING --> plan --ASK--> READING --answers--> plan
 *                |                `-- connection lost: WAITING
 *                |-- REFUSE, NOTHING: end
 *                `-- SEND --> SENT --done--> (ACLS) --> end
 *                               |-- the tree moved: forget, plan anew
 *                               |-- refused: the op at fault, end
 *                               `-- no answer: LOST --up--> LOOKING --> end
 *
 * All requests go over one session, which keeps their order: what is read has
 * seen every multi that was sent before. How it ends: zk_settle.c.
 */
#include "store/zookeeper/zk_write.h"

#include <zookeeper/zookeeper.h>

#include "store/base/log.h"

/* A multi that fails as the tree has moved is planned anew so many times; of
 * as many writes as run at a time each round lets one through. */
#define TRIES 20

static void step(struct zk_writing *x);

/* The tree is not (any more) as the plan had it. */
static bool is_race(int rc)
{
	return rc == ZNONODE || rc == ZNODEEXISTS || rc == ZBADVERSION ||
	       rc == ZNOTEMPTY;
}

/* ---- reading ------------------------------------------------------------- */

/* What the Stat (and whether there is data) say about a node. */
static void learn_node(struct zk_writing *x, struct zk_node *node)
{
	struct zk_data d = {.null = node->null, .stat = node->stat};

	/* Only the length counts. */
	d.data.n = (size_t)node->stat.data_length;
	node->key = zk_is_key(x->w->zk, &d);
}

static void take_node(struct zk_writing *x, struct zk_node *node,
		      const struct zk_lib *c)
{
	bool get = c->kind == ZK_LIB_GET;

	node->assumed = false;
	if (c->rc == ZNONODE) {
		node->known = ZK_ABSENT;
		return;
	}
	node->known = ZK_THERE;
	node->stat = c->stat;
	node->null = get && c->null;
	node->data_known = get || c->stat.data_length > 0;
	learn_node(x, node);
}

/* Nothing was sent, or not done: from the start, on the next connection. */
static void go_back(struct zk_writing *x)
{
	x->again = false;
	zk_plan_forget(&x->plan);
	x->phase = ZK_WRITE_BACK;
	zk_writer_kick(x->w);
}

static void reads_done(struct zk_writing *x)
{
	if (x->err.status != KV_OK) {
		x->req->err = x->err;
		zk_writing_end_all(x, KV_CANCELED);
	} else if (x->again) {
		go_back(x);
	} else {
		step(x);
	}
}

static void read_done(struct zk_lib *c)
{
	struct zk_writing *x = c->data;
	struct zk_node *node = c->arg;

	if (c->kind == ZK_LIB_GET && c->rc == ZNOAUTH) {
		/* It cannot be looked into: then it holds something. */
		x->pending--;
		node->data_known = true;
	} else if (zk_writing_read_came(x, c, node->path)) {
		take_node(x, node, c);
	}
	if (x->pending == 0) {
		reads_done(x);
	}
}

static void read_nodes(struct zk_writing *x)
{
	size_t i;

	x->phase = ZK_WRITE_READING;
	for (i = 0; i < x->plan.n_nodes; i++) {
		struct zk_node *node = &x->plan.nodes[i];
		enum zk_lib_kind kind =
		    node->ask_data ? ZK_LIB_GET : ZK_LIB_EXISTS;

		if ((node->ask_stat || node->ask_data) &&
		    !zk_writing_start(x, kind, node->path, read_done, node)) {
			zk_writing_forget_calls(x);
			zk_writing_end_no_memory(x);
			return;
		}
	}
}

/* ---- the multi ----------------------------------------------------------- */

static void multi_did_it(struct zk_writing *x)
{
	unsigned others;

	if (x->plan.learn != ZK_NO_NODE) {
		x->zxid = (uint64_t)x->stats[x->plan.learn].mzxid;
	}
	others = zk_plan_done(&x->plan, x->stats, x->zxid);
	if (others > 0) {
		LOG_WARN("zookeeper: keys that were deleted and made anew as "
			 "they were written had the same version",
			 LOG_U("keys", others));
	}
	zk_writing_set_acls(x);
}

static void plan_anew(struct zk_writing *x)
{
	zk_plan_forget(&x->plan);
	step(x);
}

static void multi_came(struct zk_writing *x)
{
	if (x->rc == ZOK && x->plan.parents_only) {
		plan_anew(x);
	} else if (x->rc == ZOK) {
		multi_did_it(x);
	} else if (x->unsent && x->rc == ZSYSTEMERROR) {
		x->phase = ZK_WRITE_READING;
		zk_writing_end_no_memory(x);
	} else if (zk_rc_is_moved(x->rc) ||
		   (zk_rc_is_lost(x->rc) &&
		    (x->unsent || x->plan.parents_only))) {
		/* Nothing was done, or only what does no harm. */
		go_back(x);
	} else if (zk_rc_is_lost(x->rc)) {
		x->phase = ZK_WRITE_LOST;
		zk_writer_kick(x->w);
	} else if (is_race(x->rc) && ++x->tries < TRIES) {
		zk_seen_clear(x->plan.seen);
		plan_anew(x);
	} else if (is_race(x->rc)) {
		(void)kv_fail(&x->req->err, KV_TIMED_OUT,
			      "zookeeper: others change the same znodes faster "
			      "than they can be written");
		zk_writing_end_all(x, KV_CANCELED);
	} else {
		zk_writing_end_failed(x);
	}
}

static void multi_done(struct zk_lib *c)
{
	struct zk_writing *x = c->data;

	x->pending--;
	x->rc = c->failed != ZK_NO_NODE ? c->failed_rc : c->rc;
	x->failed = c->failed;
	x->unsent = !c->sent;
	if (c->rc == ZOK) {
		x->stats = arena_memdup(&x->arena, c->stats,
					c->n_steps * sizeof *c->stats);
		if (x->stats == NULL) {
			zk_writing_end_no_memory(x);
			return;
		}
	}
	if (x->pending == 0) {
		multi_came(x);
	}
}

/* The znode that a multi of deletes leaves above them. */
static void probe_done(struct zk_lib *c)
{
	struct zk_writing *x = c->data;

	x->pending--;
	x->zxid = c->rc == ZOK ? (uint64_t)c->stat.pzxid : 0;
	/* Not told: what was seen last serves, as it can only be earlier. */
	if (x->zxid == 0) {
		x->zxid = (uint64_t)KV_MAX(x->w->zk->session.zxid, 1);
	}
	if (x->pending == 0) {
		multi_came(x);
	}
}

static void root_done(struct zk_lib *c)
{
	struct zk_writing *x = c->data;
	struct zk_session *s = &x->w->zk->session;

	x->pending--;
	if (c->rc == ZOK && s->up && !s->has_root) {
		s->root_stat = c->stat;
		s->has_root = true;
	}
	if (x->pending == 0) {
		multi_came(x);
	}
}

static void send_multi(struct zk_writing *x)
{
	const struct zk_session *s = &x->w->zk->session;
	struct zk_lib *c;

	if (zk_writing_is_stale(x)) {
		zk_writing_end_stale(x);
		return;
	}
	x->phase = ZK_WRITE_SENT;
	c = zk_writing_call(x, ZK_LIB_MULTI, slice_str("/"), multi_done, NULL);
	if (c == NULL) {
		x->phase = ZK_WRITE_READING; /* it was not sent */
		zk_writing_end_no_memory(x);
		return;
	}
	c->steps = x->plan.steps;
	c->n_steps = x->plan.n_steps;
	zk_lib_start(x->w->handle, c);
	if (x->plan.parents_only) {
		return;
	}
	/* These are right behind it. */
	if (x->plan.learn == ZK_NO_NODE &&
	    !zk_writing_start(x, ZK_LIB_EXISTS, x->plan.probe, probe_done,
			      NULL)) {
		x->zxid = (uint64_t)KV_MAX(s->zxid, 1);
	}
	/* Our first write made it: what the store is known by. */
	if (!s->has_root && !zk_writing_start(x, ZK_LIB_EXISTS, x->plan.root,
					      root_done, NULL)) {
		LOG_DEBUG("zookeeper: no memory to look at the root");
	}
}

/* ---- steps --------------------------------------------------------------- */

static void step(struct zk_writing *x)
{
	if (zk_writing_is_stale(x)) {
		zk_writing_end_stale(x);
		return;
	}
	if (!zk_handle_is_up(x->w->handle)) {
		go_back(x);
		return;
	}
	switch (zk_plan_make(&x->plan)) {
	case ZK_PLAN_NO_MEMORY:
		zk_writing_end_no_memory(x);
		break;
	case ZK_PLAN_ASK:
		read_nodes(x);
		break;
	case ZK_PLAN_REFUSE:
		zk_writing_end_refused(x);
		break;
	case ZK_PLAN_NOTHING:
		zk_writing_end_done(x);
		break;
	case ZK_PLAN_SEND:
		send_multi(x);
		break;
	}
}

void zk_writing_step(struct zk_writing *x)
{
	if (x->phase == ZK_WRITE_LOST) {
		zk_writing_look(x);
	} else {
		step(x);
	}
}
