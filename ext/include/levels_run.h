/* The second of the book's two passes over a batch, for all but the rare cases: what the events do to the levels, in the
 * published slots. Where the first pass over the sides has found the level that an event changes (fh_levels_fetch), the
 * change is made without asking whether that is one of the best or a deeper one: nobody could foretell it. */
#ifndef FH_LEVELS_RUN_H
#define FH_LEVELS_RUN_H
#include "hints.h"
#include "levels.h"

#define FH_FLAG_LAST (1ull << 55)       /* in fh_event.word */
#define FH_FLAG_TOB (1ull << 54)
#define FH_QUALITY_INIT 3
#define FH_CROSSED 1

typedef enum {                          /* what is left to do of the event at which fh_levels_run() stopped */
    FH_LEFT_ALL,
    FH_LEFT_LOSE,                       /* there was no room for its level; and what follows */
    FH_LEFT_FINISH,                     /* the end of the slot's write */
} fh_left;

typedef struct {
    uint8_t *slots;
    uint64_t slot_stride;
    uint32_t side_stride;
    uint32_t instruments;
    fh_slot *open;                      /* its sequence is odd; or NULL */
    fh_event *last;                     /* the event that touched it last, and where that stands in the ring */
    uint64_t last_position;
    uint32_t bettered;                  /* a new best level has appeared since it was opened */
    fh_left left;
} fh_run;

/* The level stands where the hint says: change it. 0 = it does not, or goes with this change. */
static inline int fh_levels_quick(const fh_levels *l, const fh_change *change, fh_level *levels)
{
    int32_t *keys = fh_keys(l, change->side);
    const fh_side *s = (const fh_side *)(keys + l->places);
    const uint64_t deep = (uint64_t)-(int64_t)(change->hint >> 31);     /* all bits, or none */
    const uint32_t at = change->hint & ~FH_HINT_DEEP, deep32 = (uint32_t)deep;
    int32_t *const deep_keys = fh_deep_keys(l, s);
    const uint32_t first = s->first & deep32, end = (s->near_ ^ ((s->near_ ^ s->cap) & deep32));
    const uintptr_t near_key = (uintptr_t)keys, deep_key = (uintptr_t)deep_keys;
    const uintptr_t near_level = (uintptr_t)&levels->size + at * sizeof(fh_level);
    const uintptr_t deep_level = (uintptr_t)fh_deep_levels(l, s) + at * sizeof(fh_deep);
    const uintptr_t key = (near_key ^ ((near_key ^ deep_key) & deep)) + at * sizeof(int32_t);
    uint64_t *const level = (uint64_t *)(near_level ^ ((near_level ^ deep_level) & deep));     /* both: size, orders */
    if (FH_UNLIKELY(at - first >= end - first || *(const int32_t *)key != change->key))
        return 0;
    uint64_t orders = level[1] + (uint64_t)(int64_t)change->orders;
    if (FH_UNLIKELY(!orders))
        return 0;
    fh_put64(&level[0], level[0] + change->size);
    fh_put64(&level[1], orders);
    return 1;
}

static inline int fh_slot_crossed(const fh_levels *l, const fh_slot *slot, uint32_t instrument)
{
    return slot->bids && slot->asks
           && fh_quanta(fh_keys(l, 2 * instrument)[0], 0) >= fh_quanta(fh_keys(l, 2 * instrument + 1)[0], 1);
}

/* Do events[i .. end) with their changes; events[0] stands at `position` of the ring. -> `end`, or the event of which
 * `left` is left. */
static uint32_t fh_levels_run(fh_run *run, fh_levels *l, fh_event *events, const fh_change *changes, uint32_t i, uint32_t end,
                              uint64_t position)
{
    uint8_t *const slots = run->slots;
    const uint64_t slot_stride = run->slot_stride;
    const uint32_t side_stride = run->side_stride, instruments = run->instruments;
    fh_slot *open = run->open;
    uint32_t bettered = run->bettered;
    const uint32_t begin = i;
    run->left = FH_LEFT_ALL;
    for (; i < end; i++) {
        fh_event *event = &events[i];
        const fh_change *change = &changes[i];
        const uint64_t word = event->word;
        fh_slot *slot = (fh_slot *)(slots + (uint32_t)word * slot_stride);
        if (FH_UNLIKELY((uint32_t)word - 1 >= instruments - 1 || !change->size || change->fault || (open && open != slot)))
            break;
        if (!open) {
            fh_slot_open(&slot->seq);
            open = slot;
        }
        const uint32_t ask = change->side & 1;
        fh_level *levels = (fh_level *)((uint8_t *)(slot + 1) + ask * side_stride);
        uint32_t place = change->hint;
        if (FH_UNLIKELY(!fh_levels_quick(l, change, levels))) {
            place = l->change(l, change, levels, &slot->bids + ask);
            bettered |= place == FH_LEVEL_NEW;
            if (FH_UNLIKELY(place == FH_LEVELS_FULL)) {
                run->left = FH_LEFT_LOSE;
                break;
            }
        }
        event->word = word | ((place & ~FH_LEVEL_NEW) == 0 ? FH_FLAG_TOB : 0);
        if (!(word & FH_FLAG_LAST))
            continue;
        if (FH_UNLIKELY(slot->quality == FH_QUALITY_INIT || slot->flags & FH_CROSSED
                        || (bettered && fh_slot_crossed(l, slot, (uint32_t)word)))) {
            run->left = FH_LEFT_FINISH;
            break;
        }
        bettered = 0;
        fh_slot_stamp(slot, event, position + i);
        fh_slot_close(&slot->seq);
        open = NULL;
    }
    run->open = open;
    run->bettered = bettered;
    const uint32_t touched = i + (run->left != FH_LEFT_ALL);
    if (touched > begin) {
        run->last = &events[touched - 1];
        run->last_position = position + touched - 1;
    }
    return i;
}
#endif
