/* Open addressing: order id -> order. Bounded, never grows, no id is special.
 *
 * Linear probing with backward-shift deletion; size 0 marks a free slot. Neighbouring ids are neighbours in the table,
 * so that adds walk forward through memory and young orders share cache lines; blocks of ids are scattered by a
 * multiplicative hash, so that strided or random ids fall back to an ordinary hash table.
 *
 * Every loop ends: `live` stays below `count`, so a free slot exists, and an order that finds no room within
 * FH_PROBES_MAX slots of its home is refused as if the table were full, whatever ids the wire sends.
 */
#ifndef FH_ORDER_MAP_H
#define FH_ORDER_MAP_H
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#define FH_NO_ORDER UINT32_MAX
#define FH_BLOCK_BITS 6         /* ids that stay together: 1 << FH_BLOCK_BITS */
#define FH_BLOCK_IDS (1u << FH_BLOCK_BITS)
#define FH_PROBES_MAX 65536u

typedef struct {                /* 24 bytes */
    uint64_t id;
    uint64_t size;              /* 0 = free slot */
    uint32_t key;               /* price in units of the book's quantum */
    uint32_t owner;             /* instrument * 2 + (1 for an ask) */
} fh_order;

typedef struct {
    fh_order *slots;
    uint32_t count;             /* slots: at least limit + FH_BLOCK_IDS */
    uint32_t live;              /* orders */
    uint32_t limit;             /* orders at most */
} fh_orders;

/* Zeroed memory, taken now rather than at its first use; 2 MiB pages where the host gives them. NULL: none left. */
static inline void *fh_pages(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    madvise(at, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes; i += 4096)
        ((volatile char *)at)[i] = 0;
    return at;
}

static inline uint32_t fh_orders_home(const fh_orders *map, uint64_t id)
{
    uint64_t block = (id >> FH_BLOCK_BITS) * 0x9E3779B97F4A7C15ull;
    uint64_t at = (block >> 32) * map->count >> 32;
    at += id & (FH_BLOCK_IDS - 1);
    return (uint32_t)(at >= map->count ? at - map->count : at);
}

static inline uint32_t fh_orders_next(const fh_orders *map, uint32_t i)
{
    i++;
    return __builtin_expect(i == map->count, 0) ? 0 : i;
}

static inline uint32_t fh_orders_distance(const fh_orders *map, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + map->count - from;
}

/* The slot of a live order, or FH_NO_ORDER. */
static inline uint32_t fh_orders_find(const fh_orders *map, uint64_t id, uint32_t home)
{
    for (uint32_t i = home; map->slots[i].size; i = fh_orders_next(map, i))
        if (map->slots[i].id == id)
            return i;
    return FH_NO_ORDER;
}

enum { FH_ORDER_ADDED = 0, FH_ORDER_LIVE = 1, FH_ORDERS_FULL = 2 };

static inline int fh_orders_add(fh_orders *map, uint64_t id, uint32_t home, uint64_t size, uint32_t key, uint32_t owner)
{
    uint32_t i = home, probes = 0;
    for (; map->slots[i].size; i = fh_orders_next(map, i), probes++)
        if (map->slots[i].id == id)
            return FH_ORDER_LIVE;
    if (__builtin_expect(map->live >= map->limit || probes >= FH_PROBES_MAX, 0))
        return FH_ORDERS_FULL;
    map->slots[i] = (fh_order){ id, size, key, owner };
    map->live++;
    return FH_ORDER_ADDED;
}

static inline void fh_orders_erase(fh_orders *map, uint32_t hole)
{
    fh_order *slots = map->slots;
    map->live--;
    for (uint32_t j = fh_orders_next(map, hole); slots[j].size; j = fh_orders_next(map, j)) {
        uint32_t home = fh_orders_home(map, slots[j].id);
        if (fh_orders_distance(map, home, j) >= fh_orders_distance(map, hole, j)) {
            slots[hole] = slots[j];
            hole = j;
        }
    }
    slots[hole].size = 0;
}

/* Remove the orders of `instruments` instruments from `first` on: one pass over the table, for resets only. */
static inline void fh_orders_forget(fh_orders *map, uint32_t first, uint32_t instruments)
{
    uint32_t start = 0, steps;
    while (map->slots[start].size)                              /* begin behind a free slot: no cluster is cut in two */
        start++;
    for (steps = 0; steps < map->count;) {
        uint32_t i = start + steps >= map->count ? start + steps - map->count : start + steps;
        if (map->slots[i].size && map->slots[i].owner / 2 - first < instruments)
            fh_orders_erase(map, i);                            /* what moved up into i is looked at next */
        else
            steps++;
    }
}
#endif
