/* zk_handle.c: sessions of libzookeeper_mt: made, lost, made anew, closed.
 *
 *   open_session --worker: zookeeper_init2--> opened --(CONNECTED)--> up
 *        ^                                      |          |  ^
 *        |                                      |     lost v  | back: the same
 *        |                                      |        down-+ session
 *        +--(loop: gone)-- zookeeper_close <----+----------+ expired, refused
 *                          on the worker        handle closed
 *
 * What the library's threads have to say comes through the mailbox in their
 * order. zookeeper_close ends them; the item sent behind it is the last one of
 * a session.
 */
#include "store/zookeeper/zk_handle_impl.h"

#include <errno.h>
#include <string.h>

#include "store/base/log.h"

/* How long a closing handle waits for what is in flight. */
#define DRAIN_MS 1000
/* Between two tries to make a session, when names do not resolve. */
#define AGAIN_MS 1000

static void open_session(struct zk_handle *h);

/* ---- on the library's threads -------------------------------------------- */

static void on_log(const char *message)
{
	LOG_DEBUG("libzookeeper", LOG_S("line", message));
}

static void on_session(zhandle_t *zh, int type, int state, const char *path,
		       void *ctx)
{
	struct zk_lib_session *s = ctx;

	(void)zh;
	(void)path;
	if (type != ZOO_SESSION_EVENT) {
		return;
	}
	/* Only the last state counts; an end is never followed by another. */
	atomic_store(&s->state, state);
	if (!atomic_exchange(&s->posted, true)) {
		list_init(&s->post.link);
		mailbox_send(s->h->mailbox, &s->post.link);
	}
}

/* ---- on the worker ------------------------------------------------------- */

static void init_work(struct worker_job *job)
{
	struct zk_lib_session *s =
	    kv_container_of(job, struct zk_lib_session, job);

	errno = 0;
	s->zh = zookeeper_init2(s->h->hosts, on_session, (int)s->h->session_ms,
				NULL, s, 0, on_log);
	s->problem = s->zh == NULL ? errno : 0;
}

static void close_work(struct worker_job *job)
{
	struct zk_lib_session *s =
	    kv_container_of(job, struct zk_lib_session, job);

	(void)zookeeper_close(s->zh);
}

/* ---- on the loop --------------------------------------------------------- */

static void tell(struct zk_handle *h)
{
	if (!h->closing) {
		h->changed(h->ctx);
	}
}

/* Behind the last thing that the library's threads sent. */
static void close_done(struct worker_job *job)
{
	struct zk_lib_session *s =
	    kv_container_of(job, struct zk_lib_session, job);

	s->gone.kind = ZK_POST_GONE;
	list_init(&s->gone.link);
	mailbox_send(s->h->mailbox, &s->gone.link);
}

static void close_session(struct zk_lib_session *s)
{
	/* Until it is opened the worker may be writing zh. */
	if (s->closing || !s->h->opened) {
		return;
	}
	s->closing = true;
	s->job.work = close_work;
	s->job.done = close_done;
	worker_submit(s->h->worker, &s->job);
}

static void mailbox_closed(void *ctx)
{
	struct zk_handle *h = ctx;
	void (*closed)(void *ctx) = h->closed;
	void *closed_ctx = h->closed_ctx;

	kv_free(h->hosts);
	kv_free(h->digest);
	kv_free(h);
	if (closed != NULL) {
		closed(closed_ctx);
	}
}

static void worker_closed(void *ctx)
{
	struct zk_handle *h = ctx;

	mailbox_close(h->mailbox, mailbox_closed);
}

void zk_handle_maybe_close(struct zk_handle *h)
{
	if (!h->closing) {
		return;
	}
	if (h->session == NULL) {
		sched_timer_stop(&h->timer);
		worker_close(h->worker, worker_closed, h);
	} else if (list_empty(&h->session->calls)) {
		close_session(h->session);
	}
}

static void free_session(struct zk_handle *h)
{
	kv_free(h->session);
	h->session = NULL;
	h->opened = false;
}

/* The library has let go: nobody will answer what is left. */
static void session_gone(struct zk_lib_session *s)
{
	struct zk_handle *h = s->h;
	struct list *l;

	PRE(h->session == s);
	while ((l = list_first(&s->calls)) != NULL) {
		struct zk_lib *c = kv_container_of(l, struct zk_lib, link);

		c->rc = ZCLOSING;
		zk_lib_answer(c);
	}
	free_session(h);
	if (h->closing) {
		zk_handle_maybe_close(h);
		return;
	}
	open_session(h);
	tell(h);
}

static void session_dead(struct zk_lib_session *s, int state)
{
	struct zk_handle *h = s->h;

	if (state == ZOO_AUTH_FAILED_STATE) {
		(void)kv_fail(&h->err, KV_DENIED,
			      "zookeeper: the server refuses the credentials");
	} else {
		(void)kv_fail(&h->err, KV_NOT_REACHABLE,
			      "zookeeper: the session has expired");
	}
	LOG_WARN("zookeeper: session for writing ended",
		 LOG_S("reason", h->err.text));
	s->dead = true;
	s->up = false;
	close_session(s);
}

static void state_came(struct zk_lib_session *s, int state)
{
	struct zk_handle *h = s->h;
	bool up = state == ZOO_CONNECTED_STATE;

	if (s->dead) {
		return;
	}
	if (state == ZOO_EXPIRED_SESSION_STATE ||
	    state == ZOO_AUTH_FAILED_STATE) {
		session_dead(s, state);
	} else if (up && !s->up) {
		s->up = true;
		kv_err_clear(&h->err);
	} else if (!up && s->up) {
		s->up = false;
		(void)kv_fail(&h->err, KV_NOT_REACHABLE,
			      "zookeeper: the connection for writing was lost");
	}
	tell(h);
}

static void receive(void *ctx, struct list *item)
{
	struct zk_handle *h = ctx;
	struct zk_post *post = kv_container_of(item, struct zk_post, link);
	struct zk_lib_session *s;

	switch (post->kind) {
	case ZK_POST_DONE:
		zk_lib_answer(kv_container_of(post, struct zk_lib, post));
		zk_handle_maybe_close(h);
		break;
	case ZK_POST_STATE:
		s = kv_container_of(post, struct zk_lib_session, post);
		atomic_store(&s->posted, false);
		state_came(s, atomic_load(&s->state));
		break;
	case ZK_POST_GONE:
		session_gone(
		    kv_container_of(post, struct zk_lib_session, gone));
		break;
	}
}

static void add_auth(struct zk_lib_session *s)
{
	const char *digest = s->h->digest;
	int rc;

	if (digest == NULL) {
		return;
	}
	rc = zoo_add_auth(s->zh, "digest", digest, (int)strlen(digest), NULL,
			  NULL);
	if (rc != ZOK) {
		LOG_WARN("zookeeper: credentials not sent",
			 LOG_S("reason", zerror(rc)));
	}
}

static void init_done(struct worker_job *job)
{
	struct zk_lib_session *s =
	    kv_container_of(job, struct zk_lib_session, job);
	struct zk_handle *h = s->h;

	if (s->zh == NULL) {
		(void)kv_fail(&h->err, KV_NOT_REACHABLE,
			      "zookeeper: %s: no session can be made: %s",
			      h->hosts, strerror(s->problem));
		free_session(h);
		sched_timer_start(h->sched, &h->timer, AGAIN_MS);
		zk_handle_maybe_close(h);
		tell(h);
		return;
	}
	h->opened = true;
	h->sessions++;
	add_auth(s);
	if (s->dead) {
		close_session(s);
	}
	zk_handle_maybe_close(h);
	tell(h);
}

static void open_session(struct zk_handle *h)
{
	struct zk_lib_session *s = kv_calloc(1, sizeof *s);

	PRE(h->session == NULL);
	if (s == NULL) {
		(void)kv_fail(&h->err, KV_NO_MEMORY,
			      "zookeeper: no memory for a session");
		sched_timer_start(h->sched, &h->timer, AGAIN_MS);
		return;
	}
	s->h = h;
	list_init(&s->calls);
	s->post.kind = ZK_POST_STATE;
	s->job.work = init_work;
	s->job.done = init_done;
	h->session = s;
	worker_submit(h->worker, &s->job);
}

static void timer_fire(struct sched_timer *t)
{
	struct zk_handle *h = kv_container_of(t, struct zk_handle, timer);

	if (!h->closing) {
		open_session(h);
	} else if (h->session != NULL) {
		/* Not answered in time: given up, with what the library keeps
		 * for it. */
		close_session(h->session);
	}
}

/* ---- the handle ---------------------------------------------------------- */

static bool copy_params(struct zk_handle *h, const struct zk_handle_params *p)
{
	h->sched = p->sched;
	h->session_ms = p->session_ms;
	h->changed = p->changed;
	h->ctx = p->ctx;
	h->timer.fire = timer_fire;
	h->hosts = kv_strdup(p->hosts);
	h->digest = p->digest == NULL ? NULL : kv_strdup(p->digest);
	return h->hosts != NULL && (p->digest == NULL || h->digest != NULL);
}

int zk_handle_open(const struct zk_handle_params *p, struct zk_handle **out,
		   struct kv_err *err)
{
	struct zk_handle *h = kv_calloc(1, sizeof *h);

	if (h == NULL || !copy_params(h, p)) {
		goto free_handle;
	}
	h->mailbox = mailbox_open(sched_uv(p->sched), receive, h);
	if (h->mailbox == NULL) {
		goto free_handle;
	}
	h->worker = worker_open(p->sched, "zookeeper");
	if (h->worker == NULL) {
		goto close_mailbox;
	}
	open_session(h);
	*out = h;
	return KV_OK;
close_mailbox:
	/* It frees the handle. */
	mailbox_close(h->mailbox, mailbox_closed);
	h = NULL;
free_handle:
	if (h != NULL) {
		kv_free(h->hosts);
		kv_free(h->digest);
		kv_free(h);
	}
	return kv_fail(err, KV_NO_MEMORY,
		       "zookeeper: no memory (or threads) for writing");
}

void zk_handle_close(struct zk_handle *h, void (*closed)(void *ctx), void *ctx)
{
	struct list *l;

	PRE(!h->closing);
	h->closing = true;
	h->closed = closed;
	h->closed_ctx = ctx;
	sched_timer_stop(&h->timer);
	if (h->session != NULL) {
		for (l = h->session->calls.next; l != &h->session->calls;
		     l = l->next) {
			zk_lib_forget(kv_container_of(l, struct zk_lib, link));
		}
		sched_timer_start(h->sched, &h->timer, DRAIN_MS);
	}
	zk_handle_maybe_close(h);
}

bool zk_handle_is_up(const struct zk_handle *h)
{
	return h->session != NULL && h->opened && h->session->up &&
	       !h->session->dead && !h->closing;
}

uint64_t zk_handle_session(const struct zk_handle *h)
{
	return h->sessions;
}

const struct kv_err *zk_handle_error(const struct zk_handle *h)
{
	return &h->err;
}
