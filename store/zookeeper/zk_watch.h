/* zk_watch.h: a watch, as its files see it.
 *
 *   zk_watch.c    handing out, ends
 *   zk_watch_open.c  the way to the first batch; what of a znode is told
 *   zk_stage.c    what a change still lacks: ACLs, values let go of
 *   zk_fast.c     finds changes by one recursive watch
 *   zk_general.c  finds changes by a watch on each znode
 *   zk_resume.c   what changed between the index to resume after and now:
 *                   zk_diff.c   by asking for the known keys alone
 *                   zk_merge.c  by walking the tree along the known keys
 *
 *   connection --event--> way: dirty --read--> zk_gather --> batch --> pull
 *
 * It does not repair itself: whoever pulls is told that it ended, looks who is
 * there now, and opens another one, from the last index.
 */
#ifndef KV_ZK_WATCH_H
#define KV_ZK_WATCH_H

#include "store/base/hash.h"
#include "store/zookeeper/zk_dirty.h"
#include "store/zookeeper/zk_gather.h"
#include "store/zookeeper/zk_impl.h"

/*
 * IDLE -> OPENING -> ARMING -> RESUMING -> LIVE
 *   OPENING   a connection, and a sync: what it shows from now on is no older
 *             than what anybody has seen
 *   ARMING    watches are set; from `base` on nothing can be missed
 *   RESUMING  what is between the index to resume after and `base` is found
 * any -> ENDED (err says why)
 */
enum zk_watch_phase {
	ZK_WATCH_IDLE,
	ZK_WATCH_OPENING,
	ZK_WATCH_ARMING,
	ZK_WATCH_RESUMING,
	ZK_WATCH_LIVE,
	ZK_WATCH_ENDED
};

struct zk_watch;

/* A way of finding changes. */
struct zk_way_ops {
	/* Sets the watches, then zk_watch_armed(). */
	void (*arm)(struct zk_watch *zw);
	/* Goes on with it; may be NULL. */
	void (*arming)(struct zk_watch *zw);
	void (*event)(struct zk_watch *zw, enum zk_event_type type,
		      struct slice path);
	/* A pull waits: look at what is dirty. */
	void (*pump)(struct zk_watch *zw);
	/* All changes up to this index are in `gather`; `none`: that index
	 * when nothing is dirty. */
	uint64_t (*limit)(const struct zk_watch *zw, uint64_t none);
	/* Finds what changed since w->after; zk_watch_resumed() ends it. Called
	 * whenever a pull waits. */
	void (*resume)(struct zk_watch *zw);
	void (*free)(struct zk_watch *zw);
};

/* What was told of a znode last: a change is not told twice, however often the
 * znode is looked at (two events of one change, two looks at one state). A
 * small table by the key's hash; what was pushed out of it is told again, which
 * is harmless. */
#define ZK_LAST_TOLD 256
struct zk_last_told {
	struct kv_hash key;
	uint64_t index; /* 0: nothing, or a delete */
};

struct zk_watch {
	struct zk *zk;
	struct store_watch *w;
	struct store_next *next; /* the pull that waits */
	enum zk_watch_phase phase;
	struct kv_err err;
	struct arena names; /* holds root */
	struct slice root;  /* the znode that is watched, with all below it */
	bool single;	    /* one key */
	struct sched_task task;

	struct zk_listener listener;
	bool up;
	struct zk_ask ask; /* OPENING */
	bool asking;
	uint64_t epoch;
	struct zk_call call; /* addWatch; a sync for want */
	bool calling;
	struct sched_timer quiet; /* before the next sync */
	uint64_t quiet_ms;

	const struct zk_way_ops *way;
	struct zk_fetcher fetcher;
	struct zk_dirties dirties;
	struct zk_general *general;
	struct zk_resume *resume;
	uint64_t base; /* changes at or below it are not told by events */

	struct store_batch *init; /* first batch, until handed out */
	struct zk_gather gather;
	struct zk_last_told last[ZK_LAST_TOLD];
	struct list staging; /* zk_stage.c: what is read for the staged */
	struct arena scratch;

	/* Pages of known keys were asked for: nobody may be answered before
	 * they came, as they are the caller's. */
	bool held;
	bool canceled; /* the pull, meanwhile */
};

/* The watch ends with that error (mapped to those that watches have). */
void zk_watch_fail(struct zk_watch *zw, const struct kv_err *err);
void zk_watch_fail_text(struct zk_watch *zw, int status, const char *text);
void zk_watch_no_memory(struct zk_watch *zw);

/* zk_stage.c: are the changes that are staged whole? Else it reads what they
 * lack, and the step function runs when it is there. */
bool zk_stage_is_whole(struct zk_watch *zw);
void zk_stage_free(struct zk_watch *zw);

/* zk_watch_open.c */
void zk_watch_open_init(struct zk_watch *zw);
void zk_watch_open(struct zk_watch *zw);
/* Of what was read, in the scratch arena. False: no memory. */
bool zk_watch_attrs(struct zk_watch *zw, const struct zk_data *d,
		    struct slice acl, struct slice *out) KV_MUSTCHECK;

/* The step function runs on a later turn. */
void zk_watch_later(struct zk_watch *zw);

/* From now on nothing after `zxid` can be missed. d: of a watch of one key,
 * what it is as of zxid; NULL: no key. */
void zk_watch_armed(struct zk_watch *zw, uint64_t zxid,
		    const struct zk_data *d);
/* All up to base is in `gather`, as a unit. */
void zk_watch_resumed(struct zk_watch *zw, uint64_t known);

/* The key of a path if this watch tells of it, else n == 0. */
struct slice zk_watch_key(const struct zk_watch *zw, struct slice path);

/* Can all that was told be found again by asking for the known keys alone? */
bool zk_watch_can_diff(const struct zk_watch *zw);

/* Made in one transaction with its children: nobody has seen it as a leaf. */
static inline bool zk_watch_born_dir(const struct zk_stat *s)
{
	return s->num_children > 0 && s->pzxid == s->czxid;
}

/* A znode that is a key was read: to be told. False: no memory, the watch has
 * ended. */
bool zk_watch_put(struct zk_watch *zw, struct slice key,
		  const struct zk_data *d, uint64_t index);
/* One that is a key and must not be read. */
bool zk_watch_hidden(struct zk_watch *zw, struct slice key, uint64_t index);
bool zk_watch_delete(struct zk_watch *zw, struct slice key, uint64_t index,
		     bool inferred);

/* zk_fast.c */
extern const struct zk_way_ops zk_fast_ops;
/* zk_general.c */
extern const struct zk_way_ops zk_general_ops;

/* zk_resume.c */
struct zk_resume *zk_resume_new(struct zk_watch *zw) KV_MUSTCHECK;
void zk_resume_step(struct zk_watch *zw);
void zk_resume_free(struct zk_watch *zw);

#endif /* KV_ZK_WATCH_H */
