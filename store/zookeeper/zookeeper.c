/* zookeeper.c: the backend's table, its options, opening and closing. */
#include "store/zookeeper/zookeeper.h"

#include <inttypes.h>
#include <stdio.h>

#include "store/net/endpoint.h"
#include "store/zookeeper/zk_impl.h"

#define DEFAULT_PORT "2181"
#define MAX_MS (3600 * 1000)
#define PAGE 5000
/* Of a multi of a few operations, besides paths and data; and left for the name
 * beside the largest value. */
#define OVERHEAD ((size_t)1024)
#define KEY_ROOM ((size_t)512)
/* A server ends a session at its next tick. */
#define SESSION_SLACK_MS 5000U

static const char *const schemes[] = {"zk", "zks", NULL};

static const struct option_row options[] = {
    {"data", OPTION_ENUM, "all", "all|leaves|nonempty", false,
     "which znodes are keys: all whose data is not null, and all leaves; "
     "leaves alone; those with data of at least one byte"},
    {"ephemerals", OPTION_ENUM, "mirror", "mirror|skip", false,
     "mirror ephemeral znodes as plain keys, or leave them out"},
    {"acls", OPTION_ENUM, "open", "copy|open", false,
     "ZooKeeper to ZooKeeper: carry ACLs (one more read a znode), or make "
     "all znodes open to all"},
    {"reader", OPTION_ENUM, "auto", "auto|general|fast", false,
     "how to read and watch: fast needs servers >= 3.6 (multiRead, recursive "
     "watches)"},
    {"digest", OPTION_STR, NULL, NULL, true,
     "credentials user:password, as env:NAME or file:PATH"},
    {"ca", OPTION_STR, NULL, NULL, false,
     "PEM file of the CAs that may have signed the server's certificate "
     "(default: the system's)"},
    {"cert", OPTION_STR, NULL, NULL, false,
     "PEM file of the client certificate; read anew at each connect"},
    {"key", OPTION_STR, NULL, NULL, false,
     "PEM file of its private key (default: the cert file)"},
    {"server_name", OPTION_STR, NULL, NULL, false,
     "name that the server's certificate must carry (default: the "
     "endpoint's host)"},
    {"insecure_skip_verify", OPTION_BOOL, "no", NULL, false,
     "accept any server certificate"},
    {"session_timeout_ms", OPTION_UINT, "10000", NULL, false,
     "session timeout to ask for; the server bounds it by its tick time"},
    {"timeout_ms", OPTION_UINT, "10000", NULL, false,
     "how long a call may take, connecting included"},
    {NULL, OPTION_STR, NULL, NULL, false, NULL},
};

void zk_origin(const struct zk *zk, struct store_origin *out)
{
	const struct zk_session *s = &zk->session;

	/* The root of all has no birth: all are alike, and what tells them
	 * apart are the czxids in the versions of keys. */
	if (s->has_root) {
		(void)snprintf(
		    out->identity, sizeof out->identity, "%" PRIx64 "-%" PRIx64,
		    (uint64_t)s->root_stat.czxid, (uint64_t)s->root_stat.ctime);
	} else {
		out->identity[0] = '\0';
	}
	out->index = (uint64_t)s->zxid;
	out->epoch = s->epoch;
}

/* ---- opening ------------------------------------------------------------- */

struct opener {
	struct store *st;
	struct zk *zk;
	struct kv_err *err;
	int rv;
};

/* The value of a text option, or NULL; does nothing after a failure. */
static void read_text(struct opener *o, const char *name, char **out)
{
	const struct uri *u = o->st->uri;

	if (o->rv == KV_OK) {
		o->rv = option_text(options, u->options, u->n_options, name,
				    out, o->err);
	}
}

/* Which one of the choices in `row` is it? */
static int choice_of(const char *choices, const char *text)
{
	size_t n = strlen(text);
	int i = 0;

	while (strncmp(choices, text, n) != 0 ||
	       (choices[n] != '|' && choices[n] != '\0')) {
		choices = strchr(choices, '|') + 1;
		i++;
	}
	return i;
}

static int read_choice(struct opener *o, const char *name)
{
	const struct option_row *row = options;
	char *text = NULL;
	int choice = 0;

	while (strcmp(row->name, name) != 0) {
		row++;
	}
	read_text(o, name, &text);
	if (o->rv == KV_OK) {
		choice = choice_of(row->choices, text);
	}
	kv_free(text);
	return choice;
}

static uint64_t read_uint(struct opener *o, const char *name)
{
	const struct uri *u = o->st->uri;
	uint64_t v = 0;

	if (o->rv == KV_OK) {
		o->rv = option_uint(options, u->options, u->n_options, name, &v,
				    o->err);
	}
	if (o->rv == KV_OK && !IN(1, v, MAX_MS)) {
		o->rv = kv_fail(o->err, KV_BAD_ARGUMENT,
				"zookeeper: option %s must be from 1 to %d",
				name, MAX_MS);
	}
	return v;
}

static void read_options(struct opener *o)
{
	const struct uri *u = o->st->uri;
	struct zk *zk = o->zk;
	struct zk_session *s = &zk->session;

	zk->data = (enum zk_data_mode)read_choice(o, "data");
	zk->skip_ephemerals = read_choice(o, "ephemerals") == 1;
	zk->attrs = (o->st->flags & STORE_ATTRS) != 0;
	zk->copy_acls = zk->attrs && read_choice(o, "acls") == 0;
	s->way = (enum zk_way)read_choice(o, "reader");
	read_text(o, "digest", &s->digest);
	read_text(o, "ca", &s->tls.ca);
	read_text(o, "cert", &s->tls.cert);
	read_text(o, "key", &s->tls.key);
	read_text(o, "server_name", &s->tls.server_name);
	if (o->rv == KV_OK) {
		o->rv = option_bool(options, u->options, u->n_options,
				    "insecure_skip_verify", &s->tls.skip_verify,
				    o->err);
	}
	s->session_ms = (uint32_t)read_uint(o, "session_timeout_ms");
	s->timeout_ms = read_uint(o, "timeout_ms");
}

static void refuse(struct opener *o, const char *why)
{
	if (o->rv == KV_OK) {
		o->rv = kv_fail(o->err, KV_BAD_ARGUMENT, "zookeeper: %s", why);
	}
}

/* What the rows cannot say. */
static void check_options(struct opener *o)
{
	const struct zk_session *s = &o->zk->session;
	const struct uri *u = o->st->uri;
	const char *fault;
	bool tls_options = s->tls.ca != NULL || s->tls.cert != NULL ||
			   s->tls.key != NULL || s->tls.server_name != NULL ||
			   s->tls.skip_verify;

	if (o->rv != KV_OK) {
		return;
	}
	if (tls_options && !s->use_tls) {
		refuse(o, "ca, cert, key, server_name and "
			  "insecure_skip_verify are for the scheme zks");
	}
	if (s->tls.key != NULL && s->tls.cert == NULL) {
		refuse(o, "option key needs option cert");
	}
	if (s->digest != NULL && strchr(s->digest, ':') == NULL) {
		refuse(o, "option digest must hold user:password");
	}
	fault = u->prefix_n == 0
		    ? NULL
		    : zk_path_fault(slice_of(u->prefix, u->prefix_n));
	if (fault != NULL && o->rv == KV_OK) {
		o->rv = kv_fail(o->err, KV_BAD_ARGUMENT,
				"zookeeper: prefix %s cannot be a znode: it "
				"has %s",
				u->prefix, fault);
	}
}

/* Certificates that cannot be read are told now, not at the first call. */
static void check_files(struct opener *o)
{
	struct tls *t;

	if (o->rv == KV_OK && o->zk->session.use_tls) {
		o->rv = tls_open(&o->zk->session.tls, "localhost", &t, o->err);
		if (o->rv == KV_OK) {
			tls_free(t);
		}
	}
}

static void read_endpoints(struct opener *o)
{
	const struct uri *u = o->st->uri;
	struct zk_session *s = &o->zk->session;
	size_t i;

	if (u->n_endpoints == 0) {
		refuse(o, "the URI names no endpoint (zk://host:port)");
	}
	if (o->rv != KV_OK) {
		return;
	}
	s->endpoints = kv_calloc(u->n_endpoints, sizeof *s->endpoints);
	o->zk->root = u->prefix_n == 0 ? kv_strdup("/")
				       : kv_memdup(u->prefix, u->prefix_n);
	if (s->endpoints == NULL || o->zk->root == NULL) {
		o->rv = kv_fail(o->err, KV_NO_MEMORY,
				"zookeeper: no memory to open");
		return;
	}
	s->root = slice_str(o->zk->root);
	for (i = 0; i < u->n_endpoints && o->rv == KV_OK; i++) {
		s->n_endpoints = i + 1;
		o->rv = endpoint_split("zookeeper", u->endpoints[i],
				       DEFAULT_PORT, &s->endpoints[i].host,
				       &s->endpoints[i].port, o->err);
	}
}

static void set_caps(struct store *st, const struct zk *zk)
{
	struct store_caps *caps = &st->caps;

	caps->atomic = true;
	caps->resumable = true;
	caps->hierarchical = true;
	caps->max_ops = ZK_MAX_OPS;
	/* A multi is one packet: that of a few operations fits; one of many
	 * that does not is refused as a whole, and its caller makes two of it.
	 */
	caps->max_bytes =
	    ZK_MAX_PACKET - OVERHEAD -
	    KV_MIN(2 * st->uri->prefix_n, (size_t)ZK_MAX_PACKET / 2);
	caps->max_value = caps->max_bytes - KEY_ROOM;
	caps->max_key = caps->max_bytes / 4;
	/* What a session sent ends with it: servers refuse the rest. */
	caps->write_timeout_ms =
	    KV_MAX(zk->session.session_ms, 10000U) + SESSION_SLACK_MS;
	caps->scan_page = PAGE;
}

static void gone(void *ctx)
{
	struct zk *zk = ctx;

	kv_free(zk->root);
	zk->root = NULL;
	if (zk->st != NULL) {
		store_closed(zk->st);
	}
}

static int zk_open(struct store *st, struct kv_err *err)
{
	struct zk *zk = zk_of(st);
	struct opener o = {st, zk, err, KV_OK};

	if (sched_uv(st->sched) == NULL) {
		return kv_fail(err, KV_CALL_NOT_SUPPORTED,
			       "zookeeper: needs a real network loop");
	}
	zk->session.sched = st->sched;
	zk->session.use_tls = strcmp(st->uri->scheme, "zks") == 0;
	read_options(&o);
	check_options(&o);
	check_files(&o);
	read_endpoints(&o);
	if (o.rv != KV_OK) {
		zk_session_free(&zk->session);
		gone(zk);
		return o.rv;
	}
	zk->st = st;
	set_caps(st, zk);
	zk_session_init(&zk->session);
	zk_walks_init(zk);
	return KV_OK;
}

static void written_closed(void *ctx)
{
	struct zk *zk = ctx;

	zk_session_close(&zk->session, gone, zk);
}

static void zk_close(struct store *st)
{
	struct zk *zk = zk_of(st);

	zk_walks_clear(zk);
	zk_write_close(zk, written_closed, zk);
}

static void zk_cancel(struct store *st KV_UNUSED, struct store_req *req)
{
	switch (req->kind) {
	case STORE_REQ_SCAN:
		zk_scan_cancel(kv_container_of(req, struct store_scan, req));
		break;
	case STORE_REQ_WRITE:
		zk_write_cancel(kv_container_of(req, struct store_write, req));
		break;
	case STORE_REQ_NEXT:
		zk_changes_cancel(kv_container_of(req, struct store_next, req));
		break;
	default:
		break;
	}
}

/* Where one end copies ACLs, the other does. */
static const char *const attrs_options[] = {"acls", NULL};

const struct store_ops store_zookeeper_ops = {
    .name = "zookeeper",
    .schemes = schemes,
    .options = options,
    .help = "ZooKeeper >= 3.4: zk://host:2181/path, zks:// with TLS",
    .store_size = sizeof(struct zk),
    .watch_size = ZK_WATCH_SIZE,
    .has_attrs = true,
    .attrs_options = attrs_options,
    .open = zk_open,
    .scan = zk_scan,
    .changes = zk_changes,
    .unwatch = zk_unwatch,
    .write = zk_write,
    .cancel = zk_cancel,
    .close = zk_close,
    .check_key = zk_check_key,
};
