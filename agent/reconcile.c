/* reconcile.c: the decision, as nested tables of small functions.
 *
 *                 target absent        target present
 * source absent   forget               extra: ours? delete : foreign
 * source present  missing: put         equal: adopt
 *                                      differ: ours? put : conflict
 *
 * "Ours" is a value at the target that we wrote: its version or its hash stands
 * in the ledger, or its hash in an open intent. Everything else that differs
 * is a conflict and goes by the policy.
 */
#include "agent/reconcile.h"

static enum state_row_kind row_kind(const struct reconcile_in *in)
{
	return in->row == NULL ? STATE_ROW_NONE : in->row->kind;
}

static bool is_held_row(const struct reconcile_in *in)
{
	return row_kind(in) == STATE_ROW_OWNED ||
	       row_kind(in) == STATE_ROW_STALE;
}

static struct store_version row_version(const struct state_row *row)
{
	struct store_version v = {row->version_a, row->version_b};

	return v;
}

/* Does the target still have exactly the version of the ledger? */
static bool same_version(const struct reconcile_in *in)
{
	return !in->new_target && in->row != NULL &&
	       store_version_eq(in->target.version, row_version(in->row));
}

static bool intended_put(const struct reconcile_in *in)
{
	for (size_t i = 0; i < in->n_intents; i++) {
		if (!in->intents[i].is_delete &&
		    kv_hash_eq(&in->intents[i].hash, &in->target.hash)) {
			return true;
		}
	}
	return false;
}

static bool intended_delete(const struct reconcile_in *in)
{
	for (size_t i = 0; i < in->n_intents; i++) {
		if (in->intents[i].is_delete) {
			return true;
		}
	}
	return false;
}

/* Is what the target has something that we wrote? */
static bool is_ours(const struct reconcile_in *in)
{
	PRE(in->target.present);
	if (is_held_row(in) && ((same_version(in) && !in->attrs) ||
				kv_hash_eq(&in->row->hash, &in->target.hash))) {
		return true;
	}
	return intended_put(in);
}

/* Has the source not moved since the ledger's row was written? */
static bool source_unmoved(const struct reconcile_in *in)
{
	return !in->new_source && in->row != NULL && in->source.present &&
	       in->source.index == in->row->source_index;
}

/* The source was read as of an older state than the one the ledger knows: to
 * follow it would go back (G2). */
static bool is_stale_read(const struct reconcile_in *in)
{
	return !in->new_source && in->row != NULL &&
	       in->source.index < in->row->source_index;
}

static struct reconcile_out verdict(enum reconcile_verdict v,
				    enum state_row_kind kind)
{
	struct reconcile_out out = {.verdict = v, .row_kind = kind};

	return out;
}

/* A put or delete, guarded by what the target was seen to have. */
static struct reconcile_out write_verdict(const struct reconcile_in *in,
					  enum reconcile_verdict v)
{
	struct reconcile_out out = {.verdict = v};

	out.row_kind = v == RECONCILE_PUT ? STATE_ROW_OWNED : STATE_ROW_GONE;
	if (in->target.present) {
		out.guard = STORE_GUARD_VERSION;
		out.expect = in->target.version;
	} else {
		out.guard = STORE_GUARD_ABSENT;
	}
	return out;
}

/* Both have a say and they differ: by the policy. */
static struct reconcile_out by_policy(const struct reconcile_in *in,
				      enum reconcile_verdict write)
{
	struct reconcile_out out;

	switch (in->conflict) {
	case CONF_TARGET_WINS:
		out = verdict(RECONCILE_YIELD, STATE_ROW_YIELDED);
		out.decision = "target wins";
		break;
	case CONF_STOP:
		out = verdict(RECONCILE_HOLD, row_kind(in));
		out.decision = "stopped";
		break;
	case CONF_SOURCE_WINS:
	case CONF_NEWEST:
	default:
		out = write_verdict(in, write);
		out.decision = "source wins";
		out.repair = is_held_row(in);
		break;
	}
	out.conflict = true;
	return out;
}

static struct reconcile_out decide_equal(const struct reconcile_in *in)
{
	bool settled = row_kind(in) == STATE_ROW_OWNED && same_version(in) &&
		       source_unmoved(in) &&
		       kv_hash_eq(&in->row->hash, &in->target.hash);

	return settled ? verdict(RECONCILE_NOTHING, STATE_ROW_OWNED)
		       : verdict(RECONCILE_ADOPT, STATE_ROW_OWNED);
}

/* A key that was yielded, or whose drift was kept, and still differs. */
static struct reconcile_out decide_yielded(const struct reconcile_in *in)
{
	if (in->conflict == CONF_TARGET_WINS ||
	    (in->drift == CONF_DRIFT_KEEP && source_unmoved(in))) {
		return verdict(RECONCILE_NOTHING, STATE_ROW_YIELDED);
	}
	if (!in->target.present) {
		return write_verdict(in, RECONCILE_PUT);
	}
	return by_policy(in, RECONCILE_PUT);
}

/* A key of ours that somebody changed or deleted at the target. */
static struct reconcile_out decide_drift(const struct reconcile_in *in)
{
	if (in->new_target && !in->target.present) {
		return write_verdict(in, RECONCILE_PUT);
	}
	if (in->drift == CONF_DRIFT_KEEP && source_unmoved(in)) {
		return verdict(RECONCILE_KEEP, STATE_ROW_YIELDED);
	}
	return by_policy(in, RECONCILE_PUT);
}

/* The source has it, the target lacks it. */
static struct reconcile_out decide_missing(const struct reconcile_in *in)
{
	if (row_kind(in) == STATE_ROW_YIELDED) {
		return decide_yielded(in);
	}
	if (is_held_row(in) && !intended_delete(in)) {
		return decide_drift(in);
	}
	return write_verdict(in, RECONCILE_PUT);
}

static struct reconcile_out decide_differ(const struct reconcile_in *in)
{
	if (is_ours(in)) {
		return write_verdict(in, RECONCILE_PUT);
	}
	if (row_kind(in) == STATE_ROW_YIELDED) {
		return decide_yielded(in);
	}
	if (is_held_row(in)) {
		return decide_drift(in);
	}
	return by_policy(in, RECONCILE_PUT);
}

/* The source lacks it, the target has it. */
static struct reconcile_out decide_extra(const struct reconcile_in *in)
{
	bool ours = is_ours(in);

	if (ours || is_held_row(in)) {
		if (in->delete_policy == CONF_DELETE_NEVER) {
			return ours
				   ? verdict(RECONCILE_KEEP, STATE_ROW_STALE)
				   : verdict(RECONCILE_FOREIGN, STATE_ROW_NONE);
		}
		if (ours) {
			return write_verdict(in, RECONCILE_DELETE);
		}
		return by_policy(in, RECONCILE_DELETE);
	}
	if (row_kind(in) == STATE_ROW_YIELDED &&
	    in->conflict == CONF_TARGET_WINS) {
		return verdict(RECONCILE_NOTHING, STATE_ROW_YIELDED);
	}
	if (in->delete_policy == CONF_DELETE_ALL) {
		return write_verdict(in, RECONCILE_DELETE);
	}
	return verdict(RECONCILE_FOREIGN, STATE_ROW_NONE);
}

static struct reconcile_out decide_neither(const struct reconcile_in *in)
{
	if (row_kind(in) == STATE_ROW_NONE || row_kind(in) == STATE_ROW_GONE) {
		return verdict(RECONCILE_NOTHING, row_kind(in));
	}
	return verdict(RECONCILE_FORGET, STATE_ROW_GONE);
}

static struct reconcile_out decide_uncarried(const struct reconcile_in *in)
{
	enum state_row_kind kind = row_kind(in);

	if (in->target.present && is_ours(in)) {
		kind = STATE_ROW_STALE;
	} else if (kind == STATE_ROW_OWNED || kind == STATE_ROW_STALE) {
		kind = STATE_ROW_NONE; /* the target's own by now, or gone */
	}
	return verdict(RECONCILE_QUARANTINE, kind);
}

/* ---- a pair --------------------------------------------------------------*/

/* Is it other than what the pair last made equal? */
static bool has_moved(const struct reconcile_in *in,
		      const struct reconcile_side *side)
{
	if (!is_held_row(in)) {
		return side->present;
	}
	return !side->present || !kv_hash_eq(&side->hash, &in->row->hash);
}

/* Both moved, or nobody knows who did: one side wins, and only the route that
 * writes the other one has anything to do. */
static struct reconcile_out decide_clash(const struct reconcile_in *in)
{
	struct reconcile_in copy = *in;

	copy.conflict =
	    in->conflict == CONF_STOP ? CONF_STOP : CONF_SOURCE_WINS;
	if (!in->prefer_source && copy.conflict != CONF_STOP) {
		return verdict(RECONCILE_NOTHING, row_kind(in));
	}
	return by_policy(&copy,
			 in->source.present ? RECONCILE_PUT : RECONCILE_DELETE);
}

/* The two differ. */
static struct reconcile_out decide_pair(const struct reconcile_in *in)
{
	bool doubt = in->replaced && is_held_row(in);
	bool source = has_moved(in, &in->source);
	bool target = has_moved(in, &in->target);

	/* What we were about to do has been done, and the source has moved on
	 * since. */
	if (in->target.present ? intended_put(in) : intended_delete(in)) {
		source = true;
		target = false;
	}
	if (doubt || (source && target)) {
		return decide_clash(in);
	}
	if (!source) {
		return verdict(RECONCILE_NOTHING, row_kind(in));
	}
	if (in->source.present) {
		return write_verdict(in, RECONCILE_PUT);
	}
	if (in->delete_policy == CONF_DELETE_NEVER) {
		return verdict(RECONCILE_KEEP, STATE_ROW_STALE);
	}
	return write_verdict(in, RECONCILE_DELETE);
}

static bool is_equal(const struct reconcile_in *in)
{
	return in->source.present == in->target.present &&
	       (!in->source.present ||
		kv_hash_eq(&in->source.hash, &in->target.hash));
}

struct reconcile_out reconcile(const struct reconcile_in *in)
{
	if (is_stale_read(in)) {
		return verdict(RECONCILE_NOTHING, row_kind(in));
	}
	if (in->pair && !in->uncarried && !is_equal(in)) {
		return decide_pair(in);
	}
	if (in->uncarried) {
		PRE(in->source.present);
		return decide_uncarried(in);
	}
	if (!in->source.present) {
		return in->target.present ? decide_extra(in)
					  : decide_neither(in);
	}
	if (!in->target.present) {
		return decide_missing(in);
	}
	if (kv_hash_eq(&in->source.hash, &in->target.hash)) {
		return decide_equal(in);
	}
	return decide_differ(in);
}

const char *reconcile_verdict_name(enum reconcile_verdict v)
{
	static const char *const names[] = {[RECONCILE_NOTHING] = "nothing",
					    [RECONCILE_PUT] = "put",
					    [RECONCILE_DELETE] = "delete",
					    [RECONCILE_ADOPT] = "adopt",
					    [RECONCILE_FORGET] = "forget",
					    [RECONCILE_YIELD] = "yield",
					    [RECONCILE_KEEP] = "keep",
					    [RECONCILE_FOREIGN] = "foreign",
					    [RECONCILE_QUARANTINE] =
						"quarantine",
					    [RECONCILE_HOLD] = "hold"};

	PRE((size_t)v < KV_COUNT(names));
	return names[v];
}
