/* zk_settle.c: how a write ends: done, refused, failed, nobody knows.
 *
 *   done --> ACLs of znodes that were there before (acls=copy) --> end
 *   no answer: LOST --up--> LOOKING: sync, reads --> done, or unknown
 *
 * No answer means that nobody knows. Once the connection is back, sync and
 * reads show how the znodes stand: when all of them carry the marks of one
 * multi that did just this (the same zxid, the versions it makes, our data), it
 * was done. When not, it may still come: the outcome stays unknown.
 */
#include "store/zookeeper/zk_write.h"

#include <zookeeper/zookeeper.h>

#include "store/base/log.h"

/* ZooKeeper's quotas came after this library. */
#define ERR_QUOTA_EXCEEDED (-125)

/* ---- what the library says ----------------------------------------------- */

/* The request may or may not have reached the server. */
bool zk_rc_is_lost(int rc)
{
	return rc == ZCONNECTIONLOSS || rc == ZOPERATIONTIMEOUT ||
	       rc == ZSESSIONEXPIRED || rc == ZCLOSING || rc == ZINVALIDSTATE;
}

/* Surely not done, and may be asked again: on another server. */
bool zk_rc_is_moved(int rc)
{
	return rc == ZSESSIONMOVED || rc == ZNOTREADONLY || rc == ZTHROTTLEDOP;
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
void zk_writing_end_all(struct zk_writing *x, int op_status)
{
	zk_set_ops(x->req, op_status);
	zk_writing_end(x);
}

void zk_writing_end_stale(struct zk_writing *x)
{
	(void)kv_fail(&x->req->err, KV_NOT_REACHABLE,
		      "zookeeper: the connection was lost since");
	zk_writing_end_all(x, KV_CANCELED);
}

void zk_writing_end_unknown(struct zk_writing *x, const char *why)
{
	(void)kv_fail(&x->req->err, KV_UNKNOWN_OUTCOME,
		      "zookeeper: a write was sent, and %s", why);
	zk_writing_end_all(x, KV_UNKNOWN_OUTCOME);
}

void zk_writing_end_no_memory(struct zk_writing *x)
{
	if (x->phase >= ZK_WRITE_SENT) {
		zk_writing_end_unknown(
		    x, "there is no memory to look what became of it");
		return;
	}
	(void)kv_fail(&x->req->err, KV_NO_MEMORY,
		      "zookeeper: no memory for a write");
	zk_writing_end_all(x, KV_CANCELED);
}

void zk_writing_end_done(struct zk_writing *x)
{
	struct zk_session *s = &x->w->zk->session;

	kv_err_clear(&x->req->err);
	s->zxid = KV_MAX(s->zxid, (int64_t)x->zxid);
	zk_origin(x->w->zk, &x->req->origin);
	zk_writing_end(x);
}

void zk_writing_end_refused(struct zk_writing *x)
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
void zk_writing_end_failed(struct zk_writing *x)
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
struct zk_lib *zk_writing_call(struct zk_writing *x, enum zk_lib_kind kind,
			       struct slice path,
			       void (*done)(struct zk_lib *c), void *arg)
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

bool zk_writing_start(struct zk_writing *x, enum zk_lib_kind kind,
		      struct slice path, void (*done)(struct zk_lib *c),
		      void *arg)
{
	struct zk_lib *c = zk_writing_call(x, kind, path, done, arg);

	if (c == NULL) {
		return false;
	}
	zk_lib_start(x->w->handle, c);
	return true;
}

void zk_writing_forget_calls(struct zk_writing *x)
{
	struct list *l;

	while ((l = list_first(&x->calls)) != NULL) {
		zk_lib_forget(kv_container_of(l, struct zk_lib, mine));
	}
	x->pending = 0;
}

/* An answer came to a read: true: c->rc is fine, or says that there is none. */
bool zk_writing_read_came(struct zk_writing *x, const struct zk_lib *c,
			  struct slice path)
{
	x->pending--;
	if (c->rc == ZOK && !c->memory) {
		return true;
	}
	if (c->rc == ZNONODE) {
		return true;
	}
	if (zk_rc_is_lost(c->rc) || zk_rc_is_moved(c->rc)) {
		x->again = true;
	} else if (x->err.status == KV_OK) {
		(void)fail_path(&x->err, path,
				c->rc == ZOK ? ZSYSTEMERROR : c->rc);
	}
	return false;
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
		zk_writing_end_done(x);
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
		struct zk_lib *s = zk_writing_call(x, ZK_LIB_SET_ACL,
						   node->path, acl_set, node);

		if (s == NULL) {
			note_acl(node, ZSYSTEMERROR);
		} else {
			s->attrs = node->attrs;
			zk_lib_start(x->w->handle, s);
		}
	}
	if (x->pending == 0) {
		zk_writing_end_done(x);
	}
}

/* A multi cannot set ACLs: those of znodes that it only changed follow. A
 * failure is logged: the write itself is done. */
void zk_writing_set_acls(struct zk_writing *x)
{
	size_t i;

	x->phase = ZK_WRITE_ACLS;
	for (i = 0; x->w->zk->copy_acls && i < x->plan.n_steps; i++) {
		struct zk_node *node = x->plan.steps[i].node;

		if (node->fate == ZK_CHANGED && zk_handle_is_up(x->w->handle) &&
		    !zk_writing_start(x, ZK_LIB_GET_ACL, node->path, acl_got,
				      node)) {
			note_acl(node, ZSYSTEMERROR);
		}
	}
	if (x->pending == 0) {
		zk_writing_end_done(x);
	}
}

/* ---- looking what became of it ------------------------------------------- */

static void looked(struct zk_writing *x)
{
	uint64_t zxid;

	if (x->err.status != KV_OK) {
		zk_writing_end_unknown(x, x->err.text);
		return;
	}
	if (x->again) {
		x->again = false;
		x->phase = ZK_WRITE_LOST;
		zk_writer_kick(x->w);
		return;
	}
	if (!zk_plan_was_done(&x->plan, &zxid)) {
		zk_writing_end_unknown(
		    x, "no answer came; the znodes do not show it");
		return;
	}
	x->zxid = zxid != 0 ? zxid : x->zxid;
	zk_writing_set_acls(x);
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

	if (zk_writing_read_came(x, c, node->path)) {
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

	(void)zk_writing_read_came(x, c, slice_str("/"));
	if (x->pending == 0) {
		looked(x);
	}
}

static void look_probe_done(struct zk_lib *c)
{
	struct zk_writing *x = c->data;

	if (zk_writing_read_came(x, c, x->plan.probe)) {
		x->zxid = (uint64_t)KV_MAX(c->stat.pzxid, 1);
	}
	if (x->pending == 0) {
		looked(x);
	}
}

void zk_writing_look(struct zk_writing *x)
{
	bool ok =
	    zk_writing_start(x, ZK_LIB_SYNC, slice_str("/"), sync_done, NULL);
	size_t i;

	x->phase = ZK_WRITE_LOOKING;
	for (i = 0; ok && i < x->plan.n_nodes; i++) {
		struct zk_node *node = &x->plan.nodes[i];

		if (node->op != NULL) {
			ok = zk_writing_start(x, ZK_LIB_GET, node->path,
					      look_done, node);
		}
	}
	if (ok && x->plan.learn == ZK_NO_NODE) {
		ok = zk_writing_start(x, ZK_LIB_EXISTS, x->plan.probe,
				      look_probe_done, x);
	}
	if (!ok) {
		zk_writing_forget_calls(x);
		zk_writing_end_no_memory(x);
	}
}

/* ---- late ---- */

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
	zk_writing_end_all(x, KV_CANCELED);
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
		zk_writing_end_unknown(x, "no answer came in time");
		break;
	case ZK_WRITE_ACLS:
		LOG_WARN("zookeeper: ACLs were not set in time");
		zk_writing_end_done(x);
		break;
	}
}
