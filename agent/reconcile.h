/* reconcile.h: the one pure function that decides what becomes of a key, from
 * what source, target, ledger and open intents say, and the route's policies.
 *
 * It serves the seed, the resume after lost history, drift repair, a failed
 * guard in the stream, an unknown outcome, `diff --owned` and the dry run. No
 * I/O, no clock, no state: a table, tested as a table.
 */
#ifndef KV_RECONCILE_H
#define KV_RECONCILE_H

#include "conf/conf.h"
#include "state/state.h"
#include "store/store.h"

/* What one side says of the key now. */
struct reconcile_side {
	bool present;
	uint64_t index;		      /* of its last change; absent: as of */
	struct store_version version; /* present only */
	struct kv_hash hash;	      /* present only */
};

struct reconcile_in {
	struct reconcile_side source;
	struct reconcile_side target;
	/* The source has it, but it cannot be carried (name, size, unreadable).
	 * source.present is true then. */
	bool uncarried;
	const struct state_row *row;	    /* NULL: none */
	const struct state_intent *intents; /* open ones of this key */
	size_t n_intents;
	/* The source's or target's history is another one than the ledger's:
	 * indexes (versions) of the ledger say nothing, hashes do. */
	bool new_source;
	bool new_target;
	/* Attrs are carried: they may change and the version stays (an ACL of a
	 * znode), so that the hash alone tells what we wrote. */
	bool attrs;
	/* Another route carries the other direction: what changed at the
	 * target only is its business. Where both changed, `prefer_source`
	 * decides in place of the policy (but for `stop`). */
	bool pair;
	bool prefer_source;
	/* Of a pair: one of the two surely has another history, so that the
	 * ledger does not say who changed. Mere doubt leaves it the word: who
	 * differs from its hash has changed. */
	bool replaced;
	enum conf_conflict conflict;
	enum conf_delete delete_policy;
	enum conf_drift drift;
};

enum reconcile_verdict {
	RECONCILE_NOTHING,    /* as it should be */
	RECONCILE_PUT,	      /* write the source's value, guarded */
	RECONCILE_DELETE,     /* delete at the target, guarded */
	RECONCILE_ADOPT,      /* equal: save the row, no write */
	RECONCILE_FORGET,     /* drop the row, no write */
	RECONCILE_YIELD,      /* the target wins: row YIELDED */
	RECONCILE_KEEP,	      /* drift kept: row follows the target */
	RECONCILE_FOREIGN,    /* not ours, source lacks it: list it */
	RECONCILE_QUARANTINE, /* cannot be carried; row STALE if there is one */
	RECONCILE_HOLD	      /* conflict under `stop` */
};

struct reconcile_out {
	enum reconcile_verdict verdict;
	bool conflict;	      /* to be journaled and counted */
	bool repair;	      /* a drift of ours is put right */
	const char *decision; /* for the journal, when conflict */
	/* for PUT and DELETE */
	enum store_guard guard;
	struct store_version expect;
	/* The row's kind after success of the verdict (NONE: drop). */
	enum state_row_kind row_kind;
};

struct reconcile_out reconcile(const struct reconcile_in *in);

const char *reconcile_verdict_name(enum reconcile_verdict v);

#endif /* KV_RECONCILE_H */
