/* twin.c: see twin.h. Batches that are in flight depend on such only: one is
 * cleared when the batch before it was. So no two routes wait for each other.
 */
#include "agent/twin.h"

#include "agent/apply_int.h"

static void wake(struct list *held_back)
{
	struct list *l;

	while ((l = list_pop_front(held_back)) != NULL) {
		struct apply *a = kv_container_of(l, struct apply, flight);

		list_init(&a->flight);
		apply_step_later(a);
	}
}

void twin_link(struct route_env *a, struct route_env *b, bool prefer_a)
{
	struct route_env *both[2] = {a, b};

	PRE(a != b && a->twin == NULL && b->twin == NULL);
	for (size_t i = 0; i < KV_COUNT(both); i++) {
		both[i]->twin = both[1 - i];
		both[i]->pair = true;
	}
	a->prefer_source = prefer_a;
	b->prefer_source = !prefer_a;
}

void twin_unlink(struct route_env *env)
{
	struct route_env *other = env->twin;

	if (other == NULL) {
		return;
	}
	env->twin_route = other->route;
	other->twin_route = env->route;
	env->twin = NULL;
	other->twin = NULL;
	wake(&env->held_back);
	wake(&other->held_back);
}

void twin_loads(struct route_env *env)
{
	env->recovered = false;
	env->pair = env->twin != NULL;
}

void twin_is_loaded(struct route_env *env)
{
	if (env->twin != NULL) {
		wake(&env->twin->held_back);
	}
}

void twin_is_recovered(struct route_env *env)
{
	env->recovered = true;
	twin_is_loaded(env);
}

/* ---- in flight -----------------------------------------------------------*/

/* The twin's keys at its target are ours at the source. */
static bool shares_key(const struct batch *mine, const struct batch *other)
{
	for (size_t i = 0; i < mine->n; i++) {
		struct slice key = mine->items[i].source_key;
		const struct batch_item *it;

		if (key.n == 0) {
			continue;
		}
		it = batch_find(other, key);
		if (it != NULL && !it->blank) {
			return true;
		}
	}
	return false;
}

static bool must_wait(const struct apply *a)
{
	const struct route_env *twin = a->env->twin;

	if (a->exempt) {
		return twin->route == 0; /* no rows for it yet */
	}
	if (!twin->recovered ||
	    (a->before != NULL && !apply_is_idle(a->before) &&
	     !a->before->cleared)) {
		return true;
	}
	for (const struct list *l = twin->in_flight.next; l != &twin->in_flight;
	     l = l->next) {
		const struct apply *other =
		    kv_container_of(l, struct apply, flight);

		if (other->batch != NULL &&
		    shares_key(a->batch, other->batch)) {
			return true;
		}
	}
	return false;
}

bool twin_clears(struct apply *a)
{
	struct route_env *env = a->env;

	if (env->twin == NULL || a->cleared) {
		return true;
	}
	list_remove(&a->flight);
	if (must_wait(a)) {
		list_push_back(&env->held_back, &a->flight);
		return false;
	}
	a->cleared = true;
	list_push_back(&env->in_flight, &a->flight);
	wake(&env->held_back); /* the batch behind it */
	return true;
}

void twin_landed(struct apply *a)
{
	list_remove(&a->flight);
	a->cleared = false;
	if (a->env->twin != NULL) {
		wake(&a->env->twin->held_back);
	}
}

/* ---- rows ----------------------------------------------------------------*/

int64_t twin_route(const struct route_env *env)
{
	if (!env->pair) {
		return 0;
	}
	return env->twin != NULL ? env->twin->route : env->twin_route;
}

bool twin_row(const struct route_env *env, const struct batch_item *it,
	      struct state_row *out)
{
	if (!env->pair || it->source_key.n == 0) {
		return false;
	}
	*out = it->row;
	out->key = it->source_key;
	out->source_index = it->target_index;
	out->version_a = it->source_version.a;
	out->version_b = it->source_version.b;
	if (it->row.kind == STATE_ROW_OWNED) {
		return it->target_index > 0;
	}
	if (it->row.kind == STATE_ROW_GONE && env->twin != NULL &&
	    it->target_index <= env->twin->cp.index) {
		out->kind = STATE_ROW_NONE; /* its echo has come already */
		return true;
	}
	return it->row.kind == STATE_ROW_GONE;
}
