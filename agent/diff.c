/* diff.c: see diff.h. */
#include "agent/diff.h"

#include <stdlib.h>

#include "agent/backoff.h"
#include "agent/content.h"
#include "agent/filter.h"

#define PENDING_MAX 64
#define PENDING_BYTES ((size_t)1024 * 1024)

enum stage {
	STAGE_MERGE,  /* the streams are joined */
	STAGE_SOURCE, /* pending keys are read at the source */
	STAGE_TARGET,
	STAGE_ENDED
};

struct diff {
	struct diff_params p;
	enum mapping_mode mapping;
	struct merge *merge;
	enum stage stage;
	bool merge_ended;
	/* What differed, until it is read anew. */
	struct arena arena;
	struct diff_entry pending[PENDING_MAX];
	size_t n_pending;
	size_t pending_max;
	size_t pending_bytes;
	struct store_scan scan;
	struct slice keys[PENDING_MAX];
	bool scanning;
	struct backoff backoff;
	struct sched_timer retry;
	struct sched_timer deadline;
	uint64_t moved_ms; /* when something was read last */
	uint64_t count;
	struct kv_err last; /* the last passing trouble */
	bool closing;
	bool merge_closed;
	struct sched_task close_task;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

const char *diff_kind_name(enum diff_kind kind)
{
	static const char *const names[] = {"missing", "extra", "changed"};

	return names[kind];
}

/* ---- the end
 * ---------------------------------------------------------------*/

static void end(struct diff *d, const struct kv_err *err)
{
	if (d->stage == STAGE_ENDED || d->closing) {
		return;
	}
	d->stage = STAGE_ENDED;
	sched_timer_stop(&d->retry);
	sched_timer_stop(&d->deadline);
	d->p.end(d->p.ctx, err);
}

static void end_ok(struct diff *d)
{
	struct kv_err ok = {0};

	end(d, &ok);
}

static void deadline_fire(struct sched_timer *timer)
{
	struct diff *d = kv_container_of(timer, struct diff, deadline);
	uint64_t idle = sched_now(d->p.sched) - d->moved_ms;
	struct kv_err err = {0};

	if (idle < d->p.timeout_ms) {
		sched_timer_start(d->p.sched, timer, d->p.timeout_ms - idle);
		return;
	}
	(void)kv_fail(
	    &err, KV_TIMED_OUT, "no answer from %s or %s for %llu ms%s%s",
	    store_uri(d->p.source)->text, store_uri(d->p.target)->text,
	    (unsigned long long)d->p.timeout_ms,
	    d->last.text[0] == '\0' ? "" : ": ", d->last.text);
	end(d, &err);
}

/* Something was read. */
static void moved(struct diff *d)
{
	d->moved_ms = sched_now(d->p.sched);
	backoff_reset(&d->backoff);
}

/* Trouble: the same again later, when it may pass by itself. */
static void trouble(struct diff *d, const struct kv_err *err)
{
	enum kv_class class = kv_status_class(err->status);

	if (class != KV_CLASS_RETRY && class != KV_CLASS_RESYNC) {
		end(d, err);
		return;
	}
	d->last = *err;
	sched_timer_start(d->p.sched, &d->retry,
			  backoff_next(&d->backoff, sched_random(d->p.sched)));
}

/* ---- reading the pending keys anew
 * -------------------------------------------*/

static int compare_keys(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

/* Which key of an entry is asked for at this side? n == 0: none. */
static struct slice asked_key(const struct diff *d, const struct diff_entry *e)
{
	if (d->stage == STAGE_SOURCE) {
		return e->source_key;
	}
	return e->refused ? slice_of(NULL, 0) : e->key;
}

static void update_side(struct diff_side *side, const struct store_pair *pair)
{
	*side = (struct diff_side){0};
	if (pair != NULL) {
		side->present = true;
		side->index = pair->index;
		side->hash = content_hash(content_of_pair(pair));
	}
}

static const struct store_pair *find_pair(const struct store_page *page,
					  struct slice key)
{
	size_t i;

	for (i = 0; i < page->n; i++) {
		if (slice_eq(page->pairs[i].key, key)) {
			return &page->pairs[i];
		}
	}
	return NULL;
}

static void take_page(struct diff *d, const struct store_page *page)
{
	size_t i;

	for (i = 0; i < d->n_pending; i++) {
		struct diff_entry *e = &d->pending[i];
		struct slice key = asked_key(d, e);
		const struct store_pair *pair =
		    key.n == 0 || page == NULL ? NULL : find_pair(page, key);

		update_side(d->stage == STAGE_SOURCE ? &e->source : &e->target,
			    pair);
	}
}

/* The kind of difference; false when there is none. */
static bool judge(struct diff_entry *e)
{
	if (e->source.present && e->target.present) {
		e->kind = DIFF_CHANGED;
		return !kv_hash_eq(&e->source.hash, &e->target.hash);
	}
	e->kind = e->source.present ? DIFF_MISSING : DIFF_EXTRA;
	return e->source.present || e->target.present;
}

static void read_side(struct diff *d, enum stage stage);

/* Both sides are read: tell what still differs, and go on. */
static void tell_pending(struct diff *d)
{
	size_t i;

	for (i = 0; i < d->n_pending; i++) {
		if (judge(&d->pending[i]) &&
		    !d->p.found(d->p.ctx, &d->pending[i])) {
			end_ok(d);
			return;
		}
	}
	d->n_pending = 0;
	d->pending_bytes = 0;
	arena_reset(&d->arena);
	if (d->merge_ended) {
		end_ok(d);
		return;
	}
	d->stage = STAGE_MERGE;
	merge_resume(d->merge);
}

static void side_read(struct diff *d, const struct store_page *page)
{
	take_page(d, page);
	if (d->stage == STAGE_SOURCE) {
		read_side(d, STAGE_TARGET);
	} else {
		tell_pending(d);
	}
}

static void maybe_closed(struct diff *d);

static void scan_cb(struct store_scan *req)
{
	struct diff *d = kv_container_of(req, struct diff, scan);
	struct store_page *page = req->page;

	d->scanning = false;
	if (d->closing || d->stage == STAGE_ENDED) {
		store_page_free(page);
		maybe_closed(d);
		return;
	}
	if (req->err.status != KV_OK) {
		trouble(d, &req->err);
		return;
	}
	moved(d);
	side_read(d, page);
	store_page_free(page);
}

/* Asks one side for the pending keys, in its own order. */
static void read_side(struct diff *d, enum stage stage)
{
	struct store *store = stage == STAGE_SOURCE ? d->p.source : d->p.target;
	size_t n = 0, i;

	d->stage = stage;
	for (i = 0; i < d->n_pending; i++) {
		struct slice key = asked_key(d, &d->pending[i]);

		if (key.n > 0) {
			d->keys[n++] = key;
		}
	}
	if (n == 0) {
		side_read(d, NULL);
		return;
	}
	qsort(d->keys, n, sizeof(d->keys[0]), compare_keys);
	d->scan =
	    (struct store_scan){.keys = d->keys, .n_keys = n, .cb = scan_cb};
	if (store_scan(store, &d->scan) != KV_OK) {
		trouble(d, &d->scan.err);
		return;
	}
	d->scanning = true;
}

/* ---- the streams
 * ----------------------------------------------------------------*/

/* May this key be left out, as kvmirror does not answer for it? */
static bool is_left_out(const struct diff *d, const struct merge_item *item)
{
	enum state_row_kind kind =
	    item->row == NULL ? STATE_ROW_NONE : item->row->kind;

	if (item->outside || item->unknown) {
		return true;
	}
	if (!d->p.owned) {
		return false;
	}
	if (item->refused != NULL || kind == STATE_ROW_YIELDED ||
	    kind == STATE_ROW_STALE) {
		return true;
	}
	return item->source == NULL && kind != STATE_ROW_OWNED;
}

static bool item_differs(const struct merge_item *item)
{
	if (item->source == NULL || item->target == NULL) {
		return item->source != item->target;
	}
	return !content_eq(content_of_pair(item->source),
			   content_of_pair(item->target));
}

static size_t pair_size(const struct store_pair *pair)
{
	return pair == NULL ? 0 : content_size(content_of_pair(pair));
}

/* Copies the item; false when memory is out. */
static bool add_pending(struct diff *d, const struct merge_item *item)
{
	struct diff_entry *e = &d->pending[d->n_pending];

	*e = (struct diff_entry){.refused = item->refused != NULL,
				 .key = slice_dup(&d->arena, item->key),
				 .source_key =
				     slice_dup(&d->arena, item->source_key)};
	if (e->key.p == NULL || e->source_key.p == NULL) {
		return false;
	}
	d->pending_bytes += item->key.n;
	d->pending_bytes += pair_size(item->source);
	d->pending_bytes += pair_size(item->target);
	d->n_pending++;
	return true;
}

static bool item_cb(void *ctx, const struct merge_item *item)
{
	struct diff *d = ctx;

	if (d->stage != STAGE_MERGE || d->closing) {
		return false;
	}
	moved(d);
	d->count++;
	if (is_left_out(d, item) || !item_differs(item)) {
		return true;
	}
	if (!add_pending(d, item)) {
		struct kv_err err = {0};

		(void)kv_fail(&err, KV_NO_MEMORY, "no memory to compare");
		end(d, &err);
		return false;
	}
	if (d->n_pending < d->pending_max && d->pending_bytes < PENDING_BYTES) {
		return true;
	}
	read_side(d, STAGE_SOURCE);
	return false;
}

static void end_cb(void *ctx, const struct kv_err *err)
{
	struct diff *d = ctx;

	if (d->stage == STAGE_ENDED || d->closing) {
		return;
	}
	if (err->status != KV_OK) {
		trouble(d, err);
		return;
	}
	d->merge_ended = true;
	if (d->n_pending > 0) {
		read_side(d, STAGE_SOURCE);
	} else {
		end_ok(d);
	}
}

static void retry_fire(struct sched_timer *timer)
{
	struct diff *d = kv_container_of(timer, struct diff, retry);

	if (d->stage == STAGE_MERGE) {
		merge_resume(d->merge);
	} else {
		read_side(d, d->stage);
	}
}

/* ---- the interface
 * ----------------------------------------------------------------*/

int diff_open(const struct diff_params *p, struct diff **out,
	      struct kv_err *err)
{
	const struct store_caps *from = store_capabilities(p->source);
	const struct store_caps *to = store_capabilities(p->target);
	struct merge_params mp = {.sched = p->sched,
				  .source = p->source,
				  .target = p->target,
				  .conf = p->conf,
				  .item = item_cb,
				  .end = end_cb};
	struct diff *d;

	PRE(!p->owned || (p->worker != NULL && p->state != NULL));
	*out = NULL;
	d = kv_calloc(1, sizeof(*d));
	if (d == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory to compare");
	}
	d->p = *p;
	d->mapping = mapping_choose(p->conf->escape == CONF_ESCAPE_PERCENT,
				    from->hierarchical, to->hierarchical);
	d->pending_max =
	    KV_MIN(PENDING_MAX, KV_MIN(from->max_ops, to->max_ops));
	d->pending_max = KV_MAX(d->pending_max, 1);
	d->retry.fire = retry_fire;
	d->deadline.fire = deadline_fire;
	mp.mapping = d->mapping;
	mp.ctx = d;
	mp.worker = p->worker;
	mp.state = p->state;
	mp.route = p->route;
	mp.sort_only = !p->owned;
	d->merge = merge_open(&mp);
	if (d->merge == NULL) {
		kv_free(d);
		return kv_fail(err, KV_NO_MEMORY, "no memory to compare");
	}
	arena_init(&d->arena);
	*out = d;
	return KV_OK;
}

void diff_start(struct diff *d)
{
	moved(d);
	sched_timer_start(d->p.sched, &d->deadline, d->p.timeout_ms);
	merge_start(d->merge);
}

uint64_t diff_count(const struct diff *d)
{
	return d->count;
}

static void maybe_closed(struct diff *d)
{
	if (!d->closing || !d->merge_closed || d->scanning) {
		return;
	}
	d->closed(d->closed_ctx);
	arena_free(&d->arena);
	kv_free(d);
}

static void merge_closed_cb(void *ctx)
{
	struct diff *d = ctx;

	d->merge_closed = true;
	maybe_closed(d);
}

/* A turn later: whoever closes may stand inside a callback of the merge. */
static void close_run(struct sched_task *task)
{
	struct diff *d = kv_container_of(task, struct diff, close_task);

	if (d->scanning) {
		store_cancel(&d->scan.req);
	}
	merge_close(d->merge, merge_closed_cb, d);
}

void diff_close(struct diff *d, void (*closed)(void *ctx), void *ctx)
{
	PRE(!d->closing && closed != NULL);
	d->closing = true;
	d->closed = closed;
	d->closed_ctx = ctx;
	sched_timer_stop(&d->retry);
	sched_timer_stop(&d->deadline);
	d->close_task.run = close_run;
	sched_post(d->p.sched, &d->close_task);
}
