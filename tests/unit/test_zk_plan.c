/* test_zk_plan.c: what a batch of operations means for a tree of znodes. The
 * tree is a table here; what the plan asks is answered from it, and the steps
 * are compared as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/zookeeper/zk_impl.h"
#include "store/zookeeper/zk_plan.h"

#define NULL_DATA (-1)

/* A znode of the tree. */
struct znode {
	const char *path;
	int data; /* its length, NULL_DATA */
	int children;
	int version;
	int czxid;
	int64_t owner;
};

struct world {
	struct arena arena;
	struct zk_seen seen;
	struct zk_plan plan;
	const struct znode *tree;
	size_t n_tree;
	unsigned asked; /* znodes, in all rounds */
	struct store_op ops[200];
	struct slice paths[200];
	size_t n;
	char text[4096];
};

static int set_up(void **state)
{
	static struct world w;

	memset(&w, 0, sizeof w);
	*state = &w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	arena_free(&w->arena);
	return 0;
}

static struct store_op *add(struct world *w, enum store_op_kind kind,
			    const char *path, const char *value)
{
	struct store_op *op = &w->ops[w->n];

	memset(op, 0, sizeof *op);
	w->paths[w->n++] = slice_str(path);
	op->kind = kind;
	op->key = slice_str(path);
	op->value = slice_str(value);
	return op;
}

static struct store_op *put(struct world *w, const char *path,
			    const char *value)
{
	return add(w, STORE_OP_PUT, path, value);
}

static struct store_op *absent(struct store_op *op)
{
	op->guard = STORE_GUARD_ABSENT;
	return op;
}

static struct store_op *at(struct store_op *op, int version, int czxid)
{
	op->guard = STORE_GUARD_VERSION;
	op->expect.a = (uint64_t)version + 1;
	op->expect.b = (uint64_t)czxid;
	return op;
}

static struct store_op *del(struct world *w, const char *path)
{
	return add(w, STORE_OP_DELETE, path, "");
}

static const struct znode *find(const struct world *w, struct slice path)
{
	size_t i;

	for (i = 0; i < w->n_tree; i++) {
		if (slice_eq(slice_str(w->tree[i].path), path)) {
			return &w->tree[i];
		}
	}
	return NULL;
}

static void answer(struct world *w, struct zk_node *node)
{
	const struct znode *z = find(w, node->path);

	w->asked++;
	node->assumed = false;
	if (z == NULL) {
		node->known = ZK_ABSENT;
		return;
	}
	node->known = ZK_THERE;
	node->stat = (struct zk_stat){.version = z->version,
				      .czxid = z->czxid,
				      .ephemeral_owner = z->owner,
				      .data_length = z->data < 0 ? 0 : z->data,
				      .num_children = z->children};
	node->data_known = node->ask_data || z->data > 0;
	node->null = node->ask_data && z->data < 0;
	node->key = !node->null || z->children == 0;
}

static enum zk_plan_next run(struct world *w)
{
	enum zk_plan_next next;
	unsigned rounds = 0;
	size_t i;

	while ((next = zk_plan_make(&w->plan)) == ZK_PLAN_ASK) {
		assert_true(++rounds < 10);
		for (i = 0; i < w->plan.n_nodes; i++) {
			struct zk_node *node = &w->plan.nodes[i];

			if (node->ask_stat || node->ask_data) {
				answer(w, node);
			}
		}
	}
	return next;
}

static enum zk_plan_next plan(struct world *w, const char *root,
			      const struct znode *tree, size_t n)
{
	struct kv_err err = {0};

	memset(&w->plan, 0, sizeof w->plan);
	w->tree = tree;
	w->n_tree = n;
	w->asked = 0;
	w->plan.arena = &w->arena;
	w->plan.root = slice_str(root);
	w->plan.seen = &w->seen;
	assert_int_equal(zk_plan_build(&w->plan, w->ops, w->paths, w->n, &err),
			 KV_OK);
	return run(w);
}

#define PLAN(w, root, tree) plan((w), (root), (tree), KV_COUNT(tree))

static const struct znode no_tree[] = {{"/", 0, 0, 0, 0, 0}};

/* "+/a(null) =/a@0(v) -/a/b@2": create, set, delete, with the version. */
static const char *steps(struct world *w)
{
	static const char sign[] = {'+', '=', '-'};
	size_t i, n = 0;

	w->text[0] = '\0';
	for (i = 0; i < w->plan.n_steps; i++) {
		const struct zk_step *s = &w->plan.steps[i];
		char version[16] = "";

		if (s->version >= 0) {
			(void)snprintf(version, sizeof version, "@%d",
				       s->version);
		}
		n += (size_t)snprintf(w->text + n, sizeof w->text - n,
				      "%s%c%.*s%s", i == 0 ? "" : " ",
				      sign[s->kind], (int)s->node->path.n,
				      (const char *)s->node->path.p, version);
		if (s->kind != ZK_STEP_DELETE) {
			n += (size_t)snprintf(
			    w->text + n, sizeof w->text - n, "(%.*s)",
			    s->null ? 4 : (int)s->data.n,
			    s->null ? "null" : (const char *)s->data.p);
		}
	}
	return w->text;
}

#define SENDS(w, root, tree, want)                                         \
	do {                                                               \
		assert_int_equal(PLAN((w), (root), (tree)), ZK_PLAN_SEND); \
		assert_string_equal(steps(w), (want));                     \
	} while (0)

/* ---- puts ---------------------------------------------------------------- */

static void parents_are_made_with_null(void **state)
{
	struct world *w = *state;

	put(w, "/p/a/b", "v");
	SENDS(w, "/p", no_tree, "+/p(null) =/p@0(null) +/p/a(null) +/p/a/b(v)");
	assert_int_equal(w->plan.learn, 1);
}

static void a_set_needs_no_second_one(void **state)
{
	static const struct znode tree[] = {{"/a", 1, 0, 7, 5, 0}};
	struct world *w = *state;

	put(w, "/a", "v");
	put(w, "/b", "w");
	SENDS(w, "/", tree, "+/b(w) =/a(v)");
	assert_int_equal(w->plan.learn, 1);
}

static void one_that_only_creates_is_set_too(void **state)
{
	struct world *w = *state;

	put(w, "/b", "w");
	SENDS(w, "/", no_tree, "+/b(null) =/b@0(w)");
}

static void known_parents_and_wanted_absence_ask_nothing(void **state)
{
	struct world *w = *state;

	zk_seen_add(&w->seen, slice_str("/d"));
	absent(put(w, "/d/x", "1"));
	absent(put(w, "/d/y", "2"));
	SENDS(w, "/", no_tree, "+/d/x(null) =/d/x@0(1) +/d/y(2)");
	assert_int_equal(w->asked, 0);
	/* It failed: nothing is assumed any more. */
	zk_plan_forget(&w->plan);
	assert_int_equal(run(w), ZK_PLAN_SEND);
	assert_int_equal(w->asked, 3);
	assert_string_equal(steps(w), "+/d(null) =/d@0(null) +/d/x(1) "
				      "+/d/y(2)");
}

static void an_inner_znode_is_taken_by_its_version(void **state)
{
	static const struct znode tree[] = {{"/a", NULL_DATA, 2, 3, 5, 0}};
	struct world *w = *state;

	absent(put(w, "/a", "v"));
	assert_int_equal(PLAN(w, "/", tree), ZK_PLAN_SEND);
	zk_plan_forget(&w->plan);
	assert_int_equal(run(w), ZK_PLAN_SEND);
	assert_string_equal(steps(w), "=/a@3(v)");
}

static void null_attrs_put_null(void **state)
{
	static const struct znode tree[] = {{"/a", 1, 0, 7, 5, 0}};
	struct zk_attrs null = {.null = true};
	struct world *w = *state;
	struct store_op *op = put(w, "/a", "");

	assert_int_equal(zk_attrs_encode(&w->arena, &null, &op->attrs), KV_OK);
	SENDS(w, "/", tree, "=/a(null)");
}

/* ---- guards -------------------------------------------------------------- */

static void a_znode_made_anew_is_another_version(void **state)
{
	static const struct znode tree[] = {{"/a", 1, 0, 3, 50, 0}};
	struct world *w = *state;
	struct store_op *op = at(put(w, "/a", "v"), 3, 5);

	assert_int_equal(PLAN(w, "/", tree), ZK_PLAN_REFUSE);
	assert_int_equal(op->status, KV_KEY_MODIFIED);
	at(op, 3, 50);
	SENDS(w, "/", tree, "=/a@3(v)");
}

static void every_guard_that_fails_is_named(void **state)
{
	static const struct znode tree[] = {{"/exists", 1, 0, 0, 1, 0},
					    {"/other", 1, 0, 9, 1, 0},
					    {"/fine", 1, 0, 0, 1, 0},
					    {"/inner", NULL_DATA, 1, 0, 1, 0}};
	struct world *w = *state;

	absent(put(w, "/exists", "v"));
	at(put(w, "/other", "v"), 0, 1);
	at(put(w, "/fine", "v"), 0, 1);
	at(del(w, "/missing"), 0, 1);
	at(put(w, "/inner", "v"), 0, 1);
	absent(put(w, "/free", "v"));
	del(w, "/none");
	assert_int_equal(PLAN(w, "/", tree), ZK_PLAN_REFUSE);
	assert_int_equal(w->ops[0].status, KV_KEY_EXISTS);
	assert_int_equal(w->ops[1].status, KV_KEY_MODIFIED);
	assert_int_equal(w->ops[2].status, KV_CANCELED);
	assert_int_equal(w->ops[3].status, KV_KEY_NOT_FOUND);
	assert_int_equal(w->ops[4].status, KV_KEY_MODIFIED);
	assert_int_equal(w->ops[5].status, KV_CANCELED);
	assert_int_equal(w->ops[6].status, KV_KEY_NOT_FOUND);
}

/* ---- deletes ------------------------------------------------------------- */

static void deleting_nothing_is_nothing(void **state)
{
	static const struct znode tree[] = {{"/inner", NULL_DATA, 1, 0, 1, 0}};
	struct world *w = *state;

	del(w, "/none");
	del(w, "/inner"); /* no key: it holds nothing */
	assert_int_equal(PLAN(w, "/", tree), ZK_PLAN_NOTHING);
	assert_int_equal(w->ops[0].status, KV_KEY_NOT_FOUND);
	assert_int_equal(w->ops[1].status, KV_KEY_NOT_FOUND);
}

static void a_key_with_children_is_emptied(void **state)
{
	static const struct znode tree[] = {{"/a", 3, 2, 4, 1, 0}};
	struct world *w = *state;

	at(del(w, "/a"), 4, 1);
	SENDS(w, "/", tree, "=/a@4(null)");
}

static void deepest_first_and_null_parents_go(void **state)
{
	static const struct znode tree[] = {{"/p", NULL_DATA, 1, 0, 1, 0},
					    {"/p/a", NULL_DATA, 1, 6, 1, 0},
					    {"/p/a/b", 3, 1, 0, 1, 0},
					    {"/p/a/b/c", 3, 0, 0, 1, 0}};
	struct world *w = *state;

	del(w, "/p/a/b");
	del(w, "/p/a/b/c");
	SENDS(w, "/p", tree, "-/p/a/b/c -/p/a/b -/p/a@6");
	assert_true(slice_eq(w->plan.probe, slice_str("/p")));
	assert_int_equal(w->plan.learn, ZK_NO_NODE);
	/* With another prefix the root of it would be /. */
	SENDS(w, "/", tree, "-/p/a/b/c -/p/a/b -/p/a@6 -/p@0");
	assert_true(slice_eq(w->plan.probe, slice_str("/")));
}

static void parents_stay(void **state)
{
	static const struct znode tree[] = {
	    {"/data", 1, 1, 0, 1, 0},	       {"/data/k", 1, 0, 0, 1, 0},
	    {"/empty", 0, 1, 0, 1, 0},	       {"/empty/k", 1, 0, 0, 1, 0},
	    {"/more", NULL_DATA, 2, 0, 1, 0},  {"/more/k", 1, 0, 0, 1, 0},
	    {"/again", NULL_DATA, 1, 0, 1, 0}, {"/again/k", 1, 0, 0, 1, 0},
	    {"/put", NULL_DATA, 1, 0, 1, 0},   {"/put/k", 1, 0, 0, 1, 0}};
	struct world *w = *state;

	del(w, "/data/k");
	del(w, "/empty/k");
	del(w, "/more/k");
	del(w, "/again/k");
	put(w, "/again/new", "v");
	del(w, "/put/k");
	put(w, "/put", "v");
	SENDS(w, "/", tree,
	      "+/again/new(v) =/put(v) -/put/k -/again/k -/more/k -/empty/k "
	      "-/data/k");
}

static void a_deleted_key_that_gets_a_child_stays(void **state)
{
	static const struct znode tree[] = {{"/a", 1, 0, 2, 1, 0}};
	struct world *w = *state;

	del(w, "/a");
	put(w, "/a/b", "v");
	SENDS(w, "/", tree, "+/a/b(v) =/a(null)");
}

/* ---- sizes --------------------------------------------------------------- */

static void parents_that_do_not_fit_go_before(void **state)
{
	struct world *w = *state;
	size_t n = ZK_MAX_PACKET - 110;
	char *value = arena_alloc(&w->arena, n);
	struct store_op *op = absent(put(w, "/a/b/c", ""));

	assert_non_null(value);
	memset(value, 'v', n);
	op->value = slice_of(value, n);
	assert_true(zk_plan_bound(w->ops, w->paths, 1) <= ZK_MAX_PACKET);
	SENDS(w, "/", no_tree, "+/a(null) +/a/b(null)");
	assert_true(w->plan.parents_only);
	op->value.n++;
	while (zk_plan_bound(w->ops, w->paths, 1) <= ZK_MAX_PACKET) {
		op->value.n++;
	}
	assert_true(op->value.n < ZK_MAX_PACKET);
}

/* ---- results ------------------------------------------------------------- */

static void versions_of_what_was_made(void **state)
{
	static const struct znode tree[] = {{"/old", 1, 0, 4, 7, 0}};
	struct zk_stat stats[8] = {{0}};
	struct world *w = *state;

	put(w, "/old", "v");
	put(w, "/new", "v");
	SENDS(w, "/", tree, "+/new(v) =/old(v)");
	stats[1] = (struct zk_stat){.czxid = 7, .mzxid = 99, .version = 5};
	assert_int_equal(zk_plan_done(&w->plan, stats, 99), 0);
	assert_int_equal(w->ops[0].version.a, 6);
	assert_int_equal(w->ops[0].version.b, 7);
	assert_int_equal(w->ops[1].version.a, 1);
	assert_int_equal(w->ops[1].version.b, 99);
	assert_int_equal(w->ops[1].index, 99);
}

static void another_znode_is_noticed_after_a_set(void **state)
{
	static const struct znode tree[] = {{"/a", 1, 0, 4, 7, 0}};
	struct zk_stat stats[1] = {{.czxid = 8, .mzxid = 99, .version = 5}};
	struct world *w = *state;

	at(put(w, "/a", "v"), 4, 7);
	SENDS(w, "/", tree, "=/a@4(v)");
	assert_int_equal(zk_plan_done(&w->plan, stats, 99), 1);
}

/* Every node as the multi with this zxid would have left it. */
static void as_if_done(struct world *w, int64_t zxid)
{
	size_t i;

	for (i = 0; i < w->plan.n_steps; i++) {
		const struct zk_step *s = &w->plan.steps[i];
		struct zk_node *node = s->node;

		node->now_there = s->kind != ZK_STEP_DELETE;
		node->now_same = true;
		node->now = node->stat;
		node->now.mzxid = zxid;
		if (s->kind == ZK_STEP_CREATE) {
			node->now.version = 0;
			node->now.czxid = zxid;
		} else if (node->fate == ZK_CREATED) {
			node->now.version = 1;
			node->now.czxid = zxid;
		} else {
			node->now.version++;
		}
	}
}

static void an_outcome_nobody_told_shows_itself(void **state)
{
	static const struct znode tree[] = {{"/a", 1, 0, 4, 7, 0},
					    {"/d", 1, 0, 4, 7, 0}};
	struct world *w = *state;
	uint64_t zxid;

	at(put(w, "/a", "v"), 4, 7);
	absent(put(w, "/b", "v"));
	at(del(w, "/d"), 4, 7);
	SENDS(w, "/", tree, "+/b(v) =/a@4(v) -/d@4");
	as_if_done(w, 99);
	assert_true(zk_plan_was_done(&w->plan, &zxid));
	assert_int_equal(zxid, 99);
	assert_int_equal(w->ops[0].version.a, 6);
	assert_int_equal(w->ops[1].version.b, 99);
	/* One sign less, and it is not shown. */
	w->plan.steps[1].node->now_same = false;
	assert_false(zk_plan_was_done(&w->plan, &zxid));
	as_if_done(w, 99);
	w->plan.steps[1].node->now.mzxid = 98;
	assert_false(zk_plan_was_done(&w->plan, &zxid));
	as_if_done(w, 99);
	w->plan.steps[1].node->now.version++;
	assert_false(zk_plan_was_done(&w->plan, &zxid));
	as_if_done(w, 99);
	w->plan.steps[2].node->now_there = true;
	assert_false(zk_plan_was_done(&w->plan, &zxid));
	as_if_done(w, 99);
	w->plan.steps[0].node->now_there = false;
	assert_false(zk_plan_was_done(&w->plan, &zxid));
}

/* ---- attrs --------------------------------------------------------------- */

static void attrs_are_canonical(void **state)
{
	struct zk_acl acls[] = {{1, slice_str("world"), slice_str("anyone")},
				{31, slice_str("digest"), slice_str("u:h")},
				{1, slice_str("world"), slice_str("anyone")}};
	struct zk_acl other[] = {acls[1], acls[0]};
	struct zk_acl open[] = {
	    {ZK_PERM_ALL, slice_str("world"), slice_str("anyone")}};
	struct zk_attrs x = {.acls = acls, .n = 3};
	struct zk_attrs y = {.acls = other, .n = 2};
	struct zk_attrs z = {.acls = open, .n = 1};
	struct zk_attrs back;
	struct world *w = *state;
	struct slice a, b;

	assert_int_equal(zk_attrs_encode(&w->arena, &x, &a), KV_OK);
	assert_int_equal(zk_attrs_encode(&w->arena, &y, &b), KV_OK);
	assert_true(a.n > 0 && slice_eq(a, b));
	assert_int_equal(zk_attrs_decode(&w->arena, a, &back, NULL), KV_OK);
	assert_int_equal(back.n, 2);
	assert_false(back.null);
	assert_true(slice_eq(back.acls[0].id, slice_str("u:h")));
	assert_int_equal(zk_attrs_encode(&w->arena, &z, &b), KV_OK);
	assert_int_equal(b.n, 0);
	z.null = true;
	assert_int_equal(zk_attrs_encode(&w->arena, &z, &b), KV_OK);
	assert_int_equal(zk_attrs_decode(&w->arena, b, &back, NULL), KV_OK);
	assert_true(back.null && back.n == 0);
	/* What is no attrs. */
	assert_int_equal(
	    zk_attrs_decode(&w->arena, slice_str("flag"), &back, NULL),
	    KV_BAD_ARGUMENT);
	a.n--;
	assert_int_equal(zk_attrs_decode(&w->arena, a, &back, NULL),
			 KV_BAD_ARGUMENT);
}

#define plan_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    plan_test(parents_are_made_with_null),
	    plan_test(a_set_needs_no_second_one),
	    plan_test(one_that_only_creates_is_set_too),
	    plan_test(known_parents_and_wanted_absence_ask_nothing),
	    plan_test(an_inner_znode_is_taken_by_its_version),
	    plan_test(null_attrs_put_null),
	    plan_test(a_znode_made_anew_is_another_version),
	    plan_test(every_guard_that_fails_is_named),
	    plan_test(deleting_nothing_is_nothing),
	    plan_test(a_key_with_children_is_emptied),
	    plan_test(deepest_first_and_null_parents_go),
	    plan_test(parents_stay),
	    plan_test(a_deleted_key_that_gets_a_child_stays),
	    plan_test(parents_that_do_not_fit_go_before),
	    plan_test(versions_of_what_was_made),
	    plan_test(another_znode_is_noticed_after_a_set),
	    plan_test(an_outcome_nobody_told_shows_itself),
	    plan_test(attrs_are_canonical),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
