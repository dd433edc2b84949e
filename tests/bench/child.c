/* child.c: time and arrive: a command is run and measured from outside. */
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/bench/bench.h"

static double seconds_of(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int bench_time(const struct bench_args *a)
{
	uint64_t begin = bench_now_us();
	int pid = bench_spawn(a->command);
	struct rusage usage;
	int status;
	double wall;

	while (wait4(pid, &status, 0, &usage) < 0) {
		if (errno != EINTR) {
			bench_die("wait4: %s", strerror(errno));
		}
	}
	wall = (double)(bench_now_us() - begin) / 1e6;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		bench_die("%s ended with status %d", a->command[0], status);
	}
	(void)printf("seconds=%.3f cpu=%.3f rss_kib=%ld rate=%.0f\n", wall,
		     seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
		     usage.ru_maxrss, (double)a->keys / wall);
	return 0;
}

struct arrival {
	uint64_t seen;
	uint64_t want;
	bool all;
};

static void on_change(struct bench_watch *w, const struct store_change *c)
{
	struct arrival *x = w->data;

	x->seen += c->action == STORE_DELETE ? 0 : 1;
	x->all = x->seen >= x->want;
}

int bench_arrive(struct bench *b, const struct bench_args *a)
{
	struct store *st = bench_store(b, a->words[0]);
	struct arrival x = {.want = a->keys};
	struct bench_watch w = {.change = on_change, .data = &x};
	uint64_t begin;
	double wall;
	int pid;

	bench_watch_open(&w, b, st);
	begin = bench_now_us();
	pid = bench_spawn(a->command);
	bench_until(b, &x.all, 600);
	wall = (double)(bench_now_us() - begin) / 1e6;
	bench_kill(pid);
	bench_watch_close(&w);
	bench_close(b, st);
	(void)printf("seconds=%.3f rate=%.0f\n", wall, (double)a->keys / wall);
	return 0;
}
