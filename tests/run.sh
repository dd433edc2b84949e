#!/bin/bash
# run.sh [CTEST OPTION...]: everything that can be tested here, from a clean
# Debian 12 on: installs what is missing, builds, runs ctest, says what was
# skipped. The exit code is ctest's.
#
#   build-asan     Debug, AddressSanitizer and UndefinedBehaviorSanitizer: all
#                  tests run from here
#   build-release  what crash loops and benches use
#   build-tsan     ThreadSanitizer: the tests of whatever has a thread
#   build-clang    the other compiler takes it all, too
#
# BUILD_ROOT=DIR puts the four elsewhere than into the tree.
set -eu
set -o pipefail

ROOT=$(cd "$(dirname "$0")/.." && pwd)
BUILD_ROOT=${BUILD_ROOT:-$ROOT}
JOBS=$(nproc)
PACKAGES='build-essential cmake ninja-build pkg-config ccache clang clang-format
clang-tidy libclang-rt-14-dev libuv1-dev libsqlite3-dev libxxhash-dev libnghttp2-dev libssl-dev
libzookeeper-mt-dev libzookeeper-java libslf4j-java default-jre-headless
libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libjansson-dev
libcurl4-openssl-dev
libcyaml-dev libyaml-dev libcmocka-dev sqlite3 etcd-server etcd-client openssl jq procps iproute2
util-linux ca-certificates'
# The tests of whatever has a thread.
TSAN_TESTS='test_mailbox test_worker test_sched test_sqlite_*'

say() { printf '\n=== %s\n' "$*"; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo -n "$@"
	fi
}

missing_packages() {
	local p

	for p in $PACKAGES; do
		dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null |
			grep -q '^ii' || printf '%s ' "$p"
	done
}

install_packages() {
	local missing

	missing=$(missing_packages)
	[ -n "$missing" ] || return 0
	say "installing $missing"
	# Without its lists apt knows no package: they are fetched when needed.
	# shellcheck disable=SC2086
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends $missing >/dev/null 2>&1 || {
		as_root apt-get update -qq
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install \
			-y -qq --no-install-recommends $missing >/dev/null
	}
}

# A consul to test against. Without one its tests are skipped, and the end of
# the run says so.
fetch_consul() {
	local dir=$BUILD_ROOT/build-asan/consul-bin

	CONSUL_MISSING=
	[ -x "$dir/consul" ] || say "fetching consul"
	CONSUL_MISSING=$("$ROOT/tests/fixtures/get-consul.sh" "$dir" 2>&1) ||
		printf '%s\n' "$CONSUL_MISSING"
}

# configure DIR OPTION...
configure() {
	local dir=$1 launcher=

	shift
	command -v ccache >/dev/null && launcher=ccache
	cmake -S "$ROOT" -B "$dir" -G Ninja \
		-DCMAKE_C_COMPILER_LAUNCHER="$launcher" "$@" >"$dir.log" 2>&1 || {
		cat "$dir.log"
		exit 1
	}
}

# build DIR [TARGET...]: silent unless it fails.
build() {
	local dir=$1

	shift
	ninja -C "$dir" -j "$JOBS" "$@" >"$dir.log" 2>&1 || {
		tail -n 60 "$dir.log"
		printf 'build of %s failed\n' "$dir"
		exit 1
	}
}

# The names among TSAN_TESTS that there are.
tsan_targets() {
	local pattern file

	for pattern in $TSAN_TESTS; do
		for file in "$ROOT"/tests/unit/$pattern.c; do
			[ -e "$file" ] && basename "$file" .c
		done
	done
}

build_all() {
	say "building: release"
	configure "$BUILD_ROOT/build-release" -DCMAKE_BUILD_TYPE=Release \
		-DKVMIRROR_TESTS=ON
	build "$BUILD_ROOT/build-release" kvmirror sim duo

	say "building: clang"
	configure "$BUILD_ROOT/build-clang" -DCMAKE_BUILD_TYPE=Debug \
		-DCMAKE_C_COMPILER=clang -DKVMIRROR_TESTS=ON
	build "$BUILD_ROOT/build-clang"

	say "building: thread sanitizer"
	configure "$BUILD_ROOT/build-tsan" -DCMAKE_BUILD_TYPE=Debug \
		-DKVMIRROR_TESTS=ON -DKVMIRROR_SANITIZE=thread
	# shellcheck disable=SC2046
	build "$BUILD_ROOT/build-tsan" $(tsan_targets) test_zk_writing

	say "building: address and undefined behaviour sanitizers"
	configure "$BUILD_ROOT/build-asan" -DCMAKE_BUILD_TYPE=Debug \
		-DKVMIRROR_TESTS=ON -DKVMIRROR_SANITIZE=address,undefined \
		-DKVMIRROR_RELEASE_BINARY="$BUILD_ROOT/build-release/kvmirror" \
		-DKVMIRROR_RELEASE_SIM="$BUILD_ROOT/build-release/tests/simulation/sim" \
		-DKVMIRROR_TSAN_DIR="$BUILD_ROOT/build-tsan"
	build "$BUILD_ROOT/build-asan"
}

# What was skipped, by whom and why: whole tests (exit code 77), and single ones
# of a suite that a backend has no use for.
skipped() {
	awk '/^[0-9]+\/[0-9]+ Testing: / { test = $3; next }
		/^(# )?SKIP/ { why = $0; sub(/^(# )?SKIP:? */, "", why)
			print test ": " why; n++ }
		END { if (n == 0) print "nothing" }' "$1"
}

run_tests() {
	local dir=$BUILD_ROOT/build-asan code=0

	export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
	export UBSAN_OPTIONS=print_stacktrace=1
	export TSAN_OPTIONS=second_deadlock_stack=1:halt_on_error=1
	rm -rf "$dir/test-tmp"
	mkdir -p "$dir/test-tmp"
	say "testing"
	# Most tests wait for servers, not for a processor.
	(cd "$dir" && ctest -j $((2 * JOBS)) --output-on-failure --no-tests=error \
		"$@") 2>&1 | tee "$dir/ctest.log" | grep -v '^      *Start ' ||
		code=$?
	say "skipped"
	skipped "$dir/Testing/Temporary/LastTest.log"
	[ -z "$CONSUL_MISSING" ] ||
		printf 'EVERY CONSUL TEST: %s\n' "$CONSUL_MISSING"
	say "summary"
	sed -n '/tests passed,/,$p' "$dir/ctest.log"
	return "$code"
}

install_packages
fetch_consul
build_all
run_tests "$@"
