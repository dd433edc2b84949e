/* zk_read.c: see zk_read.h. A read that fails as a whole (no memory to ask)
 * does so through a task, so that done() never comes from inside the start.
 */
#include "store/zookeeper/zk_read.h"

/* One request: of one item, or a multiRead of several. */
struct zk_read_ask {
	struct zk_ask ask;
	struct zk_read *read;
	size_t *items; /* their numbers; in the block of the asks */
	enum zk_op *ops;
	size_t n;
	bool started;
	bool multi;
};

static bool fits_multi(enum zk_op op)
{
	return op == ZK_OP_GET_DATA || op == ZK_OP_GET_CHILDREN;
}

/* ---- what comes back ----------------------------------------------------- */

static void get_names(struct jute_in *in, struct zk_read_result *res)
{
	const uint8_t *from;
	size_t i;

	res->n_names = jute_get_count(in, 4);
	from = in->p;
	for (i = 0; i < res->n_names && !in->failed; i++) {
		(void)jute_get_bytes(in, NULL);
	}
	res->raw = in->failed ? slice_of(NULL, 0)
			      : slice_of(from, (size_t)(in->p - from));
}

static void get_acl(struct jute_in *in, struct zk_read_result *res)
{
	const uint8_t *from = in->p;
	size_t i, n = jute_get_count(in, 12);

	for (i = 0; i < n && !in->failed; i++) {
		(void)jute_get_int(in);
		(void)jute_get_bytes(in, NULL);
		(void)jute_get_bytes(in, NULL);
	}
	res->raw = in->failed ? slice_of(NULL, 0)
			      : slice_of(from, (size_t)(in->p - from));
}

static void get_body(struct jute_in *in, enum zk_op op,
		     struct zk_read_result *res)
{
	switch (op) {
	case ZK_OP_GET_DATA:
		zk_get_data(in, &res->data);
		break;
	case ZK_OP_EXISTS:
		zk_get_stat(in, &res->data.stat);
		break;
	case ZK_OP_GET_CHILDREN:
		get_names(in, res);
		break;
	case ZK_OP_GET_ACL:
		get_acl(in, res);
		break;
	default:
		break;
	}
}

static int fail_garbled(struct zk_read *r)
{
	return kv_fail(&r->err, KV_BROKEN,
		       "zookeeper: an answer was not understood");
}

static int take_single(struct zk_read_ask *a)
{
	struct zk_read_result res = {.error = a->ask.call.error,
				     .zxid = a->ask.call.zxid};

	if (res.error == ZK_OK) {
		get_body(&a->ask.call.body, a->ops[0], &res);
		if (a->ask.call.body.failed) {
			return fail_garbled(a->read);
		}
	}
	a->read->item(a->read, a->items[0], &res);
	return KV_OK;
}

static int take_multi(struct zk_read_ask *a)
{
	struct jute_in *in = &a->ask.call.body;
	struct zk_read_result res;
	int op, error;
	size_t i = 0;

	if (a->ask.call.error != ZK_OK) {
		return zk_fail(&a->read->err, a->ask.call.error,
			       slice_str("(multiRead)"));
	}
	while (zk_get_multi_result(in, &op, &error)) {
		if (i == a->n || (error == ZK_OK && op != (int)a->ops[i])) {
			return fail_garbled(a->read);
		}
		res = (struct zk_read_result){.error = error,
					      .zxid = a->ask.call.zxid};
		if (error == ZK_OK) {
			get_body(in, a->ops[i], &res);
		}
		if (in->failed) {
			break;
		}
		a->read->item(a->read, a->items[i++], &res);
	}
	return in->failed || i < a->n ? fail_garbled(a->read) : KV_OK;
}

static void stop_asks(struct zk_read *r)
{
	size_t i;

	for (i = 0; i < r->n_asks; i++) {
		if (r->asks[i].started) {
			zk_ask_cancel(&r->asks[i].ask);
			r->asks[i].started = false;
		}
	}
}

static void end(struct zk_read *r)
{
	stop_asks(r);
	kv_free(r->asks);
	r->asks = NULL;
	r->done(r);
}

static void answered(struct zk_ask *ask)
{
	struct zk_read_ask *a = kv_container_of(ask, struct zk_read_ask, ask);
	struct zk_read *r = a->read;
	int rv = ask->call.err.status;

	a->started = false;
	r->left--;
	r->epoch = ask->epoch;
	r->bytes += ask->call.body.n;
	if (rv != KV_OK) {
		r->err = ask->call.err;
	} else {
		rv = a->multi ? take_multi(a) : take_single(a);
	}
	if (rv != KV_OK || r->left == 0) {
		end(r);
	}
}

/* ---- what is asked ------------------------------------------------------- */

static void put_single(struct zk_call *c, enum zk_op op, struct slice path)
{
	zk_call_begin(c, op);
	if (op == ZK_OP_SYNC || op == ZK_OP_GET_ACL) {
		zk_put_path(&c->frame, path);
	} else {
		zk_put_path_watch(&c->frame, path, false);
	}
}

static void start(struct zk_session *s, struct zk_read *r,
		  struct zk_read_ask *a)
{
	a->read = r;
	a->started = true;
	a->ask.need_epoch = r->need_epoch;
	a->ask.done = answered;
	zk_ask_start(s, &a->ask);
}

static void ask_multi(struct zk_session *s, struct zk_read *r,
		      struct zk_read_ask *a)
{
	size_t i;

	a->multi = true;
	zk_call_begin(&a->ask.call, ZK_OP_MULTI_READ);
	for (i = 0; i < a->n; i++) {
		zk_put_multi_read(&a->ask.call.frame, a->ops[i],
				  r->items[a->items[i]].path);
	}
	zk_put_multi_end(&a->ask.call.frame);
	start(s, r, a);
}

static void failed_cb(struct sched_task *task)
{
	end(kv_container_of(task, struct zk_read, failed));
}

/* The asks, and behind them the numbers and ops of their items. False: no
 * memory. */
static bool make_asks(struct zk_read *r, size_t *cap)
{
	size_t one =
	    sizeof(struct zk_read_ask) + sizeof(size_t) + sizeof(enum zk_op);

	*cap = KV_MAX(r->n, (size_t)1);
	r->asks = kv_calloc(*cap, one);
	return r->asks != NULL;
}

static void deal(struct zk_read *r, size_t cap, bool fast)
{
	struct zk_read_ask *a = NULL;
	size_t *items = (size_t *)(void *)(r->asks + cap);
	enum zk_op *ops = (enum zk_op *)(void *)(items + cap);
	size_t i;

	for (i = 0; i < r->n; i++) {
		items[i] = i;
		ops[i] = r->items[i].op;
		if (!fast || a == NULL || !fits_multi(ops[i]) ||
		    !fits_multi(a->ops[0])) {
			a = &r->asks[r->n_asks++];
			a->items = &items[i];
			a->ops = &ops[i];
		}
		a->n++;
	}
}

void zk_read_start(struct zk_session *s, struct zk_read *r)
{
	bool fast = s->up && s->fast;
	size_t i, cap;

	PRE(r->n > 0 && r->item != NULL && r->done != NULL);
	kv_err_clear(&r->err);
	r->bytes = r->n_asks = r->left = 0;
	if (!make_asks(r, &cap)) {
		r->failed.run = failed_cb;
		(void)kv_fail(&r->err, KV_NO_MEMORY,
			      "zookeeper: no memory to read");
		sched_post(s->sched, &r->failed);
		return;
	}
	if (fast) {
		r->need_epoch = s->epoch; /* another server may not know it */
	}
	deal(r, cap, fast);
	r->left = r->n_asks;
	for (i = 0; i < r->n_asks; i++) {
		struct zk_read_ask *a = &r->asks[i];

		if (a->n > 1) {
			ask_multi(s, r, a);
		} else {
			put_single(&a->ask.call, a->ops[0],
				   r->items[a->items[0]].path);
			start(s, r, a);
		}
	}
}

void zk_read_cancel(struct zk_read *r)
{
	sched_unpost(&r->failed);
	stop_asks(r);
	kv_free(r->asks);
	r->asks = NULL;
}
