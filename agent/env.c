/* env.c: see env.h. */
#include "agent/env.h"

void env_saw_source(struct route_env *env, const struct store_origin *o)
{
	env->cp.source_index = KV_MAX(env->cp.source_index, o->index);
}

void env_saw_target(struct route_env *env, const struct store_origin *o)
{
	env->cp.target_index = KV_MAX(env->cp.target_index, o->index);
}

int env_map(enum mapping_mode mapping, const struct store *target,
	    struct slice source_key, size_t value_size, struct arena *arena, struct env_key *out)
{
	struct kv_err err = {0};
	int rv =
	    mapping_to_target(mapping, source_key, arena, &out->key, &err);

	out->refused = NULL;
	if (rv == KV_NO_MEMORY) {
		return rv;
	}
	if (rv != KV_OK) {
		out->key = slice_of(NULL, 0);
	} else {
		rv = store_check(target, out->key, value_size, &err);
	}
	if (rv == KV_OK) {
		return KV_OK;
	}
	out->refused = arena_memdup(arena, err.text, strlen(err.text) + 1);
	return out->refused == NULL ? KV_NO_MEMORY : KV_OK;
}
