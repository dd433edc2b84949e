/* sim.h: one run of the simulation, of one seed.
 *
 *   sim_plan.c   what kind of run it is: stores, policies, faults, keys
 *   sim_actors.c what others do: writers, servers, network
 *   sim_agent.c  the agent under test: start, crash, close, its state
 *   sim_check.c  the guarantees, during the run and after it
 *   sim_run.c    a run from its seed to its end
 *
 *          writers, faults                      crash, restart
 *                |                                    |
 *   fake_world source <--fake_store--> route (real) <--fake_store--> target
 *                \                        |                         /
 *                 `--------- sim_check <--+--> state (real, memory)
 */
#ifndef SIM_H
#define SIM_H

#include "agent/mapping.h"
#include "agent/route.h"
#include "fake_world.h"
#include "sim_mem.h"

/* A key that the run knows of, at the source, the target or both. */
struct sim_key {
	struct slice source;
	struct slice target; /* n == 0: no such name can be */
	bool refused;	     /* the target cannot hold the name */
	bool is_foreign;     /* the foreign writer's own */
	/* What the checks know. */
	size_t pos;	      /* the target is at this revision of the source */
	bool touched;	      /* somebody else wrote or deleted it at the
				 target */
	bool orphan;	      /* written by an agent whose state was lost */
	bool released;	      /* was in scope, and is not any more; until the
				 agent writes it again */
	bool owe_journal;     /* a conflict that the journal has to show */
	bool resurrected;     /* came back with a restored target */
	unsigned overwritten; /* somebody else's value was replaced by ours */
};

struct sim_plan {
	unsigned n_keys;
	unsigned storm_steps;
	unsigned act_one_in;   /* a world's action every so many steps */
	unsigned fill;	       /* keys before the agent starts */
	unsigned crash_one_in; /* steps; 0: never */
	unsigned stop_one_in;
	bool told;	    /* the source tells deletes */
	bool one_shot;	    /* no --follow */
	bool second_writer; /* others touch mirrored keys at the target */
	bool older_state;   /* a power cut may bring back an older state */
	bool source_eras;   /* the source is wiped or restored */
	bool target_eras;
	bool new_filter; /* the filter changes at a restart */
	bool oversized;
	bool compaction;
	bool prefilled_target;
	bool outages;
	bool no_space;
	bool denied;
	bool memory;	/* the agent's allocations fail for a while */
	bool full_disk; /* the state cannot be written for a while */
	bool percent;	/* the target's names are escaped */
	bool attrs;	/* values have attrs, and the route carries them */
};

/* Counted over all seeds. X(name). */
#define SIM_COUNT_MAP(X)        \
	X(steps)                \
	X(actions)              \
	X(starts)               \
	X(crashes)              \
	X(crashes_open_intents) \
	X(crashes_late_writes)  \
	X(closes)               \
	X(older_states)         \
	X(filters_changed)      \
	X(reconciles)           \
	X(followed)             \
	X(held)                 \
	X(failed_phase)         \
	X(one_shots)            \
	X(dry_runs)             \
	X(conflicts)            \
	X(repaired)             \
	X(adopted)              \
	X(splits)               \
	X(torn)                 \
	X(unknown)              \
	X(released)             \
	X(quarantined)          \
	X(foreign_keys)         \
	X(foreign_writes)       \
	X(foreign_overwrites)   \
	X(foreign_deletes)      \
	X(source_txs)           \
	X(source_deletes)       \
	X(transactions_whole)   \
	X(checkpoints_checked)  \
	X(compactions_in_seed)  \
	X(no_memory)            \
	X(full_disks)           \
	X(drained)              \
	X(converged)

struct sim_counts {
#define X(name) uint64_t name;
	SIM_COUNT_MAP(X)
#undef X
};

enum sim_life { AGENT_DOWN, AGENT_UP, AGENT_CLOSING };

struct sim_agent {
	enum sim_life life;
	struct store_registry registry;
	struct store *source, *target;
	struct worker *worker;
	struct route *route;
	struct route_status status; /* as of the last step */
	bool dry_run;
	bool one_shot;
	/* At a close with a drain: until when it may take (0: none), what had
	 * been seen and saved, and how much had gone wrong until then. */
	uint64_t drain_until_ms, drain_seen, drain_saved, drain_faults;
	unsigned closing; /* what is still to be closed */
};

struct sim {
	uint64_t seed;
	bool verbose;
	enum fake_plant plant;
	struct sim_plan plan;
	struct sim_rand rand; /* actors and plan */
	struct sim_sched sched;
	struct sim_mem *mem;
	struct region *region;
	struct sim_counts *counts;
	struct fake_counts *faults;
	struct fake_world source, target;
	struct conf_route conf;
	uint32_t batch_ops, window; /* of route_params */
	const char *source_uri, *target_uri;
	size_t target_prefix_n;
	enum mapping_mode mapping;
	struct sim_key *keys; /* sorted by nothing */
	size_t n_keys;
	uint64_t next_value;

	struct sim_agent agent;
	struct state *state; /* the file: outlives the agent */
	uint8_t *old_state;  /* an older copy of it, or NULL */
	size_t old_state_n;
	uint64_t old_state_stamp;      /* revisions at the target then */
	const uint8_t *template_bytes; /* a fresh state */
	size_t template_n;

	/* checks */
	bool quiet;		     /* faults have ended */
	uint64_t memory_until_ms;    /* allocations fail */
	uint64_t full_disk_until_ms; /* the state cannot be written */
	bool era_dirty;	  /* a new era began, and the target has not been
			     equal to the source since */
	bool in_sync;	  /* target equalled source, and since then nothing
			     but the stream moved it */
	uint64_t calm_ms; /* no write of the agent's is in doubt after that */
	uint64_t sync_index; /* the source's, at that moment */
	bool source_gone;    /* a new era began, and nothing was written yet */
	bool state_lost;     /* an older state came back */
	uint64_t last_saved;
	uint64_t agent_deletes; /* keys of ours it deleted */
	uint64_t others_deletes;
	uint64_t seen_faults;
	uint64_t all_faults, fault_ms, fault_step; /* the last one was then */
	bool was_held, was_failed;
	uint64_t reconciles_before;
	bool converged;
	bool writes_forbidden; /* a dry run */
	char failure[1024];    /* "" : none */
};

void sim_trace(struct sim *sim, const char *fmt, ...) KV_PRINTF(2, 3);
/* The first failure of a run is kept. */
void sim_fail(struct sim *sim, const char *fmt, ...) KV_PRINTF(2, 3);
bool sim_failed(const struct sim *sim);

/* sim_plan.c */
void plan_draw(struct sim *sim);
void plan_new_filter(struct sim *sim);
struct sim_key *sim_key_of_target(struct sim *sim, struct slice target);
bool sim_in_scope(const struct sim *sim, const struct sim_key *k);
/* Can the target hold a value of that size? */
bool sim_fits(const struct sim *sim, const struct fake_rev *r);

/* sim_actors.c */
void plan_fill(struct sim *sim);
void actors_act(struct sim *sim);
void actors_rest(struct sim *sim);
/* One more change at the source, so that an idle agent looks. */
void actors_touch(struct sim *sim);

/* After every step: see there. */
void actors_keep_evidence(struct sim *sim);

/* sim_agent.c */
void agent_start(struct sim *sim);
void agent_crash(struct sim *sim, bool older);
void agent_close(struct sim *sim);
/* After each step: has everything closed by now? */
void agent_reap(struct sim *sim);
void agent_remember_state(struct sim *sim);
void agent_look(struct sim *sim); /* refreshes agent.status */

/* sim_check.c */
void check_applied(struct fake_world *w, struct fake_key *key,
		   const struct store_op *op, void *ctx);
/* After every step. */
void check_step(struct sim *sim);
/* Does the target equal the mapped source, as far as it should? False: why
 * not is in `why`. */
bool check_mirror(struct sim *sim, bool strict, char *why, size_t cap);
/* At a crash: what the saved checkpoint claims is true. */
void check_checkpoint(struct sim *sim);
/* After convergence and a reconcile: lists, ledger, journal. */
void check_lists(struct sim *sim);
/* What a one-shot says it stands for is true. */
void check_end_index(struct sim *sim, uint64_t index);
/* May the route be held? */
bool check_held_ok(struct sim *sim);
/* What was seen when the route was told to close is saved, unless something
 * went wrong meanwhile. */
void check_drained(struct sim *sim);
/* How much has gone wrong at the stores and with the agent's means. */
uint64_t check_faults(const struct sim *sim);
/* What changed that ends `in_sync`. */
void check_disturb(struct sim *sim);

/* sim_wrap.c: whose state calls are traced and tampered with. */
void sim_wrap_set(struct sim *sim);

/* sim_run.c: one seed. False: see sim->failure. */
bool sim_run(struct sim *sim);

#endif /* SIM_H */
