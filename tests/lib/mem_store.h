/* mem_store.h: a small backend in memory, for tests of the store core. Its
 * completions come when and how the test says. Scheme `mem:NAME`. */
#ifndef KV_TEST_MEM_STORE_H
#define KV_TEST_MEM_STORE_H

#include "store/store_ops.h"

enum mem_mode {
	MEM_INLINE, /* store_done from inside the op */
	MEM_HOLD    /* store_done when the test calls mem_release */
};

#define MEM_KEYS 256
#define MEM_BYTES 48
#define MEM_LOG 1024

struct mem_kv {
	uint8_t key[MEM_BYTES];
	uint8_t value[MEM_BYTES];
	uint8_t attrs[MEM_BYTES];
	size_t key_n, value_n, attrs_n;
	uint64_t version;
	bool gone; /* in the log: a delete */
};

/* st->impl. Tests read and set the fields at will. */
struct mem_impl {
	enum mem_mode mode;
	int refuse;	  /* the next op returns this */
	int fail;	  /* ... or is done with this */
	bool deaf;	  /* cancel does nothing, renew is not answered */
	bool lose_locks;  /* renew is answered with their loss */
	bool close_later; /* store_closed when the test calls it */
	bool close_called;
	unsigned scans, writes, nexts, cancels, unwatches, renews;
	uint32_t most_ops;	     /* of one write */
	struct store_scan last_scan; /* a copy, to look at the inputs */
	bool shuffle;		     /* scans answer in the wrong order */

	struct mem_kv kv[MEM_KEYS]; /* sorted */
	size_t n;
	struct mem_kv log[MEM_LOG];
	size_t n_log;
	uint64_t rev;
	struct store_req *held[32];
	size_t n_held;
	struct store_watch *waiting[8];
};

extern const struct store_ops mem_ops;
/* The same without locks, `same_place`, `check_key`. */
extern const struct store_ops mem_plain_ops;

struct mem_impl *mem_of(struct store *st);
/* Finishes everything held. */
void mem_release(struct store *st);
/* Writes past the store's interface. */
void mem_put(struct store *st, const char *key, const char *value);
void mem_put_attrs(struct store *st, const char *key, const char *value,
		   const char *attrs);
/* PRE: the key is there. */
void mem_delete(struct store *st, const char *key);
bool mem_has(struct store *st, const char *key);

#endif /* KV_TEST_MEM_STORE_H */
