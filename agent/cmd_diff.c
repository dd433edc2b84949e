/* cmd_diff.c: `kvmirror diff`: compares two stores, or the routes of a file,
 * one after the other.
 *
 *   a route: state (--owned, read only) -> stores -> diff -> lines
 *            --repair and something differs: agent with this one route
 */
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "agent/cli.h"
#include "agent/diff.h"
#include "agent/loop.h"
#include "agent/oneshot.h"
#include "agent/out.h"
#include "agent/progress.h"

struct job {
	const struct cli *cli;
	struct cli_args *args;
	const char *label; /* the route's name where a file names it */
	struct conf_route *conf;
	const char *state_path;
	struct out *out;
	struct loop loop;
	struct store *source;
	struct store *target;
	struct worker *worker;
	struct state *state;
	int64_t route;
	struct diff *diff;
	struct progress progress;
	bool different;
	bool stopped; /* by a signal */
	struct kv_err err;
};

/* ---- lines
 * ------------------------------------------------------------------*/

static void side_json(struct out *o, json_t *object, const char *name,
		      const struct diff_side *side)
{
	char index[32], hash[32];

	(void)snprintf(index, sizeof(index), "%s_index", name);
	(void)snprintf(hash, sizeof(hash), "%s_hash", name);
	if (side->present) {
		out_json_uint(o, object, index, side->index);
		out_json_hash(o, object, hash, &side->hash);
	} else {
		out_json_text(o, object, index, NULL);
		out_json_text(o, object, hash, NULL);
	}
}

static void print_json(struct job *j, const struct diff_entry *e)
{
	json_t *object = out_json_object(j->out);

	out_json_text(j->out, object, "kind", diff_kind_name(e->kind));
	out_json_key(j->out, object, "key", e->key);
	if (e->source_key.n > 0 && !slice_eq(e->source_key, e->key)) {
		out_json_key(j->out, object, "source_key", e->source_key);
	}
	if (j->label != NULL) {
		out_json_text(j->out, object, "route", j->label);
	}
	side_json(j->out, object, "source", &e->source);
	side_json(j->out, object, "target", &e->target);
	out_json(j->out, object);
}

static bool found_cb(void *ctx, const struct diff_entry *e)
{
	struct job *j = ctx;

	j->different = true;
	if (j->args->json) {
		print_json(j, e);
	} else {
		out_text(j->out, "%s ", diff_kind_name(e->kind));
		out_key(j->out, e->key);
		out_text(j->out, "\n");
	}
	return out_ok(j->out);
}

/* ---- comparing
 * ----------------------------------------------------------------*/

static void worker_closed_cb(void *ctx)
{
	struct job *j = ctx;

	state_close(j->state);
	j->state = NULL;
}

/* Everything goes; the loop runs out. */
static void diff_closed_cb(void *ctx)
{
	struct job *j = ctx;

	j->diff = NULL;
	if (j->source != NULL) {
		store_close(j->source, NULL, NULL);
	}
	if (j->target != NULL) {
		store_close(j->target, NULL, NULL);
	}
	if (j->worker != NULL) {
		worker_close(j->worker, worker_closed_cb, j);
	} else {
		state_close(j->state);
		j->state = NULL;
	}
}

static void end_cb(void *ctx, const struct kv_err *err)
{
	struct job *j = ctx;

	progress_stop(&j->progress);
	j->err = *err;
	diff_close(j->diff, diff_closed_cb, j);
	j->diff = NULL;
}

static void signal_cb(void *ctx, int signum)
{
	struct job *j = ctx;

	if (j->stopped) {
		_exit(128 + signum);
	}
	j->stopped = true;
	if (j->diff != NULL) {
		struct kv_err err = {0};

		(void)kv_fail(&err, KV_CANCELED, "ended by a signal (%s)",
			      strsignal(signum));
		end_cb(j, &err);
	}
}

static bool sample_cb(void *ctx, struct progress_sample *out)
{
	struct job *j = ctx;

	*out = (struct progress_sample){.what = "comparing"};
	if (j->diff != NULL) {
		out->keys = diff_count(j->diff);
	}
	return j->diff != NULL && isatty(STDOUT_FILENO) != 1;
}

static int open_worker(struct job *j)
{
	j->worker = worker_open(j->loop.sched, "state");
	return j->worker == NULL
		   ? kv_fail(&j->err, KV_NO_MEMORY,
			     "cannot start a thread for the state")
		   : KV_OK;
}

/* A place where keys are sorted whose order the mapping does not keep. */
static int open_scratch(struct job *j)
{
	int status = state_open("", STATE_MEMORY, &j->state, &j->err);

	return status == KV_OK ? open_worker(j) : status;
}

/* The ledger of the route, beside whoever writes it. */
static int open_ledger(struct job *j)
{
	struct arena arena;
	struct state_summary *rows = NULL;
	size_t n = 0, i;
	bool found = false;
	int status = state_open(j->state_path, STATE_READ, &j->state, &j->err);

	if (status != KV_OK) {
		return kv_wrap(&j->err, "--owned needs the state");
	}
	arena_init(&arena);
	status = state_summaries(j->state, &arena, &rows, &n, &j->err);
	for (i = 0; status == KV_OK && i < n; i++) {
		if (strcmp(rows[i].name, j->conf->name) == 0) {
			j->route = rows[i].route;
			found = true;
		}
	}
	arena_free(&arena);
	if (status == KV_OK && !found) {
		status = kv_fail(&j->err, KV_KEY_NOT_FOUND,
				 "--owned: %s knows no route '%s' yet; "
				 "has it run?",
				 j->state_path, j->conf->name);
	}
	return status == KV_OK ? open_worker(j) : status;
}

static int open_state(struct job *j)
{
	if (j->args->owned) {
		return open_ledger(j);
	}
	return j->conf->escape == CONF_ESCAPE_PERCENT ? open_scratch(j) : KV_OK;
}

static int open_store(struct job *j, const char *side, const char *uri,
		      struct store **out)
{
	unsigned attrs;
	int status = store_attrs_flag(j->cli->registry, j->conf->source,
				      j->conf->target, &attrs, &j->err);

	if (status == KV_OK) {
		status = store_open(j->cli->registry, j->loop.sched, uri, attrs,
				    out, &j->err);
	}

	if (status == KV_KEY_NOT_FOUND) {
		j->err.status = KV_BAD_ARGUMENT;
	}
	return status == KV_OK ? KV_OK : kv_wrap(&j->err, "%s", side);
}

static int open_all(struct job *j)
{
	static const int signums[] = {SIGTERM, SIGINT};
	struct diff_params p;
	int status = loop_signals(&j->loop, signums, KV_COUNT(signums),
				  signal_cb, j, &j->err);

	if (status == KV_OK) {
		status = open_state(j);
	}
	if (status == KV_OK) {
		status = open_store(j, "source", j->conf->source, &j->source);
	}
	if (status == KV_OK) {
		status = open_store(j, "target", j->conf->target, &j->target);
	}
	if (status != KV_OK) {
		return status;
	}
	p = (struct diff_params){.sched = j->loop.sched,
				 .source = j->source,
				 .target = j->target,
				 .conf = j->conf,
				 .owned = j->args->owned,
				 .worker = j->worker,
				 .state = j->state,
				 .route = j->route,
				 .timeout_ms = j->args->timeout_ms,
				 .found = found_cb,
				 .end = end_cb,
				 .ctx = j};
	return diff_open(&p, &j->diff, &j->err);
}

static int compare(struct job *j)
{
	int status = loop_open(&j->loop, &j->err);

	if (status != KV_OK) {
		return status;
	}
	if (open_all(j) == KV_OK) {
		progress_start(&j->progress, j->loop.sched, sample_cb, j);
		diff_start(j->diff);
	} else {
		diff_closed_cb(j);
	}
	loop_close(&j->loop);
	return j->err.status;
}

/* ---- repair
 * ---------------------------------------------------------------------*/

static void changed_cb(struct agent_route *r, void *ctx)
{
	struct oneshot *shot = ctx;

	oneshot_changed(shot, r);
}

static int repair_report(const struct oneshot *shot)
{
	const struct route_status *st = &shot->last;
	struct kv_err err = {0};

	if (!shot->done) {
		return cli_complain(CLI_FAILED,
				    "diff: the repair was ended by a signal; "
				    "the same command goes on");
	}
	if (oneshot_failed(shot, &err)) {
		(void)kv_wrap(&err, "diff: repair");
		cli_advise(&err);
		return cli_error(&err);
	}
	if (st->held != NULL || st->phase == ROUTE_HELD) {
		return cli_complain(CLI_DIFFERENT, "diff: repair: held: %s",
				    st->held == NULL ? "?" : st->held);
	}
	LOG_INFO("repaired", LOG_U("written", st->written),
		 LOG_U("index", st->end_index));
	if (st->quarantine > 0) {
		return cli_complain(CLI_DIFFERENT,
				    "diff: repair: %" PRIu64
				    " keys could not be carried",
				    st->quarantine);
	}
	return CLI_OK;
}

/* Is there a state to repair with? Without one, a key that the source lacks
 * may be anybody's. */
static bool has_state(const struct job *j)
{
	return access(j->state_path, F_OK) == 0;
}

/* Refuses early, before anything is compared. */
static int check_repair(struct job *j)
{
	struct state *state = NULL;
	int status;

	if (!j->args->repair || !has_state(j)) {
		return KV_OK;
	}
	status = state_open(j->state_path, 0, &state, &j->err);
	if (status != KV_OK) {
		return kv_wrap(&j->err, "diff: cannot repair");
	}
	state_close(state);
	return KV_OK;
}

static int repair(struct job *j)
{
	struct oneshot shot = {.timeout_ms = j->args->timeout_ms};
	struct agent_params p = {
	    .registry = j->cli->registry,
	    .state_path = j->state_path,
	    .state_flags = has_state(j) ? 0 : STATE_MEMORY,
	    .repair = true,
	    .keep_others = j->args->conf == NULL,
	    .timeout_ms = j->args->timeout_ms,
	    .changed = changed_cb,
	    .ctx = &shot,
	};
	struct agent_route *r;
	int code;

	if (!has_state(j)) {
		j->conf->delete_policy = CONF_DELETE_NEVER;
	}
	kv_err_clear(&j->err);
	if (agent_open(&p, &shot.agent, &j->err) != KV_OK) {
		(void)kv_wrap(&j->err, "diff: cannot repair");
		return cli_error(&j->err);
	}
	if (agent_add(shot.agent, j->conf, &r, &j->err) != KV_OK) {
		code = cli_error(&j->err);
	} else {
		agent_start(r);
		agent_run(shot.agent);
		code = repair_report(&shot);
	}
	agent_close(shot.agent);
	return code;
}

/* ---- the command
 * -------------------------------------------------------------------*/

/* One route, from beginning to end. Takes what conf holds, perhaps. */
static int run_job(struct job *j)
{
	if (compare(j) != KV_OK) {
		(void)kv_wrap(&j->err, "diff");
		cli_advise(&j->err);
		return cli_error(&j->err);
	}
	if (!j->different || !out_ok(j->out)) {
		return CLI_OK;
	}
	return j->args->repair ? repair(j) : CLI_DIFFERENT;
}

static int run_pair(struct job *j)
{
	char *path = NULL;
	int code;

	if (cli_route_of_args(j->cli, j->args, &j->err) != KV_OK ||
	    cli_state_path(j->args, NULL, &path, &j->err) != KV_OK) {
		code = cli_error(&j->err);
	} else {
		j->conf = &j->args->route;
		j->state_path = path;
		code =
		    check_repair(j) == KV_OK ? run_job(j) : cli_error(&j->err);
	}
	kv_free(path);
	return code;
}

static int run_routes(struct job *base, struct conf *conf, const char *only)
{
	int worst = CLI_OK;
	bool found = false;
	size_t i;

	for (i = 0; i < conf->n_routes && out_ok(base->out); i++) {
		struct job j = *base;
		int code;

		if (only != NULL && strcmp(conf->routes[i].name, only) != 0) {
			continue;
		}
		found = true;
		j.conf = &conf->routes[i];
		j.label = j.conf->name;
		LOG_INFO("comparing", LOG_S("route", j.label));
		code = run_job(&j);
		worst = KV_MAX(worst, code);
	}
	if (!found) {
		return cli_complain(CLI_USAGE, "%s: no route named '%s'",
				    base->args->conf, only);
	}
	return worst;
}

static int run_file(struct job *j)
{
	struct conf *conf = NULL;
	char *path = NULL;
	int code;

	if (cli_load_conf(j->cli, j->args->conf, &conf, &j->err) != KV_OK ||
	    cli_state_path(j->args, conf, &path, &j->err) != KV_OK) {
		code = cli_error(&j->err);
	} else {
		j->state_path = path;
		code = check_repair(j) != KV_OK
			   ? cli_error(&j->err)
			   : run_routes(j, conf,
					j->args->n_args > 0 ? j->args->args[0]
							    : NULL);
	}
	conf_free(conf);
	kv_free(path);
	return code;
}

static int check_args(const struct cli_args *a)
{
	if (a->conf == NULL && a->n_args != 2) {
		return cli_complain(CLI_USAGE,
				    "diff: give SOURCE TARGET, or -c FILE "
				    "[ROUTE]");
	}
	if (a->conf != NULL && a->n_args > 1) {
		return cli_complain(CLI_USAGE,
				    "diff: with -c FILE, at most one ROUTE");
	}
	if (a->conf != NULL && a->route_given) {
		return cli_complain(CLI_USAGE,
				    "diff: the options of a route stand in "
				    "the file, not beside -c");
	}
	return CLI_OK;
}

int cmd_diff(const struct cli *cli, struct cli_args *args)
{
	struct out out;
	struct job j = {.cli = cli, .args = args, .out = &out};
	int code = check_args(args);

	out_init(&out);
	if (code == CLI_OK && cli_apply_log(args, NULL, &j.err) != KV_OK) {
		code = cli_error(&j.err);
	} else if (code == CLI_OK) {
		code = args->conf != NULL ? run_file(&j) : run_pair(&j);
	}
	return out_finish(&out, code);
}
