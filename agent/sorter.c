/* sorter.c: see sorter.h. Two phases: every page of the source is put into the
 * table, in one job each; then the table is read page by page. */
#include "agent/sorter.h"

#include "agent/filter.h"

#define SORTER_ROWS 2000

struct sorter {
	struct sorter_params p;
	struct store_scan scan;
	struct worker_job job;
	struct store_page *read; /* the source's page under way */
	struct state_sorted *rows;
	size_t n;
	struct arena arena;	  /* of rows */
	struct arena after_arena; /* of after */
	struct slice after;	  /* last key scanned; later: last key given */
	struct kv_err err;
	struct store_origin origin;
	uint64_t at; /* the lowest index read */
	uint64_t high;
	uint64_t ask; /* the index to read at */
	bool cleared;
	bool more;   /* of the source */
	bool sorted; /* all of the source is in the table */
	bool scanning;
	bool canceled;
};

static void scan_next(struct sorter *s);

static void answer(struct sorter *s, struct store_page *page)
{
	struct kv_err err = s->err;

	kv_err_clear(&s->err);
	s->p.page(s->p.ctx, &err, page);
}

static void no_memory(struct sorter *s)
{
	(void)kv_fail(&s->err, KV_NO_MEMORY, "no memory to sort the source");
}

/* Keeps a key beyond its page. */
static bool keep_after(struct sorter *s, struct slice key)
{
	struct arena fresh = {0};
	struct slice copy;

	arena_init(&fresh);
	copy = slice_dup(&fresh, key);
	if (copy.p == NULL) {
		arena_free(&fresh);
		return false;
	}
	s->after = copy;
	arena_free(&s->after_arena);
	s->after_arena = fresh;
	return true;
}

/* ---- out of the table -----------------------------------------------------*/

static struct store_page *build_page(struct sorter *s)
{
	struct store_page *page = kv_calloc(1, sizeof *page);

	if (page == NULL) {
		return NULL;
	}
	page->arena = s->arena; /* the rows' bytes go with the page */
	arena_init(&s->arena);
	page->pairs =
	    arena_alloc(&page->arena, (s->n + 1) * sizeof *page->pairs);
	if (page->pairs == NULL) {
		store_page_free(page);
		return NULL;
	}
	memset(page->pairs, 0, (s->n + 1) * sizeof *page->pairs);
	for (size_t i = 0; i < s->n; i++) {
		page->pairs[i].key = s->rows[i].source_key;
		page->pairs[i].value = s->rows[i].value;
		page->pairs[i].attrs = s->rows[i].attrs;
		page->pairs[i].index = s->rows[i].index;
		page->pairs[i].unreadable = s->rows[i].unreadable;
	}
	page->n = s->n;
	page->more = s->n > 0;
	page->at = s->at;
	page->origin = s->origin;
	if (s->p.epoch != NULL) {
		/* Its connection was checked when it was read. */
		page->origin.epoch = *s->p.epoch;
	}
	return page;
}

static void out_work(struct worker_job *job)
{
	struct sorter *s = kv_container_of(job, struct sorter, job);

	s->err.status = state_sort_page(s->p.state, s->p.route, s->after,
					SORTER_ROWS, s->p.page_bytes, &s->arena,
					&s->rows, &s->n, &s->err);
}

static void out_done(struct worker_job *job)
{
	struct sorter *s = kv_container_of(job, struct sorter, job);
	struct store_page *page = NULL;

	if (s->err.status == KV_OK) {
		page = build_page(s);
		/* Only when nothing can fail any more: else the page would
		 * be passed over. */
		if (page != NULL && s->n > 0 &&
		    !keep_after(s, s->rows[s->n - 1].key)) {
			store_page_free(page);
			page = NULL;
		}
		if (page == NULL) {
			no_memory(s);
		}
	}
	answer(s, page);
}

static void out_next(struct sorter *s)
{
	arena_reset(&s->arena);
	s->job.work = out_work;
	s->job.done = out_done;
	worker_submit(s->p.worker, &s->job);
}

/* ---- into the table
 * ---------------------------------------------------------*/

static void in_work(struct worker_job *job)
{
	struct sorter *s = kv_container_of(job, struct sorter, job);

	if (!s->cleared &&
	    state_sort_clear(s->p.state, s->p.route, &s->err) != KV_OK) {
		return;
	}
	s->cleared = true;
	s->err.status =
	    state_sort_put(s->p.state, s->p.route, s->rows, s->n, &s->err);
}

static void in_done(struct worker_job *job)
{
	struct sorter *s = kv_container_of(job, struct sorter, job);
	struct store_page *page = s->read;
	bool kept =
	    s->err.status == KV_OK &&
	    (page->n == 0 || keep_after(s, page->pairs[page->n - 1].key));

	if (s->err.status == KV_OK && !kept) {
		no_memory(s);
	}
	if (s->err.status == KV_OK) {
		s->more = page->more;
	}
	store_page_free(page);
	s->read = NULL;
	if (s->err.status != KV_OK) {
		answer(s, NULL);
	} else if (s->more) {
		scan_next(s);
	} else {
		s->sorted = true;
		s->after = slice_of(NULL, 0);
		out_next(s);
	}
}

/* The key by which the pair is sorted. One that has no target's name sorts
 * before all keys: those begin with a slash. */
static bool sort_key(struct sorter *s, struct slice key, struct slice *out)
{
	int rv = mapping_to_target(s->p.mapping, key, &s->arena, out, NULL);

	if (rv == KV_OK || rv == KV_NO_MEMORY) {
		return rv == KV_OK;
	}
	*out = mapping_nameless(&s->arena, key);
	return out->p != NULL;
}

static bool map_page(struct sorter *s)
{
	const struct store_page *page = s->read;

	arena_reset(&s->arena);
	s->n = 0;
	s->rows = arena_alloc(&s->arena, (page->n + 1) * sizeof *s->rows);
	if (s->rows == NULL) {
		return false;
	}
	for (size_t i = 0; i < page->n; i++) {
		const struct store_pair *pair = &page->pairs[i];
		struct state_sorted *row = &s->rows[s->n];

		if (!filter_pass(s->p.conf, pair->key)) {
			continue;
		}
		if (!sort_key(s, pair->key, &row->key)) {
			return false;
		}
		row->source_key = pair->key;
		row->value = pair->value;
		row->attrs = pair->attrs;
		row->index = pair->index;
		row->unreadable = pair->unreadable;
		s->n++;
	}
	return true;
}

static void take_page(struct sorter *s)
{
	s->origin = s->read->origin;
	s->at = s->at == 0 ? s->read->at : KV_MIN(s->at, s->read->at);
	s->high = KV_MAX(s->high, s->read->at);
	s->ask = s->ask == 0 ? s->read->at : s->ask;
	if (!map_page(s)) {
		store_page_free(s->read);
		s->read = NULL;
		no_memory(s);
		answer(s, NULL);
		return;
	}
	s->job.work = in_work;
	s->job.done = in_done;
	worker_submit(s->p.worker, &s->job);
}

static void scan_cb(struct store_scan *req)
{
	struct sorter *s = req->data;

	s->scanning = false;
	s->read = req->page;
	s->err = req->err;
	if (s->err.status == KV_HISTORY_LOST && req->at != 0 && !s->canceled) {
		kv_err_clear(&s->err);
		s->ask = 0;
		scan_next(s);
		return;
	}
	if (s->err.status == KV_OK && s->p.epoch != NULL &&
	    s->read->origin.epoch != *s->p.epoch) {
		(void)kv_fail(&s->err, KV_NOT_REACHABLE,
			      "the source was connected anew");
	}
	if (s->err.status != KV_OK) {
		store_page_free(s->read);
		s->read = NULL;
		answer(s, NULL);
		return;
	}
	take_page(s);
}

static void scan_next(struct sorter *s)
{
	memset(&s->scan, 0, sizeof s->scan);
	s->scan.after = s->after;
	s->scan.max_bytes = s->p.page_bytes;
	s->scan.at = s->ask;
	s->scan.cb = scan_cb;
	s->scan.data = s;
	s->scanning = true;
	if (store_scan(s->p.source, &s->scan) != KV_OK) {
		s->scanning = false;
		s->err = s->scan.err;
		answer(s, NULL);
	}
}

/* ---- the interface
 * ------------------------------------------------------------*/

struct sorter *sorter_open(const struct sorter_params *p)
{
	struct sorter *s = kv_calloc(1, sizeof *s);

	PRE(p->worker != NULL && p->page != NULL);
	if (s == NULL) {
		return NULL;
	}
	s->p = *p;
	s->ask = p->at;
	arena_init(&s->arena);
	arena_init(&s->after_arena);
	return s;
}

void sorter_next(struct sorter *s)
{
	if (s->sorted) {
		out_next(s);
	} else {
		scan_next(s);
	}
}

bool sorter_is_one(const struct sorter *s)
{
	return s->at == s->high;
}

void sorter_cancel(struct sorter *s)
{
	s->canceled = true;
	if (s->scanning) {
		store_cancel(&s->scan.req);
	}
}

void sorter_free(struct sorter *s)
{
	if (s == NULL) {
		return;
	}
	PRE(!s->scanning && s->read == NULL);
	arena_free(&s->arena);
	arena_free(&s->after_arena);
	kv_free(s);
}
