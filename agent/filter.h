/* filter.h: which keys a route carries: include and exclude globs on the
 * source-relative key, over bytes.
 *
 *   ?   one byte, not '/'        *   any bytes within a segment
 *   **  any bytes, '/' too       [a-z] [!a-z]  one byte of a set, not '/'
 *   \x  the byte x
 *
 * A glob matches the whole key. Without includes everything is included;
 * exclude beats include. `/a/` followed by two stars is all
 * below /a, without /a itself.
 */
#ifndef KV_FILTER_H
#define KV_FILTER_H

#include "conf/conf.h"
#include "conf/glob.h"
#include "store/base/slice.h"

/* Does `key` match `glob`? Linear in practice, never exponential. */
bool glob_match(const char *glob, struct slice key);

/* Does the route carry this key? */
bool filter_pass(const struct conf_route *route, struct slice source_key);

#endif /* KV_FILTER_H */
