/* test_route_world.h: one route over two played stores (tests/simulation), with
 * a clock and an order of its own; what tests of the whole route share.
 *
 *   world_init -> set kinds, conf, keys -> start -> settle -> look -> finish
 */
#ifndef KV_TEST_ROUTE_WORLD_H
#define KV_TEST_ROUTE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/content.h"
#include "agent/route_int.h"
#include "store/base/log.h"
#include "tests/simulation/fake_store.h"

#define STEPS_MAX 20000

struct world {
	struct region region;
	struct sim_sched sched;
	struct fake_counts counts;
	struct fake_world source, target;
	char name[8];
	struct conf_route conf;
	unsigned store_flags;
	bool one_shot;
	struct state *state;
	struct store_registry registry;
	struct store *from, *to;
	struct worker *worker;
	struct route *route;
	unsigned closing;
	unsigned reconciles; /* times the phase was RECONCILING */
};

KV_UNUSED static void put(struct fake_world *w, const char *key,
			  const char *value, enum fake_writer writer)
{
	fake_begin(w);
	fake_put(w, slice_str(key), slice_str(value), writer);
	fake_end(w);
}

KV_UNUSED static void del(struct fake_world *w, const char *key,
			  enum fake_writer writer)
{
	fake_begin(w);
	fake_delete(w, slice_str(key), writer);
	fake_end(w);
}

KV_UNUSED static void init_side(struct world *w, struct fake_world *f,
				const char *name)
{
	struct store_caps *c = &f->kind.caps;

	fake_world_init(f, name, &w->sched, &w->region);
	f->counts = &w->counts;
	f->kind.at = true;
	f->kind.watch_buffers = true;
	c->atomic = true;
	c->told_deletes = true;
	c->resumable = true;
	c->sorted_keys = true;
	c->max_ops = 16;
	c->max_bytes = 1 << 16;
	c->max_value = 64;
	c->max_key = 200;
	c->write_timeout_ms = 200;
	c->scan_page = 50;
	sim_rand_init(&f->rand, 7, f == &w->source ? 11 : 12);
}

/* The source infers deletes, as one that re-lists. */
KV_UNUSED static void source_relists(struct world *w)
{
	w->source.kind.at = false;
	w->source.kind.caps.told_deletes = false;
	w->source.kind.caps.resumable = false;
}

KV_UNUSED static struct world *world_init(void)
{
	struct world *w = test_calloc(1, sizeof *w);
	struct kv_err err = {0};

	log_set_level(LOG_LEVEL_ERROR);
	sim_sched_init(&w->sched, 5);
	w->sched.fifo = true;
	init_side(w, &w->source, "source");
	init_side(w, &w->target, "target");
	w->sched.worlds[0] = &w->source;
	w->sched.worlds[1] = &w->target;
	(void)snprintf(w->name, sizeof w->name, "route");
	w->conf = (struct conf_route){.name = w->name};
	w->conf.max_delete.kind = CONF_FUSE_PERCENT;
	w->conf.max_delete.n = 100;
	assert_int_equal(state_open("", STATE_MEMORY, &w->state, &err), KV_OK);
	assert_int_equal(store_register(&w->registry, &fake_store_ops, &err),
			 KV_OK);
	return w;
}

KV_UNUSED static void step(struct world *w)
{
	if (!sim_sched_step(&w->sched)) {
		w->sched.now_ms += 1000;
	}
}

KV_UNUSED static void changed(struct route *r, void *ctx)
{
	struct world *w = ctx;
	struct route_status st;

	route_status(r, &st);
	w->reconciles += st.phase == ROUTE_RECONCILING;
}

KV_UNUSED static void start(struct world *w)
{
	struct kv_err err = {0};
	struct route_params p = {.sched = &w->sched.base,
				 .state = w->state,
				 .conf = &w->conf,
				 .follow = !w->one_shot,
				 .changed = changed,
				 .ctx = w};

	w->reconciles = 0;
	w->worker = worker_open(&w->sched.base, "state");
	assert_non_null(w->worker);
	assert_int_equal(store_open(&w->registry, &w->sched.base,
				    "fake://source:1", w->store_flags, &w->from,
				    &err),
			 KV_OK);
	assert_int_equal(store_open(&w->registry, &w->sched.base,
				    "fake://target:1", w->store_flags, &w->to,
				    &err),
			 KV_OK);
	p.worker = w->worker;
	p.source = w->from;
	p.target = w->to;
	assert_int_equal(route_open(&p, &w->route, &err), KV_OK);
	route_start(w->route);
}

KV_UNUSED static struct route_status status_of(const struct world *w)
{
	struct route_status st;

	route_status(w->route, &st);
	return st;
}

KV_UNUSED static bool rests(const struct world *w)
{
	struct route_status st = status_of(w);

	return st.phase == ROUTE_DONE ||
	       (st.phase == ROUTE_FOLLOWING && st.saved == w->source.index &&
		!w->route->trouble);
}

/* Until everything of the source is in the target and saved. */
KV_UNUSED static void settle(struct world *w)
{
	struct route_status st;

	for (unsigned i = 0; i < STEPS_MAX; i++) {
		if (rests(w)) {
			return;
		}
		step(w);
	}
	st = status_of(w);
	fail_msg("it does not settle: phase %s, saved %llu of %llu: %s%s",
		 route_phase_name(st.phase), (unsigned long long)st.saved,
		 (unsigned long long)w->source.index, st.error.text,
		 st.held == NULL ? "" : st.held);
}

KV_UNUSED static void reconcile_now(struct world *w)
{
	w->reconciles = 0;
	route_reconcile(w->route);
	for (unsigned i = 0; i < STEPS_MAX && w->reconciles == 0; i++) {
		step(w);
	}
	settle(w);
}

KV_UNUSED static void part_closed(void *ctx)
{
	((struct world *)ctx)->closing--;
}

KV_UNUSED static void route_closed(void *ctx)
{
	struct world *w = ctx;

	w->closing = 3;
	store_close(w->from, part_closed, w);
	store_close(w->to, part_closed, w);
	worker_close(w->worker, part_closed, w);
}

/* The agent ends; its state stays. */
KV_UNUSED static void stop(struct world *w)
{
	w->closing = 100;
	route_close(w->route, 5000, route_closed, w);
	for (unsigned i = 0; i < STEPS_MAX && w->closing > 0; i++) {
		step(w);
	}
	assert_int_equal(w->closing, 0);
	w->route = NULL;
}

KV_UNUSED static void world_finish(struct world *w)
{
	if (w->route != NULL) {
		stop(w);
	}
	store_registry_free(&w->registry);
	state_close(w->state);
	assert_true(sim_sched_agent_gone(&w->sched));
	region_free(&w->region);
	test_free(w);
}

/* What the side has at that key now; NULL: nothing. */
KV_UNUSED static const struct fake_rev *at(const struct fake_world *f,
					   struct slice key)
{
	const struct fake_key *k = fake_find(f, key);

	return k == NULL || !fake_now(k)->present ? NULL : fake_now(k);
}

KV_UNUSED static bool has(const struct fake_world *f, const char *key,
			  const char *value)
{
	const struct fake_rev *r = at(f, slice_str(key));

	return r == NULL
		   ? value == NULL
		   : value != NULL && slice_eq(r->value, slice_str(value));
}

#endif /* KV_TEST_ROUTE_WORLD_H */
