/* UTF-8 as RFC 3629 has it, byte after byte, so that a text may be cut anywhere: what is valid so far, what not.
 *
 * Sixteen ASCII bytes at a time where a character may begin; elsewhere one byte at a time, each held against the range that
 * the bytes before it leave (no overlong form, no surrogate, nothing above U+10FFFF). */
#ifndef FH_WEBSOCKET_UTF8_H
#define FH_WEBSOCKET_UTF8_H
#include <stdint.h>
#include <string.h>

typedef uint64_t fh_utf8_wide __attribute__((vector_size(16)));

struct fh_utf8 {
    uint8_t need;                       /* bytes that the character under way still lacks */
    uint8_t low, high;                  /* the range of the next of them */
};

/* The number of leading bytes of p that are ASCII, counted in steps of 16 and, below that, of 8. */
static inline uint64_t fh_utf8_ascii(const uint8_t *p, uint64_t n)
{
    const uint64_t top = 0x8080808080808080ull;
    uint64_t i = 0, word;
    fh_utf8_wide a, b, c, d;
    for (; n - i >= 64; i += 64) {
        memcpy(&a, p + i, 16);
        memcpy(&b, p + i + 16, 16);
        memcpy(&c, p + i + 32, 16);
        memcpy(&d, p + i + 48, 16);
        a = (a | b) | (c | d);
        if ((a[0] | a[1]) & top)
            break;
    }
    for (; n - i >= 16; i += 16) {
        memcpy(&a, p + i, 16);
        if ((a[0] | a[1]) & top)
            break;
    }
    for (; n - i >= 8; i += 8) {
        memcpy(&word, p + i, 8);
        if (word & top)
            break;
    }
    return i;
}

/* Is what came so far, with these n bytes, the beginning of valid UTF-8? The state moves on. */
static inline int fh_utf8_more(struct fh_utf8 *s, const uint8_t *p, uint64_t n)
{
    struct fh_utf8 t = *s;
    uint64_t i = 0;
    while (i < n) {
        if (t.need == 0) {
            i += fh_utf8_ascii(p + i, n - i);
            if (i == n)
                break;
            uint8_t b = p[i++];
            if (b < 0x80)
                continue;
            if (b < 0xC2 || b > 0xF4)
                return 0;
            t.need = (uint8_t)(1 + (b >= 0xE0) + (b >= 0xF0));
            t.low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
            t.high = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
        } else {
            uint8_t b = p[i++];
            if (b < t.low || b > t.high)
                return 0;
            t.low = 0x80;
            t.high = 0xBF;
            t.need--;
        }
    }
    *s = t;
    return 1;
}

/* Are these n bytes whole, valid UTF-8? */
static inline int fh_utf8_whole(const uint8_t *p, uint64_t n)
{
    struct fh_utf8 s = {0, 0x80, 0xBF};
    return fh_utf8_more(&s, p, n) && s.need == 0;
}
#endif
