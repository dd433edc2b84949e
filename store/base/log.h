/* log.h: one line an event on standard error: logfmt text, or JSON lines.
 *
 *   LOG_INFO("seed finished", LOG_S("route", name), LOG_U("keys", n));
 *   time=2026-01-02T03:04:05.678Z level=info msg="seed finished" route=a keys=3
 *
 * Callable from any thread (one write(2) a line).
 */
#ifndef KV_LOG_H
#define KV_LOG_H

#include "store/base/slice.h"

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR
};
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_field {
	const char *name;
	enum { LOG_STR, LOG_UINT, LOG_INT, LOG_SLICE } kind;
	union {
		const char *str;
		uint64_t u;
		int64_t i;
		struct slice slice;
	} v;
};

#define LOG_S(n, s) \
	((struct log_field){.name = (n), .kind = LOG_STR, .v.str = (s)})
#define LOG_U(n, x) \
	((struct log_field){.name = (n), .kind = LOG_UINT, .v.u = (x)})
#define LOG_I(n, x) \
	((struct log_field){.name = (n), .kind = LOG_INT, .v.i = (x)})
/* A key or value: bytes that do not print are percent-escaped. */
#define LOG_B(n, s) \
	((struct log_field){.name = (n), .kind = LOG_SLICE, .v.slice = (s)})

/* Defaults: INFO; text on a terminal, JSON elsewhere. */
void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
/* Lines go to `fn` instead of standard error (tests); NULL restores. */
void log_set_sink(void (*fn)(void *ctx, const char *line, size_t n), void *ctx);

void log_line(enum log_level level, const char *msg,
	      const struct log_field *fields, size_t n);

#define LOG_AT(level, msg, ...)                                                \
	log_line(level, msg,                                                   \
		 (struct log_field[]){{.name = NULL}, ##__VA_ARGS__},          \
		 sizeof((struct log_field[]){{.name = NULL}, ##__VA_ARGS__}) / \
		     sizeof(struct log_field))
#define LOG_DEBUG(msg, ...) LOG_AT(LOG_LEVEL_DEBUG, msg, ##__VA_ARGS__)
#define LOG_INFO(msg, ...) LOG_AT(LOG_LEVEL_INFO, msg, ##__VA_ARGS__)
#define LOG_WARN(msg, ...) LOG_AT(LOG_LEVEL_WARN, msg, ##__VA_ARGS__)
#define LOG_ERROR(msg, ...) LOG_AT(LOG_LEVEL_ERROR, msg, ##__VA_ARGS__)

#endif /* KV_LOG_H */
