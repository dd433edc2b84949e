/* store_ops.h: what a backend implements. Users of a store read store.h.
 *
 *   store.c (contract, derived libkv calls) --> ops of a backend
 *                                  store_done <--
 *
 * store.c guarantees to a backend: requests are checked (keys begin with '/',
 * distinct keys, limits of caps), one `changes` at a time a watch, cancel only
 * for outstanding requests, nothing after close.
 *
 * A backend guarantees: for each request it accepted (returned KV_OK) exactly
 * one store_done(), on the loop thread; it may come from inside the op (store.c
 * parks it to a later turn). err and the out fields are set before. A returned
 * non-zero status means not accepted; req->err says why.
 */
#ifndef KV_STORE_OPS_H
#define KV_STORE_OPS_H

#include "store/store.h"

struct store {
	const struct store_ops *ops;
	struct sched *sched;
	struct uri *uri;
	unsigned flags;
	struct store_caps caps; /* filled by open */
	void *impl;		/* ops->store_size zeroed bytes */
	/* private to store.c */
	struct list outstanding;
	struct list watches;
	struct list held; /* struct store_held */
	uint64_t held_ids;
	void (*closed)(void *ctx);
	void *closed_ctx;
	struct sched_task close_task;
	uint8_t closing;
};

/* A lock that this store object holds. store.c keeps the time: `renew` is
 * called in time, and a hold that was not confirmed within its ttl is lost. */
struct store_held {
	struct list link;
	struct store *store;
	uint64_t id;	  /* of this store object */
	struct slice key; /* stands behind the struct */
	uint64_t token;
	uint32_t ttl_ms;
	uint64_t lease;	  /* the backend's: etcd lease id */
	char session[64]; /* the backend's: Consul session, znode */
	/* private */
	void (*lost)(void *ctx, const struct kv_err *why);
	void *lost_ctx;
	struct sched_timer renew;
	struct sched_timer deadline;
	bool ending; /* unlock is under way */
};

struct store_watch {
	struct store *store;
	struct slice dir; /* "" or "/a" (no trailing slash) */
	struct slice key; /* n > 0: one key */
	uint64_t after;	  /* as opened */
	struct store_known *known;
	void *impl; /* ops->watch_size zeroed bytes */
	/* private to store.c */
	struct list link;
	struct store_next *next; /* outstanding */
	bool closing;
	bool ended; /* an error was delivered */
};

struct store_ops {
	const char *name;	    /* "etcd" */
	const char *const *schemes; /* NULL-terminated: "etcd", "etcds" */
	const struct option_row *options;
	const char *help; /* one line */
	size_t store_size;
	size_t watch_size;
	/* It keeps something beside values (store.h on attrs). store.c clears
	 * STORE_ATTRS from st->flags where this is false, and refuses puts with
	 * attrs where the flag is not set. */
	bool has_attrs;
	/* The options that choose what attrs hold (NULL-terminated, or NULL):
	 * the two ends of a mirror must agree in them. */
	const char *const *attrs_options;

	/* Must. st->uri, ->sched, ->flags, ->impl are set, and the URI's
	 * options are checked against the rows; fills st->caps, starts
	 * whatever needs no waiting. On failure everything is undone. */
	int (*open)(struct store *st, struct kv_err *err);

	/* Must. A page; see struct store_scan. dir: "" or "/a". */
	int (*scan)(struct store *st, struct store_scan *req);

	/* Must. Answers with the next batch of the watch, or waits for one. The
	 * first answer of a watch has batch->init: it comes when changes after
	 * that index can no longer be missed. */
	int (*changes)(struct store_watch *w, struct store_next *req);

	/* Must. The watch goes; w->impl is freed by store.c right after.
	 * An outstanding `changes` has been answered before (store.c cancels
	 * and waits). */
	void (*unwatch)(struct store_watch *w);

	/* Must. See struct store_write. */
	int (*write)(struct store *st, struct store_write *req);

	/* May (NULL: KV_CALL_NOT_SUPPORTED), all three or none. lock: tries;
	 * it waits only where lock_waits says so, else store.c does by watching
	 * the key and trying again. On success, before store_done: req->token,
	 * store_held_add. unlock: req->held is the hold, which store.c frees
	 * when the request is done. renew: each third of the ttl; answered by
	 * store_held_renewed or store_held_lost, now, or later (find it again
	 * by its id), or not at all. */
	int (*lock)(struct store *st, struct store_lock_req *req);
	int (*unlock)(struct store *st, struct store_lock_req *req);
	void (*renew)(struct store *st, struct store_held *held);
	bool lock_waits;

	/* Must. A wish to end a request soon; store_done still comes. Ends a
	 * waiting `changes` at once. */
	void (*cancel)(struct store *st, struct store_req *req);

	/* Must. No request is outstanding and no watch open any more. Gives
	 * back the locks of st->held (store.c frees these), lets go of
	 * everything, then store_closed(st), now or later. */
	void (*close)(struct store *st);

	/* May. Names this backend refuses (syntax only; sizes are in caps). */
	int (*check_key)(const struct store *st, struct slice key,
			 struct kv_err *err);

	/* May. Do the two URIs of this backend name the same server or file?
	 * NULL: a common endpoint. */
	bool (*same_place)(const struct store *a, const struct store *b);
};

/* Kinds of store_req (req->kind). */
enum {
	STORE_REQ_SCAN = 1,
	STORE_REQ_WRITE,
	STORE_REQ_NEXT,
	STORE_REQ_LOCK,
	STORE_REQ_SINGLE
};

/* A request is finished; its err and out fields are set. */
void store_done(struct store_req *req);

/* The backend has let go of everything. */
void store_closed(struct store *st);

/* For backends: */

/* The lock of `req` is held since a request that was sent at `sent_ms`
 * (sched_now). req->token is set. NULL when memory is out: give it back. The
 * backend fills in lease or session. */
struct store_held *store_held_add(struct store *st,
				  const struct store_lock_req *req,
				  uint32_t ttl_ms,
				  uint64_t sent_ms) KV_MUSTCHECK;
/* NULL: it is held no more. */
struct store_held *store_held_by_id(struct store *st, uint64_t id);
/* The server confirmed it, asked at `sent_ms`. */
void store_held_renewed(struct store_held *held, uint64_t sent_ms);
/* It is gone: tells the holder, frees `held`. */
void store_held_lost(struct store_held *held, const struct kv_err *why);

/* stored = prefix + key, in the arena (p NULL: no memory). */
struct slice store_stored_key(const struct store *st, struct arena *a,
			      struct slice key) KV_MUSTCHECK;
/* The key relative to the prefix, as a slice of `stored`; n == 0 when the
 * stored key is not in the tree. */
struct slice store_relative_key(const struct store *st, struct slice stored);

/* A new empty page / batch; NULL when memory is out. */
struct store_page *store_page_new(void) KV_MUSTCHECK;
struct store_batch *store_batch_new(void) KV_MUSTCHECK;

/* Appends a pair / change whose bytes are copied into the arena. The array is
 * grown as needed (`cap` is the caller's counter, starting at 0). Returns
 * NULL when memory is out. */
struct store_pair *store_page_add(struct store_page *p, size_t *cap,
				  struct slice key,
				  struct slice value) KV_MUSTCHECK;
struct store_change *store_batch_add(struct store_batch *b, size_t *cap,
				     struct slice key,
				     struct slice value) KV_MUSTCHECK;

/* Copies attrs into the arena of the page or batch whose pair->attrs or
 * change->attrs `to` is; empty ones stay empty. False: memory is out. */
bool store_attrs_set(struct arena *a, struct slice *to,
		     struct slice attrs) KV_MUSTCHECK;

#endif /* KV_STORE_OPS_H */
