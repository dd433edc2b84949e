/* consul_scan.c: pages of pairs.
 *
 *   first page:  index --> names of the tree --> the page's values
 *   later pages: index ----------------------^
 *   named keys:  index --> values --> what is missing: checked
 *
 * Consul gives a tree whole or not at all: the names (24 bytes and the name, a
 * key) are asked for with the first page and kept until the last one, values
 * are read a page at a time. A page shows the names as of the first one, and
 * values as of now: `at` is the index before the names were asked for.
 */
#include "store/consul/consul_fetch.h"

/* Names kept between pages: of how many scans, and how long. */
#define LISTINGS_MAX 8
#define LISTING_MS 60000

struct listing {
	struct list link;
	struct consul_names names;
	struct slice dir; /* in the arena, as stored */
	struct arena arena;
	size_t next; /* name that the next page begins with */
	uint64_t at;
	uint64_t used_ms;
	bool local;
};

struct scan {
	struct consul *c;
	struct store_scan *req;
	struct arena arena;
	struct http_call call;
	struct names_reader reader;
	struct listing *listing;
	struct fetch fetch;
	struct consul_item *items;
	size_t n_items;
	struct store_page *page;
	size_t cap;
	size_t bytes;
	size_t at_name; /* first name after the items */
	uint64_t index;
	uint64_t epoch;
	uint32_t limit;
};

static void start_values(struct scan *s);

/* ---- listings ------------------------------------------------------------ */

static void free_listing(struct listing *l)
{
	if (l != NULL) {
		names_free(&l->names);
		arena_free(&l->arena);
		kv_free(l);
	}
}

static struct listing *take_first(struct consul *c)
{
	struct list *l = list_pop_front(&c->listings);

	if (l == NULL) {
		return NULL;
	}
	c->n_listings--;
	return kv_container_of(l, struct listing, link);
}

void consul_scan_forget(struct consul *c)
{
	struct listing *l;

	while ((l = take_first(c)) != NULL) {
		free_listing(l);
	}
}

/* Keeps it for the next page; the oldest goes when there are many. */
static void keep_listing(struct consul *c, struct listing *l)
{
	l->used_ms = sched_now(c->st->sched);
	list_push_back(&c->listings, &l->link);
	if (++c->n_listings > LISTINGS_MAX) {
		free_listing(take_first(c));
	}
}

/* The listing that ended a page with this key, taken out; or NULL. */
static struct listing *find_listing(struct consul *c, struct slice dir,
				    struct slice after, bool local)
{
	uint64_t now = sched_now(c->st->sched);
	struct list *i = c->listings.next;

	while (i != &c->listings) {
		struct listing *l = kv_container_of(i, struct listing, link);

		i = i->next;
		if (now - l->used_ms > LISTING_MS) {
			list_remove(&l->link);
			c->n_listings--;
			free_listing(l);
		} else if (l->next > 0 && l->local == local &&
			   slice_eq(l->dir, dir) &&
			   slice_eq(names_at(&l->names, l->next - 1), after)) {
			list_remove(&l->link);
			c->n_listings--;
			return l;
		}
	}
	return NULL;
}

/* ---- the end ------------------------------------------------------------- */

static void stop(struct scan *s)
{
	http_cancel(&s->call);
	http_call_reset(&s->call);
	if (s->fetch.consul != NULL) {
		fetch_cancel(&s->fetch);
	}
	free_listing(s->listing);
	store_page_free(s->page);
	kv_free(s->items);
	arena_free(&s->arena);
	kv_free(s);
}

static void end(struct scan *s)
{
	struct store_scan *req = s->req;

	PRE((req->err.status == KV_OK) == (req->page != NULL));
	stop(s);
	store_done(&req->req);
}

static void fail(struct scan *s, const struct kv_err *why)
{
	s->req->err = *why;
	end(s);
}

static void fail_memory(struct scan *s)
{
	(void)kv_fail(&s->req->err, KV_NO_MEMORY,
		      "consul: no memory for a page");
	end(s);
}

static void succeed(struct scan *s, bool more)
{
	struct store_page *page = s->page;
	struct listing *l = s->listing;

	page->more = more;
	page->at = l != NULL ? KV_MIN(l->at, s->index) : s->index;
	consul_origin(s->c, s->index, s->epoch, &page->origin);
	s->req->page = page;
	s->page = NULL;
	if (more) {
		s->listing = NULL;
		keep_listing(s->c, l);
	}
	end(s);
}

/* ---- pairs --------------------------------------------------------------- */

static bool add_pair(struct scan *s, const struct consul_item *it)
{
	struct store_page *page = s->page;
	struct slice key = consul_relative(s->c, &s->arena, it->key);
	bool value = !s->req->names_only;
	struct store_pair *p;

	if (key.p == NULL) {
		return false;
	}
	p = store_page_add(page, &s->cap, key,
			   value ? it->value : (struct slice){0});
	if (p == NULL) {
		return false;
	}
	p->index = it->index;
	p->version.a = it->index;
	s->bytes += key.n + p->value.n;
	return !value || consul_attrs(s->c, &page->arena, &p->attrs, it->flags);
}

static bool is_full(const struct scan *s)
{
	size_t max =
	    s->req->max_bytes > 0 ? s->req->max_bytes : (size_t)4 << 20;

	return s->page->n >= s->limit || s->bytes >= max;
}

/* Items into the page, as many as it holds. False: no memory. */
static bool add_pairs(struct scan *s, size_t *taken)
{
	size_t i;

	for (i = 0; i < s->n_items && !is_full(s); i++) {
		if (s->items[i].state == ITEM_HERE &&
		    !add_pair(s, &s->items[i])) {
			return false;
		}
	}
	*taken = i;
	return true;
}

static void on_values(struct fetch *f)
{
	struct scan *s = kv_container_of(f, struct scan, fetch);
	size_t taken;

	s->epoch = KV_MIN(s->epoch, f->epoch == 0 ? s->epoch : f->epoch);
	if (f->err.status != KV_OK) {
		fail(s, &f->err);
		return;
	}
	if (!add_pairs(s, &taken)) {
		fail_memory(s);
		return;
	}
	s->listing->next += taken;
	if (s->listing->next >= s->listing->names.n) {
		succeed(s, false);
	} else if (is_full(s)) {
		/* The page ends with its last pair; names behind it may be
		 * gone, and are looked at again. */
		succeed(s, true);
	} else {
		start_values(s);
	}
}

static void start_fetch(struct scan *s, struct consul_item *items, size_t n,
			enum fetch_kind kind, void (*done)(struct fetch *f))
{
	s->fetch = (struct fetch){.consul = s->c,
				  .items = items,
				  .n = n,
				  .kind = kind,
				  .how = s->req->local ? CONSUL_STALE
						       : CONSUL_CONSISTENT,
				  .arena = &s->page->arena,
				  .done = done};
	fetch_start(&s->fetch);
}

/* How many names to read for the rest of the page. */
static size_t portion(const struct scan *s)
{
	const struct listing *l = s->listing;
	size_t n = KV_MIN(l->names.n - l->next, s->limit - s->page->n);
	size_t size = s->c->pair_size + 1;
	size_t max =
	    s->req->max_bytes > 0 ? s->req->max_bytes : (size_t)4 << 20;

	if (s->req->names_only) {
		return n;
	}
	return KV_MIN(n, KV_MAX((max - KV_MIN(max, s->bytes)) / size, 1));
}

static void start_values(struct scan *s)
{
	struct listing *l = s->listing;

	kv_free(s->items);
	s->n_items = portion(s);
	s->items = kv_calloc(KV_MAX(s->n_items, 1), sizeof *s->items);
	if (s->items == NULL) {
		fail_memory(s);
		return;
	}
	for (size_t i = 0; i < s->n_items; i++) {
		s->items[i].key = names_at(&l->names, l->next + i);
	}
	start_fetch(s, s->items, s->n_items,
		    s->req->names_only ? FETCH_CHECK : FETCH_GET, on_values);
}

/* ---- names --------------------------------------------------------------- */

static bool keep_name(const void *ctx, struct slice name)
{
	const struct listing *l = ctx;

	return name.n > 0 && slice_starts(name, l->dir) &&
	       !(l->dir.n > 0 && name.n < l->dir.n);
}

static int on_names(struct http_call *call, const uint8_t *p, size_t n)
{
	struct scan *s = call->ctx;

	return names_feed(&s->reader, p, n);
}

static void begin_names(struct http_call *call)
{
	struct scan *s = call->ctx;

	names_free(&s->listing->names);
	s->reader = (struct names_reader){
	    .out = &s->listing->names, .keep = keep_name, .ctx = s->listing};
}

/* Nothing there, or nothing that the token may see? */
static void on_proof(struct fetch *f)
{
	struct scan *s = kv_container_of(f, struct scan, fetch);

	if (f->err.status != KV_OK) {
		fail(s, &f->err);
	} else {
		succeed(s, false);
	}
}

static void start_proof(struct scan *s)
{
	s->n_items = 1;
	s->items = kv_calloc(1, sizeof *s->items);
	if (s->items == NULL) {
		fail_memory(s);
		return;
	}
	s->items[0].key = s->listing->dir;
	if (s->listing->dir.n == 0) {
		s->items[0].key = slice_str("kvmirror-no-such-key");
	}
	start_fetch(s, s->items, 1, FETCH_CHECK, on_proof);
}

static void on_listed(struct http_call *call)
{
	struct scan *s = call->ctx;
	struct listing *l = s->listing;
	struct slice after;

	if (http_check(call, true) != KV_OK) {
		fail(s, &call->err);
		return;
	}
	if (call->code == 200 && names_end(&s->reader) != KV_OK) {
		(void)kv_fail(&call->err, s->reader.status,
			      "consul: the list of names is not understood");
		fail(s, &call->err);
		return;
	}
	s->epoch = KV_MIN(s->epoch, call->epoch);
	http_call_reset(call);
	names_sort(&l->names);
	if (s->req->after.n > 0) {
		after = consul_stored(s->c, &s->arena, s->req->after);
		if (after.p == NULL) {
			fail_memory(s);
			return;
		}
		l->next = names_find(&l->names, after);
		if (l->next < l->names.n &&
		    slice_eq(names_at(&l->names, l->next), after)) {
			l->next++;
		}
	}
	if (l->names.n == 0) {
		start_proof(s);
	} else if (l->next >= l->names.n) {
		succeed(s, false);
	} else {
		start_values(s);
	}
}

static void start_names(struct scan *s, struct slice dir)
{
	struct listing *l = kv_calloc(1, sizeof *l);

	s->listing = l;
	if (l == NULL) {
		fail_memory(s);
		return;
	}
	list_init(&l->link);
	l->dir = slice_dup(&l->arena, dir);
	l->at = s->index;
	l->local = s->req->local;
	if (l->dir.p == NULL) {
		fail_memory(s);
		return;
	}
	consul_keys_path(s->c, &s->call.path, dir,
			 l->local ? CONSUL_STALE : CONSUL_CONSISTENT, 0, 0);
	s->call.gzip = true;
	s->call.data = on_names;
	s->call.again = begin_names;
	s->call.done = on_listed;
	begin_names(&s->call);
	http_start(&s->c->http, &s->call);
}

static void start_tree(struct scan *s)
{
	struct slice dir = consul_stored_dir(s->c, &s->arena, s->req->dir);
	struct slice after = consul_stored(s->c, &s->arena, s->req->after);

	if (dir.p == NULL || after.p == NULL) {
		fail_memory(s);
		return;
	}
	if (s->req->after.n > 0) {
		s->listing = find_listing(s->c, dir, after, s->req->local);
	}
	if (s->listing != NULL) {
		start_values(s);
	} else {
		start_names(s, dir);
	}
}

/* ---- named keys ---------------------------------------------------------- */

static void finish_named(struct scan *s)
{
	for (size_t i = 0; i < s->n_items; i++) {
		if (s->items[i].state == ITEM_HERE &&
		    !add_pair(s, &s->items[i])) {
			fail_memory(s);
			return;
		}
	}
	succeed(s, false);
}

/* Keys that a get found missing are missing, or not ours to read: a check
 * tells, by failing. */
static void on_named_proof(struct fetch *f)
{
	struct scan *s = kv_container_of(f, struct scan, fetch);

	if (f->err.status != KV_OK) {
		fail(s, &f->err);
	} else {
		finish_named(s);
	}
}

static void on_named(struct fetch *f)
{
	struct scan *s = kv_container_of(f, struct scan, fetch);
	struct consul_item *missing;
	size_t n = 0;

	if (f->err.status != KV_OK) {
		fail(s, &f->err);
		return;
	}
	s->epoch = KV_MIN(s->epoch, f->epoch);
	missing = arena_alloc(&s->arena, s->n_items * sizeof *missing);
	if (missing == NULL) {
		fail_memory(s);
		return;
	}
	for (size_t i = 0; i < s->n_items; i++) {
		if (s->items[i].state == ITEM_MISSING) {
			missing[n++] =
			    (struct consul_item){.key = s->items[i].key};
		}
	}
	if (n == 0 || s->req->names_only) {
		finish_named(s);
	} else {
		start_fetch(s, missing, n, FETCH_CHECK, on_named_proof);
	}
}

static void start_named(struct scan *s)
{
	const struct store_scan *req = s->req;

	s->n_items = req->n_keys;
	s->items = kv_calloc(req->n_keys, sizeof *s->items);
	if (s->items == NULL) {
		fail_memory(s);
		return;
	}
	for (size_t i = 0; i < req->n_keys; i++) {
		s->items[i].key = consul_stored(s->c, &s->arena, req->keys[i]);
		if (s->items[i].key.p == NULL) {
			fail_memory(s);
			return;
		}
	}
	start_fetch(s, s->items, s->n_items,
		    req->names_only ? FETCH_CHECK : FETCH_GET, on_named);
}

/* ---- the beginning ------------------------------------------------------- */

static void on_index(struct http_call *call)
{
	struct scan *s = call->ctx;

	if (http_check(call, true) != KV_OK) {
		fail(s, &call->err);
		return;
	}
	s->index = call->index;
	s->epoch = call->epoch;
	http_call_reset(call);
	if (s->req->keys != NULL) {
		start_named(s);
	} else {
		start_tree(s);
	}
}

int consul_scan(struct store *st, struct store_scan *req)
{
	struct consul *c = consul_of(st);
	struct scan *s = kv_calloc(1, sizeof *s);

	req->page = NULL;
	if (s == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "consul: no memory for a page");
	}
	s->page = store_page_new();
	if (s->page == NULL) {
		kv_free(s);
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "consul: no memory for a page");
	}
	s->c = c;
	s->req = req;
	s->limit = req->limit > 0 ? req->limit : CONSUL_PAGE;
	req->req.impl = s;
	consul_maybe_greet(c);
	consul_index_path(c, &s->call.path,
			  req->local ? CONSUL_STALE : CONSUL_CONSISTENT);
	s->call.done = on_index;
	s->call.ctx = s;
	http_start(&c->http, &s->call);
	return KV_OK;
}

void consul_scan_cancel(struct store_scan *req)
{
	(void)kv_fail(&req->err, KV_CANCELED, "consul: the scan was canceled");
	stop(req->req.impl);
	store_done(&req->req);
}
