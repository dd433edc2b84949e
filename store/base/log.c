/* log.c: one event, one line, one write.
 *
 *   msg, fields --> struct line (on the stack) --> sink or write(2)
 *
 * A line has a bounded size: a long string is cut, and fields that find no
 * room are left out and named by a last field truncated=true, so that a JSON
 * line is valid whatever the bytes are.
 */
#include "store/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 8192
#define TAIL_ROOM 32	  /* for truncated=true and the end of the line */
#define STRING_MAX 1024	  /* bytes taken from one string */
#define FORMAT_UNSET (-1) /* look whether it is a terminal */

typedef void (*log_sink)(void *ctx, const char *line, size_t n);

/* The settings are the one mutable object here. */
static struct {
	_Atomic int level;
	_Atomic int format;
	_Atomic(log_sink) sink;
	void *_Atomic sink_ctx;
} log_state = {.level = LOG_LEVEL_INFO, .format = FORMAT_UNSET};

struct line {
	size_t n;
	size_t cap;
	bool full;
	bool json;
	char buf[LINE_MAX_BYTES];
};

void log_set_level(enum log_level level)
{
	atomic_store(&log_state.level, (int)level);
}

void log_set_format(enum log_format format)
{
	atomic_store(&log_state.format, (int)format);
}

void log_set_sink(void (*fn)(void *ctx, const char *line, size_t n), void *ctx)
{
	atomic_store(&log_state.sink_ctx, ctx);
	atomic_store(&log_state.sink, fn);
}

static bool wants_json(void)
{
	int format = atomic_load(&log_state.format);

	if (format == FORMAT_UNSET) {
		format = isatty(STDERR_FILENO) == 1 ? LOG_FORMAT_TEXT
						    : LOG_FORMAT_JSON;
		atomic_store(&log_state.format, format);
	}
	return format == LOG_FORMAT_JSON;
}

static void put(struct line *l, const char *s, size_t n)
{
	PRE(s != NULL);
	if (l->full || n > l->cap - l->n) {
		l->full = true;
		return;
	}
	memcpy(l->buf + l->n, s, n);
	l->n += n;
}

static void put_str(struct line *l, const char *s)
{
	put(l, s, strlen(s));
}

static void KV_PRINTF(2, 3) put_fmt(struct line *l, const char *fmt, ...)
{
	char text[64];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (n > 0) {
		put(l, text, KV_MIN((size_t)n, sizeof text - 1));
	}
}

/* A character that may go out as it is: UTF-8 without control characters
 * (U+0080 to U+009F steer some terminals). 0: it must be escaped. */
static size_t plain_char(struct slice s)
{
	size_t n = slice_utf8_char(s);

	if (n == 1 && (s.p[0] < 0x20 || s.p[0] == 0x7f)) {
		return 0;
	}
	if (n == 2 && s.p[0] == 0xc2 && s.p[1] < 0xa0) {
		return 0;
	}
	return n;
}

/* The one byte that was refused above. JSON has no way to write a byte that
 * is no text, so that stands as %XX there; a control character has \u00XX,
 * which a first byte of U+0080 to U+009F is not. */
static void put_escaped(struct line *l, uint8_t c)
{
	switch (c) {
	case '\n':
		put_str(l, "\\n");
		break;
	case '\t':
		put_str(l, "\\t");
		break;
	case '\r':
		put_str(l, "\\r");
		break;
	default:
		if (!l->json) {
			put_fmt(l, "\\x%02x", c);
		} else if (c < 0x80) {
			put_fmt(l, "\\u%04x", c);
		} else {
			put_fmt(l, "%%%02X", c);
		}
	}
}

static void put_quoted(struct line *l, struct slice s)
{
	bool cut = s.n > STRING_MAX;
	size_t n;

	s.n = KV_MIN(s.n, (size_t)STRING_MAX);
	put_str(l, "\"");
	while (s.n > 0) {
		n = plain_char(s);
		if (n == 0) {
			n = 1;
			put_escaped(l, s.p[0]);
		} else {
			if (s.p[0] == '"' || s.p[0] == '\\') {
				put_str(l, "\\");
			}
			put(l, (const char *)s.p, n);
		}
		s = slice_of(s.p + n, s.n - n);
	}
	put_str(l, cut ? "...\"" : "\"");
}

/* logfmt quotes only what would be read as something else. */
static bool is_bare(struct slice s)
{
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '"' ||
		    s.p[i] == '=' || s.p[i] == '\\') {
			return false;
		}
	}
	return IN(1, s.n, STRING_MAX);
}

static void put_value(struct line *l, struct slice s)
{
	if (!l->json && is_bare(s)) {
		put(l, (const char *)s.p, s.n);
	} else {
		put_quoted(l, s);
	}
}

static void put_name(struct line *l, const char *name)
{
	if (l->json) {
		put_str(l, l->n == 1 ? "" : ",");
		put_quoted(l, slice_str(name));
		put_str(l, ":");
	} else {
		put_str(l, l->n == 0 ? "" : " ");
		put_str(l, name);
		put_str(l, "=");
	}
}

static void put_field(struct line *l, const struct log_field *f)
{
	char text[SLICE_PRINT_MAX];

	put_name(l, f->name);
	switch (f->kind) {
	case LOG_STR:
		if (f->v.str == NULL) {
			put_str(l, l->json ? "null" : "-");
		} else {
			put_value(l, slice_str(f->v.str));
		}
		break;
	case LOG_UINT:
		put_fmt(l, "%" PRIu64, f->v.u);
		break;
	case LOG_INT:
		put_fmt(l, "%" PRId64, f->v.i);
		break;
	case LOG_SLICE:
		put_value(
		    l, slice_str(slice_print(f->v.slice, text, sizeof text)));
		break;
	}
}

static void put_time(struct line *l)
{
	struct timespec ts;
	struct tm tm;
	char text[40];

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	(void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	put_name(l, "time");
	put_fmt(l, l->json ? "\"%s.%03uZ\"" : "%s.%03uZ", text,
		(unsigned)(ts.tv_nsec / 1000000));
}

static void put_head(struct line *l, enum log_level level, const char *msg)
{
	static const char *const names[] = {"debug", "info", "warn", "error"};

	put_str(l, l->json ? "{" : "");
	put_time(l);
	put_name(l, "level");
	put_value(l, slice_str(names[level]));
	put_name(l, "msg");
	/* The message is quoted always: lines then align for the eye. */
	put_quoted(l, slice_str(msg));
}

/* A field that does not fit is taken back as a whole. */
static void put_fields(struct line *l, const struct log_field *fields, size_t n)
{
	size_t i, start;
	bool dropped = false;

	for (i = 0; i < n; i++) {
		if (fields[i].name == NULL) {
			continue;
		}
		start = l->n;
		put_field(l, &fields[i]);
		if (l->full) {
			l->n = start;
			l->full = false;
			dropped = true;
		}
	}
	l->cap = sizeof l->buf;
	if (dropped) {
		put_name(l, "truncated");
		put_str(l, "true");
	}
	put_str(l, l->json ? "}\n" : "\n");
	POST(!l->full);
}

/* Nobody is left to be told when standard error fails. */
static void write_all(const char *p, size_t n)
{
	ssize_t done;

	while (n > 0) {
		done = write(STDERR_FILENO, p, n);
		if (done < 0) {
			if (errno == EINTR) {
				continue;
			}
			return;
		}
		p += done;
		n -= (size_t)done;
	}
}

void log_line(enum log_level level, const char *msg,
	      const struct log_field *fields, size_t n)
{
	log_sink sink = atomic_load(&log_state.sink);
	struct line l;

	PRE(IN(LOG_LEVEL_DEBUG, (int)level, LOG_LEVEL_ERROR));
	if ((int)level < atomic_load(&log_state.level)) {
		return;
	}
	l.n = 0;
	l.cap = sizeof l.buf - TAIL_ROOM;
	l.full = false;
	l.json = wants_json();
	put_head(&l, level, msg);
	put_fields(&l, fields, n);
	if (sink != NULL) {
		sink(atomic_load(&log_state.sink_ctx), l.buf, l.n);
	} else {
		write_all(l.buf, l.n);
	}
}
