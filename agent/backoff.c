/* backoff.c: the delay before the next try. */
#include "agent/backoff.h"

#define FIRST_MS 50
#define CEILING_MS 10000

void backoff_reset(struct backoff *b)
{
	b->tries = 0;
}

uint64_t backoff_next(struct backoff *b, uint64_t random)
{
	uint64_t ceiling = b->max_ms == 0 ? CEILING_MS : b->max_ms;
	uint64_t delay = FIRST_MS;
	uint32_t i;

	for (i = 0; i < b->tries && delay < ceiling; i++) {
		delay *= 2;
	}
	delay = KV_MIN(delay, ceiling);
	if (b->tries < UINT32_MAX) {
		b->tries++;
	}
	/* Half to whole: clients that lost one server together come back
	 * spread out. */
	delay = delay - delay / 2 + random % (delay / 2 + 1);
	POST(delay <= ceiling);
	return delay;
}
