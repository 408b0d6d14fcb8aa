"""histogram.h for Cython: latencies in fixed buckets."""
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "histogram.h" nogil:
    uint32_t fh_histogram_bucket(uint64_t v)
    uint64_t fh_histogram_ceiling(uint32_t bucket)
    void fh_histogram_add(uint64_t *words, uint64_t v)
