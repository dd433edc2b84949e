/* pair.h: which routes go round in a circle? Two in opposite directions over
 * the same two trees are a pair; anything else that comes back to where it
 * began is refused: its changes would go round for ever.
 */
#ifndef KV_PAIR_H
#define KV_PAIR_H

#include "store/store.h"

struct pair_end {
	const struct store *source;
	const struct store *target;
	const char *name;
};

/* *partner: the one of `n` routes that makes a pair with number `at`; n: none.
 * KV_BAD_ARGUMENT names the routes of a ring that is no pair. */
int pair_find(const struct pair_end *ends, size_t n, size_t at, size_t *partner,
	      struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_PAIR_H */
