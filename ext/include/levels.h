/* Price levels per side, best first: the best `depth` lie in the published slot and nowhere else, deeper ones in an arena.
 *
 * Searching reads one private line a side: the keys of the best levels. A key is the price in quanta, turned so that a
 * larger int32 is a better price on either side (fh_key). Deeper levels are a block of keys and a block of sizes,
 * right-aligned: entries first .. cap-1, best first, so that insertion moves the short end near the top. Sixteen keys
 * are a line; behind the sizes stands the last key of each line but the block's last, for the lines from `first` on: a
 * search looks there which line it wants, and reads that one alone.
 */
#ifndef FH_LEVELS_H
#define FH_LEVELS_H
#ifndef FH_X86                         /* 0: plain C, whatever the machine */
#ifdef __x86_64__
#define FH_X86 1
#else
#define FH_X86 0
#endif
#endif
#if FH_X86
#include <immintrin.h>
#endif
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "book_slot.h"

#define FH_NO_KEY INT32_MIN             /* fills unused places; also a key, so `near` says how many count */
#define FH_NO_LEVEL UINT32_MAX          /* nothing changed */
#define FH_LEVELS_FULL (UINT32_MAX - 1)
#define FH_NO_HINT UINT32_MAX
#define FH_HINT_DEEP (1u << 31)
#define FH_LEVEL_NEW (1u << 30)         /* beside the place: among the best, and not there before */
#define FH_ARENA_UNIT 64u
#define FH_ARENA_SPARE 128u             /* bytes behind the arena that a search may read */
#define FH_LINE_KEYS 16u
#define FH_CAP_MIN_BITS 4u
#define FH_CAP_MAX_BITS 24u
#define FH_CHANGES_MAX 64u              /* of one fetch */

typedef struct {                        /* behind the keys of a side, 16 bytes */
    uint32_t block;                     /* arena units; 0 = no block yet */
    uint32_t first, cap;                /* deeper levels are first .. cap-1 of the block */
    uint16_t near_;                     /* levels in the slot */
    uint8_t lost;                       /* there was no room: levels are no longer kept, until a reset */
    uint8_t reserved;
} fh_side;

typedef struct {
    uint64_t size;
    uint32_t orders, reserved;
} fh_deep;

struct fh_levels;

/* What one event does to one level. */
typedef struct {
    uint64_t size;                      /* added to the level's size, modulo 2**64; 0 = nothing happens */
    int32_t orders;                     /* added to the level's orders: -1, 0, 1 */
    int32_t key;
    uint32_t side;                      /* instrument * 2 + (1 for an ask) */
    uint32_t hint;                      /* where the level may be: its place, or FH_HINT_DEEP | its entry; fetch() says it */
    uint8_t fault;                      /* the book's own note */
} fh_change;

/* One level changes; `levels` and `used` are the published side, whose sequence is odd by now. -> its place, 0 = best, perhaps with
 * FH_LEVEL_NEW; FH_NO_LEVEL when there is no such level to take from; FH_LEVELS_FULL when there is no room: the side is lost then. */
typedef uint32_t (*fh_levels_change_fn)(struct fh_levels *l, const fh_change *change, fh_level *levels, uint16_t *used);

/* Fetch the lines that the changes are likely to want, ahead of them; the keys of their sides are here by now. `bids` is
 * the first slot's bid side, slots lie `slot_stride` bytes apart, a slot's asks `side_stride` bytes behind its bids. */
typedef void (*fh_levels_fetch_fn)(const struct fh_levels *l, fh_change *changes, uint32_t count, const uint8_t *bids,
                                   uint64_t slot_stride, uint32_t side_stride);

typedef struct fh_levels {
    uint8_t *sides;                     /* side i at i * side_bytes: keys, then fh_side */
    uint32_t side_bytes, depth;
    uint32_t places;                    /* depth, rounded up to whole vectors */
    uint8_t *arena;
    uint64_t arena_bytes, arena_used;
    uint64_t quantum;                   /* price units of one step of a key */
    uint32_t free_blocks[FH_CAP_MAX_BITS + 1];
    fh_levels_change_fn change;         /* for this machine and this depth: fh_levels_choose() */
    fh_levels_fetch_fn fetch;
} fh_levels;

static inline uint32_t fh_places(uint32_t depth) { return (depth + 3) / 4 * 4; }
static inline uint32_t fh_side_bytes(uint32_t depth)
{
    return (uint32_t)(fh_places(depth) * 4 + sizeof(fh_side) + 63) / 64 * 64;
}
static inline int32_t *fh_keys(const fh_levels *l, uint32_t side)
{
    return (int32_t *)(l->sides + (size_t)side * l->side_bytes);
}
static inline fh_side *fh_side_of(const fh_levels *l, uint32_t side)
{
    return (fh_side *)(fh_keys(l, side) + l->places);
}
static inline int32_t fh_key(uint32_t quanta, uint32_t ask) { return (int32_t)(quanta ^ (0x80000000u - ask)); }
static inline uint32_t fh_quanta(int32_t key, uint32_t ask) { return (uint32_t)key ^ (0x80000000u - ask); }
static inline int32_t *fh_deep_keys(const fh_levels *l, const fh_side *s)
{
    return (int32_t *)(l->arena + (size_t)s->block * FH_ARENA_UNIT);
}
static inline fh_deep *fh_deep_levels(const fh_levels *l, const fh_side *s)
{
    return (fh_deep *)(fh_deep_keys(l, s) + s->cap);
}
static inline int32_t *fh_deep_lines(const fh_levels *l, const fh_side *s)
{
    return (int32_t *)(fh_deep_levels(l, s) + s->cap);
}

/* Entries first .. last have other keys than before: the lines that end there say so. */
static inline void fh_deep_lines_set(const fh_levels *l, const fh_side *s, uint32_t first, uint32_t last)
{
    const int32_t *keys = fh_deep_keys(l, s);
    for (uint32_t i = first | (FH_LINE_KEYS - 1); i <= last && i + 1 < s->cap; i += FH_LINE_KEYS)
        fh_deep_lines(l, s)[i / FH_LINE_KEYS] = keys[i];
}
static inline void fh_levels_free(fh_levels *l, fh_side *s)
{
    if (s->cap) {
        uint32_t bits = (uint32_t)__builtin_ctz(s->cap);
        memcpy(fh_deep_keys(l, s), &l->free_blocks[bits], 4);
        l->free_blocks[bits] = s->block;
    }
    s->block = s->first = s->cap = 0;
}

/* Forget all levels of a side; its memory goes back. The published levels are the caller's to clear. */
static inline void fh_levels_clear(fh_levels *l, uint32_t side)
{
    fh_side *s = fh_side_of(l, side);
    int32_t *keys = fh_keys(l, side);
    fh_levels_free(l, s);
    for (uint32_t i = 0; i < l->places; i++)
        keys[i] = FH_NO_KEY;
    s->near_ = 0;
    s->lost = 0;
}

/* Twice the room, or the first. 0 = the arena is full. */
static __attribute__((noinline)) int fh_levels_grow(fh_levels *l, fh_side *s)
{
    uint32_t bits = s->cap ? (uint32_t)__builtin_ctz(s->cap) + 1 : FH_CAP_MIN_BITS;
    if (bits > FH_CAP_MAX_BITS)
        return 0;
    uint32_t cap = 1u << bits, count = s->cap - s->first;
    fh_side grown = *s;
    grown.cap = cap;
    grown.first = cap - count;
    if (l->free_blocks[bits]) {
        grown.block = l->free_blocks[bits];
        memcpy(&l->free_blocks[bits], fh_deep_keys(l, &grown), 4);
    } else {
        uint64_t bytes = (uint64_t)cap * (4 + sizeof(fh_deep)) + (cap / FH_LINE_KEYS - 1) * 4;
        bytes = (bytes + FH_ARENA_UNIT - 1) / FH_ARENA_UNIT * FH_ARENA_UNIT;
        if (bytes > l->arena_bytes - l->arena_used)
            return 0;
        grown.block = (uint32_t)(l->arena_used / FH_ARENA_UNIT);
        l->arena_used += bytes;
    }
    if (count) {
        memcpy(fh_deep_keys(l, &grown) + grown.first, fh_deep_keys(l, s) + s->first, count * 4);
        memcpy(fh_deep_levels(l, &grown) + grown.first, fh_deep_levels(l, s) + s->first, count * sizeof(fh_deep));
        fh_deep_lines_set(l, &grown, grown.first, cap - 1);
    }
    fh_levels_free(l, s);
    *s = grown;
    return 1;
}

/* Words that lie behind a place, as a mask to be loaded from fh_after + 32 - place. */
static const uint64_t fh_after[64] __attribute__((aligned(64))) = {
    [32] = ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull,
    ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull };

#define FH_FN_(name, suffix) name##_##suffix
#define FH_FN__(name, suffix) FH_FN_(name, suffix)
#define FH_FN(name) FH_FN__(name, FH_SUFFIX)

#define FH_SUFFIX any_plain
#define FH_TARGET
#define FH_TEN 0
#define FH_WIDTH 0
#include "levels_change.h"

#define FH_SUFFIX ten_plain
#define FH_TARGET
#define FH_TEN 1
#define FH_WIDTH 0
#include "levels_change.h"

#if FH_X86
#define FH_SUFFIX any
#define FH_TARGET
#define FH_TEN 0
#define FH_WIDTH 128
#include "levels_change.h"

#define FH_SUFFIX ten
#define FH_TARGET
#define FH_TEN 1
#define FH_WIDTH 128
#include "levels_change.h"

#define FH_SUFFIX ten_avx2
#define FH_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define FH_TEN 1
#define FH_WIDTH 256
#include "levels_change.h"

#define FH_SUFFIX ten_avx512
#define FH_TARGET __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,bmi,bmi2,popcnt")))
#define FH_TEN 1
#define FH_WIDTH 512
#include "levels_change.h"
#endif

/* The vectors of this processor that a variant was built for: 128, 256 or 512 bits, at most `widest`; 0 = plain C. */
static inline int fh_levels_width(int widest)
{
#if FH_X86
    if (widest >= 512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("bmi2"))
        return 512;
    if (widest >= 256 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
        return 256;
    return widest >= 128 ? 128 : 0;
#else
    (void)widest;
    return 0;
#endif
}

/* Choose the code for this depth and this machine, vectors of `widest` bits at most, 0 = plain C. -> the bits chosen. */
static inline int fh_levels_choose(fh_levels *l, int widest)
{
    int ten = l->depth == 10, width = fh_levels_width(ten || widest < 128 ? widest : 128);
    l->change = ten ? fh_levels_change_ten_plain : fh_levels_change_any_plain;
    l->fetch = ten ? fh_levels_fetch_ten_plain : fh_levels_fetch_any_plain;
#if FH_X86
    if (width) {
        l->change = !ten ? fh_levels_change_any : width == 512 ? fh_levels_change_ten_avx512
                    : width == 256 ? fh_levels_change_ten_avx2 : fh_levels_change_ten;
        l->fetch = !ten ? fh_levels_fetch_any : width == 512 ? fh_levels_fetch_ten_avx512
                   : width == 256 ? fh_levels_fetch_ten_avx2 : fh_levels_fetch_ten;
    }
#endif
    return width;
}
#endif
