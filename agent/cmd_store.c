/* cmd_store.c: `kvmirror store`: one call of a store from the shell.
 *
 *   argv --> call table --> submit --> callback --> print --> close
 *               ^                         |
 *               `--- backoff, as long as no server answers and --timeout
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>

#include "agent/backoff.h"
#include "agent/cli.h"
#include "agent/loop.h"
#include "agent/out.h"

struct call;

enum call_kind {
	CALL_GET,
	CALL_PUT,
	CALL_DELETE,
	CALL_EXISTS,
	CALL_LIST,
	CALL_TREE,
	CALL_WATCH
};

/* One kind of call. */
struct call_row {
	const char *name;
	enum call_kind kind;
	size_t min_args; /* KEY, VALUE */
	size_t max_args;
	bool creates; /* makes an embedded store's file */
	bool (*submit)(struct call *c, struct kv_err *err);
};

struct call {
	struct cli_args *args;
	const struct call_row *row;
	struct loop loop;
	struct store *store;
	struct out out;
	struct slice key;
	struct slice value;
	uint8_t *input; /* value from standard input */
	struct store_single single;
	struct store_scan scan;
	struct store_watch *watch;
	struct store_next next;
	struct arena after;  /* last key of a page */
	uint64_t changes;    /* shown */
	uint64_t unreadable; /* pairs that were shown without their value */
	bool begun;	     /* a watch has answered */
	struct store_req *outstanding;
	struct backoff backoff;
	struct sched_timer retry;
	struct sched_timer deadline;
	struct kv_err last; /* the last failure */
	bool timed_out;
	bool stopped; /* by a signal */
	bool ended;
	int code;
};

/* ---- the end, and trying again
 * -----------------------------------------------*/

static void end(struct call *c, int code)
{
	PRE(!c->ended);
	c->ended = true;
	c->code = code;
	sched_timer_stop(&c->retry);
	sched_timer_stop(&c->deadline);
	if (c->watch != NULL) {
		store_watch_close(c->watch);
		c->watch = NULL;
	}
	store_close(c->store, NULL, NULL);
}

static void end_failed(struct call *c, const struct kv_err *err)
{
	struct kv_err told = *err;

	(void)kv_wrap(&told, "store %s", c->row->name);
	if (err->status == KV_KEY_NOT_FOUND) {
		end(c, cli_complain(CLI_DIFFERENT, "%s", told.text));
	} else {
		cli_advise(&told);
		end(c, cli_error(&told));
	}
}

static void end_timed_out(struct call *c)
{
	struct kv_err err = {0};

	(void)kv_fail(&err, KV_TIMED_OUT,
		      "store %s: no answer from %s within %" PRIu64 " ms%s%s",
		      c->row->name, store_uri(c->store)->text,
		      c->args->timeout_ms, c->last.text[0] == '\0' ? "" : ": ",
		      c->last.text);
	cli_advise(&err);
	end(c, cli_error(&err));
}

static bool is_passing(int status)
{
	return status == KV_NOT_REACHABLE || status == KV_TIMED_OUT;
}

static void submit(struct call *c);

static void again(struct call *c)
{
	uint64_t delay = backoff_next(&c->backoff, sched_random(c->loop.sched));

	if (c->watch != NULL) {
		store_watch_close(c->watch);
		c->watch = NULL;
	}
	sched_timer_start(c->loop.sched, &c->retry, delay);
}

/* The call failed: again later, or the end. */
static void failed(struct call *c, const struct kv_err *err)
{
	if (c->stopped) {
		end(c, CLI_OK);
	} else if (c->timed_out &&
		   (is_passing(err->status) || err->status == KV_CANCELED)) {
		end_timed_out(c);
	} else if (!is_passing(err->status) || c->begun) {
		/* A watch that has begun would have a gap. */
		end_failed(c, err);
	} else {
		c->last = *err;
		again(c);
	}
}

static void retry_fire(struct sched_timer *timer)
{
	submit(kv_container_of(timer, struct call, retry));
}

static void deadline_fire(struct sched_timer *timer)
{
	struct call *c = kv_container_of(timer, struct call, deadline);

	c->timed_out = true;
	if (c->outstanding != NULL) {
		store_cancel(c->outstanding);
	} else {
		end_timed_out(c);
	}
}

static void submit(struct call *c)
{
	struct kv_err err = {0};

	if (!c->row->submit(c, &err)) {
		failed(c, &err);
	}
}

/* A server has answered. */
static void answered(struct call *c)
{
	c->outstanding = NULL;
}

/* ---- printing
 * ----------------------------------------------------------------*/

/* What stands beside the value, where there is anything. */
static void add_attrs(struct call *c, json_t *object, struct slice attrs)
{
	if (attrs.n > 0) {
		out_json_base64(&c->out, object, "attrs", attrs);
	}
}

static json_t *pair_json(struct call *c, const struct store_pair *p, bool value)
{
	json_t *object = out_json_object(&c->out);

	out_json_key(&c->out, object, "key", p->key);
	if (p->unreadable) {
		out_json_bool(&c->out, object, "unreadable", true);
	} else if (value) {
		out_json_base64(&c->out, object, "value", p->value);
		add_attrs(c, object, p->attrs);
	}
	out_json_uint(&c->out, object, "index", p->index);
	out_json_uint(&c->out, object, "version", p->version.a);
	if (p->version.b != 0) {
		out_json_uint(&c->out, object, "version_b", p->version.b);
	}
	return object;
}

static void print_pair(struct call *c, const struct store_pair *p, bool value)
{
	c->unreadable += p->unreadable ? 1 : 0;
	if (c->args->json) {
		out_json(&c->out, pair_json(c, p, value));
		return;
	}
	out_key(&c->out, p->key);
	if (value && !p->unreadable) {
		out_text(&c->out, "\t");
		out_bytes(&c->out, p->value);
	}
	out_text(&c->out, "\n");
}

/* ---- one key
 * -------------------------------------------------------------------*/

static void print_single(struct call *c)
{
	const struct store_single *s = &c->single;
	json_t *object;

	if (c->row->kind == CALL_GET) {
		if (c->args->json) {
			out_json(&c->out, pair_json(c, &s->pair, true));
		} else {
			out_bytes(&c->out, s->pair.value);
		}
		return;
	}
	if (c->row->kind == CALL_EXISTS && !c->args->json) {
		out_text(&c->out, s->found ? "true\n" : "false\n");
	}
	if (!c->args->json) {
		return;
	}
	object = out_json_object(&c->out);
	out_json_key(&c->out, object, "key", c->key);
	if (c->row->kind == CALL_EXISTS) {
		out_json_bool(&c->out, object, "exists", s->found);
	} else if (c->row->kind == CALL_PUT) {
		out_json_uint(&c->out, object, "index", s->pair.index);
		out_json_uint(&c->out, object, "version", s->pair.version.a);
	} else {
		out_json_uint(&c->out, object, "deleted", s->deleted);
	}
	out_json(&c->out, object);
}

static void single_cb(struct store_single *req)
{
	struct call *c = kv_container_of(req, struct call, single);
	bool missing;

	answered(c);
	if (req->err.status != KV_OK) {
		failed(c, &req->err);
		return;
	}
	print_single(c);
	missing = c->row->kind == CALL_EXISTS && !req->found;
	end(c, missing ? CLI_DIFFERENT : CLI_OK);
}

typedef int (*single_fn)(struct store *st, struct store_single *req);

static bool submit_single(struct call *c, single_fn fn, struct kv_err *err)
{
	store_single_free(&c->single);
	c->single = (struct store_single){.key = c->key,
					  .value = c->value,
					  .recursive = c->args->recursive,
					  .cb = single_cb};
	if (fn(c->store, &c->single) != KV_OK) {
		*err = c->single.err;
		return false;
	}
	c->outstanding = &c->single.req;
	return true;
}

static bool submit_get(struct call *c, struct kv_err *err)
{
	return submit_single(c, store_get, err);
}

static bool submit_put(struct call *c, struct kv_err *err)
{
	return submit_single(c, store_put, err);
}

static bool submit_delete(struct call *c, struct kv_err *err)
{
	return submit_single(c, store_delete, err);
}

static bool submit_exists(struct call *c, struct kv_err *err)
{
	return submit_single(c, store_exists, err);
}

/* ---- list and tree: page by page
 * -----------------------------------------------*/

static void end_scan(struct call *c)
{
	int code = CLI_OK;

	if (c->unreadable > 0) {
		code = cli_complain(CLI_DIFFERENT,
				    "store %s: %" PRIu64
				    " keys may not be read, nor what is "
				    "below them; give credentials that may",
				    c->row->name, c->unreadable);
	}
	end(c, code);
}

static void scan_cb(struct store_scan *req)
{
	struct call *c = kv_container_of(req, struct call, scan);
	struct store_page *page = req->page;
	bool values = c->row->kind == CALL_TREE;
	bool more;
	size_t i;

	answered(c);
	if (req->err.status != KV_OK) {
		failed(c, &req->err);
		return;
	}
	for (i = 0; i < page->n; i++) {
		print_pair(c, &page->pairs[i], values);
	}
	more = page->more && page->n > 0;
	if (more) {
		arena_reset(&c->after);
		req->after = slice_dup(&c->after, page->pairs[page->n - 1].key);
	}
	store_page_free(page);
	req->page = NULL;
	/* Each page has the whole time again, as it is an answer. */
	sched_timer_start(c->loop.sched, &c->deadline, c->args->timeout_ms);
	backoff_reset(&c->backoff);
	if (more && req->after.p == NULL) {
		(void)kv_fail(&req->err, KV_NO_MEMORY, "no memory for a key");
		end_failed(c, &req->err);
	} else if (!more || !out_ok(&c->out)) {
		end_scan(c);
	} else {
		submit(c);
	}
}

static bool submit_scan(struct call *c,
			int (*fn)(struct store *st, struct store_scan *req),
			struct kv_err *err)
{
	struct slice after = c->scan.after;

	c->scan = (struct store_scan){.dir = c->key,
				      .after = after,
				      .names_only = fn == store_list,
				      .cb = scan_cb};
	if (fn(c->store, &c->scan) != KV_OK) {
		*err = c->scan.err;
		return false;
	}
	c->outstanding = &c->scan.req;
	return true;
}

static bool submit_list(struct call *c, struct kv_err *err)
{
	return submit_scan(c, store_list, err);
}

static bool submit_tree(struct call *c, struct kv_err *err)
{
	return submit_scan(c, store_get_tree, err);
}

/* ---- watch
 * ---------------------------------------------------------------------*/

static void print_change_json(struct call *c, const struct store_change *ch)
{
	json_t *object = out_json_object(&c->out);

	out_json_text(&c->out, object, "action", store_action_name(ch->action));
	out_json_key(&c->out, object, "key", ch->key);
	if (ch->unreadable) {
		out_json_bool(&c->out, object, "unreadable", true);
	} else if (ch->action != STORE_DELETE) {
		out_json_base64(&c->out, object, "value", ch->value);
		add_attrs(c, object, ch->attrs);
	}
	out_json_uint(&c->out, object, "index", ch->index);
	out_json_uint(&c->out, object, "version", ch->version.a);
	out_json_bool(&c->out, object, "inferred", ch->inferred);
	out_json(&c->out, object);
}

static void print_change(struct call *c, const struct store_change *ch)
{
	if (c->args->json) {
		print_change_json(c, ch);
		return;
	}
	out_text(&c->out, "%" PRIu64 "\t%s\t", ch->index,
		 store_action_name(ch->action));
	out_key(&c->out, ch->key);
	if (ch->action != STORE_DELETE && !ch->unreadable) {
		out_text(&c->out, "\t");
		out_bytes(&c->out, ch->value);
	}
	out_text(&c->out, "\n");
}

/* The start: where the watch goes on from. */
static void print_init(struct call *c, const struct store_batch *b)
{
	json_t *object;

	if (!c->args->json) {
		out_text(&c->out, "%" PRIu64 "\t%s\n", b->index,
			 store_action_name(STORE_INIT));
		return;
	}
	object = out_json_object(&c->out);
	out_json_text(&c->out, object, "action", store_action_name(STORE_INIT));
	out_json_uint(&c->out, object, "index", b->index);
	out_json(&c->out, object);
}

/* False when enough was shown. */
static bool print_batch(struct call *c, const struct store_batch *b)
{
	size_t i;

	if (b->init) {
		print_init(c, b);
	}
	for (i = 0; i < b->n; i++) {
		print_change(c, &b->changes[i]);
		c->changes++;
		if (c->args->count > 0 && c->changes >= c->args->count) {
			return false;
		}
	}
	return true;
}

static void next_cb(struct store_next *req)
{
	struct call *c = kv_container_of(req, struct call, next);
	bool more;

	answered(c);
	if (c->ended) {
		return;
	}
	if (req->err.status != KV_OK) {
		failed(c, &req->err);
		return;
	}
	c->begun = true;
	sched_timer_stop(&c->deadline);
	more = print_batch(c, req->batch);
	store_batch_free(req->batch);
	req->batch = NULL;
	out_flush(&c->out);
	if (!more || c->stopped || !out_ok(&c->out)) {
		end(c, CLI_OK);
	} else {
		submit(c);
	}
}

/* KEY is one key, DIR/ all below it, nothing the whole tree. */
static struct store_watch *open_watch(struct call *c)
{
	struct store_watch_params p = {.after = c->args->index};

	if (c->key.n > 0 && c->key.p[c->key.n - 1] != '/') {
		p.key = c->key;
	} else {
		p.dir = c->key;
	}
	return store_watch_open(c->store, &p);
}

static bool submit_watch(struct call *c, struct kv_err *err)
{
	if (c->watch == NULL) {
		c->watch = open_watch(c);
	}
	if (c->watch == NULL) {
		(void)kv_fail(err, KV_NO_MEMORY, "no memory for a watch");
		return false;
	}
	c->next = (struct store_next){.cb = next_cb};
	if (store_watch_next(c->watch, &c->next) != KV_OK) {
		*err = c->next.err;
		return false;
	}
	c->outstanding = &c->next.req;
	return true;
}

/* ---- the calls
 * -------------------------------------------------------------------*/

static const struct call_row rows[] = {
    {"get", CALL_GET, 1, 1, false, submit_get},
    {"put", CALL_PUT, 2, 2, true, submit_put},
    {"delete", CALL_DELETE, 1, 1, false, submit_delete},
    {"exists", CALL_EXISTS, 1, 1, false, submit_exists},
    {"list", CALL_LIST, 0, 1, false, submit_list},
    {"tree", CALL_TREE, 0, 1, false, submit_tree},
    {"watch", CALL_WATCH, 0, 1, false, submit_watch},
};

static int find_row(struct call *c, struct kv_err *err)
{
	size_t n = c->args->n_args - 2, i;

	for (i = 0; i < KV_COUNT(rows); i++) {
		if (strcmp(rows[i].name, c->args->args[0]) == 0) {
			c->row = &rows[i];
		}
	}
	if (c->row == NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "store: unknown call '%s', expected get, put, "
			       "delete, exists, list, tree, watch or lock",
			       c->args->args[0]);
	}
	if (n < c->row->min_args || n > c->row->max_args) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "store %s: %s; see kvmirror store --help",
			       c->row->name,
			       n > c->row->max_args ? "too many arguments"
			       : n == 0		    ? "KEY is missing"
						    : "VALUE is missing");
	}
	return KV_OK;
}

static int check_key(struct call *c, struct kv_err *err)
{
	if (c->args->n_args < 3) {
		return KV_OK;
	}
	c->key = slice_str(c->args->args[2]);
	if (c->key.n > 0 && c->key.p[0] != '/') {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "store %s: KEY '%s' must begin with '/'",
			       c->row->name, c->args->args[2]);
	}
	return KV_OK;
}

/* All of standard input. */
static int read_input(struct call *c, struct kv_err *err)
{
	size_t cap = 0, n = 0, got = 1;

	while (got > 0) {
		if (!kv_grow((void **)&c->input, &cap, n + 4096, 1)) {
			return kv_fail(err, KV_NO_MEMORY,
				       "store put: no memory for the value");
		}
		errno = 0;
		got = fread(c->input + n, 1, cap - n, stdin);
		n += got;
	}
	if (ferror(stdin)) {
		return kv_fail(err, KV_BROKEN,
			       "store put: cannot read standard input: %s",
			       strerror(errno));
	}
	c->value = slice_of(c->input, n);
	return KV_OK;
}

static int take_value(struct call *c, struct kv_err *err)
{
	if (c->args->n_args < 4) {
		return KV_OK;
	}
	if (strcmp(c->args->args[3], "-") == 0) {
		return read_input(c, err);
	}
	c->value = slice_str(c->args->args[3]);
	return KV_OK;
}

static void signal_cb(void *ctx, int signum)
{
	struct call *c = ctx;

	(void)signum;
	c->stopped = true;
	if (!c->ended && c->outstanding != NULL) {
		store_cancel(c->outstanding);
	}
}

static int start(struct call *c, const struct cli *cli, struct kv_err *err)
{
	static const int signums[] = {SIGTERM, SIGINT};
	int status = KV_OK;

	if (c->row->kind == CALL_WATCH) {
		status = loop_signals(&c->loop, signums, KV_COUNT(signums),
				      signal_cb, c, err);
	}
	if (status == KV_OK) {
		status =
		    store_open(cli->registry, c->loop.sched, c->args->args[1],
			       (c->row->creates ? STORE_CREATE : 0U) |
				   (c->args->json ? STORE_ATTRS : 0U),
			       &c->store, err);
	}
	if (status != KV_OK) {
		/* An embedded store's file that is not there. */
		err->status =
		    status == KV_KEY_NOT_FOUND ? KV_BAD_ARGUMENT : err->status;
		return kv_wrap(err, "store %s", c->row->name);
	}
	c->retry.fire = retry_fire;
	c->deadline.fire = deadline_fire;
	sched_timer_start(c->loop.sched, &c->deadline, c->args->timeout_ms);
	submit(c);
	return KV_OK;
}

static int run(struct call *c, const struct cli *cli, struct kv_err *err)
{
	int status = loop_open(&c->loop, err);

	if (status != KV_OK) {
		return status;
	}
	arena_init(&c->after);
	status = start(c, cli, err);
	loop_close(&c->loop);
	store_single_free(&c->single);
	arena_free(&c->after);
	return status;
}

int cmd_store(const struct cli *cli, struct cli_args *args)
{
	struct call c = {.args = args};
	struct kv_err err = {0};
	int code;

	if (strcmp(args->args[0], "lock") == 0) {
		return cmd_lock(cli, args);
	}
	out_init(&c.out);
	if (cli_apply_log(args, NULL, &err) != KV_OK ||
	    find_row(&c, &err) != KV_OK || check_key(&c, &err) != KV_OK ||
	    take_value(&c, &err) != KV_OK || run(&c, cli, &err) != KV_OK) {
		code = cli_error(&err);
	} else {
		code = c.code;
	}
	kv_free(c.input);
	return out_finish(&c.out, code);
}
