/* consul_loop.c: curl's multi interface on the loop: sockets, timer, and what
 * each connection's end says of its peer.
 *
 *   curl --(watch this socket)--> uv_poll --(ready)--> curl_multi_socket_action
 *   curl --(in so many ms)------> sched_timer ----------^      |
 *                       finished transfers --> http_finished <-'
 */
#include "store/consul/consul_loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

/* A socket that curl wants to be told of. */
struct http_poll {
	uv_poll_t poll;
	struct http_client *client;
	curl_socket_t fd;
	bool live; /* poll was initialised: it must be closed */
};

/* A connection that curl has open, and since when. Its poll is made with it, so
 * that there is no lack of memory later: curl gives up for good when it cannot
 * have a socket watched. */
struct http_socket {
	struct list link;
	curl_socket_t fd;
	uint64_t opened; /* epoch when it was opened */
	uint64_t epoch;	 /* latest epoch that it was alive in */
	struct http_poll *poll;
};

/* ---- stamps -------------------------------------------------------------- */

static struct http_socket *stamp_of(const struct http_client *c,
				    curl_socket_t fd)
{
	for (struct list *l = c->sockets.next; l != &c->sockets; l = l->next) {
		struct http_socket *s =
		    kv_container_of(l, struct http_socket, link);

		if (s->fd == fd) {
			return s;
		}
	}
	return NULL;
}

static void maybe_closed(struct http_client *c)
{
	if (c->multi == NULL && c->polls == 0 && c->closed != NULL) {
		void (*closed)(void *ctx) = c->closed;

		c->closed = NULL;
		closed(c->closed_ctx);
	}
}

static void on_poll_closed(uv_handle_t *handle)
{
	uv_poll_t *poll_handle = (uv_poll_t *)handle;
	struct http_poll *p =
	    kv_container_of(poll_handle, struct http_poll, poll);
	struct http_client *c = p->client;

	kv_free(p);
	c->polls--;
	maybe_closed(c);
}

static void close_poll(struct http_poll *p)
{
	if (p->live) {
		(void)uv_poll_stop(&p->poll);
		uv_close((uv_handle_t *)&p->poll, on_poll_closed);
	} else {
		kv_free(p);
	}
}

/* curl closes a connection that was never made without telling: what is left of
 * it goes when its number is seen again, or with the client. */
static void drop_socket(struct http_socket *s)
{
	list_remove(&s->link);
	close_poll(s->poll);
	kv_free(s);
}

static curl_socket_t on_open(void *ctx, curlsocktype purpose KV_UNUSED,
			     struct curl_sockaddr *address)
{
	struct http_client *c = ctx;
	struct http_socket *s = kv_calloc(1, sizeof *s);
	struct http_poll *p = kv_calloc(1, sizeof *p);
	struct http_socket *stale;

	if (s == NULL || p == NULL) {
		goto err_free;
	}
	s->fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
		       address->protocol);
	if (s->fd < 0) {
		goto err_free;
	}
	stale = stamp_of(c, s->fd);
	if (stale != NULL) {
		drop_socket(stale);
	}
	p->client = c;
	p->fd = s->fd;
	s->poll = p;
	s->opened = s->epoch = c->epoch;
	list_init(&s->link);
	list_push_back(&c->sockets, &s->link);
	return s->fd;

err_free:
	kv_free(s);
	kv_free(p);
	return CURL_SOCKET_BAD;
}

/* Did the other side end it? */
static bool peer_left(curl_socket_t fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0 &&
	       (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static int on_close(void *ctx, curl_socket_t fd)
{
	struct http_client *c = ctx;
	struct http_socket *s = stamp_of(c, fd);

	if (s != NULL) {
		if (!c->leaving && s->epoch == c->epoch && peer_left(fd)) {
			http_raise(c);
		}
		drop_socket(s);
	}
	return close(fd);
}

void loop_watch_sockets(struct http_call *call)
{
	struct http_client *c = call->client;

	if (call->data_status != KV_OK) {
		return;
	}
	(void)curl_easy_setopt(call->easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	(void)curl_easy_setopt(call->easy, CURLOPT_OPENSOCKETDATA, c);
	(void)curl_easy_setopt(call->easy, CURLOPT_CLOSESOCKETFUNCTION,
			       on_close);
	(void)curl_easy_setopt(call->easy, CURLOPT_CLOSESOCKETDATA, c);
}

/* Connections that are still there belong to the new epoch, too: when they go
 * later, that is another break. */
void http_raise(struct http_client *c)
{
	c->epoch++;
	for (struct list *l = c->sockets.next; l != &c->sockets; l = l->next) {
		struct http_socket *s =
		    kv_container_of(l, struct http_socket, link);

		if (!peer_left(s->fd)) {
			s->epoch = c->epoch;
		}
	}
	sched_post(c->sched, &c->drain); /* ends what is bound to the old one */
}

uint64_t loop_epoch_of(const struct http_call *call)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	const struct http_socket *s = NULL;

	(void)curl_easy_getinfo(call->easy, CURLINFO_ACTIVESOCKET, &fd);
	if (call->born == call->client->epoch) {
		return call->born; /* nothing broke meanwhile */
	}
	if (fd != CURL_SOCKET_BAD) {
		s = stamp_of(call->client, fd);
	}
	return s != NULL ? s->opened : call->born;
}

/* ---- finished transfers -------------------------------------------------- */

/* Reads of an epoch that is over are as good as failed. */
static void end_bound(struct http_client *c)
{
	struct list *l = c->bound.next;

	while (l != &c->bound) {
		struct http_call *call =
		    kv_container_of(l, struct http_call, link);

		l = l->next;
		if (call->need_epoch != c->epoch) {
			list_remove(&call->link);
			list_push_back(&c->failed, &call->link);
		}
	}
}

static void drain(struct http_client *c)
{
	struct list *l;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(c->multi, &left)) != NULL) {
		struct http_call *call = NULL;
		CURLcode rc = m->data.result;

		if (m->msg != CURLMSG_DONE) {
			continue;
		}
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE,
					&call);
		http_finished(call, rc);
	}
	end_bound(c);
	while ((l = list_first(&c->failed)) != NULL) {
		http_failed(kv_container_of(l, struct http_call, link));
	}
}

static void run_drain(struct sched_task *task)
{
	drain(kv_container_of(task, struct http_client, drain));
}

static void act(struct http_client *c, curl_socket_t fd, int what)
{
	int running;

	(void)curl_multi_socket_action(c->multi, fd, what, &running);
	drain(c);
}

/* ---- sockets ------------------------------------------------------------- */

static void on_ready(uv_poll_t *handle, int status, int events)
{
	struct http_poll *p = kv_container_of(handle, struct http_poll, poll);
	int what = 0;

	if (status < 0) {
		what = CURL_CSELECT_ERR;
	}
	what |= (events & UV_READABLE) != 0 ? CURL_CSELECT_IN : 0;
	what |= (events & UV_WRITABLE) != 0 ? CURL_CSELECT_OUT : 0;
	act(p->client, p->fd, what);
}

/* The poll of a connection; or, of a socket of curl's own, a new one. */
static struct http_poll *poll_of(struct http_client *c, curl_socket_t fd)
{
	const struct http_socket *s = stamp_of(c, fd);
	struct http_poll *p = s != NULL ? s->poll : kv_calloc(1, sizeof *p);

	if (p == NULL || p->live) {
		return p;
	}
	p->client = c;
	p->fd = fd;
	if (uv_poll_init_socket(sched_uv(c->sched), &p->poll, fd) != 0) {
		if (s == NULL) {
			kv_free(p);
		}
		return NULL;
	}
	p->live = true;
	c->polls++;
	return p;
}

/* What cannot be watched is left to curl's timer. */
static int on_socket(CURL *easy KV_UNUSED, curl_socket_t fd, int what,
		     void *ctx, void *socket_ctx)
{
	struct http_client *c = ctx;
	struct http_poll *p = socket_ctx;
	int events = 0;

	if (what == CURL_POLL_REMOVE) {
		(void)curl_multi_assign(c->multi, fd, NULL);
		if (p != NULL && stamp_of(c, fd) != NULL) {
			(void)uv_poll_stop(&p->poll);
		} else if (p != NULL) {
			close_poll(p);
		}
		return 0;
	}
	if (p == NULL) {
		p = poll_of(c, fd);
		if (p == NULL) {
			return 0;
		}
		(void)curl_multi_assign(c->multi, fd, p);
	}
	events |= what != CURL_POLL_OUT ? UV_READABLE : 0;
	events |= what != CURL_POLL_IN ? UV_WRITABLE : 0;
	(void)uv_poll_start(&p->poll, events, on_ready);
	return 0;
}

/* ---- timer --------------------------------------------------------------- */

static void on_fire(struct sched_timer *timer)
{
	act(kv_container_of(timer, struct http_client, timer),
	    CURL_SOCKET_TIMEOUT, 0);
}

static int on_timer(CURLM *multi KV_UNUSED, long ms, void *ctx)
{
	struct http_client *c = ctx;

	if (ms < 0) {
		sched_timer_stop(&c->timer);
	} else {
		sched_timer_start(c->sched, &c->timer, (uint64_t)ms);
	}
	return 0;
}

/* ---- life ---------------------------------------------------------------- */

static bool add_header(struct http_client *c, const char *line)
{
	struct curl_slist *more = curl_slist_append(c->headers, line);

	if (more == NULL) {
		return false;
	}
	c->headers = more;
	return true;
}

static bool make_headers(struct http_client *c)
{
	char *line;
	bool ok;

	/* No waiting for "100 Continue", no type: it is JSON. */
	if (!add_header(c, "Expect:")) {
		return false;
	}
	if (c->token == NULL) {
		return true;
	}
	line = kv_asprintf("X-Consul-Token: %s", c->token);
	ok = line != NULL && add_header(c, line);
	kv_free(line);
	return ok;
}

int http_init(struct http_client *c, struct kv_err *err)
{
	list_init(&c->sockets);
	list_init(&c->failed);
	list_init(&c->bound);
	c->drain.run = run_drain;
	c->timer.fire = on_fire;
	c->epoch = 1;
	c->curl_up = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	c->multi = c->curl_up ? curl_multi_init() : NULL;
	if (c->multi == NULL || !make_headers(c)) {
		return kv_fail(err, KV_NO_MEMORY, "consul: no memory to open");
	}
	(void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	(void)curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	(void)curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	(void)curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	/* More than are ever in use: that we close one of our own accord looks
	 * much like the peer's doing. */
	(void)curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 256L);
	(void)curl_multi_setopt(c->multi, CURLMOPT_PIPELINING,
				(long)CURLPIPE_NOTHING);
	return KV_OK;
}

void http_free(struct http_client *c)
{
	for (size_t i = 0; i < c->n_bases; i++) {
		kv_free(c->bases[i]);
	}
	kv_free(c->bases);
	kv_free(c->token);
	kv_free(c->ca);
	kv_free(c->cert);
	kv_free(c->key);
	kv_free(c->server_name);
	if (c->multi != NULL) {
		/* Sockets are closed in here, by on_close. */
		(void)curl_multi_cleanup(c->multi);
		c->multi = NULL;
		while (!list_empty(&c->sockets)) {
			drop_socket(kv_container_of(list_first(&c->sockets),
						    struct http_socket, link));
		}
	}
	curl_slist_free_all(c->headers);
	if (c->curl_up) {
		curl_global_cleanup();
	}
	c->curl_up = false;
	c->headers = NULL;
	c->bases = NULL;
	c->n_bases = 0;
	c->token = c->ca = c->cert = c->key = c->server_name = NULL;
}

void http_close(struct http_client *c, void (*closed)(void *ctx), void *ctx)
{
	PRE(c->closed == NULL && list_empty(&c->failed));
	c->closed = closed;
	c->closed_ctx = ctx;
	http_free(c);
	sched_timer_stop(&c->timer);
	sched_unpost(&c->drain);
	maybe_closed(c);
}
