"""spsc.h for Cython: records from one thread to one other."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "spsc.h" nogil:
    ctypedef struct fh_spsc "struct fh_spsc":
        uint8_t *bytes
        uint64_t size

    bint fh_spsc_begin(fh_spsc *r, uint64_t bytes)
    void fh_spsc_end(fh_spsc *r)
    uint8_t *fh_spsc_room(fh_spsc *r, uint32_t length)
    void fh_spsc_put(fh_spsc *r)
    uint64_t fh_spsc_free(const fh_spsc *r)
    int fh_spsc_waiting(const fh_spsc *r)
    const uint8_t *fh_spsc_look(fh_spsc *r, uint32_t *length)
    void fh_spsc_took(fh_spsc *r)
    uint64_t fh_spsc_tail(const fh_spsc *r)
    const uint8_t *fh_spsc_peek(fh_spsc *r, uint64_t *at, uint32_t *length)
    void fh_spsc_took_to(fh_spsc *r, uint64_t at)
