/* crash.h: the agent, or a server, is killed (-9) at random instants while a
 * writer changes the source; then both sides must be equal, no conflict may
 * have been invented, and no key may have gone back at the target.
 *
 *   round: a new prefix at the target, a new state file
 *     life: agent starts -> writer writes -> a random instant -> kill -9
 *     end: writer rests -> diff -> SIGTERM -> status, diff --owned,
 *          the target's record against the source's history
 *
 * Seeded by $KVTEST_SEED, else by chance; the seed is printed.
 */
#ifndef KV_TEST_CRASH_H
#define KV_TEST_CRASH_H

#include "tests/integration/place.h"

struct crash_params {
	enum place_kind source;
	enum place_kind target;
	uint32_t keys; /* to begin with */
	unsigned rounds;
	/* A round, of the agent: in the rounds 0, 2 ... at any instant of start
	 * and seed, in the others at any instant after it follows. */
	unsigned kills;
	unsigned source_kills; /* a round: of the source's server */
	unsigned target_kills;
	bool compact; /* the source forgets its history now and then */
};

/* Ends the running cmocka test on any doubt. */
void crash_run(const struct crash_params *params);

#endif /* KV_TEST_CRASH_H */
