# shellcheck shell=bash
# Includes point downhill: store/base <- store <- backends, which may also see
# store/net (sockets and TLS; store/base at most); state and conf see
# store/base at most; agent sees all of these, but a backend's header only in
# agent/main.c, and nobody else names a backend's table. tests/ may see anything.

# allowed FILE INCLUDE
allowed() {
	local file=$1 inc=$2 dir

	dir=$(dirname "$file")
	case $inc in
	store/base/*/*) return 1 ;;
	store/base/*) return 0 ;;
	esac
	case $file in
	store/base/*) return 1 ;;
	store/net/*) [[ $inc = store/net/* ]] ;;
	store/*/*)
		case $inc in
		store/net/*) return 0 ;;
		"$dir"/*) return 0 ;;
		*.pb-c.h) [[ $inc != */* ]] ;;
		store/*/*) return 1 ;;
		store/*) return 0 ;;
		*) return 1 ;;
		esac
		;;
	store/*) [[ $inc = store/* && $inc != store/*/* ]] ;;
	state/*) [[ $inc = state/* ]] ;;
	conf/*) [[ $inc = conf/* ]] ;;
	agent/main.c)
		[[ $inc = agent/* || $inc = store/* || $inc = state/* ||
			$inc = conf/* ]]
		;;
	agent/*)
		[[ $inc = agent/* || $inc = state/* || $inc = conf/* ||
			($inc = store/* && $inc != store/*/*) ]]
		;;
	esac
}

check() {
	local root=$1 file inc bad=0 n=0 backend

	while read -r file; do
		case $file in tests/*) continue ;; esac
		n=$((n + 1))
		while read -r inc; do
			allowed "$file" "$inc" && continue
			printf '%s must not include "%s"\n' "$file" "$inc"
			bad=1
		done < <(sed -n 's/^[ \t]*#[ \t]*include[ \t]*"\(.*\)".*/\1/p' \
			"$root/$file")
	done < <(sources "$root")
	for backend in "$root"/store/*/; do
		backend=$(basename "$backend")
		case $backend in base | net) continue ;; esac
		while read -r file; do
			file=${file#"$root"/}
			case $file in
			store/"$backend"/* | agent/main.c) continue ;;
			esac
			printf '%s names store_%s_ops\n' "$file" "$backend"
			bad=1
		done < <(grep -rlw --include='*.[ch]' "store_${backend}_ops" \
			"$root"/{agent,store,state,conf})
	done
	[ "$n" -gt 0 ] || { echo "no file was looked at"; bad=1; }
	return "$bad"
}

good() {
	echo '#include "store/base/b.h"' | put "$1/store/base/a.c"
	echo '#include "store/base/b.h"' | put "$1/store/store.h"
	echo '#include "store/base/b.h"' | put "$1/store/net/wire.h"
	printf '#include "store/store.h"\n#include "store/net/wire.h"\n#include "store/db/x.h"\n' |
		put "$1/store/db/db.c"
	echo '#include "store/base/b.h"' | put "$1/state/state.c"
	echo '#include "conf/conf.h"' | put "$1/conf/conf.c"
	printf '#include "state/state.h"\n#include "store/store.h"\n' |
		put "$1/agent/route.c"
	printf '#include "store/db/db.h"\nint x = store_db_ops;\n' |
		put "$1/agent/main.c"
}
bad_net_sees_store() { echo '#include "store/store.h"' | put "$1/store/net/n.h"; }
bad_base_sees_store() { echo '#include "store/store.h"' >>"$1/store/base/a.c"; }
bad_store_sees_backend() { echo '#include "store/db/db.h"' >>"$1/store/store.h"; }
bad_backend_sees_agent() { echo '#include "agent/route.h"' >>"$1/store/db/db.c"; }
bad_backend_sees_backend() {
	echo '#include "store/other/x.h"' >>"$1/store/db/db.c"
}
bad_store_sees_state() { echo '#include "state/state.h"' >>"$1/store/store.h"; }
bad_state_sees_store() { echo '#include "store/store.h"' >>"$1/state/state.c"; }
bad_conf_sees_state() { echo ' # include "state/state.h"' >>"$1/conf/conf.c"; }
bad_agent_sees_backend() { echo '#include "store/db/db.h"' >>"$1/agent/route.c"; }
bad_agent_names_backend() { echo 'int y = store_db_ops;' >>"$1/agent/route.c"; }
bad_way_round() { echo '#include "../store/store.h"' >>"$1/state/state.c"; }
