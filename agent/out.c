/* out.c: results as text on standard output. */
#include "agent/out.h"

#include <errno.h>
#include <stdarg.h>

#include "agent/cli.h"

void out_init(struct out *o)
{
	*o = (struct out){.f = stdout};
}

bool out_ok(const struct out *o)
{
	return o->error == 0;
}

static void note(struct out *o, bool failed)
{
	if (failed && o->error == 0) {
		o->error = errno == 0 ? EIO : errno;
	}
}

void out_text(struct out *o, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	errno = 0;
	note(o, vfprintf(o->f, fmt, args) < 0);
	va_end(args);
}

void out_bytes(struct out *o, struct slice bytes)
{
	errno = 0;
	note(o, bytes.n > 0 && fwrite(bytes.p, 1, bytes.n, o->f) != bytes.n);
}

void out_key(struct out *o, struct slice key)
{
	/* In pieces: three characters a byte, and room that nothing is cut. */
	char buf[3 * 256 + 8];
	size_t at;

	for (at = 0; at < key.n; at += 256) {
		struct slice piece =
		    slice_of(key.p + at, KV_MIN(key.n - at, 256));

		out_bytes(o, slice_str(slice_print(piece, buf, sizeof(buf))));
	}
}

void out_flush(struct out *o)
{
	errno = 0;
	note(o, fflush(o->f) != 0);
}

int out_finish(struct out *o, int code)
{
	out_flush(o);
	if (o->error == 0) {
		return code;
	}
	return cli_complain(CLI_FAILED,
			    "standard output: cannot write the result: %s",
			    strerror(o->error));
}
