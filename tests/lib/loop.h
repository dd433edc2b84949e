/* loop.h: a libuv loop with a scheduler, which must close clean. */
#ifndef KV_TEST_LOOP_H
#define KV_TEST_LOOP_H

#include <uv.h>

#include "store/base/sched.h"

struct test_loop {
	uv_loop_t uv;
	struct sched *sched; /* NULL: memory was out */
};

void test_loop_open(struct test_loop *l);
/* Runs what is left, and asserts that nothing stays open. */
void test_loop_close(struct test_loop *l);
/* Turns the loop until *flag; fails when nothing is left that could set it. */
void test_loop_until(struct test_loop *l, const bool *flag);
/* Turns the loop n times without waiting. */
void test_loop_turns(struct test_loop *l, unsigned n);

#endif /* KV_TEST_LOOP_H */
