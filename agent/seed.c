/* seed.c: see seed.h. The merge is paused while the window is full; batches of
 * distinct keys may be in flight together, in any order. */
#include "agent/seed.h"

#include <stdio.h>

/* Rows without a write that are saved at once, deletes that are spilled at
 * once, batches that may wait for a place in the window. */
#define SEED_ROWS 2000
#define SEED_DELETES 1000
#define SEED_SEALED 2
/* A window of such batches is what a seed takes most of its memory for. */
#define SEED_BYTES (1024U * 1024)

static void seed_step(struct seed *s);

static void step_later(struct seed *s)
{
	sched_post(s->env->sched, &s->task);
}

static void no_memory(struct seed *s)
{
	struct kv_err err = {0};

	(void)kv_fail(&err, KV_NO_MEMORY, "no memory to compare the stores");
	s->trouble(s, &err);
}

/* ---- one key
 * -----------------------------------------------------------------------*/

static struct reconcile_side side_of(const struct store_pair *pair,
				     uint64_t absent_at)
{
	struct reconcile_side side = {.present = pair != NULL,
				      .index = absent_at};

	if (pair != NULL) {
		side.index = pair->index;
		side.version = pair->version;
		side.hash = content_hash(content_of_pair(pair));
	}
	return side;
}

static void fill_in(const struct seed *s, const struct merge_item *item,
		    struct reconcile_in *in)
{
	const struct route_env *env = s->env;

	memset(in, 0, sizeof *in);
	in->source = side_of(item->source, item->source_at);
	in->target = side_of(item->target, 0);
	in->uncarried = item->source != NULL && item->refused != NULL;
	in->row = item->row;
	in->pair = env->pair;
	in->prefer_source = env->prefer_source;
	in->replaced = env->replaced;
	in->new_source = env->new_source;
	in->new_target = env->new_target;
	in->attrs = store_carries_attrs(env->target);
	in->conflict = env->conf->conflict;
	in->delete_policy = env->conf->delete_policy;
	in->drift = env->conf->drift;
}

/* The open batch, made anew when there is none. */
static struct batch *open_batch(struct seed *s, struct batch **slot)
{
	if (*slot == NULL) {
		*slot = batch_new(sched_now(s->env->sched));
	}
	return *slot;
}

static void seal(struct seed *s, struct batch **slot)
{
	if (*slot != NULL && (*slot)->n > 0) {
		list_push_back(&s->sealed, &(*slot)->link);
		*slot = NULL;
	}
}

/* A new item for the key, in the batch of writes or of rows. */
static struct batch_item *new_item(struct seed *s, const struct merge_item *mi,
				   bool write)
{
	struct batch **slot = write ? &s->writes : &s->rows;
	struct batch *b = open_batch(s, slot);
	struct batch_item *it;
	bool found;

	if (b == NULL) {
		return NULL;
	}
	it = batch_item(b, mi->item_key, mi->source_key, &found);
	if (it != NULL && mi->row != NULL) {
		it->row = *mi->row;
		it->row.key = it->key;
	}
	if (it != NULL) {
		it->verify = s->env->twin != NULL;
		it->basis = it->row;
	}
	return it;
}

static void note_conflict(struct batch_item *it, const struct reconcile_in *in,
			  const struct reconcile_out *out)
{
	it->conflict = out->conflict;
	it->repair = out->repair;
	it->decision = out->decision;
	it->conflict_source = in->source;
	it->conflict_target = in->target;
}

static bool add_write(struct seed *s, const struct merge_item *mi,
		      const struct reconcile_in *in,
		      const struct reconcile_out *out)
{
	bool is_delete = out->verdict == RECONCILE_DELETE;
	struct content content = content_none();
	struct batch_item *it;
	size_t size;

	if (!is_delete) {
		content = content_of_pair(mi->source);
	}
	size = mi->key.n + content_size(content);
	if (s->writes != NULL && (s->writes->bytes + size > SEED_BYTES ||
				  !batch_fits(s->writes, s->env, 1, size))) {
		seal(s, &s->writes);
	}
	it = new_item(s, mi, true);
	if (it == NULL ||
	    !batch_set(s->writes, it, content, is_delete, in->source.index)) {
		return false;
	}
	it->source_version = in->source.version;
	it->step = ITEM_WRITE;
	it->guard = out->guard;
	it->expect = out->expect;
	it->may_delete = is_delete;
	note_conflict(it, in, out);
	return true;
}

static bool copy_reason(struct batch *b, struct batch_item *it,
			const char *reason)
{
	it->refused = arena_memdup(&b->arena, reason, strlen(reason) + 1);
	it->quarantine = true;
	return it->refused != NULL;
}

/* Saves a row, a conflict, a list entry; writes nothing to the target. */
static bool add_row(struct seed *s, const struct merge_item *mi,
		    const struct reconcile_in *in,
		    const struct reconcile_out *out)
{
	struct batch_item *it = new_item(s, mi, false);

	if (it == NULL) {
		return false;
	}
	it->step = ITEM_DONE;
	it->source_index = in->source.index;
	it->source_version = in->source.version;
	it->target_index = in->target.index;
	it->foreign = out->verdict == RECONCILE_FOREIGN;
	note_conflict(it, in, out);
	if (out->verdict != RECONCILE_HOLD &&
	    (mi->row != NULL || out->row_kind != STATE_ROW_NONE)) {
		it->has_row = true;
		it->row.key = it->key;
		it->row.kind = out->row_kind;
		it->row.source_index = in->source.index;
		it->row.version_a = in->target.version.a;
		it->row.version_b = in->target.version.b;
		it->row.hash = in->target.hash;
	}
	if (out->verdict == RECONCILE_QUARANTINE &&
	    !copy_reason(s->rows, it, mi->refused)) {
		return false;
	}
	if (s->rows->n >= SEED_ROWS) {
		seal(s, &s->rows);
	}
	return true;
}

/* A key of ours that goes because it is absent; else a foreign one, which
 * --delete all asks for. */
static bool count_delete(struct seed *s, const struct merge_item *mi)
{
	bool ours = mi->row != NULL && (mi->row->kind == STATE_ROW_OWNED ||
					mi->row->kind == STATE_ROW_STALE);

	s->deletes += ours ? 1 : 0;
	s->foreign_deletes += ours ? 0 : 1;
	return ours;
}

/* The row of a key that is to be deleted must not keep an index of another
 * history until then. */
static bool unstamp(struct seed *s, const struct merge_item *mi)
{
	struct batch_item *it = new_item(s, mi, false);

	if (it == NULL) {
		return false;
	}
	it->step = ITEM_DONE;
	it->has_row = true;
	it->row.source_index = 0;
	if (s->rows->n >= SEED_ROWS) {
		seal(s, &s->rows);
	}
	return true;
}

static bool add_delete(struct seed *s, const struct merge_item *mi,
		       const struct reconcile_in *in)
{
	struct state_dirty row = {.key = mi->key,
				  .source_key = mi->source_key,
				  .index = in->source.index,
				  .is_delete = true};

	row.inferred = count_delete(s, mi);
	return dirty_put_add(&s->put, &row) &&
	       (!s->env->new_source || mi->row == NULL || unstamp(s, mi));
}

static bool hold(struct seed *s, const struct merge_item *mi,
		 const struct reconcile_in *in, const struct reconcile_out *out)
{
	struct reconcile_out anew;
	char key[SLICE_PRINT_MAX];

	s->held = true;
	(void)snprintf(s->held_reason, sizeof s->held_reason,
		       "conflict at key %s: source and target differ and the "
		       "target's value is not ours (conflict: stop); make both "
		       "sides equal, or choose another policy",
		       slice_print(mi->key, key, sizeof key));
	anew = *out;
	anew.conflict =
	    env_held_anew(s->env, mi->key, &in->source.hash, &in->target.hash);
	return add_row(s, mi, in, &anew);
}

/* The filter no longer carries a key of the ledger. */
static bool release(struct seed *s, const struct merge_item *mi)
{
	struct batch_item *it = new_item(s, mi, false);

	if (it == NULL) {
		return false;
	}
	it->step = ITEM_DONE;
	it->has_row = true;
	it->row.kind = STATE_ROW_NONE;
	s->env->cp.counters.released++;
	return true;
}

/* A yielded key's row must not speak of another history's indexes. */
static bool needs_stamp(const struct seed *s, const struct merge_item *mi)
{
	return mi->row != NULL && mi->row->kind == STATE_ROW_YIELDED &&
	       s->env->new_source;
}

static bool effect(struct seed *s, const struct merge_item *mi,
		   const struct reconcile_in *in,
		   const struct reconcile_out *out)
{
	switch (out->verdict) {
	case RECONCILE_NOTHING:
		return !needs_stamp(s, mi) || add_row(s, mi, in, out);
	case RECONCILE_PUT:
		return add_write(s, mi, in, out);
	case RECONCILE_DELETE:
		if (mi->source_key.n == 0) {
			/* No source key maps there: none can come. */
			s->foreign_deletes++;
			return add_write(s, mi, in, out);
		}
		return add_delete(s, mi, in);
	case RECONCILE_HOLD:
		return hold(s, mi, in, out);
	case RECONCILE_ADOPT:
		if (mi->row == NULL || mi->row->kind == STATE_ROW_YIELDED ||
		    mi->row->kind == STATE_ROW_GONE) {
			s->env->cp.counters.adopted++;
		}
		return add_row(s, mi, in, out);
	case RECONCILE_FORGET:
	case RECONCILE_YIELD:
	case RECONCILE_KEEP:
	case RECONCILE_FOREIGN:
	case RECONCILE_QUARANTINE:
	default:
		return add_row(s, mi, in, out);
	}
}

static size_t n_sealed(struct seed *s)
{
	size_t n = 0;

	for (struct list *l = s->sealed.next; l != &s->sealed; l = l->next) {
		n++;
	}
	return n;
}

static bool has_room(struct seed *s)
{
	return n_sealed(s) < SEED_SEALED && s->put.n < SEED_DELETES;
}

static void tell_decision(struct seed *s, const struct merge_item *item,
			  const struct reconcile_out *out)
{
	struct seed_decision d = {.item = item, .out = out};

	if (out->verdict == RECONCILE_DELETE) {
		count_delete(s, item);
	}
	if (out->verdict != RECONCILE_NOTHING) {
		s->differences++;
		s->decision(s, &d);
	}
}

static bool on_item(void *ctx, const struct merge_item *item)
{
	struct seed *s = ctx;
	struct reconcile_in in;
	struct reconcile_out out;
	bool ok;

	s->scanned++;
	if (item->unknown && !item->outside) {
		return true; /* nothing may be concluded */
	}
	fill_in(s, item, &in);
	if (item->outside) {
		ok = s->dry || release(s, item);
	} else {
		out = reconcile(&in);
		if (s->dry) {
			tell_decision(s, item, &out);
			return true;
		}
		ok = effect(s, item, &in, &out);
	}
	if (!ok) {
		/* The pass is given up: a part of this key may be noted. */
		s->merge_down = true;
		s->paused = true;
		step_later(s);
		return false;
	}
	if (!s->held && has_room(s)) {
		return true;
	}
	s->paused = true;
	step_later(s);
	return false;
}

/* ---- the window
 * -------------------------------------------------------------------------*/

static struct apply *idle_slot(struct seed *s)
{
	for (uint32_t i = 0; i < s->n_window; i++) {
		if (apply_is_idle(&s->window[i])) {
			return &s->window[i];
		}
	}
	return NULL;
}

static bool window_idle(const struct seed *s)
{
	for (uint32_t i = 0; i < s->n_window; i++) {
		if (!apply_is_idle(&s->window[i])) {
			return false;
		}
	}
	return true;
}

static void maybe_start_batches(struct seed *s)
{
	struct apply *a;
	struct list *elem;

	while (!list_empty(&s->sealed) && (a = idle_slot(s)) != NULL) {
		elem = list_pop_front(&s->sealed);
		apply_start(a, kv_container_of(elem, struct batch, link));
	}
}

static void maybe_put(struct seed *s)
{
	if (!s->put.busy && !s->put_down &&
	    (s->put.n >= SEED_DELETES || (s->merged && s->put.n > 0))) {
		dirty_put_send(&s->put);
	}
}

static void drop_batches(struct seed *s)
{
	struct list *elem;

	while ((elem = list_pop_front(&s->sealed)) != NULL) {
		batch_free(kv_container_of(elem, struct batch, link));
	}
	batch_free(s->writes);
	batch_free(s->rows);
	s->writes = NULL;
	s->rows = NULL;
}

static void finish_abort(struct seed *s)
{
	drop_batches(s);
	s->aborting = false;
	s->running = false;
	s->aborted(s);
}

static void on_merge_closed(void *ctx)
{
	struct seed *s = ctx;

	s->merge = NULL;
	s->merge_closing = false;
	seed_step(s);
}

static void close_merge(struct seed *s)
{
	if (s->merge != NULL && !s->merge_closing) {
		s->source_low = merge_source_low(s->merge);
		s->source_is_one = merge_source_is_one(s->merge);
		s->source_end = merge_source_end(s->merge);
		s->source_count = merge_source_count(s->merge);
		s->merge_closing = true;
		merge_close(s->merge, on_merge_closed, s);
	}
}

static void step_aborting(struct seed *s)
{
	close_merge(s);
	if (s->merge == NULL && window_idle(s) && !s->put.busy) {
		finish_abort(s);
	}
}

/* A conflict under `stop`: no further keys; what is sealed goes its way. */
static void step_held(struct seed *s)
{
	if (!s->merged) {
		s->merged = true;
		batch_free(s->writes);
		s->writes = NULL;
	}
}

static void maybe_resume(struct seed *s)
{
	if (s->paused && !s->merged && !s->merge_down && !s->put.busy &&
	    has_room(s)) {
		s->paused = false;
		merge_resume(s->merge);
	}
}

static void maybe_finish(struct seed *s)
{
	if (!s->merged || s->put.busy || s->put.n > 0 ||
	    !list_empty(&s->sealed) || !window_idle(s)) {
		return;
	}
	close_merge(s);
	if (s->merge == NULL) {
		s->running = false;
		s->end(s);
	}
}

static void seed_step(struct seed *s)
{
	if (!s->running) {
		return;
	}
	if (s->aborting) {
		step_aborting(s);
		return;
	}
	if (s->merge_down && s->paused) {
		s->paused = false;
		s->broken = true;
		no_memory(s);
		return;
	}
	if (s->held) {
		step_held(s);
	}
	if (s->merged) {
		seal(s, &s->writes);
		seal(s, &s->rows);
	}
	maybe_start_batches(s);
	maybe_put(s);
	maybe_resume(s);
	maybe_finish(s);
}

static void task_run(struct sched_task *task)
{
	seed_step(kv_container_of(task, struct seed, task));
}

/* ---- what comes from below
 * ------------------------------------------------------------------*/

static void on_merge_end(void *ctx, const struct kv_err *err)
{
	struct seed *s = ctx;

	if (s->aborting || s->held) {
		seed_step(s);
		return;
	}
	if (err->status != KV_OK) {
		s->merge_down = true;
		s->trouble(s, err);
		return;
	}
	s->merged = true;
	seed_step(s);
}

static void on_written(struct apply *a)
{
	(void)a;
}

static void on_saved(struct apply *a)
{
	struct seed *s = a->ctx;

	if (a->held && !s->held) {
		s->held = true;
		(void)snprintf(s->held_reason, sizeof s->held_reason, "%s",
			       a->held_reason);
	}
	s->moved(s);
	step_later(s);
}

static void on_trouble(struct apply *a, const struct kv_err *err)
{
	struct seed *s = a->ctx;

	s->trouble(s, err);
}

static void on_aborted(struct apply *a)
{
	step_later(a->ctx);
}

static const struct apply_events apply_events = {.written = on_written,
						 .saved = on_saved,
						 .trouble = on_trouble,
						 .aborted = on_aborted};

static void on_put(struct dirty_put *put)
{
	struct seed *s = put->ctx;

	if (put->err.status != KV_OK && !s->aborting) {
		s->put_down = true;
		s->trouble(s, &put->err);
		return;
	}
	seed_step(s);
}

void seed_init(struct seed *s, struct route_env *env, uint32_t window,
	       void *ctx)
{
	memset(s, 0, sizeof *s);
	s->env = env;
	s->ctx = ctx;
	s->n_window = KV_MAX(1, KV_MIN(window, SEED_WINDOW_MAX));
	s->task.run = task_run;
	list_init(&s->sealed);
	dirty_put_init(&s->put, env, on_put, s);
	for (uint32_t i = 0; i < s->n_window; i++) {
		apply_init(&s->window[i], env, &apply_events, s);
	}
}

void seed_clear(struct seed *s)
{
	PRE(!s->running);
	PRE(s->merge == NULL);
	drop_batches(s);
	sched_unpost(&s->task);
	dirty_put_clear(&s->put);
	for (uint32_t i = 0; i < s->n_window; i++) {
		apply_clear(&s->window[i]);
	}
}

int seed_start(struct seed *s, bool dry)
{
	struct route_env *env = s->env;
	struct merge_params p = {.sched = env->sched,
				 .source = env->source,
				 .target = env->target,
				 .conf = env->conf,
				 .mapping = env->mapping,
				 .worker =
				     env->state == NULL ? NULL : env->worker,
				 .state = env->state,
				 .route = env->route,
				 .source_epoch = &env->source_epoch,
				 .target_epoch = &env->target_epoch,
				 .item = on_item,
				 .end = on_merge_end,
				 .ctx = s};

	PRE(!s->running && s->merge == NULL);
	drop_batches(s);
	dirty_put_clear(&s->put);
	s->merge = merge_open(&p);
	if (s->merge == NULL) {
		return KV_NO_MEMORY;
	}
	s->running = true;
	s->dry = dry;
	s->paused = false;
	s->merged = false;
	s->merge_down = false;
	s->merge_closing = false;
	s->broken = false;
	s->put_down = false;
	s->held = false;
	s->scanned = 0;
	s->deletes = 0;
	s->foreign_deletes = 0;
	s->differences = 0;
	merge_start(s->merge);
	return KV_OK;
}

void seed_retry(struct seed *s)
{
	if (!s->running || s->aborting) {
		return;
	}
	s->put_down = false;
	for (uint32_t i = 0; i < s->n_window; i++) {
		apply_retry(&s->window[i]);
	}
	if (s->merge_down && !s->broken) {
		s->merge_down = false;
		merge_resume(s->merge);
	}
	step_later(s);
}

bool seed_is_broken(const struct seed *s)
{
	return s->broken;
}

void seed_abort(struct seed *s)
{
	PRE(s->running);
	if (s->aborting) {
		return;
	}
	s->aborting = true;
	for (uint32_t i = 0; i < s->n_window; i++) {
		if (!apply_is_idle(&s->window[i])) {
			apply_abort(&s->window[i]);
		}
	}
	step_later(s);
}

uint64_t seed_source_low(const struct seed *s)
{
	return s->source_low;
}

bool seed_source_is_one(const struct seed *s)
{
	return s->source_is_one;
}

uint64_t seed_source_end(const struct seed *s)
{
	return s->source_end;
}

uint64_t seed_source_count(const struct seed *s)
{
	return s->source_count;
}
