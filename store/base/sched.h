/* sched.h: where time, later and chance come from.
 *
 * All code above the backends' sockets asks a `struct sched` for the clock,
 * for timers, for "call this on the next turn of the loop" and for random
 * numbers. In the program it stands on a libuv loop (sched_uv_open); in the
 * simulation on a seeded schedule with a clock of its own. One thread only.
 */
#ifndef KV_SCHED_H
#define KV_SCHED_H

#include "store/base/base.h"

typedef struct uv_loop_s uv_loop_t;

struct sched;

/* Work for a later turn. Embedded in its owner, who sets `run` (and inits
 * `link`, or zero-fills the task) before the first post. */
struct sched_task {
	struct list link; /* zero or self-linked while not posted */
	void (*run)(struct sched_task *task);
	struct sched *sched; /* set while posted */
};

/* A one-shot timer. Embedded in its owner; set `fire` before the first start.
 * Zero-filled means stopped. */
struct sched_timer {
	struct list link;
	void (*fire)(struct sched_timer *timer);
	uint64_t due_ms;
	struct sched *sched; /* set while running */
};

struct sched_ops {
	uint64_t (*now_ms)(struct sched *s);
	uint64_t (*wall_ms)(struct sched *s);
	uint64_t (*random)(struct sched *s);
	void (*post)(struct sched *s, struct sched_task *task);
	void (*unpost)(struct sched *s, struct sched_task *task);
	void (*timer_start)(struct sched *s, struct sched_timer *t);
	void (*timer_stop)(struct sched *s, struct sched_timer *t);
	/* The libuv loop under it; NULL in the simulation: workers then run
	 * their jobs as posted tasks instead of on a thread. */
	uv_loop_t *(*uv)(struct sched *s);
};

/* Base of every scheduler (the first member of the real object). */
struct sched {
	const struct sched_ops *ops;
};

/* Monotonic milliseconds. */
static inline uint64_t sched_now(struct sched *s)
{
	return s->ops->now_ms(s);
}

/* Milliseconds since 1970, for people and for what outlives the process. */
static inline uint64_t sched_wall(struct sched *s)
{
	return s->ops->wall_ms(s);
}

static inline uint64_t sched_random(struct sched *s)
{
	return s->ops->random(s);
}

static inline uv_loop_t *sched_uv(struct sched *s)
{
	return s->ops->uv(s);
}

/* task->run is called once, on a later turn, never from inside this call.
 * Posting a task that is posted already does nothing. */
void sched_post(struct sched *s, struct sched_task *task);
/* Takes a posted task back; nothing when it is not posted. */
void sched_unpost(struct sched_task *task);
bool sched_posted(const struct sched_task *task);

/* Starts or restarts: timer->fire is called once, not before `delay_ms`. */
void sched_timer_start(struct sched *s, struct sched_timer *t,
		       uint64_t delay_ms);
void sched_timer_stop(struct sched_timer *t);
bool sched_timer_running(const struct sched_timer *t);

/* For those who implement a scheduler: the due moment has come. Unlinks the
 * task or timer, marks it as not posted (not running), and calls it. The link
 * is the scheduler's while posted or running; it is self-linked when `post` or
 * `timer_start` get it. timer_start finds due_ms set. */
void sched_task_run(struct sched_task *task);
void sched_timer_fire(struct sched_timer *timer);

/* A scheduler on a libuv loop. Tasks posted from one task run on a later
 * turn (so I/O is never starved). NULL when memory is out. Close it when all
 * its users are closed; it needs one more turn of the loop to let go of its
 * handles, then frees itself. A stopped timer or an empty task list does not
 * keep the loop alive. */
struct sched *sched_uv_open(uv_loop_t *loop) KV_MUSTCHECK;
void sched_uv_close(struct sched *s);

#endif /* KV_SCHED_H */
