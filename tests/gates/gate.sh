#!/bin/bash
# gate.sh GATE ROOT [BUILD]: runs one gate over the tree at ROOT.
#
# A gate is a file beside this one that defines
#   check ROOT     prints what is wrong, one line a fault; 1 when there is any
#   good DIR       writes a small tree without fault: must be accepted
#   bad_NAME DIR   changes that tree so that it has one: must be rejected
# The planted trees come first: a gate that lets a fault pass is no gate, and
# nor is one that rejects everything.
set -u
set -o pipefail

gate=$1
ROOT=$(cd "$2" && pwd)
BUILD=${3:-}
# shellcheck disable=SC1090
. "$(dirname "$0")/$gate.sh"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/kvtest-gate-XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT

# put FILE < text: in the planted tree.
put() {
	mkdir -p "$(dirname "$1")"
	cat >"$1"
}

# The C files of a tree, relative to it.
sources() {
	(cd "$1" && {
		find agent store state conf tests -name '*.[ch]' 2>/dev/null
		: # a planted tree has not all of them
	} | sort)
}

# A file's text without its comments.
without_comments() {
	${CC:-cc} -fpreprocessed -dD -E -P -x c "$1" 2>/dev/null
}

expect() { # accepted|rejected, what
	local out code=0

	out=$(check "$tmp/tree" 2>&1) || code=$?
	case $1,$code in
	accepted,0 | rejected,1) return ;;
	skipped,* | *,77) printf '%s\n' "$out"; exit 77 ;;
	esac
	printf '%s\n' "$out"
	printf 'gate %s: %s should be %s, ended with %s\n' \
		"$gate" "$2" "$1" "$code"
	exit 1
}

good "$tmp/tree"
expect accepted "a tree without fault"
for bad in $(compgen -A function bad_); do
	rm -rf "$tmp/tree"
	good "$tmp/tree"
	"$bad" "$tmp/tree"
	expect rejected "$bad"
	printf 'gate %s rejects %s\n' "$gate" "$bad"
done

check "$ROOT"
code=$?
[ "$code" = 0 ] && printf 'gate %s: ok\n' "$gate"
exit "$code"
