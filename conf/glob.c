/* glob.c: reads globs element by element.
 *
 *   "/a[!x-z]*" --glob_token--> BYTE '/', BYTE 'a', SET "!x-z]*", STAR, END
 */
#include "conf/glob.h"

/* One member of a set, which may be a backslash and a byte; *p moves behind
 * it. False at the end of the text. */
static bool set_byte(const char **p, uint8_t *out)
{
	const char *s = *p;

	if (*s == '\\') {
		s++;
	}
	if (*s == '\0') {
		return false;
	}
	*out = (uint8_t)*s;
	*p = s + 1;
	return true;
}

/* A member or a range of a set; *p moves behind it. */
static bool set_range(const char **p, uint8_t *low, uint8_t *high)
{
	if (!set_byte(p, low)) {
		return false;
	}
	*high = *low;
	if (**p == '-' && (*p)[1] != ']' && (*p)[1] != '\0') {
		*p += 1;
		return set_byte(p, high);
	}
	return true;
}

/* Where the set ends (behind its ']'); NULL with *why when it does not. */
static const char *set_end(const char *p, const char **why)
{
	bool first = true;
	uint8_t low, high;

	if (*p == '!') {
		p++;
	}
	while (*p != ']' || first) {
		first = false;
		if (!set_range(&p, &low, &high)) {
			*why = "a set '[' is not closed by ']'";
			return NULL;
		}
		if (low > high) {
			*why = "a range of a set runs backwards";
			return NULL;
		}
	}
	return p + 1;
}

bool glob_set_has(const char *set, uint8_t byte)
{
	bool negated = *set == '!';
	bool first = true, found = false;
	const char *p = set + (negated ? 1 : 0);
	uint8_t low, high;

	while (*p != ']' || first) {
		first = false;
		if (!set_range(&p, &low, &high)) {
			return false;
		}
		found = found || IN(low, byte, high);
	}
	return found != negated;
}

static const char *bad(struct glob_token *out, const char *p, const char *why)
{
	out->kind = GLOB_BAD;
	out->why = why;
	return p;
}

const char *glob_token(const char *p, struct glob_token *out)
{
	const char *end;

	*out = (struct glob_token){.kind = GLOB_BYTE, .byte = (uint8_t)*p};
	switch (*p) {
	case '\0':
		out->kind = GLOB_END;
		return p;
	case '?':
		out->kind = GLOB_ANY;
		return p + 1;
	case '*':
		out->kind = p[1] == '*' ? GLOB_STARS : GLOB_STAR;
		while (*p == '*') {
			p++;
		}
		return p;
	case '[':
		out->kind = GLOB_SET;
		out->set = p + 1;
		end = set_end(p + 1, &out->why);
		return end == NULL ? bad(out, p, out->why) : end;
	case '\\':
		if (p[1] == '\0') {
			return bad(out, p, "a backslash stands at the end");
		}
		out->byte = (uint8_t)p[1];
		return p + 2;
	default:
		return p + 1;
	}
}

int glob_check(const char *glob, struct kv_err *err)
{
	struct glob_token t;
	const char *p = glob;

	if (*glob != '/' && *glob != '*') {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "glob '%s': must begin with '/' or '*', as keys "
			       "begin with '/'",
			       glob);
	}
	do {
		p = glob_token(p, &t);
	} while (t.kind != GLOB_END && t.kind != GLOB_BAD);
	if (t.kind == GLOB_BAD) {
		return kv_fail(err, KV_BAD_ARGUMENT, "glob '%s': %s", glob,
			       t.why);
	}
	return KV_OK;
}
