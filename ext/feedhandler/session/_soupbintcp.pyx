"""SoupBinTCP 4.1, what the server sends: shared/protocols/soupbintcp.md.

A logical packet is a big-endian u16 length (type and payload, not itself), one type byte, the payload; TCP cuts them
anywhere. Data carries no number: counting starts at the number of Login Accepted and goes up by one for each `S`.
The control path sends the login; its answer comes through here, so that the count begins where the stream does.
"""
cimport cython
from libc.stdint cimport INT64_MAX, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from feedhandler._records cimport Message, Packet
from feedhandler.session._framing cimport (FRAME_BAD, FRAME_DATA, FRAME_END, FRAME_HEARTBEAT, FRAME_LOGIN, FRAME_NONE,
                                           FRAME_REJECTED, FRAME_UNSEQUENCED, Frame, Framing, begin)
from feedhandler.session._stitch cimport FH_BLOCK_MAX, fh_stitch_advance, fh_stitch_clear, fh_stitch_peek

cdef enum:
    SESSION_LENGTH = 10
    NUMBER_LENGTH = 20
    ACCEPTED_LENGTH = 1 + SESSION_LENGTH + NUMBER_LENGTH
    REJECTED_LENGTH = 2
    HEARTBEAT_MS = 1000
    BLANK = 32


@cython.final
cdef class SoupBinTcpFraming(Framing):
    """Server packets of one SoupBinTCP connection, from the answer to the login on."""

    def __cinit__(self):
        self.name = "soupbintcp"
        self.stream = True
        self.heartbeat_ms = HEARTBEAT_MS
        self.memory = <uint8_t *> malloc(2 * FH_BLOCK_MAX)
        if self.memory == NULL:
            raise MemoryError()
        self.stitch.held = self.memory
        self.stitch.other = self.memory + FH_BLOCK_MAX

    def __dealloc__(self):
        free(self.memory)

    cdef void parse(self, const Packet *packet, Frame *frame, Message *out, int capacity) noexcept nogil:
        cdef const uint8_t *block
        cdef uint32_t length = 0
        cdef int count = 0
        begin(frame, FRAME_NONE)
        if self.broken:
            frame.kind = FRAME_BAD
            return
        while count < capacity:
            block = fh_stitch_peek(&self.stitch, packet.data, packet.len, &length)
            if block == NULL:
                break
            if length > 0 and block[0] == c'S' and self.next_seq != 0:
                out[count].data = block + 1
                out[count].len = length - 1
                count += 1
            elif length == 0 or block[0] != c'+':
                if count > 0:                   # first the data; this block is looked at again
                    frame.more = 1
                else:
                    self.control(block, length, frame, out)
                    if not self.broken:
                        frame.more = 1
                        fh_stitch_advance(&self.stitch, length)
                break
            fh_stitch_advance(&self.stitch, length)
        else:
            frame.more = 1
        if count > 0:
            frame.kind = FRAME_DATA
            frame.count = count
            frame.first_seq = self.next_seq
            self.next_seq += count
        if frame.kind != FRAME_LOGIN and count == 0:
            frame.first_seq = self.next_seq
        frame.session[0] = self.session[0]
        frame.session[1] = self.session[1]

    cdef void control(self, const uint8_t *block, uint32_t length, Frame *frame, Message *out) noexcept nogil:
        """Everything but sequenced data and debug text."""
        frame.kind = FRAME_BAD
        if length == 0:                         # not even a type: whatever this is, it is no SoupBinTCP
            self.broken = True
            fh_stitch_clear(&self.stitch)
        elif block[0] == c'H' and length == 1 and self.next_seq != 0:
            frame.kind = FRAME_HEARTBEAT
        elif block[0] == c'Z' and length == 1 and self.next_seq != 0:
            frame.kind = FRAME_END
        elif block[0] == c'U':
            frame.kind = FRAME_UNSEQUENCED
            frame.count = 1
            out[0].data = block + 1
            out[0].len = length - 1
        elif block[0] == c'A' and length == ACCEPTED_LENGTH and self.accept(block + 1):
            frame.kind = FRAME_LOGIN
            frame.first_seq = self.next_seq
        elif block[0] == c'J' and length == REJECTED_LENGTH:
            frame.kind = FRAME_REJECTED
            frame.detail = block[1]

    cdef bint accept(self, const uint8_t *payload) noexcept nogil:
        """Take session and number out of Login Accepted; 0 when the number is none that one can count from.

        The session comes with its blanks on the left; they go to the right, as in MoldUDP64.
        """
        cdef const uint8_t *digits = payload + SESSION_LENGTH
        cdef uint8_t name[16]
        cdef uint64_t number = 0
        cdef int i, blanks = 0
        for i in range(NUMBER_LENGTH):
            if digits[i] == BLANK and number == 0:
                continue
            if digits[i] < c'0' or digits[i] > c'9' or number > <uint64_t> INT64_MAX // 10 - 1:
                return False
            number = number * 10 + (digits[i] - <uint8_t> c'0')
        if number == 0:
            return False
        while blanks < SESSION_LENGTH and payload[blanks] == BLANK:
            blanks += 1
        memset(name, 0, sizeof(name))
        memcpy(name, payload + blanks, SESSION_LENGTH - blanks)
        memset(name + SESSION_LENGTH - blanks, BLANK, blanks)
        memcpy(self.session, name, sizeof(name))
        self.next_seq = number
        return True

    cdef void reset(self) noexcept nogil:
        fh_stitch_clear(&self.stitch)
        self.next_seq = 0
        self.broken = False
