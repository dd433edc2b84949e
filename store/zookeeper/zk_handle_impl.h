/* zk_handle_impl.h: what zk_handle.c (sessions) and zk_lib.c (calls) share. */
#ifndef KV_ZK_HANDLE_IMPL_H
#define KV_ZK_HANDLE_IMPL_H

#include <stdatomic.h>
#include <zookeeper/zookeeper.h>

#include "store/base/mailbox.h"
#include "store/base/worker.h"
#include "store/zookeeper/zk_handle.h"

/* One session: a handle of the library's from init to close. */
struct zk_lib_session {
	struct zk_handle *h;
	zhandle_t *zh;	   /* NULL: could not be made */
	struct list calls; /* started, not answered */
	bool up;
	bool dead; /* expired, refused, or to be closed */
	bool closing;
	int problem; /* errno of init */
	/* written by the library's threads */
	atomic_int state;
	atomic_bool posted; /* post is under way */
	struct zk_post post;
	struct worker_job job;
	struct zk_post gone;
};

struct zk_handle {
	struct sched *sched;
	struct mailbox *mailbox;
	struct worker *worker;
	char *hosts;
	char *digest;
	uint32_t session_ms;
	void (*changed)(void *ctx);
	void *ctx;
	struct zk_lib_session *session; /* NULL: between two */
	bool opened;			/* session->zh is ours to use */
	uint64_t sessions;
	struct kv_err err;
	struct sched_timer timer; /* opens again; while closing: ends waiting */
	bool closing;
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* The answer is in: tells its caller, frees it. */
void zk_lib_answer(struct zk_lib *c);
/* On the loop: the session has fewer calls now. */
void zk_handle_maybe_close(struct zk_handle *h);

#endif /* KV_ZK_HANDLE_IMPL_H */
