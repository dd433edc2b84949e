/* fake_impl.h: what the files of the fake store share: fake_store.c (requests
 * and their ways to fail), fake_write.c (writes), fake_watch.c (watches). */
#ifndef FAKE_IMPL_H
#define FAKE_IMPL_H

#include "fake_store.h"

/* st->impl: one client's connection. */
struct fake_store {
	struct list link; /* in its world */
	struct list reqs; /* outstanding, oldest first */
	struct store *st;
	struct fake_world *w;
	uint64_t epoch;
	uint64_t last_at; /* of the page before */
	struct sim_event close_event;
};

enum fake_stage { FAKE_SENT, FAKE_WAITING, FAKE_ANSWERED };

/* A request under way. In the agent's memory. */
struct fake_req {
	struct list link;
	struct sim_event event;
	struct fake_store *fs;
	struct store_req *req;
	enum fake_stage stage;
	bool at_server; /* a write that was done or refused there */
};

/* w->impl of a store_watch. */
struct fake_watch {
	struct fake_store *fs;
	struct store_watch *w;
	uint64_t epoch;
	uint64_t cursor; /* all up to here was handed out */
	bool opened;
	size_t tx;  /* transactions before this one are behind the cursor */
	size_t off; /* its events that were handed out already */
	/* Where deletes are inferred: what was there at the last look, and
	 * what of the difference is still to be handed out. */
	struct store_page *known;
	size_t known_cap;
	bool gathered;
	bool gathering; /* a page of known keys is to come */
	struct fake_req *gather_req;
	int abort;	 /* the request is over when it has come */
	uint64_t listed; /* index of the last look */
	struct store_batch *queue;
	size_t queue_off;
	uint64_t queue_deletes;
	uint64_t queue_known;
	bool announced;
};

void fake_origin(const struct fake_store *fs, struct store_origin *o);
struct kv_err *fake_err(struct store_req *req);
/* The answer is ready, or the failure; it reaches the client later. */
void fake_answer(struct fake_req *fr);
void fake_fail(struct fake_req *fr, int status, const char *why);
/* The server's side has memory enough, whatever the client's fault is. */
bool fake_spare(struct fake_world *w);
void fake_spare_end(struct fake_world *w, bool was);
bool fake_is_down(const struct fake_world *w);
bool fake_roll(struct fake_world *w, unsigned per_mille);

/* fake_write.c */
void fake_write_arrive(struct fake_req *fr);
void fake_write_lost(struct fake_req *fr, int surely, const char *why);
/* The client is dead and the write not yet at the server. */
void fake_write_orphan(struct fake_req *fr);

/* fake_watch.c */
void fake_watch_arrive(struct fake_req *fr);
/* The request is to end with that status (canceled, connection lost). */
void fake_watch_end(struct fake_req *fr, int status, const char *why);
void fake_watch_free(struct fake_watch *fw);
struct fake_watch *fake_watch_of(struct fake_req *fr);

#endif /* FAKE_IMPL_H */
