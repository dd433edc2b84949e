/* memory.c: what a handle remembers of each route between calls. All of it can
 * be forgotten at any time: after a rollback it is. */
#include "state/state_int.h"

struct memory *memory_of(struct state *st, int64_t route, struct kv_err *err)
{
	struct memory *m = NULL;

	for (size_t i = 0; i < st->n_memories; i++) {
		if (st->memories[i]->route == route) {
			return st->memories[i];
		}
	}
	if (kv_grow((void **)&st->memories, &st->cap_memories,
		    st->n_memories + 1, sizeof(struct memory *))) {
		m = kv_calloc(1, sizeof *m);
	}
	if (m == NULL) {
		(void)kv_fail(err, KV_NO_MEMORY, "no memory for state file %s",
			      st->path);
		return NULL;
	}
	m->route = route;
	st->memories[st->n_memories++] = m;
	return m;
}

void memory_forget(struct state *st)
{
	for (size_t i = 0; i < st->n_memories; i++) {
		newest_clear(&st->memories[i]->newest);
		walk_clear(&st->memories[i]->walk);
	}
}

void memory_free(struct state *st)
{
	memory_forget(st);
	for (size_t i = 0; i < st->n_memories; i++) {
		kv_free(st->memories[i]);
	}
	kv_free(st->memories);
}
