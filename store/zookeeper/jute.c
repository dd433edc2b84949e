/* jute.c: see jute.h. */
#include "store/zookeeper/jute.h"

void jute_out_free(struct jute_out *o)
{
	kv_free(o->p);
	*o = (struct jute_out){0};
}
