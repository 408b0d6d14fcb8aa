"""IEX-TP 1: shared/protocols/iex.md; all integers little-endian, header of 40 bytes.

    0  version u8    2  message protocol id u16    4  channel id u32    8  session id u32    12  payload length u16
    14  count u16    16  stream offset i64    24  first sequence i64    32  send time i64    40  count x (length u16, bytes)

Session and channel id together name one sequence space; it is handed on as 16 hexadecimal digits, session id first.
"""
cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint64_t
from feedhandler._records cimport Message, Packet
from feedhandler._wire cimport fh_le16, fh_le64
from feedhandler.session._framing cimport FRAME_BAD, FRAME_DATA, FRAME_HEARTBEAT, Frame, Framing, begin, split

cdef enum:
    HEADER_LENGTH = 40
    VERSION = 1
    HEARTBEAT_MS = 1000

DEEP = 0x8004


@cython.final
cdef class IexTpFraming(Framing):
    """IEX-TP of one message protocol; packets of another are bad."""

    def __cinit__(self, uint16_t protocol_id=DEEP):
        self.name = "iextp"
        self.heartbeat_ms = HEARTBEAT_MS
        self.has_send_time = True
        self.protocol_id = protocol_id
        write_id(0, <uint8_t *> self.text)

    cdef void parse(self, const Packet *packet, Frame *frame, Message *out, int capacity) noexcept nogil:
        cdef const uint8_t *p = packet.data
        cdef uint64_t session
        cdef int count
        begin(frame, FRAME_BAD)
        if (packet.len < HEADER_LENGTH or p[0] != VERSION or fh_le16(p + 2) != self.protocol_id
                or fh_le16(p + 12) != packet.len - HEADER_LENGTH):
            return
        session = fh_le64(p + 4)
        if session != self.last_id:
            self.last_id = session
            write_id(session, <uint8_t *> self.text)
        frame.session[0] = self.text[0]
        frame.session[1] = self.text[1]
        frame.first_seq = fh_le64(p + 24)
        frame.send_time = <int64_t> fh_le64(p + 32)
        frame.offset = <int64_t> fh_le64(p + 16)
        frame.bytes = packet.len - HEADER_LENGTH
        count = fh_le16(p + 14)
        if (frame.first_seq == 0 or frame.first_seq > <uint64_t> INT64_MAX or frame.send_time < 0 or count > capacity
                or frame.offset < 0 or frame.offset > INT64_MAX >> 1):
            return
        if not split(p + HEADER_LENGTH, p + packet.len, count, False, out):
            return
        frame.kind = FRAME_DATA if count > 0 else FRAME_HEARTBEAT
        frame.count = count


cdef void write_id(uint64_t value, uint8_t *text) noexcept nogil:
    """16 hexadecimal digits, highest first; the session id is the high half of the word on the wire."""
    cdef int i
    cdef uint8_t digit
    for i in range(16):
        digit = <uint8_t> (value >> (60 - 4 * i) & 15)
        text[i] = digit + 48 if digit < 10 else digit + 87
