"""Through a recording at the speed of its files: every packet to the sequences, and into a timeline.

The timeline is a row of buckets of equal width for each line. It begins with the first packet; when a packet comes behind
its end, two buckets become one, so that a second and a day fit alike.
"""
cimport cython
from libc.stdint cimport INT64_MIN, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from feedhandler._records cimport Packet
from feedhandler.receive._receiver cimport END_OF_INPUT, RECEIVE_BATCH, Receiver
from feedhandler.recording._sequences cimport Sequences

import numpy as np

cdef enum:                      # of a bucket
    PACKETS = 0
    BYTES = 1                   # of payloads
    LOST = 2                    # numbers that the line passed over ...
    CAME = 3                    # ... and that came on it after all
    AHEAD = 4                   # numbers that no line had brought when this line went past them ...
    FILLED = 5                  # ... and that this line brought after all
    FIELDS = 6

    FIRST_WIDTH_NS = 100_000
    IDLE_TURNS = 1000


@cython.final
cdef class Walk:
    """Walk(receiver, sequences): step() until it says 0. `buckets`, a power of two, is the length of the timeline.

    `begin`, ns since the Unix epoch: packets before it, of streams, are parsed and do not count.
    """
    cdef Receiver receiver
    cdef Sequences sequences
    cdef uint32_t *connections              # of each line that were begun so far
    cdef object memory
    cdef uint64_t[:, :, ::1] rows
    cdef int buckets
    cdef int64_t begin
    cdef readonly int64_t start             # the time of the first packet, ns since the Unix epoch
    cdef readonly int64_t width             # of a bucket, ns
    cdef readonly uint64_t packets
    cdef readonly bint ended

    def __cinit__(self, Receiver receiver not None, Sequences sequences not None, *, int buckets=2048,
                  int64_t begin=INT64_MIN):
        if sequences.lines != receiver.lines:
            raise ValueError(f"the receiver has {receiver.lines} lines, the sequences {sequences.lines}")
        if not 2 <= buckets <= 1 << 20 or buckets & (buckets - 1):
            raise ValueError(f"buckets must be a power of two from 2 to {1 << 20}, not {buckets}")
        self.receiver = receiver
        self.sequences = sequences
        self.buckets = buckets
        self.begin = begin
        self.width = FIRST_WIDTH_NS
        self.memory = np.zeros((receiver.lines, buckets, FIELDS), dtype=np.uint64)
        self.rows = self.memory
        self.connections = <uint32_t *> calloc(receiver.lines, sizeof(uint32_t))
        if self.connections == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.connections)

    def step(self, int64_t limit=1 << 18):
        """Take at most `limit` packets, without the GIL: how many there were; 0 at the end of the input.

        Raises OSError when the receiver fails; what a file has wrong is told by the receiver's `error` at the end.
        """
        cdef int64_t taken = 0
        cdef int idle = 0
        cdef int n = 0
        with nogil:
            while taken < limit and idle < IDLE_TURNS:
                n = self.turn(<int> min(<int64_t> RECEIVE_BATCH, limit - taken))
                if n < 0:
                    break
                taken += n
                idle = 0 if n > 0 else idle + 1
        if n < 0:
            self.ended = True
            if n != END_OF_INPUT:
                raise OSError(-n, "the recording cannot be read on")
        self.packets += <uint64_t> taken
        return taken

    cdef int turn(self, int most) noexcept nogil:
        """A batch of packets."""
        cdef Packet packets[RECEIVE_BATCH]
        cdef uint32_t line
        cdef int i, n = self.receiver.poll(packets, most)
        for i in range(n):
            line = packets[i].line
            if line >= <uint32_t> self.receiver.lines:
                continue
            if self.receiver.status[line].connections != self.connections[line]:
                self.connections[line] = self.receiver.status[line].connections
                self.sequences.connected(line)
            if packets[i].ts_recv < self.begin:
                self.sequences.pass_over(&packets[i])
                continue
            self.sequences.saw(&packets[i])
            self.count(&packets[i])
        if n > 0:
            self.receiver.release()
        return n

    cdef void count(self, const Packet *packet) noexcept nogil:
        """The packet into its bucket; what it brought that was missing, into the one where it was missed."""
        cdef uint64_t *bucket
        if self.start == 0:
            self.start = packet.ts_recv
        bucket = self.bucket(packet.line, packet.ts_recv)
        bucket[PACKETS] += 1
        bucket[BYTES] += packet.len
        bucket[LOST] += self.sequences.last.opened
        bucket[AHEAD] += self.sequences.last.ahead
        if self.sequences.last.own > 0:
            self.bucket(packet.line, self.sequences.last.own_since)[CAME] += self.sequences.last.own
        if self.sequences.last.filled > 0:
            self.bucket(packet.line, self.sequences.last.filled_since)[FILLED] += self.sequences.last.filled

    cdef uint64_t *bucket(self, uint32_t line, int64_t ts) noexcept nogil:
        cdef uint64_t at = 0
        if ts > self.start:
            at = <uint64_t> ts - <uint64_t> self.start
            while at // <uint64_t> self.width >= <uint64_t> self.buckets:
                self.fold()
            at = at // <uint64_t> self.width
        return &self.rows[line, at, 0]

    cdef void fold(self) noexcept nogil:
        """Buckets twice as wide."""
        cdef int line, i, field
        cdef uint64_t *row
        for line in range(self.receiver.lines):
            row = &self.rows[line, 0, 0]
            for i in range(self.buckets // 2):
                for field in range(FIELDS):
                    row[i * FIELDS + field] = row[2 * i * FIELDS + field] + row[(2 * i + 1) * FIELDS + field]
            for i in range(self.buckets // 2 * FIELDS, self.buckets * FIELDS):
                row[i] = 0
        self.width *= 2

    def timeline(self):
        """What was counted: u64 of shape (lines, buckets, 6), the fields being packets, bytes of payloads, numbers lost on
        the line, of these come after all, numbers that the channel lacked, of these brought by the line. A copy."""
        return self.memory.copy()
