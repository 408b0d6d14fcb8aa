"""The contract of every receiver: packets in."""
from libc.stdint cimport INT64_MIN, int64_t, uint64_t
from libc.stdlib cimport calloc, free
from feedhandler._records cimport LINE_COUNTERS, Packet


cdef class Receiver:
    def __cinit__(self, int lines=1, *args, **kwargs):
        if lines < 1 or lines > 64:
            raise ValueError(f"lines must be 1 to 64, not {lines}")
        self.lines = lines
        self.own_counters = <uint64_t *> calloc(lines * LINE_COUNTERS, sizeof(uint64_t))
        if self.own_counters == NULL:
            raise MemoryError()
        self.counters = self.own_counters
        self.counter_stride = LINE_COUNTERS

    def __dealloc__(self):
        free(self.own_counters)

    cdef int poll(self, Packet *out, int capacity) noexcept nogil:
        """Packets written, 0 when idle, END_OF_INPUT when nothing more will come, another -errno when it has failed."""
        return END_OF_INPUT

    cdef void release(self) noexcept nogil:
        """Give the packets of the last poll() back to the kernel or the NIC."""

    cdef int wait(self, int64_t timeout_ns) noexcept nogil:
        """Sleep until a packet may be there or the time is up; 1, 0, or -errno. The one call that may block."""
        return 0

    cdef int64_t now(self) noexcept nogil:
        """The clock of an idle turn in ns since the Unix epoch; INT64_MIN where time passes only with packets (files)."""
        return INT64_MIN

    cdef void bind(self, uint64_t *counters, int stride_words) noexcept:
        """Count into the segment's line records from now on; what was counted before is carried over."""
        cdef int line, i
        for line in range(self.lines):
            for i in range(LINE_COUNTERS):
                counters[line * stride_words + i] += self.counters[line * self.counter_stride + i]
        self.counters = counters
        self.counter_stride = stride_words
