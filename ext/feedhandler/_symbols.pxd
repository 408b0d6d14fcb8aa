"""symbols.h for Cython: the segment's symbol table, for its writer and its readers."""
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "symbols.h" nogil:
    enum:
        FH_KEY_WORDS
        FH_SYMBOL_LENGTH
        FH_VENUE_LENGTH
        FH_INSTRUMENT_BYTES
    int fh_symbol_key(uint64_t *key, const char *symbol, uint32_t length, const char *venue)
    uint32_t fh_symbol_find(const void *records, uint32_t capacity, const uint32_t *table, uint32_t mask,
                            const uint64_t *key, uint32_t *place)
    void fh_store_u32_release(uint32_t *p, uint32_t v)
    void fh_store_u64_release(uint64_t *p, uint64_t v)
    uint32_t fh_name_slot(uint64_t name, uint32_t mask)
    uint32_t fh_name_find(const uint64_t *names, uint32_t mask, uint64_t name)
