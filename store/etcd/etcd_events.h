/* etcd_events.h: what a watch has received and not yet handed out. Pure.
 *
 *   WatchResponse --> etcd_events_add --> messages --> etcd_events_take -->
 * batch progress      --> etcd_events_mark --^
 *
 * Transactions (revisions) stay whole: one whose last fragment has not come
 * waits, unless `force` says that the buffer is full; then it is handed out in
 * parts. Small revisions that wait together go out together.
 */
#ifndef KV_ETCD_EVENTS_H
#define KV_ETCD_EVENTS_H

#include "store/etcd/etcd_keys.h"
#include "store/etcd/etcd_pb.h"
#include "store/store_ops.h"

struct etcd_events {
	const struct etcd_keys *keys;
	struct list messages;
	size_t bytes;	   /* held in messages */
	uint64_t position; /* everything up to it was handed out */
	uint64_t told;	   /* the position that the caller knows */
	uint64_t open;	   /* revision with fragments to come; 0: none */
	int64_t count;	   /* keys there are in the range as of position */
};

void etcd_events_init(struct etcd_events *e, const struct etcd_keys *keys,
		      uint64_t position);
void etcd_events_free(struct etcd_events *e);

/* Takes over the events of m and the arena that they lie in (which is empty
 * afterwards, also on failure). KV_NO_MEMORY; KV_BROKEN: events without keys or
 * out of order. */
int etcd_events_add(struct etcd_events *e, Etcdserverpb__WatchResponse *m,
		    struct arena *arena, struct kv_err *err) KV_MUSTCHECK;

/* Everything up to `revision` has been added. KV_NO_MEMORY. */
int etcd_events_mark(struct etcd_events *e, uint64_t revision) KV_MUSTCHECK;

/* The next batch (changes, index, partial are set), or NULL where nothing can
 * be handed out. After KV_NO_MEMORY events are missing: the watch must end. */
int etcd_events_take(struct etcd_events *e, bool force,
		     struct store_batch **out) KV_MUSTCHECK;

#endif /* KV_ETCD_EVENTS_H */
