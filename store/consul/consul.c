/* consul.c: the backend's table, its options, opening and closing. */
#include "store/consul/consul.h"

#include "store/consul/consul_impl.h"
#include "store/net/endpoint.h"

#define DEFAULT_PORT "8500"
#define DEFAULT_PORT_TLS "8501"

static const char *const schemes[] = {"consul", "consuls", NULL};

static const struct option_row options[] = {
    {"token", OPTION_STR, NULL, NULL, true,
     "ACL token, as env:NAME or file:PATH"},
    {"dc", OPTION_STR, NULL, NULL, false,
     "datacenter (default: the one of the agent that is asked)"},
    {"namespace", OPTION_STR, NULL, NULL, false, "Enterprise namespace"},
    {"partition", OPTION_STR, NULL, NULL, false, "Enterprise admin partition"},
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
    {"timeout_ms", OPTION_UINT, "10000", NULL, false,
     "how long a call may take, connecting included"},
    {"txn_max_bytes", OPTION_UINT, "524288", NULL, false,
     "the server's txn_max_req_len; values go up to about three quarters of "
     "it"},
    {NULL, OPTION_STR, NULL, NULL, false, NULL},
};

/* ---- opening ------------------------------------------------------------- */

struct opener {
	struct store *st;
	struct consul *c;
	struct kv_err *err;
	bool tls;
	uint64_t max_request;
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

static void read_uint(struct opener *o, const char *name, uint64_t *out)
{
	const struct uri *u = o->st->uri;

	if (o->rv == KV_OK) {
		o->rv = option_uint(options, u->options, u->n_options, name,
				    out, o->err);
	}
}

static void read_options(struct opener *o)
{
	const struct uri *u = o->st->uri;
	struct http_client *h = &o->c->http;

	read_text(o, "token", &h->token);
	read_text(o, "dc", &o->c->dc);
	read_text(o, "namespace", &o->c->ns);
	read_text(o, "partition", &o->c->partition);
	read_text(o, "ca", &h->ca);
	read_text(o, "cert", &h->cert);
	read_text(o, "key", &h->key);
	read_text(o, "server_name", &h->server_name);
	read_uint(o, "timeout_ms", &h->timeout_ms);
	read_uint(o, "txn_max_bytes", &o->max_request);
	if (o->rv == KV_OK) {
		o->rv = option_bool(options, u->options, u->n_options,
				    "insecure_skip_verify", &h->skip_verify,
				    o->err);
	}
}

static void refuse(struct opener *o, const char *why)
{
	if (o->rv == KV_OK) {
		o->rv = kv_fail(o->err, KV_BAD_ARGUMENT, "consul: %s", why);
	}
}

/* It goes into a header's line. */
static bool is_line(const char *s)
{
	for (; *s != '\0'; s++) {
		if ((uint8_t)*s < 0x20 || *s == 0x7f) {
			return false;
		}
	}
	return true;
}

/* What the rows cannot say. */
static void check_options(struct opener *o)
{
	const struct http_client *h = &o->c->http;
	bool tls_options = h->ca != NULL || h->cert != NULL || h->key != NULL ||
			   h->server_name != NULL || h->skip_verify;

	if (o->rv != KV_OK) {
		return;
	}
	if (tls_options && !o->tls) {
		refuse(o, "ca, cert, key, server_name and "
			  "insecure_skip_verify are for the scheme consuls");
	}
	if (h->key != NULL && h->cert == NULL) {
		refuse(o, "option key needs option cert");
	}
	if (h->token != NULL && (h->token[0] == '\0' || !is_line(h->token))) {
		refuse(o, "option token holds no token");
	}
	if (h->timeout_ms < 1 || h->timeout_ms > 3600 * 1000) {
		refuse(o, "option timeout_ms must be from 1 to 3600000");
	}
	if (o->max_request < 65536 || o->max_request > (uint64_t)1 << 30) {
		refuse(o, "option txn_max_bytes must be from 65536 to 2^30");
	}
	if (!slice_is_utf8(
		slice_of(o->st->uri->prefix, o->st->uri->prefix_n))) {
		refuse(o, "the prefix is no UTF-8");
	}
}

static void read_endpoint(struct opener *o, const char *text)
{
	struct http_client *h = &o->c->http;
	char *host = NULL;
	char *port = NULL;
	bool v6;

	o->rv = endpoint_split("consul", text,
			       o->tls ? DEFAULT_PORT_TLS : DEFAULT_PORT, &host,
			       &port, o->err);
	if (o->rv == KV_OK) {
		v6 = strchr(host, ':') != NULL;
		h->bases[h->n_bases] =
		    kv_asprintf("%s://%s%s%s:%s", o->tls ? "https" : "http",
				v6 ? "[" : "", host, v6 ? "]" : "", port);
		if (h->bases[h->n_bases] == NULL) {
			o->rv = kv_fail(o->err, KV_NO_MEMORY,
					"consul: no memory to open");
		} else {
			h->n_bases++;
		}
	}
	kv_free(host);
	kv_free(port);
}

static void read_endpoints(struct opener *o)
{
	const struct uri *u = o->st->uri;
	struct http_client *h = &o->c->http;

	if (u->n_endpoints == 0) {
		refuse(o, "the URI names no endpoint (consul://host:port)");
	}
	if (o->rv != KV_OK) {
		return;
	}
	h->bases = kv_calloc(u->n_endpoints, sizeof *h->bases);
	if (h->bases == NULL) {
		o->rv =
		    kv_fail(o->err, KV_NO_MEMORY, "consul: no memory to open");
		return;
	}
	for (size_t i = 0; i < u->n_endpoints && o->rv == KV_OK; i++) {
		read_endpoint(o, u->endpoints[i]);
	}
}

/* Base64 makes 4 bytes of 3; of the request's bytes some go to each operation,
 * and keys may need escapes. */
static void set_caps(struct store *st, const struct consul *c)
{
	struct store_caps *caps = &st->caps;
	size_t room = c->max_request - CONSUL_OPS_NEW * CONSUL_OP_BYTES;

	caps->atomic = true;
	caps->sorted_keys = true;
	caps->utf8_keys = true;
	caps->max_ops = CONSUL_OPS_OLD;
	caps->max_bytes = room / 4 * 3;
	caps->max_key = KV_MIN(CONSUL_MAX_KEY, caps->max_bytes / 16);
	/* A key's bytes may be six each in JSON. */
	caps->max_value =
	    KV_MIN(CONSUL_MAX_VALUE, (room - caps->max_key * 6) / 4 * 3);
	/* A server looks for a leader for so long (rpc_hold_timeout, 7 s). */
	caps->write_timeout_ms = 10000;
	caps->scan_page = CONSUL_PAGE;
}

static void free_all(struct consul *c)
{
	http_free(&c->http);
	kv_free(c->dc);
	kv_free(c->ns);
	kv_free(c->partition);
	c->dc = c->ns = c->partition = NULL;
}

static int consul_open(struct store *st, struct kv_err *err)
{
	struct consul *c = consul_of(st);
	struct opener o = {.st = st, .c = c, .err = err, .rv = KV_OK};

	if (sched_uv(st->sched) == NULL) {
		return kv_fail(err, KV_CALL_NOT_SUPPORTED,
			       "consul: needs a real network loop");
	}
	c->st = st;
	c->http.sched = st->sched;
	list_init(&c->listings);
	consul_lock_init(c);
	o.tls = strcmp(st->uri->scheme, "consuls") == 0;
	read_options(&o);
	check_options(&o);
	read_endpoints(&o);
	if (o.rv == KV_OK) {
		o.rv = http_init(&c->http, err);
	}
	if (o.rv != KV_OK) {
		free_all(c);
		return o.rv;
	}
	c->max_request = (size_t)o.max_request;
	set_caps(st, c);
	return KV_OK;
}

/* ---- the number of operations -------------------------------------------- */

static void on_hello(struct http_call *call)
{
	struct consul *c = call->ctx;

	if (call->err.status == KV_OK && call->code == 409) {
		c->st->caps.max_ops = CONSUL_OPS_NEW;
	}
	/* No answer: the next call asks again. */
	c->greeted = call->err.status == KV_OK && call->code < 500;
	http_call_reset(call);
}

void consul_maybe_greet(struct consul *c)
{
	struct http_call *call = &c->hello;
	struct arena scratch = {0};
	struct txn_op op = {
	    .verb = "check-index", .has_index = true, .index = TXN_NO_INDEX};

	if (c->greeted || http_going(call)) {
		return;
	}
	c->greeted = true;
	op.key = consul_stored(c, &scratch, slice_str("/kvmirror"));
	if (op.key.p == NULL) {
		return;
	}
	txn_begin(&call->body);
	for (size_t i = 0; i < CONSUL_OPS_OLD + 1; i++) {
		txn_add(&call->body, &op);
	}
	txn_end(&call->body);
	arena_free(&scratch);
	consul_txn_path(c, &call->path, CONSUL_STALE);
	call->done = on_hello;
	call->ctx = c;
	http_start(&c->http, call);
}

/* ---- closing ------------------------------------------------------------- */

static void gone(void *ctx)
{
	struct consul *c = ctx;

	free_all(c);
	store_closed(c->st);
}

void consul_lock_closed(struct consul *c)
{
	http_close(&c->http, gone, c);
}

static void consul_close(struct store *st)
{
	struct consul *c = consul_of(st);

	consul_scan_forget(c);
	http_cancel(&c->hello);
	http_call_reset(&c->hello);
	consul_lock_close(c);
}

static void consul_cancel(struct store *st KV_UNUSED, struct store_req *req)
{
	switch (req->kind) {
	case STORE_REQ_SCAN:
		consul_scan_cancel(
		    kv_container_of(req, struct store_scan, req));
		break;
	case STORE_REQ_WRITE:
		consul_write_cancel(
		    kv_container_of(req, struct store_write, req));
		break;
	case STORE_REQ_NEXT:
		consul_changes_cancel(
		    kv_container_of(req, struct store_next, req));
		break;
	case STORE_REQ_LOCK:
		consul_lock_cancel(
		    kv_container_of(req, struct store_lock_req, req));
		break;
	default:
		break;
	}
}

/* ---- names --------------------------------------------------------------- */

static int consul_check_key(const struct store *st, struct slice key,
			    struct kv_err *err)
{
	char text[SLICE_PRINT_MAX];

	if (!slice_is_utf8(key)) {
		return kv_fail(
		    err, KV_INVALID_KEY,
		    "consul: key %s is no UTF-8, which names in JSON "
		    "must be",
		    slice_print(key, text, sizeof text));
	}
	if (key.n == 1 && st->uri->prefix_n == 0) {
		return kv_fail(err, KV_INVALID_KEY,
			       "consul: without a prefix \"/\" would be the "
			       "empty name");
	}
	return KV_OK;
}

const struct store_ops store_consul_ops = {
    .name = "consul",
    .schemes = schemes,
    .options = options,
    .help = "Consul's KV store over HTTP: consul://host:8500/prefix, "
	    "consuls:// with TLS",
    .store_size = sizeof(struct consul),
    .watch_size = CONSUL_WATCH_SIZE,
    .has_attrs = true,
    .open = consul_open,
    .scan = consul_scan,
    .changes = consul_changes,
    .unwatch = consul_unwatch,
    .write = consul_write,
    .lock = consul_lock,
    .unlock = consul_unlock,
    .renew = consul_renew,
    .cancel = consul_cancel,
    .close = consul_close,
    .check_key = consul_check_key,
};
