#!/usr/bin/env bash
# test_cli_sqlite.sh: every command of the command line against the embedded
# store, and what each says and does about bad input.
. "$(dirname "$0")/../fixtures/lib.sh"
need sqlite3 setpriv

export XDG_STATE_HOME=$T/xdg
SAMPLES=$FIXTURES/../../conf/samples
cd "$T" || exit 1

# run WHAT CODE ARGUMENTS...: kvmirror must end with CODE; its output is in
# $T/out and $T/err. An error is one line, and names itself.
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
follows() { "$KVMIRROR" "$@" | grep -q FOLLOWING; }
sql() { sqlite3 "$@"; }
fill() { sql "$1" "$2" || fail "sqlite3 $1"; }

# ---- usage -------------------------------------------------------------------
run "version" 0 version
out_has "version" "kvmirror "
run "--version" 0 --version
run "help" 0 --help
run "help of a command" 0 sync --help
out_has "help of a command" "--max-delete"
run "no command" 2
error "unknown command" 2 "frob" frob
error "unknown option" 2 "--frob" sync sqlite:a sqlite:b --frob
error "missing argument" 2 "missing" sync sqlite:a
error "lock without a command" 2 "COMMAND is missing" store lock sqlite:a /x
error "admin" 2 "not supported" status --admin http://127.0.0.1:1
run "backends" 0 backends
out_has "backends" "sqlite"
out_has "backends" "etcds"
run "backends --json" 0 backends --json
out_has "backends --json" '"name":"etcd"'

# ---- check -------------------------------------------------------------------
for sample in "$SAMPLES"/*.yaml; do
	run "sample ${sample##*/}" 0 check -c "$sample"
	out_has "sample" "ok"
done
error "check without a file" 2 "-c FILE" check
error "check of no file" 2 "none.yaml" check -c none.yaml
cat >typo.yaml <<-'END'
	state: s.db
	routes:
	  - name: a
	    source: sqlite:a.db
	    target: sqlite:b.db
	    conflit: stop
END
error "typo" 2 "typo.yaml:6: unknown setting 'conflit'" check -c typo.yaml
error "typo, run" 2 "typo.yaml:6: unknown setting 'conflit'" run -c typo.yaml
sed 's/conflit: stop/conflict: soon/' typo.yaml >typo2.yaml
error "bad value" 2 "typo2.yaml:6: conflict: 'soon'" check -c typo2.yaml
sed 's/conflit: stop/conflict: stop/; s/sqlite:b.db/frob:b/' typo.yaml >typo3.yaml
error "bad scheme" 2 "typo3.yaml:3: route 'a': target" check -c typo3.yaml
sed 's/conflit: stop/conflict: stop/; s/b.db/b.db?frob=1/' typo.yaml >typo4.yaml
error "bad option" 2 "option 'frob'" check -c typo4.yaml

# ---- store -------------------------------------------------------------------
A=sqlite:a.db
B=sqlite:b.db
error "get from no file" 2 "a.db" store get $A /x
run "put" 0 store put $A /x hello
run "get" 0 store get $A /x
out_is "get" hello
equal "get: bytes as they are" 5 "$(stat -c %s out)"
run "get --json" 0 store get $A /x --json
out_has "get --json" '"value":"aGVsbG8="'
run "exists" 0 store exists $A /x
out_is "exists" true
run "exists not" 1 store exists $A /nope
out_is "exists not" false
error "get of a missing key" 1 "/nope" store get $A /nope
error "delete of a missing key" 1 "/nope" store delete $A /nope
error "key without slash" 2 "begin with '/'" store put $A x y
error "no key" 2 "KEY is missing" store get $A
error "no value" 2 "VALUE is missing" store put $A /x
error "unknown call" 2 "frob" store frob $A
printf 'a\0b\n' | "$KVMIRROR" store put $A /bin - || fail "put from stdin"
run "get of bytes" 0 store get $A /bin
equal "bytes" 6100620a "$(od -An -tx1 out | tr -d " \n")"
run "put below" 0 store put $A /d/one 1
run "put below" 0 store put $A /d/two 2
run "put beside" 0 store put $A /dx 3
run "list" 0 store list $A /d
out_is "list" "$(printf '/d/one\n/d/two')"
run "list all" 0 store list $A
out_is "list all" "$(printf '/bin\n/d/one\n/d/two\n/dx\n/x')"
run "tree" 0 store tree $A /d
out_is "tree" "$(printf '/d/one\t1\n/d/two\t2')"
error "list of nothing" 1 "/none" store list $A /none
run "prefix" 0 store list "$A?prefix=/d"
out_is "prefix" "$(printf '/one\n/two')"
run "delete --recursive" 0 store delete $A /d --recursive --json
out_has "delete --recursive" '"deleted":2'
run "beside stays" 0 store exists $A /dx
fill a.db "INSERT INTO kv(key, value) VALUES(x'2f66ff', 'odd'), ('/sp ace%', 'p')"
run "odd keys" 0 store list $A
out_has "odd keys" "/f%FF"
out_has "odd keys" "/sp ace%25"
run "odd keys, JSON" 0 store list $A --json
out_has "odd keys, JSON" '"key_b64":"L2b/"'

# watch: what came since an index, then as it comes, then SIGTERM
agent_start watch store watch $A
await 20 grep -q init watch.log
run "put while watched" 0 store put $A /w 1
await 20 grep -q "/w" watch.log
run "delete while watched" 0 store delete $A /w
await 20 grep -q "delete" watch.log
proc_stop watch || fail "watch: SIGTERM ended with $?"
first=$(head -n 1 watch.log | cut -f 1)
run "watch --index" 0 store watch $A --index "$first" --count 1
out_has "watch --index" "$(printf 'delete\t/w')"
run "watch of one key" 0 store watch $A /w --index "$first" --count 1 --json
out_has "watch of one key" '"key":"/w"'

# what cannot be written is an error
code=0
"$KVMIRROR" store tree $A >/dev/full 2>err || code=$?
equal "full disk behind standard output" 3 $code
grep -q "standard output" err || fail "full disk: $(cat err)"
code=0
{ "$KVMIRROR" store tree $A 2>err || echo $? >code; } | true
equal "closed pipe" 3 "$(cat code 2>/dev/null || echo 0)"

# ---- sync --------------------------------------------------------------------
fill a.db "DELETE FROM kv; INSERT INTO kv(key, value) VALUES
	('/a', '1'), ('/b/c', '2'), ('/tmp/x', '3'), (x'2f66ff', 'odd')"

# a dry run writes nothing, nowhere
run "dry run" 0 sync --dry-run $A $B
out_has "dry run" "put /a"
out_has "dry run" "4 put"
[ ! -e b.db ] || fail "dry run made the target"
[ ! -e xdg ] || fail "dry run made a state"
run "dry run, JSON" 0 sync --dry-run --json $A $B
out_has "dry run, JSON" '{"action":"put","key":"/a"}'

run "sync" 0 sync $A $B
grep -qx 'index [0-9]*' out || fail "sync: $(cat out)"
equal "sync" 4 "$(sql b.db 'SELECT count(*) FROM kv')"
run "diff" 0 diff $A $B
out_is "diff" ""
run "sync again" 0 sync $A $B --json --quiet
out_has "sync again" '"index":'
out_has "sync again" '"written":0'
[ ! -s err ] || fail "--quiet: $(cat err)"
run "dry run of nothing" 0 sync --dry-run $A $B
out_has "dry run of nothing" "0 put"

# status, by pair, by file, by folder
run "status" 0 status $A $B --json
out_has "status" '"phase":"STOPPED"'
out_has "status" '"keys":4'
out_has "status" '"held":null'
STATE=$(ls "$T"/xdg/kvmirror/*.db)
run "status --state" 0 status --state "$STATE"
out_has "status --state" "keys 4, conflicts 0, quarantine 0, foreign 0"
run "status of the folder" 0 status
out_has "status of the folder" "$STATE"
# another pair leaves that ledger alone, and says so
run "another source" 0 store put sqlite:pair.db /p 1
error "another pair's state" 2 "--state file of its own" \
	sync sqlite:pair.db sqlite:pair2.db --state "$STATE"
error "the same, planned" 2 "--state file of its own" \
	sync sqlite:pair.db sqlite:pair2.db --state "$STATE" --dry-run
run "status after another pair" 0 status --state "$STATE"
out_has "status after another pair" "keys 4, conflicts 0"
error "status of no file" 3 "none.db" status --state none.db
error "status --list what" 2 "--list 'x'" status --list x

# diff: all three kinds, both formats, odd keys
fill b.db "UPDATE kv SET value = 'other' WHERE key = CAST('/a' AS BLOB) OR key = '/a'"
fill b.db "INSERT INTO kv(key, value) VALUES('/extra', 'e')"
run "put odd" 0 store put $A /b/d new
fill a.db "INSERT INTO kv(key, value) VALUES(x'2f67ff', 'x')"
run "diff of much" 1 diff $A $B
out_is "diff of much" "$(printf 'changed /a\nmissing /b/d\nextra /extra\nmissing /g%%FF')"
run "diff --json" 1 diff $A $B --json
out_has "diff --json" '{"kind":"changed","key":"/a","source_index":'
out_has "diff --json" '"kind":"missing","key_b64":"L2f/"'
out_has "diff --json" '"kind":"extra","key":"/extra","source_index":null'
equal "diff --json" 4 "$(grep -c '^{.*}$' out)"
run "diff --owned" 1 diff $A $B --owned
out_is "diff --owned" "$(printf 'changed /a\nmissing /b/d\nmissing /g%%FF')"
run "diff, filtered" 0 diff $A $B --include '/tmp/**'
run "diff --repair" 0 diff $A $B --repair
run "diff after repair" 1 diff $A $B
out_is "diff after repair" "extra /extra"
run "diff --owned after repair" 0 diff $A $B --owned
run "status --list foreign" 0 status $A $B --list foreign
out_is "status --list foreign" /extra
run "status --list foreign --json" 0 status $A $B --list foreign --json
out_has "status --list foreign --json" '{"route":"sync","key":"/extra"}'
run "status --key, owned" 0 status $A $B --key /a
out_has "status --key, owned" "mirrored"
run "status --key, foreign" 0 status $A $B --key /extra --json
out_has "status --key, foreign" '"foreign":true'
run "status --key, unknown" 0 status $A $B --key /none
out_has "status --key, unknown" "not known"

# --repair without a state deletes nothing, and leaves no state
run "repair without a state" 0 diff $A $B --repair --delete all --state none.db
run "extra is still there" 0 store exists $B /extra
[ ! -e none.db ] || fail "repair made a state"

# conflicts: journaled; `stop` holds
run "conflict" 0 store put $B /b/c theirs
run "sync, a drift is repaired" 0 sync $A $B
run "repaired" 0 store get $B /b/c
out_is "repaired" 2
run "conflict under stop" 0 store put $B /new theirs
run "conflict under stop" 0 store put $A /new ours
error "conflict under stop" 1 "held" sync $A $B --conflict stop
run "left alone" 0 store get $B /new
out_is "left alone" theirs
run "source wins" 0 sync $A $B
run "status --list conflicts" 0 status $A $B --list conflicts
out_has "status --list conflicts" "/new"
run "status --list conflicts" 0 status $A $B --list conflicts --json
out_has "status --list conflicts" '"source_hash":'

# deletes: told ones are carried out; --delete all takes foreign ones, too
run "delete" 0 store delete $A /new
run "sync a delete" 0 sync $A $B
run "deleted" 1 store exists $B /new
run "sync --delete all" 0 sync $A $B --delete all
run "foreign deleted" 1 store exists $B /extra
run "equal" 0 diff $A $B

# filters: what falls out is released, not deleted
run "filter" 0 sync $A $B --exclude '/tmp/**'
run "released" 0 store exists $B /tmp/x
run "filter off" 0 sync $A $B

# ---- bad input -----------------------------------------------------------------
error "unknown scheme" 2 "no backend for scheme 'frob'" sync frob:a $B
error "unknown option of a URI" 2 "option 'frob'" sync "$A?frob=1" $B
error "no URI" 2 "expected a URI" sync here there
error "source not there" 2 "source" sync sqlite:none.db $B
[ ! -e none.db ] || fail "a source was made"
error "overlap" 2 "overlap" sync $A "sqlite:$T/a.db"
error "overlap of prefixes" 2 "overlap" sync "$A?prefix=/a" "$A?prefix=/a/b"
run "prefixes beside each other" 0 sync "$A?prefix=/b" "$A?prefix=/copy"
run "undo" 0 store delete $A /copy --recursive
error "newest" 2 "newest" sync $A $B --conflict newest
error "dry run that follows" 2 "exclude" sync $A $B --dry-run --follow
error "unreachable source" 3 "127.0.0.1:1" sync --timeout 0.5 etcd://127.0.0.1:1/x $B
error "unreachable target" 3 "127.0.0.1:1" sync --timeout 0.5 $A etcd://127.0.0.1:1/x
error "unreachable, diff" 3 "127.0.0.1:1" diff --timeout 0.5 $A etcd://127.0.0.1:1/x
error "unreachable, store" 3 "127.0.0.1:1" store list --timeout 0.5 etcd://127.0.0.1:1/x
error "broken state" 3 "$T/typo.yaml" sync $A $B --state "$T/typo.yaml"
grep -q conflit typo.yaml || fail "a file that is no state was written to"

# a state file in use: both who comes second and --repair are told who has it
agent_start holder sync $A $B --follow
await 30 follows status $A $B
error "state in use" 3 "$(proc_pid holder)" sync $A $B
run "put for repair" 0 store put $A /later 1
await 30 "$KVMIRROR" store exists $B /later
run "delete at the target" 0 store delete $B /tmp/x
error "repair while held" 3 "$(proc_pid holder)" diff $A $B --repair
run "status beside an agent" 0 status $A $B --json
out_has "status beside an agent" '"phase":"FOLLOWING"'
run "dry run beside an agent" 0 sync --dry-run $A $B
proc_signal holder USR1
await 20 grep -q '"msg":"status"\|msg=status' holder.log
proc_stop holder || fail "--follow: SIGTERM ended with $?"
grep -q '^index [0-9]' holder.log || fail "--follow: no index at the end"
run "nothing is lost" 0 sync $A $B
run "equal" 0 diff $A $B

# no permission; as root, which may all, by somebody else
as_nobody() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
	else
		"$@"
	fi
}
chmod 755 "$T"
if as_nobody test -x "$KVMIRROR"; then
	mkdir closed
	chmod 555 closed
	cp a.db plain.db
	chmod 444 plain.db
	code=0
	as_nobody "$KVMIRROR" sync sqlite:plain.db sqlite:closed/t.db \
		--state closed/s.db >out 2>err || code=$?
	equal "no permission for the state" 3 $code
	equal "no permission: one line" 1 "$(grep -c '^kvmirror: ' err)"
	grep -q "closed/s.db" err || fail "no permission: $(cat err)"
	mkdir open
	chmod 777 open
	code=0
	as_nobody "$KVMIRROR" sync sqlite:plain.db sqlite:closed/t.db \
		--state open/s.db >out 2>err || code=$?
	equal "no permission for the target" 3 $code
	grep -q "closed/t.db" err || fail "no permission: $(cat err)"
	chmod 000 plain.db
	code=0
	as_nobody "$KVMIRROR" sync sqlite:plain.db sqlite:open/t.db \
		--state open/s.db >out 2>err || code=$?
	equal "no permission for the source" 3 $code
	grep -q "plain.db" err || fail "no permission: $(cat err)"
	cp typo.yaml secret.yaml
	chmod 000 secret.yaml
	code=0
	as_nobody "$KVMIRROR" check -c secret.yaml >out 2>err || code=$?
	equal "no permission for the configuration" 2 $code
	# run: the others go on, and it comes when the permission does
	mkdir wait
	chmod 777 wait
	cp a.db wait/a.db
	cp a.db wait/b.db
	chmod 666 wait/a.db
	chmod 000 wait/b.db
	cat >wait.yaml <<-END
		state: $T/wait/s.db
		routes:
		  - {name: shut, source: 'sqlite:$T/wait/b.db', target: 'sqlite:$T/wait/tb.db'}
		  - {name: open, source: 'sqlite:$T/wait/a.db', target: 'sqlite:$T/wait/ta.db'}
	END
	run_as=()
	[ "$(id -u)" != 0 ] ||
		run_as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
	proc_start patient "${run_as[@]}" "$KVMIRROR" run -c wait.yaml
	await 30 "$KVMIRROR" store exists sqlite:wait/ta.db /a
	proc_alive patient || fail "run: one closed store ended it"
	grep -q "wait/b.db" patient.log || fail "run: the closed store is not told"
	chmod 666 wait/b.db
	await 60 "$KVMIRROR" store exists sqlite:wait/tb.db /a
	proc_stop patient || fail "run: SIGTERM ended with $?"
else
	note "nobody may run $KVMIRROR: permissions not tested"
fi

# disk full: at the target, at the state
on_small_disk() {
	unshare -m sh -c 'mount -t tmpfs -o size=400k none "$0" && exec "$@"' \
		"$@" 2>err
}
mkdir small
if unshare -m sh -c 'mount -t tmpfs -o size=400k none "$0"' small 2>err; then
	run "a big source" 0 store put sqlite:big.db /k 0
	fill big.db "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1
		FROM n WHERE i < 300) INSERT INTO kv(key, value)
		SELECT '/k' || i, hex(randomblob(2000)) FROM n"
	code=0
	on_small_disk small "$KVMIRROR" sync sqlite:big.db sqlite:small/t.db \
		--state full.db --timeout 2 >out || code=$?
	equal "disk full at the target" 3 $code
	equal "disk full: one line" 1 "$(grep -c '^kvmirror: ' err)"
	grep '^kvmirror: ' err | grep -q "small/t.db" ||
		fail "disk full at the target: $(cat err)"
	code=0
	on_small_disk small "$KVMIRROR" sync sqlite:big.db sqlite:t.db \
		--state small/s.db --timeout 2 >out || code=$?
	case $code in
	0) ;; # a ledger of 300 keys may well fit
	3) grep '^kvmirror: ' err | grep -q "small/s.db" ||
		fail "disk full at the state: $(cat err)" ;;
	*) fail "disk full at the state: $code" ;;
	esac
	run "with room, it goes on" 0 sync sqlite:big.db sqlite:t2.db --state full2.db
	run "equal" 0 diff sqlite:big.db sqlite:t2.db
else
	note "no small disk can be made: disk full not tested"
fi

# a signal before the end: told, and nothing is lost
free_ports 1
proc_start waiting "$KVMIRROR" sync "etcd://127.0.0.1:${PORTS[0]}/x" $B --state w.db
await 20 grep -q trouble waiting.log
proc_signal waiting INT
code=0
proc_wait waiting || code=$?
equal "SIGINT before the end" 3 $code
grep -q "kvmirror: sync: ended by a signal" waiting.log || fail "SIGINT is not told"

# a source that is empty all of a sudden: held, nothing is deleted. (Another
# file in its place: its history tells no deletes.)
before=$(sql b.db 'SELECT count(*) FROM kv')
mkdir away
mv a.db* away/
run "an empty source" 0 store put $A /only 1
run "an empty source" 0 store delete $A /only
error "an empty source" 1 "held" sync $A $B
equal "nothing is deleted" "$before" "$(sql b.db 'SELECT count(*) FROM kv')"
run "held is shown" 0 status $A $B --json
grep -q '"held":"' out || fail "held is not shown: $(cat out)"
rm -f a.db*
mv away/a.db* .
run "the source is back" 0 sync $A $B
run "equal" 0 diff $A $B

# ---- run -----------------------------------------------------------------------
cat >run.yaml <<-END
	state: $T/run.db
	log: {level: info, format: text}
	routes:
	  - {name: one, source: 'sqlite:a.db', target: 'sqlite:one.db'}
	  - {name: two, source: 'sqlite:a.db?prefix=/b', target: 'sqlite:two.db'}
END
error "run without a file" 2 "-c FILE" run
sed 's/one.db/a.db/' run.yaml >run3.yaml
error "run: overlap" 2 "overlap" run -c run3.yaml
sed "s/run.db/never.db/" run.yaml >run4.yaml
error "status of what never ran" 3 "never.db" status -c run4.yaml

# when files run out, the limit to raise is named
code=0
(ulimit -n 14 && "$KVMIRROR" sync $A sqlite:many.db --state many-s.db \
	--timeout 1 >out 2>err) || code=$?
[ "$code" = 3 ] || fail "too few files: ended with $code"
grep -q 'ulimit -n' err || fail "too few files: $(cat err)"

# one source that is not there stops its own route only
cat >run2.yaml <<-END
	state: $T/run2.db
	log: {level: info, format: text}
	routes:
	  - {name: lost, source: 'sqlite:none.db', target: 'sqlite:lost.db'}
	  - {name: found, source: 'sqlite:a.db', target: 'sqlite:found.db'}
END
agent_start waiting run -c run2.yaml
await 30 follows status -c run2.yaml found
grep -q 'none.db' waiting.log || fail "the lost source is not told"
run "status of a lost source" 0 status -c run2.yaml --json
out_has "status of a lost source" '"name":"lost"'
run "the source comes" 0 store put sqlite:none.db /x 1
await 60 follows status -c run2.yaml lost
proc_stop waiting || fail "run: SIGTERM ended with $?"

agent_start agent run -c run.yaml
await 30 "$KVMIRROR" diff -c run.yaml
await 30 follows status -c run.yaml one
await 30 follows status -c run.yaml two
run "status -c" 0 status -c run.yaml --json
out_has "status -c" '"name":"one","phase":"FOLLOWING"'
out_has "status -c" '"name":"two","phase":"FOLLOWING"'
run "status of one route" 0 status -c run.yaml two
! grep -q '^one:' out || fail "status of one route: $(cat out)"
error "status of no route" 2 "three" status -c run.yaml three
error "a second agent" 3 "$(proc_pid agent)" run -c run.yaml
run "follows" 0 store put $A /b/live 1
await 30 "$KVMIRROR" store exists sqlite:two.db /live

# a bad file changes nothing
cp run.yaml good.yaml
echo "frob: 1" >>run.yaml
proc_signal agent HUP
await 20 grep -q "configuration refused.*run.yaml:6" agent.log
sed 's/two.db/a.db/; s/level: info/level: error/' good.yaml >run.yaml
proc_signal agent HUP
await 20 grep -q "configuration refused.*overlap" agent.log
proc_signal agent USR1 # its log is as it was, too
await 20 grep -q "msg=\"\?status" agent.log
sed "s/run.db/run2.db/" good.yaml >run.yaml
proc_signal agent HUP
await 20 grep -q "configuration refused.*restart" agent.log
run "still follows" 0 store put $A /b/live 2
await 30 sh -c "[ \"\$('$KVMIRROR' store get sqlite:two.db /live)\" = 2 ]"

# a good one: one stays, two changes, three comes
cat >run.yaml <<-END
	state: $T/run.db
	log: {level: info, format: text}
	routes:
	  - {name: three, source: 'sqlite:a.db', target: 'sqlite:three.db'}
	  - {name: two, source: 'sqlite:a.db?prefix=/b', target: 'sqlite:two.db', exclude: [/live]}
	  - {name: one, source: 'sqlite:a.db', target: 'sqlite:one.db'}
END
proc_signal agent HUP
await 20 grep -q "configuration read again" agent.log
await 30 "$KVMIRROR" diff -c run.yaml three
grep -q 'route changed.*two' agent.log || fail "two did not change"
! grep -q 'route changed.*one' agent.log || fail "one changed"
run "excluded" 0 store put $A /b/live 3
run "not excluded" 0 store put $A /b/other 3
await 30 "$KVMIRROR" store exists sqlite:two.db /other
run "excluded" 0 store get sqlite:two.db /live
out_is "excluded" 2
# and one goes
sed -i '/three/d' run.yaml
proc_signal agent HUP
await 20 grep -q "route removed.*three" agent.log
run "after the removal" 0 store put $A /b/last 1
await 30 "$KVMIRROR" store exists sqlite:two.db /last
run "three is left alone" 1 store exists sqlite:three.db /b/last

run "status of what went" 0 status -c run.yaml --json
out_has "status of what went" '"name":"three","phase":"UNCONFIGURED"'
run "diff of a file" 0 diff -c run.yaml
run "diff of a route" 0 diff -c run.yaml two --owned
error "diff of no route" 2 "three" diff -c run.yaml three
error "options beside -c" 2 "stand in the file" diff -c run.yaml --exclude '/x'
error "repair while the agent runs" 3 "$(proc_pid agent)" diff -c run.yaml --repair
run "status --key with the file" 0 status -c run.yaml two --key /live
out_has "status --key with the file" "leave it out"
proc_stop agent || fail "run: SIGTERM ended with $?"
run "status of a stopped agent" 0 status -c run.yaml --json
out_has "status of a stopped agent" '"name":"one","phase":"STOPPED"'

echo PASS
