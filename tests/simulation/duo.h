/* duo.h: one run of the simulation of a pair: two played stores, the two routes
 * between them that mirror two ways, and users that write on both sides.
 *
 *   duo_plan.c   what kind of run a seed is; what users and faults do
 *   duo_agent.c  the agent under test: start, crash, close, its state
 *   duo_check.c  who wrote what since both were equal, and what must follow
 *   duo_main.c   a run from its seed to its end; the command line
 *
 *            users                                       users
 *              |                                           |
 *         fake_world left <--- route there (real) ---> fake_world right
 *              |          <--- route back  (real) --->     |
 *              `------------ duo_check <--- state ---------'
 */
#ifndef DUO_H
#define DUO_H

#include "agent/route.h"
#include "fake_world.h"
#include "sim_mem.h"

#define DUO_KEYS_MAX 64

/* What a key is on one side. */
struct duo_value {
	bool present;
	struct slice bytes;
};

/* A key, and what the checks know of it. */
struct duo_key {
	struct slice name;
	bool outside; /* the filter leaves it out */
	/* When both were equal last: by what the servers had, in a run without
	 * faults, else by what both rows said, too. */
	struct duo_value base;
	bool met;      /* they were, for a moment; kvmirror may have seen it */
	bool wrote[2]; /* a user of that side, since then */
	struct duo_value last[2];
	/* The journal has a conflict, and no user has written since. */
	bool judged;
	/* An intent is open: a write of an older value may be on its way, and
	 * that both are equal says nothing yet. */
	bool intended;
	/* Both routes had left one when the agent ended: neither knows what the
	 * other was about to do, and an older value may win. */
	bool excused;
	/* What the row of each route says. */
	bool has_row[2];
	struct kv_hash row[2];
};

struct duo_plan {
	unsigned n_keys;
	unsigned storm_steps;
	unsigned act_one_in; /* steps */
	unsigned fill;
	unsigned crash_one_in; /* steps; 0: never */
	unsigned stop_one_in;
	bool faults; /* anything may go wrong */
	bool compaction;
	bool outages;
	bool memory;
	bool full_disk;
	bool attrs;
	bool older_state;
	bool prefer_left;
	bool filtered;
	bool close_writes; /* users like the key that was written last */
};

/* Counted over all seeds. X(name). */
#define DUO_COUNT_MAP(X) \
	X(steps)         \
	X(starts)        \
	X(crashes)       \
	X(closes)        \
	X(older_states)  \
	X(user_writes)   \
	X(user_deletes)  \
	X(agent_writes)  \
	X(settled)       \
	X(settled_both)  \
	X(conflicts)     \
	X(held)          \
	X(nudged)        \
	X(excused)       \
	X(no_memory)     \
	X(full_disks)    \
	X(strict)        \
	X(rows_checked)  \
	X(converged)

struct duo_counts {
#define X(name) uint64_t name;
	DUO_COUNT_MAP(X)
#undef X
};

struct duo;

/* One of the two routes, for callbacks. */
struct duo_end {
	struct duo *d;
	size_t i;
};

enum duo_life { DUO_DOWN, DUO_UP, DUO_CLOSING };

struct duo_agent {
	enum duo_life life;
	struct store_registry registry;
	struct store *stores[2][2]; /* of each route: source, target */
	struct worker *worker;
	struct route *routes[2];
	struct route_status status[2];
	struct duo_end ends[2];
	unsigned open_routes;
	unsigned closing; /* what is still to be closed */
};

struct duo {
	uint64_t seed;
	bool verbose;
	struct duo_plan plan;
	struct sim_rand rand;
	struct sim_sched sched;
	struct sim_mem *mem;
	struct region *region;
	struct duo_counts *counts;
	struct fake_counts *faults;
	struct fake_world worlds[2]; /* left, right */
	struct conf_route conf[2];   /* there, back */
	uint32_t batch_ops[2], window[2];
	struct duo_key keys[DUO_KEYS_MAX];
	size_t n_keys;
	size_t last_key; /* that a user wrote */
	uint64_t next_value;
	struct duo_agent agent;
	struct state *state; /* outlives the agent */
	uint8_t *old_state;
	size_t old_state_n;
	const uint8_t *template_bytes;
	size_t template_n;
	/* What went wrong so far does not excuse anything. */
	bool strict;
	bool state_lost;
	bool no_nudge;
	bool quiet;   /* faults have ended */
	bool at_rest; /* nothing is on its way, whatever intents are open */
	uint64_t memory_until_ms;
	uint64_t full_disk_until_ms;
	uint64_t user_writes, agent_writes;
	char failure[1024];
};

void duo_trace(struct duo *d, const char *fmt, ...) KV_PRINTF(2, 3);
/* The first failure of a run is kept. */
void duo_fail(struct duo *d, const char *fmt, ...) KV_PRINTF(2, 3);
bool duo_failed(const struct duo *d);

/* duo_plan.c */
void duo_plan(struct duo *d);
void duo_act(struct duo *d);
/* Faults end. */
void duo_rest(struct duo *d);
/* Users end a conflict that `stop` waits for: the right becomes as the left. */
void duo_make_equal(struct duo *d);

/* duo_agent.c */
void duo_start(struct duo *d);
void duo_crash(struct duo *d);
void duo_close(struct duo *d);
/* After each step: has everything closed by now? */
void duo_reap(struct duo *d);
void duo_look(struct duo *d);
void duo_wrap_set(struct duo *d);

/* duo_check.c */
struct duo_value duo_now(const struct fake_world *w, struct slice key);
bool duo_same(struct duo_value a, struct duo_value b);
struct duo_key *duo_find(struct duo *d, struct slice name);
/* A user is about to end his transaction in which the key has changed. */
void duo_user_wrote(struct duo *d, size_t side, struct duo_key *k);
void duo_applied(struct fake_world *w, struct fake_key *key,
		 const struct store_op *op, void *ctx);
/* A route's rows were saved. */
void duo_saved(struct duo *d, size_t route, const struct state_row *rows,
	       size_t n);
void duo_journaled(struct duo *d, struct slice key);
/* Intents were made or closed: which keys are settled? */
void duo_intents(struct duo *d);
/* All that the checks believe of the rows is read anew. */
void duo_reread(struct duo *d);
/* Have both sides all they should? Else why not. */
bool duo_equal(struct duo *d, char *why, size_t cap);
/* At rest: both rows of each key are the same fact. */
void duo_check_rows(struct duo *d);

#endif /* DUO_H */
