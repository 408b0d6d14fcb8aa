/* All levels of a side of an order book, best first: those of the slot, then the deeper ones. For snapshots and hashes. */
#ifndef FH_LEVELS_WALK_H
#define FH_LEVELS_WALK_H
#include "levels.h"
#include "xxh64.h"

static inline uint32_t fh_levels_count(const fh_levels *l, uint32_t side)
{
    const fh_side *s = fh_side_of(l, side);
    return s->near_ + (s->cap - s->first);
}

/* Level i of the side; `shown` are those of its slot. */
static inline fh_level fh_levels_at(const fh_levels *l, uint32_t side, const fh_level *shown, uint32_t i)
{
    const fh_side *s = fh_side_of(l, side);
    if (i < s->near_)
        return shown[i];
    const uint32_t at = s->first + (i - s->near_);
    const fh_deep *deep = &fh_deep_levels(l, s)[at];
    return (fh_level){ (int64_t)(fh_quanta(fh_deep_keys(l, s)[at], side & 1) * l->quantum), deep->size, deep->orders };
}

static inline void fh_levels_digest(const fh_levels *l, uint32_t side, const fh_level *shown, fh_digest *d)
{
    const uint32_t count = fh_levels_count(l, side);
    for (uint32_t i = 0; i < count; i++) {
        const fh_level level = fh_levels_at(l, side, shown, i);
        fh_digest_word(d, (uint64_t)level.price);
        fh_digest_word(d, level.size);
        fh_digest_word(d, (uint32_t)level.orders);
    }
}

/* No order of the side is in the slot or below it any more, and there was no room for them: lost until a reset. */
static inline void fh_levels_lose(const fh_levels *l, uint32_t side) { fh_side_of(l, side)->lost = 1; }
static inline int fh_levels_lost(const fh_levels *l, uint32_t side) { return fh_side_of(l, side)->lost; }
#endif
