/* kvfile_read.c: pages of the tree, and what came after a revision.
 *
 *   scan:    kv_bytes (order) -> kv (value), kv_log (revision)
 *   changes: kv_log (order) -> kv (value); missing there: a delete
 *
 * A unit of changes is what one snapshot shows after the last unit. It is
 * handed out in pages, each from a snapshot of its own, so that no reader's
 * lock is held while the caller works; it ends with the page that reaches the
 * end of its snapshot: at that point the caller has exactly that state. As a
 * changed key moves to the end of the log, no page can miss one. A unit that
 * never ends, because others write faster than we read, is cut after
 * MAX_PAGES: its index is right, only the state is a mixture.
 */
#include "store/sqlite/kvfile.h"

#define PAGE_KEYS 1024
#define PAGE_BYTES ((size_t)1 << 20)
#define MAX_PAGES 1024
#define SCAN_BYTES ((size_t)4 << 20)

static int no_memory(struct kv_err *err)
{
	return kv_fail(err, KV_NO_MEMORY, "no memory for a page of keys");
}

/* ---- scan
 * ------------------------------------------------------------------*/

/* The directory's stored name with one more byte behind it. */
static struct slice stored_plus(const struct store *st, struct arena *a,
				struct slice key, uint8_t last)
{
	struct slice stored = store_stored_key(st, a, key);
	uint8_t *p = stored.p == NULL ? NULL : arena_alloc(a, stored.n + 1);

	if (p == NULL) {
		return slice_of(NULL, 0);
	}
	memcpy(p, stored.p, stored.n);
	p[stored.n] = last;
	return slice_of(p, stored.n + 1);
}

/* From `dir/`, or just behind `after`, to before `dir0` ('0' follows '/'). */
static bool scan_range(const struct store *st, const struct store_scan *req,
		       struct arena *a, struct kvfile_range *r)
{
	struct slice behind;

	r->low = stored_plus(st, a, req->dir, '/');
	r->high = stored_plus(st, a, req->dir, '/' + 1);
	if (r->low.p == NULL || r->high.p == NULL) {
		return false;
	}
	if (req->after.n == 0) {
		return true;
	}
	behind = stored_plus(st, a, req->after, 0);
	if (behind.p == NULL) {
		return false;
	}
	if (slice_cmp(behind, r->low) > 0) {
		r->low = behind;
	}
	return true;
}

/* One row (key, revision[, value]) into the page. */
static int add_pair(struct kvfile *f, const struct store *st, sqlite3_stmt *s,
		    bool value, struct store_page *page, size_t *cap,
		    struct kv_err *err)
{
	struct slice key = store_relative_key(st, kvfile_column(s, 0));
	struct store_pair *pair;

	if (sqlite3_errcode(f->h) == SQLITE_NOMEM) {
		return no_memory(err);
	}
	if (key.n == 0) {
		return KV_OK;
	}
	pair = store_page_add(page, cap, key,
			      value ? kvfile_column(s, 2) : slice_of(NULL, 0));
	if (pair == NULL || sqlite3_errcode(f->h) == SQLITE_NOMEM) {
		return no_memory(err);
	}
	pair->index = (uint64_t)sqlite3_column_int64(s, 1);
	pair->version.a = pair->index;
	return KV_OK;
}

static bool page_full(const struct store_page *page, uint32_t limit,
		      size_t max_bytes, sqlite3_stmt *s, bool value)
{
	size_t next = (size_t)sqlite3_column_bytes(s, 0);

	if (page->n == 0) {
		return false;
	}
	if (value) {
		next += (size_t)sqlite3_column_bytes(s, 2);
	}
	return page->n >= limit || page->arena.total + next > max_bytes;
}

static int scan_rows(struct kvfile *f, const struct store *st,
		     struct store_scan *req, struct store_page *page)
{
	bool value = !req->names_only;
	sqlite3_stmt *s = f->stmts[value ? KVFILE_SCAN : KVFILE_NAMES];
	uint32_t limit = req->limit != 0 ? req->limit : st->caps.scan_page;
	size_t max = req->max_bytes != 0 ? req->max_bytes : SCAN_BYTES;
	struct kvfile_range r;
	size_t cap = 0;
	int rc;

	if (!scan_range(st, req, &page->arena, &r)) {
		return no_memory(&req->err);
	}
	rc = kvfile_bind_bytes(s, 1, r.low);
	if (rc == SQLITE_OK) {
		rc = kvfile_bind_bytes(s, 2, r.high);
	}
	while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
		if (page_full(page, limit, max, s, value)) {
			page->more = true;
			return KV_OK;
		}
		rc = add_pair(f, st, s, value, page, &cap, &req->err);
		if (rc != KV_OK) {
			return rc;
		}
		rc = SQLITE_OK;
	}
	return rc == SQLITE_DONE
		   ? KV_OK
		   : kvfile_fail(f, rc, "reading keys", &req->err);
}

/* The delete of a key that is not there, where the log remembers it. */
static int add_gone(struct kvfile *f, struct slice key, struct slice stored,
		    struct store_page *page, size_t *cap, struct kv_err *err)
{
	sqlite3_stmt *s = f->stmts[KVFILE_GONE];
	struct store_pair *pair;
	int rc = kvfile_bind_bytes(s, 1, stored);

	if (rc == SQLITE_OK) {
		rc = sqlite3_step(s);
	}
	if (rc == SQLITE_ROW) {
		pair = store_page_add(page, cap, key, slice_of(NULL, 0));
		if (pair == NULL) {
			return no_memory(err);
		}
		pair->gone = true;
		pair->index = (uint64_t)sqlite3_column_int64(s, 0);
	} else if (rc != SQLITE_DONE) {
		return kvfile_fail(f, rc, "reading the log", err);
	}
	(void)sqlite3_reset(s);
	return KV_OK;
}

static int scan_keys(struct kvfile *f, const struct store *st,
		     struct store_scan *req, struct store_page *page)
{
	sqlite3_stmt *s = f->stmts[KVFILE_GET];
	size_t cap = 0;

	for (size_t i = 0; i < req->n_keys; i++) {
		struct slice stored =
		    store_stored_key(st, &page->arena, req->keys[i]);
		int rc;

		if (stored.p == NULL) {
			return no_memory(&req->err);
		}
		rc = kvfile_bind_bytes(s, 1, stored);
		if (rc == SQLITE_OK) {
			rc = sqlite3_step(s);
		}
		if (rc == SQLITE_ROW) {
			rc = add_pair(f, st, s, !req->names_only, page, &cap,
				      &req->err);
			if (rc != KV_OK) {
				return rc;
			}
		} else if (rc != SQLITE_DONE) {
			return kvfile_fail(f, rc, "reading a key", &req->err);
		} else if (req->with_gone) {
			rc = add_gone(f, req->keys[i], stored, page, &cap,
				      &req->err);
			if (rc != KV_OK) {
				return rc;
			}
		}
		(void)sqlite3_reset(s);
	}
	return KV_OK;
}

int kvfile_scan(struct kvfile *f, const struct store *st,
		struct store_scan *req)
{
	struct store_page *page = store_page_new();
	struct kvfile_head head;
	int rv;

	if (page == NULL) {
		return no_memory(&req->err);
	}
	rv = kvfile_begin(f, KVFILE_READ, &head, &req->err);
	if (rv != KV_OK) {
		goto err_begin;
	}
	rv = req->keys != NULL ? scan_keys(f, st, req, page)
			       : scan_rows(f, st, req, page);
	kvfile_end(f);
	if (rv != KV_OK) {
		goto err_begin;
	}
	kvfile_origin(f, &head, &page->origin);
	page->at = head.index;
	req->page = page;
	return KV_OK;

err_begin:
	assert(rv != KV_OK);
	store_page_free(page);
	return rv;
}

/* ---- changes
 * -----------------------------------------------------------------*/

static int lost(const struct kvfile *f, const struct kvfile_head *head,
		uint64_t after, struct kv_err *err)
{
	if (after > head->index) {
		return kv_fail(err, KV_HISTORY_LOST,
			       "%s: its newest revision is %llu, and changes "
			       "after %llu were asked for: an older file was "
			       "restored",
			       f->path, (unsigned long long)head->index,
			       (unsigned long long)after);
	}
	return kv_fail(err, KV_HISTORY_LOST,
		       "%s: changes after revision %llu were asked for, "
		       "deletes up to %llu are trimmed (option log)",
		       f->path, (unsigned long long)after,
		       (unsigned long long)head->floor);
}

static bool is_lost(const struct kvfile_head *head, uint64_t after)
{
	return after > head->index || after < head->floor;
}

/* One row (key, revision, value, is missing) into the batch. */
static int add_change(struct kvfile *f, const struct store *st, sqlite3_stmt *s,
		      struct store_batch *batch, size_t *cap,
		      struct kv_err *err)
{
	struct slice key = store_relative_key(st, kvfile_column(s, 0));
	bool gone = sqlite3_column_int(s, 3) != 0;
	struct store_change *c;

	if (sqlite3_errcode(f->h) == SQLITE_NOMEM) {
		return no_memory(err);
	}
	if (key.n == 0) {
		return KV_OK;
	}
	c = store_batch_add(batch, cap, key,
			    gone ? slice_of(NULL, 0) : kvfile_column(s, 2));
	if (c == NULL || sqlite3_errcode(f->h) == SQLITE_NOMEM) {
		return no_memory(err);
	}
	c->action = gone ? STORE_DELETE : STORE_SET;
	c->index = (uint64_t)sqlite3_column_int64(s, 1);
	c->version.a = gone ? 0 : c->index;
	return KV_OK;
}

static bool batch_full(const struct store_batch *b, sqlite3_stmt *s)
{
	size_t next = (size_t)sqlite3_column_bytes(s, 0) +
		      (size_t)sqlite3_column_bytes(s, 2);

	return b->n >= PAGE_KEYS ||
	       (b->n > 0 && b->arena.total + next > PAGE_BYTES);
}

/* Fills the batch with what came after the cursor; *more: and there is still
 * some in this snapshot. */
static int change_rows(struct kvfile *f, const struct store *st,
		       const struct kvfile_cursor *c, struct store_batch *b,
		       bool *more, struct kv_err *err)
{
	sqlite3_stmt *s = f->stmts[KVFILE_CHANGES];
	size_t cap = 0;
	int rc = kvfile_bind_bytes(s, 1, c->range.low);

	if (rc == SQLITE_OK) {
		rc = kvfile_bind_bytes(s, 2, c->range.high);
	}
	if (rc == SQLITE_OK) {
		rc = sqlite3_bind_int64(s, 3, (sqlite3_int64)c->position);
	}
	while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
		if (batch_full(b, s)) {
			*more = true;
			return KV_OK;
		}
		rc = add_change(f, st, s, b, &cap, err);
		if (rc != KV_OK) {
			return rc;
		}
		rc = SQLITE_OK;
	}
	return rc == SQLITE_DONE ? KV_OK
				 : kvfile_fail(f, rc, "reading changes", err);
}

/* Moves the cursor behind a page, and says in the batch where it stands. */
static void advance(struct kvfile_cursor *c, const struct kvfile_head *head,
		    bool more, struct store_batch *b)
{
	bool open = more && ++c->pages < MAX_PAGES;

	c->position = more ? b->changes[b->n - 1].index : head->index;
	if (!open) {
		c->unit = c->position;
		c->pages = 0;
		if (b->n > 0) {
			b->changes[b->n - 1].tx_end = true;
		}
	}
	b->partial = open;
	b->index = c->unit;
}

/* The present pair of a watched key, as a GET. */
static int add_present(struct kvfile *f, const struct store *st,
		       struct kvfile_cursor *c, const struct kvfile_head *head,
		       struct store_batch *b, struct kv_err *err)
{
	sqlite3_stmt *s = f->stmts[KVFILE_GET];
	struct slice key = slice_of(c->range.low.p, c->range.low.n);
	size_t cap = 0;
	struct store_change *change;
	int rc = kvfile_bind_bytes(s, 1, key);

	if (rc == SQLITE_OK) {
		rc = sqlite3_step(s);
	}
	if (rc == SQLITE_DONE) {
		return KV_OK;
	}
	if (rc != SQLITE_ROW) {
		return kvfile_fail(f, rc, "reading a key", err);
	}
	change = store_batch_add(b, &cap, store_relative_key(st, key),
				 kvfile_column(s, 2));
	if (change == NULL || sqlite3_errcode(f->h) == SQLITE_NOMEM) {
		return no_memory(err);
	}
	change->action = STORE_GET;
	change->index = (uint64_t)sqlite3_column_int64(s, 1);
	change->version.a = change->index;
	change->tx_end = true;
	/* What it shows needs not be told again. */
	c->position = c->unit = head->index;
	return KV_OK;
}

static int first_answer(struct kvfile *f, const struct store *st,
			struct kvfile_cursor *c, const struct kvfile_head *head,
			struct store_batch *b, struct kv_err *err)
{
	int rv;

	if (c->after != 0 && is_lost(head, c->after)) {
		return lost(f, head, c->after, err);
	}
	c->position = c->unit = c->after != 0 ? c->after : head->index;
	c->epoch = f->epoch;
	b->init = true;
	if (c->one_key) {
		rv = add_present(f, st, c, head, b, err);
		if (rv != KV_OK) {
			return rv;
		}
	}
	c->started = true;
	b->index = c->unit;
	return KV_OK;
}

/* POST: *idle: there is nothing to tell, the batch is not needed. */
static int next_answer(struct kvfile *f, const struct store *st,
		       struct kvfile_cursor *c, const struct kvfile_head *head,
		       uint64_t want, struct store_batch *b, bool *idle,
		       struct kv_err *err)
{
	bool more = false;
	int rv;

	if (f->epoch != c->epoch) {
		return kv_fail(err, KV_NOT_REACHABLE,
			       "%s: another file stands there now", f->path);
	}
	if (is_lost(head, c->position)) {
		return lost(f, head, c->position, err);
	}
	if (head->index == c->position) {
		*idle = want == 0 || want > c->position;
		b->index = c->position;
		return KV_OK;
	}
	rv = change_rows(f, st, c, b, &more, err);
	if (rv != KV_OK) {
		return rv;
	}
	advance(c, head, more, b);
	return KV_OK;
}

int kvfile_changes(struct kvfile *f, const struct store *st,
		   struct kvfile_cursor *c, uint64_t want,
		   struct store_batch **out, struct kv_err *err)
{
	struct store_batch *b = store_batch_new();
	struct kvfile_head head;
	bool idle = false;
	int rv;

	*out = NULL;
	if (b == NULL) {
		return no_memory(err);
	}
	rv = kvfile_begin(f, KVFILE_READ_ONLY, &head, err);
	if (rv != KV_OK) {
		goto done;
	}
	rv = c->started ? next_answer(f, st, c, &head, want, b, &idle, err)
			: first_answer(f, st, c, &head, b, err);
	kvfile_end(f);
	if (rv == KV_OK && !idle) {
		kvfile_origin(f, &head, &b->origin);
		*out = b;
		return KV_OK;
	}
done:
	store_batch_free(b);
	return rv;
}
