/* oneshot.c: watches one route to its end. */
#include "agent/oneshot.h"

#include <stdio.h>

static void keep(struct oneshot *o, const struct route_status *st)
{
	o->last = *st;
	o->last.held = NULL;
	if (st->held != NULL) {
		(void)snprintf(o->held, sizeof(o->held), "%s", st->held);
		o->last.held = o->held;
	}
}

/* Is it in trouble (a full disk, a server that comes and goes), and has not
 * got on for as long as it may try? */
static bool is_stuck(struct oneshot *o)
{
	uint64_t now = sched_now(agent_sched(o->agent));
	uint64_t mark = o->last.scanned + o->last.written + o->last.applied;

	if (o->last.phase != ROUTE_BACKOFF || o->follow) {
		return false;
	}
	if (o->trouble_ms == 0 || mark != o->mark) {
		o->trouble_ms = KV_MAX(now, 1);
		o->mark = mark;
	}
	o->stuck = now - o->trouble_ms >= o->timeout_ms;
	return o->stuck;
}

/* Has it come to an end by itself? */
static bool is_over(struct oneshot *o)
{
	switch (o->last.phase) {
	case ROUTE_DONE:
		return true;
	case ROUTE_HELD:
		return !o->follow;
	case ROUTE_FAILED:
		/* Nothing gets better by waiting before the first success;
		 * later a route that follows stays and tries again. */
		return !o->followed;
	default:
		return is_stuck(o);
	}
}

void oneshot_changed(struct oneshot *o, const struct agent_route *r)
{
	struct route_status st;

	if (o->done) {
		return;
	}
	agent_status(r, &st);
	keep(o, &st);
	o->followed = o->followed || st.phase == ROUTE_FOLLOWING;
	if (agent_signal(o->agent) == 0 && is_over(o)) {
		o->done = true;
		agent_stop(o->agent);
	}
}

bool oneshot_failed(const struct oneshot *o, struct kv_err *err)
{
	const struct route_status *st = &o->last;
	int status = st->exit_status;

	if (!o->done ||
	    (st->phase != ROUTE_FAILED && !o->stuck && status == KV_OK)) {
		return false;
	}
	*err = st->error;
	if (err->status == KV_OK) {
		status = status == KV_OK ? KV_BROKEN : status;
		(void)kv_fail(err, status, "%s", kv_status_text(status));
	}
	return true;
}
