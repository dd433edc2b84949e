/* kvfile_lock.c: locks in a kv file: a key, which others see, and a row of
 * kv_lock beside it that says until when it stands.
 *
 *   lock    no key, or one whose row's time is over --> put the key, its
 *           revision is the token; write the row
 *   renew   the row with that token, and its time is not over --> later time
 *   unlock  the row with that token --> delete key and row
 *
 * The time is the wall's: whoever shares the file must share the clock, so such
 * locks are for one machine only. A clock that is set back makes them stand for
 * longer; one that is set forward ends them early, and the token still tells.
 */
#include "store/sqlite/kvfile.h"

/* Made when first needed: a file without locks has no such table. */
#define TABLE                                 \
	"CREATE TABLE IF NOT EXISTS kv_lock(" \
	"key BLOB NOT NULL PRIMARY KEY, "     \
	"token INTEGER NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID"

/* Runs a statement of up to three parameters: a key and two numbers. Its first
 * column, of the first row, in *out (0 without a row); *rows: rows returned or
 * changed. SQLite's code. */
static int run(struct kvfile *f, const char *sql, struct slice key, int64_t a,
	       int64_t b, int64_t *out, int *rows)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(f->h, sql, -1, &s, NULL);
	int n = rc == SQLITE_OK ? sqlite3_bind_parameter_count(s) : 0;

	*rows = 0;
	if (rc == SQLITE_OK && n > 0) {
		rc = kvfile_bind_bytes(s, 1, key);
	}
	if (rc == SQLITE_OK && n > 1) {
		rc = sqlite3_bind_int64(s, 2, a);
	}
	if (rc == SQLITE_OK && n > 2) {
		rc = sqlite3_bind_int64(s, 3, b);
	}
	if (rc == SQLITE_OK) {
		rc = sqlite3_step(s);
		if (rc == SQLITE_ROW) {
			*out = sqlite3_column_int64(s, 0);
			*rows = 1;
			rc = SQLITE_OK;
		} else if (rc == SQLITE_DONE) {
			*rows = sqlite3_column_count(s) == 0
				    ? sqlite3_changes(f->h)
				    : 0;
			rc = SQLITE_OK;
		}
	}
	(void)sqlite3_finalize(s);
	return rc;
}

static int fail(struct kvfile *f, int rc, struct kv_err *err)
{
	return kvfile_fail(f, rc, "locking", err);
}

static int cannot(const struct kvfile_hold *hold, int status, const char *why,
		  struct kv_err *err)
{
	char key[SLICE_PRINT_MAX];

	return kv_fail(err, status, "lock %s: %s",
		       slice_print(hold->key, key, sizeof key), why);
}

/* Ends the transaction: commits when rv is KV_OK. */
static int finish(struct kvfile *f, int rv, struct kv_err *err)
{
	if (rv == KV_OK) {
		return kvfile_commit(f, err);
	}
	kvfile_end(f);
	return rv;
}

static int has_table(struct kvfile *f, bool *out)
{
	int64_t ignored;
	int rows;
	int rc = run(f, "SELECT 1 FROM sqlite_schema WHERE name = 'kv_lock'",
		     slice_of(NULL, 0), 0, 0, &ignored, &rows);

	*out = rows > 0;
	return rc;
}

int kvfile_holds(struct kvfile *f, const struct kvfile_hold *hold,
		 struct kv_err *err)
{
	int64_t until = 0;
	bool there = false;
	int rows = 0;
	int rc = has_table(f, &there);

	if (rc == SQLITE_OK && there) {
		rc = run(f,
			 "SELECT until_ms FROM kv_lock "
			 "WHERE key = ?1 AND token = ?2",
			 hold->key, (int64_t)hold->token, 0, &until, &rows);
	}
	if (rc != SQLITE_OK) {
		return fail(f, rc, err);
	}
	if (rows == 0 || (uint64_t)until <= hold->now_ms) {
		return cannot(hold, KV_CANNOT_LOCK, "it is held no more", err);
	}
	return KV_OK;
}

/* Is the key anybody's? One without a row is a key like any other. */
static int check_free(struct kvfile *f, const struct kvfile_hold *hold,
		      struct kv_err *err)
{
	int64_t until = 0, ignored;
	int locked, taken = 0;
	int rc = run(f, "SELECT until_ms FROM kv_lock WHERE key = ?1",
		     hold->key, 0, 0, &until, &locked);

	if (rc == SQLITE_OK) {
		rc = run(f, "SELECT 1 FROM kv k WHERE " KVFILE_BYTES " = ?1",
			 hold->key, 0, 0, &ignored, &taken);
	}
	if (rc != SQLITE_OK) {
		return fail(f, rc, err);
	}
	if (taken && (!locked || (uint64_t)until > hold->now_ms)) {
		return cannot(hold, KV_CANNOT_LOCK,
			      locked ? "another holds it"
				     : "a key of that name exists, which is no "
				       "lock",
			      err);
	}
	return KV_OK;
}

static int take(struct kvfile *f, struct kvfile_hold *hold)
{
	struct store_op op = {.kind = STORE_OP_PUT, .value = hold->value};
	int64_t ignored;
	int rows;
	int rc = kvfile_do(f, &op, hold->key);

	if (rc != SQLITE_OK) {
		return rc;
	}
	hold->token = op.index;
	return run(f,
		   "INSERT OR REPLACE INTO kv_lock(key, token, until_ms) "
		   "VALUES(?1, ?2, ?3)",
		   hold->key, (int64_t)hold->token,
		   (int64_t)(hold->now_ms + hold->ttl_ms), &ignored, &rows);
}

int kvfile_lock(struct kvfile *f, struct kvfile_hold *hold, struct kv_err *err)
{
	struct kvfile_head head;
	int64_t ignored;
	int rows;
	int rv = kvfile_begin(f, KVFILE_WRITE, &head, err);
	int rc;

	if (rv != KV_OK) {
		return rv;
	}
	rc = run(f, TABLE, slice_of(NULL, 0), 0, 0, &ignored, &rows);
	rv = rc == SQLITE_OK ? check_free(f, hold, err) : fail(f, rc, err);
	if (rv == KV_OK) {
		rc = take(f, hold);
		rv = rc == SQLITE_OK ? KV_OK : fail(f, rc, err);
	}
	return finish(f, rv, err);
}

int kvfile_renew(struct kvfile *f, const struct kvfile_hold *hold,
		 struct kv_err *err)
{
	struct kvfile_head head;
	int64_t ignored;
	int rows;
	int rv = kvfile_begin(f, KVFILE_WRITE, &head, err);
	int rc;

	if (rv != KV_OK) {
		return rv;
	}
	rv = kvfile_holds(f, hold, err);
	if (rv == KV_OK) {
		rc = run(f,
			 "UPDATE kv_lock SET until_ms = ?3 "
			 "WHERE key = ?1 AND token = ?2",
			 hold->key, (int64_t)hold->token,
			 (int64_t)(hold->now_ms + hold->ttl_ms), &ignored,
			 &rows);
		rv = rc == SQLITE_OK ? KV_OK : fail(f, rc, err);
	}
	return finish(f, rv, err);
}

int kvfile_unlock(struct kvfile *f, const struct kvfile_hold *hold,
		  struct kv_err *err)
{
	struct store_op op = {.kind = STORE_OP_DELETE};
	struct kvfile_head head;
	int64_t ignored;
	bool there;
	int rows = 0;
	int rv = kvfile_begin(f, KVFILE_WRITE, &head, err);
	int rc;

	if (rv != KV_OK) {
		return rv;
	}
	rc = has_table(f, &there);
	if (rc == SQLITE_OK && there) {
		rc = run(f, "DELETE FROM kv_lock WHERE key = ?1 AND token = ?2",
			 hold->key, (int64_t)hold->token, 0, &ignored, &rows);
	}
	if (rc == SQLITE_OK && rows > 0) {
		rc = kvfile_do(f, &op, hold->key);
	}
	if (rc != SQLITE_OK) {
		rv = fail(f, rc, err);
	} else if (rows == 0) {
		rv = cannot(hold, KV_KEY_NOT_FOUND, "it is held no more", err);
	}
	return finish(f, rv, err);
}
