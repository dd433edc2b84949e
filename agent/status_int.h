/* status_int.h: what the files of `kvmirror status` share. */
#ifndef KV_STATUS_INT_H
#define KV_STATUS_INT_H

#include "agent/cli.h"
#include "agent/out.h"
#include "state/state.h"

/* Rows read at a time. */
#define STATUS_PAGE 1000

struct status {
	struct cli_args *args;
	struct conf *conf; /* -c, or NULL */
	const char *only;  /* ROUTE, or NULL */
	struct out out;
	json_t *object; /* --json: one for all files */
	json_t *routes;
	struct kv_err err;
};

/* One file while it is shown. */
struct file {
	struct status *s;
	const char *path;
	struct state *state;
	bool held;	   /* an agent has it open */
	bool unconfigured; /* the route is none of the configuration */
	struct arena arena;
	struct state_summary *routes;
	size_t n;
};

/* A new object that begins with the route's name and a key. */
json_t *status_entry(struct file *f, const struct state_summary *r,
		     struct slice key);

/* Is there a list of that name? */
bool status_has_list(const char *name);
/* --list: its entries, page by page. */
int status_show_list(struct file *f,
		     const struct state_summary *r) KV_MUSTCHECK;

/* --key: what is known of one key. */
int status_show_key(struct file *f, const struct state_summary *r) KV_MUSTCHECK;

#endif /* KV_STATUS_INT_H */
