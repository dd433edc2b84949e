/* dump.c: the whole database as bytes and back: what a simulated crash leaves,
 * or an older copy of it. */
#include "state/state_int.h"

/* The two bytes of the header that say "WAL"; bytes in memory have none. */
#define HEADER_MODES 18
#define HEADER_SIZE 100

int state_dump(struct state *st, uint8_t **bytes, size_t *n, struct kv_err *err)
{
	sqlite3_int64 size = 0;
	unsigned flags = SQLITE_SERIALIZE_NOCOPY;
	unsigned char *p = sqlite3_serialize(st->db, "main", &size, flags);
	bool own = p != NULL;

	*bytes = NULL;
	*n = 0;
	if (p == NULL) {
		p = sqlite3_serialize(st->db, "main", &size, 0);
	}
	if (p != NULL && size >= HEADER_SIZE) {
		*bytes = kv_memdup(p, (size_t)size);
	}
	if (!own) {
		sqlite3_free(p);
	}
	if (*bytes == NULL) {
		return kv_fail(err, KV_NO_MEMORY,
			       "no memory for a copy of state file %s",
			       st->path);
	}
	(*bytes)[HEADER_MODES] = 1;
	(*bytes)[HEADER_MODES + 1] = 1;
	*n = (size_t)size;
	return KV_OK;
}

int dump_load(struct state *st, const uint8_t *bytes, size_t n,
	      struct kv_err *err)
{
	unsigned char *copy;
	int rc;

	if (n < HEADER_SIZE) {
		return sql_broken(st, "the copy is too short", err);
	}
	copy = sqlite3_malloc64(n);
	if (copy == NULL) {
		return sql_fail(st, SQLITE_NOMEM, err);
	}
	memcpy(copy, bytes, n);
	rc = sqlite3_deserialize(
	    st->db, "main", copy, (sqlite3_int64)n, (sqlite3_int64)n,
	    SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE);
	/* The copy is SQLite's now, also after a failure. */
	return rc == SQLITE_OK ? KV_OK : sql_fail(st, rc, err);
}
