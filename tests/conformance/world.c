/* world.c: the surroundings of one test; see suite.h.
 *
 *   world_set_up -> loop, scheduler, registry, store under test
 *     test: calls (calls.c), watches (tail.c), further stores
 *   world_tear_down -> the backend made whole, watches and stores closed, every
 *     call looked at (called back as often as it must), the loop closes clean
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/conformance/suite.h"

enum { CLOSE_MS = 30000 };

struct opened {
	struct list link;
	struct store *st;
	unsigned closed; /* callbacks */
	unsigned *tell;	 /* may be NULL: counts them too */
	bool closing;
};

static const struct backend *chosen;
static void *chosen_env;
static unsigned serial;

void world_use(const struct backend *be)
{
	chosen = be;
}

int world_group_set_up(void **state)
{
	(void)state;
	chosen_env = chosen->set_up();
	return chosen_env == NULL ? -1 : 0;
}

int world_group_tear_down(void **state)
{
	(void)state;
	chosen->tear_down(chosen_env);
	chosen_env = NULL;
	return 0;
}

/* ---- the loop ------------------------------------------------------------*/

static void on_timer(uv_timer_t *timer)
{
	struct world *w = timer->data;

	w->expired = true;
}

bool world_run_until(struct world *w, const unsigned *flag, unsigned ms)
{
	w->expired = false;
	(void)uv_timer_start(&w->timer, on_timer, ms, 0);
	while (*flag == 0 && !w->expired) {
		(void)uv_run(&w->loop, UV_RUN_ONCE);
	}
	(void)uv_timer_stop(&w->timer);
	return *flag != 0;
}

void world_turns(struct world *w, unsigned n)
{
	while (n-- > 0) {
		(void)uv_run(&w->loop, UV_RUN_NOWAIT);
	}
}

/* ---- stores --------------------------------------------------------------*/

struct store *world_open_uri(struct world *w, const char *uri, unsigned flags,
			     struct kv_err *err)
{
	struct opened *o = calloc(1, sizeof *o);
	int rv;

	assert_non_null(o);
	list_init(&o->link);
	rv = store_open(&w->registry, w->sched, uri, flags, &o->st, err);
	assert_int_equal(rv, err->status);
	if (rv != KV_OK) {
		free(o);
		return NULL;
	}
	list_push_back(&w->stores, &o->link);
	return o->st;
}

struct store *world_open(struct world *w, const char *prefix)
{
	char uri[SUITE_URI_MAX];
	struct kv_err err = {0};
	struct store *st;

	w->be->uri(w->env, w->serial, prefix, uri, sizeof uri);
	st = world_open_uri(w, uri, STORE_CREATE, &err);
	if (st == NULL) {
		fail_msg("%s cannot be opened: %s", uri, err.text);
	}
	return st;
}

static struct opened *opened_of(struct world *w, struct store *st)
{
	for (struct list *l = w->stores.next; l != &w->stores; l = l->next) {
		struct opened *o = kv_container_of(l, struct opened, link);

		if (o->st == st) {
			return o;
		}
	}
	return NULL;
}

static void on_closed(void *ctx)
{
	struct opened *o = ctx;

	o->closed++;
	if (o->tell != NULL) {
		(*o->tell)++;
	}
}

void world_close_begin(struct world *w, struct store *st, unsigned *closed)
{
	struct opened *o = opened_of(w, st);

	assert_non_null(o);
	assert_false(o->closing);
	o->closing = true;
	o->tell = closed;
	store_close(st, on_closed, o);
}

static bool await_closed(struct world *w, struct opened *o)
{
	if (!o->closing) {
		o->closing = true;
		store_close(o->st, on_closed, o);
	}
	return world_run_until(w, &o->closed, CLOSE_MS);
}

void world_close(struct world *w, struct store *st)
{
	struct opened *o = opened_of(w, st);

	assert_non_null(o);
	if (!await_closed(w, o)) {
		fail_msg("the store does not close");
	}
}

/* ---- one test ------------------------------------------------------------*/

static int make_registry(struct world *w)
{
	struct kv_err err = {0};

	for (size_t i = 0; i < suite_n_backends; i++) {
		bool known = false;

		for (size_t k = 0; k < i; k++) {
			known |=
			    suite_backends[k]->ops == suite_backends[i]->ops;
		}
		if (!known &&
		    store_register(&w->registry, suite_backends[i]->ops,
				   &err) != KV_OK) {
			print_error("register: %s\n", err.text);
			return -1;
		}
	}
	return 0;
}

int world_set_up(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	if (w == NULL) {
		return -1;
	}
	w->be = chosen;
	w->env = chosen_env;
	w->serial = ++serial;
	list_init(&w->calls);
	list_init(&w->watches);
	list_init(&w->stores);
	arena_init(&w->arena);
	*state = w;
	if (uv_loop_init(&w->loop) != 0 ||
	    uv_timer_init(&w->loop, &w->timer) != 0) {
		return -1;
	}
	w->timer.data = w;
	w->sched = sched_uv_open(&w->loop);
	if (w->sched == NULL || make_registry(w) != 0) {
		return -1;
	}
	(void)snprintf(w->prefix, sizeof w->prefix, "/p");
	w->st = world_open(w, w->prefix);
	return 0;
}

static void free_call(struct call *c)
{
	switch (c->kind) {
	case CALL_SCAN:
		store_page_free(c->u.scan.page);
		break;
	case CALL_SINGLE:
		store_single_free(&c->u.single);
		break;
	case CALL_NEXT:
		store_batch_free(c->u.next.batch);
		break;
	case CALL_WRITE:
	case CALL_LOCK:
		break;
	}
	free(c);
}

/* Each call against its count; true when all is well. */
static bool end_calls(struct world *w)
{
	struct list *l;
	bool ok = true;

	while ((l = list_pop_front(&w->calls)) != NULL) {
		struct call *c = kv_container_of(l, struct call, link);

		if (c->called != c->expects || c->early) {
			print_error("a call of kind %d was called back %u "
				    "times instead of %u%s\n",
				    (int)c->kind, c->called, c->expects,
				    c->early ? ", from inside the call" : "");
			ok = false;
		}
		free_call(c);
	}
	return ok;
}

static bool end_stores(struct world *w)
{
	struct list *l;
	bool ok = true;

	while ((l = list_first(&w->stores)) != NULL) {
		struct opened *o = kv_container_of(l, struct opened, link);

		if (!await_closed(w, o)) {
			print_error("a store does not close\n");
			abort();
		}
		if (o->closed != 1) {
			print_error("a store said closed %u times\n",
				    o->closed);
			ok = false;
		}
		list_remove(&o->link);
		free(o);
	}
	return ok;
}

static void print_handle(uv_handle_t *h, void *arg)
{
	(void)arg;
	print_error("  a handle is left: %s%s\n", uv_handle_type_name(h->type),
		    uv_is_closing(h) ? " (closing)" : "");
}

/* All handles gone within bounds? */
static bool end_loop(struct world *w)
{
	uv_close((uv_handle_t *)&w->timer, NULL);
	for (int i = 0; i < 1000; i++) {
		if (uv_run(&w->loop, UV_RUN_NOWAIT) == 0 &&
		    uv_loop_close(&w->loop) == 0) {
			return true;
		}
	}
	print_error("the loop does not close\n");
	uv_walk(&w->loop, print_handle, NULL);
	return false;
}

int world_tear_down(void **state)
{
	struct world *w = *state;
	struct list *l;
	bool ok = true;

	if (w->be->thaw != NULL) {
		w->be->thaw(w->env);
	}
	if (w->be->start != NULL) {
		w->be->start(w->env);
	}
	while ((l = list_first(&w->watches)) != NULL) {
		struct tail *t = kv_container_of(l, struct tail, link);

		tail_close(t);
		list_remove(&t->link);
		free(t->changes);
		free(t);
	}
	ok &= end_stores(w);
	/* Whatever might still come, comes now: once too often is an error. */
	world_turns(w, 10);
	ok &= end_calls(w);
	store_registry_free(&w->registry);
	if (w->sched != NULL) {
		sched_uv_close(w->sched);
	}
	ok &= end_loop(w);
	arena_free(&w->arena);
	known_free(w);
	free(w);
	return ok ? 0 : -1;
}

/* ---- inputs --------------------------------------------------------------*/

struct slice world_copy(struct world *w, struct slice s)
{
	struct slice copy = slice_dup(&w->arena, s);

	assert_non_null(copy.p);
	return copy;
}

struct slice world_fill(struct world *w, size_t n, int c)
{
	void *p = arena_alloc(&w->arena, n == 0 ? 1 : n);

	assert_non_null(p);
	memset(p, c, n);
	return slice_of(p, n);
}

struct slice world_key(struct world *w, const char *fmt, ...)
{
	char buf[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof buf, fmt, ap);
	va_end(ap);
	assert_in_range(n, 0, sizeof buf - 1);
	return world_copy(w, slice_of(buf, (size_t)n));
}

struct store_op *world_ops(struct world *w, size_t n)
{
	struct store_op *ops = arena_alloc(&w->arena, n * sizeof *ops);

	assert_non_null(ops);
	memset(ops, 0, n * sizeof *ops);
	return ops;
}
