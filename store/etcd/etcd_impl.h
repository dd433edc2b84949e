/* etcd_impl.h: what the files of this backend share.
 *
 *   store.c --> etcd.c --> etcd_scan.c, etcd_write.c --> etcd_client (unary)
 *                     `--> etcd_watch.c --> grpc (a connection of its own)
 */
#ifndef KV_ETCD_IMPL_H
#define KV_ETCD_IMPL_H

#include "store/etcd/etcd_client.h"
#include "store/etcd/etcd_keys.h"
#include "store/store_ops.h"

/* What a server takes when it is not told otherwise: operations a
 * transaction, and bytes a request. */
#define ETCD_MAX_OPS 128
#define ETCD_MAX_REQUEST ((size_t)1536 * 1024)
/* Left free of keys and values: names again in guards, tags, lengths. */
#define ETCD_OVERHEAD ((size_t)32 * 1024)
#define ETCD_MAX_KEY ((size_t)8 * 1024)
#define ETCD_PAGE 5000

/* One open store; lives in st->impl. */
struct etcd {
	struct store *st;
	struct etcd_client client;
	struct etcd_keys keys;
	char *raw_prefix;
	size_t pair_size;   /* bytes a pair, as seen lately; 0: none was seen */
	struct list leases; /* calls of etcd_lock.c that nobody waits for */
	struct sched_timer leases_end;
};

static inline struct etcd *etcd_of(const struct store *st)
{
	return st->impl;
}

void etcd_origin(const struct etcd *e, const Etcdserverpb__ResponseHeader *h,
		 uint64_t epoch, struct store_origin *out);

/* An answer must carry a header. */
int etcd_check_header(const Etcdserverpb__ResponseHeader *h,
		      struct kv_err *err) KV_MUSTCHECK;

int etcd_scan(struct store *st, struct store_scan *req);
void etcd_scan_cancel(struct store_scan *req);

int etcd_write(struct store *st, struct store_write *req);
void etcd_write_cancel(struct store_write *req);

int etcd_lock(struct store *st, struct store_lock_req *req);
int etcd_unlock(struct store *st, struct store_lock_req *req);
void etcd_renew(struct store *st, struct store_held *held);
void etcd_lock_cancel(struct store_lock_req *req);
void etcd_lock_init(struct etcd *e);
/* Gives back what is held, not waiting for long; then etcd_lock_closed. */
void etcd_lock_close(struct etcd *e);
void etcd_lock_closed(struct etcd *e);

#define ETCD_WATCH_SIZE sizeof(struct etcd_watch *)
int etcd_changes(struct store_watch *w, struct store_next *req);
void etcd_changes_cancel(struct store_next *req);
void etcd_unwatch(struct store_watch *w);

#endif /* KV_ETCD_IMPL_H */
