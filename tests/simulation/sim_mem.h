/* sim_mem.h: all memory of the agent in one list, so that an agent that
 * "crashed" is thrown away as a whole, and one that was closed is seen to have
 * let go of everything. */
#ifndef SIM_MEM_H
#define SIM_MEM_H

#include "store/base/mem.h"

struct sim_mem {
	struct list blocks;
	size_t n;
	size_t bytes;
	bool traced; /* keeps who allocated each block (slow) */
	/* While armed every n-th allocation fails; 0: none. */
	bool armed;
	unsigned every;
	bool once; /* the first of them only */
	unsigned turn;
	uint64_t failed;
};

/* Arms or disarms; what it was before. For whom memory never fails (the played
 * servers, the checks): disarm, work, arm again. */
bool sim_mem_arm(struct sim_mem *m, bool armed);

/* Installs the hooks; they stay until the process ends. */
void sim_mem_init(struct sim_mem *m, bool traced);
/* Shall each piece of an arena be an allocation of its own? */
void sim_mem_apart(struct sim_mem *m, bool apart);

/* Frees every block: the crash. */
void sim_mem_drop(struct sim_mem *m);

/* Prints up to `max` blocks that are left, and where from when traced. */
void sim_mem_print(const struct sim_mem *m, unsigned max);

#endif /* SIM_MEM_H */
