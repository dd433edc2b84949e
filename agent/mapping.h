/* mapping.h: the one function from a source's key to a target's key, for seed,
 * stream, delete and resume; and its inverse. Pure.
 *
 * NONE: the same bytes. ENCODE (into ZooKeeper) and DECODE (out of it) are
 * `escape: percent`, each the inverse of the other: ENCODE writes as %XX (upper
 * case) every byte that a znode name cannot hold: NUL, control bytes, bytes
 * that are no UTF-8, code points ZooKeeper refuses, '%' itself; an empty
 * segment is "%", a segment "." is "%2E", ".." is "%2E%2E", "zookeeper" as the
 * first segment gets its first byte escaped. DECODE accepts only what ENCODE
 * would have written (canonical form), else KV_INVALID_KEY.
 */
#ifndef KV_MAPPING_H
#define KV_MAPPING_H

#include "store/base/slice.h"
#include "store/base/status.h"

enum mapping_mode { MAPPING_NONE, MAPPING_ENCODE, MAPPING_DECODE };

/* What `escape: percent` means between two stores, of which each has names that
 * are paths (ZooKeeper), or not: nothing where both are alike. */
enum mapping_mode mapping_choose(bool percent, bool source_is_path,
				 bool target_is_path);

/* The target's key in *out (in the arena, or `key` itself for NONE). */
int mapping_to_target(enum mapping_mode mode, struct slice key,
		      struct arena *arena, struct slice *out,
		      struct kv_err *err) KV_MUSTCHECK;

/* Stands for a source key that can be given no target's name, where keys of the
 * target stand: it begins with a 0 byte, and is no store's. p NULL: no memory.
 */
struct slice mapping_nameless(struct arena *arena,
			      struct slice key) KV_MUSTCHECK;

/* The source's key of a target's key: the inverse. KV_INVALID_KEY when no
 * source key maps there. */
int mapping_to_source(enum mapping_mode mode, struct slice key,
		      struct arena *arena, struct slice *out,
		      struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_MAPPING_H */
