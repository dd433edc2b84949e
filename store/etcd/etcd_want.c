/* etcd_want.c: a store where others write may keep a watch silent for ever.
 * Somebody who wants to know that everything up to revision W was handed out
 * is answered here.
 *
 *   silent --> version known? --no--> Status, on the watch's own connection
 *                  |
 *                  +-- ordered progress (3.4.25, 3.5.8 and later): ask for it;
 *                  |   the mark comes behind the events it stands for
 *                  `-- else: proof by reads
 *
 * The proof. Let P be the position (all up to it was handed out), R >= W the
 * revision at which the range is read, page by page, names only.
 *  1. No key there at R has a mod revision above P: then each of them was
 *     there at P with the same value, as any change in between would have
 *     raised its mod revision. So keys(R) is a part of keys(P).
 *  2. As many keys are there at R as at P: then the two are the same set, and
 *     no key of P was deleted.
 * So the tree at R equals the tree at P: the mark is exact. The number of keys
 * at P is known without a read at P (which compaction may forbid): it was
 * counted when the watch began, and every event that was handed out says
 * whether it created or removed a key. What the proof cannot see is a key that
 * was both created and deleted within (P, R]. Its two events come later, below
 * the position, and are dropped: they change nothing.
 *
 * Where the proof fails, events are on their way: the stream brings them.
 *
 * (Older servers answer a progress request too, but not in the order of the
 * events: the answer may pass by events that wait.)
 */
#include "store/base/log.h"
#include "store/etcd/etcd_watch.h"

#define QUIET_MS 20
#define QUIET_MAX_MS 2000
#define PROOF_PAGE 5000

static void start_timer(struct etcd_watch *ew)
{
	sched_timer_start(ew->e->client.sched, &ew->quiet, ew->quiet_ms);
}

/* Later again, and later the next time. */
static void wait_longer(struct etcd_watch *ew)
{
	ew->quiet_ms = KV_MIN(ew->quiet_ms * 2, (uint64_t)QUIET_MAX_MS);
	etcd_want_maybe_start(ew);
}

static bool is_wanted(const struct etcd_watch *ew)
{
	return ew->next != NULL && ew->phase == WATCH_LIVE &&
	       ew->init == NULL && ew->next->want > ew->events.position;
}

void etcd_want_maybe_start(struct etcd_watch *ew)
{
	if (is_wanted(ew) && !ew->calling && !grpc_call_is_open(&ew->status) &&
	    !sched_timer_running(&ew->quiet)) {
		start_timer(ew);
	}
}

void etcd_want_stop(struct etcd_watch *ew)
{
	sched_timer_stop(&ew->quiet);
	ew->quiet_ms = QUIET_MS;
	if (ew->calling && ew->phase == WATCH_LIVE) {
		ew->calling = false;
		etcd_call_cancel(&ew->call);
	}
}

/* ---- progress by the server ---------------------------------------------- */

static void status_message_cb(struct grpc_call *call, uint8_t *p, size_t n)
{
	struct etcd_watch *ew =
	    kv_container_of(call, struct etcd_watch, status);
	Etcdserverpb__StatusResponse *m;
	struct arena arena = {0};

	if (etcd_unpack(&etcdserverpb__status_response__descriptor, &arena, p,
			n, &m, NULL) == KV_OK &&
	    etcd_version_orders_progress(m->version)) {
		ew->progress = PROGRESS_ORDERED;
	}
	arena_free(&arena);
	kv_free(p);
}

static void status_done_cb(struct grpc_call *call)
{
	struct etcd_watch *ew =
	    kv_container_of(call, struct etcd_watch, status);

	if (ew->progress == PROGRESS_UNKNOWN) {
		ew->progress = PROGRESS_UNSURE; /* reads do in any case */
	}
	etcd_want_maybe_start(ew);
}

static void ask_version(struct etcd_watch *ew)
{
	static const uint8_t empty[GRPC_PREFIX];
	struct grpc_call *s = &ew->status;

	memset(s, 0, sizeof *s);
	s->path = "/etcdserverpb.Maintenance/Status";
	s->token = ew->e->client.token;
	s->max_message = 64 * 1024;
	s->out = empty;
	s->out_n = sizeof empty;
	s->message = status_message_cb;
	s->done = status_done_cb;
	if (!grpc_is_usable(ew->g) || grpc_start(ew->g, s) != KV_OK) {
		wait_longer(ew);
	}
}

static void ask_progress(struct etcd_watch *ew)
{
	/* A WatchRequest with an empty progress_request (field 3). */
	static const uint8_t frame[] = {0, 0, 0, 0, 2, 0x1a, 0};

	if (!grpc_send(&ew->stream, frame, sizeof frame)) {
		LOG_DEBUG("etcd: a progress request is still on its way");
	}
	/* No answer comes while events wait: ask again then. */
	ew->quiet_ms = KV_MAX(ew->quiet_ms, (uint64_t)50);
	wait_longer(ew);
}

/* ---- proof by reads ------------------------------------------------------ */

static void read_page(struct etcd_watch *ew);

/* What a page says: true: nothing against the proof so far. */
static bool agrees(const struct etcd_watch *ew,
		   const Etcdserverpb__RangeResponse *m)
{
	size_t i;

	if (m->count < 0 ||
	    (ew->proof_last.n == 0 && m->count != ew->events.count)) {
		return false;
	}
	for (i = 0; i < m->n_kvs; i++) {
		if ((uint64_t)m->kvs[i]->mod_revision > ew->proof_base) {
			return false;
		}
	}
	return true;
}

static bool remember_last(struct etcd_watch *ew,
			  const Etcdserverpb__RangeResponse *m)
{
	const Etcdserverpb__KeyValue *kv = m->kvs[m->n_kvs - 1];
	uint8_t *p;

	arena_reset(&ew->proof_names);
	p = arena_alloc(&ew->proof_names, kv->key.len + 1);
	if (p == NULL) {
		return false;
	}
	memcpy(p, kv->key.data, kv->key.len);
	p[kv->key.len] = 0; /* the first key behind it */
	ew->proof_last = slice_of(p, kv->key.len + 1);
	return true;
}

static void take_page(struct etcd_watch *ew,
		      const Etcdserverpb__RangeResponse *m)
{
	uint64_t revision = (uint64_t)m->header->revision;
	struct kv_err err;

	if (ew->proof_revision == 0) {
		if (revision < ew->next->want) {
			(void)kv_fail(&err, KV_HISTORY_LOST,
				      "etcd: the revision went back, to %llu "
				      "from %llu",
				      (unsigned long long)revision,
				      (unsigned long long)ew->next->want);
			etcd_watch_fail(ew, &err);
			return;
		}
		ew->proof_revision = revision;
	}
	if (!agrees(ew, m) || ew->events.position != ew->proof_base) {
		wait_longer(ew);
		return;
	}
	if (m->more && m->n_kvs > 0) {
		if (remember_last(ew, m)) {
			read_page(ew);
		} else {
			wait_longer(ew);
		}
		return;
	}
	if (etcd_events_mark(&ew->events, ew->proof_revision) != KV_OK) {
		wait_longer(ew);
		return;
	}
	etcd_watch_step(ew);
}

static void page_cb(struct etcd_call *c)
{
	struct etcd_watch *ew = kv_container_of(c, struct etcd_watch, call);
	Etcdserverpb__RangeResponse *m;
	struct arena arena = {0};
	uint8_t *reply = c->reply; /* the next page's call takes c over */

	ew->calling = false;
	if (c->err.status == KV_OK && is_wanted(ew) &&
	    etcd_unpack(&etcdserverpb__range_response__descriptor, &arena,
			reply, c->reply_n, &m, NULL) == KV_OK &&
	    etcd_check_header(m->header, NULL) == KV_OK) {
		take_page(ew, m);
	} else {
		wait_longer(ew);
	}
	arena_free(&arena);
	kv_free(reply);
}

static void read_page(struct etcd_watch *ew)
{
	Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
	struct slice from =
	    ew->proof_last.n > 0 ? ew->proof_last : ew->range.start;

	m.key = etcd_bytes(from);
	m.range_end = etcd_bytes(ew->range.end);
	m.revision = (int64_t)ew->proof_revision;
	m.keys_only = 1;
	m.limit = PROOF_PAGE;
	memset(&ew->call, 0, sizeof ew->call);
	ew->call.path = "/etcdserverpb.KV/Range";
	ew->call.frame = etcd_pack(&m.base, &ew->call.frame_n);
	ew->call.done = page_cb;
	if (ew->call.frame == NULL) {
		wait_longer(ew);
		return;
	}
	ew->calling = true;
	etcd_call_start(&ew->e->client, &ew->call);
}

static void quiet_cb(struct sched_timer *t)
{
	struct etcd_watch *ew = kv_container_of(t, struct etcd_watch, quiet);

	if (!is_wanted(ew)) {
		return;
	}
	switch (ew->progress) {
	case PROGRESS_UNKNOWN:
		ask_version(ew);
		break;
	case PROGRESS_ORDERED:
		ask_progress(ew);
		break;
	case PROGRESS_UNSURE:
		ew->proof_revision = 0;
		ew->proof_base = ew->events.position;
		ew->proof_last = slice_of(NULL, 0);
		read_page(ew);
		break;
	}
}

void etcd_want_init(struct etcd_watch *ew)
{
	ew->quiet.fire = quiet_cb;
	ew->quiet_ms = QUIET_MS;
	ew->progress = PROGRESS_UNKNOWN;
}
