# fuse.bash: deletes that are told are carried out; deletes that are inferred
# from absence pass a fuse. KIND (of both stores) is set.
. "$(dirname "$0")/../fixtures/lib.sh"
. "$(dirname "$0")/stores.bash"
need_kind "$KIND"

store_start s "$KIND"
store_start t "$KIND"

CASES=0
# mirrored N: a new route with N keys, at rest.
mirrored() {
	CASES=$((CASES + 1))
	route s /s$CASES t /t$CASES
	store_fill s /s$CASES 1 "$1" v
	once 0 "first copy"
	equal "mirrored" "$1" "$(target_count)"
}
# lose FROM TO: keys of the source go, and nobody can tell of it.
lose() {
	store_clear s /s$CASES "$1" "$2"
	store_forget s
}

told() {
	note "told: a person empties the prefix while the agent runs"
	mirrored 200
	follow
	store_del_all s /s$CASES
	await 20 target_count_is 0
	status_is held null || fail "held: $(status held)"
	source_put /k1 again
	await 20 target_is /k1 again
	# ZooKeeper tells nothing of the past.
	[ "$KIND" != zk ] || { follow_stop && return; }
	note "... and most of it while the agent is down"
	store_fill s /s$CASES/sub 1 200 v
	source_put /k2 newest
	await 20 same
	follow_stop
	store_del_all s /s$CASES/sub
	follow
	await 20 target_count_is 2
	status_is held null || fail "held: $(status held)"
	settled "told"
	follow_stop
}

told_all_while_down() {
	note "told: all of it while the agent is down"
	mirrored 200
	store_del_all s /s$CASES
	source_put /k1 new
	follow
	await 20 target_count_is 1
	status_is held null || fail "held: $(status held)"
	settled "told"
	follow_stop
}

# threshold KEYS LOST CODE [OPTION...]: one pass ends with CODE, and the keys
# went only when that is 0.
threshold() {
	local keys=$1 lost=$2 code=$3 left=$1

	shift 3
	note "$lost of $keys absent $*: exit code $code"
	mirrored "$keys"
	lose 1 "$lost"
	[ "$code" = 1 ] || left=$((keys - lost))
	once "$code" "one pass" "$@"
	equal "keys left" "$left" "$(target_count)"
	[ "$code" = 0 ] || {
		status_is held null && fail "held for no reason"
		once "$code" "another pass" "$@"
		equal "keys left" "$left" "$(target_count)"
	}
}

comes_back() {
	note "held until the source comes back"
	mirrored 100
	lose 1 100
	once 1 "one pass"
	equal "keys left" 100 "$(target_count)"
	store_fill s /s$CASES 1 99 v
	once 0 "it is back, but for one key"
	equal "keys left" 99 "$(target_count)"
	status_is held null || fail "still held"
	settled "back"
	lose 1 99
	follow_start
	await 30 is_held
	equal "keys left" 99 "$(target_count)"
	store_fill s /s$CASES 1 99 v
	await 90 phase_is FOLLOWING
	settled "released by itself"
	follow_stop
	lose 1 99
	once 0 "allowed" --max-delete 100%
	equal "keys left" 0 "$(target_count)"
}
