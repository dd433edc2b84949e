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

#include "agent/state_path.h"
#include "agent/status_int.h"

/* ---- phases and positions
 * ----------------------------------------------------*/

static const char *phase_of(const struct file *f, const struct state_summary *r)
{
	if (f->unconfigured) {
		return "UNCONFIGURED";
	}
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
	out_json_uint(o, object, "lag_ms", r->live.lag_ms);
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
	out_text(o,
		 "  seen %" PRIu64 ", applied %" PRIu64 ", saved %" PRIu64
		 ", lag %" PRIu64 " ms%s\n",
		 seen_of(r), applied_of(r), r->checkpoint.index, r->live.lag_ms,
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

/* ---- files
 * -------------------------------------------------------------------------*/

static int show_route(struct file *f, const struct state_summary *r)
{
	if (f->s->args->list != NULL) {
		return status_show_list(f, r);
	}
	if (f->s->args->key != NULL) {
		return status_show_key(f, r);
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

static bool is_configured(const struct status *s, const char *name)
{
	for (size_t i = 0; i < s->conf->n_routes; i++) {
		if (strcmp(s->conf->routes[i].name, name) == 0) {
			return true;
		}
	}
	return false;
}

/* Routes that were taken out of the configuration: their ledgers stay, so that
 * they go on when they are put back. */
static int show_others(struct file *f)
{
	bool plain = f->s->args->list == NULL && f->s->args->key == NULL;
	int status = KV_OK;

	for (size_t i = 0; plain && i < f->n && status == KV_OK; i++) {
		f->unconfigured = !is_configured(f->s, f->routes[i].name);
		if (f->unconfigured && f->s->only == NULL) {
			status = show_route(f, &f->routes[i]);
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
	if (status == KV_OK && s->conf != NULL) {
		status = show_others(&f);
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
	if (a->list != NULL && !status_has_list(a->list)) {
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
