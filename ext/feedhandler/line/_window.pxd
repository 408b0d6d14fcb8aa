"""The reorder window: messages that came ahead of sequence wait here, in memory taken once."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport Message, Run

cdef enum:                      # Window.put
    WINDOW_STORED = 0
    WINDOW_HELD = 1             # another copy waits already
    WINDOW_FULL = 2             # too far from the others, or no room for its bytes

cdef class Window:
    """A ring of places, one for each number modulo their count, and a log of the bytes that wait in them.

    All waiting numbers lie within `capacity` of each other, so each has a place of its own; where they lie against the
    expected number does not matter, and a channel that skips a million numbers finds room at once. The log is written
    at its head; its tail moves over messages below the expected number, which nobody wants any more.
    """
    cdef readonly uint32_t capacity         # places, a power of two
    cdef readonly uint32_t waiting
    cdef readonly uint64_t low              # lowest waiting number; meaningless while nothing waits
    cdef readonly uint64_t high             # highest + 1
    cdef uint64_t mask
    cdef Message *messages
    cdef uint64_t *numbers                  # the number in each place, 0 = none; those below the expected are over
    cdef uint64_t *spoilt                   # numbers of which a malformed copy was seen
    cdef int64_t *times                     # ts_recv
    cdef uint8_t *brought                   # line
    cdef uint8_t *log                       # the other arrays stand behind it, in the same piece of memory
    cdef size_t memory_bytes
    cdef uint64_t log_bytes                 # a power of two
    cdef uint64_t head, tail                # bytes ever written, bytes ever freed
    cdef bint touched, spoilt_any

    cdef bint holds(self, uint64_t number) noexcept nogil
    cdef int put(self, uint64_t number, const Message *message, int64_t ts_recv, uint32_t line,
                 uint64_t expected) noexcept nogil
    cdef void run(self, uint64_t number, Run *run) noexcept nogil
    cdef void took(self, uint64_t expected, uint32_t count) noexcept nogil
    cdef void remove(self, uint64_t number) noexcept nogil
    cdef void spoil(self, uint64_t number) noexcept nogil
    cdef uint64_t spoilt_in(self, uint64_t first, uint64_t count) noexcept nogil
    cdef void clear(self) noexcept nogil
    cdef uint8_t *room(self, uint64_t number, uint32_t length, uint64_t expected) noexcept nogil
    cdef void find_low(self, uint64_t start) noexcept nogil
    cdef uint64_t next_waiting(self, uint64_t number, uint64_t end) noexcept nogil
    cdef void drop_below(self, uint64_t number) noexcept nogil
    cdef void drop_older(self, int64_t ts_recv) noexcept nogil
