/* sqlite.h: the embedded backend: a tree of keys in one SQLite file that a
 * person may read and write with a plain sqlite3 session.
 *
 *   sqlite:PATH?prefix=/app&log=N&busy_timeout=MS&poll=MS
 *
 * What is in the file: schema.h. Positions: index and version are the file's
 * revision, a counter that every change of a key raises.
 */
#ifndef KV_SQLITE_H
#define KV_SQLITE_H

#include "store/store_ops.h"

extern const struct store_ops store_sqlite_ops;

#endif /* KV_SQLITE_H */
