"""The writer's end of a segment: events into the ring, heartbeats, latencies. What it may promise stands in ring.h."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._histogram cimport fh_histogram_add, fh_histogram_bucket, fh_histogram_ceiling
from feedhandler._records cimport (HISTOGRAM_BUCKETS, HISTOGRAMS, PART_BOOKS, PART_CHANNELS, PART_DIRECTORY, PART_HISTOGRAMS, PART_LINES,
                                   PART_RINGS, PART_SLOTS, PART_SYMBOLS, SEGMENT_MAGIC)
from feedhandler._ring cimport fh_ring_prefetch, fh_ring_write
from feedhandler._seqlock cimport fh_store, fh_store_release


def histogram_bucket(uint64_t nanoseconds):
    """The bucket that a latency counts in."""
    return fh_histogram_bucket(nanoseconds)


def histogram_ceilings():
    """The largest latency, in ns, that counts in each bucket; the last bucket also holds what is longer."""
    return [fh_histogram_ceiling(bucket) for bucket in range(HISTOGRAM_BUCKETS)]


cdef class Publisher:
    """Publisher(memory, shard=0) over a whole segment: `Segment.memory`, or any writable buffer of that layout.

    One shard's writer is one thread. The buffer stays borrowed as long as the publisher lives.
    Raises ValueError when `memory` holds no segment or not that shard.
    """

    def __cinit__(self, memory not None, uint32_t shard=0):
        PyObject_GetBuffer(memory, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.held = True
        self.memory = memory
        self.base = <uint8_t *> self.view.buf
        self.header = <SegmentHeader *> self.base
        if <size_t> self.view.len < sizeof(SegmentHeader) or self.header.magic != SEGMENT_MAGIC:
            raise ValueError("memory holds no segment: make one with Segment.create() or Segment.anonymous()")
        if shard >= self.header.shards:
            raise ValueError(f"shard must be below {self.header.shards}, not {shard}")
        self.parts = <Part *> (self.base + sizeof(SegmentHeader))
        self.ring = <RingHead *> self._record(PART_RINGS, shard)
        self.mask = self.ring.capacity - 1
        self.slots = <Event *> self._record(PART_SLOTS, shard * self.ring.capacity)
        self.head = self.ring.head
        self.channels = <ChannelRecord *> self._record(PART_CHANNELS, 0)
        self.lines = <LineRecord *> self._record(PART_LINES, 0)
        self.histograms = <Histogram *> self._record(PART_HISTOGRAMS, shard * HISTOGRAMS)
        self.leads = <Histogram *> self._record(PART_HISTOGRAMS, self.header.shards * HISTOGRAMS)
        self.directory = <InstrumentRecord *> self._record(PART_DIRECTORY, 0)
        self.symbols = <uint32_t *> self._record(PART_SYMBOLS, 0)
        self.books = self._record(PART_BOOKS, 0)

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef uint8_t *_record(self, uint32_t part, uint64_t index) noexcept:
        return self.base + self.parts[part].offset + index * self.parts[part].stride

    cdef void publish(self, const Event *events, int count) noexcept nogil:
        """Append `count` events to the ring; their `seq` is given here. The head is stored once, after the last."""
        cdef uint64_t head = self.head
        cdef int i
        if count <= 0:
            return
        for i in range(count):
            head += 1
            fh_ring_write(<uint64_t *> self.slots, self.mask, head, <const uint64_t *> &events[i])
            fh_ring_prefetch(<const uint64_t *> self.slots, self.mask, head + count)      # of the next batch
        self.head = head
        fh_store_release(&self.ring.head, head)

    cdef void beat(self, int64_t monotonic) noexcept nogil:
        """The hot thread lives: CLOCK_MONOTONIC in ns."""
        fh_store(<uint64_t *> &self.header.hot_heartbeat, <uint64_t> monotonic)

    cdef void record(self, uint32_t histogram, int64_t nanoseconds) noexcept nogil:
        """Count one latency. A negative one (two clocks) counts as 0."""
        fh_histogram_add(<uint64_t *> &self.histograms[histogram], <uint64_t> nanoseconds if nanoseconds > 0 else 0)

    # -- the Python door: tests, tools, the control path ---------------------------------------------------------------

    @property
    def position(self):
        """Number of the last event published; 0 before the first."""
        return self.head

    def append(self, const Event[::1] events not None):
        """Publish an array of dtype EVENT; the position of its last event."""
        cdef int count = <int> events.shape[0]
        if count > 0:
            with nogil:
                self.publish(&events[0], count)
        return self.head

    def resume(self, uint64_t position):
        """Number the next event `position` + 1: those before it were another writer's, and are lost to readers here."""
        self.head = position
        fh_store_release(&self.ring.head, position)

    def record_latency(self, uint32_t histogram, int64_t nanoseconds):
        """Count one latency, in ns, in one of the HISTOGRAMS histograms."""
        if histogram >= HISTOGRAMS:
            raise ValueError(f"histogram must be below {HISTOGRAMS}, not {histogram}")
        self.record(histogram, nanoseconds)

    def heartbeat(self, int64_t monotonic):
        """Store the hot thread's heartbeat, CLOCK_MONOTONIC in ns."""
        self.beat(monotonic)
