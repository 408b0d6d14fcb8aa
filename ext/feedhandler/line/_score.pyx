"""The score of a channel's lines. All of it stands in the .pxd, to be part of the arbiter's fast path."""
cimport cython
from libc.string cimport memset


@cython.final
cdef class Score:
    cdef void begin(self) noexcept nogil:
        """The numbers begin anew."""
        self.count = 0
        memset(self.place, 0, sizeof(self.place))
