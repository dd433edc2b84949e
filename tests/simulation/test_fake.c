/* test_fake.c: the simulation's own parts through the real store.c: a fake
 * store has to keep store_ops.h's contract before it may judge an agent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* cmocka.h wants the three above. */
#include <cmocka.h>

#include "fake_store.h"
#include "sim_mem.h"

struct lab {
	struct sim_mem mem;
	struct region region;
	struct sim_sched sched;
	struct fake_world source, target;
	struct fake_counts counts;
	struct store_registry registry;
	struct store *store;
	unsigned done;
	struct store_page *page;
	struct store_batch *batch;
	int status;
};

static void init_world(struct lab *lab, struct fake_world *w, const char *name,
		       uint64_t seed)
{
	fake_world_init(w, name, &lab->sched, &lab->region);
	w->counts = &lab->counts;
	w->kind.latency = 5;
	w->kind.at = true;
	w->kind.caps = (struct store_caps){.atomic = true,
					   .resumable = true,
					   .told_deletes = true,
					   .max_ops = 10,
					   .max_bytes = 4096,
					   .max_value = 64,
					   .max_key = 64,
					   .write_timeout_ms = 100,
					   .scan_page = 3};
	sim_rand_init(&w->rand, seed, 9);
}

static void put(struct fake_world *w, const char *key, const char *value)
{
	fake_begin(w);
	fake_put(w, slice_str(key), slice_str(value), FAKE_OWNER);
	fake_end(w);
}

static void del(struct fake_world *w, const char *key)
{
	fake_begin(w);
	fake_delete(w, slice_str(key), FAKE_OWNER);
	fake_end(w);
}

static void open_lab(struct lab *lab, uint64_t seed, const char *uri)
{
	struct kv_err err = {0};

	memset(lab, 0, sizeof *lab);
	sim_mem_init(&lab->mem, false);
	sim_sched_init(&lab->sched, seed);
	init_world(lab, &lab->source, "source", seed);
	init_world(lab, &lab->target, "target", seed + 1);
	lab->sched.worlds[0] = &lab->source;
	lab->sched.worlds[1] = &lab->target;
	assert_int_equal(store_register(&lab->registry, &fake_store_ops, &err),
			 KV_OK);
	assert_int_equal(store_open(&lab->registry, &lab->sched.base, uri, 0,
				    &lab->store, &err),
			 KV_OK);
}

static void note_closed(void *ctx)
{
	((struct lab *)ctx)->done++;
}

static void run_until_done(struct lab *lab, unsigned done)
{
	for (unsigned i = 0; i < 10000 && lab->done < done; i++) {
		assert_true(sim_sched_step(&lab->sched));
	}
	assert_int_equal(lab->done, done);
}

static void close_lab(struct lab *lab)
{
	lab->done = 0;
	store_close(lab->store, note_closed, lab);
	run_until_done(lab, 1);
	store_registry_free(&lab->registry);
	assert_int_equal(lab->mem.n, 0);
	assert_true(sim_sched_agent_gone(&lab->sched));
	kv_mem_set_hooks(NULL);
	region_free(&lab->region);
}

/* ---- scans
 * -----------------------------------------------------------------*/

static void scan_cb(struct store_scan *req)
{
	struct lab *lab = req->data;

	lab->done++;
	lab->page = req->page;
	lab->status = req->err.status;
}

static void scan(struct lab *lab, struct store_scan *req)
{
	req->cb = scan_cb;
	req->data = lab;
	lab->done = 0;
	assert_int_equal(store_scan(lab->store, req), KV_OK);
	assert_int_equal(lab->done, 0);
	run_until_done(lab, 1);
}

static void test_scan_pages(void **state)
{
	struct lab lab;
	struct store_scan req = {.limit = 1};
	struct slice after = slice_str("");
	char last[16] = "";
	unsigned n = 0;
	bool more = true;

	(void)state;
	open_lab(&lab, 1, "fake://source:1");
	put(&lab.source, "/b", "2");
	put(&lab.source, "/a", "1");
	put(&lab.source, "/c", "3");
	while (more) {
		req = (struct store_scan){.limit = 1, .after = after};
		scan(&lab, &req);
		assert_int_equal(lab.status, KV_OK);
		more = lab.page->more;
		if (lab.page->n > 0) {
			n++;
			assert_int_equal(lab.page->n, 1);
			assert_true(lab.page->pairs[0].key.n < sizeof last);
			memcpy(last, lab.page->pairs[0].key.p,
			       lab.page->pairs[0].key.n + 0);
			last[lab.page->pairs[0].key.n] = '\0';
			after = slice_str(last);
		}
		assert_int_equal(lab.page->at, lab.source.index);
		store_page_free(lab.page);
	}
	assert_int_equal(n, 3);
	close_lab(&lab);
}

static void test_scan_at_and_compaction(void **state)
{
	struct lab lab;
	struct store_scan req;
	uint64_t old;

	(void)state;
	open_lab(&lab, 2, "fake://source:1");
	put(&lab.source, "/a", "1");
	old = lab.source.index;
	put(&lab.source, "/a", "2");
	req = (struct store_scan){.at = old};
	scan(&lab, &req);
	assert_int_equal(lab.page->at, old);
	assert_memory_equal(lab.page->pairs[0].value.p, "1", 1);
	store_page_free(lab.page);
	fake_compact(&lab.source, lab.source.index);
	req = (struct store_scan){.at = old};
	scan(&lab, &req);
	assert_int_equal(lab.status, KV_HISTORY_LOST);
	close_lab(&lab);
}

/* ---- writes
 * ----------------------------------------------------------------*/

static void write_cb(struct store_write *req)
{
	struct lab *lab = req->data;

	lab->done++;
	lab->status = req->err.status;
}

static void write_ops(struct lab *lab, struct store_op *ops, size_t n,
		      uint64_t epoch)
{
	struct store_write req = {.ops = ops,
				  .n_ops = n,
				  .epoch = epoch,
				  .cb = write_cb,
				  .data = lab};

	lab->done = 0;
	assert_int_equal(store_write(lab->store, &req), KV_OK);
	run_until_done(lab, 1);
}

static struct store_op put_op(const char *key, const char *value)
{
	struct store_op op = {.kind = STORE_OP_PUT,
			      .guard = STORE_GUARD_ABSENT,
			      .key = slice_str(key),
			      .value = slice_str(value)};

	return op;
}

static void test_guards(void **state)
{
	struct lab lab;
	struct store_op ops[2];

	(void)state;
	open_lab(&lab, 3, "fake://target:1");
	ops[0] = put_op("/a", "1");
	write_ops(&lab, ops, 1, 0);
	assert_int_equal(lab.status, KV_OK);
	assert_int_equal(ops[0].version.a, lab.target.index);
	/* One guard fails: nothing is done. */
	ops[0] = put_op("/a", "2");
	ops[1] = put_op("/b", "2");
	write_ops(&lab, ops, 2, 0);
	assert_int_equal(lab.status, KV_KEY_EXISTS);
	assert_int_equal(ops[0].status, KV_KEY_EXISTS);
	assert_int_equal(ops[1].status, KV_CANCELED);
	assert_null(fake_find(&lab.target, slice_str("/b")));
	/* Another connection by now. */
	fake_cut(&lab.target);
	ops[0] = put_op("/c", "3");
	write_ops(&lab, ops, 1, 1);
	assert_int_equal(lab.status, KV_NOT_REACHABLE);
	assert_null(fake_find(&lab.target, slice_str("/c")));
	close_lab(&lab);
}

static void test_lost_writes(void **state)
{
	struct lab lab;
	struct store_op op;
	char key[16];
	unsigned done = 0;

	(void)state;
	open_lab(&lab, 4, "fake://target:1");
	lab.target.faults.lost_write = 1000;
	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(key, sizeof key, "/k%u", i);
		op = put_op(key, "v");
		write_ops(&lab, &op, 1, 0);
		assert_int_equal(lab.status, KV_UNKNOWN_OUTCOME);
		assert_int_equal(op.status, KV_UNKNOWN_OUTCOME);
	}
	while (!list_empty(&lab.target.late_writes)) {
		assert_true(sim_sched_step(&lab.sched));
	}
	for (size_t i = 0; i < lab.target.n_keys; i++) {
		done += fake_now(lab.target.keys[i])->present;
	}
	assert_true(lab.counts.unknown_done > 0);
	assert_true(lab.counts.unknown_later > 0);
	assert_true(lab.counts.unknown_never > 0);
	assert_int_equal(done,
			 lab.counts.unknown_done + lab.counts.unknown_later);
	close_lab(&lab);
}

/* A crash: what was sent may be done, the memory is gone, no callback. */
static void test_crash(void **state)
{
	struct lab lab;
	struct store_op op = put_op("/a", "1");
	struct store_write req;

	(void)state;
	open_lab(&lab, 5, "fake://target:1");
	req = (struct store_write){
	    .ops = &op, .n_ops = 1, .cb = write_cb, .data = &lab};
	assert_int_equal(store_write(lab.store, &req), KV_OK);
	fake_forget_agent(&lab.target);
	sim_sched_forget_agent(&lab.sched);
	sim_mem_drop(&lab.mem);
	while (sim_sched_step(&lab.sched)) {
	}
	assert_int_equal(lab.done, 0);
	kv_mem_set_hooks(NULL);
	region_free(&lab.region);
}

/* ---- watches
 * ---------------------------------------------------------------*/

static void next_cb(struct store_next *req)
{
	struct lab *lab = req->data;

	lab->done++;
	lab->batch = req->batch;
	lab->status = req->err.status;
}

static void next(struct lab *lab, struct store_watch *w, uint64_t want)
{
	struct store_next req = {.want = want, .cb = next_cb, .data = lab};

	lab->done = 0;
	assert_int_equal(store_watch_next(w, &req), KV_OK);
	run_until_done(lab, 1);
}

static void test_watch_told(void **state)
{
	struct store_watch_params p = {.after = 0};
	struct store_watch *w;
	struct lab lab;
	unsigned changes = 0, ends = 0;
	uint64_t index = 0;

	(void)state;
	open_lab(&lab, 6, "fake://source:1");
	put(&lab.source, "/before", "0");
	w = store_watch_open(lab.store, &p);
	next(&lab, w, 0);
	assert_true(lab.batch->init);
	assert_int_equal(lab.batch->index, lab.source.index);
	store_batch_free(lab.batch);
	for (unsigned i = 0; i < 5; i++) {
		fake_begin(&lab.source);
		fake_put(&lab.source, slice_str("/a"), slice_str("1"),
			 FAKE_OWNER);
		fake_put(&lab.source, slice_str("/b"), slice_str("1"),
			 FAKE_OWNER);
		fake_end(&lab.source);
	}
	del(&lab.source, "/before");
	while (index < lab.source.index) {
		next(&lab, w, lab.source.index);
		assert_int_equal(lab.status, KV_OK);
		assert_true(lab.batch->index >= index);
		for (size_t i = 0; i < lab.batch->n; i++) {
			changes++;
			ends += lab.batch->changes[i].tx_end;
			assert_true(lab.batch->changes[i].index > index);
		}
		index = lab.batch->index;
		store_batch_free(lab.batch);
	}
	assert_int_equal(changes, 11);
	assert_int_equal(ends, 6);
	/* Nothing new: `want` is answered all the same. */
	next(&lab, w, lab.source.index);
	assert_int_equal(lab.batch->n, 0);
	store_batch_free(lab.batch);
	/* Too old. */
	store_watch_close(w);
	fake_compact(&lab.source, lab.source.index);
	p.after = lab.source.index - 1;
	w = store_watch_open(lab.store, &p);
	next(&lab, w, 0);
	assert_int_equal(lab.status, KV_HISTORY_LOST);
	store_watch_close(w);
	close_lab(&lab);
}

struct known_two {
	struct store_known base;
	struct sim_event event;
	struct lab *lab;
	void (*page)(void *ctx, int status, struct store_page *page);
	void *ctx;
};

static void give_known(struct sim_event *e)
{
	struct known_two *k = kv_container_of(e, struct known_two, event);
	struct store_page *page = store_page_new();
	size_t cap = 0;

	store_page_add(page, &cap, slice_str("/gone"), slice_str(""))->index =
	    2;
	store_page_add(page, &cap, slice_str("/same"), slice_str(""))->index =
	    3;
	k->page(k->ctx, KV_OK, page);
}

static void known_next(struct store_known *known, struct slice after,
		       void (*page)(void *ctx, int status,
				    struct store_page *page),
		       void *ctx)
{
	struct known_two *k = kv_container_of(known, struct known_two, base);

	(void)after;
	k->page = page;
	k->ctx = ctx;
	k->event.fire = give_known;
	k->event.what = "known";
	sim_event_start(&k->lab->sched, &k->event, true, 0);
}

static void test_watch_inferred(void **state)
{
	struct known_two known = {.base.next = known_next};
	struct store_watch_params p = {.after = 3, .known = &known.base};
	struct store_watch *w;
	struct lab lab;
	bool announced = false, put_seen = false, gone = false;
	uint64_t index = 0;

	(void)state;
	open_lab(&lab, 7, "fake://source:1");
	store_close(lab.store, NULL, NULL);
	lab.source.kind.caps.told_deletes = false;
	assert_int_equal(store_open(&lab.registry, &lab.sched.base,
				    "fake://source:1", 0, &lab.store, NULL),
			 KV_OK);
	known.lab = &lab;
	put(&lab.source, "/gone", "1"); /* 2 */
	put(&lab.source, "/same", "1"); /* 3 */
	del(&lab.source, "/gone");
	put(&lab.source, "/new", "1");
	w = store_watch_open(lab.store, &p);
	next(&lab, w, 0);
	assert_true(lab.batch->init);
	store_batch_free(lab.batch);
	while (index < lab.source.index) {
		next(&lab, w, 0);
		assert_int_equal(lab.status, KV_OK);
		for (size_t i = 0; i < lab.batch->n; i++) {
			const struct store_change *c = &lab.batch->changes[i];

			if (c->action == STORE_DELETE) {
				assert_true(announced && c->inferred);
				gone = slice_eq(c->key, slice_str("/gone"));
			} else {
				put_seen = slice_eq(c->key, slice_str("/new"));
			}
		}
		if (lab.batch->relisted) {
			announced = true;
			assert_int_equal(lab.batch->inferred_deletes, 1);
			assert_int_equal(lab.batch->known_keys, 2);
		}
		index = lab.batch->partial ? 0 : lab.batch->index;
		store_batch_free(lab.batch);
	}
	assert_true(put_seen && gone);
	store_watch_close(w);
	close_lab(&lab);
}

/* ---- eras
 * ------------------------------------------------------------------*/

static void test_restore(void **state)
{
	struct lab lab;
	uint64_t old;

	(void)state;
	open_lab(&lab, 8, "fake://source:1");
	put(&lab.source, "/a", "1");
	old = lab.source.index;
	put(&lab.source, "/a", "2");
	put(&lab.source, "/b", "2");
	fake_restore(&lab.source, old, true);
	assert_int_equal(lab.source.index, old);
	assert_string_equal(lab.source.identity, "source-2");
	assert_memory_equal(
	    fake_now(fake_find(&lab.source, slice_str("/a")))->value.p, "1", 1);
	assert_false(
	    fake_now(fake_find(&lab.source, slice_str("/b")))->present);
	put(&lab.source, "/a", "3");
	assert_int_equal(
	    fake_at(&lab.source, fake_find(&lab.source, slice_str("/a")), old)
		->index,
	    old);
	close_lab(&lab);
}

/* A posted task is not passed over for ever. */
struct counted {
	struct sched_task task;
	unsigned runs;
	struct sim_sched *sched;
	unsigned left;
};

static void count_and_post(struct sched_task *t)
{
	struct counted *c = kv_container_of(t, struct counted, task);

	c->runs++;
	if (c->left-- > 0) {
		sched_post(&c->sched->base, t);
	}
}

static void test_patience(void **state)
{
	struct counted busy[3] = {{.runs = 0}}, one = {.runs = 0};
	struct sim_sched s;

	(void)state;
	for (uint64_t seed = 1; seed < 50; seed++) {
		sim_sched_init(&s, seed);
		for (size_t i = 0; i < 3; i++) {
			busy[i] = (struct counted){.task.run = count_and_post,
						   .sched = &s,
						   .left = 100000};
			sched_post(&s.base, &busy[i].task);
		}
		one = (struct counted){.task.run = count_and_post, .sched = &s};
		sched_post(&s.base, &one.task);
		for (unsigned i = 0; i < 4 * SIM_PATIENCE; i++) {
			assert_true(sim_sched_step(&s));
		}
		assert_int_equal(one.runs, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_scan_pages),
	    cmocka_unit_test(test_scan_at_and_compaction),
	    cmocka_unit_test(test_guards),
	    cmocka_unit_test(test_lost_writes),
	    cmocka_unit_test(test_crash),
	    cmocka_unit_test(test_watch_told),
	    cmocka_unit_test(test_watch_inferred),
	    cmocka_unit_test(test_restore),
	    cmocka_unit_test(test_patience),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
