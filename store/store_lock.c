/* store_lock.c: locks: taking them, keeping them, giving them back.
 *
 *   store_lock --try--> ops->lock --held--> renew ... renew ... unlock
 *       ^                   |                  |
 *       |             another's           no answer within the ttl,
 *       |                   v             or the server says so: lost
 *       `-- its key changed, or a second went by (where the backend does
 *           not wait by itself)
 *
 * The time of a hold counts from when its last confirmation was asked for: the
 * server cannot have ended it before that and its ttl.
 */
#include "store/store_impl.h"

#define TTL_DEFAULT 15000
#define TTL_LEAST 1000
/* A lock whose holder died ends without its key being touched (SQLite), or
 * after a delay of the server's own (Consul). */
#define TRY_AGAIN_MS 1000

/* ---- held ---------------------------------------------------------------- */

void held_mute(struct store_held *h)
{
	h->lost = NULL;
	sched_timer_stop(&h->renew);
	sched_timer_stop(&h->deadline);
}

void held_free(struct store_held *h)
{
	held_mute(h);
	list_remove(&h->link);
	kv_free(h);
}

static uint64_t left(const struct store_held *h, uint64_t sent_ms)
{
	uint64_t gone = sched_now(h->store->sched) - sent_ms;

	return gone < h->ttl_ms ? h->ttl_ms - gone : 0;
}

static void renew_fire(struct sched_timer *t)
{
	struct store_held *h = kv_container_of(t, struct store_held, renew);

	sched_timer_start(h->store->sched, &h->renew, h->ttl_ms / 3);
	h->store->ops->renew(h->store, h);
}

static void deadline_fire(struct sched_timer *t)
{
	struct store_held *h = kv_container_of(t, struct store_held, deadline);
	char key[SLICE_PRINT_MAX];
	struct kv_err err;

	(void)kv_fail(&err, KV_CANNOT_LOCK,
		      "lock %s: not confirmed for %u ms: it may be another's",
		      slice_print(h->key, key, sizeof key), h->ttl_ms);
	store_held_lost(h, &err);
}

struct store_held *store_held_add(struct store *st,
				  const struct store_lock_req *req,
				  uint32_t ttl_ms, uint64_t sent_ms)
{
	struct store_held *h = kv_calloc(1, sizeof *h + req->key.n);
	uint8_t *bytes = (uint8_t *)(h + 1);

	PRE(req->token != 0 && ttl_ms > 0);
	if (h == NULL) {
		return NULL;
	}
	memcpy(bytes, req->key.p, req->key.n);
	h->store = st;
	h->key = slice_of(bytes, req->key.n);
	h->id = ++st->held_ids;
	h->token = req->token;
	h->ttl_ms = ttl_ms;
	h->lost = req->lost;
	h->lost_ctx = req->lost_ctx;
	h->renew.fire = renew_fire;
	h->deadline.fire = deadline_fire;
	list_init(&h->link);
	list_push_back(&st->held, &h->link);
	sched_timer_start(st->sched, &h->renew, ttl_ms / 3);
	sched_timer_start(st->sched, &h->deadline, left(h, sent_ms));
	return h;
}

void store_held_renewed(struct store_held *h, uint64_t sent_ms)
{
	if (sched_timer_running(&h->deadline)) {
		sched_timer_start(h->store->sched, &h->deadline,
				  left(h, sent_ms));
	}
}

void store_held_lost(struct store_held *h, const struct kv_err *why)
{
	void (*lost)(void *, const struct kv_err *) = h->lost;
	void *ctx = h->lost_ctx;
	struct kv_err err = *why;

	held_free(h);
	if (lost != NULL) {
		lost(ctx, &err);
	}
}

struct store_held *store_held_by_id(struct store *st, uint64_t id)
{
	for (struct list *l = st->held.next; l != &st->held; l = l->next) {
		struct store_held *h =
		    kv_container_of(l, struct store_held, link);

		if (h->id == id && !h->ending) {
			return h;
		}
	}
	return NULL;
}

static struct store_held *find_held(struct store *st, struct slice key)
{
	for (struct list *l = st->held.next; l != &st->held; l = l->next) {
		struct store_held *h =
		    kv_container_of(l, struct store_held, link);

		if (slice_eq(h->key, key)) {
			return h;
		}
	}
	return NULL;
}

/* ---- one try ------------------------------------------------------------- */

static int check_lock(struct store *st, struct store_lock_req *req,
		      const char *call)
{
	int rv;

	PRE(req->cb != NULL);
	kv_err_clear(&req->err);
	if (st->ops->lock == NULL) {
		return kv_fail(&req->err, KV_CALL_NOT_SUPPORTED,
			       "%s: backend %s has no locks", call,
			       st->ops->name);
	}
	rv = store_accepts(st, &req->err);
	return rv == KV_OK ? check_key(st, req->key, &req->err) : rv;
}

static void deliver_lock(struct store_req *r)
{
	struct store_lock_req *req =
	    kv_container_of(r, struct store_lock_req, req);

	ERGO(req->err.status == KV_OK, req->token != 0);
	req->cb(req);
}

static int try_lock(struct store *st, struct store_lock_req *req)
{
	int rv;

	req_begin(st, &req->req, STORE_REQ_LOCK, deliver_lock);
	rv = st->ops->lock(st, req);
	return req_settle(&req->req, rv, &req->err);
}

/* ---- waiting ------------------------------------------------------------- */

/* What a composite request needs beside the caller's. */
struct lock_wait {
	struct store_lock_req *outer;
	struct store *st;
	struct store_lock_req one; /* the try under way */
	struct store_watch *watch; /* of the key */
	struct store_next next;
	struct sched_timer timer;
	bool trying;
	bool pulling;
	bool again; /* something moved while a try was under way */
	bool over;  /* err of outer is set; ends when nothing is under way */
};

static void wait_step(struct lock_wait *w);

static void wait_end(struct lock_wait *w)
{
	struct store_lock_req *req = w->outer;

	if (w->trying || w->pulling) {
		return;
	}
	if (w->watch != NULL) {
		store_watch_close(w->watch);
	}
	sched_timer_stop(&w->timer);
	req->wait = NULL;
	kv_free(w);
	req_finish(&req->req);
	req->cb(req);
}

static void wait_over(struct lock_wait *w)
{
	struct store_watch *watch = w->watch;

	w->over = true;
	if (w->pulling && watch != NULL) {
		w->watch = NULL;
		store_watch_close(watch); /* its next comes back, canceled */
	}
	wait_end(w);
}

static void one_done(struct store_lock_req *one)
{
	struct lock_wait *w = one->data;

	w->trying = false;
	if (one->err.status == KV_CANNOT_LOCK) {
		if (w->over) {
			wait_over(w); /* canceled meanwhile */
		} else {
			wait_step(w);
		}
		return;
	}
	w->outer->err = one->err;
	w->outer->token = one->token;
	wait_over(w);
}

static void wait_try(struct lock_wait *w)
{
	struct store_lock_req *one = &w->one;

	PRE(!w->trying);
	w->again = false;
	memset(one, 0, sizeof *one);
	one->key = w->outer->key;
	one->value = w->outer->value;
	one->ttl_ms = w->outer->ttl_ms;
	one->lost = w->outer->lost;
	one->lost_ctx = w->outer->lost_ctx;
	one->try_only = true;
	one->cb = one_done;
	one->data = w;
	w->trying = true;
	if (try_lock(w->st, one) != KV_OK) {
		w->trying = false;
		w->outer->err = one->err;
		wait_over(w);
	}
}

static void next_done(struct store_next *next)
{
	struct lock_wait *w = next->data;

	w->pulling = false;
	if (next->err.status != KV_OK && w->watch != NULL) {
		/* The timer tries again, and watches anew. */
		store_watch_close(w->watch);
		w->watch = NULL;
	} else {
		w->again = true;
	}
	store_batch_free(next->batch);
	if (w->over) {
		wait_end(w);
		return;
	}
	wait_step(w);
}

static void wait_watch(struct lock_wait *w)
{
	struct store_watch_params p = {.key = w->outer->key};

	if (w->watch == NULL) {
		w->watch = store_watch_open(w->st, &p);
	}
	if (w->watch == NULL || w->pulling) {
		return;
	}
	memset(&w->next, 0, sizeof w->next);
	w->next.cb = next_done;
	w->next.data = w;
	w->pulling = true;
	if (store_watch_next(w->watch, &w->next) != KV_OK) {
		w->pulling = false;
		store_watch_close(w->watch);
		w->watch = NULL;
	}
}

/* Nobody knows when the next change comes: what moved since the last try asks
 * for another one. */
static void wait_step(struct lock_wait *w)
{
	if (w->trying || w->over) {
		return;
	}
	if (w->again) {
		wait_try(w);
		return;
	}
	wait_watch(w);
	if (!sched_timer_running(&w->timer)) {
		sched_timer_start(w->st->sched, &w->timer, TRY_AGAIN_MS);
	}
}

static void wait_fire(struct sched_timer *t)
{
	struct lock_wait *w = kv_container_of(t, struct lock_wait, timer);

	if (w->over) {
		wait_end(w);
		return;
	}
	w->again = true;
	wait_step(w);
}

void lock_wait_cancel(struct store_req *r)
{
	struct store_lock_req *req =
	    kv_container_of(r, struct store_lock_req, req);
	struct lock_wait *w = req->wait;

	(void)kv_fail(&req->err, KV_CANCELED, "lock: canceled");
	w->over = true;
	if (w->trying) {
		store_cancel(&w->one.req); /* its answer ends it */
		return;
	}
	if (w->pulling) {
		wait_over(w);
		return;
	}
	/* Never from inside store_cancel. */
	sched_timer_start(w->st->sched, &w->timer, 0);
}

static int wait_begin(struct store *st, struct store_lock_req *req)
{
	struct lock_wait *w = kv_calloc(1, sizeof *w);

	if (w == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY, "lock: no memory");
	}
	w->outer = req;
	w->st = st;
	w->timer.fire = wait_fire;
	req->wait = w;
	req_begin(st, &req->req, STORE_REQ_LOCK_WAIT, NULL);
	/* The first try goes out on a later turn: an error comes as all others
	 * do. */
	sched_timer_start(st->sched, &w->timer, 0);
	return req_settle(&req->req, KV_OK, &req->err);
}

/* ---- the calls ----------------------------------------------------------- */

int store_lock(struct store *st, struct store_lock_req *req)
{
	char text[SLICE_PRINT_MAX];
	int rv = check_lock(st, req, "lock");

	req->token = 0;
	req->wait = NULL;
	if (rv != KV_OK) {
		return rv;
	}
	req->ttl_ms =
	    req->ttl_ms == 0 ? TTL_DEFAULT : KV_MAX(req->ttl_ms, TTL_LEAST);
	if (find_held(st, req->key) != NULL) {
		return kv_fail(&req->err, KV_CANNOT_LOCK,
			       "lock %s: this store holds it already",
			       slice_print(req->key, text, sizeof text));
	}
	return req->try_only || st->ops->lock_waits ? try_lock(st, req)
						    : wait_begin(st, req);
}

static void unlock_ends(struct store_lock_req *req)
{
	held_free(req->held);
	req->held = NULL;
}

static void deliver_unlock(struct store_req *r)
{
	struct store_lock_req *req =
	    kv_container_of(r, struct store_lock_req, req);

	unlock_ends(req);
	req->cb(req);
}

int store_unlock(struct store *st, struct store_lock_req *req)
{
	char text[SLICE_PRINT_MAX];
	struct store_held *h;
	int rv = check_lock(st, req, "unlock");

	if (rv != KV_OK) {
		return rv;
	}
	h = find_held(st, req->key);
	if (h == NULL || h->ending || h->token != req->token) {
		return kv_fail(&req->err, KV_KEY_NOT_FOUND,
			       "unlock %s: this store does not hold it with "
			       "that token",
			       slice_print(req->key, text, sizeof text));
	}
	held_mute(h);
	h->ending = true;
	req->held = h;
	req_begin(st, &req->req, STORE_REQ_LOCK, deliver_unlock);
	rv = req_settle(&req->req, st->ops->unlock(st, req), &req->err);
	if (rv != KV_OK) {
		unlock_ends(req);
	}
	return rv;
}
