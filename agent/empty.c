/* empty.c: a backend without any keys, for dry runs. */
#include "agent/empty.h"

#include "store/store_ops.h"

#define EMPTY_IDENTITY "empty"

static int open_cb(struct store *st, struct kv_err *err)
{
	(void)err;
	st->caps = (struct store_caps){.atomic = true,
				       .resumable = true,
				       .told_deletes = true,
				       .ordered = true,
				       .sorted_keys = true,
				       .max_ops = 1000,
				       .max_bytes = SIZE_MAX,
				       .max_value = SIZE_MAX,
				       .max_key = SIZE_MAX,
				       .scan_page = 1000};
	return KV_OK;
}

static int scan_cb(struct store *st, struct store_scan *req)
{
	(void)st;
	req->page = store_page_new();
	if (req->page == NULL) {
		return kv_fail(&req->err, KV_NO_MEMORY, "no memory for a page");
	}
	req->page->at = 1;
	req->page->origin = (struct store_origin){
	    .identity = EMPTY_IDENTITY, .index = 1, .epoch = 1};
	store_done(&req->req);
	return KV_OK;
}

static int changes_cb(struct store_watch *w, struct store_next *req)
{
	(void)w;
	return kv_fail(&req->err, KV_CALL_NOT_SUPPORTED,
		       "an empty store has no changes");
}

static void unwatch_cb(struct store_watch *w)
{
	(void)w;
}

static int write_cb(struct store *st, struct store_write *req)
{
	(void)st;
	return kv_fail(&req->err, KV_CALL_NOT_SUPPORTED,
		       "a dry run writes nothing");
}

static void cancel_cb(struct store *st, struct store_req *req)
{
	(void)st;
	(void)req;
}

static void close_cb(struct store *st)
{
	store_closed(st);
}

static const char *const schemes[] = {"empty", NULL};
static const struct option_row options[] = {{.name = NULL}};

static const struct store_ops empty_ops = {
    .name = "empty",
    .schemes = schemes,
    .options = options,
    .help = "holds nothing",
    .store_size = 1,
    .watch_size = 1,
    .open = open_cb,
    .scan = scan_cb,
    .changes = changes_cb,
    .unwatch = unwatch_cb,
    .write = write_cb,
    .cancel = cancel_cb,
    .close = close_cb,
};

int empty_open(struct sched *sched, struct store **out, struct kv_err *err)
{
	struct store_registry registry = {0};
	int status = store_register(&registry, &empty_ops, err);

	if (status == KV_OK) {
		status =
		    store_open(&registry, sched, "empty://here", 0, out, err);
	}
	store_registry_free(&registry);
	return status;
}
