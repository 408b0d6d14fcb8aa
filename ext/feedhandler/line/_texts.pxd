"""Texts that wait: for the snapshot they belong behind, or for one before them. Copies in memory taken once."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    TEXT_REFUSED = 0            # longer than all the memory
    TEXT_KEPT = 1
    TEXT_KNOWN = 2              # the same numbers wait already

cdef struct Text:               # head of a record of the ring; its bytes follow
    uint64_t size               # bytes to the next record, this head included
    uint64_t before, behind     # places of its neighbours in the instrument's row; NOWHERE = none
    uint64_t previous, last     # its numbers; STAMPS: its mark, and its number
    uint64_t lines              # that brought it, as bits
    int64_t ts_recv
    uint32_t length
    uint32_t instrument         # 0: dead, or the rest of the ring
    uint32_t line
    uint32_t reserved

cdef struct Row:                # one instrument's texts, by number
    uint64_t first, final       # places; NOWHERE = none waits
    uint64_t finger             # of the one that came last
    uint64_t dropped            # highest number of those that were dropped for want of room; 0 = none

cdef class Texts:
    """Texts(instruments, capacity): `capacity` bytes, rounded up to a power of two; the oldest give way to newer ones."""
    cdef uint8_t *bytes
    cdef uint64_t room
    cdef uint64_t head, tail    # bytes ever put and given back
    cdef Row *rows
    cdef uint64_t lost                      # dropped for want of room

    cdef int keep(self, uint32_t instrument, uint32_t line, int64_t ts_recv, uint64_t previous, uint64_t last, bint marked,
                  const uint8_t *data, uint32_t length) noexcept nogil
    cdef void remove(self, Text *text) noexcept nogil
    cdef void clear(self, uint32_t instrument) noexcept nogil
    cdef uint64_t lower(self, const Row *row, uint64_t last) noexcept nogil
    cdef uint64_t place(self, uint64_t length) noexcept nogil
    cdef void reclaim(self) noexcept nogil
    cdef void unlink(self, Text *text) noexcept nogil

    cdef inline Text *at(self, uint64_t place) noexcept nogil:
        return <Text *> (self.bytes + (place & (self.room - 1)))

    cdef inline Text *first(self, uint32_t instrument) noexcept nogil:
        """The text with the lowest number of those that wait; NULL: none does."""
        return NULL if self.rows[instrument].first == <uint64_t> -1 else self.at(self.rows[instrument].first)

    cdef inline Text *next(self, const Text *text) noexcept nogil:
        return NULL if text.behind == <uint64_t> -1 else self.at(text.behind)
