/* consul_watch.c: pulls; see consul_watch.h.
 *
 *   consul_changes --> first: index (and names) --> init batch
 *                  --> plan not handed out yet: values of the next rows -->
 * batch
 *                  --> `want` is behind us: progress mark
 *                  --> pause, round --> watch_planned --> again
 */
#include "store/consul/consul_watch.h"

/* The shortest pause between two rounds; and how long a watch says nothing
 * when rounds find nothing. */
#define PAUSE_MIN_MS 20
#define SILENCE_MS 5000
/* Rows of a batch, and their values' bytes aimed at. */
#define BATCH_ROWS 1024
#define BATCH_BYTES ((size_t)4 << 20)

static void step(struct consul_watch *cw);

static struct consul_watch **slot_of(struct store_watch *w)
{
	return w->impl;
}

/* ---- ends ---------------------------------------------------------------- */

/* Everything under way is stopped; what the caller is being asked for comes all
 * the same. */
static void halt(struct consul_watch *cw)
{
	http_cancel(&cw->call);
	http_call_reset(&cw->call);
	fetch_cancel(&cw->fetch);
	section_probe_stop(cw);
	sched_timer_stop(&cw->pause);
	store_batch_free(cw->batch);
	cw->batch = NULL;
}

static void release(struct consul_watch *cw)
{
	names_free(&cw->known);
	names_free(&cw->gone);
	names_free(&cw->fresh);
	kv_free(cw->plan);
	kv_free(cw->marks);
	kv_free(cw->items);
	kv_free(cw->ranges);
	arena_free(&cw->arena);
	arena_free(&cw->after_arena);
	kv_free(cw);
}

void watch_ended(struct consul_watch *cw)
{
	PRE(cw->ended && !cw->asking);
	release(cw);
}

void consul_unwatch(struct store_watch *w)
{
	struct consul_watch *cw = *slot_of(w);

	if (cw == NULL) {
		return;
	}
	halt(cw);
	*slot_of(w) = NULL;
	cw->ended = true;
	if (!cw->asking) {
		release(cw);
	}
}

static void answer(struct consul_watch *cw)
{
	struct store_next *next = cw->next;

	cw->next = NULL;
	store_done(&next->req);
}

/* PRE: a pull is outstanding: nothing runs without one. */
void watch_fail(struct consul_watch *cw, const struct kv_err *why)
{
	halt(cw);
	PRE(cw->next != NULL);
	cw->next->err = *why;
	answer(cw);
}

void watch_fail_memory(struct consul_watch *cw)
{
	struct kv_err err;

	(void)kv_fail(&err, KV_NO_MEMORY, "consul: no memory for a watch");
	watch_fail(cw, &err);
}

bool watch_same_epoch(struct consul_watch *cw, uint64_t epoch)
{
	struct kv_err err;

	if (cw->epoch == 0) {
		cw->epoch = epoch;
	}
	if (epoch == cw->epoch) {
		return true;
	}
	(void)kv_fail(&err, KV_NOT_REACHABLE,
		      "consul: the connection was lost since");
	watch_fail(cw, &err);
	return false;
}

void consul_changes_cancel(struct store_next *req)
{
	struct store_watch *w = req->req.watch;
	struct consul_watch *cw = *slot_of(w);

	halt(cw);
	(void)kv_fail(&req->err, KV_CANCELED, "consul: the watch was canceled");
	answer(cw);
}

/* ---- batches ------------------------------------------------------------- */

/* A batch as of `index`; the pull is answered. */
static void hand_out(struct consul_watch *cw, struct store_batch *b)
{
	uint64_t now = KV_MAX(cw->verified, cw->global);

	consul_origin(cw->c, KV_MAX(now, b->index), cw->epoch, &b->origin);
	if (!b->partial) {
		cw->told = KV_MAX(cw->told, b->index);
	}
	cw->marked_ms = sched_now(cw->c->st->sched);
	cw->next->batch = b;
	answer(cw);
}

/* Without changes. */
static void hand_mark(struct consul_watch *cw, bool init, bool relisted)
{
	struct store_batch *b = store_batch_new();

	if (b == NULL) {
		watch_fail_memory(cw);
		return;
	}
	b->init = init;
	b->index = cw->told;
	if (relisted) {
		b->relisted = true;
		b->inferred_deletes = cw->gone_n;
		b->known_keys = cw->known_n;
	}
	hand_out(cw, b);
}

static struct slice row_name(const struct consul_watch *cw,
			     const struct plan_row *r)
{
	return names_at(r->gone ? &cw->gone : &cw->known, r->pos);
}

/* Row k as a change; NULL: no memory. Puts take `it`. */
static struct store_change *add_change(struct consul_watch *cw, size_t *cap,
				       const struct plan_row *r,
				       const struct consul_item *it)
{
	struct store_batch *b = cw->batch;
	struct slice key = consul_relative(cw->c, &b->arena, row_name(cw, r));
	struct store_change *ch;

	if (key.p == NULL) {
		return NULL;
	}
	ch = store_batch_add(b, cap, key,
			     it != NULL ? it->value : (struct slice){0});
	if (ch == NULL) {
		return NULL;
	}
	ch->action = it != NULL ? STORE_SET : STORE_DELETE;
	ch->inferred = it == NULL;
	ch->index = r->index;
	if (it != NULL) {
		ch->version.a = it->index;
		if (!consul_attrs(cw->c, &b->arena, &ch->attrs, it->flags)) {
			return NULL;
		}
	}
	return ch;
}

/* Where the batch stands: at its last index, unless that goes on. */
static void set_end(struct consul_watch *cw, struct store_batch *b)
{
	bool all = cw->plan_at == cw->plan_n;
	uint64_t last = cw->plan[cw->plan_at - 1].index;

	b->index = all ? cw->verified : last;
	b->partial = !all && cw->plan[cw->plan_at].index == last;
	if (b->partial) {
		/* The last whole one may be in this very batch. */
		b->index = cw->told;
		for (size_t i = cw->batch_from; i < cw->plan_at; i++) {
			if (cw->plan[i].index < last) {
				b->index = cw->plan[i].index;
			}
		}
	}
	/* Rows that are gone may be all there was of the last index. */
	if (b->n > 0 && b->changes[b->n - 1].index <= b->index) {
		b->partial = false;
	}
	for (size_t i = 0; i < b->n; i++) {
		b->changes[i].tx_end =
		    i + 1 < b->n
			? b->changes[i].index != b->changes[i + 1].index
			: !b->partial;
	}
}

static void on_values(struct fetch *f)
{
	struct consul_watch *cw =
	    kv_container_of(f, struct consul_watch, fetch);
	struct store_batch *b = cw->batch;
	size_t cap = 0;
	size_t k = 0;

	if (f->err.status != KV_OK) {
		watch_fail(cw, &f->err);
		return;
	}
	if (f->epoch != 0 && !watch_same_epoch(cw, f->epoch)) {
		return;
	}
	for (size_t i = cw->batch_from; i < cw->plan_at; i++) {
		const struct plan_row *r = &cw->plan[i];
		const struct consul_item *it = r->gone ? NULL : &cw->items[k++];

		/* Gone meanwhile: the next round tells. */
		if (it != NULL && it->state != ITEM_HERE) {
			continue;
		}
		if (it != NULL && it->index != cw->known.names[r->pos].index) {
			cw->known.names[r->pos].index = 0;
		}
		if (add_change(cw, &cap, r, it) == NULL) {
			watch_fail_memory(cw);
			return;
		}
	}
	kv_free(cw->items);
	cw->items = NULL;
	set_end(cw, b);
	cw->batch = NULL;
	if (b->n == 0 && b->partial) {
		store_batch_free(b);
		step(cw);
		return;
	}
	if (b->partial) {
		cw->told = KV_MAX(cw->told, b->index);
	}
	hand_out(cw, b);
}

/* The values of the next rows. */
static void start_batch(struct consul_watch *cw)
{
	size_t rows = KV_MIN((size_t)BATCH_ROWS,
			     BATCH_BYTES / (cw->c->pair_size + 1) + 1);
	size_t to = KV_MIN(cw->plan_at + rows, cw->plan_n);
	size_t k = 0;

	cw->batch = store_batch_new();
	kv_free(cw->items);
	cw->items = kv_calloc(to - cw->plan_at, sizeof *cw->items);
	if (cw->batch == NULL || cw->items == NULL) {
		watch_fail_memory(cw);
		return;
	}
	cw->batch_from = cw->plan_at;
	for (; cw->plan_at < to; cw->plan_at++) {
		const struct plan_row *r = &cw->plan[cw->plan_at];

		if (!r->gone) {
			cw->items[k++].key = row_name(cw, r);
		}
	}
	cw->fetch = (struct fetch){.consul = cw->c,
				   .items = cw->items,
				   .n = k,
				   .kind = FETCH_GET,
				   .how = CONSUL_CONSISTENT,
				   .arena = &cw->batch->arena,
				   .done = on_values};
	fetch_start(&cw->fetch);
}

/* ---- the first batch ----------------------------------------------------- */

static void hand_first(struct consul_watch *cw)
{
	struct store_batch *b = cw->batch;

	cw->batch = NULL;
	cw->told = cw->verified;
	cw->opened = true;
	b->init = true;
	b->index = cw->told;
	hand_out(cw, b);
}

static void on_pair(struct fetch *f)
{
	struct consul_watch *cw =
	    kv_container_of(f, struct consul_watch, fetch);
	struct consul_item *it = &cw->items[0];
	struct plan_row row = {0};
	struct store_change *ch;
	size_t cap = 0;

	if (f->err.status != KV_OK) {
		watch_fail(cw, &f->err);
		return;
	}
	if (!watch_same_epoch(cw, f->epoch)) {
		return;
	}
	if (it->state == ITEM_HERE) {
		if (!names_add(&cw->known, cw->prefix, it->index)) {
			watch_fail_memory(cw);
			return;
		}
		row.index = it->index;
		ch = add_change(cw, &cap, &row, it);
		if (ch == NULL) {
			watch_fail_memory(cw);
			return;
		}
		ch->action = STORE_GET;
		ch->tx_end = true;
		cw->verified = KV_MAX(cw->verified, it->index);
	}
	hand_first(cw);
}

static void start_pair(struct consul_watch *cw)
{
	cw->batch = store_batch_new();
	cw->items = kv_calloc(1, sizeof *cw->items);
	if (cw->batch == NULL || cw->items == NULL) {
		watch_fail_memory(cw);
		return;
	}
	cw->items[0].key = cw->prefix;
	cw->fetch = (struct fetch){.consul = cw->c,
				   .items = cw->items,
				   .n = 1,
				   .kind = FETCH_GET,
				   .how = CONSUL_CONSISTENT,
				   .arena = &cw->batch->arena,
				   .done = on_pair};
	fetch_start(&cw->fetch);
}

static void opened(struct consul_watch *cw)
{
	cw->told = cw->verified;
	cw->opened = true;
	hand_mark(cw, true, false);
}

static void on_first_names(struct http_call *call)
{
	struct consul_watch *cw = call->ctx;
	uint64_t index;

	if (names_taken(cw, call, &index) != KV_OK) {
		return;
	}
	cw->known = cw->fresh;
	cw->fresh = (struct consul_names){0};
	opened(cw);
}

static void on_first_index(struct http_call *call)
{
	struct consul_watch *cw = call->ctx;
	uint64_t after = cw->w->after;
	struct kv_err err;

	if (http_check(call, true) != KV_OK) {
		watch_fail(cw, &call->err);
		return;
	}
	if (!watch_same_epoch(cw, call->epoch)) {
		return;
	}
	cw->global = KV_MAX(call->index, 1);
	http_call_reset(call);
	if (cw->global < after) {
		(void)kv_fail(&err, KV_HISTORY_LOST,
			      "consul: the store is at an older index than the "
			      "one to go on from");
		watch_fail(cw, &err);
		return;
	}
	cw->verified = after != 0 ? after : cw->global;
	if (after != 0) {
		cw->blank = cw->w->known == NULL || cw->one_key;
		opened(cw);
	} else if (cw->one_key) {
		start_pair(cw);
	} else {
		names_start(cw, false, on_first_names);
	}
}

static void start_first(struct consul_watch *cw)
{
	consul_index_path(cw->c, &cw->call.path, CONSUL_CONSISTENT);
	cw->call.done = on_first_index;
	cw->call.ctx = cw;
	http_start(&cw->c->http, &cw->call);
}

/* ---- pulls --------------------------------------------------------------- */

static void on_pause(struct sched_timer *t)
{
	watch_round_start(kv_container_of(t, struct consul_watch, pause),
			  false);
}

/* Many changes share a round when rounds keep a distance. */
static void start_round(struct consul_watch *cw)
{
	struct sched *s = cw->c->st->sched;
	uint64_t due = cw->ended_ms + KV_MAX(cw->took_ms, PAUSE_MIN_MS);
	uint64_t now = sched_now(s);

	if (cw->next->want > cw->verified && cw->next->want != cw->tried) {
		cw->tried = cw->next->want; /* it may be of the future */
		watch_round_start(cw, true);
	} else if (cw->ended_ms != 0 && now < due) {
		cw->pause.fire = on_pause;
		sched_timer_start(s, &cw->pause, due - now);
	} else if (cw->blank || (cw->w->known != NULL && !cw->asked &&
				 cw->w->after != 0 && !cw->one_key)) {
		watch_round_start(cw,
				  true); /* what is known is older than now */
	} else {
		watch_round_start(cw, false);
	}
}

void watch_planned(struct consul_watch *cw)
{
	uint64_t now = sched_now(cw->c->st->sched);
	/* Who resumes waits to hear that all was compared. */
	bool first = !cw->resumed && cw->w->after != 0;

	cw->resumed = true;
	if (cw->plan_n > 0) {
		step(cw);
		return;
	}
	cw->told = cw->verified;
	if (first || (cw->next->want != 0 && cw->next->want <= cw->told) ||
	    now - cw->marked_ms > SILENCE_MS) {
		hand_mark(cw, false, false);
	} else {
		start_round(cw);
	}
}

static void step(struct consul_watch *cw)
{
	if (!cw->opened) {
		start_first(cw);
	} else if (cw->announce) {
		cw->announce = false;
		hand_mark(cw, false, true);
	} else if (cw->plan_at < cw->plan_n) {
		start_batch(cw);
	} else if (cw->next->want != 0 && cw->next->want <= cw->told) {
		hand_mark(cw, false, false);
	} else {
		start_round(cw);
	}
}

static struct consul_watch *new_watch(struct store_watch *w)
{
	struct consul *c = consul_of(w->store);
	struct consul_watch *cw = kv_calloc(1, sizeof *cw);

	if (cw == NULL) {
		return NULL;
	}
	cw->w = w;
	cw->c = c;
	cw->one_key = w->key.n > 0;
	cw->prefix = cw->one_key ? consul_stored(c, &cw->arena, w->key)
				 : consul_stored_dir(c, &cw->arena, w->dir);
	if (cw->prefix.p == NULL) {
		release(cw);
		return NULL;
	}
	return cw;
}

int consul_changes(struct store_watch *w, struct store_next *req)
{
	struct consul_watch **slot = slot_of(w);

	if (*slot == NULL) {
		*slot = new_watch(w);
		if (*slot == NULL) {
			return kv_fail(&req->err, KV_NO_MEMORY,
				       "consul: no memory for a watch");
		}
	}
	consul_maybe_greet(consul_of(w->store));
	(*slot)->next = req;
	step(*slot);
	return KV_OK;
}
