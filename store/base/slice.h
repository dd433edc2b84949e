/* slice.h: a borrowed run of bytes. Keys and values are bytes everywhere: no
 * NUL ends them and no encoding is assumed. An empty slice may have p NULL. */
#ifndef KV_SLICE_H
#define KV_SLICE_H

#include <string.h>

#include "store/base/mem.h"

struct slice {
	const uint8_t *p;
	size_t n;
};

static inline struct slice slice_of(const void *p, size_t n)
{
	struct slice s = {p, n};
	return s;
}

/* Of a NUL-terminated string; NULL gives the empty slice. */
static inline struct slice slice_str(const char *s)
{
	return slice_of(s, s == NULL ? 0 : strlen(s));
}

/* Bytewise order (unsigned bytes, a prefix before what it begins): <0, 0, >0.
 */
int slice_cmp(struct slice a, struct slice b);
bool slice_eq(struct slice a, struct slice b);
bool slice_starts(struct slice s, struct slice prefix);

/* Is `key` below directory `dir`, cut at a segment: dir, then '/', then
 * anything? Every key is below the empty dir. `/a/b` is not below `/a/bc`. */
bool slice_below(struct slice key, struct slice dir);

/* A copy in the arena; p is NULL only when memory is out (also for an empty
 * slice a non-NULL p comes back). */
struct slice slice_dup(struct arena *a, struct slice s) KV_MUSTCHECK;

/* For people: bytes that do not print, and `%`, as %XX; cut with "..." at cap.
 * Returns buf, NUL-terminated. */
char *slice_print(struct slice s, char *buf, size_t cap);
#define SLICE_PRINT_MAX 256

/* Length of the UTF-8 character at the start of s (1 to 4); 0: there is none.
 */
size_t slice_utf8_char(struct slice s);

/* Is it UTF-8 (shortest forms, no surrogates)? */
bool slice_is_utf8(struct slice s);

#endif /* KV_SLICE_H */
