# shellcheck shell=bash
# Eight names stand at the top, and no other visible one (build folders, which
# git ignores, aside).
NAMES='agent store state conf deploy tests CMakeLists.txt README.md'

check() {
	local root=$1 name bad=0

	for name in "$root"/*; do
		name=${name##*/}
		case " $NAMES " in *" $name "*) continue ;; esac
		case $name in build | build-*) continue ;; esac
		printf '%s does not belong at the top\n' "$name"
		bad=1
	done
	for name in $NAMES; do
		[ -e "$root/$name" ] && continue
		printf '%s is missing at the top\n' "$name"
		bad=1
	done
	return "$bad"
}

good() {
	local name

	for name in $NAMES; do
		mkdir -p "$1/$name"
	done
	mkdir -p "$1/.ci" "$1/build-asan"
}
bad_extra() { mkdir "$1/src"; }
bad_file() { : >"$1/notes.txt"; }
bad_missing() { rmdir "$1/conf"; }
