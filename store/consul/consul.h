/* consul.h: the backend for Consul's KV store (schemes consul, consuls). */
#ifndef KV_CONSUL_H
#define KV_CONSUL_H

#include "store/store_ops.h"

extern const struct store_ops store_consul_ops;

#endif /* KV_CONSUL_H */
