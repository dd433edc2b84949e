/* loop.c: opens and closes the event loop in order. */
#include "agent/loop.h"

int loop_open(struct loop *l, struct kv_err *err)
{
	int rv;

	*l = (struct loop){0};
	rv = uv_loop_init(&l->uv);
	if (rv != 0) {
		return kv_fail(err, KV_NO_MEMORY,
			       "cannot make an event loop: %s%s",
			       uv_strerror(rv), kv_files_advice(-rv));
	}
	l->sched = sched_uv_open(&l->uv);
	if (l->sched == NULL) {
		(void)uv_loop_close(&l->uv);
		return kv_fail(err, KV_NO_MEMORY, "cannot make a scheduler");
	}
	return KV_OK;
}

static void signal_cb(uv_signal_t *handle, int signum)
{
	struct loop *l = handle->data;

	l->on_signal(l->ctx, signum);
}

int loop_signals(struct loop *l, const int *signums, size_t n,
		 loop_signal_cb cb, void *ctx, struct kv_err *err)
{
	size_t i;

	PRE(l->n_signals == 0 && n <= LOOP_SIGNALS_MAX);
	l->on_signal = cb;
	l->ctx = ctx;
	for (i = 0; i < n; i++) {
		uv_signal_t *s = &l->signals[i];

		if (uv_signal_init(&l->uv, s) != 0) {
			return kv_fail(err, KV_NO_MEMORY,
				       "cannot listen to signals");
		}
		l->n_signals++;
		s->data = l;
		uv_unref((uv_handle_t *)s);
		if (uv_signal_start(s, signal_cb, signums[i]) != 0) {
			return kv_fail(err, KV_NO_MEMORY,
				       "cannot listen to signal %d",
				       signums[i]);
		}
	}
	return KV_OK;
}

void loop_run(struct loop *l)
{
	(void)uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_close(struct loop *l)
{
	size_t i;
	int left;

	loop_run(l);
	for (i = 0; i < l->n_signals; i++) {
		uv_close((uv_handle_t *)&l->signals[i], NULL);
	}
	sched_uv_close(l->sched);
	loop_run(l);
	left = uv_loop_close(&l->uv);
	POST(left == 0);
}
