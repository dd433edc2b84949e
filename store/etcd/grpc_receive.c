/* grpc_receive.c: what nghttp2 tells of the server's frames.
 *
 *   DATA --> grpc_feed --> message      HEADERS --> status, text
 *   end of a stream --> what that means --> done
 *
 * All of this runs inside nghttp2: nothing here sends, `flush` in grpc.c does
 * so afterwards.
 */
#include <stdio.h>

#include "store/etcd/grpc_impl.h"

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
		grpc_end_call(call, fed == GRPC_FEED_TOO_BIG ? GRPC_END_TOO_BIG
				    : fed == GRPC_FEED_NO_MEMORY
					? GRPC_END_NO_MEMORY
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
		grpc_finish_call(call, GRPC_END_STATUS);
		return;
	}
	if (error_code == NGHTTP2_REFUSED_STREAM) {
		(void)snprintf(call->text, sizeof call->text,
			       "the server refused the call");
		grpc_finish_call(call, GRPC_END_REFUSED);
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
	grpc_finish_call(call, GRPC_END_LOST);
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
		grpc_note_trouble(g, &err);
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

/* ---- the session --------------------------------------------------------- */

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

int grpc_session_new(struct grpc *g)
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
