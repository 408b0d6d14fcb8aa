/* A published book, as its writer sees it, and the memory behind it.
 *
 * The slot is shared memory, written between an odd and an even sequence (seqlock.h). Its words are written whole,
 * 8 bytes or more a store; what a reader copies meanwhile it throws away when it sees the sequence again. */
#ifndef FH_BOOK_SLOT_H
#define FH_BOOK_SLOT_H
#include <stddef.h>
#include <stdint.h>
#include "pages.h"

typedef struct {                        /* one level of a slot, 24 bytes: three words */
    int64_t price;
    uint64_t size;
    uint64_t orders;                    /* the upper half is the reserved word, 0 */
} fh_level;

typedef struct {                        /* the BookSlot of _records.pxd, 64 bytes */
    uint64_t seq;
    int64_t since;
    uint64_t channel_seq, event_seq;
    int64_t ts_event, ts_recv;
    uint32_t epoch;
    uint16_t bids, asks;
    uint8_t quality, trading, reason, flags, security, venue;
    uint16_t spare;
} fh_slot;

typedef struct {                        /* the Event of _records.pxd, 64 bytes */
    uint64_t seq;
    int64_t ts_event, ts_recv;
    uint64_t order_id;
    int64_t price;
    uint64_t size, channel_seq;
    uint64_t word;                      /* instrument, action << 32, side << 40, flags << 48, line << 56 */
} fh_event;

_Static_assert(sizeof(fh_slot) == 64 && sizeof(fh_event) == 64, "the records");

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

/* The slot shows the book as it is after this event, the one at `position` of the ring. */
static inline void fh_slot_stamp(fh_slot *slot, const fh_event *event, uint64_t position)
{
    fh_put64(&slot->ts_event, (uint64_t)event->ts_event);
    fh_put64(&slot->ts_recv, (uint64_t)event->ts_recv);
    fh_put64(&slot->channel_seq, event->channel_seq);
    fh_put64(&slot->event_seq, position);
}
#endif
