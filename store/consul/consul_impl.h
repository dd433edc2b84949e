/* consul_impl.h: what the files of this backend share.
 *
 *   store.c --> consul.c --> consul_scan.c   names, then values
 *                       |--> consul_write.c  transactions
 *                       |--> consul_lock.c   sessions that hold keys
 *                       `--> consul_watch.c  pulls --> consul_round.c: what
 *                                            moved since, and where
 *        all of these --> consul_fetch.c (many keys) --> consul_http.c
 */
#ifndef KV_CONSUL_IMPL_H
#define KV_CONSUL_IMPL_H

#include "store/consul/consul_http.h"
#include "store/consul/consul_names.h"
#include "store/consul/consul_txn.h"
#include "store/store_ops.h"

/* What a server takes when it is not told otherwise. */
#define CONSUL_OPS_OLD 64
#define CONSUL_OPS_NEW 128
#define CONSUL_MAX_REQUEST ((size_t)512 * 1024)
#define CONSUL_MAX_VALUE ((size_t)512 * 1024)
#define CONSUL_MAX_KEY ((size_t)32 * 1024)
/* Bytes of an operation's JSON besides its key and value. */
#define CONSUL_OP_BYTES ((size_t)112)
#define CONSUL_PAGE 1024

/* One open store; lives in st->impl. */
struct consul {
	struct store *st;
	struct http_client http;
	char *dc;
	char *ns;
	char *partition;
	size_t max_request; /* the server's txn_max_req_len */
	size_t pair_size;   /* bytes a value, as seen lately; 0: none was */
	struct list listings;
	unsigned n_listings;
	struct http_call hello; /* asks how many operations it takes */
	bool greeted;
	struct list locks;	      /* calls that nobody waits for */
	struct sched_timer locks_end; /* closing waits for them so long */
};

static inline struct consul *consul_of(const struct store *st)
{
	return st->impl;
}

/* How fresh a read must be. */
enum consul_read { CONSUL_WRITE, CONSUL_CONSISTENT, CONSUL_STALE };

/* /v1/txn, with what the options say. */
void consul_txn_path(const struct consul *c, struct consul_buf *b,
		     enum consul_read how);
/* The names below a stored prefix; the part of it that a URL can carry, so that
 * there may be more of them. `wait_index` > 0: when there is something newer,
 * or wait_ms are over. */
void consul_keys_path(const struct consul *c, struct consul_buf *b,
		      struct slice prefix, enum consul_read how,
		      uint64_t wait_index, uint64_t wait_ms);
/* A key that does not exist, below the prefix: its answer carries the index of
 * the whole KV store, and shows that the token may read there. */
void consul_index_path(const struct consul *c, struct consul_buf *b,
		       enum consul_read how);

/* How much of a stored prefix may stand in a URL: servers redirect what looks
 * like a path to be cleaned, and refuse what does not print. */
size_t consul_url_part(struct slice prefix);

/* prefix + key as it is stored, in the arena (p NULL: no memory). */
struct slice consul_stored(const struct consul *c, struct arena *a,
			   struct slice key) KV_MUSTCHECK;
/* What is stored below `dir` ("" or "/a") begins with this. */
struct slice consul_stored_dir(const struct consul *c, struct arena *a,
			       struct slice dir) KV_MUSTCHECK;
/* The relative key, in the arena; n == 0: not in the tree; p NULL: no memory.
 */
struct slice consul_relative(const struct consul *c, struct arena *a,
			     struct slice stored) KV_MUSTCHECK;

void consul_origin(struct consul *c, uint64_t index, uint64_t epoch,
		   struct store_origin *out);
/* Flags as attrs. */
bool consul_attrs(const struct consul *c, struct arena *a, struct slice *to,
		  uint64_t flags) KV_MUSTCHECK;

/* Asks once a store whether transactions of 128 operations are taken. */
void consul_maybe_greet(struct consul *c);

int consul_scan(struct store *st, struct store_scan *req);
void consul_scan_cancel(struct store_scan *req);
/* Forgets what scans keep between pages. */
void consul_scan_forget(struct consul *c);

int consul_write(struct store *st, struct store_write *req);
void consul_write_cancel(struct store_write *req);

/* /v1/session/WHAT, and the session's id behind it. */
void consul_session_path(const struct consul *c, struct consul_buf *b,
			 const char *what, const char *session);

int consul_lock(struct store *st, struct store_lock_req *req);
int consul_unlock(struct store *st, struct store_lock_req *req);
void consul_renew(struct store *st, struct store_held *held);
void consul_lock_cancel(struct store_lock_req *req);
void consul_lock_init(struct consul *c);
/* Gives back what is held, then consul_lock_closed, now or later. */
void consul_lock_close(struct consul *c);
void consul_lock_closed(struct consul *c);

#define CONSUL_WATCH_SIZE sizeof(struct consul_watch *)
int consul_changes(struct store_watch *w, struct store_next *req);
void consul_changes_cancel(struct store_next *req);
void consul_unwatch(struct store_watch *w);

#endif /* KV_CONSUL_IMPL_H */
