#!/usr/bin/env bash
# test_cli_zk.sh: the command line against real ZooKeeper servers: every store
# call, what a server cannot name and how it is escaped, what may not be read,
# what ZooKeeper to ZooKeeper keeps.
. "$(dirname "$0")/../fixtures/lib.sh"
. "$(dirname "$0")/stores.bash"
need_zk
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

store_start a zk
store_start b zk
A=$(zk_uri a)
B=$(zk_uri b)

# ---- store calls ---------------------------------------------------------------
note "store calls"
run "put" 0 store put "$A/app" /x hello
equal "put stands at the prefix" hello "$(zk_do a <<<'get /app/x')"
run "get" 0 store get "$A/app" /x
out_is "get" hello
run "put deep" 0 store put "$A/app" /d/e/1 one
zk_do a <<<'put /apple/z no'
run "tree" 0 store tree "$A/app"
out_is "tree" "$(printf '/d/e/1\tone\n/x\thello')"
run "list" 0 store list "$A/app" /d
out_is "list" /d/e/1
run "exists" 0 store exists "$A/app" /x
run "a parent is no key" 1 store exists "$A/app" /d
agent_start watch store watch "$A/app" --count 2
await 20 grep -q init watch.log
zk_do a <<<'put /app/w 1'
await 20 grep -q "/w" watch.log
zk_do a <<<'del /app/w'
proc_wait watch || fail "watch ended with $?"
grep -q "delete.*/w" watch.log || fail "watch: no delete"
run "delete --recursive" 0 store delete "$A/app" /d --recursive
equal "with its parents" "" "$(zk_do a <<<'stat /app/d')"
run "nothing there" 1 store list "$A/app" /d
run "a name that cannot be" 3 store put "$A/app" /a//b v

# ---- any bytes, there and back -------------------------------------------------
note "any key and back: file -> etcd -> ZooKeeper -> etcd -> file"
etcd_start e
"$KVMIRROR" store put "sqlite:$T/from.db" /plain x || fail "from.db"
sqlite3 "$T/from.db" "
	INSERT INTO kv(key, value) VALUES
	('/a//b', 'two slashes'), ('/trail/', 'slash'), ('/trail', 'none'),
	('/', 'only'), ('//', 'two'), ('///', 'three'), ('/.', 'dot'),
	('/..', 'dots'), ('/a/./b', 'in'), ('/a/../b', 'up'), ('/...', 'fine'),
	('/%', 'percent'), ('/%2F', 'as escaped'), ('/%2f', 'small'),
	('/a%', 'end'), ('/100%25', 'twice'), ('/zookeeper', 'its own name'),
	('/zookeeper/quota', 'q'), ('/nl' || char(10) || 'x', 'line feed'),
	('/sp ace', ' '), ('/é', 'utf-8'), ('/empty', ''),
	('/' || char(127), 'del'), ('/' || char(65533), 'special'),
	(X'2F6E756C0078', 'nul'), (X'2FFF', 'no utf-8'), (X'2F6101', 'control'),
	(X'2FEFBFBF', 'U+FFFF'), (X'2FED9FBF', 'last before surrogates'),
	(X'2FEDA080', 'surrogate'), (X'2FF09F9491', 'emoji'),
	('/deep/er/and/er', X'00FF0A80'), ('/deep/er', 'both'), ('/deep', '')"
sqlite3 "$T/from.db" "SELECT hex(key) || ' ' || hex(value) FROM kv
	ORDER BY 1" >from.txt
sync() { # SOURCE TARGET OPTION...
	"$KVMIRROR" sync "$@" --state "$T/pass-$((SYNCS += 1))" \
		>"$T/sync.log" 2>&1 || fail "sync $* ended with $?"
}
SYNCS=0
sync "sqlite:$T/from.db" "$(etcd_uri e /one)"
sync "$(etcd_uri e /one)" "$A/round" --escape percent
run "equal" 0 diff "$(etcd_uri e /one)" "$A/round" --escape percent
sync "$A/round" "$(etcd_uri e /two)" --escape percent
sync "$(etcd_uri e /two)" "sqlite:$T/to.db"
sqlite3 "$T/to.db" "SELECT hex(key) || ' ' || hex(value) FROM kv
	ORDER BY 1" >to.txt
diff from.txt to.txt || fail "the round trip changed something"
note "... and without escape: quarantined with the reason"
run "some cannot be carried" 1 sync "$(etcd_uri e /one)" "$A/plain" \
	--state "$T/state-q"
run "listed" 0 status --state "$T/state-q" --list quarantine
for name in '/a//b' '/trail/' '/.' '/a/../b'; do
	grep -qF -- "$name" out || fail "$name is not listed: $(cat out)"
done

# ---- what may not be read ------------------------------------------------------
note "a znode that may not be read is listed, and not deleted"
zk_do a m:mpw <<-END
	put /acl/open 1
	put /acl/closed 2
	put /acl/dir/below 3
END
sync "$A/acl" "sqlite:$T/acl.db"
zk_do a m:mpw <<-END
	closeoff /acl/closed
	closeoff /acl/dir
	put /acl/open 4
END
STATE=$T/pass-$SYNCS
for round in 1 2; do
	run "pass $round" 1 sync "$A/acl" "sqlite:$T/acl.db" --state "$STATE"
	equal "kept" 2 "$("$KVMIRROR" store get "sqlite:$T/acl.db" /closed)"
	equal "kept" 3 "$("$KVMIRROR" store get "sqlite:$T/acl.db" /dir/below)"
	equal "moves on" 4 "$("$KVMIRROR" store get "sqlite:$T/acl.db" /open)"
	run "listed" 0 status --state "$STATE" --list quarantine
	grep -q /closed out || fail "/closed is not listed: $(cat out)"
done
M_PW=m:mpw run "with credentials" 0 sync "$A/acl?digest=env:M_PW" \
	"sqlite:$T/acl2.db" --state "$T/state-acl2"
equal "read" 2 "$("$KVMIRROR" store get "sqlite:$T/acl2.db" /closed)"
zk_do a m:mpw <<-END
	openup /acl/closed
	openup /acl/dir
END
run "opened again" 0 sync "$A/acl" "sqlite:$T/acl.db" --state "$STATE"

# ---- ephemerals ----------------------------------------------------------------
note "ephemerals, as plain keys that go with them"
mkfifo life
exec 8<>life
proc_start owner bash -c "exec '$ZKHAND' $(zk_endpoints a) <life"
printf 'put /eph/stays 1\nephemeral /eph/goes 2\nsay made\n' >&8
await 20 grep -q made owner.log
run "skipped" 0 sync "$A/eph?ephemerals=skip" "sqlite:$T/skip.db" \
	--state "$T/state-skip"
run "not there" 1 store exists "sqlite:$T/skip.db" /goes
route a /eph b /eph
follow
equal "mirrored" 2 "$(zk_do b <<<'get /eph/goes')"
equal "as a plain one" 0 "$(zk_do b <<<'stat /eph/goes' | cut -d' ' -f5)"
proc_kill owner
exec 8>&-
await 30 target_is /goes ""
follow_stop

# ---- ZooKeeper to ZooKeeper ----------------------------------------------------
note "null data and ACLs, ZooKeeper to ZooKeeper"
zk_do a m:mpw <<-END
	null /zz/null
	put /zz/empty
	put /zz/both/child 1
	put /zz/both 2
	put /zz/mine 3
	closeoff /zz/mine
END
export M_PW=m:mpw
sync "$A/zz?digest=env:M_PW&acls=copy" "$B/zz?digest=env:M_PW&acls=copy"
equal "null stays null" "$(zk_do a <<<'dump /zz/null')" \
	"$(zk_do b <<<'dump /zz/null')"
zk_do b m:mpw <<<'dump /zz' >zz.b
zk_do a m:mpw <<<'dump /zz' >zz.a
check "the same" cmp zz.a zz.b
! grep -q null zz.b || fail "null became empty"
! zk_do b <<<'get /zz/mine' 2>/dev/null || fail "the ACL was not carried"
run "diff" 0 diff "$A/zz?digest=env:M_PW" "$B/zz?digest=env:M_PW"
