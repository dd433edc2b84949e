/* routes.c: a route's name and fingerprint.
 *
 *   name unknown            -> a row, with its progress           NEW
 *   both texts as saved     -> nothing                            SAME
 *   other filters           -> saved; the checkpoint is no longer
 *                              complete, so that a reconcile comes
 *                              even if this start is cut short     FILTERS
 *   other stores            -> the old row loses its name, a new one
 *                              takes it, in one transaction; what hung
 *                              on the old one goes in small steps  STORES
 */
#include "state/state_int.h"

/* Rows a transaction, so that a large ledger neither fills the WAL nor makes
 * others wait for long. */
#define SWEEP_ROWS 10000

/* ---- dropping a route */

static int sweep_step(struct state *st, enum sql_id id, int64_t route,
		      int64_t *changed, struct kv_err *err)
{
	struct sql q = sql_open(st, id);

	sql_int(&q, route);
	if (sqlite3_bind_parameter_count(q.stmt) > 1) {
		sql_int(&q, SWEEP_ROWS);
	}
	*changed = sql_run(&q);
	return sql_close(&q, err);
}

static int sweep_list(struct state *st, enum sql_id id, int64_t route,
		      struct kv_err *err)
{
	int64_t changed = 1;
	int status = KV_OK;

	while (status == KV_OK && changed > 0) {
		status = sweep_step(st, id, route, &changed, err);
	}
	return status;
}

/* The lists in steps, each a transaction of its own; the rest, and the row
 * that says there is something to drop, at last and at once. */
static int sweep_route(struct state *st, int64_t route, struct kv_err *err)
{
	static const enum sql_id lists[] = {
	    SQL_LEDGER_SWEEP, SQL_CONFLICT_SWEEP, SQL_QUARANTINE_SWEEP,
	    SQL_FOREIGN_SWEEP};
	static const enum sql_id rest[] = {SQL_INTENT_DROP, SQL_NEWEST_DROP,
					   SQL_LIVE_DROP, SQL_PROGRESS_DROP,
					   SQL_ROUTE_DROP};
	int64_t changed;
	int status = KV_OK;

	for (size_t i = 0; status == KV_OK && i < KV_COUNT(lists); i++) {
		status = sweep_list(st, lists[i], route, err);
	}
	if (status == KV_OK) {
		status = tx_begin(st, SQL_BEGIN_WRITE, err);
	}
	if (status != KV_OK) {
		return status;
	}
	for (size_t i = 0; status == KV_OK && i < KV_COUNT(rest); i++) {
		status = sweep_step(st, rest[i], route, &changed, err);
	}
	return tx_end(st, status, err);
}

/* The sum of a route that may be dropped: damage must not look like one. */
static int64_t left_sum(int64_t route)
{
	uint8_t bytes[16];
	struct pack b = {.p = bytes};

	pack_u64(&b, sum_part(slice_str("left")));
	pack_u64(&b, (uint64_t)route);
	return sum_of(slice_of(b.p, b.n));
}

static int find_left(struct state *st, int64_t *route, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_ROUTE_LEFT);

	*route = 0;
	if (sql_next(&q)) {
		*route = sql_get_int(&q);
		if (sql_get_int(&q) != left_sum(*route)) {
			sql_stop(&q, KV_BROKEN, "a route without a name");
		}
	}
	return sql_close(&q, err);
}

int routes_sweep(struct state *st, struct kv_err *err)
{
	int64_t route;
	int status = find_left(st, &route, err);

	while (status == KV_OK && route != 0) {
		status = sweep_route(st, route, err);
		if (status == KV_OK) {
			status = find_left(st, &route, err);
		}
	}
	return status;
}

/* ---- the fingerprint */

static int64_t fingerprint_sum(struct slice name, struct slice stores,
			       struct slice filters)
{
	uint8_t bytes[24];
	struct pack b = {.p = bytes};

	pack_u64(&b, sum_part(name));
	pack_u64(&b, sum_part(stores));
	pack_u64(&b, sum_part(filters));
	return sum_of(slice_of(b.p, b.n));
}

static int64_t sum_of_fingerprint(const struct state_fingerprint *fp)
{
	return fingerprint_sum(slice_str(fp->name), slice_str(fp->stores),
			       slice_str(fp->filters));
}

static bool same_stores(const struct state_fingerprint *fp, struct slice saved)
{
	struct slice now = slice_str(fp->stores);

	return fp->same_stores != NULL ? fp->same_stores(saved, now)
				       : slice_eq(saved, now);
}

/* Looks at a row of the table; is it the route's? */
static bool compare(struct sql *q, const struct state_fingerprint *fp,
		    int64_t *route, enum state_match *match)
{
	int64_t id = sql_get_int(q);
	struct slice name = sql_get_blob(q);
	struct slice stores = sql_get_blob(q);
	struct slice filters = sql_get_blob(q);

	if (sql_get_int(q) != fingerprint_sum(name, stores, filters)) {
		sql_stop(q, KV_BROKEN, "a route's fingerprint");
		return false;
	}
	if (!slice_eq(name, slice_str(fp->name))) {
		return false;
	}
	*route = id;
	*match = !same_stores(fp, stores) ? STATE_ROUTE_STORES
		 : !slice_eq(filters, slice_str(fp->filters))
		     ? STATE_ROUTE_FILTERS
		     : STATE_ROUTE_SAME;
	return true;
}

/* All routes are looked at, not only the one of that name: a name that is
 * damaged would otherwise be a new route with an empty ledger. */
static int find(struct state *st, const struct state_fingerprint *fp,
		int64_t *route, enum state_match *match, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_ROUTE_LIST);

	*match = STATE_ROUTE_NEW;
	while (sql_next(&q)) {
		if (compare(&q, fp, route, match)) {
			break;
		}
	}
	return sql_close(&q, err);
}

static int add(struct state *st, const struct state_fingerprint *fp,
	       int64_t *route, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_ROUTE_ADD);
	int status;

	sql_text(&q, fp->name);
	sql_text(&q, fp->stores);
	sql_text(&q, fp->filters);
	sql_int(&q, sum_of_fingerprint(fp));
	(void)sql_run(&q);
	*route = sqlite3_last_insert_rowid(st->db);
	status = sql_close(&q, err);
	if (status != KV_OK) {
		return status;
	}
	return progress_add(st, *route, err);
}

static int leave(struct state *st, int64_t route, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_ROUTE_LEAVE);

	sql_int(&q, left_sum(route));
	sql_int(&q, route);
	(void)sql_run(&q);
	return sql_close(&q, err);
}

static int refilter(struct state *st, int64_t route,
		    const struct state_fingerprint *fp, struct kv_err *err)
{
	struct state_checkpoint cp;
	struct sql q = sql_open(st, SQL_ROUTE_FILTERS);
	int status;

	sql_text(&q, fp->filters);
	sql_int(&q, sum_of_fingerprint(fp));
	sql_int(&q, route);
	(void)sql_run(&q);
	status = sql_close(&q, err);
	if (status == KV_OK) {
		status = state_checkpoint_load(st, route, &cp, err);
	}
	if (status == KV_OK && cp.complete) {
		cp.complete = false;
		status = checkpoint_save(st, route, &cp, err);
	}
	return status;
}

/* The stores as they are named now, for the next comparison. */
static int rename_stores(struct state *st, int64_t route,
			 const struct state_fingerprint *fp, struct kv_err *err)
{
	struct sql q = sql_open(st, SQL_ROUTE_STORES);

	sql_text(&q, fp->stores);
	sql_int(&q, sum_of_fingerprint(fp));
	sql_int(&q, route);
	(void)sql_run(&q);
	return sql_close(&q, err);
}

static int settle(struct state *st, const struct state_fingerprint *fp,
		  int64_t *route, enum state_match *match, struct kv_err *err)
{
	int status = find(st, fp, route, match, err);

	if (status == KV_OK && *match == STATE_ROUTE_FILTERS) {
		status = refilter(st, *route, fp, err);
	}
	if (status == KV_OK &&
	    (*match == STATE_ROUTE_FILTERS || *match == STATE_ROUTE_SAME)) {
		return rename_stores(st, *route, fp, err);
	}
	if (status == KV_OK && *match == STATE_ROUTE_STORES) {
		status = leave(st, *route, err);
	}
	if (status == KV_OK && *match != STATE_ROUTE_SAME) {
		status = add(st, fp, route, err);
	}
	return status;
}

int state_route_open(struct state *st, const struct state_fingerprint *fp,
		     int64_t *route, enum state_match *match,
		     struct kv_err *err)
{
	int status = tx_begin(st, SQL_BEGIN_WRITE, err);

	*route = 0;
	*match = STATE_ROUTE_NEW;
	if (status != KV_OK) {
		return status;
	}
	status = tx_end(st, settle(st, fp, route, match, err), err);
	if (status == KV_OK && *match == STATE_ROUTE_STORES) {
		status = routes_sweep(st, err);
	}
	return status;
}
