/* conf_raw.h: the file's text as libcyaml hands it over, and where in the file
 * each value stands. Internal to conf/.
 *
 *   bytes --libcyaml--> raw strings --conf_route_set--> struct conf
 *     \----libyaml----> marks: line of each value (for messages)
 */
#ifndef KV_CONF_RAW_H
#define KV_CONF_RAW_H

#include "store/base/slice.h"
#include "store/base/status.h"

/* All values are text: what they may be is checked by one code for the file
 * and for the command line. NULL: not given. */
struct raw_route {
	char *name;
	char *source;
	char *target;
	char *conflict;
	char *delete_policy;
	char *max_delete;
	char *escape;
	char *drift;
	char *prefer;
	char **include;
	unsigned include_count;
	char **exclude;
	unsigned exclude_count;
};

struct raw_log {
	char *level;
	char *format;
};

struct raw_conf {
	char *state;
	struct raw_log *log;
	struct raw_route *routes;
	unsigned routes_count;
};

/* Where a key of the file stands. */
struct mark {
	int route;	/* number of the route, or -1 */
	char name[24];	/* the key, cut */
	unsigned line;	/* of its value, from 1 */
	unsigned entry; /* of a list: its place */
};

struct marks {
	struct mark *marks;
	size_t n;
	size_t cap;
};

/* Notes where the values stand. KV_BAD_ARGUMENT, with the line in the text:
 * no YAML at all, a second document, a NUL inside a value. */
int marks_scan(const char *path, struct slice text, struct marks *out,
	       struct kv_err *err) KV_MUSTCHECK;
void marks_clear(struct marks *m);

/* The line of a value; 0 when it was not given. */
unsigned marks_line(const struct marks *m, int route, const char *name,
		    unsigned entry);
/* The first line, not before `from`, where a key of that name stands in any
 * place; 0: none. */
unsigned marks_find(const struct marks *m, const char *name, unsigned from);

/* Loads the text strictly. KV_BAD_ARGUMENT: "PATH:LINE: ...". */
int raw_load(const char *path, struct slice text, const struct marks *marks,
	     struct raw_conf **out, struct kv_err *err) KV_MUSTCHECK;
void raw_free(struct raw_conf *raw);

#endif /* KV_CONF_RAW_H */
