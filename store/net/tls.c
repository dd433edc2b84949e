/* tls.c: OpenSSL on two memory BIOs; see tls.h. */
#include "store/net/tls.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct tls {
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in;  /* the SSL's; ciphertext from the socket */
	BIO *out; /* the SSL's; ciphertext for the socket */
	bool up;
	bool has_cert;
	const char *alpn; /* the config's */
};

/* OpenSSL's newest complaint, as text; empties its queue. */
static const char *complaint(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *text = e == 0 ? NULL : ERR_reason_error_string(e);

	ERR_clear_error();
	return text == NULL ? "unknown reason" : text;
}

/* A key with a passphrase must not make OpenSSL ask at the terminal. */
static int no_passphrase(char *buf KV_UNUSED, int size KV_UNUSED,
			 int rwflag KV_UNUSED, void *u KV_UNUSED)
{
	return -1;
}

static int load_ca(SSL_CTX *ctx, const struct tls_config *c, struct kv_err *err)
{
	if (c->ca == NULL) {
		if (SSL_CTX_set_default_verify_paths(ctx) != 1) {
			return kv_fail(err, KV_BAD_ARGUMENT,
				       "the system's CA certificates cannot be "
				       "used (%s): set option ca",
				       complaint());
		}
		return KV_OK;
	}
	if (SSL_CTX_load_verify_locations(ctx, c->ca, NULL) != 1) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "option ca: %s holds no usable CA certificate "
			       "(%s)",
			       c->ca, complaint());
	}
	return KV_OK;
}

static int load_pair(SSL_CTX *ctx, const struct tls_config *c,
		     struct kv_err *err)
{
	const char *key = c->key == NULL ? c->cert : c->key;

	if (c->cert == NULL) {
		return KV_OK;
	}
	if (SSL_CTX_use_certificate_chain_file(ctx, c->cert) != 1) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "option cert: %s holds no usable certificate "
			       "(%s)",
			       c->cert, complaint());
	}
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
		return kv_fail(err, KV_BAD_ARGUMENT,
			       "option key: %s holds no usable private key for "
			       "%s (%s)",
			       key, c->cert, complaint());
	}
	return KV_OK;
}

static int make_ctx(struct tls *t, const struct tls_config *c,
		    struct kv_err *err)
{
	unsigned char alpn[256];
	size_t n = c->alpn == NULL ? 0 : strlen(c->alpn);
	int rv;

	PRE(n < sizeof alpn);
	alpn[0] = (unsigned char)n;
	if (n > 0) {
		memcpy(alpn + 1, c->alpn, n);
	}
	t->alpn = c->alpn;

	t->ctx = SSL_CTX_new(TLS_client_method());
	if (t->ctx == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for TLS");
	}
	SSL_CTX_set_default_passwd_cb(t->ctx, no_passphrase);
	SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
				     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				     SSL_MODE_RELEASE_BUFFERS);
	if (SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) != 1 ||
	    (n > 0 &&
	     SSL_CTX_set_alpn_protos(t->ctx, alpn, (unsigned)n + 1) != 0)) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for TLS");
	}
	SSL_CTX_set_verify(
	    t->ctx, c->skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	rv = c->skip_verify ? KV_OK : load_ca(t->ctx, c, err);
	return rv != KV_OK ? rv : load_pair(t->ctx, c, err);
}

static bool is_address(const char *host)
{
	struct in6_addr a;

	return inet_pton(AF_INET, host, &a) == 1 ||
	       inet_pton(AF_INET6, host, &a) == 1;
}

/* Whom the server's certificate must name. */
static int set_name(struct tls *t, const char *name, struct kv_err *err)
{
	X509_VERIFY_PARAM *p = SSL_get0_param(t->ssl);
	int ok;

	if (is_address(name)) {
		ok = X509_VERIFY_PARAM_set1_ip_asc(p, name);
	} else {
		ok = SSL_set_tlsext_host_name(t->ssl, name) == 1 &&
		     SSL_set1_host(t->ssl, name) == 1;
	}
	return ok ? KV_OK
		  : kv_fail(err, KV_BAD_ARGUMENT,
			    "\"%s\" cannot be a server's name", name);
}

static int make_ssl(struct tls *t, struct kv_err *err)
{
	t->ssl = SSL_new(t->ctx);
	t->in = BIO_new(BIO_s_mem());
	t->out = BIO_new(BIO_s_mem());
	if (t->ssl == NULL || t->in == NULL || t->out == NULL) {
		BIO_free(t->in);
		BIO_free(t->out);
		return kv_fail(err, KV_NO_MEMORY, "no memory for TLS");
	}
	SSL_set_bio(t->ssl, t->in, t->out);
	SSL_set_connect_state(t->ssl);
	return KV_OK;
}

int tls_open(const struct tls_config *c, const char *host, struct tls **out,
	     struct kv_err *err)
{
	struct tls *t = kv_calloc(1, sizeof *t);
	int rv;

	if (t == NULL) {
		return kv_fail(err, KV_NO_MEMORY, "no memory for TLS");
	}
	ERR_clear_error();
	t->has_cert = c->cert != NULL;
	rv = make_ctx(t, c, err);
	if (rv != KV_OK) {
		goto err_free;
	}
	rv = make_ssl(t, err);
	if (rv != KV_OK) {
		goto err_free;
	}
	rv = set_name(t, c->server_name != NULL ? c->server_name : host, err);
	if (rv != KV_OK) {
		goto err_free;
	}
	*out = t;
	return KV_OK;

err_free:
	assert(rv != KV_OK);
	tls_free(t);
	return rv;
}

void tls_free(struct tls *t)
{
	if (t == NULL) {
		return;
	}
	SSL_free(t->ssl); /* and its BIOs */
	SSL_CTX_free(t->ctx);
	kv_free(t);
}

bool tls_feed(struct tls *t, const uint8_t *p, size_t n)
{
	int part, done;

	while (n > 0) {
		part = (int)KV_MIN(n, (size_t)INT_MAX);
		done = BIO_write(t->in, p, part);
		if (done <= 0) {
			return false;
		}
		p += done;
		n -= (size_t)done;
	}
	return true;
}

/* Why a handshake or a session ended, in words that help. */
static int session_err(struct tls *t, int ssl_error, struct kv_err *err)
{
	long verify = SSL_get_verify_result(t->ssl);
	unsigned long e = ERR_peek_last_error();
	const char *hint = "";

	if (ssl_error == SSL_ERROR_ZERO_RETURN) {
		return kv_fail(err, KV_NOT_REACHABLE,
			       "the server ended the TLS session");
	}
	if (!t->up && verify != X509_V_OK &&
	    SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE) {
		ERR_clear_error();
		return kv_fail(err, KV_DENIED,
			       "the server's certificate is not accepted: %s "
			       "(options ca and server_name)",
			       X509_verify_cert_error_string(verify));
	}
	if (ERR_GET_REASON(e) == SSL_R_WRONG_VERSION_NUMBER) {
		hint = ": is it a clear text port (the scheme's last s asks "
		       "for TLS)?";
	} else if (ERR_GET_REASON(e) > SSL_AD_REASON_OFFSET) {
		hint = t->has_cert ? ": does it accept our client certificate?"
				   : ": does it require a client certificate "
				     "(options cert and key)?";
	}
	return kv_fail(err, KV_NOT_REACHABLE, "TLS: %s%s", complaint(), hint);
}

static bool agreed(const struct tls *t)
{
	const unsigned char *proto;
	unsigned int n;

	SSL_get0_alpn_selected(t->ssl, &proto, &n);
	return t->alpn == NULL ||
	       slice_eq(slice_of(proto, n), slice_str(t->alpn));
}

enum tls_progress tls_handshake(struct tls *t, struct kv_err *err)
{
	int rv, e;

	ERR_clear_error();
	rv = SSL_do_handshake(t->ssl);
	if (rv != 1) {
		e = SSL_get_error(t->ssl, rv);
		if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) {
			return TLS_WAITS;
		}
		(void)session_err(t, e, err);
		return TLS_FAILED;
	}
	if (!agreed(t)) {
		(void)kv_fail(err, KV_NOT_REACHABLE,
			      "the server does not speak %s over TLS: is it "
			      "the right port?",
			      t->alpn);
		return TLS_FAILED;
	}
	t->up = true;
	return TLS_UP;
}

ptrdiff_t tls_read(struct tls *t, uint8_t *buf, size_t cap, struct kv_err *err)
{
	int n, e;

	ERR_clear_error();
	n = SSL_read(t->ssl, buf, (int)KV_MIN(cap, (size_t)INT_MAX));
	if (n > 0) {
		return n;
	}
	e = SSL_get_error(t->ssl, n);
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) {
		return 0;
	}
	(void)session_err(t, e, err);
	return -1;
}

int tls_write(struct tls *t, const uint8_t *p, size_t n, struct kv_err *err)
{
	int done;

	PRE(t->up);
	while (n > 0) {
		ERR_clear_error();
		done = SSL_write(t->ssl, p, (int)KV_MIN(n, (size_t)INT_MAX));
		if (done <= 0) {
			return session_err(t, SSL_get_error(t->ssl, done), err);
		}
		p += done;
		n -= (size_t)done;
	}
	return KV_OK;
}

size_t tls_pending(const struct tls *t)
{
	return BIO_ctrl_pending(t->out);
}

size_t tls_drain(struct tls *t, uint8_t *buf, size_t cap)
{
	int n;

	if (cap == 0) {
		return 0;
	}
	n = BIO_read(t->out, buf, (int)KV_MIN(cap, (size_t)INT_MAX));
	return n > 0 ? (size_t)n : 0;
}
