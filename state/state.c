/* state.c: opening and closing the state file.
 *
 *   write   folder -> lock -> look at the header -> (make a new file) -> SQLite
 *           -> version, migration -> leftovers of dropped routes
 *   read    look at the header -> SQLite, read-only -> version
 *   memory  SQLite in memory -> schema
 */
#include <unistd.h>

#include "state/state_int.h"

#define BUSY_MS 5000
#define BUSY_CHECKPOINT_MS 100

/* Frames (pages of 4 KiB) of the WAL: when it is copied back into the file,
 * how soon that is tried again if a reader was in the way, and from where on
 * readers are waited for, so that they cannot make it grow for ever. */
#define WAL_COPY 4000
#define WAL_AGAIN 1000
#define WAL_WAIT 16000

/* Files of up to so many bytes are checked at each start: some 20 ms. In a
 * larger one damage is met when it is read. */
#define CHECK_SIZE (8 << 20)

#define PRAGMAS                                 \
	"PRAGMA synchronous = NORMAL;"          \
	"PRAGMA cache_size = -4096;"            \
	"PRAGMA temp_store = FILE;"             \
	"PRAGMA journal_size_limit = 67108864;" \
	"PRAGMA cell_size_check = ON;"

/* ---- SQLite's handle */

static void db_close(struct state *st)
{
	for (size_t i = 0; i < SQL_COUNT; i++) {
		(void)sqlite3_finalize(st->stmts[i]);
		st->stmts[i] = NULL;
	}
	if (sqlite3_close(st->db) != SQLITE_OK) {
		PRE(false); /* a statement outlives its handle */
	}
	st->db = NULL;
}

static int db_open(struct state *st, const char *name, int flags,
		   struct kv_err *err)
{
	/* One thread at a time, as the header says: no mutex needed. */
	int rc = sqlite3_open_v2(name, &st->db,
				 flags | SQLITE_OPEN_NOMUTEX |
				     SQLITE_OPEN_PRIVATECACHE |
				     SQLITE_OPEN_EXRESCODE,
				 NULL);

	if (st->db == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for state file %s",
			       st->path);
	}
	if (rc != SQLITE_OK) {
		return sql_fail(st, rc, err);
	}
	(void)sqlite3_busy_timeout(st->db, BUSY_MS);
	/* The file's schema is input too: nothing in it may act. */
	(void)sqlite3_db_config(st->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0,
				NULL);
	(void)sqlite3_db_config(st->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	return KV_OK;
}

/* After a commit. The commit is done and stays so, whatever happens here: a
 * full disk shows at the next one. */
static int wal_cb(void *ctx, sqlite3 *db, const char *name, int frames)
{
	struct state *st = ctx;
	int mode = SQLITE_CHECKPOINT_PASSIVE;
	int left = 0;
	int copied = 0;

	if (frames < st->checkpoint_at) {
		/* SQLite began the WAL anew. */
		if (frames < WAL_COPY) {
			st->checkpoint_at = WAL_COPY;
		}
		return SQLITE_OK;
	}
	/* The write that an intent announces should not wait for fsyncs: the
	 * commit of its result comes soon. */
	if (st->in_begin && frames < WAL_WAIT) {
		return SQLITE_OK;
	}
	if (frames >= WAL_WAIT) {
		mode = SQLITE_CHECKPOINT_RESTART;
	}
	(void)sqlite3_busy_timeout(db, BUSY_CHECKPOINT_MS);
	(void)sqlite3_wal_checkpoint_v2(db, name, mode, &left, &copied);
	(void)sqlite3_busy_timeout(db, BUSY_MS);
	st->checkpoint_at = frames + WAL_AGAIN;
	return SQLITE_OK;
}

/* ---- a file, to write */

static int make_file(struct state *st, struct kv_err *err)
{
	char *fresh = file_beside(st->path, "-new");
	int status;

	if (fresh == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for state file %s",
			       st->path);
	}
	status = file_sweep(st->path, err);
	if (status == KV_OK) {
		status = file_new(fresh, err);
	}
	if (status == KV_OK) {
		status = db_open(st, fresh, SQLITE_OPEN_READWRITE, err);
	}
	/* Nobody sees it before it is complete and synced: no journal. */
	if (status == KV_OK) {
		status = sql_exec(st,
				  "PRAGMA synchronous = OFF;"
				  "PRAGMA journal_mode = MEMORY",
				  err);
	}
	if (status == KV_OK) {
		status = schema_migrate(st, err);
	}
	if (status == KV_OK) {
		status = sql_exec(st, "PRAGMA journal_mode = WAL", err);
	}
	db_close(st);
	if (status == KV_OK) {
		status = file_publish(fresh, st->path, err);
	}
	if (status != KV_OK) {
		(void)unlink(fresh); /* of no use; on a full disk it is room */
	}
	kv_free(fresh);
	return status;
}

static int ensure_wal(struct state *st, struct kv_err *err)
{
	struct sql q = {.st = st};
	char mode[16] = "";
	int status;

	q.rc = sqlite3_prepare_v2(st->db, "PRAGMA journal_mode = WAL", -1,
				  &q.stmt, NULL);
	if (sql_next(&q)) {
		sql_get_text(&q, mode, sizeof mode);
	}
	status = sql_close(&q, err);
	(void)sqlite3_finalize(q.stmt);
	if (status == KV_OK && strcmp(mode, "wal") != 0) {
		status =
		    kv_fail(err, KV_DENIED,
			    "state file %s: its file system cannot share "
			    "memory (SQLite's WAL); put it on a local disk",
			    st->path);
	}
	return status;
}

static int check_small(struct state *st, struct kv_err *err)
{
	struct sql q = {.st = st};
	char text[128] = "";
	int64_t size = 0;
	int status = sql_number(st,
				"SELECT page_count * page_size FROM"
				" pragma_page_count, pragma_page_size",
				&size, err);

	if (status != KV_OK || size > CHECK_SIZE) {
		return status;
	}
	q.rc = sqlite3_prepare_v2(st->db, "PRAGMA quick_check(1)", -1, &q.stmt,
				  NULL);
	if (sql_next(&q)) {
		sql_get_text(&q, text, sizeof text);
	}
	status = sql_close(&q, err);
	(void)sqlite3_finalize(q.stmt);
	if (status == KV_OK && strcmp(text, "ok") != 0) {
		for (char *p = text; (p = strchr(p, '\n')) != NULL;) {
			*p = ' '; /* an error is one line */
		}
		status = sql_broken(st, text, err);
	}
	return status;
}

/* Says now, not at the first batch, that the file cannot be written. */
static int try_write(struct state *st, struct kv_err *err)
{
	int status;

	if (sqlite3_db_readonly(st->db, "main") == 1) {
		return sql_fail(st, SQLITE_READONLY, err);
	}
	status = tx_begin(st, SQL_BEGIN_WRITE, err);
	return status != KV_OK ? status : tx_end(st, KV_OK, err);
}

static int load_last_intent(struct state *st, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_INTENT_LAST);

	if (sql_next(&q)) {
		st->intent_id = sql_get_int(&q);
	}
	return sql_close(&q, err);
}

static int setup_file(struct state *st, struct kv_err *err)
{
	int status = state_schema_check(st, err);

	if (status == KV_OK) {
		status = ensure_wal(st, err);
	}
	if (status == KV_OK) {
		status = sql_exec(st, PRAGMAS, err);
	}
	if (status == KV_OK) {
		status = check_small(st, err);
	}
	if (status == KV_OK) {
		status = try_write(st, err);
	}
	if (status == KV_OK) {
		status = schema_migrate(st, err);
	}
	if (status == KV_OK) {
		st->checkpoint_at = WAL_COPY;
		(void)sqlite3_wal_hook(st->db, wal_cb, st);
		status = load_last_intent(st, err);
	}
	return status == KV_OK ? routes_sweep(st, err) : status;
}

static int open_write(struct state *st, struct kv_err *err)
{
	enum file_kind kind;
	/* Before anything is put beside a file that is not ours. */
	int status = file_look(st->path, &kind, err);

	if (status == KV_OK) {
		status = file_folder(st->path, err);
	}
	if (status == KV_OK) {
		status = file_lock(st->path, &st->lock_fd, err);
	}
	if (status == KV_OK) {
		status = file_look(st->path, &kind, err);
	}
	if (status == KV_OK && kind == FILE_MISSING) {
		status = make_file(st, err);
	}
	if (status == KV_OK) {
		status = db_open(st, st->path, SQLITE_OPEN_READWRITE, err);
	}
	return status == KV_OK ? setup_file(st, err) : status;
}

/* ---- a file, to read */

/* "file:" URI with everything but plain characters escaped. */
static char *immutable_uri(const char *path)
{
	static const char hex[] = "0123456789ABCDEF";
	static const char tail[] = "?immutable=1";
	size_t n = strlen(path);
	char *uri = kv_malloc(5 + 3 * n + sizeof tail);
	char *p = uri;

	if (uri == NULL) {
		return NULL;
	}
	memcpy(p, "file:", 5);
	p += 5;
	for (size_t i = 0; i < n; i++) {
		unsigned c = (unsigned char)path[i];

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
		    (c >= 'A' && c <= 'Z') || c == '/' || c == '.' ||
		    c == '-' || c == '_') {
			*p++ = (char)c;
			continue;
		}
		*p++ = '%';
		*p++ = hex[c >> 4];
		*p++ = hex[c & 15];
	}
	memcpy(p, tail, sizeof tail);
	return uri;
}

/* Where not even a reader's files can be made beside the database. */
static int open_immutable(struct state *st, struct kv_err *err)
{
	char *uri;
	int status;

	if (!file_is_alone(st->path)) {
		return kv_fail(err, KV_DENIED,
			       "state file %s: its log cannot be read without "
			       "writing beside it; copy it with %s-wal to a "
			       "folder that is writable for this user",
			       st->path, st->path);
	}
	db_close(st);
	uri = immutable_uri(st->path);
	if (uri == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for state file %s",
			       st->path);
	}
	status = db_open(st, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err);
	kv_free(uri);
	return status == KV_OK ? state_schema_check(st, err) : status;
}

static int open_read(struct state *st, struct kv_err *err)
{
	enum file_kind kind;
	int status = file_look(st->path, &kind, err);

	if (status == KV_OK && kind == FILE_MISSING) {
		return kv_fail(err, KV_KEY_NOT_FOUND,
			       "state file %s is not there: no agent has run "
			       "with it",
			       st->path);
	}
	if (status == KV_OK) {
		status = db_open(st, st->path, SQLITE_OPEN_READONLY, err);
	}
	if (status == KV_OK) {
		status = state_schema_check(st, err);
		if (status == KV_DENIED) {
			status = open_immutable(st, err);
		}
	}
	if (status == KV_OK) {
		status = sql_exec(st,
				  "PRAGMA cache_size = -4096;"
				  "PRAGMA temp_store = FILE;"
				  "PRAGMA cell_size_check = ON",
				  err);
	}
	return status;
}

/* ---- in memory */

static int open_memory(struct state *st, struct kv_err *err)
{
	int status = db_open(
	    st, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);

	/* Small pages: dumps are copied very often, and hold little. */
	if (status == KV_OK) {
		status = sql_exec(st, "PRAGMA page_size = 1024", err);
	}
	return status == KV_OK ? schema_migrate(st, err) : status;
}

/* ---- all */

static struct state *state_new(const char *path, unsigned flags,
			       struct kv_err *err)
{
	struct state *st = kv_calloc(1, sizeof *st);

	if (st != NULL) {
		st->flags = flags;
		st->lock_fd = -1;
		st->path = kv_strdup(path);
	}
	if (st == NULL || st->path == NULL) {
		(void)kv_fail(err, KV_NO_MEMORY, "no memory for state file %s",
			      path);
		kv_free(st);
		return NULL;
	}
	return st;
}

/* Hands out what was opened, or closes what could not be. */
static int finish(struct state *st, int status, struct state **out)
{
	if (status != KV_OK) {
		state_close(st);
		return status;
	}
	*out = st;
	return KV_OK;
}

int state_open(const char *path, unsigned flags, struct state **out,
	       struct kv_err *err)
{
	struct state *st;

	PRE(path != NULL || (flags & STATE_MEMORY) != 0);
	*out = NULL;
	if ((flags & STATE_MEMORY) != 0) {
		path = "(memory)";
	}
	st = state_new(path, flags, err);
	if (st == NULL) {
		return KV_NO_MEMORY;
	}
	if ((flags & STATE_MEMORY) != 0) {
		return finish(st, open_memory(st, err), out);
	}
	if ((flags & STATE_READ) != 0) {
		return finish(st, open_read(st, err), out);
	}
	return finish(st, open_write(st, err), out);
}

static int open_dump(struct state *st, const uint8_t *bytes, size_t n,
		     struct kv_err *err)
{
	int status = db_open(
	    st, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);

	if (status == KV_OK) {
		status = dump_load(st, bytes, n, err);
	}
	if (status == KV_OK) {
		status = state_schema_check(st, err);
	}
	if (status == KV_OK) {
		status = schema_migrate(st, err);
	}
	if (status == KV_OK) {
		status = load_last_intent(st, err);
	}
	return status == KV_OK ? routes_sweep(st, err) : status;
}

int state_from_dump(const uint8_t *bytes, size_t n, struct state **out,
		    struct kv_err *err)
{
	struct state *st = state_new("(memory)", STATE_MEMORY, err);

	*out = NULL;
	if (st == NULL) {
		return KV_NO_MEMORY;
	}
	return finish(st, open_dump(st, bytes, n, err), out);
}

void state_close(struct state *st)
{
	if (st == NULL) {
		return;
	}
	db_close(st);
	memory_free(st);
	if (st->lock_fd >= 0) {
		(void)close(st->lock_fd); /* lets go of the lock */
	}
	kv_free(st->path);
	kv_free(st);
}
