/* schema.h: what is in the file, made when it is empty and checked else.
 *
 *   kv(key, value)            the keys; a person's to read and write
 *     | triggers, whatever the statement
 *     v
 *   kv_log(revision, key, gone)   the newest change of each key: one row for
 *     |                           every key in kv, one for each deleted key
 *     v                           until it is trimmed
 *   kv_meta(identity, keep, floor, ...)   one row
 *
 * kv has no rowid (a conflict of rowids would delete another key unseen) and a
 * unique index on the bytes of the key, so that 'x' and x'78' are one key and
 * the order is bytewise. REPLACE takes rows away without telling a delete
 * trigger (unless recursive_triggers is on); what it takes always has the bytes
 * of the key that comes, whose insert trigger settles the log either way.
 *
 * The log's own revision is the counter: AUTOINCREMENT never goes back. A
 * tombstone (gone = 1) goes when `keep` changes came after it; `floor` is the
 * newest revision that was trimmed: who knows the tree only up to an older one
 * has lost history.
 */
#ifndef KV_SQLITE_SCHEMA_H
#define KV_SQLITE_SCHEMA_H

#include <sqlite3.h>

#include "store/base/status.h"

#define SCHEMA_VERSION 1
#define SCHEMA_KEEP 1000000 /* default of option `log` */

/* Has the file no table, index, trigger or view at all? 1, 0, or -1 with the
 * SQLite error in the handle. */
int schema_is_empty(sqlite3 *h) KV_MUSTCHECK;

/* Makes it all in the running write transaction: SQLITE_OK or SQLite's code. */
int schema_make(sqlite3 *h, uint64_t keep) KV_MUSTCHECK;

/* Is what stands in the file ours and whole? KV_OK; KV_BAD_ARGUMENT: another
 * program's file; KV_BROKEN: parts are missing or changed. *rc is SQLite's code
 * when the look itself failed (KV_NOT_REACHABLE, no text). */
int schema_check(sqlite3 *h, int *rc, struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_SQLITE_SCHEMA_H */
