/* zk_second.c: see zk_second.h. */
#include "store/zookeeper/zk_second.h"

#define MAX_REPLY ((size_t)16 * 1024 * 1024)

struct zk_second {
	struct zk_session *s;
	struct zk_conn *conn;
	const struct zk_second_events *events;
	void *ctx;
	bool closed;
};

static void up_cb(void *ctx)
{
	struct zk_second *c = ctx;

	c->events->up(c->ctx);
}

static void event_cb(void *ctx, enum zk_event_type type, struct slice path)
{
	struct zk_second *c = ctx;

	c->events->event(c->ctx, type, path);
}

static void down_cb(void *ctx, const struct kv_err *why)
{
	struct zk_second *c = ctx;

	c->events->down(c->ctx, why);
}

/* The session waits for its connections, this one among them, as they borrow
 * what it holds. */
static void closed_cb(void *ctx)
{
	struct zk_second *c = ctx;
	struct zk_session *s = c->s;

	s->connections--;
	if (s->closing) {
		sched_post(s->sched, &s->task);
	}
	kv_free(c);
}

static const struct zk_conn_events conn_events = {
    .up = up_cb, .event = event_cb, .down = down_cb, .closed = closed_cb};

int zk_second_open(struct zk_session *s, const struct zk_second_events *events,
		   void *ctx, struct zk_second **out, struct kv_err *err)
{
	const struct zk_endpoint *e = &s->endpoints[s->cur];
	struct zk_second *c = kv_calloc(1, sizeof *c);
	struct zk_conn_params p = {
	    .sched = s->sched,
	    .host = e->host,
	    .port = e->port,
	    .tls = s->use_tls ? &s->tls : NULL,
	    .timeout_ms = s->timeout_ms,
	    .session_ms = s->session_ms,
	    .last_zxid = zk_conn_zxid(s->conn),
	    .auth_scheme = s->digest != NULL ? "digest" : NULL,
	    .auth = slice_str(s->digest),
	    .max_reply = MAX_REPLY,
	    .events = &conn_events,
	    .ctx = c,
	};
	int rv;

	PRE(s->up);
	if (c == NULL) {
		return kv_fail(err, KV_NO_MEMORY,
			       "zookeeper: no memory to connect");
	}
	c->s = s;
	c->events = events;
	c->ctx = ctx;
	rv = zk_conn_open(&p, &c->conn, err);
	if (rv != KV_OK) {
		kv_free(c);
		return rv;
	}
	s->connections++;
	*out = c;
	return KV_OK;
}

struct zk_conn *zk_second_conn(const struct zk_second *c)
{
	return c->conn;
}

void zk_second_close(struct zk_second *c)
{
	PRE(!c->closed);
	c->closed = true;
	zk_conn_close(c->conn);
}
