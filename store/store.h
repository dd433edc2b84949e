/* store.h: one interface to any key-value backend. For users of a store; those
 * who write a backend read store_ops.h.
 *
 * It is the libkv family's Store made asynchronous and resumable:
 *
 *   libkv/lainlet call      here
 *   register, open          store_register, store_open (by URI scheme)
 *   create_endpoints        store_create_endpoints (uri.h)
 *   normalize               store_normalize        (uri.h)
 *   get                     store_get
 *   get_tree                store_get_tree (paged)
 *   put, delete             store_put, store_delete (one key or recursive)
 *   exists, list            store_exists, store_list
 *   watch, watch_tree       store_watch_open + store_watch_next (pull)
 *   atomic_put/_delete      store_atomic_put, store_atomic_delete
 *   lock, unlock            store_lock, store_unlock
 *   close                   store_close
 *   (what a mirror needs)   store_scan, store_write, store_capabilities
 *
 * The contract of every asynchronous call, enforced in store.c:
 *   - A request is a struct of the caller's: zero-fill it, fill the fields
 *     marked [in], set `cb`, submit. It and all it points to stay untouched
 *     until the callback.
 *   - A non-zero return (a KV_ code; req->err says why) means no callback
 *     will come. Zero means exactly one callback, on a later turn of the
 *     loop, on the loop thread.
 *   - store_cancel is a wish: the callback still comes, with KV_CANCELED, or
 *     with the real result when that was faster. A write that was under way
 *     when canceled ends with KV_UNKNOWN_OUTCOME, unless surely not sent.
 *   - store_close fails what is outstanding with KV_CANCELED (writes that may
 *     have been sent: KV_UNKNOWN_OUTCOME), then calls back, then frees.
 *   - In the callback the request is the caller's again: it may be freed,
 *     reused, or submitted anew.
 *
 * Keys are bytes, relative to the store's prefix, and begin with '/'. The key
 * that stands exactly at the prefix is not in the tree. A directory is named
 * like a key, `/a` or `/a/`; "" and "/" name the whole tree; directories are
 * cut at segments: `/a` holds `/a/b`, never `/ab`.
 *
 * An index is a position in the whole store's history: of two the larger is
 * later. Nothing else may be read into it.
 *
 * Attrs are what a backend keeps beside a value (Consul: Flags; ZooKeeper: a
 * null in place of data, the ACL): opaque bytes, canonical (what is equal in
 * the store is equal in its bytes), empty for the backend's defaults. Only a
 * store of the same backend understands them. A store opened without
 * STORE_ATTRS tells none and writes the defaults; with it every value that is
 * told has its attrs beside it, and a put sets both: a pair read from one store
 * and put into another of the same backend is carried whole.
 */
#ifndef KV_STORE_H
#define KV_STORE_H

#include "store/base/sched.h"
#include "store/base/slice.h"
#include "store/base/status.h"
#include "store/uri.h"

struct store;
struct store_watch;
struct store_ops;

/* libkv/lainlet's actions, with their values. */
enum store_action {
	STORE_ERROR = -1,
	STORE_GET = 0,	  /* `watch` only: the value found at the start */
	STORE_SET = 1,	  /* put; the key may or may not have existed */
	STORE_UPDATE = 2, /* put on a key that existed before */
	STORE_DELETE = 3,
	STORE_INIT = 4 /* first and once: the index a watch goes on from */
};

/* "error", "get", "set", "update", "delete", "init". */
const char *store_action_name(enum store_action action);

/* What a guard compares for one key. Compare with store_version_eq only. */
struct store_version {
	uint64_t a; /* etcd mod revision, Consul ModifyIndex, SQLite revision,
		       ZooKeeper data version + 1; 0 = none */
	uint64_t b; /* ZooKeeper czxid, else 0 */
};

static inline bool store_version_eq(struct store_version x,
				    struct store_version y)
{
	return x.a == y.a && x.b == y.b;
}

/* A key with its value. `index` is the position of its last change. */
struct store_pair {
	struct slice key;
	struct slice value; /* empty when only names were asked for */
	struct slice attrs; /* so too; and without STORE_ATTRS */
	uint64_t index;
	struct store_version version;
	/* The key is there, and the store does not let it be read, nor what may
	 * be below it: value, attrs and version are empty, and nothing is known
	 * of the keys below it that are not told. */
	bool unreadable;
	bool gone; /* no such key any more: index is that of its delete (only
		      with store_scan.with_gone) */
};

#define STORE_IDENTITY_MAX 64

/* Where an answer came from. A caller who must know that it still talks to the
 * same history compares `identity` with what it saved, `index` with the
 * greatest it saw, and the versions of keys it knows. `epoch` counts the
 * connections of this store object: while it has not changed, the same server
 * (or cluster) has been talked to without a break. */
struct store_origin {
	/* NUL-terminated; the backend's own. "": not known yet, as there is
	 * nothing there that could be told apart (a prefix that does not
	 * exist); it may become known, and is not unknown again while the
	 * history lasts. */
	char identity[STORE_IDENTITY_MAX];
	uint64_t index; /* the store's present index as of the answer */
	uint64_t epoch; /* >= 1 */
};

/* ---- capabilities --------------------------------------------------------*/

/* What a backend can do and how much; fixed while a store is open, except that
 * limits may sink, and max_ops grow, as the server turns out to allow. */
struct store_caps {
	bool atomic;	/* a write is all or nothing */
	bool resumable; /* changes after an old index are told by the server */
	bool told_deletes; /* deletes are events, not inferred from absence */
	bool ordered;	   /* several writes in flight keep their order, and
			      after a failure none behind it is done */
	bool has_times;	   /* pairs carry modification times (none does yet) */
	bool sorted_keys;  /* a scan costs no gather-and-sort */
	bool hierarchical; /* names are paths (ZooKeeper) */
	bool utf8_keys;	   /* names are text: other keys are invalid */
	uint32_t max_ops;  /* operations a write; one counts once with its
			      guard. 0 in this or the next three: no limit */
	size_t max_bytes;  /* sum of keys, values and attrs a write */
	size_t max_value;  /* bytes of one value */
	size_t max_key;	   /* bytes of one stored key (prefix included) */
	uint32_t write_timeout_ms; /* a write that was sent is done or dead at
				      the server after this time; 0 = at once */
	/* To resume from further back than so many indexes costs the server
	 * more than a scan (etcd's catch-up is quadratic); 0: never so. */
	uint64_t resume_max;
	uint32_t scan_page; /* keys a page that this backend likes best */
};

/* ---- opening
 * ---------------------------------------------------------------*/

/* Which backends there are. Filled by main (and by tests). */
struct store_registry {
	const struct store_ops **ops;
	size_t n;
	size_t cap;
};

/* Adds a backend under its schemes. KV_BAD_ARGUMENT: a scheme is taken. */
int store_register(struct store_registry *r, const struct store_ops *ops,
		   struct kv_err *err) KV_MUSTCHECK;
void store_registry_free(struct store_registry *r);

/* Flags of store_open. */
enum {
	STORE_CREATE = 1, /* an embedded store's file is made when missing */
	STORE_ATTRS = 2,  /* the caller carries attrs: see above. No effect on
			     a backend that has none */
};

/* Opens a store by its URI; does not wait for any server (an unreachable one
 * shows at the first call). Errors: KV_BACKEND_NOT_SUPPORTED (names those there
 * are), KV_BAD_ARGUMENT (URI or option), KV_KEY_NOT_FOUND (sqlite without
 * STORE_CREATE: no such file), KV_DENIED, KV_NO_MEMORY. */
int store_open(const struct store_registry *r, struct sched *s, const char *uri,
	       unsigned flags, struct store **out,
	       struct kv_err *err) KV_MUSTCHECK;

/* *flag: STORE_ATTRS when both URIs name one backend and that has attrs, else
 * 0: how the two ends of a mirror are opened. KV_BAD_ARGUMENT: a bad URI, or
 * one end would keep beside values what the other does not. KV_NO_MEMORY. */
int store_attrs_flag(const struct store_registry *r, const char *uri_a,
		     const char *uri_b, unsigned *flag,
		     struct kv_err *err) KV_MUSTCHECK;

/* Cancels what is outstanding, closes watches, then calls `closed` (may be
 * NULL) and frees the store. Call it once. */
void store_close(struct store *st, void (*closed)(void *ctx), void *ctx);

const struct store_caps *store_capabilities(const struct store *st);
const struct uri *store_uri(const struct store *st);
struct sched *store_sched(const struct store *st);
/* Was it opened with STORE_ATTRS, and has attrs? */
bool store_carries_attrs(const struct store *st);

/* Can this store carry a key of that name, a value of that size? KV_OK,
 * KV_INVALID_KEY or KV_TOO_LARGE with the reason in err. No I/O. */
int store_check(const struct store *st, struct slice key, size_t value_size,
		struct kv_err *err) KV_MUSTCHECK;
/* The same with attrs of that size beside the value. */
int store_check_attrs(const struct store *st, struct slice key,
		      size_t value_size, size_t attrs_size,
		      struct kv_err *err) KV_MUSTCHECK;

/* May the two stores name the same place: same kind of backend, a common
 * endpoint or file, and one prefix at or below the other? */
bool store_overlap(const struct store *a, const struct store *b);

/* Likewise, and with one and the same prefix. In doubt: no. */
bool store_same_tree(const struct store *a, const struct store *b);

/* ---- requests
 * --------------------------------------------------------------*/

/* The part of a request that belongs to store.c. First member of all. */
struct store_req {
	struct list link;	/* outstanding in its store */
	struct sched_task task; /* delivers the completion */
	struct store *store;
	struct store_watch *watch;
	void (*deliver)(struct store_req *req);
	void *impl; /* the backend's, NULL at submission */
	uint8_t kind;
	uint8_t state;
	bool canceled;
};

/* A page of pairs; belongs to whoever got it in a callback. Ascending bytewise
 * keys, none twice. */
struct store_page {
	struct arena arena; /* holds the pairs and their bytes */
	struct store_pair *pairs;
	size_t n;
	bool more; /* there may be keys after the last one */
	/* The state that the page shows is the one at `at`; origin.index may
	 * be larger. */
	uint64_t at;
	struct store_origin origin;
};

void store_page_free(struct store_page *page);

/* Read a page: the pairs below `dir` in ascending order after the key `after`;
 * or, with `keys`, those of the named keys that exist (sorted, distinct keys,
 * at most caps.max_ops of them), always in one page. */
struct store_scan;
typedef void (*store_scan_cb)(struct store_scan *req);
struct store_scan {
	struct store_req req;
	struct slice dir;	  /* [in] see above; ignored with keys */
	struct slice after;	  /* [in] empty: from the start */
	const struct slice *keys; /* [in] or NULL */
	size_t n_keys;
	uint32_t limit;	  /* [in] keys; 0: the backend's favourite */
	size_t max_bytes; /* [in] aim for the page's size; 0: 4 MiB. A page
			     holds at least one pair. */
	uint64_t at; /* [in] 0: the present state; else the state at that index,
			where the backend can (KV_HISTORY_LOST when gone; a
			backend that cannot shows the present one, see
			page->at) */
	bool names_only; /* [in] values stay empty */
	bool local;	 /* [in] an answer that may be stale will do */
	bool with_gone;	 /* [in] with keys: those that were deleted, too, where
			    the backend remembers */
	store_scan_cb cb;
	void *data;
	struct kv_err err; /* out */
	struct store_page
	    *page; /* out, the callback's to free; NULL on error */
};
int store_scan(struct store *st, struct store_scan *req) KV_MUSTCHECK;

/* libkv's get_tree, paged: `dir` itself when it is a key, then the pairs below
 * it. First page empty and nothing there: KV_KEY_NOT_FOUND when dir is not the
 * whole tree. */
int store_get_tree(struct store *st, struct store_scan *req) KV_MUSTCHECK;

/* libkv's list: names below dir, recursive, dir itself left out, paged. A plain
 * key without children: empty, no error; nothing there: KV_KEY_NOT_FOUND. */
int store_list(struct store *st, struct store_scan *req) KV_MUSTCHECK;

enum store_op_kind { STORE_OP_PUT, STORE_OP_DELETE };

enum store_guard {
	STORE_GUARD_NONE,
	STORE_GUARD_ABSENT, /* the key does not exist */
	STORE_GUARD_VERSION /* the key has exactly this version */
};

/* One operation of a write, with its result. */
struct store_op {
	enum store_op_kind kind;     /* [in] */
	enum store_guard guard;	     /* [in] */
	struct store_version expect; /* [in] for GUARD_VERSION */
	struct slice key;	     /* [in] */
	struct slice value;	     /* [in] put */
	struct slice attrs;	     /* [in] put; empty: the defaults, and
					without STORE_ATTRS no other */
	/* out: KV_OK: done. KV_KEY_EXISTS (guard absent), KV_KEY_MODIFIED
	 * (guard version, other version or, for a put, gone),
	 * KV_KEY_NOT_FOUND (delete of a missing key, guarded or not),
	 * KV_TOO_LARGE, KV_INVALID_KEY, KV_DENIED: this op was not done.
	 * KV_CANCELED: not done because another one of the write failed.
	 * KV_UNKNOWN_OUTCOME: nobody knows. */
	int status;
	struct store_version version; /* out, after a put that was done */
	uint64_t index; /* out, after an op that was done: its index */
};

/* A batch of operations on distinct keys. The request's err.status:
 *   KV_OK            every op was done, or (a delete without guard) its key
 *                    was missing, see the op
 *   KV_KEY_MODIFIED, KV_KEY_EXISTS, KV_KEY_NOT_FOUND, KV_TOO_LARGE,
 *   KV_INVALID_KEY   some op failed, see the ops. caps.atomic: nothing was
 *                    done; else ops with status KV_OK were done
 *   KV_NOT_REACHABLE, KV_CANCELED, KV_DENIED, KV_NO_SPACE, KV_TIMED_OUT, ...
 *                    surely nothing was done (atomic) / see the ops
 *   KV_CANNOT_LOCK   the hold that lock_key and lock_token name is over;
 *                    nothing was done
 *   KV_UNKNOWN_OUTCOME  sent, and no answer: see the ops
 * More ops or bytes than caps allow: KV_TOO_LARGE at submission. The same key
 * twice: KV_BAD_ARGUMENT at submission. */
struct store_write;
typedef void (*store_write_cb)(struct store_write *req);
struct store_write {
	struct store_req req;
	struct store_op *ops; /* [in], results out */
	size_t n_ops;
	/* [in] 0, or the origin.epoch for which the guards were made: when the
	 * connection was lost since, the call fails with KV_NOT_REACHABLE and
	 * nothing is sent, so that the caller can look who is there now. */
	uint64_t epoch;
	/* [in] n == 0, or a lock (of any store object) and the token of the
	 * hold: unless that hold stands, nothing is done: KV_CANNOT_LOCK. It
	 * counts as one of caps.max_ops. */
	struct slice lock_key;
	uint64_t lock_token;
	store_write_cb cb;
	void *data;
	struct kv_err err;	    /* out */
	struct store_origin origin; /* out, when a server answered */
};
int store_write(struct store *st, struct store_write *req) KV_MUSTCHECK;

/* One-key calls. `pair` (out) is valid in the callback and until the request is
 * submitted again or store_single_free is called. */
struct store_single;
typedef void (*store_single_cb)(struct store_single *req);
struct store_single {
	struct store_req req;
	struct slice key;   /* [in] */
	struct slice value; /* [in] put */
	struct slice attrs; /* [in] put; see store_op */
	/* [in] atomic calls: the pair as last read, or NULL */
	const struct store_pair *previous;
	bool recursive; /* [in] delete: the key and all below it */
	store_single_cb cb;
	void *data;
	struct kv_err err;	/* out */
	bool found;		/* out: exists */
	struct store_pair pair; /* out: get, put, atomic_put (value: none) */
	uint64_t deleted;	/* out: delete: how many keys went */
	struct store_origin origin; /* out */
	struct store_page *page;    /* private: owns pair's bytes */
	struct store_scan scan;	    /* private */
	struct store_write write;   /* private */
	struct store_op op;	    /* private */
};
/* KV_KEY_NOT_FOUND when missing; KV_DENIED when it may not be read. */
int store_get(struct store *st, struct store_single *req) KV_MUSTCHECK;
/* req->found; a missing key is no error. */
int store_exists(struct store *st, struct store_single *req) KV_MUSTCHECK;
/* Creates or overwrites, parents included. */
int store_put(struct store *st, struct store_single *req) KV_MUSTCHECK;
/* KV_KEY_NOT_FOUND when there is nothing to delete. A recursive delete of a
 * busy tree is not atomic. */
int store_delete(struct store *st, struct store_single *req) KV_MUSTCHECK;
/* previous NULL: create only, else KV_KEY_EXISTS. Another version, or gone:
 * KV_KEY_MODIFIED. */
int store_atomic_put(struct store *st, struct store_single *req) KV_MUSTCHECK;
/* previous NULL: KV_PREVIOUS_NOT_SPECIFIED; missing: KV_KEY_NOT_FOUND; another
 * version: KV_KEY_MODIFIED. */
int store_atomic_delete(struct store *st,
			struct store_single *req) KV_MUSTCHECK;
void store_single_free(struct store_single *req);

void store_cancel(struct store_req *req);

/* ---- watching
 * --------------------------------------------------------------*/

struct store_change {
	enum store_action action; /* GET, SET, UPDATE, DELETE */
	bool unreadable;	  /* a SET: as in a pair */
	bool inferred; /* a DELETE concluded from absence in a re-list */
	bool tx_end;   /* last change of its source transaction */
	struct slice key;
	struct slice value;
	struct slice attrs; /* empty after a delete and without STORE_ATTRS */
	uint64_t index;
	struct store_version version; /* of the key after the change; 0 after
					 a delete */
};

/* What one pull gives. Changes come in the order of their indexes; no change
 * twice; a key may stand in several. */
struct store_batch {
	struct arena arena;
	/* The first batch of every watch: no changes (of `store_watch_key`:
	 * the present pair as a GET), origin and index set. */
	bool init;
	struct store_change *changes; /* n == 0: a progress mark */
	size_t n;
	/* Everything up to and including `index` has been handed out, this
	 * batch included: the position to resume after. With `partial` the
	 * last transaction (or re-list) goes on in the next batch, and `index`
	 * still stands before it. */
	uint64_t index;
	bool partial;
	/* A re-list (backends without told deletes) says, in the batch before
	 * its first inferred delete, how many it found among how many known. */
	bool relisted;
	uint64_t inferred_deletes;
	uint64_t known_keys;
	struct store_origin origin;
};

void store_batch_free(struct store_batch *batch);

/* What the caller knows of the tree, for backends that re-list and compare
 * (not told_deletes): pages of (key, index) in ascending key order. Called on
 * the loop; exactly one `page` answer a call, later. The pairs' values and
 * versions stay empty. The receiver frees the page. */
struct store_known {
	/* Set before the watch is opened, and not changed while it is open:
	 * the pages name every key below the watch's directory that existed as
	 * of its `after`, none left out (a key that they name may be gone, or
	 * have come later). A backend may then resume by asking for those keys
	 * alone, and take every other one for new. False: nothing is promised.
	 */
	bool complete;
	void (*next)(struct store_known *known, struct slice after,
		     void (*page)(void *ctx, int status,
				  struct store_page *page),
		     void *ctx);
};

struct store_watch_params {
	struct slice dir; /* watch_tree: the directory; "" is the whole tree */
	struct slice key; /* watch: one key (dir is ignored); n == 0: no */
	/* Deliver what came after this index. 0 = from now. */
	uint64_t after;
	struct store_known *known; /* may be NULL; outlives the watch */
};

/* libkv's watch and watch_tree: makes a cursor; nothing is sent before the
 * first store_watch_next. The slices are copied. NULL: out of memory. */
struct store_watch *
store_watch_open(struct store *st,
		 const struct store_watch_params *p) KV_MUSTCHECK;

/* Pull: answers when there is a change or progress; the backend buffers a
 * bounded amount and no more while nobody asks. One request at a time a watch.
 * Errors end the watch (close it and open another one):
 *   KV_HISTORY_LOST   `after` is too old, or belongs to another history
 *   KV_NOT_REACHABLE  the connection was lost: look who is there (origin)
 *                     before going on from the last index
 *   KV_DENIED, KV_CANCELED, KV_NO_MEMORY, KV_BROKEN */
struct store_next;
typedef void (*store_next_cb)(struct store_next *req);
struct store_next {
	struct store_req req;
	/* [in] 0, or an index of this store: answer with a progress mark as
	 * soon as everything up to it has been handed out, even when that was
	 * nothing. (Without it a store where others write may stay silent.) */
	uint64_t want;
	store_next_cb cb;
	void *data;
	struct kv_err err;	   /* out */
	struct store_batch *batch; /* out, the callback's to free */
};
int store_watch_next(struct store_watch *w,
		     struct store_next *req) KV_MUSTCHECK;

/* Ends a watch: an outstanding next is called back with KV_CANCELED first; the
 * handle is invalid at once for the caller. */
void store_watch_close(struct store_watch *w);

/* ---- locks
 * ---------------------------------------------------------------------------*/

/* One holder a key at a time. A lock that is held is renewed by the store until
 * it is unlocked, the store is closed (which unlocks) or it is lost. It stands
 * as a key of that name (ZooKeeper: below it), which others must leave alone.
 *
 * Who holds a lock may have been paused for longer than it stands, and not know
 * it yet: writes that rely on it name it (store_write.lock_key, .lock_token),
 * and the server refuses them once it is another's. */
struct store_lock_req;
struct lock_wait;
typedef void (*store_lock_cb)(struct store_lock_req *req);
struct store_lock_req {
	struct store_req req;
	struct slice key;   /* [in] */
	struct slice value; /* [in] lock: what others see while it is held */
	/* [in] lock: it stands so long when nobody renews it; 0: 15 s. At least
	 * 1 s; what a backend cannot do is rounded up. */
	uint32_t ttl_ms;
	bool try_only; /* [in] lock: KV_CANNOT_LOCK instead of waiting */
	/* [in] lock, may be NULL: the lock that was got is gone, or nothing
	 * proves any more that it stands. Called once, from the loop, after
	 * `cb`; never after store_unlock or store_close was called. */
	void (*lost)(void *ctx, const struct kv_err *why);
	void *lost_ctx;
	store_lock_cb cb;
	void *data;
	struct kv_err err;
	/* lock: out; unlock: in. The fencing token: each hold of a key has a
	 * greater one than those before. */
	uint64_t token;
	struct lock_wait *wait;	 /* private */
	struct store_held *held; /* private */
};

/* Takes the lock, waits for it unless try_only; the wait ends by store_cancel.
 * KV_CANNOT_LOCK: another holds it (try_only), or this store does already;
 * KV_CALL_NOT_SUPPORTED where the backend has no locks; what a write may
 * answer. After KV_UNKNOWN_OUTCOME it may stand for ttl_ms. */
int store_lock(struct store *st, struct store_lock_req *req) KV_MUSTCHECK;

/* Gives it back. KV_KEY_NOT_FOUND: this store does not hold that key with that
 * token (any more). After another error it is renewed no more, and ends with
 * its time. */
int store_unlock(struct store *st, struct store_lock_req *req) KV_MUSTCHECK;

#endif /* KV_STORE_H */
