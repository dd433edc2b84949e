/* sql.h: SQLite as state/ uses it: every statement by name, prepared once and
 * kept; a cursor whose error sticks, so that a caller looks once, at its end;
 * transactions that leave the handle usable whatever fails; SQLite's codes
 * translated to KV_ ones here and nowhere else.
 *
 *   struct sql q = sql_open(st, SQL_LEDGER_GET);
 *   sql_int(&q, route), sql_blob(&q, key);      binds ?1, ?2, ...
 *   while (sql_next(&q)) sql_get_int(&q) ...    reads column 0, 1, ...
 *   return sql_close(&q, err);                  resets; the first error of all
 */
#ifndef KV_STATE_SQL_H
#define KV_STATE_SQL_H

#include <sqlite3.h>

#include "state/state.h"

/* X(name, text). The partial index of tombstones is named where it is needed:
 * the planner would prefer the primary key and read the whole ledger. */
#define SQL_MAP(X)                                                             \
	X(BEGIN_READ, "BEGIN")                                                 \
	X(BEGIN_WRITE, "BEGIN IMMEDIATE")                                      \
	X(COMMIT, "COMMIT")                                                    \
	X(ROLLBACK, "ROLLBACK")                                                \
	X(ROUTE_LIST, "SELECT id, name, stores, filters, sum FROM route"       \
		      " NOT INDEXED WHERE name IS NOT NULL")                   \
	X(ROUTE_ADD, "INSERT INTO route(name, stores, filters, sum)"           \
		     " VALUES(?, ?, ?, ?)")                                    \
	X(ROUTE_STORES, "UPDATE route SET stores = ?, sum = ? WHERE id = ?")   \
	X(ROUTE_FILTERS, "UPDATE route SET filters = ?, sum = ? WHERE id = ?") \
	X(ROUTE_LEAVE, "UPDATE route SET name = NULL, sum = ? WHERE id = ?")   \
	X(ROUTE_LEFT, "SELECT id, sum FROM route WHERE name IS NULL LIMIT 1")  \
	X(ROUTE_DROP, "DELETE FROM route WHERE id = ?")                        \
	X(PROGRESS_ADD, "INSERT INTO progress(route, tally_sum) VALUES(?, ?)") \
	X(PROGRESS_DROP, "DELETE FROM progress WHERE route = ?")               \
	X(CHECKPOINT_LOAD,                                                     \
	  "SELECT saved, position, complete, source_identity,"                 \
	  " target_identity, source_index, target_index, counters, sum,"       \
	  " fuse_since_ms, fuse_deletes, fuse_older FROM progress"             \
	  " WHERE route = ?")                                                  \
	X(CHECKPOINT_SAVE,                                                     \
	  "UPDATE progress SET saved = 1, position = ?, complete = ?,"         \
	  " source_identity = ?, target_identity = ?, source_index = ?,"       \
	  " target_index = ?, counters = ?, sum = ?, fuse_since_ms = ?,"       \
	  " fuse_deletes = ?, fuse_older = ? WHERE route = ?")                 \
	X(TALLY_GET,                                                           \
	  "SELECT owned, gone, yielded, stale, quarantine, foreign_keys,"      \
	  " journal, tally_sum FROM progress WHERE route = ?")                 \
	X(TALLY_SET,                                                           \
	  "UPDATE progress SET owned = ?, gone = ?, yielded = ?, stale = ?,"   \
	  " quarantine = ?, foreign_keys = ?, journal = ?, tally_sum = ?"      \
	  " WHERE route = ?")                                                  \
	X(LEDGER_PAGE,                                                         \
	  "SELECT kind, source_index, version_a, version_b, hash, sum, key"    \
	  " FROM ledger WHERE route = ? AND key > ? ORDER BY key LIMIT ?")     \
	X(LEDGER_GET,                                                          \
	  "SELECT kind, source_index, version_a, version_b, hash, sum"         \
	  " FROM ledger WHERE route = ? AND key = ?")                          \
	X(LEDGER_NEWEST,                                                       \
	  "SELECT kind, source_index, version_a, version_b, hash, sum, key"    \
	  " FROM ledger WHERE route = ? AND kind = 1"                          \
	  " ORDER BY source_index DESC LIMIT ?")                               \
	X(LEDGER_KIND, "SELECT kind FROM ledger WHERE route = ? AND key = ?")  \
	X(LEDGER_UPDATE,                                                       \
	  "UPDATE ledger SET source_index = ?, version_a = ?, version_b = ?,"  \
	  " hash = ?, sum = ? WHERE route = ? AND key = ? AND kind = ?")       \
	X(LEDGER_PUT,                                                          \
	  "INSERT INTO ledger(source_index, version_a, version_b, hash, sum,"  \
	  " route, key, kind) VALUES(?, ?, ?, ?, ?, ?, ?, ?)"                  \
	  " ON CONFLICT(route, key) DO UPDATE SET"                             \
	  " source_index = excluded.source_index,"                             \
	  " version_a = excluded.version_a, version_b = excluded.version_b,"   \
	  " hash = excluded.hash, sum = excluded.sum, kind = excluded.kind")   \
	X(LEDGER_NEW,                                                          \
	  "INSERT INTO ledger(source_index, version_a, version_b, hash, sum,"  \
	  " route, key, kind) VALUES(?, ?, ?, ?, ?, ?, ?, ?)"                  \
	  " ON CONFLICT(route, key) DO NOTHING")                               \
	X(LEDGER_DROP, "DELETE FROM ledger WHERE route = ? AND key = ?")       \
	X(LEDGER_PURGE, "DELETE FROM ledger INDEXED BY ledger_gone"            \
			" WHERE route = ? AND kind = 2 AND source_index <= ?") \
	X(NEWEST_LOAD, "SELECT low, rows FROM newest WHERE route = ?")         \
	X(NEWEST_SAVE, "INSERT INTO newest(route, low, rows) VALUES(?, ?, ?)"  \
		       " ON CONFLICT(route) DO UPDATE SET"                     \
		       " low = excluded.low, rows = excluded.rows")            \
	X(NEWEST_DROP, "DELETE FROM newest WHERE route = ?")                   \
	X(INTENT_LAST, "SELECT max(id) FROM intent")                           \
	X(INTENT_ADD, "INSERT INTO intent(id, route, wall_ms, n, sum, rows)"   \
		      " VALUES(?, ?, ?, ?, ?, ?)")                             \
	X(INTENT_LOAD, "SELECT id, n, sum, rows FROM intent WHERE route = ?"   \
		       " ORDER BY id")                                         \
	X(INTENT_CLOSE, "DELETE FROM intent WHERE id = ? AND route = ?")       \
	X(INTENT_DROP, "DELETE FROM intent WHERE route = ?")                   \
	X(CONFLICT_ADD,                                                        \
	  "INSERT INTO conflict(route, seq, key, wall_ms, source_hash,"        \
	  " target_hash, source_index, decision)"                              \
	  " VALUES(?, ?, ?, ?, ?, ?, ?, ?)")                                   \
	X(CONFLICT_TRIM, "DELETE FROM conflict WHERE route = ? AND seq <= ?")  \
	X(CONFLICT_PAGE,                                                       \
	  "SELECT seq, key, wall_ms, source_hash, target_hash, source_index,"  \
	  " decision FROM conflict WHERE route = ? AND seq > ?"                \
	  " ORDER BY seq LIMIT ?")                                             \
	X(QUARANTINE_UPDATE,                                                   \
	  "UPDATE quarantine SET reason = ?, source_index = ?, wall_ms = ?,"   \
	  " stale = ? WHERE route = ? AND key = ?")                            \
	X(QUARANTINE_ADD, "INSERT INTO quarantine(reason, source_index, "      \
			  "wall_ms, stale, route,"                             \
			  " key) VALUES(?, ?, ?, ?, ?, ?)")                    \
	X(QUARANTINE_REMOVE,                                                   \
	  "DELETE FROM quarantine WHERE route = ? AND key = ?")                \
	X(QUARANTINE_PAGE,                                                     \
	  "SELECT key, reason, source_index, wall_ms, stale FROM quarantine"   \
	  " WHERE route = ? AND key > ? ORDER BY key LIMIT ?")                 \
	X(FOREIGN_ADD,                                                         \
	  "INSERT OR IGNORE INTO foreign_key(route, key) VALUES(?, ?)")        \
	X(FOREIGN_REMOVE,                                                      \
	  "DELETE FROM foreign_key WHERE route = ? AND key = ?")               \
	X(FOREIGN_CLEAR, "DELETE FROM foreign_key WHERE route = ?")            \
	X(QUARANTINE_CLEAR, "DELETE FROM quarantine WHERE route = ?")          \
	X(FOREIGN_PAGE, "SELECT key FROM foreign_key"                          \
			" WHERE route = ? AND key > ? ORDER BY key LIMIT ?")   \
	X(LEDGER_SWEEP, "DELETE FROM ledger WHERE route = ?1 AND key IN"       \
			" (SELECT key FROM ledger WHERE route = ?1 LIMIT ?2)") \
	X(CONFLICT_SWEEP,                                                      \
	  "DELETE FROM conflict WHERE route = ?1 AND seq IN"                   \
	  " (SELECT seq FROM conflict WHERE route = ?1 LIMIT ?2)")             \
	X(QUARANTINE_SWEEP,                                                    \
	  "DELETE FROM quarantine WHERE route = ?1 AND key IN"                 \
	  " (SELECT key FROM quarantine WHERE route = ?1 LIMIT ?2)")           \
	X(FOREIGN_SWEEP,                                                       \
	  "DELETE FROM foreign_key WHERE route = ?1 AND key IN"                \
	  " (SELECT key FROM foreign_key WHERE route = ?1 LIMIT ?2)")          \
	X(LIVE_SAVE,                                                           \
	  "INSERT INTO live(route, phase, seen, applied, held, error, "        \
	  "wall_ms,"                                                           \
	  " lag_ms) VALUES(?, ?, ?, ?, ?, ?, ?, ?)"                            \
	  " ON CONFLICT(route) DO UPDATE SET phase = excluded.phase,"          \
	  " seen = excluded.seen, applied = excluded.applied,"                 \
	  " held = excluded.held, error = excluded.error,"                     \
	  " wall_ms = excluded.wall_ms, lag_ms = excluded.lag_ms")             \
	X(LIVE_DROP, "DELETE FROM live WHERE route = ?")                       \
	X(SUMMARIES,                                                           \
	  "SELECT r.id, r.name, r.stores, p.owned + p.yielded + p.stale,"      \
	  " p.quarantine, p.foreign_keys,"                                     \
	  " (SELECT coalesce(sum(i.n), 0) FROM intent i WHERE i.route = "      \
	  "r.id),"                                                             \
	  " l.phase, l.seen, l.applied, l.held, l.error, l.wall_ms, l.lag_ms"  \
	  " FROM route r JOIN progress p ON p.route = r.id"                    \
	  " LEFT JOIN live l ON l.route = r.id"                                \
	  " WHERE r.name IS NOT NULL ORDER BY r.name")                         \
	X(DIRTY_PUT,                                                           \
	  "INSERT INTO temp.dirty(route, key, position, flags, source_key,"    \
	  " value, attrs) VALUES(?, ?, ?, ?, ?, ?, ?)"                         \
	  " ON CONFLICT(route, key) DO UPDATE SET"                             \
	  " position = excluded.position, flags = excluded.flags,"             \
	  " source_key = excluded.source_key, value = excluded.value,"         \
	  " attrs = excluded.attrs"                                            \
	  " WHERE excluded.position >= position")                              \
	X(DIRTY_PAGE, "SELECT key, position, flags, source_key, value, attrs"  \
		      " FROM temp.dirty"                                       \
		      " WHERE route = ? ORDER BY position, key LIMIT ?")       \
	X(DIRTY_DROP, "DELETE FROM temp.dirty WHERE route = ? AND key = ?"     \
		      " AND position <= ?")                                    \
	X(SORT_PUT,                                                            \
	  "INSERT OR REPLACE INTO temp.sorted(route, key, source_key, value,"  \
	  " attrs, unreadable, position) VALUES(?, ?, ?, ?, ?, ?, ?)")         \
	X(SORT_PAGE,                                                           \
	  "SELECT key, source_key, value, attrs, unreadable, position"         \
	  " FROM temp.sorted"                                                  \
	  " WHERE route = ? AND key > ? ORDER BY key LIMIT ?")                 \
	X(SORT_CLEAR, "DELETE FROM temp.sorted WHERE route = ?")               \
	X(DIRTY_CLEAR, "DELETE FROM temp.dirty WHERE route = ?")

enum sql_id {
#define X(name, text) SQL_##name,
	SQL_MAP(X)
#undef X
	    SQL_COUNT
};

struct sql {
	struct state *st;
	sqlite3_stmt *stmt; /* NULL: could not be prepared */
	int rc;		    /* SQLite's code of the last step; sticks */
	int status;	    /* a KV_ code set by sql_stop; sticks */
	const char *what;   /* its text */
	int param;
	int column;
};

struct sql sql_open(struct state *st, enum sql_id id);
/* Binds the next parameter. Bytes and text are borrowed until sql_again or
 * sql_close. */
void sql_int(struct sql *q, int64_t value);
void sql_u64(struct sql *q, uint64_t value);
void sql_blob(struct sql *q, struct slice bytes);
void sql_text(struct sql *q, const char *text);
void sql_null(struct sql *q);
/* The next row; false at the end and on an error. */
bool sql_next(struct sql *q);
/* Runs a statement that has no rows; how many rows it changed. */
int64_t sql_run(struct sql *q);
/* Back to the start, for the next set of parameters. */
void sql_again(struct sql *q);
/* The next column of the row. Bytes are valid until the next step. */
int64_t sql_get_int(struct sql *q);
uint64_t sql_get_u64(struct sql *q);
struct slice sql_get_blob(struct sql *q);
/* A copy, cut at cap - 1 bytes; NULL reads as "". */
void sql_get_text(struct sql *q, char *buf, size_t cap);
/* Is the next column NULL? Does not go on to the one after. */
bool sql_is_null(struct sql *q);
/* Nothing has failed so far. A loop over several cursors asks. */
bool sql_is_ok(const struct sql *q);
/* The caller gives up: `status`, and what to say (a constant). The first one
 * counts, SQLite's own included. */
void sql_stop(struct sql *q, int status, const char *what);
int sql_close(struct sql *q, struct kv_err *err) KV_MUSTCHECK;

/* A transaction: tx_begin, work, tx_end(st, status of the work, err). Whatever
 * went wrong, nothing of it stays and the handle can be used again. */
int tx_begin(struct state *st, enum sql_id how,
	     struct kv_err *err) KV_MUSTCHECK;
int tx_end(struct state *st, int status, struct kv_err *err) KV_MUSTCHECK;

/* Statements without results, for pragmas and the schema. */
int sql_exec(struct state *st, const char *text,
	     struct kv_err *err) KV_MUSTCHECK;
/* One number from a statement that is not kept. */
int sql_number(struct state *st, const char *text, int64_t *value,
	       struct kv_err *err) KV_MUSTCHECK;

/* The error of a SQLite code, with the file's name and what to do. */
int sql_fail(struct state *st, int rc, struct kv_err *err);
/* The same for a file that says something impossible. */
int sql_broken(const struct state *st, const char *what, struct kv_err *err);

#endif /* KV_STATE_SQL_H */
