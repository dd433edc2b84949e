/* slice.c: comparing, printing and copying runs of bytes. */
#include "store/base/slice.h"

int slice_cmp(struct slice a, struct slice b)
{
	size_t n = KV_MIN(a.n, b.n);
	int d = n == 0 ? 0 : memcmp(a.p, b.p, n);

	if (d != 0) {
		return d;
	}
	return (a.n > b.n) - (a.n < b.n);
}

bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool slice_starts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n &&
	       (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool slice_below(struct slice key, struct slice dir)
{
	if (dir.n == 0) {
		return true;
	}
	return key.n > dir.n && slice_starts(key, dir) && key.p[dir.n] == '/';
}

struct slice slice_dup(struct arena *a, struct slice s)
{
	return slice_of(arena_memdup(a, s.p, s.n), s.n);
}

static bool prints(uint8_t c)
{
	return IN(0x20, c, 0x7e) && c != '%';
}

/* Length of `s` when printed; with buf also writes it, while it stays within
 * `cap` bytes. */
static size_t print_into(struct slice s, char *buf, size_t cap)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t i, n = 0;

	for (i = 0; i < s.n; i++) {
		size_t want = prints(s.p[i]) ? 1 : 3;

		if (buf != NULL) {
			if (n + want > cap) {
				break;
			}
			buf[n] = want == 1 ? (char)s.p[i] : '%';
			if (want == 3) {
				buf[n + 1] = hex[s.p[i] >> 4];
				buf[n + 2] = hex[s.p[i] & 15];
			}
		}
		n += want;
	}
	return n;
}

char *slice_print(struct slice s, char *buf, size_t cap)
{
	size_t n;

	PRE(cap >= 4);
	if (s.n < cap && print_into(s, NULL, 0) < cap) {
		n = print_into(s, buf, cap - 1);
	} else {
		n = print_into(s, buf, cap - 4);
		memcpy(buf + n, "...", 3);
		n += 3;
	}
	buf[n] = '\0';
	return buf;
}

/* The second byte's range rules out long forms, surrogates and what lies
 * above U+10FFFF. */
size_t slice_utf8_char(struct slice s)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t n, i;
	uint8_t c;

	if (s.n == 0) {
		return 0;
	}
	c = s.p[0];
	if (c < 0x80) {
		return 1;
	}
	if (IN(0xc2, c, 0xdf)) {
		n = 2;
	} else if (IN(0xe0, c, 0xef)) {
		n = 3;
		low = c == 0xe0 ? 0xa0 : 0x80;
		high = c == 0xed ? 0x9f : 0xbf;
	} else if (IN(0xf0, c, 0xf4)) {
		n = 4;
		low = c == 0xf0 ? 0x90 : 0x80;
		high = c == 0xf4 ? 0x8f : 0xbf;
	} else {
		return 0;
	}
	if (s.n < n || !IN(low, s.p[1], high)) {
		return 0;
	}
	for (i = 2; i < n; i++) {
		if ((s.p[i] & 0xc0) != 0x80) {
			return 0;
		}
	}
	return n;
}

bool slice_is_utf8(struct slice s)
{
	size_t n;

	while (s.n > 0) {
		n = slice_utf8_char(s);
		if (n == 0) {
			return false;
		}
		s = slice_of(s.p + n, s.n - n);
	}
	return true;
}
