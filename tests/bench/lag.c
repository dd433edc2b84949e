/* lag.c: one put at a time at the source; how long after the source's answer a
 * watch at the target tells of it. Two mirrors at once, of two directories of
 * the source, in turns: both meet the same moments of the machine.
 *
 *   put --> acknowledged (t0) --\
 *   target's watch --> (t1) -----`--> t1 - t0, a pause, the other directory
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/bench.h"

#define WARM_UP 20
#define PAUSE_MS 2

struct lag {
	struct bench *b;
	struct store *source;
	const char *dirs[2];
	int64_t *values[2];
	size_t n[2];
	uint64_t number; /* of the put under way */
	int side;
	int64_t acked_us;
	int64_t seen_us;
	struct store_single put;
	char key[24];
	char value[256];
	bool both;
	struct sched_timer pause;
	bool paused;
};

static void maybe_both(struct lag *l)
{
	l->both = l->acked_us != 0 && l->seen_us != 0;
}

static void on_put(struct store_single *req)
{
	struct lag *l = req->data;

	if (req->err.status != KV_OK) {
		bench_die("put: %s", req->err.text);
	}
	l->acked_us = (int64_t)bench_now_us();
	maybe_both(l);
}

static void on_change(struct bench_watch *w, const struct store_change *c)
{
	struct lag *l = w->data;

	if (c->action != STORE_DELETE && l->seen_us == 0 &&
	    slice_eq(c->value, slice_of(l->value, sizeof l->value))) {
		l->seen_us = (int64_t)bench_now_us();
		maybe_both(l);
	}
}

static void on_pause(struct sched_timer *t)
{
	kv_container_of(t, struct lag, pause)->paused = true;
}

static void rest(struct lag *l)
{
	l->paused = false;
	l->pause.fire = on_pause;
	sched_timer_start(l->b->sched, &l->pause,
			  1 + sched_random(l->b->sched) % PAUSE_MS);
	bench_until(l->b, &l->paused, 10);
}

static int64_t one(struct lag *l, int side)
{
	l->side = side;
	l->acked_us = 0;
	l->seen_us = 0;
	l->both = false;
	l->number++;
	memset(l->value, '.', sizeof l->value);
	(void)snprintf(l->value, sizeof l->value, "%d %llu", side,
		       (unsigned long long)l->number);
	memset(&l->put, 0, sizeof l->put);
	/* A thousand keys in turns: written anew, as configuration is. */
	l->put.key = bench_key(l->key, l->dirs[side], l->number % 1000);
	l->put.value = slice_of(l->value, sizeof l->value);
	l->put.cb = on_put;
	l->put.data = l;
	if (store_put(l->source, &l->put) != KV_OK) {
		bench_die("put: %s", l->put.err.text);
	}
	bench_until(l->b, &l->both, 60);
	store_single_free(&l->put);
	return l->seen_us - l->acked_us;
}

static void print_side(struct lag *l, int side, const char *name)
{
	int64_t *v = l->values[side];
	size_t n = l->n[side];
	int64_t max = bench_percentile(v, n, 1);

	(void)printf("%s_p50=%lld %s_p99=%lld %s_max=%lld ", name,
		     (long long)bench_percentile(v, n, 0.5), name,
		     (long long)bench_percentile(v, n, 0.99), name,
		     (long long)max);
}

int bench_lag(struct bench *b, const struct bench_args *a)
{
	struct store *target = bench_store(b, a->words[1]);
	struct lag l = {.b = b};
	struct bench_watch w = {.change = on_change, .data = &l};

	l.source = bench_store(b, a->words[0]);
	for (int side = 0; side < 2; side++) {
		l.dirs[side] = a->words[2 + side];
		l.values[side] = calloc((size_t)a->keys + 1, sizeof(int64_t));
		if (l.values[side] == NULL) {
			bench_die("no memory");
		}
	}
	bench_watch_open(&w, b, target);
	for (uint64_t i = 0; i < a->keys + WARM_UP; i++) {
		for (int turn = 0; turn < 2; turn++) {
			int side = (int)((i + (uint64_t)turn) % 2);
			int64_t us = one(&l, side);

			if (i >= WARM_UP) {
				l.values[side][l.n[side]++] = us;
			}
			rest(&l);
		}
	}
	print_side(&l, 0, "a");
	print_side(&l, 1, "b");
	(void)printf("n=%zu\n", l.n[0]);
	bench_watch_close(&w);
	bench_close(b, target);
	bench_close(b, l.source);
	free(l.values[0]);
	free(l.values[1]);
	return 0;
}
