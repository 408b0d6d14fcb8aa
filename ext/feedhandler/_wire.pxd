"""wire.h for Cython: unaligned loads and stores of the two byte orders."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "wire.h" nogil:
    uint8_t fh_u8(const uint8_t *p)
    uint16_t fh_le16(const uint8_t *p)
    uint32_t fh_le32(const uint8_t *p)
    uint64_t fh_le64(const uint8_t *p)
    uint16_t fh_be16(const uint8_t *p)
    uint32_t fh_be32(const uint8_t *p)
    uint64_t fh_be48(const uint8_t *p)
    uint64_t fh_be64(const uint8_t *p)
    void fh_put_le16(uint8_t *p, uint16_t v)
    void fh_put_le32(uint8_t *p, uint32_t v)
    void fh_put_le64(uint8_t *p, uint64_t v)
    void fh_put_be16(uint8_t *p, uint16_t v)
    void fh_put_be32(uint8_t *p, uint32_t v)
    void fh_put_be48(uint8_t *p, uint64_t v)
    void fh_put_be64(uint8_t *p, uint64_t v)
