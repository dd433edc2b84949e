/* worker.c: one ordered thread, or, without a libuv loop, two posted tasks.
 *
 *   submit -> queue -> thread: work -> mailbox -> loop: done
 *   submit -> queue -> work_task: work -> finished -> done_task: done
 *
 * Close: the thread works off its queue, sends the worker's own `last` item
 * behind the last job, and ends; on `last` the loop joins it.
 */
#include "store/base/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "store/base/mailbox.h"
#include "store/base/mem.h"

struct worker {
	struct sched *sched;
	struct list queue;  /* jobs to work; under the lock with a thread */
	bool stop;	    /* as queue */
	bool closing;	    /* loop thread only */
	size_t outstanding; /* loop thread only: submitted, not done */
	void (*closed)(void *ctx);
	void *closed_ctx;

	/* with a thread */
	struct mailbox *mailbox; /* NULL: no thread */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list last;

	/* without */
	struct list finished; /* jobs whose done() is due */
	struct sched_task work_task;
	struct sched_task done_task;
};

static struct worker_job *job_of(struct list *l)
{
	return kv_container_of(l, struct worker_job, link);
}

/* ---- with a thread ------------------------------------------------------- */

/* The next job; NULL when stopped and all is done. */
static struct list *wait_for_job(struct worker *w)
{
	struct list *l;

	(void)pthread_mutex_lock(&w->lock);
	while (list_empty(&w->queue) && !w->stop) {
		(void)pthread_cond_wait(&w->wake, &w->lock);
	}
	l = list_pop_front(&w->queue);
	(void)pthread_mutex_unlock(&w->lock);
	return l;
}

static void *thread_main(void *arg)
{
	struct worker *w = arg;
	struct list *l;

	while ((l = wait_for_job(w)) != NULL) {
		job_of(l)->work(job_of(l));
		mailbox_send(w->mailbox, l);
	}
	mailbox_send(w->mailbox, &w->last);
	return NULL;
}

static void free_worker(void *ctx)
{
	struct worker *w = ctx;
	void (*closed)(void *ctx) = w->closed;
	void *closed_ctx = w->closed_ctx;

	sched_unpost(&w->done_task);
	if (w->mailbox != NULL) {
		(void)pthread_cond_destroy(&w->wake);
		(void)pthread_mutex_destroy(&w->lock);
	}
	kv_free(w);
	if (closed != NULL) {
		closed(closed_ctx);
	}
}

/* The done() of jobs that were worked on the loop, in their order. */
static void finish_quick(struct worker *w)
{
	struct list now;
	struct list *l;

	/* What a done() submits is for a later turn. */
	list_init(&now);
	list_splice_back(&now, &w->finished);
	while ((l = list_pop_front(&now)) != NULL) {
		w->outstanding--;
		job_of(l)->done(job_of(l));
	}
}

static void receive(void *ctx, struct list *item)
{
	struct worker *w = ctx;

	/* Those came before. */
	finish_quick(w);
	if (item == &w->last) {
		(void)pthread_join(w->thread, NULL);
		mailbox_close(w->mailbox, free_worker);
		return;
	}
	w->outstanding--;
	job_of(item)->done(job_of(item));
}

/* Signals are the loop's: the thread blocks them all. */
static int start_thread(struct worker *w)
{
	sigset_t all, before;
	int rv;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	rv = pthread_create(&w->thread, NULL, thread_main, w);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rv;
}

/* For people who look at the process; failing does no harm. */
static void name_thread(struct worker *w, const char *name)
{
	char short_name[16];

	(void)snprintf(short_name, sizeof short_name, "%.15s", name);
	(void)pthread_setname_np(w->thread, short_name);
}

static void mailbox_gone(void *ctx)
{
	kv_free(ctx);
}

/* Consumes w when it fails. */
static struct worker *open_thread(struct worker *w, const char *name)
{
	if (pthread_mutex_init(&w->lock, NULL) != 0) {
		goto err_alloc;
	}
	if (pthread_cond_init(&w->wake, NULL) != 0) {
		goto err_lock;
	}
	w->mailbox = mailbox_open(sched_uv(w->sched), receive, w);
	if (w->mailbox == NULL) {
		goto err_cond;
	}
	if (start_thread(w) != 0) {
		goto err_mailbox;
	}
	name_thread(w, name);
	return w;

err_mailbox:
	/* The mailbox lets go on a later turn, and of w with it. */
	(void)pthread_cond_destroy(&w->wake);
	(void)pthread_mutex_destroy(&w->lock);
	mailbox_close(w->mailbox, mailbox_gone);
	return NULL;
err_cond:
	(void)pthread_cond_destroy(&w->wake);
err_lock:
	(void)pthread_mutex_destroy(&w->lock);
err_alloc:
	kv_free(w);
	return NULL;
}

/* ---- without a thread ---------------------------------------------------- */

static void maybe_post(struct worker *w)
{
	if (!list_empty(&w->queue)) {
		sched_post(w->sched, &w->work_task);
	}
	if (!list_empty(&w->finished)) {
		sched_post(w->sched, &w->done_task);
	}
	/* The done task calls `closed` once all is finished. */
	if (w->closing && list_empty(&w->queue)) {
		sched_post(w->sched, &w->done_task);
	}
}

static void work_one(struct sched_task *task)
{
	struct worker *w = kv_container_of(task, struct worker, work_task);
	struct list *l = list_first(&w->queue);

	if (l != NULL) {
		job_of(l)->work(job_of(l));
		list_remove(l);
		list_push_back(&w->finished, l);
	}
	maybe_post(w);
}

static void done_one(struct sched_task *task)
{
	struct worker *w = kv_container_of(task, struct worker, done_task);
	struct list *l;

	if (w->mailbox != NULL) {
		finish_quick(w);
		return;
	}
	l = list_pop_front(&w->finished);
	if (l != NULL) {
		job_of(l)->done(job_of(l));
	} else if (w->closing && list_empty(&w->queue)) {
		PRE(!sched_posted(&w->work_task));
		free_worker(w);
		return;
	}
	maybe_post(w);
}

/* ---- both ---------------------------------------------------------------- */

struct worker *worker_open(struct sched *s, const char *name)
{
	struct worker *w = kv_calloc(1, sizeof *w);

	if (w == NULL) {
		return NULL;
	}
	w->sched = s;
	list_init(&w->queue);
	list_init(&w->last);
	list_init(&w->finished);
	w->work_task.run = work_one;
	w->done_task.run = done_one;
	return sched_uv(s) == NULL ? w : open_thread(w, name);
}

void worker_submit(struct worker *w, struct worker_job *job)
{
	PRE(!w->closing);
	PRE(job->work != NULL && job->done != NULL);
	list_init(&job->link);
	if (w->mailbox == NULL) {
		list_push_back(&w->queue, &job->link);
		maybe_post(w);
		return;
	}
	w->outstanding++;
	(void)pthread_mutex_lock(&w->lock);
	list_push_back(&w->queue, &job->link);
	(void)pthread_cond_signal(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
}

void worker_submit_quick(struct worker *w, struct worker_job *job)
{
	if (w->mailbox == NULL || w->outstanding > 0) {
		worker_submit(w, job);
		return;
	}
	/* The thread waits: nobody else touches what the jobs touch. */
	PRE(!w->closing);
	PRE(job->work != NULL && job->done != NULL);
	w->outstanding++;
	list_init(&job->link);
	job->work(job);
	list_push_back(&w->finished, &job->link);
	sched_post(w->sched, &w->done_task);
}

void worker_close(struct worker *w, void (*closed)(void *ctx), void *ctx)
{
	PRE(!w->closing);
	w->closing = true;
	w->closed = closed;
	w->closed_ctx = ctx;
	if (w->mailbox == NULL) {
		maybe_post(w);
		return;
	}
	(void)pthread_mutex_lock(&w->lock);
	w->stop = true;
	(void)pthread_cond_signal(&w->wake);
	(void)pthread_mutex_unlock(&w->lock);
}
