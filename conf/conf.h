/* conf.h: configuration: YAML text in, plain structs out. Knows no backend:
 * URIs are only text here.
 *
 *   state: /var/lib/kvmirror/state.db
 *   log: {level: info, format: json}
 *   routes:
 *     - name: app
 *       source: etcd://a1:2379,a2:2379/app
 *       target: etcd://b1:2379/app
 *       conflict: source-wins
 *       exclude: ["/scratch-?"]
 */
#ifndef KV_CONF_H
#define KV_CONF_H

#include "store/base/log.h"
#include "store/base/status.h"

enum conf_conflict {
	CONF_SOURCE_WINS,
	CONF_TARGET_WINS,
	CONF_STOP,
	CONF_NEWEST
};
enum conf_delete { CONF_DELETE_OWNED, CONF_DELETE_NEVER, CONF_DELETE_ALL };
enum conf_escape { CONF_ESCAPE_NONE, CONF_ESCAPE_PERCENT };
enum conf_drift { CONF_DRIFT_REPAIR, CONF_DRIFT_KEEP };
/* Of two routes in opposite directions: which side wins where both changed a
 * key. FIRST: the source of the one that stands first in the file. */
enum conf_prefer { CONF_PREFER_FIRST, CONF_PREFER_SOURCE, CONF_PREFER_TARGET };

/* --max-delete: the default rule (more than 20 % and more than 50), or N, or
 * P%. 100% turns the fuse off. */
struct conf_max_delete {
	enum { CONF_FUSE_DEFAULT, CONF_FUSE_COUNT, CONF_FUSE_PERCENT } kind;
	uint64_t n;
};

/* One route; also what `sync` builds from its command line. */
struct conf_route {
	char *name;
	char *source; /* URIs */
	char *target;
	enum conf_conflict conflict;
	enum conf_delete delete_policy;
	struct conf_max_delete max_delete;
	char **include; /* globs; none: everything */
	size_t n_include;
	char **exclude;
	size_t n_exclude;
	enum conf_escape escape;
	enum conf_drift drift;
	enum conf_prefer prefer;
	unsigned line; /* in the file; 0: command line */
};

struct conf {
	char *state; /* NULL: not given */
	struct conf_route *routes;
	size_t n_routes;
	enum log_level log_level;
	enum log_format log_format; /* valid when log_format_given */
	bool log_format_given;
};

/* Reads and checks a file. KV_BAD_ARGUMENT: "FILE:LINE: what was found, what
 * was expected" (an unknown key, a wrong type, a missing field, two routes of
 * one name, a glob that cannot be). KV_KEY_NOT_FOUND, KV_DENIED: the file. */
int conf_load(const char *path, struct conf **out,
	      struct kv_err *err) KV_MUSTCHECK;
void conf_free(struct conf *c);

/* A route with the defaults (all strings NULL), and what frees its members. */
void conf_route_init(struct conf_route *r);
void conf_route_clear(struct conf_route *r);

/* Do two routes say the same (wherever they stand in a file)? */
bool conf_route_eq(const struct conf_route *a, const struct conf_route *b);

/* The option texts, shared by the command line and the file: sets one value of
 * the route by its name ("max-delete" or "max_delete"), text as typed.
 * include and exclude append. KV_BAD_ARGUMENT names the option and what it
 * takes. */
int conf_route_set(struct conf_route *r, const char *name, const char *text,
		   struct kv_err *err) KV_MUSTCHECK;

/* "debug", "info", ...; "text", "json": as in the file's `log`. */
int conf_log_level(const char *text, enum log_level *out,
		   struct kv_err *err) KV_MUSTCHECK;
int conf_log_format(const char *text, enum log_format *out,
		    struct kv_err *err) KV_MUSTCHECK;

const char *conf_conflict_name(enum conf_conflict c);
const char *conf_delete_name(enum conf_delete d);
const char *conf_escape_name(enum conf_escape e);
const char *conf_drift_name(enum conf_drift d);
const char *conf_prefer_name(enum conf_prefer p);

#endif /* KV_CONF_H */
