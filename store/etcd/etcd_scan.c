/* etcd_scan.c: pages.
 *
 *   a directory: Range [after, end) limit n, at one revision --> page
 *   named keys:  Txn of one Range a key (all at one revision)  --> page
 *
 * etcd bounds a page by its keys alone, so the number of keys asked for follows
 * the size of the pairs seen. An answer that is far too long all the same is
 * refused at its first five bytes and asked for again, shorter.
 *
 * Keys and values are copied once, by the decoder, into the page's arena.
 */
#include "store/etcd/etcd_impl.h"

#define FIRST_LIMIT 256
#define DEFAULT_BYTES ((size_t)4 * 1024 * 1024)
#define REFUSE_ABOVE ((size_t)16 * 1024 * 1024)
/* Of an encoded pair, besides key and value. */
#define PAIR_OVERHEAD 48

struct scan {
	struct etcd_call call;
	struct etcd *e;
	struct store_scan *req;
	struct store_page *page;
	struct arena names; /* stored keys and bounds; reset for each call */
	uint64_t revision;  /* to read at; 0: the present one */
	uint32_t limit;	    /* keys asked for */
	size_t at_key;	  /* named keys: the first one of the call under way */
	size_t n_keys;	  /* ... and how many */
	size_t most_keys; /* ... and how many at most */
	size_t cap;
	bool local;
};

static void ask(struct scan *s);

static void end(struct scan *s, const struct kv_err *err)
{
	struct store_scan *req = s->req;

	if (err == NULL) {
		req->page = s->page;
	} else {
		req->err = *err;
		store_page_free(s->page);
	}
	arena_free(&s->names);
	kv_free(s);
	store_done(&req->req);
}

static void end_no_memory(struct scan *s)
{
	struct kv_err err;

	(void)kv_fail(&err, KV_NO_MEMORY, "etcd: no memory for a page");
	end(s, &err);
}

static size_t bytes_wanted(const struct store_scan *req)
{
	return req->max_bytes == 0 ? DEFAULT_BYTES : req->max_bytes;
}

static uint32_t first_limit(const struct scan *s)
{
	uint32_t most = s->req->limit == 0 ? ETCD_PAGE : s->req->limit;
	size_t fit;

	if (s->req->names_only) {
		return KV_MIN(most, (uint32_t)ETCD_PAGE);
	}
	if (s->e->pair_size == 0) {
		return KV_MIN(most, (uint32_t)FIRST_LIMIT);
	}
	fit = bytes_wanted(s->req) / s->e->pair_size;
	fit = KV_MIN(KV_MAX(fit, (size_t)1), (size_t)2 * ETCD_PAGE);
	return KV_MIN(most, (uint32_t)fit);
}

/* Remembers how large pairs are; a large one is forgotten slowly. */
static void learn_size(struct etcd *e, size_t bytes, size_t n)
{
	size_t now = bytes / n + PAIR_OVERHEAD;

	e->pair_size = KV_MAX(now, e->pair_size - e->pair_size / 4);
}

/* ---- what comes back ----------------------------------------------------- */

/* Adds the pairs of one answer, whose bytes lie in the page's arena. */
static bool take_kvs(struct scan *s, const Etcdserverpb__RangeResponse *m)
{
	struct store_page *page = s->page;
	struct store_pair *pair;
	size_t i, bytes = 0;

	for (i = 0; i < m->n_kvs; i++) {
		const Etcdserverpb__KeyValue *kv = m->kvs[i];

		pair = &page->pairs[page->n];
		memset(pair, 0, sizeof *pair);
		pair->key = etcd_keys_relative(&s->e->keys, &page->arena,
					       kv->key.data, kv->key.len);
		if (pair->key.n == 0) {
			continue;
		}
		if (pair->key.p == NULL) {
			return false;
		}
		pair->value = slice_of(kv->value.data, kv->value.len);
		pair->index = (uint64_t)kv->mod_revision;
		pair->version.a = (uint64_t)kv->mod_revision;
		page->n++;
		bytes += kv->key.len + kv->value.len;
	}
	if (m->n_kvs > 0 && !s->req->names_only) {
		learn_size(s->e, bytes, m->n_kvs);
	}
	return true;
}

static bool make_room(struct store_page *page, size_t n)
{
	page->pairs = arena_alloc(&page->arena,
				  KV_MAX(n, (size_t)1) * sizeof *page->pairs);
	return page->pairs != NULL;
}

static void set_origin(struct scan *s, const Etcdserverpb__ResponseHeader *h)
{
	s->page->at = s->revision != 0 ? s->revision : (uint64_t)h->revision;
	etcd_origin(s->e, h, s->call.epoch, &s->page->origin);
}

static void take_range(struct scan *s)
{
	Etcdserverpb__RangeResponse *m;
	struct kv_err err;

	if (etcd_unpack(&etcdserverpb__range_response__descriptor,
			&s->page->arena, s->call.reply, s->call.reply_n, &m,
			&err) != KV_OK ||
	    etcd_check_header(m->header, &err) != KV_OK) {
		end(s, &err);
		return;
	}
	if (!make_room(s->page, m->n_kvs) || !take_kvs(s, m)) {
		end_no_memory(s);
		return;
	}
	set_origin(s, m->header);
	s->page->more = m->more != 0;
	end(s, NULL);
}

static int take_named(struct scan *s, struct kv_err *err)
{
	Etcdserverpb__TxnResponse *m;
	int rv;
	size_t i;

	rv = etcd_unpack(&etcdserverpb__txn_response__descriptor,
			 &s->page->arena, s->call.reply, s->call.reply_n, &m,
			 err);
	if (rv == KV_OK) {
		rv = etcd_check_header(m->header, err);
	}
	if (rv != KV_OK) {
		return rv;
	}
	for (i = 0; i < m->n_responses; i++) {
		const Etcdserverpb__ResponseOp *op = m->responses[i];

		if (op->response_case !=
			ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE ||
		    op->response_range->n_kvs > 1 ||
		    m->n_responses > s->n_keys) {
			return kv_fail(err, KV_BROKEN,
				       "etcd: an answer is not what was asked");
		}
		if (!take_kvs(s, op->response_range)) {
			return kv_fail(err, KV_NO_MEMORY,
				       "etcd: no memory for a page");
		}
	}
	/* Further calls for the rest of the keys show the same state. */
	set_origin(s, m->header);
	s->revision = s->page->at;
	s->at_key += s->n_keys;
	return KV_OK;
}

/* Asks again where that can help; false: the error stands. */
static bool ask_again(struct scan *s)
{
	const struct etcd_call *c = &s->call;
	struct etcd *e = s->e;
	size_t fit;

	if (c->announced > 0 && s->req->keys != NULL && s->n_keys > 1) {
		s->most_keys = s->n_keys / 2;
	} else if (c->announced > 0 && s->limit > 1) {
		fit = (size_t)s->limit * bytes_wanted(s->req) / c->announced;
		e->pair_size = KV_MAX(e->pair_size, c->announced / s->limit);
		s->limit = (uint32_t)KV_MAX(KV_MIN(fit, (size_t)s->limit / 2),
					    (size_t)1);
	} else if (c->remedy == ETCD_REMEDY_FEWER && s->n_keys > 1) {
		e->st->caps.max_ops =
		    KV_MIN(e->st->caps.max_ops, (uint32_t)(s->n_keys / 2));
	} else if (c->err.status == KV_HISTORY_LOST && s->local &&
		   s->req->at != 0) {
		s->local = false; /* that member may only be behind */
	} else if (c->err.status == KV_HISTORY_LOST && s->req->at == 0 &&
		   s->at_key > 0) {
		/* Compacted between two parts: all over again, as of now. */
		s->at_key = s->page->n = 0;
		s->revision = 0;
	} else {
		return false;
	}
	ask(s);
	return true;
}

static void done_cb(struct etcd_call *c)
{
	struct scan *s = kv_container_of(c, struct scan, call);
	struct kv_err err = c->err;
	int rv = err.status;

	if (rv != KV_OK) {
		if (!ask_again(s)) {
			end(s, &err);
		}
		return;
	}
	if (s->req->keys == NULL) {
		uint8_t *reply = c->reply;

		take_range(s);
		kv_free(reply);
		return;
	}
	rv = take_named(s, &err);
	kv_free(c->reply);
	if (rv != KV_OK) {
		end(s, &err);
	} else if (s->at_key < s->req->n_keys) {
		ask(s);
	} else {
		end(s, NULL);
	}
}

/* ---- what is asked ------------------------------------------------------- */

static void fill_range(const struct scan *s, Etcdserverpb__RangeRequest *m)
{
	m->revision = (int64_t)s->revision;
	m->serializable = s->local;
	m->keys_only = s->req->names_only;
}

static uint8_t *pack_range(struct scan *s, size_t *n)
{
	Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
	struct etcd_range range;

	if (!etcd_keys_range(&s->e->keys, &s->names, s->req->dir, s->req->after,
			     &range)) {
		return NULL;
	}
	fill_range(s, &m);
	m.key = etcd_bytes(range.start);
	m.range_end = etcd_bytes(range.end);
	m.limit = s->limit;
	return etcd_pack(&m.base, n);
}

/* The parts of a Txn for one named key. */
struct named {
	Etcdserverpb__RequestOp op;
	Etcdserverpb__RangeRequest range;
};

static uint8_t *pack_named(struct scan *s, size_t *n)
{
	Etcdserverpb__TxnRequest m = ETCDSERVERPB__TXN_REQUEST__INIT;
	Etcdserverpb__RequestOp **ops;
	struct named *parts;
	size_t i;

	parts = arena_alloc(&s->names, s->n_keys * sizeof *parts);
	ops = arena_alloc(&s->names, s->n_keys * sizeof(*ops));
	if (parts == NULL || ops == NULL) {
		return NULL;
	}
	for (i = 0; i < s->n_keys; i++) {
		struct slice key = etcd_keys_store(&s->e->keys, &s->names,
						   s->req->keys[s->at_key + i]);

		if (key.p == NULL) {
			return NULL;
		}
		etcdserverpb__range_request__init(&parts[i].range);
		etcdserverpb__request_op__init(&parts[i].op);
		fill_range(s, &parts[i].range);
		parts[i].range.key = etcd_bytes(key);
		parts[i].op.request_case =
		    ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
		parts[i].op.request_range = &parts[i].range;
		ops[i] = &parts[i].op;
	}
	m.n_success = s->n_keys;
	m.success = ops;
	return etcd_pack(&m.base, n);
}

static void ask(struct scan *s)
{
	struct etcd_call *c = &s->call;
	bool named = s->req->keys != NULL;

	memset(c, 0, sizeof *c);
	arena_reset(&s->names);
	if (named) {
		s->n_keys = KV_MIN(s->req->n_keys - s->at_key,
				   (size_t)s->e->st->caps.max_ops);
		s->n_keys = KV_MIN(s->n_keys, s->most_keys);
		c->max_reply = s->n_keys > 1 ? REFUSE_ABOVE : 0;
		c->path = "/etcdserverpb.KV/Txn";
		c->frame = pack_named(s, &c->frame_n);
	} else {
		c->path = "/etcdserverpb.KV/Range";
		c->frame = pack_range(s, &c->frame_n);
		c->max_reply = s->limit > 1 ? KV_MAX(4 * bytes_wanted(s->req),
						     REFUSE_ABOVE)
					    : 0;
	}
	if (c->frame == NULL) {
		end_no_memory(s);
		return;
	}
	c->stale_ok = s->local;
	c->done = done_cb;
	etcd_call_start(&s->e->client, c);
}

int etcd_scan(struct store *st, struct store_scan *req)
{
	struct scan *s = kv_calloc(1, sizeof *s);

	if (s == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "etcd: no memory for a scan");
	}
	s->e = etcd_of(st);
	s->req = req;
	s->revision = req->at;
	s->local = req->local;
	s->limit = first_limit(s);
	s->most_keys = SIZE_MAX;
	s->page = store_page_new();
	if (s->page == NULL ||
	    (req->keys != NULL && !make_room(s->page, req->n_keys))) {
		store_page_free(s->page);
		kv_free(s);
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "etcd: no memory for a scan");
	}
	req->req.impl = s;
	ask(s);
	return KV_OK;
}

void etcd_scan_cancel(struct store_scan *req)
{
	struct scan *s = req->req.impl;
	struct kv_err err;

	etcd_call_cancel(&s->call);
	(void)kv_fail(&err, KV_CANCELED, "etcd: scan canceled");
	end(s, &err);
}
