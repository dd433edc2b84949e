/* duo_check.c: who wrote what since both sides were equal last, and what must
 * follow from that.
 *
 *   wrote since equal   what both have when they are equal again
 *   nobody              what they had
 *   one side            what that side left
 *   both                what one of them left; the preferred one where its
 *                       writer did not bring back what was there
 *
 * Both may be equal for a moment without kvmirror's knowing, while it still
 * carries an older value. So its word counts: both were equal when its own
 * write had just made them so, or, as answers get lost and an agent is killed,
 * when both rows said so and nothing of the key was on its way.
 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/content.h"
#include "agent/route_int.h"
#include "duo.h"

#define KEY(k) (int)(k)->name.n, (const char *)(k)->name.p
#define VALUE(v)                                                             \
	(v).present ? (int)(v).bytes.n : 6,                                  \
	    (v).present ? (const char *)((v).bytes.n > 0 ? (v).bytes.p       \
							 : (const void *)"") \
			: "absent"

struct duo_value duo_now(const struct fake_world *w, struct slice key)
{
	const struct fake_key *k = fake_find(w, key);
	struct duo_value v = {false, slice_of(NULL, 0)};

	if (k != NULL && fake_now(k)->present) {
		v.present = true;
		v.bytes = fake_now(k)->value;
	}
	return v;
}

bool duo_same(struct duo_value a, struct duo_value b)
{
	return a.present == b.present &&
	       (!a.present || slice_eq(a.bytes, b.bytes));
}

struct duo_key *duo_find(struct duo *d, struct slice name)
{
	for (size_t i = 0; i < d->n_keys; i++) {
		if (slice_eq(d->keys[i].name, name)) {
			return &d->keys[i];
		}
	}
	return NULL;
}

static struct kv_hash hash_of(struct duo_value v)
{
	struct slice value, attrs;

	fake_split(v.bytes, &value, &attrs);
	return content_hash(content_of(value, attrs));
}

/* Do both rows say that it is so? */
static bool rows_say(const struct duo_key *k, struct duo_value v)
{
	struct kv_hash hash = {0};

	if (v.present) {
		hash = hash_of(v);
	}
	for (size_t i = 0; i < 2; i++) {
		if (k->has_row[i] != v.present ||
		    (v.present && !kv_hash_eq(&k->row[i], &hash))) {
			return false;
		}
	}
	return true;
}

/* ---- the law
 * ----------------------------------------------------------------*/

static void broken(struct duo *d, const struct duo_key *k, struct duo_value now,
		   const char *law)
{
	duo_fail(d,
		 "%s: %.*s is '%.*s' on both sides; it was '%.*s'; left %s "
		 "'%.*s', right %s '%.*s', %s is preferred%s",
		 law, KEY(k), VALUE(now), VALUE(k->base),
		 k->wrote[0] ? "wrote" : "did not write", VALUE(k->last[0]),
		 k->wrote[1] ? "wrote" : "did not write", VALUE(k->last[1]),
		 d->plan.prefer_left ? "left" : "right",
		 k->judged ? ", judged" : "");
}

static void judge(struct duo *d, const struct duo_key *k, struct duo_value now)
{
	size_t best = d->plan.prefer_left ? 0 : 1;

	if (!k->wrote[0] && !k->wrote[1]) {
		if (!duo_same(now, k->base)) {
			broken(d, k, now, "nobody wrote it");
		}
	} else if (k->wrote[0] != k->wrote[1]) {
		if (!duo_same(now, k->last[k->wrote[0] ? 0 : 1])) {
			broken(d, k, now, "one side wrote it");
		}
	} else if (!duo_same(now, k->last[0]) && !duo_same(now, k->last[1])) {
		broken(d, k, now, "none of the last writes");
	} else if ((d->strict || k->judged) && !k->met &&
		   !duo_same(now, k->last[best]) &&
		   !duo_same(k->last[best], k->base) &&
		   d->conf[0].conflict != CONF_STOP) {
		broken(d, k, now, "the preferred side lost");
	}
}

/* Have both routes dealt with all that their sources did to the key? */
static bool is_caught_up(const struct duo *d, const struct duo_key *k)
{
	for (size_t i = 0; i < 2; i++) {
		const struct fake_key *fk = fake_find(&d->worlds[i], k->name);

		if (d->agent.life != DUO_UP ||
		    d->agent.status[i].phase != ROUTE_FOLLOWING ||
		    (fk != NULL &&
		     fake_now(fk)->index > d->agent.status[i].saved)) {
			return false;
		}
	}
	return d->at_rest || !k->intended;
}

/* Are both equal, so that all begins anew? `by_us`: our write has made them so,
 * and no other one of that key is on its way. */
static void maybe_settle(struct duo *d, struct duo_key *k, bool by_us)
{
	struct duo_value left = duo_now(&d->worlds[0], k->name);
	struct duo_value right = duo_now(&d->worlds[1], k->name);

	if (k->outside || !duo_same(left, right)) {
		return;
	}
	if ((!(by_us && d->strict) &&
	     (!is_caught_up(d, k) || !rows_say(k, left)))) {
		k->met = true;
		return;
	}
	d->counts->excused += k->excused;
	if (!d->state_lost && !k->excused) {
		judge(d, k, left);
	}
	d->counts->settled += k->wrote[0] || k->wrote[1];
	d->counts->settled_both += k->wrote[0] && k->wrote[1];
	k->base = left;
	k->met = false;
	k->excused = false;
	k->wrote[0] = false;
	k->wrote[1] = false;
	k->judged = false;
}

/* ---- what happens
 * -----------------------------------------------------------*/

void duo_user_wrote(struct duo *d, size_t side, struct duo_key *k)
{
	k->wrote[side] = true;
	k->last[side] = duo_now(&d->worlds[side], k->name);
	k->judged = false;
	d->user_writes++;
	d->counts->user_writes++;
	d->counts->user_deletes += !k->last[side].present;
	duo_trace(d, "%s %llu: user: %.*s = %.*s", d->worlds[side].name,
		  (unsigned long long)d->worlds[side].index, KEY(k),
		  VALUE(k->last[side]));
	maybe_settle(d, k, false);
}

void duo_applied(struct fake_world *w, struct fake_key *key,
		 const struct store_op *op, void *ctx)
{
	struct duo *d = ctx;
	struct duo_key *k;

	if (op == NULL) {
		return;
	}
	k = duo_find(d, key->key);
	if (k == NULL || k->outside) {
		duo_fail(d, "a key was written that is nobody's: %.*s",
			 (int)key->key.n, (const char *)key->key.p);
		return;
	}
	if (op->guard == STORE_GUARD_NONE) {
		duo_fail(d, "%.*s was written without a guard", KEY(k));
	}
	d->agent_writes++;
	d->counts->agent_writes++;
	duo_trace(d, "%s %llu: kvmirror: %.*s = %.*s (guard %llu)%s", w->name,
		  (unsigned long long)w->index, KEY(k),
		  VALUE(duo_now(w, k->name)), (unsigned long long)op->expect.a,
		  w->late ? ", late" : "");
	maybe_settle(d, k, true);
	if (d->strict && d->agent_writes > d->user_writes) {
		duo_fail(d, "%llu writes of kvmirror, and %llu of users",
			 (unsigned long long)d->agent_writes,
			 (unsigned long long)d->user_writes);
	}
}

static void note_row(struct duo *d, size_t route, const struct state_row *row)
{
	struct duo_key *k = duo_find(d, row->key);

	if (k == NULL) {
		return;
	}
	k->has_row[route] =
	    row->kind == STATE_ROW_OWNED || row->kind == STATE_ROW_STALE;
	k->row[route] = row->hash;
	duo_trace(d, "row %zu: %.*s kind %d index %llu version %llu", route,
		  KEY(k), (int)row->kind, (unsigned long long)row->source_index,
		  (unsigned long long)row->version_a);
}

void duo_saved(struct duo *d, size_t route, const struct state_row *rows,
	       size_t n)
{
	for (size_t i = 0; i < n; i++) {
		note_row(d, route, &rows[i]);
	}
}

static void load_intents(struct duo *d, int64_t route, struct arena *a)
{
	struct state_intent *intents;
	struct kv_err err = {0};
	int64_t *ids;
	size_t n;

	if (state_intents_load(d->state, route, a, &intents, &ids, &n, &err) !=
	    KV_OK) {
		duo_fail(d, "state_intents_load: %s", err.text);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct duo_key *k = duo_find(d, intents[i].key);

		if (k != NULL) {
			k->excused = k->excused ||
				     (d->agent.life == DUO_DOWN && k->intended);
			k->intended = true;
		}
	}
}

void duo_intents(struct duo *d)
{
	struct state_summary *routes;
	struct kv_err err = {0};
	struct arena a;
	size_t n = 0;

	arena_init(&a);
	for (size_t i = 0; i < d->n_keys; i++) {
		d->keys[i].intended = false;
	}
	if (state_summaries(d->state, &a, &routes, &n, &err) != KV_OK) {
		duo_fail(d, "state_summaries: %s", err.text);
		n = 0;
	}
	for (size_t i = 0; i < n; i++) {
		load_intents(d, routes[i].route, &a);
	}
	arena_free(&a);
	for (size_t i = 0; i < d->n_keys; i++) {
		maybe_settle(d, &d->keys[i], false);
	}
}

void duo_journaled(struct duo *d, struct slice key)
{
	struct duo_key *k = duo_find(d, key);

	d->counts->conflicts++;
	if (k != NULL) {
		k->judged = true;
		duo_trace(d, "journal: %.*s", KEY(k));
	}
}

/* ---- the end
 * ----------------------------------------------------------------*/

bool duo_equal(struct duo *d, char *why, size_t cap)
{
	for (size_t i = 0; i < d->n_keys; i++) {
		const struct duo_key *k = &d->keys[i];
		struct duo_value v[2] = {duo_now(&d->worlds[0], k->name),
					 duo_now(&d->worlds[1], k->name)};

		if (!k->outside && !duo_same(v[0], v[1])) {
			(void)snprintf(why, cap,
				       "%.*s is '%.*s' left, '%.*s' right",
				       KEY(k), VALUE(v[0]), VALUE(v[1]));
			return false;
		}
	}
	return true;
}

/* Row ids of both routes as they stand in the state; false: not there. */
static bool load_rows(struct duo *d, size_t route, struct state_row *rows)
{
	struct slice names[DUO_KEYS_MAX];
	struct state_summary *routes;
	struct kv_err err = {0};
	struct arena a;
	size_t n = 0;
	bool found = false;

	for (size_t i = 0; i < d->n_keys; i++) {
		names[i] = d->keys[i].name;
	}
	arena_init(&a);
	if (state_summaries(d->state, &a, &routes, &n, &err) != KV_OK) {
		n = 0;
	}
	for (size_t i = 0; i < n; i++) {
		if (strcmp(routes[i].name, d->conf[route].name) == 0 &&
		    state_ledger_get(d->state, routes[i].route, names,
				     d->n_keys, rows, &err) == KV_OK) {
			found = true;
		}
	}
	arena_free(&a);
	return found;
}

void duo_reread(struct duo *d)
{
	struct state_row rows[DUO_KEYS_MAX];

	for (size_t i = 0; i < 2; i++) {
		bool found = load_rows(d, i, rows);

		for (size_t k = 0; k < d->n_keys; k++) {
			d->keys[k].has_row[i] = false;
			if (found && rows[k].kind != STATE_ROW_NONE) {
				note_row(d, i, &rows[k]);
			}
		}
	}
	duo_intents(d);
}

static void check_row(struct duo *d, size_t route, const struct duo_key *k,
		      const struct state_row *row)
{
	const struct fake_world *to = &d->worlds[1 - route];
	const struct fake_key *fk = fake_find(to, k->name);
	struct duo_value now = duo_now(to, k->name);
	struct kv_hash hash;

	d->counts->rows_checked++;
	if (!now.present) {
		if (row->kind == STATE_ROW_OWNED ||
		    row->kind == STATE_ROW_STALE) {
			duo_fail(d, "%.*s is gone, and %s has a row of it",
				 KEY(k), d->conf[route].name);
		}
		return;
	}
	hash = hash_of(now);
	if (row->kind != STATE_ROW_OWNED || !kv_hash_eq(&row->hash, &hash)) {
		duo_fail(d, "%.*s: the row of %s says another value", KEY(k),
			 d->conf[route].name);
	} else if (d->strict && row->version_a != 0 &&
		   (row->version_a != fake_now(fk)->version.a ||
		    row->version_b != fake_now(fk)->version.b)) {
		duo_fail(d, "%.*s: the row of %s has version %llu, not %llu",
			 KEY(k), d->conf[route].name,
			 (unsigned long long)row->version_a,
			 (unsigned long long)fake_now(fk)->version.a);
	}
}

void duo_check_rows(struct duo *d)
{
	struct state_row rows[DUO_KEYS_MAX];

	for (size_t i = 0; i < 2; i++) {
		if (!load_rows(d, i, rows)) {
			duo_fail(d, "the rows of %s cannot be read",
				 d->conf[i].name);
			return;
		}
		for (size_t k = 0; k < d->n_keys; k++) {
			if (!d->keys[k].outside) {
				check_row(d, i, &d->keys[k], &rows[k]);
			}
		}
	}
}
