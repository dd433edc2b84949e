/* notice.c: see notice.h. */
#include "store/sqlite/notice.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "store/base/log.h"
#include "store/base/mem.h"

/* Milliseconds between the looks after an event. */
static const uint64_t series[] = {2, 10, 50, 250};

static void look(struct notice *n)
{
	PRE(n->on && !n->looking);
	sched_timer_stop(&n->timer);
	n->looking = true;
	n->look(n);
}

static void timer_fired(struct sched_timer *timer)
{
	struct notice *n = kv_container_of(timer, struct notice, timer);

	/* A look from before a stop and a start may still be under way. */
	if (n->looking) {
		n->again = true;
	} else {
		look(n);
	}
}

static void wait_for_more(struct notice *n)
{
	uint64_t pause = n->poll_ms;

	if (n->step < KV_COUNT(series)) {
		pause = series[n->step++];
	}
	sched_timer_start(n->sched, &n->timer, pause);
}

void notice_looked(struct notice *n)
{
	PRE(n->looking);
	n->looking = false;
	if (!n->on) {
		return;
	}
	if (n->again) {
		n->again = false;
		n->step = 0;
	}
	wait_for_more(n);
}

/* While a series runs its next look is brought forward, and once it stands at
 * the first pause it stays there: a long write makes events without end. */
static void something_happened(struct notice *n)
{
	bool idle = n->step >= KV_COUNT(series);

	if (n->looking) {
		n->again = true;
		return;
	}
	if (n->step == 1) {
		return;
	}
	n->step = 0;
	if (idle) {
		look(n);
	} else {
		wait_for_more(n);
	}
}

/* The file itself, its -wal or its -journal. */
static bool is_ours(const struct notice *n, const char *filename)
{
	size_t len = strlen(n->name);

	if (filename == NULL) {
		return true; /* the system does not say which */
	}
	return strncmp(filename, n->name, len) == 0 &&
	       (filename[len] == '\0' || strcmp(filename + len, "-wal") == 0 ||
		strcmp(filename + len, "-journal") == 0);
}

static void event_cb(uv_fs_event_t *event, const char *filename,
		     int events KV_UNUSED, int status KV_UNUSED)
{
	struct notice *n = event->data;

	if (n->on && is_ours(n, filename)) {
		something_happened(n);
	}
}

/* The directory and the name that SQLite puts the -wal beside: behind all
 * symbolic links. New strings. */
static int split_path(const char *path, char **dir, char **name)
{
	char real[PATH_MAX];
	const char *slash;

	if (realpath(path, real) != NULL) {
		path = real;
	}
	slash = strrchr(path, '/');
	*dir = slash == NULL ? kv_strdup(".") : kv_strdup(path);
	*name = kv_strdup(slash == NULL ? path : slash + 1);
	if (*dir == NULL || *name == NULL) {
		kv_free(*dir);
		kv_free(*name);
		return KV_NO_MEMORY;
	}
	if (slash != NULL) {
		(*dir)[slash == path ? 1 : slash - path] = '\0';
	}
	return KV_OK;
}

/* POST: watched, or a warning is logged and the net alone is left. */
static int watch_directory(struct notice *n)
{
	uv_loop_t *loop = sched_uv(n->sched);
	char *dir, *name;
	int rc;

	if (split_path(n->path, &dir, &name) != KV_OK) {
		return KV_NO_MEMORY;
	}
	kv_free(n->name);
	n->name = name;
	if (loop == NULL) {
		kv_free(dir);
		return KV_OK;
	}
	if (!n->has_handle) {
		(void)uv_fs_event_init(loop, &n->event);
		n->event.data = n;
		n->has_handle = true;
	}
	rc = uv_fs_event_start(&n->event, event_cb, dir, 0);
	if (rc != 0) {
		LOG_WARN("directory cannot be watched, changes are noticed by "
			 "a slow poll",
			 LOG_S("directory", dir),
			 LOG_S("reason", uv_strerror(rc)),
			 LOG_U("poll_ms", n->poll_ms));
	}
	kv_free(dir);
	return KV_OK;
}

int notice_start(struct notice *n, struct kv_err *err)
{
	if (n->on) {
		return KV_OK;
	}
	if (watch_directory(n) != KV_OK) {
		return kv_fail(err, KV_NO_MEMORY,
			       "no memory to watch a directory");
	}
	n->on = true;
	n->again = false;
	n->step = KV_COUNT(series);
	n->timer.fire = timer_fired;
	sched_timer_start(n->sched, &n->timer, n->poll_ms);
	return KV_OK;
}

void notice_restart(struct notice *n)
{
	if (!n->on) {
		return;
	}
	if (n->has_handle) {
		(void)uv_fs_event_stop(&n->event);
	}
	/* Without memory the old name and the net have to do. */
	(void)!watch_directory(n);
	something_happened(n);
}

void notice_stop(struct notice *n)
{
	if (!n->on) {
		return;
	}
	n->on = false;
	sched_timer_stop(&n->timer);
	if (n->has_handle) {
		(void)uv_fs_event_stop(&n->event);
	}
}

static void handle_closed(uv_handle_t *handle)
{
	struct notice *n = handle->data;

	n->closed(n);
}

void notice_close(struct notice *n, void (*closed)(struct notice *n))
{
	PRE(!n->on);
	kv_free(n->name);
	n->name = NULL;
	n->closed = closed;
	if (n->has_handle) {
		uv_close((uv_handle_t *)&n->event, handle_closed);
	} else {
		closed(n);
	}
}
