/* test_zk_walk.c: the walk over a tree that a played server holds.
 *
 *   zk_walk --> fake reader: answers reads on later turns, in any order
 *
 * What matters: every znode once, in bytewise order of the paths whatever the
 * names, from anywhere on; what cannot be read is told; each is read once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/zookeeper/zk_walk.h"
#include "tests/lib/loop.h"
#include "tests/lib/sweep.h"

#define MAX_NODES 20000
#define PATH_MAX_N 64

struct node {
	char path[PATH_MAX_N];
	bool denied;
	unsigned reads;
};

/* A read that waits for its answer. */
struct pending {
	struct list link;
	struct zk_read *read;
	size_t n;
	struct {
		enum zk_op op;
		char path[PATH_MAX_N];
	} items[];
};

struct world {
	struct test_loop loop;
	struct zk_reader reader;
	struct list pending;
	size_t n_pending, most_pending;
	size_t most_bytes; /* of the paths of a read */
	struct sched_task task;
	struct node *nodes; /* sorted */
	size_t n;
	uint32_t seed;
	int64_t zxid;
	int fail_after; /* reads until one fails; 0: none does */
	struct zk_walk *walk;
	bool moved;
	char (*got)[PATH_MAX_N];
	bool *got_denied;
	size_t n_got;
};

static uint32_t chance(struct world *w, uint32_t n)
{
	w->seed = w->seed * 1664525u + 1013904223u;
	return (w->seed >> 8) % n;
}

/* ---- the tree ------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct node *)a)->path,
		      ((const struct node *)b)->path);
}

static struct node *find(struct world *w, const char *path)
{
	struct node key;

	(void)snprintf(key.path, sizeof key.path, "%s", path);
	return bsearch(&key, w->nodes, w->n, sizeof key, compare);
}

static void add(struct world *w, const char *path)
{
	assert_true(w->n < MAX_NODES);
	memset(&w->nodes[w->n], 0, sizeof *w->nodes);
	(void)snprintf(w->nodes[w->n++].path, PATH_MAX_N, "%s", path);
}

static void settle(struct world *w)
{
	size_t i, n = 0;

	qsort(w->nodes, w->n, sizeof *w->nodes, compare);
	for (i = 0; i < w->n; i++) {
		if (n == 0 ||
		    strcmp(w->nodes[n - 1].path, w->nodes[i].path) != 0) {
			w->nodes[n++] = w->nodes[i];
		}
	}
	w->n = n;
}

/* With all its parents. */
static void add_path(struct world *w, const char *path)
{
	char part[PATH_MAX_N];
	const char *end = path;

	while (end != NULL) {
		end = strchr(end + 1, '/');
		(void)snprintf(
		    part, sizeof part, "%.*s",
		    end == NULL ? (int)strlen(path) : (int)(end - path), path);
		add(w, part);
	}
}

static bool is_child(const char *dir, const char *path)
{
	size_t n = strcmp(dir, "/") == 0 ? 0 : strlen(dir);

	return strncmp(path, dir, n) == 0 && path[n] == '/' &&
	       path[n + 1] != '\0' && strchr(path + n + 1, '/') == NULL;
}

static bool is_below(const char *dir, const char *path)
{
	size_t n = strcmp(dir, "/") == 0 ? 0 : strlen(dir);

	return strncmp(path, dir, n) == 0 && path[n] == '/' &&
	       path[n + 1] != '\0';
}

static bool is_hidden(struct world *w, const char *path)
{
	size_t i;

	for (i = 0; i < w->n; i++) {
		if (w->nodes[i].denied && is_below(w->nodes[i].path, path)) {
			return true;
		}
	}
	return false;
}

/* ---- the reader ---------------------------------------------------------- */

static void answer_children(struct world *w, const char *path,
			    struct zk_read_result *res, uint8_t *names)
{
	const char *found[2048];
	size_t i, k, n = 0;

	for (i = 0; i < w->n; i++) {
		if (is_child(path, w->nodes[i].path)) {
			assert_true(n < KV_COUNT(found));
			found[n++] = strrchr(w->nodes[i].path, '/') + 1;
		}
	}
	for (i = n; i > 1; i--) {
		const char *s = found[i - 1];

		k = chance(w, (uint32_t)i);
		found[i - 1] = found[k];
		found[k] = s;
	}
	for (i = 0, k = 0; i < n; i++) {
		size_t len = strlen(found[i]);

		memset(names + k, 0, 3);
		names[k + 3] = (uint8_t)len;
		memcpy(names + k + 4, found[i], len);
		k += 4 + len;
	}
	res->n_names = n;
	res->raw = slice_of(names, k);
}

static int32_t count_children(struct world *w, const char *path)
{
	int32_t n = 0;
	size_t i;

	for (i = 0; i < w->n; i++) {
		n += is_child(path, w->nodes[i].path) ? 1 : 0;
	}
	return n;
}

static void answer_item(struct world *w, struct pending *p, size_t i)
{
	const char *path = p->items[i].path;
	struct node *node = find(w, path);
	struct zk_read_result res = {.zxid = ++w->zxid};
	uint8_t *names = malloc(2048 * (PATH_MAX_N + 4));

	assert_non_null(names);
	if (node == NULL && strcmp(path, "/") != 0) {
		res.error = ZK_NO_NODE;
	} else if (p->items[i].op == ZK_OP_GET_CHILDREN) {
		answer_children(w, path, &res, names);
	} else {
		if (p->items[i].op == ZK_OP_GET_DATA) {
			node->reads++;
		}
		if (node->denied && p->items[i].op == ZK_OP_GET_DATA) {
			res.error = ZK_NO_AUTH;
		} else {
			res.data.stat.num_children = count_children(w, path);
		}
		if (p->items[i].op == ZK_OP_GET_DATA) {
			res.data.data = slice_str(path);
		}
	}
	p->read->item(p->read, i, &res);
	free(names);
}

static void answer_cb(struct sched_task *task)
{
	struct world *w = kv_container_of(task, struct world, task);
	struct list *l = w->pending.next;
	uint32_t skip = chance(w, (uint32_t)w->n_pending);
	struct pending *p;
	size_t i;

	while (skip-- > 0) {
		l = l->next;
	}
	p = kv_container_of(l, struct pending, link);
	list_remove(l);
	if (--w->n_pending > 0) {
		sched_post(w->loop.sched, task);
	}
	if (w->fail_after > 0 && --w->fail_after == 0) {
		(void)kv_fail(&p->read->err, KV_NOT_REACHABLE, "gone");
	} else {
		for (i = 0; i < p->n; i++) {
			answer_item(w, p, i);
			p->read->bytes += 300;
		}
	}
	p->read->done(p->read);
	free(p);
}

static void start(struct zk_reader *r, struct zk_read *read)
{
	struct world *w = kv_container_of(r, struct world, reader);
	struct pending *p = calloc(1, sizeof *p + read->n * sizeof p->items[0]);
	size_t i, bytes = 0;

	assert_non_null(p);
	p->read = read;
	p->n = read->n;
	for (i = 0; i < read->n; i++) {
		p->items[i].op = read->items[i].op;
		(void)snprintf(p->items[i].path, PATH_MAX_N, "%.*s",
			       (int)read->items[i].path.n,
			       (const char *)read->items[i].path.p);
		bytes += read->items[i].path.n;
	}
	w->most_bytes = KV_MAX(w->most_bytes, bytes);
	list_init(&p->link);
	list_push_back(&w->pending, &p->link);
	w->n_pending++;
	w->most_pending = KV_MAX(w->most_pending, w->n_pending);
	sched_post(w->loop.sched, &w->task);
}

static void cancel(struct zk_reader *r, struct zk_read *read)
{
	struct world *w = kv_container_of(r, struct world, reader);
	struct list *l;

	for (l = w->pending.next; l != &w->pending; l = l->next) {
		struct pending *p = kv_container_of(l, struct pending, link);

		if (p->read == read) {
			list_remove(l);
			free(p);
			if (--w->n_pending == 0) {
				sched_unpost(&w->task);
			}
			return;
		}
	}
	fail_msg("a read is canceled that is not under way");
}

/* ---- the walk ------------------------------------------------------------ */

static void world_open(struct world *w, uint32_t seed, bool fast)
{
	memset(w, 0, sizeof *w);
	test_loop_open(&w->loop);
	assert_non_null(w->loop.sched);
	list_init(&w->pending);
	w->task.run = answer_cb;
	w->seed = seed;
	w->reader =
	    (struct zk_reader){.start = start, .cancel = cancel, .fast = fast};
	w->nodes = calloc(MAX_NODES, sizeof *w->nodes);
	w->got = calloc(MAX_NODES, sizeof *w->got);
	w->got_denied = calloc(MAX_NODES, sizeof *w->got_denied);
}

static void world_close(struct world *w)
{
	zk_walk_free(w->walk);
	assert_int_equal(w->n_pending, 0);
	free(w->nodes);
	free(w->got);
	free(w->got_denied);
	test_loop_close(&w->loop);
}

static void take_all(struct world *w)
{
	const struct zk_walk_node *n;

	while ((n = zk_walk_front(w->walk)) != NULL) {
		assert_true(n->path.n < PATH_MAX_N);
		if (n->error == ZK_OK) {
			assert_true(slice_eq(n->data.data, n->path));
		}
		if (n->error != ZK_NO_NODE) {
			memcpy(w->got[w->n_got], n->path.p, n->path.n);
			w->got_denied[w->n_got++] = n->error == ZK_NO_AUTH;
		}
		zk_walk_pop(w->walk);
	}
	zk_walk_go(w->walk);
}

static void moved_cb(struct zk_walk *walk)
{
	struct world *w = zk_walk_data(walk);

	take_all(w);
	w->moved = zk_walk_is_done(walk) || zk_walk_err(walk)->status != KV_OK;
}

static int walk(struct world *w, const char *dir, const char *after)
{
	struct zk_walk_params p = {.sched = w->loop.sched,
				   .reader = &w->reader,
				   .dir = slice_str(dir),
				   .after = slice_str(after),
				   .moved = moved_cb,
				   .data = w};

	w->n_got = 0;
	memset(w->got, 0, MAX_NODES * sizeof *w->got);
	w->moved = false;
	w->walk = zk_walk_open(&p);
	if (w->walk == NULL) {
		return KV_NO_MEMORY;
	}
	zk_walk_go(w->walk);
	test_loop_until(&w->loop, &w->moved);
	return zk_walk_err(w->walk)->status;
}

/* Exactly what is below dir and after `after`, in order. */
static void expect_all(struct world *w, const char *dir, const char *after)
{
	size_t i, n = 0;

	for (i = 0; i < w->n; i++) {
		const struct node *node = &w->nodes[i];

		if (!is_below(dir, node->path) ||
		    (after != NULL && strcmp(node->path, after) <= 0) ||
		    is_hidden(w, node->path) ||
		    strcmp(node->path, "/zookeeper") == 0 ||
		    is_below("/zookeeper", node->path)) {
			continue;
		}
		if (n == w->n_got || strcmp(w->got[n], node->path) != 0) {
			fail_msg("below %s after %s: %s expected, %s found",
				 dir, after == NULL ? "" : after, node->path,
				 n == w->n_got ? "nothing" : w->got[n]);
		}
		assert_int_equal(w->got_denied[n], node->denied);
		assert_int_equal(node->reads, 1);
		n++;
	}
	assert_int_equal(n, w->n_got);
}

static void expect_walk(struct world *w, const char *dir, const char *after)
{
	size_t i;

	for (i = 0; i < w->n; i++) {
		w->nodes[i].reads = 0;
	}
	assert_int_equal(walk(w, dir, after), KV_OK);
	expect_all(w, dir, after);
	zk_walk_free(w->walk);
	w->walk = NULL;
}

/* Names that stand before and after '/', that begin with one another. */
static void random_path(struct world *w, char *buf, const char *dir)
{
	static const char *const pieces[] = {"a", "-",	  "0", "b",	   "!",
					     "~", "\x7f", " ", "\xc3\xa9", "a"};
	uint32_t depth = 1 + chance(w, 4), n;
	size_t len;

	(void)strcpy(buf, dir);
	while (depth-- > 0) {
		(void)strcat(buf, "/");
		for (n = 1 + chance(w, 3); n > 0; n--) {
			(void)strcat(buf, pieces[chance(w, KV_COUNT(pieces))]);
		}
		len = strlen(buf);
		assert_true(len < PATH_MAX_N - 20);
	}
}

static void random_tree(struct world *w, size_t n, bool denied)
{
	char path[PATH_MAX_N];
	size_t i;

	add(w, "/d");
	for (i = 0; i < n; i++) {
		random_path(w, path, chance(w, 8) == 0 ? "/dd" : "/d");
		add_path(w, path);
	}
	settle(w);
	for (i = 0; denied && i < w->n; i++) {
		w->nodes[i].denied =
		    w->nodes[i].path[2] == '/' && chance(w, 15) == 0;
	}
}

static void any_tree_comes_in_the_order_of_its_paths(void **state)
{
	uint32_t seed;

	(void)state;
	for (seed = 1; seed <= 300; seed++) {
		struct world w;

		world_open(&w, seed, seed % 2 == 0);
		random_tree(&w, 1 + chance(&w, 60), seed % 3 == 0);
		expect_walk(&w, "/d", NULL);
		expect_walk(&w, "/", NULL);
		world_close(&w);
	}
}

/* Also after what is no node: below a node, between a node and its subtree. */
static void a_walk_begins_anywhere(void **state)
{
	static const char *const tails[] = {"", "", "-", "0", "/", "/-", "!"};
	uint32_t seed;

	(void)state;
	for (seed = 1; seed <= 300; seed++) {
		struct world w;
		char after[PATH_MAX_N + 4];

		world_open(&w, seed, seed % 2 == 0);
		random_tree(&w, 1 + chance(&w, 40), false);
		(void)snprintf(after, sizeof after, "%s%s",
			       w.nodes[chance(&w, (uint32_t)w.n)].path,
			       tails[chance(&w, KV_COUNT(tails))]);
		expect_walk(&w, "/d", after);
		world_close(&w);
	}
}

static void a_missing_directory_is_empty(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 1, true);
	expect_walk(&w, "/none", NULL);
	add(&w, "/leaf");
	settle(&w);
	expect_walk(&w, "/leaf", NULL);
	world_close(&w);
}

static void what_the_server_keeps_is_left_out(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 1, true);
	add_path(&w, "/zookeeper/quota");
	add_path(&w, "/zookeeperx");
	add_path(&w, "/b/zookeeper");
	settle(&w);
	expect_walk(&w, "/", NULL);
	assert_int_equal(w.n_got, 3);
	world_close(&w);
}

/* More than fits the window; many directories; both without holding all. */
static void large_trees_are_read_ahead(void **state)
{
	int fast;

	(void)state;
	for (fast = 0; fast < 2; fast++) {
		struct world w;
		char path[PATH_MAX_N];
		int i;

		world_open(&w, 7, fast == 1);
		for (i = 0; i < 1500; i++) {
			(void)snprintf(path, sizeof path, "/d/c%d", i);
			add(&w, path);
		}
		for (i = 0; i < 400; i++) {
			(void)snprintf(path, sizeof path, "/d/c%d/x%d", i % 40,
				       i);
			add(&w, path);
		}
		add(&w, "/d");
		settle(&w);
		expect_walk(&w, "/d", NULL);
		assert_true(w.most_pending > 1);
		assert_true(w.most_pending <= (fast ? 8 : 256));
		world_close(&w);
	}
}

static void named_ones_come_alone(void **state)
{
	struct slice paths[] = {slice_str("/d/a"), slice_str("/d/b"),
				slice_str("/d/none")};
	struct zk_walk_params p = {
	    .paths = paths, .n_paths = KV_COUNT(paths), .moved = moved_cb};
	struct world w;

	(void)state;
	world_open(&w, 3, true);
	add_path(&w, "/d/a/x");
	add_path(&w, "/d/b");
	settle(&w);
	p.sched = w.loop.sched;
	p.reader = &w.reader;
	p.data = &w;
	w.walk = zk_walk_open(&p);
	zk_walk_go(w.walk);
	test_loop_until(&w.loop, &w.moved);
	assert_int_equal(w.n_got, 2);
	assert_string_equal(w.got[0], "/d/a");
	assert_string_equal(w.got[1], "/d/b");
	world_close(&w);
}

static void moved_only_cb(struct zk_walk *walk)
{
	struct world *w = zk_walk_data(walk);

	while (zk_walk_front(walk) != NULL) {
		zk_walk_pop(walk);
	}
	zk_walk_go(walk);
	w->moved = zk_walk_is_done(walk);
}

/* However long the names: a request that is over its limit ends the connection.
 */
static void long_names_make_short_requests(void **state)
{
	static char text[200][20000];
	struct slice paths[200];
	struct zk_walk_params p = {
	    .paths = paths, .n_paths = KV_COUNT(paths), .moved = moved_only_cb};
	struct world w;
	size_t i;

	(void)state;
	world_open(&w, 3, true);
	w.reader.node_size = 10;
	for (i = 0; i < KV_COUNT(paths); i++) {
		memset(text[i], 'x', sizeof text[i]);
		(void)snprintf(text[i], 8, "/%06zu", i);
		text[i][7] = 'y';
		paths[i] = slice_of(text[i], sizeof text[i]);
	}
	p.sched = w.loop.sched;
	p.reader = &w.reader;
	p.data = &w;
	w.walk = zk_walk_open(&p);
	zk_walk_go(w.walk);
	test_loop_until(&w.loop, &w.moved);
	assert_true(w.most_bytes > 100000 && w.most_bytes < 500000);
	world_close(&w);
}

/* The state that what was handed out stands for: the oldest of its reads. */
static void the_oldest_read_counts(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 3, true);
	add_path(&w, "/d/a");
	add_path(&w, "/d/b");
	settle(&w);
	w.zxid = 100;
	assert_int_equal(walk(&w, "/d", NULL), KV_OK);
	assert_int_equal(zk_walk_low(w.walk), 101); /* the listing */
	assert_int_equal(zk_walk_low(w.walk), 0);
	world_close(&w);
}

static void a_failed_read_ends_the_walk(void **state)
{
	int after;

	(void)state;
	for (after = 1; after < 6; after++) {
		struct world w;

		world_open(&w, 5, false);
		random_tree(&w, 400, false);
		w.fail_after = after;
		assert_int_equal(walk(&w, "/d", NULL), KV_NOT_REACHABLE);
		assert_null(zk_walk_front(w.walk));
		world_close(&w);
	}
}

static int walk_once(void *ctx)
{
	struct world *w = ctx;
	int rv;

	test_loop_open(&w->loop);
	if (w->loop.sched == NULL) {
		test_loop_close(&w->loop);
		return KV_NO_MEMORY;
	}
	w->reader.node_size = 0;
	rv = walk(w, "/d", NULL);
	zk_walk_free(w->walk);
	w->walk = NULL;
	if (rv == KV_OK && w->n_got != w->n - 1) {
		rv = KV_BROKEN;
	}
	test_loop_close(&w->loop);
	return rv;
}

static void memory_may_end_anywhere(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, 9, true);
	add_path(&w, "/d/a/x/y");
	add_path(&w, "/d/a-/x");
	add_path(&w, "/d/b");
	settle(&w);
	test_loop_close(&w.loop);
	assert_true(sweep_run(walk_once, &w) > 20);
	test_loop_open(&w.loop);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(any_tree_comes_in_the_order_of_its_paths),
	    cmocka_unit_test(a_walk_begins_anywhere),
	    cmocka_unit_test(a_missing_directory_is_empty),
	    cmocka_unit_test(what_the_server_keeps_is_left_out),
	    cmocka_unit_test(large_trees_are_read_ahead),
	    cmocka_unit_test(named_ones_come_alone),
	    cmocka_unit_test(long_names_make_short_requests),
	    cmocka_unit_test(the_oldest_read_counts),
	    cmocka_unit_test(a_failed_read_ends_the_walk),
	    cmocka_unit_test(memory_may_end_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
