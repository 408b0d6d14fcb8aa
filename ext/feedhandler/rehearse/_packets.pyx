"""A receiver whose packets and whose clock are set from outside: virtual time."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t

from feedhandler._counters cimport LN_BYTES, LN_PACKETS
from feedhandler._records cimport Packet
from feedhandler.receive._receiver cimport Receiver

cdef enum:
    ROOM = 64


@cython.final
cdef class PacketQueue(Receiver):
    """PacketQueue(lines): put() packets, let the shard step() over them, set `clock` for its idle turns."""
    cdef Packet waiting[ROOM]
    cdef list kept                          # the bytes that `waiting` points into
    cdef int first, end
    cdef public int64_t clock               # ns since the Unix epoch: what now() says

    def __cinit__(self, int lines=1):
        self.kept = []
        self.clock = INT64_MIN

    def put(self, uint32_t line, int64_t ts_recv, bytes payload not None):
        """One more packet, of at most 64 that wait; the clock goes to its time."""
        cdef Packet *packet
        if line >= <uint32_t> self.lines:
            raise ValueError(f"line {line}: there are {self.lines}")
        if self.first == self.end:
            self.first = self.end = 0
            self.kept.clear()
        if self.end == ROOM:
            raise ValueError(f"{ROOM} packets wait already: step over them first")
        self.kept.append(payload)
        packet = &self.waiting[self.end]
        packet.data = <const uint8_t *> PyBytes_AS_STRING(payload)
        packet.len = <uint32_t> PyBytes_GET_SIZE(payload)
        packet.line = line
        packet.ts_recv = ts_recv
        self.clock = ts_recv
        self.end += 1

    def connect(self, int line, uint32_t connections, uint32_t state):
        """Of a line that is a recorded stream: its connections so far, and its state (LINE_...), between two packets."""
        if not 0 <= line < self.lines:
            raise ValueError(f"line {line}: there are {self.lines}")
        self.status[line].connections, self.status[line].state = connections, state

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        cdef int i, n = min(capacity, self.end - self.first)
        cdef int64_t at
        for i in range(n):
            out[i] = self.waiting[self.first + i]
            at = out[i].line * self.counter_stride
            self.counters[at + LN_PACKETS] += 1
            self.counters[at + LN_BYTES] += out[i].len
        self.first += n
        return n

    cdef int64_t now(self) noexcept nogil:
        return self.clock
