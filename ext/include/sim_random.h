/* Random numbers of the simulator: xoshiro256++ (Blackman, Vigna 2019) seeded by splitmix64, and the draws made from
 * them. Integers only, so that a seed gives the same market on every machine. */
#ifndef FH_SIM_RANDOM_H
#define FH_SIM_RANDOM_H
#include <stdint.h>

typedef struct { uint64_t s[4]; } FhRandom;

static inline uint64_t fh_rotl(uint64_t x, int k) { return x << k | x >> (64 - k); }

static inline void fh_random_seed(FhRandom *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9E3779B97F4A7C15ull;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ z >> 27) * 0x94D049BB133111EBull;
        r->s[i] = z ^ z >> 31;
    }
}

static inline uint64_t fh_random(FhRandom *r)
{
    uint64_t *s = r->s, out = fh_rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0]; s[3] ^= s[1]; s[1] ^= s[2]; s[0] ^= s[3]; s[2] ^= t;
    s[3] = fh_rotl(s[3], 45);
    return out;
}

/* 0 .. n-1 from the upper half of one draw; n > 0. */
static inline uint32_t fh_random_below(FhRandom *r, uint32_t n) { return (uint32_t)((fh_random(r) >> 32) * n >> 32); }

/* 0, 1, 2, ... with 1/2, 1/4, 1/8, ...; never above 31. */
static inline uint32_t fh_random_geometric(FhRandom *r) { return (uint32_t)__builtin_ctzll(fh_random(r) | 1ull << 31); }

/* 1 .. 2^bits - 1, each power of two as likely as the next: long tails without a logarithm. 1 <= bits <= 16. */
static inline uint32_t fh_random_log_uniform(FhRandom *r, uint32_t bits)
{
    uint64_t x = fh_random(r);
    uint32_t k = (uint32_t)((x >> 32) * bits >> 32);
    return (1u << k) + ((uint32_t)x & ((1u << k) - 1));
}

/* -log2 of a uniform number, in 1/65536, linear between powers of two: an exponential of mean 1.5 (98304). */
static inline uint64_t fh_random_exponential(FhRandom *r)
{
    uint64_t x = fh_random(r);
    return ((uint64_t)__builtin_ctzll(x | 1ull << 40) << 16) + (0x10000 - (x >> 48));
}
#endif
