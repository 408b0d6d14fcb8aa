"""The control path's end of a segment: the writer's lock on its file, and waking those who sleep on the futex word."""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport PART_RINGS, SEGMENT_MAGIC, Part, RingHead, SegmentHeader
from feedhandler._seqlock cimport fh_load, fh_load_acquire, fh_store, fh_store32_release
from feedhandler._shm cimport fh_futex_wake, fh_lock_held, fh_lock_release, fh_lock_take, fh_monotonic, fh_sleep


def take_lock(int fd):
    """True when this open file now holds the writer's lock, False when another does. Raises OSError."""
    cdef int rc = fh_lock_take(fd)
    if rc < 0:
        raise OSError(-rc, "the writer's lock cannot be taken")
    return rc == 1


def release_lock(int fd):
    """Give the writer's lock up."""
    cdef int rc = fh_lock_release(fd)
    if rc < 0:
        raise OSError(-rc, "the writer's lock cannot be released")


def lock_held(int fd):
    """Whether another open file of the same file holds the writer's lock: whether the writer lives. Raises OSError."""
    cdef int rc = fh_lock_held(fd)
    if rc < 0:
        raise OSError(-rc, "the writer's lock cannot be asked for")
    return rc == 1


cdef class WakeLoop:
    """WakeLoop(memory, wake_us): wakes sleeping readers when a ring's head has moved; see `feedhandler.publish.waker`."""
    cdef object memory
    cdef Py_buffer view
    cdef bint held
    cdef SegmentHeader *header
    cdef RingHead *rings
    cdef uint32_t shards
    cdef int64_t interval                   # ns
    cdef uint64_t stopping

    def __cinit__(self, memory not None, uint32_t wake_us=50):
        if wake_us < 1 or wake_us > 1_000_000:
            raise ValueError(f"wake_us must be 1 to 1000000, not {wake_us}")
        PyObject_GetBuffer(memory, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.held = True
        self.memory = memory
        self.header = <SegmentHeader *> self.view.buf
        if <size_t> self.view.len < sizeof(SegmentHeader) or self.header.magic != SEGMENT_MAGIC:
            raise ValueError("memory holds no segment: make one with Segment.create() or Segment.anonymous()")
        cdef Part *parts = <Part *> (<uint8_t *> self.view.buf + sizeof(SegmentHeader))
        self.rings = <RingHead *> (<uint8_t *> self.view.buf + parts[PART_RINGS].offset)
        self.shards = self.header.shards
        self.interval = <int64_t> wake_us * 1000

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)

    cdef uint64_t _heads(self) noexcept nogil:
        """Sum of all heads: it moves when one of them does."""
        cdef uint64_t total = 0
        cdef uint32_t i
        for i in range(self.shards):
            total += fh_load_acquire(&self.rings[i].head)
        return total

    cdef void _wake(self) noexcept nogil:
        fh_store32_release(&self.header.futex, self.header.futex + 1)
        fh_futex_wake(&self.header.futex)
        self.header.wakes += 1

    def run(self):
        """Look at the heads every `wake_us` until stop(); the GIL is released throughout."""
        cdef uint64_t seen = 0, heads
        with nogil:
            while not fh_load(&self.stopping):
                fh_store(<uint64_t *> &self.header.control_heartbeat, <uint64_t> fh_monotonic())
                heads = self._heads()
                if heads != seen:
                    seen = heads
                    self._wake()
                fh_sleep(self.interval)

    def stop(self):
        """End run(), from any thread."""
        fh_store(&self.stopping, 1)

    def wake(self):
        """Wake all sleeping readers now: something other than a head has changed."""
        self._wake()
