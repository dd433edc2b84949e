/* route_int.h: the inside of a route, shared by route.c (interface, trouble,
 * end), route_load.c (what the state remembers), route_probe.c,
 * route_recover.c, route_scan.c (the stages before it follows) and
 * route_stage.c (following, and going on after trouble). */
#ifndef KV_ROUTE_INT_H
#define KV_ROUTE_INT_H

#include "agent/backoff.h"
#include "agent/follow.h"
#include "agent/probe.h"
#include "agent/route.h"
#include "agent/seed.h"

/* Where a route stands; each but the last ones may be interrupted by trouble
 * (which is probed and retried) or by a restart (everything under way is given
 * up, then LOAD). */
enum route_stage {
	STAGE_IDLE,
	STAGE_LOAD,    /* reads the state */
	STAGE_PROBE,   /* asks both stores who they are */
	STAGE_GATE,    /* other routes reconcile; then PROBE again */
	STAGE_RECOVER, /* settles the intents that were open */
	STAGE_PREPARE, /* a reconcile begins: lists emptied */
	STAGE_WATCH,   /* the watch is opened, before the first page */
	STAGE_SEED,    /* merge and write */
	STAGE_CATCHUP, /* one-shot: the watch reaches the end of the scan */
	STAGE_QUIET,   /* what was pulled arrives in the dirty table */
	STAGE_DIRTY,   /* the dirty table is emptied */
	STAGE_FINISH,  /* one-shot: the last save */
	STAGE_FOLLOW,
	STAGE_HELD,
	STAGE_DONE
};

/* What the state remembers, read in one job. */
struct route_load {
	struct worker_job job;
	bool busy;
	struct arena arena;
	char *stores;
	char *filters;
	enum state_match match;
	struct state_intent *intents;
	int64_t *ids;
	struct state_row *rows; /* of the intents' keys */
	size_t n;
	struct state_list_counts counts;
	struct kv_err err;
};

struct route {
	struct route_params p;
	struct route_env env;
	enum route_stage stage;
	enum route_phase phase;
	struct route_load load;
	struct probe probe;
	struct gate_pass pass; /* held from PREPARE to FINISH */
	struct seed seed;
	struct dirty dirty;
	struct follow follow;
	struct apply recover;
	struct worker_job job; /* PREPARE, FINISH */
	struct state_checkpoint job_cp;
	struct kv_err job_err;
	bool job_busy;
	struct sched_timer timer;	/* the next try */
	uint64_t again_ms;		/* doubles while it does not help */
	struct sched_timer again_timer; /* quarantined and yielded keys */
	struct backoff backoff;
	struct backoff held_backoff;
	struct kv_err error;  /* the last trouble */
	struct kv_err logged; /* the last one that was logged */
	bool trouble;	      /* waiting for, or doing, a probe */
	bool watch_lost;      /* the watch has to be opened again */
	uint64_t trouble_since_ms;
	bool met; /* both stores have answered once */
	bool must_reconcile;
	const char *why;	   /* the reconcile is needed */
	uint64_t restart_delay_ms; /* before LOAD */
	bool restarting;	   /* on the way to LOAD */
	bool started_over;	   /* LOAD has been done once */
	bool is_held;
	char held[KV_ERR_TEXT_MAX];
	int exit_status;
	uint64_t end_index;
	struct store_known known;
	struct worker_job known_job;
	struct arena known_after;
	struct slice known_key;
	struct state_row *known_rows;
	struct state_sorted *known_sorted;
	size_t known_n;
	bool known_more;
	struct arena known_arena;
	struct kv_err known_err;
	void (*known_page)(void *ctx, int status, struct store_page *page);
	void *known_ctx;
	bool known_busy;
	/* status for other processes */
	struct worker_job live_job;
	struct sched_timer live_timer;
	struct state_live live;
	bool live_busy;
	/* the end */
	bool closing;
	bool drained;
	struct sched_task close_task;
	struct sched_timer drain_timer;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

static inline bool route_tells_deletes(const struct route *r)
{
	return store_capabilities(r->env.source)->told_deletes;
}

/* route.c */
void route_set_phase(struct route *r, enum route_phase phase);
/* A call failed: back off, probe, go on; or end, or fail. */
void route_trouble(struct route *r, const struct kv_err *err);
/* Gives up everything under way and begins with LOAD again; with `why` that is
 * a reconcile. */
void route_restart(struct route *r, const char *why);
/* As route_restart, after a backoff, because of an error. */
void route_restart_later(struct route *r, const struct kv_err *err,
			 const char *why);
/* The route is held: everything is given up, judged anew later. */
void route_hold(struct route *r, const char *reason);
/* A one-shot is over. */
void route_done(struct route *r, int status);
/* Something was saved: the next trouble is a new one. */
void route_progress(struct route *r);
void route_touch_live(struct route *r);
/* The reconcile is over, or was given up: the next route's turn. */
void route_leave_gate(struct route *r);
/* What it waits for, as a text; false: for nothing. */
bool route_waits(const struct route *r, char *text, size_t cap);

/* route_probe.c */
void route_set_identity(char *to, const char *identity);
void route_stage_load(struct route *r);
void route_stage_loaded(struct route *r);
void route_stage_probed(struct route *r);

/* route_recover.c */
void route_recover_init(struct route *r);
void route_stage_recover(struct route *r);

/* route_scan.c */
void route_scan_init(struct route *r);
void route_stage_prepare(struct route *r);
void route_stage_open_watch(struct route *r, enum follow_mode mode,
			    uint64_t after);
void route_stage_watch(struct route *r);
void route_stage_seed(struct route *r);
void route_stage_quiet(struct route *r);
void route_stage_maybe_drain(struct route *r);
void route_stage_finish(struct route *r);

/* route_stage.c */
void route_stage_init(struct route *r);
void route_stage_follow(struct route *r);
void route_stage_reopen(struct route *r);
void route_stage_try_again(struct route *r);
void route_stage_retry(struct route *r);
bool route_stage_is_quiet(const struct route *r);
void route_stage_abort(struct route *r);
void route_stage_maybe_restart(struct route *r);

/* route_load.c */
void route_load_start(struct route *r);
void route_known_init(struct route *r);
/* Do the pages of r->known name every key that the source had as of `after`?
 * What is on its way is not in the ledger yet; what is yielded or quarantined
 * is left out of the pages, as the fuse counts what they name; what a filter
 * leaves out is in neither. */
bool route_known_all(const struct route *r, uint64_t after);

#endif /* KV_ROUTE_INT_H */
