/* sim_final.c: the guarantees when the source rests: both sides are equal as
 * far as policies let them (G1), foreign keys are as they were left (G3), the
 * state's lists name whatever is not mirrored (G6). */
#include <stdio.h>

#include "agent/content.h"
#include "sim.h"

#define KEY(k) (int)(k)->target.n, (const char *)(k)->target.p
#define VALUE(v) (int)(v).n, (const char *)(v).p

static const struct fake_rev *now_at(const struct fake_world *w,
				     struct slice key)
{
	static const struct fake_rev absent;
	const struct fake_key *fk = fake_find(w, key);

	return fk == NULL ? &absent : fake_now(fk);
}

static bool is_carried(const struct sim *sim, const struct sim_key *k,
		       const struct fake_rev *s)
{
	return !k->refused && sim_fits(sim, s);
}

/* May the two sides differ, although the source's value can be carried? */
static bool may_differ(const struct sim *sim, const struct sim_key *k,
		       bool strict)
{
	bool theirs = sim->conf.conflict != CONF_SOURCE_WINS;

	if (k->touched) {
		/* The stream does not see what others do at the target. */
		return !strict || theirs || sim->conf.drift == CONF_DRIFT_KEEP;
	}
	return k->orphan && theirs;
}

/* May the target have a key that the source lacks? */
/* Had the source a value that the target cannot carry? A target's value that
 * was not the ledger's then counts as the target's own. */
static bool was_uncarried(const struct sim *sim, const struct sim_key *k)
{
	const struct fake_key *fk = fake_find(&sim->source, k->source);

	for (size_t i = 0; fk != NULL && i < fk->n; i++) {
		if (fk->revs[i].present &&
		    fk->revs[i].value.n > sim->target.kind.caps.max_value) {
			return true;
		}
	}
	return false;
}

static bool may_stay(const struct sim *sim, const struct sim_key *k,
		     const struct fake_rev *t, bool strict)
{
	if (sim->conf.delete_policy == CONF_DELETE_NEVER || k->orphan ||
	    k->resurrected) {
		return true;
	}
	if (t->writer == FAKE_FOREIGN || k->released) {
		/* What a filter let go is left in place, and nobody's. */
		return !strict || sim->conf.delete_policy != CONF_DELETE_ALL ||
		       sim->conf.conflict != CONF_SOURCE_WINS ||
		       sim->conf.drift == CONF_DRIFT_KEEP;
	}
	return k->touched &&
	       (may_differ(sim, k, strict) || was_uncarried(sim, k));
}

static bool check_key(const struct sim *sim, const struct sim_key *k,
		      bool strict, char *why, size_t cap)
{
	const struct fake_rev *s = now_at(&sim->source, k->source);
	const struct fake_rev *t = now_at(&sim->target, k->target);

	if (k->target.n == 0 || !sim_in_scope(sim, k)) {
		return true;
	}
	if (s->present) {
		if (!is_carried(sim, k, s) ||
		    (t->present && slice_eq(s->value, t->value)) ||
		    may_differ(sim, k, strict)) {
			return true;
		}
		(void)snprintf(
		    why, cap, "%.*s: source %llu has %.*s, target %s%.*s",
		    KEY(k), (unsigned long long)s->index, VALUE(s->value),
		    t->present ? "has " : "lacks it", VALUE(t->value));
		return false;
	}
	if (!t->present || may_stay(sim, k, t, strict)) {
		return true;
	}
	(void)snprintf(why, cap, "%.*s: source lacks it, target has %.*s",
		       KEY(k), VALUE(t->value));
	return false;
}

bool check_mirror(struct sim *sim, bool strict, char *why, size_t cap)
{
	for (size_t i = 0; i < sim->n_keys; i++) {
		if (!check_key(sim, &sim->keys[i], strict, why, cap)) {
			return false;
		}
	}
	return true;
}

/* ---- the lists
 * -------------------------------------------------------------*/

struct lists {
	struct arena arena;
	int64_t route;
	struct state_quarantined *quarantine;
	size_t n_quarantine;
	struct slice *foreign;
	size_t n_foreign;
	struct state_row *rows;
	size_t n_rows;
	struct state_conflict *conflicts;
	size_t n_conflicts;
};

#define ALL 10000

static int load(struct sim *sim, struct lists *l, struct kv_err *err)
{
	struct slice start = slice_str("");
	struct state_summary *routes;
	int64_t *seqs;
	size_t n = 0;
	int rv;

	rv = state_summaries(sim->state, &l->arena, &routes, &n, err);
	if (rv != KV_OK || n == 0) {
		return rv == KV_OK ? kv_fail(err, KV_BROKEN, "no route") : rv;
	}
	l->route = routes[0].route;
	rv = state_quarantine_page(sim->state, l->route, start, ALL, &l->arena,
				   &l->quarantine, &l->n_quarantine, err);
	if (rv == KV_OK) {
		rv = state_foreign_page(sim->state, l->route, start, ALL,
					&l->arena, &l->foreign, &l->n_foreign,
					err);
	}
	if (rv == KV_OK) {
		rv = state_ledger_page(sim->state, l->route, start, ALL,
				       &l->arena, &l->rows, &l->n_rows, err);
	}
	if (rv == KV_OK) {
		rv = state_conflict_page(sim->state, l->route, 0, ALL,
					 &l->arena, &l->conflicts, &seqs,
					 &l->n_conflicts, err);
	}
	return rv;
}

static bool in_quarantine(const struct lists *l, const struct sim_key *k)
{
	for (size_t i = 0; i < l->n_quarantine; i++) {
		if (slice_eq(l->quarantine[i].key, k->source)) {
			return true;
		}
	}
	return false;
}

static bool in_foreign(const struct lists *l, const struct sim_key *k)
{
	for (size_t i = 0; i < l->n_foreign; i++) {
		if (slice_eq(l->foreign[i], k->target)) {
			return true;
		}
	}
	return false;
}

static const struct state_row *in_ledger(const struct lists *l,
					 const struct sim_key *k)
{
	for (size_t i = 0; i < l->n_rows; i++) {
		if (slice_eq(l->rows[i].key, k->target)) {
			return &l->rows[i];
		}
	}
	return NULL;
}

static void check_quarantine(struct sim *sim, const struct lists *l,
			     const struct sim_key *k)
{
	const struct fake_rev *s = now_at(&sim->source, k->source);
	bool should =
	    s->present && sim_in_scope(sim, k) && !is_carried(sim, k, s);

	if (should != in_quarantine(l, k)) {
		sim_fail(sim, "G6: %.*s %s quarantined", (int)k->source.n,
			 (const char *)k->source.p,
			 should ? "is not" : "should not be");
	}
}

static void check_foreign_list(struct sim *sim, const struct lists *l,
			       const struct sim_key *k)
{
	const struct fake_rev *s = now_at(&sim->source, k->source);
	const struct fake_rev *t = now_at(&sim->target, k->target);
	const struct state_row *row = in_ledger(l, k);
	bool ours = row != NULL && row->kind != STATE_ROW_GONE;
	bool should = t->present && !s->present && !ours;

	if (k->target.n == 0 || !sim_in_scope(sim, k)) {
		return;
	}
	if (should != in_foreign(l, k)) {
		sim_fail(sim, "G6: %.*s %s listed as foreign", KEY(k),
			 should ? "is not" : "should not be");
	}
}

static void check_row(struct sim *sim, const struct lists *l,
		      const struct sim_key *k)
{
	const struct fake_rev *t = now_at(&sim->target, k->target);
	const struct state_row *row = in_ledger(l, k);
	struct content content;
	struct kv_hash hash;

	if (row == NULL || row->kind != STATE_ROW_OWNED ||
	    !sim_in_scope(sim, k)) {
		return;
	}
	if (!t->present) {
		sim_fail(sim, "ledger: %.*s is owned and not at the target",
			 KEY(k));
		return;
	}
	fake_split(t->value, &content.value, &content.attrs);
	hash = content_hash(content);
	if (!kv_hash_eq(&hash, &row->hash) || row->version_a != t->version.a ||
	    row->version_b != t->version.b) {
		sim_fail(sim,
			 "ledger: %.*s has version %llu in the ledger, %llu at "
			 "the target%s",
			 KEY(k), (unsigned long long)row->version_a,
			 (unsigned long long)t->version.a,
			 kv_hash_eq(&hash, &row->hash) ? ""
						       : " (another value)");
	}
}

static void check_journal(struct sim *sim, const struct lists *l)
{
	for (size_t i = 0; i < l->n_conflicts; i++) {
		struct sim_key *k = sim_key_of_target(sim, l->conflicts[i].key);

		if (k == NULL || (!k->touched && !k->orphan)) {
			sim_fail(sim, "G3: a conflict that was none: %.*s (%s)",
				 (int)l->conflicts[i].key.n,
				 (const char *)l->conflicts[i].key.p,
				 l->conflicts[i].decision);
		}
		if (k != NULL) {
			k->owe_journal = false;
		}
	}
	for (size_t i = 0; i < sim->n_keys; i++) {
		if (sim->keys[i].owe_journal) {
			sim_fail(sim,
				 "G3: the conflict at %.*s is not in the "
				 "journal",
				 KEY(&sim->keys[i]));
		}
	}
}

void check_lists(struct sim *sim)
{
	struct lists l = {.route = 0};
	struct kv_err err = {0};

	arena_init(&l.arena);
	if (load(sim, &l, &err) != KV_OK) {
		sim_fail(sim, "lists: %s", err.text);
		goto out;
	}
	for (size_t i = 0; i < sim->n_keys; i++) {
		const struct sim_key *k = &sim->keys[i];

		check_quarantine(sim, &l, k);
		check_foreign_list(sim, &l, k);
		check_row(sim, &l, k);
	}
	check_journal(sim, &l);
	sim->counts->quarantined += l.n_quarantine;
	sim->counts->foreign_keys += l.n_foreign;
out:
	arena_free(&l.arena);
}

/* ---- held
 * ------------------------------------------------------------------*/

static uint64_t count_extras(const struct sim *sim)
{
	uint64_t extras = 0, in_source = 0;

	for (size_t i = 0; i < sim->n_keys; i++) {
		const struct sim_key *k = &sim->keys[i];
		bool s = now_at(&sim->source, k->source)->present;
		bool t = now_at(&sim->target, k->target)->present;

		if (k->target.n == 0 || !sim_in_scope(sim, k)) {
			continue;
		}
		extras += t && !s;
		in_source += s;
	}
	return in_source == 0 ? UINT64_MAX : extras;
}

bool check_held_ok(struct sim *sim)
{
	const struct conf_max_delete *m = &sim->conf.max_delete;
	uint64_t extras = count_extras(sim);
	uint64_t total;

	if (sim->conf.conflict == CONF_STOP) {
		for (size_t i = 0; i < sim->n_keys; i++) {
			if (sim->keys[i].touched || sim->keys[i].orphan) {
				return true;
			}
		}
	}
	if (m->kind == CONF_FUSE_PERCENT && m->n >= 100) {
		return false;
	}
	if (extras == UINT64_MAX) {
		return true; /* an empty source */
	}
	/* Deletes of the last hour count, too; those of somebody else may be
	 * taken for the agent's, when it was about to delete the same key. How
	 * large the ledger was when it was judged is not known here: a
	 * percentage may be met by one. */
	total = extras + sim->agent_deletes + sim->others_deletes;
	switch (m->kind) {
	case CONF_FUSE_COUNT:
		return total > m->n;
	case CONF_FUSE_PERCENT:
		return total > 0;
	case CONF_FUSE_DEFAULT:
	default:
		return total > 50;
	}
}
