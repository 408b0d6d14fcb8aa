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
#include <immintrin.h>
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
    uint8_t reserved;
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
    void (*open_gap)(fh_level *levels, uint32_t from, uint32_t depth);
    void (*close_gap)(fh_level *levels, uint32_t from, uint32_t depth);
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

/* The first of keys[0 .. count) that is not better than `key`; count if all are. A straight scan, sixteen keys a step:
 * its loads do not wait for each other, as those of a halving search do, and most changes are near the front. Reads up
 * to 15 keys behind the last, which a block always has. */
static inline uint32_t fh_deep_rank(const int32_t *keys, uint32_t count, int32_t key)
{
    __m128i k = _mm_set1_epi32(key);
    for (uint32_t i = 0; i < count; i += 16) {
        const __m128i *at = (const __m128i *)(keys + i);
        __m128i a = _mm_cmpgt_epi32(_mm_loadu_si128(at), k), b = _mm_cmpgt_epi32(_mm_loadu_si128(at + 1), k);
        __m128i c = _mm_cmpgt_epi32(_mm_loadu_si128(at + 2), k), d = _mm_cmpgt_epi32(_mm_loadu_si128(at + 3), k);
        uint32_t better = (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d)));
        if (better != 0xffff) {
            i += (uint32_t)__builtin_ctz(~better);
            return i < count ? i : count;
        }
    }
    return count;
}

/* Twelve keys of a side of ten, shifted without a branch: place i takes `key`, those from i on go one place down. The
 * two lanes behind the tenth place stay FH_NO_KEY. */
static inline __attribute__((always_inline)) void fh_keys_insert_10(int32_t *keys, uint32_t i, int32_t key)
{
    __m128i *at = (__m128i *)keys;
    __m128i a = _mm_load_si128(at), b = _mm_load_si128(at + 1), c = _mm_load_si128(at + 2);
    __m128i place = _mm_set1_epi32((int)i), k = _mm_set1_epi32(key);
    __m128i lane_a = _mm_setr_epi32(0, 1, 2, 3), lane_b = _mm_setr_epi32(4, 5, 6, 7), lane_c = _mm_setr_epi32(8, 9, -1, -1);
    __m128i down_a = _mm_slli_si128(a, 4);
    __m128i down_b = _mm_or_si128(_mm_slli_si128(b, 4), _mm_srli_si128(a, 12));
    __m128i down_c = _mm_or_si128(_mm_slli_si128(c, 4), _mm_srli_si128(b, 12));
#define FH_PICK(old, down, lane) _mm_or_si128( \
        _mm_or_si128(_mm_and_si128(_mm_cmplt_epi32(lane, place), old), _mm_and_si128(_mm_cmpeq_epi32(lane, place), k)), \
        _mm_and_si128(_mm_cmpgt_epi32(lane, place), down))
    _mm_store_si128(at, FH_PICK(a, down_a, lane_a));
    _mm_store_si128(at + 1, FH_PICK(b, down_b, lane_b));
    _mm_store_si128(at + 2, FH_PICK(c, down_c, lane_c));
#undef FH_PICK
}

/* The same the other way: place i goes, those behind it come up, `key` is the new tenth. */
static inline __attribute__((always_inline)) void fh_keys_remove_10(int32_t *keys, uint32_t i, int32_t key)
{
    __m128i *at = (__m128i *)keys;
    __m128i a = _mm_load_si128(at), b = _mm_load_si128(at + 1), c = _mm_load_si128(at + 2);
    __m128i place = _mm_set1_epi32((int)i);
    __m128i lane_a = _mm_setr_epi32(0, 1, 2, 3), lane_b = _mm_setr_epi32(4, 5, 6, 7);
    __m128i up_a = _mm_or_si128(_mm_srli_si128(a, 4), _mm_slli_si128(b, 12));
    __m128i up_b = _mm_or_si128(_mm_srli_si128(b, 4), _mm_slli_si128(c, 12));
    __m128i old_a = _mm_cmplt_epi32(lane_a, place), old_b = _mm_cmplt_epi32(lane_b, place);
    _mm_store_si128(at, _mm_or_si128(_mm_and_si128(old_a, a), _mm_andnot_si128(old_a, up_a)));
    _mm_store_si128(at + 1, _mm_or_si128(_mm_and_si128(old_b, b), _mm_andnot_si128(old_b, up_b)));
    keys[8] = i < 9 ? keys[9] : keys[8];
    keys[9] = key;
}

/* Move levels[from .. depth-1) one place down, towards `depth`. Whole vectors of two words: each word is stored in one
 * piece, and a reader that meets a half-moved side sees the odd sequence. */
static inline __attribute__((always_inline)) void fh_slot_open_gap(fh_level *levels, uint32_t from, uint32_t depth)
{
    uint64_t *words = (uint64_t *)levels;
    uint32_t low = 3 * from + 3, w = 3 * depth;
    for (; w >= low + 2; w -= 2)
        _mm_storeu_si128((__m128i *)(words + w - 2), _mm_loadu_si128((const __m128i *)(words + w - 5)));
    if (w > low)
        fh_put64(&words[w - 1], words[w - 4]);
}

/* Move levels[from+1 .. depth) one place up. */
static inline __attribute__((always_inline)) void fh_slot_close_gap(fh_level *levels, uint32_t from, uint32_t depth)
{
    uint64_t *words = (uint64_t *)levels;
    uint32_t w = 3 * from, high = 3 * depth - 3;
    for (; w + 2 <= high; w += 2)
        _mm_storeu_si128((__m128i *)(words + w), _mm_loadu_si128((const __m128i *)(words + w + 3)));
    if (w < high)
        fh_put64(&words[w], words[w + 3]);
}

/* Fetch the lines that fh_levels_change is likely to want, ahead of it; the side's keys are here by now. No branch: a
 * wrong guess would cost more than a line fetched in vain. -> whether it is a deeper level. */
static inline __attribute__((always_inline)) uint32_t
fh_levels_fetch(const fh_levels *l, uint32_t depth, uint32_t side, const fh_level *levels, int32_t key)
{
    uint32_t places = fh_places(depth);
    const int32_t *keys = (const int32_t *)(l->sides + (size_t)side * l->side_bytes);
    const fh_side *s = (const fh_side *)(keys + places);
    uint32_t i = fh_near_rank(keys, places, key);
    uintptr_t near_ = (uintptr_t)(levels + i), deep = (uintptr_t)(fh_deep_keys(l, s) + s->first);
    uintptr_t line = deep ^ ((near_ ^ deep) & -(uintptr_t)(i < depth));
    __builtin_prefetch((const void *)line, 1);
    __builtin_prefetch((const void *)(line + 64), 1);
    return i >= depth;
}

/* Second step, for deeper levels: where `key` is or would be, as a hint for fh_levels_change; its line is fetched. */
static inline __attribute__((always_inline)) uint32_t
fh_levels_fetch_deep(const fh_levels *l, uint32_t depth, uint32_t side, int32_t key)
{
    const int32_t *keys = (const int32_t *)(l->sides + (size_t)side * l->side_bytes);
    const fh_side *s = (const fh_side *)(keys + fh_places(depth));
    uint32_t at = s->first + fh_deep_rank(fh_deep_keys(l, s) + s->first, s->cap - s->first, key);
    __builtin_prefetch(&fh_deep_levels(l, s)[at], 1);
    return at;
}

/* The same for sides of ten levels, in eight vectors and without a branch. Word 0 to 29 are levels, 30 and 31 the last
 * trade or the volume, which are stored back as they are; what is read before word 0 and not used belongs to the slot. */
static const uint64_t fh_after[64] __attribute__((aligned(64))) = {
    [32] = ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull,
    ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull };

static __attribute__((noinline, target("avx2"))) void fh_slot_open_gap_avx2(fh_level *levels, uint32_t from, uint32_t depth)
{
    uint64_t *words = (uint64_t *)levels;
    const uint64_t *mask = fh_after + 32 - (3 * from + 3);
    __m256i v[8];
    (void)depth;
    for (int c = 0; c < 8; c++) {
        __m256i after = _mm256_loadu_si256((const __m256i *)(mask + 4 * c));
        if (c == 7)
            after = _mm256_and_si256(after, _mm256_setr_epi64x(-1, -1, 0, 0));
        v[c] = _mm256_blendv_epi8(_mm256_loadu_si256((const __m256i *)(words + 4 * c)),
                                  _mm256_loadu_si256((const __m256i *)(words + 4 * c - 3)), after);
    }
    for (int c = 0; c < 8; c++)
        _mm256_storeu_si256((__m256i *)(words + 4 * c), v[c]);
}

static __attribute__((noinline, target("avx2"))) void fh_slot_close_gap_avx2(fh_level *levels, uint32_t from, uint32_t depth)
{
    uint64_t *words = (uint64_t *)levels;
    const uint64_t *mask = fh_after + 32 - 3 * from;
    __m256i v[7];
    (void)depth;
    for (int c = 0; c < 7; c++) {
        __m256i after = _mm256_loadu_si256((const __m256i *)(mask + 4 * c));
        if (c == 6)
            after = _mm256_and_si256(after, _mm256_setr_epi64x(-1, -1, -1, 0));
        v[c] = _mm256_blendv_epi8(_mm256_loadu_si256((const __m256i *)(words + 4 * c)),
                                  _mm256_loadu_si256((const __m256i *)(words + 4 * c + 3)), after);
    }
    for (int c = 0; c < 7; c++)
        _mm256_storeu_si256((__m256i *)(words + 4 * c), v[c]);
}

static void fh_slot_open_gap_any(fh_level *levels, uint32_t from, uint32_t depth) { fh_slot_open_gap(levels, from, depth); }
static void fh_slot_close_gap_any(fh_level *levels, uint32_t from, uint32_t depth) { fh_slot_close_gap(levels, from, depth); }

/* Choose the moves for this machine and this depth. */
static inline void fh_levels_choose(fh_levels *l)
{
    int wide = l->depth == 10 && __builtin_cpu_supports("avx2");
    l->open_gap = wide ? fh_slot_open_gap_avx2 : fh_slot_open_gap_any;
    l->close_gap = wide ? fh_slot_close_gap_avx2 : fh_slot_close_gap_any;
}

/* One level changes by `size` and by `orders` (-1, 0, +1).
 *
 * -> its place, 0 = best; FH_NO_LEVEL when there is no such level to take from; FH_LEVELS_FULL when there is no room,
 * which marks the side lost. `hint` is what fh_levels_fetch_deep said, or anything. `levels` and `used` are the published side, whose sequence is odd by now. */
static inline __attribute__((always_inline)) uint32_t
fh_levels_change(fh_levels *l, uint32_t depth, uint32_t side, fh_level *levels, uint16_t *used, int32_t key,
                 uint64_t size, int32_t orders, uint32_t hint)
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
            l->close_gap(levels, i, depth);
            int32_t up_key = FH_NO_KEY;
            if (s->first < s->cap) {                            /* the best of the deeper ones comes up */
                fh_deep *up = &fh_deep_levels(l, s)[s->first];
                up_key = fh_deep_keys(l, s)[s->first++];
                fh_put_level(&levels[depth - 1], (int64_t)(fh_quanta(up_key, ask) * l->quantum), up->size, up->orders);
            } else {
                s->near_ = (uint16_t)(near_ - 1);
                __atomic_store_n(used, s->near_, __ATOMIC_RELAXED);
                fh_put_level(&levels[depth - 1], 0, 0, 0);
            }
            if (depth == 10) {
                fh_keys_remove_10(keys, i, up_key);
            } else {
                memmove(keys + i, keys + i + 1, (depth - 1 - i) * 4);
                keys[depth - 1] = up_key;
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
        if (depth == 10) {
            fh_keys_insert_10(keys, i, key);
        } else {
            memmove(keys + i + 1, keys + i, (depth - 1 - i) * 4);
            keys[i] = key;
        }
        l->open_gap(levels, i, depth);
        fh_put_level(level, (int64_t)(fh_quanta(key, ask) * l->quantum), size, (uint32_t)orders);
        return i;
    }
    uint32_t f = s->first, n = s->cap - f;
    i = hint - f;
    if (i >= n || fh_deep_keys(l, s)[hint] != key)              /* no hint, or another change came between */
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
