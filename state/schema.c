/* schema.c: the tables, as the steps that led to them.
 *
 *   user_version 0 --step--> 1 --step--> 2 ...   all in one transaction
 *
 * A new file takes every step too, so that there is one way only. A step that
 * was once released is never changed: a new one is added.
 *
 *   route      a route's name and fingerprint; name NULL: being dropped
 *   progress   its checkpoint, and counts of its rows elsewhere
 *   ledger     a row a key; by key, without a second copy in a rowid table
 *   newest     the few newest ledger rows (see newest.c)
 *   intent     a row a batch on its way, its keys packed
 *   conflict, quarantine, foreign_key   the lists
 *   live       what a running agent last said
 */
#include "state/state_int.h"

static const char *const schema_steps[SCHEMA_VERSION] = {
    "CREATE TABLE route(id INTEGER PRIMARY KEY, name TEXT UNIQUE,"
    " stores TEXT NOT NULL, filters TEXT NOT NULL, sum INTEGER NOT NULL);"
    "CREATE TABLE progress(route INTEGER PRIMARY KEY,"
    " saved INTEGER NOT NULL DEFAULT 0,"
    " position INTEGER NOT NULL DEFAULT 0,"
    " complete INTEGER NOT NULL DEFAULT 0,"
    " source_identity TEXT NOT NULL DEFAULT '',"
    " target_identity TEXT NOT NULL DEFAULT '',"
    " source_index INTEGER NOT NULL DEFAULT 0,"
    " target_index INTEGER NOT NULL DEFAULT 0,"
    " counters TEXT NOT NULL DEFAULT '',"
    " sum INTEGER NOT NULL DEFAULT 0,"
    " owned INTEGER NOT NULL DEFAULT 0,"
    " gone INTEGER NOT NULL DEFAULT 0,"
    " yielded INTEGER NOT NULL DEFAULT 0,"
    " stale INTEGER NOT NULL DEFAULT 0,"
    " quarantine INTEGER NOT NULL DEFAULT 0,"
    " foreign_keys INTEGER NOT NULL DEFAULT 0,"
    " journal INTEGER NOT NULL DEFAULT 0,"
    " tally_sum INTEGER NOT NULL);"
    "CREATE TABLE ledger(route INTEGER NOT NULL, key BLOB NOT NULL,"
    " kind INTEGER NOT NULL, source_index INTEGER NOT NULL,"
    " version_a INTEGER NOT NULL, version_b INTEGER NOT NULL,"
    " hash BLOB NOT NULL, sum INTEGER NOT NULL,"
    " PRIMARY KEY(route, key)) WITHOUT ROWID;"
    "CREATE INDEX ledger_gone ON ledger(route, source_index)"
    " WHERE kind = 2;"
    "CREATE TABLE newest(route INTEGER PRIMARY KEY, low INTEGER NOT NULL,"
    " rows BLOB NOT NULL);"
    "CREATE TABLE intent(id INTEGER PRIMARY KEY, route INTEGER NOT NULL,"
    " wall_ms INTEGER NOT NULL, n INTEGER NOT NULL, sum INTEGER NOT NULL,"
    " rows BLOB NOT NULL);"
    "CREATE TABLE conflict(route INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " key BLOB NOT NULL, wall_ms INTEGER NOT NULL, source_hash BLOB,"
    " target_hash BLOB, source_index INTEGER NOT NULL,"
    " decision TEXT NOT NULL, PRIMARY KEY(route, seq)) WITHOUT ROWID;"
    "CREATE TABLE quarantine(route INTEGER NOT NULL, key BLOB NOT NULL,"
    " reason TEXT NOT NULL, source_index INTEGER NOT NULL,"
    " wall_ms INTEGER NOT NULL, stale INTEGER NOT NULL,"
    " PRIMARY KEY(route, key)) WITHOUT ROWID;"
    "CREATE TABLE foreign_key(route INTEGER NOT NULL, key BLOB NOT NULL,"
    " PRIMARY KEY(route, key)) WITHOUT ROWID;"
    "CREATE TABLE live(route INTEGER PRIMARY KEY, phase TEXT NOT NULL,"
    " seen INTEGER NOT NULL, applied INTEGER NOT NULL,"
    " held TEXT NOT NULL, error TEXT NOT NULL,"
    " wall_ms INTEGER NOT NULL);",

    /* The delete fuse's hour outlives a restart; `status` tells the lag. */
    "ALTER TABLE progress ADD COLUMN"
    " fuse_since_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE progress ADD COLUMN"
    " fuse_deletes INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE live ADD COLUMN lag_ms INTEGER NOT NULL DEFAULT 0;",

    /* The hour slides: its older slots. And an intent's flags say more than
     * whether it deletes, which what wrote schema 2 would misread. */
    "ALTER TABLE progress ADD COLUMN fuse_older BLOB NOT NULL DEFAULT x'';",
};

static int version_get(struct state *st, int64_t *version, struct kv_err *err)
{
	int status = sql_number(st, "PRAGMA user_version", version, err);

	if (status != KV_OK) {
		return status;
	}
	if (*version < 0) {
		return sql_broken(st, "it has no schema version", err);
	}
	if (*version > SCHEMA_VERSION) {
		return kv_fail(err, KV_BROKEN,
			       "state file %s was written by a newer kvmirror "
			       "(schema %lld, this one knows %d); use that one",
			       st->path, (long long)*version, SCHEMA_VERSION);
	}
	return KV_OK;
}

static int take_steps(struct state *st, int64_t from, struct kv_err *err)
{
	char text[96];
	int status = KV_OK;

	for (int64_t v = from; status == KV_OK && v < SCHEMA_VERSION; v++) {
		status = sql_exec(st, schema_steps[v], err);
	}
	if (status != KV_OK) {
		return status;
	}
	(void)sqlite3_snprintf(
	    sizeof text, text,
	    "PRAGMA application_id = %d; PRAGMA user_version = %d",
	    SCHEMA_APPLICATION_ID, SCHEMA_VERSION);
	return sql_exec(st, text, err);
}

int schema_migrate(struct state *st, struct kv_err *err)
{
	int64_t version;
	int status = version_get(st, &version, err);

	if (status != KV_OK || version == SCHEMA_VERSION) {
		return status;
	}
	status = tx_begin(st, SQL_BEGIN_WRITE, err);
	if (status != KV_OK) {
		return status;
	}
	return tx_end(st, take_steps(st, version, err), err);
}

int state_schema_check(struct state *st, struct kv_err *err)
{
	int64_t version;
	int64_t id = 0;
	int status = sql_number(st, "PRAGMA application_id", &id, err);

	if (status == KV_OK && id != SCHEMA_APPLICATION_ID) {
		status =
		    sql_broken(st, "it is not a state file of kvmirror", err);
	}
	if (status == KV_OK) {
		status = version_get(st, &version, err);
	}
	if (status == KV_OK && version == 0) {
		status = sql_broken(st, "it has no schema version", err);
	}
	if (status == KV_OK && version != SCHEMA_VERSION &&
	    (st->flags & STATE_READ) != 0) {
		status = kv_fail(err, KV_BROKEN,
				 "state file %s was written by an older "
				 "kvmirror (schema %lld, this one reads %d); "
				 "start the agent on it once",
				 st->path, (long long)version, SCHEMA_VERSION);
	}
	return status;
}
