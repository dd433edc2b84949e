/* cmd_run.c: `kvmirror run`: all routes of a file, until SIGTERM.
 *
 *   SIGHUP --> load --> open what is new (not started) --> all well?
 *     no:  close that again, a line in the log, nothing has changed
 *     yes: close what went or changed; start what is new, a changed route when
 *          its old self is closed
 */
#include <signal.h>

#include "agent/agent.h"
#include "agent/cli.h"
#include "agent/out.h"
#include "agent/progress.h"

struct run {
	const struct cli *cli;
	struct cli_args *args;
	char *state_path;
	struct agent *agent;
	struct conf *conf; /* as loaded last; its routes are given away */
	bool stopping;
	struct progress progress;
	char progress_text[64];
	size_t swapping;   /* changed routes whose old self still closes */
	bool reload_again; /* asked for while that went on */
};

/* A changed route: waits for its old self. */
struct swap {
	struct run *run;
	struct agent_route *fresh;
};

/* One route of a new file. */
struct step {
	struct agent_route *old; /* NULL: none of that name */
	struct agent_route *fresh;
	bool same;
};

static void reload(struct run *run);

static int add_route(struct run *run, struct conf_route *conf,
		     struct agent_route **out, struct kv_err *err)
{
	unsigned line = conf->line;
	char name[64];
	int status;

	(void)snprintf(name, sizeof(name), "%s", conf->name);
	status = agent_add(run->agent, conf, out, err);
	if (status != KV_OK) {
		(void)kv_wrap(err, "%s:%u: route '%s'", run->args->conf, line,
			      name);
	}
	return status;
}

/* ---- reload
 * -----------------------------------------------------------------*/

static struct agent_route *find_route(struct run *run, const char *name)
{
	struct agent_route *r = NULL;

	while ((r = agent_next(run->agent, r)) != NULL &&
	       strcmp(agent_conf(r)->name, name) != 0) {
	}
	return r;
}

/* A reload that came meanwhile waits until no old route stands any more: two
 * selves of one route would write the same ledger. */
static void one_gone(struct run *run)
{
	run->swapping--;
	if (run->swapping == 0 && run->reload_again && !run->stopping) {
		run->reload_again = false;
		reload(run);
	}
}

static void swap_gone_cb(void *ctx)
{
	struct swap *swap = ctx;
	struct run *run = swap->run;

	/* A stop has taken the fresh one along already. */
	if (!run->stopping) {
		agent_start(swap->fresh);
	}
	kv_free(swap);
	one_gone(run);
}

static void removed_gone_cb(void *ctx)
{
	one_gone(ctx);
}

/* The old one goes, the fresh one comes after it. */
static void swap_routes(struct run *run, struct step *step)
{
	struct swap *swap = kv_malloc(sizeof(*swap));

	if (swap == NULL) {
		LOG_ERROR("no memory to change a route, it stays as it was",
			  LOG_S("route", agent_conf(step->old)->name));
		agent_remove(step->fresh, NULL, NULL);
		return;
	}
	*swap = (struct swap){.run = run, .fresh = step->fresh};
	run->swapping++;
	LOG_INFO("route changed", LOG_S("route", agent_conf(step->old)->name));
	agent_remove(step->old, swap_gone_cb, swap);
}

/* Opens what is new; on failure nothing of it is left. */
static int open_fresh(struct run *run, struct conf *conf, struct step *steps,
		      struct kv_err *err)
{
	int status = KV_OK;
	size_t i;

	for (i = 0; i < conf->n_routes; i++) {
		struct conf_route *r = &conf->routes[i];

		steps[i].old = find_route(run, r->name);
		steps[i].same = steps[i].old != NULL &&
				conf_route_eq(r, agent_conf(steps[i].old));
	}
	for (i = 0; i < conf->n_routes && status == KV_OK; i++) {
		if (!steps[i].same) {
			status = add_route(run, &conf->routes[i],
					   &steps[i].fresh, err);
		}
	}
	for (i = 0; status != KV_OK && i < conf->n_routes; i++) {
		if (steps[i].fresh != NULL) {
			agent_remove(steps[i].fresh, NULL, NULL);
		}
	}
	return status;
}

static bool stands_in(const struct agent_route *r, const struct step *steps,
		      size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (steps[i].old == r || steps[i].fresh == r) {
			return true;
		}
	}
	return false;
}

static void close_gone(struct run *run, const struct step *steps, size_t n)
{
	struct agent_route *r = agent_next(run->agent, NULL);

	while (r != NULL) {
		struct agent_route *next = agent_next(run->agent, r);

		if (!stands_in(r, steps, n)) {
			LOG_INFO("route removed",
				 LOG_S("route", agent_conf(r)->name));
			run->swapping++;
			agent_remove(r, removed_gone_cb, run);
		}
		r = next;
	}
}

static void apply_steps(struct run *run, struct step *steps, size_t n)
{
	size_t i;

	ERGO(n > 0, steps != NULL);
	close_gone(run, steps, n);
	for (i = 0; i < n; i++) {
		if (steps[i].fresh != NULL && steps[i].old != NULL) {
			swap_routes(run, &steps[i]);
		} else if (steps[i].fresh != NULL) {
			LOG_INFO(
			    "route added",
			    LOG_S("route", agent_conf(steps[i].fresh)->name));
			agent_start(steps[i].fresh);
		}
	}
}

/* Another state file would be another agent. */
static int check_state(const struct run *run, const struct conf *conf,
		       struct kv_err *err)
{
	char *path = NULL;
	int status = cli_state_path(run->args, conf, &path, err);

	if (status == KV_OK && strcmp(path, run->state_path) != 0) {
		status = kv_fail(err, KV_BAD_ARGUMENT,
				 "%s: the state file changed from %s to %s, "
				 "which needs a restart",
				 run->args->conf, run->state_path, path);
	}
	kv_free(path);
	return status;
}

static void reload(struct run *run)
{
	struct conf *conf = NULL;
	struct step *steps = NULL;
	struct cli_log log;
	struct kv_err err = {0};
	int status;

	if (run->swapping > 0) {
		run->reload_again = true;
		return;
	}
	status = cli_load_conf(run->cli, run->args->conf, &conf, &err);
	if (status == KV_OK) {
		status = check_state(run, conf, &err);
	}
	if (status == KV_OK) {
		status = cli_log_of(run->args, conf, &log, &err);
	}
	if (status == KV_OK) {
		steps = kv_calloc(conf->n_routes, sizeof(*steps));
		status = steps == NULL
			     ? kv_fail(&err, KV_NO_MEMORY, "no memory")
			     : open_fresh(run, conf, steps, &err);
	}
	if (status == KV_OK) {
		cli_log_set(&log); /* not for a file that is refused */
		apply_steps(run, steps, conf->n_routes);
		LOG_INFO("configuration read again",
			 LOG_S("file", run->args->conf),
			 LOG_U("routes", conf->n_routes));
	} else {
		LOG_ERROR("configuration refused, going on with the old one",
			  LOG_S("error", err.text));
	}
	kv_free(steps);
	conf_free(conf);
}

static void reload_asked_cb(struct agent *a, void *ctx)
{
	(void)a;
	reload(ctx);
}

static void stopping_cb(void *ctx)
{
	struct run *run = ctx;

	run->stopping = true;
	progress_stop(&run->progress);
}

/* All routes that compare their stores now, in one line. */
static bool sample_cb(void *ctx, struct progress_sample *out)
{
	struct run *run = ctx;
	struct agent_route *r = NULL;
	unsigned n = 0, all = 0;

	*out = (struct progress_sample){.what = run->progress_text};
	while ((r = agent_next(run->agent, r)) != NULL) {
		struct route_status st;

		agent_status(r, &st);
		all++;
		if (st.phase == ROUTE_RECONCILING) {
			out->keys += st.scanned;
			out->bytes += st.written_bytes;
			n++;
		}
	}
	(void)snprintf(run->progress_text, sizeof run->progress_text,
		       "reconciling %u of %u routes", n, all);
	return n > 0;
}

/* ---- start
 * ------------------------------------------------------------------*/

static int start(struct run *run, struct kv_err *err)
{
	struct agent_params p = {
	    .registry = run->cli->registry,
	    .state_path = run->state_path,
	    .follow = true,
	    .patient = true,
	    .reload = true,
	    .reload_asked = reload_asked_cb,
	    .stopping = stopping_cb,
	    .ctx = run,
	};
	struct agent_route *r = NULL;
	int status = agent_open(&p, &run->agent, err);
	size_t i;

	for (i = 0; status == KV_OK && i < run->conf->n_routes; i++) {
		status = add_route(run, &run->conf->routes[i], &r, err);
	}
	if (status != KV_OK) {
		return status;
	}
	LOG_INFO("started", LOG_S("version", KVMIRROR_VERSION),
		 LOG_S("file", run->args->conf),
		 LOG_S("state", run->state_path),
		 LOG_U("routes", run->conf->n_routes));
	for (r = NULL; (r = agent_next(run->agent, r)) != NULL;) {
		agent_start(r);
	}
	if (!run->args->quiet) {
		progress_start(&run->progress, agent_sched(run->agent),
			       sample_cb, run);
	}
	return KV_OK;
}

static int prepare(struct run *run, struct kv_err *err)
{
	int status;

	if (run->args->conf == NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "run: give the file: kvmirror run -c FILE");
	}
	status = cli_load_conf(run->cli, run->args->conf, &run->conf, err);
	if (status == KV_OK) {
		status = cli_apply_log(run->args, run->conf, err);
	}
	if (status == KV_OK) {
		status =
		    cli_state_path(run->args, run->conf, &run->state_path, err);
	}
	return status;
}

int cmd_run(const struct cli *cli, struct cli_args *args)
{
	struct run run = {.cli = cli, .args = args};
	struct kv_err err = {0};
	int code = CLI_OK;

	if (prepare(&run, &err) != KV_OK || start(&run, &err) != KV_OK) {
		code = cli_error(&err);
	} else {
		agent_run(run.agent);
		LOG_INFO("stopped");
	}
	if (run.agent != NULL) {
		agent_close(run.agent);
	}
	conf_free(run.conf);
	kv_free(run.state_path);
	return code;
}
