/* place.h: one end of a route in tests with real stores: an etcd, a ZooKeeper
 * or a Consul server, or a file, with a way to write to it that is not the
 * agent's, and a record of all that happened below a prefix that is not the
 * product's own watch.
 *
 *   place_open -> write ..., record, kill, restart -> replay -> free
 *
 * etcd: written through store.h in one Txn, recorded by `etcdctl watch`.
 * sqlite: written through libsqlite3, recorded by triggers of the test's own.
 * ZooKeeper: written through libzookeeper in one multi, recorded by the server
 * itself: its transaction log. Null data is no value.
 * Consul: written through store.h; it has no record: what stands there at the
 * end is all that a replay gives.
 */
#ifndef KV_TEST_PLACE_H
#define KV_TEST_PLACE_H

#include "tests/fixtures/consul_server.h"
#include "tests/fixtures/etcd_server.h"

enum place_kind { PLACE_SQLITE, PLACE_ETCD, PLACE_ZK, PLACE_CONSUL };

#define PLACE_URI_MAX (TEMP_PATH_MAX + 64)

struct place;

struct place_op {
	const char *key;   /* as stored, prefix included */
	const char *value; /* NULL: delete */
	size_t n;
};

/* NULL: the servers for it are there. Else why not. */
const char *place_missing(enum place_kind kind);
/* Started. `killed`: the test will kill the server, so it has to keep what it
 * acknowledged. Whatever fails ends the test. */
struct place *place_open(enum place_kind kind, const char *tag, bool killed);
void place_free(struct place *p);

void place_uri(const struct place *p, const char *prefix,
	       char buf[PLACE_URI_MAX]);

/* One transaction, done when it returns. */
void place_write(struct place *p, const struct place_op *ops, size_t n);

/* Records what happens below the prefix from now on. One record at a time. */
void place_record(struct place *p, const char *prefix);
/* Hands out the record up to now in its order, and ends it. `value` NULL: the
 * key was deleted. Names are relative to the prefix. */
void place_replay(struct place *p,
		  void (*each)(void *ctx, const char *name, const char *value,
			       size_t n),
		  void *ctx);

/* A server: kill -9, and start it again where it was, healthy. */
void place_kill(struct place *p);
void place_restart(struct place *p);
/* Forgets history before now (etcd: compaction). */
void place_compact(struct place *p);

#endif /* KV_TEST_PLACE_H */
