/* etcd_pb.h: messages in and out of bytes.
 *
 *   message --> etcd_pack --> one framed gRPC message
 *   bytes --> etcd_unpack --> message whose parts all lie in an arena
 */
#ifndef KV_ETCD_PB_H
#define KV_ETCD_PB_H

#include "etcd.pb-c.h"
#include "store/base/slice.h"
#include "store/base/status.h"

/* A new block (kv_free) with prefix and message; NULL: no memory. */
uint8_t *etcd_pack(const ProtobufCMessage *m, size_t *n) KV_MUSTCHECK;

/* KV_OK: *out lies in the arena, strings and bytes copied once (never to be
 * freed by itself). KV_NO_MEMORY, or KV_BROKEN when the bytes are no such
 * message. */
int etcd_unpack(const ProtobufCMessageDescriptor *type, struct arena *a,
		const uint8_t *p, size_t n, void *out,
		struct kv_err *err) KV_MUSTCHECK;

static inline ProtobufCBinaryData etcd_bytes(struct slice s)
{
	ProtobufCBinaryData b = {s.n, (uint8_t *)(uintptr_t)s.p};

	return b;
}

#endif /* KV_ETCD_PB_H */
