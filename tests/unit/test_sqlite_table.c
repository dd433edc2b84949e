/* test_sqlite_table.c: whatever statement a person types, a watch tells what
 * changed, and a replay of what it tells is the table. */
#include "tests/unit/test_sqlite_world.h"

/* One statement after a set-up, with what a watch tells then. */
struct row {
	const char *before;
	const char *statement;
	const char *told;
	const char *tree;
};

static const struct row rows[] = {
    {"", "INSERT INTO kv(key, value) VALUES('/a', '1')", "/a=1", "/a=1"},
    {"", "INSERT INTO kv VALUES('/a', '1'), ('/b', '2')", "/a=1 /b=2",
     "/a=1 /b=2"},
    {"", "INSERT INTO kv(key) VALUES('/a')", "/a=", "/a="},
    {"", "INSERT INTO kv VALUES('/a', 5)", "/a=5", "/a=5"},
    {"", "INSERT INTO kv VALUES('/a', x'00ff')", "/a=%00%FF", "/a=%00%FF"},
    {"", "INSERT INTO kv VALUES(x'2f61ff', '1')", "/a%FF=1", "/a%FF=1"},
    /* REPLACE: of the same spelling, and of the twin */
    {"INSERT INTO kv VALUES('/a', '1')", "REPLACE INTO kv VALUES('/a', '2')",
     "/a=2", "/a=2"},
    {"INSERT INTO kv VALUES('/a', '1')", "REPLACE INTO kv VALUES(x'2f61', '2')",
     "/a=2", "/a=2"},
    {"INSERT INTO kv VALUES(x'2f61', '1')",
     "INSERT OR REPLACE INTO kv VALUES('/a', '2')", "/a=2", "/a=2"},
    {"INSERT INTO kv VALUES('/a', '1')",
     "REPLACE INTO kv(key, value) SELECT key, value || 'x' FROM kv", "/a=1x",
     "/a=1x"},
    /* UPDATE of a value, of a key */
    {"INSERT INTO kv VALUES('/a', '1')", "UPDATE kv SET value = '2'", "/a=2",
     "/a=2"},
    {"INSERT INTO kv VALUES('/a', '1')", "UPDATE kv SET key = '/b'", "-/a /b=1",
     "/b=1"},
    {"INSERT INTO kv VALUES('/a', '1')",
     "UPDATE kv SET key = CAST(key AS BLOB)", "/a=1", "/a=1"},
    {"INSERT INTO kv VALUES('/a', '1'), ('/b', '2')",
     "UPDATE kv SET key = key || 'x'", "-/a /ax=1 -/b /bx=2", "/ax=1 /bx=2"},
    {"INSERT INTO kv VALUES('/a', '1'), ('/b', '2')",
     "UPDATE OR REPLACE kv SET key = '/b' WHERE key = '/a'", "-/a /b=1",
     "/b=1"},
    {"INSERT INTO kv VALUES('/a', '1'), ('/b', '2')",
     "UPDATE OR REPLACE kv SET key = x'2f62' WHERE key = '/a'", "-/a /b=1",
     "/b=1"},
    {"INSERT INTO kv VALUES('/a', '1'), ('/b', '2'), ('/c', '3')",
     "BEGIN; UPDATE kv SET key = 't' WHERE key = '/a';"
     "UPDATE kv SET key = '/a' WHERE key = '/b';"
     "UPDATE kv SET key = '/b' WHERE key = 't'; COMMIT",
     "/a=2 /b=1", "/a=2 /b=1 /c=3"},
    /* upsert */
    {"INSERT INTO kv VALUES('/a', '1')",
     "INSERT INTO kv VALUES('/a', '2') ON CONFLICT DO UPDATE "
     "SET value = excluded.value",
     "/a=2", "/a=2"},
    {"INSERT INTO kv VALUES('/a', '1')",
     "INSERT INTO kv VALUES(x'2f61', '2') ON CONFLICT DO UPDATE "
     "SET value = excluded.value",
     "/a=2", "/a=2"},
    {"INSERT INTO kv VALUES('/a', '1')",
     "INSERT INTO kv VALUES('/a', '2'), ('/b', '3') ON CONFLICT DO NOTHING",
     "/b=3", "/a=1 /b=3"},
    /* the outer statement's policy does not reach the log */
    {"INSERT INTO kv VALUES('/a', '1'); DELETE FROM kv",
     "INSERT OR IGNORE INTO kv VALUES('/a', '2')", "/a=2", "/a=2"},
    {"INSERT INTO kv VALUES('/a', '1')",
     "UPDATE OR IGNORE kv SET key = '/b', value = '2'", "-/a /b=2", "/b=2"},
    {"INSERT INTO kv VALUES('/a', '1'), ('/b', '2')",
     "UPDATE OR IGNORE kv SET key = '/b' WHERE key = '/a';"
     "UPDATE kv SET value = '3' WHERE key = '/b'",
     "/b=3", "/a=1 /b=3"},
    /* deletes */
    {"INSERT INTO kv VALUES('/a', '1')", "DELETE FROM kv WHERE key = '/a'",
     "-/a", ""},
    {"INSERT INTO kv VALUES('/a', '1'), ('/b', '2')", "DELETE FROM kv",
     "-/a -/b", ""},
    {"INSERT INTO kv VALUES('/a', '1')",
     "BEGIN; DELETE FROM kv; INSERT INTO kv VALUES('/a', '2'); COMMIT", "/a=2",
     "/a=2"},
    /* what is not in the tree, between two that are */
    {"",
     "INSERT INTO kv VALUES(7, '1'), ('b', '2'), ('', '3'), (x'', '4') "
     "ON CONFLICT DO NOTHING; INSERT INTO kv VALUES('/a', '1')",
     "/a=1", "/a=1"},
    {"INSERT INTO kv VALUES(7, '1')", "UPDATE kv SET key = '/a' WHERE key = 7",
     "/a=1", "/a=1"},
    {"",
     "BEGIN; INSERT INTO kv VALUES('/b', '1'); ROLLBACK;"
     "INSERT INTO kv VALUES('/a', '1')",
     "/a=1", "/a=1"},
};

/* A live row in the log for every key, none for others; revisions distinct and
 * not beyond the counter. */
static void check_log(sqlite3 *h)
{
	assert_int_equal(
	    plain_int(h, "SELECT count(*) FROM (SELECT CAST(key AS BLOB) FROM "
			 "kv EXCEPT SELECT key FROM kv_log WHERE NOT gone)"),
	    0);
	assert_int_equal(
	    plain_int(h, "SELECT count(*) FROM (SELECT key FROM kv_log WHERE "
			 "NOT gone EXCEPT SELECT CAST(key AS BLOB) FROM kv)"),
	    0);
	assert_int_equal(
	    plain_int(h, "SELECT coalesce(max(l.revision), 0) > s.seq FROM "
			 "kv_log l, sqlite_sequence s WHERE s.name = 'kv_log'"),
	    0);
}

static void run_row(const struct row *row, const char *pragma)
{
	struct world w;
	struct puller p;
	sqlite3 *h;

	world_set_up(&w);
	world_open(&w, "?poll=3600000");
	assert_tree(&w, ""); /* makes the file */
	h = plain_open(w.path);
	plain_exec(h, "PRAGMA synchronous=OFF");
	plain_exec(h, pragma);
	plain_exec(h, row->before);
	puller_start(&w, &p, "", 0);
	plain_exec(h, row->statement);
	check_log(h);
	assert_next(&w, &p, row->told);
	assert_tree(&w, row->tree);
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void statements(void **state)
{
	static const char *const pragmas[] = {"PRAGMA recursive_triggers=OFF",
					      "PRAGMA recursive_triggers=ON",
					      "PRAGMA trusted_schema=OFF"};

	(void)state;
	for (size_t i = 0; i < KV_COUNT(rows); i++) {
		for (size_t k = 0; k < KV_COUNT(pragmas); k++) {
			run_row(&rows[i], pragmas[k]);
		}
	}
}

/* What a person may not do: the statement fails, and nothing is told. */
static void refused_statements(void **state)
{
	static const char *const sql[] = {
	    "INSERT INTO kv VALUES('/a', '2')",
	    "INSERT INTO kv VALUES(x'2f61', '2')",
	    "INSERT INTO kv VALUES(NULL, '2')",
	    "INSERT INTO kv VALUES('/b', NULL)",
	    "UPDATE kv SET key = NULL",
	    "UPDATE kv SET key = '/b' WHERE key = x'2f63' OR key = '/a'",
	};
	struct world w;
	struct puller p;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	(void)world_put(&w, "/a", "1");
	h = plain_open(w.path);
	plain_exec(h, "INSERT INTO kv VALUES(x'2f63', '3')");
	puller_start(&w, &p, "", 0);
	for (size_t i = 0; i < KV_COUNT(sql); i++) {
		assert_int_equal(plain_try(h, sql[i]), SQLITE_CONSTRAINT);
		check_log(h);
	}
	assert_tree(&w, "/a=1 /c=3");
	(void)world_put(&w, "/d", "4");
	assert_next(&w, &p, "/d=4");
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* last_insert_rowid and changes() are as if there were no triggers. */
static void session_undisturbed(void **state)
{
	struct world w;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	assert_tree(&w, "");
	h = plain_open(w.path);
	plain_exec(h, "CREATE TABLE mine(x); INSERT INTO mine VALUES(1)");
	plain_exec(h, "INSERT INTO kv VALUES('/a', '1'), ('/b', '2')");
	assert_int_equal(sqlite3_last_insert_rowid(h), 1);
	assert_int_equal(sqlite3_changes(h), 2);
	plain_exec(h, "DELETE FROM kv");
	assert_int_equal(sqlite3_changes(h), 2);
	assert_tree(&w, ""); /* a table of a person's own is no offence */
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

static void own_columns(void **state)
{
	struct world w;
	struct puller p;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	(void)world_put(&w, "/a", "1");
	h = plain_open(w.path);
	plain_exec(h, "ALTER TABLE kv ADD COLUMN note TEXT DEFAULT 'n'");
	puller_start(&w, &p, "", 0);
	plain_exec(h, "UPDATE kv SET note = 'other'");
	plain_exec(h, "INSERT INTO kv(key, value) VALUES('/b', '2')");
	assert_next(&w, &p, "/b=2");
	(void)world_put(&w, "/c", "3");
	assert_tree(&w, "/a=1 /b=2 /c=3");
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* A person sees what we wrote by its text; bytes that are none are BLOBs. */
static void our_spelling(void **state)
{
	static const struct {
		const char *value;
		size_t n;
		const char *type;
	} values[] = {{"text", 4, "text"},
		      {"", 0, "text"},
		      {"\xc3\xa4", 2, "text"},
		      {"\xff", 1, "blob"},
		      {"a\0b", 3, "blob"}};
	struct world w;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	assert_tree(&w, "");
	h = plain_open(w.path);
	for (size_t i = 0; i < KV_COUNT(values); i++) {
		struct store_op op = op_put("/a", "");
		char sql[128];

		op.value = slice_of(values[i].value, values[i].n);
		assert_int_equal(world_op(&w, &op), KV_OK);
		(void)snprintf(sql, sizeof sql,
			       "SELECT typeof(value) = '%s' FROM kv "
			       "WHERE key = '/a'",
			       values[i].type);
		assert_int_equal(plain_int(h, sql), 1);
	}
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* We write to a key whatever its spelling is. */
static void twins(void **state)
{
	struct world w;
	sqlite3 *h;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	assert_tree(&w, "");
	h = plain_open(w.path);
	plain_exec(h, "INSERT INTO kv VALUES(x'2f61', '1')");
	(void)world_put(&w, "/a", "2");
	assert_tree(&w, "/a=2");
	assert_int_equal(plain_int(h, "SELECT count(*) FROM kv"), 1);
	(void)world_delete(&w, "/a");
	assert_tree(&w, "");
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

/* ---- random statements
 * -----------------------------------------------------*/

#define KEYS 6

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return *seed >> 33;
}

static void random_key(uint64_t *seed, char *buf, size_t cap)
{
	unsigned k = (unsigned)(next_random(seed) % KEYS);

	switch (next_random(seed) % 3) {
	case 0:
		(void)snprintf(buf, cap, "x'2f%02x'", 'a' + k);
		break;
	default:
		(void)snprintf(buf, cap, "'/%c'", 'a' + k);
	}
}

static void random_statement(uint64_t *seed, char *sql, size_t cap)
{
	static const char *const verbs[] = {"INSERT", "INSERT OR IGNORE",
					    "REPLACE", "INSERT OR FAIL"};
	static const char *const updates[] = {"UPDATE", "UPDATE OR REPLACE",
					      "UPDATE OR IGNORE"};
	char a[16], b[16];
	unsigned v = (unsigned)(next_random(seed) % 1000);

	random_key(seed, a, sizeof a);
	random_key(seed, b, sizeof b);
	switch (next_random(seed) % 6) {
	case 0:
	case 1:
		(void)snprintf(sql, cap, "%s INTO kv VALUES(%s, '%u'), (%s, 2)",
			       verbs[next_random(seed) % KV_COUNT(verbs)], a, v,
			       b);
		break;
	case 2:
		(void)snprintf(sql, cap,
			       "%s kv SET key = %s, value = '%u' WHERE "
			       "CAST(key AS BLOB) >= CAST(%s AS BLOB)",
			       updates[next_random(seed) % KV_COUNT(updates)],
			       a, v, b);
		break;
	case 3:
		(void)snprintf(sql, cap,
			       "INSERT INTO kv VALUES(%s, '%u') ON CONFLICT DO "
			       "UPDATE SET value = excluded.value || 'u'",
			       a, v);
		break;
	case 4:
		(void)snprintf(sql, cap,
			       "DELETE FROM kv WHERE CAST(key AS BLOB) = "
			       "CAST(%s AS BLOB)",
			       a);
		break;
	default:
		(void)snprintf(sql, cap, "UPDATE kv SET value = '%u'", v);
	}
}

/* A tree as a replay of what was told builds it. */
struct replay {
	char value[KEYS][32];
	bool there[KEYS];
};

static void replay_batch(struct replay *r, const struct store_batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		const struct store_change *c = &b->changes[i];
		size_t k;

		assert_int_equal(c->key.n, 2);
		k = (size_t)(c->key.p[1] - 'a');
		assert_true(k < KEYS);
		r->there[k] = c->action != STORE_DELETE;
		(void)snprintf(r->value[k], sizeof r->value[k], "%.*s",
			       (int)c->value.n, (const char *)c->value.p);
	}
}

static void check_replay(struct world *w, const struct replay *r)
{
	char expected[512], buf[512];
	size_t n = 0;

	expected[0] = '\0';
	for (size_t k = 0; k < KEYS; k++) {
		if (r->there[k]) {
			n += (size_t)snprintf(expected + n, sizeof expected - n,
					      "%s/%c=%s", n == 0 ? "" : " ",
					      (int)('a' + k), r->value[k]);
		}
	}
	assert_string_equal(world_tree(w, "", buf, sizeof buf), expected);
}

static void random_statements(void **state)
{
	struct replay r = {0};
	struct world w;
	struct puller p;
	sqlite3 *h;
	uint64_t seed = 42;

	(void)state;
	world_set_up(&w);
	world_open(&w, "");
	puller_start(&w, &p, "", 0);
	h = plain_open(w.path);
	plain_exec(h, "PRAGMA synchronous=OFF");
	for (unsigned i = 0; i < 600; i++) {
		unsigned n = 1 + (unsigned)(next_random(&seed) % 3);
		char sql[256];

		plain_exec(h, next_random(&seed) % 2 == 0
				  ? "PRAGMA recursive_triggers=ON"
				  : "PRAGMA recursive_triggers=OFF");
		while (n-- > 0) {
			random_statement(&seed, sql, sizeof sql);
			(void)plain_try(h, sql);
		}
		/* So that there is always something to tell. */
		plain_exec(h, "REPLACE INTO kv VALUES('/a', '0')");
		check_log(h);
		replay_batch(&r, puller_next(&w, &p));
		check_replay(&w, &r);
	}
	puller_close(&w, &p);
	assert_int_equal(sqlite3_close(h), SQLITE_OK);
	world_tear_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(statements),
	    cmocka_unit_test(refused_statements),
	    cmocka_unit_test(session_undisturbed),
	    cmocka_unit_test(own_columns),
	    cmocka_unit_test(our_spelling),
	    cmocka_unit_test(twins),
	    cmocka_unit_test(random_statements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
