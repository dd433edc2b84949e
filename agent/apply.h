/* apply.h: carries one batch into the target, to the end.
 *
 *   LOOK   ledger rows and intents in one state transaction
 *   WRITE  guarded operations, as many as the target takes at once
 *   READ   keys whose guard failed or whose outcome is unknown: both stores
 *          are read and reconcile() decides: write again, adopt, yield, hold
 *   WAIT   until a write that may still land is dead, then READ
 *   SAVE   rows, conflicts, quarantine, checkpoint, intents closed: one
 *          transaction
 *
 *   start --> LOOK --> WRITE --> (written) --> SAVE --> (saved)
 *               \       | ^ guard failed, unknown outcome
 *                \      v |
 *                 `--> READ <--> WAIT
 *
 * Any step that fails for a passing reason says so (trouble) and stops; what
 * was done is kept; apply_retry goes on from there. A failed guard takes out
 * its own keys only.
 */
#ifndef KV_APPLY_H
#define KV_APPLY_H

#include "agent/batch.h"

struct apply;

struct apply_events {
	/* All of the batch is at the target (or held); SAVE is on its way. The
	 * next batch may start in another apply. */
	void (*written)(struct apply *a);
	/* In the state; the batch is freed, the apply idle. a->held says
	 * whether a conflict under `stop` held it (a->held_reason). */
	void (*saved)(struct apply *a);
	/* It stopped: see err. */
	void (*trouble)(struct apply *a, const struct kv_err *err);
	/* After apply_abort: idle; open intents stay in the state. */
	void (*aborted)(struct apply *a);
	/* May be NULL. It only waits: see apply_rests. */
	void (*rested)(struct apply *a);
};

struct apply_save;

struct apply {
	struct route_env *env;
	const struct apply_events *events;
	void *ctx;
	struct batch *batch; /* NULL: idle */
	/* Rows that this one saves must be there before ours are looked up. */
	const struct apply *before;
	/* Takes over the keys that have to wait for a write that may still
	 * land, so that the others go on; NULL: all wait. Meanwhile the
	 * checkpoint stays where it is. The park's own park is itself. */
	struct apply *park;
	/* A park: no checkpoint is saved beside one of theirs. */
	const struct apply *beside[2];
	/* Of a pair: */
	struct list flight; /* in env->in_flight, or in env->held_back */
	bool cleared;	    /* the twin is at work on none of the keys */
	bool exempt;	    /* never waits for the twin: what it holds is its
			       own already */
	bool busy;	    /* a job or request is outstanding */
	bool waiting;	    /* for `before` */
	bool troubled;
	bool aborting;
	bool saving;
	bool journaling; /* conflicts are saved before they are written */
	bool held;
	char held_reason[KV_ERR_TEXT_MAX];
	uint32_t limit;	     /* ops a write; sinks when the target refuses */
	uint64_t dead_at_ms; /* unsettled writes are dead after that */
	struct sched_timer timer;
	struct sched_task task;
	/* LOOK */
	struct worker_job look_job;
	struct slice *look_keys;
	struct state_row *look_rows;
	size_t n_look;
	struct state_intent *intents;
	size_t n_intents;
	int64_t intent_id;
	struct kv_err job_err;
	/* WRITE */
	bool writing;
	struct store_write write;
	struct store_op *ops;
	size_t *op_items; /* ops[i] is for items[op_items[i]] */
	/* READ */
	struct store_scan read[2]; /* source, target */
	struct slice *read_keys[2];
	size_t *read_items[2]; /* sorted as read_keys */
	unsigned reads_pending;
	struct arena scratch; /* for one step */
	/* SAVE */
	struct worker_job save_job;
	struct apply_save *save;
};

void apply_init(struct apply *a, struct route_env *env,
		const struct apply_events *events, void *ctx);
/* Frees what an idle apply holds. */
void apply_clear(struct apply *a);

bool apply_is_idle(const struct apply *a);

/* Takes the batch. */
void apply_start(struct apply *a, struct batch *b);

/* After trouble: goes on with the step that failed. Elsewhere nothing. */
void apply_retry(struct apply *a);

/* Goes on if it waited for a->before, which has saved. */
void apply_wake(struct apply *a);

/* Does it do nothing but wait for a time? Keys may be put into its batch, and
 * taken out. */
bool apply_rests(const struct apply *a);

/* A batch is about to start: what the park holds of its keys is taken back, the
 * batch's changes being newer. False: not now, the park is at work on one. *err
 * is set when memory ran out. */
bool apply_unpark(struct apply *park, struct batch *b,
		  struct kv_err *err) KV_MUSTCHECK;

/* Gives up: cancels what is outstanding, then `aborted`, later. */
void apply_abort(struct apply *a);

/* For restarts: writes of the batch's unsettled items may land until then. */
void apply_set_dead_at(struct apply *a, uint64_t ms);

#endif /* KV_APPLY_H */
