"""Nasdaq BinaryFILE 1.00, and any file of length-prefixed messages: shared/protocols/soupbintcp.md, last section.

Big-endian u16 length, then the message, over and over. Message n of the file has number n; a length of 0 ends the
session. There is no session name: the session is 16 zero bytes.
"""
cimport cython
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from feedhandler._records cimport Message, Packet
from feedhandler._wire cimport fh_be16
from feedhandler.session._framing cimport FRAME_BAD, FRAME_DATA, FRAME_END, FRAME_NONE, Frame, Framing, begin
from feedhandler.session._stitch cimport FH_BLOCK_MAX, fh_stitch_advance, fh_stitch_clear, fh_stitch_peek

cdef enum:
    AT_ONCE = 512               # messages handed on together at most: their 8 KiB are still in the L1 cache when decoded


@cython.final
cdef class BinaryFileFraming(Framing):
    """The messages of a BinaryFILE, handed in as runs of bytes of any length."""

    def __cinit__(self):
        self.name = "binaryfile"
        self.stream = True
        self.next_seq = 1
        self.memory = <uint8_t *> malloc(2 * FH_BLOCK_MAX)
        if self.memory == NULL:
            raise MemoryError()
        self.stitch.held = self.memory
        self.stitch.other = self.memory + FH_BLOCK_MAX

    def __dealloc__(self):
        free(self.memory)

    @property
    def unfinished(self) -> int:
        """Bytes of a message that is not whole yet; other than 0 at the end of a file, the file was cut."""
        return self.stitch.held_bytes

    cdef void parse(self, const Packet *packet, Frame *frame, Message *out, int capacity) noexcept nogil:
        cdef const uint8_t *block
        cdef uint32_t length = 0
        cdef int count = 0
        begin(frame, FRAME_NONE)
        frame.session[0] = 0
        frame.session[1] = 0
        frame.first_seq = self.next_seq
        if self.ended:
            frame.kind = FRAME_BAD if packet.len > 0 else FRAME_NONE
            return
        if self.stitch.held_bytes == 0 and self.stitch.position < packet.len:
            count = self.whole(packet, out, capacity if capacity < AT_ONCE else AT_ONCE)
        while True:
            if count == capacity or count == AT_ONCE:
                frame.more = 1
                break
            block = fh_stitch_peek(&self.stitch, packet.data, packet.len, &length)
            if block == NULL:
                break
            if length == 0:
                if count > 0:                   # first the data; this block is looked at again
                    frame.more = 1
                    break
                fh_stitch_advance(&self.stitch, length)
                frame.kind = FRAME_END
                frame.more = self.stitch.position < packet.len      # what follows the end is bad
                fh_stitch_clear(&self.stitch)
                self.ended = True
                break
            out[count].data = block
            out[count].len = length
            count += 1
            fh_stitch_advance(&self.stitch, length)
        frame.count = count
        if count > 0:
            frame.kind = FRAME_DATA
            self.next_seq += count

    cdef int whole(self, const Packet *packet, Message *out, int most) noexcept nogil:
        """The messages that lie whole in the run, nearly all: up to one that is empty or cut."""
        cdef const uint8_t *p = packet.data + self.stitch.position
        cdef const uint8_t *end = packet.data + packet.len
        cdef uint32_t length
        cdef int count = 0
        while count < most and end - p >= 2:
            length = fh_be16(p)
            if length == 0 or <uint32_t> (end - p) - 2 < length:
                break
            out[count].data = p + 2
            out[count].len = length
            count += 1
            p += 2 + length
        self.stitch.position = <uint32_t> (p - packet.data)
        return count

    cdef void reset(self) noexcept nogil:
        fh_stitch_clear(&self.stitch)
        self.next_seq = 1
        self.ended = False
