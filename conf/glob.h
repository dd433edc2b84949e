/* glob.h: is a glob of include or exclude well formed? (What globs match is in
 * agent/filter.h; the grammar is drawn there.) */
#ifndef KV_CONF_GLOB_H
#define KV_CONF_GLOB_H

#include "store/base/slice.h"
#include "store/base/status.h"

/* One element of a glob. */
enum glob_kind {
	GLOB_END,
	GLOB_BYTE,  /* exactly `byte` */
	GLOB_ANY,   /* ?: one byte, not '/' */
	GLOB_SET,   /* [...]: one byte of a set, not '/' */
	GLOB_STAR,  /* *: any bytes but '/' */
	GLOB_STARS, /* **: any bytes */
	GLOB_BAD    /* `why` says what is wrong */
};

struct glob_token {
	enum glob_kind kind;
	uint8_t byte;
	const char *set; /* SET: behind the '[' */
	const char *why;
};

/* Reads the element at `p` and returns where the next one begins. */
const char *glob_token(const char *p, struct glob_token *out);

/* Is `byte` in the set that begins behind the '[' at `set`? */
bool glob_set_has(const char *set, uint8_t byte);

/* Is the glob well formed: sets closed, no trailing backslash, begins with
 * '/' or '*'? KV_BAD_ARGUMENT says what is wrong. */
int glob_check(const char *glob, struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_CONF_GLOB_H */
