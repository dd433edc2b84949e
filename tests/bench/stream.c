/* stream.c: single puts at the source, `window` of them in flight, as fast as
 * they go; how far behind the target's watch is, over time.
 *
 *   puts --> acknowledged: t[i] --\
 *   target's watch: seen[i] -------`--> every 100 ms: how many acknowledged
 *                                       puts are not seen, how old the oldest
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/bench.h"

#define SAMPLE_MS 100
#define MOST_PUTS 4000000U

struct stream;

struct putter {
	struct stream *s;
	struct store_single put;
	uint64_t number;
	char key[24];
	char value[256];
};

struct sample {
	uint64_t count;
	uint64_t ms;
};

struct stream {
	struct bench *b;
	struct store *source;
	const char *dir;
	uint64_t started;
	uint64_t acked;
	uint64_t seen;
	uint64_t oldest; /* all below it are acknowledged and seen */
	uint64_t *acked_us;
	bool *is_seen;
	uint64_t end_us;
	struct sample *samples;
	size_t n_samples;
	size_t cap_samples;
	struct sched_timer timer;
	bool written; /* every put was acknowledged */
	bool drained;
};

static void put_next(struct putter *p);

static void on_put(struct store_single *req)
{
	struct putter *p = req->data;
	struct stream *s = p->s;

	if (req->err.status != KV_OK) {
		bench_die("put: %s", req->err.text);
	}
	s->acked_us[p->number] = bench_now_us();
	s->acked++;
	store_single_free(req);
	put_next(p);
}

static void put_next(struct putter *p)
{
	struct stream *s = p->s;

	if (bench_now_us() >= s->end_us || s->started == MOST_PUTS) {
		s->written = s->acked == s->started;
		return;
	}
	p->number = s->started++;
	memset(p->value, '.', sizeof p->value);
	(void)snprintf(p->value, sizeof p->value, "%llu",
		       (unsigned long long)p->number);
	memset(&p->put, 0, sizeof p->put);
	p->put.key = bench_key(p->key, s->dir, p->number);
	p->put.value = slice_of(p->value, sizeof p->value);
	p->put.cb = on_put;
	p->put.data = p;
	if (store_put(s->source, &p->put) != KV_OK) {
		bench_die("put: %s", p->put.err.text);
	}
}

static void on_change(struct bench_watch *w, const struct store_change *c)
{
	struct stream *s = w->data;
	uint64_t i;

	if (c->action == STORE_DELETE || c->value.n == 0) {
		return;
	}
	i = strtoull((const char *)c->value.p, NULL, 10);
	if (i < s->started && !s->is_seen[i]) {
		s->is_seen[i] = true;
		s->seen++;
	}
	s->drained = s->written && s->seen == s->started;
}

static void take_sample(struct stream *s)
{
	struct sample *x = &s->samples[s->n_samples];
	uint64_t now = bench_now_us();

	while (s->oldest < s->started && s->is_seen[s->oldest] &&
	       s->acked_us[s->oldest] != 0) {
		s->oldest++;
	}
	x->count = s->acked > s->seen ? s->acked - s->seen : 0;
	x->ms = 0;
	if (s->oldest < s->started && s->acked_us[s->oldest] != 0) {
		x->ms = (now - s->acked_us[s->oldest]) / 1000;
	}
	s->n_samples++;
}

static void on_timer(struct sched_timer *t)
{
	struct stream *s = kv_container_of(t, struct stream, timer);

	if (s->n_samples < s->cap_samples) {
		take_sample(s);
		sched_timer_start(s->b->sched, t, SAMPLE_MS);
	}
}

/* The greatest of the samples from..to. */
static struct sample most(const struct stream *s, size_t from, size_t to)
{
	struct sample max = {0};

	for (size_t i = from; i < to; i++) {
		max.count = KV_MAX(max.count, s->samples[i].count);
		max.ms = KV_MAX(max.ms, s->samples[i].ms);
	}
	return max;
}

static void print(const struct stream *s, double rate, double drain)
{
	size_t n = s->n_samples;
	struct sample all = most(s, 0, n);
	struct sample early = most(s, n / 4, n / 2);
	struct sample late = most(s, n - n / 4, n);

	(void)printf(
	    "puts=%llu rate=%.0f max_count=%llu max_ms=%llu "
	    "early_count=%llu early_ms=%llu late_count=%llu "
	    "late_ms=%llu last_count=%llu last_ms=%llu "
	    "drain_ms=%.0f\n",
	    (unsigned long long)s->started, rate, (unsigned long long)all.count,
	    (unsigned long long)all.ms, (unsigned long long)early.count,
	    (unsigned long long)early.ms, (unsigned long long)late.count,
	    (unsigned long long)late.ms,
	    (unsigned long long)s->samples[n - 1].count,
	    (unsigned long long)s->samples[n - 1].ms, drain);
}

static void stream_open(struct stream *s, const struct bench_args *a)
{
	s->cap_samples = (size_t)a->seconds * 1000 / SAMPLE_MS;
	s->samples = calloc(s->cap_samples + 1, sizeof *s->samples);
	s->acked_us = calloc(MOST_PUTS, sizeof *s->acked_us);
	s->is_seen = calloc(MOST_PUTS, sizeof *s->is_seen);
	if (s->samples == NULL || s->acked_us == NULL || s->is_seen == NULL) {
		bench_die("no memory");
	}
}

int bench_stream(struct bench *b, const struct bench_args *a)
{
	struct store *target = bench_store(b, a->words[1]);
	struct stream s = {.b = b, .dir = a->words[2]};
	struct bench_watch w = {.change = on_change, .data = &s};
	struct putter *p = calloc((size_t)a->window, sizeof *p);
	uint64_t begin;
	double rate;

	if (p == NULL) {
		bench_die("no memory");
	}
	s.source = bench_store(b, a->words[0]);
	stream_open(&s, a);
	bench_watch_open(&w, b, target);
	begin = bench_now_us();
	s.end_us = begin + a->seconds * 1000000;
	s.timer.fire = on_timer;
	sched_timer_start(b->sched, &s.timer, SAMPLE_MS);
	for (uint64_t i = 0; i < a->window; i++) {
		p[i].s = &s;
		put_next(&p[i]);
	}
	bench_until(b, &s.written, (unsigned)a->seconds + 60);
	rate = (double)s.acked / ((double)(bench_now_us() - begin) / 1e6);
	s.drained = s.seen == s.started;
	begin = bench_now_us();
	bench_until(b, &s.drained, 300);
	print(&s, rate, (double)(bench_now_us() - begin) / 1e3);
	sched_timer_stop(&s.timer);
	bench_watch_close(&w);
	bench_close(b, target);
	bench_close(b, s.source);
	free(p);
	free(s.samples);
	free(s.acked_us);
	free(s.is_seen);
	return 0;
}
