/* notice.h: when to look whether a file was changed by somebody else.
 *
 *   directory event (name matches) ---> look at once, then after 2, 10, 50,
 *                                       250 ms, as long as none is newer
 *   nothing for `poll` ms -----------> look (the net)
 *
 * The directory is watched, not the files: a -wal file comes and goes, and a
 * watch on it dies with it. An event tells that bytes were written; the commit
 * shows a moment later, and that moment makes no event of its own: hence the
 * short series of looks. Without a loop (simulation) or where the directory
 * cannot be watched, the net alone works. Loop thread only.
 */
#ifndef KV_SQLITE_NOTICE_H
#define KV_SQLITE_NOTICE_H

#include <uv.h>

#include "store/base/sched.h"
#include "store/base/status.h"

struct notice {
	/* Set before notice_start. */
	struct sched *sched;
	const char *path;
	uint64_t poll_ms;
	/* Starts a look; notice_looked answers it, later. */
	void (*look)(struct notice *n);

	/* Private; zeroed. */
	uv_fs_event_t event;
	bool has_handle;
	bool on;
	bool looking;
	bool again; /* an event came while looking */
	unsigned step;
	struct sched_timer timer;
	char *name; /* of the file in its directory */
	void (*closed)(struct notice *n);
};

/* Starts watching; nothing when it is on. KV_OK also when the directory cannot
 * be watched (a warning is logged). */
int notice_start(struct notice *n, struct kv_err *err) KV_MUSTCHECK;
/* Watches the directory anew: another one may stand at its name. */
void notice_restart(struct notice *n);
void notice_looked(struct notice *n);
void notice_stop(struct notice *n);
/* `closed` comes from inside or later. PRE: stopped, and nothing looks. */
void notice_close(struct notice *n, void (*closed)(struct notice *n));

#endif /* KV_SQLITE_NOTICE_H */
