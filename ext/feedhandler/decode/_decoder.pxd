"""The contract of every decoder: messages in, events out. Knows nothing of books, sockets or shared memory."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport Event, InstrumentRecord, Run
from feedhandler._instruments cimport Instruments

cdef class Decoder:
    """Messages in, events out. One per channel.

    An event carries what its message says and no more; the book fills in the rest before the event is published:
      price PRICE_NONE on C, F, T    the resting order's price
      size  SIZE_REST  on C          all that is left of the order
      side  SIDE_NONE  on C, F       the order's; on T the opposite of the order's
      side  SIDE_NONE  on A          the side of the order that the C before it, in the same message, removed (a replace)
    A T that belongs to an execution is followed directly by its F, which names the resting order.
    `seq` is left 0; FLAG_LAST stands on the last event of each message.
    """
    cdef Instruments instruments
    cdef readonly str protocol
    cdef uint16_t channel
    cdef char venue[8]
    cdef int64_t midnight                   # ns since the Unix epoch of the session's midnight; 0 = unknown (BAD_TS)
    cdef uint32_t session_date              # yyyymmdd
    cdef uint32_t *by_id                    # 65536 words: the feed's small id -> instrument; 0 = not known
    cdef uint64_t *types                    # 256 words: messages by type byte
    cdef uint64_t *counters                 # the channel's, in the segment, or own memory
    cdef uint64_t *own_counters

    cdef int decode(self, const Run *run, int32_t first, Event *out, int capacity, int32_t *taken) noexcept nogil
    cdef bint valid(self, const uint8_t *data, uint32_t len) noexcept nogil
    cdef void begin(self, int64_t midnight, uint32_t session_date) noexcept nogil
    cdef void bind(self, uint64_t *counters) noexcept
