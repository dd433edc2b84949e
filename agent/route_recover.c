/* route_recover.c: writes that an agent left open are settled before anything
 * else.
 *
 *   open intents --> one batch, each key read --> FOLLOW, or the scan
 */
#include "agent/filter.h"
#include "agent/route_int.h"
#include "agent/twin.h"
#include "store/base/log.h"

/* One open intent becomes an item that is read at both sides. */
static bool recover_item(struct route *r, struct batch *b, size_t i)
{
	struct state_intent *in = &r->load.intents[i];
	struct slice source_key;
	struct batch_item *it;
	bool found;
	int rv = mapping_to_source(r->env.mapping, in->key, &b->arena,
				   &source_key, NULL);

	if (rv == KV_NO_MEMORY) {
		return false;
	}
	if (rv != KV_OK || !filter_pass(r->p.conf, source_key) ||
	    store_check(r->env.target, in->key, 0, NULL) != KV_OK) {
		return true; /* not of this route any more */
	}
	it = batch_item(b, in->key, source_key, &found);
	if (r->env.new_source) {
		/* Of another history: it says nothing, and must not be
		 * saved. */
		in->source_index = 0;
	}
	if (it == NULL || !batch_add_intent(b, it, in)) {
		return false;
	}
	it->step = ITEM_READ;
	it->unsettled = true;
	it->recovered = true;
	it->doubts += !in->is_delete && !in->versioned ? 1 : 0;
	it->is_delete = in->is_delete;
	/* A put that came later than a delete takes the leave back. */
	it->may_delete = in->is_delete;
	/* Whether it was told is not saved; where nothing is told, it was
	 * not. */
	it->inferred =
	    it->inferred || (in->is_delete && !route_tells_deletes(r));
	it->source_index = in->source_index;
	it->hash = in->hash;
	it->row = r->load.rows[i];
	it->row.key = it->key;
	/* What the twin had in flight may have been saved since. */
	it->verify = r->env.twin != NULL;
	it->basis = it->row;
	return true;
}

/* One batch with all open intents: it closes them all at its end. The keys are
 * read and written in portions anyway. */
static struct batch *recover_batch(struct route *r)
{
	struct batch *b = batch_new(sched_now(r->env.sched));

	for (size_t i = 0; b != NULL && i < r->load.n; i++) {
		if (!recover_item(r, b, i) ||
		    !batch_add_intent_id(b, r->load.ids[i])) {
			batch_free(b);
			return NULL;
		}
	}
	return b;
}

static void recovered(struct route *r)
{
	twin_is_recovered(&r->env);
	if (r->must_reconcile) {
		route_stage_watch(r);
	} else {
		route_stage_follow(r);
	}
}

void route_stage_recover(struct route *r)
{
	struct kv_err err = {0};
	struct batch *b;

	r->stage = STAGE_RECOVER;
	if (r->load.n == 0) {
		recovered(r);
		return;
	}
	LOG_INFO("settling writes of the last run",
		 LOG_S("route", r->p.conf->name), LOG_U("keys", r->load.n));
	apply_set_dead_at(
	    &r->recover,
	    sched_now(r->env.sched) +
		store_capabilities(r->env.target)->write_timeout_ms);
	b = recover_batch(r);
	if (b == NULL) {
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory for intents");
		route_trouble(r, &err);
		return;
	}
	/* Before a scan every key has to be settled: it knows no intents. */
	r->recover.park =
	    r->p.follow && !r->must_reconcile ? &r->follow.park : NULL;
	apply_start(&r->recover, b);
}

static void recover_written(struct apply *a)
{
	(void)a;
}

static void recover_saved(struct apply *a)
{
	struct route *r = a->ctx;

	if (r->restarting) {
		route_stage_maybe_restart(r);
	} else if (a->held) {
		route_hold(r, a->held_reason);
	} else {
		route_progress(r);
		recovered(r);
	}
}

static void apply_trouble_cb(struct apply *a, const struct kv_err *err)
{
	route_trouble(a->ctx, err);
}

static void recover_aborted(struct apply *a)
{
	route_stage_maybe_restart(a->ctx);
}

static const struct apply_events recover_events = {.written = recover_written,
						   .saved = recover_saved,
						   .trouble = apply_trouble_cb,
						   .aborted = recover_aborted};

void route_recover_init(struct route *r)
{
	apply_init(&r->recover, &r->env, &recover_events, r);
	r->recover.exempt = true;
}
