/* oneshot.h: when is a route that is to end at its end, and how did it go?
 * For `sync` and `diff --repair`.
 *
 *   changed --> oneshot_changed --> DONE, HELD, FAILED, or stuck --> agent_stop
 */
#ifndef KV_ONESHOT_H
#define KV_ONESHOT_H

#include "agent/agent.h"

struct oneshot {
	struct agent *agent; /* [in] */
	bool follow;	     /* [in] goes on after the seed */
	uint64_t timeout_ms; /* [in] how long to try without getting on */
	bool done;	     /* `last` says how it ended */
	bool stuck;	     /* it ended because nothing went on */
	struct route_status last;
	char held[KV_ERR_TEXT_MAX];
	bool followed; /* was in phase FOLLOWING once */
	/* since when it is in trouble without getting on, and how far it was */
	uint64_t trouble_ms;
	uint64_t mark;
};

/* To be called at each change of the route. */
void oneshot_changed(struct oneshot *o, const struct agent_route *r);

/* The trouble it ended with; false when it ended well (or held). */
bool oneshot_failed(const struct oneshot *o, struct kv_err *err);

#endif /* KV_ONESHOT_H */
