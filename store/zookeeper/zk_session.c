/* zk_session.c: see zk_session.h.
 *
 *   DOWN --dial--> DIALING --up--> PROBING --all answered--> UP
 *    ^ ^              |               |  `-- knows no multiRead: anew, general
 *    | `-- retry, or an ask: next endpoint
 *    `------ down ----+---------------+---------------- down: UP's asks again
 *
 * `pump` is the step function: callable from anywhere, it starts what is due
 * and calls nobody back. What fails inside it waits in `failed` for the task.
 */
#include "store/zookeeper/zk_session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store/base/log.h"

#define CONNECT_MIN_MS ((uint64_t)250)
#define CONNECT_MAX_MS ((uint64_t)5000)
#define RETRY_MIN_MS ((uint64_t)100)
#define RETRY_MAX_MS ((uint64_t)5000)
/* A server that is behind is asked again after this time; all of them are
 * believed after these: when each said so, when some could not be asked. */
#define BEHIND_RETRY_MS ((uint64_t)500)
#define BEHIND_ALL_MS ((uint64_t)3000)
#define BEHIND_SOME_MS ((uint64_t)30000)
/* So long a server that refused a request may take to close. */
#define LEAVE_MS ((uint64_t)100)
/* A children list of a million names, and more. */
#define MAX_REPLY ((size_t)256 * 1024 * 1024)

enum { PROBE_SYNC, PROBE_ROOT, PROBE_FAST };

static void pump(struct zk_session *s);

static struct zk_endpoint *current(const struct zk_session *s)
{
	return &s->endpoints[s->cur];
}

/* ---- endpoints ----------------------------------------------------------- */

int zk_session_unreachable(const struct zk_session *s, struct kv_err *err)
{
	char text[KV_ERR_TEXT_MAX];
	int status = KV_OK;
	size_t i, n = 0;

	text[0] = '\0';
	for (i = 0; i < s->n_endpoints; i++) {
		const struct kv_err *e = &s->endpoints[i].last;

		if (e->status == KV_OK || n >= sizeof text) {
			continue;
		}
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%s",
				      n == 0 ? "" : "; ", e->text);
		status = status == KV_OK || status == e->status
			     ? e->status
			     : KV_NOT_REACHABLE;
	}
	if (status == KV_OK) {
		return kv_fail(
		    err, KV_NOT_REACHABLE,
		    "zookeeper: no server answered in time (%s:%s%s)",
		    s->endpoints[0].host, s->endpoints[0].port,
		    s->n_endpoints > 1 ? ", ..." : "");
	}
	return kv_fail(err, status, "zookeeper: no server can be used: %s",
		       text);
}

static uint64_t connect_ms(const struct zk_session *s)
{
	uint64_t share = s->timeout_ms / (s->n_endpoints + 1);

	return KV_MIN(KV_MAX(share, CONNECT_MIN_MS), CONNECT_MAX_MS);
}

/* Has every server that can be asked said, again and again, that it has not
 * seen what we have? */
static bool all_behind(const struct zk_session *s)
{
	uint64_t past;
	bool all = true;
	size_t i;

	if (s->behind_ms == 0) {
		return false;
	}
	for (i = 0; i < s->n_endpoints; i++) {
		all = all && s->endpoints[i].behind >= 2;
	}
	past = sched_now(s->sched) - s->behind_ms;
	return past >= (all ? BEHIND_ALL_MS : BEHIND_SOME_MS);
}

static void note_behind(struct zk_session *s, struct kv_err *err)
{
	struct zk_endpoint *e = current(s);

	e->behind++;
	if (s->behind_ms == 0) {
		s->behind_ms = sched_now(s->sched);
	}
	(void)kv_fail(err, KV_NOT_REACHABLE,
		      "%s:%s does not serve, or is behind what was seen "
		      "(zxid 0x%" PRIx64 ")",
		      e->host, e->port, (uint64_t)s->zxid);
}

/* ---- ends of an ask ------------------------------------------------------ */

static void unlink_ask(struct zk_ask *a)
{
	list_remove(&a->link);
	list_remove(&a->by_due);
	jute_out_free(&a->kept);
	a->session = NULL;
}

/* Hands the ask back. Only from the loop. */
static void finish(struct zk_ask *a)
{
	if (!a->sent) {
		jute_out_free(&a->call.frame);
	}
	unlink_ask(a);
	a->done(a);
}

/* The same from inside a call of the owner's. */
static void finish_later(struct zk_ask *a)
{
	struct zk_session *s = a->session;

	PRE(a->call.err.status != KV_OK);
	list_remove(&a->link);
	list_push_back(&s->failed, &a->link);
	sched_post(s->sched, &s->task);
}

/* A connection could not be made, or was lost. Asks that wait, and for which it
 * was made, have one attempt less. */
static void spend_attempt(struct zk_session *s)
{
	struct list again, *l;
	struct zk_ask *a;

	list_init(&again);
	while ((l = list_pop_front(&s->waiting)) != NULL) {
		a = kv_container_of(l, struct zk_ask, link);
		list_push_back(&again, l);
		if (a->born >= s->dials) {
			continue;
		}
		if (a->attempts > 0) {
			a->attempts--;
		}
		if (a->attempts == 0) {
			(void)zk_session_unreachable(s, &a->call.err);
			finish_later(a);
		}
	}
	list_splice_back(&s->waiting, &again);
}

static void retry_later(struct zk_session *s, uint64_t ms)
{
	uint64_t jitter = sched_random(s->sched) % (ms / 2 + 1);

	sched_timer_start(s->sched, &s->retry, ms / 2 + jitter);
}

static uint64_t backoff_ms(const struct zk_session *s)
{
	unsigned shift = KV_MIN(s->rounds, 10u);

	return KV_MIN(RETRY_MIN_MS << shift, RETRY_MAX_MS);
}

/* The present endpoint is of no use now; the next one is. */
static void endpoint_failed(struct zk_session *s, const struct kv_err *why)
{
	struct kv_err err = *why;
	bool behind = why->status == KV_HISTORY_LOST;

	if (behind) {
		note_behind(s, &err);
	}
	current(s)->last = err;
	LOG_DEBUG("zookeeper connection failed", LOG_S("reason", err.text));
	s->cur = (s->cur + 1) % s->n_endpoints;
	if (s->cur == 0) {
		s->rounds++;
	}
	if (behind && s->zxid > 0) {
		/* No attempt spent: it may only need a moment. */
		retry_later(s, BEHIND_RETRY_MS);
		return;
	}
	spend_attempt(s);
	if (list_empty(&s->waiting)) {
		retry_later(s, backoff_ms(s));
	}
}

static bool is_lost(const struct zk_call *c)
{
	return c->err.status != KV_OK && c->err.status != KV_NO_MEMORY;
}

static void answered_cb(struct zk_call *c)
{
	struct zk_ask *a = kv_container_of(c, struct zk_ask, call);
	struct zk_session *s = a->session;

	if (is_lost(c)) {
		/* `down` is to come. */
		s->up = false;
		s->phase = ZK_DOWN;
	}
	if (is_lost(c) && !a->repeated && a->need_epoch == 0) {
		a->repeated = true;
		a->sent = false;
		a->born = s->dials;
		c->frame = a->kept;
		a->kept = (struct jute_out){0};
		kv_err_clear(&c->err);
		list_remove(&a->link);
		list_push_back(&s->waiting, &a->link);
		return;
	}
	if (is_lost(c)) {
		c->err.status = KV_NOT_REACHABLE;
	} else if (c->zxid > s->zxid) {
		s->zxid = c->zxid;
	}
	finish(a);
}

static void deadline_cb(struct sched_timer *t)
{
	struct zk_session *s = kv_container_of(t, struct zk_session, deadline);
	uint64_t now = sched_now(s->sched);
	struct list *l;
	struct zk_ask *a;

	while ((l = list_first(&s->by_due)) != NULL) {
		a = kv_container_of(l, struct zk_ask, by_due);
		if (a->due_ms > now) {
			sched_timer_start(s->sched, t, a->due_ms - now);
			return;
		}
		if (!a->sent) {
			(void)zk_session_unreachable(s, &a->call.err);
		} else {
			zk_call_forget(&a->call);
			(void)kv_fail(
			    &a->call.err, KV_TIMED_OUT,
			    "zookeeper: no answer from %s:%s within %" PRIu64
			    " ms",
			    current(s)->host, current(s)->port, s->timeout_ms);
		}
		finish(a);
	}
}

/* ---- who listens --------------------------------------------------------- */

/* Each listener once; it may go, or others come, during the call. */
static void tell(struct zk_session *s,
		 void (*one)(struct zk_listener *l, const void *what),
		 const void *what)
{
	struct list now, *l;

	list_init(&now);
	list_splice_back(&now, &s->listeners);
	while ((l = list_pop_front(&now)) != NULL) {
		list_push_back(&s->listeners, l);
		one(kv_container_of(l, struct zk_listener, link), what);
	}
}

static void tell_up(struct zk_listener *l, const void *what KV_UNUSED)
{
	if (!l->told_up) {
		l->told_up = true;
		l->up(l);
	}
}

static void tell_down(struct zk_listener *l, const void *what)
{
	if (l->told_up) {
		l->told_up = false;
		l->down(l, what);
	}
}

struct event {
	enum zk_event_type type;
	struct slice path;
};

static void tell_event(struct zk_listener *l, const void *what)
{
	const struct event *e = what;

	if (l->told_up) {
		l->event(l, e->type, e->path);
	}
}

/* ---- the connection ------------------------------------------------------ */

static void hang_up(struct zk_session *s)
{
	struct zk_conn *c = s->conn;

	sched_timer_stop(&s->retry);
	s->conn = NULL;
	s->up = s->fast = false;
	s->phase = ZK_DOWN;
	if (c != NULL) {
		zk_conn_close(c);
	}
}

/* Everything a new connection is asked has been answered. */
static void now_up(struct zk_session *s)
{
	int64_t zxid = zk_conn_zxid(s->conn);
	size_t i;

	sched_timer_stop(&s->retry);
	if (s->unbound && zxid < s->zxid) {
		LOG_WARN("zookeeper: the ensemble went back",
			 LOG_U("seen", (uint64_t)s->zxid),
			 LOG_U("now", (uint64_t)zxid));
		s->zxid = zxid;
	}
	s->zxid = KV_MAX(s->zxid, zxid);
	for (i = 0; i < s->n_endpoints; i++) {
		s->endpoints[i].behind = 0;
	}
	kv_err_clear(&current(s)->last);
	current(s)->mute = 0;
	s->rounds = 0;
	s->behind_ms = 0;
	s->root_stat = s->probed_stat;
	s->has_root = s->probed_root;
	s->phase = ZK_UP;
	s->up = true;
	s->epoch++;
	LOG_DEBUG("zookeeper connected", LOG_S("host", current(s)->host),
		  LOG_S("port", current(s)->port),
		  LOG_S("reader", s->fast ? "fast" : "general"));
	tell(s, tell_up, NULL);
	pump(s);
}

/* This connection cannot be used any more; `retry` closes it, unless the server
 * is faster. */
static void leave(struct zk_session *s, const struct kv_err *why)
{
	current(s)->last = *why;
	sched_timer_start(s->sched, &s->retry, LEAVE_MS);
}

static void fast_answered(struct zk_session *s, const struct zk_call *c)
{
	struct zk_endpoint *e = current(s);
	struct kv_err err;

	if (c->error == ZK_OK) {
		s->fast = true;
		return;
	}
	s->probing++; /* not to be used */
	e->general = true;
	(void)kv_fail(&err, KV_CALL_NOT_SUPPORTED,
		      "%s:%s knows no multiRead (ZooKeeper < 3.6): it cannot "
		      "be read with reader=fast",
		      e->host, e->port);
	leave(s, &err);
}

static void root_answered(struct zk_session *s, struct zk_call *c)
{
	s->probed_root = c->error == ZK_OK;
	if (s->probed_root) {
		zk_get_stat(&c->body, &s->probed_stat);
	}
	if (c->body.failed || (c->error != ZK_OK && c->error != ZK_NO_NODE)) {
		struct kv_err err;

		s->probing++;
		(void)kv_fail(&err, KV_BROKEN,
			      "%s:%s: an answer was not understood",
			      current(s)->host, current(s)->port);
		leave(s, &err);
	}
}

static void probe_cb(struct zk_call *c);

static void start_probe(struct zk_session *s, size_t i)
{
	s->probes[i].data = s;
	s->probes[i].done = probe_cb;
	s->probing++;
	zk_call_start(s->conn, &s->probes[i]);
}

/* Alone: old servers answer what they do not know before what was asked
 * earlier. */
static void maybe_probe_fast(struct zk_session *s)
{
	struct zk_call *c = &s->probes[PROBE_FAST];

	if (s->probing == 0 && c->op == 0 &&
	    (s->way == ZK_WAY_FAST ||
	     (s->way == ZK_WAY_AUTO && !current(s)->general))) {
		zk_call_begin(c, ZK_OP_MULTI_READ);
		zk_put_multi_end(&c->frame);
		start_probe(s, PROBE_FAST);
	}
}

static void probe_cb(struct zk_call *c)
{
	struct zk_session *s = c->data;

	if (is_lost(c)) {
		return; /* `down` is to come */
	}
	if (c->err.status != KV_OK) {
		leave(s, &c->err);
		return;
	}
	s->probing--;
	if (c == &s->probes[PROBE_ROOT]) {
		root_answered(s, c);
	} else if (c == &s->probes[PROBE_FAST]) {
		fast_answered(s, c);
	}
	maybe_probe_fast(s);
	if (s->probing == 0) {
		now_up(s);
	}
}

static void up_cb(void *ctx)
{
	struct zk_session *s = ctx;
	struct zk_call *p = s->probes;

	s->phase = ZK_PROBING;
	s->probing = 0;
	kv_err_clear(&current(s)->last);
	s->fast = false;
	sched_timer_start(s->sched, &s->retry, connect_ms(s));
	memset(p, 0, sizeof s->probes);
	zk_call_begin(&p[PROBE_SYNC], ZK_OP_SYNC);
	zk_put_path(&p[PROBE_SYNC].frame, s->root);
	start_probe(s, PROBE_SYNC);
	zk_call_begin(&p[PROBE_ROOT], ZK_OP_EXISTS);
	zk_put_path_watch(&p[PROBE_ROOT].frame, s->root, false);
	start_probe(s, PROBE_ROOT);
}

static void event_cb(void *ctx, enum zk_event_type type, struct slice path)
{
	struct event e = {type, path};

	tell(ctx, tell_event, &e);
}

/* A server that went while it was asked for multiRead may be one that does not
 * know it and says nothing; the second time it is taken for one. */
static bool went_mute(struct zk_session *s, bool probing)
{
	struct zk_endpoint *e = current(s);

	if (!probing || s->way != ZK_WAY_AUTO) {
		return false;
	}
	if (e->general) {
		/* It has said so. Unless it was known before it was asked. */
		return s->probes[PROBE_FAST].op == ZK_OP_MULTI_READ;
	}
	if (s->probing == 1 && ++e->mute >= 2) {
		e->general = true;
		return true;
	}
	return false;
}

static void lost(struct zk_session *s, const struct kv_err *why)
{
	bool probing = s->phase == ZK_PROBING;
	bool again = went_mute(s, probing);
	struct kv_err err = *why;

	/* What was found before it went says more. */
	if (probing && current(s)->last.status != KV_OK) {
		err = current(s)->last;
	}
	hang_up(s);
	if (again) {
		kv_err_clear(&current(s)->last);
	} else {
		endpoint_failed(s, &err);
	}
	tell(s, tell_down, &err);
	pump(s);
}

static void down_cb(void *ctx, const struct kv_err *why)
{
	lost(ctx, why);
}

static void closed_cb(void *ctx)
{
	struct zk_session *s = ctx;

	PRE(s->connections > 0);
	s->connections--;
	if (s->closing) {
		sched_post(s->sched, &s->task);
	}
}

static const struct zk_conn_events conn_events = {
    .up = up_cb, .event = event_cb, .down = down_cb, .closed = closed_cb};

static int dial(struct zk_session *s, struct kv_err *err)
{
	const struct zk_endpoint *e = current(s);
	struct zk_conn_params p = {
	    .sched = s->sched,
	    .host = e->host,
	    .port = e->port,
	    .tls = s->use_tls ? &s->tls : NULL,
	    .timeout_ms = connect_ms(s),
	    .session_ms = s->session_ms,
	    .auth_scheme = s->digest != NULL ? "digest" : NULL,
	    .auth = slice_str(s->digest),
	    .max_reply = MAX_REPLY,
	    .events = &conn_events,
	    .ctx = s,
	};
	int rv;

	s->dials++;
	s->unbound = all_behind(s);
	p.last_zxid = s->unbound ? 0 : s->zxid;
	rv = zk_conn_open(&p, &s->conn, err);
	if (rv == KV_OK) {
		s->phase = ZK_DIALING;
		s->connections++;
	}
	return rv;
}

static void connect(struct zk_session *s)
{
	struct kv_err err;

	while (s->conn == NULL && !sched_timer_running(&s->retry) &&
	       !(list_empty(&s->waiting) && list_empty(&s->listeners))) {
		if (dial(s, &err) != KV_OK) {
			s->conn = NULL;
			endpoint_failed(s, &err);
		}
	}
}

static void retry_cb(struct sched_timer *t)
{
	struct zk_session *s = kv_container_of(t, struct zk_session, retry);
	struct kv_err err;

	if (s->conn != NULL) {
		(void)kv_fail(&err, KV_NOT_REACHABLE,
			      "%s:%s: no answer within %" PRIu64 " ms",
			      current(s)->host, current(s)->port,
			      connect_ms(s));
		lost(s, &err);
		return;
	}
	pump(s);
}

/* ---- asks ---------------------------------------------------------------- */

static bool right_epoch(const struct zk_session *s, struct zk_ask *a)
{
	if (a->need_epoch == 0 || (s->up && s->epoch == a->need_epoch)) {
		return true;
	}
	(void)kv_fail(&a->call.err, KV_NOT_REACHABLE,
		      "zookeeper: the connection was lost");
	return false;
}

static bool keep_frame(struct zk_ask *a)
{
	const struct jute_out *f = &a->call.frame;

	if (a->repeated || a->need_epoch != 0 || f->failed) {
		return true;
	}
	a->kept.p = kv_memdup(f->p, f->n);
	a->kept.n = a->kept.cap = f->n;
	return a->kept.p != NULL;
}

static void send_ask(struct zk_session *s, struct zk_ask *a)
{
	if (!right_epoch(s, a)) {
		finish_later(a);
		return;
	}
	if (!keep_frame(a)) {
		(void)kv_fail(&a->call.err, KV_NO_MEMORY,
			      "zookeeper: no memory to ask");
		finish_later(a);
		return;
	}
	a->epoch = s->epoch;
	a->sent = true;
	list_remove(&a->link);
	list_push_back(&s->active, &a->link);
	zk_call_start(s->conn, &a->call);
}

static void pump(struct zk_session *s)
{
	struct list *l;

	if (s->closing) {
		return;
	}
	if (s->conn == NULL) {
		connect(s);
		return;
	}
	while (s->phase == ZK_UP && (l = list_first(&s->waiting)) != NULL) {
		send_ask(s, kv_container_of(l, struct zk_ask, link));
	}
}

static void close_end(struct zk_session *s)
{
	void (*closed)(void *) = s->closed;
	void *ctx = s->closed_ctx;

	if (s->connections == 0) {
		zk_session_free(s);
		closed(ctx);
	}
}

static void task_cb(struct sched_task *task)
{
	struct zk_session *s = kv_container_of(task, struct zk_session, task);
	struct list *l;

	if (s->closing) {
		close_end(s);
		return;
	}
	/* One at a time: `done` may cancel the next one. */
	while ((l = list_first(&s->failed)) != NULL) {
		finish(kv_container_of(l, struct zk_ask, link));
	}
	if (s->up) {
		tell(s, tell_up, NULL);
	}
	pump(s);
}

/* ---- what others call ---------------------------------------------------- */

void zk_session_wake(struct zk_session *s)
{
	if (s->conn == NULL && s->behind_ms == 0) {
		sched_timer_stop(&s->retry);
	}
	pump(s);
}

void zk_ask_start(struct zk_session *s, struct zk_ask *a)
{
	PRE(a->done != NULL && !s->closing);
	a->session = s;
	a->attempts = s->n_endpoints;
	a->born = s->dials;
	a->sent = a->repeated = false;
	a->kept = (struct jute_out){0};
	a->call.done = answered_cb;
	a->due_ms = sched_now(s->sched) + s->timeout_ms;
	kv_err_clear(&a->call.err);
	list_init(&a->link);
	list_init(&a->by_due);
	list_push_back(&s->waiting, &a->link);
	list_push_back(&s->by_due, &a->by_due);
	if (!sched_timer_running(&s->deadline)) {
		sched_timer_start(s->sched, &s->deadline, s->timeout_ms);
	}
	if (!right_epoch(s, a)) {
		finish_later(a);
		return;
	}
	zk_session_wake(s);
}

void zk_ask_cancel(struct zk_ask *a)
{
	PRE(a->session != NULL);
	if (a->sent) {
		zk_call_forget(&a->call);
	} else {
		jute_out_free(&a->call.frame);
	}
	unlink_ask(a);
}

void zk_session_listen(struct zk_session *s, struct zk_listener *l)
{
	PRE(!s->closing);
	l->told_up = false;
	list_init(&l->link);
	list_push_back(&s->listeners, &l->link);
	sched_post(s->sched, &s->task);
}

void zk_session_unlisten(struct zk_listener *l)
{
	list_remove(&l->link);
	l->told_up = false;
}

static void shuffle(struct zk_session *s)
{
	size_t i, k;

	for (i = s->n_endpoints; i > 1; i--) {
		struct zk_endpoint e = s->endpoints[i - 1];

		k = (size_t)(sched_random(s->sched) % i);
		s->endpoints[i - 1] = s->endpoints[k];
		s->endpoints[k] = e;
	}
}

void zk_session_init(struct zk_session *s)
{
	PRE(s->n_endpoints > 0 && s->timeout_ms > 0 && s->root.n > 0);
	list_init(&s->waiting);
	list_init(&s->active);
	list_init(&s->failed);
	list_init(&s->by_due);
	list_init(&s->listeners);
	s->task.run = task_cb;
	s->deadline.fire = deadline_cb;
	s->retry.fire = retry_cb;
	shuffle(s);
}

void zk_session_free(struct zk_session *s)
{
	size_t i;

	for (i = 0; i < s->n_endpoints; i++) {
		kv_free(s->endpoints[i].host);
		kv_free(s->endpoints[i].port);
	}
	kv_free(s->endpoints);
	kv_free(s->tls.ca);
	kv_free(s->tls.cert);
	kv_free(s->tls.key);
	kv_free(s->tls.server_name);
	if (s->digest != NULL) {
		explicit_bzero(s->digest, strlen(s->digest));
	}
	kv_free(s->digest);
	memset(s, 0, sizeof *s);
}

void zk_session_close(struct zk_session *s, void (*closed)(void *ctx),
		      void *ctx)
{
	PRE(list_empty(&s->by_due) && list_empty(&s->listeners) && !s->closing);
	s->closing = true;
	s->closed = closed;
	s->closed_ctx = ctx;
	sched_timer_stop(&s->deadline);
	hang_up(s);
	sched_post(s->sched, &s->task);
}
