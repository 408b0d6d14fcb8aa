"""json_scan.h for Cython: a cursor over a JSON text; its contract stands at the top of the header.

    fh_json_open(&c, data, len)
    if fh_json_object(&c):
        while fh_json_key(&c, &key):            # key: a view into the text
            if fh_text_is(&key, "price", 5):
                fh_json_decimal(&c, -9, &price)
            else:
                fh_json_skip(&c)
    return fh_json_done(&c)                     # a failure anywhere above shows here

All functions that read return 1, or 0 after which the cursor is bad; key() and item() return 0 behind the last one too.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "json_scan.h" nogil:
    enum:
        FH_JSON_MALFORMED
        FH_JSON_RANGE
        FH_JSON_ROOM
        FH_JSON_DEPTH
    ctypedef struct fh_json:
        const uint8_t *at               # where it stands
        const uint8_t *end
        uint32_t first
        uint32_t bad                    # 0, else one of the three above
    ctypedef struct fh_text:            # without its quotes, as it came
        const uint8_t *data
        uint32_t len
        uint32_t escaped                # its escapes are not yet undone: fh_text_copy(), fh_text_is(), fh_text_word() do it
    ctypedef struct fh_json_row:        # what stands in every event of an array of levels, but price and size
        uint64_t words[8]
        int32_t price_exponent
        int32_t size_exponent
    void fh_json_open(fh_json *c, const uint8_t *data, uint32_t len)
    bint fh_json_done(fh_json *c)                               # all went well, and only white space follows
    int fh_json_fail(fh_json *c)                                # for a reader that finds something wrong itself; 0
    int fh_json_fail_as(fh_json *c, uint32_t why)
    int fh_json_peek(fh_json *c)                                # the value's first byte: { [ " t f n - 0..9; 0 = the end
    bint fh_json_object(fh_json *c)                             # steps into it; then fh_json_key() until it is 0
    bint fh_json_array(fh_json *c)                              # steps into it; then fh_json_item() until it is 0
    bint fh_json_key(fh_json *c, fh_text *key)
    bint fh_json_item(fh_json *c)
    bint fh_json_skip(fh_json *c)                               # any value, checked all the same
    bint fh_json_text(fh_json *c, fh_text *text)                # `text` may be NULL
    bint fh_json_decimal(fh_json *c, int32_t exponent, int64_t *units)     # 1.5, "1.5", 1e-7: exactly, or FH_JSON_RANGE
    bint fh_json_uint(fh_json *c, uint64_t *value)              # also "12"
    const uint8_t *fh_json_quote_before(const uint8_t *begin, const uint8_t *at)   # or backslash, within 64 bytes; NULL
    bint fh_json_sent(fh_json *c, const char *what, uint32_t len)          # just these bytes, a literal: moves behind them
    bint fh_json_bool(fh_json *c, int *value)
    bint fh_json_null(fh_json *c)
    bint fh_text_is(const fh_text *text, const char *what, uint32_t len)
    uint32_t fh_text_copy(const fh_text *text, uint8_t *out, uint32_t room)    # unescaped; its whole length
    uint64_t fh_text_hash(const fh_text *text)                  # of 9 to 32 bytes, with the highest bit; else 0
    uint64_t fh_text_word(const fh_text *text)                  # up to 8 bytes, the first one lowest; else 0
    int64_t fh_json_levels(fh_json *c, const fh_json_row *row, void *out, uint32_t room)
