/* fingerprint.h: what a route is, as text that the state keeps: its two stores
 * with prefixes and escape; its filters. Pure.
 *
 * A route is still the same when the endpoints of a store have one in common
 * with those that were saved: members come and go, and are named in any order.
 * Whether the same cluster answers there is seen by its identity.
 */
#ifndef KV_FINGERPRINT_H
#define KV_FINGERPRINT_H

#include "conf/conf.h"
#include "store/store.h"

/* The fingerprint texts of a route; new strings (kv_free both). KV_NO_MEMORY.
 */
int route_fingerprint(const struct conf_route *conf, const struct store *source,
		      const struct store *target, char **stores, char **filters,
		      struct kv_err *err) KV_MUSTCHECK;

/* Do two texts of stores name the same two places? */
bool fingerprint_same(struct slice saved, struct slice now);

#endif /* KV_FINGERPRINT_H */
