/* schema.c: the objects of a kv file, as text, and the look whether a file has
 * exactly these. See schema.h for what they mean. */
#include "store/sqlite/schema.h"

#include <string.h>

/* A person may add columns with defaults: these go between KV_HEAD and
 * KV_TAIL. */
#define KV_HEAD                                           \
	"CREATE TABLE kv(key TEXT NOT NULL PRIMARY KEY, " \
	"value TEXT NOT NULL DEFAULT ''"
#define KV_TAIL ") WITHOUT ROWID"

struct object {
	const char *name;
	const char *sql;
};

/* Inside a trigger the conflict policy of the outer statement rules (an OR
 * IGNORE would turn a REPLACE here into nothing): so the old row is deleted
 * first, and no insert here can meet a conflict. OR ROLLBACK tells SQLite that
 * it needs no journal for each statement on their account. */
/* clang-format off */
static const struct object objects[] = {
	{"kv", KV_HEAD KV_TAIL},
	{"kv_bytes",
	 "CREATE UNIQUE INDEX kv_bytes ON kv(CAST(key AS BLOB))"},
	{"kv_log",
	 "CREATE TABLE kv_log(revision INTEGER PRIMARY KEY AUTOINCREMENT, "
	 "key BLOB NOT NULL UNIQUE, gone INTEGER NOT NULL)"},
	{"kv_gone",
	 "CREATE INDEX kv_gone ON kv_log(revision) WHERE gone"},
	{"kv_meta",
	 "CREATE TABLE kv_meta(id INTEGER PRIMARY KEY CHECK(id = 1), "
	 "version INTEGER NOT NULL, identity TEXT NOT NULL, "
	 "keep INTEGER NOT NULL, floor INTEGER NOT NULL)"},
	{"kv_inserted",
	 "CREATE TRIGGER kv_inserted AFTER INSERT ON kv BEGIN\n"
	 " DELETE FROM kv_log WHERE key = CAST(NEW.key AS BLOB);\n"
	 " INSERT OR ROLLBACK INTO kv_log(key, gone)\n"
	 "  VALUES(CAST(NEW.key AS BLOB), 0);\n"
	 "END"},
	{"kv_updated",
	 "CREATE TRIGGER kv_updated AFTER UPDATE OF key, value ON kv BEGIN\n"
	 " DELETE FROM kv_log WHERE key = CAST(OLD.key AS BLOB);\n"
	 " DELETE FROM kv_log WHERE key = CAST(NEW.key AS BLOB);\n"
	 " INSERT OR ROLLBACK INTO kv_log(key, gone)\n"
	 "  SELECT CAST(OLD.key AS BLOB), 1\n"
	 "  WHERE CAST(OLD.key AS BLOB) <> CAST(NEW.key AS BLOB);\n"
	 " INSERT OR ROLLBACK INTO kv_log(key, gone)\n"
	 "  VALUES(CAST(NEW.key AS BLOB), 0);\n"
	 "END"},
	{"kv_deleted",
	 "CREATE TRIGGER kv_deleted AFTER DELETE ON kv BEGIN\n"
	 " DELETE FROM kv_log WHERE key = CAST(OLD.key AS BLOB);\n"
	 " INSERT OR ROLLBACK INTO kv_log(key, gone)\n"
	 "  VALUES(CAST(OLD.key AS BLOB), 1);\n"
	 "END"},
	{"kv_trimmed",
	 "CREATE TRIGGER kv_trimmed AFTER INSERT ON kv_log WHEN NEW.gone BEGIN\n"
	 " UPDATE OR ROLLBACK kv_meta SET floor =\n"
	 "  (SELECT max(revision) FROM kv_log\n"
	 "   WHERE gone AND revision <= NEW.revision - keep)\n"
	 "  WHERE EXISTS(SELECT 1 FROM kv_log\n"
	 "   WHERE gone AND revision <= NEW.revision - keep);\n"
	 " DELETE FROM kv_log WHERE gone\n"
	 "  AND revision <= (SELECT NEW.revision - keep FROM kv_meta);\n"
	 "END"},
};
/* clang-format on */

/* The first number, of a query without parameters. */
static int query_int(sqlite3 *h, const char *sql, int64_t *out)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(h, sql, -1, &s, NULL);

	if (rc != SQLITE_OK) {
		return rc;
	}
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW) {
		*out = sqlite3_column_int64(s, 0);
		rc = SQLITE_OK;
	} else if (rc == SQLITE_DONE) {
		*out = 0;
		rc = SQLITE_OK;
	}
	(void)sqlite3_finalize(s);
	return rc;
}

int schema_is_empty(sqlite3 *h)
{
	int64_t n = 0;

	if (query_int(h, "SELECT count(*) FROM sqlite_schema", &n) !=
	    SQLITE_OK) {
		return -1;
	}
	return n == 0;
}

/* The counter starts at 1: an index of 0 means "from now" to a watch. */
static int make_rows(sqlite3 *h, uint64_t keep)
{
	char *sql = sqlite3_mprintf(
	    "INSERT INTO kv_meta VALUES(1, %d, lower(hex(randomblob(16))), "
	    "%lld, 0);"
	    "INSERT INTO sqlite_sequence(name, seq) VALUES('kv_log', 1)",
	    SCHEMA_VERSION, (sqlite3_int64)keep);
	int rc;

	if (sql == NULL) {
		return SQLITE_NOMEM;
	}
	rc = sqlite3_exec(h, sql, NULL, NULL, NULL);
	sqlite3_free(sql);
	return rc;
}

int schema_make(sqlite3 *h, uint64_t keep)
{
	PRE(!sqlite3_get_autocommit(h));

	for (size_t i = 0; i < KV_COUNT(objects); i++) {
		int rc = sqlite3_exec(h, objects[i].sql, NULL, NULL, NULL);

		if (rc != SQLITE_OK) {
			return rc;
		}
	}
	return make_rows(h, keep);
}

static bool sql_matches(const struct object *o, const char *sql)
{
	size_t n = sql == NULL ? 0 : strlen(sql);

	if (sql == NULL) {
		return false;
	}
	if (o != &objects[0]) {
		return strcmp(sql, o->sql) == 0;
	}
	return n >= strlen(KV_HEAD KV_TAIL) &&
	       strncmp(sql, KV_HEAD, strlen(KV_HEAD)) == 0 &&
	       strcmp(sql + n - strlen(KV_TAIL), KV_TAIL) == 0;
}

static int check_object(sqlite3_stmt *s, const struct object *o, int *rc,
			struct kv_err *err)
{
	int status = KV_OK;

	(void)sqlite3_bind_text(s, 1, o->name, -1, SQLITE_STATIC);
	*rc = sqlite3_step(s);
	if (*rc == SQLITE_DONE && o == &objects[0]) {
		status = kv_fail(err, KV_BAD_ARGUMENT,
				 "this is another program's database: it has "
				 "tables, and no kv; name a new file");
	} else if (*rc == SQLITE_DONE) {
		status = kv_fail(err, KV_BROKEN,
				 "%s is missing, so changes of kv may have "
				 "gone unseen: copy the keys into a new file",
				 o->name);
	} else if (*rc != SQLITE_ROW) {
		status = KV_NOT_REACHABLE;
	} else if (!sql_matches(o, (const char *)sqlite3_column_text(s, 0))) {
		status =
		    kv_fail(err, o == &objects[0] ? KV_BAD_ARGUMENT : KV_BROKEN,
			    "%s was not made by kvmirror, or was changed "
			    "since: copy the keys into a new file",
			    o->name);
	}
	if (status != KV_NOT_REACHABLE) {
		*rc = SQLITE_OK;
	}
	(void)sqlite3_reset(s);
	return status;
}

int schema_check(sqlite3 *h, int *rc, struct kv_err *err)
{
	sqlite3_stmt *s = NULL;
	int64_t version = 0;
	int status = KV_OK;

	*rc = sqlite3_prepare_v2(
	    h, "SELECT sql FROM sqlite_schema WHERE name = ?", -1, &s, NULL);
	if (*rc != SQLITE_OK) {
		return KV_NOT_REACHABLE;
	}
	for (size_t i = 0; i < KV_COUNT(objects) && status == KV_OK; i++) {
		status = check_object(s, &objects[i], rc, err);
	}
	(void)sqlite3_finalize(s);
	if (status != KV_OK) {
		return status;
	}
	*rc = query_int(h, "SELECT version FROM kv_meta", &version);
	if (*rc != SQLITE_OK) {
		return KV_NOT_REACHABLE;
	}
	if (version != SCHEMA_VERSION) {
		return kv_fail(err, KV_BROKEN,
			       "its layout is version %lld, this kvmirror "
			       "knows version %d",
			       (long long)version, SCHEMA_VERSION);
	}
	return KV_OK;
}
