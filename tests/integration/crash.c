/* crash.c: see crash.h. */
#include "tests/integration/crash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <cmocka.h>

#include "tests/integration/history.h"
#include "tests/integration/program.h"

#define SOURCE_PREFIX "/src"

enum {
	TXN_MAX = 100,
	HOT_KEYS = 64,
	FOLLOW_SPAN_MS = 150,
	FOLLOW_MS = 2000,
	OUTAGE_SPAN_MS = 300,
	SETTLE_MS = 60000
};

struct crash {
	const struct crash_params *params;
	struct place *source, *target;
	struct history history;
	uint64_t rng;
	uint32_t stamp;
	uint32_t *stamps; /* per key: the transaction that has it */
	char dir[TEMP_PATH_MAX];
	char source_uri[PLACE_URI_MAX], target_uri[PLACE_URI_MAX];
	struct program agent;
	bool source_down;
	unsigned round;
	uint32_t span_ms; /* of the random instants that aim at the seed */
	unsigned early, in_seed, seeded, in_follow, of_servers;
	unsigned long transactions;
};

/* ---- chance ---------------------------------------------------------------*/

static uint32_t chance(struct crash *c, uint32_t below)
{
	uint64_t x = c->rng += 0x9e3779b97f4a7c15U;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
	return (uint32_t)((x ^ (x >> 31)) >> 16) % below;
}

static uint64_t choose_seed(void)
{
	const char *given = getenv("KVTEST_SEED");
	uint32_t seed = 0;

	if (given != NULL) {
		return strtoull(given, NULL, 10);
	}
	assert_int_equal(getrandom(&seed, sizeof seed, 0), sizeof seed);
	return seed;
}

/* ---- the writer -----------------------------------------------------------*/

struct txn {
	struct place_op ops[TXN_MAX];
	uint32_t keys[TXN_MAX];
	char names[TXN_MAX][HISTORY_KEY_MAX + sizeof SOURCE_PREFIX];
	char values[TXN_MAX][HISTORY_VALUE_MAX];
	size_t n;
};

static void txn_add(struct crash *c, struct txn *t, uint32_t key, bool gone)
{
	char name[HISTORY_KEY_MAX];
	struct place_op *op = &t->ops[t->n];

	history_name(key, name);
	(void)snprintf(t->names[t->n], sizeof t->names[t->n], "%s%s",
		       SOURCE_PREFIX, name);
	op->key = t->names[t->n];
	op->value = gone ? NULL : t->values[t->n];
	op->n = gone ? 0 : history_next(&c->history, key, t->values[t->n]);
	t->keys[t->n++] = key;
}

static void txn_commit(struct crash *c, struct txn *t)
{
	place_write(c->source, t->ops, t->n);
	for (size_t i = 0; i < t->n; i++) {
		if (t->ops[i].value == NULL) {
			history_gone(&c->history, t->keys[i]);
		} else {
			history_put(&c->history, t->keys[i]);
		}
	}
	t->n = 0;
	c->transactions++;
}

static void write_all(struct crash *c)
{
	static struct txn t;

	for (uint32_t key = 0; key < c->params->keys; key++) {
		txn_add(c, &t, key, false);
		if (t.n == TXN_MAX || key + 1 == c->params->keys) {
			txn_commit(c, &t);
		}
	}
}

/* A few keys, sometimes many; some keys again and again. */
static void write_some(struct crash *c)
{
	static struct txn t;
	size_t want = chance(c, 40) == 0 ? TXN_MAX : 1 + chance(c, 8);

	c->stamp++;
	for (size_t tries = 0; t.n < want && tries < 2 * want; tries++) {
		uint32_t key =
		    chance(c, chance(c, 2) == 0 ? HOT_KEYS : c->params->keys);
		bool alive = history_alive(&c->history, key);

		if (c->stamps[key] != c->stamp) {
			c->stamps[key] = c->stamp;
			txn_add(c, &t, key, alive && chance(c, 4) == 0);
		}
	}
	txn_commit(c, &t);
}

/* Until the instant; at a pace that leaves the agent some of the machine. */
static void write_until(struct crash *c, unsigned long long instant)
{
	const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};

	do {
		if (!c->source_down) {
			write_some(c);
		}
		(void)nanosleep(&pause, NULL);
	} while (process_clock() < instant);
}

/* ---- kills ----------------------------------------------------------------*/

static void start(struct crash *c)
{
	/* Deletes that fell into a kill may be inferred: not the fuse's
	 * business here. */
	static const char *const more[] = {"--max-delete", "100%", NULL};

	program_follow(&c->agent, more);
}

/* How long start and seed take differs from machine to machine. */
static void aim(struct crash *c, uint32_t quarters)
{
	c->span_ms = KV_MIN(5000, KV_MAX(20, c->span_ms * quarters / 4));
}

static void kill_in_seed(struct crash *c)
{
	struct program_status st = {.seeded = false};

	start(c);
	write_until(c, process_clock() + chance(c, c->span_ms));
	program_kill(&c->agent);
	if (!program_status(&c->agent, &st) ||
	    (!st.seeded && st.keys <= 0 && st.intents <= 0)) {
		c->early++;
		aim(c, 6);
	} else if (!st.seeded) {
		c->in_seed++;
	} else {
		c->seeded++;
		aim(c, 2);
	}
}

static bool follows(struct crash *c, unsigned ms)
{
	unsigned long long end = process_clock() + ms;
	struct program_status st;

	while (!program_status(&c->agent, &st) ||
	       strcmp(st.phase, "FOLLOWING") != 0) {
		program_alive(&c->agent);
		if (process_clock() > end) {
			return false;
		}
		write_until(c, 0);
	}
	return true;
}

static void await_follow(struct crash *c)
{
	if (!follows(c, SETTLE_MS)) {
		program_tell(&c->agent);
		fail_msg("it does not come to follow");
	}
}

/* Mostly while it follows; where it still settles what the last life left
 * open, and takes its time for that, it is killed as well. */
static void kill_in_follow(struct crash *c, bool first)
{
	start(c);
	if (first) {
		await_follow(c);
		c->in_follow++;
	} else if (follows(c, FOLLOW_MS)) {
		c->in_follow++;
	} else {
		c->seeded++;
	}
	if (c->params->compact && chance(c, 3) == 0) {
		place_compact(c->source);
	}
	write_until(c, process_clock() + chance(c, FOLLOW_SPAN_MS));
	program_kill(&c->agent);
}

/* Most often the agent still runs when its server goes. */
static void kill_server(struct crash *c, struct place *p)
{
	bool source = p == c->source;

	write_until(c, process_clock() + chance(c, FOLLOW_SPAN_MS));
	place_kill(p);
	c->of_servers++;
	c->source_down = source;
	write_until(c, process_clock() + chance(c, OUTAGE_SPAN_MS));
	place_restart(p);
	c->source_down = false;
	program_alive(&c->agent);
}

static void lives(struct crash *c)
{
	const struct crash_params *p = c->params;

	if (c->round % 2 == 0) {
		for (unsigned i = 0; i < p->kills; i++) {
			kill_in_seed(c);
		}
	} else {
		for (unsigned i = 0; i < p->kills; i++) {
			kill_in_follow(c, i == 0);
		}
	}
	start(c);
	for (unsigned i = 0; i < p->source_kills + p->target_kills; i++) {
		kill_server(c, i < p->source_kills ? c->source : c->target);
	}
}

/* ---- the end of a round ---------------------------------------------------*/

static void await_equal(struct crash *c)
{
	unsigned long long end = process_clock() + SETTLE_MS;

	while (program_diff(&c->agent, false) != 0) {
		program_alive(&c->agent);
		if (process_clock() > end) {
			program_tell(&c->agent);
			fail_msg("the sides do not become equal");
		}
		process_nap();
	}
}

static void check_status(struct crash *c)
{
	struct program_status st;

	assert_true(program_status(&c->agent, &st));
	assert_int_equal(st.conflicts, 0);
	assert_int_equal(st.quarantine, 0);
	assert_int_equal(st.foreign, 0);
	assert_false(st.held);
}

static void see(void *ctx, const char *name, const char *value, size_t n)
{
	struct history_view *v = ctx;

	/* The first error stays in the view; what follows from it is noise. */
	if (value == NULL) {
		(void)(v->error[0] == '\0' && view_gone(v, name));
	} else {
		(void)(v->error[0] == '\0' && view_put(v, name, value, n));
	}
}

static void check_history(struct crash *c)
{
	struct history_view v;

	view_init(&v, &c->history);
	place_replay(c->target, see, &v);
	if (v.error[0] != '\0' || !view_final(&v)) {
		program_tell(&c->agent);
		fail_msg("the target's history: %s", v.error);
	}
	print_message("  round %u: %lu puts, %lu deletes, %lu repeated\n",
		      c->round, v.puts, v.deletes, v.repeats);
	view_free(&v);
}

/* Nobody touched the stores but the writer and the agent: a rescan for doubt
 * of them is a false alarm (G4). */
static void check_log(struct crash *c)
{
	char *log = temp_read(c->agent.log);

	assert_non_null(log);
	if (strstr(log, "is another one") != NULL) {
		program_tell(&c->agent);
		fail_msg("a store was taken for another one");
	}
	free(log);
}

static void run_round(struct crash *c)
{
	unsigned long long rest;
	char prefix[32];
	int code;

	(void)snprintf(prefix, sizeof prefix, "/r%u", c->round);
	place_uri(c->target, prefix, c->target_uri);
	(void)snprintf(c->agent.state, sizeof c->agent.state, "%.400s/state-%u",
		       c->dir, c->round);
	(void)snprintf(c->agent.log, sizeof c->agent.log, "%.400s/log-%u",
		       c->dir, c->round);
	place_record(c->target, prefix);
	lives(c);
	await_follow(c); /* and so hears a SIGTERM */
	rest = process_clock();
	await_equal(c);
	print_message("  round %u: equal %llu ms after the last change\n",
		      c->round, process_clock() - rest);
	assert_int_equal(program_stop(&c->agent), 0);
	check_status(c);
	/* What is left open for a later start does no harm then. */
	code = program_once(&c->agent);
	if (code != 0) {
		program_tell(&c->agent);
	}
	assert_int_equal(code, 0);
	check_status(c);
	assert_int_equal(program_diff(&c->agent, true), 0);
	check_history(c);
	if (!c->params->compact) {
		check_log(c);
	}
}

/* Kills that all miss what they aim at prove nothing: then some more. */
static bool misses(const struct crash *c)
{
	return c->params->kills * c->params->rounds >= 10 && c->in_seed <= 2;
}

void crash_run(const struct crash_params *params)
{
	struct crash c = {
	    .params = params, .rng = choose_seed(), .span_ms = 200};
	bool server_killed = params->source_kills + params->target_kills > 0;

	print_message("  KVTEST_SEED=%llu\n", (unsigned long long)c.rng);
	temp_dir(c.dir, "crash");
	c.source = place_open(params->source, "source", server_killed);
	c.target = place_open(params->target, "target", server_killed);
	place_uri(c.source, SOURCE_PREFIX, c.source_uri);
	c.agent.path = program_path();
	c.agent.source = c.source_uri;
	c.agent.target = c.target_uri;
	history_init(&c.history, params->keys);
	c.stamps = calloc(params->keys, sizeof *c.stamps);
	assert_non_null(c.stamps);
	write_all(&c);
	while (c.round < params->rounds ||
	       (misses(&c) && c.round < 4 * params->rounds)) {
		run_round(&c);
		c.round++;
	}
	print_message("  kills of the agent: %u before it had written, %u in "
		      "the seed, %u later, %u while it followed; %u of "
		      "servers; %lu transactions\n",
		      c.early, c.in_seed, c.seeded, c.in_follow, c.of_servers,
		      c.transactions);
	assert_false(misses(&c));
	place_free(c.source);
	place_free(c.target);
	history_free(&c.history);
	free(c.stamps);
	temp_remove(c.dir);
}
