/* lab.h: one real route over the simulation's played stores, for tests that
 * play a story step by step: the same each time, faults where they are asked
 * for.
 *
 *   lab_init --> lab_put, ... --> lab_start --> lab_steps, lab_crash, ...
 *                                          --> lab_finish
 */
#ifndef LAB_H
#define LAB_H

#include "agent/route.h"
#include "fake_store.h"

#define LAB_STEPS_MAX 20000

/* What kind of source, target and route. */
struct lab_kind {
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
	struct lab_kind kind;
	char name[8];
	struct conf_route conf;
	struct state *state; /* outlives a crash */
	struct store_registry registry;
	struct store *from, *to;
	struct worker *worker;
	struct route *route;
	struct gate *gate; /* of the route; NULL: none */
	unsigned closing;
};

/* Empty stores and an empty state; may be changed until lab_start. */
void lab_init(struct lab *l, const struct lab_kind *kind);
/* A transaction of one put, or one delete. */
void lab_put(struct fake_world *w, const char *key, const char *value,
	     enum fake_writer writer);
void lab_delete(struct fake_world *w, const char *key, enum fake_writer writer);
/* What the key is now; NULL: absent. */
const struct fake_rev *lab_now(const struct fake_world *w, struct slice key);
bool lab_has(const struct fake_world *w, const char *key, const char *value);

/* Opens stores and route and starts it, with the state that there is. */
void lab_start(struct lab *l);
/* Runs one thing, or moves the clock when there is nothing. */
void lab_step(struct lab *l);
void lab_steps(struct lab *l, unsigned n);
/* Steps until it follows and all of the source is saved; false: it does not. */
bool lab_rest(struct lab *l);
bool lab_rests(const struct lab *l);
/* The state alone outlives it. */
void lab_crash(struct lab *l);
/* Closes the route and sees that nothing of the agent is left. */
void lab_finish(struct lab *l);

#endif /* LAB_H */
