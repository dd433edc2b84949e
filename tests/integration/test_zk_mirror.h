/* test_zk_mirror.h: a mirror in memory that follows a watch of ZooKeeper,
 * checks what holds for any batch, and is the caller who knows its keys.
 */
#ifndef KV_TEST_ZK_MIRROR_H
#define KV_TEST_ZK_MIRROR_H

#include "tests/integration/test_zk_calls.h"

struct row {
	char *key;
	char *value;
	size_t n;
	uint64_t index;
	bool there;
	bool hidden;
	char *attrs;
	size_t attrs_n;
};

struct mirror {
	struct store_known known; /* pages of what is there */
	struct row *rows;	  /* ascending */
	size_t n;
	uint64_t index;
	uint64_t puts, deletes, inferred, relists;
	uint64_t announced; /* inferred deletes still to come */
	/* the page that was asked for */
	struct test_loop *loop;
	struct sched_task task;
	char *after;
	void (*page)(void *ctx, int status, struct store_page *page);
	void *ctx;
};

static inline char *text_of(struct slice s)
{
	char *p = malloc(s.n + 1);

	CHECK(p != NULL);
	if (s.n > 0) {
		memcpy(p, s.p, s.n);
	}
	p[s.n] = '\0';
	return p;
}

static inline struct row *row_of(struct mirror *m, struct slice key)
{
	size_t i = 0;
	char *name = text_of(key);

	while (i < m->n && strcmp(m->rows[i].key, name) < 0) {
		i++;
	}
	if (i < m->n && strcmp(m->rows[i].key, name) == 0) {
		free(name);
		return &m->rows[i];
	}
	m->rows = realloc(m->rows, (m->n + 1) * sizeof *m->rows);
	CHECK(m->rows != NULL);
	memmove(&m->rows[i + 1], &m->rows[i], (m->n - i) * sizeof *m->rows);
	m->n++;
	m->rows[i] = (struct row){.key = name};
	return &m->rows[i];
}

/* Two fit a page, so that there are many. */
static inline void page_task(struct sched_task *task)
{
	struct mirror *m = kv_container_of(task, struct mirror, task);
	struct store_page *page = store_page_new();
	size_t cap = 0;

	for (size_t i = 0; page != NULL && i < m->n; i++) {
		struct store_pair *p;

		if (!m->rows[i].there ||
		    strcmp(m->rows[i].key, m->after) <= 0) {
			continue;
		}
		if (page->n == 2) {
			page->more = true;
			break;
		}
		p = store_page_add(page, &cap, slice_str(m->rows[i].key),
				   slice_str(""));
		if (p == NULL) {
			store_page_free(page);
			page = NULL;
			break;
		}
		p->index = m->rows[i].index;
	}
	m->page(m->ctx, page == NULL ? KV_NO_MEMORY : KV_OK, page);
}

static inline void known_next(struct store_known *known, struct slice after,
			      void (*page)(void *ctx, int status,
					   struct store_page *page),
			      void *ctx)
{
	struct mirror *m = kv_container_of(known, struct mirror, known);

	free(m->after);
	m->after = text_of(after);
	m->page = page;
	m->ctx = ctx;
	sched_post(m->loop->sched, &m->task);
}

static inline void mirror_open(struct mirror *m, struct zw *w, bool complete)
{
	memset(m, 0, sizeof *m);
	m->known.next = known_next;
	m->known.complete = complete;
	m->loop = &w->e.loop;
	m->task.run = page_task;
}

static inline void mirror_close(struct mirror *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->rows[i].key);
		free(m->rows[i].value);
		free(m->rows[i].attrs);
	}
	free(m->rows);
	free(m->after);
}

static inline void set_row(struct mirror *m, struct slice key,
			   struct slice value, uint64_t index, bool there)
{
	struct row *r = row_of(m, key);

	free(r->value);
	r->value = text_of(value);
	r->n = value.n;
	r->index = index;
	r->there = there;
}

static inline void note_rest(struct row *r, const struct store_change *c)
{
	r->hidden = c->unreadable;
	free(r->attrs);
	r->attrs = text_of(c->attrs);
	r->attrs_n = c->attrs.n;
}

/* The rules that hold for any batch; then its changes. */
static inline void take(struct mirror *m, struct store_batch *b)
{
	uint64_t last = m->index;

	CHECK(b->index >= m->index);
	if (b->relisted) {
		m->relists++;
		m->announced = b->inferred_deletes;
		CHECK(b->inferred_deletes <= b->known_keys);
	}
	for (size_t i = 0; i < b->n; i++) {
		const struct store_change *c = &b->changes[i];

		CHECK(c->index > m->index);
		CHECK(c->index >= last);
		last = c->index;
		if (c->action == STORE_DELETE) {
			if (c->inferred) {
				CHECK(m->announced > 0);
				m->announced--;
			}
			m->inferred += c->inferred;
			m->deletes++;
			set_row(m, c->key, slice_str(""), c->index, false);
		} else {
			m->puts++;
			set_row(m, c->key, c->value, c->index, true);
			note_rest(row_of(m, c->key), c);
		}
	}
	if (b->n > 0) {
		CHECK(b->changes[b->n - 1].tx_end == !b->partial);
		CHECK(b->partial ? b->index < last : b->index >= last);
	}
	if (!b->partial) {
		m->index = b->index;
	}
}

static inline struct store_watch *watch_open(struct mirror *m, struct store *st)
{
	struct store_watch_params p = {.after = m->index, .known = &m->known};
	struct store_watch *wa = store_watch_open(st, &p);

	CHECK(wa != NULL);
	return wa;
}

/* One pull; false: the watch ended with `err`. */
static inline bool pull(struct mirror *m, struct zw *w, struct store_watch *wa,
			uint64_t want, struct kv_err *err)
{
	struct store_batch *b = ew_next(&w->e, wa, want, err);

	if (b == NULL) {
		return false;
	}
	if (b->init) {
		CHECK(b->n == 0 && b->index >= m->index);
		m->index = b->index;
	} else {
		take(m, b);
	}
	store_batch_free(b);
	return true;
}

static inline uint64_t index_now(struct zw *w, struct store *st)
{
	struct store_single req =
	    ew_single(&w->e, st, store_exists, "/none", slice_str(""));
	uint64_t index = req.origin.index;

	CHECK_STATUS(req.err, KV_OK);
	store_single_free(&req);
	return index;
}

/* Until all that is there now was told. */
static inline void catch_up(struct mirror *m, struct zw *w, struct store *st,
			    struct store_watch *wa)
{
	uint64_t now = index_now(w, st);
	struct kv_err err = {0};

	while (m->index < now) {
		if (!pull(m, w, wa, now, &err)) {
			CHECK_STATUS(err, KV_OK);
		}
	}
}

static inline char *mirror_text(const struct mirror *m)
{
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	CHECK(f != NULL);
	for (size_t i = 0; i < m->n; i++) {
		if (m->rows[i].there) {
			(void)fprintf(f, "%s=%s ", m->rows[i].key,
				      m->rows[i].value);
		}
	}
	(void)fclose(f);
	return text;
}

static inline void check_same(struct mirror *m, struct zw *w, struct store *st)
{
	char *text = mirror_text(m);

	CHECK_ALL(w, st, text);
	free(text);
}

#endif /* KV_TEST_ZK_MIRROR_H */
