"""Lines that show numbers below ours: is it a restart under the same session id?"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from feedhandler._records cimport LineRecord

cdef enum:
    LINES_MAX = 64
    RESTART_NS = 1_000_000_000              # low and rising for so long is suspect
    APART_NS = 500_000_000                  # so far apart, two low heartbeats are two and not copies of one

cdef inline int64_t since(int64_t now, int64_t then) noexcept nogil:
    """now - then, for any two."""
    return <int64_t> (<uint64_t> now - <uint64_t> then)

cdef struct Low:                # what a line shows below the expected number
    uint64_t next               # the next number it would send; 0 = nothing to suspect
    int64_t since               # ts_recv of the first such packet
    bint rising
    bint suspect                # a second of rising numbers, or two heartbeats
    bint agrees                 # it shows none: since the suspicion its numbers were ours, first at `agreed`
    bint witness                # and low numbers of others came well after that: it follows another run than they
    int64_t agreed

cdef class Suspicion:
    """One per channel. Lines are counted from the channel's first."""
    cdef bint shown                         # some line has shown a low number
    cdef bint suspected                     # some line is suspect
    cdef bint settling                      # a snapshot was begun since: it will be of the run that there is ...
    cdef int64_t settling_at                # ... and what came before this may be of the one before
    cdef Low low[LINES_MAX]

    cdef void low_number(self, uint32_t line, int kind, uint64_t next_seq, int64_t ts_recv) noexcept nogil
    cdef bint certain(self, const LineRecord *records, int lines, int64_t ts_recv, int64_t silence_ns) noexcept nogil
    cdef bint refuted(self, uint32_t line, uint32_t lines, int kind, bint news, int64_t ts_recv) noexcept nogil
    cdef void settle(self, int64_t now) noexcept nogil
    cdef void clear(self) noexcept nogil
