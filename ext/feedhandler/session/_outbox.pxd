"""What a framing answers with (pong, close): a small buffer that parse() fills and the receiver's poll() drains."""
from libc.stdint cimport uint8_t, uint32_t

cdef extern from "outbox.h" nogil:
    ctypedef struct fh_outbox "struct fh_outbox":
        uint8_t *bytes
        uint32_t capacity
        uint32_t begin                      # bytes[begin:end] are still to be sent
        uint32_t end
        uint32_t refused                    # puts that found no room

    uint32_t fh_outbox_waiting(const fh_outbox *box)
    void fh_outbox_clear(fh_outbox *box)
    bint fh_outbox_put(fh_outbox *box, const uint8_t *data, uint32_t length)
    void fh_outbox_sent(fh_outbox *box, uint32_t length)

cdef class Outbox:
    """Whole frames, in order: fh_outbox_put(&outbox.box, ...). Both sides are on the polling thread: no lock, no atomic."""
    cdef fh_outbox box
