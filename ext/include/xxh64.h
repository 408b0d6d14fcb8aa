/* XXH64, seed 0, written from its specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md): of bytes at once, or of
 * 64-bit words one after the other, which gives what XXH64 of their little-endian bytes gives. */
#ifndef FH_XXH64_H
#define FH_XXH64_H
#include <stddef.h>
#include <stdint.h>
#include "wire.h"

#define FH_X1 0x9E3779B185EBCA87ull
#define FH_X2 0xC2B2AE3D27D4EB4Full
#define FH_X3 0x165667B19E3779F9ull
#define FH_X4 0x85EBCA77C2B2AE63ull
#define FH_X5 0x27D4EB2F165667C5ull

typedef struct {
    uint64_t lanes[4];
    uint64_t held[4];                   /* words not mixed in yet */
    uint64_t words;
} fh_digest;

static inline uint64_t fh_x_turn(uint64_t v, int bits) { return v << bits | v >> (64 - bits); }
static inline uint64_t fh_x_round(uint64_t lane, uint64_t word) { return fh_x_turn(lane + word * FH_X2, 31) * FH_X1; }
static inline uint64_t fh_x_merge(uint64_t h, uint64_t lane) { return (h ^ fh_x_round(0, lane)) * FH_X1 + FH_X4; }
static inline uint64_t fh_x_word(uint64_t h, uint64_t word)
{
    return fh_x_turn(h ^ fh_x_round(0, word), 27) * FH_X1 + FH_X4;
}
static inline uint64_t fh_x_end(uint64_t h)
{
    h = (h ^ h >> 33) * FH_X2;
    h = (h ^ h >> 29) * FH_X3;
    return h ^ h >> 32;
}
static inline void fh_x_begin(uint64_t *lanes)
{
    lanes[0] = FH_X1 + FH_X2;
    lanes[1] = FH_X2;
    lanes[2] = 0;
    lanes[3] = 0 - FH_X1;
}
static inline uint64_t fh_x_lanes(const uint64_t *lanes)
{
    uint64_t h = fh_x_turn(lanes[0], 1) + fh_x_turn(lanes[1], 7) + fh_x_turn(lanes[2], 12) + fh_x_turn(lanes[3], 18);
    for (int i = 0; i < 4; i++)
        h = fh_x_merge(h, lanes[i]);
    return h;
}

static inline void fh_digest_begin(fh_digest *d)
{
    fh_x_begin(d->lanes);
    d->words = 0;
}

static inline void fh_digest_word(fh_digest *d, uint64_t word)
{
    d->held[d->words++ & 3] = word;
    if ((d->words & 3) == 0)
        for (int i = 0; i < 4; i++)
            d->lanes[i] = fh_x_round(d->lanes[i], d->held[i]);
}

static inline uint64_t fh_digest_end(const fh_digest *d)
{
    uint64_t h = (d->words >= 4 ? fh_x_lanes(d->lanes) : FH_X5) + d->words * 8;
    for (uint64_t i = 0; i < (d->words & 3); i++)
        h = fh_x_word(h, d->held[i]);
    return fh_x_end(h);
}

static inline uint64_t fh_xxh64(const uint8_t *p, size_t bytes)
{
    const uint8_t *end = p + bytes;
    uint64_t lanes[4], h = FH_X5;
    if (bytes >= 32) {
        fh_x_begin(lanes);
        for (; end - p >= 32; p += 32)
            for (int i = 0; i < 4; i++)
                lanes[i] = fh_x_round(lanes[i], fh_le64(p + 8 * i));
        h = fh_x_lanes(lanes);
    }
    h += bytes;
    for (; end - p >= 8; p += 8)
        h = fh_x_word(h, fh_le64(p));
    if (end - p >= 4) {
        h = fh_x_turn(h ^ (uint64_t)fh_le32(p) * FH_X1, 23) * FH_X2 + FH_X3;
        p += 4;
    }
    for (; p < end; p++)
        h = fh_x_turn(h ^ *p * FH_X5, 11) * FH_X1;
    return fh_x_end(h);
}
#endif
