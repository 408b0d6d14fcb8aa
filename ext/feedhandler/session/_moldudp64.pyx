"""MoldUDP64 downstream packets: shared/protocols/moldudp64.md; all integers big-endian.

    0  session, 10 bytes        10  sequence u64        18  count u16        20  count x (length u16, bytes)
"""
cimport cython
from libc.stdint cimport INT64_MAX, uint8_t, uint16_t, uint64_t
from feedhandler._records cimport Message, Packet
from feedhandler._wire cimport fh_be16, fh_be64, fh_le16, fh_le64
from feedhandler.session._framing cimport (FRAME_BAD, FRAME_DATA, FRAME_END, FRAME_HEARTBEAT, FRAME_UNSEQUENCED, Frame,
                                           Framing, begin, split)

cdef enum:
    HEADER_LENGTH = 20
    END_OF_SESSION = 0xFFFF     # in place of the count
    HEARTBEAT_MS = 1000
    BLANK_BYTES = 0x2020


@cython.final
cdef class MoldUdp64Framing(Framing):
    """MoldUDP64. A blank session with sequence 0 is a published sample's made-up wrapper: unsequenced."""

    def __cinit__(self):
        self.name = "moldudp64"
        self.heartbeat_ms = HEARTBEAT_MS

    cdef void parse(self, const Packet *packet, Frame *frame, Message *out, int capacity) noexcept nogil:
        cdef const uint8_t *p = packet.data
        cdef int count
        begin(frame, FRAME_BAD)
        if packet.len < HEADER_LENGTH:
            return
        frame.session[0] = fh_le64(p)
        frame.session[1] = fh_le16(p + 8)
        frame.first_seq = fh_be64(p + 10)
        count = fh_be16(p + 18)
        if frame.first_seq > <uint64_t> INT64_MAX:      # nobody counts so far; and first + count must not wrap
            return
        if count == END_OF_SESSION or count == 0:
            if packet.len != HEADER_LENGTH or frame.first_seq == 0:
                return
            frame.kind = FRAME_HEARTBEAT if count == 0 else FRAME_END
            return
        if count > capacity:
            return
        if not split(p + HEADER_LENGTH, p + packet.len, count, True, out):
            return
        if frame.first_seq == 0:
            if not blank(frame):
                return
            frame.kind = FRAME_UNSEQUENCED
        else:
            frame.kind = FRAME_DATA
        frame.count = count


cdef inline bint blank(const Frame *frame) noexcept nogil:
    return ((frame.session[0] == 0 and frame.session[1] == 0)
            or (frame.session[0] == <uint64_t> 0x2020202020202020 and frame.session[1] == BLANK_BYTES))
