/* place.h: is there a file that could be opened? And do two paths name one?
 * Asked with stat and access alone, on the loop: the file itself is opened on
 * the worker. Paths hold a slash. */
#ifndef KV_SQLITE_PLACE_H
#define KV_SQLITE_PLACE_H

#include "store/base/status.h"

/* KV_KEY_NOT_FOUND: missing, and not to be made. KV_BAD_ARGUMENT: no plain
 * file, or no folder to make it in. KV_DENIED. */
int place_check(const char *path, bool create, struct kv_err *err) KV_MUSTCHECK;

/* The same file, also where neither exists yet; in doubt true. */
bool place_same(const char *a, const char *b);

#endif /* KV_SQLITE_PLACE_H */
