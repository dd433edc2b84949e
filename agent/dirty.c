/* dirty.c: see dirty.h. A page of the table becomes a batch; when the batch is
 * saved, the page's rows are dropped (unless a newer change came in) and the
 * next page is read, in one job. */
#include "agent/dirty.h"

/* ---- in
 * ---------------------------------------------------------------------*/

void dirty_put_init(struct dirty_put *put, struct route_env *env,
		    void (*done)(struct dirty_put *put), void *ctx)
{
	memset(put, 0, sizeof *put);
	put->env = env;
	put->done = done;
	put->ctx = ctx;
	arena_init(&put->arena);
}

void dirty_put_clear(struct dirty_put *put)
{
	PRE(!put->busy);
	arena_free(&put->arena);
	kv_free(put->rows);
	put->rows = NULL;
	put->n = 0;
	put->cap = 0;
}

bool dirty_put_add(struct dirty_put *put, const struct state_dirty *row)
{
	void *rows = put->rows;
	struct state_dirty *copy;
	struct content content;

	PRE(!put->busy);
	if (!kv_grow(&rows, &put->cap, put->n + 1, sizeof *put->rows)) {
		return false;
	}
	put->rows = rows;
	copy = &put->rows[put->n];
	*copy = *row;
	copy->key = slice_dup(&put->arena, row->key);
	copy->source_key = slice_dup(&put->arena, row->source_key);
	if (copy->key.p == NULL || copy->source_key.p == NULL ||
	    !content_dup(&put->arena, content_of(row->value, row->attrs),
			 &content)) {
		return false;
	}
	copy->value = content.value;
	copy->attrs = content.attrs;
	put->n++;
	return true;
}

static void put_work(struct worker_job *job)
{
	struct dirty_put *put = kv_container_of(job, struct dirty_put, job);

	kv_err_clear(&put->err);
	put->err.status = state_dirty_put(put->env->state, put->env->route,
					  put->rows, put->n, &put->err);
}

static void put_done(struct worker_job *job)
{
	struct dirty_put *put = kv_container_of(job, struct dirty_put, job);

	put->busy = false;
	if (put->err.status == KV_OK) {
		put->n = 0;
		arena_reset(&put->arena);
	}
	put->done(put);
}

void dirty_put_send(struct dirty_put *put)
{
	PRE(!put->busy);
	put->busy = true;
	put->job.work = put_work;
	put->job.done = put_done;
	worker_submit(put->env->worker, &put->job);
}

/* ---- out
 * ------------------------------------------------------------------------*/

static void next_page(struct dirty *d);

static void end_abort(struct dirty *d)
{
	d->aborting = false;
	d->running = false;
	d->failed = false;
	d->dropping = false;
	d->aborted(d);
}

static void fail(struct dirty *d, const struct kv_err *err)
{
	struct kv_err copy = *err;

	d->failed = true;
	d->trouble(d, &copy);
}

static bool fill_item(struct dirty *d, struct batch *b,
		      const struct state_dirty *row)
{
	bool found;
	struct batch_item *it =
	    batch_item(b, row->key, row->source_key, &found);
	struct content content = content_of(row->value, row->attrs);
	struct env_key mapped;

	content.unreadable = row->unreadable;
	if (it == NULL) {
		return false;
	}
	PRE(!found);
	it->may_delete = row->is_delete;
	it->inferred = row->inferred;
	if (!batch_set(b, it, content, row->is_delete, row->index)) {
		return false;
	}
	if (row->source_key.n == 0) {
		return true;
	}
	if (env_map(d->env->mapping, d->env->target, row->source_key, content,
		    &b->arena, &mapped) != KV_OK) {
		return false;
	}
	if (!row->is_delete) {
		it->refused = mapped.refused;
	} else if (mapped.refused != NULL) {
		it->step = ITEM_DONE; /* never was there */
	}
	return true;
}

static struct batch *fill_batch(struct dirty *d)
{
	struct batch *b = batch_new(sched_now(d->env->sched));

	for (size_t i = 0; b != NULL && i < d->n; i++) {
		if (!fill_item(d, b, &d->rows[i])) {
			batch_free(b);
			return NULL;
		}
	}
	return b;
}

static void start_batch(struct dirty *d)
{
	struct kv_err err = {0};
	struct batch *b = fill_batch(d);

	if (b == NULL) {
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory for a batch");
		fail(d, &err);
		return;
	}
	apply_start(&d->apply, b);
}

static void page_work(struct worker_job *job)
{
	struct dirty *d = kv_container_of(job, struct dirty, job);
	struct route_env *env = d->env;

	kv_err_clear(&d->err);
	if (d->dropping && state_dirty_drop(env->state, env->route, d->rows,
					    d->n, &d->err) != KV_OK) {
		return;
	}
	d->dropping = false;
	d->n = 0;
	arena_reset(&d->arena);
	d->err.status = state_dirty_page(env->state, env->route, env->batch_ops,
					 env->batch_bytes, &d->arena, &d->rows,
					 &d->n, &d->err);
}

static void page_done(struct worker_job *job)
{
	struct dirty *d = kv_container_of(job, struct dirty, job);

	d->busy = false;
	if (d->aborting) {
		end_abort(d);
	} else if (d->err.status != KV_OK) {
		d->n = d->dropping ? d->n : 0;
		fail(d, &d->err);
	} else if (d->n == 0) {
		d->running = false;
		d->end(d);
	} else {
		start_batch(d);
	}
}

static void next_page(struct dirty *d)
{
	d->busy = true;
	d->job.work = page_work;
	d->job.done = page_done;
	worker_submit(d->env->worker, &d->job);
}

static void on_written(struct apply *a)
{
	(void)a;
}

static void on_saved(struct apply *a)
{
	struct dirty *d = a->ctx;

	if (d->aborting) {
		end_abort(d);
		return;
	}
	if (a->held) {
		d->running = false;
		d->held(d, a->held_reason);
		return;
	}
	d->moved(d);
	d->dropping = true;
	next_page(d);
}

static void on_trouble(struct apply *a, const struct kv_err *err)
{
	struct dirty *d = a->ctx;

	d->trouble(d, err);
}

static void on_aborted(struct apply *a)
{
	end_abort(a->ctx);
}

static const struct apply_events apply_events = {.written = on_written,
						 .saved = on_saved,
						 .trouble = on_trouble,
						 .aborted = on_aborted};

void dirty_init(struct dirty *d, struct route_env *env, void *ctx)
{
	memset(d, 0, sizeof *d);
	d->env = env;
	d->ctx = ctx;
	arena_init(&d->arena);
	apply_init(&d->apply, env, &apply_events, d);
}

void dirty_clear(struct dirty *d)
{
	PRE(!d->busy);
	apply_clear(&d->apply);
	arena_free(&d->arena);
}

void dirty_drain(struct dirty *d)
{
	PRE(!d->running && !d->busy);
	d->running = true;
	d->dropping = false;
	d->n = 0;
	next_page(d);
}

void dirty_retry(struct dirty *d)
{
	if (!d->running || d->busy) {
		return;
	}
	if (!d->failed) {
		apply_retry(&d->apply);
		return;
	}
	d->failed = false;
	if (d->n > 0 && !d->dropping) {
		start_batch(d);
	} else {
		next_page(d);
	}
}

void dirty_abort(struct dirty *d)
{
	PRE(!d->aborting && d->running);
	d->aborting = true;
	if (!apply_is_idle(&d->apply)) {
		apply_abort(&d->apply);
	} else if (!d->busy) {
		/* Between two steps because of a failure: nothing comes any
		 * more, so ask the worker for a last answer. */
		d->dropping = false;
		next_page(d);
	}
}
