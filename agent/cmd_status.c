/* cmd_status.c: `kvmirror status`: what the state file says of its routes, also
 * while an agent writes to it.
 *
 *   --state, -c, SOURCE TARGET: one file;  nothing: all of the default folder
 *   file --state_summaries--> text or one JSON object
 *        --pages------------> --list: a line, or object, an entry
 *        --look up----------> --key: what is known of one key
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "agent/cli.h"
#include "agent/filter.h"
#include "agent/out.h"
#include "agent/state_path.h"
#include "state/state.h"

#define PAGE 1000

struct status {
	struct cli_args *args;
	struct conf *conf; /* -c, or NULL */
	const char *only;  /* ROUTE, or NULL */
	struct out out;
	json_t *object; /* --json: one for all files */
	json_t *routes;
	bool is_default; /* files of the default folder */
	struct kv_err err;
};

/* One file while it is shown. */
struct file {
	struct status *s;
	const char *path;
	struct state *state;
	bool held; /* an agent has it open */
	struct arena arena;
	struct state_summary *routes;
	size_t n;
};

/* ---- phases and positions
 * ----------------------------------------------------*/

static const char *phase_of(const struct file *f, const struct state_summary *r)
{
	if (!f->held) {
		return "STOPPED";
	}
	return r->live.phase[0] == '\0' ? "INIT" : r->live.phase;
}

static const char *text_or_null(const char *text)
{
	return text[0] == '\0' ? NULL : text;
}

/* What was applied is known only while an agent says it; what is saved is
 * applied in any case. */
static uint64_t applied_of(const struct state_summary *r)
{
	return KV_MAX(r->live.applied, r->checkpoint.index);
}

static uint64_t seen_of(const struct state_summary *r)
{
	return KV_MAX(r->live.seen, applied_of(r));
}

static void route_json(struct file *f, const struct state_summary *r)
{
	struct out *o = &f->s->out;
	const struct state_counters *c = &r->checkpoint.counters;
	json_t *object = out_json_object(o), *counts;

	out_json_text(o, object, "name", r->name);
	out_json_text(o, object, "phase", phase_of(f, r));
	out_json_uint(o, object, "seen", seen_of(r));
	out_json_uint(o, object, "applied", applied_of(r));
	out_json_uint(o, object, "saved", r->checkpoint.index);
	out_json_uint(o, object, "keys", r->keys);
	out_json_uint(o, object, "conflicts", c->conflicts);
	out_json_uint(o, object, "quarantine", r->quarantine);
	out_json_uint(o, object, "foreign", r->foreign);
	out_json_text(o, object, "held", text_or_null(r->live.held));
	out_json_text(o, object, "error", text_or_null(r->live.error));
	out_json_bool(o, object, "seeded", r->checkpoint.complete);
	out_json_uint(o, object, "intents", r->intents);
	out_json_uint(o, object, "updated_ms", r->live.wall_ms);
	out_json_text(o, object, "state", f->path);
	counts = out_json_member(o, object, "counters");
#define X(name, help) out_json_uint(o, counts, #name, c->name);
	STATE_COUNTER_MAP(X)
#undef X
	out_json_append(o, f->s->routes, object);
}

static void route_text(struct file *f, const struct state_summary *r)
{
	struct out *o = &f->s->out;
	const struct state_counters *c = &r->checkpoint.counters;

	out_text(o, "%s: %s\n", r->name, phase_of(f, r));
	out_text(
	    o, "  seen %" PRIu64 ", applied %" PRIu64 ", saved %" PRIu64 "%s\n",
	    seen_of(r), applied_of(r), r->checkpoint.index,
	    r->checkpoint.complete ? "" : ", seed not finished");
	out_text(o,
		 "  keys %" PRIu64 ", conflicts %" PRIu64
		 ", quarantine %" PRIu64 ", foreign %" PRIu64 "\n",
		 r->keys, c->conflicts, r->quarantine, r->foreign);
	out_text(o,
		 "  puts %" PRIu64 ", deletes %" PRIu64 ", adopted %" PRIu64
		 ", repaired %" PRIu64 "\n",
		 c->puts, c->deletes, c->adopted, c->repaired);
	if (r->live.held[0] != '\0') {
		out_text(o, "  held: %s\n", r->live.held);
	}
	if (r->live.error[0] != '\0') {
		out_text(o, "  last error: %s\n", r->live.error);
	}
	out_text(o, "  state: %s\n", f->path);
}

/* ---- lists
 * ---------------------------------------------------------------------*/

static void time_text(uint64_t wall_ms, char buf[32])
{
	time_t t = (time_t)(wall_ms / 1000);
	struct tm tm;

	buf[0] = '\0';
	if (gmtime_r(&t, &tm) != NULL) {
		(void)strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	}
}

static json_t *entry_json(struct file *f, const struct state_summary *r,
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
	object = entry_json(f, r, q->key);
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
		out_json(&f->s->out, entry_json(f, r, key));
		return;
	}
	out_key(&f->s->out, key);
	out_text(&f->s->out, "\n");
}

static void conflict_json(struct file *f, const struct state_summary *r,
			  const struct state_conflict *c)
{
	struct out *o = &f->s->out;
	json_t *object = entry_json(f, r, c->key);

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

/* A page of one list is shown; `after` goes on. False at the end. */
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
	int status = state_quarantine_page(f->state, r->route, c->after, PAGE,
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
	int status = state_foreign_page(f->state, r->route, c->after, PAGE,
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
	    state_conflict_page(f->state, r->route, c->seq, PAGE, &c->arena,
				&rows, &seqs, n, &f->s->err);

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

/* Page by page: a list may be long. */
static int show_list(struct file *f, const struct state_summary *r)
{
	page_fn page = find_list(f->s->args->list);
	struct cursor c = {0};
	size_t n = PAGE;
	int status = KV_OK;

	while (status == KV_OK && n == PAGE && out_ok(&f->s->out)) {
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

/* ---- one key
 * ---------------------------------------------------------------------*/

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
	size_t n = PAGE, i = 0;
	int cmp = -1;

	while (n == PAGE && cmp < 0) {
		struct state_quarantined *q = NULL;
		int status =
		    state_quarantine_page(f->state, r->route, after, PAGE,
					  &f->arena, &q, &n, &f->s->err);

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
	size_t n = PAGE, i = 0;
	int cmp = -1;

	while (n == PAGE && cmp < 0) {
		struct slice *keys = NULL;
		int status =
		    state_foreign_page(f->state, r->route, after, PAGE,
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
	json_t *object = entry_json(f, r, key);
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

static int show_key(struct file *f, const struct state_summary *r)
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

/* ---- files
 * -------------------------------------------------------------------------*/

static int show_route(struct file *f, const struct state_summary *r)
{
	if (f->s->args->list != NULL) {
		return show_list(f, r);
	}
	if (f->s->args->key != NULL) {
		return show_key(f, r);
	}
	if (f->s->args->json) {
		route_json(f, r);
	} else {
		route_text(f, r);
	}
	return KV_OK;
}

static bool is_wanted(const struct status *s, const char *name)
{
	return s->only == NULL || strcmp(s->only, name) == 0;
}

/* The routes of the configuration file, in its order; one that never ran has
 * no row yet. */
static int show_configured(struct file *f)
{
	const struct conf *conf = f->s->conf;
	int status = KV_OK;
	size_t i, k;

	for (i = 0; i < conf->n_routes && status == KV_OK; i++) {
		struct state_summary none = {.name = conf->routes[i].name};
		const struct state_summary *r = &none;

		for (k = 0; k < f->n; k++) {
			if (strcmp(f->routes[k].name, none.name) == 0) {
				r = &f->routes[k];
			}
		}
		if (is_wanted(f->s, none.name)) {
			status = show_route(f, r);
		}
	}
	return status;
}

static int show_all(struct file *f)
{
	int status = KV_OK;
	size_t i;

	for (i = 0; i < f->n && status == KV_OK; i++) {
		if (is_wanted(f->s, f->routes[i].name)) {
			status = show_route(f, &f->routes[i]);
		}
	}
	return status;
}

static int show_file(struct status *s, const char *path)
{
	struct file f = {.s = s, .path = path};
	int status = state_open(path, STATE_READ, &f.state, &s->err);

	if (status != KV_OK) {
		return status;
	}
	arena_init(&f.arena);
	status = state_is_held(path, &f.held, &s->err);
	if (status == KV_OK) {
		status = state_summaries(f.state, &f.arena, &f.routes, &f.n,
					 &s->err);
	}
	if (status == KV_OK) {
		status = s->conf != NULL ? show_configured(&f) : show_all(&f);
	}
	arena_free(&f.arena);
	state_close(f.state);
	return status;
}

static int is_state_name(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 3 && strcmp(d->d_name + n - 3, ".db") == 0;
}

/* All files of the default folder. */
static int show_folder(struct status *s)
{
	struct dirent **names = NULL;
	char *folder, *path;
	int n, i, status = state_path_folder(&folder, &s->err);

	if (status != KV_OK) {
		return status;
	}
	n = scandir(folder, &names, is_state_name, alphasort);
	if (n < 0 && errno != ENOENT) {
		status = kv_fail(&s->err, KV_DENIED, "%s: cannot be read: %s",
				 folder, strerror(errno));
	}
	for (i = 0; i < n; i++) {
		path = kv_asprintf("%s/%s", folder, names[i]->d_name);
		if (status == KV_OK) {
			status = path == NULL ? kv_fail(&s->err, KV_NO_MEMORY,
							"no memory for a path")
					      : show_file(s, path);
		}
		kv_free(path);
		free(names[i]);
	}
	free(names);
	if (status == KV_OK && n <= 0 && !s->args->json) {
		out_text(&s->out, "no state files in %s\n", folder);
	}
	kv_free(folder);
	return status;
}

static int show(struct status *s)
{
	char *path;
	int status;

	if (s->conf == NULL && s->args->state == NULL && s->args->n_args == 0) {
		return show_folder(s);
	}
	status = cli_state_path(s->args, s->conf, &path, &s->err);
	if (status == KV_OK) {
		status = show_file(s, path);
	}
	kv_free(path);
	return status;
}

/* ---- the command
 * ---------------------------------------------------------------------*/

static int check_args(struct status *s)
{
	struct cli_args *a = s->args;
	struct kv_err *err = &s->err;

	if (a->admin != NULL) {
		return kv_fail(err, KV_CALL_NOT_SUPPORTED,
			       "status: --admin is not supported yet; use "
			       "--state FILE or -c FILE");
	}
	if (a->list != NULL && find_list(a->list) == NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "status: --list '%s', expected conflicts, "
			       "quarantine or foreign",
			       a->list);
	}
	if (a->list != NULL && a->key != NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "status: --list and --key exclude each other");
	}
	if (a->n_args == 2 && a->conf != NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "status: either -c FILE [ROUTE] or SOURCE "
			       "TARGET");
	}
	if (a->n_args == 1) {
		s->only = a->args[0];
	}
	if (a->n_args == 1 && a->conf == NULL && a->state == NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "status: of one argument only: ROUTE goes with "
			       "-c or --state, or give SOURCE TARGET");
	}
	return KV_OK;
}

static bool knows_route(const struct status *s)
{
	size_t i;

	for (i = 0; s->conf != NULL && i < s->conf->n_routes; i++) {
		if (is_wanted(s, s->conf->routes[i].name)) {
			return true;
		}
	}
	return s->conf == NULL;
}

static int prepare(struct status *s, const struct cli *cli)
{
	int status = check_args(s);

	if (status == KV_OK && s->args->conf != NULL) {
		status = cli_load_conf(cli, s->args->conf, &s->conf, &s->err);
	}
	if (status == KV_OK && !knows_route(s)) {
		status =
		    kv_fail(&s->err, KV_BAD_ARGUMENT, "%s: no route named '%s'",
			    s->args->conf, s->only);
	}
	return status;
}

int cmd_status(const struct cli *cli, struct cli_args *args)
{
	struct status s = {.args = args};
	bool one_object = args->json && args->list == NULL && args->key == NULL;
	int code = CLI_OK;

	out_init(&s.out);
	if (prepare(&s, cli) != KV_OK) {
		code = cli_error(&s.err);
		goto out;
	}
	if (one_object) {
		s.object = out_json_object(&s.out);
		s.routes = out_json_array(&s.out, s.object, "routes");
	}
	if (show(&s) != KV_OK) {
		code = cli_error(&s.err);
		json_decref(s.object);
	} else if (one_object) {
		out_json(&s.out, s.object);
	}
out:
	conf_free(s.conf);
	return out_finish(&s.out, code);
}
