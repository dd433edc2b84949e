/* lab.c: see lab.h. */
#include "lab.h"

#include <stdio.h>
#include <stdlib.h>

#define TRIES 3

#define MUST(ok)                                                       \
	do {                                                           \
		if (!(ok)) {                                           \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, \
				      __LINE__, #ok);                  \
			abort();                                       \
		}                                                      \
	} while (0)

/* ---- the worlds
 * ------------------------------------------------------------*/

void lab_put(struct fake_world *w, const char *key, const char *value,
	     enum fake_writer writer)
{
	fake_begin(w);
	fake_put(w, slice_str(key), slice_str(value), writer);
	fake_end(w);
}

void lab_delete(struct fake_world *w, const char *key, enum fake_writer writer)
{
	fake_begin(w);
	fake_delete(w, slice_str(key), writer);
	fake_end(w);
}

const struct fake_rev *lab_now(const struct fake_world *w, struct slice key)
{
	const struct fake_key *k = fake_find(w, key);

	return k == NULL || !fake_now(k)->present ? NULL : fake_now(k);
}

bool lab_has(const struct fake_world *w, const char *key, const char *value)
{
	const struct fake_rev *r = lab_now(w, slice_str(key));

	return r != NULL && slice_eq(r->value, slice_str(value));
}

static void init_world(struct lab *l, struct fake_world *w, const char *name)
{
	struct store_caps *c = &w->kind.caps;
	bool source = w == &l->source;

	fake_world_init(w, name, &l->sched, &l->region);
	w->counts = &l->counts;
	w->mem = &l->mem;
	w->kind.at = l->kind.at;
	w->kind.watch_buffers = true;
	w->kind.latency = 2;
	c->atomic = l->kind.atomic;
	c->told_deletes = !source || l->kind.told;
	c->resumable = c->told_deletes;
	c->sorted_keys = true;
	c->hierarchical = !source && l->kind.percent;
	c->max_ops = 8;
	c->max_bytes = 4096;
	c->max_value = source ? 1 << 16 : 32;
	c->max_key = 48;
	c->write_timeout_ms = 200;
	c->scan_page = 3;
	sim_rand_init(&w->rand, 7, source ? 11 : 12);
}

void lab_init(struct lab *l, const struct lab_kind *kind)
{
	struct kv_err err = {0};

	memset(l, 0, sizeof *l);
	sim_mem_init(&l->mem, false);
	sim_mem_apart(&l->mem, true);
	l->mem.once = true;
	l->kind = *kind;
	sim_sched_init(&l->sched, 5);
	l->sched.fifo = true;
	init_world(l, &l->source, "source");
	init_world(l, &l->target, "target");
	l->sched.worlds[0] = &l->source;
	l->sched.worlds[1] = &l->target;
	(void)snprintf(l->name, sizeof l->name, "route");
	l->conf = (struct conf_route){.name = l->name};
	l->conf.conflict = kind->conflict;
	l->conf.escape = kind->percent ? CONF_ESCAPE_PERCENT : CONF_ESCAPE_NONE;
	l->conf.max_delete.kind = CONF_FUSE_PERCENT;
	l->conf.max_delete.n = 100;
	MUST(state_open("", STATE_MEMORY, &l->state, &err) == KV_OK);
}

/* ---- the agent
 * -------------------------------------------------------------*/

void lab_step(struct lab *l)
{
	(void)sim_mem_arm(&l->mem, true);
	if (!sim_sched_step(&l->sched)) {
		l->sched.now_ms += 1000;
	}
	(void)sim_mem_arm(&l->mem, false);
}

void lab_steps(struct lab *l, unsigned n)
{
	while (n-- > 0) {
		lab_step(l);
	}
}

static int open_store(struct lab *l, const char *uri, struct store **out)
{
	struct kv_err err = {0};

	return *out != NULL ? KV_OK
			    : store_open(&l->registry, &l->sched.base, uri,
					 STORE_CREATE, out, &err);
}

static int try_open(struct lab *l)
{
	struct route_params p = {.sched = &l->sched.base,
				 .state = l->state,
				 .conf = &l->conf,
				 .follow = true,
				 .gate = l->gate,
				 .batch_ops = 3,
				 .window = 2};
	struct kv_err err = {0};
	int rv = KV_OK;

	if (l->worker == NULL) {
		l->worker = worker_open(&l->sched.base, "state");
	}
	if (l->worker == NULL) {
		return KV_NO_MEMORY;
	}
	if (l->registry.n == 0) {
		rv = store_register(&l->registry, &fake_store_ops, &err);
	}
	rv = rv == KV_OK ? open_store(l, "fake://source:1", &l->from) : rv;
	rv = rv == KV_OK ? open_store(l, "fake://target:1", &l->to) : rv;
	if (rv != KV_OK) {
		return rv;
	}
	p.worker = l->worker;
	p.source = l->from;
	p.target = l->to;
	return route_open(&p, &l->route, &err);
}

void lab_start(struct lab *l)
{
	int rv = KV_NO_MEMORY;

	(void)sim_mem_arm(&l->mem, true);
	for (int i = 0; i < TRIES && rv != KV_OK; i++) {
		rv = try_open(l);
		MUST(rv == KV_OK || rv == KV_NO_MEMORY);
	}
	MUST(rv == KV_OK);
	route_start(l->route);
	(void)sim_mem_arm(&l->mem, false);
}

/* The state alone outlives it. */
void lab_crash(struct lab *l)
{
	struct kv_err err = {0};
	uint8_t *bytes, *copy;
	size_t n;

	MUST(state_dump(l->state, &bytes, &n, &err) == KV_OK);
	copy = region_dup(&l->region, slice_of(bytes, n)).p == NULL
		   ? NULL
		   : region_alloc(&l->region, n);
	memcpy(copy, bytes, n);
	fake_forget_agent(&l->source);
	fake_forget_agent(&l->target);
	sim_sched_forget_agent(&l->sched);
	kv_free(bytes);
	state_close(l->state);
	sim_mem_drop(&l->mem);
	l->registry = (struct store_registry){0};
	l->from = NULL;
	l->to = NULL;
	l->worker = NULL;
	l->route = NULL;
	MUST(state_from_dump(copy, n, &l->state, &err) == KV_OK);
}

static void part_closed(void *ctx)
{
	struct lab *l = ctx;

	l->closing--;
}

static void route_closed(void *ctx)
{
	struct lab *l = ctx;

	l->closing = 3;
	store_close(l->from, part_closed, l);
	store_close(l->to, part_closed, l);
	worker_close(l->worker, part_closed, l);
}

void lab_finish(struct lab *l)
{
	l->closing = 100;
	route_close(l->route, 5000, route_closed, l);
	for (unsigned i = 0; i < LAB_STEPS_MAX && l->closing > 0; i++) {
		lab_step(l);
	}
	MUST(l->closing == 0);
	store_registry_free(&l->registry);
	state_close(l->state);
	MUST(sim_sched_agent_gone(&l->sched));
	MUST(l->mem.n == 0);
	region_reset(&l->region);
	kv_mem_set_hooks(NULL);
}

bool lab_rests(const struct lab *l)
{
	struct route_status st;

	route_status(l->route, &st);
	return st.phase == ROUTE_FOLLOWING && st.saved == l->source.index;
}

bool lab_rest(struct lab *l)
{
	for (unsigned i = 0; i < LAB_STEPS_MAX && !lab_rests(l); i++) {
		lab_step(l);
	}
	return lab_rests(l);
}
