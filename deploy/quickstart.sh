#!/bin/bash
# quickstart.sh: from a fresh Debian 12 to a mirror that follows: installs what
# the build needs, builds, then mirrors a few hundred settings of this machine's
# /etc from one embedded store to another, changes some by hand and watches them
# arrive. Ends with a diff that says equal.
#
#   deploy/quickstart.sh             builds in ./build; a second run is quick
#   KEEP=1 deploy/quickstart.sh      leaves the stores there to play with
set -eu
set -o pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
BUILD=${BUILD:-$ROOT/build}
PACKAGES='gcc libc6-dev cmake ninja-build pkg-config libuv1-dev libsqlite3-dev
libxxhash-dev libnghttp2-dev libssl-dev
libzookeeper-mt-dev libprotobuf-c-dev protobuf-c-compiler
protobuf-compiler libjansson-dev libcurl4-openssl-dev libcyaml-dev
libyaml-dev sqlite3'
FOLLOWER=

say() { printf '\n\033[1m--- %s\033[0m\n' "$*"; }
show() {
	printf '$ %s\n' "$*"
	"$@"
}
die() {
	printf 'quickstart: %s\n' "$*" >&2
	exit 1
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "run it as root, or install sudo, to install packages: $*"
	fi
}

install_packages() {
	local p missing=()

	for p in $PACKAGES; do
		dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null |
			grep -q '^ii' || missing+=("$p")
	done
	[ "${#missing[@]}" -gt 0 ] || return 0
	say "installing ${missing[*]}"
	as_root apt-get update -qq
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends "${missing[@]}" >/dev/null
}

build() {
	local log

	say "building in $BUILD"
	mkdir -p "$BUILD"
	log=$BUILD/quickstart.log
	{
		cmake -S "$ROOT" -B "$BUILD" -G Ninja \
			-DCMAKE_BUILD_TYPE=Release &&
			cmake --build "$BUILD" --target kvmirror
	} >"$log" 2>&1 || {
		tail -n 30 "$log" >&2
		die "the build failed, see $log"
	}
	PATH=$BUILD:$PATH
	kvmirror version
}

cleanup() {
	[ -z "$FOLLOWER" ] || kill "$FOLLOWER" 2>/dev/null || true
	if [ -n "${KEEP:-}" ]; then
		printf 'kept: %s\n' "$D"
	else
		rm -rf "$D"
	fi
}

# Settings as "KEY<tab>VALUE": each line NAME=VALUE, NAME: VALUE or NAME VALUE of
# what everybody may read in /etc is the key /etc/FILE/NAME.
settings() {
	find /etc -type f -perm -o=r -size -64k -print 2>/dev/null | sort |
		grep -Ev '/(ssl|alternatives|ld\.so|ca-certificates)' |
		while read -r file; do
			grep -Iq . "$file" 2>/dev/null || continue
			awk -v file="$file" '
				/^[ \t]*(#|;|\/\/|$)/ { next }
				n == 40 { exit }
				match($0, /^[ \t]*[A-Za-z_][A-Za-z0-9_.-]*[ \t]*[=: \t]/) {
					name = substr($0, RSTART, RLENGTH)
					value = substr($0, RSTART + RLENGTH)
					gsub(/[=: \t]/, "", name)
					gsub(/^[ \t]+|[ \t\r]+$/, "", value)
					gsub(/\t/, " ", value)
					if (value != "") {
						n++
						print file "/" name "\t" value
					}
				}' "$file"
		done | awk 'NR <= 800'
}

# The embedded store is a file with one table that anybody may write.
fill() {
	kvmirror store put "$SOURCE" /quickstart/greeting "hello"
	settings | sed "s/'/''/g" | awk -F '\t' '
		BEGIN { print "BEGIN;" }
		{ printf "INSERT OR REPLACE INTO kv(key, value) " \
			"VALUES(\x27%s\x27, \x27%s\x27);\n", $1, $2 }
		END { print "COMMIT;" }' | sqlite3 "$D/source.db"
	printf '%s settings of this machine are in %s\n' \
		"$(sqlite3 "$D/source.db" 'SELECT count(*) FROM kv')" \
		"$D/source.db"
}

# arrives KEY VALUE: waits until the target has it ("": until it is gone).
arrives() {
	local tries=200 got start

	start=$(date +%s%N)
	while [ "$tries" -gt 0 ]; do
		got=$(sqlite3 "$D/target.db" \
			"SELECT value FROM kv WHERE key = '$1'")
		if [ "$got" = "$2" ]; then
			printf 'the target has %s = %s (after %d ms)\n' "$1" \
				"${2:-nothing: it is gone}" \
				$((($(date +%s%N) - start) / 1000000))
			return
		fi
		sleep 0.05
		tries=$((tries - 1))
	done
	cat "$D/follow.log" >&2
	die "$1 did not arrive within 10 s"
}

is_following() {
	kvmirror status --state "$D/state.db" | grep -q FOLLOWING
}

follow() {
	local tries=100

	kvmirror sync "$SOURCE" "$TARGET" --state "$D/state.db" --follow \
		>"$D/follow.log" 2>&1 &
	FOLLOWER=$!
	printf '$ kvmirror sync %s %s --follow &\n' "$SOURCE" "$TARGET"
	until is_following; do
		[ "$tries" -gt 0 ] || die "it does not follow: $(cat "$D/follow.log")"
		tries=$((tries - 1))
		sleep 0.1
	done
	show kvmirror store put "$SOURCE" /quickstart/greeting "hello, world"
	arrives /quickstart/greeting "hello, world"
	show sqlite3 "$D/source.db" "UPDATE kv SET value = 'by hand' \
WHERE key = '/quickstart/greeting'"
	arrives /quickstart/greeting "by hand"
	show sqlite3 "$D/source.db" "INSERT INTO kv(key, value) \
VALUES('/quickstart/new', 'one more')"
	arrives /quickstart/new "one more"
	show kvmirror store delete "$SOURCE" /quickstart/new
	arrives /quickstart/new ""
	show kvmirror status --state "$D/state.db"
	kill -TERM "$FOLLOWER"
	wait "$FOLLOWER" || die "the follower failed: $(cat "$D/follow.log")"
	FOLLOWER=
}

install_packages
build

D=$(mktemp -d "${TMPDIR:-/tmp}/kvmirror-quickstart-XXXXXX")
trap cleanup EXIT
SOURCE=sqlite:$D/source.db
TARGET=sqlite:$D/target.db

say "filling a source"
fill
say "mirroring it"
show kvmirror sync "$SOURCE" "$TARGET" --state "$D/state.db"
say "following its changes"
follow
say "comparing both"
show kvmirror diff "$SOURCE" "$TARGET" || die "the stores differ"
printf 'equal: %s keys here, %s keys there\n' \
	"$(sqlite3 "$D/source.db" 'SELECT count(*) FROM kv')" \
	"$(sqlite3 "$D/target.db" 'SELECT count(*) FROM kv')"
