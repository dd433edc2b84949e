# shellcheck shell=bash
# Threads and what guards them live in mailbox.c and worker.c alone. (A flag that
# a worker looks at may be atomic: that is no lock.)
THREADS='\b(pthread_[a-z_]+|(uv_)(mutex|rwlock|sem|cond|barrier|thread|once|key)(_[a-z_]+)|uv_queue_work|mtx_[a-z]+|cnd_[a-z]+|thrd_[a-z]+|sem_(init|wait|post)|clone|fork)\b *\(?|<(pthread|threads|semaphore)\.h>'

check() {
	local root=$1 file bad=0 n=0 hits

	while read -r file; do
		case $file in
		tests/* | store/base/mailbox.c | store/base/worker.c) continue ;;
		esac
		n=$((n + 1))
		hits=$({
			without_comments "$root/$file"
			grep -E '#.*include' "$root/$file"
			:
		} | sed 's/"[^"]*"//g' |
			grep -noE "$THREADS") || continue
		printf '%s: %s\n' "$file" "$hits"
		bad=1
	done < <(sources "$root")
	[ "$n" -gt 0 ] || { echo "no file was looked at"; bad=1; }
	return "$bad"
}

good() {
	echo '/* a uv_mutex_lock( in a comment */ int a;' | put "$1/agent/a.c"
	echo 'void f(void) { uv_mutex_lock(&m); }' | put "$1/store/base/mailbox.c"
	echo 'void g(void) { uv_thread_create(0); }' | put "$1/store/base/worker.c"
}
bad_mutex() { echo 'void f(void) { uv_mutex_lock(&m); }' >>"$1/agent/a.c"; }
bad_mutex_member() { echo 'struct s { uv_mutex_t m; };' >>"$1/agent/a.c"; }
bad_pthread() { echo 'void f(void) { pthread_create(0); }' >>"$1/agent/a.c"; }
bad_header() { echo '#include <pthread.h>' | put "$1/state/state.h"; }
bad_pool() { echo 'int r = uv_queue_work(l, w, f, g);' >>"$1/agent/a.c"; }
bad_semaphore() { echo 'int r = uv_sem_init(&s, 0);' | put "$1/store/etcd/e.c"; }
