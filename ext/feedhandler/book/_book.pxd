"""The contract of the books: events in, published books out."""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport (FLAG_VENUE, TRADING_CLOSED, TRADING_TRADING, TRADING_UNKNOWN, BookSlot, Event,
                                   InstrumentRecord, Part)

cdef extern from "book_slot.h" nogil:
    ctypedef struct fh_level:
        int64_t price
        uint64_t size
        uint64_t orders

    void *fh_pages(size_t bytes)
    void fh_put64(void *at, uint64_t word)
    void fh_put_level(fh_level *at, int64_t price, uint64_t size, uint32_t orders)
    void fh_slot_open(uint64_t *seq)
    void fh_slot_close(uint64_t *seq)

cdef enum:                      # faults that turn a book STALE, as bits of the policy
    FAULT_UNKNOWN_ORDER = 1
    FAULT_OVER_EXECUTION = 2
    FAULT_DUPLICATE_ORDER = 4
    FAULT_FULL = 8
    FAULT_PRICE_RANGE = 16
    FAULT_MALFORMED = 32        # an action that this kind of book does not know
    FAULT_CROSSED = 64          # crossed for crossed_ms of the exchange's time, while trading
    FAULT_CHECKSUM = 128        # the feed's own checksum of the book is another
    FAULT_ALL = 255

cdef enum:
    BOOK_CROSSED = 1            # BookSlot.flags: the best bid reaches the best ask

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
    cdef object memory                      # what the slots lie in; kept alive as long as we are
    cdef uint32_t policy
    cdef InstrumentRecord *directory        # whose channel has which slot; NULL: all are ours
    cdef const Part *entries                # of the directory, for its `used`
    cdef uint16_t channel
    cdef int64_t crossed_ns
    cdef int64_t *crossed_since             # by instrument: exchange time at which it became crossed; INT64_MIN = it is not
    cdef bint by_snapshot                   # a book begins with a snapshot, and only the line stage says that it is right
    cdef bint unproven                      # by_snapshot: the snapshot at hand may lack what came after it
    cdef uint32_t lost                      # by_snapshot: the book that turned STALE by a fault last; taken back to 0 by who mends it
    cdef uint8_t lost_reason

    cdef void apply(self, Event *events, int count, uint64_t first_event) noexcept nogil
    cdef void clear(self, uint32_t first, uint32_t count, int64_t now) noexcept nogil
    cdef void mark(self, uint32_t instrument, uint8_t quality, uint8_t reason, int64_t now) noexcept nogil
    cdef void bind(self, uint64_t *counters) noexcept
    cdef void share(self, InstrumentRecord *directory, const Part *entries, uint16_t channel) noexcept

    @cython.final
    cdef inline BookSlot *slot(self, uint32_t instrument) noexcept nogil:
        return <BookSlot *>(self.slots + <size_t>instrument * self.slot_stride)

    @cython.final
    cdef inline uint32_t end(self) noexcept nogil:
        """One more than the last slot that may be in use."""
        return self.instruments if self.directory == NULL else <uint32_t>min(self.entries.used, self.instruments)

    @cython.final
    cdef inline bint ours(self, uint32_t instrument) noexcept nogil:
        """What happens to the channel as a whole happens to this book."""
        return self.directory == NULL or self.directory[instrument].channel == self.channel

    @cython.final
    cdef inline fh_level *side(self, BookSlot *slot, uint32_t ask) noexcept nogil:
        return <fh_level *>(<uint8_t *>slot + sizeof(BookSlot) + ask * self.side_stride)

    @cython.final
    cdef inline void stamp(self, BookSlot *slot, const Event *event, uint64_t position) noexcept nogil:
        fh_put64(&slot.ts_event, <uint64_t>event.ts_event)
        fh_put64(&slot.ts_recv, <uint64_t>event.ts_recv)
        fh_put64(&slot.channel_seq, event.channel_seq)
        fh_put64(&slot.event_seq, position)

    cdef void reset_slot(self, BookSlot *slot, int64_t now) noexcept nogil
    cdef void judge(self, BookSlot *slot, uint8_t quality, uint8_t reason, int64_t now) noexcept nogil
    cdef void fault(self, BookSlot *slot, Event *event, uint32_t fault) noexcept nogil
    cdef void tally(self, const Event *event, uint32_t fault) noexcept nogil
    cdef void cross(self, BookSlot *slot, Event *event, bint crossed) noexcept nogil
    cdef void trade(self, BookSlot *slot, const Event *event) noexcept nogil
    cdef void status(self, const Event *event, uint64_t position) noexcept nogil
    cdef void show_trading(self, BookSlot *slot, uint8_t security, uint8_t venue) noexcept nogil

cdef inline uint8_t own_status(const Event *event, uint8_t before) noexcept nogil:
    """The security's own trading status after a status event of its instrument."""
    return before if event.flags & FLAG_VENUE or event.size > TRADING_CLOSED else <uint8_t>event.size

cdef inline uint8_t venue_status(const Event *event, uint8_t before) noexcept nogil:
    """What the venue adds to it: TRADING takes that back, what is less than that says nothing."""
    if not event.flags & FLAG_VENUE or event.size > TRADING_CLOSED or event.size < TRADING_TRADING:
        return before
    return TRADING_UNKNOWN if event.size == TRADING_TRADING else <uint8_t>event.size
