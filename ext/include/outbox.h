/* Whole frames that a framing answers with: parse() puts, the receiver's poll() drains; both on the polling thread. */
#ifndef FH_OUTBOX_H
#define FH_OUTBOX_H
#include <stdint.h>
#include <string.h>

struct fh_outbox {
    uint8_t *bytes;
    uint32_t capacity;
    uint32_t begin;                     /* bytes[begin:end] are still to be sent */
    uint32_t end;
    uint32_t refused;                   /* puts that found no room */
};

static inline uint32_t fh_outbox_waiting(const struct fh_outbox *box) { return box->end - box->begin; }

static inline void fh_outbox_clear(struct fh_outbox *box) { box->begin = box->end = 0; }

/* Append one whole frame; 0, and counted, where it does not fit: then none of it is sent. */
static inline int fh_outbox_put(struct fh_outbox *box, const uint8_t *data, uint32_t length)
{
    if (length > box->capacity - box->end) {
        if (length > box->capacity - fh_outbox_waiting(box)) {
            box->refused++;
            return 0;
        }
        memmove(box->bytes, box->bytes + box->begin, fh_outbox_waiting(box));
        box->end -= box->begin;
        box->begin = 0;
    }
    memcpy(box->bytes + box->end, data, length);
    box->end += length;
    return 1;
}

/* The receiver's: so many bytes are with the kernel. */
static inline void fh_outbox_sent(struct fh_outbox *box, uint32_t length)
{
    box->begin += length;
    if (box->begin == box->end)
        fh_outbox_clear(box);
}
#endif
