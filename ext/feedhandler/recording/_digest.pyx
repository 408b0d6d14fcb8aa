"""XXH64 of bytes, for Python: checksums of records, and hashes of what they hold."""
import numpy as np

from libc.stdint cimport uint8_t, uint64_t

cdef extern from "xxh64.h" nogil:
    uint64_t fh_xxh64(const uint8_t *p, size_t count)


def xxh64(const uint8_t[::1] data not None):
    """XXH64, seed 0, of the bytes."""
    cdef uint64_t hash
    cdef uint8_t nothing = 0
    if data.shape[0] == 0:
        return fh_xxh64(&nothing, 0)
    with nogil:
        hash = fh_xxh64(&data[0], <size_t> data.shape[0])
    return hash


def each(const uint8_t[::1] data not None, Py_ssize_t width):
    """XXH64 of each `width` bytes, as uint64. Raises ValueError when the data do not come out even."""
    cdef Py_ssize_t i
    if width < 1 or data.shape[0] % width:
        raise ValueError(f"{data.shape[0]} bytes are no rows of {width}")
    found = np.empty(data.shape[0] // width, np.uint64)
    cdef uint64_t[::1] hashes = found
    with nogil:
        for i in range(hashes.shape[0]):
            hashes[i] = fh_xxh64(&data[i * width], <size_t> width)
    return found
