/* options.c: rows, what was given, and the value that comes of both.
 *
 *   row.initial or name=value --> env:, file: --> text --> uint, bool, enum
 */
#include "store/base/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_MAX ((size_t)64 * 1024) /* a secret or a name, not data */

static const struct option_row *find_row(const struct option_row *rows,
					 const char *name)
{
	for (; rows != NULL && rows->name != NULL; rows++) {
		if (strcmp(rows->name, name) == 0) {
			return rows;
		}
	}
	return NULL;
}

static const char *find_given(const struct option_value *given, size_t n,
			      const char *name)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (strcmp(given[i].name, name) == 0) {
			return given[i].value;
		}
	}
	return NULL;
}

static bool is_reference(const char *value)
{
	return strncmp(value, "env:", 4) == 0 ||
	       strncmp(value, "file:", 5) == 0;
}

/* Reads up to FILE_MAX bytes; the number read, or -1 with errno. */
static ssize_t read_up_to(int fd, char *buf, size_t cap)
{
	size_t n = 0;
	ssize_t got;

	while (n < cap) {
		got = read(fd, buf + n, cap - n);
		if (got < 0 && errno == EINTR) {
			continue;
		}
		if (got < 0) {
			return -1;
		}
		if (got == 0) {
			break;
		}
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static int check_file(const char *name, const char *path, const char *text,
		      ssize_t n, struct kv_err *err)
{
	if (n < 0) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "option %s: cannot read %s: %s", name, path,
			       strerror(errno));
	}
	if ((size_t)n == FILE_MAX) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "option %s: %s is larger than %zu bytes; name a "
			       "file that holds only the value",
			       name, path, FILE_MAX - 1);
	}
	if (memchr(text, '\0', (size_t)n) != NULL) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "option %s: %s holds a NUL byte; name a text "
			       "file",
			       name, path);
	}
	return KV_OK;
}

static int read_file(const char *name, const char *path, char **out,
		     struct kv_err *err)
{
	char *text;
	ssize_t n;
	int fd, rv;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "option %s: cannot open %s: %s", name, path,
			       strerror(errno));
	}
	text = kv_malloc(FILE_MAX + 1);
	if (text == NULL) {
		rv = kv_fail(err, KV_NO_MEMORY, "option %s: out of memory",
			     name);
		goto out_fd;
	}
	n = read_up_to(fd, text, FILE_MAX);
	rv = check_file(name, path, text, n, err);
	if (rv != KV_OK) {
		kv_free(text);
		goto out_fd;
	}
	n -= n > 0 && text[n - 1] == '\n';
	text[n] = '\0';
	*out = text;
out_fd:
	(void)close(fd);
	return rv;
}

/* What a value stands for: itself, a variable, a file's text. */
static int resolve(const char *name, const char *value, char **out,
		   struct kv_err *err)
{
	if (strncmp(value, "file:", 5) == 0) {
		return read_file(name, value + 5, out, err);
	}
	if (strncmp(value, "env:", 4) == 0) {
		const char *text = getenv(value + 4);

		if (text == NULL) {
			return kv_fail(err, KV_BAD_ARGUMENT,
				       "option %s: the environment has no "
				       "variable %s; set it",
				       name, value + 4);
		}
		value = text;
	}
	*out = kv_strdup(value);
	if (*out == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "option %s: out of memory",
			       name);
	}
	return KV_OK;
}

int option_text(const struct option_row *rows, const struct option_value *given,
		size_t n, const char *name, char **out, struct kv_err *err)
{
	const struct option_row *row = find_row(rows, name);
	const char *value = find_given(given, n, name);

	PRE(row != NULL);
	*out = NULL;
	if (value != NULL) {
		return resolve(name, value, out, err);
	}
	if (row->initial == NULL) {
		return KV_OK;
	}
	*out = kv_strdup(row->initial);
	if (*out == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "option %s: out of memory",
			       name);
	}
	return KV_OK;
}

static bool parse_uint(const char *text, uint64_t *out)
{
	uint64_t x = 0;

	if (*text == '\0') {
		return false;
	}
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9' ||
		    __builtin_mul_overflow(x, (uint64_t)10, &x) ||
		    __builtin_add_overflow(x, (uint64_t)(*text - '0'), &x)) {
			return false;
		}
	}
	*out = x;
	return true;
}

static bool parse_bool(const char *text, bool *out)
{
	static const char *const yes[] = {"yes", "true", "1"};
	static const char *const no[] = {"no", "false", "0"};
	size_t i;

	for (i = 0; i < KV_COUNT(yes); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*out = strcmp(text, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

static bool is_choice(const char *choices, const char *text)
{
	size_t n = strlen(text);
	const char *p = choices;
	const char *end;

	while (p != NULL && n > 0) {
		end = strchrnul(p, '|');
		if ((size_t)(end - p) == n && memcmp(p, text, n) == 0) {
			return true;
		}
		p = *end == '\0' ? NULL : end + 1;
	}
	return false;
}

/* A secret is not repeated in a message. */
static int fail_type(const struct option_row *row, const char *value,
		     const char *expected, struct kv_err *err)
{
	return kv_fail(err, KV_BAD_ARGUMENT,
		       "option %s: '%.60s' is not valid, expected %s",
		       row->name, row->secret ? "(hidden)" : value, expected);
}

static int check_type(const struct option_row *row, const char *value,
		      struct kv_err *err)
{
	uint64_t u;
	bool b;

	switch (row->type) {
	case OPTION_STR:
		return KV_OK;
	case OPTION_UINT:
		return parse_uint(value, &u)
			   ? KV_OK
			   : fail_type(row, value, "a whole number", err);
	case OPTION_BOOL:
		return parse_bool(value, &b)
			   ? KV_OK
			   : fail_type(row, value, "yes or no", err);
	case OPTION_ENUM:
		return is_choice(row->choices, value)
			   ? KV_OK
			   : fail_type(row, value, row->choices, err);
	}
	return fail_type(row, value, "another type", err);
}

int option_uint(const struct option_row *rows, const struct option_value *given,
		size_t n, const char *name, uint64_t *out, struct kv_err *err)
{
	char *text;
	int rv = option_text(rows, given, n, name, &text, err);

	*out = 0;
	if (rv != KV_OK || text == NULL) {
		return rv;
	}
	if (!parse_uint(text, out)) {
		*out = 0;
		rv = fail_type(find_row(rows, name), text, "a whole number",
			       err);
	}
	kv_free(text);
	return rv;
}

int option_bool(const struct option_row *rows, const struct option_value *given,
		size_t n, const char *name, bool *out, struct kv_err *err)
{
	char *text;
	int rv = option_text(rows, given, n, name, &text, err);

	*out = false;
	if (rv != KV_OK || text == NULL) {
		return rv;
	}
	if (!parse_bool(text, out)) {
		rv = fail_type(find_row(rows, name), text, "yes or no", err);
	}
	kv_free(text);
	return rv;
}

static int fail_unknown(const struct option_row *rows, const char *name,
			struct kv_err *err)
{
	char list[320] = "";
	size_t n = 0;
	int got;

	for (; rows != NULL && rows->name != NULL; rows++) {
		got = snprintf(list + n, sizeof list - n, "%s%s",
			       n == 0 ? "" : ", ", rows->name);
		if (got < 0 || (size_t)got >= sizeof list - n) {
			break;
		}
		n += (size_t)got;
	}
	return kv_fail(
	    err, KV_BAD_ARGUMENT,
	    "option '%.60s' is not known here; there are: prefix%s%s", name,
	    n == 0 ? "" : ", ", list);
}

static int check_one(const struct option_row *rows,
		     const struct option_value *given, struct kv_err *err)
{
	const struct option_row *row = find_row(rows, given->name);
	char *text = NULL;
	int rv;

	if (row == NULL) {
		return fail_unknown(rows, given->name, err);
	}
	if (row->secret && !is_reference(given->value)) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "option %s: a secret must not stand in a URI; "
			       "write env:NAME or file:PATH",
			       row->name);
	}
	rv = resolve(row->name, given->value, &text, err);
	if (rv != KV_OK) {
		return rv;
	}
	PRE(text != NULL);
	rv = check_type(row, text, err);
	kv_free(text);
	return rv;
}

int options_check(const struct option_row *rows,
		  const struct option_value *given, size_t n,
		  struct kv_err *err)
{
	size_t i;
	int rv;

	for (i = 0; i < n; i++) {
		if (find_given(given, i, given[i].name) != NULL) {
			return kv_fail(err, KV_BAD_ARGUMENT,
				       "option %s is given twice",
				       given[i].name);
		}
		rv = check_one(rows, &given[i], err);
		if (rv != KV_OK) {
			return rv;
		}
	}
	return KV_OK;
}
