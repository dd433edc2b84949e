/* gate.h: how many routes of a process may reconcile at once: the memory that
 * a scan takes is in proportion to them, not to all routes.
 *
 *   gate_enter --room--> in                      gate_leave --> the next one's
 *              `-------> waits, in the order asked              `open`
 */
#ifndef KV_GATE_H
#define KV_GATE_H

#include "store/base/sched.h"

struct gate {
	struct sched *sched;
	unsigned most;
	unsigned n; /* in it */
	struct list waiting;
	struct sched_task task;
};

/* Who wants through. Embedded; zero-filled means outside. */
struct gate_pass {
	struct list link;
	enum { GATE_OUTSIDE, GATE_WAITING, GATE_INSIDE } at;
	/* It is inside now: after gate_enter said false, on a later turn. */
	void (*open)(struct gate_pass *pass);
};

void gate_init(struct gate *g, struct sched *sched, unsigned most);
/* Nobody is in it or waits any more. */
void gate_clear(struct gate *g);

/* True: inside (also when it was already). False: `open` comes. */
bool gate_enter(struct gate *g, struct gate_pass *pass);
/* From wherever it is, also while it waits; nothing when outside. */
void gate_leave(struct gate *g, struct gate_pass *pass);
bool gate_is_wanted(const struct gate *g);

#endif /* KV_GATE_H */
