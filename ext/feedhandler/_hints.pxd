"""hints.h for Cython: branches that are hardly ever taken, cache lines that will be wanted."""

cdef extern from "hints.h" nogil:
    bint unlikely "FH_UNLIKELY"(bint x)
    void fetch_to_read "FH_FETCH_TO_READ"(size_t address)       # any address: one that is none is fetched in vain
    void fetch_to_write "FH_FETCH_TO_WRITE"(size_t address)
