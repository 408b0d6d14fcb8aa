"""Which of the numbered trades have been handed out already, whichever connections brought them.

A connection brings all trades of an instrument from its first on, in order, so what it has brought is one span of numbers.
A trade was handed out when it lies in the span of any connection, of one that is over, too. Numbers that are missing (the
venue may number the trades of all its instruments in one row) so do not matter, nor how far one line is behind another: what
no span holds has been brought by nobody, though later ones may have, and is handed out late.

Numbers that a new connection brings again, long after all others ended, are of trades that were numbered anew.
"""
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from feedhandler.line._suspicion cimport since

cdef enum:
    ANEW_NS = 10000000000       # no server of a venue is so far behind another


cdef inline bint holds(const Span *span, uint64_t number) noexcept nogil:
    return span.first <= number <= span.last


@cython.final
cdef class Trades:
    def __cinit__(self, uint32_t lines, uint32_t instruments):
        cdef size_t i
        self.lines, self.instruments = lines, instruments
        self.open = <Span *> calloc(<size_t> lines * instruments, sizeof(Span))
        self.past = <Span *> calloc(<size_t> PAST * instruments, sizeof(Span))
        self.ended = <int64_t *> calloc(instruments, sizeof(int64_t))
        if self.open == NULL or self.past == NULL or self.ended == NULL:
            raise MemoryError()
        for i in range(<size_t> lines * instruments):
            self.open[i].first = 1
        for i in range(<size_t> PAST * instruments):
            self.past[i].first = 1

    def __dealloc__(self):
        free(self.open)
        free(self.past)
        free(self.ended)

    cdef bint known(self, uint32_t instrument, uint64_t number, int64_t now) noexcept nogil:
        cdef Span *past = &self.past[<size_t> PAST * instrument]
        cdef Span *span
        cdef bint alone = True
        cdef uint32_t line
        cdef int i
        for line in range(self.lines):
            span = self.span(line, instrument)
            if holds(span, number):
                return True
            alone = alone and span.last < span.first
        if alone and since(now, self.ended[instrument]) > <int64_t> ANEW_NS:
            for i in range(PAST):
                past[i].first, past[i].last = 1, 0
            return False
        for i in range(PAST):
            if holds(&past[i], number):
                return True
        return False

    cdef void brought(self, uint32_t line, uint32_t instrument, uint64_t number, int64_t now) noexcept nogil:
        cdef Span *span = self.span(line, instrument)
        if line >= self.lines:          # the control line brings none
            return
        if span.first <= span.last and number < span.first:
            self.broken(line, instrument, now)
        if span.last < span.first:
            span.first = span.last = number
        elif number > span.last:
            span.last = number

    cdef void broken(self, uint32_t line, uint32_t instrument, int64_t now) noexcept nogil:
        cdef Span *span = self.span(line, instrument)
        cdef Span *past = &self.past[<size_t> PAST * instrument]
        cdef Span *least = past
        cdef Span *second
        cdef int i
        if line >= self.lines or span.last < span.first:
            return
        self.ended[instrument] = now
        for i in range(PAST):           # all that it overlaps or continues make one with it
            if past[i].first <= past[i].last and past[i].first <= span.last + 1 and span.first <= past[i].last + 1:
                span.first, span.last = min(span.first, past[i].first), max(span.last, past[i].last)
                past[i].first, past[i].last = 1, 0
        for i in range(PAST):
            if past[i].last < past[i].first:
                past[i] = span[0]
                break
        else:                           # no room: the lowest two are one, and what lies between them comes too late
            second = &past[1]
            if second.first < least.first:
                least, second = second, least
            for i in range(2, PAST):
                if past[i].first < least.first:
                    least, second = &past[i], least
                elif past[i].first < second.first:
                    second = &past[i]
            if span.first < second.first:
                least.first, least.last = min(least.first, span.first), max(least.last, span.last)
            else:
                second.first = least.first
                least[0] = span[0]
        span.first, span.last = 1, 0

    cdef void lost(self, uint32_t line, uint32_t end, int64_t now) noexcept nogil:
        cdef uint32_t i
        for i in range(1, end):
            self.broken(line, i, now)
