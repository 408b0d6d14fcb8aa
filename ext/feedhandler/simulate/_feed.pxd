"""Where the messages of a sender come from, and when each of them is due."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from feedhandler._records cimport Message, Packet
from feedhandler.receive._receiver cimport Receiver
from feedhandler.session._framing cimport Framing
from feedhandler.simulate._schedule cimport Schedule

cdef enum:
    FEED_BYTES = 1 << 18        # a source is asked for at most that many bytes at a time, and at least half of it
    NEVER = 0x7FFFFFFFFFFFFFFF

cdef class BlockSource:
    """Messages as length-prefixed blocks: u16 big-endian length, message. `timed`: each behind its time, i64 ns."""
    cdef readonly bint timed
    cdef Py_ssize_t fill(self, uint8_t *out, Py_ssize_t capacity) noexcept nogil

cdef class ReceiverBlocks(BlockSource):
    """The messages of a file that a receiver reads: a BinaryFILE's as they are, a capture's each sequence number once."""
    cdef Receiver receiver
    cdef Framing framing                    # None for a BinaryFILE
    cdef Packet packets[64]
    cdef Message *messages
    cdef int at, count                      # of packets
    cdef uint64_t session[2]
    cdef uint64_t expected
    cdef readonly uint64_t missing          # sequence numbers that the capture lacks
    cdef readonly uint64_t duplicates

    cdef Py_ssize_t unwrap(self, const Packet *packet, uint8_t *out) noexcept nogil
    cdef Py_ssize_t needs(self, const Packet *packet) noexcept nogil

cdef class Feed:
    """A source, and the schedule that its messages keep from one fixed start instant."""
    cdef BlockSource source
    cdef uint8_t *buffer
    cdef Py_ssize_t at, end
    cdef bint exhausted
    cdef double interval                    # ns between messages; 0 = none
    cdef double speed                       # of the messages' own times; 0 = they do not count
    cdef int64_t start, first_time
    cdef int64_t time                       # of the block that peek() gave, where the source tells it
    cdef readonly uint64_t taken            # messages
    cdef readonly Schedule kept             # how far from its due time each message was taken by take_sequenced()

    cdef void begin(self, int64_t now) noexcept nogil
    cdef const uint8_t *peek(self, uint32_t *length) noexcept nogil
    cdef int64_t due(self) noexcept nogil
    cdef void advance(self) noexcept nogil
    cdef uint32_t pack(self, int64_t now, uint8_t *out, uint32_t capacity, uint32_t *messages) noexcept nogil
