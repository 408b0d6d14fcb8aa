/* What this machine can do at best, measured beside our own figures: a bare decode loop and a pointer chase.
 * They are yardsticks, no part of the handler. The decode loop is the one of the first measurements of this project
 * (`switch decode, checksum`): it reads every field of the common ITCH 5.0 messages and keeps nothing but a sum. */
#ifndef FH_FLOOR_H
#define FH_FLOOR_H
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include "wire.h"

enum { FH_FLOOR_MARGIN = 64 };      /* no field of any message ends further from its start */

static inline uint64_t fh_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Length-prefixed ITCH messages of `n` bytes; *messages counts them. The last few, too near the end to be read without
 * looking at their lengths, are counted only. */
static inline uint64_t fh_floor_decode(const uint8_t *buf, size_t n, uint64_t *messages)
{
    uint64_t s = 0, c = 0;
    size_t o = 0;
    while (o + 2 + FH_FLOOR_MARGIN <= n) {
        const uint8_t *m = buf + o + 2;
        o += 2 + (size_t)fh_be16(buf + o);
        c++;
        s += fh_be16(m + 1) + fh_be16(m + 3) + fh_be48(m + 5);
        switch (m[0]) {
        case 'A': s += fh_be64(m + 11) + m[19] + fh_be32(m + 20) + fh_be64(m + 24) + fh_be32(m + 32); break;
        case 'F': s += fh_be64(m + 11) + m[19] + fh_be32(m + 20) + fh_be64(m + 24) + fh_be32(m + 32) + fh_be32(m + 36); break;
        case 'D': s += fh_be64(m + 11); break;
        case 'U': s += fh_be64(m + 11) + fh_be64(m + 19) + fh_be32(m + 27) + fh_be32(m + 31); break;
        case 'E': s += fh_be64(m + 11) + fh_be32(m + 19) + fh_be64(m + 23); break;
        case 'C': s += fh_be64(m + 11) + fh_be32(m + 19) + fh_be64(m + 23) + m[31] + fh_be32(m + 32); break;
        case 'X': s += fh_be64(m + 11) + fh_be32(m + 19); break;
        case 'P': s += fh_be64(m + 11) + m[19] + fh_be32(m + 20) + fh_be64(m + 24) + fh_be32(m + 32) + fh_be64(m + 36); break;
        case 'Q': s += fh_be64(m + 11) + fh_be64(m + 19) + fh_be32(m + 27) + fh_be64(m + 31) + m[39]; break;
        case 'I': s += fh_be64(m + 11) + fh_be64(m + 19) + m[27] + fh_be64(m + 28) + fh_be32(m + 36) + fh_be32(m + 40)
                       + fh_be32(m + 44) + m[48]; break;
        default: s += m[11]; break;
        }
    }
    for (; o + 2 <= n; o += 2 + (size_t)fh_be16(buf + o))
        c++;
    *messages = c;
    return s;
}

/* One random cycle through `lines` cache lines of `memory` (Sattolo); `order` is scratch of as many words. */
static inline void fh_floor_cycle(uint8_t *memory, uint32_t *order, uint32_t lines)
{
    uint64_t x = 88172645463325252ull;
    for (uint32_t i = 0; i < lines; i++)
        order[i] = i;
    for (uint32_t i = lines - 1; i; i--) {
        x ^= x << 13; x ^= x >> 7; x ^= x << 17;
        uint32_t j = (uint32_t)(x % i), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (uint32_t i = 0; i < lines; i++)
        fh_put_le64(memory + (size_t)i * 64, (uint64_t)order[i] * 64);
}

static inline uint64_t fh_floor_chase(const uint8_t *memory, uint64_t at, uint64_t hops)
{
    while (hops--)
        at = fh_le64(memory + at);
    return at;
}
#endif
