"""What recovery is to bring back: which missing numbers are asked for, told of, given up."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from feedhandler.line._recovery cimport Asked, Recovery
from feedhandler.line._window cimport Window

cdef enum:
    BAD_ANSWERS = 3             # malformed retransmissions in a row, until the next rung

cdef class Wanted:
    """One per channel. Cursors, all of numbers: what is missing below `end` is asked for, and only that."""
    cdef Recovery recovery                  # None: nothing is ever asked for
    cdef uint64_t end
    cdef uint64_t open                      # numbers asked for that are not there yet
    cdef uint64_t sent                      # of what is asked for, all below it is in the ring, or was
    cdef uint64_t told                      # holes that begin below it have been told of
    cdef uint64_t surrendered               # holes that begin below it are given up
    cdef uint64_t blocked                   # a hole that begins here is too large
    cdef uint64_t floor                     # while frozen: messages below it were dropped for want of room
    cdef uint64_t dropped                   # how many
    cdef uint64_t ripening                  # holes below it are ripe when `reorder_ns` have passed
    cdef int64_t ripening_since
    cdef uint32_t bad                       # malformed retransmissions since something came
    cdef bint bad_now                       # the one at hand is
    cdef uint32_t epoch
    cdef uint64_t session[2]
    cdef Asked over, snapshot               # that found no room in the ring; kind 0: none

    cdef void begin(self, uint32_t epoch, const uint64_t *session, uint64_t number) noexcept nogil
    cdef void ask(self, Window window, uint64_t expected, uint64_t to, uint64_t *counters) noexcept nogil
    cdef bint too_large(self, uint64_t count) noexcept nogil
    cdef uint64_t came(self, uint64_t first, uint64_t count) noexcept nogil
    cdef bint went(self, uint64_t number) noexcept nogil
    cdef uint64_t lost(self, uint64_t first, uint64_t count) noexcept nogil
    cdef void spoilt(self, uint64_t number, int64_t ts) noexcept nogil
    cdef void ask_snapshot(self, uint64_t first, uint64_t count, int64_t ts) noexcept nogil
    cdef void say_over(self, uint64_t next_seq, int64_t ts) noexcept nogil
    cdef void flush(self, Window window, uint64_t expected, int64_t ts) noexcept nogil
    cdef bint put(self, Asked *asked) noexcept nogil
