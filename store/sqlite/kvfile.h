/* kvfile.h: one connection to a kv file. Everything here blocks: it is called
 * on the store's worker only.
 *
 *   kvfile_begin --> kvfile_scan, _changes, _write (statements) --> kvfile_end
 *
 * The file is opened at the first begin, and anew when another file stands at
 * the path: `epoch` counts these. Transactions answer for one state of the
 * file, whose position is in `head`.
 */
#ifndef KV_SQLITE_KVFILE_H
#define KV_SQLITE_KVFILE_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "store/store_ops.h"

/* The key's bytes, by the expression of the index kv_bytes. */
#define KVFILE_BYTES "CAST(k.key AS BLOB)"
#define KVFILE_LOG "LEFT JOIN kv_log l ON l.key = " KVFILE_BYTES

/* X(name, SQL) */
#define KVFILE_STMT_MAP(X)                                                     \
	X(BEGIN, "BEGIN")                                                      \
	X(BEGIN_WRITE, "BEGIN IMMEDIATE")                                      \
	X(COMMIT, "COMMIT")                                                    \
	X(ROLLBACK, "ROLLBACK")                                                \
	X(SCHEMA, "PRAGMA schema_version")                                     \
	X(DATA, "PRAGMA data_version")                                         \
	/* Also right when a person emptied sqlite_sequence. */                \
	X(HEAD, "SELECT identity, floor, max(floor, "                          \
		"coalesce((SELECT seq FROM sqlite_sequence "                   \
		"WHERE name = 'kv_log'), 1), "                                 \
		"coalesce((SELECT max(revision) FROM kv_log), 1)) "            \
		"FROM kv_meta")                                                \
	X(GONE, "SELECT revision FROM kv_log WHERE key = ?1 AND gone")         \
	X(SCAN, "SELECT " KVFILE_BYTES ", coalesce(l.revision, 0), k.value "   \
		"FROM kv k INDEXED BY kv_bytes " KVFILE_LOG                    \
		" WHERE " KVFILE_BYTES " >= ?1 AND " KVFILE_BYTES " < ?2 "     \
		"ORDER BY " KVFILE_BYTES)                                      \
	X(NAMES, "SELECT " KVFILE_BYTES ", coalesce(l.revision, 0) "           \
		 "FROM kv k INDEXED BY kv_bytes " KVFILE_LOG                   \
		 " WHERE " KVFILE_BYTES " >= ?1 AND " KVFILE_BYTES " < ?2 "    \
		 "ORDER BY " KVFILE_BYTES)                                     \
	X(GET, "SELECT ?1, coalesce(l.revision, 0), k.value "                  \
	       "FROM kv k INDEXED BY kv_bytes " KVFILE_LOG                     \
	       " WHERE " KVFILE_BYTES " = ?1")                                 \
	X(VERSION, "SELECT coalesce(l.revision, 0) "                           \
		   "FROM kv k INDEXED BY kv_bytes " KVFILE_LOG                 \
		   " WHERE " KVFILE_BYTES " = ?1")                             \
	/* NOT INDEXED: in the order of revisions, not by the keys' index. */  \
	X(CHANGES, "SELECT l.key, l.revision, k.value, k.key IS NULL "         \
		   "FROM kv_log l NOT INDEXED "                                \
		   "LEFT JOIN kv k ON " KVFILE_BYTES " = l.key "               \
		   "WHERE l.revision > ?3 AND l.key >= ?1 AND l.key < ?2 "     \
		   "ORDER BY l.revision")                                      \
	/* OR ROLLBACK, as a batch is undone as a whole anyway: that           \
	 * saves SQLite a journal for each statement (three times as fast). */ \
	X(INSERT, "INSERT OR ROLLBACK INTO kv(key, value) VALUES(?1, ?2)")     \
	X(UPDATE,                                                              \
	  "UPDATE OR ROLLBACK kv AS k SET value = ?2 WHERE " KVFILE_BYTES      \
	  " = ?1")                                                             \
	X(DELETE, "DELETE FROM kv AS k WHERE " KVFILE_BYTES " = ?1")           \
	X(NEWEST, "SELECT max(revision) FROM kv_log")                          \
	X(KEEP, "SELECT keep FROM kv_meta")                                    \
	X(SET_KEEP, "UPDATE kv_meta SET keep = ?1")

enum kvfile_stmt {
#define X(name, sql) KVFILE_##name,
	KVFILE_STMT_MAP(X)
#undef X
	    KVFILE_STMTS
};

struct kvfile {
	/* Set before the first call, untouched after it. */
	const char *path;
	bool create;	 /* a missing file is made */
	bool keep_given; /* `keep` was asked for; else the file's own rules */
	uint64_t keep;
	uint32_t busy_ms;

	/* Private. */
	sqlite3 *h;
	sqlite3_stmt *stmts[KVFILE_STMTS];
	dev_t dev;
	ino_t ino;
	int64_t schema_version; /* as of the last check; -1: never */
	int64_t data_version;
	bool doubt; /* after an I/O error: open it anew */
	char identity[STORE_IDENTITY_MAX];
	uint64_t epoch;
	uint32_t waited_ms;    /* for a lock, in this transaction's step */
	atomic_bool *canceled; /* of the job under way, or NULL */
	uint64_t now_ms; /* a write: the wall's time when it was submitted */
};

/* Where a transaction stands. */
struct kvfile_head {
	uint64_t index;
	uint64_t floor;
};

enum kvfile_mode {
	KVFILE_READ,	  /* makes a missing file when `create` is set */
	KVFILE_READ_ONLY, /* never makes one again, once it was there */
	KVFILE_WRITE
};

/* Starts a transaction on the file that stands at the path now; a changed
 * epoch says that it is another one than before. POST: on failure nothing is
 * left open. */
int kvfile_begin(struct kvfile *f, enum kvfile_mode mode,
		 struct kvfile_head *head, struct kv_err *err) KV_MUSTCHECK;
/* Ends a transaction that only read, or rolls a write back. Keeps errno-like
 * calm: it cannot fail. */
void kvfile_end(struct kvfile *f);
/* KV_UNKNOWN_OUTCOME when the disk failed at it; else a failure means that
 * nothing was done. Ends the transaction in any case. */
int kvfile_commit(struct kvfile *f, struct kv_err *err) KV_MUSTCHECK;

/* Has another connection changed the file since the last call? Errors as
 * kvfile_begin. */
int kvfile_look(struct kvfile *f, bool *changed,
		struct kv_err *err) KV_MUSTCHECK;

void kvfile_close(struct kvfile *f);

/* Translates SQLite's code, with its message. `what` as in "reading the
 * keys". */
int kvfile_fail(struct kvfile *f, int rc, const char *what, struct kv_err *err);

void kvfile_origin(const struct kvfile *f, const struct kvfile_head *head,
		   struct store_origin *origin);

/* Column bytes: valid until the next step. p is NULL only for an empty one or
 * when memory is out (SQLITE_NOMEM in the handle). */
struct slice kvfile_column(sqlite3_stmt *s, int col);
/* Bind as a BLOB. The bytes are borrowed. */
int kvfile_bind_bytes(sqlite3_stmt *s, int at, struct slice bytes) KV_MUSTCHECK;
/* Bind for a person's eyes: TEXT when it is UTF-8 without NUL, else a BLOB. */
int kvfile_bind_text(sqlite3_stmt *s, int at, struct slice bytes) KV_MUSTCHECK;

/* ---- what requests do, each in one transaction ----------------------------*/

/* The range of stored keys of a directory: [low, high). */
struct kvfile_range {
	struct slice low;
	struct slice high;
};

/* POST: KV_OK and req->page is set, or a code in req->err. */
int kvfile_scan(struct kvfile *f, const struct store *st,
		struct store_scan *req) KV_MUSTCHECK;

/* POST: the ops' results and req->err are set. */
int kvfile_write(struct kvfile *f, const struct store *st,
		 struct store_write *req) KV_MUSTCHECK;

/* Does an op without its guard, inside a transaction; a delete of a missing key
 * does nothing. SQLite's code. */
int kvfile_do(struct kvfile *f, struct store_op *op,
	      struct slice key) KV_MUSTCHECK;

/* ---- locks: kvfile_lock.c -------------------------------------------------*/

/* A lock is a key, and beside it a row that says until when it stands. */
struct kvfile_hold {
	struct slice key; /* stored */
	struct slice value;
	uint64_t token;
	uint64_t now_ms; /* the wall's */
	uint32_t ttl_ms;
};

/* Each in one transaction. Takes it: token set, or KV_CANNOT_LOCK. */
int kvfile_lock(struct kvfile *f, struct kvfile_hold *hold,
		struct kv_err *err) KV_MUSTCHECK;
/* KV_CANNOT_LOCK: it is over. */
int kvfile_renew(struct kvfile *f, const struct kvfile_hold *hold,
		 struct kv_err *err) KV_MUSTCHECK;
/* KV_KEY_NOT_FOUND: it is over. */
int kvfile_unlock(struct kvfile *f, const struct kvfile_hold *hold,
		  struct kv_err *err) KV_MUSTCHECK;
/* Inside a transaction. KV_CANNOT_LOCK: it is over. */
int kvfile_holds(struct kvfile *f, const struct kvfile_hold *hold,
		 struct kv_err *err) KV_MUSTCHECK;

/* A watch's place. */
struct kvfile_cursor {
	struct kvfile_range range; /* stored bytes; one key: [key, key + NUL) */
	bool one_key;
	uint64_t after;	   /* as opened */
	bool started;	   /* the first answer was given */
	uint64_t epoch;	   /* of the file it stands in */
	uint64_t position; /* read up to here */
	uint64_t unit;	   /* ... and the unit begun after here */
	uint32_t pages;	   /* of the open unit */
};

/* POST: KV_OK and a batch, or NULL: nothing new, wait; or a code in err. */
int kvfile_changes(struct kvfile *f, const struct store *st,
		   struct kvfile_cursor *c, uint64_t want,
		   struct store_batch **out, struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_SQLITE_KVFILE_H */
