"""The books of a line that feeds none of the published ones, kept in private until it must."""
from libc.stdint cimport int64_t, uint32_t
from feedhandler._records cimport Event
from feedhandler.book._level_book cimport LevelBook

cdef class Standby:
    cdef readonly LevelBook books

    cdef int emit(self, uint32_t instrument, uint32_t at, uint32_t line, int64_t ts_recv, Event *out, int room) noexcept nogil
