/* consul_round.c: one look at a tree: what was made, changed and deleted since
 * the last one; see consul_watch.h.
 *
 *   [index] --> names --> [what the caller knows] --> made, gone
 *       --> probes --> checks, a chunk at a time --> [indexes of deletes]
 *       --> plan
 */
#include <stdlib.h>

#include "store/consul/consul_watch.h"

/* Checks of so many keys are made at a time. */
#define CHUNK 8192
/* Of so many deletes the exact index is asked for. */
#define EXACT_DELETES 32

static void check_next(struct consul_watch *cw);
static void compare(struct consul_watch *cw);
static void on_known(void *ctx, int status, struct store_page *page);

static void fail_lost(struct consul_watch *cw, const char *why,
		      struct slice key)
{
	char text[SLICE_PRINT_MAX];
	struct kv_err err;

	(void)kv_fail(&err, KV_HISTORY_LOST, "consul: %s%s%s", why,
		      key.n > 0 ? ": " : "",
		      key.n > 0 ? slice_print(key, text, sizeof text) : "");
	watch_fail(cw, &err);
}

/* ---- names --------------------------------------------------------------- */

static bool keep_name(const void *ctx, struct slice name)
{
	const struct consul_watch *cw = ctx;

	return cw->one_key ? slice_eq(name, cw->prefix)
			   : name.n > 0 && slice_starts(name, cw->prefix);
}

static int on_piece(struct http_call *call, const uint8_t *p, size_t n)
{
	struct consul_watch *cw = call->ctx;

	if (!cw->forced && cw->reader.state == 0) {
		cw->began_ms = sched_now(cw->c->st->sched);
	}
	return names_feed(&cw->reader, p, n);
}

static void begin_names(struct http_call *call)
{
	struct consul_watch *cw = call->ctx;

	names_free(&cw->fresh);
	cw->reader = (struct names_reader){
	    .out = &cw->fresh, .keep = keep_name, .ctx = cw};
}

void names_start(struct consul_watch *cw, bool wait,
		 void (*done)(struct http_call *call))
{
	struct http_call *call = &cw->call;

	consul_keys_path(cw->c, &call->path, cw->prefix, CONSUL_CONSISTENT,
			 wait ? cw->verified : 0, WATCH_WAIT_MS);
	/* A server adds up to a sixteenth to what it waits. */
	call->timeout_ms =
	    wait ? WATCH_WAIT_MS + WATCH_WAIT_MS / 16 + cw->c->http.timeout_ms
		 : 0;
	call->need_epoch = cw->epoch;
	call->gzip = true;
	call->data = on_piece;
	call->again = begin_names;
	call->done = done;
	call->ctx = cw;
	begin_names(call);
	http_start(&cw->c->http, call);
}

int names_taken(struct consul_watch *cw, struct http_call *call,
		uint64_t *index)
{
	struct kv_err err;
	int rv = http_check(call, true);

	if (rv == KV_OK && !watch_same_epoch(cw, call->epoch)) {
		return KV_NOT_REACHABLE;
	}
	if (rv == KV_OK && call->code == 200 &&
	    names_end(&cw->reader) != KV_OK) {
		rv = kv_fail(&call->err, cw->reader.status,
			     "consul: the list of names is not understood");
	}
	*index = call->index;
	err = call->err;
	http_call_reset(call);
	call->data = NULL;
	call->again = NULL;
	call->timeout_ms = 0;
	call->need_epoch = 0;
	call->gzip = false;
	if (rv != KV_OK) {
		watch_fail(cw, &err);
		return rv;
	}
	names_sort(&cw->fresh);
	return KV_OK;
}

/* ---- the plan ------------------------------------------------------------ */

static bool add_row(struct consul_watch *cw, uint64_t index, size_t pos,
		    bool gone)
{
	if (cw->plan_n == cw->plan_cap &&
	    !kv_grow((void **)&cw->plan, &cw->plan_cap, cw->plan_n + 1,
		     sizeof *cw->plan)) {
		return false;
	}
	cw->plan[cw->plan_n++] = (struct plan_row){
	    .index = index, .pos = (uint32_t)pos, .gone = gone};
	return true;
}

static struct slice row_key(const struct consul_watch *cw,
			    const struct plan_row *r)
{
	return names_at(r->gone ? &cw->gone : &cw->known, r->pos);
}

static int by_index(const void *a, const void *b, void *ctx)
{
	const struct plan_row *x = a, *y = b;

	if (x->index != y->index) {
		return x->index < y->index ? -1 : 1;
	}
	return slice_cmp(row_key(ctx, x), row_key(ctx, y));
}

static void finish(struct consul_watch *cw)
{
	uint64_t now = sched_now(cw->c->st->sched);

	if (cw->plan_n > 1) {
		qsort_r(cw->plan, cw->plan_n, sizeof *cw->plan, by_index, cw);
	}
	cw->verified = cw->target;
	cw->exact = false;
	cw->busy = cw->candidates > cw->known.n / 2;
	cw->took_ms = now - cw->began_ms;
	cw->ended_ms = now;
	watch_planned(cw);
}

/* ---- indexes of deletes -------------------------------------------------- */

static void tombstone_next(struct consul_watch *cw);

/* The list below a name that is gone has the index of its delete, for as long
 * as the server remembers, unless there are other names below. */
static void on_tombstone(struct http_call *call)
{
	struct consul_watch *cw = call->ctx;
	struct plan_row *row = &cw->plan[cw->at_gone];

	if (http_check(call, true) != KV_OK) {
		watch_fail(cw, &call->err);
		return;
	}
	if (!watch_same_epoch(cw, call->epoch)) {
		return;
	}
	if (call->index > cw->verified && call->index < row->index) {
		row->index = call->index;
	}
	http_call_reset(call);
	cw->at_gone++;
	tombstone_next(cw);
}

static void tombstone_next(struct consul_watch *cw)
{
	struct http_call *call = &cw->call;

	while (cw->at_gone < cw->plan_n && !cw->plan[cw->at_gone].gone) {
		cw->at_gone++;
	}
	if (cw->at_gone == cw->plan_n || cw->gone_n > EXACT_DELETES) {
		finish(cw);
		return;
	}
	consul_keys_path(cw->c, &call->path,
			 row_key(cw, &cw->plan[cw->at_gone]), CONSUL_CONSISTENT,
			 0, 0);
	call->done = on_tombstone;
	call->ctx = cw;
	http_start(&cw->c->http, call);
}

/* ---- checks -------------------------------------------------------------- */

/* All is looked at: what was fresh is known from here on. */
static void checked(struct consul_watch *cw)
{
	kv_free(cw->items);
	cw->items = NULL;
	kv_free(cw->marks);
	cw->marks = NULL;
	names_free(&cw->known);
	cw->known = cw->fresh;
	cw->fresh = (struct consul_names){0};
	cw->announce = cw->gone_n > 0;
	cw->at_gone = 0;
	if (cw->gone_n > 0 && cw->target == cw->verified) {
		fail_lost(cw, "keys went, and the index did not move",
			  row_key(cw, &cw->plan[0]));
		return;
	}
	tombstone_next(cw);
}

/* A key that is new to us has index `at`. */
static const char *judge_made(const struct consul_watch *cw, uint64_t at,
			      bool *changed)
{
	*changed = at > cw->verified;
	if (*changed) {
		return NULL;
	}
	if (!cw->exact) {
		return "a key appeared with an old index";
	}
	/* What the caller does not know may be old all the same. */
	return cw->w->known->complete
		   ? "a key is there that should have been known"
		   : NULL;
}

static const char *judge_known(const struct consul_watch *cw, uint64_t was,
			       uint64_t at, bool *changed)
{
	*changed = was == 0 ? at > cw->verified : at != was;
	if (was != 0 && at < was) {
		return "the index of a key went back";
	}
	if (*changed && at <= cw->verified) {
		return "a key changed before the index that all was told up "
		       "to";
	}
	return NULL;
}

/* False: the watch has failed. */
static bool take_item(struct consul_watch *cw, const struct consul_item *it)
{
	struct consul_name *name = &cw->fresh.names[it->pos];
	bool made = (cw->marks[it->pos] & MARK_MADE) != 0;
	const char *lost;
	uint64_t at;
	bool changed;

	if (it->state == ITEM_MISSING) {
		/* It went after the list was made; the next one lacks it. */
		name->index = made ? NAME_DEAD : name->index;
		return true;
	}
	lost = made ? judge_made(cw, it->index, &changed)
		    : judge_known(cw, name->index, it->index, &changed);
	if (lost != NULL) {
		fail_lost(cw, lost, it->key);
		return false;
	}
	name->index = it->index;
	if (!changed) {
		return true;
	}
	at = it->index;
	if (at > cw->target) {
		/* Newer than what this round stands for: told now as of its
		 * index, and once more by the next round with its own. */
		name->index =
		    made && cw->target == cw->verified ? NAME_DEAD : 0;
		at = cw->target;
	}
	if (at > cw->verified && !add_row(cw, at, it->pos, false)) {
		watch_fail_memory(cw);
		return false;
	}
	return true;
}

static bool take_gone(struct consul_watch *cw, const struct consul_item *it)
{
	if (it->state != ITEM_MISSING) {
		return true; /* there again: the next round finds it made */
	}
	cw->gone_n++;
	if (!add_row(cw, cw->target, it->pos, true)) {
		watch_fail_memory(cw);
		return false;
	}
	return true;
}

static void on_checked(struct fetch *f)
{
	struct consul_watch *cw =
	    kv_container_of(f, struct consul_watch, fetch);

	if (f->err.status != KV_OK) {
		watch_fail(cw, &f->err);
		return;
	}
	if (f->epoch != 0 && !watch_same_epoch(cw, f->epoch)) {
		return;
	}
	for (size_t i = 0; i < cw->n_items; i++) {
		const struct consul_item *it = &cw->items[i];
		bool gone = it->flags != 0;

		if (!(gone ? take_gone(cw, it) : take_item(cw, it))) {
			return;
		}
	}
	check_next(cw);
}

static void add_item(struct consul_watch *cw, const struct consul_names *x,
		     size_t pos, bool gone)
{
	struct consul_item *it = &cw->items[cw->n_items++];

	*it = (struct consul_item){
	    .key = names_at(x, pos), .pos = (uint32_t)pos, .flags = gone};
	if (!gone && (cw->marks[pos] & MARK_MADE) == 0) {
		it->expect = x->names[pos].index;
	}
}

static void check_next(struct consul_watch *cw)
{
	cw->n_items = 0;
	for (; cw->at_fresh < cw->fresh.n && cw->n_items < CHUNK;
	     cw->at_fresh++) {
		if (cw->marks[cw->at_fresh] != 0) {
			add_item(cw, &cw->fresh, cw->at_fresh, false);
		}
	}
	for (; cw->at_gone < cw->gone.n && cw->n_items < CHUNK; cw->at_gone++) {
		add_item(cw, &cw->gone, cw->at_gone, true);
	}
	if (cw->n_items == 0) {
		checked(cw);
		return;
	}
	cw->candidates += cw->n_items;
	cw->fetch = (struct fetch){.consul = cw->c,
				   .items = cw->items,
				   .n = cw->n_items,
				   .kind = FETCH_CHECK,
				   .how = CONSUL_CONSISTENT,
				   .done = on_checked};
	fetch_start(&cw->fetch);
}

void section_probe_done(struct consul_watch *cw)
{
	size_t most = KV_MIN(cw->fresh.n + cw->gone.n, (size_t)CHUNK);

	kv_free(cw->items);
	cw->items = kv_calloc(KV_MAX(most, 1), sizeof *cw->items);
	if (cw->items == NULL) {
		watch_fail_memory(cw);
		return;
	}
	cw->at_fresh = 0;
	cw->at_gone = 0;
	check_next(cw);
}

/* ---- made and gone ------------------------------------------------------- */

/* Merges known and fresh. False: no memory. */
static bool merge(struct consul_watch *cw)
{
	struct consul_names *old = &cw->known, *now = &cw->fresh;
	size_t i = 0, k = 0;

	while (i < old->n || k < now->n) {
		int cmp;

		if (i < old->n && old->names[i].index == NAME_DEAD) {
			i++;
			continue;
		}
		cmp = i == old->n ? 1
		      : k == now->n
			  ? -1
			  : slice_cmp(names_at(old, i), names_at(now, k));
		if (cmp < 0) {
			if (!names_add(&cw->gone, names_at(old, i), 0)) {
				return false;
			}
		} else if (cmp > 0) {
			cw->marks[k] = MARK_MADE;
		} else {
			now->names[k].index = old->names[i].index;
		}
		cw->known_n += cmp <= 0;
		i += cmp <= 0;
		k += cmp >= 0;
	}
	return true;
}

static void compare(struct consul_watch *cw)
{
	names_free(&cw->gone);
	cw->gone_n = 0;
	cw->known_n = 0;
	cw->plan_n = 0;
	cw->plan_at = 0;
	cw->candidates = 0;
	kv_free(cw->marks);
	cw->marks = kv_calloc(KV_MAX(cw->fresh.n, 1), 1);
	if (cw->marks == NULL || cw->fresh.n > UINT32_MAX) {
		watch_fail_memory(cw);
		return;
	}
	if (cw->blank) {
		/* Nobody knows what there was: nothing is made or gone, and
		 * what changed later than the index is told. */
		cw->blank = false;
		cw->known_n = cw->fresh.n;
	} else if (!merge(cw)) {
		watch_fail_memory(cw);
		return;
	}
	if (cw->fresh.n > WATCH_SECTION && !cw->exact && !cw->busy) {
		section_probe_start(cw);
		return;
	}
	for (size_t i = 0; i < cw->fresh.n; i++) {
		cw->marks[i] |= MARK_LOOK;
	}
	section_probe_done(cw);
}

/* ---- what the caller knows ----------------------------------------------- */

static void ask_known(struct consul_watch *cw)
{
	cw->asking = true;
	cw->w->known->next(cw->w->known, cw->known_after, on_known, cw);
}

/* What lies elsewhere, or cannot be here, is left out. */
static bool add_known(struct consul_watch *cw, const struct store_page *page)
{
	struct arena scratch = {0};
	bool ok = true;

	for (size_t i = 0; i < page->n && ok; i++) {
		struct slice key =
		    consul_stored(cw->c, &scratch, page->pairs[i].key);

		ok = key.p != NULL &&
		     (!keep_name(cw, key) ||
		      names_add(&cw->known, key, page->pairs[i].index));
	}
	arena_free(&scratch);
	return ok;
}

/* The last key of the page, to go on from. */
static bool note_after(struct consul_watch *cw, const struct store_page *page)
{
	arena_reset(&cw->after_arena);
	cw->known_after =
	    slice_dup(&cw->after_arena, page->pairs[page->n - 1].key);
	return cw->known_after.p != NULL;
}

static void on_known(void *ctx, int status, struct store_page *page)
{
	struct consul_watch *cw = ctx;
	struct kv_err err;
	bool more;
	bool ok;

	cw->asking = false;
	if (cw->ended || cw->next == NULL) {
		store_page_free(page);
		if (cw->ended) {
			watch_ended(cw);
		}
		return;
	}
	if (status != KV_OK) {
		(void)kv_fail(&err, status,
			      "consul: the list of known keys cannot be read");
		watch_fail(cw, &err);
		return;
	}
	more = page->more && page->n > 0;
	ok = add_known(cw, page) && (!more || note_after(cw, page));
	store_page_free(page);
	if (!ok) {
		watch_fail_memory(cw);
	} else if (more) {
		ask_known(cw);
	} else {
		cw->exact = true;
		cw->asked = true;
		names_sort(&cw->known);
		compare(cw);
	}
}

/* ---- the beginning ------------------------------------------------------- */

static void on_names(struct http_call *call)
{
	struct consul_watch *cw = call->ctx;
	uint64_t index;

	if (names_taken(cw, call, &index) != KV_OK) {
		return;
	}
	if (!cw->forced && index <= cw->verified) {
		/* Nothing for so long, or the index went back: what the whole
		 * store's says. */
		watch_round_start(cw, true);
		return;
	}
	if (!cw->forced && call->code != 200) {
		cw->began_ms = sched_now(cw->c->st->sched);
	}
	cw->target = KV_MAX(cw->forced ? cw->global : 0, index);
	if (cw->target < cw->verified) {
		fail_lost(cw, "the index went back", (struct slice){0});
	} else if (cw->w->known != NULL && !cw->asked && !cw->one_key) {
		ask_known(cw);
	} else {
		compare(cw);
	}
}

static void on_index(struct http_call *call)
{
	struct consul_watch *cw = call->ctx;

	if (http_check(call, true) != KV_OK) {
		watch_fail(cw, &call->err);
		return;
	}
	if (!watch_same_epoch(cw, call->epoch)) {
		return;
	}
	cw->global = call->index;
	http_call_reset(call);
	if (cw->global < cw->verified) {
		fail_lost(cw, "the store's index went back", (struct slice){0});
		return;
	}
	names_start(cw, false, on_names);
}

void watch_round_start(struct consul_watch *cw, bool forced)
{
	cw->forced = forced;
	cw->began_ms = sched_now(cw->c->st->sched);
	if (!forced) {
		names_start(cw, true, on_names);
		return;
	}
	consul_index_path(cw->c, &cw->call.path, CONSUL_CONSISTENT);
	cw->call.done = on_index;
	cw->call.ctx = cw;
	http_start(&cw->c->http, &cw->call);
}
