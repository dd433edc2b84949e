/* merge.c: see merge.h. Each stream has a page that is being consumed and one
 * that is fetched ahead; the smallest head of the three is the next key.
 *
 * The source is read at one index as long as it can be: the index of its first
 * page. When that history is compacted away in the middle, the scan goes on
 * behind its last key at a newer one.
 */
#include "agent/merge.h"

#include "agent/env.h"
#include "agent/filter.h"
#include "agent/sorter.h"

#define MERGE_PAGE_BYTES (2 * 1024 * 1024)
#define MERGE_LEDGER_ROWS 2000

/* A key that outlives its page. */
struct key_buf {
	uint8_t *p;
	size_t n;
	size_t cap;
};

struct side {
	struct merge *m;
	struct store *store;
	const uint64_t *epoch;
	struct store_scan req;
	struct sorter *sorter; /* where the mapping does not keep the order */
	bool busy;
	bool last_fetched; /* the page ahead (or current) is the last one */
	struct kv_err err;
	struct store_page *page;
	struct store_page *ahead;
	size_t pos;
	uint64_t at; /* of the page consumed (or last consumed) */
	/* The lowest index of the pages since the last key given out: what
	 * is absent between that key and the head is absent as of then. */
	uint64_t gap_at;
	uint64_t ask_at;       /* the index to read at; 0: now */
	struct key_buf after;  /* last key fetched */
	struct key_buf passed; /* last key given out */
	struct store_origin origin;
	/* The head, when has_head. */
	bool has_head;
	struct env_key head; /* the target's key */
};

struct rows {
	struct arena arena;
	struct state_row *rows;
	size_t n;
};

struct ledger {
	struct worker_job job;
	bool busy;
	bool last_fetched;
	struct kv_err err;
	struct rows page;
	struct rows ahead;
	bool has_ahead;
	size_t pos;
	struct key_buf after;
};

/* Directories below which the source does not let anything be read: those that
 * a key to come may be below. */
struct closed {
	struct key_buf key;
	struct closed *outer;
};

struct merge {
	struct merge_params p;
	struct closed *closed_dirs; /* innermost first */
	struct side source;
	struct side target;
	struct ledger ledger;
	struct arena scratch; /* the head of the source */
	struct arena inverse; /* the source key of an item */
	struct sched_task task;
	bool running;
	bool ended;
	uint64_t low;
	uint64_t high;
	uint64_t count;
	void (*closed)(void *ctx);
	void *closed_ctx;
	bool closing;
};

static void merge_step(struct merge *m);

static bool key_set(struct key_buf *b, struct slice key)
{
	void *p = b->p;

	if (!kv_grow(&p, &b->cap, key.n + 1, 1)) {
		return false;
	}
	b->p = p;
	if (key.n > 0) {
		memcpy(b->p, key.p, key.n);
	}
	b->n = key.n;
	return true;
}

static void key_free(struct key_buf *b)
{
	kv_free(b->p);
}

static struct slice key_get(const struct key_buf *b)
{
	return slice_of(b->p, b->n);
}

static int no_memory(struct kv_err *err)
{
	return kv_fail(err, KV_NO_MEMORY, "no memory to compare the stores");
}

/* ---- one store's stream
 * -----------------------------------------------------------*/

static void side_fetch(struct side *s);

/* Is the page one that may be taken? */
static int side_check(struct side *s, const struct kv_err *err,
		      const struct store_page *page)
{
	if (err->status != KV_OK) {
		s->err = *err;
		return err->status;
	}
	if (s->epoch != NULL && page->origin.epoch != *s->epoch) {
		return kv_fail(&s->err, KV_NOT_REACHABLE,
			       "%s was connected anew",
			       store_uri(s->store)->text);
	}
	return KV_OK;
}

static void side_take(struct side *s, struct store_page *page)
{
	/* The sorter knows itself where it goes on. */
	if (page->n > 0 && s->sorter == NULL &&
	    !key_set(&s->after, page->pairs[page->n - 1].key)) {
		store_page_free(page);
		(void)no_memory(&s->err);
		return;
	}
	PRE(s->ahead == NULL);
	s->ahead = page;
	s->last_fetched = !page->more;
	s->origin = page->origin;
	if (s->ask_at == 0) {
		s->ask_at = page->at;
	}
}

/* A page, or why there is none, from the store or the sorter. */
static void side_answer(struct side *s, const struct kv_err *err,
			struct store_page *page)
{
	struct merge *m = s->m;

	s->busy = false;
	if (!m->closing && side_check(s, err, page) == KV_OK) {
		side_take(s, page);
	} else {
		store_page_free(page);
	}
	merge_step(m);
}

static void side_cb(struct store_scan *req)
{
	struct side *s = req->data;

	if (req->err.status == KV_HISTORY_LOST && req->at != 0 &&
	    !s->m->closing) {
		s->busy = false;
		s->ask_at = 0;
		side_fetch(s);
		if (!s->busy) {
			merge_step(s->m); /* it was refused: nothing comes */
		}
		return;
	}
	side_answer(s, &req->err, req->page);
}

static void sorter_cb(void *ctx, const struct kv_err *err,
		      struct store_page *page)
{
	side_answer(ctx, err, page);
}

/* Fetches ahead where there is room and something left. */
static void side_fetch(struct side *s)
{
	if (s->busy || s->ahead != NULL || s->last_fetched ||
	    s->err.status != KV_OK) {
		return;
	}
	if (s->sorter != NULL) {
		s->busy = true;
		sorter_next(s->sorter);
		return;
	}
	memset(&s->req, 0, sizeof s->req);
	s->req.after = key_get(&s->after);
	s->req.max_bytes = MERGE_PAGE_BYTES;
	s->req.at = s == &s->m->source ? s->ask_at : 0;
	s->req.cb = side_cb;
	s->req.data = s;
	s->busy = true;
	if (store_scan(s->store, &s->req) != KV_OK) {
		s->busy = false;
		s->err = s->req.err;
	}
}

static const struct store_pair *side_pair(const struct side *s)
{
	return &s->page->pairs[s->pos];
}

/* Keys must come in ascending order of the target's keys: what follows relies
 * on it, and a scan that breaks it must not delete anything. */
static bool side_ascends(struct side *s, struct slice key)
{
	if (s->passed.p != NULL && slice_cmp(key_get(&s->passed), key) >= 0) {
		(void)kv_fail(&s->err, KV_BROKEN,
			      "%s: keys came out of order; nothing further was "
			      "done",
			      store_uri(s->store)->text);
		return false;
	}
	if (!key_set(&s->passed, key)) {
		(void)no_memory(&s->err);
		return false;
	}
	return true;
}

/* Makes the next page the current one; false: it is not there (yet). */
static bool side_turn(struct side *s)
{
	if (s->ahead == NULL) {
		return false;
	}
	store_page_free(s->page);
	s->page = s->ahead;
	s->ahead = NULL;
	s->pos = 0;
	s->at = s->page->at;
	s->gap_at = s->gap_at == 0 ? s->at : KV_MIN(s->gap_at, s->at);
	if (s == &s->m->source) {
		s->m->low = s->m->low == 0 ? s->at : KV_MIN(s->m->low, s->at);
		s->m->high = KV_MAX(s->m->high, s->at);
	}
	return true;
}

/* ---- what the source hides ---------------------------------------------- */

/* Notes that nothing is known of what is below the pair. */
static bool close_dir(struct merge *m, const struct store_pair *pair)
{
	struct closed *c;
	struct env_key mapped;

	arena_reset(&m->scratch);
	if (env_map(m->p.mapping, m->p.target, pair->key, content_none(),
		    &m->scratch, &mapped) != KV_OK) {
		return false;
	}
	if (mapped.key.n == 0) {
		return true; /* what is below it has no name there either */
	}
	c = kv_calloc(1, sizeof *c);
	if (c == NULL || !key_set(&c->key, mapped.key)) {
		kv_free(c);
		return false;
	}
	c->outer = m->closed_dirs;
	m->closed_dirs = c;
	return true;
}

static void open_dir(struct merge *m)
{
	struct closed *c = m->closed_dirs;

	m->closed_dirs = c->outer;
	key_free(&c->key);
	kv_free(c);
}

/* May a key that does not come before `key` be below `dir`? */
static bool may_come(struct slice dir, struct slice key)
{
	return slice_cmp(key, dir) <= 0 ||
	       (slice_starts(key, dir) && key.p[dir.n] <= '/');
}

/* Is the key below one of them? Keys ascend: those that are past are let go. */
static bool is_hidden(struct merge *m, struct slice key)
{
	const struct closed *c;

	while (m->closed_dirs != NULL &&
	       !may_come(key_get(&m->closed_dirs->key), key)) {
		open_dir(m);
	}
	for (c = m->closed_dirs; c != NULL; c = c->outer) {
		if (slice_below(key, key_get(&c->key))) {
			return true;
		}
	}
	return false;
}

/* Fills the head from the current pair; false: the pair is out of scope, or an
 * error is set. */
static bool side_head(struct side *s)
{
	const struct store_pair *pair = side_pair(s);
	struct merge *m = s->m;

	if (s == &m->target) {
		s->head.key = pair->key;
		s->head.refused = NULL;
		return side_ascends(s, pair->key);
	}
	if (pair->unreadable && !close_dir(m, pair)) {
		(void)no_memory(&s->err);
		return false;
	}
	if (!filter_pass(m->p.conf, pair->key)) {
		return false;
	}
	arena_reset(&m->scratch);
	if (env_map(m->p.mapping, m->p.target, pair->key, content_of_pair(pair),
		    &m->scratch, &s->head) != KV_OK) {
		(void)no_memory(&s->err);
		return false;
	}
	m->count++;
	return s->head.key.n == 0 || side_ascends(s, s->head.key);
}

/* True: the head is there, or the stream is at its end. False: wait, or see
 * s->err. */
static bool side_ready(struct side *s)
{
	while (!s->has_head && s->err.status == KV_OK) {
		if (s->page == NULL || s->pos >= s->page->n) {
			if (!side_turn(s)) {
				side_fetch(s);
				return s->last_fetched && !s->busy;
			}
			side_fetch(s);
			continue;
		}
		s->has_head = side_head(s);
		if (!s->has_head && s->err.status == KV_OK) {
			s->pos++;
		}
	}
	return s->has_head;
}

static void side_advance(struct side *s)
{
	s->has_head = false;
	s->pos++;
	s->gap_at = s->at;
}

/* ---- the ledger's stream
 * ------------------------------------------------------------*/

static void ledger_work(struct worker_job *job)
{
	struct ledger *l = kv_container_of(job, struct ledger, job);
	struct merge *m = kv_container_of(l, struct merge, ledger);

	l->err.status = state_ledger_page(
	    m->p.state, m->p.route, key_get(&l->after), MERGE_LEDGER_ROWS,
	    &l->ahead.arena, &l->ahead.rows, &l->ahead.n, &l->err);
}

static void ledger_done(struct worker_job *job)
{
	struct ledger *l = kv_container_of(job, struct ledger, job);
	struct merge *m = kv_container_of(l, struct merge, ledger);

	l->busy = false;
	if (l->err.status == KV_OK && l->ahead.n > 0 &&
	    !key_set(&l->after, l->ahead.rows[l->ahead.n - 1].key)) {
		(void)no_memory(&l->err); /* the page is read again */
	}
	if (l->err.status == KV_OK) {
		l->has_ahead = true;
		l->last_fetched = l->ahead.n < MERGE_LEDGER_ROWS;
	}
	merge_step(m);
}

static bool has_ledger(const struct merge *m)
{
	return m->p.worker != NULL && !m->p.sort_only;
}

static void ledger_fetch(struct merge *m)
{
	struct ledger *l = &m->ledger;

	if (!has_ledger(m) || l->busy || l->has_ahead || l->last_fetched ||
	    l->err.status != KV_OK) {
		return;
	}
	arena_reset(&l->ahead.arena);
	l->busy = true;
	l->job.work = ledger_work;
	l->job.done = ledger_done;
	worker_submit(m->p.worker, &l->job);
}

static struct state_row *ledger_head(struct merge *m)
{
	struct ledger *l = &m->ledger;

	return l->pos < l->page.n ? &l->page.rows[l->pos] : NULL;
}

static bool ledger_ready(struct merge *m)
{
	struct ledger *l = &m->ledger;

	if (!has_ledger(m) || ledger_head(m) != NULL) {
		return true;
	}
	if (l->has_ahead) {
		struct rows old = l->page;

		l->page = l->ahead;
		l->ahead = old;
		l->has_ahead = false;
		l->pos = 0;
		ledger_fetch(m);
		return l->page.n > 0 || l->last_fetched;
	}
	ledger_fetch(m);
	return l->last_fetched && !l->busy;
}

/* ---- the join
 * -------------------------------------------------------------------------*/

static struct slice min_key(struct merge *m)
{
	struct slice min = {0};
	struct state_row *row = ledger_head(m);

	if (m->source.has_head) {
		min = m->source.head.key;
	}
	if (m->target.has_head &&
	    (min.n == 0 || slice_cmp(m->target.head.key, min) < 0)) {
		min = m->target.head.key;
	}
	if (row != NULL && (min.n == 0 || slice_cmp(row->key, min) < 0)) {
		min = row->key;
	}
	return min;
}

/* A source key that cannot be given a target's name stands alone. */
static bool emit_nameless(struct merge *m)
{
	struct merge_item item = {0};
	bool go_on;

	item.source = side_pair(&m->source);
	item.key = item.source->key;
	item.item_key = m->source.head.item;
	item.source_key = item.source->key;
	item.source_at = m->source.at;
	item.refused = m->source.head.refused;
	go_on = m->p.item(m->p.ctx, &item);
	side_advance(&m->source);
	return go_on;
}

/* Which source key would be mapped to item->key, and is it in scope? */
static int item_scope(struct merge *m, struct merge_item *item)
{
	struct kv_err err = {0};
	int rv;

	if (item->source != NULL) {
		item->source_key = item->source->key;
		return KV_OK;
	}
	arena_reset(&m->inverse);
	rv = mapping_to_source(m->p.mapping, item->key, &m->inverse,
			       &item->source_key, &err);
	if (rv == KV_NO_MEMORY) {
		return rv;
	}
	if (rv != KV_OK) {
		item->source_key = slice_of(NULL, 0);
		return KV_OK;
	}
	item->outside = !filter_pass(m->p.conf, item->source_key);
	return KV_OK;
}

/* Gives out the smallest key; true: go on. */
static bool emit(struct merge *m)
{
	struct merge_item item = {0};
	struct state_row *row = ledger_head(m);
	bool go_on = true;

	item.key = min_key(m);
	item.item_key = item.key;
	item.source_at = m->source.gap_at;
	if (m->source.has_head && slice_eq(m->source.head.key, item.key)) {
		item.source = side_pair(&m->source);
		item.refused = m->source.head.refused;
	}
	if (m->target.has_head && slice_eq(m->target.head.key, item.key)) {
		item.target = side_pair(&m->target);
	}
	if (row != NULL && slice_eq(row->key, item.key)) {
		item.row = row;
	}
	item.unknown = is_hidden(m, item.key) && item.source == NULL;
	if (item.target != NULL && item.target->unreadable &&
	    item.refused == NULL) {
		item.refused = "the target does not let it be read";
	}
	if (item_scope(m, &item) != KV_OK) {
		(void)no_memory(&m->source.err);
		return true;
	}
	if (!item.outside || item.row != NULL) {
		go_on = m->p.item(m->p.ctx, &item);
	}
	if (item.source != NULL) {
		side_advance(&m->source);
	}
	if (item.target != NULL) {
		side_advance(&m->target);
	}
	if (item.row != NULL) {
		m->ledger.pos++;
	}
	return go_on;
}

static void finish(struct merge *m, const struct kv_err *err)
{
	struct kv_err copy = *err;

	m->running = false;
	m->ended = copy.status == KV_OK;
	m->p.end(m->p.ctx, &copy);
}

static const struct kv_err *first_error(const struct merge *m)
{
	if (m->source.err.status != KV_OK) {
		return &m->source.err;
	}
	if (m->target.err.status != KV_OK) {
		return &m->target.err;
	}
	return m->ledger.err.status != KV_OK ? &m->ledger.err : NULL;
}

static bool outstanding(const struct merge *m)
{
	return m->source.busy || m->target.busy || m->ledger.busy;
}

static void free_merge(struct merge *m)
{
	void (*closed)(void *ctx) = m->closed;
	void *ctx = m->closed_ctx;
	struct side *sides[2] = {&m->source, &m->target};

	for (int i = 0; i < 2; i++) {
		store_page_free(sides[i]->page);
		store_page_free(sides[i]->ahead);
		key_free(&sides[i]->after);
		key_free(&sides[i]->passed);
	}
	while (m->closed_dirs != NULL) {
		open_dir(m);
	}
	sorter_free(m->source.sorter);
	key_free(&m->ledger.after);
	arena_free(&m->ledger.page.arena);
	arena_free(&m->ledger.ahead.arena);
	arena_free(&m->scratch);
	arena_free(&m->inverse);
	sched_unpost(&m->task);
	kv_free(m);
	if (closed != NULL) {
		closed(ctx);
	}
}

/* Errors are told when nothing is outstanding, so that a resume starts clean.
 */
static bool stop_on_error(struct merge *m)
{
	const struct kv_err *err = first_error(m);

	if (err == NULL) {
		return false;
	}
	if (!outstanding(m)) {
		finish(m, err);
	}
	return true;
}

static void merge_step(struct merge *m)
{
	struct kv_err ok = {0};

	if (m->closing) {
		if (!outstanding(m)) {
			free_merge(m);
		}
		return;
	}
	while (m->running && !stop_on_error(m)) {
		bool source = side_ready(&m->source);
		bool target = side_ready(&m->target);
		bool ledger = ledger_ready(m);

		if (first_error(m) != NULL) {
			continue;
		}
		if (!source || !target || !ledger) {
			ERGO(!source, m->source.busy);
			ERGO(!target, m->target.busy);
			ERGO(!ledger, m->ledger.busy);
			return; /* a page is on its way */
		}
		if (m->source.has_head && m->source.head.key.n == 0) {
			m->running = emit_nameless(m) && m->running;
		} else if (min_key(m).n == 0) {
			finish(m, &ok);
		} else {
			m->running = emit(m) && m->running;
		}
	}
}

static void task_run(struct sched_task *task)
{
	merge_step(kv_container_of(task, struct merge, task));
}

/* ---- the interface
 * ------------------------------------------------------------------------*/

static struct sorter *open_sorter(struct merge *m)
{
	struct sorter_params p = {.sched = m->p.sched,
				  .source = m->p.source,
				  .conf = m->p.conf,
				  .mapping = m->p.mapping,
				  .worker = m->p.worker,
				  .state = m->p.state,
				  .route = m->p.route,
				  .epoch = m->p.source_epoch,
				  .at = m->p.source_at,
				  .page_bytes = MERGE_PAGE_BYTES,
				  .page = sorter_cb,
				  .ctx = &m->source};

	return sorter_open(&p);
}

struct merge *merge_open(const struct merge_params *p)
{
	struct merge *m = kv_calloc(1, sizeof *m);

	PRE(p->item != NULL && p->end != NULL);
	PRE(p->mapping == MAPPING_NONE || p->worker != NULL);
	if (m == NULL) {
		return NULL;
	}
	m->p = *p;
	m->source.m = m;
	m->source.store = p->source;
	m->source.epoch = p->source_epoch;
	m->source.ask_at = p->source_at;
	m->target.m = m;
	m->target.store = p->target;
	m->target.epoch = p->target_epoch;
	m->task.run = task_run;
	arena_init(&m->scratch);
	arena_init(&m->inverse);
	arena_init(&m->ledger.page.arena);
	arena_init(&m->ledger.ahead.arena);
	if (p->mapping != MAPPING_NONE) {
		m->source.sorter = open_sorter(m);
		if (m->source.sorter == NULL) {
			kv_free(m);
			return NULL;
		}
	}
	return m;
}

void merge_start(struct merge *m)
{
	PRE(!m->running && !m->ended);
	m->running = true;
	sched_post(m->p.sched, &m->task);
}

void merge_resume(struct merge *m)
{
	PRE(!m->ended);
	if (m->running || m->closing) {
		return;
	}
	kv_err_clear(&m->source.err);
	kv_err_clear(&m->target.err);
	kv_err_clear(&m->ledger.err);
	m->running = true;
	sched_post(m->p.sched, &m->task);
}

void merge_close(struct merge *m, void (*closed)(void *ctx), void *ctx)
{
	PRE(!m->closing);
	m->closing = true;
	m->running = false;
	m->closed = closed;
	m->closed_ctx = ctx;
	if (m->source.busy && m->source.sorter != NULL) {
		sorter_cancel(m->source.sorter);
	} else if (m->source.busy) {
		store_cancel(&m->source.req.req);
	}
	if (m->target.busy) {
		store_cancel(&m->target.req.req);
	}
	sched_post(m->p.sched, &m->task);
}

const struct store_origin *merge_source_origin(const struct merge *m)
{
	return &m->source.origin;
}

const struct store_origin *merge_target_origin(const struct merge *m)
{
	return &m->target.origin;
}

uint64_t merge_source_low(const struct merge *m)
{
	return m->low;
}

bool merge_source_is_one(const struct merge *m)
{
	return m->low == m->high &&
	       (m->source.sorter == NULL || sorter_is_one(m->source.sorter));
}

uint64_t merge_source_end(const struct merge *m)
{
	return m->source.origin.index;
}

uint64_t merge_source_count(const struct merge *m)
{
	return m->count;
}
