/* Latencies in fixed buckets, in the manner of HdrHistogram: equal relative precision from 1 ns to a minute.
 *
 * Values below 64 have a bucket each. Above, each power of two is cut into 32 equal buckets, so that a bucket is at most
 * 1/32 of its value wide: bucket = (exponent - 4) * 32 + the five bits that follow the leading one. 1024 buckets reach
 * 2^36 - 1 ns (68 s); what is longer counts in the last, and the exact maximum is kept beside them. One count leading zeros,
 * shifts and adds; no division, no loop.
 *
 * One thread writes, others read: each word is loaded and stored whole, and no two words promise to be of one instant. */
#ifndef FH_HISTOGRAM_H
#define FH_HISTOGRAM_H
#include "seqlock.h"

enum { FH_HISTOGRAM_COUNT, FH_HISTOGRAM_SUM, FH_HISTOGRAM_MINIMUM, FH_HISTOGRAM_MAXIMUM, FH_HISTOGRAM_FIRST = 8 };
enum { FH_HISTOGRAM_BITS = 5, FH_HISTOGRAM_LAST = 1023 };

static inline uint32_t fh_histogram_bucket(uint64_t v)
{
    if (v < 2u << FH_HISTOGRAM_BITS)
        return (uint32_t)v;
    uint32_t shift = 63u - FH_HISTOGRAM_BITS - (uint32_t)__builtin_clzll(v);
    uint64_t bucket = ((uint64_t)shift << FH_HISTOGRAM_BITS) + (v >> shift);
    return bucket < FH_HISTOGRAM_LAST ? (uint32_t)bucket : FH_HISTOGRAM_LAST;
}

/* The largest value that counts in `bucket`. */
static inline uint64_t fh_histogram_ceiling(uint32_t bucket)
{
    if (bucket < 2u << FH_HISTOGRAM_BITS)
        return bucket;
    uint32_t shift = (bucket >> FH_HISTOGRAM_BITS) - 1;
    uint64_t lead = (bucket & ((1u << FH_HISTOGRAM_BITS) - 1)) + (1u << FH_HISTOGRAM_BITS);
    return ((lead + 1) << shift) - 1;
}

static inline void fh_histogram_add(uint64_t *words, uint64_t v)
{
    uint64_t count = fh_load(&words[FH_HISTOGRAM_COUNT]);
    uint64_t *bucket = &words[FH_HISTOGRAM_FIRST + fh_histogram_bucket(v)];
    if (count == 0 || v < fh_load(&words[FH_HISTOGRAM_MINIMUM]))
        fh_store(&words[FH_HISTOGRAM_MINIMUM], v);
    if (v > fh_load(&words[FH_HISTOGRAM_MAXIMUM]))
        fh_store(&words[FH_HISTOGRAM_MAXIMUM], v);
    fh_store(bucket, fh_load(bucket) + 1);
    fh_store(&words[FH_HISTOGRAM_SUM], fh_load(&words[FH_HISTOGRAM_SUM]) + v);
    fh_store(&words[FH_HISTOGRAM_COUNT], count + 1);
}
#endif
