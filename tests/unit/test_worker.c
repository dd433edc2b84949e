/* test_worker.c: jobs in order, done() on the loop, close after the last; with
 * a thread, and inline where the scheduler has no libuv loop. Clean under
 * TSan. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/base/mem.h"
#include "store/base/status.h"
#include "store/base/worker.h"
#include "tests/lib/loop.h"
#include "tests/lib/sweep.h"

#define JOBS 500

struct bench {
	struct worker *worker;
	pthread_t loop_thread;
	int worked; /* the thread's */
	int done;
	bool threaded;
	bool closed;
	bool close_in_done;
};

struct job {
	struct worker_job base;
	struct bench *bench;
	int number;
	bool off_loop;
};

static void note_closed(void *ctx)
{
	((struct bench *)ctx)->closed = true;
}

static void job_work(struct worker_job *base)
{
	struct job *job = kv_container_of(base, struct job, base);

	assert_int_equal(job->bench->worked, job->number);
	job->bench->worked++;
	job->off_loop = !pthread_equal(pthread_self(), job->bench->loop_thread);
}

static void job_done(struct worker_job *base)
{
	struct job *job = kv_container_of(base, struct job, base);
	struct bench *b = job->bench;

	assert_true(pthread_equal(pthread_self(), b->loop_thread));
	assert_int_equal(b->done, job->number);
	assert_int_equal(job->off_loop, b->threaded);
	assert_false(b->closed);
	b->done++;
	if (b->close_in_done && b->done == 1) {
		worker_close(b->worker, note_closed, b);
	}
}

static void submit_all(struct bench *b, struct job *jobs, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		memset(&jobs[i], 0xa5,
		       sizeof jobs[i].base); /* no init needed */
		jobs[i].base.work = job_work;
		jobs[i].base.done = job_done;
		jobs[i].bench = b;
		jobs[i].number = i;
		worker_submit(b->worker, &jobs[i].base);
	}
}

/* ---- with a thread ------------------------------------------------------- */

static void a_thread_runs_jobs_in_order(void **state KV_UNUSED)
{
	static struct job jobs[JOBS];
	struct bench b = {.loop_thread = pthread_self(), .threaded = true};
	struct test_loop l;

	sweep_begin();
	test_loop_open(&l);
	b.worker = worker_open(l.sched, "a-name-that-is-too-long");
	assert_non_null(b.worker);
	submit_all(&b, jobs, JOBS);
	assert_int_equal(b.done, 0);
	worker_close(b.worker, note_closed, &b);
	assert_false(b.closed);
	test_loop_until(&l, &b.closed);
	assert_int_equal(b.done, JOBS);
	test_loop_close(&l);
	sweep_end();
}

static void a_thread_closes_inside_done(void **state KV_UNUSED)
{
	static struct job jobs[10];
	struct bench b = {.loop_thread = pthread_self(),
			  .threaded = true,
			  .close_in_done = true};
	struct test_loop l;

	test_loop_open(&l);
	b.worker = worker_open(l.sched, "test");
	submit_all(&b, jobs, 10);
	test_loop_until(&l, &b.closed);
	assert_int_equal(b.done, 10);
	test_loop_close(&l);
}

static void an_idle_thread_closes(void **state KV_UNUSED)
{
	struct bench b = {0};
	struct test_loop l;

	test_loop_open(&l);
	b.worker = worker_open(l.sched, "test");
	worker_close(b.worker, note_closed, &b);
	test_loop_until(&l, &b.closed);
	b.worker = worker_open(l.sched, "test");
	worker_close(b.worker, NULL, NULL);
	test_loop_close(&l);
}

static int sweep_threaded(void *ctx KV_UNUSED)
{
	struct bench b = {.loop_thread = pthread_self(), .threaded = true};
	struct job job = {.number = 0};
	struct test_loop l;
	int rv = KV_NO_MEMORY;

	test_loop_open(&l);
	if (l.sched != NULL) {
		b.worker = worker_open(l.sched, "test");
	}
	if (b.worker != NULL) {
		rv = KV_OK;
		submit_all(&b, &job, 1);
		worker_close(b.worker, note_closed, &b);
		test_loop_until(&l, &b.closed);
	}
	test_loop_close(&l);
	return rv;
}

static void out_of_memory_anywhere(void **state KV_UNUSED)
{
	assert_int_equal(sweep_run(sweep_threaded, NULL), 3);
}

/* ---- without ------------------------------------------------------------- */

/* The smallest scheduler: a list of tasks, run one at a time by the test. */
struct tiny {
	struct sched base;
	struct list tasks;
};

static void tiny_post(struct sched *s, struct sched_task *task)
{
	list_push_back(&kv_container_of(s, struct tiny, base)->tasks,
		       &task->link);
}

static void tiny_unpost(struct sched *s KV_UNUSED, struct sched_task *task)
{
	list_remove(&task->link);
}

static uv_loop_t *tiny_uv(struct sched *s KV_UNUSED)
{
	return NULL;
}

static const struct sched_ops tiny_ops = {
    .post = tiny_post,
    .unpost = tiny_unpost,
    .uv = tiny_uv,
};

static bool tiny_turn(struct tiny *t)
{
	struct list *l = list_first(&t->tasks);

	if (l == NULL) {
		return false;
	}
	sched_task_run(kv_container_of(l, struct sched_task, link));
	return true;
}

static void inline_runs_jobs_in_order(void **state KV_UNUSED)
{
	struct job jobs[5];
	struct bench b = {.loop_thread = pthread_self()};
	struct tiny t = {.base.ops = &tiny_ops};

	sweep_begin();
	list_init(&t.tasks);
	b.worker = worker_open(&t.base, "test");
	submit_all(&b, jobs, 5);
	assert_int_equal(b.worked, 0);
	assert_true(tiny_turn(&t));
	assert_int_equal(b.worked, 1);
	assert_int_equal(b.done, 0); /* another turn's */
	while (tiny_turn(&t)) {
	}
	assert_int_equal(b.done, 5);
	assert_false(b.closed);
	worker_close(b.worker, note_closed, &b);
	assert_false(b.closed);
	while (tiny_turn(&t)) {
	}
	assert_true(b.closed);
	sweep_end();
}

static void inline_closes_after_the_last(void **state KV_UNUSED)
{
	struct job jobs[5];
	struct bench b = {.loop_thread = pthread_self()};
	struct tiny t = {.base.ops = &tiny_ops};

	list_init(&t.tasks);
	b.worker = worker_open(&t.base, "test");
	submit_all(&b, jobs, 5);
	worker_close(b.worker, note_closed, &b);
	while (tiny_turn(&t)) {
	}
	assert_int_equal(b.done, 5);
	assert_true(b.closed);

	memset(&b, 0, sizeof b);
	b.loop_thread = pthread_self();
	b.close_in_done = true;
	b.worker = worker_open(&t.base, "test");
	submit_all(&b, jobs, 5);
	while (tiny_turn(&t)) {
	}
	assert_int_equal(b.done, 5);
	assert_true(b.closed);
}

struct quick {
	struct worker_job base;
	struct quick_world *world;
	int number;
	bool off_loop;
};

struct quick_world {
	struct test_loop loop;
	struct worker *worker;
	pthread_t loop_thread;
	int worked; /* in turn: by whoever runs the jobs */
	int done;
	bool in_submit;
	bool closed;
};

static void quick_work(struct worker_job *base)
{
	struct quick *q = kv_container_of(base, struct quick, base);

	assert_int_equal(q->world->worked, q->number);
	q->world->worked++;
	q->off_loop = !pthread_equal(pthread_self(), q->world->loop_thread);
}

static void quick_done(struct worker_job *base)
{
	struct quick *q = kv_container_of(base, struct quick, base);

	assert_false(q->world->in_submit);
	assert_int_equal(q->world->done, q->number);
	q->world->done++;
}

static void quick_closed(void *ctx)
{
	((struct quick_world *)ctx)->closed = true;
}

/* Bit n of `pattern`: job n is a quick one. All are worked and done in the
 * order submitted; the worker closes after the last, also right behind it. */
static void run_quick_pattern(unsigned pattern, int n)
{
	struct quick_world w = {.loop_thread = pthread_self()};
	struct quick jobs[16];

	memset(jobs, 0, sizeof jobs);
	test_loop_open(&w.loop);
	w.worker = worker_open(w.loop.sched, "quick");
	assert_non_null(w.worker);
	for (int i = 0; i < n; i++) {
		jobs[i].world = &w;
		jobs[i].number = i;
		jobs[i].base.work = quick_work;
		jobs[i].base.done = quick_done;
		w.in_submit = true;
		if ((pattern & (1U << i)) != 0) {
			worker_submit_quick(w.worker, &jobs[i].base);
		} else {
			worker_submit(w.worker, &jobs[i].base);
		}
		w.in_submit = false;
	}
	worker_close(w.worker, quick_closed, &w);
	test_loop_until(&w.loop, &w.closed);
	assert_int_equal(w.done, n);
	for (int i = 0; i < n; i++) {
		/* Only the first one finds the thread waiting. */
		assert_int_equal(jobs[i].off_loop,
				 i > 0 || (pattern & 1U) == 0);
	}
	test_loop_close(&w.loop);
}

static void quick_jobs_keep_the_order(void **state)
{
	(void)state;
	for (unsigned pattern = 0; pattern < 32; pattern++) {
		run_quick_pattern(pattern, 5);
	}
	run_quick_pattern(1, 1);
	run_quick_pattern(0xaaaa, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_thread_runs_jobs_in_order),
	    cmocka_unit_test(a_thread_closes_inside_done),
	    cmocka_unit_test(an_idle_thread_closes),
	    cmocka_unit_test(quick_jobs_keep_the_order),
	    cmocka_unit_test(out_of_memory_anywhere),
	    cmocka_unit_test(inline_runs_jobs_in_order),
	    cmocka_unit_test(inline_closes_after_the_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
