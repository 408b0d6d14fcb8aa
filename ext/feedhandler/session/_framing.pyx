"""The contract of every framing: one packet in, its messages out. A pure machine: no socket, no clock."""
from feedhandler._records cimport Message, Packet


cdef class Framing:
    cdef void parse(self, const Packet *packet, Frame *frame, Message *out, int capacity) noexcept nogil:
        """Fill `frame`, and `out` with at most `capacity` messages that point into the packet.

        Reads no byte beyond packet.len. Messages stay valid as long as the packet does; those of a stream framing
        until its next parse(). Capacity is MESSAGES_MAX; a stream framing may stop earlier and set `more`.
        """
        frame.kind = FRAME_BAD
        frame.count = 0
        frame.more = 0

    cdef void reset(self) noexcept nogil:
        """Forget an unfinished message: the connection is new."""
