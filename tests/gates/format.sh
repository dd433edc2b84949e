# shellcheck shell=bash
# Every C file is as clang-format makes it.

check() {
	local root=$1 bad=0 files

	command -v clang-format >/dev/null || {
		echo "SKIP: gate format: no clang-format"
		return 77
	}
	mapfile -t files < <(sources "$root")
	[ "${#files[@]}" -gt 0 ] || { echo "no file was looked at"; return 1; }
	(cd "$root" && printf '%s\0' "${files[@]}" |
		xargs -0 -n 40 -P 2 clang-format --dry-run -Werror \
			--style=file) 2>&1 | grep -E 'error|warning' |
		sed 's/:[0-9]*:[0-9]*:.*//' | sort -u | sed 's/$/: run clang-format/'
	[ "${PIPESTATUS[0]}" = 0 ] || bad=1
	return "$bad"
}

good() {
	cp "$ROOT/.clang-format" "$tmp/"
	mkdir -p "$1"
	cp "$ROOT/.clang-format" "$1/"
	printf 'int f(int a)\n{\n\treturn a;\n}\n' | put "$1/agent/a.c"
}
bad_spaces() { printf 'int g(int a)\n{\n    return a;\n}\n' >>"$1/agent/a.c"; }
bad_header() { printf 'int  h ( void );\n' | put "$1/tests/unit/x.h"; }
