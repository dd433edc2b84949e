/* cmd_sync.c: `kvmirror sync`: one route without a file.
 *
 *   agent (one route) --changed--> DONE, HELD, FAILED --> report, exit code
 *                     --plan-----> a line a decision (--dry-run)
 */
#include <inttypes.h>
#include <signal.h>

#include "agent/cli.h"
#include "agent/oneshot.h"
#include "agent/out.h"
#include "agent/progress.h"

#define SYNC_VERDICTS (RECONCILE_HOLD + 1)

struct sync {
	struct cli_args *args;
	char *state_path;
	struct agent *agent;
	struct agent_route *route; /* NULL when it is going */
	struct out out;
	struct progress progress;
	uint64_t known_keys;
	struct oneshot shot;
	uint64_t plan[SYNC_VERDICTS]; /* --dry-run: how many of each */
	uint64_t plan_conflicts;
};

/* ---- while it goes ------------------------------------------------------ */

static void changed_cb(struct agent_route *r, void *ctx)
{
	struct sync *s = ctx;

	oneshot_changed(&s->shot, r);
}

static void stopping_cb(void *ctx)
{
	struct sync *s = ctx;

	progress_stop(&s->progress);
	s->route = NULL;
}

static bool sample_cb(void *ctx, struct progress_sample *out)
{
	struct sync *s = ctx;
	struct route_status st;

	if (s->route == NULL) {
		return false;
	}
	agent_status(s->route, &st);
	*out = (struct progress_sample){.what = s->args->dry_run ? "planning"
								 : "seeding",
					.keys = st.scanned,
					.bytes = st.written_bytes,
					.total = s->known_keys};
	return st.phase == ROUTE_RECONCILING;
}

/* ---- the plan of a dry run
 * --------------------------------------------------*/

static void plan_json(struct sync *s, const struct route_plan *p)
{
	json_t *object = out_json_object(&s->out);

	out_json_text(&s->out, object, "action",
		      reconcile_verdict_name(p->verdict));
	out_json_key(&s->out, object, "key", p->key);
	if (p->source_key.n > 0 && !slice_eq(p->source_key, p->key)) {
		out_json_key(&s->out, object, "source_key", p->source_key);
	}
	if (p->conflict) {
		out_json_bool(&s->out, object, "conflict", true);
	}
	if (p->reason != NULL) {
		out_json_text(&s->out, object, "reason", p->reason);
	}
	out_json(&s->out, object);
}

static void plan_text(struct sync *s, const struct route_plan *p)
{
	out_text(&s->out, "%s ", reconcile_verdict_name(p->verdict));
	out_key(&s->out, p->key);
	if (p->conflict) {
		out_text(&s->out, "\tconflict");
	}
	if (p->reason != NULL) {
		out_text(&s->out, "\t%s", p->reason);
	}
	out_text(&s->out, "\n");
}

static void plan_cb(struct agent_route *r, const struct route_plan *p,
		    void *ctx)
{
	struct sync *s = ctx;

	(void)r;
	PRE(p->verdict < SYNC_VERDICTS);
	s->plan[p->verdict]++;
	s->plan_conflicts += p->conflict ? 1 : 0;
	/* What only goes into the ledger is counted, not listed. */
	if (p->verdict == RECONCILE_ADOPT || p->verdict == RECONCILE_FORGET) {
		return;
	}
	if (s->args->json) {
		plan_json(s, p);
	} else {
		plan_text(s, p);
	}
	if (!out_ok(&s->out)) {
		agent_stop(s->agent);
	}
}

static int plan_report(struct sync *s)
{
	bool carried = s->plan[RECONCILE_QUARANTINE] == 0 &&
		       s->plan[RECONCILE_HOLD] == 0 &&
		       s->shot.last.held == NULL;
	json_t *object, *counts;
	unsigned v;

	if (s->args->json) {
		object = out_json_object(&s->out);
		counts = out_json_member(&s->out, object, "plan");
		for (v = RECONCILE_NOTHING + 1; v < SYNC_VERDICTS; v++) {
			out_json_uint(&s->out, counts,
				      reconcile_verdict_name(v), s->plan[v]);
		}
		out_json_uint(&s->out, counts, "conflicts", s->plan_conflicts);
		out_json_text(&s->out, object, "held", s->shot.last.held);
		out_json(&s->out, object);
	} else {
		out_text(&s->out, "plan:");
		for (v = RECONCILE_NOTHING + 1; v < SYNC_VERDICTS; v++) {
			out_text(&s->out, "%s %" PRIu64 " %s",
				 v == RECONCILE_NOTHING + 1 ? "" : ",",
				 s->plan[v], reconcile_verdict_name(v));
		}
		out_text(&s->out, ", %" PRIu64 " conflicts\n",
			 s->plan_conflicts);
	}
	return carried ? CLI_OK : CLI_DIFFERENT;
}

/* ---- the end
 * ----------------------------------------------------------------*/

static void report_json(struct sync *s, uint64_t index)
{
	const struct route_status *st = &s->shot.last;
	json_t *object = out_json_object(&s->out);

	out_json_uint(&s->out, object, "index", index);
	out_json_text(&s->out, object, "phase", route_phase_name(st->phase));
	out_json_uint(&s->out, object, "scanned", st->scanned);
	out_json_uint(&s->out, object, "written", st->written);
	out_json_uint(&s->out, object, "written_bytes", st->written_bytes);
#define X(name, help) out_json_uint(&s->out, object, #name, st->counters.name);
	STATE_COUNTER_MAP(X)
#undef X
	out_json_uint(&s->out, object, "quarantine", st->quarantine);
	out_json_uint(&s->out, object, "foreign", st->foreign);
	out_json_uint(&s->out, object, "yielded", st->conflicts_open);
	out_json_text(&s->out, object, "held", st->held);
	out_json_text(&s->out, object, "state", s->state_path);
	out_json(&s->out, object);
}

static void report_index(struct sync *s, uint64_t index)
{
	if (s->args->json) {
		report_json(s, index);
	} else {
		out_text(&s->out, "index %" PRIu64 "\n", index);
	}
}

/* Everything is done that could be done: was that everything? */
static int report_done(struct sync *s)
{
	const struct route_status *st = &s->shot.last;

	if (st->held != NULL || st->phase == ROUTE_HELD) {
		if (s->args->json) {
			report_json(s, st->saved);
		}
		return cli_complain(CLI_DIFFERENT, "sync: held: %s",
				    st->held == NULL ? "no reason known"
						     : st->held);
	}
	if (s->args->dry_run) {
		return plan_report(s);
	}
	report_index(s, st->end_index);
	if (st->quarantine > 0) {
		return cli_complain(CLI_DIFFERENT,
				    "sync: %" PRIu64
				    " keys could not be carried; see kvmirror "
				    "status --state %s --list quarantine",
				    st->quarantine, s->state_path);
	}
	return CLI_OK;
}

static int report(struct sync *s)
{
	int signum = agent_signal(s->agent);
	struct kv_err err = {0};

	if (oneshot_failed(&s->shot, &err)) {
		(void)kv_wrap(&err, "sync");
		cli_advise(&err);
		return cli_error(&err);
	}
	if (s->shot.done) {
		return report_done(s);
	}
	if (signum != 0 && s->args->follow) {
		report_index(s, s->shot.last.saved);
		return CLI_OK;
	}
	if (signum != 0) {
		return cli_complain(CLI_FAILED,
				    "sync: ended by a signal (%s) before it "
				    "was done; the same command goes on where "
				    "it stopped",
				    strsignal(signum));
	}
	return CLI_FAILED; /* standard output failed; told at the end */
}

/* A dry run writes nothing: it reads the state beside whoever has it, or, where
 * the route never ran, goes by one in memory. */
static int plan_flags(const struct sync *s, unsigned *flags, struct kv_err *err)
{
	struct arena arena;
	struct state *state = NULL;
	struct state_summary *rows = NULL;
	size_t n = 0, i;
	int status = state_open(s->state_path, STATE_READ, &state, err);

	*flags = STATE_MEMORY;
	if (status == KV_KEY_NOT_FOUND) {
		kv_err_clear(err);
		return KV_OK;
	}
	if (status != KV_OK) {
		return status;
	}
	arena_init(&arena);
	status = state_summaries(state, &arena, &rows, &n, err);
	for (i = 0; i < n; i++) {
		if (strcmp(rows[i].name, s->args->route.name) == 0) {
			*flags = STATE_READ;
		}
	}
	arena_free(&arena);
	state_close(state);
	return status;
}

static int start(struct sync *s, const struct cli *cli, struct kv_err *err)
{
	struct agent_params p = {
	    .registry = cli->registry,
	    .state_path = s->state_path,
	    .state_flags = 0,
	    .follow = s->args->follow,
	    .dry_run = s->args->dry_run,
	    .keep_others = true,
	    .timeout_ms = s->args->follow ? 0 : s->args->timeout_ms,
	    .changed = changed_cb,
	    .plan = plan_cb,
	    .stopping = stopping_cb,
	    .ctx = s,
	};
	int status = KV_OK;

	if (s->args->dry_run) {
		status = plan_flags(s, &p.state_flags, err);
	}
	if (status == KV_OK) {
		status = agent_open(&p, &s->agent, err);
	}
	if (status == KV_OK && (p.state_flags & STATE_MEMORY) != 0) {
		status = agent_note_route(s->agent, s->args->route.name, err);
	}
	if (status != KV_OK) {
		return status;
	}
	s->shot = (struct oneshot){.agent = s->agent,
				   .follow = s->args->follow,
				   .timeout_ms = s->args->timeout_ms};
	s->known_keys = agent_known_keys(s->agent, s->args->route.name);
	status = agent_add(s->agent, &s->args->route, &s->route, err);
	if (status != KV_OK) {
		return status;
	}
	if (!s->args->quiet) {
		progress_start(&s->progress, agent_sched(s->agent), sample_cb,
			       s);
	}
	agent_start(s->route);
	return KV_OK;
}

/* What the command line says, as a route. */
static int prepare(struct sync *s, const struct cli *cli, struct kv_err *err)
{
	int status = cli_route_of_args(cli, s->args, err);

	if (status == KV_OK && s->args->follow && s->args->dry_run) {
		status = kv_fail(err, KV_BAD_ARGUMENT,
				 "sync: --dry-run and --follow exclude each "
				 "other");
	}
	if (status == KV_OK) {
		status = cli_apply_log(s->args, NULL, err);
	}
	if (status == KV_OK) {
		status = cli_state_path(s->args, NULL, &s->state_path, err);
	}
	return status;
}

int cmd_sync(const struct cli *cli, struct cli_args *args)
{
	struct sync s = {.args = args};
	struct kv_err err = {0};
	int code;

	out_init(&s.out);
	if (prepare(&s, cli, &err) != KV_OK || start(&s, cli, &err) != KV_OK) {
		code = cli_error(&err);
	} else {
		agent_run(s.agent);
		code = report(&s);
	}
	if (s.agent != NULL) {
		agent_close(s.agent);
	}
	kv_free(s.state_path);
	return out_finish(&s.out, code);
}
