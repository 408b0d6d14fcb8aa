from libc.stdint cimport uint8_t, uint32_t, uint64_t
from feedhandler._records cimport Message
from feedhandler.session._framing cimport Frame, Framing
from feedhandler.session._stitch cimport fh_stitch


cdef class SoupBinTcpFraming(Framing):
    cdef uint8_t *memory                    # the stitch's two buffers
    cdef fh_stitch stitch
    cdef uint64_t session[2]
    cdef uint64_t next_seq                  # number of the next sequenced message; 0 = not logged in
    cdef bint broken                        # blocks cannot be told apart any more; until reset()

    cdef void control(self, const uint8_t *block, uint32_t length, Frame *frame, Message *out) noexcept nogil
    cdef bint accept(self, const uint8_t *block) noexcept nogil
