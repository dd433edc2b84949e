/* env.h: what the parts of one route share: the stores, the state, the
 * checkpoint as it will be saved next, the counters. Owned by route.c; used on
 * the loop thread (the state itself on its worker only). */
#ifndef KV_ENV_H
#define KV_ENV_H

#include "agent/content.h"
#include "agent/mapping.h"
#include "conf/conf.h"
#include "state/state.h"
#include "store/base/worker.h"
#include "store/store.h"

struct env_ghost {
	struct kv_hash key;
	uint64_t until_ms;
};

/* The last things that were told, so that they are told once. */
struct env_told {
	struct kv_hash *what;
	size_t n; /* ever */
};

struct env_late {
	int64_t id;
	uint64_t until_ms;
};

struct route_env {
	struct sched *sched;
	struct worker *worker;
	struct state *state;
	const struct conf_route *conf;
	struct store *source;
	struct store *target;
	enum mapping_mode mapping;
	int64_t route; /* its row in the state */
	uint32_t batch_ops;
	size_t batch_bytes;
	/* The connections for which identity was checked last; an answer of
	 * another one is not believed before it was checked, too. */
	uint64_t source_epoch;
	uint64_t target_epoch;
	/* Who is there, as checked last ("": not known yet). */
	char source_identity[STORE_IDENTITY_MAX];
	char target_identity[STORE_IDENTITY_MAX];
	/* The ledger was made with another history of that side: cleared when
	 * a reconcile has stamped everything anew. */
	bool new_source;
	bool new_target;
	/* One of them surely is of another history; else it is only that
	 * nothing proves that it is not. */
	bool replaced;
	/* The scan of that reconcile is over: no row speaks of the old history
	 * any more. */
	bool stamped;
	/* Saved with every commit. cp.index is what is applied and about to be
	 * saved; `saved` what surely is. */
	struct state_checkpoint cp;
	/* As cp.index, but for keys that are parked (see apply.h). */
	uint64_t reached;
	uint64_t saved;
	/* The greatest source index of which a row spoke that was dropped or
	 * made a tombstone: until the checkpoint is there, that key is not
	 * named by the ledger, and the source may have had it. */
	uint64_t dropped_to;
	uint64_t keys;	     /* ledger rows, as last counted */
	uint64_t quarantine; /* entries now */
	uint64_t foreign;
	uint64_t yielded;
	uint64_t inferred_pending; /* allowed by the fuse, not yet done */
	uint64_t written;	   /* keys, since the start */
	uint64_t written_bytes;
	/* Keys whose absence-guarded put may still land (by hash), and intents
	 * that stay open until then. */
	struct env_ghost *ghosts;
	size_t n_ghosts;
	size_t cap_ghosts;
	struct env_told held_on;  /* conflicts that `stop` held the route on */
	struct env_told refused;  /* keys whose quarantine stands in the log */
	uint64_t no_delete_until; /* for every key: memory ran out */
	uint64_t split_told_ms;	  /* when a split was logged last */
	uint64_t splits_untold;	  /* since then */
	/* Of a pair, see twin.h: the other direction's route; NULL: none. */
	struct route_env *twin;
	/* It is gone, or closing: what is still under way is decided and saved
	 * as of a pair, until the next LOAD. */
	bool pair;
	int64_t twin_route;    /* its row in the state, when it is gone */
	bool prefer_source;    /* this one's source wins where both changed */
	bool recovered;	       /* intents that an agent left are settled */
	struct list in_flight; /* applies that look, write, or save */
	struct list held_back; /* applies that wait for the twin */
	struct env_late *late;
	size_t n_late;
	size_t cap_late;
};

/* A conflict under `stop`: is it another one than those which held the route
 * before? (One that is only judged anew is not journaled again.) */
bool env_held_anew(struct route_env *env, struct slice key,
		   const struct kv_hash *source, const struct kv_hash *target);

/* Was the key not yet told to be left out for that reason? */
bool env_refused_anew(struct route_env *env, struct slice key,
		      const char *reason);

/* Frees what an env holds. */
void env_clear(struct route_env *env);

/* A ghost: a put of ours that lands after its outcome was given up. It can
 * undo later writes of ours in one case only:
 *
 *   guard of the put   the key since               the put, when it lands
 *   version v          written or deleted by us    fails: the version is
 * another version v          untouched                   is what READ waits for
 *   absence            there, whoever put it       fails
 *   absence            deleted by us               brings the key back
 *
 * So a delete waits until every put of the key that was guarded by absence, and
 * of which we do not know that it was done, is dead (the target's
 * write_timeout_ms). After a crash that is what the open intents say: one that
 * is `versioned` makes no ghost; one that is not makes none when it is the only
 * one of its key and the target shows its value (each try has an intent of its
 * own, so that a second one is not taken for the first). What an older kvmirror
 * left open says nothing of its guards and counts as guarded by absence.
 *
 * Notes a key whose put may land until then; false: no memory. */
bool env_ghost_add(struct route_env *env, struct slice key, uint64_t until_ms);
/* Until when a delete of the key must wait; 0: not at all. */
uint64_t env_ghost_until(struct route_env *env, struct slice key);

/* Keeps an intent open until then; false: no memory (it stays open). */
bool env_late_add(struct route_env *env, int64_t id, uint64_t until_ms);
/* The intents that may be closed now, at most `most`; they stay noted until
 * env_late_drop. */
size_t env_late_due(const struct route_env *env, int64_t *ids, size_t most);
void env_late_drop(struct route_env *env, const int64_t *ids, size_t n);

/* May so many deletes be carried out that are inferred from absence, of a
 * ledger of so many keys? Else `reason` says why not. */
bool env_fuse_allows(struct route_env *env, uint64_t deletes, uint64_t ledger,
		     bool source_empty, char *reason, size_t cap);

/* An inferred delete was carried out: it counts for the fuse's hour. */
void env_count_inferred(struct route_env *env);

/* A batch could not stay whole at the target: counted, and logged now and then.
 */
void env_count_split(struct route_env *env, const char *why);

/* Notes the greatest index that an answer of a side stood for; and who it is,
 * where that was not known and the connection has been checked. */
void env_saw_source(struct route_env *env, const struct store_origin *o);
void env_saw_target(struct route_env *env, const struct store_origin *o);

/* A mapped and checked key of the source. */
struct env_key {
	struct slice key;    /* the target's; n == 0: none can be made */
	struct slice item;   /* its item's: the target's, or nobody's */
	const char *refused; /* why the target cannot carry it, or NULL; in
				the arena */
};

/* Maps a source key and asks the target whether it can carry it with that
 * content (for a delete: none). KV_NO_MEMORY, else KV_OK. */
int env_map(enum mapping_mode mapping, const struct store *target,
	    struct slice source_key, struct content content,
	    struct arena *arena, struct env_key *out) KV_MUSTCHECK;

#endif /* KV_ENV_H */
