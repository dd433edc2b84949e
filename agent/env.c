/* env.c: see env.h. */
#include "agent/env.h"

#include "agent/fuse.h"
#include "agent/identity.h"
#include "store/base/log.h"

#define TOLD_MAX 256
/* Splits are logged so often at most. */
#define SPLIT_TOLD_MS 10000

void env_saw_source(struct route_env *env, const struct store_origin *o)
{
	if (o->epoch == env->source_epoch) {
		(void)identity_learn(env->source_identity, o->identity);
		(void)identity_learn(env->cp.source_identity, o->identity);
	}
	env->cp.source_index = KV_MAX(env->cp.source_index, o->index);
}

void env_saw_target(struct route_env *env, const struct store_origin *o)
{
	if (o->epoch == env->target_epoch) {
		(void)identity_learn(env->target_identity, o->identity);
		(void)identity_learn(env->cp.target_identity, o->identity);
	}
	env->cp.target_index = KV_MAX(env->cp.target_index, o->index);
}

bool env_fuse_allows(struct route_env *env, uint64_t deletes, uint64_t ledger,
		     bool source_empty, char *reason, size_t cap)
{
	struct fuse_in in = {.rule = env->conf->max_delete,
			     .deletes = deletes,
			     .ledger = ledger,
			     .source_empty = source_empty};

	in.recent = fuse_recent(&env->cp, sched_wall(env->sched)) +
		    env->inferred_pending;
	return fuse_allows(&in, reason, cap);
}

void env_count_inferred(struct route_env *env)
{
	fuse_count(&env->cp, sched_wall(env->sched));
	env->inferred_pending -= env->inferred_pending > 0 ? 1 : 0;
}

void env_count_split(struct route_env *env, const char *why)
{
	uint64_t now = sched_now(env->sched);

	env->cp.counters.splits++;
	env->splits_untold++;
	if (env->split_told_ms != 0 &&
	    now - env->split_told_ms < SPLIT_TOLD_MS) {
		return;
	}
	LOG_INFO("a batch was split", LOG_S("route", env->conf->name),
		 LOG_S("why", why), LOG_U("splits", env->splits_untold));
	env->split_told_ms = now;
	env->splits_untold = 0;
}

int env_map(enum mapping_mode mapping, const struct store *target,
	    struct slice source_key, struct content content,
	    struct arena *arena, struct env_key *out)
{
	struct kv_err err = {0};
	int rv = mapping_to_target(mapping, source_key, arena, &out->key, &err);

	out->refused = NULL;
	if (rv == KV_NO_MEMORY) {
		return rv;
	}
	out->item = out->key;
	if (rv != KV_OK) {
		out->key = slice_of(NULL, 0);
		out->item = mapping_nameless(arena, source_key);
		if (out->item.p == NULL) {
			return KV_NO_MEMORY;
		}
	} else if (content.unreadable) {
		rv = kv_fail(&err, KV_DENIED,
			     "the source does not let it be read, nor what may "
			     "be below it");
	} else {
		rv = store_check_attrs(target, out->key, content.value.n,
				       content.attrs.n, &err);
	}
	if (rv == KV_OK) {
		return KV_OK;
	}
	out->refused = arena_memdup(arena, err.text, strlen(err.text) + 1);
	return out->refused == NULL ? KV_NO_MEMORY : KV_OK;
}

/* Notes it; false: it is among the last TOLD_MAX. Without memory all is new. */
static bool told_anew(struct env_told *told, struct kv_hash what)
{
	if (told->what == NULL) {
		told->what = kv_malloc(TOLD_MAX * sizeof *told->what);
	}
	if (told->what == NULL) {
		return true;
	}
	for (size_t i = 0; i < KV_MIN(told->n, TOLD_MAX); i++) {
		if (kv_hash_eq(&told->what[i], &what)) {
			return false;
		}
	}
	told->what[told->n++ % TOLD_MAX] = what;
	return true;
}

bool env_held_anew(struct route_env *env, struct slice key,
		   const struct kv_hash *source, const struct kv_hash *target)
{
	struct kv_hash parts[3] = {kv_hash(key), *source, *target};

	return told_anew(&env->held_on, kv_hash(slice_of(parts, sizeof parts)));
}

bool env_refused_anew(struct route_env *env, struct slice key,
		      const char *reason)
{
	struct kv_hash parts[2] = {kv_hash(key), kv_hash(slice_str(reason))};

	return told_anew(&env->refused, kv_hash(slice_of(parts, sizeof parts)));
}

void env_clear(struct route_env *env)
{
	kv_free(env->held_on.what);
	kv_free(env->refused.what);
	kv_free(env->ghosts);
	kv_free(env->late);
}

/* Forgets those that are dead by now. */
static void drop_dead_ghosts(struct route_env *env, uint64_t now)
{
	size_t n = 0;

	for (size_t i = 0; i < env->n_ghosts; i++) {
		if (env->ghosts[i].until_ms > now) {
			env->ghosts[n++] = env->ghosts[i];
		}
	}
	env->n_ghosts = n;
}

bool env_ghost_add(struct route_env *env, struct slice key, uint64_t until_ms)
{
	void *ghosts = env->ghosts;

	drop_dead_ghosts(env, sched_now(env->sched));
	if (!kv_grow(&ghosts, &env->cap_ghosts, env->n_ghosts + 1,
		     sizeof *env->ghosts)) {
		return false;
	}
	env->ghosts = ghosts;
	env->ghosts[env->n_ghosts].key = kv_hash(key);
	env->ghosts[env->n_ghosts++].until_ms = until_ms;
	return true;
}

uint64_t env_ghost_until(struct route_env *env, struct slice key)
{
	uint64_t until = env->no_delete_until;
	struct kv_hash hash;

	if (env->n_ghosts == 0) {
		return until;
	}
	drop_dead_ghosts(env, sched_now(env->sched));
	hash = kv_hash(key);
	for (size_t i = 0; i < env->n_ghosts; i++) {
		if (kv_hash_eq(&env->ghosts[i].key, &hash)) {
			until = KV_MAX(until, env->ghosts[i].until_ms);
		}
	}
	return until;
}

bool env_late_add(struct route_env *env, int64_t id, uint64_t until_ms)
{
	void *late = env->late;

	if (!kv_grow(&late, &env->cap_late, env->n_late + 1,
		     sizeof *env->late)) {
		return false;
	}
	env->late = late;
	env->late[env->n_late].id = id;
	env->late[env->n_late++].until_ms = until_ms;
	return true;
}

size_t env_late_due(const struct route_env *env, int64_t *ids, size_t most)
{
	uint64_t now = sched_now(env->sched);
	size_t n = 0;

	for (size_t i = 0; i < env->n_late && n < most; i++) {
		if (env->late[i].until_ms <= now) {
			ids[n++] = env->late[i].id;
		}
	}
	return n;
}

void env_late_drop(struct route_env *env, const int64_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < env->n_late; j++) {
			if (env->late[j].id == ids[i]) {
				env->late[j] = env->late[--env->n_late];
				break;
			}
		}
	}
}
