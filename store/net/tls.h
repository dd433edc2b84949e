/* tls.h: the client's side of a TLS session over memory, for one connection.
 *
 *   socket --> tls_feed --> [OpenSSL] --> tls_read --> protocol
 *   socket <-- tls_drain <-- [OpenSSL] <-- tls_write <-- protocol
 *
 * Certificates are read anew for every connection, so that renewed files are
 * taken up without a restart. No I/O but those files.
 */
#ifndef KV_TLS_H
#define KV_TLS_H

#include "store/base/slice.h"
#include "store/base/status.h"

/* All strings may be NULL. */
struct tls_config {
	char *ca;	   /* file of accepted CAs; NULL: the system's */
	char *cert;	   /* client certificate (chain), PEM file */
	char *key;	   /* its private key, PEM file */
	char *server_name; /* verified in place of the endpoint's host */
	bool skip_verify;
	/* Must be agreed on, or the handshake fails ("h2"); NULL: none. Not
	 * owned. */
	const char *alpn;
};

struct tls;

/* A session with server `host`. KV_BAD_ARGUMENT: a file cannot be used. */
int tls_open(const struct tls_config *c, const char *host, struct tls **out,
	     struct kv_err *err) KV_MUSTCHECK;
void tls_free(struct tls *t);

/* Bytes from the socket. False: no memory. */
bool tls_feed(struct tls *t, const uint8_t *p, size_t n) KV_MUSTCHECK;

enum tls_progress { TLS_WAITS, TLS_UP, TLS_FAILED };

/* Goes on with the handshake; UP once it is done and the protocol was agreed
 * on. */
enum tls_progress tls_handshake(struct tls *t, struct kv_err *err) KV_MUSTCHECK;

/* Plain bytes into buf: how many; 0: none for now; -1: the session ended, err
 * says how. */
ptrdiff_t tls_read(struct tls *t, uint8_t *buf, size_t cap,
		   struct kv_err *err) KV_MUSTCHECK;

/* Encrypts all of p (it waits in memory). PRE: up. */
int tls_write(struct tls *t, const uint8_t *p, size_t n,
	      struct kv_err *err) KV_MUSTCHECK;

/* How many bytes wait for the socket; and takes up to cap of them. */
size_t tls_pending(const struct tls *t);
size_t tls_drain(struct tls *t, uint8_t *buf, size_t cap);

#endif /* KV_TLS_H */
