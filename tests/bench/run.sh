#!/bin/bash
# run.sh [KVMIRROR] [PART...]: how fast kvmirror is, beside a peer that does the
# same on the same servers in the same minute. One table of ratios; the exit
# code is 1 when one misses its target. Without a program's path it builds
# build-bench in the tree (BUILD_ROOT=DIR: elsewhere); the client that measures
# comes from there in any case (KVBENCH=FILE: another one).
#
#   seed     first copy, etcd to etcd, beside one client's bare guarded
#            transactions: as many operations and compares, no source to read,
#            nothing remembered
#   mirror   the same beside etcdctl make-mirror
#   lag      one put at a time, from the source's answer to the event at the
#            target, beside make-mirror; both run, and are measured in turns
#   stream   puts as fast as they go: how far behind is the target, over time?
#   sqlite   first copy, file to file, beside bare guarded writes; memory
#   idle     processor time of an agent that has nothing to do
#   zkread   a ZooKeeper tree of ZK_KEYS znodes read both ways, beside a plain
#            client that keeps 256 requests in flight
#   zkmem    memory of a watch over that tree, both ways
#   zkseed   first copy, ZooKeeper to etcd, beside one client's bare guarded
#            transactions at that etcd
#   zkresume a start after 100 changes in that tree: time, requests
#   zklag    one put at a time, ZooKeeper to etcd
#
# etcd writes to a disk and syncs. What runs beside it is disturbed as much as
# its peer, so ratios mean something where absolute numbers do not. Of several
# rounds the median counts.
#
# The environment: ROUNDS (3), SEED_KEYS (100000), MIRROR_KEYS (5000),
# LAG_ROUNDS (5), LAG_PUTS (2000 a round), STREAM_SECONDS (10), SQLITE_KEYS
# (1000000), ZK_KEYS (100000).
# shellcheck disable=SC2034
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${BUILD_ROOT:-$ROOT}/build-bench
ROUNDS=${ROUNDS:-3}
SEED_KEYS=${SEED_KEYS:-100000}
MIRROR_KEYS=${MIRROR_KEYS:-5000}
LAG_ROUNDS=${LAG_ROUNDS:-5}
LAG_PUTS=${LAG_PUTS:-2000}
STREAM_SECONDS=${STREAM_SECONDS:-10}
SQLITE_KEYS=${SQLITE_KEYS:-1000000}
ZK_KEYS=${ZK_KEYS:-100000}
IDLE_SECONDS=20
PROGRAM=
if [ -x "${1:-}" ] && [ ! -d "${1:-}" ]; then
	PROGRAM=$(realpath "$1")
	shift
fi
PARTS=${*:-seed mirror lag stream sqlite idle zkread zkmem zkseed zkresume zklag}

build_bench() {
	cmake -S "$ROOT" -B "$BUILD" -G Ninja -DCMAKE_BUILD_TYPE=Release \
		-DKVMIRROR_TESTS=ON \
		-DCMAKE_C_COMPILER_LAUNCHER="$(command -v ccache)" &&
		ninja -C "$BUILD" kvmirror kvbench zkhand
}

if [ -z "$PROGRAM" ] || [ -z "${KVBENCH:-}" ]; then
	mkdir -p "$BUILD"
	build_bench >"$BUILD/bench.log" 2>&1 || {
		tail -n 40 "$BUILD/bench.log"
		exit 1
	}
fi
KVMIRROR=${PROGRAM:-$BUILD/kvmirror}
KVBENCH=${KVBENCH:-$BUILD/tests/bench/kvbench}
ZKHAND=${ZKHAND:-$(dirname "$KVBENCH")/../zkhand}

# shellcheck source=tests/fixtures/lib.sh
. "$ROOT/tests/fixtures/lib.sh"

# ---- numbers -----------------------------------------------------------------

# calc EXPRESSION: to three digits behind the point.
calc() { awk "BEGIN { printf \"%.3f\\n\", $1 }"; }
holds() { awk "BEGIN { exit !($1) }"; }

# field NAME TEXT: NAME's value in "a=1 b=2".
field() {
	local word

	for word in $2; do
		[ "${word%%=*}" != "$1" ] || printf '%s\n' "${word#*=}"
	done
}

# Of the numbers in a file.
median() { sort -g "$1" | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }'; }

# measure NAME FIELD COMMAND...: runs kvbench, notes the field's value in
# $T/NAME.n; the whole line is in $LINE.
measure() {
	local name=$1 what=$2

	shift 2
	LINE=$("$KVBENCH" "$@" 2>"$T/kvbench.log") ||
		fail "kvbench $*: $(tail -n 3 "$T/kvbench.log")"
	field "$what" "$LINE" >>"$T/$name.n"
	note "$name: $LINE"
}

# ---- the table ---------------------------------------------------------------

ROWS=()
MISSED=0

# row WHAT KVMIRROR PEER RATIO TARGET CONDITION: the condition is awk's; empty:
# nothing is demanded.
row() {
	local verdict=-

	if [ -n "$6" ]; then
		verdict=PASS
		holds "$6" || {
			verdict=FAIL
			MISSED=$((MISSED + 1))
		}
	fi
	ROWS+=("$(printf '%-44s %14s %14s %8s  %-9s %s' "$1" "$2" "$3" "$4" \
		"$5" "$verdict")")
	note "${ROWS[-1]}"
}

print_table() {
	local line

	printf '\n%-44s %14s %14s %8s  %-9s\n' what kvmirror peer ratio target
	printf '%s\n' "${ROWS[@]}"
	printf '(%s processors; load %s at the end; etcd %s)\n' "$(nproc)" \
		"$(cut -d' ' -f1 /proc/loadavg)" \
		"$(etcd --version | sed -n 's/^etcd Version: //p')"
}

# ---- etcd to etcd ------------------------------------------------------------

two_etcds() {
	case $(stat -f -c %T "$T") in
	tmpfs | ramfs) skip "$T is in memory: set TMPDIR to a disk" ;;
	esac
	etcd_start "$1-source" --fsync
	etcd_start "$1-target" --fsync
	SOURCE=$(etcd_uri "$1-source")
	TARGET=$(etcd_uri "$1-target")
}

stop_etcds() {
	etcd_stop "$1-source"
	etcd_stop "$1-target"
	rm -rf "$T/data-$1-source" "$T/data-$1-target"
}

# sync_once NAME SOURCE TARGET KEYS: a first copy, from start to end.
sync_once() {
	measure "$1" rate time --keys "$4" -- "$KVMIRROR" sync --quiet \
		"$2" "$3" --state "$T/state-${3##*/}"
}

part_seed() {
	local round i windows=(1 4 16 64) n best=0 ours rate peer=

	two_etcds seed
	measure fill rate fill "$SOURCE/k" --keys "$SEED_KEYS" --window 16
	for ((round = 0; round < ROUNDS; round++)); do
		# Each round begins elsewhere: a database grows.
		for ((i = 0; i <= ${#windows[@]}; i++)); do
			n=$(((i + round * 2) % (${#windows[@]} + 1)))
			if [ "$n" = "${#windows[@]}" ]; then
				sync_once seed "$SOURCE/k" \
					"$TARGET/seed$round" "$SEED_KEYS"
			else
				measure "bare${windows[n]}" rate bare \
					"$TARGET/bare$round-$n" \
					--keys "$SEED_KEYS" \
					--window "${windows[n]}"
			fi
		done
	done
	for n in "${windows[@]}"; do
		rate=$(median "$T/bare$n.n")
		! holds "$rate > $best" || { best=$rate; peer=$n; }
	done
	ours=$(median "$T/seed.n")
	row "seed etcd, keys/s (peer: bare, window $peer)" "$ours" "$best" \
		"$(calc "$ours / $best")" '>= 0.60' "$ours / $best >= 0.6"
	stop_etcds seed
}

part_mirror() {
	local round ours all theirs

	two_etcds mirror
	measure fill rate fill "$SOURCE/m" --keys "$MIRROR_KEYS" --window 16
	measure fill rate fill "$SOURCE/k" --keys "$SEED_KEYS" --window 16
	for ((round = 0; round < ROUNDS; round++)); do
		sync_once copy "$SOURCE/k" "$TARGET/copy$round" "$SEED_KEYS"
		sync_once small "$SOURCE/m" "$TARGET/small$round" "$MIRROR_KEYS"
		measure mirror rate arrive "$TARGET/mirror$round" \
			--keys "$MIRROR_KEYS" -- etcdctl \
			--endpoints "$(etcd_endpoints mirror-source)" \
			make-mirror --prefix=/m/ \
			--dest-prefix="/mirror$round/" \
			"$(etcd_endpoints mirror-target)"
	done
	all=$(median "$T/copy.n")
	ours=$(median "$T/small.n")
	theirs=$(median "$T/mirror.n")
	row "seed etcd, keys/s (peer: make-mirror)" "$all" "$theirs" \
		"$(calc "$all / $theirs")" '>= 20' "$all / $theirs >= 20"
	row "  the same $MIRROR_KEYS keys, start and end included" "$ours" \
		"$theirs" "$(calc "$ours / $theirs")" '' ''
	stop_etcds mirror
}

# Both mirrors, each of its own directory: /k and /m.
start_mirrors() {
	agent_start "$1-agent" sync "$SOURCE/k" "$TARGET/k" --follow \
		--state "$T/state-$1"
	proc_start "$1-mirror" etcdctl \
		--endpoints "$(etcd_endpoints "$1-source")" make-mirror \
		--prefix=/m "$(etcd_endpoints "$1-target")"
	for dir in k m; do
		await 30 follows "$1" "/$dir"
	done
}

# follows NAME DIR: what is put at the source is soon at the target.
follows() {
	local i

	ectl "$1-source" put "$2/0/follows" yes || return 1
	for i in 1 2 3 4 5; do
		ectl "$1-target" get "$2/0/follows" | grep -q yes && return
		sleep 0.1
	done
	return 1
}

stop_mirrors() {
	proc_stop "$1-agent" || fail "kvmirror ended with $?"
	proc_kill "$1-mirror"
	stop_etcds "$1"
}

# lag_row PERCENTILE TARGET CONDITION: of the rounds' ratios the median, as a
# busy moment hits both of one round. RATIO stands for it in the condition.
lag_row() {
	local ours theirs ratio

	ours=$(median "$T/lag-a_$1.n")
	theirs=$(median "$T/lag-b_$1.n")
	ratio=$(median "$T/lag-ratio_$1.n")
	row "lag of one put, us, $1 (peer: make-mirror)" "$ours" "$theirs" \
		"$ratio" "$2" "${3//RATIO/$ratio}"
}

part_lag() {
	local round p ours theirs

	two_etcds lag
	start_mirrors lag
	for ((round = 0; round < LAG_ROUNDS; round++)); do
		measure lag n lag "$SOURCE" "$TARGET" /k /m --keys "$LAG_PUTS"
		for p in p50 p99 max; do
			ours=$(field "a_$p" "$LINE")
			theirs=$(field "b_$p" "$LINE")
			echo "$ours" >>"$T/lag-a_$p.n"
			echo "$theirs" >>"$T/lag-b_$p.n"
			calc "$ours / $theirs" >>"$T/lag-ratio_$p.n"
		done
	done
	lag_row p50 '<= 1.15' 'RATIO <= 1.15'
	# Of two equal mirrors one is above the other in every second run: the
	# same margin.
	lag_row p99 '<= 1.15' 'RATIO <= 1.15'
	lag_row max '' ''
	stop_mirrors lag
}

# stream_row WHAT LINE_KVMIRROR LINE_PEER FIELD
stream_row() {
	row "$1" "$(field "$4" "$2")" "$(field "$4" "$3")" '' '' ''
}

part_stream() {
	local ours theirs

	two_etcds stream
	start_mirrors stream
	measure stream-k late_ms stream "$SOURCE/k" "$TARGET/k" /s \
		--window 64 --seconds "$STREAM_SECONDS"
	ours=$LINE
	measure stream-m late_ms stream "$SOURCE/m" "$TARGET/m" /s \
		--window 64 --seconds "$STREAM_SECONDS"
	theirs=$LINE
	row "stream: puts/s at the source" "$(field rate "$ours")" \
		"$(field rate "$theirs")" '' '' ''
	stream_row "  behind at most, revisions" "$ours" "$theirs" max_count
	stream_row "  behind at the end, revisions" "$ours" "$theirs" last_count
	stream_row "  behind at most, ms" "$ours" "$theirs" max_ms
	stream_row "  behind at the end, ms" "$ours" "$theirs" last_ms
	stream_row "  all there after the last put, ms" "$ours" "$theirs" drain_ms
	# Bounded: in the last quarter not (much) more than in the second.
	row "  last quarter's max, ms (peer: second's)" \
		"$(field late_ms "$ours")" "$(field early_ms "$ours")" '' \
		'bounded' "$(field late_ms "$ours") <= \
		2 * $(field early_ms "$ours") + 250"
	row "  make-mirror's last quarter, second quarter" \
		"$(field late_ms "$theirs")" "$(field early_ms "$theirs")" \
		"$(calc "$(field late_ms "$theirs") / \
		($(field early_ms "$theirs") + 1)")" '' ''
	stop_mirrors stream
}

# ---- sqlite to sqlite --------------------------------------------------------

# sqlite_round KEYS NAME: sets LINE to what kvmirror's run was like.
sqlite_round() {
	measure fill rate fill "sqlite:$T/from-$2" --keys "$1" --size 100 \
		--window 2 --ops 1000
	measure "bare-$2" rate bare "sqlite:$T/bare-to-$2" --keys "$1" \
		--size 100 --window 4 --ops 1000
	rm -f "$T/bare-to-$2"*
	sync_once "sqlite-$2" "sqlite:$T/from-$2" "sqlite:$T/to-$2" "$1"
}

part_sqlite() {
	local small large ours theirs few=$((SQLITE_KEYS / 10))

	sqlite_round "$few" few
	small=$(field rss_kib "$LINE")
	sqlite_round "$SQLITE_KEYS" many
	large=$(field rss_kib "$LINE")
	ours=$(median "$T/sqlite-many.n")
	theirs=$(median "$T/bare-many.n")
	row "seed sqlite, keys/s (peer: bare writes)" "$ours" "$theirs" \
		"$(calc "$ours / $theirs")" '' ''
	row "  peak memory, KiB, $SQLITE_KEYS keys" "$large" '' '' '< 65536' \
		"$large < 65536"
	row "  beside that of $few keys" "$large" "$small" \
		"$(calc "$large / $small")" '0.9..1.1' \
		"$large / $small <= 1.1 && $large / $small >= 0.9"
	rm -f "$T"/from-* "$T"/to-*
}

# ---- nothing to do -----------------------------------------------------------

# Clock ticks of a process, user and system.
ticks() {
	sed 's/.*) //' "/proc/$(proc_pid "$1")/stat" |
		awk '{ print $12 + $13 }'
}

part_idle() {
	local before after name

	two_etcds idle
	measure fill rate fill "sqlite:$T/idle-from" --keys 10000
	measure fill rate fill "$SOURCE/k" --keys 10000
	agent_start idle-etcd sync "$SOURCE/k" "$TARGET/k" --follow \
		--state "$T/state-idle-etcd"
	agent_start idle-sqlite sync "sqlite:$T/idle-from" \
		"sqlite:$T/idle-to" --follow --state "$T/state-idle-sqlite"
	for name in idle-etcd idle-sqlite; do
		await 60 grep -q '"reconciled"' "$T/$name.log"
	done
	sleep 3 # what is written a little later is no idling
	for name in idle-etcd idle-sqlite; do
		ticks "$name" >"$T/$name.ticks"
	done
	sleep "$IDLE_SECONDS"
	for name in idle-etcd idle-sqlite; do
		after=$(ticks "$name")
		before=$(cat "$T/$name.ticks")
		row "$name: clock ticks in $IDLE_SECONDS s" \
			$((after - before)) '' '' '<= 1' \
			"$after - $before <= 1"
		proc_stop "$name" || fail "kvmirror ended with $?"
	done
	stop_etcds idle
}

# ---- ZooKeeper ---------------------------------------------------------------

# The tree under /k: directories of 1000, values of 256 bytes. Made once: the
# parts that follow share the server.
zk_tree() {
	local i

	[ -z "${ZK_PORT[zk]:-}" ] || return 0
	need_zk
	ZK_JAVA=-Xmx1500m zk_start zk
	for ((i = 0; i < ZK_KEYS / 1000; i++)); do
		printf 'fill /k/d%03d 1000 256\n' "$i"
	done | zk_do zk || fail "no tree"
}

# zk_ratio WHAT OURS PEER TARGET CONDITION
zk_ratio() {
	local ratio

	ratio=$(calc "$2 / $3")
	row "$1" "$2" "$3" "$ratio" "$4" "${5//RATIO/$ratio}"
}

part_zkread() {
	local round way

	zk_tree
	for ((round = 0; round < ROUNDS; round++)); do
		for way in general fast; do
			measure "zkread-$way" rate read \
				"$(zk_uri zk "/k?reader=$way")"
		done
		measure zkread-plain rate zkread "$(zk_endpoints zk)" /k \
			--window 256
	done
	for way in general fast; do
		zk_ratio "read ZooKeeper, $way way, znodes/s (peer: plain)" \
			"$(median "$T/zkread-$way.n")" \
			"$(median "$T/zkread-plain.n")" '' ''
	done
}

part_zkmem() {
	local way

	zk_tree
	for way in general fast; do
		measure "zkmem-$way" kib hold "$(zk_uri zk "/k?reader=$way")"
		row "watch of $ZK_KEYS znodes, $way way, KiB" \
			"$(median "$T/zkmem-$way.n")" '' '' '' ''
	done
}

# From tree to etcd; sets SOURCE and TARGET.
zk_to_etcd() {
	zk_tree
	etcd_start "$1-target" --fsync
	SOURCE=$(zk_uri zk /k)
	TARGET=$(etcd_uri "$1-target")
}

part_zkseed() {
	local round n best=0 rate

	zk_to_etcd zkseed
	for ((round = 0; round < ROUNDS; round++)); do
		measure zkseed rate time --keys "$ZK_KEYS" -- "$KVMIRROR" \
			sync --quiet "$SOURCE" "$TARGET/seed$round" \
			--state "$T/state-zkseed$round"
		for n in 4 16 64; do
			measure "zkbare$n" rate bare "$TARGET/bare$round-$n" \
				--keys "$ZK_KEYS" --window "$n"
		done
	done
	for n in 4 16 64; do
		rate=$(median "$T/zkbare$n.n")
		! holds "$rate > $best" || best=$rate
	done
	zk_ratio "seed ZooKeeper to etcd, keys/s (peer: bare)" \
		"$(median "$T/zkseed.n")" "$best" '>= 0.60' 'RATIO >= 0.6'
	etcd_stop zkseed-target
	rm -rf "$T/data-zkseed-target"
}

zk_received() { zk_srvr zk | sed -n 's/^Received: //p'; }

# 60 set, 20 deleted, 20 made, while nobody looks.
zk_changes() {
	local i

	for ((i = 0; i < 100; i++)); do
		case $((i % 5)) in
		0) echo "del /k/d$(printf %03d "$i")/k7$1" ;;
		1) echo "put /k/d$(printf %03d "$i")/new$1 made" ;;
		*) echo "put /k/d$(printf %03d "$i")/k8 changed$1" ;;
		esac
	done | zk_do zk
}

part_zkresume() {
	local round before way

	zk_to_etcd zkresume
	for way in general fast; do
		SOURCE=$(zk_uri zk "/k?reader=$way")
		"$KVMIRROR" sync --quiet "$SOURCE" "$TARGET/$way" \
			--state "$T/state-resume-$way" || fail "first copy"
		for ((round = 0; round < ROUNDS; round++)); do
			zk_changes "$round"
			before=$(zk_received)
			measure "zkresume-$way" seconds time -- "$KVMIRROR" \
				sync --quiet "$SOURCE" "$TARGET/$way" \
				--state "$T/state-resume-$way"
			echo $(($(zk_received) - before)) \
				>>"$T/zkrequests-$way.n"
		done
		row "start after 100 changes, $way way, s" \
			"$(median "$T/zkresume-$way.n")" '' '' '' ''
		row "  requests to ZooKeeper" \
			"$(median "$T/zkrequests-$way.n")" '' '' '' ''
	done
	etcd_stop zkresume-target
	rm -rf "$T/data-zkresume-target"
}

zk_follows() {
	"$KVMIRROR" status --state "$T/state-zklag" | grep -q FOLLOWING
}

part_zklag() {
	local p

	zk_to_etcd zklag
	agent_start zklag-agent sync "$SOURCE" "$TARGET/k" --follow \
		--state "$T/state-zklag"
	await 120 zk_follows
	measure zklag n lag "$(zk_uri zk)" "$TARGET" /k /k --keys "$LAG_PUTS"
	for p in p50 p99; do
		row "lag of one put, ZooKeeper to etcd, us, $p" \
			"$(field "a_$p" "$LINE")" '' '' '' ''
	done
	proc_stop zklag-agent || fail "kvmirror ended with $?"
	etcd_stop zklag-target
	rm -rf "$T/data-zklag-target"
}

# ------------------------------------------------------------------------------

need_etcd
need awk realpath
for part in $PARTS; do
	declare -F "part_$part" >/dev/null || fail "there is no part '$part'"
done
for part in $PARTS; do
	"part_$part"
done
print_table
[ "$MISSED" = 0 ] || {
	printf '%s target(s) missed\n' "$MISSED"
	exit 1
}
