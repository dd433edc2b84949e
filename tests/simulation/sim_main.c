/* sim_main.c: the command line of the simulation.
 *
 *   sim --seeds 1..5000             runs them, prints what they exercised
 *   sim --seed 4711 --verbose       replays one, with its trace
 *   sim --seeds 1..300 --plant lost-event --expect-found
 *                                   a planted bug: how many seeds find it
 *   --coverage     fails unless everything that can go wrong has gone wrong
 *   --keep-going   goes on after a failed seed (each in a process of its own)
 *   --repeat       runs each seed twice and compares the outcomes
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim.h"

struct options {
	uint64_t from, to;
	bool verbose, coverage, keep_going, expect_found, repeat;
	enum fake_plant plant;
};

struct totals {
	struct sim_counts counts;
	struct fake_counts faults;
	uint64_t seeds, failed;
};

/* Shared by all runs of the process. */
struct lab {
	struct sim_mem mem;
	struct region region;
	uint8_t *template_bytes;
	size_t template_n;
	struct options opt;
	struct totals *totals; /* shared with the processes of seeds */
};

static const char *const plant_names[] = {
    [PLANT_NONE] = "none",
    [PLANT_LOST_EVENT] = "lost-event",
    [PLANT_NO_GUARD] = "no-guard",
    [PLANT_LOST_ATTRS] = "lost-attrs",
    [PLANT_EARLY_CHECKPOINT] = "early-checkpoint",
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
			 "seed %ld: signal %d\n  replay: sim --seed %ld "
			 "--verbose\n",
			 (long)seed_now, sig, (long)seed_now);

	(void)!write(STDERR_FILENO, line, (size_t)n);
	_exit(128 + sig);
}

static void log_to_trace(void *ctx, const char *line, size_t n)
{
	const struct lab *lab = ctx;

	if (lab->opt.verbose) {
		(void)fwrite("        log  ", 1, 13, stdout);
		(void)fwrite(line, 1, n, stdout);
	}
}

/* ---- the fresh state
 * -------------------------------------------------------*/

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

/* ---- runs
 * ------------------------------------------------------------------*/

static bool run_seed(struct lab *lab, uint64_t seed, uint64_t *steps)
{
	struct sim *sim = calloc(1, sizeof *sim);
	bool ok;

	if (sim == NULL) {
		abort();
	}
	sim->seed = seed;
	sim->verbose = lab->opt.verbose;
	sim->plant = lab->opt.plant;
	sim->mem = &lab->mem;
	sim->region = &lab->region;
	sim->counts = &lab->totals->counts;
	sim->faults = &lab->totals->faults;
	sim->template_bytes = lab->template_bytes;
	sim->template_n = lab->template_n;
	sim_wrap_set(sim);
	seed_now = (sig_atomic_t)seed;
	ok = sim_run(sim);
	sim_wrap_set(NULL);
	*steps = sim->sched.steps * 1000003 + sim->sched.now_ms;
	if (!ok && (lab->opt.plant == PLANT_NONE || lab->opt.verbose)) {
		printf("seed %llu: %s\n  replay: sim --seed %llu --verbose\n",
		       (unsigned long long)seed, sim->failure,
		       (unsigned long long)seed);
		(void)fflush(stdout);
	}
	free(sim);
	return ok;
}

static bool run_once(struct lab *lab, uint64_t seed)
{
	uint64_t first, second;
	bool ok = run_seed(lab, seed, &first);

	if (ok && lab->opt.repeat) {
		ok = run_seed(lab, seed, &second);
		if (ok && first != second) {
			printf("seed %llu: two runs of it differ\n",
			       (unsigned long long)seed);
			ok = false;
		}
	}
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
		if (lab->opt.plant != PLANT_NONE && !lab->opt.verbose) {
			/* How a planted bug shows is no news. */
			(void)!freopen("/dev/null", "w", stderr);
		}
		alarm(60);
		_exit(run_once(lab, seed) ? 0 : 1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		exit(3);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool run_all(struct lab *lab)
{
	const struct options *o = &lab->opt;
	bool apart = o->keep_going || o->plant != PLANT_NONE;

	for (uint64_t seed = o->from; seed <= o->to; seed++) {
		bool ok = apart && o->from != o->to ? run_apart(lab, seed)
						    : run_once(lab, seed);

		lab->totals->seeds++;
		lab->totals->failed += !ok;
		if (!ok && !apart) {
			return false;
		}
	}
	return lab->totals->failed == 0;
}

/* ---- what was exercised
 * ----------------------------------------------------*/

static void print_counts(const struct totals *t)
{
	printf("%llu seeds, %llu failed\n", (unsigned long long)t->seeds,
	       (unsigned long long)t->failed);
#define X(name) \
	printf("  %-22s %llu\n", #name, (unsigned long long)t->counts.name);
	SIM_COUNT_MAP(X)
#undef X
#define X(name) \
	printf("  %-22s %llu\n", #name, (unsigned long long)t->faults.name);
	FAKE_COUNT_MAP(X)
#undef X
}

/* Everything must have happened; `planted` only where it was asked for. */
static bool covered(const struct totals *t)
{
	bool ok = true;

#define X(name)                                        \
	if (t->counts.name == 0) {                     \
		printf("never happened: %s\n", #name); \
		ok = false;                            \
	}
	SIM_COUNT_MAP(X)
#undef X
#define X(name)                                                     \
	if (t->faults.name == 0 && strcmp(#name, "planted") != 0) { \
		printf("never happened: %s\n", #name);              \
		ok = false;                                         \
	}
	FAKE_COUNT_MAP(X)
#undef X
	return ok;
}

/* ---- command line
 * ----------------------------------------------------------*/

static bool parse_seeds(const char *text, struct options *o)
{
	char *end;

	o->from = strtoull(text, &end, 10);
	o->to = o->from;
	if (end == text) {
		return false;
	}
	if (strncmp(end, "..", 2) == 0) {
		o->to = strtoull(end + 2, &end, 10);
	}
	return *end == '\0' && o->from <= o->to;
}

static bool parse_plant(const char *text, struct options *o)
{
	for (size_t i = 0; i < KV_COUNT(plant_names); i++) {
		if (strcmp(text, plant_names[i]) == 0) {
			o->plant = (enum fake_plant)i;
			return true;
		}
	}
	return false;
}

static bool parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i];
		const char *next = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(a, "--seeds") == 0 || strcmp(a, "--seed") == 0) {
			if (!parse_seeds(next, o)) {
				return false;
			}
			i++;
		} else if (strcmp(a, "--plant") == 0) {
			if (!parse_plant(next, o)) {
				return false;
			}
			i++;
		} else if (strcmp(a, "--verbose") == 0) {
			o->verbose = true;
		} else if (strcmp(a, "--coverage") == 0) {
			o->coverage = true;
		} else if (strcmp(a, "--keep-going") == 0) {
			o->keep_going = true;
		} else if (strcmp(a, "--expect-found") == 0) {
			o->expect_found = true;
		} else if (strcmp(a, "--repeat") == 0) {
			o->repeat = true;
		} else {
			return false;
		}
	}
	return o->from > 0;
}

static int verdict(const struct lab *lab, bool ok)
{
	const struct options *o = &lab->opt;

	if (o->plant != PLANT_NONE) {
		printf("planted bug %s: found by %llu of %llu seeds\n",
		       plant_names[o->plant],
		       (unsigned long long)lab->totals->failed,
		       (unsigned long long)lab->totals->seeds);
		return (lab->totals->failed > 0) == o->expect_found ? 0 : 1;
	}
	print_counts(lab->totals);
	if (ok && o->coverage) {
		ok = covered(lab->totals);
	}
	return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
	struct lab *lab = calloc(1, sizeof *lab);
	int rv;

	if (lab == NULL || !parse(argc, argv, &lab->opt)) {
		fprintf(stderr,
			"usage: sim --seeds A..B | --seed N  [--verbose] "
			"[--coverage] [--keep-going] [--repeat]\n"
			"           [--plant lost-event|no-guard|lost-attrs|"
			"early-checkpoint [--expect-found]]\n");
		free(lab);
		return 2;
	}
	lab->totals = mmap(NULL, sizeof *lab->totals, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (lab->totals == MAP_FAILED) {
		perror("mmap");
		free(lab);
		return 3;
	}
	(void)signal(SIGABRT, on_signal);
	(void)signal(SIGSEGV, on_signal);
	(void)signal(SIGALRM, on_signal);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	log_set_level(lab->opt.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	log_set_format(LOG_FORMAT_TEXT);
	sim_mem_init(&lab->mem, lab->opt.verbose);
	log_set_sink(log_to_trace, lab);
	rv = make_template(lab) ? verdict(lab, run_all(lab)) : 3;
	kv_mem_set_hooks(NULL);
	region_free(&lab->region);
	free(lab->template_bytes);
	free(lab);
	return rv;
}
