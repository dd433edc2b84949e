/* route_load.c: what the state remembers of a route, read in one job of the
 * worker; and the ledger as the list of keys known, for backends that re-list
 * and compare. */
#include "agent/route_int.h"

#define KNOWN_ROWS 1000

/* ---- loading
 * -------------------------------------------------------------------------*/

static int load_route_row(struct route *r, struct route_load *l)
{
	struct state_fingerprint fp = {.name = r->p.conf->name,
				       .stores = l->stores,
				       .filters = l->filters};
	struct state_summary *all;
	size_t n;
	int rv;

	if (!r->p.dry_run) {
		return state_route_open(r->env.state, &fp, &r->env.route,
					&l->match, &l->err);
	}
	/* A dry run changes nothing, not even the route's row. */
	r->env.route = 0;
	rv = state_summaries(r->env.state, &l->arena, &all, &n, &l->err);
	for (size_t i = 0; rv == KV_OK && i < n; i++) {
		if (strcmp(all[i].name, fp.name) == 0) {
			r->env.route = all[i].route;
		}
	}
	return rv;
}

static int load_intents(struct route *r, struct route_load *l)
{
	struct slice *keys;
	int rv;

	rv = state_intents_load(r->env.state, r->env.route, &l->arena,
				&l->intents, &l->ids, &l->n, &l->err);
	if (rv != KV_OK || l->n == 0) {
		return rv;
	}
	keys = arena_alloc(&l->arena, l->n * sizeof *keys);
	l->rows = arena_alloc(&l->arena, l->n * sizeof *l->rows);
	if (keys == NULL || l->rows == NULL) {
		return kv_fail(&l->err, KV_NO_MEMORY, "no memory for intents");
	}
	for (size_t i = 0; i < l->n; i++) {
		keys[i] = l->intents[i].key;
	}
	return state_ledger_get(r->env.state, r->env.route, keys, l->n, l->rows,
				&l->err);
}

static void load_work(struct worker_job *job)
{
	struct route_load *l = kv_container_of(job, struct route_load, job);
	struct route *r = kv_container_of(l, struct route, load);
	struct state *st = r->env.state;

	kv_err_clear(&l->err);
	l->n = 0;
	if (load_route_row(r, l) != KV_OK) {
		return;
	}
	if (r->env.route == 0) {
		return; /* a dry run of what never ran: nothing is known */
	}
	if (state_checkpoint_load(st, r->env.route, &r->env.cp, &l->err) !=
		KV_OK ||
	    state_ledger_count(st, r->env.route, &r->env.keys, &l->err) !=
		KV_OK ||
	    state_count_lists(st, r->env.route, &l->counts, &l->err) != KV_OK) {
		return;
	}
	if (!r->p.dry_run) {
		l->err.status = load_intents(r, l);
	}
}

static void load_done(struct worker_job *job)
{
	struct route_load *l = kv_container_of(job, struct route_load, job);
	struct route *r = kv_container_of(l, struct route, load);

	r->env.quarantine = l->counts.quarantine;
	r->env.foreign = l->counts.foreign;
	r->env.yielded = l->counts.yielded;
	r->env.saved = r->env.cp.index;
	route_stage_loaded(r);
}

void route_load_start(struct route *r)
{
	struct route_load *l = &r->load;

	arena_reset(&l->arena);
	kv_err_clear(&l->err);
	l->n = 0;
	memset(&l->counts, 0, sizeof l->counts);
	l->busy = true;
	l->job.work = load_work;
	l->job.done = load_done;
	worker_submit(r->env.worker, &l->job);
}

/* ---- known keys
 * ---------------------------------------------------------------------------*/

static void known_work(struct worker_job *job)
{
	struct route *r = kv_container_of(job, struct route, known_job);

	kv_err_clear(&r->known_err);
	r->known_err.status = state_ledger_page(
	    r->env.state, r->env.route, r->known_key, KNOWN_ROWS,
	    &r->known_arena, &r->known_rows, &r->known_n, &r->known_err);
}

/* The ledger's rows as pairs of the source's keys. */
static struct store_page *known_build(struct route *r)
{
	struct store_page *page = kv_calloc(1, sizeof *page);
	size_t n = 0;

	if (page == NULL) {
		return NULL;
	}
	arena_init(&page->arena);
	page->pairs =
	    arena_alloc(&page->arena, (r->known_n + 1) * sizeof *page->pairs);
	for (size_t i = 0; page->pairs != NULL && i < r->known_n; i++) {
		const struct state_row *row = &r->known_rows[i];
		struct store_pair *pair = &page->pairs[n];

		memset(pair, 0, sizeof *pair);
		if (row->kind != STATE_ROW_GONE &&
		    mapping_to_source(r->env.mapping, row->key, &page->arena,
				      &pair->key, NULL) == KV_OK) {
			pair->key = slice_dup(&page->arena, pair->key);
			pair->index = row->source_index;
			n++;
		}
	}
	page->n = n;
	page->more = r->known_n == KNOWN_ROWS;
	return page;
}

static void known_done(struct worker_job *job)
{
	struct route *r = kv_container_of(job, struct route, known_job);
	struct store_page *page = NULL;
	int status = r->known_err.status;

	r->known_busy = false;
	if (status == KV_OK) {
		page = known_build(r);
		status = page == NULL ? KV_NO_MEMORY : KV_OK;
	}
	arena_reset(&r->known_arena);
	r->known_page(r->known_ctx, status, page);
	route_stage_maybe_restart(r);
}

static void known_next(struct store_known *known, struct slice after,
		       void (*page)(void *ctx, int status,
				    struct store_page *page),
		       void *ctx)
{
	struct route *r = kv_container_of(known, struct route, known);

	PRE(!r->known_busy);
	arena_reset(&r->known_after);
	r->known_busy = true;
	r->known_page = page;
	r->known_ctx = ctx;
	r->known_key = slice_dup(&r->known_after, after);
	r->known_job.work = known_work;
	r->known_job.done = known_done;
	worker_submit(r->env.worker, &r->known_job);
}

void route_known_init(struct route *r)
{
	arena_init(&r->known_after);
	arena_init(&r->known_arena);
	r->known.next = known_next;
}
