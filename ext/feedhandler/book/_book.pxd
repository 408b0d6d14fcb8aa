"""The contract of the books: events in, published books out."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport BookSlot, Event

cdef class Books:
    """All books of one shard: events in, book slots out. Subclasses: OrderBook (order by order), LevelBook.

    Slots lie `slot_stride` bytes apart from `slots`, slot 0 unused; in each a BookSlot, then the bids, `side_stride`
    bytes later the asks. The memory is the segment's, or any other of that shape.
    """
    cdef uint8_t *slots
    cdef uint64_t slot_stride
    cdef uint32_t side_stride
    cdef uint32_t depth
    cdef uint32_t instruments               # capacity, slot 0 included
    cdef uint64_t *counters                 # the channel's, in the segment, or own memory
    cdef uint64_t *own_counters

    cdef void apply(self, Event *events, int count, uint64_t first_event) noexcept nogil
    cdef void clear(self, uint32_t first, uint32_t count, int64_t now) noexcept nogil
    cdef void mark(self, uint32_t instrument, uint8_t quality, uint8_t reason, int64_t now) noexcept nogil
    cdef void bind(self, uint64_t *counters) noexcept
