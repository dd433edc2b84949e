/* sweep.c: an allocator that counts, and fails once. Threads of the code under
 * test may allocate too, so the counters are atomic. */
#include "tests/lib/sweep.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>

#include <cmocka.h>

#include "store/base/mem.h"
#include "store/base/status.h"

#define RUNS_MAX 100000

struct counts {
	atomic_long live;
	atomic_long calls;
	atomic_bool failed;
	long fail_at; /* -1: none */
};

static void *count_realloc(void *ctx, void *ptr, size_t size)
{
	struct counts *c = ctx;
	void *p;

	if (atomic_fetch_add(&c->calls, 1) == c->fail_at) {
		atomic_store(&c->failed, true);
		return NULL;
	}
	p = realloc(ptr, size);
	if (p != NULL && ptr == NULL) {
		atomic_fetch_add(&c->live, 1);
	}
	return p;
}

static void count_free(void *ctx, void *ptr)
{
	struct counts *c = ctx;

	atomic_fetch_sub(&c->live, 1);
	free(ptr);
}

static struct counts sweep_counts;

static void install(long fail_at)
{
	struct kv_mem_hooks hooks = {
	    .realloc = count_realloc,
	    .free = count_free,
	    .ctx = &sweep_counts,
	};

	atomic_store(&sweep_counts.live, 0);
	atomic_store(&sweep_counts.calls, 0);
	atomic_store(&sweep_counts.failed, false);
	sweep_counts.fail_at = fail_at;
	kv_mem_set_hooks(&hooks);
}

static void uninstall(long run)
{
	long live = atomic_load(&sweep_counts.live);

	kv_mem_set_hooks(NULL);
	if (live != 0) {
		fail_msg("%ld blocks are left with allocation %ld failing",
			 live, run);
	}
}

unsigned sweep_run(int (*fn)(void *ctx), void *ctx)
{
	long n;
	int rv;

	for (n = 0; n < RUNS_MAX; n++) {
		install(n);
		rv = fn(ctx);
		uninstall(n);
		if (!atomic_load(&sweep_counts.failed)) {
			assert_int_equal(rv, KV_OK);
			return (unsigned)n;
		}
		if (rv != KV_OK && rv != KV_NO_MEMORY) {
			fail_msg("allocation %ld failed, the result is %s", n,
				 kv_status_name(rv));
		}
	}
	fail_msg("the sweep did not end after %d runs", RUNS_MAX);
	return 0;
}

void sweep_begin(void)
{
	install(-1);
}

void sweep_end(void)
{
	uninstall(-1);
}
