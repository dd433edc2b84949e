/* options.h: options as rows. A backend declares what it takes; the URI's
 * `?name=value&...` is checked against the rows, and `kvmirror backends` prints
 * them. A value may be `env:NAME` or `file:PATH` (one trailing newline of the
 * file is dropped), so that a secret never stands in a URI. */
#ifndef KV_OPTIONS_H
#define KV_OPTIONS_H

#include "store/base/slice.h"
#include "store/base/status.h"

enum option_type { OPTION_STR, OPTION_UINT, OPTION_BOOL, OPTION_ENUM };

struct option_row {
	const char *name; /* NULL ends the rows */
	enum option_type type;
	const char *initial; /* the default as text; NULL: unset */
	const char *choices; /* ENUM: "auto|general|fast" */
	bool secret;	     /* refused unless env: or file: */
	const char *help;
};

/* One name=value as it stood in the URI, percent-decoded. */
struct option_value {
	char *name;
	char *value;
};

/* The value of option `name`, as text: what was given, resolved (env:, file:),
 * or the row's default, or NULL. New string in *out (kv_free), or NULL.
 * KV_BAD_ARGUMENT names the option and what was expected. */
int option_text(const struct option_row *rows, const struct option_value *given,
		size_t n, const char *name, char **out,
		struct kv_err *err) KV_MUSTCHECK;
int option_uint(const struct option_row *rows, const struct option_value *given,
		size_t n, const char *name, uint64_t *out,
		struct kv_err *err) KV_MUSTCHECK;
/* yes|no|true|false|1|0 */
int option_bool(const struct option_row *rows, const struct option_value *given,
		size_t n, const char *name, bool *out,
		struct kv_err *err) KV_MUSTCHECK;

/* Every given option has a row and a value of its type, and none is given
 * twice; a secret stands as env: or file:. The error names the option and
 * lists what there is. */
int options_check(const struct option_row *rows,
		  const struct option_value *given, size_t n,
		  struct kv_err *err) KV_MUSTCHECK;

#endif /* KV_OPTIONS_H */
