/* sim_sched.h: a scheduler with a clock of its own, for one process that plays
 * agent, servers and network.
 *
 *   tasks (posted) --+
 *   timers that are due --+--> one pool --> one at random --> run
 *   events that are due --+        |
 *                                  +-- empty: the clock jumps to the next due
 *
 * A step runs exactly one of them. Which one is drawn by the seed; a task that
 * was passed over for long comes first. Now and then the clock moves although
 * something could run, so that timers overtake work.
 */
#ifndef SIM_SCHED_H
#define SIM_SCHED_H

#include "sim_rand.h"
#include "store/base/sched.h"

struct fake_world;

/* Something of a fake store's that happens at a time. Embedded in its owner. */
struct sim_event {
	struct list link;
	uint64_t due_ms;
	void (*fire)(struct sim_event *e);
	const char *what; /* for the trace */
};

struct sim_sched {
	struct sched base;	    /* first */
	struct sim_rand rand;	    /* which one runs next */
	struct sim_rand agent_rand; /* what sched_random gives */
	uint64_t now_ms;
	uint64_t wall_base_ms;
	struct list tasks;	  /* oldest first */
	struct list timers;	  /* the agent's */
	struct list agent_events; /* in the agent's memory */
	struct list world_events; /* outlive the agent */
	struct list *oldest;	  /* first task when last looked */
	unsigned passed;	  /* how often it was passed over since */
	bool fifo;		  /* tasks in the order posted */
	unsigned hurry; /* one step in so many moves the clock early; 0: none */
	uint64_t steps;
	const char *ran; /* what the last step ran, for the trace */
	/* How a fake store finds its world by the name in its URI. */
	struct fake_world *worlds[2];
};

#define SIM_PATIENCE 40

void sim_sched_init(struct sim_sched *s, uint64_t seed);
struct sim_sched *sim_sched_of(struct sched *s);

/* Runs one thing. False: nothing is left that could ever run. */
bool sim_sched_step(struct sim_sched *s);

/* The next due time of anything; false: nothing waits. Posted tasks count as
 * due now. */
bool sim_sched_next_due(const struct sim_sched *s, uint64_t *due_ms);

/* e->fire is called once, not before delay_ms. `e->link` is set up here. */
void sim_event_start(struct sim_sched *s, struct sim_event *e, bool of_agent,
		     uint64_t delay_ms);
/* Takes it back; nothing when it does not wait. e->link must be valid. */
void sim_event_stop(struct sim_event *e);

/* The agent has crashed: nothing of it runs any more, nothing is touched. */
void sim_sched_forget_agent(struct sim_sched *s);

/* Are no tasks, timers and events of the agent left? */
bool sim_sched_agent_gone(const struct sim_sched *s);

#endif /* SIM_SCHED_H */
