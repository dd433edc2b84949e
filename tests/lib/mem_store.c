/* mem_store.c: see mem_store.h. Everything has a fixed size, so that only what
 * is handed out can run out of memory. */
#include "tests/lib/mem_store.h"

static const struct slice no_bytes;

struct mem_watch {
	size_t at; /* position in the log */
	bool init_done;
	struct store_next *next; /* waits for a change */
};

struct mem_impl *mem_of(struct store *st)
{
	return st->impl;
}

static struct slice key_of(const struct mem_kv *kv)
{
	return slice_of(kv->key, kv->key_n);
}

static struct slice value_of(const struct mem_kv *kv)
{
	return slice_of(kv->value, kv->value_n);
}

/* What is told to those who carry attrs. */
static struct slice attrs_of(const struct store *st, const struct mem_kv *kv)
{
	return slice_of(kv->attrs,
			(st->flags & STORE_ATTRS) != 0 ? kv->attrs_n : 0);
}

static size_t find(const struct mem_impl *m, struct slice key, bool *found)
{
	size_t i;

	for (i = 0; i < m->n && slice_cmp(key_of(&m->kv[i]), key) < 0; i++) {
	}
	*found = i < m->n && slice_eq(key_of(&m->kv[i]), key);
	return i;
}

static void fill(struct mem_kv *kv, struct slice key, struct slice value,
		 struct slice attrs, uint64_t version)
{
	PRE(key.n <= MEM_BYTES && value.n <= MEM_BYTES);
	PRE(attrs.n <= MEM_BYTES);
	memset(kv, 0, sizeof *kv);
	memcpy(kv->key, key.p, key.n);
	kv->key_n = key.n;
	if (value.n > 0) {
		memcpy(kv->value, value.p, value.n);
	}
	kv->value_n = value.n;
	if (attrs.n > 0) {
		memcpy(kv->attrs, attrs.p, attrs.n);
	}
	kv->attrs_n = attrs.n;
	kv->version = version;
}

static void apply(struct mem_impl *m, struct slice key, struct slice value,
		  struct slice attrs, bool gone)
{
	struct mem_kv *entry;
	bool found;
	size_t i = find(m, key, &found);

	PRE(m->n < MEM_KEYS && m->n_log < MEM_LOG);
	m->rev++;
	entry = &m->log[m->n_log++];
	fill(entry, key, value, attrs, m->rev);
	entry->gone = gone;
	if (gone) {
		m->n--;
		memmove(&m->kv[i], &m->kv[i + 1], (m->n - i) * sizeof m->kv[0]);
		return;
	}
	if (!found) {
		memmove(&m->kv[i + 1], &m->kv[i], (m->n - i) * sizeof m->kv[0]);
		m->n++;
	}
	fill(&m->kv[i], key, value, attrs, m->rev);
}

static void set_origin(const struct mem_impl *m, struct store_origin *origin)
{
	memcpy(origin->identity, "mem", 4);
	origin->index = m->rev;
	origin->epoch = 1;
}

/* ---- completion ---------------------------------------------------------- */

static int complete(struct store *st, struct store_req *req)
{
	struct mem_impl *m = mem_of(st);

	if (m->mode == MEM_INLINE) {
		store_done(req);
	} else {
		PRE(m->n_held < KV_COUNT(m->held));
		m->held[m->n_held++] = req;
	}
	return KV_OK;
}

void mem_release(struct store *st)
{
	struct mem_impl *m = mem_of(st);
	size_t i;

	for (i = 0; i < m->n_held; i++) {
		store_done(m->held[i]);
	}
	m->n_held = 0;
}

/* The refusals that a test asked for. */
static bool refused(struct store *st, struct kv_err *err, int *rv)
{
	struct mem_impl *m = mem_of(st);

	*rv = m->refuse;
	m->refuse = KV_OK;
	return *rv == KV_OK ? false
			    : kv_fail(err, *rv, "refused by the test") != 0;
}

static bool failed(struct store *st, struct kv_err *err)
{
	struct mem_impl *m = mem_of(st);
	int status = m->fail;

	m->fail = KV_OK;
	return status != KV_OK && kv_fail(err, status, "failed by the test");
}

/* ---- scan ---------------------------------------------------------------- */

static bool wanted(const struct store_scan *req, struct slice key)
{
	size_t i;

	if (req->keys == NULL) {
		return slice_below(key, req->dir) &&
		       slice_cmp(key, req->after) > 0;
	}
	for (i = 0; i < req->n_keys; i++) {
		if (slice_eq(req->keys[i], key)) {
			return true;
		}
	}
	return false;
}

static int fill_page(struct store *st, const struct store_scan *req,
		     struct store_page *page)
{
	const struct mem_impl *m = mem_of(st);
	size_t i, cap = 0, limit = req->limit == 0 ? 3 : req->limit;
	struct store_pair *pair;

	for (i = 0; i < m->n; i++) {
		if (!wanted(req, key_of(&m->kv[i]))) {
			continue;
		}
		if (page->n == limit && req->keys == NULL) {
			page->more = true;
			return KV_OK;
		}
		pair = store_page_add(page, &cap, key_of(&m->kv[i]),
				      req->names_only ? slice_of(NULL, 0)
						      : value_of(&m->kv[i]));
		if (pair == NULL ||
		    (!req->names_only &&
		     !store_attrs_set(&page->arena, &pair->attrs,
				      attrs_of(st, &m->kv[i])))) {
			return KV_NO_MEMORY;
		}
		pair->index = pair->version.a = m->kv[i].version;
	}
	return KV_OK;
}

static int mem_scan(struct store *st, struct store_scan *req)
{
	struct mem_impl *m = mem_of(st);
	struct store_pair swap;
	int rv;

	m->scans++;
	m->last_scan = *req;
	if (refused(st, &req->err, &rv)) {
		return rv;
	}
	if (failed(st, &req->err)) {
		return complete(st, &req->req);
	}
	req->page = store_page_new();
	if (req->page == NULL || fill_page(st, req, req->page) != KV_OK) {
		store_page_free(req->page);
		req->page = NULL;
		return kv_fail(&req->err, KV_NO_MEMORY, "out of memory");
	}
	if (m->shuffle && req->page->n > 1) {
		swap = req->page->pairs[0];
		req->page->pairs[0] = req->page->pairs[1];
		req->page->pairs[1] = swap;
	}
	req->page->at = m->rev;
	set_origin(m, &req->page->origin);
	return complete(st, &req->req);
}

/* ---- changes ------------------------------------------------------------- */

static bool watched(const struct store_watch *w, struct slice key)
{
	return w->key.n > 0 ? slice_eq(w->key, key) : slice_below(key, w->dir);
}

static int fill_batch(struct store_watch *w, struct store_batch *b)
{
	struct mem_impl *m = mem_of(w->store);
	struct mem_watch *mw = w->impl;
	struct store_change *c;
	size_t cap = 0;

	b->init = !mw->init_done;
	for (; mw->init_done && mw->at < m->n_log; mw->at++) {
		const struct mem_kv *kv = &m->log[mw->at];

		if (kv->version <= w->after || !watched(w, key_of(kv))) {
			continue;
		}
		c = store_batch_add(b, &cap, key_of(kv), value_of(kv));
		if (c == NULL || !store_attrs_set(&b->arena, &c->attrs,
						  attrs_of(w->store, kv))) {
			return KV_NO_MEMORY;
		}
		c->action = kv->gone ? STORE_DELETE : STORE_SET;
		c->index = kv->version;
		c->version.a = kv->gone ? 0 : kv->version;
	}
	b->index = m->rev;
	set_origin(m, &b->origin);
	return KV_OK;
}

/* Has the watch something to say? */
static bool has_news(const struct store_watch *w, const struct store_next *req)
{
	const struct mem_impl *m = mem_of(w->store);
	const struct mem_watch *mw = w->impl;
	size_t i;

	if (!mw->init_done || (req->want > 0 && req->want <= m->rev)) {
		return true;
	}
	for (i = mw->at; i < m->n_log; i++) {
		if (m->log[i].version > w->after &&
		    watched(w, key_of(&m->log[i]))) {
			return true;
		}
	}
	return false;
}

static int answer(struct store_watch *w, struct store_next *req)
{
	struct mem_watch *mw = w->impl;
	size_t at = mw->at;

	mw->next = NULL;
	req->batch = store_batch_new();
	if (req->batch == NULL || fill_batch(w, req->batch) != KV_OK) {
		mw->at = at;
		store_batch_free(req->batch);
		req->batch = NULL;
		(void)kv_fail(&req->err, KV_NO_MEMORY, "out of memory");
	} else {
		mw->init_done = true;
	}
	return complete(w->store, &req->req);
}

static int mem_changes(struct store_watch *w, struct store_next *req)
{
	struct mem_impl *m = mem_of(w->store);
	struct mem_watch *mw = w->impl;
	size_t i;
	int rv;

	m->nexts++;
	if (refused(w->store, &req->err, &rv)) {
		return rv;
	}
	if (failed(w->store, &req->err)) {
		return complete(w->store, &req->req);
	}
	if (has_news(w, req)) {
		return answer(w, req);
	}
	mw->next = req;
	for (i = 0; m->waiting[i] != NULL && m->waiting[i] != w; i++) {
		PRE(i + 1 < KV_COUNT(m->waiting));
	}
	m->waiting[i] = w;
	return KV_OK;
}

static void poke(struct store *st)
{
	struct mem_impl *m = mem_of(st);
	size_t i;

	for (i = 0; i < KV_COUNT(m->waiting); i++) {
		struct store_watch *w = m->waiting[i];
		struct mem_watch *mw = w == NULL ? NULL : w->impl;

		if (mw != NULL && mw->next != NULL && has_news(w, mw->next)) {
			(void)answer(w, mw->next);
		}
	}
}

static void mem_unwatch(struct store_watch *w)
{
	struct mem_impl *m = mem_of(w->store);
	struct mem_watch *mw = w->impl;
	size_t i, k = 0;

	PRE(mw->next == NULL);
	m->unwatches++;
	for (i = 0; i < KV_COUNT(m->waiting); i++) {
		if (m->waiting[i] != NULL && m->waiting[i] != w) {
			m->waiting[k++] = m->waiting[i];
		}
	}
	while (k < KV_COUNT(m->waiting)) {
		m->waiting[k++] = NULL;
	}
}

/* ---- write --------------------------------------------------------------- */

static int judge(const struct mem_impl *m, const struct store_op *op)
{
	bool found;
	size_t i = find(m, op->key, &found);

	if (op->kind == STORE_OP_DELETE && !found) {
		return KV_KEY_NOT_FOUND;
	}
	if (op->guard == STORE_GUARD_ABSENT && found) {
		return KV_KEY_EXISTS;
	}
	if (op->guard == STORE_GUARD_VERSION &&
	    (!found || m->kv[i].version != op->expect.a)) {
		return KV_KEY_MODIFIED;
	}
	return KV_OK;
}

static void write_ops(struct mem_impl *m, struct store_write *req)
{
	int first = KV_OK;
	size_t i;

	for (i = 0; i < req->n_ops; i++) {
		struct store_op *op = &req->ops[i];

		op->status = judge(m, op);
		if (op->status != KV_OK && op->guard != STORE_GUARD_NONE &&
		    first == KV_OK) {
			first = op->status;
		}
	}
	for (i = 0; i < req->n_ops; i++) {
		struct store_op *op = &req->ops[i];

		if (op->status != KV_OK) {
			continue;
		}
		if (first != KV_OK) {
			op->status = KV_CANCELED;
			continue;
		}
		if (op->kind == STORE_OP_PUT) {
			apply(m, op->key, op->value, op->attrs, false);
		} else {
			apply(m, op->key, no_bytes, no_bytes, true);
		}
		op->index = m->rev;
		op->version.a = op->kind == STORE_OP_PUT ? m->rev : 0;
	}
	if (first != KV_OK) {
		(void)kv_fail(&req->err, first, "a guard failed");
	}
}

static int mem_write(struct store *st, struct store_write *req)
{
	struct mem_impl *m = mem_of(st);
	int rv;

	m->writes++;
	m->most_ops = KV_MAX(m->most_ops, (uint32_t)req->n_ops);
	if (refused(st, &req->err, &rv)) {
		return rv;
	}
	if (!failed(st, &req->err)) {
		write_ops(m, req);
		set_origin(m, &req->origin);
		poke(st);
	}
	return complete(st, &req->req);
}

/* ---- the rest ------------------------------------------------------------ */

/* The lock of a key is that key; somebody else's is one that the test puts. */
static int mem_lock(struct store *st, struct store_lock_req *req)
{
	struct mem_impl *m = mem_of(st);
	bool found;

	(void)find(m, req->key, &found);
	if (found) {
		(void)kv_fail(&req->err, KV_CANNOT_LOCK, "mem: another's");
		return complete(st, &req->req);
	}
	apply(m, req->key, req->value, no_bytes, false);
	req->token = m->rev;
	if (store_held_add(st, req, req->ttl_ms, sched_now(st->sched)) ==
	    NULL) {
		apply(m, req->key, no_bytes, no_bytes, true);
		return kv_fail(&req->err, KV_NO_MEMORY, "mem: no memory");
	}
	poke(st);
	return complete(st, &req->req);
}

static int mem_unlock(struct store *st, struct store_lock_req *req)
{
	apply(mem_of(st), req->held->key, no_bytes, no_bytes, true);
	poke(st);
	return complete(st, &req->req);
}

static void mem_renew(struct store *st, struct store_held *held)
{
	struct mem_impl *m = mem_of(st);
	struct kv_err err;

	m->renews++;
	if (m->lose_locks) {
		(void)kv_fail(&err, KV_CANNOT_LOCK, "mem: taken away");
		store_held_lost(held, &err);
	} else if (!m->deaf) {
		store_held_renewed(held, sched_now(st->sched));
	}
}

static bool unhold(struct mem_impl *m, const struct store_req *req)
{
	size_t i;

	for (i = 0; i < m->n_held && m->held[i] != req; i++) {
	}
	if (i == m->n_held) {
		return false;
	}
	m->n_held--;
	memmove(&m->held[i], &m->held[i + 1],
		(m->n_held - i) * sizeof m->held[0]);
	return true;
}

static void cancel_next(struct store_next *req)
{
	struct mem_watch *mw = req->req.watch->impl;

	mw->next = NULL;
	store_batch_free(req->batch);
	req->batch = NULL;
	(void)kv_fail(&req->err, KV_CANCELED, "canceled");
}

static void mem_cancel(struct store *st, struct store_req *r)
{
	struct mem_impl *m = mem_of(st);
	struct store_scan *scan;

	m->cancels++;
	if (r->kind == STORE_REQ_NEXT) {
		(void)unhold(m, r);
		cancel_next(kv_container_of(r, struct store_next, req));
		store_done(r);
		return;
	}
	if (m->deaf || !unhold(m, r)) {
		return;
	}
	if (r->kind == STORE_REQ_SCAN) {
		scan = kv_container_of(r, struct store_scan, req);
		store_page_free(scan->page);
		scan->page = NULL;
		(void)kv_fail(&scan->err, KV_CANCELED, "canceled");
	} else if (r->kind == STORE_REQ_WRITE) {
		(void)kv_fail(&kv_container_of(r, struct store_write, req)->err,
			      KV_UNKNOWN_OUTCOME, "canceled");
	}
	store_done(r);
}

static int mem_open(struct store *st, struct kv_err *err)
{
	if (st->uri->path == NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT, "mem: no name");
	}
	st->caps.atomic = true;
	st->caps.resumable = true;
	st->caps.told_deletes = true;
	st->caps.max_ops = 4;
	st->caps.max_bytes = 64;
	st->caps.max_value = 32;
	st->caps.max_key = 24;
	return strcmp(st->uri->path, "denied") == 0 ? KV_DENIED : KV_OK;
}

static void mem_close(struct store *st)
{
	struct mem_impl *m = mem_of(st);

	PRE(m->n_held == 0);
	m->close_called = true;
	if (!m->close_later) {
		store_closed(st);
	}
}

static int mem_check_key(const struct store *st KV_UNUSED, struct slice key,
			 struct kv_err *err)
{
	return memchr(key.p, '!', key.n) == NULL
		   ? KV_OK
		   : kv_fail(err, KV_INVALID_KEY, "mem: '!' in a key");
}

static bool mem_same_place(const struct store *a KV_UNUSED,
			   const struct store *b KV_UNUSED)
{
	return true;
}

static const char *const mem_schemes[] = {"mem", "mems", NULL};
static const char *const plain_schemes[] = {"plain", NULL};

static const char *const mem_attrs_options[] = {"speed", "raw_prefix", NULL};

static const struct option_row mem_options[] = {
    {.name = "speed", .type = OPTION_UINT, .initial = "1", .help = "none"},
    {.name = "raw_prefix", .type = OPTION_STR, .help = "bytes"},
    {.name = "token", .type = OPTION_STR, .secret = true, .help = "secret"},
    {.name = NULL},
};

const struct store_ops mem_ops = {
    .name = "mem",
    .schemes = mem_schemes,
    .options = mem_options,
    .help = "in memory, for tests",
    .store_size = sizeof(struct mem_impl),
    .watch_size = sizeof(struct mem_watch),
    .has_attrs = true,
    .attrs_options = mem_attrs_options,
    .open = mem_open,
    .scan = mem_scan,
    .changes = mem_changes,
    .unwatch = mem_unwatch,
    .write = mem_write,
    .cancel = mem_cancel,
    .close = mem_close,
    .lock = mem_lock,
    .unlock = mem_unlock,
    .renew = mem_renew,
    .check_key = mem_check_key,
    .same_place = mem_same_place,
};

static int plain_open(struct store *st KV_UNUSED, struct kv_err *err KV_UNUSED)
{
	return KV_OK;
}

const struct store_ops mem_plain_ops = {
    .name = "plain",
    .schemes = plain_schemes,
    .options = mem_options,
    .help = "in memory, without what is not needed",
    .store_size = sizeof(struct mem_impl),
    .watch_size = sizeof(struct mem_watch),
    .open = plain_open,
    .scan = mem_scan,
    .changes = mem_changes,
    .unwatch = mem_unwatch,
    .write = mem_write,
    .cancel = mem_cancel,
    .close = mem_close,
};

void mem_put(struct store *st, const char *key, const char *value)
{
	mem_put_attrs(st, key, value, "");
}

void mem_put_attrs(struct store *st, const char *key, const char *value,
		   const char *attrs)
{
	apply(mem_of(st), slice_str(key), slice_str(value), slice_str(attrs),
	      false);
	poke(st);
}

void mem_delete(struct store *st, const char *key)
{
	apply(mem_of(st), slice_str(key), no_bytes, no_bytes, true);
	poke(st);
}

bool mem_has(struct store *st, const char *key)
{
	bool found;

	(void)find(mem_of(st), slice_str(key), &found);
	return found;
}
