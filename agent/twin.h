/* twin.h: two routes in opposite directions over the same pair of prefixes: a
 * pair, that mirrors two ways without an echo.
 *
 *   change at A --> route A>B --> write B --> one commit: row of A>B (index at
 *                                             A, version at B, hash), and row
 *                                             of B>A (index at B, version at A)
 *   its echo, B's event --> route B>A: not after the row's index: dropped
 *
 * So an echo is known exactly, by the index that our own write got; a tombstone
 * stands in for the version where that write was a delete, until the route has
 * gone past it. An event may come before our write's answer: a batch whose keys
 * the twin is at work on waits until that is saved.
 *
 * What both rows of a key say is the same fact, seen from two sides; they are
 * written in one transaction. Which side changed is told by the hash that both
 * had last; where both did, `prefer` names the one that wins, and only the
 * route that writes the other one acts.
 */
#ifndef KV_TWIN_H
#define KV_TWIN_H

#include "agent/apply.h"

/* Makes the two a pair; `a`'s source wins where both changed, or `b`'s. Before
 * either has started, or while both are idle. */
void twin_link(struct route_env *a, struct route_env *b, bool prefer_a);
/* Of no pair any more. What waited for the twin goes on. */
void twin_unlink(struct route_env *env);

/* The route begins with LOAD; its row in the state is known; open intents of an
 * agent that ended are settled. */
void twin_loads(struct route_env *env);
void twin_is_loaded(struct route_env *env);
void twin_is_recovered(struct route_env *env);

/* May the apply go on? If not it is noted, and stepped when it may be. The
 * first yes puts its batch in flight. True for a route without a twin. */
bool twin_clears(struct apply *a);
/* The batch is saved, or given up. */
void twin_landed(struct apply *a);

/* The row of the twin in the state; 0: there is none (yet). */
int64_t twin_route(const struct route_env *env);
/* The twin's row for what an item saves; false: it has nothing to say. */
bool twin_row(const struct route_env *env, const struct batch_item *it,
	      struct state_row *out);

#endif /* KV_TWIN_H */
