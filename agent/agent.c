/* agent.c: opens and closes what routes stand on.
 *
 *   agent_add --> store_open x 2 --> route_open      agent_start -->
 * route_start agent_stop --> route_close --> store_close x 2 --> (last one)
 * worker, state
 *
 * Closing is one chain of callbacks a route (route, source, target, gone) and,
 * behind the last route, one of the agent (worker, state).
 */
#include "agent/agent.h"

#include <signal.h>
#include <unistd.h>

#include "agent/backoff.h"
#include "agent/empty.h"
#include "agent/loop.h"
#include "agent/pair.h"
#include "store/store_ops.h"

#define DRAIN_MS 10000
#define PATIENT_MAX_MS 60000
/* Routes that reconcile at once: each takes some 50 MiB where values are of
 * 1 MB. */
#define SEEDS_MAX 4

struct agent_route {
	struct list link;
	struct agent *agent;
	struct conf_route conf;
	struct store *source;
	struct store *target;
	struct route *route; /* NULL: not open yet (patient) */
	struct kv_err error; /* why not */
	struct backoff backoff;
	struct sched_timer retry;
	bool started;
	bool removed;
	struct sched_task close_task;
	void (*gone)(void *ctx);
	void *gone_ctx;
};

struct agent {
	struct agent_params p;
	struct loop loop;
	struct worker *worker;
	struct state *state;
	struct gate gate;
	struct list routes;
	struct list closing;
	bool stopping;
	bool worker_closing;
	int signum;
	struct sched_task stop_task;
};

/* ---- the end of the agent -------------------------------------------------
 */

static void worker_closed_cb(void *ctx)
{
	struct agent *a = ctx;

	a->worker = NULL;
	state_close(a->state);
	a->state = NULL;
}

static void maybe_finish(struct agent *a)
{
	if (!a->stopping || a->worker_closing || !list_empty(&a->routes) ||
	    !list_empty(&a->closing)) {
		return;
	}
	a->worker_closing = true;
	gate_clear(&a->gate);
	if (a->worker != NULL) {
		worker_close(a->worker, worker_closed_cb, a);
	} else {
		worker_closed_cb(a);
	}
}

/* ---- one route ------------------------------------------------------------
 */

static void route_free(struct agent_route *r)
{
	struct agent *a = r->agent;

	list_remove(&r->link);
	if (r->gone != NULL) {
		r->gone(r->gone_ctx);
	}
	conf_route_clear(&r->conf);
	kv_free(r);
	maybe_finish(a);
}

static void target_closed_cb(void *ctx)
{
	struct agent_route *r = ctx;

	r->target = NULL;
	route_free(r);
}

static void source_closed_cb(void *ctx)
{
	struct agent_route *r = ctx;

	r->source = NULL;
	if (r->target != NULL) {
		store_close(r->target, target_closed_cb, r);
	} else {
		route_free(r);
	}
}

static void route_closed_cb(void *ctx)
{
	struct agent_route *r = ctx;

	r->route = NULL;
	if (r->source != NULL) {
		store_close(r->source, source_closed_cb, r);
	} else {
		source_closed_cb(r);
	}
}

/* On a turn of its own: whoever asked may stand inside a callback of the
 * route. */
static void close_run(struct sched_task *task)
{
	struct agent_route *r =
	    kv_container_of(task, struct agent_route, close_task);

	if (r->route != NULL) {
		route_close(r->route, DRAIN_MS, route_closed_cb, r);
	} else {
		route_closed_cb(r);
	}
}

void agent_remove(struct agent_route *r, void (*gone)(void *ctx), void *ctx)
{
	PRE(!r->removed);
	r->removed = true;
	r->gone = gone;
	r->gone_ctx = ctx;
	sched_timer_stop(&r->retry);
	list_remove(&r->link);
	list_push_back(&r->agent->closing, &r->link);
	r->close_task.run = close_run;
	sched_post(r->agent->loop.sched, &r->close_task);
}

static void changed_cb(struct route *route, void *ctx)
{
	struct agent_route *r = ctx;

	(void)route;
	if (r->agent->p.changed != NULL) {
		r->agent->p.changed(r, r->agent->p.ctx);
	}
}

static void plan_cb(struct route *route, const struct route_plan *plan,
		    void *ctx)
{
	struct agent_route *r = ctx;

	(void)route;
	if (r->agent->p.plan != NULL) {
		r->agent->p.plan(r, plan, r->agent->p.ctx);
	}
}

static int open_stores(struct agent_route *r, struct kv_err *err)
{
	struct agent *a = r->agent;
	unsigned create = a->p.dry_run ? 0 : STORE_CREATE;
	unsigned attrs;
	int status = store_attrs_flag(a->p.registry, r->conf.source,
				      r->conf.target, &attrs, err);

	if (status != KV_OK) {
		return status;
	}
	status = store_open(a->p.registry, a->loop.sched, r->conf.source, attrs,
			    &r->source, err);
	if (status != KV_OK) {
		return kv_wrap(err, "source");
	}
	status = store_open(a->p.registry, a->loop.sched, r->conf.target,
			    attrs | create, &r->target, err);
	if (status == KV_KEY_NOT_FOUND && a->p.dry_run) {
		/* A run would make the file. */
		kv_err_clear(err);
		status = empty_open(a->loop.sched, &r->target, err);
	}
	if (status != KV_OK) {
		return kv_wrap(err, "target");
	}
	return KV_OK;
}

static int open_route(struct agent_route *r, struct kv_err *err)
{
	struct agent *a = r->agent;
	struct route_params p = {
	    .sched = a->loop.sched,
	    .worker = a->worker,
	    .state = a->state,
	    .conf = &r->conf,
	    .follow = a->p.follow,
	    .dry_run = a->p.dry_run,
	    .repair = a->p.repair,
	    .keep_others = a->p.keep_others,
	    .gate = &a->gate,
	    .timeout_ms = a->p.timeout_ms,
	    .changed = changed_cb,
	    .plan = plan_cb,
	    .ctx = r,
	};
	int status = open_stores(r, err);

	if (status == KV_OK) {
		p.source = r->source;
		p.target = r->target;
		status = route_open(&p, &r->route, err);
	}
	if (status == KV_KEY_NOT_FOUND && !a->p.patient) {
		/* A file that the URI names is not there: nothing but another
		 * URI, or a file, helps. An agent of many routes waits for it,
		 * as for a server. */
		err->status = KV_BAD_ARGUMENT;
		status = KV_BAD_ARGUMENT;
	}
	if (status == KV_OK) {
		return KV_OK;
	}
	if (r->source != NULL) {
		store_close(r->source, NULL, NULL);
		r->source = NULL;
	}
	if (r->target != NULL) {
		store_close(r->target, NULL, NULL);
		r->target = NULL;
	}
	return status;
}

/* ---- pairs ---------------------------------------------------------------*/

/* The open routes, for pair.c; NULL: no memory. */
static struct pair_end *open_ends(struct agent *a, struct agent_route **routes,
				  size_t *n)
{
	struct agent_route *r = NULL;
	struct pair_end *ends;
	size_t cap = 0;

	while ((r = agent_next(a, r)) != NULL) {
		cap++;
	}
	ends = kv_calloc(cap + 1, sizeof *ends);
	*n = 0;
	while (ends != NULL && (r = agent_next(a, r)) != NULL) {
		if (r->route != NULL) {
			ends[*n] = (struct pair_end){r->source, r->target,
						     r->conf.name};
			routes[(*n)++] = r;
		}
	}
	return ends;
}

/* Does the source of `a`, or that of `b`, win? */
static bool prefers(const struct agent_route *a, const struct agent_route *b,
		    bool a_first)
{
	if (a->conf.prefer != CONF_PREFER_FIRST) {
		return a->conf.prefer == CONF_PREFER_SOURCE;
	}
	if (b->conf.prefer != CONF_PREFER_FIRST) {
		return b->conf.prefer == CONF_PREFER_TARGET;
	}
	return a_first;
}

static int check_prefer(const struct agent_route *a,
			const struct agent_route *b, struct kv_err *err)
{
	if (a->conf.prefer != CONF_PREFER_FIRST &&
	    a->conf.prefer == b->conf.prefer) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "routes %s and %s are a pair, and each says "
			       "prefer: %s, which names two sides",
			       a->conf.name, b->conf.name,
			       conf_prefer_name(a->conf.prefer));
	}
	return KV_OK;
}

static int pair_up(struct agent *a, struct agent_route *r,
		   struct agent_route **routes, bool link, struct kv_err *err)
{
	size_t n, at = 0, partner;
	struct pair_end *ends = open_ends(a, routes, &n);
	int status;

	if (ends == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for routes");
	}
	while (at < n && routes[at] != r) {
		at++;
	}
	partner = n;
	status = at == n ? KV_OK : pair_find(ends, n, at, &partner, err);
	if (status == KV_OK && partner < n) {
		struct agent_route *p = routes[partner];

		status = check_prefer(r, p, err);
		if (status == KV_OK && link && !route_is_paired(p->route) &&
		    !route_is_paired(r->route)) {
			status = route_pair(r->route, p->route,
					    prefers(r, p, at < partner), err);
		}
	}
	kv_free(ends);
	return status;
}

/* Looks for the other direction of a route that is open and in the list; with
 * `link` makes them a pair. KV_BAD_ARGUMENT: it closes a ring. */
static int find_pair(struct agent_route *r, bool link, struct kv_err *err)
{
	struct agent *a = r->agent;
	struct agent_route **routes;
	struct agent_route *other = NULL;
	size_t n = 1;
	int status;

	while ((other = agent_next(a, other)) != NULL) {
		n++;
	}
	routes = kv_calloc(n, sizeof(struct agent_route *));
	if (routes == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for routes");
	}
	status = pair_up(a, r, routes, link, err);
	kv_free(routes);
	return status;
}

static bool can_wait(int status)
{
	return status != KV_BAD_ARGUMENT &&
	       status != KV_BACKEND_NOT_SUPPORTED &&
	       status != KV_CALL_NOT_SUPPORTED;
}

static void wait_and_retry(struct agent_route *r)
{
	struct sched *s = r->agent->loop.sched;
	uint64_t delay = backoff_next(&r->backoff, sched_random(s));

	LOG_WARN("route cannot be opened, trying again",
		 LOG_S("route", r->conf.name), LOG_S("error", r->error.text),
		 LOG_U("delay_ms", delay));
	sched_timer_start(s, &r->retry, delay);
}

static void retry_fire(struct sched_timer *timer)
{
	struct agent_route *r =
	    kv_container_of(timer, struct agent_route, retry);

	kv_err_clear(&r->error);
	if ((r->route == NULL && open_route(r, &r->error) != KV_OK) ||
	    (r->started && find_pair(r, true, &r->error) != KV_OK)) {
		wait_and_retry(r);
	} else if (r->started) {
		route_start(r->route);
	}
}

int agent_add(struct agent *a, struct conf_route *conf,
	      struct agent_route **out, struct kv_err *err)
{
	struct agent_route *r = kv_calloc(1, sizeof(*r));
	int status;

	PRE(!a->stopping);
	if (r == NULL) {
		conf_route_clear(conf);
		return kv_fail(err, KV_NO_MEMORY, "no memory for a route");
	}
	r->conf = *conf;
	conf_route_init(conf);
	r->agent = a;
	r->retry.fire = retry_fire;
	r->backoff.max_ms = PATIENT_MAX_MS;
	list_init(&r->link);
	status = open_route(r, err);
	if (status != KV_OK && !(a->p.patient && can_wait(status))) {
		conf_route_clear(&r->conf);
		kv_free(r);
		return status;
	}
	if (status != KV_OK) {
		r->error = *err;
		kv_err_clear(err);
	}
	list_push_back(&a->routes, &r->link);
	if (find_pair(r, false, err) != KV_OK) {
		status = err->status;
		agent_remove(r, NULL, NULL);
		return status;
	}
	*out = r;
	return KV_OK;
}

void agent_start(struct agent_route *r)
{
	PRE(!r->started);
	r->started = true;
	if (r->removed) {
		return;
	}
	if (r->route != NULL && find_pair(r, true, &r->error) == KV_OK) {
		route_start(r->route);
	} else {
		wait_and_retry(r);
	}
}

/* ---- stop and signals
 * -------------------------------------------------------*/

static void stop_run(struct sched_task *task)
{
	struct agent *a = kv_container_of(task, struct agent, stop_task);
	struct list *elem;

	while ((elem = list_first(&a->routes)) != NULL) {
		agent_remove(kv_container_of(elem, struct agent_route, link),
			     NULL, NULL);
	}
	maybe_finish(a);
}

void agent_stop(struct agent *a)
{
	if (a->stopping) {
		return;
	}
	a->stopping = true;
	a->stop_task.run = stop_run;
	if (a->p.stopping != NULL) {
		a->p.stopping(a->p.ctx);
	}
	sched_post(a->loop.sched, &a->stop_task);
}

static void log_all(struct agent *a)
{
	struct agent_route *r = NULL;

	while ((r = agent_next(a, r)) != NULL) {
		agent_log_status(r);
	}
}

static void signal_cb(void *ctx, int signum)
{
	struct agent *a = ctx;

	if (signum == SIGUSR1) {
		log_all(a);
	} else if (signum == SIGHUP) {
		if (!a->stopping && a->p.reload_asked != NULL) {
			a->p.reload_asked(a, a->p.ctx);
		}
	} else if (a->signum == 0) {
		LOG_INFO("stopping", LOG_S("signal", strsignal(signum)));
		a->signum = signum;
		agent_stop(a);
	} else {
		/* Whoever asks twice does not want to wait: what is not saved
		 * is found out at the next start. */
		_exit(128 + signum);
	}
}

/* ---- open, run, close
 * -------------------------------------------------------*/

int agent_open(const struct agent_params *p, struct agent **out,
	       struct kv_err *err)
{
	static const int signums[] = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};
	struct agent *a = kv_calloc(1, sizeof(*a));
	int status;

	*out = NULL;
	if (a == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for the agent");
	}
	a->p = *p;
	list_init(&a->routes);
	list_init(&a->closing);
	status = state_open(p->state_path, p->state_flags, &a->state, err);
	if (status != KV_OK) {
		goto fail_alloc;
	}
	status = loop_open(&a->loop, err);
	if (status != KV_OK) {
		goto fail_state;
	}
	gate_init(&a->gate, a->loop.sched, SEEDS_MAX);
	status = loop_signals(&a->loop, signums, KV_COUNT(signums) - !p->reload,
			      signal_cb, a, err);
	if (status == KV_OK) {
		a->worker = worker_open(a->loop.sched, "state");
		if (a->worker == NULL) {
			status = kv_fail(err, KV_NO_MEMORY,
					 "cannot start a thread for the "
					 "state");
		}
	}
	if (status != KV_OK) {
		agent_close(a);
		return status;
	}
	*out = a;
	return KV_OK;

fail_state:
	state_close(a->state);
fail_alloc:
	POST(status != KV_OK);
	kv_free(a);
	return status;
}

struct sched *agent_sched(struct agent *a)
{
	return a->loop.sched;
}

int agent_note_route(struct agent *a, const char *name, struct kv_err *err)
{
	struct state_fingerprint fp = {
	    .name = name, .stores = "", .filters = ""};
	enum state_match match;
	int64_t route;

	PRE((a->p.state_flags & STATE_MEMORY) != 0);
	return state_route_open(a->state, &fp, &route, &match, err);
}

uint64_t agent_known_keys(struct agent *a, const char *name)
{
	struct arena arena;
	struct state_summary *rows = NULL;
	uint64_t keys = 0;
	size_t n = 0, i;

	arena_init(&arena);
	if (state_summaries(a->state, &arena, &rows, &n, NULL) == KV_OK) {
		for (i = 0; i < n; i++) {
			keys = strcmp(rows[i].name, name) == 0 ? rows[i].keys
							       : keys;
		}
	}
	arena_free(&arena);
	return keys;
}

void agent_run(struct agent *a)
{
	loop_run(&a->loop);
}

int agent_signal(const struct agent *a)
{
	return a->signum;
}

void agent_close(struct agent *a)
{
	agent_stop(a);
	loop_close(&a->loop);
	POST(a->state == NULL && a->worker == NULL);
	kv_free(a);
}

/* ---- what is there
 * ----------------------------------------------------------*/

struct agent_route *agent_next(struct agent *a, struct agent_route *r)
{
	struct list *next = r == NULL ? a->routes.next : r->link.next;

	return next == &a->routes
		   ? NULL
		   : kv_container_of(next, struct agent_route, link);
}

const struct conf_route *agent_conf(const struct agent_route *r)
{
	return &r->conf;
}

void agent_status(const struct agent_route *r, struct route_status *out)
{
	if (r->route != NULL) {
		route_status(r->route, out);
		return;
	}
	*out = (struct route_status){
	    .name = r->conf.name, .phase = ROUTE_FAILED, .error = r->error};
}

void agent_log_status(const struct agent_route *r)
{
	struct route_status st;

	agent_status(r, &st);
	LOG_INFO(
	    "status", LOG_S("route", r->conf.name),
	    LOG_S("phase", route_phase_name(st.phase)), LOG_U("seen", st.seen),
	    LOG_U("applied", st.applied), LOG_U("saved", st.saved),
	    LOG_U("lag_ms", st.lag_ms), LOG_U("written", st.written),
	    LOG_U("conflicts", st.counters.conflicts),
	    LOG_U("quarantine", st.quarantine), LOG_U("foreign", st.foreign),
	    LOG_S("held", st.held == NULL ? "" : st.held),
	    LOG_S("error", st.error.text));
}

/* ---- URIs
 * -------------------------------------------------------------------*/

static const struct store_ops *
find_backend(const struct store_registry *registry, const char *scheme)
{
	const char *const *s;
	size_t i;

	for (i = 0; i < registry->n; i++) {
		for (s = registry->ops[i]->schemes; *s != NULL; s++) {
			if (strcmp(*s, scheme) == 0) {
				return registry->ops[i];
			}
		}
	}
	return NULL;
}

int agent_check_uri(const struct store_registry *registry, const char *text,
		    struct kv_err *err)
{
	const struct store_ops *ops;
	struct uri *u;
	int n, status = uri_parse(text, &u, err);

	if (status != KV_OK) {
		return status;
	}
	ops = find_backend(registry, u->scheme);
	/* Told without the options: a secret may stand there by mistake. */
	n = (int)strcspn(text, "?");
	if (ops == NULL) {
		status = kv_fail(err, KV_BACKEND_NOT_SUPPORTED,
				 "%.*s: no backend for scheme '%s'; see "
				 "kvmirror backends",
				 n, text, u->scheme);
	} else {
		status =
		    options_check(ops->options, u->options, u->n_options, err);
		if (status != KV_OK) {
			(void)kv_wrap(err, "%.*s", n, text);
		}
	}
	uri_free(u);
	return status;
}
