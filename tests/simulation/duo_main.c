/* duo_main.c: one seed of the simulation of a pair, and its command line.
 *
 *   storm: steps of the agent, users, faults, crashes
 *     --> rest: faults end, users rest --> both follow, both sides are equal
 *     --> nothing is written any more --> a reconcile of both writes nothing
 *     --> both rows of each key are one fact --> close: nothing leaks
 *
 *   duo --seeds 1..2000 [--keep-going]     duo --seed 4711 --verbose
 *   --no-nudge   fails where only a reconcile makes both sides equal
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "duo.h"
#include "store/base/log.h"

#define REST_STEPS 60000
#define REST_MS (UINT64_C(2) * 3600 * 1000)
#define HELD_TRIES 5
#define NUDGE_MS 120000

struct lab {
	struct sim_mem mem;
	struct region region;
	uint8_t *template_bytes;
	size_t template_n;
	struct duo_counts counts;
	struct fake_counts faults;
	uint64_t from, to, failed;
	bool verbose, keep_going, no_nudge;
};

/* What a signal handler can say: which seed it was. */
static volatile sig_atomic_t seed_now;

/* Sanitizers end by SIGABRT, so that the handler below names the seed. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "abort_on_error=1:detect_leaks=0";
}

const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
	return "abort_on_error=1:print_stacktrace=1";
}

static void on_signal(int sig)
{
	char line[128];
	int n = snprintf(line, sizeof line,
			 "seed %ld: signal %d\n  replay: duo --seed %ld "
			 "--verbose\n",
			 (long)seed_now, sig, (long)seed_now);

	(void)!write(STDERR_FILENO, line, (size_t)n);
	_exit(128 + sig);
}

void duo_trace(struct duo *d, const char *fmt, ...)
{
	va_list ap;

	if (!d->verbose) {
		return;
	}
	printf("%6llu %7llu ms  ", (unsigned long long)d->sched.steps,
	       (unsigned long long)d->sched.now_ms);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	(void)putchar('\n');
}

void duo_fail(struct duo *d, const char *fmt, ...)
{
	va_list ap;

	if (duo_failed(d)) {
		return;
	}
	va_start(ap, fmt);
	(void)vsnprintf(d->failure, sizeof d->failure, fmt, ap);
	va_end(ap);
	duo_trace(d, "FAILED: %s", d->failure);
}

bool duo_failed(const struct duo *d)
{
	return d->failure[0] != '\0';
}

static void world_trace(void *ctx, const char *fmt, ...) KV_PRINTF(2, 3);
static void world_trace(void *ctx, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	duo_trace(ctx, "%s", line);
}

/* ---- steps
 * ------------------------------------------------------------------*/

static void step(struct duo *d)
{
	struct sim_mem *m = d->mem;

	d->counts->steps++;
	if (d->sched.now_ms >= d->memory_until_ms) {
		m->every = 0;
	}
	(void)sim_mem_arm(m, true);
	if (!sim_sched_step(&d->sched)) {
		d->sched.now_ms += 1000;
	}
	(void)sim_mem_arm(m, false);
	d->counts->no_memory += m->failed;
	m->failed = 0;
	duo_reap(d);
	duo_look(d);
}

static void storm_life(struct duo *d)
{
	const struct duo_plan *p = &d->plan;

	if (d->agent.life == DUO_DOWN) {
		if (sim_chance(&d->rand, 1, 6)) {
			duo_start(d);
		}
	} else if (p->crash_one_in > 0 &&
		   sim_chance(&d->rand, 1, p->crash_one_in)) {
		duo_crash(d);
	} else if (d->agent.life == DUO_UP && p->stop_one_in > 0 &&
		   sim_chance(&d->rand, 1, p->stop_one_in)) {
		duo_close(d);
	}
}

static void storm(struct duo *d)
{
	for (unsigned i = 0; i < d->plan.storm_steps && !duo_failed(d); i++) {
		if (sim_chance(&d->rand, 1, d->plan.act_one_in)) {
			duo_act(d);
		}
		step(d);
		storm_life(d);
	}
}

/* ---- rest
 * -------------------------------------------------------------------*/

typedef bool (*until_fn)(struct duo *d);

static bool run_until(struct duo *d, until_fn until, uint64_t ms)
{
	uint64_t end = d->sched.now_ms + ms;

	for (unsigned i = 0; i < REST_STEPS && d->sched.now_ms <= end; i++) {
		if (duo_failed(d) || until(d)) {
			return !duo_failed(d);
		}
		step(d);
	}
	return false;
}

static bool never(struct duo *d KV_UNUSED)
{
	return false;
}

static bool is_down(struct duo *d)
{
	return d->agent.life == DUO_DOWN;
}

static bool any_held(struct duo *d)
{
	return d->agent.status[0].phase == ROUTE_HELD ||
	       d->agent.status[1].phase == ROUTE_HELD;
}

/* Both follow and have saved all, and both sides are equal. */
static bool is_at_rest(struct duo *d)
{
	char why[256];

	for (size_t i = 0; i < 2; i++) {
		if (d->agent.status[i].phase != ROUTE_FOLLOWING ||
		    d->agent.status[i].saved != d->worlds[i].index ||
		    !list_empty(&d->worlds[i].late_writes)) {
			return false;
		}
	}
	return duo_equal(d, why, sizeof why);
}

static bool is_at_rest_or_held(struct duo *d)
{
	return is_at_rest(d) || any_held(d);
}

static void fail_rest(struct duo *d, const char *when)
{
	char why[256] = "both sides are equal";
	const struct route_status *s = d->agent.status;

	(void)duo_equal(d, why, sizeof why);
	duo_fail(
	    d,
	    "no rest %s: %s; %s, seen %llu, applied %llu, saved %llu of "
	    "%llu; %s, seen %llu, applied %llu, saved %llu of %llu; %s %s",
	    when, why, route_phase_name(s[0].phase),
	    (unsigned long long)s[0].seen, (unsigned long long)s[0].applied,
	    (unsigned long long)s[0].saved,
	    (unsigned long long)d->worlds[0].index,
	    route_phase_name(s[1].phase), (unsigned long long)s[1].seen,
	    (unsigned long long)s[1].applied, (unsigned long long)s[1].saved,
	    (unsigned long long)d->worlds[1].index, s[0].error.text,
	    s[1].error.text);
}

static void expect_rest(struct duo *d, const char *when)
{
	if (!run_until(d, is_at_rest, REST_MS)) {
		fail_rest(d, when);
	}
}

/* Two things need a reconcile to be put right: a key that both sides changed
 * and one brought back to what it was, and one that was deleted between two
 * looks at a source that tells no deletes. How often is counted. */
static void nudge(struct duo *d)
{
	if (d->no_nudge || duo_failed(d) ||
	    run_until(d, is_at_rest_or_held, NUDGE_MS) || duo_failed(d)) {
		return;
	}
	for (size_t i = 0; i < 2; i++) {
		if (d->agent.status[i].phase != ROUTE_FOLLOWING) {
			return;
		}
	}
	d->counts->nudged++;
	duo_trace(d, "both sides differ: a reconcile is asked for");
	route_reconcile(d->agent.routes[0]);
	route_reconcile(d->agent.routes[1]);
}

/* Conflicts under `stop` are ended by users. */
static void release(struct duo *d)
{
	char why[256];

	for (int i = 0; i < HELD_TRIES && !duo_failed(d); i++) {
		if (!run_until(d, is_at_rest_or_held, REST_MS)) {
			fail_rest(d, "after the faults");
			return;
		}
		if (!any_held(d)) {
			return;
		}
		d->counts->held++;
		if (d->conf[0].conflict != CONF_STOP) {
			duo_fail(d, "held: %s",
				 d->agent.status[0].held == NULL
				     ? d->agent.status[1].held
				     : d->agent.status[0].held);
			return;
		}
		if (duo_equal(d, why, sizeof why)) {
			(void)run_until(d, never, 1000);
		}
		duo_make_equal(d);
		route_reconcile(d->agent.routes[0]);
		route_reconcile(d->agent.routes[1]);
	}
	expect_rest(d, "after what held it was gone");
}

/* Nobody writes, so kvmirror writes nothing. */
static void expect_silence(struct duo *d, uint64_t was, const char *when)
{
	if (!duo_failed(d) && d->agent_writes != was) {
		duo_fail(d, "%llu writes %s",
			 (unsigned long long)(d->agent_writes - was), when);
	}
}

static void check_end(struct duo *d)
{
	for (size_t i = 0; i < d->n_keys && !duo_failed(d); i++) {
		const struct duo_key *k = &d->keys[i];

		if (!k->outside && (k->wrote[0] || k->wrote[1])) {
			duo_fail(d, "at rest the rows of %.*s are not settled",
				 (int)k->name.n, (const char *)k->name.p);
		}
	}
}

static void rest_up(struct duo *d)
{
	uint64_t was;

	if (d->agent.life == DUO_DOWN) {
		duo_start(d);
	}
	nudge(d);
	release(d);
	if (duo_failed(d)) {
		return;
	}
	was = d->agent_writes;
	(void)run_until(d, never, 10000);
	expect_rest(d, "when late writes are dead");
	expect_silence(d, was, "at rest");
	d->at_rest = true;
	duo_intents(d);
	d->at_rest = false;
	duo_check_rows(d);
	check_end(d);
	if (duo_failed(d)) {
		return;
	}
	route_reconcile(d->agent.routes[0]);
	route_reconcile(d->agent.routes[1]);
	(void)run_until(d, never, 1000);
	expect_rest(d, "after a reconcile");
	expect_silence(d, was, "of a reconcile at rest");
	duo_check_rows(d);
}

static void rest(struct duo *d)
{
	duo_rest(d);
	duo_trace(d, "---- users rest");
	if (d->agent.life == DUO_CLOSING && !run_until(d, is_down, REST_MS)) {
		duo_fail(d, "the agent does not close");
	}
	if (!duo_failed(d)) {
		rest_up(d);
	}
	if (duo_failed(d)) {
		return;
	}
	duo_close(d);
	if (!run_until(d, is_down, REST_MS)) {
		duo_fail(d, "the agent does not close");
	}
	d->counts->converged += !duo_failed(d);
}

/* ---- a run
 * ------------------------------------------------------------------*/

static void set_up(struct duo *d)
{
	static const char *const names[2] = {"left", "right"};

	sim_sched_init(&d->sched, d->seed);
	d->mem->every = 0;
	d->mem->turn = 0;
	for (size_t i = 0; i < 2; i++) {
		struct fake_world *w = &d->worlds[i];

		fake_world_init(w, names[i], &d->sched, d->region);
		w->mem = d->mem;
		w->applied = duo_applied;
		w->ctx = d;
		w->trace = d->verbose ? world_trace : NULL;
		d->sched.worlds[i] = w;
	}
	duo_plan(d);
	sim_mem_apart(d->mem, d->plan.memory);
	d->counts->strict += d->strict;
}

static void tear_down(struct duo *d)
{
	if (d->state != NULL) {
		state_close(d->state);
	}
	sim_mem_drop(d->mem);
	free(d->old_state);
	region_reset(d->region);
}

static bool run_seed(struct lab *lab, uint64_t seed)
{
	struct duo *d = calloc(1, sizeof *d);
	bool ok;

	if (d == NULL) {
		abort();
	}
	d->seed = seed;
	d->verbose = lab->verbose;
	d->no_nudge = lab->no_nudge;
	d->mem = &lab->mem;
	d->region = &lab->region;
	d->counts = &lab->counts;
	d->faults = &lab->faults;
	d->template_bytes = lab->template_bytes;
	d->template_n = lab->template_n;
	seed_now = (sig_atomic_t)seed;
	duo_wrap_set(d);
	set_up(d);
	storm(d);
	if (!duo_failed(d)) {
		rest(d);
	}
	duo_wrap_set(NULL);
	tear_down(d);
	ok = !duo_failed(d);
	if (!ok) {
		printf("seed %llu: %s\n  replay: duo --seed %llu --verbose\n",
		       (unsigned long long)seed, d->failure,
		       (unsigned long long)seed);
		(void)fflush(stdout);
	}
	free(d);
	return ok;
}

/* In a process of its own: an abort is a failure like others. */
static bool run_apart(struct lab *lab, uint64_t seed)
{
	int status = 0;
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		alarm(60);
		_exit(run_seed(lab, seed) ? 0 : 1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		exit(3);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void run_all(struct lab *lab)
{
	for (uint64_t seed = lab->from; seed <= lab->to; seed++) {
		bool ok = lab->keep_going ? run_apart(lab, seed)
					  : run_seed(lab, seed);

		lab->failed += !ok;
		if (!ok && !lab->keep_going) {
			break;
		}
	}
}

/* ---- command line
 * -----------------------------------------------------------*/

static void log_to_trace(void *ctx, const char *line, size_t n)
{
	const struct lab *lab = ctx;

	if (lab->verbose) {
		(void)fwrite("        log  ", 1, 13, stdout);
		(void)fwrite(line, 1, n, stdout);
	}
}

static bool make_template(struct lab *lab)
{
	struct state *st;
	uint8_t *bytes;
	struct kv_err err = {0};

	if (state_open("", STATE_MEMORY, &st, &err) != KV_OK ||
	    state_dump(st, &bytes, &lab->template_n, &err) != KV_OK) {
		fprintf(stderr, "state: %s\n", err.text);
		return false;
	}
	lab->template_bytes = malloc(lab->template_n);
	if (lab->template_bytes == NULL) {
		return false;
	}
	memcpy(lab->template_bytes, bytes, lab->template_n);
	kv_free(bytes);
	state_close(st);
	return true;
}

static bool parse_seeds(const char *text, struct lab *lab)
{
	char *end;

	lab->from = strtoull(text, &end, 10);
	lab->to = lab->from;
	if (strncmp(end, "..", 2) == 0) {
		lab->to = strtoull(end + 2, &end, 10);
	}
	return *end == '\0' && lab->from > 0 && lab->from <= lab->to;
}

static bool parse(int argc, char **argv, struct lab *lab)
{
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];

		if (strcmp(a, "--verbose") == 0) {
			lab->verbose = true;
		} else if (strcmp(a, "--no-nudge") == 0) {
			lab->no_nudge = true;
		} else if (strcmp(a, "--keep-going") == 0) {
			lab->keep_going = true;
		} else if ((strcmp(a, "--seeds") != 0 &&
			    strcmp(a, "--seed") != 0) ||
			   i + 1 >= argc || !parse_seeds(argv[++i], lab)) {
			return false;
		}
	}
	return lab->from > 0;
}

/* What every range of seeds that is long enough has met. */
static bool covered(const struct lab *lab)
{
	bool ok = true;

	if (lab->keep_going || lab->to - lab->from < 1000) {
		return true;
	}
#define X(name)                                       \
	if (lab->counts.name == 0) {                  \
		printf("not exercised: %s\n", #name); \
		ok = false;                           \
	}
	DUO_COUNT_MAP(X)
#undef X
	return ok;
}

static void print_counts(const struct lab *lab)
{
	printf("%llu seeds, %llu failed\n",
	       (unsigned long long)(lab->to - lab->from + 1),
	       (unsigned long long)lab->failed);
#define X(name) \
	printf("  %-22s %llu\n", #name, (unsigned long long)lab->counts.name);
	DUO_COUNT_MAP(X)
#undef X
}

int main(int argc, char **argv)
{
	struct lab *lab = calloc(1, sizeof *lab);
	bool ok = false;

	if (lab == NULL || !parse(argc, argv, lab)) {
		fprintf(stderr, "usage: duo --seeds A..B | --seed N "
				"[--verbose] [--keep-going] "
				"[--no-nudge]\n");
		free(lab);
		return 2;
	}
	(void)signal(SIGABRT, on_signal);
	(void)signal(SIGSEGV, on_signal);
	(void)signal(SIGALRM, on_signal);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	log_set_level(lab->verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	log_set_format(LOG_FORMAT_TEXT);
	sim_mem_init(&lab->mem, lab->verbose);
	log_set_sink(log_to_trace, lab);
	if (make_template(lab)) {
		run_all(lab);
		print_counts(lab);
		ok = lab->failed == 0 && covered(lab);
	}
	kv_mem_set_hooks(NULL);
	region_free(&lab->region);
	free(lab->template_bytes);
	free(lab);
	return ok ? 0 : 1;
}
