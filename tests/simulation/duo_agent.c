/* duo_agent.c: the agent under test: both routes, started, crashed, closed; and
 * its state, which alone outlives it. */
#include <stdlib.h>

#include "agent/route_int.h"
#include "duo.h"
#include "fake_store.h"

/* ---- the state
 * --------------------------------------------------------------*/

static struct duo *current;

void duo_wrap_set(struct duo *d)
{
	current = d;
}

int __real_state_commit(struct state *st, const struct state_commit *c,
			struct kv_err *err);
int __wrap_state_commit(struct state *st, const struct state_commit *c,
			struct kv_err *err);

/* Which of the routes has that row in the state? */
static size_t number_of(const struct duo *d, int64_t route)
{
	for (size_t i = 0; i < 2; i++) {
		const struct route *r = d->agent.routes[i];

		if (r != NULL && r->env.route == route) {
			return i;
		}
	}
	return 2;
}

static void tell(struct duo *d, const struct state_commit *c)
{
	size_t mine = number_of(d, c->route);
	size_t twin = number_of(d, c->twin);

	if (c->n_rows > 0 && mine < 2) {
		duo_saved(d, mine, c->rows, c->n_rows);
	}
	if (c->n_twin_rows > 0 && twin < 2) {
		duo_saved(d, twin, c->twin_rows, c->n_twin_rows);
	}
	for (size_t i = 0; i < c->n_conflicts; i++) {
		duo_journaled(d, c->conflicts[i].key);
	}
	duo_intents(d);
}

int __wrap_state_commit(struct state *st, const struct state_commit *c,
			struct kv_err *err)
{
	bool was;
	int rv;

	if (current != NULL &&
	    current->sched.now_ms < current->full_disk_until_ms) {
		current->counts->full_disks++;
		return kv_fail(err, KV_NO_SPACE, "state: the disk is full");
	}
	rv = __real_state_commit(st, c, err);
	if (rv == KV_OK && current != NULL) {
		was = sim_mem_arm(current->mem, false);
		tell(current, c);
		(void)sim_mem_arm(current->mem, was);
	}
	return rv;
}

int __real_state_begin(struct state *st, int64_t route,
		       const struct slice *keys, size_t n,
		       struct state_row *rows,
		       const struct state_intent *intents, size_t n_intents,
		       uint64_t wall_ms, int64_t *intent_id,
		       struct kv_err *err);
int __wrap_state_begin(struct state *st, int64_t route,
		       const struct slice *keys, size_t n,
		       struct state_row *rows,
		       const struct state_intent *intents, size_t n_intents,
		       uint64_t wall_ms, int64_t *intent_id,
		       struct kv_err *err);

int __wrap_state_begin(struct state *st, int64_t route,
		       const struct slice *keys, size_t n,
		       struct state_row *rows,
		       const struct state_intent *intents, size_t n_intents,
		       uint64_t wall_ms, int64_t *intent_id, struct kv_err *err)
{
	int rv = __real_state_begin(st, route, keys, n, rows, intents,
				    n_intents, wall_ms, intent_id, err);
	bool was;

	if (rv == KV_OK && current != NULL && n_intents > 0) {
		was = sim_mem_arm(current->mem, false);
		duo_intents(current);
		(void)sim_mem_arm(current->mem, was);
	}
	return rv;
}

static uint8_t *copy_state(struct duo *d, size_t *n)
{
	uint8_t *bytes, *copy;
	struct kv_err err = {0};

	if (state_dump(d->state, &bytes, n, &err) != KV_OK) {
		duo_fail(d, "state_dump: %s", err.text);
		return NULL;
	}
	copy = malloc(*n);
	if (copy == NULL) {
		abort();
	}
	memcpy(copy, bytes, *n);
	kv_free(bytes);
	return copy;
}

static void open_state(struct duo *d, const uint8_t *bytes, size_t n)
{
	struct kv_err err = {0};

	PRE(d->state == NULL);
	if (state_from_dump(bytes, n, &d->state, &err) != KV_OK) {
		duo_fail(d, "state_from_dump: %s", err.text);
	}
}

/* ---- start
 * ------------------------------------------------------------------*/

static void changed(struct route *r, void *ctx)
{
	struct duo *d = ctx;
	struct route_status st;

	route_status(r, &st);
	duo_trace(
	    d, "%s: phase %s%s%s%s%s%s", st.name, route_phase_name(st.phase),
	    r->env.replaced ? " (replaced)" : "",
	    st.held == NULL ? "" : ", held: ", st.held == NULL ? "" : st.held,
	    st.error.status == KV_OK ? "" : ", error: ",
	    st.error.status == KV_OK ? "" : st.error.text);
}

static int open_stores(struct duo *d, struct kv_err *err)
{
	static const char *const uris[2] = {"fake://left:1", "fake://right:1"};
	struct duo_agent *a = &d->agent;
	unsigned flags = STORE_CREATE | (d->plan.attrs ? STORE_ATTRS : 0);
	int rv;

	a->registry = (struct store_registry){0};
	rv = store_register(&a->registry, &fake_store_ops, err);
	for (size_t i = 0; i < 4 && rv == KV_OK; i++) {
		size_t route = i / 2, end = i % 2;

		rv = store_open(&a->registry, &d->sched.base,
				uris[route == end ? 0 : 1], flags,
				&a->stores[route][end], err);
	}
	return rv;
}

static int open_route(struct duo *d, size_t i, struct kv_err *err)
{
	struct duo_agent *a = &d->agent;
	struct route_params p = {.sched = &d->sched.base,
				 .worker = a->worker,
				 .state = d->state,
				 .conf = &d->conf[i],
				 .source = a->stores[i][0],
				 .target = a->stores[i][1],
				 .follow = true,
				 .batch_ops = d->batch_ops[i],
				 .window = d->window[i],
				 .changed = changed,
				 .ctx = d};

	return route_open(&p, &a->routes[i], err);
}

void duo_start(struct duo *d)
{
	struct duo_agent *a = &d->agent;
	struct kv_err err = {0};
	size_t first = (size_t)sim_below(&d->rand, 2);

	PRE(a->life == DUO_DOWN);
	if (d->state == NULL) {
		open_state(d, d->template_bytes, d->template_n);
	}
	a->worker = worker_open(&d->sched.base, "state");
	if (a->worker == NULL || open_stores(d, &err) != KV_OK ||
	    open_route(d, first, &err) != KV_OK ||
	    open_route(d, 1 - first, &err) != KV_OK ||
	    route_pair(a->routes[0], a->routes[1], d->plan.prefer_left, &err) !=
		KV_OK) {
		duo_fail(d, "start: %s", err.text);
		return;
	}
	duo_trace(d, "agent: start");
	d->counts->starts++;
	a->life = DUO_UP;
	a->open_routes = 2;
	route_start(a->routes[first]);
	route_start(a->routes[1 - first]);
	duo_look(d);
}

void duo_look(struct duo *d)
{
	for (size_t i = 0; i < 2; i++) {
		if (d->agent.routes[i] != NULL) {
			route_status(d->agent.routes[i], &d->agent.status[i]);
		}
	}
}

/* ---- crash
 * ------------------------------------------------------------------*/

void duo_crash(struct duo *d)
{
	uint8_t *bytes;
	size_t n;
	bool older = d->old_state != NULL && sim_chance(&d->rand, 1, 3);

	PRE(d->agent.life != DUO_DOWN);
	d->counts->crashes++;
	duo_trace(d, "agent: crash%s", older ? ", an older state" : "");
	bytes = copy_state(d, &n);
	for (size_t i = 0; i < 2; i++) {
		fake_forget_agent(&d->worlds[i]);
	}
	sim_sched_forget_agent(&d->sched);
	state_close(d->state);
	d->state = NULL;
	sim_mem_drop(d->mem);
	d->agent = (struct duo_agent){.life = DUO_DOWN};
	if (older) {
		fake_settle(&d->worlds[0]);
		fake_settle(&d->worlds[1]);
		d->state_lost = true;
		d->counts->older_states++;
		open_state(d, d->old_state, d->old_state_n);
	} else if (bytes != NULL) {
		open_state(d, bytes, n);
	}
	free(bytes);
	if (d->plan.older_state && !duo_failed(d) &&
	    sim_chance(&d->rand, 1, 2)) {
		free(d->old_state);
		d->old_state = copy_state(d, &d->old_state_n);
	}
	duo_reread(d);
}

/* ---- close
 * ------------------------------------------------------------------*/

static void all_closed(struct duo *d)
{
	uint8_t *bytes;
	size_t n;

	bytes = copy_state(d, &n);
	state_close(d->state);
	d->state = NULL;
	store_registry_free(&d->agent.registry);
	d->agent = (struct duo_agent){.life = DUO_DOWN};
	if (d->mem->n > 0) {
		duo_fail(d, "leak: %zu blocks, %zu bytes after a close",
			 d->mem->n, d->mem->bytes);
		if (d->verbose) {
			sim_mem_print(d->mem, 10);
		}
	}
	if (!sim_sched_agent_gone(&d->sched)) {
		duo_fail(d, "tasks, timers or events are left after a close");
	}
	if (bytes != NULL) {
		open_state(d, bytes, n);
	}
	free(bytes);
	if (!duo_failed(d)) {
		duo_reread(d); /* one route may have saved after the other */
	}
	duo_trace(d, "agent: closed");
}

static void part_closed(void *ctx)
{
	struct duo *d = ctx;

	PRE(d->agent.closing > 0);
	d->agent.closing--;
}

static void route_closed(void *ctx)
{
	const struct duo_end *end = ctx;
	struct duo *d = end->d;
	struct duo_agent *a = &d->agent;

	PRE(a->open_routes > 0);
	a->routes[end->i] = NULL;
	if (--a->open_routes > 0) {
		return;
	}
	a->closing = 5;
	for (size_t i = 0; i < 4; i++) {
		store_close(a->stores[i / 2][i % 2], part_closed, d);
	}
	worker_close(a->worker, part_closed, d);
}

void duo_close(struct duo *d)
{
	struct duo_agent *a = &d->agent;
	struct route *routes[2] = {a->routes[0], a->routes[1]};
	uint64_t drain =
	    sim_chance(&d->rand, 1, 3) ? 0 : sim_range(&d->rand, 1, 10000);

	PRE(a->life == DUO_UP);
	duo_trace(d, "agent: close, drain %llu ms", (unsigned long long)drain);
	d->counts->closes++;
	a->life = DUO_CLOSING;
	a->closing = 1000; /* until route_closed says what is left */
	for (size_t i = 0; i < 2; i++) {
		a->ends[i] = (struct duo_end){d, i};
		route_close(routes[i], drain, route_closed, &a->ends[i]);
	}
}

void duo_reap(struct duo *d)
{
	if (d->agent.life == DUO_CLOSING && d->agent.closing == 0) {
		all_closed(d);
	}
}
