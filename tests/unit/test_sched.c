/* test_sched.c: the scheduler on libuv: tasks run on a later turn, once, in
 * order; timers not before they are due, in the order of their due times. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/base/mem.h"
#include "store/base/status.h"
#include "tests/lib/loop.h"
#include "tests/lib/sweep.h"

/* What ran, as letters. */
struct trace {
	struct test_loop loop;
	char text[64];
	size_t n;
};

struct task {
	struct sched_task base;
	struct trace *trace;
	char letter;
	struct task *posts; /* posted from run */
	struct task *unposts;
};

struct timer {
	struct sched_timer base;
	struct trace *trace;
	char letter;
	uint64_t not_before;
	struct timer *stops;
	unsigned again; /* starts itself so often */
	bool fired;
};

static int setup(void **state)
{
	struct trace *t = calloc(1, sizeof *t);

	sweep_begin();
	test_loop_open(&t->loop);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct trace *t = *state;

	test_loop_close(&t->loop);
	sweep_end();
	free(t);
	return 0;
}

static void run_task(struct sched_task *base)
{
	struct task *t = kv_container_of(base, struct task, base);

	assert_false(sched_posted(base));
	t->trace->text[t->trace->n++] = t->letter;
	if (t->unposts != NULL) {
		sched_unpost(&t->unposts->base);
	}
	if (t->posts != NULL) {
		sched_post(t->trace->loop.sched, &t->posts->base);
		t->posts = NULL;
	}
}

static struct task make_task(struct trace *trace, char letter)
{
	return (struct task){
	    .base.run = run_task, .trace = trace, .letter = letter};
}

static void fire_timer(struct sched_timer *base)
{
	struct timer *t = kv_container_of(base, struct timer, base);
	struct sched *s = t->trace->loop.sched;

	assert_false(sched_timer_running(base));
	assert_true(sched_now(s) >= t->not_before);
	t->trace->text[t->trace->n++] = t->letter;
	if (t->stops != NULL) {
		sched_timer_stop(&t->stops->base);
	}
	if (t->again > 0) {
		t->again--;
		sched_timer_start(s, base, 0);
		return;
	}
	t->fired = true;
}

static struct timer start(struct trace *trace, char letter)
{
	return (struct timer){
	    .base.fire = fire_timer, .trace = trace, .letter = letter};
}

static void arm(struct timer *t, uint64_t delay)
{
	t->not_before = sched_now(t->trace->loop.sched) + delay;
	sched_timer_start(t->trace->loop.sched, &t->base, delay);
}

static void tasks_run_later_in_order(void **state)
{
	struct trace *t = *state;
	struct task a = make_task(t, 'a'), b = make_task(t, 'b');

	sched_post(t->loop.sched, &a.base);
	sched_post(t->loop.sched, &b.base);
	sched_post(t->loop.sched, &a.base); /* posted already */
	assert_int_equal(t->n, 0);
	assert_true(sched_posted(&a.base));
	test_loop_turns(&t->loop, 3);
	assert_string_equal(t->text, "ab");
}

static void a_task_posts_for_the_next_turn(void **state)
{
	struct trace *t = *state;
	struct task a = make_task(t, 'a'), b = make_task(t, 'b');

	a.posts = &a;
	sched_post(t->loop.sched, &a.base);
	sched_post(t->loop.sched, &b.base);
	test_loop_turns(&t->loop, 1);
	assert_string_equal(t->text, "ab");
	test_loop_turns(&t->loop, 1);
	assert_string_equal(t->text, "aba");
}

static void tasks_are_taken_back(void **state)
{
	struct trace *t = *state;
	struct task a = make_task(t, 'a'), b = make_task(t, 'b'),
		    c = make_task(t, 'c');

	sched_unpost(&a.base); /* nothing */
	sched_post(t->loop.sched, &a.base);
	sched_unpost(&a.base);
	assert_false(sched_posted(&a.base));
	assert_int_equal(uv_loop_alive(&t->loop.uv), 0);
	b.unposts = &c; /* of the same turn */
	sched_post(t->loop.sched, &b.base);
	sched_post(t->loop.sched, &c.base);
	test_loop_turns(&t->loop, 3);
	assert_string_equal(t->text, "b");
}

static void nothing_posted_lets_the_loop_end(void **state)
{
	struct trace *t = *state;
	struct timer x = start(t, 'x');

	assert_int_equal(uv_loop_alive(&t->loop.uv), 0);
	arm(&x, 60000);
	assert_int_equal(uv_loop_alive(&t->loop.uv), 1);
	sched_timer_stop(&x.base);
	sched_timer_stop(&x.base);
	assert_int_equal(uv_loop_alive(&t->loop.uv), 0);
}

static void timers_fire_by_due_time(void **state)
{
	struct trace *t = *state;
	struct timer a = start(t, 'a'), b = start(t, 'b'), c = start(t, 'c'),
		     d = start(t, 'd');

	arm(&c, 30);
	arm(&a, 1);
	arm(&d, 40);
	arm(&b, 15);
	test_loop_until(&t->loop, &d.fired);
	assert_string_equal(t->text, "abcd");
}

static void timers_restart_and_stop(void **state)
{
	struct trace *t = *state;
	struct timer a = start(t, 'a'), b = start(t, 'b'), c = start(t, 'c');

	arm(&a, 60000);
	arm(&a, 1); /* the later start counts */
	arm(&b, 1);
	arm(&c, 5);
	a.stops = &b;
	a.again = 2;
	test_loop_until(&t->loop, &c.fired);
	assert_string_equal(t->text, "aaac");
	assert_false(sched_timer_running(&b.base));
}

static void far_away_is_no_overflow(void **state)
{
	struct trace *t = *state;
	struct timer a = start(t, 'a'), b = start(t, 'b');

	sched_timer_start(t->loop.sched, &a.base, UINT64_MAX);
	b.stops = &a;
	arm(&b, 1);
	test_loop_until(&t->loop, &b.fired);
	assert_string_equal(t->text, "b");
}

static void clocks_and_chance(void **state)
{
	struct trace *t = *state;
	struct sched *s = t->loop.sched;
	uint64_t before = sched_now(s);
	uint64_t x = sched_random(s);

	assert_true(sched_now(s) >= before);
	assert_true(sched_wall(s) > UINT64_C(1500000000000));
	/* Three equal draws of 64 bits do not happen. */
	assert_false(x == sched_random(s) && x == sched_random(s));
	assert_ptr_equal(sched_uv(s), &t->loop.uv);
}

static int open_one(void *ctx KV_UNUSED)
{
	struct test_loop l;
	bool open;

	test_loop_open(&l);
	open = l.sched != NULL;
	test_loop_close(&l);
	return open ? KV_OK : KV_NO_MEMORY;
}

static void out_of_memory(void **state KV_UNUSED)
{
	assert_int_equal(sweep_run(open_one, NULL), 1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(tasks_run_later_in_order),
	    T(a_task_posts_for_the_next_turn),
	    T(tasks_are_taken_back),
	    T(nothing_posted_lets_the_loop_end),
	    T(timers_fire_by_due_time),
	    T(timers_restart_and_stop),
	    T(far_away_is_no_overflow),
	    T(clocks_and_chance),
	    cmocka_unit_test(out_of_memory),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
