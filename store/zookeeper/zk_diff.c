/* zk_diff.c: what changed since a zxid, asked of the server alone.
 *
 *   known keys --> chunks of paths --SetWatches(after)--> events: changed,
 *                                                 deleted, children moved
 *
 * SetWatches is what a client sends when it reconnects: the server compares
 * each path with the zxid and answers at once for those that moved; the others
 * cost it a look-up and us some 60 bytes. Every known key and every directory
 * above one is asked for: its data, and its children, where what was created
 * shows. Directories that hold no known key do not exist, as a znode without
 * children is a key.
 *
 * One SetWatches with all paths would be larger than a server takes (its
 * jute.maxbuffer, 1 MB by default), and a client that tries is never connected
 * again: so they go in chunks. The watches that are left die with the second
 * connection; it is at least as far as the first one was at base, so what it
 * does not show comes as an event there.
 */
#include <stdlib.h>

#include "store/zookeeper/zk_resume.h"

#define CHUNK_BYTES ((size_t)128 * 1024)
#define FOUND_BYTES ((size_t)64 * 1024 * 1024)

/* ---- what is found ------------------------------------------------------- */

static int compare_slices(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static bool is_known(const struct zk_resume *r, struct slice path)
{
	return r->n_keys > 0 && bsearch(&path, r->keys, r->n_keys,
					sizeof *r->keys, compare_slices);
}

static bool note(struct zk_resume *r, struct slice path, unsigned kinds)
{
	void *items = r->found;
	struct slice copy;

	if (!kv_grow(&items, &r->found_cap, r->n_found + 1, sizeof *r->found)) {
		return false;
	}
	r->found = items;
	copy = slice_dup(&r->found_names, path);
	if (copy.p == NULL) {
		return false;
	}
	r->found[r->n_found++] = (struct zk_found){copy, kinds};
	return true;
}

static void event_cb(void *ctx, enum zk_event_type type, struct slice path)
{
	struct zk_resume *r = ctx;
	unsigned kinds = ZK_FOUND_LOOK;

	if (is_known(r, path)) {
		kinds |= ZK_FOUND_KNOWN;
	} else if (type == ZK_EVENT_DELETED) {
		return; /* a directory: its keys are told of themselves */
	}
	if (type == ZK_EVENT_CHILD) {
		kinds |= ZK_FOUND_LIST;
	}
	if (!note(r, path, kinds)) {
		zk_watch_no_memory(r->zw);
	} else if (r->found_names.total > FOUND_BYTES) {
		zk_watch_fail_text(r->zw, KV_HISTORY_LOST,
				   "more changed than a resume can hold: "
				   "compare anew");
	}
}

static int compare_found(const void *a, const void *b)
{
	const struct zk_found *x = a, *y = b;

	return slice_cmp(x->path, y->path);
}

/* Each path once, ascending. */
static void sort_found(struct zk_resume *r)
{
	size_t i, n = 0;

	if (r->n_found > 1) {
		qsort(r->found, r->n_found, sizeof *r->found, compare_found);
	}
	for (i = 0; i < r->n_found; i++) {
		if (n > 0 && slice_eq(r->found[n - 1].path, r->found[i].path)) {
			r->found[n - 1].kinds |= r->found[i].kinds;
		} else {
			r->found[n++] = r->found[i];
		}
	}
	r->n_found = n;
}

const struct zk_found *zk_diff_find(const struct zk_resume *r,
				    struct slice path)
{
	struct zk_found want = {path, 0};

	if (r->n_found == 0) {
		return NULL;
	}
	return bsearch(&want, r->found, r->n_found, sizeof want, compare_found);
}

/* ---- chunks -------------------------------------------------------------- */

static bool push(struct zk_resume *r, struct slice **items, size_t *n,
		 size_t *cap, struct slice path)
{
	void *p = *items;

	if (!kv_grow(&p, cap, *n + 1, sizeof path)) {
		return false;
	}
	*items = p;
	path = slice_dup(&r->chunk, path);
	if (path.p == NULL) {
		return false;
	}
	(*items)[(*n)++] = path;
	r->chunk_bytes += 2 * (path.n + 4);
	return true;
}

/* Was that directory asked for with the key before? */
static bool was_asked(const struct zk_resume *r, struct slice dir)
{
	struct slice prev = slice_of(r->prev, r->prev_n);

	return prev.n > 0 &&
	       (dir.n == 1 || slice_below(prev, dir) || slice_eq(prev, dir));
}

/* The directories above a path, the watched one the last. */
static bool push_dirs(struct zk_resume *r, struct slice path)
{
	size_t least = r->zw->root.n;
	size_t n = path.n;

	while (n > least) {
		struct slice dir;

		do {
			n--;
		} while (n > 0 && path.p[n] != '/');
		dir = slice_of(path.p, KV_MAX(n, (size_t)1));
		if (was_asked(r, dir)) {
			break;
		}
		if (!push(r, &r->dirs, &r->n_dirs, &r->dirs_cap, dir)) {
			return false;
		}
	}
	return true;
}

static bool push_key(struct zk_resume *r, struct slice key, uint64_t index)
{
	struct slice path;
	uint8_t *prev;

	path = zk_path(r->zw->zk->st, &r->chunk, key);
	if (path.p == NULL || !push_dirs(r, path) ||
	    !push(r, &r->keys, &r->n_keys, &r->keys_cap, path) ||
	    (r->here && !zk_general_expect(r->zw, path, index))) {
		return false;
	}
	prev = kv_realloc(r->prev, path.n);
	if (prev == NULL) {
		return false;
	}
	memcpy(prev, path.p, path.n);
	r->prev = prev;
	r->prev_n = path.n;
	return true;
}

static void clear_chunk(struct zk_resume *r)
{
	r->n_keys = r->n_dirs = r->chunk_bytes = 0;
	arena_reset(&r->chunk);
}

/* Fills the chunk. False: more known keys are needed, or the watch has ended.
 */
static bool fill_chunk(struct zk_resume *r)
{
	const struct store_pair *known;
	bool end = false;

	while (r->chunk_bytes < CHUNK_BYTES) {
		known = zk_known_peek(r, &end);
		if (known == NULL) {
			return end && r->zw->phase != ZK_WATCH_ENDED;
		}
		if (known->index > r->zw->base) {
			zk_watch_fail_text(r->zw, KV_HISTORY_LOST,
					   "a known key is later than the "
					   "ensemble: it is another one, or "
					   "was restored");
			return false;
		}
		if (!push_key(r, known->key, known->index)) {
			zk_watch_no_memory(r->zw);
			return false;
		}
		zk_known_pop(r);
	}
	return true;
}

/* ---- asking -------------------------------------------------------------- */

/* The vector of all paths of the chunk. */
static void put_all(const struct zk_resume *r, struct jute_out *o)
{
	size_t i;

	jute_put_int(o, (int32_t)(r->n_keys + r->n_dirs));
	for (i = 0; i < r->n_keys; i++) {
		jute_put_bytes(o, r->keys[i]);
	}
	for (i = 0; i < r->n_dirs; i++) {
		jute_put_bytes(o, r->dirs[i]);
	}
}

static void asked_cb(struct zk_call *c)
{
	struct zk_resume *r = kv_container_of(c, struct zk_resume, call);

	r->calling = false;
	if (c->err.status != KV_OK) {
		zk_watch_fail(r->zw, &c->err);
		return;
	}
	clear_chunk(r);
	zk_watch_later(r->zw);
}

static void ask_chunk(struct zk_resume *r)
{
	struct jute_out *o = &r->call.frame;

	memset(&r->call, 0, sizeof r->call);
	zk_call_begin(&r->call, ZK_OP_SET_WATCHES);
	jute_put_long(o, (int64_t)r->zw->w->after);
	put_all(r, o); /* data */
	jute_put_int(o, 0);
	put_all(r, o); /* children */
	r->call.done = asked_cb;
	r->calling = true;
	zk_call_start(r->here ? r->zw->zk->session.conn
			      : zk_second_conn(r->second),
		      &r->call);
}

static void up_cb(void *ctx)
{
	struct zk_resume *r = ctx;

	r->phase = ZK_RESUME_COMPARE;
	zk_watch_later(r->zw);
}

static void down_cb(void *ctx, const struct kv_err *why)
{
	struct zk_resume *r = ctx;
	struct kv_err err = *why;

	r->calling = false;
	(void)kv_wrap(&err, "zookeeper: asking for known keys");
	err.status = KV_NOT_REACHABLE;
	zk_watch_fail(r->zw, &err);
}

static const struct zk_second_events second_events = {
    .up = up_cb, .event = event_cb, .down = down_cb};

static void begin(struct zk_resume *r)
{
	struct kv_err err;

	if (r->here) {
		r->phase = ZK_RESUME_COMPARE;
		zk_watch_later(r->zw);
	} else if (zk_second_open(&r->zw->zk->session, &second_events, r,
				  &r->second, &err) != KV_OK) {
		zk_watch_fail(r->zw, &err);
		return;
	}
	r->begun = true;
	/* Even when nothing is known, something may be there now. */
	if (!push(r, &r->dirs, &r->n_dirs, &r->dirs_cap, r->zw->root) ||
	    (r->here && !zk_general_expect(r->zw, r->zw->root, 0))) {
		zk_watch_no_memory(r->zw);
	}
}

static void let_go(struct zk_resume *r)
{
	if (r->calling) {
		r->calling = false;
		zk_call_forget(&r->call);
	}
	if (r->second != NULL) {
		zk_second_close(r->second);
		r->second = NULL;
	}
	arena_free(&r->chunk);
}

bool zk_diff_step(struct zk_resume *r)
{
	if (!r->begun) {
		begin(r);
		return false;
	}
	if (r->phase == ZK_RESUME_DIAL || r->calling || !fill_chunk(r)) {
		return false;
	}
	if (r->n_keys + r->n_dirs > 0) {
		ask_chunk(r);
		return false;
	}
	let_go(r);
	sort_found(r);
	return true;
}

void zk_diff_free(struct zk_resume *r)
{
	let_go(r);
	arena_free(&r->found_names);
	kv_free(r->found);
	kv_free(r->keys);
	kv_free(r->dirs);
	kv_free(r->prev);
}
