/* zk_steps.c: the multi of a plan, and what its results mean for the ops.
 *
 *   fates --> creates (top down), sets, deletes (bottom up) --> Stats --> ops
 */
#include "store/zookeeper/zk_impl.h"
#include "store/zookeeper/zk_plan.h"

/* xid, type; and the header that ends a multi. */
#define FRAME_BYTES (8 + 9)
#define HEADER_BYTES 9
/* world:anyone as a vector of one. */
#define OPEN_ACL_BYTES (4 + 4 + 4 + 5 + 4 + 6)

/* ---- sizes --------------------------------------------------------------- */

static size_t acl_bytes(const struct zk_attrs *attrs)
{
	size_t i, n = 4;

	if (attrs->n == 0) {
		return OPEN_ACL_BYTES;
	}
	for (i = 0; i < attrs->n; i++) {
		n += 12 + attrs->acls[i].scheme.n + attrs->acls[i].id.n;
	}
	return n;
}

static size_t step_bytes(const struct zk_step *s)
{
	size_t n = HEADER_BYTES + 4 + s->node->path.n;

	switch (s->kind) {
	case ZK_STEP_CREATE:
		return n + 4 + s->data.n + acl_bytes(&s->node->attrs) + 4;
	case ZK_STEP_SET:
		return n + 4 + s->data.n + 4;
	default:
		return n + 4;
	}
}

size_t zk_plan_bound(const struct store_op *ops, const struct slice *paths,
		     size_t n)
{
	size_t i, path = 0, sum = FRAME_BYTES;

	for (i = 0; i < n; i++) {
		sum += HEADER_BYTES + 4 + paths[i].n + 8;
		path = KV_MAX(path, paths[i].n);
		if (ops[i].kind == STORE_OP_PUT) {
			/* Attrs hold no less than the ACL on the wire. */
			sum += ops[i].value.n +
			       KV_MAX(ops[i].attrs.n, (size_t)OPEN_ACL_BYTES);
		}
	}
	/* One of them may be created and then set. */
	return sum + HEADER_BYTES + 4 + path + 8;
}

/* ---- steps --------------------------------------------------------------- */

static struct zk_step *add(struct zk_plan *p, enum zk_step_kind kind,
			   struct zk_node *node, int32_t version)
{
	struct zk_step *s = &p->steps[p->n_steps++];

	memset(s, 0, sizeof *s);
	s->kind = kind;
	s->node = node;
	s->version = version;
	s->null = true;
	return s;
}

static bool holds_value(const struct zk_node *node)
{
	return node->op != NULL && node->op->kind == STORE_OP_PUT &&
	       !node->attrs.null;
}

static void set_data(struct zk_step *s)
{
	if (holds_value(s->node)) {
		s->null = false;
		s->data = s->node->op->value;
	}
}

/* The data version that a set or a delete insists on. */
static int32_t version_for(const struct zk_node *node)
{
	bool guarded = node->op == NULL ||
		       node->op->guard != STORE_GUARD_NONE ||
		       (node->fate == ZK_DELETED && node->op->status != KV_OK);

	return guarded ? node->stat.version : -1;
}

static struct zk_node *first_of(struct zk_plan *p, enum zk_fate fate,
				bool parent)
{
	size_t i;

	for (i = 0; i < p->n_nodes; i++) {
		if (p->nodes[i].fate == fate &&
		    (!parent || !holds_value(&p->nodes[i]))) {
			return &p->nodes[i];
		}
	}
	return NULL;
}

/* The node that is created and then set, as no other set is in the multi;
 * rather one whose data is null: nobody looks at its version. */
static struct zk_node *choose_twice(struct zk_plan *p)
{
	struct zk_node *node;

	if (first_of(p, ZK_CHANGED, false) != NULL ||
	    first_of(p, ZK_EMPTIED, false) != NULL) {
		return NULL;
	}
	node = first_of(p, ZK_CREATED, true);
	return node != NULL ? node : first_of(p, ZK_CREATED, false);
}

static void add_creates(struct zk_plan *p)
{
	struct zk_node *twice = choose_twice(p);
	size_t i;

	for (i = 0; i < p->n_nodes; i++) {
		struct zk_node *node = &p->nodes[i];

		if (node->fate != ZK_CREATED) {
			continue;
		}
		if (node == twice) {
			(void)add(p, ZK_STEP_CREATE, node, -1);
			p->learn = p->n_steps;
			set_data(add(p, ZK_STEP_SET, node, 0));
		} else {
			set_data(add(p, ZK_STEP_CREATE, node, -1));
		}
	}
}

static void add_sets(struct zk_plan *p)
{
	size_t i;

	for (i = 0; i < p->n_nodes; i++) {
		struct zk_node *node = &p->nodes[i];

		if (node->fate == ZK_CHANGED || node->fate == ZK_EMPTIED) {
			p->learn = p->n_steps;
			set_data(add(p, ZK_STEP_SET, node, version_for(node)));
		}
	}
}

/* The nearest above a deleted znode that stays. */
static struct slice find_probe(const struct zk_plan *p,
			       const struct zk_node *node)
{
	while (node->fate == ZK_DELETED && node->parent != ZK_NO_NODE) {
		node = &p->nodes[node->parent];
	}
	return node->fate == ZK_DELETED ? slice_str("/") : node->path;
}

static void add_deletes(struct zk_plan *p)
{
	size_t i;

	for (i = p->n_nodes; i-- > 0;) {
		struct zk_node *node = &p->nodes[i];

		if (node->fate == ZK_DELETED) {
			(void)add(p, ZK_STEP_DELETE, node, version_for(node));
			p->probe = find_probe(p, node);
		}
	}
}

static void measure(struct zk_plan *p)
{
	size_t i;

	p->bytes = FRAME_BYTES;
	for (i = 0; i < p->n_steps; i++) {
		p->bytes += step_bytes(&p->steps[i]);
	}
}

/* Keeps as many creates of parents as fit. */
static void keep_parents(struct zk_plan *p)
{
	size_t i, n = 0;

	p->bytes = FRAME_BYTES;
	for (i = 0; i < p->n_steps; i++) {
		struct zk_step *s = &p->steps[i];

		if (s->kind != ZK_STEP_CREATE || s->node->op != NULL ||
		    p->bytes + step_bytes(s) > ZK_MAX_PACKET) {
			continue;
		}
		p->bytes += step_bytes(s);
		p->steps[n++] = *s;
	}
	p->parents_only = n > 0;
	if (n > 0) {
		p->n_steps = n;
		p->learn = ZK_NO_NODE;
	} else {
		measure(p);
	}
}

void zk_plan_steps(struct zk_plan *p)
{
	p->n_steps = 0;
	p->learn = ZK_NO_NODE;
	p->probe = slice_of(NULL, 0);
	p->parents_only = false;
	add_creates(p);
	add_sets(p);
	add_deletes(p);
	measure(p);
	if (p->bytes > ZK_MAX_PACKET) {
		keep_parents(p);
	}
}

/* ---- results ------------------------------------------------------------- */

static void op_result(const struct zk_node *node, const struct zk_stat *stat,
		      uint64_t zxid)
{
	struct store_op *op = node->op;

	if (op == NULL || op->status != KV_OK) {
		return;
	}
	op->index = zxid;
	op->version = (struct store_version){0};
	if (op->kind == STORE_OP_PUT) {
		op->version.a = stat == NULL ? 1 : (uint64_t)stat->version + 1;
		op->version.b = stat == NULL ? zxid : (uint64_t)stat->czxid;
	}
}

static void note_seen(struct zk_plan *p)
{
	size_t i;

	for (i = 0; i < p->n_nodes; i++) {
		const struct zk_node *node = &p->nodes[i];

		if (node->fate == ZK_DELETED) {
			zk_seen_drop(p->seen, node->path);
		} else if (node->op == NULL && node->fate == ZK_CREATED) {
			zk_seen_add(p->seen, node->path);
		} else if (node->op == NULL && node->known == ZK_THERE &&
			   !node->assumed) {
			zk_seen_add(p->seen, node->path);
		}
	}
}

/* Was the znode that we set not the one that the guard was made for? */
static bool is_another(const struct zk_step *s, const struct zk_stat *stat)
{
	const struct zk_node *node = s->node;

	return node->fate == ZK_CHANGED && node->op != NULL &&
	       node->op->guard == STORE_GUARD_VERSION &&
	       (uint64_t)stat->czxid != node->op->expect.b;
}

unsigned zk_plan_done(struct zk_plan *p, const struct zk_stat *stats,
		      uint64_t zxid)
{
	unsigned others = 0;
	size_t i;

	for (i = 0; i < p->n_steps; i++) {
		const struct zk_step *s = &p->steps[i];

		if (s->kind == ZK_STEP_SET) {
			op_result(s->node, &stats[i], zxid);
			others += is_another(s, &stats[i]);
		} else {
			op_result(s->node, NULL, zxid);
		}
	}
	note_seen(p);
	return others;
}

/* ---- an outcome that nobody told ----------------------------------------- */

/* Does the znode stand as the step left it? *zxid: 0, or what all changes of
 * the multi must share. */
static bool stands(const struct zk_plan *p, size_t i, uint64_t *zxid)
{
	const struct zk_step *s = &p->steps[i];
	const struct zk_node *node = s->node;
	bool twice = s->kind == ZK_STEP_CREATE && i + 1 == p->learn &&
		     p->steps[p->learn].node == node;
	int64_t version = -1;

	if (node->op == NULL || twice) {
		return true; /* the next step, and the keys, tell more */
	}
	if (s->kind == ZK_STEP_DELETE) {
		return !node->now_there;
	}
	if (!node->now_there || !node->now_same) {
		return false;
	}
	if (s->kind == ZK_STEP_CREATE) {
		version = 0;
	} else if (s->version >= 0) {
		version = (int64_t)s->version + 1;
	}
	if (version >= 0 && node->now.version != version) {
		return false;
	}
	if (node->fate == ZK_CREATED
		? node->now.czxid != node->now.mzxid
		: s->version >= 0 && node->now.czxid != node->stat.czxid) {
		return false;
	}
	if (*zxid == 0) {
		*zxid = (uint64_t)node->now.mzxid;
	}
	return *zxid == (uint64_t)node->now.mzxid;
}

bool zk_plan_was_done(struct zk_plan *p, uint64_t *zxid)
{
	size_t i;

	*zxid = 0;
	PRE(!p->parents_only);
	for (i = 0; i < p->n_steps; i++) {
		if (!stands(p, i, zxid)) {
			return false;
		}
	}
	for (i = 0; i < p->n_steps; i++) {
		op_result(p->steps[i].node,
			  p->steps[i].kind == ZK_STEP_SET
			      ? &p->steps[i].node->now
			      : NULL,
			  *zxid);
	}
	return true;
}
