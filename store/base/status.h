/* status.h: the one table of error codes, their texts and their classes, and
 * the error that travels with every failure.
 *
 * Codes 1 to 8 are libkv's errors. Foreign codes (errno, SQLite, gRPC, HTTP)
 * are translated at a backend's own edge and never travel further.
 */
#ifndef KV_STATUS_H
#define KV_STATUS_H

#include "store/base/base.h"

/* What a caller does about a code.
 *   OK      nothing went wrong
 *   RETRY   nothing was done; the same call may succeed later
 *   RESYNC  what is known of the store is no longer sure: read, then decide
 *   KEY     this key, not the store: the other keys go on
 *   FATAL   a person has to change something */
enum kv_class {
	KV_CLASS_OK,
	KV_CLASS_RETRY,
	KV_CLASS_RESYNC,
	KV_CLASS_KEY,
	KV_CLASS_FATAL
};

/* X(name, value, class, text) */
#define KV_STATUS_MAP(X)                                                 \
	X(KV_OK, 0, OK, "ok")                                            \
	X(KV_BACKEND_NOT_SUPPORTED, 1, FATAL, "backend not supported")   \
	X(KV_CALL_NOT_SUPPORTED, 2, FATAL, "call not supported")         \
	X(KV_NOT_REACHABLE, 3, RETRY, "not reachable")                   \
	X(KV_CANNOT_LOCK, 4, RETRY, "cannot lock")                       \
	X(KV_KEY_MODIFIED, 5, KEY, "key modified")                       \
	X(KV_KEY_NOT_FOUND, 6, KEY, "key not found")                     \
	X(KV_PREVIOUS_NOT_SPECIFIED, 7, FATAL, "previous not specified") \
	X(KV_KEY_EXISTS, 8, KEY, "key exists")                           \
	X(KV_HISTORY_LOST, 9, RESYNC, "history lost")                    \
	X(KV_TOO_LARGE, 10, KEY, "too large")                            \
	X(KV_INVALID_KEY, 11, KEY, "invalid key")                        \
	X(KV_DENIED, 12, FATAL, "denied")                                \
	X(KV_TIMED_OUT, 13, RETRY, "timed out")                          \
	X(KV_CANCELED, 14, RETRY, "canceled")                            \
	X(KV_NO_MEMORY, 15, RETRY, "out of memory")                      \
	X(KV_NO_SPACE, 16, RETRY, "no space at the server")              \
	X(KV_UNKNOWN_OUTCOME, 17, RESYNC, "unknown outcome")             \
	X(KV_BAD_ARGUMENT, 18, FATAL, "bad argument")                    \
	X(KV_BROKEN, 19, FATAL, "damaged or not understood")

enum kv_status {
#define X(name, value, class, text) name = value,
	KV_STATUS_MAP(X)
#undef X
};

/* The short text of a code ("key modified"); "unknown status" for others. */
const char *kv_status_text(int status);

/* The code's name as it stands above ("KV_KEY_MODIFIED"). */
const char *kv_status_name(int status);

/* The class of a code; FATAL for an unknown one. */
enum kv_class kv_status_class(int status);

#define KV_ERR_TEXT_MAX 512

/* An error: the code, and one line that says what, where and, where a person
 * can do something, what to do. Plain value, nothing to free. A zeroed one is
 * "no error". */
struct kv_err {
	int status; /* enum kv_status */
	char text[KV_ERR_TEXT_MAX];
};

/* Sets `err` (may be NULL) and returns `status`, so that a caller can write
 * `return kv_fail(err, KV_DENIED, "...")`. Text that is too long is cut. */
int kv_fail(struct kv_err *err, int status, const char *fmt, ...)
    KV_PRINTF(3, 4);

/* Puts "prefix: " before the text of an error that came from below; returns
 * its status. */
int kv_wrap(struct kv_err *err, const char *fmt, ...) KV_PRINTF(2, 3);

/* What to add to the text of a system error when files ran out; else "". */
const char *kv_files_advice(int errnum);

/* Forgets an error. */
void kv_err_clear(struct kv_err *err);

#endif /* KV_STATUS_H */
