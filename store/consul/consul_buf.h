/* consul_buf.h: bytes that grow: the bodies of requests and answers. */
#ifndef KV_CONSUL_BUF_H
#define KV_CONSUL_BUF_H

#include "store/base/slice.h"

/* Zero-filled: empty. After `failed` nothing is added any more. */
struct consul_buf {
	uint8_t *p;
	size_t n;
	size_t cap;
	bool failed; /* memory was out */
};

void buf_add(struct consul_buf *b, const void *p, size_t n);
void buf_str(struct consul_buf *b, const char *text);
void buf_num(struct consul_buf *b, uint64_t x);
/* As the inside of a JSON string. PRE: UTF-8. */
void buf_json(struct consul_buf *b, struct slice s);
/* As a part of a URL's path: what is not plain is percent-encoded. */
void buf_url(struct consul_buf *b, struct slice s);
void buf_base64(struct consul_buf *b, struct slice s);
/* Ends it with a NUL that does not count. */
void buf_end(struct consul_buf *b);
void buf_free(struct consul_buf *b);

/* Standard base64 with its padding, into the arena. False: that is no base64
 * (*broken), or memory is out. */
bool base64_decode(struct arena *a, const char *text, size_t n,
		   struct slice *out, bool *broken) KV_MUSTCHECK;

#endif /* KV_CONSUL_BUF_H */
