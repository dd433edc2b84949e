# outage.bash: what happened while nobody looked: changes and deletes, lost
# history, a source that was wiped or restored. KIND (of both stores; TARGET_KIND
# where the target is another one) is set.
. "$(dirname "$0")/../fixtures/lib.sh"
. "$(dirname "$0")/stores.bash"
TARGET_KIND=${TARGET_KIND:-$KIND}
need_kind "$KIND"
need_kind "$TARGET_KIND"

store_start s "$KIND"
store_start t "$TARGET_KIND"

# logged TEXT: since the last mark?
mark() { MARK=$(wc -l <"$T/$AGENT.log"); }
logged() { tail -n +$((MARK + 1)) "$T/$AGENT.log" | grep -qF -- "$1"; }

# ZooKeeper tells nothing of the past: a delete is seen by absence, and more of
# them would be the fuse's business.
LAST_GONE=220
[ "$KIND" != zk ] || LAST_GONE=145

changes_while_down() {
	note "changes and deletes while the agent is down"
	store_fill s /a 1 300 old
	route s /a t /a
	follow
	settled "first copy"
	follow_stop
	store_fill s /a 1 20 new
	# By a person, and more than the fuse would let go if it were absence.
	store_clear s /a 100 $LAST_GONE
	store_fill s /a 301 320 late
	source_put /k100 again
	mark
	follow
	settled "resumed"
	logged '"msg":"resume"' || fail "it did not resume"
	! logged '"msg":"reconcile"' || fail "a rescan that was not needed"
	equal "a key that came back" again "$(target_get /k100)"
	follow_stop
}

history_lost_while_down() {
	note "history lost while the agent is down"
	store_fill s /b 1 300 old
	route s /b t /b
	follow
	settled "first copy"
	follow_stop
	store_fill s /b 1 20 new
	store_clear s /b 31 50
	store_fill s /b 301 310 late
	store_forget s
	mark
	follow
	settled "reconciled"
	logged '"msg":"reconcile' || fail "no reconcile"
	equal "an inferred delete" "" "$(target_get /k31)"
	follow_stop
}

# The writer's own time makes the interval: about 100 ms, often less.
history_lost_while_running() {
	local i

	note "history lost again and again while the agent runs"
	store_fill s /c 1 3000 old
	route s /c t /c
	follow_start
	for i in $(seq 1 40); do
		store_fill s /c $((i * 7)) $((i * 7 + 10)) "new$i"
		store_del s "/c/k$((i * 7 + 3))"
		store_forget s
		follow_alive
	done
	settled "after 40 compactions"
	follow_stop
}

wiped() {
	local keys

	note "a source wiped while the agent is down"
	store_fill s /d 1 100 old
	route s /d t /d
	follow
	settled "first copy"
	follow_stop
	store_wipe s
	once 1 "one pass over a wiped source"
	equal "nothing deleted" 100 "$(target_count)"
	status_is held null && fail "no reason for HELD"
	once 1 "another pass"
	equal "nothing deleted" 100 "$(target_count)"
	follow_start
	await 30 is_held
	equal "nothing deleted" 100 "$(target_count)"
	note "... and filled again: released by itself"
	store_fill s /d 1 100 old
	source_put /k7 other
	source_put /k101 more
	await 90 phase_is FOLLOWING
	settled "released"
	status_is held null || fail "still held"

	note "a source wiped under a running agent"
	store_wipe s another
	await 60 is_held
	follow_alive
	equal "nothing deleted" 101 "$(target_count)"
	store_fill s /d 1 101 back
	await 90 phase_is FOLLOWING
	settled "released"
	keys=$(status keys)
	equal "keys in the ledger" 101 "$keys"
	follow_stop
}

# restore_case WHAT DOWN SINCE: is the agent down (yes, no)? What came since:
# nothing, overtaken (by writes), or forgotten as well.
restore_case() {
	local p=/r$ROUTES

	note "a source restored from an older backup: $1"
	store_fill s $p 1 100 old
	route s $p t $p
	follow
	settled "first copy"
	store_backup s
	store_fill s $p 1 10 lost
	store_clear s $p 11 15
	store_fill s $p 101 110 lost
	settled "before the loss"
	equal "a value that will be lost" lost-1 "$(target_get /k1)"
	[ "$2" = no ] || follow_stop
	store_restore s
	[ "$3" = nothing ] || store_fill s $p 50 99 overtaken
	[ "$3" != forgotten ] || store_forget s
	[ "$2" = no ] || follow
	settled "restored"
	equal "an old value is back" old-1 "$(target_get /k1)"
	equal "a deleted key is back" old-11 "$(target_get /k11)"
	equal "a lost key is gone" "" "$(target_get /k101)"
	source_put /k2 alive
	await 30 target_is /k2 alive
	follow_stop
}

# target_case WHAT COMMAND: COMMAND replaces the target by an older or an empty
# one, while the agent is down and under a running one. Keys that were deleted
# since and that an older target brings back are nobody's: left, and listed.
target_case() {
	local p=/t$ROUTES back='^/k1[1-5] '

	note "a target $1"
	store_fill s $p 1 100 old
	route s $p t $p
	follow
	settled "first copy"
	store_backup t
	store_fill s $p 1 10 new
	store_clear s $p 11 15
	store_fill s $p 101 110 late
	settled "before"
	follow_stop
	"$2" t
	follow
	await 30 same "$back"
	source_put /k20 alive
	await 30 target_is /k20 alive
	"$2" t
	source_put /k21 alive
	await 60 same "$back"
	source_put /k22 alive
	await 30 target_is /k22 alive
	follow_stop
	"$KVMIRROR" diff "$SOURCE" "$TARGET" | cut -d' ' -f2 >"$T/differ"
	"$KVMIRROR" status --state "$STATE" --list foreign >"$T/listed"
	check "what differs is listed" cmp "$T/differ" "$T/listed"
	check "diff --owned" "$KVMIRROR" diff "$SOURCE" "$TARGET" --owned \
		--state "$STATE"
}
