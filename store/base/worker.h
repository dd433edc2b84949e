/* worker.h: one thread that runs jobs in the order submitted, for libraries
 * that block (SQLite, file I/O).
 *
 *   loop: worker_submit --> thread: job->work() --> loop: job->done()
 *
 * On a scheduler without a libuv loop (simulation) there is no thread: `work`
 * runs as one posted task and `done` as another one, in the same order.
 */
#ifndef KV_WORKER_H
#define KV_WORKER_H

#include "store/base/sched.h"

struct worker;

/* Embedded in its owner. */
struct worker_job {
	struct list link;
	void (*work)(struct worker_job *job); /* on the thread */
	void (*done)(struct worker_job *job); /* on the loop, later */
};

/* NULL when memory or threads are out. `name` names the thread (15 bytes). */
struct worker *worker_open(struct sched *s, const char *name) KV_MUSTCHECK;
/* Loop thread only. job->link need not be initialised. Always exactly one
 * done(). */
void worker_submit(struct worker *w, struct worker_job *job);
/* As worker_submit, for a job that takes microseconds: when no other job is
 * outstanding, the thread waits, and `work` is done right here, on the loop,
 * which saves two hand-offs; `done` still comes later. The order of jobs stays.
 */
void worker_submit_quick(struct worker *w, struct worker_job *job);
/* Finishes all submitted jobs, their done() included, joins the thread, then
 * calls `closed` (may be NULL) on the loop, never from inside this call. */
void worker_close(struct worker *w, void (*closed)(void *ctx), void *ctx);

#endif /* KV_WORKER_H */
