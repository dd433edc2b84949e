/* fill.c: fill and bare: writes N keys, so many a write, so many writes in
 * flight.
 *
 *   next keys --> slot (ops) --> store_write --> slot free --> next keys
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/bench.h"

struct filler;

struct slot {
	struct filler *f;
	struct store_write write;
	struct store_op *ops;
	uint8_t *values;
	char (*keys)[24];
};

struct filler {
	const struct bench_args *a;
	struct store *st;
	bool guarded;
	size_t ops; /* a write */
	uint64_t next;
	uint64_t done;
	bool all;
};

static void slot_write(struct slot *s);

static void on_write(struct store_write *req)
{
	struct slot *s = req->data;

	if (req->err.status != KV_OK) {
		bench_die("write: %s", req->err.text);
	}
	s->f->done += req->n_ops;
	s->f->all = s->f->done == s->f->a->keys;
	slot_write(s);
}

static void slot_write(struct slot *s)
{
	struct filler *f = s->f;
	size_t n = (size_t)KV_MIN(f->a->keys - f->next, (uint64_t)f->ops);
	size_t size = (size_t)f->a->size;

	if (n == 0) {
		return;
	}
	memset(s->ops, 0, n * sizeof *s->ops);
	for (size_t i = 0; i < n; i++) {
		uint64_t number = f->a->from + f->next++;
		uint8_t *value = s->values + i * size;

		bench_value(value, size, number);
		s->ops[i].kind = STORE_OP_PUT;
		s->ops[i].guard =
		    f->guarded ? STORE_GUARD_ABSENT : STORE_GUARD_NONE;
		s->ops[i].key = bench_key(s->keys[i], "", number);
		s->ops[i].value = slice_of(value, size);
	}
	memset(&s->write, 0, sizeof s->write);
	s->write.ops = s->ops;
	s->write.n_ops = n;
	s->write.cb = on_write;
	s->write.data = s;
	if (store_write(f->st, &s->write) != KV_OK) {
		bench_die("write: %s", s->write.err.text);
	}
}

static void slot_open(struct slot *s, struct filler *f)
{
	s->f = f;
	s->ops = calloc(f->ops, sizeof *s->ops);
	s->values = calloc(f->ops, (size_t)f->a->size + 1);
	s->keys = calloc(f->ops, sizeof *s->keys);
	if (s->ops == NULL || s->values == NULL || s->keys == NULL) {
		bench_die("no memory");
	}
}

static void slot_close(struct slot *s)
{
	free(s->ops);
	free(s->values);
	free(s->keys);
}

/* As many operations as the store takes at once, where that is less. */
static size_t ops_a_write(const struct bench_args *a, const struct store *st)
{
	const struct store_caps *caps = store_capabilities(st);
	uint64_t ops = a->ops;

	if (caps->max_ops > 0) {
		ops = KV_MIN(ops, (uint64_t)caps->max_ops);
	}
	return (size_t)KV_MAX(ops, UINT64_C(1));
}

int bench_fill(struct bench *b, const struct bench_args *a, bool guarded)
{
	struct filler f = {.a = a, .guarded = guarded};
	size_t window = (size_t)KV_MAX(a->window, UINT64_C(1));
	struct slot *slots = calloc(window, sizeof *slots);
	uint64_t begin = bench_now_us();
	double seconds;

	if (slots == NULL) {
		bench_die("no memory");
	}
	f.st = bench_store(b, a->words[0]);
	f.ops = ops_a_write(a, f.st);
	for (size_t i = 0; i < window; i++) {
		slot_open(&slots[i], &f);
		slot_write(&slots[i]);
	}
	bench_until(b, &f.all, 600);
	seconds = (double)(bench_now_us() - begin) / 1e6;
	(void)printf("keys=%llu seconds=%.3f rate=%.0f\n",
		     (unsigned long long)a->keys, seconds,
		     (double)a->keys / seconds);
	for (size_t i = 0; i < window; i++) {
		slot_close(&slots[i]);
	}
	free(slots);
	bench_close(b, f.st);
	return 0;
}
