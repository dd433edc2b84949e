# shellcheck shell=bash
# clang-tidy with the checks of .clang-tidy has nothing to say of the program's
# files. What was clean before is not looked at again: the key of a file is what
# the preprocessor makes of it, and .clang-tidy.

# tidy_one ROOT FILE: by xargs, in a shell of its own.
tidy_one() {
	local root=$1 file=$2 flags key out

	cd "$root" || return 1
	flags=(-std=gnu11 -D_GNU_SOURCE '-DKVMIRROR_VERSION="0"' -I"$root"
		-isystem "$BUILD/generated/store/etcd")
	key=$( (clang -E -P "${flags[@]}" "$file" 2>&1
		cat "$ROOT/.clang-tidy" && clang-tidy --version) |
		sha256sum | cut -d' ' -f1)
	[ ! -e "$CACHE/$key" ] || return 0
	if out=$(clang-tidy --quiet --config-file="$ROOT/.clang-tidy" \
		"$file" -- "${flags[@]}" 2>&1); then
		: >"$CACHE/$key"
		return 0
	fi
	printf '%s\n' "$out" | grep -v '^Suppressed\|^Use -header\|warnings* gen'
	return 1
}

check() {
	local root=$1 n

	command -v clang-tidy >/dev/null && command -v clang >/dev/null || {
		echo "SKIP: gate tidy: no clang-tidy"
		return 77
	}
	CACHE=${BUILD:-$tmp}/tidy-cache
	mkdir -p "$CACHE"
	export -f tidy_one
	export ROOT CACHE BUILD
	n=$(sources "$root" | grep -v ^tests/ | grep -c '\.c$')
	[ "$n" -gt 0 ] || { echo "no file was looked at"; return 1; }
	sources "$root" | grep -v ^tests/ | grep '\.c$' | tr '\n' '\0' |
		xargs -0 -n 1 -P 2 bash -c 'tidy_one "$0" "$1"' "$root" ||
		return 1
}

good() {
	printf 'int f(int a);\nint f(int a)\n{\n\treturn a + 1;\n}\n' |
		put "$1/agent/a.c"
}
bad_null() {
	cat >>"$1/agent/a.c" <<'C'
int g(int *p);
int g(int *p)
{
	return p == (int *)0 ? *p : 1;
}
C
}
bad_leak() {
	cat >>"$1/agent/a.c" <<'C'
#include <stdlib.h>
int h(void);
int h(void)
{
	char *p = malloc(3);

	return p != NULL;
}
C
}
bad_header() {
	printf '#include "agent/a.h"\n' >>"$1/agent/a.c"
	put "$1/agent/a.h" <<'C'
#include <string.h>
static inline int k(const char *a, const char *b)
{
	return strcmp(a, b) ? 1 : 0 & memcmp(a, b, sizeof(a));
}
C
}
