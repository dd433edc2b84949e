/* dirty.h: changes that must wait until a reconcile's scan has ended: those
 * that the stream brought meanwhile, and the deletes inferred by the merge. The
 * newest of each key, in a temporary table of the state, so that memory stays
 * flat however long the scan takes.
 *
 *   stream, merge --> dirty_put --> table --> dirty_drain --> apply --> target
 */
#ifndef KV_DIRTY_H
#define KV_DIRTY_H

#include "agent/apply.h"

/* Rows on their way into the table. */
struct dirty_put {
	struct route_env *env;
	struct worker_job job;
	struct arena arena;
	struct state_dirty *rows;
	size_t n;
	size_t cap;
	bool busy;
	struct kv_err err;
	void (*done)(struct dirty_put *put); /* see err; then empty again */
	void *ctx;
};

void dirty_put_init(struct dirty_put *put, struct route_env *env,
		    void (*done)(struct dirty_put *put), void *ctx);
/* Frees what an idle one holds. */
void dirty_put_clear(struct dirty_put *put);
/* Adds a row (bytes are copied); false: no memory. Not while busy. */
bool dirty_put_add(struct dirty_put *put,
		   const struct state_dirty *row) KV_MUSTCHECK;
/* Sends the rows; `done` comes later. After an error the rows are still there:
 * send them again. */
void dirty_put_send(struct dirty_put *put);

/* Empties the table into the target, one batch after the other. */
struct dirty {
	struct route_env *env;
	struct apply apply;
	struct worker_job job;
	struct arena arena;
	struct state_dirty *rows; /* the page under way */
	size_t n;
	bool busy;     /* the job is with the worker */
	bool dropping; /* the next job drops the page's rows first */
	bool running;
	bool aborting;
	bool failed; /* the job failed: dirty_retry */
	struct kv_err err;
	/* The table is empty. */
	void (*end)(struct dirty *d);
	/* A batch was saved. */
	void (*moved)(struct dirty *d);
	void (*trouble)(struct dirty *d, const struct kv_err *err);
	void (*held)(struct dirty *d, const char *reason);
	void (*aborted)(struct dirty *d);
	void *ctx;
};

void dirty_init(struct dirty *d, struct route_env *env, void *ctx);
void dirty_clear(struct dirty *d);
void dirty_drain(struct dirty *d);
void dirty_retry(struct dirty *d);
/* Stops; `aborted` comes, later. Rows not done stay in the table. */
void dirty_abort(struct dirty *d);

#endif /* KV_DIRTY_H */
