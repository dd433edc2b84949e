/* sim_wrap.c: the state calls of the agent, as the linker hands them over
 * (--wrap): shown in the trace, refused while the disk is full, and spoiled
 * where a bug is to be planted.
 *
 *   agent --> __wrap_state_begin --> __real_state_begin
 *   agent --> __wrap_state_commit --> __real_state_commit
 *
 * The calls carry no context of ours: the run that is on is kept here.
 */
#include "sim.h"

static struct sim *current;

void sim_wrap_set(struct sim *sim)
{
	current = sim;
}

int __real_state_begin(struct state *st, int64_t route,
		       const struct slice *keys, size_t n,
		       struct state_row *rows,
		       const struct state_intent *intents, size_t n_intents,
		       uint64_t wall_ms, int64_t *intent_id,
		       struct kv_err *err);
int __wrap_state_begin(struct state *st, int64_t route,
		       const struct slice *keys, size_t n,
		       struct state_row *rows,
		       const struct state_intent *intents, size_t n_intents,
		       uint64_t wall_ms, int64_t *intent_id,
		       struct kv_err *err);
int __real_state_commit(struct state *st, const struct state_commit *c,
			struct kv_err *err);
int __wrap_state_commit(struct state *st, const struct state_commit *c,
			struct kv_err *err);

/* Is there no room for what is to be saved? Nothing of it is, then. */
static bool is_full(struct kv_err *err)
{
	if (current == NULL ||
	    current->sched.now_ms >= current->full_disk_until_ms) {
		return false;
	}
	current->counts->full_disks++;
	(void)kv_fail(err, KV_NO_SPACE, "state: the disk is full");
	return true;
}

/* The planted bug: the position of a batch is saved before its write, and no
 * intent remembers that it is not there yet. */
static int save_early(struct state *st, int64_t route,
		      const struct state_intent *intents, size_t n,
		      int64_t intent_id, struct kv_err *err)
{
	struct state_checkpoint cp;
	struct state_commit c = {.route = route,
				 .close_intents = &intent_id,
				 .n_close_intents = 1,
				 .checkpoint = &cp};
	int rv = state_checkpoint_load(st, route, &cp, err);

	if (rv != KV_OK || !cp.complete) {
		return rv;
	}
	for (size_t i = 0; i < n; i++) {
		cp.index = KV_MAX(cp.index, intents[i].source_index);
	}
	current->faults->planted++;
	return __real_state_commit(st, &c, err);
}

int __wrap_state_begin(struct state *st, int64_t route,
		       const struct slice *keys, size_t n,
		       struct state_row *rows,
		       const struct state_intent *intents, size_t n_intents,
		       uint64_t wall_ms, int64_t *intent_id, struct kv_err *err)
{
	int rv;

	if (is_full(err)) {
		return KV_NO_SPACE;
	}
	rv = __real_state_begin(st, route, keys, n, rows, intents, n_intents,
				wall_ms, intent_id, err);
	if (current == NULL || rv != KV_OK) {
		return rv;
	}
	for (size_t i = 0; i < n_intents; i++) {
		sim_trace(current, "state: intent %lld: %s %.*s of %llu",
			  (long long)*intent_id,
			  intents[i].is_delete ? "delete" : "put",
			  (int)intents[i].key.n, (const char *)intents[i].key.p,
			  (unsigned long long)intents[i].source_index);
	}
	if (n_intents > 0 && current->plant == PLANT_EARLY_CHECKPOINT) {
		rv = save_early(st, route, intents, n_intents, *intent_id, err);
	}
	return rv;
}

int __wrap_state_commit(struct state *st, const struct state_commit *c,
			struct kv_err *err)
{
	if (is_full(err)) {
		return KV_NO_SPACE;
	}
	if (current == NULL || !current->verbose) {
		return __real_state_commit(st, c, err);
	}
	sim_trace(current,
		  "state: commit of %zu rows, %zu conflicts, "
		  "checkpoint %llu, fuse %llu%s",
		  c->n_rows, c->n_conflicts,
		  c->checkpoint == NULL
		      ? 0ULL
		      : (unsigned long long)c->checkpoint->index,
		  c->checkpoint == NULL
		      ? 0ULL
		      : (unsigned long long)c->checkpoint->fuse_deletes,
		  c->checkpoint != NULL && c->checkpoint->complete
		      ? ""
		      : " (not complete)");
	for (size_t i = 0; i < c->n_rows; i++) {
		const struct state_row *r = &c->rows[i];

		sim_trace(current,
			  "state:   row %.*s kind %d source %llu "
			  "version %llu",
			  (int)r->key.n, (const char *)r->key.p, (int)r->kind,
			  (unsigned long long)r->source_index,
			  (unsigned long long)r->version_a);
	}
	for (size_t i = 0; i < c->n_conflicts; i++) {
		sim_trace(current, "state:   conflict %.*s, %s",
			  (int)c->conflicts[i].key.n,
			  (const char *)c->conflicts[i].key.p,
			  c->conflicts[i].decision);
	}
	for (size_t i = 0; i < c->n_close_intents; i++) {
		sim_trace(current, "state:   intent %lld closed",
			  (long long)c->close_intents[i]);
	}
	return __real_state_commit(st, c, err);
}

/* The other calls that write: refused, else passed on. */
#define WRAP_WRITE(name, params, args)      \
	int __real_##name params;           \
	int __wrap_##name params;           \
	int __wrap_##name params            \
	{                                   \
		if (is_full(err)) {         \
			return KV_NO_SPACE; \
		}                           \
		return __real_##name args;  \
	}

WRAP_WRITE(state_route_open,
	   (struct state * st, const struct state_fingerprint *fp,
	    int64_t *route, enum state_match *match, struct kv_err *err),
	   (st, fp, route, match, err))
WRAP_WRITE(state_dirty_put,
	   (struct state * st, int64_t route, const struct state_dirty *d,
	    size_t n, struct kv_err *err),
	   (st, route, d, n, err))
WRAP_WRITE(state_dirty_drop,
	   (struct state * st, int64_t route, const struct state_dirty *d,
	    size_t n, struct kv_err *err),
	   (st, route, d, n, err))
WRAP_WRITE(state_dirty_clear,
	   (struct state * st, int64_t route, struct kv_err *err),
	   (st, route, err))
WRAP_WRITE(state_sort_put,
	   (struct state * st, int64_t route, const struct state_sorted *rows,
	    size_t n, struct kv_err *err),
	   (st, route, rows, n, err))
