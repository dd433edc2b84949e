/* suite.h: the conformance suite: what store.h promises, asked of every
 * backend with the same assertions.
 *
 *   conformance BACKEND GROUP
 *
 *   backends.c  the table of backends: how each is set up, and what can be
 *               done to it from outside (kill, wipe, forget history)
 *   world.c     one test's surroundings: loop, store; and every store call as
 *               one that waits for its callback and counts them
 *   test_*.c    the groups of assertions
 *
 * A test reads: submit, wait, look. All it submits lives in `struct call`s
 * that the world owns, so that a failed assertion (a longjmp out of the test)
 * leaves nothing dangling; when the world ends, every accepted call must have
 * been called back exactly once, every refused one never.
 */
#ifndef KV_SUITE_H
#define KV_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <uv.h>

#include "store/store_ops.h"

/* ---- backends ------------------------------------------------------------*/

enum { SUITE_URI_MAX = 2048 };

/* What can be done to a backend from outside. Slots may be NULL: then tests
 * that need them are skipped. `env` is what set_up made. */
struct backend {
	const char *name;
	const struct store_ops *ops;
	/* NULL: it can run here. Else why not: the suite is skipped, by name.
	 */
	const char *(*missing)(void);
	void *(*set_up)(void); /* once a group */
	void (*tear_down)(void *env);
	/* A URI for the tree at `prefix` ("" or "/a/b"). `fresh` counts the
	 * tests: stores of one test share their place. */
	void (*uri)(void *env, unsigned fresh, const char *prefix, char *buf,
		    size_t cap);
	/* A URI of this kind where nobody answers. */
	void (*uri_nobody)(void *env, char *buf, size_t cap);
	/* The history before now is gone (compaction, pruned log). May write.
	 */
	void (*forget)(void *env, unsigned fresh);
	/* Another history, empty, at the same place. */
	void (*wipe)(void *env, unsigned fresh);
	void (*kill)(void *env);
	void (*start)(void *env); /* after kill; and healthy again */
	void (*freeze)(void *env);
	void (*thaw)(void *env);
	bool scan_at;	    /* a scan can show the state at an old index */
	bool every_change;  /* not only the last one of each key */
	bool network;	    /* there is a server */
	bool equal_is_none; /* a put of what is there already writes nothing */
};

extern const struct backend *const suite_backends[];
extern const size_t suite_n_backends;

/* ---- the world of one test -----------------------------------------------*/

struct call;

struct world {
	const struct backend *be;
	void *env;
	unsigned serial; /* of the test */
	char prefix[64]; /* of `st` */
	uv_loop_t loop;
	uv_timer_t timer; /* bounds every wait */
	bool expired;
	struct sched *sched;
	struct store_registry registry;
	struct store *st;	   /* the store under test */
	struct list calls;	   /* all of this test */
	struct list watches;	   /* struct tail */
	struct list stores;	   /* struct opened */
	struct arena arena;	   /* inputs of calls */
	struct known_event *known; /* see known.c */
	size_t n_known, known_cap;
};

/* One submission. Made anew for each; freed with the world. */
struct call {
	struct list link;
	struct world *w;
	struct store *st;
	union {
		struct store_req req; /* the first member of them all */
		struct store_scan scan;
		struct store_write write;
		struct store_single single;
		struct store_next next;
		struct store_lock_req lock;
	} u;
	enum { CALL_SCAN, CALL_WRITE, CALL_SINGLE, CALL_NEXT, CALL_LOCK } kind;
	enum { VERB_OTHER, VERB_PUT, VERB_DELETE } verb; /* of a single */
	bool inside;	  /* the submission has not returned yet */
	bool early;	  /* called back from inside it: forbidden */
	int rv;		  /* of the submission */
	int status;	  /* rv, or the callback's err.status */
	unsigned called;  /* callbacks since */
	unsigned expects; /* callbacks that must come: 1, or more when a test
			     submits again */
	const struct kv_err *err;
	unsigned lost;		/* a lock: how often it was said to be lost */
	struct store_op ops[2]; /* for a test's use */
	/* May be NULL: runs in the callback. */
	void (*hook)(struct call *c);
	void *hook_ctx;
};

int world_set_up(void **state);
int world_tear_down(void **state);
/* Sets up and tears down what a group shares. */
int world_group_set_up(void **state);
int world_group_tear_down(void **state);
/* Which backend the groups are for; before any of the above. */
void world_use(const struct backend *be);

/* Another store: at `prefix`; or at any URI (the status in *status, NULL out,
 * when it cannot be opened). Closed with the world if not before. */
struct store *world_open(struct world *w, const char *prefix);
struct store *world_open_uri(struct world *w, const char *uri, unsigned flags,
			     struct kv_err *err);
/* Closes and waits until it is closed. */
void world_close(struct world *w, struct store *st);
/* Closes; *closed counts the callbacks. */
void world_close_begin(struct world *w, struct store *st, unsigned *closed);

/* Runs the loop until *flag, at most `ms`. False: time is up. */
bool world_run_until(struct world *w, const unsigned *flag, unsigned ms);
/* Some turns of the loop, without waiting. */
void world_turns(struct world *w, unsigned n);
/* Waits for a call; fails the test when its callback does not come. */
void call_wait(struct call *c);
/* The same with a bound of the test's own: false when it did not come. */
bool call_wait_ms(struct call *c, unsigned ms);

/* ---- calls ---------------------------------------------------------------*/

/* Keys and values. B: of a literal that may hold NULs. S: of a string. */
#define B(lit) slice_of((lit), sizeof(lit) - 1)
#define S(str) slice_str(str)
#define NOTHING slice_of(NULL, 0)

/* Bytes that live as long as the world: a copy; `n` times c; printf. */
struct slice world_copy(struct world *w, struct slice s);
struct slice world_fill(struct world *w, size_t n, int c);
struct slice world_key(struct world *w, const char *fmt, ...) KV_PRINTF(2, 3);

/* A new call of a kind, not submitted: fill u, then call_submit with the
 * function's return value:
 *   call_begin(c); call_submitted(c, store_get(st, &c->u.single)); */
struct call *call_new(struct world *w, struct store *st, int kind);
void call_begin(struct call *c);
void call_submitted(struct call *c, int rv);

/* Submitted, not waited for. */
struct call *start_get(struct world *w, struct store *st, struct slice key);
struct call *start_put(struct world *w, struct store *st, struct slice key,
		       struct slice value);
struct call *start_delete(struct world *w, struct store *st, struct slice key,
			  bool recursive);
struct call *start_exists(struct world *w, struct store *st, struct slice key);
struct call *start_atomic_put(struct world *w, struct store *st,
			      struct slice key, struct slice value,
			      const struct store_pair *previous);
struct call *start_atomic_delete(struct world *w, struct store *st,
				 struct slice key,
				 const struct store_pair *previous);
typedef int (*scan_fn)(struct store *st, struct store_scan *req);
struct call *start_scan(struct world *w, struct store *st, scan_fn fn,
			struct slice dir, struct slice after, uint32_t limit);
struct call *start_write(struct world *w, struct store *st,
			 struct store_op *ops, size_t n);
struct call *start_next(struct world *w, struct store_watch *watch,
			uint64_t want);
struct call *start_lock(struct world *w, struct store *st, struct slice key,
			bool try_only);
/* Gives back what `held` got. */
struct call *start_unlock(struct world *w, struct store *st,
			  const struct call *held);

/* Submitted and waited for; look at ->status and ->u. */
struct call *do_get(struct world *w, struct store *st, struct slice key);
struct call *do_put(struct world *w, struct store *st, struct slice key,
		    struct slice value);
struct call *do_delete(struct world *w, struct store *st, struct slice key,
		       bool recursive);
struct call *do_exists(struct world *w, struct store *st, struct slice key);
struct call *do_atomic_put(struct world *w, struct store *st, struct slice key,
			   struct slice value,
			   const struct store_pair *previous);
struct call *do_atomic_delete(struct world *w, struct store *st,
			      struct slice key,
			      const struct store_pair *previous);
struct call *do_scan(struct world *w, struct store *st, scan_fn fn,
		     struct slice dir, struct slice after, uint32_t limit);
struct call *do_write(struct world *w, struct store *st, struct store_op *ops,
		      size_t n);

/* An array of n operations that lives as long as the world. */
struct store_op *world_ops(struct world *w, size_t n);
struct store_op op_put(struct slice key, struct slice value);
struct store_op op_delete(struct slice key);
struct store_op op_absent(struct store_op op);
struct store_op op_version(struct store_op op, struct store_version v);

/* Puts that must succeed; the index of the change. */
uint64_t put_ok(struct world *w, const char *key, const char *value);
uint64_t delete_ok(struct world *w, const char *key);
/* The pair as it stands now: the key must exist. Lives as long as the world. */
struct store_pair pair_of(struct world *w, struct slice key);
/* The store's present index. */
uint64_t index_now(struct world *w);

/* ---- watching ------------------------------------------------------------*/

/* A watch, and all that it has told. Bytes are copied. */
struct tail {
	struct list link;
	struct world *w;
	struct store_watch *watch; /* NULL: closed */
	struct store_change *changes;
	size_t n;
	size_t cap;
	struct store *st;
	bool identified; /* its origin was known */
	uint64_t index;	 /* of the last batch */
	bool seen_init;	 /* the first batch came */
	uint64_t init;	 /* its index */
	unsigned ends;	 /* transactions that ended */
	bool inferred;	 /* some delete was inferred */
	uint64_t epoch;	 /* of the last batch */
	uint64_t after;	 /* as opened */
	size_t from;	 /* first change of the last batch */
	bool one_key;	 /* of tail_open_key */
};

struct tail *tail_open(struct world *w, struct store *st, struct slice dir,
		       uint64_t after);
struct tail *tail_open_key(struct world *w, struct store *st, struct slice key,
			   uint64_t after);
/* One pull; its status. What it brought is checked against the rules that hold
 * for any batch, and added. */
int tail_pull(struct tail *t, uint64_t want);
/* The same for a call that was started by start_next and has come back. */
int tail_take(struct tail *t, struct call *c);
/* Pulls until everything up to `index` was told; fails the test on an error. */
void tail_until(struct tail *t, uint64_t index);
/* Pulls until `n` changes in all were told. */
void tail_count(struct tail *t, size_t n);
/* The first batch; fails the test when there is none. */
void tail_init(struct tail *t);
void tail_close(struct tail *t);
/* The last change of this key, or NULL. */
const struct store_change *tail_last(const struct tail *t, struct slice key);
size_t tail_count_key(const struct tail *t, struct slice key);

/* A write was answered: what is known of the tree from here on. */
void known_note(struct call *c);
void known_free(struct world *w);
/* Was the key ever written by this test? */
bool known_ever(const struct world *w, const struct store *st,
		struct slice key);
/* The keys of the store as of `after`, for a watch; NULL where none is
 * needed. */
struct store_known *known_new(struct world *w, struct store *st,
			      uint64_t after);

/* ---- looking -------------------------------------------------------------*/

#define expect_status(c, want) expect_status_at((c), (want), __FILE__, __LINE__)
void expect_status_at(const struct call *c, int want, const char *file,
		      int line);
/* One of several. */
#define expect_one_of(c, ...)                                              \
	expect_one_of_at((c), (const int[]){__VA_ARGS__},                  \
			 KV_COUNT(((const int[]){__VA_ARGS__})), __FILE__, \
			 __LINE__)
void expect_one_of_at(const struct call *c, const int *want, size_t n,
		      const char *file, int line);
#define expect_code(got, want) expect_code_at((got), (want), __FILE__, __LINE__)
void expect_code_at(int got, int want, const char *file, int line);
#define expect_bytes(got, want) \
	expect_bytes_at((got), (want), __FILE__, __LINE__)
void expect_bytes_at(struct slice got, struct slice want, const char *file,
		     int line);
/* The key has this value / does not exist, read now. */
#define expect_stored(w, key, value) \
	expect_stored_at((w), (key), (value), __FILE__, __LINE__)
void expect_stored_at(struct world *w, struct slice key, struct slice value,
		      const char *file, int line);
#define expect_missing(w, key) expect_missing_at((w), (key), __FILE__, __LINE__)
void expect_missing_at(struct world *w, struct slice key, const char *file,
		       int line);
/* A page's keys, in order. */
#define expect_keys(page, ...)                                          \
	expect_keys_at((page), (const struct slice[]){__VA_ARGS__},     \
		       KV_COUNT(((const struct slice[]){__VA_ARGS__})), \
		       __FILE__, __LINE__)
void expect_keys_at(const struct store_page *page, const struct slice *keys,
		    size_t n, const char *file, int line);

/* A limit of caps, where 0 means none. */
size_t limit_of(size_t cap);

/* Skips the test, with a reason, unless `have`. */
void need(bool have, const char *what);

#define suite_test(f) \
	cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)

struct group {
	const char *name;
	int (*run)(void);
};

int group_open(void);
int group_single(void);
int group_keys(void);
int group_scan(void);
int group_write(void);
int group_watch(void);
int group_calls(void);
int group_server(void);
int group_lock(void);

#endif /* KV_SUITE_H */
