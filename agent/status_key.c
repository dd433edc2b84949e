/* status_key.c: `status --key`: what is known of one key, and why it is as it
 * is: its row of the ledger, quarantine, the list of foreign keys, the filters
 * (when the configuration file is at hand).
 */
#include <inttypes.h>

#include "agent/filter.h"
#include "agent/status_int.h"

/* What is known of a key. */
struct known {
	struct state_row row;
	bool quarantined;
	struct state_quarantined q;
	bool foreign;
	bool filtered; /* the file says what passes */
	bool passes;
};

/* A key right before `key` in the order, or close before it: where to begin
 * looking. */
static struct slice before(struct arena *a, struct slice key)
{
	uint8_t *p;

	if (key.n == 0 || key.p[key.n - 1] == 0) {
		return slice_of(key.p, key.n == 0 ? 0 : key.n - 1);
	}
	p = arena_alloc(a, key.n + 8);
	if (p == NULL) {
		return slice_of(NULL, 0); /* from the start: slow, but right */
	}
	memcpy(p, key.p, key.n);
	p[key.n - 1]--;
	memset(p + key.n, 0xff, 8);
	return slice_of(p, key.n + 8);
}

static int find_quarantined(struct file *f, const struct state_summary *r,
			    struct slice key, struct known *k)
{
	struct slice after = before(&f->arena, key);
	size_t n = STATUS_PAGE, i = 0;
	int cmp = -1;

	while (n == STATUS_PAGE && cmp < 0) {
		struct state_quarantined *q = NULL;
		int status = state_quarantine_page(f->state, r->route, after,
						   STATUS_PAGE, &f->arena, &q,
						   &n, &f->s->err);

		if (status != KV_OK) {
			return status;
		}
		for (i = 0; i < n && cmp < 0; i++) {
			cmp = slice_cmp(q[i].key, key);
			k->quarantined = cmp == 0;
			k->q = q[i];
			after = q[i].key;
		}
	}
	return KV_OK;
}

static int find_foreign(struct file *f, const struct state_summary *r,
			struct slice key, struct known *k)
{
	struct slice after = before(&f->arena, key);
	size_t n = STATUS_PAGE, i = 0;
	int cmp = -1;

	while (n == STATUS_PAGE && cmp < 0) {
		struct slice *keys = NULL;
		int status =
		    state_foreign_page(f->state, r->route, after, STATUS_PAGE,
				       &f->arena, &keys, &n, &f->s->err);

		if (status != KV_OK) {
			return status;
		}
		for (i = 0; i < n && cmp < 0; i++) {
			cmp = slice_cmp(keys[i], key);
			k->foreign = cmp == 0;
			after = keys[i];
		}
	}
	return KV_OK;
}

static const char *row_text(enum state_row_kind kind)
{
	switch (kind) {
	case STATE_ROW_OWNED:
		return "owned";
	case STATE_ROW_GONE:
		return "gone";
	case STATE_ROW_YIELDED:
		return "yielded";
	case STATE_ROW_STALE:
		return "stale";
	default:
		return "none";
	}
}

static const char *explain(const struct known *k)
{
	if (k->quarantined) {
		return "cannot be carried, tried again at each change of it";
	}
	if (k->filtered && !k->passes) {
		return "include and exclude leave it out";
	}
	switch (k->row.kind) {
	case STATE_ROW_OWNED:
		return "mirrored";
	case STATE_ROW_GONE:
		return "deleted at the source, and at the target";
	case STATE_ROW_YIELDED:
		return "the target's value won a conflict; left alone until "
		       "both sides are equal again";
	case STATE_ROW_STALE:
		return "mirrored, but the source's newer value cannot be "
		       "carried";
	default:
		break;
	}
	return k->foreign ? "only the target has it and kvmirror did not write "
			    "it; left alone"
			  : "not known: neither mirrored nor listed";
}

static const struct conf_route *conf_of(const struct file *f, const char *name)
{
	const struct conf *conf = f->s->conf;
	size_t i;

	for (i = 0; conf != NULL && i < conf->n_routes; i++) {
		if (strcmp(conf->routes[i].name, name) == 0) {
			return &conf->routes[i];
		}
	}
	return NULL;
}

static void key_json(struct file *f, const struct state_summary *r,
		     struct slice key, const struct known *k)
{
	struct out *o = &f->s->out;
	json_t *object = status_entry(f, r, key);
	json_t *row;

	out_json_text(o, object, "explanation", explain(k));
	out_json_text(o, object, "ledger", row_text(k->row.kind));
	if (k->row.kind != STATE_ROW_NONE) {
		row = out_json_member(o, object, "row");
		out_json_uint(o, row, "source_index", k->row.source_index);
		out_json_uint(o, row, "version", k->row.version_a);
		if (k->row.version_b != 0) {
			out_json_uint(o, row, "version_b", k->row.version_b);
		}
		out_json_hash(o, row, "hash", &k->row.hash);
	}
	out_json_text(o, object, "quarantine",
		      k->quarantined ? k->q.reason : NULL);
	out_json_bool(o, object, "foreign", k->foreign);
	if (k->filtered) {
		out_json_bool(o, object, "included", k->passes);
	}
	out_json(o, object);
}

static void key_text(struct file *f, const struct state_summary *r,
		     struct slice key, const struct known *k)
{
	struct out *o = &f->s->out;
	char hex[KV_HASH_HEX_MAX];

	out_text(o, "%s: ", r->name);
	out_key(o, key);
	out_text(o, ": %s\n", explain(k));
	if (k->row.kind != STATE_ROW_NONE) {
		out_text(o,
			 "  ledger: %s, source index %" PRIu64
			 ", target version %" PRIu64 ", hash %s\n",
			 row_text(k->row.kind), k->row.source_index,
			 k->row.version_a, kv_hash_hex(&k->row.hash, hex));
	}
	if (k->quarantined) {
		out_text(o, "  quarantine: %s\n", k->q.reason);
	}
	if (k->filtered) {
		out_text(o, "  filters: %s\n", k->passes ? "in" : "out");
	}
}

int status_show_key(struct file *f, const struct state_summary *r)
{
	struct slice key = slice_str(f->s->args->key);
	const struct conf_route *conf = conf_of(f, r->name);
	struct known k = {0};
	int status =
	    state_ledger_get(f->state, r->route, &key, 1, &k.row, &f->s->err);

	if (status == KV_OK) {
		status = find_quarantined(f, r, key, &k);
	}
	if (status == KV_OK) {
		status = find_foreign(f, r, key, &k);
	}
	if (status != KV_OK) {
		return status;
	}
	if (conf != NULL) {
		k.filtered = true;
		k.passes = filter_pass(conf, key);
	}
	if (f->s->args->json) {
		key_json(f, r, key, &k);
	} else {
		key_text(f, r, key, &k);
	}
	return KV_OK;
}
