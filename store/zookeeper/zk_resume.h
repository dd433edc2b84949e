/* zk_resume.h: what changed between the index to resume after and base, in the
 * fast way.
 *
 *   known keys --> zk_diff:  SetWatches --> changed, gone, children moved
 *              `-> zk_merge: walk, key by key --> changed, missing
 *   --> looks (reads on the watch's connection) --> zk_gather, as one unit
 *
 * What changed after base is left to the events.
 */
#ifndef KV_ZK_RESUME_H
#define KV_ZK_RESUME_H

#include "store/zookeeper/zk_second.h"
#include "store/zookeeper/zk_walk.h"
#include "store/zookeeper/zk_watch.h"

enum zk_look_role {
	ZK_LOOK_KNOWN,	/* a known key: changed, gone, or not what it was */
	ZK_LOOK_DIR,	/* of no known key; its children moved */
	ZK_LOOK_LIST,	/* the names of its children */
	ZK_LOOK_CHILD,	/* is it new? */
	ZK_LOOK_HIDDEN, /* what must not be read: its Stat */
};

/* What SetWatches said of a path, bits. */
enum { ZK_FOUND_LOOK = 1, ZK_FOUND_LIST = 2, ZK_FOUND_KNOWN = 4 };

struct zk_found {
	struct slice path; /* in found_names */
	unsigned kinds;
};

/* The names of a directory, looked at one by one. */
struct zk_listing {
	struct list link;
	uint8_t *names; /* jute strings */
	struct jute_in in;
	size_t left;
	size_t dir_n;
	uint8_t dir[];
};

enum zk_resume_phase {
	ZK_RESUME_DIAL,	   /* diff: the second connection */
	ZK_RESUME_COMPARE, /* diff or merge, along the known keys */
	ZK_RESUME_LOOK,	   /* all looks to their end */
};

struct zk_resume {
	struct zk_watch *zw;
	enum zk_resume_phase phase;
	bool diff;
	bool here;    /* diff: on the watch's connection, its watches stay */
	bool general; /* the znodes there are stand in a table */

	/* known keys, page by page */
	struct store_page *page;
	size_t pos;
	struct arena after; /* the last page's last key */
	struct slice last;
	bool known_end;
	uint64_t known;

	/* zk_diff */
	bool begun;
	struct zk_second *second; /* NULL: closed */
	struct arena chunk;
	struct slice *keys; /* their paths, ascending */
	size_t n_keys;
	size_t keys_cap;
	struct slice *dirs;
	size_t n_dirs;
	size_t dirs_cap;
	size_t chunk_bytes;
	uint8_t *prev; /* path of the last known key */
	size_t prev_n;
	struct zk_call call;
	bool calling;
	struct arena found_names;
	struct zk_found *found;
	size_t n_found;
	size_t found_cap;
	size_t found_pos;

	/* zk_merge */
	struct zk_reader reader;
	struct zk_walk *walk;

	struct list looks;
	size_t n_looks;
	struct list listings;
};

/* The next known key; NULL: not here yet (was asked for), or *end. */
const struct store_pair *zk_known_peek(struct zk_resume *r, bool *end);
void zk_known_pop(struct zk_resume *r);

/* Reads a znode. False: no memory, the watch has ended. */
bool zk_look(struct zk_resume *r, enum zk_look_role role, struct slice path);
/* So many are under way that no more should be begun. */
bool zk_looks_full(const struct zk_resume *r);

/* True: compared to the end. False: goes on when something came. */
bool zk_diff_step(struct zk_resume *r);
void zk_diff_free(struct zk_resume *r);
/* What was said of a path, or NULL. After the end. */
const struct zk_found *zk_diff_find(const struct zk_resume *r,
				    struct slice path);
bool zk_merge_step(struct zk_resume *r);
/* zk_general_open.c: a known key is asked for, watches and all. False: no
 * memory. */
bool zk_general_expect(struct zk_watch *zw, struct slice path, uint64_t index);
/* As zk_merge_step, over the table. */
bool zk_general_compare(struct zk_resume *r);
void zk_merge_free(struct zk_resume *r);

#endif /* KV_ZK_RESUME_H */
