/* route_probe.c: what a route does first: the state, both stores, and whether
 * the history goes on.
 *
 *   LOAD -> PROBE -+-> RECOVER           (it goes on)
 *                  `-> gate -> PREPARE   (a reconcile, when it is its turn)
 */
#include <stdio.h>

#include "agent/identity.h"
#include "agent/route_int.h"
#include "agent/twin.h"
#include "store/base/log.h"

void route_stage_load(struct route *r)
{
	r->stage = STAGE_LOAD;
	twin_loads(&r->env);
	r->env.inferred_pending = 0;
	r->env.stamped = false;
	route_set_phase(r, ROUTE_LOADING);
	if (r->env.state == NULL) {
		route_stage_loaded(r);
		return;
	}
	route_load_start(r);
}

void route_stage_loaded(struct route *r)
{
	r->load.busy = false;
	if (r->restarting) {
		route_stage_maybe_restart(r);
		return;
	}
	if (r->load.err.status != KV_OK) {
		route_trouble(r, &r->load.err);
		return;
	}
	if (r->load.match == STATE_ROUTE_STORES) {
		LOG_WARN("the stores are other ones than before: the ledger "
			 "starts anew",
			 LOG_S("route", r->p.conf->name));
		r->load.match = STATE_ROUTE_NEW;
	}
	twin_is_loaded(&r->env);
	r->stage = STAGE_PROBE;
	route_set_phase(r, ROUTE_PROBING);
	probe_start(&r->probe);
}

/* Why the source's indexes are not believed; NULL: they are. */
static const char *source_reason(const struct route *r)
{
	if (r->probe.new_source) {
		return "the source is another one, or went back";
	}
	if (r->probe.doubt_source) {
		return "nothing at the source proves that its history is the "
		       "known one";
	}
	return r->env.new_source ? "the source was another one, or went back"
				 : NULL;
}

/* Why a reconcile is needed; NULL: the history goes on. */
static const char *reconcile_reason(const struct route *r)
{
	const struct state_checkpoint *cp = &r->env.cp;
	uint64_t most = store_capabilities(r->env.source)->resume_max;

	if (r->must_reconcile) {
		return r->why == NULL ? "asked for" : r->why;
	}
	if (!cp->complete) {
		return "first copy";
	}
	if (!r->p.follow) {
		return "a single pass was asked for";
	}
	if (r->load.match == STATE_ROUTE_FILTERS) {
		return "the filters or the policies changed";
	}
	if (source_reason(r) != NULL) {
		return source_reason(r);
	}
	if (r->env.new_target) {
		return "the target is another one, or went back";
	}
	if (r->probe.doubt_target) {
		return "no known key proves that the stores are the same";
	}
	if (most > 0 && r->probe.source.index > cp->index + most) {
		return "the backlog is longer than a scan";
	}
	return NULL;
}

void route_set_identity(char *to, const char *identity)
{
	(void)snprintf(to, STATE_IDENTITY_MAX, "%s", identity);
}

static void note_origins(struct route *r)
{
	struct state_checkpoint *cp = &r->env.cp;

	/* Until the ledger is stamped anew, the checkpoint must not claim the
	 * new history: a crash in between would trust the old indexes. */
	route_set_identity(cp->source_identity, r->env.new_source
						    ? IDENTITY_UNSURE
						    : r->probe.source.identity);
	route_set_identity(cp->target_identity, r->env.new_target
						    ? IDENTITY_UNSURE
						    : r->probe.target.identity);
	route_set_identity(r->env.source_identity, r->probe.source.identity);
	route_set_identity(r->env.target_identity, r->probe.target.identity);
	if (r->env.new_source) {
		cp->index = 0;
		cp->source_index = 0;
		r->env.dropped_to = 0;
		cp->complete = false;
		r->env.saved = 0;
		r->env.reached = 0;
		r->follow.position = 0;
	}
	if (r->env.new_target) {
		cp->target_index = 0;
		cp->complete = false;
	}
	env_saw_source(&r->env, &r->probe.source);
	env_saw_target(&r->env, &r->probe.target);
}

static bool is_unsure(const char *identity)
{
	return strcmp(identity, IDENTITY_UNSURE) == 0;
}

/* In doubt about the source its indexes are not compared with the ledger's:
 * hashes say the same, at the price of a scan. */
static void note_histories(struct route *r)
{
	const struct state_checkpoint *cp = &r->env.cp;

	r->env.new_source =
	    r->env.new_source || r->probe.new_source || r->probe.doubt_source;
	r->env.new_target = r->env.new_target || r->probe.new_target;
	/* What a reconcile in doubt has left unsure says no more. */
	r->env.replaced =
	    r->env.replaced ||
	    (r->probe.new_source && !is_unsure(cp->source_identity)) ||
	    (r->probe.new_target && !is_unsure(cp->target_identity));
}

/* What the probe found is old by then: asked again. */
static void gate_open(struct gate_pass *pass)
{
	struct route *r = kv_container_of(pass, struct route, pass);

	PRE(r->stage == STAGE_GATE || r->restarting);
	if (!r->restarting) {
		r->stage = STAGE_PROBE;
		probe_start(&r->probe);
	}
}

static bool enter_gate(struct route *r)
{
	r->pass.open = gate_open;
	if (r->p.gate == NULL || gate_enter(r->p.gate, &r->pass)) {
		return true;
	}
	LOG_INFO("waits until other routes are reconciled",
		 LOG_S("route", r->p.conf->name),
		 LOG_U("at_once", r->p.gate->most));
	r->stage = STAGE_GATE;
	route_set_phase(r, ROUTE_PROBING);
	route_touch_live(r);
	return false;
}

/* The first probe after LOAD. */
static void probed_first(struct route *r)
{
	const char *why;

	note_histories(r);
	why = reconcile_reason(r);
	if (why != NULL && !enter_gate(r)) {
		return;
	}
	r->must_reconcile = why != NULL;
	r->why = why;
	note_origins(r);
	if (why != NULL) {
		LOG_INFO("reconcile", LOG_S("route", r->p.conf->name),
			 LOG_S("why", why));
		/* Saved before anything is written: what told a replaced store
		 * from the known one may be gone by the next start. */
		route_stage_prepare(r);
	} else {
		LOG_INFO(
		    "resume", LOG_S("route", r->p.conf->name),
		    LOG_U("index", r->env.cp.index),
		    LOG_U("behind", r->probe.source.index - r->env.cp.index));
		route_stage_recover(r);
	}
}

void route_stage_probed(struct route *r)
{
	const char *why;

	if (r->stage == STAGE_PROBE) {
		probed_first(r);
	} else if (r->probe.new_source || r->probe.new_target ||
		   r->probe.doubt_source || r->probe.doubt_target) {
		why = source_reason(r);
		note_histories(r);
		route_restart(r, why != NULL ? why
					     : "the target was replaced or "
					       "went back, or may have been");
	} else {
		env_saw_source(&r->env, &r->probe.source);
		env_saw_target(&r->env, &r->probe.target);
		route_stage_retry(r);
	}
}
