/* consul_http.h: HTTP calls to whichever endpoint answers: libcurl's multi
 * interface on the libuv loop.
 *
 *   http_start --> [curl multi] <--> sockets, timer of the loop
 *                      |
 *   done, on a later turn of the loop
 *
 * Connections are kept and used again. `epoch` counts the breaks: a peer that
 * closed a connection, or a call that failed on its way, raises it, once for
 * all connections of that time. A call can be bound to an epoch (need_epoch):
 * its body is then not sent on a connection of a later one; and a read that
 * waits ends when that epoch does.
 *
 * What a failed call means is in err: for one that mutates, KV_NOT_REACHABLE,
 * KV_TIMED_OUT and KV_DENIED promise that it was surely not done, else it is
 * KV_UNKNOWN_OUTCOME. A call that was surely not sent goes on to the next
 * endpoint by itself.
 */
#ifndef KV_CONSUL_HTTP_H
#define KV_CONSUL_HTTP_H

#include <curl/curl.h>

#include "store/base/sched.h"
#include "store/base/status.h"
#include "store/consul/consul_buf.h"

struct http_socket; /* private */

struct http_client {
	/* set before http_init, owned by the client from then on */
	struct sched *sched;
	char **bases; /* "http://host:port", of each endpoint */
	size_t n_bases;
	char *token; /* NULL: none */
	char *ca;    /* these five for TLS only */
	char *cert;
	char *key;
	char *server_name;
	bool skip_verify;
	uint64_t timeout_ms;

	/* private */
	size_t cur; /* endpoint in use */
	uint64_t epoch;
	CURLM *multi;
	struct curl_slist *headers;
	struct sched_timer timer;
	struct sched_task drain; /* looks for finished transfers */
	struct list sockets;	 /* stamps of open ones */
	struct list failed;	 /* calls that never began */
	struct list bound;	 /* reads with need_epoch */
	unsigned polls;		 /* poll handles not yet closed */
	uint64_t bytes; /* of bodies received, as packed as they came */
	bool curl_up;	/* curl_global_init was called */
	bool leaving;	/* it is we who end a connection */
	void (*closed)(void *ctx);
	void *closed_ctx;
};

/* Caller-owned. Zero-fill, fill in, start; hands off until `done`, which comes
 * once, never from inside http_start. */
struct http_call {
	struct consul_buf path; /* with its query; the call's from the start */
	struct consul_buf body; /* n > 0: PUT; the call's, too */
	bool mutates;
	bool gzip;	     /* a packed answer is welcome */
	uint64_t timeout_ms; /* 0: the client's */
	uint64_t need_epoch; /* 0, or: only in that epoch */
	/* NULL: the body is collected in reply. Else it gets the body of a 200
	 * piece by piece; anything but KV_OK ends the call with that code. */
	int (*data)(struct http_call *c, const uint8_t *p, size_t n);
	/* Before the body of another attempt; may be NULL. */
	void (*again)(struct http_call *c);
	void (*done)(struct http_call *c);
	void *ctx;
	/* out */
	struct kv_err err;
	long code; /* err OK: HTTP's status code, whatever it is */
	struct consul_buf reply;
	uint64_t index; /* X-Consul-Index, 0: none */
	uint64_t epoch; /* of the connection that answered */
	bool no_leader; /* X-Consul-KnownLeader: false */
	bool sent;	/* the request may be with the server */
	/* private */
	struct http_client *client;
	CURL *easy;
	struct list link;
	struct curl_slist *headers;
	size_t body_at;
	size_t attempts;
	uint64_t born;
	int data_status;
	bool wrong_epoch;
	bool going;
	char why[CURL_ERROR_SIZE];
};

int http_init(struct http_client *c, struct kv_err *err) KV_MUSTCHECK;

/* Frees what was set before http_init, which was not called or failed. */
void http_free(struct http_client *c);

/* Closes every connection, frees all, then calls back. PRE: no calls. */
void http_close(struct http_client *c, void (*closed)(void *ctx), void *ctx);

void http_start(struct http_client *c, struct http_call *call);

/* Ends a call that is under way: no `done` will come. call->sent says whether
 * the request may be with the server. */
void http_cancel(struct http_call *call);
bool http_going(const struct http_call *call);

/* Frees reply, for another use or for good. PRE: not under way. */
void http_call_reset(struct http_call *call);

/* What an answer that is not 200 means; for http_call.done. KV_OK for 200 and,
 * where `empty_ok`, for 404. Sets call->err. */
int http_check(struct http_call *call, bool empty_ok) KV_MUSTCHECK;

/* The store's history was replaced under a living connection. */
void http_raise(struct http_client *c);

#endif /* KV_CONSUL_HTTP_H */
