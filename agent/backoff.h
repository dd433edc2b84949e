/* backoff.h: how long to wait before the next try: doubles from 50 ms to a
 * ceiling, with jitter (half to whole), reset by a success. Pure. */
#ifndef KV_BACKOFF_H
#define KV_BACKOFF_H

#include "store/base/base.h"

struct backoff {
	uint32_t tries;
	uint32_t max_ms; /* 0: 10 s */
};

void backoff_reset(struct backoff *b);
/* The next delay; `random` is any 64 random bits. */
uint64_t backoff_next(struct backoff *b, uint64_t random);

#endif /* KV_BACKOFF_H */
