/* test_etcd_events.c: what a watch hands out, and when: transactions whole,
 * fragments, parts of what is too large, progress, the count of keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "store/etcd/etcd_events.h"
#include "tests/lib/sweep.h"

static const struct etcd_keys keys = {{(const uint8_t *)"/p", 2}, false};

/* A message in the making. */
struct maker {
	struct arena arena;
	Etcdserverpb__WatchResponse m;
	Etcdserverpb__Event *events[4096];
};

static void *make(struct maker *k, size_t n)
{
	void *p = arena_alloc(&k->arena, n);

	assert_non_null(p);
	return memset(p, 0, n);
}

static void start(struct maker *k)
{
	memset(k, 0, sizeof *k);
	etcdserverpb__watch_response__init(&k->m);
}

/* created: the revision in which the key came to be; 0: a delete. */
static void event(struct maker *k, const char *key, size_t value_n,
		  int64_t revision, int64_t created)
{
	Etcdserverpb__Event *ev = make(k, sizeof *ev);

	etcdserverpb__event__init(ev);
	ev->kv = make(k, sizeof *ev->kv);
	etcdserverpb__key_value__init(ev->kv);
	ev->kv->key.len = strlen(key);
	ev->kv->key.data = make(k, strlen(key) + 1);
	memcpy(ev->kv->key.data, key, strlen(key));
	ev->kv->value.len = value_n;
	ev->kv->value.data = make(k, value_n + 1);
	memset(ev->kv->value.data, 'v', value_n);
	ev->kv->mod_revision = revision;
	ev->kv->create_revision = created;
	ev->type = created == 0 ? ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE
				: ETCDSERVERPB__EVENT__EVENT_TYPE__PUT;
	k->events[k->m.n_events++] = ev;
}

static int send(struct maker *k, struct etcd_events *e, bool fragment)
{
	struct kv_err err;

	k->m.fragment = fragment;
	k->m.events =
	    make(k, KV_MAX(k->m.n_events, (size_t)1) * sizeof(*k->m.events));
	memcpy(k->m.events, k->events, k->m.n_events * sizeof(*k->m.events));
	return etcd_events_add(e, &k->m, &k->arena, &err);
}

/* One message of one event. */
static void one(struct etcd_events *e, const char *key, int64_t revision,
		int64_t created, bool fragment)
{
	struct maker *k = kv_malloc(sizeof *k);

	assert_non_null(k);
	start(k);
	event(k, key, 3, revision, created);
	assert_int_equal(send(k, e, fragment), KV_OK);
	kv_free(k);
}

static struct store_batch *take(struct etcd_events *e, bool force)
{
	struct store_batch *b;

	assert_int_equal(etcd_events_take(e, force, &b), KV_OK);
	return b;
}

static void expect(const struct store_batch *b, size_t i, const char *key,
		   enum store_action action, uint64_t index, bool tx_end)
{
	const struct store_change *c;

	assert_non_null(b);
	assert_true(i < b->n);
	c = &b->changes[i];
	assert_true(slice_eq(c->key, slice_str(key)));
	assert_int_equal(c->action, action);
	assert_int_equal(c->index, index);
	assert_int_equal(c->tx_end, tx_end);
	assert_int_equal(c->version.a, action == STORE_DELETE ? 0 : index);
	assert_int_equal(c->value.n, action == STORE_DELETE ? 0 : 3);
}

static void what_waits_goes_out_together(void **state)
{
	struct etcd_events e;
	struct store_batch *b;
	struct maker k;

	(void)state;
	etcd_events_init(&e, &keys, 10);
	start(&k);
	event(&k, "/p/a", 3, 11, 11);
	event(&k, "/p/b", 3, 11, 5);
	assert_int_equal(send(&k, &e, false), KV_OK);
	one(&e, "/p/a", 12, 0, false);
	one(&e, "/p/c", 15, 15, false);
	b = take(&e, false);
	expect(b, 0, "/a", STORE_SET, 11, false);
	expect(b, 1, "/b", STORE_UPDATE, 11, true);
	expect(b, 2, "/a", STORE_DELETE, 12, true);
	expect(b, 3, "/c", STORE_SET, 15, true);
	assert_int_equal(b->n, 4);
	assert_int_equal(b->index, 15);
	assert_false(b->partial);
	store_batch_free(b);
	assert_int_equal(e.count, 1);
	assert_int_equal(e.bytes, 0);
	assert_null(take(&e, false));
	etcd_events_free(&e);
}

static void an_open_revision_waits_for_its_end(void **state)
{
	struct etcd_events e;
	struct store_batch *b;

	(void)state;
	etcd_events_init(&e, &keys, 10);
	one(&e, "/p/a", 11, 11, true);
	assert_null(take(&e, false));
	one(&e, "/p/b", 12, 12, true);
	b = take(&e, false);
	expect(b, 0, "/a", STORE_SET, 11, true);
	assert_int_equal(b->n, 1);
	assert_int_equal(b->index, 11);
	store_batch_free(b);
	one(&e, "/p/c", 12, 12, false);
	b = take(&e, false);
	expect(b, 0, "/b", STORE_SET, 12, false);
	expect(b, 1, "/c", STORE_SET, 12, true);
	assert_int_equal(b->index, 12);
	store_batch_free(b);
	etcd_events_free(&e);
}

static void a_full_buffer_goes_out_in_parts(void **state)
{
	struct etcd_events e;
	struct store_batch *b;

	(void)state;
	etcd_events_init(&e, &keys, 10);
	one(&e, "/p/a", 11, 11, true);
	one(&e, "/p/b", 11, 11, true);
	b = take(&e, true);
	expect(b, 0, "/a", STORE_SET, 11, false);
	assert_int_equal(b->n, 1);
	assert_true(b->partial);
	assert_int_equal(b->index, 10);
	store_batch_free(b);
	/* /b is kept back: it might be the last one */
	assert_null(take(&e, true));
	one(&e, "/p/c", 12, 12, false);
	b = take(&e, false);
	expect(b, 0, "/b", STORE_SET, 11, true);
	expect(b, 1, "/c", STORE_SET, 12, true);
	assert_false(b->partial);
	assert_int_equal(b->index, 12);
	store_batch_free(b);
	etcd_events_free(&e);
}

/* One revision that is complete, and larger than any batch may be. */
static void a_huge_revision_goes_out_in_parts(void **state)
{
	struct etcd_events e;
	struct store_batch *b;
	struct maker *k = kv_malloc(sizeof *k);
	size_t i, all = 0, parts = 0;
	bool ended = false;

	(void)state;
	assert_non_null(k);
	etcd_events_init(&e, &keys, 10);
	start(k);
	for (i = 0; i < 20; i++) {
		event(k, "/p/k", 1024 * 1024, 11, 11);
	}
	assert_int_equal(send(k, &e, false), KV_OK);
	while ((b = take(&e, false)) != NULL) {
		assert_false(ended);
		all += b->n;
		parts++;
		assert_true(b->n <= 9);
		ended = b->changes[b->n - 1].tx_end;
		assert_int_equal(b->partial, !ended);
		assert_int_equal(b->index, ended ? 11 : 10);
		store_batch_free(b);
	}
	assert_true(ended);
	assert_int_equal(all, 20);
	assert_int_equal(parts, 3);
	etcd_events_free(&e);
	kv_free(k);
}

static void a_batch_ends_at_a_revision(void **state)
{
	struct etcd_events e;
	struct store_batch *b;
	struct maker *k = kv_malloc(sizeof *k);
	uint64_t index = 10;
	size_t i, all = 0;

	(void)state;
	assert_non_null(k);
	etcd_events_init(&e, &keys, index);
	for (i = 0; i < 10; i++) {
		start(k);
		for (size_t j = 0; j < 1500; j++) {
			event(k, "/p/k", 3, (int64_t)(11 + i), 11);
		}
		assert_int_equal(send(k, &e, false), KV_OK);
	}
	while ((b = take(&e, false)) != NULL) {
		assert_int_equal(b->n % 1500, 0);
		assert_true(b->n <= 6000);
		assert_int_equal(b->index, index + b->n / 1500);
		assert_true(b->changes[b->n - 1].tx_end);
		index = b->index;
		all += b->n;
		store_batch_free(b);
	}
	assert_int_equal(all, 15000);
	etcd_events_free(&e);
	kv_free(k);
}

static void progress_comes_behind_what_it_stands_for(void **state)
{
	struct etcd_events e;
	struct store_batch *b;

	(void)state;
	etcd_events_init(&e, &keys, 10);
	assert_int_equal(etcd_events_mark(&e, 20), KV_OK);
	assert_int_equal(etcd_events_mark(&e, 25), KV_OK);
	b = take(&e, false);
	assert_non_null(b);
	assert_int_equal(b->n, 0);
	assert_int_equal(b->index, 25);
	store_batch_free(b);
	/* nothing new in it */
	assert_int_equal(etcd_events_mark(&e, 25), KV_OK);
	assert_null(take(&e, false));
	one(&e, "/p/a", 30, 30, false);
	assert_int_equal(etcd_events_mark(&e, 33), KV_OK);
	one(&e, "/p/b", 34, 34, false);
	b = take(&e, false);
	assert_int_equal(b->n, 2);
	assert_int_equal(b->index, 34);
	store_batch_free(b);
	etcd_events_free(&e);
}

static void what_was_told_is_not_told_again(void **state)
{
	struct etcd_events e;
	struct store_batch *b;

	(void)state;
	etcd_events_init(&e, &keys, 10);
	one(&e, "/p/old", 9, 9, false);
	one(&e, "/p/old", 10, 10, false);
	assert_null(take(&e, false));
	assert_int_equal(e.count, 0);
	one(&e, "/p/new", 11, 11, false);
	one(&e, "/p/new", 11, 11, false);
	b = take(&e, false);
	assert_int_equal(b->n, 2); /* one transaction */
	store_batch_free(b);
	one(&e, "/p/new", 11, 11, false);
	assert_null(take(&e, false));
	etcd_events_free(&e);
}

static void the_key_at_the_prefix_is_not_told(void **state)
{
	struct etcd_events e;
	struct store_batch *b;

	(void)state;
	etcd_events_init(&e, &keys, 10);
	one(&e, "/p", 11, 11, false);
	b = take(&e, false); /* but the position is */
	assert_non_null(b);
	assert_int_equal(b->n, 0);
	assert_int_equal(b->index, 11);
	store_batch_free(b);
	etcd_events_free(&e);
}

static void unsound_messages_are_refused(void **state)
{
	struct etcd_events e;
	struct maker k;

	(void)state;
	etcd_events_init(&e, &keys, 10);
	start(&k);
	event(&k, "/p/a", 3, 12, 12);
	event(&k, "/p/b", 3, 11, 11);
	assert_int_equal(send(&k, &e, false), KV_BROKEN);
	start(&k);
	event(&k, "", 3, 12, 12);
	assert_int_equal(send(&k, &e, false), KV_BROKEN);
	start(&k);
	event(&k, "/p/a", 3, 12, 12);
	k.events[0]->kv = NULL;
	assert_int_equal(send(&k, &e, false), KV_BROKEN);
	assert_null(take(&e, false));
	etcd_events_free(&e);
}

/* The whole way, with each allocation failing once. */
static int run_with_failures(void *ctx)
{
	struct etcd_events e;
	struct store_batch *b = NULL;
	struct maker *k = ctx;
	struct kv_err err;
	char key[16];
	int rv = KV_OK;
	size_t i, j;

	etcd_events_init(&e, &keys, 10);
	for (i = 0; i < 3 && rv == KV_OK; i++) {
		start(k);
		for (j = 0; j < 40; j++) {
			static Etcdserverpb__KeyValue kv[40];
			static Etcdserverpb__Event ev[40];
			static char names[40][16];

			(void)snprintf(key, sizeof key, "/p/%zu", j);
			memcpy(names[j], key, sizeof key);
			etcdserverpb__event__init(&ev[j]);
			etcdserverpb__key_value__init(&kv[j]);
			kv[j].key = etcd_bytes(slice_str(names[j]));
			kv[j].mod_revision = (int64_t)(11 + i);
			ev[j].kv = &kv[j];
			k->events[j] = &ev[j];
		}
		k->m.n_events = 40;
		k->m.events = k->events;
		rv = etcd_events_add(&e, &k->m, &k->arena, &err);
		if (rv == KV_OK) {
			rv = etcd_events_mark(&e, 11 + i);
		}
		if (rv == KV_OK) {
			rv = etcd_events_take(&e, false, &b);
			store_batch_free(b);
			b = NULL;
		}
	}
	etcd_events_free(&e);
	return rv;
}

static void memory_may_be_out_anywhere(void **state)
{
	static struct maker k;

	(void)state;
	assert_true(sweep_run(run_with_failures, &k) > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_waits_goes_out_together),
	    cmocka_unit_test(an_open_revision_waits_for_its_end),
	    cmocka_unit_test(a_full_buffer_goes_out_in_parts),
	    cmocka_unit_test(a_huge_revision_goes_out_in_parts),
	    cmocka_unit_test(a_batch_ends_at_a_revision),
	    cmocka_unit_test(progress_comes_behind_what_it_stands_for),
	    cmocka_unit_test(what_was_told_is_not_told_again),
	    cmocka_unit_test(the_key_at_the_prefix_is_not_told),
	    cmocka_unit_test(unsound_messages_are_refused),
	    cmocka_unit_test(memory_may_be_out_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
