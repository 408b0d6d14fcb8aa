"""What is over: sessions left and gaps given up, to tell what is late from what is a duplicate."""
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    LEFT_MAX = 64               # sessions remembered after they were left
    GAPS_MAX = 64               # gaps of the present session remembered

cdef struct Missing:
    uint64_t first
    uint64_t count

cdef class Past:
    """One per channel; what does not fit any more is forgotten, the oldest first."""
    cdef uint64_t left[LEFT_MAX][2]
    cdef uint32_t left_count
    cdef Missing missing[GAPS_MAX]
    cdef uint32_t missing_count

    cdef void leave(self, const uint64_t *session) noexcept nogil
    cdef bint was_left(self, const uint64_t *session) noexcept nogil
    cdef void begin(self) noexcept nogil
    cdef void give_up(self, uint64_t first, uint64_t count) noexcept nogil
    cdef uint64_t given_up_in(self, uint64_t first, uint64_t count) noexcept nogil
