# stores.bash: stores of each kind (sqlite, etcd, zk) for shell tests, written by
# other means than the program's own (sqlite3, etcdctl, zkhand), and the route
# between two of them.
# Source it after lib.sh.
#
#   store_start a etcd ; store_fill a /app 1 300 v ; route a /app b /copy
#   once 0 "first copy" ; follow ; await 20 same ; follow_stop

declare -A STORE_KIND=()
declare -A STORE_BACKUPS=()

need_kind() {
	case $1 in
	etcd) need_etcd ;;
	zk) need_zk ;;
	*) need sqlite3 setpriv ;;
	esac
}
is_kind() { [ "${STORE_KIND[$1]}" = "$2" ]; }

# store_start NAME KIND: running, empty.
store_start() {
	STORE_KIND[$1]=$2
	case $2 in
	etcd) etcd_start "$1" --fsync && return ;;
	zk) zk_start "$1" && return ;;
	esac
	check "make $1" "$KVMIRROR" store put "sqlite:$T/$1.db" /outside x
}

store_uri() {
	case ${STORE_KIND[$1]} in
	etcd) etcd_uri "$1" "$2" ;;
	zk) zk_uri "$1" "$2" ;;
	*) printf 'sqlite:%s/%s.db?prefix=%s\n' "$T" "$1" "$2" ;;
	esac
}

sql() { sqlite3 -cmd '.timeout 10000' "$T/$1.db" "$2"; }

# store_txn NAME: one transaction, of lines "put KEY VALUE" and "del KEY".
store_txn() {
	local op key value

	if [ "${STORE_KIND[$1]}" = etcd ]; then
		{ echo && cat && printf '\n\n'; } | ectl "$1" txn >/dev/null
		return
	fi
	if is_kind "$1" zk; then
		{ echo begin && cat && echo commit; } | zk_do "$1"
		return
	fi
	{
		echo 'BEGIN IMMEDIATE;'
		while read -r op key value; do
			echo "DELETE FROM kv WHERE key = '$key';"
			[ "$op" = del ] ||
				echo "INSERT INTO kv VALUES('$key', '$value');"
		done
		echo 'COMMIT;'
	} | sqlite3 -bail -cmd '.timeout 10000' "$T/$1.db"
}

store_put() { echo "put $2 $3" | store_txn "$1" || fail "put $*"; }
store_del() { echo "del $2" | store_txn "$1" || fail "del $*"; }

# The value; nothing where there is no such key.
store_get() {
	if [ "${STORE_KIND[$1]}" = etcd ]; then
		ectl "$1" get "$2" --print-value-only
	elif is_kind "$1" zk; then
		zk_do "$1" <<<"get $2"
	else
		sql "$1" "SELECT value FROM kv WHERE key = '$2'"
	fi
}

# store_fill NAME PREFIX FROM TO VALUE: keys PREFIX/kFROM .. with VALUE-N, a
# hundred at a time.
store_fill() {
	local i j

	for ((i = $3; i <= $4; i += 100)); do
		for ((j = i; j < i + 100 && j <= $4; j++)); do
			echo "put $2/k$j $5-$j"
		done | store_txn "$1" || fail "fill $*"
	done
}
# The same keys deleted, likewise.
store_clear() {
	local i j

	for ((i = $3; i <= $4; i += 100)); do
		for ((j = i; j < i + 100 && j <= $4; j++)); do
			echo "del $2/k$j"
		done | store_txn "$1" || fail "clear $*"
	done
}

# As a person would: everything below the prefix at once.
store_del_all() {
	if [ "${STORE_KIND[$1]}" = etcd ]; then
		ectl "$1" del "$2/" --prefix >/dev/null || fail "del $*"
	elif is_kind "$1" zk; then
		zk_do "$1" <<<"delall $2" || fail "del $*"
	else
		sql "$1" "DELETE FROM kv WHERE key GLOB '$2/*'" || fail "del $*"
	fi
}

# store_dump NAME PREFIX: lines "key value", names below the prefix, sorted.
store_dump() {
	if [ "${STORE_KIND[$1]}" = etcd ]; then
		ectl "$1" get "$2/" --prefix | paste -d' ' - - |
			sed "s|^$2||" | LC_ALL=C sort
	elif is_kind "$1" zk; then
		zk_do "$1" <<<"dump $2" | LC_ALL=C sort
	else
		sql "$1" "SELECT substr(key, 1 + length('$2')) || ' ' || value
			FROM kv WHERE key GLOB '$2/*'" | LC_ALL=C sort
	fi
}

store_count() { store_dump "$1" "$2" | wc -l; }

# Changes before now can no longer be told. (ZooKeeper tells none of before in
# the first place.)
store_forget() {
	! is_kind "$1" zk || return 0
	if [ "${STORE_KIND[$1]}" = etcd ]; then
		etcd_compact "$1"
		return
	fi
	sql "$1" "BEGIN IMMEDIATE; UPDATE kv_meta SET keep = 1;
		INSERT INTO kv VALUES('/elsewhere', '');
		DELETE FROM kv WHERE key = '/elsewhere';
		UPDATE kv_meta SET keep = 1000000; COMMIT"
}

# Another, empty store at the same place.
store_wipe() {
	if [ "${STORE_KIND[$1]}" = etcd ]; then
		etcd_wipe "$@"
		return
	fi
	if is_kind "$1" zk; then
		zk_wipe "$1"
		return
	fi
	check "new $1" "$KVMIRROR" store put "sqlite:$T/$1.new" /outside x
	sqlite_replace "$1" "$T/$1.new"
}

# A file is replaced as a whole: what belonged to the old one goes first.
sqlite_replace() {
	rm -f "$T/$1.db-wal" "$T/$1.db-shm"
	mv "$2" "$T/$1.db" || fail "replace $1"
}

# store_backup NAME: of now. store_restore NAME puts it back in place.
store_backup() {
	rm -rf "$T/$1.backup"
	if [ "${STORE_KIND[$1]}" = etcd ]; then
		ectl "$1" snapshot save "$T/$1.backup" >/dev/null 2>&1 ||
			fail "backup of $1"
	elif is_kind "$1" zk; then
		zk_backup "$1"
	else
		sql "$1" ".backup '$T/$1.backup'" || fail "backup of $1"
	fi
}

store_restore() {
	local ports

	if [ "${STORE_KIND[$1]}" = sqlite ]; then
		cp "$T/$1.backup" "$T/$1.new" || fail "restore $1"
		sqlite_replace "$1" "$T/$1.new"
		return
	fi
	if is_kind "$1" zk; then
		zk_restore "$1"
		return
	fi
	read -r -a ports <<<"${ETCD_PORTS[$1]}"
	etcd_kill "$1"
	rm -rf "$T/data-$1"
	etcdctl snapshot restore "$T/$1.backup" --name "$1" \
		--data-dir "$T/data-$1" \
		--initial-cluster "${ETCD_CLUSTER[$1]}" \
		--initial-cluster-token "${ETCD_TOKEN[$1]}" \
		--initial-advertise-peer-urls "http://127.0.0.1:${ports[1]}" \
		>"$T/restore.log" 2>&1 || fail "restore $1"
	etcd_restart "$1"
}

# ---- the route ---------------------------------------------------------------

ROUTES=0

# route SOURCE PREFIX TARGET PREFIX: from here on, with a new state file.
route() {
	ROUTES=$((ROUTES + 1))
	R_SOURCE=$1 R_SOURCE_PREFIX=$2 R_TARGET=$3 R_TARGET_PREFIX=$4
	SOURCE=$(store_uri "$1" "$2")
	TARGET=$(store_uri "$3" "$4")
	STATE=$T/state-$ROUTES
	AGENT=agent-$ROUTES
}

# once CODE WHAT [OPTION...]: one pass, which must end with CODE.
once() {
	local want=$1 what=$2

	shift 2
	refuse "$what" "$want" "$KVMIRROR" sync "$SOURCE" "$TARGET" \
		--state "$STATE" "$@"
	cat "$T/check.out" >>"$T/$AGENT.log"
}

# follow [OPTION...]: in the background, and in phase FOLLOWING.
follow() {
	follow_start "$@"
	await 30 phase_is FOLLOWING
}
follow_start() {
	agent_start "$AGENT" sync "$SOURCE" "$TARGET" --state "$STATE" \
		--follow --log-level info "$@"
}
follow_alive() { proc_alive "$AGENT" || fail "$AGENT ended by itself"; }
follow_stop() {
	follow_alive
	proc_stop "$AGENT" || fail "$AGENT: exit code $? after SIGTERM"
}

# status FIELD: of the route.
status() {
	"$KVMIRROR" status --state "$STATE" --json 2>/dev/null |
		sed -n "s/.*\"$1\":\(\"[^\"]*\"\|[^,}]*\).*/\1/p" | tr -d '"'
}
phase_is() { [ "$(status phase)" = "$1" ]; }
status_is() { [ "$(status "$1")" = "$2" ]; }
is_held() { phase_is HELD && ! status_is held null; }
listed() {
	"$KVMIRROR" status --state "$STATE" --list "$1" | grep -qF -- "$2"
}

# Are both sides equal (foreign keys may be left out: lines that match $1)?
same() {
	diff <(store_dump "$R_SOURCE" "$R_SOURCE_PREFIX") \
		<(store_dump "$R_TARGET" "$R_TARGET_PREFIX" |
			grep -v -- "${1:-^$}") >"$T/same.out"
}
# Never by accident: the program agrees.
settled() {
	await 30 same
	check "$1: diff" "$KVMIRROR" diff "$SOURCE" "$TARGET"
	equal "$1: conflicts" "${2:-0}" "$(status conflicts)"
	equal "$1: quarantine" 0 "$(status quarantine)"
}
source_get() { store_get "$R_SOURCE" "$R_SOURCE_PREFIX$1"; }
target_get() { store_get "$R_TARGET" "$R_TARGET_PREFIX$1"; }
source_put() { store_put "$R_SOURCE" "$R_SOURCE_PREFIX$1" "$2"; }
target_put() { store_put "$R_TARGET" "$R_TARGET_PREFIX$1" "$2"; }
source_del() { store_del "$R_SOURCE" "$R_SOURCE_PREFIX$1"; }
target_del() { store_del "$R_TARGET" "$R_TARGET_PREFIX$1"; }
target_is() { [ "$(target_get "$1")" = "$2" ]; }
target_count() { store_count "$R_TARGET" "$R_TARGET_PREFIX"; }
target_count_is() { [ "$(target_count)" = "$1" ]; }
