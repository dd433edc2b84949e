/* zk_conn_receive.c: see zk_conn_impl.h. */
#include "store/zookeeper/zk_conn_impl.h"

static void go_up(struct zk_conn *c)
{
	c->phase = ZK_UP;
	c->in.max = c->max_reply;
	sched_timer_start(c->sched, &c->alive, 0);
	c->events->up(c->ctx);
}

static void take_handshake(struct zk_conn *c, struct slice frame)
{
	struct zk_handshake h;

	if (!zk_get_handshake(frame, &h)) {
		zk_conn_garbage(c,
				"what came is no answer to a handshake: is it "
				"a ZooKeeper client port, and is TLS on "
				"(zks://) where it should be?");
	} else if (h.timeout_ms == 0) {
		zk_conn_garbage(c, "the server gave no session: it is expired");
	} else if (h.read_only) {
		zk_conn_garbage(c, "the server is in read-only mode: it has no "
				   "quorum");
	} else {
		c->granted_ms = (uint64_t)h.timeout_ms;
		if (c->auth_scheme == NULL) {
			go_up(c);
			return;
		}
		c->phase = ZK_AUTH;
		if (!zk_conn_put_auth(c)) {
			zk_conn_no_memory(c);
		}
	}
}

static void take_auth(struct zk_conn *c, const struct zk_header *h)
{
	struct kv_err err;
	char text[32];

	if (h->xid != ZK_XID_AUTH) {
		zk_conn_garbage(c, "what came is no answer to the credentials");
		return;
	}
	if (h->error != ZK_OK) {
		(void)kv_fail(&err, KV_DENIED,
			      "%s: %s authentication: %s: check user and "
			      "password",
			      c->server, c->auth_scheme,
			      zk_error_text(h->error, text, sizeof text));
		zk_conn_down(c, &err);
		return;
	}
	go_up(c);
}

static void take_event(struct zk_conn *c, struct jute_in *in)
{
	struct zk_event e;

	zk_get_event(in, &e);
	if (in->failed || e.path.n == 0 || e.path.p[0] != '/') {
		zk_conn_garbage(c, "an event that cannot be read");
	} else if (e.type < ZK_EVENT_CREATED || e.type > ZK_EVENT_CHILD) {
		/* A change that goes by unseen would never be made good. */
		zk_conn_garbage(c, "an event of an unknown type");
	} else {
		c->events->event(c->ctx, (enum zk_event_type)e.type, e.path);
	}
}

/* The call that was answered; NULL: it was forgotten. */
static struct zk_call *watches_answered(struct zk_conn *c)
{
	struct list *l = list_pop_front(&c->watching);

	c->watches_out = false;
	zk_conn_send_watches(c);
	return l == NULL ? NULL : zk_call_of(l);
}

static struct zk_call *request_answered(struct zk_conn *c)
{
	int32_t xid = c->next_reply;
	struct list *l = list_first(&c->sent);

	c->next_reply = zk_xid_after(xid);
	return l == NULL || zk_call_of(l)->xid != xid ? NULL : zk_call_of(l);
}

static void take_reply(struct zk_conn *c, const struct zk_header *h,
		       const struct jute_in *body)
{
	struct zk_call *call;

	if (h->xid == ZK_XID_WATCHES && c->watches_out) {
		call = watches_answered(c);
	} else if (h->xid == c->next_reply && c->next_reply != c->next_xid) {
		call = request_answered(c);
	} else {
		zk_conn_garbage(c, "a reply that nothing was asked for");
		return;
	}
	c->zxid = KV_MAX(c->zxid, h->zxid);
	if (call != NULL) {
		call->error = h->error;
		call->zxid = h->zxid;
		call->body = *body;
		zk_conn_end_call(call);
	}
}

static void take_frame(struct zk_conn *c, struct slice frame)
{
	struct jute_in in = {.p = frame.p, .n = frame.n};
	struct zk_header h;

	if (c->phase == ZK_HANDSHAKE) {
		take_handshake(c, frame);
		return;
	}
	zk_get_header(&in, &h);
	if (in.failed) {
		zk_conn_garbage(c, "a frame that is too short");
	} else if (c->phase == ZK_AUTH) {
		take_auth(c, &h);
	} else if (h.xid == ZK_XID_EVENT) {
		take_event(c, &in);
	} else if (h.xid == ZK_XID_PING && c->pings > 0) {
		c->pings--;
	} else {
		take_reply(c, &h, &in);
	}
}

/* A reply that is too large answers the first call: that one is told. */
static void down_too_big(struct zk_conn *c)
{
	struct list *l = list_first(&c->sent);
	struct kv_err err;

	if (c->phase != ZK_UP) {
		zk_conn_garbage(
		    c, "what came is no ZooKeeper: is it a client port?");
		return;
	}
	(void)kv_fail(&err, KV_NOT_REACHABLE,
		      "%s: a reply of %zu bytes, and %zu are accepted",
		      c->server, c->in.frame, c->in.max);
	if (l != NULL && zk_call_of(l)->xid == c->next_reply) {
		zk_call_of(l)->err = err;
		zk_call_of(l)->err.status = KV_TOO_LARGE;
	}
	zk_conn_down(c, &err);
}

void zk_conn_receive(void *ctx, const uint8_t *p, size_t n)
{
	struct zk_conn *c = ctx;
	struct slice in = slice_of(p, n), frame = {0};
	enum zk_feed now;

	if (c->phase == ZK_DOWN || c->closing) {
		return;
	}
	c->heard = sched_now(c->sched);
	c->owed = false;
	c->second_look = false;
	while ((now = zk_feed(&c->in, &in, &frame)) == ZK_FEED_FRAME) {
		take_frame(c, frame);
		if (c->phase == ZK_DOWN || c->closing) {
			return;
		}
	}
	if (now == ZK_FEED_TOO_BIG) {
		down_too_big(c);
	} else if (now == ZK_FEED_BROKEN) {
		zk_conn_garbage(c, "a frame of negative length");
	} else if (now == ZK_FEED_NO_MEMORY) {
		zk_conn_no_memory(c);
	} else {
		zk_conn_flush(c);
	}
}
