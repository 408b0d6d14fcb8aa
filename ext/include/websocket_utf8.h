/* UTF-8 as RFC 3629 has it, byte after byte, so that a text may be cut anywhere: what is valid so far, what not.
 *
 * Sixteen ASCII bytes at a time, or a whole character of several; else one byte at a time, each held against the range that the
 * bytes before it leave (no overlong form, no surrogate, nothing above U+10FFFF). */
#ifndef FH_WEBSOCKET_UTF8_H
#define FH_WEBSOCKET_UTF8_H
#include <stdint.h>
#include <string.h>

typedef uint64_t fh_utf8_wide __attribute__((vector_size(16)));

struct fh_utf8 {
    uint8_t need;                       /* bytes that the character under way still lacks */
    uint8_t low, high;                  /* the range of the next of them */
};

#define FH_UTF8_TOP 0x8080808080808080ull

static inline uint64_t fh_utf8_load(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }

/* The highest bits of 64 bytes and of 16, as two words. */
static inline fh_utf8_wide fh_utf8_tops(const uint8_t *p, int four)
{
    fh_utf8_wide a, b, c, d;
    memcpy(&a, p, 16);
    if (!four)
        return a;
    memcpy(&b, p + 16, 16);
    memcpy(&c, p + 32, 16);
    memcpy(&d, p + 48, 16);
    return (a | b) | (c | d);
}

#if defined(__x86_64__) && defined(__GNUC__)
typedef uint64_t fh_utf8_wider __attribute__((vector_size(32)));

/* Are all n bytes ASCII, at least 32? */
__attribute__((target("avx2"))) static int fh_utf8_ascii_avx2(const uint8_t *p, uint64_t n)
{
    const uint8_t *end = p + n;
    fh_utf8_wider all, a, b, c, d;
    for (memcpy(&all, end - 32, 32); end - p >= 128; p += 128) {
        memcpy(&a, p, 32);
        memcpy(&b, p + 32, 32);
        memcpy(&c, p + 64, 32);
        memcpy(&d, p + 96, 32);
        all |= (a | b) | (c | d);
    }
    for (; end - p >= 32; p += 32) {
        memcpy(&a, p, 32);
        all |= a;
    }
    return ((all[0] | all[1] | all[2] | all[3]) & FH_UTF8_TOP) == 0;
}
#define FH_UTF8_AVX2 __builtin_cpu_supports("avx2")
#else
#define FH_UTF8_AVX2 0
#define fh_utf8_ascii_avx2(p, n) 0
#endif

enum { FH_UTF8_LONG = 256 };            /* bytes: half the time by wider vectors is more than the call to them costs */

/* Are all n bytes ASCII? The last ones of a length that is no multiple are looked at twice rather than one by one. */
static inline int fh_utf8_ascii(const uint8_t *p, uint64_t n)
{
    const uint8_t *end = p + n;
    fh_utf8_wide all = {0, 0};
    if (n >= FH_UTF8_LONG && FH_UTF8_AVX2)
        return fh_utf8_ascii_avx2(p, n);
    if (n >= 16) {
        for (; end - p >= 64; p += 64)
            all |= fh_utf8_tops(p, 1);
        for (; end - p >= 16; p += 16)
            all |= fh_utf8_tops(p, 0);
        all |= fh_utf8_tops(end - 16, 0);
        return ((all[0] | all[1]) & FH_UTF8_TOP) == 0;
    }
    if (n >= 8)
        return ((fh_utf8_load(p) | fh_utf8_load(end - 8)) & FH_UTF8_TOP) == 0;
    uint8_t some = 0;
    while (p < end)
        some |= *p++;
    return some < 0x80;
}

/* Bytes of the character at p if it is one of several bytes and right; 0: it is ASCII, or the slow way must look. Reads 4. */
static inline uint32_t fh_utf8_character(const uint8_t *p)
{
    uint32_t w;
    memcpy(&w, p, 4);
    if ((w & 0xC0E0) == 0x80C0)
        return (w & 0x1E) ? 2 : 0;                                          /* not overlong */
    if ((w & 0xC0C0F0) == 0x8080E0)
        return (w & 0x200F) != 0 && (w & 0x200F) != 0x200D ? 3 : 0;         /* not overlong, no surrogate */
    if ((w & 0xC0C0C0F8) == 0x808080F0)
        return (w & 0x3007) != 0 && ((w & 7) < 4 || (w & 0x3007) == 4) ? 4 : 0;     /* U+10000 to U+10FFFF */
    return 0;
}

/* The number of leading bytes that are whole, right characters, as far as is quickly seen. */
static inline uint64_t fh_utf8_quick(const uint8_t *p, uint64_t n)
{
    uint64_t i = 0;
    uint32_t wide;
    fh_utf8_wide tops;
    while (n - i >= 16) {
        tops = fh_utf8_tops(p + i, 0);
        if (((tops[0] | tops[1]) & FH_UTF8_TOP) == 0) {
            i += 16;
        } else {
            for (uint64_t stop = i + 13; i < stop; i += wide) {
                wide = p[i] < 0x80 ? 1 : fh_utf8_character(p + i);
                if (wide == 0)
                    return i;
            }
        }
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
            i += fh_utf8_quick(p + i, n - i);
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
    return fh_utf8_ascii(p, n) || (fh_utf8_more(&s, p, n) && s.need == 0);
}
#endif
