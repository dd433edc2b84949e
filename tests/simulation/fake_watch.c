/* fake_watch.c: watches of the fake store, of both kinds.
 *
 *   told:     world's transactions after the cursor --> batches
 *   inferred: what is there now, against what was there at the last look (or
 *             what the caller says it knows) --> differences --> batches
 *
 * The first answer of a watch is the init batch. A request for which there is
 * nothing waits until the world changes, or is answered by a progress mark.
 */
#include <stdlib.h>

#include "fake_impl.h"

#define BATCH_MAX 6
#define HEARTBEAT_MS 20000

struct fake_watch *fake_watch_of(struct fake_req *fr)
{
	return kv_container_of(fr->req, struct store_next, req)
	    ->req.watch->impl;
}

static struct store_next *next_of(struct fake_req *fr)
{
	return kv_container_of(fr->req, struct store_next, req);
}

void fake_watch_free(struct fake_watch *fw)
{
	PRE(!fw->gathering);
	store_page_free(fw->known);
	store_batch_free(fw->queue);
}

void fake_watch_end(struct fake_req *fr, int status, const char *why)
{
	struct fake_watch *fw = fake_watch_of(fr);

	if (fw->gathering) {
		/* The page that was asked for comes first. */
		fw->abort = status;
		return;
	}
	fake_fail(fr, status, why);
}

/* ---- answers
 * ---------------------------------------------------------------*/

static void trace_batch(struct fake_world *w, const struct store_batch *b)
{
	FAKE_TRACE(w, "%s: watch tells %zu changes up to %llu%s%s%s", w->name,
		   b->n, (unsigned long long)b->index, b->init ? ", init" : "",
		   b->partial ? ", partial" : "",
		   b->relisted ? ", relisted" : "");
	for (size_t i = 0; w->trace != NULL && i < b->n; i++) {
		const struct store_change *c = &b->changes[i];

		FAKE_TRACE(w, "%s:   %s %.*s of %llu%s%s", w->name,
			   store_action_name(c->action), (int)c->key.n,
			   (const char *)c->key.p, (unsigned long long)c->index,
			   c->inferred ? ", inferred" : "",
			   c->tx_end ? ", end" : "");
	}
}

static void answer_batch(struct fake_req *fr, struct store_batch *b)
{
	struct fake_world *w = fr->fs->w;

	fake_origin(fr->fs, &b->origin);
	next_of(fr)->batch = b;
	trace_batch(w, b);
	w->counts->batches++;
	w->counts->partial_batches += b->partial;
	w->counts->progress_marks += b->n == 0 && !b->init && !b->relisted;
	fake_answer(fr);
}

static struct store_batch *new_batch(const struct fake_watch *fw)
{
	struct store_batch *b = store_batch_new();

	PRE(b != NULL);
	b->index = fw->cursor;
	return b;
}

static void lose_history(struct fake_req *fr)
{
	fr->fs->w->counts->history_lost++;
	fake_fail(fr, KV_HISTORY_LOST, "compacted, or of another history");
}

static bool in_dir(const struct fake_watch *fw, struct slice key)
{
	if (fw->w->key.n > 0) {
		return slice_eq(fw->w->key, key);
	}
	return slice_below(key, fw->w->dir);
}

static void open_watch(struct fake_req *fr, struct fake_watch *fw)
{
	const struct fake_world *w = fr->fs->w;
	const struct store_caps *caps = &w->kind.caps;
	struct store_batch *b;

	if (fw->w->after > w->index ||
	    (caps->told_deletes && fw->w->after != 0 &&
	     fw->w->after < w->compacted) ||
	    (!caps->told_deletes && fw->w->after != 0 &&
	     fw->w->known == NULL)) {
		lose_history(fr);
		return;
	}
	fw->cursor = fw->w->after == 0 ? w->index : fw->w->after;
	fw->opened = true;
	b = new_batch(fw);
	b->init = true;
	answer_batch(fr, b);
}

/* Nothing to tell. True: answered with a mark all the same. */
static bool mark(struct fake_req *fr, struct fake_watch *fw)
{
	struct fake_world *w = fr->fs->w;
	uint64_t want = next_of(fr)->want;
	bool due =
	    !w->kind.silent && fr->event.what[0] == 'h'; /* the heartbeat */

	if (w->index <= fw->cursor) {
		if ((want == 0 || want > fw->cursor) && !due) {
			return false;
		}
	} else if (want == 0 || want > w->index) {
		if (!due && !sim_chance(&w->rand, 1, 4)) {
			return false;
		}
	}
	fw->cursor = w->index;
	answer_batch(fr, new_batch(fw));
	return true;
}

/* ---- told
 * ------------------------------------------------------------------*/

static bool event_in(const struct fake_watch *fw, const struct fake_event *e)
{
	return in_dir(fw, e->key->key);
}

/* Is there an event of the tree in the transaction from number `i` on? */
static bool any_in(const struct fake_watch *fw, const struct fake_tx *tx,
		   size_t i)
{
	for (; i < tx->n; i++) {
		if (event_in(fw, &tx->events[i])) {
			return true;
		}
	}
	return false;
}

/* Moves to the next transaction that has something for this watch. */
static const struct fake_tx *next_tx(struct fake_watch *fw)
{
	const struct fake_world *w = fw->fs->w;

	for (; fw->tx < w->n_txs; fw->tx++, fw->off = 0) {
		const struct fake_tx *tx = &w->txs[fw->tx];

		if (tx->era == w->era && tx->index > fw->cursor &&
		    any_in(fw, tx, fw->off)) {
			return tx;
		}
	}
	return NULL;
}

static bool drops(struct fake_world *w)
{
	if (w->plant == PLANT_LOST_EVENT && sim_chance(&w->rand, 1, 100)) {
		w->counts->planted++;
		return true;
	}
	return false;
}

static struct store_change *add_change(struct store_batch *b, size_t *cap,
				       struct slice key, struct slice whole)
{
	struct slice value, attrs;
	struct store_change *c;
	bool set;

	fake_split(whole, &value, &attrs);
	c = store_batch_add(b, cap, key, value);
	PRE(c != NULL);
	set = store_attrs_set(&b->arena, &c->attrs, attrs);
	PRE(set);
	return c;
}

static void add_event(struct store_batch *b, size_t *cap,
		      const struct fake_event *e, bool last)
{
	const struct fake_rev *r = &e->key->revs[e->rev];
	struct store_change *c = add_change(b, cap, e->key->key, r->value);

	c->action = STORE_DELETE;
	if (r->present) {
		c->action =
		    e->key->revs[e->rev - 1].present ? STORE_UPDATE : STORE_SET;
		c->version = r->version;
	}
	c->index = r->index;
	c->tx_end = last;
}

/* One transaction, as far as the batch takes it. */
static void add_tx(struct fake_watch *fw, const struct fake_tx *tx,
		   struct store_batch *b, size_t *cap, size_t max)
{
	for (; fw->off < tx->n; fw->off++) {
		const struct fake_event *e = &tx->events[fw->off];

		if (!event_in(fw, e)) {
			continue;
		}
		if (b->n >= max) {
			b->partial = true;
			return;
		}
		if (!drops(fw->fs->w)) {
			add_event(b, cap, e, !any_in(fw, tx, fw->off + 1));
		}
	}
	fw->cursor = tx->index;
	fw->tx++;
	fw->off = 0;
}

static bool fill_told(struct fake_req *fr, struct fake_watch *fw)
{
	struct fake_world *w = fr->fs->w;
	size_t max = (size_t)sim_range(&w->rand, 1, BATCH_MAX), cap = 0;
	const struct fake_tx *tx = next_tx(fw);
	struct store_batch *b;

	if (tx == NULL) {
		return mark(fr, fw);
	}
	if (tx->index <= w->compacted && !w->kind.watch_buffers) {
		lose_history(fr);
		return true;
	}
	b = new_batch(fw);
	while (tx != NULL && b->n < max && !b->partial) {
		add_tx(fw, tx, b, &cap, max);
		tx = next_tx(fw);
	}
	if (tx == NULL && sim_chance(&w->rand, 1, 2)) {
		fw->cursor = w->index;
	}
	b->index = fw->cursor;
	answer_batch(fr, b);
	return true;
}

/* ---- inferred
 * --------------------------------------------------------------*/

static void known_page(void *ctx, int status, struct store_page *page);
static void check_complete(const struct fake_watch *fw);

static void ask_known(struct fake_watch *fw)
{
	struct slice after = slice_str("");

	if (fw->known != NULL && fw->known->n > 0) {
		after = fw->known->pairs[fw->known->n - 1].key;
	}
	fw->gathering = true;
	fw->w->known->next(fw->w->known, after, known_page, fw);
}

static void known_add(struct store_page **page, size_t *cap, struct slice key,
		      uint64_t index)
{
	struct store_pair *p;

	if (*page == NULL) {
		*page = store_page_new();
		PRE(*page != NULL);
	}
	p = store_page_add(*page, cap, key, slice_str(""));
	PRE(p != NULL);
	p->index = index;
}

static void known_page(void *ctx, int status, struct store_page *page)
{
	struct fake_watch *fw = ctx;
	struct fake_req *fr = fw->gather_req;
	bool more = false;

	PRE(fw->gathering);
	fw->gathering = false;
	if (page != NULL) {
		bool was = fake_spare(fr->fs->w);

		for (size_t i = 0; i < page->n; i++) {
			PRE(fw->known == NULL || fw->known->n == 0 ||
			    slice_cmp(fw->known->pairs[fw->known->n - 1].key,
				      page->pairs[i].key) < 0);
			known_add(&fw->known, &fw->known_cap,
				  page->pairs[i].key, page->pairs[i].index);
		}
		fake_spare_end(fr->fs->w, was);
		more = page->more;
		store_page_free(page);
	}
	if (fw->abort != KV_OK || status != KV_OK) {
		fake_fail(fr, fw->abort != KV_OK ? fw->abort : status,
			  "ended while the known keys were read");
	} else if (more) {
		ask_known(fw);
	} else {
		check_complete(fw);
		fw->gathered = true;
		sim_event_stop(&fr->event);
		sim_event_start(fr->fs->w->sched, &fr->event, true, 0);
	}
}

static const struct store_pair *known_find(const struct fake_watch *fw,
					   struct slice key)
{
	size_t low = 0, high = fw->known == NULL ? 0 : fw->known->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int cmp = slice_cmp(fw->known->pairs[mid].key, key);

		if (cmp == 0) {
			return &fw->known->pairs[mid];
		}
		if (cmp < 0) {
			low = mid + 1;
		} else {
			high = mid;
		}
	}
	return NULL;
}

/* Known keys that are said to be all of them: are they? Of another era nobody
 * who talks to this server can know. */
static void check_complete(const struct fake_watch *fw)
{
	const struct fake_world *w = fw->fs->w;

	w->counts->known_complete += fw->w->known->complete;
	for (size_t i = 0; i < w->n_keys; i++) {
		const struct fake_key *k = w->keys[i];

		if (!fw->w->known->complete || w->era > 0 ||
		    !in_dir(fw, k->key) ||
		    fake_at(w, k, fw->w->after) == NULL) {
			continue;
		}
		if (known_find(fw, k->key) == NULL) {
			FAKE_TRACE(w,
				   "%s: %.*s was there at %llu, and is not "
				   "known",
				   w->name, (int)k->key.n,
				   (const char *)k->key.p,
				   (unsigned long long)fw->w->after);
			abort();
		}
	}
}

/* Puts go by their index, as changes do. */
static void sort_changes(struct store_batch *b)
{
	for (size_t i = 1; i < b->n; i++) {
		struct store_change c = b->changes[i];
		size_t k = i;

		for (; k > 0 && b->changes[k - 1].index > c.index; k--) {
			b->changes[k] = b->changes[k - 1];
		}
		b->changes[k] = c;
	}
}

static void queue_puts(struct fake_watch *fw, size_t *cap,
		       struct store_page **now, size_t *now_cap)
{
	struct fake_world *w = fw->fs->w;

	for (size_t i = 0; i < w->n_keys; i++) {
		const struct fake_key *k = w->keys[i];
		const struct fake_rev *r = fake_now(k);
		const struct store_pair *p;
		struct store_change *c;

		if (!r->present || !in_dir(fw, k->key)) {
			continue;
		}
		known_add(now, now_cap, k->key, r->index);
		p = known_find(fw, k->key);
		if ((p != NULL && p->index == r->index) || drops(w)) {
			continue;
		}
		c = add_change(fw->queue, cap, k->key, r->value);
		c->action = p == NULL ? STORE_SET : STORE_UPDATE;
		c->index = r->index;
		c->version = r->version;
	}
	sort_changes(fw->queue);
}

static void queue_deletes(struct fake_watch *fw, size_t *cap)
{
	struct fake_world *w = fw->fs->w;

	fw->queue_deletes = 0;
	fw->queue_known = fw->known == NULL ? 0 : fw->known->n;
	for (size_t i = 0; i < fw->queue_known; i++) {
		const struct fake_key *k =
		    fake_find(w, fw->known->pairs[i].key);
		struct store_change *c;

		if (k != NULL && fake_now(k)->present) {
			continue;
		}
		c = store_batch_add(fw->queue, cap, fw->known->pairs[i].key,
				    slice_str(""));
		PRE(c != NULL);
		c->action = STORE_DELETE;
		c->inferred = true;
		c->index = w->index;
		fw->queue_deletes++;
	}
	w->counts->inferred_deletes += fw->queue_deletes;
}

static void relist(struct fake_watch *fw)
{
	struct store_page *now = NULL;
	size_t now_cap = 0, cap = 0;

	PRE(fw->queue == NULL);
	fw->fs->w->counts->relists++;
	fw->queue = store_batch_new();
	PRE(fw->queue != NULL);
	queue_puts(fw, &cap, &now, &now_cap);
	queue_deletes(fw, &cap);
	if (fw->queue->n > 0) {
		/* The unit is the whole look: between two of its changes the
		 * tree is as it never was. */
		fw->queue->changes[fw->queue->n - 1].tx_end = true;
	}
	fw->queue_off = 0;
	fw->announced = fw->queue_deletes == 0;
	fw->listed = fw->fs->w->index;
	store_page_free(fw->known);
	fw->known = now;
	fw->known_cap = now_cap;
}

static void copy_change(struct store_batch *b, size_t *cap,
			const struct store_change *from)
{
	struct store_change *c =
	    store_batch_add(b, cap, from->key, from->value);
	struct slice key, value, attrs;
	bool set;

	PRE(c != NULL);
	set = store_attrs_set(&b->arena, &attrs, from->attrs);
	PRE(set);
	key = c->key;
	value = c->value;
	*c = *from;
	c->key = key;
	c->value = value;
	c->attrs = attrs;
}

/* The next piece of the queue. */
static void hand_out(struct fake_req *fr, struct fake_watch *fw)
{
	struct fake_world *w = fr->fs->w;
	size_t max = (size_t)sim_range(&w->rand, 1, BATCH_MAX), cap = 0;
	struct store_batch *b = new_batch(fw);

	while (b->n < max && fw->queue_off < fw->queue->n) {
		const struct store_change *c =
		    &fw->queue->changes[fw->queue_off];

		if (c->inferred && !fw->announced) {
			/* Said before the first one is handed out. */
			b->relisted = true;
			b->inferred_deletes = fw->queue_deletes;
			b->known_keys = fw->queue_known;
			fw->announced = true;
			break;
		}
		copy_change(b, &cap, c);
		fw->queue_off++;
	}
	b->partial = fw->queue_off < fw->queue->n;
	if (!b->partial) {
		fw->cursor = fw->listed;
		store_batch_free(fw->queue);
		fw->queue = NULL;
	}
	b->index = fw->cursor;
	answer_batch(fr, b);
}

static bool fill_inferred(struct fake_req *fr, struct fake_watch *fw)
{
	const struct fake_world *w = fr->fs->w;

	if (!fw->gathered && fw->w->known != NULL && fw->w->after != 0) {
		fw->gather_req = fr;
		ask_known(fw);
		return true; /* answered later */
	}
	if (fw->queue == NULL && (fw->listed == 0 || w->index > fw->listed)) {
		relist(fw);
		if (fw->queue->n == 0) {
			store_batch_free(fw->queue);
			fw->queue = NULL;
		}
	}
	if (fw->queue != NULL) {
		hand_out(fr, fw);
		return true;
	}
	return mark(fr, fw);
}

/* ---- arrival
 * ---------------------------------------------------------------*/

/* From now on the tree is compared with what is there at this moment. */
static void start_from_now(struct fake_watch *fw)
{
	const struct fake_world *w = fw->fs->w;

	for (size_t i = 0; i < w->n_keys; i++) {
		const struct fake_rev *r = fake_now(w->keys[i]);

		if (r->present && in_dir(fw, w->keys[i]->key)) {
			known_add(&fw->known, &fw->known_cap, w->keys[i]->key,
				  r->index);
		}
	}
	fw->listed = w->index;
}

static void wait_for_change(struct fake_req *fr)
{
	struct fake_world *w = fr->fs->w;

	fr->stage = FAKE_WAITING;
	fr->event.what = "heartbeat";
	sim_event_stop(&fr->event);
	sim_event_start(w->sched, &fr->event, true,
			sim_range(&w->rand, 1000, HEARTBEAT_MS));
}

void fake_watch_arrive(struct fake_req *fr)
{
	struct fake_watch *fw = fake_watch_of(fr);
	struct fake_world *w = fr->fs->w;
	bool filled;

	if (fake_is_down(w) || fw->epoch != fr->fs->epoch) {
		w->counts->unreachable++;
		fake_fail(fr, KV_NOT_REACHABLE, "the connection was lost");
	} else if (w->sched->now_ms < w->denied_until_ms) {
		w->counts->denied++;
		fake_fail(fr, KV_DENIED, "credentials refused");
	} else if (fake_roll(w, w->faults.cut)) {
		fake_stores_cut(w);
	} else if (!fw->opened) {
		open_watch(fr, fw);
		if (fw->opened && fw->w->after == 0 &&
		    !w->kind.caps.told_deletes) {
			start_from_now(fw);
		}
	} else {
		filled = w->kind.caps.told_deletes ? fill_told(fr, fw)
						   : fill_inferred(fr, fw);
		if (!filled) {
			wait_for_change(fr);
		}
	}
}
