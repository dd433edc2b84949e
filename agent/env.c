/* env.c: see env.h. */
#include "agent/env.h"

#include "agent/filter.h"

bool env_in_scope(const struct route_env *env, struct slice source_key)
{
	return filter_pass(env->conf, source_key);
}

void env_saw_source(struct route_env *env, const struct store_origin *o)
{
	env->cp.source_index = KV_MAX(env->cp.source_index, o->index);
}

void env_saw_target(struct route_env *env, const struct store_origin *o)
{
	env->cp.target_index = KV_MAX(env->cp.target_index, o->index);
}

int env_map(const struct route_env *env, struct slice source_key,
	    size_t value_size, struct arena *arena, struct env_key *out)
{
	struct kv_err err = {0};
	int rv =
	    mapping_to_target(env->mapping, source_key, arena, &out->key, &err);

	out->refused = NULL;
	if (rv == KV_NO_MEMORY) {
		return rv;
	}
	if (rv != KV_OK) {
		out->key = slice_of(NULL, 0);
	} else {
		rv = store_check(env->target, out->key, value_size, &err);
	}
	if (rv == KV_OK) {
		return KV_OK;
	}
	out->refused = arena_memdup(arena, err.text, strlen(err.text) + 1);
	return out->refused == NULL ? KV_NO_MEMORY : KV_OK;
}
