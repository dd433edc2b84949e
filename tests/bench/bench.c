/* bench.c: see bench.h; the command line, and what all commands share. */
#include "tests/bench/bench.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "store/etcd/etcd.h"
#include "store/sqlite/sqlite.h"
#include "store/zookeeper/zookeeper.h"

_Noreturn void bench_die(const char *fmt, ...)
{
	va_list ap;

	(void)fputs("kvbench: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	exit(1);
}

uint64_t bench_now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

/* ---- stores and the loop
 * -------------------------------------------------------*/

static void open_bench(struct bench *b)
{
	static const struct store_ops *const all[] = {
	    &store_sqlite_ops, &store_etcd_ops, &store_zookeeper_ops};
	struct kv_err err = {0};

	memset(b, 0, sizeof *b);
	(void)uv_loop_init(&b->uv);
	b->sched = sched_uv_open(&b->uv);
	for (size_t i = 0; i < KV_COUNT(all); i++) {
		if (store_register(&b->registry, all[i], &err) != KV_OK) {
			bench_die("%s", err.text);
		}
	}
}

static void close_bench(struct bench *b)
{
	sched_uv_close(b->sched);
	(void)uv_run(&b->uv, UV_RUN_DEFAULT);
	(void)uv_loop_close(&b->uv);
	store_registry_free(&b->registry);
}

struct store *bench_store(struct bench *b, const char *uri)
{
	struct store *st;
	struct kv_err err = {0};

	if (store_open(&b->registry, b->sched, uri, STORE_CREATE, &st, &err) !=
	    KV_OK) {
		bench_die("%s", err.text);
	}
	return st;
}

static void on_closed(void *ctx)
{
	*(bool *)ctx = true;
}

void bench_close(struct bench *b, struct store *st)
{
	bool closed = false;

	store_close(st, on_closed, &closed);
	bench_until(b, &closed, 30);
}

static void on_tick(uv_timer_t *timer)
{
	(void)timer; /* the loop turns, and the deadline is looked at */
}

static void on_timer_closed(uv_handle_t *handle)
{
	*(bool *)handle->data = true;
}

void bench_until(struct bench *b, const bool *flag, unsigned seconds)
{
	uint64_t end = bench_now_us() + seconds * UINT64_C(1000000);
	bool closed = false;
	uv_timer_t timer;

	(void)uv_timer_init(&b->uv, &timer);
	timer.data = &closed;
	(void)uv_timer_start(&timer, on_tick, 1000, 1000);
	while (!*flag) {
		(void)uv_run(&b->uv, UV_RUN_ONCE);
		if (bench_now_us() > end) {
			bench_die("nothing came for %u s", seconds);
		}
	}
	uv_close((uv_handle_t *)&timer, on_timer_closed);
	while (!closed) {
		(void)uv_run(&b->uv, UV_RUN_NOWAIT);
	}
}

/* ---- watching
 * --------------------------------------------------------------------*/

static void watch_pull(struct bench_watch *w);

static void on_next(struct store_next *req)
{
	struct bench_watch *w = req->data;
	struct store_batch *batch = req->batch;

	if (w->stopped) {
		store_batch_free(batch);
		return;
	}
	if (req->err.status != KV_OK) {
		bench_die("watch: %s", req->err.text);
	}
	w->ready = true;
	for (size_t i = 0; i < batch->n; i++) {
		w->change(w, &batch->changes[i]);
	}
	store_batch_free(batch);
	watch_pull(w);
}

static void watch_pull(struct bench_watch *w)
{
	memset(&w->next, 0, sizeof w->next);
	w->next.cb = on_next;
	w->next.data = w;
	if (store_watch_next(w->watch, &w->next) != KV_OK) {
		bench_die("watch: %s", w->next.err.text);
	}
}

void bench_watch_open(struct bench_watch *w, struct bench *b, struct store *st)
{
	struct store_watch_params p = {0};

	w->b = b;
	w->ready = false;
	w->stopped = false;
	w->watch = store_watch_open(st, &p);
	if (w->watch == NULL) {
		bench_die("no memory");
	}
	watch_pull(w);
	bench_until(b, &w->ready, 30);
}

void bench_watch_close(struct bench_watch *w)
{
	w->stopped = true;
	store_watch_close(w->watch);
}

/* ---- children
 * ------------------------------------------------------------------------*/

int bench_spawn(char **command)
{
	pid_t pid = fork();

	if (pid < 0) {
		bench_die("fork: %s", strerror(errno));
	}
	if (pid == 0) {
		(void)dup2(STDERR_FILENO, STDOUT_FILENO);
		(void)execvp(command[0], command);
		_exit(127);
	}
	return pid;
}

void bench_kill(int pid)
{
	int status;

	(void)kill(pid, SIGTERM);
	(void)waitpid(pid, &status, 0);
}

/* ---- numbers
 * -------------------------------------------------------------------------*/

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a;
	int64_t y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

int64_t bench_percentile(int64_t *values, size_t n, double p)
{
	size_t i = (size_t)(p * (double)n);

	PRE(n > 0);
	qsort(values, n, sizeof *values, compare);
	return values[KV_MIN(i, n - 1)];
}

struct slice bench_key(char *buf, const char *dir, uint64_t i)
{
	int n = snprintf(buf, 24, "%.8s/%08llu", dir, (unsigned long long)i);

	return slice_of(buf, (size_t)n);
}

void bench_value(uint8_t *p, size_t n, uint64_t i)
{
	uint64_t x = i * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t k = 0; k < n; k++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[k] = (uint8_t)('a' + x % 26);
	}
}

/* ---- the command line
 * ------------------------------------------------------------*/

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long n;

	if (text == NULL) {
		bench_die("an option lacks its number");
	}
	n = strtoull(text, &end, 10);
	if (*end != '\0' || end == text) {
		bench_die("'%s' is no number", text);
	}
	return n;
}

static uint64_t *option(struct bench_args *a, const char *name)
{
	const struct {
		const char *name;
		uint64_t *value;
	} options[] = {
	    {"--keys", &a->keys},     {"--size", &a->size},
	    {"--window", &a->window}, {"--ops", &a->ops},
	    {"--from", &a->from},     {"--seconds", &a->seconds},
	};

	for (size_t i = 0; i < KV_COUNT(options); i++) {
		if (strcmp(options[i].name, name) == 0) {
			return options[i].value;
		}
	}
	bench_die("unknown option %s", name);
}

static void parse(struct bench_args *a, char **argv)
{
	a->keys = 1000;
	a->size = 256;
	a->window = 1;
	a->ops = 128;
	a->seconds = 5;
	for (; *argv != NULL; argv++) {
		if (strcmp(*argv, "--") == 0) {
			a->command = argv + 1;
			return;
		}
		if (strncmp(*argv, "--", 2) == 0) {
			*option(a, argv[0]) = number(argv[1]);
			argv++;
		} else if (a->n_words < (int)KV_COUNT(a->words)) {
			a->words[a->n_words++] = *argv;
		} else {
			bench_die("too many words");
		}
	}
}

static int run(struct bench *b, const char *command, struct bench_args *a)
{
	const struct {
		const char *name;
		int words;
		bool child;
	} commands[] = {
	    {"fill", 1, false},	 {"bare", 1, false},   {"time", 0, true},
	    {"arrive", 1, true}, {"lag", 4, false},    {"stream", 3, false},
	    {"read", 1, false},	 {"zkread", 2, false}, {"hold", 1, false}};
	size_t i = 0;

	while (i < KV_COUNT(commands) &&
	       strcmp(commands[i].name, command) != 0) {
		i++;
	}
	if (i == KV_COUNT(commands) || a->n_words != commands[i].words ||
	    commands[i].child != (a->command != NULL && *a->command != NULL)) {
		bench_die("usage: fill URI | bare URI | time -- COMMAND | "
			  "arrive URI -- COMMAND | lag SOURCE TARGET DIR DIR | "
			  "stream SOURCE TARGET DIR | read URI | "
			  "zkread HOSTS PATH | hold URI; options: --keys "
			  "--size --window --ops --from --seconds");
	}
	switch (i) {
	case 0:
		return bench_fill(b, a, false);
	case 1:
		return bench_fill(b, a, true);
	case 2:
		return bench_time(a);
	case 3:
		return bench_arrive(b, a);
	case 4:
		return bench_lag(b, a);
	case 5:
		return bench_stream(b, a);
	case 6:
		return bench_read(b, a);
	case 7:
		return bench_zkread(a);
	default:
		return bench_hold(b, a);
	}
}

int main(int argc, char **argv)
{
	struct bench_args args = {0};
	struct bench b;
	int code;

	(void)signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		bench_die("a command is missing");
	}
	parse(&args, argv + 2);
	open_bench(&b);
	code = run(&b, argv[1], &args);
	close_bench(&b);
	return code;
}
