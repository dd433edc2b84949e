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
 * seen every multi that was sent before.
 *
 * No answer means that nobody knows. Once the connection is back, sync and
 * reads show how the znodes stand: when all of them carry the marks of one
 * multi that did just this (the same zxid, the versions it makes, our data), it
 * was done. When not, it may still come: the outcome stays unknown.
 */
#include "store/zookeeper/zk_write.h"

#include <zookeeper/zookeeper.h>

#include "store/base/log.h"

/* A multi that fails as the tree has moved is planned anew so many times; of
 * as many writes as run at a time each round lets one through. */
#define TRIES 20
/* ZooKeeper's quotas came after this library. */
#define ERR_QUOTA_EXCEEDED (-125)

static void step(struct zk_writing *x);

/* ---- what the library says ----------------------------------------------- */

/* The request may or may not have reached the server. */
static bool is_lost(int rc)
{
	return rc == ZCONNECTIONLOSS || rc == ZOPERATIONTIMEOUT ||
	       rc == ZSESSIONEXPIRED || rc == ZCLOSING || rc == ZINVALIDSTATE;
}

/* Surely not done, and may be asked again: on another server. */
static bool is_moved(int rc)
{
	return rc == ZSESSIONMOVED || rc == ZNOTREADONLY || rc == ZTHROTTLEDOP;
}

/* The tree is not (any more) as the plan had it. */
static bool is_race(int rc)
{
	return rc == ZNONODE || rc == ZNODEEXISTS || rc == ZBADVERSION ||
	       rc == ZNOTEMPTY;
}

static int status_of(int rc)
{
	switch (rc) {
	case ZNOAUTH:
	case ZAUTHFAILED:
		return KV_DENIED;
	case ZNOCHILDRENFOREPHEMERALS:
	case ZBADARGUMENTS:
	case ZINVALIDACL:
		return KV_INVALID_KEY;
	case ERR_QUOTA_EXCEEDED:
		return KV_NO_SPACE;
	case ZSYSTEMERROR:
		return KV_NO_MEMORY;
	default:
		return KV_BROKEN;
	}
}

static const char *text_of(int rc)
{
	switch (rc) {
	case ERR_QUOTA_EXCEEDED:
		return "quota exceeded";
	case ZNOCHILDRENFOREPHEMERALS:
		return "an ephemeral znode above it may not have children";
	default:
		return zerror(rc);
	}
}

static int fail_path(struct kv_err *err, struct slice path, int rc)
{
	char text[SLICE_PRINT_MAX];

	return kv_fail(err, status_of(rc), "zookeeper: %s: %s",
		       slice_print(path, text, sizeof text), text_of(rc));
}

/* ---- the end ------------------------------------------------------------- */

/* Ends it with err set; every op the same. */
static void end_all(struct zk_writing *x, int op_status)
{
	zk_set_ops(x->req, op_status);
	zk_writing_end(x);
}

static void end_stale(struct zk_writing *x)
{
	(void)kv_fail(&x->req->err, KV_NOT_REACHABLE,
		      "zookeeper: the connection was lost since");
	end_all(x, KV_CANCELED);
}

static void end_unknown(struct zk_writing *x, const char *why)
{
	(void)kv_fail(&x->req->err, KV_UNKNOWN_OUTCOME,
		      "zookeeper: a write was sent, and %s", why);
	end_all(x, KV_UNKNOWN_OUTCOME);
}

static void end_no_memory(struct zk_writing *x)
{
	if (x->phase >= ZK_WRITE_SENT) {
		end_unknown(x, "there is no memory to look what became of it");
		return;
	}
	(void)kv_fail(&x->req->err, KV_NO_MEMORY,
		      "zookeeper: no memory for a write");
	end_all(x, KV_CANCELED);
}

static void end_done(struct zk_writing *x)
{
	struct zk_session *s = &x->w->zk->session;

	kv_err_clear(&x->req->err);
	s->zxid = KV_MAX(s->zxid, (int64_t)x->zxid);
	zk_origin(x->w->zk, &x->req->origin);
	zk_writing_end(x);
}

static void end_refused(struct zk_writing *x)
{
	const struct store_op *op = x->plan.refused->op;
	char key[SLICE_PRINT_MAX];

	zk_origin(x->w->zk, &x->req->origin);
	(void)kv_fail(&x->req->err, op->status, "zookeeper: %s: %s",
		      slice_print(op->key, key, sizeof key),
		      kv_status_text(op->status));
	zk_writing_end(x);
}

/* The op that a step serves: its own, or one that needs its parent. */
static struct store_op *op_of_step(const struct zk_writing *x, size_t at)
{
	const struct zk_plan *p = &x->plan;
	const struct zk_node *node;
	size_t i, up;

	if (at == ZK_NO_NODE) {
		return x->req->n_ops == 1 ? &x->req->ops[0] : NULL;
	}
	node = p->steps[at].node;
	for (i = 0; i < p->n_nodes; i++) {
		if (p->nodes[i].op == NULL) {
			continue;
		}
		for (up = i; up != ZK_NO_NODE; up = p->nodes[up].parent) {
			if (&p->nodes[up] == node) {
				return p->nodes[i].op;
			}
		}
	}
	return NULL;
}

/* The server will not have it, and nothing was done. */
static void end_failed(struct zk_writing *x)
{
	struct store_op *op = op_of_step(x, x->failed);
	struct slice path = x->failed == ZK_NO_NODE
				? slice_str("a write")
				: x->plan.steps[x->failed].node->path;
	int status = fail_path(&x->req->err, path, x->rc);

	zk_set_ops(x->req, KV_CANCELED);
	if (op != NULL && (status == KV_DENIED || status == KV_INVALID_KEY)) {
		op->status = status;
	}
	zk_writing_end(x);
}

/* ---- calls --------------------------------------------------------------- */

/* One more call of the phase; NULL: no memory. path: of a node, or a text. */
static struct zk_lib *call(struct zk_writing *x, enum zk_lib_kind kind,
			   struct slice path, void (*done)(struct zk_lib *c),
			   void *arg)
{
	struct zk_lib *c = zk_lib_new(kind, done, x);

	if (c == NULL) {
		return NULL;
	}
	c->arg = arg;
	c->path = (const char *)path.p;
	list_push_back(&x->calls, &c->mine);
	x->pending++;
	return c;
}

static bool start(struct zk_writing *x, enum zk_lib_kind kind,
		  struct slice path, void (*done)(struct zk_lib *c), void *arg)
{
	struct zk_lib *c = call(x, kind, path, done, arg);

	if (c == NULL) {
		return false;
	}
	zk_lib_start(x->w->handle, c);
	return true;
}

static void start_no_more(struct zk_writing *x)
{
	struct list *l;

	while ((l = list_first(&x->calls)) != NULL) {
		zk_lib_forget(kv_container_of(l, struct zk_lib, mine));
	}
	x->pending = 0;
}

/* An answer came to a read: true: c->rc is fine, or says that there is none. */
static bool read_came(struct zk_writing *x, const struct zk_lib *c,
		      struct slice path)
{
	x->pending--;
	if (c->rc == ZOK && !c->memory) {
		return true;
	}
	if (c->rc == ZNONODE) {
		return true;
	}
	if (is_lost(c->rc) || is_moved(c->rc)) {
		x->again = true;
	} else if (x->err.status == KV_OK) {
		(void)fail_path(&x->err, path,
				c->rc == ZOK ? ZSYSTEMERROR : c->rc);
	}
	return false;
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
		end_all(x, KV_CANCELED);
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
	} else if (read_came(x, c, node->path)) {
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
		    !start(x, kind, node->path, read_done, node)) {
			start_no_more(x);
			end_no_memory(x);
			return;
		}
	}
}

/* ---- ACLs of znodes that were there -------------------------------------- */

static void note_acl(const struct zk_node *node, int rc)
{
	if (rc != ZOK) {
		LOG_WARN("zookeeper: the ACL of a znode could not be set",
			 LOG_B("path", node->path),
			 LOG_S("reason", zerror(rc)));
	}
}

static void acl_set(struct zk_lib *c)
{
	struct zk_writing *x = c->data;

	x->pending--;
	note_acl(c->arg, c->rc);
	if (x->pending == 0) {
		end_done(x);
	}
}

/* Does the znode have the ACL that the put names? */
static bool same_acl(struct zk_writing *x, struct zk_node *node,
		     const struct zk_lib *c)
{
	struct zk_attrs want = node->attrs, have = c->attrs;
	struct slice a, b;

	want.null = false;
	have.null = false;
	return zk_attrs_encode(&x->arena, &want, &a) == KV_OK &&
	       zk_attrs_encode(&x->arena, &have, &b) == KV_OK && slice_eq(a, b);
}

static void acl_got(struct zk_lib *c)
{
	struct zk_writing *x = c->data;
	struct zk_node *node = c->arg;

	x->pending--;
	if (c->rc != ZOK || c->memory) {
		note_acl(node, c->rc == ZOK ? ZSYSTEMERROR : c->rc);
	} else if (!same_acl(x, node, c) && zk_handle_is_up(x->w->handle)) {
		struct zk_lib *s =
		    call(x, ZK_LIB_SET_ACL, node->path, acl_set, node);

		if (s == NULL) {
			note_acl(node, ZSYSTEMERROR);
		} else {
			s->attrs = node->attrs;
			zk_lib_start(x->w->handle, s);
		}
	}
	if (x->pending == 0) {
		end_done(x);
	}
}

/* A multi cannot set ACLs: those of znodes that it only changed follow. A
 * failure is logged: the write itself is done. */
static void set_acls(struct zk_writing *x)
{
	size_t i;

	x->phase = ZK_WRITE_ACLS;
	for (i = 0; x->w->zk->copy_acls && i < x->plan.n_steps; i++) {
		struct zk_node *node = x->plan.steps[i].node;

		if (node->fate == ZK_CHANGED && zk_handle_is_up(x->w->handle) &&
		    !start(x, ZK_LIB_GET_ACL, node->path, acl_got, node)) {
			note_acl(node, ZSYSTEMERROR);
		}
	}
	if (x->pending == 0) {
		end_done(x);
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
	set_acls(x);
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
		end_no_memory(x);
	} else if (is_moved(x->rc) ||
		   (is_lost(x->rc) && (x->unsent || x->plan.parents_only))) {
		/* Nothing was done, or only what does no harm. */
		go_back(x);
	} else if (is_lost(x->rc)) {
		x->phase = ZK_WRITE_LOST;
		zk_writer_kick(x->w);
	} else if (is_race(x->rc) && ++x->tries < TRIES) {
		zk_seen_clear(x->plan.seen);
		plan_anew(x);
	} else if (is_race(x->rc)) {
		(void)kv_fail(&x->req->err, KV_TIMED_OUT,
			      "zookeeper: others change the same znodes faster "
			      "than they can be written");
		end_all(x, KV_CANCELED);
	} else {
		end_failed(x);
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
			end_no_memory(x);
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
		end_stale(x);
		return;
	}
	x->phase = ZK_WRITE_SENT;
	c = call(x, ZK_LIB_MULTI, slice_str("/"), multi_done, NULL);
	if (c == NULL) {
		x->phase = ZK_WRITE_READING; /* it was not sent */
		end_no_memory(x);
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
	    !start(x, ZK_LIB_EXISTS, x->plan.probe, probe_done, NULL)) {
		x->zxid = (uint64_t)KV_MAX(s->zxid, 1);
	}
	if (!s->has_root) {
		/* Our first write made it: what the store is known by. */
		(void)start(x, ZK_LIB_EXISTS, x->plan.root, root_done, NULL);
	}
}

/* ---- looking what became of it ------------------------------------------- */

static void looked(struct zk_writing *x)
{
	uint64_t zxid;

	if (x->err.status != KV_OK) {
		end_unknown(x, x->err.text);
		return;
	}
	if (x->again) {
		x->again = false;
		x->phase = ZK_WRITE_LOST;
		zk_writer_kick(x->w);
		return;
	}
	if (!zk_plan_was_done(&x->plan, &zxid)) {
		end_unknown(x, "no answer came; the znodes do not show it");
		return;
	}
	x->zxid = zxid != 0 ? zxid : x->zxid;
	set_acls(x);
}

static bool same_data(const struct zk_node *node, const struct zk_lib *c)
{
	bool put = node->op != NULL && node->op->kind == STORE_OP_PUT;

	if (!put || node->attrs.null) {
		return c->null;
	}
	return !c->null && slice_eq(c->out, node->op->value);
}

static void look_done(struct zk_lib *c)
{
	struct zk_writing *x = c->data;
	struct zk_node *node = c->arg;

	if (read_came(x, c, node->path)) {
		node->now_there = c->rc == ZOK;
		node->now = c->stat;
		node->now_same = c->rc == ZOK && same_data(node, c);
	}
	if (x->pending == 0) {
		looked(x);
	}
}

static void sync_done(struct zk_lib *c)
{
	struct zk_writing *x = c->data;

	(void)read_came(x, c, slice_str("/"));
	if (x->pending == 0) {
		looked(x);
	}
}

static void look_probe_done(struct zk_lib *c)
{
	struct zk_writing *x = c->data;

	if (read_came(x, c, x->plan.probe)) {
		x->zxid = (uint64_t)KV_MAX(c->stat.pzxid, 1);
	}
	if (x->pending == 0) {
		looked(x);
	}
}

static void look(struct zk_writing *x)
{
	bool ok = start(x, ZK_LIB_SYNC, slice_str("/"), sync_done, NULL);
	size_t i;

	x->phase = ZK_WRITE_LOOKING;
	for (i = 0; ok && i < x->plan.n_nodes; i++) {
		struct zk_node *node = &x->plan.nodes[i];

		if (node->op != NULL) {
			ok = start(x, ZK_LIB_GET, node->path, look_done, node);
		}
	}
	if (ok && x->plan.learn == ZK_NO_NODE) {
		ok = start(x, ZK_LIB_EXISTS, x->plan.probe, look_probe_done, x);
	}
	if (!ok) {
		start_no_more(x);
		end_no_memory(x);
	}
}

/* ---- steps --------------------------------------------------------------- */

static void step(struct zk_writing *x)
{
	if (zk_writing_is_stale(x)) {
		end_stale(x);
		return;
	}
	if (!zk_handle_is_up(x->w->handle)) {
		go_back(x);
		return;
	}
	switch (zk_plan_make(&x->plan)) {
	case ZK_PLAN_NO_MEMORY:
		end_no_memory(x);
		break;
	case ZK_PLAN_ASK:
		read_nodes(x);
		break;
	case ZK_PLAN_REFUSE:
		end_refused(x);
		break;
	case ZK_PLAN_NOTHING:
		end_done(x);
		break;
	case ZK_PLAN_SEND:
		send_multi(x);
		break;
	}
}

void zk_writing_step(struct zk_writing *x)
{
	if (x->phase == ZK_WRITE_LOST) {
		look(x);
	} else {
		step(x);
	}
}

static void end_late(struct zk_writing *x)
{
	const struct zk_handle *h = x->w->handle;
	struct kv_err *err = &x->req->err;
	const struct zk_session *s = &x->w->zk->session;

	kv_err_clear(err);
	if (!zk_handle_is_up(h) && zk_handle_error(h)->status != KV_OK) {
		*err = *zk_handle_error(h);
	} else if (!s->up) {
		(void)zk_session_unreachable(s, err);
	}
	if (err->status == KV_OK) {
		(void)kv_fail(
		    err, zk_handle_is_up(h) ? KV_TIMED_OUT : KV_NOT_REACHABLE,
		    "zookeeper: no answer to a write within %llu ms",
		    (unsigned long long)s->timeout_ms);
	}
	end_all(x, KV_CANCELED);
}

void zk_writing_late(struct zk_writing *x)
{
	switch (x->phase) {
	case ZK_WRITE_WAITING:
	case ZK_WRITE_BACK:
	case ZK_WRITE_READING:
		end_late(x);
		break;
	case ZK_WRITE_SENT:
	case ZK_WRITE_LOST:
	case ZK_WRITE_LOOKING:
		end_unknown(x, "no answer came in time");
		break;
	case ZK_WRITE_ACLS:
		LOG_WARN("zookeeper: ACLs were not set in time");
		end_done(x);
		break;
	}
}
