/* consul_probe.c: which parts of a tree moved. The names, sorted, are cut where
 * they begin to differ; the index of a list below such a beginning tells
 * whether anything there changed or went. Parts that moved and are large are
 * cut again.
 *
 *   [all] --> aa.. ab.. b.. --(index > verified?)--> ab.. --> ab1.. ab2..
 *                                                             marked to look at
 */
#include "store/consul/consul_watch.h"

static void on_probe(struct http_call *call);

static void mark(struct consul_watch *cw, size_t from, size_t to)
{
	for (; from < to; from++) {
		cw->marks[from] |= MARK_LOOK;
	}
}

static bool push(struct consul_watch *cw, size_t from, size_t to, size_t common)
{
	if (cw->n_ranges == cw->ranges_cap &&
	    !kv_grow((void **)&cw->ranges, &cw->ranges_cap, cw->n_ranges + 1,
		     sizeof *cw->ranges)) {
		return false;
	}
	cw->ranges[cw->n_ranges++] =
	    (struct probe_range){.from = from, .to = to, .common = common};
	return true;
}

/* How many bytes two names have in common. */
static size_t common_of(struct slice a, struct slice b)
{
	size_t n = KV_MIN(a.n, b.n);
	size_t i = 0;

	while (i < n && a.p[i] == b.p[i]) {
		i++;
	}
	return i;
}

/* Cuts names [from, to) by the byte after what they have in common. Small parts
 * are not worth a question. */
static bool cut(struct consul_watch *cw, size_t from, size_t to)
{
	const struct consul_names *x = &cw->fresh;
	size_t common = common_of(names_at(x, from), names_at(x, to - 1));

	while (from < to) {
		struct slice first = names_at(x, from);
		size_t end = from + 1;

		while (end < to && first.n > common &&
		       names_at(x, end).p[common] == first.p[common]) {
			end++;
		}
		if (end - from <= WATCH_SECTION / 8) {
			mark(cw, from, end);
		} else if (!push(cw, from, end,
				 common_of(first, names_at(x, end - 1)))) {
			return false;
		}
		from = end;
	}
	return true;
}

static int drop_body(struct http_call *call KV_UNUSED,
		     const uint8_t *p KV_UNUSED, size_t n KV_UNUSED)
{
	return KV_OK;
}

/* The list's index is what is wanted; folders are folded to keep it short. */
static void ask(struct probe_lane *lane)
{
	struct consul_watch *cw = lane->cw;
	struct slice name = names_at(&cw->fresh, lane->range.from);

	consul_keys_path(cw->c, &lane->call.path,
			 slice_of(name.p, lane->range.common),
			 CONSUL_CONSISTENT, 0, 0);
	buf_str(&lane->call.path, "&separator=/");
	lane->call.gzip = true;
	lane->call.data = drop_body;
	lane->call.done = on_probe;
	lane->call.ctx = lane;
	cw->probing++;
	http_start(&cw->c->http, &lane->call);
}

static bool next(struct probe_lane *lane)
{
	struct consul_watch *cw = lane->cw;

	if (cw->n_ranges == 0) {
		return false;
	}
	lane->range = cw->ranges[--cw->n_ranges];
	ask(lane);
	return true;
}

static void start_idle(struct consul_watch *cw)
{
	for (size_t i = 0; i < PROBE_LANES; i++) {
		if (!http_going(&cw->lanes[i].call) && !next(&cw->lanes[i])) {
			return;
		}
	}
}

static void on_probe(struct http_call *call)
{
	struct probe_lane *lane = call->ctx;
	struct consul_watch *cw = lane->cw;
	struct probe_range *r = &lane->range;

	cw->probing--;
	if (http_check(call, true) != KV_OK) {
		watch_fail(cw, &call->err);
		return;
	}
	if (!watch_same_epoch(cw, call->epoch)) {
		return;
	}
	http_call_reset(call);
	if (call->index > cw->verified || call->index == 0) {
		if (r->to - r->from <= WATCH_SECTION) {
			mark(cw, r->from, r->to);
		} else if (!cut(cw, r->from, r->to)) {
			watch_fail_memory(cw);
			return;
		}
	}
	start_idle(cw);
	if (cw->probing == 0) {
		section_probe_done(cw);
	}
}

void section_probe_start(struct consul_watch *cw)
{
	PRE(cw->probing == 0 && cw->fresh.n > 0);
	cw->n_ranges = 0;
	for (size_t i = 0; i < PROBE_LANES; i++) {
		cw->lanes[i].cw = cw;
	}
	if (!cut(cw, 0, cw->fresh.n)) {
		watch_fail_memory(cw);
		return;
	}
	start_idle(cw);
	if (cw->probing == 0) {
		section_probe_done(cw);
	}
}

void section_probe_stop(struct consul_watch *cw)
{
	for (size_t i = 0; i < PROBE_LANES; i++) {
		http_cancel(&cw->lanes[i].call);
		http_call_reset(&cw->lanes[i].call);
	}
	cw->probing = 0;
	cw->n_ranges = 0;
}
