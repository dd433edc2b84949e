/* zk_fetch.c: see zk_fetch.h. A multiRead holds all its answers in the server's
 * memory: batches are cut by what answers took lately. */
#include "store/zookeeper/zk_fetch.h"

#define MULTI_IN_FLIGHT ((size_t)4)
#define SINGLE_IN_FLIGHT ((size_t)256)
#define MULTI_MOST ((size_t)256)
#define MULTI_FIRST ((size_t)16)
#define ANSWER_BYTES ((size_t)256 * 1024)
#define REQUEST_BYTES ((size_t)256 * 1024)

struct fetch_call {
	struct zk_call call;
	struct list link;
	struct zk_fetcher *f;
	bool multi;
	struct list asked; /* struct zk_fetch, in order */
	size_t n;
};

static void maybe_send(struct zk_fetcher *f);

static void call_free(struct fetch_call *c)
{
	list_remove(&c->link);
	c->f->in_flight--;
	kv_free(c);
}

static void fail(struct zk_fetcher *f, const struct kv_err *err)
{
	zk_fetcher_close(f);
	f->failed(f->ctx, err);
}

static void fail_text(struct zk_fetcher *f, int status, const char *text)
{
	struct kv_err err;

	(void)kv_fail(&err, status, "zookeeper: %s", text);
	fail(f, &err);
}

/* ---- answers ------------------------------------------------------------- */

static void get_acl(struct jute_in *in, struct zk_fetched *r)
{
	const uint8_t *from = in->p;
	size_t n = jute_get_count(in, ZK_ACL_LEAST);
	struct zk_acl acl;

	while (n-- > 0 && !in->failed) {
		zk_get_acl(in, &acl);
	}
	r->acl = slice_of(from, (size_t)(in->p - from));
	zk_get_stat(in, &r->data.stat);
}

static void get_body(enum zk_op op, struct jute_in *in, bool multi,
		     struct zk_fetched *r)
{
	size_t i, n;

	if (op == ZK_OP_GET_DATA) {
		zk_get_data(in, &r->data);
	} else if (op == ZK_OP_GET_ACL) {
		get_acl(in, r);
	} else if (op == ZK_OP_EXISTS) {
		zk_get_stat(in, &r->data.stat);
	} else {
		r->names = *in;
		n = jute_get_count(in, 4);
		for (i = 0; i < n; i++) {
			(void)jute_get_bytes(in, NULL);
		}
		if (!multi && !in->failed) {
			zk_get_stat(in, &r->data.stat);
		}
	}
}

/* The answer to the next read of the call. */
static bool get_one(struct fetch_call *c, struct jute_in *in,
		    const struct zk_fetch *one, struct zk_fetched *r)
{
	int op = 0;

	memset(r, 0, sizeof *r);
	r->zxid = (uint64_t)c->call.zxid;
	if (!c->multi) {
		r->error = c->call.error;
	} else if (!zk_get_multi_result(in, &op, &r->error)) {
		return false;
	}
	if (r->error == ZK_OK) {
		get_body(one->op, in, c->multi, r);
	}
	return !in->failed &&
	       (!c->multi || r->error != ZK_OK || op == (int)one->op);
}

static void note_size(struct zk_fetcher *f, size_t bytes, size_t n)
{
	size_t each = bytes / n + 1;

	/* Up at once, down slowly. */
	f->bytes_each =
	    each > f->bytes_each ? each : (f->bytes_each * 7 + each) / 8;
}

static void answered_cb(struct zk_call *call)
{
	struct fetch_call *c = kv_container_of(call, struct fetch_call, call);
	struct zk_fetcher *f = c->f;
	struct jute_in in = call->body;
	struct zk_fetched r;
	struct list *l;

	if (call->err.status != KV_OK) {
		struct kv_err err = call->err;

		fail(f, &err);
		return;
	}
	if (c->multi && call->error != ZK_OK) {
		fail_text(f, KV_BROKEN, "a server refused a multiRead");
		return;
	}
	note_size(f, in.n, c->n);
	while (f->open && (l = list_pop_front(&c->asked)) != NULL) {
		struct zk_fetch *one =
		    kv_container_of(l, struct zk_fetch, link);

		if (!get_one(c, &in, one, &r)) {
			fail_text(f, KV_BROKEN, "an answer is damaged");
			return;
		}
		one->done(one, &r);
	}
	if (!f->open) {
		return; /* c is freed */
	}
	call_free(c);
	maybe_send(f);
}

/* ---- requests ------------------------------------------------------------ */

static size_t batch_most(const struct zk_fetcher *f)
{
	if (f->bytes_each == 0) {
		return MULTI_FIRST;
	}
	return KV_MIN(KV_MAX(ANSWER_BYTES / f->bytes_each, (size_t)1),
		      MULTI_MOST);
}

static void put_single(struct fetch_call *c, const struct zk_fetch *one)
{
	enum zk_op op =
	    one->op == ZK_OP_GET_CHILDREN ? ZK_OP_GET_CHILDREN2 : one->op;

	zk_call_begin(&c->call, op);
	if (op == ZK_OP_GET_ACL) {
		zk_put_path(&c->call.frame, one->path);
	} else {
		zk_put_path_watch(&c->call.frame, one->path, one->watch);
	}
}

/* Fits into a multiRead: the server knows but these two in it. */
static bool is_for_multi(const struct zk_fetcher *f, const struct zk_fetch *one)
{
	return f->multi && !one->watch &&
	       (one->op == ZK_OP_GET_DATA || one->op == ZK_OP_GET_CHILDREN);
}

static void move_next(struct zk_fetcher *f, struct fetch_call *c)
{
	struct list *l = list_pop_front(&f->queue);

	list_push_back(&c->asked, l);
	c->n++;
}

static void put_multi(struct zk_fetcher *f, struct fetch_call *c)
{
	size_t most = batch_most(f), bytes = 0;
	struct list *l;

	zk_call_begin(&c->call, ZK_OP_MULTI_READ);
	while (c->n < most && bytes < REQUEST_BYTES &&
	       (l = list_first(&f->queue)) != NULL) {
		const struct zk_fetch *one =
		    kv_container_of(l, struct zk_fetch, link);

		if (!is_for_multi(f, one)) {
			break;
		}
		zk_put_multi_read(&c->call.frame, one->op, one->path);
		bytes += one->path.n + 16;
		move_next(f, c);
	}
	zk_put_multi_end(&c->call.frame);
}

static bool send_next(struct zk_fetcher *f)
{
	struct fetch_call *c = kv_calloc(1, sizeof *c);
	const struct zk_fetch *one =
	    kv_container_of(f->queue.next, struct zk_fetch, link);

	if (c == NULL) {
		return false;
	}
	c->f = f;
	c->call.done = answered_cb;
	c->multi = is_for_multi(f, one);
	list_init(&c->asked);
	list_init(&c->link);
	list_push_back(&f->calls, &c->link);
	f->in_flight++;
	if (c->multi) {
		put_multi(f, c);
	} else {
		put_single(c, one);
		move_next(f, c);
	}
	zk_call_start(f->conn, &c->call);
	return true;
}

static bool has_room(const struct zk_fetcher *f)
{
	const struct zk_fetch *one =
	    kv_container_of(f->queue.next, const struct zk_fetch, link);

	return f->in_flight <
	       (is_for_multi(f, one) ? MULTI_IN_FLIGHT : SINGLE_IN_FLIGHT);
}

static void maybe_send(struct zk_fetcher *f)
{
	while (f->open && !list_empty(&f->queue) && has_room(f)) {
		if (!send_next(f)) {
			fail_text(f, KV_NO_MEMORY, "no memory for a read");
			return;
		}
	}
}

/* ---- what others call ---------------------------------------------------- */

void zk_fetcher_open(struct zk_fetcher *f)
{
	PRE(!f->open);
	list_init(&f->queue);
	list_init(&f->calls);
	f->in_flight = f->bytes_each = 0;
	f->open = true;
}

static void forget(struct list *reads)
{
	while (list_pop_front(reads) != NULL) {
	}
}

void zk_fetcher_close(struct zk_fetcher *f)
{
	struct list *l;

	if (!f->open) {
		return;
	}
	f->open = false;
	while ((l = list_first(&f->calls)) != NULL) {
		struct fetch_call *c =
		    kv_container_of(l, struct fetch_call, link);

		forget(&c->asked);
		zk_call_forget(&c->call);
		call_free(c);
	}
	forget(&f->queue);
}

void zk_fetch_add(struct zk_fetcher *f, struct zk_fetch *one)
{
	PRE(f->open && one->done != NULL && one->path.n > 0);
	list_init(&one->link);
	list_push_back(&f->queue, &one->link);
}

void zk_fetcher_pump(struct zk_fetcher *f)
{
	maybe_send(f);
}

bool zk_fetcher_is_idle(const struct zk_fetcher *f)
{
	return !f->open || (list_empty(&f->queue) && list_empty(&f->calls));
}
