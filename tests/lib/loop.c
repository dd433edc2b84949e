/* loop.c: see loop.h. */
#include "tests/lib/loop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

void test_loop_open(struct test_loop *l)
{
	assert_int_equal(uv_loop_init(&l->uv), 0);
	l->sched = sched_uv_open(&l->uv);
}

void test_loop_close(struct test_loop *l)
{
	if (l->sched != NULL) {
		(void)uv_run(&l->uv, UV_RUN_DEFAULT);
		sched_uv_close(l->sched);
	}
	(void)uv_run(&l->uv, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&l->uv), 0);
}

void test_loop_until(struct test_loop *l, const bool *flag)
{
	while (!*flag) {
		if (uv_run(&l->uv, UV_RUN_ONCE) == 0 && !*flag) {
			fail_msg("the loop has nothing left to do");
		}
	}
}

void test_loop_turns(struct test_loop *l, unsigned n)
{
	while (n-- > 0) {
		(void)uv_run(&l->uv, UV_RUN_NOWAIT);
	}
}
