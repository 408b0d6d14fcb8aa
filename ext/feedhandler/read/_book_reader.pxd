"""One book of a Reader: what `feedhandler.read.views.Book` is made of."""
cimport numpy as cnp
from libc.stdint cimport uint32_t
from feedhandler._records cimport BookSlot, LastTrade, Volume
from feedhandler.read._reader cimport Reader

cdef class BookReader:
    """`instrument` is 0 while the segment does not know the symbol."""
    cdef readonly Reader reader
    cdef readonly uint32_t instrument
    cdef BookSlot head          # as of the last snapshot() or top(): what seen_... tell
    cdef BookSlot present       # as of the last question after what is true now
    cdef LastTrade trade
    cdef Volume traded
    cdef int _look(self) except -1
    cdef int _fill(self, cnp.ndarray out) except -1
    cdef int _refresh(self) except -1
