"""Length-prefixed messages in memory, found and gathered by type, for the NumPy view."""
import numpy as np

from cpython.buffer cimport PyBUF_SIMPLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy
from feedhandler._wire cimport fh_be16, fh_le16


def index(buffer, bint big_endian, const uint16_t[::1] lengths not None):
    """Where the messages of each type begin: (counts, starts, numbers, end, too_short).

    `lengths` gives per type byte the least length (256 of them). `counts` has 256 words; `starts` holds the offsets of
    the type bytes, ordered by type and then as in the buffer, `numbers` the place of each message, from 1. Messages
    without bytes are the end. `end` is the offset behind the last whole message; `too_short` the offset of the first
    message shorter than its least length (these are left out), -1 for none.
    """
    cdef Py_buffer view
    cdef const uint8_t *base
    cdef uint64_t at, size, length, kind
    cdef int64_t too_short = -1
    if lengths.shape[0] != 256:
        raise ValueError(f"lengths must be 256, not {lengths.shape[0]}")
    counts = np.zeros(256, np.uint64)
    cdef uint64_t[::1] count = counts
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        base = <const uint8_t *> view.buf
        size = <uint64_t> view.len
        with nogil:
            at = 0
            while at + 2 < size:
                length = fh_be16(base + at) if big_endian else fh_le16(base + at)
                if length == 0 or at + 2 + length > size:
                    break
                kind = base[at + 2]
                if length < lengths[kind]:
                    if too_short < 0:
                        too_short = <int64_t> at
                else:
                    count[kind] += 1
                at += 2 + length
        starts = np.empty(int(counts.sum()), np.uint64)
        numbers = np.empty(len(starts), np.uint64)
        if len(starts):
            _place(base, at, big_endian, &lengths[0], count, starts, numbers)
    finally:
        PyBuffer_Release(&view)
    return counts, starts, numbers, at, too_short


cdef void _place(const uint8_t *base, uint64_t end, bint big_endian, const uint16_t *lengths, uint64_t[::1] count,
                 uint64_t[::1] starts, uint64_t[::1] numbers) noexcept:
    """The second walk: every message to its type's part of `starts`."""
    cdef uint64_t place[256]
    cdef uint64_t at = 0, number = 0, total = 0, length, to
    cdef int kind
    for kind in range(256):
        place[kind] = total
        total += count[kind]
    with nogil:
        while at < end:
            length = fh_be16(base + at) if big_endian else fh_le16(base + at)
            number += 1
            kind = base[at + 2]
            if length >= lengths[kind]:
                to = place[kind]
                starts[to] = at + 2
                numbers[to] = number
                place[kind] = to + 1
            at += 2 + length


def gather(buffer, const uint64_t[::1] starts not None, uint64_t length, const uint16_t[:, ::1] texts not None):
    """The first `length` bytes of the messages at `starts`, one after the other, as an array of shape (n, length).

    `texts` lists (offset, length) of fields whose right-hand blanks become zeros. Raises IndexError for a start from
    which `length` bytes would pass the end of the buffer.
    """
    cdef Py_buffer view
    cdef Py_ssize_t i, j, n = starts.shape[0], fields = texts.shape[0]
    cdef uint8_t *to
    cdef const uint8_t *base
    cdef int at
    cdef bint inside = True
    made = np.empty((n, length), np.uint8)
    if n == 0 or length == 0:
        return made
    for j in range(fields):
        if texts[j, 0] + texts[j, 1] > length:
            raise ValueError(f"field of {texts[j, 1]} bytes at {texts[j, 0]} passes the end of {length} bytes")
    cdef uint8_t[:, ::1] out = made
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    base = <const uint8_t *> view.buf
    to = &out[0, 0]
    with nogil:
        for i in range(n):
            if starts[i] > <uint64_t> view.len or <uint64_t> view.len - starts[i] < length:
                inside = False
                break
            memcpy(to, base + starts[i], length)
            for j in range(fields):
                at = texts[j, 0] + texts[j, 1] - 1
                while at >= texts[j, 0] and to[at] == 32:
                    to[at] = 0
                    at -= 1
            to += length
    PyBuffer_Release(&view)
    if not inside:
        raise IndexError("a message would pass the end of the buffer")
    return made
