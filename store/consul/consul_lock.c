/* consul_lock.c: locks: a key that a session of its own holds.
 *
 *   lock    session (TTL, behaviour delete) --> lock the key with it --> held
 *                                `--- another's: the session is destroyed
 *   renew   the session is renewed
 *   unlock  the key is unlocked and deleted in one transaction; the session is
 *           destroyed behind it
 *
 * The token is the key's ModifyIndex: each hold writes it anew, so tokens grow,
 * and a write checks it. A key whose session ended otherwise cannot be locked
 * for LOCK_DELAY: who did not hear of it in time is done by then.
 */
#include <jansson.h>

#include "store/consul/consul_impl.h"

#define LOCK_DELAY "5s"
/* What Consul takes as a session's time. */
#define TTL_MIN_S 10
#define TTL_MAX_S 86400
/* Closing a store does not wait longer for sessions that end by themselves. */
#define CLOSE_MS 2000
#define SESSION_MAX 64

/* One call after the other. `req` is whose answer they bring, or NULL: nobody
 * waits, and it stands in c->locks. */
struct lock_call {
	struct list link;
	struct http_call call;
	struct consul *c;
	struct store_lock_req *req;
	struct slice key; /* as stored, in the arena */
	char session[SESSION_MAX];
	uint32_t ttl_ms;
	uint64_t sent_ms;
	uint64_t held; /* renew: id of the hold */
	bool granting; /* nothing is locked yet */
	struct arena arena;
};

static void maybe_closed(struct consul *c)
{
	if (sched_timer_running(&c->locks_end) && list_empty(&c->locks)) {
		sched_timer_stop(&c->locks_end);
		consul_lock_closed(c);
	}
}

static void call_drop(struct lock_call *l)
{
	http_cancel(&l->call);
	http_call_reset(&l->call);
	list_remove(&l->link);
	arena_free(&l->arena);
	kv_free(l);
}

static void call_free(struct lock_call *l)
{
	struct consul *c = l->c;

	call_drop(l);
	maybe_closed(c);
}

static struct lock_call *call_new(struct consul *c, struct store_lock_req *req,
				  struct slice key)
{
	struct lock_call *l = kv_calloc(1, sizeof *l);

	if (l == NULL) {
		return NULL;
	}
	l->c = c;
	l->req = req;
	l->call.ctx = l;
	list_init(&l->link);
	l->key = consul_stored(c, &l->arena, key);
	if (l->key.p == NULL) {
		kv_free(l);
		return NULL;
	}
	if (req == NULL) {
		list_push_back(&c->locks, &l->link);
	}
	return l;
}

static void set_session(struct lock_call *l, const char *id)
{
	size_t n = strlen(id);

	PRE(n < sizeof l->session);
	memcpy(l->session, id, n + 1);
}

static void start(struct lock_call *l, bool mutates,
		  void (*done)(struct http_call *call))
{
	http_call_reset(&l->call);
	l->call.mutates = mutates;
	l->call.done = done;
	l->sent_ms = sched_now(l->c->st->sched);
	http_start(&l->c->http, &l->call);
}

/* PUT /v1/session/WHAT[/ID] */
static void start_session(struct lock_call *l, const char *what,
			  const char *body,
			  void (*done)(struct http_call *call))
{
	consul_session_path(l->c, &l->call.path, what, l->session);
	buf_str(&l->call.body, body);
	start(l, true, done);
}

/* ---- giving back --------------------------------------------------------- */

static void destroyed(struct http_call *call)
{
	call_free(call->ctx);
}

/* Nobody waits for it; where it fails, the session ends by itself. */
static void destroy_alone(struct consul *c, const char *session)
{
	struct lock_call *l = call_new(c, NULL, slice_str("/"));

	if (l != NULL) {
		set_session(l, session);
		start_session(l, "destroy/", "{}", destroyed);
	}
}

static void released_alone(struct http_call *call)
{
	struct lock_call *l = call->ctx;

	start_session(l, "destroy/", "{}", destroyed);
}

/* The key goes with its lock: only while the session has it. */
static void start_release(struct lock_call *l,
			  void (*done)(struct http_call *call))
{
	struct txn_op unlock = {
	    .verb = "unlock", .key = l->key, .session = l->session};
	struct txn_op gone = {.verb = "delete", .key = l->key};

	txn_begin(&l->call.body);
	txn_add(&l->call.body, &unlock);
	txn_add(&l->call.body, &gone);
	txn_end(&l->call.body);
	consul_txn_path(l->c, &l->call.path, CONSUL_WRITE);
	start(l, true, done);
}

/* ---- taking -------------------------------------------------------------- */

/* The request's answer is in req->err. A session that is of no use is given
 * back. */
static void lock_end(struct lock_call *l)
{
	struct store_lock_req *req = l->req;

	if (req->err.status != KV_OK && l->session[0] != '\0') {
		destroy_alone(l->c, l->session);
	}
	call_free(l);
	store_done(&req->req);
}

static void lock_held(struct lock_call *l, uint64_t index)
{
	struct store_lock_req *req = l->req;
	struct store_held *h;

	req->token = index;
	h = store_held_add(l->c->st, req, l->ttl_ms, l->sent_ms);
	if (h == NULL) {
		(void)kv_fail(&req->err, KV_NO_MEMORY,
			      "consul: no memory for a lock");
	} else {
		memcpy(h->session, l->session, sizeof l->session);
	}
	lock_end(l);
}

/* Why a lock was not given. */
static void judge(struct lock_call *l, const struct txn_answer *in)
{
	struct store_lock_req *req = l->req;
	const struct txn_error *e = in->n_errors > 0 ? &in->errors[0] : NULL;
	char key[SLICE_PRINT_MAX];

	if (e == NULL || e->trouble == TXN_DENIED) {
		(void)kv_fail(&req->err, e == NULL ? KV_BROKEN : KV_DENIED,
			      "consul: lock %s is refused",
			      slice_print(req->key, key, sizeof key));
	} else {
		/* Held, or just lost by somebody: the delay is on. */
		(void)kv_fail(&req->err, KV_CANNOT_LOCK,
			      "consul: lock %s: another holds it",
			      slice_print(req->key, key, sizeof key));
	}
}

static void locked(struct http_call *call)
{
	struct lock_call *l = call->ctx;
	struct store_lock_req *req = l->req;
	struct txn_answer in;

	if (call->err.status != KV_OK ||
	    (call->code != 409 && http_check(call, false) != KV_OK)) {
		req->err = call->err;
	} else if (txn_parse(&l->arena, slice_of(call->reply.p, call->reply.n),
			     &in, &req->err) == KV_OK) {
		if (in.n_errors == 0 && in.n_entries == 1) {
			lock_held(l, in.entries[0].index);
			return;
		}
		judge(l, &in);
	}
	lock_end(l);
}

static void start_lock(struct lock_call *l)
{
	struct txn_op op = {.verb = "lock",
			    .key = l->key,
			    .has_value = true,
			    .value = l->req->value,
			    .session = l->session};

	l->granting = false;
	txn_begin(&l->call.body);
	txn_add(&l->call.body, &op);
	txn_end(&l->call.body);
	consul_txn_path(l->c, &l->call.path, CONSUL_WRITE);
	start(l, true, locked);
}

/* {"ID":"..."} */
static int read_session(struct lock_call *l, struct kv_err *err)
{
	json_t *root =
	    json_loadb((const char *)l->call.reply.p, l->call.reply.n, 0, NULL);
	const char *id = json_string_value(json_object_get(root, "ID"));
	int rv = KV_OK;

	if (id == NULL || id[0] == '\0' || strlen(id) >= SESSION_MAX ||
	    strspn(id, "0123456789abcdefABCDEF-") != strlen(id)) {
		rv = kv_fail(err, KV_BROKEN, "consul: a session has no id");
	} else {
		set_session(l, id);
	}
	json_decref(root);
	return rv;
}

static void granted(struct http_call *call)
{
	struct lock_call *l = call->ctx;
	struct store_lock_req *req = l->req;

	if (http_check(call, false) != KV_OK) {
		req->err = call->err;
		/* Whether there is a session now does not matter: it holds
		 * nothing. */
		if (req->err.status == KV_UNKNOWN_OUTCOME) {
			req->err.status = KV_NOT_REACHABLE;
		}
		lock_end(l);
	} else if (read_session(l, &req->err) != KV_OK) {
		lock_end(l);
	} else {
		start_lock(l);
	}
}

int consul_lock(struct store *st, struct store_lock_req *req)
{
	struct lock_call *l = call_new(consul_of(st), req, req->key);
	uint32_t seconds = (uint32_t)(((uint64_t)req->ttl_ms + 999) / 1000);
	struct consul_buf *b;

	if (l == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "consul: no memory for a lock");
	}
	req->req.impl = l;
	seconds = KV_MIN(KV_MAX(seconds, TTL_MIN_S), TTL_MAX_S);
	l->ttl_ms = seconds * 1000;
	l->granting = true;
	b = &l->call.body;
	buf_str(b, "{\"Name\":\"kvmirror\",\"Behavior\":\"delete\","
		   "\"LockDelay\":\"" LOCK_DELAY "\",\"TTL\":\"");
	buf_num(b, seconds);
	start_session(l, "create", "s\"}", granted);
	return KV_OK;
}

/* ---- unlocking ----------------------------------------------------------- */

static void unlocked(struct http_call *call)
{
	struct lock_call *l = call->ctx;
	struct store_lock_req *req = l->req;

	/* 409: it is held no more. */
	if (!(call->err.status == KV_OK && call->code == 409) &&
	    http_check(call, false) != KV_OK) {
		req->err = call->err;
	}
	destroy_alone(l->c, l->session);
	call_free(l);
	store_done(&req->req);
}

int consul_unlock(struct store *st, struct store_lock_req *req)
{
	struct lock_call *l = call_new(consul_of(st), req, req->key);

	if (l == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "consul: no memory to unlock");
	}
	set_session(l, req->held->session);
	req->req.impl = l;
	start_release(l, unlocked);
	return KV_OK;
}

void consul_lock_cancel(struct store_lock_req *req)
{
	struct lock_call *l = req->req.impl;

	(void)kv_fail(&req->err,
		      l->call.sent && !l->granting ? KV_UNKNOWN_OUTCOME
						   : KV_CANCELED,
		      "consul: lock canceled");
	lock_end(l);
}

/* ---- keeping ------------------------------------------------------------- */

static void renewed(struct http_call *call)
{
	struct lock_call *l = call->ctx;
	struct store_held *h = store_held_by_id(l->c->st, l->held);
	char key[SLICE_PRINT_MAX];
	struct kv_err err;

	if (h != NULL && call->err.status == KV_OK && call->code == 200) {
		store_held_renewed(h, l->sent_ms);
	} else if (h != NULL && call->err.status == KV_OK &&
		   call->code == 404) {
		(void)kv_fail(&err, KV_CANNOT_LOCK,
			      "consul: lock %s: its session has expired",
			      slice_print(h->key, key, sizeof key));
		store_held_lost(h, &err);
	}
	call_free(l);
}

/* One that fails is followed by the next; the hold's own deadline decides. */
void consul_renew(struct store *st, struct store_held *held)
{
	struct lock_call *l = call_new(consul_of(st), NULL, held->key);

	if (l != NULL) {
		l->held = held->id;
		set_session(l, held->session);
		start_session(l, "renew/", "{}", renewed);
	}
}

/* ---- the end ------------------------------------------------------------- */

static void close_fire(struct sched_timer *t)
{
	struct consul *c = kv_container_of(t, struct consul, locks_end);
	struct list *l;

	while ((l = list_first(&c->locks)) != NULL) {
		call_drop(kv_container_of(l, struct lock_call, link));
	}
	consul_lock_closed(c);
}

void consul_lock_init(struct consul *c)
{
	list_init(&c->locks);
	c->locks_end.fire = close_fire;
}

void consul_lock_close(struct consul *c)
{
	struct list *held = &c->st->held;

	for (struct list *i = held->next; i != held; i = i->next) {
		struct store_held *h =
		    kv_container_of(i, struct store_held, link);
		struct lock_call *l = call_new(c, NULL, h->key);

		if (l != NULL) {
			set_session(l, h->session);
			start_release(l, released_alone);
		}
	}
	if (list_empty(&c->locks)) {
		consul_lock_closed(c);
		return;
	}
	sched_timer_start(c->st->sched, &c->locks_end, CLOSE_MS);
}
