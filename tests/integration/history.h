/* history.h: what the source's writer did to each key, and the check that the
 * target's history of a key follows from it (G2).
 *
 *   writer --history_put, _gone--> the source's events, per key: 0, 1, 2 ...
 *   target's record --view_put, view_gone--> each one finds its event, never
 *                                            before the one before it
 *   end: view_final: what the target holds is what the source holds
 *
 * A value names its key and the number of the event that wrote it, and the rest
 * of its bytes follow from these two, so that a value is known to be whole and
 * to stand at its own key. A delete is an event as well: after the delete of
 * event n no value of n or before may come.
 */
#ifndef KV_TEST_HISTORY_H
#define KV_TEST_HISTORY_H

#include "store/base/base.h"

#define HISTORY_KEY_MAX 32
#define HISTORY_VALUE_MAX 512

struct history_key {
	uint8_t *gone; /* per event: was it a delete? */
	uint32_t n;
	uint32_t cap;
};

struct history {
	struct history_key *keys;
	uint32_t n_keys;
};

void history_init(struct history *h, uint32_t n_keys);
void history_free(struct history *h);

/* "/d3/k00042" */
void history_name(uint32_t key, char buf[HISTORY_KEY_MAX]);
/* The value of a key's next event; its length. */
size_t history_next(const struct history *h, uint32_t key,
		    char buf[HISTORY_VALUE_MAX]);
bool history_alive(const struct history *h, uint32_t key);
/* The event has happened. */
void history_put(struct history *h, uint32_t key);
void history_gone(struct history *h, uint32_t key);

/* One target's view of it. */
struct history_view {
	const struct history *h;
	struct history_seen *seen; /* per key */
	unsigned long puts, deletes, repeats;
	char error[256]; /* the first thing that was wrong */
};

void view_init(struct history_view *v, const struct history *h);
void view_free(struct history_view *v);

/* The target's record, in its order; names relative to its prefix. False: must
 * not be, see `error`. */
bool view_put(struct history_view *v, const char *name, const char *value,
	      size_t n) KV_MUSTCHECK;
bool view_gone(struct history_view *v, const char *name) KV_MUSTCHECK;
/* At rest: each key as its last event left it? */
bool view_final(struct history_view *v) KV_MUSTCHECK;

#endif /* KV_TEST_HISTORY_H */
