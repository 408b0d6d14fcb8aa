"""The reader's end of a segment, for strategies in Cython: books and events without the GIL.

    from feedhandler.read._reader cimport Cursor, Reader

    cdef Reader reader = feed.reader
    cdef Cursor cursor = feed.cursor()
    with nogil:
        n = cursor.poll(events, 256, &lost)
        reader.snapshot(instrument, &head, bids, asks)

A Reader and its Cursors belong to one thread; attach once per thread.
"""
from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport (BookSlot, ChannelRecord, Event, InstrumentRecord, LastTrade, Level, Part, RingHead,
                                   SegmentHeader, Volume)

cdef enum:                      # Reader.life
    LIFE_RUNNING = 0
    LIFE_STOPPED = 1            # the writer left in good order
    LIFE_DIED = 2
    LIFE_REPLACED = 3           # a successor has taken the name: attach again

cdef enum:                      # what snapshot() answers
    SNAPSHOT_WHOLE = 0
    SNAPSHOT_NO_LEVELS = 1      # the book was being written when the writer died or hung: STALE, no levels
    SNAPSHOT_NO_BOOK = 2        # no such instrument

cdef class Reader:
    """A mapped segment. `depth` levels a side; `instruments` books, number 0 unused."""
    cdef readonly object memory             # the mapping; kept alive as long as we are
    cdef Py_buffer view
    cdef bint held
    cdef int fd                             # open read-only; -1 = an anonymous segment
    cdef const uint8_t *base
    cdef const SegmentHeader *header
    cdef const Part *parts
    cdef const uint8_t *books
    cdef uint64_t book_stride
    cdef const InstrumentRecord *directory
    cdef const uint32_t *symbols
    cdef uint32_t symbol_mask
    cdef const ChannelRecord *channels
    cdef uint32_t channel_count
    cdef readonly uint32_t depth, side_stride, instruments, shards
    cdef int64_t checked                    # CLOCK_MONOTONIC_COARSE of the last look at the writer's lock
    cdef int64_t stuck                      # since when its hot thread has not beaten, ns since the Unix epoch; 0 = it beats
    cdef int64_t gone                       # when the writer beat last, once it is dead or gone; 0 = it runs
    cdef int dead                           # LIFE_..., once it is no longer LIFE_RUNNING it stays

    # The book of `instrument` as it stood at one instant; each array has room for `depth` levels, best first, unused ones
    # zero. In `head`, quality and reason are the worst of three: the book's, its channel's, the writer's life (looked at
    # once per timer tick, 1 to 10 ms; check() looks at once). Returns SNAPSHOT_...
    cdef int snapshot(self, uint32_t instrument, BookSlot *head, Level *bids, Level *asks) noexcept nogil
    # The same without levels, with the last trade and the traded volume; the two may be NULL.
    cdef int top(self, uint32_t instrument, BookSlot *head, Level *bid, Level *ask, LastTrade *trade,
                 Volume *volume) noexcept nogil
    cdef int life(self) noexcept nogil      # as of the last timer tick
    cdef int check(self) noexcept nogil     # now: one system call
    cdef int _copy(self, uint32_t instrument, BookSlot *head, Level *bids, Level *asks, uint32_t depth,
                   LastTrade *trade, Volume *volume) noexcept nogil
    cdef int64_t _beaten(self) noexcept nogil
    cdef void _judge(self, uint32_t word, uint32_t reason, int64_t since, BookSlot *head) noexcept nogil
    cdef int _close_to(self, const uint64_t *seq) noexcept nogil

cdef class Cursor:
    """A place in one shard's event ring."""
    cdef readonly Reader reader
    cdef const RingHead *ring
    cdef const uint64_t *slots
    cdef uint64_t mask
    cdef uint64_t next                      # number of the next event
    cdef uint64_t missed                    # lost so far, all polls together
    cdef uint64_t untold                    # of these, lost since the last batch that take() gave
    cdef uint8_t *wanted                    # a byte per instrument; NULL = all
    cdef Event *scratch
    cdef int capacity

    # Up to `capacity` events, in order, copied to `out`; *lost grows by the events that were overwritten before they could
    # be copied. 0 = nothing new. Never waits.
    cdef int poll(self, Event *out, int capacity, uint64_t *lost) noexcept nogil
    cdef uint64_t _view(self, uint64_t capacity, uint64_t *first, uint64_t *lost) noexcept nogil
    cdef bint _ready(self) noexcept nogil
    cdef object _take(self, bint copy)
    cdef bint _wait(self, int mode, int64_t interval, int64_t until) noexcept nogil
