/* etcd_pb.c: see etcd_pb.h. */
#include "store/etcd/etcd_pb.h"

#include "store/etcd/grpc_frame.h"

struct allocator {
	ProtobufCAllocator base;
	struct arena *arena;
	bool out_of_memory;
};

static void *alloc_cb(void *ctx, size_t n)
{
	struct allocator *a = ctx;
	void *p = arena_alloc(a->arena, n);

	a->out_of_memory |= p == NULL;
	return p;
}

/* The arena goes as a whole. */
static void free_cb(void *ctx KV_UNUSED, void *p KV_UNUSED)
{
}

uint8_t *etcd_pack(const ProtobufCMessage *m, size_t *n)
{
	size_t size = protobuf_c_message_get_packed_size(m);
	uint8_t *p;

	PRE(size <= UINT32_MAX);
	p = kv_malloc(GRPC_PREFIX + size);
	if (p == NULL) {
		return NULL;
	}
	grpc_put_prefix(p, size);
	*n = GRPC_PREFIX + protobuf_c_message_pack(m, p + GRPC_PREFIX);
	POST(*n == GRPC_PREFIX + size);
	return p;
}

int etcd_unpack(const ProtobufCMessageDescriptor *type, struct arena *arena,
		const uint8_t *p, size_t n, void *out, struct kv_err *err)
{
	struct allocator a = {{alloc_cb, free_cb, &a}, arena, false};
	ProtobufCMessage *m = protobuf_c_message_unpack(type, &a.base, n, p);

	if (m == NULL) {
		return a.out_of_memory
			   ? kv_fail(err, KV_NO_MEMORY,
				     "no memory for an "
				     "answer of etcd")
			   : kv_fail(err, KV_BROKEN,
				     "etcd: an answer of %zu bytes is no %s", n,
				     type->short_name);
	}
	*(ProtobufCMessage **)out = m;
	return KV_OK;
}
