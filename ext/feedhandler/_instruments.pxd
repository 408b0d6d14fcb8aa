"""The instrument directory as its one writer sees it: append, and map a feed's own ids to it."""
from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport InstrumentRecord, Part

cdef class Instruments:
    """Directory and symbol table of one shard's segment. Allocates only when it is made.

    An index stays with its (venue, symbol) for the life of the segment; a feed's own id maps to one per channel and
    day. Index 0 is nobody.
    """
    cdef InstrumentRecord *records
    cdef uint32_t *table                    # the symbol table of the segment; 0 = free
    cdef uint32_t table_mask
    cdef Part *part                         # part.used = entries + 1, stored last with release; readers load it first
    cdef uint32_t capacity                  # records, the unused 0 included
    cdef uint64_t full                      # definitions refused for want of room
    cdef Py_buffer views[3]                 # records, table, part: held as long as we are
    cdef int held

    # define(): the index of (venue, symbol), made when new; 0 = no room (counted in `full`) or no symbol (empty, not
    # printable ASCII). Right-hand blanks of the symbol do not count; venue is 8 bytes, zero-padded.
    cdef uint32_t define(self, const char *symbol, uint32_t symbol_len, const char *venue, uint16_t channel) noexcept nogil
    cdef uint32_t find(self, const char *symbol, uint32_t symbol_len, const char *venue) noexcept nogil
