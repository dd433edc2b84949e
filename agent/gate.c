/* gate.c: see gate.h. */
#include "agent/gate.h"

static void task_run(struct sched_task *task)
{
	struct gate *g = kv_container_of(task, struct gate, task);
	struct list *elem;

	while (g->n < g->most && (elem = list_pop_front(&g->waiting)) != NULL) {
		struct gate_pass *pass =
		    kv_container_of(elem, struct gate_pass, link);

		g->n++;
		pass->at = GATE_INSIDE;
		pass->open(pass);
	}
}

void gate_init(struct gate *g, struct sched *sched, unsigned most)
{
	PRE(most > 0);
	*g = (struct gate){.sched = sched, .most = most};
	list_init(&g->waiting);
	g->task.run = task_run;
}

void gate_clear(struct gate *g)
{
	PRE(g->n == 0 && list_empty(&g->waiting));
	sched_unpost(&g->task);
}

bool gate_enter(struct gate *g, struct gate_pass *pass)
{
	if (pass->at == GATE_OUTSIDE && g->n < g->most &&
	    list_empty(&g->waiting)) {
		g->n++;
		pass->at = GATE_INSIDE;
	} else if (pass->at == GATE_OUTSIDE) {
		pass->at = GATE_WAITING;
		list_init(&pass->link);
		list_push_back(&g->waiting, &pass->link);
	}
	return pass->at == GATE_INSIDE;
}

void gate_leave(struct gate *g, struct gate_pass *pass)
{
	if (pass->at == GATE_WAITING) {
		list_remove(&pass->link);
	} else if (pass->at == GATE_INSIDE) {
		PRE(g->n > 0);
		g->n--;
		if (!list_empty(&g->waiting)) {
			sched_post(g->sched, &g->task);
		}
	}
	pass->at = GATE_OUTSIDE;
}

bool gate_is_wanted(const struct gate *g)
{
	return !list_empty(&g->waiting);
}
