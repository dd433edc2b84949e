/* zk_conn_call.c: see zk_conn_impl.h. */
#include "store/zookeeper/zk_conn_impl.h"

/* What a buffer for sending keeps when it is empty. */
#define KEEP_MAX ((size_t)1024 * 1024)

void zk_conn_flush(struct zk_conn *c)
{
	struct jute_out empty = c->sending;

	if (c->out.n == 0 || wire_is_busy(c->wire)) {
		return;
	}
	if (empty.cap > KEEP_MAX) {
		jute_out_free(&empty);
	}
	empty.n = 0;
	c->sending = c->out;
	c->out = empty;
	wire_send(c->wire, c->sending.p, c->sending.n);
}

static void note_said(struct zk_conn *c)
{
	c->said = sched_now(c->sched);
	if (!c->owed) {
		c->owed = true;
		c->asked = c->said;
	}
}

/* A frame in `out` begins: where. */
static size_t frame_begin(struct zk_conn *c)
{
	size_t at = c->out.n;

	jute_put_int(&c->out, 0);
	return at;
}

/* And ends. False: no memory, nothing of it stays. */
static bool frame_end(struct zk_conn *c, size_t at)
{
	if (c->out.failed) {
		c->out.failed = false;
		c->out.n = at;
		return false;
	}
	jute_patch_int(&c->out, at, (int32_t)(c->out.n - at - 4));
	note_said(c);
	return true;
}

bool zk_conn_put_header(struct zk_conn *c, int32_t xid, int32_t op)
{
	size_t at = frame_begin(c);

	jute_put_int(&c->out, xid);
	jute_put_int(&c->out, op);
	return frame_end(c, at);
}

bool zk_conn_put_connect(struct zk_conn *c)
{
	static const uint8_t password[16];
	size_t at = frame_begin(c);

	jute_put_int(&c->out, 0); /* protocol */
	jute_put_long(&c->out, c->last_zxid);
	jute_put_int(&c->out,
		     (int32_t)KV_MIN(c->session_ms, (uint32_t)INT32_MAX));
	jute_put_long(&c->out, 0); /* a new session */
	jute_put_bytes(&c->out, slice_of(password, sizeof password));
	jute_put_bool(&c->out, false); /* not from a read-only server */
	return frame_end(c, at);
}

bool zk_conn_put_auth(struct zk_conn *c)
{
	size_t at = frame_begin(c);

	jute_put_int(&c->out, ZK_XID_AUTH);
	jute_put_int(&c->out, ZK_OP_AUTH);
	jute_put_int(&c->out, 0);
	jute_put_bytes(&c->out, slice_str(c->auth_scheme));
	jute_put_bytes(&c->out, c->auth);
	return frame_end(c, at);
}

/* A call's frame leaves under the number xid; else the call's err says why not.
 */
static bool put_call(struct zk_conn *c, struct zk_call *call, int32_t xid)
{
	struct jute_out *f = &call->frame;

	if (f->failed) {
		(void)kv_fail(&call->err, KV_NO_MEMORY,
			      "%s: no memory for a request", c->server);
		return false;
	}
	PRE(f->n >= 12);
	if (f->n - 4 > INT32_MAX) {
		(void)kv_fail(&call->err, KV_TOO_LARGE,
			      "%s: a request of %zu bytes", c->server, f->n);
		return false;
	}
	jute_patch_int(f, 0, (int32_t)(f->n - 4));
	jute_patch_int(f, 4, xid);
	jute_put_raw(&c->out, slice_of(f->p, f->n));
	if (c->out.failed) {
		c->out.failed = false; /* nothing of it was put */
		(void)kv_fail(&call->err, KV_NO_MEMORY,
			      "%s: no memory for a request", c->server);
		return false;
	}
	jute_out_free(f);
	call->xid = xid;
	note_said(c);
	sched_post(c->sched, &c->later);
	return true;
}

/* One SetWatches at a time. */
void zk_conn_send_watches(struct zk_conn *c)
{
	struct zk_call *call;
	struct list *l;

	while (!c->watches_out && (l = list_first(&c->waiting)) != NULL) {
		call = zk_call_of(l);
		if (!put_call(c, call, ZK_XID_WATCHES)) {
			zk_conn_end_later(c, call);
			continue;
		}
		c->watches_out = true;
		list_remove(l);
		list_push_back(&c->watching, l);
	}
}

void zk_call_begin(struct zk_call *call, enum zk_op op)
{
	PRE(call->conn == NULL && call->frame.n == 0);
	call->op = op;
	jute_put_int(&call->frame, 0); /* length and number: at the start */
	jute_put_int(&call->frame, 0);
	jute_put_int(&call->frame, op);
}

void zk_call_start(struct zk_conn *c, struct zk_call *call)
{
	PRE(zk_conn_is_up(c) && call->conn == NULL && call->done != NULL);
	call->conn = c;
	call->error = ZK_OK;
	call->zxid = 0;
	call->body = (struct jute_in){0};
	kv_err_clear(&call->err);
	list_init(&call->link);
	if (call->op == ZK_OP_SET_WATCHES) {
		list_push_back(&c->waiting, &call->link);
		zk_conn_send_watches(c);
	} else if (put_call(c, call, c->next_xid)) {
		c->next_xid = zk_xid_after(c->next_xid);
		list_push_back(&c->sent, &call->link);
	} else {
		zk_conn_end_later(c, call);
	}
}

void zk_call_forget(struct zk_call *call)
{
	if (call->conn != NULL) {
		zk_conn_detach(call);
	}
}
