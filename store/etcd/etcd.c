/* etcd.c: the backend's table, its options, opening and closing. */
#include "store/etcd/etcd.h"

#include <inttypes.h>
#include <stdio.h>

#include "store/etcd/etcd_impl.h"
#include "store/net/endpoint.h"

#define DEFAULT_PORT "2379"

static const char *const schemes[] = {"etcd", "etcds", NULL};

static const struct option_row options[] = {
    {"raw_prefix", OPTION_STR, NULL, NULL, false,
     "stored keys begin with these bytes instead of the prefix, cut nowhere: "
     "raw_prefix=app/ stores /x/y as app/x/y"},
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
    {"user", OPTION_STR, NULL, NULL, false, "user name"},
    {"password", OPTION_STR, NULL, NULL, true,
     "password, as env:NAME or file:PATH"},
    {"timeout_ms", OPTION_UINT, "10000", NULL, false,
     "how long a call may take, connecting included"},
    {NULL, OPTION_STR, NULL, NULL, false, NULL},
};

void etcd_origin(const struct etcd *e KV_UNUSED,
		 const Etcdserverpb__ResponseHeader *h, uint64_t epoch,
		 struct store_origin *out)
{
	(void)snprintf(out->identity, sizeof out->identity, "%" PRIx64,
		       h->cluster_id);
	out->index = (uint64_t)h->revision;
	out->epoch = epoch;
}

int etcd_check_header(const Etcdserverpb__ResponseHeader *h, struct kv_err *err)
{
	if (h == NULL || h->revision <= 0) {
		return kv_fail(err, KV_BROKEN,
			       "etcd: an answer carries no revision");
	}
	return KV_OK;
}

/* ---- opening ------------------------------------------------------------- */

struct opener {
	struct store *st;
	struct etcd *e;
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

static void read_options(struct opener *o)
{
	const struct uri *u = o->st->uri;
	struct etcd_client *c = &o->e->client;

	read_text(o, "raw_prefix", &o->e->raw_prefix);
	read_text(o, "ca", &c->tls.ca);
	read_text(o, "cert", &c->tls.cert);
	read_text(o, "key", &c->tls.key);
	read_text(o, "server_name", &c->tls.server_name);
	read_text(o, "user", &c->user);
	read_text(o, "password", &c->password);
	if (o->rv == KV_OK) {
		o->rv = option_bool(options, u->options, u->n_options,
				    "insecure_skip_verify", &c->tls.skip_verify,
				    o->err);
	}
	if (o->rv == KV_OK) {
		o->rv = option_uint(options, u->options, u->n_options,
				    "timeout_ms", &c->timeout_ms, o->err);
	}
}

static void refuse(struct opener *o, const char *why)
{
	if (o->rv == KV_OK) {
		o->rv = kv_fail(o->err, KV_BAD_ARGUMENT, "etcd: %s", why);
	}
}

/* What the rows cannot say. */
static void check_options(struct opener *o)
{
	const struct etcd_client *c = &o->e->client;
	bool tls_options = c->tls.ca != NULL || c->tls.cert != NULL ||
			   c->tls.key != NULL || c->tls.server_name != NULL ||
			   c->tls.skip_verify;

	if (o->rv != KV_OK) {
		return;
	}
	if (o->e->raw_prefix != NULL && o->st->uri->prefix_n > 0) {
		refuse(o,
		       "raw_prefix stands beside a prefix: give one of them");
	}
	if (tls_options && !c->use_tls) {
		refuse(o, "ca, cert, key, server_name and "
			  "insecure_skip_verify are for the scheme etcds");
	}
	if (c->tls.key != NULL && c->tls.cert == NULL) {
		refuse(o, "option key needs option cert");
	}
	if (c->password != NULL && c->user == NULL) {
		refuse(o, "option password needs option user");
	}
	if (c->timeout_ms < 1 || c->timeout_ms > 3600 * 1000) {
		refuse(o, "option timeout_ms must be from 1 to 3600000");
	}
}

/* Certificates that cannot be read are told now, not at the first call. */
static void check_files(struct opener *o)
{
	struct tls *t;

	if (o->rv == KV_OK && o->e->client.use_tls) {
		o->rv = tls_open(&o->e->client.tls, "localhost", &t, o->err);
		if (o->rv == KV_OK) {
			tls_free(t);
		}
	}
}

static void read_endpoints(struct opener *o)
{
	const struct uri *u = o->st->uri;
	struct etcd_client *c = &o->e->client;
	size_t i;

	if (u->n_endpoints == 0) {
		refuse(o, "the URI names no endpoint (etcd://host:port)");
	}
	if (o->rv != KV_OK) {
		return;
	}
	c->endpoints = kv_calloc(u->n_endpoints, sizeof *c->endpoints);
	if (c->endpoints == NULL) {
		o->rv =
		    kv_fail(o->err, KV_NO_MEMORY, "etcd: no memory to open");
		return;
	}
	for (i = 0; i < u->n_endpoints && o->rv == KV_OK; i++) {
		c->n_endpoints = i + 1;
		o->rv = endpoint_split("etcd", u->endpoints[i], DEFAULT_PORT,
				       &c->endpoints[i].host,
				       &c->endpoints[i].port, o->err);
	}
}

static void set_caps(struct store *st, const struct etcd *e)
{
	struct store_caps *caps = &st->caps;

	caps->atomic = true;
	caps->resumable = true;
	caps->told_deletes = true;
	caps->sorted_keys = true;
	caps->max_ops = ETCD_MAX_OPS;
	caps->max_bytes = ETCD_MAX_REQUEST - ETCD_OVERHEAD;
	caps->max_key = ETCD_MAX_KEY - (e->keys.raw ? e->keys.prefix.n : 0);
	caps->max_value = caps->max_bytes - ETCD_MAX_KEY;
	/* The server's own limit is 5 s and twice its election timeout. */
	caps->write_timeout_ms = 10000;
	caps->scan_page = ETCD_PAGE;
	/* A watch that is further behind is caught up by the server at 1000
	 * revisions every 100 ms, each step reading all that is left. */
	caps->resume_max = 20000;
}

static void gone(void *ctx)
{
	struct etcd *e = ctx;

	kv_free(e->raw_prefix);
	e->raw_prefix = NULL;
	if (e->st != NULL) {
		store_closed(e->st);
	}
}

static int etcd_open(struct store *st, struct kv_err *err)
{
	struct etcd *e = etcd_of(st);
	struct opener o = {st, e, err, KV_OK};

	if (sched_uv(st->sched) == NULL) {
		return kv_fail(err, KV_CALL_NOT_SUPPORTED,
			       "etcd: needs a real network loop");
	}
	e->client.sched = st->sched;
	e->client.tls.alpn = "h2";
	e->client.use_tls = strcmp(st->uri->scheme, "etcds") == 0;
	read_options(&o);
	check_options(&o);
	check_files(&o);
	read_endpoints(&o);
	if (o.rv == KV_OK && e->raw_prefix != NULL &&
	    strlen(e->raw_prefix) > ETCD_MAX_KEY / 2) {
		refuse(&o, "option raw_prefix is too long");
	}
	if (o.rv != KV_OK) {
		etcd_client_free(&e->client);
		gone(e);
		return o.rv;
	}
	e->st = st;
	e->keys.raw = e->raw_prefix != NULL;
	e->keys.prefix = e->keys.raw
			     ? slice_str(e->raw_prefix)
			     : slice_of(st->uri->prefix, st->uri->prefix_n);
	set_caps(st, e);
	etcd_client_init(&e->client);
	etcd_lock_init(e);
	return KV_OK;
}

static void etcd_close(struct store *st)
{
	etcd_lock_close(etcd_of(st));
}

void etcd_lock_closed(struct etcd *e)
{
	etcd_client_close(&e->client, gone, e);
}

static void etcd_cancel(struct store *st KV_UNUSED, struct store_req *req)
{
	switch (req->kind) {
	case STORE_REQ_SCAN:
		etcd_scan_cancel(kv_container_of(req, struct store_scan, req));
		break;
	case STORE_REQ_WRITE:
		etcd_write_cancel(
		    kv_container_of(req, struct store_write, req));
		break;
	case STORE_REQ_NEXT:
		etcd_changes_cancel(
		    kv_container_of(req, struct store_next, req));
		break;
	case STORE_REQ_LOCK:
		etcd_lock_cancel(
		    kv_container_of(req, struct store_lock_req, req));
		break;
	default:
		break;
	}
}

static int etcd_check_key(const struct store *st, struct slice key,
			  struct kv_err *err)
{
	if (etcd_of(st)->keys.raw && key.n == 1) {
		return kv_fail(err, KV_INVALID_KEY,
			       "etcd: \"/\" stands at the raw prefix itself");
	}
	return KV_OK;
}

const struct store_ops store_etcd_ops = {
    .name = "etcd",
    .schemes = schemes,
    .options = options,
    .help = "etcd v3 over gRPC: etcd://host:2379/prefix, etcds:// with TLS",
    .store_size = sizeof(struct etcd),
    .watch_size = ETCD_WATCH_SIZE,
    .open = etcd_open,
    .scan = etcd_scan,
    .changes = etcd_changes,
    .unwatch = etcd_unwatch,
    .write = etcd_write,
    .lock = etcd_lock,
    .unlock = etcd_unlock,
    .renew = etcd_renew,
    .cancel = etcd_cancel,
    .close = etcd_close,
    .check_key = etcd_check_key,
};
