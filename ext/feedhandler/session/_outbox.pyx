"""What a framing answers with (pong, close): a small buffer that parse() fills and the receiver's poll() drains."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc


cdef class Outbox:
    """`capacity` bytes. Goes to `StreamReceiver.answer_with`; a recorded or replayed line has no one to answer to."""

    def __cinit__(self, uint32_t capacity=4096):
        if not 256 <= capacity <= 1 << 20:
            raise ValueError(f"capacity must be 256 to {1 << 20} bytes, not {capacity}")
        self.box.capacity = capacity
        self.box.bytes = <uint8_t *> malloc(capacity)
        if self.box.bytes == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.box.bytes)

    def put(self, bytes data not None):
        """Append one whole frame; False, and counted in `refused`, where it does not fit. For tests and tools."""
        return fh_outbox_put(&self.box, <const uint8_t *> data, <uint32_t> len(data))

    def sent(self, uint32_t length):
        """So many bytes of `waiting` are sent. For tests and tools."""
        if length > fh_outbox_waiting(&self.box):
            raise ValueError(f"{fh_outbox_waiting(&self.box)} bytes wait, not {length}")
        fh_outbox_sent(&self.box, length)

    @property
    def waiting(self):
        """The bytes still to be sent."""
        return PyBytes_FromStringAndSize(<const char *> (self.box.bytes + self.box.begin), fh_outbox_waiting(&self.box))

    @property
    def capacity(self):
        return self.box.capacity

    @property
    def refused(self):
        """Puts that found no room."""
        return self.box.refused
