"""The receiver of TCP streams: runs of bytes, as they come."""
from libc.stdint cimport int64_t, uint8_t, uint32_t
from feedhandler._spsc cimport fh_spsc
from feedhandler.receive._receiver cimport Receiver
from feedhandler.receive._tls cimport fh_tls
from feedhandler.receive._wait cimport pollfd
from feedhandler.session._outbox cimport fh_outbox

cdef enum:                      # Connection.mailbox: a new connection's descriptor + 1, or
    MAILBOX_EMPTY = 0
    MAILBOX_LENT = -1           # its first bytes are lent out

cdef enum:
    SEND_RING_BYTES = 262144    # of what the control thread sends, a line
    SEND_BYTES_MAX = 65536      # in one send()
    QUICKACK_NS = 1_000_000     # between two requests for acknowledgements at once

cdef struct Connection:
    int fd                      # -1 = none
    int mailbox                 # put by the control thread when EMPTY, emptied by the polling thread
    uint32_t leftover           # bytes in `first`
    uint32_t receive_buffer
    uint8_t *first              # bytes that the login read too far: delivered before what follows
    uint8_t *buffer
    fh_tls *tls                 # NULL: plain bytes
    fh_tls *next_tls            # of the connection in the mailbox
    fh_outbox *outbox           # the framing's answers; NULL: none
    fh_spsc ring                # what the control thread sends: the connection's number, then whole frames
    uint32_t offered            # connections ever put into the mailbox; the control thread's
    uint32_t sent               # bytes of the ring's oldest record that are with the kernel
    bint begun                  # ... and it must be ended before anything else is sent
    bint blocked                # the socket has no room
    bint drained                # the last run took all there was: the next poll() need not ask
    int64_t acknowledged        # when TCP_QUICKACK was asked for last

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
    cdef readonly int64_t unsent            # send()s whose connection was over before they went out
    cdef list owners                        # per line: the Tls before and the present one, and the Outbox

    cdef int take_over(self, int line, int box) noexcept nogil
    cdef int64_t receive(self, int line, int *error) noexcept nogil
    cdef int64_t put(self, int line, const uint8_t *data, uint32_t length) noexcept nogil
    cdef void flush(self, int line) noexcept nogil
    cdef void hang_up(self, Connection *own) noexcept nogil
    cdef void down(self, int line, int error) noexcept nogil
    cdef void close_all(self) noexcept
    cdef void ring(self) noexcept
