/* What a WebSocket client sends (RFC 6455 5.2, 5.3): frames with a fresh random mask each.
 *
 * Masks must not be foreseeable (RFC 6455 10.3), and the polling thread makes no system call for them: they come from
 * ChaCha20 (RFC 8439 2.3) under a key of the kernel's random bytes. */
#ifndef FH_WEBSOCKET_SEND_H
#define FH_WEBSOCKET_SEND_H
#include <stdint.h>
#include <string.h>
#include "outbox.h"
#include "wire.h"

enum { FH_WS_CONTROL_MAX = 125, FH_WS_HEADER_MAX = 14 };        /* bytes: a control frame's payload; a masked frame's header */

struct fh_masks {
    uint32_t state[16];                 /* constants, key, block counter, nonce */
    uint32_t block[16];
    uint32_t used;                      /* words of `block` that were given out */
};

static inline void fh_masks_seed(struct fh_masks *m, const uint8_t *seed32)
{
    m->state[0] = 0x61707865, m->state[1] = 0x3320646e, m->state[2] = 0x79622d32, m->state[3] = 0x6b206574;
    memcpy(m->state + 4, seed32, 32);
    memset(m->state + 12, 0, 16);
    m->used = 16;
}

static inline void fh_masks_quarter(uint32_t *x, int a, int b, int c, int d)
{
#define FH_TURN(to, from, by, n) x[to] += x[from], x[by] ^= x[to], x[by] = x[by] << n | x[by] >> (32 - n)
    FH_TURN(a, b, d, 16); FH_TURN(c, d, b, 12); FH_TURN(a, b, d, 8); FH_TURN(c, d, b, 7);
#undef FH_TURN
}

static inline uint32_t fh_masks_next(struct fh_masks *m)
{
    if (m->used == 16) {
        uint32_t *x = m->block;
        memcpy(x, m->state, sizeof m->block);
        for (int round = 0; round < 10; round++) {
            for (int i = 0; i < 4; i++)
                fh_masks_quarter(x, i, i + 4, i + 8, i + 12);
            for (int i = 0; i < 4; i++)
                fh_masks_quarter(x, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
        for (int i = 0; i < 16; i++)
            x[i] += m->state[i];
        if (++m->state[12] == 0)
            m->state[13]++;
        m->used = 0;
    }
    return m->block[m->used++];
}

/* to[i] = from[i] xor the mask's byte i mod 4; `to` may be `from`. The compiler makes vectors of it. */
static inline void fh_ws_mask(uint8_t *to, const uint8_t *from, uint64_t n, uint32_t mask)
{
    uint64_t wide = (uint64_t)mask << 32 | mask, word, i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= wide;
        memcpy(to + i, &word, 8);
    }
    for (; i < n; i++)
        to[i] = from[i] ^ (uint8_t)(mask >> 8 * (i & 3));
}

/* Bytes of a frame of a client (or, without mask, of a server) with a payload of n bytes. */
static inline uint64_t fh_ws_frame_bytes(uint64_t n, int masked)
{
    return n + 2 + (n > 125 ? 2 : 0) + (n > 0xFFFF ? 6 : 0) + (masked ? 4 : 0);
}

/* Write one frame; `first` is its first byte: FIN, RSV1-3, opcode. Returns its bytes. */
static inline uint64_t fh_ws_frame(uint8_t *to, uint8_t first, const uint8_t *payload, uint64_t n, int masked, uint32_t mask)
{
    uint8_t *p = to, bit = masked ? 0x80 : 0;
    *p++ = first;
    if (n <= 125) {
        *p++ = (uint8_t)(bit | n);
    } else if (n <= 0xFFFF) {
        *p++ = bit | 126;
        fh_put_be16(p, (uint16_t)n);
        p += 2;
    } else {
        *p++ = bit | 127;
        fh_put_be64(p, n);
        p += 8;
    }
    if (masked) {
        memcpy(p, &mask, 4);
        p += 4;
        fh_ws_mask(p, payload, n, mask);
    } else if (n > 0) {
        memcpy(p, payload, n);
    }
    return (uint64_t)(p - to) + n;
}

/* What a client answers its server with. The outbox is the receiver's; NULL: nobody is to be answered. */
struct fh_ws_answers {
    struct fh_outbox *outbox;
    uint32_t closing;                   /* a close was put in, or sent by the control path: nothing may follow it */
    uint64_t pongs, closes;             /* frames put in */
    uint64_t dropped;                   /* pongs for which there was no room: the server does not read */
    struct fh_masks masks;
};

static inline int fh_ws_answer(struct fh_ws_answers *a, uint8_t first, const uint8_t *payload, uint32_t n)
{
    uint8_t frame[FH_WS_CONTROL_MAX + 6];
    return fh_outbox_put(a->outbox, frame, (uint32_t)fh_ws_frame(frame, first, payload, n, 1, fh_masks_next(&a->masks)));
}

/* A pong with the ping's payload, where that leaves room for a close. */
static inline void fh_ws_pong(struct fh_ws_answers *a, const uint8_t *payload, uint32_t n)
{
    if (!a->outbox || __atomic_load_n(&a->closing, __ATOMIC_ACQUIRE))
        return;
    if (a->outbox->capacity - fh_outbox_waiting(a->outbox) >= n + FH_WS_CONTROL_MAX + 12 && fh_ws_answer(a, 0x8A, payload, n))
        a->pongs++;
    else
        a->dropped++;
}

/* A close with a code (0: none), unless there was one. */
static inline void fh_ws_close(struct fh_ws_answers *a, uint32_t code)
{
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    if (!a->outbox || __atomic_exchange_n(&a->closing, 1, __ATOMIC_ACQ_REL))
        return;
    a->closes += (uint64_t)fh_ws_answer(a, 0x88, payload, code ? 2 : 0);
}

/* The control path sends a close of its own. */
static inline void fh_ws_closing(struct fh_ws_answers *a, uint32_t closing)
{
    __atomic_store_n(&a->closing, closing, __ATOMIC_RELEASE);
}
#endif
