from libc.stdint cimport uint8_t, uint64_t
from feedhandler._records cimport Message, Packet
from feedhandler.session._framing cimport Framing
from feedhandler.session._stitch cimport fh_stitch


cdef class BinaryFileFraming(Framing):
    cdef uint8_t *memory                    # the stitch's two buffers
    cdef fh_stitch stitch
    cdef uint64_t next_seq
    cdef readonly bint ended                # the end of session was seen; a file without it is incomplete

    cdef int whole(self, const Packet *packet, Message *out, int most) noexcept nogil
