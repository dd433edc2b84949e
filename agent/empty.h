/* empty.h: a store that holds nothing and takes nothing: what a dry run reads
 * in place of a target whose file is not there yet. */
#ifndef KV_EMPTY_H
#define KV_EMPTY_H

#include "store/store.h"

/* Never fails but for memory. */
int empty_open(struct sched *sched, struct store **out,
	       struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_EMPTY_H */
