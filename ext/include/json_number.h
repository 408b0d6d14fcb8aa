/* Decimals as JSON writes them (RFC 8259, section 6), exactly, to whole numbers of 10^exponent: no float, no cursor. */
#ifndef FH_JSON_NUMBER_H
#define FH_JSON_NUMBER_H
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include "hints.h"
#include "wire.h"

#define FH_LIKELY(x) __builtin_expect(!!(x), 1)

typedef struct {
    uint64_t digits;        /* all of them but the zeros at the end */
    int64_t exponent;       /* the value is digits * 10^exponent */
    uint32_t negative;
    uint32_t large;         /* more digits than 63 bits hold */
} fh_number;

static inline int fh_is_digit(uint8_t b) { return (uint8_t)(b - '0') < 10; }

/* The number that begins at `at`, by the grammar of RFC 8259, section 6: the first byte behind it, NULL = none. */
static inline const uint8_t *fh_number_read(const uint8_t *at, const uint8_t *end, fh_number *n)
{
    uint64_t digits = 0;
    int64_t zeros = 0, exponent = 0, fraction = 0, large = 0;
    int point = 0;
    n->negative = 0;
    if (at < end && *at == '-') {
        n->negative = 1;
        at++;
    }
    if (at == end || !fh_is_digit(*at))
        return NULL;
    if (*at == '0' && end - at > 1 && fh_is_digit(at[1]))
        return NULL;
    for (; at < end; at++) {
        if (fh_is_digit(*at)) {
            fraction += point;
            if (*at == '0') {
                zeros += 1;
                continue;
            }
            if (digits == 0)
                zeros = 0;
            for (; zeros >= 0 && !large; zeros--)       /* the zeros before it, and its own place */
                large = __builtin_mul_overflow(digits, 10, &digits);
            zeros = 0;
            large |= __builtin_add_overflow(digits, *at - '0', &digits);
        } else if (*at == '.' && !point) {
            point = 1;
            if (end - at < 2 || !fh_is_digit(at[1]))
                return NULL;
        } else {
            break;
        }
    }
    if (at < end && (*at | 32) == 'e') {
        int minus = 0;
        at++;
        if (at < end && (*at == '-' || *at == '+'))
            minus = *at++ == '-';
        if (at == end || !fh_is_digit(*at))
            return NULL;
        for (; at < end && fh_is_digit(*at); at++)
            if (exponent < INT32_MAX)
                exponent = exponent * 10 + (*at - '0');
        exponent = minus ? -exponent : exponent;
    }
    n->digits = digits;
    n->exponent = exponent + zeros - fraction;
    n->large = (uint32_t)large | (digits > INT64_MAX);
    return at;
}

/* The number in units of 10^exponent, exactly; 0 = it is no whole number of these, or too large. */
static inline int fh_number_units(const fh_number *n, int32_t exponent, int64_t *units)
{
    int64_t power = n->exponent - exponent;
    uint64_t made = n->digits;
    *units = 0;
    if (made == 0)
        return !n->large;
    if (n->large || power < 0 || power > 18)
        return 0;
    for (; power > 0; power--)
        if (__builtin_mul_overflow(made, 10, &made))
            return 0;
    if (made > INT64_MAX)
        return 0;
    *units = n->negative ? -(int64_t)made : (int64_t)made;
    return 1;
}

/* Most decimals are texts of at most 8 digits on either side of the point. These are read without a loop: where the quote
 * and the point stand from masks of 16 bytes at once, each side's digits together by three multiplications. */
typedef struct {
    uint64_t whole, fraction;   /* units in 1, and in 1e-8; whole 0 = fh_decimal_text() cannot do it */
    uint64_t most;              /* the greatest fraction, in 1e-8, that is whole units */
} fh_decimal_scale;

enum { FH_DECIMAL_WINDOW = 32 };

static inline fh_decimal_scale fh_decimal_scale_of(int32_t exponent)
{
    static const uint64_t power[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000};
    fh_decimal_scale scale = {0, 0, 0};
    if (exponent <= 0 && exponent >= -10) {
        scale.whole = power[-exponent];
        scale.fraction = exponent <= -8 ? power[-exponent - 8] : 0;
        scale.most = exponent <= -8 ? 99999999 : 0;
    }
    return scale;
}

static inline uint64_t fh_eight_digits(uint64_t text)       /* the first one lowest; a byte of 0 counts as '0' */
{
    text = (text & 0x0f0f0f0f0f0f0f0full) * 2561 >> 8;
    text = (text & 0x00ff00ff00ff00ffull) * 6553601 >> 16;
    return (text & 0x0000ffff0000ffffull) * 42949672960001ull >> 32;
}

#if defined(__SSE2__)
/* Two of these at once. */
static inline void fh_both_digits(uint64_t first, uint64_t second, uint64_t *low, uint64_t *high)
{
    __m128i x = _mm_unpacklo_epi64(_mm_cvtsi64_si128((long long)first), _mm_cvtsi64_si128((long long)second));
    x = _mm_and_si128(x, _mm_set1_epi8(15));
    x = _mm_add_epi16(_mm_mullo_epi16(_mm_and_si128(x, _mm_set1_epi16(255)), _mm_set1_epi16(10)), _mm_srli_epi16(x, 8));
    x = _mm_madd_epi16(x, _mm_set1_epi32(100 | 1 << 16));
    x = _mm_packs_epi32(x, x);
    x = _mm_madd_epi16(x, _mm_set1_epi32(10000 | 1 << 16));
    *low = (uint32_t)_mm_cvtsi128_si32(x);
    *high = (uint64_t)_mm_cvtsi128_si64(x) >> 32;
}

/* The decimal that begins at `p` and ends before a quote: its length, 0 = it must be read the long way. FH_DECIMAL_WINDOW
 * bytes from `p` on may be read. */
static inline uint32_t fh_decimal_text(const uint8_t *p, fh_decimal_scale scale, int64_t *units)
{
    const __m128i quote = _mm_set1_epi8('"'), point = _mm_set1_epi8('.'), zero = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);
    __m128i x = _mm_loadu_si128((const __m128i *)p);
    __m128i d = _mm_sub_epi8(x, zero);
    uint32_t quotes = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, quote));
    uint32_t points = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, point));
    uint32_t digits = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(d, nine), d));
    static const uint64_t leading[8] = {0, 10, 100, 1000, 10000, 100000, 1000000, 10000000};   /* less: a zero is first */
    uint32_t length, at, places, bad;
    uint64_t whole, fraction;
    if (FH_UNLIKELY(quotes == 0)) {
        x = _mm_loadu_si128((const __m128i *)(p + 16));
        d = _mm_sub_epi8(x, zero);
        quotes = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, quote)) << 16;
        points |= (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, point)) << 16;
        digits |= (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(d, nine), d)) << 16;
        if (quotes == 0)
            return 0;
    }
    length = (uint32_t)__builtin_ctz(quotes);
    quotes = (1u << length) - 1;                /* now ones for all bytes before it */
    points &= quotes;
    /* all are digits but one point at most, with digits on both sides; no zero stands before another digit */
    bad = ((digits | (points & -points)) & quotes) ^ quotes;
    if (points) {
        at = (uint32_t)__builtin_ctz(points);
        places = length - at - 1;
        bad |= (at - 1) >> 3 | (places - 1) >> 3;
        if (FH_UNLIKELY(bad))
            return 0;
        fh_both_digits(fh_le64(p) << (64 - 8 * at), fh_le64(p + at + 1) << (64 - 8 * places) >> (64 - 8 * places), &whole,
                       &fraction);
        if (FH_UNLIKELY((whole < leading[at - 1]) | (fraction > scale.most)))
            return 0;
        *units = (int64_t)(whole * scale.whole + fraction * scale.fraction);
        return length;
    }
    if (FH_UNLIKELY(bad | (length - 1) >> 3))
        return 0;
    whole = fh_eight_digits(fh_le64(p) << (64 - 8 * length));
    *units = (int64_t)(whole * scale.whole);
    return whole < leading[length - 1] ? 0 : length;
}
#endif

/* The same anywhere in a text. */
static inline uint32_t fh_decimal_before(const uint8_t *p, const uint8_t *end, fh_decimal_scale scale, int64_t *units)
{
#if defined(__SSE2__)
    uint8_t window[FH_DECIMAL_WINDOW];
    if (FH_UNLIKELY(scale.whole == 0))
        return 0;
    if (FH_UNLIKELY(end - p < FH_DECIMAL_WINDOW)) {
        memset(window, 0, sizeof window);
        memcpy(window, p, (size_t)(end - p));
        p = window;
    }
    return fh_decimal_text(p, scale, units);
#else
    return 0;
#endif
}
#endif
