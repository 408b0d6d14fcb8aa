/* The simulated exchange's own books: orders in a pool, a first-in-first-out queue per price, best prices by bitmap.
 *
 * Prices are ticks of one cent on a grid per symbol. One bitmap serves both sides, since the exchange never lets a book
 * cross: every occupied tick up to `bid` holds bids, every one from `ask` on holds asks. Order 0 is nobody, so that
 * zeroed memory is an empty book. Nothing here allocates: the pool's size bounds the live orders. */
#ifndef FH_SIM_BOOK_H
#define FH_SIM_BOOK_H
#include <stdint.h>

#define FH_SIM_TICKS 2048

typedef struct {
    uint64_t reference;
    uint32_t shares;            /* 0 = the slot is free */
    uint32_t previous, next;    /* in the queue of its price; `next` also chains free slots */
    uint32_t place;             /* its index in the list of live orders of its kind */
    uint16_t symbol, tick;
    uint8_t buy, kind;          /* kind: 0 patient, 1 short-lived */
    uint16_t reserved;
} FhSimOrder;                   /* 32 bytes */

typedef struct { uint32_t head, tail; } FhSimLevel;

typedef struct {
    uint64_t occupied[FH_SIM_TICKS / 64];
    int32_t bid, ask;           /* best ticks; -1 and FH_SIM_TICKS where there is none */
    int32_t fair, low, high;    /* the value the price is drawn to, and where that may wander */
    int32_t spread;             /* usual spread, ticks */
    uint32_t base;              /* price of tick 0, cents */
    uint32_t trading;           /* the letter of its last trading action */
    char name[8];
} FhSimSymbol;

typedef struct {
    FhSimOrder *orders;
    FhSimLevel *levels;         /* symbols x FH_SIM_TICKS */
    FhSimSymbol *symbols;
    uint32_t *live[2];          /* live orders by kind, in no order */
    uint32_t count[2];
    uint32_t *recent;           /* ring of the slots that short-lived orders were put in, newest last */
    uint64_t recent_count;
    uint32_t recent_mask;
    uint32_t free;              /* first of the chain of free slots, 0 = none */
} FhSimBook;

static inline void fh_sim_book_init(FhSimBook *b, uint32_t capacity)
{
    for (uint32_t i = 1; i < capacity; i++)
        b->orders[i].next = i + 1 < capacity ? i + 1 : 0;
    b->free = 1;
}

static inline int32_t fh_sim_below(const FhSimSymbol *s, int32_t tick)     /* next occupied tick under, or -1 */
{
    if (tick <= 0) return -1;
    int32_t word = (tick - 1) >> 6;
    uint64_t bits = s->occupied[word] & (~0ull >> (63 - ((tick - 1) & 63)));
    while (bits == 0) {
        if (--word < 0) return -1;
        bits = s->occupied[word];
    }
    return (word << 6) + 63 - __builtin_clzll(bits);
}

static inline int32_t fh_sim_above(const FhSimSymbol *s, int32_t tick)     /* next occupied tick over, or FH_SIM_TICKS */
{
    if (tick + 1 >= FH_SIM_TICKS) return FH_SIM_TICKS;
    int32_t word = (tick + 1) >> 6;
    uint64_t bits = s->occupied[word] & (~0ull << ((tick + 1) & 63));
    while (bits == 0) {
        if (++word >= FH_SIM_TICKS / 64) return FH_SIM_TICKS;
        bits = s->occupied[word];
    }
    return (word << 6) + __builtin_ctzll(bits);
}

static inline FhSimLevel *fh_sim_level(const FhSimBook *b, uint32_t symbol, int32_t tick)
{
    return &b->levels[(size_t)symbol * FH_SIM_TICKS + (size_t)tick];
}

/* Puts an order at the end of its queue. The caller has made sure of a free slot and that the book stays uncrossed. */
static inline uint32_t fh_sim_add(FhSimBook *b, uint64_t reference, uint32_t symbol, int buy, int32_t tick,
                                  uint32_t shares, int kind)
{
    uint32_t i = b->free;
    FhSimOrder *o = &b->orders[i];
    FhSimLevel *l = fh_sim_level(b, symbol, tick);
    FhSimSymbol *s = &b->symbols[symbol];
    b->free = o->next;
    o->reference = reference; o->shares = shares; o->symbol = (uint16_t)symbol; o->tick = (uint16_t)tick;
    o->buy = (uint8_t)buy; o->kind = (uint8_t)kind; o->next = 0; o->previous = l->tail;
    if (l->tail) b->orders[l->tail].next = i; else l->head = i;
    l->tail = i;
    s->occupied[tick >> 6] |= 1ull << (tick & 63);
    if (buy ? tick > s->bid : tick < s->ask) *(buy ? &s->bid : &s->ask) = tick;
    o->place = b->count[kind];
    b->live[kind][b->count[kind]++] = i;
    if (kind) b->recent[b->recent_count++ & b->recent_mask] = i;
    return i;
}

static inline void fh_sim_remove(FhSimBook *b, uint32_t i)
{
    FhSimOrder *o = &b->orders[i];
    FhSimLevel *l = fh_sim_level(b, o->symbol, o->tick);
    FhSimSymbol *s = &b->symbols[o->symbol];
    if (o->previous) b->orders[o->previous].next = o->next; else l->head = o->next;
    if (o->next) b->orders[o->next].previous = o->previous; else l->tail = o->previous;
    if (l->head == 0) {
        s->occupied[o->tick >> 6] &= ~(1ull << (o->tick & 63));
        if (o->buy && s->bid == o->tick) s->bid = fh_sim_below(s, o->tick);
        if (!o->buy && s->ask == o->tick) s->ask = fh_sim_above(s, o->tick);
    }
    uint32_t last = b->live[o->kind][--b->count[o->kind]];
    b->live[o->kind][o->place] = last;
    b->orders[last].place = o->place;
    o->shares = 0;
    o->next = b->free;
    b->free = i;
}
#endif
