/* probe.c: see probe.h. */
#include "agent/probe.h"

#include "agent/identity.h"

/* So many known keys missing at the target all at once: it was replaced. */
#define PROBE_ENOUGH 4

enum { SOURCE, TARGET };

static void finish(struct probe *p)
{
	if (p->err.status == KV_OK) {
		p->env->source_epoch = p->source.epoch;
		p->env->target_epoch = p->target.epoch;
	}
	for (int side = SOURCE; side <= TARGET; side++) {
		store_page_free(p->scan[side].page);
		p->scan[side].page = NULL;
	}
	store_page_free(p->at_scan.page);
	p->at_scan.page = NULL;
	p->running = false;
	p->done(p);
}

/* ---- judging
 * ---------------------------------------------------------------------*/

static const struct store_pair *find_pair(const struct store_page *page,
					  struct slice key)
{
	for (size_t i = 0; i < page->n; i++) {
		if (slice_eq(page->pairs[i].key, key)) {
			return &page->pairs[i];
		}
	}
	return NULL;
}

static void judge_identity(const char *saved, const struct store_origin *o,
			   bool *other, bool *doubt)
{
	enum identity_verdict v = identity_judge(saved, o->identity);

	*other = v == IDENTITY_OTHER;
	*doubt = v == IDENTITY_DOUBT;
}

/* Looks at the sampled keys at the source. p->matches: how many are exactly as
 * the ledger knows them, *newest: the newest row is. */
static void judge_source_keys(struct probe *p, bool *newest)
{
	const struct store_page *page = p->scan[SOURCE].page;

	p->matches = 0;
	p->moved = 0;
	*newest = false;
	for (size_t i = 0; i < p->n; i++) {
		const struct state_row *row = &p->rows[i];
		const struct store_pair *pair = find_pair(page, p->row_keys[i]);

		if (pair == NULL) {
			continue;
		}
		if (!pair->gone && pair->index == row->source_index) {
			p->matches++;
			*newest = *newest || i == 0;
		} else if (pair->index < row->source_index ||
			   (pair->index <= p->told && !p->env->pair)) {
			/* A change that was never told, or was undone. (Of a
			 * pair a change that is the twin's business leaves the
			 * row as it was.) */
			p->new_source = true;
		} else {
			p->moved++; /* changed since: it will be told */
		}
	}
}

static void judge_target(struct probe *p)
{
	const struct store_page *page = p->scan[TARGET].page;
	const char *saved = p->env->new_target ? p->env->target_identity
					       : p->env->cp.target_identity;
	size_t absent = 0;
	size_t matches = 0;

	judge_identity(saved, &p->target, &p->new_target, &p->doubt_target);
	p->new_target = p->new_target || p->target.index < p->target_index;
	if (p->env->new_target) {
		return;
	}
	for (size_t i = 0; i < p->n; i++) {
		const struct state_row *row = &p->rows[i];
		const struct store_pair *pair = find_pair(page, row->key);

		if (pair == NULL) {
			absent++;
		} else if (pair->version.b == row->version_b &&
			   pair->version.a == row->version_a) {
			matches++;
		} else if (pair->version.b == row->version_b &&
			   pair->version.a < row->version_a) {
			p->new_target = true;
		}
	}
	if (p->n >= PROBE_ENOUGH && absent == p->n) {
		p->new_target = true;
	}
	/* Where no identity was known, only a key can say that it is the same
	 * store. */
	if (p->n > 0 &&
	    (absent == p->n || (saved[0] == '\0' && matches == 0))) {
		p->doubt_target = true;
	}
}

/* The newest row's key as it was at its own index: the same history shows that
 * very change. */
static void at_done(struct store_scan *req)
{
	struct probe *p = req->data;
	const struct store_pair *pair;

	p->asking_at = false;
	if (req->err.status != KV_OK) {
		if (req->err.status == KV_HISTORY_LOST) {
			p->doubt_source = true; /* gone: nothing can be said */
		} else {
			p->err = req->err;
			p->source_failed = true;
		}
		finish(p);
		return;
	}
	pair = find_pair(req->page, p->row_keys[0]);
	if (req->page->at != p->rows[0].source_index) {
		/* This backend cannot look back: the other keys must do. */
		p->doubt_source = p->matches == 0 && p->moved < p->n;
	} else if (pair == NULL || pair->index != p->rows[0].source_index) {
		p->new_source = true;
	}
	finish(p);
}

static void ask_at(struct probe *p)
{
	memset(&p->at_scan, 0, sizeof p->at_scan);
	p->at_scan.keys = p->source_keys;
	p->at_scan.n_keys = p->n;
	p->at_scan.at = p->rows[0].source_index;
	p->at_scan.names_only = true;
	p->at_scan.cb = at_done;
	p->at_scan.data = p;
	p->asking_at = true;
	if (store_scan(p->env->source, &p->at_scan) != KV_OK) {
		at_done(&p->at_scan);
	}
}

static void judge(struct probe *p)
{
	struct state_checkpoint *cp = &p->env->cp;
	bool newest = false;

	judge_identity(p->env->new_source ? p->env->source_identity
					  : cp->source_identity,
		       &p->source, &p->new_source, &p->doubt_source);
	p->new_source = p->new_source || p->source.index < p->source_index;
	/* A ledger that is being stamped anew says nothing of that side. */
	if (!p->env->new_source) {
		judge_source_keys(p, &newest);
	}
	judge_target(p);
	if (p->canceled) {
		(void)kv_fail(&p->err, KV_CANCELED, "canceled");
	}
	if (p->canceled || p->n == 0 || newest || p->new_source ||
	    p->doubt_source || p->env->new_source || !cp->complete) {
		finish(p);
	} else {
		ask_at(p);
	}
}

/* ---- asking
 * ---------------------------------------------------------------------------*/

static void scans_done(struct probe *p)
{
	for (int side = SOURCE; side <= TARGET; side++) {
		if (p->scan[side].err.status != KV_OK) {
			p->err = p->scan[side].err;
			p->source_failed = side == SOURCE;
			finish(p);
			return;
		}
	}
	p->source = p->scan[SOURCE].page->origin;
	p->target = p->scan[TARGET].page->origin;
	judge(p);
}

static void scan_cb(struct store_scan *req)
{
	struct probe *p = req->data;

	p->pending--;
	if (p->pending == 0) {
		scans_done(p);
	}
}

static void sort(struct slice *keys, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct slice key = keys[i];
		size_t j = i;

		for (; j > 0 && slice_cmp(keys[j - 1], key) > 0; j--) {
			keys[j] = keys[j - 1];
		}
		keys[j] = key;
	}
}

/* Both stores can be asked for so many keys at once. */
static size_t most_keys(const struct probe *p)
{
	return KV_MIN(store_capabilities(p->env->source)->max_ops,
		      store_capabilities(p->env->target)->max_ops);
}

/* Rows whose source key cannot be told are left out. */
static int fill_keys(struct probe *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n && n < most_keys(p); i++) {
		struct slice key;
		int rv = mapping_to_source(p->env->mapping, p->rows[i].key,
					   &p->arena, &key, NULL);

		if (rv == KV_NO_MEMORY) {
			return kv_fail(&p->err, rv, "no memory for a probe");
		}
		if (rv == KV_OK) {
			p->rows[n] = p->rows[i];
			p->row_keys[n] = key;
			p->target_keys[n] = p->rows[i].key;
			p->source_keys[n++] = key;
		}
	}
	p->n = n;
	sort(p->source_keys, n);
	sort(p->target_keys, n);
	return KV_OK;
}

static void ask(struct probe *p)
{
	struct store *stores[2] = {p->env->source, p->env->target};
	struct slice *keys[2] = {p->source_keys, p->target_keys};

	if (fill_keys(p) != KV_OK) {
		finish(p);
		return;
	}
	p->pending = 0;
	for (int side = SOURCE; side <= TARGET; side++) {
		struct store_scan *req = &p->scan[side];

		memset(req, 0, sizeof *req);
		req->names_only = true;
		req->with_gone = side == SOURCE;
		req->limit = 1;
		if (p->n > 0) {
			req->keys = keys[side];
			req->n_keys = p->n;
		}
		req->cb = scan_cb;
		req->data = p;
		if (store_scan(stores[side], req) == KV_OK) {
			p->pending++;
		}
	}
	if (p->pending == 0) {
		scans_done(p);
	}
}

static void rows_work(struct worker_job *job)
{
	struct probe *p = kv_container_of(job, struct probe, job);

	p->err.status =
	    state_ledger_newest(p->env->state, p->env->route, PROBE_KEYS,
				&p->arena, &p->rows, &p->n, &p->err);
}

static void rows_done(struct worker_job *job)
{
	struct probe *p = kv_container_of(job, struct probe, job);

	if (p->canceled && p->err.status == KV_OK) {
		(void)kv_fail(&p->err, KV_CANCELED, "canceled");
	}
	if (p->err.status != KV_OK) {
		finish(p);
		return;
	}
	ask(p);
}

void probe_init(struct probe *p, struct route_env *env,
		void (*done)(struct probe *p), void *ctx)
{
	memset(p, 0, sizeof *p);
	p->env = env;
	p->done = done;
	p->ctx = ctx;
	arena_init(&p->arena);
}

void probe_clear(struct probe *p)
{
	PRE(!p->running);
	arena_free(&p->arena);
}

void probe_start(struct probe *p)
{
	PRE(!p->running);
	p->running = true;
	p->canceled = false;
	p->new_source = false;
	p->new_target = false;
	p->doubt_source = false;
	p->doubt_target = false;
	p->source_failed = false;
	p->told = p->env->cp.complete ? p->env->saved : 0;
	p->source_index = p->env->cp.source_index;
	p->target_index = p->env->cp.target_index;
	p->n = 0;
	kv_err_clear(&p->err);
	arena_reset(&p->arena);
	if (p->env->state == NULL) {
		ask(p);
		return;
	}
	p->job.work = rows_work;
	p->job.done = rows_done;
	worker_submit(p->env->worker, &p->job);
}

void probe_cancel(struct probe *p)
{
	if (!p->running || p->canceled) {
		return;
	}
	p->canceled = true;
	if (p->asking_at) {
		store_cancel(&p->at_scan.req);
		return;
	}
	for (int side = SOURCE; side <= TARGET && p->pending > 0; side++) {
		if (p->scan[side].cb != NULL && p->scan[side].page == NULL &&
		    p->scan[side].err.status == KV_OK) {
			store_cancel(&p->scan[side].req);
		}
	}
}
