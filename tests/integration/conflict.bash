# conflict.bash: a second writer at the target, under every policy; drift;
# which deletes are carried out; foreign keys. KIND (of both stores; TARGET_KIND
# where the target is another one) is set.
. "$(dirname "$0")/../fixtures/lib.sh"
. "$(dirname "$0")/stores.bash"
TARGET_KIND=${TARGET_KIND:-$KIND}
need_kind "$KIND"
need_kind "$TARGET_KIND"

store_start s "$KIND"
store_start t "$TARGET_KIND"

CASES=0
# A new route over new prefixes: k1 differs, k2 only at the source, k3 equal at
# both, f1 only at the target.
disagreement() {
	CASES=$((CASES + 1))
	route s /s$CASES t /t$CASES
	store_txn s <<-END
		put /s$CASES/k1 source
		put /s$CASES/k2 source
		put /s$CASES/k3 both
	END
	store_txn t <<-END
		put /t$CASES/k1 target
		put /t$CASES/k3 both
		put /t$CASES/f1 foreign
	END
}
# A new route with k1 .. k3 mirrored, f1 only at the target.
agreement() {
	CASES=$((CASES + 1))
	route s /s$CASES t /t$CASES
	store_fill s /s$CASES 1 3 old
	store_put t /t$CASES/f1 foreign
	follow "$@"
	await 30 same '^/f1 '
}

diff_owned() {
	"$KVMIRROR" diff "$SOURCE" "$TARGET" --state "$STATE" --owned "$@"
}
foreign_is_left() {
	equal "a foreign key" foreign "$(target_get /f1)"
	equal "foreign" 1 "$(status foreign)"
	listed foreign /f1 || fail "/f1 is not listed as foreign"
}
conflicts_are() { equal "conflicts" "$1" "$(status conflicts)"; }
journaled() {
	listed conflicts "$1" || fail "no conflict of $1 is listed"
	"$KVMIRROR" status --state "$STATE" --list conflicts --json |
		grep -F "\"key\":\"$1\"" |
		grep '"source_hash":"[0-9a-f]*"' |
		grep -q '"target_hash":"[0-9a-f]*"' ||
		fail "the conflict of $1 is listed without both hashes"
}

# ---- the first copy ----------------------------------------------------------

seed_source_wins() {
	note "first copy, source-wins"
	disagreement
	once 0 "sync"
	equal "k1" source "$(target_get /k1)"
	equal "k2" source "$(target_get /k2)"
	conflicts_are 1
	journaled /k1
	! listed conflicts /k3 || fail "equal keys are no conflict"
	foreign_is_left
	refuse "diff" 1 "$KVMIRROR" diff "$SOURCE" "$TARGET"
	check "diff --owned" diff_owned
	once 0 "sync again"
	conflicts_are 1
}

seed_target_wins() {
	note "first copy, target-wins; yielded until both are equal"
	disagreement
	once 0 "sync" --conflict target-wins
	equal "k1" target "$(target_get /k1)"
	equal "k2" source "$(target_get /k2)"
	conflicts_are 1
	journaled /k1
	source_put /k1 newer
	once 0 "the source moves on" --conflict target-wins
	equal "k1 is yielded" target "$(target_get /k1)"
	follow --conflict target-wins
	source_put /k1 newest
	source_put /k2 newest
	await 20 target_is /k2 newest
	equal "k1 is yielded in the stream" target "$(target_get /k1)"
	source_put /k1 target
	source_put /k2 equal
	await 20 target_is /k2 equal
	source_put /k1 carried
	await 20 target_is /k1 carried
	conflicts_are 1
	foreign_is_left
	follow_stop
}

seed_stop() {
	note "first copy, stop"
	disagreement
	once 1 "sync" --conflict stop
	equal "k1" target "$(target_get /k1)"
	journaled /k1
	follow_start --conflict stop
	await 20 is_held
	follow_alive
	equal "k1" target "$(target_get /k1)"
	note "... released when both are equal"
	target_put /k1 source
	await 90 phase_is FOLLOWING
	equal "k2" source "$(target_get /k2)"
	source_put /k1 newer
	await 20 target_is /k1 newer
	foreign_is_left
	follow_stop
}

newest_is_refused() {
	note "newest"
	disagreement
	once 2 "no times on either side" --conflict newest
	equal "k1" target "$(target_get /k1)"
}

# ---- the stream --------------------------------------------------------------

# The three ways to differ: changed, deleted, created by somebody else.
meddle() {
	target_put /k1 meddled
	target_del /k2
	target_put /n1 meddled
}
stream_source_wins() {
	note "stream, source-wins"
	agreement
	meddle
	source_put /k1 new
	source_put /k2 new
	source_put /n1 new
	source_put /k3 new
	await 20 target_is /k3 new
	await 20 same '^/f1 '
	conflicts_are 3
	journaled /k1
	journaled /n1
	target_put /k1 meddled
	source_del /k1
	source_put /k3 newer
	await 20 target_is /k3 newer
	equal "a delete wins as well" "" "$(target_get /k1)"
	conflicts_are 4
	foreign_is_left
	follow_stop
}

stream_target_wins() {
	note "stream, target-wins"
	agreement --conflict target-wins
	meddle
	source_put /k1 new
	source_put /k2 new
	source_put /n1 new
	source_put /k3 new
	await 20 target_is /k3 new
	equal "k1" meddled "$(target_get /k1)"
	equal "k2" "" "$(target_get /k2)"
	equal "n1" meddled "$(target_get /n1)"
	conflicts_are 3
	source_del /k1
	source_put /k3 newer
	await 20 target_is /k3 newer
	equal "k1 after its delete" meddled "$(target_get /k1)"
	foreign_is_left
	follow_stop
}

stream_stop() {
	note "stream, stop"
	agreement --conflict stop
	target_put /k1 meddled
	source_put /k1 new
	await 20 is_held
	follow_alive
	equal "k1" meddled "$(target_get /k1)"
	journaled /k1
	target_put /k1 new
	await 90 phase_is FOLLOWING
	source_put /k1 newer
	await 20 target_is /k1 newer
	foreign_is_left
	follow_stop
	once 0 "one pass" --conflict stop
}

# Both write the same keys at once; nothing may hang, and when both rest one
# pass puts right what the second writer wrote last.
two_writers() {
	local i

	note "two writers at once"
	agreement
	for i in $(seq 1 15); do
		store_fill t /t$CASES 1 10 "target$i"
		store_fill s /s$CASES 1 10 "source$i"
	done
	follow_alive
	follow_stop
	once 0 "repair"
	same '^/f1 ' || fail "not equal: $(cat "$T/same.out")"
	[ "$(status conflicts)" -gt 0 ] || fail "no conflict was journaled"
	check "diff --owned" diff_owned
	foreign_is_left
}

# ---- drift, deletes ----------------------------------------------------------

drift_repair() {
	note "drift, repair"
	agreement
	follow_stop
	target_put /k1 drifted
	target_del /k2
	once 0 "sync"
	same '^/f1 ' || fail "not repaired: $(cat "$T/same.out")"
	conflicts_are 2
	target_put /k3 drifted
	refuse "diff" 1 "$KVMIRROR" diff "$SOURCE" "$TARGET" --owned \
		--state "$STATE"
	"$KVMIRROR" diff "$SOURCE" "$TARGET" --state "$STATE" --repair \
		>"$T/repair.log" 2>&1
	check "repaired by diff" diff_owned
	equal "k3" old-3 "$(target_get /k3)"
	foreign_is_left
}

drift_keep() {
	note "drift, keep"
	agreement --drift keep
	follow_stop
	target_put /k1 drifted
	target_del /k2
	once 0 "sync" --drift keep
	equal "k1" drifted "$(target_get /k1)"
	equal "k2" "" "$(target_get /k2)"
	once 0 "sync again" --drift keep
	equal "k1" drifted "$(target_get /k1)"
	source_put /k1 moved
	once 0 "the source moves on" --drift keep
	equal "k1" moved "$(target_get /k1)"
	equal "k2" "" "$(target_get /k2)"
	foreign_is_left
}

# delete_policy POLICY, K1 (is the mirrored key there afterwards?), F1
delete_policy() {
	note "--delete $1"
	agreement --delete "$1"
	source_del /k1
	source_put /k3 seen
	await 20 target_is /k3 seen
	equal "k1, told" "$2" "$(target_get /k1)"
	follow_stop
	source_del /k2
	store_forget s
	once 0 "sync" --delete "$1"
	equal "k2, inferred" "${2:+old-2}" "$(target_get /k2)"
	equal "f1" "$3" "$(target_get /f1)"
	equal "k3" seen "$(target_get /k3)"
}
