/* etcd_lock.c: locks: a key with a lease of its own.
 *
 *   lock    LeaseGrant --> Txn: key absent? put it with the lease --> held
 *                                     `--- another's: LeaseRevoke
 *   renew   LeaseKeepAlive (one message of a stream that is closed behind it)
 *   unlock  LeaseRevoke: the key goes with it
 *
 * The token is the revision at which the key was created: each hold creates it
 * anew, so tokens grow, and a write compares it.
 */
#include "store/etcd/etcd_impl.h"

#define GRANT "/etcdserverpb.Lease/LeaseGrant"
#define REVOKE "/etcdserverpb.Lease/LeaseRevoke"
#define KEEP_ALIVE "/etcdserverpb.Lease/LeaseKeepAlive"
#define TXN "/etcdserverpb.KV/Txn"
/* Closing a store does not wait longer for leases that end by themselves. */
#define CLOSE_MS 2000

/* One call. `req` is whose answer it brings, or NULL: nobody waits for it, and
 * it stands in e->leases. */
struct lease_call {
	struct list link;
	struct etcd_call call;
	struct etcd *e;
	struct store_lock_req *req;
	int64_t lease;
	uint32_t ttl_ms; /* as granted */
	uint64_t sent_ms;
	uint64_t held; /* renew: id of the hold */
	struct arena arena;
};

static void maybe_closed(struct etcd *e)
{
	if (sched_timer_running(&e->leases_end) && list_empty(&e->leases)) {
		sched_timer_stop(&e->leases_end);
		etcd_lock_closed(e);
	}
}

static void call_free(struct lease_call *c)
{
	struct etcd *e = c->e;

	list_remove(&c->link);
	kv_free(c->call.reply);
	arena_free(&c->arena);
	kv_free(c);
	maybe_closed(e);
}

static struct lease_call *call_new(struct etcd *e, struct store_lock_req *req)
{
	struct lease_call *c = kv_calloc(1, sizeof *c);

	if (c != NULL) {
		c->e = e;
		c->req = req;
		list_init(&c->link);
		if (req == NULL) {
			list_push_back(&e->leases, &c->link);
		}
	}
	return c;
}

/* False: no memory. */
static bool call_start(struct lease_call *c, const char *path,
		       const ProtobufCMessage *m, bool mutates,
		       void (*done)(struct etcd_call *call))
{
	struct etcd_call *call = &c->call;

	kv_free(call->reply);
	memset(call, 0, sizeof *call);
	call->path = path;
	call->frame = etcd_pack(m, &call->frame_n);
	call->mutates = mutates;
	call->done = done;
	if (call->frame == NULL) {
		return false;
	}
	c->sent_ms = sched_now(c->e->client.sched);
	etcd_call_start(&c->e->client, call);
	return true;
}

/* ---- giving back --------------------------------------------------------- */

static void revoked_alone(struct etcd_call *call)
{
	call_free(kv_container_of(call, struct lease_call, call));
}

/* Nobody waits for it; where it fails, the lease ends by itself. */
static void revoke_alone(struct etcd *e, int64_t lease)
{
	Etcdserverpb__LeaseRevokeRequest m =
	    ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
	struct lease_call *c = call_new(e, NULL);

	m.id = lease;
	if (c != NULL && !call_start(c, REVOKE, &m.base, true, revoked_alone)) {
		call_free(c);
	}
}

/* ---- taking -------------------------------------------------------------- */

/* The request's answer is in req->err. A lease that is not known to be of use
 * is given back. */
static void lock_end(struct lease_call *c)
{
	struct store_lock_req *req = c->req;
	struct etcd *e = c->e;

	if (req->err.status != KV_OK && c->lease != 0) {
		revoke_alone(e, c->lease);
	}
	call_free(c);
	store_done(&req->req);
}

static void lock_memory(struct lease_call *c)
{
	(void)kv_fail(&c->req->err, KV_NO_MEMORY, "etcd: no memory for a lock");
	lock_end(c);
}

static void lock_held(struct lease_call *c, uint64_t revision)
{
	struct store_held *h;

	c->req->token = revision;
	h = store_held_add(c->e->st, c->req, c->ttl_ms, c->sent_ms);
	if (h == NULL) {
		lock_memory(c);
		return;
	}
	h->lease = (uint64_t)c->lease;
	lock_end(c);
}

static void lock_put(struct etcd_call *call)
{
	struct lease_call *c = kv_container_of(call, struct lease_call, call);
	struct store_lock_req *req = c->req;
	Etcdserverpb__TxnResponse *m;
	char key[SLICE_PRINT_MAX];

	req->err = call->err;
	if (call->err.status == KV_OK &&
	    etcd_unpack(&etcdserverpb__txn_response__descriptor, &c->arena,
			call->reply, call->reply_n, &m, &req->err) == KV_OK &&
	    etcd_check_header(m->header, &req->err) == KV_OK) {
		if (m->succeeded) {
			lock_held(c, (uint64_t)m->header->revision);
			return;
		}
		(void)kv_fail(&req->err, KV_CANNOT_LOCK,
			      "etcd: lock %s: another holds it",
			      slice_print(req->key, key, sizeof key));
	}
	lock_end(c);
}

static bool start_put(struct lease_call *c)
{
	Etcdserverpb__TxnRequest m = ETCDSERVERPB__TXN_REQUEST__INIT;
	Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT;
	Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
	Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
	Etcdserverpb__Compare *compares = &compare;
	Etcdserverpb__RequestOp *ops = &op;
	struct slice key = etcd_keys_store(&c->e->keys, &c->arena, c->req->key);

	if (key.p == NULL) {
		return false;
	}
	compare.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
	compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
	compare.target_union_case =
	    ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
	compare.key = etcd_bytes(key);
	put.key = etcd_bytes(key);
	put.value = etcd_bytes(c->req->value);
	put.lease = c->lease;
	op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
	op.request_put = &put;
	m.n_compare = 1;
	m.compare = &compares;
	m.n_success = 1;
	m.success = &ops;
	return call_start(c, TXN, &m.base, true, lock_put);
}

static void lock_granted(struct etcd_call *call)
{
	struct lease_call *c = kv_container_of(call, struct lease_call, call);
	struct store_lock_req *req = c->req;
	Etcdserverpb__LeaseGrantResponse *m;

	req->err = call->err;
	/* Whether there is a lease now does not matter: nothing stands on it.
	 */
	if (req->err.status == KV_UNKNOWN_OUTCOME) {
		req->err.status = KV_NOT_REACHABLE;
	}
	if (call->err.status != KV_OK ||
	    etcd_unpack(&etcdserverpb__lease_grant_response__descriptor,
			&c->arena, call->reply, call->reply_n, &m,
			&req->err) != KV_OK) {
		lock_end(c);
		return;
	}
	if (m->id == 0 || m->ttl <= 0 || m->ttl > UINT32_MAX / 1000) {
		(void)kv_fail(
		    &req->err, KV_BROKEN,
		    "etcd: a lease was granted without id or time%s%s",
		    m->error[0] == '\0' ? "" : ": ", m->error);
		lock_end(c);
		return;
	}
	c->lease = m->id;
	c->ttl_ms = (uint32_t)(m->ttl * 1000);
	if (!start_put(c)) {
		lock_memory(c);
	}
}

int etcd_lock(struct store *st, struct store_lock_req *req)
{
	Etcdserverpb__LeaseGrantRequest m =
	    ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
	struct lease_call *c = call_new(etcd_of(st), req);

	m.ttl = ((int64_t)req->ttl_ms + 999) / 1000;
	if (c == NULL || !call_start(c, GRANT, &m.base, true, lock_granted)) {
		if (c != NULL) {
			call_free(c);
		}
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "etcd: no memory for a lock");
	}
	req->req.impl = c;
	return KV_OK;
}

/* ---- unlocking ----------------------------------------------------------- */

static void unlocked(struct etcd_call *call)
{
	struct lease_call *c = kv_container_of(call, struct lease_call, call);
	struct store_lock_req *req = c->req;

	req->err = call->err;
	call_free(c);
	store_done(&req->req);
}

int etcd_unlock(struct store *st, struct store_lock_req *req)
{
	Etcdserverpb__LeaseRevokeRequest m =
	    ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
	struct lease_call *c = call_new(etcd_of(st), req);

	m.id = (int64_t)req->held->lease;
	if (c == NULL || !call_start(c, REVOKE, &m.base, true, unlocked)) {
		if (c != NULL) {
			call_free(c);
		}
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "etcd: no memory to unlock");
	}
	req->req.impl = c;
	return KV_OK;
}

void etcd_lock_cancel(struct store_lock_req *req)
{
	struct lease_call *c = req->req.impl;

	etcd_call_cancel(&c->call);
	c->call.reply = NULL;
	(void)kv_fail(&req->err,
		      c->call.sent && strcmp(c->call.path, GRANT) != 0
			  ? KV_UNKNOWN_OUTCOME
			  : KV_CANCELED,
		      "etcd: lock canceled");
	lock_end(c);
}

/* ---- keeping ------------------------------------------------------------- */

static void renewed(struct etcd_call *call)
{
	struct lease_call *c = kv_container_of(call, struct lease_call, call);
	struct store_held *h = store_held_by_id(c->e->st, c->held);
	Etcdserverpb__LeaseKeepAliveResponse *m;
	char key[SLICE_PRINT_MAX];
	struct kv_err err = call->err;

	if (h != NULL && err.status == KV_OK &&
	    etcd_unpack(&etcdserverpb__lease_keep_alive_response__descriptor,
			&c->arena, call->reply, call->reply_n, &m,
			&err) == KV_OK) {
		if (m->ttl > 0) {
			store_held_renewed(h, c->sent_ms);
		} else {
			(void)kv_fail(&err, KV_CANNOT_LOCK,
				      "etcd: lock %s: its lease has expired",
				      slice_print(h->key, key, sizeof key));
			store_held_lost(h, &err);
		}
	}
	call_free(c);
}

/* One that fails is followed by the next; the hold's own deadline decides. */
void etcd_renew(struct store *st, struct store_held *held)
{
	Etcdserverpb__LeaseKeepAliveRequest m =
	    ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
	struct lease_call *c = call_new(etcd_of(st), NULL);

	if (c == NULL) {
		return;
	}
	c->held = held->id;
	m.id = (int64_t)held->lease;
	if (!call_start(c, KEEP_ALIVE, &m.base, false, renewed)) {
		call_free(c);
	}
}

/* ---- the end ------------------------------------------------------------- */

static void close_fire(struct sched_timer *t)
{
	struct etcd *e = kv_container_of(t, struct etcd, leases_end);
	struct list *l;

	while ((l = list_pop_front(&e->leases)) != NULL) {
		struct lease_call *c =
		    kv_container_of(l, struct lease_call, link);

		etcd_call_cancel(&c->call);
		c->call.reply = NULL;
		list_init(&c->link);
		arena_free(&c->arena);
		kv_free(c);
	}
	etcd_lock_closed(e);
}

void etcd_lock_init(struct etcd *e)
{
	list_init(&e->leases);
	e->leases_end.fire = close_fire;
}

void etcd_lock_close(struct etcd *e)
{
	struct list *held = &e->st->held;

	for (struct list *l = held->next; l != held; l = l->next) {
		struct store_held *h =
		    kv_container_of(l, struct store_held, link);

		revoke_alone(e, (int64_t)h->lease);
	}
	if (list_empty(&e->leases)) {
		etcd_lock_closed(e);
		return;
	}
	sched_timer_start(e->client.sched, &e->leases_end, CLOSE_MS);
}
