/* fake_world.c: see fake_world.h. */
#include "fake_world.h"

#include <stdio.h>

#include "fake_store.h"

void fake_world_init(struct fake_world *w, const char *name,
		     struct sim_sched *s, struct region *region)
{
	*w = (struct fake_world){.name = name,
				 .sched = s,
				 .region = region,
				 .index = 1,
				 .born = 1,
				 .compacted = 1};
	list_init(&w->stores);
	list_init(&w->late_writes);
	(void)snprintf(w->identity, sizeof w->identity, "%s-1", name);
}

/* ---- keys
 * ------------------------------------------------------------------*/

static size_t lower_bound(const struct fake_world *w, struct slice key)
{
	size_t low = 0, high = w->n_keys;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (slice_cmp(w->keys[mid]->key, key) < 0) {
			low = mid + 1;
		} else {
			high = mid;
		}
	}
	return low;
}

struct fake_key *fake_find(const struct fake_world *w, struct slice key)
{
	size_t i = lower_bound(w, key);

	return i < w->n_keys && slice_eq(w->keys[i]->key, key) ? w->keys[i]
							       : NULL;
}

static struct fake_rev *add_rev(struct fake_world *w, struct fake_key *k)
{
	region_grow(w->region, (void **)&k->revs, &k->cap, k->n + 1,
		    sizeof *k->revs);
	k->revs[k->n] = (struct fake_rev){.era = w->era, .index = w->index};
	return &k->revs[k->n++];
}

static struct fake_key *make_key(struct fake_world *w, struct slice key)
{
	size_t i = lower_bound(w, key);
	struct fake_key *k;

	if (i < w->n_keys && slice_eq(w->keys[i]->key, key)) {
		return w->keys[i];
	}
	k = region_alloc(w->region, sizeof *k);
	k->key = region_dup(w->region, key);
	/* Absent since the era began. */
	add_rev(w, k)->start = true;
	k->revs[0].index = 0;
	region_grow(w->region, (void **)&w->keys, &w->cap_keys, w->n_keys + 1,
		    sizeof *w->keys);
	memmove(&w->keys[i + 1], &w->keys[i],
		(w->n_keys - i) * sizeof *w->keys);
	w->keys[i] = k;
	w->n_keys++;
	return k;
}

const struct fake_rev *fake_now(const struct fake_key *key)
{
	return &key->revs[key->n - 1];
}

const struct fake_rev *fake_at(const struct fake_world *w,
			       const struct fake_key *key, uint64_t index)
{
	for (size_t i = key->n; i > 0; i--) {
		const struct fake_rev *r = &key->revs[i - 1];

		if (r->era != w->era) {
			break;
		}
		if (r->start || r->index <= index) {
			return r->present ? r : NULL;
		}
	}
	return NULL;
}

void fake_split(struct slice whole, struct slice *value, struct slice *attrs)
{
	const uint8_t *at =
	    whole.n == 0 ? NULL : memchr(whole.p, FAKE_ATTRS, whole.n);

	*value = whole;
	*attrs = slice_of(NULL, 0);
	if (at != NULL) {
		value->n = (size_t)(at - whole.p);
		*attrs = slice_of(at + 1, whole.n - value->n - 1);
	}
}

/* ---- transactions
 * ----------------------------------------------------------*/

void fake_begin(struct fake_world *w)
{
	struct fake_tx *tx;

	PRE(!w->in_tx);
	w->in_tx = true;
	w->index++;
	region_grow(w->region, (void **)&w->txs, &w->cap_txs, w->n_txs + 1,
		    sizeof *w->txs);
	tx = &w->txs[w->n_txs++];
	*tx = (struct fake_tx){.index = w->index, .era = w->era};
}

static struct fake_rev *change(struct fake_world *w, struct fake_key *k,
			       enum fake_writer writer)
{
	struct fake_tx *tx = &w->txs[w->n_txs - 1];
	struct fake_rev *r = add_rev(w, k);

	PRE(w->in_tx);
	r->writer = (uint8_t)writer;
	region_grow(w->region, (void **)&tx->events, &tx->cap, tx->n + 1,
		    sizeof *tx->events);
	tx->events[tx->n++] = (struct fake_event){k, k->n - 1};
	return r;
}

void fake_put(struct fake_world *w, struct slice key, struct slice value,
	      enum fake_writer writer)
{
	struct fake_key *k = make_key(w, key);
	struct fake_rev before = *fake_now(k);
	struct fake_rev *r = change(w, k, writer);

	r->present = true;
	r->value = region_dup(w->region, value);
	r->created = before.present ? before.created : r->index;
	r->version.a = r->index;
	if (w->kind.czxid) {
		r->version.a = before.present ? before.version.a + 1 : 1;
		r->version.b = r->created;
	}
}

void fake_delete(struct fake_world *w, struct slice key,
		 enum fake_writer writer)
{
	struct fake_key *k = fake_find(w, key);

	if (k != NULL && fake_now(k)->present) {
		(void)change(w, k, writer);
	}
}

void fake_end(struct fake_world *w)
{
	PRE(w->in_tx);
	w->in_tx = false;
	fake_stores_wake(w);
}

/* ---- what servers suffer
 * ---------------------------------------------------*/

void fake_compact(struct fake_world *w, uint64_t index)
{
	PRE(index <= w->index);
	if (index > w->compacted) {
		w->compacted = index;
		w->counts->compactions++;
	}
}

static void kill_late_writes(struct fake_world *w)
{
	struct list *l;

	while ((l = list_pop_front(&w->late_writes)) != NULL) {
		fake_late_kill(l);
	}
}

void fake_restore(struct fake_world *w, uint64_t index, bool new_identity)
{
	PRE(index == 0 || index >= w->born);
	FAKE_TRACE(w, "%s: era %u: index %llu goes back to %llu, %s identity",
		   w->name, w->era + 1, (unsigned long long)w->index,
		   (unsigned long long)index, new_identity ? "new" : "same");
	kill_late_writes(w);
	for (size_t i = 0; i < w->n_keys; i++) {
		const struct fake_rev *r =
		    index == 0 ? NULL : fake_at(w, w->keys[i], index);
		struct fake_rev start = {.index = 0};

		if (r != NULL) {
			start = *r;
		}
		start.era = w->era + 1;
		start.start = true;
		*add_rev(w, w->keys[i]) = start;
	}
	w->era++;
	w->index = KV_MAX(index, 1);
	w->born = w->index;
	w->compacted = w->index;
	if (new_identity) {
		(void)snprintf(w->identity, sizeof w->identity, "%s-%u",
			       w->name, w->era + 1);
	} else {
		w->counts->same_identity++;
	}
	*(index == 0 ? &w->counts->wipes : &w->counts->restores) += 1;
	fake_cut(w);
}

void fake_cut(struct fake_world *w)
{
	fake_stores_cut(w);
}

void fake_forget_agent(struct fake_world *w)
{
	fake_stores_forget(w);
}

void fake_settle(struct fake_world *w)
{
	struct list *l;

	while ((l = list_pop_front(&w->late_writes)) != NULL) {
		fake_late_land(l);
	}
}
