/* Price levels with full int64 prices: per side one sorted array in an arena, the best at its end.
 *
 * For level feeds: any depth, any price range, bounded memory. Blocks double; what is freed is kept by size. */
#ifndef FH_LEVELS_WIDE_H
#define FH_LEVELS_WIDE_H
#include <stdint.h>
#include <string.h>

#define FH_WIDE_MIN_BITS 3u
#define FH_WIDE_MAX_BITS 24u
#define FH_WIDE_NONE UINT32_MAX         /* nothing changed */
#define FH_WIDE_FULL (UINT32_MAX - 1)

typedef struct {                        /* 16 bytes */
    int64_t rank;                       /* the price of a bid, its complement for an ask: larger is better */
    uint64_t size;
} fh_wide_level;

typedef struct {
    uint64_t block;                     /* index of its first level in the arena */
    uint32_t count, cap;                /* cap 0 = no block yet */
} fh_wide_side;

typedef struct {
    fh_wide_level *arena;
    uint64_t room, used;                /* levels */
    uint64_t free_blocks[FH_WIDE_MAX_BITS + 1];     /* block + 1; 0 = none */
} fh_wide;

static inline int64_t fh_wide_rank(int64_t price, uint32_t ask) { return ask ? ~price : price; }

static inline void fh_wide_clear(fh_wide *w, fh_wide_side *s)
{
    if (s->cap) {
        uint32_t bits = (uint32_t)__builtin_ctz(s->cap);
        w->arena[s->block].size = w->free_blocks[bits];
        w->free_blocks[bits] = s->block + 1;
    }
    s->count = s->cap = 0;
}

static inline int fh_wide_grow(fh_wide *w, fh_wide_side *s)
{
    uint32_t bits = s->cap ? (uint32_t)__builtin_ctz(s->cap) + 1 : FH_WIDE_MIN_BITS, count = s->count;
    uint64_t block;
    if (bits > FH_WIDE_MAX_BITS)
        return 0;
    if (w->free_blocks[bits]) {
        block = w->free_blocks[bits] - 1;
        w->free_blocks[bits] = w->arena[block].size;
    } else {
        if (w->room - w->used < 1u << bits)
            return 0;
        block = w->used;
        w->used += 1u << bits;
    }
    if (count)
        memcpy(&w->arena[block], &w->arena[s->block], count * sizeof(fh_wide_level));
    fh_wide_clear(w, s);
    s->block = block;
    s->count = count;
    s->cap = 1u << bits;
    return 1;
}

/* The level at this rank now has `size`; 0 removes it. -> its place, 0 = best, or FH_WIDE_NONE, FH_WIDE_FULL. */
static inline uint32_t fh_wide_set(fh_wide *w, fh_wide_side *s, int64_t rank, uint64_t size)
{
    fh_wide_level *levels = &w->arena[s->block];
    uint32_t low = 0, high = s->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (levels[middle].rank < rank)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < s->count && levels[low].rank == rank) {
        uint32_t place = s->count - 1 - low;
        if (levels[low].size == size)
            return FH_WIDE_NONE;
        if (size)
            levels[low].size = size;
        else
            memmove(&levels[low], &levels[low + 1], (--s->count - low) * sizeof(fh_wide_level));
        return place;
    }
    if (!size)
        return FH_WIDE_NONE;
    if (s->count == s->cap) {
        if (!fh_wide_grow(w, s))
            return FH_WIDE_FULL;
        levels = &w->arena[s->block];
    }
    memmove(&levels[low + 1], &levels[low], (s->count - low) * sizeof(fh_wide_level));
    levels[low] = (fh_wide_level){ rank, size };
    return s->count++ - low;
}
#endif
