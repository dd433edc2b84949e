/* zk_lib.c: single requests to libzookeeper_mt.
 *
 *   zk_lib_start --> zoo_a*(arguments out of the arena)
 *   completion, on the library's thread: rc and copies into the call --mailbox
 *   --> zk_lib_answer, on the loop: done(), free
 *
 * A call is in its session's list from start to answer, also one that was
 * forgotten: the library writes into its arena until then.
 */
#include "store/zookeeper/zk_handle_impl.h"

#include <string.h>

/* ---- on the library's thread --------------------------------------------- */

static void send_back(struct zk_lib *c, int rc)
{
	c->rc = rc;
	list_init(&c->post.link);
	mailbox_send(c->session->h->mailbox, &c->post.link);
}

static struct zk_lib *call_of(const void *data)
{
	return (struct zk_lib *)(uintptr_t)data;
}

static void take_stat(struct zk_stat *to, const struct Stat *s)
{
	if (s == NULL) {
		return;
	}
	*to = (struct zk_stat){.czxid = s->czxid,
			       .mzxid = s->mzxid,
			       .ctime = s->ctime,
			       .mtime = s->mtime,
			       .version = s->version,
			       .cversion = s->cversion,
			       .aversion = s->aversion,
			       .ephemeral_owner = s->ephemeralOwner,
			       .data_length = s->dataLength,
			       .num_children = s->numChildren,
			       .pzxid = s->pzxid};
}

static struct slice copy(struct zk_lib *c, const char *p, size_t n)
{
	struct slice s = slice_dup(&c->arena, slice_of(p, n));

	c->memory = c->memory || s.p == NULL;
	return s;
}

static void on_void(int rc, const void *data)
{
	send_back(call_of(data), rc);
}

static void on_stat(int rc, const struct Stat *stat, const void *data)
{
	struct zk_lib *c = call_of(data);

	take_stat(&c->stat, stat);
	send_back(c, rc);
}

static void on_data(int rc, const char *value, int value_n,
		    const struct Stat *stat, const void *data)
{
	struct zk_lib *c = call_of(data);

	take_stat(&c->stat, stat);
	if (rc == ZOK && value_n >= 0) {
		c->out = copy(c, value, (size_t)value_n);
	}
	c->null = rc == ZOK && value_n < 0;
	send_back(c, rc);
}

static void on_string(int rc, const char *value, const void *data)
{
	struct zk_lib *c = call_of(data);

	if (rc == ZOK && value != NULL) {
		c->out = copy(c, value, strlen(value));
	}
	send_back(c, rc);
}

static void on_strings(int rc, const struct String_vector *v, const void *data)
{
	struct zk_lib *c = call_of(data);
	size_t i, n = rc == ZOK && v != NULL ? (size_t)v->count : 0;

	if (n > 0) {
		c->names = arena_alloc(&c->arena, n * sizeof *c->names);
		c->memory = c->names == NULL;
	}
	for (i = 0; i < n && !c->memory; i++) {
		c->names[i] = copy(c, v->data[i], strlen(v->data[i]));
	}
	c->n_names = c->memory ? 0 : n;
	send_back(c, rc);
}

static void on_acl(int rc, struct ACL_vector *v, struct Stat *stat,
		   const void *data)
{
	struct zk_lib *c = call_of(data);
	size_t i, n = rc == ZOK && v != NULL ? (size_t)v->count : 0;

	take_stat(&c->stat, stat);
	if (n > 0) {
		c->attrs.acls =
		    arena_alloc(&c->arena, n * sizeof *c->attrs.acls);
		c->memory = c->attrs.acls == NULL;
	}
	for (i = 0; i < n && !c->memory; i++) {
		const struct ACL *a = &v->data[i];

		c->attrs.acls[i].perms = a->perms;
		c->attrs.acls[i].scheme =
		    copy(c, a->id.scheme, strlen(a->id.scheme));
		c->attrs.acls[i].id = copy(c, a->id.id, strlen(a->id.id));
	}
	c->attrs.n = c->memory ? 0 : n;
	send_back(c, rc);
}

static void on_multi(int rc, const void *data)
{
	struct zk_lib *c = call_of(data);
	const zoo_op_result_t *results = c->results;
	const struct Stat *stats = c->lib_stats;
	size_t i;

	c->failed = ZK_NO_NODE;
	for (i = 0; i < c->n_steps; i++) {
		int err = results[i].err;

		take_stat(&c->stats[i], &stats[i]);
		if (rc != ZOK && err != ZOK && err != ZRUNTIMEINCONSISTENCY &&
		    c->failed == ZK_NO_NODE) {
			c->failed = i;
			c->failed_rc = err;
		}
	}
	send_back(c, rc);
}

/* ---- on the loop: starting ----------------------------------------------- */

static char *text_of(struct arena *a, struct slice s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (p != NULL) {
		if (s.n > 0) {
			memcpy(p, s.p, s.n);
		}
		p[s.n] = '\0';
	}
	return p;
}

/* The library's form of an ACL; NULL: no memory. */
static const struct ACL_vector *make_acl(struct arena *a,
					 const struct zk_attrs *attrs)
{
	struct ACL_vector *v;
	size_t i;

	if (attrs->n == 0) {
		return &ZOO_OPEN_ACL_UNSAFE;
	}
	v = arena_alloc(a, sizeof *v);
	if (v == NULL) {
		return NULL;
	}
	v->count = (int32_t)attrs->n;
	v->data = arena_alloc(a, attrs->n * sizeof *v->data);
	for (i = 0; v->data != NULL && i < attrs->n; i++) {
		const struct zk_acl *acl = &attrs->acls[i];

		v->data[i].perms = acl->perms;
		v->data[i].id.scheme = text_of(a, acl->scheme);
		v->data[i].id.id = text_of(a, acl->id);
		if (v->data[i].id.scheme == NULL || v->data[i].id.id == NULL) {
			return NULL;
		}
	}
	return v->data == NULL ? NULL : v;
}

/* The library wants a pointer also where there is no data. */
static const char *bytes_of(struct slice s)
{
	return s.p == NULL ? "" : (const char *)s.p;
}

static bool make_op(struct zk_lib *c, const struct zk_step *s, zoo_op_t *op,
		    struct Stat *stat)
{
	const char *path = (const char *)s->node->path.p;
	int n = s->null ? -1 : (int)s->data.n;
	const struct ACL_vector *acl;

	switch (s->kind) {
	case ZK_STEP_CREATE:
		acl = make_acl(&c->arena, &s->node->attrs);
		if (acl == NULL) {
			return false;
		}
		zoo_create_op_init(op, path, bytes_of(s->data), n, acl,
				   ZOO_PERSISTENT, NULL, 0);
		break;
	case ZK_STEP_SET:
		zoo_set_op_init(op, path, bytes_of(s->data), n, s->version,
				stat);
		break;
	case ZK_STEP_DELETE:
		zoo_delete_op_init(op, path, s->version);
		break;
	}
	return true;
}

static void *zeroed(struct arena *a, size_t n, size_t size)
{
	void *p = arena_alloc(a, n * size);

	return p == NULL ? NULL : memset(p, 0, n * size);
}

static int start_multi(zhandle_t *zh, struct zk_lib *c)
{
	size_t i, n = c->n_steps;
	zoo_op_t *ops = zeroed(&c->arena, n, sizeof *ops);
	struct Stat *stats = zeroed(&c->arena, n, sizeof *stats);

	c->results = zeroed(&c->arena, n, sizeof(zoo_op_result_t));
	c->lib_stats = stats;
	c->stats = zeroed(&c->arena, n, sizeof *c->stats);
	if (ops == NULL || stats == NULL || c->results == NULL ||
	    c->stats == NULL) {
		return ZSYSTEMERROR;
	}
	for (i = 0; i < n; i++) {
		if (!make_op(c, &c->steps[i], &ops[i], &stats[i])) {
			return ZSYSTEMERROR;
		}
	}
	return zoo_amulti(zh, (int)n, ops, c->results, on_multi, c);
}

static int start_set_acl(zhandle_t *zh, struct zk_lib *c)
{
	const struct ACL_vector *acl = make_acl(&c->arena, &c->attrs);
	struct ACL_vector v;

	if (acl == NULL) {
		return ZSYSTEMERROR;
	}
	v = *acl; /* it only reads it, though it does not say so */
	return zoo_aset_acl(zh, c->path, c->version, &v, on_void, c);
}

static int start(zhandle_t *zh, struct zk_lib *c)
{
	switch (c->kind) {
	case ZK_LIB_EXISTS:
		return zoo_aexists(zh, c->path, 0, on_stat, c);
	case ZK_LIB_GET:
		return zoo_aget(zh, c->path, 0, on_data, c);
	case ZK_LIB_SYNC:
		return zoo_async(zh, c->path, on_string, c);
	case ZK_LIB_GET_ACL:
		return zoo_aget_acl(zh, c->path, on_acl, c);
	case ZK_LIB_SET_ACL:
		return start_set_acl(zh, c);
	case ZK_LIB_MULTI:
		return start_multi(zh, c);
	case ZK_LIB_EPHEMERAL:
		return zoo_acreate(zh, c->path, bytes_of(c->value),
				   (int)c->value.n, &ZOO_OPEN_ACL_UNSAFE,
				   ZOO_EPHEMERAL_SEQUENTIAL, on_string, c);
	case ZK_LIB_CHILDREN:
		return zoo_aget_children(zh, c->path, 0, on_strings, c);
	case ZK_LIB_DELETE:
		return zoo_adelete(zh, c->path, c->version, on_void, c);
	}
	return ZUNIMPLEMENTED;
}

struct zk_lib *zk_lib_new(enum zk_lib_kind kind, void (*done)(struct zk_lib *c),
			  void *data)
{
	struct zk_lib *c = kv_calloc(1, sizeof *c);

	if (c != NULL) {
		c->kind = kind;
		c->done = done;
		c->data = data;
		c->version = -1;
		list_init(&c->mine);
		list_init(&c->link);
	}
	return c;
}

void zk_lib_start(struct zk_handle *h, struct zk_lib *c)
{
	struct zk_lib_session *s = h->session;
	int rc;

	PRE(zk_handle_is_up(h));
	c->session = s;
	c->post.kind = ZK_POST_DONE;
	list_push_back(&s->calls, &c->link);
	c->failed = ZK_NO_NODE;
	c->sent = true;
	/* From here on the library's thread may have it. */
	rc = start(s->zh, c);
	if (rc != ZOK) {
		c->sent = false;
		send_back(c, rc);
	}
}

/* ---- on the loop: the end ------------------------------------------------ */

void zk_lib_drop(struct zk_lib *c)
{
	list_remove(&c->mine);
	list_remove(&c->link);
	arena_free(&c->arena);
	kv_free(c);
}

void zk_lib_answer(struct zk_lib *c)
{
	list_remove(&c->mine);
	if (c->done != NULL) {
		c->done(c);
	}
	zk_lib_drop(c);
}

void zk_lib_forget(struct zk_lib *c)
{
	list_remove(&c->mine);
	c->done = NULL;
}
