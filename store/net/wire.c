/* wire.c: see wire.h.
 *
 * A wire is in one phase at a time. It may be freed when the name look-up and
 * the socket have both ended; `maybe_free` is asked after each of them.
 */
#include "store/net/wire.h"

#include <uv.h>

#define READ_BUFFER ((size_t)128 * 1024)
/* What one address of several gets at least to answer. */
#define ADDRESS_MIN_MS 250

enum phase { RESOLVING, CONNECTING, HANDSHAKE, UP, DOWN };

struct wire {
	struct sched *sched;
	const struct wire_events *events;
	void *ctx;
	char *host;
	char *port;
	uint64_t timeout_ms;
	struct tls *tls; /* NULL: clear text */
	enum phase phase;
	bool resolving;
	bool tcp_open; /* the handle is the loop's until its close callback */
	bool writing;
	bool closing;
	bool tcp_closing;
	struct sched_timer deadline; /* of the address tried, or handshake */
	struct sched_task later;     /* reports `trouble`, or frees */
	struct kv_err trouble;
	struct addrinfo *addresses;
	struct addrinfo *next; /* address to try when this one fails */
	uv_getaddrinfo_t resolve_req;
	uv_connect_t connect_req;
	uv_write_t write_req;
	uv_tcp_t tcp;
	uint8_t *out; /* ciphertext on its way */
	size_t out_cap;
	uint8_t *in;	/* READ_BUFFER bytes from the socket */
	uint8_t *plain; /* as many of plain text; NULL in clear text */
};

static void try_next(struct wire *w);

static void maybe_free(struct wire *w)
{
	if (w->closing && !w->resolving && !w->tcp_open) {
		sched_post(w->sched, &w->later);
	}
}

static void destroy(struct wire *w)
{
	const struct wire_events *events = w->events;
	void *ctx = w->ctx;

	if (w->addresses != NULL) {
		uv_freeaddrinfo(w->addresses);
	}
	tls_free(w->tls);
	kv_free(w->out);
	kv_free(w->in);
	kv_free(w->plain);
	kv_free(w->host);
	kv_free(w->port);
	kv_free(w);
	events->closed(ctx);
}

static void close_tcp(struct wire *w);

/* The end of the stream, told to the owner at once: only from the loop. */
static void go_down(struct wire *w, const struct kv_err *err)
{
	if (w->phase == DOWN || w->closing) {
		return;
	}
	w->phase = DOWN;
	sched_timer_stop(&w->deadline);
	close_tcp(w);
	w->events->down(w->ctx, err);
}

/* The same from inside a call of the owner's: told on a later turn. */
static void go_down_later(struct wire *w, const struct kv_err *err)
{
	if (w->trouble.status == KV_OK) {
		w->trouble = *err;
		sched_post(w->sched, &w->later);
	}
}

static void later_cb(struct sched_task *task)
{
	struct wire *w = kv_container_of(task, struct wire, later);
	struct kv_err err;

	if (w->closing) {
		if (!w->resolving && !w->tcp_open) {
			destroy(w);
		}
		return;
	}
	err = w->trouble;
	go_down(w, &err);
}

static void tcp_closed_cb(uv_handle_t *handle)
{
	struct wire *w = handle->data;

	w->tcp_open = false;
	w->tcp_closing = false;
	if (!w->closing && w->phase == CONNECTING) {
		try_next(w);
		return;
	}
	maybe_free(w);
}

static void close_tcp(struct wire *w)
{
	if (w->tcp_open && !w->tcp_closing) {
		w->tcp_closing = true;
		uv_close((uv_handle_t *)&w->tcp, tcp_closed_cb);
	}
}

/* ---- connecting ---------------------------------------------------------- */

static void note_address_failure(struct wire *w, const char *why)
{
	(void)kv_fail(&w->trouble, KV_NOT_REACHABLE, "connect %s:%s: %s",
		      w->host, w->port, why);
}

static void address_failed(struct wire *w, const char *why)
{
	struct kv_err err;

	sched_timer_stop(&w->deadline);
	note_address_failure(w, why);
	if (w->next != NULL) {
		close_tcp(w); /* its callback tries the next one */
		return;
	}
	err = w->trouble;
	go_down(w, &err);
}

static void address_error(struct wire *w, int rv)
{
	char why[256];

	(void)snprintf(why, sizeof why, "%s%s", uv_strerror(rv),
		       kv_files_advice(-rv));
	address_failed(w, why);
}

static void handshake(struct wire *w);

static void deadline_cb(struct sched_timer *t)
{
	struct wire *w = kv_container_of(t, struct wire, deadline);
	struct kv_err err;

	if (w->phase == CONNECTING) {
		address_failed(w, "timed out");
		return;
	}
	(void)kv_fail(&err, KV_NOT_REACHABLE, "connect %s:%s: %s timed out",
		      w->host, w->port,
		      w->phase == RESOLVING ? "the name's look-up"
					    : "the TLS handshake");
	go_down(w, &err);
}

static void alloc_cb(uv_handle_t *handle, size_t hint KV_UNUSED, uv_buf_t *buf)
{
	struct wire *w = handle->data;

	*buf = uv_buf_init((char *)w->in, (unsigned)READ_BUFFER);
}

/* Ciphertext is here: what it says in plain. */
static void read_tls(struct wire *w, const uint8_t *p, size_t n)
{
	struct kv_err err = {0};
	ptrdiff_t got;

	if (!tls_feed(w->tls, p, n)) {
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory for TLS");
		go_down(w, &err);
		return;
	}
	if (w->phase == HANDSHAKE) {
		handshake(w);
	}
	while (w->phase == UP && !w->closing) {
		got = tls_read(w->tls, w->plain, READ_BUFFER, &err);
		if (got < 0) {
			go_down(w, &err);
		}
		if (got <= 0) {
			return;
		}
		w->events->data(w->ctx, w->plain, (size_t)got);
	}
}

static void end_of_stream(struct wire *w, ssize_t nread)
{
	struct kv_err err;

	(void)kv_fail(&err, KV_NOT_REACHABLE, "%s:%s: %s%s", w->host, w->port,
		      nread == UV_EOF ? "the server closed the connection"
				      : uv_strerror((int)nread),
		      w->phase == HANDSHAKE
			  ? " in the TLS handshake: is it a clear "
			    "text port (the scheme's last s asks for TLS)?"
			  : "");
	go_down(w, &err);
}

static void read_cb(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
	struct wire *w = stream->data;

	if (nread == 0 || w->closing || w->phase == DOWN) {
		return;
	}
	if (nread < 0) {
		end_of_stream(w, nread);
	} else if (w->tls != NULL) {
		read_tls(w, (const uint8_t *)buf->base, (size_t)nread);
	} else {
		w->events->data(w->ctx, (const uint8_t *)buf->base,
				(size_t)nread);
	}
}

static void connect_cb(uv_connect_t *req, int status)
{
	struct wire *w = req->data;
	int rv = status;

	if (status == UV_ECANCELED || w->closing || w->phase != CONNECTING) {
		return;
	}
	if (rv == 0) {
		rv = uv_read_start((uv_stream_t *)&w->tcp, alloc_cb, read_cb);
	}
	if (rv != 0) {
		address_failed(w, uv_strerror(rv));
		return;
	}
	(void)uv_tcp_nodelay(&w->tcp, 1);
	w->trouble.status = KV_OK;
	if (w->tls == NULL) {
		sched_timer_stop(&w->deadline);
		w->phase = UP;
		w->events->up(w->ctx);
		return;
	}
	w->phase = HANDSHAKE;
	sched_timer_start(w->sched, &w->deadline, w->timeout_ms);
	handshake(w);
}

/* Each address gets its share of the time. */
static uint64_t address_ms(const struct wire *w)
{
	const struct addrinfo *ai;
	uint64_t n = 0;

	for (ai = w->addresses; ai != NULL; ai = ai->ai_next) {
		n++;
	}
	return KV_MAX(w->timeout_ms / KV_MAX(n, (uint64_t)1),
		      (uint64_t)ADDRESS_MIN_MS);
}

/* PRE: the handle is closed. */
static void try_next(struct wire *w)
{
	struct addrinfo *ai = w->next;
	int rv;

	PRE(!w->tcp_open && ai != NULL);
	w->next = ai->ai_next;
	rv = uv_tcp_init(sched_uv(w->sched), &w->tcp);
	if (rv != 0) {
		w->next = NULL;
		address_error(w, rv);
		return;
	}
	w->tcp_open = true;
	w->tcp.data = w;
	w->connect_req.data = w;
	sched_timer_start(w->sched, &w->deadline, address_ms(w));
	rv = uv_tcp_connect(&w->connect_req, &w->tcp, ai->ai_addr, connect_cb);
	if (rv != 0) {
		address_error(w, rv);
	}
}

static void resolved_cb(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
	struct wire *w = req->data;
	struct kv_err err;

	w->resolving = false;
	w->addresses = res;
	if (w->closing) {
		maybe_free(w);
		return;
	}
	if (w->phase != RESOLVING) {
		return;
	}
	if (status != 0 || res == NULL) {
		(void)kv_fail(&err, KV_NOT_REACHABLE, "connect %s:%s: %s",
			      w->host, w->port,
			      status != 0 ? uv_strerror(status)
					  : "no such host");
		go_down(w, &err);
		return;
	}
	w->phase = CONNECTING;
	w->next = res;
	try_next(w);
}

static int start_resolve(struct wire *w, struct kv_err *err)
{
	struct addrinfo hints = {0};
	int rv;

	hints.ai_family = AF_UNSPEC;
	hints.ai_socktype = SOCK_STREAM;
	w->resolve_req.data = w;
	rv = uv_getaddrinfo(sched_uv(w->sched), &w->resolve_req, resolved_cb,
			    w->host, w->port, &hints);
	if (rv != 0) {
		return kv_fail(
		    err, rv == UV_ENOMEM ? KV_NO_MEMORY : KV_NOT_REACHABLE,
		    "connect %s:%s: %s", w->host, w->port, uv_strerror(rv));
	}
	w->resolving = true;
	sched_timer_start(w->sched, &w->deadline, w->timeout_ms);
	return KV_OK;
}

/* ---- sending ------------------------------------------------------------- */

static void flush_tls(struct wire *w);

static void written_cb(uv_write_t *req, int status)
{
	struct wire *w = req->data;
	struct kv_err err;

	w->writing = false;
	if (w->closing || w->phase == DOWN) {
		return;
	}
	if (status != 0) {
		(void)kv_fail(&err, KV_NOT_REACHABLE, "%s:%s: %s", w->host,
			      w->port, uv_strerror(status));
		go_down(w, &err);
		return;
	}
	if (w->tls != NULL) {
		flush_tls(w);
	}
	if (!w->writing && w->phase == UP) {
		w->events->drained(w->ctx);
	}
}

/* Onto the socket: at once as far as it goes, the rest when it can. */
static void put(struct wire *w, const uint8_t *p, size_t n)
{
	uv_buf_t buf;
	struct kv_err err;
	int rv;

	PRE(!w->writing && n <= UINT32_MAX);
	buf = uv_buf_init((char *)(uintptr_t)p, (unsigned)n);
	rv = uv_try_write((uv_stream_t *)&w->tcp, &buf, 1);
	if (rv == UV_EAGAIN) {
		rv = 0;
	}
	if (rv >= 0 && (size_t)rv == n) {
		return;
	}
	if (rv >= 0) {
		buf.base += rv;
		buf.len -= (size_t)rv;
		w->write_req.data = w;
		rv = uv_write(&w->write_req, (uv_stream_t *)&w->tcp, &buf, 1,
			      written_cb);
		w->writing = rv == 0;
	}
	if (rv < 0) {
		(void)kv_fail(&err, KV_NOT_REACHABLE, "%s:%s: %s", w->host,
			      w->port, uv_strerror(rv));
		go_down_later(w, &err);
	}
}

/* What OpenSSL wants to send; nothing while a write is under way. */
static void flush_tls(struct wire *w)
{
	size_t n = tls_pending(w->tls);
	struct kv_err err;

	if (w->writing || n == 0 || w->tcp_closing) {
		return;
	}
	if (!kv_grow((void **)&w->out, &w->out_cap, n, 1)) {
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory to send");
		go_down_later(w, &err);
		return;
	}
	put(w, w->out, tls_drain(w->tls, w->out, n));
}

static void handshake(struct wire *w)
{
	struct kv_err err = {0};
	enum tls_progress now = tls_handshake(w->tls, &err);

	flush_tls(w); /* an alert too, when it failed */
	if (now == TLS_FAILED) {
		(void)kv_wrap(&err, "%s:%s", w->host, w->port);
		go_down(w, &err);
	} else if (now == TLS_UP) {
		sched_timer_stop(&w->deadline);
		w->phase = UP;
		w->events->up(w->ctx);
	}
}

bool wire_is_busy(const struct wire *w)
{
	return w->writing || w->phase != UP || w->trouble.status != KV_OK;
}

void wire_send(struct wire *w, const uint8_t *p, size_t n)
{
	struct kv_err err = {0};

	PRE(!wire_is_busy(w));
	if (w->tls == NULL) {
		put(w, p, n);
		return;
	}
	if (tls_write(w->tls, p, n, &err) != KV_OK) {
		go_down_later(w, &err);
		return;
	}
	flush_tls(w);
}

/* ---- making and ending --------------------------------------------------- */

int wire_open(const struct wire_params *p, struct wire **out,
	      struct kv_err *err)
{
	struct wire *w = kv_calloc(1, sizeof *w);
	int rv = KV_NO_MEMORY;

	PRE(sched_uv(p->sched) != NULL);
	if (w == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory to connect");
	}
	w->sched = p->sched;
	w->events = p->events;
	w->ctx = p->ctx;
	w->timeout_ms = p->timeout_ms;
	w->deadline.fire = deadline_cb;
	w->later.run = later_cb;
	w->host = kv_strdup(p->host);
	w->port = kv_strdup(p->port);
	w->in = kv_malloc(READ_BUFFER);
	if (w->host == NULL || w->port == NULL || w->in == NULL) {
		(void)kv_fail(err, KV_NO_MEMORY, "no memory to connect");
		goto err_free;
	}
	if (p->tls != NULL) {
		w->plain = kv_malloc(READ_BUFFER);
		if (w->plain == NULL) {
			(void)kv_fail(err, KV_NO_MEMORY,
				      "no memory to connect");
			goto err_free;
		}
		rv = tls_open(p->tls, p->host, &w->tls, err);
		if (rv != KV_OK) {
			goto err_free;
		}
	}
	rv = start_resolve(w, err);
	if (rv != KV_OK) {
		goto err_free;
	}
	*out = w;
	return KV_OK;

err_free:
	assert(rv != KV_OK);
	tls_free(w->tls);
	kv_free(w->plain);
	kv_free(w->in);
	kv_free(w->port);
	kv_free(w->host);
	kv_free(w);
	return rv;
}

void wire_close(struct wire *w)
{
	PRE(!w->closing);
	w->closing = true;
	sched_timer_stop(&w->deadline);
	sched_unpost(&w->later);
	if (w->resolving) {
		/* May be under way already: its callback comes anyhow. */
		(void)uv_cancel((uv_req_t *)&w->resolve_req);
	}
	close_tcp(w);
	maybe_free(w);
}
