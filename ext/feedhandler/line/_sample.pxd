"""One malformed message at a time, kept for people: the hot thread puts it in, the control thread takes it out."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from feedhandler._records cimport Message

cdef enum:
    SAMPLE_BYTES = 128          # of a message; more than any of ITCH or DEEP has

cdef class Sample:
    cdef int full               # a mailbox: 1 = the rest is the control thread's
    cdef uint64_t number        # 0 = it has none
    cdef uint32_t line, length  # whole length
    cdef uint8_t data[SAMPLE_BYTES]

    cdef void keep(self, const Message *message, uint64_t number, uint32_t line) noexcept nogil
