/* What a WebSocket server sends (RFC 6455; client's side), out of runs of bytes that were cut anywhere, in fixed memory.
 *
 *            whole frame in the run, FIN, nothing under way
 *     run ───────────────────────────────────────────────────► a view into the run: nothing is copied
 *      │     anything else: fragments, a frame across runs, compressed
 *      └─────────────────────────────────────────────────────► memory: [lent … | the message under way …      ]
 *
 * fh_ws_begin() at the start of each walk over a run takes back what was lent; fh_ws_next() then gives one thing after the
 * other. Memory holds two messages of the largest size: one that was lent in this walk, and one under way. */
#ifndef FH_WEBSOCKET_H
#define FH_WEBSOCKET_H
#include <stdint.h>
#include <string.h>
#include "websocket_deflate.h"
#include "websocket_head.h"
#include "websocket_send.h"
#include "websocket_utf8.h"
#include "wire.h"

enum { FH_WS_CONTINUATION = 0, FH_WS_TEXT = 1, FH_WS_BINARY = 2, FH_WS_CLOSE = 8, FH_WS_PING = 9, FH_WS_PONG = 10 };

enum {                                  /* what fh_ws_next() gives */
    FH_WS_NOTHING = 0,                  /* the run is used up */
    FH_WS_MESSAGE,                      /* a whole text or binary message */
    FH_WS_PINGED,
    FH_WS_PONGED,
    FH_WS_CLOSED,                       /* the server's close; everything behind it is ignored */
    FH_WS_NO_ROOM,                      /* what was lent is in the way: begin again, with the same run */
    FH_WS_BROKEN                        /* a violation, `cause`; nothing more is understood */
};

enum {                                  /* why a connection is broken: `causes` of _websocket.pyx has the sentences */
    FH_WS_SOUND = 0,
    FH_WS_RESERVED_BITS, FH_WS_OPCODE, FH_WS_MASKED, FH_WS_LENGTH_FORM, FH_WS_LENGTH_RANGE, FH_WS_CONTROL_LENGTH,
    FH_WS_CONTROL_FRAGMENT, FH_WS_NO_START, FH_WS_INTERLEAVED, FH_WS_TOO_BIG, FH_WS_UTF8, FH_WS_CLOSE_LENGTH,
    FH_WS_CLOSE_CODE, FH_WS_CLOSE_UTF8, FH_WS_DEFLATE, FH_WS_DEFLATE_CUT, FH_WS_BOMB, FH_WS_HEAD, FH_WS_EXTENSION,
    FH_WS_CAUSES
};

enum { FH_WS_START = 0, FH_WS_IN_HEAD, FH_WS_HEADER, FH_WS_PAYLOAD, FH_WS_END, FH_WS_FAILED };      /* fh_ws.where */

enum { FH_WS_SLACK = 64 };              /* bytes of memory behind the largest message */
enum { FH_WS_INFLATE_FREE = 64 << 10 }; /* bytes that the smallest frame may inflate to */

struct fh_ws {
    uint8_t where;
    uint8_t opcode, fin, plain;         /* of the frame under way; plain: a data frame that is not compressed */
    uint8_t message;                    /* opcode of the message under way; 0: none */
    uint8_t compressed;                 /* that message is */
    uint8_t cause;
    uint8_t header_have;
    uint8_t control_have;
    uint32_t position;                  /* bytes of the present run already walked over */
    uint32_t largest;                   /* bytes of a message, inflated */
    uint32_t ratio;                     /* beyond FH_WS_INFLATE_FREE a message may be so many times its bytes on the wire */
    uint32_t limit;                     /* bytes that the frames of a compressed message, so far, may inflate to */
    uint32_t start, have;               /* the message under way is memory[start, start + have) */
    uint32_t close_code;                /* the server's; 1005: it gave none */
    uint64_t left;                      /* bytes of the frame's payload still to come */
    uint64_t wire;                      /* of the frames of a compressed message, so far */
    uint64_t size;                      /* of memory */
    uint8_t *memory;
    struct fh_ws_answers answers;
    struct fh_utf8 utf8;
    struct fh_inflate inflate;
    struct fh_ws_head head;
    uint64_t frames, fragments, pings, pongs, inflated, copied;
    uint8_t header[FH_WS_HEADER_MAX];
    uint8_t control[FH_WS_CONTROL_MAX];
};

static inline uint64_t fh_ws_memory_bytes(uint32_t largest)
{
    uint64_t two = 2 * ((uint64_t)largest + FH_WS_SLACK + 1);
    return two < FH_WS_HEAD_MAX ? FH_WS_HEAD_MAX : two;
}

static inline void fh_ws_reset(struct fh_ws *w)
{
    w->where = FH_WS_START;
    w->message = w->compressed = w->cause = w->header_have = w->control_have = 0;
    w->position = w->start = w->have = w->close_code = 0;
    w->left = 0;
    w->utf8 = (struct fh_utf8){0, 0x80, 0xBF};
    fh_ws_closing(&w->answers, 0);
    fh_inflate_off(&w->inflate);
    memset(&w->head, 0, sizeof w->head);
}

/* A walk over a run begins, or goes on after FH_WS_NO_ROOM or a stop: what was lent is taken back. */
static inline void fh_ws_begin(struct fh_ws *w)
{
    if (w->start > 0) {
        if (w->have > 0)
            memmove(w->memory, w->memory + w->start, w->have);
        w->start = 0;
    }
}

static inline uint32_t fh_ws_close_code_of(int cause)
{
    switch (cause) {
    case FH_WS_TOO_BIG: case FH_WS_BOMB: return 1009;
    case FH_WS_UTF8: case FH_WS_CLOSE_UTF8: case FH_WS_DEFLATE: case FH_WS_DEFLATE_CUT: return 1007;
    default: return 1002;
    }
}

static inline int fh_ws_broken(struct fh_ws *w, int cause)
{
    w->where = FH_WS_FAILED;
    w->cause = (uint8_t)cause;
    w->position = 0;
    if (cause != FH_WS_HEAD && cause != FH_WS_EXTENSION)
        fh_ws_close(&w->answers, fh_ws_close_code_of(cause));
    return FH_WS_BROKEN;
}

/* A close code that may stand on the wire (RFC 6455 7.4, and the registry it set up). */
static inline int fh_ws_close_code_valid(uint32_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static inline uint32_t fh_ws_limit(const struct fh_ws *w)
{
    uint64_t limit = w->wire > UINT32_MAX ? w->largest : w->wire * w->ratio;
    limit = limit > FH_WS_INFLATE_FREE ? limit : FH_WS_INFLATE_FREE;
    return limit < w->largest ? (uint32_t)limit : w->largest;
}

/* What do the first two bytes of a header say? 0, or the cause. */
static inline int fh_ws_first_two(const struct fh_ws *w, const uint8_t *h)
{
    uint8_t opcode = h[0] & 0x0F, rsv1 = h[0] & 0x40;
    if ((h[0] & 0x30) || (rsv1 && !w->inflate.on))
        return FH_WS_RESERVED_BITS;
    if ((opcode > FH_WS_BINARY && opcode < FH_WS_CLOSE) || opcode > FH_WS_PONG)
        return FH_WS_OPCODE;
    if (rsv1 && opcode != FH_WS_TEXT && opcode != FH_WS_BINARY)
        return FH_WS_RESERVED_BITS;
    if (h[1] & 0x80)
        return FH_WS_MASKED;
    if (opcode >= FH_WS_CLOSE) {
        if (!(h[0] & 0x80))
            return FH_WS_CONTROL_FRAGMENT;
        if (h[1] > FH_WS_CONTROL_MAX)
            return FH_WS_CONTROL_LENGTH;
    } else if (opcode == FH_WS_CONTINUATION) {
        if (!w->message)
            return FH_WS_NO_START;
    } else if (w->message) {
        return FH_WS_INTERLEAVED;
    }
    return 0;
}

/* A header is whole, its first two bytes are good. 0, or the cause. */
static inline int fh_ws_header(struct fh_ws *w, const uint8_t *h)
{
    uint8_t opcode = h[0] & 0x0F, short_length = h[1] & 0x7F, rsv1 = h[0] & 0x40;
    uint64_t length = short_length;
    if (short_length == 126) {
        length = fh_be16(h + 2);
        if (length < 126)
            return FH_WS_LENGTH_FORM;
    } else if (short_length == 127) {
        length = fh_be64(h + 2);
        if (length >> 63)
            return FH_WS_LENGTH_RANGE;
        if (length < 0x10000)
            return FH_WS_LENGTH_FORM;
    }
    if (opcode < FH_WS_CLOSE) {
        if (opcode != FH_WS_CONTINUATION)
            w->compressed = rsv1 != 0;
        if (length > (uint64_t)w->largest - (w->compressed ? 0 : w->have))
            return FH_WS_TOO_BIG;
        if (w->compressed) {
            w->wire = length + (opcode == FH_WS_CONTINUATION ? w->wire : 0);
            w->limit = fh_ws_limit(w);
        }
        if (opcode != FH_WS_CONTINUATION)
            w->message = opcode;
        w->fragments += opcode == FH_WS_CONTINUATION || !(h[0] & 0x80);
    }
    w->opcode = opcode;
    w->fin = h[0] >> 7;
    w->left = length;
    w->control_have = 0;
    return 0;
}

/* Bytes of the header whose first two are h. */
static inline uint32_t fh_ws_header_bytes(const uint8_t *h)
{
    uint8_t length = h[1] & 0x7F;
    return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0);
}

/* A control frame is whole. */
static inline int fh_ws_control(struct fh_ws *w, const uint8_t **payload, uint32_t *length)
{
    const uint8_t *p = w->control;
    uint32_t n = w->control_have, code = n >= 2 ? fh_be16(p) : 0;
    *payload = p;
    *length = n;
    w->frames++;
    w->where = FH_WS_HEADER;
    if (w->opcode == FH_WS_PING) {
        w->pings++;
        fh_ws_pong(&w->answers, p, n);
        return FH_WS_PINGED;
    }
    if (w->opcode == FH_WS_PONG) {
        w->pongs++;
        return FH_WS_PONGED;
    }
    if (n == 1)
        return fh_ws_broken(w, FH_WS_CLOSE_LENGTH);
    if (n >= 2 && !fh_ws_close_code_valid(code))
        return fh_ws_broken(w, FH_WS_CLOSE_CODE);
    if (n > 2 && !fh_utf8_whole(p + 2, n - 2))
        return fh_ws_broken(w, FH_WS_CLOSE_UTF8);
    w->where = FH_WS_END;
    w->position = 0;
    w->close_code = n ? code : 1005;
    fh_ws_close(&w->answers, code);
    return FH_WS_CLOSED;
}

/* Something was inflated behind what there is. The text's own faults come first, however the bytes were cut. */
static inline int fh_ws_grow(struct fh_ws *w, uint32_t grown, int said)
{
    uint32_t room = w->limit - w->have, good = grown < room ? grown : room;
    if (w->message == FH_WS_TEXT && !fh_utf8_more(&w->utf8, w->memory + w->start + w->have, good))
        return FH_WS_UTF8;
    w->have += good;
    if (grown > good)
        return w->limit < w->largest ? FH_WS_BOMB : FH_WS_TOO_BIG;
    return said ? FH_WS_DEFLATE : 0;
}

/* n more bytes of a data frame's payload. 0, or the cause. */
static inline int fh_ws_append(struct fh_ws *w, const uint8_t *p, uint32_t n)
{
    uint8_t *to = w->memory + w->start + w->have;
    uint32_t grown = 0;
    if (w->compressed) {
        int said = fh_inflate_more(&w->inflate, p, n, to, w->limit + 1 - w->have, &grown);
        return fh_ws_grow(w, grown, said);
    }
    memcpy(to, p, n);
    if (w->message == FH_WS_TEXT && !fh_utf8_more(&w->utf8, to, n))
        return FH_WS_UTF8;
    w->have += n;
    return 0;
}

/* The last frame of the message under way is whole. */
static inline int fh_ws_finish(struct fh_ws *w, const uint8_t **payload, uint32_t *length)
{
    if (w->compressed) {
        int said = fh_inflate_end(&w->inflate);
        if (said)
            return fh_ws_broken(w, said == FH_INFLATE_CUT ? FH_WS_DEFLATE_CUT : FH_WS_DEFLATE);
        w->inflated++;
    }
    if (w->utf8.need)
        return fh_ws_broken(w, FH_WS_UTF8);
    *payload = w->memory + w->start;
    *length = w->have;
    w->copied++;
    w->opcode = w->message;
    w->start += w->have;
    w->have = 0;
    w->message = w->compressed = 0;
    return FH_WS_MESSAGE;
}

static inline int fh_ws_next(struct fh_ws *w, const uint8_t *data, uint32_t len, const uint8_t **payload, uint32_t *length);

/* The next thing where a view does not do: header and payload byte for byte, into memory. */
static int fh_ws_slow(struct fh_ws *w, const uint8_t *data, uint32_t len, const uint8_t **payload, uint32_t *length)
{
    for (;;) {
        const uint8_t *p = data + w->position;
        uint32_t left = len - w->position, n;
        int cause;
        switch (w->where) {
        case FH_WS_START:               /* an H is no first byte of a frame: a response head stands before the frames */
            if (left == 0)
                goto used_up;
            w->where = *p == 'H' ? FH_WS_IN_HEAD : FH_WS_HEADER;
            if (w->where == FH_WS_HEADER)
                return fh_ws_next(w, data, len, payload, length);
            break;
        case FH_WS_IN_HEAD:
            n = fh_ws_head_more(&w->head, w->memory, p, left);
            w->position += n;
            if (w->head.state == FH_WS_HEAD_OPEN)
                goto used_up;
            if (w->head.state != FH_WS_HEAD_WHOLE)
                return fh_ws_broken(w, w->head.state == FH_WS_HEAD_REFUSED ? FH_WS_HEAD : FH_WS_EXTENSION);
            if (w->head.agreed.deflate && !fh_inflate_on(&w->inflate, w->head.agreed.server_alone))
                return fh_ws_broken(w, FH_WS_EXTENSION);
            w->where = FH_WS_HEADER;
            return fh_ws_next(w, data, len, payload, length);
        case FH_WS_HEADER:
            while (w->header_have < 2 || w->header_have < fh_ws_header_bytes(w->header)) {
                if (left == 0)
                    goto used_up;
                w->header[w->header_have++] = *p++;
                w->position++;
                left--;
                if (w->header_have == 2 && (cause = fh_ws_first_two(w, w->header)))
                    return fh_ws_broken(w, cause);
            }
            if ((cause = fh_ws_header(w, w->header)))
                return fh_ws_broken(w, cause);
            w->header_have = 0;
            w->where = FH_WS_PAYLOAD;
            break;
        case FH_WS_PAYLOAD:
            if (w->opcode < FH_WS_CLOSE && w->start + (uint64_t)w->largest + FH_WS_SLACK > w->size)
                return FH_WS_NO_ROOM;
            n = w->left < left ? (uint32_t)w->left : left;
            if (n > 0) {
                w->position += n;
                w->left -= n;
                if (w->opcode >= FH_WS_CLOSE) {
                    memcpy(w->control + w->control_have, p, n);
                    w->control_have += (uint8_t)n;
                } else if ((cause = fh_ws_append(w, p, n))) {
                    return fh_ws_broken(w, cause);
                }
            }
            if (w->left > 0)
                goto used_up;
            if (w->opcode >= FH_WS_CLOSE)
                return fh_ws_control(w, payload, length);
            w->frames++;
            w->where = FH_WS_HEADER;
            if (w->fin)
                return fh_ws_finish(w, payload, length);
            break;
        case FH_WS_END:
            w->position = 0;
            return FH_WS_NOTHING;
        default:
            w->position = 0;
            return FH_WS_BROKEN;
        }
    }
used_up:
    w->position = 0;
    return FH_WS_NOTHING;
}

/* The next thing of the run `data`; of a message also its opcode, in w->opcode. */
static inline int fh_ws_next(struct fh_ws *w, const uint8_t *data, uint32_t len, const uint8_t **payload, uint32_t *length)
{
    const uint8_t *p = data + w->position;
    uint32_t left = len - w->position, header = 2;
    uint64_t n;
    if (w->where == FH_WS_HEADER && w->header_have == 0 && w->message == 0 && left >= 10
            && (p[0] == (0x80 | FH_WS_TEXT) || p[0] == (0x80 | FH_WS_BINARY)) && p[1] <= 127) {
        n = p[1];
        if (n == 126) {
            n = fh_be16(p + 2);
            header = n < 126 ? UINT32_MAX : 4;          /* not the shortest form: the slow way says so */
        } else if (n == 127) {
            n = fh_be64(p + 2);
            header = n < 0x10000 ? UINT32_MAX : 10;
        }
        if (header <= left && n <= left - header && n <= w->largest
                && (p[0] != (0x80 | FH_WS_TEXT) || fh_utf8_whole(p + header, n))) {
            w->opcode = p[0] & 0x0F;
            w->position += header + (uint32_t)n;
            w->frames++;
            *payload = p + header;
            *length = (uint32_t)n;
            return FH_WS_MESSAGE;
        }
    }
    return fh_ws_slow(w, data, len, payload, length);
}
#endif
