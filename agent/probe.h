/* probe.h: who is there? Both stores are asked for the keys that the ledger
 * knows best, and the answers tell whether they are still the stores, with the
 * histories, that checkpoint and ledger were made with.
 *
 *   newest ledger rows --> scan(source), scan(target) [--> scan(source, at)]
 *                      --> same | another history | in doubt
 *
 * No server offers one sure sign: the identity can survive a wipe, an index
 * can be overtaken. So: another identity, an index that went back, or a known
 * key whose version cannot be, means another history; no known key that still
 * matches means doubt, and doubt means reconcile.
 */
#ifndef KV_PROBE_H
#define KV_PROBE_H

#include "agent/env.h"

#define PROBE_KEYS 8

struct probe {
	struct route_env *env;
	struct worker_job job;
	struct arena arena;
	struct state_row *rows; /* newest first */
	size_t n;
	struct slice row_keys[PROBE_KEYS];    /* the source's, as the rows */
	struct slice source_keys[PROBE_KEYS]; /* sorted */
	struct slice target_keys[PROBE_KEYS]; /* sorted */
	struct store_scan scan[2];
	struct store_scan at_scan;
	unsigned pending;
	size_t matches; /* sampled keys that the source has unchanged */
	size_t moved;	/* those that it changed or deleted since, by its log */
	bool running;
	bool asking_at;
	bool canceled;
	/* As they were before anything was asked: what goes on meanwhile must
	 * not make an answer look old. */
	uint64_t told;
	uint64_t source_index;
	uint64_t target_index;
	/* Results. */
	struct kv_err err;  /* a store or the state could not be asked */
	bool source_failed; /* err is the source's */
	bool new_source;
	bool new_target;
	bool doubt_source; /* nothing proves that its history goes on */
	bool doubt_target;
	struct store_origin source;
	struct store_origin target;
	void (*done)(struct probe *p);
	void *ctx;
};

void probe_init(struct probe *p, struct route_env *env,
		void (*done)(struct probe *p), void *ctx);
void probe_clear(struct probe *p);
/* `done` comes later, once. On success env's epochs are those of the answers.
 */
void probe_start(struct probe *p);
/* A wish; `done` still comes. */
void probe_cancel(struct probe *p);

#endif /* KV_PROBE_H */
