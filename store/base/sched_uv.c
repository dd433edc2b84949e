/* sched_uv.c: the scheduler of the program, on a libuv loop.
 *
 *   turn of the loop: uv_timer -> fire what is due
 *                     uv_idle  -> run the tasks that were posted before
 *                     poll     -> sockets, mailboxes; they post for the next
 *
 * The idle handle is active only while tasks wait: then the poll does not
 * block, and the loop is kept alive. One uv_timer stands for the list of all
 * timers, which is sorted by due time.
 */
#include "store/base/sched.h"

#include <sys/random.h>
#include <time.h>
#include <uv.h>

#include "store/base/mem.h"

struct sched_uv {
	struct sched base;
	uv_loop_t *loop;
	uv_idle_t idle;
	uv_timer_t timer;
	struct list tasks;
	struct list timers; /* ascending due_ms; equal ones as started */
	unsigned open_handles;
};

static struct sched_uv *self_of(struct sched *s)
{
	return kv_container_of(s, struct sched_uv, base);
}

static uint64_t now_ms(struct sched *s KV_UNUSED)
{
	return uv_hrtime() / 1000000;
}

static uint64_t wall_ms(struct sched *s KV_UNUSED)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t random_bits(struct sched *s KV_UNUSED)
{
	uint64_t x = 0;

	/* Chance only spreads retries here: a kernel without entropy must not
	 * stop the program. */
	if (getrandom(&x, sizeof x, 0) != (ssize_t)sizeof x) {
		x = uv_hrtime() * UINT64_C(0x9e3779b97f4a7c15);
	}
	return x;
}

static struct sched_timer *first_timer(struct sched_uv *u)
{
	struct list *l = list_first(&u->timers);

	return l == NULL ? NULL : kv_container_of(l, struct sched_timer, link);
}

static void run_tasks(uv_idle_t *handle)
{
	struct sched_uv *u = handle->data;
	struct list now, *l;

	/* From a copy: what these tasks post runs on the next turn. */
	list_init(&now);
	list_splice_back(&now, &u->tasks);
	while ((l = list_first(&now)) != NULL) {
		sched_task_run(kv_container_of(l, struct sched_task, link));
	}
	if (list_empty(&u->tasks)) {
		(void)uv_idle_stop(&u->idle);
	}
}

static void arm(struct sched_uv *u);

static void fire_timers(uv_timer_t *handle)
{
	struct sched_uv *u = handle->data;
	uint64_t now = now_ms(&u->base);
	struct sched_timer *t;
	struct list due, *l;

	list_init(&due);
	while ((t = first_timer(u)) != NULL && t->due_ms <= now) {
		list_remove(&t->link);
		list_push_back(&due, &t->link);
	}
	while ((l = list_first(&due)) != NULL) {
		sched_timer_fire(kv_container_of(l, struct sched_timer, link));
	}
	arm(u);
}

static void arm(struct sched_uv *u)
{
	struct sched_timer *t = first_timer(u);
	uint64_t now = now_ms(&u->base);

	if (t == NULL) {
		(void)uv_timer_stop(&u->timer);
		return;
	}
	uv_update_time(u->loop);
	(void)uv_timer_start(&u->timer, fire_timers,
			     t->due_ms > now ? t->due_ms - now : 0, 0);
}

static void post(struct sched *s, struct sched_task *task)
{
	struct sched_uv *u = self_of(s);

	list_push_back(&u->tasks, &task->link);
	(void)uv_idle_start(&u->idle, run_tasks);
}

static void unpost(struct sched *s, struct sched_task *task)
{
	struct sched_uv *u = self_of(s);

	list_remove(&task->link);
	if (list_empty(&u->tasks)) {
		(void)uv_idle_stop(&u->idle);
	}
}

static void timer_start(struct sched *s, struct sched_timer *t)
{
	struct sched_uv *u = self_of(s);
	struct list *at = u->timers.prev;

	/* From the back: most timers are due later than those before them. */
	while (at != &u->timers &&
	       kv_container_of(at, struct sched_timer, link)->due_ms >
		   t->due_ms) {
		at = at->prev;
	}
	list_push_front(at, &t->link);
	if (first_timer(u) == t) {
		arm(u);
	}
}

static void timer_stop(struct sched *s, struct sched_timer *t)
{
	struct sched_uv *u = self_of(s);
	bool was_first = list_first(&u->timers) == &t->link;

	list_remove(&t->link);
	if (was_first) {
		arm(u);
	}
}

static uv_loop_t *loop_of(struct sched *s)
{
	return self_of(s)->loop;
}

static const struct sched_ops sched_uv_ops = {
    .now_ms = now_ms,
    .wall_ms = wall_ms,
    .random = random_bits,
    .post = post,
    .unpost = unpost,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .uv = loop_of,
};

struct sched *sched_uv_open(uv_loop_t *loop)
{
	struct sched_uv *u = kv_calloc(1, sizeof *u);

	if (u == NULL) {
		return NULL;
	}
	u->base.ops = &sched_uv_ops;
	u->loop = loop;
	list_init(&u->tasks);
	list_init(&u->timers);
	/* Neither call can fail. */
	(void)uv_idle_init(loop, &u->idle);
	(void)uv_timer_init(loop, &u->timer);
	u->idle.data = u;
	u->timer.data = u;
	u->open_handles = 2;
	return &u->base;
}

static void handle_closed(uv_handle_t *handle)
{
	struct sched_uv *u = handle->data;

	PRE(u->open_handles > 0);
	u->open_handles--;
	if (u->open_handles == 0) {
		kv_free(u);
	}
}

void sched_uv_close(struct sched *s)
{
	struct sched_uv *u = self_of(s);

	PRE(list_empty(&u->tasks));
	PRE(list_empty(&u->timers));
	uv_close((uv_handle_t *)&u->idle, handle_closed);
	uv_close((uv_handle_t *)&u->timer, handle_closed);
}
