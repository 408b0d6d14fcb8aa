"""Which of the numbered trades have been handed out already, whichever connections brought them."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    PAST = 4                    # spans of connections that are over, kept of one instrument

cdef struct Span:               # a connection brings all from the first it brought to the last
    uint64_t first, last        # last < first: it has brought none

cdef class Trades:
    """Trades(lines, instruments): all numbers rise with the trades of their instrument; not each need be there."""
    cdef uint32_t lines, instruments
    cdef Span *open                         # of the connections that there are, by line, then by instrument
    cdef Span *past                         # PAST of each instrument
    cdef int64_t *ended                     # when the last one that is over was

    # Whether trade `number` of an instrument was handed out.
    cdef bint known(self, uint32_t instrument, uint64_t number, int64_t now) noexcept nogil
    # The line has brought it, and it was handed out, now or before.
    cdef void brought(self, uint32_t line, uint32_t instrument, uint64_t number, int64_t now) noexcept nogil
    # What this line brings from now on of one instrument, of all of them, does not continue what it brought before.
    cdef void broken(self, uint32_t line, uint32_t instrument, int64_t now) noexcept nogil
    cdef void lost(self, uint32_t line, uint32_t end, int64_t now) noexcept nogil

    cdef inline Span *span(self, uint32_t line, uint32_t instrument) noexcept nogil:
        return &self.open[<size_t> line * self.instruments + instrument]
