/* The decision as a table: what source, target and ledger say, under which
 * policies, and what becomes of the key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "agent/reconcile.h"

/* Values as letters; 0: absent. */
enum { NO_ROW = 0 };

struct row_case {
	const char *what;
	char source;	    /* value, 0: absent */
	uint64_t source_at; /* index */
	char target;
	uint64_t version; /* of the target */
	enum state_row_kind row;
	char row_value;
	uint64_t row_index;
	uint64_t row_version;
	char put_intent; /* value of an open put intent, 0: none */
	bool delete_intent;
	enum conf_conflict conflict;
	enum conf_delete delete_policy;
	enum conf_drift drift;
	bool new_source, new_target, uncarried;
	/* expected */
	enum reconcile_verdict verdict;
	bool is_conflict;
	enum state_row_kind kind;
};

#define O STATE_ROW_OWNED
#define G STATE_ROW_GONE
#define Y STATE_ROW_YIELDED
#define S STATE_ROW_STALE
#define N STATE_ROW_NONE

static const struct row_case table[] = {
    /* nothing known of the key */
    {.what = "neither", .verdict = RECONCILE_NOTHING, .kind = N},
    {.what = "only the source",
     .source = 'a',
     .source_at = 5,
     .verdict = RECONCILE_PUT,
     .kind = O},
    {.what = "both equal",
     .source = 'a',
     .source_at = 5,
     .target = 'a',
     .version = 9,
     .verdict = RECONCILE_ADOPT,
     .kind = O},
    {.what = "both differ, source wins",
     .source = 'a',
     .source_at = 5,
     .target = 'b',
     .version = 9,
     .verdict = RECONCILE_PUT,
     .is_conflict = true,
     .kind = O},
    {.what = "both differ, target wins",
     .source = 'a',
     .source_at = 5,
     .target = 'b',
     .version = 9,
     .conflict = CONF_TARGET_WINS,
     .verdict = RECONCILE_YIELD,
     .is_conflict = true,
     .kind = Y},
    {.what = "both differ, stop",
     .source = 'a',
     .source_at = 5,
     .target = 'b',
     .version = 9,
     .conflict = CONF_STOP,
     .verdict = RECONCILE_HOLD,
     .is_conflict = true,
     .kind = N},
    {.what = "foreign",
     .target = 'b',
     .version = 9,
     .verdict = RECONCILE_FOREIGN,
     .kind = N},
    {.what = "foreign, never delete",
     .target = 'b',
     .version = 9,
     .delete_policy = CONF_DELETE_NEVER,
     .verdict = RECONCILE_FOREIGN,
     .kind = N},
    {.what = "foreign, delete all",
     .target = 'b',
     .version = 9,
     .delete_policy = CONF_DELETE_ALL,
     .verdict = RECONCILE_DELETE,
     .kind = G},
    /* ours, untouched at the target */
    {.what = "settled",
     .source = 'a',
     .source_at = 5,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_NOTHING,
     .kind = O},
    {.what = "source moved, same value",
     .source = 'a',
     .source_at = 6,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_ADOPT,
     .kind = O},
    {.what = "source moved",
     .source = 'c',
     .source_at = 6,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_PUT,
     .kind = O},
    {.what = "source deleted",
     .source_at = 7,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_DELETE,
     .kind = G},
    {.what = "source deleted, never delete",
     .source_at = 7,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .delete_policy = CONF_DELETE_NEVER,
     .verdict = RECONCILE_KEEP,
     .kind = S},
    {.what = "both deleted",
     .source_at = 7,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_FORGET,
     .kind = G},
    {.what = "older read of the source",
     .source = 'z',
     .source_at = 4,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_NOTHING,
     .kind = O},
    {.what = "older read says absent",
     .source_at = 4,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_NOTHING,
     .kind = O},
    {.what = "rewritten at the target with our value",
     .source = 'c',
     .source_at = 6,
     .target = 'a',
     .version = 12,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_PUT,
     .kind = O},
    /* ours, changed at the target */
    {.what = "drift repaired",
     .source = 'a',
     .source_at = 5,
     .target = 'x',
     .version = 12,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_PUT,
     .is_conflict = true,
     .kind = O},
    {.what = "drift kept",
     .source = 'a',
     .source_at = 5,
     .target = 'x',
     .version = 12,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .drift = CONF_DRIFT_KEEP,
     .verdict = RECONCILE_KEEP,
     .kind = Y},
    {.what = "drift, source moved, keep",
     .source = 'c',
     .source_at = 6,
     .target = 'x',
     .version = 12,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .drift = CONF_DRIFT_KEEP,
     .verdict = RECONCILE_PUT,
     .is_conflict = true,
     .kind = O},
    {.what = "drift, target wins",
     .source = 'c',
     .source_at = 6,
     .target = 'x',
     .version = 12,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .conflict = CONF_TARGET_WINS,
     .verdict = RECONCILE_YIELD,
     .is_conflict = true,
     .kind = Y},
    {.what = "drift, stop",
     .source = 'c',
     .source_at = 6,
     .target = 'x',
     .version = 12,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .conflict = CONF_STOP,
     .verdict = RECONCILE_HOLD,
     .is_conflict = true,
     .kind = O},
    {.what = "deleted at the target",
     .source = 'a',
     .source_at = 5,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_PUT,
     .is_conflict = true,
     .kind = O},
    {.what = "deleted at the target, kept",
     .source = 'a',
     .source_at = 5,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .drift = CONF_DRIFT_KEEP,
     .verdict = RECONCILE_KEEP,
     .kind = Y},
    {.what = "deleted at the target, target wins",
     .source = 'a',
     .source_at = 5,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .conflict = CONF_TARGET_WINS,
     .verdict = RECONCILE_YIELD,
     .is_conflict = true,
     .kind = Y},
    {.what = "deleted by the source, changed at the target",
     .source_at = 7,
     .target = 'x',
     .version = 12,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .verdict = RECONCILE_DELETE,
     .is_conflict = true,
     .kind = G},
    {.what = "deleted by the source, changed, target wins",
     .source_at = 7,
     .target = 'x',
     .version = 12,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .conflict = CONF_TARGET_WINS,
     .verdict = RECONCILE_YIELD,
     .is_conflict = true,
     .kind = Y},
    /* yielded */
    {.what = "yielded, still differs",
     .source = 'c',
     .source_at = 8,
     .target = 'x',
     .version = 12,
     .row = Y,
     .row_value = 'x',
     .row_index = 5,
     .row_version = 12,
     .conflict = CONF_TARGET_WINS,
     .verdict = RECONCILE_NOTHING,
     .kind = Y},
    {.what = "yielded, equal again",
     .source = 'x',
     .source_at = 8,
     .target = 'x',
     .version = 12,
     .row = Y,
     .row_value = 'x',
     .row_index = 5,
     .row_version = 12,
     .conflict = CONF_TARGET_WINS,
     .verdict = RECONCILE_ADOPT,
     .kind = O},
    {.what = "yielded, gone at the target",
     .source = 'c',
     .source_at = 8,
     .row = Y,
     .row_value = 'x',
     .row_index = 5,
     .row_version = 12,
     .conflict = CONF_TARGET_WINS,
     .verdict = RECONCILE_NOTHING,
     .kind = Y},
    {.what = "yielded, policy now source wins",
     .source = 'c',
     .source_at = 8,
     .target = 'x',
     .version = 12,
     .row = Y,
     .row_value = 'x',
     .row_index = 5,
     .row_version = 12,
     .verdict = RECONCILE_PUT,
     .is_conflict = true,
     .kind = O},
    {.what = "kept drift stays kept",
     .source = 'c',
     .source_at = 5,
     .target = 'x',
     .version = 12,
     .row = Y,
     .row_value = 'x',
     .row_index = 5,
     .row_version = 12,
     .drift = CONF_DRIFT_KEEP,
     .verdict = RECONCILE_NOTHING,
     .kind = Y},
    {.what = "kept drift, source moves",
     .source = 'd',
     .source_at = 6,
     .target = 'x',
     .version = 12,
     .row = Y,
     .row_value = 'x',
     .row_index = 5,
     .row_version = 12,
     .drift = CONF_DRIFT_KEEP,
     .verdict = RECONCILE_PUT,
     .is_conflict = true,
     .kind = O},
    {.what = "yielded, source deleted",
     .source_at = 9,
     .target = 'x',
     .version = 12,
     .row = Y,
     .row_value = 'x',
     .row_index = 5,
     .row_version = 12,
     .conflict = CONF_TARGET_WINS,
     .verdict = RECONCILE_NOTHING,
     .kind = Y},
    {.what = "yielded, source deleted, source wins: foreign",
     .source_at = 9,
     .target = 'x',
     .version = 12,
     .row = Y,
     .row_value = 'x',
     .row_index = 5,
     .row_version = 12,
     .verdict = RECONCILE_FOREIGN,
     .kind = N},
    /* tombstones */
    {.what = "gone, and again at the source",
     .source = 'a',
     .source_at = 9,
     .row = G,
     .row_index = 8,
     .verdict = RECONCILE_PUT,
     .kind = O},
    {.what = "gone, older read",
     .source = 'a',
     .source_at = 7,
     .row = G,
     .row_index = 8,
     .verdict = RECONCILE_NOTHING,
     .kind = G},
    {.what = "gone, somebody else's now",
     .source_at = 9,
     .target = 'x',
     .version = 3,
     .row = G,
     .row_index = 8,
     .verdict = RECONCILE_FOREIGN,
     .kind = N},
    {.what = "gone on both",
     .source_at = 9,
     .row = G,
     .row_index = 8,
     .verdict = RECONCILE_NOTHING,
     .kind = G},
    /* open intents */
    {.what = "our put landed",
     .source = 'c',
     .source_at = 6,
     .target = 'b',
     .version = 12,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .put_intent = 'b',
     .verdict = RECONCILE_PUT,
     .kind = O},
    {.what = "our put landed, source deleted",
     .source_at = 7,
     .target = 'b',
     .version = 12,
     .put_intent = 'b',
     .verdict = RECONCILE_DELETE,
     .kind = G},
    {.what = "our delete landed, source has it again",
     .source = 'c',
     .source_at = 7,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .delete_intent = true,
     .verdict = RECONCILE_PUT,
     .kind = O},
    {.what = "an intent is no claim on another value",
     .source = 'c',
     .source_at = 6,
     .target = 'x',
     .version = 12,
     .put_intent = 'b',
     .verdict = RECONCILE_PUT,
     .is_conflict = true,
     .kind = O},
    /* other histories */
    {.what = "new source, lower index",
     .source = 'c',
     .source_at = 2,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .new_source = true,
     .verdict = RECONCILE_PUT,
     .kind = O},
    {.what = "new source, equal: stamped anew",
     .source = 'a',
     .source_at = 5,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .new_source = true,
     .verdict = RECONCILE_ADOPT,
     .kind = O},
    {.what = "new target, lost our key",
     .source = 'a',
     .source_at = 5,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .new_target = true,
     .verdict = RECONCILE_PUT,
     .kind = O},
    {.what = "new target, older value",
     .source = 'a',
     .source_at = 5,
     .target = 'z',
     .version = 3,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .new_target = true,
     .verdict = RECONCILE_PUT,
     .is_conflict = true,
     .kind = O},
    {.what = "new target: an equal version says nothing",
     .source = 'a',
     .source_at = 5,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .new_target = true,
     .verdict = RECONCILE_ADOPT,
     .kind = O},
    /* what cannot be carried */
    {.what = "uncarried, new",
     .source = 'a',
     .source_at = 5,
     .uncarried = true,
     .verdict = RECONCILE_QUARANTINE,
     .kind = N},
    {.what = "uncarried, older value of ours there",
     .source = 'c',
     .source_at = 6,
     .target = 'a',
     .version = 9,
     .row = O,
     .row_value = 'a',
     .row_index = 5,
     .row_version = 9,
     .uncarried = true,
     .verdict = RECONCILE_QUARANTINE,
     .kind = S},
    {.what = "stale, source deleted",
     .source_at = 7,
     .target = 'a',
     .version = 9,
     .row = S,
     .row_value = 'a',
     .row_index = 6,
     .row_version = 9,
     .verdict = RECONCILE_DELETE,
     .kind = G},
    {.what = "stale, source shrank",
     .source = 'd',
     .source_at = 7,
     .target = 'a',
     .version = 9,
     .row = S,
     .row_value = 'a',
     .row_index = 6,
     .row_version = 9,
     .verdict = RECONCILE_PUT,
     .kind = O},
};

static struct kv_hash hash_of(char letter)
{
	return kv_hash(slice_of(&letter, 1));
}

static struct reconcile_out decide(const struct row_case *c)
{
	struct state_row row = {.kind = c->row,
				.source_index = c->row_index,
				.version_a = c->row_version,
				.hash = hash_of(c->row_value)};
	struct state_intent intents[2];
	struct reconcile_in in = {.row = c->row == N ? NULL : &row,
				  .intents = intents,
				  .new_source = c->new_source,
				  .new_target = c->new_target,
				  .uncarried = c->uncarried,
				  .conflict = c->conflict,
				  .delete_policy = c->delete_policy,
				  .drift = c->drift};

	in.source.present = c->source != 0;
	in.source.index = c->source_at;
	in.source.hash = hash_of(c->source);
	in.target.present = c->target != 0;
	in.target.version.a = c->version;
	in.target.hash = hash_of(c->target);
	if (c->put_intent != 0) {
		intents[in.n_intents++] =
		    (struct state_intent){.hash = hash_of(c->put_intent)};
	}
	if (c->delete_intent) {
		intents[in.n_intents++] =
		    (struct state_intent){.is_delete = true};
	}
	return reconcile(&in);
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < KV_COUNT(table); i++) {
		const struct row_case *c = &table[i];
		struct reconcile_out out = decide(c);

		if (out.verdict != c->verdict ||
		    out.conflict != c->is_conflict || out.row_kind != c->kind) {
			fail_msg("%s: %s%s, row %d; expected %s%s, row %d",
				 c->what, reconcile_verdict_name(out.verdict),
				 out.conflict ? " (conflict)" : "",
				 (int)out.row_kind,
				 reconcile_verdict_name(c->verdict),
				 c->is_conflict ? " (conflict)" : "",
				 (int)c->kind);
		}
	}
}

/* Whatever the input: a write is guarded by what was seen, a conflict has a
 * decision, a foreign key is not touched unless asked for. */
static void check_rules(const struct row_case *c)
{
	struct reconcile_out out = decide(c);
	bool write =
	    out.verdict == RECONCILE_PUT || out.verdict == RECONCILE_DELETE;

	if (write && c->target != 0) {
		assert_int_equal(out.guard, STORE_GUARD_VERSION);
		assert_int_equal(out.expect.a, c->version);
	} else if (write) {
		assert_int_equal(out.guard, STORE_GUARD_ABSENT);
	}
	assert_true(out.conflict == (out.decision != NULL));
	if (out.verdict == RECONCILE_PUT) {
		assert_true(c->source != 0 && !c->uncarried);
	}
	if (out.verdict == RECONCILE_DELETE) {
		assert_true(c->source == 0 && c->target != 0);
		assert_true(c->delete_policy != CONF_DELETE_NEVER);
	}
	if (out.verdict == RECONCILE_DELETE && c->row == N &&
	    c->put_intent == 0) {
		assert_int_equal(c->delete_policy, CONF_DELETE_ALL);
	}
	if (out.verdict == RECONCILE_ADOPT) {
		assert_int_equal(c->source, c->target);
	}
}

static void every_policy(struct row_case c)
{
	for (int conflict = 0; conflict < 3; conflict++) {
		for (int del = 0; del < 3; del++) {
			for (int bits = 0; bits < 16; bits++) {
				c.conflict = (enum conf_conflict)conflict;
				c.delete_policy = (enum conf_delete)del;
				c.drift = (bits & 1) ? CONF_DRIFT_KEEP
						     : CONF_DRIFT_REPAIR;
				c.new_source = bits & 2;
				c.new_target = bits & 4;
				c.put_intent = (bits & 8) ? 'b' : 0;
				check_rules(&c);
			}
		}
	}
}

static void test_rules_everywhere(void **state)
{
	static const char letters[] = {0, 'a', 'b'};

	(void)state;
	for (int s = 0; s < 3; s++) {
		for (int t = 0; t < 3; t++) {
			for (int kind = N; kind <= S; kind++) {
				for (uint64_t at = 4; at <= 6; at++) {
					every_policy((struct row_case){
					    .source = letters[s],
					    .target = letters[t],
					    .source_at = at,
					    .version = 9 + (uint64_t)t,
					    .row = (enum state_row_kind)kind,
					    .row_value = 'a',
					    .row_index = 5,
					    .row_version = 10});
				}
			}
		}
	}
}

/* ---- a pair: both routes look at the same two sides ----------------------*/

static struct reconcile_side side_with(char value, uint64_t version)
{
	struct reconcile_side side = {.present = value != 0, .index = 7};

	side.version.a = version;
	side.hash = hash_of(value);
	return side;
}

/* What the route from `source` to `target` does; `last`: what both had last. */
static struct reconcile_out one_way(char source, char target, char last,
				    bool preferred, enum conf_conflict conflict)
{
	struct state_row row = {.kind = last == 0 ? G : O,
				.source_index = 5,
				.version_a = 3,
				.hash = hash_of(last)};
	struct reconcile_in in = {.row = &row,
				  .pair = true,
				  .prefer_source = preferred,
				  .conflict = conflict,
				  .source = side_with(source, 11),
				  .target = side_with(target, 12)};

	return reconcile(&in);
}

static bool writes(const struct reconcile_out *out)
{
	return out->verdict == RECONCILE_PUT ||
	       out->verdict == RECONCILE_DELETE;
}

static void check_pair(char left, char right, char last)
{
	struct reconcile_out there =
	    one_way(left, right, last, true, CONF_SOURCE_WINS);
	struct reconcile_out back =
	    one_way(right, left, last, false, CONF_SOURCE_WINS);
	bool clash = left != last && right != last;

	if (left == right) {
		assert_false(writes(&there) || writes(&back));
		return;
	}
	/* One of them carries, and it is the side that changed; where both
	 * did, the one that is preferred. Only that is a conflict, once. */
	assert_true(writes(&there) != writes(&back));
	assert_int_equal(writes(&there), left != last);
	assert_int_equal(there.conflict, clash);
	assert_false(back.conflict);
	assert_int_equal(there.verdict == RECONCILE_DELETE,
			 writes(&there) && left == 0);
	there = one_way(left, right, last, true, CONF_STOP);
	back = one_way(right, left, last, false, CONF_STOP);
	assert_int_equal(there.verdict == RECONCILE_HOLD, clash);
	assert_int_equal(back.verdict == RECONCILE_HOLD, clash);
}

static void test_pair_has_one_decision(void **state)
{
	static const char letters[] = {0, 'a', 'b', 'c'};

	(void)state;
	for (size_t l = 0; l < KV_COUNT(letters); l++) {
		for (size_t r = 0; r < KV_COUNT(letters); r++) {
			for (size_t k = 0; k < KV_COUNT(letters); k++) {
				check_pair(letters[l], letters[r], letters[k]);
			}
		}
	}
}

/* A write of ours landed, nobody heard of it, and the source took it back. */
static void test_pair_after_a_lost_answer(void **state)
{
	struct state_row row = {
	    .kind = O, .source_index = 5, .version_a = 3, .hash = hash_of('a')};
	struct state_intent put = {.hash = hash_of('b')};
	struct reconcile_in in = {.row = &row,
				  .intents = &put,
				  .n_intents = 1,
				  .pair = true,
				  .source = side_with('a', 11),
				  .target = side_with('b', 12)};
	struct reconcile_out out = reconcile(&in);

	(void)state;
	assert_int_equal(out.verdict, RECONCILE_PUT);
	assert_false(out.conflict);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pair_has_one_decision),
	    cmocka_unit_test(test_pair_after_a_lost_answer),
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_rules_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
