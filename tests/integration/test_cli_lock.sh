#!/usr/bin/env bash
# test_cli_lock.sh: `kvmirror store lock`: a command under a lock, on an embedded
# store and on real servers; with a holder that is stopped for longer than its
# lock stands.
. "$(dirname "$0")/../fixtures/lib.sh"
need_etcd

cd "$T" || exit 1

# code WANT ARGUMENTS...: kvmirror must end with WANT.
code() {
	local want=$1 got=0

	shift
	"$KVMIRROR" "$@" >out 2>err </dev/null || got=$?
	[ "$got" = "$want" ] || {
		cat out err
		fail "'$*' ended with $got, expected $want"
	}
}
error_has() { grep -qF -- "$1" err || fail "no '$1' in: $(cat err)"; }

# locks NAME URI
locks() {
	local uri=$2 first second

	note "$1: a command's exit code is the lock's"
	code 0 store lock "$uri" /lock -- true
	code 7 store lock "$uri" /lock -- sh -c 'exit 7'
	# shellcheck disable=SC2016
	code 143 store lock "$uri" /lock -- sh -c 'kill -TERM $$'
	code 2 store lock "$uri" /lock -- ./no-such-program
	error_has no-such-program
	# shellcheck disable=SC2016
	code 0 store lock "$uri" /lock -- sh -c \
		'echo "$KVMIRROR_LOCK_KEY $KVMIRROR_LOCK_TOKEN" | tee token'
	equal "$1: the key" /lock "$(cut -d' ' -f1 token)"
	first=$(cut -d' ' -f2 token)

	note "$1: one holder at a time"
	rm -f go held
	agent_start "$1-holder" store lock "$uri" /lock -- \
		sh -c 'echo held >held; until [ -e go ]; do sleep 0.05; done'
	await 20 test -e held
	code 1 store lock "$uri" /lock --try -- true
	error_has /lock
	rm -f second
	# shellcheck disable=SC2016
	agent_start "$1-waiter" store lock "$uri" /lock -- \
		sh -c 'echo "$KVMIRROR_LOCK_TOKEN" >second'
	code 0 store lock "$uri" /elsewhere -- test ! -e second
	touch go
	proc_wait "$1-holder" || fail "$1: the holder ended with $?"
	proc_wait "$1-waiter" || fail "$1: the waiter ended with $?"
	second=$(cat second)
	[ "$second" -gt "$first" ] || fail "$1: token $second after $first"

	note "$1: SIGTERM goes to the command; a wait ends by it"
	rm -f held go
	# shellcheck disable=SC2016
	agent_start "$1-holder" store lock "$uri" /lock -- \
		sh -c 'trap "exit 5" TERM; echo held >held
			until [ -e go ]; do sleep 0.05; done'
	await 20 test -e held
	agent_start "$1-waiter" store lock "$uri" /lock --log-level debug -- true
	await 20 proc_alive "$1-waiter"
	proc_signal "$1-holder" TERM
	proc_wait "$1-holder"
	equal "$1: the command's code" 5 "$?"
	proc_wait "$1-waiter" || fail "$1: the waiter ended with $?"

	note "$1: whoever stops for too long has lost it"
	rm -f held ended
	agent_start "$1-holder" store lock "$uri" /lock --ttl 1 -- \
		sh -c 'trap "echo ended >ended; exit 0" TERM
			echo held >held; while :; do sleep 0.05; done'
	await 20 test -e held
	proc_freeze "$1-holder"
	code 0 store lock "$uri" /lock -- test ! -e ended
	proc_thaw "$1-holder"
	proc_wait "$1-holder"
	equal "$1: who lost the lock" 3 "$?"
	test -e ended || fail "$1: the command was not told to end"
	grep -q 'the lock is lost' "$1-holder.log" ||
		fail "$1: not a word of the loss"

	note "$1: killed, it ends with its time"
	rm -f held
	# shellcheck disable=SC2016
	agent_start "$1-holder" store lock "$uri" /lock --ttl 1 -- \
		sh -c 'echo $$ >pid; mv pid held; exec sleep 600'
	await 20 test -e held
	proc_kill "$1-holder"
	code 0 store lock "$uri" /lock -- true
	kill "$(cat held)" # outlived its parent, as any child would
}

code 2 store lock sqlite:x.db /lock
error_has "COMMAND is missing"
code 2 store lock sqlite:x.db lock -- true
code 3 store lock etcd://127.0.0.1:1 /lock --timeout 1 -- true

locks sqlite "sqlite:$T/lock.db?prefix=/app"
etcd_start e
locks etcd "$(etcd_uri e)/app"
note done
