"""The JSON scanner's door for Python: whole texts read through every function that the decoders use. For tests."""
import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from feedhandler.decode._json cimport (fh_json, fh_json_array, fh_json_bool, fh_json_decimal, fh_json_done, fh_json_fail,
                                       fh_json_item, fh_json_key, fh_json_levels, fh_json_null, fh_json_object,
                                       fh_json_open, fh_json_peek, fh_json_row, fh_json_skip, fh_json_text, fh_json_uint,
                                       fh_text, fh_text_copy, fh_text_is, fh_text_word)

cdef enum:
    DEEPEST = 200                       # objects and arrays that value() goes into
    LEVEL_WORDS = 8

FAULTS = ("", "malformed", "range", "room")


cdef str _text(const fh_text *text):
    cdef uint32_t length = fh_text_copy(text, NULL, 0) if text.escaped else text.len
    cdef bytearray made = bytearray(length)
    cdef uint8_t *out = <uint8_t *> <char *> made
    if fh_text_copy(text, out, length) != length:
        raise AssertionError("fh_text_copy() gives two lengths")
    if not fh_text_is(text, <const char *> out, length):
        raise AssertionError("fh_text_is() denies the text itself")
    if length <= 8 and fh_text_word(text) != int.from_bytes(made, "little") or length > 8 and fh_text_word(text) != 0:
        raise AssertionError("fh_text_word() is another text")
    return made.decode("utf-8", "surrogatepass")


cdef object _value(fh_json *c, int exponent, int depth):
    cdef fh_text text
    cdef int64_t units = 0
    cdef int truth = 0, first = fh_json_peek(c)
    if depth == DEEPEST:
        fh_json_fail(c)
        return None
    if first == 123:
        found = {}
        fh_json_object(c)
        while fh_json_key(c, &text):
            key = _text(&text)
            found[key] = _value(c, exponent, depth + 1)
        return found
    if first == 91:
        items = []
        fh_json_array(c)
        while fh_json_item(c):
            items.append(_value(c, exponent, depth + 1))
        return items
    if first == 34:
        return _text(&text) if fh_json_text(c, &text) else None
    if first == 116 or first == 102:
        return bool(truth) if fh_json_bool(c, &truth) else None
    if first == 110:
        fh_json_null(c)
        return None
    fh_json_decimal(c, exponent, &units)
    return units


def value(const uint8_t[::1] data not None, int exponent=-9):
    """The text as Python objects, numbers in units of 10^exponent, and what was wrong ("" = nothing)."""
    cdef fh_json c
    fh_json_open(&c, &data[0] if data.shape[0] else NULL, <uint32_t> data.shape[0])
    found = _value(&c, exponent, 0)
    good = fh_json_done(&c)
    return (found, "") if good else (None, FAULTS[c.bad] or "malformed")


def skips(const uint8_t[::1] data not None):
    """Whether the text is one value of JSON."""
    cdef fh_json c
    fh_json_open(&c, &data[0] if data.shape[0] else NULL, <uint32_t> data.shape[0])
    fh_json_skip(&c)
    return bool(fh_json_done(&c))


def decimal(const uint8_t[::1] data not None, int exponent):
    """A text that is one decimal, as a number or within quotes, in units of 10^exponent; else what was wrong."""
    cdef fh_json c
    cdef int64_t units = 0
    fh_json_open(&c, &data[0] if data.shape[0] else NULL, <uint32_t> data.shape[0])
    fh_json_decimal(&c, exponent, &units)
    return units if fh_json_done(&c) else FAULTS[c.bad] or "malformed"


def whole(const uint8_t[::1] data not None):
    """A text that is one whole number of at least 0; else what was wrong."""
    cdef fh_json c
    cdef uint64_t number = 0
    fh_json_open(&c, &data[0] if data.shape[0] else NULL, <uint32_t> data.shape[0])
    fh_json_uint(&c, &number)
    return number if fh_json_done(&c) else FAULTS[c.bad] or "malformed"


def wholes(const uint8_t[::1] data not None):
    """A text that is an array of whole numbers of at least 0; else what was wrong."""
    cdef fh_json c
    cdef uint64_t number = 0
    cdef list found = []
    fh_json_open(&c, &data[0] if data.shape[0] else NULL, <uint32_t> data.shape[0])
    fh_json_array(&c)
    while fh_json_item(&c):
        fh_json_uint(&c, &number)
        found.append(number)
    return found if fh_json_done(&c) else FAULTS[c.bad] or "malformed"


def levels(const uint8_t[::1] data not None, int price_exponent=-9, int size_exponent=-8, uint32_t room=1000):
    """A text that is one array of levels: [(price, size)] in the units of the exponents; else what was wrong."""
    cdef fh_json c
    cdef fh_json_row row
    cdef int64_t count
    cdef uint64_t[:, ::1] out = np.zeros((room + 1, LEVEL_WORDS), np.uint64)
    memset(&row, 0, sizeof(row))
    row.words[7] = 7
    row.price_exponent = price_exponent
    row.size_exponent = size_exponent
    fh_json_open(&c, &data[0] if data.shape[0] else NULL, <uint32_t> data.shape[0])
    count = fh_json_levels(&c, &row, &out[0, 0], room)
    if count < 0 or not fh_json_done(&c):
        return FAULTS[c.bad] or "malformed"
    made = np.asarray(out)
    if (made[:count, 7] != 7).any() or made[count:].any():
        raise AssertionError("an event was not written whole, or one too many")
    return [(int(price.astype(np.int64)), int(size)) for price, size in made[:count, 4:6]]
