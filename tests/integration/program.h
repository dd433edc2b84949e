/* program.h: the program under test as a child: following in the background,
 * or once, to its end; and what `status --json` says. */
#ifndef KV_TEST_PROGRAM_H
#define KV_TEST_PROGRAM_H

#include "tests/fixtures/process.h"
#include "tests/fixtures/temp.h"

/* A route that is mirrored. */
struct program {
	const char *path; /* program_path() */
	const char *source;
	const char *target;
	char state[TEMP_PATH_MAX];
	char log[TEMP_PATH_MAX]; /* what it writes goes here */
	pid_t pid;		 /* 0: does not run */
};

/* A release build where there is one ($KVMIRROR_RELEASE, $KVMIRROR). */
const char *program_path(void);

/* `sync SOURCE TARGET --follow --state F` and the further options. */
void program_follow(struct program *p, const char *const *more);
/* It runs, and has not ended by itself: else the test ends. */
void program_alive(struct program *p);
void program_kill(struct program *p);
/* SIGTERM; the exit code. */
int program_stop(struct program *p);

/* `sync SOURCE TARGET --state F`: the exit code. */
int program_once(struct program *p);

/* `diff SOURCE TARGET`, with --owned and the state when asked for: the exit
 * code, what it printed in the log. */
int program_diff(struct program *p, bool owned);

struct program_status {
	char phase[32];
	long long conflicts, quarantine, foreign, keys, intents;
	bool held;
	bool seeded; /* the first copy is complete */
};
/* False: there is nothing yet that could be read. */
bool program_status(struct program *p, struct program_status *st) KV_MUSTCHECK;

/* The end of the log, on standard error. */
void program_tell(const struct program *p);

#endif /* KV_TEST_PROGRAM_H */
