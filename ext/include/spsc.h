/* Records from one thread to one other, in order, in memory taken once. Neither side waits for the other.
 *
 *     producer                                consumer
 *     room:  enough bytes free behind head?   look:  head moved on?                (acquire)
 *            (tail, acquire, when in doubt)          the record at tail, in place
 *     fill the record, in place               read it for as long as wanted
 *     put:   head += its size   (release)     took:  tail += its size              (release)
 *
 * The release store of head pairs with the acquire load of look: who sees the record sees its bytes. The release store of
 * tail pairs with the acquire load of room: bytes are written again only after their reader was done with them. Each side
 * remembers the other's last known position and looks again only when that is not enough: an empty ring costs the
 * consumer one load, and a line that nobody writes stays in its cache.
 *
 * A record is one piece of memory: what does not fit before the end of the ring begins at its start, behind a filler. */
#ifndef FH_SPSC_H
#define FH_SPSC_H
#include <stdint.h>
#include "pages.h"

enum { FH_SPSC_ALIGN = 16 };            /* of a record; its header is as long */

struct fh_spsc_record {
    uint64_t size;                      /* bytes to the next record, this header included */
    uint32_t length;                    /* of what was put */
    uint32_t filler;
};

struct fh_spsc {
    uint8_t *bytes;
    uint64_t size;                      /* a power of two */
    uint8_t pad0[48];
    uint64_t head;                      /* bytes ever put; the producer's */
    uint64_t tail_seen;
    uint8_t pad1[48];
    uint64_t tail;                      /* bytes ever taken; the consumer's */
    uint64_t head_seen;
    uint8_t pad2[48];
};

/* Memory for a ring of `bytes` at least, a power of two of them; 0: there is none. The ring itself is zeroed before. */
static inline int fh_spsc_begin(struct fh_spsc *r, uint64_t bytes)
{
    uint64_t size = 1;
    while (size < bytes)
        size <<= 1;
    r->bytes = (uint8_t *)fh_pages(size);
    r->size = size;
    return r->bytes != 0;
}

static inline void fh_spsc_end(struct fh_spsc *r)
{
    if (r->bytes)
        munmap(r->bytes, r->size);
    r->bytes = 0;
}

static inline uint64_t fh_spsc_size(uint32_t length)
{
    return (sizeof(struct fh_spsc_record) + (uint64_t)length + FH_SPSC_ALIGN - 1) & ~(uint64_t)(FH_SPSC_ALIGN - 1);
}

/* Memory for a record of `length` bytes, to be filled and then put; NULL: no room now. */
static inline uint8_t *fh_spsc_room(struct fh_spsc *r, uint32_t length)
{
    uint64_t size = fh_spsc_size(length), to_end = r->size - (r->head & (r->size - 1));
    uint64_t wanted = size <= to_end ? size : to_end + size;
    if (r->size - (r->head - r->tail_seen) < wanted) {
        r->tail_seen = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
        if (r->size - (r->head - r->tail_seen) < wanted)
            return 0;
    }
    struct fh_spsc_record *record = (struct fh_spsc_record *)(r->bytes + (r->head & (r->size - 1)));
    if (size > to_end) {
        record->size = to_end;
        record->filler = 1;
        __atomic_store_n(&r->head, r->head + to_end, __ATOMIC_RELEASE);
        record = (struct fh_spsc_record *)r->bytes;
    }
    record->size = size;
    record->length = length;
    record->filler = 0;
    return (uint8_t *)(record + 1);
}

/* What room() gave is filled: the consumer may see it. */
static inline void fh_spsc_put(struct fh_spsc *r)
{
    struct fh_spsc_record *record = (struct fh_spsc_record *)(r->bytes + (r->head & (r->size - 1)));
    __atomic_store_n(&r->head, r->head + record->size, __ATOMIC_RELEASE);
}

/* Is there anything to look at: one relaxed load when there is not. */
static inline int fh_spsc_waiting(const struct fh_spsc *r)
{
    return __atomic_load_n(&r->head, __ATOMIC_RELAXED) != r->tail;
}

/* The oldest record's bytes and their number, until took(); NULL: there is none. */
static inline const uint8_t *fh_spsc_look(struct fh_spsc *r, uint32_t *length)
{
    for (;;) {
        if (r->head_seen == r->tail) {
            r->head_seen = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
            if (r->head_seen == r->tail)
                return 0;
        }
        const struct fh_spsc_record *record = (const struct fh_spsc_record *)(r->bytes + (r->tail & (r->size - 1)));
        if (!record->filler) {
            *length = record->length;
            return (const uint8_t *)(record + 1);
        }
        __atomic_store_n(&r->tail, r->tail + record->size, __ATOMIC_RELEASE);
    }
}

/* The record that look() gave is done with. */
static inline void fh_spsc_took(struct fh_spsc *r)
{
    const struct fh_spsc_record *record = (const struct fh_spsc_record *)(r->bytes + (r->tail & (r->size - 1)));
    __atomic_store_n(&r->tail, r->tail + record->size, __ATOMIC_RELEASE);
}

/* The producer's: bytes that are free just now. */
static inline uint64_t fh_spsc_free(const struct fh_spsc *r)
{
    return r->size - (r->head - __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE));
}

/* A consumer that keeps several records at once walks ahead of tail with a place of its own, from tail() on: peek() gives
 * the record at *at, which moves behind it (NULL: there is none yet), and took_to() is done with all before a place. */
static inline uint64_t fh_spsc_tail(const struct fh_spsc *r) { return r->tail; }

static inline const uint8_t *fh_spsc_peek(struct fh_spsc *r, uint64_t *at, uint32_t *length)
{
    for (;;) {
        if (r->head_seen == *at) {
            r->head_seen = __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);
            if (r->head_seen == *at)
                return 0;
        }
        const struct fh_spsc_record *record = (const struct fh_spsc_record *)(r->bytes + (*at & (r->size - 1)));
        *at += record->size;
        if (!record->filler) {
            *length = record->length;
            return (const uint8_t *)(record + 1);
        }
    }
}

static inline void fh_spsc_took_to(struct fh_spsc *r, uint64_t at)
{
    __atomic_store_n(&r->tail, at, __ATOMIC_RELEASE);
}
#endif
