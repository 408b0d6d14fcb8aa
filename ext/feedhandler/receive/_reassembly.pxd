"""Streams out of captured TCP segments: each line's bytes in order, as its receiver had them."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler.receive._datagram cimport Address, Datagram
from feedhandler.receive._receiver cimport LineStatus

cdef enum:                      # what offer() and ready() make of a segment
    SEGMENT_NOTHING = 0
    SEGMENT_RUN = 1             # `out` has bytes to hand on
    SEGMENT_NOT_NOW = 2         # a connection begins or ends: only between two polls

cdef enum:
    HELD_MAX = 128              # segments that wait behind a hole, ...
    ARENA = 1 << 20             # ... and their bytes, of a line
    HOLES_NAMED = 1000

cdef struct Held:
    uint32_t number             # TCP's, of its first byte
    uint32_t len
    uint32_t at                 # in the arena

cdef struct Flow:               # what is known of a line's present connection
    Address client
    uint16_t client_port
    bint known                  # there has been one
    bint ended
    bint broken                 # bytes are missing: nothing more of it is handed on
    bint giving_up              # it is to be broken as soon as that can be said
    bint closing                # `last` is its end
    uint32_t expected           # TCP's number of the next byte
    uint32_t last
    uint32_t begun              # TCP's number of its first byte
    int held
    uint32_t used               # of the arena
    Held segments[HELD_MAX]
    uint8_t *arena
    uint64_t repeated           # bytes that came again
    uint64_t swapped            # segments that came before their turn
    uint64_t holes
    uint64_t missing            # bytes in them
    uint64_t behind             # bytes behind a hole, not handed on
    uint64_t others             # segments of other connections to the same server
    uint64_t joined             # connections whose beginning was not captured

cdef class Reassembly:
    cdef readonly int lines
    cdef Flow **flows           # NULL: the line is no stream
    cdef int64_t latest         # time of the last segment
    cdef bint pending           # some line may have something for ready()
    cdef readonly list holes    # (line, ts, place in the stream, bytes) of the first HOLES_NAMED

    cdef bint down(self, int line) noexcept nogil
    cdef bint takes(self, int line) noexcept nogil
    cdef int offer(self, int line, const Datagram *segment, int64_t ts, bint patient, LineStatus *status,
                   Datagram *out) noexcept nogil
    cdef int ready(self, int64_t ts, bint patient, LineStatus *status, Datagram *out, int *line) noexcept nogil
    cdef void release(self) noexcept nogil
    cdef void begin(self, Flow *flow, const Datagram *segment, uint32_t first, LineStatus *status) noexcept nogil
    cdef void hold(self, Flow *flow, const Datagram *segment) noexcept nogil
    cdef void give_up(self, int line, int64_t ts) noexcept nogil
