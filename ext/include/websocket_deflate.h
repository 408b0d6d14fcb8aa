/* permessage-deflate, the server's direction (RFC 7692 7.2.2): zlib on memory that was taken once, and two bounds.
 *
 * A message's bytes are inflated as they come, in whatever pieces, straight to where the message is put together; there is no
 * copy of the compressed bytes. zlib asks for its state and window when the connection's parameters are known; it gets them
 * out of `arena`, and nothing else is ever asked for. */
#ifndef FH_WEBSOCKET_DEFLATE_H
#define FH_WEBSOCKET_DEFLATE_H
#include <stdint.h>
#include <string.h>
#include <zlib.h>

enum { FH_INFLATE_ARENA = 64 << 10 };   /* bytes: zlib 1.2.13 takes 7 KiB of state and the window of 32 KiB */
enum { FH_INFLATE_WINDOW = 32 << 10 };
enum { FH_INFLATE_BAD = 1, FH_INFLATE_CUT };

struct fh_inflate {
    z_stream z;
    uint8_t *arena;
    uint32_t arena_used;
    uint32_t on;                        /* agreed on for this connection */
    uint32_t alone;                     /* server_no_context_takeover: each message stands by itself */
    uint32_t ended;                     /* a last block has ended, and nothing has come since */
};

static inline void *fh_inflate_take(void *opaque, unsigned items, unsigned size)
{
    struct fh_inflate *f = (struct fh_inflate *)opaque;
    uint64_t bytes = ((uint64_t)items * size + 63) & ~63ull;
    if (bytes > FH_INFLATE_ARENA - f->arena_used)
        return 0;
    void *p = f->arena + f->arena_used;
    f->arena_used += (uint32_t)bytes;
    return p;
}

static inline void fh_inflate_give(void *opaque, void *address)
{
    (void)opaque, (void)address;
}

static inline void fh_inflate_off(struct fh_inflate *f)
{
    f->on = f->alone = f->ended = 0;
    f->arena_used = 0;                  /* the last connection's state was there */
}

/* From here on messages may be compressed. 0: zlib wants more memory than there is.
 * The window is always the largest one. A smaller one that was agreed on binds the server; to check it is not asked (7.1.2.1),
 * and zlib would only notice it where the bytes happen to be cut. */
static inline int fh_inflate_on(struct fh_inflate *f, int alone)
{
    fh_inflate_off(f);
    memset(&f->z, 0, sizeof f->z);
    f->z.zalloc = fh_inflate_take;
    f->z.zfree = fh_inflate_give;
    f->z.opaque = f;
    if (inflateInit2(&f->z, -15) != Z_OK)
        return 0;
    f->on = 1;
    f->alone = alone != 0;
    return 1;
}

/* Inflate n bytes to `to`, which has `room`; *grown is what came, whatever is returned: 0, or FH_INFLATE_BAD. When the room is
 * full, input may be left over. */
static inline int fh_inflate_more(struct fh_inflate *f, const uint8_t *p, uint32_t n, uint8_t *to, uint32_t room, uint32_t *grown)
{
    int said = Z_OK;
    f->z.next_in = (Bytef *)(uintptr_t)p;
    f->z.avail_in = n;
    f->z.next_out = to;
    f->z.avail_out = room;
    while (f->z.avail_in > 0 && f->z.avail_out > 0 && (said == Z_OK || said == Z_STREAM_END)) {
        f->ended = 0;
        said = inflate(&f->z, Z_SYNC_FLUSH);
        if (said == Z_STREAM_END) {     /* a block with BFINAL: the next one begins, the window stays (7.2.3.5) */
            inflateResetKeep(&f->z);
            f->ended = 1;
        }
    }
    *grown = room - f->z.avail_out;
    return said == Z_OK || said == Z_STREAM_END ? 0 : FH_INFLATE_BAD;
}

/* The message's last byte has come: here are the four that its sender cut off, of an empty block whose header stands before
 * them. 0, or FH_INFLATE_BAD, FH_INFLATE_CUT: they end no block, so bytes are missing. */
static inline int fh_inflate_end(struct fh_inflate *f)
{
    static const uint8_t tail[4] = {0, 0, 0xFF, 0xFF};
    uint8_t nothing[16];
    uint32_t grown = 0;
    int said = 0;
    if (!f->ended) {                    /* a message may end with a last block, too: then nothing was cut off */
        said = fh_inflate_more(f, tail, 4, nothing, sizeof nothing, &grown);
        if (!said && (grown > 0 || (!f->ended && (f->z.data_type & 0xFF) != 128)))
            said = FH_INFLATE_CUT;
    }
    if (f->alone)
        inflateReset(&f->z);
    f->ended = 0;
    return said;
}

/* Between two messages nothing is left of a stream but its window: for snapshots. Copies it to `to` (FH_INFLATE_WINDOW bytes);
 * its length. */
static inline uint32_t fh_inflate_window(struct fh_inflate *f, uint8_t *to)
{
    uInt length = 0;
    inflateGetDictionary(&f->z, to, &length);
    return length;
}

/* fh_inflate_on() where a stream stood between two messages, with this window. 0: it cannot be. */
static inline int fh_inflate_resume(struct fh_inflate *f, int alone, const uint8_t *window, uint32_t length)
{
    return length <= FH_INFLATE_WINDOW && fh_inflate_on(f, alone)
        && (length == 0 || inflateSetDictionary(&f->z, window, length) == Z_OK);
}
#endif
