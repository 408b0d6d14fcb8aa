"""The recorder's hot thread: what comes in is copied into a ring, and nothing else."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._spsc cimport fh_spsc
from feedhandler.receive._receiver cimport Receiver

cdef enum:
    INTAKE_LINES = 64           # as many as one hot thread serves

cdef enum:                      # Taken.kind
    TAKEN_PACKET = 0            # the payload follows
    TAKEN_END = 1               # of a stream: its connection has ended

cdef struct Taken:              # head of a record of the ring
    int64_t ts_recv
    uint64_t lost_bytes         # of this line, since its record before this one: no room
    uint32_t lost               # packets
    uint32_t line
    uint32_t connection         # streams: which one, from 1; 0 = datagrams
    int32_t error               # of an end: errno; 0 = the other side closed in good order
    uint32_t kind
    uint32_t ts_kind

cdef class Intake:
    """Receiver → ring. run() is the hot thread's; look() and took() the writer's."""
    cdef readonly Receiver receiver
    cdef fh_spsc ring
    cdef int stopping                       # flags
    cdef int done                           # run() has ended: nothing more will be put
    cdef int waiting                        # WAIT_*
    cdef int64_t spin_ns
    cdef uint64_t packets[INTAKE_LINES]     # taken from the receiver, those lost included
    cdef uint64_t bytes[INTAKE_LINES]
    cdef uint64_t lost[INTAKE_LINES]        # of these, found no room
    cdef uint64_t lost_bytes[INTAKE_LINES]
    cdef uint64_t lost_said[INTAKE_LINES]   # of these, said in a record
    cdef uint64_t lost_bytes_said[INTAKE_LINES]
    cdef uint32_t connection[INTAKE_LINES]  # streams: the one whose end has not been put
    cdef bint up[INTAKE_LINES]              # its end has not been put
    cdef bint streams
    cdef int64_t at_once                    # of streams: bytes of the ring that one poll may need
    cdef uint64_t held                      # ns for which streams were not read

    cdef int loop(self) noexcept nogil
    cdef void hold(self) noexcept nogil
    cdef bint put(self, uint32_t line, int kind, int64_t ts, const uint8_t *data, uint32_t length,
                  int32_t error) noexcept nogil
    cdef void watch_ends(self) noexcept nogil
    cdef const Taken *look(self, uint32_t *length) noexcept nogil
    cdef void took(self) noexcept nogil
    cdef bint over(self) noexcept nogil
