/* status.c: the texts of the codes, and errors with a message. */
#include "store/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *kv_status_text(int status)
{
	switch (status) {
#define X(name, value, class, text) \
	case name:                  \
		return text;
		KV_STATUS_MAP(X)
#undef X
	default:
		return "unknown status";
	}
}

const char *kv_status_name(int status)
{
	switch (status) {
#define X(name, value, class, text) \
	case name:                  \
		return #name;
		KV_STATUS_MAP(X)
#undef X
	default:
		return "unknown status";
	}
}

enum kv_class kv_status_class(int status)
{
	switch (status) {
#define X(name, value, class, text) \
	case name:                  \
		return KV_CLASS_##class;
		KV_STATUS_MAP(X)
#undef X
	default:
		return KV_CLASS_FATAL;
	}
}

/* The text is made aside first: an argument may be err->text itself. */
int kv_fail(struct kv_err *err, int status, const char *fmt, ...)
{
	char text[KV_ERR_TEXT_MAX];
	va_list args;

	PRE(status != KV_OK);
	if (err == NULL) {
		return status;
	}
	va_start(args, fmt);
	if (vsnprintf(text, sizeof text, fmt, args) < 0) {
		text[0] = '\0';
	}
	va_end(args);
	err->status = status;
	memcpy(err->text, text, strlen(text) + 1);
	return status;
}

/* Appends to text[cap], cutting what does not fit. */
static void append(char *text, size_t cap, const char *more)
{
	size_t n = strlen(text);
	size_t take = KV_MIN(strlen(more), cap - 1 - n);

	memcpy(text + n, more, take);
	text[n + take] = '\0';
}

int kv_wrap(struct kv_err *err, const char *fmt, ...)
{
	char text[KV_ERR_TEXT_MAX];
	va_list args;

	PRE(err != NULL);
	va_start(args, fmt);
	if (vsnprintf(text, sizeof text, fmt, args) < 0) {
		text[0] = '\0';
	}
	va_end(args);
	append(text, sizeof text, ": ");
	append(text, sizeof text, err->text);
	memcpy(err->text, text, strlen(text) + 1);
	return err->status;
}

void kv_err_clear(struct kv_err *err)
{
	err->status = KV_OK;
	err->text[0] = '\0';
}

const char *kv_files_advice(int errnum)
{
	if (errnum == EMFILE) {
		return ": too many open files in this process; raise its limit "
		       "(ulimit -n, or LimitNOFILE= of its systemd unit)";
	}
	if (errnum == ENFILE) {
		return ": too many open files on this machine; raise its limit "
		       "(sysctl fs.file-max)";
	}
	return "";
}
