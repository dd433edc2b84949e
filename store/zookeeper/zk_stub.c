/* zk_stub.c: what is not there yet. */
#include "store/zookeeper/zk_impl.h"

int zk_changes(struct store_watch *w KV_UNUSED, struct store_next *req)
{
	return kv_fail(&req->err, KV_CALL_NOT_SUPPORTED,
		       "zookeeper: watching is not there yet");
}

void zk_changes_cancel(struct store_next *req KV_UNUSED)
{
}

void zk_unwatch(struct store_watch *w KV_UNUSED)
{
}
