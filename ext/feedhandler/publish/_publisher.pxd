"""The contract of the publisher: the writer's end of a shared segment."""
from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport (ChannelRecord, Event, Histogram, InstrumentRecord, LineRecord, Part, RingHead,
                                   SegmentHeader)

cdef class Publisher:
    """The writer's end of a segment: pointers to all its parts, and the one way into the event ring."""
    cdef object memory                      # the mapping; kept alive as long as we are
    cdef Py_buffer view
    cdef bint held
    cdef uint8_t *base
    cdef SegmentHeader *header
    cdef Part *parts
    cdef RingHead *ring
    cdef Event *slots
    cdef uint64_t mask
    cdef uint64_t head                      # number of the last event published
    cdef ChannelRecord *channels
    cdef LineRecord *lines
    cdef Histogram *histograms              # the shard's
    cdef Histogram *leads                   # of each line: behind those of all shards
    cdef InstrumentRecord *directory
    cdef uint32_t *symbols
    cdef uint8_t *books

    cdef uint8_t *_record(self, uint32_t part, uint64_t index) noexcept
    cdef void publish(self, const Event *events, int count) noexcept nogil
    cdef void beat(self, int64_t monotonic) noexcept nogil
    cdef void record(self, uint32_t histogram, int64_t nanoseconds) noexcept nogil
