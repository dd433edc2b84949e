#!/usr/bin/env bash
# test_cut_etcd.sh: the network between live processes is cut, silently: nobody
# is told, packets are just gone. After it the agent follows again, without a
# rescan and without conflicts, and nothing is lost.
#
#   host: agent --- link --- namespace of the source: etcd, its writer
#            `----- link --- namespace of the target: etcd
#
# A cut is a wrong hardware address of the peer: of both ends, or of the server's
# end alone, so that requests arrive and answers do not.
. "$(dirname "$0")/../fixtures/lib.sh"
need_etcd
need ip
[ "$(id -u)" = 0 ] || skip "needs root, to make network namespaces"

NET=198.18.$(($$ % 250))
NOBODY=02:00:00:00:00:99
ENDS=

net_exit() {
	local code=$? end

	for end in $ENDS; do
		ip link del "kv$$$end" 2>/dev/null
		ip netns del "kvt$$$end" 2>/dev/null
	done
	(exit "$code")
	cleanup
}
trap net_exit EXIT

# end_start NAME N: a namespace with a link to us, and an etcd in it.
end_start() {
	local ns=kvt$$$1 link=kv$$$1 host=$NET.$(($2 * 4 + 1))
	local peer=$NET.$(($2 * 4 + 2))

	ENDS+=" $1"
	ip netns add "$ns" || skip "cannot make a network namespace"
	ip link add "$link" type veth peer name net0 netns "$ns" ||
		skip "cannot make a link into a network namespace"
	ip addr add "$host/30" dev "$link" && ip link set "$link" up &&
		ip -n "$ns" addr add "$peer/30" dev net0 &&
		ip -n "$ns" link set net0 up && ip -n "$ns" link set lo up ||
		fail "cannot set up $link"
	proc_start "$1" ip netns exec "$ns" etcd --name "$1" \
		--data-dir "$T/data-$1" --unsafe-no-fsync \
		--listen-client-urls http://0.0.0.0:2379 \
		--advertise-client-urls "http://$peer:2379" \
		--listen-peer-urls http://127.0.0.1:2380 \
		--initial-advertise-peer-urls http://127.0.0.1:2380 \
		--initial-cluster "$1=http://127.0.0.1:2380" \
		--logger zap --log-outputs stderr \
		--experimental-watch-progress-notify-interval 1s
	await 60 ctl "$1" endpoint health
}

# Inside the server's namespace: no cut is in the way.
ctl() {
	local end=$1

	shift
	ip netns exec "kvt$$$end" env ETCDCTL_API=3 etcdctl \
		--endpoints 127.0.0.1:2379 "$@"
}

# cut NAME N both|answers
cut_link() {
	[ "$3" = answers ] ||
		ip neigh replace "$NET.$(($2 * 4 + 2))" lladdr $NOBODY \
			dev "kv$$$1" nud permanent || fail "cut $1"
	ip -n "kvt$$$1" neigh replace "$NET.$(($2 * 4 + 1))" lladdr $NOBODY \
		dev net0 nud permanent || fail "cut $1"
}

heal_link() {
	ip neigh del "$NET.$(($2 * 4 + 2))" dev "kv$$$1" 2>/dev/null
	ip -n "kvt$$$1" neigh del "$NET.$(($2 * 4 + 1))" dev net0 2>/dev/null
}

dump() { ctl "$1" get / --prefix | paste -d' ' - -; }
same() { diff <(dump s) <(dump t) >"$T/same.out"; }

status() {
	"$KVMIRROR" status --state "$T/state" --json 2>/dev/null |
		sed -n "s/.*\"$1\":\(\"[^\"]*\"\|[^,}]*\).*/\1/p" | tr -d '"'
}
phase_is() { [ "$(status phase)" = "$1" ]; }
phase_is_not() { [ "$(status phase)" != "$1" ]; }

# changes FROM TO VALUE: puts, and every fifth key deleted.
changes() {
	local i

	for ((i = $1; i <= $2; i++)); do
		if [ $((i % 5)) = 0 ]; then
			printf 'del /k%d\n' "$i"
		else
			printf 'put /k%d %s-%d\n' "$i" "$3" "$i"
		fi
	done | while read -r -a words; do
		printf '\n%s\n\n\n' "${words[*]}" | ctl s txn >/dev/null ||
			exit 1
	done || fail "changes $*"
}

end_start s 0
end_start t 1
changes 1 60 first
agent_start agent sync "etcd://$NET.2:2379/" "etcd://$NET.6:2379/" \
	--state "$T/state" --follow --log-level info
await 30 phase_is FOLLOWING
await 30 same

# cut_case WHAT NAME N both|answers
cut_case() {
	note "$1"
	cut_link "$2" "$3" "$4"
	changes 1 40 "$2-$4"
	await 60 phase_is_not FOLLOWING
	changes 30 50 "$2-$4-later"
	proc_alive agent || fail "$1: the agent ended"
	heal_link "$2" "$3"
	await 90 phase_is FOLLOWING
	await 60 same
	equal "$1: conflicts" 0 "$(status conflicts)"
	equal "$1: reconciles" 1 "$(status reconciles)"
}

cut_case "the source's link" s 0 both
cut_case "the target's link" t 1 both
cut_case "answers of the target alone" t 1 answers
cut_case "answers of the source alone" s 0 answers
proc_stop agent || fail "exit code $? after SIGTERM"
check "diff" "$KVMIRROR" diff "etcd://$NET.2:2379/" "etcd://$NET.6:2379/"
echo PASS
