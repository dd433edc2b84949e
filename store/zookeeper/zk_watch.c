/* zk_watch.c: see zk_watch.h for the phases.
 *
 *   zk_changes --> step --> batch? answer
 *                    |  `-- something to find: way->pump
 *                    `----- silent, and somebody wants to know: sync
 *
 * Nothing is read before somebody pulls: that is the back-pressure. What comes
 * meanwhile is remembered by name.
 */
#include "store/zookeeper/zk_watch.h"

#define QUIET_MS 20
#define QUIET_MAX_MS 2000

static void step(struct zk_watch *zw);

/* ---- ends ---------------------------------------------------------------- */

/* What a watch may end with; see store_watch_next. */
static int watch_status(int status)
{
	switch (status) {
	case KV_HISTORY_LOST:
	case KV_DENIED:
	case KV_NO_MEMORY:
	case KV_BROKEN:
	case KV_CANCELED:
		return status;
	default:
		return KV_NOT_REACHABLE;
	}
}

/* Lets go of the connection and of all that was found. */
static void let_go(struct zk_watch *zw)
{
	zw->phase = ZK_WATCH_ENDED;
	sched_timer_stop(&zw->quiet);
	zk_session_unlisten(&zw->listener);
	if (zw->asking) {
		zw->asking = false;
		zk_ask_cancel(&zw->ask);
	}
	if (zw->calling) {
		zw->calling = false;
		zk_call_forget(&zw->call);
	}
	zk_fetcher_close(&zw->fetcher);
	if (zw->way != NULL) {
		zw->way->free(zw);
		zw->way = NULL;
	}
	zk_stage_free(zw);
	zk_dirties_free(&zw->dirties);
	zk_gather_free(&zw->gather);
	store_batch_free(zw->init);
	zw->init = NULL;
	arena_free(&zw->scratch);
}

void zk_watch_fail(struct zk_watch *zw, const struct kv_err *err)
{
	PRE(err->status != KV_OK);
	if (zw->phase == ZK_WATCH_ENDED) {
		return;
	}
	zw->err = *err;
	zw->err.status = watch_status(err->status);
	let_go(zw);
	zk_watch_later(zw);
}

void zk_watch_fail_text(struct zk_watch *zw, int status, const char *text)
{
	struct kv_err err;

	(void)kv_fail(&err, status, "zookeeper: %s", text);
	zk_watch_fail(zw, &err);
}

void zk_watch_no_memory(struct zk_watch *zw)
{
	zk_watch_fail_text(zw, KV_NO_MEMORY, "no memory for a watch");
}

/* ---- answers ------------------------------------------------------------- */

static void answer(struct zk_watch *zw, struct store_batch *b)
{
	struct store_next *next = zw->next;

	zw->next = NULL;
	zk_origin(zw->zk, &b->origin);
	b->origin.index = KV_MAX(b->origin.index, b->index);
	next->batch = b;
	store_done(&next->req);
}

static void answer_err(struct zk_watch *zw, const struct kv_err *err)
{
	struct store_next *next = zw->next;

	zw->next = NULL;
	next->err = *err;
	store_done(&next->req);
}

static void answer_canceled(struct zk_watch *zw)
{
	struct kv_err err;

	zw->canceled = false;
	(void)kv_fail(&err, KV_CANCELED, "zookeeper: watch canceled");
	answer_err(zw, &err);
}

/* A mark without changes: the caller wants one for a position it passed. */
static bool maybe_mark(struct zk_watch *zw)
{
	struct store_batch *b;

	if (zw->next->want == 0 || zw->gather.position < zw->next->want) {
		return false;
	}
	b = store_batch_new();
	if (b == NULL) {
		zk_watch_no_memory(zw);
		return true;
	}
	b->index = zw->gather.position;
	answer(zw, b);
	return true;
}

/* ---- wanting to know ------------------------------------------------------*/

static void synced_cb(struct zk_call *c)
{
	struct zk_watch *zw = kv_container_of(c, struct zk_watch, call);

	zw->calling = false;
	if (c->err.status == KV_OK) {
		zk_watch_later(zw);
	} else {
		zk_watch_fail(zw, &c->err);
	}
}

/* Its reply says how far the server is, and comes behind all events up to
 * there. */
static void sync_now(struct zk_watch *zw)
{
	memset(&zw->call, 0, sizeof zw->call);
	zk_call_begin(&zw->call, ZK_OP_SYNC);
	zk_put_path(&zw->call.frame, zw->root);
	zw->call.done = synced_cb;
	zw->calling = true;
	zk_call_start(zw->zk->session.conn, &zw->call);
}

static void quiet_cb(struct sched_timer *t)
{
	step(kv_container_of(t, struct zk_watch, quiet));
}

static void maybe_sync(struct zk_watch *zw)
{
	if (zw->next->want == 0 || zw->calling ||
	    sched_timer_running(&zw->quiet)) {
		return;
	}
	sync_now(zw);
	sched_timer_start(zw->zk->st->sched, &zw->quiet, zw->quiet_ms);
	zw->quiet_ms = KV_MIN(zw->quiet_ms * 2, (uint64_t)QUIET_MAX_MS);
}

/* ---- steps --------------------------------------------------------------- */

/* Everything up to there was found. */
static uint64_t found_to(const struct zk_watch *zw)
{
	uint64_t none = (uint64_t)zk_conn_zxid(zw->zk->session.conn);

	return zw->way->limit(zw, KV_MAX(none, zw->base));
}

/* True: the pull was answered, or the watch has ended. */
static bool hand_out(struct zk_watch *zw)
{
	uint64_t limit = found_to(zw);
	struct store_batch *b;

	if (!zk_gather_stage(&zw->gather, limit)) {
		zk_watch_no_memory(zw);
		return true;
	}
	if (!zk_stage_is_whole(zw)) {
		return true;
	}
	if (zk_gather_take(&zw->gather, limit, &b) != KV_OK) {
		zk_watch_no_memory(zw);
		return true;
	}
	if (b != NULL) {
		zw->quiet_ms = QUIET_MS;
		answer(zw, b);
		return true;
	}
	return maybe_mark(zw);
}

static void step_live(struct zk_watch *zw)
{
	if (hand_out(zw)) {
		return;
	}
	zw->way->pump(zw);
	if (zw->phase == ZK_WATCH_LIVE && zk_fetcher_is_idle(&zw->fetcher)) {
		maybe_sync(zw);
	}
}

static void step(struct zk_watch *zw)
{
	if (zw->next == NULL || zw->held) {
		return;
	}
	if (zw->canceled) {
		answer_canceled(zw);
		return;
	}
	if (zw->phase == ZK_WATCH_ENDED) {
		answer_err(zw, &zw->err);
		return;
	}
	if (zw->init != NULL) {
		struct store_batch *b = zw->init;

		zw->init = NULL;
		answer(zw, b);
	} else if (zw->phase == ZK_WATCH_ARMING && zw->way->arming != NULL) {
		zw->way->arming(zw);
	} else if (zw->phase == ZK_WATCH_RESUMING) {
		zw->way->resume(zw);
	} else if (zw->phase == ZK_WATCH_LIVE) {
		step_live(zw);
	}
}

static void task_cb(struct sched_task *task)
{
	step(kv_container_of(task, struct zk_watch, task));
}

void zk_watch_later(struct zk_watch *zw)
{
	sched_post(zw->zk->st->sched, &zw->task);
}

/* ---- what store.c calls -------------------------------------------------- */

static struct zk_watch **slot(struct store_watch *w)
{
	return w->impl;
}

static void fetcher_failed_cb(void *ctx, const struct kv_err *err)
{
	zk_watch_fail(ctx, err);
}

static struct zk_watch *watch_new(struct store_watch *w)
{
	struct zk_watch *zw = kv_calloc(1, sizeof *zw);

	if (zw == NULL) {
		return NULL;
	}
	zw->single = w->key.n > 0;
	zw->root = zk_path(w->store, &zw->names, zw->single ? w->key : w->dir);
	if (zw->root.p == NULL) {
		arena_free(&zw->names);
		kv_free(zw);
		return NULL;
	}
	zw->zk = zk_of(w->store);
	zw->w = w;
	zw->task.run = task_cb;
	zw->quiet.fire = quiet_cb;
	zw->quiet_ms = QUIET_MS;
	zw->fetcher.failed = fetcher_failed_cb;
	zw->fetcher.ctx = zw;
	list_init(&zw->staging);
	zk_watch_open_init(zw);
	zk_dirties_init(&zw->dirties);
	return zw;
}

int zk_changes(struct store_watch *w, struct store_next *req)
{
	struct zk_watch *zw = *slot(w);

	if (zw == NULL) {
		zw = *slot(w) = watch_new(w);
	}
	if (zw == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY,
			       "zookeeper: no memory to watch");
	}
	PRE(zw->next == NULL);
	zw->next = req;
	if (zw->phase == ZK_WATCH_IDLE) {
		zk_watch_open(zw);
	} else {
		step(zw);
	}
	return KV_OK;
}

void zk_changes_cancel(struct store_next *req)
{
	struct zk_watch *zw = *slot(req->req.watch);

	PRE(zw->next == req);
	zw->canceled = true;
	step(zw);
}

void zk_unwatch(struct store_watch *w)
{
	struct zk_watch *zw = *slot(w);

	if (zw == NULL) {
		return;
	}
	PRE(zw->next == NULL && !zw->held);
	*slot(w) = NULL;
	if (zw->phase != ZK_WATCH_ENDED) {
		let_go(zw);
	}
	sched_unpost(&zw->task);
	arena_free(&zw->names);
	kv_free(zw);
}
