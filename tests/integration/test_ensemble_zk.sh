#!/usr/bin/env bash
# test_ensemble_zk.sh: an ensemble of three as source and as target: its leader
# is killed and paused while the agent follows; then it is rebuilt from nothing,
# and restored from an older state.
. "$(dirname "$0")/../fixtures/lib.sh"
. "$(dirname "$0")/stores.bash"
need_zk
need sqlite3

zk_ensemble_start z 3
STORE_KIND[z]=zk
store_start f sqlite

# await_leader: one leads, and its name is in LEADER.
some_leader() { LEADER=$(zk_leader z) && [ -n "$LEADER" ]; }
await_leader() {
	await 60 some_leader
	LEADER=$(zk_leader z)
}

# trouble FROM TO: the route's leader is killed, then another one is paused, and
# the source changes all the while.
trouble() {
	note "the leader is killed: $1 to $2"
	await_leader
	zk_kill "$LEADER"
	source_put /k1 killed
	await 60 target_is /k1 killed
	zk_restart "$LEADER"
	settled "a leader came back"
	note "the leader is paused: $1 to $2"
	await_leader
	proc_freeze "$LEADER"
	source_put /k2 paused
	source_del /k3
	await 60 target_is /k2 paused
	proc_thaw "$LEADER"
	source_put /k4 thawed
	await 60 target_is /k4 thawed
	settled "a leader woke up"
}

store_fill z /z 1 300 v
route z /z f /z
follow
trouble ZooKeeper file
follow_stop

store_fill f /f 1 300 v
route f /f z /f
follow
trouble file ZooKeeper
follow_stop

# all COMMAND...: on every node, then started anew.
all() {
	local node

	for node in ${ZK_NODES[z]}; do
		zk_kill "$node"
		"$1" "$node"
	done
	for node in ${ZK_NODES[z]}; do
		zk_launch "$node"
	done
	for node in ${ZK_NODES[z]}; do
		zk_ready "$node"
	done
}
drop() { rm -rf "$T/data-$1/version-2"; }
bring_back() {
	rm -rf "$T/data-$1"
	cp -a "$T/backup-$1" "$T/data-$1"
}

note "restored from an older state"
route z /z f /z2
follow
settled "first copy"
for node in ${ZK_NODES[z]}; do
	zk_backup "$node"
done
source_put /k5 lost
await 30 target_is /k5 lost
all bring_back
await 90 target_is /k5 v-5
source_put /k6 alive
await 60 target_is /k6 alive
settled "restored"
note "rebuilt from nothing: nothing is deleted"
all drop
await 90 is_held
equal "kept" 299 "$(target_count)"
follow_stop
