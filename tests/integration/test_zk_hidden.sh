#!/usr/bin/env bash
# test_zk_hidden.sh: znodes that the agent may not read: they are told, listed
# with the reason, and never taken for absent, nor is what stands below them.
#
#   zk (some of it closed off) --> kvmirror --> sqlite
. "$(dirname "$0")/../fixtures/lib.sh"
. "$(dirname "$0")/stores.bash"

need_zk
zk_start z

target() { "$KVMIRROR" store tree "sqlite:$T/$1.db" /; }
listed() { "$KVMIRROR" status --state "$T/$1.state" --list quarantine; }
is_listed() { listed "$1" | grep -q "^/sec[[:space:]].*does not let it be read"; }
is_clear() { [ -z "$(listed "$1")" ]; }
has() { target "$1" | grep -qx "$2"; }

ALL=$'/a\tva\n/sec\ttop\n/sec-2\tq\n/sec/x\tvx\n/sec/y\tvy\n/z\tvz'

# fill PREFIX
fill() {
	zk_do z <<-END
		put $1/a va
		put $1/sec top
		put $1/sec-2 q
		put $1/sec/x vx
		put $1/sec/y vy
		put $1/z vz
	END
}

# One pass after the other; further options of the route behind.
passes() {
	local name=$1 reader=$2 uri

	shift 2
	uri="$(zk_uri z "/$name")?reader=$reader"
	fill "/$name"
	check "first copy" "$KVMIRROR" sync "$uri" "sqlite:$T/$name.db" \
		--state "$T/$name.state" "$@"
	equal "first copy" "$ALL" "$(target "$name")"

	zk_do z joe:pw <<<"closeoff /$name/sec"
	zk_do z <<<"put /$name/z vz2"
	refuse "a pass with a closed znode" 1 "$KVMIRROR" sync "$uri" \
		"sqlite:$T/$name.db" --state "$T/$name.state" "$@"
	equal "nothing went" "${ALL/vz/vz2}" "$(target "$name")"
	is_listed "$name" || fail "not in quarantine: $(listed "$name")"
	refuse "tree" 1 "$KVMIRROR" store tree "$uri" /
	grep -qx "/sec" "$T/check.out" || fail "not told: $(cat "$T/check.out")"
	grep -q "1 keys may not be read" "$T/check.out" || fail "nothing said"
	refuse "get" 3 "$KVMIRROR" store get "$uri" /sec
	equal "below it a readable one is read" vx \
		"$("$KVMIRROR" store get "$uri" /sec/x)"
	refuse "diff" 1 "$KVMIRROR" diff "$uri" "sqlite:$T/$name.db" "$@"
	equal "diff tells it alone" "missing /sec" \
		"$(sed '/^[^mec]/d' "$T/check.out" | grep '^missing\|^extra\|^changed')"

	# With what opens it everything is there.
	DIGEST=joe:pw equal "with credentials" \
		"$(printf '%s\n' "${ALL/vz/vz2}")" \
		"$(DIGEST=joe:pw "$KVMIRROR" store tree "$uri&digest=env:DIGEST" /)"

	zk_do z joe:pw <<<"openup /$name/sec"
	zk_do z <<<"del /$name/sec/y"
	check "opened again" "$KVMIRROR" sync "$uri" "sqlite:$T/$name.db" \
		--state "$T/$name.state" "$@"
	is_clear "$name" || fail "still listed: $(listed "$name")"
	check "equal at last" "$KVMIRROR" diff "$uri" "sqlite:$T/$name.db" "$@"
}

# While it is followed: what changed just before it was closed off is known to
# be there, and not what it is.
followed() {
	local name=$1 uri

	uri="$(zk_uri z "/$1")?reader=$2"
	fill "/$name"
	agent_start "$name" sync --follow "$uri" "sqlite:$T/$name.db" \
		--state "$T/$name.state"
	await 30 has "$name" $'/z\tvz'
	proc_freeze "$name"
	zk_do z <<<"put /$name/sec top2"
	zk_do z joe:pw <<<"closeoff /$name/sec"
	proc_thaw "$name"
	await 30 is_listed "$name"
	has "$name" $'/sec\ttop' || fail "the old value went: $(target "$name")"
	zk_do z joe:pw <<<"openup /$name/sec"
	# It is looked at again now and then; the next pass settles it.
	proc_stop "$name"
	check "opened again" "$KVMIRROR" sync "$uri" "sqlite:$T/$name.db" \
		--state "$T/$name.state"
	has "$name" $'/sec\ttop2' || fail "not carried: $(target "$name")"
	is_clear "$name" || fail "still listed: $(listed "$name")"
}

passes p1 fast
passes p2 general
# Where names are mapped, the order is made anew.
passes p3 fast --escape percent
followed f1 fast
followed f2 general
