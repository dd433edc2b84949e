/* etcd_auth.c: user and password for a token, which then goes with each call.
 *
 *   no token --> Authenticate (slow: the server computes a bcrypt) --> token
 *            `--> refused: every call that waits is told
 *
 * A token lives no longer than its connection, and is dropped when a call says
 * that the server does not know it.
 */
#include <string.h>

#include "store/base/log.h"
#include "store/etcd/etcd_client.h"

void etcd_client_drop_token(struct etcd_client *c, uint64_t gen)
{
	if (gen == c->token_gen) {
		kv_free(c->token);
		c->token = NULL;
	}
}

static void auth_clear(struct etcd_client *c)
{
	sched_timer_stop(&c->auth_deadline);
	if (c->auth_frame != NULL) {
		explicit_bzero(c->auth_frame, c->auth_frame_n);
		kv_free(c->auth_frame);
		c->auth_frame = NULL;
	}
	kv_free(c->auth_reply);
	c->auth_reply = NULL;
}

static void auth_message_cb(struct grpc_call *g, uint8_t *p, size_t n)
{
	struct etcd_client *c = kv_container_of(g, struct etcd_client, auth);

	kv_free(c->auth_reply);
	c->auth_reply = p;
	c->auth_reply_n = n;
}

static int take_token(struct etcd_client *c, struct kv_err *err)
{
	Etcdserverpb__AuthenticateResponse *m;
	struct arena a = {0};
	int rv;

	if (c->auth_reply == NULL) {
		return kv_fail(err, KV_BROKEN,
			       "etcd: Authenticate was answered with nothing");
	}
	rv = etcd_unpack(&etcdserverpb__authenticate_response__descriptor, &a,
			 c->auth_reply, c->auth_reply_n, &m, err);
	if (rv == KV_OK) {
		c->token = kv_strdup(m->token);
		c->token_gen++;
		if (c->token == NULL) {
			rv = kv_fail(err, KV_NO_MEMORY,
				     "no memory for etcd's "
				     "token");
		}
	}
	arena_free(&a);
	return rv;
}

static int auth_answered(struct etcd_client *c, struct kv_err *err)
{
	const struct grpc_call *g = &c->auth;

	if (g->code == 0) {
		return take_token(c, err);
	}
	if (etcd_fault_auth_off(g->code, g->text)) {
		c->auth_off = true;
		LOG_WARN("etcd has no authentication: user and password are "
			 "not used",
			 LOG_S("host", c->endpoints[c->cur].host));
		return KV_OK;
	}
	(void)etcd_fault_err(etcd_fault_find(g->code, g->text, false), g->code,
			     g->text, err);
	return kv_wrap(err, "user %s", c->user);
}

static void auth_done_cb(struct grpc_call *g)
{
	struct etcd_client *c = kv_container_of(g, struct etcd_client, auth);
	struct kv_err err = {0};

	if (g->end == GRPC_END_STATUS) {
		if (auth_answered(c, &err) != KV_OK) {
			etcd_client_fail_waiting(c, &err);
		}
	} else if (grpc_is_usable(c->kv)) {
		(void)kv_fail(&err, KV_NOT_REACHABLE, "etcd: Authenticate: %s",
			      g->text);
		etcd_client_fail_waiting(c, &err);
	} /* else the connection's end follows */
	auth_clear(c);
	sched_post(c->sched, &c->task);
}

static void auth_deadline_cb(struct sched_timer *t)
{
	struct etcd_client *c =
	    kv_container_of(t, struct etcd_client, auth_deadline);
	struct kv_err err;

	grpc_cancel(&c->auth);
	auth_clear(c);
	(void)kv_fail(&err, KV_TIMED_OUT,
		      "etcd: no answer to Authenticate within %llu ms",
		      (unsigned long long)c->timeout_ms);
	etcd_client_fail_waiting(c, &err);
}

void etcd_auth_maybe_start(struct etcd_client *c)
{
	Etcdserverpb__AuthenticateRequest m =
	    ETCDSERVERPB__AUTHENTICATE_REQUEST__INIT;
	struct kv_err err;

	if (grpc_call_is_open(&c->auth)) {
		return;
	}
	m.name = c->user;
	m.password = c->password == NULL ? (char *)(uintptr_t) "" : c->password;
	c->auth_frame = etcd_pack(&m.base, &c->auth_frame_n);
	memset(&c->auth, 0, sizeof c->auth);
	c->auth.path = "/etcdserverpb.Auth/Authenticate";
	c->auth.out = c->auth_frame;
	c->auth.out_n = c->auth_frame_n;
	c->auth.message = auth_message_cb;
	c->auth.done = auth_done_cb;
	if (c->auth_frame == NULL || grpc_start(c->kv, &c->auth) != KV_OK) {
		auth_clear(c);
		(void)kv_fail(&err, KV_NO_MEMORY, "no memory to authenticate");
		etcd_client_fail_waiting(c, &err);
		return;
	}
	sched_timer_start(c->sched, &c->auth_deadline, c->timeout_ms);
}

void etcd_auth_init(struct etcd_client *c)
{
	c->auth_deadline.fire = auth_deadline_cb;
}

void etcd_auth_stop(struct etcd_client *c)
{
	grpc_cancel(&c->auth);
	auth_clear(c);
}
