/* follow.c: see follow.h. follow_step() starts whatever can be started; it is
 * called after every event. */
#include "agent/follow.h"

#include "agent/filter.h"
#include "store/base/log.h"

/* Sealed batches that may wait before the watch is asked again: the
 * back-pressure. */
#define FOLLOW_SEALED 2

static void follow_step(struct follow *f);

static void tell_memory(struct follow *f)
{
	struct kv_err err = {0};

	(void)kv_fail(&err, KV_NO_MEMORY, "no memory for the source's changes");
	f->trouble(f, &err);
}

/* ---- into batches
 * -------------------------------------------------------------------*/

static struct batch *open_batch(struct follow *f)
{
	if (f->open == NULL) {
		f->open = batch_new(sched_now(f->env->sched));
	}
	return f->open;
}

/* Ends the open batch; what it stands for is the last whole transaction. */
static void seal(struct follow *f)
{
	struct batch *b = f->open;

	if (b == NULL) {
		return;
	}
	b->move = true;
	b->index = f->moved_to;
	if (f->in_unit && !f->unit_torn) {
		f->unit_torn = true;
		f->env->cp.counters.torn++;
		LOG_INFO("a source transaction does not fit into one write",
			 LOG_S("route", f->env->conf->name),
			 LOG_U("after", f->moved_to));
	}
	list_push_back(&f->sealed, &b->link);
	f->n_sealed++;
	f->open = NULL;
}

static struct content content_of_change(const struct store_change *c)
{
	struct content content = content_of(c->value, c->attrs);

	content.unreadable = c->unreadable;
	return content;
}

static bool fill_item(struct follow *f, const struct store_change *c,
		      const struct env_key *mapped)
{
	bool is_delete = c->action == STORE_DELETE;
	bool found;
	struct batch_item *it =
	    batch_change(f->open, mapped->item, c->key, content_of_change(c),
			 is_delete, c->index, &found);

	if (it == NULL) {
		return false;
	}
	/* A name that the target cannot have is not there to be deleted. */
	f->open->idle -= found && it->idle ? 1 : 0;
	it->idle = mapped->refused != NULL;
	f->open->idle += it->idle ? 1 : 0;
	it->source_version = c->version;
	it->step = is_delete && mapped->refused != NULL ? ITEM_DONE : ITEM_LOOK;
	it->refused = is_delete ? NULL : mapped->refused;
	it->may_delete = is_delete;
	it->inferred = c->inferred;
	return true;
}

/* One change into the open batch; false: no memory. */
static bool take_change(struct follow *f, const struct store_change *c)
{
	struct env_key mapped;
	struct content content = content_of_change(c);
	size_t bytes = c->key.n + content_size(content);

	if (c->action == STORE_GET || !filter_pass(f->env->conf, c->key)) {
		return true;
	}
	if (f->open != NULL && f->open->n > 0 &&
	    !batch_fits(f->open, f->env, 1, bytes)) {
		seal(f);
	}
	if (open_batch(f) == NULL ||
	    env_map(f->env->mapping, f->env->target, c->key,
		    c->action == STORE_DELETE ? content_none() : content,
		    &f->open->arena, &mapped) != KV_OK) {
		return false;
	}
	f->in_unit = true;
	return fill_item(f, c, &mapped);
}

/* Does the transaction that begins at `pos` fit behind what is in the open
 * batch? Only what is in this pull is seen of it. */
static bool unit_fits(const struct follow *f, const struct store_batch *b,
		      size_t pos)
{
	size_t bytes = 0;
	size_t n = 0;

	bool whole = false;

	if (f->open == NULL || f->open->n == 0) {
		return true;
	}
	for (size_t i = pos; i < b->n && !whole; i++) {
		bytes += b->changes[i].key.n;
		bytes += content_size(content_of_change(&b->changes[i]));
		n++;
		whole = b->changes[i].tx_end;
	}
	/* One that goes on in the next pull begins a batch of its own. */
	return (whole || !b->partial) && batch_fits(f->open, f->env, n, bytes);
}

/* Takes the pulled changes from pulled_pos on; false: no memory, go on there
 * later. */
static bool take_pulled(struct follow *f)
{
	struct store_batch *b = f->pulled;

	for (; f->pulled_pos < b->n; f->pulled_pos++) {
		const struct store_change *c = &b->changes[f->pulled_pos];

		if (!f->in_unit && !unit_fits(f, b, f->pulled_pos)) {
			seal(f);
		}
		if (!take_change(f, c)) {
			return false;
		}
		if (c->tx_end) {
			f->in_unit = false;
			f->unit_torn = false;
			f->moved_to = KV_MAX(f->moved_to, c->index);
		}
	}
	if (!b->partial) {
		f->in_unit = false;
		f->unit_torn = false;
		f->moved_to = KV_MAX(f->moved_to, b->index);
	}
	return true;
}

/* ---- into the dirty table
 * -------------------------------------------------------------*/

static bool put_change(struct follow *f, const struct store_change *c)
{
	struct state_dirty row = {.source_key = c->key,
				  .value = c->value,
				  .attrs = c->attrs,
				  .index = c->index,
				  .is_delete = c->action == STORE_DELETE,
				  .unreadable = c->unreadable,
				  .inferred = c->inferred};
	struct env_key mapped;
	struct arena arena = {0};
	bool ok;

	if (c->action == STORE_GET || !filter_pass(f->env->conf, c->key)) {
		return true;
	}
	arena_init(&arena);
	ok = env_map(f->env->mapping, f->env->target, c->key, content_none(),
		     &arena, &mapped) == KV_OK;
	if (ok) {
		row.key = mapped.item;
		ok = dirty_put_add(&f->put, &row);
	}
	arena_free(&arena);
	return ok;
}

static bool put_pulled(struct follow *f)
{
	struct store_batch *b = f->pulled;

	for (; f->pulled_pos < b->n; f->pulled_pos++) {
		if (!put_change(f, &b->changes[f->pulled_pos])) {
			return false;
		}
	}
	return true;
}

/* ---- the pull
 * -----------------------------------------------------------------------------*/

static void pulled_done(struct follow *f)
{
	struct store_batch *b = f->pulled;

	f->position = KV_MAX(f->position, b->index);
	f->pulled = NULL;
	store_batch_free(b);
	f->moved(f);
}

/* The fuse for deletes that a re-list inferred; false: held. */
static bool allow_inferred(struct follow *f, const struct store_batch *b)
{
	char reason[KV_ERR_TEXT_MAX];

	if (!b->relisted || b->inferred_deletes == 0 ||
	    f->env->conf->delete_policy == CONF_DELETE_NEVER) {
		return true; /* none will be */
	}
	if (!env_fuse_allows(f->env, b->inferred_deletes, b->known_keys,
			     b->inferred_deletes == b->known_keys, reason,
			     sizeof reason)) {
		f->held(f, reason);
		return false;
	}
	f->env->inferred_pending += b->inferred_deletes;
	return true;
}

/* What comes in while the dirty table is being emptied waits for the batches:
 * nobody would look into the table again. */
static bool is_late(const struct follow *f)
{
	return f->mode == FOLLOW_DRAIN && f->paused && f->pulled != NULL &&
	       f->pulled_pos == 0 && f->put.n == 0 && !f->put.busy;
}

/* Brings what was pulled to where it belongs. */
static void take(struct follow *f)
{
	bool ok;

	if (f->pulled == NULL || f->put.busy || f->put_down || f->take_down ||
	    is_late(f)) {
		return;
	}
	if (f->mode == FOLLOW_DRAIN) {
		ok = put_pulled(f);
		if (ok && f->put.n > 0) {
			dirty_put_send(&f->put);
			return;
		}
	} else {
		ok = take_pulled(f);
	}
	if (!ok) {
		f->take_down = true;
		tell_memory(f);
		return;
	}
	pulled_done(f);
}

static void on_init(struct follow *f, struct store_batch *b)
{
	struct store_origin origin = b->origin;

	f->position = KV_MAX(f->position, b->index);
	f->moved_to = KV_MAX(f->moved_to, b->index);
	store_batch_free(b);
	f->ready(f, &origin);
}

static void close_watch(struct follow *f)
{
	if (f->watch != NULL) {
		store_watch_close(f->watch);
		f->watch = NULL;
	}
}

static void on_next(struct store_next *req)
{
	struct follow *f = req->data;
	struct kv_err err = req->err;

	f->pulling = false;
	if (f->aborting || f->watch == NULL) {
		store_batch_free(req->batch);
		follow_step(f);
		return;
	}
	if (err.status != KV_OK) {
		close_watch(f);
		f->lost(f, &err);
		return;
	}
	env_saw_source(f->env, &req->batch->origin);
	if (req->batch->init) {
		on_init(f, req->batch);
	} else if (!allow_inferred(f, req->batch)) {
		store_batch_free(req->batch);
	} else {
		f->pulled = req->batch;
		f->pulled_pos = 0;
	}
	follow_step(f);
}

static void maybe_pull(struct follow *f)
{
	/* A route that drains still pulls the rest of a transaction. */
	bool paused = f->paused && !(f->mode == FOLLOW_LIVE && f->in_unit);

	if (f->watch == NULL || f->pulling || paused || f->pulled != NULL ||
	    f->put.busy || f->put_down || f->n_sealed >= FOLLOW_SEALED) {
		return;
	}
	memset(&f->next, 0, sizeof f->next);
	f->next.want = f->want > f->position ? f->want : 0;
	f->next.cb = on_next;
	f->next.data = f;
	f->pulling = true;
	if (store_watch_next(f->watch, &f->next) != KV_OK) {
		struct kv_err err = f->next.err;

		f->pulling = false;
		close_watch(f);
		f->lost(f, &err);
	}
}

/* ---- the lane
 * -----------------------------------------------------------------------------------*/

static struct apply *idle_lane(struct follow *f)
{
	for (size_t i = 0; i < KV_COUNT(f->lane); i++) {
		if (apply_is_idle(&f->lane[i])) {
			return &f->lane[i];
		}
	}
	return NULL;
}

/* Is there anything in the open batch worth a batch of its own now? */
static bool open_is_due(const struct follow *f)
{
	uint64_t moved;

	if (f->in_unit) {
		return false; /* the rest of the transaction is on its way */
	}
	if (f->open != NULL && f->open->n > 0) {
		return true;
	}
	/* What the park holds back moves with it, or behind it. */
	moved = f->env->cp.index;
	if (!apply_is_idle(&f->park)) {
		moved = KV_MAX(moved, f->env->reached);
	}
	return f->mode == FOLLOW_LIVE && f->moved_to > moved &&
	       list_empty(&f->sealed);
}

/* The first sealed batch, when none of its keys is being settled; else NULL. */
static struct batch *next_batch(struct follow *f)
{
	struct kv_err err = {0};
	struct batch *b;

	if (list_empty(&f->sealed)) {
		return NULL;
	}
	b = kv_container_of(f->sealed.next, struct batch, link);
	if (!apply_unpark(&f->park, b, &err)) {
		if (err.status != KV_OK) {
			f->trouble(f, &err);
		}
		return NULL;
	}
	list_remove(&b->link);
	f->n_sealed--;
	return b;
}

static void maybe_write(struct follow *f)
{
	struct apply *a;
	struct batch *b;

	if (f->mode != FOLLOW_LIVE || f->writing != NULL || f->aborting) {
		return;
	}
	a = idle_lane(f);
	if (a == NULL) {
		return;
	}
	if (list_empty(&f->sealed) && open_is_due(f) && open_batch(f) != NULL) {
		seal(f);
	}
	b = next_batch(f);
	if (b != NULL) {
		f->writing = a;
		a->before = a == &f->lane[0] ? &f->lane[1] : &f->lane[0];
		apply_start(a, b);
	}
}

static void on_written(struct apply *a)
{
	struct follow *f = a->ctx;

	PRE(f->writing == a);
	if (!a->held) {
		f->writing = NULL;
	}
	sched_post(f->env->sched, &f->task);
}

static void on_saved(struct apply *a)
{
	struct follow *f = a->ctx;

	if (f->aborting) {
		follow_step(f);
		return;
	}
	if (a->held) {
		f->writing = NULL;
		f->held(f, a->held_reason);
		return;
	}
	f->moved(f);
	follow_step(f);
	if (f->aborting) {
		return;
	}
	/* Who may have waited for this save. */
	if (f->writing != NULL) {
		apply_wake(f->writing);
	}
	apply_wake(&f->park);
}

static void on_trouble(struct apply *a, const struct kv_err *err)
{
	struct follow *f = a->ctx;

	f->trouble(f, err);
}

static void on_aborted(struct apply *a)
{
	struct follow *f = a->ctx;

	if (f->writing == a) {
		f->writing = NULL;
	}
	follow_step(f);
}

static const struct apply_events apply_events = {.written = on_written,
						 .saved = on_saved,
						 .trouble = on_trouble,
						 .aborted = on_aborted};

static void on_park_written(struct apply *a)
{
	(void)a;
}

static void on_park_rested(struct apply *a)
{
	struct follow *f = a->ctx;

	sched_post(f->env->sched, &f->task);
}

static const struct apply_events park_events = {.written = on_park_written,
						.saved = on_saved,
						.trouble = on_trouble,
						.aborted = on_aborted,
						.rested = on_park_rested};

static void on_put(struct dirty_put *put)
{
	struct follow *f = put->ctx;

	if (f->aborting) {
		follow_step(f);
		return;
	}
	if (put->err.status != KV_OK) {
		f->put_down = true;
		f->trouble(f, &put->err);
		return;
	}
	pulled_done(f);
	follow_step(f);
}

/* ---- steps
 * -------------------------------------------------------------------------------------------*/

static bool lanes_idle(const struct follow *f)
{
	return apply_is_idle(&f->lane[0]) && apply_is_idle(&f->lane[1]) &&
	       apply_is_idle(&f->park);
}

static void drop_batches(struct follow *f)
{
	struct list *elem;

	while ((elem = list_pop_front(&f->sealed)) != NULL) {
		batch_free(kv_container_of(elem, struct batch, link));
	}
	f->n_sealed = 0;
	batch_free(f->open);
	f->open = NULL;
	store_batch_free(f->pulled);
	f->pulled = NULL;
	f->in_unit = false;
	f->unit_torn = false;
}

static void maybe_end_abort(struct follow *f)
{
	if (!lanes_idle(f) || f->put.busy || f->pulling) {
		return;
	}
	drop_batches(f);
	dirty_put_clear(&f->put);
	f->aborting = false;
	f->mode = FOLLOW_OFF;
	f->put_down = false;
	f->take_down = false;
	f->aborted(f);
}

static void follow_step(struct follow *f)
{
	if (f->aborting) {
		maybe_end_abort(f);
		return;
	}
	take(f);
	maybe_write(f);
	maybe_pull(f);
}

static void task_run(struct sched_task *task)
{
	follow_step(kv_container_of(task, struct follow, task));
}

/* ---- the interface
 * ---------------------------------------------------------------------------------------*/

void follow_init(struct follow *f, struct route_env *env, void *ctx)
{
	memset(f, 0, sizeof *f);
	f->env = env;
	f->ctx = ctx;
	f->task.run = task_run;
	list_init(&f->sealed);
	dirty_put_init(&f->put, env, on_put, f);
	apply_init(&f->park, env, &park_events, f);
	f->park.park = &f->park;
	for (size_t i = 0; i < KV_COUNT(f->lane); i++) {
		apply_init(&f->lane[i], env, &apply_events, f);
		f->lane[i].park = &f->park;
		f->park.beside[i] = &f->lane[i];
	}
}

void follow_clear(struct follow *f)
{
	PRE(f->watch == NULL && !f->pulling && lanes_idle(f));
	drop_batches(f);
	sched_unpost(&f->task);
	dirty_put_clear(&f->put);
	apply_clear(&f->park);
	for (size_t i = 0; i < KV_COUNT(f->lane); i++) {
		apply_clear(&f->lane[i]);
	}
}

int follow_open(struct follow *f, enum follow_mode mode, uint64_t after,
		struct store_known *known)
{
	struct store_watch_params p = {.after = after, .known = known};

	PRE(f->watch == NULL && !f->pulling && mode != FOLLOW_OFF);
	/* Even when this fails: the next try begins there. */
	f->position = after;
	f->watch = store_watch_open(f->env->source, &p);
	if (f->watch == NULL) {
		return KV_NO_MEMORY;
	}
	if (is_late(f)) {
		store_batch_free(f->pulled); /* it is told again */
		f->pulled = NULL;
	}
	f->mode = mode;
	f->paused = false;
	/* A transaction that was cut by the loss is told again as a whole: the
	 * part that is here waits for it. */
	f->moved_to = after;
	sched_post(f->env->sched, &f->task);
	return KV_OK;
}

void follow_lose(struct follow *f)
{
	close_watch(f);
}

bool follow_is_open(const struct follow *f)
{
	return f->watch != NULL;
}

void follow_want(struct follow *f, uint64_t index)
{
	f->want = index;
	sched_post(f->env->sched, &f->task);
}

void follow_pause(struct follow *f)
{
	f->paused = true;
}

void follow_flush(struct follow *f)
{
	f->in_unit = false;
	sched_post(f->env->sched, &f->task);
}

void follow_live(struct follow *f)
{
	PRE(f->mode == FOLLOW_DRAIN);
	f->mode = FOLLOW_LIVE;
	f->paused = false;
	f->moved_to = KV_MAX(f->moved_to, f->position);
	sched_post(f->env->sched, &f->task);
}

/* Nothing waits for a lane. */
static bool is_handed_on(const struct follow *f)
{
	return list_empty(&f->sealed) && (f->pulled == NULL || is_late(f)) &&
	       !f->put.busy && (f->open == NULL || f->open->n == 0);
}

bool follow_is_idle(const struct follow *f)
{
	return lanes_idle(f) && is_handed_on(f);
}

bool follow_rests(const struct follow *f)
{
	return apply_is_idle(&f->lane[0]) && apply_is_idle(&f->lane[1]) &&
	       apply_rests(&f->park) && is_handed_on(f);
}

void follow_retry(struct follow *f)
{
	f->take_down = false;
	if (f->put_down) {
		f->put_down = false;
		if (f->put.n > 0) {
			dirty_put_send(&f->put);
		}
	}
	apply_retry(&f->park);
	for (size_t i = 0; i < KV_COUNT(f->lane); i++) {
		apply_retry(&f->lane[i]);
	}
	sched_post(f->env->sched, &f->task);
}

void follow_abort(struct follow *f)
{
	PRE(!f->aborting);
	f->aborting = true;
	close_watch(f);
	if (!apply_is_idle(&f->park)) {
		apply_abort(&f->park);
	}
	for (size_t i = 0; i < KV_COUNT(f->lane); i++) {
		if (!apply_is_idle(&f->lane[i])) {
			apply_abort(&f->lane[i]);
		}
	}
	sched_post(f->env->sched, &f->task);
}

uint64_t follow_oldest_ms(const struct follow *f)
{
	uint64_t oldest = 0;

	if (f->writing != NULL && f->writing->batch != NULL &&
	    f->writing->batch->n > 0) {
		oldest = f->writing->batch->born_ms;
	} else if (f->n_sealed > 0) {
		const struct list *first = f->sealed.next;

		oldest = kv_container_of(first, struct batch, link)->born_ms;
	} else if (f->open != NULL && f->open->n > 0) {
		oldest = f->open->born_ms;
	}
	if (f->park.batch != NULL) {
		oldest = oldest == 0 ? f->park.batch->born_ms
				     : KV_MIN(oldest, f->park.batch->born_ms);
	}
	return oldest;
}
