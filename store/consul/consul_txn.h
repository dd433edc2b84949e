/* consul_txn.h: the bodies of /v1/txn: many operations out, results or errors
 * back. Pure, no I/O.
 *
 * `check-index` is the backend's probe: with the index that is believed, its
 * error tells whether the key is missing, has another index (which one), or may
 * not be read, and no value travels. */
#ifndef KV_CONSUL_TXN_H
#define KV_CONSUL_TXN_H

#include "store/base/status.h"
#include "store/consul/consul_buf.h"

/* An index that no key ever has. */
#define TXN_NO_INDEX ((uint64_t)1 << 62)

struct txn_op {
	const char *verb;
	struct slice key;
	bool has_value;
	struct slice value;
	uint64_t flags;
	uint64_t index; /* 0 is told, too, when the verb wants one */
	bool has_index;
	const char *session; /* NULL: none */
};

void txn_begin(struct consul_buf *b);
void txn_add(struct consul_buf *b, const struct txn_op *op);
void txn_end(struct consul_buf *b);

/* What an operation's error says. */
enum txn_trouble {
	TXN_MISSING, /* no such key, and the token may read it */
	TXN_OTHER,   /* another index; `index` tells it (0: it does not) */
	TXN_DENIED,
	TXN_STRANGE
};

struct txn_entry {
	struct slice key;
	struct slice value;
	uint64_t flags;
	uint64_t index; /* ModifyIndex */
};

struct txn_error {
	size_t op;
	enum txn_trouble trouble;
	uint64_t index;
	struct slice text;
};

/* An answer; all of it in the arena. */
struct txn_answer {
	struct txn_entry *entries;
	size_t n_entries;
	struct txn_error *errors;
	size_t n_errors;
};

/* KV_BROKEN: that is no answer of a transaction; KV_NO_MEMORY. */
int txn_parse(struct arena *a, struct slice body, struct txn_answer *out,
	      struct kv_err *err) KV_MUSTCHECK;

/* What the text of an error says; *index for TXN_OTHER. */
enum txn_trouble txn_trouble(struct slice text, uint64_t *index);

#endif /* KV_CONSUL_TXN_H */
