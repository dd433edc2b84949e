/* out.h: results on standard output, as text and as JSON. Every write is
 * looked at: a full disk or a closed pipe is an error, not a short result.
 */
#ifndef KV_OUT_H
#define KV_OUT_H

#include <jansson.h>
#include <stdio.h>

#include "store/base/hash.h"
#include "store/base/slice.h"

struct out {
	FILE *f;
	int error; /* errno of the first failure (ENOMEM too); 0: none */
};

/* Standard output. */
void out_init(struct out *o);
/* Has everything gone well so far? Long results stop when it has not. */
bool out_ok(const struct out *o);
void out_text(struct out *o, const char *fmt, ...) KV_PRINTF(2, 3);
void out_bytes(struct out *o, struct slice bytes);
/* A key: bytes that do not print, and '%', as %XX; never cut. */
void out_key(struct out *o, struct slice key);
/* Hands on what is buffered, for results that somebody waits for. */
void out_flush(struct out *o);
/* The end of a command: flushes. The code; or CLI_FAILED, with a line on
 * standard error, when not everything could be written. */
int out_finish(struct out *o, int code) KV_MUSTCHECK;

/* ---- JSON ------------------------------------------------------------------
 * Lack of memory is noted in the out, so that building an object needs no
 * checks between: out_json then prints nothing. */

/* jansson's memory is ours, too. Call it once, at the start. */
void out_json_init(void);

json_t *out_json_object(struct out *o);
void out_json_uint(struct out *o, json_t *object, const char *name, uint64_t n);
void out_json_bool(struct out *o, json_t *object, const char *name, bool b);
/* NULL gives null. Bytes that are no UTF-8 stand as %XX. */
void out_json_text(struct out *o, json_t *object, const char *name,
		   const char *text);
void out_json_hash(struct out *o, json_t *object, const char *name,
		   const struct kv_hash *hash);
void out_json_base64(struct out *o, json_t *object, const char *name,
		     struct slice bytes);
/* "NAME": the key; or, when it is no UTF-8, "NAME_b64": its base64. */
void out_json_key(struct out *o, json_t *object, const char *name,
		  struct slice key);
/* A new member that is an empty array, or an object; borrowed. */
json_t *out_json_array(struct out *o, json_t *object, const char *name);
json_t *out_json_member(struct out *o, json_t *object, const char *name);
void out_json_append(struct out *o, json_t *array, json_t *value);
/* One line with the object; takes it. */
void out_json(struct out *o, json_t *object);

#endif /* KV_OUT_H */
