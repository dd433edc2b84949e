/* route_load.c: what the state remembers of a route, read in one job of the
 * worker; and the ledger as the list of keys known, for backends that re-list
 * and compare. */
#include "agent/fingerprint.h"
#include "agent/route_int.h"

#define KNOWN_ROWS 1000

/* ---- loading
 * -------------------------------------------------------------------------*/

/* Does the state hold another pair's ledger under the route's name? */
static int check_others(struct route *r, struct route_load *l)
{
	struct slice ours = slice_str(l->stores);
	struct state_summary *all;
	size_t n;
	int rv = state_summaries(r->env.state, &l->arena, &all, &n, &l->err);

	for (size_t i = 0; rv == KV_OK && i < n; i++) {
		if (strcmp(all[i].name, r->p.conf->name) == 0 &&
		    all[i].stores[0] != '\0' &&
		    !fingerprint_same(slice_str(all[i].stores), ours)) {
			rv = kv_fail(&l->err, KV_BAD_ARGUMENT,
				     "the state file holds the ledger of "
				     "another source, target or --escape; "
				     "give this one a --state file of its own "
				     "(or remove that one to start anew)");
		}
	}
	return rv;
}

static int load_route_row(struct route *r, struct route_load *l)
{
	struct state_fingerprint fp = {.name = r->p.conf->name,
				       .stores = l->stores,
				       .filters = l->filters,
				       .same_stores = fingerprint_same};
	struct state_summary *all;
	size_t n;
	int rv = r->p.keep_others ? check_others(r, l) : KV_OK;

	if (rv != KV_OK) {
		return rv;
	}
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
	if (l->err.status == KV_OK) {
		r->env.saved = r->env.cp.index;
		r->env.reached = r->env.cp.index;
	}
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

/* Would the key be deleted at the target if the source lacked it? Those alone
 * count for the fuse. */
static bool is_known(const struct state_row *row)
{
	return row->kind == STATE_ROW_OWNED || row->kind == STATE_ROW_STALE;
}

/* Where the mapping does not keep the order, the rows are sorted by the
 * source's keys through a temporary table, beside that of the source's pairs.
 */
static int64_t known_table(const struct route *r)
{
	return -1 - r->env.route;
}

/* *n: 1 when the row is in `out`, 0 when it is left out. KV_NO_MEMORY. */
static int known_add(struct route *r, const struct state_row *row,
		     struct arena *arena, struct state_sorted *out, size_t *n)
{
	int rv;

	*n = 0;
	if (!is_known(row)) {
		return KV_OK;
	}
	memset(out, 0, sizeof *out);
	out->index = row->source_index;
	rv =
	    mapping_to_source(r->env.mapping, row->key, arena, &out->key, NULL);
	*n = rv == KV_OK;
	return rv == KV_NO_MEMORY ? rv : KV_OK;
}

/* One page of the ledger into the table; *n: rows read. */
static int known_sort_page(struct route *r, struct arena *arena,
			   struct slice *after, size_t *n)
{
	struct kv_err *err = &r->known_err;
	struct state_sorted *sorted;
	struct state_row *rows;
	size_t kept = 0;
	size_t one;
	int rv = state_ledger_page(r->env.state, r->env.route, *after,
				   KNOWN_ROWS, arena, &rows, n, err);

	if (rv != KV_OK || *n == 0) {
		return rv;
	}
	sorted = arena_alloc(arena, *n * sizeof *sorted);
	for (size_t i = 0; sorted != NULL && i < *n; i++) {
		if (known_add(r, &rows[i], arena, &sorted[kept], &one) !=
		    KV_OK) {
			sorted = NULL;
		}
		kept += one;
	}
	if (sorted == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for known keys");
	}
	*after = rows[*n - 1].key;
	return state_sort_put(r->env.state, known_table(r), sorted, kept, err);
}

static int known_sort(struct route *r)
{
	struct arena pages[2] = {{0}};
	struct slice after = {0};
	size_t n = KNOWN_ROWS;
	int rv = state_sort_clear(r->env.state, known_table(r), &r->known_err);

	arena_init(&pages[0]);
	arena_init(&pages[1]);
	for (int turn = 0; rv == KV_OK && n == KNOWN_ROWS; turn = 1 - turn) {
		/* The last key stands in the other arena. */
		arena_reset(&pages[turn]);
		rv = known_sort_page(r, &pages[turn], &after, &n);
	}
	arena_free(&pages[0]);
	arena_free(&pages[1]);
	return rv;
}

static void known_sorted_work(struct route *r)
{
	int rv = r->known_key.n == 0 ? known_sort(r) : KV_OK;

	if (rv == KV_OK) {
		rv = state_sort_page(r->env.state, known_table(r), r->known_key,
				     KNOWN_ROWS, SIZE_MAX, &r->known_arena,
				     &r->known_sorted, &r->known_n,
				     &r->known_err);
	}
	r->known_err.status = rv;
}

/* A page of the ledger without what is left out; further pages while nothing
 * else is in them. */
static int known_rows_page(struct route *r)
{
	struct slice after = r->known_key;
	size_t n;
	int rv;

	do {
		arena_reset(&r->known_arena);
		r->known_n = 0;
		rv = state_ledger_page(r->env.state, r->env.route, after,
				       KNOWN_ROWS, &r->known_arena,
				       &r->known_rows, &n, &r->known_err);
		for (size_t i = 0; rv == KV_OK && i < n; i++) {
			if (is_known(&r->known_rows[i])) {
				r->known_rows[r->known_n++] = r->known_rows[i];
			}
		}
		r->known_more = n == KNOWN_ROWS;
		if (rv != KV_OK || r->known_n > 0 || !r->known_more) {
			return rv;
		}
		after = slice_dup(&r->known_after, r->known_rows[n - 1].key);
	} while (after.p != NULL);
	return kv_fail(&r->known_err, KV_NO_MEMORY, "no memory for known keys");
}

static void known_work(struct worker_job *job)
{
	struct route *r = kv_container_of(job, struct route, known_job);

	if (r->known_err.status != KV_OK) {
		return;
	}
	if (r->env.mapping != MAPPING_NONE) {
		known_sorted_work(r);
		r->known_more = r->known_n == KNOWN_ROWS;
		return;
	}
	r->known_err.status = known_rows_page(r);
}

/* The ledger's rows as pairs of the source's keys; NULL: no memory. */
static struct store_page *known_build(struct route *r)
{
	bool sorted = r->env.mapping != MAPPING_NONE;
	struct store_page *page = kv_calloc(1, sizeof *page);
	struct store_pair *pairs;

	if (page == NULL) {
		return NULL;
	}
	arena_init(&page->arena);
	page->more = r->known_more;
	pairs = arena_alloc(&page->arena, (r->known_n + 1) * sizeof *pairs);
	page->pairs = pairs;
	for (size_t i = 0; pairs != NULL && i < r->known_n; i++) {
		memset(&pairs[i], 0, sizeof *pairs);
		pairs[i].key =
		    slice_dup(&page->arena, sorted ? r->known_sorted[i].key
						   : r->known_rows[i].key);
		pairs[i].index = sorted ? r->known_sorted[i].index
					: r->known_rows[i].source_index;
		page->n++;
		if (pairs[i].key.p == NULL) {
			pairs = NULL;
		}
	}
	if (pairs == NULL) {
		store_page_free(page);
		return NULL;
	}
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

bool route_known_all(const struct route *r, uint64_t after)
{
	const struct state_checkpoint *cp = &r->env.cp;

	/* Of a pair, the twin drops rows of ours beside its own checkpoint. */
	return r->env.twin == NULL && r->stage == STAGE_FOLLOW &&
	       cp->complete && cp->exact && after >= cp->index &&
	       follow_is_idle(&r->follow) && r->env.quarantine == 0 &&
	       r->env.yielded == 0 && r->p.conf->n_include == 0 &&
	       r->p.conf->n_exclude == 0;
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
	kv_err_clear(&r->known_err);
	r->known_key = slice_dup(&r->known_after, after);
	if (r->known_key.p == NULL) {
		(void)kv_fail(&r->known_err, KV_NO_MEMORY,
			      "no memory for known keys");
	}
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
