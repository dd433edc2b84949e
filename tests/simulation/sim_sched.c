/* sim_sched.c: see sim_sched.h. */
#include "sim_sched.h"

static uint64_t now_ms(struct sched *s)
{
	return sim_sched_of(s)->now_ms;
}

static uint64_t wall_ms(struct sched *s)
{
	struct sim_sched *m = sim_sched_of(s);

	return m->wall_base_ms + m->now_ms;
}

static uint64_t random_bits(struct sched *s)
{
	return sim_next(&sim_sched_of(s)->agent_rand);
}

static void post(struct sched *s, struct sched_task *task)
{
	list_push_back(&sim_sched_of(s)->tasks, &task->link);
}

static void unpost(struct sched *s KV_UNUSED, struct sched_task *task)
{
	list_remove(&task->link);
}

static void timer_start(struct sched *s, struct sched_timer *t)
{
	list_push_back(&sim_sched_of(s)->timers, &t->link);
}

static void timer_stop(struct sched *s KV_UNUSED, struct sched_timer *t)
{
	list_remove(&t->link);
}

static uv_loop_t *no_loop(struct sched *s KV_UNUSED)
{
	return NULL;
}

static const struct sched_ops sim_sched_ops = {
    .now_ms = now_ms,
    .wall_ms = wall_ms,
    .random = random_bits,
    .post = post,
    .unpost = unpost,
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .uv = no_loop,
};

void sim_sched_init(struct sim_sched *s, uint64_t seed)
{
	*s = (struct sim_sched){.base.ops = &sim_sched_ops};
	sim_rand_init(&s->rand, seed, 1);
	sim_rand_init(&s->agent_rand, seed, 2);
	list_init(&s->tasks);
	list_init(&s->timers);
	list_init(&s->agent_events);
	list_init(&s->world_events);
	s->now_ms = 1000;
	s->wall_base_ms = UINT64_C(1700000000000);
	s->hurry = 16;
}

struct sim_sched *sim_sched_of(struct sched *s)
{
	return kv_container_of(s, struct sim_sched, base);
}

void sim_event_start(struct sim_sched *s, struct sim_event *e, bool of_agent,
		     uint64_t delay_ms)
{
	PRE(e->fire != NULL);
	list_init(&e->link);
	e->due_ms = s->now_ms + delay_ms;
	list_push_back(of_agent ? &s->agent_events : &s->world_events,
		       &e->link);
}

void sim_event_stop(struct sim_event *e)
{
	list_remove(&e->link);
}

void sim_sched_forget_agent(struct sim_sched *s)
{
	/* Their memory goes as a whole: the heads alone are set anew. */
	list_init(&s->tasks);
	list_init(&s->timers);
	list_init(&s->agent_events);
	s->oldest = NULL;
}

bool sim_sched_agent_gone(const struct sim_sched *s)
{
	return list_empty(&s->tasks) && list_empty(&s->timers) &&
	       list_empty(&s->agent_events);
}

/* ---- picking --------------------------------------------------------------*/

static uint64_t due_of_timer(const struct list *l)
{
	return kv_container_of(l, const struct sched_timer, link)->due_ms;
}

static uint64_t due_of_event(const struct list *l)
{
	return kv_container_of(l, const struct sim_event, link)->due_ms;
}

typedef uint64_t (*due_fn)(const struct list *l);

static size_t count_due(const struct list *head, due_fn due, uint64_t now)
{
	size_t n = 0;

	for (const struct list *l = head->next; l != head; l = l->next) {
		n += due == NULL || due(l) <= now;
	}
	return n;
}

static struct list *nth_due(struct list *head, due_fn due, uint64_t now,
			    size_t n)
{
	for (struct list *l = head->next; l != head; l = l->next) {
		if ((due == NULL || due(l) <= now) && n-- == 0) {
			return l;
		}
	}
	return NULL;
}

static void earliest(const struct list *head, due_fn due, uint64_t *best)
{
	for (const struct list *l = head->next; l != head; l = l->next) {
		*best = KV_MIN(*best, due(l));
	}
}

bool sim_sched_next_due(const struct sim_sched *s, uint64_t *due_ms)
{
	uint64_t best = UINT64_MAX;

	if (!list_empty(&s->tasks)) {
		*due_ms = s->now_ms;
		return true;
	}
	earliest(&s->timers, due_of_timer, &best);
	earliest(&s->agent_events, due_of_event, &best);
	earliest(&s->world_events, due_of_event, &best);
	*due_ms = KV_MAX(best, s->now_ms);
	return best != UINT64_MAX;
}

static void run_task(struct sim_sched *s, struct list *l)
{
	struct sched_task *t = kv_container_of(l, struct sched_task, link);

	s->ran = "task";
	sched_task_run(t);
}

static void run_event(struct sim_sched *s, struct list *l)
{
	struct sim_event *e = kv_container_of(l, struct sim_event, link);

	list_remove(&e->link);
	s->ran = e->what;
	e->fire(e);
}

/* The oldest task when it has waited long enough, or when order is kept. */
static struct list *task_in_turn(struct sim_sched *s)
{
	struct list *first = list_first(&s->tasks);

	if (first != s->oldest) {
		s->oldest = first;
		s->passed = 0;
	}
	return first != NULL && s->passed++ >= SIM_PATIENCE ? first : NULL;
}

static bool run_one(struct sim_sched *s)
{
	size_t tasks = count_due(&s->tasks, NULL, 0);
	size_t timers = count_due(&s->timers, due_of_timer, s->now_ms);
	size_t agent = count_due(&s->agent_events, due_of_event, s->now_ms);
	size_t world = count_due(&s->world_events, due_of_event, s->now_ms);
	struct list *l = task_in_turn(s);
	size_t i;

	if (tasks + timers + agent + world == 0) {
		return false;
	}
	if (l != NULL) {
		run_task(s, l);
		return true;
	}
	i = (size_t)sim_below(&s->rand, tasks + timers + agent + world);
	if (i < tasks) {
		run_task(s, nth_due(&s->tasks, NULL, 0, s->fifo ? 0 : i));
	} else if ((i -= tasks) < timers) {
		l = nth_due(&s->timers, due_of_timer, s->now_ms, i);
		s->ran = "timer";
		sched_timer_fire(kv_container_of(l, struct sched_timer, link));
	} else if ((i -= timers) < agent) {
		run_event(
		    s, nth_due(&s->agent_events, due_of_event, s->now_ms, i));
	} else {
		run_event(s, nth_due(&s->world_events, due_of_event, s->now_ms,
				     i - agent));
	}
	return true;
}

bool sim_sched_step(struct sim_sched *s)
{
	uint64_t due;

	s->steps++;
	s->ran = "";
	if (s->hurry > 0 && sim_chance(&s->rand, 1, s->hurry)) {
		s->now_ms += sim_range(&s->rand, 1, 60);
	}
	if (run_one(s)) {
		return true;
	}
	if (!sim_sched_next_due(s, &due)) {
		return false;
	}
	s->now_ms = due;
	return run_one(s);
}
