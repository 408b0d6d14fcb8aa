"""The receiver of TCP streams: runs of bytes, as they come."""
from libc.stdint cimport int64_t, uint8_t, uint32_t
from feedhandler.receive._receiver cimport Receiver
from feedhandler.receive._wait cimport pollfd

cdef enum:                      # Connection.mailbox: a new connection's descriptor + 1, or
    MAILBOX_EMPTY = 0
    MAILBOX_LENT = -1           # its first bytes are lent out

cdef struct Connection:
    int fd                      # -1 = none
    int mailbox                 # put by the control thread when EMPTY, emptied by the polling thread
    uint32_t leftover           # bytes in `first`
    uint32_t receive_buffer
    uint8_t *first              # bytes that the login read too far: delivered before what follows
    uint8_t *buffer

cdef class StreamReceiver(Receiver):
    """One TCP connection per line, handed over by the control thread while the polling thread runs."""
    cdef readonly int buffer_bytes
    cdef readonly bint quickack
    cdef public int64_t spin_ns
    cdef Connection *table
    cdef pollfd *pollfds                    # the lines', then the bell's
    cdef uint8_t *memory
    cdef int bell                           # an eventfd: wakes wait() when a connection was handed over
    cdef int next_line
    cdef int finishing                      # a mailbox: no connection will come any more
    cdef bint lent

    cdef int take_over(self, int line, int box) noexcept nogil
    cdef void down(self, int line, int error) noexcept nogil
    cdef void close_all(self) noexcept
    cdef void ring(self) noexcept
