/* test_store.c: the contract of requests: when callbacks come, what refusals
 * and cancels do, what close waits for, under nasty orders. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store.h"
#include "tests/lib/loop.h"
#include "tests/lib/mem_store.h"
#include "tests/lib/sweep.h"

struct world {
	struct test_loop loop;
	struct store_registry registry;
	struct store *st;
	bool closed;
};

static void note_closed(void *ctx)
{
	((struct world *)ctx)->closed = true;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	struct kv_err err = {0};

	sweep_begin();
	test_loop_open(&w->loop);
	assert_int_equal(store_register(&w->registry, &mem_ops, &err), KV_OK);
	assert_int_equal(store_register(&w->registry, &mem_plain_ops, &err),
			 KV_OK);
	assert_int_equal(
	    store_open(&w->registry, w->loop.sched, "mem:a", 0, &w->st, &err),
	    KV_OK);
	*state = w;
	return 0;
}

/* Tests that close the store themselves set w->st to NULL. */
static int teardown(void **state)
{
	struct world *w = *state;

	if (w->st != NULL) {
		store_close(w->st, note_closed, w);
		test_loop_until(&w->loop, &w->closed);
	}
	test_loop_close(&w->loop);
	store_registry_free(&w->registry);
	sweep_end();
	free(w);
	return 0;
}

/* A scan and what became of it. */
struct probe {
	struct store_scan scan;
	unsigned calls;
	bool done;
	int status;
	size_t n;
	/* what the callback does */
	struct store *resubmit;
	struct store *close;
	struct store_req *cancel;
	struct world *w;
};

static void probe_cb(struct store_scan *req)
{
	struct probe *p = req->data;

	p->calls++;
	p->done = true;
	p->status = req->err.status;
	p->n = req->page == NULL ? 0 : req->page->n;
	store_page_free(req->page);
	req->page = NULL;
	if (p->cancel != NULL) {
		store_cancel(p->cancel);
	}
	if (p->close != NULL) {
		struct store *st = p->close;

		p->close = NULL;
		store_close(st, note_closed, p->w);
	}
	if (p->resubmit != NULL) {
		struct store *st = p->resubmit;

		p->resubmit = NULL;
		assert_int_equal(store_scan(st, req), KV_OK);
	}
}

static int submit(struct world *w, struct probe *p)
{
	p->scan.cb = probe_cb;
	p->scan.data = p;
	p->w = w;
	return store_scan(w->st, &p->scan);
}

static void early_completion_is_parked(void **state)
{
	struct world *w = *state;
	struct probe p = {0};

	mem_put(w->st, "/a", "1");
	assert_int_equal(submit(w, &p), KV_OK);
	assert_int_equal(p.calls, 0);
	test_loop_until(&w->loop, &p.done);
	test_loop_turns(&w->loop, 3);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.status, KV_OK);
	assert_int_equal(p.n, 1);
}

static void completion_from_outside_is_parked_too(void **state)
{
	struct world *w = *state;
	struct probe p = {0};

	mem_of(w->st)->mode = MEM_HOLD;
	assert_int_equal(submit(w, &p), KV_OK);
	test_loop_turns(&w->loop, 3);
	assert_int_equal(p.calls, 0);
	mem_release(w->st);
	assert_int_equal(p.calls, 0);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.calls, 1);
}

static void refusal_means_no_callback(void **state)
{
	struct world *w = *state;
	struct probe p = {0};

	mem_of(w->st)->refuse = KV_NOT_REACHABLE;
	assert_int_equal(submit(w, &p), KV_NOT_REACHABLE);
	assert_int_equal(p.scan.err.status, KV_NOT_REACHABLE);
	assert_string_equal(p.scan.err.text, "refused by the test");
	test_loop_turns(&w->loop, 3);
	assert_int_equal(p.calls, 0);
	/* The same struct may be submitted again. */
	assert_int_equal(submit(w, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.status, KV_OK);
}

static void failure_travels(void **state)
{
	struct world *w = *state;
	struct probe p = {0};

	mem_of(w->st)->fail = KV_DENIED;
	assert_int_equal(submit(w, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.status, KV_DENIED);
}

static void resubmission_inside_the_callback(void **state)
{
	struct world *w = *state;
	struct probe p = {.resubmit = w->st};

	assert_int_equal(submit(w, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.calls, 1);
	p.done = false;
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.calls, 2);
	assert_int_equal(mem_of(w->st)->scans, 2);
}

static void cancel_comes_back_once(void **state)
{
	struct world *w = *state;
	struct probe p = {0};

	mem_of(w->st)->mode = MEM_HOLD;
	assert_int_equal(submit(w, &p), KV_OK);
	store_cancel(&p.scan.req);
	store_cancel(&p.scan.req);
	assert_int_equal(p.calls, 0);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.status, KV_CANCELED);
	assert_int_equal(mem_of(w->st)->cancels, 1);
	/* Of a request at rest it is nothing. */
	store_cancel(&p.scan.req);
	assert_int_equal(mem_of(w->st)->cancels, 1);
}

static void a_result_beats_cancel(void **state)
{
	struct world *w = *state;
	struct probe p = {0};

	assert_int_equal(submit(w, &p), KV_OK); /* done, parked */
	store_cancel(&p.scan.req);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.status, KV_OK);
	assert_int_equal(mem_of(w->st)->cancels, 0);
}

static void cancel_inside_a_callback(void **state)
{
	struct world *w = *state;
	struct probe slow = {0};
	struct probe p = {.cancel = &slow.scan.req};

	mem_of(w->st)->mode = MEM_HOLD;
	assert_int_equal(submit(w, &slow), KV_OK);
	mem_of(w->st)->mode = MEM_INLINE;
	assert_int_equal(submit(w, &p), KV_OK);
	test_loop_until(&w->loop, &slow.done);
	assert_int_equal(p.status, KV_OK);
	assert_int_equal(slow.status, KV_CANCELED);
	assert_int_equal(slow.calls, 1);
}

static void a_request_cancels_itself_in_its_callback(void **state)
{
	struct world *w = *state;
	struct probe p = {0};

	p.cancel = &p.scan.req;
	assert_int_equal(submit(w, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	test_loop_turns(&w->loop, 3);
	assert_int_equal(p.calls, 1);
	assert_int_equal(mem_of(w->st)->cancels, 0);
}

static void close_cancels_what_is_outstanding(void **state)
{
	struct world *w = *state;
	struct probe a = {0}, b = {0};

	mem_of(w->st)->mode = MEM_HOLD;
	assert_int_equal(submit(w, &a), KV_OK);
	assert_int_equal(submit(w, &b), KV_OK);
	store_close(w->st, note_closed, w);
	w->st = NULL;
	assert_int_equal(a.calls + b.calls, 0);
	assert_false(w->closed);
	test_loop_until(&w->loop, &w->closed);
	assert_int_equal(a.calls, 1);
	assert_int_equal(b.calls, 1);
	assert_int_equal(a.status, KV_CANCELED);
	assert_int_equal(b.status, KV_CANCELED);
}

static void close_waits_for_a_deaf_backend(void **state)
{
	struct world *w = *state;
	struct store *st = w->st;
	struct probe p = {0};

	mem_of(st)->mode = MEM_HOLD;
	mem_of(st)->deaf = true;
	mem_of(st)->close_later = true;
	assert_int_equal(submit(w, &p), KV_OK);
	store_close(st, note_closed, w);
	w->st = NULL;
	test_loop_turns(&w->loop, 5);
	assert_false(mem_of(st)->close_called);
	mem_release(st);
	test_loop_turns(&w->loop, 5);
	assert_int_equal(p.status, KV_OK);
	assert_true(mem_of(st)->close_called);
	assert_false(w->closed);
	store_closed(st);
	assert_false(w->closed);
	test_loop_until(&w->loop, &w->closed);
}

static void close_inside_a_callback(void **state)
{
	struct world *w = *state;
	struct probe slow = {0};
	struct probe p = {.close = w->st};

	mem_of(w->st)->mode = MEM_HOLD;
	assert_int_equal(submit(w, &slow), KV_OK);
	mem_of(w->st)->mode = MEM_INLINE;
	assert_int_equal(submit(w, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	w->st = NULL;
	assert_false(w->closed);
	test_loop_until(&w->loop, &w->closed);
	assert_int_equal(slow.status, KV_CANCELED);
	assert_int_equal(slow.calls, 1);
}

static void refuse_cb(struct store_scan *req)
{
	struct probe *p = req->data;

	p->calls++;
	p->status = store_scan(p->resubmit, req);
	assert_int_equal(req->err.status, p->status);
}

static void nothing_is_taken_while_closing(void **state)
{
	struct world *w = *state;
	struct probe p = {.resubmit = w->st};

	mem_of(w->st)->mode = MEM_HOLD;
	p.scan.cb = refuse_cb;
	p.scan.data = &p;
	assert_int_equal(store_scan(w->st, &p.scan), KV_OK);
	store_close(w->st, note_closed, w);
	w->st = NULL;
	test_loop_until(&w->loop, &w->closed);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.status, KV_CANCELED);
}

static void close_without_a_callback(void **state)
{
	struct world *w = *state;

	store_close(w->st, NULL, NULL);
	w->st = NULL;
	test_loop_turns(&w->loop, 5); /* the teardown sees what leaks */
}

/* ---- inputs -------------------------------------------------------------- */

static void backends_see_plain_directories(void **state)
{
	struct world *w = *state;
	struct probe p = {0};

	p.scan.dir = slice_str("/a/");
	p.scan.after = slice_str("/a!");
	assert_int_equal(submit(w, &p), KV_OK);
	assert_true(slice_eq(mem_of(w->st)->last_scan.dir, slice_str("/a")));
	assert_int_equal(mem_of(w->st)->last_scan.after.n, 0);
	test_loop_until(&w->loop, &p.done);

	memset(&p, 0, sizeof p);
	p.scan.dir = slice_str("/");
	assert_int_equal(submit(w, &p), KV_OK);
	assert_int_equal(mem_of(w->st)->last_scan.dir.n, 0);
	test_loop_until(&w->loop, &p.done);
}

static void bad_scans_are_refused(void **state)
{
	struct world *w = *state;
	struct slice keys[5] = {slice_str("/b"), slice_str("/a")};
	struct probe p = {0};

	p.scan.dir = slice_str("a");
	assert_int_equal(submit(w, &p), KV_INVALID_KEY);
	p.scan.keys = keys;
	assert_int_equal(submit(w, &p), KV_BAD_ARGUMENT); /* none */
	p.scan.n_keys = 2;
	assert_int_equal(submit(w, &p), KV_BAD_ARGUMENT); /* not sorted */
	keys[1] = slice_str("/b");
	assert_int_equal(submit(w, &p), KV_BAD_ARGUMENT); /* twice */
	keys[1] = slice_str("b");
	assert_int_equal(submit(w, &p), KV_INVALID_KEY);
	keys[1] = slice_str("/b!");
	assert_int_equal(submit(w, &p), KV_INVALID_KEY); /* by the backend */
	p.scan.n_keys = 5;
	assert_int_equal(submit(w, &p), KV_TOO_LARGE);
	assert_int_equal(p.calls, 0);
	assert_int_equal(mem_of(w->st)->scans, 0);
}

static void a_disordered_answer_is_broken(void **state)
{
	struct world *w = *state;
	struct probe p = {0};

	mem_put(w->st, "/a", "1");
	mem_put(w->st, "/b", "2");
	mem_of(w->st)->shuffle = true;
	assert_int_equal(submit(w, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.status, KV_BROKEN);
}

struct write_probe {
	struct store_write write;
	struct store_op ops[5];
	bool done;
};

static void write_cb(struct store_write *req)
{
	((struct write_probe *)req->data)->done = true;
}

static struct write_probe put_ops(const char *const *keys, size_t n,
				  const char *value)
{
	struct write_probe p = {0};
	size_t i;

	for (i = 0; i < n; i++) {
		p.ops[i].kind = STORE_OP_PUT;
		p.ops[i].key = slice_str(keys[i]);
		p.ops[i].value = slice_str(value);
	}
	p.write.n_ops = n;
	p.write.cb = write_cb;
	return p;
}

static int submit_write(struct world *w, struct write_probe *p)
{
	p->write.ops = p->ops;
	p->write.data = p;
	return store_write(w->st, &p->write);
}

static void limits_of_a_write(void **state)
{
	static const char *const keys[] = {"/e", "/d", "/c", "/b", "/a"};
	struct world *w = *state;
	struct write_probe p = put_ops(keys, 5, "v");

	assert_int_equal(submit_write(w, &p), KV_TOO_LARGE); /* ops */
	p = put_ops(keys, 0, "v");
	assert_int_equal(submit_write(w, &p), KV_BAD_ARGUMENT);
	p = put_ops(keys, 4, "123456789012345");
	assert_int_equal(submit_write(w, &p), KV_TOO_LARGE); /* bytes */
	p = put_ops(keys, 2, "123456789012345678901234567890123");
	assert_int_equal(submit_write(w, &p), KV_TOO_LARGE); /* value */
	assert_int_equal(p.ops[0].status, KV_TOO_LARGE);
	assert_int_equal(p.ops[1].status, KV_CANCELED);
	assert_int_equal(mem_of(w->st)->writes, 0);
	p = put_ops(keys, 4, "12345678901234");
	assert_int_equal(submit_write(w, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.write.err.status, KV_OK);
	assert_int_equal(p.ops[3].status, KV_OK);
	assert_int_equal(p.ops[3].version.a, 4);
	assert_int_equal(p.write.origin.index, 4);
}

static void keys_of_a_write(void **state)
{
	static const char *const twice[] = {"/b", "/a", "/b"};
	static const char *const bad[] = {"/a", "b"};
	static const char *const refused[] = {"/a", "/!"};
	static const char *const longest[] = {"/12345678901234567890123"};
	static const char *const longer[] = {"/123456789012345678901234"};
	struct world *w = *state;
	struct write_probe p = put_ops(twice, 3, "v");

	assert_int_equal(submit_write(w, &p), KV_BAD_ARGUMENT);
	p = put_ops(bad, 2, "v");
	assert_int_equal(submit_write(w, &p), KV_INVALID_KEY);
	assert_int_equal(p.ops[1].status, KV_INVALID_KEY);
	p = put_ops(refused, 2, "v");
	assert_int_equal(submit_write(w, &p), KV_INVALID_KEY);
	p = put_ops(longer, 1, "v");
	assert_int_equal(submit_write(w, &p), KV_TOO_LARGE);
	p = put_ops(longest, 1, "v");
	assert_int_equal(submit_write(w, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	/* A lone slash is a key. */
	p = put_ops((const char *const[]){"/"}, 1, "v");
	assert_int_equal(submit_write(w, &p), KV_OK);
	test_loop_until(&w->loop, &p.done);
	assert_true(mem_has(w->st, "/"));
}

static void a_canceled_write_is_unknown(void **state)
{
	static const char *const keys[] = {"/a"};
	struct world *w = *state;
	struct write_probe p = put_ops(keys, 1, "v");

	mem_of(w->st)->mode = MEM_HOLD;
	assert_int_equal(submit_write(w, &p), KV_OK);
	store_cancel(&p.write.req);
	test_loop_until(&w->loop, &p.done);
	assert_int_equal(p.write.err.status, KV_UNKNOWN_OUTCOME);
}

/* ---- locks --------------------------------------------------------------- */

static void lock_cb(struct store_lock_req *req)
{
	*(bool *)req->data = true;
}

static void locks_where_there_are_some(void **state)
{
	struct world *w = *state;
	struct store *plain;
	struct kv_err err = {0};
	bool done = false;
	struct store_lock_req req = {.cb = lock_cb, .data = &done};

	assert_int_equal(store_lock(w->st, &req), KV_INVALID_KEY);
	req.key = slice_str("/l");
	assert_int_equal(store_lock(w->st, &req), KV_OK);
	test_loop_until(&w->loop, &done);
	assert_int_not_equal(req.token, 0);
	done = false;
	assert_int_equal(store_unlock(w->st, &req), KV_OK);
	test_loop_until(&w->loop, &done);

	assert_int_equal(
	    store_open(&w->registry, w->loop.sched, "plain:x", 0, &plain, &err),
	    KV_OK);
	assert_int_equal(store_lock(plain, &req), KV_CALL_NOT_SUPPORTED);
	assert_int_equal(store_unlock(plain, &req), KV_CALL_NOT_SUPPORTED);
	store_close(plain, NULL, NULL);
}

/* ---- faults of a program ------------------------------------------------- */

/* Does fn abort? In a child, whose message is thrown away. */
static bool aborts(void (*fn)(struct world *w), struct world *w)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)signal(SIGABRT, SIG_DFL);
		(void)freopen("/dev/null", "w", stderr);
		fn(w);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void submit_twice(struct world *w)
{
	static struct probe p;

	mem_of(w->st)->mode = MEM_HOLD;
	(void)submit(w, &p);
	(void)submit(w, &p);
}

static void done_twice(struct world *w)
{
	static struct probe p;

	mem_of(w->st)->mode = MEM_HOLD;
	(void)submit(w, &p);
	mem_release(w->st);
	store_done(&p.scan.req);
}

static void close_twice(struct world *w)
{
	store_close(w->st, NULL, NULL);
	store_close(w->st, NULL, NULL);
}

static void faults_are_caught(void **state)
{
	struct world *w = *state;

	assert_true(aborts(submit_twice, w));
	assert_true(aborts(done_twice, w));
	assert_true(aborts(close_twice, w));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(early_completion_is_parked),
	    T(completion_from_outside_is_parked_too),
	    T(refusal_means_no_callback),
	    T(failure_travels),
	    T(resubmission_inside_the_callback),
	    T(cancel_comes_back_once),
	    T(a_result_beats_cancel),
	    T(cancel_inside_a_callback),
	    T(a_request_cancels_itself_in_its_callback),
	    T(close_cancels_what_is_outstanding),
	    T(close_waits_for_a_deaf_backend),
	    T(close_inside_a_callback),
	    T(nothing_is_taken_while_closing),
	    T(close_without_a_callback),
	    T(backends_see_plain_directories),
	    T(bad_scans_are_refused),
	    T(a_disordered_answer_is_broken),
	    T(limits_of_a_write),
	    T(keys_of_a_write),
	    T(a_canceled_write_is_unknown),
	    T(locks_where_there_are_some),
	    T(faults_are_caught),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
