/* sqlite.c: the loop's side of the backend. Every request is a job for the
 * store's one worker, which alone touches the file.
 *
 *   scan, write --> job ------------------> kvfile_scan, _write --> store_done
 *   lock, unlock -> job ------------------> kvfile_lock, _unlock -> store_done
 *   changes ------> job ------------------> kvfile_changes
 *                    ^                        | batch, error    --> store_done
 *                    |                        | nothing new
 *                    |                        v
 *                    `--- the file changed -- waiting
 *                           ^        ^
 *              own write ---'        `--- notice --> kvfile_look
 *
 * Jobs run in order, so nothing is missed between "nothing new" and waiting: a
 * look that ran before saw an older file than the job, one that comes after
 * wakes it.
 */
#include "store/sqlite/sqlite.h"

#include "store/base/worker.h"
#include "store/sqlite/kvfile.h"
#include "store/sqlite/notice.h"
#include "store/sqlite/place.h"
#include "store/sqlite/schema.h"

#define MAX_OPS 1024
#define MAX_VALUE ((size_t)64 << 20)
#define MAX_BYTES (MAX_VALUE + ((size_t)1 << 20))
#define MAX_KEY ((size_t)64 << 10)
#define SCAN_PAGE 2000

#define MIN_POLL_MS 1000
#define MAX_MS (24 * 3600 * 1000)

struct backend {
	struct store *store;
	char *path;
	struct kvfile file; /* the worker's, but for open */
	struct worker *worker;
	struct notice notice;
	unsigned n_watches;  /* that were asked for changes */
	struct list waiting; /* struct watch, nothing new so far */

	/* A look at the file, at most one at a time. */
	struct worker_job look;
	bool changed;
	struct kv_err look_err;

	struct worker_job shut;
};

struct watch {
	struct kvfile_cursor cursor; /* the worker's while its job runs */
	uint8_t *bytes;		     /* the range's */
	bool counted;
	struct list link; /* in waiting */

	struct worker_job job;
	struct backend *backend;
	struct store_next *req;
	atomic_bool canceled;
	struct store_batch *batch;
	struct kv_err err;
};

/* A scan or a write. */
struct job {
	struct worker_job work;
	struct backend *backend;
	struct store_req *req;
	atomic_bool canceled;
	uint64_t now_ms; /* the wall's, at submission */
};

static const struct option_row options[] = {
    {"log", OPTION_UINT, NULL, NULL, false,
     "changes that a delete is remembered for; a watch that was away for "
     "longer reads the tree anew (a new file: 1000000; an old one: as it is)"},
    {"busy_timeout", OPTION_UINT, "5000", NULL, false,
     "milliseconds to wait for another program's lock"},
    {"poll", OPTION_UINT, "1000", NULL, false,
     "milliseconds between looks at the file where its directory tells "
     "nothing; 1000 or more"},
    {NULL, OPTION_STR, NULL, NULL, false, NULL}};

/* ---- scan and write ------------------------------------------------------*/

static struct job *job_of(struct worker_job *work)
{
	return kv_container_of(work, struct job, work);
}

static void work_scan(struct worker_job *work)
{
	struct job *job = job_of(work);
	struct backend *b = job->backend;
	struct store_scan *req =
	    kv_container_of(job->req, struct store_scan, req);

	b->file.canceled = &job->canceled;
	(void)!kvfile_scan(&b->file, b->store, req);
	b->file.canceled = NULL;
}

static void work_write(struct worker_job *work)
{
	struct job *job = job_of(work);
	struct backend *b = job->backend;
	struct store_write *req =
	    kv_container_of(job->req, struct store_write, req);

	b->file.canceled = &job->canceled;
	b->file.now_ms = job->now_ms;
	(void)!kvfile_write(&b->file, b->store, req);
	b->file.canceled = NULL;
}

static void submit_changes(struct watch *wi)
{
	worker_submit(wi->backend->worker, &wi->job);
}

/* Everyone who waits looks again. */
static void wake_all(struct backend *b)
{
	struct list *l;

	while ((l = list_pop_front(&b->waiting)) != NULL) {
		submit_changes(kv_container_of(l, struct watch, link));
	}
}

static void finish_job(struct job *job)
{
	struct store_req *req = job->req;

	kv_free(job);
	store_done(req);
}

static void done_scan(struct worker_job *work)
{
	finish_job(job_of(work));
}

/* Our own connection's writes are none of another's: the look is blind for
 * them. */
static void done_write(struct worker_job *work)
{
	struct job *job = job_of(work);

	wake_all(job->backend);
	finish_job(job);
}

static int submit(struct store *st, struct store_req *req,
		  void (*work)(struct worker_job *),
		  void (*done)(struct worker_job *), struct kv_err *err)
{
	struct backend *b = st->impl;
	struct job *job = kv_calloc(1, sizeof *job);

	if (job == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for a request");
	}
	job->work.work = work;
	job->work.done = done;
	job->backend = b;
	job->req = req;
	job->now_ms = sched_wall(st->sched);
	atomic_init(&job->canceled, false);
	req->impl = job;
	worker_submit(b->worker, &job->work);
	return KV_OK;
}

static int sqlite_scan(struct store *st, struct store_scan *req)
{
	return submit(st, &req->req, work_scan, done_scan, &req->err);
}

static int sqlite_write(struct store *st, struct store_write *req)
{
	return submit(st, &req->req, work_write, done_write, &req->err);
}

/* ---- locks: the file's, this machine's ------------------------------------*/

/* A job about a lock: the caller's request, or a renewal (req NULL). */
struct lock_job {
	struct worker_job work;
	struct backend *backend;
	struct store_lock_req *req;
	struct kvfile_hold hold;
	struct arena arena;
	uint64_t held; /* renewal: id of the hold */
	uint64_t sent_ms;
	struct kv_err err;
};

static struct lock_job *lock_job_of(struct worker_job *work)
{
	return kv_container_of(work, struct lock_job, work);
}

static void lock_job_free(struct lock_job *job)
{
	arena_free(&job->arena);
	kv_free(job);
}

/* NULL: no memory. */
static struct lock_job *lock_job_new(struct store *st, struct slice key,
				     uint64_t token, uint32_t ttl_ms)
{
	struct lock_job *job = kv_calloc(1, sizeof *job);

	if (job == NULL) {
		return NULL;
	}
	job->backend = st->impl;
	job->hold.key = store_stored_key(st, &job->arena, key);
	job->hold.token = token;
	job->hold.ttl_ms = ttl_ms;
	job->hold.now_ms = sched_wall(st->sched);
	job->sent_ms = sched_now(st->sched);
	if (job->hold.key.p == NULL) {
		lock_job_free(job);
		return NULL;
	}
	return job;
}

static void work_lock(struct worker_job *work)
{
	struct lock_job *job = lock_job_of(work);

	(void)!kvfile_lock(&job->backend->file, &job->hold, &job->err);
}

static void work_unlock(struct worker_job *work)
{
	struct lock_job *job = lock_job_of(work);

	(void)!kvfile_unlock(&job->backend->file, &job->hold, &job->err);
}

static void work_renew(struct worker_job *work)
{
	struct lock_job *job = lock_job_of(work);

	(void)!kvfile_renew(&job->backend->file, &job->hold, &job->err);
}

static void done_lock(struct worker_job *work)
{
	struct lock_job *job = lock_job_of(work);
	struct store_lock_req *req = job->req;
	struct store *st = job->backend->store;

	req->err = job->err;
	if (req->err.status == KV_OK) {
		req->token = job->hold.token;
		if (store_held_add(st, req, req->ttl_ms, job->sent_ms) ==
		    NULL) {
			/* It ends with its time. */
			(void)kv_fail(&req->err, KV_NO_MEMORY,
				      "no memory for a lock");
		}
		wake_all(job->backend);
	}
	lock_job_free(job);
	store_done(&req->req);
}

static void done_unlock(struct worker_job *work)
{
	struct lock_job *job = lock_job_of(work);
	struct store_lock_req *req = job->req;

	wake_all(job->backend);
	if (req != NULL) {
		req->err = job->err;
		store_done(&req->req);
	}
	lock_job_free(job);
}

/* A renewal that failed is followed by the next; the deadline decides. */
static void done_renew(struct worker_job *work)
{
	struct lock_job *job = lock_job_of(work);
	struct store_held *h = store_held_by_id(job->backend->store, job->held);

	if (h != NULL && job->err.status == KV_OK) {
		store_held_renewed(h, job->sent_ms);
	} else if (h != NULL && job->err.status == KV_CANNOT_LOCK) {
		store_held_lost(h, &job->err);
	}
	lock_job_free(job);
}

static int lock_submit(struct lock_job *job, struct store_lock_req *req,
		       void (*work)(struct worker_job *),
		       void (*done)(struct worker_job *))
{
	if (job == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY, "no memory for a lock");
	}
	job->req = req;
	job->work.work = work;
	job->work.done = done;
	worker_submit(job->backend->worker, &job->work);
	return KV_OK;
}

static int sqlite_lock(struct store *st, struct store_lock_req *req)
{
	struct lock_job *job = lock_job_new(st, req->key, 0, req->ttl_ms);

	if (job != NULL) {
		job->hold.value = req->value;
	}
	return lock_submit(job, req, work_lock, done_lock);
}

static int sqlite_unlock(struct store *st, struct store_lock_req *req)
{
	return lock_submit(
	    lock_job_new(st, req->held->key, req->held->token, 0), req,
	    work_unlock, done_unlock);
}

static void sqlite_renew(struct store *st, struct store_held *h)
{
	struct lock_job *job = lock_job_new(st, h->key, h->token, h->ttl_ms);

	if (job != NULL) {
		job->held = h->id;
		(void)!lock_submit(job, NULL, work_renew, done_renew);
	}
}

/* Before the file is closed, as jobs are in order. */
static void unlock_all(struct store *st)
{
	for (struct list *l = st->held.next; l != &st->held; l = l->next) {
		struct store_held *h =
		    kv_container_of(l, struct store_held, link);
		struct lock_job *job = lock_job_new(st, h->key, h->token, 0);

		if (job != NULL) {
			(void)!lock_submit(job, NULL, work_unlock, done_unlock);
		}
	}
}

/* ---- changes
 * ---------------------------------------------------------------*/

static struct watch *watch_of(struct worker_job *job)
{
	return kv_container_of(job, struct watch, job);
}

static void work_changes(struct worker_job *job)
{
	struct watch *wi = watch_of(job);
	struct kvfile *f = &wi->backend->file;

	f->canceled = &wi->canceled;
	(void)!kvfile_changes(f, wi->backend->store, &wi->cursor, wi->req->want,
			      &wi->batch, &wi->err);
	f->canceled = NULL;
}

static void answer(struct watch *wi)
{
	struct store_next *req = wi->req;

	req->err = wi->err;
	req->batch = wi->batch;
	wi->req = NULL;
	wi->batch = NULL;
	store_done(&req->req);
}

static void answer_canceled(struct watch *wi)
{
	(void)kv_fail(&wi->err, KV_CANCELED, "%s: canceled", wi->backend->path);
	answer(wi);
}

static void done_changes(struct worker_job *job)
{
	struct watch *wi = watch_of(job);

	if (wi->batch != NULL && wi->batch->init &&
	    wi->batch->origin.epoch > 1) {
		/* Another file than at the start: perhaps in another directory
		 * of that name. */
		notice_restart(&wi->backend->notice);
	}
	if (wi->err.status != KV_OK || wi->batch != NULL) {
		answer(wi);
	} else if (atomic_load(&wi->canceled)) {
		answer_canceled(wi);
	} else {
		list_push_back(&wi->backend->waiting, &wi->link);
	}
}

/* Stored bytes [low, high): of a directory from `dir/` to before `dir0`, of a
 * key it and no other: up to the key with a NUL behind it. */
static int make_range(struct store_watch *w, struct watch *wi,
		      struct kv_err *err)
{
	bool one = w->key.n > 0;
	struct slice name = one ? w->key : w->dir;
	const struct uri *u = w->store->uri;
	size_t n = u->prefix_n + name.n;
	uint8_t *p = kv_malloc(2 * (n + 1));

	if (p == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for a watch");
	}
	if (u->prefix_n > 0) {
		memcpy(p, u->prefix, u->prefix_n);
	}
	if (name.n > 0) {
		memcpy(p + u->prefix_n, name.p, name.n);
	}
	p[n] = '/';
	memcpy(p + n + 1, p, n);
	p[n + 1 + n] = one ? 0 : '/' + 1;
	wi->bytes = p;
	wi->cursor.range.low = slice_of(p, one ? n : n + 1);
	wi->cursor.range.high = slice_of(p + n + 1, n + 1);
	wi->cursor.one_key = one;
	return KV_OK;
}

/* At a watch's first request. The directory is watched before the file is
 * read. */
static int start_watch(struct store_watch *w, struct watch *wi,
		       struct kv_err *err)
{
	struct backend *b = w->store->impl;
	int rv = notice_start(&b->notice, err);

	if (rv != KV_OK) {
		return rv;
	}
	if (wi->bytes == NULL) {
		rv = make_range(w, wi, err);
	}
	if (rv != KV_OK) {
		if (b->n_watches == 0) {
			notice_stop(&b->notice);
		}
		return rv;
	}
	wi->backend = b;
	wi->cursor.after = w->after;
	wi->job.work = work_changes;
	wi->job.done = done_changes;
	list_init(&wi->link);
	wi->counted = true;
	b->n_watches++;
	return KV_OK;
}

static int sqlite_changes(struct store_watch *w, struct store_next *req)
{
	struct watch *wi = w->impl;

	if (!wi->counted) {
		int rv = start_watch(w, wi, &req->err);

		if (rv != KV_OK) {
			return rv;
		}
	}
	PRE(wi->req == NULL);
	wi->req = req;
	kv_err_clear(&wi->err);
	atomic_store(&wi->canceled, false);
	req->req.impl = wi;
	submit_changes(wi);
	return KV_OK;
}

static void sqlite_unwatch(struct store_watch *w)
{
	struct watch *wi = w->impl;
	struct backend *b = w->store->impl;

	PRE(wi->req == NULL);
	kv_free(wi->bytes);
	wi->bytes = NULL;
	if (wi->counted && --b->n_watches == 0) {
		notice_stop(&b->notice);
	}
}

static void sqlite_cancel(struct store *st KV_UNUSED, struct store_req *req)
{
	struct watch *wi;
	struct job *job;

	if (req->kind == STORE_REQ_LOCK) {
		return; /* done soon */
	}
	if (req->kind != STORE_REQ_NEXT) {
		job = req->impl;
		atomic_store(&job->canceled, true);
		return;
	}
	wi = req->impl;
	atomic_store(&wi->canceled, true);
	if (!list_empty(&wi->link)) {
		list_remove(&wi->link);
		answer_canceled(wi);
	}
}

/* ---- looking
 * -----------------------------------------------------------------*/

static void work_look(struct worker_job *job)
{
	struct backend *b = kv_container_of(job, struct backend, look);

	b->changed = false;
	kv_err_clear(&b->look_err);
	(void)!kvfile_look(&b->file, &b->changed, &b->look_err);
}

/* After a failed look everyone looks for himself, and so gets the error. */
static void done_look(struct worker_job *job)
{
	struct backend *b = kv_container_of(job, struct backend, look);

	if (b->changed || b->look_err.status != KV_OK) {
		wake_all(b);
	}
	notice_looked(&b->notice);
}

static void start_look(struct notice *n)
{
	struct backend *b = kv_container_of(n, struct backend, notice);

	b->look.work = work_look;
	b->look.done = done_look;
	worker_submit(b->worker, &b->look);
}

/* ---- open
 * --------------------------------------------------------------------*/

static int read_options(struct backend *b, struct kv_err *err)
{
	const struct uri *u = b->store->uri;
	uint64_t busy, poll;
	char *log = NULL;
	int rv =
	    option_text(options, u->options, u->n_options, "log", &log, err);

	if (rv != KV_OK) {
		return rv;
	}
	b->file.keep = SCHEMA_KEEP;
	b->file.keep_given = log != NULL;
	kv_free(log);
	if (b->file.keep_given) {
		rv = option_uint(options, u->options, u->n_options, "log",
				 &b->file.keep, err);
	}
	if (rv == KV_OK) {
		rv = option_uint(options, u->options, u->n_options,
				 "busy_timeout", &busy, err);
	}
	if (rv == KV_OK) {
		rv = option_uint(options, u->options, u->n_options, "poll",
				 &poll, err);
	}
	if (rv != KV_OK) {
		return rv;
	}
	if (b->file.keep > INT64_MAX || busy > MAX_MS || poll > MAX_MS ||
	    poll < MIN_POLL_MS || b->file.keep == 0) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "sqlite: options: busy_timeout and poll go up "
			       "to %d ms, poll from %d ms, log from 1",
			       MAX_MS, MIN_POLL_MS);
	}
	b->file.busy_ms = (uint32_t)busy;
	b->notice.poll_ms = poll;
	return KV_OK;
}

/* With a slash in it: SQLite takes no part of it for a name with a meaning
 * (":memory:", "file:..."). */
static int set_path(struct backend *b, struct kv_err *err)
{
	const char *path = b->store->uri->path;

	if (path == NULL || path[0] == '\0') {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "sqlite: the URI names no file: sqlite:PATH");
	}
	b->path = path[0] == '/' ? kv_strdup(path) : kv_asprintf("./%s", path);
	if (b->path == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory to open a store");
	}
	b->file.path = b->path;
	b->notice.path = b->path;
	return KV_OK;
}

static void set_caps(struct store_caps *caps)
{
	caps->atomic = true;
	caps->resumable = true;
	caps->told_deletes = true;
	caps->ordered = true;
	caps->sorted_keys = true;
	caps->max_ops = MAX_OPS;
	caps->max_bytes = MAX_BYTES;
	caps->max_value = MAX_VALUE;
	caps->max_key = MAX_KEY;
	caps->write_timeout_ms = 0;
	caps->scan_page = SCAN_PAGE;
}

static int sqlite_open(struct store *st, struct kv_err *err)
{
	struct backend *b = st->impl;
	int rv;

	b->store = st;
	b->notice.sched = st->sched;
	b->notice.look = start_look;
	b->file.create = (st->flags & STORE_CREATE) != 0;
	b->file.schema_version = -1;
	list_init(&b->waiting);
	rv = set_path(b, err);
	if (rv != KV_OK) {
		return rv;
	}
	rv = read_options(b, err);
	if (rv == KV_OK) {
		rv = place_check(b->path, b->file.create, err);
	}
	if (rv != KV_OK) {
		goto err_path;
	}
	b->worker = worker_open(st->sched, "sqlite");
	if (b->worker == NULL) {
		rv = kv_fail(err, KV_NO_MEMORY, "sqlite: no thread to be had");
		goto err_path;
	}
	set_caps(&st->caps);
	return KV_OK;

err_path:
	assert(rv != KV_OK);
	kv_free(b->path);
	return rv;
}

/* ---- close ---------------------------------------------------------------*/

static void worker_closed(void *ctx)
{
	struct backend *b = ctx;

	kv_free(b->path);
	store_closed(b->store);
}

/* The last connection of a file writes its log back: not on the loop. */
static void work_shut(struct worker_job *job)
{
	kvfile_close(&kv_container_of(job, struct backend, shut)->file);
}

static void done_shut(struct worker_job *job KV_UNUSED)
{
}

static void notice_closed(struct notice *n)
{
	struct backend *b = kv_container_of(n, struct backend, notice);

	b->shut.work = work_shut;
	b->shut.done = done_shut;
	worker_submit(b->worker, &b->shut);
	worker_close(b->worker, worker_closed, b);
}

/* A look under way is done before the worker is closed, as jobs are in order;
 * the notice is off by then. */
static void sqlite_close(struct store *st)
{
	struct backend *b = st->impl;

	PRE(list_empty(&b->waiting));
	unlock_all(st);
	notice_stop(&b->notice);
	notice_close(&b->notice, notice_closed);
}

/* ---- the table
 * ---------------------------------------------------------------*/

static bool sqlite_same_place(const struct store *a, const struct store *b)
{
	const struct backend *x = a->impl, *y = b->impl;

	return place_same(x->path, y->path);
}

static const char *const schemes[] = {"sqlite", NULL};

const struct store_ops store_sqlite_ops = {
    .name = "sqlite",
    .schemes = schemes,
    .options = options,
    .help = "a file with a table kv(key, value): sqlite:PATH?prefix=/a",
    .store_size = sizeof(struct backend),
    .watch_size = sizeof(struct watch),
    .open = sqlite_open,
    .scan = sqlite_scan,
    .changes = sqlite_changes,
    .unwatch = sqlite_unwatch,
    .write = sqlite_write,
    .lock = sqlite_lock,
    .unlock = sqlite_unlock,
    .renew = sqlite_renew,
    .cancel = sqlite_cancel,
    .close = sqlite_close,
    .same_place = sqlite_same_place,
};
