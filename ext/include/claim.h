/* Work in turns that any of several spinning threads may do: whoever is on its CPU when a turn is due claims it.
 *
 * One word says when the next turn is due, or that somebody is at it, or that all is done.
 *
 *     look:  when?                                        (relaxed)  it only says whether to try
 *     take:  that time, as it was seen, becomes TAKEN     (acquire)  fails when another was faster
 *     ...    everything that belongs to the work is the holder's alone: plain loads and stores
 *     leave: the time of the next turn, or OVER           (release)
 *
 * Every take reads what a leave has stored, and pairs with it: each turn sees all that the turns before it wrote, on
 * whichever thread. A time that came back since it was seen (A, B, A) is as due as it was. Nobody waits in the kernel; a
 * thread that loses its CPU while it waits holds nobody up, one that loses it within a turn holds up all. */
#ifndef FH_CLAIM_H
#define FH_CLAIM_H
#include <stdint.h>

#define FH_CLAIM_TAKEN (-1)             /* times are CLOCK_MONOTONIC, ns: never negative */
#define FH_CLAIM_OVER (-2)

static inline int64_t fh_claim_look(const int64_t *claim) { return __atomic_load_n(claim, __ATOMIC_RELAXED); }

static inline int fh_claim_take(int64_t *claim, int64_t seen)
{
    return __atomic_compare_exchange_n(claim, &seen, FH_CLAIM_TAKEN, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void fh_claim_leave(int64_t *claim, int64_t next) { __atomic_store_n(claim, next, __ATOMIC_RELEASE); }
#endif
