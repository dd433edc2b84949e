/* consul_watch.h: a watch of a tree that tells no events: it asks what moved.
 *
 *   pull --> [something to hand out?] --> values of it --> batch
 *        `-> round:  names  (waits at the server until something moves)
 *                    index went back? --> history lost
 *                    names now - names known = made, gone
 *                    sections of the tree that moved (consul_probe.c)
 *                    check of their keys, of the made and of the gone ones
 *                    --> plan: changes in the order of their indexes
 *
 * A round costs, for a tree of n names, at most: the names twice, some hundred
 * bytes a section of up to 256 keys, and about 100 bytes for each key of the
 * sections that moved (two thirds of that upwards); values only of what
 * changed. Rounds keep at least as long a pause as they take, so that many
 * changes share one. Between pulls nothing is asked and nothing outstanding.
 *
 * A watch holds each name and 24 bytes; during a round twice that, 1 byte for
 * each name and 16 for each change.
 *
 * No delete is told that only a list said: each such key was looked at in a
 * consistent transaction, which also fails where the token may not read it.
 */
#ifndef KV_CONSUL_WATCH_H
#define KV_CONSUL_WATCH_H

#include "store/consul/consul_fetch.h"

/* Sections up to so many keys are not cut further. */
#define WATCH_SECTION 256
/* How long a server holds a question when nothing moves. */
#define WATCH_WAIT_MS 30000
#define PROBE_LANES 6

/* A name that turned out not to be there. */
#define NAME_DEAD UINT64_MAX

struct plan_row {
	uint64_t index;
	uint32_t pos; /* in known, or in gone */
	bool gone;
};

struct probe_range {
	size_t from, to; /* of fresh */
	size_t common;	 /* bytes that its names begin with alike */
};

struct consul_watch;
struct probe_lane {
	struct consul_watch *cw;
	struct http_call call;
	struct probe_range range;
};

struct consul_watch {
	struct store_watch *w;
	struct consul *c;
	struct store_next *next; /* the pull, or NULL */
	struct arena arena;
	struct slice prefix; /* stored names begin with it (one_key: are it) */
	bool one_key;
	bool opened;  /* the first batch was given */
	bool blank;   /* what was known as of `told` was never listed */
	bool exact;   /* known has come from the caller: its indexes are true */
	bool resumed; /* the first look since `after` was told of */
	bool asked;   /* ... who was asked for it ... */
	bool asking;  /* ... or is being asked: an answer is due */
	bool ended;   /* nobody wants it any more */
	struct slice known_after;
	struct arena after_arena;
	uint64_t epoch;
	uint64_t told;	   /* everything up to here was handed out */
	uint64_t verified; /* ... and looked at */
	struct consul_names known;
	struct consul_names gone; /* of this round */
	struct plan_row *plan;
	size_t plan_n;
	size_t plan_cap;
	size_t plan_at;
	bool announce;
	uint64_t tried; /* `want` that a round was made for */
	uint64_t gone_n;
	uint64_t known_n;

	/* the round */
	bool forced;
	uint64_t global; /* the store's index when a forced one began */
	uint64_t target; /* the index that it stands for */
	uint64_t began_ms;
	uint64_t took_ms;
	uint64_t ended_ms;
	uint64_t marked_ms; /* of the last batch */
	struct consul_names fresh;
	uint8_t *marks; /* of fresh */
	size_t at_fresh;
	size_t at_gone;
	size_t candidates;
	bool busy; /* most of it moved in the last round */
	struct consul_item *items;
	size_t n_items;
	struct fetch fetch;
	struct http_call call;
	struct names_reader reader;
	struct sched_timer pause;
	struct store_batch *batch;
	size_t batch_from;

	struct probe_range *ranges;
	size_t n_ranges;
	size_t ranges_cap;
	unsigned probing;
	struct probe_lane lanes[PROBE_LANES];
};

enum { MARK_MADE = 1, MARK_LOOK = 2 };

/* Looks for what moved after `verified`; ends with watch_planned or
 * watch_fail, never from inside. forced: at once, and the plan stands for the
 * whole store's index; else it waits for something. */
void watch_round_start(struct consul_watch *cw, bool forced);
void watch_planned(struct consul_watch *cw);
void watch_fail(struct consul_watch *cw, const struct kv_err *why);
void watch_fail_memory(struct consul_watch *cw);

/* Reads the names into `fresh`. A waiting one: when there is something after
 * `verified`. */
void names_start(struct consul_watch *cw, bool wait,
		 void (*done)(struct http_call *call));
/* Its answer: KV_OK, and the index that it stands for; else it has failed. */
int names_taken(struct consul_watch *cw, struct http_call *call,
		uint64_t *index);

/* Marks the names of fresh that may have changed after `verified`; ends with
 * section_probe_done. */
void section_probe_start(struct consul_watch *cw);
void section_probe_stop(struct consul_watch *cw);
void section_probe_done(struct consul_watch *cw);

/* The answer that an ended watch waited for has come. */
void watch_ended(struct consul_watch *cw);

/* An answer of this epoch? Else the watch has failed. */
bool watch_same_epoch(struct consul_watch *cw, uint64_t epoch);

#endif /* KV_CONSUL_WATCH_H */
