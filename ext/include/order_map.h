/* Order id -> order. Bounded, never grows, no id is special.
 *
 * Buckets of two cache lines hold five orders. An id has a home bucket; when that is full its order goes to the next one
 * with a free place, and each full bucket it passed counts it (`state`). A search goes on behind a bucket only while that
 * count is not 0, so nearly all searches end in the bucket they begin with, without a branch that could be guessed wrong;
 * an order that leaves frees its place and takes its counts back. Nothing is ever moved.
 *
 * Neighbouring ids are neighbours in the table, so that adds walk forward through memory and young orders share cache
 * lines; blocks of ids are scattered by a multiplicative hash, so that strided or random ids fall back to an ordinary
 * hash table.
 *
 * Every loop ends: no order lies further than FH_PROBES_MAX buckets from its home (one that found no place within them is
 * refused as if the table were full, whatever ids the wire sends), and so no search goes further.
 */
#ifndef FH_ORDER_MAP_H
#define FH_ORDER_MAP_H
#include <stddef.h>
#include <stdint.h>

#define FH_NO_ORDER UINT64_MAX
#define FH_BUCKET_ORDERS 5u
#define FH_BLOCK_BITS 6         /* ids that stay together: 1 << FH_BLOCK_BITS */
#define FH_HOME_BITS 1          /* ids with the same home: 1 << FH_HOME_BITS; more of them overflow too often */
#define FH_PROBES_MAX 4096u
#define FH_PASSED 32u           /* one order in `state` that passed by; the five bits below say which places are taken */

typedef struct {                /* 128 bytes: what a search looks at is in the first line */
    uint64_t ids[FH_BUCKET_ORDERS];
    uint32_t state;
    uint32_t owners[FH_BUCKET_ORDERS];      /* instrument * 2 + (1 for an ask) */
    uint64_t sizes[FH_BUCKET_ORDERS];
    uint32_t keys[FH_BUCKET_ORDERS];        /* price in units of the book's quantum */
    uint32_t spare;
} fh_bucket;

typedef struct {
    fh_bucket *buckets;
    uint32_t count;             /* buckets */
    uint32_t live;              /* orders */
    uint32_t limit;             /* orders at most */
} fh_orders;

/* Buckets for `orders` at most: 57 places in 100 are taken then, 45 bytes an order. With 64 in 100 every fifth message
 * meets a bucket that is, or was, full. */
static inline uint32_t fh_orders_buckets(uint32_t orders)
{
    return (uint32_t)((uint64_t)orders * 7 / 20) + (1u << (FH_BLOCK_BITS - FH_HOME_BITS));
}

static inline uint32_t fh_orders_home(const fh_orders *map, uint64_t id)
{
    uint64_t block = (id >> FH_BLOCK_BITS) * 0x9E3779B97F4A7C15ull;
    uint64_t at = (block >> 32) * map->count >> 32;
    at += id >> FH_HOME_BITS & ((1u << (FH_BLOCK_BITS - FH_HOME_BITS)) - 1);
    return (uint32_t)(at >= map->count ? at - map->count : at);
}

static inline uint32_t fh_orders_next(const fh_orders *map, uint32_t i)
{
    i++;
    return __builtin_expect(i == map->count, 0) ? 0 : i;
}

/* The places of a bucket that hold this id, as bits: one or none. */
static inline uint32_t fh_bucket_match(const fh_bucket *b, uint64_t id)
{
    uint32_t same = (uint32_t)(b->ids[0] == id) | (uint32_t)(b->ids[1] == id) << 1 | (uint32_t)(b->ids[2] == id) << 2
                    | (uint32_t)(b->ids[3] == id) << 3 | (uint32_t)(b->ids[4] == id) << 4;
    return same & b->state;
}

static __attribute__((noinline)) uint64_t fh_orders_find_further(const fh_orders *map, uint64_t id, uint32_t i)
{
    for (uint32_t probes = 1; probes < FH_PROBES_MAX && map->buckets[i].state >= FH_PASSED; probes++) {
        i = fh_orders_next(map, i);
        uint32_t places = fh_bucket_match(&map->buckets[i], id);
        if (places)
            return (uint64_t)i << 3 | (uint32_t)__builtin_ctz(places);
    }
    return FH_NO_ORDER;
}

/* A live order: its bucket << 3 | its place there; or FH_NO_ORDER. */
static inline uint64_t fh_orders_find(const fh_orders *map, uint64_t id, uint32_t home)
{
    uint32_t places = fh_bucket_match(&map->buckets[home], id);
    if (__builtin_expect(places != 0, 1))
        return (uint64_t)home << 3 | (uint32_t)__builtin_ctz(places);
    return fh_orders_find_further(map, id, home);
}

enum { FH_ORDER_ADDED = 0, FH_ORDER_LIVE = 1, FH_ORDERS_FULL = 2 };

static inline int fh_orders_add(fh_orders *map, uint64_t id, uint32_t home, uint64_t size, uint32_t key, uint32_t owner)
{
    const uint32_t full = FH_PASSED - 1;
    fh_bucket *b = &map->buckets[home];
    if (fh_bucket_match(b, id) || (b->state >= FH_PASSED && fh_orders_find_further(map, id, home) != FH_NO_ORDER))
        return FH_ORDER_LIVE;
    if (__builtin_expect(map->live >= map->limit, 0))
        return FH_ORDERS_FULL;
    if (__builtin_expect((b->state & full) == full, 0)) {
        uint32_t at = home, probes = 1;
        for (; (map->buckets[at].state & full) == full; probes++) {
            if (probes == FH_PROBES_MAX)
                return FH_ORDERS_FULL;
            at = fh_orders_next(map, at);
        }
        for (; home != at; home = fh_orders_next(map, home))
            map->buckets[home].state += FH_PASSED;
        b = &map->buckets[at];
    }
    uint32_t place = (uint32_t)__builtin_ctz(~b->state);
    b->state |= 1u << place;
    b->ids[place] = id;
    b->owners[place] = owner;
    b->sizes[place] = size;
    b->keys[place] = key;
    map->live++;
    return FH_ORDER_ADDED;
}

/* Remove the order at `at`, whose id has this home. */
static inline void fh_orders_erase(fh_orders *map, uint64_t at, uint32_t home)
{
    uint32_t i = (uint32_t)(at >> 3);
    map->live--;
    map->buckets[i].state &= ~(1u << (at & 7));
    for (; __builtin_expect(home != i, 0); home = fh_orders_next(map, home))
        map->buckets[home].state -= FH_PASSED;
}

/* Remove the orders of `instruments` instruments from `first` on: one pass over the table, for resets only. */
static inline void fh_orders_forget(fh_orders *map, uint32_t first, uint32_t instruments)
{
    for (uint32_t i = 0; i < map->count; i++) {
        fh_bucket *b = &map->buckets[i];
        for (uint32_t place = 0; place < FH_BUCKET_ORDERS; place++)
            if (b->state >> place & 1 && b->owners[place] / 2 - first < instruments)
                fh_orders_erase(map, (uint64_t)i << 3 | place, fh_orders_home(map, b->ids[place]));
    }
}
#endif
