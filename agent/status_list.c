/* status_list.c: `status --list`: conflicts, quarantine, foreign keys.
 *
 *   a page of the state file --> a line, or an object, an entry --> next page
 */
#include <inttypes.h>
#include <time.h>

#include "agent/status_int.h"

static void time_text(uint64_t wall_ms, char buf[32])
{
	time_t t = (time_t)(wall_ms / 1000);
	struct tm tm;

	buf[0] = '\0';
	if (gmtime_r(&t, &tm) != NULL) {
		(void)strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	}
}

json_t *status_entry(struct file *f, const struct state_summary *r,
		     struct slice key)
{
	json_t *object = out_json_object(&f->s->out);

	out_json_text(&f->s->out, object, "route", r->name);
	out_json_key(&f->s->out, object, "key", key);
	return object;
}

static void show_quarantined(struct file *f, const struct state_summary *r,
			     const struct state_quarantined *q)
{
	struct out *o = &f->s->out;
	json_t *object;

	if (!f->s->args->json) {
		out_key(o, q->key);
		out_text(o, "\t%s%s\n", q->reason,
			 q->stale ? "\tthe target holds an older value" : "");
		return;
	}
	object = status_entry(f, r, q->key);
	out_json_text(o, object, "reason", q->reason);
	out_json_uint(o, object, "index", q->source_index);
	out_json_uint(o, object, "time_ms", q->wall_ms);
	out_json_bool(o, object, "stale", q->stale);
	out_json(o, object);
}

static void show_foreign(struct file *f, const struct state_summary *r,
			 struct slice key)
{
	if (f->s->args->json) {
		out_json(&f->s->out, status_entry(f, r, key));
		return;
	}
	out_key(&f->s->out, key);
	out_text(&f->s->out, "\n");
}

static void conflict_json(struct file *f, const struct state_summary *r,
			  const struct state_conflict *c)
{
	struct out *o = &f->s->out;
	json_t *object = status_entry(f, r, c->key);

	out_json_uint(o, object, "time_ms", c->wall_ms);
	out_json_uint(o, object, "index", c->source_index);
	if (c->has_source) {
		out_json_hash(o, object, "source_hash", &c->source_hash);
	} else {
		out_json_text(o, object, "source_hash", NULL);
	}
	if (c->has_target) {
		out_json_hash(o, object, "target_hash", &c->target_hash);
	} else {
		out_json_text(o, object, "target_hash", NULL);
	}
	out_json_text(o, object, "decision", c->decision);
	out_json(o, object);
}

static void show_conflict(struct file *f, const struct state_summary *r,
			  const struct state_conflict *c)
{
	struct out *o = &f->s->out;
	char from[KV_HASH_HEX_MAX], to[KV_HASH_HEX_MAX], when[32];

	if (f->s->args->json) {
		conflict_json(f, r, c);
		return;
	}
	time_text(c->wall_ms, when);
	out_text(o, "%s\t", when);
	out_key(o, c->key);
	out_text(o, "\t%s\tsource %s\ttarget %s\n", c->decision,
		 c->has_source ? kv_hash_hex(&c->source_hash, from) : "absent",
		 c->has_target ? kv_hash_hex(&c->target_hash, to) : "absent");
}

/* Where a list goes on. */
struct cursor {
	struct arena arena;
	struct arena keep; /* holds `after` */
	struct slice after;
	int64_t seq;
};

static int quarantine_page(struct file *f, const struct state_summary *r,
			   struct cursor *c, size_t *n)
{
	struct state_quarantined *q = NULL;
	size_t i;
	int status =
	    state_quarantine_page(f->state, r->route, c->after, STATUS_PAGE,
				  &c->arena, &q, n, &f->s->err);

	if (status != KV_OK) {
		return status;
	}
	for (i = 0; i < *n; i++) {
		show_quarantined(f, r, &q[i]);
	}
	c->after = *n > 0 ? q[*n - 1].key : c->after;
	return KV_OK;
}

static int foreign_page(struct file *f, const struct state_summary *r,
			struct cursor *c, size_t *n)
{
	struct slice *keys = NULL;
	size_t i;
	int status =
	    state_foreign_page(f->state, r->route, c->after, STATUS_PAGE,
			       &c->arena, &keys, n, &f->s->err);

	if (status != KV_OK) {
		return status;
	}
	for (i = 0; i < *n; i++) {
		show_foreign(f, r, keys[i]);
	}
	c->after = *n > 0 ? keys[*n - 1] : c->after;
	return KV_OK;
}

static int conflict_page(struct file *f, const struct state_summary *r,
			 struct cursor *c, size_t *n)
{
	struct state_conflict *rows = NULL;
	int64_t *seqs = NULL;
	size_t i;
	int status =
	    state_conflict_page(f->state, r->route, c->seq, STATUS_PAGE,
				&c->arena, &rows, &seqs, n, &f->s->err);

	if (status != KV_OK) {
		return status;
	}
	for (i = 0; i < *n; i++) {
		show_conflict(f, r, &rows[i]);
	}
	c->seq = *n > 0 ? seqs[*n - 1] : c->seq;
	return KV_OK;
}

typedef int (*page_fn)(struct file *f, const struct state_summary *r,
		       struct cursor *c, size_t *n);

static const struct {
	const char *name;
	page_fn page;
} lists[] = {
    {"conflicts", conflict_page},
    {"quarantine", quarantine_page},
    {"foreign", foreign_page},
};

static page_fn find_list(const char *name)
{
	size_t i;

	for (i = 0; i < KV_COUNT(lists); i++) {
		if (strcmp(lists[i].name, name) == 0) {
			return lists[i].page;
		}
	}
	return NULL;
}

bool status_has_list(const char *name)
{
	return find_list(name) != NULL;
}

/* Page by page: a list may be long. */
int status_show_list(struct file *f, const struct state_summary *r)
{
	page_fn page = find_list(f->s->args->list);
	struct cursor c = {0};
	size_t n = STATUS_PAGE;
	int status = KV_OK;

	while (status == KV_OK && n == STATUS_PAGE && out_ok(&f->s->out)) {
		status = page(f, r, &c, &n);
		arena_reset(&c.keep);
		if (status == KV_OK && c.after.n > 0) {
			c.after = slice_dup(&c.keep, c.after);
			if (c.after.p == NULL) {
				status = kv_fail(&f->s->err, KV_NO_MEMORY,
						 "no memory for a key");
			}
		}
		arena_reset(&c.arena);
	}
	arena_free(&c.arena);
	arena_free(&c.keep);
	return status;
}
