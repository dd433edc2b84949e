/* cmd_lock.c: `kvmirror store lock URI KEY -- COMMAND...`: runs a command while
 * a lock is held.
 *
 *   store_lock --held--> spawn COMMAND --exits--> store_unlock --> its code
 *      |  ^                   |
 *   no server: again,         `-- lost: SIGTERM, after a while SIGKILL --> 3
 *   for --timeout
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/backoff.h"
#include "agent/cli.h"
#include "agent/loop.h"
#include "store/base/log.h"

/* A command that was told to end and does not is killed. */
#define KILL_AFTER_MS 5000

extern char **environ;

struct locker {
	struct cli_args *args;
	struct loop loop;
	struct store *store;
	struct store_lock_req lock;
	struct store_lock_req unlock;
	char value[320]; /* what others see: host and process */
	uv_process_t process;
	char **env;
	struct backoff backoff;
	struct sched_timer retry;
	struct sched_timer kill;
	uint64_t trouble_ms; /* since when no server answers; 0: one does */
	uint64_t asked_ms;
	bool waiting; /* store_lock is under way */
	bool running; /* the command */
	bool is_lost;
	bool stopped; /* by a signal, before the command ran */
	int code;
};

/* ---- the end -------------------------------------------------------------*/

static void end(struct locker *k, int code)
{
	k->code = code;
	sched_timer_stop(&k->retry);
	sched_timer_stop(&k->kill);
	store_close(k->store, NULL, NULL);
}

static void end_error(struct locker *k, const struct kv_err *err)
{
	struct kv_err told = *err;

	(void)kv_wrap(&told, "store lock");
	if (err->status == KV_CANNOT_LOCK) {
		end(k, cli_complain(CLI_DIFFERENT, "%s", told.text));
		return;
	}
	cli_advise(&told);
	end(k, cli_error(&told));
}

/* The lock ends with its time in any case. */
static void unlock_cb(struct store_lock_req *req)
{
	struct locker *k = kv_container_of(req, struct locker, unlock);

	if (req->err.status != KV_OK) {
		LOG_WARN("unlock", LOG_S("error", req->err.text));
	}
	end(k, k->code);
}

static void give_back(struct locker *k)
{
	k->unlock = (struct store_lock_req){
	    .key = k->lock.key, .token = k->lock.token, .cb = unlock_cb};
	if (k->is_lost || store_unlock(k->store, &k->unlock) != KV_OK) {
		end(k, k->code);
	}
}

/* ---- the command ---------------------------------------------------------*/

static void process_closed(uv_handle_t *handle)
{
	struct locker *k = handle->data;

	give_back(k);
}

static void exit_cb(uv_process_t *process, int64_t status, int signum)
{
	struct locker *k = process->data;

	k->running = false;
	sched_timer_stop(&k->kill);
	if (k->is_lost) {
		k->code = CLI_FAILED;
	} else {
		k->code = signum != 0 ? 128 + signum : (int)status;
	}
	uv_close((uv_handle_t *)process, process_closed);
}

/* The environment, and the lock's names. False: no memory. */
static bool make_env(struct locker *k)
{
	size_t n = 0;

	while (environ[n] != NULL) {
		n++;
	}
	k->env = kv_calloc(n + 3, sizeof *k->env);
	if (k->env == NULL) {
		return false;
	}
	memcpy(k->env, environ, n * sizeof *k->env);
	/* The strings of ours come first to be found: later ones are freed. */
	k->env[n] = kv_asprintf("KVMIRROR_LOCK_KEY=%s", k->args->args[2]);
	k->env[n + 1] =
	    kv_asprintf("KVMIRROR_LOCK_TOKEN=%" PRIu64, k->lock.token);
	return k->env[n] != NULL && k->env[n + 1] != NULL;
}

static void free_env(struct locker *k)
{
	size_t n = 0;

	while (k->env != NULL && environ[n] != NULL) {
		n++;
	}
	if (k->env != NULL) {
		kv_free(k->env[n]);
		kv_free(k->env[n + 1]);
		kv_free(k->env);
	}
}

static void run_command(struct locker *k)
{
	uv_stdio_container_t stdio[3];
	uv_process_options_t o = {.exit_cb = exit_cb,
				  .file = k->args->tail[0],
				  .args = k->args->tail,
				  .stdio_count = 3,
				  .stdio = stdio};
	int rc = UV_ENOMEM;

	for (int i = 0; i < 3; i++) {
		stdio[i].flags = UV_INHERIT_FD;
		stdio[i].data.fd = i;
	}
	k->process.data = k;
	if (make_env(k)) {
		o.env = k->env;
		rc = uv_spawn(&k->loop.uv, &k->process, &o);
		k->running = rc == 0;
	}
	if (rc != 0) {
		k->code = cli_complain(CLI_USAGE, "store lock: %s: %s", o.file,
				       uv_strerror(rc));
		if (o.env != NULL) {
			uv_close((uv_handle_t *)&k->process, process_closed);
		} else {
			give_back(k);
		}
	}
}

/* ---- the lock ------------------------------------------------------------*/

static void kill_fire(struct sched_timer *t)
{
	struct locker *k = kv_container_of(t, struct locker, kill);

	(void)uv_process_kill(&k->process, SIGKILL);
}

static void lost_cb(void *ctx, const struct kv_err *why)
{
	struct locker *k = ctx;

	k->is_lost = true;
	(void)cli_complain(CLI_FAILED, "store lock: the lock is lost: %s",
			   why->text);
	if (k->running) {
		(void)uv_process_kill(&k->process, SIGTERM);
		sched_timer_start(k->loop.sched, &k->kill, KILL_AFTER_MS);
	}
}

static void ask(struct locker *k);

static void failed(struct locker *k, const struct kv_err *err)
{
	uint64_t now = sched_now(k->loop.sched);

	if (k->stopped) {
		end(k, cli_complain(CLI_FAILED, "store lock: stopped"));
		return;
	}
	if (err->status != KV_NOT_REACHABLE && err->status != KV_TIMED_OUT) {
		end_error(k, err);
		return;
	}
	/* One that waited long had a server until now. */
	if (k->trouble_ms == 0 || now - k->asked_ms > k->args->timeout_ms) {
		k->trouble_ms = k->asked_ms + 1;
	}
	if (now - k->trouble_ms >= k->args->timeout_ms) {
		end_error(k, err);
		return;
	}
	sched_timer_start(
	    k->loop.sched, &k->retry,
	    backoff_next(&k->backoff, sched_random(k->loop.sched)));
}

static void lock_cb(struct store_lock_req *req)
{
	struct locker *k = kv_container_of(req, struct locker, lock);

	k->waiting = false;
	if (req->err.status != KV_OK) {
		failed(k, &req->err);
	} else if (k->stopped) {
		k->code = CLI_FAILED;
		give_back(k);
	} else {
		run_command(k);
	}
}

static void ask(struct locker *k)
{
	k->asked_ms = sched_now(k->loop.sched);
	k->lock = (struct store_lock_req){.key = slice_str(k->args->args[2]),
					  .value = slice_str(k->value),
					  .ttl_ms = (uint32_t)k->args->ttl_ms,
					  .try_only = k->args->try_only,
					  .lost = lost_cb,
					  .lost_ctx = k,
					  .cb = lock_cb};
	if (store_lock(k->store, &k->lock) != KV_OK) {
		failed(k, &k->lock.err);
		return;
	}
	k->waiting = true;
}

static void retry_fire(struct sched_timer *t)
{
	ask(kv_container_of(t, struct locker, retry));
}

static void signal_cb(void *ctx, int signum)
{
	struct locker *k = ctx;

	if (k->running) {
		(void)uv_process_kill(&k->process, signum);
		return;
	}
	k->stopped = true;
	if (k->waiting) {
		store_cancel(&k->lock.req);
	} else if (sched_timer_running(&k->retry)) {
		end(k, cli_complain(CLI_FAILED, "store lock: stopped"));
	}
}

/* ---- start ---------------------------------------------------------------*/

static int check_args(const struct cli_args *a, struct kv_err *err)
{
	if (a->n_args != 3 || a->args[2][0] != '/') {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "store lock: expected URI and KEY, which begins "
			       "with '/'; see kvmirror store --help");
	}
	if (a->n_tail == 0) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "store lock: COMMAND is missing: kvmirror store "
			       "lock URI KEY -- COMMAND...");
	}
	if (a->ttl_ms > UINT32_MAX) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "store lock: --ttl is too long");
	}
	return KV_OK;
}

static int start(struct locker *k, const struct cli *cli, struct kv_err *err)
{
	static const int signums[] = {SIGTERM, SIGINT};
	char host[256] = "?";
	int status = loop_signals(&k->loop, signums, KV_COUNT(signums),
				  signal_cb, k, err);

	if (status == KV_OK) {
		status =
		    store_open(cli->registry, k->loop.sched, k->args->args[1],
			       STORE_CREATE, &k->store, err);
	}
	if (status != KV_OK) {
		return kv_wrap(err, "store lock");
	}
	(void)gethostname(host, sizeof host - 1);
	(void)snprintf(k->value, sizeof k->value, "%s %ld", host,
		       (long)getpid());
	k->retry.fire = retry_fire;
	k->kill.fire = kill_fire;
	ask(k);
	return KV_OK;
}

int cmd_lock(const struct cli *cli, struct cli_args *args)
{
	struct locker k = {.args = args};
	struct kv_err err = {0};
	int status = cli_apply_log(args, NULL, &err);

	if (status == KV_OK) {
		status = check_args(args, &err);
	}
	if (status == KV_OK) {
		status = loop_open(&k.loop, &err);
	}
	if (status != KV_OK) {
		return cli_error(&err);
	}
	status = start(&k, cli, &err);
	loop_close(&k.loop);
	free_env(&k);
	return status == KV_OK ? k.code : cli_error(&err);
}
