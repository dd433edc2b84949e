/* fake_store.c: see fake_store.h: opening, requests under way, scans. */
#include "fake_impl.h"

#include <stdio.h>

static struct fake_store *store_of(const struct store *st)
{
	return st->impl;
}

bool fake_roll(struct fake_world *w, unsigned per_mille)
{
	return per_mille > 0 && sim_chance(&w->rand, per_mille, 1000);
}

static uint64_t latency(struct fake_world *w)
{
	return sim_below(&w->rand, (uint64_t)w->kind.latency + 1);
}

void fake_origin(const struct fake_store *fs, struct store_origin *o)
{
	memcpy(o->identity, fs->w->identity, sizeof o->identity);
	o->index = fs->w->index;
	o->epoch = fs->epoch;
}

struct kv_err *fake_err(struct store_req *req)
{
	switch (req->kind) {
	case STORE_REQ_SCAN:
		return &kv_container_of(req, struct store_scan, req)->err;
	case STORE_REQ_WRITE:
		return &kv_container_of(req, struct store_write, req)->err;
	default:
		return &kv_container_of(req, struct store_next, req)->err;
	}
}

/* ---- answers
 * ---------------------------------------------------------------*/

static void complete(struct fake_req *fr)
{
	struct store_req *req = fr->req;

	list_remove(&fr->link);
	sim_event_stop(&fr->event);
	req->impl = NULL;
	kv_free(fr);
	store_done(req);
}

bool fake_spare(struct fake_world *w)
{
	return w->mem != NULL && sim_mem_arm(w->mem, false);
}

void fake_spare_end(struct fake_world *w, bool was)
{
	if (w->mem != NULL) {
		(void)sim_mem_arm(w->mem, was);
	}
}

static void scan_arrive(struct fake_req *fr);

static void arrive(struct fake_req *fr)
{
	struct fake_world *w = fr->fs->w;
	bool was = fake_spare(w);

	if (fr->req->kind == STORE_REQ_SCAN) {
		scan_arrive(fr);
	} else if (fr->req->kind == STORE_REQ_WRITE) {
		fake_write_arrive(fr);
	} else {
		fake_watch_arrive(fr);
	}
	fake_spare_end(w, was);
}

static void req_event(struct sim_event *e)
{
	struct fake_req *fr = kv_container_of(e, struct fake_req, event);

	if (fr->stage == FAKE_ANSWERED) {
		complete(fr);
	} else {
		arrive(fr);
	}
}

bool fake_is_down(const struct fake_world *w)
{
	return w->sched->now_ms < w->outage_until_ms;
}

void fake_answer(struct fake_req *fr)
{
	struct fake_world *w = fr->fs->w;

	fr->stage = FAKE_ANSWERED;
	sim_event_stop(&fr->event);
	fr->event.what = "answer";
	sim_event_start(w->sched, &fr->event, true, latency(w));
}

static void drop_result(struct store_req *req)
{
	if (req->kind == STORE_REQ_SCAN) {
		struct store_scan *scan =
		    kv_container_of(req, struct store_scan, req);

		store_page_free(scan->page);
		scan->page = NULL;
	} else if (req->kind == STORE_REQ_NEXT) {
		struct store_next *next =
		    kv_container_of(req, struct store_next, req);

		store_batch_free(next->batch);
		next->batch = NULL;
	}
}

void fake_fail(struct fake_req *fr, int status, const char *why)
{
	drop_result(fr->req);
	(void)kv_fail(fake_err(fr->req), status, "%s: %s", fr->fs->w->name,
		      why);
	fake_answer(fr);
}

/* ---- connections
 * -----------------------------------------------------------*/

/* What becomes of one request when its connection breaks. */
static void cut_req(struct fake_req *fr)
{
	const char *why = "the connection was lost";

	if (fr->stage == FAKE_ANSWERED) {
		/* The answer may have come through just before. A failure
		 * stays what it was. */
		if (fake_err(fr->req)->status != KV_OK ||
		    fake_roll(fr->fs->w, 500)) {
			return;
		}
	}
	if (fr->req->kind == STORE_REQ_WRITE) {
		fake_write_lost(fr, KV_NOT_REACHABLE, why);
	} else if (fr->req->kind == STORE_REQ_NEXT) {
		fake_watch_end(fr, KV_NOT_REACHABLE, why);
	} else {
		fake_fail(fr, KV_NOT_REACHABLE, why);
	}
}

static void cut(struct fake_store *fs)
{
	struct list *l, *next;

	fs->epoch++;
	fs->w->counts->cuts++;
	for (l = fs->reqs.next; l != &fs->reqs; l = next) {
		next = l->next;
		cut_req(kv_container_of(l, struct fake_req, link));
	}
}

void fake_stores_cut(struct fake_world *w)
{
	struct list *l;

	for (l = w->stores.next; l != &w->stores; l = l->next) {
		cut(kv_container_of(l, struct fake_store, link));
	}
}

void fake_stores_forget(struct fake_world *w)
{
	struct list *l, *r;

	for (l = w->stores.next; l != &w->stores; l = l->next) {
		struct fake_store *fs =
		    kv_container_of(l, struct fake_store, link);

		for (r = fs->reqs.next; r != &fs->reqs; r = r->next) {
			struct fake_req *fr =
			    kv_container_of(r, struct fake_req, link);

			if (fr->req->kind == STORE_REQ_WRITE) {
				fake_write_orphan(fr);
			}
		}
	}
	list_init(&w->stores);
}

static void wake_req(struct fake_req *fr)
{
	struct fake_world *w = fr->fs->w;

	if (fr->stage == FAKE_WAITING) {
		sim_event_stop(&fr->event);
		fr->event.what = "changes";
		sim_event_start(w->sched, &fr->event, true, latency(w));
	}
}

void fake_stores_wake(struct fake_world *w)
{
	struct list *l, *r;

	for (l = w->stores.next; l != &w->stores; l = l->next) {
		struct fake_store *fs =
		    kv_container_of(l, struct fake_store, link);

		for (r = fs->reqs.next; r != &fs->reqs; r = r->next) {
			wake_req(kv_container_of(r, struct fake_req, link));
		}
	}
}

/* ---- submission
 * ------------------------------------------------------------*/

static int submit(struct store *st, struct store_req *req, const char *what)
{
	struct fake_store *fs = store_of(st);
	struct fake_world *w = fs->w;
	struct fake_req *fr;

	if (fake_roll(w, w->faults.refused)) {
		w->counts->refused++;
		return kv_fail(fake_err(req), KV_NOT_REACHABLE,
			       "%s: no connection", w->name);
	}
	fr = kv_calloc(1, sizeof *fr);
	if (fr == NULL) {
		return kv_fail(fake_err(req), KV_NO_MEMORY, "%s", w->name);
	}
	fr->fs = fs;
	fr->req = req;
	fr->event.fire = req_event;
	fr->event.what = what;
	list_init(&fr->link);
	list_push_back(&fs->reqs, &fr->link);
	req->impl = fr;
	sim_event_start(w->sched, &fr->event, true, latency(w));
	if (sim_chance(&w->rand, 1, 50)) {
		/* Answered from inside the call; store.c has to park it. */
		sim_event_stop(&fr->event);
		req_event(&fr->event);
		if (fr->stage == FAKE_ANSWERED) {
			w->counts->early_answers++;
			complete(fr);
		}
	}
	return KV_OK;
}

static int op_scan(struct store *st, struct store_scan *req)
{
	return submit(st, &req->req, "scan");
}

static int op_write(struct store *st, struct store_write *req)
{
	return submit(st, &req->req, "write");
}

static int op_changes(struct store_watch *w, struct store_next *req)
{
	struct fake_watch *fw = w->impl;

	if (fw->fs == NULL) {
		fw->fs = store_of(w->store);
		fw->w = w;
		fw->epoch = fw->fs->epoch;
	}
	return submit(w->store, &req->req, "changes");
}

static void op_unwatch(struct store_watch *w)
{
	fake_watch_free(w->impl);
}

static void op_cancel(struct store *st, struct store_req *req)
{
	struct fake_req *fr = req->impl;
	struct fake_world *w = store_of(st)->w;

	if (fr == NULL || fr->stage == FAKE_ANSWERED) {
		return;
	}
	w->counts->canceled++;
	if (req->kind == STORE_REQ_NEXT) {
		fake_watch_end(fr, KV_CANCELED, "canceled");
	} else if (sim_chance(&w->rand, 1, 3)) {
		return; /* the real result will be faster */
	} else if (req->kind == STORE_REQ_WRITE) {
		fake_write_lost(fr, KV_CANCELED, "canceled");
	} else {
		fake_fail(fr, KV_CANCELED, "canceled");
	}
}

/* ---- scans
 * -----------------------------------------------------------------*/

/* The state that the scan shows: 0 when the wanted one is gone. */
static uint64_t scan_index(struct fake_world *w, const struct store_scan *scan)
{
	if (scan->at != 0 && w->kind.at) {
		w->counts->scans_at++;
		return scan->at < w->compacted || scan->at > w->index
			   ? 0
			   : scan->at;
	}
	if (scan->local && sim_chance(&w->rand, 1, 2)) {
		return sim_range(&w->rand, w->compacted, w->index);
	}
	return w->index;
}

static void add_pair(struct store_page *page, size_t *cap,
		     const struct fake_rev *r, struct slice key, bool names)
{
	struct slice value, attrs;
	struct store_pair *p;
	bool set;

	fake_split(names ? slice_str("") : r->value, &value, &attrs);
	p = store_page_add(page, cap, key, value);
	PRE(p != NULL);
	set = store_attrs_set(&page->arena, &p->attrs, attrs);
	PRE(set);
	p->index = r->index;
	p->version = r->version;
}

static void scan_keys(const struct fake_world *w, const struct store_scan *scan,
		      struct store_page *page)
{
	size_t cap = 0;

	w->counts->scans_of_keys++;
	for (size_t i = 0; i < scan->n_keys; i++) {
		const struct fake_key *k = fake_find(w, scan->keys[i]);
		const struct fake_rev *r =
		    k == NULL ? NULL : fake_at(w, k, page->at);

		if (r != NULL) {
			add_pair(page, &cap, r, k->key, scan->names_only);
		}
	}
}

static bool is_in(const struct store_scan *scan, struct slice key)
{
	return slice_below(key, scan->dir) &&
	       (scan->after.n == 0 || slice_cmp(key, scan->after) > 0);
}

static void scan_tree(struct fake_world *w, const struct store_scan *scan,
		      struct store_page *page)
{
	size_t cap = 0, bytes = 0;
	size_t max_bytes = scan->max_bytes == 0 ? 4 << 20 : scan->max_bytes;
	uint32_t limit =
	    scan->limit == 0 ? w->kind.caps.scan_page : scan->limit;

	/* A server may give less than was asked for. */
	limit = (uint32_t)sim_range(&w->rand, (limit + 1) / 2, limit);
	for (size_t i = 0; i < w->n_keys; i++) {
		struct fake_key *k = w->keys[i];
		const struct fake_rev *r = fake_at(w, k, page->at);

		if (r == NULL || !is_in(scan, k->key)) {
			continue;
		}
		if (page->n >= limit ||
		    (page->n > 0 &&
		     bytes + k->key.n + r->value.n > max_bytes)) {
			page->more = true;
			break;
		}
		bytes += k->key.n + r->value.n;
		add_pair(page, &cap, r, k->key, scan->names_only);
	}
	if (w->shuffle && page->n > 1) {
		struct store_pair first = page->pairs[0];

		page->pairs[0] = page->pairs[1];
		page->pairs[1] = first;
	}
	if (page->n > 0 && sim_chance(&w->rand, 1, 16)) {
		page->more = true; /* there may be more, or not */
	}
}

static void scan_arrive(struct fake_req *fr)
{
	struct store_scan *scan =
	    kv_container_of(fr->req, struct store_scan, req);
	struct fake_world *w = fr->fs->w;
	uint64_t now = w->sched->now_ms;

	w->counts->scans++;
	if (fake_is_down(w) || fake_roll(w, w->faults.unreachable)) {
		w->counts->unreachable++;
		fake_fail(fr, KV_NOT_REACHABLE, "the server is down");
		return;
	}
	if (fake_roll(w, w->faults.cut)) {
		cut(fr->fs);
		return;
	}
	if (fake_roll(w, w->faults.timed_out)) {
		w->counts->timed_out++;
		fake_fail(fr, KV_TIMED_OUT, "no answer");
		return;
	}
	if (now < w->denied_until_ms) {
		w->counts->denied++;
		fake_fail(fr, KV_DENIED, "credentials refused");
		return;
	}
	scan->page = store_page_new();
	PRE(scan->page != NULL);
	scan->page->at = scan_index(w, scan);
	if (scan->page->at == 0) {
		w->counts->pages_lost++;
		fake_fail(fr, KV_HISTORY_LOST, "compacted");
		return;
	}
	fake_origin(fr->fs, &scan->page->origin);
	if (scan->local) {
		scan->page->origin.index = scan->page->at;
	}
	if (scan->keys != NULL) {
		scan_keys(w, scan, scan->page);
	} else {
		scan_tree(w, scan, scan->page);
		w->counts->pages_mixed +=
		    scan->after.n > 0 && scan->page->at != fr->fs->last_at;
		fr->fs->last_at = scan->page->at;
	}
	FAKE_TRACE(w, "%s: scan%s after '%.*s' at %llu: %zu pairs%s", w->name,
		   scan->keys != NULL ? " of keys" : "", (int)scan->after.n,
		   (const char *)scan->after.p,
		   (unsigned long long)scan->page->at, scan->page->n,
		   scan->page->more ? ", more" : "");
	fake_answer(fr);
}

/* ---- open and close
 * --------------------------------------------------------*/

static int op_open(struct store *st, struct kv_err *err)
{
	struct fake_store *fs = store_of(st);
	struct sim_sched *s = sim_sched_of(st->sched);

	for (size_t i = 0; i < KV_COUNT(s->worlds); i++) {
		struct fake_world *w = s->worlds[i];

		if (w != NULL && strncmp(st->uri->endpoints[0], w->name,
					 strlen(w->name)) == 0) {
			fs->w = w;
		}
	}
	if (fs->w == NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT, "fake: no world %s",
			       st->uri->endpoints[0]);
	}
	fs->st = st;
	fs->epoch = 1;
	list_init(&fs->link);
	list_init(&fs->reqs);
	list_push_back(&fs->w->stores, &fs->link);
	st->caps = fs->w->kind.caps;
	return KV_OK;
}

static void close_event(struct sim_event *e)
{
	struct fake_store *fs =
	    kv_container_of(e, struct fake_store, close_event);

	store_closed(fs->st);
}

static void op_close(struct store *st)
{
	struct fake_store *fs = store_of(st);

	PRE(list_empty(&fs->reqs));
	list_remove(&fs->link);
	if (sim_chance(&fs->w->rand, 1, 2)) {
		store_closed(st);
		return;
	}
	fs->close_event.fire = close_event;
	fs->close_event.what = "close";
	sim_event_start(fs->w->sched, &fs->close_event, true, latency(fs->w));
}

/* Names that a target refuses; the source has them. */
static int op_check_key(const struct store *st, struct slice key,
			struct kv_err *err)
{
	if (strcmp(store_of(st)->w->name, "target") == 0 &&
	    memchr(key.p, '!', key.n) != NULL) {
		return kv_fail(err, KV_INVALID_KEY,
			       "a name with '!' cannot be stored here");
	}
	return KV_OK;
}

static const char *const schemes[] = {"fake", NULL};
static const struct option_row options[] = {{.name = NULL}};

const struct store_ops fake_store_ops = {
    .name = "fake",
    .schemes = schemes,
    .options = options,
    .help = "a server that is played",
    .store_size = sizeof(struct fake_store),
    .watch_size = sizeof(struct fake_watch),
    .has_attrs = true,
    .open = op_open,
    .scan = op_scan,
    .changes = op_changes,
    .unwatch = op_unwatch,
    .write = op_write,
    .cancel = op_cancel,
    .close = op_close,
    .check_key = op_check_key,
};
