/* JSON texts (RFC 8259) read in place: no tree, no object, no float, no allocation.
 *
 * A cursor stands before a value. Each function here reads what it is named for and moves the cursor behind it, or
 * fails: then the cursor is `bad` for good and stands at the end, so that every further call fails too and every loop
 * over keys or items ends. So a reader may ask once, at its end: fh_json_done(). Never a byte is read at or behind
 * `end`. Texts are views into the message as it came, without their quotes, escapes not yet undone.
 *
 * Accepted is exactly what RFC 8259 allows, but: nesting to 64 levels; UTF-8 is not looked at (the WebSocket framing
 * has done that). Decimals are exact: a value that is no whole number of units, or too large, is FH_JSON_RANGE. */
#ifndef FH_JSON_SCAN_H
#define FH_JSON_SCAN_H
#include <stdint.h>
#include <string.h>
#include "json_number.h"

enum { FH_JSON_MALFORMED = 1, FH_JSON_RANGE = 2, FH_JSON_ROOM = 3 };   /* fh_json.bad: no JSON, or not what was asked
                                                           for; a number that does not fit; more levels than room */
enum { FH_JSON_DEPTH = 64 };

typedef struct {
    const uint8_t *at, *end;
    uint32_t first;         /* just inside a '{' or '[': no comma yet */
    uint32_t bad;
} fh_json;

typedef struct {
    const uint8_t *data;
    uint32_t len;
    uint32_t escaped;       /* there is a backslash in it */
} fh_text;

static inline void fh_json_open(fh_json *c, const uint8_t *data, uint32_t len)
{
    c->at = data;
    c->end = len ? data + len : data;
    c->first = c->bad = 0;
}

static inline int fh_json_fail_as(fh_json *c, uint32_t why)
{
    if (!c->bad)
        c->bad = why;
    c->at = c->end;
    c->first = 0;
    return 0;
}

static inline int fh_json_fail(fh_json *c) { return fh_json_fail_as(c, FH_JSON_MALFORMED); }

/* The first byte that is no white space; the cursor stands on it. 0 at the end. */
static inline int fh_json_peek(fh_json *c)
{
    while (c->at < c->end) {
        uint8_t b = *c->at;
        if (FH_LIKELY(b > ' '))
            return b;
        if (b != ' ' && b != '\n' && b != '\r' && b != '\t')
            return 0;
        c->at++;
    }
    return 0;
}

/* Whether all went well and nothing follows but white space. */
static inline int fh_json_done(fh_json *c) { return !c->bad && !fh_json_peek(c) && c->at == c->end; }

static inline int fh_json_take(fh_json *c, int what)
{
    if (fh_json_peek(c) != what)
        return fh_json_fail(c);
    c->at++;
    return 1;
}

/* Whether just these bytes stand there, as a venue is known to write them; the cursor then stands behind them. They are
 * what lies between values, and commas with it: until the next fh_json_key() or fh_json_item() the caller knows where it is. */
static inline __attribute__((always_inline)) int fh_json_sent(fh_json *c, const char *what, uint32_t len)
{
    const uint8_t *at = c->at, *is = (const uint8_t *)what;
    uint64_t odd = 0;
    uint32_t i = 0;
    if (FH_UNLIKELY(c->end - at < len))
        return 0;
    for (; i + 8 <= len; i += 8)
        odd |= fh_le64(at + i) ^ fh_le64(is + i);
    if (i < len && len >= 8)                                /* `len` is known at compile time */
        odd |= fh_le64(at + len - 8) ^ fh_le64(is + len - 8);
    else if (len >= 4)
        odd |= (fh_le32(at) ^ fh_le32(is)) | (fh_le32(at + len - 4) ^ fh_le32(is + len - 4));
    else if (len >= 2)
        odd |= (fh_le16(at) ^ fh_le16(is)) | (at[len - 1] ^ is[len - 1]);
    else if (len)
        odd = at[0] ^ is[0];
    if (FH_UNLIKELY(odd))
        return 0;
    c->at = at + len;
    return 1;
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static inline int fh_hex(uint8_t b)
{
    return b >= '0' && b <= '9' ? b - '0' : (b | 32) >= 'a' && (b | 32) <= 'f' ? (b | 32) - 'a' + 10 : -1;
}

/* What a backslash begins: its length, 0 = no escape. */
static inline uint32_t fh_json_escape(const uint8_t *at, const uint8_t *end)
{
    if (end - at < 2)
        return 0;
    switch (at[1]) {
    case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
        return 2;
    case 'u':
        if (end - at < 6)
            return 0;
        for (int i = 2; i < 6; i++)
            if (fh_hex(at[i]) < 0)
                return 0;
        return 6;
    }
    return 0;
}

#if defined(__SSE2__)
/* Which of 16 bytes end a text, escape something, or must not stand in one. */
static inline uint32_t fh_text_stops(const uint8_t *at)
{
    __m128i x = _mm_loadu_si128((const __m128i *)at);
    __m128i odd = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')), _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
    return (uint32_t)_mm_movemask_epi8(_mm_or_si128(odd, _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(31)), x)));
}
#endif

/* A text; `text` may be NULL. */
static inline int fh_json_text(fh_json *c, fh_text *text)
{
    const uint8_t *at, *from, *end = c->end;
    uint32_t escaped = 0, step;
    if (!fh_json_take(c, '"'))
        return 0;
    at = from = c->at;
    for (;;) {
#if defined(__SSE2__)
        while (end - at >= 16) {
            uint32_t stop = fh_text_stops(at);
            if (stop) {
                at += __builtin_ctz(stop);
                break;
            }
            at += 16;
        }
        if (end - at < 16 && at - from >= 16) {     /* the last 16 bytes once more, for those of them that are new */
            uint32_t stop = fh_text_stops(end - 16) >> (16 - (end - at));
            at = stop ? at + __builtin_ctz(stop) : end;
        }
#endif
        while (at < end && *at != '"' && *at != '\\' && *at >= ' ')
            at++;
        if (at == end || *at < ' ')
            return fh_json_fail(c);
        if (*at == '"')
            break;
        step = fh_json_escape(at, end);
        if (!step)
            return fh_json_fail(c);
        escaped = 1;
        at += step;
    }
    c->at = at + 1;
    if (text) {
        text->data = from;
        text->len = (uint32_t)(at - from);
        text->escaped = escaped;
    }
    return 1;
}

/* The last quote or backslash before `at`, no more than 64 bytes away; NULL = there is none. */
static inline const uint8_t *fh_json_quote_before(const uint8_t *begin, const uint8_t *at)
{
    const uint8_t *stop = at - begin > 64 ? at - 64 : begin;
#if defined(__SSE2__)
    for (; at - stop >= 16; at -= 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(at - 16));
        uint32_t found = (uint32_t)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')),
                                                                  _mm_cmpeq_epi8(x, _mm_set1_epi8('\\'))));
        if (found)
            return at + 15 - __builtin_clz(found);
    }
#endif
    while (at > stop)
        if (*--at == '"' || *at == '\\')
            return at;
    return NULL;
}

static inline uint32_t fh_json_code(const uint8_t *at)      /* of a \uXXXX that fh_json_text() has let pass */
{
    return (uint32_t)(fh_hex(at[2]) << 12 | fh_hex(at[3]) << 8 | fh_hex(at[4]) << 4 | fh_hex(at[5]));
}

/* The text without its escapes, as UTF-8, at most `room` bytes of it: its whole length, which may be more than `room`.
 * Half of a surrogate pair stands as its three bytes. */
static inline uint32_t fh_text_copy(const fh_text *text, uint8_t *out, uint32_t room)
{
    const uint8_t *at = text->data, *end = at + text->len;
    uint32_t n = 0;
    if (!text->escaped) {
        if (text->len)
            memcpy(out, at, text->len < room ? text->len : room);
        return text->len;
    }
    while (at < end) {
        uint8_t made[4];
        uint32_t count = 1, code;
        made[0] = *at;
        if (*at != '\\') {
            at++;
        } else if (at[1] != 'u') {
            static const char names[] = "bfnrt", means[] = "\b\f\n\r\t";
            const char *named = strchr(names, at[1]);
            made[0] = named ? (uint8_t)means[named - names] : at[1];
            at += 2;
        } else {
            code = fh_json_code(at);
            at += 6;
            if (code >= 0xd800 && code < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
                uint32_t low = fh_json_code(at);
                if (low >= 0xdc00 && low < 0xe000) {
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    at += 6;
                }
            }
            if (code < 0x80) {
                made[0] = (uint8_t)code;
            } else {
                count = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
                for (uint32_t i = count - 1; i > 0; i--, code >>= 6)
                    made[i] = (uint8_t)(0x80 | (code & 0x3f));
                made[0] = (uint8_t)(0xf00 >> count | code);
            }
        }
        for (uint32_t i = 0; i < count; i++, n++)
            if (n < room)
                out[n] = made[i];
    }
    return n;
}

/* Whether the text, its escapes undone, is this one. */
static inline int fh_text_is(const fh_text *text, const char *what, uint32_t len)
{
    uint8_t undone[64];
    if (FH_LIKELY(!text->escaped))
        return text->len == len && memcmp(text->data, what, len) == 0;
    return len <= sizeof undone && fh_text_copy(text, undone, sizeof undone) == len && memcmp(undone, what, len) == 0;
}

/* Texts of at most 8 bytes as one word, its first byte the lowest, for a switch; of others 0. */
static inline uint64_t fh_text_word(const fh_text *text)
{
    uint8_t undone[8] = {0};
    uint32_t len = text->len;
    const uint8_t *d = text->data;
    uint64_t low, high;
    if (FH_UNLIKELY(text->escaped)) {
        len = fh_text_copy(text, undone, 8);
        return len > 8 ? 0 : fh_le64(undone);
    }
    if (len == 1)
        return d[0];
    if (len > 8 || len == 0)
        return 0;
    if (len >= 4) {
        low = fh_le32(d);
        high = fh_le32(d + len - 4);
        return low | high << 8 * (len - 4);
    }
    low = fh_le16(d);
    high = d[len - 1];
    return low | high << 8 * (len - 1);
}

/* Longer texts, of at most 32 bytes, as one word that another one may have, too: its highest bit is set. Of others 0. */
static inline uint64_t fh_text_hash(const fh_text *text)
{
    const uint8_t *d = text->data, *end = d + text->len;
    uint64_t word;
    if (text->escaped || text->len <= 8 || text->len > 32)
        return 0;
    word = fh_le64(d) * 0x9e3779b97f4a7c15ull ^ (fh_le64(end - 8) + text->len);
    if (text->len > 16)
        word = (word ^ word >> 29 ^ fh_le64(d + 8)) * 0x9e3779b97f4a7c15ull ^ fh_le64(end - 16);
    return word | 1ull << 63;
}

/* ---- objects and arrays ------------------------------------------------------------------------------------------ */

static inline int fh_json_object(fh_json *c) { return fh_json_take(c, '{') ? (int)(c->first = 1) : 0; }
static inline int fh_json_array(fh_json *c) { return fh_json_take(c, '[') ? (int)(c->first = 1) : 0; }

/* The next member of the object the cursor is in: its key, the cursor before its value. 0 behind the last, or bad.
 * The value must be read, or skipped, before the next call. */
static inline int fh_json_key(fh_json *c, fh_text *key)
{
    int b = fh_json_peek(c);
    if (b == '}') {
        c->at++;
        c->first = 0;
        return 0;
    }
    if (!c->first) {
        if (b != ',')
            return fh_json_fail(c);
        c->at++;
    }
    c->first = 0;
    return fh_json_text(c, key) && fh_json_take(c, ':');
}

/* Whether the array the cursor is in has another item; the cursor stands before it. 0 behind the last, or bad. */
static inline int fh_json_item(fh_json *c)
{
    int b = fh_json_peek(c);
    if (b == ']') {
        c->at++;
        c->first = 0;
        return 0;
    }
    if (!c->first) {
        if (b != ',')
            return fh_json_fail(c);
        c->at++;
        if (fh_json_peek(c) == ']')
            return fh_json_fail(c);
    }
    c->first = 0;
    return b ? 1 : fh_json_fail(c);
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* A decimal in a text with escapes: where its closing quote is, NULL = it is none. */
static inline const uint8_t *fh_json_decimal_escaped(fh_json *c, fh_number *n)
{
    uint8_t undone[64];
    fh_json there = *c;
    fh_text text;
    uint32_t len;
    if (!fh_json_text(&there, &text) || !text.escaped)
        return NULL;
    len = fh_text_copy(&text, undone, sizeof undone);
    if (len > sizeof undone || fh_number_read(undone, undone + len, n) != undone + len)
        return NULL;
    return there.at - 1;
}

/* A decimal, written as a number or as a text that holds one, in units of 10^exponent. */
static FH_SELDOM int fh_json_decimal_slow(fh_json *c, int32_t exponent, int64_t *units)
{
    fh_number n;
    int quoted = fh_json_peek(c) == '"';
    const uint8_t *at = fh_number_read(c->at + quoted, c->end, &n);
    if (quoted && (!at || at == c->end || *at != '"'))
        at = fh_json_decimal_escaped(c, &n);
    if (!at)
        return fh_json_fail(c);
    if (!fh_number_units(&n, exponent, units))
        return fh_json_fail_as(c, FH_JSON_RANGE);
    c->at = at + quoted;
    return 1;
}

static inline int fh_json_decimal(fh_json *c, int32_t exponent, int64_t *units)
{
    if (fh_json_peek(c) == '"') {
        uint32_t length = fh_decimal_before(c->at + 1, c->end, fh_decimal_scale_of(exponent), units);
        if (length) {
            c->at += length + 2;
            return 1;
        }
    }
    return fh_json_decimal_slow(c, exponent, units);
}

/* A whole number of at least 0, as a number or as a text that holds one. */
static inline int fh_json_uint(fh_json *c, uint64_t *value)
{
    int64_t units = 0;
    int quoted = fh_json_peek(c) == '"';
#if defined(__SSE2__)
    const uint8_t *at = c->at + quoted;
    if (FH_LIKELY(c->end - at >= FH_UINT_WINDOW)) {
        uint64_t digits;
        uint32_t length = fh_uint_text(at, &digits);
        int b = at[length];
        if (FH_LIKELY(length && (quoted ? b == '"' : b == ',' || b == '}' || b == ']'))) {
            c->at = at + length + quoted;
            *value = digits;
            return 1;
        }
    }
#endif
    if (!fh_json_decimal(c, 0, &units))
        return 0;
    if (units < 0)
        return fh_json_fail_as(c, FH_JSON_RANGE);
    *value = (uint64_t)units;
    return 1;
}

/* true or false. */
static inline int fh_json_bool(fh_json *c, int *value)
{
    int b = fh_json_peek(c);
    uint32_t len = b == 't' ? 4 : 5;
    if (c->end - c->at < len || memcmp(c->at, b == 't' ? "true" : "false", len) != 0)
        return fh_json_fail(c);
    c->at += len;
    *value = b == 't';
    return 1;
}

static inline int fh_json_null(fh_json *c)
{
    fh_json_peek(c);
    if (c->end - c->at < 4 || memcmp(c->at, "null", 4) != 0)
        return fh_json_fail(c);
    c->at += 4;
    return 1;
}

/* ---- what is not wanted ------------------------------------------------------------------------------------------ */

/* Any value, checked all the same. */
static inline int fh_json_skip(fh_json *c)
{
    uint64_t arrays = 0;            /* a bit for each open bracket, the innermost lowest: 1 = '[' */
    uint32_t depth = 0;
    fh_number number;
    fh_text key;
    int truth;
    for (;;) {
        int b = fh_json_peek(c), more;
        switch (b) {
        case '{': case '[':
            if (depth == FH_JSON_DEPTH)
                return fh_json_fail(c);
            arrays = arrays << 1 | (b == '[');
            depth++;
            c->at++;
            c->first = 1;
            break;
        case '"':
            if (!fh_json_text(c, NULL))
                return 0;
            break;
        case 't': case 'f':
            if (!fh_json_bool(c, &truth))
                return 0;
            break;
        case 'n':
            if (!fh_json_null(c))
                return 0;
            break;
        default: {
            const uint8_t *at = fh_number_read(c->at, c->end, &number);
            if (!at)
                return fh_json_fail(c);
            c->at = at;
        }
        }
        for (;;) {                  /* close what ends here */
            if (depth == 0)
                return 1;
            more = arrays & 1 ? fh_json_item(c) : fh_json_key(c, &key);
            if (more)
                break;
            if (c->bad)
                return 0;
            depth--;
            arrays >>= 1;
        }
    }
}

/* ---- price levels ------------------------------------------------------------------------------------------------ */

/* What stands in every event made of an array of levels, but its price (word 4) and size (word 5). */
typedef struct {
    uint64_t words[8];
    int32_t price_exponent, size_exponent;
} fh_json_row;

/* As many levels as stand there in the usual form, ["price","size"],["price","size"],…; the cursor stands before one. */
static inline uint32_t fh_json_levels_usual(fh_json *c, const fh_json_row *row, uint64_t *event, uint32_t room)
{
    uint32_t n = 0;
#if defined(__SSE2__)
    const fh_decimal_scale *prices = fh_decimal_scale_of(row->price_exponent), *sizes = fh_decimal_scale_of(row->size_exponent);
    const uint8_t *at = c->at, *end = c->end;
    const __m128i *from = (const __m128i *)row->words;
    const __m128i first = _mm_loadu_si128(from), second = _mm_loadu_si128(from + 1), last = _mm_loadu_si128(from + 3);
    if (prices->whole == 0 || sizes->whole == 0)
        return 0;
    while (n < room) {
        uint8_t window[FH_LEVEL_WINDOW];
        const uint8_t *p = at + (n > 0);
        uint32_t length;
        int64_t price, size;
        if (FH_UNLIKELY(end - p < FH_LEVEL_WINDOW))         /* no level has a zero in it */
            p = fh_window(window, sizeof window, p, end);
        length = fh_level_text(p, prices, sizes, &price, &size);
        if (FH_UNLIKELY(length == 0))
            break;
        _mm_storeu_si128((__m128i *)event, first);
        _mm_storeu_si128((__m128i *)event + 1, second);
        _mm_storeu_si128((__m128i *)event + 2, _mm_set_epi64x(size, price));
        _mm_storeu_si128((__m128i *)event + 3, last);
        event += 8;
        at += length + (n > 0);
        n++;
        if (end - at < 2 || fh_le16(at) != (',' | '[' << 8))
            break;
    }
    if (n) {
        c->at = at;
        c->first = 0;
    }
#endif
    return n;
}

/* [[price, size, …], …], each as a number or a text, into events of 64 bytes; what follows the size is skipped.
 * The number of events, at most `room`; -1 = bad, or no room. */
static inline int64_t fh_json_levels(fh_json *c, const fh_json_row *row, void *out, uint32_t room)
{
    uint64_t *event = (uint64_t *)out;
    uint32_t n = 0;
    if (!fh_json_array(c))
        return -1;
    while (fh_json_item(c)) {
        uint32_t usual = fh_json_levels_usual(c, row, event + 8 * (size_t)n, room - n);
        int64_t price, size;
        n += usual;
        if (usual)
            continue;
        if (n == room) {
            fh_json_fail_as(c, FH_JSON_ROOM);
            break;
        }
        if (!fh_json_array(c) || !fh_json_item(c) || !fh_json_decimal(c, row->price_exponent, &price)
            || !fh_json_item(c) || !fh_json_decimal(c, row->size_exponent, &size)) {
            fh_json_fail(c);
            break;
        }
        while (fh_json_item(c))
            fh_json_skip(c);
        if (size < 0) {
            fh_json_fail_as(c, FH_JSON_RANGE);
            break;
        }
        memcpy(event + 8 * (size_t)n, row->words, 64);
        event[8 * (size_t)n + 4] = (uint64_t)price;
        event[8 * (size_t)n + 5] = (uint64_t)size;
        n++;
    }
    return c->bad ? -1 : (int64_t)n;
}
#endif
