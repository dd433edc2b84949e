/* test_two_way.c: two real stores that mirror each other, with writers at both
 * ends, the agent killed (-9) now and then.
 *
 *   keys /l...  written at the left only     must end as the left left them
 *   keys /r...  written at the right only    likewise
 *   keys /x...  written at both ends         must end equal, as one end or the
 *                                            other last wrote them (or deleted)
 *   keys /t...  written here, and when it has arrived, there: no turn may be
 *               lost
 *
 * No ping-pong: without a kill there is at most one change at an end for each
 * that was made at the other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <cmocka.h>

#include "tests/integration/place.h"
#include "tests/integration/program.h"

enum {
	KEYS = 24, /* of each class */
	VALUE_MAX = 32,
	NAME_MAX_ = 48,
	SETTLE_MS = 60000
};

enum side { LEFT, RIGHT };

static const char *const prefixes[] = {"/left", "/right/side"};

/* What a user last did to a key. */
struct last {
	char value[VALUE_MAX]; /* "": deleted, or never there */
};

struct two {
	struct place *place[2];
	struct last mine[2][KEYS]; /* class l, class r */
	struct last both[2][KEYS]; /* class x, by each end */
	unsigned long writes[2];
	unsigned long serial;
	uint64_t rng;
	char dir[TEMP_PATH_MAX];
	char uri[2][PLACE_URI_MAX];
	char conf[TEMP_PATH_MAX + 16];
	struct program agent; /* as a pair of ends, for diff and status */
};

static uint32_t chance(struct two *t, uint32_t below)
{
	uint64_t x = t->rng += 0x9e3779b97f4a7c15U;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
	return (uint32_t)((x ^ (x >> 31)) >> 16) % below;
}

/* ---- users ---------------------------------------------------------------*/

static void write_key(struct two *t, enum side side, char class, unsigned key,
		      const char *value)
{
	char name[NAME_MAX_];
	struct place_op op = {.key = name,
			      .value = *value == '\0' ? NULL : value,
			      .n = strlen(value)};

	(void)snprintf(name, sizeof name, "%s/%c/%u", prefixes[side], class,
		       key);
	place_write(t->place[side], &op, 1);
	t->writes[side]++;
}

/* A new value, or a delete of what is there. */
static void change(struct two *t, enum side side, char class, unsigned key,
		   struct last *last)
{
	if (last->value[0] != '\0' && chance(t, 4) == 0) {
		last->value[0] = '\0';
	} else {
		(void)snprintf(last->value, sizeof last->value, "%c%u-%lu",
			       "lr"[side], key, ++t->serial);
	}
	write_key(t, side, class, key, last->value);
}

static void write_some(struct two *t, bool clash)
{
	enum side side = chance(t, 2) == 0 ? LEFT : RIGHT;
	unsigned key = chance(t, KEYS);

	if (clash && chance(t, 3) == 0) {
		/* Always a put: whether a key of both ends is there is not
		 * known here, and a delete of nothing is no change. */
		struct last *last = &t->both[side][key];

		(void)snprintf(last->value, sizeof last->value, "%c%u-%lu",
			       "lr"[side], key, ++t->serial);
		write_key(t, side, 'x', key, last->value);
		return;
	}
	change(t, side, "lr"[side], key, &t -> mine[side][key]);
}

static void write_for(struct two *t, unsigned ms, bool clash)
{
	const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
	unsigned long long end = process_clock() + ms;

	while (process_clock() < end) {
		write_some(t, clash);
		(void)nanosleep(&pause, NULL);
	}
}

/* ---- looking -------------------------------------------------------------*/

static bool read_key(struct two *t, enum side side, char class, unsigned key,
		     char value[VALUE_MAX])
{
	char file[TEMP_PATH_MAX + 16], name[NAME_MAX_];
	const char *argv[] = {t->agent.path, "store", "get",
			      t->uri[side],  name,    NULL};
	char *text;
	int code;

	(void)snprintf(file, sizeof file, "%s/get", t->dir);
	(void)snprintf(name, sizeof name, "/%c/%u", class, key);
	(void)remove(file);
	code = process_run(argv, file, SETTLE_MS);
	text = temp_read(file);
	value[0] = '\0';
	if (code == 0 && text != NULL) {
		(void)snprintf(value, VALUE_MAX, "%s", text);
	}
	free(text);
	return code == 0 || code == 1;
}

static bool has_value(struct two *t, enum side side, char class, unsigned key,
		      const char *want)
{
	char value[VALUE_MAX];

	return read_key(t, side, class, key, value) && strcmp(value, want) == 0;
}

static void await_value(struct two *t, enum side side, char class, unsigned key,
			const char *want)
{
	unsigned long long end = process_clock() + SETTLE_MS;

	while (!has_value(t, side, class, key, want)) {
		if (process_clock() > end) {
			program_tell(&t->agent);
			fail_msg("/%c/%u never became '%s' at the %s", class,
				 key, want, side == LEFT ? "left" : "right");
		}
		process_nap();
	}
}

/* Both ends equal, and stay so for a second look. */
static void settle(struct two *t)
{
	unsigned long long end = process_clock() + SETTLE_MS;
	unsigned equal = 0;

	while (equal < 2) {
		equal = program_diff(&t->agent, false) == 0 ? equal + 1 : 0;
		if (process_clock() > end) {
			program_tell(&t->agent);
			fail_msg("the two ends do not become equal");
		}
	}
}

static void expect_last(struct two *t)
{
	char value[VALUE_MAX];

	for (unsigned key = 0; key < KEYS; key++) {
		for (unsigned side = LEFT; side <= RIGHT; side++) {
			char class = "lr"[side];
			const char *want = t->mine[side][key].value;

			if (!has_value(t, (enum side)side, class, key, want)) {
				fail_msg("/%c/%u is not '%s': a change was "
					 "lost",
					 class, key, want);
			}
		}
		assert_true(read_key(t, LEFT, 'x', key, value));
		if (strcmp(value, t->both[LEFT][key].value) != 0 &&
		    strcmp(value, t->both[RIGHT][key].value) != 0) {
			fail_msg("/x/%u is '%s', which neither end wrote last",
				 key, value);
		}
	}
}

/* ---- the agent -----------------------------------------------------------*/

static void start(struct two *t)
{
	const char *argv[] = {t->agent.path, "run", "-c", t->conf, NULL};

	t->agent.pid = process_start(argv, t->agent.log);
	assert_true(t->agent.pid > 0);
}

static void write_conf(const struct two *t, const char *more)
{
	FILE *f = fopen(t->conf, "w");

	assert_non_null(f);
	assert_true(fprintf(f,
			    "state: %s\n"
			    "routes:\n"
			    "  - name: there\n"
			    "    source: \"%s\"\n"
			    "    target: \"%s\"\n"
			    "    max_delete: 100%%\n%s"
			    "  - name: back\n"
			    "    source: \"%s\"\n"
			    "    target: \"%s\"\n"
			    "    max_delete: 100%%\n",
			    t->agent.state, t->uri[LEFT], t->uri[RIGHT], more,
			    t->uri[RIGHT], t->uri[LEFT]) > 0);
	assert_int_equal(fclose(f), 0);
}

static struct two *two_open(enum place_kind left, enum place_kind right,
			    const char *more)
{
	static struct two t;
	const char *given = getenv("KVTEST_SEED");
	uint32_t seed = 0;

	if (place_missing(left) != NULL || place_missing(right) != NULL) {
		skip();
	}
	memset(&t, 0, sizeof t);
	assert_int_equal(getrandom(&seed, sizeof seed, 0), sizeof seed);
	t.rng = given == NULL ? seed : strtoull(given, NULL, 10);
	print_message("KVTEST_SEED=%llu\n", (unsigned long long)t.rng);
	temp_dir(t.dir, "two");
	t.place[LEFT] = place_open(left, "left", false);
	t.place[RIGHT] = place_open(right, "right", false);
	for (int side = LEFT; side <= RIGHT; side++) {
		place_uri(t.place[side], prefixes[side], t.uri[side]);
	}
	t.agent.path = program_path();
	t.agent.source = t.uri[LEFT];
	t.agent.target = t.uri[RIGHT];
	(void)snprintf(t.agent.state, sizeof t.agent.state, "%.200s/state.db",
		       t.dir);
	(void)snprintf(t.agent.log, sizeof t.agent.log, "%.200s/agent.log",
		       t.dir);
	(void)snprintf(t.conf, sizeof t.conf, "%s/conf.yaml", t.dir);
	write_conf(&t, more);
	return &t;
}

static void two_close(struct two *t)
{
	place_free(t->place[LEFT]);
	place_free(t->place[RIGHT]);
	temp_remove(t->dir);
}

/* ---- the tests -----------------------------------------------------------*/

static void count_change(void *ctx, const char *name, const char *value,
			 size_t n)
{
	(void)name;
	(void)value;
	(void)n;
	(*(unsigned long *)ctx)++;
}

/* All that ever happened at one end is no more than what users did. */
static void no_echo(enum place_kind left, enum place_kind right,
		    enum side looked_at)
{
	struct two *t = two_open(left, right, "");
	unsigned long users, seen = 0;

	place_record(t->place[looked_at], prefixes[looked_at]);
	for (unsigned i = 0; i < 40; i++) {
		write_some(t, false);
	}
	start(t);
	settle(t);
	write_for(t, 1500, false);
	settle(t);
	assert_int_equal(program_stop(&t->agent), 0);
	place_replay(t->place[looked_at], count_change, &seen);
	users = t->writes[LEFT] + t->writes[RIGHT];
	print_message("%lu changes by users, %lu seen at one end\n", users,
		      seen);
	assert_true(seen > 0);
	assert_true(seen <= users);
	expect_last(t);
	two_close(t);
}

/* The key goes to and fro; each turn is seen at the other end. */
static void turns(enum place_kind left, enum place_kind right)
{
	struct two *t = two_open(left, right, "");
	char value[VALUE_MAX];

	start(t);
	for (unsigned turn = 0; turn < 12; turn++) {
		enum side side = turn % 2 == 0 ? LEFT : RIGHT;

		(void)snprintf(value, sizeof value, "turn %u", turn);
		if (turn % 5 == 4) {
			value[0] = '\0'; /* a delete takes its turn, too */
		}
		write_key(t, side, 't', 0, value);
		await_value(t, side == LEFT ? RIGHT : LEFT, 't', 0, value);
		assert_true(has_value(t, side, 't', 0, value));
	}
	settle(t);
	assert_int_equal(program_stop(&t->agent), 0);
	two_close(t);
}

static void under_kills(enum place_kind left, enum place_kind right)
{
	struct two *t = two_open(left, right, "");

	for (unsigned i = 0; i < 100; i++) {
		write_some(t, true);
	}
	for (unsigned life = 0; life < 12; life++) {
		start(t);
		write_for(t, 20 + chance(t, life % 2 == 0 ? 60 : 600), true);
		program_kill(&t->agent);
		write_for(t, chance(t, 40), true);
	}
	start(t);
	settle(t);
	assert_int_equal(program_stop(&t->agent), 0);
	expect_last(t);
	two_close(t);
}

/* Both ends have it, and differ: the named side wins, at both ends. */
static void prefers(const char *more, enum side winner)
{
	struct two *t = two_open(PLACE_SQLITE, PLACE_SQLITE, more);
	const char *const values[] = {"from the left", "from the right"};

	for (unsigned key = 0; key < 3; key++) {
		write_key(t, LEFT, 'x', key, values[LEFT]);
		write_key(t, RIGHT, 'x', key, values[RIGHT]);
	}
	start(t);
	settle(t);
	for (unsigned key = 0; key < 3; key++) {
		assert_true(has_value(t, LEFT, 'x', key, values[winner]));
	}
	/* Changed at both ends while nobody looked. */
	program_kill(&t->agent);
	write_key(t, LEFT, 'x', 0, "left again");
	write_key(t, RIGHT, 'x', 0, "right again");
	write_key(t, LEFT, 'x', 1, "");
	write_key(t, RIGHT, 'x', 2, "");
	start(t);
	settle(t);
	assert_true(has_value(t, RIGHT, 'x', 0,
			      winner == LEFT ? "left again" : "right again"));
	/* One end only: that one's change crosses, whoever is preferred. */
	assert_true(has_value(t, RIGHT, 'x', 1, ""));
	assert_true(has_value(t, LEFT, 'x', 2, ""));
	assert_int_equal(program_stop(&t->agent), 0);
	two_close(t);
}

static void no_echo_between_files(void **state)
{
	(void)state;
	no_echo(PLACE_SQLITE, PLACE_SQLITE, RIGHT);
}

static void no_echo_with_etcd(void **state)
{
	(void)state;
	no_echo(PLACE_ETCD, PLACE_ETCD, RIGHT);
	no_echo(PLACE_SQLITE, PLACE_ETCD, LEFT);
}

static void turns_are_taken(void **state)
{
	(void)state;
	turns(PLACE_SQLITE, PLACE_SQLITE);
	turns(PLACE_SQLITE, PLACE_ETCD);
}

static void kills_lose_nothing(void **state)
{
	(void)state;
	under_kills(PLACE_SQLITE, PLACE_SQLITE);
	under_kills(PLACE_ETCD, PLACE_SQLITE);
}

static void the_preferred_side_wins(void **state)
{
	(void)state;
	prefers("", LEFT);
	prefers("    prefer: target\n", RIGHT);
}

/* run_refused: `run` ends with 2 and says TEXT. */
static void run_refused(struct two *t, const char *text)
{
	const char *argv[] = {t->agent.path, "run", "-c", t->conf, NULL};
	char *log;

	assert_int_equal(process_run(argv, t->agent.log, SETTLE_MS), 2);
	log = temp_read(t->agent.log);
	assert_non_null(log);
	assert_non_null(strstr(log, text));
	free(log);
}

static void rings_are_refused(void **state)
{
	struct two *t = two_open(PLACE_SQLITE, PLACE_SQLITE, "");
	FILE *f = fopen(t->conf, "w");

	(void)state;
	assert_non_null(f);
	(void)fprintf(f,
		      "state: %s\nroutes:\n"
		      "  - {name: a, source: \"%s\", target: \"%s\"}\n"
		      "  - {name: b, source: \"%s\", target: \"%s-3\"}\n"
		      "  - {name: c, source: \"%s-3\", target: \"%s\"}\n",
		      t->agent.state, t->uri[LEFT], t->uri[RIGHT],
		      t->uri[RIGHT], t->uri[LEFT], t->uri[LEFT], t->uri[LEFT]);
	assert_int_equal(fclose(f), 0);
	run_refused(t, "form a ring");
	two_close(t);
}

static void two_preferred_sides_are_refused(void **state)
{
	struct two *t =
	    two_open(PLACE_SQLITE, PLACE_SQLITE, "    prefer: source\n");
	FILE *f = fopen(t->conf, "a");

	(void)state;
	assert_non_null(f);
	(void)fputs("    prefer: source\n", f);
	assert_int_equal(fclose(f), 0);
	run_refused(t, "two sides");
	two_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_preferred_side_wins),
	    cmocka_unit_test(no_echo_between_files),
	    cmocka_unit_test(no_echo_with_etcd),
	    cmocka_unit_test(turns_are_taken),
	    cmocka_unit_test(kills_lose_nothing),
	    cmocka_unit_test(rings_are_refused),
	    cmocka_unit_test(two_preferred_sides_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
