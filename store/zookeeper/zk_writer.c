/* zk_writer.c: which writes go, when, and until when.
 *
 *   zk_write --> queue --(handle and session up)--> active --> step ... end
 *      deadline: surely nothing done, or unknown     ^-- LOST: waits here
 *
 * Writes run beside each other, up to ZK_WRITES_MAX; their requests reach the
 * server in the order of their steps (one session), but a write that has to be
 * planned anew falls back: no order is promised. One that deletes runs alone:
 * of two that each delete one of the last two children neither would see that
 * the parent goes.
 *
 * Guards were made by reading, over the connection of zk_session, and `epoch`
 * counts those. The library has a session of its own: as long as it lasts, the
 * ensemble that it writes to has the same history (another one would not know
 * the session, and a server that is behind is refused). A session made anew
 * could find another history; by then the connection of zk_session to the old
 * servers is lost as well, and its epoch with it.
 */
#include "store/zookeeper/zk_write.h"

#include <stdio.h>

#include "store/base/log.h"

void zk_set_ops(struct store_write *req, int status)
{
	size_t i;

	for (i = 0; i < req->n_ops; i++) {
		req->ops[i].status = status;
	}
}

bool zk_writer_is_up(const struct zk_writer *w)
{
	return zk_handle_is_up(w->handle) && w->zk->session.up;
}

bool zk_writing_is_stale(const struct zk_writing *x)
{
	const struct zk_session *s = &x->w->zk->session;

	return x->req->epoch != 0 && (!s->up || s->epoch != x->req->epoch);
}

void zk_writer_kick(struct zk_writer *w)
{
	sched_post(w->zk->st->sched, &w->task);
}

/* ---- the end of a write -------------------------------------------------- */

static void free_writing(struct zk_writing *x)
{
	zk_writing_forget_calls(x);
	sched_timer_stop(&x->deadline);
	list_remove(&x->link);
	arena_free(&x->arena);
	kv_free(x);
}

void zk_writing_end(struct zk_writing *x)
{
	struct zk_writer *w = x->w;
	struct store_write *req = x->req;

	if (x->phase != ZK_WRITE_WAITING) {
		w->n_active--;
		w->alone = false;
	}
	free_writing(x);
	zk_writer_kick(w);
	store_done(&req->req);
}

/* ---- the queue ----------------------------------------------------------- */

static bool may_go(const struct zk_writer *w, const struct zk_writing *x)
{
	return !w->alone && w->n_active < ZK_WRITES_MAX &&
	       (!x->deletes || w->n_active == 0);
}

/* Those that lost their connection go on, or look what became of them. */
static void wake_lost(struct zk_writer *w)
{
	struct list *l, *next;

	for (l = w->active.next; l != &w->active; l = next) {
		struct zk_writing *x =
		    kv_container_of(l, struct zk_writing, link);

		next = l->next;
		if (x->phase == ZK_WRITE_LOST ||
		    (x->phase == ZK_WRITE_BACK && w->zk->session.up)) {
			zk_writing_step(x);
		}
	}
}

static void run(struct sched_task *task)
{
	struct zk_writer *w = kv_container_of(task, struct zk_writer, task);
	struct list *l;

	if (w->handle == NULL) {
		return;
	}
	if (zk_handle_is_up(w->handle)) {
		wake_lost(w);
	}
	while (zk_writer_is_up(w) && (l = list_first(&w->queue)) != NULL) {
		struct zk_writing *x =
		    kv_container_of(l, struct zk_writing, link);

		if (!may_go(w, x)) {
			return;
		}
		list_remove(&x->link);
		list_push_back(&w->active, &x->link);
		w->n_active++;
		w->alone = x->deletes;
		x->phase = ZK_WRITE_BACK; /* it has a place */
		zk_writing_step(x);
	}
}

static void deadline_fire(struct sched_timer *t)
{
	zk_writing_late(kv_container_of(t, struct zk_writing, deadline));
}

/* ---- the handle ---------------------------------------------------------- */

static void changed(void *ctx)
{
	zk_writer_kick(ctx);
}

static void session_up(struct zk_listener *l)
{
	zk_writer_kick(kv_container_of(l, struct zk_writer, listener));
}

static void session_down(struct zk_listener *l KV_UNUSED,
			 const struct kv_err *err KV_UNUSED)
{
}

static void session_event(struct zk_listener *l KV_UNUSED,
			  enum zk_event_type type KV_UNUSED,
			  struct slice path KV_UNUSED)
{
}

/* "h:p,h:p", as the library wants it; NULL: no memory. */
static char *join_hosts(const struct zk_session *s)
{
	char *all = NULL, *more;
	size_t i;

	for (i = 0; i < s->n_endpoints; i++) {
		const struct zk_endpoint *e = &s->endpoints[i];

		more = kv_asprintf("%s%s%s:%s", all == NULL ? "" : all,
				   all == NULL ? "" : ",", e->host, e->port);
		kv_free(all);
		if (more == NULL) {
			return NULL;
		}
		all = more;
	}
	return all;
}

static int open_handle(struct zk_writer *w, struct kv_err *err)
{
	const struct zk_session *s = &w->zk->session;
	struct zk_handle_params p = {.sched = s->sched,
				     .digest = s->digest,
				     .session_ms = s->session_ms,
				     .changed = changed,
				     .ctx = w};
	char *hosts = join_hosts(s);
	int rv;

	if (hosts == NULL) {
		return kv_fail(err, KV_NO_MEMORY,
			       "zookeeper: no memory for a write");
	}
	p.hosts = hosts;
	rv = zk_handle_open(&p, &w->handle, err);
	kv_free(hosts);
	return rv;
}

/* The writer is made with the first write. */
static int open_writer(struct zk *zk, struct kv_err *err)
{
	struct zk_writer *w;
	int rv;

	if (zk->writer != NULL) {
		return KV_OK;
	}
	w = kv_calloc(1, sizeof *w);
	if (w == NULL) {
		return kv_fail(err, KV_NO_MEMORY,
			       "zookeeper: no memory for a write");
	}
	w->zk = zk;
	list_init(&w->queue);
	list_init(&w->active);
	w->task.run = run;
	rv = open_handle(w, err);
	if (rv != KV_OK) {
		kv_free(w);
		return rv;
	}
	w->listener.up = session_up;
	w->listener.down = session_down;
	w->listener.event = session_event;
	zk_session_listen(&zk->session, &w->listener);
	zk->writer = w;
	return KV_OK;
}

static void handle_closed(void *ctx)
{
	struct zk_writer *w = ctx;
	void (*closed)(void *ctx) = w->closed;
	void *closed_ctx = w->closed_ctx;

	kv_free(w);
	closed(closed_ctx);
}

void zk_write_close(struct zk *zk, void (*closed)(void *ctx), void *ctx)
{
	struct zk_writer *w = zk->writer;

	if (w == NULL) {
		closed(ctx);
		return;
	}
	PRE(list_empty(&w->queue) && list_empty(&w->active));
	zk->writer = NULL;
	w->closed = closed;
	w->closed_ctx = ctx;
	zk_session_unlisten(&w->listener);
	sched_unpost(&w->task);
	zk_handle_close(w->handle, handle_closed, w);
}

/* ---- a request ----------------------------------------------------------- */

static int refuse_size(struct store_write *req, size_t size)
{
	zk_set_ops(req, req->n_ops == 1 ? KV_TOO_LARGE : KV_CANCELED);
	return kv_fail(&req->err, KV_TOO_LARGE,
		       "zookeeper: a request of %zu bytes is over the limit of "
		       "%d (jute.maxbuffer)",
		       size, ZK_MAX_PACKET);
}

static int build(struct zk_writing *x)
{
	struct store *st = x->w->zk->st;
	struct store_write *req = x->req;
	struct slice *paths =
	    arena_alloc(&x->arena, req->n_ops * sizeof *paths);
	size_t i, size;

	for (i = 0; paths != NULL && i < req->n_ops; i++) {
		paths[i] = zk_path(st, &x->arena, req->ops[i].key);
		if (paths[i].p == NULL) {
			paths = NULL;
			break;
		}
		x->deletes = x->deletes || req->ops[i].kind == STORE_OP_DELETE;
	}
	if (paths == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "zookeeper: no memory for a write");
	}
	size = zk_plan_bound(req->ops, paths, req->n_ops);
	if (size > ZK_MAX_PACKET) {
		return refuse_size(req, size);
	}
	x->plan.arena = &x->arena;
	x->plan.root = slice_str(x->w->zk->root);
	x->plan.seen = &x->w->seen;
	return zk_plan_build(&x->plan, req->ops, paths, req->n_ops, &req->err);
}

/* Refused at once: what could not be sent anyway. */
static int check(struct zk *zk, struct store_write *req)
{
	const struct zk_session *s = &zk->session;

	if (s->use_tls) {
		return kv_fail(&req->err, KV_CALL_NOT_SUPPORTED,
			       "zookeeper: zks:// can be read only: the C "
			       "library that writes knows no TLS; name the "
			       "target by zk:// (or mirror from it)");
	}
	if (req->epoch != 0 && (!s->up || s->epoch != req->epoch)) {
		zk_set_ops(req, KV_CANCELED);
		return kv_fail(&req->err, KV_NOT_REACHABLE,
			       "zookeeper: the connection was lost since");
	}
	return open_writer(zk, &req->err);
}

int zk_write(struct store *st, struct store_write *req)
{
	struct zk *zk = zk_of(st);
	struct zk_writing *x;
	int rv = check(zk, req);

	if (rv != KV_OK) {
		return rv;
	}
	x = kv_calloc(1, sizeof *x);
	if (x == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "zookeeper: no memory for a write");
	}
	x->w = zk->writer;
	x->req = req;
	list_init(&x->link);
	list_init(&x->calls);
	x->deadline.fire = deadline_fire;
	rv = build(x);
	if (rv != KV_OK) {
		free_writing(x);
		return rv;
	}
	req->req.impl = x;
	list_push_back(&x->w->queue, &x->link);
	sched_timer_start(st->sched, &x->deadline, zk->session.timeout_ms);
	zk_session_wake(&zk->session);
	zk_writer_kick(x->w);
	return KV_OK;
}

void zk_write_cancel(struct store_write *req)
{
	struct zk_writing *x = req->req.impl;
	bool sent = x->phase >= ZK_WRITE_SENT;

	(void)kv_fail(&req->err, sent ? KV_UNKNOWN_OUTCOME : KV_CANCELED,
		      "zookeeper: write canceled%s",
		      sent ? " after it was sent" : "");
	zk_set_ops(req, req->err.status);
	zk_writing_end(x);
}
