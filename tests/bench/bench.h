/* bench.h: what the parts of kvbench share. It measures what a mirror does
 * from outside, as a client of both stores; run.sh puts the numbers beside
 * those of a peer.
 *
 *   fill    puts N keys into a store
 *   bare    the same with the guards of a seed, and nothing around it: the
 *           most that one client gets out of the store
 *   time    runs a command: wall time, processor time, peak memory
 *   arrive  runs a command until N changes were seen at the target
 *   lag     one put at a time at the source, until it is seen at the target
 *   stream  puts as fast as they go, and how far the target is behind
 *   read    reads a whole tree, page by page
 *   zkread  the same of a ZooKeeper server, by libzookeeper and nothing else
 *   hold    the memory of a watch over a whole tree
 *
 * Each prints one line of name=value and ends with 0, or says what went wrong
 * and ends with 1.
 */
#ifndef KV_BENCH_H
#define KV_BENCH_H

#include <uv.h>

#include "store/store.h"

struct bench {
	uv_loop_t uv;
	struct sched *sched;
	struct store_registry registry;
};

/* The command line behind the command's name. */
struct bench_args {
	const char *words[8]; /* URIs, prefixes */
	int n_words;
	uint64_t keys;
	uint64_t size;	 /* bytes of a value */
	uint64_t window; /* requests in flight */
	uint64_t ops;	 /* operations a write */
	uint64_t seconds;
	uint64_t from;	/* number of the first key */
	char **command; /* behind --; NULL: none */
};

/* Says why, ends with 1. */
_Noreturn void bench_die(const char *fmt, ...) KV_PRINTF(1, 2);

uint64_t bench_now_us(void);

struct store *bench_store(struct bench *b, const char *uri);
/* Closes, and turns the loop until that is done. */
void bench_close(struct bench *b, struct store *st);
/* Turns the loop until *flag; dies when that takes more than `seconds`. */
void bench_until(struct bench *b, const bool *flag, unsigned seconds);

/* Starts the command; returns its process id. */
int bench_spawn(char **command);
/* SIGTERM, and waits for its end. */
void bench_kill(int pid);

/* Sorts the values; the one that a share of p of them does not exceed. */
int64_t bench_percentile(int64_t *values, size_t n, double p);

/* "/00000042" in buf (at least 24 bytes). */
struct slice bench_key(char *buf, const char *dir, uint64_t i);
/* Bytes that differ from key to key. */
void bench_value(uint8_t *p, size_t n, uint64_t i);

/* ---- a watch that calls for each change */

struct bench_watch {
	struct bench *b;
	struct store_watch *watch;
	struct store_next next;
	bool ready; /* nothing after this is missed */
	bool stopped;
	void (*change)(struct bench_watch *w, const struct store_change *c);
	void *data;
};

/* Returns when it is ready. */
void bench_watch_open(struct bench_watch *w, struct bench *b, struct store *st);
void bench_watch_close(struct bench_watch *w);

/* ---- the commands */

int bench_fill(struct bench *b, const struct bench_args *a, bool guarded);
int bench_time(const struct bench_args *a);
int bench_arrive(struct bench *b, const struct bench_args *a);
int bench_lag(struct bench *b, const struct bench_args *a);
int bench_stream(struct bench *b, const struct bench_args *a);
int bench_read(struct bench *b, const struct bench_args *a);
int bench_zkread(const struct bench_args *a);
int bench_hold(struct bench *b, const struct bench_args *a);

#endif /* KV_BENCH_H */
