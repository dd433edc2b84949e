/* etcd_write.c: batches of puts and deletes, all or nothing.
 *
 *   one put / delete without guard --> Put / DeleteRange (a Txn of one costs
 *                                      old servers several times as much)
 *   anything else --> Txn: guards as compares; puts and deletes where they
 *                     hold; where not, what the guarded keys have instead.
 *                     A lock's hold comes first among the compares: its key
 *                     still is the one that was created at the token
 *
 * Every outcome names its ops: done, refused, held back by another one's
 * refusal, unknown.
 */
#include "store/etcd/etcd_impl.h"

struct write {
	struct etcd_call call;
	struct etcd *e;
	struct store_write *req;
	struct arena arena; /* stored keys, parts of the request, the answer */
};

static void set_all(struct store_write *req, int status)
{
	size_t i;

	for (i = 0; i < req->n_ops; i++) {
		req->ops[i].status = status;
	}
}

static void end(struct write *w)
{
	struct store_write *req = w->req;

	kv_free(w->call.reply);
	arena_free(&w->arena);
	kv_free(w);
	store_done(&req->req);
}

/* ---- what comes back ----------------------------------------------------- */

static void put_done(struct store_op *op, uint64_t revision)
{
	op->status = KV_OK;
	op->version.a = revision;
	op->index = revision;
}

static void delete_done(struct store_op *op, int64_t deleted, uint64_t revision)
{
	op->status = deleted > 0 ? KV_OK : KV_KEY_NOT_FOUND;
	op->index = deleted > 0 ? revision : 0;
}

/* What the answer to op says about it; false: not its answer. */
static bool take_success(struct store_op *op, const Etcdserverpb__ResponseOp *m,
			 uint64_t revision)
{
	if (op->kind == STORE_OP_PUT) {
		put_done(op, revision);
		return m->response_case ==
		       ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
	}
	if (m->response_case !=
	    ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE) {
		return false;
	}
	delete_done(op, m->response_delete_range->deleted, revision);
	return true;
}

/* Why a guard did not hold, by what its key has now; KV_CANCELED: it held. */
static int judge(const struct store_op *op, const Etcdserverpb__KeyValue *kv)
{
	if (op->guard == STORE_GUARD_ABSENT) {
		return kv != NULL ? KV_KEY_EXISTS : KV_CANCELED;
	}
	if (kv == NULL) {
		return op->kind == STORE_OP_DELETE ? KV_KEY_NOT_FOUND
						   : KV_KEY_MODIFIED;
	}
	return (uint64_t)kv->mod_revision == op->expect.a ? KV_CANCELED
							  : KV_KEY_MODIFIED;
}

static void guard_failed(struct write *w, const struct store_op *op)
{
	char key[SLICE_PRINT_MAX];

	(void)slice_print(op->key, key, sizeof key);
	(void)kv_fail(&w->req->err, op->status, "etcd: %s: %s", key,
		      kv_status_text(op->status));
}

/* The first part of a refusal: the key of the lock that the write relies on.
 * Is the hold over? */
static bool is_fenced(struct write *w, const Etcdserverpb__TxnResponse *m)
{
	struct store_write *req = w->req;
	const Etcdserverpb__RangeResponse *r;
	char key[SLICE_PRINT_MAX];

	if (m->n_responses == 0 ||
	    m->responses[0]->response_case !=
		ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
		return false;
	}
	r = m->responses[0]->response_range;
	if (r->n_kvs > 0 &&
	    (uint64_t)r->kvs[0]->create_revision == req->lock_token) {
		return false;
	}
	set_all(req, KV_CANCELED);
	(void)kv_fail(&req->err, KV_CANNOT_LOCK,
		      "etcd: lock %s with token %llu is held no more",
		      slice_print(req->lock_key, key, sizeof key),
		      (unsigned long long)req->lock_token);
	return true;
}

static int take_failure(struct write *w, const Etcdserverpb__TxnResponse *m)
{
	struct store_write *req = w->req;
	size_t i, k = 0;

	if (req->lock_key.n > 0) {
		if (is_fenced(w, m)) {
			return KV_CANNOT_LOCK;
		}
		k = 1;
	}

	for (i = 0; i < req->n_ops; i++) {
		struct store_op *op = &req->ops[i];
		const Etcdserverpb__ResponseOp *r;

		op->status = KV_CANCELED;
		if (op->guard == STORE_GUARD_NONE) {
			continue;
		}
		r = k < m->n_responses ? m->responses[k++] : NULL;
		if (r == NULL ||
		    r->response_case !=
			ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
			break;
		}
		op->status = judge(op, r->response_range->n_kvs > 0
					   ? r->response_range->kvs[0]
					   : NULL);
		if (op->status != KV_CANCELED && req->err.status == KV_OK) {
			guard_failed(w, op);
		}
	}
	if (i < req->n_ops || req->err.status == KV_OK) {
		set_all(req, KV_CANCELED);
		return kv_fail(&req->err, KV_BROKEN,
			       "etcd: a transaction was refused without a "
			       "guard that failed");
	}
	return req->err.status;
}

static int take_txn(struct write *w)
{
	struct store_write *req = w->req;
	Etcdserverpb__TxnResponse *m;
	size_t i;
	int rv;

	rv = etcd_unpack(&etcdserverpb__txn_response__descriptor, &w->arena,
			 w->call.reply, w->call.reply_n, &m, &req->err);
	if (rv == KV_OK) {
		rv = etcd_check_header(m->header, &req->err);
	}
	if (rv != KV_OK) {
		return rv;
	}
	etcd_origin(w->e, m->header, w->call.epoch, &req->origin);
	if (!m->succeeded) {
		(void)take_failure(w, m);
		return KV_OK;
	}
	for (i = 0; i < req->n_ops; i++) {
		if (m->n_responses != req->n_ops ||
		    !take_success(&req->ops[i], m->responses[i],
				  (uint64_t)m->header->revision)) {
			return kv_fail(&req->err, KV_BROKEN,
				       "etcd: an answer is not what was asked");
		}
	}
	return KV_OK;
}

static int take_put(struct write *w)
{
	Etcdserverpb__PutResponse *m;
	struct kv_err *err = &w->req->err;
	int rv;

	rv = etcd_unpack(&etcdserverpb__put_response__descriptor, &w->arena,
			 w->call.reply, w->call.reply_n, &m, err);
	if (rv == KV_OK) {
		rv = etcd_check_header(m->header, err);
	}
	if (rv == KV_OK) {
		etcd_origin(w->e, m->header, w->call.epoch, &w->req->origin);
		put_done(&w->req->ops[0], (uint64_t)m->header->revision);
	}
	return rv;
}

static int take_delete(struct write *w)
{
	Etcdserverpb__DeleteRangeResponse *m;
	struct kv_err *err = &w->req->err;
	int rv;

	rv = etcd_unpack(&etcdserverpb__delete_range_response__descriptor,
			 &w->arena, w->call.reply, w->call.reply_n, &m, err);
	if (rv == KV_OK) {
		rv = etcd_check_header(m->header, err);
	}
	if (rv == KV_OK) {
		etcd_origin(w->e, m->header, w->call.epoch, &w->req->origin);
		delete_done(&w->req->ops[0], m->deleted,
			    (uint64_t)m->header->revision);
	}
	return rv;
}

/* The server did something, but what it said cannot be understood. */
static void not_understood(struct write *w)
{
	struct kv_err why = w->req->err;

	(void)kv_fail(&w->req->err, KV_UNKNOWN_OUTCOME, "%s", why.text);
	set_all(w->req, KV_UNKNOWN_OUTCOME);
}

/* Sinks the limits where the server takes less than it is thought to. */
static void learn_limits(struct write *w)
{
	struct store_caps *caps = &w->e->st->caps;
	size_t n = w->req->n_ops;

	if (n > 1 && w->call.remedy == ETCD_REMEDY_FEWER) {
		caps->max_ops = KV_MIN(caps->max_ops, (uint32_t)(n / 2));
	}
	/* max_bytes is left alone: it bounds single values as well, and what
	 * is too large in a batch may be well by itself. */
}

/* Nothing was done, or nobody knows. A single op carries the reason; of
 * several none is known to be at fault, and the caller may split them. */
static void refuse(struct write *w)
{
	struct store_write *req = w->req;
	int status = req->err.status;

	PRE(status != KV_OK);
	if (status == KV_UNKNOWN_OUTCOME) {
		set_all(req, KV_UNKNOWN_OUTCOME);
	} else if (req->n_ops == 1 &&
		   (status == KV_TOO_LARGE || status == KV_INVALID_KEY ||
		    status == KV_DENIED)) {
		set_all(req, status);
	} else {
		set_all(req, KV_CANCELED);
	}
}

static void done_cb(struct etcd_call *c)
{
	struct write *w = kv_container_of(c, struct write, call);
	struct store_write *req = w->req;
	int rv;

	if (c->err.status != KV_OK) {
		req->err = c->err;
		learn_limits(w);
		refuse(w);
		end(w);
		return;
	}
	if (strcmp(c->path, "/etcdserverpb.KV/Put") == 0) {
		rv = take_put(w);
	} else if (strcmp(c->path, "/etcdserverpb.KV/DeleteRange") == 0) {
		rv = take_delete(w);
	} else {
		rv = take_txn(w);
	}
	if (rv != KV_OK) {
		not_understood(w);
	}
	end(w);
}

/* ---- what is asked ------------------------------------------------------- */

/* The parts of a Txn for one op. */
struct parts {
	Etcdserverpb__Compare compare;
	Etcdserverpb__RequestOp success;
	Etcdserverpb__RequestOp failure;
	union {
		Etcdserverpb__PutRequest put;
		Etcdserverpb__DeleteRangeRequest del;
	} u;
	Etcdserverpb__RangeRequest range;
};

static void fill_op(struct parts *p, const struct store_op *op,
		    ProtobufCBinaryData key)
{
	etcdserverpb__request_op__init(&p->success);
	if (op->kind == STORE_OP_PUT) {
		etcdserverpb__put_request__init(&p->u.put);
		p->u.put.key = key;
		p->u.put.value = etcd_bytes(op->value);
		p->success.request_case =
		    ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
		p->success.request_put = &p->u.put;
		return;
	}
	etcdserverpb__delete_range_request__init(&p->u.del);
	p->u.del.key = key;
	p->success.request_case =
	    ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
	p->success.request_delete_range = &p->u.del;
}

static void fill_guard(struct parts *p, const struct store_op *op,
		       ProtobufCBinaryData key)
{
	etcdserverpb__compare__init(&p->compare);
	p->compare.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
	p->compare.key = key;
	if (op->guard == STORE_GUARD_ABSENT) {
		p->compare.target =
		    ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
		p->compare.target_union_case =
		    ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
		p->compare.create_revision = 0;
	} else {
		p->compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
		p->compare.target_union_case =
		    ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
		p->compare.mod_revision = (int64_t)op->expect.a;
	}
	etcdserverpb__range_request__init(&p->range);
	p->range.key = key;
	p->range.keys_only = 1;
	etcdserverpb__request_op__init(&p->failure);
	p->failure.request_case =
	    ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
	p->failure.request_range = &p->range;
}

/* False: no memory. */
static bool fill_fence(struct write *w, Etcdserverpb__TxnRequest *m,
		       struct parts *p)
{
	const struct store_op hold = {.guard = STORE_GUARD_ABSENT};
	struct slice key =
	    etcd_keys_store(&w->e->keys, &w->arena, w->req->lock_key);

	if (key.p == NULL) {
		return false;
	}
	fill_guard(p, &hold, etcd_bytes(key));
	p->compare.create_revision = (int64_t)w->req->lock_token;
	m->compare[m->n_compare++] = &p->compare;
	m->failure[m->n_failure++] = &p->failure;
	return true;
}

static uint8_t *pack_txn(struct write *w, size_t *n)
{
	Etcdserverpb__TxnRequest m = ETCDSERVERPB__TXN_REQUEST__INIT;
	size_t i, n_ops = w->req->n_ops;
	struct parts *parts =
	    arena_alloc(&w->arena, (n_ops + 1) * sizeof *parts);

	m.compare = arena_alloc(&w->arena, (n_ops + 1) * sizeof *m.compare);
	m.success = arena_alloc(&w->arena, n_ops * sizeof *m.success);
	m.failure = arena_alloc(&w->arena, (n_ops + 1) * sizeof *m.failure);
	if (parts == NULL || m.compare == NULL || m.success == NULL ||
	    m.failure == NULL) {
		return NULL;
	}
	if (w->req->lock_key.n > 0 && !fill_fence(w, &m, &parts[n_ops])) {
		return NULL;
	}
	for (i = 0; i < n_ops; i++) {
		const struct store_op *op = &w->req->ops[i];
		struct slice key =
		    etcd_keys_store(&w->e->keys, &w->arena, op->key);

		if (key.p == NULL) {
			return NULL;
		}
		fill_op(&parts[i], op, etcd_bytes(key));
		m.success[m.n_success++] = &parts[i].success;
		if (op->guard != STORE_GUARD_NONE) {
			fill_guard(&parts[i], op, etcd_bytes(key));
			m.compare[m.n_compare++] = &parts[i].compare;
			m.failure[m.n_failure++] = &parts[i].failure;
		}
	}
	return etcd_pack(&m.base, n);
}

static uint8_t *pack_single(struct write *w, size_t *n)
{
	const struct store_op *op = &w->req->ops[0];
	struct slice key = etcd_keys_store(&w->e->keys, &w->arena, op->key);
	struct parts p;

	if (key.p == NULL) {
		return NULL;
	}
	fill_op(&p, op, etcd_bytes(key));
	return op->kind == STORE_OP_PUT ? etcd_pack(&p.u.put.base, n)
					: etcd_pack(&p.u.del.base, n);
}

static void pack(struct write *w)
{
	const struct store_write *req = w->req;
	struct etcd_call *c = &w->call;

	if (req->n_ops > 1 || req->ops[0].guard != STORE_GUARD_NONE ||
	    req->lock_key.n > 0) {
		c->path = "/etcdserverpb.KV/Txn";
		c->frame = pack_txn(w, &c->frame_n);
	} else {
		c->path = req->ops[0].kind == STORE_OP_PUT
			      ? "/etcdserverpb.KV/Put"
			      : "/etcdserverpb.KV/DeleteRange";
		c->frame = pack_single(w, &c->frame_n);
	}
}

int etcd_write(struct store *st, struct store_write *req)
{
	struct write *w = kv_calloc(1, sizeof *w);
	size_t size;

	if (w == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "etcd: no memory for a write");
	}
	w->e = etcd_of(st);
	w->req = req;
	pack(w);
	size = w->call.frame_n;
	if (w->call.frame == NULL || size > ETCD_MAX_REQUEST) {
		/* The server would refuse it; it is not even sent. */
		bool memory = w->call.frame == NULL;

		kv_free(w->call.frame);
		arena_free(&w->arena);
		kv_free(w);
		if (memory) {
			return kv_fail(&req->err, KV_NO_MEMORY,
				       "etcd: no memory for a write");
		}
		(void)kv_fail(&req->err, KV_TOO_LARGE,
			      "etcd: a request of %zu bytes is over the limit "
			      "of %zu",
			      size, ETCD_MAX_REQUEST);
		set_all(req, req->n_ops == 1 ? KV_TOO_LARGE : KV_CANCELED);
		return KV_TOO_LARGE;
	}
	arena_reset(&w->arena);
	w->call.mutates = true;
	w->call.need_epoch = req->epoch;
	w->call.done = done_cb;
	req->req.impl = w;
	etcd_call_start(&w->e->client, &w->call);
	return KV_OK;
}

void etcd_write_cancel(struct store_write *req)
{
	struct write *w = req->req.impl;

	etcd_call_cancel(&w->call);
	w->call.reply = NULL;
	(void)kv_fail(
	    &req->err, w->call.sent ? KV_UNKNOWN_OUTCOME : KV_CANCELED,
	    "etcd: write canceled%s", w->call.sent ? " after it was sent" : "");
	refuse(w);
	end(w);
}
