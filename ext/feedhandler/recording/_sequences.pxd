"""What passed, by its numbers: per line and per channel, without decoding."""
from libc.stdint cimport int64_t, uint32_t
from feedhandler._records cimport Packet
from feedhandler.recording._runs cimport (SAW_BAD, SAW_CLOCK, SAW_END, SAW_FULL, SAW_GAP_CLOSED, SAW_GAP_OPENED, SAW_LATE,
                                          SAW_RESTART, SAW_SESSION, Placed, Run, Runs)
from feedhandler.session._framing cimport Frame

cdef class Sequences(Runs):
    """Feed it every packet, in the order and with the times of its line."""
    cdef Placed last                        # what the last packet did, all of its frames together

    cdef int saw(self, const Packet *packet) noexcept nogil
    cdef void pass_over(self, const Packet *packet) noexcept nogil
    cdef void connected(self, uint32_t line) noexcept nogil
    cdef int tick(self, int64_t now) noexcept nogil
    cdef void number(self, uint32_t channel, uint32_t line, const Frame *frame, int64_t ts,
                     Placed *placed) noexcept nogil
    cdef void accept(self, uint32_t channel, Run *run, uint32_t index, const Frame *frame, int64_t ts,
                     Placed *placed) noexcept nogil
    cdef object line_report(self, int channel, uint32_t index)
    cdef object channel_report(self, int channel)
    cdef object lead(self, int line)
