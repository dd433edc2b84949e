/* sorter.h: a source's pairs in the order of the target's keys, for a mapping
 * that does not keep the order. Flat memory: the pairs go through a temporary
 * table of the state.
 *
 *   scan(source) --> filter, map --> sorted table --> pages by the target's key
 */
#ifndef KV_SORTER_H
#define KV_SORTER_H

#include "agent/mapping.h"
#include "conf/conf.h"
#include "state/state.h"
#include "store/base/worker.h"
#include "store/store.h"

struct sorter;

struct sorter_params {
	struct sched *sched;
	struct store *source;
	const struct conf_route *conf;
	enum mapping_mode mapping;
	struct worker *worker;
	struct state *state;
	int64_t route;
	const uint64_t *epoch; /* NULL: any connection will do */
	uint64_t at;	       /* read the source as of this index, 0: now */
	size_t page_bytes;
	/* The answer to sorter_next: an error, or a page (the receiver's),
	 * whose pairs have the source's keys in the order of the target's;
	 * those that can be given no target's name come first. After an error
	 * sorter_next goes on where it stopped. */
	void (*page)(void *ctx, const struct kv_err *err,
		     struct store_page *page);
	void *ctx;
};

/* NULL: out of memory. */
struct sorter *sorter_open(const struct sorter_params *p) KV_MUSTCHECK;
/* One at a time; the first one reads the whole source. */
void sorter_next(struct sorter *s);
/* Did all pages of the source stand for one index? */
bool sorter_is_one(const struct sorter *s);
/* A wish to end a sorter_next soon; the answer still comes. */
void sorter_cancel(struct sorter *s);
/* Not while a sorter_next is under way. */
void sorter_free(struct sorter *s);

#endif /* KV_SORTER_H */
