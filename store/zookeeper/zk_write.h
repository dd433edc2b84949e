/* zk_write.h: what the files of writing share.
 *
 *   zk_write --> queue --> active (several; alone when something is deleted)
 *     zk_writer.c: which writes go, when, until when; the handle; cancel, close
 *     zk_write.c:  one write: read, plan, multi
 *     zk_settle.c: how it ends, also when no answer came
 */
#ifndef KV_ZK_WRITE_H
#define KV_ZK_WRITE_H

#include "store/zookeeper/zk_handle.h"
#include "store/zookeeper/zk_impl.h"

/* Multis in flight: more gain nothing (notes on the server's group commit). */
#define ZK_WRITES_MAX 8

struct zk_writer {
	struct zk *zk;
	struct zk_handle *handle;
	struct zk_listener listener; /* knows when reads are up again */
	struct list queue;	     /* writes that have not begun */
	struct list active;
	unsigned n_active;
	bool alone; /* the active one deletes: no other may run beside it */
	struct sched_task task;
	struct zk_seen seen;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

enum zk_write_phase {
	ZK_WRITE_WAITING, /* in the queue */
	ZK_WRITE_BACK,	  /* for a connection; nothing was sent */
	ZK_WRITE_READING, /* what the plan asks for */
	ZK_WRITE_SENT,	  /* the multi */
	ZK_WRITE_ACLS,	  /* done; ACLs of znodes that were there before */
	ZK_WRITE_LOST,	  /* sent, no answer; waits for a connection to look */
	ZK_WRITE_LOOKING  /* how the znodes stand now */
};

struct zk_writing {
	struct list link; /* queue, active */
	struct zk_writer *w;
	struct store_write *req;
	struct arena arena;
	struct zk_plan plan;
	enum zk_write_phase phase;
	bool deletes;
	struct list calls; /* in flight for it: zk_lib.mine */
	unsigned pending;
	unsigned tries;
	struct sched_timer deadline;
	/* of the calls of a phase */
	bool again;	   /* the connection was lost under a read */
	struct kv_err err; /* a read failed for good */
	int rc;		   /* of the multi */
	bool unsent;	   /* the multi was surely not sent */
	size_t failed;	   /* its step at fault */
	struct zk_stat *stats;
	uint64_t zxid;
};

/* zk_settle.c */
/* The library's codes: the request may or may not have reached the server; it
 * was surely not done and may be asked again, elsewhere. */
bool zk_rc_is_lost(int rc);
bool zk_rc_is_moved(int rc);
/* One more call of the phase, not started; NULL: no memory. path: NUL behind */
struct zk_lib *zk_writing_call(struct zk_writing *x, enum zk_lib_kind kind,
			       struct slice path,
			       void (*done)(struct zk_lib *c),
			       void *arg) KV_MUSTCHECK;
/* The same, started. False: no memory. */
bool zk_writing_start(struct zk_writing *x, enum zk_lib_kind kind,
		      struct slice path, void (*done)(struct zk_lib *c),
		      void *arg) KV_MUSTCHECK;
void zk_writing_forget_calls(struct zk_writing *x);
/* An answer came to a read. True: c->rc is ZOK or ZNONODE; else it is noted in
 * x->again or x->err. */
bool zk_writing_read_came(struct zk_writing *x, const struct zk_lib *c,
			  struct slice path);
/* The ends. */
void zk_writing_end_all(struct zk_writing *x, int op_status); /* err is set */
void zk_writing_end_stale(struct zk_writing *x);
void zk_writing_end_unknown(struct zk_writing *x, const char *why);
void zk_writing_end_no_memory(struct zk_writing *x);
void zk_writing_end_done(struct zk_writing *x);
void zk_writing_end_refused(struct zk_writing *x); /* by the plan */
void zk_writing_end_failed(struct zk_writing *x);  /* by the server: x->rc */
/* The multi was done: ACLs, then the end. */
void zk_writing_set_acls(struct zk_writing *x);
/* From LOST: what became of it? */
void zk_writing_look(struct zk_writing *x);
/* Its time is up. */
void zk_writing_late(struct zk_writing *x);

/* zk_write.c */
/* Goes on: from WAITING, BACK or LOST, where a connection is up. */
void zk_writing_step(struct zk_writing *x);

/* zk_writer.c */
/* The write is over: req->err and the ops are set. Frees it. */
void zk_writing_end(struct zk_writing *x);
bool zk_writer_is_up(const struct zk_writer *w);
/* Has the connection gone for which the guards were made? */
bool zk_writing_is_stale(const struct zk_writing *x);
/* Looks at the queue on a later turn. */
void zk_writer_kick(struct zk_writer *w);
void zk_set_ops(struct store_write *req, int status);

#endif /* KV_ZK_WRITE_H */
