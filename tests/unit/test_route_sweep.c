/* test_route_sweep.c: any one allocation of the agent may fail at any place: a
 * route goes on, ends up with what the source has, and leaks nothing.
 *
 *   run n: allocation n fails, once --> seed, follow, conflict, lost
 *   connection, crash, recovery, reconcile, close --> equal? all freed?
 *   ... until a run sees no failure
 *
 * SWEEP_ONE=n runs number n alone, with its log.
 *
 * Stores, clock and order are those of the simulation: each run is the same up
 * to the failure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "agent/route.h"
#include "store/base/log.h"
#include "tests/simulation/fake_store.h"

#define STEPS_MAX 20000
#define RUNS_MAX 100000
#define TRIES 3

/* What kind of source, target and route. */
struct kind {
	bool told;
	bool percent;
	bool atomic;
	bool at;
	enum conf_conflict conflict;
};

struct lab {
	struct sim_mem mem;
	struct region region;
	struct sim_sched sched;
	struct fake_counts counts;
	struct fake_world source, target;
	struct kind kind;
	char name[8];
	struct conf_route conf;
	struct state *state;
	struct store_registry registry;
	struct store *from, *to;
	struct worker *worker;
	struct route *route;
	unsigned closing;
};

static const char *const keys[] = {"/a",  "/a-b", "/a/b", "/b",
				   "/c%", "/d/x", "/e",	  "/k"};

/* ---- the worlds
 * ------------------------------------------------------------*/

static void put(struct fake_world *w, const char *key, const char *value,
		enum fake_writer writer)
{
	fake_put(w, slice_str(key), slice_str(value), writer);
}

static void put_one(struct fake_world *w, const char *key, const char *value,
		    enum fake_writer writer)
{
	fake_begin(w);
	put(w, key, value, writer);
	fake_end(w);
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

static void init(struct lab *l, const struct kind *kind)
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
	assert_int_equal(state_open("", STATE_MEMORY, &l->state, &err), KV_OK);
	for (size_t i = 0; i < KV_COUNT(keys); i++) {
		put_one(&l->source, keys[i], "first", FAKE_OWNER);
	}
	put_one(&l->target, "/b", "first", FAKE_FOREIGN);
	put_one(&l->target, "/foreign", "theirs", FAKE_FOREIGN);
	put_one(&l->target, "/k", "theirs", FAKE_FOREIGN);
}

/* ---- the agent
 * -------------------------------------------------------------*/

static void step(struct lab *l)
{
	(void)sim_mem_arm(&l->mem, true);
	if (!sim_sched_step(&l->sched)) {
		l->sched.now_ms += 1000;
	}
	(void)sim_mem_arm(&l->mem, false);
}

static void steps(struct lab *l, unsigned n)
{
	while (n-- > 0) {
		step(l);
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

static void start(struct lab *l)
{
	int rv = KV_NO_MEMORY;

	(void)sim_mem_arm(&l->mem, true);
	for (int i = 0; i < TRIES && rv != KV_OK; i++) {
		rv = try_open(l);
		assert_true(rv == KV_OK || rv == KV_NO_MEMORY);
	}
	assert_int_equal(rv, KV_OK);
	route_start(l->route);
	(void)sim_mem_arm(&l->mem, false);
}

/* The state alone outlives it. */
static void crash(struct lab *l)
{
	struct kv_err err = {0};
	uint8_t *bytes, *copy;
	size_t n;

	assert_int_equal(state_dump(l->state, &bytes, &n, &err), KV_OK);
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
	assert_int_equal(state_from_dump(copy, n, &l->state, &err), KV_OK);
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

static void finish(struct lab *l)
{
	l->closing = 100;
	route_close(l->route, 5000, route_closed, l);
	for (unsigned i = 0; i < STEPS_MAX && l->closing > 0; i++) {
		step(l);
	}
	assert_int_equal(l->closing, 0);
	store_registry_free(&l->registry);
	state_close(l->state);
	assert_true(sim_sched_agent_gone(&l->sched));
	assert_int_equal(l->mem.n, 0);
	region_reset(&l->region);
	kv_mem_set_hooks(NULL);
}

/* ---- what happens
 * ----------------------------------------------------------*/

static void unit(struct lab *l)
{
	fake_begin(&l->source);
	put(&l->source, "/a", "second", FAKE_OWNER);
	put(&l->source, "/n/1", "new", FAKE_OWNER);
	fake_delete(&l->source, slice_str("/e"), FAKE_OWNER);
	fake_end(&l->source);
}

static void act(struct lab *l, unsigned i)
{
	switch (i) {
	case 0: /* while the seed goes on */
		unit(l);
		break;
	case 1:
		put_one(&l->source, "/b", "much more than the target can take",
			FAKE_OWNER);
		break;
	case 2:
		put_one(&l->target, "/a/b", "drift", FAKE_FOREIGN);
		put_one(&l->source, "/a/b", "third", FAKE_OWNER);
		break;
	case 3:
		fake_cut(&l->target);
		put_one(&l->source, "/c%", "fourth", FAKE_OWNER);
		break;
	case 4:
		fake_cut(&l->source);
		fake_begin(&l->source);
		fake_delete(&l->source, slice_str("/d/x"), FAKE_OWNER);
		fake_end(&l->source);
		break;
	case 5:
		put_one(&l->source, "/a-b", "fifth", FAKE_OWNER);
		put_one(&l->source, "/e", "again", FAKE_OWNER);
		steps(l, 9); /* a write is under way */
		crash(l);
		start(l);
		break;
	case 6:
		put_one(&l->source, "/b", "small", FAKE_OWNER);
		break;
	case 7:
		fake_cut(&l->source);
		put_one(&l->source, "/a", "sixth", FAKE_OWNER);
		fake_compact(&l->source, l->source.index);
		break;
	default:
		route_reconcile(l->route);
		break;
	}
}

/* ---- is it as it should be?
 * ------------------------------------------------*/

static const struct fake_rev *now_at(const struct fake_world *w,
				     struct slice key)
{
	const struct fake_key *k = fake_find(w, key);

	return k == NULL || !fake_now(k)->present ? NULL : fake_now(k);
}

/* The target's name of a source key. */
static struct slice mapped(const struct lab *l, struct slice key)
{
	if (l->kind.percent && slice_eq(key, slice_str("/c%"))) {
		return slice_str("/c%25");
	}
	return key;
}

/* Keys that the target won; "/b" when it was not adopted in time. */
static bool is_theirs(const struct lab *l, struct slice key)
{
	return l->kind.conflict == CONF_TARGET_WINS &&
	       (slice_eq(key, slice_str("/k")) ||
		slice_eq(key, slice_str("/b")) ||
		slice_eq(key, slice_str("/a/b")));
}

static bool is_equal(const struct lab *l, const char **why)
{
	for (size_t i = 0; i < l->source.n_keys; i++) {
		struct slice key = l->source.keys[i]->key;
		const struct fake_rev *s = now_at(&l->source, key);
		const struct fake_rev *t = now_at(&l->target, mapped(l, key));

		*why = (const char *)key.p;
		if (is_theirs(l, key)) {
			continue;
		}
		if ((s == NULL) != (t == NULL) ||
		    (s != NULL && !slice_eq(s->value, t->value))) {
			return false;
		}
	}
	return true;
}

static bool rests(const struct lab *l)
{
	struct route_status st;

	route_status(l->route, &st);
	return st.phase == ROUTE_FOLLOWING && st.saved == l->source.index;
}

static void wait_equal(struct lab *l, unsigned n)
{
	struct route_status st;
	const char *why = "";

	for (unsigned i = 0; i < STEPS_MAX; i++) {
		if (rests(l) && is_equal(l, &why)) {
			return;
		}
		step(l);
	}
	route_status(l->route, &st);
	fail_msg("allocation %u failed, no convergence: key %s, phase %s, "
		 "saved %llu of %llu: %s",
		 n, why, route_phase_name(st.phase),
		 (unsigned long long)st.saved,
		 (unsigned long long)l->source.index, st.error.text);
}

static void check_foreign(const struct lab *l)
{
	const struct fake_rev *t = now_at(&l->target, slice_str("/foreign"));

	assert_non_null(t);
	assert_true(slice_eq(t->value, slice_str("theirs")));
}

/* ---- the sweep
 * -------------------------------------------------------------*/

/* Was there an allocation number n? */
static bool run(const struct kind *kind, unsigned n)
{
	struct lab *l = test_calloc(1, sizeof *l);
	bool failed;

	init(l, kind);
	l->mem.every = n + 1;
	start(l);
	for (unsigned i = 0; i < 9; i++) {
		steps(l, 40);
		act(l, i);
	}
	wait_equal(l, n);
	steps(l, 200);
	wait_equal(l, n);
	check_foreign(l);
	failed = l->mem.failed > 0;
	finish(l);
	failed = failed || l->mem.failed > 0;
	region_free(&l->region);
	test_free(l);
	return failed;
}

static void sweep(const struct kind *kind)
{
	unsigned n = 0;

	if (getenv("SWEEP_ONE") != NULL) {
		(void)run(kind, (unsigned)atoi(getenv("SWEEP_ONE")));
		return;
	}
	log_set_level(LOG_LEVEL_ERROR);
	while (run(kind, n)) {
		n++;
		assert_true(n < RUNS_MAX);
	}
	print_message("%u allocations failed, one a run\n", n);
	assert_true(n > 100);
}

static void told_atomic(void **state)
{
	(void)state;
	sweep(&(struct kind){.told = true, .atomic = true, .at = true});
}

static void told_in_order(void **state)
{
	(void)state;
	sweep(&(struct kind){.told = true, .conflict = CONF_TARGET_WINS});
}

static void relisted(void **state)
{
	(void)state;
	sweep(&(struct kind){.atomic = true});
}

static void told_escaped(void **state)
{
	(void)state;
	sweep(&(struct kind){.told = true, .atomic = true, .percent = true});
}

static void relisted_escaped(void **state)
{
	(void)state;
	sweep(&(struct kind){.percent = true});
}

/* More yielded keys than a page of known ones has: whoever asks for the known
 * keys gets to the end of them. */
static void many_yielded(void **state)
{
	const struct kind kind = {.atomic = true, .conflict = CONF_TARGET_WINS};
	struct lab *l = test_calloc(1, sizeof *l);
	char key[16];

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	init(l, &kind);
	l->source.kind.caps.scan_page = 500;
	l->target.kind.caps.scan_page = 500;
	for (unsigned i = 0; i < 2500; i++) {
		(void)snprintf(key, sizeof key, "/d/%04u", i);
		put_one(&l->source, key, "ours", FAKE_OWNER);
		put_one(&l->target, key, "theirs", FAKE_FOREIGN);
	}
	start(l);
	for (unsigned i = 0; i < STEPS_MAX && !rests(l); i++) {
		step(l);
	}
	assert_true(rests(l));
	fake_cut(&l->source);
	put_one(&l->source, "/z", "last", FAKE_OWNER);
	for (unsigned i = 0; i < STEPS_MAX && !rests(l); i++) {
		step(l);
	}
	assert_true(rests(l));
	assert_non_null(now_at(&l->target, slice_str("/z")));
	check_foreign(l);
	finish(l);
	region_free(&l->region);
	test_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(told_atomic),	cmocka_unit_test(told_in_order),
	    cmocka_unit_test(relisted),		cmocka_unit_test(told_escaped),
	    cmocka_unit_test(relisted_escaped), cmocka_unit_test(many_yielded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
