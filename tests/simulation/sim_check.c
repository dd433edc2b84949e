/* sim_check.c: the guarantees while the run goes on.
 *
 *   each operation of the agent that took effect at the target:
 *     guarded; its value was at the source, and not before the one that the
 *     target had (G2); what it replaced was ours, or the policy says so (G3)
 *   each write of the agent's: no transaction of the source is torn (G5)
 *   each step: saved <= applied <= seen; what `saved` claims is true
 *   each crash: what the checkpoint in the file claims is true (G4)
 */
#include "sim.h"

#define KEY(k) (int)(k)->target.n, (const char *)(k)->target.p
#define VALUE(v) (int)(v).n, (const char *)(v).p

void check_disturb(struct sim *sim)
{
	sim->in_sync = false;
	sim->calm_ms =
	    sim->sched.now_ms + sim->target.kind.caps.write_timeout_ms + 1000;
}

static const struct fake_key *at_source(const struct sim *sim,
					const struct sim_key *k)
{
	return fake_find(&sim->source, k->source);
}

static const struct fake_rev *now_at(const struct fake_world *w,
				     struct slice key)
{
	static const struct fake_rev absent;
	const struct fake_key *fk = fake_find(w, key);

	return fk == NULL ? &absent : fake_now(fk);
}

/* Do the two say the same of the key? */
static bool same_state(const struct fake_rev *a, const struct fake_rev *b)
{
	return a->present == b->present &&
	       (!a->present || slice_eq(a->value, b->value));
}

/* ---- G2: no going back
 * -----------------------------------------------------*/

/* The first revision from `from` on that says what `r` says. */
static bool find_rev(const struct fake_key *fk, size_t from,
		     const struct fake_rev *r, size_t *at)
{
	for (size_t i = from; i < fk->n; i++) {
		if (same_state(&fk->revs[i], r)) {
			*at = i;
			return true;
		}
	}
	return false;
}

static void check_order(struct sim *sim, struct sim_key *k,
			const struct fake_rev *r)
{
	const struct fake_key *fk = at_source(sim, k);
	size_t at;

	if (fk == NULL) {
		if (r->present) {
			sim_fail(sim, "G2: %.*s = %.*s was never at the source",
				 KEY(k), VALUE(r->value));
		}
		return;
	}
	if (find_rev(fk, k->pos, r, &at)) {
		k->pos = at;
	} else if (find_rev(fk, 0, r, &at)) {
		sim_fail(sim,
			 "G2: %.*s %s%.*s goes back: revision %zu, was at %zu",
			 KEY(k), r->present ? "= " : "deleted", VALUE(r->value),
			 at, k->pos);
	} else {
		sim_fail(sim, "G2: %.*s %s%.*s was never so at the source",
			 KEY(k), r->present ? "= " : "deleted",
			 VALUE(r->value));
	}
}

/* ---- G3: what is not ours
 * --------------------------------------------------*/

/* Was that value ever the source's? Then it may have been adopted. */
static bool may_be_adopted(const struct sim *sim, const struct sim_key *k,
			   const struct fake_rev *r)
{
	const struct fake_key *fk = at_source(sim, k);
	size_t at;

	return fk != NULL && find_rev(fk, 0, r, &at);
}

static bool ever_ours(const struct sim *sim, const struct sim_key *k)
{
	const struct fake_key *fk = fake_find(&sim->target, k->target);

	for (size_t i = 0; i + 1 < fk->n; i++) {
		if (fk->revs[i].writer == FAKE_AGENT ||
		    (fk->revs[i].present &&
		     may_be_adopted(sim, k, &fk->revs[i]))) {
			return true;
		}
	}
	return false;
}

/* The operation replaced what somebody else had written. */
static void check_foreign(struct sim *sim, struct sim_key *k,
			  const struct fake_rev *was, bool is_delete)
{
	bool wins = sim->conf.conflict == CONF_SOURCE_WINS;

	if (!was->present || was->writer != FAKE_FOREIGN ||
	    may_be_adopted(sim, k, was)) {
		return;
	}
	k->overwritten++;
	if (is_delete) {
		if (sim->conf.delete_policy != CONF_DELETE_ALL &&
		    !(wins && ever_ours(sim, k))) {
			sim_fail(sim, "G3: foreign %.*s = %.*s was deleted",
				 KEY(k), VALUE(was->value));
		}
		return;
	}
	if (!wins) {
		sim_fail(sim,
			 "G3: foreign %.*s = %.*s was overwritten under %s",
			 KEY(k), VALUE(was->value),
			 conf_conflict_name(sim->conf.conflict));
	}
	k->owe_journal = true;
}

/* ---- G5: whole transactions
 * ------------------------------------------------*/

/* Does the target show the key as some revision at or after the index does? */
static bool shows_later(const struct sim *sim, const struct fake_key *fk,
			const struct fake_rev *t, uint64_t index)
{
	for (size_t i = fk->n; i > 0; i--) {
		const struct fake_rev *r = &fk->revs[i - 1];

		if (r->era != sim->source.era || r->index < index) {
			return false;
		}
		if (same_state(r, t)) {
			return true;
		}
	}
	return false;
}

/* Does the target show exactly this revision, and can it be no other one? */
static bool shows_only(const struct fake_event *e, const struct fake_rev *t)
{
	size_t at;

	return find_rev(e->key, 0, t, &at) && at == e->rev;
}

static struct sim_key *key_of_event(struct sim *sim, const struct fake_event *e)
{
	for (size_t i = 0; i < sim->n_keys; i++) {
		struct sim_key *k = &sim->keys[i];

		if (slice_eq(k->source, e->key->key)) {
			return sim_in_scope(sim, k) ? k : NULL;
		}
	}
	return NULL;
}

/* Could one write hold it, and is none of its keys a special case? */
static bool is_plain_tx(struct sim *sim, const struct fake_tx *tx)
{
	size_t most = sim->target.kind.caps.max_ops;
	size_t n = 0;

	if (sim->batch_ops > 0) {
		most = KV_MIN(most, sim->batch_ops);
	}
	for (size_t i = 0; i < tx->n; i++) {
		const struct fake_event *e = &tx->events[i];
		const struct sim_key *k = key_of_event(sim, e);

		n += k != NULL;
		if (k != NULL && (k->touched || k->orphan)) {
			return false;
		}
		/* Values of any later change count, too: they coalesce. */
		for (size_t r = e->rev; r < e->key->n; r++) {
			if (!sim_fits(sim, &e->key->revs[r])) {
				return false;
			}
		}
	}
	return n >= 2 && n <= most;
}

static void check_tx(struct sim *sim, const struct fake_tx *tx)
{
	const struct sim_key *shown = NULL, *behind = NULL;

	if (!is_plain_tx(sim, tx)) {
		return;
	}
	for (size_t i = 0; i < tx->n; i++) {
		const struct fake_event *e = &tx->events[i];
		const struct sim_key *k = key_of_event(sim, e);
		const struct fake_rev *t;

		if (k == NULL || k->refused) {
			continue;
		}
		t = now_at(&sim->target, k->target);
		if (shows_only(e, t)) {
			shown = k;
		}
		if (!shows_later(sim, e->key, t, tx->index)) {
			behind = k;
		}
	}
	if (shown != NULL && behind != NULL) {
		sim_fail(sim,
			 "G5: transaction %llu is torn: %.*s is there, %.*s "
			 "is not",
			 (unsigned long long)tx->index, KEY(shown),
			 KEY(behind));
	} else if (shown != NULL) {
		sim->counts->transactions_whole++;
	}
}

static void check_transactions(struct sim *sim)
{
	const struct fake_world *w = &sim->source;

	if (!sim->in_sync || sim->agent.status.phase != ROUTE_FOLLOWING ||
	    !sim->plan.told || sim->conf.delete_policy == CONF_DELETE_NEVER) {
		return;
	}
	for (size_t i = w->n_txs; i > 0; i--) {
		const struct fake_tx *tx = &w->txs[i - 1];

		if (tx->era != w->era || tx->index <= sim->sync_index) {
			break;
		}
		check_tx(sim, tx);
	}
}

/* ---- each operation
 * --------------------------------------------------------*/

/* Deletes that only the empty start of an era explains. */
static void check_delete(struct sim *sim, struct sim_key *k)
{
	const struct conf_max_delete *m = &sim->conf.max_delete;
	const struct fake_key *fk = at_source(sim, k);

	sim->agent_deletes++;
	if (sim->conf.delete_policy == CONF_DELETE_NEVER) {
		sim_fail(sim, "%.*s was deleted under delete: never", KEY(k));
	}
	if (m->kind == CONF_FUSE_COUNT && !sim->plan.told &&
	    sim->conf.delete_policy == CONF_DELETE_OWNED && !sim->state_lost &&
	    sim->agent_deletes > m->n) {
		sim_fail(sim, "fuse: %llu inferred deletes, %llu are allowed",
			 (unsigned long long)sim->agent_deletes,
			 (unsigned long long)m->n);
	}
	if (sim->source_gone && sim->source.index == 1 && fk != NULL &&
	    m->kind == CONF_FUSE_DEFAULT && fk->revs[k->pos].start &&
	    fk->revs[k->pos].era == sim->source.era) {
		sim_fail(sim, "fuse: %.*s was deleted as the source was wiped",
			 KEY(k));
	}
}

void check_applied(struct fake_world *w, struct fake_key *key,
		   const struct store_op *op, void *ctx)
{
	struct sim *sim = ctx;
	struct sim_key *k;

	if (w != &sim->target) {
		sim_fail(sim, "the agent wrote to the source");
		return;
	}
	if (op == NULL) {
		check_transactions(sim);
		return;
	}
	k = sim_key_of_target(sim, key->key);
	sim_trace(sim, "target %llu: agent %s %.*s%s%.*s (guard %llu)%s",
		  (unsigned long long)w->index,
		  op->kind == STORE_OP_PUT ? "puts" : "deletes", (int)op->key.n,
		  (const char *)op->key.p,
		  op->kind == STORE_OP_PUT ? " = " : "", VALUE(op->value),
		  (unsigned long long)op->expect.a, w->late ? ", late" : "");
	if (k == NULL) {
		sim_fail(sim, "G2: a key that nobody knows: %.*s",
			 (int)op->key.n, (const char *)op->key.p);
		return;
	}
	if (op->guard == STORE_GUARD_NONE) {
		sim_fail(sim, "%.*s was written without a guard", KEY(k));
	}
	if (sim->writes_forbidden && !w->late) {
		sim_fail(sim, "%.*s was written in a dry run", KEY(k));
	}
	if (!sim->plan.new_filter && !sim_in_scope(sim, k) &&
	    sim->conf.delete_policy != CONF_DELETE_ALL) {
		sim_fail(sim, "%.*s is out of scope and was written", KEY(k));
	}
	check_foreign(sim, k, &key->revs[key->n - 2],
		      op->kind == STORE_OP_DELETE);
	check_order(sim, k, fake_now(key));
	k->released = k->released && w->late;
	if (op->kind == STORE_OP_DELETE) {
		check_delete(sim, k);
	}
}

/* ---- what a position claims
 * ------------------------------------------------*/

static bool is_special(const struct sim *sim, const struct sim_key *k)
{
	return k->touched || k->orphan || k->released || k->refused ||
	       !sim_in_scope(sim, k);
}

/* Was the key deleted after that index? Then the delete is still to be told,
 * and until then an older value may stand for the one that went. */
static bool is_deleted_later(const struct sim *sim, const struct fake_key *fk,
			     uint64_t index)
{
	for (size_t i = fk->n; i > 0; i--) {
		const struct fake_rev *r = &fk->revs[i - 1];

		if (r->era != sim->source.era || r->index <= index) {
			return false;
		}
		if (!r->present) {
			return true;
		}
	}
	return false;
}

/* Is the key listed as one that cannot be carried? A reconcile begins with
 * empty lists: until it is over, they say nothing. */
static bool is_quarantined(struct sim *sim, const struct sim_key *k)
{
	struct state_quarantined *items;
	struct state_summary *routes;
	struct arena a;
	struct kv_err err = {0};
	size_t n = 0, m = 0;
	bool found = false;

	arena_init(&a);
	if (state_summaries(sim->state, &a, &routes, &n, &err) == KV_OK &&
	    n > 0 &&
	    state_quarantine_page(sim->state, routes[0].route, slice_str(""),
				  10000, &a, &items, &m, &err) != KV_OK) {
		m = 0;
	}
	found = n > 0 && !routes[0].checkpoint.complete;
	for (size_t i = 0; i < m; i++) {
		found = found || slice_eq(items[i].key, k->source);
	}
	arena_free(&a);
	return found;
}

/* Did the key outgrow the target after that index? Changes of one key coalesce,
 * and a scan shows the newest: the agent then saw the value that it cannot
 * carry in place of the one of that index, and the older value that the target
 * keeps is rightly behind (DESIGN 4, Quarantine). It is so only while the state
 * says so: a key that was merely forgotten is no such case. */
static bool is_outgrown(struct sim *sim, const struct sim_key *k,
			uint64_t index)
{
	const struct fake_key *fk = at_source(sim, k);

	for (size_t i = fk == NULL ? 0 : fk->n; i > 0; i--) {
		const struct fake_rev *r = &fk->revs[i - 1];

		if (r->era != sim->source.era || r->index <= index) {
			return false;
		}
		if (!sim_fits(sim, r)) {
			return is_quarantined(sim, k);
		}
	}
	return false;
}

/* Is the target, for this key, at or behind the source's index? */
static bool reaches(const struct sim *sim, const struct sim_key *k,
		    uint64_t index)
{
	const struct fake_key *fk = at_source(sim, k);
	const struct fake_rev *t = now_at(&sim->target, k->target);
	const struct fake_rev *r;

	if (fk == NULL) {
		return true;
	}
	if (is_deleted_later(sim, fk, index)) {
		return true;
	}
	r = fake_at(&sim->source, fk, index);
	if (r == NULL) {
		if (!t->present ||
		    sim->conf.delete_policy == CONF_DELETE_NEVER) {
			return true;
		}
		/* A later put, then. */
		return shows_later(sim, fk, t, index + 1);
	}
	return !sim_fits(sim, r) || shows_later(sim, fk, t, r->index);
}

static bool is_intended(const struct state_intent *intents, size_t n,
			const struct sim_key *k)
{
	for (size_t i = 0; i < n; i++) {
		if (slice_eq(intents[i].key, k->target)) {
			return true;
		}
	}
	return false;
}

static void check_claim(struct sim *sim, uint64_t index,
			const struct state_intent *intents, size_t n,
			const char *who)
{
	if (index == 0 || sim->era_dirty || index > sim->source.index) {
		return;
	}
	sim->counts->checkpoints_checked++;
	for (size_t i = 0; i < sim->n_keys; i++) {
		const struct sim_key *k = &sim->keys[i];

		if (!is_special(sim, k) && !is_intended(intents, n, k) &&
		    !reaches(sim, k, index) && !is_outgrown(sim, k, index)) {
			sim_fail(sim,
				 "%s claims source index %llu, and the target "
				 "does not have %.*s of then",
				 who, (unsigned long long)index, KEY(k));
		}
	}
}

void check_checkpoint(struct sim *sim)
{
	struct state_summary *routes;
	struct state_intent *intents;
	int64_t *ids;
	struct arena a;
	struct kv_err err = {0};
	size_t n = 0, m = 0;

	arena_init(&a);
	if (state_summaries(sim->state, &a, &routes, &n, &err) != KV_OK) {
		sim_fail(sim, "state_summaries: %s", err.text);
		n = 0;
	}
	if (n > 0 && state_intents_load(sim->state, routes[0].route, &a,
					&intents, &ids, &m, &err) != KV_OK) {
		sim_fail(sim, "state_intents_load: %s", err.text);
		n = 0;
	}
	if (n > 0) {
		sim->counts->crashes_open_intents += m > 0;
		if (!sim->state_lost) {
			check_claim(sim, routes[0].checkpoint.index, intents, m,
				    "the checkpoint in the file");
		}
	}
	arena_free(&a);
}

uint64_t check_faults(const struct sim *sim)
{
	const struct fake_counts *f = sim->faults;
	uint64_t n = sim->counts->no_memory + sim->counts->full_disks;

	n += f->pages_lost + f->guards_failed + f->history_lost + f->cuts;
	n += f->unreachable + f->refused + f->timed_out + f->denied;
	n += f->no_space + f->stale_epoch + f->unknown_done;
	return n + f->unknown_never + f->unknown_later;
}

void check_drained(struct sim *sim)
{
	const struct sim_agent *a = &sim->agent;
	struct state_summary *routes;
	struct arena arena;
	struct kv_err err = {0};
	size_t n = 0;

	if (a->drain_until_ms <= sim->sched.now_ms ||
	    a->drain_faults != check_faults(sim)) {
		return;
	}
	arena_init(&arena);
	if (state_summaries(sim->state, &arena, &routes, &n, &err) != KV_OK ||
	    n == 0) {
		sim_fail(sim, "state_summaries: %s", err.text);
	} else if (routes[0].checkpoint.index < a->drain_seen) {
		sim_fail(sim, "drained to %llu, and had seen %llu",
			 (unsigned long long)routes[0].checkpoint.index,
			 (unsigned long long)a->drain_seen);
	} else {
		sim->counts->drained += a->drain_saved < a->drain_seen;
	}
	arena_free(&arena);
}

void check_end_index(struct sim *sim, uint64_t index)
{
	check_claim(sim, index, NULL, 0, "a one-shot that ended");
}

/* ---- each step
 * -------------------------------------------------------------*/

static uint64_t count_faults(const struct sim *sim)
{
	const struct fake_counts *f = sim->faults;

	return f->unknown_done + f->unknown_later + f->unknown_never +
	       f->guards_failed + f->landed_late + f->stale_epoch +
	       f->late_guard_failed;
}

/* May the agent doubt that the source's history is the one it knows? Only where
 * the past of its newest key cannot be read any more: then nothing is claimed
 * until hashes have been compared (DESIGN 1, incarnation). */
static bool may_doubt(const struct sim *sim)
{
	return sim->source.era > 0 || !sim->source.kind.at ||
	       sim->source.compacted > 1;
}

static void check_positions(struct sim *sim)
{
	const struct route_status *st = &sim->agent.status;

	if (st->saved > st->applied || st->applied > st->seen) {
		sim_fail(
		    sim, "positions: seen %llu, applied %llu, saved %llu (%s)",
		    (unsigned long long)st->seen,
		    (unsigned long long)st->applied,
		    (unsigned long long)st->saved, route_phase_name(st->phase));
	}
	if (st->saved != sim->last_saved) {
		if (st->saved < sim->last_saved && sim->source.era == 0 &&
		    (st->saved > 0 || !may_doubt(sim))) {
			sim_fail(sim, "saved went back from %llu to %llu",
				 (unsigned long long)sim->last_saved,
				 (unsigned long long)st->saved);
		}
		sim->last_saved = st->saved;
		if (!sim->state_lost) {
			check_claim(sim, st->saved, NULL, 0, "saved");
		}
	}
}

static void look_for_sync(struct sim *sim)
{
	char why[256];

	if (sim->agent.status.phase != ROUTE_FOLLOWING) {
		sim->in_sync = false;
		return;
	}
	if (sim->in_sync || sim->sched.now_ms < sim->calm_ms ||
	    sim->sched.steps % 8 != 0 ||
	    sim->agent.status.seen < sim->source.index ||
	    !list_empty(&sim->target.late_writes) ||
	    !check_mirror(sim, false, why, sizeof why)) {
		return;
	}
	sim->in_sync = true;
	sim->era_dirty = false;
	sim->sync_index = sim->source.index;
}

static void note_phase(struct sim *sim)
{
	enum route_phase phase = sim->agent.status.phase;

	sim->counts->held += phase == ROUTE_HELD && !sim->was_held;
	sim->counts->failed_phase += phase == ROUTE_FAILED && !sim->was_failed;
	sim->was_held = phase == ROUTE_HELD;
	sim->was_failed = phase == ROUTE_FAILED;
}

void check_step(struct sim *sim)
{
	uint64_t faults = count_faults(sim);

	if (check_faults(sim) != sim->all_faults) {
		sim->all_faults = check_faults(sim);
		sim->fault_ms = sim->sched.now_ms;
		sim->fault_step = sim->sched.steps;
	}
	if (faults != sim->seen_faults) {
		sim->seen_faults = faults;
		check_disturb(sim);
	}
	if (sim->agent.life == AGENT_DOWN || sim->agent.route == NULL) {
		sim->in_sync = false;
		return;
	}
	agent_look(sim);
	note_phase(sim);
	if (!sim->agent.dry_run) {
		check_positions(sim);
		look_for_sync(sim);
	}
}
