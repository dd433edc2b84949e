/* consul_fetch.c: see consul_fetch.h.
 *
 *   lane: [items from..to] --> txn --> all there: results
 *                           ^      `-> some missing: marked --.
 *                           `------------ the others again <--'
 *
 * A transaction with one failed operation gives errors only. A check uses that:
 * its last operation always fails, so that what is unchanged costs no byte.
 */
#include "store/consul/consul_fetch.h"

#include <inttypes.h>

/* An answer is aimed to stay below so many bytes of values. */
#define ANSWER_BYTES ((size_t)4 << 20)

static void on_answer(struct http_call *call);

static void fail(struct fetch *f, const struct kv_err *why)
{
	if (f->err.status == KV_OK) {
		f->err = *why;
	}
}

static void fail_memory(struct fetch *f)
{
	struct kv_err err;

	(void)kv_fail(&err, KV_NO_MEMORY, "consul: no memory for a read");
	fail(f, &err);
}

/* How many items a transaction takes. */
static size_t lane_limit(const struct fetch *f)
{
	size_t ops = f->consul->st->caps.max_ops;
	size_t size = f->consul->pair_size;

	if (f->kind == FETCH_CHECK) {
		return ops - 1;
	}
	if (size > ANSWER_BYTES / ops) {
		ops = KV_MAX(ANSWER_BYTES / size, 1);
	}
	return ops;
}

static void add_item(struct fetch *f, struct consul_buf *b,
		     const struct consul_item *it)
{
	struct txn_op op = {.verb = "get", .key = it->key};

	if (f->kind == FETCH_CHECK) {
		op.verb = "check-index";
		op.has_index = true;
		op.index = it->expect != 0 ? it->expect : TXN_NO_INDEX;
	}
	txn_add(b, &op);
}

/* The transaction of a lane's items that are not settled yet. False: none is.
 */
static bool send_lane(struct fetch_lane *lane)
{
	struct fetch *f = lane->fetch;
	struct http_call *call = &lane->call;
	const struct consul_item *last = NULL;

	txn_begin(&call->body);
	for (size_t i = lane->from; i < lane->to; i++) {
		if (f->items[i].state == ITEM_UNKNOWN) {
			last = &f->items[i];
			add_item(f, &call->body, last);
		}
	}
	if (last == NULL) {
		buf_free(&call->body);
		return false;
	}
	if (f->kind == FETCH_CHECK) {
		txn_add(&call->body,
			&(struct txn_op){.verb = "check-index",
					 .key = last->key,
					 .has_index = true,
					 .index = TXN_NO_INDEX + 1});
	}
	txn_end(&call->body);
	consul_txn_path(f->consul, &call->path, f->how);
	call->done = on_answer;
	call->ctx = lane;
	http_start(&f->consul->http, call);
	return true;
}

static size_t item_bytes(const struct consul_item *it)
{
	return it->key.n * 2 + CONSUL_OP_BYTES;
}

/* Gives a free lane the next items. False: there are none left. */
static bool start_lane(struct fetch_lane *lane)
{
	struct fetch *f = lane->fetch;
	size_t limit = lane_limit(f);
	size_t bytes = 0;

	lane->from = f->next;
	while (f->next < f->n && f->next - lane->from < limit) {
		bytes += item_bytes(&f->items[f->next]);
		if (f->next > lane->from &&
		    bytes > f->consul->max_request / 2) {
			break;
		}
		f->next++;
	}
	lane->to = f->next;
	if (lane->from == lane->to || !send_lane(lane)) {
		return false;
	}
	f->busy++;
	return true;
}

static void stop(struct fetch *f)
{
	for (size_t i = 0; i < FETCH_LANES; i++) {
		http_cancel(&f->lanes[i].call);
		http_call_reset(&f->lanes[i].call);
	}
	f->busy = 0;
	sched_unpost(&f->task);
}

/* ---- answers ------------------------------------------------------------- */

/* The lane's op number `op` as an item; NULL: there is no such. */
static struct consul_item *item_of(struct fetch_lane *lane, size_t op)
{
	struct consul_item *items = lane->fetch->items;

	for (size_t i = lane->from; i < lane->to; i++) {
		if (items[i].state == ITEM_UNKNOWN && op-- == 0) {
			return &items[i];
		}
	}
	return NULL;
}

static void fail_text(struct fetch *f, int status, const char *what,
		      struct slice text)
{
	char shown[SLICE_PRINT_MAX];
	struct kv_err err;

	(void)kv_fail(&err, status, "consul: %s: %s", what,
		      slice_print(text, shown, sizeof shown));
	fail(f, &err);
}

static void take_error(struct fetch *f, struct consul_item *it,
		       const struct txn_error *e)
{
	if (e->trouble == TXN_MISSING) {
		it->state = ITEM_MISSING;
	} else if (e->trouble == TXN_OTHER && f->kind == FETCH_CHECK &&
		   e->index != 0) {
		it->state = ITEM_HERE;
		it->index = e->index;
	} else {
		fail_text(f, e->trouble == TXN_DENIED ? KV_DENIED : KV_BROKEN,
			  "a read is refused", e->text);
	}
}

/* The items of the errors first: item_of counts those that are open. */
static void take_errors(struct fetch_lane *lane, const struct txn_answer *in,
			struct arena *a)
{
	struct fetch *f = lane->fetch;
	struct consul_item **items =
	    arena_alloc(a, (in->n_errors + 1) * sizeof(*items));

	if (items == NULL) {
		fail_memory(f);
		return;
	}
	for (size_t i = 0; i < in->n_errors; i++) {
		items[i] = item_of(lane, in->errors[i].op);
	}
	for (size_t i = 0; i < in->n_errors; i++) {
		if (items[i] != NULL) {
			take_error(f, items[i], &in->errors[i]);
		} else if (in->errors[i].trouble == TXN_DENIED ||
			   f->kind == FETCH_GET) {
			fail_text(f,
				  in->errors[i].trouble == TXN_DENIED
				      ? KV_DENIED
				      : KV_BROKEN,
				  "a read is refused", in->errors[i].text);
		}
	}
}

/* Of a check: the failing operation was ours alone, so these are unchanged. */
static void take_same(struct fetch_lane *lane)
{
	for (size_t i = lane->from; i < lane->to; i++) {
		struct consul_item *it = &lane->fetch->items[i];

		if (it->state == ITEM_UNKNOWN && it->expect != 0) {
			it->state = ITEM_SAME;
			it->index = it->expect;
		} else if (it->state == ITEM_UNKNOWN) {
			fail_text(lane->fetch, KV_BROKEN,
				  "a check passed that cannot pass", it->key);
		}
	}
}

static void take_entry(struct fetch *f, struct consul_item *it,
		       const struct txn_entry *e)
{
	struct consul *c = f->consul;

	it->state = ITEM_HERE;
	it->index = e->index;
	it->flags = e->flags;
	it->value = e->value;
	c->pair_size = c->pair_size - c->pair_size / 8 + e->value.n / 8;
}

/* Results come in the order of the operations; what the token may not read is
 * left out without a word, and a check will tell. */
static void take_entries(struct fetch_lane *lane, const struct txn_answer *in)
{
	struct fetch *f = lane->fetch;
	size_t k = 0;

	for (size_t i = lane->from; i < lane->to && k < in->n_entries; i++) {
		struct consul_item *it = &f->items[i];

		if (it->state == ITEM_UNKNOWN &&
		    slice_eq(it->key, in->entries[k].key)) {
			take_entry(f, it, &in->entries[k++]);
		}
	}
	if (k < in->n_entries) {
		fail_text(f, KV_BROKEN, "an answer holds what was not asked",
			  in->entries[k].key);
	}
	for (size_t i = lane->from; i < lane->to; i++) {
		if (f->items[i].state == ITEM_UNKNOWN) {
			fail_text(f, KV_DENIED,
				  "the token may not read what it names",
				  f->items[i].key);
		}
	}
}

static void take(struct fetch_lane *lane)
{
	struct fetch *f = lane->fetch;
	struct arena scratch = {0};
	struct arena *a = f->kind == FETCH_GET ? f->arena : &scratch;
	struct http_call *call = &lane->call;
	struct txn_answer in;
	struct kv_err err = {0};

	if (txn_parse(a, slice_of(call->reply.p, call->reply.n), &in, &err) !=
	    KV_OK) {
		fail(f, &err);
	} else if (in.n_errors > 0) {
		take_errors(lane, &in, a);
		if (f->kind == FETCH_CHECK && f->err.status == KV_OK) {
			take_same(lane);
		}
	} else if (f->kind == FETCH_GET) {
		take_entries(lane, &in);
	} else {
		fail_text(f, KV_BROKEN, "a check passed that cannot pass",
			  slice_of(call->reply.p, KV_MIN(call->reply.n, 80)));
	}
	arena_free(&scratch);
}

/* 413: fewer at a time, where the server takes fewer than it seemed. */
static bool is_too_many(struct fetch *f, const struct http_call *call)
{
	struct store_caps *caps = &f->consul->st->caps;

	if (call->err.status != KV_OK || call->code != 413 ||
	    caps->max_ops <= CONSUL_OPS_OLD) {
		return false;
	}
	caps->max_ops = CONSUL_OPS_OLD;
	return true;
}

static void on_answer(struct http_call *call)
{
	struct fetch_lane *lane = call->ctx;
	struct fetch *f = lane->fetch;

	f->busy--;
	f->epoch = f->epoch == 0 ? call->epoch : KV_MIN(f->epoch, call->epoch);
	if (is_too_many(f, call)) {
		struct kv_err err;

		(void)kv_fail(&err, KV_NOT_REACHABLE,
			      "consul: the server takes fewer operations now");
		fail(f, &err);
	} else if (call->code == 409 && call->err.status == KV_OK) {
		take(lane);
	} else if (http_check(call, false) != KV_OK) {
		fail(f, &call->err);
	} else {
		take(lane);
	}
	http_call_reset(call);
	if (f->err.status == KV_OK) {
		if (send_lane(lane)) {
			f->busy++;
		} else {
			(void)start_lane(lane);
		}
	} else {
		stop(f);
	}
	if (f->busy == 0) {
		f->done(f);
	}
}

static void run_done(struct sched_task *task)
{
	struct fetch *f = kv_container_of(task, struct fetch, task);

	f->done(f);
}

void fetch_start(struct fetch *f)
{
	f->next = 0;
	f->busy = 0;
	f->epoch = 0;
	f->task.run = run_done;
	kv_err_clear(&f->err);
	for (size_t i = 0; i < FETCH_LANES; i++) {
		f->lanes[i].fetch = f;
		if (!start_lane(&f->lanes[i])) {
			break;
		}
	}
	if (f->busy == 0) {
		sched_post(f->consul->st->sched, &f->task);
	}
}

void fetch_cancel(struct fetch *f)
{
	if (f->consul != NULL) {
		stop(f);
	}
}
