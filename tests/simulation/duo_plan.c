/* duo_plan.c: what kind of run a seed stands for; what users and faults do. */
#include <stdio.h>

#include "agent/filter.h"
#include "agent/probe.h"
#include "duo.h"

static const char *const odd_names[] = {"/a",	"/a/b", "/a/bc",
					"/a-b", "/a/",	"/z//y"};

static bool one_in(struct duo *d, uint64_t n)
{
	return sim_chance(&d->rand, 1, n);
}

static uint32_t pick(struct duo *d, uint32_t low, uint32_t high)
{
	return (uint32_t)sim_range(&d->rand, low, high);
}

/* ---- the plan
 * ---------------------------------------------------------------*/

static void draw_plan(struct duo *d)
{
	struct duo_plan *p = &d->plan;

	p->n_keys = one_in(d, 10) ? pick(d, 30, 50) : pick(d, 1, 12);
	p->storm_steps = pick(d, 100, 500);
	p->act_one_in = one_in(d, 2) ? pick(d, 2, 6) : pick(d, 7, 30);
	p->fill = one_in(d, 3) ? 0 : pick(d, 1, 2 * p->n_keys);
	p->faults = !one_in(d, 3);
	p->crash_one_in = one_in(d, 3) ? 0 : pick(d, 25, 250);
	p->stop_one_in = one_in(d, 2) ? 0 : pick(d, 60, 400);
	p->compaction = one_in(d, 2);
	p->outages = one_in(d, 3);
	p->memory = one_in(d, 6);
	p->full_disk = one_in(d, 6);
	p->attrs = one_in(d, 6);
	p->older_state = one_in(d, 8);
	p->prefer_left = one_in(d, 2);
	p->filtered = one_in(d, 8);
	p->close_writes = one_in(d, 2);
	d->strict = !p->faults;
	if (d->strict) {
		p->crash_one_in = 0;
		p->stop_one_in = 0;
		p->compaction = false;
		p->outages = false;
		p->memory = false;
		p->full_disk = false;
		p->older_state = false;
	}
}

static void draw_caps(struct duo *d, struct store_caps *c)
{
	static const uint32_t timeouts[] = {0, 200, 3000, 7000};

	c->atomic = !one_in(d, 4);
	c->told_deletes = !one_in(d, 4);
	c->resumable = c->told_deletes;
	c->ordered = one_in(d, 4);
	c->sorted_keys = true;
	c->max_ops = one_in(d, 4) ? pick(d, 1, 4) : pick(d, 5, 40);
	c->max_bytes = 4096;
	c->max_value = 128;
	c->max_key = 64;
	c->write_timeout_ms = timeouts[sim_below(&d->rand, 4)];
	c->scan_page = one_in(d, 3) ? pick(d, 1, 3) : pick(d, 4, 20);
}

static void draw_world(struct duo *d, size_t side)
{
	struct fake_world *w = &d->worlds[side];
	struct fake_kind *k = &w->kind;
	struct fake_faults *f = &w->faults;

	draw_caps(d, &k->caps);
	k->at = k->caps.told_deletes && !one_in(d, 4);
	k->czxid = one_in(d, 4);
	k->watch_buffers = one_in(d, 2);
	k->latency = one_in(d, 3) ? 0 : pick(d, 1, 40);
	w->counts = d->faults;
	sim_rand_init(&w->rand, d->seed, 11 + side);
	if (d->plan.faults && !one_in(d, 3)) {
		f->cut = pick(d, 0, 25);
		f->unreachable = pick(d, 0, 30);
		f->lost_write = pick(d, 0, 120);
		f->timed_out = pick(d, 0, 25);
		f->refused = pick(d, 0, 15);
	}
}

static void draw_conf(struct duo *d)
{
	static char names[2][6] = {"there", "back"};
	static char pattern[] = "/k1*";
	static char *exclude[] = {pattern, NULL};
	bool stop = one_in(d, 8);

	for (size_t i = 0; i < 2; i++) {
		struct conf_route *c = &d->conf[i];

		*c = (struct conf_route){.name = names[i]};
		c->conflict = stop ? CONF_STOP : CONF_SOURCE_WINS;
		c->delete_policy = CONF_DELETE_OWNED;
		c->drift = CONF_DRIFT_REPAIR;
		c->max_delete.kind = CONF_FUSE_PERCENT;
		c->max_delete.n = 100;
		if (d->plan.filtered) {
			c->exclude = exclude;
			c->n_exclude = 1;
		}
		d->batch_ops[i] = one_in(d, 2) ? 0 : pick(d, 1, 8);
		d->window[i] = one_in(d, 2) ? 0 : pick(d, 1, 4);
	}
}

static void add_key(struct duo *d, const char *name)
{
	struct duo_key *k = &d->keys[d->n_keys++];

	PRE(d->n_keys <= DUO_KEYS_MAX);
	k->name = region_dup(d->region, slice_str(name));
	k->outside = !filter_pass(&d->conf[0], k->name);
}

static void draw_keys(struct duo *d)
{
	char name[32];

	for (unsigned i = 0; i < d->plan.n_keys; i++) {
		(void)snprintf(name, sizeof name,
			       i % 3 == 0 ? "/dir/s%u" : "/k%02u", i);
		add_key(d, name);
	}
	for (size_t i = 0; i < KV_COUNT(odd_names); i++) {
		if (one_in(d, 4)) {
			add_key(d, odd_names[i]);
		}
	}
}

/* ---- users
 * ------------------------------------------------------------------*/

static struct slice draw_value(struct duo *d, size_t side, char *text,
			       size_t cap)
{
	int n;

	if (one_in(d, 25)) {
		return slice_str(one_in(d, 2) ? "" : "same");
	}
	n = snprintf(text, cap, "%c%llu", "lr"[side],
		     (unsigned long long)++d->next_value);
	if (d->plan.attrs && one_in(d, 2)) {
		n += snprintf(text + n, cap - (size_t)n, "%ca%u", FAKE_ATTRS,
			      (unsigned)sim_below(&d->rand, 9));
	}
	return slice_of(text, (size_t)n);
}

/* A user's change inside of a transaction. */
static void change(struct duo *d, size_t side, struct duo_key *k)
{
	struct fake_world *w = &d->worlds[side];
	struct duo_value was = duo_now(w, k->name);
	char text[64];

	if (one_in(d, 3)) {
		if (!was.present) {
			return;
		}
		fake_delete(w, k->name, FAKE_OWNER);
	} else if (one_in(d, 12) && k->base.present) {
		/* Back to what it was. */
		fake_put(w, k->name, k->base.bytes, FAKE_OWNER);
	} else {
		fake_put(w, k->name, draw_value(d, side, text, sizeof text),
			 FAKE_OWNER);
	}
	duo_user_wrote(d, side, k);
}

static size_t any_key(struct duo *d)
{
	if (d->plan.close_writes && one_in(d, 2)) {
		return d->last_key;
	}
	d->last_key = (size_t)sim_below(&d->rand, d->n_keys);
	return d->last_key;
}

static void user_tx(struct duo *d, size_t side, size_t n)
{
	bool done[DUO_KEYS_MAX] = {false};

	fake_begin(&d->worlds[side]);
	for (size_t i = 0; i < n; i++) {
		size_t k = any_key(d);

		if (!done[k]) {
			done[k] = true;
			change(d, side, &d->keys[k]);
		}
	}
	fake_end(&d->worlds[side]);
}

static void user(struct duo *d)
{
	size_t side = (size_t)sim_below(&d->rand, 2);

	user_tx(d, side, one_in(d, 4) ? pick(d, 2, 7) : 1);
	if (one_in(d, 8)) {
		user_tx(d, 1 - side, 1);
	}
}

void duo_make_equal(struct duo *d)
{
	for (size_t i = 0; i < d->n_keys; i++) {
		struct duo_key *k = &d->keys[i];
		struct duo_value left = duo_now(&d->worlds[0], k->name);
		struct fake_world *right = &d->worlds[1];

		if (k->outside || duo_same(left, duo_now(right, k->name))) {
			continue;
		}
		fake_begin(right);
		if (left.present) {
			fake_put(right, k->name, left.bytes, FAKE_OWNER);
		} else {
			fake_delete(right, k->name, FAKE_OWNER);
		}
		/* As if it had been decided so. */
		k->wrote[0] = true;
		k->last[0] = left;
		duo_user_wrote(d, 1, k);
		fake_end(right);
	}
}

/* ---- faults
 * -----------------------------------------------------------------*/

static void scarcity(struct duo *d)
{
	uint64_t until = d->sched.now_ms + sim_range(&d->rand, 10, 5000);

	if (d->plan.memory && one_in(d, 2)) {
		d->memory_until_ms = until;
		d->mem->every = pick(d, 1, 60);
		d->mem->turn = 0;
		duo_trace(d, "memory: each allocation number %u fails",
			  d->mem->every);
	}
	if (d->plan.full_disk && one_in(d, 2)) {
		d->full_disk_until_ms = until;
		duo_trace(d, "disk: full until %llu",
			  (unsigned long long)until);
	}
}

static void misfortune(struct duo *d)
{
	struct fake_world *w = &d->worlds[sim_below(&d->rand, 2)];

	switch (sim_below(&d->rand, 4)) {
	case 0:
	case 1:
		if (d->plan.compaction) {
			fake_compact(w, one_in(d, 3)
					    ? w->index
					    : sim_range(&d->rand, w->compacted,
							w->index));
			duo_trace(d, "%s: compacted to %llu", w->name,
				  (unsigned long long)w->compacted);
		}
		break;
	case 2:
		if (d->plan.outages) {
			if (one_in(d, 2)) {
				w->outage_until_ms =
				    d->sched.now_ms +
				    sim_range(&d->rand, 10, 15000);
			}
			duo_trace(d, "%s: connections break", w->name);
			fake_cut(w);
		}
		break;
	default:
		if (d->plan.faults && d->agent.life == DUO_UP) {
			duo_trace(d, "a reconcile is asked for");
			route_reconcile(
			    d->agent.routes[sim_below(&d->rand, 2)]);
		}
		break;
	}
}

void duo_act(struct duo *d)
{
	if ((d->plan.memory || d->plan.full_disk) && one_in(d, 8)) {
		scarcity(d);
	}
	if (d->plan.faults && one_in(d, 8)) {
		misfortune(d);
	} else if (one_in(d, 20)) {
		struct fake_world *w = &d->worlds[sim_below(&d->rand, 2)];

		fake_begin(w); /* outside of the tree */
		fake_end(w);
	} else {
		user(d);
	}
}

void duo_rest(struct duo *d)
{
	for (size_t i = 0; i < 2; i++) {
		d->worlds[i].faults = (struct fake_faults){0};
		d->worlds[i].outage_until_ms = 0;
	}
	d->memory_until_ms = 0;
	d->full_disk_until_ms = 0;
	d->quiet = true;
}

void duo_plan(struct duo *d)
{
	sim_rand_init(&d->rand, d->seed, 3);
	draw_plan(d);
	draw_world(d, 0);
	draw_world(d, 1);
	draw_conf(d);
	draw_keys(d);
	d->sched.fifo = one_in(d, 4);
	d->sched.hurry = one_in(d, 3) ? 0 : pick(d, 4, 40);
	for (unsigned i = 0; i < d->plan.fill; i++) {
		user_tx(d, (size_t)sim_below(&d->rand, 2), 1);
	}
	duo_trace(
	    d,
	    "plan: keys=%u steps=%u strict=%d told=%d/%d atomic=%d/%d "
	    "prefer=%s conflict=%s timeout=%u/%u memory=%d disk=%d older=%d",
	    d->plan.n_keys, d->plan.storm_steps, d->strict,
	    d->worlds[0].kind.caps.told_deletes,
	    d->worlds[1].kind.caps.told_deletes, d->worlds[0].kind.caps.atomic,
	    d->worlds[1].kind.caps.atomic,
	    d->plan.prefer_left ? "left" : "right",
	    conf_conflict_name(d->conf[0].conflict),
	    d->worlds[0].kind.caps.write_timeout_ms,
	    d->worlds[1].kind.caps.write_timeout_ms, d->plan.memory,
	    d->plan.full_disk, d->plan.older_state);
}
