/* test_zk_bytes.h: messages that end too soon. */
#ifndef KV_TEST_ZK_BYTES_H
#define KV_TEST_ZK_BYTES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "store/zookeeper/jute.h"

static inline struct jute_in in_of(const void *p, size_t n)
{
	struct jute_in in = {.p = p, .n = n};

	return in;
}

/* `read` fails cleanly on every truncation of the message, which ends where its
 * memory ends. */
static inline void expect_cuts_fail(const struct jute_out *o,
				    void (*read)(struct jute_in *in))
{
	struct jute_in in;
	uint8_t *copy;
	size_t n;

	for (n = 0; n <= o->n; n++) {
		copy = malloc(n == 0 ? 1 : n);
		assert_non_null(copy);
		memcpy(copy, o->p, n);
		in = in_of(copy, n);
		read(&in);
		assert_int_equal(in.failed, n < o->n);
		free(copy);
	}
}

#endif /* KV_TEST_ZK_BYTES_H */
