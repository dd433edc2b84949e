/* sim_plan.c: what kind of run a seed stands for. */
#include <stdio.h>

#include "agent/filter.h"
#include "agent/probe.h"
#include "sim.h"

/* Names that hurt: neighbours in byte order, empty segments, escapes, bytes
 * that are no text. */
static const char *const odd_names[] = {
    "/a",    "/a/b",  "/a/bc",	   "/a/b/c", "/a-b",	   "/a!",
    "/ab",   "/a/",   "/z//y",	   "/%25",   "/.",	   "/b/..",
    "/\x01", "/\xff", "/\xc3\xa9", "/a b",   "/zookeeper", "/%"};

static const char *const exclude_a[] = {"/k1*", NULL};
static const char *const exclude_b[] = {"/dir/**", NULL};
static const char *const include_a[] = {"/k*", "/a/**", "/dir/**", NULL};

static bool one_in(struct sim *sim, uint64_t n)
{
	return sim_chance(&sim->rand, 1, n);
}

static uint32_t pick(struct sim *sim, uint32_t low, uint32_t high)
{
	return (uint32_t)sim_range(&sim->rand, low, high);
}

/* ---- stores
 * ----------------------------------------------------------------*/

static void draw_faults(struct sim *sim, struct fake_faults *f)
{
	/* A third of the runs has none at the stores. */
	if (one_in(sim, 3)) {
		return;
	}
	f->cut = pick(sim, 0, 25);
	f->unreachable = pick(sim, 0, 30);
	f->lost_write = pick(sim, 0, 120);
	f->timed_out = pick(sim, 0, 25);
	f->refused = pick(sim, 0, 15);
}

static void draw_caps(struct sim *sim, struct store_caps *c)
{
	static const uint32_t timeouts[] = {0, 200, 3000, 7000};

	c->atomic = !one_in(sim, 6);
	c->resumable = true;
	c->told_deletes = true;
	c->ordered = one_in(sim, 4);
	c->sorted_keys = true;
	c->max_ops = pick(sim, 1, 4) == 1 ? pick(sim, 1, 4) : pick(sim, 5, 40);
	c->max_bytes = 4096;
	c->max_value = 64;
	c->max_key = 48;
	if (sim->plan.source_eras || sim->plan.target_eras) {
		/* No real server takes fewer keys at once than a probe reads
		 * to tell a replaced store from the known one. */
		c->max_ops = KV_MAX(c->max_ops, PROBE_KEYS);
	}
	c->write_timeout_ms = timeouts[sim_below(&sim->rand, 4)];
	c->scan_page =
	    pick(sim, 1, 3) == 1 ? pick(sim, 1, 3) : pick(sim, 4, 20);
}

static void draw_kind(struct sim *sim, struct fake_world *w)
{
	struct fake_kind *k = &w->kind;

	draw_caps(sim, &k->caps);
	k->at = !one_in(sim, 4);
	k->czxid = one_in(sim, 4);
	k->watch_buffers = one_in(sim, 2);
	k->latency = one_in(sim, 3) ? 0 : pick(sim, 1, 40);
	draw_faults(sim, &w->faults);
	w->counts = sim->faults;
	w->plant = sim->plant;
	if (w == &sim->source) {
		/* What it has is larger than what the target takes. */
		k->caps.max_bytes = 1 << 20;
		k->caps.max_value = 1 << 16;
		k->caps.max_key = 1 << 10;
		if (!sim->plan.told) {
			k->caps.told_deletes = false;
			k->caps.resumable = false;
			k->at = false;
		}
	} else {
		k->caps.hierarchical = sim->plan.percent;
	}
	sim_rand_init(&w->rand, sim->seed, w == &sim->source ? 11 : 12);
}

/* ---- the route
 * -------------------------------------------------------------*/

static char **no_const(const char *const *items, size_t *n)
{
	union {
		const char *const *from;
		char **to;
	} cast = {.from = items};

	for (*n = 0; items[*n] != NULL; (*n)++) {
	}
	return cast.to;
}

static void draw_filter(struct sim *sim)
{
	struct conf_route *c = &sim->conf;

	c->n_include = 0;
	c->n_exclude = 0;
	switch (sim_below(&sim->rand, 8)) {
	case 0:
		c->exclude = no_const(exclude_a, &c->n_exclude);
		break;
	case 1:
		c->exclude = no_const(exclude_b, &c->n_exclude);
		break;
	case 2:
		c->include = no_const(include_a, &c->n_include);
		break;
	default:
		break;
	}
}

static void draw_fuse(struct sim *sim)
{
	struct conf_max_delete *m = &sim->conf.max_delete;

	switch (sim_below(&sim->rand, 8)) {
	case 0:
		m->kind = CONF_FUSE_COUNT;
		m->n = sim_below(&sim->rand, 6);
		break;
	case 1:
		m->kind = CONF_FUSE_PERCENT;
		m->n = sim_range(&sim->rand, 5, 60);
		break;
	case 2:
	case 3:
		m->kind = CONF_FUSE_DEFAULT;
		break;
	default:
		m->kind = CONF_FUSE_PERCENT;
		m->n = 100;
		break;
	}
}

static void draw_conf(struct sim *sim)
{
	static char name[] = "route";
	struct conf_route *c = &sim->conf;
	struct sim_plan *p = &sim->plan;

	*c = (struct conf_route){.name = name};
	c->conflict = CONF_SOURCE_WINS;
	if (one_in(sim, 3)) {
		c->conflict = one_in(sim, 2) ? CONF_TARGET_WINS : CONF_STOP;
	}
	c->delete_policy = CONF_DELETE_OWNED;
	if (one_in(sim, 6)) {
		c->delete_policy =
		    one_in(sim, 2) ? CONF_DELETE_NEVER : CONF_DELETE_ALL;
	}
	c->drift = one_in(sim, 5) ? CONF_DRIFT_KEEP : CONF_DRIFT_REPAIR;
	c->escape = p->percent ? CONF_ESCAPE_PERCENT : CONF_ESCAPE_NONE;
	sim->mapping = p->percent ? MAPPING_ENCODE : MAPPING_NONE;
	draw_fuse(sim);
	draw_filter(sim);
	sim->source_uri = "fake://source:1";
	sim->target_uri = "fake://target:1";
	if (one_in(sim, 3)) {
		sim->target_uri = "fake://target:1/app";
		sim->target_prefix_n = 4;
	}
	sim->batch_ops = one_in(sim, 2) ? 0 : pick(sim, 1, 8);
	sim->window = one_in(sim, 2) ? 0 : pick(sim, 1, 4);
}

/* ---- keys
 * ------------------------------------------------------------------*/

static void map_key(struct sim *sim, struct sim_key *k)
{
	struct arena a;
	struct slice out;
	struct kv_err err;

	arena_init(&a);
	k->target = slice_of(NULL, 0);
	if (mapping_to_target(sim->mapping, k->source, &a, &out, &err) ==
	    KV_OK) {
		k->target = region_dup(sim->region, out);
	}
	arena_free(&a);
	k->refused =
	    k->target.n == 0 || memchr(k->target.p, '!', k->target.n) != NULL ||
	    k->target.n + sim->target_prefix_n > sim->target.kind.caps.max_key;
}

static void add_key(struct sim *sim, const char *name, bool foreign)
{
	struct sim_key *k = &sim->keys[sim->n_keys++];

	*k = (struct sim_key){.is_foreign = foreign};
	k->source = region_dup(sim->region, slice_str(name));
	map_key(sim, k);
}

static void draw_keys(struct sim *sim)
{
	size_t most = sim->plan.n_keys + KV_COUNT(odd_names) + 16;
	char name[96];

	sim->keys = region_alloc(sim->region, most * sizeof *sim->keys);
	for (unsigned i = 0; i < sim->plan.n_keys; i++) {
		if (i % 3 == 0) {
			(void)snprintf(name, sizeof name, "/dir/s%u/k%02u",
				       i % 4, i);
		} else {
			(void)snprintf(name, sizeof name, "/k%02u", i);
		}
		add_key(sim, name, false);
	}
	for (size_t i = 0; i < KV_COUNT(odd_names); i++) {
		if (one_in(sim, 4)) {
			add_key(sim, odd_names[i], false);
		}
	}
	if (sim->plan.oversized) {
		(void)snprintf(name, sizeof name, "/k%060d", 1);
		add_key(sim, name, false);
		add_key(sim, "/bad!", false);
	}
	for (unsigned i = 0; i < 5; i++) {
		(void)snprintf(name, sizeof name,
			       i % 2 ? "/foreign/%u" : "/k0%u-foreign", i);
		add_key(sim, name, true);
	}
}

struct sim_key *sim_key_of_target(struct sim *sim, struct slice target)
{
	for (size_t i = 0; i < sim->n_keys; i++) {
		if (slice_eq(sim->keys[i].target, target)) {
			return &sim->keys[i];
		}
	}
	return NULL;
}

bool sim_in_scope(const struct sim *sim, const struct sim_key *k)
{
	return filter_pass(&sim->conf, k->source);
}

bool sim_fits(const struct sim *sim, const struct fake_rev *r)
{
	struct slice value, attrs;

	fake_split(r->value, &value, &attrs);
	return value.n <= sim->target.kind.caps.max_value;
}

/* ---- the whole
 * -------------------------------------------------------------*/

static void draw_plan(struct sim *sim)
{
	struct sim_plan *p = &sim->plan;

	p->n_keys = one_in(sim, 20) ? pick(sim, 80, 140) : pick(sim, 1, 30);
	p->storm_steps = pick(sim, 100, 500);
	p->act_one_in = pick(sim, 3, 12);
	p->fill = one_in(sim, 4) ? 0 : pick(sim, 1, p->n_keys);
	p->crash_one_in = one_in(sim, 3) ? 0 : pick(sim, 25, 250);
	p->stop_one_in = one_in(sim, 2) ? 0 : pick(sim, 60, 400);
	p->told = !one_in(sim, 4);
	p->one_shot = one_in(sim, 6);
	p->second_writer = one_in(sim, 3);
	p->older_state = p->crash_one_in > 0 && one_in(sim, 5);
	p->source_eras = one_in(sim, 6);
	p->target_eras = one_in(sim, 6);
	p->new_filter = one_in(sim, 10);
	p->oversized = one_in(sim, 4);
	p->compaction = one_in(sim, 2);
	p->prefilled_target = one_in(sim, 3);
	p->outages = one_in(sim, 3);
	p->no_space = one_in(sim, 8);
	p->denied = one_in(sim, 10);
	p->percent = one_in(sim, 8);
}

/* Added later, from numbers of its own: older seeds stay what they were. */
static void draw_scarcity(struct sim *sim)
{
	struct sim_rand r;

	sim_rand_init(&r, sim->seed, 4);
	sim->plan.memory = sim_chance(&r, 1, 8);
	sim->plan.full_disk = sim_chance(&r, 1, 8);
	sim->plan.attrs = sim_chance(&r, 1, 6);
}

void plan_draw(struct sim *sim)
{
	sim_rand_init(&sim->rand, sim->seed, 3);
	draw_plan(sim);
	draw_scarcity(sim);
	draw_kind(sim, &sim->source);
	draw_kind(sim, &sim->target);
	draw_conf(sim);
	draw_keys(sim);
	sim->sched.fifo = one_in(sim, 4);
	sim->sched.hurry = one_in(sim, 3) ? 0 : pick(sim, 4, 40);
	sim_trace(sim,
		  "plan: keys=%u steps=%u told=%d one_shot=%d second_writer=%d "
		  "older=%d eras=%d/%d conflict=%s delete=%s drift=%s "
		  "fuse=%d/%llu atomic=%d ordered=%d max_ops=%u timeout=%u "
		  "percent=%d filters=%zu/%zu memory=%d disk=%d attrs=%d",
		  sim->plan.n_keys, sim->plan.storm_steps, sim->plan.told,
		  sim->plan.one_shot, sim->plan.second_writer,
		  sim->plan.older_state, sim->plan.source_eras,
		  sim->plan.target_eras, conf_conflict_name(sim->conf.conflict),
		  conf_delete_name(sim->conf.delete_policy),
		  conf_drift_name(sim->conf.drift),
		  (int)sim->conf.max_delete.kind,
		  (unsigned long long)sim->conf.max_delete.n,
		  sim->target.kind.caps.atomic, sim->target.kind.caps.ordered,
		  sim->target.kind.caps.max_ops,
		  sim->target.kind.caps.write_timeout_ms, sim->plan.percent,
		  sim->conf.n_include, sim->conf.n_exclude, sim->plan.memory,
		  sim->plan.full_disk, sim->plan.attrs);
}

/* Another filter, for a restart: what is outside from now on is let go, and is
 * nobody's when it comes in again. */
void plan_new_filter(struct sim *sim)
{
	bool before[256];

	PRE(sim->n_keys <= KV_COUNT(before));
	for (size_t i = 0; i < sim->n_keys; i++) {
		before[i] = sim_in_scope(sim, &sim->keys[i]);
	}
	draw_filter(sim);
	for (size_t i = 0; i < sim->n_keys; i++) {
		if (before[i] && !sim_in_scope(sim, &sim->keys[i])) {
			sim->keys[i].released = true;
			sim->keys[i].touched = true;
		}
	}
	/* What was saved speaks of the old one until a reconcile is over. */
	sim->era_dirty = true;
	sim->counts->filters_changed++;
}
