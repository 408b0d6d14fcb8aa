"""ring.h for Cython: the event ring's two ends."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from "ring.h" nogil:
    void fh_ring_write(uint64_t *slots, uint64_t mask, uint64_t n, const uint64_t *event)
    void fh_ring_prefetch(const uint64_t *slots, uint64_t mask, uint64_t n)
    int fh_ring_read(const uint64_t *slots, uint64_t mask, const uint64_t *head, uint64_t *next, uint64_t *out,
                     int capacity, const uint8_t *wanted, uint32_t instruments, uint64_t *lost)
    uint64_t fh_ring_intact(const uint64_t *slots, uint64_t mask, uint64_t first, uint64_t count)
