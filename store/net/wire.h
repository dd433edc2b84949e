/* wire.h: a byte stream to one server, in clear or over TLS, on the loop.
 *
 *   wire_open --> resolve --> connect (each address) --> handshake --> up
 *   wire_send --> [TLS] --> try_write, else write --> drained
 *   read --> [TLS] --> data          any failure --> down, once
 *
 * Events come from the loop, never from inside a call of this header. After
 * `down` no event but `closed` comes. Every wire that was opened is to be
 * closed.
 */
#ifndef KV_WIRE_H
#define KV_WIRE_H

#include "store/base/sched.h"
#include "store/net/tls.h"

struct wire;

struct wire_events {
	void (*up)(void *ctx);
	void (*data)(void *ctx, const uint8_t *p, size_t n);
	void (*drained)(void *ctx); /* wire_send may be called again */
	void (*down)(void *ctx, const struct kv_err *err);
	void (*closed)(void *ctx); /* the wire is gone, after wire_close */
};

struct wire_params {
	struct sched *sched;
	const char *host; /* name or address */
	const char *port;
	const struct tls_config *tls; /* borrowed until closed; NULL: clear */
	uint64_t timeout_ms;	      /* until up, else down */
	const struct wire_events *events;
	void *ctx;
};

/* KV_NO_MEMORY, or what tls_open says. */
int wire_open(const struct wire_params *p, struct wire **out,
	      struct kv_err *err) KV_MUSTCHECK;

/* Bytes of the last wire_send still wait. */
bool wire_is_busy(const struct wire *w);

/* Sends. The bytes must stay until wire_is_busy is false again.
 * PRE: up, not busy. */
void wire_send(struct wire *w, const uint8_t *p, size_t n);

/* No event but `closed` comes after it. */
void wire_close(struct wire *w);

#endif /* KV_WIRE_H */
