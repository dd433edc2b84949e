/* etcd_client.c: see etcd_client.h.
 *
 *            +--> connect to cur --down--> attempts--, cur++ --+
 *   waiting -+                                                 |
 *            +<-------------------- any attempts left? --------+--> failed
 *            |
 *            +--up--> [authenticate] --> active --> done
 *
 * `pump` is the step function: callable from anywhere, it starts what is due
 * and calls nobody back. What fails inside it waits in `failed` for the task.
 */
#include "store/etcd/etcd_client.h"

#include <stdio.h>
#include <string.h>

#include "store/base/log.h"

#define KV_WINDOW (8u * 1024 * 1024)
#define CONNECT_MIN_MS ((uint64_t)250)
#define CONNECT_MAX_MS ((uint64_t)5000)

static void pump(struct etcd_client *c);

/* ---- endpoints ----------------------------------------------------------- */

void etcd_client_note(struct etcd_client *c, size_t at,
		      const struct kv_err *why)
{
	c->endpoints[at % c->n_endpoints].last = *why;
}

int etcd_client_unreachable(const struct etcd_client *c, struct kv_err *err)
{
	char text[KV_ERR_TEXT_MAX];
	int status = KV_OK;
	size_t i, n = 0;

	text[0] = '\0';
	for (i = 0; i < c->n_endpoints; i++) {
		const struct kv_err *e = &c->endpoints[i].last;

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
		return kv_fail(err, KV_NOT_REACHABLE,
			       "etcd: no endpoint answered in time (%s:%s%s)",
			       c->endpoints[0].host, c->endpoints[0].port,
			       c->n_endpoints > 1 ? ", ..." : "");
	}
	return kv_fail(err, status, "etcd: no endpoint can be used: %s", text);
}

static uint64_t connect_ms(const struct etcd_client *c)
{
	uint64_t share = c->timeout_ms / (c->n_endpoints + 1);

	return KV_MIN(KV_MAX(share, CONNECT_MIN_MS), CONNECT_MAX_MS);
}

int etcd_client_dial(struct etcd_client *c, size_t at, uint32_t window,
		     const struct grpc_events *events, void *ctx,
		     struct grpc **out, struct kv_err *err)
{
	const struct etcd_endpoint *e = &c->endpoints[at % c->n_endpoints];
	struct grpc_params p = {
	    .sched = c->sched,
	    .host = e->host,
	    .port = e->port,
	    .tls = c->use_tls ? &c->tls : NULL,
	    .connect_ms = connect_ms(c),
	    .stream_window = window,
	    .events = events,
	    .ctx = ctx,
	};
	int rv = grpc_open(&p, out, err);

	if (rv == KV_OK) {
		c->connections++;
	}
	return rv;
}

void etcd_client_hung_up(struct etcd_client *c)
{
	PRE(c->connections > 0);
	c->connections--;
	if (c->closing) {
		sched_post(c->sched, &c->task);
	}
}

/* ---- ends of a call ------------------------------------------------------ */

/* Hands the call back. Only from the loop. */
static void finish(struct etcd_call *call)
{
	sched_timer_stop(&call->deadline);
	list_remove(&call->link);
	kv_free(call->frame);
	call->frame = NULL;
	if (call->err.status != KV_OK) {
		kv_free(call->reply);
		call->reply = NULL;
	}
	call->client = NULL;
	call->done(call);
}

/* The same from inside a call of the owner's. */
static void finish_later(struct etcd_call *call)
{
	struct etcd_client *c = call->client;

	PRE(call->err.status != KV_OK);
	sched_timer_stop(&call->deadline);
	list_remove(&call->link);
	list_push_back(&c->failed, &call->link);
	sched_post(c->sched, &c->task);
}

void etcd_client_fail_waiting(struct etcd_client *c, const struct kv_err *err)
{
	struct list *l;
	struct etcd_call *call;

	while ((l = list_first(&c->waiting)) != NULL) {
		call = kv_container_of(l, struct etcd_call, link);
		call->err = *err;
		finish_later(call);
	}
}

/* A connection could not be made, or was lost. Calls that wait, and for which
 * it was made, have one attempt less; those that came later saw nothing of it.
 */
static void spend_attempt(struct etcd_client *c, const struct kv_err *why)
{
	struct list again, *l;
	struct etcd_call *call;

	etcd_client_note(c, c->cur, why);
	c->cur = (c->cur + 1) % c->n_endpoints;
	list_init(&again);
	while ((l = list_pop_front(&c->waiting)) != NULL) {
		call = kv_container_of(l, struct etcd_call, link);
		list_push_back(&again, l);
		if (call->born >= c->dials) {
			continue;
		}
		if (call->attempts > 0) {
			call->attempts--;
		}
		if (call->attempts == 0) {
			(void)etcd_client_unreachable(c, &call->err);
			finish_later(call);
		}
	}
	list_splice_back(&c->waiting, &again);
}

static void requeue(struct etcd_call *call)
{
	struct etcd_client *c = call->client;

	kv_free(call->reply);
	call->reply = NULL;
	list_remove(&call->link);
	list_push_back(&c->waiting, &call->link);
	sched_post(c->sched, &c->task);
}

/* Sends it anew, on another connection where this one ends; false: that is not
 * allowed, or was tried often enough. */
static bool try_again(struct etcd_call *call)
{
	if (call->need_epoch != 0 || call->attempts == 0) {
		return false;
	}
	call->attempts--;
	call->born = call->client->dials; /* what it has cost so far */
	requeue(call);
	return true;
}

/* The server said no. */
static void call_refused(struct etcd_call *call)
{
	struct etcd_client *c = call->client;
	const struct grpc_call *g = &call->grpc;
	struct etcd_fault f = etcd_fault_find(g->code, g->text, call->mutates);

	call->remedy = f.remedy;
	if (f.remedy == ETCD_REMEDY_TOKEN && c->user != NULL &&
	    !call->reauthenticated) {
		call->reauthenticated = true;
		c->auth_off = false;
		etcd_client_drop_token(c, call->token_gen);
		requeue(call);
		return;
	}
	if (f.remedy == ETCD_REMEDY_ROTATE && c->n_endpoints > 1) {
		c->kv_retiring = true;
		/* NOT_REACHABLE says that nothing was done, or only read. */
		if (f.status == KV_NOT_REACHABLE && try_again(call)) {
			return;
		}
	}
	(void)etcd_fault_err(f, g->code, g->text, &call->err);
	finish(call);
}

/* No answer, because connection or stream broke. */
static void call_lost(struct etcd_call *call, bool unseen)
{
	const char *why = call->grpc.text;

	call->sent = call->grpc.sent && !unseen;
	if (call->sent && call->mutates) {
		(void)kv_fail(&call->err, KV_UNKNOWN_OUTCOME,
			      "etcd: the connection was lost before the answer "
			      "to a write came: %s",
			      why);
		finish(call);
		return;
	}
	if ((!call->sent || !call->repeated) && try_again(call)) {
		call->repeated |= call->sent;
		return;
	}
	(void)kv_fail(&call->err, KV_NOT_REACHABLE, "etcd: %s", why);
	finish(call);
}

static void grpc_message_cb(struct grpc_call *g, uint8_t *p, size_t n)
{
	struct etcd_call *call = kv_container_of(g, struct etcd_call, grpc);

	kv_free(call->reply);
	call->reply = p;
	call->reply_n = n;
}

static void grpc_done_cb(struct grpc_call *g)
{
	struct etcd_call *call = kv_container_of(g, struct etcd_call, grpc);
	struct etcd_client *c = call->client;

	if (c->kv_retiring) {
		sched_post(c->sched, &c->task);
	}
	call->sent = g->sent;
	switch (g->end) {
	case GRPC_END_STATUS:
		if (g->code != 0) {
			call_refused(call);
			return;
		}
		if (call->reply == NULL) {
			(void)kv_fail(
			    &call->err,
			    call->mutates ? KV_UNKNOWN_OUTCOME : KV_BROKEN,
			    "etcd: %s was answered with nothing", call->path);
		}
		break;
	case GRPC_END_REFUSED:
		call_lost(call, true);
		return;
	case GRPC_END_LOST:
		call_lost(call, false);
		return;
	case GRPC_END_TOO_BIG:
		call->announced = g->announced;
		(void)kv_fail(&call->err,
			      call->mutates ? KV_UNKNOWN_OUTCOME : KV_TOO_LARGE,
			      "etcd: an answer of %zu bytes was not taken",
			      g->announced);
		break;
	case GRPC_END_NO_MEMORY:
		(void)kv_fail(&call->err,
			      call->mutates ? KV_UNKNOWN_OUTCOME : KV_NO_MEMORY,
			      "no memory for an answer of etcd");
		break;
	}
	finish(call);
}

static void deadline_cb(struct sched_timer *t)
{
	struct etcd_call *call = kv_container_of(t, struct etcd_call, deadline);
	struct etcd_client *c = call->client;
	unsigned long long ms = (unsigned long long)c->timeout_ms;
	struct kv_err err;

	if (!grpc_call_is_open(&call->grpc)) {
		(void)etcd_client_unreachable(c, &call->err);
		finish(call);
		return;
	}
	call->sent = call->grpc.sent;
	grpc_cancel(&call->grpc);
	etcd_client_drop_token(c, call->token_gen);
	(void)kv_fail(&call->err,
		      call->sent && call->mutates ? KV_UNKNOWN_OUTCOME
						  : KV_TIMED_OUT,
		      "etcd: no answer from %s:%s within %llu ms",
		      c->endpoints[c->cur].host, c->endpoints[c->cur].port, ms);
	if (grpc_last_heard(c->kv) <= call->started) {
		/* Not a sign of life since: the others fare no better. */
		(void)kv_fail(&err, KV_NOT_REACHABLE,
			      "%s:%s: no sign of life for %llu ms",
			      c->endpoints[c->cur].host,
			      c->endpoints[c->cur].port, ms);
		grpc_abort(c->kv, &err);
	}
	finish(call);
}

/* ---- the connection ------------------------------------------------------ */

static void kv_up_cb(void *ctx)
{
	struct etcd_client *c = ctx;

	c->kv_up = true;
	c->epoch++;
	c->auth_off = false;
	kv_err_clear(&c->endpoints[c->cur].last);
	LOG_DEBUG("etcd connected", LOG_S("host", c->endpoints[c->cur].host),
		  LOG_S("port", c->endpoints[c->cur].port));
	pump(c);
}

static void kv_down_cb(void *ctx, const struct kv_err *why)
{
	struct etcd_client *c = ctx;

	LOG_DEBUG("etcd connection lost", LOG_S("reason", why->text));
	grpc_close(c->kv);
	c->kv = NULL;
	c->kv_up = c->kv_retiring = false;
	/* A simple token carries an index of the log it was made in. A server
	 * that came back with a shorter log does not refuse it: it waits for
	 * that index, and so would every call. */
	etcd_client_drop_token(c, c->token_gen);
	spend_attempt(c, why);
	pump(c);
}

static void kv_closed_cb(void *ctx)
{
	etcd_client_hung_up(ctx);
}

static const struct grpc_events kv_events = {
    .up = kv_up_cb, .down = kv_down_cb, .closed = kv_closed_cb};

static void connect_kv(struct etcd_client *c)
{
	struct kv_err err;

	while (c->kv == NULL && !list_empty(&c->waiting)) {
		c->dials++;
		if (etcd_client_dial(c, c->cur, KV_WINDOW, &kv_events, c,
				     &c->kv, &err) != KV_OK) {
			spend_attempt(c, &err);
		}
	}
}

/* An endpoint that cannot serve now is left, once its calls have ended. */
static void maybe_leave(struct etcd_client *c)
{
	if (list_empty(&c->active) && !grpc_call_is_open(&c->auth)) {
		grpc_close(c->kv);
		c->kv = NULL;
		c->kv_up = c->kv_retiring = false;
		c->cur = (c->cur + 1) % c->n_endpoints;
		connect_kv(c);
	}
}

static void send_call(struct etcd_client *c, struct etcd_call *call)
{
	struct grpc_call *g = &call->grpc;

	memset(g, 0, sizeof *g);
	g->path = call->path;
	g->token = c->token;
	g->needs_leader = !call->stale_ok;
	g->max_message = call->max_reply;
	g->out = call->frame;
	g->out_n = call->frame_n;
	g->message = grpc_message_cb;
	g->done = grpc_done_cb;
	call->token_gen = c->token_gen;
	call->epoch = c->epoch;
	list_remove(&call->link);
	list_push_back(&c->active, &call->link);
	if (grpc_start(c->kv, g) != KV_OK) {
		(void)kv_fail(&call->err, KV_NO_MEMORY, "no memory to send");
		finish_later(call);
	}
}

/* Is the connection there on which the call is to go? */
static bool right_epoch(const struct etcd_client *c, struct etcd_call *call)
{
	if (call->need_epoch == 0 ||
	    (c->kv_up && c->epoch == call->need_epoch)) {
		return true;
	}
	(void)kv_fail(&call->err, KV_NOT_REACHABLE,
		      "etcd: the connection was lost since the keys were read; "
		      "nothing was sent");
	return false;
}

static void pump(struct etcd_client *c)
{
	struct list *l;
	struct etcd_call *call;

	if (c->closing || list_empty(&c->waiting)) {
		return;
	}
	if (c->kv == NULL) {
		connect_kv(c);
		return;
	}
	if (!c->kv_up) {
		return;
	}
	if (c->kv_retiring || grpc_is_leaving(c->kv)) {
		c->kv_retiring = true;
		maybe_leave(c);
		return;
	}
	if (!grpc_is_usable(c->kv)) {
		return; /* its end follows */
	}
	if (c->user != NULL && c->token == NULL && !c->auth_off) {
		etcd_auth_maybe_start(c);
		return;
	}
	while ((l = list_first(&c->waiting)) != NULL && grpc_is_usable(c->kv)) {
		call = kv_container_of(l, struct etcd_call, link);
		if (right_epoch(c, call)) {
			send_call(c, call);
		} else {
			finish_later(call);
		}
	}
}

void etcd_client_free(struct etcd_client *c)
{
	size_t i;

	for (i = 0; i < c->n_endpoints; i++) {
		kv_free(c->endpoints[i].host);
		kv_free(c->endpoints[i].port);
	}
	kv_free(c->endpoints);
	kv_free(c->tls.ca);
	kv_free(c->tls.cert);
	kv_free(c->tls.key);
	kv_free(c->tls.server_name);
	if (c->password != NULL) {
		explicit_bzero(c->password, strlen(c->password));
	}
	kv_free(c->password);
	kv_free(c->user);
	kv_free(c->token);
	memset(c, 0, sizeof *c);
}

static void task_cb(struct sched_task *task)
{
	struct etcd_client *c = kv_container_of(task, struct etcd_client, task);
	struct list *l;

	if (c->closing) {
		if (c->connections == 0) {
			void (*closed)(void *) = c->closed;
			void *ctx = c->closed_ctx;

			etcd_client_free(c);
			closed(ctx);
		}
		return;
	}
	/* One at a time: `done` may cancel the next one. */
	while ((l = list_first(&c->failed)) != NULL) {
		finish(kv_container_of(l, struct etcd_call, link));
	}
	pump(c);
}

/* ---- what others call ---------------------------------------------------- */

void etcd_call_start(struct etcd_client *c, struct etcd_call *call)
{
	PRE(call->frame != NULL && call->done != NULL && !c->closing);
	call->client = c;
	call->attempts = c->n_endpoints;
	call->born = c->dials;
	call->started = sched_now(c->sched);
	call->deadline.fire = deadline_cb;
	kv_err_clear(&call->err);
	call->remedy = ETCD_REMEDY_NONE;
	call->reply = NULL;
	call->sent = call->reauthenticated = call->repeated = false;
	memset(&call->grpc, 0, sizeof call->grpc);
	list_init(&call->link);
	list_push_back(&c->waiting, &call->link);
	sched_timer_start(c->sched, &call->deadline, c->timeout_ms);
	if (!right_epoch(c, call)) {
		finish_later(call);
		return;
	}
	pump(c);
}

void etcd_call_cancel(struct etcd_call *call)
{
	struct etcd_client *c = call->client;

	PRE(c != NULL);
	sched_timer_stop(&call->deadline);
	list_remove(&call->link);
	if (grpc_call_is_open(&call->grpc)) {
		call->sent = call->grpc.sent;
		grpc_cancel(&call->grpc);
	}
	kv_free(call->frame);
	kv_free(call->reply);
	call->frame = call->reply = NULL;
	call->client = NULL;
	if (c->kv_retiring) {
		sched_post(c->sched, &c->task);
	}
}

void etcd_client_init(struct etcd_client *c)
{
	PRE(c->n_endpoints > 0 && c->timeout_ms > 0);
	list_init(&c->waiting);
	list_init(&c->active);
	list_init(&c->failed);
	c->task.run = task_cb;
	etcd_auth_init(c);
}

void etcd_client_close(struct etcd_client *c, void (*closed)(void *ctx),
		       void *ctx)
{
	PRE(list_empty(&c->waiting) && list_empty(&c->active) &&
	    list_empty(&c->failed) && !c->closing);
	c->closing = true;
	c->closed = closed;
	c->closed_ctx = ctx;
	etcd_auth_stop(c);
	if (c->kv != NULL) {
		grpc_close(c->kv);
		c->kv = NULL;
	}
	sched_post(c->sched, &c->task);
}
