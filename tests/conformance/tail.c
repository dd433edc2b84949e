/* tail.c: a watch that is pulled, and the rules that hold for every batch of
 * every watch; see suite.h. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/conformance/suite.h"

static struct tail *new_tail(struct world *w, struct store *st,
			     struct store_watch_params *p)
{
	struct tail *t = calloc(1, sizeof *t);

	p->known = known_new(w, st, p->after);
	assert_non_null(t);
	list_init(&t->link);
	t->w = w;
	t->st = st;
	t->after = p->after;
	t->index = p->after;
	t->one_key = p->key.n > 0;
	t->watch = store_watch_open(st, p);
	assert_non_null(t->watch);
	list_push_back(&w->watches, &t->link);
	return t;
}

struct tail *tail_open(struct world *w, struct store *st, struct slice dir,
		       uint64_t after)
{
	struct store_watch_params p = {.dir = dir, .after = after};

	return new_tail(w, st, &p);
}

struct tail *tail_open_key(struct world *w, struct store *st, struct slice key,
			   uint64_t after)
{
	struct store_watch_params p = {.key = key, .after = after};

	return new_tail(w, st, &p);
}

/* Where names are paths and only the last change of each is told, a name that
 * was never more than a parent may be told as gone: it is no key. */
static bool is_parent_gone(const struct tail *t, const struct store_change *ch)
{
	return ch->action == STORE_DELETE && !t->w->be->every_change &&
	       store_capabilities(t->st)->hierarchical &&
	       !known_ever(t->w, t->st, ch->key);
}

static void add_change(struct tail *t, const struct store_change *ch)
{
	t->ends += ch->tx_end;
	if (is_parent_gone(t, ch)) {
		return;
	}
	if (t->n == t->cap) {
		t->cap = t->cap == 0 ? 64 : t->cap * 2;
		t->changes = realloc(t->changes, t->cap * sizeof *t->changes);
		assert_non_null(t->changes);
	}
	t->changes[t->n] = *ch;
	t->changes[t->n].key = world_copy(t->w, ch->key);
	t->changes[t->n].value = world_copy(t->w, ch->value);
	t->n++;
	t->inferred |= ch->inferred;
}

static void check_change(const struct tail *t, const struct store_change *ch,
			 uint64_t last)
{
	const struct store_version none = {0, 0};

	assert_true(ch->key.n > 0 && ch->key.p[0] == '/');
	if (ch->index < last) {
		fail_msg("index %llu after %llu", (unsigned long long)ch->index,
			 (unsigned long long)last);
	}
	if (ch->index <= t->init) {
		fail_msg("a change of index %llu, at or before the %llu that "
			 "the watch went on from",
			 (unsigned long long)ch->index,
			 (unsigned long long)t->init);
	}
	if (ch->action == STORE_DELETE) {
		assert_int_equal(ch->value.n, 0);
		assert_true(store_version_eq(ch->version, none));
		return;
	}
	assert_true(ch->action == STORE_SET || ch->action == STORE_UPDATE);
	assert_false(ch->inferred);
	assert_false(store_version_eq(ch->version, none));
}

/* Who it is may be unknown where names are paths and there is none yet; never
 * again after it was known. */
static void check_origin(struct tail *t, const struct store_origin *o)
{
	assert_true(o->epoch >= 1);
	assert_true(o->index >= 1);
	assert_true(memchr(o->identity, '\0', sizeof o->identity) != NULL);
	assert_true(
	    o->identity[0] != '\0' ||
	    (!t->identified && store_capabilities(t->st)->hierarchical));
	t->identified |= o->identity[0] != '\0';
}

static void take_init(struct tail *t, const struct store_batch *b)
{
	t->seen_init = true;
	t->init = b->index;
	assert_true(b->index >= t->after);
	assert_false(b->partial);
	assert_true(b->n <= (t->one_key ? 1 : 0));
	for (size_t i = 0; i < b->n; i++) {
		assert_int_equal(b->changes[i].action, STORE_GET);
		assert_true(b->changes[i].index <= b->index);
		add_change(t, &b->changes[i]);
	}
}

static void check_end(const struct store_batch *b)
{
	const struct store_change *last = &b->changes[b->n - 1];

	if (b->partial) {
		/* Resuming there gives the whole transaction again. */
		assert_true(b->index < last->index);
		assert_false(last->tx_end);
	} else {
		assert_true(b->index >= last->index);
		assert_true(last->tx_end);
	}
}

int tail_take(struct tail *t, struct call *c)
{
	struct store_batch *b = c->u.next.batch;
	uint64_t last = t->n > 0 ? t->changes[t->n - 1].index : 0;

	t->from = t->n;
	if (c->status != KV_OK) {
		assert_null(b);
		return c->status;
	}
	assert_non_null(b);
	check_origin(t, &b->origin);
	assert_true(b->index >= t->index);
	assert_int_equal(b->init, !t->seen_init);
	assert_true(b->origin.epoch >= t->epoch);
	t->epoch = b->origin.epoch;
	if (b->init) {
		take_init(t, b);
	} else {
		for (size_t i = 0; i < b->n; i++) {
			check_change(t, &b->changes[i], last);
			last = b->changes[i].index;
			add_change(t, &b->changes[i]);
		}
		if (b->n > 0) {
			check_end(b);
		}
	}
	assert_true(b->inferred_deletes <= b->known_keys);
	t->index = b->index;
	store_batch_free(b);
	c->u.next.batch = NULL;
	return KV_OK;
}

int tail_pull(struct tail *t, uint64_t want)
{
	struct call *c = start_next(t->w, t->watch, want);

	call_wait(c);
	return tail_take(t, c);
}

void tail_until(struct tail *t, uint64_t index)
{
	while (!t->seen_init || t->index < index) {
		expect_code(tail_pull(t, index), KV_OK);
	}
}

void tail_count(struct tail *t, size_t n)
{
	while (!t->seen_init || t->n < n) {
		expect_code(tail_pull(t, 0), KV_OK);
	}
}

void tail_init(struct tail *t)
{
	assert_false(t->seen_init);
	expect_code(tail_pull(t, 0), KV_OK);
	assert_true(t->seen_init);
}

void tail_close(struct tail *t)
{
	if (t->watch != NULL) {
		store_watch_close(t->watch);
		t->watch = NULL;
	}
}

const struct store_change *tail_last(const struct tail *t, struct slice key)
{
	for (size_t i = t->n; i > 0; i--) {
		if (slice_eq(t->changes[i - 1].key, key)) {
			return &t->changes[i - 1];
		}
	}
	return NULL;
}

size_t tail_count_key(const struct tail *t, struct slice key)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		n += slice_eq(t->changes[i].key, key);
	}
	return n;
}
