"""What the hot thread asks of the control path for one instrument's sake: a ring from one thread to one other."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from feedhandler._spsc cimport fh_spsc

cpdef enum:                     # Resync.kind
    RESYNC_SNAPSHOT = 1         # a snapshot of the instrument, made from now on, is wanted on the control line
    RESYNC_SUBSCRIBE = 2        # subscribe to the instrument anew, on this line: a snapshot follows there. 0 = to all
    RESYNC_OVER = 3             # the instrument's book is whole again
    RESYNC_CONNECT = 4          # the venue asks for a new connection of this line

cdef struct Wish:               # a record of the ring
    int64_t since               # the channel's clock when the book was lost, ns since the Unix epoch
    uint64_t number             # SNAPSHOT: it must be of this number or a later one; 0 = of any
    uint32_t kind
    uint32_t instrument         # index of the directory; 0 = all of the channel
    uint32_t line               # of the channel, from 0
    uint32_t reason             # REASON_...: why the book is not right

cdef class Resyncs:
    cdef fh_spsc wishes
    cdef bint asleep            # what is played is a recording: nothing is wished for

    cdef bint put(self, uint32_t kind, uint32_t instrument, uint32_t line, uint32_t reason, uint64_t number,
                  int64_t since) noexcept nogil
