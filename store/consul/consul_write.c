/* consul_write.c: batches of guarded operations, as one /v1/txn.
 *
 *   [check of the deletes] --> transaction --> [index] --> done
 *
 * Consul's own deletes do not say whether there was anything: a delete-cas of
 * what is gone succeeds. So deletes are looked at before: an unguarded one of a
 * missing key is left out (KV_KEY_NOT_FOUND); a guarded one is replaced by a
 * check that fails as it should. One that vanishes between the two is deleted
 * either way. The transaction is what decides.
 *
 * An answer without a put does not tell its index: the store's is read after it
 * and is the write's, or a later one.
 */
#include "store/consul/consul_fetch.h"

/* In op_of: the check of the lock that the write relies on. */
#define FENCE SIZE_MAX

struct write {
	struct consul *c;
	struct store_write *req;
	struct arena arena;
	struct fetch fetch;
	struct consul_item *items; /* an op each */
	struct consul_item *deletes;
	size_t n_deletes;
	struct slice lock_key; /* as stored */
	size_t *op_of;	       /* of the transaction's operations */
	size_t n_sent;
	struct http_call call;
	uint64_t index;
	uint64_t epoch;
	int status; /* of the write as a whole */
};

static void stop(struct write *w)
{
	http_cancel(&w->call);
	http_call_reset(&w->call);
	fetch_cancel(&w->fetch);
	arena_free(&w->arena);
	kv_free(w);
}

static void end(struct write *w)
{
	struct store_write *req = w->req;

	stop(w);
	store_done(&req->req);
}

static void set_all(struct store_write *req, int status)
{
	for (size_t i = 0; i < req->n_ops; i++) {
		req->ops[i].status = status;
	}
}

/* None was done; or nobody knows. */
static void fail(struct write *w, const struct kv_err *why)
{
	struct store_write *req = w->req;
	int status = why->status;

	req->err = *why;
	set_all(req, status == KV_UNKNOWN_OUTCOME ? KV_UNKNOWN_OUTCOME
						  : KV_CANCELED);
	if (status == KV_TOO_LARGE && req->n_ops == 1) {
		req->ops[0].status = KV_TOO_LARGE;
	}
	end(w);
}

/* ---- the end ------------------------------------------------------------- */

static void succeed(struct write *w)
{
	struct store_write *req = w->req;

	consul_origin(w->c, w->index, w->epoch, &req->origin);
	for (size_t i = 0; i < req->n_ops; i++) {
		if (req->ops[i].status == KV_OK && req->ops[i].index == 0) {
			req->ops[i].index = w->index;
		}
	}
	end(w);
}

/* The write is done: without its index no answer is lost but that. */
static void on_index(struct http_call *call)
{
	struct write *w = call->ctx;

	if (http_check(call, true) == KV_OK) {
		w->index = call->index;
		succeed(w);
	} else if (w->n_sent == 0) {
		fail(w, &call->err);
	} else {
		(void)kv_fail(&call->err, KV_UNKNOWN_OUTCOME,
			      "consul: deleted, and no answer about the index");
		fail(w, &call->err);
	}
}

static void read_index(struct write *w)
{
	http_call_reset(&w->call);
	consul_index_path(w->c, &w->call.path, CONSUL_CONSISTENT);
	w->call.mutates = false;
	w->call.need_epoch = 0;
	w->call.done = on_index;
	http_start(&w->c->http, &w->call);
}

/* ---- the answer ---------------------------------------------------------- */

/* What a failed operation's trouble is for its caller. */
static int status_of(const struct store_op *op, const struct txn_error *e)
{
	switch (e->trouble) {
	case TXN_MISSING:
		return op->kind == STORE_OP_DELETE ? KV_KEY_NOT_FOUND
						   : KV_KEY_MODIFIED;
	case TXN_OTHER:
		return op->guard == STORE_GUARD_ABSENT ? KV_KEY_EXISTS
						       : KV_KEY_MODIFIED;
	case TXN_DENIED:
		return KV_DENIED;
	default:
		return KV_BROKEN;
	}
}

static void fenced(struct write *w, const struct txn_error *e)
{
	struct store_write *req = w->req;
	char key[SLICE_PRINT_MAX];

	set_all(req, KV_CANCELED);
	(void)kv_fail(&req->err,
		      e->trouble == TXN_DENIED ? KV_DENIED : KV_CANNOT_LOCK,
		      "consul: lock %s with token %llu is held no more",
		      slice_print(req->lock_key, key, sizeof key),
		      (unsigned long long)req->lock_token);
	end(w);
}

static void take_errors(struct write *w, const struct txn_answer *in)
{
	struct store_write *req = w->req;
	char text[SLICE_PRINT_MAX];
	int status = KV_BROKEN;

	set_all(req, KV_CANCELED);
	for (size_t i = 0; i < in->n_errors; i++) {
		const struct txn_error *e = &in->errors[i];
		struct store_op *op;

		if (e->op >= w->n_sent) {
			continue;
		}
		if (w->op_of[e->op] == FENCE) {
			fenced(w, e);
			return;
		}
		op = &req->ops[w->op_of[e->op]];
		op->status = status_of(op, e);
		if (i == 0 || status == KV_BROKEN) {
			status = op->status;
			(void)kv_fail(&req->err, status, "consul: %s",
				      slice_print(e->text, text, sizeof text));
		}
	}
	if (req->err.status == KV_OK) {
		(void)kv_fail(&req->err, KV_BROKEN,
			      "consul: a transaction failed and does not say "
			      "why");
	}
	end(w);
}

/* Entries stand for the puts, in their order. */
static void take_entries(struct write *w, const struct txn_answer *in)
{
	struct store_write *req = w->req;
	bool fence = req->lock_key.n > 0;
	size_t k = fence; /* a check that passed is an entry, too */

	for (size_t i = fence; i < w->n_sent; i++) {
		struct store_op *op = &req->ops[w->op_of[i]];

		op->status = KV_OK;
		if (op->kind == STORE_OP_PUT && k < in->n_entries &&
		    slice_eq(in->entries[k].key, w->items[w->op_of[i]].key)) {
			op->version.a = in->entries[k].index;
			op->index = in->entries[k].index;
			w->index = KV_MAX(w->index, op->index);
			k++;
		} else if (op->kind == STORE_OP_PUT) {
			op->status = KV_UNKNOWN_OUTCOME;
			(void)kv_fail(&req->err, KV_UNKNOWN_OUTCOME,
				      "consul: a transaction's answer does "
				      "not name a key that it wrote");
		}
	}
	if (w->index == 0) {
		read_index(w);
	} else {
		succeed(w);
	}
}

static void take(struct write *w)
{
	struct http_call *call = &w->call;
	struct txn_answer in;
	struct kv_err err = {0};
	int rv = txn_parse(&w->arena, slice_of(call->reply.p, call->reply.n),
			   &in, &err);

	w->epoch = call->epoch;
	if (rv != KV_OK) {
		err.status = KV_UNKNOWN_OUTCOME;
		fail(w, &err);
	} else if (in.n_errors > 0) {
		take_errors(w, &in);
	} else {
		take_entries(w, &in);
	}
}

/* 413 speaks of the operations, of a value or of the whole: nothing was done.
 */
static void too_large(struct write *w)
{
	struct store_caps *caps = &w->c->st->caps;
	const struct http_call *call = &w->call;

	if (memmem(call->reply.p, call->reply.n, "too many operations", 19) !=
	    NULL) {
		caps->max_ops = CONSUL_OPS_OLD;
	} else if (w->req->n_ops > 1 &&
		   caps->max_bytes > CONSUL_MAX_REQUEST / 4) {
		/* The server takes less than option txn_max_bytes says. */
		caps->max_bytes /= 2;
	}
	fail(w, &call->err);
}

static void on_txn(struct http_call *call)
{
	struct write *w = call->ctx;

	if (call->err.status == KV_OK &&
	    (call->code == 200 || call->code == 409)) {
		take(w);
	} else if (http_check(call, false) == KV_TOO_LARGE) {
		too_large(w);
	} else {
		fail(w, &call->err);
	}
}

/* ---- the transaction ----------------------------------------------------- */

static uint64_t flags_of(struct slice attrs)
{
	uint64_t x = 0;

	for (size_t i = 0; i < attrs.n; i++) {
		x = x << 8 | attrs.p[i];
	}
	return x;
}

static struct txn_op put_of(const struct store_op *op, struct slice key)
{
	struct txn_op t = {.verb = "set",
			   .key = key,
			   .has_value = true,
			   .value = op->value,
			   .flags = flags_of(op->attrs)};

	if (op->guard != STORE_GUARD_NONE) {
		t.verb = "cas";
		t.has_index = true;
		t.index = op->guard == STORE_GUARD_VERSION ? op->expect.a : 0;
	}
	if (op->guard == STORE_GUARD_VERSION && t.index == 0) {
		t.index = TXN_NO_INDEX; /* "absent" was not meant */
	}
	return t;
}

static struct txn_op delete_of(const struct store_op *op,
			       const struct consul_item *seen)
{
	struct txn_op t = {.verb = "delete", .key = seen->key};

	if (op->guard == STORE_GUARD_VERSION) {
		t.verb =
		    seen->state == ITEM_MISSING ? "check-index" : "delete-cas";
		t.has_index = true;
		t.index = op->expect.a != 0 ? op->expect.a : TXN_NO_INDEX;
	}
	return t;
}

static void send_txn(struct write *w)
{
	struct store_write *req = w->req;
	size_t k = 0;

	txn_begin(&w->call.body);
	if (req->lock_key.n > 0) {
		w->op_of[w->n_sent++] = FENCE;
		txn_add(&w->call.body,
			&(struct txn_op){.verb = "check-index",
					 .key = w->lock_key,
					 .has_index = true,
					 .index = req->lock_token});
	}
	for (size_t i = 0; i < req->n_ops; i++) {
		struct store_op *op = &req->ops[i];
		struct txn_op t;

		if (op->kind == STORE_OP_PUT) {
			t = put_of(op, w->items[i].key);
		} else {
			const struct consul_item *seen = &w->deletes[k++];

			if (op->guard == STORE_GUARD_NONE &&
			    seen->state == ITEM_MISSING) {
				op->status = KV_KEY_NOT_FOUND;
				continue;
			}
			t = delete_of(op, seen);
		}
		w->op_of[w->n_sent++] = i;
		txn_add(&w->call.body, &t);
	}
	txn_end(&w->call.body);
	if (w->n_sent == 0) {
		buf_free(&w->call.body);
		read_index(w);
		return;
	}
	consul_txn_path(w->c, &w->call.path, CONSUL_WRITE);
	w->call.mutates = true;
	w->call.need_epoch = req->epoch;
	w->call.done = on_txn;
	http_start(&w->c->http, &w->call);
}

static void on_deletes(struct fetch *f)
{
	struct write *w = kv_container_of(f, struct write, fetch);

	w->epoch = f->epoch;
	if (f->err.status != KV_OK) {
		fail(w, &f->err);
	} else {
		send_txn(w);
	}
}

/* ---- the beginning ------------------------------------------------------- */

static bool prepare(struct write *w)
{
	const struct store_write *req = w->req;
	size_t n = req->n_ops;

	w->items = arena_alloc(&w->arena, n * sizeof *w->items);
	w->deletes = arena_alloc(&w->arena, n * sizeof *w->deletes);
	w->op_of = arena_alloc(&w->arena, (n + 1) * sizeof *w->op_of);
	if (w->items == NULL || w->deletes == NULL || w->op_of == NULL) {
		return false;
	}
	if (req->lock_key.n > 0) {
		w->lock_key = consul_stored(w->c, &w->arena, req->lock_key);
		if (w->lock_key.p == NULL) {
			return false;
		}
	}
	for (size_t i = 0; i < n; i++) {
		w->items[i] = (struct consul_item){
		    .key = consul_stored(w->c, &w->arena, req->ops[i].key)};
		if (w->items[i].key.p == NULL) {
			return false;
		}
		if (req->ops[i].kind == STORE_OP_DELETE) {
			w->deletes[w->n_deletes++] = w->items[i];
		}
	}
	return true;
}

static int check_attrs(const struct store_write *req, struct kv_err *err)
{
	for (size_t i = 0; i < req->n_ops; i++) {
		size_t n = req->ops[i].attrs.n;

		if (n != 0 && n != 8) {
			return kv_fail(err, KV_BAD_ARGUMENT,
				       "consul: attrs of %zu bytes are no "
				       "Flags",
				       n);
		}
	}
	return KV_OK;
}

int consul_write(struct store *st, struct store_write *req)
{
	struct consul *c = consul_of(st);
	struct write *w;
	int rv = check_attrs(req, &req->err);

	if (rv != KV_OK) {
		return rv;
	}
	w = kv_calloc(1, sizeof *w);
	if (w == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "consul: no memory for a write");
	}
	w->c = c;
	w->req = req;
	w->call.ctx = w;
	if (!prepare(w)) {
		arena_free(&w->arena);
		kv_free(w);
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "consul: no memory for a write");
	}
	req->req.impl = w;
	consul_maybe_greet(c);
	if (req->epoch != 0 && req->epoch != c->http.epoch) {
		(void)kv_fail(&req->err, KV_NOT_REACHABLE,
			      "consul: the connection was lost since");
		end(w);
		return KV_OK;
	}
	w->fetch.consul = c;
	if (w->n_deletes > 0) {
		w->fetch = (struct fetch){.consul = c,
					  .items = w->deletes,
					  .n = w->n_deletes,
					  .kind = FETCH_CHECK,
					  .how = CONSUL_CONSISTENT,
					  .done = on_deletes};
		fetch_start(&w->fetch);
	} else {
		send_txn(w);
	}
	return KV_OK;
}

void consul_write_cancel(struct store_write *req)
{
	struct write *w = req->req.impl;
	/* Deletes that were answered, and wait for their index: done. */
	bool sent = w->call.sent || (w->n_sent > 0 && !w->call.mutates);

	(void)kv_fail(&req->err, sent ? KV_UNKNOWN_OUTCOME : KV_CANCELED,
		      "consul: the write was canceled%s",
		      sent ? " after it was sent" : "");
	set_all(req, req->err.status);
	stop(w);
	store_done(&req->req);
}
