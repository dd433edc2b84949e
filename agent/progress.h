/* progress.h: a line on a terminal that tells how long work goes: keys, keys
 * a second, bytes, and the time left where the whole is known. */
#ifndef KV_PROGRESS_H
#define KV_PROGRESS_H

#include <stdio.h>

#include "store/base/sched.h"

/* How far the work is. */
struct progress_sample {
	const char *what; /* "seeding" */
	uint64_t keys;
	uint64_t bytes;
	uint64_t total; /* keys in all; 0: unknown */
};

struct progress {
	struct sched *sched;
	struct sched_timer timer;
	/* False: nothing to show now. */
	bool (*sample)(void *ctx, struct progress_sample *out);
	void *ctx;
	bool running;
	bool shown; /* the line stands on the terminal */
	uint64_t last_ms;
	uint64_t last_keys;
	double rate; /* keys a second, smoothed */
};

/* Shows a line twice a second on standard error when that is a terminal, else
 * does nothing. Lines of the log go above it. */
void progress_start(struct progress *p, struct sched *sched,
		    bool (*sample)(void *ctx, struct progress_sample *out),
		    void *ctx);
/* Takes the line away. Any number of times. */
void progress_stop(struct progress *p);

/* The line as text, without its end. Pure. */
void progress_format(const struct progress_sample *s, double rate, char *buf,
		     size_t cap);

#endif /* KV_PROGRESS_H */
