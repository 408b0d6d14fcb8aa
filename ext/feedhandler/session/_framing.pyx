"""The contract of every framing: one packet in, its messages out. A pure machine: no socket, no clock."""
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from feedhandler._records cimport MESSAGES_MAX, Message, Packet

KINDS = ("none", "data", "heartbeat", "end", "unsequenced", "login", "rejected", "bad")


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

    def begin_connection(self):
        """reset(), for the control path and tests: what comes next is the first byte of a new connection."""
        self.reset()

    def feed(self, bytes data not None, int capacity=MESSAGES_MAX):
        """The frames of one packet, or of one run of bytes of a stream, for tests and tools.

        A list of (fields, messages): `fields` is a dict of kind (a word of KINDS), session (16 bytes), first_seq,
        send_time, offset, count and detail; `messages` a list of bytes. Empty frames of kind "none" are left out.
        """
        cdef Packet packet
        cdef Frame frame
        cdef Message *messages
        cdef int i
        if capacity < 1 or capacity > MESSAGES_MAX:
            raise ValueError(f"capacity must be 1 to {MESSAGES_MAX}, not {capacity}")
        messages = <Message *> malloc(capacity * sizeof(Message))
        if messages == NULL:
            raise MemoryError()
        packet.data = <const uint8_t *> PyBytes_AsString(data)
        packet.len = <uint32_t> PyBytes_GET_SIZE(data)
        packet.ts_recv = 0
        packet.line = 0
        frames = []
        try:
            while True:
                memset(&frame, 0, sizeof(Frame))
                self.parse(&packet, &frame, messages, capacity)
                if frame.kind != FRAME_NONE:
                    fields = {
                        "kind": KINDS[frame.kind],
                        "session": PyBytes_FromStringAndSize(<const char *> &frame.session[0], 16),
                        "first_seq": frame.first_seq,
                        "send_time": frame.send_time,
                        "offset": frame.offset,
                        "count": frame.count,
                        "detail": frame.detail,
                    }
                    frames.append((fields, [PyBytes_FromStringAndSize(<const char *> messages[i].data, messages[i].len)
                                            for i in range(frame.count)]))
                if not frame.more:
                    return frames
        finally:
            free(messages)
