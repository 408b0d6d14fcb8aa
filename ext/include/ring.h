/* The event ring: one writer that never waits, any number of readers, each told exactly how much it missed.
 *
 * A power of two of 64-byte slots. Event n (from 1) lies in slot n & mask; its first word is n. A slot is a seqlock of its
 * own whose number is the event's: 0 while it is being written.
 *
 *     writer, event n                         reader, wants event n
 *     slot[0] = 0          (relaxed)          s = slot[0]           (acquire)
 *     release fence                             s == n: copy 7 words (relaxed), acquire fence, slot[0] still n ? taken
 *     slot[1..7]           (relaxed)            s > n: the writer is a lap ahead: n is lost
 *     slot[0] = n          (release)            s < n or 0: not there yet
 *
 * The release store of n pairs with the acquire load, the two fences pair through the words, as in seqlock.h. A reader
 * looks at the slot it wants and nowhere else: an event costs it one cache line from the writer's core. The ring's head
 * (the last event's number, stored once per batch) is for those who sleep, and for those who were lapped.
 *
 * A reader that sees s > n has lost n and whatever else is gone: it goes on with the oldest event that can still be there,
 * s' - capacity + 1, where s' is the newest number it can see, and adds the distance to its count. An event is so either
 * handed out whole or counted as lost, each exactly once. */
#ifndef FH_RING_H
#define FH_RING_H
#include "seqlock.h"

enum { FH_EVENT_WORDS = 8 };

/* Write event `n`, whose words 1 to 7 are those of `event`. */
static inline void fh_ring_write(uint64_t *slots, uint64_t mask, uint64_t n, const uint64_t *event)
{
    uint64_t *slot = slots + (n & mask) * FH_EVENT_WORDS;
    __atomic_store_n(&slot[0], 0, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);                /* pairs with the acquire fence of fh_ring_read */
    fh_store_words(slot + 1, event + 1, FH_EVENT_WORDS - 1);
    __atomic_store_n(&slot[0], n, __ATOMIC_RELEASE);        /* pairs with the acquire load of fh_ring_read */
}

/* Fetch the slot of event `n`, which will be written soon: the lines of a ring have long left the cache. */
static inline void fh_ring_prefetch(const uint64_t *slots, uint64_t mask, uint64_t n)
{
    __builtin_prefetch(slots + (n & mask) * FH_EVENT_WORDS, 1);
}

/* Copy up to `capacity` events from number *next on to `out`, and move *next on. What was overwritten before it could be
 * copied is added to *lost; it lies before the first event copied. Events that are not wanted (`wanted` has a byte per instrument; NULL = all; number 0 and
 * numbers of `instruments` and above are always wanted) are passed over. Returns the events copied. */
static inline int fh_ring_read(const uint64_t *slots, uint64_t mask, const uint64_t *head, uint64_t *next, uint64_t *out,
                               int capacity, const uint8_t *wanted, uint32_t instruments, uint64_t *lost)
{
    uint64_t n = *next, missed = 0;
    uint64_t budget = mask + 2;                             /* a filter that wants nothing must come back too */
    int taken = 0;
    while (taken < capacity && budget--) {
        const uint64_t *slot = slots + (n & mask) * FH_EVENT_WORDS;
        uint64_t s = __atomic_load_n(&slot[0], __ATOMIC_ACQUIRE);
        if (s == n) {
            fh_load_words(out + 1, slot + 1, FH_EVENT_WORDS - 1);
            __atomic_thread_fence(__ATOMIC_ACQUIRE);
            s = __atomic_load_n(&slot[0], __ATOMIC_RELAXED);
            if (s == n) {
                uint32_t instrument = (uint32_t)out[7];
                out[0] = n++;
                if (wanted == NULL || instrument == 0 || instrument >= instruments || wanted[instrument]) {
                    out += FH_EVENT_WORDS;
                    taken++;
                }
                continue;
            }
            if (s < n)
                s = n + mask + 1;                           /* being overwritten, at the earliest by this one */
        } else if (s < n) {
            break;
        }
        if (taken)
            break;                                          /* what is lost is told before what follows it */
        uint64_t newest = __atomic_load_n(head, __ATOMIC_ACQUIRE);
        if (newest < s)
            newest = s;
        missed += newest - mask - n;
        n = newest - mask;
    }
    *next = n;
    *lost += missed;
    return taken;
}

/* How many of the `count` events from number `first` on are still in the ring: always the last ones of them. */
static inline uint64_t fh_ring_intact(const uint64_t *slots, uint64_t mask, uint64_t first, uint64_t count)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);                /* what was read of the slots was read before this */
    uint64_t intact = 0;
    while (intact < count
           && __atomic_load_n(&slots[((first + count - 1 - intact) & mask) * FH_EVENT_WORDS], __ATOMIC_RELAXED)
              == first + count - 1 - intact)
        intact++;
    return intact;
}
#endif
