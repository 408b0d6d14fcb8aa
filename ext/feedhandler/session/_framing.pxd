"""The contract of every framing: one packet in, its messages out. A pure machine: no socket, no clock."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport Message, Packet
from feedhandler._wire cimport fh_be16, fh_le16

cdef enum:                      # Frame.kind
    FRAME_NONE = 0              # nothing for the arbiter (debug text, a part of a message)
    FRAME_DATA = 1
    FRAME_HEARTBEAT = 2         # first_seq = the next number that will be sent
    FRAME_END = 3               # end of session; first_seq = last number + 1
    FRAME_UNSEQUENCED = 4       # messages without numbers (blank wrappers)
    FRAME_LOGIN = 5             # streams: accepted; session and first_seq say where it goes on
    FRAME_REJECTED = 6          # streams: refused; `detail` is the reason's character
    FRAME_BAD = 7               # lengths or counts do not add up, or another protocol: refused whole

cdef struct Frame:
    uint64_t session[2]         # the session id as 16 bytes, zero-padded
    uint64_t first_seq          # number of messages[0]
    int64_t send_time           # ns since the Unix epoch; 0 = the protocol has none
    int32_t count               # messages, as many as were written to `out`
    int32_t kind
    int32_t more                # 1: call parse() again with the same packet for what follows
    int32_t detail
    int64_t offset              # bytes of messages, lengths included, before this packet's; -1 = the protocol does not say
    uint32_t bytes              # of this packet's messages, where there is an offset

cdef inline void begin(Frame *frame, int32_t kind) noexcept nogil:
    """No message yet, and nothing of what not every protocol says. Session and first_seq are the framing's to write."""
    frame.kind = kind
    frame.count = 0
    frame.more = 0
    frame.detail = 0
    frame.send_time = 0
    frame.offset = -1
    frame.bytes = 0

cdef class Framing:
    """One per line. Datagram framings keep no state; stream framings hold the unfinished message between packets."""
    cdef readonly str name
    cdef readonly bint stream               # packets are runs of bytes of a stream
    cdef readonly int heartbeat_ms          # the protocol's own; 0 = none
    cdef readonly bint has_send_time

    cdef void parse(self, const Packet *packet, Frame *frame, Message *out, int capacity) noexcept nogil
    cdef void reset(self) noexcept nogil

cdef inline bint split(const uint8_t *p, const uint8_t *end, int count, bint big_endian, Message *out) noexcept nogil:
    """`count` messages, each behind its length (u16), from `p` to `end` exactly; False: they do not add up."""
    cdef uint32_t length
    cdef int i
    for i in range(count):
        if end - p < 2:
            return False
        length = fh_be16(p) if big_endian else fh_le16(p)
        p += 2
        if <uint64_t> (end - p) < length:
            return False
        out[i].data = p
        out[i].len = length
        p += length
    return p == end
