/* loop.h: the program's event loop with its scheduler, and the signals that a
 * command listens to. */
#ifndef KV_LOOP_H
#define KV_LOOP_H

#include <uv.h>

#include "store/base/sched.h"
#include "store/base/status.h"

#define LOOP_SIGNALS_MAX 4

struct loop;
typedef void (*loop_signal_cb)(void *ctx, int signum);

struct loop {
	uv_loop_t uv;
	struct sched *sched;
	uv_signal_t signals[LOOP_SIGNALS_MAX];
	size_t n_signals;
	loop_signal_cb on_signal;
	void *ctx;
};

int loop_open(struct loop *l, struct kv_err *err) KV_MUSTCHECK;

/* Calls `cb` on the loop for each of these signals. They do not keep the loop
 * alive. Once. */
int loop_signals(struct loop *l, const int *signums, size_t n,
		 loop_signal_cb cb, void *ctx, struct kv_err *err) KV_MUSTCHECK;

/* Runs until nothing is open any more but the signals. */
void loop_run(struct loop *l);

/* Runs out, then lets go of everything. */
void loop_close(struct loop *l);

#endif /* KV_LOOP_H */
