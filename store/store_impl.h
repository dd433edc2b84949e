/* store_impl.h: what the files of the store core share; nobody else includes
 * it. The life of a request:
 *
 *   IDLE --req_begin--> SUBMITTING --req_settle(KV_OK)--> OUTSTANDING
 *                           |  \                              |
 *          req_settle(rv)   |   `-- store_done (early) --.    | store_done
 *                           v                            v    v
 *                          IDLE <--deliver, later turn--- DONE
 *
 * Composite calls (get, get_tree, recursive delete, ...) are requests of their
 * own that the backend never sees; they submit inner ones, one at a time, and
 * end with req_finish in the callback of the last.
 */
#ifndef KV_STORE_IMPL_H
#define KV_STORE_IMPL_H

#include "store/store_ops.h"

enum req_state { REQ_IDLE, REQ_SUBMITTING, REQ_OUTSTANDING, REQ_DONE };

/* Composite kinds, beside those of store_ops.h. */
enum { STORE_REQ_TREE = 32, STORE_REQ_LOCK_WAIT };

enum close_phase { STORE_OPEN, STORE_WAITING, STORE_BACKEND, STORE_GONE };

/* Registers a request with its store; every one that is begun is settled. */
void req_begin(struct store *st, struct store_req *req, uint8_t kind,
	       void (*deliver)(struct store_req *req));

/* After the backend's op (or the first inner request) returned `rv`: accepted,
 * or taken back with the reason in err. Returns rv. */
int req_settle(struct store_req *req, int rv, struct kv_err *err) KV_MUSTCHECK;

/* Ends a composite request; its owner calls the callback right after. */
void req_finish(struct store_req *req);

/* KV_CANCELED when the store is being closed: it takes no more requests. */
int store_accepts(const struct store *st, struct kv_err *err) KV_MUSTCHECK;

/* Goes on with closing when nothing is outstanding any more. */
void store_maybe_close(struct store *st);

void watch_free(struct store_watch *w);

/* The holder hears no more of it: its store is closed. */
void held_mute(struct store_held *held);
void held_free(struct store_held *held);

/* Cancels the inner request of a composite one. */
void single_cancel(struct store_req *req);
void lock_wait_cancel(struct store_req *req);
void tree_cancel(struct store_req *req);

/* A recursive delete; on success the request goes on by itself. */
int purge_start(struct store *st, struct store_single *req) KV_MUSTCHECK;

/* Ends a single request: req->err and the out fields are set. */
void single_finish(struct store_single *req);

/* "" or "/a": a directory as backends get it, without one trailing slash. */
struct slice check_strip_dir(struct slice dir);
int check_dir(struct slice dir, struct kv_err *err) KV_MUSTCHECK;
int check_key(const struct store *st, struct slice key,
	      struct kv_err *err) KV_MUSTCHECK;
int check_scan(const struct store *st, const struct store_scan *req,
	       struct kv_err *err) KV_MUSTCHECK;
/* Also sets the status of every op, so that the offending one is known. */
int check_write(const struct store *st, struct store_write *req,
		struct kv_err *err) KV_MUSTCHECK;
/* What a backend answered: KV_BROKEN when the keys do not ascend, lie outside
 * of what was asked for, or the page cannot be gone on from. */
int check_page(const struct store_scan *req, struct kv_err *err) KV_MUSTCHECK;

/* The backend of a scheme, or NULL. */
const struct store_ops *registry_find(const struct store_registry *r,
				      const char *scheme);
/* All schemes, comma-separated; returns buf. */
char *registry_schemes(const struct store_registry *r, char *buf, size_t cap);

#endif /* KV_STORE_IMPL_H */
