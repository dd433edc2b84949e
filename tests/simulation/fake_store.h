/* fake_store.h: a backend over a fake_world: all of store_ops.h's contract, and
 * all that may go wrong with a server and the way to it.
 *
 *   op --> SENT --(latency)--> at the server: read or write the world
 *                                  --(latency)--> ANSWERED --> store_done
 *   changes: waits at the server (WAITING) until the world has something
 *
 * Scheme `fake`; the endpoint's host names the world: fake://source:1,
 * fake://target:1. The scheduler must be a sim_sched.
 */
#ifndef FAKE_STORE_H
#define FAKE_STORE_H

#include "fake_world.h"
#include "store/store_ops.h"

extern const struct store_ops fake_store_ops;

/* For fake_world.c: */

/* Something changed: waiting watches look again. */
void fake_stores_wake(struct fake_world *w);
/* Every connection breaks. */
void fake_stores_cut(struct fake_world *w);
/* The clients are dead; what they had sent may still be done. */
void fake_stores_forget(struct fake_world *w);
/* A write whose client has given up on it. */
void fake_late_land(struct list *l);
void fake_late_kill(struct list *l);

#endif /* FAKE_STORE_H */
