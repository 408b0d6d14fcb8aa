/* Price levels per side, best first: the best `depth` lie in the published slot and nowhere else, deeper ones in an arena.
 *
 * Searching reads one private line a side: the keys of the best levels. A key is the price in quanta, turned so that a
 * larger int32 is a better price on either side (fh_key). Deeper levels are a block of keys and a block of sizes,
 * right-aligned: entries first .. cap-1, best first, so that insertion moves the short end near the top.
 *
 * The slot is shared memory, written between an odd and an even sequence (seqlock.h). Its words are written whole,
 * 8 bytes or more a store; what a reader copies meanwhile it throws away when it sees the sequence again.
 */
#ifndef FH_LEVELS_H
#define FH_LEVELS_H
#include <emmintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FH_NO_KEY INT32_MIN             /* fills unused places; also a key, so `near` says how many count */
#define FH_NO_LEVEL UINT32_MAX          /* nothing changed */
#define FH_LEVELS_FULL (UINT32_MAX - 1)
#define FH_ARENA_UNIT 64u
#define FH_CAP_MIN_BITS 4u
#define FH_CAP_MAX_BITS 24u

typedef struct {                        /* one level of a slot, 24 bytes: three words */
    int64_t price;
    uint64_t size;
    uint64_t orders;                    /* the upper half is the reserved word, 0 */
} fh_level;

typedef struct {                        /* behind the keys of a side, 16 bytes */
    uint32_t block;                     /* arena units; 0 = no block yet */
    uint32_t first, cap;                /* deeper levels are first .. cap-1 of the block */
    uint16_t near_;                     /* levels in the slot */
    uint8_t lost;                       /* there was no room: levels are no longer kept, until a reset */
    uint8_t crossed;                    /* of the bid side: the book was crossed when it was last whole */
} fh_side;

typedef struct {
    uint64_t size;
    uint32_t orders, reserved;
} fh_deep;

typedef struct {
    uint8_t *sides;                     /* side i at i * side_bytes: keys, then fh_side */
    uint32_t side_bytes, depth;
    uint32_t places;                    /* depth, rounded up to whole vectors */
    uint8_t *arena;
    uint64_t arena_bytes, arena_used;
    uint64_t quantum;                   /* price units of one step of a key */
    uint32_t free_blocks[FH_CAP_MAX_BITS + 1];
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
static inline void fh_put64(void *at, uint64_t word) { __atomic_store_n((uint64_t *)at, word, __ATOMIC_RELAXED); }
static inline void fh_put_level(fh_level *at, int64_t price, uint64_t size, uint32_t orders)
{
    fh_put64(&at->price, (uint64_t)price);
    fh_put64(&at->size, size);
    fh_put64(&at->orders, orders);
}

/* The slot's sequence: odd while it is being written. A killed writer leaves the one it was in odd. */
static inline void fh_slot_open(uint64_t *seq)
{
    __atomic_store_n(seq, *seq | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);                    /* pairs with the reader's acquire fence */
}
static inline void fh_slot_close(uint64_t *seq)
{
    __atomic_store_n(seq, (*seq | 1) + 1, __ATOMIC_RELEASE);    /* pairs with the reader's first acquire load */
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
    s->lost = s->crossed = 0;
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
        uint64_t bytes = ((uint64_t)cap * (4 + sizeof(fh_deep)) + FH_ARENA_UNIT - 1) / FH_ARENA_UNIT * FH_ARENA_UNIT;
        if (bytes > l->arena_bytes - l->arena_used)
            return 0;
        grown.block = (uint32_t)(l->arena_used / FH_ARENA_UNIT);
        l->arena_used += bytes;
    }
    if (count) {
        memcpy(fh_deep_keys(l, &grown) + grown.first, fh_deep_keys(l, s) + s->first, count * 4);
        memcpy(fh_deep_levels(l, &grown) + grown.first, fh_deep_levels(l, s) + s->first, count * sizeof(fh_deep));
    }
    fh_levels_free(l, s);
    *s = grown;
    return 1;
}

/* How many of the best levels are better than `key`. */
static inline __attribute__((always_inline)) uint32_t fh_near_rank(const int32_t *keys, uint32_t places, int32_t key)
{
    __m128i k = _mm_set1_epi32(key), better = _mm_setzero_si128();
    for (uint32_t i = 0; i < places; i += 4)
        better = _mm_sub_epi32(better, _mm_cmpgt_epi32(_mm_load_si128((const __m128i *)(keys + i)), k));
    better = _mm_add_epi32(better, _mm_shuffle_epi32(better, 0x4e));
    better = _mm_add_epi32(better, _mm_shuffle_epi32(better, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(better);
}

/* The first of keys[0 .. count) that is not better than `key`; count if all are. Sorted, so a halving search without
 * branches that depend on the keys. */
static inline uint32_t fh_deep_rank(const int32_t *keys, uint32_t count, int32_t key)
{
    const int32_t *base = keys;
    uint32_t left = count;
    while (left > 1) {
        uint32_t half = left / 2;
        base += base[half - 1] > key ? half : 0;
        left -= half;
    }
    return (uint32_t)(base - keys) + (left && *base > key);
}

/* Move levels[from .. depth-1) one place down, towards `depth`. */
static inline void fh_slot_open_gap(fh_level *levels, uint32_t from, uint32_t depth)
{
    uint64_t *words = (uint64_t *)levels;
    for (uint32_t w = 3 * depth - 1; w >= 3 * from + 3; w--)
        __atomic_store_n(&words[w], words[w - 3], __ATOMIC_RELAXED);
}

/* Move levels[from+1 .. depth) one place up. */
static inline void fh_slot_close_gap(fh_level *levels, uint32_t from, uint32_t depth)
{
    uint64_t *words = (uint64_t *)levels;
    for (uint32_t w = 3 * from; w < 3 * depth - 3; w++)
        __atomic_store_n(&words[w], words[w + 3], __ATOMIC_RELAXED);
}

/* One level changes by `size` and by `orders` (-1, 0, +1).
 *
 * -> its place, 0 = best; FH_NO_LEVEL when there is no such level to take from; FH_LEVELS_FULL when there is no room,
 * which marks the side lost. `levels` and `used` are the published side, whose sequence is odd by now. */
static inline __attribute__((always_inline)) uint32_t
fh_levels_change(fh_levels *l, uint32_t depth, uint32_t side, fh_level *levels, uint16_t *used, int32_t key,
                 uint64_t size, int32_t orders)
{
    uint32_t places = fh_places(depth), ask = side & 1;
    int32_t *keys = (int32_t *)(l->sides + (size_t)side * l->side_bytes);
    fh_side *s = (fh_side *)(keys + places);
    uint32_t near_ = s->near_, i = fh_near_rank(keys, places, key);
    if (i < depth) {
        fh_level *level = &levels[i];
        if (i < near_ && keys[i] == key) {
            uint32_t left = (uint32_t)level->orders + (uint32_t)orders;
            if (left) {
                fh_put64(&level->size, level->size + size);
                fh_put64(&level->orders, left);
                return i;
            }
            fh_slot_close_gap(levels, i, depth);
            memmove(keys + i, keys + i + 1, (depth - 1 - i) * 4);
            if (s->first < s->cap) {                            /* the best of the deeper ones comes up */
                fh_deep *up = &fh_deep_levels(l, s)[s->first];
                int32_t up_key = fh_deep_keys(l, s)[s->first++];
                keys[depth - 1] = up_key;
                fh_put_level(&levels[depth - 1], (int64_t)(fh_quanta(up_key, ask) * l->quantum), up->size, up->orders);
            } else {
                keys[depth - 1] = FH_NO_KEY;
                s->near_ = (uint16_t)(near_ - 1);
                __atomic_store_n(used, s->near_, __ATOMIC_RELAXED);
                fh_put_level(&levels[depth - 1], 0, 0, 0);
            }
            return i;
        }
        if (__builtin_expect(orders <= 0 || s->lost, 0))
            return FH_NO_LEVEL;
        if (near_ == depth) {                                   /* the last of the best goes down */
            if (__builtin_expect(!s->first, 0) && !fh_levels_grow(l, s)) {
                s->lost = 1;
                return FH_LEVELS_FULL;
            }
            const fh_level *down = &levels[depth - 1];
            uint32_t f = --s->first;
            fh_deep_keys(l, s)[f] = keys[depth - 1];
            fh_deep_levels(l, s)[f] = (fh_deep){ down->size, (uint32_t)down->orders, 0 };
        } else {
            s->near_ = (uint16_t)(near_ + 1);
            __atomic_store_n(used, s->near_, __ATOMIC_RELAXED);
        }
        memmove(keys + i + 1, keys + i, (depth - 1 - i) * 4);
        keys[i] = key;
        fh_slot_open_gap(levels, i, depth);
        fh_put_level(level, (int64_t)(fh_quanta(key, ask) * l->quantum), size, (uint32_t)orders);
        return i;
    }
    uint32_t f = s->first, n = s->cap - f;
    i = fh_deep_rank(fh_deep_keys(l, s) + f, n, key);
    if (i < n && fh_deep_keys(l, s)[f + i] == key) {
        fh_deep *deep = &fh_deep_levels(l, s)[f + i];
        deep->size += size;
        deep->orders += (uint32_t)orders;
        if (!deep->orders) {
            memmove(fh_deep_keys(l, s) + f + 1, fh_deep_keys(l, s) + f, i * 4);
            memmove(fh_deep_levels(l, s) + f + 1, fh_deep_levels(l, s) + f, i * sizeof(fh_deep));
            s->first++;
        }
        return depth + i;
    }
    if (__builtin_expect(orders <= 0, 0))
        return FH_NO_LEVEL;
    if (__builtin_expect(!f, 0)) {
        if (!fh_levels_grow(l, s)) {
            s->lost = 1;
            return FH_LEVELS_FULL;
        }
        f = s->first;
    }
    s->first = --f;
    memmove(fh_deep_keys(l, s) + f, fh_deep_keys(l, s) + f + 1, i * 4);
    memmove(fh_deep_levels(l, s) + f, fh_deep_levels(l, s) + f + 1, i * sizeof(fh_deep));
    fh_deep_keys(l, s)[f + i] = key;
    fh_deep_levels(l, s)[f + i] = (fh_deep){ size, (uint32_t)orders, 0 };
    return depth + i;
}
#endif
