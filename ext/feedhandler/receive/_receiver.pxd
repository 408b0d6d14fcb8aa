"""The contract of every receiver: packets in."""
from libc.stdint cimport int64_t, uint64_t
from feedhandler._records cimport Packet

cdef enum:
    RECEIVE_BATCH = 64          # packets a turn asks for at most
    END_OF_INPUT = -61          # -ENODATA: a capture is exhausted, or every line has ended; nothing more will come

cdef class Receiver:
    """Packets in. A subclass fills `out`; it never allocates, blocks or raises in poll() and release().

    One receiver serves all lines of a shard. Lines are numbered from 0 within the shard; `Packet.line` names one.
    """
    cdef readonly int lines
    cdef uint64_t *counters                 # LINE_COUNTERS words per line: own memory until bind(), then the segment's
    cdef uint64_t *own_counters
    cdef int counter_stride                 # words from one line's counters to the next line's

    cdef int poll(self, Packet *out, int capacity) noexcept nogil
    cdef void release(self) noexcept nogil
    cdef int wait(self, int64_t timeout_ns) noexcept nogil
    cdef int64_t now(self) noexcept nogil
    cdef void bind(self, uint64_t *counters, int stride_words) noexcept
