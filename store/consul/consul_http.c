/* consul_http.c: calls; see consul_http.h. consul_loop.c is the glue between
 * curl and the loop. */
#include "store/consul/consul_http.h"

#include <strings.h>

#include "store/consul/consul_loop.h"

/* The largest answer that is collected in memory. */
#define REPLY_MAX ((size_t)256 << 20)

static void finish(struct http_call *call)
{
	call->going = false;
	buf_free(&call->path);
	buf_free(&call->body);
	curl_slist_free_all(call->headers);
	call->headers = NULL;
}

static void drop_easy(struct http_call *call)
{
	if (call->easy != NULL) {
		(void)curl_multi_remove_handle(call->client->multi, call->easy);
		curl_easy_cleanup(call->easy);
		call->easy = NULL;
	}
}

/* ---- curl's callbacks ---------------------------------------------------- */

static size_t on_read(char *to, size_t size, size_t n, void *ctx)
{
	struct http_call *call = ctx;
	size_t left = call->body.n - call->body_at;
	size_t part = KV_MIN(left, size * n);

	if (call->need_epoch != 0 && call->need_epoch != call->client->epoch) {
		call->wrong_epoch = true;
		return CURL_READFUNC_ABORT;
	}
	call->sent = true;
	memcpy(to, call->body.p + call->body_at, part);
	call->body_at += part;
	return part;
}

/* A body that has begun to go out is not sent a second time by curl. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
	struct http_call *call = ctx;

	if (origin != SEEK_SET || offset != 0 ||
	    (call->mutates && call->body_at > 0)) {
		return CURL_SEEKFUNC_FAIL;
	}
	call->body_at = 0;
	return CURL_SEEKFUNC_OK;
}

static size_t on_write(char *p, size_t size, size_t n, void *ctx)
{
	struct http_call *call = ctx;
	long code = 0;

	n *= size;
	(void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &code);
	if (call->data != NULL && code == 200) {
		call->data_status = call->data(call, (uint8_t *)p, n);
		return call->data_status == KV_OK ? n : 0;
	}
	if (n > REPLY_MAX - call->reply.n) {
		call->data_status = KV_BROKEN;
		return 0;
	}
	buf_add(&call->reply, p, n);
	if (call->reply.failed) {
		call->data_status = KV_NO_MEMORY;
		return 0;
	}
	return n;
}

/* The value of header `name` in the line, or NULL. */
static const char *header(const char *line, size_t n, const char *name)
{
	size_t k = strlen(name);

	if (n <= k || strncasecmp(line, name, k) != 0 || line[k] != ':') {
		return NULL;
	}
	for (k++; k < n && line[k] == ' '; k++) {
	}
	return line + k;
}

static size_t on_header(char *line, size_t size, size_t n, void *ctx)
{
	struct http_call *call = ctx;
	const char *at;

	n *= size;
	at = header(line, n, "X-Consul-Index");
	if (at != NULL) {
		call->index = 0;
		for (; at < line + n && IN('0', *at, '9'); at++) {
			call->index = call->index * 10 + (uint64_t)(*at - '0');
		}
	}
	at = header(line, n, "X-Consul-KnownLeader");
	if (at != NULL) {
		call->no_leader = at < line + n && *at == 'f';
	}
	return n;
}

/* ---- starting ------------------------------------------------------------ */

#define SET(call, option, value)                                             \
	((void)((call)->data_status == KV_OK &&                              \
		curl_easy_setopt((call)->easy, option, value) != CURLE_OK && \
		((call)->data_status = KV_NO_MEMORY)))

static void set_tls(struct http_call *call)
{
	const struct http_client *c = call->client;

	if (c->skip_verify) {
		SET(call, CURLOPT_SSL_VERIFYPEER, 0L);
		SET(call, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (c->ca != NULL) {
		SET(call, CURLOPT_CAINFO, c->ca);
		SET(call, CURLOPT_CAPATH, NULL);
	}
	if (c->cert != NULL) {
		SET(call, CURLOPT_SSLCERT, c->cert);
		SET(call, CURLOPT_SSLKEY, c->key != NULL ? c->key : c->cert);
	}
	SET(call, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
}

static void set_body(struct http_call *call)
{
	SET(call, CURLOPT_UPLOAD, 1L);
	SET(call, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->body.n);
	SET(call, CURLOPT_READFUNCTION, on_read);
	SET(call, CURLOPT_READDATA, call);
	SET(call, CURLOPT_SEEKFUNCTION, on_seek);
	SET(call, CURLOPT_SEEKDATA, call);
}

/* With a server_name the endpoint's address is asked for under that name:
 * "name:port:host:port" is a redirection of the connection, not of the URL. */
static void set_url(struct http_call *call)
{
	const struct http_client *c = call->client;
	const char *base = c->bases[c->cur];
	struct consul_buf url = {0};
	struct consul_buf to = {0};
	const char *host = strstr(base, "://") + 3;
	const char *port = strrchr(base, ':');

	buf_add(&url, base, (size_t)(host - base));
	if (c->server_name != NULL) {
		buf_str(&url, c->server_name);
		buf_str(&url, port);
		buf_str(&to, "::");
		buf_str(&to, host);
		buf_end(&to);
	} else {
		buf_str(&url, host);
	}
	buf_add(&url, call->path.p, call->path.n);
	buf_end(&url);
	if (url.failed || to.failed) {
		call->data_status = KV_NO_MEMORY;
	} else {
		SET(call, CURLOPT_URL, url.p);
		if (to.n > 0) {
			call->headers =
			    curl_slist_append(NULL, (const char *)to.p);
			SET(call, CURLOPT_CONNECT_TO, call->headers);
		}
	}
	buf_free(&url);
	buf_free(&to);
}

static void set_all(struct http_call *call)
{
	struct http_client *c = call->client;
	uint64_t ms = call->timeout_ms > 0 ? call->timeout_ms : c->timeout_ms;
	uint64_t connect = KV_MAX(c->timeout_ms / c->n_bases, 1);

	set_url(call);
	SET(call, CURLOPT_PRIVATE, call);
	SET(call, CURLOPT_NOSIGNAL, 1L);
	SET(call, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(call, CURLOPT_PROTOCOLS_STR, "http,https");
	SET(call, CURLOPT_PROXY, "");
	SET(call, CURLOPT_HTTPHEADER, c->headers);
	SET(call, CURLOPT_ERRORBUFFER, call->why);
	SET(call, CURLOPT_WRITEFUNCTION, on_write);
	SET(call, CURLOPT_WRITEDATA, call);
	SET(call, CURLOPT_HEADERFUNCTION, on_header);
	SET(call, CURLOPT_HEADERDATA, call);
	SET(call, CURLOPT_TIMEOUT_MS, (long)ms);
	SET(call, CURLOPT_CONNECTTIMEOUT_MS, (long)connect);
	SET(call, CURLOPT_TCP_KEEPALIVE, 1L);
	SET(call, CURLOPT_TCP_KEEPIDLE, 15L);
	SET(call, CURLOPT_TCP_KEEPINTVL, 5L);
	if (call->gzip) {
		SET(call, CURLOPT_ACCEPT_ENCODING, "gzip");
	}
	if (call->body.n > 0) {
		set_body(call);
	}
	set_tls(call);
	loop_watch_sockets(call);
}

/* One attempt; false: it could not begin, call->err says why. */
static bool attempt(struct http_call *call)
{
	call->body_at = 0;
	call->reply.n = 0;
	call->index = 0;
	call->no_leader = false;
	call->data_status = KV_OK;
	call->why[0] = '\0';
	call->born = call->client->epoch;
	call->easy = curl_easy_init();
	if (call->easy == NULL) {
		(void)kv_fail(&call->err, KV_NO_MEMORY,
			      "consul: no memory for a call");
		return false;
	}
	set_all(call);
	if (call->data_status != KV_OK ||
	    curl_multi_add_handle(call->client->multi, call->easy) !=
		CURLM_OK) {
		curl_easy_cleanup(call->easy);
		call->easy = NULL;
		(void)kv_fail(&call->err, KV_NO_MEMORY,
			      "consul: no memory for a call");
		return false;
	}
	return true;
}

/* `done` on a later turn. */
static void fail_later(struct http_call *call)
{
	list_init(&call->link);
	list_push_back(&call->client->failed, &call->link);
	sched_post(call->client->sched, &call->client->drain);
}

void http_start(struct http_client *c, struct http_call *call)
{
	PRE(!call->going && call->done != NULL);
	kv_err_clear(&call->err);
	call->client = c;
	call->going = true;
	call->sent = false;
	call->wrong_epoch = false;
	call->attempts = c->n_bases;
	call->code = 0;
	buf_end(&call->path);
	list_init(&call->link);
	if (call->path.failed || call->body.failed) {
		(void)kv_fail(&call->err, KV_NO_MEMORY,
			      "consul: no memory for a call");
		fail_later(call);
	} else if (call->need_epoch != 0 && call->need_epoch != c->epoch) {
		(void)kv_fail(&call->err, KV_NOT_REACHABLE,
			      "consul: the connection was lost since");
		fail_later(call);
	} else if (!attempt(call)) {
		fail_later(call);
	} else if (call->need_epoch != 0 && !call->mutates) {
		list_push_back(&c->bound, &call->link);
	}
}

void http_cancel(struct http_call *call)
{
	if (!call->going) {
		return;
	}
	list_remove(&call->link);
	call->client->leaving = true;
	drop_easy(call);
	call->client->leaving = false;
	finish(call);
}

bool http_going(const struct http_call *call)
{
	return call->going;
}

void http_call_reset(struct http_call *call)
{
	PRE(!call->going);
	buf_free(&call->reply);
}

/* ---- ending -------------------------------------------------------------- */

static bool is_trust(CURLcode rc)
{
	return rc == CURLE_PEER_FAILED_VERIFICATION ||
	       rc == CURLE_SSL_CERTPROBLEM || rc == CURLE_SSL_CACERT_BADFILE ||
	       rc == CURLE_SSL_ISSUER_ERROR;
}

/* What curl's code means for the caller. */
static void translate(struct http_call *call, CURLcode rc)
{
	const struct http_client *c = call->client;
	const char *why =
	    call->why[0] != '\0' ? call->why : curl_easy_strerror(rc);
	int status = KV_NOT_REACHABLE;

	if (call->wrong_epoch) {
		(void)kv_fail(&call->err, KV_NOT_REACHABLE,
			      "consul: the connection was lost since");
		return;
	}
	if (call->data_status != KV_OK) {
		(void)kv_fail(&call->err, call->data_status,
			      "consul: %s: an answer cannot be taken: %s",
			      c->bases[c->cur],
			      kv_status_text(call->data_status));
		return;
	}
	if (rc == CURLE_OUT_OF_MEMORY) {
		status = KV_NO_MEMORY;
	} else if (is_trust(rc)) {
		status = KV_DENIED;
	} else if (rc == CURLE_OPERATION_TIMEDOUT) {
		status = KV_TIMED_OUT;
	}
	(void)kv_fail(&call->err, status, "consul: %s: %s", c->bases[c->cur],
		      why);
}

/* A mutation that may be with the server, and no answer. */
static void doubt(struct http_call *call)
{
	if (call->mutates && call->sent && !call->wrong_epoch &&
	    call->err.status != KV_OK) {
		call->err.status = KV_UNKNOWN_OUTCOME;
	}
}

static bool try_next(struct http_call *call)
{
	struct http_client *c = call->client;
	bool safe = !call->mutates || !call->sent;

	if (call->attempts <= 1 || !safe || call->wrong_epoch ||
	    call->data_status != KV_OK || call->err.status == KV_NO_MEMORY) {
		return false;
	}
	call->attempts--;
	curl_slist_free_all(call->headers);
	call->headers = NULL;
	if (call->again != NULL) {
		call->again(call);
	}
	kv_err_clear(&call->err);
	if (call->need_epoch != 0 && call->need_epoch != c->epoch) {
		(void)kv_fail(&call->err, KV_NOT_REACHABLE,
			      "consul: the connection was lost since");
		return false;
	}
	return attempt(call);
}

static void on_failure(struct http_call *call, CURLcode rc, uint64_t epoch)
{
	struct http_client *c = call->client;

	translate(call, rc);
	if (call->wrong_epoch || call->data_status != KV_OK ||
	    call->err.status == KV_NO_MEMORY) {
		return;
	}
	if (epoch == c->epoch) {
		http_raise(c);
		c->cur = (c->cur + 1) % c->n_bases;
	}
}

void http_finished(struct http_call *call, CURLcode rc)
{
	uint64_t epoch = loop_epoch_of(call);
	curl_off_t bytes = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_SIZE_DOWNLOAD_T, &bytes);
	call->client->bytes += (uint64_t)bytes;
	if (rc == CURLE_OK) {
		(void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE,
					&call->code);
		call->epoch = epoch;
		kv_err_clear(&call->err);
	} else {
		on_failure(call, rc, epoch);
	}
	drop_easy(call);
	if (rc != CURLE_OK && try_next(call)) {
		return;
	}
	doubt(call);
	list_remove(&call->link);
	finish(call);
	call->done(call);
}

void http_failed(struct http_call *call)
{
	list_remove(&call->link);
	drop_easy(call);
	if (call->err.status == KV_OK) {
		(void)kv_fail(&call->err, KV_NOT_REACHABLE,
			      "consul: the connection was lost since");
	}
	finish(call);
	call->done(call);
}

/* ---- what answers mean --------------------------------------------------- */

static bool says(const struct http_call *call, const char *what)
{
	return call->reply.n > 0 &&
	       memmem(call->reply.p, call->reply.n, what, strlen(what)) != NULL;
}

/* A 5xx: was a mutation surely not done? */
static int server_trouble(const struct http_call *call)
{
	if (says(call, "Permission denied") || says(call, "ACL not found")) {
		return KV_DENIED;
	}
	if (!call->mutates || says(call, "No cluster leader")) {
		return KV_NOT_REACHABLE;
	}
	return KV_UNKNOWN_OUTCOME;
}

int http_check(struct http_call *call, bool empty_ok)
{
	const struct http_client *c = call->client;
	char text[SLICE_PRINT_MAX];
	int status;

	if (call->err.status != KV_OK) {
		return call->err.status;
	}
	if (call->code == 200 || (call->code == 404 && empty_ok)) {
		return call->no_leader
			   ? kv_fail(&call->err,
				     call->mutates ? KV_UNKNOWN_OUTCOME
						   : KV_NOT_REACHABLE,
				     "consul: %s knows no leader",
				     c->bases[c->cur])
			   : KV_OK;
	}
	if (call->code == 401 || call->code == 403) {
		status = KV_DENIED;
	} else if (call->code == 413) {
		status = KV_TOO_LARGE;
	} else if (call->code == 429) {
		status = KV_NOT_REACHABLE;
	} else if (call->code >= 500) {
		status = server_trouble(call);
	} else {
		status = KV_BROKEN;
	}
	return kv_fail(&call->err, status, "consul: %s answers %ld: %s",
		       c->bases[c->cur], call->code,
		       slice_print(slice_of(call->reply.p, call->reply.n), text,
				   sizeof text));
}
