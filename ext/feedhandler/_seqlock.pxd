"""seqlock.h for Cython: single words and whole records that one process writes and others read meanwhile."""
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "seqlock.h" nogil:
    uint64_t fh_load(const uint64_t *p)
    uint64_t fh_load_acquire(const uint64_t *p)
    void fh_store(uint64_t *p, uint64_t v)
    void fh_store_release(uint64_t *p, uint64_t v)
    uint32_t fh_load32(const uint32_t *p)
    uint32_t fh_load32_acquire(const uint32_t *p)
    void fh_store32(uint32_t *p, uint32_t v)
    void fh_store32_release(uint32_t *p, uint32_t v)
    void fh_store_words(uint64_t *dst, const uint64_t *src, size_t words)
    void fh_load_words(uint64_t *dst, const uint64_t *src, size_t words)
    void fh_seq_begin(uint64_t *seq)
    void fh_seq_end(uint64_t *seq)
    void fh_seq_write(uint64_t *seq, uint64_t *dst, const uint64_t *src, size_t words)
    uint64_t fh_seq_enter(const uint64_t *seq)
    bint fh_seq_unchanged(const uint64_t *seq, uint64_t entered)
    bint fh_seq_read(const uint64_t *seq, uint64_t *dst, const uint64_t *src, size_t words, int tries)
    void fh_pause()
