"""The contract of the books: events in, published books out."""
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from feedhandler._records cimport (FLAG_VENUE, TRADING_CLOSED, TRADING_TRADING, TRADING_UNKNOWN, BookSlot, Event,
                                   InstrumentRecord, Part)

cdef extern from "order_map.h" nogil:
    uint64_t FH_NO_ORDER
    int FH_ORDER_ADDED, FH_ORDER_LIVE, FH_ORDERS_FULL

    ctypedef struct fh_bucket:
        uint64_t ids[5]
        uint32_t state
        uint32_t owners[5]
        uint64_t sizes[5]
        uint32_t keys[5]

    ctypedef struct fh_orders:
        fh_bucket *buckets
        uint32_t count
        uint32_t live
        uint32_t limit

    void *fh_pages(size_t bytes)
    uint32_t fh_orders_buckets(uint32_t orders)
    uint32_t fh_orders_home(const fh_orders *map, uint64_t id)
    uint64_t fh_orders_find(const fh_orders *map, uint64_t id, uint32_t home)
    int fh_orders_add(fh_orders *map, uint64_t id, uint32_t home, uint64_t size, uint32_t key, uint32_t owner)
    void fh_orders_erase(fh_orders *map, uint64_t at, uint32_t home)
    void fh_orders_forget(fh_orders *map, uint32_t first, uint32_t instruments)

cdef extern from "levels.h" nogil:
    uint32_t FH_NO_LEVEL, FH_LEVELS_FULL, FH_ARENA_UNIT

    ctypedef struct fh_level:
        int64_t price
        uint64_t size
        uint64_t orders

    ctypedef struct fh_side:
        uint16_t near_
        uint8_t lost

    ctypedef struct fh_levels:
        uint8_t *sides
        uint32_t side_bytes
        uint32_t depth
        uint32_t places
        uint8_t *arena
        uint64_t arena_bytes
        uint64_t arena_used
        uint64_t quantum

    uint32_t fh_places(uint32_t depth)
    uint32_t fh_side_bytes(uint32_t depth)
    int32_t *fh_keys(const fh_levels *l, uint32_t side)
    fh_side *fh_side_of(const fh_levels *l, uint32_t side)
    uint32_t fh_quanta(int32_t key, uint32_t ask)
    int32_t fh_key(uint32_t quanta, uint32_t ask)
    void fh_put64(void *at, uint64_t word)
    void fh_put_level(fh_level *at, int64_t price, uint64_t size, uint32_t orders)
    void fh_slot_open(uint64_t *seq)
    void fh_slot_close(uint64_t *seq)
    void fh_levels_clear(fh_levels *l, uint32_t side)
    uint32_t fh_levels_change(fh_levels *l, uint32_t depth, uint32_t side, fh_level *levels, uint16_t *used,
                              int32_t key, uint64_t size, int32_t orders, uint32_t hint)

    uint32_t fh_levels_fetch(const fh_levels *l, uint32_t depth, uint32_t side, const fh_level *levels, int32_t key)
    uint32_t fh_levels_fetch_deep(const fh_levels *l, uint32_t depth, uint32_t side, int32_t key)
    void fh_levels_choose(fh_levels *l)

cdef enum:                      # faults that turn a book STALE, as bits of the policy
    FAULT_UNKNOWN_ORDER = 1
    FAULT_OVER_EXECUTION = 2
    FAULT_DUPLICATE_ORDER = 4
    FAULT_FULL = 8
    FAULT_PRICE_RANGE = 16
    FAULT_MALFORMED = 32        # an action that this kind of book does not know
    FAULT_ALL = 63

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
    cdef const InstrumentRecord *directory  # whose channel has which slot; NULL: all are ours
    cdef const Part *entries                # of the directory, for its `used`
    cdef uint16_t channel

    cdef void apply(self, Event *events, int count, uint64_t first_event) noexcept nogil
    cdef void clear(self, uint32_t first, uint32_t count, int64_t now) noexcept nogil
    cdef void mark(self, uint32_t instrument, uint8_t quality, uint8_t reason, int64_t now) noexcept nogil
    cdef void bind(self, uint64_t *counters) noexcept
    cdef void share(self, const InstrumentRecord *directory, const Part *entries, uint16_t channel) noexcept

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

cdef struct Change:             # what an event does to the levels, between the two passes of OrderBook.apply
    uint64_t size               # added to the level's size, modulo 2**64
    int32_t orders              # added to the level's orders: -1, 0, 1
    int32_t key
    uint32_t side               # instrument * 2 + (1 for an ask)
    uint32_t hint               # where the level may be, among the deeper ones
    uint8_t fault               # 0, or one of FAULT_*

cdef class OrderBook(Books):
    cdef fh_orders orders
    cdef fh_levels levels
    cdef uint64_t reciprocal                # of the quantum: price -> key without a division
    cdef uint64_t size_limit                # sizes at or above it are refused: sums of a level stay below 2**63
    cdef bint prefetch
    cdef Change *changes
    cdef uint32_t *homes
    cdef BookSlot *open_slot                # its sequence is odd
    cdef Event *last                        # the event that touched it last
    cdef uint64_t last_position
    cdef bint tob                           # a best level has changed since the open slot was opened
    cdef bint bettered                      # an order has been added since
    cdef uint32_t replaced                  # owner of the order that the C before, in the same message, named; or none
    cdef bint unknown                       # UNKNOWN_ORDER has been counted for this message

    cdef void take_orders(self, Event *events, int count, int rest) noexcept nogil
    cdef void fetch_levels(self, int count) noexcept nogil
    cdef void change_levels(self, Event *events, int count, uint64_t first_event) noexcept nogil
    cdef void add(self, Event *event, Change *change, uint32_t home) noexcept nogil
    cdef void cancel(self, Event *event, Change *change, uint32_t home) noexcept nogil
    cdef void fill(self, Event *event, Change *change, uint32_t home, uint64_t order_id, bint counted) noexcept nogil
    cdef void finish(self) noexcept nogil
    cdef void outside(self, const Event *event, uint64_t position) noexcept nogil
    cdef void empty(self, uint32_t instrument, BookSlot *slot, int64_t now) noexcept nogil
    cdef void lose(self, uint32_t instrument, BookSlot *slot) noexcept nogil
