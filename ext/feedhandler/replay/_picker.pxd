"""Which messages belong to some symbols."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    IDS = 65536
    FREE = 0
    WANTED = 1
    MET = 2

cdef class Picker:
    cdef int symbol_at[256]                 # by type: where the message names its symbol; -1 = it does not
    cdef int id_at[256]                     # by type: where it carries the feed's own id; -1 = it does not
    cdef uint32_t lengths[256]              # by type: of a whole message
    cdef bint big_endian
    cdef uint8_t *wanted_ids                # IDS bytes
    cdef uint64_t *names                    # symbols as they are sent, 8 bytes each, in an open-addressing table
    cdef uint8_t *used                      # FREE, WANTED, or MET: some message has named it
    cdef tuple symbols
    cdef uint32_t mask

    cdef bint keeps(self, const uint8_t *data, uint32_t length) noexcept nogil
    cdef bint names_one(self, const uint8_t *symbol) noexcept nogil
    cdef void forget(self) noexcept nogil
