/* zk_plan.c: see zk_plan.h. The table of znodes, what must be asked, what
 * becomes of each; zk_steps.c makes steps of it and reads the results.
 */
#include "store/zookeeper/zk_plan.h"

#include "store/base/hash.h"

/* ---- paths that were seen ------------------------------------------------ */

static uint64_t hash_path(struct slice path)
{
	struct kv_hash h = kv_hash(path);
	uint64_t v;

	memcpy(&v, h.b, sizeof v);
	return v == 0 ? 1 : v;
}

void zk_seen_add(struct zk_seen *s, struct slice path)
{
	uint64_t h = hash_path(path);

	s->slots[h % ZK_SEEN_SLOTS] = h;
}

bool zk_seen_has(const struct zk_seen *s, struct slice path)
{
	uint64_t h = hash_path(path);

	return s->slots[h % ZK_SEEN_SLOTS] == h;
}

void zk_seen_drop(struct zk_seen *s, struct slice path)
{
	uint64_t h = hash_path(path);

	if (s->slots[h % ZK_SEEN_SLOTS] == h) {
		s->slots[h % ZK_SEEN_SLOTS] = 0;
	}
}

void zk_seen_clear(struct zk_seen *s)
{
	memset(s, 0, sizeof *s);
}

/* ---- the table ----------------------------------------------------------- */

static size_t count_segments(struct slice path)
{
	size_t i, n = 0;

	for (i = 0; i < path.n; i++) {
		n += path.p[i] == '/';
	}
	return n;
}

static bool allocate(struct zk_plan *p, const struct slice *paths, size_t n)
{
	size_t i, most = 0;

	for (i = 0; i < n; i++) {
		most += count_segments(paths[i]);
	}
	for (p->n_slots = 16; p->n_slots < 2 * most; p->n_slots *= 2) {
	}
	p->nodes = arena_alloc(p->arena, most * sizeof *p->nodes);
	p->slots = arena_alloc(p->arena, p->n_slots * sizeof *p->slots);
	/* Each create may need two steps, at most one does. */
	p->steps = arena_alloc(p->arena, (most + 1) * sizeof *p->steps);
	if (p->nodes == NULL || p->slots == NULL || p->steps == NULL) {
		return false;
	}
	for (i = 0; i < p->n_slots; i++) {
		p->slots[i] = ZK_NO_NODE;
	}
	return true;
}

static bool is_below(struct slice path, struct slice root)
{
	if (root.n <= 1) {
		return path.n > 1;
	}
	return path.n > root.n && slice_below(path, root);
}

/* The slot of the path: its node, or where it would go. */
static size_t *find_slot(struct zk_plan *p, struct slice path)
{
	size_t i = (size_t)hash_path(path) & (p->n_slots - 1);

	while (p->slots[i] != ZK_NO_NODE &&
	       !slice_eq(p->nodes[p->slots[i]].path, path)) {
		i = (i + 1) & (p->n_slots - 1);
	}
	return &p->slots[i];
}

/* The node of the path, made when it is new; ZK_NO_NODE: no memory. */
static size_t intern(struct zk_plan *p, struct slice path, size_t parent)
{
	size_t *slot = find_slot(p, path);
	struct zk_node *node;
	char *text;

	if (*slot != ZK_NO_NODE) {
		return *slot;
	}
	text = arena_alloc(p->arena, path.n + 1);
	if (text == NULL) {
		return ZK_NO_NODE;
	}
	memcpy(text, path.p, path.n);
	text[path.n] = '\0';
	node = &p->nodes[p->n_nodes];
	memset(node, 0, sizeof *node);
	node->path = slice_of(text, path.n);
	node->parent = parent;
	node->below = is_below(path, p->root);
	*slot = p->n_nodes++;
	return *slot;
}

/* All above the path, then the path; ZK_NO_NODE: no memory. */
static size_t intern_all(struct zk_plan *p, struct slice path)
{
	size_t i, node = ZK_NO_NODE;

	for (i = 1; i < path.n; i++) {
		if (path.p[i] != '/') {
			continue;
		}
		node = intern(p, slice_of(path.p, i), node);
		if (node == ZK_NO_NODE) {
			return ZK_NO_NODE;
		}
	}
	return intern(p, path, node);
}

static struct zk_node *parent_of(const struct zk_plan *p,
				 const struct zk_node *node)
{
	return node->parent == ZK_NO_NODE ? NULL : &p->nodes[node->parent];
}

static bool is_put(const struct zk_node *node)
{
	return node->op != NULL && node->op->kind == STORE_OP_PUT;
}

static bool is_delete(const struct zk_node *node)
{
	return node->op != NULL && node->op->kind == STORE_OP_DELETE;
}

int zk_plan_build(struct zk_plan *p, struct store_op *ops,
		  const struct slice *paths, size_t n, struct kv_err *err)
{
	struct zk_node *up;
	size_t i, at;
	int rv;

	PRE(n > 0);
	if (!allocate(p, paths, n)) {
		goto no_memory;
	}
	for (i = 0; i < n; i++) {
		at = intern_all(p, paths[i]);
		if (at == ZK_NO_NODE) {
			goto no_memory;
		}
		PRE(p->nodes[at].op == NULL);
		p->nodes[at].op = &ops[i];
		if (ops[i].kind == STORE_OP_PUT) {
			rv = zk_attrs_decode(p->arena, ops[i].attrs,
					     &p->nodes[at].attrs, err);
			if (rv != KV_OK) {
				return rv;
			}
			continue;
		}
		for (up = parent_of(p, &p->nodes[at]); up != NULL;
		     up = parent_of(p, up)) {
			up->over_delete = true;
		}
	}
	return KV_OK;
no_memory:
	return kv_fail(err, KV_NO_MEMORY, "zookeeper: no memory for a write");
}

void zk_plan_forget(struct zk_plan *p)
{
	size_t i;

	p->careful = true;
	for (i = 0; i < p->n_nodes; i++) {
		p->nodes[i].known = ZK_UNREAD;
		p->nodes[i].data_known = false;
		p->nodes[i].assumed = false;
	}
}

/* ---- what must be asked -------------------------------------------------- */

/* What is likely is taken for known, until a multi fails over it. */
static void assume(struct zk_plan *p, struct zk_node *node)
{
	if (p->careful || node->over_delete || node->known != ZK_UNREAD) {
		return;
	}
	if (node->op == NULL && zk_seen_has(p->seen, node->path)) {
		node->known = ZK_THERE;
		node->assumed = true;
	} else if (is_put(node) && node->op->guard == STORE_GUARD_ABSENT) {
		node->known = ZK_ABSENT;
		node->assumed = true;
	}
}

/* Is the data of no bytes empty or null: does it decide about the op? */
static bool needs_data(const struct zk_node *node)
{
	return node->op != NULL && node->known == ZK_THERE && !node->assumed &&
	       !node->data_known && node->stat.data_length == 0 &&
	       (is_delete(node) || node->op->guard != STORE_GUARD_NONE);
}

static bool ask(struct zk_plan *p)
{
	bool any = false;
	size_t i;

	for (i = 0; i < p->n_nodes; i++) {
		struct zk_node *node = &p->nodes[i];

		assume(p, node);
		node->ask_stat = node->known == ZK_UNREAD;
		node->ask_data = needs_data(node);
		any = any || node->ask_stat || node->ask_data;
	}
	return any;
}

/* ---- guards -------------------------------------------------------------- */

static bool version_holds(const struct zk_node *node)
{
	return (uint64_t)node->stat.version + 1 == node->op->expect.a &&
	       (uint64_t)node->stat.czxid == node->op->expect.b;
}

/* May a put that wants no key there take the znode? */
static bool is_free(const struct zk_node *node)
{
	return !node->key && node->stat.data_length == 0 &&
	       node->stat.ephemeral_owner == 0;
}

static int judge(const struct zk_node *node)
{
	bool key = node->known == ZK_THERE && node->key;

	switch (node->op->guard) {
	case STORE_GUARD_ABSENT:
		if (is_delete(node)) {
			return key ? KV_KEY_EXISTS : KV_KEY_NOT_FOUND;
		}
		return node->known == ZK_THERE && !is_free(node) ? KV_KEY_EXISTS
								 : KV_OK;
	case STORE_GUARD_VERSION:
		if (!key) {
			return is_put(node) ? KV_KEY_MODIFIED
					    : KV_KEY_NOT_FOUND;
		}
		return version_holds(node) ? KV_OK : KV_KEY_MODIFIED;
	default:
		return is_put(node) || key ? KV_OK : KV_KEY_NOT_FOUND;
	}
}

/* A missing key is what an unguarded delete wants. */
static bool is_refused(const struct zk_node *node)
{
	return node->op != NULL && node->op->status != KV_OK &&
	       !(is_delete(node) && node->op->guard == STORE_GUARD_NONE);
}

/* The status of each op, as far as known; false: some guard does not hold. */
static bool judge_all(struct zk_plan *p)
{
	size_t i;

	p->refused = NULL;
	for (i = 0; i < p->n_nodes; i++) {
		struct zk_node *node = &p->nodes[i];

		if (node->op == NULL) {
			continue;
		}
		node->op->status = judge(node);
		if (is_refused(node) && p->refused == NULL) {
			p->refused = node;
		}
	}
	return p->refused == NULL;
}

/* Each op shall say what became of its own guard: those that were assumed to
 * hold are asked now. False: there are none. */
static bool ask_assumed(struct zk_plan *p)
{
	bool any = false;
	size_t i;

	for (i = 0; i < p->n_nodes; i++) {
		struct zk_node *node = &p->nodes[i];

		if (node->op != NULL && node->assumed) {
			node->known = ZK_UNREAD;
			node->assumed = false;
			node->ask_stat = true;
			any = true;
		}
	}
	p->careful = p->careful || any;
	return any;
}

/* Those that might have been done are held back by those that cannot. */
static void hold_back(struct zk_plan *p)
{
	size_t i;

	for (i = 0; i < p->n_nodes; i++) {
		struct store_op *op = p->nodes[i].op;

		if (op != NULL && op->status == KV_OK) {
			op->status = KV_CANCELED;
		}
	}
}

/* ---- what becomes of each ------------------------------------------------ */

static void begin_fates(struct zk_plan *p)
{
	size_t i;

	for (i = 0; i < p->n_nodes; i++) {
		struct zk_node *node = &p->nodes[i];

		node->fate = ZK_KEEP;
		node->lost_child = false;
		node->children =
		    node->known == ZK_THERE ? node->stat.num_children : 0;
	}
}

/* Puts, and what must stand above them. */
static void decide_puts(struct zk_plan *p)
{
	size_t i;

	for (i = p->n_nodes; i-- > 0;) {
		struct zk_node *node = &p->nodes[i];
		struct zk_node *up = parent_of(p, node);

		if (is_put(node)) {
			node->fate =
			    node->known == ZK_THERE ? ZK_CHANGED : ZK_CREATED;
		}
		if (node->fate != ZK_CREATED || up == NULL) {
			continue;
		}
		up->children++;
		if (up->known == ZK_ABSENT) {
			up->fate = ZK_CREATED;
		}
	}
}

/* A parent that lost its last child: does it go, too? True: not yet known. */
static bool decide_parent(struct zk_node *node)
{
	if (!node->lost_child || node->children > 0 || !node->below ||
	    node->known != ZK_THERE || is_put(node) ||
	    node->stat.data_length > 0 || node->stat.ephemeral_owner != 0) {
		return false;
	}
	if (!node->data_known) {
		node->ask_data = true;
		return true;
	}
	if (node->null) {
		node->fate = ZK_DELETED;
	}
	return false;
}

/* From the bottom up. False: something more must be asked. */
static bool decide_deletes(struct zk_plan *p)
{
	bool asks = false;
	size_t i;

	for (i = p->n_nodes; i-- > 0;) {
		struct zk_node *node = &p->nodes[i];
		struct zk_node *up = parent_of(p, node);

		if (is_delete(node) && node->op->status == KV_OK) {
			node->fate =
			    node->children > 0 ? ZK_EMPTIED : ZK_DELETED;
		} else if (decide_parent(node)) {
			asks = true;
		}
		if (node->fate == ZK_DELETED && up != NULL) {
			up->children--;
			up->lost_child = true;
		}
	}
	return !asks;
}

static bool has_fates(const struct zk_plan *p)
{
	size_t i;

	for (i = 0; i < p->n_nodes; i++) {
		if (p->nodes[i].fate != ZK_KEEP) {
			return true;
		}
	}
	return false;
}

enum zk_plan_next zk_plan_make(struct zk_plan *p)
{
	if (ask(p)) {
		return ZK_PLAN_ASK;
	}
	if (!judge_all(p)) {
		if (ask_assumed(p)) {
			return ZK_PLAN_ASK;
		}
		hold_back(p);
		return ZK_PLAN_REFUSE;
	}
	begin_fates(p);
	decide_puts(p);
	if (!decide_deletes(p)) {
		return ZK_PLAN_ASK;
	}
	if (!has_fates(p)) {
		return ZK_PLAN_NOTHING;
	}
	zk_plan_steps(p);
	return ZK_PLAN_SEND;
}
