"""Packets of one line between the script of faults and the socket, in the order in which they arrive."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler.simulate._faults cimport Copy, LineFaults

cdef enum:
    PENDING = 1024              # copies that wait for their time
    NO_PLACE = 0xFFFFFFFFFFFFFFFF

cdef struct Pending:
    Copy copy
    uint64_t order              # of making: copies due at the same instant leave in this order

cdef class FaultyLine:
    cdef LineFaults faults
    cdef Pending heap[PENDING]
    cdef int count
    cdef uint64_t made
    cdef bint finished

    cdef bint has_room(self) noexcept nogil
    cdef void offer(self, int64_t ts, uint64_t place, const uint8_t *data, uint32_t length) noexcept nogil
    cdef void finish(self, int64_t ts) noexcept nogil
    cdef void push(self, const Pending *pending) noexcept nogil
    cdef Pending pop(self) noexcept nogil
    cdef bint before(self, const Pending *a, const Pending *b) noexcept nogil
    cdef void push_copies(self, const Copy *copies, int n) noexcept nogil
    cdef uint64_t oldest(self) noexcept nogil
