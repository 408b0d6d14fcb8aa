"""The contract of every receiver: packets in."""
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from feedhandler._records cimport Packet

cdef enum:
    RECEIVE_BATCH = 64          # packets a turn asks for at most
    END_OF_INPUT = -61          # -ENODATA: a capture is exhausted, or every line has ended; nothing more will come

cdef struct LineStatus:         # what a line is worth just now; written by the polling thread, read by any
    uint32_t state              # LINE_UP, LINE_DOWN, LINE_ENDED
    uint32_t ts_kind            # how ts_recv of its last packet was taken: TS_*
    uint32_t receive_buffer     # bytes granted by the kernel; 0 = not a socket
    int32_t error               # errno that took it down; 0 = none, or the other side closed in good order
    uint32_t connections        # streams: connections taken over so far. A packet belongs to the last one: when this
    uint32_t reserved           # has moved, reset the line's framing before its next packet

cdef class Receiver:
    """Packets in. A subclass fills `out`; it never allocates, blocks or raises in poll() and release().

    One receiver serves all lines of a shard. Lines are numbered from 0 within the shard; `Packet.line` names one.
    Each poll() that gave packets is followed by one release() before the next poll().
    """
    cdef readonly int lines
    cdef readonly bint ended                # poll() has said END_OF_INPUT
    cdef uint64_t *counters                 # LINE_COUNTERS words per line: own memory until bind(), then the segment's
    cdef uint64_t *own_counters
    cdef int counter_stride                 # words from one line's counters to the next line's
    cdef LineStatus *status                 # one per line
    cdef object owner                       # of the memory that `counters` is bound to

    cdef int poll(self, Packet *out, int capacity) noexcept nogil
    cdef void release(self) noexcept nogil
    cdef int wait(self, int64_t timeout_ns) noexcept nogil
    cdef int64_t now(self) noexcept nogil
    cdef void bind(self, uint64_t *counters, int stride_words, object owner=*) noexcept
    cdef void unbind(self) noexcept
    cdef int check(self, int line) except -1
