#!/usr/bin/env bash
# test_cli_etcd.sh: the command line against real etcd servers: what a server
# can refuse, and what it cannot hold.
. "$(dirname "$0")/../fixtures/lib.sh"
need_etcd
need sqlite3

export XDG_STATE_HOME=$T/xdg
cd "$T" || exit 1

# run WHAT CODE ARGUMENTS...: kvmirror must end with CODE.
run() {
	local what=$1 want=$2 code=0

	shift 2
	"$KVMIRROR" "$@" >out 2>err </dev/null || code=$?
	if [ "$code" != "$want" ]; then
		sed 's/^/  out| /' out | tail -n 20
		sed 's/^/  err| /' err | tail -n 20
		fail "$what: '$*' ended with $code, expected $want"
	fi
}
out_is() { equal "$1" "$2" "$(cat out)"; }
out_has() { grep -qF -- "$2" out || fail "$1: no '$2' in: $(cat out)"; }
# error WHAT CODE TEXT ARGUMENTS...: one line of error that holds TEXT.
error() {
	local what=$1 code=$2 text=$3

	shift 3
	run "$what" "$code" "$@"
	equal "$what: lines of error" 1 "$(grep -c '^kvmirror: ' err)"
	grep '^kvmirror: ' err | grep -qF -- "$text" ||
		fail "$what: no '$text' in: $(cat err)"
}

etcd_start e
E=$(etcd_uri e)

# ---- store calls ---------------------------------------------------------------
run "put" 0 store put "$E/app" /x hello
equal "put stands at the prefix" hello "$(ectl e get /app/x --print-value-only)"
run "get" 0 store get "$E/app" /x
out_is "get" hello
run "get, prefix as an option" 0 store get "$E?prefix=/app" /x
out_is "get, prefix as an option" hello
error "missing" 1 "/y" store get "$E/app" /y
run "put more" 0 store put "$E/app" /d/1 one
run "put more" 0 store put "$E/apple" /z no
run "tree" 0 store tree "$E/app"
out_is "tree" "$(printf '/d/1\tone\n/x\thello')"
agent_start watch store watch "$E/app" --count 2
await 20 grep -q init watch.log
ectl e put /app/w 1 >/dev/null
ectl e del /app/w >/dev/null
proc_wait watch || fail "watch ended with $?"
grep -q "delete.*/w" watch.log || fail "watch: no delete"
run "delete --recursive" 0 store delete "$E/app" /d --recursive
error "nothing there" 1 "/d" store list "$E/app" /d

# ---- sync, diff, dry run --------------------------------------------------------
for i in $(seq 20); do ectl e put "/app/k$i" "v$i" >/dev/null; done
run "dry run" 0 sync --dry-run "$E/app" "$E/mirror"
out_has "dry run" "21 put"
equal "dry run wrote nothing" "" "$(ectl e get --prefix /mirror/)"
run "sync" 0 sync "$E/app" "$E/mirror"
run "diff" 0 diff "$E/app" "$E/mirror"
ectl e put /mirror/k1 theirs >/dev/null
run "diff" 1 diff "$E/app" "$E/mirror"
out_is "diff" "changed /k1"
run "repair" 0 diff "$E/app" "$E/mirror" --repair
run "diff" 0 diff "$E/app" "$E/mirror"
error "overlap" 2 "overlap" sync "$E/app" "$E/app/below"
error "overlap of endpoints" 2 "overlap" \
	sync "$E/app" "etcd://localhost:1,$(etcd_endpoints e)/app/x"

# diff beside a live mirror: keys that move are read a second time
agent_start live sync "$E/app" "$E/mirror" --follow
for i in $(seq 30); do
	ectl e put "/app/moving$((i % 7))" "$i" >/dev/null || fail "put"
	[ $((i % 10)) != 0 ] || "$KVMIRROR" diff "$E/app" "$E/mirror" >>moving.out
done
await 60 "$KVMIRROR" store exists "$E/mirror" /moving6
await 30 "$KVMIRROR" diff "$E/app" "$E/mirror"
proc_stop live || fail "--follow: SIGTERM ended with $?"

# ---- a value too large for the target --------------------------------------------
run "small" 0 store put sqlite:big.db /small 1
sqlite3 big.db "INSERT INTO kv(key, value) VALUES('/large',
	CAST(zeroblob(4000000) AS BLOB))" || fail "a large value"
error "too large" 1 "quarantine" sync sqlite:big.db "$E/big"
run "the others are carried" 0 store get "$E/big" /small
out_is "the others are carried" 1
run "listed" 0 status sqlite:big.db "$E/big" --list quarantine
out_has "listed" "$(printf '/large\t')"
run "listed, JSON" 0 status sqlite:big.db "$E/big" --list quarantine --json
out_has "listed, JSON" '"key":"/large"'
run "explained" 0 status sqlite:big.db "$E/big" --key /large
out_has "explained" "cannot be carried"
run "counted" 0 status sqlite:big.db "$E/big" --json
out_has "counted" '"quarantine":1'
run "diff" 1 diff sqlite:big.db "$E/big"
out_is "diff" "missing /large"
run "diff --owned" 0 diff sqlite:big.db "$E/big" --owned
run "dry run" 1 sync --dry-run sqlite:big.db "$E/other"
out_has "dry run" "quarantine /large"
sqlite3 big.db "UPDATE kv SET value = 'fits' WHERE length(value) > 9"
run "carried when it fits" 0 sync sqlite:big.db "$E/big"
run "nothing listed" 0 status sqlite:big.db "$E/big" --list quarantine
out_is "nothing listed" ""

# ---- a server that is away, or says nothing ----------------------------------------
etcd_freeze e
error "frozen, store" 3 "$(etcd_endpoints e)" store get --timeout 1 "$E/app" /x
error "frozen, sync" 3 "$(etcd_endpoints e)" sync --timeout 1 "$E/app" sqlite:t.db
error "frozen, diff" 3 "$(etcd_endpoints e)" diff --timeout 1 "$E/app" "$E/mirror"
etcd_thaw e
run "thawed" 0 sync "$E/app" sqlite:t.db

# waits for a server that comes within the time
etcd_stop e
agent_start early sync "$E/app" sqlite:t.db --timeout 60
etcd_restart e
proc_wait early || fail "sync that waited for its server ended with $?"

# ---- wrong credentials ---------------------------------------------------------------
etcd_start locked
etcd_auth locked
L=$(etcd_uri locked /m)
export GOOD=mpw WRONG=nope
error "no user" 3 "user" store get "$L" /x
run "right password" 0 store put "$L?user=m&password=env:GOOD" /x 1
error "wrong password, store" 3 "password" \
	store get "$L?user=m&password=env:WRONG" /x
error "wrong password, sync" 3 "password" \
	sync "$L?user=m&password=env:WRONG" sqlite:l.db
error "wrong password, target" 3 "password" \
	sync sqlite:big.db "$L?user=m&password=env:WRONG"
error "wrong password, diff" 3 "password" \
	diff "$L?user=m&password=env:WRONG" sqlite:big.db
error "password in the URI" 2 "env:" sync "$L?user=m&password=hunter2" sqlite:l.db
! grep -q hunter2 err || fail "the password is told: $(cat err)"
error "no such variable" 2 "NOWHERE" \
	sync "$L?user=m&password=env:NOWHERE" sqlite:l.db
error "outside of what the user may" 3 "permi" \
	sync "$(etcd_uri locked /other)?user=m&password=env:GOOD" sqlite:l.db
run "right password" 0 sync "$L?user=m&password=env:GOOD" sqlite:l.db
run "carried" 0 store get sqlite:l.db /x

# run: the refused route is FAILED and shown as such, the other one goes on
cat >run.yaml <<-END
	state: $T/run.db
	routes:
	  - {name: bad, source: '$L?user=m&password=env:WRONG', target: 'sqlite:bad.db'}
	  - {name: good, source: '$L?user=m&password=env:GOOD', target: 'sqlite:good.db'}
END
agent_start agent run -c run.yaml
await 30 "$KVMIRROR" store exists sqlite:good.db /x
await 30 sh -c "'$KVMIRROR' status -c run.yaml bad | grep -q 'bad: FAILED'"
run "put" 0 store put "$L?user=m&password=env:GOOD" /y 2
await 30 "$KVMIRROR" store exists sqlite:good.db /y
proc_stop agent || fail "run: SIGTERM ended with $?"

echo PASS
