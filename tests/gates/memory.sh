# shellcheck shell=bash
# Memory comes from kv_malloc and its kin, so that a test can make any
# allocation fail; libc's own calls stand in store/base/mem.c alone. (What scandir
# or jansson made is libc's memory and goes back by free.)
MEMORY='(^|[^A-Za-z0-9_>.])(malloc|calloc|realloc|strdup|strndup|asprintf|vasprintf|getline|getdelim|posix_memalign|aligned_alloc|reallocarray) *\('

check() {
	local root=$1 file bad=0 n=0 hits

	while read -r file; do
		case $file in
		tests/* | store/base/mem.c) continue ;;
		esac
		n=$((n + 1))
		hits=$(without_comments "$root/$file" |
			sed 's/"[^"]*"//g' |
			grep -noE "$MEMORY") || continue
		printf '%s: %s\n' "$file" "$hits"
		bad=1
	done < <(sources "$root")
	[ "$n" -gt 0 ] || { echo "no file was looked at"; bad=1; }
	return "$bad"
}

good() {
	echo '/* malloc(x) */ void f(void) { kv_free(kv_malloc(1)); free(x); }' |
		put "$1/agent/a.c"
	echo 'void *g(void) { return malloc(1); }' | put "$1/store/base/mem.c"
}
bad_malloc() { echo 'void *g(void) { return malloc(1); }' >>"$1/agent/a.c"; }
bad_calloc() { echo 'void *g(void) { return calloc(1, 2); }' | put "$1/state/s.c"; }
bad_strdup() { echo 'char *g(void) { return strdup("x"); }' | put "$1/conf/c.c"; }
