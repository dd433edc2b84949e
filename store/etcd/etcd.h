/* etcd.h: the backend for etcd v3 (schemes etcd, etcds), over gRPC. */
#ifndef KV_ETCD_H
#define KV_ETCD_H

#include "store/store_ops.h"

extern const struct store_ops store_etcd_ops;

#endif /* KV_ETCD_H */
