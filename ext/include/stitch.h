/* Length-prefixed blocks (u16 big-endian, then that many bytes) out of a stream that was cut anywhere.
 *
 * Walks over one run of bytes after the other without copying; only a block cut in two is put together, in memory of
 * its own. Two buffers by turns: a block put together in one is still being read when the tail of the same run goes
 * into the other. */
#ifndef FH_STITCH_H
#define FH_STITCH_H
#include <stdint.h>
#include <string.h>
#include "wire.h"

enum { FH_BLOCK_MAX = 2 + 0xFFFF };     /* bytes of the largest block, its length included */

struct fh_stitch {
    uint8_t *held;          /* holds the beginning of an unfinished block; FH_BLOCK_MAX bytes */
    uint8_t *other;
    uint32_t held_bytes;
    uint32_t position;      /* bytes of the present run already walked over */
};

/* The next whole block's bytes behind its length, or NULL when the run is used up; what is left of it is then kept. */
static inline const uint8_t *fh_stitch_peek(struct fh_stitch *s, const uint8_t *data, uint32_t len, uint32_t *length)
{
    uint32_t left = s->position < len ? len - s->position : 0;
    const uint8_t *p = data + (len - left);
    if (s->held_bytes == 0) {
        if (left >= 2 && left - 2 >= (*length = fh_be16(p)))
            return p + 2;
        if (left > 0)
            memcpy(s->held, p, left);
        s->held_bytes = left;
        s->position = 0;
        return NULL;
    }
    while (s->held_bytes < 2 && left > 0) {
        s->held[s->held_bytes++] = *p++;
        s->position++;
        left--;
    }
    if (s->held_bytes >= 2) {
        *length = fh_be16(s->held);
        uint32_t missing = 2 + *length - s->held_bytes;
        uint32_t n = missing < left ? missing : left;
        if (n > 0)
            memcpy(s->held + s->held_bytes, p, n);
        s->held_bytes += n;
        s->position += n;
        if (n == missing)
            return s->held + 2;
    }
    s->position = 0;
    return NULL;
}

/* Go on behind the block that peek() gave. */
static inline void fh_stitch_advance(struct fh_stitch *s, uint32_t length)
{
    if (s->held_bytes > 0) {
        uint8_t *full = s->held;
        s->held = s->other;
        s->other = full;
        s->held_bytes = 0;
    } else {
        s->position += 2 + length;
    }
}

static inline void fh_stitch_clear(struct fh_stitch *s)
{
    s->held_bytes = 0;
    s->position = 0;
}
#endif
