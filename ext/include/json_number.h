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
#define FH_SELDOM __attribute__((noinline, unused))     /* out of the way of what is usual */

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

/* Most decimals are texts of at most 8 digits on either side of the point. These are read without a loop: where the digits
 * end from masks of 16 bytes at once, each side's digits together by three multiplications. */
typedef struct {
    uint64_t whole, fraction;   /* units in 1, and in 1e-8; whole 0 = fh_decimal_text() cannot do it */
    uint64_t most;              /* the greatest fraction, in 1e-8, that is whole units */
} fh_decimal_scale;

enum { FH_UINT_WINDOW = 17, FH_DECIMAL_WINDOW = 32, FH_LEVEL_WINDOW = 64 };     /* bytes that are read from `p` on */

static inline const fh_decimal_scale *fh_decimal_scale_of(int32_t exponent)
{
    static const fh_decimal_scale scales[12] = {        /* of 10^0, 10^-1, …; the last one of all others */
        {1, 0, 0}, {10, 0, 0}, {100, 0, 0}, {1000, 0, 0}, {10000, 0, 0}, {100000, 0, 0}, {1000000, 0, 0}, {10000000, 0, 0},
        {100000000, 1, 99999999}, {1000000000, 10, 99999999}, {10000000000, 100, 99999999}, {0, 0, 0}};
    uint32_t places = 0u - (uint32_t)exponent;
    return &scales[places < 11 ? places : 11];
}

#if defined(__SSE2__)
static inline __m128i fh_pair(uint64_t low, uint64_t high)
{
    return _mm_unpacklo_epi64(_mm_cvtsi64_si128((long long)low), _mm_cvtsi64_si128((long long)high));
}

/* Of each eight digits two numbers of four. The first digit is the lowest byte; a byte of 0 counts as '0'. */
static inline __m128i fh_four_digits(__m128i x)
{
    __m128i tens = _mm_set1_epi16(10 << 8 | 1);
    __asm__("" : "+x"(tens));                   /* else gcc makes shifts and sums of this product, three times as many */
    x = _mm_srli_epi16(_mm_mullo_epi16(_mm_and_si128(x, _mm_set1_epi8(15)), tens), 8);
    return _mm_madd_epi16(x, _mm_set1_epi32(100 | 1 << 16));
}

static inline __m128i fh_eight_digits(__m128i fours, __m128i more)
{
    return _mm_madd_epi16(_mm_packs_epi32(fours, more), _mm_set1_epi32(10000 | 1 << 16));
}

/* Of twice eight digits two numbers. */
static inline void fh_both_digits(uint64_t first, uint64_t second, uint64_t *low, uint64_t *high)
{
    __m128i x = fh_four_digits(fh_pair(first, second));
    x = fh_eight_digits(x, x);
    *low = (uint32_t)_mm_cvtsi128_si32(x);
    *high = (uint64_t)_mm_cvtsi128_si64(x) >> 32;
}

/* Which of 16 bytes are digits. */
static inline uint32_t fh_digits_of(const uint8_t *p)
{
    __m128i x = _mm_add_epi8(_mm_loadu_si128((const __m128i *)p), _mm_set1_epi8((char)(128 - '0')));
    return (uint32_t)_mm_movemask_epi8(_mm_cmplt_epi8(x, _mm_set1_epi8(10 - 128)));
}

/* At most 16 digits. */
static inline uint64_t fh_many_digits(const uint8_t *p, uint32_t count)
{
    uint64_t high, low;
    if (count <= 8) {
        fh_both_digits(fh_le64(p) << (64 - 8 * count), 0, &low, &high);
        return low;
    }
    fh_both_digits(fh_le64(p) << (128 - 8 * count), fh_le64(p + count - 8), &high, &low);
    return high * 100000000 + low;
}

/* The whole number of 1 to 16 digits that begins at `p`: how many, 0 = there is none, or it must be read the long way. */
static inline uint32_t fh_uint_text(const uint8_t *p, uint64_t *value)
{
    uint32_t length = (uint32_t)__builtin_ctz(~fh_digits_of(p));
    if (FH_UNLIKELY(length == 0 || (*p == '0' && length > 1) || fh_is_digit(p[length])))
        return 0;
    *value = fh_many_digits(p, length);
    return length;
}

typedef struct {
    uint64_t whole, fraction;   /* the digits: the whole's last one is the highest byte, the fraction's first one the lowest */
    uint64_t digits;            /* of the whole */
    uint64_t length;            /* of all */
} fh_sides;

/* The digits on either side of the point, at most 8 each; `others` marks from `p` on what is no digit. 0 = it must be
 * read the long way. */
static inline int fh_sides_of(const uint8_t *p, uint64_t others, fh_sides *s)
{
    uint64_t digits = (uint64_t)__builtin_ctzll(others), places;
    if (FH_UNLIKELY(digits - 1 >= 8))
        return 0;
    s->digits = s->length = digits;
    s->whole = fh_le64(p) << 8 * (8 - digits);
    s->fraction = 0;
    if (p[digits] == '.') {
        s->length = (uint64_t)__builtin_ctzll(others & (others - 1));
        places = s->length - digits - 1;
        if (FH_UNLIKELY(places - 1 >= 8))
            return 0;
        s->fraction = fh_le64(p + digits + 1) << 8 * (8 - places) >> 8 * (8 - places);
    }
    return 1;
}

/* The value, both sides read as numbers, the fraction in 1e-8; 0 = no zero may stand before another digit, or there is
 * more behind the point than whole units. */
static inline int fh_sides_value(const fh_sides *s, uint64_t whole, uint64_t fraction, const fh_decimal_scale *scale,
                                 int64_t *units)
{
    static const uint64_t least[9] = {0, 0, 10, 100, 1000, 10000, 100000, 1000000, 10000000};      /* of so many digits */
    *units = (int64_t)(whole * scale->whole + fraction * scale->fraction);
    return FH_LIKELY(whole >= least[s->digits]) && FH_LIKELY(fraction <= scale->most);
}

/* What has 9 to 16 digits before its point, as times have. */
static FH_SELDOM uint32_t fh_decimal_long(const uint8_t *p, uint64_t others, const fh_decimal_scale *scale,
                                                          int64_t *units)
{
    uint32_t digits = (uint32_t)__builtin_ctzll(others), end = digits;
    uint64_t word = 0, fraction, none, made;
    if (digits - 9 >= 8 || *p == '0')
        return 0;
    if (p[digits] == '.') {
        uint32_t spare;
        end = (uint32_t)__builtin_ctzll(others & (others - 1));
        spare = 64 - 8 * (end - digits - 1);
        if (spare >= 64)
            return 0;
        word = fh_le64(p + digits + 1) << spare >> spare;
    }
    fh_both_digits(word, 0, &fraction, &none);
    if (fraction > scale->most || __builtin_mul_overflow(fh_many_digits(p, digits), scale->whole, &made)
        || __builtin_add_overflow(made, fraction * scale->fraction, &made) || made > INT64_MAX || p[end] != '"')
        return 0;
    *units = (int64_t)made;
    return end;
}

/* The decimal that begins at `p` and ends before a quote: its length, 0 = it must be read the long way. */
static inline uint32_t fh_decimal_text(const uint8_t *p, const fh_decimal_scale *scale, int64_t *units)
{
    uint64_t others = ~((uint64_t)fh_digits_of(p) | (uint64_t)fh_digits_of(p + 16) << 16), whole, fraction;
    fh_sides s;
    if (FH_UNLIKELY(!fh_sides_of(p, others, &s)))
        return fh_decimal_long(p, others, scale, units);
    fh_both_digits(s.whole, s.fraction, &whole, &fraction);
    if (FH_UNLIKELY(p[s.length] != '"' || !fh_sides_value(&s, whole, fraction, scale, units)))
        return 0;
    return (uint32_t)s.length;
}

/* ["price","size"] of such decimals: its length, 0 = it must be read the long way. */
static inline uint32_t fh_level_text(const uint8_t *p, const fh_decimal_scale *prices, const fh_decimal_scale *sizes,
                                     int64_t *price, int64_t *size)
{
    uint64_t others = ~((uint64_t)fh_digits_of(p + 2) | (uint64_t)fh_digits_of(p + 18) << 16
                        | (uint64_t)fh_digits_of(p + 34) << 32);
    fh_sides paid, sold;
    __m128i fours, more;
    uint64_t wholes, fractions;
    if (FH_UNLIKELY(fh_le16(p) != ('[' | '"' << 8)))
        return 0;
    p += 2;
    if (FH_UNLIKELY(!fh_sides_of(p, others, &paid) || (fh_le32(p + paid.length) & 0xffffff) != ('"' | ',' << 8 | '"' << 16)))
        return 0;
    p += paid.length + 3;
    if (FH_UNLIKELY(!fh_sides_of(p, others >> (paid.length + 3), &sold) || fh_le16(p + sold.length) != ('"' | ']' << 8)))
        return 0;
    fours = fh_four_digits(fh_pair(paid.whole, sold.whole));
    more = fh_four_digits(fh_pair(paid.fraction, sold.fraction));
    fours = fh_eight_digits(fours, more);
    wholes = (uint64_t)_mm_cvtsi128_si64(fours);
    fractions = (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(fours, fours));
    if (!fh_sides_value(&paid, (uint32_t)wholes, (uint32_t)fractions, prices, price)
        || !fh_sides_value(&sold, wholes >> 32, fractions >> 32, sizes, size))
        return 0;
    return (uint32_t)(paid.length + sold.length) + 7;
}
#endif

/* What is left of a text, in front of zeros. */
static inline const uint8_t *fh_window(uint8_t *window, size_t room, const uint8_t *from, const uint8_t *end)
{
    size_t left = (size_t)(end - from);
    memset(window, 0, room);
    if (room > 32 && left >= 32) {
        memcpy(window, from, 32);
        memcpy(window + left - 32, end - 32, 32);
    } else if (left >= 16) {
        memcpy(window, from, 16);
        memcpy(window + left - 16, end - 16, 16);
    } else {
        memcpy(window, from, left);
    }
    return window;
}

/* fh_decimal_text() anywhere in a text. */
static inline uint32_t fh_decimal_before(const uint8_t *p, const uint8_t *end, const fh_decimal_scale *scale, int64_t *units)
{
#if defined(__SSE2__)
    uint8_t window[FH_DECIMAL_WINDOW];
    if (FH_UNLIKELY(end - p < FH_DECIMAL_WINDOW))
        p = fh_window(window, sizeof window, p, end);
    return FH_LIKELY(scale->whole) ? fh_decimal_text(p, scale, units) : 0;
#else
    return 0;
#endif
}
#endif
