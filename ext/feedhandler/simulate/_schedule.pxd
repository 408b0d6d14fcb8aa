"""When each packet of a sender is due, and how far from that it was sent."""
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    HISTOGRAM_WORDS = 1032      # of histogram.h: eight words, then a count for each bucket
    NOT_NOW = 0x7FFFFFFFFFFFFFFE    # due(): the next step has not been asked for

cdef class Schedule:
    cdef readonly double speed              # of the packets' own times; 0 = they do not count
    cdef readonly double interval           # ns between packets; 0 = none
    cdef readonly bint steps                # only as many packets as were allowed
    cdef uint64_t allowed
    cdef readonly int64_t start             # CLOCK_MONOTONIC, ns; 0 = not begun
    cdef int64_t first_time
    cdef bint has_time
    cdef int64_t floor                      # no packet is due before the one that goes before it
    cdef uint64_t taken
    cdef uint64_t sends
    cdef int64_t first_due, last_due, first_sent, last_sent
    cdef uint64_t errors[HISTOGRAM_WORDS]

    cdef int64_t due(self, int64_t time, int64_t now) noexcept nogil
    cdef void take(self) noexcept nogil
    cdef void sent(self, int64_t due, int64_t at) noexcept nogil
