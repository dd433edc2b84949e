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
#include "store/etcd/grpc.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

#define SEND_BUFFER ((size_t)256 * 1024)
/* nghttp2 gives one frame at a time: 16 KiB, or a header block. */
#define SEND_SLACK ((size_t)128 * 1024)
#define CONNECTION_WINDOW (32 * 1024 * 1024)
/* The server takes PINGs every 5 s while a stream is open, not faster. */
#define PING_AFTER_MS 10000
#define PING_ANSWER_MS 6000

struct grpc {
	struct sched *sched;
	const struct grpc_events *events;
	void *ctx;
	struct wire *wire;
	nghttp2_session *session;
	char *authority;
	const char *scheme;
	bool has_client_cert;
	bool wire_up;
	bool up;      /* SETTINGS of the server are here */
	bool down;    /* told, or about to be */
	bool goaway;  /* no new calls */
	bool inside;  /* nghttp2 is on the stack */
	bool sending; /* ... in mem_send */
	bool closing;
	bool heard_any;
	bool no_memory; /* nghttp2 was refused some */
	uint64_t heard;
	uint64_t ping_sent; /* 0: none is out */
	struct list calls;
	struct list ended;	  /* done is due on a later turn */
	struct sched_timer alive; /* waits for SETTINGS, then watches silence */
	uint64_t connect_ms;
	struct sched_task later; /* reports `trouble` */
	struct kv_err trouble;	 /* status OK: none */
	uint8_t out[SEND_BUFFER + SEND_SLACK];
};

/* ---- ends ---------------------------------------------------------------- */

static void end_call(struct grpc_call *call, enum grpc_end end)
{
	list_remove(&call->link);
	call->g = NULL;
	call->end = end;
	grpc_inbox_free(&call->in);
	call->done(call);
}

/* A stream closed. While nghttp2 sends, an owner may be on the stack, who is
 * promised that no callback comes from inside his call. */
static void finish_call(struct grpc_call *call, enum grpc_end end)
{
	struct grpc *g = call->g;

	if (!g->sending) {
		end_call(call, end);
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
		end_call(call, call->end);
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
		end_call(call, GRPC_END_LOST);
	}
	if (!g->closing) {
		g->events->down(g->ctx, err);
	}
}

/* Notes why the connection is lost; the first reason stays. */
static void note_trouble(struct grpc *g, const struct kv_err *err)
{
	if (g->trouble.status == KV_OK) {
		PRE(err->status != KV_OK);
		g->trouble = *err;
	}
}

static void trouble_later(struct grpc *g, const struct kv_err *err)
{
	note_trouble(g, err);
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
	note_trouble(g, &err);
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

/* ---- receiving: nghttp2's callbacks -------------------------------------- */

static int on_data(nghttp2_session *session, uint8_t flags KV_UNUSED,
		   int32_t id, const uint8_t *p, size_t n, void *user KV_UNUSED)
{
	struct grpc_call *call =
	    nghttp2_session_get_stream_user_data(session, id);
	struct slice in = slice_of(p, n);
	enum grpc_feed fed;
	uint8_t *message;
	size_t size;

	if (call == NULL || call->paused) {
		if (call != NULL) {
			call->held += n;
		} else {
			(void)nghttp2_session_consume(session, id, n);
		}
	} else {
		(void)nghttp2_session_consume(session, id, n);
	}
	while (call != NULL && in.n > 0) {
		fed = grpc_feed(&call->in, &in);
		if (fed == GRPC_FEED_MORE) {
			break;
		}
		if (fed == GRPC_FEED_MESSAGE) {
			message = grpc_inbox_take(&call->in, &size);
			call->message(call, message, size);
			/* The callee may have canceled it. */
			call =
			    nghttp2_session_get_stream_user_data(session, id);
			continue;
		}
		call->announced = call->in.body_n;
		(void)nghttp2_session_set_stream_user_data(session, id, NULL);
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id,
						NGHTTP2_CANCEL);
		(void)snprintf(call->text, sizeof call->text,
			       "the answer is no gRPC message");
		end_call(call, fed == GRPC_FEED_TOO_BIG	    ? GRPC_END_TOO_BIG
			       : fed == GRPC_FEED_NO_MEMORY ? GRPC_END_NO_MEMORY
							    : GRPC_END_LOST);
		break;
	}
	return 0;
}

static bool is_name(const uint8_t *name, size_t n, const char *want)
{
	return n == strlen(want) && memcmp(name, want, n) == 0;
}

static int small_number(const uint8_t *p, size_t n)
{
	int v = 0;

	while (n > 0 && v < 10000 && *p >= '0' && *p <= '9') {
		v = v * 10 + (*p - '0');
		p++;
		n--;
	}
	return n == 0 ? v : -1;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame,
		     const uint8_t *name, size_t name_n, const uint8_t *value,
		     size_t n, uint8_t flags KV_UNUSED, void *user KV_UNUSED)
{
	struct grpc_call *call =
	    nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (call == NULL) {
		return 0;
	}
	if (is_name(name, name_n, ":status")) {
		call->http_status = small_number(value, n);
	} else if (is_name(name, name_n, "grpc-status")) {
		call->code = small_number(value, n);
		call->has_status = call->code >= 0;
	} else if (is_name(name, name_n, "grpc-message")) {
		grpc_decode_text(slice_of(value, n), call->text,
				 sizeof call->text);
	}
	return 0;
}

/* The server's side of a stream is over: what that means. */
static void close_call(nghttp2_session *session, struct grpc_call *call,
		       uint32_t error_code)
{
	if (call->held > 0) {
		(void)nghttp2_session_consume_connection(session, call->held);
		call->held = 0;
	}
	if (call->has_status) {
		finish_call(call, GRPC_END_STATUS);
		return;
	}
	if (error_code == NGHTTP2_REFUSED_STREAM) {
		(void)snprintf(call->text, sizeof call->text,
			       "the server refused the call");
		finish_call(call, GRPC_END_REFUSED);
		return;
	}
	if (call->http_status != 0 && call->http_status != 200) {
		(void)snprintf(call->text, sizeof call->text, "HTTP status %d",
			       call->http_status);
	} else {
		(void)snprintf(call->text, sizeof call->text,
			       "the server dropped the call (%s)",
			       nghttp2_http2_strerror(error_code));
	}
	finish_call(call, GRPC_END_LOST);
}

static int on_stream_close(nghttp2_session *session, int32_t id,
			   uint32_t error_code, void *user KV_UNUSED)
{
	struct grpc_call *call =
	    nghttp2_session_get_stream_user_data(session, id);

	if (call != NULL) {
		close_call(session, call, error_code);
	}
	return 0;
}

/* The server has said all on a stream whose request is still open on our side
 * (a watch, or a request that it did not want to read to its end): nothing
 * more will come. */
static void on_end_of_stream(struct grpc *g, int32_t id)
{
	struct grpc_call *call =
	    nghttp2_session_get_stream_user_data(g->session, id);

	if (call == NULL || (!call->stream && call->sent)) {
		return; /* closes by itself */
	}
	(void)nghttp2_session_set_stream_user_data(g->session, id, NULL);
	(void)nghttp2_submit_rst_stream(g->session, NGHTTP2_FLAG_NONE, id,
					NGHTTP2_NO_ERROR);
	close_call(g->session, call, NGHTTP2_NO_ERROR);
}

static void on_goaway(struct grpc *g, const nghttp2_goaway *frame)
{
	struct kv_err err;
	char why[64];

	g->goaway = true;
	grpc_decode_text(slice_of(frame->opaque_data, frame->opaque_data_len),
			 why, sizeof why);
	(void)kv_fail(&err, KV_NOT_REACHABLE,
		      "%s: the server says goodbye (%s%s%s)", g->authority,
		      nghttp2_http2_strerror(frame->error_code),
		      why[0] == '\0' ? "" : ": ", why);
	/* Calls it still answers may end; with an error, or without calls,
	 * there is nothing to wait for. */
	if (frame->error_code != NGHTTP2_NO_ERROR || list_empty(&g->calls)) {
		note_trouble(g, &err);
	}
}

static int on_frame(nghttp2_session *session KV_UNUSED,
		    const nghttp2_frame *frame, void *user)
{
	struct grpc *g = user;

	if (frame->hd.type == NGHTTP2_GOAWAY) {
		on_goaway(g, &frame->goaway);
	} else if (frame->hd.type == NGHTTP2_SETTINGS && !g->up &&
		   (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
		g->up = true;
		sched_timer_stop(&g->alive);
		if (!g->closing) {
			g->events->up(g->ctx);
		}
	} else if (frame->hd.type == NGHTTP2_HEADERS &&
		   (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
		on_end_of_stream(g, frame->hd.stream_id);
	}
	return 0;
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
		note_trouble(g, &err);
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

/* nghttp2 does not tell every allocation that failed (a request body may then
 * wait for ever): the connection is given up for any. */
static void *note_null(struct grpc *g, void *p)
{
	g->no_memory |= p == NULL;
	return p;
}

static void *ng_malloc(size_t n, void *g)
{
	return note_null(g, kv_malloc(n));
}

static void ng_free(void *p, void *g KV_UNUSED)
{
	kv_free(p);
}

static void *ng_calloc(size_t n, size_t size, void *g)
{
	return note_null(g, kv_calloc(n, size));
}

static void *ng_realloc(void *p, size_t n, void *g)
{
	return note_null(g, kv_realloc(p, n));
}

static int new_session(struct grpc *g)
{
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_option *option = NULL;
	nghttp2_mem mem = {g, ng_malloc, ng_free, ng_calloc, ng_realloc};
	int rv;

	rv = nghttp2_session_callbacks_new(&callbacks);
	if (rv != 0) {
		return KV_NO_MEMORY;
	}
	rv = nghttp2_option_new(&option);
	if (rv != 0) {
		nghttp2_session_callbacks_del(callbacks);
		return KV_NO_MEMORY;
	}
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks,
								  on_data);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks,
							       on_stream_close);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks,
							     on_frame);
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
	rv = nghttp2_session_client_new3(&g->session, callbacks, g, option,
					 &mem);
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	return rv == 0 ? KV_OK : KV_NO_MEMORY;
}

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
	if (g->authority == NULL || new_session(g) != KV_OK ||
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
