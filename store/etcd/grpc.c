/* grpc.c: see grpc.h.
 *
 *   happy path: start: HEADERS, DATA with END_STREAM --> HEADERS, DATA...,
 *               trailers with grpc-status --> done(END_STATUS)
 *   RST_STREAM REFUSED, GOAWAY with a lower last stream --> END_REFUSED
 *   other RST_STREAM, no trailers, end of file, silence --> END_LOST
 *
 * nghttp2 must not be asked to send from inside its own callbacks: these only
 * submit, and `flush` runs after them. For the same reason a connection that
 * fails inside nghttp2 notes its trouble and goes down afterwards.
 */
#include <stdio.h>

#include "store/etcd/grpc_impl.h"

#define CONNECTION_WINDOW (32 * 1024 * 1024)
/* The server takes PINGs every 5 s while a stream is open, not faster. */
#define PING_AFTER_MS 10000
#define PING_ANSWER_MS 6000

/* ---- ends ---------------------------------------------------------------- */

void grpc_end_call(struct grpc_call *call, enum grpc_end end)
{
	list_remove(&call->link);
	call->g = NULL;
	call->end = end;
	grpc_inbox_free(&call->in);
	call->done(call);
}

/* A stream closed. While nghttp2 sends, an owner may be on the stack, who is
 * promised that no callback comes from inside his call. */
void grpc_finish_call(struct grpc_call *call, enum grpc_end end)
{
	struct grpc *g = call->g;

	if (!g->sending) {
		grpc_end_call(call, end);
		return;
	}
	call->end = end;
	call->ended = true;
	list_remove(&call->link);
	list_push_back(&g->ended, &call->link);
	sched_post(g->sched, &g->later);
}

static void deliver_ended(struct grpc *g)
{
	struct list *l;
	struct grpc_call *call;

	while ((l = list_first(&g->ended)) != NULL) {
		call = kv_container_of(l, struct grpc_call, link);
		grpc_end_call(call, call->end);
	}
}

/* Tells all calls, then the owner. Only from the loop. */
static void go_down(struct grpc *g, const struct kv_err *err)
{
	struct list calls, *l;
	struct grpc_call *call;

	PRE(!g->inside);
	if (g->down || g->closing) {
		return;
	}
	g->down = true;
	sched_timer_stop(&g->alive);
	deliver_ended(g);
	list_init(&calls);
	list_splice_back(&calls, &g->calls);
	while ((l = list_first(&calls)) != NULL) {
		call = kv_container_of(l, struct grpc_call, link);
		(void)snprintf(call->text, sizeof call->text, "%.*s",
			       (int)sizeof call->text - 1, err->text);
		grpc_end_call(call, GRPC_END_LOST);
	}
	if (!g->closing) {
		g->events->down(g->ctx, err);
	}
}

void grpc_note_trouble(struct grpc *g, const struct kv_err *err)
{
	if (g->trouble.status == KV_OK) {
		PRE(err->status != KV_OK);
		g->trouble = *err;
	}
}

static void trouble_later(struct grpc *g, const struct kv_err *err)
{
	grpc_note_trouble(g, err);
	if (!g->closing && !g->down) {
		sched_post(g->sched, &g->later);
	}
}

static void later_cb(struct sched_task *task)
{
	struct grpc *g = kv_container_of(task, struct grpc, later);
	struct kv_err err = g->trouble;

	deliver_ended(g);
	if (err.status != KV_OK) {
		go_down(g, &err);
	}
}

void grpc_abort(struct grpc *g, const struct kv_err *err)
{
	trouble_later(g, err);
}

static void nghttp2_trouble(struct grpc *g, int code)
{
	struct kv_err err;

	if (code == NGHTTP2_ERR_NOMEM) {
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory for HTTP/2");
	} else {
		(void)kv_fail(&err, KV_NOT_REACHABLE, "%s: HTTP/2: %s%s",
			      g->authority, nghttp2_strerror(code),
			      g->up ? ""
				    : " (is it an etcd client port, and is "
				      "TLS on, etcds://, where it should be?)");
	}
	grpc_note_trouble(g, &err);
}

static void check_memory(struct grpc *g)
{
	if (g->no_memory) {
		nghttp2_trouble(g, NGHTTP2_ERR_NOMEM);
	}
}

/* ---- sending ------------------------------------------------------------- */

/* One buffer full from nghttp2; 0: it has nothing to send. */
static size_t gather(struct grpc *g)
{
	const uint8_t *p;
	ssize_t got;
	size_t n = 0;

	while (n < SEND_BUFFER) {
		got = nghttp2_session_mem_send(g->session, &p);
		if (got < 0) {
			nghttp2_trouble(g, (int)got);
			return 0;
		}
		if (got == 0) {
			break;
		}
		PRE((size_t)got <= sizeof g->out - n);
		memcpy(g->out + n, p, (size_t)got);
		n += (size_t)got;
	}
	return n;
}

static void flush(struct grpc *g)
{
	struct kv_err err;
	size_t n;

	if (g->inside || !g->wire_up || g->down || g->closing) {
		return;
	}
	while (!wire_is_busy(g->wire) && g->trouble.status == KV_OK) {
		g->inside = g->sending = true;
		n = gather(g);
		g->inside = g->sending = false;
		if (n == 0) {
			break;
		}
		wire_send(g->wire, g->out, n);
	}
	check_memory(g);
	if (g->trouble.status != KV_OK) {
		err = g->trouble;
		trouble_later(g, &err);
	}
}

/* nghttp2 wants up to `cap` bytes of a call's request. */
static ssize_t read_request(nghttp2_session *session, int32_t id, uint8_t *buf,
			    size_t cap, uint32_t *flags,
			    nghttp2_data_source *source KV_UNUSED,
			    void *user KV_UNUSED)
{
	struct grpc_call *call =
	    nghttp2_session_get_stream_user_data(session, id);
	size_t n;

	if (call == NULL) {
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	n = KV_MIN(cap, call->out_n - call->out_pos);
	if (n == 0 && call->stream) {
		return NGHTTP2_ERR_DEFERRED;
	}
	if (n > 0) {
		memcpy(buf, call->out + call->out_pos, n);
		call->out_pos += n;
	}
	if (call->out_pos == call->out_n) {
		call->sent = true;
		if (!call->stream) {
			*flags |= NGHTTP2_DATA_FLAG_EOF;
		}
	}
	return (ssize_t)n;
}

static nghttp2_nv header(const char *name, const char *value)
{
	nghttp2_nv nv;

	nv.name = (uint8_t *)(uintptr_t)name;
	nv.namelen = strlen(name);
	nv.value = (uint8_t *)(uintptr_t)value;
	nv.valuelen = strlen(value);
	nv.flags = NGHTTP2_NV_FLAG_NONE;
	return nv;
}

int grpc_start(struct grpc *g, struct grpc_call *call)
{
	nghttp2_nv nv[9];
	nghttp2_data_provider body = {.read_callback = read_request};
	size_t n = 0;

	PRE(grpc_is_usable(g) && call->done != NULL && call->message != NULL);
	nv[n++] = header(":method", "POST");
	nv[n++] = header(":scheme", g->scheme);
	nv[n++] = header(":path", call->path);
	nv[n++] = header(":authority", g->authority);
	nv[n++] = header("content-type", "application/grpc");
	nv[n++] = header("te", "trailers");
	nv[n++] = header("user-agent", "kvmirror/" KVMIRROR_VERSION);
	if (call->token != NULL) {
		nv[n++] = header("token", call->token);
	}
	if (call->needs_leader) {
		nv[n++] = header("hasleader", "true");
	}
	call->in.max = call->max_message;
	call->id = nghttp2_submit_request(g->session, NULL, nv, n, &body, call);
	if (call->id < 0) {
		g->no_memory = false; /* this one was told */
		return KV_NO_MEMORY;
	}
	call->g = g;
	list_init(&call->link);
	list_push_back(&g->calls, &call->link);
	if (!sched_timer_running(&g->alive)) {
		/* After a long rest the peer is asked at once. */
		sched_timer_start(g->sched, &g->alive, 0);
	}
	flush(g);
	return KV_OK;
}

bool grpc_send(struct grpc_call *call, const uint8_t *p, size_t n)
{
	PRE(call->stream && grpc_call_is_open(call));
	if (call->out_pos < call->out_n) {
		return false;
	}
	call->out = p;
	call->out_n = n;
	call->out_pos = 0;
	(void)nghttp2_session_resume_data(call->g->session, call->id);
	flush(call->g);
	return true;
}

void grpc_cancel(struct grpc_call *call)
{
	struct grpc *g = call->g;

	if (g == NULL) {
		return;
	}
	list_remove(&call->link);
	call->g = NULL;
	grpc_inbox_free(&call->in);
	if (g->down || call->ended) {
		return;
	}
	(void)nghttp2_session_set_stream_user_data(g->session, call->id, NULL);
	(void)nghttp2_submit_rst_stream(g->session, NGHTTP2_FLAG_NONE, call->id,
					NGHTTP2_CANCEL);
	if (call->held > 0) {
		(void)nghttp2_session_consume_connection(g->session,
							 call->held);
		call->held = 0;
	}
	flush(g);
}

bool grpc_call_is_open(const struct grpc_call *call)
{
	return call->g != NULL;
}

void grpc_pause(struct grpc_call *call, bool paused)
{
	if (call->g == NULL || call->paused == paused) {
		return;
	}
	call->paused = paused;
	if (!paused && call->held > 0) {
		(void)nghttp2_session_consume(call->g->session, call->id,
					      call->held);
		call->held = 0;
		flush(call->g);
	}
}

/* ---- the wire's events --------------------------------------------------- */

static void wire_data_cb(void *ctx, const uint8_t *p, size_t n)
{
	struct grpc *g = ctx;
	struct kv_err err;
	ssize_t rv;

	if (g->down || g->closing) {
		return;
	}
	g->heard = sched_now(g->sched);
	g->heard_any = true;
	g->ping_sent = 0;
	g->inside = true;
	rv = nghttp2_session_mem_recv(g->session, p, n);
	g->inside = false;
	if (g->closing) {
		return;
	}
	if (rv < 0) {
		nghttp2_trouble(g, (int)rv);
	}
	check_memory(g);
	if (g->goaway && list_empty(&g->calls)) {
		(void)kv_fail(&err, KV_NOT_REACHABLE,
			      "%s: the server said goodbye", g->authority);
		grpc_note_trouble(g, &err);
	}
	if (g->trouble.status != KV_OK) {
		err = g->trouble;
		go_down(g, &err);
		return;
	}
	flush(g);
}

static void wire_drained_cb(void *ctx)
{
	flush(ctx);
}

static void wire_up_cb(void *ctx)
{
	struct grpc *g = ctx;

	g->wire_up = true;
	/* Bound the wait for SETTINGS. */
	sched_timer_start(g->sched, &g->alive, g->connect_ms);
	flush(g);
}

static void wire_down_cb(void *ctx, const struct kv_err *why)
{
	struct grpc *g = ctx;
	struct kv_err err = *why;

	/* TLS 1.3 lets a client finish its handshake before the server has
	 * looked at the certificate it asked for. */
	if (g->wire_up && !g->up && strcmp(g->scheme, "https") == 0 &&
	    strstr(err.text, "certificate") == NULL) {
		(void)kv_fail(&err, err.status,
			      "%s: closed right after the TLS handshake (%s): "
			      "%s",
			      g->authority, why->text,
			      g->has_client_cert
				  ? "does the server accept our client "
				    "certificate?"
				  : "does the server require a client "
				    "certificate (options cert and key)?");
	} else if (g->wire_up && !g->up && !g->heard_any &&
		   strcmp(g->scheme, "http") == 0) {
		(void)kv_fail(&err, err.status,
			      "%s before it spoke HTTP/2: is it an etcd client "
			      "port, and is TLS on (etcds://) where it should "
			      "be?",
			      why->text);
	}
	go_down(g, &err);
}

static void wire_closed_cb(void *ctx)
{
	struct grpc *g = ctx;
	const struct grpc_events *events = g->events;
	void *owner = g->ctx;

	PRE(list_empty(&g->calls));
	nghttp2_session_del(g->session);
	kv_free(g->authority);
	kv_free(g);
	events->closed(owner);
}

static const struct wire_events wire_events = {
    .up = wire_up_cb,
    .data = wire_data_cb,
    .drained = wire_drained_cb,
    .down = wire_down_cb,
    .closed = wire_closed_cb,
};

/* ---- silence ------------------------------------------------------------- */

static void alive_cb(struct sched_timer *t)
{
	struct grpc *g = kv_container_of(t, struct grpc, alive);
	uint64_t now = sched_now(g->sched), wait = PING_AFTER_MS;
	struct kv_err err;

	if (!g->up) {
		(void)kv_fail(&err, KV_NOT_REACHABLE,
			      "connect %s: connected, but no HTTP/2 answer "
			      "within %llu ms",
			      g->authority, (unsigned long long)g->connect_ms);
		go_down(g, &err);
		return;
	}
	if (list_empty(&g->calls)) {
		return; /* PINGs of an idle connection are not welcome */
	}
	if (g->ping_sent != 0) {
		if (now - g->ping_sent >= PING_ANSWER_MS) {
			(void)kv_fail(&err, KV_NOT_REACHABLE,
				      "%s: no sign of life for %llu ms",
				      g->authority,
				      (unsigned long long)(now - g->heard));
			go_down(g, &err);
			return;
		}
		wait = PING_ANSWER_MS - (now - g->ping_sent);
	} else if (now - g->heard >= PING_AFTER_MS) {
		g->ping_sent = now;
		(void)nghttp2_submit_ping(g->session, NGHTTP2_FLAG_NONE, NULL);
		wait = PING_ANSWER_MS;
	} else {
		wait = PING_AFTER_MS - (now - g->heard);
	}
	sched_timer_start(g->sched, &g->alive, wait);
	flush(g);
}

/* ---- making and ending --------------------------------------------------- */

static int submit_settings(struct grpc *g, uint32_t stream_window)
{
	nghttp2_settings_entry iv[] = {
	    {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
	    {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, stream_window},
	};

	if (nghttp2_submit_settings(g->session, NGHTTP2_FLAG_NONE, iv,
				    KV_COUNT(iv)) != 0 ||
	    nghttp2_session_set_local_window_size(g->session, NGHTTP2_FLAG_NONE,
						  0, CONNECTION_WINDOW) != 0) {
		return KV_NO_MEMORY;
	}
	return KV_OK;
}

int grpc_open(const struct grpc_params *p, struct grpc **out,
	      struct kv_err *err)
{
	struct wire_params wp = {
	    .sched = p->sched,
	    .host = p->host,
	    .port = p->port,
	    .tls = p->tls,
	    .timeout_ms = p->connect_ms,
	    .events = &wire_events,
	};
	bool v6 = strchr(p->host, ':') != NULL;
	struct grpc *g = kv_calloc(1, sizeof *g);
	int rv = KV_NO_MEMORY;

	if (g == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory to connect");
	}
	g->sched = p->sched;
	g->events = p->events;
	g->ctx = p->ctx;
	g->scheme = p->tls != NULL ? "https" : "http";
	g->has_client_cert = p->tls != NULL && p->tls->cert != NULL;
	g->connect_ms = p->connect_ms;
	g->alive.fire = alive_cb;
	g->later.run = later_cb;
	g->heard = sched_now(g->sched);
	list_init(&g->calls);
	list_init(&g->ended);
	g->authority = kv_asprintf(v6 ? "[%s]:%s" : "%s:%s", p->host, p->port);
	if (g->authority == NULL || grpc_session_new(g) != KV_OK ||
	    submit_settings(g, p->stream_window) != KV_OK) {
		(void)kv_fail(err, KV_NO_MEMORY, "no memory to connect");
		goto err_free;
	}
	wp.ctx = g;
	rv = wire_open(&wp, &g->wire, err);
	if (rv != KV_OK) {
		goto err_free;
	}
	*out = g;
	return KV_OK;

err_free:
	assert(rv != KV_OK);
	nghttp2_session_del(g->session);
	kv_free(g->authority);
	kv_free(g);
	return rv;
}

bool grpc_is_usable(const struct grpc *g)
{
	return g->up && !g->down && !g->goaway && !g->closing &&
	       g->trouble.status == KV_OK;
}

bool grpc_is_leaving(const struct grpc *g)
{
	return g->goaway && !g->down && g->trouble.status == KV_OK;
}

uint64_t grpc_last_heard(const struct grpc *g)
{
	return g->heard;
}

void grpc_close(struct grpc *g)
{
	PRE(list_empty(&g->calls) && list_empty(&g->ended) && !g->closing);
	g->closing = true;
	sched_timer_stop(&g->alive);
	sched_unpost(&g->later);
	wire_close(g->wire);
}
