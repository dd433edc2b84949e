/* agent.h: the process that runs routes: loop, signals, state file, worker,
 * stores; opened and closed in order.
 *
 *   loop -> signals -> state -> worker -> (source, target -> route) a route
 *   close: routes (drain) -> their stores -> worker -> state -> signals, loop
 */
#ifndef KV_AGENT_H
#define KV_AGENT_H

#include "agent/route.h"

struct agent;
struct agent_route;

struct agent_params {
	const struct store_registry *registry;
	const char *state_path;
	unsigned state_flags; /* of state_open */
	bool follow;
	bool dry_run;
	bool repair;
	bool keep_others; /* see route.h */
	/* A route whose stores cannot be opened just now (no permission, no
	 * memory) is tried again; else agent_add fails. */
	bool patient;
	bool reload; /* listen to SIGHUP */
	uint64_t timeout_ms;
	/* May be NULL. All on the loop. */
	void (*changed)(struct agent_route *r, void *ctx);
	void (*plan)(struct agent_route *r, const struct route_plan *p,
		     void *ctx);
	void (*reload_asked)(struct agent *a, void *ctx);
	void (*stopping)(void *ctx); /* agent_stop was called, or a signal */
	void *ctx;
};

/* Opens the state file and makes a loop with no routes yet. */
int agent_open(const struct agent_params *p, struct agent **out,
	       struct kv_err *err) KV_MUSTCHECK;

struct sched *agent_sched(struct agent *a);

/* For a dry run of a route that the state file does not know: notes the route
 * in a state that is in memory (STATE_MEMORY). */
int agent_note_route(struct agent *a, const char *name,
		     struct kv_err *err) KV_MUSTCHECK;

/* How many keys the ledger held of a route of that name; before the first
 * agent_start only. 0 when unknown. */
uint64_t agent_known_keys(struct agent *a, const char *name);

/* Opens a route and its stores; takes what `conf` holds, also on failure. What
 * a person has to change in the configuration is KV_BAD_ARGUMENT or
 * KV_BACKEND_NOT_SUPPORTED. */
int agent_add(struct agent *a, struct conf_route *conf,
	      struct agent_route **out, struct kv_err *err) KV_MUSTCHECK;

/* Starts it. */
void agent_start(struct agent_route *r);

/* Drains and closes a route; `gone` (may be NULL) is called when it is. */
void agent_remove(struct agent_route *r, void (*gone)(void *ctx), void *ctx);

/* Ends everything, a turn later; agent_run returns when that is done. */
void agent_stop(struct agent *a);

/* Until agent_stop, or SIGTERM or SIGINT. */
void agent_run(struct agent *a);
/* The signal that ended it; 0: none. */
int agent_signal(const struct agent *a);

/* Stops when still needed, and frees. */
void agent_close(struct agent *a);

/* The routes in the order added; NULL at the end. `r` NULL: the first. */
struct agent_route *agent_next(struct agent *a, struct agent_route *r);

const struct conf_route *agent_conf(const struct agent_route *r);
void agent_status(const struct agent_route *r, struct route_status *out);

/* One line of log. */
void agent_log_status(const struct agent_route *r);

/* Checks a store's URI without opening anything: scheme and options. */
int agent_check_uri(const struct store_registry *registry, const char *text,
		    struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_AGENT_H */
