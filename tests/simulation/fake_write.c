/* fake_write.c: writes at the fake server: done, refused, lost, or done long
 * after the client has given up. */
#include "fake_impl.h"

/* A write without a client, on its way to the server. */
struct late_write {
	struct list link; /* in its world */
	struct sim_event event;
	struct fake_world *w;
	struct store_op *ops;
	size_t n;
};

static struct store_write *write_of(struct fake_req *fr)
{
	return kv_container_of(fr->req, struct store_write, req);
}

/* ---- what the server does
 * --------------------------------------------------*/

static int guard_check(const struct fake_world *w, const struct store_op *op)
{
	const struct fake_key *k = fake_find(w, op->key);
	const struct fake_rev *r = k == NULL ? NULL : fake_now(k);
	bool present = r != NULL && r->present;

	if (op->kind == STORE_OP_DELETE && !present) {
		return KV_KEY_NOT_FOUND;
	}
	if (w->plant == PLANT_NO_GUARD) {
		return KV_OK;
	}
	if (op->guard == STORE_GUARD_ABSENT && present) {
		return KV_KEY_EXISTS;
	}
	if (op->guard == STORE_GUARD_VERSION &&
	    (!present || !store_version_eq(op->expect, r->version))) {
		return KV_KEY_MODIFIED;
	}
	return KV_OK;
}

static bool is_failure(const struct store_op *op)
{
	return op->status != KV_OK && !(op->status == KV_KEY_NOT_FOUND &&
					op->guard == STORE_GUARD_NONE);
}

/* What the server keeps of a put. */
static struct slice whole_of(struct fake_world *w, const struct store_op *op)
{
	size_t n = op->value.n + 1 + op->attrs.n;
	uint8_t *p;

	if (op->attrs.n == 0 || w->plant == PLANT_LOST_ATTRS) {
		w->counts->planted += op->attrs.n > 0;
		return op->value;
	}
	w->counts->attrs_put++;
	p = region_alloc(w->region, n);
	memcpy(p, op->value.p, op->value.n);
	p[op->value.n] = FAKE_ATTRS;
	memcpy(p + op->value.n + 1, op->attrs.p, op->attrs.n);
	return slice_of(p, n);
}

static void perform(struct fake_world *w, struct store_op *op)
{
	struct fake_key *k;

	if (op->status != KV_OK) {
		return;
	}
	if (op->kind == STORE_OP_PUT) {
		fake_put(w, op->key, whole_of(w, op), FAKE_AGENT);
		w->counts->ops_put++;
	} else {
		fake_delete(w, op->key, FAKE_AGENT);
		w->counts->ops_deleted++;
	}
	k = fake_find(w, op->key);
	op->index = w->index;
	if (op->kind == STORE_OP_PUT) {
		op->version = fake_now(k)->version;
	}
	if (w->applied != NULL) {
		w->applied(w, k, op, w->ctx);
	}
}

/* Status of the whole write. */
static int perform_all(struct fake_world *w, struct store_op *ops, size_t n)
{
	int status = KV_OK;

	w->counts->writes++;
	for (size_t i = 0; i < n; i++) {
		ops[i].version = (struct store_version){0, 0};
		ops[i].status = guard_check(w, &ops[i]);
		if (!is_failure(&ops[i])) {
			continue;
		}
		w->counts->guards_failed++;
		status = status == KV_OK ? ops[i].status : status;
		if (!w->kind.caps.atomic) {
			for (size_t k = i + 1; k < n; k++) {
				ops[k].status = KV_CANCELED;
			}
			break;
		}
	}
	if (status != KV_OK && w->kind.caps.atomic) {
		for (size_t i = 0; i < n; i++) {
			if (!is_failure(&ops[i])) {
				ops[i].status = KV_CANCELED;
			}
		}
		return status;
	}
	fake_begin(w);
	for (size_t i = 0; i < n; i++) {
		perform(w, &ops[i]);
	}
	fake_end(w);
	if (w->applied != NULL) {
		w->applied(w, NULL, NULL, w->ctx);
	}
	return status;
}

/* ---- late writes
 * -----------------------------------------------------------*/

static bool any_failed(const struct store_op *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (ops[i].status != KV_OK) {
			return true;
		}
	}
	return false;
}

void fake_late_kill(struct list *l)
{
	struct late_write *late = kv_container_of(l, struct late_write, link);

	sim_event_stop(&late->event);
	list_remove(&late->link);
}

void fake_late_land(struct list *l)
{
	struct late_write *late = kv_container_of(l, struct late_write, link);
	struct fake_world *w = late->w;

	fake_late_kill(l);
	FAKE_TRACE(w, "%s: a late write of %zu lands", w->name, late->n);
	w->late = true;
	(void)perform_all(w, late->ops, late->n);
	w->late = false;
	if (any_failed(late->ops, late->n)) {
		w->counts->late_guard_failed++;
	} else {
		w->counts->landed_late++;
	}
}

static void late_event(struct sim_event *e)
{
	fake_late_land(&kv_container_of(e, struct late_write, event)->link);
}

static void send_late(struct fake_world *w, const struct store_write *req)
{
	struct late_write *late = region_alloc(w->region, sizeof *late);
	uint64_t limit = (uint64_t)w->kind.caps.write_timeout_ms + 1;

	late->w = w;
	late->n = req->n_ops;
	late->ops = region_alloc(w->region, req->n_ops * sizeof *late->ops);
	for (size_t i = 0; i < req->n_ops; i++) {
		late->ops[i] = req->ops[i];
		late->ops[i].key = region_dup(w->region, req->ops[i].key);
		late->ops[i].value = region_dup(w->region, req->ops[i].value);
		late->ops[i].attrs = region_dup(w->region, req->ops[i].attrs);
	}
	list_init(&late->link);
	list_push_back(&w->late_writes, &late->link);
	late->event.fire = late_event;
	late->event.what = "late write";
	sim_event_start(w->sched, &late->event, false,
			sim_below(&w->rand, limit));
}

/* ---- no answer
 * -------------------------------------------------------------*/

static enum fake_fate draw_fate(struct fake_world *w)
{
	/* Where a write is done or dead at once, nothing is left to come. */
	uint64_t kinds = w->kind.caps.write_timeout_ms == 0 ? 2 : 3;

	if (w->fate != FATE_DRAWN) {
		return w->fate;
	}
	return (enum fake_fate)(FATE_NEVER + sim_below(&w->rand, kinds));
}

static void meet_fate(struct fake_world *w, struct store_write *req)
{
	switch (draw_fate(w)) {
	case FATE_DONE:
		w->counts->unknown_done++;
		(void)perform_all(w, req->ops, req->n_ops);
		break;
	case FATE_LATER:
		w->counts->unknown_later++;
		send_late(w, req);
		break;
	case FATE_DRAWN:
	case FATE_NEVER:
	default:
		w->counts->unknown_never++;
		break;
	}
}

static void set_ops(struct store_write *req, int status)
{
	for (size_t i = 0; i < req->n_ops; i++) {
		req->ops[i].status = status;
		req->ops[i].version = (struct store_version){0, 0};
		req->ops[i].index = 0;
	}
}

static void fail_write(struct fake_req *fr, int status, const char *why)
{
	set_ops(write_of(fr),
		status == KV_UNKNOWN_OUTCOME ? status : KV_CANCELED);
	fake_fail(fr, status, why);
}

/* The order of writes is kept: nothing behind a failed one is done. */
static void fail_behind(struct fake_req *fr)
{
	struct fake_store *fs = fr->fs;
	struct list *l;

	if (!fs->w->kind.caps.ordered) {
		return;
	}
	for (l = fr->link.next; l != &fs->reqs; l = l->next) {
		struct fake_req *other =
		    kv_container_of(l, struct fake_req, link);

		if (other->req->kind == STORE_REQ_WRITE &&
		    other->stage == FAKE_SENT) {
			fail_write(other, KV_CANCELED,
				   "a write before it failed");
		}
	}
}

void fake_write_lost(struct fake_req *fr, int surely, const char *why)
{
	struct fake_world *w = fr->fs->w;

	if (!fr->at_server && sim_chance(&w->rand, 1, 3)) {
		fail_write(fr, surely, why); /* surely not sent */
	} else {
		if (!fr->at_server) {
			meet_fate(w, write_of(fr));
		}
		fail_write(fr, KV_UNKNOWN_OUTCOME, why);
	}
	fail_behind(fr);
}

void fake_write_orphan(struct fake_req *fr)
{
	if (fr->stage == FAKE_SENT && !fr->at_server) {
		meet_fate(fr->fs->w, write_of(fr));
	}
}

/* ---- arrival
 * ---------------------------------------------------------------*/

/* Is one that was sent before still on its way? */
static bool must_wait(const struct fake_req *fr)
{
	const struct list *l;

	if (!fr->fs->w->kind.caps.ordered) {
		return false;
	}
	for (l = fr->fs->reqs.next; l != &fr->link; l = l->next) {
		const struct fake_req *other =
		    kv_container_of(l, const struct fake_req, link);

		if (other->req->kind == STORE_REQ_WRITE &&
		    other->stage == FAKE_SENT) {
			return true;
		}
	}
	return false;
}

static bool has_put(const struct store_write *req)
{
	for (size_t i = 0; i < req->n_ops; i++) {
		if (req->ops[i].kind == STORE_OP_PUT) {
			return true;
		}
	}
	return false;
}

/* What goes wrong before the server looks at it; true: something did. */
static bool refuse(struct fake_req *fr)
{
	struct fake_world *w = fr->fs->w;
	const struct store_write *req = write_of(fr);
	uint64_t now = w->sched->now_ms;

	if (req->epoch != 0 && req->epoch != fr->fs->epoch) {
		w->counts->stale_epoch++;
		fail_write(fr, KV_NOT_REACHABLE, "another connection by now");
	} else if (fake_is_down(w) || fake_roll(w, w->faults.unreachable)) {
		w->counts->unreachable++;
		fail_write(fr, KV_NOT_REACHABLE, "not sent");
	} else if (fake_roll(w, w->faults.timed_out)) {
		w->counts->timed_out++;
		fail_write(fr, KV_TIMED_OUT, "not sent in time");
	} else if (now < w->denied_until_ms) {
		w->counts->denied++;
		fail_write(fr, KV_DENIED, "credentials refused");
	} else if (now < w->no_space_until_ms && has_put(req)) {
		w->counts->no_space++;
		fail_write(fr, KV_NO_SPACE, "database space exceeded");
	} else {
		return false;
	}
	return true;
}

void fake_write_arrive(struct fake_req *fr)
{
	struct fake_world *w = fr->fs->w;
	struct store_write *req = write_of(fr);
	int status;

	if (must_wait(fr)) {
		sim_event_start(w->sched, &fr->event, true, 1);
		return;
	}
	if (refuse(fr)) {
		fail_behind(fr);
		return;
	}
	if (fake_roll(w, w->faults.lost_write)) {
		meet_fate(w, req);
		fail_write(fr, KV_UNKNOWN_OUTCOME, "no answer");
		fail_behind(fr);
		return;
	}
	if (fake_roll(w, w->faults.cut)) {
		fake_stores_cut(w);
		return;
	}
	status = perform_all(w, req->ops, req->n_ops);
	fr->at_server = true;
	fake_origin(fr->fs, &req->origin);
	if (status != KV_OK) {
		(void)kv_fail(&req->err, status, "%s: refused", w->name);
		fake_answer(fr);
		fail_behind(fr);
		return;
	}
	fake_answer(fr);
}
