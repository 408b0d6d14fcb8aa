"""The machine's own limits, measured beside ours in the same run: a bare decode loop, memory latency, punctuality."""
import array
import mmap

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from feedhandler.receive._wait cimport fh_monotonic_ns

cdef extern from "floor.h" nogil:
    uint64_t fh_cpu_ns()
    uint64_t fh_floor_decode(const uint8_t *buf, size_t n, uint64_t *messages)
    void fh_floor_cycle(uint8_t *memory, uint32_t *order, uint32_t lines)
    uint64_t fh_floor_chase(const uint8_t *memory, uint64_t at, uint64_t hops)

cdef uint64_t _sink             # what the loops compute must be used, or the compiler leaves them out


def decode_floor(buffer):
    """Messages of an ITCH 5.0 BinaryFILE in memory, and the CPU nanoseconds a bare C loop takes to read their fields."""
    global _sink
    cdef Py_buffer view
    cdef uint64_t messages = 0, begin, end, checksum
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        with nogil:
            begin = fh_cpu_ns()
            checksum = fh_floor_decode(<const uint8_t *> view.buf, <size_t> view.len, &messages)
            end = fh_cpu_ns()
        _sink += checksum
    finally:
        PyBuffer_Release(&view)
    return messages, end - begin


def chase(size_t length, uint64_t hops=1_000_000):
    """CPU nanoseconds of one dependent load from a random cache line of `length` bytes, over `hops` of them."""
    global _sink
    cdef size_t lines = length // 64
    cdef uint64_t begin, end, at
    cdef Py_buffer view
    if lines < 2 or lines >= 1 << 32:
        raise ValueError(f"length must be 128 bytes to 256 GiB, not {length}")
    memory = mmap.mmap(-1, lines * 64, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    cdef uint32_t *order = <uint32_t *> malloc(lines * sizeof(uint32_t))
    if order == NULL:
        raise MemoryError()
    PyObject_GetBuffer(memory, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
    with nogil:
        fh_floor_cycle(<uint8_t *> view.buf, order, <uint32_t> lines)
        at = fh_floor_chase(<const uint8_t *> view.buf, 0, hops if hops < lines else lines)
        begin = fh_cpu_ns()
        at = fh_floor_chase(<const uint8_t *> view.buf, at, hops)
        end = fh_cpu_ns()
    _sink += at
    free(order)
    PyBuffer_Release(&view)
    memory.close()
    return (end - begin) / hops


def lateness(int64_t period_ns, int count):
    """Nanoseconds by which a loop that does nothing but look at the clock sees each of `count` due times too late.

    array.array of type "q". What is late here is late in any program: the scheduler or the host had the CPU.
    """
    errors = array.array("q", bytes(8 * count))
    cdef int64_t[::1] out = errors
    cdef int64_t due, now
    cdef int i
    if period_ns < 1 or count < 1:
        raise ValueError(f"period_ns and count are at least 1, not {period_ns} and {count}")
    with nogil:
        due = fh_monotonic_ns()
        for i in range(count):
            due += period_ns
            now = fh_monotonic_ns()
            while now < due:
                now = fh_monotonic_ns()
            out[i] = now - due
    return errors
