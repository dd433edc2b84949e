/* sched.c: what is the same for every scheduler: a task is posted once, a
 * timer runs once.
 *
 *   owner --> sched_post --> ops->post ... later turn ... sched_task_run -->
 * run
 */
#include "store/base/sched.h"

static bool linked(const struct list *l)
{
	return l->next != NULL && l->next != l;
}

void sched_post(struct sched *s, struct sched_task *task)
{
	PRE(task->run != NULL);
	if (sched_posted(task)) {
		PRE(task->sched == s);
		return;
	}
	list_init(&task->link);
	task->sched = s;
	s->ops->post(s, task);
	POST(sched_posted(task));
}

void sched_unpost(struct sched_task *task)
{
	if (!sched_posted(task)) {
		return;
	}
	task->sched->ops->unpost(task->sched, task);
	if (linked(&task->link)) {
		list_remove(&task->link);
	}
	task->sched = NULL;
}

bool sched_posted(const struct sched_task *task)
{
	return task->sched != NULL;
}

void sched_task_run(struct sched_task *task)
{
	PRE(sched_posted(task));
	if (linked(&task->link)) {
		list_remove(&task->link);
	}
	task->sched = NULL;
	task->run(task);
}

void sched_timer_start(struct sched *s, struct sched_timer *t,
		       uint64_t delay_ms)
{
	uint64_t now = sched_now(s);

	PRE(t->fire != NULL);
	sched_timer_stop(t);
	list_init(&t->link);
	if (__builtin_add_overflow(now, delay_ms, &t->due_ms)) {
		t->due_ms = UINT64_MAX;
	}
	t->sched = s;
	s->ops->timer_start(s, t);
}

void sched_timer_stop(struct sched_timer *t)
{
	if (!sched_timer_running(t)) {
		return;
	}
	t->sched->ops->timer_stop(t->sched, t);
	if (linked(&t->link)) {
		list_remove(&t->link);
	}
	t->sched = NULL;
}

bool sched_timer_running(const struct sched_timer *t)
{
	return t->sched != NULL;
}

void sched_timer_fire(struct sched_timer *timer)
{
	PRE(sched_timer_running(timer));
	if (linked(&timer->link)) {
		list_remove(&timer->link);
	}
	timer->sched = NULL;
	timer->fire(timer);
}
