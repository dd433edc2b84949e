/* route.h: one mirroring from a source to a target: phases, positions, and
 * what users of a route see of it.
 *
 *   INIT -> LOADING -> PROBING -> RECONCILING | FOLLOWING
 *   PROBING, RECONCILING, FOLLOWING <-> BACKOFF;  -> HELD (judged anew later)
 *   any -> FAILED (tried again slowly);  any -> DRAINING -> CLOSED
 *
 * Everything runs on the loop of its scheduler; SQLite on the state's worker.
 */
#ifndef KV_ROUTE_H
#define KV_ROUTE_H

#include "agent/gate.h"
#include "agent/reconcile.h"
#include "conf/conf.h"
#include "state/state.h"
#include "store/base/worker.h"
#include "store/store.h"

struct route;

/* clang-format off */
#define ROUTE_PHASE_MAP(X) \
	X(INIT) \
	X(LOADING) \
	X(PROBING) \
	X(RECONCILING) \
	X(FOLLOWING) \
	X(BACKOFF) \
	X(HELD) \
	X(FAILED) \
	X(DRAINING) \
	X(CLOSED) \
	X(DONE)
/* clang-format on */

enum route_phase {
#define X(name) ROUTE_##name,
	ROUTE_PHASE_MAP(X)
#undef X
};

/* "RECONCILING" */
const char *route_phase_name(enum route_phase phase);

/* What a route is doing, at any time. */
struct route_status {
	const char *name;
	enum route_phase phase;
	uint64_t seen, applied,
	    saved; /* source indexes; saved <= applied <= seen */
	struct state_counters counters;
	uint64_t quarantine;	 /* now */
	uint64_t foreign;	 /* now */
	uint64_t conflicts_open; /* yielded keys now */
	uint64_t scanned;	 /* progress of a reconcile: keys looked at */
	uint64_t written;	 /* keys written since start */
	uint64_t written_bytes;
	uint64_t lag_ms; /* age of the oldest change not yet applied; 0: none */
	const char *held;    /* reason, or NULL */
	struct kv_err error; /* last trouble; status 0: none, but the text may
				say what is waited for */
	int exit_status;     /* DONE: KV_OK, or why it ended */
	uint64_t end_index;  /* DONE of a one-shot: the index it stands for */
};

/* One line of a dry run's plan, or of a diff. The slices are borrowed. */
struct route_plan {
	enum reconcile_verdict verdict;
	bool conflict;
	struct slice key;	 /* the target's */
	struct slice source_key; /* n == 0: unknown */
	const char *reason;	 /* quarantine, conflict; may be NULL */
};

struct route_params {
	struct sched *sched;
	struct worker *worker;	 /* the state's */
	struct state *state;	 /* used on the worker only */
	struct conf_route *conf; /* borrowed; outlives the route */
	struct store *source; /* borrowed; closed by the caller after CLOSED */
	struct store *target;
	bool follow;  /* go on after the seed; else end in DONE */
	bool dry_run; /* write nothing, nowhere; one pass, then DONE */
	bool repair;  /* one reconcile even if the checkpoint is good, then DONE
		       */
	/* One-shots: give up (DONE with KV_NOT_REACHABLE...) when no server
	 * answers for so long. 0: never. */
	uint64_t timeout_ms;
	/* A ledger of other stores under this name is not dropped: the route
	 * ends with KV_BAD_ARGUMENT. */
	bool keep_others;
	/* How many may reconcile at once; NULL: any number. Outlives it. */
	struct gate *gate;
	/* Bounds; 0 = the defaults. */
	uint32_t batch_ops; /* operations a write (default: the target's) */
	uint32_t window;    /* writes in flight of a reconcile (default 16) */
	/* May be NULL. Called on the loop, after phase or DONE changes. */
	void (*changed)(struct route *r, void *ctx);
	/* dry_run: each decision that is not NOTHING. */
	void (*plan)(struct route *r, const struct route_plan *p, void *ctx);
	void *ctx;
};

/* Makes a route in phase INIT. KV_BAD_ARGUMENT when conf cannot be (newest
 * without times, overlap of the stores, ...): err names what to change. */
int route_open(const struct route_params *p, struct route **out,
	       struct kv_err *err) KV_MUSTCHECK;

/* Makes two routes in opposite directions a pair, see twin.h; where both sides
 * changed, a's source wins, or b's. Each is in no pair. One that runs already
 * reconciles. KV_NO_MEMORY. */
int route_pair(struct route *a, struct route *b, bool prefer_a,
	       struct kv_err *err) KV_MUSTCHECK;
bool route_is_paired(const struct route *r);

/* Starts it; results come through `changed` and route_status. */
void route_start(struct route *r);

/* Ends it: what is in flight is finished or given up (bounded by
 * `drain_ms`), the position is saved, then `closed` is called and the route
 * is freed. In any phase; call it once. */
void route_close(struct route *r, uint64_t drain_ms, void (*closed)(void *ctx),
		 void *ctx);

/* Asks for a reconcile soon (drift repair, HELD judged anew). */
void route_reconcile(struct route *r);

void route_status(const struct route *r, struct route_status *out);

#endif /* KV_ROUTE_H */
