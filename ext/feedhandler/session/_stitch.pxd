"""stitch.h for Cython: length-prefixed blocks out of a stream that was cut anywhere."""
from libc.stdint cimport uint8_t, uint32_t

cdef extern from "stitch.h" nogil:
    enum:
        FH_BLOCK_MAX

    struct fh_stitch:
        uint8_t *held
        uint8_t *other
        uint32_t held_bytes
        uint32_t position

    const uint8_t *fh_stitch_peek(fh_stitch *s, const uint8_t *data, uint32_t len, uint32_t *length)
    void fh_stitch_advance(fh_stitch *s, uint32_t length)
    void fh_stitch_clear(fh_stitch *s)
