/* sim_rand.h: the simulation's chance: xoshiro256** seeded by splitmix64. All
 * that a run does follows from its seed through these numbers. */
#ifndef SIM_RAND_H
#define SIM_RAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_rand {
	uint64_t s[4];
};

static inline uint64_t sim_mix(uint64_t *x)
{
	uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Streams of one seed do not disturb each other: the world's choices stay as
 * they were when the agent draws one number more. */
static inline void sim_rand_init(struct sim_rand *r, uint64_t seed,
				 uint64_t stream)
{
	uint64_t x = seed * UINT64_C(0x2545f4914f6cdd1d) + stream;

	for (size_t i = 0; i < 4; i++) {
		r->s[i] = sim_mix(&x);
	}
}

static inline uint64_t sim_rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static inline uint64_t sim_next(struct sim_rand *r)
{
	uint64_t result = sim_rotl(r->s[1] * 5, 7) * 9;
	uint64_t t = r->s[1] << 17;

	r->s[2] ^= r->s[0];
	r->s[3] ^= r->s[1];
	r->s[1] ^= r->s[2];
	r->s[0] ^= r->s[3];
	r->s[2] ^= t;
	r->s[3] = sim_rotl(r->s[3], 45);
	return result;
}

/* 0 .. n-1; n > 0. */
static inline uint64_t sim_below(struct sim_rand *r, uint64_t n)
{
	return sim_next(r) % n;
}

/* low .. high, both included. */
static inline uint64_t sim_range(struct sim_rand *r, uint64_t low,
				 uint64_t high)
{
	return low + sim_below(r, high - low + 1);
}

/* True in `num` of `den` cases. */
static inline bool sim_chance(struct sim_rand *r, uint64_t num, uint64_t den)
{
	return sim_below(r, den) < num;
}

#endif /* SIM_RAND_H */
