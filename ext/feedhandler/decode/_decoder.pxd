"""The contract of every decoder: messages in, events out. Knows nothing of books, sockets or shared memory."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport Event, InstrumentRecord, Run
from feedhandler._instruments cimport Instruments

cdef enum:
    UNREPRESENTABLE = 255       # in a rendered character table: the message is malformed

cdef struct Straight:           # how a message of one event is read without a branch on its type; a cache line
    uint32_t length             # of the message; 0 = a type that goes another way
    uint32_t greatest           # a raw price above it cannot be represented
    uint64_t price_scale        # 0 = the message has no price, which is then price_none
    uint64_t price_none
    uint64_t size_mask          # 0 = the message has no size, which is then size_otherwise
    uint64_t size_otherwise
    uint64_t word               # the event's last word: action and flags
    const uint8_t *sides        # 256 of ours, by the character on the wire
    uint8_t order_id, price, size, side, symbol     # offsets; of what is not there: any that is; symbol 0 = none
    uint8_t spare[3]

cdef class Decoder:
    """Messages in, events out. One per channel.

    An event carries what its message says and no more; the book fills in the rest before the event is published:
      price PRICE_NONE on C, F, T    the resting order's price
      size  SIZE_REST  on C          all that is left of the order
      side  SIDE_NONE  on C, F       the order's; on T the opposite of the order's
      side  SIDE_NONE  on A          the side of the order that the C before it, in the same message, removed (a replace)
    A T that belongs to an execution is followed directly by its F, which names the resting order.
    `seq` is left 0; FLAG_LAST stands on the last event of each message.

    decode() takes messages from `first` on, writes their events and gives their number; `taken` is the number of
    messages used up. It stops early for two reasons: fewer than MAX_EVENTS_PER_MESSAGE places are left in `out`, or the
    next message is malformed. A message may have any number of events, and decode() may stop inside it: it is not
    taken yet, and the next call, with `first` at it, goes on where this one stopped. So call again until all is taken or
    a call gives no event and takes nothing, with at least MAX_EVENTS_PER_MESSAGE places: messages[first] is malformed.
    That is known before its first event is written: of a malformed message nothing is counted, remembered or emitted.
    """
    cdef Instruments instruments
    cdef readonly str protocol
    cdef uint16_t channel
    cdef char venue[8]
    cdef int64_t midnight                   # ns since the Unix epoch of the session's midnight; 0 = unknown (BAD_TS)
    cdef uint32_t session_date              # yyyymmdd
    cdef uint32_t *by_id                    # 65536 words: the feed's small id -> instrument; 0 = not known
    cdef uint64_t *names                    # feeds that name symbols: the symbol as sent -> instrument; see symbols.h
    cdef uint32_t names_mask
    cdef uint32_t names_used
    cdef uint64_t *types                    # 256 words: messages by type byte; a message without bytes counts as type 0
    cdef uint64_t *counters                 # the channel's, in the segment, or own memory
    cdef uint64_t *own_counters
    cdef uint8_t price_decimals, size_decimals
    cdef readonly int taken                 # of the last decode_bytes(): messages used up

    cdef int decode(self, const Run *run, int32_t first, Event *out, int capacity, int32_t *taken) noexcept nogil
    cdef bint valid(self, const uint8_t *data, uint32_t len) noexcept nogil
    cdef void begin(self, int64_t midnight, uint32_t session_date) noexcept nogil
    cdef void bind(self, uint64_t *counters) noexcept
    # For rendered decoders, off the beaten path. name(): the instrument of a symbol that the short cuts did not find,
    # entered in the directory if it is new, 0 if there is no room; known from now on by `feed_id` (0 = by its symbol).
    # enter(): the same for a directory message, which says more and may give an id another symbol.
    cdef uint32_t name(self, uint32_t feed_id, const uint8_t *symbol, uint32_t length) noexcept nogil
    cdef void enter(self, uint32_t feed_id, const uint8_t *symbol, uint32_t length, uint64_t lot, bint test) noexcept nogil
    cdef void remember(self, const uint8_t *symbol, uint32_t index) noexcept nogil


cdef inline Event *put(Event *event, int64_t ts_event, int64_t ts_recv, uint64_t order_id, int64_t price, uint64_t size,
                       uint64_t channel_seq, uint64_t last_word) noexcept nogil:
    """Write one event whole and in whole words, so that it can be copied at once; the place behind it."""
    cdef uint64_t *words = <uint64_t *> event
    words[0] = 0
    words[1] = <uint64_t> ts_event
    words[2] = <uint64_t> ts_recv
    words[3] = order_id
    words[4] = <uint64_t> price
    words[5] = size
    words[6] = channel_seq
    words[7] = last_word
    return event + 1


cdef inline uint64_t word(uint64_t instrument, uint64_t action, uint64_t side, uint64_t flags) noexcept nogil:
    """The last word of an event, but for its line."""
    return instrument | action << 32 | side << 40 | flags << 48
